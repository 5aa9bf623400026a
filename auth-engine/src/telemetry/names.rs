//! Every metric there is: name, unit, meaning, labels, buckets. Nothing else may make up a name.
//!
//! Label values are bounded: link names, partner and pool ids, and words from enums; never a card, a user or
//! a PAN. Handles are for whoever updates often: make them once, keep them.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Requests by link and MTI.
pub const REQUESTS: &str = "auth_requests_total";
/// Decisions by outcome, reason and funding.
pub const DECISIONS: &str = "auth_decisions_total";
/// Time of a tap by stage, seconds.
pub const TAP_SECONDS: &str = "auth_tap_seconds";
/// Frames that were not handed on, by link and reason.
pub const FRAMES_REJECTED: &str = "auth_frames_rejected_total";
/// Open connections by link.
pub const LINK_CONNECTIONS: &str = "auth_link_connections";
/// Connections that we tried to open, opened and lost, by link and result.
pub const LINK_CONNECTS: &str = "auth_link_connects_total";
/// Certificates of links read again because their files changed, by link and result.
pub const LINK_CERTIFICATES: &str = "auth_link_certificates_total";
/// What became of requests that we sent ourselves, by link, kind and result.
pub const LINK_REQUESTS: &str = "auth_link_requests_total";
/// Requests that wait for their reply, by link.
pub const LINK_IN_FLIGHT: &str = "auth_link_in_flight";
/// Requests refused at the door, by reason.
pub const SHED: &str = "auth_shed_total";
/// Replies that were not sent because they would have been late.
pub const LATE_REPLIES: &str = "auth_late_replies_suppressed_total";
/// Replies that could not be handed to their connection, by reason.
pub const REPLIES_UNDELIVERED: &str = "auth_replies_undelivered_total";
/// Steps of the wall clock that shard time did not follow.
pub const CLOCK_STEPS: &str = "clock_steps_total";
/// What came of asking partners.
pub const PARTNER_DECISIONS: &str = "partner_decisions_total";
/// Time from ask to answer or deadline, seconds.
pub const PARTNER_SECONDS: &str = "partner_decision_seconds";
/// Time of one write and sync of the journal, seconds.
pub const JOURNAL_SYNC_SECONDS: &str = "journal_sync_seconds";
/// Events of one journal batch.
pub const JOURNAL_BATCH_EVENTS: &str = "journal_batch_events";
/// Bytes written to the journal, padding included.
pub const JOURNAL_BYTES: &str = "journal_bytes_total";
/// Times no zeroed segment was ready when one was needed.
pub const JOURNAL_SEGMENT_STALLS: &str = "journal_segment_stalls_total";
/// Time the last recovery took, seconds.
pub const JOURNAL_RECOVERY_SECONDS: &str = "journal_recovery_seconds";
/// Time the last snapshot took.
pub const JOURNAL_SNAPSHOT_SECONDS: &str = "journal_snapshot_seconds";
/// The last event that the newest snapshot covers.
pub const JOURNAL_SNAPSHOT_SEQUENCE: &str = "journal_snapshot_sequence";
/// Snapshots and archived segments that failed.
pub const JOURNAL_SNAPSHOT_FAILURES: &str = "journal_snapshot_failures_total";
/// Closed segments moved to the archive.
pub const JOURNAL_SEGMENTS_ARCHIVED: &str = "journal_segments_archived_total";
/// Last event that the newest signed checkpoint covers.
pub const JOURNAL_CHECKPOINT_SEQUENCE: &str = "journal_checkpoint_sequence";
/// Times the tree could not be hashed on or signed.
pub const JOURNAL_CHECKPOINT_FAILURES: &str = "journal_checkpoint_failures_total";
/// Events the read model is behind the journal.
pub const VIEW_LAG_EVENTS: &str = "view_lag_events";
/// Available balance of a pool, in whole units of its currency.
pub const POOL_AVAILABLE: &str = "pool_available";
/// Held balance of a pool, in whole units of its currency.
pub const POOL_HELD: &str = "pool_held";
/// 1 when a pool is below its minimum balance, else 0.
pub const POOL_BELOW_MINIMUM: &str = "pool_below_minimum";
/// Cards in the book.
pub const BOOK_CARDS: &str = "book_cards";
/// Open holds in the book.
pub const BOOK_OPEN_HOLDS: &str = "book_open_holds";
/// REST requests by route and status.
pub const REST_REQUESTS: &str = "rest_requests_total";
/// Time of a REST request by route, seconds.
pub const REST_SECONDS: &str = "rest_request_seconds";

