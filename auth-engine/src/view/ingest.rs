//! One event into rows: entities, balances, lists, statement lines. Owns which lists a thing is in. Must never write
//! past its batch: [`super::store::Rows`] becomes durable with the position or not at all.

use std::cell::RefCell;

use ledger_core::book::{Balance, TransferKind};
use ledger_core::event::Event;
use ledger_core::event::admin::{Funding, OffRampExecuted, PartnerTerms, QuoteMade, Transfer, TransferEnded};
use ledger_core::event::posting::Postings;
use ledger_core::event::tap::{AnsweredTooLate, Source};
use ledger_core::event::words::{CardStatus, Kyc, Settlement, Status};
use ledger_core::id::{Id, No, Thing};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ViewError;
use super::docs::{
    AccountDoc, CardDoc, CardFundingDoc, KeyDoc, MoneyDoc, OffRampDoc, PartnerDoc, PoolDoc, QuoteDoc, RateDoc,
    TransferDoc, UserDoc, thing_of,
};
use super::fold::{AuthorizationFold, CardName, Memo, Names, Place, Requests, concerned};
use super::late::{Standing, late_approval};
use super::lists::{Row, balance};
use super::statement::{LineRow, Movement, movements};
use super::store::{By, Kind, Rows, key};

/// What a dense index names.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Name {
    no: No,
    epoch: u32,
    /// Index of a pool's or user's partner, of a card's or account's user.
    owner: u32,
    /// Of pools and accounts.
    currency: u16,
    /// Of cards: which kind of funding, and its indices.
    funding: Option<(u8, u32, u32)>,
}

impl Name {
    const fn id(&self) -> Id {
        Id { epoch: self.epoch, no: self.no }
    }
}

/// The rows as what dense indices name. A failing store is remembered, because a name has no room for it.
struct Lookup<'r, 'a> {
    rows: &'r Rows<'a>,
    failed: RefCell<Option<ViewError>>,
}

impl<'r, 'a> Lookup<'r, 'a> {
    fn new(rows: &'r Rows<'a>) -> Self {
        Self { rows, failed: RefCell::new(None) }
    }

    fn name(&self, kind: Kind, index: u32) -> Option<Name> {
        self.rows.row(&key::name(kind, index)).unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            None
        })
    }

    fn finish<T>(self, value: T) -> Result<T, ViewError> {
        self.failed.into_inner().map_or(Ok(value), Err)
    }
}

impl Names for Lookup<'_, '_> {
    fn card(&self, index: u32) -> Option<CardName> {
        let name = self.name(Kind::Card, index)?;
        let funding = match name.funding? {
            (0, pool, linked) => Funding::Pool { pool, linked },
            (1, _, account) => Funding::Account { account },
            (_, pool, account) => Funding::PartnerChoice { pool, account },
        };
        Some(CardName { id: name.id(), user: name.owner, funding })
    }

    fn user(&self, index: u32) -> Option<(Id, u32)> {
        self.name(Kind::User, index).map(|name| (name.id(), name.owner))
    }

    fn partner(&self, index: u32) -> Option<Id> {
        self.name(Kind::Partner, index).map(|name| name.id())
    }

    fn source(&self, source: Source) -> Option<Id> {
        let (kind, index) = kind_of(source);
        self.name(kind, index).map(|name| name.id())
    }

    fn spec_of(&self, link: u8) -> Option<String> {
        let bytes = self.rows.bytes(&key::link(link)).unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            None
        })?;
        String::from_utf8(bytes).ok()
    }
}

const fn kind_of(source: Source) -> (Kind, u32) {
    match source {
        Source::Pool(i) => (Kind::Pool, i),
        Source::Account(i) => (Kind::Account, i),
    }
}

/// What a statement says of an event besides its amounts.
#[derive(Default)]
struct Told {
    reference: Option<String>,
    authorization: Option<String>,
    memos: Vec<Memo>,
}

/// Folds events into rows.
pub(super) struct Ingest<'r, 'a> {
    rows: &'r mut Rows<'a>,
    requests: &'r dyn Requests,
    place: Place,
    /// The time lists sort by; never goes back.
    sorted_at: Timestamp,
    at: String,
}

/// Folds one event in. `sorted_at` is the latest time of any event so far, this one included.
pub(super) fn ingest(
    rows: &mut Rows<'_>,
    requests: &dyn Requests,
    place: Place,
    sorted_at: Timestamp,
    event: &Event<'_>,
) -> Result<(), ViewError> {
    Ingest { rows, requests, place, sorted_at, at: place.at.rfc3339() }.event(event)
}

