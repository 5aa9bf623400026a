//! An authorization's representation as a fold over its own events. Pure: no store, no clock. The read model folds one
//! event at a time; a read by id folds the chain that the journal holds ([`fold_authorization`]). Must never add a
//! rule: it says again what the events say.

use std::sync::Arc;

use bytes::Bytes;
use iso_codec::Spec;
use ledger_core::book::Book;
use ledger_core::event::admin::Funding;
use ledger_core::event::posting::{Ledger, Posting, Postings};
use ledger_core::event::tap::{Advised, Change, Facts, Hold, Raw, Reply, Said, Source, TapTaken};
use ledger_core::event::words::{Class, Reason, State};
use ledger_core::event::{Event, field};
use ledger_core::id::{Id, No, Thing};
use ledger_core::journal::OwnedRecord;
use ledger_core::keys::{Keyring, Nonce};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::docs::{
    AuthorizationDoc, AuthorizationEventDoc, FundingSourceDoc, MerchantDoc, MoneyDoc, NetworkDoc, PartnerDecisionDoc,
    PosDoc, PostingDoc,
};
use super::request::describe_request;
use super::statement;

/// A card as its authorizations show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardName {
    /// Its id.
    pub id: Id,
    /// Dense index of its user.
    pub user: u32,
    /// Where its money comes from.
    pub funding: Funding,
}

/// What dense indices name.
pub trait Names {
    /// A card.
    fn card(&self, index: u32) -> Option<CardName>;
    /// A user's id and its partner's index.
    fn user(&self, index: u32) -> Option<(Id, u32)>;
    /// A partner's id.
    fn partner(&self, index: u32) -> Option<Id>;
    /// A pool's or account's id.
    fn source(&self, source: Source) -> Option<Id>;
    /// The name of a link's message spec.
    fn spec_of(&self, link: u8) -> Option<String>;
}

impl Names for Book {
    fn card(&self, index: u32) -> Option<CardName> {
        Book::card(self, index).map(|c| CardName { id: c.id, user: c.user, funding: c.funding })
    }

    fn user(&self, index: u32) -> Option<(Id, u32)> {
        Book::user(self, index).map(|u| (u.id, u.partner))
    }

    fn partner(&self, index: u32) -> Option<Id> {
        Book::partner(self, index).map(|p| p.id)
    }

    fn source(&self, source: Source) -> Option<Id> {
        match source {
            Source::Pool(i) => self.pool(i).map(|p| p.id),
            Source::Account(i) => self.account(i).map(|a| a.id),
        }
    }

    fn spec_of(&self, link: u8) -> Option<String> {
        self.links().get(usize::from(link)).map(|l| l.spec.clone())
    }
}

/// What a raw request says, once opened.
pub type Described = (MerchantDoc, PosDoc, NetworkDoc);

/// Opens raw requests.
pub trait Requests: Send + Sync {
    /// What the request sealed in event `seq` of `epoch` says; `spec` is the name its link has for its message spec.
    /// `None` when it does not open or decode: the rest of the authorization is shown without it.
    fn describe(&self, spec: &str, epoch: u32, seq: u64, at: Timestamp, sealed: &[u8]) -> Option<Described>;
}

/// Finds a message spec by the name (or path) the journal has for it.
pub type SpecLookup = Box<dyn Fn(&str) -> Option<Arc<Spec>> + Send + Sync>;

/// Raw requests as the journal seals them.
pub struct SealedRequests {
    keyring: Arc<Keyring>,
    specs: SpecLookup,
}

impl SealedRequests {
    /// Opened with `keyring`, decoded with what `specs` finds.
    pub fn new(keyring: Arc<Keyring>, specs: SpecLookup) -> Self {
        Self { keyring, specs }
    }
}

impl Requests for SealedRequests {
    fn describe(&self, spec: &str, epoch: u32, seq: u64, at: Timestamp, sealed: &[u8]) -> Option<Described> {
        let spec = (self.specs)(spec)?;
        let frame = self.keyring.open(Nonce { epoch, seq, field: field::REQUEST }, sealed).ok()?;
        match iso_codec::decode(&spec, Bytes::from(frame)) {
            Ok(message) => Some(describe_request(&message, at)),
            Err(error) => error.partial.as_deref().map(|message| describe_request(message, at)),
        }
    }
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its sequence.
    pub seq: u64,
    /// When it was appended.
    pub at: Timestamp,
    /// The epoch of the start that appended it.
    pub epoch: u32,
}

/// What one source of an authorization holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    pool: bool,
    index: u32,
    id: Option<String>,
    /// Numeric.
    currency: u16,
    now: i64,
}

