//! `auth-engine doctor`: which framing and which spec are these bytes, ranked. It reads a sample or the first bytes of
//! a live connection and answers nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iso_codec::Spec;

use super::decode::read_input;
use super::spec::load_spec;
use super::{EXIT_NO, Failure, Outcome};
use crate::capture::guess::{Guess, rank};
use crate::capture::{lines, packets, streams};

/// Most bytes that are taken from a live connection.
const ENOUGH: usize = 64 * 1024;

/// Arguments of `auth-engine doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine doctor --sample first-bytes.bin\n  auth-engine doctor --sample link.pcap --port 8583\n  auth-engine doctor --port 8583     waits for the network to connect and looks at what it sends\n\nA sample is a pcap, the bytes themselves, or hexadecimal text; with it, --port keeps one port of a capture.\nExit code 0 when some way reads every message, 1 when none does."
)]
#[command(group(clap::ArgGroup::new("source").required(true).multiple(true).args(["sample", "port"])))]
pub struct Args {
    /// A file with the first bytes of a connection; `-` is standard input
    #[arg(long, value_name = "FILE")]
    sample: Option<String>,
    /// A TCP port: listened on when there is no sample
    #[arg(long, value_name = "P")]
    port: Option<u16>,
    /// How long a live connection is waited for, and then looked at
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// Spec files that are tried beside the built-in ones
    #[arg(long, value_name = "FILE")]
    spec: Vec<String>,
    /// Ways that are shown
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let mut specs: Vec<Arc<Spec>> = Spec::embedded_names().iter().filter_map(|name| Spec::embedded(name)).collect();
    for file in &args.spec {
        specs.push(load_spec(file)?);
    }
    let (name, streams) = match (&args.sample, args.port) {
        (Some(file), port) => sample(file, port)?,
        (None, Some(port)) => (format!("port {port}"), live(port, Duration::from_secs(args.wait))?),
        (None, None) => return Err(Failure::usage("nothing to look at; give --sample FILE or --port P")),
    };
    if streams.iter().all(Bytes::is_empty) {
        return Err(Failure::no(format!("{name}: no bytes of a link in it")));
    }
    let guesses = rank(&streams, &specs);
    let best = guesses.first().filter(|guess| guess.is_whole());
    if args.json {
        let shown: Vec<&Guess> = guesses.iter().take(args.top).collect();
        println!("{}", serde_json::json!({"source": name, "guesses": shown, "found": best.is_some()}));
    } else {
        tell(&name, &guesses, args.top);
    }
    match best {
        Some(_) => Ok(ExitCode::SUCCESS),
        None if args.json => Ok(ExitCode::from(EXIT_NO)),
        None => Err(Failure::no(format!(
            "{name}: no built-in framing and spec reads it all; TLS, a header of another length, or a spec of your own (--spec)?"
        ))),
    }
}

fn tell(name: &str, guesses: &[Guess], top: usize) {
    let mut table =
        super::table(&["", "framing", "header", "spec", "messages", "explained", "first that does not decode"]);
    for (place, guess) in guesses.iter().take(top).enumerate() {
        let framing = guess.framing.unwrap_or("none");
        let header = match (guess.header_bytes, guess.tpdu) {
            (0, _) => "-".to_owned(),
            (bytes, true) => format!("{bytes} (TPDU)"),
            (bytes, false) => bytes.to_string(),
        };
        table.add_row([
            (place + 1).to_string(),
            format!("{framing}{}", if guess.inclusive { ", inclusive" } else { "" }),
            header,
            guess.spec.clone(),
            format!("{} of {}", guess.decoded, guess.frames),
            format!("{:.0} %", guess.explained * 100.0),
            guess.first_error.clone().unwrap_or_default(),
        ]);
    }
    println!("{name}");
    println!("{table}");
    if let Some(guess) = guesses.first().filter(|guess| guess.is_whole()) {
        println!("decode it:    auth-engine decode {}", guess.flags());
        println!("in [[link]]:  {}", guess.link());
    }
}

/// The streams of a file: those of a capture, or one.
fn sample(file: &str, port: Option<u16>) -> Result<(String, Vec<Bytes>), Failure> {
    let (name, input) = read_input(Some(file))?;
    if packets::is_capture(&input) {
        let found = packets::read(&input).map_err(|error| Failure::no(format!("{name}: {error}")))?;
        let runs = streams::runs(&found, &input).into_iter();
        let of_port = runs.filter(|run| port.is_none_or(|port| run.from.port() == port || run.to.port() == port));
        return Ok((name, of_port.map(|run| run.bytes).collect()));
    }
    if let Ok(lines) = lines::read(&input) {
        let bytes = lines.into_iter().map(|line| line.bytes).filter(|bytes| !bytes.is_empty());
        return Ok((name, bytes.map(Bytes::from).collect()));
    }
    Ok((name, vec![Bytes::from(input)]))
}

/// What the first connection to a port sends.
fn live(port: u16, wait: Duration) -> Result<Vec<Bytes>, Failure> {
    let place = format!("port {port}");
    let failed = |error: std::io::Error| Failure::usage(format!("{place}: {error}; stop what uses it or name another"));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let _ = writeln!(std::io::stderr(), "waiting for a connection to {address}; nothing is answered");
    let until = Instant::now() + wait;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let stream = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        match tokio::time::timeout_at(until.into(), listener.accept()).await {
            Ok(accepted) => accepted.map(|(stream, peer)| Some((stream, peer))),
            Err(_) => Ok(None),
        }
    });
    let Some((stream, peer)) = stream.map_err(failed)? else {
        return Err(Failure::no(format!("{place}: nobody connected within {} s", wait.as_secs())));
    };
    let mut stream = stream.into_std().map_err(failed)?;
    stream.set_nonblocking(false).map_err(failed)?;
    let _ = writeln!(std::io::stderr(), "{peer} connected; reading what it sends");
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < ENOUGH {
        // The peer waits for an answer that does not come: a second of silence behind the first bytes is its end.
        let left = until.saturating_duration_since(Instant::now());
        let patience = if bytes.is_empty() { left } else { left.min(Duration::from_secs(1)) };
        if patience.is_zero() || stream.set_read_timeout(Some(patience)).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(vec![Bytes::from(bytes)])
}
