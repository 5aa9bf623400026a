//! The journal as its one writer holds it: append, submit, complete, and the step from a full segment to the next.
//!
//! It must never call an event durable before the sync that covers it, never rewrite a durable page, and never
//! write again after a failure.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::block::OpenBlock;
use super::error::JournalError;
use super::file::{Access, AlignedBuf, Disk, Lock, LockKind, PAGE, SegmentFile, WRITABLE_TRIAL};
use super::format::{self, BLOCK_HEADER, BlockHeader, Hash, Kind, SegmentHeader, pages, record_len};
use super::index::SegmentIndex;
use super::reader::{Reader, Shared};
use super::recovery::{self, Blocks, Fold, Scan, Survey, TornTail};
use super::spares::{KEPT, Maker, Spare, Spares};
use super::stats::Stats;
use super::{EveryEvent, Folding, KeySource, Options, SyncMode, segment_name};
use crate::keys::{Keyring, MAX_EPOCH};

/// What opening a journal found and did.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The last durable sequence, 0 in a new journal.
    pub last_seq: u64,
    /// The time of the last event, microseconds since 1970 UTC; `i64::MIN` when there is none.
    pub last_at: i64,
    /// The epoch of the last event, 0 when there is none. The caller begins the next one.
    pub last_epoch: u32,
    /// Segments in use.
    pub segments: u32,
    /// Blocks of events.
    pub blocks: u64,
    /// Events folded, without those that the snapshot covers.
    pub events: u64,
    /// The snapshot that was begun with.
    pub snapshot: Option<PathBuf>,
    /// The last event it covers, 0 without one.
    pub snapshot_seq: u64,
    /// Snapshots that could not be used, each with the reason.
    pub passed_over: Vec<String>,
    /// Bytes of a torn tail that were zeroed, 0 when the last run ended well.
    pub cut_bytes: u64,
    /// Where the torn tail stood.
    pub cut: Option<TornTail>,
    /// The journal was made by this call.
    pub created: bool,
    /// Whether writes go past the page cache.
    pub direct: bool,
}

struct Segment {
    number: u32,
    file: Box<dyn SegmentFile>,
    bytes: u64,
    offset: u64,
}

struct Pending {
    first_seq: u64,
    last_seq: u64,
    offset: u64,
    bytes: u64,
}

/// The journal, open for writing. One thread owns it; [`Journal::reader`] serves the others.
///
/// The order of calls: [`Journal::start_epoch`] once, then [`Journal::append`] for each event of a batch,
/// [`Journal::submit`], [`Journal::complete`]; or [`Journal::commit`] for the last two. After an error every
/// later call errs: what is durable is decided by the next start.
pub struct Journal {
    segment: Segment,
    chain: Hash,
    open: OpenBlock,
    spill: OpenBlock,
    page: AlignedBuf,
    pending: Vec<Pending>,
    unsynced: bool,
    next_seq: u64,
    epoch: u32,
    cap: usize,
    engine_id: [u8; 16],
    shard: u8,
    keyring: Arc<Keyring>,
    shared: Arc<Shared>,
    stats: Arc<Stats>,
    poisoned: Option<String>,
    spare_bytes: u64,
    spares: Spares,
    // Last, so that the thread that makes spares has ended before another process may come.
    _lock: Box<dyn Lock>,
}

impl Journal {
    /// Takes the directory, recovers, folds every durable event in order, repairs a torn tail and nothing else.
    /// An empty directory becomes a new journal.
    ///
    /// # Errors
    /// Every variant of [`JournalError`] that names the directory or a segment; nothing was changed then.
    pub fn open(options: Options, keys: KeySource, fold: &mut Fold<'_>) -> Result<(Self, Recovery), JournalError> {
        Self::open_from(options, keys, &mut EveryEvent(fold))
    }

