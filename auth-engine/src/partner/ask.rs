//! The body of the ask, member for member and in order as contracts section 3 shows it. It owns the JSON
//! shape and nothing else: every value is given by the caller, already as text.

use serde::Serialize;

/// The whole body of one `authorization.request`.
#[derive(Debug, Clone, Serialize)]
pub struct AskBody<'a> {
    /// Always `authorization.request`; [`AskBody::TYPE`].
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The authorization's id, also the `webhook-id`.
    pub id: &'a str,
    /// RFC 3339 UTC with microseconds.
    pub created_at: &'a str,
    /// RFC 3339 UTC with microseconds: an answer after it is late.
    pub deadline_at: &'a str,
    /// Milliseconds from `created_at` to `deadline_at`.
    pub timeout_ms: u64,
    /// What is asked about.
    pub data: AskData<'a>,
}

impl AskBody<'_> {
    /// The value of `type`.
    pub const TYPE: &'static str = "authorization.request";
}

/// What the partner decides on.
#[derive(Debug, Clone, Serialize)]
pub struct AskData<'a> {
    /// `aut_…`.
    pub authorization_id: &'a str,
    /// `purchase`, `cash`, `cash_back`, `preauthorization`, `incremental`.
    pub kind: &'a str,
    /// `ptn_…`.
    pub partner_id: &'a str,
    /// `usr_…`.
    pub user_id: &'a str,
    /// The partner's own id of the user.
    pub user_external_id: &'a str,
    /// `crd_…`.
    pub card_id: &'a str,
    /// The card number's last four digits; more of it never leaves.
    pub card_last4: &'a str,
    /// What will be held, in the cardholder's billing currency.
    pub amount: AskMoney<'a>,
    /// What the merchant asked for, in its currency.
    pub merchant_amount: AskMoney<'a>,
    /// Billing units per merchant unit, decimal text; none when the network sent none.
    pub conversion_rate: Option<&'a str>,
    /// Which of `pool` and `account` have enough.
    pub sources: &'a [&'a str],
    /// The pool, when it is a source.
    pub pool: Option<AskPool<'a>>,
    /// The account, when it is a source.
    pub account: Option<AskAccount<'a>>,
    /// Where.
    pub merchant: AskMerchant<'a>,
    /// How.
    pub pos: AskPos<'a>,
    /// The network's own references.
    pub network: AskNetwork<'a>,
}

/// An amount: decimal text within the currency's decimals.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AskMoney<'a> {
    /// `12.50`.
    pub value: &'a str,
    /// `EUR`.
    pub currency: &'a str,
}

/// The partner's pool as a source.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AskPool<'a> {
    /// `pol_…`.
    pub id: &'a str,
    /// Its currency, which may differ from the tap's.
    pub currency: &'a str,
    /// What is held on it for this tap.
    pub amount: &'a str,
    /// What is available once it is held.
    pub available_after: &'a str,
}

/// The user's account as a source.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AskAccount<'a> {
    /// `acc_…`.
    pub id: &'a str,
    /// Its currency.
    pub currency: &'a str,
    /// What is held on it for this tap.
    pub amount: &'a str,
    /// What is available once it is held.
    pub available_after: &'a str,
}

/// The merchant as the network describes it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AskMerchant<'a> {
    /// Card acceptor id (DE42).
    pub id: Option<&'a str>,
    /// Name (DE43).
    pub name: Option<&'a str>,
    /// City (DE43).
    pub city: Option<&'a str>,
    /// Country (DE43), as sent.
    pub country: Option<&'a str>,
    /// Merchant category (DE18).
    pub mcc: Option<&'a str>,
    /// Terminal (DE41).
    pub terminal_id: Option<&'a str>,
    /// Acquirer (DE32).
    pub acquirer_id: Option<&'a str>,
}

/// How the card was used.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AskPos<'a> {
    /// `contactless_chip`, `chip`, `magnetic_stripe`, `ecommerce`, `manual`, …
    pub entry_mode: Option<&'a str>,
    /// A PIN came with it.
    pub pin_entered: bool,
    /// The card was there.
    pub card_present: bool,
    /// Its holder was there.
    pub cardholder_present: bool,
    /// The terminal takes less than it asked for.
    pub partial_approval_supported: bool,
}

