//! Rates, quotes and off-ramps.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ledger_core::book::{Book, Command, Done};
use ledger_core::id::Thing;
use ledger_core::money::{Currency, Rate};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{Call, Segment, created, done, json};
use super::keys::Caller;
use super::problem::{Code, Problem};
use super::scope;
use super::values::{Amount, CurrencyCode, QuoteRef, Text, UserRef, decimal_text};
use crate::view::docs::{OffRampDoc, QuoteDoc, RateDoc};

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new()
        .routes(routes!(set_rate))
        .routes(routes!(make_quote))
        .routes(routes!(quote))
        .routes(routes!(execute))
        .routes(routes!(off_ramp))
}

/// A rate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRate {
    /// Units of `to` for one `from`, decimal text.
    #[serde(deserialize_with = "decimal_text")]
    #[schema(example = "0.932835")]
    rate: String,
    /// Hundredths of a percent, 0 to 10000; default 0.
    markup_bps: Option<u16>,
}

/// What is to be quoted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewQuote {
    user_id: UserRef,
    /// USDC, USDT, BTC, ETH or a fiat currency.
    from: Amount,
    /// A fiat currency.
    to: CurrencyCode,
}

/// Which quote is executed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOffRamp {
    quote_id: QuoteRef,
    reference: Option<Text>,
}

fn pair(text: &str) -> Option<(Currency, Currency)> {
    let (from, to) = text.split_once('-')?;
    Some((Currency::from_code(from)?, Currency::from_code(to)?))
}

/// Sets a rate: so many units of `to` for one `from`. The inverse is a rate of its own.
#[utoipa::path(put, path = "/v1/rates/{pair}", tag = "rates", params(("pair" = String, Path, description = "`from` and `to` as in EUR-USD", example = "USDC-EUR")), request_body = NewRate, responses((status = 200, body = RateDoc)))]
async fn set_rate(Segment(text): Segment, call: Call) -> Result<Response, Problem> {
    call.caller.operator()?;
    let (from, to) = pair(&text).ok_or_else(|| Problem::not_found("the pair of currencies"))?;
    let body: NewRate = call.body()?;
    let markup = body.markup_bps.unwrap_or(0);
    if markup > 10_000 {
        return Err(Problem::at(Code::InvalidValue, "/markup_bps", "0 to 10000 is needed"));
    }
    let rate = Rate::parse(&body.rate, markup).ok_or_else(|| {
        let wanted = "decimal text above zero, at most 10^12, with at most 12 decimals and 18 digits is needed";
        Problem::at(Code::InvalidValue, "/rate", wanted)
    })?;
    call.write(
        move |_, _| Ok(Command::SetRate { from, to, rate }),
        |book, _, result| match result {
            Done::Rate(from, to) => done(RateDoc::from_book(book, from, to)),
            _ => None,
        },
    )
    .await
}

/// Quotes a conversion: what would be credited, for 30 s.
#[utoipa::path(post, path = "/v1/quotes", tag = "quotes", request_body = NewQuote, responses((status = 201, body = QuoteDoc)))]
async fn make_quote(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let body: NewQuote = call.body()?;
    call.write(
        move |book, _| {
            let user = scope::user(book, caller, body.user_id.0)?;
            Ok(Command::MakeQuote { user, from: body.from.0, to: body.to.0 })
        },
        |book, _, result| match result {
            Done::Quote(no) => created(QuoteDoc::from_book(book, no)),
            _ => None,
        },
    )
    .await
}

/// A quote.
#[utoipa::path(get, path = "/v1/quotes/{id}", tag = "quotes", params(("id" = String, Path)), responses((status = 200, body = QuoteDoc)))]
async fn quote(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let id = id.id(Thing::Quote, "the quote")?;
    let read = move |book: &Book| QuoteDoc::from_book(book, scope::quote(book, caller, id).ok()?);
    if let Some(doc) = sidecar.app.shard.query(move |book, _| read(book)).await? {
        return Ok(json(StatusCode::OK, &doc));
    }
    // The book forgets old quotes; the read model does not.
    let doc = sidecar.viewed(caller, move |view, scope| view.quote(scope, id)).await?;
    doc.map(|doc| json(StatusCode::OK, &doc)).ok_or_else(|| Problem::not_found("the quote"))
}

/// Executes a quote, once: consumes what was deposited and credits the account.
#[utoipa::path(post, path = "/v1/off-ramps", tag = "off-ramps", request_body = NewOffRamp, responses((status = 201, body = OffRampDoc)))]
async fn execute(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let body: NewOffRamp = call.body()?;
    call.write(
        move |book, _| {
            let quote = scope::quote(book, caller, body.quote_id.0)?;
            Ok(Command::ExecuteQuote { quote, reference: body.reference.map(|text| text.0) })
        },
        |book, _, result| match result {
            Done::OffRamp(no) => created(OffRampDoc::from_book(book, no)),
            _ => None,
        },
    )
    .await
}

/// An executed off-ramp.
#[utoipa::path(get, path = "/v1/off-ramps/{id}", tag = "off-ramps", params(("id" = String, Path)), responses((status = 200, body = OffRampDoc)))]
async fn off_ramp(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let missing = || Problem::not_found("the off-ramp");
    let id = id.id(Thing::OffRamp, "the off-ramp")?;
    sidecar
        .read(move |book, _| OffRampDoc::from_book(book, scope::off_ramp(book, caller, id)?).ok_or_else(missing))
        .await
}
