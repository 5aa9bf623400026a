//! What a tap costs the shard's thread beyond what any server of its shape pays: a server of one thread, with the
//! engine's own switch and journal, that appends each request as it came, syncs once a batch, and answers from a
//! template. No book, no codec, no sealing. It owns that server and the comparison; nothing else may be told against
//! it.

use crate::engine::{beside, end, lines_of, listening, spawn_bound, workplace};
use crate::fault::Fault;
use crate::load::mix::Mix;
use crate::load::numbers::Numbers;
use crate::load::output::Output;
use crate::load::schedule::Arrivals;
use crate::load::target::Target;
use crate::load::watch::Watch;
use crate::load::{self, Plan, Shape};
use crate::result::{RunResult, Target as Asked};
use auth_engine::config::{Config, Opening};
use auth_engine::switch::{ConnId, Inbound, PollClock, Sink, Switch};
use bytes::{Bytes, BytesMut};
use iso_codec::{Builder, Elements, Message, Spec, decode};
use ledger_core::journal::{Journal, KeySource, Options};
use ledger_core::keys::MasterKey;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Turns of the runtime while company comes, as the engine's shard gives.
const TURNS: usize = 6;
/// Frames of one batch, as the engine's shard takes.
const MOST: usize = 4096;
/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// What of a request stands in the answer of the template.
const RETURNED: Elements = Elements::of(&[2, 3, 4, 7, 11, 32, 33, 37]);
const RETURNED_AFTER: Elements = Elements::of(&[41, 49, 63]);
/// How much more CPU time than that server's a tap may cost, microseconds.
const MARGIN_US: f64 = 2.5;

