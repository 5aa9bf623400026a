//! `auth-engine journal inspect`: what stands in a journal, for people: segments and how full they are, blocks, events
//! in one line each. Works on a damaged journal as far as it reads. It must never tell a card number or a secret.

use std::io::{BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::id::{Id, Thing};
use ledger_core::journal::{Record, Walked, walk};
use ledger_core::time::Timestamp;

use super::config::ConfigArgs;
use super::events::Told;
use super::stopped::{Directory, Range, Watch, failure, hex, whole};
use super::{Failure, Outcome};
use crate::view::fold::concerned;

/// Arguments of `auth-engine journal inspect`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal inspect --data ./data                       a line a segment\n  auth-engine journal inspect --data ./data --segment 1           a line a block\n  auth-engine journal inspect --data ./data --from 40 --to 60     a line an event\n  auth-engine journal inspect --data ./data --authorization aut_000000R000000019\n\nNeeds no key and writes nothing. On a damaged journal it shows what stands before the damage, and ends with 1.\nThe engine must be stopped, or the directory a copy."
)]
pub struct Args {
    #[command(flatten)]
    from: ConfigArgs,
    /// Events from this sequence on
    #[arg(long = "from", value_name = "SEQ")]
    first: Option<u64>,
    /// Events up to and with this sequence
    #[arg(long = "to", value_name = "SEQ")]
    last: Option<u64>,
    /// The blocks of one segment
    #[arg(long, value_name = "N", conflicts_with_all = ["first", "last", "authorization"])]
    segment: Option<u32>,
    /// The events that made or changed an authorization (aut_…)
    #[arg(long, value_name = "ID")]
    authorization: Option<String>,
}

/// An authorization that a command was given.
///
/// # Errors
/// Exit 2 when it is no authorization's id.
pub(super) fn authorization_id(text: &str) -> Result<Id, Failure> {
    let bad =
        || Failure::usage(format!("{text:?} is no authorization's id; one begins with aut_ and has 16 characters"));
    Id::parse(text, Thing::Authorization).ok_or_else(bad)
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let of = args.authorization.as_deref().map(authorization_id).transpose()?;
    let directory = Directory::open(&args.from)?;
    let walked = if let Some(number) = args.segment {
        blocks(&directory, number)?
    } else if of.is_some() || args.first.is_some() || args.last.is_some() {
        let range = Range { from: args.first.unwrap_or(1), to: args.last.unwrap_or(u64::MAX) };
        events(&directory, range, of)?
    } else {
        segments(&directory)?
    };
    whole(&walked)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints; a reader that went away does not change anything.
fn print(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn segments(directory: &Directory) -> Result<Walked, Failure> {
    let walked = walk(&*directory.disk, &directory.dir, &mut |_| Ok(ControlFlow::Continue(()))).map_err(failure)?;
    let mut table = super::table(&["segment", "events", "blocks", "from", "to", "epochs", "used", "payload", "state"]);
    for segment in &walked.segments {
        let moment = |at: Option<i64>| at.map(|at| Timestamp(at).rfc3339()).unwrap_or_default();
        let events = if segment.blocks == 0 {
            format!("(next {})", segment.first_seq)
        } else {
            format!("{} - {}", segment.first_seq, segment.last_seq)
        };
        table.add_row([
            segment.number.to_string(),
            events,
            segment.blocks.to_string(),
            moment(segment.times.map(|(first, _)| first)),
            moment(segment.times.map(|(_, last)| last)),
            segment.epochs.map(|(first, last)| format!("{first} - {last}")).unwrap_or_default(),
            format!("{} of {}", indicatif::BinaryBytes(segment.end), indicatif::BinaryBytes(segment.bytes)),
            indicatif::BinaryBytes(segment.payload_bytes).to_string(),
            if segment.closed { "closed" } else { "open" }.to_owned(),
        ]);
    }
    print(table);
    let spares = if walked.spares == 0 { String::new() } else { format!(", {} made ahead", walked.spares) };
    let torn = walked.torn.as_ref().map_or(String::new(), |torn| {
        format!("; an unfinished write at offset {} of {}, which the next start cuts", torn.offset, torn.file.display())
    });
    let count = walked.segments.len();
    let plural = if count == 1 { "" } else { "s" };
    print(format_args!("{count} segment{plural}{spares}, last event {}{torn}", walked.last_seq));
    Ok(walked)
}

fn blocks(directory: &Directory, number: u32) -> Result<Walked, Failure> {
    let mut table = super::table(&["offset", "pages", "events", "epoch", "first at", "payload", "hash"]);
    let walked = walk(&*directory.disk, &directory.dir, &mut |block| {
        if block.segment() == number {
            table.add_row([
                block.offset().to_string(),
                (block.bytes() / 4096).to_string(),
                format!("{} - {}", block.first_seq(), block.last_seq()),
                block.epoch().to_string(),
                Timestamp(block.at()).rfc3339(),
                block.payload_bytes().to_string(),
                hex(block.hash().get(..8).unwrap_or_default()),
            ]);
        }
        Ok(if block.segment() > number { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .map_err(failure)?;
    if !walked.segments.iter().any(|segment| segment.number == number) {
        whole(&walked)?;
        return Err(Failure::no(format!(
            "{}: segment {number} is not in use; `journal inspect` lists them",
            directory.dir.display()
        )));
    }
    print(table);
    Ok(walked)
}

struct Events {
    range: Range,
    of: Option<Id>,
    found: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Watch for Events {
    fn after(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> Result<ControlFlow<()>, Failure> {
        let concerns = self
            .of
            .is_none_or(|id| concerned(event).contains(&id.no) && book.authorization(id.no).is_none_or(|a| a.id == id));
        if concerns && self.range.holds(record.seq) {
            self.found = true;
            if writeln!(self.out, "{}", Told::of(book, record, event).line()).is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(if record.seq >= self.range.to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn events(directory: &Directory, range: Range, of: Option<Id>) -> Result<Walked, Failure> {
    let mut events = Events { range, of, found: false, out: BufWriter::new(std::io::stdout().lock()) };
    let (_, walked) = directory.fold(&mut events)?;
    let _ = events.out.flush();
    if !events.found {
        whole(&walked)?;
        return Err(Failure::no(format!(
            "{}: no such event; the journal ends at event {}",
            directory.dir.display(),
            walked.last_seq
        )));
    }
    Ok(walked)
}
