//! Answers that come too late, from the partner or from us: recorded, and they move nothing.

use iso_codec::Mti;
use serde_json::json;

use super::support::iso::network;
use super::support::{Engine, Setup, World, code, purchase, reversal, until};

#[test]
fn a_partner_that_answers_late_changes_nothing() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.terms(json!({"decision_timeout_ms": 150}));
    world.rules(&["late 100ms"]);
    let tap = purchase(&card, 1250);
    let reply = wire.ask_bytes(&tap);
    assert_eq!(code(&super::support::iso::read(reply.clone())), "91");
    world.pool_has("1000.00", "0.00");
    world.newest_is(&card, "declined", "partner_timeout");
    let decision = until("the late answer", || {
        let decision = world.newest(&card)["partner_decision"].clone();
        decision["late_by_us"].as_u64().is_some_and(|us| us > 0).then_some(decision)
    });
    assert!(decision.to_string().contains("approve"), "what it said is kept: {decision}");
    world.newest_is(&card, "declined", "partner_timeout");
    world.pool_has("1000.00", "0.00");
    assert_eq!(wire.ask_bytes(&tap), reply);
}

#[test]
fn our_own_lateness_frees_the_hold() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    world.pool_has("987.50", "12.50");
    // 0190: the network had not our answer in time. Another acquirer's is another tap's.
    let mut told = tap.clone();
    told.mti = Mti(0x0190);
    let mut strange = told.clone();
    strange.set_text(32, "099999");
    wire.send(&strange);
    wire.nothing_but_an_echo();
    world.pool_has("987.50", "12.50");
    wire.send(&told);
    wire.nothing_but_an_echo();
    world.pool_has("1000.00", "0.00");
    let newest = world.newest(&card);
    assert_eq!((newest["status"].as_str(), newest["reason"].as_str()), (Some("reversed"), Some("answered_late")));
    assert!(newest["outcome"].is_null() && newest["response_code"].is_null(), "{newest}");
    assert_eq!(newest["held"]["value"].as_str(), Some("0.00"));
    assert_eq!(code(&wire.ask(&tap)), "91", "a repeat gets 91");
    assert_eq!(code(&wire.ask(&network(270))), "00");
    // Twice is once.
    wire.send(&told);
    wire.nothing_but_an_echo();
    world.pool_has("1000.00", "0.00");
}

#[test]
fn the_budget_of_a_link_ends_an_ask_in_time_to_answer() {
    let engine = Engine::start(Setup::link("budget = \"600ms\""));
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    world.rules(&["silent"]);
    // The partner would have 1.5 s; the network waits for 600 ms.
    assert_eq!(code(&wire.ask(&purchase(&card, 1250))), "91");
    world.newest_is(&card, "declined", "partner_timeout");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn a_hold_that_nobody_wants_expires_by_itself() {
    let engine =
        Engine::start(Setup { sections: "[authorization]\nhold_lifetime = \"1s\"\n".to_owned(), ..Setup::default() });
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    let (tap, mut preauthorization) = (purchase(&card, 1250), purchase(&card, 100));
    preauthorization.set_text(61, "00000040000000620");
    assert_eq!(code(&wire.ask(&tap)), "00");
    assert_eq!(code(&wire.ask(&preauthorization)), "00");
    assert!(world.newest(&card)["expires_at"].is_string());
    until("the hold to expire", || (world.pool_balance(&world.pool).1 == "1.00").then_some(()));
    world.pool_has("999.00", "1.00");
    let expired = world.authorizations(&card).pop().expect("two");
    assert_eq!(
        (expired["status"].as_str(), expired["outcome"].as_str()),
        (Some("expired"), Some("approved")),
        "{expired}"
    );
    // A reversal of what is gone gives nothing back, and a restart brings nothing again.
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.pool_has("999.00", "1.00");
    engine.kill();
    engine.run();
    world.pool_has("999.00", "1.00");
}

#[test]
fn an_advice_may_overtake_the_partners_answer() {
    let world = World::shared();
    let (card, mut wire, mut second) = (world.pool_card(), world.wire(), world.wire());
    world.rules(&["delay 600ms", "decline"]);
    let tap = purchase(&card, 1250);
    wire.send(&tap);
    until("the ask", || (world.sample.seen().most_at_once > 0).then_some(()));
    let mut told = super::support::advice(0x0120, &card, 900, "00");
    told.set_text(63, super::support::iso::text(&tap, 63));
    assert_eq!(code(&second.ask(&told)), "00");
    assert_eq!(code(&wire.reply()), "00", "the network decided it");
    world.pool_has("991.00", "9.00");
    until("the partner's answer", || world.newest(&card)["partner_decision"].is_object().then_some(()));
    world.pool_has("991.00", "9.00");
    world.newest_is(&card, "approved", "approved");
}
