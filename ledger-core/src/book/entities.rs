//! What the book knows of partners, users, accounts, pools, cards and money in transit. Plain data, no rules.

use crate::event::admin::Funding;
use crate::event::words::{CardStatus, DecisionMode, Kyc, Settlement, Status};
use crate::id::{Id, No};
use crate::money::{Currency, Rate};
use crate::time::{Timestamp, YearMonth};

/// What an account or pool holds, in minor units. Neither side is ever negative (invariant 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Can be spent.
    pub available: i64,
    /// Reserved by open holds.
    pub held: i64,
}

impl Balance {
    /// `available + held`.
    pub const fn posted(self) -> i64 {
        self.available.saturating_add(self.held)
    }
}

/// A network link the journal knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Name from the configuration.
    pub name: String,
    /// Name or path of its message spec.
    pub spec: String,
    /// Signed on; kept across connections and restarts.
    pub signed_on: bool,
}

/// A webhook secret as the journal keeps it: sealed, with what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Epoch of the event that holds it.
    pub epoch: u32,
    /// Sequence of that event.
    pub seq: u64,
    /// The sealed bytes.
    pub sealed: Box<[u8]>,
}

/// A neobank partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Its id.
    pub id: Id,
    /// Display name.
    pub name: String,
    /// Where asks go.
    pub decision_url: Option<String>,
    /// How its taps are decided.
    pub decision_mode: DecisionMode,
    /// Milliseconds; none means the configured default.
    pub decision_timeout_ms: Option<u32>,
    /// One bit for each service by its number.
    pub services: u8,
    /// DE39 for `partner_timeout`, when set.
    pub timeout_code: Option<[u8; 2]>,
    /// DE39 for `partner_unreachable`, when set.
    pub unreachable_code: Option<[u8; 2]>,
    /// DE39 for `partner_bad_response`, when set.
    pub bad_response_code: Option<[u8; 2]>,
    /// Active or suspended.
    pub status: Status,
    /// The secret that signs.
    pub secret: SealedSecret,
    /// The one before, and when it ends.
    pub previous_secret: Option<(SealedSecret, Timestamp)>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// An API key; the key itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: Id,
    /// Dense index of its partner; none for an operator's.
    pub partner: Option<u32>,
    /// For people.
    pub name: String,
    /// BLAKE3 of the key.
    pub hash: [u8; 32],
    /// No longer good.
    pub revoked: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// One step of a user's KYC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KycStep {
    /// The state it led to.
    pub status: Kyc,
    /// Free text.
    pub level: Option<Box<str>>,
    /// Free text.
    pub provider: Option<Box<str>>,
    /// Free text.
    pub reference: Option<Box<str>>,
    /// Free text.
    pub reason: Option<Box<str>>,
    /// When.
    pub at: Timestamp,
}

/// A partner's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: Id,
    /// Dense index of its partner.
    pub partner: u32,
    /// The partner's own id for it.
    pub external_id: Box<str>,
    /// ISO 3166 alpha-2.
    pub country: Box<str>,
    /// IANA name.
    pub time_zone: Option<Box<str>>,
    /// Active or suspended.
    pub status: Status,
    /// KYC state.
    pub kyc: Kyc,
    /// How it got there.
    pub kyc_steps: Vec<KycStep>,
    /// Dense indices of its accounts, in the order of their opening.
    pub accounts: Vec<u32>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// A user's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: Id,
    /// Dense index of its user.
    pub user: u32,
    /// Its currency.
    pub currency: Currency,
    /// What it holds.
    pub balance: Balance,
    /// When it was opened.
    pub created_at: Timestamp,
}

/// A partner's prefunded pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its id.
    pub id: Id,
    /// Dense index of its partner.
    pub partner: u32,
    /// Its currency.
    pub currency: Currency,
    /// Minor units that withdrawals leave; a tap may go below.
    pub minimum: i64,
    /// Active or suspended.
    pub status: Status,
    /// What it holds.
    pub balance: Balance,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

impl Pool {
    /// True when what is available is under the minimum.
    pub const fn below_minimum(&self) -> bool {
        self.balance.available < self.minimum
    }
}

/// A card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its id.
    pub id: Id,
    /// Dense index of its user.
    pub user: u32,
    /// Where its money comes from.
    pub funding: Funding,
    /// Keyed fingerprint of its PAN.
    pub fingerprint: [u8; 16],
    /// Last four digits.
    pub last4: u16,
    /// Expiry as embossed.
    pub expires: YearMonth,
    /// The first moment at which it is expired.
    pub expires_at: Timestamp,
    /// Its state.
    pub status: CardStatus,
    /// Sequence of the event that holds its sealed PAN.
    pub created_seq: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// Which of the transfers one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TransferKind {
    TopUp,
    Withdrawal,
    PayIn,
    Payout,
    CryptoDeposit,
}

/// A top-up, withdrawal, pay-in, payout or crypto deposit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRecord {
    /// Its id.
    pub id: Id,
    /// Which it is.
    pub kind: TransferKind,
    /// Dense index of the pool, account or user.
    pub party: u32,
    /// In which currency.
    pub currency: Currency,
    /// Minor units.
    pub amount: i64,
    /// The caller's reference.
    pub reference: String,
    /// Payouts: who gets it.
    pub beneficiary: Option<String>,
    /// Pending, settled or failed; those without a second step are settled at once.
    pub status: Settlement,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// A quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Its id.
    pub id: Id,
    /// Dense index of its user.
    pub user: u32,
    /// What is sold.
    pub from: Currency,
    /// Minor units of it.
    pub from_amount: i64,
    /// What is bought.
    pub to: Currency,
    /// Minor units that are credited.
    pub to_amount: i64,
    /// Minor units that stay here.
    pub fee: i64,
    /// The rate it was made at.
    pub rate: Rate,
    /// From this microsecond on it can no longer be executed.
    pub expires_at: Timestamp,
    /// The off-ramp that used it.
    pub used_by: Option<No>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An executed off-ramp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffRamp {
    /// Its id.
    pub id: Id,
    /// The quote's number.
    pub quote: No,
    /// Dense index of the credited account.
    pub account: u32,
    /// The caller's reference.
    pub reference: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// A rate of the rate book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateEntry {
    /// The rate and its markup.
    pub rate: Rate,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// A remembered REST answer; the answer itself is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Hash of the request body.
    pub body: [u8; 16],
    /// Sequence of its event.
    pub seq: u64,
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}
