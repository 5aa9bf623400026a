//! What the sidecar may ask of the book, and why the book refuses. Numbers are dense indices unless they are `No`s.

use std::fmt;

use zeroize::Zeroizing;

use crate::event::words::{CardStatus, DecisionMode, Kyc, Status};
use crate::id::No;
use crate::money::{Currency, Money, Rate};
use crate::time::YearMonth;

/// A partner's terms as asked for. `None` in a change leaves what was.
#[derive(Debug, Clone, Default)]
pub struct PartnerChange {
    /// Display name.
    pub name: Option<String>,
    /// `Some(None)` removes the URL.
    pub decision_url: Option<Option<String>>,
    /// How taps are decided.
    pub decision_mode: Option<DecisionMode>,
    /// `Some(None)` goes back to the configured default.
    pub decision_timeout_ms: Option<Option<u32>>,
    /// One bit for each service.
    pub services: Option<u8>,
    /// `Some(None)` goes back to the contract's code.
    pub timeout_code: Option<Option<[u8; 2]>>,
    /// See `timeout_code`.
    pub unreachable_code: Option<Option<[u8; 2]>>,
    /// See `timeout_code`.
    pub bad_response_code: Option<Option<[u8; 2]>>,
    /// Active or suspended.
    pub status: Option<Status>,
}

/// Funding as asked for at a card's birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FundingWish {
    /// The pool pays. `account_currency` names the linked account's currency; a fiat pool's own when none; a USDC
    /// pool needs it.
    Pool {
        /// Dense index.
        pool: u32,
        /// Of the linked account.
        account_currency: Option<Currency>,
    },
    /// The user's account in that currency pays; opened when missing.
    Account {
        /// Its currency.
        currency: Currency,
    },
    /// The partner's answer chooses between the pool and the user's account in `currency`.
    PartnerChoice {
        /// Dense index.
        pool: u32,
        /// Of the account.
        currency: Currency,
    },
}

/// A write of the sidecar. Secrets and identifiers that need randomness are made by the caller. Its `Debug` is the
/// name alone: what it carries may be a PAN, a secret or somebody's name.
#[derive(Clone)]
pub enum Command {
    /// A partner with its first webhook secret (raw bytes).
    CreatePartner {
        /// `name` must be there; missing others take their defaults (webhook, all services, active).
        terms: PartnerChange,
        /// Raw bytes of the secret.
        secret: Zeroizing<Vec<u8>>,
    },
    /// Changes a partner.
    ChangePartner {
        /// Which.
        partner: u32,
        /// What changes.
        change: PartnerChange,
    },
    /// A new webhook secret; the old one lives 24 h more.
    RotateSecret {
        /// Which.
        partner: u32,
        /// Raw bytes of the new secret.
        secret: Zeroizing<Vec<u8>>,
    },
    /// A new API key, by its hash.
    CreateKey {
        /// None for an operator's.
        partner: Option<u32>,
        /// For people.
        name: String,
        /// BLAKE3 of the key.
        hash: [u8; 32],
    },
    /// Revokes an API key.
    RevokeKey {
        /// Its number.
        key: No,
    },
    /// A user.
    CreateUser {
        /// Of which partner.
        partner: u32,
        /// Unique within the partner.
        external_id: String,
        /// ISO 3166 alpha-2.
        country: String,
        /// IANA name.
        time_zone: Option<String>,
    },
    /// Changes a user.
    ChangeUser {
        /// Which.
        user: u32,
        /// Active or suspended.
        status: Option<Status>,
        /// ISO 3166 alpha-2.
        country: Option<String>,
        /// IANA name.
        time_zone: Option<Option<String>>,
    },
    /// A step of a user's KYC.
    MoveKyc {
        /// Which.
        user: u32,
        /// Where to.
        status: Kyc,
        /// Free text.
        level: Option<String>,
        /// Free text.
        provider: Option<String>,
        /// Free text.
        reference: Option<String>,
        /// Free text.
        reason: Option<String>,
    },
    /// Opens an account; answers with the one there is when it exists.
    OpenAccount {
        /// Whose.
        user: u32,
        /// One of the six.
        currency: Currency,
    },
    /// A pool.
    CreatePool {
        /// Whose.
        partner: u32,
        /// One of the seven.
        currency: Currency,
        /// Minor units.
        minimum: i64,
    },
    /// Changes a pool.
    ChangePool {
        /// Which.
        pool: u32,
        /// Active or suspended.
        status: Option<Status>,
        /// Minor units.
        minimum: Option<i64>,
    },
    /// Announces a prefund.
    CreateTopUp {
        /// Into which pool.
        pool: u32,
        /// How much.
        amount: Money,
        /// The caller's.
        reference: String,
    },
    /// The prefund arrived.
    SettleTopUp {
        /// Its number.
        top_up: No,
    },
    /// The prefund will not come.
    FailTopUp {
        /// Its number.
        top_up: No,
    },
    /// Money out of a pool.
    Withdraw {
        /// Of which pool.
        pool: u32,
        /// How much.
        amount: Money,
        /// The caller's.
        reference: String,
    },
    /// Money arrived for an account.
    PayIn {
        /// Which account.
        account: u32,
        /// How much.
        amount: Money,
        /// The caller's.
        reference: String,
    },
    /// Money out of an account.
    CreatePayout {
        /// Which account.
        account: u32,
        /// How much.
        amount: Money,
        /// Who gets it.
        beneficiary: String,
        /// The caller's.
        reference: String,
    },
    /// The payout arrived.
    SettlePayout {
        /// Its number.
        payout: No,
    },
    /// The payout came back.
    FailPayout {
        /// Its number.
        payout: No,
    },
    /// Crypto arrived for a user.
    ReceiveCrypto {
        /// Whose.
        user: u32,
        /// How much of what.
        amount: Money,
        /// The caller's.
        reference: String,
    },
    /// Sets a rate.
    SetRate {
        /// One unit of this …
        from: Currency,
        /// … is so many of that.
        to: Currency,
        /// The rate and its markup.
        rate: Rate,
    },
    /// Quotes a conversion.
    MakeQuote {
        /// For whom.
        user: u32,
        /// What is sold.
        from: Money,
        /// What is bought.
        to: Currency,
    },
    /// Executes a quote.
    ExecuteQuote {
        /// Its number.
        quote: No,
        /// The caller's.
        reference: Option<String>,
    },
    /// A card.
    CreateCard {
        /// Whose.
        user: u32,
        /// Where its money comes from.
        funding: FundingWish,
        /// Digits of the PAN.
        pan: Zeroizing<Vec<u8>>,
        /// Keyed fingerprint of the PAN.
        fingerprint: [u8; 16],
        /// Expiry.
        expires: YearMonth,
    },
    /// Changes a card's state.
    ChangeCard {
        /// Which.
        card: u32,
        /// Where to.
        status: CardStatus,
    },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::CreatePartner { .. } => "CreatePartner",
            Self::ChangePartner { .. } => "ChangePartner",
            Self::RotateSecret { .. } => "RotateSecret",
            Self::CreateKey { .. } => "CreateKey",
            Self::RevokeKey { .. } => "RevokeKey",
            Self::CreateUser { .. } => "CreateUser",
            Self::ChangeUser { .. } => "ChangeUser",
            Self::MoveKyc { .. } => "MoveKyc",
            Self::OpenAccount { .. } => "OpenAccount",
            Self::CreatePool { .. } => "CreatePool",
            Self::ChangePool { .. } => "ChangePool",
            Self::CreateTopUp { .. } => "CreateTopUp",
            Self::SettleTopUp { .. } => "SettleTopUp",
            Self::FailTopUp { .. } => "FailTopUp",
            Self::Withdraw { .. } => "Withdraw",
            Self::PayIn { .. } => "PayIn",
            Self::CreatePayout { .. } => "CreatePayout",
            Self::SettlePayout { .. } => "SettlePayout",
            Self::FailPayout { .. } => "FailPayout",
            Self::ReceiveCrypto { .. } => "ReceiveCrypto",
            Self::SetRate { .. } => "SetRate",
            Self::MakeQuote { .. } => "MakeQuote",
            Self::ExecuteQuote { .. } => "ExecuteQuote",
            Self::CreateCard { .. } => "CreateCard",
            Self::ChangeCard { .. } => "ChangeCard",
        };
        f.debug_struct(name).finish_non_exhaustive()
    }
}

