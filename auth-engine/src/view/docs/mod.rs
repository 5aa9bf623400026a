//! The JSON that REST shows: one shape for each kind of thing, whether it is read from the book (by id) or from the
//! read model (lists). Owns names and formats of members. Must never carry a PAN, a track, a PIN, a key or a secret,
//! and must never decide anything.
//!
//! Money is decimal text with exactly its currency's decimals, time is RFC 3339 UTC with microseconds, ids are
//! prefixed text.

mod authorization;
mod moves;

pub use authorization::{
    AuthorizationDoc, AuthorizationEventDoc, FundingSourceDoc, LateApprovalDoc, MerchantDoc, NetworkDoc,
    PartnerDecisionDoc, PosDoc, PostingDoc,
};
pub(super) use moves::thing_of;
pub use moves::{BalanceDoc, OffRampDoc, QuoteDoc, RateDoc, StatementDoc, StatementLine, TransferDoc};

use std::collections::BTreeMap;

use ledger_core::book::{self, Balance, Book};
use ledger_core::event::admin::{Funding, PartnerTerms};
use ledger_core::event::words::Service;
use ledger_core::id::{Id, No, Thing};
use ledger_core::money::{Currency, Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount: decimal text with exactly the currency's decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoneyDoc {
    /// Decimal text, for example `12.34`.
    #[schema(example = "12.34")]
    pub value: String,
    /// Code, for example `EUR`; the three digits as they came when ISO 4217 does not know them.
    #[schema(example = "EUR")]
    pub currency: String,
}

impl MoneyDoc {
    /// `minor` units of `currency`.
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { value: currency.format(minor), currency: currency.code().to_owned() }
    }

    /// `minor` units of what a message calls `code`; whole units and its three digits when ISO 4217 has no such code.
    pub fn of_numeric(minor: i64, code: u16) -> Self {
        match Currency::from_numeric(code) {
            Some(currency) => Self::new(minor, currency),
            None => Self { value: minor.to_string(), currency: format!("{code:03}") },
        }
    }
}

impl From<Money> for MoneyDoc {
    fn from(money: Money) -> Self {
        Self::new(money.minor, money.currency)
    }
}

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The things.
    pub data: Vec<T>,
    /// Where the next page begins; null on the last. A page may be short and still have one, when a filter matches
    /// little.
    pub next_cursor: Option<String>,
}

/// A neobank partner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartnerDoc {
    /// `ptn_…`
    pub id: String,
    /// Display name.
    pub name: String,
    /// `active` or `suspended`.
    pub status: String,
    /// Where taps are asked for; null means nobody can be reached.
    pub decision_url: Option<String>,
    /// `webhook`, `auto_approve` or `auto_decline`.
    pub decision_mode: String,
    /// Milliseconds; null means the configured default.
    pub decision_timeout_ms: Option<u32>,
    /// What the partner uses: `balances`, `pay_in`, `payout`, `cards`, `off_ramp`.
    pub services: Vec<String>,
    /// DE39 for `partner_timeout`, `partner_unreachable`, `partner_bad_response`, where the partner set its own.
    pub response_codes: BTreeMap<String, String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

fn services(bits: u8) -> Vec<String> {
    Service::ALL.iter().filter(|s| bits & (1 << s.number()) != 0).map(|s| s.word().to_owned()).collect()
}

fn response_codes(codes: [(&str, Option<[u8; 2]>); 3]) -> BTreeMap<String, String> {
    codes
        .into_iter()
        .filter_map(|(word, code)| Some((word.to_owned(), String::from_utf8_lossy(&code?).into_owned())))
        .collect()
}

impl PartnerDoc {
    /// Partner number `index` as the book has it.
    pub fn from_book(book: &Book, index: u32) -> Option<Self> {
        let p = book.partner(index)?;
        Some(Self {
            id: p.id.text(Thing::Partner),
            name: p.name.clone(),
            status: p.status.word().to_owned(),
            decision_url: p.decision_url.clone(),
            decision_mode: p.decision_mode.word().to_owned(),
            decision_timeout_ms: p.decision_timeout_ms,
            services: services(p.services),
            response_codes: response_codes([
                ("partner_timeout", p.timeout_code),
                ("partner_unreachable", p.unreachable_code),
                ("partner_bad_response", p.bad_response_code),
            ]),
            created_at: p.created_at.rfc3339(),
            updated_at: p.updated_at.rfc3339(),
        })
    }

