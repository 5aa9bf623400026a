//! What a server of ours says of itself by `GET /metrics`: how far the read model is behind, and the stages of a tap.
//! It owns the reading of those lines; what is not there is left out, and no stranger needs to have any of it.

use crate::measure::{histogram, micros};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the metrics may take, and how large they may be.
const PATIENCE: Duration = Duration::from_secs(2);
const BODY: u64 = 4 << 20;
/// The engine hands its counters over ten times a second.
const HANDED_OVER: Duration = Duration::from_millis(250);
/// Stages in the order in which a tap passes them.
const STAGES: [&str; 7] = ["decode", "queue", "decide", "partner", "journal", "reply", "total"];

/// A server's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    agent: ureq::Agent,
    url: String,
}

/// Taps by stage and by the upper bound of their bucket in nanoseconds, counted from below as the server does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stages(BTreeMap<String, BTreeMap<u64, u64>>);

impl Metrics {
    /// Of the sidecar at that address.
    pub(crate) fn new(addr: SocketAddr) -> Metrics {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build();
        Metrics { agent: config.into(), url: format!("http://{addr}/metrics") }
    }

    fn text(&self) -> Option<String> {
        let mut response = self.agent.get(&self.url).call().ok()?;
        response.body_mut().with_config().limit(BODY).read_to_string().ok()
    }

    /// Events that the read model is behind.
    pub(crate) fn view_lag(&self) -> Option<u64> {
        let text = self.text()?;
        let value = text.lines().find_map(|line| line.strip_prefix("view_lag_events "))?;
        Some(value.trim().parse::<f64>().ok()? as u64)
    }

    /// The stages so far.
    pub(crate) fn stages(&self) -> Option<Stages> {
        Some(Stages::read(&self.text()?))
    }

    /// Each stage's p50 and p99 in microseconds since `before`, once the last taps are counted.
    pub(crate) fn stages_since(&self, before: &Stages) -> Vec<(String, f64, f64)> {
        std::thread::sleep(HANDED_OVER);
        self.stages().map(|after| after.since(before)).unwrap_or_default()
    }
}

impl Stages {
    fn read(text: &str) -> Stages {
        let mut stages = Stages::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("auth_tap_seconds_bucket{")) {
            let Some((labels, count)) = line.split_once("} ") else { continue };
            let label = |name: &str| {
                let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
                Some(labels.find(|(label, _)| *label == name)?.1.trim_matches('"'))
            };
            let (Some(stage), Some(bound), Ok(count)) = (label("stage"), label("le"), count.trim().parse()) else {
                continue;
            };
            // The last bucket has no bound; what is in it is told as ten times the one before, by far too long.
            let bound = if bound == "+Inf" { 100.0 } else { bound.parse().unwrap_or(100.0) };
            let nanos = Duration::from_secs_f64(bound).as_nanos() as u64;
            stages.0.entry(stage.to_owned()).or_default().insert(nanos, count);
        }
        stages
    }

    /// Percentiles of what came between; each is the upper bound of the bucket that it falls into.
    fn since(&self, before: &Stages) -> Vec<(String, f64, f64)> {
        let named = STAGES.iter().filter_map(|stage| Some((*stage, self.0.get(*stage)?)));
        let figures = named.filter_map(|(stage, buckets)| {
            let mut all = histogram();
            let mut below = 0;
            for (bound, upto) in buckets {
                let earlier = before.0.get(stage).and_then(|buckets| buckets.get(bound)).copied().unwrap_or(0);
                let upto = upto.saturating_sub(earlier);
                all.saturating_record_n(*bound, upto.saturating_sub(below));
                below = upto;
            }
            (!all.is_empty()).then(|| (stage.to_owned(), micros(&all, 0.5), micros(&all, 0.99)))
        });
        figures.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_by_what_was_added_to_their_buckets() {
        let text = |counts: [u64; 4]| {
            let [a, b, c, d] = counts;
            format!(
                "# TYPE auth_tap_seconds histogram\nauth_tap_seconds_bucket{{stage=\"journal\",le=\"0.0001\"}} {a}\n\
                 auth_tap_seconds_bucket{{stage=\"journal\",le=\"0.0002\"}} {b}\n\
                 auth_tap_seconds_bucket{{stage=\"journal\",le=\"+Inf\"}} {c}\n\
                 auth_tap_seconds_bucket{{stage=\"decode\",le=\"0.0001\"}} {d}\nauth_tap_seconds_sum 1\n"
            )
        };
        let (before, after) = (Stages::read(&text([10, 20, 20, 5])), Stages::read(&text([70, 119, 120, 5])));
        let told = after.since(&before);
        assert_eq!(told.len(), 1, "nothing came to `decode`: {told:?}");
        let (stage, p50, p99) = &told[0];
        assert_eq!(stage, "journal");
        assert!((p50 - 100.0).abs() < 0.5 && (p99 - 200.0).abs() < 0.5, "{told:?}");
    }
}
