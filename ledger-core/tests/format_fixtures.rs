//! Bytes that earlier versions wrote, kept for ever under `fixtures/journal`: every kind and version of event, and a
//! whole journal with a snapshot and an archive. Today's code must read them and mean the same.
//!
//! A fixture is never written again. What has none gets one by
//! `WRITE_MISSING_FIXTURES=1 cargo test -p ledger-core --test format_fixtures`, which adds and changes nothing that is there. When
//! a kind grows a field, what its older fixtures mean from then on is told in [`meant`].

mod admin_common;
mod event_common;
mod journal_common;
mod tap_common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use admin_common::eur;
use event_common::one_of_each;
use journal_common::{keys, options};
use ledger_core::event::Event;
use ledger_core::journal::archive::Shelves;
use ledger_core::journal::file::RealDisk;
use ledger_core::journal::{Journal, Options, Recovery, SpareMaking};
use ledger_core::snapshot::{Folded, make};
use minicbor::Encoder;
use serde_json::{Value, json};
use tap_common::Town;

/// Kind, version, and whether everything optional is there.
type Key = (u8, u8, bool);

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/journal")
}

fn fixtures() -> BTreeMap<Key, Vec<u8>> {
    let Ok(text) = fs::read_to_string(place().join("events.json")) else { return BTreeMap::new() };
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| u8::try_from(value.as_u64().unwrap()).unwrap();
    let bytes =
        |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    all.iter()
        .map(|one| {
            let key = (number(&one["kind"]), number(&one["version"]), one["whole"].as_bool().unwrap());
            (key, bytes(one["bytes"].as_str().unwrap()))
        })
        .collect()
}

fn written(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    bytes
}

/// What was written of a kind before its newest version, for as long as some code here can still write it.
fn written_as(event: &Event<'_>, version: u8) -> Option<Vec<u8>> {
    match (event, version) {
        (Event::TapTaken(body), 1) => {
            let mut bytes = vec![event.kind(), 1];
            minicbor::Encode::encode(body, &mut Encoder::new(&mut bytes), &mut ()).unwrap();
            Some(bytes)
        }
        _ => (written(event)[1] == version).then(|| written(event)),
    }
}

/// What a fixture means: the event of `one_of_each`, unless a field was added after that version.
fn meant((kind, _version, whole): Key) -> Event<'static> {
    one_of_each(whole).into_iter().find(|event| event.kind() == kind).expect("one_of_each has every kind")
}

fn wanted() -> impl Iterator<Item = Key> {
    let versions = Event::KINDS.iter().flat_map(|(kind, newest, _)| (1..=*newest).map(|version| (*kind, version)));
    versions.flat_map(|(kind, version)| [false, true].map(|whole| (kind, version, whole)))
}

#[test]
fn every_kind_and_version_has_a_fixture() {
    if std::env::var_os("WRITE_MISSING_FIXTURES").is_some() {
        write_missing_fixtures();
    }
    let there = fixtures();
    for key @ (kind, version, _) in wanted() {
        assert!(
            there.contains_key(&key),
            "kind {kind} version {version} has no fixture: WRITE_MISSING_FIXTURES=1 cargo test -p ledger-core --test format_fixtures"
        );
    }
    assert_eq!(there.len(), wanted().count(), "a fixture of a kind or version that no code reads any more");
}

#[test]
fn every_fixture_reads_as_what_it_meant_and_is_written_as_the_current_version() {
    for (key, bytes) in fixtures() {
        let (kind, version, _) = key;
        assert_eq!(bytes[..2], [kind, version]);
        let read = Event::decode(&bytes).unwrap_or_else(|error| panic!("{key:?}: {error}"));
        assert_eq!(read, meant(key), "{key:?}");
        let newest = Event::KINDS.iter().find(|(known, ..)| *known == kind).expect("a known kind").1;
        let again = written(&read);
        assert_eq!(again[..2], [kind, newest], "{key:?}");
        assert_eq!(Event::decode(&again).unwrap(), read, "{key:?}");
        if version == newest {
            assert_eq!(again, bytes, "{key:?}: one way to write it");
        }
    }
}

/// The journal of format 1 as it lies in the fixtures: closed segments archived, the rest compressed.
fn unpacked(to: &Path) -> Options {
    let from = place().join("format-1");
    let (journal, archive) = (to.join("journal"), to.join("archive"));
    fs::create_dir_all(&journal).unwrap();
    fs::create_dir_all(&archive).unwrap();
    for entry in fs::read_dir(from.join("archive")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, archive.join(path.file_name().unwrap())).unwrap();
    }
    for entry in fs::read_dir(from.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = zstd::decode_all(&*fs::read(&path).unwrap()).unwrap();
        fs::write(journal.join(path.file_stem().unwrap()), bytes).unwrap();
    }
    on_shelves(to)
}

