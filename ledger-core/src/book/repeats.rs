//! What makes a repeated message get the first one's answer (contracts 2.5). An entry names the event that holds
//! the answer; the answer itself is in the journal.
//!
//! A window is a queue: entries come and go in one order, so they lie in it and a table finds their places.

use super::Book;
use super::finder::{Finder, spread_key};
use super::paged::Fifo;
use super::warm::fetch;
use crate::event::tap::RepeatKey;
use crate::id::No;
use crate::limits::PURGE_PER_EVENT;
use crate::time::Timestamp;

/// What has happened to the answer since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepeatFlags {
    /// The approval was fully reversed: repeats get 05 `already_reversed`.
    pub reversed: bool,
    /// The answer never reached the network: repeats get 91 `answered_late`.
    pub answered_late: bool,
    /// Not decided yet: a repeat waits.
    pub pending: bool,
}

/// A remembered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// The authorization, advice or reversal.
    pub no: No,
    /// Sequence of the event that holds the answer (or, while pending, the request).
    pub seq: u64,
    /// Hash of what must not differ.
    pub content: u32,
    /// What has happened since.
    pub flags: RepeatFlags,
}

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The configured window.
    Request,
    /// 30 days, and as long as the authorization is open.
    Advice,
}

const REVERSED: u64 = 1;
const ANSWERED_LATE: u64 = 1 << 1;
const PENDING: u64 = 1 << 2;
const FLAG_BITS: u32 = 3;

/// A remembered message as it lies in memory. Words of two bytes, because ten million of them are remembered.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u8; 16],
    /// The sequence and, in its lowest bits, the flags.
    seq: [u16; 4],
    /// Numbers have the 48 bits that an id has for them.
    no: [u16; 3],
    until: [u16; 4],
    content: [u16; 2],
}

// Ten million at 42 bytes each, and at most 10.25 more in the table that finds them (its test), are 499 MiB at most.
const _: () = assert!(size_of::<Entry>() == 42, "ten million fit into 500 MiB with their table");

#[allow(clippy::cast_possible_truncation)] // the lower bits are what is wanted
fn words<const N: usize>(value: u64) -> [u16; N] {
    std::array::from_fn(|at| (value >> (16 * at)) as u16)
}

fn whole<const N: usize>(words: [u16; N]) -> u64 {
    words.iter().rev().fold(0, |value, word| value << 16 | u64::from(*word))
}

impl Entry {
    fn new(key: [u8; 16], repeat: &Repeat, until: Timestamp) -> Self {
        let until = words(until.0.cast_unsigned());
        let mut entry = Self { key, seq: [0; 4], no: [0; 3], until, content: [0; 2] };
        entry.set(repeat);
        entry
    }

    fn set(&mut self, repeat: &Repeat) {
        let Repeat { no, seq, content, flags } = repeat;
        let RepeatFlags { reversed, answered_late, pending } = *flags;
        let bit = |on: bool, flag| if on { flag } else { 0 };
        let flags = bit(reversed, REVERSED) | bit(answered_late, ANSWERED_LATE) | bit(pending, PENDING);
        // Sequences have 56 bits (the nonce of a sealed field), so nothing is shifted out.
        self.seq = words((seq << FLAG_BITS) | flags);
        (self.no, self.content) = (words(*no), words(u64::from(*content)));
    }

    fn bytes(&self) -> [u8; size_of::<Self>()] {
        let Self { key, seq, no, until, content } = self;
        let words = seq.iter().chain(no).chain(until).chain(content).flat_map(|word| word.to_le_bytes());
        let mut bytes = [0; size_of::<Self>()];
        bytes.iter_mut().zip(key.iter().copied().chain(words)).for_each(|(to, from)| *to = from);
        bytes
    }

    fn of_bytes(bytes: [u8; size_of::<Self>()]) -> Self {
        let mut entry = Self { key: [0; 16], seq: [0; 4], no: [0; 3], until: [0; 4], content: [0; 2] };
        let Self { key, seq, no, until, content } = &mut entry;
        let (first, rest) = bytes.split_at(key.len());
        key.copy_from_slice(first);
        let words = seq.iter_mut().chain(no).chain(until).chain(content);
        words.zip(rest.as_chunks().0).for_each(|(to, from)| *to = u16::from_le_bytes(*from));
        entry
    }

    fn seq(&self) -> u64 {
        whole(self.seq) >> FLAG_BITS
    }

    fn repeat(&self) -> Repeat {
        let flagged = whole(self.seq);
        let flags = RepeatFlags {
            reversed: flagged & REVERSED != 0,
            answered_late: flagged & ANSWERED_LATE != 0,
            pending: flagged & PENDING != 0,
        };
        let [low, high] = self.content.map(u32::from);
        Repeat { no: whole(self.no), seq: self.seq(), content: high << 16 | low, flags }
    }

