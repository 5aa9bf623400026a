//! Results as they leave the program: a table for people, a line of JSON each for machines, a file for `report`. It
//! owns how they look; it must never show the figures of a void run as if they were good.

use crate::facts;
use crate::fault::Fault;
use crate::measure::{machine, table};
use crate::result::{Results, RunResult};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of every command that has results.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Output {
    /// Print one JSON object for each result
    #[arg(long)]
    pub(crate) json: bool,
    /// Append the results, with their curves and windows, to a file that `report` reads
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

impl Output {
    /// Prints and stores; 1 when a result is void.
    pub(crate) fn emit(&self, results: Vec<RunResult>) -> Result<ExitCode, Fault> {
        self.emit_as(results, |results| {
            println!("{}", machine());
            println!("{}", text(results));
        })
    }

    /// The same with a text of one's own for people.
    pub(crate) fn emit_as(
        &self,
        results: Vec<RunResult>,
        people: impl FnOnce(&[RunResult]),
    ) -> Result<ExitCode, Fault> {
        if self.json {
            results.iter().for_each(|result| println!("{}", line(result)));
        } else {
            people(&results);
        }
        let void: Vec<&RunResult> = results.iter().filter(|result| result.void.is_some()).collect();
        for result in &void {
            eprintln!("error: {}: VOID: {}", result.name, result.void.as_deref().unwrap_or_default());
        }
        let code = if void.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if let Some(path) = &self.out {
            let fault = || Fault::io(format!("writing {}", path.display()));
            let document = Results { results, ..facts::results(facts::command_line()) };
            let mut text = serde_json::to_vec(&document).map_err(|error| fault()(error.into()))?;
            text.push(b'\n');
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(&text)).map_err(fault())?;
        }
        Ok(code)
    }
}

/// One result without what only a picture needs.
fn line(result: &RunResult) -> serde_json::Value {
    let mut value = serde_json::to_value(result).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.remove("curve");
        members.remove("windows");
    }
    value
}

/// A table with a line for each result, and what must be read beside it.
pub(crate) fn text(results: &[RunResult]) -> String {
    let mut table = table(&[
        "µs",
        "rate/s",
        "sent",
        "answered",
        "errors",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "W50",
        "W99",
        "floor p50",
        "floor p99",
        "ratio p50",
        "ratio p99",
    ]);
    for result in results {
        let figures = [
            result.p50_us,
            result.p90_us,
            result.p99_us,
            result.p999_us,
            result.max_us,
            result.w50_us,
            result.w99_us,
            result.floor_p50_us,
            result.floor_p99_us,
        ];
        let ratios = [result.ratio_p50, result.ratio_p99];
        let void = result.void.is_some();
        let shown = |figure: &f64, places: usize| match () {
            () if void => "void".to_owned(),
            () if *figure == 0.0 => "-".to_owned(),
            () => format!("{figure:.places$}"),
        };
        let counts = [result.sent, result.answered, result.errors].map(|count| count.to_string());
        let cells = [result.name.clone(), format!("{:.0}", result.rate_per_s)].into_iter().chain(counts);
        let cells = cells.chain(figures.iter().map(|figure| shown(figure, 1)));
        table.add_row(cells.chain(ratios.iter().map(|ratio| shown(ratio, 2))));
    }
    let mut text = table.to_string();
    for result in results {
        let mut said = result.notes.clone();
        if result.lag_w99_us > 0.0 {
            said.push(format!("send lag {:.0} µs (median of the windows' p99)", result.lag_w99_us));
        }
        if let Some((most, last)) = result.view_lag_events {
            said.push(format!("the read model was {most} events behind at most, {last} at the end"));
        }
        if let Some(cpu) = result.server_cpu_us {
            said.push(format!("the server's thread used {cpu:.2} µs a reply"));
        }
        if !result.stages.is_empty() {
            let stages: Vec<String> =
                result.stages.iter().map(|(stage, p50, p99)| format!("{stage} {p50:.0}/{p99:.0}")).collect();
            said.push(format!("stages, p50/p99 at most, µs: {}", stages.join(", ")));
        }
        let counts: Vec<String> = result.counts.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        said.push(counts.join(", "));
        said.retain(|sentence| !sentence.is_empty());
        text.push_str(&format!("\n{}: {}", result.name, said.join("; ")));
    }
    text
}
