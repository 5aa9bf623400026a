//! `auth-engine journal`: its subcommands, and `verify`, which reads a stopped journal and says whether it holds. It
//! never writes.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::journal::file::Disk;
use ledger_core::journal::{KeySource, Snapshot, SnapshotHead, Stopped, list_snapshots, verify_on};
use ledger_core::time::Timestamp;

use super::config::ConfigArgs;
use super::prove::Audit;
use super::stopped::{bar, failure, hex};
use super::{Failure, Outcome, cut, export, inspect, late, replay};
use crate::shard::data;

/// Events between two looks of the bar.
const BAR_STEP: u64 = 4_096;

/// Arguments of `auth-engine journal`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal verify --data ./data\n  auth-engine journal inspect --data ./data --from 40 --to 60\n\nThe engine must be stopped, or the directory a copy. Only `cut` writes."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check chain, CRC, sequence and every invariant of the book; print the state hash
    #[command(
        after_help = "Example:\n  auth-engine journal verify --data ./data --json\n\nThe engine must be stopped, or the directory a copy. Nothing is written. The state hash equals what\nGET /v1/system/state tells at the same last sequence. Exit 1 when something is wrong.\nSigned checkpoints are checked against it where the master key is at hand.\n\n  auth-engine journal verify --proof tap.proof --key journal.key\n\nchecks one proof, and needs nothing but the two."
    )]
    Verify {
        #[command(flatten)]
        from: ConfigArgs,
        /// JSON for machines
        #[arg(long)]
        json: bool,
        /// Check this proof instead, offline: no data directory is looked at
        #[arg(long, value_name = "FILE", requires = "key")]
        proof: Option<PathBuf>,
        /// The public key of the journal that the proof is of, or a file that holds it
        #[arg(long, value_name = "KEY", requires = "proof")]
        key: Option<String>,
    },
    /// Show segments, blocks or events, one a line
    Inspect(inspect::Args),
    /// Print events as JSON lines, without card numbers and secrets
    Export(export::Args),
    /// Fold the book to any sequence or time, or decide one authorization again
    Replay(replay::Args),
    /// List what partners approved too late, and what that put at risk
    LateApprovals(late::Args),
    /// Cut the journal behind an event: the one command that writes
    Cut(cut::Args),
    /// Prove one authorization to somebody who has no journal
    Prove(super::prove::Args),
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Verify { proof: Some(proof), key, .. } => super::prove::verify(&proof, key.as_deref()),
        Command::Verify { from, json, .. } => run_verify(&from, json),
        Command::Prove(args) => super::prove::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::LateApprovals(args) => late::run(&args),
        Command::Cut(args) => cut::run(&args),
    }
}

fn run_verify(from: &ConfigArgs, json: bool) -> Outcome {
    let config = from.load()?;
    let dir = data::journal_dir(&config.data_dir);
    let mut book = Book::default();
    let disk = data::journal_options(&config).disk;
    let mut signed = Audit::open(&config)?;
    let snapshots = snapshots(&*disk, &dir)?;
    // Only to know how far there is to go; what it refuses is found and told below.
    let last = std::io::stderr().is_terminal().then(|| Stopped::open(Arc::clone(&disk), &dir, &KeySource::absent()));
    let bar = bar(last.and_then(Result::ok).map_or(0, |stopped| stopped.last_seq()), false);
    let report = verify_on(&*disk, &dir, KeySource::absent(), &mut |record| {
        signed.take(&record)?;
        let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
        stays_decided(&book, &event)?;
        book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())?;
        if record.seq % BAR_STEP == 0 {
            bar.set_position(record.seq);
        }
        match snapshots.get(&record.seq) {
            Some(head) if head.state_hash != book.state_hash() => {
                Err(format!("the snapshot of segment {} holds another state than the journal", head.segment))
            }
            _ => Ok(()),
        }
    });
    bar.finish_and_clear();
    let report = report.map_err(failure)?;
    book.check().map_err(|violation| Failure::no(format!("{}: an invariant is broken: {violation}", dir.display())))?;
    let hash = hex(&book.state_hash());
    let rows = [
        ("state_hash", serde_json::json!(hash)),
        ("last_sequence", report.last_seq.into()),
        ("events", report.events.into()),
        ("blocks", report.blocks.into()),
        ("segments", report.segments.into()),
        ("snapshots", snapshots.len().into()),
        ("epoch", report.last_epoch.into()),
        ("last_event_at", (report.events > 0).then(|| Timestamp(report.last_at).rfc3339()).into()),
        ("torn_tail", report.torn.is_some().into()),
        ("chain", hex(&report.chain).into()),
        ("checkpoints", signed.finish(report.last_seq)?),
        ("partners", book.partners().len().into()),
        ("users", book.users().len().into()),
        ("accounts", book.accounts().len().into()),
        ("pools", book.pools().len().into()),
        ("cards", book.cards().len().into()),
        ("authorizations", book.authorization_count().into()),
        ("open_holds", book.open_holds().into()),
    ];
    let mut out = std::io::stdout().lock();
    let printed = if json {
        let object: serde_json::Map<String, serde_json::Value> =
            rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        writeln!(out, "{}", serde_json::Value::Object(object))
    } else {
        rows.iter()
            .try_for_each(|(name, value)| match value {
                serde_json::Value::String(text) => writeln!(out, "{name:<16}{text}"),
                other => writeln!(out, "{name:<16}{other}"),
            })
            .and_then(|()| writeln!(out, "the journal holds: chain, CRC, sequence and every invariant of the book"))
    };
    // A reader that went away does not change what was found.
    drop(printed);
    Ok(ExitCode::SUCCESS)
}

/// The heads of all snapshots by the last event that each covers.
fn snapshots(disk: &dyn Disk, dir: &Path) -> Result<HashMap<u64, SnapshotHead>, Failure> {
    let mut heads = HashMap::new();
    for (_, path) in list_snapshots(disk, dir).unwrap_or_default() {
        let head = Snapshot::open(disk, &path).map_err(failure)?.head().clone();
        heads.insert(head.last_seq, head);
    }
    Ok(heads)
}

/// Invariants that need the book before an event: a known message is never decided again (6), and what is final never
/// holds anything again (7).
fn stays_decided(book: &Book, event: &Event<'_>) -> Result<(), String> {
    let key = match event {
        Event::TapTaken(e) => Some(e.repeat.key),
        Event::Advised(e) => Some(e.repeat.key),
        Event::Reversed(e) => Some(e.repeat.key),
        _ => None,
    };
    if let Some(known) = key.and_then(|key| book.repeat(&key)) {
        return Err(format!("it decides a message that event {} had decided", known.seq));
    }
    for change in event.changes().iter().filter(|change| change.held != 0) {
        if book.authorization(change.no).is_some_and(|a| a.state.is_final()) {
            return Err("an authorization that was final holds money again".to_owned());
        }
    }
    Ok(())
}
