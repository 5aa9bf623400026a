//! Events of the sidecar: partners, users, money in and out, rates, quotes, cards, keys, idempotency.

use std::borrow::Cow;

use minicbor::{Decode, Encode};

use super::posting::Postings;
use super::words::{CardStatus, DecisionMode, Kyc, Status};
use crate::id::No;
use crate::money::{Currency, Rate};
use crate::time::{Timestamp, YearMonth};

/// The engine started: a new epoch, and how long repeats live from here on.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Started<'a> {
    /// 24 bits, one more than the last.
    #[n(0)]
    pub epoch: u32,
    /// Version of the engine, for people.
    #[b(1)]
    pub version: Cow<'a, str>,
    /// How long a request is remembered as a repeat, in microseconds.
    #[n(2)]
    pub dedup_window_us: i64,
}

/// A link got its number: names the spec its raw requests are written in.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct LinkDefined<'a> {
    /// Dense index; events name the link by it.
    #[n(0)]
    pub link: u8,
    /// Name from the configuration.
    #[b(1)]
    pub name: Cow<'a, str>,
    /// Name or path of the message spec.
    #[b(2)]
    pub spec: Cow<'a, str>,
}

/// A link signed on or off.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct LinkSigned {
    /// Which link.
    #[n(0)]
    pub link: u8,
    /// Signed on.
    #[n(1)]
    pub on: bool,
}

/// What a partner may change about itself.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct PartnerTerms<'a> {
    /// Display name.
    #[b(0)]
    pub name: Cow<'a, str>,
    /// Where asks go; none means `partner_unreachable`.
    #[b(1)]
    pub decision_url: Option<Cow<'a, str>>,
    /// How taps are decided.
    #[n(2)]
    pub decision_mode: DecisionMode,
    /// Milliseconds; none means the configured default.
    #[n(3)]
    pub decision_timeout_ms: Option<u32>,
    /// One bit for each [`super::words::Service`] by its number.
    #[n(4)]
    pub services: u8,
    /// Response codes for `partner_timeout`, `partner_unreachable`, `partner_bad_response`; two characters each.
    #[n(5)]
    pub timeout_code: Option<[u8; 2]>,
    /// See `timeout_code`.
    #[n(6)]
    pub unreachable_code: Option<[u8; 2]>,
    /// See `timeout_code`.
    #[n(7)]
    pub bad_response_code: Option<[u8; 2]>,
    /// Active or suspended.
    #[n(8)]
    pub status: Status,
}

/// A partner was created.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct PartnerCreated<'a> {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Its terms.
    #[b(1)]
    pub terms: PartnerTerms<'a>,
    /// The webhook secret's bytes, sealed under this event's sequence and [`super::field::WEBHOOK_SECRET`].
    #[cbor(b(2), with = "minicbor::bytes")]
    pub secret: Cow<'a, [u8]>,
}

/// A partner's terms changed; the new terms whole.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct PartnerChanged<'a> {
    /// Dense index.
    #[n(0)]
    pub partner: u32,
    /// The terms from here on.
    #[b(1)]
    pub terms: PartnerTerms<'a>,
}

/// A new webhook secret; the one before stays valid until `previous_until`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct SecretRotated<'a> {
    /// Dense index.
    #[n(0)]
    pub partner: u32,
    /// Sealed like [`PartnerCreated::secret`].
    #[cbor(b(1), with = "minicbor::bytes")]
    pub secret: Cow<'a, [u8]>,
    /// When the previous one ends.
    #[n(2)]
    pub previous_until: Timestamp,
}

/// An API key was created; only its hash is kept.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct KeyCreated<'a> {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// The partner it belongs to; none for an operator key.
    #[n(1)]
    pub partner: Option<u32>,
    /// For people.
    #[b(2)]
    pub name: Cow<'a, str>,
    /// BLAKE3 of the key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub hash: [u8; 32],
}

/// An API key was revoked.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct KeyRevoked {
    /// Its number.
    #[n(0)]
    pub no: No,
}

/// A user was created.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct UserCreated<'a> {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Dense index of its partner.
    #[n(1)]
    pub partner: u32,
    /// The partner's own id for it; unique within the partner.
    #[b(2)]
    pub external_id: Cow<'a, str>,
    /// ISO 3166 alpha-2.
    #[b(3)]
    pub country: Cow<'a, str>,
    /// IANA name.
    #[b(4)]
    pub time_zone: Option<Cow<'a, str>>,
}

/// A user changed; the new values whole.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct UserChanged<'a> {
    /// Dense index.
    #[n(0)]
    pub user: u32,
    /// Active or suspended.
    #[n(1)]
    pub status: Status,
    /// ISO 3166 alpha-2.
    #[b(2)]
    pub country: Cow<'a, str>,
    /// IANA name.
    #[b(3)]
    pub time_zone: Option<Cow<'a, str>>,
}

/// A step of a user's KYC.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct KycChanged<'a> {
    /// Dense index.
    #[n(0)]
    pub user: u32,
    /// The state from here on.
    #[n(1)]
    pub status: Kyc,
    /// Free text.
    #[b(2)]
    pub level: Option<Cow<'a, str>>,
    /// Free text.
    #[b(3)]
    pub provider: Option<Cow<'a, str>>,
    /// Free text.
    #[b(4)]
    pub reference: Option<Cow<'a, str>>,
    /// Free text.
    #[b(5)]
    pub reason: Option<Cow<'a, str>>,
}

/// An account was opened.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct AccountOpened {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Dense index of its user.
    #[n(1)]
    pub user: u32,
    /// One of the six fiat currencies.
    #[n(2)]
    pub currency: Currency,
}

