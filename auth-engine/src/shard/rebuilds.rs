//! The thread that reads old answers out of the journal for repeats, so that the shard never waits for a read.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, TrySendError, bounded};
use iso_codec::Spec;
use ledger_core::journal::Reader;
use ledger_core::keys::Keyring;
use tokio::sync::mpsc;

use crate::engine::{Rebuilt, RepeatJob, rebuild};

/// Repeats that may wait to be looked up; one more is dropped and counted, and the network repeats it again.
const ROOM: usize = 16_384;

/// The way to the thread and back.
pub struct Rebuilds {
    jobs: Sender<RepeatJob>,
    /// What was rebuilt. Unbounded here, bounded by the jobs.
    pub done: mpsc::UnboundedReceiver<Rebuilt>,
    _thread: JoinHandle<()>,
}

impl Rebuilds {
    /// Starts the thread. `specs` are the message specs by the number of their link.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(reader: Reader, keyring: Arc<Keyring>, specs: Vec<Option<Arc<Spec>>>) -> std::io::Result<Self> {
        let (jobs, queue) = bounded::<RepeatJob>(ROOM);
        let (give, done) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("repeats".to_owned()).spawn(move || {
            let spec_of = |link: u8| specs.get(usize::from(link)).and_then(Clone::clone);
            for job in queue {
                let reply = match rebuild(&job, &reader, &keyring, &spec_of) {
                    Ok(reply) => Some(reply),
                    Err(why) => {
                        tracing::error!(%why, "a repeat cannot be answered");
                        None
                    }
                };
                if give.send(Rebuilt { recipient: job.recipient, reply }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, done, _thread: thread })
    }

    /// Hands a job over; gives it back when the queue is full.
    pub fn submit(&self, job: RepeatJob) -> Result<(), Box<RepeatJob>> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}
