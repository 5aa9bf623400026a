//! Shapes of money in and out, rates, quotes, off-ramps and statements. Must never compute an amount: it shows what
//! the book or the events say.

use ledger_core::book::{Book, TransferKind};
use ledger_core::id::{No, Thing};
use ledger_core::money::Currency;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MoneyDoc;

/// A top-up, withdrawal, pay-in, payout or crypto deposit. Which one is told by the prefix of `id`; it names one of
/// pool, account and user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferDoc {
    /// `top_…`, `wdr_…`, `pin_…`, `pay_…` or `cdp_…`
    pub id: String,
    /// Of top-ups and withdrawals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// Of pay-ins and payouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Of crypto deposits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// How much.
    pub amount: MoneyDoc,
    /// The caller's reference.
    pub reference: String,
    /// Of payouts: who gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beneficiary: Option<String>,
    /// `pending`, `settled` or `failed`; what has no second step is `settled` at once.
    pub status: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// What an id of this kind of transfer starts with.
pub(in crate::view) const fn thing_of(kind: TransferKind) -> Thing {
    match kind {
        TransferKind::TopUp => Thing::TopUp,
        TransferKind::Withdrawal => Thing::Withdrawal,
        TransferKind::PayIn => Thing::PayIn,
        TransferKind::Payout => Thing::Payout,
        TransferKind::CryptoDeposit => Thing::CryptoDeposit,
    }
}

impl TransferDoc {
    /// Transfer number `no` as the book has it.
    pub fn from_book(book: &Book, no: No) -> Option<Self> {
        let t = book.transfer(no)?;
        let (mut pool_id, mut account_id, mut user_id) = (None, None, None);
        match t.kind {
            TransferKind::TopUp | TransferKind::Withdrawal => pool_id = Some(book.pool(t.party)?.id.text(Thing::Pool)),
            TransferKind::PayIn | TransferKind::Payout => {
                account_id = Some(book.account(t.party)?.id.text(Thing::Account));
            }
            TransferKind::CryptoDeposit => user_id = Some(book.user(t.party)?.id.text(Thing::User)),
        }
        Some(Self {
            id: t.id.text(thing_of(t.kind)),
            pool_id,
            account_id,
            user_id,
            amount: MoneyDoc::new(t.amount, t.currency),
            reference: t.reference.clone(),
            beneficiary: t.beneficiary.clone(),
            status: t.status.word().to_owned(),
            created_at: t.created_at.rfc3339(),
            updated_at: t.updated_at.rfc3339(),
        })
    }
}

/// A rate of the rate book: so many units of `to` for one `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateDoc {
    /// One unit of this …
    pub from: String,
    /// … is so many of that.
    pub to: String,
    /// Decimal text.
    #[schema(example = "0.932835")]
    pub rate: String,
    /// Markup in hundredths of a percent.
    pub markup_bps: u16,
    /// RFC 3339.
    pub updated_at: String,
}

impl RateDoc {
    /// The rate of a pair as the book has it.
    pub fn from_book(book: &Book, from: Currency, to: Currency) -> Option<Self> {
        let (.., entry) = book.rates().find(|(f, t, _)| *f == from && *t == to)?;
        Some(Self {
            from: from.code().to_owned(),
            to: to.code().to_owned(),
            rate: entry.rate.text(),
            markup_bps: entry.rate.markup_bps,
            updated_at: entry.updated_at.rfc3339(),
        })
    }
}

/// A quote: what will be sold and credited, once, before it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuoteDoc {
    /// `quo_…`
    pub id: String,
    /// `usr_…`
    pub user_id: String,
    /// What is sold.
    pub from: MoneyDoc,
    /// What is credited, after the fee.
    pub to: MoneyDoc,
    /// Decimal text, without the markup.
    pub rate: String,
    /// Markup in hundredths of a percent.
    pub markup_bps: u16,
    /// What stays here, in the currency of `to`.
    pub fee: MoneyDoc,
    /// From this moment on it can no longer be executed.
    pub expires_at: String,
    /// RFC 3339.
    pub created_at: String,
}

impl QuoteDoc {
    /// Quote number `no` as the book has it.
    pub fn from_book(book: &Book, no: No) -> Option<Self> {
        let q = book.quote(no)?;
        Some(Self {
            id: q.id.text(Thing::Quote),
            user_id: book.user(q.user)?.id.text(Thing::User),
            from: MoneyDoc::new(q.from_amount, q.from),
            to: MoneyDoc::new(q.to_amount, q.to),
            rate: q.rate.text(),
            markup_bps: q.rate.markup_bps,
            fee: MoneyDoc::new(q.fee, q.to),
            expires_at: q.expires_at.rfc3339(),
            created_at: q.created_at.rfc3339(),
        })
    }
}

/// An executed off-ramp: the quote's figures and the account that was credited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OffRampDoc {
    /// `ofr_…`
    pub id: String,
    /// `quo_…`
    pub quote_id: String,
    /// `usr_…`
    pub user_id: String,
    /// `acc_…`, the account that was credited.
    pub account_id: String,
    /// What was sold.
    pub from: MoneyDoc,
    /// What was credited.
    pub to: MoneyDoc,
    /// Decimal text, without the markup.
    pub rate: String,
    /// What stayed here.
    pub fee: MoneyDoc,
    /// The caller's reference.
    pub reference: Option<String>,
    /// RFC 3339.
    pub created_at: String,
}

impl OffRampDoc {
    /// Off-ramp number `no` as the book has it; none when the book forgot its quote.
    pub fn from_book(book: &Book, no: No) -> Option<Self> {
        let o = book.off_ramp(no)?;
        let quote = QuoteDoc::from_book(book, o.quote)?;
        Some(Self {
            id: o.id.text(Thing::OffRamp),
            quote_id: quote.id,
            user_id: quote.user_id,
            account_id: book.account(o.account)?.id.text(Thing::Account),
            from: quote.from,
            to: quote.to,
            rate: quote.rate,
            fee: quote.fee,
            reference: o.reference.clone(),
            created_at: o.created_at.rfc3339(),
        })
    }
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementLine {
    /// Sequence of the event in the journal.
    pub sequence: u64,
    /// RFC 3339.
    pub at: String,
    /// The event's word, for example `paid_in` or `tap_taken`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The caller's reference, or the id of the thing that moved the money.
    pub reference: Option<String>,
    /// Signed; above zero adds.
    pub amount: MoneyDoc,
    /// `posted` after this line.
    pub balance_after: MoneyDoc,
    /// Told for information and part of no sum: a pool's money for a tap of the card linked to this account, in and
    /// out again.
    pub memo: bool,
    /// The authorization behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_id: Option<String>,
}

/// What an account or pool had at the end of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalanceDoc {
    /// The account, when it is an account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The pool, when it is a pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// RFC 3339; what happened in this microsecond is in it.
    pub at: String,
    /// `available` + `held`.
    pub posted: MoneyDoc,
    /// Reserved by open holds.
    pub held: MoneyDoc,
    /// Could be spent.
    pub available: MoneyDoc,
    /// Sequence of the last event that moved it; null when none had.
    pub sequence: Option<u64>,
}

/// A statement of `posted`, oldest line first: `opening` plus every line that is no memo is `closing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementDoc {
    /// The account, when it is an account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The pool, when it is a pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// The currency of all that is no memo.
    pub currency: String,
    /// `posted` before the first line.
    pub opening: MoneyDoc,
    /// The lines.
    pub lines: Vec<StatementLine>,
    /// `posted` after the last line.
    pub closing: MoneyDoc,
    /// Where the next lines begin; null when these are all.
    pub next_cursor: Option<String>,
}
