//! What hostile peers do to an engine, with honest traffic beside it: the numbers of `hostile.md` that are about time,
//! as runs. It owns the order (honest traffic alone, then with the attack, in turns), the checks and how both are
//! told beside each other; it must never call a figure good that was not taken in the same run as its counterpart.

mod burst;
mod crowd;
mod flood;
mod ground;
mod honest;
mod in_flight;
mod overload;
mod quota;
mod rest_flood;
mod slow_partners;
mod slowloris;
mod slowloris_run;
mod stall;
mod volume;

use crate::engine::workplace;
use crate::fault::Fault;
use crate::load::numbers::Numbers;
use crate::load::output::Output;
use crate::measure::{machine, table};
use crate::result::{RunResult, Target};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `attacks`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  benches attacks\n  benches attacks h05 h26 --quick\n  benches attacks overload --json\n\nh29 mounts and freezes a file system in a file, overload slows the journal or the processor by a control group: they\nneed root and are skipped aloud without."
)]
pub(crate) struct Args {
    /// Which (default: all)
    #[arg(value_enum, value_name = "ATTACK")]
    which: Vec<Which>,
    /// A few seconds each, one round: whether it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Honest taps a second
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// Rounds of honest traffic without and with the attack, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where the data directories lie (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// An attack by its number in `hostile.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// 500 connections that send one byte a second
    H05,
    /// 10,000 messages in flight on one link
    H07,
    /// Every other partner silent at once
    H20,
    /// REST flooded at its limit
    H26,
    /// A disk that stalls for five seconds
    H29,
    /// 1,000 connections on one link, 100 of them malicious
    Crowd,
    /// Three times what the engine can do, its journal slowed
    Overload,
    /// Three times what the engine can do, under a CPU quota
    OverloadCpu,
}

impl Which {
    const ALL: [Which; 8] =
        [Which::H05, Which::H07, Which::H20, Which::H26, Which::H29, Which::Crowd, Which::Overload, Which::OverloadCpu];

    fn name(self) -> &'static str {
        match self {
            Which::H05 => "h05 slowloris",
            Which::H07 => "h07 10,000 in flight",
            Which::H20 => "h20 slow partners",
            Which::H26 => "h26 REST flood",
            Which::H29 => "h29 disk stall",
            Which::Crowd => "1,000 connections, 100 malicious",
            Which::Overload => "overload, slowed journal",
            Which::OverloadCpu => "overload, CPU quota",
        }
    }
}

/// What every attack is given.
struct Terms<'a> {
    /// The engine's binary.
    engine: Option<&'a Path>,
    /// A directory of its own.
    place: &'a Path,
    /// Honest taps a second.
    rate: f64,
    /// Rounds in turns.
    rounds: u32,
    /// A few seconds only.
    quick: bool,
    /// Numbers of transactions, no two alike.
    numbers: &'a mut Numbers,
}

impl Terms<'_> {
    /// How long one run of honest traffic is.
    fn length(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 5 })
    }

    /// Numbers for a run beside others.
    fn own_numbers(&mut self) -> Numbers {
        let own = self.numbers.clone();
        // More than any run sends.
        self.numbers.take(20_000_000);
        own
    }
}

/// One promise, and what came out.
#[derive(Debug, Clone)]
struct Check {
    asked: String,
    got: String,
    met: bool,
}

impl Check {
    fn new(asked: impl Into<String>, got: impl Into<String>, met: bool) -> Check {
        Check { asked: asked.into(), got: got.into(), met }
    }
}

/// What came of an attack.
enum Outcome {
    /// It was run.
    Ran {
        /// Honest traffic without and with it, and other figures of the run.
        results: Vec<RunResult>,
        /// What had to hold.
        checks: Vec<Check>,
    },
    /// This machine or user cannot run it.
    Skipped(String),
}

/// Runs `attacks`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let which = if args.which.is_empty() { Which::ALL.to_vec() } else { args.which.clone() };
    let mut numbers = Numbers::new(jiff::Timestamp::now());
    let (mut results, mut broken) = (Vec::new(), false);
    for attack in which {
        let place = workplace(args.work.as_deref())?;
        let terms = Terms {
            engine: args.engine.as_deref(),
            place: place.path(),
            rate: f64::from(args.rate),
            rounds: if args.quick { 1 } else { args.rounds },
            quick: args.quick,
            numbers: &mut numbers,
        };
        let outcome = match attack {
            Which::H05 => slowloris_run::run(terms),
            Which::H07 => in_flight::run(terms),
            Which::H20 => slow_partners::run(terms),
            Which::H26 => rest_flood::run(terms),
            Which::H29 => stall::run(terms),
            Which::Crowd => crowd::run(terms),
            Which::Overload => overload::journal(terms),
            Which::OverloadCpu => overload::processor(terms),
        }?;
        match outcome {
            Outcome::Skipped(why) => eprintln!("{}: skipped: {why}", attack.name()),
            Outcome::Ran { results: mut of_attack, checks } => {
                broken |= checks.iter().any(|check| !check.met);
                if let Some(last) = of_attack.last_mut() {
                    last.target = Some(target(&checks));
                }
                if !args.output.json {
                    tell(attack, &of_attack, &checks);
                }
                results.append(&mut of_attack);
            }
        }
    }
    // Each attack was told as it ended; what is left is the machine.
    let code = args.output.emit_as(results, |_| println!("{}", machine()))?;
    Ok(if broken { ExitCode::FAILURE } else { code })
}

fn target(checks: &[Check]) -> Target {
    let join = |of: fn(&Check) -> &str| checks.iter().map(of).collect::<Vec<_>>().join("; ");
    Target {
        asked: join(|check| &check.asked),
        got: join(|check| &check.got),
        met: checks.iter().all(|check| check.met),
    }
}

/// Both runs beside each other, then what had to hold.
fn tell(attack: Which, results: &[RunResult], checks: &[Check]) {
    let mut rows =
        table(&[attack.name(), "rate/s", "sent", "errors", "p50 µs", "p99 µs", "max µs", "W50 µs", "W99 µs"]);
    for result in results {
        let counts = [format!("{:.0}", result.rate_per_s), result.sent.to_string(), result.errors.to_string()];
        let times = [result.p50_us, result.p99_us, result.max_us, result.w50_us, result.w99_us];
        let cells = times.iter().map(|time| format!("{time:.0}"));
        rows.add_row([result.name.clone()].into_iter().chain(counts).chain(cells));
    }
    println!("{rows}");
    let mut rows = table(&["must hold", "came out", ""]);
    for check in checks {
        rows.add_row([check.asked.as_str(), check.got.as_str(), if check.met { "ok" } else { "BROKEN" }]);
    }
    println!("{rows}");
    for result in results {
        let counts = result.counts.iter().map(|(kind, count)| format!("{kind}: {count}"));
        let said: Vec<String> = counts.chain(result.notes.iter().cloned()).collect();
        println!("{}: {}", result.name, said.join("; "));
    }
}
