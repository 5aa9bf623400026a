//! Partners, their API keys and their webhook secrets: calls of operators.
//!
//! Secrets are drawn here, on the sidecar's threads; they stand in one answer and nowhere else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::book::{Command, Done, PartnerChange};
use ledger_core::id::Thing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::Sidecar;
use super::call::{Call, Segment, created, done};
use super::keys::{self, Caller};
use super::problem::{Code, Problem};
use super::scope;
use super::values::{ModeWord, ResponseCode, ServiceWord, StatusWord, Text, removable, unless_absent};
use crate::partner::{AddressPolicy, Target};
use crate::shard::handle::Rendered;
use crate::view::docs::{KeyDoc, Page, PartnerDoc};

/// Longest decision URL in bytes.
const MAX_URL: usize = 256;
/// Bytes of a webhook secret.
const SECRET: usize = 32;

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read, change))
        .routes(routes!(create_key, keys_of))
        .routes(routes!(revoke_key))
        .routes(routes!(rotate))
}

/// Response codes for what goes wrong with an ask; `null` goes back to the default.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResponseCodes {
    /// Default 91.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<String>, example = "05")]
    partner_timeout: Option<Option<ResponseCode>>,
    /// Default 91.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<String>)]
    partner_unreachable: Option<Option<ResponseCode>>,
    /// Default 96.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<String>)]
    partner_bad_response: Option<Option<ResponseCode>>,
}

/// What creates a partner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPartner {
    name: Text,
    /// Where taps are asked for. Outside the sandbox https to a public address.
    #[schema(value_type = Option<String>)]
    decision_url: Option<String>,
    /// Default `webhook`.
    decision_mode: Option<ModeWord>,
    /// 1 to 60000; the configured default when left out.
    decision_timeout_ms: Option<u32>,
    /// Default all of them.
    services: Option<Vec<ServiceWord>>,
    response_codes: Option<ResponseCodes>,
}

/// What changes a partner; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PartnerPatch {
    #[serde(default, deserialize_with = "unless_absent")]
    name: Option<Text>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<String>)]
    decision_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "unless_absent")]
    decision_mode: Option<ModeWord>,
    /// `null` goes back to the configured default.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<u32>)]
    decision_timeout_ms: Option<Option<u32>>,
    #[serde(default, deserialize_with = "unless_absent")]
    services: Option<Vec<ServiceWord>>,
    #[serde(default, deserialize_with = "unless_absent")]
    response_codes: Option<ResponseCodes>,
    #[serde(default, deserialize_with = "unless_absent")]
    status: Option<StatusWord>,
}

/// A partner with its webhook secret, in the one answer that has it.
#[derive(Serialize, ToSchema)]
struct PartnerWithSecret {
    #[serde(flatten)]
    partner: PartnerDoc,
    /// `whsec_` and base64: verifies what the engine asks. Shown once.
    webhook_secret: String,
}

/// What creates a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// For people.
    name: Option<Text>,
}

/// A key in the one answer that shows it.
#[derive(Serialize, ToSchema)]
struct KeyOnce {
    #[serde(flatten)]
    doc: KeyDoc,
    /// Send it as `Authorization: Bearer`. Shown once.
    key: String,
}

fn services(words: Option<&[ServiceWord]>) -> Option<u8> {
    words.map(|words| words.iter().fold(0, |bits, word| bits | (1 << word.0.number())))
}

fn decision_url(url: Option<&str>, sandbox: bool) -> Result<(), Problem> {
    let Some(url) = url else {
        return Ok(());
    };
    let refuse = |what: &str| Problem::at(Code::InvalidValue, "/decision_url", what);
    if url.len() > MAX_URL {
        return Err(refuse("at most 256 bytes are allowed"));
    }
    let target = Target::parse(url).map_err(|error| refuse(&error.to_string()))?;
    if !(AddressPolicy { sandbox }).permits_target(&target) {
        return Err(refuse("outside the sandbox this must be https to a public address"));
    }
    Ok(())
}

fn change_of(patch: PartnerPatch) -> PartnerChange {
    let codes = patch.response_codes.unwrap_or_default();
    let code = |code: Option<Option<ResponseCode>>| code.map(|code| code.map(|code| code.0));
    PartnerChange {
        name: patch.name.map(|name| name.0),
        decision_url: patch.decision_url,
        decision_mode: patch.decision_mode.map(|mode| mode.0),
        decision_timeout_ms: patch.decision_timeout_ms,
        services: services(patch.services.as_deref()),
        timeout_code: code(codes.partner_timeout),
        unreachable_code: code(codes.partner_unreachable),
        bad_response_code: code(codes.partner_bad_response),
        status: patch.status.map(|status| status.0),
    }
}

/// A new webhook secret: its bytes, and how it is shown.
fn secret() -> Result<(Zeroizing<Vec<u8>>, String), Problem> {
    let mut raw = Zeroizing::new(vec![0u8; SECRET]);
    getrandom::fill(&mut raw).map_err(|_| Problem::new(Code::Internal, "the system gave no random bytes"))?;
    let shown = format!("whsec_{}", STANDARD.encode(&*raw));
    Ok((raw, shown))
}

