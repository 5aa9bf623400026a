//! Counting around the engine: what the loop measures and what the engine counted, given to the metrics.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ledger_core::id::Thing;
use metrics::{Counter, Histogram};

use super::clock::mono_us;
use crate::engine::{Engine, Stamp};
use crate::telemetry::names;
use crate::telemetry::{FundingLabel, OutcomeLabel, ShardMetrics, Stage};

const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// The shard's meter.
pub struct Meter {
    shard: ShardMetrics,
    links: usize,
    partners: HashMap<(u32, &'static str), Counter>,
    latencies: HashMap<u32, Histogram>,
    synced_us: i64,
    seen_stalls: u64,
    last_flush: Instant,
}

impl Meter {
    /// A meter over links with these names.
    ///
    /// # Errors
    /// The telemetry thread cannot be started.
    pub fn start(links: &[String]) -> std::io::Result<Self> {
        Ok(Self {
            shard: ShardMetrics::start(links)?,
            links: links.len(),
            partners: HashMap::new(),
            latencies: HashMap::new(),
            synced_us: 0,
            seen_stalls: 0,
            last_flush: Instant::now(),
        })
    }

    /// One message was decoded and decided.
    pub(super) fn decided(&mut self, queued: Duration, decode: Duration, decide: Duration) {
        self.shard.stage(Stage::Queue, queued);
        self.shard.stage(Stage::Decode, decode);
        self.shard.stage(Stage::Decide, decide);
    }

    /// A block became durable.
    pub(super) fn synced(&mut self, took: Duration, events: usize, bytes: u64) {
        self.shard.journal_batch(took, events, bytes);
        self.shard.stage(Stage::Journal, took);
        self.synced_us = mono_us(Instant::now());
    }

    /// A reply left.
    pub(super) fn replied(&mut self, stamp: Stamp, now_us: i64) {
        if stamp.tap {
            self.shard.stage(Stage::Total, micros(now_us - stamp.since_us));
            self.shard.stage(Stage::Reply, micros(now_us - self.synced_us));
        }
    }

    /// The wall clock stepped.
    pub(super) fn clock_step(&mut self) {
        names::clock_step();
    }

    /// Takes what the engine counted.
    pub(super) fn read(&mut self, engine: &mut Engine) {
        for link in 0..self.links {
            self.shard.in_flight(link, engine.in_flight(link));
        }
        self.shard.book(engine.book().cards().len(), engine.book().open_holds());
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
        for (link, mti) in counters.requests.drain(..) {
            self.shard.request(link, decimal(mti));
        }
        for decided in counters.decisions.drain(..) {
            self.shard.decision(outcome_label(decided.outcome), decided.reason, funding_label(decided.funding));
        }
        for (link, reason) in counters.dropped.drain(..) {
            self.shard.frame_rejected(link, reason);
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
            self.shard.stage(Stage::Partner, micros(latency_us));
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
