//! The file of a snapshot: a head that says of which journal it is and up to where, the entries of a state in pieces
//! with a hash each, and the table of the pieces. `docs/journal-format.md` is the same in prose.
//!
//! Entries are opaque bytes here. It must never be the only place of anything: a snapshot is made of the journal, and
//! a start without it replays more.

use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::file::{Access, AlignedBuf, Disk, PAGE, SegmentFile};
use super::format::{self, Fields, Hash, PAD, pages};

/// The format this program writes and the only one it reads; another one's snapshots are passed over or, when they are
/// newer, refused.
pub(super) const SNAPSHOT_FORMAT: u16 = 1;
/// The name under which one is written before it is whole.
pub(super) const UNFINISHED: &str = "snapshot.tmp";

const MAGIC: [u8; 8] = *b"AUTHSNAP";
/// Bytes of a piece, unless one entry is longer.
const PIECE: usize = 1 << 20;
/// Bytes of one write: a tap's sync that comes behind it waits for no more than that.
const WRITE: usize = 64 * 1024;
/// Bytes of a piece's entry in the table.
const TABLE_ENTRY: usize = 1 + 8 + 4 + 32;
/// Where the engine id, the shard and the hash of the chain stand.
const AT_VERSION: u64 = 8;
pub(super) const AT_CONTENT: u64 = 10;
const AT_ENGINE: u64 = 16;
const AT_SEGMENT: u64 = 36;
const AT_CHAIN: u64 = 72;

/// Of which journal a snapshot is, and of how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The engine's random id.
    pub engine_id: [u8; 16],
    /// The shard.
    pub shard: u8,
    /// The version of the entries' layout.
    pub content: u16,
    /// The last segment it covers; all of it.
    pub segment: u32,
    /// Sequence of the last event it covers.
    pub last_seq: u64,
    /// The time of that event, microseconds since 1970 UTC.
    pub last_at: i64,
    /// The epoch of that event.
    pub last_epoch: u32,
    /// Hash of the last block of that segment: the next segment's header carries it.
    pub chain: [u8; 32],
    /// The hash of the state.
    pub state_hash: [u8; 32],
}

/// The file name of the snapshot that ends with a segment.
pub fn snapshot_name(segment: u32) -> String {
    format!("{segment:010}.snapshot")
}

fn snapshot_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".snapshot")?.parse().ok()?;
    (snapshot_name(number) == name).then_some(number)
}

