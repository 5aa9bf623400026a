//! The report for a terminal. It owns the order of its tables; the figures in them are written by `figures`.

use super::figures::{columns, remarks};
use super::model::Merged;
use crate::measure::table;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Wide enough for a sentence in a cell, narrow enough to be read.
const WIDTH: u16 = 118;

/// The whole report.
pub(super) fn render(merged: &Merged) -> String {
    let mut out = String::new();
    let mut say = |line: &str| {
        out.push_str(line);
        out.push('\n');
    };
    for warning in merged.warnings() {
        say(&format!("warning: {warning}"));
    }
    for (name, values) in merged.machine() {
        say(&format!("{name}: {}", values.join("; also ")));
    }
    if !merged.commits().is_empty() {
        say(&format!("commit: {}", merged.commits().join(", ")));
    }
    for group in merged.groups() {
        let columns = columns(&group.results);
        if columns.is_empty() {
            say(&format!("\n{}", group.name));
        } else {
            let mut rows =
                table(&[&[group.name][..], &columns.iter().map(|column| column.name).collect::<Vec<_>>()].concat());
            for result in &group.results {
                let cells = columns.iter().map(|column| (column.cell)(result));
                rows.add_row([result.name.clone()].into_iter().chain(cells));
            }
            say(&format!("\n{rows}"));
        }
        for result in &group.results {
            for remark in remarks(result) {
                say(&format!("{}: {remark}", result.name));
            }
        }
    }
    let void = merged.void();
    if !void.is_empty() {
        let mut rows = words(&["void: not to be used", "why"]);
        for (result, why) in void {
            rows.add_row([result.name.as_str(), why]);
        }
        say(&format!("\n{rows}"));
    }
    say("");
    say(&targets(merged));
    let unmeasured = merged.unmeasured();
    if !unmeasured.is_empty() {
        say(&format!("not measured here: {}", unmeasured.join("; ")));
    }
    out
}

/// The table of targets, and how many were met.
fn targets(merged: &Merged) -> String {
    let lines = merged.targets();
    if lines.is_empty() {
        return "no result here has a target".to_owned();
    }
    let mut rows = words(&["target of", "asked", "got", "verdict"]);
    for line in &lines {
        rows.add_row([line.name, line.asked, line.got, line.verdict.word()]);
    }
    format!("{rows}\n{}", merged.verdict())
}

/// A table of sentences.
fn words(header: &[&str]) -> Table {
    let mut table = table(header);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    table
}
