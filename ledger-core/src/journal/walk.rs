//! A journal read block after block as far as it can be read: what stands where, for people who look at one that may
//! be damaged, and for [`super::cut`].
//!
//! It must never write, and never judge what stands behind the place where its reader stops.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::file::{Access, Disk, PAGE};
use super::format::{self, BlockHeader, Hash, HeaderPage, Kind, NO_HASH, Record, Records, SegmentHeader};
use super::recovery::{self, Listed, TornTail, Window};
use super::verify::share_directory;
use super::{segment_name, segment_number};

/// A whole block of events, in its place in the chain.
pub struct Placed<'a> {
    pub(super) header: BlockHeader,
    pub(super) hash: Hash,
    offset: u64,
    file: &'a Path,
    payload: &'a [u8],
}

impl Placed<'_> {
    /// The number of its segment.
    pub fn segment(&self) -> u32 {
        self.header.segment
    }

    /// The file of its segment.
    pub fn file(&self) -> &Path {
        self.file
    }

    /// Where in the file it begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its bytes, padding included.
    pub fn bytes(&self) -> u64 {
        self.header.padded_len() as u64
    }

    /// Its bytes without header and padding.
    pub fn payload_bytes(&self) -> u32 {
        self.header.payload_len
    }

    /// The sequence of its first event.
    pub fn first_seq(&self) -> u64 {
        self.header.first_seq
    }

    /// The sequence of its last event.
    pub fn last_seq(&self) -> u64 {
        self.header.last_seq()
    }

    /// The epoch of its events.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }

    /// The time of its first event.
    pub fn at(&self) -> i64 {
        self.header.at
    }

    /// Its hash, which the next block carries.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.payload
    }

    /// Its events, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        // Each was read once before the block was given out.
        Records::new(&self.header, self.payload).map_while(Result::ok)
    }
}

/// A segment as far as it was read.
#[derive(Clone, Debug)]
pub struct WalkedSegment {
    /// Its number.
    pub number: u32,
    /// Its file.
    pub file: PathBuf,
    /// How long it was made.
    pub bytes: u64,
    /// The sequence of its first event, whether it has one or not.
    pub first_seq: u64,
    /// The sequence of the last event read from it; one less than the first when there is none.
    pub last_seq: u64,
    /// Blocks of events.
    pub blocks: u64,
    /// Bytes of records in them, padding and headers not counted.
    pub payload_bytes: u64,
    /// Where the last block that was read ends.
    pub end: u64,
    /// Time of the first and of the last event read.
    pub times: Option<(i64, i64)>,
    /// Epochs of the first and of the last event read.
    pub epochs: Option<(u32, u32)>,
    /// Its closing block was read.
    pub closed: bool,
}

/// What a walk came to.
#[derive(Debug)]
pub struct Walked {
    /// The segments that were read, oldest first.
    pub segments: Vec<WalkedSegment>,
    /// Segments made ahead and not in use, as far as the walk came.
    pub spares: u32,
    /// The sequence of the last event read.
    pub last_seq: u64,
    /// A write that the last run did not finish; the next start cuts it.
    pub torn: Option<TornTail>,
    /// What kept the walk from going on: damage, with its place.
    pub trouble: Option<JournalError>,
    /// The reader had enough.
    pub stopped: bool,
    pub(super) chain: Hash,
    pub(super) header: Option<SegmentHeader>,
}

/// What a reader does with a block; an error ends the walk as one of the fold.
pub type Each<'a> = dyn FnMut(&Placed<'_>) -> Result<ControlFlow<()>, (u64, String)> + 'a;

/// Reads a stopped journal from its first block on, until `each` has enough, the end, or damage. Needs no keys.
///
/// # Errors
/// The directory cannot be read, is in use, holds no journal, or one of a newer format; and what `each` refused.
/// Damage is not an error here but [`Walked::trouble`].
pub fn walk(disk: &dyn Disk, dir: &Path, each: &mut Each<'_>) -> Result<Walked, JournalError> {
    let _lock = share_directory(disk, dir)?;
    walk_held(disk, dir, each)
}

