//! Appending: the one place where an event is written into the open block and folded into the book.

use std::borrow::Cow;

use iso_codec::Message;
use ledger_core::event::tap::Raw;
use ledger_core::event::{Event, field};
use ledger_core::keys::Nonce;
use smallvec::SmallVec;

use super::effect::{Parked, Stamp};
use super::{Engine, Now, Recipient, reply};

impl Engine {
    // PATH 5: append to the open block; the reply is parked until the block is durable.
    /// Appends an event and folds it in. The book checks what it is told: an event that breaks it stops the engine.
    pub(super) fn record(&mut self, now: Now, event: &Event<'_>) -> u64 {
        let seq = self.journal.append(now.wall.0, |out| event.encode(out));
        if self.broken.is_none()
            && let Err(broken) = self.book.apply(seq, now.wall, event)
        {
            tracing::error!(%broken, "an invariant is broken: the engine stops");
            self.broken = Some(broken);
        }
        seq
    }

    /// Seals a request under the next event's sequence and calls `build` with it.
    pub(super) fn record_with_raw(
        &mut self,
        now: Now,
        link: usize,
        message: &Message,
        build: impl FnOnce(Raw<'_>) -> Event<'_>,
    ) -> u64 {
        let mut sealed = std::mem::take(&mut self.sealed);
        sealed.clear();
        let nonce = Nonce { epoch: self.journal.epoch(), seq: self.journal.next_seq(), field: field::REQUEST };
        self.keyring.seal(nonce, message.frame(), &mut sealed);
        let number = self.links.get(link).map_or(0, |l| l.number);
        let event = build(Raw { link: number, sealed: Cow::Borrowed(&sealed) });
        let seq = self.record(now, &event);
        drop(event);
        self.sealed = sealed;
        seq
    }

    // PATH 8: encode the reply from the request and the decision.
    /// Encodes a reply; `None` (and counted) when the spec cannot carry it.
    pub(super) fn encode(&mut self, request: &Message, parts: &reply::Parts) -> Option<std::ops::Range<usize>> {
        let start = self.replies.len();
        match reply::write(request, parts, &mut self.replies) {
            Ok(_) => Some(start..self.replies.len()),
            Err(error) => {
                tracing::error!(%error, "a reply cannot be encoded");
                self.replies.truncate(start);
                None
            }
        }
    }

    /// Parks a reply until the events so far are durable.
    pub(super) fn park(
        &mut self,
        recipients: SmallVec<[Recipient; 1]>,
        reply: std::ops::Range<usize>,
        tap: Option<u64>,
        stamp: Option<Stamp>,
    ) {
        self.parked.push(Parked { recipients, reply, tap, stamp });
    }

    /// Encodes and parks the answer for one recipient.
    pub(super) fn park_one(&mut self, request: &Message, parts: &reply::Parts, recipient: Recipient, tap: Option<u64>) {
        self.enter(&recipient);
        if let Some(range) = self.encode(request, parts) {
            let stamp = self.progress.made.map(|no| Stamp { no, tap: tap.is_some() });
            self.park(SmallVec::from_buf([recipient]), range, tap, stamp);
        } else {
            self.leave(recipient.link);
        }
    }

    /// A request of this link waits for its reply from here on.
    pub(super) fn enter(&mut self, recipient: &Recipient) {
        if let Some(link) = self.links.get_mut(recipient.link) {
            link.in_flight += 1;
        }
    }

    /// It has been answered, or never will be.
    pub(super) fn leave(&mut self, link: usize) {
        if let Some(link) = self.links.get_mut(link) {
            link.in_flight = link.in_flight.saturating_sub(1);
        }
    }
}
