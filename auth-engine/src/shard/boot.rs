//! Starting and stopping everything: keys, journal, read model, sockets, sidecar, in the order in which each may
//! refuse; and stopping in the opposite one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use iso_codec::{Draft, Mti, Spec};
use ledger_core::book::{Policy, Refusal};
use ledger_core::journal::{Options, Recovery};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;
use rust_decimal::prelude::ToPrimitive;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::clock::{ShardClock, mono_us, wall_us};
use super::data;
use super::handle::{Rendered, ShardHandle, Write};
use super::keeper::{self, Keeper};
use super::meter::Meter;
use super::publish::Publisher;
use super::rebuilds::Rebuilds;
use super::run::{Stopped, Surroundings, run};
use crate::cli::Failure;
use crate::config::{Config, ElementText, LinkConfig, Opening};
use crate::engine::{Engine, LinkSetup, Settings as EngineSettings};
use crate::partner::AddressPolicy;
use crate::proof::Checkpoints;
use crate::proof::maker::MakerHandle;
use crate::rest::balances::Balances;
use crate::rest::{self, App, Health, LinkTarget};
use crate::switch::{Handshakes, PollClock, Switch};
use crate::telemetry::names;
use crate::view::feed::{FeederHandle, JournalSource};
use crate::view::fold::{Requests, SealedRequests};
use crate::view::{View, ViewError};

/// Requests of the sidecar that may wait for the shard.
const SHARD_QUEUE: usize = 1_024;
/// Asks that may be open at once, over all partners.
const MAX_ASKS: usize = 65_536;

/// A running engine.
pub struct Running {
    /// The links that listen, with the addresses they really have.
    pub links: Vec<(String, SocketAddr)>,
    /// The links that connect, with where to.
    pub connects: Vec<(String, String)>,
    /// The sidecar's address.
    pub rest: SocketAddr,
    /// True when this start made the operator's key.
    pub made_operator_key: bool,
    /// What recovery found.
    pub recovery: Recovery,
    /// Taps that were being asked when the engine last stopped, declined by recovery.
    pub orphans: usize,
    handshakes: Option<Handshakes>,
    stop: watch::Sender<bool>,
    shard: Option<JoinHandle<Result<(), Stopped>>>,
    ended: Option<oneshot::Receiver<()>>,
    sidecar: Option<JoinHandle<()>>,
    sidecar_stop: CancellationToken,
    feeder: Option<FeederHandle>,
    keeper: Option<Keeper>,
    _maker: MakerHandle,
}

/// The message spec a configuration or a journal names: embedded, or a file.
///
/// # Errors
/// Exit 2 with the name and the reason.
pub fn load_spec(name: &str) -> Result<Arc<Spec>, Failure> {
    if let Some(spec) = Spec::embedded(name) {
        return Ok(spec);
    }
    let text = std::fs::read_to_string(name).map_err(|why| {
        Failure::usage(format!(
            "message spec {name:?}: {why}; name one of {} or a spec file",
            Spec::embedded_names().join(", ")
        ))
    })?;
    Spec::from_toml(&text).map(Arc::new).map_err(|why| Failure::usage(format!("message spec {name:?}: {why}")))
}

/// The book's policy as configured.
///
/// # Errors
/// Exit 2 for a position limit in a currency or amount that nothing has.
pub(crate) fn policy(config: &Config) -> Result<Policy, Failure> {
    let micros = |d: std::time::Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    let mut fx_max = std::collections::BTreeMap::new();
    for (code, units) in &config.fx.max_position {
        let unknown = || Failure::usage(format!("fx.max_position.{code}: not a currency and amount this engine knows"));
        let currency = Currency::from_code(code).ok_or_else(unknown)?;
        let mut minor = *units;
        minor.rescale(currency.decimals());
        let minor = minor.mantissa().to_i64().ok_or_else(unknown)?;
        fx_max.insert(currency, minor);
    }
    Ok(Policy {
        hold_lifetime_us: micros(config.authorization.hold_lifetime),
        preauthorization_lifetime_us: micros(config.authorization.preauthorization_lifetime),
        dedup_max: usize::try_from(config.journal.dedup_max).unwrap_or(usize::MAX),
        fx_max,
    })
}

