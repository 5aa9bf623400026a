//! The book: state as a fold over events. `decide_*` reads and answers, [`Book::apply`] is the only mutator, and
//! nothing here does IO, reads a clock or draws a random number.

mod advice;
mod apply;
mod apply_admin;
mod apply_tap;
mod authorization;
mod authorizations;
mod canonical;
mod command;
mod commands;
mod convert;
mod entities;
mod expiries;
mod finder;
mod hash;
mod identities;
mod invariants;
mod paged;
mod repeats;
mod reversal;
mod row;
pub mod snapshot;
mod tap;
mod warm;

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

pub use advice::{AdviceDecision, AdviceRequest};
pub use apply::Broken;
pub use authorization::{Alias, Authorization, FindBy, Held, Restated};
pub use command::{Command, Done, FundingWish, PartnerChange, Refusal};
pub use commands::Sealer;
pub use entities::{
    Account, ApiKey, Balance, Card, IdempotencyRecord, KycStep, Link, OffRamp, Partner, Pool, Quote, RateEntry,
    SealedSecret, TransferKind, TransferRecord, User,
};
pub use invariants::Violation;
pub use paged::Paged;
pub use repeats::{Repeat, RepeatFlags};
pub use reversal::{Movement, ReversalDecision, ReversalRequest};
pub use tap::{AnswerDecision, PartnerVerdict, TapDecision, TapRequest, TapType, approval_code};
pub use warm::Ahead;

use crate::event::posting::Ledger;
use crate::event::tap::Source;
use crate::id::{Id, No};
use crate::money::Currency;
use crate::time::Timestamp;

/// What the operator configured and the rules need. Outcomes are written into events, so a replay needs none of it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a hold lives.
    pub hold_lifetime_us: i64,
    /// How long a preauthorization's hold lives.
    pub preauthorization_lifetime_us: i64,
    /// How many repeats are remembered at once.
    pub dedup_max: usize,
    /// Largest absolute FX position in minor units; currencies that are not named are unbounded.
    pub fx_max: BTreeMap<Currency, i64>,
}

impl Default for Policy {
    fn default() -> Self {
        const HOUR_US: i64 = 3_600 * 1_000_000;
        Self {
            hold_lifetime_us: 168 * HOUR_US,
            preauthorization_lifetime_us: 720 * HOUR_US,
            dedup_max: 50_000_000,
            fx_max: BTreeMap::new(),
        }
    }
}

type Users = Paged<User>;
type Transfers = HashMap<No, TransferRecord>;
type Quotes = HashMap<No, Quote>;

/// The state of the shard.
#[derive(Debug, Default)]
pub struct Book {
    epoch: u32,
    last_seq: u64,
    last_at: Timestamp,
    next_no: No,
    dedup_window_us: i64,

    links: Vec<Link>,
    partners: Vec<Partner>,
    users: Users,
    accounts: Paged<Account>,
    pools: Vec<Pool>,
    cards: Paged<Card>,
    keys: BTreeMap<No, ApiKey>,
    transfers: Transfers,
    rates: BTreeMap<(Currency, Currency), RateEntry>,
    quotes: Quotes,
    quote_queue: VecDeque<No>,
    off_ramps: HashMap<No, OffRamp>,
    general: BTreeMap<(Ledger, Currency), i64>,

    authorizations: authorizations::Authorizations,
    closed: paged::Fifo<(Timestamp, No)>,
    repeats: repeats::Repeats,
    unmatched: reversal::UnmatchedTable,
    idempotency: HashMap<[u8; 16], IdempotencyRecord>,
    idempotency_queue: VecDeque<[u8; 16]>,

    // Derived: rebuilt by the fold, no part of the state hash.
    identities: identities::Identities,
    touched: Vec<Source>,
}

fn at<T>(table: &[T], index: u32) -> Option<&T> {
    table.get(usize::try_from(index).ok()?)
}

