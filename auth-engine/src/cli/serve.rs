//! `auth-engine serve`. It must never hold a rule of its own: it reads arguments, calls the module, prints.

use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::config::ConfigArgs;
use super::{Failure, Outcome, say};
use crate::shard::{boot, data};
use crate::telemetry;

/// Arguments of `auth-engine serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine serve --config engine.toml --data ./data\n\nWithout a configuration: one link on \
127.0.0.1:8583 (spec mastercard), REST on http://127.0.0.1:8080, sandbox on, data in ./data. SIGTERM and Ctrl-C stop \
cleanly: new taps are declined, open asks are waited for. SIGHUP has the certificates of links read again."
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    let began = Instant::now();
    let config = args.config.load()?;
    telemetry::init_metrics();
    let data_dir = config.data_dir.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::data(format!("a runtime cannot start: {e}")))?;
    runtime.block_on(async move {
        let signals = |kind| signal(kind).map_err(|e| Failure::data(format!("signals cannot be taken: {e}")));
        let mut terminate = signals(SignalKind::terminate())?;
        let mut interrupt = signals(SignalKind::interrupt())?;
        let mut hangup = signals(SignalKind::hangup())?;
        let mut running = tokio::task::spawn_blocking(move || boot::start(config))
            .await
            .map_err(|_| Failure::data("the start panicked; its message is above"))??;
        for (name, addr) in &running.links {
            say(format_args!("link {name} listening on {addr}"));
        }
        for (name, target) in &running.connects {
            say(format_args!("link {name} connects to {target}"));
        }
        say(format_args!("rest listening on http://{}", running.rest));
        if running.made_operator_key {
            say(format_args!("operator key written to {}", data::operator_key_file(&data_dir).display()));
        }
        say(format_args!("ready in {} ms", began.elapsed().as_millis()));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = running.ended() => break,
                // A failed receipt would come at once again.
                Some(()) = hangup.recv() => running.refresh_certificates(),
            }
        }
        tokio::task::spawn_blocking(move || running.stop())
            .await
            .map_err(|_| Failure::data("the stop panicked; its message is above"))??;
        Ok(ExitCode::SUCCESS)
    })
}
