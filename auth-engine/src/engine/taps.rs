//! 0100 and 0200: rules 2 to 4, then the book decides; what needs the partner waits for it.

use iso_codec::Message;
use ledger_core::book::{Book, TapDecision, approval_code};
use ledger_core::event::Event;
use ledger_core::event::tap::{Raw, RepeatKey, Reply, TapTaken};
use ledger_core::event::words::{Class, Reason};

use super::codes::{CodeContext, de39};
use super::intake::{self, Common};
use super::queue::LEAST_US;
use super::reply::Parts;
use super::{Decided, Effect, Engine, Now, Pending, Recipient, RepeatJob};
use crate::partner::Ask;

/// The network's share of a budget: an answer must leave this much before its end (contracts 3).
const NETWORK_SHARE_US: i64 = 200_000;

impl Engine {
    pub(super) fn handle_tap(
        &mut self,
        message: &Message,
        class: Class,
        common: &Common,
        recipient: Recipient,
        now: Now,
    ) {
        // 2: a repeat of a known request.
        let Some(recipient) = self.answer_repeat(message, common, recipient, now) else { return };
        // 3: the link is signed on, when its policy demands it. 4: the engine is able.
        if let Some(reason) = self.door(&recipient, now) {
            self.refuse(message, reason, &recipient);
            return;
        }
        let tap = intake::tap(message, class, common);
        // PATH 4: decide and apply.
        let decision = self.book.decide_tap(&tap, &self.policy, now.wall);
        match decision.reason {
            Some(reason) => self.take(message, common, decision, reason, tap.partial_supported, recipient, now),
            None => self.ask(message, common, decision, tap.partial_supported, recipient, now),
        }
    }

    /// Rules 3 and 4 of contracts 2.7.
    fn door(&mut self, recipient: &Recipient, now: Now) -> Option<Reason> {
        let link = self.links.get(recipient.link)?;
        let signed_on = self.book.links().get(usize::from(link.number)).is_some_and(|l| l.signed_on);
        if link.setup.require_sign_on && !signed_on {
            return Some(Reason::NotSignedOn);
        }
        if self.draining {
            return Some(Reason::Draining);
        }
        let left = recipient.deadline_us - now.mono_us;
        let stale = self.queue.refuses(left, link.setup.budget_us, now.mono_us);
        let full = link.in_flight >= link.setup.max_in_flight || self.book.repeat_count() >= self.policy.dedup_max;
        (full || stale).then_some(Reason::Overloaded)
    }

    /// A refusal of rules 3 and 4: answered at once, not journaled, not remembered.
    pub(super) fn refuse(&mut self, message: &Message, reason: Reason, recipient: &Recipient) {
        self.counters.shed.push(reason.public_word());
        let code = de39(reason, CodeContext::default());
        self.send_now(message, &Parts::code(code), recipient);
    }

    /// Records a decision that needs nobody else, and parks its answer.
    #[allow(clippy::too_many_arguments)] // what one tap is made of
    fn take(
        &mut self,
        message: &Message,
        common: &Common,
        decision: TapDecision,
        reason: Reason,
        partial_supported: bool,
        recipient: Recipient,
        now: Now,
    ) {
        let reply = tap_reply(&self.book, &decision, reason);
        self.count_decision(&decision, Some(&reply));
        let asked = decision.facts.amount;
        let no = self.record_tap(message, common, decision, Some(reply), partial_supported, recipient.link, now);
        self.park_one(message, &Parts::of(&reply, asked), recipient, Some(no));
    }

    #[allow(clippy::too_many_arguments)] // what one tap is made of
    fn record_tap(
        &mut self,
        message: &Message,
        common: &Common,
        decision: TapDecision,
        reply: Option<Reply>,
        partial_supported: bool,
        link: usize,
        now: Now,
    ) -> u64 {
        let no = decision.facts.no;
        let repeat = common.repeat;
        self.record_with_raw(now, link, message, |raw| tap_event(decision, repeat, raw, reply, partial_supported));
        self.progress.made = Some(no);
        no
    }