impl Share {
    fn source(&self) -> Source {
        if self.pool { Source::Pool(self.index) } else { Source::Account(self.index) }
    }
}

/// Money of a pool that passed, or is promised to pass, through the account linked to its card: what the account's
/// statement tells as memo lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memo {
    /// Dense index of the account.
    pub(super) linked: u32,
    /// Minor units; above zero when it comes in and goes out to the merchant, below when that is taken back.
    pub(super) amount: i64,
    /// Numeric.
    pub(super) currency: u16,
}

/// An authorization while it is folded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationFold {
    /// What is shown.
    pub doc: AuthorizationDoc,
    /// Its number.
    pub no: No,
    /// When it was created, microseconds.
    pub created_at: i64,
    /// When it changed last, microseconds.
    pub updated_at: i64,
    /// Dense index of its partner; none when no card has that number.
    pub partner: Option<u32>,
    /// Number of the partner's, user's and card's id.
    pub(super) owners: Owners,
    /// The account that a pool's money passes through when it clears.
    linked: Option<u32>,
    /// What it holds, by source.
    shares: Vec<Share>,
    /// Currency of the amount, numeric.
    currency: u16,
}

/// Numbers by which lists find an authorization.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owners {
    pub(super) partner: Option<No>,
    pub(super) user: Option<No>,
    pub(super) card: Option<No>,
    /// Pays, or may pay.
    pub(super) pool: Option<No>,
}

impl AuthorizationFold {
    /// Begins with the event that makes an authorization: a tap, or an advice without a target. `None` for others.
    pub fn begin(names: &dyn Names, requests: &dyn Requests, place: Place, event: &Event<'_>) -> Option<Self> {
        match event {
            Event::TapTaken(e) => Some(Self::from_tap(names, requests, place, e)),
            Event::Advised(e) if e.target.is_none() => Some(Self::from_advice(names, requests, place, e)),
            _ => None,
        }
    }

    fn from_tap(names: &dyn Names, requests: &dyn Requests, place: Place, e: &TapTaken<'_>) -> Self {
        let state = match (&e.reply, e.cleared) {
            (None, _) => State::Pending,
            (Some(reply), _) if reply.reason != Reason::Approved => State::Declined,
            (Some(_), 0) => State::Approved,
            (Some(_), _) => State::Cleared,
        };
        let mut fold = Self::new(names, requests, place, &e.facts, &e.raw);
        let holds = [e.first, e.second];
        fold.take_holds(names, holds.iter().flatten(), e.cleared > 0);
        fold.set_state(state);
        fold.set_cleared(e.cleared);
        if let Some(reply) = &e.reply {
            fold.decide(reply, place.at);
            fold.choose(&e.postings);
        }
        fold.tell_held();
        fold
    }

    fn from_advice(names: &dyn Names, requests: &dyn Requests, place: Place, e: &Advised<'_>) -> Self {
        let mut fold = Self::new(names, requests, place, &e.facts, &e.raw);
        let financial = matches!(e.facts.class, Class::Financial | Class::FinancialAdvice);
        fold.take_holds(names, e.hold.iter(), financial);
        fold.set_state(e.state);
        fold.set_cleared(e.cleared);
        fold.decide(&e.reply, place.at);
        fold.decided_elsewhere(e);
        fold.choose(&e.postings);
        fold.tell_held();
        fold
    }

