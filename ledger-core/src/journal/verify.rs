//! Reading a stopped journal, or a copy of one, without changing a byte: what `journal verify` and its kin stand on.
//!
//! It must never write, make a lock file, or remove anything.

use std::path::Path;
use std::sync::Arc;

use super::KeySource;
use super::error::JournalError;
use super::file::{Disk, Lock, LockKind, RealDisk};
use super::recovery::{self, Fold, TornTail};
use crate::keys::Keyring;

/// What a whole reading found. Damage is an error instead.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// The last durable sequence, 0 when there is none.
    pub last_seq: u64,
    /// The time of the last event, microseconds since 1970 UTC; `i64::MIN` when there is none.
    pub last_at: i64,
    /// The epoch of the last event, 0 when there is none.
    pub last_epoch: u32,
    /// Segments in use.
    pub segments: u32,
    /// Segments made ahead and not in use.
    pub spares: u32,
    /// Blocks of events.
    pub blocks: u64,
    /// Events folded.
    pub events: u64,
    /// A write the last run did not finish: not damage, the next start cuts it.
    pub torn: Option<TornTail>,
    /// The engine's random id.
    pub engine_id: [u8; 16],
    /// The shard.
    pub shard: u8,
    /// The BLAKE3 hash of the last block (or header): equal hashes, equal journals.
    pub chain: [u8; 32],
}

/// Reads a stopped journal: every header, CRC, hash, sequence and event. The keys are opened when the source has a
/// master key, and not needed otherwise.
///
/// # Errors
/// [`JournalError::Empty`] without segments, [`JournalError::InUse`] while an engine runs on it, and whatever
/// [`super::Journal::open`] would refuse.
pub fn verify(dir: &Path, keys: KeySource, fold: &mut Fold<'_>) -> Result<VerifyReport, JournalError> {
    verify_on(&RealDisk, dir, keys, fold)
}

/// [`verify`] on a disk of the caller's.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(
    disk: &dyn Disk,
    dir: &Path,
    keys: KeySource,
    fold: &mut Fold<'_>,
) -> Result<VerifyReport, JournalError> {
    let _lock = share_directory(disk, dir)?;
    let survey = recovery::survey(disk, dir, None, None)?;
    let Some((_, header, _)) = survey.active.last() else {
        return Err(JournalError::Empty { dir: dir.to_owned() });
    };
    if keys.master().is_some() {
        recovery::open_keys(&survey, &keys)?;
    }
    let scan = recovery::scan(disk, dir, &survey, &recovery::Start::BEGINNING, fold)?;
    Ok(VerifyReport {
        last_seq: scan.last_seq,
        last_at: scan.last_at,
        last_epoch: scan.last_epoch,
        segments: u32::try_from(survey.active.len()).unwrap_or(u32::MAX),
        spares: u32::try_from(survey.spares.len()).unwrap_or(u32::MAX),
        blocks: scan.blocks,
        events: scan.events,
        torn: scan.torn,
        engine_id: header.engine_id,
        shard: header.shard,
        chain: scan.chain,
    })
}

/// Opens the keys of a journal without reading its blocks, for a fold that has sealed bytes to open.
/// Works beside a running engine too: a header does not change.
///
/// # Errors
/// [`JournalError::Empty`], [`JournalError::MasterKeyAbsent`], [`JournalError::WrongMasterKey`] and what a bad
/// header gives.
pub fn read_keyring(disk: &dyn Disk, dir: &Path, keys: &KeySource) -> Result<Arc<Keyring>, JournalError> {
    let survey = recovery::survey(disk, dir, None, None)?;
    recovery::open_keys(&survey, keys)?.ok_or_else(|| JournalError::Empty { dir: dir.to_owned() })
}

pub(super) fn share_directory(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, JournalError> {
    let lock = disk.lock(dir, LockKind::Shared).map_err(JournalError::io(dir, 0, "look at the directory's lock"))?;
    lock.ok_or_else(|| JournalError::InUse { dir: dir.to_owned() })
}
