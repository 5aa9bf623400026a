//! `hostile.md`, money: races for the last of it, amounts at the edges, answers that come too late to count.

use std::thread;

use serde_json::json;

use super::support::world::word;
use super::support::{Engine, Setup, Wire, World, code, message, money, purchase, reversal, until};

fn minor(text: &str) -> i64 {
    text.replace('.', "").parse().expect("an amount")
}

#[test]
fn h11_amounts_at_the_edges() {
    let world = World::shared();
    let mut wire = world.wire();
    let rich = world.new_pool("EUR", "10000000000.00");
    let card = world.card(json!({"type": "pool", "pool_id": rich}));
    for (minor, expected) in [(0, "13"), (1, "00"), (999_999_999_999, "00"), (999_999_999_999, "51")] {
        assert_eq!(code(&wire.ask(&purchase(&card, minor))), expected, "{minor}");
    }
    assert_eq!(world.pool_balance(&rich), ("0.00".to_owned(), "10000000000.00".to_owned()));
    assert_eq!(code(&wire.ask(&message(0x0200, &card, 0))), "13");
}

#[test]
fn h12_two_taps_for_the_last_money_a_thousand_times() {
    let world = World::shared();
    let (card, account) = world.account_card("1.00");
    let (mut left, mut right) = (world.wire(), Wire::connect(world.engine.link(1)));
    for round in 0..1000 {
        let taps = [purchase(&card, 100), purchase(&card, 100)];
        left.send(&taps[0]);
        right.send(&taps[1]);
        let codes = [code(&left.reply()), code(&right.reply())];
        let won = match [codes[0].as_str(), codes[1].as_str()] {
            ["00", "51"] => &taps[0],
            ["51", "00"] => &taps[1],
            other => panic!("round {round}: {other:?}"),
        };
        assert_eq!(code(&left.ask(&reversal(0x0400, won))), "00");
    }
    world.account_has(&account, "1.00", "0.00");
}

#[test]
fn h14_a_partner_that_approves_too_late_or_too_much() {
    let world = World::shared();
    let (card, mut wire, mut second) = (world.pool_card(), world.wire(), world.wire());
    let mut able = purchase(&card, 1250);
    able.set_subs(48, &[("TCC", "R"), ("61", "10000")]);
    world.rules(&["approve amount 12.51"]);
    assert_eq!(code(&wire.ask(&able)), "96", "more than was asked");
    // After the deadline.
    world.terms(json!({"decision_timeout_ms": 100}));
    world.rules(&["late 50ms"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 1250))), "91");
    // After the hold was voided.
    world.terms(json!({"decision_timeout_ms": 1500}));
    world.rules(&["delay 300ms", "approve"]);
    let tap = purchase(&card, 1250);
    let asks = world.sample.seen().asks;
    wire.send(&tap);
    until("the ask", || (world.sample.seen().asks > asks).then_some(()));
    assert_eq!(code(&second.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!(code(&wire.reply()), "05");
    until("both late answers", || {
        let all = world.authorizations(&card);
        (all.iter().filter(|one| one["partner_decision"]["outcome"] == "approve").count() == 2).then_some(())
    });
    world.pool_has("1000.00", "0.00");
}

#[test]
fn h15_a_quote_executes_once_and_rates_are_sane() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    for rate in ["0", "-1", "1e400", "NaN", "1000000000000000000000000000000"] {
        let answer = engine.call("PUT", "/v1/rates/USDC-EUR", Some(&engine.operator()), Some(&json!({"rate": rate})));
        assert!((400..500).contains(&answer.status), "{rate}: {}", answer.text);
        answer.problem();
    }
    engine.put("/v1/rates/USDC-EUR", &json!({"rate": "0.92", "markup_bps": 50}));
    let deposit = json!({"user_id": world.user, "amount": money("100.000000", "USDC"), "reference": "tx"});
    engine.post("/v1/crypto-deposits", &deposit);
    for _ in 0..10 {
        let body = json!({"user_id": world.user, "from": money("10.000000", "USDC"), "to": "EUR"});
        let quote = world.as_partner("/v1/quotes", &body).ok("a quote");
        // 10 x 0.92 x 0.995 = 9.154, down.
        assert_eq!(quote["to"], money("9.15", "EUR"));
        let body = json!({"quote_id": word(&quote, "id"), "reference": "r"});
        let mut statuses: Vec<(u16, Option<String>)> = thread::scope(|scope| {
            let both: Vec<_> = (0..2).map(|_| scope.spawn(|| world.as_partner("/v1/off-ramps", &body))).collect();
            let answers = both.into_iter().map(|one| one.join().expect("an answer"));
            answers.map(|a| (a.status, a.body["code"].as_str().map(str::to_owned))).collect()
        });
        statuses.sort();
        assert_eq!(statuses, [(201, None), (409, Some("quote_used".to_owned()))]);
    }
    let body = json!({"user_id": world.user, "from": money("1.000000", "USDC"), "to": "EUR"});
    let answer = world.as_partner("/v1/quotes", &body);
    let spent = match answer.status {
        201 => world.as_partner("/v1/off-ramps", &json!({"quote_id": word(&answer.body, "id")})),
        _ => answer,
    };
    spent.refused(409, "insufficient_funds");
    let accounts = engine.get(&format!("/v1/users/{}/accounts", world.user));
    assert!(accounts.to_string().contains("91.50"), "{accounts}");
}

