//! The effective configuration: built-in defaults, then one TOML file, then the environment, then flags.
//!
//! Only the file named by `--config` is read; no other place is searched. Every value is checked here, once,
//! so that the rest of the engine uses typed fields. This module must never open a socket or the data
//! directory, and no secret stands in a configuration.
//!
//! Keys are named by path: `rest.listen`, and `link.0.listen` for the first `[[link]]`. The environment says
//! the same as `AUTH_ENGINE__REST__LISTEN` and `AUTH_ENGINE__LINK__0__LISTEN`.

mod build;
mod keys;
mod layers;
mod link;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iso_codec::Framing;
use rust_decimal::Decimal;
use rustls_pki_types::ServerName;

pub use layers::Origin;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory; relative paths start at the working directory.
    pub data_dir: PathBuf,
    /// Sandbox mode: test conveniences on, demands of production off.
    pub sandbox: bool,
    /// How long SIGTERM waits for open asks.
    pub drain_timeout: Duration,
    /// The card network links, at least one, names unique.
    pub links: Vec<LinkConfig>,
    /// The REST sidecar.
    pub rest: RestConfig,
    /// Key material.
    pub keys: KeysConfig,
    /// The journal and what is remembered of it.
    pub journal: JournalConfig,
    /// How long holds live.
    pub authorization: AuthorizationConfig,
    /// Asking partners.
    pub partner: PartnerConfig,
    /// Foreign exchange limits.
    pub fx: FxConfig,
    /// Card issuing in the sandbox.
    pub issuing: IssuingConfig,
    /// Bounds of the switch that hold for every link.
    pub switch: SwitchConfig,
    /// What is kept of each tap's way.
    pub telemetry: TelemetryConfig,
    settings: Vec<Setting>,
}

/// One `[[link]]`.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Unique name; a label of metrics.
    pub name: String,
    /// Who opens the connections.
    pub opening: Opening,
    /// TLS on every connection; none: plain TCP.
    pub tls: Option<LinkTls>,
    /// Name of an embedded message spec, or the path of a spec file.
    pub spec: String,
    /// How frames are delimited.
    pub framing: Framing,
    /// From frame in to reply out; more than 250 ms.
    pub budget: Duration,
    /// The header is a TPDU: its two addresses change places in the reply.
    pub tpdu: bool,
    /// Whether requests before a sign-on are refused.
    pub require_sign_on: bool,
    /// Whether we sign on as soon as a connection is open, and off at a drain.
    pub sign_on: bool,
    /// More elements of what we ask of the network (sign-on, echo, sign-off), by number.
    pub network_elements: BTreeMap<u8, ElementText>,
    /// After how long without a byte the peer is asked for an echo; never when there is none.
    pub echo_interval: Option<Duration>,
    /// How long the peer has to answer what we ask of it; then its connection is cut.
    pub echo_timeout: Duration,
    /// Most bytes of one frame: header and message, without the length prefix.
    pub max_frame: usize,
    /// Most requests of this link that wait for their reply.
    pub max_in_flight: usize,
    /// How long a frame may stay unfinished, from its first byte.
    pub frame_timeout: Duration,
    /// How long a connection may be without any byte.
    pub idle_timeout: Duration,
    /// Most connections of this link (`[switch] max_connections`).
    pub max_connections: usize,
    /// Most bytes that wait for a peer that does not read (`[switch] out_buffer`).
    pub out_buffer: usize,
}

/// Who opens the connections of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// The network does; port 0 takes a free one.
    Listen(SocketAddr),
    /// We do, and again whenever the connection is lost.
    Connect(Target),
}

/// Where a link connects to; the name is resolved at each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// A host and a port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An element's text: what `encode` takes, hexadecimal where the spec says bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElementText {
    /// As it stands in the configuration.
    Plain(String),
    /// The first line of this file, for what must not stand in a configuration.
    File(PathBuf),
}

/// `[link.tls]`: what we show, and whom we believe. All files are PEM and are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTls {
    /// Our own certificate; a link that listens always has one.
    pub identity: Option<Identity>,
    /// Who signs the peer's certificates. None: a link that listens asks its clients for no certificate; a link
    /// that connects always has it.
    pub peer_ca: Option<PeerCa>,
    /// The name in the peer's certificate; of links that connect.
    pub peer_name: Option<ServerName<'static>>,
}

/// A certificate with the others up to its root, and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Who signs the peer's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerCa {
    /// One of the authorities that the operating system trusts.
    System,
    /// One of the authorities in this file.
    File(PathBuf),
}