    // PATH 7: ask the partner; its answer comes back through 4 to 6.
    /// Holds, and puts the question on the wire while the hold becomes durable.
    fn ask(
        &mut self,
        message: &Message,
        common: &Common,
        decision: TapDecision,
        partial_supported: bool,
        recipient: Recipient,
        now: Now,
    ) {
        let Some(partner) = decision.partner else { return };
        let own = self.book.partner(partner).and_then(|p| p.decision_timeout_ms).map(|ms| i64::from(ms) * 1_000);
        let timeout = own.unwrap_or(self.settings.decision_timeout_us);
        let left = recipient.deadline_us - NETWORK_SHARE_US - now.mono_us;
        let deadline_us = now.mono_us + timeout.min(left);
        if left < LEAST_US || self.pending.len() >= self.settings.max_asks {
            self.refuse(message, Reason::Overloaded, &recipient);
            return;
        }
        let reachable = self.book.partner(partner).is_some_and(|p| p.decision_url.is_some());
        let admitted = reachable && self.circuits.entry(partner).or_default().admit(now.mono_us);
        if !admitted {
            let decision = unasked(decision);
            self.counters.partner.push((partner, "unreachable", 0));
            self.take(message, common, decision, Reason::PartnerUnreachable, partial_supported, recipient, now);
            return;
        }
        let id = self.book.next_id();
        let body = super::answers::ask_body(
            &self.book,
            message,
            &decision,
            id,
            partial_supported,
            now.wall,
            timeout.min(left),
        );
        let no = self.record_tap(message, common, decision, None, partial_supported, recipient.link, now);
        self.enter(&recipient);
        self.deadlines.push(std::cmp::Reverse((deadline_us, no)));
        let pending = Pending {
            no,
            message: message.clone(),
            recipients: vec![recipient],
            partner,
            asked_us: now.mono_us,
            deadline_us,
        };
        self.pending.insert(no, pending);
        self.effects.push(Effect::Ask(Ask {
            token: no,
            partner,
            webhook_id: id.text(ledger_core::id::Thing::Authorization),
            body: body.into(),
            // The thread around the engine knows what its monotonic clock counts from; it sets the real moment.
            deadline: crate::shard::clock::instant_at(deadline_us),
        }));
    }

    /// Rule 2. Gives the recipient back when the message is new.
    pub(super) fn answer_repeat(
        &mut self,
        message: &Message,
        common: &Common,
        recipient: Recipient,
        now: Now,
    ) -> Option<Recipient> {
        let Some(known) = self.book.repeat(&common.repeat.key) else { return Some(recipient) };
        if recipient.deadline_us <= now.mono_us {
            return None;
        }
        if known.content != common.repeat.content {
            let code = de39(Reason::ChangedRepeat, CodeContext::default());
            self.send_now(message, &Parts::code(code), &recipient);
            return None;
        }
        self.enter(&recipient);
        if known.flags.pending
            && let Some(pending) = self.pending.get_mut(&known.no)
        {
            pending.recipients.push(recipient);
            return None;
        }
        self.repeat_jobs.push(RepeatJob { recipient, seq: known.seq, key: common.repeat.key, flags: known.flags });
        None
    }

    pub(super) fn count_decision(&mut self, decision: &TapDecision, reply: Option<&Reply>) {
        let funding = decision.facts.card.and_then(|c| self.book.card(c)).map_or("none", |c| c.funding.word());
        self.counters.decisions.push(Decided {
            outcome: outcome_word(reply),
            reason: reply.map_or("none", |r| r.reason.public_word()),
            funding,
        });
    }
}

/// The answer to a tap that needs nobody else.
pub(super) fn tap_reply(book: &Book, decision: &TapDecision, reason: Reason) -> Reply {
    let context = CodeContext {
        kind: Some(decision.facts.kind),
        partner: decision.partner.and_then(|p| book.partner(p)),
        ..CodeContext::default()
    };
    let approved = reason == Reason::Approved;
    Reply {
        reason,
        response_code: de39(reason, context),
        approval_code: if approved { approval_code(decision.facts.no) } else { 0 },
        partial: None,
        balance: decision.balance,
    }
}

/// A decision whose partner cannot be asked holds nothing.
pub(super) fn unasked(decision: TapDecision) -> TapDecision {
    TapDecision { holds: [None, None], postings: Default::default(), ..decision }
}

/// What is journaled of a tap.
pub(super) fn tap_event(
    decision: TapDecision,
    repeat: RepeatKey,
    raw: Raw<'_>,
    reply: Option<Reply>,
    partial_supported: bool,
) -> Event<'_> {
    Event::TapTaken(TapTaken {
        facts: decision.facts,
        repeat,
        raw,
        reply,
        first: decision.holds[0],
        second: decision.holds[1],
        cleared: decision.cleared,
        postings: decision.postings,
        partial_supported,
    })
}

/// `approved`, `partial`, `declined` or `none`.
pub(super) fn outcome_word(reply: Option<&Reply>) -> &'static str {
    match reply {
        None => "none",
        Some(r) if r.reason != Reason::Approved => "declined",
        Some(r) if r.partial.is_some() => "partial",
        Some(_) => "approved",
    }
}
