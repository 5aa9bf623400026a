//! Every bound of the ledger in one place. A table that could grow with what strangers send has its maximum here.

/// Authorizations that are final (declined, reversed, expired, cleared) and still kept in memory so that late
/// reversals and advices find them. The oldest leaves first; all of them stay in the journal and the read model.
pub const MAX_CLOSED_AUTHORIZATIONS: usize = 1_000_000;
/// How long a final authorization is kept in memory at most: 30 days, in microseconds.
pub const CLOSED_RETENTION_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// How long a reversal without an original is remembered: 7 days, in microseconds (contracts 2.6).
pub const UNMATCHED_RETENTION_US: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Unmatched reversals remembered at once; the oldest leaves first.
pub const MAX_UNMATCHED_REVERSALS: usize = 1_000_000;
/// How long advices and reversals are remembered as repeats: 30 days, in microseconds (contracts 2.5).
pub const ADVICE_RETENTION_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// How long an idempotency record lives: 24 hours, in microseconds.
pub const IDEMPOTENCY_RETENTION_US: i64 = 24 * 3_600 * 1_000_000;
/// How long a quote may be executed: 30 seconds, in microseconds.
pub const QUOTE_LIFETIME_US: i64 = 30 * 1_000_000;
/// How long a quote that nobody used is kept after its end: 1 hour, in microseconds.
pub const QUOTE_RETENTION_US: i64 = 3_600 * 1_000_000;
/// Increments and linked advices of one authorization: one event reverses them all, so it must fit into a block.
pub const MAX_CHAIN: usize = 256;
/// Advices by whose elements one authorization is still found; the newest ones.
pub const MAX_ALIASES: usize = 16;
/// How long the previous webhook secret stays valid after a rotation: 24 hours, in microseconds.
pub const SECRET_OVERLAP_US: i64 = 24 * 3_600 * 1_000_000;
/// Expired entries that one applied event may drop: more than one event can add, so the tables shrink, and few
/// enough that no tap pays for an hour of silence.
pub const PURGE_PER_EVENT: usize = 4;
/// Longest free text (name, reference, reason …) in bytes.
pub const MAX_TEXT: usize = 256;
