//! Reversals (contracts 2.6): which original they mean, how much comes back, in any order of arrival.

use iso_codec::Draft;
use serde_json::json;

use super::support::iso::{fresh, original_data, replacement, text};
use super::support::{Card, Engine, Setup, World, advice, code, de, message, money, purchase, reversal, until};

fn part(mut draft: Draft, transaction: u64, billing: u64) -> Draft {
    draft.set_text(95, replacement(transaction, billing));
    draft
}

/// A reversal that says nothing about its original.
fn bare(of: &Draft) -> Draft {
    let mut draft = reversal(0x0400, of);
    draft.remove(90);
    draft.remove(48);
    draft
}

#[test]
fn an_original_is_found_by_de90() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    // As sent; of the MTI only the class; zeros mean any; leading zeros do not count.
    let forms: [fn(&Draft) -> String; 4] = [
        original_data,
        |tap| format!("0101{}", &original_data(tap)[4..]),
        |tap| format!("0100{}{}{:022}", text(tap, 11), text(tap, 7), 0),
        |tap| format!("0100{}{}{:0>11}{:0>11}", text(tap, 11), text(tap, 7), "12345", "0200042"),
    ];
    for form in forms {
        let tap = purchase(&card, 1250);
        assert_eq!(code(&wire.ask(&tap)), "00");
        let mut back = bare(&tap);
        back.set_text(90, form(&tap));
        assert_eq!(code(&wire.ask(&back)), "00");
        world.pool_has("1000.00", "0.00");
        let newest = world.newest(&card);
        assert_eq!((newest["status"].as_str(), newest["outcome"].as_str()), (Some("reversed"), Some("approved")));
    }
    // Wrong in any part: well formed, so 00, and nothing moves.
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let right = original_data(&tap);
    let wrong = [
        format!("0200{}", &right[4..]),
        format!("{}999999{}", &right[..4], &right[10..]),
        format!("{}0101010101{}", &right[..10], &right[20..]),
        format!("{}{:0>11}{}", &right[..20], "777", &right[31..]),
        format!("{}{:0>11}", &right[..31], "777"),
    ];
    for wrong in wrong {
        let mut back = bare(&tap);
        back.set_text(90, wrong);
        assert_eq!(code(&wire.ask(&back)), "00");
        world.pool_has("987.50", "12.50");
    }
}

#[test]
fn an_original_is_found_by_its_trace_or_its_approval_code() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let trace = |tap: &Draft, day: &str| format!("{}{day}  ", text(tap, 63));
    for day in ["1122", "    "] {
        let tap = purchase(&card, 1250);
        assert_eq!(code(&wire.ask(&tap)), "00");
        let mut back = bare(&tap);
        let trace = trace(&tap, day);
        back.set_subs(48, &[("TCC", "R"), ("63", trace.as_str())]);
        let reply = wire.ask(&back);
        assert_eq!(code(&reply), "00");
        assert_eq!(de(&reply, 48), Some(format!("R6315{trace}")));
        world.pool_has("1000.00", "0.00");
    }
    let tap = purchase(&card, 1250);
    let approval = de(&wire.ask(&tap), 38).expect("approved");
    // Another day, and no code that is one.
    let mut other = bare(&tap);
    let trace = trace(&tap, "1121");
    other.set_subs(48, &[("TCC", "R"), ("63", trace.as_str())]);
    assert_eq!(code(&wire.ask(&other)), "00");
    for none in ["000000", "      "] {
        let mut back = bare(&tap);
        back.set_text(38, none);
        assert_eq!(code(&wire.ask(&back)), "00");
    }
    world.pool_has("987.50", "12.50");
    let mut back = bare(&tap);
    back.set_text(38, approval);
    assert_eq!(code(&wire.ask(&back)), "00");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_part_comes_back_and_a_second_part_restates() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&tap)), "00");
    for (keep, available, held) in [(700, "993.00", "7.00"), (400, "996.00", "4.00"), (900, "996.00", "4.00")] {
        assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), keep, 0))), "00");
        world.pool_has(available, held);
    }
    assert_eq!(world.newest(&card)["status"].as_str(), Some("partially_reversed"));
    assert_eq!(code(&wire.ask(&part(reversal(0x0420, &tap), 0, 0))), "00", "zero is all of it");
    world.pool_has("1000.00", "0.00");
    assert_eq!(world.newest(&card)["status"].as_str(), Some("reversed"));
    // From DE6: by billing when it is there, in proportion when it is not, up.
    let billed = |card: &Card| {
        let mut tap = purchase(card, 1340);
        tap.set_text(49, "840").set_text(6, "000000001250").set_text(51, "978");
        tap
    };
    let tap = billed(&card);
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), 1000, 933))), "00");
    world.pool_has("990.67", "9.33");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    let tap = billed(&card);
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), 1000, 0))), "00");
    // 12.50 x 10.00 / 13.40 = 9.328…
    world.pool_has("990.67", "9.33");
    // DE95's billing means nothing when the hold came from DE4.
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    let tap = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), 600, 100))), "00");
    world.pool_has("994.00", "6.00");
}

