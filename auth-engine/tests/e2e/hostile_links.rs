//! `hostile.md`, links: bytes that no network should send, on the real port, with an honest peer beside them.

use std::io::Write;
use std::net::Shutdown;

use bytes::Bytes;
use iso_codec::Mti;
use serde_json::json;

use super::support::iso::{framed, network, read, spec};
use super::support::{Engine, Setup, Wire, World, advice, code, de, purchase, reversal, until};

#[test]
fn h01_garbage_instead_of_a_frame() {
    let world = World::shared();
    let (card, mut honest) = (world.pool_card(), world.wire());
    let rejected = || world.engine.metric("auth_frames_rejected_total", &[]);
    let streams: [&[u8]; 5] =
        [&[0, 0], &[0, 1, 0xF0], &[0xFF, 0xFF, 1, 2, 3], &[0x20, 0x01, 1, 2, 3], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"];
    for bytes in streams {
        let before = rejected();
        let mut wire = world.wire();
        wire.send_bytes(bytes);
        wire.stream.shutdown(Shutdown::Write).expect("a socket");
        assert!(wire.closed(), "cut by us, closed by it");
        until("the frame to be counted", || (rejected() > before).then_some(()));
        assert_eq!(code(&honest.ask(&purchase(&card, 100))), "00", "serving");
    }
    // A length beyond max_frame loses the framing: closed without our doing.
    let mut wire = world.wire();
    wire.send_bytes(&[0xFF, 0xFF, 1, 2, 3]);
    assert!(wire.closed());
}

#[test]
fn h02_frames_cut_split_and_glued() {
    let world = World::shared();
    let (card, _) = world.account_card("100.00");
    let mut honest = world.wire();
    let whole = framed(&purchase(&card, 100).encode(&spec()).expect("encodes"));
    for cut in 0..whole.len() {
        let mut wire = world.wire();
        wire.send_bytes(&whole[..cut]);
        wire.hang_up();
        if cut % 32 == 0 {
            assert_eq!(code(&honest.ask(&network(270))), "00");
        }
    }
    let mut wire = world.wire();
    for byte in &whole {
        wire.send_bytes(std::slice::from_ref(byte));
    }
    assert_eq!(code(&wire.reply()), "00");
    let ten: Vec<u8> = (0..10).flat_map(|_| framed(&purchase(&card, 100).encode(&spec()).expect("encodes"))).collect();
    wire.send_bytes(&ten);
    for _ in 0..10 {
        assert_eq!(code(&wire.reply()), "00");
    }
    assert_eq!(world.authorizations(&card).len(), 11, "the cut ones were nothing");
}

#[test]
fn h03_messages_that_do_not_decode() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let frame = || purchase(&card, 100).encode(&spec()).expect("encodes").to_vec();
    let named = |wire: &mut Wire, bytes: &[u8]| {
        wire.send_frame(bytes);
        let reply = wire.reply();
        assert_eq!(code(&reply), "30");
        de(&reply, 44).expect("DE44")
    };
    // Cut inside DE63; bytes left over; a length inside that runs over the end.
    let whole = frame();
    assert_eq!(named(&mut wire, &whole[..whole.len() - 3]), "063");
    assert_eq!(named(&mut wire, &[frame(), vec![0xF0; 4]].concat()), "001");
    let mut over = frame();
    let at = over.len() - 12;
    over[at..at + 3].copy_from_slice(&[0xF9, 0xF9, 0xF9]);
    assert_eq!(named(&mut wire, &over), "063");
    // A bitmap that promises what is not there: DE64 behind the last element.
    let mut promise = frame();
    promise[11] |= 1;
    assert_eq!(named(&mut wire, &promise), "064");
    // ASCII where EBCDIC is spoken: no type, no answer.
    wire.send_frame(b"0100\xF2\x30\x00\x00\x00\x00\x00\x005351101200004242");
    // Types that nobody knows: a request has its class's answer, the rest is dropped.
    let mut odd = network(270);
    odd.remove(70);
    odd.mti = Mti(0x0500);
    assert_eq!(code(&wire.ask(&odd)), "12");
    odd.mti = Mti(0x0170);
    wire.send(&odd);
    wire.nothing_but_an_echo();
    world.pool_has("1000.00", "0.00");
}

