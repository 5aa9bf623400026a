//! Pools and money in and out: top-ups, withdrawals, pay-ins, payouts, crypto deposits.

use axum::extract::State;
use axum::response::Response;
use ledger_core::book::{Command, Done, TransferKind};
use ledger_core::id::{No, Thing};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{Call, Segment, created, done};
use super::keys::Caller;
use super::problem::{Code, Problem};
use super::scope;
use super::values::{
    AccountRef, Amount, AmountOrZero, CurrencyCode, PartnerRef, StatusWord, Text, UserRef, unless_absent,
};
use crate::view::docs::{PoolDoc, TransferDoc};

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new()
        .routes(routes!(create_pool))
        .routes(routes!(pool, change_pool))
        .routes(routes!(create_top_up))
        .routes(routes!(top_up))
        .routes(routes!(settle_top_up))
        .routes(routes!(fail_top_up))
        .routes(routes!(withdraw))
        .routes(routes!(withdrawal))
        .routes(routes!(pay_in))
        .routes(routes!(read_pay_in))
        .routes(routes!(create_payout))
        .routes(routes!(payout))
        .routes(routes!(settle_payout))
        .routes(routes!(fail_payout))
        .routes(routes!(receive_crypto))
        .routes(routes!(crypto_deposit))
}

/// What creates a pool.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPool {
    /// EUR, USD, CHF, SGD, HKD, JPY or USDC.
    currency: CurrencyCode,
    /// What withdrawals leave, in the pool's currency; taps may go below. Default zero.
    minimum_balance: Option<AmountOrZero>,
    /// When an operator creates the pool: for which partner.
    partner_id: Option<PartnerRef>,
}

/// What changes a pool; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PoolPatch {
    #[serde(default, deserialize_with = "unless_absent")]
    status: Option<StatusWord>,
    #[serde(default, deserialize_with = "unless_absent")]
    minimum_balance: Option<AmountOrZero>,
}

/// Money into or out of a pool.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PoolTransfer {
    amount: Amount,
    reference: Text,
}

/// Money that arrived for an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPayIn {
    account_id: AccountRef,
    amount: Amount,
    reference: Text,
}

/// Money that leaves an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPayout {
    account_id: AccountRef,
    amount: Amount,
    /// Who gets it, as the bank needs it.
    beneficiary: Text,
    reference: Text,
}

/// Crypto that arrived for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCryptoDeposit {
    user_id: UserRef,
    /// USDC, USDT, BTC or ETH.
    amount: Amount,
    reference: Text,
}

fn minimum_of_another_currency() -> Problem {
    Problem::new(Code::CurrencyMismatch, "minimum_balance must be in the pool's currency")
}

/// Creates a pool.
#[utoipa::path(post, path = "/v1/pools", tag = "pools", request_body = NewPool, responses((status = 201, body = PoolDoc)))]
async fn create_pool(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let body: NewPool = call.body()?;
    let currency = body.currency.0;
    let minimum = body.minimum_balance.map(|minimum| minimum.0);
    if minimum.is_some_and(|minimum| minimum.currency != currency) {
        return Err(minimum_of_another_currency());
    }
    call.write(
        move |book, _| {
            Ok(Command::CreatePool {
                partner: scope::owner(book, caller, body.partner_id.map(|id| id.0))?,
                currency,
                minimum: minimum.map_or(0, |minimum| minimum.minor),
            })
        },
        |book, _, result| match result {
            Done::Pool(index) => created(PoolDoc::from_book(book, index)),
            _ => None,
        },
    )
    .await
}

/// A pool and what it holds.
#[utoipa::path(get, path = "/v1/pools/{id}", tag = "pools", params(("id" = String, Path)), responses((status = 200, body = PoolDoc)))]
async fn pool(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let id = id.id(Thing::Pool, "the pool")?;
    sidecar.pool(caller, id).await
}

