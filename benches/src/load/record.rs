//! From slots to figures: percentiles over the run, windows of 100 ms by intended send time, what went wrong, and
//! whether the figures may be used at all. It owns those rules; it must never take a time itself.

use super::Plan;
use super::Shape;
use super::drive::Seen;
use super::links::Broken;
use super::schedule::Slot;
use crate::measure::{curve, histogram, median, micros};
use crate::result::{RunResult, Window};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Length of a window, nanoseconds.
const WINDOW: u64 = 100_000_000;
/// Replies that a window needs to have a say in the medians.
const IN_WINDOW: u64 = 10;
/// The generator's lag that is never held against a run, microseconds.
const LAG_FREE: f64 = 150.0;
/// The share of W99 that the generator's lag may have.
const LAG_SHARE: f64 = 0.2;
/// Late, lost or unmatched replies of a thousand that make a run void.
const MISSED: f64 = 0.001;
/// Replies with another DE39 than the mix says that make a run void.
const UNEXPECTED: f64 = 0.01;

/// The kinds of reason for which figures must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The target refused, closed, or answered what is no answer: nothing more can be learned from it.
    Target,
    /// The target did not keep up with the schedule.
    Slow,
    /// The target answers otherwise than the mix says.
    Answers,
    /// The generator itself was late.
    Lag,
}

/// What went wrong in the measured part.
#[derive(Debug, Default)]
struct Faults {
    lost: u64,
    late: u64,
    unexpected: u64,
    refused: u64,
}

/// The figures of a run, and the kind of its `void` when it has one.
pub(crate) fn evaluate(plan: &Plan, slots: &[Slot], seen: &Seen) -> (RunResult, Option<Why>) {
    let warm = plan.warm_up.as_nanos() as u64;
    let length = plan.length.as_nanos() as u64;
    let sent = slots.get(..seen.sent).unwrap_or(slots);
    let measured = sent.get(sent.partition_point(|slot| slot.due < warm)..).unwrap_or_default();
    // A lost reply took at least until the end of the wait for it.
    let took = |slot: &Slot| if slot.took == 0 { seen.ended.saturating_sub(slot.due).max(1) } else { slot.took };

    let mut all = histogram();
    measured.iter().for_each(|slot| all.saturating_record(took(slot)));
    let (faults, mut counts) = tally(plan, measured);
    let answered = measured.len() as u64 - faults.lost;
    let seconds = length as f64 / 1e9;
    let windows = windows(measured, warm, length, took);
    let over = |of: fn(&Windowed) -> f64| median(windows.iter().filter(|w| w.count >= IN_WINDOW).map(of).collect());

    let mut result = RunResult {
        name: plan.name.clone(),
        group: plan.group.clone(),
        shape: plan.shape.word().to_owned(),
        rate_per_s: match plan.shape {
            Shape::Open { rate, .. } => rate,
            Shape::Closed { .. } => answered as f64 / seconds,
        },
        sent: measured.len() as u64,
        answered,
        errors: faults.lost + faults.late + faults.unexpected + seen.unmatched + seen.unreadable,
        answered_per_s: (answered - faults.late - faults.unexpected + faults.refused) as f64 / seconds,
        lag_w99_us: finite(over(|window| window.lag99)),
        w50_us: finite(over(|window| window.p50)),
        w99_us: finite(over(|window| window.p99)),
        ..RunResult::default()
    };
    if !all.is_empty() {
        [result.p50_us, result.p90_us, result.p99_us, result.p999_us, result.max_us] =
            [0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| micros(&all, quantile));
        result.curve = curve(&all);
    }
    result.windows = windows
        .iter()
        .map(|window| Window { at_s: window.at_s, replies: window.count, p50_us: window.p50, p99_us: window.p99 })
        .collect();
    for (kind, count) in [
        ("lost", faults.lost),
        ("late", faults.late),
        ("unexpected", faults.unexpected),
        ("unmatched", seen.unmatched),
        ("unreadable", seen.unreadable),
    ] {
        if count > 0 {
            counts.push((kind.to_owned(), count));
        }
    }
    result.counts = counts;
    if faults.lost > 0 {
        let text = "a lost reply is in the percentiles as the time until the end of the wait for it, its least";
        result.notes.push(text.to_owned());
    }
    let messages = seen.sent.max(1) as f64;
    result.notes.push(format!(
        "the generator worked {:.2} µs a message ({:.2} µs CPU with its spinning) on one thread",
        seen.worked.as_secs_f64() * 1e6 / messages,
        seen.cpu.as_secs_f64() * 1e6 / messages
    ));
    let verdict = verdict(plan, &result, &faults, seen);
    let why = verdict.as_ref().map(|(why, _)| *why);
    result.void = verdict.map(|(_, text)| text);
    if why == Some(Why::Target) {
        // Times of a target that broke off or answers garbage are times of nothing.
        let (counts, notes, void) = (result.counts, result.notes, result.void);
        let (name, group, shape) = (result.name, result.group, result.shape);
        let (rate_per_s, sent, answered, errors) = (result.rate_per_s, result.sent, result.answered, result.errors);
        result = RunResult {
            name,
            group,
            shape,
            rate_per_s,
            sent,
            answered,
            errors,
            counts,
            notes,
            void,
            ..RunResult::default()
        };
    }
    (result, why)
}

