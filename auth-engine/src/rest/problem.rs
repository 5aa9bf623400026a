//! Every problem the sidecar can answer with, in one table: code, status, title (RFC 9457).
//!
//! A code is a stable word that clients branch on. Nothing else may make up a status or a code, and no detail may
//! carry a secret, a PAN or what another partner has.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger_core::book::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::shard::handle::{Busy, Rendered};

/// The media type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $status:literal $word:literal $title:literal,)+) => {
        /// The stable word of a problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$meta])* $variant,)+ }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in `code` and at the end of `type`.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// A sentence for people, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

codes! {
    /// The body is no JSON.
    MalformedJson = 400 "malformed_json" "The body is not valid JSON",
    /// A member that this call does not know.
    UnknownField = 400 "unknown_field" "The body has a member that this call does not know",
    /// A member that stands there twice.
    DuplicateField = 400 "duplicate_field" "The body has a member twice",
    /// A member that must be there.
    MissingField = 400 "missing_field" "The body lacks a member",
    /// A value of a wrong type or out of its range.
    InvalidValue = 400 "invalid_value" "The body has a value that cannot be accepted",
    /// A query parameter.
    InvalidParameter = 400 "invalid_parameter" "A query parameter cannot be accepted",
    /// An unreadable Idempotency-Key.
    InvalidIdempotencyKey = 400 "invalid_idempotency_key" "The Idempotency-Key cannot be accepted",
    /// No key or a bad one.
    Unauthorized = 401 "unauthorized" "A valid API key is needed",
    /// A call for operators.
    Forbidden = 403 "forbidden" "This key may not make this call",
    /// The service is not on the partner's menu.
    ServiceNotEnabled = 403 "service_not_enabled" "The partner's services do not include this",
    /// Nothing here, or nothing of the caller's.
    NotFound = 404 "not_found" "There is no such thing",
    /// The authorization is there; what was measured of it is not.
    TraceGone = 404 "trace_gone" "There is no trace of this authorization any more",
    /// Another method.
    MethodNotAllowed = 405 "method_not_allowed" "This path does not know this method",
    /// The same Idempotency-Key is being worked on.
    InProgress = 409 "in_progress" "A request with this Idempotency-Key is still being worked on",
    /// A step the state does not allow.
    InvalidState = 409 "invalid_state" "The thing's state does not allow this",
    /// Too little available.
    InsufficientFunds = 409 "insufficient_funds" "Not enough is available",
    /// Another currency.
    CurrencyMismatch = 409 "currency_mismatch" "The currency is not the one this needs",
    /// A second user with the same external id.
    DuplicateExternalId = 409 "duplicate_external_id" "A user with this external_id exists",
    /// A second card with the same number.
    DuplicatePan = 409 "duplicate_pan" "A card with this number exists",
    /// The quote's 30 s are over.
    QuoteExpired = 409 "quote_expired" "The quote has expired",
    /// The quote was executed.
    QuoteUsed = 409 "quote_used" "The quote was used before",
    /// KYC is not approved.
    KycNotApproved = 409 "kyc_not_approved" "The user's KYC is not approved",
    /// The user is suspended.
    UserSuspended = 409 "user_suspended" "The user is suspended",
    /// The partner is suspended.
    PartnerSuspended = 409 "partner_suspended" "The partner is suspended",
    /// Under the pool's minimum.
    BelowMinimumBalance = 409 "below_minimum_balance" "Less than the pool's minimum balance would be left",
    /// No rate.
    RateMissing = 409 "rate_missing" "No rate is set for this pair",
    /// Beyond the position's bounds.
    FxLimit = 409 "fx_limit" "The FX position would leave its limit",
    /// A sum that does not fit.
    BalanceOverflow = 409 "balance_overflow" "The amount is too large for the balance",
    /// Random numbers of the BIN were all taken.
    CardNumbersExhausted = 409 "card_numbers_exhausted" "No free card number was found under the issuing BIN",
    /// More than the body limit.
    BodyTooLarge = 413 "body_too_large" "The body is too large",
    /// Not JSON by its own account.
    UnsupportedMediaType = 415 "unsupported_media_type" "The body must be application/json",
    /// The same Idempotency-Key with another body.
    IdempotencyMismatch = 422 "idempotency_mismatch" "The Idempotency-Key was used with another body",
    /// A bug.
    Internal = 500 "internal" "The engine failed to answer this request",
    /// A full queue.
    Busy = 503 "busy" "The engine is busy",
    /// The read model is behind.
    ViewBehind = 503 "view_behind" "The read model is behind",
    /// The request took too long; its outcome is unknown.
    Timeout = 503 "timeout" "The answer took too long",
    /// Not ready to serve.
    NotReady = 503 "not_ready" "The engine is not ready",
}

