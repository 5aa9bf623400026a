//! Double entry: the accounts of the general ledger and the lines that move money between them.
//!
//! A line's `debit` is positive for a debit and negative for a credit, so that the lines of one event sum to zero
//! in each currency. An asset's balance is the sum of its debits, a liability's the negated sum.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use smallvec::SmallVec;

use crate::money::Currency;

/// One account of the general ledger. The numbers are dense indices: partners, pools, accounts and users are
/// numbered from zero in the order of their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ledger {
    /// Asset: money at the bank.
    Bank,
    /// Asset: crypto on chain.
    Chain,
    /// Asset: what a partner owes because clearing or an advice went beyond its funds.
    Receivable(u32),
    /// Liability: what a pool can still pay.
    PoolAvailable(u32),
    /// Liability: what a pool's open holds reserve.
    PoolHeld(u32),
    /// Liability: what an account can still pay.
    AccountAvailable(u32),
    /// Liability: what an account's open holds reserve.
    AccountHeld(u32),
    /// Liability: owed to the network.
    Scheme,
    /// Liability: payouts on their way.
    PayoutTransit,
    /// Liability: a user's crypto that arrived and is not converted yet.
    CryptoDeposit(u32),
    /// Position: what conversion leaves with the bank.
    Fx,
    /// Position: fees earned.
    Fees,
}

impl Ledger {
    /// The number it is journaled under.
    pub(super) const fn code(self) -> u64 {
        let (tag, index) = match self {
            Self::Bank => (0, 0),
            Self::Chain => (1, 0),
            Self::Receivable(i) => (2, i),
            Self::PoolAvailable(i) => (3, i),
            Self::PoolHeld(i) => (4, i),
            Self::AccountAvailable(i) => (5, i),
            Self::AccountHeld(i) => (6, i),
            Self::Scheme => (7, 0),
            Self::PayoutTransit => (8, 0),
            Self::CryptoDeposit(i) => (9, i),
            Self::Fx => (10, 0),
            Self::Fees => (11, 0),
        };
        ((index as u64) << 4) | tag
    }

    /// The account of a journaled number.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        let index = u32::try_from(code >> 4).ok()?;
        match code & 15 {
            0 => Some(Self::Bank),
            1 => Some(Self::Chain),
            2 => Some(Self::Receivable(index)),
            3 => Some(Self::PoolAvailable(index)),
            4 => Some(Self::PoolHeld(index)),
            5 => Some(Self::AccountAvailable(index)),
            6 => Some(Self::AccountHeld(index)),
            7 => Some(Self::Scheme),
            8 => Some(Self::PayoutTransit),
            9 => Some(Self::CryptoDeposit(index)),
            10 => Some(Self::Fx),
            11 => Some(Self::Fees),
            _ => None,
        }
    }

    /// True for what a debit makes larger.
    pub const fn is_asset(self) -> bool {
        matches!(self, Self::Bank | Self::Chain | Self::Receivable(_))
    }

    /// The word in statements and event lists, without its number: `pool.available`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Chain => "chain",
            Self::Receivable(_) => "receivable",
            Self::PoolAvailable(_) => "pool.available",
            Self::PoolHeld(_) => "pool.held",
            Self::AccountAvailable(_) => "account.available",
            Self::AccountHeld(_) => "account.held",
            Self::Scheme => "scheme",
            Self::PayoutTransit => "payout_transit",
            Self::CryptoDeposit(_) => "crypto_deposit",
            Self::Fx => "fx",
            Self::Fees => "fees",
        }
    }
}

/// One line of a posting set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// Which account.
    pub ledger: Ledger,
    /// The currency it is told in.
    pub currency: Currency,
    /// Minor units; above zero a debit, below zero a credit.
    pub debit: i64,
}

/// The lines of one event. Journaled as one flat array of triples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Postings(pub SmallVec<[Posting; 6]>);

impl Postings {
    /// No lines.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a debit line; nothing when `amount` is zero.
    pub fn debit(&mut self, ledger: Ledger, currency: Currency, amount: i64) {
        if amount != 0 {
            self.0.push(Posting { ledger, currency, debit: amount });
        }
    }

    /// Adds a credit line; nothing when `amount` is zero.
    pub fn credit(&mut self, ledger: Ledger, currency: Currency, amount: i64) {
        self.debit(ledger, currency, -amount);
    }

    /// Debits one account and credits another with the same amount.
    pub fn transfer(&mut self, debit: Ledger, credit: Ledger, currency: Currency, amount: i64) {
        self.debit(debit, currency, amount);
        self.credit(credit, currency, amount);
    }

    /// The lines.
    pub fn lines(&self) -> &[Posting] {
        &self.0
    }

    /// The two lines, when there are just two, of one currency, on different accounts, and they sum to zero: what most
    /// events have. What is true of them is said in fewer steps than of any number of lines.
    pub(crate) fn pair(&self) -> Option<[&Posting; 2]> {
        let [one, other] = self.lines() else { return None };
        let differ = one.currency == other.currency && one.ledger != other.ledger;
        (differ && one.debit.checked_add(other.debit) == Some(0)).then_some([one, other])
    }

    /// True when the lines of every currency sum to zero (invariant 1).
    pub fn balance(&self) -> bool {
        self.0.iter().all(|line| {
            self.0.iter().filter(|l| l.currency == line.currency).map(|l| i128::from(l.debit)).sum::<i128>() == 0
        })
    }
}

impl<C> Encode<C> for Postings {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(self.0.len() as u64 * 3)?;
        for line in &self.0 {
            e.u64(line.ledger.code())?.u16(line.currency.number())?.i64(line.debit)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Postings {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let items = d.array()?.ok_or_else(|| decode::Error::message("postings of unknown length"))?;
        if items % 3 != 0 || items > 3_000_000 {
            return Err(decode::Error::message("postings are not triples"));
        }
        let mut lines = SmallVec::new();
        for _ in 0..items / 3 {
            let ledger = Ledger::from_code(d.u64()?).ok_or_else(|| decode::Error::message("unknown ledger account"))?;
            let currency = Currency::decode(d, ctx)?;
            lines.push(Posting { ledger, currency, debit: d.i64()? });
        }
        Ok(Self(lines))
    }
}
