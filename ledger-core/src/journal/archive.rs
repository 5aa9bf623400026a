//! Closed segments, compressed, in a directory of their own; and a disk on which they are where they were.
//!
//! An archived segment reads byte for byte as the segment it was made of, header, padding and zeros included, so chain
//! and CRCs are checked as ever and nothing that reads a journal knows of it. It must never remove a segment before what
//! stands for it is durable and was read back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::JournalError;
use super::file::{Access, Disk, Entry, Lock, LockKind, PAGE, SegmentFile};
use super::format::{self, Fields, Hash, PAD};
use super::{segment_name, segment_number};

/// The format this program writes, and the newest it reads.
const FORMAT: u16 = 1;
const MAGIC: [u8; 8] = *b"AUTHARCH";
/// Bytes of a segment in one frame: what a look at one block decompresses.
const FRAME: usize = 256 * 1024;
/// Sealed requests do not shrink; what is left does at the first level nearly as well as at the last.
const LEVEL: i32 = 3;
/// Bytes of a frame's entry in the table.
const TABLE_ENTRY: usize = 8 + 4 + 32;
const SUFFIX: &str = ".zst";
const UNFINISHED: &str = "archive.tmp";

/// What of an archived segment is not what was written. Travels inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{}: archived segment damaged at offset {offset}: {what}", file.display())]
pub(super) struct ArchiveDamage {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

impl ArchiveDamage {
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    fn error(file: &Path, offset: u64, what: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self { file: file.to_owned(), offset, what })
    }
}

/// The file name of an archived segment.
pub fn archive_name(segment: u32) -> String {
    segment_name(segment) + SUFFIX
}

fn archive_number(name: &str) -> Option<u32> {
    segment_number(name.strip_suffix(SUFFIX)?)
}

/// A disk on which the journal in one directory also has the segments that were archived to another.
pub struct Shelves {
    disk: Arc<dyn Disk>,
    journal: PathBuf,
    archive: PathBuf,
}

impl Shelves {
    /// Of the journal in `journal`, whose closed segments may be in `archive`.
    pub fn new(disk: Arc<dyn Disk>, journal: impl Into<PathBuf>, archive: impl Into<PathBuf>) -> Self {
        Self { disk, journal: journal.into(), archive: archive.into() }
    }

    /// The archived segments and their files.
    ///
    /// # Errors
    /// What the disk says.
    pub fn archived(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let entries = match self.disk.list(&self.archive) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let named = entries.iter().filter_map(|entry| Some((archive_number(&entry.name)?, &entry.name)));
        let mut found: Vec<(u32, PathBuf)> = named.map(|(number, name)| (number, self.archive.join(name))).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Moves a closed segment to the archive. False when it is there already and nowhere else. `pace` is called with
    /// the bytes of each write and says whether to go on.
    ///
    /// # Errors
    /// [`JournalError::Abandoned`] when `pace` said so; those of the disk; [`JournalError::Corrupt`] when what was
    /// written does not read as the segment it was made of, which stays then.
    pub fn archive(&self, segment: u32, pace: &mut dyn FnMut(usize) -> bool) -> Result<bool, JournalError> {
        let from = self.journal.join(segment_name(segment));
        let source = match self.disk.open(&from, Access::Read) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(JournalError::io(&from, 0, "open a segment")(error)),
        };
        let len = header_len(&*source, &from)?;
        self.disk.create_dir(&self.archive).map_err(JournalError::io(&self.archive, 0, "make the archive"))?;
        let unfinished = self.archive.join(UNFINISHED);
        let to = self.disk.create(&unfinished, Access::Buffered);
        let to = to.map_err(JournalError::io(&unfinished, 0, "make an archived segment"))?;
        let compressed = compress(&*source, &from, len, &*to, &unfinished, pace);
        drop(to);
        let compared = compressed.and_then(|()| self.compare(&*source, &from, len, &unfinished, pace));
        compared.inspect_err(|_| _ = self.disk.remove(&unfinished))?;
        let name = self.archive.join(archive_name(segment));
        self.disk.rename(&unfinished, &name).map_err(JournalError::io(&name, 0, "name an archived segment"))?;
        self.disk.sync_dir(&self.archive).map_err(JournalError::io(&self.archive, 0, "sync the archive"))?;
        self.disk.remove(&from).map_err(JournalError::io(&from, 0, "remove an archived segment"))?;
        self.disk.sync_dir(&self.journal).map_err(JournalError::io(&self.journal, 0, "sync the directory"))?;
        Ok(true)
    }

