//! `auth-engine demo`. It must never hold a rule of its own: it reads arguments and calls [`crate::demo`].

use super::Outcome;

/// Arguments of `auth-engine demo`.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "The whole story on one machine, over real sockets: an engine on a fresh directory, a sample partner and a card network play taps, declines, failures, repeats and reversals; then it keeps serving until Ctrl-C. Ports 8583 and 8080 where they are free, else others.",
    after_help = "Example:\n  auth-engine demo          plays the story and keeps serving\n  auth-engine demo --once   plays it on free ports; exit 0 only if every expectation held"
)]
pub struct Args {
    /// Stop after the story: exit 0 if every expectation held, else 1
    #[arg(long)]
    once: bool,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`](super::Failure) with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    crate::demo::run(args.once)
}
