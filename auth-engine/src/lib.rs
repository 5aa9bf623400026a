//! The card authorization engine: an ISO 8583 switch over one shard thread, a partner webhook, a REST
//! sidecar and a read model. `docs/ARCHITECTURE.md` is the map.
//!
//! This crate owns the IO and the ISO 8583 side of a decision. It must never hold a rule about money:
//! those live in `ledger-core`.

pub mod capture;
pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod partner;
mod priority;
pub mod proof;
pub mod rest;
pub mod shard;
pub mod simulate;
pub mod spec_import;
pub mod switch;
pub mod telemetry;
pub mod view;
