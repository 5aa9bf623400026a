//! The other sides, played: what a developer points the engine at before there is a real partner.
//!
//! This module owns stand-ins for the outside world. It must never be needed to run the engine.

pub mod engine;
pub mod network;
pub mod partner;
pub mod rules;