fn missing(what: &'static str) -> ViewError {
    ViewError::Damaged(format!("an event names {what} that no event made"))
}

impl Ingest<'_, '_> {
    fn event(mut self, event: &Event<'_>) -> Result<(), ViewError> {
        let told = match event {
            Event::Started(_)
            | Event::Stopped(_)
            | Event::LinkSigned(_)
            | Event::SecretRotated(_)
            | Event::Idempotent(_)
            | Event::Recorded(_) => Told::default(),
            Event::LinkDefined(e) => {
                self.rows.put_bytes(key::link(e.link), e.spec.as_bytes().to_vec());
                Told::default()
            }
            Event::PartnerCreated(e) => self.partner_created(e.no, &e.terms)?,
            Event::PartnerChanged(e) => self.partner_changed(e.partner, &e.terms)?,
            Event::KeyCreated(e) => {
                let partner = e.partner.map(|i| self.name(Kind::Partner, i)).transpose()?.map(|name| name.no);
                let doc = KeyDoc {
                    id: self.id(e.no).text(Thing::ApiKey),
                    name: e.name.to_string(),
                    created_at: self.at.clone(),
                    revoked: false,
                };
                self.made(Kind::Key, e.no, Row::new(doc, partner), &[])?
            }
            Event::KeyRevoked(e) => self.changed(Kind::Key, e.no, |row: &mut Row<KeyDoc>, _| row.doc.revoked = true)?,
            Event::UserCreated(e) => {
                let partner = self.name(Kind::Partner, e.partner)?;
                let doc = UserDoc {
                    id: self.id(e.no).text(Thing::User),
                    partner_id: partner.id().text(Thing::Partner),
                    external_id: e.external_id.to_string(),
                    country: e.country.to_string(),
                    time_zone: e.time_zone.as_deref().map(str::to_owned),
                    status: Status::Active.word().to_owned(),
                    kyc_status: Kyc::NotStarted.word().to_owned(),
                    created_at: self.at.clone(),
                    updated_at: self.at.clone(),
                };
                self.named(Kind::User, e.no, e.partner, None, None)?;
                self.made(Kind::User, e.no, Row::new(doc, Some(partner.no)), &[])?
            }
            Event::UserChanged(e) => {
                let no = self.name(Kind::User, e.user)?.no;
                self.changed(Kind::User, no, |row: &mut Row<UserDoc>, at| {
                    row.doc.status = e.status.word().to_owned();
                    row.doc.country = e.country.to_string();
                    row.doc.time_zone = e.time_zone.as_deref().map(str::to_owned);
                    row.doc.updated_at = at;
                })?
            }
            Event::KycChanged(e) => {
                let no = self.name(Kind::User, e.user)?.no;
                self.changed(Kind::User, no, |row: &mut Row<UserDoc>, at| {
                    row.doc.kyc_status = e.status.word().to_owned();
                    row.doc.updated_at = at;
                })?
            }
            Event::AccountOpened(e) => {
                let (user, partner) = self.user(e.user)?;
                let doc = AccountDoc::empty(self.id(e.no), user.id(), e.currency, self.at.clone());
                let index = self.named(Kind::Account, e.no, e.user, Some(e.currency), None)?;
                let row = Row { doc, partner: Some(partner.no), index, minimum: 0 };
                self.made(Kind::Account, e.no, row, &[(By::User, user.no)])?
            }
            Event::PoolCreated(e) => {
                let partner = self.name(Kind::Partner, e.partner)?;
                let doc = PoolDoc::empty(self.id(e.no), partner.id(), e.currency, e.minimum, self.at.clone());
                let index = self.named(Kind::Pool, e.no, e.partner, Some(e.currency), None)?;
                let row = Row { doc, partner: Some(partner.no), index, minimum: e.minimum };
                self.made(Kind::Pool, e.no, row, &[])?
            }
            Event::PoolChanged(e) => {
                let name = self.name(Kind::Pool, e.pool)?;
                let currency = currency(name.currency)?;
                self.changed(Kind::Pool, name.no, |row: &mut Row<PoolDoc>, at| {
                    row.minimum = e.minimum;
                    row.doc.minimum_balance = MoneyDoc::new(e.minimum, currency);
                    row.doc.status = e.status.word().to_owned();
                    row.doc.updated_at = at;
                })?
            }
            Event::CardCreated(e) => self.card_created(e.no, e.user, e.funding, e.last4, e.expires.text())?,
            Event::CardChanged(e) => {
                let no = self.name(Kind::Card, e.card)?.no;
                self.changed(Kind::Card, no, |row: &mut Row<CardDoc>, at| {
                    row.doc.status = e.status.word().to_owned();
                    row.doc.updated_at = at;
                })?
            }
            Event::TopUpCreated(e) => self.transfer(TransferKind::TopUp, e, Settlement::Pending)?,
            Event::Withdrawn(e) => self.transfer(TransferKind::Withdrawal, e, Settlement::Settled)?,
            Event::PaidIn(e) => self.transfer(TransferKind::PayIn, e, Settlement::Settled)?,
            Event::PayoutCreated(e) => self.transfer(TransferKind::Payout, e, Settlement::Pending)?,
            Event::CryptoArrived(e) => self.transfer(TransferKind::CryptoDeposit, e, Settlement::Settled)?,
            Event::TopUpSettled(e) => self.transfer_ended(Kind::TopUp, e, Settlement::Settled)?,
            Event::TopUpFailed(e) => self.transfer_ended(Kind::TopUp, e, Settlement::Failed)?,
            Event::PayoutSettled(e) => self.transfer_ended(Kind::Payout, e, Settlement::Settled)?,
            Event::PayoutFailed(e) => self.transfer_ended(Kind::Payout, e, Settlement::Failed)?,
            Event::RateSet(e) => {
                let doc = RateDoc {
                    from: e.from.code().to_owned(),
                    to: e.to.code().to_owned(),
                    rate: e.rate.text(),
                    markup_bps: e.rate.markup_bps,
                    updated_at: self.at.clone(),
                };
                let pair = (u64::from(e.from.number()) << 16) | u64::from(e.to.number());
                self.made(Kind::Rate, pair, Row::new(doc, None), &[])?
            }
            Event::QuoteMade(e) => self.quote(e)?,
            Event::OffRampExecuted(e) => self.off_ramp(e)?,
            Event::TapTaken(_)
            | Event::TapDecided(_)
            | Event::AnsweredTooLate(_)
            | Event::Advised(_)
            | Event::Reversed(_)
            | Event::HoldExpired(_)
            | Event::ReplyLate(_) => self.authorizations(event)?,
        };
        if let Some(postings) = event.postings() {
            self.post(event.word(), postings, &told)?;
        }
        self.memos(event.word(), &told)
    }

