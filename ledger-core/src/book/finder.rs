//! Hash tables from a hash to rows. They grow by one bucket at a time (linear hashing): no insert ever moves a whole
//! table, however large. A bucket is one line of memory and keeps of each row the bits of its hash that the next splits
//! ask for, so that neither an insert nor growth reads a row, and a look-up reads few that it does not want.
//!
//! Must never compare keys: a look-up hands out what may have the hash, the caller compares.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::paged::Paged;
use super::warm::fetch;

/// Buckets at the start; the tags begin above the bits that choose among them. One page of [`Paged`].
const FIRST_BITS: u32 = 10;
/// From here on the tags have no bit left to split by, at half a billion rows, and the buckets overflow instead.
const MOST_BUCKETS: u32 = 1 << (FIRST_BITS + u16::BITS);
/// Rows per bucket on average, above which one bucket is added. Those that are split next have up to twice as many, so
/// that a third of the buckets has a second line. Nine cost a byte less for each two rows and read more lines.
const LOAD: u32 = 8;
const SLOTS: usize = 10;

/// The rows of one bucket, or some of them: what has no room is in buckets linked behind. A bucket with a link is full,
/// and so are those behind, but for the first of them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    rows: [u32; SLOTS],
    tags: [u16; SLOTS],
    /// How many slots are taken, in the lowest bits; above them where the next bucket is among those that overflowed.
    state: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

const COUNT_BITS: u32 = 4;
const COUNT: u32 = (1 << COUNT_BITS) - 1;
/// No next bucket. As many buckets as fit below it would hold half of all rows that a table of rows can have.
const END: u32 = u32::MAX >> COUNT_BITS;

impl Bucket {
    const EMPTY: Self = Self { rows: [0; SLOTS], tags: [0; SLOTS], state: END << COUNT_BITS };

    const fn count(&self) -> usize {
        (self.state & COUNT) as usize
    }

    const fn next(&self) -> u32 {
        self.state >> COUNT_BITS
    }

    const fn set_next(&mut self, next: u32) {
        self.state = next << COUNT_BITS | self.state & COUNT;
    }

    /// Adds a row; false when there is no room.
    fn push(&mut self, row: u32, tag: u16) -> bool {
        let count = self.count();
        let (Some(to), Some(tagged)) = (self.rows.get_mut(count), self.tags.get_mut(count)) else { return false };
        (*to, *tagged) = (row, tag);
        self.state += 1;
        true
    }

    /// Takes the last row out.
    fn pop(&mut self) -> Option<(u32, u16)> {
        let last = self.entries().last()?;
        self.state -= 1;
        Some(last)
    }

    /// Replaces a row by another.
    fn replace(&mut self, row: u32, (by, tag): (u32, u16)) {
        let mut slots = self.rows.iter_mut().zip(&mut self.tags);
        if let Some((to, tagged)) = slots.find(|(other, _)| **other == row) {
            (*to, *tagged) = (by, tag);
        }
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = (u32, u16)> + ExactSizeIterator + '_ {
        self.rows.iter().copied().zip(self.tags.iter().copied()).take(self.count())
    }

    fn has(&self, row: u32) -> bool {
        self.entries().any(|(other, _)| other == row)
    }

    /// One bit for each slot with this tag.
    fn matches(&self, tag: u16) -> u32 {
        // Eight at once: the compiler makes a few instructions of it.
        const BITS: [u16; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
        let [first @ .., eighth, ninth] = &self.tags;
        let each: [u16; 8] = std::array::from_fn(|at| if first[at] == tag { BITS[at] } else { 0 });
        let low = each.into_iter().fold(0, |bits, bit| bits | bit);
        let equal = u32::from(low) | u32::from(*eighth == tag) << 8 | u32::from(*ninth == tag) << 9;
        equal & ((1 << self.count()) - 1)
    }
}

/// The table; each row in it is in once.
#[derive(Debug)]
pub(super) struct Finder {
    buckets: Paged<Bucket>,
    /// Buckets behind those that are full.
    over: Paged<Bucket>,
    /// First of them that is free; the others follow by their links.
    free: u32,
    len: u32,
}

impl Default for Finder {
    fn default() -> Self {
        Self { buckets: Paged::default(), over: Paged::default(), free: END, len: 0 }
    }
}

#[allow(clippy::cast_possible_truncation)] // the bits above are not kept
const fn tag(hash: u64) -> u16 {
    (hash >> FIRST_BITS) as u16
}

impl Finder {
    /// Of a power of two of buckets that is not full yet, the upper ones do not exist: their rows are in the lower half.
    fn bucket(&self, hash: u64) -> u32 {
        let buckets = self.buckets.len();
        let mask = buckets.next_power_of_two().wrapping_sub(1);
        let bucket = u32::try_from(hash & u64::from(mask)).unwrap_or(0);
        if bucket < buckets { bucket } else { bucket & (mask >> 1) }
    }

