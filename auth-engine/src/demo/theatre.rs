//! Everything that runs while the story is played: the directory, the engine, the sample partner, a way to REST.
//!
//! It owns their beginning and their end; it must never leave a directory behind after a story that went well.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::api::Api;
use super::story::Partner;
use crate::cli::Failure;
use crate::config::Config;
use crate::partner::Secret;
use crate::shard::boot::{self, Running};
use crate::shard::data;
use crate::simulate::partner::{SamplePartner, Setup};
use crate::simulate::rules::parse_all;
use crate::telemetry;

const LINK_PORT: u16 = 8583;
const REST_PORT: u16 = 8080;

/// The stage, lit.
pub(super) struct Theatre {
    directory: PathBuf,
    engine: Option<Running>,
    link: SocketAddr,
    rest: SocketAddr,
    partner_at: SocketAddr,
    partner: Option<SamplePartner>,
    secrets: Vec<Secret>,
    api: Option<Api>,
}

impl Theatre {
    /// Starts everything on a fresh directory. With `free_ports` none of the default ports is touched.
    pub(super) fn open(free_ports: bool) -> Result<Self, Failure> {
        let directory = fresh_directory()?;
        let opened = Self::open_in(&directory, free_ports);
        if opened.is_err() {
            let _ = std::fs::remove_dir_all(&directory);
        }
        opened
    }

    fn open_in(directory: &Path, free_ports: bool) -> Result<Self, Failure> {
        let port = |wanted| if free_ports { 0 } else { free_or_any(wanted) };
        let set = |key: &str, value: String| (format!("AUTH_ENGINE__{key}"), value);
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let settings = [
            set("LINK__0__LISTEN", at(port(LINK_PORT))),
            set("REST__LISTEN", at(port(REST_PORT))),
            // A story is short: less to fill with zeros before the first tap.
            set("JOURNAL__SEGMENT", "8MiB".to_owned()),
        ];
        let config = Config::from_parts(None, &settings, Some(directory))?;
        let partner = start_partner(at(0).as_str(), "approve", &[])?;
        telemetry::init_metrics();
        let engine = boot::start(config)?;
        let link = engine.links.first().map(|(_, at)| *at);
        let link = link.ok_or_else(|| Failure::no("the engine listens on no link; see --log debug"))?;
        let rest = engine.rest;
        let key = operator_key(directory)?;
        let api = Api::new(rest, key)?;
        Ok(Self {
            directory: directory.to_owned(),
            engine: Some(engine),
            link,
            rest,
            partner_at: partner.addr(),
            partner: Some(partner),
            secrets: Vec::new(),
            api: Some(api),
        })
    }

    /// Where the network connects.
    pub(super) fn link(&self) -> SocketAddr {
        self.link
    }

    /// Where the sidecar listens.
    pub(super) fn rest(&self) -> SocketAddr {
        self.rest
    }

    /// Where the sample partner listens.
    pub(super) fn partner_at(&self) -> SocketAddr {
        self.partner_at
    }

    /// The partner's `decision_url`.
    pub(super) fn partner_url(&self) -> String {
        format!("http://{}/decide", self.partner_at)
    }

    /// The file with the operator key.
    pub(super) fn key_file(&self) -> PathBuf {
        data::operator_key_file(&self.directory)
    }

    /// The client of the sidecar.
    pub(super) fn api(&mut self) -> Result<&mut Api, Failure> {
        self.api.as_mut().ok_or_else(|| Failure::no("the engine has stopped; start the demo again"))
    }

    /// From now on the sample partner accepts asks with this signature alone.
    pub(super) fn trust(&mut self, secret: Secret) -> Result<(), Failure> {
        self.secrets = vec![secret];
        if let Some(partner) = &self.partner {
            partner.set_secrets(self.secrets.clone());
        }
        Ok(())
    }

    /// How the partner behaves from now on.
    pub(super) fn direct(&mut self, partner: Partner) -> Result<(), Failure> {
        match (partner, &self.partner) {
            (Partner::Dead, _) => self.partner = None,
            (Partner::Rule(rule), Some(running)) => {
                running.set_rules(&[rule]).map_err(|error| Failure::no(format!("the story's rule: {error}")))?;
            }
            (Partner::Rule(rule), None) => {
                self.partner = Some(start_partner(&self.partner_at.to_string(), rule, &self.secrets)?);
            }
        }
        Ok(())
    }

    /// Returns at Ctrl-C or SIGTERM, or when the engine ends by itself, which [`Theatre::close`] then tells.
    pub(super) fn wait_for_the_end(&mut self) -> Result<(), Failure> {
        let Some(engine) = self.engine.as_mut() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let told = runtime.and_then(|runtime| {
            runtime.block_on(async {
                let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
                tokio::select! {
                    told = tokio::signal::ctrl_c() => told,
                    _ = terminate.recv() => Ok(()),
                    () = engine.ended() => Ok(()),
                }
            })
        });
        told.map_err(|error| Failure::no(format!("cannot wait for Ctrl-C: {error}; use --once")))
    }

    /// Stops everything, the engine cleanly. The directory is deleted unless it is to be kept.
    pub(super) fn close(mut self, keep: bool) -> Result<PathBuf, Failure> {
        self.api = None;
        let stopped = self.engine.take().map_or(Ok(()), Running::stop);
        self.partner = None;
        if !keep && stopped.is_ok() {
            // What cannot be deleted is in the system's temporary directory, where it is expected.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
        stopped.map(|()| self.directory)
    }
}

fn operator_key(directory: &Path) -> Result<Zeroizing<String>, Failure> {
    let path = data::operator_key_file(directory);
    let text = std::fs::read_to_string(&path).map(Zeroizing::new);
    text.map(|text| Zeroizing::new(text.trim().to_owned()))
        .map_err(|error| Failure::data(format!("{} cannot be read: {error}; start the demo again", path.display())))
}

fn start_partner(at: &str, rule: &str, secrets: &[Secret]) -> Result<SamplePartner, Failure> {
    let rules = parse_all(&[rule]).map_err(|error| Failure::no(format!("the story's rule: {error}")))?;
    let setup = Setup { rules, secrets: secrets.to_vec(), ..Setup::default() };
    SamplePartner::start_with(at, setup)
        .map_err(|error| Failure::usage(format!("the sample partner cannot listen on {at}: {error}; try again")))
}

/// The port when nobody has it, else 0 for any.
fn free_or_any(port: u16) -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_or(0, |_| port)
}

/// A new directory for this user's eyes only, under the system's temporary one.
fn fresh_directory() -> Result<PathBuf, Failure> {
    let base = std::env::temp_dir();
    let process = std::process::id();
    for attempt in 0..100 {
        let path = base.join(format!("auth-engine-demo-{process}-{attempt}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Failure::data(format!(
                    "{}: {error}; point TMPDIR to a writable directory",
                    path.display()
                )));
            }
        }
    }
    Err(Failure::data(format!("{} is full of demos; delete auth-engine-demo-* there", base.display())))
}
