//! Snapshots and the archive from outside: a start that reads less tells, answers and repeats the same.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use iso_codec::Draft;
use serde_json::json;

use super::support::engine::{Ended, Process};
use super::support::{Engine, Setup, World, purchase, until};

fn files(dir: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|is| is == kind)).collect();
    found.sort();
    found
}

/// An engine that makes a snapshot of every segment and archives what is before the older of two.
fn keeping() -> (std::sync::Arc<Engine>, PathBuf) {
    let engine = Engine::prepare(Setup::default());
    let archive = engine.data().with_file_name("archive");
    let journal = format!(
        "[journal]\nsegment = \"1MiB\"\nmax_batch = \"256KiB\"\nrecovery_time = \"0s\"\narchive_dir = {archive:?}\n"
    );
    engine.configure(Setup { sections: journal, ..Setup::default() });
    engine.run();
    (engine, archive)
}

fn verify(engine: &Engine) -> Ended {
    let config = engine.write_config(&engine.data());
    Process::start(&["journal", "verify", "--json", "--config", config.to_str().expect("plain")]).end()
}

#[test]
fn a_start_from_a_snapshot_and_an_archive_knows_all_that_was_answered() {
    let (engine, archive) = keeping();
    let world = World::on(&engine);
    let (card, account) = world.account_card("900000.00");
    let mut wire = engine.wire();
    let mut said: Vec<(Draft, Bytes)> = Vec::new();
    let journal = engine.data().join("journal");
    until("snapshots and an archived segment", || {
        for _ in 0..50 {
            let draft = purchase(&card, 10);
            let reply = wire.ask_bytes(&draft);
            said.push((draft, reply));
        }
        (files(&journal, "snapshot").len() == 2 && files(&archive, "zst").len() >= 2).then_some(())
    });
    assert!(!journal.join("0000000001.segment").exists(), "it is in the archive");
    let state = engine.get("/v1/system/state");
    let balance = engine.get(&format!("/v1/accounts/{account}"));
    engine.kill();

    let verified = verify(&engine);
    assert_eq!(verified.code(), Some(0), "{}", verified.stderr);
    let told: serde_json::Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert_eq!(told["state_hash"], state["state_hash"]);

    engine.run();
    assert!(engine.stderr().contains("begins with a snapshot"), "{}", engine.stderr());
    assert_eq!(engine.get(&format!("/v1/accounts/{account}")), balance);
    let mut wire = engine.wire();
    for (draft, reply) in [said.first(), said.get(said.len() / 2), said.last()].into_iter().flatten() {
        assert_eq!(wire.ask_bytes(draft), *reply, "the same answer, also out of an archived segment");
    }
    assert_eq!(engine.get(&format!("/v1/accounts/{account}")), balance, "repeats move nothing");
    let first = engine.list("/v1/authorizations?limit=1");
    let id = first[0]["id"].as_str().expect("an id").to_owned();
    assert!(!engine.list(&format!("/v1/authorizations/{id}/events")).is_empty());
    assert_eq!(engine.stop().code(), Some(0));
}

#[test]
fn h30_a_snapshot_that_is_not_the_journals_is_refused_and_a_damaged_one_passed_over() {
    let (engine, _) = keeping();
    let world = World::on(&engine);
    let (card, account) = world.account_card("900000.00");
    let mut wire = engine.wire();
    let journal = engine.data().join("journal");
    until("two snapshots", || {
        (0..50).for_each(|_| _ = wire.ask_bytes(&purchase(&card, 10)));
        (files(&journal, "snapshot").len() == 2).then_some(())
    });
    let balance = engine.get(&format!("/v1/accounts/{account}"));
    engine.stop();
    let snapshots = files(&journal, "snapshot");
    let (older, newest) = (&snapshots[0], snapshots.last().expect("two"));
    let whole = fs::read(newest).expect("it is there");

    // One that ends elsewhere, under this one's name: whole, and not of this chain.
    fs::copy(older, newest).expect("a copy");
    let refused = engine.refused();
    assert_eq!(refused.code(), Some(3));
    let error = refused.error();
    assert!(error.contains(newest.to_str().expect("plain")) && error.contains("offset"), "{error}");

    let mut bent = whole;
    let at = bent.len() / 2;
    bent[at] ^= 1;
    fs::write(newest, bent).expect("written");
    engine.run();
    assert!(engine.stderr().contains("the snapshot is damaged at offset"), "{}", engine.stderr());
    assert_eq!(engine.get(&format!("/v1/accounts/{account}")), balance);
    assert_eq!(
        engine.post(
            &format!("/v1/pools/{}/top-ups", world.pool),
            &json!({"amount": super::support::money("1.00", "EUR"), "reference": "r"})
        )["status"],
        "pending"
    );
    assert_eq!(engine.stop().code(), Some(0));
}
