//! `auth-engine journal export`: events as JSON lines, for other programs. It must never let a card number, a secret or
//! sealed bytes out; `events.rs` owns the shape.

use std::io::{BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::journal::Record;

use super::config::ConfigArgs;
use super::events::Told;
use super::stopped::{Directory, Range, Watch, whole};
use super::{Failure, Outcome};

/// Arguments of `auth-engine journal export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal export --data ./data > events.jsonl\n  auth-engine journal export --data ./data --from 1000 --to 1999 | jq 'select(.type == \"tap_decided\")'\n\nOne event a line; docs/journal-commands.md has the shape. No card number, no secret: what the journal keeps sealed\nis told as its length. Needs no key. The engine must be stopped, or the directory a copy."
)]
pub struct Args {
    #[command(flatten)]
    from: ConfigArgs,
    #[command(flatten)]
    range: Range,
}

struct Export {
    range: Range,
    out: BufWriter<StdoutLock<'static>>,
}

impl Watch for Export {
    fn after(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> Result<ControlFlow<()>, Failure> {
        if self.range.holds(record.seq) {
            let line = serde_json::to_string(&Told::of(book, record, event));
            let line = line.map_err(|e| Failure::no(format!("event {} cannot be told ({e})", record.seq)))?;
            if writeln!(self.out, "{line}").is_err() {
                // Who read it has enough.
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(if record.seq >= self.range.to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let directory = Directory::open(&args.from)?;
    let mut export = Export { range: args.range, out: BufWriter::new(std::io::stdout().lock()) };
    let (_, walked) = directory.fold(&mut export)?;
    // A reader that went away does not change anything.
    let _ = export.out.flush();
    whole(&walked)?;
    Ok(ExitCode::SUCCESS)
}
