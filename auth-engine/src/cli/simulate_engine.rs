//! `simulate engine`: runs seeds of the simulator, tells what was covered, and the shortest story of what was found. It
//! owns arguments and output; what is simulated lives in [`crate::simulate::engine`].

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{EXIT_NO, Failure, Outcome, say};
use crate::simulate::engine::coverage::Coverage;
use crate::simulate::engine::{draw, run as run_plan, shrink, story};

/// From so many seeds on a rule or a fault that none of them reached is a failure.
const LONG: u64 = 1_000;

/// Arguments of `simulate engine`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  auth-engine simulate engine --seeds 10000\n  auth-engine simulate engine --seed 4711     one seed, alone\n\nExit 1: a rule was broken, or in a run of 1000 seeds and more something was never reached."
)]
pub struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// This seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Steps of each run, behind its beginning
    #[arg(long, value_name = "N", default_value_t = 60)]
    steps: usize,
    /// Threads; without it one for each processor
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Go on after the first violation, and tell all of them
    #[arg(long)]
    all: bool,
    /// Do not make the story shorter
    #[arg(long)]
    whole: bool,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// What a campaign gathers.
#[derive(Default)]
struct Gathered {
    coverage: Coverage,
    operations: u64,
    /// The last run's, which is the only one where a seed is run alone.
    trace: [u8; 32],
    found: Vec<(u64, String)>,
}

/// Runs `simulate engine`.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let Some(end) = from.checked_add(seeds) else {
        return Err(Failure::usage("--from and --seeds together are larger than a seed can be"));
    };
    quiet_panics();
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(seeds) };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}") {
        bar.set_style(style);
    }
    let gathered = campaign(&args, from, end, &bar);
    bar.finish_and_clear();
    let missing = if seeds >= LONG && gathered.found.is_empty() { gathered.coverage.missing() } else { Vec::new() };
    tell(&args, seeds, &gathered, &missing);
    let fine = gathered.found.is_empty() && missing.is_empty();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn campaign(args: &Args, from: u64, end: u64, bar: &ProgressBar) -> Gathered {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = args.threads.unwrap_or(processors).max(1);
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let gathered = Mutex::new(Gathered::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let plan = draw(seed, args.steps);
                    let outcome = run_plan(&plan);
                    let mut all = gathered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    all.coverage.merge(&outcome.coverage);
                    all.operations += outcome.operations;
                    all.trace = outcome.trace;
                    drop(all);
                    bar.inc(1);
                    if outcome.violation.is_some() {
                        stop.store(!args.all, Ordering::Relaxed);
                        bar.set_message(format!("making the story of seed {seed} shorter"));
                        let (plan, outcome) = if args.whole { (plan, outcome) } else { shrink(&plan, &outcome) };
                        let text = story(&plan, &outcome);
                        let mut all = gathered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        all.found.push((seed, text));
                    }
                }
            });
        }
    });
    gathered.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn tell(args: &Args, seeds: u64, gathered: &Gathered, missing: &[String]) {
    let mut found = gathered.found.clone();
    found.sort_by_key(|(seed, _)| *seed);
    let alone = |seed: u64| format!("auth-engine simulate engine --seed {seed} --steps {}", args.steps);
    if args.json {
        let mut coverage = serde_json::Map::new();
        for ((subject, word), count) in gathered.coverage.counts() {
            let of = coverage.entry(subject).or_insert_with(|| json!({}));
            of[word] = json!(count);
        }
        let found: Vec<_> = found
            .iter()
            .map(|(seed, text)| json!({"seed": seed, "alone": alone(*seed), "story": text.lines().collect::<Vec<_>>()}))
            .collect();
        say(json!({
            "seeds": seeds, "steps": args.steps, "disk_operations": gathered.operations, "violations": found,
            "never_reached": missing, "coverage": coverage,
        }));
        return;
    }
    if let Some(seed) = args.seed {
        // The same seed is the same run: this tells.
        let trace = blake3::Hash::from_bytes(gathered.trace).to_hex();
        say(format_args!("trace of seed {seed}: {trace}"));
    } else {
        say(gathered.coverage.table());
    }
    for (seed, text) in &found {
        say(format_args!("\nfound, alone by: {}\n{text}", alone(*seed)));
    }
    for what in missing {
        say(format_args!("never reached: {what}"));
    }
    let operations = gathered.operations;
    say(format_args!("{} violations in {seeds} seeds, {operations} operations of the disk", found.len()));
}

/// A panic of the simulated engine is a violation with its story; the message belongs there.
fn quiet_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let simulated = std::thread::current().name().is_none();
        if !simulated {
            report(info);
        }
    }));
}
