//! Deciding again what the journal says was decided: the same code, on the book as it was just before, with the request
//! as it came and the partner's answer as it is journaled. What comes out is held against the journaled event and the
//! reply. Pure. It must never have a rule of its own: it calls the functions that the engine calls.
//!
//! What is not in the journal is taken from it: the lifetime of a hold from when the hold expires, that a partner could
//! not be asked from the answer that says so, how long a partner took from what was recorded.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iso_codec::{Message, Spec};
use ledger_core::book::{Book, PartnerVerdict, Policy};
use ledger_core::event::tap::{
    Advised, AnsweredTooLate, HoldExpired, Raw, Reply, ReplyLate, Reversed, Said, TapDecided, TapTaken,
};
use ledger_core::event::words::{PartnerOutcome, Reason};
use ledger_core::event::{Event, field};
use ledger_core::id::No;
use ledger_core::journal::Record;
use ledger_core::keys::{Keyring, Nonce};
use ledger_core::money::Money;
use ledger_core::time::Timestamp;

use super::codes::{CodeContext, de39};
use super::intake::{self, Common};
use super::reply::{self, Parts};
use super::{advices, answers, reversals, taps};
use crate::partner::{Decision, Outcome};

/// A rule of contracts 2.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its number; none when no rule of the ladder decided.
    pub number: Option<u8>,
    /// What it asks.
    pub asks: &'static str,
}

/// The rule behind a reason.
pub fn rule(reason: Reason) -> Rule {
    let (number, asks) = match reason {
        Reason::FormatError => (1, "well formed, mandatory elements present"),
        Reason::ChangedRepeat => (2, "repeat of a known request"),
        Reason::NotSignedOn => (3, "link signed on, when its policy demands it"),
        Reason::Overloaded | Reason::Draining => (4, "engine able"),
        Reason::AlreadyReversed => (5, "already reversed by an earlier reversal"),
        Reason::UnknownCard => (6, "card known"),
        Reason::CardFrozen | Reason::CardInactive | Reason::CardLost | Reason::CardStolen | Reason::CardClosed => {
            (7, "card state")
        }
        Reason::ExpiredCard => (8, "expiry"),
        Reason::PartnerSuspended | Reason::UserSuspended | Reason::KycNotApproved | Reason::ServiceNotEnabled => {
            (10, "partner and user active, KYC approved, service on")
        }
        Reason::UnsupportedType
        | Reason::InquiryNotPermitted
        | Reason::InvalidAmount
        | Reason::UnsupportedCurrency
        | Reason::RateMissing
        | Reason::FxLimit => (11, "type supported; amount and currency valid"),
        Reason::InsufficientFunds | Reason::PoolInsufficient | Reason::PoolSuspended => {
            (13, "funds: account available, or pool available and pool active")
        }
        Reason::PartnerDeclined | Reason::PartnerTimeout | Reason::PartnerUnreachable | Reason::PartnerBadResponse => {
            (14, "the partner's answer")
        }
        Reason::Approved => return Rule { number: None, asks: "no rule objects: approved" },
        Reason::Interrupted => {
            return Rule { number: None, asks: "the engine stopped while the partner was asked: decided at recovery" };
        }
        Reason::AnsweredLate => {
            return Rule { number: None, asks: "the reply could not reach the network in time" };
        }
        Reason::DeclinedElsewhere => return Rule { number: None, asks: "an advice told of a decline elsewhere" },
    };
    Rule { number: Some(number), asks }
}

/// A reply made twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies {
    /// What it answers: the event's own message or the tap that waited.
    pub to: &'static str,
    /// From the request and the variable parts in the journal, as for a repeat: the bytes that the engine sent.
    pub journaled: Bytes,
    /// From the request and what was decided anew.
    pub recomputed: Bytes,
}

