//! Where a tap's time went, by the engine's own `auth_tap_seconds`.
//!
//! The demo has one message in flight, so what a sum grew by between two readings is that message's share. The shard
//! hands its counters over a few times a second: a reading is taken again until it shows the message.

use std::time::{Duration, Instant};

use super::api::Api;
use crate::cli::Failure;
use crate::telemetry::names;

/// How long a reading is waited for; the shard hands over every 100 ms.
const PATIENCE: Duration = Duration::from_millis(400);
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// After this, what REST calls did has been handed over: the next reading is a clean start.
const SETTLED_AFTER: Duration = Duration::from_millis(250);

/// The stages the demo tells apart, as `auth_tap_seconds` calls them.
const STAGES: [&str; 5] = ["queue", "decide", "journal", "reply", "total"];

/// One reading: sums in microseconds and counts by stage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Reading {
    sums: [f64; STAGES.len()],
    counts: [f64; STAGES.len()],
}

/// Microseconds of one message by stage; none where the engine measures nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spent {
    /// Frame in to decided.
    pub(super) decide: Option<f64>,
    /// All its syncs.
    pub(super) journal: Option<f64>,
    /// Durable to written.
    pub(super) reply: Option<f64>,
}

/// The last stage a message goes through that the engine counts: once that has grown, the others have too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// A tap: `total` grows when the reply is out.
    Total,
    /// Something else that is journaled.
    Journal,
    /// Nothing is written.
    Decide,
}

/// Reads now.
pub(super) fn read(api: &mut Api) -> Result<Reading, Failure> {
    Ok(parse(&api.text("/metrics")?))
}

/// Reads once what REST wrote can no longer be taken for a tap's.
pub(super) fn settled(api: &mut Api) -> Result<Reading, Failure> {
    std::thread::sleep(SETTLED_AFTER);
    read(api)
}

/// Reads until the message shows. None when it does not: then nothing is told rather than something wrong.
pub(super) fn after(api: &mut Api, before: &Reading, shows: Shows) -> Result<Option<Reading>, Failure> {
    let begun = Instant::now();
    let stage = match shows {
        Shows::Total => 4,
        Shows::Journal => 2,
        Shows::Decide => 1,
    };
    loop {
        let now = read(api)?;
        if now.counts.get(stage) > before.counts.get(stage) {
            return Ok(Some(now));
        }
        if begun.elapsed() > PATIENCE {
            return Ok(None);
        }
        std::thread::sleep(AGAIN_AFTER);
    }
}

/// What one message took between two readings.
pub(super) fn between(before: &Reading, after: &Reading) -> Spent {
    let grown = |stage: usize| {
        let (was, is) = (before.counts.get(stage)?, after.counts.get(stage)?);
        (is > was).then(|| Some(after.sums.get(stage)? - before.sums.get(stage)?)).flatten()
    };
    let decide = match (grown(0), grown(1)) {
        (None, None) => None,
        (queue, decide) => Some(queue.unwrap_or(0.0) + decide.unwrap_or(0.0)),
    };
    Spent { decide, journal: grown(2), reply: grown(3) }
}

fn parse(text: &str) -> Reading {
    let mut reading = Reading::default();
    for line in text.lines().filter_map(|line| line.strip_prefix(names::TAP_SECONDS)) {
        let Some((kind, value)) = line.split_once(' ') else { continue };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        for (at, stage) in STAGES.iter().enumerate() {
            if !kind.contains(&format!("stage=\"{stage}\"")) {
                continue;
            }
            if let (true, Some(sum)) = (kind.starts_with("_sum{"), reading.sums.get_mut(at)) {
                *sum = value * 1e6;
            } else if let (true, Some(count)) = (kind.starts_with("_count{"), reading.counts.get_mut(at)) {
                *count = value;
            }
        }
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_messages_share_is_what_the_sums_grew_by() {
        let before = parse(
            "# TYPE auth_tap_seconds histogram\nauth_tap_seconds_sum{stage=\"journal\"} 0.001\nauth_tap_seconds_count{stage=\"journal\"} 4\n",
        );
        let after = parse(
            "auth_tap_seconds_bucket{stage=\"journal\",le=\"0.1\"} 6\nauth_tap_seconds_sum{stage=\"journal\"} 0.0015\nauth_tap_seconds_count{stage=\"journal\"} 6\nother 3\n",
        );
        let spent = between(&before, &after);
        assert_eq!(spent.journal.map(f64::round), Some(500.0));
        assert_eq!((spent.decide, spent.reply), (None, None));
    }
}
