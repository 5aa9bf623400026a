//! A world to tap in: a sample partner with its web server, a user with KYC, a pool with money, and cards.

use std::sync::Arc;

use auth_engine::simulate::partner::SamplePartner;
use serde_json::{Value, json};

use super::iso::fresh;
use super::{Answer, Engine, Wire, money};

/// A card as its network sees it.
#[derive(Clone)]
pub(crate) struct Card {
    pub(crate) id: String,
    pub(crate) pan: String,
    /// YYMM.
    pub(crate) expiry: String,
}

/// One partner's world. Nothing in it is shared with another world but the engine.
pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) sample: SamplePartner,
    pub(crate) partner: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) user: String,
    pub(crate) pool: String,
}

impl World {
    /// On the shared engine, with 1000.00 EUR in the pool and a partner that approves.
    pub(crate) fn shared() -> Self {
        Self::on(&super::shared())
    }

    /// On an engine, with 1000.00 EUR in the pool and a partner that approves.
    pub(crate) fn on(engine: &Arc<Engine>) -> Self {
        let sample = SamplePartner::start("127.0.0.1:0", &["approve"], Vec::new()).expect("a sample partner");
        Self::with(engine, sample)
    }

    /// On an engine, with a partner of its own.
    pub(crate) fn with(engine: &Arc<Engine>, sample: SamplePartner) -> Self {
        let terms = json!({"name": "Sample", "decision_url": sample.url(), "decision_timeout_ms": 1500});
        let partner = engine.post("/v1/partners", &terms);
        let secret = word(&partner, "webhook_secret");
        let partner = word(&partner, "id");
        let key = word(&engine.post(&format!("/v1/partners/{partner}/keys"), &json!({})), "key");
        let world =
            Self { engine: Arc::clone(engine), sample, partner, key, secret, user: String::new(), pool: String::new() };
        let user = world.new_user();
        let pool = world.new_pool("EUR", "1000.00");
        Self { user, pool, ..world }
    }

    /// A user with KYC approved.
    pub(crate) fn new_user(&self) -> String {
        let user = self.raw_user();
        for status in ["submitted", "in_review", "approved"] {
            self.kyc(&user, status);
        }
        user
    }

    /// A user, nothing known of them.
    pub(crate) fn raw_user(&self) -> String {
        let body = json!({"partner_id": self.partner, "external_id": format!("user-{}", fresh()), "country": "PT"});
        word(&self.engine.post("/v1/users", &body), "id")
    }

    /// A KYC step.
    pub(crate) fn kyc(&self, user: &str, status: &str) {
        self.engine.post(&format!("/v1/users/{user}/kyc"), &json!({"status": status}));
    }