fn finite(figure: f64) -> f64 {
    if figure.is_finite() { figure } else { 0.0 }
}

fn tally(plan: &Plan, measured: &[Slot]) -> (Faults, Vec<(String, u64)>) {
    let budget = plan.budget.as_nanos() as u64;
    let mut faults = Faults::default();
    let mut codes: BTreeMap<[u8; 2], u64> = BTreeMap::new();
    for slot in measured {
        if slot.took == 0 {
            faults.lost += 1;
            continue;
        }
        *codes.entry(slot.code).or_default() += 1;
        if slot.took > budget {
            faults.late += 1;
        } else if plan.mix.code(slot.kind).as_bytes() != slot.code {
            faults.unexpected += 1;
            // 91 and 96: the target said in time that it cannot.
            if matches!(&slot.code, b"91" | b"96") {
                faults.refused += 1;
            }
        }
    }
    let named = codes.into_iter().map(|(code, count)| {
        let printable = code.map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '?' });
        (format!("DE39 {}", printable.iter().collect::<String>()), count)
    });
    (faults, named.collect())
}

/// What a window says.
struct Windowed {
    at_s: f64,
    count: u64,
    p50: f64,
    p99: f64,
    lag99: f64,
}

fn windows(measured: &[Slot], warm: u64, length: u64, took: impl Fn(&Slot) -> u64) -> Vec<Windowed> {
    let (mut times, mut lags): (Histogram<u64>, Histogram<u64>) = (histogram(), histogram());
    let mut windows = Vec::new();
    let mut rest = measured;
    for at in 0..length / WINDOW {
        let end = warm + (at + 1) * WINDOW;
        let (window, later) = rest.split_at(rest.partition_point(|slot| slot.due < end));
        rest = later;
        times.reset();
        lags.reset();
        for slot in window {
            times.saturating_record(took(slot));
            lags.saturating_record(u64::from(slot.lag).max(1));
        }
        windows.push(Windowed {
            at_s: (at * WINDOW) as f64 / 1e9,
            count: times.len(),
            p50: micros(&times, 0.5),
            p99: micros(&times, 0.99),
            lag99: micros(&lags, 0.99),
        });
    }
    windows
}

/// Why the figures must not be used; `None` when they may.
fn verdict(plan: &Plan, result: &RunResult, faults: &Faults, seen: &Seen) -> Option<(Why, String)> {
    if let Some(broken) = &seen.broken {
        let why = if matches!(broken, Broken::Stuck { .. }) { Why::Slow } else { Why::Target };
        return Some((why, broken.to_string()));
    }
    if seen.unreadable > 0 {
        let text = "the target answers garbage";
        let text = format!("{text}: {} frames cannot be read as replies with a DE39", seen.unreadable);
        return Some((Why::Target, text));
    }
    if result.sent == 0 || result.answered == 0 {
        return Some((Why::Target, format!("the target answered none of {} messages", result.sent)));
    }
    let sent = result.sent as f64;
    if !plan.lenient {
        let missed = faults.lost + faults.late;
        if missed as f64 > MISSED * sent {
            let text = "the target is too slow for the schedule";
            let text = format!("{text}: {missed} of {} replies were lost or over the budget", result.sent);
            return Some((Why::Slow, text));
        }
        if seen.unmatched as f64 > MISSED * sent {
            return Some((Why::Answers, format!("{} replies answer nothing that was asked", seen.unmatched)));
        }
        if faults.unexpected as f64 > UNEXPECTED * sent {
            let text = "replies have another DE39 than the mix says";
            let why = if faults.refused * 2 > faults.unexpected { Why::Slow } else { Why::Answers };
            return Some((why, format!("{} of {} {text}", faults.unexpected, result.sent)));
        }
    }
    let bound = LAG_FREE.max(LAG_SHARE * result.w99_us);
    if matches!(plan.shape, Shape::Open { .. }) && result.lag_w99_us > bound {
        let text = "the generator itself was late";
        let lag = result.lag_w99_us;
        let text = format!("{text}: {lag:.0} µs (median of the windows' p99), more than the {bound:.0} µs allowed");
        return Some((Why::Lag, text));
    }
    None
}
