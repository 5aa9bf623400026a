//! `auth-engine decode`: messages in, explanations out, masked. It must never show a card number unless `--clear` asks
//! for it, and never hold a rule about messages: `iso-codec` has them.

use super::spec::load_spec;
use super::{EXIT_NO, Failure, Outcome};
use crate::capture::lines::{self, Line, NotLines};
use crate::capture::{Rest, cut, dump, packets, streams};
use bytes::Bytes;
use iso_codec::{DecodeError, DescribeOptions, Described, Framing, Message, Spec, Width, describe};
use serde::Serialize;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `auth-engine decode`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine decode message.hex\n  echo F0F8F0F082200000000000000400000000000000F0F1F3F1F1F2F0F0F0F0F0F0F0F0F0F1F2F7F0 | auth-engine decode --json\n  auth-engine decode --format raw --framing len2be --spec iso1987-ascii capture.bin\n  auth-engine decode --format pcap --port 8583 link.pcap\n\nHex: a message a line (or one message over several), blanks and lines that begin with # are skipped.\nExit code 1 when a message does not decode; what could be read of it is shown."
)]
pub struct Args {
    #[command(flatten)]
    spec: SpecArg,
    /// How the input is written
    #[arg(long, value_enum, default_value_t = Format::Hex)]
    format: Format,
    #[command(flatten)]
    framing: FramingArgs,
    /// JSON for machines, one object a line
    #[arg(long)]
    json: bool,
    /// Show card numbers, tracks, PINs and codes as they are; warns
    #[arg(long)]
    clear: bool,
    /// Of a capture: only what goes to or comes from this TCP port
    #[arg(long, value_name = "P")]
    port: Option<u16>,
    /// The input; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

/// How messages are written in a file or a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Hexadecimal text
    Hex,
    /// The bytes themselves
    Raw,
    /// A capture of packets, pcap or pcapng
    Pcap,
}

/// The flag that names the spec of the messages.
#[derive(Debug, clap::Args)]
pub(super) struct SpecArg {
    /// A built-in spec (see `spec list`) or a spec file
    #[arg(long, value_name = "NAME|FILE", default_value = "mastercard")]
    spec: String,
}

impl SpecArg {
    /// The spec asked for.
    ///
    /// # Errors
    /// Exit code 2: there is none, or it contradicts itself.
    pub(super) fn load(&self) -> Result<Arc<Spec>, Failure> {
        load_spec(&self.spec)
    }
}

/// The flags that say how messages are told apart.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FramingArgs {
    /// Messages carry a length: len2be, len2le, len4be or len4ascii; without it they carry none
    #[arg(long, value_name = "WIDTH", value_parser = parse_width)]
    framing: Option<Width>,
    /// The length counts its own bytes
    #[arg(long, requires = "framing")]
    inclusive: bool,
    /// Bytes between length and message
    #[arg(long, value_name = "N", requires = "framing", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=64))]
    header_bytes: u8,
}

fn parse_width(name: &str) -> Result<Width, String> {
    Width::parse(name).ok_or_else(|| "use len2be, len2le, len4be or len4ascii".to_owned())
}

impl FramingArgs {
    /// The framing asked for, if any.
    pub(super) fn framing(&self) -> Option<Framing> {
        self.framing.map(|width| Framing {
            width,
            inclusive: self.inclusive,
            header_bytes: usize::from(self.header_bytes),
        })
    }
}

/// The most that is read from a file or a pipe.
const LARGEST_INPUT: u64 = 64 << 20;

