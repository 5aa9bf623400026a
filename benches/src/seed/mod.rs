//! Data directories of millions of cards, filled through the engine's own decisions and the ledger's own append, so
//! that what is measured on them is what a customer would have after years. It owns the command and the plan of what
//! is made; it must never write an event that the engine did not decide.

mod cards;
mod filler;

use crate::engine::{DEFAULTS, Site, beside, workplace};
use crate::fault::Fault;
use crate::measure::table;
use crate::view_lag;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use cards::{CardList, most_cards};

/// The BIN of the default configuration: the sandbox issues under it too.
const BIN: &str = "53511012";

/// How long a read model may take for all of a directory.
const CATCH_UP: Duration = Duration::from_secs(3600);

/// Arguments of `seed`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  benches seed --data /var/tmp/million --cards 1000000 --holds 100000\n  auth-engine serve --data /var/tmp/million\n\nThe card numbers are written in clear to DIR.cards, beside the directory: they are test numbers for a sandbox."
)]
pub(crate) struct Args {
    /// The data directory to make; it must not hold a journal yet
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    plan: Plan,
    /// Where the card numbers go (default: DIR.cards)
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Then serve it once, until the engine's read model has folded all of it: minutes for millions of cards
    #[arg(long)]
    read_model: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a seeded directory holds.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// Cards, each active and funded
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=most_cards()))]
    pub(crate) cards: u64,
    /// Approved taps whose holds are open, spread over all cards
    #[arg(long, default_value_t = 100_000)]
    pub(crate) holds: u64,
    /// Cards of one user; they share the user's account
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) cards_per_user: u64,
    /// Each card is paid for by its user's own account (this is the default)
    #[arg(long, conflicts_with = "pool")]
    pub(crate) accounts: bool,
    /// All cards are paid for by one pool
    #[arg(long)]
    pub(crate) pool: bool,
    /// How the partner decides pool-funded taps: `auto_approve`, `auto_decline`, or `webhook URL`
    #[arg(long, num_args = 1..=2, value_names = ["MODE", "URL"], default_value = "auto_approve")]
    pub(crate) partner: Vec<String>,
}

impl Plan {
    /// That many cards and holds, account-funded, one card a user.
    pub(crate) fn accounts(cards: u64, holds: u64) -> Plan {
        let partner = vec!["auto_approve".to_owned()];
        Plan { cards, holds, cards_per_user: 1, accounts: true, pool: false, partner }
    }
}

/// What was made, and how fast.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seeded {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The file of card numbers.
    pub(crate) list: PathBuf,
    /// Cards in it.
    pub(crate) cards: u64,
    /// Holds that are open.
    pub(crate) holds: u64,
    /// Users, each with an approved KYC.
    pub(crate) users: u64,
    /// Events in the journal.
    pub(crate) events: u64,
    /// Bytes of the journal's blocks.
    pub(crate) journal_bytes: u64,
    /// Seconds it took, syncs included.
    pub(crate) seconds: f64,
    /// Events decided, folded and made durable in a second.
    pub(crate) events_per_s: f64,
}

/// Where the card numbers of a data directory lie: beside it, since card numbers in clear have no place in it.
pub(crate) fn list_of(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".cards");
    data.with_file_name(name)
}

/// Makes a data directory.
pub(crate) fn seed(data: &Path, list: &Path, plan: &Plan) -> Result<Seeded, Fault> {
    filler::fill(data, list, plan)
}

/// Lets the engine build its read model, so that a run on the directory does not begin with that.
fn fold(data: &Path) -> Result<(), Fault> {
    let place = workplace(data.parent())?;
    let site = Site::configured(None, place.path(), Some(data), DEFAULTS)?;
    let engine = site.start()?;
    view_lag::wait(&site.rest(&engine)?, CATCH_UP)?;
    let status = engine.stop()?;
    if status.success() { Ok(()) } else { Err(Fault::Engine(format!("the engine ended with {status}"))) }
}

/// Runs `seed`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let list = args.list.clone().unwrap_or_else(|| list_of(&args.data));
    let seeded = seed(&args.data, &list, &args.plan)?;
    if args.read_model {
        fold(&args.data)?;
    }
    if args.json {
        println!("{}", serde_json::json!(seeded));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&["seeded", ""]);
    for (name, value) in [
        ("cards", HumanCount(seeded.cards).to_string()),
        ("users", HumanCount(seeded.users).to_string()),
        ("open holds", HumanCount(seeded.holds).to_string()),
        ("events", HumanCount(seeded.events).to_string()),
        ("journal", HumanBytes(seeded.journal_bytes).to_string()),
        ("took", HumanDuration(Duration::from_secs_f64(seeded.seconds)).to_string()),
        ("events/s", format!("{:.0}", seeded.events_per_s)),
    ] {
        rows.add_row([name.to_owned(), value]);
    }
    println!("{rows}");
    println!("data directory {}, card numbers {}", seeded.data.display(), seeded.list.display());
    if let Ok(engine) = beside("auth-engine") {
        println!("serve it: {} serve --data {}", engine.display(), seeded.data.display());
    }
    Ok(ExitCode::SUCCESS)
}
