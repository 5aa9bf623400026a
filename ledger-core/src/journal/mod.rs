//! The journal: an append-only, hash-chained, checksummed record of events, durable before anything leaves.
//!
//! Events are opaque bytes here. Pure but for `file.rs`, which holds all IO; no clock, no randomness. It must never
//! cut anything but a torn tail, and never go on after a failed write. `docs/journal-format.md` has the bytes.

pub mod archive;
mod block;
pub mod cut;
mod error;
pub mod file;
mod format;
mod index;
mod reader;
mod recovery;
mod snapshot;
mod spares;
mod stats;
mod stopped;
mod verify;
mod walk;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use error::JournalError;
pub use format::{FORMAT, Record};
pub use reader::{After, BlockRecords, Follower, OwnedRecord, Reader};
pub use recovery::TornTail;
pub use snapshot::{Snapshot, SnapshotHead, SnapshotWriter, list_snapshots, snapshot_name};
pub use stats::Stats;
pub use stopped::Stopped;
pub use verify::{VerifyReport, read_keyring, verify, verify_on};
pub use walk::{Each, Placed, Walked, WalkedSegment, walk};
pub use writer::{Journal, Recovery};

use crate::keys::{Keyring, MasterKey};
use file::{Disk, PAGE, RealDisk};

/// The smallest segment: header, one block, closing block, and room to be useful in tests.
pub const LEAST_SEGMENT: u64 = 4 * PAGE as u64;
/// The largest segment: an index entry has 32 bits for a page and a block header 32 bits for a length.
pub const MOST_SEGMENT: u64 = 1 << 31;

/// How blocks become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// [`SyncMode::Direct`] where the file system takes it, [`SyncMode::Buffered`] where it does not.
    #[default]
    Auto,
    /// Past the page cache, each write durable when it returns.
    Direct,
    /// Through the page cache, then a sync.
    Buffered,
}

/// Who makes segments ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpareMaking {
    /// A paced thread keeps two ready.
    #[default]
    Thread,
    /// The writer, when it needs one: one thread, one order, for the simulator.
    Inline,
}

/// How a journal is opened.
#[derive(Clone)]
pub struct Options {
    /// The directory of the segments and the lock. Made when it is not there.
    pub dir: PathBuf,
    /// Bytes of a new segment: whole pages, [`LEAST_SEGMENT`] to [`MOST_SEGMENT`].
    pub segment_bytes: u64,
    /// The shard whose journal this is.
    pub shard: u8,
    /// How blocks become durable.
    pub mode: SyncMode,
    /// Bytes of events in one block; a larger batch is written as several. A segment sets a lower bound of its own.
    pub max_batch_bytes: usize,
    /// Who makes segments ahead.
    pub spares: SpareMaking,
    /// The pause after each 256 KiB of zeros.
    pub pace: Duration,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// The defaults: 64 MiB segments, blocks up to 4 MiB, shard 0, this machine's disk.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            shard: 0,
            mode: SyncMode::Auto,
            max_batch_bytes: 4 << 20,
            spares: SpareMaking::Thread,
            pace: Duration::from_millis(10),
            disk: Arc::new(RealDisk),
        }
    }

    fn check(&self) -> Result<(), JournalError> {
        let bytes = self.segment_bytes;
        if !bytes.is_multiple_of(PAGE as u64) || !(LEAST_SEGMENT..=MOST_SEGMENT).contains(&bytes) {
            let what = "must be a multiple of 4096 from 16 KiB to 2 GiB";
            return Err(JournalError::Options { option: "segment_bytes", what });
        }
        if self.max_batch_bytes < 1024 {
            return Err(JournalError::Options { option: "max_batch_bytes", what: "must be at least 1024" });
        }
        Ok(())
    }

    /// Bytes of records one block may carry: what was asked for, if it leaves room for header and closing block.
    fn block_cap(&self) -> usize {
        let segment = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        self.max_batch_bytes.min(segment.saturating_sub(2 * PAGE + format::BLOCK_HEADER))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("segment_bytes", &self.segment_bytes)
            .field("shard", &self.shard)
            .field("mode", &self.mode)
            .field("max_batch_bytes", &self.max_batch_bytes)
            .field("spares", &self.spares)
            .finish_non_exhaustive()
    }
}

/// What the journal is folded into when it is opened.
pub trait Folding {
    /// The version of snapshots' entries it reads; none when it wants every event.
    fn content(&self) -> Option<u16>;

    /// Becomes the state that a snapshot holds. After an error it is what it was before.
    ///
    /// # Errors
    /// Those of [`Snapshot::read`].
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), JournalError>;

    /// Takes the next event.
    ///
    /// # Errors
    /// What it does not fold for.
    fn fold(&mut self, record: Record<'_>) -> Result<(), String>;
}

/// Every event from the first on.
struct EveryEvent<'a, 'b>(&'a mut recovery::Fold<'b>);

impl Folding for EveryEvent<'_, '_> {
    fn content(&self) -> Option<u16> {
        None
    }

    fn restore(&mut self, _: &Snapshot) -> Result<(), JournalError> {
        Err(JournalError::Abandoned)
    }

    fn fold(&mut self, record: Record<'_>) -> Result<(), String> {
        (self.0)(record)
    }
}

/// Where the keys of a journal come from: the master key opens those of a journal that is there; random bytes
/// make those of a new one.
pub struct KeySource {
    master: Option<MasterKey>,
    random: Option<Zeroizing<[u8; 80]>>,
}

impl KeySource {
    /// Opens a journal or makes a new one. Of the random bytes 64 become keys and 16 the engine's id; they are
    /// used only when the directory holds no journal yet.
    pub fn new(master: MasterKey, random: [u8; 80]) -> Self {
        Self { master: Some(master), random: Some(Zeroizing::new(random)) }
    }

    /// Opens a journal that is there and makes none.
    pub fn existing(master: MasterKey) -> Self {
        Self { master: Some(master), random: None }
    }

    /// No master key: a journal that is there is refused, but for [`verify`], which needs no keys.
    pub fn absent() -> Self {
        Self { master: None, random: None }
    }

    fn master(&self) -> Option<&MasterKey> {
        self.master.as_ref()
    }

    fn birth(&self, dir: &Path) -> Result<([u8; 16], Keyring), JournalError> {
        let absent = || JournalError::MasterKeyAbsent { file: dir.to_owned(), offset: 0 };
        let master = self.master().ok_or_else(absent)?;
        let random = self.random.as_ref().ok_or_else(|| JournalError::Empty { dir: dir.to_owned() })?;
        let (for_keys, rest) = random.split_first_chunk::<64>().ok_or_else(absent)?;
        let engine_id = rest.first_chunk::<16>().copied().ok_or_else(absent)?;
        Ok((engine_id, Keyring::create(master, for_keys)))
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySource(****)")
    }
}

/// Whether the directory holds a journal: a master key that is missing then must not be made anew.
///
/// # Errors
/// [`JournalError::Io`] when the directory is there and cannot be listed.
pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, JournalError> {
    match disk.list(dir) {
        Ok(entries) => Ok(entries.iter().any(|entry| segment_number(&entry.name).is_some())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(JournalError::io(dir, 0, "list the directory")(error)),
    }
}

/// The file name of a segment.
pub fn segment_name(number: u32) -> String {
    format!("{number:010}.segment")
}

fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}
