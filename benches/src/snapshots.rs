//! Snapshots of a seeded directory: how long one takes to make and to begin with, and how much memory. Each step is a
//! process of its own, so that its memory is its own. It must never count a snapshot whose state is not the journal's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount};
use ledger_core::journal::file::RealDisk;
use ledger_core::journal::{KeySource, Snapshot, Stopped, list_snapshots};
use serde::{Deserialize, Serialize};

use crate::engine::{DEFAULTS, Site, workplace};
use crate::fault::Fault;
use crate::measure::table;
use crate::seed::{self, Plan};

/// Arguments of `snapshots`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  benches snapshots --cards 10000000\n  benches snapshots --data /var/tmp/million --json\n\nA seeded directory gets a snapshot; each start appends a few events to it."
)]
pub(crate) struct Args {
    /// A seeded directory
    #[arg(long, value_name = "DIR", conflicts_with = "cards")]
    data: Option<PathBuf>,
    /// Without a directory: cards of the one that is seeded for this run, each with a user and an account
    #[arg(long, default_value_t = 1_000_000)]
    cards: u64,
    /// Where a directory is seeded (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `snapshot-step`.
#[derive(Debug, clap::Args)]
pub(crate) struct StepArgs {
    /// Make one, or load it
    #[arg(value_parser = ["make", "load"])]
    step: String,
    /// The data directory
    #[arg(long)]
    data: PathBuf,
}

/// What a step came to.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    seconds: f64,
    peak_bytes: u64,
    snapshot_bytes: u64,
    events: u64,
    cards: u64,
    accounts: u64,
    state_hash: String,
}

fn peak() -> u64 {
    let status = procfs::process::Process::myself().and_then(|me| me.status());
    status.ok().and_then(|status| status.vmhwm).map_or(0, |kib| kib * 1024)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `snapshot-step`: one line of JSON.
pub(crate) fn step(args: &StepArgs) -> Result<ExitCode, Fault> {
    let dir = args.data.join("journal");
    let journal = |error: ledger_core::journal::JournalError| Fault::Engine(error.to_string());
    let began = Instant::now();
    let found = if args.step == "make" {
        let disk = std::sync::Arc::new(RealDisk);
        let stopped = Stopped::open(disk, &dir, &KeySource::absent()).map_err(journal)?;
        let made = ledger_core::snapshot::make(&stopped.reader(), true, &mut |_| true).map_err(journal)?;
        let made = made.ok_or_else(|| Fault::Engine("no segment was closed since the last snapshot".to_owned()))?;
        let seconds = began.elapsed().as_secs_f64();
        let snapshot_bytes = File::open(&made.path).and_then(|file| file.metadata()).map_or(0, |meta| meta.len());
        let (events, state_hash) = (made.events, hex(&made.state_hash));
        Step { seconds, peak_bytes: peak(), snapshot_bytes, events, cards: 0, accounts: 0, state_hash }
    } else {
        let newest = list_snapshots(&RealDisk, &dir).map_err(journal)?.into_iter().next();
        let (_, path) = newest.ok_or_else(|| Fault::Engine("no snapshot is there".to_owned()))?;
        let snapshot = Snapshot::open(&RealDisk, &path).map_err(journal)?;
        let book = ledger_core::snapshot::read(&snapshot).map_err(journal)?;
        let (seconds, peak_bytes) = (began.elapsed().as_secs_f64(), peak());
        let told = snapshot.head().state_hash;
        if book.state_hash() != told {
            return Err(Fault::Engine("what was loaded has another state hash than the journal's replay".to_owned()));
        }
        let (cards, accounts) = (u64::from(book.cards().len()), u64::from(book.accounts().len()));
        let snapshot_bytes = snapshot.bytes();
        Step { seconds, peak_bytes, snapshot_bytes, events: book.last_seq(), cards, accounts, state_hash: hex(&told) }
    };
    println!("{}", serde_json::json!(found));
    Ok(ExitCode::SUCCESS)
}

fn child(data: &Path, step: &str) -> Result<Step, Fault> {
    let program = std::env::current_exe().map_err(Fault::io("finding this program"))?;
    let mut command = Command::new(program);
    command.arg("snapshot-step").arg(step).arg("--data").arg(data);
    let out = command.output().map_err(Fault::io(format!("running the step {step}")))?;
    if !out.status.success() {
        return Err(Fault::Engine(format!("the step {step}: {}", String::from_utf8_lossy(&out.stderr).trim())));
    }
    serde_json::from_slice(&out.stdout).map_err(|why| Fault::Engine(format!("the step {step}: {why}")))
}

/// Runs `snapshots`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => {
            let data = place.path().join("seeded");
            seed::seed(&data, &seed::list_of(&data), &Plan::accounts(args.cards, 0))?;
            data
        }
    };
    let made = child(&data, "make")?;
    // Read once, so that its pages are in the cache.
    child(&data, "load")?;
    let loaded = child(&data, "load")?;
    let site = Site::configured(None, place.path(), Some(&data), DEFAULTS)?;
    let mut starts = Vec::new();
    for _ in 0..3 {
        let engine = site.start()?;
        starts.push((engine.started_in.as_secs_f64(), engine.resident_bytes().unwrap_or(0)));
        engine.stop()?;
    }
    let ready = crate::measure::median(starts.iter().map(|(took, _)| *took).collect());
    let resident = starts.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    if args.json {
        println!("{}", serde_json::json!({"made": made, "loaded": loaded, "ready_s": ready, "resident": resident}));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&["snapshot", "", "asked"]);
    let rate = |events: u64, seconds: f64| {
        #[expect(clippy::cast_precision_loss, reason = "events of a run are far below 2^52")]
        let events = events as f64;
        format!("{:.0}", events / seconds.max(1e-9))
    };
    for (name, value, asked) in [
        ("cards, users, accounts", HumanCount(loaded.cards).to_string(), ""),
        ("events it covers", HumanCount(loaded.events).to_string(), ""),
        ("bytes", HumanBytes(made.snapshot_bytes).to_string(), ""),
        ("made from the journal in", format!("{:.1} s", made.seconds), ""),
        ("  events folded and written a second", rate(made.events, made.seconds), ""),
        ("  peak memory of making", HumanBytes(made.peak_bytes).to_string(), "with the engine below 20 GiB"),
        ("loaded, page cache warm", format!("{:.2} s", loaded.seconds), "10 million cards in 10 s"),
        ("  peak memory of loading", HumanBytes(loaded.peak_bytes).to_string(), ""),
        ("engine ready, page cache warm, median of 3", format!("{ready:.2} s"), "10 million cards in 10 s"),
        ("  its resident memory", HumanBytes(resident).to_string(), ""),
        ("both at once", HumanBytes(resident + made.peak_bytes).to_string(), "20 GiB"),
    ] {
        rows.add_row([name.to_owned(), value, asked.to_owned()]);
    }
    println!("{rows}");
    Ok(ExitCode::SUCCESS)
}