    const fn id(&self, no: No) -> Id {
        Id { epoch: self.place.epoch, no }
    }

    fn name(&self, kind: Kind, index: u32) -> Result<Name, ViewError> {
        self.rows.row(&key::name(kind, index))?.ok_or_else(|| missing("something"))
    }

    /// A user and its partner.
    fn user(&self, index: u32) -> Result<(Name, Name), ViewError> {
        let user = self.name(Kind::User, index)?;
        let partner = self.name(Kind::Partner, user.owner)?;
        Ok((user, partner))
    }

    /// Gives the next dense index of a kind to a number.
    fn named(
        &mut self,
        kind: Kind,
        no: No,
        owner: u32,
        currency: Option<Currency>,
        funding: Option<(u8, u32, u32)>,
    ) -> Result<u32, ViewError> {
        let index = match self.rows.bytes(&key::count(kind))? {
            Some(bytes) => u32::from_be_bytes(
                bytes.try_into().map_err(|_| ViewError::Damaged("a count does not read".to_owned()))?,
            ),
            None => 0,
        };
        let currency = currency.map_or(0, Currency::number);
        self.rows.put(key::name(kind, index), &Name { no, epoch: self.place.epoch, owner, currency, funding })?;
        self.rows.put_bytes(key::count(kind), index.saturating_add(1).to_be_bytes().to_vec());
        Ok(index)
    }

    /// Writes a new row and its list entries.
    fn made<D: Serialize>(&mut self, kind: Kind, no: No, row: Row<D>, owners: &[(By, No)]) -> Result<Told, ViewError> {
        self.rows.put(key::doc(kind, no), &row)?;
        self.rows.put_bytes(key::entry(kind, By::All, 0, no), Vec::new());
        let partner = row.partner.map(|partner| (By::Partner, partner));
        for (by, owner) in owners.iter().copied().chain(partner) {
            self.rows.put_bytes(key::entry(kind, by, owner, no), Vec::new());
        }
        Ok(Told::default())
    }

