//! One exchange on one connection: the signed request, the bounded reading of the response. It owns
//! nothing between exchanges; it must never retry: whether an ask may go again is the pool's to know.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::address::Target;
use super::answer::{BODY_LIMIT, Bad, Outcome, Unreachable};
use super::client::Ask;
use super::sign::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, Secret, signature_header};

/// Builds the signed request. None when the id cannot stand in a header, which no `aut_…` id can cause.
pub(super) fn request(ask: &Ask, target: &Target, secrets: &[Secret], h2: bool) -> Option<Request<Full<Bytes>>> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let timestamp = seconds.to_string();
    let mut request = Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = Method::POST;
    if h2 {
        // HTTP/2 has no host header: the authority travels in the URI.
        let authority: Authority = target.authority.parse().ok()?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(authority);
        parts.path_and_query = Some(target.path.clone());
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        *request.version_mut() = Version::HTTP_2;
    } else {
        *request.uri_mut() = Uri::from(target.path.clone());
        request.headers_mut().insert(HOST, HeaderValue::from_str(&target.authority).ok()?);
    }
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("auth-engine/", env!("CARGO_PKG_VERSION"))));
    headers.insert(HEADER_ID, HeaderValue::from_str(&ask.webhook_id).ok()?);
    headers.insert(HEADER_TIMESTAMP, HeaderValue::from_str(&timestamp).ok()?);
    if !secrets.is_empty() {
        let signature = signature_header(secrets, &ask.webhook_id, &timestamp, &ask.body);
        headers.insert(HEADER_SIGNATURE, HeaderValue::from_str(&signature).ok()?);
    }
    Some(request)
}

/// What a status other than 200 means. None for 200.
pub(super) fn refused_status(status: StatusCode) -> Option<Bad> {
    if status == StatusCode::OK {
        None
    } else if status.is_redirection() {
        Some(Bad::Redirect)
    } else {
        Some(Bad::Status(status.as_u16()))
    }
}

/// What an error after the request was begun means.
pub(super) fn broken(error: &hyper::Error) -> Outcome {
    if error.is_parse() { Outcome::Bad(Bad::NotHttp) } else { Outcome::Unreachable(Unreachable::Reset) }
}

/// Reads a body of at most [`BODY_LIMIT`] bytes and stops at the first byte more. The caller bounds the
/// time; an error leaves the connection unusable.
pub(super) async fn body(response: Response<Incoming>) -> Result<Bytes, Outcome> {
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(Outcome::Bad(Bad::TooLarge));
    }
    let mut incoming = response.into_body();
    // An answer almost always comes in one piece, which then needs no copy.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let so_far = if rest.is_empty() { first.len() } else { rest.len() };
        if so_far.saturating_add(data.len()) > BODY_LIMIT {
            return Err(Outcome::Bad(Bad::TooLarge));
        }
        if so_far == 0 {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
