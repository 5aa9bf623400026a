//! The path of a tap without its sockets: frames in memory, the real engine, a real journal, replies in memory. What
//! it costs by stage, in nanoseconds and in allocations; small enough to run under callgrind. It must never be
//! quoted as a latency: no kernel is in it.

use crate::allocations;
use crate::engine::workplace;
use crate::fault::Fault;
use crate::measure::table;
use crate::messages::Messages;
use auth_engine::engine::{Effect, Engine, Inbound, LinkSetup, Now, Settings};
use auth_engine::shard::meter::Meter;
use auth_engine::shard::traces::Steps;
use auth_engine::switch::ConnId;
use bytes::Bytes;
use iso_codec::Spec;
use ledger_core::book::{Command, Done, FundingWish, PartnerChange, Policy};
use ledger_core::event::words::{DecisionMode, Kyc};
use ledger_core::journal::{KeySource, Options};
use ledger_core::keys::MasterKey;
use ledger_core::money::{Currency, Money};
use ledger_core::time::{Timestamp, YearMonth};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is in the pool and on each account: enough for any run.
const MONEY: i64 = 900_000_000_000_000;

/// Taps decoded before the first of them is decided, as the shard does.
const GROUP: usize = 16;

/// Arguments of `path`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: benches path --taps 200000\n  valgrind --tool=callgrind target/release/benches path --taps 20000 --work /dev/shm"
)]
pub(crate) struct Args {
    /// Taps measured
    #[arg(long, default_value_t = 200_000)]
    taps: usize,
    /// Taps before the first that is measured
    #[arg(long, default_value_t = 20_000)]
    warm_up: usize,
    /// Taps in one block of the journal
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Cards, used in turns
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cards: u32,
    /// One hot pool pays (and `auto_approve` decides) instead of accounts
    #[arg(long)]
    pool: bool,
    /// Meter each tap as the shard does, and keep so many traces: what a trace costs is the difference to 0
    #[arg(long, value_name = "RECORDS")]
    traces: Option<u64>,
    /// Exit with 1 when a tap allocates in decode, decide, apply, append or encode
    #[arg(long)]
    no_allocations: bool,
    /// Where the journal lies (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one stage took in all.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    took: Duration,
    /// Below 4 KiB, and pages of tables.
    allocations: [u64; 2],
}

impl Cost {
    fn add<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (from, before) = (Instant::now(), allocations::so_far());
        let out = work();
        self.took += from.elapsed();
        for (sum, (now, before)) in self.allocations.iter_mut().zip(allocations::so_far().into_iter().zip(before)) {
            *sum += now - before;
        }
        out
    }
}

/// An engine with cards, driven by hand.
struct Bench {
    engine: Engine,
    effects: Vec<Effect>,
    mono_us: i64,
    wall: Timestamp,
}

impl Bench {
    fn now(&self) -> Now {
        Now { wall: self.wall, mono_us: self.mono_us }
    }

    fn command(&mut self, command: &Command) -> Result<Done, Fault> {
        let now = self.now();
        let done = self.engine.command(command, now);
        done.map_err(|refusal| Fault::Engine(format!("the fixture was refused: {refusal}")))
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.engine.needs_commit() {
            self.engine.journal().commit().map_err(|e| Fault::Engine(e.to_string()))?;
        }
        Ok(())
    }

    fn open(dir: PathBuf) -> Result<Bench, Fault> {
        let spec = Spec::embedded("mastercard").ok_or_else(|| Fault::Message("no spec".to_owned()))?;
        let link = LinkSetup {
            name: "bench".to_owned(),
            spec_name: "mastercard".to_owned(),
            spec,
            budget_us: 2_000_000,
            require_sign_on: false,
            max_in_flight: usize::MAX,
            sign_on: false,
            network_elements: Vec::new(),
            answer_within_us: 2_000_000,
        };
        let settings = Settings {
            links: vec![link],
            decision_timeout_us: 500_000,
            dedup_window_us: 3_600_000_000,
            max_asks: 16_384,
        };
        let keys = KeySource::new(MasterKey::from_bytes([7; 32]), [9; 80]);
        let opened = Engine::open(Options::new(dir), keys, Policy::default(), settings);
        let (engine, _) = opened.map_err(|e| Fault::Engine(e.to_string()))?;
        let wall = Timestamp(jiff::Timestamp::now().as_microsecond());
        let mut bench = Bench { engine, effects: Vec::new(), mono_us: 1_000_000, wall };
        let now = bench.now();
        bench.engine.recover(now, "bench").map_err(|e| Fault::Engine(e.to_string()))?;
        Ok(bench)
    }