/// Upper bounds of every histogram in seconds: fine where a tap lives, up to the longest partner deadline.
pub(super) const SECONDS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_15, 0.000_2, 0.000_3, 0.000_5, 0.000_75, 0.001, 0.002,
    0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];
/// Upper bounds of the batch size.
pub(super) const EVENTS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0];

/// Tells the recorder what each metric means.
pub(super) fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Messages received, by link and MTI");
    describe_counter!(DECISIONS, Unit::Count, "Decisions on requests, by outcome, reason and funding");
    describe_histogram!(TAP_SECONDS, Unit::Seconds, "Time of a tap, by stage");
    describe_counter!(FRAMES_REJECTED, Unit::Count, "Frames refused and connections cut, by link and reason");
    describe_gauge!(LINK_CONNECTIONS, Unit::Count, "Open connections, by link");
    describe_counter!(LINK_CONNECTS, Unit::Count, "Connections we opened, lost or could not open, by link and result");
    describe_counter!(
        LINK_CERTIFICATES,
        Unit::Count,
        "Changed certificate files of links, taken or refused, by link and result"
    );
    describe_counter!(LINK_REQUESTS, Unit::Count, "Sign-ons, sign-offs and echoes we sent, by link, kind and result");
    describe_gauge!(LINK_IN_FLIGHT, Unit::Count, "Requests waiting for their reply, by link");
    describe_counter!(SHED, Unit::Count, "Requests refused at the door, by reason");
    describe_counter!(LATE_REPLIES, Unit::Count, "Replies not sent because they would have been late");
    describe_counter!(REPLIES_UNDELIVERED, Unit::Count, "Replies whose connection could not take them, by reason");
    describe_counter!(PARTNER_DECISIONS, Unit::Count, "What came of asking partners, by partner and result");
    describe_histogram!(PARTNER_SECONDS, Unit::Seconds, "Time from ask to answer or deadline, by partner");
    describe_histogram!(JOURNAL_SYNC_SECONDS, Unit::Seconds, "Time of one write and sync");
    describe_histogram!(JOURNAL_BATCH_EVENTS, Unit::Count, "Events of one batch");
    describe_counter!(JOURNAL_BYTES, Unit::Bytes, "Bytes written, padding included");
    describe_counter!(JOURNAL_SEGMENT_STALLS, Unit::Count, "Times no zeroed segment was ready");
    describe_gauge!(JOURNAL_RECOVERY_SECONDS, Unit::Seconds, "Time the last recovery took");
    describe_gauge!(JOURNAL_SNAPSHOT_SECONDS, Unit::Seconds, "Time the last snapshot took");
    describe_gauge!(JOURNAL_SNAPSHOT_SEQUENCE, Unit::Count, "Last event that the newest snapshot covers");
    describe_counter!(JOURNAL_SNAPSHOT_FAILURES, Unit::Count, "Snapshots and archived segments that failed");
    describe_counter!(JOURNAL_SEGMENTS_ARCHIVED, Unit::Count, "Closed segments moved to the archive");
    describe_gauge!(JOURNAL_CHECKPOINT_SEQUENCE, Unit::Count, "Last event that the newest signed checkpoint covers");
    describe_counter!(JOURNAL_CHECKPOINT_FAILURES, Unit::Count, "Times no checkpoint could be signed");
    describe_gauge!(VIEW_LAG_EVENTS, Unit::Count, "Events the read model is behind");
    describe_gauge!(POOL_AVAILABLE, "Available balance, in whole units of the currency");
    describe_gauge!(POOL_HELD, "Held balance, in whole units of the currency");
    describe_gauge!(POOL_BELOW_MINIMUM, "1 when the pool is below its minimum balance");
    describe_counter!(CLOCK_STEPS, Unit::Count, "Steps of the wall clock that shard time did not follow");
    describe_gauge!(BOOK_CARDS, Unit::Count, "Cards in the book");
    describe_gauge!(BOOK_OPEN_HOLDS, Unit::Count, "Open holds in the book");
    describe_counter!(REST_REQUESTS, Unit::Count, "REST requests, by route and status");
    describe_histogram!(REST_SECONDS, Unit::Seconds, "Time of a REST request, by route");
}

/// `auth_link_connections{link}`.
pub fn link_connections(link: &str) -> Gauge {
    gauge!(LINK_CONNECTIONS, "link" => link.to_owned())
}

/// Counts one `auth_link_connects_total{link,result}`: `connected`, `failed`, `lost`.
pub fn link_connect(link: &str, result: &'static str) {
    counter!(LINK_CONNECTS, "link" => link.to_owned(), "result" => result).increment(1);
}