/// [`walk`] for a caller that holds the directory.
pub(super) fn walk_held(disk: &dyn Disk, dir: &Path, each: &mut Each<'_>) -> Result<Walked, JournalError> {
    let listed = list(disk, dir)?;
    if listed.is_empty() {
        return Err(JournalError::Empty { dir: dir.to_owned() });
    }
    let mut walk = Walk {
        disk,
        walked: Walked {
            segments: Vec::new(),
            spares: 0,
            last_seq: 0,
            torn: None,
            trouble: None,
            stopped: false,
            chain: NO_HASH,
            header: None,
        },
        last_epoch: 0,
    };
    let last = listed.keys().next_back().copied().unwrap_or(0);
    for number in 1..=last {
        let more = match listed.get(&number) {
            Some(segment) => walk.segment(segment, number == last, each),
            None => Err(JournalError::MissingSegment { file: dir.join(segment_name(number)) }),
        };
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.is_damage() && !matches!(error, JournalError::Fold { .. }) => {
                walk.walked.trouble = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let walked = &mut walk.walked;
    let lost_next = walked.segments.last().is_some_and(|segment| segment.closed && segment.number == last);
    if lost_next && !walked.stopped && walked.trouble.is_none() {
        walked.trouble = Some(JournalError::MissingSegment { file: dir.join(segment_name(last.saturating_add(1))) });
    }
    if walked.segments.is_empty() && walked.trouble.is_none() {
        return Err(JournalError::Empty { dir: dir.to_owned() });
    }
    Ok(walk.walked)
}

/// The segments of a directory by their numbers.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<BTreeMap<u32, Listed>, JournalError> {
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(JournalError::Empty { dir: dir.to_owned() });
        }
        Err(error) => return Err(JournalError::io(dir, 0, "list the directory")(error)),
    };
    let segment = |entry: super::file::Entry| {
        let number = segment_number(&entry.name)?;
        Some((number, Listed { number, path: dir.join(&entry.name), len: entry.len }))
    };
    Ok(entries.into_iter().filter_map(segment).collect())
}

struct Walk<'d> {
    disk: &'d dyn Disk,
    walked: Walked,
    last_epoch: u32,
}

