//! What the shard shows to other threads: balances as cells, pool gauges, and how far the journal is durable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger_core::book::Book;
use ledger_core::event::tap::Source;
use ledger_core::id::Thing;
use metrics::Gauge;

use crate::rest::balances::{BalanceCells, Balances};
use crate::telemetry::names;
use crate::view::feed::Notifier;

/// Gauges of pools are set so often at most.
const GAUGES_EVERY: Duration = Duration::from_millis(200);

struct PoolGauges {
    available: Gauge,
    held: Gauge,
    below: Gauge,
}

/// Publishes on the shard's behalf.
pub struct Publisher {
    balances: Arc<Balances>,
    accounts: Vec<Arc<BalanceCells>>,
    pools: Vec<(Arc<BalanceCells>, PoolGauges)>,
    stale_pools: BTreeSet<u32>,
    gauges_at: Instant,
    view: Option<Notifier>,
}

impl Publisher {
    /// Publishes into `balances`; tells `view` of commits.
    pub fn new(balances: Arc<Balances>, view: Option<Notifier>) -> Self {
        Self {
            balances,
            accounts: Vec::new(),
            pools: Vec::new(),
            stale_pools: BTreeSet::new(),
            gauges_at: Instant::now(),
            view,
        }
    }

    /// Makes cells for what was born since the last call, and publishes its balance.
    pub(super) fn grow(&mut self, book: &Book) {
        for account in book.accounts().iter_from(u32::try_from(self.accounts.len()).unwrap_or(u32::MAX)) {
            let cells = self.balances.insert(account.id);
            cells.publish(account.balance.available, account.balance.held);
            self.accounts.push(cells);
        }
        for pool in book.pools().iter().skip(self.pools.len()) {
            let cells = self.balances.insert(pool.id);
            cells.publish(pool.balance.available, pool.balance.held);
            let (available, held, below) = names::pool(&pool.id.text(Thing::Pool), pool.currency.code());
            self.stale_pools.insert(u32::try_from(self.pools.len()).unwrap_or(u32::MAX));
            self.pools.push((cells, PoolGauges { available, held, below }));
        }
        if !self.stale_pools.is_empty() && self.gauges_at.elapsed() >= GAUGES_EVERY {
            self.set_gauges(book);
        }
    }

    /// Publishes one balance.
    pub(super) fn publish(&mut self, book: &Book, source: Source) {
        let Some((_, balance)) = book.source(source) else { return };
        let cells = match source {
            Source::Account(i) => usize::try_from(i).ok().and_then(|i| self.accounts.get(i)),
            Source::Pool(i) => {
                self.stale_pools.insert(i);
                usize::try_from(i).ok().and_then(|i| self.pools.get(i)).map(|(cells, _)| cells)
            }
        };
        if let Some(cells) = cells {
            cells.publish(balance.available, balance.held);
        }
    }

    /// When gauges wait to be set although nothing happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (!self.stale_pools.is_empty()).then(|| self.gauges_at + GAUGES_EVERY)
    }

    /// Events up to `seq` are durable.
    pub(super) fn durable(&self, seq: u64) {
        if let Some(view) = &self.view {
            view.notify(seq);
        }
    }

    fn set_gauges(&mut self, book: &Book) {
        self.gauges_at = Instant::now();
        for index in std::mem::take(&mut self.stale_pools) {
            let known = usize::try_from(index).ok().and_then(|i| self.pools.get(i));
            let (Some(pool), Some((_, gauges))) = (book.pool(index), known) else { continue };
            gauges.available.set(major(pool.currency.decimals(), pool.balance.available));
            gauges.held.set(major(pool.currency.decimals(), pool.balance.held));
            gauges.below.set(if pool.below_minimum() { 1.0 } else { 0.0 });
        }
    }
}

/// A gauge is a float by its nature: this is for watching, never for booking.
#[allow(clippy::cast_precision_loss)]
fn major(decimals: u32, minor: i64) -> f64 {
    minor as f64 / 10f64.powi(i32::try_from(decimals).unwrap_or(0))
}
