//! Partners' answers: whichever of answer and deadline is handled first decides, the other is recorded.

use std::borrow::Cow;

use iso_codec::Message;
use ledger_core::book::{AnswerDecision, Book, Partner, PartnerVerdict, TapDecision, approval_code};
use ledger_core::event::Event;
use ledger_core::event::tap::{AnsweredTooLate, Reply, Said, Source, TapDecided};
use ledger_core::event::words::{Kind, PartnerOutcome, Reason};
use ledger_core::id::{Id, No, Thing};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;
use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::codes::{CodeContext, de39};
use super::reply::Parts;
use super::taps::outcome_word;
use super::{Decided, Engine, Now, Overdue, Stamp};
use crate::partner::{AskAccount, AskBody, AskData, AskMerchant, AskMoney, AskNetwork, AskPool, AskPos, write};
use crate::partner::{Bad, Outcome, Unreachable};
use crate::view::request::describe_request;

/// Asks decided without their answer whose answer is still waited for.
const MAX_OVERDUE: usize = 100_000;

/// A partner's answer on the shard's clock.
#[derive(Debug)]
pub struct PartnerAnswer {
    /// The authorization asked about.
    pub no: No,
    /// Who was asked.
    pub partner: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was known, monotonic.
    pub answered_us: i64,
}

impl Engine {
    /// An answer came, in time or late.
    pub fn handle_answer(&mut self, answer: PartnerAnswer, now: Now) {
        let circuit = self.circuits.entry(answer.partner).or_default();
        match &answer.outcome {
            Outcome::Decision(_) | Outcome::Bad(_) => circuit.answered(),
            Outcome::Unreachable(_) => circuit.unreachable(now.mono_us),
            Outcome::NotSent | Outcome::Silent => {}
        }
        let Some(pending) = self.pending.get(&answer.no) else {
            self.record_late_answer(&answer, now);
            return;
        };
        let latency_us = answer.answered_us.saturating_sub(pending.asked_us);
        self.resolve(answer.no, verdict(&answer.outcome), Some(&answer.outcome), latency_us, now);
    }

    /// The deadline of an ask passed.
    pub(super) fn handle_deadline(&mut self, no: No, now: Now) {
        let Some(pending) = self.pending.get(&no) else { return };
        let overdue = Overdue { deadline_us: pending.deadline_us, asked_us: pending.asked_us };
        let latency_us = now.mono_us.saturating_sub(pending.asked_us);
        self.wait_for_late(no, overdue);
        self.resolve(no, PartnerVerdict::Timeout, None, latency_us, now);
    }

    pub(super) fn wait_for_late(&mut self, no: No, overdue: Overdue) {
        // What was answered meanwhile leaves the queue, and then the oldest when there are too many.
        while let Some(oldest) = self.overdue_order.front() {
            if self.overdue.contains_key(oldest) && self.overdue.len() < MAX_OVERDUE {
                break;
            }
            self.overdue.remove(oldest);
            self.overdue_order.pop_front();
        }
        self.overdue.insert(no, overdue);
        self.overdue_order.push_back(no);
    }

    /// Decides a pending tap and parks its answer.
    fn resolve(&mut self, no: No, verdict: PartnerVerdict<'_>, outcome: Option<&Outcome>, latency_us: i64, now: Now) {
        let Some(decision) = self.book.decide_answer(no, verdict) else {
            tracing::error!(no, "an ask is open for a tap that is decided");
            self.pending.remove(&no);
            return;
        };
        let Some(pending) = self.pending.remove(&no) else { return };
        let said_reason = outcome.and_then(said_reason);
        let (kind, asked, previous, funding) = match self.book.authorization(no) {
            Some(a) => (
                a.facts.kind,
                a.facts.amount,
                a.last_seq,
                a.facts.card.and_then(|c| self.book.card(c)).map_or("none", |c| c.funding.word()),
            ),
            None => return,
        };
        let partner_reason = match outcome {
            Some(Outcome::Decision(d)) => d.reason.as_deref(),
            _ => None,
        };
        let reply = answer_reply(&decision, no, kind, partner_reason, self.book.partner(pending.partner));
        let said = Said {
            outcome: decision.outcome,
            reason: said_reason,
            latency_us: u64::try_from(latency_us).unwrap_or(0),
            late_by_us: None,
            body: body(outcome),
            metadata_dropped: matches!(outcome, Some(Outcome::Decision(d)) if d.metadata_dropped),
        };
        self.counters.partner.push((pending.partner, decision.outcome.word(), latency_us));
        self.counters.decisions.push(Decided {
            outcome: outcome_word(Some(&reply)),
            reason: reply.reason.public_word(),
            funding,
        });
        self.record(
            now,
            &Event::TapDecided(TapDecided {
                no,
                previous,
                reply,
                said: Some(said),
                changes: decision.changes,
                postings: decision.postings,
            }),
        );
        self.park_all(pending, &Parts::of(&reply, asked), Some(no));
    }