/// What a command made or touched, for the caller's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Dense index of a partner.
    Partner(u32),
    /// Number of an API key.
    Key(No),
    /// Dense index of a user.
    User(u32),
    /// Dense index of an account; `true` when it was opened by this command.
    Account(u32, bool),
    /// Dense index of a pool.
    Pool(u32),
    /// Number of a transfer.
    Transfer(No),
    /// A rate.
    Rate(Currency, Currency),
    /// Number of a quote.
    Quote(No),
    /// Number of an off-ramp.
    OffRamp(No),
    /// Dense index of a card.
    Card(u32),
}

/// Why the book refuses a command. A value, not a fault: nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The thing named does not exist.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// A step that the thing's state does not allow.
    #[error("{0}")]
    InvalidState(&'static str),
    /// Not enough available.
    #[error("not enough is available")]
    InsufficientFunds,
    /// Another currency than the thing's own.
    #[error("the amount's currency is not the one this needs")]
    CurrencyMismatch,
    /// A second user with the same external id.
    #[error("a user with this external_id exists")]
    DuplicateExternalId,
    /// A second card with the same PAN.
    #[error("a card with this PAN exists")]
    DuplicatePan,
    /// The quote's time is over.
    #[error("the quote has expired")]
    QuoteExpired,
    /// The quote was executed before.
    #[error("the quote was used before")]
    QuoteUsed,
    /// KYC is not approved.
    #[error("the user's KYC is not approved")]
    KycNotApproved,
    /// The user is suspended.
    #[error("the user is suspended")]
    UserSuspended,
    /// The partner is suspended.
    #[error("the partner is suspended")]
    PartnerSuspended,
    /// The withdrawal would go below the minimum.
    #[error("this would leave less than the pool's minimum balance")]
    BelowMinimumBalance,
    /// The partner's menu has no such service.
    #[error("the partner's services do not include this")]
    ServiceNotEnabled,
    /// No rate for the pair.
    #[error("no rate is set for this pair")]
    RateMissing,
    /// The position would leave its bounds.
    #[error("the FX position would leave its limit")]
    FxLimit,
    /// A value out of its range.
    #[error("{0}")]
    Invalid(&'static str),
    /// A sum that does not fit.
    #[error("the amount is too large for the balance")]
    Overflow,
}