/// The snapshots of a directory, newest first: the segment that each ends with, and its file.
///
/// # Errors
/// [`JournalError::Io`] when the directory cannot be listed.
pub fn list_snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u32, PathBuf)>, JournalError> {
    let entries = disk.list(dir).map_err(JournalError::io(dir, 0, "list the directory"))?;
    let named = entries.into_iter().filter_map(|entry| Some((snapshot_number(&entry.name)?, dir.join(entry.name))));
    let mut found: Vec<(u32, PathBuf)> = named.collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

struct Piece {
    part: u8,
    offset: u64,
    len: u32,
    hash: Hash,
}

/// A snapshot open for reading. What it gives out was checked against its hash.
pub struct Snapshot {
    path: PathBuf,
    file: Box<dyn SegmentFile>,
    head: SnapshotHead,
    pieces: Vec<Piece>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("path", &self.path).field("head", &self.head).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Opens a snapshot and reads its head and its table.
    ///
    /// # Errors
    /// [`JournalError::Io`]; [`JournalError::DamagedSnapshot`] when its bytes are not what was written;
    /// [`JournalError::NewerFormat`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, JournalError> {
        let damaged = |offset, what| JournalError::DamagedSnapshot { file: path.to_owned(), offset, what };
        let file = disk.open(path, Access::Read).map_err(JournalError::io(path, 0, "open a snapshot"))?;
        let mut page = vec![0; PAGE];
        let read = |offset, to: &mut [u8]| {
            file.read_at(offset, to).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => damaged(offset, "the file is cut"),
                _ => JournalError::io(path, offset, "read a snapshot")(error),
            })
        };
        read(0, &mut page)?;
        let (head, table) = match read_head(&page) {
            Ok(found) => found,
            Err(HeadError::Newer(found)) => {
                let (file, supported) = (path.to_owned(), SNAPSHOT_FORMAT);
                return Err(JournalError::NewerSnapshot { file, offset: AT_VERSION, found, supported });
            }
            Err(HeadError::Bad(what)) => return Err(damaged(0, what)),
        };
        let len = usize::try_from(table.len).ok().filter(|len| len.is_multiple_of(TABLE_ENTRY));
        let len = len.ok_or_else(|| damaged(0, "the head tells an impossible table"))?;
        let mut bytes = vec![0; pages(len)];
        read(table.offset, &mut bytes)?;
        if *blake3::hash(&bytes).as_bytes() != table.hash {
            return Err(damaged(table.offset, "the table of pieces is not what was written"));
        }
        let mut fields = Fields { rest: bytes.get(..len).unwrap_or_default() };
        let mut pieces = Vec::with_capacity(len / TABLE_ENTRY);
        while let Some(part) = fields.u8() {
            let piece = (|| Some(Piece { part, offset: fields.u64()?, len: fields.u32()?, hash: fields.bytes()? }))();
            pieces.push(piece.ok_or_else(|| damaged(table.offset, "the table of pieces does not read"))?);
        }
        Ok(Self { path: path.to_owned(), file, head, pieces })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// Bytes of entries.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.len)).sum()
    }

    /// Bytes of entries of a part.
    pub fn bytes_of(&self, part: u8) -> u64 {
        self.pieces.iter().filter(|piece| piece.part == part).map(|piece| u64::from(piece.len)).sum()
    }

    /// Gives the first piece of a part to `each`, when it has one.
    ///
    /// # Errors
    /// As [`Snapshot::read`].
    pub fn first(&self, part: u8, each: &mut dyn FnMut(&[u8])) -> Result<(), JournalError> {
        self.read_some(part, 1, &mut |piece| {
            each(piece);
            true
        })
    }

    /// Gives the pieces of a part to `each` in order. `each` says whether it could use one.
    ///
    /// # Errors
    /// [`JournalError::Io`]; [`JournalError::DamagedSnapshot`] also when `each` could not use a piece.
    pub fn read(&self, part: u8, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), JournalError> {
        self.read_some(part, usize::MAX, each)
    }

    fn read_some(&self, part: u8, most: usize, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        for piece in self.pieces.iter().filter(|piece| piece.part == part).take(most) {
            let len = usize::try_from(piece.len).unwrap_or(usize::MAX);
            let damaged = |what| {
                let (file, offset) = (self.path.clone(), piece.offset);
                JournalError::DamagedSnapshot { file, offset, what }
            };
            bytes.resize(pages(len), 0);
            let failed = JournalError::io(&self.path, piece.offset, "read a snapshot");
            self.file.read_at(piece.offset, &mut bytes).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => damaged("the file is cut"),
                _ => failed(error),
            })?;
            if *blake3::hash(&bytes).as_bytes() != piece.hash {
                return Err(damaged("a piece is not what was written"));
            }
            if !bytes.get(..len).is_some_and(&mut *each) {
                return Err(damaged("a piece does not hold entries"));
            }
        }
        Ok(())
    }

    /// Reads every piece and checks it.
    ///
    /// # Errors
    /// As [`Snapshot::read`].
    pub fn check(&self) -> Result<(), JournalError> {
        let mut parts: Vec<u8> = self.pieces.iter().map(|piece| piece.part).collect();
        parts.dedup();
        parts.into_iter().try_for_each(|part| self.read(part, &mut |_| true))
    }

    pub(super) fn foreign(&self, at: Place, what: &'static str) -> JournalError {
        let offset = match at {
            Place::Engine => AT_ENGINE,
            Place::Segment => AT_SEGMENT,
            Place::Chain => AT_CHAIN,
        };
        JournalError::ForeignSnapshot { file: self.path.clone(), offset, what }
    }
}

