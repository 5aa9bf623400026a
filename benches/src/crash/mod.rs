//! `kill -9` under load, again and again: what was acknowledged is there, byte for byte and to the cent; what was
//! not is wholly there or wholly not; and the journal folds to the state that was live.
//!
//! This file owns the rounds and the report. The harness keeps its own book and shares no rule with the engine.

mod check;
mod load;
mod story;
mod world;

use crate::engine::{Engine, Site, workplace};
use crate::fault::Fault;
use crate::measure::{machine, table};
use crate::messages::Messages;
use auth_engine::simulate::partner::SamplePartner;
use check::{Resolved, Standing};
use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use load::{Stage, Write};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use story::Story;
use world::World;

/// Callers of the sidecar during the load.
const CALLERS: usize = 2;
/// Stories of each round that stay under test.
const KEPT_STORIES: usize = 100;
/// Writes of each round that stay under test.
const KEPT_WRITES: usize = 20;
/// Kept stories that a round asks for again, drawn anew; the last round asks for all, so that a round's time does not
/// grow with their number.
const ASKED_STORIES: usize = 800;
/// Kept writes that a round repeats, drawn anew; the last round repeats all.
const ASKED_WRITES: usize = 100;
/// One kill in so many waits, for a while, until a snapshot is being made.
const AT_SNAPSHOT_ONE_IN: u8 = 3;
/// How long such a kill waits at most: the engine looks once a second whether a snapshot is due.
const SNAPSHOT_PATIENCE: Duration = Duration::from_millis(1_500);
/// Rounds from which on some start must have begun with a snapshot.
const LONG: usize = 50;
/// Violations that are printed; the rest is counted.
const PRINTED: usize = 25;
/// One restart in so many is killed itself, in the middle of its recovery.
const DOUBLE_KILL_ONE_IN: u8 = 3;

/// Arguments of `crash`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches crash --rounds 20 --seed 42")]
pub(crate) struct Args {
    /// Kills under load
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Connections that send, one message in flight on most of them
    #[arg(long, default_value_t = 24)]
    connections: usize,
    /// Seed of everything random (default: drawn and printed)
    #[arg(long)]
    seed: Option<u64>,
    /// Longest load before a kill, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(20..))]
    longest_ms: u64,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where the data directory lies (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Keep the data directory also when nothing was violated
    #[arg(long)]
    keep: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// What the engine's log says when a start begins with a snapshot, and when one was made.
const FROM_SNAPSHOT: &str = "the replay begins with a snapshot";
const SNAPSHOT_MADE: &str = "a snapshot was made";

/// What one round did and found.
#[derive(Debug, Default, Clone, Serialize)]
struct Round {
    round: u32,
    load_ms: u128,
    killed_in_recovery: bool,
    /// A snapshot was being made when the engine was killed.
    killed_in_snapshot: bool,
    /// The start after the kill began with a snapshot.
    from_snapshot: bool,
    acknowledged: u64,
    repeated_under_load: u64,
    writes: u64,
    open: u64,
    interrupted: u64,
    compared: u64,
    recovery_ms: u128,
    last_sequence: u64,
    state_hash: String,
    violations: usize,
}

/// All that outlives a round.
struct Run<'a> {
    site: &'a Site,
    world: World,
    messages: Messages,
    standing: Vec<Standing>,
    kept_stories: Vec<Story>,
    kept_writes: Vec<Write>,
    connections: usize,
    longest: u64,
    rng: Rng,
    violations: Vec<String>,
}

/// Runs `crash`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let place = workplace(args.work.as_deref())?;
    // The budget is long so that a stalling disk makes answers slow instead of refused: a refusal is by contract not
    // remembered, and this harness asks for every answer again. Small segments put kills into their changes, and with
    // no time allowed for a recovery each closed one is soon in a snapshot, and in the archive after that.
    let config = "sandbox = true\ndrain_timeout = \"5s\"\n\n[[link]]\nname = \"mastercard\"\n\
                  listen = \"127.0.0.1:0\"\nspec = \"mastercard\"\nframing = \"len2be\"\nbudget = \"30s\"\n\n\
                  [rest]\nlisten = \"127.0.0.1:0\"\n\n[journal]\nsegment = \"1MiB\"\nmax_batch = \"256KiB\"\n\
                  recovery_time = \"0s\"\n";
    let config = format!("{config}archive_dir = {:?}\n", place.path().join("archive"));
    let site = Site::configured(args.engine.as_deref(), place.path(), None, &config)?;
    let sample =
        SamplePartner::start::<&str>("127.0.0.1:0", &[], Vec::new()).map_err(Fault::io("the sample partner"))?;
    let messages = Messages::new()?;
    if !args.json {
        println!("seed {seed}; {}; {} connections, {CALLERS} REST callers", machine(), args.connections);
    }
    let engine = site.start()?;
    let world = World::make(&site.rest(&engine)?, &sample)?;
    let standing = world.sources.iter().map(|source| Standing { posted: source.opening, held: 0 }).collect();
    let mut run = Run {
        site: &site,
        world,
        messages,
        standing,
        kept_stories: Vec::new(),
        kept_writes: Vec::new(),
        connections: args.connections.max(1),
        longest: args.longest_ms,
        rng: Rng::with_seed(seed),
        violations: Vec::new(),
    };
    let rounds = run.rounds(engine, args)?;
    if rounds.len() >= LONG && !rounds.iter().any(|round| round.from_snapshot) {
        run.violations.push("at the end: no start after a kill began with a snapshot, so none was tried".to_owned());
    }
    run.last_words()?;
    report(&run, &rounds, &sample, args, seed);
    let clean = run.violations.is_empty();
    if !clean || args.keep {
        let kept = place.keep();
        eprintln!("the data directory, the configuration and the engine's log are kept in {}", kept.display());
    }
    Ok(ExitCode::from(u8::from(!clean)))
}

