//! What the harness needs in an engine before it starts: partners, approved users, money, cards, all of it made by
//! REST as a customer would. It must never write into the data directory.

use crate::client::Rest;
use crate::fault::Fault;
use serde_json::{Value, json};

/// A REST client that makes things.
pub(crate) struct Maker<'a>(pub(crate) &'a Rest);

impl Maker<'_> {
    /// A partner with these settings (`name`, `decision_mode`, `decision_url`, …): its id and its webhook secret.
    pub(crate) fn partner(&self, settings: &Value) -> Result<(String, String), Fault> {
        let made = self.0.make("/v1/partners", settings)?;
        Ok((word(&made, "id")?, word(&made, "webhook_secret")?))
    }

    /// A user whose KYC went the whole way.
    pub(crate) fn user(&self, partner: &str, name: &str) -> Result<String, Fault> {
        let body = json!({ "partner_id": partner, "external_id": name, "country": "DE" });
        let user = word(&self.0.make("/v1/users", &body)?, "id")?;
        for status in ["submitted", "in_review", "approved"] {
            self.0.make(&format!("/v1/users/{user}/kyc"), &json!({ "status": status }))?;
        }
        Ok(user)
    }

    /// A euro account with that much money.
    pub(crate) fn account(&self, user: &str, cents: i64) -> Result<String, Fault> {
        let made = self.0.make(&format!("/v1/users/{user}/accounts"), &json!({ "currency": "EUR" }))?;
        let account = word(&made, "id")?;
        if cents > 0 {
            self.0.make("/v1/pay-ins", &pay_in(&account, cents))?;
        }
        Ok(account)
    }

    /// A euro pool, prefunded.
    pub(crate) fn pool(&self, partner: &str, cents: i64) -> Result<String, Fault> {
        let body = json!({ "partner_id": partner, "currency": "EUR", "minimum_balance": euro(0) });
        let pool = word(&self.0.make("/v1/pools", &body)?, "id")?;
        let path = format!("/v1/pools/{pool}/top-ups");
        let top_up = word(&self.0.make(&path, &transfer(cents))?, "id")?;
        self.0.make(&format!("/v1/top-ups/{top_up}/settle"), &Value::Null)?;
        Ok(pool)
    }

    /// A card with that funding: its number, which the sandbox tells once.
    pub(crate) fn card(&self, user: &str, funding: &Value) -> Result<String, Fault> {
        let made = self.0.make("/v1/cards", &json!({ "user_id": user, "funding": funding }))?;
        word(&made, "pan")
    }
}

/// The body of a pay-in.
pub(crate) fn pay_in(account: &str, cents: i64) -> Value {
    json!({ "account_id": account, "amount": euro(cents), "reference": "harness" })
}

/// The body of a top-up or a withdrawal.
pub(crate) fn transfer(cents: i64) -> Value {
    json!({ "amount": euro(cents), "reference": "harness" })
}

/// An amount as the sidecar takes it.
pub(crate) fn euro(cents: i64) -> Value {
    json!({ "value": format!("{}.{:02}", cents / 100, cents % 100), "currency": "EUR" })
}

/// The cents of an amount as the sidecar gives it; `None` when it is not euro with two decimals.
pub(crate) fn cents(amount: &Value) -> Option<i64> {
    if amount["currency"].as_str() != Some("EUR") {
        return None;
    }
    let text = amount["value"].as_str()?;
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.')?;
    if part.len() != 2 {
        return None;
    }
    Some(sign * (whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(part.parse().ok()?)?))
}

fn word(made: &Value, member: &str) -> Result<String, Fault> {
    let found = made[member].as_str().map(str::to_owned);
    found.ok_or_else(|| Fault::Engine(format!("an answer of the sidecar has no `{member}`")))
}
