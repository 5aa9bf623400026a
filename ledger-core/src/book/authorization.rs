//! An authorization as the rules see it. How it lies in memory is the business of `row.rs` and `authorizations.rs`.

use crate::event::tap::{Facts, Reply, Source, Trace};
use crate::event::words::{Class, Kind, State};
use crate::id::{Id, No};
use crate::money::{Currency, Money, Rate};
use crate::time::Timestamp;

/// What one source of an authorization holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub source: Source,
    /// The source's currency.
    pub currency: Currency,
    /// What was held at first, or what the last advice set; minor units.
    pub initial: i64,
    /// What is held now; minor units.
    pub now: i64,
    /// Frozen, when the tap's currency is another one.
    pub rate: Option<Rate>,
}

/// What the last advice set an authorization to: from then on its hold stands for this, no longer for the tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restated {
    /// The advised amount.
    pub amount: Money,
    /// DE4 of the advice.
    pub merchant_amount: i64,
    /// `amount` came from DE6.
    pub billed: bool,
}

/// An advice that set an authorization: later messages may mean the one by the other's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// Message class of the advice.
    pub class: Class,
    /// Its elements.
    pub trace: Trace,
    /// Its DE38; zero when there is none.
    pub approval_code: u32,
}

/// A tap or an advice that made a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Its id.
    pub id: Id,
    /// What never changes.
    pub facts: Facts,
    /// Where it stands.
    pub state: State,
    /// The answer it got; none while pending.
    pub reply: Option<Reply>,
    /// What its sources hold.
    pub held: [Option<Held>; 2],
    /// Cleared, in the currency of the amount.
    pub cleared: i64,
    /// The terminal takes partial approvals.
    pub partial_supported: bool,
    /// Its increments and linked advices.
    pub children: Vec<No>,
    /// Set by an advice.
    pub restated: Option<Restated>,
    /// The advices that set it, the newest few.
    pub aliases: Vec<Alias>,
    /// Key under which its repeats are known.
    pub repeat: [u8; 16],
    /// Sequence of its first event: the one with the raw request.
    pub first_seq: u64,
    /// Sequence of its last event: the head of a chain back to the first.
    pub last_seq: u64,
    /// When it arrived.
    pub created_at: Timestamp,
}

impl Authorization {
    /// True while it may hold something or be decided. An inquiry is over with its answer: it shows as approved and
    /// has nothing that could expire.
    pub const fn is_open(&self) -> bool {
        Self::open_in(self.state, self.facts.kind)
    }

    /// See [`Authorization::is_open`].
    pub(super) const fn open_in(state: State, kind: Kind) -> bool {
        !state.is_final() && !matches!(kind, Kind::BalanceInquiry | Kind::AccountStatus)
    }

    /// True when it was approved and nothing has undone it, cleared or not.
    pub const fn stands(&self) -> bool {
        matches!(self.state, State::Approved | State::PartiallyReversed | State::PartiallyCleared | State::Cleared)
    }

    /// What it was approved for, in the currency of [`Authorization::whole`].
    pub fn approved_amount(&self) -> i64 {
        match self.restated {
            Some(restated) => restated.amount.minor,
            None => self.reply.and_then(|r| r.partial).unwrap_or(self.facts.amount),
        }
    }

    /// The amount that [`Held::initial`] was held for: the advised one, else what was asked. `None` when the currency
    /// is unknown; nothing is held then.
    pub fn whole(&self) -> Option<Money> {
        match self.restated {
            Some(restated) => Some(restated.amount),
            None => self.facts.currency.map(|currency| Money::new(self.facts.amount, currency)),
        }
    }

    /// What names it: its own elements first, then those of the advices that set it.
    pub fn known_by(&self) -> impl Iterator<Item = (Class, &Trace)> {
        let own = std::iter::once((self.facts.class, &self.facts.trace));
        own.chain(self.aliases.iter().map(|alias| (alias.class, &alias.trace)))
    }

    /// True when a 0200 or 0220 cleared it, so that a reversal may bring it back; what a clearing file settled stays.
    pub fn cleared_itself(&self) -> bool {
        self.known_by().any(|(class, _)| matches!(class, Class::Financial | Class::FinancialAdvice))
    }

    /// True when it was approved under this DE38.
    pub fn has_code(&self, code: u32) -> bool {
        self.reply.is_some_and(|r| r.approval_code == code) || self.aliases.iter().any(|a| a.approval_code == code)
    }
}

/// A key an authorization may be found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindBy {
    /// Card, STAN, DE7.
    Trace(u32, u32, u32),
    /// Card, first nine of DE63.
    Reference(u32, [u8; 9]),
    /// Card, DE38.
    Approval(u32, u32),
}
