//! What the comparison says about the targets. It owns which figure is held against which; it must never pick the
//! peer's worse side: where several of its shapes are as fast, the one with the lowest p99 counts.

use super::servers::Peer;
use crate::result::{RunResult, Target};

/// Of the fastest rate of a peer; what comes this close counts as as fast.
const AS_FAST: f64 = 0.95;

/// The rows that carry the targets.
pub(super) fn against(results: &[RunResult]) -> Vec<RunResult> {
    let mut rows = Vec::new();
    if let Some(best) = best(results, Peer::Postgres) {
        let at_most = |row: &RunResult| row.p50_us <= best.p50_us && row.p99_us <= best.p99_us;
        let asked = "at least 60 x its throughput at equal or lower p50 and p99";
        rows.push(times(results, Peer::Postgres, best, 60.0, asked, at_most));
        rows.extend(one_in_flight(results));
    }
    if let Some(best) = best(results, Peer::Naive) {
        let at_most = |row: &RunResult| row.p99_us <= best.p99_us;
        rows.push(times(
            results,
            Peer::Naive,
            best,
            20.0,
            "at least 20 x its throughput at equal or lower p99",
            at_most,
        ));
    }
    rows
}

fn of(results: &[RunResult], peer: Peer) -> impl Iterator<Item = &RunResult> {
    let prefix = format!("{}, ", peer.name());
    results.iter().filter(move |row| row.void.is_none() && row.target.is_none() && row.name.starts_with(&prefix))
}

/// The peer's best closed loop.
fn best(results: &[RunResult], peer: Peer) -> Option<&RunResult> {
    let closed = || of(results, peer).filter(|row| row.shape == "closed");
    let fastest = closed().map(|row| row.rate_per_s).fold(0.0, f64::max);
    let as_fast = closed().filter(|row| row.rate_per_s >= AS_FAST * fastest);
    as_fast.min_by(|a, b| a.p99_us.total_cmp(&b.p99_us))
}

/// The engine's fastest row that `at_most` lets pass, as a multiple of the peer's best.
fn times(
    results: &[RunResult],
    peer: Peer,
    best: &RunResult,
    factor: f64,
    asked: &str,
    at_most: impl Fn(&RunResult) -> bool,
) -> RunResult {
    let good = |row: &&RunResult| row.errors == 0 && at_most(row);
    let engine = of(results, Peer::Engine).filter(good).max_by(|a, b| a.answered_per_s.total_cmp(&b.answered_per_s));
    let told = |row: &RunResult| {
        format!("{} ({:.0}/s, p50 {:.0}, p99 {:.0} µs)", row.name, row.answered_per_s, row.p50_us, row.p99_us)
    };
    let ratio = engine.map_or(0.0, |engine| engine.answered_per_s / best.answered_per_s);
    let got = match engine {
        Some(engine) => format!("{ratio:.1} x: {} over {}", told(engine), told(best)),
        None => format!("no shape of the engine is as quick as {}", told(best)),
    };
    let target = Target { asked: asked.to_owned(), got, met: ratio >= factor };
    row(engine.unwrap_or(best), &format!("engine over {}", peer.name()), target)
}

/// The engine's one in flight against the database's one client.
fn one_in_flight(results: &[RunResult]) -> Option<RunResult> {
    let one = |peer| of(results, peer).find(|row| row.name.ends_with("one in flight"));
    let (engine, other) = (one(Peer::Engine)?, one(Peer::Postgres)?);
    let got = format!(
        "p50 {:.0} against {:.0} µs, p99 {:.0} against {:.0} µs",
        engine.p50_us, other.p50_us, engine.p99_us, other.p99_us
    );
    let met = engine.p50_us < other.p50_us && engine.p99_us < other.p99_us;
    let asked = "lower p50 and p99 than one client's, one in flight".to_owned();
    Some(row(engine, "engine over PostgreSQL hot row, one in flight", Target { asked, got, met }))
}

/// A row with a target: the figures of the row it is about, without its curves.
fn row(about: &RunResult, name: &str, target: Target) -> RunResult {
    let (name, target) = (name.to_owned(), Some(target));
    RunResult { name, target, windows: Vec::new(), curve: Vec::new(), notes: Vec::new(), ..about.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(name: &str, rate: f64, p50: f64, p99: f64) -> RunResult {
        let (name, shape) = (name.to_owned(), "closed".to_owned());
        let (p50_us, p99_us) = (p50, p99);
        RunResult { name, shape, rate_per_s: rate, answered_per_s: rate, p50_us, p99_us, ..RunResult::default() }
    }

    #[test]
    fn the_peers_better_side_counts_and_only_what_is_as_quick_is_held_against_it() {
        let rows = [
            taken("naive, one in flight", 1000.0, 900.0, 1000.0),
            taken("naive, 64 connections", 1040.0, 60_000.0, 64_000.0),
            taken("engine, 16 in flight", 21_000.0, 500.0, 900.0),
            taken("engine, 512 in flight", 300_000.0, 1500.0, 2000.0),
        ];
        let verdicts = against(&rows);
        let target = verdicts.first().and_then(|row| row.target.clone()).expect("one about the naive server");
        assert!(target.met && target.got.starts_with("21.0 x: engine, 16 in flight"), "{target:?}");
        assert_eq!(verdicts.len(), 1);
    }
}