    fn until(&self) -> Timestamp {
        Timestamp(whole(self.until).cast_signed())
    }
}

/// Entries of one lifetime, the oldest first.
#[derive(Debug, Default)]
struct Window {
    queue: Fifo<Entry>,
    finder: Finder,
}

impl Window {
    fn push(&mut self, entry: Entry) {
        let place = self.queue.push(entry);
        self.finder.insert(place, spread_key(&entry.key));
    }

    fn pop(&mut self) -> Option<Entry> {
        let (place, entry) = self.queue.front()?;
        self.finder.remove(place, spread_key(&entry.key));
        self.queue.pop()
    }

    /// The one with this key that came last.
    fn find(&self, key: &[u8; 16]) -> Option<(u32, &Entry)> {
        let places = self.finder.rows(spread_key(key));
        let entries = places.filter_map(|place| self.queue.get(place).map(|entry| (place, entry)));
        entries.filter(|(_, entry)| entry.key == *key).max_by_key(|(place, _)| self.queue.order(*place))
    }
}

#[derive(Debug, Default)]
pub(super) struct Repeats {
    requests: Window,
    advices: Window,
}

impl Repeats {
    pub(super) fn len(&self) -> usize {
        self.requests.queue.len() + self.advices.queue.len()
    }

    pub(super) fn insert(&mut self, key: &RepeatKey, entry: Repeat, until: Timestamp, lifetime: Lifetime) {
        let entry = Entry::new(key.key, &entry, until);
        match lifetime {
            Lifetime::Request => self.requests.push(entry),
            Lifetime::Advice => self.advices.push(entry),
        }
    }

    /// Fetches where requests with this hash are found and added.
    pub(super) fn warm(&self, hash: u64) {
        self.requests.finder.warm(hash);
    }

    /// Fetches those that may be meant, once that has come: for a new message hardly ever one.
    pub(super) fn warm_entries(&self, hash: u64) {
        self.requests.finder.warm_over(hash);
        self.requests.finder.rows(hash).filter_map(|place| self.requests.queue.get(place)).for_each(fetch);
    }

    fn get(&self, key: &[u8; 16]) -> Option<Repeat> {
        let request = self.requests.find(key).map(|(_, entry)| entry.repeat());
        let advice = self.advices.find(key).map(|(_, entry)| entry.repeat());
        request.into_iter().chain(advice).max_by_key(|repeat| repeat.seq)
    }

    pub(super) fn change(&mut self, key: &[u8; 16], change: impl FnOnce(&mut Repeat)) {
        let window = if self.requests.find(key).is_some() { &mut self.requests } else { &mut self.advices };
        let Some((place, entry)) = window.find(key) else { return };
        let mut repeat = entry.repeat();
        change(&mut repeat);
        if let Some(entry) = window.queue.get_mut(place) {
            entry.set(&repeat);
        }
    }

    /// Drops a few requests whose time is over, and hands out a few advices whose time is.
    fn purge(&mut self, now: Timestamp, keep: impl Fn(&Repeat) -> bool) {
        for _ in 0..PURGE_PER_EVENT {
            match self.requests.queue.front() {
                Some((_, entry)) if entry.until() <= now => self.requests.pop(),
                _ => break,
            };
        }
        for _ in 0..PURGE_PER_EVENT {
            match self.advices.queue.front() {
                Some((_, entry)) if entry.until() <= now => {}
                _ => break,
            }
            let Some(entry) = self.advices.pop() else { break };
            let repeat = entry.repeat();
            if keep(&repeat) {
                let until = entry.until().plus_us(crate::limits::ADVICE_RETENTION_US);
                self.advices.push(Entry::new(entry.key, &repeat, until));
            }
        }
    }

    /// Every entry as a snapshot has it, in the order in which they came: its bytes, and whether it is an advice's.
    pub(super) fn write<E>(&self, mut each: impl FnMut(bool, &[u8]) -> Result<(), E>) -> Result<(), E> {
        for (advice, window) in [(false, &self.requests), (true, &self.advices)] {
            for entry in window.queue.iter() {
                each(advice, &entry.bytes())?;
            }
        }
        Ok(())
    }

    /// Adds the entry that these bytes begin with behind those of its lifetime.
    pub(super) fn read(&mut self, advice: bool, from: &mut &[u8]) -> Option<()> {
        let (bytes, rest) = from.split_first_chunk()?;
        *from = rest;
        let window = if advice { &mut self.advices } else { &mut self.requests };
        window.push(Entry::of_bytes(*bytes));
        Some(())
    }

