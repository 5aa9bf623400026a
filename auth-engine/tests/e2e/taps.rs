//! The ladder of contracts 2.7 on the real port: every reason with its DE39, in its order; amounts, types, partners.

use iso_codec::Draft;
use serde_json::{Value, json};

use super::support::world::{unknown_pan, word};
use super::support::{Card, Engine, Setup, Wire, World, advice, code, de, message, money, purchase, until};

/// Sends a tap that must be declined: its DE39, and the reason that is recorded.
fn declined(world: &World, wire: &mut Wire, card: &Card, tap: &Draft, expected: &str, reason: &str) {
    let before = world.sample.seen().asks;
    assert_eq!(code(&wire.ask(tap)), expected, "{reason}");
    let newest = world.newest(card);
    assert_eq!(newest["reason"].as_str(), Some(reason), "{newest}");
    assert_eq!(newest["response_code"].as_str(), Some(expected), "{newest}");
    assert_eq!((newest["status"].as_str(), newest["outcome"].as_str()), (Some("declined"), Some("declined")));
    assert_eq!(world.sample.seen().asks, before, "nobody is asked about what is declined before");
}

fn with(mut draft: Draft, element: u8, text: &str) -> Draft {
    draft.set_text(element, text);
    draft
}

fn set_card(world: &World, card: &Card, status: &str) {
    world.engine.patch(&format!("/v1/cards/{}", card.id), &json!({"status": status}));
}

#[test]
fn an_unknown_card_is_14() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let unknown = Card { pan: unknown_pan(), ..card.clone() };
    for mti in [0x0100, 0x0200] {
        assert_eq!(code(&wire.ask(&message(mti, &unknown, 100))), "14");
    }
    // A bad Luhn digit.
    let last = card.pan.as_bytes()[15] - b'0';
    let bad = Card { pan: format!("{}{}", &card.pan[..15], (last + 1) % 10), ..card };
    assert_eq!(code(&wire.ask(&purchase(&bad, 100))), "14");
}

#[test]
fn a_cards_state_decides_before_its_expiry() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let states = [("frozen", "62"), ("inactive", "78"), ("lost", "41"), ("stolen", "43")];
    for (status, expected) in states {
        set_card(&world, &card, status);
        let tap = with(purchase(&card, 100), 14, "2001");
        declined(&world, &mut wire, &card, &tap, expected, &format!("card_{status}"));
    }
    set_card(&world, &card, "active");
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00", "back to active");
    set_card(&world, &card, "closed");
    declined(&world, &mut wire, &card, &purchase(&card, 100), "62", "card_closed");
    let body = json!({"status": "active"});
    let answer = world.engine.call("PATCH", &format!("/v1/cards/{}", card.id), Some(&world.key), Some(&body));
    answer.refused(409, "invalid_state");
}

#[test]
fn expiry_comes_from_de14_then_track_2_then_nowhere() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    declined(&world, &mut wire, &card, &with(purchase(&card, 100), 14, "3501"), "54", "expired_card");
    let track = |expiry: &str| {
        let mut tap = purchase(&card, 100);
        tap.remove(14);
        tap.set_text(35, format!("{}={expiry}2010000", card.pan));
        tap
    };
    declined(&world, &mut wire, &card, &track("3501"), "54", "expired_card");
    assert_eq!(code(&wire.ask(&track(&card.expiry))), "00");
    let mut neither = purchase(&card, 100);
    neither.remove(14);
    assert_eq!(code(&wire.ask(&neither)), "00");
    // Both: DE14 counts.
    let mut both = track("3501");
    both.set_text(14, card.expiry.as_str());
    assert_eq!(code(&wire.ask(&both)), "00");
    // Valid to the last day of this month.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let body = json!({"user_id": world.user, "funding": {"type": "pool", "pool_id": world.pool},
        "expires": format!("{:04}-{:02}", now.year(), now.month())});
    let made = world.engine.post("/v1/cards", &body);
    let expiry = format!("{:02}{:02}", now.year() % 100, now.month());
    let card = Card { id: word(&made, "id"), pan: word(&made, "pan"), expiry };
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
}

