//! Folds the sidecar's events in: each claim is checked against the book first, then everything changes at once.
//!
//! Must never decide anything: what a command may do was settled when its event was made. What is checked here is
//! what corruption or a bug would break: numbers, indices, states, and that the lines move what the event says.

use std::borrow::Cow;

use super::commands::kyc_may_move;
use super::{
    Account, ApiKey, Balance, Book, Card, IdempotencyRecord, KycStep, Link, OffRamp, Partner, Pool, Quote, RateEntry,
    SealedSecret, TransferKind, TransferRecord, User, Violation, dense,
};
use crate::event::Event;
use crate::event::admin::{
    AccountOpened, CardChanged, CardCreated, Funding, Idempotent, KeyCreated, KeyRevoked, KycChanged, LinkDefined,
    LinkSigned, OffRampExecuted, PartnerChanged, PartnerCreated, PartnerTerms, PoolChanged, PoolCreated, QuoteMade,
    RateSet, SecretRotated, Started, Transfer, TransferEnded, UserChanged, UserCreated,
};
use crate::event::posting::{Ledger, Postings};
use crate::event::words::{CardStatus, Kyc, Settlement, Status};
use crate::id::{Id, No};
use crate::limits::{IDEMPOTENCY_RETENTION_US, PURGE_PER_EVENT, QUOTE_RETENTION_US};
use crate::money::Currency;
use crate::time::Timestamp;

/// Epochs have 24 bits.
const MAX_EPOCH: u32 = 0xff_ffff;

impl Book {
    /// Folds one of the sidecar's events in. The caller has checked its sequence and its lines.
    pub(super) fn apply_admin(&mut self, seq: u64, at: Timestamp, event: &Event<'_>) -> Result<(), Violation> {
        match event {
            Event::Started(e) => self.apply_started(e),
            Event::LinkDefined(e) => self.apply_link_defined(e),
            Event::LinkSigned(e) => self.apply_link_signed(e),
            Event::PartnerCreated(e) => self.apply_partner_created(seq, at, e),
            Event::PartnerChanged(e) => self.apply_partner_changed(at, e),
            Event::SecretRotated(e) => self.apply_secret_rotated(seq, at, e),
            Event::KeyCreated(e) => self.apply_key_created(at, e),
            Event::KeyRevoked(e) => self.apply_key_revoked(e),
            Event::UserCreated(e) => self.apply_user_created(at, e),
            Event::UserChanged(e) => self.apply_user_changed(at, e),
            Event::KycChanged(e) => self.apply_kyc_changed(at, e),
            Event::AccountOpened(e) => self.apply_account_opened(at, e),
            Event::PoolCreated(e) => self.apply_pool_created(at, e),
            Event::PoolChanged(e) => self.apply_pool_changed(at, e),
            Event::CardCreated(e) => self.apply_card_created(seq, at, e),
            Event::CardChanged(e) => self.apply_card_changed(at, e),
            Event::TopUpCreated(e) => self.apply_transfer(at, e, TransferKind::TopUp),
            Event::Withdrawn(e) => self.apply_transfer(at, e, TransferKind::Withdrawal),
            Event::PaidIn(e) => self.apply_transfer(at, e, TransferKind::PayIn),
            Event::PayoutCreated(e) => self.apply_transfer(at, e, TransferKind::Payout),
            Event::CryptoArrived(e) => self.apply_transfer(at, e, TransferKind::CryptoDeposit),
            Event::TopUpSettled(e) => self.apply_ended(at, e, TransferKind::TopUp, Settlement::Settled),
            Event::TopUpFailed(e) => self.apply_ended(at, e, TransferKind::TopUp, Settlement::Failed),
            Event::PayoutSettled(e) => self.apply_ended(at, e, TransferKind::Payout, Settlement::Settled),
            Event::PayoutFailed(e) => self.apply_ended(at, e, TransferKind::Payout, Settlement::Failed),
            Event::RateSet(e) => self.apply_rate_set(at, e),
            Event::QuoteMade(e) => self.apply_quote_made(at, e),
            Event::OffRampExecuted(e) => self.apply_off_ramp_executed(at, e),
            Event::Idempotent(e) => self.apply_idempotent(seq, at, e),
            Event::Stopped(_)
            | Event::TapTaken(_)
            | Event::TapDecided(_)
            | Event::AnsweredTooLate(_)
            | Event::Advised(_)
            | Event::Reversed(_)
            | Event::HoldExpired(_)
            | Event::ReplyLate(_)
            | Event::Recorded(_) => Err(Violation::Missing("an event of the switch reached the sidecar's fold")),
        }
    }

