//! Lists, statements and authorizations: what the read model answers, after it has seen every write that was answered
//! before the request came.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ledger_core::id::{Id, Thing};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{Query, Segment, json};
use super::keys::Caller;
use super::problem::{Code, Problem};
use super::scope;
use crate::shard::chain;
use crate::view::docs::{
    AuthorizationDoc, AuthorizationEventDoc, BalanceDoc, CardDoc, LateApprovalDoc, OffRampDoc, Page, PartnerDoc,
    PoolDoc, QuoteDoc, RateDoc, StatementDoc, TransferDoc, UserDoc,
};
use crate::view::fold::fold_authorization;
use crate::view::{AuthorizationFilter, Outcome, PageRequest, StatementOf, View, ViewError};

/// How long a list waits for the read model (contracts 4).
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new()
        .routes(routes!(partners))
        .routes(routes!(users))
        .routes(routes!(pools))
        .routes(routes!(cards))
        .routes(routes!(top_ups))
        .routes(routes!(withdrawals))
        .routes(routes!(pay_ins))
        .routes(routes!(payouts))
        .routes(routes!(crypto_deposits))
        .routes(routes!(rates))
        .routes(routes!(quotes))
        .routes(routes!(off_ramps))
        .routes(routes!(account_statement))
        .routes(routes!(pool_statement))
        .routes(routes!(authorizations))
        .routes(routes!(authorization))
        .routes(routes!(authorization_events))
        .routes(routes!(late_approvals))
        .routes(routes!(account_balance))
        .routes(routes!(pool_balance))
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Paging {
    /// 1 to 200, default 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which page, of which user.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfUser {
    /// Of this user alone.
    user_id: Option<String>,
    /// 1 to 200, default 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which page, of which account.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfAccount {
    /// Of this account alone.
    account_id: Option<String>,
    /// 1 to 200, default 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which part of a statement.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Span {
    /// From this moment on, RFC 3339.
    from: Option<String>,
    /// Before this moment, RFC 3339.
    to: Option<String>,
    /// 1 to 200, default 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which part of a list that is kept by time.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Between {
    /// At this moment or later, RFC 3339.
    from: Option<String>,
    /// Before this moment, RFC 3339.
    to: Option<String>,
    /// 1 to 200, default 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// When.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Moment {
    /// At the end of this moment, RFC 3339; not in the future.
    at: String,
}

/// Which authorizations; all that is given must fit.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Of this card.
    card_id: Option<String>,
    /// Of this user.
    user_id: Option<String>,
    /// Paid by this pool.
    pool_id: Option<String>,
    /// Answered like this.
    #[param(value_type = Option<String>)]
    outcome: Option<Outcome>,
    /// Created at this moment or later, RFC 3339.
    from: Option<String>,
    /// Created before this moment, RFC 3339.
    to: Option<String>,
    /// Changed at this moment or later, RFC 3339; the list is then in the order of the last change.
    updated_since: Option<String>,
    /// 1 to 200, default 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn id(parameter: &str, text: Option<&str>, thing: Thing) -> Result<Option<Id>, Problem> {
    let bad = || {
        Problem::new(
            Code::InvalidParameter,
            format!("{parameter}: an id that begins with {}_ is needed", thing.prefix()),
        )
    };
    text.map(|text| Id::parse(text, thing).ok_or_else(bad)).transpose()
}

fn moment(parameter: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let bad =
        || Problem::new(Code::InvalidParameter, format!("{parameter}: a time such as 2026-01-31T12:00:00Z is needed"));
    text.map(|text| Timestamp::parse_rfc3339(text).ok_or_else(bad)).transpose()
}

fn page(limit: Option<u64>, cursor: Option<String>) -> Result<PageRequest, Problem> {
    Ok(PageRequest::new(limit, cursor)?)
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::BadCursor | ViewError::BadLimit(_) => Self::new(Code::InvalidParameter, error.to_string()),
            ViewError::Rebuilding | ViewError::Damaged(_) => {
                Self::new(Code::ViewBehind, "the read model is being rebuilt; try again in a moment")
            }
            ViewError::Ahead { .. } | ViewError::Storage(_) => {
                tracing::error!("the read model cannot answer: {error}");
                Self::new(Code::ViewBehind, "the read model cannot answer now")
            }
        }
    }
}