#[test]
fn people_decide_after_expiry_and_before_type() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    // Wrong in everything behind rule 10 too: an unsupported type.
    let tap = || with(purchase(&card, 100), 3, "280000");
    let user = format!("/v1/users/{}", world.user);
    world.engine.post(&format!("{user}/kyc"), &json!({"status": "revoked"}));
    declined(&world, &mut wire, &card, &with(tap(), 14, "3501"), "54", "expired_card");
    declined(&world, &mut wire, &card, &tap(), "57", "kyc_not_approved");
    for status in ["submitted", "in_review", "approved"] {
        world.kyc(&world.user, status);
    }
    world.engine.patch(&user, &json!({"status": "suspended"}));
    declined(&world, &mut wire, &card, &tap(), "57", "user_suspended");
    world.engine.patch(&user, &json!({"status": "active"}));
    world.terms(json!({"services": ["balances", "pay_in"]}));
    declined(&world, &mut wire, &card, &tap(), "57", "service_not_enabled");
    world.terms(json!({"services": ["balances", "pay_in", "payout", "cards", "off_ramp"], "status": "suspended"}));
    declined(&world, &mut wire, &card, &tap(), "57", "partner_suspended");
    world.terms(json!({"status": "active"}));
    declined(&world, &mut wire, &card, &tap(), "12", "unsupported_type");
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
}

#[test]
fn type_amount_and_currency_decide_before_funds() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for code in ["280000", "400000", "990000"] {
        declined(&world, &mut wire, &card, &with(purchase(&card, 999_999_999_999), 3, code), "12", "unsupported_type");
    }
    declined(&world, &mut wire, &card, &with(purchase(&card, 0), 3, "300000"), "57", "unsupported_type");
    declined(&world, &mut wire, &card, &purchase(&card, 0), "13", "invalid_amount");
    declined(&world, &mut wire, &card, &with(purchase(&card, 100), 49, "001"), "57", "unsupported_currency");
    // GBP is a currency; nobody gave a rate.
    declined(&world, &mut wire, &card, &with(purchase(&card, 100), 49, "826"), "96", "rate_missing");
    declined(&world, &mut wire, &card, &purchase(&card, 999_999_999_999), "51", "pool_insufficient");
    world.engine.patch(&format!("/v1/pools/{}", world.pool), &json!({"status": "suspended"}));
    declined(&world, &mut wire, &card, &purchase(&card, 100), "51", "pool_suspended");
    world.engine.patch(&format!("/v1/pools/{}", world.pool), &json!({"status": "active"}));
    let (account_card, account) = world.account_card("10.00");
    declined(&world, &mut wire, &account_card, &purchase(&account_card, 1001), "51", "insufficient_funds");
    assert_eq!(code(&wire.ask(&purchase(&account_card, 1000))), "00");
    world.account_has(&account, "0.00", "10.00");
}

#[test]
fn types_that_hold_have_their_kinds() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let kinds = [
        ("000000", "00000000000000620", "purchase"),
        ("010000", "00000000000000620", "cash"),
        ("170000", "00000000000000620", "cash"),
        ("090000", "00000000000000620", "cash_back"),
        ("000000", "00000040000000620", "preauthorization"),
    ];
    for (processing, pos, kind) in kinds {
        let tap = with(with(purchase(&card, 100), 3, processing), 61, pos);
        assert_eq!(code(&wire.ask(&tap)), "00");
        let newest = world.newest(&card);
        assert_eq!((newest["kind"].as_str(), newest["held"]["value"].as_str()), (Some(kind), Some("1.00")), "{newest}");
    }
    world.pool_has("995.00", "5.00");
}