    /// Encodes one answer for everyone who waits for a tap. They entered when they came.
    pub(super) fn park_all(&mut self, pending: super::Pending, parts: &Parts, tap: Option<No>) {
        self.progress.concluded.push(pending.no);
        match self.encode(&pending.message, parts) {
            Some(range) => {
                let stamp = Some(Stamp { no: pending.no, tap: true });
                self.park(SmallVec::from_vec(pending.recipients), range, tap, stamp);
            }
            None => pending.recipients.iter().for_each(|r| self.leave(r.link)),
        }
    }

    /// Kept with what it said and how late it was; moves nothing.
    fn record_late_answer(&mut self, answer: &PartnerAnswer, now: Now) {
        let Some(overdue) = self.overdue.remove(&answer.no) else { return };
        let outcome = match &answer.outcome {
            Outcome::Decision(d) if d.approve => PartnerOutcome::Approve,
            Outcome::Decision(_) => PartnerOutcome::Decline,
            Outcome::Bad(_) => PartnerOutcome::BadResponse,
            Outcome::Unreachable(_) => PartnerOutcome::Unreachable,
            Outcome::NotSent | Outcome::Silent => return,
        };
        let Some(previous) = self.book.authorization(answer.no).map(|a| a.last_seq) else { return };
        let late = answer.answered_us.saturating_sub(overdue.deadline_us).max(0);
        self.counters.partner.push((answer.partner, "late", answer.answered_us.saturating_sub(overdue.asked_us)));
        let said = Said {
            outcome,
            reason: said_reason(&answer.outcome),
            latency_us: u64::try_from(answer.answered_us.saturating_sub(overdue.asked_us)).unwrap_or(0),
            late_by_us: Some(u64::try_from(late).unwrap_or(0)),
            body: body(Some(&answer.outcome)),
            metadata_dropped: matches!(&answer.outcome, Outcome::Decision(d) if d.metadata_dropped),
        };
        self.record(now, &Event::AnsweredTooLate(AnsweredTooLate { no: answer.no, previous, said }));
    }
}

/// What an answer is to the tap.
pub(super) fn verdict(outcome: &Outcome) -> PartnerVerdict<'_> {
    match outcome {
        Outcome::Decision(d) if d.approve => {
            PartnerVerdict::Approve { amount: d.amount.as_deref(), source: d.source.as_deref() }
        }
        Outcome::Decision(_) => PartnerVerdict::Decline,
        Outcome::Unreachable(_) => PartnerVerdict::Unreachable,
        Outcome::Bad(_) => PartnerVerdict::BadResponse,
        // No connection came free in time: to the tap that is a partner that did not answer.
        Outcome::NotSent | Outcome::Silent => PartnerVerdict::Timeout,
    }
}

/// The answer to a tap that its partner was asked about.
pub(super) fn answer_reply(
    decision: &AnswerDecision,
    no: No,
    kind: Kind,
    partner_reason: Option<&str>,
    partner: Option<&Partner>,
) -> Reply {
    let context = CodeContext { partner_reason, partner, partial: decision.partial.is_some(), kind: Some(kind) };
    Reply {
        reason: decision.reason,
        response_code: de39(decision.reason, context),
        approval_code: if decision.reason == Reason::Approved { approval_code(no) } else { 0 },
        partial: decision.partial,
        balance: decision.balance,
    }
}

fn body(outcome: Option<&Outcome>) -> Cow<'_, [u8]> {
    match outcome {
        Some(Outcome::Decision(d)) => Cow::Borrowed(&d.raw),
        _ => Cow::Borrowed(&[]),
    }
}

/// The reason of a decline, or the word of the fault.
fn said_reason(outcome: &Outcome) -> Option<Cow<'_, str>> {
    match outcome {
        Outcome::Decision(d) => d.reason.as_deref().map(Cow::Borrowed),
        Outcome::Unreachable(kind) => Some(Cow::Borrowed(match kind {
            Unreachable::NoUrl => "no_url",
            Unreachable::Refused => "refused",
            Unreachable::ConnectTimeout => "connect_timeout",
            Unreachable::Reset => "reset",
            Unreachable::Tls => "tls",
            Unreachable::Dns => "dns",
            Unreachable::AddressForbidden => "address_forbidden",
            Unreachable::CircuitOpen => "circuit_open",
        })),
        Outcome::Bad(kind) => Some(match kind {
            Bad::Status(status) => Cow::Owned(format!("status_{status}")),
            Bad::Redirect => Cow::Borrowed("redirect"),
            Bad::NotHttp => Cow::Borrowed("not_http"),
            Bad::TooLarge => Cow::Borrowed("too_large"),
            Bad::NotJson => Cow::Borrowed("not_json"),
            Bad::UnknownDecision => Cow::Borrowed("unknown_decision"),
            Bad::Amount => Cow::Borrowed("amount"),
            Bad::AmountTooLarge => Cow::Borrowed("amount_too_large"),
            Bad::AmountZero => Cow::Borrowed("amount_zero"),
            Bad::PartialUnsupported => Cow::Borrowed("partial_unsupported"),
            Bad::Source => Cow::Borrowed("source"),
        }),
        Outcome::NotSent => Some(Cow::Borrowed("no_free_connection")),
        Outcome::Silent => None,
    }
}

