//! The operator's remedy: a journal cut behind an event, so that it opens again when what follows is damaged or unwanted.
//!
//! It must never read what it is to cut as if it were good, never change a file before a copy of it is durable, and
//! never let an epoch come again that what is cut may have used: sealed bytes would share a nonce.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::OpenBlock;
use super::error::JournalError;
use super::file::{Access, AlignedBuf, Disk, Lock, LockKind, PAGE, SegmentFile};
use super::format::{self, BLOCK_HEADER, BlockHeader, Hash, HeaderPage, Kind, Record, Records, SegmentHeader};
use super::recovery::{self, Listed, Window};
use super::snapshot::list_snapshots;
use super::{segment_name, walk};
use crate::keys::MAX_EPOCH;

/// Bytes copied or written at once.
const PIECE: usize = 1 << 20;

/// Why a journal is not cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// It cannot be read up to the event, or a file operation failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal ends before.
    #[error("{}: event {seq} is not in this journal, which ends at event {last}: name one from 1 to {last}", dir.display())]
    BeyondEnd {
        /// The journal's directory.
        dir: PathBuf,
        /// The event asked for.
        seq: u64,
        /// The last one there is.
        last: u64,
    },
    /// There is nothing behind the event.
    #[error("{}: event {seq} is the journal's last and nothing stands behind it: there is nothing to cut", dir.display())]
    Nothing {
        /// The journal's directory.
        dir: PathBuf,
        /// The event asked for.
        seq: u64,
    },
    /// No epoch is left that what is cut cannot have used.
    #[error("{}: no epoch is left behind those that the cut part may have used: move to a new data directory", dir.display())]
    EpochsUsedUp {
        /// The journal's directory.
        dir: PathBuf,
    },
}

/// What goes with a cut, as far as it can still be read.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// Events in whole blocks behind the cut.
    pub events: u64,
    /// Sequence of the last of them.
    pub last_seq: Option<u64>,
    /// Pages behind the cut that are no part of a whole block, and may have held events.
    pub unreadable_pages: u64,
    /// Segments that are removed, those made ahead included.
    pub segments: Vec<PathBuf>,
}

/// The block that holds the last event that stays.
struct Kept {
    header: BlockHeader,
    hash: Hash,
    file: PathBuf,
    offset: u64,
    /// Of its payload: so many bytes and events stay.
    records: Vec<u8>,
    count: u32,
    last_at: i64,
}

impl Kept {
    fn whole(&self) -> bool {
        self.count == self.header.count
    }

    fn end(&self) -> u64 {
        self.offset + format::pages(BLOCK_HEADER + self.records.len()) as u64
    }
}

/// A journal that is ready to be cut. The directory is held until it is done or dropped.
pub struct Cut {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    seq: u64,
    kept: Kept,
    segment: SegmentHeader,
    later: BTreeMap<u32, Listed>,
    lost: Lost,
    epoch: u32,
    _lock: Box<dyn Lock>,
}

/// What a cut left.
#[derive(Clone, Debug)]
pub struct Done {
    /// The epoch that the new last event began.
    pub epoch: u32,
    /// The sequence of that event.
    pub seq: u64,
    /// Files copied before they were changed or removed.
    pub copied: Vec<PathBuf>,
}

