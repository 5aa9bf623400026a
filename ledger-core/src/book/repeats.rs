//! What makes a repeated message get the first one's answer (contracts 2.5). An entry names the event that holds
//! the answer; the answer itself is in the journal.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Book;
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

#[derive(Debug, Default)]
pub(super) struct Repeats {
    entries: HashMap<[u8; 16], Repeat>,
    requests: VecDeque<(Timestamp, [u8; 16])>,
    advices: VecDeque<(Timestamp, [u8; 16])>,
}

impl Repeats {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self, key: &RepeatKey, entry: Repeat, until: Timestamp, lifetime: Lifetime) {
        self.entries.insert(key.key, entry);
        match lifetime {
            Lifetime::Request => self.requests.push_back((until, key.key)),
            Lifetime::Advice => self.advices.push_back((until, key.key)),
        }
    }

    pub(super) fn change(&mut self, key: &[u8; 16], change: impl FnOnce(&mut Repeat)) {
        if let Some(entry) = self.entries.get_mut(key) {
            change(entry);
        }
    }

    /// Drops a few requests whose time is over, and hands out a few advices whose time is.
    fn purge(&mut self, now: Timestamp, keep: impl Fn(&Repeat) -> bool) {
        for _ in 0..PURGE_PER_EVENT {
            match self.requests.front() {
                Some((until, _)) if *until <= now => {}
                _ => break,
            }
            if let Some((_, key)) = self.requests.pop_front() {
                self.entries.remove(&key);
            }
        }
        for _ in 0..PURGE_PER_EVENT {
            let Some((until, key)) = self.advices.front().copied() else { break };
            if until > now {
                break;
            }
            self.advices.pop_front();
            if self.entries.get(&key).is_some_and(&keep) {
                self.advices.push_back((until.plus_us(crate::limits::ADVICE_RETENTION_US), key));
            } else {
                self.entries.remove(&key);
            }
        }
    }

    /// Folds the entries into a hash that does not depend on their order in memory.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        let mut sum = [0u64; 2];
        for (key, Repeat { no, seq, content, flags }) in &self.entries {
            let mut one = blake3::Hasher::new();
            one.update(key).update(&no.to_le_bytes()).update(&seq.to_le_bytes()).update(&content.to_le_bytes());
            one.update(&[u8::from(flags.reversed), u8::from(flags.answered_late), u8::from(flags.pending)]);
            add(&mut sum, &one);
        }
        hasher.update(&(self.entries.len() as u64).to_le_bytes());
        sum.iter().for_each(|s| {
            hasher.update(&s.to_le_bytes());
        });
        for queue in [&self.requests, &self.advices] {
            hasher.update(&(queue.len() as u64).to_le_bytes());
            for (until, key) in queue {
                hasher.update(&until.0.to_le_bytes()).update(key);
            }
        }
    }
}

/// Adds one entry's hash to an order-free sum.
pub(super) fn add(sum: &mut [u64; 2], one: &blake3::Hasher) {
    let mut words = [0u8; 16];
    one.finalize_xof().fill(&mut words);
    let value = u128::from_le_bytes(words);
    let low = u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(value >> 64).unwrap_or(0);
    sum[0] = sum[0].wrapping_add(low);
    sum[1] = sum[1].wrapping_add(high);
}

impl Book {
    /// What is remembered under a key.
    pub fn repeat(&self, key: &[u8; 16]) -> Option<Repeat> {
        self.repeats.entries.get(key).copied()
    }

    /// Drops a few things whose time is over; part of every fold, so that the live book and a replay agree.
    pub(super) fn purge(&mut self, now: Timestamp) {
        let authorizations = &self.authorizations;
        self.repeats.purge(now, |entry| authorizations.get(&entry.no).is_some_and(super::Authorization::is_open));
        self.unmatched.purge(now);
        self.purge_idempotency(now);
        self.purge_quotes(now);
        self.purge_closed(now);
    }
}