/// What deciding again came to.
#[derive(Debug)]
pub struct Judged<'e> {
    /// The event as it would be written now; none for one that decides nothing.
    pub event: Option<Event<'e>>,
    /// The reason that was decided anew.
    pub reason: Option<Reason>,
    /// The replies that this event let go.
    pub replies: Vec<Replies>,
    /// What had to be taken from the journal because nothing else knows it.
    pub taken: Vec<&'static str>,
}

impl Judged<'_> {
    /// True when the event comes out to the byte as it is journaled, and every reply too.
    pub fn equal(&self, journaled: &Event<'_>) -> bool {
        let bytes = |event: &Event<'_>| {
            let mut out = Vec::new();
            event.encode(&mut out);
            out
        };
        let event = self.event.as_ref().is_none_or(|event| bytes(event) == bytes(journaled));
        event && self.replies.iter().all(|reply| reply.journaled == reply.recomputed)
    }
}

/// Decides the events of one authorization again, in their order.
pub struct Rejudge<'a> {
    no: No,
    keyring: &'a Keyring,
    specs: &'a dyn Fn(&str) -> Option<Arc<Spec>>,
    policy: Policy,
    /// The tap that made it, once its event was seen.
    request: Option<Message>,
}

impl<'a> Rejudge<'a> {
    /// For the authorization with this number. Of the policy only the limits of positions count.
    pub fn new(no: No, keyring: &'a Keyring, specs: &'a dyn Fn(&str) -> Option<Arc<Spec>>, policy: Policy) -> Self {
        Self { no, keyring, specs, policy, request: None }
    }

    /// The message sealed in an event.
    ///
    /// # Errors
    /// A sentence that says why it does not open or read.
    pub fn message(&self, book: &Book, record: &Record<'_>, raw: &Raw<'_>) -> Result<Message, String> {
        let nonce = Nonce { epoch: record.epoch, seq: record.seq, field: field::REQUEST };
        let frame = self.keyring.open(nonce, &raw.sealed).map_err(|e| format!("event {}: {e}", record.seq))?;
        let link = book.links().get(usize::from(raw.link));
        let link = link.ok_or_else(|| format!("event {}: link {} is unknown", record.seq, raw.link))?;
        let spec = (self.specs)(&link.spec);
        let spec = spec.ok_or_else(|| format!("event {}: the message spec {:?} is gone", record.seq, link.spec))?;
        iso_codec::decode(&spec, Bytes::from(frame)).map_err(|e| format!("event {}: {e}", record.seq))
    }

