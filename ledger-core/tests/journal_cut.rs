//! Cutting a journal: behind every one of its events, whole or damaged behind it, stopped at every step. The journal
//! must open again with exactly what was before, end with the event that begins a new epoch, and go on.

mod journal_common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use journal_common::{Event, Model, bend, blocks, keys, options, reopen, segments};
use ledger_core::journal::cut::{Cut, CutError, Done, Lost};
use ledger_core::journal::file::{Access, Disk, Entry, Lock, LockKind, RealDisk, SegmentFile};
use ledger_core::journal::{Journal, JournalError, KeySource, verify, walk};

/// Some segments, several epochs, blocks of one to four events, one of them longer than a page.
fn written(dir: &Path) -> Model {
    let mut model = Model::default();
    for epoch in 1..=4 {
        let (mut journal, _, _) = reopen(dir);
        journal.start_epoch(epoch);
        for turn in 0..13u32 {
            for event in 0..=(turn % 4) {
                let size = if turn % 5 == 0 { 5_000 } else { 40 };
                let payload = vec![(epoch * 50 + turn * 4 + event) as u8; size];
                model.append(&mut journal, i64::from(epoch * 1_000 + turn), &payload);
            }
            journal.commit().unwrap();
        }
    }
    assert!(segments(dir).len() >= 4, "{}", segments(dir).len());
    model
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn cut_on(disk: Arc<dyn Disk>, dir: &Path, seq: u64, backup: &Path) -> Result<(Done, Lost, Vec<Event>), CutError> {
    let mut gone = Vec::new();
    let cut = Cut::prepare(disk, dir, seq, LockKind::Exclusive, &mut |record| gone.push(Event::from(record)))?;
    let lost = cut.lost().clone();
    Ok((cut.carry_out(backup, b"a new epoch")?, lost, gone))
}

fn cut(dir: &Path, seq: u64, backup: &Path) -> Result<(Done, Lost, Vec<Event>), CutError> {
    cut_on(Arc::new(RealDisk), dir, seq, backup)
}

/// The journal holds the model up to `seq`, then the cut's event, and goes on from there.
fn check(dir: &Path, model: &Model, seq: u64, done: &Done) {
    let mut found = Vec::new();
    verify(dir, KeySource::absent(), &mut |record| {
        found.push(Event::from(record));
        Ok(())
    })
    .unwrap_or_else(|error| panic!("cut at {seq}: {error}"));
    let mut expected: Vec<Event> = model.events.iter().filter(|event| event.seq <= seq).cloned().collect();
    let at = expected.last().unwrap().at;
    expected.push(Event { seq: seq + 1, at, epoch: done.epoch, payload: b"a new epoch".to_vec() });
    assert_eq!(found, expected, "cut at {seq}");
    let highest = model.events.iter().map(|event| event.epoch).max().unwrap();
    assert!(done.epoch > highest, "cut at {seq}: epoch {} may have been used", done.epoch);
    let (mut journal, recovery, _) = reopen(dir);
    assert_eq!((recovery.last_seq, recovery.last_epoch), (seq + 1, done.epoch));
    journal.start_epoch(done.epoch + 1);
    let next = journal.append(at + 1, |out| out.extend_from_slice(&[7; 9_000]));
    assert_eq!(next, seq + 2);
    journal.commit().unwrap();
    drop(journal);
    let (_, recovery, _) = reopen(dir);
    assert_eq!((recovery.last_seq, recovery.cut_bytes), (seq + 2, 0));
}

#[test]
fn a_whole_journal_is_cut_behind_any_event() {
    let scratch = tempfile::tempdir().unwrap();
    let original = scratch.path().join("original");
    let model = written(&original);
    let last = model.events.last().unwrap().seq;
    for seq in 1..last {
        let dir = scratch.path().join(format!("journal-{seq}"));
        copy(&original, &dir);
        let backup = scratch.path().join(format!("backup-{seq}"));
        let (done, lost, gone) = cut(&dir, seq, &backup).unwrap();
        let behind: Vec<Event> = model.events.iter().filter(|event| event.seq > seq).cloned().collect();
        assert_eq!((lost.events, lost.last_seq, lost.unreadable_pages), (last - seq, Some(last), 0));
        assert_eq!(gone, behind);
        for copied in &done.copied {
            let name = copied.file_name().unwrap();
            assert_eq!(std::fs::read(copied).unwrap(), std::fs::read(original.join(name)).unwrap(), "{name:?}");
        }
        check(&dir, &model, seq, &done);
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::remove_dir_all(&backup).unwrap();
    }
}

#[test]
fn what_stands_behind_the_cut_may_be_damaged_in_any_way() {
    let scratch = tempfile::tempdir().unwrap();
    let original = scratch.path().join("original");
    let model = written(&original);
    let mut cases = 0;
    for (number, segment) in segments(&original).iter().enumerate() {
        for (at, (offset, len)) in blocks(segment).into_iter().enumerate() {
            // Every fifth place: the header bent, the payload bent, all of it overwritten, the file cut, the next gone.
            if (number + at) % 5 != 0 {
                continue;
            }
            for kind in 0..5 {
                let dir = scratch.path().join("journal");
                copy(&original, &dir);
                let file = dir.join(segment.file_name().unwrap());
                match kind {
                    0 => bend(&file, |bytes| bytes[offset + 20] ^= 1),
                    1 => bend(&file, |bytes| bytes[offset + 100] ^= 1),
                    2 => bend(&file, |bytes| bytes[offset..].fill(0xEE)),
                    3 => bend(&file, |bytes| bytes.truncate(offset + len / 2)),
                    _ => {
                        bend(&file, |bytes| bytes[offset + 100] ^= 1);
                        let next = dir.join(format!("{:010}.segment", number + 2));
                        if next.exists() {
                            std::fs::remove_file(next).unwrap();
                        }
                    }
                }
                let walked = walk(&RealDisk, &dir, &mut |_| Ok(std::ops::ControlFlow::Continue(()))).unwrap();
                let good = walked.last_seq;
                assert!(walked.trouble.is_some(), "damage {kind} at {offset} of {segment:?} goes unseen");
                if good > 0 {
                    let backup = scratch.path().join("backup");
                    let beyond = cut(&dir, good + 1, &backup).unwrap_err();
                    let told = matches!(&beyond, CutError::Journal(error) if error.is_damage());
                    assert!(told, "{beyond}");
                    let (done, lost, _) = cut(&dir, good, &backup).unwrap();
                    assert!(lost.unreadable_pages > 0);
                    check(&dir, &model, good, &done);
                    std::fs::remove_dir_all(&backup).unwrap();
                    cases += 1;
                }
                std::fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
    assert!(cases > 30, "{cases}");
}

#[test]
fn a_journal_is_cut_twice_and_epochs_rise_each_time() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("journal");
    let model = written(&dir);
    let (first, ..) = cut(&dir, 40, &scratch.path().join("one")).unwrap();
    let (second, ..) = cut(&dir, 12, &scratch.path().join("two")).unwrap();
    assert!(second.epoch > first.epoch);
    check(&dir, &model, 12, &second);
}

#[test]
fn there_must_be_something_to_cut_and_to_keep() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("journal");
    let model = written(&dir);
    let last = model.events.last().unwrap().seq;
    let backup = scratch.path().join("backup");
    assert!(matches!(cut(&dir, last, &backup), Err(CutError::Nothing { seq, .. }) if seq == last));
    assert!(matches!(cut(&dir, last + 1, &backup), Err(CutError::BeyondEnd { last: l, .. }) if l == last));
    assert!(matches!(cut(&dir, 0, &backup), Err(CutError::BeyondEnd { .. })));
    let (journal, ..) = reopen(&dir);
    assert!(matches!(cut(&dir, 5, &backup), Err(CutError::Journal(JournalError::InUse { .. }))));
    drop(journal);
    assert!(!backup.exists(), "nothing is copied before it is clear that there is something to cut");
}

#[test]
fn a_cut_that_is_stopped_anywhere_is_made_by_the_next_one() {
    let scratch = tempfile::tempdir().unwrap();
    let original = scratch.path().join("original");
    let model = written(&original);
    for seq in [1, 17, 44, model.events.last().unwrap().seq - 1] {
        for steps in 0.. {
            let dir = scratch.path().join("journal");
            let backup = scratch.path().join("backup");
            copy(&original, &dir);
            let disk: Arc<dyn Disk> = Arc::new(Stopping { left: Arc::new(AtomicI64::new(steps)) });
            let ended = cut_on(disk, &dir, seq, &backup).is_ok();
            let done = if ended { None } else { Some(opened(&dir, &model, seq)) };
            if let Some(Some(last)) = done {
                // It opens: the old one, or the new one whose last step alone is missing.
                let whole = last == model.events.last().unwrap().seq;
                assert!(whole || last == seq + 1, "stopped after {steps} steps the journal ends at {last}");
            }
            match cut(&dir, seq, &scratch.path().join("again")) {
                Ok((done, ..)) => check(&dir, &model, seq, &done),
                // Only a name was not durable yet: the journal is cut.
                Err(error) => assert_eq!(opened(&dir, &model, seq), Some(seq + 1), "{error}"),
            }
            for gone in [&dir, &backup, &scratch.path().join("again")] {
                let _ = std::fs::remove_dir_all(gone);
            }
            if ended {
                break;
            }
        }
    }
}

/// How far the journal opens, if it does; what it holds up to the cut must be right.
fn opened(dir: &Path, model: &Model, seq: u64) -> Option<u64> {
    let mut events = Vec::new();
    let (_, recovery) = Journal::open(options(dir), keys(), &mut |record| {
        events.push(Event::from(record));
        Ok(())
    })
    .ok()?;
    let same = events.iter().zip(&model.events).take_while(|(found, _)| found.seq <= seq).all(|(a, b)| a == b);
    assert!(same && recovery.last_seq >= seq);
    Some(recovery.last_seq)
}

/// The real disk until so many changes were made; from then on each fails.
struct Stopping {
    left: Arc<AtomicI64>,
}

impl Stopping {
    fn step(left: &AtomicI64) -> io::Result<()> {
        if left.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("stopped")) }
    }
}

