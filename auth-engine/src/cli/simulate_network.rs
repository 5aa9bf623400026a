//! `auth-engine simulate network`: scenario files in, a summary and an exit code out. What is played is
//! [`crate::simulate::network`]'s.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use comfy_table::{Table, presets};
use iso_codec::{Framing, Width};
use serde_json::json;
use zeroize::Zeroizing;

use super::spec::load_spec;
use super::{EXIT_NO, Failure, Outcome};
use crate::demo::api::Api;
use crate::simulate::network::play::{Player, StepResult};
use crate::simulate::network::record::{Recorder, replayed};
use crate::simulate::network::scenario::{self, Link, Opening, Scenario, Unreadable};
use crate::simulate::network::setup;

/// The largest scenario or capture that is read.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Arguments of `simulate network`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine simulate network fixtures/scenarios/*.toml      against a sandbox on the default ports\n  auth-engine simulate network day.toml --connect 127.0.0.1:9583 --seed 7 --record day.hex\n  auth-engine simulate network day.hex                         the recorded messages once more\n\nThe form of a scenario: docs/network-simulator.md. Exit codes: 0 all as expected; 1 an expectation was not met; 2 a scenario does not read."
)]
pub struct Args {
    /// Scenario files (.toml), or captures: of packets (pcap, pcapng), or lines of `>` (network) or `<` (engine) and hexadecimal
    #[arg(value_name = "SCENARIO", required = true)]
    files: Vec<PathBuf>,
    /// Where the engine listens: for every first link, or NAME=ADDRESS for that link; repeatable
    #[arg(long, value_name = "[NAME=]ADDRESS")]
    connect: Vec<String>,
    /// The sidecar, for scenarios with [setup]
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    rest: SocketAddr,
    /// The operator's key, for scenarios with [setup]
    #[arg(long, value_name = "FILE", default_value = "data/operator.key")]
    key_file: PathBuf,
    /// Draws STANs, think times and orders; without it a new one, which is told
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The spec of captures
    #[arg(long, value_name = "NAME|FILE", default_value = "mastercard")]
    spec: String,
    /// The framing on which captures are played
    #[arg(long, value_name = "WIDTH", default_value = "len2be")]
    framing: String,
    /// Write every message into this file, card numbers in clear; it can be played again
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// JSON for machines instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit code 2: a file does not read, or REST cannot be asked for what a scenario needs.
pub fn run(args: &Args) -> Outcome {
    // All of them are read before the first is played.
    let scenarios = args.files.iter().map(|path| load(path, args)).collect::<Result<Vec<_>, _>>()?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(|error| Failure::no(format!("no seed: {error}; give one by --seed")))?,
    };
    let mut recorder = match &args.record {
        None => Recorder::default(),
        Some(path) => {
            eprintln!("warning: {} will hold card numbers in clear", path.display());
            Recorder::into_file(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?
        }
    };
    let mut results = Vec::with_capacity(scenarios.len());
    for (at, scenario) in (0u64..).zip(&scenarios) {
        let cards = match &scenario.setup {
            None => Vec::new(),
            Some(wanted) => setup::make(&mut api(args)?, wanted, &scenario.name)?,
        };
        // Scenarios of one run draw apart from each other.
        let player = Player::new(scenario, cards, seed.wrapping_add(at), &mut recorder)
            .map_err(|reason| Failure::usage(format!("{}: {reason}", scenario.name)))?;
        results.push((scenario, player.play()));
    }
    let failed: u64 = results.iter().flat_map(|(_, steps)| steps).map(|step| step.failed).sum();
    if args.json {
        let list: Vec<serde_json::Value> = results
            .iter()
            .map(|(scenario, steps)| json!({"scenario": scenario.name, "title": scenario.title, "steps": steps}))
            .collect();
        println!("{}", json!({"seed": seed, "failed": failed, "scenarios": list}));
    } else {
        summary(&results, seed, failed);
    }
    if let Some(error) = recorder.broken() {
        return Err(Failure::no(format!("the capture is not whole: {error}")));
    }
    Ok(if failed > 0 { ExitCode::from(EXIT_NO) } else { ExitCode::SUCCESS })
}

fn api(args: &Args) -> Result<Api, Failure> {
    let path = &args.key_file;
    let key = std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Failure::usage(format!("{path}: {error}; a scenario with [setup] needs the operator's key, by --key-file"))
    })?;
    let key = Zeroizing::new(key);
    Api::new(args.rest, Zeroizing::new(key.trim().to_owned()))
}

