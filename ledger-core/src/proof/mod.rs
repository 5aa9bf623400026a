//! What makes an event provable to somebody who has no journal: a Merkle tree over salted events, in the shape of
//! RFC 6962, so that the public tools of transparency logs check what comes out of it.
//!
//! Pure: no IO, no clock, no signatures. It must never decide what is proved, and never give away a salt by itself:
//! a salt opens the one event it was made for.

mod leaf;
mod merkle;
mod tree;

pub use leaf::{Salts, event_leaf};
pub use merkle::{EMPTY_ROOT, Hash, leaf_hash, verify_consistency, verify_inclusion};
pub use tree::{Mark, Tree};