/// Reads a whole file, or standard input for `-` or nothing.
///
/// # Errors
/// Exit code 2: not readable, or too large.
pub(super) fn read_input(file: Option<&str>) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    let (name, read) = match file {
        None | Some("-") => ("standard input", std::io::stdin().lock().take(LARGEST_INPUT + 1).read_to_end(&mut bytes)),
        Some(path) => {
            (path, std::fs::File::open(path).and_then(|file| file.take(LARGEST_INPUT + 1).read_to_end(&mut bytes)))
        }
    };
    match read {
        Ok(size) if size as u64 > LARGEST_INPUT => {
            Err(Failure::usage(format!("{name}: more than 64 MiB; split the input")))
        }
        Ok(_) => Ok((name.to_owned(), bytes)),
        Err(error) => Err(Failure::usage(format!(
            "{name}: cannot be read ({error}); name a file, or `-` and pipe the message in"
        ))),
    }
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    let spec = args.spec.load()?;
    let (name, input) = read_input(args.file.as_deref())?;
    warn_of_clear(args.clear);
    if args.format == Format::Pcap {
        return capture(&spec, &name, &input, &args);
    }
    let frames = frames(&spec, &name, input, args.format, args.framing.framing())?;
    let options = DescribeOptions { clear: args.clear };
    let mut failed = 0usize;
    let count = frames.len();
    for (at, frame) in frames.into_iter().enumerate() {
        if !args.json && count > 1 {
            println!("{}message {} of {count}", if at > 0 { "\n" } else { "" }, at + 1);
        }
        let bytes = frame.clone();
        match iso_codec::decode(&spec, frame) {
            Ok(message) => print(&message, None, &options, args.json)?,
            Err(error) => {
                failed += 1;
                print_failed(&error, &options, args.json)?;
                if !args.json {
                    print!("{}", dump::around(&bytes, &error, args.clear));
                }
                let which = if count > 1 { format!(", message {}", at + 1) } else { String::new() };
                let line = Failure::no(format!("{name}{which}: {error}; check the bytes, --spec and --framing"));
                let _ = writeln!(std::io::stderr(), "error: {line}");
            }
        }
    }
    Ok(ExitCode::from(if failed > 0 { EXIT_NO } else { 0 }))
}

/// A description and why it is not the whole message.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    described: Option<&'a Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn print_failed(error: &DecodeError, options: &DescribeOptions, json: bool) -> Result<(), Failure> {
    match &error.partial {
        Some(partial) => print(partial, Some(error.to_string()), options, json),
        None if json => print_json(&Told { described: None, error: Some(error.to_string()) }),
        None => Ok(()),
    }
}

fn print(message: &Message, error: Option<String>, options: &DescribeOptions, json: bool) -> Result<(), Failure> {
    let described = describe(message, options);
    if json {
        return print_json(&Told { described: Some(&described), error });
    }
    println!("{}", described.to_text());
    Ok(())
}

fn print_json(told: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(told)
        .map_err(|error| Failure::no(format!("the description cannot be written as JSON ({error})")))?;
    println!("{line}");
    Ok(())
}

/// Says on stderr that card data is shown, when it is.
pub(super) fn warn_of_clear(clear: bool) {
    if clear {
        // Nothing can be done when stderr is gone; the values were asked for.
        let _ = writeln!(std::io::stderr(), "warning: --clear shows real card data; do not keep this output");
    }
}

/// Explains the messages of a capture, stream by stream. Framing is `len2be` unless it is given.
fn capture(spec: &Arc<Spec>, name: &str, input: &[u8], args: &Args) -> Outcome {
    let framing = args.framing.framing().unwrap_or_default();
    let found = packets::read(input).map_err(|error| Failure::no(format!("{name}: {error}")))?;
    let options = DescribeOptions { clear: args.clear };
    let (mut decoded, mut failed) = (0usize, 0usize);
    for run in streams::runs(&found, input) {
        if args.port.is_some_and(|port| run.from.port() != port && run.to.port() != port) {
            continue;
        }
        if run.lost > 0 && !args.json {
            println!("{} > {}: the capture lacks {} bytes here\n", run.from, run.to, run.lost);
        }
        let (places, rest) = cut(framing, &run.bytes);
        for place in places {
            let mark = run.mark(place.frame);
            let packet = mark.map_or(0, |mark| mark.packet);
            let at = mark.and_then(|mark| mark.time).map(|at| at.to_string());
            if !args.json {
                println!(
                    "{}packet {packet}  {} > {}",
                    at.as_ref().map_or(String::new(), |at| format!("{at}  ")),
                    run.from,
                    run.to
                );
            }
            let bytes = crate::capture::message(&run.bytes, place);
            let (message, error) = match iso_codec::decode(spec, bytes.clone()) {
                Ok(message) => (Some(message), None),
                Err(error) => (error.partial.as_deref().cloned(), Some(error)),
            };
            let described = message.as_ref().map(|message| describe(message, &options));
            let said = error.as_ref().map(ToString::to_string);
            if args.json {
                let (from, to) = (run.from.to_string(), run.to.to_string());
                let told = Told { described: described.as_ref(), error: said };
                print_json(&Captured { packet, at, from, to, told })?;
            } else {
                if let Some(described) = &described {
                    println!("{}", described.to_text());
                }
                if let Some(error) = &error {
                    print!("{}", dump::around(&bytes, error, args.clear));
                }
                println!();
            }
            match error {
                None => decoded += 1,
                Some(error) => {
                    failed += 1;
                    let line = Failure::no(format!("{name}, packet {packet}: {error}; check --spec and --framing"));
                    let _ = writeln!(std::io::stderr(), "error: {line}");
                }
            }
        }
        match rest {
            Rest::Nothing => {}
            Rest::Cut { at, lacks } => {
                let packet = run.mark(at).map_or(0, |mark| mark.packet);
                let _ = writeln!(
                    std::io::stderr(),
                    "note: the frame that begins in packet {packet} lacks {lacks} bytes: the capture ends, or --framing is another (`doctor` tells)"
                );
            }
            Rest::Lost { at, why } => {
                failed += 1;
                let packet = run.mark(at).map_or(0, |mark| mark.packet);
                let line =
                    Failure::no(format!("{name}, packet {packet}: {why}; check --framing and --port, or ask `doctor`"));
                let _ = writeln!(std::io::stderr(), "error: {line}");
            }
        }
    }
    if decoded + failed == 0 {
        return Err(Failure::no(format!(
            "{name}: no message in its {} packets; check --port and --framing",
            found.count
        )));
    }
    Ok(ExitCode::from(if failed > 0 { EXIT_NO } else { 0 }))
}

