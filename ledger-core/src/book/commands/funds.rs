//! Money in and out: pools, prefunds, withdrawals, pay-ins, payouts, crypto deposits. Each decides the lines of its
//! row of the posting table (design section 4) and no others.

use std::borrow::Cow;

use super::super::{Done, Refusal, TransferKind, TransferRecord, dense};
use super::{Draft, bounded, filled, require_currency, require_positive, vault};
use crate::event::Event;
use crate::event::admin::{PoolChanged, PoolCreated, Transfer, TransferEnded};
use crate::event::posting::{Ledger, Postings};
use crate::event::words::{Service, Settlement, Status};
use crate::id::No;
use crate::money::{Currency, Money};

const REFERENCE: &str = "reference is longer than 256 bytes";
const MINIMUM: &str = "minimum_balance must not be below zero";

impl Draft<'_> {
    pub(super) fn create_pool(&mut self, partner: u32, currency: Currency, minimum: i64) -> Result<Done, Refusal> {
        self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?;
        if !Currency::POOLS.contains(&currency) {
            return Err(Refusal::Invalid("a pool's currency is one of EUR USD CHF SGD HKD JPY USDC"));
        }
        if minimum < 0 {
            return Err(Refusal::Invalid(MINIMUM));
        }
        let no = self.take_no();
        self.events.push(Event::PoolCreated(PoolCreated { no, partner, currency, minimum }));
        Ok(Done::Pool(dense(self.book.pools.len())))
    }

    pub(super) fn change_pool(
        &mut self,
        pool: u32,
        status: Option<Status>,
        minimum: Option<i64>,
    ) -> Result<Done, Refusal> {
        let before = self.book.pool(pool).ok_or(Refusal::NotFound("pool"))?;
        let status = status.unwrap_or(before.status);
        let minimum = minimum.unwrap_or(before.minimum);
        if minimum < 0 {
            return Err(Refusal::Invalid(MINIMUM));
        }
        if status != before.status || minimum != before.minimum {
            self.events.push(Event::PoolChanged(PoolChanged { pool, status, minimum }));
        }
        Ok(Done::Pool(pool))
    }

    pub(super) fn create_top_up(&mut self, pool: u32, amount: Money, reference: &str) -> Result<Done, Refusal> {
        let currency = self.book.pool(pool).ok_or(Refusal::NotFound("pool"))?.currency;
        require_positive(amount)?;
        require_currency(amount, currency)?;
        bounded(reference, REFERENCE)?;
        let transfer = self.transfer(pool, amount, reference, None, Postings::none());
        let no = transfer.no;
        self.events.push(Event::TopUpCreated(transfer));
        Ok(Done::Transfer(no))
    }

    /// What the partner owes is paid before its pool grows.
    pub(super) fn settle_top_up(&mut self, no: No) -> Result<Done, Refusal> {
        let (pool, amount) = self.pending(no, TransferKind::TopUp)?;
        let partner = self.book.pool(pool).ok_or(Refusal::NotFound("pool"))?.partner;
        let receivable = Ledger::Receivable(partner);
        let owed = self.book.ledger_balance(receivable, amount.currency).clamp(0, amount.minor);
        let mut postings = Postings::none();
        postings.debit(vault(amount.currency), amount.currency, amount.minor);
        postings.credit(receivable, amount.currency, owed);
        postings.credit(Ledger::PoolAvailable(pool), amount.currency, amount.minor - owed);
        self.book.require_room(&postings)?;
        self.events.push(Event::TopUpSettled(TransferEnded { no, postings }));
        Ok(Done::Transfer(no))
    }

    pub(super) fn fail_top_up(&mut self, no: No) -> Result<Done, Refusal> {
        self.pending(no, TransferKind::TopUp)?;
        self.events.push(Event::TopUpFailed(TransferEnded { no, postings: Postings::none() }));
        Ok(Done::Transfer(no))
    }

    /// Money leaves a pool only down to its minimum; what is held is out of reach since it is no longer available.
    /// A suspended pool can still be emptied; a suspended partner takes nothing out.
    pub(super) fn withdraw(&mut self, pool: u32, amount: Money, reference: &str) -> Result<Done, Refusal> {
        let found = self.book.pool(pool).ok_or(Refusal::NotFound("pool"))?;
        require_positive(amount)?;
        require_currency(amount, found.currency)?;
        bounded(reference, REFERENCE)?;
        self.require_active_partner(found.partner)?;
        let left = found.balance.available.checked_sub(amount.minor).filter(|left| *left >= 0);
        match left {
            None => return Err(Refusal::InsufficientFunds),
            Some(left) if left < found.minimum => return Err(Refusal::BelowMinimumBalance),
            Some(_) => {}
        }
        let mut postings = Postings::none();
        postings.transfer(Ledger::PoolAvailable(pool), vault(amount.currency), amount.currency, amount.minor);
        self.book.require_room(&postings)?;
        let transfer = self.transfer(pool, amount, reference, None, postings);
        let no = transfer.no;
        self.events.push(Event::Withdrawn(transfer));
        Ok(Done::Transfer(no))
    }

    /// Money that arrived is booked whatever the state of user and partner: it is there.
    pub(super) fn pay_in(&mut self, account: u32, amount: Money, reference: &str) -> Result<Done, Refusal> {
        let found = self.book.account(account).ok_or(Refusal::NotFound("account"))?;
        let partner = self.book.user(found.user).ok_or(Refusal::NotFound("user"))?.partner;
        require_positive(amount)?;
        require_currency(amount, found.currency)?;
        bounded(reference, REFERENCE)?;
        self.require_service(partner, Service::PayIn)?;
        let mut postings = Postings::none();
        postings.transfer(Ledger::Bank, Ledger::AccountAvailable(account), amount.currency, amount.minor);
        self.book.require_room(&postings)?;
        let transfer = self.transfer(account, amount, reference, None, postings);
        let no = transfer.no;
        self.events.push(Event::PaidIn(transfer));
        Ok(Done::Transfer(no))
    }

    pub(super) fn create_payout(
        &mut self,
        account: u32,
        amount: Money,
        beneficiary: &str,
        reference: &str,
    ) -> Result<Done, Refusal> {
        let found = self.book.account(account).ok_or(Refusal::NotFound("account"))?;
        require_positive(amount)?;
        require_currency(amount, found.currency)?;
        filled(beneficiary, "beneficiary must have 1 to 256 bytes")?;
        bounded(reference, REFERENCE)?;
        self.require_entitled(found.user, Service::Payout)?;
        if found.balance.available < amount.minor {
            return Err(Refusal::InsufficientFunds);
        }
        let mut postings = Postings::none();
        postings.transfer(Ledger::AccountAvailable(account), Ledger::PayoutTransit, amount.currency, amount.minor);
        self.book.require_room(&postings)?;
        let transfer = self.transfer(account, amount, reference, Some(beneficiary), postings);
        let no = transfer.no;
        self.events.push(Event::PayoutCreated(transfer));
        Ok(Done::Transfer(no))
    }

    /// The end of a payout is a fact of the bank's: no state of user or partner stands against it.
    pub(super) fn settle_payout(&mut self, no: No) -> Result<Done, Refusal> {
        let (_, amount) = self.pending(no, TransferKind::Payout)?;
        let mut postings = Postings::none();
        postings.transfer(Ledger::PayoutTransit, Ledger::Bank, amount.currency, amount.minor);
        self.book.require_room(&postings)?;
        self.events.push(Event::PayoutSettled(TransferEnded { no, postings }));
        Ok(Done::Transfer(no))
    }

    pub(super) fn fail_payout(&mut self, no: No) -> Result<Done, Refusal> {
        let (account, amount) = self.pending(no, TransferKind::Payout)?;
        let mut postings = Postings::none();
        postings.transfer(Ledger::PayoutTransit, Ledger::AccountAvailable(account), amount.currency, amount.minor);
        self.book.require_room(&postings)?;
        self.events.push(Event::PayoutFailed(TransferEnded { no, postings }));
        Ok(Done::Transfer(no))
    }

    pub(super) fn receive_crypto(&mut self, user: u32, amount: Money, reference: &str) -> Result<Done, Refusal> {
        let partner = self.book.user(user).ok_or(Refusal::NotFound("user"))?.partner;
        require_positive(amount)?;
        if !amount.currency.is_crypto() {
            return Err(Refusal::CurrencyMismatch);
        }
        bounded(reference, REFERENCE)?;
        self.require_service(partner, Service::OffRamp)?;
        let mut postings = Postings::none();
        postings.transfer(Ledger::Chain, Ledger::CryptoDeposit(user), amount.currency, amount.minor);
        self.book.require_room(&postings)?;
        let transfer = self.transfer(user, amount, reference, None, postings);
        let no = transfer.no;
        self.events.push(Event::CryptoArrived(transfer));
        Ok(Done::Transfer(no))
    }

    fn transfer(
        &mut self,
        party: u32,
        amount: Money,
        reference: &str,
        beneficiary: Option<&str>,
        postings: Postings,
    ) -> Transfer<'static> {
        Transfer {
            no: self.take_no(),
            party,
            currency: amount.currency,
            amount: amount.minor,
            reference: Cow::Owned(reference.to_owned()),
            beneficiary: beneficiary.map(|b| Cow::Owned(b.to_owned())),
            postings,
        }
    }

    /// Party and amount of a transfer that is still on its way.
    fn pending(&self, no: No, kind: TransferKind) -> Result<(u32, Money), Refusal> {
        let missing = match kind {
            TransferKind::TopUp => "top-up",
            TransferKind::Withdrawal => "withdrawal",
            TransferKind::PayIn => "pay-in",
            TransferKind::Payout => "payout",
            TransferKind::CryptoDeposit => "crypto deposit",
        };
        let found: &TransferRecord =
            self.book.transfer(no).filter(|t| t.kind == kind).ok_or(Refusal::NotFound(missing))?;
        match found.status {
            Settlement::Pending => Ok((found.party, Money::new(found.amount, found.currency))),
            Settlement::Settled => Err(Refusal::InvalidState("it has settled before")),
            Settlement::Failed => Err(Refusal::InvalidState("it has failed before")),
        }
    }
}
