//! What one run of the generator found, as it is printed, stored and drawn. It owns the names of the figures; it must
//! never compute one that `measure` or `load` has not taken.

use serde::{Deserialize, Serialize};

/// One result. The first members are a contract: their names and units never change; more may follow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunResult {
    /// What ran: `hot pool 100000/s`.
    pub(crate) name: String,
    /// Arrivals per second that were offered; of a closed loop what came out.
    pub(crate) rate_per_s: f64,
    /// Messages sent after the warm-up.
    pub(crate) sent: u64,
    /// Replies that were matched.
    pub(crate) answered: u64,
    /// Lost, late, unexpected or unreadable replies.
    pub(crate) errors: u64,
    /// Percentiles over the whole run, from the intended send time, in microseconds.
    pub(crate) p50_us: f64,
    /// See `p50_us`.
    pub(crate) p90_us: f64,
    /// See `p50_us`.
    pub(crate) p99_us: f64,
    /// See `p50_us`.
    pub(crate) p999_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
    /// Median over 100 ms windows of the window's p50.
    pub(crate) w50_us: f64,
    /// Median over 100 ms windows of the window's p99.
    pub(crate) w99_us: f64,
    /// The floor's p50, taken in turns with the run; zero when the run has none.
    pub(crate) floor_p50_us: f64,
    /// The floor's p99.
    pub(crate) floor_p99_us: f64,
    /// `p50_us` over the floor's (of a run in turns with the floor) or `w50_us` over it (of an open loop).
    pub(crate) ratio_p50: f64,
    /// The same of p99.
    pub(crate) ratio_p99: f64,

    /// What it belongs to in the report: `one in flight`, `hot pool`, `webhook`, `peers`, `attacks`, …
    pub(crate) group: String,
    /// `open`, `closed`, `one`.
    pub(crate) shape: String,
    /// Replies per second that were good: approved, declined as the mix expects, or refused within the budget.
    pub(crate) answered_per_s: f64,
    /// Errors by kind, and answers by DE39: `lost`, `late`, `unexpected`, `DE39 91`, …
    pub(crate) counts: Vec<(String, u64)>,
    /// Why the figures must not be used; none when they may.
    pub(crate) void: Option<String>,
    /// The generator's own send lag: the median over the windows of the window's p99, microseconds.
    pub(crate) lag_w99_us: f64,
    /// How far the read model was behind at most, in events, and at the end; none for other servers.
    pub(crate) view_lag_events: Option<(u64, u64)>,
    /// The whole distribution: quantile and microseconds.
    pub(crate) curve: Vec<(f64, f64)>,
    /// The same of the floor of the same run, where it was kept.
    pub(crate) floor_curve: Vec<(f64, f64)>,
    /// Per 100 ms window: seconds since the start, replies, p50, p99.
    pub(crate) windows: Vec<Window>,
    /// Stages of a tap as the engine measured them: name, p50, p99 in microseconds.
    pub(crate) stages: Vec<(String, f64, f64)>,
    /// CPU time of the server's busiest thread per answered message, microseconds, where it was read.
    pub(crate) server_cpu_us: Option<f64>,
    /// Sentences a reader must see beside the figures.
    pub(crate) notes: Vec<String>,
    /// What the target of this figure is and whether it is met, when it has one.
    pub(crate) target: Option<Target>,
}

/// One window of a run.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Window {
    /// Seconds since the first intended send after the warm-up.
    pub(crate) at_s: f64,
    /// Replies in it.
    pub(crate) replies: u64,
    /// Microseconds.
    pub(crate) p50_us: f64,
    /// Microseconds.
    pub(crate) p99_us: f64,
}

/// A line of the table of targets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Target {
    /// What was asked: `W99 under 1.5 ms`.
    pub(crate) asked: String,
    /// What came out, in the same words and unit.
    pub(crate) got: String,
    /// Whether that is as asked.
    pub(crate) met: bool,
}

/// All results of a run of the program, and on what they were taken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Results {
    /// Processor, kernel, disk, memory: name and value.
    pub(crate) machine: Vec<(String, String)>,
    /// The command line.
    pub(crate) flags: String,
    /// The commit that was built, `-dirty` when the tree differed from it.
    pub(crate) commit: String,
    /// When, RFC 3339 UTC.
    pub(crate) at: String,
    /// The results, in the order in which they were taken.
    pub(crate) results: Vec<RunResult>,
}
