//! 0400 and 0420, and 0190: what gives money back on the network's word.

use iso_codec::Message;
use ledger_core::book::ReversalDecision;
use ledger_core::event::Event;
use ledger_core::event::tap::{Raw, Recorded, RepeatKey, Reply, ReplyLate, Reversed};
use ledger_core::event::words::{Class, Reason};
use ledger_core::id::No;

use super::codes::{CodeContext, de39};
use super::intake::{self, Common};
use super::reply::Parts;
use super::{Decided, Engine, Now, Overdue, Recipient};

impl Engine {
    pub(super) fn handle_reversal(&mut self, message: &Message, common: &Common, recipient: Recipient, now: Now) {
        let Some(recipient) = self.answer_repeat(message, common, recipient, now) else { return };
        if self.sheds_last(&recipient) {
            self.shed_last(message, &recipient);
            return;
        }
        let request = intake::reversal(message, common);
        let mut decision = self.book.decide_reversal(&request);
        let no = self.book.next_id().no;
        let previous = decision.target.and_then(|t| self.book.authorization(t)).map_or(0, |a| a.last_seq);
        let pending = decision.target.filter(|_| decision.was_pending);
        let increments = std::mem::take(&mut decision.pending_increments);
        self.record_with_raw(now, recipient.link, message, |raw| {
            reversal_event(decision, no, common.repeat, raw, previous)
        });
        self.park_one(message, &Parts::code(*b"00"), recipient, None);
        for no in pending.into_iter().chain(increments) {
            self.answer_reversed(no, now);
        }
    }

    /// A tap was reversed while its partner was asked: everyone who waits for it gets 05, the partner's answer is late.
    fn answer_reversed(&mut self, no: u64, now: Now) {
        let Some(pending) = self.pending.remove(&no) else { return };
        self.wait_for_late(no, Overdue { deadline_us: now.mono_us, asked_us: pending.asked_us });
        let card = self.book.authorization(no).and_then(|a| a.facts.card).and_then(|c| self.book.card(c));
        let funding = card.map_or("none", |c| c.funding.word());
        let reason = Reason::AlreadyReversed;
        self.counters.decisions.push(Decided { outcome: "declined", reason: reason.public_word(), funding });
        self.park_all(pending, &Parts::code(de39(reason, CodeContext::default())), None);
    }

    /// 0190: our answer came too late for the network.
    pub(super) fn handle_not_received(&mut self, message: &Message, recipient: Recipient, now: Now) {
        let tap = intake::common(message, &self.keyring).ok().and_then(|common| {
            let card = self.book.card_by_fingerprint(&common.fingerprint)?;
            self.book.find_tap(Class::Authorization, card, &common.trace)
        });
        let movement = tap.and_then(|no| self.book.decide_reply_late(no).map(|m| (no, m)));
        let Some((no, movement)) = movement else {
            self.record_with_raw(now, recipient.link, message, |raw| Event::Recorded(Recorded { mti: 0x0190, raw }));
            return;
        };
        let Some((previous, repeat)) = self.book.authorization(no).map(|a| (a.last_seq, a.repeat)) else { return };
        let pending = self.pending.remove(&no);
        self.record_with_raw(now, recipient.link, message, |raw| {
            Event::ReplyLate(ReplyLate {
                no,
                previous,
                changes: movement.changes,
                postings: movement.postings,
                raw: Some(raw),
                repeat,
            })
        });
        if let Some(pending) = pending {
            self.wait_for_late(no, Overdue { deadline_us: now.mono_us, asked_us: pending.asked_us });
            self.park_all(pending, &Parts::code(de39(Reason::AnsweredLate, CodeContext::default())), None);
        }
    }
}

/// What is journaled of a reversal. `previous` is the sequence of its target's last event.
pub(super) fn reversal_event(
    decision: ReversalDecision,
    no: No,
    repeat: RepeatKey,
    raw: Raw<'_>,
    previous: u64,
) -> Event<'_> {
    let reply =
        Reply { reason: Reason::Approved, response_code: *b"00", approval_code: 0, partial: None, balance: None };
    Event::Reversed(Reversed {
        no,
        repeat,
        raw,
        reply,
        target: decision.target,
        previous,
        changes: decision.movement.changes,
        postings: decision.movement.postings,
        unmatched: decision.unmatched,
    })
}