/// Creates a partner.
#[utoipa::path(post, path = "/v1/partners", tag = "partners", request_body = NewPartner, responses((status = 201, body = PartnerWithSecret)))]
async fn create(call: Call) -> Result<Response, Problem> {
    call.caller.operator()?;
    let body: NewPartner = call.body()?;
    decision_url(body.decision_url.as_deref(), call.sidecar.app.settings.sandbox)?;
    let (raw, shown) = secret()?;
    let terms = change_of(PartnerPatch {
        name: Some(body.name),
        decision_url: body.decision_url.map(Some),
        decision_mode: body.decision_mode,
        decision_timeout_ms: body.decision_timeout_ms.map(Some),
        services: body.services,
        response_codes: body.response_codes,
        status: None,
    });
    call.write(
        move |_, _| Ok(Command::CreatePartner { terms, secret: raw }),
        move |book, _, result| match result {
            Done::Partner(index) => {
                let partner = PartnerDoc::from_book(book, index)?;
                created(Some(PartnerWithSecret { partner, webhook_secret: shown }))
            }
            _ => None,
        },
    )
    .await
}

/// A partner.
#[utoipa::path(get, path = "/v1/partners/{id}", tag = "partners", params(("id" = String, Path)), responses((status = 200, body = PartnerDoc)))]
async fn read(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    caller.operator()?;
    let id = id.id(Thing::Partner, "the partner")?;
    let missing = || Problem::not_found("the partner");
    sidecar
        .read(move |book, _| PartnerDoc::from_book(book, scope::partner(book, caller, id)?).ok_or_else(missing))
        .await
}

/// Changes a partner; what is left out stays.
#[utoipa::path(patch, path = "/v1/partners/{id}", tag = "partners", params(("id" = String, Path)), request_body = PartnerPatch, responses((status = 200, body = PartnerDoc)))]
async fn change(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let id = id.id(Thing::Partner, "the partner")?;
    let body: PartnerPatch = call.body()?;
    let url = body.decision_url.as_ref().and_then(Option::as_deref);
    decision_url(url, call.sidecar.app.settings.sandbox)?;
    let change = change_of(body);
    call.write(
        move |book, _| Ok(Command::ChangePartner { partner: scope::partner(book, caller, id)?, change }),
        |book, _, result| match result {
            Done::Partner(index) => done(PartnerDoc::from_book(book, index)),
            _ => None,
        },
    )
    .await
}

/// A new webhook secret; the one before signs for 24 h more, so that every ask carries two signatures.
#[utoipa::path(post, path = "/v1/partners/{id}/webhook-secret/rotate", tag = "partners", params(("id" = String, Path)), responses((status = 200, body = PartnerWithSecret)))]
async fn rotate(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let id = id.id(Thing::Partner, "the partner")?;
    call.no_members()?;
    let (raw, shown) = secret()?;
    call.write(
        move |book, _| Ok(Command::RotateSecret { partner: scope::partner(book, caller, id)?, secret: raw }),
        move |book, _, result| match result {
            Done::Partner(index) => {
                let partner = PartnerDoc::from_book(book, index)?;
                done(Some(PartnerWithSecret { partner, webhook_secret: shown }))
            }
            _ => None,
        },
    )
    .await
}

/// Creates an API key for the partner.
#[utoipa::path(post, path = "/v1/partners/{id}/keys", tag = "partners", params(("id" = String, Path)), request_body = NewKey, responses((status = 201, body = KeyOnce)))]
async fn create_key(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let id = id.id(Thing::Partner, "the partner")?;
    let name = call.body::<NewKey>()?.name.map_or_else(String::new, |name| name.0);
    let key = keys::generate().map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let hash = keys::hash(&key);
    let sidecar = call.sidecar.clone();
    call.write(
        move |book, _| Ok(Command::CreateKey { partner: Some(scope::partner(book, caller, id)?), name, hash }),
        move |book, _, result| match result {
            Done::Key(no) => {
                sidecar.keys.insert(hash, Caller { key: no, partner: book.key(no)?.partner });
                created(Some(KeyOnce { doc: KeyDoc::from_book(book, no)?, key: key.to_string() }))
            }
            _ => None,
        },
    )
    .await
}

/// The partner's API keys, newest first, without the keys themselves.
#[utoipa::path(get, path = "/v1/partners/{id}/keys", tag = "partners", params(("id" = String, Path)), responses((status = 200, body = Page<KeyDoc>)))]
async fn keys_of(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    caller.operator()?;
    let id = id.id(Thing::Partner, "the partner")?;
    sidecar
        .read(move |book, _| {
            let partner = scope::partner(book, caller, id)?;
            let numbers = book.keys().filter(|key| key.partner == Some(partner)).map(|key| key.id.no);
            let mut data: Vec<KeyDoc> = numbers.filter_map(|no| KeyDoc::from_book(book, no)).collect();
            data.reverse();
            Ok(Page { data, next_cursor: None })
        })
        .await
}

/// Revokes an API key: it is refused from now on.
#[utoipa::path(delete, path = "/v1/partners/{id}/keys/{key_id}", tag = "partners", params(("id" = String, Path), ("key_id" = String, Path)), responses((status = 204)))]
async fn revoke_key(
    axum::extract::Path((id, key)): axum::extract::Path<(String, String)>,
    call: Call,
) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let id = Segment(id).id(Thing::Partner, "the partner")?;
    let key = Segment(key).id(Thing::ApiKey, "the key")?;
    let sidecar = call.sidecar.clone();
    call.write(
        move |book, _| {
            let partner = scope::partner(book, caller, id)?;
            let found = book.key(key.no).filter(|found| found.id == key && found.partner == Some(partner));
            found.map(|_| Command::RevokeKey { key: key.no }).ok_or_else(|| Problem::not_found("the key"))
        },
        move |_, _, _| {
            sidecar.keys.remove(key.no);
            Some(Rendered { status: StatusCode::NO_CONTENT.as_u16(), body: Vec::new() })
        },
    )
    .await
}