    fn own(&self, hash: u64) -> Option<&Bucket> {
        self.buckets.get(self.bucket(hash))
    }

    /// Every row that was added with this hash, among few others, in no order.
    pub(super) fn rows(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let tag = tag(hash);
        let mut bucket = self.own(hash);
        let mut left = bucket.map_or(0, |own| own.matches(tag));
        std::iter::from_fn(move || {
            while left == 0 {
                bucket = self.over.get(bucket?.next());
                left = bucket?.matches(tag);
            }
            let slot = left.trailing_zeros() as usize;
            left &= left - 1;
            bucket?.rows.get(slot).copied()
        })
    }

    /// Fetches where rows with this hash are found and added.
    pub(super) fn warm(&self, hash: u64) {
        if let Some(own) = self.own(hash) {
            fetch(own);
        }
    }

    /// Fetches what has no room there, once that has come.
    pub(super) fn warm_over(&self, hash: u64) {
        if let Some(over) = self.own(hash).and_then(|own| self.over.get(own.next())) {
            fetch(over);
        }
    }

    /// Adds a row that is not in.
    pub(super) fn insert(&mut self, row: u32, hash: u64) {
        let buckets = self.buckets.len();
        if buckets == 0 {
            (0..1 << FIRST_BITS).for_each(|_| _ = self.buckets.push(Bucket::EMPTY));
        } else if self.len >= buckets.saturating_mul(LOAD) && buckets < MOST_BUCKETS {
            self.split();
        }
        self.add(self.bucket(hash), row, tag(hash));
        self.len += 1;
    }

    /// Makes room for so many rows in all, so that adding them splits nothing. Only before the first is added.
    pub(super) fn reserve(&mut self, rows: u32) {
        if self.len == 0 {
            let buckets = rows.div_ceil(LOAD).clamp(1 << FIRST_BITS, MOST_BUCKETS);
            (self.buckets.len()..buckets).for_each(|_| _ = self.buckets.push(Bucket::EMPTY));
        }
    }

    /// Adds many rows, given with their hashes: where they go is fetched together.
    pub(super) fn insert_all(&mut self, rows: &mut Vec<(u32, u64)>) {
        rows.iter().for_each(|(_, hash)| self.warm(*hash));
        rows.drain(..).for_each(|(row, hash)| self.insert(row, hash));
    }

    fn add(&mut self, bucket: u32, row: u32, tag: u16) {
        let Some(own) = self.buckets.get_mut(bucket) else { return };
        if own.push(row, tag) || self.over.get_mut(own.next()).is_some_and(|over| over.push(row, tag)) {
            return;
        }
        let mut over = Bucket::EMPTY;
        over.set_next(own.next());
        over.push(row, tag);
        let at = match self.over.get_mut(self.free) {
            Some(place) => {
                let at = std::mem::replace(&mut self.free, place.next());
                *place = over;
                at
            }
            None => self.over.push(over),
        };
        own.set_next(at);
    }

    /// Takes a row out that was added with this hash; nothing when it is not in.
    pub(super) fn remove(&mut self, row: u32, hash: u64) {
        let bucket = self.bucket(hash);
        let Self { buckets, over, free, len } = self;
        let Some(own) = buckets.get_mut(bucket) else { return };
        // The last one that came takes its place, so that only the first of those behind may have room.
        let first = own.next();
        let is_own = own.has(row);
        let mut at = first;
        if !is_own {
            while over.get(at).is_some_and(|other| !other.has(row)) {
                at = over.get(at).map_or(END, Bucket::next);
            }
            if at == END {
                return;
            }
        }
        let last = match over.get_mut(first) {
            Some(newest) => {
                let last = newest.pop();
                if newest.count() == 0 {
                    own.set_next(newest.next());
                    newest.set_next(std::mem::replace(free, first));
                }
                last
            }
            None => own.pop(),
        };
        let Some(last) = last else { return };
        if last.0 != row {
            let place = if is_own { Some(own) } else { over.get_mut(at) };
            place.into_iter().for_each(|bucket| bucket.replace(row, last));
        }
        *len -= 1;
    }