/// What is wrong with one place of the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemError)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body; empty for the whole body.
    #[schema(example = "/amount/value")]
    pub pointer: String,
    /// What is wrong there and what is wanted.
    pub detail: String,
}

/// A problem document, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
}

/// RFC 9457 problem details.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDoc<'a> {
    /// `urn:auth-engine:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:auth-engine:problem:insufficient_funds")]
    kind: String,
    /// The same for every occurrence of the code.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// A stable word.
    #[schema(example = "insufficient_funds")]
    code: &'a str,
    /// For a bad body: each place that is wrong.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(value_type = Option<Vec<FieldError>>)]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem with a detail of its own.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new() }
    }

    /// A problem of one place in the body.
    pub fn at(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let place = if pointer.is_empty() { "the body" } else { pointer.as_str() };
        Self { code, detail: format!("{place}: {detail}").into(), errors: vec![FieldError { pointer, detail }] }
    }

    /// 404 for what is not there and for what is not the caller's, told apart by nothing.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Code::NotFound, format!("{what} does not exist or is not yours"))
    }

    /// 403 for a partner's key on an operator's call.
    pub fn operators_only() -> Self {
        Self::new(Code::Forbidden, "this call needs an operator key")
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The document's bytes.
    pub fn json(&self) -> Vec<u8> {
        let doc = ProblemDoc {
            kind: format!("urn:auth-engine:problem:{}", self.code.word()),
            title: self.code.title(),
            status: self.code.status(),
            detail: &self.detail,
            code: self.code.word(),
            errors: &self.errors,
        };
        serde_json::to_vec(&doc).unwrap_or_default()
    }

    /// The problem as the shard keeps an answer.
    pub fn rendered(&self) -> Rendered {
        Rendered { status: self.code.status(), body: self.json() }
    }
}

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::new(Code::Busy, "the engine's queue is full or the engine is stopping; try again")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::InvalidState(_) => Code::InvalidState,
            Refusal::InsufficientFunds => Code::InsufficientFunds,
            Refusal::CurrencyMismatch => Code::CurrencyMismatch,
            Refusal::DuplicateExternalId => Code::DuplicateExternalId,
            Refusal::DuplicatePan => Code::DuplicatePan,
            Refusal::QuoteExpired => Code::QuoteExpired,
            Refusal::QuoteUsed => Code::QuoteUsed,
            Refusal::KycNotApproved => Code::KycNotApproved,
            Refusal::UserSuspended => Code::UserSuspended,
            Refusal::PartnerSuspended => Code::PartnerSuspended,
            Refusal::BelowMinimumBalance => Code::BelowMinimumBalance,
            Refusal::ServiceNotEnabled => Code::ServiceNotEnabled,
            Refusal::RateMissing => Code::RateMissing,
            Refusal::FxLimit => Code::FxLimit,
            Refusal::Invalid(what) => return Self::at(Code::InvalidValue, "", what),
            Refusal::Overflow => Code::BalanceOverflow,
        };
        Self::new(code, refusal.to_string())
    }
}

/// Headers that belong to a status, whoever made the body: an answer replayed from the journal has them too.
pub(super) fn respond(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let media = if status.is_client_error() || status.is_server_error() { PROBLEM_JSON } else { "application/json" };
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_TYPE);
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        respond(self.code.status(), self.json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_word_of_its_own_with_an_error_status() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(code.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code:?}");
            assert!(Code::ALL.iter().skip(i + 1).all(|other| other.word() != code.word()), "{code:?}");
        }
    }
}