impl Run<'_> {
    fn rounds(&mut self, first: Engine, args: &Args) -> Result<Vec<Round>, Fault> {
        let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(u64::from(args.rounds)) };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        let mut engine = Some(first);
        let mut rounds = Vec::new();
        for number in 1..=args.rounds {
            let running = match engine.take() {
                Some(running) => running,
                None => self.site.start()?,
            };
            let round = self.round(number, running, number == args.rounds)?;
            let line = round.line(args.rounds);
            if bar.is_hidden() && !args.json {
                println!("{line}");
            } else {
                bar.println(line);
            }
            bar.inc(1);
            rounds.push(round);
        }
        bar.finish_and_clear();
        Ok(rounds)
    }

    /// Load, kill, restart, ask for everything again, compare, quiet, kill, verify.
    fn round(&mut self, number: u32, engine: Engine, last: bool) -> Result<Round, Fault> {
        let stage = Stage::new(&self.world, &self.messages);
        let mut round = Round { round: number, ..Round::default() };

        let rest = self.site.rest(&engine)?;
        let (link, load) = (engine.link, Duration::from_millis(self.rng.u64(20..=self.longest)));
        let at_snapshot = self.rng.u8(..AT_SNAPSHOT_ONE_IN) == 0;
        let mut seeds: Vec<Rng> = (0..self.connections + CALLERS).map(|_| self.rng.fork()).collect();
        let from = Instant::now();
        let (mut stories, mut writes) = std::thread::scope(|scope| {
            let (stage, rest) = (&stage, &rest);
            let callers: Vec<_> = (0..CALLERS)
                .filter_map(|caller| seeds.pop().map(|rng| (caller, rng)))
                .map(|(caller, rng)| {
                    scope.spawn(move || stage.move_money(rest, &format!("round-{number}-{caller}"), rng))
                })
                .collect();
            let tellers: Vec<_> = seeds.into_iter().map(|rng| scope.spawn(move || stage.tell(link, rng))).collect();
            // The moment of the kill is drawn; nothing in the engine knows of it.
            std::thread::sleep(load);
            if at_snapshot {
                round.killed_in_snapshot = self.site.wait_for_snapshot(SNAPSHOT_PATIENCE);
            }
            stage.dying.store(true, Ordering::SeqCst);
            engine.kill();
            (joined(tellers), joined(callers))
        });
        round.load_ms = from.elapsed().as_millis();
        round.repeated_under_load = stage.repeats.load(Ordering::Relaxed);
        let steps = || stories.iter().flatten().flat_map(|story| &story.steps);
        round.acknowledged = count(steps().filter(|step| step.acknowledged));
        round.writes = count(writes.iter().flatten().filter(|write| write.acknowledged));

        // What the kill left must read as sound before anybody repairs it by starting.
        if let Err(what) = self.site.verify()? {
            stage.object(format!("on what the kill left: {what}"));
        }
        round.killed_in_recovery = self.rng.u8(..DOUBLE_KILL_ONE_IN) == 0;
        if round.killed_in_recovery {
            self.site.start_and_kill(Duration::from_millis(self.rng.u64(1..40)))?;
        }
        let before = self.site.said(FROM_SNAPSHOT);
        let engine = self.site.start()?;
        round.from_snapshot = self.site.said(FROM_SNAPSHOT) > before;
        round.recovery_ms = engine.started_in.as_millis();
        let rest = self.site.rest(&engine)?;
        let bounds = check::stand(&self.standing, &stories, &writes);
        check::balances(&stage, "before anything was repeated", &check::read(&self.world, &rest)?, &bounds);

        // Which of what is kept from earlier rounds is asked for now.
        let (some_stories, some_writes) = if last { (usize::MAX, usize::MAX) } else { (ASKED_STORIES, ASKED_WRITES) };
        self.rng.shuffle(&mut self.kept_stories);
        self.rng.shuffle(&mut self.kept_writes);
        let mut total = Resolved::default();
        let asked = std::thread::scope(|scope| {
            let mut lots: Vec<Vec<&mut Story>> = (0..self.connections.min(8)).map(|_| Vec::new()).collect();
            let shares = lots.len().max(1);
            let all = stories.iter_mut().flatten().chain(self.kept_stories.iter_mut().take(some_stories));
            for (at, story) in all.enumerate() {
                if let Some(lot) = lots.get_mut(at % shares) {
                    lot.push(story);
                }
            }
            let (stage, link) = (&stage, engine.link);
            let threads: Vec<_> = lots
                .into_iter()
                .map(|mut lot| {
                    let mut rng = self.rng.fork();
                    scope.spawn(move || check::ask_again(stage, link, &mut lot, &mut rng))
                })
                .collect();
            joined(threads)
        });
        for resolved in asked {
            total.add(resolved?);
        }
        for writes in &mut writes {
            total.add(check::call_again(&stage, &rest, writes)?);
        }
        let kept = self.kept_writes.len().min(some_writes);
        total.add(check::call_again(&stage, &rest, self.kept_writes.get_mut(..kept).unwrap_or_default())?);
        (round.open, round.interrupted, round.compared) = (total.open, total.interrupted, total.compared);

        // Every question is answered: from here on the balances have to be exact.
        let exact = check::stand(&self.standing, &stories, &writes);
        check::balances(&stage, "after everything was repeated", &check::read(&self.world, &rest)?, &exact);

        // Nothing moves: the live state, then the last kill, then what the journal alone says of it.
        let state = rest.read("/v1/system/state")?;
        engine.kill();
        let (seq, hash) = (state["last_sequence"].as_u64(), state["state_hash"].as_str().unwrap_or_default());
        match self.site.verify()? {
            Ok(found) if Some(found.last_sequence) == seq && found.state_hash == hash && !hash.is_empty() => {}
            Ok(found) => stage.object(format!(
                "the live state was {hash} at {seq:?}, the journal folds to {} at {}",
                found.state_hash, found.last_sequence
            )),
            Err(what) => stage.object(format!("after a kill in quiet: {what}")),
        }
        round.last_sequence = seq.unwrap_or(0);
        round.state_hash = hash.to_owned();

        let found = stage.violations.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        round.violations = found.len();
        self.violations.extend(found.into_iter().map(|what| format!("round {number}: {what}")));
        let [least, _] = exact;
        self.standing = least;
        self.keep(stories, writes);
        Ok(round)
    }

    /// A sample of the round stays under test for the rest of the run.
    fn keep(&mut self, stories: Vec<Vec<Story>>, writes: Vec<Vec<Write>>) {
        let mut stories: Vec<Story> = stories.into_iter().flatten().collect();
        self.rng.shuffle(&mut stories);
        stories.truncate(KEPT_STORIES);
        self.kept_stories.extend(stories);
        let mut writes: Vec<Write> = writes.into_iter().flatten().collect();
        self.rng.shuffle(&mut writes);
        writes.truncate(KEPT_WRITES);
        self.kept_writes.extend(writes);
    }

    /// One more start, this time ended by SIGTERM: exit 0, and a journal that verifies.
    fn last_words(&mut self) -> Result<(), Fault> {
        let engine = self.site.start()?;
        let status = engine.stop()?;
        if !status.success() {
            self.violations.push(format!("at the end: SIGTERM ended the engine with {status} instead of 0"));
        }
        if let Err(what) = self.site.verify()? {
            self.violations.push(format!("at the end: {what}"));
        }
        Ok(())
    }
}

