//! A line on the terminal while a run is on. It owns nothing but that line; without a terminal it does not exist, and
//! it must never cost the loop more than the counters that the loop keeps anyway.

use super::Plan;
use super::drive::Gauge;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Shows a run until it is over.
pub(crate) fn show(plan: &Plan, gauge: &Gauge) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let whole = plan.warm_up + plan.length;
    let bar = ProgressBar::with_draw_target(Some(whole.as_millis() as u64), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(plan.name.clone());
    let start = Instant::now();
    while !gauge.over.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let (sent, answered) = (gauge.sent.load(Ordering::Relaxed), gauge.answered.load(Ordering::Relaxed));
        let part = if start.elapsed() < plan.warm_up { "warm-up" } else { "measured" };
        bar.set_position(start.elapsed().as_millis() as u64);
        bar.set_message(format!("{part}: {sent} sent, {} open", sent.saturating_sub(answered)));
    }
    bar.finish_and_clear();
}
