//! REST as a client sees it: one call at a time over HTTP/1.1. It owns the operator key and must never show it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::Failure;

/// Longest answer read, bytes.
const MAX_ANSWER: usize = 4 << 20;
/// A call may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of the sidecar.
pub(crate) struct Api {
    runtime: tokio::runtime::Runtime,
    at: SocketAddr,
    key: Zeroizing<String>,
    calls: usize,
}

impl Api {
    /// A client of the sidecar at `at`; nothing is sent yet.
    pub(crate) fn new(at: SocketAddr, key: Zeroizing<String>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::no(format!("no runtime for REST calls: {error}; try again")))?;
        Ok(Self { runtime, at, key, calls: 0 })
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// POST; the answer's JSON.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::POST, path, Some(body))
    }

    /// PUT; the answer's JSON.
    pub(crate) fn put(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::PUT, path, Some(body))
    }

    /// PATCH; the answer's JSON.
    pub(crate) fn patch(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::PATCH, path, Some(body))
    }

    /// GET; the answer's JSON.
    pub(crate) fn get(&mut self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, None)
    }

    fn json(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.send(method.clone(), path, body)?;
        serde_json::from_slice(&answer).map_err(|error| {
            Failure::no(format!(
                "{method} {path}: the answer is no JSON ({error}); see the engine's log with --log debug"
            ))
        })
    }

    fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Failure> {
        self.calls += 1;
        let failed =
            |what: String| Failure::no(format!("{method} {path}: {what}; see the engine's log with --log debug"));
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", self.at.to_string())
            .header("authorization", format!("Bearer {}", self.key.as_str()));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Full::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))))
            .map_err(|error| failed(error.to_string()))?;
        let at = self.at;
        let called = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange(at, request)).await });
        let (status, answer) = match called {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        if status.is_success() {
            return Ok(answer);
        }
        // A problem document says what and where; the request's body, which may hold a secret, is not repeated.
        let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let word = problem["code"].as_str().unwrap_or("no problem document");
        let detail = problem["detail"].as_str().unwrap_or_default();
        Err(failed(format!("answered {} {word} {detail} {}", status.as_u16(), problem["errors"])))
    }
}

/// One call on a connection of its own: a demo's calls are few, and none can meet a connection that just went away.
async fn exchange(
    at: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::net::TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // How the connection ends no longer matters once the answer is here.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}