impl Sidecar {
    /// Reads the view once it has seen all that was answered before this call. `read` gets the id of the caller's
    /// partner, none for an operator.
    pub(super) async fn viewed<T: Send + 'static>(
        &self,
        caller: Caller,
        read: impl FnOnce(&View, Option<Id>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Problem> {
        let settled = self.app.shard.query(move |book, _| {
            let scope = match caller.partner {
                None => None,
                Some(index) => Some(book.partner(index).map(|partner| partner.id)?),
            };
            Some((book.last_seq(), scope))
        });
        let (seq, scope) = settled.await?.ok_or_else(|| Problem::not_found("the partner of this key"))?;
        let view = self.app.view.clone();
        if view.wait_for(seq, PATIENCE).await.is_err() {
            return Err(Problem::new(Code::ViewBehind, "the read model did not catch up in time; try again"));
        }
        let view = view.since(seq);
        let lost = |_| Problem::new(Code::Internal, "the list could not be read");
        Ok(tokio::task::spawn_blocking(move || read(&view, scope)).await.map_err(lost)??)
    }

    async fn listed<T: Serialize + Send + 'static>(
        &self,
        caller: Caller,
        read: impl FnOnce(&View, Option<Id>) -> Result<Page<T>, ViewError> + Send + 'static,
    ) -> Result<Response, Problem> {
        Ok(json(StatusCode::OK, &self.viewed(caller, read).await?))
    }

    /// An authorization that the book still holds, from its own events: never behind. `None` when the book holds it
    /// no more, or its chain runs through another authorization's; the read model has it then.
    async fn chained(&self, caller: Caller, of: Id) -> Result<Option<AuthorizationDoc>, Problem> {
        let held = self.app.shard.query(move |book, _| Some(scope::authorization(book, caller, of)?.last_seq));
        let Some(last_seq) = held.await? else { return Ok(None) };
        let reader = self.app.reader.clone();
        let walk = tokio::task::spawn_blocking(move || chain::read(&reader, last_seq));
        let lost = |_| Problem::new(Code::Internal, "the authorization could not be read");
        let Some(records) = walk.await.map_err(lost)? else { return Ok(None) };
        let requests = Arc::clone(&self.app.requests);
        let folded = self.app.shard.query(move |book, _| fold_authorization(book, &*requests, of.no, records));
        Ok(folded.await?.map(|(doc, _)| doc))
    }

    async fn found<T: Serialize + Send + 'static>(
        &self,
        caller: Caller,
        what: &'static str,
        read: impl FnOnce(&View, Option<Id>) -> Result<Option<T>, ViewError> + Send + 'static,
    ) -> Result<Response, Problem> {
        let found = self.viewed(caller, read).await?;
        found.map(|doc| json(StatusCode::OK, &doc)).ok_or_else(|| Problem::not_found(what))
    }
}

/// All partners.
#[utoipa::path(get, path = "/v1/partners", tag = "partners", params(Paging), responses((status = 200, body = Page<PartnerDoc>)))]
async fn partners(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<Paging>,
) -> Result<Response, Problem> {
    caller.operator()?;
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, _| view.partners(&page)).await
}

/// Users.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(Paging), responses((status = 200, body = Page<UserDoc>)))]
async fn users(caller: Caller, State(sidecar): State<Sidecar>, Query(q): Query<Paging>) -> Result<Response, Problem> {
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, scope| view.users(scope, &page)).await
}

/// Pools.
#[utoipa::path(get, path = "/v1/pools", tag = "pools", params(Paging), responses((status = 200, body = Page<PoolDoc>)))]
async fn pools(caller: Caller, State(sidecar): State<Sidecar>, Query(q): Query<Paging>) -> Result<Response, Problem> {
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, scope| view.pools(scope, &page)).await
}

/// Cards.
#[utoipa::path(get, path = "/v1/cards", tag = "cards", params(OfUser), responses((status = 200, body = Page<CardDoc>)))]
async fn cards(caller: Caller, State(sidecar): State<Sidecar>, Query(q): Query<OfUser>) -> Result<Response, Problem> {
    let (user, page) = (id("user_id", q.user_id.as_deref(), Thing::User)?, page(q.limit, q.cursor)?);
    sidecar.listed(caller, move |view, scope| view.cards(scope, user, &page)).await
}

/// A pool's top-ups.
#[utoipa::path(get, path = "/v1/pools/{id}/top-ups", tag = "pools", params(("id" = String, Path), Paging), responses((status = 200, body = Page<TransferDoc>)))]
async fn top_ups(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    pool: Segment,
    Query(q): Query<Paging>,
) -> Result<Response, Problem> {
    let pool = sidecar.own_pool(caller, &pool).await?;
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, scope| view.top_ups(scope, Some(pool), &page)).await
}

