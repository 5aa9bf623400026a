//! The partner's decision webhook: the ask's body and signature, the connections it travels on, the
//! answer and what is wrong with it, the circuit (`docs/`: contracts section 3).
//!
//! This module owns everything between "ask this partner" and "this is what came back". It must never
//! decide a tap, move money, or keep the deadline: the shard's own timer decides what is too late, and
//! answers after it are still delivered here so that they can be recorded.

mod address;
mod answer;
mod ask;
mod circuit;
mod client;
mod connect;
mod exchange;
mod pool;
mod sign;

pub use address::{AddressClass, AddressPolicy, Target, TargetError, classify};
pub use answer::{Answer, BODY_LIMIT, Bad, Decision, METADATA_LIMIT, Outcome, REASON_LIMIT, Unreachable};
pub use ask::{AskAccount, AskBody, AskData, AskMerchant, AskMoney, AskNetwork, AskPool, AskPos, write};
pub use circuit::Circuit;
pub use client::{Ask, DEFAULT_MAX_CONNECTIONS, Endpoint, PartnerClient};
pub use connect::{Resolver, system_roots};
pub use sign::{
    HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, Secret, SecretError, VerifyError, signature_header, verify,
};
