//! 0120 and 0220: rules 2 and 4's last resort, then the book books or records them.

use iso_codec::Message;
use ledger_core::book::{AdviceDecision, approval_code};
use ledger_core::event::Event;
use ledger_core::event::tap::{Advised, Raw, RepeatKey, Reply};
use ledger_core::event::words::{Class, Reason};

use super::codes::advice_de39;
use super::intake::{self, Common};
use super::reply::Parts;
use super::{Decided, Engine, Now, Overdue, Recipient};

impl Engine {
    pub(super) fn handle_advice(
        &mut self,
        message: &Message,
        class: Class,
        common: &Common,
        recipient: Recipient,
        now: Now,
    ) {
        let Some(recipient) = self.answer_repeat(message, common, recipient, now) else { return };
        if self.sheds_last(&recipient) {
            self.shed_last(message, &recipient);
            return;
        }
        let (request, advised_code) = intake::advice(message, class, common);
        let decision = self.book.decide_advice(&request, &self.policy, now.wall);
        let reply = advice_reply(message, decision.reason);
        let (no, target) = (decision.facts.no, decision.target);
        let was_pending = decision.was_pending;
        let previous = target.and_then(|t| self.book.authorization(t)).map_or(0, |a| a.last_seq);
        let outcome = if decision.reason == Reason::Approved { "approved" } else { "declined" };
        let funding = decision.facts.card.and_then(|c| self.book.card(c)).map_or("none", |c| c.funding.word());
        self.counters.decisions.push(Decided { outcome, reason: decision.reason.public_word(), funding });
        self.record_with_raw(now, recipient.link, message, |raw| {
            advice_event(decision, common.repeat, raw, reply, previous, advised_code)
        });
        // An advice on a known authorization makes none; that one's trace is its tap's.
        self.progress.made = self.book.authorization(no).map(|a| a.id.no);
        self.park_one(message, &Parts { approval_code: 0, ..Parts::code(reply.response_code) }, recipient, None);
        // The network decided a tap that we were still asking about: it is approved, and the partner's answer is late.
        if let Some(no) = target
            && was_pending
            && let Some(pending) = self.pending.remove(&no)
        {
            self.wait_for_late(no, Overdue { deadline_us: now.mono_us, asked_us: pending.asked_us });
            self.park_all(pending, &Parts { approval_code: approval_code(no), ..Parts::code(*b"00") }, None);
        }
    }

    /// Advices and reversals are shed last: only when twice the bound is in flight or the repeat table is full.
    pub(super) fn sheds_last(&self, recipient: &Recipient) -> bool {
        let Some(link) = self.links.get(recipient.link) else { return true };
        link.in_flight >= link.setup.max_in_flight.saturating_mul(2)
            || self.book.repeat_count() >= self.policy.dedup_max
    }

    pub(super) fn shed_last(&mut self, message: &Message, recipient: &Recipient) {
        self.counters.shed.push(Reason::Overloaded.public_word());
        self.send_now(message, &Parts::code(*b"96"), recipient);
    }
}

/// The answer to an advice, and under which code it was approved.
pub(super) fn advice_reply(message: &Message, reason: Reason) -> Reply {
    Reply {
        reason,
        response_code: advice_de39(reason),
        approval_code: intake::sent_approval_code(message),
        partial: None,
        balance: None,
    }
}

/// What is journaled of an advice. `previous` is the sequence of its target's last event.
pub(super) fn advice_event(
    decision: AdviceDecision,
    repeat: RepeatKey,
    raw: Raw<'_>,
    reply: Reply,
    previous: u64,
    advised_code: [u8; 2],
) -> Event<'_> {
    Event::Advised(Advised {
        facts: decision.facts,
        repeat,
        raw,
        reply,
        target: decision.target,
        previous,
        hold: decision.hold,
        state: decision.state,
        cleared: decision.cleared,
        changes: decision.changes,
        postings: decision.postings,
        advised_code,
    })
}