/// The network's references, for the partner's own reconciliation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AskNetwork<'a> {
    /// `mastercard`.
    pub name: &'a str,
    /// DE11.
    pub stan: &'a str,
    /// DE37.
    pub retrieval_reference: Option<&'a str>,
    /// DE63's reference.
    pub reference: Option<&'a str>,
    /// DE48 SE63, when it links to an earlier message.
    pub trace_id: Option<&'a str>,
    /// DE7 as RFC 3339 UTC.
    pub transmitted_at: Option<&'a str>,
}

/// Appends the body's JSON to `into`.
pub fn write(body: &AskBody<'_>, into: &mut Vec<u8>) {
    serde_json::to_writer(into, body).expect("text and numbers always serialize, and a Vec always takes bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_contracts_own_example() {
        let body = AskBody {
            kind: AskBody::TYPE,
            id: "aut_1",
            created_at: "2026-01-31T12:00:00.123456Z",
            deadline_at: "2026-01-31T12:00:00.623456Z",
            timeout_ms: 500,
            data: AskData {
                authorization_id: "aut_1",
                kind: "purchase",
                partner_id: "ptn_1",
                user_id: "usr_1",
                user_external_id: "alice",
                card_id: "crd_1",
                card_last4: "4242",
                amount: AskMoney { value: "12.50", currency: "EUR" },
                merchant_amount: AskMoney { value: "13.40", currency: "USD" },
                conversion_rate: Some("0.932835"),
                sources: &["pool"],
                pool: Some(AskPool { id: "pol_1", currency: "EUR", amount: "12.50", available_after: "9987.50" }),
                account: None,
                merchant: AskMerchant {
                    id: Some("M1"),
                    name: Some("Caf\u{e9} \"Zwei\""),
                    city: Some("Bern"),
                    country: Some("CHE"),
                    mcc: Some("5411"),
                    terminal_id: Some("T1"),
                    acquirer_id: Some("9999"),
                },
                pos: AskPos {
                    entry_mode: Some("contactless_chip"),
                    pin_entered: false,
                    card_present: true,
                    cardholder_present: true,
                    partial_approval_supported: false,
                },
                network: AskNetwork {
                    name: "mastercard",
                    stan: "000123",
                    retrieval_reference: Some("R"),
                    reference: Some("F"),
                    trace_id: None,
                    transmitted_at: Some("2026-01-31T12:00:00Z"),
                },
            },
        };
        let mut bytes = Vec::new();
        write(&body, &mut bytes);
        let expected = concat!(
            r#"{"type":"authorization.request","id":"aut_1","created_at":"2026-01-31T12:00:00.123456Z","#,
            r#""deadline_at":"2026-01-31T12:00:00.623456Z","timeout_ms":500,"#,
            r#""data":{"authorization_id":"aut_1","kind":"purchase","partner_id":"ptn_1","user_id":"usr_1","#,
            r#""user_external_id":"alice","card_id":"crd_1","card_last4":"4242","#,
            r#""amount":{"value":"12.50","currency":"EUR"},"merchant_amount":{"value":"13.40","currency":"USD"},"#,
            r#""conversion_rate":"0.932835","sources":["pool"],"#,
            r#""pool":{"id":"pol_1","currency":"EUR","amount":"12.50","available_after":"9987.50"},"account":null,"#,
            r#""merchant":{"id":"M1","name":"Café \"Zwei\"","city":"Bern","country":"CHE","mcc":"5411","#,
            r#""terminal_id":"T1","acquirer_id":"9999"},"#,
            r#""pos":{"entry_mode":"contactless_chip","pin_entered":false,"card_present":true,"#,
            r#""cardholder_present":true,"partial_approval_supported":false},"#,
            r#""network":{"name":"mastercard","stan":"000123","retrieval_reference":"R","reference":"F","#,
            r#""trace_id":null,"transmitted_at":"2026-01-31T12:00:00Z"}}}"#,
        );
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), expected);
    }
}
