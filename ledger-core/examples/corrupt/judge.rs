//! What a reader makes of a bent journal, held against what it may make of it. It must never ask the reader what was
//! bent: the judge knows, and the reader has to find out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger_core::journal::file::Disk;
use ledger_core::journal::{Journal, JournalError, KeySource, TornTail, verify_on};

use crate::disk::RamDisk;
use crate::layout::{DIR, Fold, Made, Plan, State, keys};

/// What came out of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Refused, and the told place is the right one.
    Located,
    /// Read up to the last whole block before the damage, as a torn write.
    Cut,
    /// Read whole: the byte has no meaning there.
    Meaningless,
    /// The bytes did not change, so there was nothing to find.
    Unchanged,
    /// None of them: why.
    Accepted(String),
}

/// What may come out.
pub(crate) enum May<'a> {
    /// A refusal that names this file, and a place between these.
    Refuse { file: &'a Path, from: u64, to: u64 },
    /// A refusal as above, or a reading that ends with this sequence, with or without a torn tail told at `from`.
    RefuseOrEnd { file: &'a Path, from: u64, to: u64, seq: u64, told: bool },
    /// A reading that ends with this sequence.
    End { seq: u64 },
    /// A reading of everything, or a refusal that names this file.
    All { file: &'a Path },
}

type Reading = Result<(State, Option<TornTail>), JournalError>;

/// Reads with `journal verify`'s own function.
pub(crate) fn verified(disk: &dyn Disk) -> Reading {
    let mut fold = Fold::default();
    let report = verify_on(disk, Path::new(DIR), KeySource::absent(), &mut |record| {
        fold.take(&record);
        Ok(())
    })?;
    Ok((fold.0, report.torn))
}

/// Starts a journal on a copy, twice, as an engine would: what the first start cuts, the second must not find again.
fn started(disk: &RamDisk, plan: &Plan) -> Result<State, JournalError> {
    let copy = Plan::shelves(&disk.fork());
    let open = || {
        let mut fold = Fold::default();
        let (_, recovery) = Journal::open(plan.options(Arc::clone(&copy)), keys(plan.engine), &mut |record| {
            fold.take(&record);
            Ok(())
        })?;
        Ok((fold.0, recovery.cut_bytes))
    };
    let (first, _) = open()?;
    let (second, cut) = open()?;
    if (first, 0) != (second, cut) {
        return Err(JournalError::Poisoned {
            first: format!("a second start read {second:?} and cut {cut}, not {first:?}"),
        });
    }
    Ok(first)
}

/// The file and the byte that a refusal names.
fn place(error: &JournalError) -> Option<(PathBuf, u64)> {
    match error {
        JournalError::Corrupt { file, offset, .. }
        | JournalError::NewerFormat { file, offset, .. }
        | JournalError::ForeignSegment { file, offset }
        | JournalError::WrongMasterKey { file, offset }
        | JournalError::ForeignShard { file, offset, .. } => Some((file.clone(), *offset)),
        JournalError::ShortSegment { file, found, .. } | JournalError::ShortSpare { file, found, .. } => {
            Some((file.clone(), *found))
        }
        JournalError::MissingSegment { file } => Some((file.clone(), 0)),
        _ => None,
    }
}

fn located(error: &JournalError, file: &Path, from: u64, to: u64) -> Outcome {
    match place(error) {
        Some((at, offset)) if at == file && (from..=to).contains(&offset) => Outcome::Located,
        _ => Outcome::Accepted(format!("wrong place, not {} {from} to {to}: {error}", file.display())),
    }
}

/// Reads the bent journal and holds it against what may come out.
pub(crate) fn judge(made: &Made, bent: &RamDisk, may: &May<'_>) -> Outcome {
    let shelves = Plan::shelves(bent);
    let read = verified(&*shelves);
    let (file, from, to, end) = match may {
        May::Refuse { file, from, to } => (Some(*file), *from, *to, None),
        May::RefuseOrEnd { file, from, to, seq, .. } => (Some(*file), *from, *to, Some(*seq)),
        May::End { seq } => (None, 0, 0, Some(*seq)),
        May::All { file } => (Some(*file), 0, u64::MAX, Some(made.states.len() as u64 - 1)),
    };
    let (state, torn) = match read {
        Err(error) => {
            return match file {
                Some(file) => located(&error, file, from, to),
                None => Outcome::Accepted(format!("refused what should read: {error}")),
            };
        }
        Ok(read) => read,
    };
    let Some(end) = end else { return Outcome::Accepted(format!("read up to {} as if nothing were", state.last_seq)) };
    let wanted = usize::try_from(end).ok().and_then(|end| made.states.get(end));
    if wanted != Some(&state) {
        return Outcome::Accepted(format!("read up to {}, should end at {end} or another state", state.last_seq));
    }
    if let May::RefuseOrEnd { file, from, told: true, .. } = may {
        match &torn {
            Some(torn) if torn.file == *file && torn.offset == *from => {}
            torn => return Outcome::Accepted(format!("a torn tail at {from} was not told, but {torn:?}")),
        }
    }
    match started(bent, &made.plan) {
        Ok(started) if started == state => {}
        Ok(started) => {
            return Outcome::Accepted(format!("verify ends at {}, a start at {}", state.last_seq, started.last_seq));
        }
        Err(error) => return Outcome::Accepted(format!("verify reads it, a start does not: {error}")),
    }
    if matches!(may, May::All { .. }) { Outcome::Meaningless } else { Outcome::Cut }
}

/// Lets an engine write on until it needs the spare: it must refuse it there, with everything before it durable.
pub(crate) fn refused_when_needed(made: &Made, bent: &RamDisk, spare: &Path) -> Outcome {
    let copy = Plan::shelves(&bent.fork());
    let opened = Journal::open(made.plan.options(Arc::clone(&copy)), keys(made.plan.engine), &mut |_| Ok(()));
    let mut journal = match opened {
        Ok((journal, _)) => journal,
        Err(error) => return located(&error, spare, 0, 0),
    };
    journal.start_epoch(journal.epoch() + 1);
    // Two spares are filled by this many blocks.
    for _ in 0..3 * made.plan.segment / 4096 {
        journal.append(0, |out| out.extend_from_slice(&[1; 4000]));
        if let Err(error) = journal.commit() {
            return match located(&error, spare, 0, made.plan.segment) {
                Outcome::Located => Outcome::Meaningless,
                other => other,
            };
        }
    }
    Outcome::Accepted("a spare with a byte in it was written over".to_owned())
}
