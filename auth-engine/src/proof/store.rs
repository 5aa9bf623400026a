//! The files under `checkpoints/`: `log`, every checkpoint that was ever signed, one signed note after the other with
//! an empty line between; and `state`, what the maker needs to go on without reading the whole journal.
//!
//! The log is appended to and synced; of it nothing but a torn end is ever cut, and that one is made anew from the
//! journal, byte for byte. The state may be lost. It must never be taken for the journal: what cannot be made to agree
//! with it is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ledger_core::proof::{Hash, Tree};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bundle::{Base64, ProofError};
use super::note::{Checkpoint, VerifierKey};

const LOG: &str = "log";
const STATE: &str = "state";
/// How much of the log's end is read to find its last checkpoint; each takes some 300 bytes.
const TAIL: u64 = 64 << 10;

/// Where in the data directory the checkpoints are.
pub fn dir(data: &Path) -> PathBuf {
    data.join("checkpoints")
}

/// Why the files are refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk does not give or take them.
    #[error("{}: cannot {what}: {source}; see to the disk and its rights", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A checkpoint is not one that this journal's key signed.
    #[error("{} at byte {offset}: {what}; restore the file from a copy, or move {} away: the journal keeps its value, but what was signed can then not be shown to be its beginning", file.display(), file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// More events were signed than the journal has.
    #[error("{}: a checkpoint of {size} events was signed and the journal ends at event {journal}: it lost its end; restore the journal, or, to go on without what was lost, move this file and its directory away", file.display())]
    Ahead {
        /// Which.
        file: PathBuf,
        /// Events signed.
        size: u64,
        /// Events there.
        journal: u64,
    },
    /// What was signed is not what the journal holds.
    #[error("{}: what was signed up to event {size} is not the journal's history; restore the journal or the directory of checkpoints that belongs to it", file.display())]
    Another {
        /// Which.
        file: PathBuf,
        /// The event.
        size: u64,
    },
}

fn io_error<'a>(file: &'a Path, what: &'static str) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { file: file.to_owned(), what, source }
}

/// A checkpoint with the note that says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

impl Stored {
    /// Whether this is the tree that was signed.
    pub(super) fn matches(&self, tree: &Tree) -> Result<(), ProofError> {
        if self.checkpoint.root == tree.root() {
            return Ok(());
        }
        let size = self.checkpoint.size;
        Err(ProofError::Checkpoint(format!(
            "the checkpoint of {size} events is not of this journal's: one of the two was changed since it was signed"
        )))
    }

    /// The journal ends before the checkpoint does.
    pub(super) fn ahead(&self, journal: u64) -> ProofError {
        let size = self.checkpoint.size;
        ProofError::Checkpoint(format!(
            "a checkpoint of {size} events was signed and the journal ends at event {journal}: it lost its end; restore it"
        ))
    }
}

/// What the log's bytes are.
struct Parsed {
    stored: Vec<Stored>,
    /// Where a write that did not finish begins.
    torn_at: Option<u64>,
}

fn parse(file: &Path, bytes: &[u8], begin: u64, key: &VerifierKey) -> Result<Parsed, StoreError> {
    let mut stored: Vec<Stored> = Vec::new();
    let (mut rest, mut offset) = (bytes, begin);
    while !rest.is_empty() {
        // A write that the disk did not finish is short, or zeros from some place on.
        let end = end_of_record(rest).filter(|end| !rest.get(..*end).unwrap_or_default().contains(&0));
        let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
        let Some(end) = end.filter(|end| *end <= rest.len() - zeros) else {
            let written = rest.get(..rest.len() - zeros).unwrap_or_default();
            if written.contains(&0) {
                let what = "zeros between checkpoints".to_owned();
                return Err(StoreError::Damaged { file: file.to_owned(), offset, what });
            }
            return Ok(Parsed { stored, torn_at: Some(offset) });
        };
        let damaged = |what: String| StoreError::Damaged { file: file.to_owned(), offset, what };
        let (record, after) = rest.split_at(end);
        let note = record.split_last().map(|(_, note)| note).unwrap_or_default();
        let note = std::str::from_utf8(note).map_err(|_| damaged("this is no text".to_owned()))?;
        let checkpoint = Checkpoint::open(note, key).map_err(|why| damaged(format!("a checkpoint: {why}")))?;
        if stored.last().is_some_and(|last| last.checkpoint.size >= checkpoint.size) {
            return Err(damaged("a checkpoint that is not beyond the one before it".to_owned()));
        }
        stored.push(Stored { checkpoint, note: note.to_owned() });
        (rest, offset) = (after, offset + end as u64);
    }
    Ok(Parsed { stored, torn_at: None })
}

