//! Where the read model keeps its rows: one sled tree, keys that sort, pages over them. Owns the key layout, cursors
//! and opening; knows nothing of events. Must never be the truth: whatever is wrong with it, it is wiped.
//!
//! One tree rather than many, because one tree takes a batch atomically, and the position is part of every batch: a
//! crash can then neither skip an event nor count one twice.

use hashbrown::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::docs::Page;
use super::{PageRequest, ViewError};

/// Grows with every change of the layout or of a shape: another version is wiped and rebuilt.
pub(super) const VERSION: u32 = 2;
/// Rows that one page may read before it is given back short, so that no filter can hold a thread for long.
pub(super) const MAX_SCANNED: usize = 20_000;
/// What sled may keep of its pages in memory.
const CACHE_BYTES: u64 = 64 << 20;
/// How often sled syncs by itself. What a power cut takes is folded again from the journal.
const FLUSH_EVERY_MS: u64 = 2_000;

/// First byte of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Version and position.
    Meta = 0,
    /// Row by thing and number.
    Doc = 1,
    /// What a dense index names, by thing and index.
    Name = 2,
    /// Balance by source.
    Balance = 3,
    /// List entries by thing, order, owner.
    List = 4,
    /// Events of an authorization, by number and sequence.
    Event = 5,
    /// Lines of a statement, by source, sequence and place within the event.
    Line = 6,
    /// Number of a link.
    Link = 7,
    /// Balance by source, time and sequence: after each event that moved it.
    History = 8,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Kind {
    Partner = 1,
    User = 2,
    Account = 3,
    Pool = 4,
    Card = 5,
    Key = 6,
    TopUp = 7,
    Withdrawal = 8,
    PayIn = 9,
    Payout = 10,
    CryptoDeposit = 11,
    Quote = 12,
    OffRamp = 13,
    Rate = 14,
    Authorization = 15,
}

/// By what a list is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Everything.
    All = 0,
    /// A partner's.
    Partner = 1,
    /// A user's.
    User = 2,
    /// A card's.
    Card = 3,
    /// A pool's.
    Pool = 4,
    /// An account's.
    Account = 5,
    /// Everything, by its last change.
    Updated = 6,
    /// A partner's, by its last change.
    PartnerUpdated = 7,
    /// Everything that a partner approved too late, by when.
    Late = 8,
    /// What one partner approved too late, by when.
    PartnerLate = 9,
}

/// Keys. Numbers are big-endian so that bytes sort as they do; newest first is the number's complement.
pub(super) mod key {
    use super::{By, Kind, Table};
    use ledger_core::event::tap::Source;
    use ledger_core::id::No;
    use ledger_core::time::Timestamp;

    /// The version.
    pub(in crate::view) const VERSION: [u8; 2] = [Table::Meta as u8, 0];
    /// Position and mark.
    pub(in crate::view) const POSITION: [u8; 2] = [Table::Meta as u8, 1];

    /// How many of a kind there are.
    pub(in crate::view) fn count(kind: Kind) -> Vec<u8> {
        vec![Table::Meta as u8, 2, kind as u8]
    }

    /// A row.
    pub(in crate::view) fn doc(kind: Kind, no: No) -> Vec<u8> {
        let mut key = vec![Table::Doc as u8, kind as u8];
        key.extend_from_slice(&no.to_be_bytes());
        key
    }

    /// What a dense index names.
    pub(in crate::view) fn name(kind: Kind, index: u32) -> Vec<u8> {
        let mut key = vec![Table::Name as u8, kind as u8];
        key.extend_from_slice(&index.to_be_bytes());
        key
    }

    fn source(table: Table, source: Source) -> Vec<u8> {
        let (tag, index) = match source {
            Source::Pool(i) => (0u8, i),
            Source::Account(i) => (1, i),
        };
        let mut key = vec![table as u8, tag];
        key.extend_from_slice(&index.to_be_bytes());
        key
    }

    /// A balance.
    pub(in crate::view) fn balance(of: Source) -> Vec<u8> {
        source(Table::Balance, of)
    }