/// A pool was created.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct PoolCreated {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Dense index of its partner.
    #[n(1)]
    pub partner: u32,
    /// One of the six fiat currencies or USDC.
    #[n(2)]
    pub currency: Currency,
    /// Minor units that withdrawals leave.
    #[n(3)]
    pub minimum: i64,
}

/// A pool changed; the new values whole.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct PoolChanged {
    /// Dense index.
    #[n(0)]
    pub pool: u32,
    /// Active or suspended.
    #[n(1)]
    pub status: Status,
    /// Minor units that withdrawals leave.
    #[n(2)]
    pub minimum: i64,
}

/// A transfer of money that has a number of its own: which one is told by the event's kind.
///
/// | kind | `party` | lines |
/// |---|---|---|
/// | top-up created | pool | none |
/// | withdrawal | pool | pool.available to bank or chain |
/// | pay-in | account | bank to account.available |
/// | payout created | account | account.available to payout_transit |
/// | crypto arrived | user | chain to crypto_deposit |
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Transfer<'a> {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Dense index of the pool, account or user.
    #[n(1)]
    pub party: u32,
    /// In which currency.
    #[n(2)]
    pub currency: Currency,
    /// Minor units, above zero.
    #[n(3)]
    pub amount: i64,
    /// The caller's reference.
    #[b(4)]
    pub reference: Cow<'a, str>,
    /// Payouts: who gets it.
    #[b(5)]
    pub beneficiary: Option<Cow<'a, str>>,
    /// The lines.
    #[n(6)]
    pub postings: Postings,
}

/// A pending top-up or payout was settled or failed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct TransferEnded {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// The lines: a settled top-up (bank or chain to receivable first, then pool.available), a settled payout
    /// (payout_transit to bank), a failed payout (back to account.available); none for a failed top-up.
    #[n(1)]
    pub postings: Postings,
}

/// A rate was set.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct RateSet {
    /// One unit of this …
    #[n(0)]
    pub from: Currency,
    /// … is so many of that.
    #[n(1)]
    pub to: Currency,
    /// The rate and its markup.
    #[n(2)]
    pub rate: Rate,
}

/// A quote was made.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct QuoteMade {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Dense index of its user.
    #[n(1)]
    pub user: u32,
    /// What is sold.
    #[n(2)]
    pub from: Currency,
    /// Minor units of `from`.
    #[n(3)]
    pub from_amount: i64,
    /// What is bought.
    #[n(4)]
    pub to: Currency,
    /// Minor units of `to` that will be credited, after the fee.
    #[n(5)]
    pub to_amount: i64,
    /// Minor units of `to` that stay here.
    #[n(6)]
    pub fee: i64,
    /// The rate it was made at.
    #[n(7)]
    pub rate: Rate,
    /// From this microsecond on it can no longer be executed.
    #[n(8)]
    pub expires_at: Timestamp,
}

/// A quote was executed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct OffRampExecuted<'a> {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// The quote's number.
    #[n(1)]
    pub quote: No,
    /// Dense index of the credited account.
    #[n(2)]
    pub account: u32,
    /// The caller's reference.
    #[b(3)]
    pub reference: Option<Cow<'a, str>>,
    /// The lines.
    #[n(4)]
    pub postings: Postings,
}

/// Where a card's money comes from. The numbers are dense indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Funding {
    /// The pool pays; the partner is asked; clearing passes through the linked account.
    #[n(0)]
    Pool {
        /// The pool.
        #[n(0)]
        pool: u32,
        /// The user's account that clearing passes through.
        #[n(1)]
        linked: u32,
    },
    /// The account pays; nobody is asked.
    #[n(1)]
    Account {
        /// The account.
        #[n(0)]
        account: u32,
    },
    /// The partner's answer chooses.
    #[n(2)]
    PartnerChoice {
        /// The pool.
        #[n(0)]
        pool: u32,
        /// The account.
        #[n(1)]
        account: u32,
    },
}

impl Funding {
    /// `pool`, `account` or `partner_choice`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pool { .. } => "pool",
            Self::Account { .. } => "account",
            Self::PartnerChoice { .. } => "partner_choice",
        }
    }
}

/// A card was created.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct CardCreated<'a> {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Dense index of its user.
    #[n(1)]
    pub user: u32,
    /// Where its money comes from.
    #[n(2)]
    pub funding: Funding,
    /// Keyed fingerprint of the PAN.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub fingerprint: [u8; 16],
    /// Last four digits as a number.
    #[n(4)]
    pub last4: u16,
    /// Expiry.
    #[n(5)]
    pub expires: YearMonth,
    /// The PAN's digits, sealed under this event's sequence and [`super::field::PAN`].
    #[cbor(b(6), with = "minicbor::bytes")]
    pub pan: Cow<'a, [u8]>,
}

/// A card's state changed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct CardChanged {
    /// Dense index.
    #[n(0)]
    pub card: u32,
    /// The state from here on.
    #[n(1)]
    pub status: CardStatus,
}

/// A REST answer to a POST with an Idempotency-Key.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Idempotent<'a> {
    /// 128-bit hash of caller, route and key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 16],
    /// Hash of the request body.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: [u8; 16],
    /// HTTP status of the answer.
    #[n(2)]
    pub status: u16,
    /// The answer's body, sealed under this event's sequence and [`super::field::ANSWER`].
    #[cbor(b(3), with = "minicbor::bytes")]
    pub answer: Cow<'a, [u8]>,
}