fn on_shelves(dir: &Path) -> Options {
    let (journal, archive) = (dir.join("journal"), dir.join("archive"));
    let disk = Arc::new(Shelves::new(Arc::new(RealDisk), journal.clone(), archive));
    Options { disk, spares: SpareMaking::Inline, ..options(&journal) }
}

fn replayed(options: Options) -> (Recovery, Folded) {
    let mut folded = Folded::default();
    let (_, recovery) = Journal::open_from(options, keys(), &mut folded).unwrap();
    (recovery, folded)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_whole_journal_of_format_1_folds_to_the_state_it_had() {
    let told: Value = serde_json::from_str(&fs::read_to_string(place().join("format-1/state.json")).unwrap()).unwrap();
    for snapshot in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = unpacked(dir.path());
        if !snapshot {
            for entry in fs::read_dir(dir.path().join("journal")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|kind| kind == "snapshot") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let (recovery, folded) = replayed(options);
        assert_eq!(recovery.snapshot.is_some(), snapshot);
        assert_eq!(recovery.last_seq, told["last_sequence"].as_u64().unwrap());
        assert_eq!(hex(&folded.0.state_hash()), told["state_hash"].as_str().unwrap(), "snapshot: {snapshot}");
        folded.0.check().unwrap();
    }
}

/// Adds fixtures that are missing.
fn write_missing_fixtures() {
    let mut there = fixtures();
    for key in wanted() {
        let event = meant(key);
        let bytes = || written_as(&event, key.1).expect("some code still writes this version");
        there.entry(key).or_insert_with(bytes);
    }
    let name = |kind: u8| Event::KINDS.iter().find(|(known, ..)| *known == kind).map_or("", |found| found.2);
    let lines: Vec<String> = there
        .iter()
        .map(|((kind, version, whole), bytes)| {
            let of = name(*kind);
            json!({"kind": kind, "version": version, "of": of, "whole": whole, "bytes": hex(bytes)}).to_string()
        })
        .collect();
    fs::create_dir_all(place()).unwrap();
    fs::write(place().join("events.json"), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();

    let whole = place().join("format-1");
    if whole.exists() {
        return;
    }
    let mut town = Town::new();
    for tap in 0..220i64 {
        let card = if tap % 3 == 0 { town.account_card.clone() } else { town.pool_card.clone() };
        let request = town.world.purchase(&card, eur(1 + tap % 90));
        let taken = town.world.take(&request);
        if taken.reason.is_none() && tap % 4 != 0 {
            town.world.approve(taken.no);
        }
        town.world.wait(50_000_000);
        town.world.expire_due();
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(on_shelves(dir.path()), keys(), &mut |_| Ok(())).unwrap();
    journal.start_epoch(1);
    for (number, (at, bytes)) in town.world.applied().iter().enumerate() {
        // Every other tap in the version before.
        let event = Event::decode(bytes).unwrap();
        let older = (number % 2 == 0).then(|| written_as(&event, 1)).flatten();
        journal.append(at.0, |out| out.extend_from_slice(older.as_deref().unwrap_or(bytes)));
        if journal.open_events() == 12 {
            journal.commit().unwrap();
        }
    }
    journal.commit().unwrap();
    let made = make(&journal.reader(), false, &mut |_| true).unwrap().expect("segments were closed");
    drop(journal);
    let (from, shelf) = (dir.path().join("journal"), dir.path().join("archive"));
    let shelves = Shelves::new(Arc::new(RealDisk), from.clone(), shelf.clone());
    for segment in 1..=made.segment {
        shelves.archive(segment, &mut |_| true).unwrap();
    }
    fs::create_dir_all(whole.join("archive")).unwrap();
    fs::create_dir_all(whole.join("journal")).unwrap();
    for entry in fs::read_dir(shelf).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, whole.join("archive").join(path.file_name().unwrap())).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name != "lock" {
            let packed = zstd::encode_all(&*fs::read(&path).unwrap(), 19).unwrap();
            fs::write(whole.join("journal").join(name + ".zst"), packed).unwrap();
        }
    }
    let state = json!({
        "last_sequence": town.world.events(),
        "state_hash": hex(&town.world.book.state_hash()),
    });
    fs::write(whole.join("state.json"), format!("{state:#}\n")).unwrap();
}