/// Counts one `auth_link_certificates_total{link,result}`: `taken`, `refused`.
pub fn link_certificates(link: &str, result: &'static str) {
    counter!(LINK_CERTIFICATES, "link" => link.to_owned(), "result" => result).increment(1);
}

/// Counts one `auth_link_requests_total{link,kind,result}`.
pub fn link_request(link: &str, kind: &'static str, result: &'static str) {
    counter!(LINK_REQUESTS, "link" => link.to_owned(), "kind" => kind, "result" => result).increment(1);
}

/// Counts one `auth_frames_rejected_total{link,reason}`; for the rare path, it looks the handle up.
pub fn frame_rejected(link: &str, reason: &'static str) {
    counter!(FRAMES_REJECTED, "link" => link.to_owned(), "reason" => reason).increment(1);
}

/// Counts one `auth_replies_undelivered_total{reason}`.
pub fn reply_undelivered(reason: &'static str) {
    counter!(REPLIES_UNDELIVERED, "reason" => reason).increment(1);
}

/// `partner_decisions_total{partner,result}`; `result` is `approve`, `decline`, `timeout`,
/// `unreachable`, `bad_response` or `late`.
pub fn partner_decisions(partner: &str, result: &'static str) -> Counter {
    counter!(PARTNER_DECISIONS, "partner" => partner.to_owned(), "result" => result)
}

/// `partner_decision_seconds{partner}`.
pub fn partner_seconds(partner: &str) -> Histogram {
    histogram!(PARTNER_SECONDS, "partner" => partner.to_owned())
}

/// Counts one `clock_steps_total`.
pub fn clock_step() {
    counter!(CLOCK_STEPS).increment(1);
}

/// Counts one `journal_segment_stalls_total`.
pub fn journal_segment_stall() {
    counter!(JOURNAL_SEGMENT_STALLS).increment(1);
}

/// Sets `journal_recovery_seconds`.
pub fn journal_recovery(took: std::time::Duration) {
    gauge!(JOURNAL_RECOVERY_SECONDS).set(took.as_secs_f64());
}

/// Tells of a snapshot: `journal_snapshot_seconds`, `journal_snapshot_sequence`.
pub fn snapshot_made(took: std::time::Duration, last_seq: u64) {
    gauge!(JOURNAL_SNAPSHOT_SECONDS).set(took.as_secs_f64());
    #[allow(clippy::cast_precision_loss)] // gauges are floats, for watching
    gauge!(JOURNAL_SNAPSHOT_SEQUENCE).set(last_seq as f64);
}

/// Counts one `journal_snapshot_failures_total`.
pub fn snapshot_failed() {
    counter!(JOURNAL_SNAPSHOT_FAILURES).increment(1);
}

/// Counts one `journal_segments_archived_total`.
pub fn segment_archived() {
    counter!(JOURNAL_SEGMENTS_ARCHIVED).increment(1);
}

/// Sets `journal_checkpoint_sequence`.
pub fn checkpoint_signed(size: u64) {
    #[allow(clippy::cast_precision_loss)] // gauges are floats, for watching
    gauge!(JOURNAL_CHECKPOINT_SEQUENCE).set(size as f64);
}

/// Counts one `journal_checkpoint_failures_total`.
pub fn checkpoint_failed() {
    counter!(JOURNAL_CHECKPOINT_FAILURES).increment(1);
}

/// `view_lag_events`.
pub fn view_lag() -> Gauge {
    gauge!(VIEW_LAG_EVENTS)
}

/// `pool_available{pool,currency}`, `pool_held{pool,currency}` and `pool_below_minimum{pool}` of one pool.
pub fn pool(pool: &str, currency: &'static str) -> (Gauge, Gauge, Gauge) {
    (
        gauge!(POOL_AVAILABLE, "pool" => pool.to_owned(), "currency" => currency),
        gauge!(POOL_HELD, "pool" => pool.to_owned(), "currency" => currency),
        gauge!(POOL_BELOW_MINIMUM, "pool" => pool.to_owned()),
    )
}

/// Counts a REST request: `rest_requests_total{route,status}`, `rest_request_seconds{route}`. `route` is the
/// pattern (`/v1/cards/{id}`), never the path.
pub fn rest_request(route: &str, status: u16, took: std::time::Duration) {
    counter!(REST_REQUESTS, "route" => route.to_owned(), "status" => status.to_string()).increment(1);
    histogram!(REST_SECONDS, "route" => route.to_owned()).record(took.as_secs_f64());
}