    /// One partner, one user a card, approved, with money.
    fn fixture(&mut self, args: &Args) -> Result<Vec<String>, Fault> {
        let terms = PartnerChange {
            name: Some("Bench".to_owned()),
            decision_mode: Some(DecisionMode::AutoApprove),
            ..PartnerChange::default()
        };
        let Done::Partner(partner) = self.command(&Command::CreatePartner { terms, secret: vec![1; 32].into() })?
        else {
            return Err(Fault::Engine("no partner".to_owned()));
        };
        let Done::Pool(pool) = self.command(&Command::CreatePool { partner, currency: Currency::EUR, minimum: 0 })?
        else {
            return Err(Fault::Engine("no pool".to_owned()));
        };
        let amount = Money::new(MONEY, Currency::EUR);
        let top_up = Command::CreateTopUp { pool, amount, reference: "bench".to_owned() };
        if let Done::Transfer(top_up) = self.command(&top_up)? {
            self.command(&Command::SettleTopUp { top_up })?;
        }
        let mut pans = Vec::new();
        for n in 0..args.cards {
            let external_id = format!("user-{n}");
            let create = Command::CreateUser { partner, external_id, country: "DE".to_owned(), time_zone: None };
            let Done::User(user) = self.command(&create)? else { continue };
            for status in [Kyc::Submitted, Kyc::InReview, Kyc::Approved] {
                let step =
                    Command::MoveKyc { user, status, level: None, provider: None, reference: None, reason: None };
                self.command(&step)?;
            }
            let Done::Account(account, _) = self.command(&Command::OpenAccount { user, currency: Currency::EUR })?
            else {
                continue;
            };
            let amount = Money::new(MONEY / 1_000_000, Currency::EUR);
            self.command(&Command::PayIn { account, amount, reference: "bench".to_owned() })?;
            let pan = card_number(n);
            let funding = if args.pool {
                FundingWish::Pool { pool, account_currency: None }
            } else {
                FundingWish::Account { currency: Currency::EUR }
            };
            let fingerprint = self.engine.keyring().fingerprint(pan.as_bytes());
            let pan_bytes = pan.clone().into_bytes().into();
            self.command(&Command::CreateCard {
                user,
                funding,
                pan: pan_bytes,
                fingerprint,
                expires: YearMonth(4912),
            })?;
            pans.push(pan);
            if n % 500 == 0 {
                self.settle()?;
            }
        }
        self.settle()?;
        Ok(pans)
    }

    fn settle(&mut self) -> Result<(), Fault> {
        self.commit()?;
        let now = self.now();
        self.engine.release(now);
        self.engine.take_effects(&mut self.effects);
        self.effects.clear();
        self.engine.clear_replies();
        Ok(())
    }
}

