//! Reading durable events beside the writer: by sequence, and block after block.
//!
//! It must never read a block that is not durable, never write, and never hold what the writer waits for.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::JournalError;
use super::file::{Access, Disk, PAGE, SegmentFile};
use super::format::{self, BlockHeader, HeaderPage, Kind, Record, Records};
use super::index::{BlockIndex, SegmentIndex, Segments};
use super::segment_name;

/// Open segments kept for reading.
const OPEN_FILES: usize = 16;

/// What writer and readers share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) durable: AtomicU64,
    pub(super) segments: Segments,
    pub(super) tag: [u8; 8],
    // Only readers take this lock; the writer has a handle of its own.
    files: Mutex<VecDeque<(u32, Arc<dyn SegmentFile>)>>,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, tag: [u8; 8]) -> Self {
        let (durable, segments) = (AtomicU64::new(0), Segments::new());
        Self { disk, dir, durable, segments, tag, files: Mutex::new(VecDeque::with_capacity(OPEN_FILES)) }
    }

    fn file(&self, number: u32) -> Result<Arc<dyn SegmentFile>, JournalError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(open, _)| *open == number)
            && let Some(found) = files.remove(at)
        {
            let file = Arc::clone(&found.1);
            files.push_front(found);
            return Ok(file);
        }
        let path = self.dir.join(segment_name(number));
        let opened = self.disk.open(&path, Access::Read).map_err(JournalError::io(&path, 0, "open a segment"))?;
        let file: Arc<dyn SegmentFile> = Arc::from(opened);
        files.truncate(OPEN_FILES - 1);
        files.push_front((number, Arc::clone(&file)));
        Ok(file)
    }

    /// Where the blocks of a segment stand. Of one that no scan has read they are found by their headers, which lie a
    /// block apart; what each says is checked when it is read itself.
    fn blocks<'a>(&self, segment: &'a SegmentIndex) -> Result<&'a BlockIndex, JournalError> {
        segment.blocks(|| {
            let file = self.file(segment.number)?;
            let path = || self.dir.join(segment_name(segment.number));
            let (mut page, mut known, mut offset) = (vec![0; PAGE], Vec::new(), PAGE as u64);
            let mut next = segment.first_seq;
            loop {
                file.read_at(offset, &mut page).map_err(JournalError::io(&path(), offset, "read a block header"))?;
                let header =
                    format::read_block_header(&page).map_err(|what| JournalError::corrupt(&path(), offset, what))?;
                if header.tag != self.tag || header.segment != segment.number || header.first_seq != next {
                    let what = "another block than the one that was written here";
                    return Err(JournalError::corrupt(&path(), offset, what));
                }
                match header.kind {
                    Kind::Closing => return Ok(BlockIndex::new(segment.first_seq, 0, &known)),
                    Kind::Events => known.push((next, offset)),
                }
                next = header.last_seq() + 1;
                offset += header.padded_len() as u64;
            }
        })
    }

    /// Reads and checks the block of a segment at an offset the index gave, whitening off.
    fn block(&self, segment: &SegmentIndex, first_seq: u64, offset: u64) -> Result<BlockRecords, JournalError> {
        let file = self.file(segment.number)?;
        let path = || self.dir.join(segment_name(segment.number));
        let mut bytes = Vec::new();
        let mut again = false;
        loop {
            match self.block_once(&*file, segment, first_seq, offset, &mut bytes) {
                Ok(Ok(header)) => {
                    return Ok(BlockRecords { header, bytes, from: 0 });
                }
                Ok(Err(what)) if again => return Err(JournalError::corrupt(&path(), offset, what)),
                // Writes go past the page cache. Should a page from before the write have stayed there, the disk knows.
                Ok(Err(_)) => {
                    file.forget(offset, bytes.len().max(PAGE) as u64);
                    again = true;
                }
                Err(source) => {
                    return Err(JournalError::io(&path(), offset, "read a block")(source));
                }
            }
        }
    }

    fn block_once(
        &self,
        file: &dyn SegmentFile,
        segment: &SegmentIndex,
        first_seq: u64,
        offset: u64,
        bytes: &mut Vec<u8>,
    ) -> std::io::Result<Result<BlockHeader, &'static str>> {
        bytes.clear();
        bytes.resize(PAGE, 0);
        file.read_at(offset, bytes)?;
        let header = match format::read_block_header(bytes) {
            Ok(header) => header,
            Err(what) => return Ok(Err(what)),
        };
        let ours = header.tag == self.tag && header.segment == segment.number && header.kind == Kind::Events;
        if !ours || header.first_seq != first_seq {
            return Ok(Err("another block than the one that was written here"));
        }
        let len = header.padded_len();
        if len > PAGE {
            bytes.resize(len, 0);
            if let Some(rest) = bytes.get_mut(PAGE..) {
                file.read_at(offset + PAGE as u64, rest)?;
            }
        }
        if let Err(what) = format::check_block(&header, bytes) {
            return Ok(Err(what));
        }
        Ok(format::open_payload(&header, bytes).map(|_| header).ok_or("a block runs past its end"))
    }
}

