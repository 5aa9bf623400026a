//! `auth-engine config`: check a configuration, or show the effective one with the origin of each value.
//!
//! It must never open the data directory: both commands work while an engine runs on it. `check` also reads the
//! files that the configuration names.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_USAGE, Failure, Outcome};
use crate::config::{Config, LinkConfig};
use crate::shard::boot::{load_spec, network_elements};
use crate::switch::Switch;

/// Arguments of `auth-engine config`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine config check --config engine.toml\n  auth-engine config show --json\n\nValues come from built-in defaults, then the file named by --config (no other place is searched), then\nAUTH_ENGINE__SECTION__KEY in the environment, then flags."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether the configuration can be used; list every problem
    #[command(after_help = "Example:\n  auth-engine config check --config engine.toml")]
    Check {
        #[command(flatten)]
        from: ConfigArgs,
    },
    /// Print every effective value and where it comes from
    #[command(
        after_help = "Example:\n  AUTH_ENGINE__REST__LISTEN=127.0.0.1:9090 auth-engine config show --config engine.toml --json"
    )]
    Show {
        #[command(flatten)]
        from: ConfigArgs,
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// The flags that choose a configuration; flattened into every command that needs one.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML); without it the built-in defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; wins over the file and the environment
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl ConfigArgs {
    /// The effective configuration.
    ///
    /// # Errors
    /// Exit code 2 with the first problem.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref(), self.data.as_deref())?)
    }
}

/// Runs the command. A configuration that cannot be used is exit code 2, as it is for `serve`.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Check { from } => check(&from),
        Command::Show { from, json } => show(&from, json),
    }
}

fn check(from: &ConfigArgs) -> Outcome {
    match Config::load(from.config.as_deref(), from.data.as_deref()) {
        Ok(config) => {
            let problems = unusable_files(&config);
            if !problems.is_empty() {
                return Ok(refuse(problems));
            }
            let links = match config.links.len() {
                1 => String::from("1 link"),
                more => format!("{more} links"),
            };
            println!("ok: {links}, REST on {}, data in {}", config.rest.listen, config.data_dir.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(refuse(error.problems.iter().map(|problem| Failure::usage(problem.to_string())).collect())),
    }
}

/// The files that links name: specs, elements, certificates.
fn unusable_files(config: &Config) -> Vec<Failure> {
    let elements = |link: &LinkConfig| load_spec(&link.spec).and_then(|spec| network_elements(link, &spec)).err();
    let certificates = |link| Switch::check_certificates(link).err().map(Failure::from);
    config.links.iter().flat_map(|link| [elements(link), certificates(link)]).flatten().collect()
}

fn refuse(problems: Vec<Failure>) -> ExitCode {
    for problem in problems {
        let _ = writeln!(std::io::stderr(), "error: {problem}");
    }
    ExitCode::from(EXIT_USAGE)
}

fn show(from: &ConfigArgs, json: bool) -> Outcome {
    let config = from.load()?;
    if json {
        let text = serde_json::to_string_pretty(config.settings())
            .map_err(|error| Failure::usage(format!("the configuration cannot be printed as JSON ({error})")))?;
        println!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let width = |of: fn(&crate::config::Setting) -> usize| config.settings().iter().map(of).max().unwrap_or(0);
    let (keys, values) = (width(|s| s.key.len()), width(|s| s.value.len() + 2));
    for setting in config.settings() {
        let value = format!("{:?}", setting.value);
        println!("{:keys$}  {value:values$}  {}", setting.key, setting.origin);
    }
    Ok(ExitCode::SUCCESS)
}