#[test]
fn h04_odd_insides_do_not_hinder_a_decision() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let odd: [(u8, Vec<u8>); 6] = [
        (48, vec![0xD9, 0xF4, 0xF2, 0xF9, 0xF9, 0xF1]),
        (48, vec![0x00, 0xFF, 0x01]),
        (55, vec![0x9F, 0x26, 0x88, 0x01]),
        (55, vec![0xFF; 7]),
        (61, vec![0xF0, 0xF0]),
        (63, vec![0xE7]),
    ];
    for (element, raw) in odd {
        let mut tap = purchase(&card, 100);
        tap.set_raw(element, raw);
        assert_eq!(code(&wire.ask(&tap)), "00", "DE{element}");
    }
}

#[test]
fn h06_a_peer_that_never_reads_is_cut_off() {
    let engine = Engine::start(Setup { sections: "[switch]\nout_buffer = \"64KiB\"\n".to_owned(), ..Setup::default() });
    let (mut deaf, mut honest) = (engine.wire(), engine.wire());
    socket2::SockRef::from(&deaf.stream).set_recv_buffer_size(4096).expect("a socket");
    let many: Vec<u8> = (0..500).flat_map(|_| framed(&network(270).encode(&spec()).expect("encodes"))).collect();
    let cut = (0..2000).any(|_| deaf.stream.write_all(&many).is_err());
    assert!(cut, "a million echoes were taken from a peer that reads nothing");
    assert_eq!(code(&honest.ask(&network(270))), "00");
}

#[test]
fn h07_past_the_limit_each_is_answered() {
    let engine = Engine::start(Setup::link("max_in_flight = 32"));
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    world.rules(&["delay 500ms", "approve"]);
    let sent = 2000;
    let mut writer = wire.twin();
    let frames: Vec<u8> =
        (0..sent).flat_map(|_| framed(&purchase(&card, 1).encode(&spec()).expect("encodes"))).collect();
    let writing = std::thread::spawn(move || writer.send_bytes(&frames));
    let codes: Vec<String> = (0..sent).map(|_| code(&wire.reply())).collect();
    writing.join().expect("written");
    let approved = codes.iter().filter(|code| *code == "00").count();
    assert!(codes.iter().all(|code| code == "00" || code == "91"));
    assert!((32..sent).contains(&approved), "{approved} of {sent}");
    assert!(engine.metric("auth_shed_total", &["overloaded"]) >= 1.0);
    // Advices and reversals are taken while taps are refused.
    let mut second = engine.wire();
    let taps: Vec<_> = (0..64).map(|_| purchase(&card, 1)).collect();
    taps.iter().for_each(|tap| wire.send(tap));
    assert_eq!(code(&second.ask(&advice(0x0120, &card, 1, "00"))), "00");
    assert_eq!(code(&second.ask(&reversal(0x0400, &purchase(&card, 1)))), "00");
    let again = (0..64).filter(|_| code(&wire.reply()) == "00").count();
    let held = approved + again + 1;
    assert_eq!(world.pool_balance(&world.pool).1, format!("{}.{:02}", held / 100, held % 100));
}

#[test]
fn h07_advices_and_reversals_are_shed_last_and_can_come_again() {
    let engine = Engine::start(Setup::link("max_in_flight = 4"));
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    // Many at once, in one write: more than twice the limit are open before the first is on the disk.
    let told: Vec<_> = (0..200)
        .map(|at| match at % 2 {
            0 => advice(0x0120, &card, 1, "00"),
            _ => reversal(0x0400, &purchase(&card, 1)),
        })
        .collect();
    let frames: Vec<u8> = told.iter().flat_map(|one| framed(&one.encode(&spec()).expect("encodes"))).collect();
    wire.send_bytes(&frames);
    let answers: std::collections::BTreeMap<_, _> =
        told.iter().map(|_| wire.reply()).map(|reply| (de(&reply, 11).expect("a STAN"), code(&reply))).collect();
    assert_eq!(answers.len(), told.len(), "each was answered once");
    assert!(answers.values().all(|code| code == "00" || code == "96"), "{answers:?}");
    let shed: Vec<_> = told.iter().filter(|one| answers[&super::support::iso::text(one, 11)] == "96").collect();
    assert!(!shed.is_empty(), "all of them found room");
    // What was shed moved nothing and is not remembered: one by one all are taken.
    for one in shed {
        assert_eq!(code(&wire.ask(one)), "00");
    }
    assert_eq!(world.pool_balance(&world.pool).1, "1.00", "a hundred advices of a cent, each once");
}

