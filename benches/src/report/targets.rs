//! What is asked of the results that carry no verdict of their own. It owns the limits and which result each is for;
//! it must never soften one, and never judge a void result.

use super::figures::{count, micros, ratio};
use crate::result::{RunResult, Target};

/// One limit.
pub(super) struct Limit {
    /// What it is for, as it is named when nothing here measures it.
    pub(super) subject: &'static str,
    asked: &'static str,
    is_for: fn(&RunResult) -> bool,
    got: fn(&RunResult) -> (String, bool),
}

/// The limits, in the order in which they are asked for.
pub(super) const LIMITS: [Limit; 7] = [
    Limit {
        subject: "durable tap, one in flight, account-funded",
        asked: "p50 at most 1.06 x floor, p99 at most 1.2 x",
        is_for: |result| result.group == "one in flight" && result.shape == "one" && result.ratio_p50 > 0.0,
        got: |result| {
            let got = format!("p50 {} x, p99 {} x", ratio(result.ratio_p50), ratio(result.ratio_p99));
            (got, result.ratio_p50 <= 1.06 && result.ratio_p99 <= 1.2)
        },
    },
    Limit {
        subject: "hot pool, open loop, 20,000/s",
        asked: "W99 under 1.2 ms",
        is_for: |result| open(result, "hot pool", 20_000.0),
        got: |result| w99(result, 1_200.0),
    },
    Limit {
        subject: "hot pool, open loop, 100,000/s",
        asked: "W99 under 1.5 ms",
        is_for: |result| open(result, "hot pool", 100_000.0),
        got: |result| w99(result, 1_500.0),
    },
    Limit {
        subject: "hot pool, open loop, 200,000/s",
        asked: "W99 under 5 ms",
        is_for: |result| open(result, "hot pool", 200_000.0),
        got: |result| w99(result, 5_000.0),
    },
    Limit {
        subject: "most taps, closed loop, 512 in flight",
        asked: "300,000/s",
        is_for: |result| {
            result.group == "hot pool" && result.shape == "closed" && result.name.contains("512 in flight")
        },
        got: |result| (format!("{}/s", count(result.answered_per_s)), result.answered_per_s >= 300_000.0),
    },
    Limit {
        subject: "tap with a partner on loopback, one in flight",
        asked: "p50 at most 1.10 x its floor",
        is_for: |result| result.group == "webhook" && result.shape == "one" && result.ratio_p50 > 0.0,
        got: |result| (format!("{} x", ratio(result.ratio_p50)), result.ratio_p50 <= 1.10),
    },
    Limit {
        subject: "taps with webhook, open loop, 20,000/s",
        asked: "W99 under 2.5 ms",
        is_for: |result| open(result, "webhook", 20_000.0),
        got: |result| w99(result, 2_500.0),
    },
];

/// An open loop of a group at that rate, as it was offered.
fn open(result: &RunResult, group: &str, rate: f64) -> bool {
    result.group == group && result.shape == "open" && (result.rate_per_s / rate - 1.0).abs() < 0.001
}

fn w99(result: &RunResult, under_us: f64) -> (String, bool) {
    // Nothing answered has no W99, and meets nothing.
    (
        format!("W99 {} µs, {} errors", micros(result.w99_us), result.errors),
        result.w99_us > 0.0 && result.w99_us < under_us,
    )
}

/// Gives each result that a limit is for its target, unless the run brought one itself.
pub(super) fn judge(result: &mut RunResult) {
    if result.target.is_some() {
        return;
    }
    if let Some(limit) = LIMITS.iter().find(|limit| (limit.is_for)(result)) {
        let (got, met) = (limit.got)(result);
        result.target = Some(Target { asked: limit.asked.to_owned(), got, met });
    }
}

/// The limits that none of these results is for.
pub(super) fn unmeasured<'a>(results: impl Iterator<Item = &'a RunResult> + Clone) -> Vec<&'static str> {
    let missing = LIMITS.iter().filter(|limit| !results.clone().any(|result| (limit.is_for)(result)));
    missing.map(|limit| limit.subject).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(group: &str, rate_per_s: f64, w99_us: f64) -> RunResult {
        let (group, shape) = (group.to_owned(), "open".to_owned());
        RunResult { group, shape, rate_per_s, w99_us, ..RunResult::default() }
    }

    #[test]
    fn a_result_is_held_against_the_limit_of_its_own_rate() {
        for (rate, w99, met) in
            [(2e4, 1_199.0, Some(true)), (1e5, 1_501.0, Some(false)), (2e5, 0.0, Some(false)), (5e4, 1.0, None)]
        {
            let mut result = run("hot pool", rate, w99);
            judge(&mut result);
            assert_eq!(result.target.map(|target| target.met), met, "{rate}");
        }
    }

    #[test]
    fn what_a_run_says_of_itself_stays() {
        let target = Some(Target { asked: "a".to_owned(), got: "b".to_owned(), met: true });
        let mut result = RunResult { target, ..run("hot pool", 2e4, 9_999.0) };
        judge(&mut result);
        assert!(result.target.is_some_and(|target| target.met));
    }

    #[test]
    fn limits_without_a_result_are_named() {
        assert_eq!(unmeasured([].iter()).len(), LIMITS.len());
        assert!(!unmeasured([run("webhook", 2e4, 1.0)].iter()).contains(&"taps with webhook, open loop, 20,000/s"));
    }
}
