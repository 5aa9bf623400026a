//! `hostile.md` 28, 29 and 32 on the real binary: a disk that is full, broken or stalled and a clock that jumps, played
//! by a library between the process and the system (`support/faulty.c`, compiled by the test).
//!
//! Must never time anything but that no answer came late.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use iso_codec::Draft;

use super::support::iso::{read, spec};
use super::support::{Engine, Setup, World, code, purchase, until};

const EIO: u32 = 5;
const ENOSPC: u32 = 28;

/// The library, compiled once for all tests of this process.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = LIBRARY.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/support/faulty.c");
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(dir.path().join("faulty.so"));
        let compiled = compiler.arg(source).arg("-ldl").output().expect("a C compiler, as the build needs one too");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        dir
    });
    dir.path().join("faulty.so")
}

/// An engine behind the library, and the file that tells it what to do.
struct Faulty {
    engine: Arc<Engine>,
    orders: PathBuf,
    _dir: tempfile::TempDir,
}

impl Faulty {
    fn start(buffered: bool, links: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let orders = dir.path().join("orders");
        fs::write(&orders, "none ").expect("written");
        let text = |path: &PathBuf| path.to_str().expect("plain").to_owned();
        let mut environment =
            vec![("LD_PRELOAD".to_owned(), text(&library())), ("FAULTY_ORDERS".to_owned(), text(&orders))];
        if buffered {
            environment.push(("FAULTY_BUFFERED".to_owned(), "1".to_owned()));
        }
        let engine = Engine::start(Setup { environment, ..Setup::link(links) });
        Self { engine, orders, _dir: dir }
    }

    fn order(&self, order: &str) {
        let next = self.orders.with_extension("next");
        fs::write(&next, order).expect("written");
        fs::rename(next, &self.orders).expect("renamed");
    }
}

/// Taps that are answered, then the fault, then the end of the process: what was answered is there afterwards, what was
/// not is wholly there or wholly not, and nothing was answered in between.
fn a_failing_write_is_final(buffered: bool, fault: &str, says: &str) {
    let faulty = Faulty::start(buffered, "");
    let engine = &faulty.engine;
    let world = World::on(engine);
    let (card, account) = world.account_card("1000.00");
    let mut wire = engine.wire();
    let said: Vec<(Draft, Bytes)> = (0..20)
        .map(|_| {
            let draft = purchase(&card, 100);
            let reply = wire.ask_bytes(&draft);
            assert_eq!(code(&read(reply.clone())), "00");
            (draft, reply)
        })
        .collect();

    faulty.order(fault);
    let lost: Vec<Draft> = (0..5).map(|_| purchase(&card, 100)).collect();
    let mut others: Vec<_> = lost.iter().map(|_| engine.wire()).collect();
    for (wire, draft) in others.iter_mut().zip(&lost) {
        let frame = super::support::iso::framed(&draft.encode(&spec()).expect("encodes"));
        // The process may be gone already.
        _ = std::io::Write::write_all(&mut wire.stream, &frame);
    }
    for wire in &mut others {
        assert_eq!(wire.next_frame(), None, "nothing is acknowledged once a write has failed");
    }
    let ended = engine.ended();
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    let error = ended.error();
    assert!(error.contains(says) && error.contains(".segment"), "{error}");

    // Space was made, or the disk replaced.
    faulty.order("none ");
    engine.run();
    let mut wire = engine.wire();
    for (draft, reply) in &said {
        assert_eq!(wire.ask_bytes(draft), *reply, "what was answered is answered the same");
    }
    let held = |engine: &Engine| {
        let account = engine.get(&format!("/v1/accounts/{account}"));
        account["held"]["value"].as_str().expect("an amount").parse::<f64>().expect("a number")
    };
    let before = held(engine);
    assert!((20.0..=25.0).contains(&before), "the answered taps are held, the others wholly or not: {before}");
    // Those that were never answered are asked again, as a network does: each is held once in the end.
    for draft in &lost {
        assert_eq!(code(&wire.ask(draft)), "00");
    }
    assert_eq!(held(engine).to_string(), "25");
    assert_eq!(engine.stop().code(), Some(0));
}

#[test]
fn h28_a_full_disk_ends_the_process_and_loses_nothing() {
    a_failing_write_is_final(false, &format!("write {ENOSPC}"), "No space left");
}

#[test]
fn h28_an_input_output_error_ends_the_process_and_loses_nothing() {
    a_failing_write_is_final(false, &format!("write {EIO}"), "Input/output error");
}

#[test]
fn h28_a_failed_sync_is_not_tried_again_as_if_it_had_not_failed() {
    // It fails once; the next would succeed, with pages that the kernel has dropped.
    a_failing_write_is_final(true, &format!("sync {EIO}"), "Input/output error");
}

#[test]
fn h29_a_disk_that_stalls_for_five_seconds_makes_no_late_answers() {
    let faulty = Faulty::start(false, "budget = \"1s\"\n");
    let engine = &faulty.engine;
    let world = World::on(engine);
    let (card, account) = world.account_card("1000.00");
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");

    // Connected before: how long a connection that nobody has accepted yet waited, nobody knows.
    let mut late = engine.wire();
    late.nothing_but_an_echo();
    faulty.order("stall 5000");
    let stalled = purchase(&card, 100);
    wire.send(&stalled);
    // More come while the disk stands still; they wait in the kernel and are old afterwards.
    until("the stall to begin", || (fs::read_to_string(&faulty.orders).ok()? == "none ").then_some(()));
    let waiting: Vec<Draft> = (0..10).map(|_| purchase(&card, 100)).collect();
    waiting.iter().for_each(|draft| late.send(draft));
    // The shard answers a read once the disk goes on; an echo is then the first thing to be answered.
    engine.get("/v1/system/state");
    wire.nothing_but_an_echo();
    late.nothing_but_an_echo();
    assert!(engine.metric("auth_late_replies_suppressed_total", &[]) >= 1.0);

    // And it serves again at once; what was not answered holds nothing, but for the honest tap.
    let mut fresh = engine.wire();
    assert_eq!(code(&fresh.ask(&purchase(&card, 100))), "00");
    world.account_has(&account, "998.00", "2.00");
    assert_eq!(engine.stop().code(), Some(0));
}

#[test]
fn h32_a_clock_that_jumps_loses_no_hold_and_keeps_the_order() {
    let faulty = Faulty::start(false, "");
    let engine = &faulty.engine;
    let world = World::on(engine);
    let (card, account) = world.account_card("1000.00");
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    for (number, jump) in (2u32..).zip([-3_600, 86_400, 0]) {
        faulty.order(&format!("clock {jump}"));
        let before = engine.metric("clock_steps_total", &[]);
        // The engine looks at the wall clock now and then, while it works.
        until("the step to be seen", || {
            wire.nothing_but_an_echo();
            (engine.metric("clock_steps_total", &[]) > before).then_some(())
        });
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
        world.account_has(&account, &format!("{}.00", 1000 - number), &format!("{number}.00"));
    }
    // Started while the clock is an hour behind the journal: time goes on from there.
    engine.stop();
    faulty.order("clock -3600");
    engine.run();
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    world.account_has(&account, "995.00", "5.00");
    let taps = engine.list("/v1/authorizations?limit=10");
    let times: Vec<&str> = taps.iter().map(|tap| tap["created_at"].as_str().expect("a time")).collect();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted_by(|newer, older| newer >= older), "newest first: {times:?}");
    assert!(taps.iter().all(|tap| tap["status"] == "approved"), "no hold expired");
    assert_eq!(engine.stop().code(), Some(0));
}
