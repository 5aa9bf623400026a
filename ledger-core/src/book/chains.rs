//! Hash tables that grow by one bucket at a time (linear hashing): no insert ever moves a whole table, however large.
//! The links of a bucket's chain are kept by the rows themselves, so that a key costs eight bytes.
//!
//! Must never compare keys: a chain holds whatever shares its bucket, the caller compares.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::paged::{NONE, Paged};
use super::warm::fetch;

/// The rows of a table: what is hashed of them, and their link.
pub(super) trait Links {
    /// Hash of the row's key; the same for as long as the row is in.
    fn hash(&self, row: u32) -> u64;
    /// The next row of the chain.
    fn next(&self, row: u32) -> u32;
    /// Sets the next row.
    fn set_next(&mut self, row: u32, next: u32);
}

/// The heads of the chains.
#[derive(Debug, Default)]
pub(super) struct Chains {
    heads: Paged<u32>,
    len: u32,
}

impl Chains {
    /// Of a power of two of buckets that is not full yet, the upper ones do not exist: their rows are in the lower half.
    fn bucket(&self, hash: u64) -> u32 {
        let buckets = self.heads.len();
        let mask = buckets.next_power_of_two().wrapping_sub(1);
        let bucket = u32::try_from(hash & u64::from(mask)).unwrap_or(0);
        if bucket < buckets { bucket } else { bucket & (mask >> 1) }
    }

    /// The first row of the chain that has every row with this hash, the newest first.
    pub(super) fn first(&self, hash: u64) -> u32 {
        if self.len == 0 {
            return NONE;
        }
        self.heads.get(self.bucket(hash)).copied().unwrap_or(NONE)
    }

    /// Fetches the head of the chain that has every row with this hash.
    pub(super) fn warm(&self, hash: u64) {
        if let Some(head) = self.heads.get(self.bucket(hash)) {
            fetch(head);
        }
    }

    /// The first rows of the chains that so many inserts from now on will split.
    pub(super) fn to_be_split(&self, inserts: u32) -> impl Iterator<Item = u32> + '_ {
        let fresh = (0..inserts).map(|ahead| self.heads.len().saturating_add(ahead)).filter(|fresh| *fresh > 0);
        let heads = fresh.filter_map(|fresh| self.heads.get(fresh & !highest_bit(fresh)).copied());
        heads.filter(|row| *row != NONE)
    }

    /// Adds a row that is not in.
    pub(super) fn insert(&mut self, row: u32, links: &mut impl Links) {
        if self.len >= self.heads.len() {
            self.split(links);
        }
        let bucket = self.bucket(links.hash(row));
        if let Some(head) = self.heads.get_mut(bucket) {
            links.set_next(row, *head);
            *head = row;
            self.len += 1;
        }
    }

    /// Takes a row out; nothing when it is not in.
    pub(super) fn remove(&mut self, row: u32, links: &mut impl Links) {
        if self.len == 0 {
            return;
        }
        let bucket = self.bucket(links.hash(row));
        let Some(head) = self.heads.get_mut(bucket) else { return };
        if *head == row {
            *head = links.next(row);
            self.len -= 1;
            return;
        }
        let mut before = *head;
        while before != NONE {
            let next = links.next(before);
            if next == row {
                links.set_next(before, links.next(row));
                self.len -= 1;
                return;
            }
            before = next;
        }
    }

    /// Adds one bucket and moves into it what belongs there, all of it from one other bucket.
    fn split(&mut self, links: &mut impl Links) {
        let fresh = self.heads.push(NONE);
        if fresh == 0 {
            return;
        }
        let old = fresh & !highest_bit(fresh);
        let mut row = self.heads.get(old).copied().unwrap_or(NONE);
        // Both chains keep their order: the newest first.
        let mut ends = [(NONE, NONE), (NONE, NONE)];
        while row != NONE {
            let next = links.next(row);
            let moves = self.bucket(links.hash(row)) == fresh;
            let (first, last) = &mut ends[usize::from(moves)];
            if *last == NONE {
                *first = row;
            } else {
                links.set_next(*last, row);
            }
            *last = row;
            row = next;
        }
        for (bucket, (first, last)) in [old, fresh].into_iter().zip(ends) {
            if last != NONE {
                links.set_next(last, NONE);
            }
            if let Some(head) = self.heads.get_mut(bucket) {
                *head = first;
            }
        }
    }
}

fn highest_bit(n: u32) -> u32 {
    1 << (31 - n.leading_zeros())
}

/// A value of this process alone, for the hashes of what strangers choose. No state depends on it.
pub(super) fn seed() -> u64 {
    DefaultHashBuilder::default().hash_one(0)
}

/// Spreads a key of two words over a hash.
pub(super) fn spread(seed: u64, a: u64, b: u64) -> u64 {
    const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
    let wide = u128::from(a ^ ODD[0] ^ seed) * u128::from(b ^ ODD[1] ^ seed.rotate_left(32));
    let folded = low(wide) ^ low(wide >> 64);
    folded ^ (folded >> 29)
}

/// Hash of a key that is a keyed hash itself: nobody can choose it.
pub(super) fn spread_key(key: &[u8; 16]) -> u64 {
    let whole = u128::from_le_bytes(*key);
    spread(0, low(whole), low(whole >> 64))
}

#[allow(clippy::cast_possible_truncation)] // the lower half is what is wanted
const fn low(wide: u128) -> u64 {
    wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Rows(Vec<(u64, u32)>);

    impl Links for Rows {
        fn hash(&self, row: u32) -> u64 {
            spread(0, self.0[row as usize].0, 1)
        }
        fn next(&self, row: u32) -> u32 {
            self.0[row as usize].1
        }
        fn set_next(&mut self, row: u32, next: u32) {
            self.0[row as usize].1 = next;
        }
    }

    fn has(chains: &Chains, rows: &Rows, row: u32) -> usize {
        let mut found = 0;
        let mut at = chains.first(rows.hash(row));
        while at != NONE {
            found += usize::from(at == row);
            at = rows.next(at);
        }
        found
    }

    #[test]
    fn growth_keeps_all_and_removal_takes_one() {
        let (mut chains, mut rows) = (Chains::default(), Rows::default());
        for row in 0..10_000u32 {
            rows.0.push((u64::from(row / 2), NONE));
            chains.insert(row, &mut rows);
        }
        assert!((0..10_000).all(|row| has(&chains, &rows, row) == 1));
        for row in (0..10_000).step_by(3) {
            chains.remove(row, &mut rows);
            chains.remove(row, &mut rows);
        }
        assert!((0..10_000).all(|row| has(&chains, &rows, row) == usize::from(row % 3 != 0)));
        assert_eq!(chains.len as usize, 10_000 - 3_334);
    }

    #[test]
    fn chains_stay_short() {
        let (mut chains, mut rows) = (Chains::default(), Rows::default());
        for row in 0..50_000u32 {
            rows.0.push((u64::from(row) << 32, NONE));
            chains.insert(row, &mut rows);
        }
        let lengths = chains.heads.iter().map(|head| {
            std::iter::successors(Some(*head).filter(|h| *h != NONE), |row| {
                Some(rows.next(*row)).filter(|n| *n != NONE)
            })
            .count()
        });
        assert!(lengths.max() < Some(16), "keys that differ in few bits must spread");
    }
}
