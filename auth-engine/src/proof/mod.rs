//! Proofs for people who have no journal: signed checkpoints of the tree over all events, made beside the engine, and
//! files that show one authorization to be in it. `docs/proofs.md` tells how they are checked with other tools.
//!
//! Owns the signing key, the files under `checkpoints/`, and the shape of a proof. It must never be on a tap's path,
//! sign what is not durable, or sign a tree that does not begin with the ones it signed before.

pub mod bundle;
pub mod consistency;
pub mod maker;
pub mod note;
pub mod reading;
pub mod store;

pub use maker::{Checkpoints, Latest};
