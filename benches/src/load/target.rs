//! Whom a run speaks to: a listener somewhere, or an engine of ours that is started here with what the mix needs. It
//! owns the fixture of a load; it must never start anything when an address was given.

use super::cards::Cards;
use super::metrics::Metrics;
use super::mix::{Mix, Payer};
use super::watch::Watch;
use crate::client::Rest;
use crate::engine::{DEFAULTS, Engine, Setup, Site};
use crate::fault::Fault;
use crate::fixture::Maker;
use crate::processors;
use crate::result::RunResult;
use crate::{seed, view_lag};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Cents of each source: an i64 holds nine hundred thousand of these, and no run spends one.
const MONEY: i64 = 9_999_999_999_900;

/// How long the read model of a seeded directory may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(1200);

/// A listener and the cards it knows.
pub(crate) struct Target {
    /// The listener.
    pub(crate) addr: SocketAddr,
    /// Cards that can be used there.
    pub(crate) cards: Arc<Cards>,
    /// What of it can be watched.
    pub(crate) watch: Watch,
    /// The engine behind it, when it is ours: dropping the target ends it.
    _engine: Option<Engine>,
}

impl Target {
    /// A listener that somebody else runs.
    pub(crate) fn stranger(addr: SocketAddr, cards: &Path) -> Result<Target, Fault> {
        let cards = Arc::new(Cards::read(cards)?);
        Ok(Target { addr, cards, watch: Watch::default(), _engine: None })
    }

    /// An engine of ours on a fresh directory, with the partner, the sources and the cards of the mix. `partner` are
    /// the partner's settings, such as `{"name": …, "decision_mode": "auto_approve"}`.
    pub(crate) fn ours(
        binary: Option<&Path>,
        dir: &Path,
        mix: &Mix,
        partner: &serde_json::Value,
    ) -> Result<Target, Fault> {
        let site = Site::new(binary, dir, &Setup { segment: "64MiB", budget: "2s" })?;
        let engine = site.start()?;
        let rest = site.rest(&engine)?;
        let cards = fixture(&rest, mix, partner)?;
        Ok(Target::running(engine, cards))
    }

    /// An engine of ours on a directory that `seed` made, once its read model has caught up. Cards are those of the
    /// file, else those that were seeded.
    pub(crate) fn seeded(
        binary: Option<&Path>,
        dir: &Path,
        data: &Path,
        cards: Option<&Path>,
    ) -> Result<Target, Fault> {
        let site = Site::configured(binary, dir, Some(data), DEFAULTS)?;
        let engine = site.start()?;
        view_lag::wait(&site.rest(&engine)?, CATCH_UP)?;
        let cards = Cards::read(&cards.map_or_else(|| seed::list_of(data), Path::to_owned))?;
        Ok(Target::running(engine, cards))
    }

    /// An engine that was started elsewhere, with cards it knows.
    pub(crate) fn running(engine: Engine, cards: Cards) -> Target {
        let thread = Some((engine.pid(), "shard".to_owned()));
        let watch = Watch { thread, metrics: Some(engine.rest), kept: processors::of_shard() };
        Target { addr: engine.link, cards: Arc::new(cards), watch, _engine: Some(engine) }
    }

    /// A run with the stages of its taps, as far as the target tells them.
    pub(crate) fn staged(&self, run: impl FnOnce() -> Result<RunResult, Fault>) -> Result<RunResult, Fault> {
        let metrics = self.watch.metrics.map(Metrics::new);
        let before = metrics.as_ref().and_then(Metrics::stages);
        let mut result = run()?;
        if let (Some(metrics), Some(before)) = (&metrics, &before) {
            result.stages = metrics.stages_since(before);
        }
        Ok(result)
    }
}

/// Makes what the mix needs by REST, as a customer would: the cards.
pub(crate) fn fixture(rest: &Rest, mix: &Mix, partner: &serde_json::Value) -> Result<Cards, Fault> {
    let maker = Maker(rest);
    let (partner, _) = maker.partner(partner)?;
    let mut sources = Vec::new();
    let mut user = None;
    for at in 0..mix.funding.sources {
        sources.push(match mix.funding.kind {
            Payer::Pool => {
                let user = match &user {
                    Some(user) => user,
                    None => user.insert(maker.user(&partner, "load")?),
                };
                let pool = maker.pool(&partner, MONEY)?;
                (user.clone(), json!({ "type": "pool", "pool_id": pool }))
            }
            Payer::Account => {
                let user = maker.user(&partner, &format!("load-{at}"))?;
                maker.account(&user, MONEY)?;
                (user, json!({ "type": "account", "currency": "EUR" }))
            }
        });
    }
    let pans = sources.iter().cycle().take(mix.cards.count as usize).map(|(user, funding)| maker.card(user, funding));
    let pans = pans.collect::<Result<Vec<_>, _>>()?;
    Cards::new(pans.iter().map(String::as_str))
}
