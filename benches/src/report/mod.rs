//! Results of earlier runs as one page or as tables. It owns how figures are shown, which are set apart and in what
//! order; it must never take a figure, correct one, or leave a bad one out.

mod figures;
mod html;
mod model;
mod page;
mod plots;
mod read;
mod targets;
mod text;

use crate::fault::Fault;
use model::Merged;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches report target/bench/results.json --html target/bench/report.html\n\n\
                        A file holds one result document, or several one after the other.")]
pub(crate) struct Args {
    /// Files with results, as the runs wrote them with --out
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Write one HTML page that needs nothing but itself
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print the merged results and the targets as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `report`. A missed target is told, not an error: the page was asked for, and here it is.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let merged = Merged::new(read::files(&args.files)?);
    if let Some(path) = &args.html {
        let page = html::render(&merged)?;
        fs::write(path, page).map_err(Fault::io(format!("writing {}", path.display())))?;
    }
    if args.json {
        println!("{}", merged.json());
    } else {
        print!("{}", text::render(&merged));
        if let Some(path) = &args.html {
            println!("\npage: {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
