//! What the story needs, created by REST: a partner, its pools with money in them, two users, their cards.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::api::Api;
use super::balances::{Balance, cents};
use super::messages::Plastic;
use super::story::{Act, Card, Purse};
use crate::cli::Failure;
use crate::partner::Secret;

/// A well-known test number with a good check digit; its BIN is not ours.
const NOBODYS_CARD: &str = "5555555555554444";
/// EUR for one USDC.
const RATE: &str = "0.932835";

/// A card of the story.
struct Issued {
    id: String,
    plastic: Plastic,
}

/// Everything created, by the story's names.
pub(super) struct World {
    alice: String,
    bob: String,
    pools: BTreeMap<Purse, String>,
    account: String,
    cards: BTreeMap<Card, Issued>,
    calls: usize,
}

fn id(created: &Value) -> Result<String, Failure> {
    let id = created["id"].as_str();
    id.map(str::to_owned)
        .ok_or_else(|| Failure::no("an answer of REST has no id; see the engine's log with --log debug"))
}

fn eur(value: &str) -> Value {
    json!({"value": value, "currency": "EUR"})
}

impl World {
    /// Creates it all. The second is the partner's webhook secret, which stands in one answer alone.
    pub(super) fn create(api: &mut Api, decision_url: &str) -> Result<(Self, Secret), Failure> {
        let partner = api.post("/v1/partners", &json!({"name": "Aurora", "decision_url": decision_url}))?;
        let secret = Zeroizing::new(partner["webhook_secret"].as_str().unwrap_or_default().to_owned());
        let secret = Secret::parse(&secret)
            .map_err(|error| Failure::no(format!("POST /v1/partners: the webhook secret is unusable: {error}")))?;
        let partner = id(&partner)?;

        let mut pools = BTreeMap::new();
        for (purse, amount) in [(Purse::Pool, "1000.00"), (Purse::SmallPool, "10.00")] {
            let pool = json!({"partner_id": partner, "currency": "EUR", "minimum_balance": eur("5.00")});
            let pool = id(&api.post("/v1/pools", &pool)?)?;
            let top_up = json!({"amount": eur(amount), "reference": "prefund"});
            let top_up = id(&api.post(&format!("/v1/pools/{pool}/top-ups"), &top_up)?)?;
            api.post(&format!("/v1/top-ups/{top_up}/settle"), &json!({}))?;
            pools.insert(purse, pool);
        }

        let mut user = |name: &str| {
            let body = json!({"partner_id": partner, "external_id": name, "country": "DE"});
            let user = id(&api.post("/v1/users", &body)?)?;
            for status in ["submitted", "in_review", "approved"] {
                api.post(&format!("/v1/users/{user}/kyc"), &json!({"status": status}))?;
            }
            Ok::<_, Failure>(user)
        };
        let (alice, bob) = (user("alice")?, user("bob")?);
        let account = id(&api.post(&format!("/v1/users/{alice}/accounts"), &json!({"currency": "EUR"}))?)?;

        let pool = pools.get(&Purse::Pool);
        let from_pool = json!({"type": "pool", "pool_id": pool});
        let wanted = [
            (Card::Pool, &alice, from_pool.clone()),
            (Card::SmallPool, &alice, json!({"type": "pool", "pool_id": pools.get(&Purse::SmallPool)})),
            (Card::Account, &alice, json!({"type": "account", "currency": "EUR"})),
            (Card::Choice, &alice, json!({"type": "partner_choice", "pool_id": pool, "currency": "EUR"})),
            (Card::Frozen, &alice, from_pool.clone()),
            (Card::Bob, &bob, from_pool),
        ];
        let mut cards = BTreeMap::new();
        for (card, holder, funding) in wanted {
            let made = api.post("/v1/cards", &json!({"user_id": holder, "funding": funding}))?;
            cards.insert(card, issued(&made)?);
        }
        let expiry = cards.get(&Card::Pool).map_or_else(String::new, |card| card.plastic.expiry.clone());
        let nobodys = Plastic { number: Zeroizing::new(NOBODYS_CARD.to_owned()), expiry };
        cards.insert(Card::Unknown, Issued { id: String::new(), plastic: nobodys });
        api.put("/v1/rates/USDC-EUR", &json!({"rate": RATE}))?;
        Ok((Self { alice, bob, pools, account, cards, calls: api.calls() }, secret))
    }

