//! The shard's thread: sockets, engine and journal on one current-thread runtime. Everything else talks to it
//! through [`handle::ShardHandle`].

pub mod handle;