fn load(path: &Path, args: &Args) -> Result<Scenario, Failure> {
    let place = path.display();
    let refuse = |error: Unreadable| match error.line {
        0 => Failure::usage(format!("{place}: {}", error.reason)),
        line => Failure::usage(format!("{place}: line {line}: {}", error.reason)),
    };
    let length = std::fs::metadata(path).map_err(|error| Failure::usage(format!("{place}: {error}")))?.len();
    if length > LARGEST {
        return Err(Failure::usage(format!("{place}: larger than {LARGEST} bytes")));
    }
    let file = std::fs::read(path).map_err(|error| Failure::usage(format!("{place}: {error}")))?;
    let mut scenario = if scenario::is_scenario(path) {
        let text = String::from_utf8(file).map_err(|_| Failure::usage(format!("{place}: not UTF-8")))?;
        scenario::read(&text).map_err(refuse)?
    } else {
        let width = Width::parse(&args.framing)
            .ok_or_else(|| Failure::usage("--framing: len2be, len2le, len4be or len4ascii".to_owned()))?;
        let link = Link {
            name: "capture".to_owned(),
            opening: Opening::Connect("127.0.0.1:8583".to_owned()),
            spec: load_spec(&args.spec)?,
            framing: Framing { width, ..Framing::default() },
            header: Vec::new(),
        };
        let name = path.file_stem().map_or("capture".into(), |stem| stem.to_string_lossy());
        replayed(&file, &name, link).map_err(refuse)?
    };
    for wanted in &args.connect {
        let (name, address) = wanted.split_once('=').map_or((None, wanted.as_str()), |(name, at)| (Some(name), at));
        let link = match name {
            None => scenario.links.first_mut(),
            Some(name) => scenario.links.iter_mut().find(|link| link.name == name),
        };
        if let Some(link) = link {
            link.opening = match &link.opening {
                Opening::Connect(_) => Opening::Connect(address.to_owned()),
                Opening::Listen(_) => Opening::Listen(address.to_owned()),
            };
        }
    }
    Ok(scenario)
}

fn summary(results: &[(&Scenario, Vec<StepResult>)], seed: u64, failed: u64) {
    let mut table = Table::new();
    // A pipe gets columns of text alone.
    table.load_preset(if std::io::stdout().is_terminal() { presets::UTF8_BORDERS_ONLY } else { presets::NOTHING });
    table.set_header(["scenario", "step", "sent", "received", "failed", "ms"]);
    for (scenario, steps) in results {
        for step in steps {
            let numbers = [step.sent, step.received, step.failed, step.took_ms].map(|number| number.to_string());
            let mut row = vec![scenario.name.clone(), step.step.clone()];
            row.extend(numbers);
            table.add_row(row);
        }
    }
    println!("{table}");
    for (scenario, steps) in results {
        for step in steps {
            for reason in &step.failures {
                println!("{} / {}: {reason}", scenario.name, step.step);
            }
            let more = step.failed.saturating_sub(step.failures.len() as u64);
            if more > 0 {
                println!("{} / {}: and {more} more", scenario.name, step.step);
            }
        }
    }
    let (count, plural) = (results.len(), if results.len() == 1 { "scenario" } else { "scenarios" });
    match failed {
        0 => println!("{count} {plural}, all as expected (seed {seed})"),
        _ => println!("{count} {plural}, {failed} expectations not met (seed {seed})"),
    }
}
