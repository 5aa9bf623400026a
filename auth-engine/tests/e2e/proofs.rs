//! Proofs through the binary: checkpoints made beside taps, a third party that has a file and a key and nothing else,
//! and directories whose checkpoints and journal do not fit.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::engine::{Ended, Process};
use serde_json::{Value, json};

use super::support::iso::text as text_of;
use super::support::world::word;
use super::support::{Card, Engine, Setup, World, code, purchase, reversal, until};

fn signing() -> Setup {
    let sections = "[journal]\nsegment = \"4MiB\"\ncheckpoint_interval = \"100ms\"\n".to_owned();
    Setup { sections, ..Setup::default() }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

fn journal(arguments: &[&str]) -> Ended {
    Process::start(&[&["journal"], arguments].concat()).end()
}

/// The second line of a checkpoint.
fn size(note: &str) -> u64 {
    note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no checkpoint: {note}"))
}

/// The newest checkpoint, once it covers all that was durable when it was asked for.
fn checkpoint(engine: &Engine) -> String {
    let durable = engine.get("/v1/system/state")["last_sequence"].as_u64().expect("a sequence");
    until("a checkpoint", || {
        let answer = engine.call("GET", "/v1/system/checkpoint", Some(&engine.operator()), None);
        (answer.status == 200 && size(&answer.text) >= durable).then_some(answer.text)
    })
}

/// Waits for a card's newest authorization to be so.
fn until_newest(world: &World, card: &Card, what: &str, is: impl Fn(&Value) -> bool) -> String {
    until(what, || Some(world.newest(card)).filter(|newest| is(newest)).map(|newest| word(&newest, "id")))
}

/// The public key, as a file beside the data.
fn key(engine: &Engine) -> PathBuf {
    let file = engine.data().with_file_name("journal.key");
    let said = journal(&["prove", "--public-key", "--config", text(&engine.write_config(&engine.data()))]);
    assert_eq!(said.code(), Some(0), "{}", said.stderr);
    fs::write(&file, said.stdout).expect("writable");
    file
}

#[test]
fn a_third_party_checks_a_tap_with_a_file_and_a_key() {
    let engine = Engine::start(signing());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let first = word(&world.newest(&card), "id");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!(code(&wire.ask(&purchase(&card, 9_999_999))), "51");
    let second = word(&world.newest(&card), "id");
    // A partner that answers too late, and a purchase with an increment whose reversal takes back both.
    world.terms(json!({"decision_timeout_ms": 150}));
    world.rules(&["late 100ms"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 700))), "91");
    let late = until_newest(&world, &card, "the late answer", |newest| {
        newest["partner_decision"]["late_by_us"].as_u64().is_some_and(|us| us > 0)
    });
    world.rules(&["approve"]);
    let grown = purchase(&card, 1000);
    assert_eq!(code(&wire.ask(&grown)), "00");
    let parent = word(&world.newest(&card), "id");
    let mut more = purchase(&card, 500);
    let trace = format!("{}1122  ", text_of(&grown, 63));
    more.set_subs(48, &[("TCC", "R"), ("63", trace.as_str())]);
    assert_eq!(code(&wire.ask(&more)), "00");
    let child = word(&world.newest(&card), "id");
    assert_eq!(code(&wire.ask(&reversal(0x0400, &grown))), "00");
    let old = checkpoint(&engine);
    engine.call("GET", "/v1/system/checkpoint", Some(&world.key), None).refused(403, "forbidden");
    // The key can be asked for beside a running engine; a proof cannot.
    let key = key(&engine);
    let data = engine.data();
    let proof = engine.data().with_file_name("tap.proof");
    let make = |id: &str| journal(&["prove", id, "--data", text(&data), "--out", text(&proof)]);
    assert_eq!(make(&first).code(), Some(3));
    assert_eq!(engine.stop().code(), Some(0));
    let check = || journal(&["verify", "--proof", text(&proof), "--key", text(&key)]);
    let ids = [&first, &second, &late, &parent, &child];
    for (id, what) in ids.into_iter().zip([
        "of 12.50 EUR, reversed (00), held 0.00 EUR, cleared 0.00 EUR, in 3 events: tap taken (pending), tap decided (approved), reversed (reversed);",
        "of 99999.99 EUR, declined (51), held 0.00 EUR, cleared 0.00 EUR, in 1 event: tap taken (declined);",
        "of 7.00 EUR, declined (91), held 0.00 EUR, cleared 0.00 EUR, in 3 events: tap taken (pending), tap decided (declined), answered too late (declined);",
        "of 10.00 EUR, reversed (00), held 0.00 EUR",
        "of 5.00 EUR, reversed (00), held 0.00 EUR",
    ]) {
        let made = make(id);
        assert_eq!(made.code(), Some(0), "{}", made.stderr);
        let shown = check();
        assert_eq!(shown.code(), Some(0), "{}", shown.stderr);
        assert_eq!(shown.stdout.lines().count(), 1);
        assert!(shown.stdout.contains(id.as_str()) && shown.stdout.contains(what), "{}", shown.stdout);
        assert!(shown.stdout.contains(&format!(
            "signed by {} over {} events",
            old.lines().next().unwrap(),
            size(&old)
        )));
        let file = fs::read_to_string(&proof).expect("the proof");
        let others = ids.into_iter().filter(|other| *other != id);
        assert!(others.chain([&card.pan, &card.id, &world.pool]).all(|other| !file.contains(other.as_str())));
        let lie = file.replacen("EUR", "USD", 1);
        fs::write(&proof, lie).expect("writable");
        let refused = check();
        assert_eq!((refused.code(), refused.stdout.as_str()), (Some(1), ""));
        assert!(refused.error().contains("not proven"), "{}", refused.stderr);
    }
    assert_eq!(journal(&["prove", "aut_0000008000FFFFFF", "--data", text(&data)]).code(), Some(1));
    assert_eq!(journal(&["prove", "crd_1", "--data", text(&data)]).code(), Some(2));
    assert_eq!(journal(&["prove", "--data", text(&data)]).code(), Some(2));
    assert_eq!(journal(&["verify", "--proof", text(&proof)]).code(), Some(2));

    // A witness kept the old one; the engine was killed, restarted, and went on.
    engine.run();
    assert_eq!(code(&engine.wire().ask(&purchase(&card, 100))), "00");
    let newer = checkpoint(&engine);
    engine.kill();
    engine.run();
    let newest = checkpoint(&engine);
    assert!(size(&old) < size(&newer) && size(&newer) < size(&newest));
    assert_eq!(engine.stop().code(), Some(0));
    let kept = engine.data().with_file_name("kept");
    for witnessed in [&old, &newer, &newest] {
        fs::write(&kept, witnessed).expect("writable");
        let since = journal(&["prove", "--since", text(&kept), "--data", text(&data), "--out", text(&proof)]);
        assert_eq!(since.code(), Some(0), "{}", since.stderr);
        let shown = check();
        assert_eq!(shown.code(), Some(0), "{}", shown.stderr);
        assert!(shown.stdout.contains(&format!("the first {} events are unchanged", size(witnessed))));
    }
    let whole = journal(&["verify", "--json", "--data", text(&data)]);
    assert_eq!(whole.code(), Some(0), "{}", whole.stderr);
    let whole: serde_json::Value = serde_json::from_str(&whole.stdout).expect("JSON");
    assert!(whole["checkpoints"].as_u64() >= Some(3), "{whole}");
    // Without the master key all the rest is checked, and that this was not is said.
    fs::remove_file(data.join("master.key")).expect("removable");
    let without = journal(&["verify", "--data", text(&data)]);
    assert_eq!(without.code(), Some(0), "{}", without.stderr);
    assert!(without.stdout.contains("not checked: that takes the master key"), "{}", without.stdout);
}

