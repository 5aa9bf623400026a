//! `hostile.md`, the machine: kills, damaged files, second processes, a read model that is gone or ahead.
//!
//! A wall clock that jumps (32) and a full, failing or stalled disk (28, 29) are in `hostile_disk.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use iso_codec::Draft;
use serde_json::json;

use super::support::engine::Process;
use super::support::{Engine, Setup, World, advice, code, money, purchase, reversal, until};

/// The journal's files, in order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(data.join("journal"))
        .expect("the journal's directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() >= 1 << 20))
        .collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).expect("a copy")),
        }
    }
}

#[test]
fn h27_what_was_acknowledged_survives_kill_9() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let card = world.pool_card();
    let (account_card, account) = world.account_card("1000.00");
    let mut before: Vec<(Draft, Bytes)> = Vec::new();
    for round in 0..3 {
        let mut wire = engine.wire();
        let withdrawal = format!("/v1/pools/{}/withdrawals", world.pool);
        let body = json!({"amount": money("1.00", "EUR"), "reference": "r"});
        let pool = engine.get(&format!("/v1/pools/{}", world.pool));
        let start = (world.pool_balance(&world.pool), world.account_balance(&account));
        // Taps of all kinds in flight when the process dies; what was answered is kept.
        let ((said, open), withdrawn) = thread::scope(|scope| {
            let taps = scope.spawn(|| {
                let mut said: Vec<(Draft, Bytes)> = Vec::new();
                // Sent and not answered: wholly there or wholly not.
                let mut open = None;
                for number in 0..100_000 {
                    let draft = match number % 5 {
                        0 => purchase(&card, 10),
                        1 => purchase(&account_card, 10),
                        2 => purchase(&account_card, 99_999_999),
                        3 => advice(0x0120, &account_card, 5, "00"),
                        _ => reversal(0x0400, &said[said.len() - 3].0),
                    };
                    let frame =
                        super::support::iso::framed(&draft.encode(&super::support::iso::spec()).expect("encodes"));
                    let sent = std::io::Write::write_all(&mut wire.stream, &frame).is_ok();
                    match sent.then(|| wire.next_frame()).flatten() {
                        Some(bytes) => said.push((draft, bytes)),
                        None => {
                            open = Some(draft);
                            break;
                        }
                    }
                }
                (said, open)
            });
            let writes = scope.spawn(|| {
                let call = || {
                    engine.try_send(&super::support::rest::Call {
                        method: "POST",
                        path: &withdrawal,
                        key: Some(&world.key),
                        idempotency: None,
                        body: Some(body.to_string().into_bytes()),
                    })
                };
                (0..200).take_while(|_| call().is_ok_and(|answer| answer.status == 201)).count()
            });
            until("some work", || (world.sample.seen().asks > 40 * (round + 1)).then_some(()));
            engine.kill_only();
            (taps.join().expect("taps"), writes.join().expect("writes"))
        });
        engine.ended();
        engine.run();
        assert!(said.len() > 20, "{start:?} {pool}");
        let mut wire = engine.wire();
        let reversed: Vec<&Draft> = said.iter().map(|(draft, _)| draft).filter(|draft| draft.mti.0 == 0x0400).collect();
        for (draft, bytes) in &said {
            let again = wire.ask_bytes(draft);
            let undoes = |back: &Draft| {
                super::support::iso::text(back, 90) == super::support::iso::original_data(draft)
                    && back.mti != draft.mti
            };
            let undone = reversed.iter().any(|back| undoes(back));
            let perhaps = open.as_ref().is_some_and(|back| back.mti.0 == 0x0400 && undoes(back));
            if draft.mti.0 == 0x0100 && perhaps && again != *bytes {
                assert_eq!(code(&super::support::iso::read(again)), "05", "the open reversal was durable");
            } else if undone && draft.mti.0 == 0x0100 {
                assert_eq!(code(&super::support::iso::read(again)), "05");
            } else {
                assert_eq!(&again, bytes, "{}", draft.mti);
            }
        }
        // Every acknowledged withdrawal is there, and at most the one that was under way.
        let gone = |balance: &(String, String)| {
            let part = |text: &String| text.replace('.', "").parse::<i64>().expect("an amount");
            part(&balance.0) + part(&balance.1)
        };
        let missing = gone(&start.0) - gone(&world.pool_balance(&world.pool));
        let told = 100 * i64::try_from(withdrawn).expect("few");
        assert!(missing == told || missing == told + 100, "{missing} of {told}");
        assert_eq!(gone(&start.1), gone(&world.account_balance(&account)), "holds move nothing out");
        before.extend(said.into_iter().filter(|(draft, _)| draft.mti.0 == 0x0120));
        for (draft, bytes) in &before {
            assert_eq!(&wire.ask_bytes(draft), bytes);
        }
    }
}

