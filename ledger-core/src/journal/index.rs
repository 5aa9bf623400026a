//! Where each durable block stands: eight bytes a block, written by one thread and read by any, without a lock.
//!
//! It must never name a block that is not durable: an entry is published after the sync that covers it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::file::PAGE;

const CHUNK: usize = 4096;
const CHUNKS: usize = 256;

/// Where the blocks of one segment stand.
pub(super) struct BlockIndex {
    first_seq: u64,
    /// High half: first sequence less the segment's; low half: page within the segment.
    entries: Box<[AtomicU64]>,
    len: AtomicU32,
}

impl BlockIndex {
    /// Of known blocks, each its first sequence and offset, with room for `room` of them.
    pub(super) fn new(first_seq: u64, room: usize, known: &[(u64, u64)]) -> Self {
        let entries = (0..room.max(known.len())).map(|_| AtomicU64::new(0)).collect();
        let index = Self { first_seq, entries, len: AtomicU32::new(0) };
        for (seq, offset) in known {
            index.publish(*seq, *offset);
        }
        index
    }

    fn publish(&self, seq: u64, offset: u64) {
        let at = self.len.load(Ordering::Relaxed);
        let delta = seq.saturating_sub(self.first_seq);
        let page = offset / PAGE as u64;
        if let Some(entry) = self.entries.get(at as usize) {
            entry.store((delta << 32) | (page & 0xFFFF_FFFF), Ordering::Relaxed);
            self.len.store(at + 1, Ordering::Release);
        }
    }

    fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// First sequence and offset of block `at`.
    pub(super) fn block(&self, at: u32) -> Option<(u64, u64)> {
        if at >= self.len() {
            return None;
        }
        let entry = self.entries.get(at as usize)?.load(Ordering::Relaxed);
        Some((self.first_seq + (entry >> 32), (entry & 0xFFFF_FFFF) * PAGE as u64))
    }

    /// The block that holds `seq`, if this segment does: the last that begins at or before it.
    pub(super) fn find(&self, seq: u64) -> Option<u32> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.block(middle) {
                Some((first, _)) if first <= seq => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        low.checked_sub(1)
    }
}

/// One segment: where it begins, and its blocks once they are known. Those of a segment before the snapshot that a
/// start went by are looked for by the first reader who needs one.
pub(super) struct SegmentIndex {
    pub(super) number: u32,
    pub(super) first_seq: u64,
    blocks: OnceLock<BlockIndex>,
}

impl SegmentIndex {
    /// An index with room for every block a segment of `segment_bytes` can hold.
    pub(super) fn with_room(number: u32, first_seq: u64, segment_bytes: u64, known: &[(u64, u64)]) -> Self {
        let room = usize::try_from(segment_bytes).unwrap_or(usize::MAX) / PAGE;
        Self { number, first_seq, blocks: OnceLock::from(BlockIndex::new(first_seq, room, known)) }
    }

    /// An index of a closed segment.
    pub(super) fn closed(number: u32, first_seq: u64, known: &[(u64, u64)]) -> Self {
        Self { number, first_seq, blocks: OnceLock::from(BlockIndex::new(first_seq, 0, known)) }
    }

    /// An index of a closed segment that nobody has read yet.
    pub(super) fn unread(number: u32, first_seq: u64) -> Self {
        Self { number, first_seq, blocks: OnceLock::new() }
    }

    /// Adds a durable block. Only the writer calls this, and only for the segment it writes.
    pub(super) fn publish(&self, seq: u64, offset: u64) {
        if let Some(blocks) = self.blocks.get() {
            blocks.publish(seq, offset);
        }
    }

    /// The blocks, read by `read` when nobody knows them yet.
    pub(super) fn blocks<E>(&self, read: impl FnOnce() -> Result<BlockIndex, E>) -> Result<&BlockIndex, E> {
        if let Some(known) = self.blocks.get() {
            return Ok(known);
        }
        // Two readers at once read the same bytes; one of the two results is kept.
        let found = read()?;
        Ok(self.blocks.get_or_init(|| found))
    }
}

type Chunk = Box<[OnceLock<SegmentIndex>]>;

/// All segments of a journal, oldest first. Grows at the end, never moves: a reader cannot stop the writer.
pub(super) struct Segments {
    chunks: Box<[OnceLock<Chunk>]>,
    len: AtomicU32,
}

impl Segments {
    pub(super) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), len: AtomicU32::new(0) }
    }

    /// Adds the next segment. Only the writer calls this. False when a million segments are full.
    pub(super) fn push(&self, index: SegmentIndex) -> bool {
        let at = self.len.load(Ordering::Relaxed);
        let place = self.chunks.get(at as usize / CHUNK).and_then(|chunk| {
            chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect()).get(at as usize % CHUNK)
        });
        let pushed = place.is_some_and(|place| place.set(index).is_ok());
        if pushed {
            self.len.store(at + 1, Ordering::Release);
        }
        pushed
    }

    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn segment(&self, at: u32) -> Option<&SegmentIndex> {
        self.chunks.get(at as usize / CHUNK)?.get()?.get(at as usize % CHUNK)?.get()
    }

    pub(super) fn last(&self) -> Option<&SegmentIndex> {
        self.segment(self.len().checked_sub(1)?)
    }

    /// The segment that holds `seq` or would: the last that begins at or before it.
    pub(super) fn find(&self, seq: u64) -> Option<u32> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.segment(middle) {
                Some(segment) if segment.first_seq <= seq => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        low.checked_sub(1)
    }
}