impl Cut {
    /// Reads the journal up to event `seq`, and looks at what stands behind it: `lost` gets every event there that can
    /// be read. `lock` is [`LockKind::Exclusive`] for a cut that is carried out, [`LockKind::Shared`] for a look.
    ///
    /// # Errors
    /// Damage up to `seq`, with its place; a sequence that is not there; nothing to cut.
    pub fn prepare(
        disk: Arc<dyn Disk>,
        dir: &Path,
        seq: u64,
        lock: LockKind,
        lost: &mut dyn FnMut(Record<'_>),
    ) -> Result<Self, CutError> {
        let held = disk.lock(dir, lock).map_err(JournalError::io(dir, 0, "take the directory's lock"))?;
        let held = held.ok_or_else(|| JournalError::InUse { dir: dir.to_owned() })?;
        let mut kept = None;
        let walked = walk::walk_held(&*disk, dir, &mut |block| {
            if block.last_seq() < seq || seq == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            let mut staying = Vec::new();
            let mut count = 0;
            let mut last_at = block.header.at;
            for record in block.records() {
                if record.seq > seq {
                    lost(record);
                } else {
                    (count, last_at) = (count + 1, record.at);
                }
            }
            let mut rest = block.payload();
            for _ in 0..count {
                let (record, after) = rest.split_at(format::record_len(rest).unwrap_or(rest.len()));
                staying.extend_from_slice(record);
                rest = after;
            }
            let (file, offset) = (block.file().to_owned(), block.offset());
            kept =
                Some(Kept { header: block.header, hash: block.hash, file, offset, records: staying, count, last_at });
            Ok(ControlFlow::Break(()))
        })?;
        let (kept, segment) = match (kept, walked.header) {
            (Some(kept), Some(segment)) => (kept, segment),
            _ => {
                let beyond = CutError::BeyondEnd { dir: dir.to_owned(), seq, last: walked.last_seq };
                return Err(walked.trouble.map_or(beyond, CutError::Journal));
            }
        };
        let mut listed = walk::list(&*disk, dir)?;
        let later = listed.split_off(&kept.header.segment.saturating_add(1));
        let own = listed.remove(&kept.header.segment);
        let mut behind = Behind {
            tag: recovery::block_tag(&segment.engine_id),
            epoch: kept.header.epoch,
            lost: Lost::default(),
            give: lost,
        };
        behind.lost.events = u64::from(kept.header.count - kept.count);
        if behind.lost.events > 0 {
            behind.lost.last_seq = Some(kept.header.last_seq());
        }
        if let Some(own) = own {
            behind.short(&own, segment.segment_bytes);
            behind.look(&*disk, &own, kept.offset + kept.header.padded_len() as u64)?;
        }
        let longest = later.values().map(|listed| listed.len).max().unwrap_or(0);
        let longest = longest.max(segment.segment_bytes).max(segment.spare_bytes);
        let mut expected = kept.header.segment;
        for (number, listed) in &later {
            expected = expected.saturating_add(1);
            // A segment that is not there may have been full of starts.
            let missing = u64::from(number.saturating_sub(expected)) * (longest / PAGE as u64);
            behind.lost.unreadable_pages += missing;
            expected = *number;
            behind.look(&*disk, listed, 0)?;
            behind.lost.segments.push(listed.path.clone());
        }
        if behind.lost.events == 0 && behind.lost.unreadable_pages == 0 {
            let whole = walk::walk_held(&*disk, dir, &mut |_| Ok(ControlFlow::Continue(())))?;
            if whole.trouble.is_none() {
                return Err(CutError::Nothing { dir: dir.to_owned(), seq });
            }
        }
        // A start makes its epoch durable in a block of its own, so what cannot be read holds at most one a page.
        let epoch = u64::from(behind.epoch) + behind.lost.unreadable_pages + 1;
        let epoch = u32::try_from(epoch).ok().filter(|epoch| *epoch < MAX_EPOCH);
        let epoch = epoch.ok_or_else(|| CutError::EpochsUsedUp { dir: dir.to_owned() })?;
        let lost = behind.lost;
        Ok(Self { disk, dir: dir.to_owned(), seq, kept, segment, later, lost, epoch, _lock: held })
    }

    /// What goes with it.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    /// The segment that is written anew and those that are removed: who keeps some elsewhere must look.
    pub fn touched(&self) -> Vec<PathBuf> {
        std::iter::once(self.kept.file.clone()).chain(self.lost.segments.iter().cloned()).collect()
    }

    /// The epoch that the journal goes on with.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The time of the last event that stays.
    pub fn last_at(&self) -> i64 {
        self.kept.last_at
    }

    /// Copies what it changes to `backup`, then cuts, and ends the journal with `event`, which begins the new epoch.
    /// Whatever it is stopped at, the journal is the old one, the new one, or refused at its next start until the cut
    /// is made again.
    ///
    /// # Errors
    /// A file operation that failed, with its place.
    pub fn carry_out(self, backup: &Path, event: &[u8]) -> Result<Done, JournalError> {
        let copied = self.copy(backup)?;
        // What a snapshot of the cut segment knows is no longer what the journal says.
        for (number, snapshot) in list_snapshots(&*self.disk, &self.dir)? {
            if number >= self.kept.header.segment {
                self.disk.remove(&snapshot).map_err(JournalError::io(&snapshot, 0, "remove a snapshot"))?;
            }
        }
        self.sync_dir()?;
        let (first, second) = self.build(event)?;
        let kept = second.as_ref().map(|(_, to)| to.clone());
        // The new ones come before the old ones go: at no moment has the highest epoch no block that tells it. Until the
        // last old one is gone, a start finds a segment in use that the one before it does not lead to.
        for (from, to) in second.into_iter().chain([first]) {
            self.disk.rename(&from, &to).map_err(JournalError::io(&to, 0, "put a segment in its place"))?;
            self.sync_dir()?;
        }
        for listed in self.later.values().rev().filter(|listed| kept.as_ref() != Some(&listed.path)) {
            self.disk.remove(&listed.path).map_err(JournalError::io(&listed.path, 0, "remove a segment"))?;
        }
        self.sync_dir()?;
        Ok(Done { epoch: self.epoch, seq: self.seq + 1, copied })
    }

    fn sync_dir(&self) -> Result<(), JournalError> {
        self.disk.sync_dir(&self.dir).map_err(JournalError::io(&self.dir, 0, "sync the directory"))
    }

    /// Copies of the segment that is written anew and of every other that is not all zero.
    fn copy(&self, backup: &Path) -> Result<Vec<PathBuf>, JournalError> {
        self.disk.create_dir(backup).map_err(JournalError::io(backup, 0, "make the directory"))?;
        let mut copied = Vec::new();
        let own = self.segment_listed()?;
        for listed in std::iter::once(&own).chain(self.later.values()) {
            let from = &listed.path;
            let file = self.disk.open(from, Access::Read).map_err(JournalError::io(from, 0, "open a segment"))?;
            let empty = Window::new(&*file, from, whole_pages(listed.len)).last_nonzero(0)?.is_none();
            if empty && listed.len == whole_pages(listed.len) {
                continue;
            }
            let to = backup.join(segment_name(listed.number));
            let copy = self.disk.create(&to, Access::Buffered).map_err(JournalError::io(&to, 0, "make a copy"))?;
            let mut bytes = Vec::new();
            let mut at = 0;
            while at < listed.len {
                let size = usize::try_from(listed.len - at).unwrap_or(PIECE).min(PIECE);
                bytes.resize(size, 0);
                file.read_at(at, &mut bytes).map_err(JournalError::io(from, at, "read a segment"))?;
                copy.write_at(at, &bytes).map_err(JournalError::io(&to, at, "write a copy"))?;
                at += size as u64;
            }
            copy.sync().map_err(JournalError::io(&to, 0, "sync a copy"))?;
            copied.push(to);
        }
        for dir in std::iter::once(backup).chain(backup.parent().filter(|dir| !dir.as_os_str().is_empty())) {
            self.disk.sync_dir(dir).map_err(JournalError::io(dir, 0, "sync the directory"))?;
        }
        Ok(copied)
    }

    fn segment_listed(&self) -> Result<Listed, JournalError> {
        let number = self.kept.header.segment;
        let gone = || JournalError::MissingSegment { file: self.dir.join(segment_name(number)) };
        walk::list(&*self.disk, &self.dir)?.remove(&number).ok_or_else(gone)
    }

    /// Writes the segment anew beside the old one, and the next one where the new last event has no room in it.
    #[allow(clippy::type_complexity)] // from and to, of one file and perhaps of a second
    fn build(&self, event: &[u8]) -> Result<((PathBuf, PathBuf), Option<(PathBuf, PathBuf)>), JournalError> {
        let number = self.kept.header.segment;
        let bytes = self.segment.segment_bytes;
        let mut first = Draft::begin(&*self.disk, &self.dir, number, bytes)?;
        first.copy(&*self.disk, &self.kept.file, if self.kept.whole() { self.kept.end() } else { self.kept.offset })?;
        let mut chain = self.kept.hash;
        if !self.kept.whole() {
            let mut header = self.kept.header;
            header.payload_len = length(self.kept.records.len())?;
            header.count = self.kept.count;
            header.mask = 0;
            let mut block = OpenBlock::with_room(self.kept.records.len());
            block.push_encoded(header.first_seq, header.at, header.count, &self.kept.records);
            chain = first.block(&mut block, &mut header)?;
        }
        let mut block = OpenBlock::with_room(event.len() + 16);
        block.push(self.seq + 1, self.kept.last_at, |out| out.extend_from_slice(event));
        let mut header = BlockHeader {
            kind: Kind::Events,
            mask: 0,
            count: 1,
            first_seq: self.seq + 1,
            payload_len: length(block.payload_len())?,
            epoch: self.epoch,
            at: self.kept.last_at,
            segment: number,
            tag: recovery::block_tag(&self.segment.engine_id),
            previous: chain,
        };
        // The last page of a segment is kept for its closing block.
        if first.offset + header.padded_len() as u64 + PAGE as u64 <= bytes {
            first.block(&mut block, &mut header)?;
            return Ok((first.finish()?, None));
        }
        let mut closing = OpenBlock::with_room(4);
        let names = number.saturating_add(1);
        closing.push_encoded(self.seq + 1, 0, 0, &names.to_le_bytes());
        let mut end = BlockHeader {
            kind: Kind::Closing,
            count: 0,
            payload_len: 4,
            epoch: self.kept.header.epoch,
            at: 0,
            ..header
        };
        let chain = first.block(&mut closing, &mut end)?;
        let mut second = Draft::begin(&*self.disk, &self.dir, names, bytes)?;
        let page = SegmentHeader {
            number: names,
            spare_bytes: bytes,
            first_seq: self.seq + 1,
            previous: chain,
            ..self.segment.clone()
        };
        header.segment = names;
        header.previous = second.header(&page)?;
        second.block(&mut block, &mut header)?;
        Ok((first.finish()?, Some(second.finish()?)))
    }
}

/// A file that was cut ends within a page.
const fn whole_pages(bytes: u64) -> u64 {
    bytes / PAGE as u64 * PAGE as u64
}

fn length(bytes: usize) -> Result<u32, JournalError> {
    let what = "lets a block grow past what its header can say";
    u32::try_from(bytes).map_err(|_| JournalError::Options { option: "max_batch_bytes", what })
}

/// Looks at what stands behind the cut: whole blocks wherever they are, and pages that are none.
struct Behind<'a> {
    tag: [u8; 8],
    /// The highest epoch found.
    epoch: u32,
    lost: Lost,
    give: &'a mut dyn FnMut(Record<'_>),
}

