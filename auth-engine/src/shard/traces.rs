//! Where each tap's time went: one small record of moments for each authorization, in a ring of fixed size.
//!
//! It lives on the shard's thread and is read there, between batches: no lock, and no allocation after the start. It
//! must never read a clock; moments are arguments. What the moments mean stands in `docs/operations.md`.

use std::time::Instant;

use ledger_core::id::No;

/// The fewest records of a ring that keeps any: a number of 48 bits divided by this fits the 32 bits of a lap.
const LEAST: u64 = 1 << 16;
/// Nanoseconds of a tick are two to this power: 32 bits of ticks are 68 s, longer than any budget.
const TICK_BITS: u32 = 4;
/// The places of a record: the lap, then the moments.
const PLACES: usize = 11;
const LAP: usize = 0;

/// What happened to a tap, in the order of its happening. The number is its place in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
enum Mark {
    /// The earliest moment its frame can have been waiting.
    Since = 1,
    /// Its decoding began.
    Begun = 2,
    /// It was decoded.
    Decoded = 3,
    /// It was decided, or its hold was and its partner is to be asked.
    Decided = 4,
    /// The ask was handed to the client.
    Asked = 5,
    /// The answer was there, or was waited for no longer.
    Answered = 6,
    /// The answer's turn came.
    Resumed = 7,
    /// The answer was decided upon.
    Concluded = 8,
    /// The block was durable.
    Durable = 9,
    /// The reply was handed to the kernel.
    Written = 10,
}

/// Moments in ticks, at [`Mark`]; zero is not yet. A tick is never zero, see [`Traces::tick`].
type Record = [u32; PLACES];

/// The records of the last authorizations.
#[derive(Debug)]
pub struct Traces {
    zero: Instant,
    /// Where a number's record is: its low bits. The others are the lap that tells it from older ones.
    records: Vec<Record>,
    bits: u32,
    /// Of the last message, since frames of one read have the age of that read, and one message begins when another is
    /// done: a conversion costs as much as all else that a record costs.
    last: Ticks,
}

/// Moments that were converted, with their ticks.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    since: (Instant, u32),
    decoded: (Instant, u32),
    decided: (Instant, u32),
}

/// When a message's steps were taken, from the loop that took them.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// The earliest moment its frame can have been waiting.
    pub since: Instant,
    /// Its decoding began.
    pub begun: Instant,
    /// It was decoded.
    pub decoded: Instant,
    /// It was decided.
    pub decided: Instant,
}

/// A part of an authorization's way, as `auth_tap_seconds` calls it, or the waits between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Waiting for its decoding.
    Queue,
    /// Decoding.
    Decode,
    /// Message to command, decide, apply, append, encode; for a tap that asked, twice.
    Decide,
    /// Waiting between a decision and the ask, or between the answer and its turn.
    Wait,
    /// The ask.
    Partner,
    /// Waiting for the batch, its write and its sync.
    Journal,
    /// Durable to handed to the kernel.
    Reply,
}

/// One part with its place on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Which.
    pub part: Part,
    /// Nanoseconds from the way's beginning.
    pub start_ns: u64,
    /// How long it took.
    pub ns: u64,
}

/// The way of one authorization as far as it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace(Record);

impl Traces {
    /// A ring of at least so many records, none for zero. Its memory is taken as it is used.
    #[must_use]
    pub fn new(records: u64) -> Self {
        let size = if records == 0 { 0 } else { records.max(LEAST).next_power_of_two() };
        let zero = Instant::now();
        // The tick of the zero itself, as `tick` has it.
        let first = (zero, 1);
        Self {
            zero,
            last: Ticks { since: first, decoded: first, decided: first },
            records: vec![[0; PLACES]; usize::try_from(size).unwrap_or(0)],
            bits: size.max(1).ilog2(),
        }
    }

