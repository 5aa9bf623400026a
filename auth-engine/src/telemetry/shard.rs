//! The shard's own counters: plain integers on its thread, handed to the telemetry thread a few times a second.
//!
//! Counting a tap must cost nanoseconds and never allocate or lock once its labels were seen. This file must
//! never call the facade from the shard's thread, but for the making of handles at a flush.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, TrySendError, bounded};
use metrics::{counter, gauge, histogram};

use super::names;

/// How often the counters are handed over.
const EVERY: Duration = Duration::from_millis(100);

/// The stages of `auth_tap_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Frame to message.
    Decode,
    /// Frame in to the start of its decoding.
    Queue,
    /// Message to command, decide, apply, append.
    Decide,
    /// Ask to answer or deadline.
    Partner,
    /// Decided to durable.
    Journal,
    /// Durable to handed to the kernel.
    Reply,
    /// Frame in to reply handed to the kernel.
    Total,
}

const STAGES: [&str; 7] = ["decode", "queue", "decide", "partner", "journal", "reply", "total"];

/// The `outcome` label of `auth_decisions_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeLabel {
    /// Approved in full.
    Approved,
    /// Approved in part.
    Partial,
    /// Declined.
    Declined,
    /// Neither: the answer could not be sent in time.
    None,
}

impl OutcomeLabel {
    fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Partial => "partial",
            Self::Declined => "declined",
            Self::None => "none",
        }
    }
}

/// The `funding` label of `auth_decisions_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FundingLabel {
    /// A partner's pool.
    Pool,
    /// A user's account.
    Account,
    /// The partner chooses.
    PartnerChoice,
    /// Refused before the card was known.
    None,
}

impl FundingLabel {
    fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Account => "account",
            Self::PartnerChoice => "partner_choice",
            Self::None => "none",
        }
    }
}

/// The MTIs that have a label of their own, sorted; all others are `other`.
const MTIS: [(u16, &str); 30] = [
    (100, "0100"),
    (101, "0101"),
    (110, "0110"),
    (120, "0120"),
    (121, "0121"),
    (130, "0130"),
    (180, "0180"),
    (190, "0190"),
    (200, "0200"),
    (201, "0201"),
    (210, "0210"),
    (220, "0220"),
    (221, "0221"),
    (230, "0230"),
    (302, "0302"),
    (312, "0312"),
    (400, "0400"),
    (401, "0401"),
    (410, "0410"),
    (420, "0420"),
    (421, "0421"),
    (430, "0430"),
    (600, "0600"),
    (610, "0610"),
    (620, "0620"),
    (630, "0630"),
    (800, "0800"),
    (810, "0810"),
    (820, "0820"),
    (830, "0830"),
];
const OTHER: usize = MTIS.len();

/// Durations by size: sixteen steps an octave, so that a value is told within 3 %, in bounded memory.
#[derive(Debug, Clone)]
struct Durations {
    counts: Vec<u32>,
    any: bool,
}

const STEPS: u32 = 16;
/// 2^36 ns is 68 s: longer than any budget.
const OCTAVES: u32 = 36;

impl Durations {
    fn new() -> Self {
        Self { counts: vec![0; (STEPS * (OCTAVES + 1)) as usize], any: false }
    }

