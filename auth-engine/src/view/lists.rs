//! What the view answers: lists by owner, newest first, and single things that the book has forgotten. Every call
//! takes the partner that asks (`None`: an operator); what is another's is as if it were not there.

use ledger_core::book::Balance;
use ledger_core::event::tap::Source;
use ledger_core::id::{Id, No, Thing};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::docs::{
    AccountDoc, AuthorizationDoc, AuthorizationEventDoc, CardDoc, KeyDoc, OffRampDoc, Page, PartnerDoc, PoolDoc,
    QuoteDoc, RateDoc, TransferDoc, UserDoc,
};
use super::fold::AuthorizationFold;
use super::store::{self, By, Kind, Span, Step, key};
use super::{AuthorizationFilter, PageRequest, View, ViewError};

/// A row: what is shown, and whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row<D> {
    pub(super) doc: D,
    /// Number of the partner; none for what belongs to no partner.
    pub(super) partner: Option<No>,
    /// Dense index, of pools and accounts.
    #[serde(default)]
    pub(super) index: u32,
    /// Minor units, of pools.
    #[serde(default)]
    pub(super) minimum: i64,
}

impl<D> Row<D> {
    /// A row of what has neither index nor minimum.
    pub(super) const fn new(doc: D, partner: Option<No>) -> Self {
        Self { doc, partner, index: 0, minimum: 0 }
    }
}

/// The row of an id, when the one who asks may see it.
pub(super) fn owned<D: DeserializeOwned>(
    tree: &sled::Tree,
    scope: Option<Id>,
    kind: Kind,
    id: Id,
) -> Result<Option<Row<D>>, ViewError> {
    let Some(bytes) = tree.get(key::doc(kind, id.no))? else { return Ok(None) };
    let row: Row<D> = store::parse(&bytes)?;
    Ok(Some(row).filter(|row| scope.is_none_or(|scope| row.partner == Some(scope.no))))
}

/// A balance; nothing held when it was never posted to.
pub(super) fn balance(bytes: Option<&[u8]>) -> Balance {
    let parts = bytes.and_then(|bytes| {
        let (available, held) = bytes.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*available), i64::from_be_bytes(*held.first_chunk::<8>()?)))
    });
    parts.map_or_else(Balance::default, |(available, held)| Balance { available, held })
}

/// A list that is kept by number.
struct List {
    kind: Kind,
    by: By,
    owner: No,
}

impl List {
    /// Everything the one who asks may see.
    fn all(kind: Kind, scope: Option<Id>) -> Self {
        match scope {
            Some(partner) => Self { kind, by: By::Partner, owner: partner.no },
            None => Self { kind, by: By::All, owner: 0 },
        }
    }

    /// What belongs to one thing, when one is named.
    fn of(kind: Kind, scope: Option<Id>, by: By, owner: Option<Id>) -> Self {
        match owner {
            Some(owner) => Self { kind, by, owner: owner.no },
            None => Self::all(kind, scope),
        }
    }

    fn page<D: DeserializeOwned>(
        &self,
        view: &View,
        scope: Option<Id>,
        request: &PageRequest,
        fits: impl Fn(&D) -> bool,
        mut finish: impl FnMut(&sled::Tree, &mut Row<D>) -> Result<(), ViewError>,
    ) -> Result<Page<D>, ViewError> {
        view.read(|tree| {
            let span = Span::all(key::list(self.kind, self.by, self.owner), 8);
            store::page(tree, span, request, |entry, _| {
                let no = key::no_of(entry).ok_or_else(missing)?;
                let bytes = tree.get(key::doc(self.kind, no))?.ok_or_else(missing)?;
                let mut row: Row<D> = store::parse(&bytes)?;
                let visible = scope.is_none_or(|scope| row.partner == Some(scope.no));
                if !visible || !fits(&row.doc) {
                    return Ok(Step::Skip);
                }
                finish(tree, &mut row)?;
                Ok(Step::Take(row.doc))
            })
        })
    }
}

fn missing() -> ViewError {
    ViewError::Damaged("a list names a row that is not there".to_owned())
}

fn plain<D>(_: &sled::Tree, _: &mut Row<D>) -> Result<(), ViewError> {
    Ok(())
}

fn balance_of(tree: &sled::Tree, source: Source) -> Result<Balance, ViewError> {
    Ok(balance(tree.get(key::balance(source))?.as_deref()))
}

fn account_balance(tree: &sled::Tree, row: &mut Row<AccountDoc>) -> Result<(), ViewError> {
    if let Some(currency) = Currency::from_code(&row.doc.currency) {
        row.doc.set_balance(currency, balance_of(tree, Source::Account(row.index))?);
    }
    Ok(())
}

fn pool_balance(tree: &sled::Tree, row: &mut Row<PoolDoc>) -> Result<(), ViewError> {
    if let Some(currency) = Currency::from_code(&row.doc.currency) {
        row.doc.set_balance(currency, balance_of(tree, Source::Pool(row.index))?, row.minimum);
    }
    Ok(())
}