#[test]
fn account_status_asks_nobody_and_holds_nothing() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let reply = wire.ask(&with(purchase(&card, 0), 61, "00000080000000620"));
    assert_eq!(code(&reply), "85");
    assert!(de(&reply, 38).is_some_and(|approval| approval != "000000"));
    let newest = world.newest(&card);
    assert_eq!((newest["kind"].as_str(), newest["reason"].as_str()), (Some("account_status"), Some("approved")));
    assert_eq!(newest["response_code"].as_str(), Some("85"));
    set_card(&world, &card, "frozen");
    assert_eq!(code(&wire.ask(&with(purchase(&card, 0), 61, "00000080000000620"))), "62");
    assert_eq!(world.sample.seen().asks, 0);
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_refund_waits_for_clearing_or_is_cleared_at_once() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.account_card("10.00");
    assert_eq!(code(&wire.ask(&with(purchase(&card, 500), 3, "200000"))), "00");
    world.account_has(&account, "10.00", "0.00");
    assert_eq!(code(&wire.ask(&with(message(0x0200, &card, 500), 3, "200000"))), "00");
    world.account_has(&account, "15.00", "0.00");
    assert_eq!(world.newest(&card)["kind"].as_str(), Some("refund"));
    let pool_card = world.pool_card();
    world.rules(&["decline"]);
    assert_eq!(code(&wire.ask(&with(message(0x0200, &pool_card, 500), 3, "200000"))), "00", "rule 14 is skipped");
    world.pool_has("1005.00", "0.00");
}

#[test]
fn a_financial_request_is_held_and_cleared_in_one() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.account_card("10.00");
    assert_eq!(code(&wire.ask(&message(0x0200, &card, 400))), "00");
    world.account_has(&account, "6.00", "0.00");
    let newest = world.newest(&card);
    assert_eq!((newest["status"].as_str(), newest["cleared"]["value"].as_str()), (Some("cleared"), Some("4.00")));
    assert_eq!(newest["held"]["value"].as_str(), Some("0.00"));
    assert_eq!(code(&wire.ask(&message(0x0200, &card, 601))), "51");
    let pool_card = world.pool_card();
    assert_eq!(code(&wire.ask(&message(0x0200, &pool_card, 1250))), "00");
    world.pool_has("987.50", "0.00");
    assert_eq!(world.newest(&pool_card)["status"].as_str(), Some("cleared"));
    // The user's statement shows the pool's money come and go.
    let id = word(&world.newest(&pool_card), "id");
    let statement = until("the statement", || {
        let path = format!("/v1/accounts/{account}/statement?limit=200");
        let answer = world.engine.call("GET", &path, Some(&world.key), None);
        (answer.status == 200).then_some(answer.text)
    });
    assert!(statement.contains(&id) && statement.contains("12.50"), "{statement}");
    world.account_has(&account, "6.00", "0.00");
}

#[test]
fn billing_is_the_amount_when_it_came() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    // 10000 ISK, which nobody has a rate for: billed in euros it needs none.
    let mut tap = with(purchase(&card, 10_000), 49, "352");
    tap.set_text(6, "000000006789").set_text(51, "978");
    let reply = wire.ask(&tap);
    assert_eq!(code(&reply), "00");
    assert_eq!((de(&reply, 4).as_deref(), de(&reply, 6).as_deref()), (Some("000000010000"), Some("000000006789")));
    world.pool_has("932.11", "67.89");
    let newest = world.newest(&card);
    assert_eq!(newest["amount"], money("67.89", "EUR"));
    assert_eq!(newest["merchant_amount"], money("10000", "ISK"));
    // DE49 is no currency at all.
    tap = with(purchase(&card, 100), 49, "001");
    tap.set_text(6, "000000000100").set_text(51, "978");
    declined(&world, &mut wire, &card, &tap, "57", "unsupported_currency");
}

