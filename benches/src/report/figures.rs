//! Figures as they are written: one way for the page and the terminal. It must never write a figure that was not
//! taken: what is zero because it was not measured is a dash.

use crate::result::RunResult;

/// What stands where nothing was measured.
pub(super) const NONE: &str = "–";

/// A column of the tables of results.
pub(super) struct Column {
    /// Its heading, with the unit.
    pub(super) name: &'static str,
    /// Its cell of a result.
    pub(super) cell: fn(&RunResult) -> String,
}

/// Every column there is. Those that a group has nothing for are left out of its table.
const COLUMNS: [Column; 18] = [
    Column { name: "offered /s", cell: |result| count(result.rate_per_s) },
    Column { name: "good /s", cell: |result| count(result.answered_per_s) },
    Column { name: "sent", cell: |result| whole(result.sent) },
    Column { name: "answered", cell: |result| whole(result.answered) },
    Column { name: "errors", cell: |result| if result.sent == 0 { NONE.to_owned() } else { grouped(result.errors) } },
    Column { name: "p50 µs", cell: |result| micros(result.p50_us) },
    Column { name: "p90 µs", cell: |result| micros(result.p90_us) },
    Column { name: "p99 µs", cell: |result| micros(result.p99_us) },
    Column { name: "p99.9 µs", cell: |result| micros(result.p999_us) },
    Column { name: "max µs", cell: |result| micros(result.max_us) },
    Column { name: "W50 µs", cell: |result| micros(result.w50_us) },
    Column { name: "W99 µs", cell: |result| micros(result.w99_us) },
    Column { name: "floor p50 µs", cell: |result| micros(result.floor_p50_us) },
    Column { name: "floor p99 µs", cell: |result| micros(result.floor_p99_us) },
    Column { name: "p50 ÷ floor", cell: |result| ratio(result.ratio_p50) },
    Column { name: "p99 ÷ floor", cell: |result| ratio(result.ratio_p99) },
    Column { name: "send lag W99 µs", cell: |result| micros(result.lag_w99_us) },
    Column { name: "CPU µs/reply", cell: |result| micros(result.server_cpu_us.unwrap_or(0.0)) },
];

/// The columns that at least one of these results has something for.
pub(super) fn columns(results: &[&RunResult]) -> Vec<Column> {
    COLUMNS.into_iter().filter(|column| results.iter().any(|result| (column.cell)(result) != NONE)).collect()
}

/// Microseconds: a tenth where it can be seen, thousands apart.
pub(super) fn micros(us: f64) -> String {
    match us {
        us if !(us.is_finite() && us > 0.0) => NONE.to_owned(),
        us if us < 10.0 => format!("{us:.2}"),
        us if us < 1000.0 => format!("{us:.1}"),
        us => apart(&format!("{us:.0}")),
    }
}

/// A rate per second.
pub(super) fn count(per_s: f64) -> String {
    match per_s {
        rate if !(rate.is_finite() && rate > 0.0) => NONE.to_owned(),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => apart(&format!("{rate:.0}")),
    }
}

/// A tick of an axis, round by construction.
pub(super) fn tick(value: f64) -> String {
    if value.fract().abs() > 1e-9 && value < 100.0 {
        // Sums of tenths are not exact; what is left of the error is cut off.
        let digits = format!("{value:.4}");
        return digits.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    apart(&format!("{value:.0}"))
}

/// One figure over another.
pub(super) fn ratio(ratio: f64) -> String {
    if ratio.is_finite() && ratio > 0.0 { format!("{ratio:.2}") } else { NONE.to_owned() }
}

/// A count of which zero means that nothing was counted.
fn whole(count: u64) -> String {
    if count == 0 { NONE.to_owned() } else { grouped(count) }
}

/// A count.
pub(super) fn grouped(count: u64) -> String {
    apart(&count.to_string())
}

/// Digits in threes.
fn apart(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What a result has to tell beside its figures, a sentence each.
pub(super) fn remarks(result: &RunResult) -> Vec<String> {
    let mut said = Vec::new();
    if !result.counts.is_empty() {
        let counts: Vec<_> = result.counts.iter().map(|(what, count)| format!("{what} {}", grouped(*count))).collect();
        said.push(format!("counted: {}", counts.join(", ")));
    }
    if let Some((most, last)) = result.view_lag_events {
        said.push(format!("read model behind by {} events at most, {} at the end", grouped(most), grouped(last)));
    }
    said.extend(result.notes.iter().cloned());
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_the_eye_and_missing_ones_are_dashes() {
        assert_eq!(micros(2.345), "2.35");
        assert_eq!(micros(142.64), "142.6");
        assert_eq!(micros(1_318.9), "1,319");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(count(12.5), "12.5");
        assert_eq!(ratio(1.064), "1.06");
        for nothing in [0.0, f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!((micros(nothing), count(nothing), ratio(nothing)), (NONE.into(), NONE.into(), NONE.into()));
        }
    }

    #[test]
    fn a_table_has_the_columns_that_hold_something() {
        let names = |result: &RunResult| columns(&[result]).iter().map(|column| column.name).collect::<Vec<_>>();
        assert!(names(&RunResult::default()).is_empty());
        let sent = RunResult { sent: 3, p50_us: 1.0, ..RunResult::default() };
        assert_eq!(names(&sent), ["sent", "errors", "p50 µs"]);
    }
}