    /// Forgets REST answers whose time is over: a few per event, the oldest first.
    pub(super) fn purge_idempotency(&mut self, now: Timestamp) {
        for _ in 0..PURGE_PER_EVENT {
            let over = |key: &[u8; 16]| self.idempotency.get(key).is_none_or(|record| record.expires_at <= now);
            if !self.idempotency_queue.front().is_some_and(over) {
                return;
            }
            self.forget_oldest_answer();
        }
    }

    /// Forgets quotes that nobody used, some time after they ended: a few per event, the oldest first. Used ones stay
    /// with their off-ramps.
    pub(super) fn purge_quotes(&mut self, now: Timestamp) {
        for _ in 0..PURGE_PER_EVENT {
            let Some(no) = self.quote_queue.front().copied() else { return };
            let quote = self.quotes.get(&no);
            if quote.is_some_and(|q| q.used_by.is_none() && q.expires_at.plus_us(QUOTE_RETENTION_US) > now) {
                return;
            }
            let used = quote.is_some_and(|q| q.used_by.is_some());
            self.quote_queue.pop_front();
            if !used {
                self.quotes.remove(&no);
            }
        }
    }

    fn forget_oldest_answer(&mut self) -> Option<[u8; 16]> {
        let key = self.idempotency_queue.pop_front()?;
        self.idempotency.remove(&key);
        Some(key)
    }

    fn id(&self, no: No) -> Id {
        Id { epoch: self.epoch, no }
    }

    fn apply_started(&mut self, e: &Started<'_>) -> Result<(), Violation> {
        if e.epoch <= self.epoch || e.epoch > MAX_EPOCH {
            return Err(Violation::Missing("an epoch follows the one before and has 24 bits"));
        }
        if e.dedup_window_us < 0 {
            return Err(Violation::Missing("the window of repeats is negative"));
        }
        self.epoch = e.epoch;
        self.dedup_window_us = e.dedup_window_us;
        Ok(())
    }

    /// A link keeps its number and name for ever; its spec may change between two starts.
    fn apply_link_defined(&mut self, e: &LinkDefined<'_>) -> Result<(), Violation> {
        let index = usize::from(e.link);
        if index == self.links.len() && self.links.iter().all(|l| l.name != e.name) {
            let (name, spec) = (e.name.to_string(), e.spec.to_string());
            self.links.push(Link { name, spec, signed_on: false });
            return Ok(());
        }
        let link = self.links.get_mut(index).filter(|l| l.name == e.name);
        link.ok_or(Violation::Missing("the link's number belongs to another name"))?.spec = e.spec.to_string();
        Ok(())
    }

    fn apply_link_signed(&mut self, e: &LinkSigned) -> Result<(), Violation> {
        let link = self.links.get_mut(usize::from(e.link)).ok_or(Violation::Missing("the link is unknown"))?;
        link.signed_on = e.on;
        Ok(())
    }

