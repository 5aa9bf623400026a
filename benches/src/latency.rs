//! Latency beside the floor's of the same run: one account-funded tap in flight, in turns with the floor; or at given
//! rates, or with so many in flight, with the floor before and after. It owns the order of the turns; it must never
//! compare figures that were not taken side by side.

use crate::client::Link;
use crate::engine::{Engine, Setup, Site, workplace};
use crate::fault::Fault;
use crate::fixture::Maker;
use crate::floor::{Floor, How, REPLY};
use crate::load::numbers::Numbers;
use crate::load::options::Options;
use crate::load::output::Output;
use crate::load::{self, Shape};
use crate::measure::{Series, WINDOW};
use crate::messages::Messages;
use crate::result::RunResult;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a tap may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The account's money in cents: enough for any number of samples.
const MONEY: i64 = 9_999_999_900;

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
    /// One in flight: samples of each, after the warm-up
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
    /// One in flight: taps in one turn
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    turn: u32,
    /// One in flight: taps of each before the first sample
    #[arg(long, default_value_t = 500)]
    warm_up: u32,
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

/// One result for each shape, all against one target. A void run ends the row: what comes after it would stand on
/// what it left behind.
fn loaded(load: &Options, shapes: &[Shape]) -> Result<Vec<RunResult>, Fault> {
    let mix = load.mix()?;
    let place = workplace(load.work.as_deref())?;
    let target = load.target(place.path(), &mix, &json!({ "name": "Load", "decision_mode": "auto_approve" }))?;
    let mut floor = match load.floor_samples {
        0 => None,
        _ => Some(Floor::start(place.path(), How::Fdatasync, REPLY)?),
    };
    let mut numbers = Numbers::new(jiff::Timestamp::now());
    let mut results = Vec::new();
    for shape in shapes {
        let result = load::run(&load.plan(&target, &mix, *shape), &mut numbers, floor.as_mut())?;
        let void = result.void.is_some();
        results.push(result);
        if void {
            break;
        }
    }
    Ok(results)
}

/// The engine with a card that an account pays for, and a connection to it.
struct Taps<'a> {
    _engine: Engine,
    link: Link,
    messages: &'a Messages,
    pan: String,
    reply: Vec<u8>,
}

impl<'a> Taps<'a> {
    fn start(site: &Site, messages: &'a Messages) -> Result<Taps<'a>, Fault> {
        let engine = site.start()?;
        let rest = site.rest(&engine)?;
        let maker = Maker(&rest);
        let (partner, _) = maker.partner(&json!({ "name": "Latency", "decision_mode": "auto_approve" }))?;
        let user = maker.user(&partner, "alice")?;
        maker.account(&user, MONEY)?;
        let pan = maker.card(&user, &json!({ "type": "account", "currency": "EUR" }))?;
        let link = Link::connect(engine.link, PATIENCE).map_err(Fault::io("connecting to the link"))?;
        Ok(Taps { _engine: engine, link, messages, pan, reply: Vec::new() })
    }

    fn request(&self) -> Result<bytes::Bytes, Fault> {
        Ok(self.messages.tap(0x0100, &self.pan, 1250, "5812")?.0)
    }

    /// One tap, from the write to the whole reply. That it was approved is looked at outside the time.
    fn sample(&mut self, request: &[u8]) -> Result<Duration, Fault> {
        let from = Instant::now();
        self.link.exchange(request, &mut self.reply).map_err(Fault::io("a tap"))?;
        let took = from.elapsed();
        match self.messages.code(&self.reply).as_deref() {
            Some("00") => Ok(took),
            other => Err(Fault::Engine(format!("a tap was answered {} instead of 00", other.unwrap_or("unreadably")))),
        }
    }
}

/// One tap in flight, in turns with both floors.
fn one_in_flight(args: &Args) -> Result<RunResult, Fault> {
    let place = workplace(args.load.work.as_deref())?;
    let site = Site::new(args.load.engine.as_deref(), place.path(), &Setup { segment: "64MiB", budget: "2s" })?;
    let messages = Messages::new()?;
    let mut taps = Taps::start(&site, &messages)?;

    let first = taps.request()?;
    taps.sample(&first)?;
    let (request_bytes, reply_bytes) = (first.len(), taps.reply.len());
    let mut floor = Floor::start(place.path(), How::Fdatasync, reply_bytes)?;
    let mut direct = Floor::start(place.path(), How::Direct, reply_bytes).ok();

    let (mut of_engine, mut of_floor, mut of_direct) = (Series::default(), Series::default(), Series::default());
    let mut turn = |length: u32, first: usize, keep: bool| -> Result<(), Fault> {
        let requests = (0..length).map(|_| taps.request()).collect::<Result<Vec<_>, _>>()?;
        // Who begins changes from turn to turn, so that nobody always runs behind the same one.
        for at in 0..3 {
            for request in &requests {
                let (series, took) = match (first + at) % 3 {
                    0 => (&mut of_engine, taps.sample(request)?),
                    1 => (&mut of_floor, floor.sample(request)?),
                    _ => match &mut direct {
                        Some(direct) => (&mut of_direct, direct.sample(request)?),
                        None => break,
                    },
                };
                if keep {
                    series.push(took);
                }
            }
        }
        Ok(())
    };
    turn(args.warm_up, 0, false)?;
    let mut done = 0;
    let mut at = 0;
    while done < args.samples {
        let length = args.turn.min(args.samples - done);
        turn(length, at, true)?;
        done += length;
        at += 1;
    }

    let engine = of_engine.summary("engine: account-funded tap");
    let floor = of_floor.summary("floor: append + fdatasync");
    let ratio = engine.over(&floor);
    let mut result = RunResult {
        name: "one in flight, account".to_owned(),
        group: "one in flight".to_owned(),
        shape: "one".to_owned(),
        sent: engine.samples as u64,
        answered: engine.samples as u64,
        ..engine.result()
    };
    result.rate_per_s = of_engine.rate();
    result.answered_per_s = result.rate_per_s;
    result.floor_p50_us = floor.p50_us;
    result.floor_p99_us = floor.p99_us;
    result.ratio_p50 = ratio.p50;
    result.ratio_p99 = ratio.p99;
    result.curve = of_engine.curve();
    result.notes.push(format!(
        "{request_bytes} bytes in, {reply_bytes} bytes out, in turns of {}; windows are of {WINDOW} taps: W50 {:.2} and W99 {:.2} times the floor's",
        args.turn, ratio.window_p50, ratio.window_p99
    ));
    if direct.is_some() {
        let direct = of_direct.summary("direct");
        let text = "a floor with O_DIRECT|O_DSYNC blocks of 4 KiB instead, for information";
        result.notes.push(format!("{text}: p50 {:.1}, p99 {:.1} µs", direct.p50_us, direct.p99_us));
    }
    Ok(result)
}
