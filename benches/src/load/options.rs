//! The flags that every command of the generator has. It owns their names, defaults and what they turn into; it must
//! never run anything.

use super::mix::Mix;
use super::schedule::Arrivals;
use super::target::Target;
use super::{Plan, Shape};
use crate::fault::Fault;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags of a load.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// A listener to load instead of an engine that is started here; needs --cards
    #[arg(long, value_name = "HOST:PORT", requires = "cards")]
    pub(crate) target: Option<SocketAddr>,
    /// A data directory that `seed` made, for the engine that is started here: its cards are used
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    pub(crate) data: Option<PathBuf>,
    /// Card numbers to use, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) cards: Option<PathBuf>,
    /// What is sent: hot-pool, accounts, daily, or a TOML file
    #[arg(long, value_name = "MIX", default_value = "hot-pool")]
    pub(crate) mix: String,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) links: u16,
    /// How arrivals are spaced
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,
    /// The measured part of each run
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) length: humantime::Duration,
    /// Load before the measured part of each run
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) warm: humantime::Duration,
    /// Of the schedule: the same seed gives the same one
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A reply that takes longer counts as late
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) budget: humantime::Duration,
    /// The spec that the target speaks, in frames of 2-byte big-endian length
    #[arg(long, default_value = "mastercard")]
    pub(crate) spec: String,
    /// So long before a due time the generator no longer sleeps
    #[arg(long, value_name = "TIME", default_value = "50us")]
    pub(crate) spin: humantime::Duration,
    /// Gather due messages for so long before a write (default: 40us from 50,000/s on, else nothing)
    #[arg(long, value_name = "TIME")]
    pub(crate) coalesce: Option<humantime::Duration>,
    /// Samples of the floor around each run, half before and half after it; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub(crate) floor_samples: usize,
    /// Late, lost and refused replies are figures, not a reason to void the run
    #[arg(long)]
    pub(crate) lenient: bool,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    pub(crate) engine: Option<PathBuf>,
    /// Where data directories and the floor's file lie (default: beside this program)
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
}

impl Options {
    /// The mix that was asked for.
    pub(crate) fn mix(&self) -> Result<Mix, Fault> {
        Mix::load(&self.mix)
    }

    /// Whom to load: the listener that was named, or an engine of ours with a partner of these settings.
    pub(crate) fn target(&self, dir: &Path, mix: &Mix, partner: &serde_json::Value) -> Result<Target, Fault> {
        match (self.target, &self.data, &self.cards) {
            (Some(addr), _, Some(cards)) => Target::stranger(addr, cards),
            (_, Some(data), cards) => Target::seeded(self.engine.as_deref(), dir, data, cards.as_deref()),
            _ => Target::ours(self.engine.as_deref(), dir, mix, partner),
        }
    }

    /// A run of that shape against that target.
    pub(crate) fn plan(&self, target: &Target, mix: &Mix, shape: Shape) -> Plan {
        let name = match shape {
            Shape::Open { rate, .. } => format!("{} {rate:.0}/s", mix.name),
            Shape::Closed { in_flight } => format!("{}, {in_flight} in flight", mix.name),
        };
        Plan {
            links: usize::from(self.links),
            spec: self.spec.clone(),
            warm_up: self.warm.into(),
            length: self.length.into(),
            seed: self.seed,
            budget: self.budget.into(),
            spin: self.spin.into(),
            coalesce: self.coalesce.map(Duration::from),
            lenient: self.lenient,
            watch: target.watch.clone(),
            floor_samples: self.floor_samples,
            ..Plan::new(&name, vec![target.addr], shape, mix.clone(), target.cards.clone())
        }
    }
}
