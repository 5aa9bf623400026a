//! Which open hold expires next. Lifetimes are few constants and time goes on, so that holds come in the order of
//! their expiry for each lifetime: a few lists through the rows keep them, and what fits into none is in a heap.
//!
//! Must never keep a closed hold in a list; the heap may, its reader asks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::paged::{NONE, Paged};
use super::row::Row;
use crate::id::No;
use crate::time::Timestamp;

/// Lists kept at once: two lifetimes, as much again for those before the last change of the configuration.
const LISTS: usize = 4;

#[derive(Debug)]
struct List {
    first: u32,
    last: u32,
    /// When the last one expires; kept when the list runs empty, which costs nothing.
    until: Timestamp,
}

#[derive(Debug)]
pub(super) struct Expiries {
    lists: [List; LISTS],
    rest: BinaryHeap<Reverse<(Timestamp, No)>>,
}

impl Default for Expiries {
    fn default() -> Self {
        let empty = || List { first: NONE, last: NONE, until: Timestamp(i64::MIN) };
        Self { lists: std::array::from_fn(|_| empty()), rest: BinaryHeap::new() }
    }
}

impl Expiries {
    /// Adds an open row: behind the list whose last one expires latest before it.
    pub(super) fn insert(&mut self, row: u32, no: No, when: Timestamp, rows: &mut Paged<Row>) {
        // Of some odd rows the time cannot be read from the row alone.
        let told = rows.get(row).is_some_and(|row| row.expires_at() == when);
        let behind = self.lists.iter_mut().filter(|l| l.first == NONE || l.until <= when);
        let best = behind.max_by_key(|l| if l.first == NONE { Timestamp(i64::MIN) } else { l.until });
        let Some(list) = best.filter(|_| told) else {
            self.rest.push(Reverse((when, no)));
            return;
        };
        if let Some(entry) = rows.get_mut(row) {
            (entry.earlier, entry.later) = (list.last, NONE);
        }
        match rows.get_mut(list.last) {
            Some(last) if list.first != NONE => last.later = row,
            _ => list.first = row,
        }
        (list.last, list.until) = (row, when);
    }

    /// Takes a row out that closes; what is in the heap is left to its reader.
    pub(super) fn remove(&mut self, row: u32, rows: &mut Paged<Row>) {
        let Some(entry) = rows.get_mut(row) else { return };
        let (earlier, later) = (entry.earlier, entry.later);
        (entry.earlier, entry.later) = (NONE, NONE);
        if earlier == NONE {
            let Some(list) = self.lists.iter_mut().find(|l| l.first == row) else { return };
            list.first = later;
        }
        if later == NONE
            && let Some(list) = self.lists.iter_mut().find(|l| l.last == row)
        {
            list.last = earlier;
        }
        if let Some(before) = rows.get_mut(earlier) {
            before.later = later;
        }
        if let Some(after) = rows.get_mut(later) {
            after.earlier = earlier;
        }
    }

    /// The next of all lists, and of the heap.
    fn next(&self, rows: &Paged<Row>) -> [Option<(Timestamp, No)>; 2] {
        let heads = self.lists.iter().filter_map(|l| rows.get(l.first)).map(|row| (row.expires_at(), row.no()));
        [heads.min(), self.rest.peek().map(|Reverse(next)| *next)]
    }

    /// When the next may expire.
    pub(super) fn peek(&self, rows: &Paged<Row>) -> Option<Timestamp> {
        self.next(rows).into_iter().flatten().map(|(when, _)| when).min()
    }

    /// The next that is open at `now`; `is_open` is asked of what the heap has.
    pub(super) fn due(
        &mut self,
        now: Timestamp,
        rows: &Paged<Row>,
        is_open: impl Fn(No, Timestamp) -> bool,
    ) -> Option<No> {
        loop {
            let [listed, rest] = self.next(rows);
            let next = [listed, rest].into_iter().flatten().min().filter(|(when, _)| *when <= now)?;
            if Some(next) == listed || is_open(next.1, next.0) {
                return Some(next.1);
            }
            self.rest.pop();
        }
    }
}