/// Opens a stopped directory for a command that writes: a start of its own, with an epoch, without links.
///
/// # Errors
/// Exit 3 for the data directory, 2 for the configuration.
pub fn open_stopped(config: &Config) -> Result<(Engine, ShardClock), Failure> {
    let dir = data::journal_dir(&config.data_dir);
    if !data::has_journal(&config.data_dir)? {
        return Err(Failure::data(format!("{}: no journal here; name the data directory with --data", dir.display())));
    }
    let settings = EngineSettings {
        links: Vec::new(),
        decision_timeout_us: 0,
        dedup_window_us: i64::try_from(config.journal.dedup_window.as_micros()).unwrap_or(i64::MAX),
        max_asks: 0,
    };
    open_alone(config, data::journal_options(config), settings)
}

/// Opens a directory, new or not, for a program that fills it before the engine serves from it: a start of its own
/// with the configured links, and an operator's key where there is none. Segments are made ahead without a pause,
/// since no tap waits for the disk beside them.
///
/// # Errors
/// Exit 3 for the data directory, 2 for the configuration.
pub fn open_bulk(config: &Config) -> Result<(Engine, ShardClock), Failure> {
    data::prepare(config)?;
    data::refuse_lost_journal(&config.data_dir)?;
    let mut options = data::journal_options(config);
    options.pace = std::time::Duration::ZERO;
    let (mut engine, mut clock) = open_alone(config, options, engine_settings(config)?)?;
    if engine.book().keys().all(|key| key.partner.is_some() || key.revoked) {
        let command = operator_key_command(&operator_key(config)?);
        let now = clock.now(mono_us(Instant::now()));
        engine.command(&command, now).map_err(|why| Failure::data(format!("the operator's key: {why}")))?;
    }
    Ok((engine, clock))
}

/// Journal, book and a new epoch, and nothing that serves.
fn open_alone(config: &Config, options: Options, settings: EngineSettings) -> Result<(Engine, ShardClock), Failure> {
    let (mut engine, recovery) = Engine::open(options, data::key_source(config)?, policy(config)?, settings)
        .map_err(|e| Failure::data(e.to_string()))?;
    let last_at = Timestamp(recovery.last_at.max(0));
    let mut clock = ShardClock::start(last_at, wall_us(), mono_us(Instant::now()));
    let now = clock.now(mono_us(Instant::now()));
    engine.recover(now, env!("CARGO_PKG_VERSION")).map_err(|e| Failure::data(e.to_string()))?;
    Ok((engine, clock))
}

/// The elements that a link adds to what the engine asks of its network, tried on a message: what does not fit
/// must not be found out by the network.
///
/// # Errors
/// Exit 2: a file cannot be read, or an element is not in the spec or does not fit it. The value is never told.
pub fn network_elements(link: &LinkConfig, spec: &Spec) -> Result<Vec<(u8, String)>, Failure> {
    let mut read = Vec::new();
    for (n, text) in &link.network_elements {
        let wrong = |why: String| Failure::usage(format!("link {:?}: network_elements.{n}: {why}", link.name));
        let text = match text {
            ElementText::Plain(text) => text.clone(),
            ElementText::File(path) => {
                let content = std::fs::read_to_string(path)
                    .map_err(|why| wrong(format!("{}: {why}; give a readable file of text", path.display())))?;
                content.lines().next().unwrap_or_default().to_owned()
            }
        };
        let mut draft = Draft::new(Mti(0x0800));
        draft.set_text(*n, text.as_str());
        draft.encode(spec).map_err(|why| wrong(why.to_string()))?;
        read.push((*n, text));
    }
    Ok(read)
}

/// What the engine takes from the configuration.
fn engine_settings(config: &Config) -> Result<EngineSettings, Failure> {
    let micros = |d: std::time::Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    let mut links = Vec::new();
    for link in &config.links {
        let spec = load_spec(&link.spec)?;
        let network_elements = network_elements(link, &spec)?;
        links.push(LinkSetup {
            name: link.name.clone(),
            spec_name: link.spec.clone(),
            spec,
            budget_us: micros(link.budget),
            require_sign_on: link.require_sign_on,
            max_in_flight: link.max_in_flight,
            sign_on: link.sign_on,
            network_elements,
            answer_within_us: micros(link.echo_timeout),
        });
    }
    Ok(EngineSettings {
        links,
        decision_timeout_us: micros(config.partner.decision_timeout),
        dedup_window_us: micros(config.journal.dedup_window),
        max_asks: MAX_ASKS,
    })
}