    /// Calls it took to create it.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// A card as the network sees it.
    pub(super) fn plastic(&self, card: Card) -> Option<&Plastic> {
        self.cards.get(&card).map(|card| &card.plastic)
    }

    /// What a pool or account holds now.
    pub(super) fn balance(&self, api: &mut Api, purse: Purse) -> Result<Balance, Failure> {
        let path = match purse {
            Purse::Pool | Purse::SmallPool => {
                format!("/v1/pools/{}", self.pools.get(&purse).map_or("", String::as_str))
            }
            Purse::Account => format!("/v1/accounts/{}", self.account),
        };
        let found = api.get(&path)?;
        let amount = |member: &str| {
            let text = found[member]["value"].as_str().unwrap_or_default();
            cents(text).ok_or_else(|| Failure::no(format!("GET {path}: {member} is no amount of EUR")))
        };
        Ok(Balance { posted: amount("posted")?, held: amount("held")?, available: amount("available")? })
    }

    /// Does something by REST. Returns what to say about it, and what it put where, in cents.
    pub(super) fn act(&self, api: &mut Api, act: Act) -> Result<(String, Option<(Purse, i64)>), Failure> {
        match act {
            Act::OffRamp { usdc } => {
                let from = json!({"value": usdc, "currency": "USDC"});
                let deposit = json!({"user_id": self.alice, "amount": from, "reference": "on-chain"});
                api.post("/v1/crypto-deposits", &deposit)?;
                let quote = api.post("/v1/quotes", &json!({"user_id": self.alice, "from": from, "to": "EUR"}))?;
                let credit = quote["to"]["value"].as_str().unwrap_or_default().to_owned();
                api.post("/v1/off-ramps", &json!({"quote_id": id(&quote)?, "reference": "demo"}))?;
                let credited = cents(&credit)
                    .ok_or_else(|| Failure::no("POST /v1/quotes: `to` is no amount of EUR; see --log debug"))?;
                let whole = usdc.split('.').next().unwrap_or(usdc);
                let said =
                    format!("crypto deposit {whole} USDC, quote {credit} EUR at {RATE}, off-ramp to Alice's account");
                Ok((said, Some((Purse::Account, credited))))
            }
            Act::Freeze(card) => {
                let card = self.cards.get(&card).map_or("", |card| card.id.as_str());
                api.patch(&format!("/v1/cards/{card}"), &json!({"status": "frozen"}))?;
                Ok(("Alice freezes a card".to_owned(), None))
            }
            Act::RevokeKyc => {
                let body = json!({"status": "revoked", "reason": "document withdrawn"});
                api.post(&format!("/v1/users/{}/kyc", self.bob), &body)?;
                Ok(("Bob's KYC is revoked".to_owned(), None))
            }
        }
    }
}

fn issued(made: &Value) -> Result<Issued, Failure> {
    let number = Zeroizing::new(made["pan"].as_str().unwrap_or_default().to_owned());
    let expires = made["expires"].as_str().unwrap_or_default();
    if number.is_empty() {
        return Err(Failure::no("POST /v1/cards: no number in the answer; the demo needs the sandbox"));
    }
    let expiry = match (expires.get(2..4), expires.get(5..7)) {
        (Some(year), Some(month)) => format!("{year}{month}"),
        (None, _) | (_, None) => return Err(Failure::no("POST /v1/cards: `expires` is no year and month")),
    };
    Ok(Issued { id: id(made)?, plastic: Plastic { number, expiry } })
}
