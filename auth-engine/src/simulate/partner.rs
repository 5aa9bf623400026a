//! A sample partner: a small web server that verifies the engine's asks and answers them by rule, right,
//! late, wrong or not at all. It owns its own thread; it must never share anything with an engine but the
//! socket between them, and never print a secret.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::rules::{Behaviour, Choice, Facts, Rule, RuleError, choose, parse_all};
use crate::partner::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, Secret, verify};

/// A request's body may have so many bytes.
const REQUEST_LIMIT: usize = 64 * 1024;
/// A signature may be so many seconds old.
const TOLERANCE_S: i64 = 300;
/// Ids remembered to notice an ask that comes twice.
const IDS_KEPT: usize = 1_000_000;
/// Bytes of a `huge` answer.
const HUGE: u64 = 100 * 1024 * 1024;

/// How a sample partner is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The rules it starts with; none approves everything.
    pub rules: Vec<Rule>,
    /// The secrets it accepts; none means signatures are not verified.
    pub secrets: Vec<Secret>,
    /// TLS; none for plain http.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// One line per ask on stdout.
    pub print: bool,
}

/// What a sample partner has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Connections accepted.
    pub connections: u64,
    /// The most asks that were being answered at once.
    pub most_at_once: u64,
    /// Asks whose signature was good, or was not to be verified.
    pub asks: u64,
    /// Asks whose `webhook-id` had been seen before.
    pub repeated: u64,
    /// Asks that came over HTTP/2.
    pub http2: u64,
    /// Requests with a bad signature, answered 401.
    pub unsigned: u64,
    /// Asks by how they were answered (`approve`, `decline`, `silent`, …).
    pub answers: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Tally {
    seen: Seen,
    at_once: u64,
    ids: HashSet<[u8; 16]>,
}

struct Shared {
    rules: Mutex<Arc<[Rule]>>,
    secrets: Mutex<Arc<[Secret]>>,
    tally: Mutex<Tally>,
    print: bool,
}

/// Every lock here guards plain values that are whole at any moment, so a poisoned one is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running sample partner. Dropping it stops it: its port refuses, its connections break.
pub struct SamplePartner {
    addr: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SamplePartner {
    /// Starts on `addr` (port 0 picks one), in plain http. Returns once it listens.
    pub fn start<S: AsRef<str>>(addr: impl ToSocketAddrs, rules: &[S], secrets: Vec<Secret>) -> io::Result<Self> {
        let rules = parse_all(rules).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Self::start_with(addr, Setup { rules, secrets, ..Setup::default() })
    }

    /// Starts with everything that can be set. Returns once it listens.
    pub fn start_with(addr: impl ToSocketAddrs, setup: Setup) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let shared = Arc::new(Shared {
            rules: Mutex::new(setup.rules.into()),
            secrets: Mutex::new(setup.secrets.into()),
            tally: Mutex::new(Tally::default()),
            print: setup.print,
        });
        let (stop, stopped) = oneshot::channel();
        let tls = setup.tls.map(tokio_rustls::TlsAcceptor::from);
        let (accept_shared, with_tls) = (shared.clone(), tls.is_some());
        let thread = std::thread::Builder::new().name("sample-partner".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let listener = match TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "the sample partner cannot listen"),
                };
                tokio::select! {
                    () = accept(listener, tls, accept_shared) => {}
                    // Either way of ending, a word or a drop, means the same.
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { addr, tls: with_tls, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The `decision_url` to give the engine.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/decide", self.addr)
    }

    /// Changes the rules for the asks that come from now on.
    pub fn set_rules<S: AsRef<str>>(&self, rules: &[S]) -> Result<(), RuleError> {
        *lock(&self.shared.rules) = parse_all(rules)?.into();
        Ok(())
    }

    /// Changes the secrets that are accepted; none stops verifying.
    pub fn set_secrets(&self, secrets: Vec<Secret>) {
        *lock(&self.shared.secrets) = secrets.into();
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.shared.tally).seen.clone()
    }

    /// Runs until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panicked thread was told by the panic itself.
            let _ = thread.join();
        }
    }

    /// Stops, and returns once the port is closed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for SamplePartner {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<tokio_rustls::TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the sample partner could not accept a connection");
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        lock(&shared.tally).seen.connections += 1;
        tokio::spawn(connection(stream, tls.clone(), shared.clone()));
    }
}