/// A pool's withdrawals.
#[utoipa::path(get, path = "/v1/pools/{id}/withdrawals", tag = "pools", params(("id" = String, Path), Paging), responses((status = 200, body = Page<TransferDoc>)))]
async fn withdrawals(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    pool: Segment,
    Query(q): Query<Paging>,
) -> Result<Response, Problem> {
    let pool = sidecar.own_pool(caller, &pool).await?;
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, scope| view.withdrawals(scope, Some(pool), &page)).await
}

/// Pay-ins.
#[utoipa::path(get, path = "/v1/pay-ins", tag = "pay-ins", params(OfAccount), responses((status = 200, body = Page<TransferDoc>)))]
async fn pay_ins(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<OfAccount>,
) -> Result<Response, Problem> {
    let (account, page) = (id("account_id", q.account_id.as_deref(), Thing::Account)?, page(q.limit, q.cursor)?);
    sidecar.listed(caller, move |view, scope| view.pay_ins(scope, account, &page)).await
}

/// Payouts.
#[utoipa::path(get, path = "/v1/payouts", tag = "payouts", params(OfAccount), responses((status = 200, body = Page<TransferDoc>)))]
async fn payouts(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<OfAccount>,
) -> Result<Response, Problem> {
    let (account, page) = (id("account_id", q.account_id.as_deref(), Thing::Account)?, page(q.limit, q.cursor)?);
    sidecar.listed(caller, move |view, scope| view.payouts(scope, account, &page)).await
}

/// Crypto deposits.
#[utoipa::path(get, path = "/v1/crypto-deposits", tag = "crypto deposits", params(OfUser), responses((status = 200, body = Page<TransferDoc>)))]
async fn crypto_deposits(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<OfUser>,
) -> Result<Response, Problem> {
    let (user, page) = (id("user_id", q.user_id.as_deref(), Thing::User)?, page(q.limit, q.cursor)?);
    sidecar.listed(caller, move |view, scope| view.crypto_deposits(scope, user, &page)).await
}

/// The rate book.
#[utoipa::path(get, path = "/v1/rates", tag = "rates", params(Paging), responses((status = 200, body = Page<RateDoc>)))]
async fn rates(caller: Caller, State(sidecar): State<Sidecar>, Query(q): Query<Paging>) -> Result<Response, Problem> {
    caller.operator()?;
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, _| view.rates(&page)).await
}

/// Quotes.
#[utoipa::path(get, path = "/v1/quotes", tag = "quotes", params(OfUser), responses((status = 200, body = Page<QuoteDoc>)))]
async fn quotes(caller: Caller, State(sidecar): State<Sidecar>, Query(q): Query<OfUser>) -> Result<Response, Problem> {
    let (user, page) = (id("user_id", q.user_id.as_deref(), Thing::User)?, page(q.limit, q.cursor)?);
    sidecar.listed(caller, move |view, scope| view.quotes(scope, user, &page)).await
}

/// Off-ramps.
#[utoipa::path(get, path = "/v1/off-ramps", tag = "off-ramps", params(OfUser), responses((status = 200, body = Page<OffRampDoc>)))]
async fn off_ramps(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<OfUser>,
) -> Result<Response, Problem> {
    let (user, page) = (id("user_id", q.user_id.as_deref(), Thing::User)?, page(q.limit, q.cursor)?);
    sidecar.listed(caller, move |view, scope| view.off_ramps(scope, user, &page)).await
}

/// An account's statement, oldest line first: opening plus every line that is no memo is closing.
#[utoipa::path(get, path = "/v1/accounts/{id}/statement", tag = "accounts", params(("id" = String, Path), Span), responses((status = 200, body = StatementDoc)))]
async fn account_statement(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    of: Segment,
    Query(q): Query<Span>,
) -> Result<Response, Problem> {
    let of = StatementOf::Account(of.id(Thing::Account, "the account")?);
    statement(caller, &sidecar, of, "the account", q).await
}

/// A pool's statement, oldest line first: opening plus every line is closing.
#[utoipa::path(get, path = "/v1/pools/{id}/statement", tag = "pools", params(("id" = String, Path), Span), responses((status = 200, body = StatementDoc)))]
async fn pool_statement(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    of: Segment,
    Query(q): Query<Span>,
) -> Result<Response, Problem> {
    let of = StatementOf::Pool(of.id(Thing::Pool, "the pool")?);
    statement(caller, &sidecar, of, "the pool", q).await
}

