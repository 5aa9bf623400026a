//! Journals by script, and what lies where in them, found from the bytes as `docs/journal-format.md` tells and not by
//! the journal's own reader. It must never bend anything.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger_core::journal::archive::Shelves;
use ledger_core::journal::file::Disk;
use ledger_core::journal::{Journal, KeySource, Options, Record, SpareMaking, SyncMode, segment_name, verify_on};
use ledger_core::keys::MasterKey;

use crate::disk::RamDisk;

const PAGE: usize = 4096;
/// Where a made journal lies on its disk.
pub(crate) const DIR: &str = "/journal";
/// Where its archived segments lie.
pub(crate) const ARCHIVE: &str = "/archive";

/// How the last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// All that was written is whole.
    Clean,
    /// The last block lacks its last sector but one.
    Torn,
}

/// What a journal is made like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Bytes of a segment.
    pub(crate) segment: u64,
    /// Closed segments to fill, at least.
    pub(crate) closed: u32,
    /// Longest event.
    pub(crate) longest: usize,
    /// How it ends.
    pub(crate) tail: Tail,
    /// Byte of its random half: another one is another engine.
    pub(crate) engine: u8,
    /// Its shard.
    pub(crate) shard: u8,
    /// Whether the closed segments but the last are archived.
    pub(crate) archived: bool,
}

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A segment's header page.
    Header,
    /// A block that is whole, with the sequence of the last event before it.
    Block { before: u64 },
    /// The torn block at the end.
    Torn,
    /// Zeros behind a closing block.
    BehindClosing,
    /// Zeros behind the last block in use.
    Unused,
    /// A segment made ahead: its first page, or the rest of it.
    Spare { first: bool },
    /// A byte of a compressed segment.
    Archived,
}

/// A stretch of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) what: What,
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// A file and its stretches, in order and without a gap.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) parts: Vec<Part>,
    /// It is the newest in use.
    pub(crate) open: bool,
    /// Sequence of the last event before it.
    pub(crate) before: u64,
}

/// What a reading came to: the last sequence, and a hash over every event up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) last_seq: u64,
    pub(crate) hash: [u8; 32],
}

/// A journal on a disk, and what it folds to after each event.
pub(crate) struct Made {
    pub(crate) disk: RamDisk,
    pub(crate) plan: Plan,
    pub(crate) segments: Vec<Segment>,
    /// The state after each sequence; of 0 as well.
    pub(crate) states: Vec<State>,
}

/// A hash that every bit of every event goes into, step by step.
#[derive(Clone, Copy)]
pub(crate) struct Fold(pub(crate) State);

impl Default for Fold {
    fn default() -> Self {
        Self(State { last_seq: 0, hash: [0; 32] })
    }
}

impl Fold {
    /// Folds one event.
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.hash).update(&record.seq.to_le_bytes()).update(&record.at.to_le_bytes());
        hasher.update(&record.epoch.to_le_bytes()).update(record.payload);
        self.0 = State { last_seq: record.seq, hash: *hasher.finalize().as_bytes() };
    }
}

/// The keys of a made journal.
pub(crate) fn keys(engine: u8) -> KeySource {
    KeySource::new(MasterKey::from_bytes([5; 32]), [engine; 80])
}

impl Plan {
    /// How a journal of this plan is opened.
    pub(crate) fn options(&self, disk: Arc<dyn Disk>) -> Options {
        Options {
            segment_bytes: self.segment,
            shard: self.shard,
            mode: SyncMode::Buffered,
            spares: SpareMaking::Inline,
            pace: std::time::Duration::ZERO,
            disk,
            ..Options::new(DIR)
        }
    }

    /// The disk as a reader sees it: archived segments where they were.
    pub(crate) fn shelves(disk: &RamDisk) -> Arc<dyn Disk> {
        Arc::new(Shelves::new(Arc::new(disk.clone()), DIR, ARCHIVE))
    }