    /// Changes a row that is there.
    fn changed<D: Serialize + DeserializeOwned>(
        &mut self,
        kind: Kind,
        no: No,
        change: impl FnOnce(&mut Row<D>, String),
    ) -> Result<Told, ViewError> {
        let key = key::doc(kind, no);
        let mut row: Row<D> = self.rows.row(&key)?.ok_or_else(|| missing("a row"))?;
        change(&mut row, self.at.clone());
        self.rows.put(key, &row)?;
        Ok(Told::default())
    }

    fn partner_created(&mut self, no: No, terms: &PartnerTerms<'_>) -> Result<Told, ViewError> {
        let doc = PartnerDoc::from_terms(self.id(no), terms, self.at.clone(), self.at.clone());
        self.named(Kind::Partner, no, 0, None, None)?;
        self.made(Kind::Partner, no, Row::new(doc, Some(no)), &[])
    }

    fn partner_changed(&mut self, index: u32, terms: &PartnerTerms<'_>) -> Result<Told, ViewError> {
        let name = self.name(Kind::Partner, index)?;
        self.changed(Kind::Partner, name.no, |row: &mut Row<PartnerDoc>, at| {
            row.doc = PartnerDoc::from_terms(name.id(), terms, std::mem::take(&mut row.doc.created_at), at);
        })
    }

    fn card_created(
        &mut self,
        no: No,
        user_index: u32,
        funding: Funding,
        last4: u16,
        expires: String,
    ) -> Result<Told, ViewError> {
        let (user, partner) = self.user(user_index)?;
        let (packed, pool, account) = match funding {
            Funding::Pool { pool, linked } => ((0, pool, linked), Some(pool), linked),
            Funding::Account { account } => ((1, 0, account), None, account),
            Funding::PartnerChoice { pool, account } => ((2, pool, account), Some(pool), account),
        };
        let pool = pool.map(|index| self.name(Kind::Pool, index)).transpose()?;
        let account = self.name(Kind::Account, account)?;
        let account_currency = currency(account.currency)?;
        let doc = CardDoc {
            id: self.id(no).text(Thing::Card),
            user_id: user.id().text(Thing::User),
            status: CardStatus::Active.word().to_owned(),
            funding: CardFundingDoc::new(
                funding,
                |_| pool.map(|name| name.id()),
                |_| Some((account.id(), account_currency)),
            ),
            last4: format!("{last4:04}"),
            expires,
            created_at: self.at.clone(),
            updated_at: self.at.clone(),
        };
        self.named(Kind::Card, no, user_index, None, Some(packed))?;
        self.made(Kind::Card, no, Row::new(doc, Some(partner.no)), &[(By::User, user.no)])
    }

    fn transfer(&mut self, kind: TransferKind, e: &Transfer<'_>, status: Settlement) -> Result<Told, ViewError> {
        let (mut pool_id, mut account_id, mut user_id) = (None, None, None);
        let (row_kind, by, party, partner) = match kind {
            TransferKind::TopUp | TransferKind::Withdrawal => {
                let pool = self.name(Kind::Pool, e.party)?;
                pool_id = Some(pool.id().text(Thing::Pool));
                let kind = if kind == TransferKind::TopUp { Kind::TopUp } else { Kind::Withdrawal };
                (kind, By::Pool, pool, self.name(Kind::Partner, pool.owner)?)
            }
            TransferKind::PayIn | TransferKind::Payout => {
                let account = self.name(Kind::Account, e.party)?;
                account_id = Some(account.id().text(Thing::Account));
                let kind = if kind == TransferKind::PayIn { Kind::PayIn } else { Kind::Payout };
                (kind, By::Account, account, self.user(account.owner)?.1)
            }
            TransferKind::CryptoDeposit => {
                let (user, partner) = self.user(e.party)?;
                user_id = Some(user.id().text(Thing::User));
                (Kind::CryptoDeposit, By::User, user, partner)
            }
        };
        let doc = TransferDoc {
            id: self.id(e.no).text(thing_of(kind)),
            pool_id,
            account_id,
            user_id,
            amount: MoneyDoc::new(e.amount, e.currency),
            reference: e.reference.to_string(),
            beneficiary: e.beneficiary.as_deref().map(str::to_owned),
            status: status.word().to_owned(),
            created_at: self.at.clone(),
            updated_at: self.at.clone(),
        };
        let reference = Some(doc.reference.clone());
        self.made(row_kind, e.no, Row::new(doc, Some(partner.no)), &[(by, party.no)])?;
        Ok(Told { reference, ..Told::default() })
    }

