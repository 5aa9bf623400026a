//! Money: accounts, pools, cards, holds, the authorization state machine and the journal that makes them last.
//!
//! The book is a pure fold over events. Nothing here does IO outside `journal/file.rs`, reads a clock, uses
//! randomness, or knows ISO 8583 or HTTP.

pub mod book;
pub mod event;
pub mod id;
pub mod journal;
pub mod keys;
pub mod limits;
pub mod money;
pub mod proof;
pub mod snapshot;
pub mod time;
