//! One authorization as the journal has it: each event that made or changed it, with what was known just before, what
//! came in, and the same decision made again. `replay --authorization` and `explain` tell it. It must never let a card
//! number out: messages are told masked, and of a partner's bytes the long runs of digits.

use std::ops::ControlFlow;

use iso_codec::{DescribeOptions, Described, Message, describe, mask_digits};
use ledger_core::book::{Book, Policy};
use ledger_core::event::Event;
use ledger_core::event::admin::Funding;
use ledger_core::event::tap::{Raw, Said, Source};
use ledger_core::id::{Id, Thing};
use ledger_core::journal::Record;
use ledger_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::Failure;
use super::events::{Told, without_numbers};
use super::stopped::{Directory, Watch, whole};
use crate::engine::rejudge::{Rejudge, rule};
use crate::shard::boot::{self, load_spec};
use crate::view::docs::{AccountDoc, AuthorizationDoc, CardDoc, MoneyDoc, PartnerDoc, PoolDoc, UserDoc};
use crate::view::fold::{AuthorizationFold, Place, Requests, SealedRequests, concerned};
use crate::view::late::Standing;

/// A message that came in or went out, masked.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Shown {
    /// Elements by number, as `decode --json` has them.
    #[serde(flatten)]
    pub(super) described: Described,
    /// Its length.
    pub(super) bytes: usize,
}

/// A reply made again.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ReplyTold {
    /// What it answers.
    pub(super) to: &'static str,
    /// The recomputed bytes are those that the journal's variable parts give.
    pub(super) equal: bool,
    /// The recomputed reply.
    pub(super) reply: Option<Shown>,
    /// What the journal gives, when that differs.
    pub(super) journaled: Option<Shown>,
}

/// What a partner said, with its bytes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    /// `approve`, `decline`, `timeout`, …
    pub(super) outcome: &'static str,
    /// The reason of a decline, or the kind of fault.
    pub(super) reason: Option<String>,
    /// From the ask on.
    pub(super) latency_us: u64,
    /// After the deadline; null when in time.
    pub(super) late_by_us: Option<u64>,
    /// The answer's bytes as they are journaled; long runs of digits masked.
    pub(super) body: Option<String>,
    /// How many bytes that is.
    pub(super) body_bytes: usize,
    /// Of a late approval: what it approved, and we had not.
    pub(super) at_risk: Option<MoneyDoc>,
}

/// One event of the authorization.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// The event.
    pub(super) event: Told,
    /// The authorization's state from here on.
    pub(super) status: String,
    /// What it holds from here on.
    pub(super) held: MoneyDoc,
    /// The message that came in, when one did.
    pub(super) request: Option<Shown>,
    /// Card, user, partner, pool and account just before.
    pub(super) known: Value,
    /// What the partner said.
    pub(super) partner: Option<Answer>,
    /// The reason that was decided anew.
    pub(super) reason: Option<&'static str>,
    /// The rule of contracts 2.7 that decided, by its number.
    pub(super) rule: Option<u8>,
    /// What that rule asks, or why none of them decided.
    pub(super) rule_asks: Option<&'static str>,
    /// The event decided anew is the journaled one, to the byte.
    pub(super) equal: bool,
    /// The event decided anew, when it differs.
    pub(super) recomputed: Option<Told>,
    /// Why it could not be decided anew.
    pub(super) trouble: Option<String>,
    /// What nothing but the journal knows, and was taken from there.
    pub(super) taken: Vec<&'static str>,
    /// The replies it let go.
    pub(super) replies: Vec<ReplyTold>,
}

/// An authorization, told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Story {
    /// As REST shows it.
    pub(super) authorization: AuthorizationDoc,
    /// `ptn_…`
    pub(super) partner_id: Option<String>,
    /// Every event and every reply came out as it is journaled.
    pub(super) equal: bool,
    /// Its events.
    pub(super) steps: Vec<Step>,
}

/// Reads the story of an authorization.
///
/// # Errors
/// Exit 1 when the journal has no such authorization or is damaged, 3 when it or its keys cannot be read.
pub(super) fn read(directory: &Directory, id: Id) -> Result<Story, Failure> {
    let keyring = directory.keyring()?;
    let specs = |name: &str| load_spec(name).ok();
    let policy: Policy = boot::policy(&directory.config)?;
    let requests = Directory::requests(&keyring);
    let mut teller = Teller {
        id,
        rejudge: Rejudge::new(id.no, &keyring, &specs, policy),
        requests: &requests,
        fold: None,
        current: None,
        steps: Vec::new(),
    };
    let (book, walked) = directory.fold(&mut teller)?;
    whole(&walked)?;
    let Some(fold) = teller.fold else {
        return Err(Failure::no(format!(
            "{}: no authorization {} in this journal, which ends at event {}",
            directory.dir.display(),
            id.text(Thing::Authorization),
            walked.last_seq
        )));
    };
    let partner_id = fold.partner.and_then(|p| book.partner(p)).map(|p| p.id.text(Thing::Partner));
    let equal = teller.steps.iter().all(|step| step.equal && step.trouble.is_none());
    Ok(Story { authorization: fold.doc, partner_id, equal, steps: teller.steps })
}

