//! The sidecar over a real socket, a real journal, a real read model and a real book; only the shard's thread is a
//! stand-in that executes requests one by one, durable before each answer.

#![allow(dead_code)] // each test file uses its own part

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use auth_engine::rest::balances::{BalanceCells, Balances};
use auth_engine::rest::{App, Health, LinkTarget, Settings, keys, serve};
use auth_engine::shard::handle::{Rendered, Request, ShardHandle, Write, WriteOutcome};
use auth_engine::shard::traces::Traces;
use auth_engine::view::View;
use auth_engine::view::feed::{FeederHandle, JournalSource};
use auth_engine::view::fold::{Requests, SealedRequests};
use iso_codec::{Framing, Spec};
use ledger_core::book::{Book, Command, Policy, Sealer};
use ledger_core::event::admin::{Idempotent, Started};
use ledger_core::event::{Event, field};
use ledger_core::id::Id;
use ledger_core::journal::{Journal, KeySource, Options, SpareMaking, SyncMode};
use ledger_core::keys::{Keyring, MasterKey, Nonce};
use ledger_core::time::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// An answer as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status, "{self:?}");
        assert!(json["title"].is_string() && json["detail"].is_string() && json["type"].is_string(), "{self:?}");
        json["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn pointers(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|error| error["pointer"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member}: {self:?}")).to_owned()
    }
}

/// The sidecar and what it stands on.
pub(crate) struct Bench {
    pub(crate) addr: SocketAddr,
    pub(crate) operator: String,
    pub(crate) balances: Arc<Balances>,
    pub(crate) health: Arc<Health>,
    /// While set, the shard applies and makes durable, but answers no write: the moment of a crash.
    pub(crate) mute: Arc<AtomicBool>,
    pub(crate) shard: ShardHandle,
    shutdown: CancellationToken,
    server: Option<JoinHandle<()>>,
    stop: Option<tokio::sync::mpsc::Sender<Request>>,
    engine: Option<JoinHandle<()>>,
}

/// Settings of a bench.
pub(crate) struct Setup {
    pub(crate) sandbox: bool,
    pub(crate) links: Vec<LinkTarget>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { sandbox: true, links: Vec::new() }
    }
}

struct Seals {
    keyring: Arc<Keyring>,
    epoch: u32,
}

impl Sealer for Seals {
    fn seal(&self, seq: u64, field: u16, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.keyring.seal(Nonce { epoch: self.epoch, seq, field }, plain, &mut out);
        out
    }
}

/// The stand-in for the shard's thread.
struct Shard {
    book: Book,
    journal: Journal,
    seals: Seals,
    balances: Arc<Balances>,
    feeder: FeederHandle,
    mute: Arc<AtomicBool>,
    /// Answers held back by `mute`; dropped with the shard.
    unanswered: Vec<tokio::sync::oneshot::Sender<WriteOutcome>>,
}

