//! The card network, played from scenario files: links, messages, what must come back, and what goes wrong on purpose.
//! `scenario.rs` is the file's form, `play.rs` the order of things, `record.rs` captures in and out.
//!
//! It must never know a rule of the engine: what must happen stands in the file.

pub mod compare;
pub mod play;
pub mod record;
pub mod scenario;
pub mod setup;
pub mod wire;
pub mod words;