    /// All lines of a statement.
    pub(in crate::view) fn lines(of: Source) -> Vec<u8> {
        source(Table::Line, of)
    }

    /// One line.
    pub(in crate::view) fn line(of: Source, at: Timestamp, seq: u64, place: u16) -> Vec<u8> {
        let mut key = lines(of);
        key.extend_from_slice(&sortable(at));
        key.extend_from_slice(&seq.to_be_bytes());
        key.extend_from_slice(&place.to_be_bytes());
        key
    }

    /// All balances that a source had.
    pub(in crate::view) fn history(of: Source) -> Vec<u8> {
        source(Table::History, of)
    }

    /// The balance that a source had after an event; `seq` beyond every event's gives the end of a moment.
    pub(in crate::view) fn balance_after(of: Source, at: Timestamp, seq: u64) -> Vec<u8> {
        let mut key = history(of);
        key.extend_from_slice(&sortable(at));
        key.extend_from_slice(&seq.to_be_bytes());
        key
    }

    /// All of a list.
    pub(in crate::view) fn list(kind: Kind, by: By, owner: No) -> Vec<u8> {
        let mut key = vec![Table::List as u8, kind as u8, by as u8];
        key.extend_from_slice(&owner.to_be_bytes());
        key
    }

    /// An entry of a list that is kept by number.
    pub(in crate::view) fn entry(kind: Kind, by: By, owner: No, no: No) -> Vec<u8> {
        let mut key = list(kind, by, owner);
        key.extend_from_slice(&(!no).to_be_bytes());
        key
    }

    /// An entry of a list that is kept by time.
    pub(in crate::view) fn timed(kind: Kind, by: By, owner: No, at: Timestamp, no: No) -> Vec<u8> {
        let mut key = list(kind, by, owner);
        key.extend_from_slice(&newest_first(at));
        key.extend_from_slice(&(!no).to_be_bytes());
        key
    }

    /// The number at the end of a list entry's key.
    pub(in crate::view) fn no_of(entry: &[u8]) -> Option<No> {
        entry.last_chunk::<8>().map(|bytes| !u64::from_be_bytes(*bytes))
    }

    /// Events of an authorization.
    pub(in crate::view) fn events(no: No) -> Vec<u8> {
        let mut key = vec![Table::Event as u8];
        key.extend_from_slice(&no.to_be_bytes());
        key
    }

    /// One event of an authorization.
    pub(in crate::view) fn event(no: No, seq: u64) -> Vec<u8> {
        let mut key = events(no);
        key.extend_from_slice(&(!seq).to_be_bytes());
        key
    }

    /// A link.
    pub(in crate::view) fn link(link: u8) -> Vec<u8> {
        vec![Table::Link as u8, link]
    }

    /// Bytes that sort as times do.
    pub(in crate::view) fn sortable(at: Timestamp) -> [u8; 8] {
        (at.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
    }

    /// Bytes that sort the other way round.
    pub(in crate::view) fn newest_first(at: Timestamp) -> [u8; 8] {
        (!(at.0.cast_unsigned() ^ (1 << 63))).to_be_bytes()
    }
}

/// The part of the keys that a page walks: what they all begin with, and a range within it.
#[derive(Debug, Clone)]
pub(super) struct Span {
    prefix: Vec<u8>,
    /// First key.
    from: Vec<u8>,
    /// First key that is out again; none: to the end of the prefix.
    until: Option<Vec<u8>>,
    /// How long every key here is.
    len: usize,
}

impl Span {
    /// All keys that begin with `prefix` and have `tail` bytes more.
    pub(super) fn all(prefix: Vec<u8>, tail: usize) -> Self {
        Self { from: prefix.clone(), until: None, len: prefix.len() + tail, prefix }
    }

    /// From `prefix` + `low` on.
    pub(super) fn starting(mut self, low: &[u8]) -> Self {
        self.from = [self.prefix.as_slice(), low].concat();
        self
    }

    /// Up to and without `prefix` + `high`.
    pub(super) fn ending(mut self, high: &[u8]) -> Self {
        self.until = Some([self.prefix.as_slice(), high].concat());
        self
    }

