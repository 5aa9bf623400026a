//! Those who are compared, running: the engine, the naive server, the lock-free one, each a process of its own with
//! the same number of cards and one pool. It owns what a reader must know of each; it must never give one of them
//! cards or money that the others have not.

use super::tap;
use crate::engine::{beside, end, lines_of, listening, spawn_bound};
use crate::fault::Fault;
use crate::load::cards::Cards;
use crate::load::mix::Mix;
use crate::load::target::Target;
use crate::load::watch::Watch;
use crate::messages::Messages;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take to lay its zeros and listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Those who are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The database.
    Postgres,
    /// One mutex, a sync for each tap.
    Naive,
    /// No lock, a journal for each worker.
    Cas,
    /// Ours.
    Engine,
}

impl Peer {
    /// As results call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Peer::Postgres => "PostgreSQL hot row",
            Peer::Naive => "naive",
            Peer::Cas => "compare-and-swap",
            Peer::Engine => "engine",
        }
    }

    /// What there are several of.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Peer::Postgres => "clients",
            Peer::Naive => "connections",
            Peer::Cas | Peer::Engine => "in flight",
        }
    }

    /// What a reader must know beside its figures.
    pub(super) fn notes(self) -> &'static [&'static str] {
        match self {
            Peer::Postgres => {
                &["PostgreSQL: one prepared call a tap over a unix socket, no ISO 8583 to read or write, \
                 synchronous_commit and fsync on; the row's lock is held through the commit's sync"]
            }
            Peer::Naive => {
                &["naive: decodes, decides, encodes and appends as the engine does, one mutex, one fdatasync a tap; \
                 requests are not sealed, its file begins again after 64 MiB"]
            }
            Peer::Cas => &[
                "compare-and-swap: decodes, decides, encodes and appends as the engine does, one fdatasync a batch and \
                 worker; requests are not sealed, its files begin again after 64 MiB and have no common order",
            ],
            Peer::Engine => &[],
        }
    }
}

/// A server of ours in a process of its own. Dropping it ends the process.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(command: &mut Command, name: &str) -> Result<Server, Fault> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn_bound(command).map_err(Fault::io(format!("starting the {name} server")))?;
        let line = lines_of(&mut child).recv_timeout(PATIENCE).unwrap_or_default();
        match listening(&line) {
            Some(addr) => Ok(Server { child, addr }),
            None => {
                end(&mut child);
                Err(Fault::Engine(format!("the {name} server did not start")))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// All three, running.
pub(super) struct Servers {
    engine: Target,
    naive: Server,
    cas: Server,
    /// Cards of the two that are not the engine.
    cards: Arc<Cards>,
}

impl Servers {
    /// Starts them under `dir` with the cards of the mix and that much money in the pool.
    pub(super) fn start(
        engine: Option<&Path>,
        dir: &Path,
        mix: &Mix,
        workers: u8,
        cents: i64,
    ) -> Result<Servers, Fault> {
        let [home, shards] = ["engine", "cas"].map(|name| dir.join(name));
        for made in [&home, &shards] {
            fs::create_dir(made).map_err(Fault::io(format!("creating {}", made.display())))?;
        }
        let partner = json!({ "name": "Compare", "decision_mode": "auto_approve" });
        let engine = Target::ours(engine, &home, mix, &partner)?;
        let count = mix.cards.count;
        let program = beside("benches")?;
        let same = ["--cards".to_owned(), count.to_string(), "--pool".to_owned(), cents.to_string()];
        let mut naive = Command::new(&program);
        naive.args(["naive-server", "--file"]).arg(dir.join("naive")).args(&same);
        let naive = Server::start(&mut naive, "naive")?;
        let mut cas = Command::new(&program);
        cas.args(["cas-server", "--workers", &workers.to_string(), "--dir"]).arg(&shards).args(&same);
        let cas = Server::start(&mut cas, "compare-and-swap")?;
        let pans: Vec<String> = (0..count).map(|n| tap::pan(n).to_string()).collect();
        let cards = Arc::new(Cards::new(pans.iter().map(String::as_str))?);
        Ok(Servers { engine, naive, cas, cards })
    }

    /// Where it listens, its cards, what of it can be watched. The database has none of these and is given the
    /// engine's.
    pub(super) fn of(&self, peer: Peer) -> (SocketAddr, Arc<Cards>, Watch) {
        match peer {
            Peer::Naive => (self.naive.addr, Arc::clone(&self.cards), Watch::default()),
            Peer::Cas => (self.cas.addr, Arc::clone(&self.cards), Watch::default()),
            Peer::Engine | Peer::Postgres => {
                (self.engine.addr, Arc::clone(&self.engine.cards), self.engine.watch.clone())
            }
        }
    }

    /// A request as all of them get it: what the database keeps with each authorization.
    pub(super) fn sample(&self) -> Result<Vec<u8>, Fault> {
        let (request, _) = Messages::new()?.tap(0x0100, &tap::pan(0).to_string(), 1250, "5812")?;
        Ok(request.to_vec())
    }
}
