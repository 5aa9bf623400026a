//! TLS on links: certificates and their replacement, handshakes, and the bytes of an open session.
//!
//! Handshakes cost as much as hundreds of taps and run on a thread of their own; a session that is open is
//! driven by the shard's thread, without a task between the socket and the frame. This module must never look
//! into a frame.

mod certificates;
mod handshakes;
mod session;

pub(super) use certificates::Certificates;
pub use certificates::TlsError;
pub use handshakes::Handshakes;
pub(super) use handshakes::{Shake, Shaken};
pub(super) use session::{Session, Taken};
