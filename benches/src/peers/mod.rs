//! What the engine is compared with, in the same run: a database that does the same authorization on one hot row, a
//! naive server, a lock-free one, other codecs. Each is to be as good as its design lets it be; one that is slowed on
//! purpose would prove nothing. The engine must never be treated better than they are.

mod appender;
pub(crate) mod cas;
mod cluster;
pub(crate) mod codec_turns;
pub(crate) mod compare;
mod hot_row;
mod merge;
pub(crate) mod naive;
mod servers;
mod slice;
mod tap;
mod verdict;
