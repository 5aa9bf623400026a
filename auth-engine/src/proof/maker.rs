//! The thread that hashes durable events into the tree and signs what it came to: lowest priority, its own pace, behind
//! the journal's durable end. It must never hold up a tap, sign an event that is not durable, or go on when the journal
//! is not the one it signed before.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ledger_core::journal::{Follower, JournalError, Reader};
use ledger_core::keys::Keyring;
use ledger_core::proof::{Hash, Salts, Tree};
use ledger_core::time::Timestamp;

use super::note::{Checkpoint, Signer};
use super::store::{self, Log, StoreError, Stored};
use crate::cli::Failure;
use crate::config::Config;
use crate::telemetry::names;

/// How often it looks for new events between two checkpoints: often enough that the read model has just read the same
/// pages, so that the disk is not asked twice.
const TURN: Duration = Duration::from_secs(1);
/// Events after which it may rest.
const BATCH: u64 = 4_096;
/// So many times as long as it worked, it rests while taps go on, as the read model does.
const REST: u32 = 4;

/// The newest checkpoint, for whoever asks.
#[derive(Debug, Default)]
pub struct Latest(RwLock<Option<String>>);

impl Latest {
    /// The signed note; none before the first.
    pub fn note(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, note: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }
}

/// Checkpoints that fit the journal, before anything is added to them.
pub struct Checkpoints {
    dir: PathBuf,
    interval: Duration,
    signer: Signer,
    salts: Salts,
    log: Log,
    newest: Option<Stored>,
    tree: Tree,
    latest: Arc<Latest>,
}

impl Checkpoints {
    /// Opens what was signed so far, and refuses what the journal does not reach or is not the beginning of.
    ///
    /// # Errors
    /// Exit 3 with the file and the remedy.
    pub fn open(config: &Config, reader: &Reader, keyring: &Keyring) -> Result<Self, Failure> {
        let refused = |why: StoreError| Failure::data(why.to_string());
        let (dir, signer, salts) = (store::dir(&config.data_dir), Signer::new(keyring), Salts::new(keyring));
        let journal = reader.durable_seq();
        let (log, newest) = Log::open(&dir, signer.verifier()).map_err(refused)?;
        let file = || store::log_file(&dir);
        if let Some(size) = newest.as_ref().map(|stored| stored.checkpoint.size).filter(|size| *size > journal) {
            return Err(refused(StoreError::Ahead { file: file(), size, journal }));
        }
        let mut tree = Tree::new();
        if let Some(resumed) = store::read_state(&dir) {
            let size = resumed.tree.size();
            if size > journal {
                return Err(refused(StoreError::Ahead { file: file(), size, journal }));
            }
            let record = reader.read(size).map_err(|why| Failure::data(why.to_string()))?;
            let record = ledger_core::journal::Record {
                seq: record.seq,
                at: record.at,
                epoch: record.epoch,
                payload: &record.payload,
            };
            if salts.leaf(&record) != resumed.last_leaf {
                return Err(refused(StoreError::Another { file: file(), size }));
            }
            let signed = newest.as_ref().filter(|stored| stored.checkpoint.size == size);
            if signed.is_none_or(|stored| stored.checkpoint.root == resumed.tree.root()) {
                tree = resumed.tree;
            } else {
                tracing::warn!(dir = %dir.display(), "the checkpoints' state is not what was signed: it is made anew");
            }
        }
        let latest = Arc::new(Latest::default());
        if let Some(newest) = &newest {
            latest.set(newest.note.clone());
            names::checkpoint_signed(newest.checkpoint.size);
        }
        let interval = config.journal.checkpoint_interval;
        Ok(Self { dir, interval, signer, salts, log, newest, tree, latest })
    }

    /// Where the newest can be read while the thread runs.
    pub fn latest(&self) -> Arc<Latest> {
        Arc::clone(&self.latest)
    }

    /// Starts the thread; with an interval of 0 nothing is signed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self, reader: Reader) -> std::io::Result<MakerHandle> {
        let stop = Arc::new(AtomicBool::new(false));
        if self.interval.is_zero() {
            return Ok(MakerHandle { stop, thread: None });
        }
        let signed = self.newest.as_ref().map_or(0, |stored| stored.checkpoint.size).max(self.tree.size());
        let unseen = self.newest.filter(|stored| stored.checkpoint.size > self.tree.size());
        let maker = Maker {
            dir: self.dir,
            interval: self.interval,
            signer: self.signer,
            salts: self.salts,
            log: self.log,
            latest: self.latest,
            tree: self.tree,
            unseen,
            signed,
            last: None,
            reader,
            follower: None,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || maker.run())?;
        Ok(MakerHandle { stop, thread: Some(thread) })
    }
}

