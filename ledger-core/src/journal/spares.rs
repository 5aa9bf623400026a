//! Segments made ahead: zeroed, synced, named. A paced thread of its own does it, or the writer itself in tests
//! that want one thread.
//!
//! It must never touch a segment that was activated, and never hand one out that is not all zero and durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};

use super::error::JournalError;
use super::file::{Access, AlignedBuf, Disk, PAGE, SegmentFile};
use super::format::is_zero;
use super::stats::Stats;
use super::{SpareMaking, segment_name};

/// Spares kept ready.
pub(super) const KEPT: usize = 2;
/// Zeros written at a time: small enough that a tap's write never waits long behind one.
const CHUNK: usize = 256 * 1024;
/// What a pause grows back from.
const LEAST_PACE: Duration = Duration::from_micros(100);
/// How long to wait between two tries when the disk has no room.
const RETRY: Duration = Duration::from_secs(1);

/// A segment that may be activated.
pub(super) struct Spare {
    pub(super) number: u32,
    pub(super) file: Box<dyn SegmentFile>,
    pub(super) segment_bytes: u64,
}

/// What it takes to make a spare.
pub(super) struct Maker {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) segment_bytes: u64,
    /// How the finished segment is opened for the writer.
    pub(super) access: Access,
    pub(super) pace: Duration,
    pub(super) stats: Arc<Stats>,
    /// Spares that lie in the directory from an earlier run, lowest number first: number and length.
    pub(super) found: std::collections::VecDeque<(u32, u64)>,
    /// The number of the next spare.
    pub(super) next: u32,
}

impl Maker {
    /// Makes the next spare, or takes over one that was found. `wait` is asked between chunks; false gives up.
    pub(super) fn make(&mut self, wait: &mut dyn FnMut() -> bool) -> Result<Option<Spare>, JournalError> {
        let number = self.next;
        let made = match self.found.front() {
            Some((found, len)) if *found == number => self.take_over(number, *len, wait)?,
            Some(_) | None => self.create(number, wait)?,
        };
        if made.is_some() {
            self.found.pop_front();
            self.next += 1;
            self.stats.spares_made.fetch_add(1, Ordering::Relaxed);
        }
        Ok(made)
    }

    fn zeroing(&self) -> Access {
        match self.access {
            Access::Direct | Access::DirectUnsynced => Access::DirectUnsynced,
            Access::Read | Access::Buffered => Access::Buffered,
        }
    }

    fn create(&self, number: u32, wait: &mut dyn FnMut() -> bool) -> Result<Option<Spare>, JournalError> {
        let path = self.dir.join(segment_name(number));
        let unfinished = path.with_extension("tmp");
        let failed = |what| JournalError::io(&unfinished, 0, what);
        let file = self.disk.create(&unfinished, self.zeroing()).map_err(failed("make a segment"))?;
        file.reserve(self.segment_bytes);
        if !self.zero(&*file, self.segment_bytes, wait).map_err(failed("zero a segment"))? {
            return Ok(None);
        }
        file.sync().map_err(failed("sync a segment"))?;
        drop(file);
        // Only now may it be called a segment: whoever sees the name sees zeros to its end.
        self.disk.rename(&unfinished, &path).map_err(failed("rename a segment"))?;
        self.disk.sync_dir(&self.dir).map_err(failed("sync the directory of a segment"))?;
        let file = self.disk.open(&path, self.access).map_err(failed("open a segment"))?;
        Ok(Some(Spare { number, file, segment_bytes: self.segment_bytes }))
    }

