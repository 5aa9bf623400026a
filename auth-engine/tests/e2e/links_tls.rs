//! TLS on links: who comes in and who does not, certificates that change, and bytes under TLS that no peer should
//! send.

use std::io::Write;
use std::net::TcpListener;

use iso_codec::{Draft, Mti};
use rustix::process::{Pid, Signal, kill_process};
use rustls::version::{TLS12, TLS13};

use crate::support::iso::{framed, network, spec};
use crate::support::tls::{Authority, Files, Secure};
use crate::support::{Engine, Setup, Wire, World, code, de, purchase, until};

/// A link that listens with TLS and wants certificates of `clients`.
struct Listening {
    servers: Authority,
    clients: Authority,
    files: Files,
}

impl Listening {
    fn new() -> Self {
        let (servers, clients) = (Authority::new(), Authority::new());
        let files = Files::new(&servers.issue(), &clients);
        Self { servers, clients, files }
    }

    /// The engine, with a second link without TLS for the tests' own world.
    fn start(&self, more: &str) -> std::sync::Arc<Engine> {
        let links = vec![String::new(), format!("{more}{}", self.files.lines())];
        Engine::start(Setup { links, ..Setup::default() })
    }

    fn client(&self, engine: &Engine) -> Secure {
        let config = self.servers.client(Some(&self.clients.issue()), &TLS13);
        Secure::connect(engine.link(1), config).expect("the right certificate")
    }
}

fn refused_handshakes(engine: &Engine) -> f64 {
    engine.metric("auth_frames_rejected_total", &["tls_handshake"])
}

#[test]
fn the_right_client_comes_in_and_no_other() {
    let side = Listening::new();
    let engine = side.start("");
    let world = World::on(&engine);
    let (card, _) = world.account_card("100.00");
    for version in [&TLS13, &TLS12] {
        let config = side.servers.client(Some(&side.clients.issue()), version);
        let mut wire = Secure::connect(engine.link(1), config).expect("the right certificate");
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    }
    let mut open = side.client(&engine);
    let stranger = Authority::new().issue();
    let expired = side.clients.issue_until("localhost", 2021);
    let refused =
        [("no certificate", None), ("another authority's", Some(&stranger)), ("an expired one", Some(&expired))];
    for (what, shows) in refused {
        for version in [&TLS13, &TLS12] {
            let before = refused_handshakes(&engine);
            assert!(Secure::connect(engine.link(1), side.servers.client(shows, version)).is_err(), "{what}");
            until("the refusal counted", || (refused_handshakes(&engine) == before + 1.0).then_some(()));
        }
    }
    // No TLS at all.
    let mut plain = Wire::connect(engine.link(1));
    plain.send_bytes(&framed(&network(270).encode(&spec()).expect("a message")));
    assert!(plain.closed());
    until("it counted", || (refused_handshakes(&engine) == 7.0).then_some(()));
    assert!(engine.stderr().contains("TLS handshake failed: "), "{}", engine.stderr());
    assert_eq!(code(&open.ask(&purchase(&card, 100))), "00", "the honest one goes on");
    engine.stop();
}

#[test]
fn certificates_are_replaced_while_it_runs() {
    let mut side = Listening::new();
    let engine = side.start("");
    let world = World::on(&engine);
    let (card, _) = world.account_card("100.00");
    let taken = |result: &str| engine.metric("auth_link_certificates_total", &[&format!("result=\"{result}\"")]);
    let mut open = side.client(&engine);
    let (old_server, old_client) = (side.servers.client(Some(&side.clients.issue()), &TLS13), side.clients.issue());
    // Our own: those who believe the new authority come in, the others do not.
    side.servers = Authority::new();
    side.files.show(&side.servers.issue());
    assert_eq!(code(&side.client(&engine).ask(&purchase(&card, 100))), "00");
    assert!(Secure::connect(engine.link(1), old_server).is_err(), "it shows the new certificate");
    // The clients': who was right before is not any more.
    side.clients = Authority::new();
    side.files.believe(&side.clients);
    let before = side.servers.client(Some(&old_client), &TLS13);
    assert!(Secure::connect(engine.link(1), before).is_err(), "its authority is gone");
    assert_eq!(code(&side.client(&engine).ask(&purchase(&card, 100))), "00");
    // Half of a pair: what was before stays.
    let refused = taken("refused");
    let next = side.servers.issue();
    side.files.put("own.pem", &next.certificate);
    assert_eq!(code(&side.client(&engine).ask(&purchase(&card, 100))), "00");
    until("the refusal counted", || (taken("refused") > refused).then_some(()));
    assert!(engine.stderr().contains("new certificates not taken, those before stay: "), "{}", engine.stderr());
    // The other half, and no handshake: SIGHUP has it read at once.
    side.files.put("own.key", &next.key);
    let before = taken("taken");
    let pid = Pid::from_raw(engine.pid().try_into().expect("a process")).expect("not 0");
    kill_process(pid, Signal::HUP).expect("it runs");
    until("they are taken", || (taken("taken") == before + 1.0).then_some(()));
    // Nothing of all this touched what was open.
    assert_eq!(code(&open.ask(&purchase(&card, 100))), "00");
    let ended = engine.stop();
    assert!(!ended.stderr.contains("PRIVATE KEY"), "{}", ended.stderr);
}

