//! A disk in memory with a page cache and a platter, sector by sector: what was written is in the cache, what was
//! synced is on the platter, and a power failure keeps of the rest what the dice say. Faults are armed by the world and
//! fire at a counted operation. Must never know what a byte means.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger_core::journal::file::{Access, Disk, Entry, Lock, LockKind, SegmentFile};

use super::dice::Dice;
use super::plan::{Crash, FaultKind, Rot, RotKind};

/// What a disk writes whole.
const SECTOR: usize = 512;
/// What a misdirected write carries.
const PAGE: usize = 4096;

/// A file: what its readers see, and what is safe.
#[derive(Debug, Default, Clone)]
struct File {
    cache: Vec<u8>,
    platter: Vec<u8>,
    /// Sectors that are newer in the cache and will be synced.
    dirty: BTreeSet<usize>,
    /// Sectors that are newer in the cache, whose sync failed: no later sync will bring them to the platter.
    lost: BTreeSet<usize>,
}

/// A change of the directory that is not synced.
#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Rename(_, path) | Self::Remove(path) => path.parent() == Some(dir),
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Set(path, file) => {
            names.insert(path.clone(), *file);
        }
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
    }
}

/// A fault that waits for its operation.
#[derive(Debug, Clone, Copy)]
struct Armed {
    kind: FaultKind,
    /// Fires at the first operation of its kind with this number or a later one.
    at: u64,
    salt: u64,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    changes: Vec<NameChange>,
    exclusive: bool,
    takes_direct: bool,
    operations: u64,
    armed: Option<Armed>,
    /// What fired since the last look.
    fired: Option<FaultKind>,
    /// The machine is off: nothing works until it is started again.
    off: bool,
    /// The last write that was not all zeros.
    last_write: Option<(u64, usize, usize)>,
    /// Told to the trace: a fold over every operation.
    fold: u64,
}

/// Which faults may hit an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Create,
    Sync,
    Name,
}

/// The simulated disk; clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Inner>>);

/// Where rot was put, and what was there.
#[derive(Debug)]
pub(crate) struct Rotten {
    file: u64,
    offset: usize,
    was: Vec<u8>,
    /// The file and the place, for the story.
    pub place: String,
}