    fn new(names: &dyn Names, requests: &dyn Requests, place: Place, facts: &Facts, raw: &Raw<'_>) -> Self {
        let at = place.at.rfc3339();
        let card = facts.card.and_then(|index| names.card(index));
        let user = card.and_then(|card| names.user(card.user));
        let partner = user.and_then(|(_, partner)| names.partner(partner));
        let (mut funding, mut linked, mut pool) = (None, None, None);
        if let Some(card) = card {
            let id = match card.funding {
                Funding::Pool { pool: index, linked: account } => {
                    linked = Some(account);
                    pool = names.source(Source::Pool(index));
                    pool.map(|id| id.text(Thing::Pool))
                }
                Funding::Account { account } => {
                    names.source(Source::Account(account)).map(|id| id.text(Thing::Account))
                }
                Funding::PartnerChoice { pool: index, account } => {
                    linked = Some(account);
                    pool = names.source(Source::Pool(index));
                    None
                }
            };
            funding = Some(FundingSourceDoc { kind: card.funding.word().to_owned(), id });
        }
        let spec = names.spec_of(raw.link);
        let described =
            spec.as_deref().and_then(|spec| requests.describe(spec, place.epoch, place.seq, place.at, &raw.sealed));
        let (merchant, pos, network) = described.unwrap_or_default();
        let amount = match facts.currency {
            Some(currency) => MoneyDoc::new(facts.amount, currency),
            None if facts.billed => MoneyDoc { value: facts.amount.to_string(), currency: "XXX".to_owned() },
            None => MoneyDoc::of_numeric(facts.amount, facts.merchant_currency),
        };
        let zero = facts.currency.map_or_else(
            || MoneyDoc { value: "0".to_owned(), currency: amount.currency.clone() },
            |currency| MoneyDoc::new(0, currency),
        );
        Self {
            doc: AuthorizationDoc {
                id: Id { epoch: place.epoch, no: facts.no }.text(Thing::Authorization),
                kind: facts.kind.word().to_owned(),
                status: State::Pending.word().to_owned(),
                outcome: None,
                reason: None,
                response_code: None,
                approval_code: None,
                merchant_amount: MoneyDoc::of_numeric(facts.merchant_amount, facts.merchant_currency),
                held: zero.clone(),
                cleared: zero,
                amount,
                funding,
                card_id: card.map(|card| card.id.text(Thing::Card)),
                user_id: user.map(|(id, _)| id.text(Thing::User)),
                merchant,
                pos,
                network,
                partner_decision: None,
                expires_at: None,
                created_at: at.clone(),
                decided_at: None,
                updated_at: at,
            },
            no: facts.no,
            created_at: place.at.0,
            updated_at: place.at.0,
            partner: user.map(|(_, partner)| partner),
            owners: Owners {
                partner: partner.map(|id| id.no),
                user: user.map(|(id, _)| id.no),
                card: card.map(|card| card.id.no),
                pool: pool.map(|id| id.no),
            },
            linked,
            shares: Vec::new(),
            currency: facts.currency.map_or(0, Currency::number),
        }
        .with_expiry(facts.expires_at)
    }

    fn with_expiry(mut self, at: Timestamp) -> Self {
        self.doc.expires_at = Some(at.rfc3339());
        self
    }

    /// True when this pool pays for it, or may while the partner has not chosen.
    pub(super) fn concerns_pool(&self, no: No, id: &str) -> bool {
        self.doc.funding.as_ref().is_some_and(|funding| match &funding.id {
            Some(paying) => paying == id,
            None => self.owners.pool == Some(no),
        })
    }

    /// Whether an event concerns this authorization.
    pub fn is_concerned(&self, event: &Event<'_>) -> bool {
        concerned(event).contains(&self.no)
    }

    /// Folds in a later event. False when the event does not concern this authorization.
    pub fn apply(&mut self, place: Place, event: &Event<'_>) -> bool {
        if !self.is_concerned(event) {
            return false;
        }
        let was_pending = self.doc.status == State::Pending.word();
        self.doc.updated_at = place.at.rfc3339();
        self.updated_at = self.updated_at.max(place.at.0);
        let no = self.no;
        for change in event.changes().iter().filter(|change| change.no == no) {
            self.change(change);
        }
        match event {
            Event::TapDecided(e) => {
                let stated = e.changes.iter().any(|change| change.no == self.no);
                if !stated {
                    let approved = e.reply.reason == Reason::Approved;
                    self.set_state(if approved { State::Approved } else { State::Declined });
                }
                self.decide(&e.reply, place.at);
                if let Some(said) = &e.said {
                    self.doc.partner_decision = Some(partner_decision(said));
                }
                self.choose(&e.postings);
            }
            Event::AnsweredTooLate(e) => self.doc.partner_decision = Some(partner_decision(&e.said)),
            Event::Advised(e) if was_pending => {
                self.decide(&e.reply, place.at);
                self.decided_elsewhere(e);
            }
            Event::Reversed(_) if was_pending && self.doc.status != State::Pending.word() => {
                // The tap is answered 05 from here on, and no event of its own says so.
                self.doc.outcome = Some("declined".to_owned());
                self.doc.reason = Some(Reason::AlreadyReversed.public_word().to_owned());
                self.doc.response_code = Some("05".to_owned());
                self.doc.decided_at = Some(place.at.rfc3339());
            }
            Event::ReplyLate(_) => {
                self.doc.outcome = None;
                self.doc.response_code = None;
                self.doc.reason = Some(Reason::AnsweredLate.public_word().to_owned());
                self.set_state(State::Reversed);
                for share in &mut self.shares {
                    share.now = 0;
                }
            }
            _ => {}
        }
        self.tell_held();
        true
    }