impl Disk for Stopping {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Self::step(&self.left)?;
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn lock(&self, dir: &Path, kind: LockKind) -> io::Result<Option<Box<dyn Lock>>> {
        RealDisk.lock(dir, kind)
    }

    fn takes_direct(&self, dir: &Path) -> bool {
        RealDisk.takes_direct(dir)
    }

    fn create(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        Self::step(&self.left)?;
        Ok(Box::new(StoppingFile { file: RealDisk.create(file, access)?, left: Arc::clone(&self.left) }))
    }

    fn open(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(StoppingFile { file: RealDisk.open(file, access)?, left: Arc::clone(&self.left) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Self::step(&self.left)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        Self::step(&self.left)?;
        RealDisk.remove(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Self::step(&self.left)?;
        RealDisk.sync_dir(dir)
    }
}

struct StoppingFile {
    file: Box<dyn SegmentFile>,
    left: Arc<AtomicI64>,
}

impl SegmentFile for StoppingFile {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, to)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        Stopping::step(&self.left)?;
        self.file.write_at(offset, from)
    }

    fn sync(&self) -> io::Result<()> {
        Stopping::step(&self.left)?;
        self.file.sync()
    }

    fn reserve(&self, len: u64) {
        self.file.reserve(len);
    }

    fn forget(&self, offset: u64, len: u64) {
        self.file.forget(offset, len);
    }
}

#[test]
fn a_walk_tells_segments_and_blocks() {
    let scratch = tempfile::tempdir().unwrap();
    let dir: PathBuf = scratch.path().join("journal");
    let model = written(&dir);
    let mut seen = Vec::new();
    let mut places = Vec::new();
    let walked = walk(&RealDisk, &dir, &mut |block| {
        seen.extend(block.records().map(Event::from));
        places.push((block.file().to_owned(), block.offset() as usize, block.bytes() as usize));
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(seen, model.events);
    assert!(walked.trouble.is_none() && walked.torn.is_none() && !walked.stopped);
    let expected: Vec<(PathBuf, usize, usize)> = segments(&dir)
        .into_iter()
        .flat_map(|path| blocks(&path).into_iter().map(move |(offset, len)| (path.clone(), offset, len)))
        .filter(|(path, offset, _)| std::fs::read(path).unwrap()[offset + 10] == 1)
        .collect();
    assert_eq!(places, expected);
    assert_eq!(walked.segments.iter().map(|segment| segment.blocks).sum::<u64>(), places.len() as u64);
}
