//! `compare`: the engine and its peers in one run, in turns, so that a disk or a neighbour that is slow for a while is
//! slow for all of them. It owns the order of the turns and what is held against what; it must never leave out a turn
//! because of its figures.

use super::cluster::{Cluster, Start};
use super::codec_turns;
use super::hot_row::HotRow;
use super::merge::merged;
use super::servers::{Peer, Servers};
use super::slice::Tally;
use super::verdict;
use crate::engine::workplace;
use crate::fault::Fault;
use crate::load::mix::Mix;
use crate::load::numbers::Numbers;
use crate::load::output::Output;
use crate::load::schedule::Arrivals;
use crate::load::{self, Plan, Shape};
use crate::measure::{machine, table};
use crate::result::RunResult;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Euro cents in the pool of each peer: no run can spend them.
const MONEY: i64 = 9_999_999_999_900;
/// Turns of each, taken in rounds.
const ROUNDS: u32 = 3;
/// Taps in flight of the database's clients and the naive server's connections.
const FEW: [usize; 4] = [1, 4, 16, 64];
/// Taps in flight of those that answer many at once.
const MANY: [usize; 6] = [1, 16, 64, 128, 256, 512];
/// Arrivals a second of the open loops, and who can take them.
const RATES: [(f64, &[Peer]); 3] = [
    (2_000.0, &[Peer::Naive, Peer::Cas, Peer::Engine]),
    (20_000.0, &[Peer::Cas, Peer::Engine]),
    (100_000.0, &[Peer::Cas, Peer::Engine]),
];
/// Load of a turn before what is measured.
const WARM_UP: Duration = Duration::from_millis(150);
/// The shortest measured part of a turn.
const SHORTEST: Duration = Duration::from_millis(300);
/// Seconds that are not turns: filling files, making a cluster, the codecs.
const AROUND: f64 = 12.0;

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches compare --seconds 90 --json --out compare.json")]
pub(crate) struct Args {
    /// Seconds for all of it together, about
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(30..=3600))]
    seconds: u32,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where the data lies (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Threads of the compare-and-swap server
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    #[command(flatten)]
    output: Output,
}

/// Who, in which shape, and the turns so far.
struct Entry {
    peer: Peer,
    shape: Shape,
    turns: Vec<RunResult>,
}

impl Entry {
    fn name(&self) -> String {
        match self.shape {
            Shape::Closed { in_flight: 1 } => format!("{}, one in flight", self.peer.name()),
            Shape::Closed { in_flight } => format!("{}, {in_flight} {}", self.peer.name(), self.peer.unit()),
            Shape::Open { rate, .. } => format!("{}, {rate:.0}/s", self.peer.name()),
        }
    }
}

/// Runs `compare`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let mix = Mix::load("hot-pool")?;
    let servers = Servers::start(args.engine.as_deref(), place.path(), &mix, args.workers, MONEY)?;
    let mut notes = Vec::new();
    let mut database = match Cluster::start(place.path(), "")? {
        Start::Running(cluster) => {
            let clients = FEW.iter().copied().max().unwrap_or(1);
            Some(HotRow::make(cluster, mix.cards.count, MONEY, clients, &servers.sample()?)?)
        }
        Start::Skipped(why) => {
            eprintln!("skipped: {why}");
            notes.push(format!("PostgreSQL was skipped: {why}"));
            None
        }
    };
    let mut entries = entries(database.is_some());
    let turns = entries.len() * ROUNDS as usize;
    let spare = (f64::from(args.seconds) - AROUND).max(1.0) / turns as f64;
    let length = Duration::from_secs_f64(spare).saturating_sub(WARM_UP).max(SHORTEST);
    let mut numbers = Numbers::new(jiff::Timestamp::now());
    for round in 0..ROUNDS {
        // Who begins changes from round to round, so that nobody always runs behind the same one.
        let shift = round as usize * entries.len() / ROUNDS as usize;
        let (late, early) = entries.split_at_mut(shift);
        for entry in early.iter_mut().chain(late) {
            let turn = match (&mut database, entry.peer, entry.shape) {
                (Some(database), Peer::Postgres, Shape::Closed { in_flight }) => {
                    database.run(in_flight, WARM_UP)?;
                    let mut tally = Tally::default();
                    tally.add(database.run(in_flight, length)?);
                    tally.result(&entry.name(), "closed")
                }
                _ => load::run(&plan(entry, &servers, &mix, length, u64::from(round)), &mut numbers, None)?,
            };
            entry.turns.push(turn);
        }
    }
    let version = database.as_ref().map(HotRow::told);
    drop(database);
    let mut results: Vec<RunResult> = entries.iter().map(|entry| with_notes(entry, version.as_deref())).collect();
    results.extend(verdict::against(&results));
    let codecs = Duration::from_secs_f64((f64::from(args.seconds) / 60.0).clamp(0.5, 10.0));
    match codec_turns::run(place.path(), codecs) {
        Ok(rows) => results.extend(rows),
        Err(fault) => {
            eprintln!("skipped: the codecs: {fault}");
            notes.push(format!("the codecs were skipped: {fault}"));
        }
    }
    args.output.emit_as(results, |results| show(results, &notes))
}

