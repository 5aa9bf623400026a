//! The thread that folds durable events into the view: lowest priority, large batches, its own pace. Owns catching up,
//! checking that the view belongs to this journal, and wiping what is damaged. Must never hold up a tap: whoever
//! notifies it stores a number and goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger_core::event::Event;
use ledger_core::journal::{Follower, OwnedRecord, Reader};
use ledger_core::time::Timestamp;

use super::fold::{Place, Requests};
use super::ingest::ingest;
use super::store::{self, Position, Rows, key};
use super::{View, ViewError};
use crate::telemetry::names;

/// Events asked for at once.
const BATCH: usize = 4_096;
/// Rows after which a batch is written, whatever is left of it.
const MAX_ROWS: usize = 40_000;
/// How long it waits after a fault before it tries again; doubles up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Durable events, in order, from wherever they are.
pub trait Source: Send {
    /// The events from sequence `from` on, about `most` of them; none when all that is durable was given.
    ///
    /// # Errors
    /// In words, when they cannot be read; the call is repeated.
    fn read_from(&mut self, from: u64, most: usize) -> Result<Vec<OwnedRecord>, String>;
}

/// The journal as a source.
pub struct JournalSource {
    reader: Reader,
    follower: Option<Follower>,
}

impl JournalSource {
    /// Reads what is durable in this journal.
    pub const fn new(reader: Reader) -> Self {
        Self { reader, follower: None }
    }
}

impl Source for JournalSource {
    fn read_from(&mut self, from: u64, most: usize) -> Result<Vec<OwnedRecord>, String> {
        let reader = &self.reader;
        let follower = match self.follower.take() {
            Some(follower) if follower.position() == from => self.follower.insert(follower),
            _ => self.follower.insert(reader.follow(from)),
        };
        let mut records = Vec::new();
        while records.len() < most {
            let Some(block) = follower.next_block().map_err(|e| e.to_string())? else { break };
            records.extend(block.iter().map(|r| OwnedRecord {
                seq: r.seq,
                at: r.at,
                epoch: r.epoch,
                payload: r.payload.to_vec(),
            }));
        }
        Ok(records)
    }
}

/// How long events gather before they are folded, unless a reader waits for one of them. Folding each commit by
/// itself took the disk and half a core from the taps: one tap in flight then took twice the floor's time.
const PACE: Duration = Duration::from_millis(50);

/// So many times as long as it folded, the feeder rests while taps go on and nobody waits for it: its pages share the
/// disk with the journal.
const REST: u32 = 4;

struct Signal {
    durable: AtomicU64,
    /// The thread has nothing to do and wants to be woken.
    idle: AtomicBool,
    stop: AtomicBool,
}

impl Signal {
    fn notify(&self, durable_seq: u64, thread: &std::thread::Thread) {
        self.durable.fetch_max(durable_seq, Ordering::AcqRel);
        // The rule is one system call per nap of the feeder, not one per commit.
        if self.idle.swap(false, Ordering::AcqRel) {
            thread.unpark();
        }
    }
}

/// The running thread. Dropping it stops the thread and waits for the batch at hand.
pub struct FeederHandle {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the feeder of commits; cheap to clone, for whoever syncs the journal.
#[derive(Clone)]
pub struct Notifier {
    signal: Arc<Signal>,
    thread: std::thread::Thread,
}

impl Notifier {
    /// Events up to `durable_seq` are durable. Never blocks.
    pub fn notify(&self, durable_seq: u64) {
        self.signal.notify(durable_seq, &self.thread);
    }
}

impl FeederHandle {
    /// Events up to `durable_seq` are durable. Never blocks.
    pub fn notify(&self, durable_seq: u64) {
        if let Some(thread) = &self.thread {
            self.signal.notify(durable_seq, thread.thread());
        }
    }

    /// The same for another thread; none once stopped.
    pub fn notifier(&self) -> Option<Notifier> {
        let thread = self.thread.as_ref()?.thread().clone();
        Some(Notifier { signal: Arc::clone(&self.signal), thread })
    }

