//! Why the journal refused: every error says what, where (file and offset) and what to do.
//!
//! It must never carry an event's bytes.

use std::io;
use std::path::{Path, PathBuf};

use super::archive::ArchiveDamage;

/// A refusal or a failure of the journal. All of them end the process with exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process holds the directory's lock.
    #[error("{}: the journal is in use by another process: stop that one, or give this one a directory of its own", dir.display())]
    InUse {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// The directory cannot be made or written.
    #[error("{}: the journal's directory is not writable ({source}): give the user of this process the right to write there", dir.display())]
    NotWritable {
        /// The journal's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a file operation.
    #[error("{}: cannot {what} at offset {offset} ({source}): check the disk, then start again", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The byte at which the operation started.
        offset: u64,
        /// The operation.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were durable are not what they were.
    #[error("{}: corrupt at offset {offset}: {what}: nothing was changed; restore the journal from a copy", file.display())]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// The byte at which the damaged block or header starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A segment is not as long as it was made.
    #[error("{}: {found} bytes long where {expected} were preallocated, so it was cut at offset {found}: nothing was changed; restore it from a copy", file.display())]
    ShortSegment {
        /// The segment.
        file: PathBuf,
        /// Bytes it has.
        found: u64,
        /// Bytes it was made with.
        expected: u64,
    },
    /// A segment made ahead is not as long as segments are.
    #[error("{}: {found} bytes long where {expected} were preallocated, so it was cut at offset {found}: no event is lost; restore the file from a copy, or delete it if the segment before it is not full", file.display())]
    ShortSpare {
        /// The spare.
        file: PathBuf,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// A segment between two others, or one that a closing block names, is not there.
    #[error("{}: segment missing (the journal breaks at its offset 0): nothing was changed; restore it from a copy", file.display())]
    MissingSegment {
        /// The file that should be there.
        file: PathBuf,
    },
    /// A segment of another engine.
    #[error("{}: at offset {offset}: written by another engine than the segment before it: put back this engine's own segment", file.display())]
    ForeignSegment {
        /// The segment.
        file: PathBuf,
        /// Where the engine id stands.
        offset: u64,
    },
    /// A segment of another shard.
    #[error("{}: at offset {offset}: belongs to shard {found}, not {expected}: put back this shard's own segment", file.display())]
    ForeignShard {
        /// The segment.
        file: PathBuf,
        /// Where the shard stands.
        offset: u64,
        /// The shard it names.
        found: u8,
        /// The shard this journal is.
        expected: u8,
    },
    /// Written by a later version of this program.
    #[error("{}: at offset {offset}: format {found}, and this version reads up to {supported}: run the version that wrote it, or a later one", file.display())]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// Where the version stands.
        offset: u64,
        /// The version it names.
        found: u16,
        /// The newest version this program reads.
        supported: u16,
    },
    /// A snapshot's bytes are not what was written. A start passes it over: it is made of the journal.
    #[error("{}: the snapshot is damaged at offset {offset}: {what}: delete the file, the engine makes another", file.display())]
    DamagedSnapshot {
        /// The snapshot.
        file: PathBuf,
        /// Where the damaged head, table or piece starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A snapshot that is whole is not one of this journal.
    #[error("{}: at offset {offset}: {what}: put back this journal's own segments, or delete the snapshot if it came here by mistake", file.display())]
    ForeignSnapshot {
        /// The snapshot.
        file: PathBuf,
        /// Where the field stands that does not fit.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A snapshot was written by a later version of this program.
    #[error("{}: at offset {offset}: snapshot format {found}, and this version reads up to {supported}: run the version that wrote it or a later one, or delete the snapshot", file.display())]
    NewerSnapshot {
        /// The snapshot.
        file: PathBuf,
        /// Where the version stands.
        offset: u64,
        /// The version it names.
        found: u16,
        /// The newest version this program reads.
        supported: u16,
    },
    /// A snapshot covers more than there is: the journal lost its end.
    #[error("{}: the snapshot covers segment {segment} and events up to {last_seq}, and the journal ends before: it lost its end; restore its segments from a copy, or give up what is lost with `auth-engine journal cut`", file.display())]
    SnapshotAhead {
        /// The snapshot.
        file: PathBuf,
        /// The last segment it covers.
        segment: u32,
        /// The last event it covers.
        last_seq: u64,
    },
    /// Whoever asked for it gave it up.
    #[error("given up before it was whole")]
    Abandoned,
    /// The master key is not the one that wrapped this journal's keys.
    #[error("{}: at offset {offset}: the master key is not the one this journal was made with: point the configuration at that one", file.display())]
    WrongMasterKey {
        /// The segment.
        file: PathBuf,
        /// Where the check value stands.
        offset: u64,
    },
    /// There is a journal and no master key to open it.
    #[error("{}: at offset {offset}: the journal needs its master key and none was given: put the key file back in its place", file.display())]
    MasterKeyAbsent {
        /// The segment, or the directory when there is no segment yet.
        file: PathBuf,
        /// Where the wrapped keys stand.
        offset: u64,
    },
    /// There is no journal in the directory.
    #[error("{}: no journal here: name the directory that holds the segments", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// The caller's fold refused an event that is whole.
    #[error("{}: event {seq} in the block at offset {offset} does not fold: {what}: run the version that wrote it", file.display())]
    Fold {
        /// The segment.
        file: PathBuf,
        /// Where the block starts.
        offset: u64,
        /// The event's sequence.
        seq: u64,
        /// What the fold said.
        what: String,
    },
    /// An option is outside what the format allows.
    #[error("journal option {option} {what}")]
    Options {
        /// Which option.
        option: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// One event is larger than a block may be.
    #[error("event {seq} is {bytes} bytes long and a block holds {most}: raise the segment size")]
    EventTooLarge {
        /// The event's sequence.
        seq: u64,
        /// Its length.
        bytes: usize,
        /// What a block holds.
        most: usize,
    },
    /// All 2^24 - 1 starts are used, or an epoch was to begin that is not greater than the last.
    #[error(
        "epoch {epoch} cannot begin after epoch {last} (they end at {}): start a new journal",
        crate::keys::MAX_EPOCH
    )]
    Epoch {
        /// The epoch asked for.
        epoch: u32,
        /// The last one.
        last: u32,
    },
    /// An earlier write or sync failed; nothing is written after that.
    #[error("the journal stopped at an earlier failure ({first}): restart the process, it recovers what is durable")]
    Poisoned {
        /// The failure that stopped it.
        first: String,
    },
    /// An event that is not durable, or never was, was asked for.
    #[error("event {seq} is not durable (the last durable one is {durable}): ask again later, or for another")]
    NotDurable {
        /// The sequence asked for.
        seq: u64,
        /// The last durable sequence.
        durable: u64,
    },
}

impl JournalError {
    /// True when the journal's content is at fault: `journal verify` ran and the answer is no. False for a directory
    /// that cannot be used as it is (in use, not writable, keys missing, too new).
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. }
            | Self::ShortSegment { .. }
            | Self::ShortSpare { .. }
            | Self::MissingSegment { .. }
            | Self::ForeignSegment { .. }
            | Self::ForeignShard { .. }
            | Self::DamagedSnapshot { .. }
            | Self::ForeignSnapshot { .. }
            | Self::SnapshotAhead { .. }
            | Self::Fold { .. } => true,
            Self::InUse { .. }
            | Self::NotWritable { .. }
            | Self::Io { .. }
            | Self::NewerFormat { .. }
            | Self::NewerSnapshot { .. }
            | Self::Abandoned
            | Self::WrongMasterKey { .. }
            | Self::MasterKeyAbsent { .. }
            | Self::Empty { .. }
            | Self::Options { .. }
            | Self::EventTooLarge { .. }
            | Self::Epoch { .. }
            | Self::Poisoned { .. }
            | Self::NotDurable { .. } => false,
        }
    }

    pub(crate) fn io(file: &Path, offset: u64, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match ArchiveDamage::of(&source) {
            Some(ArchiveDamage { file, offset, what }) => Self::corrupt(file, *offset, what),
            None => Self::Io { file: file.to_owned(), offset, what, source },
        }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, what: &'static str) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, what }
    }
}
