//! Users, their KYC and their accounts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ledger_core::book::{Book, Command, Done};
use ledger_core::event::words::Kyc;
use ledger_core::id::Thing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{Call, Segment, answer, created, done};
use super::keys::Caller;
use super::problem::{Code, Problem};
use super::scope;
use super::values::{Country, CurrencyCode, KycWord, PartnerRef, StatusWord, Text, TimeZone, removable, unless_absent};
use crate::view::docs::{AccountDoc, Page, UserDoc};

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read, change))
        .routes(routes!(move_kyc, kyc))
        .routes(routes!(open_account, accounts_of))
        .routes(routes!(account))
}

/// What creates a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// The partner's own id for it, unique within the partner.
    external_id: Text,
    country: Country,
    time_zone: Option<TimeZone>,
    /// When an operator creates the user: for which partner.
    partner_id: Option<PartnerRef>,
}

/// What changes a user; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserPatch {
    #[serde(default, deserialize_with = "unless_absent")]
    status: Option<StatusWord>,
    #[serde(default, deserialize_with = "unless_absent")]
    country: Option<Country>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<TimeZone>>,
}

/// A step of a user's KYC.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KycMove {
    status: KycWord,
    level: Option<Text>,
    provider: Option<Text>,
    reference: Option<Text>,
    reason: Option<Text>,
}

/// One step that was made.
#[derive(Serialize, ToSchema)]
struct KycStepDoc {
    status: &'static str,
    level: Option<String>,
    provider: Option<String>,
    reference: Option<String>,
    reason: Option<String>,
    /// RFC 3339.
    at: String,
}

/// A user's KYC: where it stands and how it got there, oldest step first.
#[derive(Serialize, ToSchema)]
struct KycDoc {
    user_id: String,
    status: &'static str,
    history: Vec<KycStepDoc>,
}

/// What opens an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    currency: CurrencyCode,
}

fn kyc_doc(book: &Book, index: u32) -> Option<KycDoc> {
    let user = book.user(index)?;
    let step = |step: &ledger_core::book::KycStep| KycStepDoc {
        status: step.status.word(),
        level: step.level.as_deref().map(str::to_owned),
        provider: step.provider.as_deref().map(str::to_owned),
        reference: step.reference.as_deref().map(str::to_owned),
        reason: step.reason.as_deref().map(str::to_owned),
        at: step.at.rfc3339(),
    };
    Some(KycDoc {
        user_id: user.id.text(Thing::User),
        status: user.kyc.word(),
        history: user.kyc_steps.iter().map(step).collect(),
    })
}

fn missing() -> Problem {
    Problem::not_found("the user")
}

/// Creates a user.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = NewUser, responses((status = 201, body = UserDoc)))]
async fn create(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let body: NewUser = call.body()?;
    call.write(
        move |book, _| {
            Ok(Command::CreateUser {
                partner: scope::owner(book, caller, body.partner_id.map(|id| id.0))?,
                external_id: body.external_id.0,
                country: body.country.0,
                time_zone: body.time_zone.map(|zone| zone.0),
            })
        },
        |book, _, result| match result {
            Done::User(index) => created(UserDoc::from_book(book, index)),
            _ => None,
        },
    )
    .await
}

/// A user.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), responses((status = 200, body = UserDoc)))]
async fn read(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let id = id.id(Thing::User, "the user")?;
    sidecar.read(move |book, _| UserDoc::from_book(book, scope::user(book, caller, id)?).ok_or_else(missing)).await
}

/// Changes a user; what is left out stays.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), request_body = UserPatch, responses((status = 200, body = UserDoc)))]
async fn change(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::User, "the user")?;
    let body: UserPatch = call.body()?;
    call.write(
        move |book, _| {
            Ok(Command::ChangeUser {
                user: scope::user(book, caller, id)?,
                status: body.status.map(|status| status.0),
                country: body.country.map(|country| country.0),
                time_zone: body.time_zone.map(|zone| zone.map(|zone| zone.0)),
            })
        },
        |book, _, result| match result {
            Done::User(index) => done(UserDoc::from_book(book, index)),
            _ => None,
        },
    )
    .await
}

/// Moves a user's KYC. Partners may submit, operators decide.
#[utoipa::path(post, path = "/v1/users/{id}/kyc", tag = "users", params(("id" = String, Path)), request_body = KycMove, responses((status = 200, body = KycDoc)))]
async fn move_kyc(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::User, "the user")?;
    let body: KycMove = call.body()?;
    call.write(
        move |book, _| {
            // Whose user it is comes first: another's user is 404 whatever was asked of it.
            let user = scope::user(book, caller, id)?;
            if caller.partner.is_some() && body.status.0 != Kyc::Submitted {
                return Err(Problem::new(Code::Forbidden, "a partner may submit; operators decide"));
            }
            Ok(Command::MoveKyc {
                user,
                status: body.status.0,
                level: body.level.map(|text| text.0),
                provider: body.provider.map(|text| text.0),
                reference: body.reference.map(|text| text.0),
                reason: body.reason.map(|text| text.0),
            })
        },
        |book, _, result| match result {
            Done::User(index) => done(kyc_doc(book, index)),
            _ => None,
        },
    )
    .await
}

/// A user's KYC and its history.
#[utoipa::path(get, path = "/v1/users/{id}/kyc", tag = "users", params(("id" = String, Path)), responses((status = 200, body = KycDoc)))]
async fn kyc(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let id = id.id(Thing::User, "the user")?;
    sidecar.read(move |book, _| kyc_doc(book, scope::user(book, caller, id)?).ok_or_else(missing)).await
}

/// Opens an account: 201, or 200 with the one there is.
#[utoipa::path(post, path = "/v1/users/{id}/accounts", tag = "accounts", params(("id" = String, Path)), request_body = NewAccount, responses((status = 201, body = AccountDoc), (status = 200, body = AccountDoc)))]
async fn open_account(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::User, "the user")?;
    let body: NewAccount = call.body()?;
    call.write(
        move |book, _| Ok(Command::OpenAccount { user: scope::user(book, caller, id)?, currency: body.currency.0 }),
        |book, _, result| match result {
            Done::Account(index, opened) => {
                let status = if opened { StatusCode::CREATED } else { StatusCode::OK };
                answer(status, &AccountDoc::from_book(book, index)?)
            }
            _ => None,
        },
    )
    .await
}

/// A user's accounts, newest first.
#[utoipa::path(get, path = "/v1/users/{id}/accounts", tag = "accounts", params(("id" = String, Path)), responses((status = 200, body = Page<AccountDoc>)))]
async fn accounts_of(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let id = id.id(Thing::User, "the user")?;
    sidecar
        .read(move |book, _| {
            let user = book.user(scope::user(book, caller, id)?).ok_or_else(missing)?;
            let newest_first = user.accounts.iter().rev();
            let data = newest_first.filter_map(|index| AccountDoc::from_book(book, *index)).collect();
            Ok(Page { data, next_cursor: None })
        })
        .await
}

/// An account and what it holds.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = String, Path)), responses((status = 200, body = AccountDoc)))]
async fn account(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let id = id.id(Thing::Account, "the account")?;
    sidecar.account(caller, id).await
}
