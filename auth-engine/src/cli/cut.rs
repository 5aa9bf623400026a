//! `auth-engine journal cut`: the operator's remedy for a journal whose end is damaged or unwanted, and the only command
//! that changes one. It must never cut without being told twice, nor before a copy of what it cuts is durable.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::event::admin::Started;
use ledger_core::id::{Id, Thing};
use ledger_core::journal::cut::{Cut, CutError};
use ledger_core::journal::file::LockKind;
use ledger_core::journal::{KeySource, Record, verify_on};
use ledger_core::time::Timestamp;

use super::config::ConfigArgs;
use super::stopped::{Directory, Watch, failure, hex, whole};
use super::{Failure, Outcome, say};
use crate::proof::store;
use crate::shard::clock::wall_us;
use crate::shard::data;
use crate::view::fold::concerned;

/// So many authorizations are named of those that lose events.
const NAMED: usize = 10;

/// Arguments of `auth-engine journal cut`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal verify --data ./data             says where the damage is\n  auth-engine journal inspect --data ./data            says which event stands before it\n  auth-engine journal cut --data ./data --at 4711      tells what would be lost, changes nothing\n  auth-engine journal cut --data ./data --at 4711 --yes\n\nEvent SEQ is the last that stays. What was acknowledged behind it is given up: cut only when no copy can be restored.\nThe segments that change are copied first. The cut ends the journal with an event of a new epoch, removes the read\nmodel (it is folded anew) and the snapshots that know more. Exit 2 without --yes, 3 when the journal cannot be cut."
)]
pub struct Args {
    #[command(flatten)]
    from: ConfigArgs,
    /// The last sequence that stays
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    at: u64,
    /// Cut; without it nothing is changed
    #[arg(long)]
    yes: bool,
    /// Where what is cut is copied to; without it cut-SEQ-TIME.bak in the data directory
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
}

/// The book up to the cut: the new last event continues it.
struct Last {
    at: u64,
    window_us: i64,
}

impl Watch for Last {
    fn after(
        &mut self,
        _: &Book,
        record: &Record<'_>,
        event: &Event<'_>,
    ) -> Result<std::ops::ControlFlow<()>, Failure> {
        if let Event::Started(e) = event {
            self.window_us = e.dedup_window_us;
        }
        let over = record.seq >= self.at;
        Ok(if over { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) })
    }
}

/// What is lost, told as far as it decodes.
#[derive(Default)]
struct Losses {
    first_at: Option<i64>,
    last_at: Option<i64>,
    undecodable: u64,
    authorizations: BTreeSet<u64>,
    /// Ids of those that are made behind the cut.
    made: Vec<String>,
}