impl Walk<'_> {
    /// Reads one segment; false when the walk ends in it.
    fn segment(&mut self, segment: &Listed, newest: bool, each: &mut Each<'_>) -> Result<bool, JournalError> {
        let path = &segment.path;
        let file = self.disk.open(path, Access::Read).map_err(JournalError::io(path, 0, "open a segment"))?;
        if segment.len < PAGE as u64 {
            let (file, found, expected) = (path.clone(), segment.len, super::LEAST_SEGMENT);
            return Err(JournalError::ShortSegment { file, found, expected });
        }
        // A file that was cut may end within a page.
        let mut window = Window::new(&*file, path, segment.len / PAGE as u64 * PAGE as u64);
        let page = window.at(0, PAGE)?.to_vec();
        let header = match format::read_segment_header(&page) {
            HeaderPage::Good(header) => header,
            HeaderPage::Newer(found) => {
                let (file, supported) = (path.clone(), format::FORMAT);
                return Err(JournalError::NewerFormat { file, offset: format::AT_VERSION, found, supported });
            }
            HeaderPage::Zero => return self.unused(segment, &mut window, false),
            HeaderPage::Bad { torn: true } => return self.unused(segment, &mut window, true),
            HeaderPage::Bad { torn: false } => {
                return Err(JournalError::corrupt(path, 0, "the segment header cannot be read"));
            }
        };
        self.check(segment, &header)?;
        self.walked.chain = format::segment_header_hash(&page);
        self.walked.segments.push(WalkedSegment {
            number: segment.number,
            file: path.clone(),
            bytes: header.segment_bytes,
            first_seq: header.first_seq,
            last_seq: header.first_seq.saturating_sub(1),
            blocks: 0,
            payload_bytes: 0,
            end: PAGE as u64,
            times: None,
            epochs: None,
            closed: false,
        });
        let (tag, bytes) = (recovery::block_tag(&header.engine_id), header.segment_bytes);
        self.walked.header = Some(*header);
        let mut offset = PAGE as u64;
        loop {
            let (block, hash) = match recovery::read_block(&mut window, offset)? {
                Ok(found) => found,
                Err(_) if segment.len < bytes => {
                    let (file, found) = (path.clone(), segment.len);
                    return Err(JournalError::ShortSegment { file, found, expected: bytes });
                }
                Err(what) if newest || self.next_is_unused(segment)? => {
                    self.walked.torn = recovery::tail(&mut window, path, offset, what)?;
                    return Ok(true);
                }
                Err(what) => return Err(JournalError::corrupt(path, offset, what)),
            };
            self.check_block(&block, tag, path, offset)?;
            let len = block.padded_len();
            let payload = format::open_payload(&block, window.at(offset, len)?)
                .ok_or_else(|| JournalError::corrupt(path, offset, "a block runs past its end"))?;
            if block.kind == Kind::Closing {
                let names = payload.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
                if names != segment.number.checked_add(1) || block.count != 0 {
                    let what = "the closing block does not name the next segment";
                    return Err(JournalError::corrupt(path, offset, what));
                }
                self.walked.chain = hash;
                self.took(offset + len as u64, |walked| walked.closed = true);
                return match window.last_nonzero(offset + len as u64)? {
                    Some(bad) => Err(JournalError::corrupt(path, bad, "bytes after the closing block")),
                    None => Ok(true),
                };
            }
            let (mut first_at, mut last_at) = (None, block.at);
            for record in Records::new(&block, payload) {
                let record = record.map_err(|what| JournalError::corrupt(path, offset, what))?;
                first_at.get_or_insert(record.at);
                last_at = record.at;
            }
            let placed = Placed { header: block, hash, offset, file: path, payload };
            let more = each(&placed).map_err(|(seq, what)| {
                let file = path.clone();
                JournalError::Fold { file, offset, seq, what }
            })?;
            self.walked.chain = hash;
            self.walked.last_seq = block.last_seq();
            self.last_epoch = block.epoch;
            self.took(offset + len as u64, |walked| {
                walked.last_seq = block.last_seq();
                walked.blocks += 1;
                walked.payload_bytes += u64::from(block.payload_len);
                let first = walked.times.map_or(first_at.unwrap_or(block.at), |(first, _)| first);
                walked.times = Some((first, last_at));
                walked.epochs = Some((walked.epochs.map_or(block.epoch, |(first, _)| first), block.epoch));
            });
            if more.is_break() {
                self.walked.stopped = true;
                return Ok(false);
            }
            offset += len as u64;
        }
    }

    fn took(&mut self, end: u64, tell: impl FnOnce(&mut WalkedSegment)) {
        if let Some(segment) = self.walked.segments.last_mut() {
            segment.end = end;
            tell(segment);
        }
    }

    /// A segment that was never begun, or whose header was on its way when the machine stopped.
    fn unused(&mut self, segment: &Listed, window: &mut Window<'_>, torn: bool) -> Result<bool, JournalError> {
        if self.walked.spares == 0 && window.last_nonzero(PAGE as u64)?.is_some() {
            let what = "the segment header is gone, yet blocks follow it";
            return Err(JournalError::corrupt(&segment.path, 0, what));
        }
        let closed = self.walked.segments.last().is_none_or(|before| before.closed);
        if torn && (self.walked.spares > 0 || !closed) {
            return Err(JournalError::corrupt(&segment.path, 0, "the segment header cannot be read"));
        }
        self.walked.spares += 1;
        Ok(true)
    }

    fn check(&self, segment: &Listed, header: &SegmentHeader) -> Result<(), JournalError> {
        let path = &segment.path;
        if self.walked.spares > 0 {
            let what = "a segment is in use although the one before it has no header";
            return Err(JournalError::corrupt(path, 0, what));
        }
        if let Some(before) = &self.walked.header {
            if before.engine_id != header.engine_id {
                return Err(JournalError::ForeignSegment { file: path.clone(), offset: format::AT_ENGINE });
            }
            if before.shard != header.shard {
                let (file, found, expected) = (path.clone(), header.shard, before.shard);
                return Err(JournalError::ForeignShard { file, offset: format::AT_SHARD, found, expected });
            }
        }
        let wrong = if header.number != segment.number {
            Some("the segment header carries another number than the name")
        } else if segment.len > header.segment_bytes {
            // One that is shorter is read as far as it goes.
            Some("the segment has another length than its header says")
        } else if self.walked.segments.last().is_some_and(|before| !before.closed) {
            Some("a segment is in use although the one before it is not closed")
        } else if header.previous != self.walked.chain {
            Some("the segment header does not continue the chain of hashes")
        } else if header.first_seq != self.walked.last_seq + 1 {
            Some("the segment header does not continue the sequence")
        } else {
            None
        };
        wrong.map_or(Ok(()), |what| Err(JournalError::corrupt(path, 0, what)))
    }

    fn check_block(&self, block: &BlockHeader, tag: [u8; 8], path: &Path, offset: u64) -> Result<(), JournalError> {
        let number = self.walked.segments.last().map_or(0, |segment| segment.number);
        let wrong = if block.tag != tag || block.segment != number {
            Some("a block of another engine or segment")
        } else if block.previous != self.walked.chain {
            Some("the block does not continue the chain of hashes")
        } else if block.first_seq != self.walked.last_seq + 1 {
            Some("the block does not continue the sequence")
        } else if block.epoch < self.last_epoch {
            Some("the block's epoch is before its predecessor's")
        } else {
            None
        };
        wrong.map_or(Ok(()), |what| Err(JournalError::corrupt(path, offset, what)))
    }

    /// Whether nothing was begun behind a segment, so that its end may be a torn write.
    fn next_is_unused(&self, segment: &Listed) -> Result<bool, JournalError> {
        let Some(dir) = segment.path.parent() else { return Ok(true) };
        let path = dir.join(segment_name(segment.number.saturating_add(1)));
        let file = match self.disk.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(JournalError::io(&path, 0, "open a segment")(error)),
        };
        let mut page = vec![0; PAGE];
        file.read_at(0, &mut page).map_err(JournalError::io(&path, 0, "read a segment header"))?;
        Ok(format::is_zero(&page))
    }
}
