//! Throughput against latency: where the knee is. It owns the order of a ladder's steps; it must never join results of
//! different servers or shapes.

use super::{Area, Axis, Drawn, FINE, Size, Svg, chart, color, dashes, line, points, sheet};
use crate::fault::Fault;
use crate::report::model::line_of;
use crate::result::RunResult;

/// Below this share of what was offered, the server did not keep up.
const KEPT_UP: f64 = 0.99;

/// One server in one shape: its steps by rate.
struct Ladder<'a> {
    name: &'a str,
    shape: &'a str,
    steps: Vec<&'a RunResult>,
}

/// What a step is drawn at: offered of an open loop, got of a closed one.
fn rate(step: &RunResult) -> f64 {
    if step.shape == "open" || step.answered_per_s <= 0.0 { step.rate_per_s } else { step.answered_per_s }
}

/// W50 and W99 where there were windows, else the whole run's.
fn latencies(step: &RunResult) -> (f64, f64) {
    if step.w99_us > 0.0 { (step.w50_us, step.w99_us) } else { (step.p50_us, step.p99_us) }
}

fn past_knee(step: &RunResult) -> bool {
    step.shape == "open" && step.answered_per_s > 0.0 && step.answered_per_s < KEPT_UP * step.rate_per_s
}

fn ladders<'a>(results: &[&'a RunResult]) -> Vec<Ladder<'a>> {
    let mut found: Vec<Ladder<'a>> = Vec::new();
    for &step in results.iter().filter(|step| rate(step) > 0.0 && latencies(step).1 > 0.0) {
        let (name, shape) = (line_of(step), step.shape.as_str());
        match found.iter_mut().find(|ladder| ladder.name == name && ladder.shape == shape) {
            Some(ladder) => ladder.steps.push(step),
            None => found.push(Ladder { name, shape, steps: vec![step] }),
        }
    }
    found.iter_mut().for_each(|ladder| ladder.steps.sort_by(|a, b| rate(a).total_cmp(&rate(b))));
    found
}

/// Lines of W50 and W99 over the rate with the names of the lines; none when there is no second rate to compare with.
pub(in crate::report) fn rates(results: &[&RunResult], size: Size) -> Result<Option<(Svg, Vec<String>)>, Fault> {
    let ladders = ladders(results);
    let steps = || ladders.iter().flat_map(|ladder| ladder.steps.iter().copied());
    let (least, most) =
        steps().map(rate).fold((f64::INFINITY, 0.0), |(a, b), rate| (f64::min(a, rate), f64::max(b, rate)));
    if ladders.len() > super::MOST_LINES || most < least * 1.2 {
        return Ok(None);
    }
    let x = Axis::log(steps().map(rate));
    let all: Vec<f64> = steps().map(latencies).flat_map(|(half, most)| [half, most]).collect();
    let y = Axis::log(all.into_iter());
    let draw = |area: &Area<'_>| -> Drawn {
        let mut chart = chart(area, &x, &y, "messages per second (log)", "latency, µs (log)")?;
        for (at, ladder) in ladders.iter().enumerate() {
            let of = |pick: fn((f64, f64)) -> f64, past: Option<bool>| -> Vec<(f64, f64)> {
                let steps = ladder.steps.iter().filter(|step| past.is_none_or(|past| past_knee(step) == past));
                steps
                    .map(|step| (rate(step).log10(), pick(latencies(step)).log10()))
                    .filter(|(_, y)| y.is_finite())
                    .collect()
            };
            dashes(&mut chart, of(|both| both.0, None), color(at), 3 * FINE / 2)?;
            line(&mut chart, of(|both| both.1, None), color(at), 2 * FINE)?;
            for pick in [(|both| both.0) as fn((f64, f64)) -> f64, |both| both.1] {
                points(&mut chart, &of(pick, Some(false)), color(at), 4 * FINE, false)?;
                points(&mut chart, &of(pick, Some(true)), color(at), 4 * FINE, true)?;
            }
        }
        Ok(())
    };
    let names = ladders.iter().map(|ladder| match ladder.shape {
        "" => ladder.name.to_owned(),
        shape => format!("{} ({shape})", ladder.name),
    });
    Ok(Some((sheet(size, draw)?, names.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, rate_per_s: f64, answered_per_s: f64) -> RunResult {
        let shape = "open".to_owned();
        RunResult {
            name: name.to_owned(),
            shape,
            rate_per_s,
            answered_per_s,
            w50_us: 1.0,
            w99_us: 2.0,
            ..RunResult::default()
        }
    }

    #[test]
    fn steps_of_one_server_are_one_line_in_the_order_of_their_rates() {
        let steps =
            [step("hot pool 200000/s", 2e5, 1.4e5), step("hot pool 20000/s", 2e4, 2e4), step("peer 20000/s", 2e4, 2e4)];
        let steps: Vec<_> = steps.iter().collect();
        let ladders = ladders(&steps);
        assert_eq!(ladders.iter().map(|ladder| ladder.name).collect::<Vec<_>>(), ["hot pool", "peer"]);
        assert_eq!(ladders[0].steps.iter().map(|step| past_knee(step)).collect::<Vec<_>>(), [false, true]);
    }
}
