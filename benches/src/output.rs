//! Where the results of a run go: text or JSON on the standard output, and a document in a file. It owns the flags
//! for that, the same for each command that flattens them; it must never change a figure.

use crate::facts;
use crate::fault::Fault;
use crate::result::{Results, RunResult};
use std::path::PathBuf;

/// Where the results go.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the results to a file as well, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

impl Output {
    /// Prints the document, by `text` unless JSON was asked for, and writes it to the file when one was named.
    pub(crate) fn emit(&self, document: Results, text: impl FnOnce(&Results)) -> Result<(), Fault> {
        if let Some(file) = &self.out {
            let fault = Fault::io(format!("writing {}", file.display()));
            let json = serde_json::to_vec_pretty(&document).map_err(std::io::Error::from);
            json.and_then(|json| std::fs::write(file, json)).map_err(fault)?;
        }
        if self.json {
            println!("{}", serde_json::json!(document));
        } else {
            text(&document);
        }
        Ok(())
    }
}

/// The results with what they were taken on.
pub(crate) fn document(results: Vec<RunResult>) -> Results {
    Results { results, ..facts::results(facts::command_line()) }
}
