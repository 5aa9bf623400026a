//! Latency beside the floor's of the same run: one account-funded tap in flight, in turns with the floor; or at given
//! rates, or with so many in flight, with the floor before and after. It owns which runs those are; it must never
//! compare figures that were not taken side by side.

use crate::engine::workplace;
use crate::fault::Fault;
use crate::floor::{Floor, How, REPLY};
use crate::load::mix::{Funding, Mix, Payer, Pick};
use crate::load::numbers::Numbers;
use crate::load::options::Options;
use crate::load::output::Output;
use crate::load::target::Target;
use crate::load::{self, Shape, Why};
use crate::result::RunResult;
use crate::turns::{Taps, Turns};
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `latency`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  benches latency --samples 5000\n  benches latency --rates 20000,100000,200000 --out results.json\n  benches latency --in-flight 512 --json\n  benches latency --target 127.0.0.1:8583 --cards pans.txt --rates 1000 --mix daily"
)]
pub(crate) struct Args {
    /// Open loops at these rates, one result each
    #[arg(long, alias = "rate", value_name = "PER_SECOND,…", value_delimiter = ',')]
    rates: Vec<f64>,
    /// A closed loop with so many messages without a reply at a time
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    #[command(flatten)]
    turns: Turns,
    #[command(flatten)]
    load: Options,
    #[command(flatten)]
    output: Output,
}

/// Runs `latency`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let arrivals = args.load.arrivals;
    let open = args.rates.iter().map(|rate| Shape::Open { rate: *rate, arrivals });
    let shapes: Vec<Shape> = open.chain(args.in_flight.map(|in_flight| Shape::Closed { in_flight })).collect();
    let results = if shapes.is_empty() { vec![one_in_flight(args)?] } else { loaded(&args.load, &shapes)? };
    args.output.emit(results)
}

/// Shapes against the target of the mix.
fn loaded(load: &Options, shapes: &[Shape]) -> Result<Vec<RunResult>, Fault> {
    let mix = load.mix()?;
    let place = workplace(load.work.as_deref())?;
    let target = load.target(place.path(), &mix, &json!({ "name": "Load", "decision_mode": "auto_approve" }))?;
    let mut floor = match load.floor_samples {
        0 => None,
        _ => Some(Floor::start(place.path(), How::Fdatasync, REPLY)?),
    };
    one_by_one(load, &mix, &target, shapes, floor.as_mut())
}

/// One result for each shape, all against one target. A target that refused or broke off ends the row; after any other
/// void run the next is taken, since each waits for the last reply of the one before.
pub(crate) fn one_by_one(
    load: &Options,
    mix: &Mix,
    target: &Target,
    shapes: &[Shape],
    mut floor: Option<&mut Floor>,
) -> Result<Vec<RunResult>, Fault> {
    let mut numbers = Numbers::new(jiff::Timestamp::now());
    let mut results = Vec::new();
    for shape in shapes {
        let (result, why) = load::judged(&load.plan(target, mix, *shape), &mut numbers, floor.as_deref_mut())?;
        results.push(result);
        if why == Some(Why::Target) {
            break;
        }
    }
    Ok(results)
}

/// One tap in flight, account-funded, in turns with both floors.
fn one_in_flight(args: &Args) -> Result<RunResult, Fault> {
    let place = workplace(args.load.work.as_deref())?;
    let mix = Mix { cards: Pick { count: 1, ..Pick::default() }, ..Mix::load("accounts")? };
    let mix = Mix { funding: Funding { kind: Payer::Account, sources: 1 }, ..mix };
    let target =
        args.load.target(place.path(), &mix, &json!({ "name": "Latency", "decision_mode": "auto_approve" }))?;
    let mut taps = Taps::new(target.addr, target.cards.text(0))?;
    let (request_bytes, reply_bytes) = taps.sizes()?;
    let mut floor = Floor::start(place.path(), How::Fdatasync, reply_bytes)?;
    let mut direct = Floor::start(place.path(), How::Direct, reply_bytes).ok();
    let mut result = target.staged(|| args.turns.run(&mut taps, &mut floor, direct.as_mut()))?;
    result.name = "one in flight, account".to_owned();
    result.group = "one in flight".to_owned();
    result.notes.insert(0, format!("{request_bytes} bytes in, {reply_bytes} bytes out"));
    Ok(result)
}
