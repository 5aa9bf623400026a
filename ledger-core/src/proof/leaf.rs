//! An event as a leaf of the tree: its salt, where it stands, and its bytes.

use std::fmt;

use zeroize::Zeroizing;

use super::merkle::{Hash, leaf_hash};
use crate::journal::Record;
use crate::keys::Keyring;

const CONTEXT: &str = "card authorization ledger 2026 event salt v1";

/// Makes the salts of events. Without its salt an event's hash tells nothing of the event, not even to somebody who
/// has a good guess; with it, the one event is open and no other.
#[derive(Clone)]
pub struct Salts(Zeroizing<[u8; 32]>);

impl Salts {
    /// The salts of a journal: the same at every start.
    pub fn new(keyring: &Keyring) -> Self {
        Self(keyring.subkey(CONTEXT))
    }

    /// The salt of one event. The epoch is part of it because the sequences of a cut tail come again.
    pub fn of(&self, seq: u64, epoch: u32) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        *hasher.update(&seq.to_le_bytes()).update(&epoch.to_le_bytes()).finalize().as_bytes()
    }

    /// The leaf of an event: its salted hash.
    pub fn leaf(&self, record: &Record<'_>) -> Hash {
        let salt = self.of(record.seq, record.epoch);
        event_leaf(&salt, record.seq, record.at, record.epoch, record.payload)
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(****)")
    }
}

/// The leaf of an event with its salt: what anybody computes who was shown both. Its input is the salt (32 bytes), the
/// sequence (8), the time in microseconds (8, signed), the epoch (4), all little-endian, and the event's bytes.
pub fn event_leaf(salt: &Hash, seq: u64, at: i64, epoch: u32, payload: &[u8]) -> Hash {
    leaf_hash(&[salt, &seq.to_le_bytes(), &at.to_le_bytes(), &epoch.to_le_bytes(), payload])
}
