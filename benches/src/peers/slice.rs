//! Samples of a peer's turn, and what all its turns together say. It owns the sums over turns; it must never leave a
//! turn out.

use crate::measure::{histogram, median, micros};
use crate::result::{RunResult, Window};
use std::time::{Duration, Instant};

/// Windows in which the medians are taken, as the load generator takes them.
const WINDOW: Duration = Duration::from_millis(100);
/// Quantiles of the curve.
const CURVE: [f64; 12] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0];

/// One turn's samples.
#[derive(Debug, Default)]
pub(super) struct Slice {
    begun: Option<Instant>,
    /// When each was answered since the turn began, and how long it took, in nanoseconds.
    samples: Vec<(u64, u64)>,
    /// Answers that were not the expected one.
    pub(super) errors: u64,
    length: Duration,
}

impl Slice {
    /// Begins now.
    pub(super) fn begin() -> Slice {
        Slice { begun: Some(Instant::now()), ..Slice::default() }
    }

    /// An exchange that ended just now.
    pub(super) fn push(&mut self, took: Duration, good: bool) {
        self.length = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        self.samples.push((nanos(self.length), nanos(took).max(1)));
        self.errors += u64::from(!good);
    }

    /// Adds what another thread did in the same turn.
    pub(super) fn join(&mut self, other: Slice) {
        self.samples.extend(other.samples);
        self.errors += other.errors;
        self.length = self.length.max(other.length);
    }
}

/// All turns of one peer in one shape.
#[derive(Debug, Default)]
pub(super) struct Tally {
    took: Vec<u64>,
    windows: Vec<Window>,
    errors: u64,
    length: Duration,
}

impl Tally {
    /// Adds a turn.
    pub(super) fn add(&mut self, slice: Slice) {
        let mut samples = slice.samples;
        samples.sort_unstable();
        let width = nanos(WINDOW);
        for window in samples.chunk_by(|a, b| a.0 / width == b.0 / width) {
            let at = window.first().map_or(0, |(at, _)| at / width * width);
            // The last window of a turn is cut somewhere; the others are whole.
            if at + width > nanos(slice.length) {
                continue;
            }
            let times: Vec<u64> = window.iter().map(|(_, took)| *took).collect();
            let of = filled(&times);
            self.windows.push(Window {
                at_s: (self.length + Duration::from_nanos(at)).as_secs_f64(),
                replies: u64::try_from(times.len()).unwrap_or(u64::MAX),
                p50_us: micros(&of, 0.5),
                p99_us: micros(&of, 0.99),
            });
        }
        self.took.extend(samples.iter().map(|(_, took)| *took));
        self.errors += slice.errors;
        self.length += slice.length;
    }

    /// The figures.
    pub(super) fn result(&self, name: &str, shape: &str) -> RunResult {
        let all = filled(&self.took);
        let answered = u64::try_from(self.took.len()).unwrap_or(u64::MAX);
        let rate = self.took.len() as f64 / self.length.as_secs_f64().max(1e-9);
        RunResult {
            name: name.to_owned(),
            rate_per_s: rate,
            sent: answered,
            answered,
            errors: self.errors,
            p50_us: micros(&all, 0.5),
            p90_us: micros(&all, 0.9),
            p99_us: micros(&all, 0.99),
            p999_us: micros(&all, 0.999),
            max_us: micros(&all, 1.0),
            w50_us: median(self.windows.iter().map(|window| window.p50_us).collect()),
            w99_us: median(self.windows.iter().map(|window| window.p99_us).collect()),
            group: "peers".to_owned(),
            shape: shape.to_owned(),
            answered_per_s: rate,
            curve: CURVE.iter().map(|quantile| (*quantile, micros(&all, *quantile))).collect(),
            windows: self.windows.clone(),
            ..RunResult::default()
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn filled(nanos: &[u64]) -> hdrhistogram::Histogram<u64> {
    let mut histogram = histogram();
    nanos.iter().for_each(|one| histogram.saturating_record(*one));
    histogram
}
