//! A disk in memory: files that can be bent byte by byte between two readings. It must never fail or reorder a write.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ledger_core::journal::file::{Access, Disk, Entry, Lock, LockKind, SegmentFile};

type Bytes = Arc<RwLock<Vec<u8>>>;

/// Files by their paths; clones share them.
#[derive(Clone, Default)]
pub(crate) struct RamDisk(Arc<Mutex<BTreeMap<PathBuf, Bytes>>>);

struct RamFile(Bytes);
struct NoLock;

impl Lock for NoLock {}

impl RamDisk {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<PathBuf, Bytes>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn file(&self, path: &Path) -> io::Result<Bytes> {
        self.with(|files| files.get(path).cloned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A disk of its own with the same files.
    pub(crate) fn fork(&self) -> RamDisk {
        let copy = |(path, bytes): (&PathBuf, &Bytes)| (path.clone(), Arc::new(RwLock::new(read(bytes).clone())));
        RamDisk(Arc::new(Mutex::new(self.with(|files| files.iter().map(copy).collect()))))
    }

    /// The plain files below a directory, in order.
    pub(crate) fn below(&self, dir: &Path) -> Vec<PathBuf> {
        self.with(|files| files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    /// A file's bytes.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.file(path).map(|bytes| read(&bytes).clone()).unwrap_or_default()
    }

    /// Puts a file there, whole.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.with(|files| files.insert(path.to_owned(), Arc::new(RwLock::new(bytes))));
    }

    /// Takes a file away.
    pub(crate) fn take(&self, path: &Path) {
        self.with(|files| files.remove(path));
    }

    /// Changes a file where it lies.
    pub(crate) fn bend(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        if let Ok(bytes) = self.file(path) {
            change(&mut bytes.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn read(bytes: &Bytes) -> std::sync::RwLockReadGuard<'_, Vec<u8>> {
    bytes.read().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for RamDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        Ok(self
            .below(dir)
            .iter()
            .filter_map(|path| Some(Entry { name: name(path)?, len: read(&self.file(path).ok()?).len() as u64 }))
            .collect())
    }

    fn lock(&self, _: &Path, _: LockKind) -> io::Result<Option<Box<dyn Lock>>> {
        Ok(Some(Box::new(NoLock)))
    }

    fn takes_direct(&self, _: &Path) -> bool {
        false
    }

    fn create(&self, file: &Path, _: Access) -> io::Result<Box<dyn SegmentFile>> {
        self.put(file, Vec::new());
        self.open(file, Access::Buffered)
    }

    fn open(&self, file: &Path, _: Access) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(RamFile(self.file(file)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let moved = self.with(|files| files.remove(from)).ok_or(io::ErrorKind::NotFound)?;
        self.with(|files| files.insert(to.to_owned(), moved));
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.with(|files| files.remove(file)).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl SegmentFile for RamFile {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let bytes = read(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = from.checked_add(to.len()).and_then(|end| bytes.get(from..end));
        to.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let end = at + from.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        match bytes.get_mut(at..end) {
            Some(to) => to.copy_from_slice(from),
            None => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, _: u64) {}

    fn forget(&self, _: u64, _: u64) {}
}
