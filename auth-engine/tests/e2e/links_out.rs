//! Links that the engine opens itself: it connects and connects again, signs on and off, and asks for echoes.

use std::net::TcpListener;

use iso_codec::{Draft, Message, Mti};

use crate::support::iso::{framed, network, spec};
use crate::support::{Engine, Setup, Wire, World, code, de, money, purchase, until};

/// The network's end: a port that the engine is told to connect to.
struct Network {
    listener: TcpListener,
}

impl Network {
    fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    /// A link that connects here, with more lines.
    fn setup(&self, more: &str) -> Setup {
        let at = self.listener.local_addr().expect("an address");
        Setup::link(&format!("connect = \"localhost:{}\"\n{more}", at.port()))
    }

    fn accept(&self) -> Wire {
        let (stream, _) = self.listener.accept().expect("the engine connects");
        Wire::over(stream)
    }
}

/// The answer to a request of the engine's, with this DE39.
fn answer(request: &Message, code: &str) -> Draft {
    let mut draft = Draft::new(Mti(0x0810));
    for n in [7, 11, 70] {
        draft.set_text(n, de(request, n).expect("it is mandatory"));
    }
    draft.set_text(39, code);
    draft
}

fn requests(engine: &Engine, kind: &str, result: &str) -> f64 {
    let labels = [format!("kind=\"{kind}\""), format!("result=\"{result}\"")];
    engine.metric("auth_link_requests_total", &[&labels[0], &labels[1]])
}

#[test]
fn a_link_connects_and_again_when_its_connection_is_lost() {
    let side = Network::new();
    let engine = Engine::start(side.setup(""));
    assert!(engine.stdout().contains("link net0 connects to localhost:"), "{}", engine.stdout());
    for _ in 0..3 {
        let mut wire = side.accept();
        let reply = wire.ask(&network(270));
        assert_eq!((reply.mti(), code(&reply)), (Mti(0x0810), "00".to_owned()));
        wire.hang_up();
    }
    let _last = side.accept();
    until("three losses counted", || {
        (engine.metric("auth_link_connects_total", &["result=\"lost\""]) == 3.0).then_some(())
    });
    engine.stop();
}

#[test]
fn a_peer_that_is_not_there_yet_is_found_when_it_comes() {
    let side = Network::new();
    let (setup, at) = (side.setup(""), side.listener.local_addr().expect("an address"));
    drop(side);
    let engine = Engine::start(setup);
    until("a failure counted", || {
        (engine.metric("auth_link_connects_total", &["result=\"failed\""]) >= 2.0).then_some(())
    });
    assert_eq!(engine.stderr().matches("link cannot connect").count(), 1, "one line for the outage");
    let side = Network { listener: TcpListener::bind(at).expect("the same port") };
    let mut wire = side.accept();
    assert_eq!(code(&wire.ask(&network(1))), "00");
    engine.stop();
}

#[test]
fn the_engine_signs_on_and_off_again() {
    let side = Network::new();
    let engine = Engine::start(side.setup("sign_on = true\n"));
    let mut wire = side.accept();
    let request = wire.reply();
    assert_eq!((request.mti(), de(&request, 70)), (Mti(0x0800), Some("001".to_owned())));
    // Not its answer: another number, another time. Then the answer, and the answer again.
    let mut stranger = answer(&request, "00");
    stranger.set_text(11, "999999");
    let mut elsewhen = answer(&request, "00");
    elsewhen.set_text(7, "0101000000");
    for draft in [&stranger, &elsewhen, &answer(&request, "00"), &answer(&request, "00")] {
        wire.send(draft);
    }
    wire.nothing_but_an_echo();
    until("the sign-on counted", || (requests(&engine, "sign_on", "accepted") == 1.0).then_some(()));
    until("three answers to nobody", || {
        (engine.metric("auth_frames_rejected_total", &["response_to_nobody"]) == 3.0).then_some(())
    });
    engine.ask_to_stop();
    let request = wire.reply();
    assert_eq!((request.mti(), de(&request, 70)), (Mti(0x0800), Some("002".to_owned())));
    wire.send(&answer(&request, "00"));
    let ended = engine.ended();
    assert_eq!(ended.code(), Some(0));
    assert!(ended.stderr.contains("signed off"), "{}", ended.stderr);
}

#[test]
fn a_peer_that_answers_no_echo_is_cut_and_one_that_does_is_kept() {
    let side = Network::new();
    let engine = Engine::start(side.setup("echo_interval = \"50ms\"\necho_timeout = \"1s\"\n"));
    let mut wire = side.accept();
    for _ in 0..3 {
        let request = wire.reply();
        assert_eq!((request.mti(), de(&request, 70)), (Mti(0x0800), Some("270".to_owned())));
        wire.send(&answer(&request, "00"));
    }
    until("three echoes answered", || (requests(&engine, "echo", "accepted") == 3.0).then_some(()));
    assert_eq!(de(&wire.reply(), 70), Some("270".to_owned()));
    // From here on it is silent, as a peer is whose machine lost its power.
    assert!(wire.closed());
    until("the cut counted", || (engine.metric("auth_frames_rejected_total", &["echo_timeout"]) == 1.0).then_some(()));
    let _again = side.accept();
    engine.kill();
}