    /// What was written reads as what it was made of.
    fn compare(
        &self,
        source: &dyn SegmentFile,
        from: &Path,
        len: u64,
        archived: &Path,
        pace: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(), JournalError> {
        let file = self.disk.open(archived, Access::Read);
        let file = file.map_err(JournalError::io(archived, 0, "open an archived segment"))?;
        file.forget(0, len);
        let copy = Archived::open(file, archived).map_err(JournalError::io(archived, 0, "read an archived segment"))?;
        let (mut ours, mut theirs) = (vec![0; FRAME], vec![0; FRAME]);
        let mut at = 0;
        while at < len {
            let size = usize::try_from(len - at).unwrap_or(FRAME).min(FRAME);
            let (ours, theirs) = (ours.get_mut(..size).unwrap_or_default(), theirs.get_mut(..size).unwrap_or_default());
            source.read_at(at, ours).map_err(JournalError::io(from, at, "read a segment"))?;
            copy.read_at(at, theirs).map_err(JournalError::io(archived, at, "read an archived segment"))?;
            if copy.len != len || ours != theirs {
                return Err(JournalError::corrupt(archived, at, "the archived segment is not the one it was made of"));
            }
            at += size as u64;
            if !pace(0) {
                return Err(JournalError::Abandoned);
            }
        }
        Ok(())
    }
}

/// The length of a segment, as its header tells.
fn header_len(source: &dyn SegmentFile, path: &Path) -> Result<u64, JournalError> {
    let mut page = vec![0; PAGE];
    source.read_at(0, &mut page).map_err(JournalError::io(path, 0, "read a segment header"))?;
    match format::read_segment_header(&page) {
        format::HeaderPage::Good(header) => Ok(header.segment_bytes),
        _ => Err(JournalError::corrupt(path, 0, "the segment header cannot be read")),
    }
}

fn compress(
    source: &dyn SegmentFile,
    from: &Path,
    len: u64,
    to: &dyn SegmentFile,
    archived: &Path,
    pace: &mut dyn FnMut(usize) -> bool,
) -> Result<(), JournalError> {
    let mut table = Vec::new();
    let mut plain = vec![0; FRAME];
    let (mut at, mut offset) = (0, PAGE as u64);
    while at < len {
        let size = usize::try_from(len - at).unwrap_or(FRAME).min(FRAME);
        let plain = plain.get_mut(..size).unwrap_or_default();
        source.read_at(at, plain).map_err(JournalError::io(from, at, "read a segment"))?;
        let frame = zstd::bulk::compress(plain, LEVEL).map_err(JournalError::io(from, at, "compress a segment"))?;
        to.write_at(offset, &frame).map_err(JournalError::io(archived, offset, "write an archived segment"))?;
        table.extend_from_slice(&offset.to_le_bytes());
        table.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes());
        table.extend_from_slice(blake3::hash(&frame).as_bytes());
        (at, offset) = (at + size as u64, offset + frame.len() as u64);
        if !pace(frame.len()) {
            return Err(JournalError::Abandoned);
        }
    }
    let failed = |offset| JournalError::io(archived, offset, "write an archived segment");
    to.write_at(offset, &table).map_err(failed(offset))?;
    let mut head = Vec::with_capacity(PAGE);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&[0; 6]); // two reserved, four of CRC
    head.extend_from_slice(&len.to_le_bytes());
    head.extend_from_slice(&(FRAME as u64).to_le_bytes());
    head.extend_from_slice(&offset.to_le_bytes());
    head.extend_from_slice(&(table.len() as u64).to_le_bytes());
    head.extend_from_slice(blake3::hash(&table).as_bytes());
    head.resize(PAGE, PAD);
    let crc = format::header_page_crc(&head);
    head.iter_mut().skip(12).zip(crc.to_le_bytes()).for_each(|(to, from)| *to = from);
    to.write_at(0, &head).map_err(failed(0))?;
    to.sync().map_err(JournalError::io(archived, 0, "sync an archived segment"))
}

struct Frame {
    offset: u64,
    len: u32,
    hash: Hash,
}

/// A frame that was decompressed, with its number.
type Cached = Option<(usize, Arc<Vec<u8>>)>;

/// An archived segment, read as if it were the segment.
struct Archived {
    path: PathBuf,
    file: Box<dyn SegmentFile>,
    len: u64,
    frame: usize,
    frames: Vec<Frame>,
    /// The frame that was read last: the next block is most likely in it.
    last: Mutex<Cached>,
}