    fn transfer_ended(&mut self, kind: Kind, e: &TransferEnded, status: Settlement) -> Result<Told, ViewError> {
        let mut reference = None;
        self.changed(kind, e.no, |row: &mut Row<TransferDoc>, at| {
            row.doc.status = status.word().to_owned();
            row.doc.updated_at = at;
            reference = Some(row.doc.reference.clone());
        })?;
        Ok(Told { reference, ..Told::default() })
    }

    fn quote(&mut self, e: &QuoteMade) -> Result<Told, ViewError> {
        let (user, partner) = self.user(e.user)?;
        let doc = QuoteDoc {
            id: self.id(e.no).text(Thing::Quote),
            user_id: user.id().text(Thing::User),
            from: MoneyDoc::new(e.from_amount, e.from),
            to: MoneyDoc::new(e.to_amount, e.to),
            rate: e.rate.text(),
            markup_bps: e.rate.markup_bps,
            fee: MoneyDoc::new(e.fee, e.to),
            expires_at: e.expires_at.rfc3339(),
            created_at: self.at.clone(),
        };
        self.made(Kind::Quote, e.no, Row::new(doc, Some(partner.no)), &[(By::User, user.no)])
    }

    fn off_ramp(&mut self, e: &OffRampExecuted<'_>) -> Result<Told, ViewError> {
        let quote: Row<QuoteDoc> = self.rows.row(&key::doc(Kind::Quote, e.quote))?.ok_or_else(|| missing("a quote"))?;
        let account = self.name(Kind::Account, e.account)?;
        let (user, partner) = self.user(account.owner)?;
        let doc = OffRampDoc {
            id: self.id(e.no).text(Thing::OffRamp),
            quote_id: quote.doc.id,
            user_id: quote.doc.user_id,
            account_id: account.id().text(Thing::Account),
            from: quote.doc.from,
            to: quote.doc.to,
            rate: quote.doc.rate,
            fee: quote.doc.fee,
            reference: e.reference.as_deref().map(str::to_owned),
            created_at: self.at.clone(),
        };
        let reference = Some(doc.reference.clone().unwrap_or_else(|| doc.id.clone()));
        self.made(Kind::OffRamp, e.no, Row::new(doc, Some(partner.no)), &[(By::User, user.no)])?;
        Ok(Told { reference, ..Told::default() })
    }

    fn authorizations(&mut self, event: &Event<'_>) -> Result<Told, ViewError> {
        let mut told = Told::default();
        for no in concerned(event) {
            let row_key = key::doc(Kind::Authorization, no);
            let kept: Option<Row<AuthorizationFold>> = self.rows.row(&row_key)?;
            let before = kept.as_ref().map(|row| row.doc.clone());
            let lookup = Lookup::new(self.rows);
            let fold = match kept {
                Some(mut row) => row.doc.apply(self.place, event).then_some(row.doc),
                None => AuthorizationFold::begin(&lookup, self.requests, self.place, event).filter(|f| f.no == no),
            };
            let event_doc = fold.as_ref().map(|fold| fold.event_doc(&lookup, self.place, event));
            lookup.finish(())?;
            let (Some(mut fold), Some(event_doc)) = (fold, event_doc) else {
                return Err(missing("an authorization"));
            };
            if before.is_none() {
                fold.created_at = self.sorted_at.0;
            }
            fold.updated_at = self.sorted_at.0;
            self.list_authorization(before.as_ref(), &fold);
            told.memos.extend(memo(before.as_ref(), &fold));
            told.authorization.get_or_insert_with(|| fold.doc.id.clone());
            self.rows.put(key::event(no, self.place.seq), &event_doc)?;
            if let Event::AnsweredTooLate(e) = event {
                self.late_approval(&fold, e)?;
            }
            let partner = fold.owners.partner;
            self.rows.put(row_key, &Row::new(fold, partner))?;
        }
        told.reference.clone_from(&told.authorization);
        Ok(told)
    }

    /// A partner's approval that came too late is listed with what it put at risk.
    fn late_approval(&mut self, fold: &AuthorizationFold, e: &AnsweredTooLate<'_>) -> Result<(), ViewError> {
        let lookup = Lookup::new(self.rows);
        let partner = fold.partner.and_then(|index| lookup.partner(index));
        lookup.finish(())?;
        let standing = Standing::of_fold(partner, fold);
        let doc = standing.and_then(|standing| late_approval(&standing, self.place.seq, self.place.at, &e.said));
        let Some(doc) = doc else { return Ok(()) };
        let lists = [Some((By::Late, 0)), partner.map(|id| (By::PartnerLate, id.no))];
        for (by, owner) in lists.into_iter().flatten() {
            self.rows.put(key::timed(Kind::Authorization, by, owner, self.sorted_at, fold.no), &doc)?;
        }
        Ok(())
    }