    fn apply_partner_created(&mut self, seq: u64, at: Timestamp, e: &PartnerCreated<'_>) -> Result<(), Violation> {
        let PartnerCreated { no, terms, secret } = e;
        let id = self.id(*no);
        let mut partner = Partner {
            id,
            name: String::new(),
            decision_url: None,
            decision_mode: terms.decision_mode,
            decision_timeout_ms: None,
            services: 0,
            timeout_code: None,
            unreachable_code: None,
            bad_response_code: None,
            status: terms.status,
            secret: SealedSecret { epoch: self.epoch, seq, sealed: secret.as_ref().into() },
            previous_secret: None,
            created_at: at,
            updated_at: at,
        };
        set_terms(&mut partner, terms);
        self.take_no(*no)?;
        self.identities.name(*no, dense(self.partners.len()));
        self.partners.push(partner);
        Ok(())
    }

    fn apply_partner_changed(&mut self, at: Timestamp, e: &PartnerChanged<'_>) -> Result<(), Violation> {
        let partner = entry(&mut self.partners, e.partner).ok_or(Violation::Missing("the partner is unknown"))?;
        set_terms(partner, &e.terms);
        partner.updated_at = at;
        Ok(())
    }

    fn apply_secret_rotated(&mut self, seq: u64, at: Timestamp, e: &SecretRotated<'_>) -> Result<(), Violation> {
        let fresh = SealedSecret { epoch: self.epoch, seq, sealed: e.secret.as_ref().into() };
        let partner = entry(&mut self.partners, e.partner).ok_or(Violation::Missing("the partner is unknown"))?;
        partner.previous_secret = Some((std::mem::replace(&mut partner.secret, fresh), e.previous_until));
        partner.updated_at = at;
        Ok(())
    }

