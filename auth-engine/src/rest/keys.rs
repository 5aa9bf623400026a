//! Who calls: API keys, as hashes in memory, and what a caller may see.
//!
//! The table is loaded at start and changed where keys are created and revoked, on the shard's thread, so that a
//! revoked key is refused from the moment its revocation is applied. It must never hold or print a key in clear,
//! and it tells by time neither whether a key is nearly right nor how many there are before it.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use ledger_core::book::Book;
use ledger_core::id::No;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::problem::Problem;

/// Characters of a key behind its prefix: 160 random bits.
const KEY_CHARS: usize = 32;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const PREFIX: &str = "ak_";

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// A new API key, `ak_` and 32 base32 characters. Show it once, keep its [`hash`] only.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate() -> Result<Zeroizing<String>, NoRandomness> {
    let mut random = Zeroizing::new([0u8; KEY_CHARS]);
    getrandom::fill(&mut *random)?;
    let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + KEY_CHARS));
    key.push_str(PREFIX);
    for byte in random.iter() {
        key.push(char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'a')));
    }
    Ok(key)
}

/// What the engine keeps of a key: the BLAKE3 hash of its text.
pub fn hash(key: &str) -> [u8; 32] {
    *blake3::hash(key.as_bytes()).as_bytes()
}

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Number of the key.
    pub key: No,
    /// Dense index of the key's partner; none for an operator's key.
    pub partner: Option<u32>,
}

impl Caller {
    /// True when the caller may see what belongs to that partner.
    pub fn sees(self, partner: u32) -> bool {
        self.partner.is_none_or(|own| own == partner)
    }

    /// 403 unless the key is an operator's.
    pub fn operator(self) -> Result<(), Problem> {
        if self.partner.is_none() { Ok(()) } else { Err(Problem::operators_only()) }
    }
}

struct Entry {
    hash: [u8; 32],
    caller: Caller,
}

/// All live keys.
#[derive(Default)]
pub struct KeyTable {
    entries: RwLock<Vec<Entry>>,
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyTable(****)")
    }
}

impl KeyTable {
    /// Takes over what the book knows.
    pub fn load(&self, book: &Book) {
        let live = book
            .keys()
            .filter(|key| !key.revoked)
            .map(|key| Entry { hash: key.hash, caller: Caller { key: key.id.no, partner: key.partner } })
            .collect();
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// Adds a key.
    pub fn insert(&self, hash: [u8; 32], caller: Caller) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().all(|entry| entry.caller.key != caller.key) {
            entries.push(Entry { hash, caller });
        }
    }

    /// Drops a key.
    pub fn remove(&self, key: No) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).retain(|entry| entry.caller.key != key);
    }

    /// Who holds this key. Compares with every entry in constant time, without an early exit.
    pub fn find(&self, key: &str) -> Option<Caller> {
        let wanted = hash(key);
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Choice::from(0);
        let mut place = 0u64;
        for (at, entry) in (0u64..).zip(entries.iter()) {
            let same = entry.hash.ct_eq(&wanted);
            place.conditional_assign(&at, same);
            found |= same;
        }
        if !bool::from(found) {
            return None;
        }
        entries.get(usize::try_from(place).ok()?).map(|entry| entry.caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_until_it_is_removed() {
        let table = KeyTable::default();
        let (one, two) = (generate().expect("randomness"), generate().expect("randomness"));
        assert_eq!(one.len(), 35);
        assert_ne!(*one, *two);
        table.insert(hash(&one), Caller { key: 1, partner: None });
        table.insert(hash(&two), Caller { key: 2, partner: Some(7) });
        assert_eq!(table.find(&two), Some(Caller { key: 2, partner: Some(7) }));
        assert_eq!(table.find(&one), Some(Caller { key: 1, partner: None }));
        assert_eq!(table.find(""), None);
        table.remove(2);
        assert_eq!(table.find(&two), None);
        assert_eq!(format!("{table:?}"), "KeyTable(****)");
    }
}
