//! Cards. The number is given or drawn here, goes to the shard once, and leaves once: in the answer that creates the
//! card, in the sandbox only.

use axum::extract::State;
use axum::response::Response;
use ledger_core::book::{Command, Done, FundingWish};
use ledger_core::id::Thing;
use ledger_core::time::YearMonth;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{Call, Segment, created, done};
use super::keys::Caller;
use super::pan::{self, Digits};
use super::problem::{Code, Problem};
use super::scope;
use super::values::{CardStatusWord, CurrencyCode, Expiry, PoolRef, UserRef};
use crate::view::docs::CardDoc;

/// How long a card lives when nobody says.
const LIFETIME_MONTHS: i32 = 36;
/// Numbers drawn for one card: with a BIN of 11 digits and half of its numbers given out, one in 65,536 fails.
const DRAWS: usize = 16;

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(read, change))
}

/// What pays for a card's taps.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FundingType {
    Pool,
    Account,
    PartnerChoice,
}

/// Where a card's money comes from: `pool` needs `pool_id` (and `account_currency` for a USDC pool), `account` needs
/// `currency`, `partner_choice` needs `pool_id` and `currency`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFunding {
    #[serde(rename = "type")]
    kind: FundingType,
    pool_id: Option<PoolRef>,
    account_currency: Option<CurrencyCode>,
    currency: Option<CurrencyCode>,
}

/// What creates a card.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCard {
    user_id: UserRef,
    funding: NewFunding,
    /// 13 to 19 digits with a good Luhn digit; drawn under the issuing BIN when left out.
    #[schema(value_type = Option<String>)]
    pan: Option<CardNumber>,
    /// Default 36 months ahead.
    expires: Option<Expiry>,
}

/// A given number, checked while it is read.
struct CardNumber(Digits);