/// Arguments of `cpu`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches cpu --rate 100000 --rounds 3")]
pub(crate) struct Args {
    /// Taps a second
    #[arg(long, default_value_t = 100_000.0)]
    rate: f64,
    /// Turns of each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// The measured part of each turn
    #[arg(long, value_name = "TIME", default_value = "3s")]
    length: humantime::Duration,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where data directories lie (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `shape-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where its journal lies
    #[arg(long)]
    data: PathBuf,
}

/// Runs `cpu`: engine and server in turns, account-funded taps at one rate.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let mix = Mix::load("accounts")?;
    let partner = serde_json::json!({ "name": "CPU", "decision_mode": "auto_approve" });
    let engine = Target::ours(args.engine.as_deref(), place.path(), &mix, &partner)?;
    let shape = Server::start(&place.path().join("shape"))?;
    let mut numbers = Numbers::new(jiff::Timestamp::now());
    let (mut of_engine, mut of_shape) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        for turn in 0..2 {
            let own = (round + turn) % 2 == 0;
            let (addr, watch) = if own { (engine.addr, engine.watch.clone()) } else { (shape.addr, shape.watch()) };
            let how = Shape::Open { rate: args.rate, arrivals: Arrivals::Poisson };
            let plan = Plan {
                group: "cpu".to_owned(),
                length: args.length.into(),
                warm_up: Duration::from_secs(1),
                watch,
                floor_samples: 0,
                ..Plan::new(
                    if own { "engine" } else { "append and sync" },
                    vec![addr],
                    how,
                    mix.clone(),
                    engine.cards.clone(),
                )
            };
            let result = load::run(&plan, &mut numbers, None)?;
            if own { &mut of_engine } else { &mut of_shape }.push(result);
        }
    }
    let (mut of_engine, of_shape) = (middle(of_engine), middle(of_shape));
    if let (Some(engine), Some(shape)) = (of_engine.server_cpu_us, of_shape.server_cpu_us) {
        of_engine.target = Some(Asked {
            asked: format!(
                "at most {MARGIN_US} µs of the thread's CPU above an append-and-sync server at {:.0}/s",
                args.rate
            ),
            got: format!("{:.2} µs above ({engine:.2} and {shape:.2})", engine - shape),
            met: engine - shape <= MARGIN_US,
        });
    }
    args.output.emit(vec![of_engine, of_shape])
}

/// The turn in the middle by CPU time; a void one comes last, and is void.
fn middle(mut turns: Vec<RunResult>) -> RunResult {
    let cost = |turn: &RunResult| if turn.void.is_some() { f64::MAX } else { turn.server_cpu_us.unwrap_or(f64::MAX) };
    turns.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let at = turns.len() / 2;
    turns.into_iter().nth(at).unwrap_or_default()
}

/// The server as a child. Dropping it ends it.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(data: &std::path::Path) -> Result<Server, Fault> {
        let mut command = Command::new(beside("benches")?);
        command.args(["shape-server", "--data"]).arg(data).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn_bound(&mut command).map_err(Fault::io("starting the append-and-sync server"))?;
        let line = lines_of(&mut child).recv_timeout(PATIENCE).unwrap_or_default();
        match listening(&line) {
            Some(addr) => Ok(Server { child, addr }),
            None => {
                end(&mut child);
                Err(Fault::Engine("the append-and-sync server did not start".to_owned()))
            }
        }
    }

    fn watch(&self) -> Watch {
        Watch { thread: Some((self.child.id(), "shape".to_owned())), ..Watch::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Frames that wait for the next batch.
#[derive(Default)]
struct Inbox {
    frames: RefCell<Vec<(ConnId, Bytes)>>,
    wake: Notify,
}

impl Sink for Inbox {
    fn frame(&self, inbound: Inbound) {
        self.frames.borrow_mut().push((inbound.conn, inbound.frame));
        self.wake.notify_one();
    }

    fn opened(&self, _link: usize, _conn: ConnId, _peer: SocketAddr) {}

    fn closed(&self, _conn: ConnId) {}

    fn rejected(&self, _link: usize, _reason: &'static str) {}
}

/// Runs `shape-server` until it is killed.
pub(crate) fn serve(args: &ServerArgs) -> Result<ExitCode, Fault> {
    let data = args.data.clone();
    let thread = std::thread::Builder::new().name("shape".to_owned()).spawn(move || thread(&data));
    let thread = thread.map_err(Fault::io("starting the server's thread"))?;
    match thread.join() {
        Ok(done) => done.map(|()| ExitCode::SUCCESS),
        Err(_) => Err(Fault::Engine("the append-and-sync server's thread panicked".to_owned())),
    }
}

fn thread(data: &std::path::Path) -> Result<(), Fault> {
    let mut config = Config::load(None, Some(data)).map_err(|error| Fault::Engine(error.to_string()))?;
    config.links.iter_mut().for_each(|link| link.opening = Opening::Listen(SocketAddr::from(([127, 0, 0, 1], 0))));
    let keys = KeySource::new(MasterKey::from_bytes([7; 32]), [9; 80]);
    let opened = Journal::open(Options::new(data.join("journal")), keys, &mut |_| Ok(()));
    let (mut journal, _) = opened.map_err(|error| Fault::Engine(error.to_string()))?;
    journal.start_epoch(1);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    let clock = PollClock::install(&mut builder);
    let runtime = builder.build().map_err(Fault::io("building a runtime"))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let bound = Switch::bind(&config.links).await.map_err(|error| Fault::Engine(error.to_string()))?;
        for (_, addr) in bound.addresses() {
            println!("shape listening on {addr}");
        }
        let inbox = Rc::new(Inbox::default());
        let sink: Rc<dyn Sink> = inbox.clone();
        let switch = bound.start(sink, clock.clone()).map_err(Fault::io("starting the links"))?;
        let mut template = None;
        let (mut batch, mut at) = (Vec::new(), 0);
        loop {
            while inbox.frames.borrow().is_empty() {
                inbox.wake.notified().await;
            }
            batch.append(&mut inbox.frames.borrow_mut());
            for _ in 0..TURNS {
                if batch.len() < 2 || batch.len() >= MOST {
                    break;
                }
                clock.turn().await;
                let before = batch.len();
                batch.append(&mut inbox.frames.borrow_mut());
                if batch.len() == before {
                    break;
                }
            }
            for (_, frame) in &batch {
                at += 1;
                journal.append(at, |out| out.extend_from_slice(frame));
            }
            journal.commit().map_err(|error| Fault::Engine(error.to_string()))?;
            for (conn, frame) in batch.drain(..) {
                let template = match &mut template {
                    Some(template) => template,
                    None => template.insert(Template::of(&frame)?),
                };
                switch.send(conn, &[], template.answer(&frame));
            }
            switch.flush();
        }
    })
}

/// An approval whose changing elements are copied from the request: all requests of a run are laid out alike.
struct Template {
    reply: BytesMut,
    /// From where in the request to where in the reply, and how much.
    copies: Vec<(usize, usize, usize)>,
}

impl Template {
    fn of(frame: &Bytes) -> Result<Template, Fault> {
        let fault = |text: String| Fault::Message(text);
        let spec = Spec::embedded("mastercard").ok_or_else(|| fault("no spec".to_owned()))?;
        let request = decode(&spec, frame.clone()).map_err(|error| fault(error.to_string()))?;
        let mut out = BytesMut::new();
        build(&spec, &request, &mut out).map_err(|error| fault(error.to_string()))?;
        let reply = decode(&spec, out.clone().freeze()).map_err(|error| fault(error.to_string()))?;
        let place = |message: &Message, n: u8| {
            let raw = message.raw(n)?;
            Some((raw.as_ptr() as usize - message.frame().as_ptr() as usize, raw.len()))
        };
        let copies = RETURNED.or(RETURNED_AFTER).into_iter();
        let copies = copies.filter_map(|n| {
            let ((from, len), (to, _)) = (place(&request, n)?, place(&reply, n)?);
            Some((from, to, len))
        });
        Ok(Template { copies: copies.collect(), reply: out })
    }

    fn answer(&mut self, frame: &[u8]) -> &[u8] {
        for (from, to, len) in &self.copies {
            if let (Some(from), Some(to)) = (frame.get(*from..from + len), self.reply.get_mut(*to..to + len)) {
                to.copy_from_slice(from);
            }
        }
        &self.reply
    }
}

fn build(spec: &Arc<Spec>, request: &Message, out: &mut BytesMut) -> Result<(), iso_codec::EncodeError> {
    let mut builder = Builder::new(spec, request.mti().response(), out);
    builder.copy_set(RETURNED, request)?;
    builder.text(38, b"123456")?;
    builder.text(39, b"00")?;
    builder.copy_set(RETURNED_AFTER, request)?;
    builder.finish().map(drop)
}