#[test]
fn foreign_money_is_converted_by_the_rate_book_and_rounded_up() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), world.wire());
    let rate = |pair: &str, rate: &str, markup: u32| {
        engine.put(&format!("/v1/rates/{pair}"), &json!({"rate": rate, "markup_bps": markup}));
    };
    rate("EUR-USD", "1.1", 0);
    declined(&world, &mut wire, &card, &with(purchase(&card, 1340), 49, "840"), "96", "rate_missing");
    rate("USD-EUR", "0.932835", 0);
    assert_eq!(code(&wire.ask(&with(purchase(&card, 1340), 49, "840"))), "00");
    // 13.40 x 0.932835 = 12.499989, up.
    world.pool_has("987.50", "12.50");
    rate("USD-EUR", "0.932835", 150);
    assert_eq!(code(&wire.ask(&with(purchase(&card, 1340), 49, "840"))), "00");
    // 12.499989 x 1.015 = 12.68748…, up; the hold before keeps its own rate.
    world.pool_has("974.81", "25.19");
    rate("JPY-EUR", "0.006", 0);
    assert_eq!(code(&wire.ask(&with(purchase(&card, 500), 49, "392"))), "00", "500 yen, not 5");
    world.pool_has("971.81", "28.19");
    // A pool without decimals.
    let yen = world.new_pool("JPY", "1000");
    let yen_card = world.card(json!({"type": "pool", "pool_id": yen}));
    assert_eq!(code(&wire.ask(&with(purchase(&yen_card, 500), 49, "392"))), "00");
    assert_eq!(world.pool_balance(&yen), ("500".to_owned(), "500".to_owned()));
    assert_eq!(code(&wire.ask(&with(purchase(&yen_card, 501), 49, "392"))), "51");
    // A pool of six decimals.
    rate("EUR-USDC", "1.1", 100);
    let coins = world.new_pool("USDC", "100.000000");
    let coin_card = world.card(json!({"type": "pool", "pool_id": coins, "account_currency": "EUR"}));
    assert_eq!(code(&wire.ask(&purchase(&coin_card, 1001))), "00");
    // 10.01 x 1.1 x 1.01 = 11.12111
    assert_eq!(world.pool_balance(&coins), ("88.878890".to_owned(), "11.121110".to_owned()));
    let newest = world.newest(&coin_card);
    assert_eq!(newest["amount"], money("10.01", "EUR"));
}

#[test]
fn a_partial_approval_says_what_was_approved() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let able = |mut tap: Draft| {
        tap.set_subs(48, &[("TCC", "R"), ("61", "10000")]);
        tap
    };
    world.rules(&["approve amount 5.00"]);
    let reply = wire.ask(&able(purchase(&card, 1250)));
    assert_eq!((code(&reply).as_str(), de(&reply, 4).as_deref()), ("10", Some("000000000500")));
    assert_eq!(de(&reply, 54).as_deref(), Some("0057978C000000001250"));
    assert!(de(&reply, 38).is_some());
    let newest = world.newest(&card);
    assert_eq!((newest["outcome"].as_str(), newest["held"]["value"].as_str()), (Some("partial"), Some("5.00")));
    world.pool_has("995.00", "5.00");
    // Billed: DE6 is what was approved, DE4 goes in proportion, down.
    let mut tap = able(with(purchase(&card, 1341), 49, "840"));
    tap.set_text(6, "000000001250").set_text(51, "978");
    let reply = wire.ask(&tap);
    assert_eq!(code(&reply), "10");
    assert_eq!((de(&reply, 6).as_deref(), de(&reply, 4).as_deref()), (Some("000000000500"), Some("000000000536")));
    assert_eq!(de(&reply, 54).as_deref(), Some("0057840C000000001341"));
    world.pool_has("990.00", "10.00");
    // The whole amount is no part of it.
    assert_eq!(code(&wire.ask(&able(purchase(&card, 500)))), "00");
    world.pool_has("985.00", "15.00");
    // Financial: the part is cleared, nothing stays held.
    let reply = wire.ask(&able(message(0x0200, &card, 1250)));
    assert_eq!((code(&reply).as_str(), de(&reply, 4).as_deref()), ("10", Some("000000000500")));
    world.pool_has("980.00", "15.00");
    // A terminal that cannot, more than was asked, nothing at all.
    let cannot = wire.ask(&purchase(&card, 1250));
    assert_eq!((code(&cannot).as_str(), de(&cannot, 54)), ("96", None));
    world.newest_is(&card, "declined", "partner_bad_response");
    assert_eq!(code(&wire.ask(&able(purchase(&card, 499)))), "96");
    world.rules(&["approve amount 0.00"]);
    assert_eq!(code(&wire.ask(&able(purchase(&card, 1250)))), "96");
    world.pool_has("980.00", "15.00");
}

