//! Whether a tap costs more on a large book: one in flight, on a directory of a thousand cards and on one of a
//! million with open holds, both engines alive at once and asked in turns. Cards are drawn uniformly, so that nearly
//! each tap of the large book meets memory that no cache holds. It must never compare figures of different runs.

use crate::client::Link;
use crate::engine::{DEFAULTS, Engine, Site, workplace};
use crate::fault::Fault;
use crate::floor::{Floor, How};
use crate::load::output::Output;
use crate::measure::{Series, Summary, machine, summaries};
use crate::messages::Messages;
use crate::result::{RunResult, Target};
use crate::seed::{self, CardList, Plan};
use crate::view_lag;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a tap may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the large book's p50 may be at most, over the small one's.
const MOST: f64 = 1.1;

/// Arguments of `growth`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  benches growth\n  benches growth --data /var/tmp/million --samples 10000\n\nThe large directory takes about a minute to seed and several to start from for the first time; name one that is\nthere with --data to use it again."
)]
pub(crate) struct Args {
    /// The large directory, as `seed` made it (default: seeded for this run)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Its cards, where it is seeded for this run
    #[arg(long, default_value_t = 1_000_000)]
    cards: u64,
    /// Its open holds, where it is seeded for this run
    #[arg(long, default_value_t = 100_000)]
    holds: u64,
    /// Cards of the small directory, which has no holds
    #[arg(long, default_value_t = 1_000)]
    small_cards: u64,
    /// Samples of each, after the warm-up
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
    /// Taps in one turn
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    turn: u32,
    /// Taps of each before the first sample
    #[arg(long, default_value_t = 500)]
    warm_up: u32,
    /// How long both read models may take to catch up before the first tap, in seconds
    #[arg(long, default_value_t = 1200)]
    view_patience: u64,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where directories are seeded (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// One engine on its directory, a connection to it, and the cards to draw from.
struct Book {
    engine: Engine,
    link: Link,
    cards: CardList,
    reply: Vec<u8>,
    taps: Series,
}

impl Book {
    fn start(args: &Args, place: &Path, data: &Path) -> Result<Book, Fault> {
        std::fs::create_dir_all(place).map_err(Fault::io(format!("creating {}", place.display())))?;
        let site = Site::configured(args.engine.as_deref(), place, Some(data), DEFAULTS)?;
        let engine = site.start()?;
        view_lag::wait(&site.rest(&engine)?, Duration::from_secs(args.view_patience))?;
        let link = Link::connect(engine.link, PATIENCE).map_err(Fault::io("connecting to the link"))?;
        let cards = CardList::read(&seed::list_of(data))?;
        Ok(Book { engine, link, cards, reply: Vec::new(), taps: Series::default() })
    }

    fn requests(&self, messages: &Messages, draw: &mut fastrand::Rng, count: u32) -> Result<Vec<Bytes>, Fault> {
        let numbers = self.cards.numbers();
        let of = |at: usize| numbers.get(at).map(String::as_str).unwrap_or_default();
        (0..count).map(|_| Ok(messages.tap(0x0100, of(draw.usize(..numbers.len())), 1250, "5812")?.0)).collect()
    }

    /// One tap, from the write to the whole reply. That it was approved is looked at outside the time.
    fn sample(&mut self, messages: &Messages, request: &[u8], keep: bool) -> Result<(), Fault> {
        let from = std::time::Instant::now();
        self.link.exchange(request, &mut self.reply).map_err(Fault::io("a tap"))?;
        let took = from.elapsed();
        match messages.code(&self.reply).as_deref() {
            Some("00") if keep => self.taps.push(took),
            Some("00") => {}
            other => {
                let text = format!("a tap was answered {} instead of 00", other.unwrap_or("unreadably"));
                return Err(Fault::Engine(text));
            }
        }
        Ok(())
    }
}

/// Runs `growth`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let (small, large) = directories(args, place.path())?;
    let messages = Messages::new()?;
    let mut draw = fastrand::Rng::with_seed(args.seed);
    let mut small = Book::start(args, &place.path().join("small-site"), &small)?;
    let mut large = Book::start(args, &place.path().join("large-site"), &large)?;

    let first = small.requests(&messages, &mut draw, 1)?;
    first.iter().try_for_each(|request| small.sample(&messages, request, false))?;
    let mut floor = Floor::start(place.path(), How::Fdatasync, small.reply.len())?;
    let mut of_floor = Series::default();
    let mut turn = |small: &mut Book, large: &mut Book, length: u32, first: u32, keep: bool| -> Result<(), Fault> {
        let of_small = small.requests(&messages, &mut draw, length)?;
        let of_large = large.requests(&messages, &mut draw, length)?;
        // Who begins changes from turn to turn, so that nobody always runs behind the same one.
        for at in 0..3 {
            match (first + at) % 3 {
                0 => of_small.iter().try_for_each(|request| small.sample(&messages, request, keep))?,
                1 => of_large.iter().try_for_each(|request| large.sample(&messages, request, keep))?,
                _ => {
                    for request in &of_small {
                        let took = floor.sample(request)?;
                        if keep {
                            of_floor.push(took);
                        }
                    }
                }
            }
        }
        Ok(())
    };
    turn(&mut small, &mut large, args.warm_up, 0, false)?;
    let (mut done, mut at) = (0, 0);
    while done < args.samples {
        let length = args.turn.min(args.samples - done);
        turn(&mut small, &mut large, length, at, true)?;
        done += length;
        at += 1;
    }

    let floor = of_floor.summary("floor: append + fdatasync");
    let results = vec![
        result(&small, &format!("{} cards, no holds", small.cards.numbers().len()), &floor, None),
        result(&large, &format!("{} cards, {}", large.cards.numbers().len(), held(args)), &floor, Some(&small)),
    ];
    let rows = [small.taps.summary(&results[0].name), large.taps.summary(&results[1].name), floor];
    args.output.emit_as(results, |results| {
        println!("{}; one in flight, account-funded, cards drawn uniformly, in turns of {}", machine(), args.turn);
        println!("{}", summaries(&rows.iter().collect::<Vec<&Summary>>()));
        for target in results.iter().filter_map(|result| result.target.as_ref()) {
            let word = if target.met { "met" } else { "missed" };
            println!("{}: {}, {word}", target.asked, target.got);
        }
        results.iter().flat_map(|result| &result.notes).for_each(|note| println!("{note}"));
    })
}

/// What a directory that was made before holds is not told by its card list.
fn held(args: &Args) -> String {
    match args.data {
        Some(_) => "its open holds".to_owned(),
        None => format!("{} open holds", args.holds),
    }
}

fn directories(args: &Args, place: &Path) -> Result<(PathBuf, PathBuf), Fault> {
    let small = place.join("small");
    seed::seed(&small, &seed::list_of(&small), &Plan::accounts(args.small_cards, 0))?;
    let large = match &args.data {
        Some(data) => data.clone(),
        None => {
            let large = place.join("large");
            seed::seed(&large, &seed::list_of(&large), &Plan::accounts(args.cards, args.holds))?;
            large
        }
    };
    Ok((small, large))
}

fn result(book: &Book, name: &str, floor: &Summary, small: Option<&Book>) -> RunResult {
    let taps = book.taps.summary(name);
    let ratio = taps.over(floor);
    let samples = u64::try_from(taps.samples).unwrap_or(u64::MAX);
    let target = small.map(|small| {
        let over = taps.p50_us / small.taps.summary("").p50_us;
        let (asked, got) = (format!("p50 at most {MOST} x that of the small book"), format!("{over:.3} x"));
        Target { asked, got, met: over <= MOST }
    });
    let resident = book.engine.resident_bytes().unwrap_or(0);
    RunResult {
        name: name.to_owned(),
        group: "growth".to_owned(),
        shape: "one".to_owned(),
        sent: samples,
        answered: samples,
        p50_us: taps.p50_us,
        p90_us: taps.p90_us,
        p99_us: taps.p99_us,
        p999_us: taps.p999_us,
        max_us: taps.max_us,
        w50_us: taps.window_p50_us,
        w99_us: taps.window_p99_us,
        floor_p50_us: floor.p50_us,
        floor_p99_us: floor.p99_us,
        ratio_p50: ratio.p50,
        ratio_p99: ratio.p99,
        counts: vec![("resident bytes".to_owned(), resident)],
        notes: vec!["windows of 100 taps in a row; both read models had caught up before the first tap".to_owned()],
        target,
        ..RunResult::default()
    }
}