    fn list_authorization(&mut self, before: Option<&AuthorizationFold>, now: &AuthorizationFold) {
        let kind = Kind::Authorization;
        let (no, owners) = (now.no, now.owners);
        if before.is_none() {
            let created = Timestamp(now.created_at);
            let lists = [
                Some((By::All, 0)),
                owners.partner.map(|o| (By::Partner, o)),
                owners.user.map(|o| (By::User, o)),
                owners.card.map(|o| (By::Card, o)),
                owners.pool.map(|o| (By::Pool, o)),
            ];
            for (by, owner) in lists.into_iter().flatten() {
                self.rows.put_bytes(key::timed(kind, by, owner, created, no), Vec::new());
            }
        }
        let updated = [Some((By::Updated, 0)), owners.partner.map(|o| (By::PartnerUpdated, o))];
        for (by, owner) in updated.into_iter().flatten() {
            if let Some(before) = before {
                self.rows.remove(key::timed(kind, by, owner, Timestamp(before.updated_at), no));
            }
            self.rows.put_bytes(key::timed(kind, by, owner, Timestamp(now.updated_at), no), Vec::new());
        }
    }

    fn balance(&self, source: Source) -> Result<Balance, ViewError> {
        Ok(balance(self.rows.bytes(&key::balance(source))?.as_deref()))
    }

    /// Balances and statement lines of the sources that an event moves.
    fn post(&mut self, word: &'static str, postings: &Postings, told: &Told) -> Result<(), ViewError> {
        for movement in movements(postings) {
            let Movement { source, available, held, through } = movement;
            let mut balance = self.balance(source)?;
            let before = balance.posted();
            balance.available = balance.available.saturating_add(available);
            balance.held = balance.held.saturating_add(held);
            let bytes = [balance.available.to_be_bytes(), balance.held.to_be_bytes()].concat();
            self.rows.put_bytes(key::balance_after(source, self.sorted_at, self.place.seq), bytes.clone());
            self.rows.put_bytes(key::balance(source), bytes);
            let (kind, index) = kind_of(source);
            let own = self.name(kind, index)?.currency;
            if matches!(source, Source::Account(_)) && through != 0 {
                self.line(source, 0, word, through, own, before, true, told)?;
                self.line(source, 1, word, -through, own, before, true, told)?;
            }
            if balance.posted() != before {
                let amount = balance.posted().saturating_sub(before);
                self.line(source, 2, word, amount, own, balance.posted(), false, told)?;
            }
        }
        Ok(())
    }

    /// Lines for what a pool promised, or took back, through a linked account.
    fn memos(&mut self, word: &'static str, told: &Told) -> Result<(), ViewError> {
        for (place, memo) in (0u16..).zip(&told.memos) {
            let source = Source::Account(memo.linked);
            let after = self.balance(source)?.posted();
            let first = place.saturating_mul(2).saturating_add(3);
            self.line(source, first, word, memo.amount, memo.currency, after, true, told)?;
            self.line(source, first + 1, word, -memo.amount, memo.currency, after, true, told)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // the members of one line
    fn line(
        &mut self,
        source: Source,
        place: u16,
        word: &'static str,
        amount: i64,
        currency: u16,
        after: i64,
        memo: bool,
        told: &Told,
    ) -> Result<(), ViewError> {
        let row = LineRow {
            seq: self.place.seq,
            at: self.place.at.0,
            kind: word.to_owned(),
            reference: told.reference.clone(),
            amount,
            currency,
            after,
            memo,
            authorization: told.authorization.clone(),
        };
        self.rows.put(key::line(source, self.sorted_at, self.place.seq, place), &row)
    }
}

/// What changed of a pool's promise.
fn memo(before: Option<&AuthorizationFold>, now: &AuthorizationFold) -> Option<Memo> {
    let promised = now.promised()?;
    let was = before.and_then(AuthorizationFold::promised).map_or(0, |memo| memo.amount);
    let amount = promised.amount.saturating_sub(was);
    (amount != 0).then_some(Memo { amount, ..promised })
}

fn currency(number: u16) -> Result<Currency, ViewError> {
    super::statement::currency(number).ok_or_else(|| ViewError::Damaged("a currency does not read".to_owned()))
}