    /// Stops after the batch at hand.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.signal.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was told already; the view is not the truth.
            let _ = thread.join();
        }
    }
}

impl Drop for FeederHandle {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn start(view: View, source: Box<dyn Source>, requests: Arc<dyn Requests>) -> FeederHandle {
    let signal =
        Arc::new(Signal { durable: AtomicU64::new(0), idle: AtomicBool::new(false), stop: AtomicBool::new(false) });
    let shared = Arc::clone(&view.shared);
    let feeder = Feeder { view, source, requests, signal: Arc::clone(&signal), checked: false, faults: 0 };
    let thread = std::thread::Builder::new().name("view".to_owned()).spawn(move || feeder.run());
    match thread {
        Ok(thread) => {
            // A second feeder of one view is a mistake that changes nothing here.
            let _ = shared.feeder.set(thread.thread().clone());
            FeederHandle { signal, thread: Some(thread) }
        }
        Err(error) => {
            tracing::error!(%error, "the read model's thread does not start: lists stay behind; restart the engine");
            FeederHandle { signal, thread: None }
        }
    }
}

struct Feeder {
    view: View,
    source: Box<dyn Source>,
    requests: Arc<dyn Requests>,
    signal: Arc<Signal>,
    /// The event at the view's position was found to be the journal's.
    checked: bool,
    /// Faults in a row.
    faults: u32,
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The events do not come: no fault of the files here, so they stay.
    #[error("the journal does not read: {0}")]
    Source(String),
    /// The files here; they are wiped.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// What a turn came to.
enum Turn {
    /// There may be more.
    More,
    /// All that was durable is folded in.
    Idle,
}

impl Feeder {
    fn run(mut self) {
        crate::priority::idle();
        let lag = names::view_lag();
        while !self.signal.stop.load(Ordering::Acquire) {
            let (began, durable) = (Instant::now(), self.signal.durable.load(Ordering::Acquire));
            let turn = if self.view.shared.damaged.swap(false, Ordering::AcqRel) {
                Err(Fault::View(ViewError::Damaged("a read found it so".to_owned())))
            } else {
                self.turn()
            };
            let behind = self.view.lag(self.signal.durable.load(Ordering::Acquire));
            lag.set(f64::from(u32::try_from(behind).unwrap_or(u32::MAX)));
            match turn {
                // Only a view that caught up has mended: one event that it cannot take would else be met again at once
                // after every wipe.
                Ok(Turn::More) => {
                    // Behind while taps go on: they get the disk for most of the time.
                    if self.signal.durable.load(Ordering::Acquire) > durable {
                        self.gather(began.elapsed() * REST);
                    }
                }
                Ok(Turn::Idle) => {
                    self.faults = 0;
                    let rest = began.elapsed() * REST;
                    self.nap();
                    self.gather(rest.max(PACE));
                }
                Err(error) => self.fault(&error),
            }
        }
        self.close();
    }

    /// Sleeps until something is durable.
    fn nap(&self) {
        let stopping = || self.signal.stop.load(Ordering::Acquire);
        let damaged = || self.view.shared.damaged.load(Ordering::Acquire);
        let caught_up = || self.signal.durable.load(Ordering::Acquire) <= self.view.position();
        while caught_up() && !stopping() && !damaged() {
            self.signal.idle.store(true, Ordering::Release);
            // A commit between the look above and the flag is seen by this second look.
            if caught_up() && !stopping() && !damaged() {
                std::thread::park();
            }
            self.signal.idle.store(false, Ordering::Release);
        }
    }