impl Losses {
    fn take(&mut self, record: &Record<'_>) {
        self.first_at = Some(self.first_at.map_or(record.at, |at| at.min(record.at)));
        self.last_at = Some(self.last_at.map_or(record.at, |at| at.max(record.at)));
        let Ok(event) = Event::decode(record.payload) else {
            self.undecodable += 1;
            return;
        };
        let made = match &event {
            Event::TapTaken(e) => Some(e.facts.no),
            Event::Advised(e) if e.target.is_none() => Some(e.facts.no),
            _ => None,
        };
        if let Some(no) = made.filter(|_| self.made.len() < NAMED) {
            self.made.push(Id { epoch: record.epoch, no }.text(Thing::Authorization));
        }
        self.authorizations.extend(concerned(&event));
    }
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let directory = Directory::open(&args.from)?;
    let mut last = Last { at: args.at, window_us: 0 };
    let (_, walked) = directory.fold(&mut last)?;
    if !walked.stopped {
        whole(&walked)?;
    }
    let lock = if args.yes { LockKind::Exclusive } else { LockKind::Shared };
    let mut losses = Losses::default();
    let disk = Arc::clone(&directory.disk);
    let cut = Cut::prepare(disk, &directory.dir, args.at, lock, &mut |record| losses.take(&record)).map_err(refused)?;
    // Whoever reads through the archive sees its segments in the journal's directory, where no file has their names.
    if let Some(archived) = cut.touched().iter().find(|path| !path.exists()) {
        let name = archived.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Failure::data(format!(
            "{name} is in the archive, which is not cut: name an event behind it, or move the segment out of the archive first"
        )));
    }
    say(format_args!("{}", losses_text(&cut, &losses, args.at)));
    if !args.yes {
        return Err(Failure::usage("nothing was changed; add --yes to cut"));
    }
    let backup = args.backup.clone().unwrap_or_else(|| default_backup(&directory.config.data_dir, args.at));
    if backup.exists() {
        return Err(Failure::usage(format!("{} is there already; name another --backup", backup.display())));
    }
    // The read model knows what is cut: gone first, so that no crash leaves one that is ahead of its journal.
    let view = data::view_dir(&directory.config.data_dir);
    if view.exists() {
        fs::remove_dir_all(&view).map_err(|e| Failure::data(format!("{}: {e}; remove it", view.display())))?;
    }
    let checkpoints = store::dir(&directory.config.data_dir);
    let unsigned = store::cut(&checkpoints, args.at).map_err(|e| Failure::data(e.to_string()))?;
    if unsigned > 0 {
        say(format_args!("{unsigned} checkpoints said what is no more; {} keeps them", checkpoints.display()));
    }
    let mut event = Vec::new();
    let version = format!("{} (journal cut at {})", env!("CARGO_PKG_VERSION"), args.at);
    let started = Started { epoch: cut.epoch(), version: version.into(), dedup_window_us: last.window_us };
    Event::Started(started).encode(&mut event);
    let done = cut.carry_out(&backup, &event).map_err(failure)?;
    say(format_args!(
        "cut: {} files copied to {}; event {} begins epoch {}",
        done.copied.len(),
        backup.display(),
        done.seq,
        done.epoch
    ));
    // The proof that it opens again.
    let mut book = Book::default();
    let report = verify_on(&*directory.disk, &directory.dir, KeySource::absent(), &mut |record| {
        let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
        book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())
    })
    .map_err(failure)?;
    book.check().map_err(|violation| Failure::no(format!("an invariant is broken after the cut: {violation}")))?;
    say(format_args!("the journal holds: last event {}, state {}", report.last_seq, hex(&book.state_hash())));
    Ok(ExitCode::SUCCESS)
}

fn refused(error: CutError) -> Failure {
    match error {
        CutError::Journal(error) => failure(error),
        CutError::BeyondEnd { .. } | CutError::Nothing { .. } => Failure::no(error.to_string()),
        CutError::EpochsUsedUp { .. } => Failure::data(error.to_string()),
    }
}

fn default_backup(data: &Path, seq: u64) -> PathBuf {
    let now = Timestamp(wall_us()).rfc3339().replace([':', '-'], "");
    let seconds = now.split('.').next().unwrap_or_default().to_owned();
    data.join(format!("cut-{seq}-{seconds}Z.bak"))
}

fn losses_text(cut: &Cut, losses: &Losses, seq: u64) -> String {
    let lost = cut.lost();
    let mut out = format!("kept: events 1 to {seq}, the last of {}\n", Timestamp(cut.last_at()).rfc3339());
    out += &format!("lost: {} events that can be read", lost.events);
    if let Some(last) = lost.last_seq {
        out += &format!(", up to {last}");
    }
    if let (Some(first), Some(last)) = (losses.first_at, losses.last_at) {
        out += &format!(", from {} to {}", Timestamp(first).rfc3339(), Timestamp(last).rfc3339());
    }
    if lost.unreadable_pages > 0 {
        out += &format!("; and what stood in {} pages of 4 KiB that cannot be read", lost.unreadable_pages);
    }
    if losses.undecodable > 0 {
        out += &format!("; {} of the events do not decode", losses.undecodable);
    }
    out += &format!("\n      {} authorizations made or changed", losses.authorizations.len());
    if !losses.made.is_empty() {
        let more = if losses.authorizations.len() > losses.made.len() { ", …" } else { "" };
        out += &format!(", among them {}{more}", losses.made.join(", "));
    }
    for segment in &lost.segments {
        out += &format!("\n      {}", segment.display());
    }
    out
}
