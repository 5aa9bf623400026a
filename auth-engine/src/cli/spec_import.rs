//! `auth-engine spec import` and `spec export`: files in, a file and a loss report out. What a foreign form means is
//! [`crate::spec_import`]'s to know.

use super::spec::read_spec_file;
use super::{EXIT_NO, Failure, Outcome};
use crate::spec_import::report::Loss;
use crate::spec_import::{self, Converted, Source, Target};
use iso_codec::Spec;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The largest foreign spec that is read.
const LARGEST: u64 = 8 * 1024 * 1024;

/// Where the result and the report go.
#[derive(Debug, clap::Args)]
struct Outputs {
    /// Write the result into this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the loss report into this file instead of stderr
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Exit 0 although something was lost
    #[arg(long)]
    allow_loss: bool,
}

/// Arguments of `spec import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine spec import packager.xml > own.toml\n  auth-engine spec import spec.json --from moov --name acquirer -o own.toml --report lost.txt --allow-loss\n\nEach line of the report: the line in FILE, the element, what cannot be carried, what was put instead."
)]
pub struct ImportArgs {
    /// The foreign spec; - for stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// Its form; without it, XML is taken for jPOS, JSON for moov, anything else for iso8583_rs
    #[arg(long, value_enum, value_name = "FORM")]
    from: Option<Source>,
    /// The spec's name: lower-case letters, digits and hyphens; else made of the foreign one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Arguments of `spec export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine spec export iso1987-ascii --to jpos > packager.xml\n  auth-engine spec export own.toml --to moov -o spec.json --allow-loss"
)]
pub struct ExportArgs {
    /// A built-in name or a file
    #[arg(value_name = "NAME|FILE")]
    spec: String,
    /// The form to write
    #[arg(long, value_enum, value_name = "FORM")]
    to: Target,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `spec import`.
///
/// # Errors
/// Exit code 2: the file does not read; 1: what came out is no spec that this engine can use.
pub fn import(args: &ImportArgs) -> Outcome {
    if let Some(name) = &args.name
        && (name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
    {
        return Err(Failure::usage(format!("--name {name:?}: lower-case letters, digits and hyphens")));
    }
    let text = read_foreign(&args.file)?;
    let source = args.from.unwrap_or_else(|| spec_import::guess(&text));
    let converted = spec_import::import(&text, source, args.name.as_deref())
        .map_err(|error| Failure::usage(format!("{}: {error}", args.file)))?;
    // What is handed out must be usable; when it is not, the reason names the element of the new file.
    let usable = Spec::from_toml(&converted.text);
    let code = write(&converted, &args.outputs)?;
    usable.map_err(|error| Failure::no(format!("the imported spec cannot be used as it is: {error}; edit it")))?;
    Ok(code)
}

/// Runs `spec export`.
///
/// # Errors
/// Exit code 2: the spec does not read or contradicts itself.
pub fn export(args: &ExportArgs) -> Outcome {
    let text = match Spec::embedded_text(&args.spec) {
        Some(text) => text.to_owned(),
        None => read_spec_file(&args.spec)?,
    };
    let converted =
        spec_import::export(&text, args.to).map_err(|error| Failure::usage(format!("spec {}: {error}", args.spec)))?;
    write(&converted, &args.outputs)
}

fn read_foreign(file: &str) -> Result<String, Failure> {
    let refuse = |error: std::io::Error| Failure::usage(format!("{file}: {error}"));
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().take(LARGEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(refuse)?.take(LARGEST + 1).read_to_string(&mut text)
    };
    let read = read.map_err(refuse)?;
    if read as u64 > LARGEST {
        return Err(Failure::usage(format!("{file}: larger than {LARGEST} bytes; no spec is")));
    }
    Ok(text)
}

fn write(converted: &Converted, outputs: &Outputs) -> Outcome {
    let failed = |path: &PathBuf, error| Failure::usage(format!("{}: {error}", path.display()));
    match &outputs.output {
        Some(path) => std::fs::write(path, &converted.text).map_err(|error| failed(path, error))?,
        None => print!("{}", converted.text),
    }
    let report: String = converted.losses.iter().map(|loss: &Loss| format!("{loss}\n")).collect();
    match &outputs.report {
        Some(path) => std::fs::write(path, report).map_err(|error| failed(path, error))?,
        None => {
            // Nothing can be done when stderr is gone; the exit code still tells.
            let _ = std::io::stderr().write_all(report.as_bytes());
        }
    }
    let lost = !converted.losses.is_empty() && !outputs.allow_loss;
    Ok(if lost { ExitCode::from(EXIT_NO) } else { ExitCode::SUCCESS })
}