async fn statement(
    caller: Caller,
    sidecar: &Sidecar,
    of: StatementOf,
    what: &'static str,
    q: Span,
) -> Result<Response, Problem> {
    let (from, to) = (moment("from", q.from.as_deref())?, moment("to", q.to.as_deref())?);
    let page = page(q.limit, q.cursor)?;
    sidecar.found(caller, what, move |view, scope| view.statement(scope, of, from, to, &page)).await
}

/// What an account had at a time.
#[utoipa::path(get, path = "/v1/accounts/{id}/balance", tag = "accounts", params(("id" = String, Path), Moment), responses((status = 200, body = BalanceDoc)))]
async fn account_balance(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    of: Segment,
    Query(q): Query<Moment>,
) -> Result<Response, Problem> {
    let of = StatementOf::Account(of.id(Thing::Account, "the account")?);
    balance_at(caller, &sidecar, of, "the account", &q).await
}

/// What a pool had at a time.
#[utoipa::path(get, path = "/v1/pools/{id}/balance", tag = "pools", params(("id" = String, Path), Moment), responses((status = 200, body = BalanceDoc)))]
async fn pool_balance(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    of: Segment,
    Query(q): Query<Moment>,
) -> Result<Response, Problem> {
    let of = StatementOf::Pool(of.id(Thing::Pool, "the pool")?);
    balance_at(caller, &sidecar, of, "the pool", &q).await
}

async fn balance_at(
    caller: Caller,
    sidecar: &Sidecar,
    of: StatementOf,
    what: &'static str,
    q: &Moment,
) -> Result<Response, Problem> {
    let bad = || Problem::new(Code::InvalidParameter, "at: a time such as 2026-01-31T12:00:00Z is needed");
    let at = Timestamp::parse_rfc3339(&q.at).ok_or_else(bad)?;
    if at > sidecar.app.shard.query(|_, now| now).await? {
        return Err(Problem::new(Code::InvalidParameter, "at: that moment has not come yet"));
    }
    sidecar.found(caller, what, move |view, scope| view.balance_at(scope, of, at)).await
}

/// Approvals of partners that came after the decision, and what they put at risk.
#[utoipa::path(get, path = "/v1/late-approvals", tag = "authorizations", params(Between), responses((status = 200, body = Page<LateApprovalDoc>)))]
async fn late_approvals(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<Between>,
) -> Result<Response, Problem> {
    let (from, to) = (moment("from", q.from.as_deref())?, moment("to", q.to.as_deref())?);
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, scope| view.late_approvals(scope, from, to, &page)).await
}

/// Authorizations.
#[utoipa::path(get, path = "/v1/authorizations", tag = "authorizations", params(Which), responses((status = 200, body = Page<AuthorizationDoc>)))]
async fn authorizations(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    Query(q): Query<Which>,
) -> Result<Response, Problem> {
    let filter = AuthorizationFilter {
        card: id("card_id", q.card_id.as_deref(), Thing::Card)?,
        user: id("user_id", q.user_id.as_deref(), Thing::User)?,
        pool: id("pool_id", q.pool_id.as_deref(), Thing::Pool)?,
        outcome: q.outcome,
        from: moment("from", q.from.as_deref())?,
        to: moment("to", q.to.as_deref())?,
        updated_since: moment("updated_since", q.updated_since.as_deref())?,
    };
    let page = page(q.limit, q.cursor)?;
    sidecar.listed(caller, move |view, scope| view.authorizations(scope, &filter, &page)).await
}

/// An authorization.
#[utoipa::path(get, path = "/v1/authorizations/{id}", tag = "authorizations", params(("id" = String, Path)), responses((status = 200, body = AuthorizationDoc)))]
async fn authorization(caller: Caller, State(sidecar): State<Sidecar>, of: Segment) -> Result<Response, Problem> {
    let of = of.id(Thing::Authorization, "the authorization")?;
    match sidecar.chained(caller, of).await? {
        Some(doc) => Ok(json(StatusCode::OK, &doc)),
        None => sidecar.found(caller, "the authorization", move |view, scope| view.authorization(scope, of)).await,
    }
}

/// Each state change of an authorization with its sequence, time and postings.
#[utoipa::path(get, path = "/v1/authorizations/{id}/events", tag = "authorizations", params(("id" = String, Path), Paging), responses((status = 200, body = Page<AuthorizationEventDoc>)))]
async fn authorization_events(
    caller: Caller,
    State(sidecar): State<Sidecar>,
    of: Segment,
    Query(q): Query<Paging>,
) -> Result<Response, Problem> {
    let of = of.id(Thing::Authorization, "the authorization")?;
    let page = page(q.limit, q.cursor)?;
    sidecar.found(caller, "the authorization", move |view, scope| view.authorization_events(scope, of, &page)).await
}