/// What stands at the end of a closed segment, as the header of the next one tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// The engine's random id.
    pub engine_id: [u8; 16],
    /// The shard.
    pub shard: u8,
    /// The closed segment.
    pub segment: u32,
    /// Sequence of its last event.
    pub last_seq: u64,
    /// Hash of its closing block.
    pub chain: [u8; 32],
}

/// Reads durable events from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The last durable sequence, 0 before the first.
    pub fn durable_seq(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Reads one durable event.
    ///
    /// # Errors
    /// [`JournalError::NotDurable`] for a sequence beyond the last durable one (or 0), [`JournalError::Io`] and
    /// [`JournalError::Corrupt`] when the disk does not give back what was written.
    pub fn read(&self, seq: u64) -> Result<OwnedRecord, JournalError> {
        let durable = self.durable_seq();
        let missing = || JournalError::NotDurable { seq, durable };
        if seq == 0 || seq > durable {
            return Err(missing());
        }
        let at = self.shared.segments.find(seq).ok_or_else(missing)?;
        let segment = self.shared.segments.segment(at).ok_or_else(missing)?;
        let blocks = self.shared.blocks(segment)?;
        let (first, offset) = blocks.find(seq).and_then(|block| blocks.block(block)).ok_or_else(missing)?;
        let block = self.shared.block(segment, first, offset)?;
        let found = block.iter().find(|record| record.seq == seq).map(|record| OwnedRecord {
            seq,
            at: record.at,
            epoch: record.epoch,
            payload: record.payload.to_vec(),
        });
        let path = || self.shared.dir.join(segment_name(segment.number));
        found.ok_or_else(|| JournalError::corrupt(&path(), offset, "a block lacks one of its events"))
    }

    /// The disk it reads from.
    pub fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    /// The directory of the segments.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Segments with their closing block, whose successor is in use.
    pub fn closed_segments(&self) -> u32 {
        self.shared.segments.len().saturating_sub(1)
    }

    /// Sequence of the first event of a segment, the first of which is 1; none when it is not in use.
    pub fn first_seq_of(&self, segment: u32) -> Option<u64> {
        self.shared.segments.segment(segment.checked_sub(1)?).map(|found| found.first_seq)
    }

    /// The end of a closed segment, 1 for the first; `None` when there is none of that number.
    ///
    /// # Errors
    /// [`JournalError::Io`] and [`JournalError::Corrupt`] when the disk does not give back what was written.
    pub fn after(&self, segment: u32) -> Result<Option<After>, JournalError> {
        if segment == 0 || segment > self.closed_segments() {
            return Ok(None);
        }
        let path = self.shared.dir.join(segment_name(segment + 1));
        let mut page = vec![0; PAGE];
        let file = self.shared.file(segment + 1)?;
        file.read_at(0, &mut page).map_err(JournalError::io(&path, 0, "read a segment header"))?;
        if !matches!(format::read_segment_header(&page), HeaderPage::Good(_)) {
            // As with blocks: what was written past the page cache may not be in it.
            file.forget(0, PAGE as u64);
            file.read_at(0, &mut page).map_err(JournalError::io(&path, 0, "read a segment header"))?;
        }
        let HeaderPage::Good(header) = format::read_segment_header(&page) else {
            return Err(JournalError::corrupt(&path, 0, "the segment header cannot be read"));
        };
        let (engine_id, shard, chain) = (header.engine_id, header.shard, header.previous);
        Ok(Some(After { engine_id, shard, segment, last_seq: header.first_seq.saturating_sub(1), chain }))
    }

    /// A cursor over durable blocks, from the one that holds `from` on.
    pub fn follow(&self, from: u64) -> Follower {
        let segment = self.shared.segments.find(from).unwrap_or(0);
        Follower { shared: Arc::clone(&self.shared), segment, block: None, from }
    }
}