/// Where the first record ends: its text, an empty line, its signatures, an empty line.
fn end_of_record(bytes: &[u8]) -> Option<usize> {
    let blank = |from: usize| bytes.get(from..)?.windows(2).position(|two| two == b"\n\n").map(|at| from + at + 2);
    blank(blank(0)?)
}

/// Every checkpoint that was signed, oldest first; a write that was not finished is left out.
///
/// # Errors
/// A [`StoreError`].
pub fn read_all(dir: &Path, key: &VerifierKey) -> Result<Vec<Stored>, StoreError> {
    let file = dir.join(LOG);
    match fs::read(&file) {
        Ok(bytes) => Ok(parse(&file, &bytes, 0, key)?.stored),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_error(&file, "read it")(error)),
    }
}

/// The newest checkpoint that was signed. Reads the end of the log alone.
///
/// # Errors
/// A [`StoreError`].
pub fn read_last(dir: &Path, key: &VerifierKey) -> Result<Option<Stored>, StoreError> {
    let file = dir.join(LOG);
    match File::open(&file) {
        Ok(open) => Ok(read_end(&file, &open, key)?.0.stored.pop()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&file, "open it")(error)),
    }
}

/// The end of the log, and the log's length.
fn read_end(file: &Path, open: &File, key: &VerifierKey) -> Result<(Parsed, u64), StoreError> {
    let len = open.metadata().map_err(io_error(file, "look at it"))?.len();
    let from = len.saturating_sub(TAIL);
    let mut bytes = vec![0; usize::try_from(len - from).unwrap_or(0)];
    open.read_exact_at(&mut bytes, from).map_err(io_error(file, "read it"))?;
    let mut begin = 0;
    if from > 0 {
        // Whole checkpoints only: the first that begins here.
        let border = format!("\n\n{}\n", key.name());
        let found = bytes.windows(border.len()).position(|window| window == border.as_bytes());
        let what = || "no checkpoint of this journal begins here".to_owned();
        begin = found.ok_or_else(|| StoreError::Damaged { file: file.to_owned(), offset: from, what: what() })? + 2;
    }
    let parsed = parse(file, bytes.get(begin..).unwrap_or_default(), from + begin as u64, key)?;
    Ok((parsed, len))
}

/// The log, open for the maker.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Log {
    /// Opens the log, making it when there is none, and cuts what was not written to its end.
    pub(super) fn open(dir: &Path, key: &VerifierKey) -> Result<(Self, Option<Stored>), StoreError> {
        fs::create_dir_all(dir).map_err(io_error(dir, "make the directory"))?;
        let path = dir.join(LOG);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(io_error(&path, "open it"))?;
        let (mut parsed, len) = read_end(&path, &file, key)?;
        if let Some(at) = parsed.torn_at {
            tracing::warn!(file = %path.display(), at, "a checkpoint that was not written to its end is made anew");
            file.set_len(at).map_err(io_error(&path, "cut it"))?;
        }
        for dir in [Some(dir), dir.parent().filter(|parent| !parent.as_os_str().is_empty())].into_iter().flatten() {
            sync_dir(dir)?;
        }
        let len = parsed.torn_at.unwrap_or(len);
        Ok((Self { path, file, len }, parsed.stored.pop()))
    }

    /// Returns when the note is durable.
    pub(super) fn append(&mut self, note: &str) -> Result<(), StoreError> {
        // What an append left that failed is written over, or cut: it may have been longer.
        self.file.set_len(self.len).map_err(io_error(&self.path, "cut it"))?;
        let record = format!("{note}\n");
        self.file.write_all_at(record.as_bytes(), self.len).map_err(io_error(&self.path, "append to it"))?;
        self.file.sync_data().map_err(io_error(&self.path, "make it durable"))?;
        self.len += record.len() as u64;
        Ok(())
    }
}

