//! Blocking clients, one for the link and one for the sidecar. They own framing, time limits and keys; they must
//! never repeat a request by themselves, since what is repeated, and when, is what the harness tests.

use crate::fault::Fault;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Largest reply a link may bring: two length bytes cannot say more.
const LARGEST: usize = u16::MAX as usize;
/// How long a call to the sidecar may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Largest answer of the sidecar that is read, in bytes.
const BODY_LIMIT: u64 = 4 << 20;

/// A connection to a link with 2-byte big-endian lengths, as a network's front end has it.
pub(crate) struct Link<S = TcpStream> {
    stream: S,
    out: Vec<u8>,
}

impl Link {
    /// Connects without delay of small writes; a read that takes longer than `patience` fails.
    pub(crate) fn connect(addr: SocketAddr, patience: Duration) -> io::Result<Link> {
        let stream = TcpStream::connect_timeout(&addr, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Link::over(stream))
    }

    /// A second handle of the same connection, so that one thread can send while another receives.
    pub(crate) fn again(&self) -> io::Result<Link> {
        Ok(Link { stream: self.stream.try_clone()?, out: Vec::new() })
    }

    /// The same connection inside TLS.
    pub(crate) fn secured(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<SecureLink> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Link::over(StreamOwned::new(session, self.stream)))
    }
}

/// A link inside TLS.
pub(crate) type SecureLink = Link<StreamOwned<ClientConnection, TcpStream>>;

impl<S: io::Read + io::Write> Link<S> {
    fn over(stream: S) -> Self {
        Link { stream, out: Vec::with_capacity(1024) }
    }

    /// Sends one message in one write.
    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u16::try_from(message.len()).map_err(|_| io::Error::other("a message over 65,535 bytes"))?;
        self.out.clear();
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(message);
        self.stream.write_all(&self.out)
    }

    /// Waits for one message and puts it into `reply`.
    pub(crate) fn receive(&mut self, reply: &mut Vec<u8>) -> io::Result<()> {
        let mut length = [0u8; 2];
        self.stream.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length)).min(LARGEST);
        reply.resize(length, 0);
        self.stream.read_exact(reply)
    }

    /// One message out, one in.
    pub(crate) fn exchange(&mut self, message: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
        self.send(message)?;
        self.receive(reply)
    }
}

/// What the sidecar answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body, byte for byte.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A client of the sidecar with the operator's key.
#[derive(Clone)]
pub(crate) struct Rest {
    agent: ureq::Agent,
    base: String,
    bearer: String,
}

impl Rest {
    /// Calls go to `addr` with that key.
    pub(crate) fn new(addr: SocketAddr, key: &str) -> Rest {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_LIMIT))
            .max_redirects(0)
            .proxy(None)
            .build();
        Rest { agent: config.into(), base: format!("http://{addr}"), bearer: format!("Bearer {key}") }
    }

    /// The same client with connections of its own.
    pub(crate) fn apart(&self) -> Rest {
        let agent = ureq::Agent::new_with_config(self.agent.config().clone());
        Rest { agent, base: self.base.clone(), bearer: self.bearer.clone() }
    }

    /// POST; without a body when it is null. An error means that it is not known whether the call was carried out.
    pub(crate) fn post(&self, path: &str, body: &Value, idempotency: Option<&str>) -> Result<Answer, Fault> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("authorization", &self.bearer);
        if let Some(key) = idempotency {
            request = request.header("idempotency-key", key);
        }
        let sent = if body.is_null() {
            request.send_empty()
        } else {
            request.header("content-type", "application/json").send(body.to_string())
        };
        finish("POST", path, sent)
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Fault> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("authorization", &self.bearer);
        finish("GET", path, request.call())
    }

    /// POST that has to succeed: the answer's JSON.
    pub(crate) fn make(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        succeeded("POST", path, self.post(path, body, None)?)
    }

    /// GET that has to succeed: the answer's JSON.
    pub(crate) fn read(&self, path: &str) -> Result<Value, Fault> {
        succeeded("GET", path, self.get(path)?)
    }
}

fn finish(
    method: &str,
    path: &str,
    sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, Fault> {
    let fault = |error: ureq::Error| Fault::Rest { call: format!("{method} {path}"), what: error.to_string() };
    let mut response = sent.map_err(fault)?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(BODY_LIMIT).read_to_vec().map_err(fault)?;
    Ok(Answer { status, body })
}

fn succeeded(method: &str, path: &str, answer: Answer) -> Result<Value, Fault> {
    if (200..300).contains(&answer.status) {
        return Ok(answer.json());
    }
    // A problem document names no secret and no card number.
    let what = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Err(Fault::Rest { call: format!("{method} {path}"), what })
}