    /// Adds one bucket and moves into it what belongs there, all of it from one other bucket.
    fn split(&mut self) {
        let fresh = self.buckets.push(Bucket::EMPTY);
        let bit = highest_bit(fresh);
        let old = fresh & !bit;
        // The next split is some inserts away, enough for its line to come.
        if let Some(next) = self.buckets.get(old + 1) {
            fetch(next);
        }
        let moves = |tag: u16| u32::from(tag) & (bit >> FIRST_BITS) != 0;
        let Some(own) = self.buckets.get_mut(old) else { return };
        let mut taken = std::mem::replace(own, Bucket::EMPTY);
        let mut parts = [Bucket::EMPTY; 2];
        for (row, tag) in taken.entries() {
            parts[usize::from(moves(tag))].push(row, tag);
        }
        for (bucket, part) in [old, fresh].into_iter().zip(parts) {
            if let Some(place) = self.buckets.get_mut(bucket) {
                *place = part;
            }
        }
        let mut at = taken.next();
        while let Some(place) = self.over.get_mut(at) {
            taken = *place;
            *place = Bucket::EMPTY;
            place.set_next(std::mem::replace(&mut self.free, at));
            for (row, tag) in taken.entries() {
                self.add(if moves(tag) { fresh } else { old }, row, tag);
            }
            at = taken.next();
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
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn hash(key: u32) -> u64 {
        spread(0, u64::from(key), 1)
    }

    fn has(finder: &Finder, row: u32, hash: u64) -> usize {
        finder.rows(hash).filter(|other| *other == row).count()
    }

    /// The rows of each bucket in turn, and how many lines they take.
    fn lengths(finder: &Finder) -> impl Iterator<Item = (usize, usize)> + '_ {
        finder.buckets.iter().map(|own| {
            let lines = std::iter::successors(Some(own), |bucket| finder.over.get(bucket.next()));
            lines.fold((0, 0), |(rows, lines), bucket| (rows + bucket.count(), lines + 1))
        })
    }

    fn free_lines(finder: &Finder) -> usize {
        std::iter::successors(finder.over.get(finder.free), |bucket| finder.over.get(bucket.next())).count()
    }

    /// Every line is used or free, and only the first line behind a full one has room.
    fn check(finder: &Finder) {
        let used: usize = lengths(finder).map(|(_, lines)| lines).sum();
        assert_eq!(used + free_lines(finder), (finder.buckets.len() + finder.over.len()) as usize);
        assert_eq!(lengths(finder).map(|(rows, _)| rows).sum::<usize>(), finder.len as usize);
        assert!(lengths(finder).all(|(rows, lines)| lines == rows.div_ceil(SLOTS).max(1)));
    }

    #[test]
    fn growth_keeps_all_and_removal_takes_one() {
        let mut finder = Finder::default();
        assert_eq!(finder.rows(hash(1)).count(), 0);
        finder.remove(1, hash(1));
        for row in 0..100_000u32 {
            finder.insert(row, hash(row / 2));
        }
        check(&finder);
        assert!((0..100_000).all(|row| has(&finder, row, hash(row / 2)) == 1));
        for row in (0..100_000).step_by(3) {
            finder.remove(row, hash(row / 2));
            finder.remove(row, hash(row / 2));
        }
        check(&finder);
        assert!((0..100_000).all(|row| has(&finder, row, hash(row / 2)) == usize::from(row % 3 != 0)));
        assert_eq!(finder.len as usize, 100_000 - 33_334);
    }

    #[test]
    fn buckets_stay_short_and_look_ups_read_few_other_rows() {
        for shift in [0, 32] {
            let mut finder = Finder::default();
            let hash = |row: u32| spread(0, u64::from(row) << shift, 1);
            for row in 0..200_000u32 {
                finder.insert(row, hash(row));
            }
            let (rows, lines) = lengths(&finder).max().expect("it has buckets");
            assert!(rows < 40 && lines <= 4, "keys that differ in few bits must spread: {rows} rows in {lines} lines");
            let others: usize = (200_000..300_000).map(|absent| finder.rows(hash(absent)).count()).sum();
            assert!(others < 5_000, "{others} rows to compare for 100,000 keys that are not in");
        }
    }

    /// Ten million entries of a repeat window and their table are to fit into 500 MiB, an open hold into 160 bytes.
    #[test]
    fn a_row_costs_a_little_more_than_ten_bytes() {
        let mut finder = Finder::default();
        let mut most = 0.0f64;
        for row in 0..600_000u32 {
            finder.insert(row, hash(row));
            if finder.buckets.len() >= 4 << FIRST_BITS {
                let bytes = f64::from(finder.buckets.len() + finder.over.len()) * 64.0;
                most = most.max(bytes / f64::from(finder.len));
            }
        }
        assert!(most < 10.25, "{most} bytes a row");
    }

    #[test]
    fn many_rows_of_one_hash_are_kept_and_let_go() {
        let mut finder = Finder::default();
        (0..50_000u32).for_each(|row| finder.insert(row, hash(7)));
        check(&finder);
        let mut found: Vec<u32> = finder.rows(hash(7)).collect();
        found.sort_unstable();
        assert!(found.into_iter().eq(0..50_000));
        (0..50_000u32).rev().for_each(|row| finder.remove(row, hash(7)));
        check(&finder);
        let lines = finder.over.len();
        assert_eq!((finder.len, free_lines(&finder)), (0, lines as usize));
        (0..10_000u32).for_each(|row| finder.insert(row, hash(8)));
        assert_eq!(finder.over.len(), lines, "what was let go is used again");
    }

    #[test]
    fn without_bits_to_split_by_nothing_is_lost() {
        // Every row in one bucket, told apart by no bit that a tag keeps.
        let mut finder = Finder::default();
        let hash = |row: u32| u64::from(row) << (FIRST_BITS + u16::BITS);
        (0..9_000u32).for_each(|row| finder.insert(row, hash(row)));
        check(&finder);
        assert!((0..9_000).all(|row| has(&finder, row, hash(row)) == 1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Adds so many rows with keys from here on.
        Insert(u32, u32),
        /// Takes out so many of those that are in, beginning somewhere.
        Remove(usize, usize),
        Find(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few keys, so that many rows share one and buckets overflow.
        prop_oneof![
            (0..4_000u32, 1..3_000u32).prop_map(|(key, count)| Step::Insert(key, count)),
            (any::<usize>(), 1..2_000usize).prop_map(|(from, count)| Step::Remove(from, count)),
            (0..8_000u32).prop_map(Step::Find),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec(step(), 1..40), same in 1..9u32) {
            let mut finder = Finder::default();
            let (mut model, mut order) = (HashMap::<u32, Vec<u32>>::new(), Vec::new());
            let mut fresh = 0;
            for step in steps {
                match step {
                    Step::Insert(from, count) => for key in (from..from + count).map(|key| key / same) {
                        finder.insert(fresh, hash(key));
                        model.entry(key).or_default().push(fresh);
                        order.push((fresh, key));
                        fresh += 1;
                    },
                    Step::Remove(from, count) => for _ in 0..count.min(order.len()) {
                        let (row, key) = order.swap_remove(from % order.len());
                        finder.remove(row, hash(key));
                        model.entry(key).or_default().retain(|other| *other != row);
                    },
                    Step::Find(key) => {
                        let wanted = model.get(&key).cloned().unwrap_or_default();
                        prop_assert!(wanted.iter().all(|row| has(&finder, *row, hash(key)) == 1));
                    }
                }
            }
            check(&finder);
            prop_assert_eq!(finder.len as usize, order.len());
            let keys: HashMap<u32, u32> = order.into_iter().collect();
            for (key, rows) in model {
                // What else shares the bucket and the tag is in as well, and the caller sees by its key that it is other.
                let mut found: Vec<u32> = finder.rows(hash(key)).collect();
                prop_assert!(found.iter().all(|row| keys.contains_key(row)));
                found.retain(|row| keys.get(row) == Some(&key));
                found.sort_unstable();
                prop_assert_eq!(found, { let mut rows = rows; rows.sort_unstable(); rows });
            }
        }
    }
}
