//! The shape of an authorization and of its events (contracts 4.1). Must never carry card data beyond the card's id.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MoneyDoc;

/// What pays for an authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FundingSourceDoc {
    /// `pool`, `account`, or `partner_choice` while (or because never) chosen.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pol_…` or `acc_…`; null while not chosen.
    pub id: Option<String>,
}

/// Where the tap took place, from the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MerchantDoc {
    /// DE42.
    pub id: Option<String>,
    /// DE43.
    pub name: Option<String>,
    /// DE43.
    pub city: Option<String>,
    /// DE43: country or state, three characters.
    pub country: Option<String>,
    /// DE18.
    pub mcc: Option<String>,
    /// DE41.
    pub terminal_id: Option<String>,
    /// DE32.
    pub acquirer_id: Option<String>,
}

/// How the card was presented, from the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PosDoc {
    /// `manual`, `magnetic_stripe`, `chip`, `contactless_chip`, `contactless_stripe`, `credential_on_file`,
    /// `ecommerce`, `fallback` or `unknown`; null without DE22.
    pub entry_mode: Option<String>,
    /// A PIN came with it.
    pub pin_entered: bool,
    /// DE61 position 5; without DE61 what the entry mode implies.
    pub card_present: bool,
    /// DE61 position 4; without DE61 what the entry mode implies.
    pub cardholder_present: bool,
    /// DE48 SE61: less than asked may be approved.
    pub partial_approval_supported: bool,
}

/// By what the network knows the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkDoc {
    /// Name of the message spec.
    pub name: String,
    /// DE11.
    pub stan: Option<String>,
    /// DE37.
    pub retrieval_reference: Option<String>,
    /// DE63.
    pub reference: Option<String>,
    /// DE48 SE63.
    pub trace_id: Option<String>,
    /// DE7, its year taken from when the message came; RFC 3339.
    pub transmitted_at: Option<String>,
}

/// What the partner said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartnerDecisionDoc {
    /// `approve`, `decline`, `timeout`, `unreachable`, `bad_response` or `interrupted`.
    pub outcome: String,
    /// The reason of a decline, or the kind of fault.
    pub reason: Option<String>,
    /// From the ask to the answer.
    pub latency_us: u64,
    /// How long after its deadline it came; null when in time. A late answer moved nothing.
    pub late_by_us: Option<u64>,
    /// The answer's `metadata`.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    /// `metadata` was over 1 KiB and is not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metadata_dropped: bool,
}

/// A tap, or an advice that stands for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuthorizationDoc {
    /// `aut_…`
    pub id: String,
    /// `purchase`, `cash`, `cash_back`, `preauthorization`, `incremental`, `refund`, `balance_inquiry`,
    /// `account_status` or `unsupported`.
    pub kind: String,
    /// `pending`, `approved`, `declined`, `reversed`, `partially_reversed`, `expired`, `cleared` or
    /// `partially_cleared`.
    pub status: String,
    /// `approved`, `partial` or `declined`; null while pending, and when the answer never counted.
    pub outcome: Option<String>,
    /// Why (contracts 2.7); null while pending.
    pub reason: Option<String>,
    /// DE39; null while pending, and when the answer never counted. Of an advice: its own.
    pub response_code: Option<String>,
    /// DE38, six digits.
    pub approval_code: Option<String>,
    /// Cardholder billing when the message had it, else `merchant_amount`.
    pub amount: MoneyDoc,
    /// DE4.
    pub merchant_amount: MoneyDoc,
    /// What is held now, in the currency of what pays; zero in the currency of `amount` when nothing is.
    pub held: MoneyDoc,
    /// What is cleared, in the currency of `amount`.
    pub cleared: MoneyDoc,
    /// What pays; null when no card has that number.
    pub funding: Option<FundingSourceDoc>,
    /// `crd_…`
    pub card_id: Option<String>,
    /// `usr_…`
    pub user_id: Option<String>,
    /// Where.
    pub merchant: MerchantDoc,
    /// How.
    pub pos: PosDoc,
    /// The message.
    pub network: NetworkDoc,
    /// What the partner said; null when it was not asked or has not answered.
    pub partner_decision: Option<PartnerDecisionDoc>,
    /// When what is held is released by itself; null when it never held anything.
    pub expires_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; null while pending.
    pub decided_at: Option<String>,
    /// RFC 3339.
    pub updated_at: String,
}

/// A partner's approval that came after the decision. It moved nothing here; the partner may have booked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateApprovalDoc {
    /// `aut_…`
    pub authorization_id: String,
    /// `ptn_…`
    pub partner_id: Option<String>,
    /// `usr_…`
    pub user_id: Option<String>,
    /// `crd_…`
    pub card_id: Option<String>,
    /// The authorization's status when the answer came.
    pub status: String,
    /// Its reason then.
    pub reason: Option<String>,
    /// Its DE39 then.
    pub response_code: Option<String>,
    /// What was asked.
    pub amount: MoneyDoc,
    /// What the partner approved.
    pub approved: MoneyDoc,
    /// `approved` less what stood approved when the answer came.
    pub at_risk: MoneyDoc,
    /// From the ask to the answer.
    pub latency_us: u64,
    /// How long after its deadline the answer came.
    pub late_by_us: u64,
    /// RFC 3339.
    pub answered_at: String,
    /// Sequence of the answer in the journal.
    pub sequence: u64,
}

/// One line of an event's double entry. One of `debit` and `credit` is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostingDoc {
    /// `pool.available`, `pool.held`, `account.available`, `account.held`, `scheme`, `receivable`, …
    pub account: String,
    /// Whose: a pool, account, partner or user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Code.
    pub currency: String,
    /// Decimal text.
    pub debit: String,
    /// Decimal text.
    pub credit: String,
}

/// One thing that happened to an authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuthorizationEventDoc {
    /// Sequence in the journal.
    pub sequence: u64,
    /// RFC 3339.
    pub at: String,
    /// `tap_taken`, `tap_decided`, `answered_too_late`, `advised`, `reversed`, `hold_expired` or `reply_late`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The authorization's status from here on.
    pub status: String,
    /// Its reason from here on.
    pub reason: Option<String>,
    /// Its DE39 from here on.
    pub response_code: Option<String>,
    /// What is held from here on.
    pub held: MoneyDoc,
    /// The lines.
    pub postings: Vec<PostingDoc>,
}
