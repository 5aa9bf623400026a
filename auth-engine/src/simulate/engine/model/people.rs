//! Who and what there is beside authorizations.

use super::super::words::Currency;

/// A partner.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Partner {
    /// Active.
    pub active: bool,
    /// It has a URL.
    pub url: bool,
    /// `webhook`, `auto_approve`, `auto_decline`.
    pub mode: &'static str,
    /// Its own time limit.
    pub timeout_us: Option<i64>,
    /// One bit for each service.
    pub services: u8,
    /// Its own DE39 for timeout, unreachable and bad response.
    pub codes: Option<[&'static str; 3]>,
}

/// A user.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    /// Of which partner.
    pub partner: u32,
    /// Unique within it.
    pub name: u32,
    /// Active.
    pub active: bool,
    /// `approved` …
    pub kyc: &'static str,
}

/// An account.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account {
    /// Whose.
    pub user: u32,
    /// In what.
    pub currency: Currency,
}

/// A pool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pool {
    /// Whose.
    pub partner: u32,
    /// In what.
    pub currency: Currency,
    /// What withdrawals leave.
    pub minimum: i64,
    /// Active.
    pub active: bool,
}

/// Where a card's money comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Funding {
    /// A pool.
    Pool(u32),
    /// An account.
    Account(u32),
    /// What the partner chooses.
    Choice(u32, u32),
}

/// A card.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    /// Which PAN.
    pub number: usize,
    /// Whose.
    pub user: u32,
    /// Where its money comes from.
    pub funding: Funding,
    /// Year and month.
    pub expires: u16,
    /// `active`, `frozen` …
    pub status: &'static str,
}

/// A top-up or a payout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transfer {
    /// Its number.
    pub no: u64,
    /// A top-up; else a payout.
    pub top_up: bool,
    /// The pool or the account.
    pub party: u32,
    /// How much.
    pub amount: i64,
    /// Of what.
    pub currency: Currency,
    /// Neither settled nor failed yet.
    pub open: bool,
}

/// A quote.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quote {
    /// Its number.
    pub no: u64,
    /// Whose.
    pub user: u32,
    /// What is sold.
    pub from: (i64, Currency),
    /// What is bought.
    pub to: (i64, Currency),
    /// When it ends.
    pub ends: i64,
    /// It was executed.
    pub used: bool,
}