    fn apply_key_created(&mut self, at: Timestamp, e: &KeyCreated<'_>) -> Result<(), Violation> {
        if let Some(partner) = e.partner {
            self.partner(partner).ok_or(Violation::Missing("the partner is unknown"))?;
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        let (partner, name, hash) = (e.partner, e.name.to_string(), e.hash);
        self.keys.insert(e.no, ApiKey { id, partner, name, hash, revoked: false, created_at: at });
        Ok(())
    }

    fn apply_key_revoked(&mut self, e: &KeyRevoked) -> Result<(), Violation> {
        let key = self.keys.get_mut(&e.no).filter(|k| !k.revoked);
        key.ok_or(Violation::Missing("the key is unknown or was revoked before"))?.revoked = true;
        Ok(())
    }

    fn apply_user_created(&mut self, at: Timestamp, e: &UserCreated<'_>) -> Result<(), Violation> {
        self.partner(e.partner).ok_or(Violation::Missing("the partner is unknown"))?;
        if self.identities.user(e.partner, &e.external_id, &self.users).is_some() {
            return Err(Violation::Missing("the user's external id is taken"));
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        let index = self.users.len();
        self.users.push(User {
            id,
            partner: e.partner,
            external_id: Box::from(&*e.external_id),
            country: Box::from(&*e.country),
            time_zone: e.time_zone.as_deref().map(Box::from),
            status: Status::Active,
            kyc: Kyc::NotStarted,
            kyc_steps: Vec::new(),
            accounts: Vec::new(),
            created_at: at,
            updated_at: at,
        });
        self.identities.add_user(e.no, index, e.partner, &e.external_id);
        Ok(())
    }

    fn apply_user_changed(&mut self, at: Timestamp, e: &UserChanged<'_>) -> Result<(), Violation> {
        let user = self.users.get_mut(e.user).ok_or(Violation::Missing("the user is unknown"))?;
        user.status = e.status;
        user.country = Box::from(&*e.country);
        user.time_zone = e.time_zone.as_deref().map(Box::from);
        user.updated_at = at;
        Ok(())
    }

    fn apply_kyc_changed(&mut self, at: Timestamp, e: &KycChanged<'_>) -> Result<(), Violation> {
        let KycChanged { user, status, level, provider, reference, reason } = e;
        let user = self.users.get_mut(*user).ok_or(Violation::Missing("the user is unknown"))?;
        if !kyc_may_move(user.kyc, *status) {
            return Err(Violation::Missing("KYC cannot take this step from where it stands"));
        }
        let text = |t: &Option<Cow<'_, str>>| t.as_deref().map(Box::from);
        let (level, provider, reference, reason) = (text(level), text(provider), text(reference), text(reason));
        user.kyc = *status;
        // Millions of users have these few: no room is kept for more.
        user.kyc_steps.reserve_exact(1);
        user.kyc_steps.push(KycStep { status: *status, level, provider, reference, reason, at });
        user.updated_at = at;
        Ok(())
    }

    fn apply_account_opened(&mut self, at: Timestamp, e: &AccountOpened) -> Result<(), Violation> {
        self.user(e.user).ok_or(Violation::Missing("the user is unknown"))?;
        if !Currency::ACCOUNTS.contains(&e.currency) || self.account_of(e.user, e.currency).is_some() {
            return Err(Violation::Missing("the account exists, or no account has this currency"));
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        let index = self.accounts.len();
        let (user, currency, balance) = (e.user, e.currency, Balance::default());
        self.accounts.push(Account { id, user, currency, balance, created_at: at });
        self.identities.name(e.no, index);
        if let Some(user) = self.users.get_mut(user) {
            user.accounts.reserve_exact(1);
            user.accounts.push(index);
        }
        Ok(())
    }

    fn apply_pool_created(&mut self, at: Timestamp, e: &PoolCreated) -> Result<(), Violation> {
        self.partner(e.partner).ok_or(Violation::Missing("the partner is unknown"))?;
        if !Currency::POOLS.contains(&e.currency) || e.minimum < 0 {
            return Err(Violation::Missing("no pool has this currency or minimum"));
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        self.identities.name(e.no, dense(self.pools.len()));
        self.pools.push(Pool {
            id,
            partner: e.partner,
            currency: e.currency,
            minimum: e.minimum,
            status: Status::Active,
            balance: Balance::default(),
            created_at: at,
            updated_at: at,
        });
        Ok(())
    }

    fn apply_pool_changed(&mut self, at: Timestamp, e: &PoolChanged) -> Result<(), Violation> {
        let pool = entry(&mut self.pools, e.pool).filter(|_| e.minimum >= 0);
        let pool = pool.ok_or(Violation::Missing("the pool is unknown or its minimum is negative"))?;
        pool.status = e.status;
        pool.minimum = e.minimum;
        pool.updated_at = at;
        Ok(())
    }

    fn apply_card_created(&mut self, seq: u64, at: Timestamp, e: &CardCreated<'_>) -> Result<(), Violation> {
        let partner = self.user(e.user).ok_or(Violation::Missing("the user is unknown"))?.partner;
        let (pool, account) = match e.funding {
            Funding::Pool { pool, linked } => (Some(pool), linked),
            Funding::Account { account } => (None, account),
            Funding::PartnerChoice { pool, account } => (Some(pool), account),
        };
        if pool.is_some_and(|pool| self.pool(pool).is_none_or(|p| p.partner != partner)) {
            return Err(Violation::Missing("the card's pool is unknown or another partner's"));
        }
        if self.account(account).is_none_or(|a| a.user != e.user) {
            return Err(Violation::Missing("the card's account is unknown or another user's"));
        }
        if self.identities.card(&e.fingerprint, &self.cards).is_some() {
            return Err(Violation::Missing("the card's PAN is taken"));
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        let index = self.cards.len();
        self.cards.push(Card {
            id,
            user: e.user,
            funding: e.funding,
            fingerprint: e.fingerprint,
            last4: e.last4,
            expires: e.expires,
            expires_at: e.expires.ends(),
            status: CardStatus::Active,
            created_seq: seq,
            created_at: at,
            updated_at: at,
        });
        self.identities.add_card(e.no, index, &e.fingerprint);
        Ok(())
    }

    fn apply_card_changed(&mut self, at: Timestamp, e: &CardChanged) -> Result<(), Violation> {
        let card = self.cards.get_mut(e.card).ok_or(Violation::Missing("the card is unknown"))?;
        if card.status == CardStatus::Closed {
            return Err(Violation::Missing("the card is closed for good"));
        }
        card.status = e.status;
        card.updated_at = at;
        Ok(())
    }

    fn apply_transfer(&mut self, at: Timestamp, e: &Transfer<'_>, kind: TransferKind) -> Result<(), Violation> {
        let (party, own, moves, status) = match kind {
            TransferKind::TopUp => {
                (self.pool(e.party).map(|p| p.currency), Ledger::PoolAvailable(e.party), 0, Settlement::Pending)
            }
            TransferKind::Withdrawal => {
                (self.pool(e.party).map(|p| p.currency), Ledger::PoolAvailable(e.party), 1, Settlement::Settled)
            }
            TransferKind::PayIn => {
                (self.account(e.party).map(|a| a.currency), Ledger::AccountAvailable(e.party), -1, Settlement::Settled)
            }
            TransferKind::Payout => {
                (self.account(e.party).map(|a| a.currency), Ledger::AccountAvailable(e.party), 1, Settlement::Pending)
            }
            TransferKind::CryptoDeposit => {
                let currency = self.user(e.party).map(|_| e.currency).filter(|c| c.is_crypto());
                (currency, Ledger::CryptoDeposit(e.party), -1, Settlement::Settled)
            }
        };
        if party != Some(e.currency) {
            return Err(Violation::Missing("the transfer's party is unknown or has another currency"));
        }
        if e.amount <= 0 || debited(&e.postings, own, e.currency) != moves * i128::from(e.amount) {
            return Err(Violation::Missing("the lines do not move the transfer's amount"));
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        self.post(&e.postings);
        let record = TransferRecord {
            id,
            kind,
            party: e.party,
            currency: e.currency,
            amount: e.amount,
            reference: e.reference.to_string(),
            beneficiary: e.beneficiary.as_deref().map(str::to_owned),
            status,
            created_at: at,
            updated_at: at,
        };
        self.transfers.insert(e.no, record);
        Ok(())
    }

    fn apply_ended(
        &mut self,
        at: Timestamp,
        e: &TransferEnded,
        kind: TransferKind,
        status: Settlement,
    ) -> Result<(), Violation> {
        let record = self.transfers.get(&e.no).filter(|t| t.kind == kind && t.status == Settlement::Pending);
        let record = record.ok_or(Violation::Missing("the transfer is unknown or has ended before"))?;
        let (currency, amount) = (record.currency, i128::from(record.amount));
        let moved = match (kind, status) {
            (TransferKind::TopUp, Settlement::Settled) => {
                debited(&e.postings, Ledger::Bank, currency) + debited(&e.postings, Ledger::Chain, currency) == amount
            }
            (TransferKind::Payout, _) => debited(&e.postings, Ledger::PayoutTransit, currency) == amount,
            (TransferKind::TopUp, Settlement::Pending | Settlement::Failed)
            | (TransferKind::Withdrawal | TransferKind::PayIn | TransferKind::CryptoDeposit, _) => {
                e.postings.lines().is_empty()
            }
        };
        if !moved {
            return Err(Violation::Missing("the lines do not move the transfer's amount"));
        }
        self.post(&e.postings);
        if let Some(record) = self.transfers.get_mut(&e.no) {
            record.status = status;
            record.updated_at = at;
        }
        Ok(())
    }

    fn apply_rate_set(&mut self, at: Timestamp, e: &RateSet) -> Result<(), Violation> {
        if e.rate.mantissa <= 0 || e.rate.markup_bps > 10_000 || e.from == e.to {
            return Err(Violation::Missing("the rate is out of its range"));
        }
        self.rates.insert((e.from, e.to), RateEntry { rate: e.rate, updated_at: at });
        Ok(())
    }

    fn apply_quote_made(&mut self, at: Timestamp, e: &QuoteMade) -> Result<(), Violation> {
        let QuoteMade { no, user, from, from_amount, to, to_amount, fee, rate, expires_at } = *e;
        self.user(user).ok_or(Violation::Missing("the user is unknown"))?;
        if from_amount <= 0 || to_amount <= 0 || fee < 0 {
            return Err(Violation::Missing("the quote's amounts are out of their range"));
        }
        let id = self.id(no);
        self.take_no(no)?;
        let quote =
            Quote { id, user, from, from_amount, to, to_amount, fee, rate, expires_at, used_by: None, created_at: at };
        self.quotes.insert(no, quote);
        self.quote_queue.push_back(no);
        Ok(())
    }

    /// Invariant 8: once, and the credit equals the quote.
    fn apply_off_ramp_executed(&mut self, at: Timestamp, e: &OffRampExecuted<'_>) -> Result<(), Violation> {
        let quote = self.quotes.get(&e.quote).filter(|q| q.used_by.is_none());
        let quote = quote.ok_or(Violation::Missing("the quote is unknown or was used before"))?;
        let owner = self.account(e.account).filter(|a| a.user == quote.user && a.currency == quote.to);
        owner.ok_or(Violation::Missing("the credited account is not the quote's"))?;
        let credited =
            debited(&e.postings, Ledger::AccountAvailable(e.account), quote.to) == -i128::from(quote.to_amount);
        let sold = debited(&e.postings, Ledger::Fx, quote.from) == -i128::from(quote.from_amount);
        let earned = debited(&e.postings, Ledger::Fees, quote.to) == -i128::from(quote.fee);
        if !credited || !sold || !earned {
            return Err(Violation::Missing("the lines do not move what was quoted"));
        }
        let id = self.id(e.no);
        self.take_no(e.no)?;
        self.post(&e.postings);
        let reference = e.reference.as_deref().map(str::to_owned);
        self.off_ramps.insert(e.no, OffRamp { id, quote: e.quote, account: e.account, reference, created_at: at });
        if let Some(quote) = self.quotes.get_mut(&e.quote) {
            quote.used_by = Some(e.no);
        }
        Ok(())
    }

    fn apply_idempotent(&mut self, seq: u64, at: Timestamp, e: &Idempotent<'_>) -> Result<(), Violation> {
        // Time never steps back, so that the queue stays ordered by expiry.
        let now = self.last_at.max(at);
        if let Some(record) = self.idempotency.get(&e.key) {
            if record.expires_at > now {
                return Err(Violation::Missing("the idempotency key is still remembered"));
            }
            // The purge is behind: what stands before this key in the queue is older, so it is over as well.
            while self.forget_oldest_answer().is_some_and(|key| key != e.key) {}
        }
        let expires_at = now.plus_us(IDEMPOTENCY_RETENTION_US);
        self.idempotency.insert(e.key, IdempotencyRecord { body: e.body, seq, expires_at });
        self.idempotency_queue.push_back(e.key);
        Ok(())
    }
}

fn entry<T>(table: &mut [T], index: u32) -> Option<&mut T> {
    table.get_mut(usize::try_from(index).ok()?)
}

/// The sum of the debits of one account's lines; below zero when it is credited.
fn debited(postings: &Postings, ledger: Ledger, currency: Currency) -> i128 {
    let lines = postings.lines().iter().filter(|l| l.ledger == ledger && l.currency == currency);
    lines.map(|l| i128::from(l.debit)).sum()
}

fn set_terms(partner: &mut Partner, terms: &PartnerTerms<'_>) {
    let PartnerTerms {
        name,
        decision_url,
        decision_mode,
        decision_timeout_ms,
        services,
        timeout_code,
        unreachable_code,
        bad_response_code,
        status,
    } = terms;
    partner.name = name.to_string();
    partner.decision_url = decision_url.as_deref().map(str::to_owned);
    partner.decision_mode = *decision_mode;
    partner.decision_timeout_ms = *decision_timeout_ms;
    partner.services = *services;
    partner.timeout_code = *timeout_code;
    partner.unreachable_code = *unreachable_code;
    partner.bad_response_code = *bad_response_code;
    partner.status = *status;
}