    fn change(&mut self, change: &Change) {
        for share in &mut self.shares {
            if change.source.is_none_or(|source| source == share.source()) {
                share.now = change.held;
            }
        }
        self.set_cleared(change.cleared);
        self.set_state(change.state);
    }

    fn take_holds<'h>(&mut self, names: &dyn Names, holds: impl Iterator<Item = &'h Hold>, cleared: bool) {
        self.shares = holds
            .map(|hold| {
                let (pool, index, thing) = match hold.source {
                    Source::Pool(i) => (true, i, Thing::Pool),
                    Source::Account(i) => (false, i, Thing::Account),
                };
                Share {
                    pool,
                    index,
                    id: names.source(hold.source).map(|id| id.text(thing)),
                    currency: hold.amount.currency.number(),
                    now: if cleared { 0 } else { hold.amount.minor },
                }
            })
            .collect();
        if self.shares.is_empty() {
            self.doc.expires_at = None;
        }
    }

    /// Names what pays: the only source, or of two the one that still holds or that the event's lines took from.
    fn choose(&mut self, postings: &Postings) {
        let approved = matches!(self.doc.outcome.as_deref(), Some("approved" | "partial"));
        let undecided = self.doc.funding.as_ref().is_some_and(|funding| funding.id.is_none());
        if !approved || !undecided {
            return;
        }
        let moved = statement::movements(postings);
        let pays = |share: &&Share| {
            let took = moved.iter().any(|m| m.source == share.source() && m.available.saturating_add(m.held) != 0);
            share.now != 0 || took
        };
        if let Some(share) = self.shares.iter().find(pays) {
            self.doc.funding = Some(FundingSourceDoc { kind: share.source().word().to_owned(), id: share.id.clone() });
        }
    }

    fn set_state(&mut self, state: State) {
        self.doc.status = state.word().to_owned();
    }

    fn set_cleared(&mut self, cleared: i64) {
        self.doc.cleared = self.in_own(cleared);
    }

    fn in_own(&self, minor: i64) -> MoneyDoc {
        match statement::currency(self.currency) {
            Some(currency) => MoneyDoc::new(minor, currency),
            None => MoneyDoc { value: minor.to_string(), currency: self.doc.amount.currency.clone() },
        }
    }

    fn tell_held(&mut self) {
        let paying = self.doc.funding.as_ref().and_then(|funding| funding.id.as_ref());
        let share = self.shares.iter().find(|share| share.now != 0 && share.id.as_ref() == paying);
        // While the partner chooses, both sources hold; the first one's is told.
        let share = share.or_else(|| self.shares.iter().find(|share| share.now != 0));
        self.doc.held = match share.and_then(|share| Some((share.now, statement::currency(share.currency)?))) {
            Some((now, currency)) => MoneyDoc::new(now, currency),
            None => self.in_own(0),
        };
    }

    fn decide(&mut self, reply: &Reply, at: Timestamp) {
        let approved = reply.reason == Reason::Approved;
        let outcome = match (approved, reply.partial) {
            (true, None) => "approved",
            (true, Some(_)) => "partial",
            (false, _) => "declined",
        };
        self.doc.outcome = Some(outcome.to_owned());
        self.doc.reason = Some(reply.reason.public_word().to_owned());
        self.doc.response_code = Some(String::from_utf8_lossy(&reply.response_code).into_owned());
        self.doc.approval_code = (reply.approval_code != 0).then(|| format!("{:06}", reply.approval_code));
        self.doc.decided_at = Some(at.rfc3339());
    }

    /// An advice we acknowledge with 00 tells in its own DE39 how the tap was answered.
    fn decided_elsewhere(&mut self, e: &Advised<'_>) {
        if &e.reply.response_code == b"00" && e.advised_code.iter().all(u8::is_ascii_alphanumeric) {
            self.doc.response_code = Some(String::from_utf8_lossy(&e.advised_code).into_owned());
        }
    }

    /// How the authorization stands after an event, with the event's lines.
    pub fn event_doc(&self, names: &dyn Names, place: Place, event: &Event<'_>) -> AuthorizationEventDoc {
        AuthorizationEventDoc {
            sequence: place.seq,
            at: place.at.rfc3339(),
            kind: event.word().to_owned(),
            status: self.doc.status.clone(),
            reason: self.doc.reason.clone(),
            response_code: self.doc.response_code.clone(),
            held: self.doc.held.clone(),
            postings: event.postings().map(|postings| posting_docs(names, postings)).unwrap_or_default(),
        }
    }

    /// Numeric currency of the amount; 0 when nothing knows it.
    pub(super) const fn currency_number(&self) -> u16 {
        self.currency
    }

    /// What is held, when all of it is held in this currency.
    pub(super) fn held_in(&self, currency: Currency) -> Option<i64> {
        let one = |share: &Share| (share.now == 0 || share.currency == currency.number()).then_some(share.now);
        self.shares.iter().map(one).sum()
    }

    /// What the pool has promised for this tap by now, when its card has an account linked to a pool: minor units and
    /// numeric currency.
    pub(super) fn promised(&self) -> Option<Memo> {
        let linked = self.linked?;
        let approved = matches!(self.doc.outcome.as_deref(), Some("approved" | "partial"));
        let share = self.shares.iter().find(|share| share.pool)?;
        Some(Memo { linked, amount: if approved { share.now } else { 0 }, currency: share.currency })
    }
}