/// A message of a capture as JSON: which packet brought its first byte, and who sent it to whom.
#[derive(Serialize)]
struct Captured<'a> {
    packet: usize,
    at: Option<String>,
    from: String,
    to: String,
    #[serde(flatten)]
    told: Told<'a>,
}

/// Cuts the input into messages.
pub(super) fn frames(
    spec: &Arc<Spec>,
    name: &str,
    input: Vec<u8>,
    format: Format,
    framing: Option<Framing>,
) -> Result<Vec<Bytes>, Failure> {
    let mut pieces = match format {
        Format::Raw => vec![input],
        Format::Hex => hex_lines(name, &input)?.into_iter().map(|line| line.bytes).collect(),
        Format::Pcap => {
            let found = packets::read(&input).map_err(|error| Failure::no(format!("{name}: {error}")))?;
            let runs = streams::runs(&found, &input);
            let framing = framing.unwrap_or_default();
            let messages = |run: &streams::Run| {
                cut(framing, &run.bytes)
                    .0
                    .into_iter()
                    .map(|place| crate::capture::message(&run.bytes, place))
                    .collect::<Vec<_>>()
            };
            return Ok(runs.iter().flat_map(messages).collect());
        }
    };
    pieces.retain(|piece| !piece.is_empty());
    if pieces.is_empty() {
        return Err(Failure::no(format!("{name}: no message in it; give one message a line")));
    }
    if let Some(framing) = framing {
        return unframe(name, framing, &Bytes::from(pieces.concat()));
    }
    if pieces.len() > 1 {
        // A dump of one message, broken into lines, decodes as a whole; several messages leave bytes over.
        let whole = Bytes::from(pieces.concat());
        if iso_codec::decode(spec, whole.clone()).is_ok() {
            return Ok(vec![whole]);
        }
    }
    Ok(pieces.into_iter().map(Bytes::from).collect())
}

/// The lines of hexadecimal text; see [`lines`].
pub(super) fn hex_lines<'a>(name: &str, input: &'a [u8]) -> Result<Vec<Line<'a>>, Failure> {
    lines::read(input).map_err(|error| match error {
        NotLines::Digit { .. } => Failure::no(format!("{name}, {error}; use --format raw for bytes")),
        NotLines::Odd { .. } => Failure::no(format!("{name}, {error}")),
    })
}

fn unframe(name: &str, framing: Framing, stream: &Bytes) -> Result<Vec<Bytes>, Failure> {
    let (places, rest) = cut(framing, stream);
    match rest {
        Rest::Nothing => Ok(places.into_iter().map(|place| crate::capture::message(stream, place)).collect()),
        Rest::Cut { at, lacks } => Err(Failure::no(format!(
            "{name}: the frame at offset {at} lacks {lacks} bytes; check --framing or the end of the input"
        ))),
        Rest::Lost { at, why } => Err(Failure::no(format!("{name}: at offset {at} {why}; check --framing"))),
    }
}
