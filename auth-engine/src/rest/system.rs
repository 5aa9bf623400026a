//! The engine about itself: health, readiness, metrics, the state hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{caller, json};
use super::keys::Caller;
use super::problem::Problem;
use crate::telemetry;

/// How long the shard may take to show that it lives.
const PATIENCE: Duration = Duration::from_secs(1);

/// How ready each part of the engine is, as its owners say. A part that nobody named is no part.
#[derive(Debug, Default)]
pub struct Health {
    parts: RwLock<BTreeMap<&'static str, Result<(), String>>>,
}

impl Health {
    /// No parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The part is ready.
    pub fn ready(&self, part: &'static str) {
        self.parts.write().unwrap_or_else(PoisonError::into_inner).insert(part, Ok(()));
    }

    /// The part is not ready, and why in a few words.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.parts.write().unwrap_or_else(PoisonError::into_inner).insert(part, Err(why.into()));
    }

    /// Every part with `None` when it is ready, else why not.
    pub fn parts(&self) -> BTreeMap<&'static str, Option<String>> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(part, state)| (*part, state.as_ref().err().cloned())).collect()
    }
}

/// The process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    /// `ok`.
    status: &'static str,
}

/// One part.
#[derive(Serialize, ToSchema)]
struct Part {
    ready: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Every part.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// All of them are.
    ready: bool,
    parts: BTreeMap<&'static str, Part>,
}

/// The live book at a durable sequence.
#[derive(Serialize, ToSchema)]
struct SystemState {
    last_sequence: u64,
    /// Hexadecimal; equals what `journal verify` prints for the same sequence.
    state_hash: String,
}

/// Open to everyone, and never refused for load.
pub(super) fn open_routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new().routes(routes!(state)).routes(routes!(checkpoint))
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "system", security(()), responses((status = 200, body = Alive)))]
async fn healthz() -> Response {
    json(StatusCode::OK, &Alive { status: "ok" })
}

/// Whether every part is ready to serve.
#[utoipa::path(get, path = "/readyz", tag = "system", security(()), responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
async fn readyz(State(sidecar): State<Sidecar>) -> Response {
    let told = sidecar.app.health.parts();
    let mut parts: BTreeMap<_, _> =
        told.into_iter().map(|(name, detail)| (name, Part { ready: detail.is_none(), detail })).collect();
    // The shard's part is asked, not told: a thread that hangs tells nothing.
    let asked = tokio::time::timeout(PATIENCE, sidecar.app.shard.query(|book, _| book.last_seq())).await;
    let shard = match asked {
        Ok(Ok(seq)) => {
            let lag = sidecar.app.view.lag(seq);
            let view = parts.entry("view").or_insert(Part { ready: true, detail: None });
            if view.ready && lag > 0 {
                view.detail = Some(format!("{lag} events behind"));
            }
            Part { ready: true, detail: None }
        }
        Ok(Err(busy)) => Part { ready: false, detail: Some(busy.to_string()) },
        Err(_) => Part { ready: false, detail: Some("no answer within a second".to_owned()) },
    };
    let said = parts.get("shard").is_none_or(|part| part.ready);
    if said {
        parts.insert("shard", shard);
    }
    let ready = parts.values().all(|part| part.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = json(status, &Readiness { ready, parts });
    response.headers_mut().insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}

/// Metrics as Prometheus text; outside the sandbox for operators.
#[utoipa::path(get, path = "/metrics", tag = "system", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(sidecar): State<Sidecar>, headers: HeaderMap) -> Result<Response, Problem> {
    if !sidecar.app.settings.sandbox {
        caller(&headers, &sidecar)?.operator()?;
    }
    // The feeder tells it too, but one that gets no time tells nothing.
    let behind = sidecar.app.view.lag(sidecar.app.reader.durable_seq());
    telemetry::names::view_lag().set(f64::from(u32::try_from(behind).unwrap_or(u32::MAX)));
    let rendered = tokio::task::spawn_blocking(telemetry::render).await;
    let text = rendered.map_err(|_| Problem::new(super::problem::Code::Internal, "the metrics could not be read"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The live book's hash at a durable sequence, to be compared with `journal verify`.
#[utoipa::path(get, path = "/v1/system/state", tag = "system", responses((status = 200, body = SystemState)))]
async fn state(caller: Caller, State(sidecar): State<Sidecar>) -> Result<Response, Problem> {
    caller.operator()?;
    sidecar
        .read(|book, _| {
            let state_hash = book.state_hash().iter().fold(String::with_capacity(64), |mut out, byte| {
                // Writing into a string does not fail.
                let _ = write!(out, "{byte:02x}");
                out
            });
            Ok(SystemState { last_sequence: book.last_seq(), state_hash })
        })
        .await
}

/// The newest signed checkpoint of the journal, for a witness to keep; 404 before the first.
#[utoipa::path(get, path = "/v1/system/checkpoint", tag = "system", responses((status = 200, body = String, content_type = "text/plain", description = "A signed note: docs/proofs.md")))]
async fn checkpoint(caller: Caller, State(sidecar): State<Sidecar>) -> Result<Response, Problem> {
    caller.operator()?;
    let note = sidecar.app.checkpoint.note().ok_or_else(|| Problem::not_found("a checkpoint"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}