/// True when no user is asked for, or this one.
fn of_user(user: Option<Id>) -> impl Fn(&str) -> bool {
    let wanted = user.map(|id| id.text(Thing::User));
    move |id| wanted.as_deref().is_none_or(|wanted| wanted == id)
}

impl View {
    /// Partners; an operator's list.
    pub fn partners(&self, request: &PageRequest) -> Result<Page<PartnerDoc>, ViewError> {
        List::all(Kind::Partner, None).page(self, None, request, |_| true, plain)
    }

    /// API keys of a partner, or all.
    pub fn keys(&self, scope: Option<Id>, request: &PageRequest) -> Result<Page<KeyDoc>, ViewError> {
        List::all(Kind::Key, scope).page(self, scope, request, |_| true, plain)
    }

    /// Users of a partner, or all.
    pub fn users(&self, scope: Option<Id>, request: &PageRequest) -> Result<Page<UserDoc>, ViewError> {
        List::all(Kind::User, scope).page(self, scope, request, |_| true, plain)
    }

    /// Accounts, of one user when given. Balances are those at [`View::position`].
    pub fn accounts(
        &self,
        scope: Option<Id>,
        user: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<AccountDoc>, ViewError> {
        let fits = of_user(user);
        let fits = move |doc: &AccountDoc| fits(&doc.user_id);
        List::of(Kind::Account, scope, By::User, user).page(self, scope, request, fits, account_balance)
    }

    /// Pools of a partner, or all. Balances are those at [`View::position`].
    pub fn pools(&self, scope: Option<Id>, request: &PageRequest) -> Result<Page<PoolDoc>, ViewError> {
        List::all(Kind::Pool, scope).page(self, scope, request, |_| true, pool_balance)
    }

    /// Cards, of one user when given.
    pub fn cards(
        &self,
        scope: Option<Id>,
        user: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<CardDoc>, ViewError> {
        let fits = of_user(user);
        let fits = move |doc: &CardDoc| fits(&doc.user_id);
        List::of(Kind::Card, scope, By::User, user).page(self, scope, request, fits, plain)
    }

    /// Top-ups, of one pool when given.
    pub fn top_ups(
        &self,
        scope: Option<Id>,
        pool: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<TransferDoc>, ViewError> {
        self.transfers(Kind::TopUp, By::Pool, Thing::Pool, scope, pool, request)
    }

    /// Withdrawals, of one pool when given.
    pub fn withdrawals(
        &self,
        scope: Option<Id>,
        pool: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<TransferDoc>, ViewError> {
        self.transfers(Kind::Withdrawal, By::Pool, Thing::Pool, scope, pool, request)
    }

    /// Pay-ins, of one account when given.
    pub fn pay_ins(
        &self,
        scope: Option<Id>,
        account: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<TransferDoc>, ViewError> {
        self.transfers(Kind::PayIn, By::Account, Thing::Account, scope, account, request)
    }

    /// Payouts, of one account when given.
    pub fn payouts(
        &self,
        scope: Option<Id>,
        account: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<TransferDoc>, ViewError> {
        self.transfers(Kind::Payout, By::Account, Thing::Account, scope, account, request)
    }

    /// Crypto deposits, of one user when given.
    pub fn crypto_deposits(
        &self,
        scope: Option<Id>,
        user: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<TransferDoc>, ViewError> {
        self.transfers(Kind::CryptoDeposit, By::User, Thing::User, scope, user, request)
    }

    fn transfers(
        &self,
        kind: Kind,
        by: By,
        thing: Thing,
        scope: Option<Id>,
        owner: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<TransferDoc>, ViewError> {
        let wanted = owner.map(|id| id.text(thing));
        let fits = move |doc: &TransferDoc| {
            let party = doc.pool_id.as_ref().or(doc.account_id.as_ref()).or(doc.user_id.as_ref());
            wanted.is_none() || party == wanted.as_ref()
        };
        List::of(kind, scope, by, owner).page(self, scope, request, fits, plain)
    }

    /// Quotes, of one user when given.
    pub fn quotes(
        &self,
        scope: Option<Id>,
        user: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<QuoteDoc>, ViewError> {
        let fits = of_user(user);
        let fits = move |doc: &QuoteDoc| fits(&doc.user_id);
        List::of(Kind::Quote, scope, By::User, user).page(self, scope, request, fits, plain)
    }

    /// Off-ramps, of one user when given.
    pub fn off_ramps(
        &self,
        scope: Option<Id>,
        user: Option<Id>,
        request: &PageRequest,
    ) -> Result<Page<OffRampDoc>, ViewError> {
        let fits = of_user(user);
        let fits = move |doc: &OffRampDoc| fits(&doc.user_id);
        List::of(Kind::OffRamp, scope, By::User, user).page(self, scope, request, fits, plain)
    }

    /// The rate book.
    pub fn rates(&self, request: &PageRequest) -> Result<Page<RateDoc>, ViewError> {
        List::all(Kind::Rate, None).page(self, None, request, |_| true, plain)
    }

    /// A quote that the book may have forgotten.
    pub fn quote(&self, scope: Option<Id>, id: Id) -> Result<Option<QuoteDoc>, ViewError> {
        let row = self.read(|tree| owned::<QuoteDoc>(tree, scope, Kind::Quote, id))?;
        Ok(row.map(|row| row.doc).filter(|doc| doc.id == id.text(Thing::Quote)))
    }

    /// An authorization, known to the book or not.
    pub fn authorization(&self, scope: Option<Id>, id: Id) -> Result<Option<AuthorizationDoc>, ViewError> {
        let row = self.read(|tree| owned::<AuthorizationFold>(tree, scope, Kind::Authorization, id))?;
        Ok(row.map(|row| row.doc.doc).filter(|doc| doc.id == id.text(Thing::Authorization)))
    }

    /// What happened to an authorization, newest first. `None`: no such authorization, or another partner's.
    pub fn authorization_events(
        &self,
        scope: Option<Id>,
        id: Id,
        request: &PageRequest,
    ) -> Result<Option<Page<AuthorizationEventDoc>>, ViewError> {
        if self.authorization(scope, id)?.is_none() {
            return Ok(None);
        }
        self.read(|tree| {
            let span = Span::all(key::events(id.no), 8);
            store::page(tree, span, request, |_, bytes| Ok(Step::Take(store::parse(bytes)?))).map(Some)
        })
    }

    /// Authorizations that fit the filter, newest first; with `updated_since` the last changed first.
    pub fn authorizations(
        &self,
        scope: Option<Id>,
        filter: &AuthorizationFilter,
        request: &PageRequest,
    ) -> Result<Page<AuthorizationDoc>, ViewError> {
        let span = authorization_span(scope, filter);
        let wanted = Wanted::new(filter);
        self.read(|tree| {
            store::page(tree, span, request, |entry, _| {
                let no = key::no_of(entry).ok_or_else(missing)?;
                let bytes = tree.get(key::doc(Kind::Authorization, no))?.ok_or_else(missing)?;
                let row: Row<AuthorizationFold> = store::parse(&bytes)?;
                let visible = scope.is_none_or(|scope| row.partner == Some(scope.no));
                if visible && wanted.fits(&row.doc) { Ok(Step::Take(row.doc.doc)) } else { Ok(Step::Skip) }
            })
        })
    }
}

/// Bytes of an entry's key behind its list: time, number.
const TIMED_TAIL: usize = 16;

/// The shortest list that holds all that fits.
fn authorization_span(scope: Option<Id>, filter: &AuthorizationFilter) -> Span {
    let kind = Kind::Authorization;
    if let Some(since) = filter.updated_since {
        let list = match scope {
            Some(partner) => key::list(kind, By::PartnerUpdated, partner.no),
            None => key::list(kind, By::Updated, 0),
        };
        return Span::all(list, TIMED_TAIL).ending(&key::newest_first(Timestamp(since.0.saturating_sub(1))));
    }
    let list = match (filter.card, filter.pool, filter.user, scope) {
        (Some(card), ..) => key::list(kind, By::Card, card.no),
        (None, _, Some(user), _) => key::list(kind, By::User, user.no),
        (None, Some(pool), None, _) => key::list(kind, By::Pool, pool.no),
        (None, None, None, Some(partner)) => key::list(kind, By::Partner, partner.no),
        (None, None, None, None) => key::list(kind, By::All, 0),
    };
    timed_span(list, filter.from, filter.to)
}

/// What a list that is kept by time has from `from` on and before `to`, newest first.
pub(super) fn timed_span(list: Vec<u8>, from: Option<Timestamp>, to: Option<Timestamp>) -> Span {
    let mut span = Span::all(list, TIMED_TAIL);
    // Newest first: the later bound begins the walk, the earlier one ends it.
    if let Some(to) = to {
        span = span.starting(&key::newest_first(Timestamp(to.0.saturating_sub(1))));
    }
    if let Some(from) = from {
        span = span.ending(&key::newest_first(Timestamp(from.0.saturating_sub(1))));
    }
    span
}

/// A filter as the texts it is compared with.
struct Wanted {
    card: Option<String>,
    user: Option<String>,
    pool: Option<(No, String)>,
    outcome: Option<&'static str>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Wanted {
    fn new(filter: &AuthorizationFilter) -> Self {
        Self {
            card: filter.card.map(|id| id.text(Thing::Card)),
            user: filter.user.map(|id| id.text(Thing::User)),
            pool: filter.pool.map(|id| (id.no, id.text(Thing::Pool))),
            outcome: filter.outcome.map(super::Outcome::word),
            from: filter.from,
            to: filter.to,
        }
    }

    fn fits(&self, fold: &AuthorizationFold) -> bool {
        let doc = &fold.doc;
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let pool = self.pool.as_ref().is_none_or(|(no, id)| fold.concerns_pool(*no, id));
        let outcome = self.outcome.is_none() || self.outcome == doc.outcome.as_deref();
        let created =
            self.from.is_none_or(|from| fold.created_at >= from.0) && self.to.is_none_or(|to| fold.created_at < to.0);
        same(&self.card, &doc.card_id) && same(&self.user, &doc.user_id) && pool && outcome && created
    }
}
