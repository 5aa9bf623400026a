//! What the engine tells about itself: log lines on stderr, metrics as Prometheus text.
//!
//! It must never write to stdout, and no PAN, key or secret may reach it.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::cli::Failure;

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
    let from_env = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
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
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => base.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => base
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    // The only failure is that a subscriber is already set, as in tests that start several engines.
    drop(started);
    Ok(())
}