    /// The same from the terms of an event.
    pub(super) fn from_terms(id: Id, terms: &PartnerTerms<'_>, created_at: String, updated_at: String) -> Self {
        Self {
            id: id.text(Thing::Partner),
            name: terms.name.to_string(),
            status: terms.status.word().to_owned(),
            decision_url: terms.decision_url.as_deref().map(str::to_owned),
            decision_mode: terms.decision_mode.word().to_owned(),
            decision_timeout_ms: terms.decision_timeout_ms,
            services: services(terms.services),
            response_codes: response_codes([
                ("partner_timeout", terms.timeout_code),
                ("partner_unreachable", terms.unreachable_code),
                ("partner_bad_response", terms.bad_response_code),
            ]),
            created_at,
            updated_at,
        }
    }
}

/// An API key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyDoc {
    /// `key_…`
    pub id: String,
    /// For people.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
    /// No longer good.
    pub revoked: bool,
}

impl KeyDoc {
    /// Key number `no` as the book has it.
    pub fn from_book(book: &Book, no: No) -> Option<Self> {
        let k = book.key(no)?;
        Some(Self {
            id: k.id.text(Thing::ApiKey),
            name: k.name.clone(),
            created_at: k.created_at.rfc3339(),
            revoked: k.revoked,
        })
    }
}

/// A partner's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserDoc {
    /// `usr_…`
    pub id: String,
    /// `ptn_…`
    pub partner_id: String,
    /// The partner's own id for it.
    pub external_id: String,
    /// ISO 3166 alpha-2.
    pub country: String,
    /// IANA name.
    pub time_zone: Option<String>,
    /// `active` or `suspended`.
    pub status: String,
    /// `not_started`, `submitted`, `in_review`, `approved`, `rejected`, `expired` or `revoked`.
    pub kyc_status: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl UserDoc {
    /// User number `index` as the book has it.
    pub fn from_book(book: &Book, index: u32) -> Option<Self> {
        let u = book.user(index)?;
        Some(Self {
            id: u.id.text(Thing::User),
            partner_id: book.partner(u.partner)?.id.text(Thing::Partner),
            external_id: u.external_id.to_string(),
            country: u.country.to_string(),
            time_zone: u.time_zone.as_deref().map(str::to_owned),
            status: u.status.word().to_owned(),
            kyc_status: u.kyc.word().to_owned(),
            created_at: u.created_at.rfc3339(),
            updated_at: u.updated_at.rfc3339(),
        })
    }
}

/// A user's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountDoc {
    /// `acc_…`
    pub id: String,
    /// `usr_…`
    pub user_id: String,
    /// One of the six fiat currencies.
    pub currency: String,
    /// `available` + `held`.
    pub posted: MoneyDoc,
    /// Reserved by open holds.
    pub held: MoneyDoc,
    /// Can be spent.
    pub available: MoneyDoc,
    /// RFC 3339.
    pub created_at: String,
}

impl AccountDoc {
    /// Account number `index` as the book has it.
    pub fn from_book(book: &Book, index: u32) -> Option<Self> {
        let a = book.account(index)?;
        let mut doc = Self::empty(a.id, book.user(a.user)?.id, a.currency, a.created_at.rfc3339());
        doc.set_balance(a.currency, a.balance);
        Some(doc)
    }

    /// One that holds nothing.
    pub(super) fn empty(id: Id, user: Id, currency: Currency, created_at: String) -> Self {
        let zero = MoneyDoc::new(0, currency);
        Self {
            id: id.text(Thing::Account),
            user_id: user.text(Thing::User),
            currency: currency.code().to_owned(),
            posted: zero.clone(),
            held: zero.clone(),
            available: zero,
            created_at,
        }
    }

    /// Shows this balance.
    pub fn set_balance(&mut self, currency: Currency, balance: Balance) {
        self.posted = MoneyDoc::new(balance.posted(), currency);
        self.held = MoneyDoc::new(balance.held, currency);
        self.available = MoneyDoc::new(balance.available, currency);
    }
}