    /// [`Journal::open`] from the newest good snapshot on.
    ///
    /// # Errors
    /// As [`Journal::open`]; and when a snapshot is whole and not of this journal, or covers more than there is.
    pub fn open_from(
        options: Options,
        keys: KeySource,
        state: &mut dyn Folding,
    ) -> Result<(Self, Recovery), JournalError> {
        options.check()?;
        let lock = take_directory(&*options.disk, &options.dir)?;
        let disk = Arc::clone(&options.disk);
        let survey = recovery::survey(&*disk, &options.dir, Some(options.shard), Some(options.segment_bytes))?;
        let opened = recovery::open_keys(&survey, &keys)?;
        let mut passed_over = Vec::new();
        let (start, snapshot) = recovery::restore(&*disk, &options.dir, &survey, state, &mut passed_over)?;
        let scan = recovery::scan(&*disk, &options.dir, &survey, &start, &mut |record| state.fold(record))?;
        for file in &survey.unfinished {
            disk.remove(file).map_err(JournalError::io(file, 0, "remove an unfinished segment"))?;
        }
        let direct = match options.mode {
            SyncMode::Auto => disk.takes_direct(&options.dir),
            SyncMode::Direct => true,
            SyncMode::Buffered => false,
        };
        let access = if direct { Access::Direct } else { Access::Buffered };
        let (engine_id, keyring, created) = match (opened, survey.active.last()) {
            (Some(keyring), Some((_, header, _))) => (header.engine_id, keyring, false),
            (Some(_) | None, _) => {
                let (engine_id, keyring) = keys.birth(&options.dir)?;
                (engine_id, Arc::new(keyring), true)
            }
        };
        let mut recovery = recovered(&survey, &scan, created, direct);
        (recovery.snapshot, recovery.snapshot_seq, recovery.passed_over) = (snapshot, start.last_seq, passed_over);
        let journal = Self::assemble(options, access, lock, survey, scan, engine_id, keyring)?;
        Ok((journal, recovery))
    }

    fn assemble(
        options: Options,
        access: Access,
        lock: Box<dyn Lock>,
        survey: Survey,
        scan: Scan,
        engine_id: [u8; 16],
        keyring: Arc<Keyring>,
    ) -> Result<Self, JournalError> {
        let disk = Arc::clone(&options.disk);
        let stats = Arc::new(Stats::default());
        let shared = Shared::new(Arc::clone(&disk), options.dir.clone(), recovery::block_tag(&engine_id));
        let in_use = u32::try_from(survey.active.len()).unwrap_or(u32::MAX);
        let found = keep_spares(&*disk, &options, &survey)?;
        let spare_bytes = survey.active.last().map_or(options.segment_bytes, |(_, header, _)| header.spare_bytes);
        let maker = Maker {
            disk: Arc::clone(&disk),
            dir: options.dir.clone(),
            // Until a header says otherwise, spares are as long as the newest header tells.
            segment_bytes: spare_bytes,
            access,
            pace: options.pace,
            stats: Arc::clone(&stats),
            found,
            next: in_use.saturating_add(1),
        };
        index_segments(&shared, &survey, &scan)?;
        let current = match survey.active.last() {
            Some((segment, header, _)) => {
                let file = recovery::repair(&*disk, &options.dir, segment, &scan, access)?;
                Some(Segment { number: segment.number, file, bytes: header.segment_bytes, offset: scan.end })
            }
            None => None,
        };
        let fresh = current.is_none() || scan.closed;
        // Where no segment is open, activation below puts the fresh one in this one's place.
        let segment = current.unwrap_or(Segment { number: 0, file: Box::new(NoFile), bytes: 0, offset: 0 });
        let cap = options.block_cap();
        let mut journal = Self {
            segment,
            chain: scan.chain,
            open: OpenBlock::with_room(cap),
            spill: OpenBlock::default(),
            page: AlignedBuf::filled(PAGE, 0),
            pending: Vec::with_capacity(16),
            unsynced: false,
            next_seq: scan.last_seq + 1,
            epoch: scan.last_epoch,
            cap,
            engine_id,
            shard: options.shard,
            keyring,
            shared: Arc::new(shared),
            stats,
            poisoned: None,
            spare_bytes: options.segment_bytes,
            spares: Spares::inline(maker),
            _lock: lock,
        };
        if fresh {
            let spare = journal.spares.take(&journal.stats)?;
            journal.activate(spare, scan.last_seq + 1)?;
        } else if spare_bytes != options.segment_bytes {
            // The option changed. The next header must say so before a spare of the new length is made.
            journal.turn_over(scan.last_seq + 1)?;
        }
        journal.spares.begin(options.segment_bytes, options.spares)?;
        Ok(journal)
    }

    /// The opened keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The random id this engine got when its journal was made.
    pub fn engine_id(&self) -> [u8; 16] {
        self.engine_id
    }

    /// Begins an epoch; the caller appends its `Started` event next, and makes it durable before it seals anything.
    /// An epoch that is not greater than the last, or beyond 24 bits, stops the journal: the next submit says so.
    pub fn start_epoch(&mut self, epoch: u32) {
        debug_assert_eq!(self.open.count, 0, "an epoch begins between blocks");
        if epoch <= self.epoch || epoch > MAX_EPOCH {
            let error = JournalError::Epoch { epoch, last: self.epoch };
            self.poisoned.get_or_insert_with(|| error.to_string());
        }
        self.epoch = epoch;
    }

