//! The table of the authorizations that the book still holds: fixed rows in pages, what does not fit beside them, and
//! the tables by which later messages find one.
//!
//! Must never move a row: everything else names authorizations by row or number. An ordinary tap is written, found,
//! changed and forgotten without an allocation, but for a page now and then.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::authorization::{Authorization, FindBy};
use super::expiries::Expiries;
use super::finder::{Finder, seed, spread};
use super::paged::{NONE, Numbers, Paged};
use super::row::{Row, short_stan};
use super::tap::{approval_code, numbers_of_code};
use crate::event::tap::Trace;
use crate::event::words::State;
use crate::id::No;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Authorizations {
    rows: Paged<Row>,
    /// First free row; the others follow by [`Row::later`].
    free: u32,
    len: usize,
    numbers: Numbers,
    /// What does not fit a row, whole.
    odd: HashMap<u32, Box<Authorization>>,
    by_trace: Finder,
    by_reference: Finder,
    /// What does not follow from a row: elements of advices, DE38 that others gave.
    extra: HashMap<FindBy, SmallVec<[No; 2]>>,
    expiries: Expiries,
    /// Nobody outside knows it, so nobody can choose elements that meet in one bucket.
    seed: u64,
}

impl Default for Authorizations {
    fn default() -> Self {
        Self {
            rows: Paged::default(),
            free: NONE,
            len: 0,
            numbers: Numbers::default(),
            odd: HashMap::new(),
            by_trace: Finder::default(),
            by_reference: Finder::default(),
            extra: HashMap::new(),
            expiries: Expiries::default(),
            seed: seed(),
        }
    }
}

type Extras = SmallVec<[FindBy; 4]>;

impl Authorizations {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn row(&self, no: No) -> Option<(u32, &Row)> {
        let at = self.numbers.get(no)?;
        self.rows.get(at).map(|row| (at, row))
    }

    fn read(&self, at: u32, row: &Row) -> Authorization {
        let whole = if row.is_odd() { self.odd.get(&at) } else { None };
        whole.map_or_else(|| row.read(), |whole| Authorization::clone(whole))
    }

    pub(super) fn get(&self, no: No) -> Option<Authorization> {
        self.row(no).map(|(at, row)| self.read(at, row))
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Authorization> + '_ {
        (0u32..).zip(self.rows.iter()).filter(|(_, row)| row.is_live()).map(|(at, row)| self.read(at, row))
    }

