//! The lines of holds, releases and clearings: the one place that knows which accounts money passes through.

use super::{Book, Policy};
use crate::event::admin::Funding;
use crate::event::posting::{Ledger, Postings};
use crate::event::tap::Source;
use crate::money::{Currency, Money};

/// Lines under construction, aware of the book and of the lines before.
pub(super) struct Lines<'a> {
    book: &'a Book,
    pub(super) postings: Postings,
}

impl<'a> Lines<'a> {
    pub(super) fn new(book: &'a Book) -> Self {
        Self { book, postings: Postings::none() }
    }

    /// The balance of an account as it will be after the lines so far.
    pub(super) fn balance(&self, ledger: Ledger, currency: Currency) -> i64 {
        let before = self.book.ledger_balance(ledger, currency);
        let lines = self.postings.lines().iter().filter(|l| l.ledger == ledger && l.currency == currency);
        let debits: i64 = lines.map(|l| l.debit).sum();
        if ledger.is_asset() { before.saturating_add(debits) } else { before.saturating_sub(debits) }
    }

    fn receivable(&self, source: Source) -> Option<Ledger> {
        self.book.partner_of(source).map(Ledger::Receivable)
    }

    /// available → held. The caller has checked that it is there.
    pub(super) fn hold(&mut self, source: Source, amount: Money) {
        self.postings.transfer(source.available(), source.held(), amount.currency, amount.minor);
    }

    /// What an advice forces: available as far as it goes, the partner owes the rest.
    pub(super) fn force_hold(&mut self, source: Source, amount: Money) {
        self.take(source, amount);
        self.postings.credit(source.held(), amount.currency, amount.minor);
    }

    /// Money from a source whether it is there or not: what is not there, its partner owes.
    fn take(&mut self, source: Source, amount: Money) {
        let there = self.balance(source.available(), amount.currency).clamp(0, amount.minor.max(0));
        self.postings.debit(source.available(), amount.currency, there);
        if let Some(receivable) = self.receivable(source) {
            self.postings.debit(receivable, amount.currency, amount.minor - there);
        }
    }

    /// Money back to a source: what the partner owes first, then available.
    fn give_back(&mut self, source: Source, amount: Money) {
        let mut rest = amount.minor;
        if let Some(receivable) = self.receivable(source) {
            let owed = self.balance(receivable, amount.currency).clamp(0, rest.max(0));
            self.postings.credit(receivable, amount.currency, owed);
            rest -= owed;
        }
        self.postings.credit(source.available(), amount.currency, rest);
    }

    /// held → available (receivable first).
    pub(super) fn release(&mut self, source: Source, amount: Money) {
        self.postings.debit(source.held(), amount.currency, amount.minor);
        self.give_back(source, amount);
    }

    /// The account that a pool's clearing passes through, with its currency.
    fn linked(&self, source: Source, card: Option<u32>) -> Option<(Ledger, Currency)> {
        let Source::Pool(_) = source else { return None };
        let account = match self.book.card(card?)?.funding {
            Funding::Pool { linked, .. } => linked,
            Funding::PartnerChoice { account, .. } => account,
            Funding::Account { .. } => return None,
        };
        Some((Ledger::AccountAvailable(account), self.book.account(account)?.currency))
    }

    fn through(&mut self, linked: Option<(Ledger, Currency)>, amount: Money) {
        if let Some((ledger, currency)) = linked
            && currency == amount.currency
        {
            // In first, out second, whichever way the money goes: the statement never shows less than is there.
            self.postings.credit(ledger, currency, amount.minor.saturating_abs());
            self.postings.debit(ledger, currency, amount.minor.saturating_abs());
        }
    }

    /// held → scheme, through the linked account and the FX position where they apply.
    pub(super) fn clear(&mut self, card: Option<u32>, source: Source, funded: Money, billed: Money) {
        self.postings.debit(source.held(), funded.currency, funded.minor);
        self.cross(card, source, funded, billed);
        self.postings.credit(Ledger::Scheme, billed.currency, billed.minor);
    }

    /// scheme → available (receivable first): the way of [`Lines::clear`] back.
    pub(super) fn clear_back(&mut self, card: Option<u32>, source: Source, funded: Money, billed: Money) {
        self.postings.debit(Ledger::Scheme, billed.currency, billed.minor);
        self.cross(
            card,
            source,
            Money::new(-funded.minor, funded.currency),
            Money::new(-billed.minor, billed.currency),
        );
        self.give_back(source, funded);
    }

    /// scheme → available: money that comes anew and pays no debt on its way.
    pub(super) fn refund(&mut self, card: Option<u32>, source: Source, funded: Money, billed: Money) {
        self.postings.debit(Ledger::Scheme, billed.currency, billed.minor);
        self.cross(
            card,
            source,
            Money::new(-funded.minor, funded.currency),
            Money::new(-billed.minor, billed.currency),
        );
        self.postings.credit(source.available(), funded.currency, funded.minor);
    }

    /// What a reversed refund takes back: available as far as it goes, the partner owes the rest → scheme.
    pub(super) fn refund_back(&mut self, card: Option<u32>, source: Source, funded: Money, billed: Money) {
        self.take(source, funded);
        self.cross(card, source, funded, billed);
        self.postings.credit(Ledger::Scheme, billed.currency, billed.minor);
    }

    /// The lines, when every balance they touch has room for them. Amounts come from strangers: what does not fit
    /// is refused here, so that it can never break the fold.
    pub(super) fn finish(self) -> Option<Postings> {
        debug_assert!(self.postings.balance(), "lines sum to zero in each currency");
        self.book.require_room(&self.postings).ok()?;
        Some(self.postings)
    }

    fn cross(&mut self, card: Option<u32>, source: Source, funded: Money, billed: Money) {
        let linked = self.linked(source, card);
        if funded.currency == billed.currency {
            self.through(linked, billed);
        } else {
            self.through(linked, funded);
            self.postings.credit(Ledger::Fx, funded.currency, funded.minor);
            self.postings.debit(Ledger::Fx, billed.currency, billed.minor);
            self.through(linked, billed);
        }
    }
}

impl Book {
    /// True when the FX position of a currency may change by so much: it stays within its limit, or it comes
    /// nearer to it. The one rule for taps and for the sidecar.
    pub(super) fn fx_allows(&self, policy: &Policy, currency: Currency, change: i64) -> bool {
        let Some(most) = policy.fx_max.get(&currency) else { return true };
        let before = i128::from(self.ledger_balance(Ledger::Fx, currency));
        let after = before + i128::from(change);
        after.abs() <= i128::from(*most) || after.abs() <= before.abs()
    }
}
