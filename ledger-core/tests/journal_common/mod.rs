//! What the journal's suites share: a model of what was appended, and ways to find and bend bytes on disk.

// Each suite uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ledger_core::journal::file::{Access, Disk, Entry, Lock, LockKind, RealDisk, SegmentFile};
use ledger_core::journal::{Journal, KeySource, Options, Record, Recovery};
use ledger_core::keys::MasterKey;

pub const SEGMENT: u64 = 64 * 1024;

pub fn options(dir: &Path) -> Options {
    Options { segment_bytes: SEGMENT, pace: std::time::Duration::ZERO, ..Options::new(dir) }
}

pub fn keys() -> KeySource {
    KeySource::new(MasterKey::from_bytes([5; 32]), std::array::from_fn(|i| i as u8))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub seq: u64,
    pub at: i64,
    pub epoch: u32,
    pub payload: Vec<u8>,
}

impl From<Record<'_>> for Event {
    fn from(record: Record<'_>) -> Self {
        Self { seq: record.seq, at: record.at, epoch: record.epoch, payload: record.payload.to_vec() }
    }
}

#[derive(Default)]
pub struct Model {
    pub events: Vec<Event>,
}

impl Model {
    pub fn append(&mut self, journal: &mut Journal, at: i64, payload: &[u8]) {
        let seq = journal.append(at, |out| out.extend_from_slice(payload));
        self.events.push(Event { seq, at, epoch: journal.epoch(), payload: payload.to_vec() });
    }

    pub fn forget_after(&mut self, seq: u64) {
        self.events.retain(|event| event.seq <= seq);
    }
}

/// Opens the journal and collects what it folds.
pub fn reopen(dir: &Path) -> (Journal, Recovery, Vec<Event>) {
    let mut events = Vec::new();
    let (journal, recovery) = Journal::open(options(dir), keys(), &mut |record| {
        events.push(Event::from(record));
        Ok(())
    })
    .unwrap();
    (journal, recovery, events)
}

/// Segments that were activated, oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "segment"))
        .filter(|path| std::fs::read(path).unwrap().first() != Some(&0))
        .collect();
    paths.sort();
    paths
}

/// Offset and length of each block of a segment, found as `docs/journal-format.md` tells.
pub fn blocks(segment: &Path) -> Vec<(usize, usize)> {
    let bytes = std::fs::read(segment).unwrap();
    let mut found = Vec::new();
    let mut at = 4096;
    while at < bytes.len() && bytes[at..].starts_with(b"AJBLOCK\x01") {
        let payload = u32::from_le_bytes(bytes[at + 24..at + 28].try_into().unwrap()) as usize;
        let len = (96 + payload).next_multiple_of(4096);
        found.push((at, len));
        at += len;
    }
    found
}

/// The last block of the last segment: file, offset, length.
pub fn last_block(dir: &Path) -> (PathBuf, usize, usize) {
    let segment = segments(dir).pop().unwrap();
    let (offset, len) = *blocks(&segment).last().unwrap();
    (segment, offset, len)
}

/// Changes a file's bytes.
pub fn bend(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

/// The real disk, until it is told to fail every write and sync.
#[derive(Default)]
pub struct FailingDisk {
    failing: Arc<AtomicBool>,
}

impl FailingDisk {
    pub fn fail_from_now_on(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    fn wrap(&self, file: io::Result<Box<dyn SegmentFile>>) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(FailingFile { file: file?, failing: Arc::clone(&self.failing) }))
    }
}

impl Disk for FailingDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
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
        self.wrap(RealDisk.create(file, access))
    }

    fn open(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        self.wrap(RealDisk.open(file, access))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        RealDisk.remove(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

struct FailingFile {
    file: Box<dyn SegmentFile>,
    failing: Arc<AtomicBool>,
}

impl FailingFile {
    fn alive(&self) -> io::Result<()> {
        if self.failing.load(Ordering::SeqCst) { Err(io::Error::other("the disk failed")) } else { Ok(()) }
    }
}

impl SegmentFile for FailingFile {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, to)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.alive()?;
        self.file.write_at(offset, from)
    }

    fn sync(&self) -> io::Result<()> {
        self.alive()?;
        self.file.sync()
    }

    fn reserve(&self, len: u64) {
        self.file.reserve(len);
    }

    fn forget(&self, offset: u64, len: u64) {
        self.file.forget(offset, len);
    }
}