    /// In the order of their numbers.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Authorization> + '_ {
        self.numbers.rows().filter_map(|at| self.rows.get(at).map(|row| self.read(at, row)))
    }

    pub(super) fn is_open(&self, no: No) -> bool {
        self.row(no).is_some_and(|(_, row)| row.is_open())
    }

    pub(super) fn in_state(&self, state: State) -> Vec<No> {
        let mut found: Vec<No> =
            self.rows.iter().filter(|row| row.is_live() && row.state() == state).map(Row::no).collect();
        found.sort_unstable();
        found
    }

    /// Adds one that is not in.
    pub(super) fn insert(&mut self, a: Authorization) {
        let (row, plain) = Row::of(&a);
        let (no, expires_at, open) = (a.id.no, a.facts.expires_at, a.is_open());
        let at = match self.rows.get_mut(self.free) {
            Some(place) => {
                let at = std::mem::replace(&mut self.free, place.later);
                *place = row;
                at
            }
            None => self.rows.push(row),
        };
        self.len += 1;
        self.numbers.set(no, at);
        if let Some(key) = row.trace_key() {
            self.by_trace.insert(at, trace_hash(self.seed, key));
        }
        if let Some(key) = row.reference_key() {
            self.by_reference.insert(at, reference_hash(self.seed, key));
        }
        if open {
            self.expiries.insert(at, no, expires_at, &mut self.rows);
        }
        if !plain {
            for key in extras(&a) {
                self.add_extra(key, no);
            }
            self.odd.insert(at, Box::new(a));
        }
    }

    /// Fetches where a tap of this card with this trace will be found.
    pub(super) fn warm(&self, card: u32, trace: &Trace) {
        self.by_trace.warm(trace_hash(self.seed, (card, short_stan(trace.stan), trace.transmitted)));
        self.by_reference.warm(reference_hash(self.seed, (card, trace.reference)));
    }

    /// Changes one. What it is found by from the first, its number and when it expires must stay as they are.
    pub(super) fn update<T>(&mut self, no: No, change: impl FnOnce(&mut Authorization) -> T) -> Option<T> {
        let (at, row) = self.row(no)?;
        let (was_open, was_odd) = (row.is_open(), row.is_odd());
        let mut a = self.read(at, row);
        let before = if was_odd { extras(&a) } else { Extras::new() };
        let done = change(&mut a);
        let (mut row, plain) = Row::of(&a);
        if was_open && !a.is_open() {
            self.expiries.remove(at, &mut self.rows);
        }
        if let Some(place) = self.rows.get_mut(at) {
            (row.earlier, row.later) = (place.earlier, place.later);
            *place = row;
        }
        let after = if plain { Extras::new() } else { extras(&a) };
        if before != after {
            before.into_iter().for_each(|key| self.drop_extra(key, no));
            after.into_iter().for_each(|key| self.add_extra(key, no));
        }
        if !plain {
            self.odd.insert(at, Box::new(a));
        } else if was_odd {
            self.odd.remove(&at);
        }
        Some(done)
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, no: No) {
        let Some((at, row)) = self.row(no) else { return };
        let row = *row;
        if row.is_odd()
            && let Some(whole) = self.odd.remove(&at)
        {
            extras(&whole).into_iter().for_each(|key| self.drop_extra(key, no));
        }
        if row.is_open() {
            self.expiries.remove(at, &mut self.rows);
        }
        if let Some(key) = row.trace_key() {
            self.by_trace.remove(at, trace_hash(self.seed, key));
        }
        if let Some(key) = row.reference_key() {
            self.by_reference.remove(at, reference_hash(self.seed, key));
        }
        self.numbers.clear(no);
        if let Some(place) = self.rows.get_mut(at) {
            place.free(self.free);
            self.free = at;
        }
        self.len -= 1;
    }

    /// Calls with everything that may be known by this key, in no order; the caller compares.
    pub(super) fn find(&self, key: FindBy, mut each: impl FnMut(Authorization)) {
        let mut found = |at: u32, row: &Row| each(self.read(at, row));
        match key {
            FindBy::Trace(card, stan, transmitted) => {
                let wanted = (card, short_stan(stan), transmitted);
                let rows = self.by_trace.rows(trace_hash(self.seed, wanted));
                let rows = rows.filter_map(|at| self.rows.get(at).map(|row| (at, row)));
                rows.filter(|(_, row)| row.trace_key() == Some(wanted)).for_each(|(at, row)| found(at, row));
            }
            FindBy::Reference(card, reference) => {
                let wanted = (card, reference);
                let rows = self.by_reference.rows(reference_hash(self.seed, wanted));
                let rows = rows.filter_map(|at| self.rows.get(at).map(|row| (at, row)));
                rows.filter(|(_, row)| row.reference_key() == Some(wanted)).for_each(|(at, row)| found(at, row));
            }
            // Our own codes follow from the number: one look for each million of numbers ever given.
            FindBy::Approval(card, code) => {
                if let Some((rest, step)) = numbers_of_code(code) {
                    for at in self.numbers.in_steps(rest, step) {
                        if let Some(row) = self.rows.get(at).filter(|row| row.trace_key().is_some_and(|k| k.0 == card))
                        {
                            found(at, row);
                        }
                    }
                }
            }
        }
        for no in self.extra.get(&key).into_iter().flatten() {
            if let Some((at, row)) = self.row(*no) {
                found(at, row);
            }
        }
    }

    fn add_extra(&mut self, key: FindBy, no: No) {
        self.extra.entry(key).or_default().push(no);
    }

    fn drop_extra(&mut self, key: FindBy, no: No) {
        if let Some(known) = self.extra.get_mut(&key) {
            if let Some(place) = known.iter().position(|other| *other == no) {
                known.swap_remove(place);
            }
            if known.is_empty() {
                self.extra.remove(&key);
            }
        }
    }

    /// When the next hold may expire.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.peek(&self.rows)
    }

    /// The next open one whose hold is over at `now`.
    pub(super) fn next_expired(&mut self, now: Timestamp) -> Option<No> {
        let Self { expiries, rows, numbers, odd, .. } = self;
        expiries.due(now, rows, |no, when| {
            let found = numbers.get(no).and_then(|at| Some((at, rows.get(at)?))).filter(|(_, row)| row.is_open());
            found.is_some_and(|(at, row)| odd.get(&at).map_or_else(|| row.expires_at(), |a| a.facts.expires_at) == when)
        })
    }
}