    /// True when nothing is recorded.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.records.is_empty()
    }

    /// How many authorizations it can hold.
    #[must_use]
    pub fn room(&self) -> usize {
        self.records.len()
    }

    /// An authorization was made by a message that took these steps.
    pub(super) fn begin(&mut self, no: No, steps: &Steps) {
        let last = self.last;
        let tick = |at: Instant, known: &[(Instant, u32)]| {
            known.iter().find(|(known, _)| *known == at).map_or_else(|| self.tick(at), |(_, tick)| *tick)
        };
        let since = tick(steps.since, &[last.since]);
        let begun = tick(steps.begun, &[last.decoded, last.decided]);
        let (decoded, decided) = (self.tick(steps.decoded), self.tick(steps.decided));
        let (at, lap) = self.place(no);
        if let Some(record) = self.records.get_mut(at) {
            *record = [lap, since, begun, decoded, decided, 0, 0, 0, 0, 0, 0];
        }
        self.last =
            Ticks { since: (steps.since, since), decoded: (steps.decoded, decoded), decided: (steps.decided, decided) };
    }

    /// Its partner is being asked.
    pub(super) fn asked(&mut self, no: No, at: Instant) {
        let tick = self.tick(at);
        // What was decided by another message before the ask left did not wait for it.
        if let Some(record) = self.record(no).filter(|record| record[Mark::Concluded as usize] == 0) {
            record[Mark::Asked as usize] = tick;
        }
    }

    /// What it asked for is decided upon.
    pub(super) fn concluded(&mut self, no: No, answered: Instant, resumed: Instant, concluded: Instant) {
        let ticks = [answered, resumed, concluded].map(|at| self.tick(at));
        if let Some(record) = self.record(no) {
            record[Mark::Answered as usize] = ticks[0];
            record[Mark::Resumed as usize] = ticks[1];
            record[Mark::Concluded as usize] = ticks[2];
        }
    }

    /// Its reply left in a batch that was durable and written then, both as [`Traces::tick`] tells. The trace is
    /// whole now.
    pub(super) fn written(&mut self, no: No, durable: u32, written: u32) -> Option<Trace> {
        let record = self.record(no)?;
        record[Mark::Durable as usize] = durable;
        record[Mark::Written as usize] = written;
        Some(Trace(*record))
    }

    /// The trace of an authorization that the ring still has.
    #[must_use]
    pub fn read(&self, no: No) -> Option<Trace> {
        let (at, lap) = self.place(no);
        self.records.get(at).filter(|record| record[LAP] == lap).map(|record| Trace(*record))
    }

    /// A moment in ticks, never zero. It comes round after 68 s: only differences mean anything.
    pub(super) fn tick(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.zero);
        let nanos = since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(since.subsec_nanos()));
        // The low 32 bits are the tick: what is above has come round.
        ((nanos >> TICK_BITS) as u32).max(1)
    }

    fn record(&mut self, no: No) -> Option<&mut Record> {
        let (at, lap) = self.place(no);
        self.records.get_mut(at).filter(|record| record[LAP] == lap)
    }

    /// Where a number's record is, and its lap, counted from one: zero is a record never used.
    fn place(&self, no: No) -> (usize, u32) {
        let at = no & ((1 << self.bits) - 1);
        (usize::try_from(at).unwrap_or(usize::MAX), ((no >> self.bits) as u32).wrapping_add(1))
    }
}

impl Trace {
    /// Nanoseconds of each stage of a whole trace.
    pub(super) fn sums(&self) -> Sums {
        let asked = self.0[Mark::Asked as usize] != 0;
        let second = if asked { self.between(Mark::Resumed, Mark::Concluded) } else { 0 };
        let last = if asked { Mark::Concluded } else { Mark::Decided };
        Sums {
            queue: self.between(Mark::Since, Mark::Begun),
            decode: self.between(Mark::Begun, Mark::Decoded),
            decide: self.between(Mark::Decoded, Mark::Decided) + second,
            partner: asked.then(|| self.between(Mark::Asked, Mark::Answered)),
            journal: self.between(last, Mark::Durable),
            reply: self.between(Mark::Durable, Mark::Written),
            total: self.between(Mark::Since, Mark::Written),
        }
    }

    /// From the first moment to the reply handed to the kernel; none while no reply has left.
    #[must_use]
    pub fn total_ns(&self) -> Option<u64> {
        self.has(Mark::Written).then(|| self.between(Mark::Since, Mark::Written))
    }

    /// Its partner's share; none when nobody was asked or the answer is not there.
    #[must_use]
    pub fn partner_ns(&self) -> Option<u64> {
        (self.has(Mark::Asked) && self.has(Mark::Answered)).then(|| self.between(Mark::Asked, Mark::Answered))
    }

    /// True when its partner was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.has(Mark::Asked)
    }

    /// The parts that are over, in their order; each begins where the one before ended, so that they add up.
    #[must_use]
    pub fn intervals(&self) -> Vec<Interval> {
        const DIRECT: &[(Part, Mark)] = &[
            (Part::Queue, Mark::Begun),
            (Part::Decode, Mark::Decoded),
            (Part::Decide, Mark::Decided),
            (Part::Journal, Mark::Durable),
            (Part::Reply, Mark::Written),
        ];
        const ASKED: &[(Part, Mark)] = &[
            (Part::Queue, Mark::Begun),
            (Part::Decode, Mark::Decoded),
            (Part::Decide, Mark::Decided),
            (Part::Wait, Mark::Asked),
            (Part::Partner, Mark::Answered),
            (Part::Wait, Mark::Resumed),
            (Part::Decide, Mark::Concluded),
            (Part::Journal, Mark::Durable),
            (Part::Reply, Mark::Written),
        ];
        let mut from = Mark::Since;
        let mut intervals = Vec::with_capacity(ASKED.len());
        for (part, to) in if self.asked() { ASKED } else { DIRECT } {
            if !self.has(*to) {
                break;
            }
            let start_ns = self.between(Mark::Since, from);
            intervals.push(Interval { part: *part, start_ns, ns: self.between(from, *to) });
            from = *to;
        }
        intervals
    }

    fn has(&self, mark: Mark) -> bool {
        self.0[mark as usize] != 0
    }

    fn between(&self, from: Mark, to: Mark) -> u64 {
        // In the order of marks no moment is before the one it follows; ticks that come round are taken along.
        u64::from(self.0[to as usize].wrapping_sub(self.0[from as usize])) << TICK_BITS
    }
}

