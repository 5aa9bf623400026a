//! Snapshots as files: what a start takes from one, and what it does with one that is damaged, foreign or ahead.

mod admin_common;
mod journal_common;
mod tap_common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use admin_common::eur;
use journal_common::{bend, keys, options};
use ledger_core::journal::archive::Shelves;
use ledger_core::journal::file::RealDisk;
use ledger_core::journal::{
    Journal, JournalError, Options, Recovery, Snapshot, list_snapshots, segment_name, verify_on,
};
use ledger_core::keys::MasterKey;
use ledger_core::snapshot::{Folded, Made, fold, make};
use tap_common::Town;

const PAGE: usize = 4096;

/// A world whose events go into a journal on disk, three a block.
struct Life {
    town: Town,
    dir: tempfile::TempDir,
    written: usize,
}

impl Life {
    fn new() -> Self {
        Self { town: Town::new(), dir: tempfile::tempdir().unwrap(), written: 0 }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn live(&mut self, taps: usize) {
        for tap in 0..taps {
            let card = if tap % 3 == 0 { &self.town.account_card } else { &self.town.pool_card };
            let request = self.town.world.purchase(&card.clone(), eur(1 + tap as i64 % 90));
            let taken = self.town.world.take(&request);
            if taken.reason.is_none() && tap % 4 != 0 {
                self.town.world.approve(taken.no);
            }
            self.town.world.wait(50_000_000);
            self.town.world.expire_due();
        }
    }

    /// Brings what happened into the journal; the journal stays open.
    fn write(&mut self) -> Journal {
        let (mut journal, _, folded) = open(self.path()).unwrap();
        assert_eq!(folded.0.last_seq(), self.written as u64);
        journal.start_epoch(journal.epoch() + 1);
        for (at, bytes) in &self.town.world.applied()[self.written..] {
            journal.append(at.0, |out| out.extend_from_slice(bytes));
            if journal.open_events() == 3 {
                journal.commit().unwrap();
            }
        }
        journal.commit().unwrap();
        self.written = self.town.world.events();
        journal
    }

    fn snapshot(&mut self) -> Made {
        let journal = self.write();
        make(&journal.reader(), false, &mut |_| true).unwrap().expect("segments were closed since")
    }

    fn hash(&self) -> [u8; 32] {
        self.town.world.book.state_hash()
    }
}

fn open(dir: &Path) -> Result<(Journal, Recovery, Folded), JournalError> {
    let mut folded = Folded::default();
    let (journal, recovery) = Journal::open_from(options(dir), keys(), &mut folded)?;
    Ok((journal, recovery, folded))
}

fn refusal(dir: &Path) -> JournalError {
    open(dir).map(|_| ()).expect_err("it is refused")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    list_snapshots(&RealDisk, dir).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn lived() -> (Life, Made) {
    let mut life = Life::new();
    life.live(400);
    let made = life.snapshot();
    (life, made)
}

#[test]
fn a_start_begins_with_the_newest_snapshot_and_ends_in_the_same_state() {
    let (mut life, first) = lived();
    assert!(first.segment > 1 && first.last_seq < life.written as u64);
    for turn in 0..3 {
        let (_, recovery, folded) = open(life.path()).unwrap();
        assert_eq!(folded.0.state_hash(), life.hash());
        assert_eq!(recovery.snapshot.as_ref(), files(life.path()).first());
        assert_eq!(recovery.snapshot_seq + recovery.events, life.written as u64);
        life.live(200);
        let made = life.snapshot();
        assert!(made.last_seq > recovery.snapshot_seq && made.events == made.last_seq - recovery.snapshot_seq);
        assert_eq!(files(life.path()).len(), 2, "in turn {turn}: two are kept");
        let replay = Snapshot::open(&RealDisk, &made.path).unwrap();
        assert_eq!(ledger_core::snapshot::read(&replay).unwrap().state_hash(), made.state_hash);
    }
    let journal = life.write();
    assert!(make(&journal.reader(), false, &mut |_| true).unwrap().is_none(), "nothing was closed since");
}

#[test]
fn what_a_snapshot_covers_is_still_read_from_the_journal() {
    let (life, _) = lived();
    let (journal, recovery, _) = open(life.path()).unwrap();
    let reader = journal.reader();
    let applied = life.town.world.applied();
    for (seq, (_, bytes)) in (1u64..).zip(applied).step_by(17) {
        assert_eq!(&reader.read(seq).unwrap().payload, bytes);
    }
    let mut follower = reader.follow(recovery.snapshot_seq - 40);
    let mut next = recovery.snapshot_seq - 40;
    while let Some(block) = follower.next_block().unwrap() {
        for record in block.iter() {
            assert_eq!((record.seq, record.payload), (next, &applied[next as usize - 1].1[..]));
            next += 1;
        }
    }
    assert_eq!(next, applied.len() as u64 + 1);
}

#[test]
fn h30_a_damaged_snapshot_is_passed_over_whichever_byte_it_is() {
    let (mut life, _) = lived();
    life.live(200);
    let made = life.snapshot();
    let (hash, len) = (life.hash(), std::fs::metadata(&made.path).unwrap().len() as usize);
    let whole = std::fs::read(&made.path).unwrap();
    for at in (0..len).step_by(len / 150) {
        bend(&made.path, |bytes| bytes[at] ^= 0x40);
        let (_, recovery, folded) = open(life.path()).unwrap();
        assert_eq!(folded.0.state_hash(), hash);
        assert_eq!(recovery.passed_over.len(), 1, "byte {at} of {len}");
        assert!(recovery.snapshot.is_some(), "the one before is taken");
        std::fs::write(&made.path, &whole).unwrap();
    }
    for cut in [0, 100, PAGE, len / 2, len - 1] {
        bend(&made.path, |bytes| bytes.truncate(cut));
        let (_, recovery, folded) = open(life.path()).unwrap();
        assert_eq!((folded.0.state_hash(), recovery.passed_over.len()), (hash, 1), "cut at {cut}");
        std::fs::write(&made.path, &whole).unwrap();
    }
    files(life.path()).iter().for_each(|file| bend(file, |bytes| bytes[PAGE] ^= 1));
    let (_, recovery, folded) = open(life.path()).unwrap();
    assert_eq!((folded.0.state_hash(), recovery.passed_over.len(), recovery.snapshot), (hash, 2, None));
    assert_eq!(recovery.events, life.written as u64, "all of it is replayed");
}

#[test]
fn the_maker_goes_on_from_the_one_before_when_the_newest_is_damaged() {
    let (mut life, _) = lived();
    life.live(200);
    let newest = life.snapshot().path;
    bend(&newest, |bytes| bytes[PAGE + 3] ^= 1);
    life.live(200);
    let made = life.snapshot();
    let (_, recovery, folded) = open(life.path()).unwrap();
    assert_eq!((recovery.snapshot, recovery.passed_over.len()), (Some(made.path), 0));
    assert_eq!(folded.0.state_hash(), life.hash());
}

#[test]
fn h30_a_snapshot_that_does_not_match_its_chain_is_refused() {
    let (life, made) = lived();
    let mut other = Life::new();
    other.town.world.wait(1);
    other.live(400);
    let twin = other.snapshot();
    let to = life.path().join(twin.path.file_name().unwrap());
    std::fs::copy(&twin.path, to).unwrap();
    let error = refusal(life.path());
    assert!(matches!(error, JournalError::ForeignSnapshot { .. }), "{error}");
    assert!(error.to_string().contains("chain of hashes") && error.to_string().contains("offset 72"), "{error}");

    // The same under the name of another segment.
    files(life.path()).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    std::fs::copy(&twin.path, life.path().join("0000000001.snapshot")).unwrap();
    assert!(matches!(refusal(life.path()), JournalError::ForeignSnapshot { .. }));
    drop(made);
}

#[test]
fn h30_a_snapshot_of_another_engine_or_a_newer_version_is_refused() {
    let (life, made) = lived();
    let rewritten = |at: usize, bytes: &[u8]| {
        bend(&made.path, |page| {
            page[at..at + bytes.len()].copy_from_slice(bytes);
            let crc = crc32c::crc32c_append(crc32c::crc32c(&page[..12]), &page[16..PAGE]);
            page[12..16].copy_from_slice(&crc.to_le_bytes());
        });
    };
    let whole = std::fs::read(&made.path).unwrap();
    rewritten(16, &[9; 16]);
    let error = refusal(life.path());
    assert!(error.to_string().contains("another engine") && error.to_string().contains("offset 16"), "{error}");
    std::fs::write(&made.path, &whole).unwrap();
    for (at, version) in [(8, 2u16), (10, 99)] {
        rewritten(at, &version.to_le_bytes());
        let error = refusal(life.path());
        assert!(matches!(error, JournalError::NewerSnapshot { offset, .. } if offset == at as u64), "{error}");
        std::fs::write(&made.path, &whole).unwrap();
    }
    assert!(open(life.path()).is_ok());
}

#[test]
fn h33_a_snapshot_ahead_of_the_journal_says_that_the_journal_lost_its_end() {
    let (life, made) = lived();
    let later = made.segment + 1..made.segment + 9;
    for gone in later.map(|number| life.path().join(segment_name(number))) {
        _ = std::fs::remove_file(gone);
    }
    let error = refusal(life.path());
    assert!(matches!(&error, JournalError::SnapshotAhead { file, .. } if *file == made.path), "{error}");
    assert!(error.to_string().contains("lost its end"), "{error}");
}

#[test]
fn one_that_was_given_up_leaves_nothing_behind() {
    let mut life = Life::new();
    life.live(400);
    let journal = life.write();
    let mut left = 3;
    let given_up = make(&journal.reader(), false, &mut |_| {
        left -= 1;
        left > 0
    });
    assert!(matches!(given_up, Err(JournalError::Abandoned)));
    assert!(files(life.path()).is_empty());
    assert!(!life.path().join("snapshot.tmp").exists());
    drop(journal);
    let (_, recovery, _) = open(life.path()).unwrap();
    assert_eq!((recovery.snapshot, recovery.passed_over.len()), (None, 0));
}

#[test]
fn a_wrong_master_key_is_refused_before_any_snapshot_is_read() {
    let (life, made) = lived();
    bend(&made.path, |bytes| bytes[PAGE] ^= 1);
    let wrong = ledger_core::journal::KeySource::existing(MasterKey::from_bytes([6; 32]));
    let refused = Journal::open_from(options(life.path()), wrong, &mut Folded::default()).map(|_| ());
    assert!(matches!(refused, Err(JournalError::WrongMasterKey { .. })));
}

#[test]
fn archived_segments_are_read_as_if_they_were_where_they_were() {
    let (life, made) = lived();
    let archive = tempfile::tempdir().unwrap();
    let shelves = Arc::new(Shelves::new(Arc::new(RealDisk), life.path(), archive.path()));
    for segment in 1..=made.segment {
        assert!(shelves.archive(segment, &mut |_| true).unwrap());
        assert!(!shelves.archive(segment, &mut |_| true).unwrap(), "it is there already");
        assert!(!life.path().join(segment_name(segment)).exists());
    }
    let packed = std::fs::metadata(archive.path().join("0000000001.segment.zst")).unwrap().len();
    assert!(packed < journal_common::SEGMENT / 2, "{packed} bytes: the padding is gone");

    let shelved = || Options { disk: shelves.clone(), ..options(life.path()) };
    let mut folded = Folded::default();
    let (journal, recovery) = Journal::open_from(shelved(), keys(), &mut folded).unwrap();
    assert_eq!((folded.0.state_hash(), recovery.snapshot), (life.hash(), Some(made.path.clone())));
    let applied = life.town.world.applied();
    for (seq, (_, bytes)) in (1u64..).zip(applied).step_by(13) {
        assert_eq!(&journal.reader().read(seq).unwrap().payload, bytes);
    }
    drop(journal);
    let mut book = ledger_core::book::Book::default();
    let report = verify_on(&*shelves, life.path(), keys(), &mut |record| fold(&mut book, record)).unwrap();
    assert_eq!((book.state_hash(), report.last_seq), (life.hash(), life.written as u64));

    // Without the archive the journal has no beginning, and a start says so.
    assert!(matches!(refusal(life.path()), JournalError::MissingSegment { .. }));
}

#[test]
fn h30_a_damaged_archive_is_found_and_located_whichever_byte_it_is() {
    let (life, made) = lived();
    let archive = tempfile::tempdir().unwrap();
    let shelves = Shelves::new(Arc::new(RealDisk), life.path(), archive.path());
    (1..=made.segment).for_each(|segment| assert!(shelves.archive(segment, &mut |_| true).unwrap()));
    let file = archive.path().join("0000000002.segment.zst");
    let whole = std::fs::read(&file).unwrap();
    let verified = || verify_on(&shelves, life.path(), keys(), &mut |_| Ok(())).map(|report| report.last_seq);
    assert_eq!(verified().unwrap(), life.written as u64);
    for at in (0..whole.len()).step_by(whole.len() / 300) {
        bend(&file, |bytes| bytes[at] ^= 1);
        match verified() {
            Err(JournalError::Corrupt { file: named, offset, .. }) => {
                assert!(named == file && offset <= at as u64, "byte {at} was told at {offset} of {}", named.display());
            }
            other => panic!("byte {at} of {}: {other:?}", whole.len()),
        }
        std::fs::write(&file, &whole).unwrap();
    }
    for cut in [0, 1, PAGE, whole.len() / 2, whole.len() - 1] {
        bend(&file, |bytes| bytes.truncate(cut));
        assert!(matches!(verified(), Err(JournalError::Corrupt { .. })), "cut at {cut}");
        std::fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn a_crash_between_the_copy_and_the_removal_leaves_a_journal() {
    let (life, _) = lived();
    let archive = tempfile::tempdir().unwrap();
    let shelves = Arc::new(Shelves::new(Arc::new(RealDisk), life.path(), archive.path()));
    let first = life.path().join(segment_name(1));
    let segment = std::fs::read(&first).unwrap();
    assert!(shelves.archive(1, &mut |_| true).unwrap());
    std::fs::write(&first, segment).unwrap();
    let given_up = shelves.archive(2, &mut |_| false);
    assert!(matches!(given_up, Err(JournalError::Abandoned)));
    let shelved = Options { disk: shelves.clone(), ..options(life.path()) };
    let mut folded = Folded::default();
    drop(Journal::open_from(shelved, keys(), &mut folded).unwrap());
    assert_eq!(folded.0.state_hash(), life.hash());
    assert!(shelves.archive(1, &mut |_| true).unwrap(), "it is archived again");
    assert!(shelves.archive(2, &mut |_| true).unwrap());
}
