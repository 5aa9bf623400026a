//! What the journal counts. Readable from any thread; it must never wait for anything.

use std::sync::atomic::AtomicU64;

/// Counters since the journal was opened.
#[derive(Debug, Default)]
pub struct Stats {
    /// Syncs (or synchronous writes) that made events durable.
    pub syncs: AtomicU64,
    /// Blocks of events made durable.
    pub blocks: AtomicU64,
    /// Events made durable.
    pub events: AtomicU64,
    /// Bytes of blocks made durable, padding included.
    pub bytes: AtomicU64,
    /// Segments activated.
    pub segments: AtomicU64,
    /// Times the writer waited because no spare segment was ready.
    pub stalls: AtomicU64,
    /// Spare segments made or taken over.
    pub spares_made: AtomicU64,
    /// Spare segments in which a crash left a torn header, which was zeroed again.
    pub spares_rezeroed: AtomicU64,
    /// Failed tries to make a spare segment, most likely for want of room.
    pub spare_failures: AtomicU64,
}