fn dense(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Book {
    /// The sequence of the last event applied.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The time of the last event applied.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The current epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The id that the next thing will get.
    pub fn next_id(&self) -> Id {
        Id { epoch: self.epoch, no: self.next_no }
    }

    /// All links, by index.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// All partners, by index.
    pub fn partners(&self) -> &[Partner] {
        &self.partners
    }

    /// All users, by index.
    pub fn users(&self) -> &Paged<User> {
        &self.users
    }

    /// All accounts, by index.
    pub fn accounts(&self) -> &Paged<Account> {
        &self.accounts
    }

    /// All pools, by index.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// All cards, by index.
    pub fn cards(&self) -> &Paged<Card> {
        &self.cards
    }

    /// All API keys, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.values()
    }

    /// All rates.
    pub fn rates(&self) -> impl Iterator<Item = (Currency, Currency, &RateEntry)> {
        self.rates.iter().map(|((from, to), entry)| (*from, *to, entry))
    }

    /// A partner by index.
    pub fn partner(&self, index: u32) -> Option<&Partner> {
        at(&self.partners, index)
    }

    /// A user by index.
    pub fn user(&self, index: u32) -> Option<&User> {
        self.users.get(index)
    }

    /// An account by index.
    pub fn account(&self, index: u32) -> Option<&Account> {
        self.accounts.get(index)
    }

    /// A pool by index.
    pub fn pool(&self, index: u32) -> Option<&Pool> {
        at(&self.pools, index)
    }

    /// A card by index.
    pub fn card(&self, index: u32) -> Option<&Card> {
        self.cards.get(index)
    }

    /// An API key by number.
    pub fn key(&self, no: No) -> Option<&ApiKey> {
        self.keys.get(&no)
    }

    /// A transfer by number.
    pub fn transfer(&self, no: No) -> Option<&TransferRecord> {
        self.transfers.get(&no)
    }

    /// A quote by number.
    pub fn quote(&self, no: No) -> Option<&Quote> {
        self.quotes.get(&no)
    }

    /// An off-ramp by number.
    pub fn off_ramp(&self, no: No) -> Option<&OffRamp> {
        self.off_ramps.get(&no)
    }

    /// An authorization by number, while the book still holds it.
    pub fn authorization(&self, no: No) -> Option<Authorization> {
        self.authorizations.get(no)
    }

    /// Every authorization the book still holds, in no order.
    pub fn authorizations(&self) -> impl Iterator<Item = Authorization> + '_ {
        self.authorizations.iter()
    }

    /// Index of the partner with this id.
    pub fn partner_index(&self, id: Id) -> Option<u32> {
        self.identities.index(id.no).filter(|i| self.partner(*i).is_some_and(|t| t.id == id))
    }

    /// Index of the user with this id.
    pub fn user_index(&self, id: Id) -> Option<u32> {
        self.identities.index(id.no).filter(|i| self.user(*i).is_some_and(|t| t.id == id))
    }

    /// Index of the account with this id.
    pub fn account_index(&self, id: Id) -> Option<u32> {
        self.identities.index(id.no).filter(|i| self.account(*i).is_some_and(|t| t.id == id))
    }

    /// Index of the pool with this id.
    pub fn pool_index(&self, id: Id) -> Option<u32> {
        self.identities.index(id.no).filter(|i| self.pool(*i).is_some_and(|t| t.id == id))
    }

    /// Index of the card with this id.
    pub fn card_index(&self, id: Id) -> Option<u32> {
        self.identities.index(id.no).filter(|i| self.card(*i).is_some_and(|t| t.id == id))
    }

    /// Index of the card with this fingerprint.
    pub fn card_by_fingerprint(&self, fingerprint: &[u8; 16]) -> Option<u32> {
        self.identities.card(fingerprint, &self.cards)
    }

    /// Index of a user's account in a currency.
    pub fn account_of(&self, user: u32, currency: Currency) -> Option<u32> {
        let accounts = &self.user(user)?.accounts;
        accounts.iter().copied().find(|a| self.account(*a).is_some_and(|a| a.currency == currency))
    }

    /// Index of the partner that a source's money belongs to.
    pub fn partner_of(&self, source: Source) -> Option<u32> {
        match source {
            Source::Pool(pool) => Some(self.pool(pool)?.partner),
            Source::Account(account) => Some(self.user(self.account(account)?.user)?.partner),
        }
    }

    /// The balance of a general-ledger account in its own sign: assets by their debits, the others by their credits.
    pub fn ledger_balance(&self, ledger: Ledger, currency: Currency) -> i64 {
        match ledger {
            Ledger::PoolAvailable(i) => self.pool(i).map_or(0, |p| p.balance.available),
            Ledger::PoolHeld(i) => self.pool(i).map_or(0, |p| p.balance.held),
            Ledger::AccountAvailable(i) => self.account(i).map_or(0, |a| a.balance.available),
            Ledger::AccountHeld(i) => self.account(i).map_or(0, |a| a.balance.held),
            other => self.general.get(&(other, currency)).copied().unwrap_or(0),
        }
    }

    /// Everything of the general ledger that is no pool and no account.
    pub fn general_ledger(&self) -> impl Iterator<Item = (Ledger, Currency, i64)> + '_ {
        self.general.iter().map(|((ledger, currency), balance)| (*ledger, *currency, *balance))
    }

    /// Currency and balance of a source.
    pub fn source(&self, source: Source) -> Option<(Currency, Balance)> {
        match source {
            Source::Pool(i) => self.pool(i).map(|p| (p.currency, p.balance)),
            Source::Account(i) => self.account(i).map(|a| (a.currency, a.balance)),
        }
    }

    /// How many open holds there are is bounded by this: the authorizations in memory.
    pub fn authorization_count(&self) -> usize {
        self.authorizations.len()
    }

    /// How many of the authorizations in memory are open.
    pub fn open_holds(&self) -> usize {
        self.authorizations.len().saturating_sub(self.closed.len())
    }

    /// How many repeats are remembered.
    pub fn repeat_count(&self) -> usize {
        self.repeats.len()
    }

    /// When the next hold may expire; stale entries come too, so ask [`Book::next_expired`] then.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.authorizations.next_expiry()
    }

    /// The next open authorization whose hold is over at `now`. Drops what is no longer open on the way, which
    /// changes nothing that the state hash sees.
    pub fn next_expired(&mut self, now: Timestamp) -> Option<No> {
        self.authorizations.next_expired(now)
    }

    /// Pending authorizations: at recovery these are the orphans that must be declined before serving.
    pub fn pending(&self) -> Vec<No> {
        self.authorizations.in_state(crate::event::words::State::Pending)
    }

    /// A remembered REST answer.
    pub fn idempotency(&self, key: &[u8; 16], now: Timestamp) -> Option<&IdempotencyRecord> {
        self.idempotency.get(key).filter(|r| r.expires_at > now)
    }

    /// The pools and accounts whose balance changed since the last call, each at least once.
    pub fn take_touched(&mut self, mut each: impl FnMut(&Self, Source)) {
        let mut touched = std::mem::take(&mut self.touched);
        for source in touched.drain(..) {
            each(self, source);
        }
        self.touched = touched;
    }
}
