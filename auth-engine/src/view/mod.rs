//! The read model: lists, search and statements, folded from the journal into sled by a thread of its own. Owns what
//! REST lists show. Must never be the truth: it lags, it says how far it is, and whatever is wrong with it, it is
//! wiped and folded again while taps go on.
//!
//! Order of calls: [`View::open`], then [`View::start`] with a [`feed::Source`] of durable events; whoever learns of a
//! commit calls [`feed::FeederHandle::notify`]. A reader that must see a write waits by [`View::wait_for`] first.

pub mod docs;
pub mod feed;
pub mod fold;
mod ingest;
pub mod late;
mod lists;
pub mod request;
mod statement;
mod store;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::Thread;
use std::time::Duration;

use ledger_core::id::Id;
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use feed::{FeederHandle, Source};
use fold::Requests;
use store::{Files, Position};

/// Why the view did not open or answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The view knows events that the journal does not: the journal lost its end. Exit 3.
    #[error(
        "the read model holds event {view}, the journal ends at {journal}: the journal lost its end; restore it from a \
         copy, or delete the view directory to accept the loss"
    )]
    Ahead {
        /// The view's last event.
        view: u64,
        /// The journal's.
        journal: u64,
    },
    /// A cursor that this list did not give out. REST: 400.
    #[error("the cursor is not one that this list gave out: leave it out to begin anew")]
    BadCursor,
    /// A limit out of its range. REST: 400.
    #[error("limit is {0}, it must be 1 to 200")]
    BadLimit(u64),
    /// It is being wiped and folded again. REST: 503.
    #[error("the read model is being rebuilt: try again in a moment")]
    Rebuilding,
    /// Its files are damaged or of another version; it wipes itself. REST: 503.
    #[error("the read model is damaged ({0}): it is rebuilt by itself")]
    Damaged(String),
    /// Its directory cannot be used.
    #[error("the read model's directory cannot be used: {0}")]
    Storage(String),
}

impl From<sled::Error> for ViewError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(e) => Self::Storage(e.to_string()),
            other => Self::Damaged(other.to_string().chars().take(120).collect()),
        }
    }
}

/// The view did not come as far as asked for in the time given. REST: 503 `view_behind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the read model is at event {at}, {wanted} was asked for")]
pub struct Behind {
    /// How far it is.
    pub at: u64,
    /// How far it should be.
    pub wanted: u64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// The last event folded in; 0 when it begins anew.
    pub position: u64,
    /// Why it begins anew, when something was there: in words.
    pub wiped: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    limit: u16,
    cursor: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: Self::DEFAULT_LIMIT, cursor: None }
    }
}

impl PageRequest {
    /// Without `limit`.
    pub const DEFAULT_LIMIT: u16 = 50;
    /// The most.
    pub const MAX_LIMIT: u16 = 200;

    /// `limit` 1 to 200, 50 when none; `cursor` as a page before gave it.
    pub fn new(limit: Option<u64>, cursor: Option<String>) -> Result<Self, ViewError> {
        let limit = limit.unwrap_or(u64::from(Self::DEFAULT_LIMIT));
        match u16::try_from(limit) {
            Ok(limit @ 1..=Self::MAX_LIMIT) => Ok(Self { limit, cursor }),
            _ => Err(ViewError::BadLimit(limit)),
        }
    }

    /// How many at most.
    pub const fn limit(&self) -> u16 {
        self.limit
    }

    /// Where it begins.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}

/// How an authorization was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Outcome {
    Approved,
    Partial,
    Declined,
}

impl Outcome {
    /// The word in REST.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Partial => "partial",
            Self::Declined => "declined",
        }
    }
}

/// Which authorizations. All that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizationFilter {
    /// Of this card.
    pub card: Option<Id>,
    /// Of this user.
    pub user: Option<Id>,
    /// Paid by this pool, or that it may pay while the partner chooses.
    pub pool: Option<Id>,
    /// Answered like this.
    pub outcome: Option<Outcome>,
    /// Created at this moment or later.
    pub from: Option<Timestamp>,
    /// Created before this moment.
    pub to: Option<Timestamp>,
    /// Changed at this moment or later; the list is then in the order of the last change.
    pub updated_since: Option<Timestamp>,
}

/// Whose statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementOf {
    /// An account's.
    Account(Id),
    /// A pool's.
    Pool(Id),
}