impl SimulatedDisk {
    /// An empty disk.
    pub(crate) fn new(takes_direct: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { takes_direct, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on a fault waits for the operation `after` operations ahead.
    pub(crate) fn arm(&self, kind: FaultKind, after: u32, salt: u64) {
        let mut inner = self.inner();
        inner.armed = Some(Armed { kind, at: inner.operations + u64::from(after), salt });
    }

    /// No fault waits any more; what has fired since the last call.
    pub(crate) fn disarm(&self) -> Option<FaultKind> {
        let mut inner = self.inner();
        inner.armed = None;
        inner.fired.take()
    }

    /// What has fired since the last [`SimulatedDisk::disarm`].
    pub(crate) fn fired(&self) -> Option<FaultKind> {
        self.inner().fired
    }

    /// True when the machine went off.
    pub(crate) fn is_off(&self) -> bool {
        self.inner().off
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// A fold over all operations so far.
    pub(crate) fn fold(&self) -> u64 {
        self.inner().fold
    }

    /// The first file with this ending of which the platter is not what its readers see; `None` when all is safe.
    pub(crate) fn unsafe_file(&self, ending: &str) -> Option<String> {
        let inner = self.inner();
        let named = |path: &Path| path.to_string_lossy().ends_with(ending);
        let unsynced = inner.changes.iter().find_map(|change| match change {
            NameChange::Set(path, _) | NameChange::Rename(_, path) if named(path) => Some(path.clone()),
            NameChange::Set(..) | NameChange::Rename(..) | NameChange::Remove(_) => None,
        });
        let dirty = || {
            let unsafe_one =
                |file: &u64| inner.files.get(file).is_some_and(|file| !file.dirty.is_empty() || !file.lost.is_empty());
            inner.names.iter().find(|(path, file)| named(path) && unsafe_one(file)).map(|(path, _)| path.clone())
        };
        unsynced.or_else(dirty).map(|path| path.display().to_string())
    }

    /// The process or the machine ends here: the lock is free, and after a power failure the cache is cold.
    pub(crate) fn crash(&self, crash: Crash) {
        let mut inner = self.inner();
        inner.off = false;
        inner.armed = None;
        inner.exclusive = false;
        if !crash.power {
            return;
        }
        let mut dice = Dice::new(crash.salt);
        // Names are journaled by the file system in their order: of what was not synced, the end is lost.
        let kept = dice.index(inner.changes.len() + 1);
        let changes = std::mem::take(&mut inner.changes);
        let mut names = inner.durable_names.clone();
        changes.iter().take(kept).for_each(|change| apply(&mut names, change));
        inner.names = names.clone();
        inner.durable_names = names;
        let mood = dice.below(4);
        let named: BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|number, _| named.contains(number));
        for file in inner.files.values_mut() {
            settle(file, |_| match mood {
                0 => false,
                1 => true,
                2 => dice.percent(50),
                _ => dice.percent(85),
            });
            file.lost.clear();
            file.dirty.clear();
            file.cache = file.platter.clone();
        }
    }

    /// Changes synced bytes of a file that is in use; `None` when there are none to change.
    pub(crate) fn rot(&self, rot: Rot) -> Option<Rotten> {
        let mut inner = self.inner();
        let mut dice = Dice::new(rot.salt);
        let last_write = inner.last_write;
        // The end of what a segment holds. Other files are used to their ends, and the order of a snapshot's entries is
        // not told by the seed, so that its bytes must not decide where rot goes.
        let used = |path: &Path, file: &File| match path.extension() {
            Some(extension) if extension == "segment" => {
                file.platter.iter().rposition(|byte| *byte != 0).map(|last| last + 1)
            }
            _ => Some(file.platter.len()).filter(|len| *len > 0),
        };
        let candidates: Vec<(PathBuf, u64, usize)> = inner
            .names
            .iter()
            .filter(|(path, _)| !path.to_string_lossy().ends_with(".tmp"))
            .filter_map(|(path, number)| Some((path.clone(), *number, used(path, inner.files.get(number)?)?)))
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let (path, number, end) = candidates.get(dice.index(candidates.len()))?.clone();
        let file = inner.files.get_mut(&number)?;
        let (offset, new) = match rot.kind {
            RotKind::Flip => {
                let offset = dice.index(end);
                (offset, vec![file.platter.get(offset)? ^ (1 << dice.below(8))])
            }
            RotKind::Misdirected => {
                let pages = end.div_ceil(PAGE);
                let (from, to) = (dice.index(pages) * PAGE, dice.index(pages) * PAGE);
                (to, file.platter.get(from..from + PAGE)?.to_vec())
            }
            RotKind::StaleSector => {
                let offset = dice.index(end) / SECTOR * SECTOR;
                // A sector of zeros in the last write is what an unfinished write looks like: nobody could tell.
                let told = |(of, at, len): (u64, usize, usize)| of == number && (at..at + len).contains(&offset);
                if last_write.is_some_and(told) {
                    return None;
                }
                (offset, vec![0; SECTOR])
            }
        };
        let place = file.platter.get_mut(offset..offset + new.len())?;
        let was = place.to_vec();
        if was == new {
            return None;
        }
        place.copy_from_slice(&new);
        file.cache.get_mut(offset..offset + new.len())?.copy_from_slice(&new);
        Some(Rotten { file: number, offset, was, place: format!("{} at {offset}", path.display()) })
    }

    /// Puts back what rot changed.
    pub(crate) fn heal(&self, rotten: &Rotten) {
        let mut inner = self.inner();
        let Some(file) = inner.files.get_mut(&rotten.file) else { return };
        let range = rotten.offset..rotten.offset + rotten.was.len();
        for bytes in [&mut file.platter, &mut file.cache] {
            if let Some(place) = bytes.get_mut(range.clone()) {
                place.copy_from_slice(&rotten.was);
            }
        }
    }
}

/// Brings the dirty sectors that are `chosen` to the platter. A file that grew is as long as its last one of these.
fn settle(file: &mut File, mut chosen: impl FnMut(usize) -> bool) {
    for sector in std::mem::take(&mut file.dirty) {
        if chosen(sector) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(file.cache.len()));
            if file.platter.len() < to {
                file.platter.resize(to, 0);
            }
            if let (Some(place), Some(bytes)) = (file.platter.get_mut(from..to), file.cache.get(from..to)) {
                place.copy_from_slice(bytes);
            }
            file.lost.remove(&sector);
        } else {
            file.lost.insert(sector);
        }
    }
}