/// Starts everything. When this returns, taps are being decided and the sidecar answers.
///
/// # Errors
/// Exit 3 for the data directory, 2 for configuration and addresses in use.
pub fn start(config: Config) -> Result<Running, Failure> {
    crate::priority::small_pages();
    if let Some(processor) = config.switch.processor {
        crate::priority::keep(processor).map_err(|may| {
            Failure::usage(format!("switch.processor = {processor}: this process may use {may}; name one of them"))
        })?;
    }
    let settings = engine_settings(&config)?;
    if !config.sandbox {
        for link in config.links.iter().filter(|link| link.tls.is_none()) {
            tracing::warn!(link = link.name, "this link has no TLS: set [link.tls], or put it behind a tunnel");
        }
    }

    // The directory first: what it refuses is exit 3, before any port is taken.
    data::prepare(&config)?;
    data::refuse_lost_journal(&config.data_dir)?;
    let began = Instant::now();
    let (mut engine, recovery) =
        Engine::open(data::journal_options(&config), data::key_source(&config)?, policy(&config)?, settings)
            .map_err(|e| Failure::data(e.to_string()))?;
    let replayed = began.elapsed();
    let last_at = Timestamp(recovery.last_at.max(0));
    let mut clock = ShardClock::start(last_at, wall_us(), mono_us(Instant::now()));
    if let Some(snapshot) = &recovery.snapshot {
        let (covered, events) = (recovery.snapshot_seq, recovery.events);
        tracing::info!(snapshot = %snapshot.display(), covered, events, "the replay begins with a snapshot");
    }
    for why in &recovery.passed_over {
        tracing::warn!("{why}; this start replays more instead");
    }
    if let Some(cut) = &recovery.cut {
        tracing::warn!(?cut, bytes = recovery.cut_bytes, "a torn tail was cut: nothing in it was acknowledged");
    }
    let view = open_view(&config, recovery.last_seq)?;
    let checkpoints = Checkpoints::open(&config, &engine.journal().reader(), engine.keyring())?;

    // Then the addresses.
    let rest_listener = TcpListener::bind(config.rest.listen).map_err(|why| {
        Failure::usage(format!(
            "rest cannot listen on {}: {why}; free the address or set rest.listen",
            config.rest.listen
        ))
    })?;
    let rest_addr = rest_listener.local_addr().map_err(|e| Failure::usage(format!("rest: {e}")))?;
    let (bound_tx, bound_rx) = std::sync::mpsc::channel();
    let (begin_tx, begin_rx) = oneshot::channel::<(Engine, ShardClock, Surroundings)>();
    let (ended_tx, ended_rx) = oneshot::channel();
    let link_configs = config.links.clone();
    let shard = std::thread::Builder::new()
        .name("shard".to_owned())
        .spawn(move || {
            let result = shard_thread(link_configs, &bound_tx, begin_rx);
            let _ = ended_tx.send(());
            result
        })
        .map_err(|e| Failure::data(format!("the shard's thread cannot start: {e}")))?;
    let BoundLinks { addresses, poll_clock, handshakes } =
        bound_rx.recv().map_err(|_| Failure::data("the shard's thread ended early"))??;

    // Nothing refuses any more: the new epoch begins.
    let now = clock.now(mono_us(Instant::now()));
    let orphans = engine.recover(now, env!("CARGO_PKG_VERSION")).map_err(|e| Failure::data(e.to_string()))?;
    names::journal_recovery(began.elapsed());
    let reader = engine.journal().reader();
    let keyring = Arc::clone(engine.keyring());
    let specs = engine.book().links().iter().map(|l| load_spec(&l.spec).ok()).collect();
    let lookup = |name: &str| load_spec(name).ok();
    let sealed: Arc<dyn Requests> = Arc::new(SealedRequests::new(Arc::clone(&keyring), Box::new(cached(lookup))));
    let feeder = view.start(Box::new(JournalSource::new(reader.clone())), Arc::clone(&sealed));
    feeder.notify(engine.journal().durable_seq());
    let keeping = keeper::Settings {
        recovery_time: config.journal.recovery_time,
        shelves: data::shelves(&config),
        recovery: recovery.clone(),
        took: replayed,
    };
    let keeper =
        Keeper::start(reader.clone(), keeping).map_err(|e| Failure::data(format!("a thread cannot start: {e}")))?;
    let balances = Arc::new(Balances::new());
    let (handle, requests) = ShardHandle::new(SHARD_QUEUE);
    let (stop, stopping) = watch::channel(false);
    let thread_failed = |e: std::io::Error| Failure::data(format!("a thread cannot start: {e}"));
    let link_names: Vec<String> = config.links.iter().map(|l| l.name.clone()).collect();
    let calls = Arc::new(rest::Calls::default());
    let surroundings = Surroundings {
        calls: Arc::clone(&calls),
        poll_clock,
        requests,
        publisher: Publisher::new(Arc::clone(&balances), feeder.notifier()),
        meter: Meter::start(&link_names, config.telemetry.traces).map_err(thread_failed)?,
        rebuilds: Rebuilds::start(reader.clone(), Arc::clone(&keyring), specs).map_err(thread_failed)?,
        stop: stopping,
        drain_timeout: config.drain_timeout,
        address_policy: AddressPolicy { sandbox: config.sandbox },
        max_connections: config.partner.max_connections,
        realtime: config.switch.realtime,
        max_batch_bytes: usize::try_from(config.journal.max_batch).unwrap_or(1 << 20),
    };
    let book_keys: Vec<[u8; 32]> =
        engine.book().keys().filter(|k| k.partner.is_none() && !k.revoked).map(|k| k.hash).collect();
    begin_tx.send((engine, clock, surroundings)).map_err(|_| Failure::data("the shard's thread ended early"))?;

    let made_operator_key = ensure_operator_key(&config, &book_keys, &handle)?;
    let health = Arc::new(Health::new());
    for part in ["journal", "shard", "switch", "view"] {
        health.ready(part);
    }
    let targets = config
        .links
        .iter()
        .filter(|link| matches!(link.opening, Opening::Listen(_)))
        .zip(&addresses)
        // The sandbox's taps come over plain TCP.
        .filter(|(link, _)| link.tls.is_none())
        .map(|(link, (_, addr))| {
            Ok(LinkTarget {
                name: link.name.clone(),
                addr: *addr,
                spec: load_spec(&link.spec)?,
                framing: link.framing,
                budget: link.budget,
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let connects = config.links.iter().filter_map(|link| match &link.opening {
        Opening::Connect(target) => Some((link.name.clone(), target.to_string())),
        Opening::Listen(_) => None,
    });
    let latest_checkpoint = checkpoints.latest();
    let maker = checkpoints.start(reader.clone()).map_err(thread_failed)?;
    let app = App {
        checkpoint: latest_checkpoint,
        shard: handle,
        view,
        balances,
        reader,
        keyring,
        requests: sealed,
        settings: rest::Settings { sandbox: config.sandbox, issuing_bin: config.issuing.bin.clone(), links: targets },
        health,
        calls,
    };
    let sidecar_stop = CancellationToken::new();
    let sidecar = rest::serve(app, rest_listener, sidecar_stop.clone()).map_err(thread_failed)?;
    Ok(Running {
        links: addresses,
        connects: connects.collect(),
        rest: rest_addr,
        made_operator_key,
        recovery,
        orphans,
        handshakes,
        stop,
        shard: Some(shard),
        ended: Some(ended_rx),
        sidecar: Some(sidecar),
        sidecar_stop,
        feeder: Some(feeder),
        keeper: Some(keeper),
        _maker: maker,
    })
}

/// What the shard's thread tells once its links are bound.
struct BoundLinks {
    addresses: Vec<(String, SocketAddr)>,
    poll_clock: PollClock,
    handshakes: Option<Handshakes>,
}

/// The shard's thread: binds, waits for the engine, runs.
fn shard_thread(
    links: Vec<LinkConfig>,
    bound_tx: &std::sync::mpsc::Sender<Result<BoundLinks, Failure>>,
    begin: oneshot::Receiver<(Engine, ShardClock, Surroundings)>,
) -> Result<(), Stopped> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    // Threads of the runtime that may block are born with the shard's standing at that moment.
    builder.on_thread_start(|| {
        crate::priority::usual();
    });
    let poll_clock = PollClock::install(&mut builder);
    let runtime = builder.build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let bound = match Switch::bind(&links).await {
            Ok(bound) => bound,
            Err(error) => {
                let _ = bound_tx.send(Err(error.into()));
                return Ok(());
            }
        };
        let told = BoundLinks { addresses: bound.addresses(), poll_clock, handshakes: bound.handshakes() };
        if bound_tx.send(Ok(told)).is_err() {
            return Ok(());
        }
        match begin.await {
            Ok((engine, clock, surroundings)) => run(engine, clock, bound, surroundings).await,
            // The start failed elsewhere and said so.
            Err(_) => Ok(()),
        }
    })
}

fn open_view(config: &Config, last_seq: u64) -> Result<View, Failure> {
    let dir = data::view_dir(&config.data_dir);
    match View::open(&dir, last_seq) {
        Ok((view, report)) => {
            if let Some(why) = report.wiped {
                tracing::warn!(%why, "the read model is rebuilt from the journal");
            }
            Ok(view)
        }
        Err(error @ ViewError::Ahead { .. }) => Err(Failure::data(format!("{}: {error}", dir.display()))),
        Err(error) => Err(Failure::data(format!("{}: {error}; make the directory writable", dir.display()))),
    }
}

/// The first start makes an operator key and leaves it in a file; a start after a crash in between takes the file's.
fn ensure_operator_key(config: &Config, known: &[[u8; 32]], handle: &ShardHandle) -> Result<bool, Failure> {
    if !known.is_empty() {
        return Ok(false);
    }
    let command = operator_key_command(&operator_key(config)?);
    let write = Write {
        idempotency: None,
        plan: Box::new(move |_, _| Ok(command)),
        render: Box::new(|_, _, done: Result<_, Refusal>| Rendered {
            status: if done.is_ok() { 201 } else { 500 },
            body: Vec::new(),
        }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|e| Failure::data(format!("a runtime cannot start: {e}")))?;
    let outcome = runtime.block_on(handle.write(write)).map_err(|e| Failure::data(e.to_string()))?;
    match outcome {
        super::handle::WriteOutcome::Fresh(Rendered { status: 201, .. }) => Ok(true),
        other => Err(Failure::data(format!("the operator's key could not be made: {other:?}"))),
    }
}

/// The operator's key as its file holds it; made and written when there is none.
fn operator_key(config: &Config) -> Result<zeroize::Zeroizing<String>, Failure> {
    if let Some(key) = data::read_operator_key(&config.data_dir) {
        return Ok(key);
    }
    let key = rest::keys::generate().map_err(|e| Failure::data(e.to_string()))?;
    data::write_secret(&data::operator_key_file(&config.data_dir), key.as_bytes())?;
    Ok(key)
}

fn operator_key_command(key: &str) -> ledger_core::book::Command {
    let (name, hash) = ("first operator".to_owned(), rest::keys::hash(key));
    ledger_core::book::Command::CreateKey { partner: None, name, hash }
}

/// Remembers specs by name: the view asks for every request.
fn cached(load: impl Fn(&str) -> Option<Arc<Spec>> + Send + Sync) -> impl Fn(&str) -> Option<Arc<Spec>> + Send + Sync {
    let known: dashmap::DashMap<String, Option<Arc<Spec>>> = dashmap::DashMap::new();
    move |name| {
        if let Some(spec) = known.get(name) {
            return spec.clone();
        }
        let spec = load(name);
        known.insert(name.to_owned(), spec.clone());
        spec
    }
}

impl Running {
    /// Resolves when the shard has ended by itself: a failure.
    pub async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            let _ = ended.await;
        }
    }

    /// Has the certificates of links read again at once if their files changed; without this the next handshake
    /// finds out.
    pub fn refresh_certificates(&self) {
        if let Some(handshakes) = &self.handshakes {
            handshakes.refresh();
        }
    }

    /// Drains, stops, and tells how it ended.
    ///
    /// # Errors
    /// Exit 3 when the shard had to stop by itself.
    pub fn stop(mut self) -> Result<(), Failure> {
        // Before the directory is free for another process.
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        let _ = self.stop.send(true);
        let result = match self.shard.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) | None => Ok(()),
            Some(Ok(Err(stopped))) => Err(Failure::data(stopped.to_string())),
            Some(Err(_)) => Err(Failure::data("the shard's thread panicked; its message is above")),
        };
        // After a failure nothing may be acknowledged any more, the sidecar's answers included.
        result?;
        self.sidecar_stop.cancel();
        if let Some(sidecar) = self.sidecar.take() {
            let _ = sidecar.join();
        }
        if let Some(feeder) = self.feeder.take() {
            feeder.stop();
        }
        Ok(())
    }
}
