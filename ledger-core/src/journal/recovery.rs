//! Reading a whole journal: every header, every block, every event, and the judgement whether what stands at the
//! end is a torn write or damage.
//!
//! Scanning never writes. Repairing is a second step, and cuts nothing but a torn tail.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::JournalError;
use super::file::{Access, AlignedBuf, DIRECT_TRIAL, Disk, PAGE, SegmentFile, WRITABLE_TRIAL};
use super::format::{self, AT_ENGINE, AT_KEYS, AT_SHARD, AT_VERSION, Hash, HeaderPage, Kind, NO_HASH, SegmentHeader};
use super::snapshot::{AT_CONTENT, Place, Snapshot, UNFINISHED, list_snapshots};
use super::{Folding, KeySource, segment_name, segment_number};
use crate::keys::{KeyError, Keyring};

/// Bytes read ahead while scanning.
const READ_AHEAD: usize = 1024 * 1024;

/// A write that the last run did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the torn block starts.
    pub offset: u64,
    /// Bytes from there to the last one that is not zero, in whole pages.
    pub bytes: u64,
}

/// What a caller's fold looks like.
pub(super) type Fold<'a> = dyn FnMut(format::Record<'_>) -> Result<(), String> + 'a;

/// A segment as the directory lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// The directory before any block is read.
pub(super) struct Survey {
    /// Activated segments, oldest first, each with its header.
    pub(super) active: Vec<(Listed, SegmentHeader, Hash)>,
    /// The first segment that is not activated, when its header page was torn by a crash.
    pub(super) torn_header: Option<Listed>,
    /// Segments never activated (the torn one among them), lowest number first.
    pub(super) spares: VecDeque<Listed>,
    /// Files that were not finished.
    pub(super) unfinished: Vec<PathBuf>,
}

/// Where the blocks of one segment stand.
pub(super) struct Blocks {
    pub(super) number: u32,
    pub(super) first_seq: u64,
    /// First sequence and offset of each; none of a segment that was not read.
    pub(super) blocks: Option<Vec<(u64, u64)>>,
}

/// What a scan found.
pub(super) struct Scan {
    pub(super) last_seq: u64,
    pub(super) last_at: i64,
    pub(super) last_epoch: u32,
    pub(super) blocks: u64,
    pub(super) events: u64,
    /// The blocks of each segment.
    pub(super) index: Vec<Blocks>,
    pub(super) torn: Option<TornTail>,
    /// Hash the next block carries.
    pub(super) chain: Hash,
    /// Offset after the last good block of the last activated segment.
    pub(super) end: u64,
    /// The last good block of that segment, or its header: offset and length.
    pub(super) last_good: (u64, usize),
    /// The last activated segment has its closing block.
    pub(super) closed: bool,
}

/// Where a scan begins: after so many segments, of which this is known.
pub(super) struct Start {
    /// Segments, from the first on, that are not read.
    pub(super) segments: usize,
    pub(super) last_seq: u64,
    pub(super) last_at: i64,
    pub(super) last_epoch: u32,
    /// Hash that the next segment's header carries.
    pub(super) chain: Hash,
}

impl Start {
    /// With the first segment.
    pub(super) const BEGINNING: Self =
        Self { segments: 0, last_seq: 0, last_at: i64::MIN, last_epoch: 0, chain: NO_HASH };

    /// With the newest segment in use, whose header is taken at its word for what was before it.
    pub(super) fn newest(survey: &Survey) -> Self {
        match survey.active.split_last() {
            Some(((_, header, _), before)) => Self {
                segments: before.len(),
                last_seq: header.first_seq.saturating_sub(1),
                chain: header.previous,
                ..Self::BEGINNING
            },
            None => Self::BEGINNING,
        }
    }
}

