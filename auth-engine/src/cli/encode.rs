//! `auth-engine encode`: the JSON of `decode --clear --json` back to messages, byte-exact. It must never guess at a
//! masked value, and never open a file that the JSON names.

use super::decode::{Format, FramingArgs, read_input};
use super::spec::load_spec;
use super::{Failure, Outcome};
use iso_codec::{Framing, Spec, from_json};
use serde::de::IgnoredAny;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Arguments of `auth-engine encode`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine encode message.json\n  auth-engine decode --clear --json message.hex | auth-engine encode\n  echo '{\"mti\":\"0800\",\"fields\":{\"7\":{\"value\":\"0131120000\"},\"11\":{\"value\":\"1\"},\"70\":{\"value\":\"270\"}}}' | auth-engine encode\n\nAn element's `value` is used; its `raw` where `value` is null. Several JSON objects give several messages."
)]
pub struct Args {
    /// A built-in spec or a spec file; without it the one that the JSON names, else mastercard
    #[arg(long, value_name = "NAME|FILE")]
    spec: Option<String>,
    /// How the output is written: hexadecimal, one message a line, or the bytes themselves
    #[arg(long, value_enum, default_value_t = Format::Hex)]
    format: Format,
    #[command(flatten)]
    framing: FramingArgs,
    /// The input; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

/// Runs the command. Nothing is written unless every message of the input can be.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    let given = args.spec.as_deref().map(load_spec).transpose()?;
    let (name, input) = read_input(args.file.as_deref())?;
    let text = String::from_utf8(input)
        .map_err(|_| Failure::no(format!("{name}: not UTF-8, so no JSON; see `encode --help`")))?;
    let framing = args.framing.framing();
    let mut out = Vec::new();
    let mut objects = serde_json::Deserializer::from_str(&text).into_iter::<IgnoredAny>();
    let mut count = 0usize;
    loop {
        let from = objects.byte_offset();
        match objects.next() {
            Some(Ok(_)) => count += 1,
            Some(Err(error)) => return Err(Failure::no(format!("{name}: not JSON ({error})"))),
            None => break,
        }
        let object = text.get(from..objects.byte_offset()).unwrap_or_default();
        let wrong = |error: String| Failure::no(format!("{name}, message {count}: {error}"));
        let (spec_name, draft) =
            from_json(object, given.as_ref().map(|spec| spec.name())).map_err(|error| wrong(error.to_string()))?;
        let spec = match &given {
            Some(spec) => std::sync::Arc::clone(spec),
            // A name that comes with the data is never taken for a path.
            None => Spec::embedded(&spec_name).ok_or_else(|| {
                let known = Spec::embedded_names().join(", ");
                wrong(format!("its `spec` is none of the built-in ones ({known}); give the spec file by --spec"))
            })?,
        };
        let message = draft.encode(&spec).map_err(|error| wrong(error.to_string()))?;
        let mut bytes = prefix(framing, message.len()).map_err(wrong)?;
        bytes.extend_from_slice(&message);
        match args.format {
            Format::Pcap => return Err(Failure::usage("a capture cannot be written; use --format hex or raw")),
            Format::Raw => out.extend_from_slice(&bytes),
            Format::Hex => {
                let mut line = String::with_capacity(bytes.len() * 2 + 1);
                for byte in bytes {
                    // Writing into a string does not fail.
                    let _ = write!(line, "{byte:02X}");
                }
                line.push('\n');
                out.extend_from_slice(line.as_bytes());
            }
        }
    }
    if count == 0 {
        return Err(Failure::no(format!("{name}: no JSON object in it; see `encode --help`")));
    }
    match std::io::stdout().lock().write_all(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::no(format!("standard output: cannot be written ({error})")))
        }
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// The length and an empty header, where framing is asked for.
fn prefix(framing: Option<Framing>, len: usize) -> Result<Vec<u8>, String> {
    let Some(framing) = framing else { return Ok(Vec::new()) };
    let mut bytes = [0u8; 8];
    let size = framing.encode_prefix(len, &mut bytes).map_err(|error| error.to_string())?;
    let mut prefix = bytes.get(..size).unwrap_or_default().to_vec();
    prefix.resize(size + framing.header_bytes, 0);
    Ok(prefix)
}