#[test]
fn h08_disconnects_cost_nothing_but_the_connection() {
    let world = World::shared();
    let card = world.pool_card();
    let tap = purchase(&card, 1250);
    let frame = framed(&tap.encode(&spec()).expect("encodes"));
    // In the middle of the message, then whole.
    let mut wire = world.wire();
    wire.send_bytes(&frame[..frame.len() / 2]);
    wire.hang_up();
    // After the request, before the reply.
    world.rules(&["delay 300ms", "approve"]);
    let mut wire = world.wire();
    wire.send_bytes(&frame);
    until("the ask", || (world.sample.seen().most_at_once > 0).then_some(()));
    wire.hang_up();
    // Back, with the repeat: while it is being decided, and after.
    let mut wire = world.wire();
    let mut repeat = tap.clone();
    repeat.mti = Mti(0x0101);
    let first: Bytes = wire.ask_bytes(&repeat);
    assert_eq!(code(&read(first.clone())), "00");
    assert_eq!(world.wire().ask_bytes(&tap), first);
    assert_eq!(world.sample.seen().asks, 1);
    world.pool_has("987.50", "12.50");
}

#[test]
fn h10_answers_nobody_asked_for_and_echo_storms() {
    let world = World::shared();
    let (mut storm, mut honest) = (world.wire(), world.wire());
    let before = world.engine.metric("auth_frames_rejected_total", &["response_to_nobody"]);
    let mut bytes = Vec::new();
    for at in 0..2000u16 {
        let mut told = network([270, 1, 999, 0][usize::from(at % 4)]);
        told.mti = Mti([0x0810, 0x0110, 0x0410, 0x0130][usize::from(at % 4)]);
        told.set_text(39, "00");
        bytes.extend(framed(&told.encode(&spec()).expect("encodes")));
    }
    storm.send_bytes(&bytes);
    storm.nothing_but_an_echo();
    assert_eq!(code(&honest.ask(&network(270))), "00");
    until("the answers to be counted", || {
        (world.engine.metric("auth_frames_rejected_total", &["response_to_nobody"]) >= before + 2000.0).then_some(())
    });
    // Echoes: one answer each, in order, no more.
    let echoes: Vec<_> = (0..3000).map(|_| network(270)).collect();
    let mut writer = storm.twin();
    let all: Vec<u8> = echoes.iter().flat_map(|echo| framed(&echo.encode(&spec()).expect("encodes"))).collect();
    let writing = std::thread::spawn(move || writer.send_bytes(&all));
    for echo in &echoes {
        assert_eq!(de(&storm.reply(), 11), Some(super::support::iso::text(echo, 11)));
    }
    writing.join().expect("written");
    storm.nothing_but_an_echo();
}

#[test]
fn links_and_their_messages_are_counted() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let metric = |name: &str, labels: &[&str]| world.engine.metric(name, labels);
    let (taps, approvals) = (
        metric("auth_requests_total", &["net0", "mti=\"0100\""]),
        metric("auth_decisions_total", &["approved", "funding=\"pool\""]),
    );
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    until("the counters", || {
        (metric("auth_requests_total", &["net0", "mti=\"0100\""]) > taps
            && metric("auth_decisions_total", &["approved", "funding=\"pool\""]) > approvals)
            .then_some(())
    });
    until("the gauges", || {
        let pool = format!("pool=\"{}\"", world.pool);
        (metric("auth_link_connections", &["net0"]) >= 1.0 && metric("pool_held", &[&pool]) > 0.0).then_some(())
    });
    let text = world.engine.metrics();
    for name in ["auth_tap_seconds", "journal_sync_seconds", "journal_bytes_total", "partner_decisions_total"] {
        assert!(text.contains(name), "no {name}");
    }
    for secret in [&card.pan, &card.id, &world.user] {
        assert!(!text.contains(secret.as_str()), "a label that has no bound");
    }
    assert_eq!(json!(text.lines().any(|line| line.starts_with("view_lag_events"))), json!(true));
}