impl Shard {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond()).max(self.book.last_at())
    }

    fn append(&mut self, now: Timestamp, event: &Event<'_>) -> u64 {
        let seq = self.journal.append(now.0, |out| event.encode(out));
        self.book.apply(seq, now, event).expect("the book takes what it decided");
        seq
    }

    fn command(
        &mut self,
        command: &Command,
        now: Timestamp,
    ) -> Result<ledger_core::book::Done, ledger_core::book::Refusal> {
        let (events, done) = self.book.decide_command(command, &Policy::default(), now, &self.seals)?;
        for event in &events {
            self.append(now, event);
        }
        Ok(done)
    }

    fn remember(&mut self, now: Timestamp, key: auth_engine::shard::handle::IdempotencyKey, answer: &Rendered) {
        let sealed = self.seals.seal(self.book.last_seq() + 1, field::ANSWER, &answer.body);
        let event = Idempotent { key: key.key, body: key.body, status: answer.status, answer: sealed.into() };
        self.append(now, &Event::Idempotent(event));
    }

    fn recall(&self, key: auth_engine::shard::handle::IdempotencyKey, now: Timestamp) -> Option<WriteOutcome> {
        let record = self.book.idempotency(&key.key, now)?;
        Some(if record.body == key.body { WriteOutcome::Stored { seq: record.seq } } else { WriteOutcome::Mismatch })
    }

    fn write(&mut self, write: Write) -> WriteOutcome {
        let now = self.now();
        if let Some(known) = write.idempotency.and_then(|key| self.recall(key, now)) {
            return known;
        }
        let command = match (write.plan)(&self.book, now) {
            Ok(command) => command,
            Err(answer) => return WriteOutcome::Fresh(answer),
        };
        let result = self.command(&command, now);
        let answer = (write.render)(&self.book, now, result);
        if let Some(key) = write.idempotency {
            self.remember(now, key, &answer);
        }
        self.commit();
        WriteOutcome::Fresh(answer)
    }

    fn commit(&mut self) {
        let durable = self.journal.commit().expect("the disk works");
        let balances = &self.balances;
        self.book.take_touched(|book, source| publish(book, source, balances));
        self.feeder.notify(durable);
    }

    fn run(mut self, mut requests: tokio::sync::mpsc::Receiver<Request>) {
        while let Some(request) = requests.blocking_recv() {
            match request {
                Request::Query(read) => read(&self.book, self.now()),
                Request::Trace(read) => read(&self.book, &Traces::new(0)),
                Request::Write(write, answer) => {
                    let outcome = self.write(write);
                    if self.mute.load(Ordering::SeqCst) {
                        self.unanswered.push(answer);
                    } else {
                        let _ = answer.send(outcome);
                    }
                }
                Request::Remember(key, rendered, done) => {
                    let now = self.now();
                    self.remember(now, key, &rendered);
                    self.commit();
                    let _ = done.send(());
                }
                Request::Recall(key, answer) => {
                    let _ = answer.send(self.recall(key, self.now()));
                }
            }
        }
    }
}

fn publish(book: &Book, source: ledger_core::event::tap::Source, balances: &Balances) {
    use ledger_core::event::tap::Source;
    let found: Option<(Id, _)> = match source {
        Source::Pool(i) => book.pool(i).map(|pool| (pool.id, pool.balance)),
        Source::Account(i) => book.account(i).map(|account| (account.id, account.balance)),
    };
    if let Some((id, balance)) = found {
        let cells: Arc<BalanceCells> = balances.insert(id);
        cells.publish(balance.available, balance.held);
    }
}