#[test]
fn h27_the_state_is_the_fold_of_the_journal() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), world.wire());
    for _ in 0..20 {
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    }
    let state = engine.get("/v1/system/state");
    engine.kill();
    engine.run();
    let after = engine.get("/v1/system/state");
    assert!(after["last_sequence"].as_u64() > state["last_sequence"].as_u64());
    engine.stop();
    let data = engine.data();
    let verify =
        |data: &Path| Process::start(&["journal", "verify", "--json", "--data", data.to_str().expect("plain")]).end();
    let verified = verify(&data);
    assert_eq!(verified.code(), Some(0), "{}{}", verified.stdout, verified.stderr);
    let told: serde_json::Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert!(told["state_hash"].is_string(), "{told}");
    assert_eq!(verify(&data).stdout, verified.stdout, "it never writes");
    engine.run();
    let live = engine.get("/v1/system/state");
    assert!(live["last_sequence"].as_u64() > told["last_sequence"].as_u64());
    // A live book and a replay of the same journal agree.
    engine.kill();
    let told: serde_json::Value = serde_json::from_str(&verify(&data).stdout).expect("JSON");
    assert_eq!((&told["state_hash"], &told["last_sequence"]), (&live["state_hash"], &live["last_sequence"]));
    // A flipped bit is found.
    damage(&segments(&data)[0], 0x4000);
    let verified = verify(&data);
    assert_eq!(verified.code(), Some(1), "{}{}", verified.stdout, verified.stderr);
}

fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a segment");
    bytes[at + 100] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

#[test]
fn h30_a_damaged_journal_is_refused_with_file_and_offset() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), world.wire());
    for _ in 0..50 {
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    }
    engine.kill();
    let data = engine.data();
    let whole = data.with_extension("whole");
    copy(&data, &whole);
    let restore = || {
        fs::remove_dir_all(&data).expect("removed");
        copy(&whole, &data);
    };
    let refused = |what: &str| {
        let ended = engine.refused();
        assert_eq!(ended.code(), Some(3), "{what}: {}", ended.stderr);
        ended.error()
    };
    // A flipped bit in a block that others follow.
    let first = segments(&data)[0].clone();
    damage(&first, 0x4000);
    let error = refused("a flipped bit");
    let name = first.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(error.contains(&name) && error.contains("offset"), "{error}");
    let again = refused("it is not repaired by trying");
    assert_eq!(error, again);
    restore();
    // Two blocks swapped.
    let mut bytes = fs::read(&first).expect("a segment");
    let (one, two) = (0x4000, 0x6000);
    for at in 0..0x1000 {
        bytes.swap(one + at, two + at);
    }
    fs::write(&first, bytes).expect("written");
    assert!(refused("swapped blocks").contains(&name));
    restore();
    // A cut segment, a missing one.
    fs::File::options().write(true).open(&first).expect("a segment").set_len(0x10_000).expect("cut");
    assert!(refused("a cut segment").contains(&name));
    restore();
    fs::remove_file(&first).expect("removed");
    refused("a missing segment");
    for segment in segments(&data) {
        fs::remove_file(segment).expect("removed");
    }
    refused("no segment at all");
    restore();
    // A newer format.
    let mut bytes = fs::read(&first).expect("a segment");
    bytes[8] = 0xEE;
    fs::write(&first, bytes).expect("written");
    assert!(refused("a newer format").contains(&name));
    restore();
    // A segment of another engine.
    let other = Engine::start(Setup::default());
    other.stop();
    fs::copy(&segments(&other.data())[0], &first).expect("copied");
    refused("a foreign segment");
    restore();
    // Without its keys, or with others.
    fs::remove_file(data.join("master.key")).expect("removed");
    refused("no master key");
    fs::copy(other.data().join("master.key"), data.join("master.key")).expect("copied");
    refused("another engine's master key");
    restore();
    engine.run();
    assert_eq!(code(&engine.wire().ask(&purchase(&card, 100))), "00", "the whole one still serves");
}