/// Nanoseconds of each stage of a whole trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) queue: u64,
    pub(super) decode: u64,
    pub(super) decide: u64,
    /// None when nobody was asked.
    pub(super) partner: Option<u64>,
    pub(super) journal: u64,
    pub(super) reply: u64,
    pub(super) total: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(traces: &Traces, us: u64) -> Instant {
        traces.zero + Duration::from_micros(us)
    }

    fn steps(traces: &Traces, from_us: u64) -> Steps {
        let [since, begun, decoded, decided] = [0, 8, 16, 32].map(|us| at(traces, from_us + us));
        Steps { since, begun, decoded, decided }
    }

    fn told(trace: &Trace) -> Vec<(Part, u64)> {
        trace.intervals().iter().map(|one| (one.part, one.ns / 1_000)).collect()
    }

    /// A tap decided at once, its block durable and written as many microseconds after its frame.
    fn direct(traces: &mut Traces, no: No, from_us: u64) -> Trace {
        traces.begin(no, &steps(traces, from_us));
        let ticks = [232, 272].map(|us| traces.tick(at(traces, from_us + us)));
        traces.written(no, ticks[0], ticks[1]).expect("its record")
    }

    #[test]
    fn the_parts_of_a_tap_decided_at_once_add_up() {
        let mut traces = Traces::new(1);
        let trace = direct(&mut traces, 7, 1_000);
        let parts = [(Part::Queue, 8), (Part::Decode, 8), (Part::Decide, 16), (Part::Journal, 200), (Part::Reply, 40)];
        assert_eq!(told(&trace), parts);
        assert_eq!((trace.total_ns(), trace.partner_ns(), trace.asked()), (Some(272_000), None, false));
        let sums = trace.sums();
        assert_eq!(sums.queue + sums.decode + sums.decide + sums.journal + sums.reply, sums.total);
    }

    #[test]
    fn a_tap_that_asks_is_told_as_far_as_it_went_and_then_adds_up_with_its_waits() {
        let mut traces = Traces::new(1);
        traces.begin(7, &steps(&traces, 1_000));
        traces.asked(7, at(&traces, 1_048));
        let so_far = traces.read(7).expect("its record");
        let parts = [(Part::Queue, 8), (Part::Decode, 8), (Part::Decide, 16), (Part::Wait, 16)];
        assert_eq!(told(&so_far), parts);
        assert_eq!((so_far.total_ns(), so_far.partner_ns(), so_far.asked()), (None, None, true));

        traces.concluded(7, at(&traces, 51_048), at(&traces, 51_064), at(&traces, 51_096));
        let ticks = [51_296, 51_320].map(|us| traces.tick(at(&traces, us)));
        let whole = traces.written(7, ticks[0], ticks[1]).expect("its record");
        let intervals = whole.intervals();
        assert_eq!(intervals.len(), 9);
        assert_eq!(intervals.iter().map(|one| one.ns).sum::<u64>(), 50_320_000);
        assert_eq!((whole.total_ns(), whole.partner_ns()), (Some(50_320_000), Some(50_000_000)));
        let sums = whole.sums();
        assert_eq!((sums.decide, sums.partner, sums.journal), (48_000, Some(50_000_000), 200_000));
    }

    #[test]
    fn a_number_that_was_overtaken_or_never_traced_has_no_trace() {
        let mut traces = Traces::new(1);
        let room = u64::try_from(traces.room()).expect("a number");
        assert_eq!(traces.read(0), None);
        assert_eq!(traces.read(7), None);
        direct(&mut traces, 7, 0);
        assert!(traces.read(7).is_some());
        assert_eq!(traces.read(7 + room), None, "the same place, another lap");
        direct(&mut traces, 7 + room, 0);
        assert_eq!(traces.read(7), None);
        traces.concluded(7, at(&traces, 1), at(&traces, 1), at(&traces, 1));
        assert_eq!(traces.written(7, 1, 1), None, "an overtaken record is left alone");
    }

    #[test]
    fn time_that_comes_round_is_told_as_it_passed() {
        let mut traces = Traces::new(1);
        let round_us = (1_u64 << (32 + TICK_BITS)) / 1_000;
        let trace = direct(&mut traces, 7, round_us - 50);
        assert_eq!(trace.total_ns().map(|ns| ns.next_multiple_of(16) / 1_000), Some(272));
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let mut traces = Traces::new(0);
        assert!(traces.is_off());
        traces.begin(7, &steps(&traces, 0));
        assert_eq!(traces.read(7), None);
        assert_eq!(Traces::new(100_000).room(), 131_072);
    }
}