impl Archived {
    fn open(file: Box<dyn SegmentFile>, path: &Path) -> io::Result<Self> {
        let damaged = |offset, what| ArchiveDamage::error(path, offset, what);
        let cut = |offset| {
            move |error: io::Error| match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(offset, "the file is cut"),
                _ => error,
            }
        };
        let mut page = vec![0; PAGE];
        file.read_at(0, &mut page).map_err(cut(0))?;
        let head = read_head(&page).map_err(|what| damaged(0, what))?;
        let size = usize::try_from(head.table_len).ok().filter(|len| *len <= 1 << 30);
        let mut table = vec![0; size.ok_or_else(|| damaged(0, "the head tells an impossible table"))?];
        file.read_at(head.table, &mut table).map_err(cut(head.table))?;
        if *blake3::hash(&table).as_bytes() != head.hash {
            return Err(damaged(head.table, "the table of frames is not what was written"));
        }
        let (entries, _) = table.as_chunks::<TABLE_ENTRY>();
        let frames = entries.iter().filter_map(|entry| {
            let mut fields = Fields { rest: entry };
            Some(Frame { offset: fields.u64()?, len: fields.u32()?, hash: fields.bytes()? })
        });
        let (frames, frame) = (frames.collect(), usize::try_from(head.frame).unwrap_or(usize::MAX));
        Ok(Self { path: path.to_owned(), file, len: head.len, frame, frames, last: Mutex::new(None) })
    }

    fn frame(&self, number: usize) -> io::Result<Arc<Vec<u8>>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last.as_ref().filter(|(cached, _)| *cached == number) {
            return Ok(Arc::clone(bytes));
        }
        let beyond = || io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of an archived segment");
        let Frame { offset, len, hash } = self.frames.get(number).ok_or_else(beyond)?;
        let damaged = |what| ArchiveDamage::error(&self.path, *offset, what);
        let mut packed = vec![0; usize::try_from(*len).unwrap_or(usize::MAX)];
        self.file.read_at(*offset, &mut packed).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("the file is cut"),
            _ => error,
        })?;
        if *blake3::hash(&packed).as_bytes() != *hash {
            return Err(damaged("a frame is not what was written"));
        }
        let plain = zstd::bulk::decompress(&packed, self.frame).map_err(|_| damaged("a frame does not decompress"))?;
        let plain = Arc::new(plain);
        *last = Some((number, Arc::clone(&plain)));
        Ok(plain)
    }
}

struct Head {
    len: u64,
    frame: u64,
    table: u64,
    table_len: u64,
    hash: Hash,
}

fn read_head(page: &[u8]) -> Result<Head, &'static str> {
    let short = "the head cannot be read";
    let mut fields = Fields { rest: page };
    let magic = fields.bytes::<8>().ok_or(short)?;
    let version = fields.u16().ok_or(short)?;
    fields.take(2).ok_or(short)?;
    if magic != MAGIC || fields.u32().ok_or(short)? != format::header_page_crc(page) {
        return Err("the head is not what was written");
    }
    if version > FORMAT {
        return Err("of a newer format: run the version that wrote it, or a later one");
    }
    let head = (|| {
        let (len, frame) = (fields.u64()?, fields.u64()?);
        Some(Head { len, frame, table: fields.u64()?, table_len: fields.u64()?, hash: fields.bytes()? })
    })();
    head.filter(|head| head.frame > 0).ok_or(short)
}

impl SegmentFile for Archived {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = to;
        while !rest.is_empty() {
            let frame = self.frame(at / self.frame)?;
            let from = frame.get(at % self.frame..).filter(|from| !from.is_empty());
            let from = from.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end"))?;
            let size = from.len().min(rest.len());
            let (head, after) = rest.split_at_mut(size);
            head.copy_from_slice(from.get(..size).unwrap_or_default());
            (rest, at) = (after, at + size);
        }
        Ok(())
    }

    fn write_at(&self, _offset: u64, _from: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "an archived segment is never written"))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, _len: u64) {}

    fn forget(&self, _offset: u64, _len: u64) {}
}

impl Disk for Shelves {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = self.disk.list(dir)?;
        if dir == self.journal {
            let here: std::collections::HashSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
            for (number, path) in self.archived()? {
                let name = segment_name(number);
                // A crash between the copy and the removal leaves both; they are the same.
                if !here.contains(&name) {
                    let len = Archived::open(self.disk.open(&path, Access::Read)?, &path)?.len;
                    entries.push(Entry { name, len });
                }
            }
        }
        Ok(entries)
    }

    fn lock(&self, dir: &Path, kind: LockKind) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(dir, kind)
    }

    fn takes_direct(&self, dir: &Path) -> bool {
        self.disk.takes_direct(dir)
    }

    fn create(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        self.disk.create(file, access)
    }

    fn open(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        let error = match self.disk.open(file, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Read => error,
            done => return done,
        };
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match segment_number(name).filter(|_| file.parent() == Some(&self.journal)) {
            Some(number) => {
                let path = self.archive.join(archive_name(number));
                Ok(Box::new(Archived::open(self.disk.open(&path, Access::Read)?, &path)?))
            }
            None => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.disk.remove(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}