    /// A pool with money in it.
    pub(crate) fn new_pool(&self, currency: &str, amount: &str) -> String {
        let body = json!({"partner_id": self.partner, "currency": currency, "minimum_balance": money("0", currency)});
        let pool = word(&self.engine.post("/v1/pools", &body), "id");
        if amount.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            self.top_up(&pool, amount, currency);
        }
        pool
    }

    /// A settled top-up.
    pub(crate) fn top_up(&self, pool: &str, amount: &str, currency: &str) {
        let body = json!({"amount": money(amount, currency), "reference": "prefund"});
        let top_up = word(&self.engine.post(&format!("/v1/pools/{pool}/top-ups"), &body), "id");
        self.engine.act(&format!("/v1/top-ups/{top_up}/settle"));
    }

    /// An account of the world's user with money in it.
    pub(crate) fn new_account(&self, currency: &str, amount: &str) -> String {
        let path = format!("/v1/users/{}/accounts", self.user);
        let account = word(&self.engine.post(&path, &json!({"currency": currency})), "id");
        if amount.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            self.pay_in(&account, amount, currency);
        }
        account
    }

    /// Money that arrived.
    pub(crate) fn pay_in(&self, account: &str, amount: &str, currency: &str) {
        let body = json!({"account_id": account, "amount": money(amount, currency), "reference": "salary"});
        self.engine.post("/v1/pay-ins", &body);
    }

    /// A card of the world's user.
    pub(crate) fn card(&self, funding: Value) -> Card {
        self.card_of(&self.user, funding)
    }

    /// A card of a user.
    pub(crate) fn card_of(&self, user: &str, funding: Value) -> Card {
        let card = self.engine.post("/v1/cards", &json!({"user_id": user, "funding": funding}));
        let expires = word(&card, "expires");
        Card { id: word(&card, "id"), pan: word(&card, "pan"), expiry: format!("{}{}", &expires[2..4], &expires[5..7]) }
    }

    /// A card on the world's pool.
    pub(crate) fn pool_card(&self) -> Card {
        self.card(json!({"type": "pool", "pool_id": self.pool}))
    }

    /// A card on a user's account in EUR with so much in it, and the account.
    pub(crate) fn account_card(&self, amount: &str) -> (Card, String) {
        let account = self.new_account("EUR", amount);
        (self.card(json!({"type": "account", "currency": "EUR"})), account)
    }

    /// A card whose partner says which source pays, and the account.
    pub(crate) fn choice_card(&self, amount: &str) -> (Card, String) {
        let account = self.new_account("EUR", amount);
        (self.card(json!({"type": "partner_choice", "pool_id": self.pool, "currency": "EUR"})), account)
    }

    /// Changes the partner's terms.
    pub(crate) fn terms(&self, body: Value) {
        self.engine.patch(&format!("/v1/partners/{}", self.partner), &body);
    }

    /// Changes what the sample partner answers.
    pub(crate) fn rules(&self, rules: &[&str]) {
        self.sample.set_rules(rules).expect("rules");
    }

    /// A connection to the first link.
    pub(crate) fn wire(&self) -> Wire {
        self.engine.wire()
    }

    /// A pool's `available` and `held`.
    pub(crate) fn pool_balance(&self, pool: &str) -> (String, String) {
        balance(&self.engine.get(&format!("/v1/pools/{pool}")))
    }

    /// An account's `available` and `held`.
    pub(crate) fn account_balance(&self, account: &str) -> (String, String) {
        balance(&self.engine.get(&format!("/v1/accounts/{account}")))
    }

    /// Checks what the world's pool has.
    pub(crate) fn pool_has(&self, available: &str, held: &str) {
        assert_eq!(self.pool_balance(&self.pool), (available.to_owned(), held.to_owned()), "available and held");
    }

    /// Checks what an account has.
    pub(crate) fn account_has(&self, account: &str, available: &str, held: &str) {
        assert_eq!(self.account_balance(account), (available.to_owned(), held.to_owned()), "available and held");
    }

    /// All authorizations of a card, newest first.
    pub(crate) fn authorizations(&self, card: &Card) -> Vec<Value> {
        self.engine.list(&format!("/v1/authorizations?card_id={}", card.id))
    }

    /// The newest authorization of a card.
    pub(crate) fn newest(&self, card: &Card) -> Value {
        self.authorizations(card).into_iter().next().expect("an authorization")
    }

    /// Checks the newest authorization's reason and status.
    pub(crate) fn newest_is(&self, card: &Card, status: &str, reason: &str) {
        let newest = self.newest(card);
        assert_eq!((newest["status"].as_str(), newest["reason"].as_str()), (Some(status), Some(reason)), "{newest}");
    }

    /// A POST with the partner's own key.
    pub(crate) fn as_partner(&self, path: &str, body: &Value) -> Answer {
        self.engine.call("POST", path, Some(&self.key), Some(body))
    }
}

fn balance(of: &Value) -> (String, String) {
    let part = |name: &str| of[name]["value"].as_str().unwrap_or_else(|| panic!("no {name} in {of}")).to_owned();
    (part("available"), part("held"))
}

/// A member that is text.
pub(crate) fn word(of: &Value, member: &str) -> String {
    of[member].as_str().unwrap_or_else(|| panic!("no {member} in {of}")).to_owned()
}

/// A card number that no engine issued: the suite's BIN, a serial, and the right Luhn digit.
pub(crate) fn unknown_pan() -> String {
    with_luhn(&format!("53511012{:07}", 9_000_000 + fresh() % 1_000_000))
}

/// Fifteen digits and their Luhn digit.
pub(crate) fn with_luhn(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            let weighed = if at % 2 == 0 { digit * 2 } else { digit };
            weighed / 10 + weighed % 10
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}
