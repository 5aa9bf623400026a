//! The shard's thread: sockets, engine and journal on one current-thread runtime. Everything else talks to it
//! through [`handle::ShardHandle`]. [`boot`] starts and stops it with all that is around it.

pub mod boot;
pub mod chain;
pub mod clock;
pub mod data;
pub mod handle;
mod haste;
mod inbox;
mod keeper;
pub mod meter;
pub mod publish;
pub mod rebuilds;
pub mod run;
pub mod traces;
