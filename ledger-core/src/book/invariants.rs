//! What must hold at every moment (design section 3), as checks over the whole book.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::Book;
use crate::event::posting::Ledger;
use crate::event::tap::Source;
use crate::id::No;
use crate::money::Currency;

/// A broken invariant, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Events are gapless.
    #[error("sequence {expected} expected, {found} found")]
    Sequence {
        /// The next one.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Numbers are gapless.
    #[error("number {expected} expected, {found} found")]
    Number {
        /// The next one.
        expected: No,
        /// The one that came.
        found: No,
    },
    /// Invariant 1.
    #[error("the lines do not sum to zero")]
    Unbalanced,
    /// Invariant 2.
    #[error("the balance of {ledger:?} in {} would leave its range", currency.code())]
    Balance {
        /// Of which account.
        ledger: Ledger,
        /// In which currency.
        currency: Currency,
    },
    /// Invariant 3.
    #[error("what {0:?} holds is not the sum of its open authorizations")]
    Held(Ledger),
    /// Invariant 10.
    #[error("assets and liabilities in {} do not meet", .0.code())]
    Uncovered(Currency),
    /// A thing that the event names does not exist or is in no state for it.
    #[error("{0}")]
    Missing(&'static str),
}

impl Book {
    /// Checks invariants 1, 2, 3 and 10 over the whole book: `journal verify`, the simulator, tests. Reads every
    /// balance and every authorization; never part of a tap.
    ///
    /// # Errors
    /// The first violation found, in the order of the invariants.
    pub fn check(&self) -> Result<(), Violation> {
        let balances = self.balances();
        check_sums(&balances)?;
        check_ranges(&balances)?;
        self.check_holds()?;
        check_coverage(&balances)
    }

    /// Every balance of the general ledger in its own sign.
    fn balances(&self) -> Vec<(Ledger, Currency, i64)> {
        let pools = (0u32..).zip(self.pools()).flat_map(|(i, pool)| {
            [
                (Ledger::PoolAvailable(i), pool.currency, pool.balance.available),
                (Ledger::PoolHeld(i), pool.currency, pool.balance.held),
            ]
        });
        let accounts = (0u32..).zip(self.accounts().iter()).flat_map(|(i, account)| {
            [
                (Ledger::AccountAvailable(i), account.currency, account.balance.available),
                (Ledger::AccountHeld(i), account.currency, account.balance.held),
            ]
        });
        self.general_ledger().chain(pools).chain(accounts).collect()
    }

    /// Invariant 3, both ways: nothing is held that no open authorization holds, and final ones hold nothing.
    fn check_holds(&self) -> Result<(), Violation> {
        let mut sums: HashMap<Source, i128> = HashMap::new();
        for authorization in self.authorizations() {
            for held in authorization.held.iter().flatten() {
                let own = self.source(held.source).map(|(currency, _)| currency);
                if own != Some(held.currency) || held.now < 0 || (held.now != 0 && !authorization.is_open()) {
                    return Err(Violation::Held(held.source.held()));
                }
                *sums.entry(held.source).or_insert(0) += i128::from(held.now);
            }
        }
        let pools = (0u32..).zip(self.pools()).map(|(i, pool)| (Source::Pool(i), pool.balance.held));
        let accounts =
            (0u32..).zip(self.accounts().iter()).map(|(i, account)| (Source::Account(i), account.balance.held));
        for (source, held) in pools.chain(accounts) {
            if sums.get(&source).copied().unwrap_or(0) != i128::from(held) {
                return Err(Violation::Held(source.held()));
            }
        }
        Ok(())
    }
}

/// Invariant 1 over all events so far: per currency, assets equal liabilities and positions.
fn check_sums(balances: &[(Ledger, Currency, i64)]) -> Result<(), Violation> {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for (ledger, currency, balance) in balances {
        let debit = if ledger.is_asset() { i128::from(*balance) } else { -i128::from(*balance) };
        *sums.entry(*currency).or_insert(0) += debit;
    }
    match sums.into_iter().find(|(_, sum)| *sum != 0) {
        Some((currency, _)) => Err(Violation::Uncovered(currency)),
        None => Ok(()),
    }
}

/// Invariant 2: what is neither an outside account nor a position is never below zero.
fn check_ranges(balances: &[(Ledger, Currency, i64)]) -> Result<(), Violation> {
    let below = balances.iter().find(|(ledger, _, balance)| match ledger {
        Ledger::Bank | Ledger::Chain | Ledger::Scheme | Ledger::Fx | Ledger::Fees => false,
        Ledger::Receivable(_)
        | Ledger::PoolAvailable(_)
        | Ledger::PoolHeld(_)
        | Ledger::AccountAvailable(_)
        | Ledger::AccountHeld(_)
        | Ledger::PayoutTransit
        | Ledger::CryptoDeposit(_) => *balance < 0,
    });
    match below {
        Some((ledger, currency, _)) => Err(Violation::Balance { ledger: *ledger, currency: *currency }),
        None => Ok(()),
    }
}

/// Invariant 10: what clients, payouts and the network are owed is covered by assets and the FX position. With the
/// books balanced that fails only where fees were paid out that nobody earned.
fn check_coverage(balances: &[(Ledger, Currency, i64)]) -> Result<(), Violation> {
    match balances.iter().find(|(ledger, _, balance)| *ledger == Ledger::Fees && *balance < 0) {
        Some((_, currency, _)) => Err(Violation::Uncovered(*currency)),
        None => Ok(()),
    }
}