    /// Writes the journal with the real writer: events of all lengths, zeros among them, over two starts.
    pub(crate) fn make(self, rng: &mut fastrand::Rng) -> Result<Made, Box<dyn Error>> {
        let disk = RamDisk::default();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut at = 1_700_000_000_000_000i64;
        for epoch in 1..=2u32 {
            let (mut journal, recovery) =
                Journal::open(self.options(Arc::clone(&shared)), keys(self.engine), &mut |_| Ok(()))?;
            journal.start_epoch(epoch);
            let goal = if epoch == 1 { self.closed.div_ceil(2) } else { self.closed };
            let mut blocks = 0;
            while segments_in_use(&disk) <= goal || blocks < 3 {
                for _ in 0..rng.usize(1..6) {
                    let len = rng.usize(1..self.longest);
                    let zeros = rng.u8(..8) == 0;
                    let payload: Vec<u8> = (0..len).map(|_| if zeros { 0 } else { rng.u8(..) }).collect();
                    at += rng.i64(0..5_000);
                    journal.append(at, |out| out.extend_from_slice(&payload));
                }
                journal.commit()?;
                blocks += 1;
            }
            if epoch == 2 {
                // The last block spans pages, so that a tear of it has a place in the middle.
                journal.append(at, |out| out.extend((0..3 * PAGE).map(|byte| (byte % 251) as u8)));
                journal.commit()?;
            }
            drop(recovery);
        }
        let used = segments_in_use(&disk);
        for ahead in 1..=2 {
            let path = Path::new(DIR).join(segment_name(used + ahead));
            disk.put(&path, vec![0; usize::try_from(self.segment)?]);
        }
        if self.tail == Tail::Torn {
            let last = Path::new(DIR).join(segment_name(used));
            let (at, len) = *blocks(&disk.bytes(&last)).last().ok_or("the last segment has no block")?;
            disk.bend(&last, |bytes| bytes[at + len - 1024..at + len - 512].fill(0));
        }
        let mut states = vec![Fold::default().0];
        let mut fold = Fold::default();
        verify_on(&disk, Path::new(DIR), KeySource::absent(), &mut |record| {
            fold.take(&record);
            states.push(fold.0);
            Ok(())
        })?;
        let mut segments: Vec<Segment> = (1..=used + 2).map(|number| self.segment(&disk, number, used)).collect();
        if self.archived {
            let shelves = Shelves::new(Arc::new(disk.clone()), DIR, ARCHIVE);
            for number in 1..used.saturating_sub(1) {
                shelves.archive(number, &mut |_| true)?;
            }
            for path in disk.below(Path::new(ARCHIVE)) {
                let len = disk.bytes(&path).len();
                let parts = vec![Part { what: What::Archived, at: 0, len }];
                segments.push(Segment { path, parts, open: false, before: 0 });
            }
            segments.retain(|segment| !disk.bytes(&segment.path).is_empty());
        }
        Ok(Made { disk, plan: self, segments, states })
    }

    fn segment(&self, disk: &RamDisk, number: u32, used: u32) -> Segment {
        let path = Path::new(DIR).join(segment_name(number));
        let bytes = disk.bytes(&path);
        let len = bytes.len();
        if number > used {
            let parts = vec![
                Part { what: What::Spare { first: true }, at: 0, len: PAGE },
                Part { what: What::Spare { first: false }, at: PAGE, len: len - PAGE },
            ];
            return Segment { path, parts, open: false, before: 0 };
        }
        let open = number == used;
        let mut parts = vec![Part { what: What::Header, at: 0, len: PAGE }];
        let found = blocks(&bytes);
        let before = u64_at(&bytes, 56) - 1;
        let last = found.len().saturating_sub(1);
        for (index, (at, len)) in found.into_iter().enumerate() {
            let torn = open && index == last && self.tail == Tail::Torn;
            let what = if torn { What::Torn } else { What::Block { before: u64_at(&bytes, at + 16) - 1 } };
            parts.push(Part { what, at, len });
        }
        let end = parts.last().map_or(0, |part| part.at + part.len);
        if end < len {
            let what = if open { What::Unused } else { What::BehindClosing };
            parts.push(Part { what, at: end, len: len - end });
        }
        Segment { path, parts, open, before }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn segments_in_use(disk: &RamDisk) -> u32 {
    let used = disk.below(Path::new(DIR)).iter().filter(|path| disk.bytes(path).starts_with(b"AUTHJRNL")).count();
    u32::try_from(used).unwrap_or(u32::MAX)
}

/// Offset and length of each block.
pub(crate) fn blocks(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = PAGE;
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(b"AJBLOCK\x01")) {
        let payload = usize::try_from(u64_at(bytes, at + 24) & 0xffff_ffff).unwrap_or(0);
        let len = (96 + payload).next_multiple_of(PAGE);
        found.push((at, len));
        at += len;
    }
    found
}