impl Behind<'_> {
    /// What was cut off a file may have been full of starts.
    fn short(&mut self, segment: &Listed, bytes: u64) {
        self.lost.unreadable_pages += bytes.saturating_sub(whole_pages(segment.len)) / PAGE as u64;
    }

    /// Looks at a segment from `offset` on.
    fn look(&mut self, disk: &dyn Disk, segment: &Listed, mut offset: u64) -> Result<(), JournalError> {
        let path = &segment.path;
        let file = disk.open(path, Access::Read).map_err(JournalError::io(path, 0, "open a segment"))?;
        let mut window = Window::new(&*file, path, whole_pages(segment.len));
        let Some(last) = window.last_nonzero(offset)? else { return Ok(()) };
        if offset == 0 {
            match format::read_segment_header(window.at(0, PAGE)?) {
                HeaderPage::Good(header) => self.short(segment, header.segment_bytes),
                _ => self.lost.unreadable_pages += 1,
            }
            offset = PAGE as u64;
        }
        while offset <= last {
            match recovery::read_block(&mut window, offset)? {
                Ok((header, _)) if header.tag == self.tag => {
                    let len = header.padded_len();
                    self.epoch = self.epoch.max(header.epoch);
                    if header.kind == Kind::Events {
                        self.lost.events += u64::from(header.count);
                        self.lost.last_seq = self.lost.last_seq.max(Some(header.last_seq()));
                        let payload = format::open_payload(&header, window.at(offset, len)?).unwrap_or_default();
                        Records::new(&header, payload).map_while(Result::ok).for_each(&mut *self.give);
                    }
                    offset += len as u64;
                }
                Ok(_) | Err(_) => {
                    self.lost.unreadable_pages += 1;
                    offset += PAGE as u64;
                }
            }
        }
        Ok(())
    }
}