/// A cursor over durable blocks. It does not wait: whoever learns of a commit calls it again.
pub struct Follower {
    shared: Arc<Shared>,
    segment: u32,
    /// The next block of the segment; none before the segment was looked at.
    block: Option<u32>,
    from: u64,
}

impl Follower {
    /// The sequence of the next event it will give.
    pub fn position(&self) -> u64 {
        self.from
    }

    /// The next durable block, or `None` when all that is durable was given.
    ///
    /// # Errors
    /// [`JournalError::Io`] and [`JournalError::Corrupt`]; the cursor stays, so that the call may be repeated.
    pub fn next_block(&mut self) -> Result<Option<BlockRecords>, JournalError> {
        loop {
            let segments = &self.shared.segments;
            // Read before the segment's length: once a next segment exists, the length of this one is final.
            let closed = self.segment + 1 < segments.len();
            let Some(segment) = segments.segment(self.segment) else {
                return Ok(None);
            };
            let blocks = self.shared.blocks(segment)?;
            let at = self.block.unwrap_or_else(|| blocks.find(self.from).unwrap_or(0));
            if let Some((first, offset)) = blocks.block(at) {
                let mut records = self.shared.block(segment, first, offset)?;
                self.block = Some(at + 1);
                if records.last_seq() < self.from {
                    continue;
                }
                records.from = self.from;
                self.from = records.last_seq() + 1;
                return Ok(Some(records));
            }
            if !closed {
                return Ok(None);
            }
            self.segment += 1;
            self.block = None;
        }
    }
}

/// The events of one durable block.
#[derive(Clone, Debug)]
pub struct BlockRecords {
    header: BlockHeader,
    bytes: Vec<u8>,
    from: u64,
}

impl BlockRecords {
    /// The sequence of its first event that was asked for.
    pub fn first_seq(&self) -> u64 {
        self.header.first_seq.max(self.from)
    }

    /// The sequence of its last event.
    pub fn last_seq(&self) -> u64 {
        self.header.last_seq()
    }

    /// What it takes on disk, header and padding included.
    pub fn disk_bytes(&self) -> u64 {
        self.header.padded_len() as u64
    }

    /// Its events, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let payload = format::payload(&self.header, &self.bytes).unwrap_or_default();
        // The CRC held, so what cannot be read was never written; recovery refuses such a block.
        Records::new(&self.header, payload).map_while(Result::ok).skip_while(|record| record.seq < self.from)
    }
}

/// An event that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its sequence.
    pub seq: u64,
    /// When it was appended, microseconds since 1970 UTC.
    pub at: i64,
    /// The epoch of the start that appended it.
    pub epoch: u32,
    /// The event codec's bytes.
    pub payload: Vec<u8>,
}
