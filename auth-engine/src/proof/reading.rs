//! What an authorization's events say, in words, from their bytes alone: no names of cards or pools, which other events
//! gave, and nothing that is sealed.
//!
//! Its shape is part of the proof format: a file made today is read again and compared by every later version, and a
//! fixture keeps it so. It must never take a word from outside the events.

use ledger_core::event::Event;
use ledger_core::event::tap::Source;
use ledger_core::id::{Id, No};
use ledger_core::journal::OwnedRecord;
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::view::docs::{AuthorizationDoc, AuthorizationEventDoc, MoneyDoc};
use crate::view::fold::{CardName, Described, Names, Requests, concerned, fold_authorization};

/// An authorization after its last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// What it was for.
    pub kind: String,
    /// How it stands.
    pub status: String,
    /// How it was answered.
    pub outcome: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// DE39.
    pub response_code: Option<String>,
    /// DE38.
    pub approval_code: Option<String>,
    /// What was asked.
    pub amount: MoneyDoc,
    /// The same in the merchant's currency.
    pub merchant_amount: MoneyDoc,
    /// What is held.
    pub held: MoneyDoc,
    /// What is cleared.
    pub cleared: MoneyDoc,
    /// What the partner said, when it was asked.
    pub partner: Option<String>,
    /// When it came.
    pub created_at: String,
    /// When it was decided.
    pub decided_at: Option<String>,
}

/// An authorization after one of its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventReading {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub at: String,
    /// How it stood from then on.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// DE39.
    pub response_code: Option<String>,
    /// What was held from then on.
    pub held: MoneyDoc,
    /// The lines.
    pub postings: Vec<Line>,
}

/// One line of the double entry. One of `debit` and `credit` is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which side of the books.
    pub account: String,
    /// Code.
    pub currency: String,
    /// Decimal text.
    pub debit: String,
    /// Decimal text.
    pub credit: String,
}

impl From<AuthorizationDoc> for Reading {
    fn from(doc: AuthorizationDoc) -> Self {
        Self {
            kind: doc.kind,
            status: doc.status,
            outcome: doc.outcome,
            reason: doc.reason,
            response_code: doc.response_code,
            approval_code: doc.approval_code,
            amount: doc.amount,
            merchant_amount: doc.merchant_amount,
            held: doc.held,
            cleared: doc.cleared,
            partner: doc.partner_decision.map(|said| said.outcome),
            created_at: doc.created_at,
            decided_at: doc.decided_at,
        }
    }
}

impl From<AuthorizationEventDoc> for EventReading {
    fn from(doc: AuthorizationEventDoc) -> Self {
        let lines = doc.postings.into_iter();
        Self {
            kind: doc.kind,
            at: doc.at,
            status: doc.status,
            reason: doc.reason,
            response_code: doc.response_code,
            held: doc.held,
            postings: lines
                .map(|l| Line { account: l.account, currency: l.currency, debit: l.debit, credit: l.credit })
                .collect(),
        }
    }
}

/// Nobody has a name here.
struct Nameless;

impl Names for Nameless {
    fn card(&self, _: u32) -> Option<CardName> {
        None
    }

    fn user(&self, _: u32) -> Option<(Id, u32)> {
        None
    }

    fn partner(&self, _: u32) -> Option<Id> {
        None
    }

    fn source(&self, _: Source) -> Option<Id> {
        None
    }

    fn spec_of(&self, _: u8) -> Option<String> {
        None
    }
}

impl Requests for Nameless {
    fn describe(&self, _: &str, _: u32, _: u64, _: Timestamp, _: &[u8]) -> Option<Described> {
        None
    }
}

/// The number of the authorization that an event makes.
pub(super) fn makes(event: &Event<'_>) -> Option<No> {
    match event {
        Event::TapTaken(e) => Some(e.facts.no),
        Event::Advised(e) if e.target.is_none() => Some(e.facts.no),
        _ => None,
    }
}

/// The event before this one that it names as its authorization's last; none when it is another authorization's event
/// that changes this one as well, as the reversal of a purchase with increments does.
fn previous(event: &Event<'_>, no: No) -> Option<u64> {
    let (of, previous) = match event {
        Event::TapDecided(e) => (Some(e.no), e.previous),
        Event::AnsweredTooLate(e) => (Some(e.no), e.previous),
        Event::Advised(e) => (e.target, e.previous),
        Event::Reversed(e) => (e.target, e.previous),
        Event::HoldExpired(e) => (Some(e.no), e.previous),
        Event::ReplyLate(e) => (Some(e.no), e.previous),
        _ => (None, 0),
    };
    (of == Some(no)).then_some(previous)
}

/// Reads an authorization's events, oldest first: the first makes it, each later one is its own and names the one
/// before.
///
/// # Errors
/// In words, what does not fit.
pub(super) fn read(id: Id, records: &[OwnedRecord]) -> Result<(Reading, Vec<EventReading>), String> {
    let mut last = None;
    for record in records {
        let seq = record.seq;
        let event = Event::decode(&record.payload).map_err(|why| format!("event {seq}: {why}"))?;
        match last {
            None if makes(&event) != Some(id.no) || record.epoch != id.epoch => {
                return Err(format!("event {seq} is not the one that made this authorization"));
            }
            Some(_) if makes(&event).is_some() || !concerned(&event).contains(&id.no) => {
                return Err(format!("event {seq} is not about this authorization"));
            }
            Some(last) if last >= seq || previous(&event, id.no).is_some_and(|named| named != last) => {
                return Err(format!("event {seq} does not follow event {last}: one in between is left out"));
            }
            _ => last = Some(seq),
        }
    }
    let (doc, events) = fold_authorization(&Nameless, &Nameless, id.no, records.iter().cloned())
        .filter(|(_, events)| events.len() == records.len())
        .ok_or("the events do not make an authorization")?;
    Ok((doc.into(), events.into_iter().map(EventReading::from).collect()))
}