#[test]
fn h31_directories_and_ports_that_are_taken() {
    let engine = Engine::start(Setup::default());
    // A second process on the same directory.
    let config = engine.write_config(&engine.data());
    let second = Process::start(&["serve", "--config", config.to_str().expect("plain")]).end();
    assert_eq!(second.code(), Some(3), "{}", second.stderr);
    second.error();
    // A directory that cannot be one: root may write anywhere, but not below a file.
    let file = engine.data().with_extension("file");
    fs::write(&file, b"a file").expect("written");
    for place in [file.clone(), file.join("below")] {
        let config = engine.write_config(&place);
        let ended = Process::start(&["serve", "--config", config.to_str().expect("plain")]).end();
        assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
        ended.error();
    }
    // A port in use.
    let other = Engine::prepare(Setup::default());
    let config = other.write_config(&other.data());
    let text = fs::read_to_string(&config).expect("a configuration");
    let taken = format!("listen = \"{}\"", engine.link(0));
    fs::write(&config, text.replacen("listen = \"127.0.0.1:0\"", &taken, 1)).expect("written");
    let ended = Process::start(&["serve", "--config", config.to_str().expect("plain")]).end();
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.error().contains(&engine.link(0).to_string()), "{}", ended.stderr);
    // And the first still serves.
    assert_eq!(code(&engine.wire().ask(&super::support::iso::network(270))), "00");
}

#[test]
fn h33_the_read_model_is_rebuilt_or_refused() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let card = world.pool_card();
    let tap = |count: usize| {
        let mut wire = engine.wire();
        for _ in 0..count {
            assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
        }
    };
    tap(30);
    assert_eq!(world.authorizations(&card).len(), 30);
    engine.stop();
    let view = engine.data().join("view");
    assert!(view.exists());
    let old = engine.data().with_extension("old");
    copy(&engine.data(), &old);
    // Deleted.
    fs::remove_dir_all(&view).expect("removed");
    engine.run();
    tap(1);
    assert_eq!(world.authorizations(&card).len(), 31);
    engine.stop();
    // Corrupted: every file of it.
    let mut folders = vec![view.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let size = usize::try_from(path.metadata().expect("a file").len()).expect("a size");
                    fs::write(&path, b"garbage!".repeat(size / 8 + 1)).expect("written");
                }
            }
        }
    }
    engine.run();
    tap(1);
    assert_eq!(world.authorizations(&card).len(), 32);
    engine.stop();
    // Behind.
    fs::remove_dir_all(&view).expect("removed");
    copy(&old.join("view"), &view);
    engine.run();
    tap(1);
    assert_eq!(world.authorizations(&card).len(), 33);
    engine.stop();
    // Ahead: the journal lost its end.
    let ahead = engine.data().with_extension("ahead");
    copy(&view, &ahead);
    fs::remove_dir_all(engine.data()).expect("removed");
    copy(&old, &engine.data());
    fs::remove_dir_all(&view).expect("removed");
    copy(&ahead, &view);
    let ended = engine.refused();
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    ended.error();
}

#[test]
fn a_configuration_that_is_wrong_is_2_and_one_line() {
    for (text, word) in
        [("unknown_key = 1\n", "unknown_key"), ("drain_timeout = \"soon\"\n", "drain_timeout"), ("[", "engine.toml")]
    {
        let engine = Engine::prepare(Setup { top: text.to_owned(), ..Setup::default() });
        let ended = engine.refused();
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        assert!(ended.error().contains(word), "{}", ended.stderr);
    }
}

#[test]
fn h27_many_segments_are_one_journal() {
    let sections = "[journal]\nsegment = \"1MiB\"\nmax_batch = \"256KiB\"\n".to_owned();
    let engine = Engine::start(Setup { sections, ..Setup::default() });
    let world = World::on(&engine);
    let (card, account) = world.account_card("100.00");
    let (mut first, mut last) = (None, None);
    for _ in 0..2 {
        let mut wire = engine.wire();
        for _ in 0..40 {
            let taps: Vec<Draft> = (0..100).map(|_| purchase(&card, 1)).collect();
            taps.iter().for_each(|tap| wire.send(tap));
            for tap in taps {
                let bytes = wire.reply_bytes();
                assert_eq!(code(&super::support::iso::read(bytes.clone())), "00");
                first.get_or_insert((tap.clone(), bytes.clone()));
                last = Some((tap, bytes));
            }
        }
        engine.kill();
        engine.run();
    }
    let files = segments(&engine.data());
    assert!(files.len() > 3, "several segments were filled: {files:?}");
    let mut wire = engine.wire();
    for (tap, bytes) in [first, last].into_iter().flatten() {
        assert_eq!(wire.ask_bytes(&tap), bytes, "answered from whichever segment it is in");
    }
    world.account_has(&account, "20.00", "80.00");
}