/// Changes a pool; what is left out stays.
#[utoipa::path(patch, path = "/v1/pools/{id}", tag = "pools", params(("id" = String, Path)), request_body = PoolPatch, responses((status = 200, body = PoolDoc)))]
async fn change_pool(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::Pool, "the pool")?;
    let body: PoolPatch = call.body()?;
    call.write(
        move |book, _| {
            let pool = scope::pool(book, caller, id)?;
            let minimum = body.minimum_balance.map(|minimum| minimum.0);
            if minimum.is_some_and(|minimum| book.pool(pool).is_some_and(|pool| pool.currency != minimum.currency)) {
                return Err(minimum_of_another_currency());
            }
            let minimum = minimum.map(|minimum| minimum.minor);
            Ok(Command::ChangePool { pool, status: body.status.map(|status| status.0), minimum })
        },
        |book, _, result| match result {
            Done::Pool(index) => done(PoolDoc::from_book(book, index)),
            _ => None,
        },
    )
    .await
}

/// Announces a prefund: `pending` until an operator settles it.
#[utoipa::path(post, path = "/v1/pools/{id}/top-ups", tag = "pools", params(("id" = String, Path)), request_body = PoolTransfer, responses((status = 201, body = TransferDoc)))]
async fn create_top_up(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::Pool, "the pool")?;
    let body: PoolTransfer = call.body()?;
    transfer(call, true, move |book| {
        Ok(Command::CreateTopUp {
            pool: scope::pool(book, caller, id)?,
            amount: body.amount.0,
            reference: body.reference.0,
        })
    })
    .await
}

/// Takes money out of a pool, never below what is held plus the minimum.
#[utoipa::path(post, path = "/v1/pools/{id}/withdrawals", tag = "pools", params(("id" = String, Path)), request_body = PoolTransfer, responses((status = 201, body = TransferDoc)))]
async fn withdraw(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::Pool, "the pool")?;
    let body: PoolTransfer = call.body()?;
    transfer(call, true, move |book| {
        Ok(Command::Withdraw {
            pool: scope::pool(book, caller, id)?,
            amount: body.amount.0,
            reference: body.reference.0,
        })
    })
    .await
}

/// Money that arrived for an account.
#[utoipa::path(post, path = "/v1/pay-ins", tag = "pay-ins", request_body = NewPayIn, responses((status = 201, body = TransferDoc)))]
async fn pay_in(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let body: NewPayIn = call.body()?;
    transfer(call, true, move |book| {
        Ok(Command::PayIn {
            account: scope::account(book, caller, body.account_id.0)?,
            amount: body.amount.0,
            reference: body.reference.0,
        })
    })
    .await
}

/// Sends money out of an account: `pending` until an operator settles it.
#[utoipa::path(post, path = "/v1/payouts", tag = "payouts", request_body = NewPayout, responses((status = 201, body = TransferDoc)))]
async fn create_payout(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let body: NewPayout = call.body()?;
    transfer(call, true, move |book| {
        Ok(Command::CreatePayout {
            account: scope::account(book, caller, body.account_id.0)?,
            amount: body.amount.0,
            beneficiary: body.beneficiary.0,
            reference: body.reference.0,
        })
    })
    .await
}

/// Crypto that arrived for a user.
#[utoipa::path(post, path = "/v1/crypto-deposits", tag = "crypto deposits", request_body = NewCryptoDeposit, responses((status = 201, body = TransferDoc)))]
async fn receive_crypto(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let body: NewCryptoDeposit = call.body()?;
    transfer(call, true, move |book| {
        Ok(Command::ReceiveCrypto {
            user: scope::user(book, caller, body.user_id.0)?,
            amount: body.amount.0,
            reference: body.reference.0,
        })
    })
    .await
}

/// The prefund arrived: the pool can spend it.
#[utoipa::path(post, path = "/v1/top-ups/{id}/settle", tag = "pools", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn settle_top_up(id: Segment, call: Call) -> Result<Response, Problem> {
    end(call, id, TransferKind::TopUp, |top_up| Command::SettleTopUp { top_up }).await
}

