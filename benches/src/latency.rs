//! One tap in flight, account-funded, warm: the engine beside the floor, in turns, in one run. It owns the order of
//! the turns and the table; it must never compare figures that were not taken side by side.

use crate::client::Link;
use crate::engine::{Engine, Setup, Site, workplace};
use crate::fault::Fault;
use crate::fixture::Maker;
use crate::floor::{Floor, How};
use crate::measure::{Ratio, Series, Summary, WINDOW, machine, summaries, table};
use crate::messages::Messages;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a tap may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The account's money in cents: enough for any number of samples.
const MONEY: i64 = 9_999_999_900;

/// Arguments of `latency`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches latency --samples 5000 --json")]
pub(crate) struct Args {
    /// Samples of each, after the warm-up
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
    /// Taps in one turn
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    turn: u32,
    /// Taps of each before the first sample
    #[arg(long, default_value_t = 500)]
    warm_up: u32,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where the data directory and the floor's file lie (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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

/// Runs `latency`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let site = Site::new(args.engine.as_deref(), place.path(), &Setup { segment: "64MiB", budget: "2s" })?;
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
    let direct = direct.map(|_| of_direct.summary("O_DIRECT|O_DSYNC, 4 KiB (for information)"));
    let ratio = engine.over(&floor);
    if args.json {
        let figures = json!({
            "machine": machine(), "request_bytes": request_bytes, "reply_bytes": reply_bytes, "turn": args.turn,
            "engine": engine, "floor": floor, "direct": direct, "ratio": ratio,
        });
        println!("{figures}");
    } else {
        println!(
            "{}; one in flight, {request_bytes} bytes in, {reply_bytes} bytes out, in turns of {}",
            machine(),
            args.turn
        );
        let rows: Vec<&Summary> = [Some(&engine), Some(&floor), direct.as_ref()].into_iter().flatten().collect();
        println!("{}", summaries(&rows));
        println!("{}", ratios(&ratio));
        println!("windows: the median over windows of {WINDOW} samples, because a disk that stalls spoils single ones");
    }
    drop(taps);
    Ok(ExitCode::SUCCESS)
}

fn ratios(ratio: &Ratio) -> comfy_table::Table {
    let mut table = table(&["engine over floor", "p50", "p99", "p50, windows", "p99, windows"]);
    let figures = [ratio.p50, ratio.p99, ratio.window_p50, ratio.window_p99];
    table.add_row(["ratio".to_owned()].into_iter().chain(figures.iter().map(|figure| format!("{figure:.2}"))));
    table
}
