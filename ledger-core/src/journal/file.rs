//! All file IO of the journal, behind two small traits, so that a simulated disk can stand in for the real one.
//!
//! It must never interpret a byte: what the bytes mean is in `format.rs`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate};

/// Every block, header and segment is a multiple of this, and every write starts at one.
pub const PAGE: usize = 4096;

/// Files with which the directory is tried at start, and removed again.
pub(super) const DIRECT_TRIAL: &str = "direct.tmp";
pub(super) const WRITABLE_TRIAL: &str = "writable.tmp";

/// How a segment is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading through the page cache.
    Read,
    /// Writing past the page cache, each write durable when it returns. Offsets, lengths and memory in pages.
    Direct,
    /// Writing past the page cache, durable at [`SegmentFile::sync`]. For zeros, which nobody waits for.
    DirectUnsynced,
    /// Writing through the page cache, durable at [`SegmentFile::sync`].
    Buffered,
}

/// Who may hold the directory at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// The one writer. Makes the lock file.
    Exclusive,
    /// Readers of a stopped journal. Makes nothing; a directory without a lock file is free.
    Shared,
}

/// Holds the directory until it is dropped.
pub trait Lock: Send + Sync {}

/// One file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name without the directory. A name that is not UTF-8 is left out: the journal makes none.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// The disk as the journal needs it.
pub trait Disk: Send + Sync {
    /// Makes the directory and those above it, if they are not there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The plain files of the directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Takes the directory's lock, or `None` when another holds it.
    fn lock(&self, dir: &Path, kind: LockKind) -> io::Result<Option<Box<dyn Lock>>>;
    /// Whether [`Access::Direct`] works in this directory. Leaves nothing behind.
    fn takes_direct(&self, dir: &Path) -> bool;
    /// Makes a file, emptying one that is there.
    fn create(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file that is there.
    fn open(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>>;
    /// Gives a file another name, over one that is there. Durable at [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable at [`Disk::sync_dir`].
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Makes names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open segment. Reads and writes name their place, so one handle serves many threads.
pub trait SegmentFile: Send + Sync {
    /// Fills `to` from `offset`; a file that ends before is an error.
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()>;
    /// Writes all of `from` at `offset`.
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()>;
    /// Returns when all that was written is durable. Costs nothing after [`Access::Direct`] writes.
    fn sync(&self) -> io::Result<()>;
    /// Asks for room of `len` bytes in one piece. A hint: the file system may not know how.
    fn reserve(&self, len: u64);
    /// Forgets cached pages, so that the next read comes from the disk. A hint.
    fn forget(&self, offset: u64, len: u64);
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Renamed or removed by another thread since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, len: meta.len() });
            }
        }
        Ok(entries)
    }

    fn lock(&self, dir: &Path, kind: LockKind) -> io::Result<Option<Box<dyn Lock>>> {
        let path = dir.join("lock");
        let (file, taken) = match kind {
            LockKind::Exclusive => {
                let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
                let taken = file.try_lock();
                (file, taken)
            }
            LockKind::Shared => {
                let file = match File::open(path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Some(Box::new(NoLock)));
                    }
                    Err(error) => return Err(error),
                };
                let taken = file.try_lock_shared();
                (file, taken)
            }
        };
        match taken {
            Ok(()) => Ok(Some(Box::new(FileLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn takes_direct(&self, dir: &Path) -> bool {
        // Some file systems take the flag at open and refuse the write, so one real page is tried.
        let path = dir.join(DIRECT_TRIAL);
        let page = AlignedBuf::filled(PAGE, 1);
        let taken = self.create(&path, Access::Direct).and_then(|file| file.write_at(0, page.bytes())).is_ok();
        let removed = match fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        taken && removed
    }

    fn create(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        let file = with_flags(access).read(true).write(true).create(true).truncate(true).open(file)?;
        Ok(Box::new(RealFile { file, access }))
    }

    fn open(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        let file = with_flags(access).read(true).write(access != Access::Read).open(file)?;
        Ok(Box::new(RealFile { file, access }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

fn with_flags(access: Access) -> OpenOptions {
    let flags = match access {
        Access::Read | Access::Buffered => OFlags::empty(),
        Access::Direct => OFlags::DIRECT | OFlags::DSYNC,
        Access::DirectUnsynced => OFlags::DIRECT,
    };
    let mut options = OpenOptions::new();
    // The kernel's flag word is an int; every flag above lies below its sign bit.
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    // Card data, even sealed, is nobody else's to read.
    options.mode(0o600);
    options
}

struct RealFile {
    file: File,
    access: Access,
}

impl SegmentFile for RealFile {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.file.write_all_at(from, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match self.access {
            Access::Read | Access::Direct => Ok(()),
            Access::DirectUnsynced | Access::Buffered => self.file.sync_data(),
        }
    }

    fn reserve(&self, len: u64) {
        let _ = fallocate(&self.file, FallocateFlags::empty(), 0, len);
    }

    fn forget(&self, offset: u64, len: u64) {
        let _ = fadvise(&self.file, offset, std::num::NonZeroU64::new(len), Advice::DontNeed);
    }
}

struct FileLock {
    _file: File,
}

impl Lock for FileLock {}

struct NoLock;

impl Lock for NoLock {}

/// Memory that starts on a page boundary, as writes past the page cache demand.
pub(crate) struct AlignedBuf {
    // Over-allocated by a page, so that a boundary lies within: alignment without `unsafe`.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` bytes, all of them `byte`.
    pub(crate) fn filled(len: usize, byte: u8) -> Self {
        let memory = vec![byte; len + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self { memory, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.len).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}