/// The tree where the maker stopped.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u8,
    size: u64,
    last_leaf: Base64<Hash>,
    subtrees: Vec<Base64<Hash>>,
}

/// Where the maker goes on.
pub(super) struct Resumed {
    pub(super) tree: Tree,
    /// The leaf of the last event in it.
    pub(super) last_leaf: Hash,
}

/// The state that was kept; none when there is none, or it is not whole. It is only ever a shorter way.
pub(super) fn read_state(dir: &Path) -> Option<Resumed> {
    let text = fs::read_to_string(dir.join(STATE)).ok()?;
    let (body, sum) = text.strip_suffix('\n')?.split_once('\n')?;
    if sum != sum_of(body) {
        return None;
    }
    let state: State = serde_json::from_str(body).ok().filter(|state: &State| state.format == 1 && state.size > 0)?;
    let subtrees: Vec<Hash> = state.subtrees.iter().map(|hash| hash.0).collect();
    Some(Resumed { tree: Tree::resume(state.size, &subtrees)?, last_leaf: state.last_leaf.0 })
}

/// Keeps the state, whole or not at all.
pub(super) fn write_state(dir: &Path, tree: &Tree, last_leaf: Hash) -> Result<(), StoreError> {
    let subtrees = tree.subtrees().map(|hash| Base64(*hash)).collect();
    let state = State { format: 1, size: tree.size(), last_leaf: Base64(last_leaf), subtrees };
    let body = serde_json::to_string(&state).expect("numbers and text are JSON");
    let (path, partial) = (dir.join(STATE), dir.join("state.tmp"));
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let mut file = opened.map_err(io_error(&partial, "make it"))?;
    let written = writeln!(file, "{body}\n{}", sum_of(&body)).and_then(|()| file.sync_all());
    written.map_err(io_error(&partial, "write it"))?;
    fs::rename(&partial, &path).map_err(io_error(&path, "rename it"))?;
    sync_dir(dir)
}

fn sum_of(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the operator's cut of a journal leaves of its checkpoints: those of at most `seq` events. Returns how many went.
/// Later ones say what is then no more; whoever has a copy of one can show that the journal was cut. A copy of the log
/// stays beside it. To be called before the journal is cut, so that a crash in between leaves a pair that fits. Needs no
/// key: a journal that is cut may be too damaged to give one.
///
/// # Errors
/// A [`StoreError`].
pub fn cut(dir: &Path, seq: u64) -> Result<usize, StoreError> {
    let path = dir.join(LOG);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io_error(&path, "read it")(error)),
    };
    let size = |record: &[u8]| std::str::from_utf8(record).ok()?.lines().nth(1)?.parse::<u64>().ok();
    let (mut kept, mut gone, mut rest) = (0, 0, bytes.as_slice());
    while let Some((record, after)) = end_of_record(rest).and_then(|end| rest.split_at_checked(end)) {
        if gone > 0 || size(record).is_none_or(|size| size > seq) {
            gone += 1;
        } else {
            kept += record.len();
        }
        rest = after;
    }
    match fs::remove_file(dir.join(STATE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(dir, "remove the state")(error)),
        _ => {}
    }
    if kept < bytes.len() {
        let copy = dir.join(format!("log.before-cut-{seq}"));
        fs::write(&copy, &bytes).and_then(|()| File::open(&copy)?.sync_all()).map_err(io_error(&copy, "write it"))?;
        let file = OpenOptions::new().write(true).open(&path).map_err(io_error(&path, "open it"))?;
        file.set_len(kept as u64).and_then(|()| file.sync_all()).map_err(io_error(&path, "cut it"))?;
    }
    sync_dir(dir)?;
    Ok(gone)
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|open| open.sync_all()).map_err(io_error(dir, "make its names durable"))
}

/// Whether anything was ever signed.
pub fn any(dir: &Path) -> bool {
    fs::metadata(dir.join(LOG)).is_ok_and(|log| log.len() > 0)
}

/// Where the log is, for messages.
pub(super) fn log_file(dir: &Path) -> PathBuf {
    dir.join(LOG)
}