/// What is found out about an event before it is folded in.
struct Before {
    request: Option<Shown>,
    known: Value,
    partner: Option<Answer>,
    judged: Result<Again, String>,
}

/// A decision made again, free of the event it borrowed from.
struct Again {
    reason: Option<ledger_core::event::words::Reason>,
    equal: bool,
    /// The event's bytes, when they differ.
    other: Option<Vec<u8>>,
    taken: Vec<&'static str>,
    replies: Vec<ReplyTold>,
}

struct Teller<'a> {
    id: Id,
    rejudge: Rejudge<'a>,
    requests: &'a SealedRequests,
    fold: Option<AuthorizationFold>,
    current: Option<Before>,
    steps: Vec<Step>,
}

impl Teller<'_> {
    /// Whether an event makes or changes the authorization.
    fn concerns(&self, record: &Record<'_>, event: &Event<'_>) -> bool {
        // An id of another epoch was lost in a crash; its number was given again.
        let ours = self.fold.is_some() || record.epoch == self.id.epoch;
        ours && concerned(event).contains(&self.id.no)
    }

    fn message(&self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> Option<Message> {
        self.rejudge.message(book, record, raw_of(event)?).ok()
    }
}

impl Watch for Teller<'_> {
    fn before(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> ControlFlow<()> {
        if !self.concerns(record, event) {
            return ControlFlow::Continue(());
        }
        let message = self.message(book, record, event);
        let authorization = book.authorization(self.id.no);
        let card = authorization.as_ref().map_or_else(|| card_of(event), |a| a.facts.card);
        let judged = self.rejudge.judge(book, record, event).map(|judged| {
            let equal = judged.equal(event);
            let other = judged.event.as_ref().filter(|_| !equal).map(|event| {
                let mut bytes = Vec::new();
                event.encode(&mut bytes);
                bytes
            });
            let spec = message.as_ref().map(|m| m.spec().name().to_owned());
            let replies = judged.replies.iter().map(|reply| {
                let shown = |bytes: &bytes::Bytes| read_back(spec.as_deref(), &self.fold, bytes.clone());
                let equal = reply.journaled == reply.recomputed;
                let journaled = if equal { None } else { shown(&reply.journaled) };
                ReplyTold { to: reply.to, equal, reply: shown(&reply.recomputed), journaled }
            });
            Again { reason: judged.reason, equal, other, taken: judged.taken.clone(), replies: replies.collect() }
        });
        let partner =
            said_in(event).map(|said| answer(said, authorization.as_ref().and_then(|a| Standing::of_book(book, a))));
        let request = message.as_ref().map(shown);
        self.current = Some(Before { request, known: known(book, card), partner, judged });
        ControlFlow::Continue(())
    }

    fn after(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> Result<ControlFlow<()>, Failure> {
        let Some(before) = self.current.take() else { return Ok(ControlFlow::Continue(())) };
        let place = Place { seq: record.seq, at: Timestamp(record.at), epoch: record.epoch };
        match &mut self.fold {
            Some(fold) => {
                fold.apply(place, event);
            }
            None => {
                let requests: &dyn Requests = self.requests;
                self.fold = AuthorizationFold::begin(book, requests, place, event).filter(|fold| fold.no == self.id.no);
            }
        }
        let Some(fold) = &self.fold else { return Ok(ControlFlow::Continue(())) };
        let told = Told::of(book, record, event);
        let (again, trouble) = match before.judged {
            Ok(again) => (Some(again), None),
            Err(why) => (None, Some(why)),
        };
        let rule = again.as_ref().and_then(|again| again.reason).map(rule);
        let other = again.as_ref().and_then(|again| again.other.as_deref());
        let recomputed = other.and_then(|bytes| Event::decode(bytes).ok().map(|event| Told::of(book, record, &event)));
        self.steps.push(Step {
            event: told,
            status: fold.doc.status.clone(),
            held: fold.doc.held.clone(),
            request: before.request,
            known: before.known,
            partner: before.partner,
            reason: again.as_ref().and_then(|again| again.reason).map(|reason| reason.public_word()),
            rule: rule.and_then(|rule| rule.number),
            rule_asks: rule.map(|rule| rule.asks),
            equal: again.as_ref().is_some_and(|again| again.equal),
            recomputed,
            trouble,
            taken: again.as_ref().map(|again| again.taken.clone()).unwrap_or_default(),
            replies: again.map(|again| again.replies).unwrap_or_default(),
        });
        Ok(ControlFlow::Continue(()))
    }
}

fn raw_of<'e>(event: &'e Event<'_>) -> Option<&'e Raw<'e>> {
    match event {
        Event::TapTaken(e) => Some(&e.raw),
        Event::Advised(e) => Some(&e.raw),
        Event::Reversed(e) => Some(&e.raw),
        Event::ReplyLate(e) => e.raw.as_ref(),
        _ => None,
    }
}