pub(super) struct Shared {
    files: Files,
    /// None while it is wiped.
    db: RwLock<Option<sled::Db>>,
    position: watch::Sender<Position>,
    /// A read met damage: the feeder wipes at its next turn.
    damaged: AtomicBool,
    /// The furthest event that a reader waited for.
    wanted: AtomicU64,
    /// Woken when a read meets damage, or a reader waits.
    feeder: OnceLock<Thread>,
}

/// A handle to the read model; clones share it. Reads may come from any thread; they take no lock that the tap's
/// path knows, and each blocks for as long as sled needs, so a server calls them where blocking is allowed.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
    /// Reads of what is not folded as far as this event are refused.
    least: u64,
}

impl View {
    /// Opens the view below `dir`. What is missing, damaged or of another version is begun anew, to be folded again
    /// from the journal.
    ///
    /// # Errors
    /// [`ViewError::Ahead`] when the view knows more than the journal's `journal_last_seq` events;
    /// [`ViewError::Storage`] when the directory cannot be used.
    pub fn open(dir: &Path, journal_last_seq: u64) -> Result<(Self, OpenReport), ViewError> {
        let files = Files::new(dir);
        let (db, position, wiped) = match files.open() {
            Ok(Some((_, position))) if position.seq > journal_last_seq => {
                return Err(ViewError::Ahead { view: position.seq, journal: journal_last_seq });
            }
            Ok(Some((db, position))) => (db, position, None),
            Ok(None) => (files.begin()?, Position::default(), None),
            Err(ViewError::Storage(why)) => return Err(ViewError::Storage(why)),
            Err(why) => (files.begin()?, Position::default(), Some(why.to_string())),
        };
        let report = OpenReport { position: position.seq, wiped };
        let shared = Shared {
            files,
            db: RwLock::new(Some(db)),
            position: watch::Sender::new(position),
            damaged: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            feeder: OnceLock::new(),
        };
        Ok((Self { shared: Arc::new(shared), least: 0 }, report))
    }

    /// Starts the thread that folds what `source` gives into the view. `requests` opens raw requests; see
    /// [`fold::SealedRequests`]. Call it once.
    pub fn start(&self, source: Box<dyn Source>, requests: Arc<dyn Requests>) -> FeederHandle {
        feed::start(self.clone(), source, requests)
    }

    /// The sequence of the last event folded in.
    pub fn position(&self) -> u64 {
        self.shared.position.borrow().seq
    }

    /// How many events it is behind `durable`.
    pub fn lag(&self, durable: u64) -> u64 {
        durable.saturating_sub(self.position())
    }

    /// Resolves as soon as event `seq` is folded in.
    ///
    /// # Errors
    /// [`Behind`] after `timeout`.
    pub async fn wait_for(&self, seq: u64, timeout: Duration) -> Result<(), Behind> {
        let mut positions = self.shared.position.subscribe();
        if self.position() < seq {
            self.shared.wanted.fetch_max(seq, Ordering::AcqRel);
            if let Some(feeder) = self.shared.feeder.get() {
                feeder.unpark();
            }
        }
        let arrived = tokio::time::timeout(timeout, positions.wait_for(|at| at.seq >= seq)).await;
        match arrived {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Behind { at: self.position(), wanted: seq }),
        }
    }

    /// The same view, whose reads answer only from what event `seq` is folded into: after [`View::wait_for`] a view may
    /// be found damaged and begun anew, and what is empty must not be told as if it were all.
    #[must_use]
    pub fn since(&self, seq: u64) -> Self {
        Self { least: seq, ..self.clone() }
    }

    /// Runs a read; damage it meets is remembered, so that the feeder wipes.
    pub(super) fn read<T>(&self, work: impl FnOnce(&sled::Tree) -> Result<T, ViewError>) -> Result<T, ViewError> {
        let db = {
            // Whoever begins anew sets the position back under the same lock.
            let slot = self.shared.db.read().unwrap_or_else(PoisonError::into_inner);
            let folded = slot.as_ref().filter(|_| self.position() >= self.least);
            folded.cloned().ok_or(ViewError::Rebuilding)?
        };
        let result = store::guarded(|| work(&db));
        if matches!(result, Err(ViewError::Damaged(_))) {
            self.shared.damaged.store(true, Ordering::Release);
            if let Some(feeder) = self.shared.feeder.get() {
                feeder.unpark();
            }
        }
        result
    }
}