/// `[rest]`.
#[derive(Debug, Clone)]
pub struct RestConfig {
    /// Where the sidecar listens.
    pub listen: SocketAddr,
}

/// `[keys]`.
#[derive(Debug, Clone)]
pub struct KeysConfig {
    /// The master key's file, resolved: a relative path starts at the data directory in the sandbox and at
    /// the working directory otherwise. Outside the sandbox it lies outside the data directory.
    pub master_file: PathBuf,
}

/// `[journal]`.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// Bytes of a segment, a multiple of 4 KiB.
    pub segment: u64,
    /// Where closed segments are moved to, and read from.
    pub archive_dir: Option<PathBuf>,
    /// How long a start may take to replay before a snapshot is made.
    pub recovery_time: Duration,
    /// How long requests are remembered as possible repeats.
    pub dedup_window: Duration,
    /// Most remembered entries.
    pub dedup_max: u64,
    /// Most bytes of one batch, a multiple of 4 KiB, at most a quarter of a segment.
    pub max_batch: u64,
    /// How often the tree over all events is signed, when there are new ones; zero for never.
    pub checkpoint_interval: Duration,
}

/// `[authorization]`.
#[derive(Debug, Clone)]
pub struct AuthorizationConfig {
    /// How long a hold lives without clearing.
    pub hold_lifetime: Duration,
    /// The same for pre-authorizations.
    pub preauthorization_lifetime: Duration,
}

/// `[partner]`.
#[derive(Debug, Clone)]
pub struct PartnerConfig {
    /// How long a partner has to answer when it has no time limit of its own.
    pub decision_timeout: Duration,
    /// Most connections to one partner.
    pub max_connections: usize,
}

/// `[fx]`.
#[derive(Debug, Clone, Default)]
pub struct FxConfig {
    /// Largest position by currency code (upper case), in whole units of it, not negative. Currencies that are
    /// not named are unbounded.
    pub max_position: BTreeMap<String, Decimal>,
}

/// `[issuing]`.
#[derive(Debug, Clone)]
pub struct IssuingConfig {
    /// The first digits of issued cards, 6 to 11.
    pub bin: String,
}

/// `[switch]`.
#[derive(Debug, Clone)]
pub struct SwitchConfig {
    /// Most connections of one link.
    pub max_connections: usize,
    /// Most bytes of output that wait for one connection.
    pub out_buffer: usize,
    /// The shard's thread asks for the lowest real-time priority.
    pub realtime: bool,
    /// The processor that is kept for the shard's thread.
    pub processor: Option<usize>,
}

/// `[telemetry]`.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Authorizations whose trace is kept in memory; 0 measures no tap.
    pub traces: u64,
}

/// One effective value, as `config show` prints it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Setting {
    /// The key's path.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// One thing wrong with the configuration: where, and what with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: String,
    what: String,
}

impl Problem {
    fn new(place: String, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A configuration that cannot be used: at least one problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// All that is wrong, in the order of the keys.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.problems.first() {
            write!(f, "{first}")?;
        }
        match self.problems.len() {
            0 | 1 => Ok(()),
            2 => f.write_str(" (and 1 more; `auth-engine config check` lists all)"),
            more => write!(f, " (and {} more; `auth-engine config check` lists all)", more - 1),
        }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl From<ConfigError> for crate::cli::Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl Config {
    /// The configuration from the file (only when one is named), this process's environment, and `--data`.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn load(file: Option<&Path>, data: Option<&Path>) -> Result<Self, ConfigError> {
        let mut env = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("AUTH_ENGINE__")) else {
                continue;
            };
            let value = value
                .into_string()
                .map_err(|_| Problem::new(format!("environment {name}"), "is not UTF-8; set readable text"))?;
            env.push((name.to_owned(), value));
        }
        Self::from_parts(file, &env, data)
    }

    /// The same with the environment given as pairs: for tests and for engines inside another process.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn from_parts(file: Option<&Path>, env: &[(String, String)], data: Option<&Path>) -> Result<Self, ConfigError> {
        // Sorted, so that the same environment always gives the same first problem.
        let mut env = env.to_vec();
        env.sort();
        let mut flags = Vec::new();
        if let Some(data) = data {
            let text = data.to_str().ok_or_else(|| {
                Problem::new("flag --data".to_owned(), "is not UTF-8; give a directory with a readable name")
            })?;
            flags.push(("--data", "data_dir", text.to_owned()));
        }
        build::build(layers::collect(file, &env, &flags)?)
    }

    /// Every effective value with its origin, in the order of the documentation.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}
