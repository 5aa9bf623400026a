//! The engine that is attacked: two links, so that honest traffic has one of its own, and what the traffic needs, made
//! by REST. It must never be given anything that a customer could not have.

use super::Terms;
use crate::client::Rest;
use crate::engine::{Engine, Site};
use crate::fault::Fault;
use crate::fixture::Maker;
use crate::load::cards::Cards;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Accounts of the honest traffic, each with a card.
const ACCOUNTS: usize = 50;
/// Cents of each.
const MONEY: i64 = 9_999_999_999_900;

/// An engine under attack.
pub(super) struct Ground {
    pub(super) engine: Engine,
    pub(super) rest: Rest,
    /// The honest traffic's link.
    pub(super) honest: SocketAddr,
    /// The attacked one.
    pub(super) attacked: SocketAddr,
    /// The data directory.
    pub(super) data: PathBuf,
    /// Account-funded cards.
    pub(super) cards: Arc<Cards>,
    /// The partner they belong to.
    pub(super) partner: String,
    /// One of the accounts.
    pub(super) account: String,
}

impl Ground {
    /// Starts an engine; `attacked` are further lines of the attacked link, `data` where its directory is to lie.
    pub(super) fn start(terms: &Terms<'_>, attacked: &str, data: Option<&Path>) -> Result<Ground, Fault> {
        let link = |name: &str, more: &str| {
            format!("[[link]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\nbudget = \"2s\"\n{more}\n")
        };
        let config = format!(
            "sandbox = true\ndrain_timeout = \"2s\"\n{}{}[rest]\nlisten = \"127.0.0.1:0\"\n",
            link("honest", ""),
            link("attacked", attacked)
        );
        if let Some(data) = data {
            std::fs::create_dir_all(data).map_err(Fault::io(format!("creating {}", data.display())))?;
        }
        let site = Site::configured(terms.engine, terms.place, data, &config)?;
        let engine = site.start()?;
        let rest = site.rest(&engine)?;
        let [honest, attacked] = engine.links[..] else {
            return Err(Fault::Engine("the engine did not print both links' addresses".to_owned()));
        };
        let maker = Maker(&rest);
        let (partner, _) = maker.partner(&json!({ "name": "Honest", "decision_mode": "auto_approve" }))?;
        let (mut pans, mut account) = (Vec::new(), String::new());
        for at in 0..ACCOUNTS {
            let user = maker.user(&partner, &format!("honest-{at}"))?;
            account = maker.account(&user, MONEY)?;
            pans.push(maker.card(&user, &json!({ "type": "account", "currency": "EUR" }))?);
        }
        let cards = Arc::new(Cards::new(pans.iter().map(String::as_str))?);
        Ok(Ground { engine, rest, honest, attacked, data: site.data(), cards, partner, account })
    }

    /// Cards on one pool of a partner that decides by webhook at that URL.
    pub(super) fn webhook_cards(&self, name: &str, url: &str, count: usize) -> Result<Vec<String>, Fault> {
        let maker = Maker(&self.rest);
        let terms = json!({
            "name": name, "decision_mode": "webhook", "decision_url": url, "decision_timeout_ms": 1000,
        });
        let (partner, _) = maker.partner(&terms)?;
        let user = maker.user(&partner, name)?;
        let pool = maker.pool(&partner, MONEY)?;
        let funding = json!({ "type": "pool", "pool_id": pool });
        (0..count).map(|_| maker.card(&user, &funding)).collect()
    }
}