    /// Decides an event again; `book` is folded up to the event before it.
    ///
    /// # Errors
    /// A sentence that says what of the journal cannot be read.
    pub fn judge<'e>(&mut self, book: &Book, record: &Record<'_>, event: &'e Event<'_>) -> Result<Judged<'e>, String> {
        let at = Timestamp(record.at);
        match event {
            Event::TapTaken(e) => self.tap(book, record, at, e),
            Event::TapDecided(e) => self.decided(book, e),
            Event::AnsweredTooLate(e) => Ok(self.too_late(book, e)),
            Event::Advised(e) => self.advised(book, record, at, e),
            Event::Reversed(e) => self.reversed(book, record, e),
            Event::HoldExpired(e) => self.expired(book, e),
            Event::ReplyLate(e) => self.reply_late(book, e),
            _ => Ok(nothing()),
        }
    }

    fn common(&self, message: &Message, seq: u64) -> Result<Common, String> {
        intake::common(message, self.keyring)
            .map_err(|missing| format!("event {seq}: the request lacks DE{}", missing.0))
    }

    /// The configured lifetimes of that time stand in the event alone.
    fn policy(&self, at: Timestamp, expires_at: Timestamp) -> Policy {
        let lifetime = expires_at.since(at);
        let (hold_lifetime_us, preauthorization_lifetime_us) = (lifetime, lifetime);
        Policy { hold_lifetime_us, preauthorization_lifetime_us, ..self.policy.clone() }
    }

    fn tap<'e>(
        &mut self,
        book: &Book,
        record: &Record<'_>,
        at: Timestamp,
        e: &'e TapTaken<'_>,
    ) -> Result<Judged<'e>, String> {
        let message = self.message(book, record, &e.raw)?;
        let common = self.common(&message, record.seq)?;
        let request = intake::tap(&message, e.facts.class, &common);
        let mut taken = vec!["the lifetime of the hold"];
        let mut decision = book.decide_tap(&request, &self.policy(at, e.facts.expires_at), at);
        let mut reason = decision.reason;
        if reason.is_none() && e.reply.is_some_and(|reply| reply.reason == Reason::PartnerUnreachable) {
            let named = decision.partner.and_then(|p| book.partner(p)).is_some_and(|p| p.decision_url.is_some());
            if named {
                taken.push("that the circuit to the partner was open");
            }
            decision = taps::unasked(decision);
            reason = Some(Reason::PartnerUnreachable);
        }
        let reply = reason.map(|reason| taps::tap_reply(book, &decision, reason));
        let mut replies = Vec::new();
        if let (Some(then), Some(now)) = (&e.reply, &reply) {
            let (then, now) = (Parts::of(then, e.facts.amount), Parts::of(now, decision.facts.amount));
            replies.push(made_twice("the tap", &message, &then, &now)?);
        }
        self.request = Some(message);
        let event = taps::tap_event(decision, common.repeat, borrowed(&e.raw), reply, request.partial_supported);
        Ok(Judged { event: Some(event), reason, replies, taken })
    }

    fn decided<'e>(&self, book: &Book, e: &'e TapDecided<'_>) -> Result<Judged<'e>, String> {
        let a = book.authorization(e.no).ok_or("the book knows no such tap to decide")?;
        let said = e.said.as_ref();
        let outcome = said.and_then(answer_in);
        let verdict = match (&outcome, said.map(|said| said.outcome)) {
            (Some(outcome), _) => answers::verdict(outcome),
            (None, Some(PartnerOutcome::Timeout) | None) => PartnerVerdict::Timeout,
            (None, Some(PartnerOutcome::Unreachable)) => PartnerVerdict::Unreachable,
            (None, Some(PartnerOutcome::BadResponse)) => PartnerVerdict::BadResponse,
            (None, Some(PartnerOutcome::Interrupted)) => PartnerVerdict::Interrupted,
            (None, Some(PartnerOutcome::Decline)) => PartnerVerdict::Decline,
            (None, Some(PartnerOutcome::Approve)) => PartnerVerdict::Approve { amount: None, source: None },
        };
        let mut taken = vec!["what came of the ask, and how long it took"];
        if matches!(&outcome, Some(Outcome::Decision(_))) {
            taken = vec!["the partner's answer, byte for byte, and how long it took"];
        }
        let decision = book.decide_answer(e.no, verdict).ok_or("the tap was decided before")?;
        let partner = a.facts.card.and_then(|c| book.card(c)).and_then(|c| book.user(c.user));
        let partner = partner.and_then(|user| book.partner(user.partner));
        let (partner_reason, dropped) = match &outcome {
            Some(Outcome::Decision(d)) => (d.reason.clone(), d.metadata_dropped),
            _ => (None, said.is_some_and(|said| said.metadata_dropped)),
        };
        let interrupted = decision.reason == Reason::Interrupted;
        let reply = if interrupted {
            // Recovery decides without the partner's codes; see `recovery.rs`.
            let response_code = de39(Reason::Interrupted, CodeContext::default());
            Reply { reason: Reason::Interrupted, response_code, approval_code: 0, partial: None, balance: None }
        } else {
            answers::answer_reply(&decision, e.no, a.facts.kind, partner_reason.as_deref(), partner)
        };
        let mut replies = Vec::new();
        if let Some(request) = self.request.as_ref().filter(|_| e.no == self.no) {
            let to = if interrupted { "a repeat of the tap (nobody was left to answer)" } else { "the tap" };
            let (then, now) = (Parts::of(&e.reply, a.facts.amount), Parts::of(&reply, a.facts.amount));
            replies.push(made_twice(to, request, &then, &now)?);
        }
        let said = said.map(|then| Said {
            outcome: decision.outcome,
            reason: match &outcome {
                Some(Outcome::Decision(_)) => partner_reason.map(Cow::Owned),
                _ => then.reason.as_deref().map(Cow::Borrowed),
            },
            latency_us: then.latency_us,
            late_by_us: None,
            body: Cow::Borrowed(&then.body),
            metadata_dropped: dropped,
        });
        let reason = Some(decision.reason);
        let (changes, postings) = (decision.changes, decision.postings);
        let event = Event::TapDecided(TapDecided { no: e.no, previous: a.last_seq, reply, said, changes, postings });
        Ok(Judged { event: Some(event), reason, replies, taken })
    }

    /// A late answer decides nothing: it must leave the book as it is.
    fn too_late<'e>(&self, book: &Book, e: &'e AnsweredTooLate<'_>) -> Judged<'e> {
        let Some(a) = book.authorization(e.no) else { return nothing() };
        let said = Said {
            outcome: e.said.outcome,
            reason: e.said.reason.as_deref().map(Cow::Borrowed),
            latency_us: e.said.latency_us,
            late_by_us: e.said.late_by_us,
            body: Cow::Borrowed(&e.said.body),
            metadata_dropped: e.said.metadata_dropped,
        };
        let event = Event::AnsweredTooLate(AnsweredTooLate { no: e.no, previous: a.last_seq, said });
        let taken = vec!["the partner's answer, byte for byte, and how late it was"];
        Judged { event: Some(event), reason: None, replies: Vec::new(), taken }
    }

    fn advised<'e>(
        &mut self,
        book: &Book,
        record: &Record<'_>,
        at: Timestamp,
        e: &'e Advised<'_>,
    ) -> Result<Judged<'e>, String> {
        let message = self.message(book, record, &e.raw)?;
        let common = self.common(&message, record.seq)?;
        let (request, code) = intake::advice(&message, e.facts.class, &common);
        let decision = book.decide_advice(&request, &self.policy(at, e.facts.expires_at), at);
        let reply = advices::advice_reply(&message, decision.reason);
        // DE38 of the answer is the advice's own, copied from the request.
        let parts = |reply: &Reply| Parts { approval_code: 0, ..Parts::code(reply.response_code) };
        let mut replies = vec![made_twice("the advice", &message, &parts(&e.reply), &parts(&reply))?];
        let waiting = self.request.as_ref().filter(|_| decision.was_pending && decision.target == Some(self.no));
        if let Some(tap) = waiting {
            let code = ledger_core::book::approval_code(self.no);
            let parts = Parts { approval_code: code, ..Parts::code(*b"00") };
            replies.push(made_twice("the tap that waited", tap, &parts, &parts)?);
        }
        if e.target.is_none() {
            self.request = Some(message);
        }
        let previous = decision.target.and_then(|t| book.authorization(t)).map_or(0, |a| a.last_seq);
        let reason = Some(decision.reason);
        let event = advices::advice_event(decision, common.repeat, borrowed(&e.raw), reply, previous, code);
        Ok(Judged { event: Some(event), reason, replies, taken: vec!["the lifetime of the hold"] })
    }

    fn reversed<'e>(&self, book: &Book, record: &Record<'_>, e: &'e Reversed<'_>) -> Result<Judged<'e>, String> {
        let message = self.message(book, record, &e.raw)?;
        let common = self.common(&message, record.seq)?;
        let decision = book.decide_reversal(&intake::reversal(&message, &common));
        let (then, now) = (Parts::code(e.reply.response_code), Parts::code(*b"00"));
        let mut replies = vec![made_twice("the reversal", &message, &then, &now)?];
        let own = decision.was_pending && decision.target == Some(self.no);
        let waiting = own || decision.pending_increments.contains(&self.no);
        if let Some(tap) = self.request.as_ref().filter(|_| waiting) {
            let parts = Parts::code(de39(Reason::AlreadyReversed, CodeContext::default()));
            replies.push(made_twice("the tap that waited", tap, &parts, &parts)?);
        }
        let previous = decision.target.and_then(|t| book.authorization(t)).map_or(0, |a| a.last_seq);
        let event = reversals::reversal_event(decision, book.next_id().no, common.repeat, borrowed(&e.raw), previous);
        let reason = waiting.then_some(Reason::AlreadyReversed);
        Ok(Judged { event: Some(event), reason, replies, taken: Vec::new() })
    }

    fn expired<'e>(&self, book: &Book, e: &'e HoldExpired) -> Result<Judged<'e>, String> {
        let held = book.authorization(e.no).zip(book.decide_expiry(e.no));
        let (a, movement) = held.ok_or("nothing is open that could expire")?;
        let (changes, postings) = (movement.changes, movement.postings);
        let event = Event::HoldExpired(HoldExpired { no: e.no, previous: a.last_seq, changes, postings });
        let taken = vec!["when the timer was looked at"];
        Ok(Judged { event: Some(event), reason: None, replies: Vec::new(), taken })
    }

    fn reply_late<'e>(&self, book: &Book, e: &'e ReplyLate<'_>) -> Result<Judged<'e>, String> {
        let held = book.authorization(e.no).zip(book.decide_reply_late(e.no));
        let (a, movement) = held.ok_or("nothing is left that a late reply could free")?;
        let mut replies = Vec::new();
        let waiting = a.state == ledger_core::event::words::State::Pending && e.no == self.no;
        if let Some(tap) = self.request.as_ref().filter(|_| waiting) {
            let parts = Parts::code(de39(Reason::AnsweredLate, CodeContext::default()));
            replies.push(made_twice("the tap that waited", tap, &parts, &parts)?);
        }
        let event = Event::ReplyLate(ReplyLate {
            no: e.no,
            previous: a.last_seq,
            changes: movement.changes,
            postings: movement.postings,
            raw: e.raw.as_ref().map(borrowed),
            repeat: a.repeat,
        });
        let taken = vec!["that the reply did not reach the network"];
        Ok(Judged { event: Some(event), reason: Some(Reason::AnsweredLate), replies, taken })
    }
}