    /// The key at which the page that `request` asks for begins.
    pub(super) fn first_after(&self, request: &PageRequest) -> Result<Vec<u8>, ViewError> {
        match request.cursor() {
            Some(cursor) => Ok(self.clone().after(cursor)?.from),
            None => Ok(self.from.clone()),
        }
    }

    /// From the key after the one the cursor names. Refuses a cursor of another list.
    fn after(mut self, cursor: &str) -> Result<Self, ViewError> {
        let mut key = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| ViewError::BadCursor)?;
        if key.len() != self.len || !key.starts_with(&self.prefix) {
            return Err(ViewError::BadCursor);
        }
        // The smallest key above it.
        key.push(0);
        self.from = self.from.max(key);
        Ok(self)
    }
}

/// What a walk made of a row.
pub(super) enum Step<T> {
    /// Part of the page.
    Take(T),
    /// Not what was asked for.
    Skip,
}

/// Walks a span in the order of its keys and fills a page.
pub(super) fn page<T>(
    tree: &sled::Tree,
    span: Span,
    request: &PageRequest,
    mut read: impl FnMut(&[u8], &[u8]) -> Result<Step<T>, ViewError>,
) -> Result<Page<T>, ViewError> {
    let span = match request.cursor() {
        Some(cursor) => span.after(cursor)?,
        None => span,
    };
    let limit = usize::from(request.limit());
    let mut data = Vec::with_capacity(limit);
    let mut last: Option<sled::IVec> = None;
    for (scanned, row) in tree.range(span.from.clone()..).enumerate() {
        let (key, value) = row?;
        let over = span.until.as_ref().is_some_and(|until| key.as_ref() >= until.as_slice());
        if over || !key.starts_with(&span.prefix) {
            break;
        }
        if scanned >= MAX_SCANNED {
            return Ok(Page { data, next_cursor: last.map(|key| URL_SAFE_NO_PAD.encode(key)) });
        }
        match read(&key, &value)? {
            Step::Take(_) if data.len() == limit => {
                return Ok(Page { data, next_cursor: last.map(|key| URL_SAFE_NO_PAD.encode(key)) });
            }
            Step::Take(item) => {
                data.push(item);
                last = Some(key);
            }
            // Until the page is full a skipped row moves the cursor, so that a short page makes progress.
            Step::Skip if data.len() < limit => last = Some(key),
            Step::Skip => {}
        }
    }
    Ok(Page { data, next_cursor: None })
}

/// Rows that are not written yet, over those that are. One of these becomes one batch.
pub(super) struct Rows<'a> {
    tree: &'a sled::Tree,
    pending: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Rows<'a> {
    /// Nothing pending.
    pub(super) fn over(tree: &'a sled::Tree) -> Self {
        Self { tree, pending: HashMap::new() }
    }

    /// The bytes of a row.
    pub(super) fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.tree.get(key)?.map(|v| v.to_vec())),
        }
    }

    /// A row as what it was written from.
    pub(super) fn row<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, ViewError> {
        match self.pending.get(key) {
            Some(value) => value.as_deref().map(parse).transpose(),
            None => self.tree.get(key)?.map(|v| parse(&v)).transpose(),
        }
    }

    /// Writes a row.
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, row: &T) -> Result<(), ViewError> {
        let bytes = serde_json::to_vec(row).map_err(|e| ViewError::Damaged(e.to_string()))?;
        self.put_bytes(key, bytes);
        Ok(())
    }

    /// Writes bytes.
    pub(super) fn put_bytes(&mut self, key: Vec<u8>, bytes: Vec<u8>) {
        self.pending.insert(key, Some(bytes));
    }

    /// Takes a row away.
    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.pending.insert(key, None);
    }

    /// How many rows are pending.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Everything at once or nothing.
    pub(super) fn commit(self) -> Result<(), ViewError> {
        let mut batch = sled::Batch::default();
        for (key, value) in self.pending {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.tree.apply_batch(batch)?;
        Ok(())
    }
}

/// Reads a row.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ViewError> {
    serde_json::from_slice(bytes).map_err(|e| ViewError::Damaged(e.to_string()))
}