    fn record(&mut self, took: Duration) {
        self.record_ns(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn record_ns(&mut self, nanos: u64) {
        let nanos = nanos.clamp(u64::from(STEPS), (1 << OCTAVES) - 1);
        let octave = nanos.ilog2();
        // The four bits behind the leading one.
        let step = (nanos >> (octave - 4)) & u64::from(STEPS - 1);
        let at = (octave * STEPS) as usize + step as usize;
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
            self.any = true;
        }
    }

    fn drain_into(&mut self, to: &metrics::Histogram) {
        if !std::mem::take(&mut self.any) {
            return;
        }
        for (at, count) in self.counts.iter_mut().enumerate() {
            if *count > 0 {
                let (octave, step) = (at / STEPS as usize, at % STEPS as usize);
                let nanos = (1_u64 << octave) as f64 * (1.0 + (step as f64 + 0.5) / f64::from(STEPS));
                to.record_many(nanos / 1e9, std::mem::take(count) as usize);
            }
        }
    }
}

/// What was counted since the last hand-over.
#[derive(Debug)]
struct Tally {
    requests: Vec<[u64; MTIS.len() + 1]>,
    decisions: HashMap<(OutcomeLabel, &'static str, FundingLabel), u64>,
    rejected: HashMap<(usize, &'static str), u64>,
    shed: HashMap<&'static str, u64>,
    late: u64,
    stages: [Durations; STAGES.len()],
    sync: Durations,
    /// Batches by the power of two at or above their number of events.
    batches: [u32; 24],
    journal_bytes: u64,
    in_flight: Vec<u64>,
    cards: u64,
    open_holds: u64,
}

impl Tally {
    fn new(links: usize) -> Self {
        Self {
            requests: vec![[0; MTIS.len() + 1]; links],
            decisions: HashMap::new(),
            rejected: HashMap::new(),
            shed: HashMap::new(),
            late: 0,
            stages: std::array::from_fn(|_| Durations::new()),
            sync: Durations::new(),
            batches: [0; 24],
            journal_bytes: 0,
            in_flight: vec![0; links],
            cards: 0,
            open_holds: 0,
        }
    }

    /// Gives everything to the facade and starts again from zero; gauges stay.
    fn drain(&mut self, links: &[String]) {
        for (link, counts) in links.iter().zip(&mut self.requests) {
            for (at, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
                let mti = MTIS.get(at).map_or("other", |(_, label)| label);
                counter!(names::REQUESTS, "link" => link.clone(), "mti" => mti).increment(std::mem::take(count));
            }
        }
        for ((outcome, reason, funding), count) in self.decisions.iter_mut().filter(|(_, count)| **count > 0) {
            counter!(names::DECISIONS, "outcome" => outcome.word(), "reason" => *reason, "funding" => funding.word())
                .increment(std::mem::take(count));
        }
        for ((link, reason), count) in self.rejected.iter_mut().filter(|(_, count)| **count > 0) {
            let link = links.get(*link).cloned().unwrap_or_default();
            counter!(names::FRAMES_REJECTED, "link" => link, "reason" => *reason).increment(std::mem::take(count));
        }
        for (reason, count) in self.shed.iter_mut().filter(|(_, count)| **count > 0) {
            counter!(names::SHED, "reason" => *reason).increment(std::mem::take(count));
        }
        counter!(names::LATE_REPLIES).increment(std::mem::take(&mut self.late));
        for (stage, durations) in STAGES.into_iter().zip(&mut self.stages) {
            durations.drain_into(&histogram!(names::TAP_SECONDS, "stage" => stage));
        }
        self.sync.drain_into(&histogram!(names::JOURNAL_SYNC_SECONDS));
        let batches = histogram!(names::JOURNAL_BATCH_EVENTS);
        for (power, count) in self.batches.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            batches.record_many((1_u64 << power) as f64, std::mem::take(count) as usize);
        }
        counter!(names::JOURNAL_BYTES).increment(std::mem::take(&mut self.journal_bytes));
        for (link, count) in links.iter().zip(&self.in_flight) {
            gauge!(names::LINK_IN_FLIGHT, "link" => link.clone()).set(*count as f64);
        }
        gauge!(names::BOOK_CARDS).set(self.cards as f64);
        gauge!(names::BOOK_OPEN_HOLDS).set(self.open_holds as f64);
    }
}

/// Counters of one shard. Owned by its thread; call [`ShardMetrics::flush_if_due`] once a batch, and once
/// more before the thread goes idle while [`ShardMetrics::dirty`].
#[derive(Debug)]
pub struct ShardMetrics {
    tally: Box<Tally>,
    spare: crossbeam::channel::Receiver<Box<Tally>>,
    full: Sender<Box<Tally>>,
    last_flush: Instant,
    dirty: bool,
}

impl ShardMetrics {
    /// Counters for links with these names, in the order of their numbers, and the thread that gives them to
    /// the facade; it ends when this is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(links: &[String]) -> std::io::Result<Self> {
        // Two tallies take turns: one counts while the other is given away. A slow telemetry thread delays
        // the numbers, never the shard.
        let (full, drain) = bounded::<Box<Tally>>(1);
        let (give_back, spare) = bounded(1);
        let names = links.to_vec();
        let mut first = Box::new(Tally::new(links.len()));
        std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            crate::priority::idle_anywhere();
            first.drain(&names);
            let mut next = Some(first);
            loop {
                if let Some(tally) = next.take()
                    && give_back.send(tally).is_err()
                {
                    return;
                }
                let Ok(mut tally) = drain.recv() else { return };
                tally.drain(&names);
                next = Some(tally);
            }
        })?;
        let tally = Box::new(Tally::new(links.len()));
        Ok(Self { tally, spare, full, last_flush: Instant::now(), dirty: false })
    }

    /// Messages of one type came in. `mti` as a number: 100 for `0100`.
    pub fn requests(&mut self, link: usize, mti: u16, messages: usize) {
        let at = MTIS.binary_search_by_key(&mti, |(number, _)| *number).unwrap_or(OTHER);
        if let Some(count) = self.tally.requests.get_mut(link).and_then(|counts| counts.get_mut(at)) {
            *count += messages as u64;
        }
        self.dirty = true;
    }

    /// Requests were decided alike.
    pub fn decisions(&mut self, outcome: OutcomeLabel, reason: &'static str, funding: FundingLabel, requests: usize) {
        *self.tally.decisions.entry((outcome, reason, funding)).or_default() += requests as u64;
        self.dirty = true;
    }

    /// A frame could not be used as a message; what the switch refuses it counts itself.
    pub fn frame_rejected(&mut self, link: usize, reason: &'static str) {
        *self.tally.rejected.entry((link, reason)).or_default() += 1;
        self.dirty = true;
    }

    /// A request was refused at the door.
    pub fn shed(&mut self, reason: &'static str) {
        *self.tally.shed.entry(reason).or_default() += 1;
        self.dirty = true;
    }

    /// A reply was not sent because it would have been late.
    pub fn late_reply_suppressed(&mut self) {
        self.tally.late += 1;
        self.dirty = true;
    }

    /// How many nanoseconds a stage of a tap took.
    pub fn stage(&mut self, stage: Stage, nanos: u64) {
        let at = match stage {
            Stage::Decode => 0,
            Stage::Queue => 1,
            Stage::Decide => 2,
            Stage::Partner => 3,
            Stage::Journal => 4,
            Stage::Reply => 5,
            Stage::Total => 6,
        };
        if let Some(durations) = self.tally.stages.get_mut(at) {
            durations.record_ns(nanos);
        }
        self.dirty = true;
    }

    /// A batch became durable: how long write and sync took, its events, its bytes with padding.
    pub fn journal_batch(&mut self, took: Duration, events: usize, bytes: u64) {
        self.tally.sync.record(took);
        let power = events.max(1).next_power_of_two().ilog2() as usize;
        let last = self.tally.batches.len() - 1;
        if let Some(count) = self.tally.batches.get_mut(power.min(last)) {
            *count = count.saturating_add(1);
        }
        self.tally.journal_bytes += bytes;
        self.dirty = true;
    }

    /// Requests of a link that wait for their reply.
    pub fn in_flight(&mut self, link: usize, count: usize) {
        if let Some(place) = self.tally.in_flight.get_mut(link) {
            *place = count as u64;
        }
        self.dirty = true;
    }

    /// Sizes of the book.
    pub fn book(&mut self, cards: usize, open_holds: usize) {
        self.tally.cards = cards as u64;
        self.tally.open_holds = open_holds as u64;
        self.dirty = true;
    }

    /// Whether something was counted that was not handed over yet.
    #[must_use]
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// Hands the counters over when a tenth of a second has passed since the last time; never waits.
    pub fn flush_if_due(&mut self, now: Instant) {
        if self.dirty && now.saturating_duration_since(self.last_flush) >= EVERY {
            self.last_flush = now;
            self.flush();
        }
    }

    /// Hands the counters over now, unless the last ones are still being given away; never waits.
    pub fn flush(&mut self) {
        let Ok(mut spare) = self.spare.try_recv() else {
            return;
        };
        spare.in_flight.clone_from(&self.tally.in_flight);
        (spare.cards, spare.open_holds) = (self.tally.cards, self.tally.open_holds);
        match self.full.try_send(std::mem::replace(&mut self.tally, spare)) {
            Ok(()) => self.dirty = false,
            // There is room whenever there is a spare; should the thread be gone, counting goes on for nobody.
            Err(TrySendError::Full(tally) | TrySendError::Disconnected(tally)) => self.tally = tally,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_within_three_percent_and_never_out_of_bounds() {
        for nanos in [0, 1, 15, 16, 17, 999, 150_000, 1 << 35, (1 << 36) - 1, 1 << 36, u64::MAX] {
            let mut durations = Durations::new();
            durations.record(Duration::from_nanos(nanos));
            assert_eq!(durations.counts.iter().sum::<u32>(), 1, "{nanos}");
            let at = durations.counts.iter().position(|count| *count == 1).unwrap_or_default();
            let told = (1_u64 << (at / 16)) as f64 * (1.0 + ((at % 16) as f64 + 0.5) / 16.0);
            let real = nanos.clamp(16, (1 << 36) - 1) as f64;
            assert!((told - real).abs() / real < 0.035, "{nanos} told as {told}");
        }
    }

    #[test]
    fn mtis_are_sorted_and_read_as_written() {
        assert!(MTIS.is_sorted_by_key(|(number, _)| *number));
        assert!(MTIS.iter().all(|(number, label)| format!("{number:04}") == *label));
    }
}
