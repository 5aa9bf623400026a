//! What a scenario needs of the engine, made by REST: a partner that decides by itself, a user, a pool with money, cards.
//! It must never show the operator's key or a card number.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::scenario::SetupFile;
use super::words::Card;
use crate::cli::Failure;
use crate::demo::api::Api;

/// Makes it all and hands out the cards.
///
/// # Errors
/// The call that failed and why.
pub(crate) fn make(api: &mut Api, wanted: &SetupFile, scenario: &str) -> Result<Vec<Card>, Failure> {
    let money = |value: &str| json!({"value": value, "currency": wanted.currency});
    let name = format!("Scenario {scenario}");
    let partner = id(&api.post("/v1/partners", &json!({"name": name, "decision_mode": wanted.decision}))?)?;
    let body = json!({"partner_id": partner, "external_id": format!("{scenario}-cardholder"), "country": "DE"});
    let user = id(&api.post("/v1/users", &body)?)?;
    for status in ["submitted", "in_review", "approved"] {
        api.post(&format!("/v1/users/{user}/kyc"), &json!({"status": status}))?;
    }
    let body = json!({"partner_id": partner, "currency": wanted.currency, "minimum_balance": money("0")});
    let pool = id(&api.post("/v1/pools", &body)?)?;
    if wanted.amount.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        let body = json!({"amount": money(&wanted.amount), "reference": "scenario"});
        let top_up = id(&api.post(&format!("/v1/pools/{pool}/top-ups"), &body)?)?;
        api.post(&format!("/v1/top-ups/{top_up}/settle"), &json!({}))?;
    }
    (0..wanted.cards)
        .map(|_| {
            let body = json!({"user_id": user, "funding": {"type": "pool", "pool_id": pool}});
            card(&api.post("/v1/cards", &body)?)
        })
        .collect()
}

fn id(made: &Value) -> Result<String, Failure> {
    let id = made["id"].as_str();
    id.map(str::to_owned).ok_or_else(|| Failure::no("an answer of REST has no id; is the address the sidecar's?"))
}

fn card(made: &Value) -> Result<Card, Failure> {
    let expires = made["expires"].as_str().unwrap_or_default();
    let expiry = expires.get(2..4).zip(expires.get(5..7)).map(|(year, month)| format!("{year}{month}"));
    match (made["pan"].as_str(), expiry) {
        (Some(pan), Some(expiry)) => Ok(Card { pan: Zeroizing::new(pan.to_owned()), expiry }),
        _ => Err(Failure::no("a new card shows no number; only a sandbox does (`sandbox = true`)")),
    }
}