/// The newest snapshot that the caller's state can be taken from, and the reading that is left after it. Damaged ones
/// are passed over and named: all they say is in the journal. One that is whole and does not fit is refused.
pub(super) fn restore(
    disk: &dyn Disk,
    dir: &Path,
    survey: &Survey,
    state: &mut dyn Folding,
    passed_over: &mut Vec<String>,
) -> Result<(Start, Option<PathBuf>), JournalError> {
    let Some(content) = state.content() else {
        return Ok((Start::BEGINNING, None));
    };
    for (number, path) in list_snapshots(disk, dir)? {
        let restored = Snapshot::open(disk, &path).and_then(|snapshot| {
            let start = fitting(survey, &snapshot, number)?;
            match snapshot.head().content.cmp(&content) {
                std::cmp::Ordering::Less => Ok(None),
                std::cmp::Ordering::Equal => state.restore(&snapshot).map(|()| Some(start)),
                std::cmp::Ordering::Greater => Err(JournalError::NewerSnapshot {
                    file: path.clone(),
                    offset: AT_CONTENT,
                    found: snapshot.head().content,
                    supported: content,
                }),
            }
        });
        match restored {
            Ok(Some(start)) => return Ok((start, Some(path))),
            Ok(None) => passed_over.push(format!("{}: of an earlier version of this program", path.display())),
            Err(damaged @ JournalError::DamagedSnapshot { .. }) => passed_over.push(damaged.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok((Start::BEGINNING, None))
}

/// Where reading goes on after a snapshot, if it is one of this journal.
fn fitting(survey: &Survey, snapshot: &Snapshot, number: u32) -> Result<Start, JournalError> {
    let head = snapshot.head();
    let segments = usize::try_from(head.segment).unwrap_or(usize::MAX);
    if head.segment != number || segments == 0 {
        return Err(snapshot.foreign(Place::Segment, "the head tells another segment than the name"));
    }
    if let Some((_, first, _)) = survey.active.first()
        && (first.engine_id != head.engine_id || first.shard != head.shard)
    {
        return Err(snapshot.foreign(Place::Engine, "a snapshot of another engine or shard"));
    }
    let Some((_, next, _)) = survey.active.get(segments) else {
        let (file, last_seq) = (snapshot.path().to_owned(), head.last_seq);
        return Err(JournalError::SnapshotAhead { file, segment: head.segment, last_seq });
    };
    if next.previous != head.chain || next.first_seq != head.last_seq.saturating_add(1) {
        return Err(snapshot.foreign(Place::Chain, "the snapshot does not match the journal's chain of hashes"));
    }
    Ok(Start {
        segments,
        last_seq: head.last_seq,
        last_at: head.last_at,
        last_epoch: head.last_epoch,
        chain: head.chain,
    })
}

/// Lists the directory and reads every segment's first page.
pub(super) fn survey(
    disk: &dyn Disk,
    dir: &Path,
    shard: Option<u8>,
    spare_len: Option<u64>,
) -> Result<Survey, JournalError> {
    let entries = disk.list(dir).map_err(JournalError::io(dir, 0, "list the directory"))?;
    let mut listed = Vec::new();
    let mut unfinished = Vec::new();
    for entry in entries {
        let path = dir.join(&entry.name);
        if is_unfinished(&entry.name) {
            unfinished.push(path);
        } else if let Some(number) = segment_number(&entry.name) {
            listed.push(Listed { number, path, len: entry.len });
        }
    }
    listed.sort_by_key(|segment| segment.number);
    for (segment, number) in listed.iter().zip(1u32..) {
        if segment.number != number {
            return Err(JournalError::MissingSegment { file: dir.join(segment_name(number)) });
        }
    }

    let mut survey = Survey { active: Vec::new(), torn_header: None, spares: VecDeque::new(), unfinished };
    for segment in listed {
        let page = first_page(disk, &segment, spare_len)?;
        let gone = |bad: &Listed| {
            JournalError::corrupt(&bad.path, 0, "the segment header is gone, yet a later segment is in use")
        };
        match format::read_segment_header(&page) {
            HeaderPage::Newer(found) => {
                let supported = format::FORMAT;
                return Err(JournalError::NewerFormat { file: segment.path, offset: AT_VERSION, found, supported });
            }
            HeaderPage::Good(header) => {
                if let Some(spare) = survey.spares.front() {
                    return Err(gone(spare));
                }
                check_header(&segment, &header, shard, survey.active.last())?;
                survey.active.push((segment, *header, format::segment_header_hash(&page)));
            }
            HeaderPage::Zero => survey.spares.push_back(segment),
            HeaderPage::Bad { torn } => {
                if !torn || !survey.spares.is_empty() {
                    return Err(JournalError::corrupt(&segment.path, 0, "the segment header cannot be read"));
                }
                survey.torn_header = Some(segment.clone());
                survey.spares.push_back(segment);
            }
        }
    }
    check_spares(disk, &survey)?;
    Ok(survey)
}

/// A file that only this journal leaves behind: a segment or snapshot before it is one, or a trial of the directory.
fn is_unfinished(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".tmp") else { return false };
    let segment = stem.len() == 10 && stem.bytes().all(|byte| byte.is_ascii_digit());
    segment || [DIRECT_TRIAL, WRITABLE_TRIAL, UNFINISHED].contains(&name)
}

fn first_page(disk: &dyn Disk, segment: &Listed, spare_len: Option<u64>) -> Result<Vec<u8>, JournalError> {
    if segment.len < PAGE as u64 {
        let file = segment.path.clone();
        return Err(JournalError::ShortSegment {
            file,
            found: segment.len,
            expected: spare_len.unwrap_or(super::LEAST_SEGMENT),
        });
    }
    let failed = |what| JournalError::io(&segment.path, 0, what);
    let file = disk.open(&segment.path, Access::Read).map_err(failed("open a segment"))?;
    let mut page = vec![0; PAGE];
    file.read_at(0, &mut page).map_err(failed("read a segment header"))?;
    Ok(page)
}

fn check_header(
    segment: &Listed,
    header: &SegmentHeader,
    shard: Option<u8>,
    before: Option<&(Listed, SegmentHeader, Hash)>,
) -> Result<(), JournalError> {
    let file = || segment.path.clone();
    if let Some((_, before, _)) = before
        && before.engine_id != header.engine_id
    {
        return Err(JournalError::ForeignSegment { file: file(), offset: AT_ENGINE });
    }
    let expected = shard.or(before.map(|(_, before, _)| before.shard)).unwrap_or(header.shard);
    if header.shard != expected {
        let found = header.shard;
        return Err(JournalError::ForeignShard { file: file(), offset: AT_SHARD, found, expected });
    }
    if header.number != segment.number {
        return Err(JournalError::corrupt(&segment.path, 0, "the segment header carries another number than the name"));
    }
    if segment.len < header.segment_bytes {
        let expected = header.segment_bytes;
        return Err(JournalError::ShortSegment { file: file(), found: segment.len, expected });
    }
    let fits = header.spare_bytes.is_multiple_of(PAGE as u64)
        && header.segment_bytes.is_multiple_of(PAGE as u64)
        && header.segment_bytes >= super::LEAST_SEGMENT;
    if segment.len != header.segment_bytes || !fits {
        return Err(JournalError::corrupt(&segment.path, 0, "the segment has another length than its header says"));
    }
    Ok(())
}

/// A spare says nothing of itself; how long it was made is in the header of the newest segment in use.
fn check_spares(disk: &dyn Disk, survey: &Survey) -> Result<(), JournalError> {
    if let Some((_, newest, _)) = survey.active.last() {
        let expected = newest.spare_bytes;
        if let Some(spare) = survey.spares.iter().find(|spare| spare.len != expected) {
            let (file, found) = (spare.path.clone(), spare.len);
            return Err(JournalError::ShortSpare { file, found, expected });
        }
    }
    // A crash while a header is written leaves zeros behind it. So does a journal that was never begun.
    match (&survey.torn_header, survey.active.is_empty()) {
        (Some(torn), _) => check_unused(disk, torn),
        (None, true) => survey.spares.front().map_or(Ok(()), |first| check_unused(disk, first)),
        (None, false) => Ok(()),
    }
}

/// A segment without a header must be without blocks.
fn check_unused(disk: &dyn Disk, segment: &Listed) -> Result<(), JournalError> {
    let path = &segment.path;
    let file = disk.open(path, Access::Read).map_err(JournalError::io(path, 0, "open a segment"))?;
    match Window::new(&*file, path, segment.len).last_nonzero(PAGE as u64)? {
        Some(_) => Err(JournalError::corrupt(path, 0, "the segment header is gone, yet blocks follow it")),
        None => Ok(()),
    }
}

/// Opens the keys that the newest header carries.
pub(super) fn open_keys(survey: &Survey, keys: &KeySource) -> Result<Option<Arc<Keyring>>, JournalError> {
    let Some((segment, header, _)) = survey.active.last() else {
        return Ok(None);
    };
    let file = || segment.path.clone();
    let Some(master) = keys.master() else {
        return Err(JournalError::MasterKeyAbsent { file: file(), offset: AT_KEYS });
    };
    match Keyring::unwrap(master, &header.keys) {
        Ok(keyring) => Ok(Some(Arc::new(keyring))),
        Err(KeyError::WrongMasterKey) => Err(JournalError::WrongMasterKey { file: file(), offset: AT_KEYS }),
        Err(KeyError::DamagedKey | KeyError::BadMasterKey | KeyError::UnknownKey(_) | KeyError::NotAuthentic) => {
            Err(JournalError::corrupt(&segment.path, AT_KEYS, "a wrapped key does not open"))
        }
    }
}

/// Reads every block of every activated segment from `start` on and folds every event.
pub(super) fn scan(
    disk: &dyn Disk,
    dir: &Path,
    survey: &Survey,
    start: &Start,
    fold: &mut Fold<'_>,
) -> Result<Scan, JournalError> {
    let mut scan = Scan {
        last_seq: start.last_seq,
        last_at: start.last_at,
        last_epoch: start.last_epoch,
        blocks: 0,
        events: 0,
        index: Vec::with_capacity(survey.active.len()),
        torn: None,
        chain: start.chain,
        end: 0,
        last_good: (0, PAGE),
        closed: false,
    };
    for (segment, header, _) in survey.active.iter().take(start.segments) {
        scan.index.push(Blocks { number: segment.number, first_seq: header.first_seq, blocks: None });
    }
    for (at, (segment, header, hash)) in survey.active.iter().enumerate().skip(start.segments) {
        if header.previous != scan.chain {
            let what = "the segment header does not continue the chain of hashes";
            return Err(JournalError::corrupt(&segment.path, 0, what));
        }
        if header.first_seq != scan.last_seq + 1 {
            return Err(JournalError::corrupt(&segment.path, 0, "the segment header does not continue the sequence"));
        }
        scan.chain = *hash;
        let last = at + 1 == survey.active.len();
        scan_segment(disk, segment, header, last, &mut scan, fold)?;
    }
    let next = u32::try_from(survey.active.len()).unwrap_or(u32::MAX).saturating_add(1);
    if scan.closed {
        match survey.spares.front() {
            Some(named) => check_unused(disk, named)?,
            // A closing block names a segment that was there, zeroed and synced, when it was written.
            None => return Err(JournalError::MissingSegment { file: dir.join(segment_name(next)) }),
        }
    }
    if let (false, false, Some(torn)) = (scan.closed, survey.active.is_empty(), &survey.torn_header) {
        let what = "a segment header was begun although the segment before it is not closed";
        return Err(JournalError::corrupt(&torn.path, 0, what));
    }
    Ok(scan)
}

fn scan_segment(
    disk: &dyn Disk,
    segment: &Listed,
    header: &SegmentHeader,
    last: bool,
    scan: &mut Scan,
    fold: &mut Fold<'_>,
) -> Result<(), JournalError> {
    let path = &segment.path;
    let file = disk.open(path, Access::Read).map_err(JournalError::io(path, 0, "open a segment"))?;
    let mut window = Window::new(&*file, path, header.segment_bytes);
    let mut blocks = Vec::new();
    let mut offset = PAGE as u64;
    scan.last_good = (0, PAGE);
    scan.closed = false;
    let tag = block_tag(&header.engine_id);
    loop {
        let block = match read_block(&mut window, offset)? {
            Ok(block) => block,
            Err(what) => {
                if !last {
                    // A later segment was begun, so all of this one was durable.
                    return Err(JournalError::corrupt(path, offset, what));
                }
                scan.torn = tail(&mut window, path, offset, what)?;
                break;
            }
        };
        let (block, hash) = block;
        let wrong = if block.tag != tag || block.segment != header.number {
            Some("a block of another engine or segment")
        } else if block.previous != scan.chain {
            Some("the block does not continue the chain of hashes")
        } else if block.first_seq != scan.last_seq + 1 {
            Some("the block does not continue the sequence")
        } else if block.epoch < scan.last_epoch {
            Some("the block's epoch is before its predecessor's")
        } else {
            None
        };
        if let Some(what) = wrong {
            return Err(JournalError::corrupt(path, offset, what));
        }
        let len = block.padded_len();
        let bytes = window.at(offset, len)?;
        let payload = format::open_payload(&block, bytes)
            .ok_or_else(|| JournalError::corrupt(path, offset, "a block runs past its end"))?;
        match block.kind {
            Kind::Events => {
                blocks.push((block.first_seq, offset));
                for record in format::Records::new(&block, payload) {
                    let record = record.map_err(|what| JournalError::corrupt(path, offset, what))?;
                    fold(record).map_err(|what| {
                        let (file, seq) = (path.clone(), record.seq);
                        JournalError::Fold { file, offset, seq, what }
                    })?;
                    scan.last_at = record.at;
                }
                scan.blocks += 1;
                scan.events += u64::from(block.count);
                scan.last_seq = block.last_seq();
                scan.last_epoch = block.epoch;
            }
            Kind::Closing => {
                let names = payload.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
                if names != header.number.checked_add(1) || block.count != 0 {
                    return Err(JournalError::corrupt(
                        path,
                        offset,
                        "the closing block does not name the next segment",
                    ));
                }
                scan.closed = true;
            }
        }
        scan.chain = hash;
        scan.last_good = (offset, len);
        offset += len as u64;
        if scan.closed {
            if let Some(bad) = window.last_nonzero(offset)? {
                let page = bad / PAGE as u64 * PAGE as u64;
                return Err(JournalError::corrupt(path, page, "bytes after the closing block"));
            }
            break;
        }
    }
    scan.end = offset;
    scan.index.push(Blocks { number: header.number, first_seq: header.first_seq, blocks: Some(blocks) });
    Ok(())
}

/// The first half of the engine id.
pub(super) fn block_tag(engine_id: &[u8; 16]) -> [u8; 8] {
    engine_id.first_chunk::<8>().copied().unwrap_or_default()
}

pub(super) type Found = Result<(format::BlockHeader, Hash), &'static str>;

/// Reads and checks the block at `offset`: the outer error is the disk's, the inner one says what is wrong.
pub(super) fn read_block(window: &mut Window<'_>, offset: u64) -> Result<Found, JournalError> {
    if offset + PAGE as u64 > window.len {
        return Ok(Err("the segment ends without a closing block"));
    }
    let header = match format::read_block_header(window.at(offset, PAGE)?) {
        Ok(header) => header,
        Err(what) => return Ok(Err(what)),
    };
    let len = header.padded_len();
    if len as u64 > window.len - offset {
        return Ok(Err("a block runs past the end of its segment"));
    }
    let block = window.at(offset, len)?;
    Ok(format::check_block(&header, block).map(|hash| (header, hash)))
}

/// Judges what stands at the end of the last segment, from `offset` on: nothing, a torn write, or damage.
pub(super) fn tail(
    window: &mut Window<'_>,
    path: &Path,
    offset: u64,
    what: &'static str,
) -> Result<Option<TornTail>, JournalError> {
    let Some(last) = window.last_nonzero(offset)? else {
        return Ok(None);
    };
    let end = (last / PAGE as u64 + 1) * PAGE as u64;
    let mut later = offset + PAGE as u64;
    while later < end {
        if read_block(window, later)?.is_ok() {
            return Err(JournalError::corrupt(path, offset, what));
        }
        later += PAGE as u64;
    }
    // How far the bad block goes: as its header says when that is whole, else to the last byte that is there.
    let said = format::read_block_header(window.at(offset, PAGE)?).ok().map(|header| header.padded_len() as u64);
    let extent = match said {
        Some(len) if len <= window.len - offset => offset + len,
        Some(_) | None => end,
    };
    let mut sector = offset;
    while sector < extent {
        if format::has_zero_sector(window.at(sector, PAGE)?) {
            return Ok(Some(TornTail { file: path.to_owned(), offset, bytes: end - offset }));
        }
        sector += PAGE as u64;
    }
    Err(JournalError::corrupt(path, offset, what))
}

/// Before serving: what the page cache shows may never have reached the disk, so the last good block is written
/// again, what was cut is zeroed, and the file and its directory are synced.
pub(super) fn repair(
    disk: &dyn Disk,
    dir: &Path,
    segment: &Listed,
    scan: &Scan,
    access: Access,
) -> Result<Box<dyn SegmentFile>, JournalError> {
    let path = &segment.path;
    let (offset, len) = scan.last_good;
    let mut good = AlignedBuf::filled(len, 0);
    let reading = disk.open(path, Access::Read).map_err(JournalError::io(path, 0, "open a segment"))?;
    reading.read_at(offset, good.bytes_mut()).map_err(JournalError::io(path, offset, "read the last block"))?;
    drop(reading);
    let file = disk.open(path, access).map_err(JournalError::io(path, 0, "open a segment for writing"))?;
    if let Some(torn) = &scan.torn {
        let zeros = AlignedBuf::filled(READ_AHEAD, 0);
        let mut at = torn.offset;
        let end = torn.offset + torn.bytes;
        while at < end {
            let size = usize::try_from(end - at).unwrap_or(READ_AHEAD).min(READ_AHEAD);
            let part = zeros.bytes().get(..size).unwrap_or_default();
            file.write_at(at, part).map_err(JournalError::io(path, at, "zero a torn tail"))?;
            at += size as u64;
        }
    }
    file.write_at(offset, good.bytes()).map_err(JournalError::io(path, offset, "rewrite the last block"))?;
    file.sync().map_err(JournalError::io(path, offset, "sync the last block"))?;
    // A handle whose writes are durable by themselves does not flush what an earlier run left in the cache; this does.
    let cached = disk.open(path, Access::Buffered).map_err(JournalError::io(path, 0, "open a segment to sync it"))?;
    cached.sync().map_err(JournalError::io(path, offset, "sync a segment"))?;
    disk.sync_dir(dir).map_err(JournalError::io(dir, 0, "sync the directory"))?;
    Ok(file)
}

/// A segment read forwards, a piece ahead at a time.
pub(super) struct Window<'a> {
    file: &'a dyn SegmentFile,
    path: &'a Path,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn SegmentFile, path: &'a Path, len: u64) -> Self {
        Self { file, path, len, start: 0, bytes: Vec::new() }
    }

    /// `len` bytes from `offset`, which the caller keeps within the segment.
    pub(super) fn at(&mut self, offset: u64, len: usize) -> Result<&mut [u8], JournalError> {
        let held = offset >= self.start && offset + len as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.bytes.resize(len.max(READ_AHEAD.min(room)), 0);
            self.start = offset;
            let failed = JournalError::io(self.path, offset, "read a segment");
            if let Err(error) = self.file.read_at(offset, &mut self.bytes) {
                self.bytes.clear();
                return Err(failed(error));
            }
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let end = from.saturating_add(len);
        let gone = || JournalError::corrupt(self.path, offset, "the segment ends before its length");
        self.bytes.get_mut(from..end).ok_or_else(gone)
    }

    /// The last byte from `offset` on that is not zero.
    pub(super) fn last_nonzero(&mut self, offset: u64) -> Result<Option<u64>, JournalError> {
        let mut last = None;
        let mut at = offset;
        while at < self.len {
            let page = self.at(at, PAGE)?;
            if !format::is_zero(page) {
                last = page.iter().rposition(|byte| *byte != 0).map(|within| at + within as u64);
            }
            at += PAGE as u64;
        }
        Ok(last)
    }
}
