//! One request: who calls, with which body, under which Idempotency-Key; and the way of a write to the shard and its
//! answer back.
//!
//! The order is fixed: key first, then size, then content, so that a stranger learns nothing from a body. A write is
//! answered only by what the shard rendered after durability, or by what the journal remembers of the first time.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use ledger_core::book::{Book, Command, Done};
use ledger_core::event::{Event, field};
use ledger_core::id::{Id, Thing};
use ledger_core::keys::Nonce;
use ledger_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sidecar;
use super::body;
use super::keys::Caller;
use super::problem::{Code, Problem, respond};
use crate::shard::handle::{IdempotencyKey, Rendered, Write, WriteOutcome};

/// Longest Idempotency-Key in bytes.
const MAX_KEY: usize = 255;

/// A call that brings a body.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) sidecar: Sidecar,
    pub(super) idempotency: Option<IdempotencyKey>,
    body: Bytes,
}

impl FromRequestParts<Sidecar> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, sidecar: &Sidecar) -> Result<Self, Problem> {
        caller(&parts.headers, sidecar)
    }
}

/// Who calls; 401 without a live key.
pub(super) fn caller(headers: &HeaderMap, sidecar: &Sidecar) -> Result<Caller, Problem> {
    let refused = || Problem::new(Code::Unauthorized, "send Authorization: Bearer with a live API key");
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else {
        return Err(refused());
    };
    let text = value.to_str().map_err(|_| refused())?;
    let (scheme, key) = text.split_once(' ').ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") || key.len() > MAX_KEY {
        return Err(refused());
    }
    sidecar.keys.find(key.trim()).ok_or_else(refused)
}

impl FromRequest<Sidecar> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, sidecar: &Sidecar) -> Result<Self, Problem> {
        let caller = caller(request.headers(), sidecar)?;
        let (parts, content) = request.into_parts();
        let body = read(&parts.headers, content).await?;
        let idempotency = match parts.method {
            Method::POST => idempotency(caller, &parts, &body)?,
            _ => None,
        };
        Ok(Self { caller, sidecar: sidecar.clone(), idempotency, body })
    }
}

async fn read(headers: &HeaderMap, content: Body) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("a body has at most {} bytes", body::LIMIT));
    let told = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if told.is_some_and(|told| told > body::LIMIT as u64) {
        return Err(too_large());
    }
    // The only failures are the limit and a connection that broke, and nobody reads the answer to the latter.
    let bytes = to_bytes(content, body::LIMIT).await.map_err(|_| too_large())?;
    if bytes.is_empty() {
        return Ok(bytes);
    }
    let json = match headers.get(header::CONTENT_TYPE) {
        None => true,
        Some(value) => value.to_str().is_ok_and(|text| {
            let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
        }),
    };
    if json { Ok(bytes) } else { Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json")) }
}

fn idempotency(caller: Caller, parts: &Parts, body: &[u8]) -> Result<Option<IdempotencyKey>, Problem> {
    let bad = || {
        let detail = format!("one Idempotency-Key of 1 to {MAX_KEY} printable ASCII characters is allowed");
        Problem::new(Code::InvalidIdempotencyKey, detail)
    };
    let mut sent = parts.headers.get_all("idempotency-key").iter();
    let Some(value) = sent.next() else {
        return Ok(None);
    };
    let key = value.to_str().map_err(|_| bad())?;
    if sent.next().is_some() || key.is_empty() || key.len() > MAX_KEY {
        return Err(bad());
    }
    // Lengths stand before the parts, so that no two different requests are the same bytes.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&caller.partner.map_or(u64::MAX, u64::from).to_le_bytes());
    for part in [parts.method.as_str(), parts.uri.path(), key] {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Ok(Some(IdempotencyKey { key: first_16(&hasher.finalize()), body: first_16(&blake3::hash(body)) }))
}

fn first_16(hash: &blake3::Hash) -> [u8; 16] {
    let [half, _] = [0, 16].map(|from| hash.as_bytes().get(from..from + 16).and_then(|b| b.try_into().ok()));
    half.unwrap_or_default()
}

impl Call {
    /// The body as `T`.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        body::parse(&self.body)
    }

    /// 400 when an action that has no members got some.
    pub(super) fn no_members(&self) -> Result<(), Problem> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        self.body::<Nothing>().map(drop)
    }

    /// Sends a write to the shard: `plan` resolves ids and permissions on the shard's thread, `render` makes the
    /// answer right after the command was applied. Both are short.
    pub(super) async fn write(
        self,
        plan: impl FnOnce(&Book, Timestamp) -> Result<Command, Problem> + Send + 'static,
        render: impl FnOnce(&Book, Timestamp, Done) -> Option<Rendered> + Send + 'static,
    ) -> Result<Response, Problem> {
        let write = Write {
            idempotency: self.idempotency,
            plan: Box::new(move |book, now| plan(book, now).map_err(|problem| problem.rendered())),
            render: Box::new(move |book, now, result| match result {
                Ok(done) => render(book, now, done).unwrap_or_else(|| lost().rendered()),
                Err(refusal) => Problem::from(refusal).rendered(),
            }),
        };
        match self.sidecar.app.shard.write(write).await? {
            WriteOutcome::Fresh(answer) => Ok(respond(answer.status, answer.body)),
            WriteOutcome::Stored { seq } => self.sidecar.stored(seq).await,
            WriteOutcome::Mismatch => Err(mismatch()),
        }
    }
}