/// The JSON body of the ask (contracts 3).
pub(super) fn ask_body(
    book: &Book,
    message: &Message,
    decision: &TapDecision,
    id: Id,
    partial_supported: bool,
    now: Timestamp,
    timeout_us: i64,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_536);
    let facts = &decision.facts;
    let Some(card) = facts.card.and_then(|c| book.card(c)) else { return out };
    let Some(user) = book.user(card.user) else { return out };
    let Some(partner) = book.partner(user.partner) else { return out };
    let currency = facts.currency.unwrap_or(Currency::EUR);
    let merchant_currency = Currency::from_numeric(facts.merchant_currency).unwrap_or(currency);
    let (merchant, pos, network) = describe_request(message, now);
    let text = id.text(Thing::Authorization);
    let mut pool = None;
    let mut account = None;
    for hold in decision.holds.iter().flatten() {
        let Some((own, balance)) = book.source(hold.source) else { continue };
        let amount = own.format(hold.amount.minor);
        let after = own.format(balance.available.saturating_sub(hold.amount.minor));
        match hold.source {
            Source::Pool(i) => pool = book.pool(i).map(|p| (p.id.text(Thing::Pool), own.code(), amount, after)),
            Source::Account(i) => {
                account = book.account(i).map(|a| (a.id.text(Thing::Account), own.code(), amount, after))
            }
        }
    }
    let sources: SmallVec<[&str; 2]> = decision.holds.iter().flatten().map(|h| h.source.word()).collect();
    let rate = conversion_rate(message);
    let body = AskBody {
        kind: AskBody::TYPE,
        id: &text,
        created_at: &now.rfc3339(),
        deadline_at: &now.plus_us(timeout_us).rfc3339(),
        timeout_ms: u64::try_from(timeout_us / 1_000).unwrap_or(0),
        data: AskData {
            authorization_id: &text,
            kind: facts.kind.word(),
            partner_id: &partner.id.text(Thing::Partner),
            user_id: &user.id.text(Thing::User),
            user_external_id: &user.external_id,
            card_id: &card.id.text(Thing::Card),
            card_last4: &format!("{:04}", card.last4),
            amount: AskMoney { value: &currency.format(facts.amount), currency: currency.code() },
            merchant_amount: AskMoney {
                value: &merchant_currency.format(facts.merchant_amount),
                currency: merchant_currency.code(),
            },
            conversion_rate: rate.as_deref(),
            sources: &sources,
            pool: pool.as_ref().map(|(id, currency, amount, after)| AskPool {
                id,
                currency,
                amount,
                available_after: after,
            }),
            account: account.as_ref().map(|(id, currency, amount, after)| AskAccount {
                id,
                currency,
                amount,
                available_after: after,
            }),
            merchant: AskMerchant {
                id: merchant.id.as_deref(),
                name: merchant.name.as_deref(),
                city: merchant.city.as_deref(),
                country: merchant.country.as_deref(),
                mcc: merchant.mcc.as_deref(),
                terminal_id: merchant.terminal_id.as_deref(),
                acquirer_id: merchant.acquirer_id.as_deref(),
            },
            pos: AskPos {
                entry_mode: pos.entry_mode.as_deref(),
                pin_entered: pos.pin_entered,
                card_present: pos.card_present,
                cardholder_present: pos.cardholder_present,
                partial_approval_supported: partial_supported,
            },
            network: AskNetwork {
                name: &network.name,
                stan: network.stan.as_deref().unwrap_or_default(),
                retrieval_reference: network.retrieval_reference.as_deref(),
                reference: network.reference.as_deref(),
                trace_id: network.trace_id.as_deref(),
                transmitted_at: network.transmitted_at.as_deref(),
            },
        },
    };
    write(&body, &mut out);
    out
}

/// DE10 as a decimal.
fn conversion_rate(message: &Message) -> Option<String> {
    let rate = message.rate(10)?;
    let decimal = Decimal::from_i128_with_scale(i128::from(rate.mantissa), u32::from(rate.decimals));
    Some(decimal.normalize().to_string())
}
