//! `auth-engine diff`: two messages compared by element, masked. It must never hold a rule about messages.

use std::process::ExitCode;

use super::decode::{Format, FramingArgs, SpecArg, frames, read_input};
use super::spec::load_spec;
use super::{EXIT_NO, Failure, Outcome};
use crate::capture::compare::{Difference, compare};

/// Arguments of `auth-engine diff`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine diff sent.hex received.hex\n  auth-engine diff --spec iso1987-ascii --spec-b mastercard a.hex b.hex\n\nCompares message by message, element by element, sub-elements by their ids. Exit code 0 when they are equal, 1 when not."
)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArg,
    /// The spec of the second file, when it is another
    #[arg(long, value_name = "NAME|FILE")]
    spec_b: Option<String>,
    /// How both files are written
    #[arg(long, value_enum, default_value_t = Format::Hex)]
    format: Format,
    #[command(flatten)]
    framing: FramingArgs,
    /// JSON for machines, one object a message
    #[arg(long)]
    json: bool,
    /// Show card numbers, tracks, PINs and codes as they are; warns
    #[arg(long)]
    clear: bool,
    /// The first file; `-` is standard input
    #[arg(value_name = "A")]
    a: String,
    /// The second file
    #[arg(value_name = "B")]
    b: String,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    if args.a == "-" && args.b == "-" {
        return Err(Failure::usage("both messages come from standard input; name a file for one"));
    }
    let spec = args.spec.load()?;
    let second = args.spec_b.as_deref().map_or_else(|| Ok(std::sync::Arc::clone(&spec)), load_spec)?;
    let messages = |spec, file: &str| -> Result<Vec<iso_codec::Message>, Failure> {
        let (name, input) = read_input(Some(file))?;
        let frames = frames(spec, &name, input, args.format, args.framing.framing())?;
        let decoded = frames.into_iter().enumerate().map(|(at, frame)| {
            iso_codec::decode(spec, frame)
                .map_err(|error| Failure::no(format!("{name}, message {}: {error}; see `decode`", at + 1)))
        });
        decoded.collect()
    };
    let (first, second) = (messages(&spec, &args.a)?, messages(&second, &args.b)?);
    super::decode::warn_of_clear(args.clear);
    let mut equal = first.len() == second.len();
    for (at, (a, b)) in first.iter().zip(&second).enumerate() {
        let found = compare(a, b, args.clear);
        equal &= found.is_empty();
        if args.json {
            println!("{}", serde_json::json!({"message": at + 1, "equal": found.is_empty(), "differences": found}));
        } else {
            if first.len() > 1 {
                println!("message {} of {}", at + 1, first.len());
            }
            tell(&found, &args);
        }
    }
    if first.len() != second.len() {
        let (a, b) = (first.len(), second.len());
        println!("{} has {a} messages, {} has {b}", args.a, args.b);
    }
    Ok(ExitCode::from(if equal { 0 } else { EXIT_NO }))
}

fn tell(found: &[Difference], args: &Args) {
    if found.is_empty() {
        println!("equal");
        return;
    }
    let mut table = crate::cli::table(&["", "element", args.a.as_str(), args.b.as_str()]);
    for Difference { place, name, a, b } in found {
        let side = |text: &Option<String>| text.as_deref().map_or_else(|| "absent".to_owned(), shown);
        let (left, right) = (side(a), side(b));
        // Masked alike and yet not equal.
        let right = if left == right { format!("{right} (another)") } else { right };
        table.add_row([place.clone(), name.clone(), left, right]);
    }
    println!("{table}");
    println!("{} places differ", found.len());
}

fn shown(text: &str) -> String {
    let shown: String = text.chars().map(|ch| if ch.is_control() { '·' } else { ch }).collect();
    if shown.trim() == shown && !shown.is_empty() { shown } else { format!("\"{shown}\"") }
}
