//! Where each tap's time went (contracts 4.1 and 5): stages that add up, for everyone who may see the authorization.

use serde_json::{Value, json};

use super::support::world::word;
use super::support::{Answer, Card, Engine, Setup, World, advice, code, purchase, reversal, until};

/// What every tap goes through, in its order; one that asks has the rest between the first decision and the last.
const DIRECT: [&str; 5] = ["queue", "decode", "decide", "journal", "reply"];
const ASKED: [&str; 9] = ["queue", "decode", "decide", "wait", "partner", "wait", "decide", "journal", "reply"];

fn trace_as(world: &World, id: &str, key: &str) -> Answer {
    world.engine.call("GET", &format!("/v1/authorizations/{id}/trace"), Some(key), None)
}

/// The trace of the newest authorization of a card, asked for with its partner's key.
fn newest(world: &World, card: &Card) -> Value {
    let id = word(&world.newest(card), "id");
    let trace = trace_as(world, &id, &world.key).ok("a trace");
    assert_eq!(word(&trace, "authorization_id"), id);
    trace
}

fn stages(trace: &Value) -> Vec<&str> {
    let all = trace["stages"].as_array().expect("stages");
    all.iter().map(|one| one["stage"].as_str().expect("a word")).collect()
}

fn ns(of: &Value, member: &str) -> u64 {
    of[member].as_u64().unwrap_or_else(|| panic!("no {member} in {of}"))
}

/// Each stage begins where the one before ended; returns where the last one ended.
fn end_of_stages(trace: &Value) -> u64 {
    trace["stages"].as_array().expect("stages").iter().fold(0, |end, one| {
        assert_eq!(ns(one, "start_ns"), end, "{trace}");
        end + ns(one, "ns")
    })
}

/// Checks that a trace is whole and adds up.
fn whole(trace: &Value, expected: &[&str]) {
    assert_eq!(trace["complete"], json!(true), "{trace}");
    assert_eq!(stages(trace), expected, "{trace}");
    let total = ns(trace, "total_ns");
    assert_eq!(end_of_stages(trace), total, "{trace}");
    assert_eq!(ns(trace, "partner_ns") + ns(trace, "engine_ns"), total, "{trace}");
    let asked: u64 = trace["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .filter(|one| one["stage"] == "partner")
        .map(|one| ns(one, "ns"))
        .sum();
    assert_eq!(asked, ns(trace, "partner_ns"), "{trace}");
}

#[test]
fn a_tap_by_account_has_every_stage_but_the_partners_and_a_repeat_has_the_firsts() {
    let world = World::shared();
    let ((card, _), mut wire) = (world.account_card("10.00"), world.wire());
    let tap = purchase(&card, 250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let first = newest(&world, &card);
    whole(&first, &DIRECT);
    assert_eq!(ns(&first, "partner_ns"), 0);
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(newest(&world, &card), first, "a repeat is the same authorization");
    // Declined by the book.
    assert_eq!(code(&wire.ask(&purchase(&card, 100_000))), "51");
    whole(&newest(&world, &card), &DIRECT);
    // Decided by the network.
    assert_eq!(code(&wire.ask(&advice(0x0120, &card, 100, "00"))), "00");
    whole(&newest(&world, &card), &DIRECT);
}

#[test]
fn a_partners_time_is_told_apart_and_while_it_is_asked_what_is_over_is_told() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.rules(&["delay 50ms", "approve"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 250))), "00");
    let trace = newest(&world, &card);
    whole(&trace, &ASKED);
    assert!(ns(&trace, "partner_ns") >= 50_000_000, "the partner waited for 50 ms: {trace}");

    world.rules(&["decline limit_exceeded"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 250))), "61");
    whole(&newest(&world, &card), &ASKED);

    world.terms(json!({"decision_timeout_ms": 100}));
    world.rules(&["silent"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 250))), "91");
    whole(&newest(&world, &card), &ASKED);

    // Under way, then decided by a reversal.
    world.terms(json!({"decision_timeout_ms": 1_500}));
    let tap = purchase(&card, 250);
    let before = world.authorizations(&card).len();
    wire.send(&tap);
    until("the tap to be known", || (world.authorizations(&card).len() > before).then_some(()));
    let pending = newest(&world, &card);
    assert_eq!(stages(&pending), ["queue", "decode", "decide", "wait"], "{pending}");
    end_of_stages(&pending);
    assert_eq!(pending["complete"], json!(false));
    for member in ["total_ns", "partner_ns", "engine_ns"] {
        assert_eq!(pending[member], Value::Null, "{pending}");
    }
    let mut other = world.wire();
    assert_eq!(code(&other.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!(code(&wire.reply()), "05");
    whole(&newest(&world, &card), &ASKED);

    // Nobody was asked.
    world.terms(json!({"decision_url": null}));
    assert_eq!(code(&wire.ask(&purchase(&card, 250))), "91");
    whole(&newest(&world, &card), &DIRECT);
}

#[test]
fn a_trace_is_its_partners_and_what_is_not_kept_is_told_as_gone() {
    let engine = Engine::start(Setup::default());
    let (world, stranger) = (World::on(&engine), World::on(&engine));
    let (card, mut wire) = (world.pool_card(), engine.wire());
    assert_eq!(code(&wire.ask(&purchase(&card, 250))), "00");
    let id = word(&world.newest(&card), "id");
    whole(&trace_as(&world, &id, &engine.operator()).ok("an operator's"), &ASKED);
    trace_as(&world, &id, &stranger.key).refused(404, "not_found");
    trace_as(&world, "aut_0000000000000001", &world.key).refused(404, "not_found");
    trace_as(&world, &card.id, &world.key).refused(404, "not_found");
    assert_eq!(trace_as(&world, &id, "nobody").status, 401);

    engine.stop();
    engine.run();
    trace_as(&world, &id, &world.key).refused(404, "trace_gone");
    trace_as(&world, &id, &stranger.key).refused(404, "not_found");

    engine.stop();
    engine.configure(Setup { sections: "[telemetry]\ntraces = 0\n".to_owned(), ..Setup::default() });
    engine.run();
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 250))), "00");
    trace_as(&world, &word(&world.newest(&card), "id"), &world.key).refused(404, "trace_gone");
}

#[test]
fn each_tap_counts_once_in_every_stage_it_went_through() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let ((by_account, _), by_pool, mut wire) = (world.account_card("10.00"), world.pool_card(), engine.wire());
    for card in [&by_account, &by_account, &by_pool] {
        assert_eq!(code(&wire.ask(&purchase(card, 250))), "00");
    }
    let tap = purchase(&by_account, 250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    // Neither is a tap.
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    let count = |stage: &str| engine.metric("auth_tap_seconds_count", &[&format!("stage=\"{stage}\"")]);
    until("the counters", || (count("total") >= 4.0).then_some(()));
    for stage in ["decode", "queue", "decide", "journal", "reply", "total"] {
        assert_eq!(count(stage), 4.0, "{stage}");
    }
    assert_eq!(count("partner"), 1.0);
}