#[test]
fn frames_and_records_need_not_agree() {
    let side = Listening::new();
    let engine = side.start("");
    let world = World::on(&engine);
    let (card, _) = world.account_card("100.00");
    let mut wire = side.client(&engine);
    let whole = || framed(&purchase(&card, 100).encode(&spec()).expect("encodes"));
    // Ten frames in one record, one frame over many, one byte of a record at a time.
    let ten: Vec<u8> = (0..10).flat_map(|_| whole()).collect();
    wire.write(&ten).expect("the link reads");
    for _ in 0..10 {
        assert_eq!(code(&wire.reply()), "00");
    }
    for byte in whole() {
        wire.write(&[byte]).expect("the link reads");
    }
    assert_eq!(code(&wire.reply()), "00");
    for byte in wire.encrypted(&whole()) {
        wire.stream.write_all(&[byte]).expect("the link reads");
    }
    assert_eq!(code(&wire.reply()), "00");
    // Many more bytes than a socket takes at once, asked for before the first reply is read.
    let echoes: Vec<u8> = (0..2000).flat_map(|_| framed(&network(270).encode(&spec()).expect("encodes"))).collect();
    wire.write(&echoes).expect("the link reads");
    for _ in 0..2000 {
        assert_eq!(code(&wire.reply()), "00");
    }
    // What it owes at a drain comes, and then the end is said.
    engine.ask_to_stop();
    assert!(wire.said_goodbye());
    assert_eq!(engine.ended().code(), Some(0));
}

#[test]
fn h05_tls_that_is_never_finished_is_cut() {
    let side = Listening::new();
    let engine = side.start("frame_timeout = \"300ms\"\n");
    let world = World::on(&engine);
    let (card, _) = world.account_card("100.00");
    let mut honest = side.client(&engine);
    // A handshake that begins and never goes on, and one that never begins.
    let mut silent = Wire::connect(engine.link(1));
    let mut begun = Wire::connect(engine.link(1));
    begun.send_bytes(&[22, 3, 1, 2, 0, 1]);
    assert!(silent.closed());
    assert!(begun.closed());
    until("both counted", || (refused_handshakes(&engine) == 2.0).then_some(()));
    // A record that is never whole: no byte of a frame was seen, and still it is cut.
    let mut dripping = side.client(&engine);
    let record = dripping.encrypted(&framed(&network(270).encode(&spec()).expect("encodes")));
    dripping.stream.write_all(&record[..record.len() - 1]).expect("the link reads");
    assert!(dripping.frame().is_err());
    until("it counted", || (engine.metric("auth_frames_rejected_total", &["frame_timeout"]) == 1.0).then_some(()));
    // A record that was changed on the way.
    let mut changed = side.client(&engine);
    let mut record = changed.encrypted(&framed(&network(270).encode(&spec()).expect("encodes")));
    if let Some(last) = record.last_mut() {
        *last ^= 1;
    }
    changed.stream.write_all(&record).expect("the link reads");
    assert!(changed.frame().is_err());
    until("it counted", || (engine.metric("auth_frames_rejected_total", &["reason=\"tls\""]) == 1.0).then_some(()));
    assert_eq!(code(&honest.ask(&purchase(&card, 100))), "00", "serving");
    engine.stop();
}

