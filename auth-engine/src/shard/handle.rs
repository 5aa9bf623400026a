//! How other threads talk to the shard: a bounded queue of queries and writes, answered in order, each only when
//! everything it shows is durable.

use ledger_core::book::{Book, Command, Done, Refusal};
use ledger_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::traces::Traces;

/// An HTTP answer as the shard keeps it: status and JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

/// The identity of a POST with an Idempotency-Key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Hash of caller, route and key.
    pub key: [u8; 16],
    /// Hash of the body.
    pub body: [u8; 16],
}

/// Resolves ids and permissions against the book and names the command; or answers at once (404, 403 …).
pub type Plan = Box<dyn FnOnce(&Book, Timestamp) -> Result<Command, Rendered> + Send>;
/// Makes the answer after the command was applied (or refused); runs on the shard's thread, so it is short.
pub type Render = Box<dyn FnOnce(&Book, Timestamp, Result<Done, Refusal>) -> Rendered + Send>;

/// A write of the sidecar.
pub struct Write {
    /// Present when the caller sent an Idempotency-Key.
    pub idempotency: Option<IdempotencyKey>,
    /// What to do.
    pub plan: Plan,
    /// How to tell it.
    pub render: Render,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Done now (or refused now).
    Fresh(Rendered),
    /// The same key and body were answered before: the answer is in the event of this sequence.
    Stored {
        /// Sequence of the `Idempotent` event.
        seq: u64,
    },
    /// The key was used with another body.
    Mismatch,
}

/// A read of the book; it sends its own answer.
pub type Query = Box<dyn FnOnce(&Book, Timestamp) + Send>;

/// A read of the book and the traces; it sends its own answer.
pub type TraceQuery = Box<dyn FnOnce(&Book, &Traces) + Send>;

/// What travels to the shard.
pub enum Request {
    /// A read of the book; the closure sends its own answer.
    Query(Query),
    /// A read of the book and the traces; the closure sends its own answer.
    Trace(TraceQuery),
    /// A write; answered when durable.
    Write(Write, oneshot::Sender<WriteOutcome>),
    /// Remembers an answer that the shard did not make itself (a sandbox tap).
    Remember(IdempotencyKey, Rendered, oneshot::Sender<()>),
    /// Looks a key up before work that the shard does not do itself: `None` when it was never used.
    Recall(IdempotencyKey, oneshot::Sender<Option<WriteOutcome>>),
}

/// The shard's queue is full or the shard is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is busy")]
pub struct Busy;

/// A sender to the shard; clones share one bounded queue.
#[derive(Clone)]
pub struct ShardHandle {
    queue: mpsc::Sender<Request>,
}

impl ShardHandle {
    /// A handle and the queue's other end; `room` requests fit.
    pub fn new(room: usize) -> (Self, mpsc::Receiver<Request>) {
        let (queue, receiver) = mpsc::channel(room);
        (Self { queue }, receiver)
    }

    /// Reads the book between batches; sees every write answered before.
    pub async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Book, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (tx, rx) = oneshot::channel();
        let query = Box::new(move |book: &Book, now: Timestamp| {
            let _ = tx.send(read(book, now));
        });
        self.queue.try_send(Request::Query(query)).map_err(|_| Busy)?;
        rx.await.map_err(|_| Busy)
    }

    /// Reads book and traces between batches: what was answered before has its trace.
    pub async fn trace<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Book, &Traces) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (tx, rx) = oneshot::channel();
        let query = Box::new(move |book: &Book, traces: &Traces| {
            // A caller that has gone away does not need its answer.
            let _ = tx.send(read(book, traces));
        });
        self.queue.try_send(Request::Trace(query)).map_err(|_| Busy)?;
        rx.await.map_err(|_| Busy)
    }

    /// Executes a write; resolves when it is durable.
    pub async fn write(&self, write: Write) -> Result<WriteOutcome, Busy> {
        let (tx, rx) = oneshot::channel();
        self.queue.try_send(Request::Write(write, tx)).map_err(|_| Busy)?;
        rx.await.map_err(|_| Busy)
    }

    /// Remembers an answer durably.
    pub async fn remember(&self, key: IdempotencyKey, answer: Rendered) -> Result<(), Busy> {
        let (tx, rx) = oneshot::channel();
        self.queue.try_send(Request::Remember(key, answer, tx)).map_err(|_| Busy)?;
        rx.await.map_err(|_| Busy)
    }

    /// What is remembered of a key: `None` when it was never used.
    pub async fn recall(&self, key: IdempotencyKey) -> Result<Option<WriteOutcome>, Busy> {
        let (tx, rx) = oneshot::channel();
        self.queue.try_send(Request::Recall(key, tx)).map_err(|_| Busy)?;
        rx.await.map_err(|_| Busy)
    }
}