#[test]
fn a_partners_reason_becomes_the_networks_code() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let reasons = [
        ("insufficient_funds", "51"),
        ("suspected_fraud", "05"),
        ("card_restricted", "62"),
        ("limit_exceeded", "61"),
        ("not_permitted", "57"),
        ("bad_weather", "05"),
    ];
    for (reason, expected) in reasons {
        world.rules(&[&format!("decline {reason}")]);
        let reply = wire.ask(&purchase(&card, 100));
        assert_eq!((code(&reply).as_str(), de(&reply, 38), de(&reply, 54)), (expected, None, None), "{reason}");
        let newest = world.newest(&card);
        assert_eq!(newest["reason"].as_str(), Some("partner_declined"), "{newest}");
        assert_eq!(newest["partner_decision"]["reason"].as_str(), Some(reason), "{newest}");
    }
    world.rules(&["decline"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "05");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_partner_can_leave_the_decision_to_us() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.rules(&["silent"]);
    world.terms(json!({"decision_mode": "auto_approve"}));
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    world.terms(json!({"decision_mode": "auto_decline"}));
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "05");
    world.newest_is(&card, "declined", "partner_declined");
    assert_eq!(world.sample.seen().asks, 0);
    world.pool_has("999.00", "1.00");
}

#[test]
fn a_partner_can_set_what_its_failures_say() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let told = |world: &World, reason: &str| {
        let newest = world.newest(&card);
        assert_eq!(newest["reason"].as_str(), Some(reason), "{newest}");
        assert_eq!(newest["held"]["value"].as_str(), Some("0.00"), "{newest}");
    };
    world.terms(json!({"decision_timeout_ms": 100}));
    for (own, timeout, bad, unreachable) in [(false, "91", "96", "91"), (true, "05", "62", "57")] {
        if own {
            world.terms(json!({"response_codes":
                {"partner_timeout": "05", "partner_bad_response": "62", "partner_unreachable": "57"}}));
        }
        world.rules(&["silent"]);
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), timeout);
        told(&world, "partner_timeout");
        world.rules(&["misspelt"]);
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), bad);
        told(&world, "partner_bad_response");
        world.rules(&["close"]);
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), unreachable);
        told(&world, "partner_unreachable");
    }
    world.pool_has("1000.00", "0.00");
}

#[test]
fn partner_choice_reserves_everywhere_and_settles_once() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.choice_card("20.00");
    let settled = |rules: &[&str], wire: &mut Wire, minor: u64, expected: &str| {
        world.rules(rules);
        assert_eq!(code(&wire.ask(&purchase(&card, minor))), expected, "{rules:?}");
    };
    settled(&["approve source account"], &mut wire, 500, "00");
    world.account_has(&account, "15.00", "5.00");
    world.pool_has("1000.00", "0.00");
    assert_eq!(world.newest(&card)["funding"], json!({"type": "account", "id": account}));
    settled(&["approve source pool"], &mut wire, 500, "00");
    assert_eq!(world.newest(&card)["funding"], json!({"type": "pool", "id": world.pool}));
    settled(&["approve"], &mut wire, 500, "00");
    world.account_has(&account, "15.00", "5.00");
    world.pool_has("990.00", "10.00");
    // Only the pool has enough: the account is not to be had.
    settled(&["approve source account"], &mut wire, 5000, "96");
    world.newest_is(&card, "declined", "partner_bad_response");
    settled(&["decline"], &mut wire, 500, "05");
    world.account_has(&account, "15.00", "5.00");
    world.pool_has("990.00", "10.00");
    // Nobody has enough: nobody is asked.
    let before = world.sample.seen().asks;
    settled(&["approve"], &mut wire, 999_999, "51");
    assert_eq!(world.sample.seen().asks, before);
    // Only the account has enough: it is what an answer without a source means.
    let poor = world.new_pool("EUR", "1.00");
    let funding = json!({"type": "partner_choice", "pool_id": poor, "currency": "EUR"});
    let other = world.card(funding);
    assert_eq!(code(&wire.ask(&purchase(&other, 700))), "00");
    world.account_has(&account, "8.00", "12.00");
    assert_eq!(world.pool_balance(&poor), ("1.00".to_owned(), "0.00".to_owned()));
}