/// The authorizations that an event makes or changes, each once.
pub fn concerned(event: &Event<'_>) -> Vec<No> {
    let own = match event {
        Event::TapTaken(e) => Some(e.facts.no),
        Event::TapDecided(e) => Some(e.no),
        Event::AnsweredTooLate(e) => Some(e.no),
        Event::Advised(e) => Some(e.target.unwrap_or(e.facts.no)),
        Event::Reversed(e) => e.target,
        Event::HoldExpired(e) => Some(e.no),
        Event::ReplyLate(e) => Some(e.no),
        _ => None,
    };
    let mut found: Vec<No> = own.into_iter().collect();
    for change in event.changes() {
        if !found.contains(&change.no) {
            found.push(change.no);
        }
    }
    found
}

/// The lines of an event as REST shows them.
pub fn posting_docs(names: &dyn Names, postings: &Postings) -> Vec<PostingDoc> {
    let one = |line: &Posting| PostingDoc {
        account: line.ledger.word().to_owned(),
        id: owner_of(names, line.ledger),
        currency: line.currency.code().to_owned(),
        debit: line.currency.format(line.debit.max(0)),
        credit: line.currency.format(line.debit.min(0).saturating_neg()),
    };
    postings.lines().iter().map(one).collect()
}

fn owner_of(names: &dyn Names, ledger: Ledger) -> Option<String> {
    match ledger {
        Ledger::PoolAvailable(i) | Ledger::PoolHeld(i) => names.source(Source::Pool(i)).map(|id| id.text(Thing::Pool)),
        Ledger::AccountAvailable(i) | Ledger::AccountHeld(i) => {
            names.source(Source::Account(i)).map(|id| id.text(Thing::Account))
        }
        Ledger::Receivable(i) => names.partner(i).map(|id| id.text(Thing::Partner)),
        Ledger::CryptoDeposit(i) => names.user(i).map(|(id, _)| id.text(Thing::User)),
        Ledger::Bank | Ledger::Chain | Ledger::Scheme | Ledger::PayoutTransit | Ledger::Fx | Ledger::Fees => None,
    }
}

fn partner_decision(said: &Said<'_>) -> PartnerDecisionDoc {
    let metadata = if said.metadata_dropped {
        None
    } else {
        let answer: Option<serde_json::Value> = serde_json::from_slice(&said.body).ok();
        answer.and_then(|answer| answer.get("metadata").cloned()).filter(|metadata| !metadata.is_null())
    };
    PartnerDecisionDoc {
        outcome: said.outcome.word().to_owned(),
        reason: said.reason.as_deref().map(str::to_owned),
        latency_us: said.latency_us,
        late_by_us: said.late_by_us,
        metadata,
        metadata_dropped: said.metadata_dropped,
    }
}

/// An authorization and what happened to it (oldest first) from its own chain of events, oldest first. Events that do
/// not concern it are passed over; `None` when its first event is not among them or one does not decode.
pub fn fold_authorization(
    names: &dyn Names,
    requests: &dyn Requests,
    no: No,
    records: impl IntoIterator<Item = OwnedRecord>,
) -> Option<(AuthorizationDoc, Vec<AuthorizationEventDoc>)> {
    let mut fold: Option<AuthorizationFold> = None;
    let mut events = Vec::new();
    for record in records {
        let place = Place { seq: record.seq, at: Timestamp(record.at), epoch: record.epoch };
        let event = Event::decode(&record.payload).ok()?;
        match fold.as_mut() {
            Some(fold) => {
                if !fold.apply(place, &event) {
                    continue;
                }
            }
            None if concerned(&event).contains(&no) => {
                fold = AuthorizationFold::begin(names, requests, place, &event).filter(|fold| fold.no == no);
            }
            None => continue,
        }
        events.extend(fold.as_ref().map(|fold| fold.event_doc(names, place, &event)));
    }
    fold.map(|fold| (fold.doc, events))
}