fn entries(database: bool) -> Vec<Entry> {
    let closed = |peer, in_flight: &[usize]| -> Vec<Entry> {
        let one = |in_flight: &usize| Entry { peer, shape: Shape::Closed { in_flight: *in_flight }, turns: Vec::new() };
        in_flight.iter().map(one).collect()
    };
    let mut entries = Vec::new();
    if database {
        entries.extend(closed(Peer::Postgres, &FEW));
    }
    entries.extend(closed(Peer::Naive, &FEW));
    entries.extend(closed(Peer::Cas, &MANY));
    entries.extend(closed(Peer::Engine, &MANY));
    for (rate, peers) in RATES {
        let shape = Shape::Open { rate, arrivals: Arrivals::Poisson };
        entries.extend(peers.iter().map(|peer| Entry { peer: *peer, shape, turns: Vec::new() }));
    }
    entries
}

fn plan(entry: &Entry, servers: &Servers, mix: &Mix, length: Duration, round: u64) -> Plan {
    let (addr, cards, watch) = servers.of(entry.peer);
    let mut plan = Plan::new(&entry.name(), vec![addr], entry.shape, mix.clone(), cards);
    plan.group = "peers".to_owned();
    plan.links = match (entry.peer, entry.shape) {
        (_, Shape::Closed { in_flight: 1 }) => 1,
        // A thread for each connection: what is in flight on one waits there.
        (Peer::Naive, Shape::Closed { in_flight }) => in_flight,
        _ => 4,
    };
    (plan.warm_up, plan.length, plan.seed, plan.watch) = (WARM_UP, length, round + 1, watch);
    plan
}

/// The turns of an entry as one result, with what a reader must know about that peer.
fn with_notes(entry: &Entry, version: Option<&str>) -> RunResult {
    let mut result = merged(&entry.name(), &entry.turns);
    result.notes.extend(entry.peer.notes().iter().map(|note| (*note).to_owned()));
    if entry.peer == Peer::Postgres {
        result.notes.extend(version.map(str::to_owned));
    }
    result
}

fn show(results: &[RunResult], notes: &[String]) {
    println!("{}; in {ROUNDS} rounds of turns; each figure is the median of the turns'", machine());
    let header = ["µs", "per second", "errors", "p50", "p90", "p99", "p99.9", "p50, windows", "p99, windows"];
    let mut rows = table(&header);
    let (codecs, servers): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.group == "codec");
    for result in servers.iter().filter(|result| result.target.is_none()) {
        let mut cells = vec![result.name.clone(), format!("{:.0}", result.rate_per_s), result.errors.to_string()];
        let figures = [result.p50_us, result.p90_us, result.p99_us, result.p999_us, result.w50_us, result.w99_us];
        match &result.void {
            None => cells.extend(figures.iter().map(|figure| format!("{figure:.1}"))),
            Some(why) => cells.push(format!("void: {why}")),
        }
        rows.add_row(cells);
    }
    println!("{rows}");
    let mut rows = table(&["ns a message", "p50", "p99", "allocations", "its reply"]);
    for result in codecs {
        let mut cells = vec![result.name.clone()];
        match &result.void {
            None => {
                let figures = [result.p50_us, result.p99_us];
                cells.extend(figures.iter().map(|figure| format!("{:.0}", figure * 1000.0)));
                cells.extend(result.counts.iter().map(|(_, count)| count.to_string()));
                let said = result.notes.iter().find_map(|note| note.strip_prefix("its reply "));
                cells.push(said.unwrap_or_default().to_owned());
            }
            Some(why) => cells.push(format!("void: {why}")),
        }
        rows.add_row(cells);
    }
    println!("{rows}");
    let mut rows = table(&["target", "asked", "got", "met"]);
    for result in results {
        if let Some(target) = &result.target {
            let met = if target.met { "yes" } else { "NO" };
            rows.add_row([&result.name, &target.asked, &target.got, met]);
        }
    }
    println!("{rows}");
    let mut told: Vec<&str> = notes.iter().map(String::as_str).collect();
    for note in results.iter().filter(|result| result.group != "codec").flat_map(|result| &result.notes) {
        if !told.contains(&note.as_str()) {
            told.push(note);
        }
    }
    told.iter().for_each(|note| println!("- {note}"));
}
