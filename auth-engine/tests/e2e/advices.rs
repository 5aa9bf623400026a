//! Advices (contracts 2.2): somebody decided already; what they say is booked, beyond the funds if it must be.

use serde_json::json;

use super::support::iso::{original_data, text};
use super::support::world::unknown_pan;
use super::support::{Card, World, advice, code, purchase, reversal};

#[test]
fn an_advice_is_booked_without_asking_anybody() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    // Frozen, expired, revoked, suspended: all the same.
    world.engine.patch(&format!("/v1/cards/{}", card.id), &json!({"status": "frozen"}));
    world.engine.post(&format!("/v1/users/{}/kyc", world.user), &json!({"status": "revoked"}));
    world.terms(json!({"status": "suspended"}));
    for told in ["00", "08", "10", "85"] {
        let mut told = advice(0x0120, &card, 100, told);
        told.set_text(14, "2001");
        assert_eq!(code(&wire.ask(&told)), "00");
    }
    world.pool_has("996.00", "4.00");
    assert_eq!(world.newest(&card)["status"].as_str(), Some("approved"));
    for told in ["05", "51", "91", "14"] {
        assert_eq!(code(&wire.ask(&advice(0x0120, &card, 100, told))), "00");
        assert_eq!(world.newest(&card)["status"].as_str(), Some("declined"));
    }
    world.pool_has("996.00", "4.00");
    assert_eq!(world.sample.seen().asks, 0);
}

#[test]
fn beyond_the_funds_becomes_receivable_and_is_paid_first() {
    let world = World::shared();
    let mut wire = world.wire();
    let pool = world.new_pool("EUR", "5.00");
    let card = world.card(json!({"type": "pool", "pool_id": pool}));
    assert_eq!(code(&wire.ask(&advice(0x0120, &card, 1250, "00"))), "00");
    assert_eq!(world.pool_balance(&pool), ("0.00".to_owned(), "12.50".to_owned()));
    world.top_up(&pool, "10.00", "EUR");
    // 7.50 were owed.
    assert_eq!(world.pool_balance(&pool), ("2.50".to_owned(), "12.50".to_owned()));
    let (account_card, account) = world.account_card("1.00");
    assert_eq!(code(&wire.ask(&advice(0x0120, &account_card, 300, "00"))), "00");
    world.account_has(&account, "0.00", "3.00");
    let tap = advice(0x0120, &account_card, 200, "00");
    assert_eq!(code(&wire.ask(&tap)), "00");
    world.account_has(&account, "0.00", "5.00");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.account_has(&account, "0.00", "3.00");
}

#[test]
fn an_advice_sets_an_open_hold_to_what_it_says() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    // By DE7, DE11 and DE32: the same numbers, another class.
    let tap = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&tap)), "00");
    for (minor, available, held) in [(1500, "985.00", "15.00"), (400, "996.00", "4.00")] {
        let mut told = advice(0x0120, &card, minor, "00");
        told.set_text(7, text(&tap, 7)).set_text(11, text(&tap, 11)).set_text(32, text(&tap, 32));
        assert_eq!(code(&wire.ask(&told)), "00");
        world.pool_has(available, held);
    }
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.pool_has("1000.00", "0.00");
    // By DE63.
    let tap = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let mut told = advice(0x0120, &card, 700, "00");
    told.set_text(63, text(&tap, 63));
    assert_eq!(code(&wire.ask(&told)), "00");
    world.pool_has("993.00", "7.00");
    // By SE63.
    let mut told = advice(0x0120, &card, 300, "00");
    let trace = format!("{}1122  ", text(&tap, 63));
    told.set_subs(48, &[("TCC", "R"), ("63", trace.as_str())]);
    assert_eq!(code(&wire.ask(&told)), "00");
    world.pool_has("997.00", "3.00");
    assert_eq!(world.authorizations(&card).len(), 2, "never two holds for one purchase");
}

#[test]
fn a_closed_authorization_stays_closed_and_a_linked_one_is_made() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.rules(&["decline"]);
    let tap = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&tap)), "05");
    let mut told = advice(0x0120, &card, 1000, "00");
    told.set_text(63, text(&tap, 63));
    assert_eq!(code(&wire.ask(&told)), "00");
    world.pool_has("990.00", "10.00");
    let all = world.authorizations(&card);
    assert_eq!(all.len(), 2);
    assert_eq!((all[0]["status"].as_str(), all[1]["status"].as_str()), (Some("approved"), Some("declined")));
    // Again for the same purchase: the open one is set.
    let mut told = advice(0x0121, &card, 600, "00");
    told.set_text(63, text(&tap, 63));
    assert_eq!(code(&wire.ask(&told)), "00");
    world.pool_has("994.00", "6.00");
    assert_eq!(world.authorizations(&card).len(), 2);
}

#[test]
fn an_advice_for_an_unknown_card_is_14() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let stranger = Card { pan: unknown_pan(), ..card };
    let told = advice(0x0120, &stranger, 100, "00");
    let first = wire.ask_bytes(&told);
    assert_eq!(code(&super::support::iso::read(first.clone())), "14");
    assert_eq!(wire.ask_bytes(&told), first);
}

#[test]
fn a_financial_advice_is_booked_and_can_be_reversed() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.account_card("10.00");
    let told = advice(0x0220, &card, 400, "00");
    assert_eq!(code(&wire.ask(&told)), "00");
    let (available, held) = world.account_balance(&account);
    assert_eq!(available, "6.00", "held {held}");
    let mut back = reversal(0x0420, &told);
    back.set_text(90, original_data(&told));
    assert_eq!(code(&wire.ask(&back)), "00");
    world.account_has(&account, "10.00", "0.00");
}