/// The keys of an authorization that its row does not give, each once.
fn extras(a: &Authorization) -> Extras {
    let mut keys = Extras::new();
    let Some(card) = a.facts.card else { return keys };
    let own = a.reply.iter().map(|r| r.approval_code).filter(|code| *code != approval_code(a.id.no));
    let codes = own.chain(a.aliases.iter().map(|alias| alias.approval_code)).filter(|code| *code != 0);
    let traces = a.aliases.iter().map(|alias| FindBy::Trace(card, alias.trace.stan, alias.trace.transmitted));
    let named = a.aliases.iter().map(|alias| alias.trace.reference).filter(|reference| *reference != [0; 9]);
    let references = named.map(|reference| FindBy::Reference(card, reference));
    for key in traces.chain(references).chain(codes.map(|code| FindBy::Approval(card, code))) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn trace_hash(seed: u64, (card, stan, transmitted): (u32, u32, u32)) -> u64 {
    spread(seed, (u64::from(card) << 32) | u64::from(transmitted), u64::from(stan))
}

fn reference_hash(seed: u64, (card, [a, b, c, d, e, f, g, h, i]): (u32, [u8; 9])) -> u64 {
    spread(seed, u64::from_le_bytes([a, b, c, d, e, f, g, h]), (u64::from(card) << 8) | u64::from(i))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::authorization::Alias;
    use crate::event::tap::{Facts, Trace};
    use crate::event::words::{Class, Kind};
    use crate::id::Id;

    fn purchase(no: No) -> Authorization {
        let stan = u32::try_from(no % 1_000_000).expect("six digits");
        let mut reference = [b'R'; 9];
        reference.iter_mut().zip(no.to_be_bytes()).for_each(|(to, from)| *to = from);
        let trace = Trace { stan, transmitted: 7, acquirer: 1, forwarder: 0, reference, settlement: 101 };
        let facts = Facts {
            no,
            class: Class::Authorization,
            kind: Kind::Purchase,
            card: Some(3),
            amount: 5,
            currency: None,
            merchant_amount: 5,
            merchant_currency: 978,
            billed: false,
            trace,
            parent: None,
            expires_at: Timestamp(1_000_000 - i64::try_from(no % 7).expect("small")),
        };
        Authorization {
            id: Id { epoch: 1, no },
            facts,
            state: State::Approved,
            reply: None,
            held: [None, None],
            cleared: 0,
            partial_supported: false,
            children: Vec::new(),
            restated: None,
            aliases: Vec::new(),
            repeat: [4; 16],
            first_seq: no + 1,
            last_seq: no + 1,
            created_at: Timestamp(5),
        }
    }

    fn found(table: &Authorizations, key: FindBy) -> Vec<No> {
        let mut found = Vec::new();
        table.find(key, |a| found.push(a.id.no));
        found
    }

    #[test]
    fn rows_are_used_again_and_what_is_left_is_found() {
        let mut table = Authorizations::default();
        (0..5_000).for_each(|no| table.insert(purchase(no)));
        (0..5_000).filter(|no| no % 2 == 0).for_each(|no| table.remove(no));
        (5_000..7_500).for_each(|no| table.insert(purchase(no)));
        assert_eq!((table.rows.len(), table.len()), (5_000, 5_000), "no row beside those that were let go");
        for no in 0..7_500 {
            let there = no >= 5_000 || no % 2 == 1;
            let a = purchase(no);
            assert_eq!(table.get(no), there.then(|| a.clone()));
            let expected: &[No] = if there { &[no] } else { &[] };
            assert_eq!(found(&table, FindBy::Trace(3, a.facts.trace.stan, 7)), expected);
            assert_eq!(found(&table, FindBy::Reference(3, a.facts.trace.reference)), expected);
            assert_eq!(found(&table, FindBy::Approval(3, approval_code(no))), expected);
            assert!(found(&table, FindBy::Approval(4, approval_code(no))).is_empty());
        }
        assert_eq!(table.iter().count(), 5_000);
    }

    #[test]
    fn holds_expire_in_order_whatever_order_they_came_in() {
        let mut table = Authorizations::default();
        (0..500).for_each(|no| table.insert(purchase(no)));
        table.update(13, |a| a.state = State::Reversed);
        let mut last = (Timestamp(i64::MIN), 0);
        let mut seen = 0;
        while let Some(no) = table.next_expired(Timestamp(i64::MAX)) {
            let when = table.get(no).expect("it is there").facts.expires_at;
            assert!((when, no) > last && no != 13, "{no} after {last:?}");
            last = (when, no);
            table.update(no, |a| a.state = State::Expired);
            seen += 1;
        }
        assert_eq!((seen, table.next_expiry()), (499, None));
    }

    #[test]
    fn what_does_not_fit_comes_back_and_is_found_while_it_is_there() {
        let mut table = Authorizations::default();
        table.insert(purchase(8));
        let trace = Trace { stan: 77, ..purchase(9).facts.trace };
        let alias = Alias { class: Class::FinancialAdvice, trace, approval_code: 123_456 };
        table.update(8, |a| a.aliases.push(alias));
        let keys = [FindBy::Trace(3, 77, 7), FindBy::Reference(3, trace.reference), FindBy::Approval(3, 123_456)];
        assert!(keys.iter().all(|key| found(&table, *key) == [8]));
        assert_eq!((table.get(8).map(|a| a.aliases), table.odd.len()), (Some(vec![alias]), 1));
        table.update(8, |a| a.aliases.clear());
        assert!(keys.iter().all(|key| found(&table, *key).is_empty()));
        assert_eq!((table.get(8), table.odd.len(), table.extra.len()), (Some(purchase(8)), 0, 0));
    }
}
