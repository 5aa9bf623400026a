//! The command line: what can be typed, which file runs it, and what a failure looks like.
//!
//! Each subcommand lives in `cli/<name>.rs` as `Args` and `run`. This file must never do a command's work; it
//! owns the one place where an error becomes a line on stderr and an exit code.

pub mod config;
pub mod cut;
mod decisions;
pub mod decode;
pub mod demo;
pub mod diff;
mod dissector;
pub mod doctor;
pub mod encode;
mod events;
pub mod explain;
pub mod export;
pub mod inspect;
pub mod journal;
pub mod keys;
pub mod late;
pub mod prove;
pub mod redact;
pub mod replay;
pub mod serve;
pub mod simulate;
pub mod simulate_engine;
pub mod simulate_network;
pub mod spec;
pub mod spec_import;
mod stopped;
mod story;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::{self, LogFormat};

/// Exit code 1: the command ran and the answer is no (a check failed, an expectation was not met).
pub const EXIT_NO: u8 = 1;
/// Exit code 2: usage, configuration, or an address in use.
pub const EXIT_USAGE: u8 = 2;
/// Exit code 3: the data directory is refused, or a journal write failed while running.
pub const EXIT_DATA: u8 = 3;

/// What a command hands back: the exit code it asks for, or a failure to be told in one line.
pub type Outcome = Result<ExitCode, Failure>;

/// Why a command could not do what was asked: an exit code and one line that says what, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The process exit code, one of [`EXIT_NO`], [`EXIT_USAGE`], [`EXIT_DATA`].
    pub code: u8,
    /// What went wrong, where, and what to do; told as one line.
    pub message: String,
}

impl Failure {
    /// A failure with one of the three exit codes. The message must not hold a secret or a PAN.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Exit code 1: it ran and the answer is no.
    pub fn no(message: impl Into<String>) -> Self {
        Self::new(EXIT_NO, message)
    }

    /// Exit code 2: usage, configuration, address in use.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(EXIT_USAGE, message)
    }

    /// Exit code 3: the data directory or the journal.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(EXIT_DATA, message)
    }
}

impl fmt::Display for Failure {
    /// One line whatever the message holds: line breaks become `; `, other control characters spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.message.lines().map(str::trim).filter(|line| !line.is_empty());
        for (at, line) in lines.enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            for c in line.chars() {
                fmt::Write::write_char(f, if c.is_control() { ' ' } else { c })?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// A low-latency card authorization engine: ISO 8583 in, decisions out, a REST sidecar beside it.
#[derive(Debug, Parser)]
#[command(
    name = "auth-engine",
    version,
    propagate_version = true,
    after_help = "Example:\n  auth-engine demo            the whole story on this machine, with no setup\n  auth-engine serve           one link on 127.0.0.1:8583, REST on 127.0.0.1:8080, data in ./data\n\nExit codes: 0 as asked; 1 the answer is no; 2 usage, configuration, address in use; 3 data directory or journal."
)]
struct Root {
    /// How log lines on stderr are written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as `info,auth_engine::switch=debug`; without it RUST_LOG, else `info`.
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine: card network links, REST sidecar, journal
    Serve(serve::Args),
    /// The whole story on one machine, over real sockets
    Demo(demo::Args),
    /// Explain ISO 8583 messages, element by element, masked
    Decode(decode::Args),
    /// Turn the JSON of `decode --clear --json` back into a message, byte-exact
    Encode(encode::Args),
    /// Compare two messages element by element
    Diff(diff::Args),
    /// Make a capture shareable: card numbers replaced, tracks, PINs and codes blanked
    Redact(redact::Args),
    /// Say which framing and which spec these bytes are, ranked
    Doctor(doctor::Args),
    /// List, show and check message specs
    Spec(spec::Args),
    /// Play a counterpart of the engine, such as a partner
    Simulate(simulate::Args),
    /// API keys of a stopped data directory
    Keys(keys::Args),
    /// Check the configuration, or show the effective one with the origin of each value
    Config(config::Args),
    /// The journal of a stopped data directory: verify, inspect, export, replay, cut
    Journal(journal::Args),
    /// Tell one authorization on a page, from the journal of a stopped data directory
    Explain(explain::Args),
}

/// Reads the command line, runs the command, and turns a failure into one line on stderr and its exit code.
/// Usage errors end with 2, `--help` and `--version` with 0.
pub fn main() -> ExitCode {
    end_quietly_when_stdout_closes();
    let root = match Root::try_parse() {
        Ok(root) => root,
        Err(error) => return unparsed(&error),
    };
    // A demo is read by people: unless somebody asks, only what goes wrong may stand between its lines. That its
    // directory has a new master key is nothing to act on: both are gone when it ends.
    let unasked = root.log.is_none() && std::env::var_os("RUST_LOG").is_none_or(|text| text.is_empty());
    let log = match &root.command {
        Command::Demo(_) if unasked => Some("warn,auth_engine::shard::data=error"),
        Command::Simulate(args) if unasked => args.log(),
        _ => root.log.as_deref(),
    };
    let outcome = telemetry::init_logs(root.log_format, log).and_then(|()| run(root.command));
    match outcome {
        Ok(code) => code,
        Err(failure) => tell(&failure),
    }
}

fn tell(failure: &Failure) -> ExitCode {
    // Nothing can be done when stderr is gone too; the exit code still tells.
    let _ = writeln!(io::stderr(), "error: {failure}");
    ExitCode::from(failure.code)
}

/// Help and version as clap prints them; a usage error as one line like every other, without the usage block.
fn unparsed(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
    }
    let text = error.render().to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or_default();
    let said = said.split("\n\nFor more information").next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    tell(&Failure::usage(format!("{said}\nsee `auth-engine --help`")))
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Encode(args) => encode::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Redact(args) => redact::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Spec(args) => spec::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Config(args) => config::run(args),
        Command::Journal(args) => journal::run(args),
        Command::Explain(args) => explain::run(&args),
    }
}

/// Writes one line to stdout and forgets a closed pipe: for commands that must go on when nobody reads them,
/// such as `serve`, where `println!` would end the process.
pub fn say(line: impl fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// An empty table with these heads: ruled on a terminal, plain elsewhere.
fn table(header: &[&str]) -> comfy_table::Table {
    use std::io::IsTerminal as _;
    let mut table = comfy_table::Table::new();
    let ruled = io::stdout().is_terminal();
    table.load_preset(if ruled { comfy_table::presets::UTF8_FULL_CONDENSED } else { comfy_table::presets::NOTHING });
    table.set_header(header);
    table
}

/// `println!` panics when the reader of a pipe went away (`auth-engine spec list | head -1`). That is no fault
/// of the command: it ends at once with 0 and without a backtrace. Every other panic is reported as always.
fn end_quietly_when_stdout_closes() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map(String::as_str);
        if text.is_some_and(|t| t.starts_with("failed printing to stdout") && t.contains("Broken pipe")) {
            std::process::exit(0);
        }
        report(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_sound() {
        Root::command().debug_assert();
    }

    #[test]
    fn every_level_of_help_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(|text| text.to_string()).unwrap_or_default();
            assert!(help.contains("Example"), "`{path} --help` shows no example");
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                check(sub, &path);
            }
        }
        check(&Root::command(), "");
    }

    #[test]
    fn a_failure_is_always_one_line() {
        let failure = Failure::usage("bad key\n  at line 3\tcolumn 4\n\n");
        assert_eq!(failure.to_string(), "bad key; at line 3 column 4");
    }
}
