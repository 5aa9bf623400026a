//! Rates, quotes and off-ramps: how one currency becomes another, once per quote. A quote reserves nothing; the
//! off-ramp that executes it moves exactly what the quote said or nothing at all.

use std::borrow::Cow;

use super::super::{Book, Done, Policy, Refusal};
use super::{Draft, bounded, require_positive};
use crate::event::Event;
use crate::event::admin::{OffRampExecuted, QuoteMade, RateSet};
use crate::event::posting::{Ledger, Postings};
use crate::event::words::Service;
use crate::id::No;
use crate::limits::QUOTE_LIFETIME_US;
use crate::money::{Currency, Money, Rate, Round};
use crate::time::Timestamp;

/// What a quote costs beside its markup, in minor units of what is bought.
const FEE: i64 = 0;
/// The largest rate, as [`Rate::parse`] has it.
const MAX_RATE: i128 = 1_000_000_000_000;

impl Draft<'_> {
    pub(super) fn set_rate(&mut self, from: Currency, to: Currency, rate: Rate) -> Result<Done, Refusal> {
        if from == to {
            return Err(Refusal::Invalid("a rate is between two different currencies"));
        }
        if rate.markup_bps > 10_000 {
            return Err(Refusal::Invalid("markup_bps must be 0 to 10000"));
        }
        let most = (rate.scale <= Rate::MAX_SCALE).then(|| 10i128.checked_pow(u32::from(rate.scale))).flatten();
        let most = most.and_then(|unit| unit.checked_mul(MAX_RATE));
        if rate.mantissa <= 0 || most.is_none_or(|most| i128::from(rate.mantissa) > most) {
            return Err(Refusal::Invalid("rate must be above zero, at most 10^12, with at most 12 decimals"));
        }
        self.events.push(Event::RateSet(RateSet { from, to, rate }));
        Ok(Done::Rate(from, to))
    }

    pub(super) fn make_quote(&mut self, user: u32, from: Money, to: Currency, now: Timestamp) -> Result<Done, Refusal> {
        self.book.user(user).ok_or(Refusal::NotFound("user"))?;
        require_positive(from)?;
        if !from.currency.is_crypto() && !Currency::ACCOUNTS.contains(&from.currency) {
            return Err(Refusal::Invalid("from must be one of USDC USDT BTC ETH EUR USD CHF SGD HKD JPY"));
        }
        if !Currency::ACCOUNTS.contains(&to) {
            return Err(Refusal::Invalid("to must be one of EUR USD CHF SGD HKD JPY"));
        }
        if from.currency == to {
            return Err(Refusal::Invalid("from and to must be two different currencies"));
        }
        self.require_entitled(user, Service::OffRamp)?;
        let rate = self.book.rates.get(&(from.currency, to)).ok_or(Refusal::RateMissing)?.rate;
        let gross = rate.convert(from.minor, from.currency, to, Round::CreditDown).ok_or(Refusal::Overflow)?;
        let to_amount = gross.checked_sub(FEE).filter(|amount| *amount > 0);
        let to_amount = to_amount.ok_or(Refusal::Invalid("amount is too small: nothing would be credited"))?;
        let no = self.take_no();
        self.events.push(Event::QuoteMade(QuoteMade {
            no,
            user,
            from: from.currency,
            from_amount: from.minor,
            to,
            to_amount,
            fee: FEE,
            rate,
            expires_at: now.plus_us(QUOTE_LIFETIME_US),
        }));
        Ok(Done::Quote(no))
    }

    pub(super) fn execute_quote(
        &mut self,
        no: No,
        reference: Option<&str>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Done, Refusal> {
        let quote = self.book.quote(no).ok_or(Refusal::NotFound("quote"))?;
        let reference = reference.map(|r| bounded(r, "reference is longer than 256 bytes")).transpose()?;
        if quote.used_by.is_some() {
            return Err(Refusal::QuoteUsed);
        }
        if now >= quote.expires_at {
            return Err(Refusal::QuoteExpired);
        }
        self.require_entitled(quote.user, Service::OffRamp)?;

        let payer = if quote.from.is_crypto() {
            Ledger::CryptoDeposit(quote.user)
        } else {
            let account = self.book.account_of(quote.user, quote.from).ok_or(Refusal::InsufficientFunds)?;
            Ledger::AccountAvailable(account)
        };
        if self.book.ledger_balance(payer, quote.from) < quote.from_amount {
            return Err(Refusal::InsufficientFunds);
        }
        let gross = quote.to_amount.checked_add(quote.fee).ok_or(Refusal::Overflow)?;
        self.book.require_fx(policy, quote.from, quote.from_amount)?;
        self.book.require_fx(policy, quote.to, -gross)?;

        let (account, _) = self.account_for(quote.user, quote.to);
        let mut postings = Postings::none();
        postings.transfer(payer, Ledger::Fx, quote.from, quote.from_amount);
        postings.debit(Ledger::Fx, quote.to, gross);
        postings.credit(Ledger::AccountAvailable(account), quote.to, quote.to_amount);
        postings.credit(Ledger::Fees, quote.to, quote.fee);
        self.book.require_room(&postings)?;
        let off_ramp = self.take_no();
        self.events.push(Event::OffRampExecuted(OffRampExecuted {
            no: off_ramp,
            quote: no,
            account,
            reference: reference.map(|r| Cow::Owned(r.to_owned())),
            postings,
        }));
        Ok(Done::OffRamp(off_ramp))
    }
}

impl Book {
    /// Refuses a change of the FX position that would carry it further beyond its limit; one that brings it back is
    /// always welcome.
    fn require_fx(&self, policy: &Policy, currency: Currency, change: i64) -> Result<(), Refusal> {
        if self.fx_allows(policy, currency, change) { Ok(()) } else { Err(Refusal::FxLimit) }
    }
}
