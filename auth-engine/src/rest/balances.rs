//! Balances as REST reads them: one cell per account and pool, written by the shard alone, read by anyone without
//! asking the shard.
//!
//! It must never block the writer: a reader that meets a write tries again, a writer never waits for a reader.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use dashmap::DashMap;
use ledger_core::id::Id;

/// What a pool or an account holds, as one consistent triple of minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Triple {
    /// `available + held`.
    pub posted: i64,
    /// Reserved by open holds.
    pub held: i64,
    /// Can be spent.
    pub available: i64,
}

/// One balance behind a single-writer sequence lock: odd while a write is under way.
#[derive(Debug, Default)]
pub struct BalanceCells {
    version: AtomicU64,
    posted: AtomicI64,
    held: AtomicI64,
    available: AtomicI64,
}

impl BalanceCells {
    /// Publishes a balance in minor units. Only one thread may ever call this for one cell: the shard's. Two writers
    /// would be no memory error, but readers could see a mixture.
    pub fn publish(&self, available: i64, held: i64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Whoever sees one of the values below sees the odd version above.
        fence(Ordering::Release);
        self.available.store(available, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
        self.posted.store(available.saturating_add(held), Ordering::Relaxed);
        // Whoever sees this version sees all three values.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The last published balance; never a mixture of two.
    pub fn read(&self) -> Triple {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let triple = Triple {
                    posted: self.posted.load(Ordering::Relaxed),
                    held: self.held.load(Ordering::Relaxed),
                    available: self.available.load(Ordering::Relaxed),
                };
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return triple;
                }
            }
            // A write is three stores long: waiting it out costs less than giving the core away.
            spin_loop();
        }
    }
}

/// From id to balance. The shard keeps its own `Arc` of each cell and touches the map only when an account or pool
/// is born.
#[derive(Debug, Default)]
pub struct Balances {
    cells: DashMap<Id, Arc<BalanceCells>>,
}

impl Balances {
    /// No balances.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cell of a new account or pool; the one there is when it is known already.
    pub fn insert(&self, id: Id) -> Arc<BalanceCells> {
        Arc::clone(&self.cells.entry(id).or_default())
    }

    /// What an account or pool holds; `None` when nothing was published under this id.
    pub fn read(&self, id: Id) -> Option<Triple> {
        let cells = Arc::clone(&*self.cells.get(&id)?);
        Some(cells.read())
    }

    /// How many accounts and pools there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// True before the first account or pool.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}
