//! The highest rate that a target serves with its p99 under a bound: steps past the knee, then a few halvings between
//! the last rate that held and the first that did not. It owns that search and prints every step of it; it must never
//! tell a rate that was not run.

use crate::engine::workplace;
use crate::fault::Fault;
use crate::floor::{Floor, How, REPLY};
use crate::load::numbers::Numbers;
use crate::load::options::Options;
use crate::load::output::Output;
use crate::load::{self, Shape, Why};
use crate::result::{RunResult, Target};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// Rates beyond this are not tried: more than the generator can send.
const LIMIT: f64 = 1_000_000.0;

/// Arguments of `throughput`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches throughput --p99 1.5ms --from 20000 --out results.json")]
pub(crate) struct Args {
    /// The bound: the median over 100 ms windows of the window's p99
    #[arg(long, value_name = "TIME", default_value = "1.5ms")]
    p99: humantime::Duration,
    /// The first rate
    #[arg(long, value_name = "PER_SECOND", default_value_t = 20_000.0)]
    from: f64,
    /// Each next rate is so many times the last, until one does not hold
    #[arg(long, default_value_t = 1.6)]
    factor: f64,
    /// Halvings between the last rate that held and the first that did not
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=10))]
    halvings: u32,
    #[command(flatten)]
    load: Options,
    #[command(flatten)]
    output: Output,
}

/// Where the search goes on.
#[derive(Debug, Clone, Copy)]
struct Search {
    held: Option<f64>,
    failed: Option<f64>,
    halvings: u32,
}

impl Search {
    /// The next rate to try; `None` when the search is over.
    fn next(&mut self, from: f64, factor: f64) -> Option<f64> {
        match (self.held, self.failed) {
            (None, None) => Some(from),
            (Some(held), None) => Some(held * factor).filter(|rate| *rate <= LIMIT),
            (held, Some(failed)) => {
                self.halvings = self.halvings.checked_sub(1)?;
                // Whole hundreds: more digits would claim more than a step of some seconds can tell.
                Some(((held.unwrap_or(0.0) + failed) / 200.0).round() * 100.0).filter(|rate| *rate > 0.0)
            }
        }
    }

    fn learn(&mut self, rate: f64, held: bool) {
        let side = if held { &mut self.held } else { &mut self.failed };
        *side = Some(rate);
    }
}

/// Runs `throughput`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    if !(args.factor.is_finite() && args.factor > 1.0) {
        return Err(Fault::Usage("--factor is above 1".to_owned()));
    }
    let mix = args.load.mix()?;
    let place = workplace(args.load.work.as_deref())?;
    let target = args.load.target(place.path(), &mix, &json!({ "name": "Load", "decision_mode": "auto_approve" }))?;
    let mut floor = match args.load.floor_samples {
        0 => None,
        _ => Some(Floor::start(place.path(), How::Fdatasync, REPLY)?),
    };
    let mut numbers = Numbers::new(jiff::Timestamp::now());
    let bound = Duration::from(args.p99).as_secs_f64() * 1e6;
    let mut search = Search { held: None, failed: None, halvings: args.halvings };
    let mut steps: Vec<RunResult> = Vec::new();
    let mut best: Option<RunResult> = None;
    while let Some(rate) = search.next(args.from, args.factor) {
        let shape = Shape::Open { rate, arrivals: args.load.arrivals };
        let (mut step, why) = load::judged(&args.load.plan(&target, &mix, shape), &mut numbers, floor.as_mut())?;
        let held = step.void.is_none() && step.w99_us <= bound;
        search.learn(rate, held);
        step.group = "throughput".to_owned();
        match why {
            Some(Why::Target | Why::Answers) => {
                steps.push(step);
                return args.output.emit(steps);
            }
            // Beyond the knee it is the rate that is refuted, not the run that failed.
            Some(Why::Slow | Why::Lag) => {
                let reason = step.void.take().unwrap_or_default();
                step.notes.insert(0, format!("beyond the knee: {reason}"));
            }
            None => {}
        }
        if held {
            best = Some(step.clone());
        }
        steps.push(step);
    }
    let asked = format!("highest rate with W99 under {}", args.p99);
    let last = match best {
        Some(best) => RunResult {
            name: format!("{}: {asked}", mix.name),
            target: Some(Target {
                asked,
                got: format!("{:.0}/s, W99 {:.0} µs", best.rate_per_s, best.w99_us),
                met: true,
            }),
            ..best
        },
        None => RunResult {
            name: format!("{}: {asked}", mix.name),
            group: "throughput".to_owned(),
            void: Some(format!("no rate held, down to {:.0}/s", search.failed.unwrap_or(args.from))),
            ..RunResult::default()
        },
    };
    steps.push(last);
    args.output.emit(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_steps_past_the_knee_and_then_halves() {
        let mut search = Search { held: None, failed: None, halvings: 4 };
        let mut tried = Vec::new();
        while let Some(rate) = search.next(20_000.0, 2.0) {
            tried.push(rate);
            search.learn(rate, rate <= 130_000.0);
        }
        assert_eq!(tried, [20_000.0, 40_000.0, 80_000.0, 160_000.0, 120_000.0, 140_000.0, 130_000.0, 135_000.0]);
        assert_eq!(search.held, Some(130_000.0));
    }
}