fn lost() -> Problem {
    Problem::new(Code::Internal, "the change was made but its answer could not be; read the thing by its list")
}

/// 422 for a key that was used with another body.
pub(super) fn mismatch() -> Problem {
    Problem::new(Code::IdempotencyMismatch, "send the body of the first time, or another Idempotency-Key")
}

impl Sidecar {
    /// The answer that the journal keeps under a sequence.
    pub(super) async fn stored(&self, seq: u64) -> Result<Response, Problem> {
        let reader = self.app.reader.clone();
        let broken = |error: &dyn std::fmt::Display| {
            tracing::error!(seq, "a stored answer cannot be read: {error}");
            Problem::new(Code::Internal, "the stored answer cannot be read")
        };
        let record = tokio::task::spawn_blocking(move || reader.read(seq))
            .await
            .map_err(|error| broken(&error))?
            .map_err(|error| broken(&error))?;
        match Event::decode(&record.payload) {
            Ok(Event::Idempotent(event)) => {
                let nonce = Nonce { epoch: record.epoch, seq, field: field::ANSWER };
                let body = self.app.keyring.open(nonce, &event.answer).map_err(|error| broken(&error))?;
                Ok(respond(event.status, body))
            }
            Ok(other) => Err(broken(&format_args!("the event is {}", other.word()))),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Reads the book: `None` is 404.
    pub(super) async fn read<T: Serialize + Send + 'static>(
        &self,
        read: impl FnOnce(&Book, Timestamp) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        self.app.shard.query(read).await?.map(|doc| json(StatusCode::OK, &doc))
    }
}

/// An answer as the shard keeps it.
pub(super) fn answer(status: StatusCode, doc: &impl Serialize) -> Option<Rendered> {
    Some(Rendered { status: status.as_u16(), body: serde_json::to_vec(doc).ok()? })
}

/// 201 with a document, when there is one.
pub(super) fn created<T: Serialize>(doc: Option<T>) -> Option<Rendered> {
    answer(StatusCode::CREATED, &doc?)
}

/// 200 with a document, when there is one.
pub(super) fn done<T: Serialize>(doc: Option<T>) -> Option<Rendered> {
    answer(StatusCode::OK, &doc?)
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, doc: &impl Serialize) -> Response {
    match serde_json::to_vec(doc) {
        Ok(body) => respond(status.as_u16(), body),
        Err(_) => respond(500, Problem::new(Code::Internal, "the answer could not be written").json()),
    }
}

/// One segment of the path; 404 when it is no text.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(text)| Self(text)).map_err(|_| Problem::not_found("the thing"))
    }
}

impl Segment {
    /// The id it names; 404 when it cannot be one.
    pub(super) fn id(&self, thing: Thing, what: &'static str) -> Result<Id, Problem> {
        Id::parse(&self.0, thing).ok_or_else(|| Problem::not_found(what))
    }
}

/// The query of a URL; 400 for unknown, doubled and unreadable parameters.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|axum::extract::Query(params)| Self(params)).map_err(
            |rejection| Problem::new(Code::InvalidParameter, format!("{}; see /openapi.json", rejection.body_text())),
        )
    }
}