#[test]
fn h06_a_peer_that_never_reads_is_cut_inside_tls_too() {
    let side = Listening::new();
    let links = vec![String::new(), side.files.lines()];
    let sections = "[switch]\nout_buffer = \"64KiB\"\n".to_owned();
    let engine = Engine::start(Setup { links, sections, ..Setup::default() });
    let mut honest = side.client(&engine);
    let mut deaf = side.client(&engine);
    let echo = framed(&network(270).encode(&spec()).expect("encodes"));
    let many: Vec<u8> = echo.iter().copied().cycle().take(echo.len() * 200).collect();
    // Until the engine does not take any more either.
    while deaf.write(&many).is_ok() {}
    until("it counted", || (engine.metric("auth_frames_rejected_total", &["slow_reader"]) == 1.0).then_some(()));
    assert_eq!(code(&honest.ask(&network(270))), "00", "serving");
    engine.stop();
}

#[test]
fn a_link_that_connects_shows_its_certificate_and_looks_at_the_peers() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let files = Files::new(&ours.issue(), &theirs);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let link = format!("connect = \"localhost:{port}\"\nsign_on = true\n{}", files.lines());
    let engine = Engine::start(Setup { links: vec![link], ..Setup::default() });
    let accept = |server: rustls::ServerConfig| {
        let (stream, _) = listener.accept().expect("the engine connects");
        Secure::accept(stream, server)
    };
    // Another name, another authority, an end in the past: not signed on to.
    let stranger = Authority::new();
    for shows in
        [theirs.issue_until("elsewhere.example", 2090), stranger.issue(), theirs.issue_until("localhost", 2021)]
    {
        assert!(accept(ours.server(&shows)).frame().is_err());
    }
    until("failures counted", || {
        (engine.metric("auth_link_connects_total", &["result=\"failed\""]) >= 3.0).then_some(())
    });
    let said = engine.stderr();
    assert_eq!(said.matches("link cannot connect: TLS handshake: ").count(), 1, "{said}");
    // The right one; and it finds our certificate right.
    let mut wire = accept(ours.server(&theirs.issue()));
    let request = wire.reply();
    assert_eq!((request.mti(), de(&request, 70)), (Mti(0x0800), Some("001".to_owned())));
    let mut answer = Draft::new(Mti(0x0810));
    for n in [7, 11, 70] {
        answer.set_text(n, de(&request, n).expect("it is mandatory"));
    }
    answer.set_text(39, "00");
    wire.send(&answer);
    assert_eq!(code(&wire.ask(&network(270))), "00");
    // Lost, and both sides have new authorities by then.
    drop(wire);
    let (ours, theirs) = (Authority::new(), Authority::new());
    files.show(&ours.issue());
    files.believe(&theirs);
    let mut wire = loop {
        // An attempt may have read the files between the two changes.
        let mut wire = accept(ours.server(&theirs.issue()));
        if let Ok(frame) = wire.frame() {
            assert_eq!(de(&crate::support::iso::read(frame), 70), Some("001".to_owned()));
            break wire;
        }
    };
    engine.ask_to_stop();
    // It signs off; nobody answers, and it says the end of TLS all the same.
    assert!(wire.said_goodbye());
    assert_eq!(engine.ended().code(), Some(0));
}

#[test]
fn files_that_cannot_be_used_are_told_before_anything_starts() {
    let side = Listening::new();
    let link = |text: String| Setup { links: vec![text], ..Setup::default() };
    let other = Authority::new().issue();
    type Spoil<'a> = &'a dyn Fn(&Files);
    let cases: [(&str, Spoil<'_>, &str); 4] = [
        ("own.pem", &|files| files.put("own.pem", "nothing"), "there is no certificate in it"),
        ("own.key", &|files| files.put("own.key", &other.key), "give a certificate with its own private key"),
        ("ca.pem", &|files| std::fs::remove_file(files.path("ca.pem")).expect("there"), "give a readable PEM file"),
        ("own.key", &|files| files.put("own.key", "-----BEGIN PRIVATE KEY-----\n53511012\n"), "own.key: "),
    ];
    for (file, spoil, says) in cases {
        let files = Files::new(&side.servers.issue(), &side.clients);
        spoil(&files);
        let ended = Engine::prepare(link(files.lines())).refused();
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        let error = ended.error();
        assert!(error.contains("net0") && error.contains(file) && error.contains(says), "{error}");
        assert!(!error.contains("53511012"), "{error}");
    }
}
