//! Asking memory early: what deciding and applying a group of taps will touch in the large tables is fetched for all of
//! them at once, so that the waits overlap instead of adding up. With tables beyond the processor's caches a tap waits
//! for a dozen lines one after the other otherwise.
//!
//! It must never change anything, nor answer anything: leaving all of it out changes only how long a tap takes.

use super::Book;
use super::Card;
use super::finder::spread_key;
use crate::event::tap::Trace;

/// What a tap will be looked up by.
#[derive(Debug, Clone, Copy)]
pub struct Ahead<'a> {
    /// Keyed fingerprint of the PAN.
    pub fingerprint: &'a [u8; 16],
    /// Key of its repeats.
    pub repeat: &'a [u8; 16],
    /// By what later messages name it.
    pub trace: &'a Trace,
}

/// Starts fetching the lines of a value; it is not waited for.
#[inline]
pub(super) fn fetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let first = std::ptr::from_ref(value).cast::<i8>();
        for line in (0..size_of::<T>().max(1)).step_by(64) {
            // SAFETY: a prefetch reads nothing and faults nowhere, and the address is within the value.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.add(line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

impl Book {
    /// Fetches what these taps will need, in three rounds: each follows what the one before has brought.
    pub fn warm<'a>(&self, taps: impl Iterator<Item = Ahead<'a>> + Clone) {
        for tap in taps.clone() {
            self.repeats.warm(spread_key(tap.repeat));
            self.identities.warm_card(tap.fingerprint);
        }
        for tap in taps.clone() {
            self.repeats.warm_entries(spread_key(tap.repeat));
            if let Some(card) = self.identities.likely_card(tap.fingerprint, &self.cards) {
                fetch(card);
            }
        }
        for tap in taps {
            let Some(index) = self.card_by_fingerprint(tap.fingerprint) else { continue };
            self.authorizations.warm(index, tap.trace);
            if let Some(user) = self.card(index).and_then(|card: &Card| self.users.get(card.user)) {
                fetch(user);
            }
        }
    }
}