/// A segment that is being written under the name of an unfinished one: a start removes it.
struct Draft {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    to: PathBuf,
    bytes: u64,
    offset: u64,
}

impl Draft {
    fn begin(disk: &dyn Disk, dir: &Path, number: u32, bytes: u64) -> Result<Self, JournalError> {
        let path = dir.join(format!("{number:010}.tmp"));
        let file = disk.create(&path, Access::Buffered).map_err(JournalError::io(&path, 0, "make a segment"))?;
        Ok(Self { file, path, to: dir.join(segment_name(number)), bytes, offset: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let failed = JournalError::io(&self.path, self.offset, "write a segment");
        self.file.write_at(self.offset, bytes).map_err(failed)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// The first `end` bytes of another file.
    fn copy(&mut self, disk: &dyn Disk, from: &Path, end: u64) -> Result<(), JournalError> {
        let file = disk.open(from, Access::Read).map_err(JournalError::io(from, 0, "open a segment"))?;
        let mut piece = Vec::new();
        while self.offset < end {
            piece.resize(usize::try_from(end - self.offset).unwrap_or(PIECE).min(PIECE), 0);
            file.read_at(self.offset, &mut piece).map_err(JournalError::io(from, self.offset, "read a segment"))?;
            self.write(&piece)?;
        }
        Ok(())
    }

    fn header(&mut self, header: &SegmentHeader) -> Result<Hash, JournalError> {
        let mut page = AlignedBuf::filled(PAGE, 0);
        format::write_segment_header(header, page.bytes_mut());
        self.write(page.bytes())?;
        Ok(format::segment_header_hash(page.bytes()))
    }

    fn block(&mut self, block: &mut OpenBlock, header: &mut BlockHeader) -> Result<Hash, JournalError> {
        let what = "lets a block grow past what its header can say";
        let unsealed = || JournalError::Options { option: "max_batch_bytes", what };
        let (bytes, hash) = block.seal(header).ok_or_else(unsealed)?;
        self.write(bytes)?;
        Ok(hash)
    }

    /// Zeros to the end, durable; from where it is renamed to where.
    fn finish(mut self) -> Result<(PathBuf, PathBuf), JournalError> {
        let zeros = vec![0; PIECE];
        while self.offset < self.bytes {
            let size = usize::try_from(self.bytes - self.offset).unwrap_or(PIECE).min(PIECE);
            self.write(zeros.get(..size).unwrap_or_default())?;
        }
        self.file.sync().map_err(JournalError::io(&self.path, 0, "sync a segment"))?;
        Ok((self.path, self.to))
    }
}