#[test]
fn h13_a_reversal_gives_back_at_most_once() {
    let world = World::shared();
    let (card, other, mut wire) = (world.pool_card(), world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    // For more than the original, and for another card's.
    assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), 5000, 0))), "00");
    let mut stranger = reversal(0x0400, &tap);
    stranger.set_text(2, other.pan.as_str());
    assert_eq!(code(&wire.ask(&stranger)), "00");
    world.pool_has("987.50", "12.50");
    // Twice: the same message, and one of its own.
    let back = reversal(0x0400, &tap);
    let first = wire.ask_bytes(&back);
    assert_eq!(wire.ask_bytes(&back), first);
    assert_eq!(code(&wire.ask(&reversal(0x0420, &tap))), "00");
    world.pool_has("1000.00", "0.00");
    // Declined ones have nothing to give.
    world.rules(&["decline"]);
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "05");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.pool_has("1000.00", "0.00");
    world.newest_is(&card, "declined", "partner_declined");
}

#[test]
fn h13_a_reversal_may_overtake_its_original() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for mti in [0x0100, 0x0200] {
        let tap = message(mti, &card, 1250);
        assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
        assert_eq!(code(&wire.ask(&tap)), "05");
        world.newest_is(&card, "declined", "already_reversed");
        let mut repeated = tap.clone();
        repeated.mti = iso_codec::Mti(mti | 1);
        assert_eq!(code(&wire.ask(&repeated)), "05");
    }
    // By its trace.
    let tap = purchase(&card, 1250);
    let mut back = bare(&tap);
    let trace = format!("{}1122  ", text(&tap, 63));
    back.set_subs(48, &[("TCC", "R"), ("63", trace.as_str())]);
    assert_eq!(code(&wire.ask(&back)), "00");
    assert_eq!(code(&wire.ask(&tap)), "05");
    // Never by an approval code alone.
    let tap = purchase(&card, 100);
    let mut back = bare(&tap);
    back.set_text(38, format!("{:06}", 900_000 + fresh() % 90_000));
    assert_eq!(code(&wire.ask(&back)), "00");
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(world.sample.seen().asks, 1, "nobody is asked about what was reversed already");
    world.pool_has("999.00", "1.00");
    // An advice that was overtaken is booked and reversed at once.
    for mti in [0x0120, 0x0220] {
        let told = advice(mti, &card, 1250, "00");
        assert_eq!(code(&wire.ask(&reversal(0x0400, &told))), "00");
        assert_eq!(code(&wire.ask(&told)), "00");
        world.pool_has("999.00", "1.00");
        assert_eq!(world.newest(&card)["status"].as_str(), Some("reversed"));
    }
}