async fn connection(stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket, to turn its close into a reset.
    let Ok(fuse) = socket2::SockRef::from(&stream).try_clone() else { return };
    let fuse = Arc::new(fuse);
    let service = service_fn(move |request| answer(request, shared.clone(), fuse.clone()));
    let builder = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is the other side's concern; here it is over.
    match tls {
        None => {
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        }
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("hung up on purpose")]
struct HungUp;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    fuse: Arc<socket2::Socket>,
) -> Result<Response<SampleBody>, HungUp> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, REQUEST_LIMIT).collect().await else {
        return Ok(json(StatusCode::PAYLOAD_TOO_LARGE, &serde_json::json!({"error": "the body is over 64 KiB"})));
    };
    let body = body.to_bytes();
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/rules") => Ok(rules_now(&shared)),
        (&Method::PUT, "/rules") => Ok(put_rules(&shared, &body)),
        (&Method::GET, "/seen") => {
            let seen = lock(&shared.tally).seen.clone();
            Ok(json(StatusCode::OK, &seen))
        }
        (&Method::POST, _) => decide(&head, body, shared, fuse).await,
        _ => Ok(json(
            StatusCode::NOT_FOUND,
            &serde_json::json!({"error": "POST asks to any path; GET or PUT /rules; GET /seen"}),
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesBody {
    rules: Vec<String>,
}

fn rules_now(shared: &Shared) -> Response<SampleBody> {
    let rules = lock(&shared.rules).clone();
    let texts: Vec<&str> = rules.iter().map(Rule::text).collect();
    json(StatusCode::OK, &serde_json::json!({"rules": texts}))
}

fn put_rules(shared: &Shared, body: &[u8]) -> Response<SampleBody> {
    let parsed = serde_json::from_slice::<RulesBody>(body)
        .map_err(|error| format!("the body is not {{\"rules\":[\"…\"]}}: {error}"))
        .and_then(|body| parse_all(&body.rules).map_err(|error| error.to_string()));
    match parsed {
        Ok(rules) => {
            *lock(&shared.rules) = rules.into();
            rules_now(shared)
        }
        Err(error) => json(StatusCode::BAD_REQUEST, &serde_json::json!({"error": error})),
    }
}

/// What the sample reads of an ask; all of it may be absent, as the sample judges nothing.
#[derive(Deserialize, Default)]
#[serde(default)]
struct AskRead {
    timeout_ms: u64,
    data: DataRead,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DataRead {
    kind: String,
    user_external_id: String,
    card_last4: String,
    amount: MoneyRead,
    merchant: MerchantRead,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MoneyRead {
    value: Decimal,
    currency: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MerchantRead {
    mcc: Option<String>,
    country: Option<String>,
}

async fn decide(
    head: &http::request::Parts,
    body: Bytes,
    shared: Arc<Shared>,
    fuse: Arc<socket2::Socket>,
) -> Result<Response<SampleBody>, HungUp> {
    let begun_at = Instant::now();
    let header = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let id = header(HEADER_ID);
    let secrets = lock(&shared.secrets).clone();
    if !secrets.is_empty() {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
        let (timestamp, signatures) = (header(HEADER_TIMESTAMP), header(HEADER_SIGNATURE));
        if let Err(error) = verify(&secrets, id, timestamp, signatures, &body, now_s, TOLERANCE_S) {
            lock(&shared.tally).seen.unsigned += 1;
            if shared.print {
                say(format_args!("{} -> 401, {error}", printable(id)));
            }
            return Ok(json(StatusCode::UNAUTHORIZED, &serde_json::json!({"error": error.to_string()})));
        }
    }
    let Ok(ask) = serde_json::from_slice::<AskRead>(&body) else {
        return Ok(json(StatusCode::BAD_REQUEST, &serde_json::json!({"error": "the body is not an ask"})));
    };
    let digest = blake3::hash(id.as_bytes());
    let dice = digest.as_bytes().last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let facts = Facts {
        kind: ask.data.kind,
        amount: ask.data.amount.value,
        currency: ask.data.amount.currency,
        mcc: ask.data.merchant.mcc.unwrap_or_default(),
        country: ask.data.merchant.country.unwrap_or_default(),
        last4: ask.data.card_last4,
        user: ask.data.user_external_id,
    };
    let rules = lock(&shared.rules).clone();
    let choice = choose(&rules, &facts, dice);
    let _present = Present::enter(shared.clone(), &digest, choice.behaviour.name());
    if head.version == http::Version::HTTP_2 {
        lock(&shared.tally).seen.http2 += 1;
    }
    if shared.print {
        print_line(id, &facts, &choice);
    }
    let late = match choice.behaviour {
        Behaviour::Late { by } => Duration::from_millis(ask.timeout_ms.min(600_000)) + by,
        _ => Duration::ZERO,
    };
    let wait = (choice.delay + late).saturating_sub(begun_at.elapsed());
    if !wait.is_zero() {
        sleep(wait).await;
    }
    respond(choice.behaviour, fuse).await
}

/// One ask being answered, counted while it is.
struct Present(Arc<Shared>);

impl Present {
    fn enter(shared: Arc<Shared>, id: &blake3::Hash, behaviour: &'static str) -> Self {
        {
            let mut tally = lock(&shared.tally);
            tally.at_once += 1;
            tally.seen.asks += 1;
            tally.seen.most_at_once = tally.seen.most_at_once.max(tally.at_once);
            *tally.seen.answers.entry(behaviour).or_default() += 1;
            let short = id.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
            if tally.ids.len() < IDS_KEPT && !tally.ids.insert(short) {
                tally.seen.repeated += 1;
            }
        }
        Self(shared)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.0.tally).at_once -= 1;
    }
}

fn print_line(id: &str, facts: &Facts, choice: &Choice) {
    let rule = choice.rule.as_deref().unwrap_or("no rule fits");
    say(format_args!(
        "{} {} {} {} mcc {} user {} card {} -> {} after {} ({})",
        printable(id),
        printable(&facts.kind),
        facts.amount,
        printable(&facts.currency),
        printable(&facts.mcc),
        printable(&facts.user),
        printable(&facts.last4),
        choice.behaviour.name(),
        humantime::format_duration(choice.delay),
        rule,
    ));
}

/// One line on stdout. When nobody reads it any more, the sample goes on answering all the same.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// What came from outside, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

async fn respond(behaviour: Behaviour, fuse: Arc<socket2::Socket>) -> Result<Response<SampleBody>, HungUp> {
    let text = |body: &str| Ok(ok(Bytes::copy_from_slice(body.as_bytes()), "application/json"));
    match behaviour {
        Behaviour::Approve { amount, source, metadata } => Ok(json(
            StatusCode::OK,
            &Approval {
                decision: "approve",
                amount,
                source,
                metadata: metadata.map(|bytes| serde_json::json!({"note": "x".repeat(bytes)})),
            },
        )),
        Behaviour::Decline { reason } => {
            Ok(json(StatusCode::OK, &serde_json::json!({"decision": "decline", "reason": reason})))
        }
        Behaviour::Late { .. } => text(r#"{"decision":"approve"}"#),
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Drip => {
            let body = Bytes::from_static(br#"{"decision":"approve"}"#);
            let wait = Box::pin(sleep(Duration::from_secs(1)));
            Ok(Response::new(SampleBody::Drip { body, wait }))
        }
        Behaviour::Reset => {
            let wait = Box::pin(sleep(Duration::from_millis(5)));
            let first = Some(Bytes::from_static(br#"{"decision":"#));
            let mut response = Response::new(SampleBody::Broken { first, wait, fuse });
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("22"));
            Ok(response)
        }
        Behaviour::Close => Err(HungUp),
        Behaviour::Garbage => text("\u{1}\u{2}}{ decision approve"),
        Behaviour::Html => {
            Ok(ok(Bytes::from_static(b"<!doctype html><html><body>It works!</body></html>"), "text/html"))
        }
        Behaviour::Deep => text(&format!(r#"{{"decision":{}{}}}"#, "[".repeat(5000), "]".repeat(5000))),
        Behaviour::Misspelt => text(r#"{"decision":"aproved"}"#),
        Behaviour::Huge => Ok(Response::new(SampleBody::Huge { left: HUGE })),
        Behaviour::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(json(status, &serde_json::json!({"decision": "approve"})))
        }
        Behaviour::Redirect(to) => {
            let mut response = json(StatusCode::TEMPORARY_REDIRECT, &serde_json::json!({"decision": "approve"}));
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(LOCATION, to);
            }
            Ok(response)
        }
    }
}

#[derive(Serialize)]
struct Approval {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<serde_json::Value>,
}

fn ok(body: Bytes, content_type: &'static str) -> Response<SampleBody> {
    let mut response = Response::new(SampleBody::Whole(Some(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<SampleBody> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = ok(Bytes::from(body), "application/json");
    *response.status_mut() = status;
    response
}

/// The body of an answer, in all its shapes.
enum SampleBody {
    Whole(Option<Bytes>),
    Drip { body: Bytes, wait: Pin<Box<Sleep>> },
    Huge { left: u64 },
    Broken { first: Option<Bytes>, wait: Pin<Box<Sleep>>, fuse: Arc<socket2::Socket> },
}

impl Body for SampleBody {
    type Data = Bytes;
    type Error = HungUp;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HungUp>>> {
        match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Drip { body, wait } => {
                if body.is_empty() {
                    return Poll::Ready(None);
                }
                std::task::ready!(wait.as_mut().poll(cx));
                wait.as_mut().reset(tokio::time::Instant::now() + Duration::from_secs(1));
                Poll::Ready(Some(Ok(Frame::data(body.split_to(1)))))
            }
            Self::Huge { left } => {
                if *left == 0 {
                    return Poll::Ready(None);
                }
                static CHUNK: [u8; 32 * 1024] = [b' '; 32 * 1024];
                *left = left.saturating_sub(CHUNK.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
            }
            Self::Broken { first, wait, fuse } => {
                if let Some(first) = first.take() {
                    return Poll::Ready(Some(Ok(Frame::data(first))));
                }
                // The pause lets the first half reach the wire before the connection breaks.
                std::task::ready!(wait.as_mut().poll(cx));
                let _ = fuse.set_linger(Some(Duration::ZERO));
                Poll::Ready(Some(Err(HungUp)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Drip { .. } | Self::Huge { .. } | Self::Broken { .. } => SizeHint::default(),
        }
    }
}
