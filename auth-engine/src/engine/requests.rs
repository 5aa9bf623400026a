//! The sidecar's queries and writes.

use ledger_core::book::{Command, Done, Refusal, Sealer};
use ledger_core::event::admin::Idempotent;
use ledger_core::event::{Event, field};
use ledger_core::keys::{Keyring, Nonce};
use std::borrow::Cow;

use super::effect::Stored;
use super::{Effect, Engine, Now};
use crate::shard::handle::{IdempotencyKey, Rendered, Request, Write, WriteOutcome};

/// Seals under the sequence that an event will have in this epoch.
struct EpochSealer<'a> {
    keyring: &'a Keyring,
    epoch: u32,
}

impl Sealer for EpochSealer<'_> {
    fn seal(&self, seq: u64, field: u16, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + 32);
        self.keyring.seal(Nonce { epoch: self.epoch, seq, field }, plain, &mut out);
        out
    }
}

impl Engine {
    /// A query or write of the sidecar. Everything is answered by an effect of the next release.
    pub fn handle_request(&mut self, request: Request, now: Now) {
        let effect = match request {
            Request::Query(query) => Effect::Query(query),
            Request::Trace(query) => Effect::Trace(query),
            Request::Write(write, answer) => {
                let outcome = self.execute(write, now);
                Effect::Answer(answer, outcome)
            }
            Request::Remember(key, rendered, done) => {
                self.remember((key, rendered), now);
                Effect::Remembered(done)
            }
            Request::Recall(key, answer) => {
                let outcome = self.recall(&key, now);
                Effect::Recalled(answer, outcome)
            }
        };
        self.parked_effects.push(effect);
    }

    fn recall(&self, key: &IdempotencyKey, now: Now) -> Option<WriteOutcome> {
        self.book.idempotency(&key.key, now.wall).map(|known| {
            if known.body == key.body { WriteOutcome::Stored { seq: known.seq } } else { WriteOutcome::Mismatch }
        })
    }

    fn execute(&mut self, write: Write, now: Now) -> WriteOutcome {
        if let Some(known) = write.idempotency.as_ref().and_then(|key| self.recall(key, now)) {
            return known;
        }
        let command = match (write.plan)(&self.book, now.wall) {
            Ok(command) => command,
            // Nothing was tried: the same call may succeed later, so it is not remembered.
            Err(rendered) => return WriteOutcome::Fresh(rendered),
        };
        let before = self.journal.next_seq();
        let outcome = self.command(&command, now);
        let rendered = (write.render)(&self.book, now.wall, outcome);
        if let Some(key) = write.idempotency {
            // What was done and that it was done under this key: a crash must not part them, or a retry does it twice.
            if self.journal.next_seq() != before {
                self.journal.join();
            }
            self.remember((key, rendered.clone()), now);
        }
        WriteOutcome::Fresh(rendered)
    }

    /// Decides a command of the sidecar (or of the command line, on a stopped directory) and records what it does.
    ///
    /// # Errors
    /// Why the book refuses; nothing has changed then.
    pub fn command(&mut self, command: &Command, now: Now) -> Result<Done, Refusal> {
        let sealer = EpochSealer { keyring: &self.keyring, epoch: self.journal.epoch() };
        let (events, done) = self.book.decide_command(command, &self.policy, now.wall, &sealer)?;
        for (at, event) in events.iter().enumerate() {
            if at > 0 {
                self.journal.join();
            }
            self.record(now, event);
            self.follow_up(event);
        }
        Ok(done)
    }

    fn follow_up(&mut self, event: &Event<'_>) {
        let partner = match event {
            Event::PartnerCreated(_) => u32::try_from(self.book.partners().len()).ok().and_then(|n| n.checked_sub(1)),
            Event::PartnerChanged(e) => Some(e.partner),
            Event::SecretRotated(e) => Some(e.partner),
            _ => None,
        };
        if let Some(partner) = partner {
            self.parked_effects.push(Effect::Configure(partner));
        }
    }

    fn remember(&mut self, (key, rendered): Stored, now: Now) {
        let Rendered { status, body } = rendered;
        let mut sealed = Vec::with_capacity(body.len() + 32);
        let nonce = Nonce { epoch: self.journal.epoch(), seq: self.journal.next_seq(), field: field::ANSWER };
        self.keyring.seal(nonce, &body, &mut sealed);
        let event = Idempotent { key: key.key, body: key.body, status, answer: Cow::Owned(sealed) };
        self.record(now, &Event::Idempotent(event));
    }
}
