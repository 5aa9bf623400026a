//! The keeper of the journal: a thread of the lowest priority that makes snapshots when a start would take longer than
//! it may, and moves to the archive what no start needs any more.
//!
//! Must never delay a tap: it reads what is durable, writes slowly past the page cache, and shares nothing with the
//! shard but the journal's reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger_core::journal::archive::Shelves;
use ledger_core::journal::{JournalError, Reader, Recovery, Snapshot, list_snapshots};
use ledger_core::snapshot;

use crate::telemetry::names;

/// How often the keeper looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure, for instance for want of room.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The pause after each 64 KiB written, a snapshot's one write: at most 16 MiB/s. Writes of 1 MiB in a row tripled the
/// slowest taps' time at 20,000/s while a snapshot was made.
const PAUSE: Duration = Duration::from_millis(4);
const BYTES_A_PAUSE: usize = 64 * 1024;
/// Events folded in a second where no start has measured it.
const USUAL_RATE: f64 = 1_000_000.0;
/// Events below which a start's own measure says little.
const MEASURABLE: u64 = 100_000;

/// What the keeper is told.
pub(crate) struct Settings {
    /// How long a start may take to replay.
    pub(crate) recovery_time: Duration,
    /// The disk on which closed segments can be archived; none where no archive is configured.
    pub(crate) shelves: Option<Arc<Shelves>>,
    /// What the start found, and how long it took.
    pub(crate) recovery: Recovery,
    /// How long that took.
    pub(crate) took: Duration,
}

/// The running thread.
pub(crate) struct Keeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(reader: Reader, settings: Settings) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            crate::priority::idle();
            Keeping::new(reader, settings, stopped).run();
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it; a snapshot that is not whole is given up.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the journal's keeper panicked; its message is above");
        }
    }
}

struct Keeping {
    reader: Reader,
    recovery_time: Duration,
    shelves: Option<Arc<Shelves>>,
    direct: bool,
    /// Events that a start folds in a second.
    rate: f64,
    /// The last event that a snapshot covers.
    covered: u64,
    /// The last segment that is in the archive.
    archived: u32,
    stop: Arc<AtomicBool>,
}

impl Keeping {
    fn new(reader: Reader, settings: Settings, stop: Arc<AtomicBool>) -> Self {
        let Settings { recovery_time, shelves, recovery, took } = settings;
        #[allow(clippy::cast_precision_loss)] // an estimate
        let rate = match recovery.events {
            events if events >= MEASURABLE && recovery.snapshot.is_none() => events as f64 / took.as_secs_f64(),
            _ => USUAL_RATE,
        };
        Self {
            reader,
            recovery_time,
            shelves,
            direct: recovery.direct,
            rate,
            covered: recovery.snapshot_seq,
            archived: 0,
            stop,
        }
    }

    fn run(mut self) {
        while !self.stopped() {
            match self.turn() {
                Ok(()) => std::thread::park_timeout(LOOK_EVERY),
                Err(JournalError::Abandoned) => {}
                Err(error) => {
                    names::snapshot_failed();
                    // What does not replay, or reads other than it was written, is for a person to look at.
                    if error.is_damage() {
                        tracing::error!("{error}; run `auth-engine journal verify` on a copy");
                    } else {
                        tracing::warn!("{error}; no snapshot for now, a start would replay more");
                    }
                    self.rest(AGAIN_AFTER);
                }
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn rest(&self, span: Duration) {
        let until = Instant::now() + span;
        while !self.stopped() && Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether a start from the last snapshot would take longer than it may.
    fn is_due(&self) -> bool {
        let closed = self.reader.closed_segments();
        let end = self.reader.first_seq_of(closed.saturating_add(1)).map_or(0, |first| first.saturating_sub(1));
        #[allow(clippy::cast_precision_loss)] // an estimate
        let tail = self.reader.durable_seq().saturating_sub(self.covered) as f64;
        end > self.covered && tail / self.rate >= self.recovery_time.as_secs_f64()
    }

    fn turn(&mut self) -> Result<(), JournalError> {
        if self.is_due() {
            let began = Instant::now();
            let made = snapshot::make(&self.reader, self.direct, &mut pace(&self.stop))?;
            if let Some(made) = made {
                self.covered = made.last_seq;
                names::snapshot_made(began.elapsed(), made.last_seq);
                tracing::info!(
                    snapshot = %made.path.display(),
                    last_seq = made.last_seq,
                    events = made.events,
                    seconds = began.elapsed().as_secs_f32(),
                    "a snapshot was made"
                );
            } else {
                self.covered = self.reader.durable_seq();
            }
        }
        self.archive()
    }

    /// Archives what even a start from the older snapshot does not read.
    fn archive(&mut self) -> Result<(), JournalError> {
        let Some(shelves) = &self.shelves else { return Ok(()) };
        let kept = list_snapshots(self.reader.disk(), self.reader.dir())?;
        let Some((_, oldest)) = kept.get(1) else { return Ok(()) };
        let last = Snapshot::open(self.reader.disk(), oldest)?.head().segment;
        while self.archived < last {
            let segment = self.archived + 1;
            if shelves.archive(segment, &mut pace(&self.stop))? {
                names::segment_archived();
                tracing::info!(segment, "a closed segment was archived");
            }
            self.archived = segment;
        }
        Ok(())
    }
}

/// Waits in proportion to what was written, and says whether to go on.
fn pace(stop: &AtomicBool) -> impl FnMut(usize) -> bool + use<'_> {
    let mut written = 0;
    move |bytes| {
        written += bytes;
        while written >= BYTES_A_PAUSE && !stop.load(Ordering::Relaxed) {
            written -= BYTES_A_PAUSE;
            std::thread::sleep(PAUSE);
        }
        !stop.load(Ordering::Relaxed)
    }
}
