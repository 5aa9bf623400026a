//! `auth-engine redact`: a capture made shareable. It must never write a byte of a message that it could not read.

use std::io::Write;
use std::process::ExitCode;

use bytes::Bytes;
use iso_codec::Framing;

use super::decode::{FramingArgs, SpecArg, hex_lines, read_input};
use super::{EXIT_NO, Failure, Outcome};
use crate::capture::packets;
use crate::capture::redact::{Redactor, Told};

/// Arguments of `auth-engine redact`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine redact --format pcap link.pcap -o share.pcap\n  auth-engine redact messages.hex > share.hex\n\nCard numbers become others with the same first and last digits and a right check digit, equal ones equal; tracks, PINs and\nverification codes are blanked, in sub-elements and chip data too. Lengths and all else stay. What does not decode is\nblanked whole and told; exit code 1 then."
)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArg,
    /// How the input is written; the output is written the same way
    #[arg(long, value_enum, default_value_t = super::decode::Format::Hex)]
    format: super::decode::Format,
    #[command(flatten)]
    framing: FramingArgs,
    /// Where the result goes; without it standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
    /// The input; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    let spec = args.spec.load()?;
    let (name, mut input) = read_input(args.file.as_deref())?;
    let redactor = Redactor::new().map_err(|error| Failure::no(format!("no random bytes for the key: {error}")))?;
    let framing = args.framing.framing();
    let mut told = Told::default();
    let out = match args.format {
        super::decode::Format::Pcap => {
            let found = packets::read(&input).map_err(|error| Failure::no(format!("{name}: {error}")))?;
            told = redactor.capture(&spec, framing.unwrap_or_default(), &mut input, &found);
            input
        }
        super::decode::Format::Raw => whole(&redactor, &spec, framing, input, &mut told),
        super::decode::Format::Hex => {
            let lines = hex_lines(&name, &input)?.into_iter().filter(|line| !line.bytes.is_empty());
            let mut text = String::new();
            for line in lines {
                if !line.mark.is_empty() {
                    text.push_str(line.mark);
                    text.push(' ');
                }
                let bytes = whole(&redactor, &spec, framing, line.bytes, &mut told);
                bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
                text.push('\n');
            }
            text.into_bytes()
        }
    };
    let written = match &args.output {
        Some(path) => {
            std::fs::write(path, &out).map_err(|error| format!("{}: cannot be written ({error})", path.display()))
        }
        None => std::io::stdout().lock().write_all(&out).map_err(|error| format!("standard output: {error}")),
    };
    written.map_err(Failure::usage)?;
    let _ = writeln!(std::io::stderr(), "{} messages made shareable, {} bytes blanked", told.messages, told.blanked);
    if told.messages == 0 || (told.blanked > 0 && args.format != super::decode::Format::Pcap) {
        let why = told.why.unwrap_or_else(|| "no message".to_owned());
        let hint = "was blanked; check --spec and --framing, or ask `doctor`";
        return Err(Failure { code: EXIT_NO, message: format!("{name}: what does not decode ({why}) {hint}") });
    }
    Ok(ExitCode::SUCCESS)
}

/// Messages behind each other with lengths, or one without.
fn whole(
    redactor: &Redactor,
    spec: &std::sync::Arc<iso_codec::Spec>,
    framing: Option<Framing>,
    input: Vec<u8>,
    told: &mut Told,
) -> Vec<u8> {
    let input = Bytes::from(input);
    if let Some(framing) = framing {
        return redactor.stream(spec, framing, &input, told);
    }
    match redactor.message(spec, &input) {
        Ok(bytes) => {
            told.messages += 1;
            bytes
        }
        Err(why) => {
            told.why.get_or_insert_with(|| why.to_string());
            told.blanked += input.len();
            vec![0; input.len()]
        }
    }
}
