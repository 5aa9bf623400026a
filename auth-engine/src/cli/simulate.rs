//! `simulate`: plays the other sides of the engine on the command line. It owns the arguments; what is
//! played lives in [`crate::simulate`].

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, Outcome, say};
use crate::partner::Secret;
use crate::simulate::partner::{SamplePartner, Setup};
use crate::simulate::rules::{GRAMMAR, parse_all};

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: auth-engine simulate partner --rule 'mcc=7995 decline not_permitted'")]
pub struct Args {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    /// A sample partner: verifies signatures, decides by rule, can be slow, wrong or dead on purpose
    Partner(PartnerArgs),
    /// The engine itself, from seeds, on a simulated disk, clock, network and partner: what it must never do, it is held to
    Engine(super::simulate_engine::Args),
    /// The card network, from scenario files or captures: messages, expectations, faults
    Network(super::simulate_network::Args),
}

#[derive(Debug, clap::Args)]
#[command(after_help = partner_help())]
struct PartnerArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: String,
    /// A webhook secret (whsec_…) to verify asks with; twice during a rotation
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Do not verify signatures
    #[arg(long, conflicts_with = "secret")]
    no_verify: bool,
    /// A rule, see below; repeatable, the first that fits decides
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// No line per ask
    #[arg(long)]
    quiet: bool,
}

fn partner_help() -> String {
    format!(
        "Rules:\n{GRAMMAR}\n\nAt run time: GET or PUT /rules {{\"rules\":[\"…\"]}}, GET /seen for counters; a POST to \
         any other path is an ask.\n\nExample:\n  auth-engine simulate partner --secret whsec_… --rule 'mcc=7995 \
         decline not_permitted' \\\n      --rule 'amount>100 decline limit_exceeded' --rule 'delay 50ms' --rule approve\n  \
         curl -X PUT localhost:9090/rules -d '{{\"rules\":[\"silent\"]}}'"
    )
}

impl Args {
    /// What is logged unless somebody asks: the simulated engine is made to fail a thousand times, and says so each time.
    pub(super) fn log(&self) -> Option<&'static str> {
        match self.side {
            Side::Partner(_) | Side::Network(_) => None,
            Side::Engine(_) => Some("off"),
        }
    }
}

/// Runs `simulate`.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    match args.side {
        Side::Partner(args) => partner(args),
        Side::Engine(args) => super::simulate_engine::run(args),
        Side::Network(args) => super::simulate_network::run(&args),
    }
}

fn partner(args: PartnerArgs) -> Outcome {
    let rules = parse_all(&args.rules).map_err(|error| Failure::usage(format!("--rule: {error}")))?;
    let secrets =
        args.secret.iter().map(|text| Secret::parse(text)).collect::<Result<Vec<_>, _>>().map_err(|error| {
            Failure::usage(format!("--secret: {error}; the engine shows it when a partner is created"))
        })?;
    if secrets.is_empty() && !args.no_verify {
        eprintln!("no --secret given: signatures are not verified (--no-verify says so and silences this line)");
    }
    let setup = Setup { rules, secrets, tls: None, print: !args.quiet };
    let partner = SamplePartner::start_with(args.listen.as_str(), setup).map_err(|error| {
        Failure::usage(format!("cannot listen on {}: {error}; give another address with --listen", args.listen))
    })?;
    say(format_args!(
        "sample partner on {}; rules: PUT http://{}/rules; counters: GET /seen",
        partner.url(),
        partner.addr()
    ));
    partner.wait();
    Ok(ExitCode::SUCCESS)
}
