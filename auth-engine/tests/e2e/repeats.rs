//! The same message again (contracts 2.5): the same bytes, moved once, before and after a restart.

use iso_codec::{Draft, Mti};
use serde_json::json;

use super::support::iso::network;
use super::support::{Engine, Setup, Wire, World, advice, code, de, message, purchase, reversal, until};

/// The same message with the repeat digit.
fn repeated(of: &Draft) -> Draft {
    let mut again = of.clone();
    again.mti = Mti(of.mti.0 | 1);
    again
}

#[test]
fn every_answer_comes_again_byte_for_byte_even_after_a_restart() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    let (account_card, account) = world.account_card("10.00");
    let mut partial = purchase(&card, 2000);
    partial.set_subs(48, &[("TCC", "R"), ("61", "10000")]);
    let mut said: Vec<(Draft, bytes::Bytes)> = Vec::new();
    let mut ask = |wire: &mut Wire, draft: Draft, expected: &str| {
        let bytes = wire.ask_bytes(&draft);
        assert_eq!(code(&super::support::iso::read(bytes.clone())), expected);
        said.push((draft, bytes));
    };
    let approved = purchase(&card, 1250);
    ask(&mut wire, approved.clone(), "00");
    ask(&mut wire, purchase(&account_card, 1001), "51");
    ask(&mut wire, message(0x0200, &account_card, 400), "00");
    ask(&mut wire, advice(0x0120, &card, 300, "00"), "00");
    ask(&mut wire, advice(0x0220, &card, 300, "05"), "00");
    world.rules(&["approve amount 5.00"]);
    ask(&mut wire, partial, "10");
    world.rules(&["decline limit_exceeded"]);
    ask(&mut wire, purchase(&card, 700), "61");
    let mut part = reversal(0x0420, &approved);
    part.set_text(95, super::support::iso::replacement(1000, 0));
    ask(&mut wire, part, "00");
    ask(&mut wire, advice(0x0220, &account_card, 200, "00"), "00");
    let given_back = purchase(&account_card, 100);
    assert_eq!(code(&wire.ask(&given_back)), "00");
    ask(&mut wire, reversal(0x0400, &given_back), "00");
    let balances = (world.pool_balance(&world.pool), world.account_balance(&account));
    let asks = world.sample.seen().asks;
    for again in [false, true, false] {
        if again {
            engine.kill();
            engine.run();
        }
        let mut wire = engine.wire();
        // The balance has changed since; what was told of it has not.
        for (draft, bytes) in &said {
            assert_eq!(&wire.ask_bytes(draft), bytes, "{} again", draft.mti);
            assert_eq!(&wire.ask_bytes(&repeated(draft)), bytes, "{} as a repeat", draft.mti);
        }
        assert_eq!((world.pool_balance(&world.pool), world.account_balance(&account)), balances);
    }
    assert_eq!(world.sample.seen().asks, asks, "nobody is asked twice");
}

#[test]
fn a_changed_repeat_is_94_and_replaces_nothing() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    let first = wire.ask_bytes(&tap);
    for (element, text) in [(3, "010000"), (4, "000000001251"), (49, "840")] {
        let mut changed = tap.clone();
        changed.set_text(element, text);
        let reply = wire.ask(&changed);
        assert_eq!((code(&reply).as_str(), de(&reply, 38)), ("94", None), "DE{element}");
    }
    assert_eq!(wire.ask_bytes(&tap), first);
    // What is not part of the key may change.
    let mut same = repeated(&tap);
    same.set_text(12, "130000").set_text(18, "5999").set_text(22, "011");
    assert_eq!(wire.ask_bytes(&same), first);
    for (mti, expected) in [(0x0120, "00"), (0x0400, "00")] {
        let told = match mti {
            0x0120 => advice(mti, &card, 500, "00"),
            _ => reversal(mti, &purchase(&card, 1)),
        };
        assert_eq!(code(&wire.ask(&told)), expected);
        let mut changed = told.clone();
        changed.set_text(4, "000000000777");
        assert_eq!(code(&wire.ask(&changed)), "94");
    }
    world.pool_has("982.50", "17.50");
    assert_eq!(world.sample.seen().asks, 1);
}

