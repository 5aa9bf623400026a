//! `auth-engine journal verify`: reads a stopped journal and says whether it holds. It never writes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::journal::{JournalError, KeySource, verify_on};
use ledger_core::time::Timestamp;

use super::config::ConfigArgs;
use super::prove::Audit;
use super::{Failure, Outcome};
use crate::shard::data;

/// Arguments of `auth-engine journal`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  auth-engine journal verify --data ./data")]
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
    }
}

fn run_verify(from: &ConfigArgs, json: bool) -> Outcome {
    let config = from.load()?;
    let dir = data::journal_dir(&config.data_dir);
    let mut book = Book::default();
    let disk = data::journal_options(&config).disk;
    let mut signed = Audit::open(&config)?;
    let report = verify_on(&*disk, &dir, KeySource::absent(), &mut |record| {
        signed.take(&record)?;
        let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
        book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())
    })
    .map_err(failure)?;
    book.check().map_err(|violation| Failure::no(format!("{}: an invariant is broken: {violation}", dir.display())))?;
    let hash = hex(&book.state_hash());
    let rows = [
        ("state_hash", serde_json::json!(hash)),
        ("last_sequence", report.last_seq.into()),
        ("events", report.events.into()),
        ("blocks", report.blocks.into()),
        ("segments", report.segments.into()),
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

/// A directory that cannot be used is 3, damage is 1.
pub(super) fn failure(error: JournalError) -> Failure {
    if error.is_damage() { Failure::no(error.to_string()) } else { Failure::data(error.to_string()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