/// A partner's prefunded pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolDoc {
    /// `pol_…`
    pub id: String,
    /// `ptn_…`
    pub partner_id: String,
    /// One of the six fiat currencies or USDC.
    pub currency: String,
    /// `active` or `suspended`.
    pub status: String,
    /// What withdrawals leave; taps may go below.
    pub minimum_balance: MoneyDoc,
    /// `available` + `held`.
    pub posted: MoneyDoc,
    /// Reserved by open holds.
    pub held: MoneyDoc,
    /// Can be spent.
    pub available: MoneyDoc,
    /// `available` is under `minimum_balance`.
    pub below_minimum: bool,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl PoolDoc {
    /// Pool number `index` as the book has it.
    pub fn from_book(book: &Book, index: u32) -> Option<Self> {
        let p = book.pool(index)?;
        let partner = book.partner(p.partner)?.id;
        let mut doc = Self::empty(p.id, partner, p.currency, p.minimum, p.created_at.rfc3339());
        doc.status = p.status.word().to_owned();
        doc.updated_at = p.updated_at.rfc3339();
        doc.set_balance(p.currency, p.balance, p.minimum);
        Some(doc)
    }

    /// One that holds nothing.
    pub(super) fn empty(id: Id, partner: Id, currency: Currency, minimum: i64, created_at: String) -> Self {
        let zero = MoneyDoc::new(0, currency);
        Self {
            id: id.text(Thing::Pool),
            partner_id: partner.text(Thing::Partner),
            currency: currency.code().to_owned(),
            status: "active".to_owned(),
            minimum_balance: MoneyDoc::new(minimum, currency),
            posted: zero.clone(),
            held: zero.clone(),
            available: zero,
            below_minimum: 0 < minimum,
            created_at: created_at.clone(),
            updated_at: created_at,
        }
    }

    /// Shows this balance against `minimum` minor units.
    pub fn set_balance(&mut self, currency: Currency, balance: Balance, minimum: i64) {
        self.posted = MoneyDoc::new(balance.posted(), currency);
        self.held = MoneyDoc::new(balance.held, currency);
        self.available = MoneyDoc::new(balance.available, currency);
        self.below_minimum = balance.available < minimum;
    }
}

/// Where a card's money comes from; mirrors what creates the card, with the ids that came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardFundingDoc {
    /// `pool`, `account` or `partner_choice`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The pool, of `pool` and `partner_choice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// The account that pays, or that clearing of a pool card passes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Currency of the account that pays, of `account` and `partner_choice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Currency of the linked account, of `pool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_currency: Option<String>,
}

impl CardFundingDoc {
    /// From a card's funding, with what the book's indices name.
    pub fn of_book(book: &Book, funding: Funding) -> Self {
        Self::new(funding, |i| book.pool(i).map(|p| p.id), |i| book.account(i).map(|a| (a.id, a.currency)))
    }

    /// From a card's funding; `pool` and `account` resolve dense indices.
    pub(super) fn new(
        funding: Funding,
        pool: impl Fn(u32) -> Option<Id>,
        account: impl Fn(u32) -> Option<(Id, Currency)>,
    ) -> Self {
        let (pool_index, account_index) = match funding {
            Funding::Pool { pool, linked } => (Some(pool), linked),
            Funding::Account { account } => (None, account),
            Funding::PartnerChoice { pool, account } => (Some(pool), account),
        };
        let account = account(account_index);
        let code = account.map(|(_, currency)| currency.code().to_owned());
        let (currency, account_currency) = match funding {
            Funding::Pool { .. } => (None, code),
            Funding::Account { .. } | Funding::PartnerChoice { .. } => (code, None),
        };
        Self {
            kind: funding.word().to_owned(),
            pool_id: pool_index.and_then(pool).map(|id| id.text(Thing::Pool)),
            account_id: account.map(|(id, _)| id.text(Thing::Account)),
            currency,
            account_currency,
        }
    }
}

/// A card, without its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardDoc {
    /// `crd_…`
    pub id: String,
    /// `usr_…`
    pub user_id: String,
    /// `active`, `frozen`, `inactive`, `lost`, `stolen` or `closed`.
    pub status: String,
    /// Where its money comes from.
    pub funding: CardFundingDoc,
    /// Last four digits.
    #[schema(example = "4242")]
    pub last4: String,
    /// Year and month.
    #[schema(example = "2029-01")]
    pub expires: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl CardDoc {
    /// Card number `index` as the book has it.
    pub fn from_book(book: &Book, index: u32) -> Option<Self> {
        let c: &book::Card = book.card(index)?;
        Some(Self {
            id: c.id.text(Thing::Card),
            user_id: book.user(c.user)?.id.text(Thing::User),
            status: c.status.word().to_owned(),
            funding: CardFundingDoc::of_book(book, c.funding),
            last4: format!("{:04}", c.last4),
            expires: c.expires.text(),
            created_at: c.created_at.rfc3339(),
            updated_at: c.updated_at.rfc3339(),
        })
    }
}