    /// The epoch that events are appended under.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The sequence the next event will get.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Adds an event to the open block and returns its sequence. `at` is microseconds since 1970 UTC; `write` appends
    /// the event's bytes to what it is given and must not touch what is there. Not durable before [`Journal::complete`].
    pub fn append(&mut self, at: i64, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        if self.poisoned.is_some() {
            // Nothing is written any more; without this a caller that goes on would fill the memory.
            self.open.clear();
        }
        let seq = self.next_seq;
        self.open.push(seq, at, write);
        self.next_seq += 1;
        seq
    }

    /// The next event belongs to the one before it: both are in one block, so that a crash keeps both or none.
    pub fn join(&mut self) {
        if self.open.count > 0 {
            self.open.joined.push(self.next_seq);
        }
    }

    /// Events in the open block.
    pub fn open_events(&self) -> usize {
        self.open.count as usize
    }

    /// Bytes of events in the open block. A caller that submits before `max_batch_bytes` gets one block a batch.
    pub fn open_bytes(&self) -> usize {
        self.open.payload_len()
    }

    /// Seals the open block and writes it. Not durable before [`Journal::complete`].
    ///
    /// # Errors
    /// [`JournalError::Io`], [`JournalError::EventTooLarge`]; and [`JournalError::Poisoned`] ever after.
    pub fn submit(&mut self) -> Result<(), JournalError> {
        self.alive()?;
        if self.open.count == 0 {
            return Ok(());
        }
        let mut block = std::mem::take(&mut self.open);
        let done = if block.payload_len() <= self.cap { self.write(&mut block) } else { self.write_split(&block) };
        block.clear();
        self.open = block;
        self.stop_at(done)
    }

    /// Makes everything that was submitted durable and returns the last durable sequence.
    ///
    /// # Errors
    /// [`JournalError::Io`]; and [`JournalError::Poisoned`] ever after.
    pub fn complete(&mut self) -> Result<u64, JournalError> {
        self.alive()?;
        let done = if self.unsynced { self.sync() } else { Ok(()) };
        self.stop_at(done)?;
        Ok(self.durable_seq())
    }

    /// Submits and completes.
    ///
    /// # Errors
    /// As [`Journal::submit`] and [`Journal::complete`].
    pub fn commit(&mut self) -> Result<u64, JournalError> {
        self.submit()?;
        self.complete()
    }

    /// The last durable sequence.
    pub fn durable_seq(&self) -> u64 {
        self.shared.durable.load(Ordering::Relaxed)
    }