#[test]
fn a_partners_notes_are_kept_with_the_tap() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.rules(&["approve metadata 200"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    let decision = world.newest(&card)["partner_decision"].clone();
    assert!(decision["metadata"].is_object(), "{decision}");
    assert!(decision["latency_us"].as_u64().is_some_and(|us| us > 0), "{decision}");
    assert!(decision["late_by_us"].is_null() || decision["late_by_us"] == 0, "{decision}");
    world.rules(&["approve metadata 2000"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00", "too long is dropped, not refused");
    let decision = world.newest(&card)["partner_decision"].clone();
    assert!(!decision["metadata"].to_string().contains("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), "{decision}");
}

#[test]
fn a_link_may_demand_a_sign_on() {
    let engine = Engine::start(Setup::link("require_sign_on = true"));
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 100);
    assert_eq!(code(&wire.ask(&tap)), "91");
    assert_eq!(code(&wire.ask(&purchase(&Card { pan: unknown_pan(), ..card.clone() }, 100))), "91", "rule 3 before 6");
    assert_eq!(code(&wire.ask(&advice(0x0120, &card, 100, "00"))), "00", "advices are not asked for it");
    assert_eq!(code(&wire.ask(&super::support::iso::network(270))), "00", "nor is an echo");
    assert_eq!(code(&wire.ask(&super::support::iso::network(1))), "00");
    assert_eq!(code(&wire.ask(&tap)), "00", "a refusal of rule 3 is not remembered");
    assert_eq!(code(&engine.wire().ask(&purchase(&card, 100))), "00", "per link, not per connection");
    engine.kill();
    engine.run();
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00", "kept across restarts");
    assert_eq!(code(&wire.ask(&super::support::iso::network(62))), "00");
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "91");
}

#[test]
fn a_draining_engine_refuses_taps_and_finishes_what_it_asked() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut asked, mut wire) = (world.pool_card(), engine.wire(), engine.wire());
    let (account_card, _) = world.account_card("100.00");
    world.rules(&["delay 1200ms", "approve"]);
    asked.send(&purchase(&card, 100));
    until("the ask", || (world.sample.seen().most_at_once > 0).then_some(()));
    engine.ask_to_stop();
    until("a refusal", || (code(&wire.ask(&purchase(&account_card, 1))) == "91").then_some(()));
    assert_eq!(code(&asked.reply()), "00", "the open ask is waited for");
    let ended = engine.ended();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    engine.run();
    world.pool_has("999.00", "1.00");
}

#[test]
fn the_sandbox_taps_through_the_real_listener() {
    let world = World::shared();
    let card = world.pool_card();
    let body = json!({"card_id": card.id, "amount": money("12.50", "EUR"),
        "merchant": {"name": "Corner Store", "city": "Lisboa", "country": "PRT", "mcc": "5411", "id": "M1"}});
    let answer = world.as_partner("/v1/sandbox/taps", &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.body;
    let seen = world.engine.get(&format!("/v1/authorizations/{}", word(&told, "authorization_id")));
    assert_eq!(seen["amount"], money("12.50", "EUR"));
    assert_eq!(seen["merchant"]["mcc"].as_str(), Some("5411"), "{seen}");
    assert_eq!(field(&told["reply"], "39"), json!("00"), "{told}");
    assert_eq!(field(&told["request"], "49"), json!("978"));
    world.pool_has("987.50", "12.50");
}

fn field(message: &Value, element: &str) -> Value {
    message["fields"][element]["value"].clone()
}
