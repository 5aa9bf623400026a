//! Turns of one peer in one shape as one result. It owns how: rates and percentiles as the median of the turns',
//! windows all together. It must never mix turns of different peers or shapes, or show the good turns of a shape that
//! is mostly void.

use crate::measure::median;
use crate::result::RunResult;

/// The turns as one result. Void turns are left out and told; when they are not the smaller part, the result is void.
pub(super) fn merged(name: &str, turns: &[RunResult]) -> RunResult {
    let good: Vec<&RunResult> = turns.iter().filter(|turn| turn.void.is_none()).collect();
    let first = match good.first().copied() {
        Some(first) if good.len() * 2 > turns.len() => first,
        _ => {
            let mut result = turns.iter().find(|turn| turn.void.is_some()).cloned().unwrap_or_default();
            name.clone_into(&mut result.name);
            result.void.get_or_insert_with(|| "no turn was taken".to_owned());
            return result;
        }
    };
    let mid = |figure: fn(&RunResult) -> f64| median(good.iter().map(|turn| figure(turn)).collect());
    let sum = |figure: fn(&RunResult) -> u64| good.iter().map(|turn| figure(turn)).sum::<u64>();
    let mut windows = Vec::new();
    let mut from = 0.0;
    for turn in &good {
        let last = turn.windows.last().map_or(0.0, |window| window.at_s);
        windows.extend(turn.windows.iter().map(|window| {
            let mut window = *window;
            window.at_s += from;
            window
        }));
        from += last + 0.1;
    }
    let over_windows = |figure: fn(&crate::result::Window) -> f64| median(windows.iter().map(figure).collect());
    let mut counts: Vec<(String, u64)> = Vec::new();
    for (kind, count) in good.iter().flat_map(|turn| &turn.counts) {
        match counts.iter_mut().find(|(known, _)| known == kind) {
            Some((_, sum)) => *sum += count,
            None => counts.push((kind.clone(), *count)),
        }
    }
    let curve = first.curve.iter().enumerate().map(|(at, (quantile, _))| {
        let of_all = good.iter().filter_map(|turn| turn.curve.get(at)).map(|(_, micros)| *micros);
        (*quantile, median(of_all.collect()))
    });
    let lags: Vec<(u64, u64)> = good.iter().filter_map(|turn| turn.view_lag_events).collect();
    let cpus: Vec<f64> = good.iter().filter_map(|turn| turn.server_cpu_us).collect();
    // What a turn says of itself alone is left out: it is another thing in each.
    let mut notes = Vec::new();
    if good.len() < turns.len() {
        let why = turns.iter().find_map(|turn| turn.void.as_deref()).unwrap_or_default();
        notes.push(format!(
            "{name}: {} of {} turns are void and left out: {why}",
            turns.len() - good.len(),
            turns.len()
        ));
    }
    RunResult {
        name: name.to_owned(),
        rate_per_s: mid(|turn| turn.rate_per_s),
        sent: sum(|turn| turn.sent),
        answered: sum(|turn| turn.answered),
        errors: sum(|turn| turn.errors),
        p50_us: mid(|turn| turn.p50_us),
        p90_us: mid(|turn| turn.p90_us),
        p99_us: mid(|turn| turn.p99_us),
        p999_us: mid(|turn| turn.p999_us),
        max_us: good.iter().map(|turn| turn.max_us).fold(0.0, f64::max),
        w50_us: over_windows(|window| window.p50_us),
        w99_us: over_windows(|window| window.p99_us),
        group: first.group.clone(),
        shape: first.shape.clone(),
        answered_per_s: mid(|turn| turn.answered_per_s),
        counts,
        lag_w99_us: mid(|turn| turn.lag_w99_us),
        view_lag_events: lags.last().map(|(_, end)| (lags.iter().map(|(most, _)| *most).max().unwrap_or(0), *end)),
        curve: curve.collect(),
        windows,
        server_cpu_us: (!cpus.is_empty()).then(|| median(cpus)),
        notes,
        ..RunResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(rate: f64, p50: f64, void: Option<&str>) -> RunResult {
        let void = void.map(str::to_owned);
        RunResult { rate_per_s: rate, p50_us: p50, sent: 10, answered: 9, errors: 1, void, ..RunResult::default() }
    }

    #[test]
    fn figures_are_medians_and_void_turns_are_told() {
        let turns =
            [turn(100.0, 1.0, None), turn(200.0, 9.0, None), turn(900.0, 500.0, Some("late")), turn(300.0, 2.0, None)];
        let result = merged("x", &turns);
        assert_eq!((result.rate_per_s, result.p50_us), (200.0, 2.0));
        assert_eq!((result.sent, result.answered, result.errors), (30, 27, 3));
        assert!(result.void.is_none() && result.notes.iter().any(|note| note.contains("1 of 4")));
        let mostly_void = [turn(1.0, 1.0, None), turn(1.0, 1.0, Some("slow"))];
        assert_eq!(merged("x", &mostly_void).void.as_deref(), Some("slow"));
        assert_eq!(merged("x", &[turn(1.0, 1.0, Some("late"))]).void.as_deref(), Some("late"));
        assert!(merged("x", &[]).void.is_some());
    }
}
