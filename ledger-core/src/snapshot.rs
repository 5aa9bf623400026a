//! Snapshots of the book: made by replaying closed segments onto the snapshot before, and taken as the beginning of a
//! replay. Neither needs the shard: what is made is made of the journal alone, and proves that it replays.
//!
//! Must never be used by a decision, and never delete the last snapshot that reads.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::book::Book;
use crate::book::snapshot::{CONTENT, Entries};
use crate::event::Event;
use crate::journal::{Folding, JournalError, Reader, Record, Snapshot, SnapshotHead, SnapshotWriter, list_snapshots};
use crate::time::Timestamp;

/// Snapshots that are kept: should the newest be damaged, the one before it saves a replay of everything.
const KEPT: usize = 2;
/// Events folded between two looks at whether to go on.
const FOLDED_AT_ONCE: u64 = 1_024;

/// Reads the book out of a snapshot.
///
/// # Errors
/// Those of [`Snapshot::read`].
pub fn read(snapshot: &Snapshot) -> Result<Book, JournalError> {
    let source = FromFile { snapshot, error: Mutex::new(None) };
    Book::read_snapshot(&source).map_err(|_| {
        let said = source.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (file, offset) = (snapshot.path().to_owned(), 0);
        said.unwrap_or(JournalError::DamagedSnapshot { file, offset, what: "its entries are not a book" })
    })
}

struct FromFile<'a> {
    snapshot: &'a Snapshot,
    error: Mutex<Option<JournalError>>,
}

impl FromFile<'_> {
    fn told(&self, read: Result<(), JournalError>) -> Result<(), String> {
        read.map_err(|error| {
            let said = error.to_string();
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            said
        })
    }
}

impl Entries for FromFile<'_> {
    fn bytes(&self, part: u8) -> u64 {
        self.snapshot.bytes_of(part)
    }

    fn first(&self, part: u8, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        self.told(self.snapshot.first(part, each))
    }

    fn read(&self, part: u8, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
        self.told(self.snapshot.read(part, each))
    }
}

/// A book that is being folded from a journal, from its newest good snapshot on.
#[derive(Debug, Default)]
pub struct Folded(pub Book);

impl Folding for Folded {
    fn content(&self) -> Option<u16> {
        Some(CONTENT)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.0 = read(snapshot)?;
        Ok(())
    }

    fn fold(&mut self, record: Record<'_>) -> Result<(), String> {
        fold(&mut self.0, record)
    }
}

/// Folds one event of the journal into a book.
///
/// # Errors
/// What the event's bytes or the book say against it.
pub fn fold(book: &mut Book, record: Record<'_>) -> Result<(), String> {
    let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
    book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())
}

/// What making a snapshot found and did.
#[derive(Clone, Debug)]
pub struct Made {
    /// The file.
    pub path: PathBuf,
    /// The last segment it covers.
    pub segment: u32,
    /// The last event it covers.
    pub last_seq: u64,
    /// Events that were folded onto the snapshot before.
    pub events: u64,
    /// The hash of the state.
    pub state_hash: [u8; 32],
}

/// Makes a snapshot of all closed segments. `None` when the newest one covers them already.
///
/// `direct` writes past the page cache. `pace` is called after each write with its bytes, and every now and then
/// between with 0; it may wait, so that others keep the disk, and says whether to go on.
///
/// # Errors
/// [`JournalError::Abandoned`] when `pace` said so; [`JournalError::Fold`] when the journal does not replay or an
/// invariant of the whole book is broken; and those of reading and writing.
pub fn make(reader: &Reader, direct: bool, pace: &mut dyn FnMut(usize) -> bool) -> Result<Option<Made>, JournalError> {
    let Some(after) = reader.after(reader.closed_segments())? else { return Ok(None) };
    let (mut book, covered) = newest(reader)?;
    if covered >= after.last_seq {
        return Ok(None);
    }
    let mut follower = reader.follow(covered + 1);
    let (mut last_epoch, mut last_at) = (0, 0);
    let mut looked = covered;
    while follower.position() <= after.last_seq {
        let Some(block) = follower.next_block()? else { break };
        for record in block.iter() {
            fold(&mut book, record).map_err(|what| refused(reader, record.seq, what))?;
            (last_epoch, last_at) = (record.epoch, record.at);
        }
        if book.last_seq() - looked >= FOLDED_AT_ONCE {
            looked = book.last_seq();
            if !pace(0) {
                return Err(JournalError::Abandoned);
            }
        }
    }
    if book.last_seq() != after.last_seq {
        return Err(refused(reader, book.last_seq(), "the segment ends before its successor says".to_owned()));
    }
    book.check().map_err(|broken| refused(reader, after.last_seq, format!("an invariant is broken: {broken}")))?;
    let head = SnapshotHead {
        engine_id: after.engine_id,
        shard: after.shard,
        content: CONTENT,
        segment: after.segment,
        last_seq: after.last_seq,
        last_at,
        last_epoch,
        chain: after.chain,
        state_hash: book.state_hash(),
    };
    let path = write(reader, &book, &head, direct, pace).inspect_err(|_| {
        // Half a snapshot on a full disk would only keep it full. The next start removes it as well.
        SnapshotWriter::give_up(reader.disk(), reader.dir());
    })?;
    for (_, old) in list_snapshots(reader.disk(), reader.dir())?.into_iter().skip(KEPT) {
        reader.disk().remove(&old).map_err(|source| JournalError::Io {
            file: old,
            offset: 0,
            what: "remove an old snapshot",
            source,
        })?;
    }
    let (segment, last_seq, state_hash) = (head.segment, head.last_seq, head.state_hash);
    Ok(Some(Made { path, segment, last_seq, events: last_seq - covered, state_hash }))
}

fn write(
    reader: &Reader,
    book: &Book,
    head: &SnapshotHead,
    direct: bool,
    pace: &mut dyn FnMut(usize) -> bool,
) -> Result<PathBuf, JournalError> {
    let mut writer = SnapshotWriter::begin(reader.disk(), reader.dir(), direct, pace)?;
    book.write_snapshot(&mut |part, bytes| writer.entry(part, bytes))?;
    writer.finish(head)
}

/// The book of the newest snapshot that reads and its last event; an empty one and 0 without any.
fn newest(reader: &Reader) -> Result<(Book, u64), JournalError> {
    for (_, path) in list_snapshots(reader.disk(), reader.dir())? {
        let found = Snapshot::open(reader.disk(), &path).and_then(|snapshot| match snapshot.head().content {
            CONTENT => read(&snapshot).map(|book| Some((book, snapshot.head().last_seq))),
            _ => Ok(None),
        });
        match found {
            Ok(Some(found)) => return Ok(found),
            // The start has named it; what is made now replaces it.
            Ok(None) | Err(JournalError::DamagedSnapshot { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((Book::default(), 0))
}

fn refused(reader: &Reader, seq: u64, what: String) -> JournalError {
    JournalError::Fold { file: reader.dir().to_owned(), offset: 0, seq, what }
}