    /// Random access to durable events, for other threads.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Counters, shared with whoever reports them.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    fn alive(&self) -> Result<(), JournalError> {
        match &self.poisoned {
            None => Ok(()),
            Some(first) => Err(JournalError::Poisoned { first: first.clone() }),
        }
    }

    /// The first failure is the last word: after a failed sync nobody knows what the disk holds.
    fn stop_at(&mut self, done: Result<(), JournalError>) -> Result<(), JournalError> {
        if let Err(error) = &done {
            self.poisoned = Some(error.to_string());
        }
        done
    }

    /// A batch larger than a block: written as several, each durable before the next begins.
    #[cold]
    fn write_split(&mut self, block: &OpenBlock) -> Result<(), JournalError> {
        let mut part = std::mem::take(&mut self.spill);
        let (mut rest, mut seq) = (block.payload(), block.first_seq);
        while !rest.is_empty() {
            let (mut len, mut count) = (0usize, 0u32);
            while let Some((group, events)) =
                next_group(rest.get(len..).unwrap_or_default(), seq + u64::from(count), &block.joined)
            {
                if count > 0 && len + group > self.cap {
                    break;
                }
                if events == 1 && group > self.cap {
                    return Err(JournalError::EventTooLarge { seq, bytes: group, most: self.cap });
                }
                len += group;
                count += events;
            }
            let (records, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            if count == 0 {
                return Err(JournalError::EventTooLarge { seq, bytes: records.len().max(rest.len()), most: self.cap });
            }
            part.clear();
            part.push_encoded(seq, block.at, count, records);
            self.write(&mut part)?;
            seq += u64::from(count);
            rest = after;
        }
        self.spill = part;
        Ok(())
    }

    fn write(&mut self, block: &mut OpenBlock) -> Result<(), JournalError> {
        if self.unsynced {
            // Recovery takes a bad block with a good one behind it for damage, so never two at once on their way.
            self.sync()?;
        }
        let bytes = pages(BLOCK_HEADER + block.payload_len()) as u64;
        let mut turns = 0;
        // The last page of a segment is kept for its closing block.
        while self.segment.offset + bytes + PAGE as u64 > self.segment.bytes {
            turns += 1;
            if turns > KEPT + 2 {
                let most = usize::try_from(self.segment.bytes).unwrap_or(0);
                return Err(JournalError::EventTooLarge { seq: block.first_seq, bytes: block.payload_len(), most });
            }
            self.turn_over(block.first_seq)?;
        }
        let (count, first_seq, at) = (block.count, block.first_seq, block.at);
        let mut header = self.header(Kind::Events, first_seq, count, at, block.payload_len())?;
        let (sealed, hash) = block.seal(&mut header).ok_or_else(unsealed)?;
        self.segment.file.write_at(self.segment.offset, sealed).map_err(self.failed("write a block"))?;
        let (offset, last_seq) = (self.segment.offset, header.last_seq());
        self.pending.push(Pending { first_seq, last_seq, offset, bytes });
        self.chain = hash;
        self.segment.offset += bytes;
        self.unsynced = true;
        if self.segment.offset > self.segment.bytes / 2 {
            self.spares.half_full();
        }
        Ok(())
    }

    fn header(
        &self,
        kind: Kind,
        first_seq: u64,
        count: u32,
        at: i64,
        payload: usize,
    ) -> Result<BlockHeader, JournalError> {
        let payload_len = u32::try_from(payload).map_err(|_| unsealed())?;
        let (epoch, segment) = (self.epoch, self.segment.number);
        let (tag, previous) = (self.shared.tag, self.chain);
        Ok(BlockHeader { kind, mask: 0, count, first_seq, payload_len, epoch, at, segment, tag, previous })
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.segment.file.sync().map_err(self.failed("sync a block"))?;
        self.unsynced = false;
        self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        let index = self.shared.segments.last();
        let mut durable = None;
        for block in self.pending.drain(..) {
            if let Some(index) = index {
                index.publish(block.first_seq, block.offset);
            }
            durable = Some(block.last_seq);
            self.stats.blocks.fetch_add(1, Ordering::Relaxed);
            self.stats.events.fetch_add(block.last_seq + 1 - block.first_seq, Ordering::Relaxed);
            self.stats.bytes.fetch_add(block.bytes, Ordering::Relaxed);
        }
        if let Some(last) = durable {
            self.shared.durable.store(last, Ordering::Release);
        }
        Ok(())
    }

    /// From a full segment to the next. Each step is durable before the one after it:
    /// the next segment is there and zero; the closing block names it; its header continues the chain.
    fn turn_over(&mut self, next_seq: u64) -> Result<(), JournalError> {
        let spare = self.spares.take(&self.stats)?;
        let mut header = self.header(Kind::Closing, next_seq, 0, 0, 4)?;
        let page = self.page.bytes_mut();
        page.fill(format::PAD);
        if let Some(names) = page.get_mut(BLOCK_HEADER..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *names = spare.number.to_le_bytes();
        }
        let hash = format::seal_block(&mut header, page).ok_or_else(unsealed)?;
        let failed = self.failed("write a closing block");
        self.segment.file.write_at(self.segment.offset, self.page.bytes()).map_err(failed)?;
        self.segment.file.sync().map_err(self.failed("sync a closing block"))?;
        self.chain = hash;
        self.activate(spare, next_seq)
    }

    fn activate(&mut self, spare: Spare, first_seq: u64) -> Result<(), JournalError> {
        let header = SegmentHeader {
            engine_id: self.engine_id,
            shard: self.shard,
            number: spare.number,
            segment_bytes: spare.segment_bytes,
            spare_bytes: self.spare_bytes,
            first_seq,
            previous: self.chain,
            keys: self.keyring.wrapped(),
        };
        format::write_segment_header(&header, self.page.bytes_mut());
        let bytes = spare.segment_bytes;
        self.segment = Segment { number: spare.number, file: spare.file, bytes, offset: PAGE as u64 };
        self.segment.file.write_at(0, self.page.bytes()).map_err(self.failed("write a segment header"))?;
        self.segment.file.sync().map_err(self.failed("sync a segment header"))?;
        self.chain = format::segment_header_hash(self.page.bytes());
        push_segment(&self.shared, SegmentIndex::with_room(spare.number, first_seq, bytes, &[]))?;
        self.stats.segments.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(std::io::Error) -> JournalError + use<> {
        let file: PathBuf = self.shared.dir.join(segment_name(self.segment.number));
        let offset = self.segment.offset;
        move |source| JournalError::Io { file, offset, what, source }
    }
}

/// Bytes and number of the records in front that must not be parted. `None` when there is no record.
fn next_group(records: &[u8], seq: u64, joined: &[u64]) -> Option<(usize, u32)> {
    let (mut len, mut count) = (record_len(records)?, 1u32);
    while joined.binary_search(&(seq + u64::from(count))).is_ok()
        && let Some(record) = records.get(len..).and_then(record_len)
    {
        len += record;
        count += 1;
    }
    Some((len, count))
}

fn recovered(survey: &Survey, scan: &Scan, created: bool, direct: bool) -> Recovery {
    Recovery {
        last_seq: scan.last_seq,
        last_at: scan.last_at,
        last_epoch: scan.last_epoch,
        segments: u32::try_from(survey.active.len()).unwrap_or(u32::MAX),
        blocks: scan.blocks,
        events: scan.events,
        snapshot: None,
        snapshot_seq: 0,
        passed_over: Vec::new(),
        cut_bytes: scan.torn.as_ref().map_or(0, |torn| torn.bytes),
        cut: scan.torn.clone(),
        created,
        direct,
    }
}

/// The spares of the last run that can be used; those of another length than is asked for now are removed, but
/// for the first, which the next header needs. Highest number first, so that a crash leaves no gap.
fn keep_spares(disk: &dyn Disk, options: &Options, survey: &Survey) -> Result<VecDeque<(u32, u64)>, JournalError> {
    let mut spares = survey.spares.clone();
    let kept = usize::from(!survey.active.is_empty());
    let other = spares.iter().any(|spare| spare.len != options.segment_bytes);
    while other && spares.len() > kept {
        if let Some(spare) = spares.pop_back() {
            disk.remove(&spare.path).map_err(JournalError::io(&spare.path, 0, "remove a spare segment"))?;
        }
    }
    if other {
        disk.sync_dir(&options.dir).map_err(JournalError::io(&options.dir, 0, "sync the directory"))?;
    }
    Ok(spares.iter().map(|spare| (spare.number, spare.len)).collect())
}

fn take_directory(disk: &dyn Disk, dir: &std::path::Path) -> Result<Box<dyn Lock>, JournalError> {
    let refused = |source| JournalError::NotWritable { dir: dir.to_owned(), source };
    disk.create_dir(dir).map_err(refused)?;
    let lock = disk.lock(dir, LockKind::Exclusive).map_err(refused)?;
    let lock = lock.ok_or_else(|| JournalError::InUse { dir: dir.to_owned() })?;
    // A lock file of an earlier run may be writable where new files are not: better learnt now than at a full segment.
    let trial = dir.join(WRITABLE_TRIAL);
    drop(disk.create(&trial, Access::Buffered).map_err(refused)?);
    disk.remove(&trial).map_err(refused)?;
    Ok(lock)
}

/// Tells readers where the blocks stand that the scan saw, and that there are others.
pub(super) fn index_segments(shared: &Shared, survey: &Survey, scan: &Scan) -> Result<(), JournalError> {
    let in_use = survey.active.len();
    for (at, Blocks { number, first_seq, blocks }) in scan.index.iter().enumerate() {
        let index = match (blocks, survey.active.last()) {
            (None, _) => SegmentIndex::unread(*number, *first_seq),
            (Some(blocks), Some((_, header, _))) if at + 1 == in_use && !scan.closed => {
                SegmentIndex::with_room(*number, *first_seq, header.segment_bytes, blocks)
            }
            (Some(blocks), _) => SegmentIndex::closed(*number, *first_seq, blocks),
        };
        push_segment(shared, index)?;
    }
    shared.durable.store(scan.last_seq, Ordering::Release);
    Ok(())
}

fn push_segment(shared: &Shared, index: SegmentIndex) -> Result<(), JournalError> {
    if shared.segments.push(index) {
        return Ok(());
    }
    let what = "is too small for this many events: a journal holds a million segments";
    Err(JournalError::Options { option: "segment_bytes", what })
}

/// A block longer than a segment cannot be sealed; the cap keeps every caller from here.
fn unsealed() -> JournalError {
    JournalError::Options { option: "max_batch_bytes", what: "lets a block grow past what its header can say" }
}

/// Stands for a segment before the first one is activated.
struct NoFile;

impl SegmentFile for NoFile {
    fn read_at(&self, _offset: u64, _to: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("no segment is open"))
    }

    fn write_at(&self, _offset: u64, _from: &[u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("no segment is open"))
    }

    fn sync(&self) -> std::io::Result<()> {
        Err(std::io::Error::other("no segment is open"))
    }

    fn reserve(&self, _len: u64) {}

    fn forget(&self, _offset: u64, _len: u64) {}
}
