//! What the engine tells about itself: log lines on stderr, metrics as Prometheus text.
//!
//! It must never write to stdout, and no PAN, key or secret may reach it.

pub mod names;
mod shard;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::cli::Failure;
pub use shard::{FundingLabel, OutcomeLabel, ShardMetrics, Stage};

/// How often histogram samples are folded into buckets, so that they do not pile up when nobody reads.
const UPKEEP: Duration = Duration::from_secs(1);

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// How a log line on stderr is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event, for people.
    Text,
    /// One JSON object an event, for machines.
    Json,
}

/// Starts logging to stderr. `filter` is a level or a `tracing` filter; without it `RUST_LOG`, else `info`.
/// A second call in one process changes nothing.
///
/// # Errors
/// Exit code 2 with the offending text when the filter cannot be understood.
pub fn init_logs(format: LogFormat, filter: Option<&str>) -> Result<(), Failure> {
    let from_env = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let (text, origin) = match (filter, from_env.as_deref()) {
        (Some(text), _) => (text, "--log"),
        (None, Some(text)) => (text, "RUST_LOG"),
        (None, None) => ("info", "default"),
    };
    let filter = EnvFilter::try_new(text).map_err(|error| {
        Failure::usage(format!(
            "{origin} {text:?} is no log filter ({error}); give a level (error, warn, info, debug, trace) or target=level pairs"
        ))
    })?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => base.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => base.json().flatten_event(true).with_current_span(false).try_init(),
    };
    // The only failure is that a subscriber is already set, as in tests that start several engines.
    drop(started);
    Ok(())
}

/// Makes the Prometheus recorder the one behind the `metrics` facade and describes every metric. There is no
/// listener: the sidecar serves [`render`]. Later calls change nothing. Call it before any handle is made.
pub fn init_metrics() {
    RECORDER.get_or_init(|| {
        let seconds = [names::TAP_SECONDS, names::PARTNER_SECONDS, names::JOURNAL_SYNC_SECONDS, names::REST_SECONDS];
        let recorder = seconds
            .into_iter()
            .map(|name| (name, names::SECONDS))
            .chain([(names::JOURNAL_BATCH_EVENTS, names::EVENTS)])
            .try_fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
                builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            })
            .map(PrometheusBuilder::build_recorder);
        let recorder = match recorder {
            Ok(recorder) => recorder,
            Err(error) => {
                tracing::error!("no metrics: {error}");
                return None;
            }
        };
        let handle = recorder.handle();
        // Fails only when another recorder was set by a program that embeds the engine; that one is used then.
        metrics::set_global_recorder(recorder).ok()?;
        names::describe();
        let upkeep = handle.clone();
        let thread = std::thread::Builder::new().name("metrics-upkeep".to_owned()).spawn(move || {
            crate::priority::idle_anywhere();
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        if let Err(error) = thread {
            tracing::warn!("histograms are folded only when /metrics is read: {error}");
        }
        Some(handle)
    });
}

/// All metrics as Prometheus text; empty before [`init_metrics`].
#[must_use]
pub fn render() -> String {
    RECORDER.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shard_counts_is_rendered() {
        init_metrics();
        let mut shard = ShardMetrics::start(&["telemetry-test".to_owned()]).expect("a thread");
        shard.requests(0, 100, 2);
        shard.requests(0, 999, 1);
        shard.requests(7, 100, 1);
        shard.decisions(OutcomeLabel::Declined, "telemetry_test", FundingLabel::Pool, 1);
        shard.frame_rejected(0, "undecodable");
        shard.shed("telemetry_test");
        shard.stage(Stage::Total, 180_000);
        shard.journal_batch(Duration::from_micros(120), 3, 4096);
        shard.in_flight(0, 5);
        let wanted = [
            r#"auth_requests_total{link="telemetry-test",mti="0100"} 2"#,
            r#"auth_requests_total{link="telemetry-test",mti="other"} 1"#,
            r#"auth_decisions_total{outcome="declined",reason="telemetry_test",funding="pool"} 1"#,
            r#"auth_frames_rejected_total{link="telemetry-test",reason="undecodable"} 1"#,
            r#"auth_shed_total{reason="telemetry_test"} 1"#,
            r#"auth_tap_seconds_bucket{stage="total",le="0.00015"} 0"#,
            r#"auth_tap_seconds_bucket{stage="total",le="0.0002"} 1"#,
            r#"journal_batch_events_bucket{le="4"} 1"#,
            r#"auth_link_in_flight{link="telemetry-test"} 5"#,
            "# TYPE auth_late_replies_suppressed_total counter",
        ];
        let until = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            shard.flush();
            let text = render();
            let missing: Vec<_> = wanted.iter().filter(|line| !text.contains(**line)).collect();
            if missing.is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < until, "{missing:?} not in\n{text}");
            std::thread::yield_now();
        }
    }
}