/// A number with a right check digit.
fn card_number(n: u32) -> String {
    let body = format!("53511012{n:07}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            if at % 2 == 0 { if digit > 4 { digit * 2 - 9 } else { digit * 2 } } else { digit }
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

/// The shard's meter, given what the shard gives it.
struct Metered {
    meter: Meter,
    /// Of the batch's frames, in their order.
    steps: Vec<Steps>,
    last: Instant,
}

impl Metered {
    fn start(traces: u64) -> Result<Metered, Fault> {
        let meter = Meter::start(&["bench".to_owned()], traces);
        let meter = meter.map_err(|e| Fault::Engine(format!("the meter's thread cannot start: {e}")))?;
        Ok(Metered { meter, steps: Vec::new(), last: Instant::now() })
    }

    /// A frame that came with the batch was decoded.
    fn decoded(&mut self, since: Instant) {
        let begun = std::mem::replace(&mut self.last, Instant::now());
        self.steps.push(Steps { since, begun, decoded: self.last, decided: self.last });
    }

    /// The batch's frame of that number was decided.
    fn decided(&mut self, engine: &mut Engine, at: usize) {
        self.last = Instant::now();
        if let Some(steps) = self.steps.get_mut(at) {
            steps.decided = self.last;
            self.meter.decided(engine, steps);
        }
    }
}

/// Runs `path`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let mut bench = Bench::open(place.path().join("journal"))?;
    let pans = bench.fixture(args)?;
    let messages = Messages::new()?;
    let [mut decode, mut handle, mut commit, mut release] = [Cost::default(); 4];
    let batch = usize::try_from(args.batch).unwrap_or(1);
    let (mut done, mut answered, mut cards) = (0usize, 0usize, pans.iter().cycle());
    let mut decoded = Vec::with_capacity(batch);
    let mut metered = args.traces.map(Metered::start).transpose()?;
    while done < args.warm_up + args.taps {
        let frames: Vec<Bytes> = cards
            .by_ref()
            .take(batch)
            .map(|pan| messages.tap(0x0100, pan, 1250, "5812").map(|(frame, _)| frame))
            .collect::<Result<_, _>>()?;
        bench.mono_us += 1_000;
        bench.wall = Timestamp(bench.wall.0 + 1_000);
        let now = bench.now();
        if done == args.warm_up - args.warm_up % batch {
            [decode, handle, commit, release] = [Cost::default(); 4];
        }
        let since = Instant::now();
        decode.add(|| {
            decoded.extend(frames.into_iter().filter_map(|frame| {
                let (conn, header) = (ConnId::detached(0), Bytes::new());
                let message = bench.engine.decode(Inbound { link: 0, conn, header, frame, since_us: now.mono_us })?;
                metered.iter_mut().for_each(|metered| metered.decoded(since));
                Some(message)
            }));
        });
        handle.add(|| {
            for (group, place) in decoded.chunks_mut(GROUP).zip((0..).step_by(GROUP)) {
                bench.engine.warm(group.iter());
                for (message, at) in group.iter_mut().zip(place..) {
                    bench.engine.handle(message, now);
                    metered.iter_mut().for_each(|metered| metered.decided(&mut bench.engine, at));
                }
            }
        });
        decoded.clear();
        let began = Instant::now();
        commit.add(|| bench.commit())?;
        let out = &mut bench;
        release.add(|| {
            out.engine.take_touched(|_, _| {});
            out.engine.release(now);
            out.engine.take_effects(&mut out.effects);
        });
        for effect in bench.effects.drain(..) {
            if let Effect::Send { reply, stamp, .. } = effect {
                metered.iter_mut().zip(stamp).for_each(|(metered, stamp)| metered.meter.leaves(stamp));
                answered += usize::from(messages.code(bench.engine.reply_bytes(&reply)).as_deref() == Some("00"));
            }
        }
        bench.engine.clear_replies();
        if let Some(Metered { meter, steps, .. }) = &mut metered {
            meter.synced(began, batch, 0);
            meter.written();
            meter.read(&mut bench.engine);
            steps.clear();
        }
        let counters = bench.engine.counters();
        counters.decisions.clear();
        counters.requests.clear();
        done += batch;
    }
    if answered != done {
        return Err(Fault::Engine(format!("{answered} of {done} taps were approved")));
    }
    let measured = done - (args.warm_up - args.warm_up % batch);
    let stages =
        [("decode", decode), ("decide, apply, append, encode", handle), ("commit", commit), ("release", release)];
    report(args, measured, &stages);
    let free = decode.allocations[0] + handle.allocations[0];
    // Lists of pages double now and then: an allocation in thousands of taps is a table's growth, no tap's own.
    if args.no_allocations && free * 1000 > measured as u64 {
        eprintln!("error: {free} allocations in {measured} taps on the path; a tap must make none");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::cast_precision_loss)] // for people
fn report(args: &Args, taps: usize, stages: &[(&str, Cost)]) {
    let each = |cost: &Cost| {
        let [small, pages] = cost.allocations.map(|count| count as f64 / taps as f64);
        (cost.took.as_nanos() as f64 / taps as f64, small, pages)
    };
    if args.json {
        let stages: Vec<_> = stages
            .iter()
            .map(|(stage, cost)| json!({ "stage": stage, "ns": each(cost).0, "allocations": each(cost).1, "pages": each(cost).2 }))
            .collect();
        println!(
            "{}",
            json!({ "taps": taps, "batch": args.batch, "cards": args.cards, "pool": args.pool, "stages": stages })
        );
        return;
    }
    let mut rows = table(&["a tap", "ns", "allocations", "pages of tables"]);
    for (stage, cost) in stages {
        let (ns, allocations, pages) = each(cost);
        rows.add_row([(*stage).to_owned(), format!("{ns:.0}"), format!("{allocations:.4}"), format!("{pages:.4}")]);
    }
    println!("{taps} taps in blocks of {}, {} cards\n{rows}", args.batch, args.cards);
}
