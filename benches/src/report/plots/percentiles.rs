//! Percentile curves: how slow the slow ones are. It owns the axis of nines; it must never draw beyond what a run had
//! samples for.

use super::{Area, Axis, Drawn, FINE, MUTED, Size, Svg, chart, color, dashes, line, points, sheet};
use crate::fault::Fault;
use crate::result::RunResult;

/// The quantiles that have a tick, as they are called.
const NINES: [(f64, &str); 6] =
    [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"), (0.999_99, "99.999 %")];

/// Where a quantile lies: each further nine is as wide as the one before.
fn place(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The deepest quantile that so many samples can tell: of the last ten nothing is said.
fn deepest(samples: u64) -> f64 {
    1.0 - 10.0 / samples.max(20) as f64
}

/// A curve as it is drawn: up to the deepest quantile, from the first.
fn drawn(curve: &[(f64, f64)], samples: u64) -> Vec<(f64, f64)> {
    let told = |(quantile, us): &&(f64, f64)| (0.0..=deepest(samples)).contains(quantile) && *us > 0.0;
    curve.iter().filter(told).map(|(quantile, us)| (place(*quantile), us.log10())).collect()
}

/// The floor of a result: its curve when it was kept, else the two percentiles that every result has.
fn floor(result: &RunResult) -> (Vec<(f64, f64)>, bool) {
    if !result.floor_curve.is_empty() {
        return (drawn(&result.floor_curve, result.answered), true);
    }
    let two = [(0.5, result.floor_p50_us), (0.99, result.floor_p99_us)];
    (drawn(&two, u64::MAX), false)
}

/// The curves of results, in the order of their colours, and the floors of the same runs.
pub(in crate::report) fn percentiles(results: &[&RunResult], size: Size) -> Result<Svg, Fault> {
    let curves: Vec<_> = results.iter().map(|result| drawn(&result.curve, result.answered)).collect();
    let floors: Vec<_> = results.iter().map(|result| floor(result)).filter(|(floor, _)| !floor.is_empty()).collect();
    let all = || curves.iter().chain(floors.iter().map(|(floor, _)| floor)).flatten();
    let end = all().map(|(x, _)| *x).fold(place(0.9), f64::max);
    let x = Axis {
        from: 0.0,
        // Room for the last point.
        to: end + 0.05,
        ticks: NINES
            .iter()
            .map(|(q, name)| (place(*q), (*name).to_owned()))
            .filter(|(at, _)| *at <= end + 0.05)
            .collect(),
    };
    let y = Axis::log(all().map(|(_, y)| 10f64.powf(*y)));
    let draw = |area: &Area<'_>| -> Drawn {
        let mut chart = chart(area, &x, &y, "share of replies that were at least this fast", "latency, µs (log)")?;
        for (floor, whole) in &floors {
            if *whole {
                dashes(&mut chart, floor.clone(), MUTED, 3 * FINE / 2)?;
            } else {
                points(&mut chart, floor, MUTED, 4 * FINE, true)?;
            }
        }
        for (at, curve) in curves.iter().enumerate() {
            line(&mut chart, curve.clone(), color(at), 2 * FINE)?;
        }
        Ok(())
    };
    sheet(size, draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_beyond_what_the_samples_tell() {
        let curve = [(0.0, 90.0), (0.5, 100.0), (0.99, 200.0), (0.999, 300.0), (1.0, 900.0)];
        assert_eq!(drawn(&curve, 1_000).len(), 3);
        assert_eq!(drawn(&curve, 10_000).len(), 4);
        assert!(drawn(&curve, 10_000).iter().all(|(x, y)| x.is_finite() && y.is_finite()));
        assert!((place(0.99) - 2.0).abs() < 1e-9);
    }
}
