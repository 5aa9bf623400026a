//! Balances as readers see them while the one writer publishes: never a mixture of two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use auth_engine::rest::balances::{BalanceCells, Balances, Triple};
use ledger_core::id::Id;
use proptest::prelude::*;

/// Held follows from available, so that any mixture of two publications is seen.
fn held_of(available: i64) -> i64 {
    available.wrapping_mul(7) ^ 0x2a
}

#[test]
fn readers_never_see_a_mixture_and_never_go_back() {
    let cells = Arc::new(BalanceCells::default());
    cells.publish(0, held_of(0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (cells, stop) = (Arc::clone(&cells), Arc::clone(&stop));
            thread::spawn(move || {
                let (mut last, mut seen) = (0, 0u64);
                while !stop.load(Ordering::Relaxed) || seen == 0 {
                    let triple = cells.read();
                    assert_eq!(triple.held, held_of(triple.available));
                    assert_eq!(triple.posted, triple.available + triple.held);
                    assert!(triple.available >= last, "{} after {last}", triple.available);
                    last = triple.available;
                    seen += 1;
                }
                seen
            })
        })
        .collect();
    for available in 1..=2_000_000 {
        cells.publish(available, held_of(available));
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().expect("a reader saw only whole balances") > 0);
    }
    assert_eq!(cells.read().available, 2_000_000);
}

#[test]
fn what_was_published_before_is_seen_after() {
    // A value handed over by another means (an answer to a client) must not be ahead of the cells.
    let cells = Arc::new(BalanceCells::default());
    let (tx, rx) = std::sync::mpsc::sync_channel(1);
    let writer = {
        let cells = Arc::clone(&cells);
        thread::spawn(move || {
            for available in 1..=50_000 {
                cells.publish(available, held_of(available));
                tx.send(available).expect("the reader waits");
            }
        })
    };
    for told in rx {
        assert!(cells.read().available >= told);
    }
    writer.join().expect("the writer ends");
}

#[test]
fn many_cells_are_independent() {
    let balances = Arc::new(Balances::new());
    assert!(balances.is_empty());
    let id = |no| Id { epoch: 1, no };
    let cells: Vec<_> = (0..64).map(|no| balances.insert(id(no))).collect();
    let reader = {
        let balances = Arc::clone(&balances);
        thread::spawn(move || {
            for round in 0..2_000u64 {
                let no = round % 64;
                let triple = balances.read(id(no)).expect("inserted");
                assert!(triple == Triple::default() || triple.held == held_of(triple.available));
            }
        })
    };
    for round in 1..2_000 {
        for cell in &cells {
            cell.publish(round, held_of(round));
        }
    }
    reader.join().expect("whole balances only");
    assert_eq!(balances.len(), 64);
    assert_eq!(balances.read(id(64)), None);
    // A second insert gives the same cell and keeps what it holds.
    assert_eq!(balances.insert(id(3)).read().available, 1_999);
}

proptest! {
    #[test]
    fn the_last_publication_is_what_is_read(all in proptest::collection::vec((any::<i64>(), any::<i64>()), 1..50)) {
        let cells = BalanceCells::default();
        for (available, held) in all {
            cells.publish(available, held);
            let expected = Triple { posted: available.saturating_add(held), held, available };
            prop_assert_eq!(cells.read(), expected);
        }
    }
}
