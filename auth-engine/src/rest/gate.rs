//! What every request passes: a bound on how many are worked on, a time limit, no caching, metrics, and panics that
//! become problems. It must never label a metric with a path: only with the route's pattern.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Sidecar;
use super::problem::{Code, Problem};
use crate::telemetry::names;

/// Requests worked on at once; more are refused at once, so that a flood costs the taps next to nothing.
const MAX_REQUESTS: usize = 256;
/// Longest time for one request: above the view's 2 s, the links' budgets and a stalled disk.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The requests that are worked on.
#[derive(Debug)]
pub struct Calls(Semaphore);

impl Default for Calls {
    fn default() -> Self {
        Self(Semaphore::new(MAX_REQUESTS))
    }
}

impl Calls {
    /// How many there are.
    #[must_use]
    pub fn at_work(&self) -> usize {
        MAX_REQUESTS.saturating_sub(self.0.available_permits())
    }
}

/// Refuses what is beyond [`MAX_REQUESTS`] and ends what takes too long.
pub(super) async fn bound(State(sidecar): State<Sidecar>, request: Request, next: Next) -> Response {
    let Ok(_permit) = sidecar.app.calls.0.try_acquire() else {
        return Problem::new(Code::Busy, "too many requests are being worked on; try again").into_response();
    };
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "whether it was done is unknown: send it again with the same Idempotency-Key, or read";
            Problem::new(Code::Timeout, detail).into_response()
        }
    }
}

/// Counts and times a request, and forbids caches to keep its answer.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    names::rest_request(route, response.status().as_u16(), started.elapsed());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A panic of a handler as a problem. What it says goes nowhere: it may hold anything.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    tracing::error!("a REST handler panicked; this is a bug");
    Problem::new(Code::Internal, "a bug in the engine; the request may or may not have been done").into_response()
}

/// A path that nothing answers.
pub(super) async fn no_such_path() -> Problem {
    Problem::new(Code::NotFound, "no call has this path; see /openapi.json")
}

/// A path that answers another method.
pub(super) async fn no_such_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this path does not answer this method; see /openapi.json")
}