#[test]
fn h13_a_reversal_may_come_while_the_partner_thinks() {
    let world = World::shared();
    let (card, mut wire, mut second) = (world.pool_card(), world.wire(), world.wire());
    world.rules(&["delay 700ms", "approve"]);
    let tap = purchase(&card, 1250);
    wire.send(&tap);
    until("the ask", || (world.sample.seen().most_at_once > 0).then_some(()));
    let mut repeated = tap.clone();
    repeated.mti = iso_codec::Mti(0x0101);
    wire.send(&repeated);
    // Messages of one connection are handled in order, so an echo behind the repeat says that it waits.
    wire.send(&super::support::iso::network(270));
    assert_eq!(wire.reply().mti(), iso_codec::Mti(0x0810));
    assert_eq!(code(&second.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!((code(&wire.reply()), code(&wire.reply())), ("05".to_owned(), "05".to_owned()));
    world.pool_has("1000.00", "0.00");
    world.newest_is(&card, "reversed", "already_reversed");
    // The partner's answer comes, is recorded, and moves nothing.
    until("the partner's late answer", || {
        let decision = world.newest(&card)["partner_decision"].clone();
        (decision["outcome"] == "approve").then_some(())
    });
    world.pool_has("1000.00", "0.00");
    assert_eq!(code(&wire.ask(&tap)), "05");
}

#[test]
fn a_cleared_financial_request_goes_back_from_the_scheme() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.account_card("10.00");
    let tap = message(0x0200, &card, 400);
    assert_eq!(code(&wire.ask(&tap)), "00");
    world.account_has(&account, "6.00", "0.00");
    assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), 100, 0))), "00");
    world.account_has(&account, "9.00", "0.00");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.account_has(&account, "10.00", "0.00");
    let pool_card = world.pool_card();
    let tap = message(0x0200, &pool_card, 400);
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(code(&wire.ask(&reversal(0x0420, &tap))), "00");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_reversal_needs_no_active_card_and_no_partner() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    world.engine.patch(&format!("/v1/cards/{}", card.id), &json!({"status": "closed"}));
    world.terms(json!({"status": "suspended"}));
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.pool_has("1000.00", "0.00");
    // Of an unknown card: well formed, so 00.
    let stranger = Card { pan: super::support::world::unknown_pan(), ..card };
    assert_eq!(code(&wire.ask(&reversal(0x0400, &purchase(&stranger, 100)))), "00");
}

#[test]
fn an_increment_reverses_by_its_own_share() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let first = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&first)), "00");
    let mut more = purchase(&card, 500);
    let trace = format!("{}1122  ", text(&first, 63));
    more.set_subs(48, &[("TCC", "R"), ("63", trace.as_str())]);
    assert_eq!(code(&wire.ask(&more)), "00");
    world.pool_has("985.00", "15.00");
    let mut back = bare(&more);
    back.set_text(90, original_data(&more));
    assert_eq!(code(&wire.ask(&back)), "00");
    world.pool_has("990.00", "10.00");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &first))), "00");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_pending_choice_gives_both_sources_back() {
    let world = World::shared();
    let (mut wire, mut second) = (world.wire(), world.wire());
    let (card, account) = world.choice_card("20.00");
    world.rules(&["delay 600ms", "approve source account"]);
    let tap = purchase(&card, 1250);
    wire.send(&tap);
    until("both holds", || (world.account_balance(&account).1 == "12.50").then_some(()));
    world.pool_has("987.50", "12.50");
    assert_eq!(code(&second.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!(code(&wire.reply()), "05");
    world.pool_has("1000.00", "0.00");
    world.account_has(&account, "20.00", "0.00");
}

#[test]
fn what_overtook_its_original_is_remembered_across_a_restart() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let card = world.pool_card();
    let (tap, kept) = (purchase(&card, 1250), purchase(&card, 1000));
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!(code(&wire.ask(&kept)), "00");
    engine.kill();
    engine.run();
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&tap)), "05");
    let mut some = reversal(0x0400, &kept);
    some.set_text(95, replacement(400, 0));
    assert_eq!(code(&wire.ask(&some)), "00");
    world.pool_has("996.00", "4.00");
    engine.kill();
    engine.run();
    let mut wire = engine.wire();
    let mut changed = kept.clone();
    changed.set_text(4, "000000001001");
    assert_eq!(code(&wire.ask(&changed)), "94", "after a restart too");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &kept))), "00");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_converted_hold_is_released_in_proportion_and_to_the_last_unit() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let rate = |rate: &str| engine.put("/v1/rates/EUR-USDC", &json!({"rate": rate, "markup_bps": 0}));
    rate("1.1");
    let coins = world.new_pool("USDC", "100.000000");
    let card = world.card(json!({"type": "pool", "pool_id": coins, "account_currency": "EUR"}));
    let mut wire = engine.wire();
    let tap = purchase(&card, 1001);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let has = |available: &str, held: &str| {
        assert_eq!(world.pool_balance(&coins), (available.to_owned(), held.to_owned()));
    };
    has("88.989000", "11.011000");
    // The book's rate changes; the hold keeps its own.
    rate("2");
    assert_eq!(code(&wire.ask(&part(reversal(0x0400, &tap), 333, 0))), "00");
    // 11.011 x 3.33 / 10.01
    has("96.337000", "3.663000");
    assert_eq!(world.newest(&card)["held"], money("3.663000", "USDC"));
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    has("100.000000", "0.000000");
    // Cleared at once, and back.
    let tap = message(0x0200, &card, 1000);
    assert_eq!(code(&wire.ask(&tap)), "00");
    has("80.000000", "0.000000");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    has("100.000000", "0.000000");
}