#[test]
fn h16_withdrawals_and_payouts_race_taps() {
    let world = World::shared();
    world.terms(json!({"decision_mode": "auto_approve"}));
    let pool = world.new_pool("EUR", "100.00");
    let card = world.card(json!({"type": "pool", "pool_id": pool}));
    let (account_card, account) = world.account_card("100.00");
    let out = json!({"amount": money("3.00", "EUR"), "reference": "out"});
    let pay = json!({"account_id": account, "amount": money("3.00", "EUR"), "beneficiary": "PT50", "reference": "out"});
    let taken = |path: String, body: &serde_json::Value| {
        let answers = (0..40).map(|_| world.as_partner(&path, body));
        answers
            .map(|answer| match answer.status {
                201 => 300,
                _ => {
                    answer.refused(409, "insufficient_funds");
                    0
                }
            })
            .sum::<i64>()
    };
    let (withdrawn, paid, tapped) = thread::scope(|scope| {
        let withdrawn = scope.spawn(|| taken(format!("/v1/pools/{pool}/withdrawals"), &out));
        let paid = scope.spawn(|| taken("/v1/payouts".to_owned(), &pay));
        let taps = scope.spawn(|| {
            let mut wire = world.wire();
            let mut held = [0i64; 2];
            for _ in 0..40 {
                for (at, card) in [&card, &account_card].into_iter().enumerate() {
                    match code(&wire.ask(&purchase(card, 200))).as_str() {
                        "00" => held[at] += 200,
                        other => assert_eq!(other, "51"),
                    }
                }
            }
            held
        });
        (withdrawn.join().expect("done"), paid.join().expect("done"), taps.join().expect("done"))
    });
    for (balance, out, held) in
        [(world.pool_balance(&pool), withdrawn, tapped[0]), (world.account_balance(&account), paid, tapped[1])]
    {
        assert_eq!(minor(&balance.1), held, "what was approved is held");
        assert_eq!(minor(&balance.0) + held + out, 10_000, "nothing made, nothing lost");
        assert!(minor(&balance.0) >= 0 && minor(&balance.0) < 300);
    }
}

#[test]
fn h17_sums_beyond_the_type_are_refused() {
    let world = World::shared();
    let account = world.new_account("EUR", "0");
    let operator = world.engine.operator();
    let pay_in = |value: &str| {
        let body = json!({"account_id": account, "amount": money(value, "EUR"), "reference": "r"});
        world.engine.call("POST", "/v1/pay-ins", Some(&operator), Some(&body))
    };
    for absurd in ["92233720368547758.08", "100000000000000000000.00", "99999999999999999999999999999999999999999.00"] {
        let answer = pay_in(absurd);
        assert!((400..500).contains(&answer.status), "{}", answer.text);
        answer.problem();
    }
    // As large as it takes, again and again: at some point refused, never wrapped.
    let mut sum: i128 = 0;
    let mut refused = false;
    for _ in 0..200 {
        let answer = pay_in("50000000000000000.00");
        match answer.status {
            201 => sum += 5_000_000_000_000_000_000,
            _ => {
                assert!((400..500).contains(&answer.status), "{}", answer.text);
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "sums have an end");
    let available = world.account_balance(&account).0;
    assert_eq!(available.replace('.', "").parse::<i128>().expect("an amount"), sum);
    assert_eq!(code(&world.wire().ask(&purchase(&world.pool_card(), 100))), "00", "serving");
}
