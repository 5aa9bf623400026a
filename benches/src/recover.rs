//! How long a start takes on a directory of that size: from the start of the process to its `ready`, with the page
//! cache emptied of the directory's files and with it warm. It owns what cold and warm mean; it must never count a
//! start that did not end in an engine that answers.

use crate::engine::{DEFAULTS, START_LIMIT, Site, workplace};
use crate::fault::Fault;
use crate::load::output::Output;
use crate::measure::table;
use crate::result::RunResult;
use crate::seed::{self, Plan};
use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `recover`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  benches recover --cards 1000000 --holds 100000\n  benches recover --data /var/tmp/million --rounds 5 --json"
)]
pub(crate) struct Args {
    /// A seeded directory; each start and stop appends a few events to it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cards", "holds"])]
    data: Option<PathBuf>,
    /// Without a directory: cards of the one that is seeded for this run
    #[arg(long, default_value_t = 1_000_000)]
    cards: u64,
    /// Without a directory: its open holds
    #[arg(long, default_value_t = 100_000)]
    holds: u64,
    /// Starts of each kind
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where a directory is seeded (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Starts of one kind.
struct Starts {
    took: Histogram<u64>,
    events: u64,
    resident: u64,
}

impl Starts {
    fn new() -> Starts {
        // In microseconds, and none is longer: an engine that is not ready then is given up.
        let longest = u64::try_from(START_LIMIT.as_micros()).unwrap_or(u64::MAX);
        let took = Histogram::new_with_max(longest, 3).expect("a maximum above two and three digits are legal");
        Starts { took, events: 0, resident: 0 }
    }

    /// One start, up to `ready`, and a clean stop.
    fn add(&mut self, site: &Site) -> Result<(), Fault> {
        let engine = site.start()?;
        let state = site.rest(&engine)?.read("/v1/system/state")?;
        let events = state["last_sequence"].as_u64();
        self.events = events.ok_or_else(|| Fault::Engine("the engine tells no last_sequence".to_owned()))?;
        self.resident = self.resident.max(engine.resident_bytes().unwrap_or(0));
        self.took.saturating_record(u64::try_from(engine.started_in.as_micros()).unwrap_or(u64::MAX));
        let status = engine.stop()?;
        if status.success() { Ok(()) } else { Err(Fault::Engine(format!("the engine ended with {status}"))) }
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds and events of a run are far below 2^52")]
    fn result(&self, name: &str, notes: Vec<String>) -> RunResult {
        let at = |quantile| self.took.value_at_quantile(quantile) as f64;
        let median = at(0.5);
        let rate = if median > 0.0 { self.events as f64 / (median / 1e6) } else { 0.0 };
        RunResult {
            name: name.to_owned(),
            group: "recover".to_owned(),
            shape: "start".to_owned(),
            rate_per_s: rate,
            answered_per_s: rate,
            sent: self.events,
            answered: self.events,
            p50_us: median,
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.took.max() as f64,
            counts: vec![("events".to_owned(), self.events), ("resident bytes".to_owned(), self.resident)],
            notes,
            ..RunResult::default()
        }
    }
}

/// Runs `recover`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => {
            let data = place.path().join("seeded");
            seed::seed(&data, &seed::list_of(&data), &Plan::accounts(args.cards, args.holds))?;
            data
        }
    };
    let results = starts(args, place.path(), &data)?;
    args.output.emit_as(results, |results| {
        let mut rows = table(&["start", "to ready, median", "slowest", "events", "events/s", "RSS after"]);
        for result in results {
            let count = |name: &str| result.counts.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
            rows.add_row([
                result.name.clone(),
                format!("{:.3} s", result.p50_us / 1e6),
                format!("{:.3} s", result.max_us / 1e6),
                HumanCount(count("events")).to_string(),
                format!("{:.0}", result.rate_per_s),
                HumanBytes(count("resident bytes")).to_string(),
            ]);
        }
        println!("{rows}");
        results.iter().flat_map(|result| &result.notes).for_each(|note| println!("{note}"));
    })
}

fn starts(args: &Args, place: &Path, data: &Path) -> Result<Vec<RunResult>, Fault> {
    let site = Site::configured(args.engine.as_deref(), place, Some(data), DEFAULTS)?;
    // The first start of a seeded directory has no read model yet and names the links: it is told apart.
    let fresh = !data.join("view").exists();
    let (mut first, mut cold, mut warm) = (Starts::new(), Starts::new(), Starts::new());
    if fresh {
        first.add(&site)?;
    }
    for _ in 0..args.rounds {
        forget(data)?;
        cold.add(&site)?;
        warm.add(&site)?;
    }
    let mut results = Vec::new();
    if fresh {
        let note =
            "first start: no read model yet; it is built in the background after `ready`, by the lowest priority";
        results.push(first.result("first start, warm page cache", vec![note.to_owned()]));
    }
    let note = "cold: the directory's pages were dropped from the page cache before each start (fadvise); the disk's \
                own caches and the program's pages were not; a start is timed from its fork to its line `ready`";
    results.push(cold.result("cold page cache", vec![note.to_owned()]));
    results.push(warm.result("warm page cache", Vec::new()));
    Ok(results)
}

/// Asks the kernel to forget the cached pages of every file under `dir`. Dirty ones are written first: they would
/// stay otherwise.
fn forget(dir: &Path) -> Result<(), Fault> {
    let fault = |path: &Path| Fault::io(format!("dropping the cached pages of {}", path.display()));
    for entry in fs::read_dir(dir).map_err(fault(dir))? {
        let path = entry.map_err(fault(dir))?.path();
        if path.is_dir() {
            forget(&path)?;
            continue;
        }
        let file = File::open(&path).map_err(fault(&path))?;
        file.sync_all().map_err(fault(&path))?;
        let dropped = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        dropped.map_err(std::io::Error::from).map_err(fault(&path))?;
    }
    // The kernel drops what is clean at once; what another flush still holds needs a moment.
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}