/// An event that decides nothing.
fn nothing<'e>() -> Judged<'e> {
    Judged { event: None, reason: None, replies: Vec::new(), taken: Vec::new() }
}

fn borrowed<'e>(raw: &'e Raw<'_>) -> Raw<'e> {
    Raw { link: raw.link, sealed: Cow::Borrowed(&raw.sealed) }
}

/// The decision in a partner's journaled answer; none when there is no answer.
fn answer_in(said: &Said<'_>) -> Option<Outcome> {
    if said.body.is_empty() {
        return None;
    }
    Some(match Decision::parse(Bytes::copy_from_slice(&said.body)) {
        Ok(decision) => Outcome::Decision(decision),
        Err(bad) => Outcome::Bad(bad),
    })
}

/// What a partner's journaled answer approved: so much of `asked`. None when it approved nothing.
pub fn approved_by(said: &Said<'_>, asked: Money) -> Option<i64> {
    if said.outcome != PartnerOutcome::Approve {
        return None;
    }
    match answer_in(said) {
        Some(Outcome::Decision(d)) => match d.amount.as_deref() {
            Some(text) => asked.currency.parse(text),
            None => Some(asked.minor),
        },
        _ => Some(asked.minor),
    }
}

fn made_twice(to: &'static str, request: &Message, then: &Parts, now: &Parts) -> Result<Replies, String> {
    let make = |parts: &Parts| {
        let mut out = BytesMut::with_capacity(512);
        reply::write(request, parts, &mut out).map_err(|e| format!("the reply to {to} cannot be made: {e}"))?;
        Ok::<_, String>(out.freeze())
    };
    Ok(Replies { to, journaled: make(then)?, recomputed: make(now)? })
}
