//! Latencies as they are told: percentiles of all samples, medians over windows of 100, ratios to the floor. It
//! must never take a time itself.

use crate::result::RunResult;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Samples of one window: a stalling disk then spoils single windows instead of the whole.
pub(crate) const WINDOW: usize = 100;

/// Steps of a curve between one half of the rest and the next.
const CURVE: u32 = 8;

/// Times in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct Series(Vec<u64>);

/// What a series says, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Who was measured.
    pub(crate) name: String,
    /// Samples.
    pub(crate) samples: usize,
    /// Half of them were faster.
    pub(crate) p50_us: f64,
    /// Nine of ten were faster.
    pub(crate) p90_us: f64,
    /// 99 of 100 were faster.
    pub(crate) p99_us: f64,
    /// 999 of 1000 were faster.
    pub(crate) p999_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
    /// The median of the windows' p50.
    pub(crate) window_p50_us: f64,
    /// The median of the windows' p99.
    pub(crate) window_p99_us: f64,
}

/// One summary told as multiples of another.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ratio {
    /// p50 over the floor's p50.
    pub(crate) p50: f64,
    /// p99 over the floor's p99.
    pub(crate) p99: f64,
    /// The same of the windows' medians.
    pub(crate) window_p50: f64,
    /// The same of the windows' medians.
    pub(crate) window_p99: f64,
}

impl Series {
    /// Adds a sample.
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Samples a second, when one followed the other without a pause.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.0.iter().sum::<u64>() as f64 / 1e9;
        if seconds > 0.0 { self.0.len() as f64 / seconds } else { 0.0 }
    }

    /// The whole distribution: quantile and microseconds.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        curve(&filled(&self.0))
    }

    /// Percentiles of all, and the medians over the windows.
    pub(crate) fn summary(&self, name: &str) -> Summary {
        let all = filled(&self.0);
        let windows: Vec<_> = self.0.chunks_exact(WINDOW).map(filled).collect();
        let over = |quantile| median(windows.iter().map(|window| micros(window, quantile)).collect());
        Summary {
            name: name.to_owned(),
            samples: self.0.len(),
            p50_us: micros(&all, 0.5),
            p90_us: micros(&all, 0.9),
            p99_us: micros(&all, 0.99),
            p999_us: micros(&all, 0.999),
            max_us: micros(&all, 1.0),
            window_p50_us: over(0.5),
            window_p99_us: over(0.99),
        }
    }
}

/// A distribution as a picture needs it: quantile and microseconds.
pub(crate) fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let steps = histogram.iter_quantiles(CURVE);
    steps.map(|step| (step.quantile_iterated_to(), step.value_iterated_to() as f64 / 1e3)).collect()
}

impl Summary {
    /// A result with these percentiles and nothing else.
    pub(crate) fn result(&self) -> RunResult {
        RunResult {
            p50_us: self.p50_us,
            p90_us: self.p90_us,
            p99_us: self.p99_us,
            p999_us: self.p999_us,
            max_us: self.max_us,
            w50_us: self.window_p50_us,
            w99_us: self.window_p99_us,
            ..RunResult::default()
        }
    }

    /// This one as multiples of a floor.
    pub(crate) fn over(&self, floor: &Summary) -> Ratio {
        Ratio {
            p50: self.p50_us / floor.p50_us,
            p99: self.p99_us / floor.p99_us,
            window_p50: self.window_p50_us / floor.window_p50_us,
            window_p99: self.window_p99_us / floor.window_p99_us,
        }
    }
}

/// An empty histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    // One nanosecond to five minutes, three digits: always a legal shape.
    Histogram::new_with_bounds(1, 300_000_000_000, 3).expect("the bounds are legal")
}

fn filled(samples: &[u64]) -> Histogram<u64> {
    let mut histogram = histogram();
    samples.iter().for_each(|sample| histogram.saturating_record(*sample));
    histogram
}

/// A quantile in microseconds.
pub(crate) fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    let nanos = Duration::from_nanos(histogram.value_at_quantile(quantile));
    nanos.as_secs_f64() * 1e6
}

/// The middle one; not a number when there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A table in the house's look, its columns from the second on set to the right.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(header);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// Summaries below each other, in microseconds.
pub(crate) fn summaries(rows: &[&Summary]) -> Table {
    let mut table = table(&["µs", "samples", "p50", "p90", "p99", "p99.9", "max", "p50, windows", "p99, windows"]);
    for row in rows {
        let figures =
            [row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us, row.window_p50_us, row.window_p99_us];
        let cells = figures.iter().map(|figure| format!("{figure:.1}"));
        table.add_row([row.name.clone(), row.samples.to_string()].into_iter().chain(cells));
    }
    table
}

/// What was measured on: kernel, processors.
pub(crate) fn machine() -> String {
    let uname = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{} {} {}, {cpus} processors",
        uname.sysname().to_string_lossy(),
        uname.release().to_string_lossy(),
        uname.machine().to_string_lossy()
    )
}