#[test]
fn what_is_in_the_archive_is_proved_and_signed_as_before() {
    let engine = Engine::prepare(Setup::default());
    let archive = engine.data().with_file_name("archive");
    let sections = format!(
        "[journal]\nsegment = \"1MiB\"\nmax_batch = \"256KiB\"\nrecovery_time = \"0s\"\narchive_dir = {archive:?}\ncheckpoint_interval = \"100ms\"\n"
    );
    engine.configure(Setup { sections, ..Setup::default() });
    engine.run();
    let world = World::on(&engine);
    let card = world.pool_card();
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 1250))), "00");
    let first = word(&world.newest(&card), "id");
    world.terms(json!({"decision_mode": "auto_decline"}));
    let old = checkpoint(&engine);
    until("the first segment in the archive", || {
        (0..50).for_each(|_| drop(wire.ask_bytes(&purchase(&card, 10))));
        archive.join("0000000001.segment.zst").exists().then_some(())
    });
    checkpoint(&engine);
    engine.kill();
    // A start from a snapshot, and a maker that has lost its place: it reads the archive from the first event on, and
    // meets what it signed before.
    fs::remove_file(engine.data().join("checkpoints/state")).expect("removable");
    engine.run();
    let newest = checkpoint(&engine);
    assert!(engine.stderr().contains("begins with a snapshot") && size(&newest) > size(&old));
    assert_eq!(engine.stop().code(), Some(0));
    let (config, key) = (engine.write_config(&engine.data()), key(&engine));
    let (kept, proof) = (engine.data().with_file_name("kept"), engine.data().with_file_name("tap.proof"));
    fs::write(&kept, &old).expect("writable");
    let since = ["--since", text(&kept)];
    for what in [&[first.as_str()], since.as_slice()] {
        let made = journal(&[&["prove", "--config", text(&config), "--out", text(&proof)], what].concat());
        assert_eq!(made.code(), Some(0), "{}", made.stderr);
        let shown = journal(&["verify", "--proof", text(&proof), "--key", text(&key)]);
        assert_eq!(shown.code(), Some(0), "{}", shown.stderr);
        // One more may be signed between the last look and the stop.
        let over = shown.stdout.split("over ").nth(1).and_then(|rest| rest.split(' ').next());
        let over: u64 = over.and_then(|count| count.parse().ok()).expect("over how many events");
        assert!(over >= size(&newest), "{}", shown.stdout);
    }
    let whole = journal(&["verify", "--json", "--config", text(&config)]);
    assert_eq!(whole.code(), Some(0), "{}", whole.stderr);
}

