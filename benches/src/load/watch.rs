//! What a run looks at besides its own sockets: CPU time of the server's thread, and how far the read model is behind.
//! It owns a thread that mostly sleeps; it must never be needed for a run, and what it cannot read is left out.

use super::drive::Gauge;
use super::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at the metrics: rendering them takes milliseconds of the generator's processor, and should spoil few
/// windows.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks at whether the run is over.
const NAP: Duration = Duration::from_millis(20);

/// What can be watched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    /// The server's process, and the name of the thread whose CPU time counts (all of the process when none has it).
    pub(crate) thread: Option<(u32, String)>,
    /// Where the server's metrics are.
    pub(crate) metrics: Option<SocketAddr>,
    /// The processor that the server's thread has for itself: the loop of the run keeps off it.
    pub(crate) kept: Option<usize>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// CPU time in the measured part and replies in it.
    pub(crate) cpu: Option<(Duration, u64)>,
    /// How far the read model was behind at most, and at the end.
    pub(crate) view_lag: Option<(u64, u64)>,
    /// Stages of a tap in the measured part: name, p50, p99 in microseconds.
    pub(crate) stages: Vec<(String, f64, f64)>,
}

/// Watches until the loop is over.
pub(crate) fn watch(watch: &Watch, gauge: &Gauge, warm_up: Duration, length: Duration) -> Watched {
    let start = Instant::now();
    let mut seen = Watched::default();
    let (mut before, mut after) = (None, None);
    let metrics = watch.metrics.map(Metrics::new);
    let mut looked = Instant::now();
    let mut stages = None;
    while !gauge.over.load(Ordering::Relaxed) {
        std::thread::sleep(NAP);
        let at = start.elapsed();
        let look = || Some((watch.cpu()?, gauge.answered.load(Ordering::Relaxed)));
        if before.is_none() && at >= warm_up {
            before = look();
            stages = metrics.as_ref().and_then(Metrics::stages);
        }
        if after.is_none() && at >= warm_up + length {
            after = look();
        }
        if at >= warm_up && looked.elapsed() >= LOOK {
            looked = Instant::now();
            seen.lag(metrics.as_ref());
        }
    }
    let after = after.or_else(|| Some((watch.cpu()?, gauge.answered.load(Ordering::Relaxed))));
    seen.lag(metrics.as_ref());
    if let (Some(metrics), Some(before)) = (&metrics, &stages) {
        seen.stages = metrics.stages_since(before);
    }
    if let (Some((from, first)), Some((to, last))) = (before, after) {
        seen.cpu = Some((to.saturating_sub(from), last.saturating_sub(first))).filter(|(_, count)| *count > 0);
    }
    seen
}

impl Watched {
    fn lag(&mut self, metrics: Option<&Metrics>) {
        if let Some(lag) = metrics.and_then(|metrics| metrics.view_lag()) {
            let most = self.view_lag.map_or(0, |(most, _)| most).max(lag);
            self.view_lag = Some((most, lag));
        }
    }

    /// Microseconds of CPU for each reply.
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        self.cpu.map(|(time, replies)| time.as_secs_f64() * 1e6 / replies as f64)
    }
}

impl Watch {
    /// On-CPU time of the thread by the scheduler's own clock, which is exact to the nanosecond.
    fn cpu(&self) -> Option<Duration> {
        let (pid, name) = self.thread.as_ref()?;
        let process = procfs::process::Process::new(i32::try_from(*pid).ok()?).ok()?;
        let mut all = 0;
        for task in process.tasks().ok()?.flatten() {
            let Ok(used) = task.schedstat() else { continue };
            if task.stat().is_ok_and(|stat| stat.comm == *name) {
                return Some(Duration::from_nanos(used.sum_exec_runtime));
            }
            all += used.sum_exec_runtime;
        }
        Some(Duration::from_nanos(all))
    }
}