impl<'de> Deserialize<'de> for CardNumber {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(d)?);
        pan::check(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What changes a card.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CardPatch {
    status: CardStatusWord,
}

/// A card with its number, in the one answer that has it.
#[derive(Serialize, ToSchema)]
struct CardOnce {
    #[serde(flatten)]
    card: CardDoc,
    /// The number; in the sandbox only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pan: Option<String>,
}

/// What a funding says, with members that must and must not be there checked.
enum Wish {
    Pool(PoolRef, Option<CurrencyCode>),
    Account(CurrencyCode),
    PartnerChoice(PoolRef, CurrencyCode),
}

fn wish(funding: NewFunding) -> Result<Wish, Problem> {
    let at = |code, member: &str, what: &str| Problem::at(code, format!("/funding/{member}"), what);
    let needed = |member| at(Code::MissingField, member, "this funding needs it");
    let surplus = |member| at(Code::UnknownField, member, "this funding does not know it");
    let NewFunding { kind, pool_id, account_currency, currency } = funding;
    match (kind, pool_id, account_currency, currency) {
        (FundingType::Pool, Some(pool), linked, None) => Ok(Wish::Pool(pool, linked)),
        (FundingType::Pool, None, ..) => Err(needed("pool_id")),
        (FundingType::Pool, _, _, Some(_)) => Err(surplus("currency")),
        (FundingType::Account, None, None, Some(currency)) => Ok(Wish::Account(currency)),
        (FundingType::Account, Some(_), ..) => Err(surplus("pool_id")),
        (FundingType::Account, _, Some(_), _) | (FundingType::PartnerChoice, _, Some(_), _) => {
            Err(surplus("account_currency"))
        }
        (FundingType::Account, _, _, None) | (FundingType::PartnerChoice, _, _, None) => Err(needed("currency")),
        (FundingType::PartnerChoice, Some(pool), None, Some(currency)) => Ok(Wish::PartnerChoice(pool, currency)),
        (FundingType::PartnerChoice, None, ..) => Err(needed("pool_id")),
    }
}

fn digits(number: &Digits) -> String {
    String::from_utf8_lossy(number).into_owned()
}

/// Creates a card, born `active`.
#[utoipa::path(post, path = "/v1/cards", tag = "cards", request_body = NewCard, responses((status = 201, body = CardOnce)))]
async fn create(call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let body: NewCard = call.body()?;
    let wish = wish(body.funding)?;
    let app = &call.sidecar.app;
    let sandbox = app.settings.sandbox;
    // Which numbers are taken only the shard knows, and it draws none itself: it takes the first free one of these.
    let candidates: Vec<Digits> = match body.pan {
        Some(given) => vec![given.0],
        None => (0..DRAWS)
            .map(|_| pan::draw(&app.settings.issuing_bin))
            .collect::<Result<_, _>>()
            .map_err(|error| Problem::new(Code::Internal, error.to_string()))?,
    };
    let mut candidates: Vec<(Digits, [u8; 16])> = candidates
        .into_iter()
        .map(|number| {
            let fingerprint = app.keyring.fingerprint(&number);
            (number, fingerprint)
        })
        .collect();
    let given = candidates.len() == 1;
    let shown = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let taken = std::sync::Arc::clone(&shown);
    call.write(
        move |book, now| {
            let user = scope::user(book, caller, body.user_id.0)?;
            let funding = match wish {
                Wish::Pool(pool, linked) => FundingWish::Pool {
                    pool: scope::pool(book, caller, pool.0)?,
                    account_currency: linked.map(|currency| currency.0),
                },
                Wish::Account(currency) => FundingWish::Account { currency: currency.0 },
                Wish::PartnerChoice(pool, currency) => {
                    FundingWish::PartnerChoice { pool: scope::pool(book, caller, pool.0)?, currency: currency.0 }
                }
            };
            let free = candidates.iter().position(|(_, print)| given || book.card_by_fingerprint(print).is_none());
            let (pan, fingerprint) = free.map(|at| candidates.swap_remove(at)).ok_or_else(|| {
                Problem::new(Code::CardNumbersExhausted, "configure another issuing.bin, or give the number")
            })?;
            let expires = match &body.expires {
                Some(expires) => expires.0,
                None => YearMonth::after(now, LIFETIME_MONTHS)
                    .ok_or_else(|| Problem::at(Code::MissingField, "/expires", "give one; no default can be made"))?,
            };
            if sandbox {
                let _ = taken.set(digits(&pan));
            }
            Ok(Command::CreateCard { user, funding, pan, fingerprint, expires })
        },
        move |book, _, result| match result {
            Done::Card(index) => {
                created(Some(CardOnce { card: CardDoc::from_book(book, index)?, pan: shown.get().cloned() }))
            }
            _ => None,
        },
    )
    .await
}

/// A card, without its number.
#[utoipa::path(get, path = "/v1/cards/{id}", tag = "cards", params(("id" = String, Path)), responses((status = 200, body = CardDoc)))]
async fn read(caller: Caller, State(sidecar): State<Sidecar>, id: Segment) -> Result<Response, Problem> {
    let missing = || Problem::not_found("the card");
    let id = id.id(Thing::Card, "the card")?;
    sidecar.read(move |book, _| CardDoc::from_book(book, scope::card(book, caller, id)?).ok_or_else(missing)).await
}

/// Changes a card's state; `closed` is final.
#[utoipa::path(patch, path = "/v1/cards/{id}", tag = "cards", params(("id" = String, Path)), request_body = CardPatch, responses((status = 200, body = CardDoc)))]
async fn change(id: Segment, call: Call) -> Result<Response, Problem> {
    let caller = call.caller;
    let id = id.id(Thing::Card, "the card")?;
    let body: CardPatch = call.body()?;
    call.write(
        move |book, _| Ok(Command::ChangeCard { card: scope::card(book, caller, id)?, status: body.status.0 }),
        |book, _, result| match result {
            Done::Card(index) => done(CardDoc::from_book(book, index)),
            _ => None,
        },
    )
    .await
}