impl Bench {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, Setup::default())
    }

    pub(crate) fn start_with(dir: &Path, setup: Setup) -> Self {
        let options = Options {
            segment_bytes: 1 << 20,
            mode: SyncMode::Buffered,
            spares: SpareMaking::Inline,
            pace: Duration::ZERO,
            ..Options::new(dir.join("journal"))
        };
        let keys_of = KeySource::new(MasterKey::from_bytes([7; 32]), std::array::from_fn(|i| i as u8));
        let mut book = Book::default();
        let mut fold = |record: ledger_core::journal::Record<'_>| {
            let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
            book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())
        };
        let (mut journal, recovery) = Journal::open(options, keys_of, &mut fold).expect("journal opens");
        let epoch = recovery.last_epoch + 1;
        journal.start_epoch(epoch);
        let keyring = Arc::clone(journal.keyring());
        let reader = journal.reader();
        let (view, _) = View::open(&dir.join("view"), recovery.last_seq).expect("view opens");
        let specs = Box::new(Spec::embedded);
        let sealed: Arc<dyn Requests> = Arc::new(SealedRequests::new(Arc::clone(&keyring), specs));
        let feeder = view.start(Box::new(JournalSource::new(reader.clone())), Arc::clone(&sealed));
        let balances = Arc::new(Balances::new());
        let mute = Arc::new(AtomicBool::new(false));
        let mut shard = Shard {
            book,
            journal,
            seals: Seals { keyring: Arc::clone(&keyring), epoch },
            balances: Arc::clone(&balances),
            feeder,
            mute: Arc::clone(&mute),
            unanswered: Vec::new(),
        };
        let now = shard.now();
        let started = Started { epoch, version: "test".into(), dedup_window_us: 3_600_000_000 };
        shard.append(now, &Event::Started(started));
        let operator = "ak_operator".to_owned();
        if recovery.created {
            let hash = keys::hash(&operator);
            let key = Command::CreateKey { partner: None, name: "first".to_owned(), hash };
            shard.command(&key, now).expect("an operator's key");
        }
        shard.commit();
        for i in 0..u32::try_from(shard.book.pools().len()).expect("few") {
            publish(&shard.book, ledger_core::event::tap::Source::Pool(i), &balances);
        }
        for i in 0..shard.book.accounts().len() {
            publish(&shard.book, ledger_core::event::tap::Source::Account(i), &balances);
        }
        let (handle, requests) = ShardHandle::new(1024);
        let engine = std::thread::spawn(move || shard.run(requests));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let health = Arc::new(Health::new());
        health.ready("journal");
        let app = App {
            checkpoint: Arc::default(),
            shard: handle.clone(),
            view,
            balances: Arc::clone(&balances),
            reader,
            keyring,
            requests: sealed,
            settings: Settings { sandbox: setup.sandbox, issuing_bin: "53511012".to_owned(), links: setup.links },
            health: Arc::clone(&health),
            calls: Arc::default(),
        };
        let server = serve(app, listener, shutdown.clone()).expect("serves");
        Self {
            addr,
            operator,
            balances,
            health,
            mute,
            shard: handle,
            shutdown,
            server: Some(server),
            stop: None,
            engine: Some(engine),
        }
    }

    /// Ends everything; the directory can be opened again afterwards.
    pub(crate) fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(server) = self.server.take() {
            server.join().expect("the sidecar ends");
        }
        drop(self.stop.take());
        let engine = self.engine.take();
        drop(self.shard);
        if let Some(engine) = engine {
            engine.join().expect("the shard ends");
        }
    }

    /// One request on a connection of its own, as bytes.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        // A server that refuses early may close before all is written; what it answered is what counts.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let mut buffer = [0u8; 8192];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        if let Some(key) = key {
            request.push_str(&format!("authorization: Bearer {key}\r\n"));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes)
    }

    pub(crate) fn get(&self, path: &str, key: &str) -> Answer {
        self.call("GET", path, Some(key), &[], b"")
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("POST", path, Some(key), &[], body.to_string().as_bytes())
    }

    pub(crate) fn patch(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("PATCH", path, Some(key), &[], body.to_string().as_bytes())
    }

    pub(crate) fn put(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(key), &[], body.to_string().as_bytes())
    }

    /// The same POST under an Idempotency-Key.
    pub(crate) fn keyed(&self, path: &str, key: &str, idempotency: &str, body: Value) -> Answer {
        self.call("POST", path, Some(key), &[("idempotency-key", idempotency)], body.to_string().as_bytes())
    }

    /// A partner with a key of its own: (id, key).
    pub(crate) fn partner(&self, name: &str) -> (String, String) {
        let made = self.post(
            "/v1/partners",
            &self.operator,
            serde_json::json!({"name": name, "decision_mode": "auto_approve"}),
        );
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text("id");
        let key = self.post(&format!("/v1/partners/{id}/keys"), &self.operator, serde_json::json!({}));
        assert_eq!(key.status, 201, "{key:?}");
        (id, key.text("key"))
    }

    /// A user whose KYC is approved.
    pub(crate) fn user(&self, key: &str, external_id: &str) -> String {
        let made = self.post("/v1/users", key, serde_json::json!({"external_id": external_id, "country": "DE"}));
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text("id");
        let path = format!("/v1/users/{id}/kyc");
        for (who, status) in [(key, "submitted"), (&*self.operator, "in_review"), (&*self.operator, "approved")] {
            let moved = self.post(&path, who, serde_json::json!({"status": status}));
            assert_eq!(moved.status, 200, "{moved:?}");
        }
        id
    }

    /// The hash of the book, to show that nothing has changed.
    pub(crate) fn state(&self) -> String {
        self.get("/v1/system/state", &self.operator).text("state_hash")
    }

    /// Sends many requests at once and gives their answers in order.
    pub(crate) fn at_once(&self, count: usize, each: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
        let (tx, rx) = mpsc::channel();
        let each = &each;
        std::thread::scope(|scope| {
            for i in 0..count {
                let tx = tx.clone();
                scope.spawn(move || tx.send((i, each(i))).expect("the test waits"));
            }
        });
        drop(tx);
        let mut answers: Vec<_> = rx.into_iter().collect();
        answers.sort_by_key(|(i, _)| *i);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// A link that nobody needs to answer on.
pub(crate) fn link(addr: SocketAddr, budget: Duration) -> LinkTarget {
    LinkTarget {
        name: "mastercard".to_owned(),
        addr,
        spec: Spec::embedded("mastercard").expect("compiled in"),
        framing: Framing::default(),
        budget,
    }
}