fn said_in<'e>(event: &'e Event<'_>) -> Option<&'e Said<'e>> {
    match event {
        Event::TapDecided(e) => e.said.as_ref(),
        Event::AnsweredTooLate(e) => Some(&e.said),
        _ => None,
    }
}

fn card_of(event: &Event<'_>) -> Option<u32> {
    match event {
        Event::TapTaken(e) => e.facts.card,
        Event::Advised(e) => e.facts.card,
        _ => None,
    }
}

fn shown(message: &Message) -> Shown {
    Shown { described: describe(message, &DescribeOptions::default()), bytes: message.frame().len() }
}

/// A reply as its receiver reads it.
fn read_back(spec: Option<&str>, fold: &Option<AuthorizationFold>, reply: bytes::Bytes) -> Option<Shown> {
    let name = spec.or_else(|| fold.as_ref().map(|fold| fold.doc.network.name.as_str()))?;
    let spec = load_spec(name).ok()?;
    iso_codec::decode(&spec, reply).ok().as_ref().map(shown)
}

fn answer(said: &Said<'_>, standing: Option<Standing>) -> Answer {
    let body = (!said.body.is_empty()).then(|| masked_text(&said.body));
    let late = said.late_by_us.is_some();
    Answer {
        outcome: said.outcome.word(),
        reason: said.reason.as_deref().map(without_numbers),
        latency_us: said.latency_us,
        late_by_us: said.late_by_us,
        body,
        body_bytes: said.body.len(),
        at_risk: standing
            .filter(|_| late)
            .and_then(|standing| standing.at_risk(said))
            .map(|(_, risk)| MoneyDoc::from(risk)),
    }
}

/// Bytes as text: what is not printable escaped, runs of twelve digits and more masked as card numbers are.
pub(super) fn masked_text(bytes: &[u8]) -> String {
    const LONGEST_PLAIN: usize = 11;
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (run, after) = rest.split_at(digits.max(1));
        if digits > LONGEST_PLAIN {
            out.push_str(&mask_digits(run));
        } else if first.is_ascii_graphic() || *first == b' ' {
            out.extend(run.iter().map(|byte| char::from(*byte)));
        } else {
            out.push_str(&first.escape_ascii().to_string());
        }
        rest = after;
    }
    out
}

/// Card, user, partner and what may pay, as they are in the book.
fn known(book: &Book, card: Option<u32>) -> Value {
    let Some((index, card)) = card.and_then(|index| Some((index, book.card(index)?))) else {
        return json!({ "card": null });
    };
    let partner = book.user(card.user).map(|user| user.partner);
    let (pool, account) = match card.funding {
        Funding::Pool { pool, linked } => (Some(pool), Some(linked)),
        Funding::Account { account } => (None, Some(account)),
        Funding::PartnerChoice { pool, account } => (Some(pool), Some(account)),
    };
    let receivable = pool.map(Source::Pool).and_then(|source| {
        let (currency, _) = book.source(source)?;
        let owed = book.ledger_balance(ledger_core::event::posting::Ledger::Receivable(partner?), currency);
        (owed != 0).then(|| MoneyDoc::new(owed, currency))
    });
    json!({
        "card": CardDoc::from_book(book, index),
        "user": UserDoc::from_book(book, card.user),
        "partner": partner.and_then(|p| PartnerDoc::from_book(book, p)),
        "pool": pool.and_then(|p| PoolDoc::from_book(book, p)),
        "account": account.and_then(|a| AccountDoc::from_book(book, a)),
        "receivable": receivable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partners_bytes_never_show_a_card_number() {
        let told = masked_text(br#"{"decision":"approve","metadata":{"pan":"5351101200004242","n":12345678901}}"#);
        assert_eq!(told, r#"{"decision":"approve","metadata":{"pan":"53511012****4242","n":12345678901}}"#);
        assert_eq!(masked_text(b"a\n\xff535110120000"), "a\\n\\xff535110**0000");
    }
}