    /// Lets more gather; a reader that waits ends it.
    fn gather(&self, rest: Duration) {
        let stopping = || self.signal.stop.load(Ordering::Acquire);
        let wanted = || self.view.shared.wanted.load(Ordering::Acquire) > self.view.position();
        let damaged = || self.view.shared.damaged.load(Ordering::Acquire);
        let until = Instant::now() + rest;
        while !wanted() && !stopping() && !damaged() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    fn turn(&mut self) -> Result<Turn, Fault> {
        let position = *self.view.shared.position.borrow();
        if !self.checked {
            self.check(position)?;
            self.checked = true;
        }
        let records = self.source.read_from(position.seq + 1, BATCH).map_err(Fault::Source)?;
        if records.is_empty() {
            return Ok(Turn::Idle);
        }
        let more = records.len() >= BATCH;
        let db = self.db()?;
        let requests = Arc::clone(&self.requests);
        let mut rest = records.as_slice();
        let mut position = position;
        while !rest.is_empty() {
            let (taken, reached) = store::guarded(|| fold_batch(&db, &*requests, position, rest))?;
            position = reached;
            self.view.shared.position.send_replace(position);
            rest = rest.get(taken..).unwrap_or_default();
            if self.signal.stop.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(if more { Turn::More } else { Turn::Idle })
    }

    /// Refuses a view of another journal, or of one that was cut and written anew.
    fn check(&mut self, position: Position) -> Result<(), Fault> {
        if position.seq == 0 {
            return Ok(());
        }
        let records = self.source.read_from(position.seq, 1).map_err(Fault::Source)?;
        let same = records
            .first()
            .is_some_and(|r| r.seq == position.seq && Position::mark_of(r.at, r.epoch, &r.payload) == position.mark);
        if same { Ok(()) } else { Err(ViewError::Damaged("it belongs to another journal".to_owned()).into()) }
    }

    fn db(&self) -> Result<sled::Db, ViewError> {
        let slot = self.view.shared.db.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or(ViewError::Rebuilding)
    }

    fn fault(&mut self, fault: &Fault) {
        let position = self.view.position();
        tracing::warn!(error = %fault, position, "the read model cannot go on; taps are not affected");
        if let Fault::View(_) = fault
            && let Err(error) = self.wipe()
        {
            tracing::error!(%error, "the read model cannot be begun anew; free its directory");
        }
        if self.faults > 0 {
            let wait = RETRY.0.saturating_mul(1u32 << self.faults.min(16)).min(RETRY.1);
            std::thread::park_timeout(wait);
        }
        self.faults = self.faults.saturating_add(1);
    }

    /// Begins anew, from the journal's first event.
    fn wipe(&mut self) -> Result<(), ViewError> {
        let mut slot = self.view.shared.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        self.view.shared.position.send_replace(Position::default());
        self.checked = true;
        *slot = Some(self.view.shared.files.begin()?);
        Ok(())
    }

    fn close(&self) {
        if let Ok(db) = self.db()
            && let Err(error) = store::guarded(|| Ok(db.flush().map(drop)?))
        {
            tracing::warn!(%error, "the read model was not written out; it is folded again at the next start");
        }
    }
}

/// Folds as many of `records` as make one batch and writes it with the position they reach.
fn fold_batch(
    tree: &sled::Tree,
    requests: &dyn Requests,
    mut position: Position,
    records: &[OwnedRecord],
) -> Result<(usize, Position), ViewError> {
    let mut rows = Rows::over(tree);
    let mut taken = 0;
    let mut last = None;
    for record in records {
        taken += 1;
        // Events may come twice; what is folded in already is passed over.
        if record.seq <= position.seq {
            continue;
        }
        if record.seq != position.seq + 1 {
            return Err(ViewError::Storage(format!("event {} follows event {}", record.seq, position.seq)));
        }
        position.latest = position.latest.max(record.at);
        position.seq = record.seq;
        last = Some(record);
        let place = Place { seq: record.seq, at: Timestamp(record.at), epoch: record.epoch };
        match Event::decode(&record.payload) {
            Ok(event) => ingest(&mut rows, requests, place, Timestamp(position.latest), &event)?,
            // The book decoded it before it answered, so this engine cannot meet it; another reader of the journal
            // may. Lists without it are better than none.
            Err(error) => tracing::error!(%error, seq = record.seq, "an event does not decode; lists lack it"),
        }
        if rows.len() >= MAX_ROWS {
            break;
        }
    }
    if let Some(record) = last {
        position.mark = Position::mark_of(record.at, record.epoch, &record.payload);
        rows.put_bytes(key::POSITION.to_vec(), position.to_bytes());
        rows.commit()?;
    }
    Ok((taken, position))
}
