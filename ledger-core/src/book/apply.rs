//! The only mutator. Checks everything an event claims, then changes, with no way out in between.

use super::{Book, Violation};
use crate::event::Event;
use crate::event::posting::{Ledger, Posting, Postings};
use crate::event::tap::Source;
use crate::money::Currency;
use crate::time::Timestamp;

/// An event that the book cannot have produced: a bug while running, corruption during a replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} ({kind}) breaks the book: {violation}")]
pub struct Broken {
    /// Its sequence.
    pub seq: u64,
    /// Its kind.
    pub kind: &'static str,
    /// What it breaks.
    pub violation: Violation,
}

impl Book {
    /// Folds one event in. Sequences are gapless from 1. After an error the book must not be used any more.
    pub fn apply(&mut self, seq: u64, at: Timestamp, event: &Event<'_>) -> Result<(), Broken> {
        self.fold(seq, at, event).map_err(|violation| Broken { seq, kind: event.word(), violation })
    }

    fn fold(&mut self, seq: u64, at: Timestamp, event: &Event<'_>) -> Result<(), Violation> {
        if seq != self.last_seq + 1 {
            return Err(Violation::Sequence { expected: self.last_seq + 1, found: seq });
        }
        if let Some(postings) = event.postings() {
            self.check_postings(postings)?;
        }
        match event {
            Event::TapTaken(e) => self.apply_tap_taken(seq, at, e)?,
            Event::TapDecided(e) => self.apply_tap_decided(seq, at, e)?,
            Event::AnsweredTooLate(e) => self.apply_answered_too_late(seq, e)?,
            Event::Advised(e) => self.apply_advised(seq, at, e)?,
            Event::Reversed(e) => self.apply_reversed(seq, at, e)?,
            Event::HoldExpired(e) => self.apply_hold_expired(seq, at, e)?,
            Event::ReplyLate(e) => self.apply_reply_late(seq, at, e)?,
            Event::Recorded(_) | Event::Stopped(_) => {}
            admin => self.apply_admin(seq, at, admin)?,
        }
        self.last_seq = seq;
        self.last_at = self.last_at.max(at);
        self.purge(self.last_at);
        Ok(())
    }

    /// Takes a number for the thing that the event creates.
    pub(super) fn take_no(&mut self, no: u64) -> Result<(), Violation> {
        if no != self.next_no {
            return Err(Violation::Number { expected: self.next_no, found: no });
        }
        self.next_no += 1;
        Ok(())
    }

    /// True when the ledger knows this account in this currency.
    fn has_ledger(&self, ledger: Ledger, currency: Currency) -> bool {
        match ledger {
            Ledger::PoolAvailable(i) | Ledger::PoolHeld(i) => self.pool(i).is_some_and(|p| p.currency == currency),
            Ledger::AccountAvailable(i) | Ledger::AccountHeld(i) => {
                self.account(i).is_some_and(|a| a.currency == currency)
            }
            Ledger::Receivable(i) => self.partner(i).is_some(),
            Ledger::CryptoDeposit(i) => self.user(i).is_some() && currency.is_crypto(),
            Ledger::Bank | Ledger::Chain | Ledger::Scheme | Ledger::PayoutTransit | Ledger::Fx | Ledger::Fees => true,
        }
    }

    /// True when the lines sum to zero, name accounts that exist, and leave no balance below zero or out of range.
    fn check_postings(&self, postings: &Postings) -> Result<(), Violation> {
        if let Some(pair) = postings.pair() {
            return pair.into_iter().try_for_each(|line| {
                let own = self.has_ledger(line.ledger, line.currency);
                let after = self.ledger_balance(line.ledger, line.currency).checked_add(own_sign(line));
                let fits = after.is_some_and(|after| after >= 0 || is_signed(line.ledger));
                let (ledger, currency) = (line.ledger, line.currency);
                if own && fits { Ok(()) } else { Err(Violation::Balance { ledger, currency }) }
            });
        }
        if !postings.balance() {
            return Err(Violation::Unbalanced);
        }
        for (i, line) in postings.lines().iter().enumerate() {
            if !self.has_ledger(line.ledger, line.currency) {
                return Err(Violation::Balance { ledger: line.ledger, currency: line.currency });
            }
            let first = postings.lines().iter().position(|l| l.ledger == line.ledger && l.currency == line.currency);
            if first != Some(i) {
                continue;
            }
            let sum: i128 = postings
                .lines()
                .iter()
                .filter(|l| l.ledger == line.ledger && l.currency == line.currency)
                .map(|l| i128::from(own_sign(l)))
                .sum();
            let after = i128::from(self.ledger_balance(line.ledger, line.currency)) + sum;
            if (after < 0 && !is_signed(line.ledger)) || i64::try_from(after).is_err() {
                return Err(Violation::Balance { ledger: line.ledger, currency: line.currency });
            }
        }
        Ok(())
    }

    /// Moves the money. The lines were checked: their sum fits, so a step on the way may wrap and comes back.
    pub(super) fn post(&mut self, postings: &Postings) {
        for line in postings.lines() {
            let delta = own_sign(line);
            match line.ledger {
                Ledger::PoolAvailable(i) | Ledger::PoolHeld(i) => {
                    if let Some(pool) = usize::try_from(i).ok().and_then(|i| self.pools.get_mut(i)) {
                        match line.ledger {
                            Ledger::PoolHeld(_) => pool.balance.held = pool.balance.held.wrapping_add(delta),
                            _ => pool.balance.available = pool.balance.available.wrapping_add(delta),
                        }
                    }
                    self.touch(Source::Pool(i));
                }
                Ledger::AccountAvailable(i) | Ledger::AccountHeld(i) => {
                    if let Some(account) = self.accounts.get_mut(i) {
                        match line.ledger {
                            Ledger::AccountHeld(_) => account.balance.held = account.balance.held.wrapping_add(delta),
                            _ => account.balance.available = account.balance.available.wrapping_add(delta),
                        }
                    }
                    self.touch(Source::Account(i));
                }
                general => {
                    let balance = self.general.entry((general, line.currency)).or_insert(0);
                    *balance = balance.wrapping_add(delta);
                    if *balance == 0 {
                        self.general.remove(&(general, line.currency));
                    }
                }
            }
        }
    }

    pub(super) fn touch(&mut self, source: Source) {
        // A hot source repeats next to itself; the bound keeps an unread list from growing, at the price of duplicates.
        if self.touched.last() != Some(&source) {
            self.touched.push(source);
        }
    }
}

/// True when the balance may be below zero.
const fn is_signed(ledger: Ledger) -> bool {
    matches!(ledger, Ledger::Fx | Ledger::Fees | Ledger::Bank | Ledger::Chain | Ledger::Scheme)
}

/// The line's effect on the account's own balance: debits add to assets, credits to everything else.
fn own_sign(line: &Posting) -> i64 {
    if line.ledger.is_asset() { line.debit } else { -line.debit }
}
