//! `auth-engine decode`. It must never hold a rule of its own: it reads arguments, calls the module, prints.

use super::{Failure, Outcome};

/// Arguments of `auth-engine decode`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  auth-engine decode message.hex")]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(_args: Args) -> Outcome {
    Err(Failure::usage(
        "`decode` is not part of this build; see `auth-engine --help`",
    ))
}
