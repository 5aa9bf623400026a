//! Starting: the book is folded from the journal, from the newest snapshot on; a new epoch begins; what was being asked
//! when the engine stopped is declined. All of it is durable before the first frame is read.

use std::collections::{BinaryHeap, HashMap, VecDeque};

use bytes::BytesMut;
use ledger_core::book::{PartnerVerdict, Policy};
use ledger_core::event::Event;
use ledger_core::event::admin::{LinkDefined, Started};
use ledger_core::event::tap::{Reply, Said, TapDecided};
use ledger_core::event::words::PartnerOutcome;
use ledger_core::journal::{Journal, JournalError, KeySource, Options, Recovery};
use ledger_core::snapshot::Folded;
use std::borrow::Cow;

use super::codes::{CodeContext, de39};
use super::queue::Queue;
use super::{Counters, Engine, Link, Now, Progress, Settings};

/// Why the engine cannot start on a data directory. All of these end the process with 3.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal was written by more starts than ids can tell apart.
    #[error("the journal's epochs are used up after 16,777,215 starts; move to a new data directory")]
    EpochsUsedUp,
    /// More links than events can name.
    #[error("the journal knows 255 links; a renamed link or spec counts as a new one")]
    TooManyLinks,
    /// The book refused what recovery itself decided.
    #[error("recovery broke an invariant: {0}; report this with the journal")]
    Broken(String),
}

impl Engine {
    /// Opens the journal and folds it.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn open(
        options: Options,
        keys: KeySource,
        policy: Policy,
        settings: Settings,
    ) -> Result<(Self, Recovery), RecoveryError> {
        let mut folded = Folded::default();
        let (journal, recovery) = Journal::open_from(options, keys, &mut folded)?;
        let Folded(book) = folded;
        let keyring = std::sync::Arc::clone(journal.keyring());
        let engine = Self {
            book,
            journal,
            keyring,
            policy,
            settings,
            links: Vec::new(),
            pending: HashMap::new(),
            overdue: HashMap::new(),
            overdue_order: VecDeque::new(),
            deadlines: BinaryHeap::new(),
            circuits: HashMap::new(),
            draining: false,
            replies: BytesMut::new(),
            parked: Vec::new(),
            parked_effects: Vec::new(),
            repeat_jobs: Vec::new(),
            effects: Vec::new(),
            sealed: Vec::new(),
            broken: None,
            counters: Counters::default(),
            queue: Queue::default(),
            mux: super::mux::Mux::default(),
            signed_on: Vec::new(),
            progress: Progress::default(),
        };
        Ok((engine, recovery))
    }

    /// Begins the new epoch, names the links, decides the orphans, and makes all of it durable.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn recover(&mut self, now: Now, version: &str) -> Result<usize, RecoveryError> {
        let epoch = self.book.epoch().checked_add(1).filter(|e| *e < 1 << 24).ok_or(RecoveryError::EpochsUsedUp)?;
        self.journal.start_epoch(epoch);
        let dedup_window_us = self.settings.dedup_window_us;
        self.record(now, &Event::Started(Started { epoch, version: Cow::Borrowed(version), dedup_window_us }));
        self.journal.commit()?;
        for setup in self.settings.links.clone() {
            let known = self.book.links().iter().position(|l| l.name == setup.name && l.spec == setup.spec_name);
            let number = match known {
                Some(number) => u8::try_from(number).map_err(|_| RecoveryError::TooManyLinks)?,
                None => {
                    let link = u8::try_from(self.book.links().len()).map_err(|_| RecoveryError::TooManyLinks)?;
                    let (name, spec) = (Cow::Borrowed(setup.name.as_str()), Cow::Borrowed(setup.spec_name.as_str()));
                    self.record(now, &Event::LinkDefined(LinkDefined { link, name, spec }));
                    link
                }
            };
            self.links.push(Link { setup, number, in_flight: 0 });
        }
        let orphans = self.book.pending();
        for no in &orphans {
            self.interrupt(*no, now);
        }
        self.journal.commit()?;
        match self.broken.take() {
            Some(broken) => Err(RecoveryError::Broken(broken.to_string())),
            None => Ok(orphans.len()),
        }
    }

    /// An authorization with a durable hold and no decision: declined, `interrupted`, released.
    fn interrupt(&mut self, no: u64, now: Now) {
        let Some(decision) = self.book.decide_answer(no, PartnerVerdict::Interrupted) else { return };
        let previous = self.book.authorization(no).map_or(0, |a| a.last_seq);
        let reply = Reply {
            reason: decision.reason,
            response_code: de39(decision.reason, CodeContext::default()),
            approval_code: 0,
            partial: None,
            balance: None,
        };
        let said = Said {
            outcome: PartnerOutcome::Interrupted,
            reason: None,
            latency_us: 0,
            late_by_us: None,
            body: Cow::Borrowed(&[]),
            metadata_dropped: false,
        };
        let (changes, postings) = (decision.changes, decision.postings);
        self.record(now, &Event::TapDecided(TapDecided { no, previous, reply, said: Some(said), changes, postings }));
    }

    /// Marks a clean end; the caller commits.
    pub fn stop(&mut self, now: Now) {
        self.record(now, &Event::Stopped(ledger_core::event::Stopped {}));
    }
}
