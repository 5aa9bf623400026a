//! Answers that come too late, from the partner or from us: recorded, and they move nothing.

use iso_codec::Mti;
use serde_json::json;

use super::support::iso::network;
use super::support::{World, code, purchase, until};

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