/// The running thread. Dropping it stops the thread and waits for the batch at hand.
pub struct MakerHandle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for MakerHandle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was told already; what was signed is on the disk.
            let _ = thread.join();
        }
    }
}

/// Why the thread cannot go on for now, or at all.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Maker {
    dir: PathBuf,
    interval: Duration,
    signer: Signer,
    salts: Salts,
    log: Log,
    latest: Arc<Latest>,
    tree: Tree,
    /// A checkpoint beyond the tree, signed by an earlier run: the tree has to come to it before anything is signed.
    unseen: Option<Stored>,
    /// Events in the newest checkpoint.
    signed: u64,
    /// Time and leaf of the last event that was hashed.
    last: Option<(Timestamp, Hash)>,
    reader: Reader,
    follower: Option<Follower>,
    stop: Arc<AtomicBool>,
}

impl Maker {
    fn run(mut self) {
        crate::priority::idle();
        let mut due = Instant::now() + self.interval;
        while !self.stopping() {
            match self.turn(due) {
                Ok(false) => {}
                Ok(true) => {
                    due = Instant::now() + self.interval;
                    continue;
                }
                Err(Fault::Store(error @ StoreError::Another { .. })) => {
                    names::checkpoint_failed();
                    tracing::error!(%error, "no checkpoint is signed any more; taps are not affected");
                    return;
                }
                Err(error) => {
                    names::checkpoint_failed();
                    tracing::warn!(%error, "no checkpoint is signed for now; taps are not affected");
                    self.follower = None;
                    due = Instant::now() + self.interval;
                }
            }
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()).min(TURN));
        }
    }

    /// Hashes what came, and signs when it is time: true then.
    fn turn(&mut self, due: Instant) -> Result<bool, Fault> {
        self.hash(due)?;
        if Instant::now() < due {
            return Ok(false);
        }
        // What came while it slept, as far as one batch goes.
        self.hash_batch()?;
        self.sign()?;
        Ok(true)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Hashes what is durable, until the next checkpoint is due.
    fn hash(&mut self, due: Instant) -> Result<(), Fault> {
        while !self.stopping() && Instant::now() < due {
            let (began, durable) = (Instant::now(), self.reader.durable_seq());
            if !self.hash_batch()? {
                return Ok(());
            }
            if self.reader.durable_seq() > durable {
                std::thread::park_timeout(began.elapsed() * REST);
            }
        }
        Ok(())
    }

    /// Hashes some blocks; false when all that is durable is in the tree.
    fn hash_batch(&mut self) -> Result<bool, Fault> {
        let from = self.tree.size() + 1;
        let mut follower = match self.follower.take() {
            Some(follower) if follower.position() == from => follower,
            _ => self.reader.follow(from),
        };
        while self.tree.size() < from + BATCH {
            let Some(block) = follower.next_block()? else {
                self.follower = Some(follower);
                return Ok(false);
            };
            for record in block.iter() {
                let leaf = self.salts.leaf(&record);
                self.tree.push(leaf);
                self.last = Some((Timestamp(record.at), leaf));
                self.meet()?;
            }
        }
        self.follower = Some(follower);
        Ok(true)
    }

    /// Compares the tree with what an earlier run signed, when it has come so far.
    fn meet(&mut self) -> Result<(), Fault> {
        let Some(stored) = self.unseen.take_if(|stored| stored.checkpoint.size == self.tree.size()) else {
            return Ok(());
        };
        if stored.checkpoint.root == self.tree.root() {
            return Ok(());
        }
        let size = stored.checkpoint.size;
        self.unseen = Some(stored);
        Err(StoreError::Another { file: store::log_file(&self.dir), size }.into())
    }

    /// Signs the tree when it has grown.
    fn sign(&mut self) -> Result<(), Fault> {
        let Some((last_at, last_leaf)) = self.last else { return Ok(()) };
        if self.unseen.is_some() || self.tree.size() <= self.signed {
            return Ok(());
        }
        let checkpoint = Checkpoint { size: self.tree.size(), root: self.tree.root(), last_at };
        let note = checkpoint.sign(&self.signer);
        self.log.append(&note)?;
        self.signed = checkpoint.size;
        self.latest.set(note);
        names::checkpoint_signed(checkpoint.size);
        store::write_state(&self.dir, &self.tree, last_leaf)?;
        tracing::debug!(size = checkpoint.size, "a checkpoint was signed");
        Ok(())
    }
}