#[test]
fn a_listening_link_asks_for_echoes_only_when_it_is_told_to() {
    let engine = Engine::start(Setup {
        links: vec!["echo_interval = \"50ms\"\n".to_owned(), String::new()],
        ..Setup::default()
    });
    let mut wire = engine.wire();
    let request = wire.reply();
    assert_eq!((request.mti(), de(&request, 70)), (Mti(0x0800), Some("270".to_owned())));
    let mut quiet = Wire::connect(engine.link(1));
    quiet.nothing_but_an_echo();
    engine.kill();
}

#[test]
fn a_tpdu_comes_back_with_its_addresses_swapped() {
    let engine = Engine::start(Setup::link("header_bytes = 5\ntpdu = true\n"));
    let mut wire = engine.wire();
    let echo = network(270).encode(&spec()).expect("a message");
    wire.send_frame(&[&[0x60, 0x00, 0x12, 0x34, 0x56][..], &echo].concat());
    assert_eq!(wire.reply_bytes().get(..5), Some(&[0x60, 0x34, 0x56, 0x00, 0x12][..]));
    engine.kill();
}

#[test]
fn what_a_network_wants_in_a_sign_on_is_configured_by_element() {
    let (side, dir) = (Network::new(), tempfile::tempdir().expect("a directory"));
    let file = dir.path().join("code");
    std::fs::write(&file, "0102030405060708\n").expect("written");
    let elements = |code: &str| format!("sign_on = true\n[link.network_elements]\n33 = \"9000001\"\n96 = {code:?}\n");
    let from_file = format!("file:{}", file.display());
    let engine = Engine::start(side.setup(&elements(&from_file)));
    let mut wire = side.accept();
    let request = wire.reply();
    assert_eq!((de(&request, 33), de(&request, 70)), (Some("9000001".to_owned()), Some("001".to_owned())));
    assert_eq!(request.raw(96), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
    wire.send(&answer(&request, "00"));
    engine.stop();
    // Told before anything starts, and never with the value.
    for (code, says) in [("0102030405060708FF", "DE96"), ("file:/nowhere/code", "/nowhere/code")] {
        let ended = Engine::prepare(side.setup(&elements(code))).refused();
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        assert!(ended.error().contains("network_elements.96") && ended.error().contains(says), "{}", ended.stderr);
        assert!(!ended.stderr.contains("0102"), "{}", ended.stderr);
    }
}

#[test]
fn what_is_in_flight_on_a_dialled_link_is_bounded_and_answered_at_a_drain() {
    let side = Network::new();
    let engine = Engine::start(side.setup("sign_on = true\nmax_in_flight = 4\n"));
    let world = World::on(&engine);
    let card = world.pool_card();
    world.rules(&["delay 1000ms", "approve"]);
    let mut wire = side.accept();
    let request = wire.reply();
    wire.send(&answer(&request, "00"));
    until("the sign-on counted", || (requests(&engine, "sign_on", "accepted") == 1.0).then_some(()));
    for _ in 0..10 {
        wire.send(&purchase(&card, 100));
    }
    // What is too much is refused at once, while the others still wait.
    for _ in 0..6 {
        assert_eq!(code(&wire.reply()), "91");
    }
    engine.ask_to_stop();
    let mut signed_off = false;
    let mut approved = 0;
    while approved < 4 || !signed_off {
        let message = wire.reply();
        if message.mti() == Mti(0x0800) {
            assert_eq!(de(&message, 70), Some("002".to_owned()));
            wire.send(&answer(&message, "00"));
            signed_off = true;
        } else {
            assert_eq!((message.mti(), code(&message)), (Mti(0x0110), "00".to_owned()));
            approved += 1;
        }
    }
    let ended = engine.ended();
    assert_eq!(ended.code(), Some(0));
    assert!(ended.stderr.contains("signed off"), "{}", ended.stderr);
}

#[test]
fn a_network_that_never_reads_is_cut_and_connected_again() {
    let side = Network::new();
    let mut setup = side.setup("");
    setup.sections = "[switch]\nout_buffer = \"64KiB\"\n".to_owned();
    let engine = Engine::start(setup);
    let mut deaf = side.accept();
    let many: Vec<u8> = (0..500).flat_map(|_| framed(&network(270).encode(&spec()).expect("encodes"))).collect();
    let cut = (0..2000).any(|_| std::io::Write::write_all(&mut deaf.stream, &many).is_err());
    assert!(cut, "a million echoes were taken from a network that reads nothing");
    until("it counted", || (engine.metric("auth_frames_rejected_total", &["slow_reader"]) == 1.0).then_some(()));
    let mut wire = side.accept();
    assert_eq!(code(&wire.ask(&network(1))), "00");
    engine.stop();
}

#[test]
fn the_sandbox_says_which_link_its_taps_need() {
    let side = Network::new();
    let engine = Engine::start(side.setup(""));
    let world = World::on(&engine);
    let card = world.pool_card();
    let mut tap = serde_json::json!({"card_id": card.id, "amount": money("1.00", "EUR")});
    let (path, operator) = ("/v1/sandbox/taps", engine.operator());
    for (link, says) in [(None, "none is configured"), (Some("net0"), "no link of this name listens without TLS")] {
        if let Some(link) = link {
            tap["link"] = link.into();
        }
        let answer = engine.call("POST", path, Some(&operator), Some(&tap));
        answer.refused(400, "invalid_value");
        assert!(answer.body.to_string().contains(says), "{:?}", answer.body);
    }
    engine.stop();
}
