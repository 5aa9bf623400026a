//! What must hold at every moment (design section 3), as checks over the whole book.

use super::Book;
use crate::event::posting::Ledger;
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