/// How far the view is: the last event folded in, and a mark of it, by which a journal that was cut and written
/// anew is told from the one that was folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) seq: u64,
    /// The latest time of any event so far: lists sort by a time that never goes back, whatever the clock did.
    pub(super) latest: i64,
    pub(super) mark: [u8; 16],
}

impl Position {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk::<8>()?;
        let (latest, mark) = rest.split_first_chunk::<8>()?;
        let (seq, latest) = (u64::from_be_bytes(*seq), i64::from_be_bytes(*latest));
        Some(Self { seq, latest, mark: mark.try_into().ok()? })
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.seq.to_be_bytes().as_slice(), &self.latest.to_be_bytes(), &self.mark].concat()
    }

    /// The mark of an event.
    pub(super) fn mark_of(at: i64, epoch: u32, payload: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&at.to_be_bytes()).update(&epoch.to_be_bytes()).update(payload);
        let mut mark = [0; 16];
        hasher.finalize_xof().fill(&mut mark);
        mark
    }
}

/// The directory of the view. Each wipe begins a new generation beside the old one, so that readers which still
/// hold the old files cannot write into the new ones.
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    /// The view below `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn generations(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let mut found: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("generation-")?.parse().ok())
            .collect();
        found.sort_unstable();
        found
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.root.join(format!("generation-{generation}"))
    }

    /// Opens the newest generation. `Ok(None)`: there is none.
    pub(super) fn open(&self) -> Result<Option<(sled::Db, Position)>, ViewError> {
        let Some(generation) = self.generations().last().copied() else { return Ok(None) };
        let path = self.path(generation);
        guarded(|| {
            let db = open_sled(&path)?;
            match db.get(key::VERSION)? {
                Some(found) if found.as_ref() == VERSION.to_be_bytes() => {}
                _ => return Err(ViewError::Damaged("written by another version".to_owned())),
            }
            let position = match db.get(key::POSITION)? {
                Some(bytes) => Position::from_bytes(&bytes).ok_or_else(|| damaged("the position does not read"))?,
                None => Position::default(),
            };
            for kind in [Kind::Partner, Kind::User, Kind::Account, Kind::Pool, Kind::Card] {
                let count = count(&db, kind)?;
                if count > 0 && db.get(key::name(kind, count - 1))?.is_none() {
                    return Err(damaged("a name is missing"));
                }
            }
            Ok(Some((db, position)))
        })
    }

    /// Begins a new generation and removes the others.
    pub(super) fn begin(&self) -> Result<sled::Db, ViewError> {
        let old = self.generations();
        let next = old.last().map_or(1, |last| last + 1);
        for generation in old {
            // What cannot be removed now is tried again at the next wipe; it is never opened again.
            let _ = std::fs::remove_dir_all(self.path(generation));
        }
        let path = self.path(next);
        std::fs::create_dir_all(&path).map_err(|e| ViewError::Storage(format!("{}: {e}", path.display())))?;
        guarded(|| {
            let db = open_sled(&path)?;
            db.insert(key::VERSION, VERSION.to_be_bytes().as_slice())?;
            Ok(db)
        })
    }
}

/// How many of a kind there are.
pub(super) fn count(tree: &sled::Tree, kind: Kind) -> Result<u32, ViewError> {
    match tree.get(key::count(kind))? {
        Some(bytes) => {
            let bytes = bytes.as_ref().try_into().map_err(|_| damaged("a count does not read"))?;
            Ok(u32::from_be_bytes(bytes))
        }
        None => Ok(0),
    }
}

fn damaged(what: &str) -> ViewError {
    ViewError::Damaged(what.to_owned())
}

fn open_sled(path: &Path) -> Result<sled::Db, ViewError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .mode(sled::Mode::HighThroughput);
    Ok(config.open()?)
}

/// Runs what may meet damaged files: sled answers some damage with a panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked");
        // The store's words may hold bytes of a row, so only their beginning is told.
        Err(ViewError::Damaged(what.chars().take(120).collect()))
    })
}