    /// Writes zeros over a whole file. False when told to stop.
    fn zero(&self, file: &dyn SegmentFile, len: u64, wait: &mut dyn FnMut() -> bool) -> io::Result<bool> {
        let zeros = AlignedBuf::filled(CHUNK, 0);
        let mut offset = 0;
        while offset < len {
            let size = usize::try_from(len - offset).unwrap_or(CHUNK).min(CHUNK);
            file.write_at(offset, zeros.bytes().get(..size).unwrap_or_default())?;
            if self.zeroing() == Access::Buffered {
                // Bit by bit, so that no flush of 64 MiB stands before a tap's.
                file.sync()?;
            }
            offset += size as u64;
            if !wait() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A spare of an earlier run is used again once all of it was seen to be zero. A crash can leave a torn header
    /// in its first page and nothing behind that: the page is zeroed again. Anything else is damage.
    fn take_over(&self, number: u32, len: u64, wait: &mut dyn FnMut() -> bool) -> Result<Option<Spare>, JournalError> {
        let path = self.dir.join(segment_name(number));
        let failed = |what| JournalError::io(&path, 0, what);
        let file = self.disk.open(&path, self.zeroing()).map_err(failed("open a spare segment"))?;
        let mut chunk = AlignedBuf::filled(CHUNK, 0);
        let (mut offset, mut torn) = (0, false);
        while offset < len {
            let size = usize::try_from(len - offset).unwrap_or(CHUNK).min(CHUNK);
            let part = chunk.bytes_mut().get_mut(..size).unwrap_or_default();
            file.read_at(offset, part).map_err(failed("read a spare segment"))?;
            let (header, rest) = part.split_at_mut_checked(if offset == 0 { PAGE } else { 0 }).unwrap_or_default();
            torn = torn || !is_zero(header);
            if !is_zero(rest) {
                return Err(JournalError::corrupt(&path, offset, "a segment that was never in use is not zero"));
            }
            offset += size as u64;
            if !wait() {
                return Ok(None);
            }
        }
        if torn {
            self.stats.spares_rezeroed.fetch_add(1, Ordering::Relaxed);
            let page = AlignedBuf::filled(PAGE, 0);
            file.write_at(0, page.bytes()).map_err(failed("zero a segment header"))?;
        }
        // Its zeros may be in the page cache only, should an earlier run have died before its sync.
        file.sync().map_err(failed("sync a segment"))?;
        drop(file);
        let file = self.disk.open(&path, self.access).map_err(failed("open a segment"))?;
        Ok(Some(Spare { number, file, segment_bytes: len }))
    }
}

/// Where the writer gets its next segment.
pub(super) enum Spares {
    /// Made by the writer when it needs one.
    Inline(Option<Box<Maker>>),
    /// Made by a thread.
    Thread(Helper),
}

/// The thread that makes spares, and the writer's ends of its queues.
pub(super) struct Helper {
    wanted: Option<Sender<()>>,
    ready: Receiver<Result<Spare, JournalError>>,
    hurry: Sender<()>,
    stop: Arc<AtomicBool>,
    /// The writer stands still until a spare comes.
    waited_for: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spares {
    /// Spares made by the writer, as long as it only opens the journal.
    pub(super) fn inline(maker: Maker) -> Self {
        Self::Inline(Some(Box::new(maker)))
    }

    /// From here on spares are `segment_bytes` long and made as `how` says.
    pub(super) fn begin(&mut self, segment_bytes: u64, how: SpareMaking) -> Result<(), JournalError> {
        let Self::Inline(maker) = self else {
            return Ok(());
        };
        if let Some(maker) = maker {
            maker.segment_bytes = segment_bytes;
        }
        match (how, maker.take()) {
            (SpareMaking::Inline, kept) => *maker = kept,
            (SpareMaking::Thread, Some(maker)) => *self = Self::Thread(Helper::start(*maker)?),
            (SpareMaking::Thread, None) => {}
        }
        Ok(())
    }

    /// The next segment; waits for it when none is ready, and counts that.
    pub(super) fn take(&mut self, stats: &Stats) -> Result<Spare, JournalError> {
        match self {
            Self::Inline(maker) => {
                let made = maker.as_mut().map(|maker| maker.make(&mut || true)).transpose()?;
                made.flatten().ok_or_else(|| gone(Path::new("spare segment")))
            }
            Self::Thread(helper) => {
                let taken = match helper.ready.try_recv() {
                    Ok(taken) => taken,
                    Err(TryRecvError::Disconnected) => {
                        return Err(gone(Path::new("spare segment")));
                    }
                    Err(TryRecvError::Empty) => {
                        stats.stalls.fetch_add(1, Ordering::Relaxed);
                        helper.waited_for.store(true, Ordering::Release);
                        helper.hurry();
                        let taken = helper.ready.recv();
                        helper.waited_for.store(false, Ordering::Release);
                        taken.map_err(|_| gone(Path::new("spare segment")))?
                    }
                }?;
                if let Some(wanted) = &helper.wanted {
                    let _ = wanted.try_send(());
                }
                Ok(taken)
            }
        }
    }

    /// Told when the open segment is half full: with none ready, pacing gives way.
    pub(super) fn half_full(&self) {
        match self {
            Self::Inline(_) => {}
            Self::Thread(helper) => {
                if helper.ready.is_empty() {
                    helper.hurry();
                }
            }
        }
    }
}

fn gone(file: &Path) -> JournalError {
    let ended = io::Error::other("the thread that makes segments ended");
    JournalError::io(file, 0, "get the next segment")(ended)
}

impl Helper {
    fn start(mut maker: Maker) -> Result<Self, JournalError> {
        let (wanted, wants) = bounded(KEPT + 1);
        let (give, ready) = bounded(KEPT + 1);
        let (hurry, hurried) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let waited_for = Arc::new(AtomicBool::new(false));
        for _ in 0..KEPT {
            // The queue has room for these; the thread that empties it does not exist yet.
            let _ = wanted.try_send(());
        }
        let (stopped, waited) = (Arc::clone(&stop), Arc::clone(&waited_for));
        let dir = maker.dir.clone();
        let thread = std::thread::Builder::new()
            .name("journal-spares".into())
            .spawn(move || run(&mut maker, &wants, &give, &hurried, &stopped, &waited))
            .map_err(JournalError::io(&dir, 0, "start the thread that makes segments"))?;
        Ok(Self { wanted: Some(wanted), ready, hurry, stop, waited_for, thread: Some(thread) })
    }

    fn hurry(&self) {
        // One message is enough; a full queue says it already.
        let _ = self.hurry.try_send(());
    }
}

impl Drop for Helper {
    /// Joins the thread: the directory is quiet before its lock is released.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wanted = None;
        self.hurry();
        // Should the thread be giving a spare, there is room for it; should it have panicked, there is nothing to join for.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    maker: &mut Maker,
    wants: &Receiver<()>,
    give: &Sender<Result<Spare, JournalError>>,
    hurried: &Receiver<()>,
    stop: &AtomicBool,
    waited_for: &AtomicBool,
) {
    let mut pace = maker.pace;
    while wants.recv().is_ok() {
        // A hurry from before costs one spare made without pauses, a lost one would cost a stall.
        let mut hurry = false;
        loop {
            let made = maker.make(&mut || {
                // The pause between two chunks; the writer's hurry ends this one and all that follow.
                hurry = hurry || hurried.recv_timeout(pace).is_ok();
                !stop.load(Ordering::Relaxed)
            });
            match made {
                Ok(Some(spare)) => {
                    if give.send(Ok(spare)).is_err() {
                        return;
                    }
                    // Segments that fill faster than spares are made get them made faster, rather than each in one
                    // burst of writes that the taps have to share the disk with.
                    pace = if hurry { pace / 4 } else { (pace * 2).max(LEAST_PACE).min(maker.pace) };
                    break;
                }
                Ok(None) => return,
                Err(error @ JournalError::Corrupt { .. }) => {
                    // Trying again would not make it whole; the writer stops when it comes to this segment.
                    let _ = give.send(Err(error));
                    return;
                }
                Err(error) if waited_for.load(Ordering::Acquire) => {
                    // The writer stands still for this spare: it must learn why there is none.
                    let _ = give.send(Err(error));
                    return;
                }
                Err(_) => {
                    maker.stats.spare_failures.fetch_add(1, Ordering::Relaxed);
                    hurry = hurried.recv_timeout(RETRY).is_ok();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }
}

const _: () = assert!(CHUNK.is_multiple_of(PAGE));