#[test]
fn what_stands_in_the_key_makes_another_message() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 100);
    assert_eq!(code(&wire.ask(&tap)), "00");
    for (element, text) in [(7, "1122235959"), (11, "999999"), (32, "012346"), (33, "200043"), (63, "MCC999998")] {
        let mut other = tap.clone();
        other.set_text(element, text);
        assert_eq!(code(&wire.ask(&other)), "00", "DE{element}");
        let mut absent = tap.clone();
        absent.set_text(4, "000000000101");
        if element > 11 && absent.remove(element) {
            assert_eq!(code(&wire.ask(&absent)), "00", "absent is a value of its own: DE{element}");
        }
    }
    let mut financial = tap.clone();
    financial.mti = Mti(0x0200);
    assert_eq!(code(&wire.ask(&financial)), "00", "another class is another message");
    for element in [41, 37] {
        let mut same = tap.clone();
        same.set_text(element, if element == 41 { "TERM0099" } else { "999999999999" });
        assert_eq!(code(&wire.ask(&same)), "00");
    }
    // The first, five with another element, three with an absent one, one financial: DE41 and DE37 made none.
    assert_eq!(world.sample.seen().asks, 10);
    assert_eq!(world.authorizations(&card).len(), 10);
}

#[test]
fn h09_a_repeat_waits_for_the_first_on_either_link() {
    let world = World::shared();
    let card = world.pool_card();
    let mut wires: Vec<Wire> = (0..4).map(|at| Wire::connect(world.engine.link(at % 2))).collect();
    world.rules(&["delay 400ms", "approve"]);
    let tap = purchase(&card, 1250);
    for (at, wire) in wires.iter_mut().enumerate() {
        wire.send(&if at % 2 == 1 { repeated(&tap) } else { tap.clone() });
    }
    let first = wires[0].reply_bytes();
    assert_eq!(code(&super::support::iso::read(first.clone())), "00");
    for wire in &mut wires[1..] {
        assert_eq!(wire.reply_bytes(), first);
    }
    assert_eq!(world.sample.seen().asks, 1);
    world.pool_has("987.50", "12.50");
    // Racing from two links, many times, with nobody to ask.
    let (account_card, account) = world.account_card("100.00");
    for _ in 0..50 {
        let tap = purchase(&account_card, 100);
        wires[0].send(&tap);
        wires[1].send(&tap);
        assert_eq!(wires[0].reply_bytes(), wires[1].reply_bytes());
    }
    world.account_has(&account, "50.00", "50.00");
}

#[test]
fn a_repeat_of_what_was_reversed_is_05() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let (full, part) = (purchase(&card, 1000), purchase(&card, 2000));
    assert_eq!(code(&wire.ask(&full)), "00");
    let partly = wire.ask_bytes(&part);
    assert_eq!(code(&wire.ask(&reversal(0x0400, &full))), "00");
    let mut some = reversal(0x0400, &part);
    some.set_text(95, super::support::iso::replacement(500, 0));
    assert_eq!(code(&wire.ask(&some)), "00");
    let again = wire.ask(&repeated(&full));
    assert_eq!((code(&again).as_str(), de(&again, 38)), ("05", None));
    assert_eq!(wire.ask_bytes(&repeated(&part)), partly, "a part of it still stands");
    world.pool_has("995.00", "5.00");
}

#[test]
fn refusals_at_the_door_are_not_remembered() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let mut tap = purchase(&card, 100);
    tap.remove(49);
    assert_eq!(code(&wire.ask(&tap)), "30");
    tap.set_text(49, "978");
    assert_eq!(code(&wire.ask(&tap)), "00");
}

#[test]
fn an_interrupted_tap_is_decided_at_recovery() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    world.rules(&["silent"]);
    let tap = purchase(&card, 1250);
    wire.send(&tap);
    until("the ask", || (world.sample.seen().most_at_once > 0).then_some(()));
    // What a read shows is durable: the hold is.
    until("the hold", || (world.pool_balance(&world.pool).1 == "12.50").then_some(()));
    engine.kill();
    engine.run();
    world.pool_has("1000.00", "0.00");
    world.newest_is(&card, "declined", "interrupted");
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&repeated(&tap))), "91");
    world.terms(json!({"decision_mode": "auto_approve"}));
    assert_eq!(code(&wire.ask(&tap)), "91", "decided is decided");
    assert_eq!(code(&wire.ask(&network(270))), "00");
}
