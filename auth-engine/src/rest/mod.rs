//! The REST sidecar: its own runtime and threads, of low priority, beside the shard. It turns requests into queries
//! and writes for the shard and reads of the view and the balances.
//!
//! It must never hold a rule about money, hold up a tap, or let a PAN or a secret out twice.

pub mod balances;
mod body;
mod call;
mod cards;
mod exchange;
mod funds;
mod gate;
pub mod keys;
mod lists;
mod openapi;
mod pan;
mod partners;
mod problem;
mod sandbox;
mod scope;
mod server;
mod system;
mod trace;
mod users;
mod values;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use dashmap::DashMap;
use iso_codec::{Framing, Spec};
use ledger_core::book::Balance;
use ledger_core::id::{Id, Thing};
use ledger_core::journal::Reader;
use ledger_core::keys::Keyring;
use ledger_core::money::Currency;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::proof::Latest;
use crate::shard::handle::ShardHandle;
use crate::view::View;
use crate::view::docs::{AccountDoc, PoolDoc};
use crate::view::fold::Requests;

use balances::Balances;
pub use gate::Calls;
use keys::{Caller, KeyTable};
pub use problem::{Code, FieldError, Problem};
pub use server::serve;
pub use system::Health;

/// One link as a sandbox tap reaches it.
#[derive(Debug, Clone)]
pub struct LinkTarget {
    /// Its name in the configuration.
    pub name: String,
    /// Where its listener is, with the port it really has.
    pub addr: SocketAddr,
    /// Its message spec.
    pub spec: Arc<Spec>,
    /// How its frames are delimited.
    pub framing: Framing,
    /// From frame in to reply out.
    pub budget: Duration,
}

/// What of the configuration the sidecar needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sandbox calls on, PAN shown once, any decision URL.
    pub sandbox: bool,
    /// First digits of issued cards, 6 to 11.
    pub issuing_bin: String,
    /// The links, in the order of the configuration.
    pub links: Vec<LinkTarget>,
}

/// What the sidecar stands on.
pub struct App {
    /// Queries and writes.
    pub shard: ShardHandle,
    /// Lists and statements.
    pub view: View,
    /// What accounts and pools hold; the shard publishes.
    pub balances: Arc<Balances>,
    /// Durable events: stored answers, sealed PANs.
    pub reader: Reader,
    /// Opens them.
    pub keyring: Arc<Keyring>,
    /// Opens and reads the requests behind them.
    pub requests: Arc<dyn Requests>,
    /// From the configuration.
    pub settings: Settings,
    /// What the other parts say of themselves.
    pub health: Arc<Health>,
    /// The requests that are worked on.
    pub calls: Arc<Calls>,
    /// What of the journal was signed last.
    pub checkpoint: Arc<Latest>,
}

/// What never changes of an account, so that its balance is read without asking the shard.
struct AccountFacts {
    partner: u32,
    currency: Currency,
    doc: AccountDoc,
}

/// State of the handlers; clones share it.
#[derive(Clone)]
pub(crate) struct Sidecar(Arc<Inner>);

pub(crate) struct Inner {
    app: App,
    keys: KeyTable,
    taps: sandbox::Taps,
    accounts: DashMap<Id, Arc<AccountFacts>>,
}

impl Deref for Sidecar {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Sidecar {
    fn new(app: App) -> Self {
        Self(Arc::new(Inner {
            app,
            keys: KeyTable::default(),
            taps: sandbox::Taps::default(),
            accounts: DashMap::new(),
        }))
    }

    /// An account with the balance last published; asks the shard only the first time.
    async fn account(&self, caller: Caller, id: Id) -> Result<Response, Problem> {
        let missing = || Problem::not_found("the account");
        let known = self.accounts.get(&id).map(|facts| Arc::clone(&facts));
        let facts = match known {
            Some(facts) => facts,
            None => {
                let read = self.app.shard.query(move |book, _| {
                    let index = book.account_index(id)?;
                    let account = book.account(index)?;
                    let partner = book.user(account.user)?.partner;
                    Some(AccountFacts { partner, currency: account.currency, doc: AccountDoc::from_book(book, index)? })
                });
                let facts = Arc::new(read.await?.ok_or_else(missing)?);
                self.accounts.insert(id, Arc::clone(&facts));
                facts
            }
        };
        if !caller.sees(facts.partner) {
            return Err(missing());
        }
        let mut doc = facts.doc.clone();
        if let Some(now) = self.app.balances.read(id) {
            doc.set_balance(facts.currency, Balance { available: now.available, held: now.held });
        }
        Ok(call::json(StatusCode::OK, &doc))
    }

    /// A pool with the balance last published.
    async fn pool(&self, caller: Caller, id: Id) -> Result<Response, Problem> {
        let balances = Arc::clone(&self.app.balances);
        self.read(move |book, _| {
            let index = scope::pool(book, caller, id)?;
            let missing = || Problem::not_found("the pool");
            let mut doc = PoolDoc::from_book(book, index).ok_or_else(missing)?;
            if let (Some(pool), Some(now)) = (book.pool(index), balances.read(id)) {
                let balance = Balance { available: now.available, held: now.held };
                doc.set_balance(pool.currency, balance, pool.minimum);
            }
            Ok(doc)
        })
        .await
    }

    /// The id of a pool that the caller may see.
    async fn own_pool(&self, caller: Caller, pool: &call::Segment) -> Result<Id, Problem> {
        let id = pool.id(Thing::Pool, "the pool")?;
        self.app.shard.query(move |book, _| scope::pool(book, caller, id).map(|_| id)).await?
    }
}

/// All routes and their description.
fn routes() -> (OpenApiRouter<Sidecar>, OpenApiRouter<Sidecar>) {
    let bounded = OpenApiRouter::new()
        .merge(partners::routes())
        .merge(users::routes())
        .merge(funds::routes())
        .merge(exchange::routes())
        .merge(cards::routes())
        .merge(lists::routes())
        .merge(trace::routes())
        .merge(sandbox::routes())
        .merge(system::routes());
    (bounded, system::open_routes())
}

/// The OpenAPI description as `GET /openapi.json` serves it.
#[must_use]
pub fn describe() -> utoipa::openapi::OpenApi {
    let (bounded, open) = routes();
    let mut api = OpenApiRouter::with_openapi(openapi::base()).merge(open).merge(bounded).into_openapi();
    openapi::finish(&mut api);
    api
}

/// The whole service.
fn router(sidecar: &Sidecar) -> Router {
    let (bounded, open) = routes();
    let (bounded, _) = bounded.split_for_parts();
    let (open, _) = open.split_for_parts();
    let bounded = bounded.layer(from_fn_with_state(sidecar.clone(), gate::bound));
    open.merge(bounded)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", describe()))
        .fallback(gate::no_such_path)
        .method_not_allowed_fallback(gate::no_such_method)
        .layer(CatchPanicLayer::custom(gate::panicked))
        .layer(from_fn(gate::observe))
        .with_state(sidecar.clone())
}