/// What of a head does not fit.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Engine,
    Segment,
    Chain,
}

/// Writes a snapshot under a name of its own; it gets its name when it is whole and durable.
pub struct SnapshotWriter<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    path: PathBuf,
    file: Box<dyn SegmentFile>,
    pieces: Vec<Piece>,
    part: u8,
    piece: Vec<u8>,
    aligned: AlignedBuf,
    offset: u64,
    /// Called with the bytes of each write; says whether to go on.
    pace: &'a mut dyn FnMut(usize) -> bool,
}

impl<'a> SnapshotWriter<'a> {
    /// Begins one. `pace` is called after each write with its bytes, so that others keep the disk, and says whether to
    /// go on.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn begin(
        disk: &'a dyn Disk,
        dir: &'a Path,
        direct: bool,
        pace: &'a mut dyn FnMut(usize) -> bool,
    ) -> Result<Self, JournalError> {
        let path = dir.join(UNFINISHED);
        // Past the page cache: a cache full of what nobody reads would make the journal's syncs wait.
        let access = if direct { Access::DirectUnsynced } else { Access::Buffered };
        let file = disk.create(&path, access).map_err(JournalError::io(&path, 0, "make a snapshot"))?;
        let piece = Vec::with_capacity(PIECE + PAGE);
        let aligned = AlignedBuf::filled(WRITE, 0);
        Ok(Self { disk, dir, path, file, pieces: Vec::new(), part: 0, piece, aligned, offset: PAGE as u64, pace })
    }

    /// Removes what was begun and not finished.
    pub fn give_up(disk: &dyn Disk, dir: &Path) {
        _ = disk.remove(&dir.join(UNFINISHED));
    }

    /// Adds an entry. Those of a part come one after the other.
    ///
    /// # Errors
    /// [`JournalError::Io`]; [`JournalError::Abandoned`] when `pace` said so.
    pub fn entry(&mut self, part: u8, bytes: &[u8]) -> Result<(), JournalError> {
        if part != self.part || self.piece.len() + bytes.len() > PIECE {
            self.close_piece()?;
            self.part = part;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn close_piece(&mut self) -> Result<(), JournalError> {
        let len = self.piece.len();
        if len == 0 {
            return Ok(());
        }
        self.piece.resize(pages(len), PAD);
        let hash = *blake3::hash(&self.piece).as_bytes();
        let len = u32::try_from(len).map_err(|_| JournalError::Abandoned)?;
        self.pieces.push(Piece { part: self.part, offset: self.offset, len, hash });
        let bytes = std::mem::take(&mut self.piece);
        self.write(&bytes)?;
        self.piece = bytes;
        self.piece.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        for part in bytes.chunks(WRITE) {
            let to = self.aligned.bytes_mut().get_mut(..part.len()).ok_or(JournalError::Abandoned)?;
            to.copy_from_slice(part);
            let failed = JournalError::io(&self.path, self.offset, "write a snapshot");
            self.file.write_at(self.offset, to).map_err(failed)?;
            self.offset += part.len() as u64;
            if !(self.pace)(part.len()) {
                return Err(JournalError::Abandoned);
            }
        }
        Ok(())
    }

    /// Makes all of it durable and gives it its name.
    ///
    /// # Errors
    /// As [`SnapshotWriter::entry`].
    pub fn finish(mut self, head: &SnapshotHead) -> Result<PathBuf, JournalError> {
        self.close_piece()?;
        let mut table = Vec::with_capacity(pages(self.pieces.len() * TABLE_ENTRY));
        for Piece { part, offset, len, hash } in &self.pieces {
            table.push(*part);
            table.extend_from_slice(&offset.to_le_bytes());
            table.extend_from_slice(&len.to_le_bytes());
            table.extend_from_slice(hash);
        }
        let (offset, len) = (self.offset, table.len() as u64);
        table.resize(pages(table.len()), PAD);
        let hash = *blake3::hash(&table).as_bytes();
        self.write(&table)?;
        let mut page = AlignedBuf::filled(PAGE, 0);
        page.bytes_mut().copy_from_slice(&write_head(head, &Table { offset, len, hash }));
        self.file.write_at(0, page.bytes()).map_err(JournalError::io(&self.path, 0, "write a snapshot's head"))?;
        self.file.sync().map_err(JournalError::io(&self.path, 0, "sync a snapshot"))?;
        let path = self.dir.join(snapshot_name(head.segment));
        self.disk.rename(&self.path, &path).map_err(JournalError::io(&path, 0, "name a snapshot"))?;
        self.disk.sync_dir(self.dir).map_err(JournalError::io(self.dir, 0, "sync the directory"))?;
        Ok(path)
    }
}

struct Table {
    offset: u64,
    len: u64,
    hash: Hash,
}

fn write_head(head: &SnapshotHead, table: &Table) -> Vec<u8> {
    let SnapshotHead { engine_id, shard, content, segment, last_seq, last_at, last_epoch, chain, state_hash } = head;
    let mut bytes = Vec::with_capacity(PAGE);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&SNAPSHOT_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&content.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]); // CRC
    bytes.extend_from_slice(engine_id);
    bytes.extend_from_slice(&[*shard, 0, 0, 0]);
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&last_seq.to_le_bytes());
    bytes.extend_from_slice(&last_at.to_le_bytes());
    bytes.extend_from_slice(&last_epoch.to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    debug_assert_eq!(bytes.len() as u64, AT_CHAIN, "as the prose says");
    bytes.extend_from_slice(chain);
    bytes.extend_from_slice(state_hash);
    bytes.extend_from_slice(&table.offset.to_le_bytes());
    bytes.extend_from_slice(&table.len.to_le_bytes());
    bytes.extend_from_slice(&table.hash);
    bytes.resize(PAGE, PAD);
    let crc = format::header_page_crc(&bytes);
    bytes.iter_mut().skip(12).zip(crc.to_le_bytes()).for_each(|(to, from)| *to = from);
    bytes
}

