//! What the engine wants done outside, and what waits for the disk before it may be.

use std::ops::Range;

use bytes::Bytes;
use ledger_core::id::No;

use crate::partner::Ask;
use crate::shard::handle::{Query, Rendered, TraceQuery, WriteOutcome};
use crate::switch::ConnId;
use tokio::sync::oneshot;

/// Who gets a reply, and until when it is worth sending.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// Index of the link.
    pub link: usize,
    /// Its connection.
    pub conn: ConnId,
    /// Echoed before the reply.
    pub header: Bytes,
    /// After this a reply is late and is not sent, monotonic.
    pub deadline_us: i64,
}

impl Recipient {
    /// The same with the header, which stays behind empty: a clone would be one more count of a shared buffer.
    pub(super) fn take(&mut self) -> Self {
        Self { header: std::mem::take(&mut self.header), ..*self }
    }
}

/// A repeat whose answer stands in the journal.
#[derive(Debug, Clone)]
pub struct RepeatJob {
    /// Who asked again.
    pub recipient: Recipient,
    /// Sequence of the event that holds the answer.
    pub seq: u64,
    /// The message's own key: tells an advice from the tap it decided.
    pub key: [u8; 16],
    /// What has happened to it since.
    pub flags: ledger_core::book::RepeatFlags,
}

/// Whose way ends with a reply, for the traces and the histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The authorization that the message made.
    pub no: No,
    /// It was made by a 0100 or 0200.
    pub tap: bool,
}

/// Something to be done by the thread around the engine.
pub enum Effect {
    /// Send a reply; its bytes are [`super::Engine::reply_bytes`].
    Send {
        /// Where to.
        conn: ConnId,
        /// Echoed before it.
        header: Bytes,
        /// Its bytes.
        reply: Range<usize>,
        /// None for what made no authorization, and for repeats: a trace is the first one's.
        stamp: Option<Stamp>,
    },
    /// Send a reply that was rebuilt elsewhere.
    SendBytes {
        /// Where to.
        conn: ConnId,
        /// Echoed before it.
        header: Bytes,
        /// The reply.
        reply: Bytes,
    },
    /// Cut a connection whose peer does not answer.
    Cut(ConnId),
    /// Ask a partner; leaves before the sync.
    Ask(Ask),
    /// Read an answer from the journal and hand it back by [`super::Engine::handle_rebuilt`].
    Rebuild(RepeatJob),
    /// Answer a write of the sidecar.
    Answer(oneshot::Sender<WriteOutcome>, WriteOutcome),
    /// Tell a caller that its answer is remembered.
    Remembered(oneshot::Sender<()>),
    /// Tell a caller what is remembered.
    Recalled(oneshot::Sender<Option<WriteOutcome>>, Option<WriteOutcome>),
    /// Run a query against the book.
    Query(Query),
    /// Run a query against the book and the traces.
    Trace(TraceQuery),
    /// A partner was created or changed: where it is asked, and with which secrets it signs.
    Configure(u32),
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Send { .. } => "Send",
            Self::SendBytes { .. } => "SendBytes",
            Self::Cut(_) => "Cut",
            Self::Ask(_) => "Ask",
            Self::Rebuild(_) => "Rebuild",
            Self::Answer(..) => "Answer",
            Self::Remembered(_) => "Remembered",
            Self::Recalled(..) => "Recalled",
            Self::Query(_) => "Query",
            Self::Trace(_) => "Trace",
            Self::Configure(_) => "Configure",
        })
    }
}

/// A reply whose events are in the open batch.
#[derive(Debug)]
pub(super) struct Parked {
    /// Everyone who waits for it: the first and its repeats.
    pub(super) recipients: smallvec::SmallVec<[Recipient; 1]>,
    /// Its bytes.
    pub(super) reply: Range<usize>,
    /// The tap it decides; when nobody can be answered in time, what it holds is freed.
    pub(super) tap: Option<No>,
    /// Whose way ends with it.
    pub(super) stamp: Option<Stamp>,
}

/// An answer that is stored with its idempotency key.
pub(super) type Stored = (crate::shard::handle::IdempotencyKey, Rendered);
