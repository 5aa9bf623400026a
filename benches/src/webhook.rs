//! Taps that a partner decides: a partner of the harness's own answers by a given distribution, one tap in flight in
//! turns with the floor of that shape, or open loops at given rates. It owns the partner and the pool it funds; it
//! must never count the partner's time as the engine's without saying so.

use crate::engine::workplace;
use crate::fault::Fault;
use crate::floor::{Floor, REPLY};
use crate::latency::one_by_one;
use crate::load::Shape;
use crate::load::options::Options;
use crate::load::output::Output;
use crate::load::partner::{self, Delay};
use crate::turns::{Taps, Turns};
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `webhook`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  benches webhook\n  benches webhook --rates 20000 --answer exp:2ms --out results.json"
)]
pub(crate) struct Args {
    /// Open loops at these rates, one result each; without it one tap in flight
    #[arg(long, alias = "rate", value_name = "PER_SECOND,…", value_delimiter = ',')]
    rates: Vec<f64>,
    /// How long the partner takes: constant:TIME, exp:MEAN, uniform:FROM..TO, or file:PATH with times
    #[arg(long, value_name = "DISTRIBUTION", default_value = "constant:0")]
    answer: String,
    #[command(flatten)]
    turns: Turns,
    #[command(flatten)]
    load: Options,
    #[command(flatten)]
    output: Output,
}

/// Runs `webhook`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    if args.load.target.is_some() {
        let text =
            "webhook starts the engine itself, because the engine must be told of the partner; leave out --target";
        return Err(Fault::Usage(text.to_owned()));
    }
    let delay: Delay =
        args.answer.parse().map_err(|error| Fault::Usage(format!("--answer {}: {error}", args.answer)))?;
    let mut mix = args.load.mix()?;
    mix.name = "webhook".to_owned();
    let place = workplace(args.load.work.as_deref())?;
    let partner = partner::start(delay, args.load.seed)?;
    let settings =
        json!({ "name": "Webhook", "decision_mode": "webhook", "decision_url": format!("http://{partner}/decide") });
    let target = args.load.target(place.path(), &mix, &settings)?;
    let mut results = if args.rates.is_empty() {
        let mut taps = Taps::new(target.addr, target.cards.text(0))?;
        let (_, reply) = taps.sizes()?;
        let mut floor = Floor::asking(place.path(), reply, partner)?;
        let mut result = target.staged(|| args.turns.run(&mut taps, &mut floor, None))?;
        result.name = "webhook, one in flight".to_owned();
        result.group = "webhook".to_owned();
        vec![result]
    } else {
        let mut floor = match args.load.floor_samples {
            0 => None,
            _ => Some(Floor::asking(place.path(), REPLY, partner)?),
        };
        let arrivals = args.load.arrivals;
        let shapes: Vec<Shape> = args.rates.iter().map(|rate| Shape::Open { rate: *rate, arrivals }).collect();
        one_by_one(&args.load, &mix, &target, &shapes, floor.as_mut())?
    };
    for result in &mut results {
        let text = "the floor asks the same partner while its first append syncs, then syncs the answer";
        result.notes.push(format!("the partner answers after {}; {text}", args.answer));
    }
    args.output.emit(results)
}