enum HeadError {
    Newer(u16),
    Bad(&'static str),
}

fn read_head(page: &[u8]) -> Result<(SnapshotHead, Table), HeadError> {
    let bad = || HeadError::Bad("the head cannot be read");
    let mut fields = Fields { rest: page };
    let magic = fields.bytes::<8>().ok_or_else(bad)?;
    let version = fields.u16().ok_or_else(bad)?;
    let content = fields.u16().ok_or_else(bad)?;
    let crc = fields.u32().ok_or_else(bad)?;
    if magic != MAGIC || crc != format::header_page_crc(page) {
        return Err(HeadError::Bad("the head is not what was written"));
    }
    if version > SNAPSHOT_FORMAT {
        return Err(HeadError::Newer(version));
    }
    (|| {
        let engine_id = fields.bytes()?;
        let [shard, ..] = fields.bytes::<4>()?;
        let (segment, last_seq) = (fields.u32()?, fields.u64()?);
        let last_at = i64::from_le_bytes(fields.bytes()?);
        let last_epoch = fields.u32()?;
        fields.take(12)?;
        let (chain, state_hash) = (fields.bytes()?, fields.bytes()?);
        let table = Table { offset: fields.u64()?, len: fields.u64()?, hash: fields.bytes()? };
        let head =
            SnapshotHead { engine_id, shard, content, segment, last_seq, last_at, last_epoch, chain, state_hash };
        Some((head, table))
    })()
    .ok_or_else(bad)
}
