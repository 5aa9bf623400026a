//! What can be read of money that moved: events with their postings, statements that add up, lists that page.

use serde_json::{Value, json};

use super::support::iso::replacement;
use super::support::world::word;
use super::support::{World, advice, code, message, money, purchase, reversal, until};

fn minor(text: &Value) -> i64 {
    text.as_str().unwrap_or_else(|| panic!("no amount: {text}")).replace('.', "").parse().expect("an amount")
}

fn statement(world: &World, path: &str) -> Value {
    until("the statement", || {
        let answer = world.engine.call("GET", path, Some(&world.key), None);
        (answer.status != 503).then(|| answer.clone().ok(path))
    })
}

/// Opening, lines and closing of what is posted; memo lines are part of no sum.
fn adds_up(of: &Value, closing: i64) {
    let lines = of["lines"].as_array().expect("lines");
    assert_eq!(minor(&of["closing"]["value"]), closing, "{of}");
    let counted = lines.iter().filter(|line| line["memo"] != true);
    let moved: i64 = counted.map(|line| minor(&line["amount"]["value"])).sum();
    assert_eq!(minor(&of["opening"]["value"]) + moved, closing, "{of}");
}

#[test]
fn every_state_change_has_its_postings_and_they_sum_to_zero() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let mut part = reversal(0x0400, &tap);
    part.set_text(95, replacement(1000, 0));
    assert_eq!(code(&wire.ask(&part)), "00");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    let id = word(&world.newest(&card), "id");
    let events = world.engine.list(&format!("/v1/authorizations/{id}/events"));
    assert!(events.len() >= 4, "held, approved, partly reversed, reversed: {events:?}");
    let mut sequences: Vec<u64> = events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert_eq!(sequences.len(), events.len(), "each has its sequence: {events:?}");
    let told = sequences.clone();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), told.len(), "no sequence twice: {told:?}");
    for event in &events {
        let postings = event["postings"].as_array().expect("postings");
        let side = |side: &str| postings.iter().map(|one| minor(&one[side])).sum::<i64>();
        assert_eq!(side("debit"), side("credit"), "{event}");
    }
    let moved = events.iter().filter(|event| event["postings"].as_array().is_some_and(|all| !all.is_empty())).count();
    assert_eq!(moved, 3, "an approval moves nothing, the rest does: {events:?}");
}

#[test]
fn statements_add_up() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.account_card("100.00");
    let pool_card = world.pool_card();
    for card in [&card, &pool_card] {
        let kept = purchase(card, 1000);
        let back = message(0x0200, card, 300);
        assert_eq!(code(&wire.ask(&kept)), "00");
        assert_eq!(code(&wire.ask(&message(0x0200, card, 700))), "00");
        assert_eq!(code(&wire.ask(&back)), "00");
        assert_eq!(code(&wire.ask(&reversal(0x0400, &back))), "00");
        assert_eq!(code(&wire.ask(&advice(0x0120, card, 200, "00"))), "00");
    }
    world.account_has(&account, "81.00", "12.00");
    let account_sheet = statement(&world, &format!("/v1/accounts/{account}/statement?limit=200"));
    let pool_sheet = statement(&world, &format!("/v1/pools/{}/statement?limit=200", world.pool));
    adds_up(&account_sheet, 9300);
    adds_up(&pool_sheet, 99_300);
}

#[test]
fn lists_page_without_losing_or_repeating() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for _ in 0..7 {
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    }
    assert_eq!(code(&wire.ask(&purchase(&card, 9_999_999))), "51");
    let all: Vec<String> = world.authorizations(&card).iter().map(|one| word(one, "id")).collect();
    assert_eq!(all.len(), 8);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..4 {
        let path = format!("/v1/authorizations?card_id={}&limit=3{cursor}", card.id);
        let page = world.engine.call("GET", &path, Some(&world.key), None).ok(&path);
        let data = page["data"].as_array().expect("a list");
        assert!(data.len() <= 3);
        seen.extend(data.iter().map(|one| word(one, "id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all, "newest first, each once");
    let by = |query: &str| world.engine.list(&format!("/v1/authorizations?{query}")).len();
    assert_eq!(by(&format!("user_id={}", world.user)), 8);
    assert_eq!(by(&format!("pool_id={}&outcome=approved", world.pool)), 7);
    assert_eq!(by(&format!("pool_id={}&outcome=declined", world.pool)), 1);
    let decided = word(&world.newest(&card), "updated_at");
    assert_eq!(by(&format!("card_id={}&updated_since={decided}", card.id)), 1);
    assert_eq!(by(&format!("card_id={}&from=2001-01-01T00:00:00Z&to=2002-01-01T00:00:00Z", card.id)), 0);
}

#[test]
fn a_minimum_stops_withdrawals_and_never_a_tap() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let path = format!("/v1/pools/{}", world.pool);
    world.engine.patch(&path, &json!({"minimum_balance": money("500.00", "EUR")}));
    let out = |value: &str| {
        let body = json!({"amount": money(value, "EUR"), "reference": "out"});
        world.as_partner(&format!("{path}/withdrawals"), &body)
    };
    assert_eq!(out("400.00").status, 201);
    assert_eq!(world.engine.get(&path)["below_minimum"], json!(false));
    assert_eq!(code(&wire.ask(&purchase(&card, 20_000))), "00");
    let pool = world.engine.get(&path);
    assert_eq!(pool["below_minimum"], json!(true), "{pool}");
    assert_eq!(pool["posted"], money("600.00", "EUR"), "available and held");
    out("0.01").refused(409, "below_minimum_balance");
    assert_eq!(code(&wire.ask(&purchase(&card, 40_000))), "00", "down to the last cent");
    assert_eq!(code(&wire.ask(&purchase(&card, 1))), "51");
}
