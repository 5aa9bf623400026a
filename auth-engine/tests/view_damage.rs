//! Hostile 33: the read model deleted, corrupted, behind, ahead, or of another journal.

mod view_common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use auth_engine::view::{PageRequest, View, ViewError};
use proptest::prelude::*;
use view_common::{World, all_pages, caught_up, wait};

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn users(view: &View) -> Vec<String> {
    all_pages(3, |p| view.users(None, p)).into_iter().map(|u| u.external_id).collect()
}

/// The same once it has settled: whoever meets damage asks again, and sees no half of a list.
fn settled(view: &View, seq: u64) -> Vec<String> {
    loop {
        match view.since(seq).users(None, &PageRequest::default()) {
            Ok(page) => return page.data.into_iter().map(|u| u.external_id).collect(),
            Err(ViewError::Damaged(_) | ViewError::Rebuilding) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

fn world() -> World {
    let mut world = World::new();
    let partner = world.partner("Nubank");
    for i in 0..20 {
        world.user(partner, &format!("user-{i}"));
    }
    world
}

fn expected() -> Vec<String> {
    (0..20).rev().map(|i| format!("user-{i}")).collect()
}

#[test]
fn h33_deleted_it_is_folded_again() {
    let world = world();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, feeder, _) = caught_up(dir.path(), &world);
    assert_eq!(users(&view), expected());
    feeder.stop();
    drop(view);
    std::fs::remove_dir_all(dir.path()).expect("removable");
    let (view, _feeder, report) = caught_up(dir.path(), &world);
    assert_eq!((report.position, report.wiped), (0, None));
    assert_eq!(users(&view), expected());
}

#[test]
fn h33_corrupted_it_is_folded_again() {
    for garble in [
        (|bytes: &mut Vec<u8>| bytes.fill(0xff)) as fn(&mut Vec<u8>),
        |bytes| bytes.fill(0),
        |bytes| bytes.truncate(bytes.len() / 3),
        |bytes| bytes.iter_mut().step_by(7).for_each(|b| *b ^= 0x5a),
        |bytes| bytes.iter_mut().skip(40).step_by(97).for_each(|b| *b = b.wrapping_add(1)),
    ] {
        let world = world();
        let dir = tempfile::tempdir().expect("a directory");
        let (view, feeder, _) = caught_up(dir.path(), &world);
        feeder.stop();
        drop(view);
        for file in files(dir.path()) {
            let mut bytes = std::fs::read(&file).expect("readable");
            garble(&mut bytes);
            std::fs::write(&file, bytes).expect("writable");
        }
        let (view, _feeder, _) = caught_up(dir.path(), &world);
        assert_eq!(settled(&view, world.last_seq()), expected());
    }
}

#[test]
fn h33_another_version_is_folded_again() {
    let world = world();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, feeder, _) = caught_up(dir.path(), &world);
    feeder.stop();
    drop(view);
    let generation = std::fs::read_dir(dir.path()).expect("readable").next().expect("one").expect("readable").path();
    {
        let db = sled::open(&generation).expect("it opens");
        db.insert([0, 0], 999u32.to_be_bytes().as_slice()).expect("it writes");
        db.flush().expect("it syncs");
    }
    let (view, _feeder, report) = caught_up(dir.path(), &world);
    assert!(report.wiped.is_some_and(|why| why.contains("another version")));
    assert_eq!(users(&view), expected());
}

#[test]
fn h33_damage_met_by_a_read_is_repaired_while_it_runs() {
    let world = world();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, feeder, _) = caught_up(dir.path(), &world);
    feeder.stop();
    drop(view);
    let generation = std::fs::read_dir(dir.path()).expect("readable").next().expect("one").expect("readable").path();
    {
        let db = sled::open(&generation).expect("it opens");
        // Rows of users: table 1, kind 2.
        for key in db.scan_prefix([1, 2]).keys() {
            db.insert(key.expect("a key"), b"no row".as_slice()).expect("it writes");
        }
        db.flush().expect("it syncs");
    }
    let (view, _feeder, report) = caught_up(dir.path(), &world);
    assert_eq!((report.position, report.wiped), (world.last_seq(), None));
    assert!(matches!(view.users(None, &PageRequest::default()), Err(ViewError::Damaged(_))));
    // Nobody need do more than ask again.
    assert_eq!(settled(&view, world.last_seq()), expected());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Damage anywhere is either seen, and then all is folded again, or it touched nothing that is told.
    #[test]
    fn h33_any_damage_is_harmless(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let world = world();
        let dir = tempfile::tempdir().expect("a directory");
        let (view, feeder, _) = caught_up(dir.path(), &world);
        feeder.stop();
        drop(view);
        for file in files(dir.path()) {
            let mut bytes = std::fs::read(&file).expect("readable");
            // The file is preallocated: its end is empty.
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            for (place, value) in &places {
                if used > 0 {
                    let at = place.index(used);
                    bytes[at] = *value;
                }
            }
            std::fs::write(&file, bytes).expect("writable");
        }
        let (view, _feeder, _) = caught_up(dir.path(), &world);
        prop_assert_eq!(settled(&view, world.last_seq()), expected());
    }
}

#[test]
fn h33_ahead_it_is_refused() {
    let world = world();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, feeder, _) = caught_up(dir.path(), &world);
    let at = view.position();
    feeder.stop();
    drop(view);
    let refused = View::open(dir.path(), at - 1).err();
    assert_eq!(refused, Some(ViewError::Ahead { view: at, journal: at - 1 }));
    // Refusing harms nothing: with the journal whole again it opens as it was.
    let (_, report) = View::open(dir.path(), at).expect("it opens");
    assert_eq!((report.position, report.wiped), (at, None));
}

#[test]
fn h33_of_another_journal_it_is_folded_again() {
    let world = world();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, feeder, _) = caught_up(dir.path(), &world);
    feeder.stop();
    drop(view);
    let mut other = World::new();
    other.now = other.now.plus_us(1);
    let partner = other.partner("Other");
    while other.last_seq() < world.last_seq() + 10 {
        let name = format!("other-{}", other.last_seq());
        other.user(partner, &name);
    }
    let (view, report) = View::open(dir.path(), other.last_seq()).expect("it opens");
    assert_eq!(report.position, world.last_seq());
    let _feeder = view.start(other.source(), std::sync::Arc::new(view_common::Plain));
    wait(&view, other.last_seq());
    assert!(settled(&view, other.last_seq()).iter().all(|name| name.starts_with("other-")));
}

#[test]
fn whoever_waits_for_what_does_not_come_is_told() {
    let world = world();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let behind = runtime.block_on(view.wait_for(u64::MAX, Duration::from_millis(1))).expect_err("it never comes");
    assert_eq!((behind.at, behind.wanted), (world.last_seq(), u64::MAX));
    assert!(view.users(None, &PageRequest::default()).is_ok());
}