impl Resolved {
    fn add(&mut self, other: Resolved) {
        self.compared += other.compared;
        self.open += other.open;
        self.interrupted += other.interrupted;
    }
}

impl Round {
    fn line(&self, of: u32) -> String {
        let recovery = if self.killed_in_recovery { "killed in recovery, then recovered" } else { "recovered" };
        let snapshot = match (self.killed_in_snapshot, self.from_snapshot) {
            (true, true) => ", killed in a snapshot, from one",
            (true, false) => ", killed in a snapshot",
            (false, true) => ", from a snapshot",
            (false, false) => "",
        };
        let verdict = match self.violations {
            0 => "all held".to_owned(),
            n => format!("{n} VIOLATIONS"),
        };
        format!(
            "round {:>2}/{of}  killed after {:>4} ms  {:>6} answers + {:>4} writes acknowledged, {:>3} open ({} interrupted)  \
             {recovery} in {} ms{snapshot}  {} asked again  seq {} hash {}  {verdict}",
            self.round,
            self.load_ms,
            self.acknowledged,
            self.writes,
            self.open,
            self.interrupted,
            self.recovery_ms,
            self.compared,
            self.last_sequence,
            self.state_hash.get(..8).unwrap_or("-"),
        )
    }
}

fn report(run: &Run<'_>, rounds: &[Round], sample: &SamplePartner, args: &Args, seed: u64) {
    let seen = sample.seen();
    if args.json {
        let figures = serde_json::json!({
            "machine": machine(), "seed": seed, "rounds": rounds, "violations": run.violations,
            "asks": { "answered": seen.asks, "repeated": seen.repeated, "unsigned": seen.unsigned },
        });
        println!("{figures}");
        return;
    }
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
    let slowest = rounds.iter().map(|round| round.recovery_ms).max().unwrap_or(0);
    let killed_twice = rounds.iter().filter(|round| round.killed_in_recovery).count();
    let mut totals = table(&["over all rounds", ""]);
    totals.add_row(["kills under load".to_owned(), rounds.len().to_string()]);
    totals.add_row(["kills in the recovery that followed".to_owned(), killed_twice.to_string()]);
    let in_snapshot = rounds.iter().filter(|round| round.killed_in_snapshot).count();
    totals.add_row(["of the kills: while a snapshot was being made".to_owned(), in_snapshot.to_string()]);
    totals.add_row(["snapshots made".to_owned(), run.site.said(SNAPSHOT_MADE).to_string()]);
    let from_snapshot = rounds.iter().filter(|round| round.from_snapshot).count();
    totals.add_row(["starts after a kill under load that began with a snapshot".to_owned(), from_snapshot.to_string()]);
    totals.add_row(["starts in all that began with a snapshot".to_owned(), run.site.said(FROM_SNAPSHOT).to_string()]);
    totals.add_row(["answers on the link, acknowledged".to_owned(), sum(|r| r.acknowledged).to_string()]);
    totals.add_row(["repeats under load, byte-identical".to_owned(), sum(|r| r.repeated_under_load).to_string()]);
    totals.add_row(["REST writes acknowledged".to_owned(), sum(|r| r.writes).to_string()]);
    totals.add_row(["asked again after a restart, byte-identical".to_owned(), sum(|r| r.compared).to_string()]);
    totals.add_row(["open at a kill, settled by asking again".to_owned(), sum(|r| r.open).to_string()]);
    totals.add_row(["of them answered 91 (interrupted or timed out)".to_owned(), sum(|r| r.interrupted).to_string()]);
    totals.add_row([
        "asks that reached the sample partner, twice the same".to_owned(),
        format!("{}, {}", seen.asks, seen.repeated),
    ]);
    totals.add_row(["slowest start to ready".to_owned(), format!("{slowest} ms")]);
    totals.add_row(["bytes in the data directory".to_owned(), run.site.bytes().to_string()]);
    totals.add_row(["violations".to_owned(), run.violations.len().to_string()]);
    println!("{totals}");
    let mut money = table(&["source, in cents", "opened with", "posted", "held", "available"]);
    for (source, standing) in run.world.sources.iter().zip(&run.standing) {
        let cells = [source.opening, standing.posted, standing.held, standing.posted - standing.held];
        money.add_row([source.name.to_owned()].into_iter().chain(cells.iter().map(i64::to_string)));
    }
    println!("{money}");
    for violation in run.violations.iter().take(PRINTED) {
        println!("VIOLATION  {violation}");
    }
    if run.violations.len() > PRINTED {
        println!("… and {} more", run.violations.len() - PRINTED);
    }
    match run.violations.len() {
        0 => println!("every acknowledged answer is there, every balance is exact, every hash is equal"),
        n => println!("{n} violations; the same load again: benches crash --rounds {} --seed {seed}", args.rounds),
    }
}

fn joined<T>(threads: Vec<std::thread::ScopedJoinHandle<'_, T>>) -> Vec<T> {
    threads
        .into_iter()
        .map(|thread| match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
        .collect()
}

fn count<T>(things: impl Iterator<Item = T>) -> u64 {
    u64::try_from(things.count()).unwrap_or(u64::MAX)
}