fn mix(fold: u64, word: u64) -> u64 {
    (fold ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

fn gone() -> io::Error {
    io::Error::other("the machine is off")
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// How an operation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Go,
    /// A fault hits it.
    Hit(FaultKind, u64),
}

impl Inner {
    /// Counts an operation and decides whether the armed fault hits it.
    fn turn(&mut self, kind: Kind, word: u64) -> io::Result<Turn> {
        if self.off {
            return Err(gone());
        }
        // A start reads with several threads, in no order: reads count for nothing, and no machine goes off at one. It
        // leaves the disk as it was, so that nothing tells this from going off at the next write.
        let changes = kind != Kind::Read;
        if changes {
            self.operations += 1;
            self.fold = mix(mix(self.fold, kind as u64), word);
        }
        let over = |armed: &Armed| self.operations > armed.at || (!changes && self.operations == armed.at);
        let Some(armed) = self.armed.filter(over) else { return Ok(Turn::Go) };
        let hits = match armed.kind {
            FaultKind::Crash => changes,
            FaultKind::ReadError => kind == Kind::Read,
            FaultKind::WriteError => matches!(kind, Kind::Write | Kind::Name | Kind::Create),
            FaultKind::NoRoom => matches!(kind, Kind::Write | Kind::Create),
            FaultKind::SyncFails => kind == Kind::Sync,
        };
        if !hits {
            return Ok(Turn::Go);
        }
        self.armed = None;
        self.fired = Some(armed.kind);
        self.off = armed.kind == FaultKind::Crash;
        Ok(Turn::Hit(armed.kind, armed.salt))
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        if self.inner().off { Err(gone()) } else { Ok(()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut inner = self.inner();
        if let Turn::Hit(kind, _) = inner.turn(Kind::Read, 0)? {
            return Err(if kind == FaultKind::Crash { gone() } else { eio() });
        }
        let entry = |(path, number): (&PathBuf, &u64)| {
            let name = path.strip_prefix(dir).ok()?.to_str()?.to_owned();
            let len = inner.files.get(number)?.cache.len() as u64;
            (!name.contains('/')).then_some(Entry { name, len })
        };
        Ok(inner.names.iter().filter_map(entry).collect())
    }

    fn lock(&self, _dir: &Path, kind: LockKind) -> io::Result<Option<Box<dyn Lock>>> {
        let mut inner = self.inner();
        if inner.off {
            return Err(gone());
        }
        if inner.exclusive {
            return Ok(None);
        }
        inner.exclusive = kind == LockKind::Exclusive;
        let held = if inner.exclusive { Some(Arc::clone(&self.0)) } else { None };
        Ok(Some(Box::new(Held(held))))
    }

    fn takes_direct(&self, _dir: &Path) -> bool {
        self.inner().takes_direct
    }

    fn create(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        let mut inner = self.inner();
        match inner.turn(Kind::Create, 1)? {
            Turn::Go => {}
            Turn::Hit(FaultKind::NoRoom, _) => return Err(io::Error::from_raw_os_error(28)),
            // The name may be there afterwards, and nobody was told.
            Turn::Hit(kind, salt) => {
                if salt % 2 == 1 {
                    create(&mut inner, file);
                }
                return Err(if kind == FaultKind::Crash { gone() } else { eio() });
            }
        }
        let number = create(&mut inner, file);
        drop(inner);
        Ok(Box::new(Handle { disk: Arc::clone(&self.0), number, access }))
    }

    fn open(&self, file: &Path, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        let mut inner = self.inner();
        if let Turn::Hit(kind, _) = inner.turn(Kind::Read, 2)? {
            return Err(if kind == FaultKind::Crash { gone() } else { eio() });
        }
        let number = *inner.names.get(file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        drop(inner);
        Ok(Box::new(Handle { disk: Arc::clone(&self.0), number, access }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let turn = inner.turn(Kind::Name, 3)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        named(&mut inner, turn, change)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let turn = inner.turn(Kind::Name, 4)?;
        if !inner.names.contains_key(file) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        named(&mut inner, turn, NameChange::Remove(file.to_owned()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let turn = inner.turn(Kind::Sync, 5)?;
        let reaches = match turn {
            Turn::Go => true,
            Turn::Hit(_, salt) => salt % 2 == 1,
        };
        if reaches {
            let changes = std::mem::take(&mut inner.changes);
            let (here, elsewhere): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.is_in(dir));
            here.iter().for_each(|change| apply(&mut inner.durable_names, change));
            inner.changes = elsewhere;
        }
        match turn {
            Turn::Go => Ok(()),
            Turn::Hit(FaultKind::Crash, _) => Err(gone()),
            Turn::Hit(..) => Err(eio()),
        }
    }
}

fn create(inner: &mut Inner, path: &Path) -> u64 {
    if let Some(number) = inner.names.get(path).copied() {
        // Emptied. Its old bytes are of no use to anybody, so they are not kept for a crash.
        inner.files.insert(number, File::default());
        return number;
    }
    inner.next_file += 1;
    let number = inner.next_file;
    inner.files.insert(number, File::default());
    inner.change_name(NameChange::Set(path.to_owned(), number));
    number
}

fn named(inner: &mut Inner, turn: Turn, change: NameChange) -> io::Result<()> {
    match turn {
        Turn::Go => {
            inner.change_name(change);
            Ok(())
        }
        Turn::Hit(FaultKind::Crash, salt) => {
            if salt % 2 == 1 {
                inner.change_name(change);
            }
            Err(gone())
        }
        Turn::Hit(..) => Err(eio()),
    }
}

/// The directory's lock; a crash frees it by itself.
struct Held(Option<Arc<Mutex<Inner>>>);

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(inner) = &self.0 {
            inner.lock().unwrap_or_else(PoisonError::into_inner).exclusive = false;
        }
    }
}

/// An open file.
struct Handle {
    disk: Arc<Mutex<Inner>>,
    number: u64,
    access: Access,
}

impl Handle {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR..(offset + len).div_ceil(SECTOR)
}

impl SegmentFile for Handle {
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner();
        if let Turn::Hit(kind, _) = inner.turn(Kind::Read, offset)? {
            return Err(if kind == FaultKind::Crash { gone() } else { eio() });
        }
        let file = inner.files.get(&self.number).ok_or_else(gone)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = file.cache.get(from..from.saturating_add(to.len()));
        to.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let turn = inner.turn(Kind::Write, offset ^ (from.len() as u64) << 32)?;
        // A write that is durable by itself fails as its sync would.
        let turn = match (turn, inner.armed) {
            (Turn::Go, Some(armed))
                if self.access == Access::Direct
                    && armed.kind == FaultKind::SyncFails
                    && inner.operations > armed.at =>
            {
                inner.armed = None;
                inner.fired = Some(FaultKind::SyncFails);
                Turn::Hit(FaultKind::SyncFails, armed.salt)
            }
            (turn, _) => turn,
        };
        if turn == Turn::Hit(FaultKind::NoRoom, 0) || matches!(turn, Turn::Hit(FaultKind::NoRoom, _)) {
            return Err(io::Error::from_raw_os_error(28));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if from.iter().any(|byte| *byte != 0) {
            inner.last_write = Some((self.number, start, from.len()));
        }
        let file = inner.files.get_mut(&self.number).ok_or_else(gone)?;
        let end = start + from.len();
        if file.cache.len() < end {
            file.cache.resize(end, 0);
        }
        if let Some(place) = file.cache.get_mut(start..end) {
            place.copy_from_slice(from);
        }
        file.dirty.extend(sectors(start, from.len()));
        match turn {
            Turn::Go => {
                if self.access == Access::Direct {
                    let written = sectors(start, from.len());
                    let before: Vec<usize> = file.dirty.iter().copied().filter(|s| !written.contains(s)).collect();
                    settle(file, |sector| written.contains(&sector));
                    before.iter().for_each(|sector| {
                        file.lost.remove(sector);
                    });
                    file.dirty.extend(before);
                }
                Ok(())
            }
            Turn::Hit(FaultKind::Crash, _) => Err(gone()),
            Turn::Hit(_, salt) => {
                let mut dice = Dice::new(salt);
                settle(file, |_| dice.percent(50));
                Err(eio())
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner();
        if matches!(self.access, Access::Read | Access::Direct) {
            return if inner.off { Err(gone()) } else { Ok(()) };
        }
        let turn = inner.turn(Kind::Sync, self.number)?;
        let file = inner.files.get_mut(&self.number).ok_or_else(gone)?;
        match turn {
            Turn::Go => {
                if file.platter.len() < file.cache.len() {
                    file.platter.resize(file.cache.len(), 0);
                }
                settle(file, |_| true);
                Ok(())
            }
            Turn::Hit(FaultKind::Crash, salt) => {
                if salt % 3 == 0 {
                    settle(file, |_| true);
                }
                Err(gone())
            }
            // What the kernel does: the pages are called clean although they never arrived.
            Turn::Hit(_, salt) => {
                let mut dice = Dice::new(salt);
                settle(file, |_| dice.percent(40));
                Err(eio())
            }
        }
    }

    fn reserve(&self, _len: u64) {}

    fn forget(&self, offset: u64, len: u64) {
        let mut inner = self.inner();
        let Some(file) = inner.files.get_mut(&self.number) else { return };
        let (offset, len) = (usize::try_from(offset).unwrap_or(0), usize::try_from(len).unwrap_or(usize::MAX / 2));
        for sector in sectors(offset, len.min(file.cache.len().saturating_sub(offset))) {
            if file.lost.remove(&sector) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(file.cache.len()));
                let old = file.platter.get(from..to).map(<[u8]>::to_vec).unwrap_or_else(|| vec![0; to - from]);
                if let Some(place) = file.cache.get_mut(from..to) {
                    place.copy_from_slice(&old);
                }
            }
        }
    }
}
