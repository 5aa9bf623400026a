//! The state hash: one BLAKE3 value over every part of the book that the fold makes, equal for equal states whatever
//! the order of hash maps in memory.
//!
//! Must never see what is derived from the rest or what a reader may drop (lookup tables, touched
//! balances): a live book and a replay of its journal agree on everything else. Structs are taken apart without `..`,
//! so that a new field does not compile until it is hashed; [`super::canonical`] has their bytes.

use blake3::Hasher;

use super::Book;
use super::canonical::Canonical;

impl Book {
    /// BLAKE3 of the whole state at [`Book::last_seq`]. Reads everything: for snapshots, verification and tests.
    pub fn state_hash(&self) -> [u8; 32] {
        let Book {
            epoch,
            last_seq,
            last_at,
            next_no,
            dedup_window_us,
            links,
            partners,
            users,
            accounts,
            pools,
            cards,
            keys,
            transfers,
            rates,
            quotes,
            quote_queue,
            off_ramps,
            general,
            authorizations,
            closed,
            repeats,
            unmatched,
            idempotency,
            idempotency_queue,
            identities: _,
            touched: _,
        } = self;
        let mut hasher = Hasher::new_derive_key("ledger-core state hash 2");
        let mut head = Vec::with_capacity(64);
        (*epoch, *last_seq).write(&mut head);
        (*last_at, *next_no).write(&mut head);
        dedup_window_us.write(&mut head);
        hasher.update(&head);
        in_order(&mut hasher, links.len(), links.iter());
        in_order(&mut hasher, partners.len(), partners.iter());
        in_order(&mut hasher, users.len() as usize, users.iter());
        in_order(&mut hasher, accounts.len() as usize, accounts.iter());
        in_order(&mut hasher, pools.len(), pools.iter());
        in_order(&mut hasher, cards.len() as usize, cards.iter());
        in_order(&mut hasher, keys.len(), keys.iter());
        in_any_order(&mut hasher, transfers.len(), transfers.iter());
        in_order(&mut hasher, rates.len(), rates.iter());
        in_any_order(&mut hasher, quotes.len(), quotes.iter());
        in_order(&mut hasher, quote_queue.len(), quote_queue.iter());
        in_any_order(&mut hasher, off_ramps.len(), off_ramps.iter());
        in_order(&mut hasher, general.len(), general.iter());
        in_any_order(&mut hasher, authorizations.len(), authorizations.iter());
        in_order(&mut hasher, closed.len(), closed.iter());
        repeats.hash_into(&mut hasher);
        unmatched.hash_into(&mut hasher);
        in_any_order(&mut hasher, idempotency.len(), idempotency.iter());
        in_order(&mut hasher, idempotency_queue.len(), idempotency_queue.iter());
        *hasher.finalize().as_bytes()
    }
}

/// The count first, so that no two tables can be read as one another.
fn in_order<T: Canonical>(hasher: &mut Hasher, len: usize, entries: impl Iterator<Item = T>) {
    let mut bytes = Vec::with_capacity(256);
    len.write(&mut bytes);
    for entry in entries {
        entry.write(&mut bytes);
        hasher.update(&bytes);
        bytes.clear();
    }
    // Only an empty table has its count still to be told.
    hasher.update(&bytes);
}

/// A sum of one hash per entry does not depend on the order in which a hash map shows them.
fn in_any_order<T: Canonical>(hasher: &mut Hasher, len: usize, entries: impl Iterator<Item = T>) {
    let mut sum = [0u64; 2];
    let mut bytes = Vec::with_capacity(256);
    for entry in entries {
        bytes.clear();
        entry.write(&mut bytes);
        let mut one = Hasher::new();
        one.update(&bytes);
        add(&mut sum, &one);
    }
    hasher.update(&(len as u64).to_le_bytes());
    for word in sum {
        hasher.update(&word.to_le_bytes());
    }
}

/// Adds one entry's hash to an order-free sum.
fn add(sum: &mut [u64; 2], one: &Hasher) {
    let mut words = [0u8; 16];
    one.finalize_xof().fill(&mut words);
    let value = u128::from_le_bytes(words);
    let low = u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(value >> 64).unwrap_or(0);
    sum[0] = sum[0].wrapping_add(low);
    sum[1] = sum[1].wrapping_add(high);
}