/// The prefund will not come.
#[utoipa::path(post, path = "/v1/top-ups/{id}/fail", tag = "pools", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn fail_top_up(id: Segment, call: Call) -> Result<Response, Problem> {
    end(call, id, TransferKind::TopUp, |top_up| Command::FailTopUp { top_up }).await
}

/// The payout arrived.
#[utoipa::path(post, path = "/v1/payouts/{id}/settle", tag = "payouts", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn settle_payout(id: Segment, call: Call) -> Result<Response, Problem> {
    end(call, id, TransferKind::Payout, |payout| Command::SettlePayout { payout }).await
}

/// The payout came back: the account has its money again.
#[utoipa::path(post, path = "/v1/payouts/{id}/fail", tag = "payouts", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn fail_payout(id: Segment, call: Call) -> Result<Response, Problem> {
    end(call, id, TransferKind::Payout, |payout| Command::FailPayout { payout }).await
}

/// A top-up.
#[utoipa::path(get, path = "/v1/top-ups/{id}", tag = "pools", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn top_up(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    read(caller, sidecar, id, TransferKind::TopUp).await
}

/// A withdrawal.
#[utoipa::path(get, path = "/v1/withdrawals/{id}", tag = "pools", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn withdrawal(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    read(caller, sidecar, id, TransferKind::Withdrawal).await
}

/// A pay-in.
#[utoipa::path(get, path = "/v1/pay-ins/{id}", tag = "pay-ins", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn read_pay_in(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    read(caller, sidecar, id, TransferKind::PayIn).await
}

/// A payout.
#[utoipa::path(get, path = "/v1/payouts/{id}", tag = "payouts", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn payout(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    read(caller, sidecar, id, TransferKind::Payout).await
}

/// A crypto deposit.
#[utoipa::path(get, path = "/v1/crypto-deposits/{id}", tag = "crypto deposits", params(("id" = String, Path)), responses((status = 200, body = TransferDoc)))]
async fn crypto_deposit(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    read(caller, sidecar, id, TransferKind::CryptoDeposit).await
}

const fn thing(kind: TransferKind) -> (Thing, &'static str) {
    match kind {
        TransferKind::TopUp => (Thing::TopUp, "the top-up"),
        TransferKind::Withdrawal => (Thing::Withdrawal, "the withdrawal"),
        TransferKind::PayIn => (Thing::PayIn, "the pay-in"),
        TransferKind::Payout => (Thing::Payout, "the payout"),
        TransferKind::CryptoDeposit => (Thing::CryptoDeposit, "the crypto deposit"),
    }
}

async fn transfer(
    call: Call,
    new: bool,
    plan: impl FnOnce(&ledger_core::book::Book) -> Result<Command, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    call.write(
        move |book, _| plan(book),
        move |book, _, result| match result {
            Done::Transfer(no) if new => created(TransferDoc::from_book(book, no)),
            Done::Transfer(no) => done(TransferDoc::from_book(book, no)),
            _ => None,
        },
    )
    .await
}

async fn end(
    call: Call,
    id: Segment,
    kind: TransferKind,
    command: impl FnOnce(No) -> Command + Send + 'static,
) -> Result<Response, Problem> {
    let caller = call.caller;
    caller.operator()?;
    let (thing, what) = thing(kind);
    let id = id.id(thing, what)?;
    call.no_members()?;
    transfer(call, false, move |book| Ok(command(scope::transfer(book, caller, kind, id)?))).await
}

async fn read(caller: Caller, sidecar: Sidecar, id: Segment, kind: TransferKind) -> Result<Response, Problem> {
    let (thing, what) = thing(kind);
    let id = id.id(thing, what)?;
    sidecar
        .read(move |book, _| {
            let no = scope::transfer(book, caller, kind, id)?;
            TransferDoc::from_book(book, no).ok_or_else(|| Problem::not_found(what))
        })
        .await
}