    /// Folds the entries into a hash, in the order in which they came.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        for window in [&self.requests, &self.advices] {
            hasher.update(&(window.queue.len() as u64).to_le_bytes());
            for entry in window.queue.iter() {
                let Entry { key, seq, no, until, content } = entry;
                hasher.update(key);
                hasher.update(&whole(*seq).to_le_bytes());
                hasher.update(&whole(*no).to_le_bytes());
                hasher.update(&whole(*until).to_le_bytes());
                for word in content {
                    hasher.update(&word.to_le_bytes());
                }
            }
        }
    }
}

impl Book {
    /// What is remembered under a key.
    pub fn repeat(&self, key: &[u8; 16]) -> Option<Repeat> {
        self.repeats.get(key)
    }

    /// Drops a few things whose time is over; part of every fold, so that the live book and a replay agree.
    pub(super) fn purge(&mut self, now: Timestamp) {
        let authorizations = &self.authorizations;
        self.repeats.purge(now, |entry| authorizations.is_open(entry.no));
        self.unmatched.purge(now);
        self.purge_idempotency(now);
        self.purge_quotes(now);
        self.purge_closed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_what_it_was_given() {
        for (at, flags) in (0..8u8).enumerate() {
            let flags =
                RepeatFlags { reversed: flags & 1 != 0, answered_late: flags & 2 != 0, pending: flags & 4 != 0 };
            let repeat = Repeat { no: (1 << 48) - 1 - at as u64, seq: (1 << 56) - 1, content: u32::MAX, flags };
            let entry = Entry::new([9; 16], &repeat, Timestamp(-5));
            assert_eq!((entry.repeat(), entry.until()), (repeat, Timestamp(-5)));
            assert_eq!(Entry::of_bytes(entry.bytes()).bytes(), entry.bytes());
            assert_eq!(Entry::of_bytes(entry.bytes()).repeat(), repeat);
        }
    }

    #[test]
    fn a_window_forgets_in_order_and_finds_all_that_is_left() {
        let key = |n: u64| RepeatKey { key: u128::from(n).to_be_bytes(), content: 1 };
        let repeat = |n: u64| Repeat { no: n, seq: n + 1, content: 1, flags: RepeatFlags::default() };
        let mut repeats = Repeats::default();
        let mut first = 0;
        for n in 0..10_000u64 {
            repeats.insert(&key(n), repeat(n), Timestamp(n.cast_signed()), Lifetime::Request);
            if n % 3 == 0 {
                repeats.purge(Timestamp(n.cast_signed() / 2), |_| false);
            }
            while first < n && repeats.get(&key(first).key).is_none() {
                first += 1;
            }
        }
        assert!((0..first).all(|n| repeats.get(&key(n).key).is_none()));
        assert!((first..10_000).all(|n| repeats.get(&key(n).key) == Some(repeat(n))));
        assert_eq!(repeats.len() as u64, 10_000 - first);
        repeats.change(&key(9_000).key, |repeat| repeat.flags.reversed = true);
        assert!(repeats.get(&key(9_000).key).is_some_and(|repeat| repeat.flags.reversed));
    }

    #[test]
    fn of_several_with_one_key_the_last_is_found() {
        let key = RepeatKey { key: [5; 16], content: 1 };
        let repeat = |n: u64| Repeat { no: n, seq: n + 1, content: 1, flags: RepeatFlags::default() };
        let mut repeats = Repeats::default();
        for n in 0..100u64 {
            repeats.insert(&key, repeat(n), Timestamp(n.cast_signed()), Lifetime::Request);
            assert_eq!(repeats.get(&key.key), Some(repeat(n)));
        }
        repeats.change(&key.key, |repeat| repeat.flags.reversed = true);
        for n in 0..99 {
            repeats.purge(Timestamp(n), |_| false);
            assert!(repeats.get(&key.key).is_some_and(|found| found.no == 99 && found.flags.reversed));
        }
        repeats.purge(Timestamp(99), |_| false);
        assert_eq!((repeats.get(&key.key), repeats.len()), (None, 0));
    }

    #[test]
    fn an_advice_stays_while_its_hold_is_open() {
        let key = RepeatKey { key: [3; 16], content: 1 };
        let mut repeats = Repeats::default();
        let repeat = Repeat { no: 1, seq: 2, content: 1, flags: RepeatFlags::default() };
        repeats.insert(&key, repeat, Timestamp(10), Lifetime::Advice);
        repeats.purge(Timestamp(10), |_| true);
        assert_eq!(repeats.get(&key.key), Some(repeat));
        repeats.purge(Timestamp(i64::MAX), |_| false);
        assert_eq!((repeats.get(&key.key), repeats.len()), (None, 0));
    }
}
