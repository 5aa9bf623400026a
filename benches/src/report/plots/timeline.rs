//! One run over its time, window by window: stalls, and whether they are alone. It owns the common scale of runs that
//! are compared; it must never smooth.

use super::{Area, Axis, Drawn, FINE, MUTED, Size, Svg, chart, color, line, sheet};
use crate::fault::Fault;
use crate::result::{RunResult, Window};

/// The scale that runs beside each other share.
pub(in crate::report) struct Frame {
    latency: Axis,
}

/// A scale around all windows of these runs.
pub(in crate::report) fn frame(results: &[&RunResult]) -> Frame {
    let windows: Vec<f64> = results.iter().flat_map(|run| &run.windows).flat_map(|at| [at.p50_us, at.p99_us]).collect();
    Frame { latency: Axis::log(windows.into_iter()) }
}

/// p50 and p99 of each window above, replies of each window below.
pub(in crate::report) fn timeline(result: &RunResult, frame: &Frame, size: Size) -> Result<Svg, Fault> {
    let windows = &result.windows;
    let first = windows.first().map_or(0.0, |window| window.at_s).floor();
    let last = windows.last().map_or(1.0, |window| window.at_s);
    let seconds = Axis::linear(first, last + 0.1, 5.0);
    let x = Axis {
        to: last + 0.1,
        ticks: seconds.ticks.iter().filter(|(at, _)| *at <= last + 0.1).cloned().collect(),
        ..seconds
    };
    let most = windows.iter().map(|window| window.replies).max().unwrap_or(0) as f64;
    let replies = Axis::linear(0.0, most, 2.0);
    let latency = |pick: fn(&Window) -> f64| -> Vec<(f64, f64)> {
        let told = windows.iter().filter(|window| pick(window) > 0.0);
        told.map(|window| (window.at_s, pick(window).log10())).collect()
    };
    let draw = |area: &Area<'_>| -> Drawn {
        let (_, height) = area.dim_in_pixel();
        let (above, below) = area.split_vertically(height * 6 / 10);
        let mut upper = chart(&above, &x, &frame.latency, "", "p50 and p99 of each window, µs (log)")?;
        line(&mut upper, latency(|window| window.p99_us), color(1), 3 * FINE / 2)?;
        line(&mut upper, latency(|window| window.p50_us), color(0), 3 * FINE / 2)?;
        let mut lower = chart(&below, &x, &replies, "seconds", "replies in each 100 ms")?;
        line(
            &mut lower,
            windows.iter().map(|window| (window.at_s, window.replies as f64)).collect(),
            MUTED,
            3 * FINE / 2,
        )
    };
    sheet(size, draw)
}
