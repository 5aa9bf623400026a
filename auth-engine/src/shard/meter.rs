//! Counting around the engine: what the loop measures and what the engine counted, given to the metrics.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ledger_core::id::{No, Thing};
use metrics::{Counter, Histogram};

use super::traces::{Steps, Traces};
use crate::engine::{Decided, Engine, Stamp};
use crate::telemetry::names;
use crate::telemetry::{FundingLabel, OutcomeLabel, ShardMetrics, Stage};

const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// The shard's meter.
pub struct Meter {
    shard: ShardMetrics,
    links: Vec<String>,
    partners: HashMap<(u32, &'static str), Counter>,
    latencies: HashMap<u32, Histogram>,
    traces: Traces,
    /// When the last block became durable.
    durable_at: Instant,
    /// Whose replies wait for the next write.
    leaving: Vec<Stamp>,
    seen_stalls: u64,
    last_flush: Instant,
}

impl Meter {
    /// A meter over links with these names that keeps so many traces.
    ///
    /// # Errors
    /// The telemetry thread cannot be started.
    pub fn start(links: &[String], traces: u64) -> std::io::Result<Self> {
        Ok(Self {
            shard: ShardMetrics::start(links)?,
            links: links.to_vec(),
            partners: HashMap::new(),
            latencies: HashMap::new(),
            traces: Traces::new(traces),
            durable_at: Instant::now(),
            leaving: Vec::new(),
            seen_stalls: 0,
            last_flush: Instant::now(),
        })
    }

    /// The traces, for reads.
    pub(super) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// A message took these steps.
    pub fn decided(&mut self, engine: &mut Engine, steps: &Steps) {
        if let Some(no) = engine.progress().made.filter(|_| !self.traces.is_off()) {
            self.traces.begin(no, steps);
        }
        self.concluded(engine, steps.decoded, steps.decoded, steps.decided);
    }

    /// An ask was handed to the client.
    pub(super) fn asked(&mut self, no: No, at: Instant) {
        self.traces.asked(no, at);
    }

    /// What waited for a partner and was decided upon by the last call: when the answer was there, when its turn came,
    /// and when that was over.
    pub(super) fn concluded(&mut self, engine: &mut Engine, answered: Instant, resumed: Instant, concluded: Instant) {
        for no in engine.progress().concluded.drain(..) {
            self.traces.concluded(no, answered, resumed, concluded);
        }
    }

    /// A block became durable; its write and sync began then.
    pub fn synced(&mut self, began: Instant, events: usize, bytes: u64) {
        self.durable_at = Instant::now();
        self.shard.journal_batch(self.durable_at - began, events, bytes);
    }

    /// A reply was given to its connection, to be written with the others of its batch.
    pub fn leaves(&mut self, stamp: Stamp) {
        self.leaving.push(stamp);
    }

    /// What was given to connections is written.
    pub fn written(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let (durable, written) = (self.traces.tick(self.durable_at), self.traces.tick(Instant::now()));
        for stamp in self.leaving.drain(..) {
            let Some(trace) = self.traces.written(stamp.no, durable, written).filter(|_| stamp.tap) else { continue };
            let sums = trace.sums();
            self.shard.stage(Stage::Queue, sums.queue);
            self.shard.stage(Stage::Decode, sums.decode);
            self.shard.stage(Stage::Decide, sums.decide);
            if let Some(partner) = sums.partner {
                self.shard.stage(Stage::Partner, partner);
            }
            self.shard.stage(Stage::Journal, sums.journal);
            self.shard.stage(Stage::Reply, sums.reply);
            self.shard.stage(Stage::Total, sums.total);
        }
    }

    /// The wall clock stepped.
    pub(super) fn clock_step(&mut self) {
        names::clock_step();
    }

    /// Takes what the engine counted.
    pub fn read(&mut self, engine: &mut Engine) {
        for link in 0..self.links.len() {
            self.shard.in_flight(link, engine.in_flight(link));
        }
        self.shard.book(engine.book().cards().len() as usize, engine.book().open_holds());
        let stalls = engine.journal().stats().stalls.load(std::sync::atomic::Ordering::Relaxed);
        for _ in self.seen_stalls..stalls {
            names::journal_segment_stall();
        }
        self.seen_stalls = stalls;
        let mut outcomes = std::mem::take(&mut engine.counters().partner);
        for (partner, outcome, latency_us) in outcomes.drain(..) {
            self.partner(engine, partner, outcome, latency_us);
        }
        let counters = engine.counters();
        counters.partner = outcomes;
        // Most of a batch are alike, and those are counted at once.
        for alike in counters.requests.chunk_by(|a, b| a == b) {
            if let Some((link, mti)) = alike.first() {
                self.shard.requests(*link, decimal(*mti), alike.len());
            }
        }
        counters.requests.clear();
        for alike in counters.decisions.chunk_by(Decided::is_like) {
            if let Some(Decided { outcome, reason, funding }) = alike.first() {
                self.shard.decisions(outcome_label(outcome), reason, funding_label(funding), alike.len());
            }
        }
        counters.decisions.clear();
        for (link, reason) in counters.dropped.drain(..) {
            self.shard.frame_rejected(link, reason);
        }
        for (link, kind, result) in counters.originated.drain(..) {
            names::link_request(self.links.get(link).map_or("", String::as_str), kind, result);
        }
        for reason in counters.shed.drain(..) {
            self.shard.shed(reason);
        }
        for _ in 0..std::mem::take(&mut counters.late) {
            self.shard.late_reply_suppressed();
        }
        self.shard.flush_if_due(Instant::now());
    }

    fn partner(&mut self, engine: &Engine, partner: u32, outcome: &'static str, latency_us: i64) {
        let name = || engine.book().partner(partner).map_or_else(String::new, |p| p.id.text(Thing::Partner));
        self.partners
            .entry((partner, outcome))
            .or_insert_with(|| names::partner_decisions(&name(), outcome))
            .increment(1);
        if latency_us > 0 {
            let histogram = self.latencies.entry(partner).or_insert_with(|| names::partner_seconds(&name()));
            histogram.record(micros(latency_us).as_secs_f64());
        }
    }

    /// When the counters should be handed over although nothing happens.
    pub(super) fn next_flush(&self) -> Option<Instant> {
        self.shard.dirty().then(|| self.last_flush + FLUSH_EVERY)
    }

    /// Hands over what is due.
    pub(super) fn flush(&mut self, now: Instant) {
        if self.shard.dirty() && now.saturating_duration_since(self.last_flush) >= FLUSH_EVERY {
            self.last_flush = now;
            self.shard.flush();
        }
    }
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// `0x0100` to 100.
fn decimal(bcd: u16) -> u16 {
    (bcd >> 12) * 1_000 + ((bcd >> 8) & 15) * 100 + ((bcd >> 4) & 15) * 10 + (bcd & 15)
}

fn outcome_label(word: &str) -> OutcomeLabel {
    match word {
        "approved" => OutcomeLabel::Approved,
        "partial" => OutcomeLabel::Partial,
        "declined" => OutcomeLabel::Declined,
        _ => OutcomeLabel::None,
    }
}

fn funding_label(word: &str) -> FundingLabel {
    match word {
        "pool" => FundingLabel::Pool,
        "account" => FundingLabel::Account,
        "partner_choice" => FundingLabel::PartnerChoice,
        _ => FundingLabel::None,
    }
}