#[test]
fn checkpoints_that_do_not_fit_the_journal_are_refused() {
    let engine = Engine::start(signing());
    let world = World::on(&engine);
    let card = world.pool_card();
    checkpoint(&engine);
    assert_eq!(engine.stop().code(), Some(0));
    let (data, earlier) = (engine.data(), engine.data().with_file_name("earlier"));
    copy(&data, &earlier);
    engine.run();
    assert_eq!(code(&engine.wire().ask(&purchase(&card, 100))), "00");
    let newest = checkpoint(&engine);
    assert_eq!(engine.stop().code(), Some(0));
    let (log, state) = (data.join("checkpoints/log"), data.join("checkpoints/state"));
    let (whole, kept) = (fs::read(&log).expect("the log"), fs::read(&state).expect("the state"));
    let verify = || journal(&["verify", "--data", text(&data)]);

    // One byte of what was signed.
    let mut bent = whole.clone();
    bent[20] ^= 1;
    fs::write(&log, &bent).expect("writable");
    let (refused, found) = (engine.refused(), verify());
    assert_eq!((refused.code(), found.code()), (Some(3), Some(1)));
    assert!(refused.error().contains("checkpoints/log at byte 0") && found.error().contains("at byte 0"));

    // A write of the last one that did not finish, and a state that is gone: made anew, byte for byte.
    fs::write(&log, &whole[..whole.len() - 40]).expect("writable");
    fs::remove_file(&state).expect("removable");
    engine.run();
    checkpoint(&engine);
    assert_eq!(engine.stop().code(), Some(0));
    assert_eq!(verify().code(), Some(0));
    fs::write(&log, &whole).expect("writable");
    fs::write(&state, &kept).expect("writable");

    // The journal of yesterday beside what was signed today.
    fs::rename(data.join("journal"), data.join("today")).expect("renamed");
    fs::remove_dir_all(data.join("view")).expect("removed");
    copy(&earlier.join("journal"), &data.join("journal"));
    let (refused, found) = (engine.refused(), verify());
    assert_eq!((refused.code(), found.code()), (Some(3), Some(1)));
    for said in [refused.error(), found.error()] {
        assert!(said.contains("lost its end") && said.contains(&size(&newest).to_string()), "{said}");
    }
    // It grows beyond that, and is another: found at the start by the state, and by verify without.
    fs::rename(data.join("checkpoints"), data.join("put-away")).expect("renamed");
    engine.run();
    let mut wire = engine.wire();
    (0..20).for_each(|_| drop(wire.ask(&purchase(&card, 50))));
    assert_eq!(engine.stop().code(), Some(0));
    fs::remove_dir_all(data.join("checkpoints")).expect("removed");
    fs::rename(data.join("put-away"), data.join("checkpoints")).expect("renamed");
    let (refused, found) = (engine.refused(), verify());
    assert_eq!((refused.code(), found.code()), (Some(3), Some(1)), "{}", found.stderr);
    assert!(refused.error().contains("not the journal's history"), "{}", refused.stderr);
    assert!(found.error().contains("another root"), "{}", found.stderr);
    // Without the state only the thread can see it: taps go on, nothing more is signed.
    fs::remove_file(&state).expect("removable");
    engine.run();
    until("the fault to be told", || engine.stderr().contains("no checkpoint is signed any more").then_some(()));
    assert_eq!(code(&engine.wire().ask(&purchase(&card, 100))), "00");
    assert_eq!(engine.stop().code(), Some(0));
    assert_eq!(fs::read(&log).expect("the log"), whole);
}

#[test]
fn a_cut_journal_goes_on_and_cannot_hide_it_from_a_witness() {
    let engine = Engine::start(signing());
    let world = World::on(&engine);
    let card = world.pool_card();
    let before = checkpoint(&engine);
    assert_eq!(code(&engine.wire().ask(&purchase(&card, 100))), "00");
    let after = checkpoint(&engine);
    assert_eq!(engine.stop().code(), Some(0));
    let (data, key) = (engine.data(), key(&engine));
    let cut = journal(&["cut", "--at", &size(&before).to_string(), "--yes", "--data", text(&data)]);
    assert_eq!(cut.code(), Some(0), "{}", cut.stderr);
    engine.run();
    let newest = checkpoint(&engine);
    assert_eq!(engine.stop().code(), Some(0));
    assert!(size(&newest) > size(&before));
    let (kept, proof) = (data.with_file_name("kept"), data.with_file_name("since.proof"));
    let since = |note: &str| {
        fs::write(&kept, note).expect("writable");
        journal(&["prove", "--since", text(&kept), "--data", text(&data), "--out", text(&proof)])
    };
    assert_eq!(since(&before).code(), Some(0));
    assert_eq!(journal(&["verify", "--proof", text(&proof), "--key", text(&key)]).code(), Some(0));
    assert_eq!(since(&after).code(), Some(3), "what was signed and cut can no longer be shown");
    assert_eq!(journal(&["verify", "--data", text(&data)]).code(), Some(0));
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
