//! The plain model: what the engine must have done, in maps that are walked from end to end. It is written from the
//! contracts, apart from the ledger, and shares no rule and no table with it: what is held is counted over the open
//! authorizations each time, originals are looked for among all of them, and nothing is sealed, hashed or journaled.
//!
//! Must never ask the ledger what to decide.

mod advices;
mod calls;
mod desk;
mod network;
mod people;
mod reversals;
mod taps;

use std::collections::{BTreeMap, VecDeque};

use super::words::{Currency, Place, Purse};
pub(crate) use calls::{OWN_CODES, Told as CallTold};
pub(crate) use desk::{Answer, Desk, Parked, Rebuild, Recipient, Said, Verdict};
pub(crate) use people::{Account, Card, Partner, Pool, Quote, Transfer, User};
pub(crate) use taps::key_of;

use super::plan::{Shape, Trace};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// The moment of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Shard time.
    pub wall: i64,
    /// Monotonic time.
    pub mono: i64,
}

/// Where an authorization stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub(crate) enum State {
    Pending,
    Approved,
    Declined,
    Reversed,
    PartiallyReversed,
    Expired,
    Cleared,
}

impl State {
    /// As REST shows it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Reversed => "reversed",
            Self::PartiallyReversed => "partially_reversed",
            Self::Expired => "expired",
            Self::Cleared => "cleared",
        }
    }
}

/// What one purse holds for an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Where.
    pub purse: Purse,
    /// In which currency.
    pub currency: Currency,
    /// At first, or as the last advice set it.
    pub first: i64,
    /// Now.
    pub now: i64,
    /// The rate it was converted at.
    pub rate: Option<Rate>,
}

/// A rate of the rate book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Digits without the point.
    pub mantissa: i64,
    /// Digits behind it.
    pub scale: u8,
    /// Hundredths of a percent.
    pub markup_bps: u16,
}

/// What an advice set an authorization to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restated {
    amount: i64,
    currency: Currency,
    merchant_amount: i64,
    billed: bool,
}

/// A tap, or an advice that stands for itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Authorization {
    /// 0100, 0200, 0120 or 0220.
    pub mti: u16,
    /// `purchase`, `cash`, `refund` …
    pub kind: &'static str,
    /// Which card; none when unknown.
    pub card: Option<u32>,
    /// What was asked, in the billing currency when there is one.
    pub amount: i64,
    /// Its currency; none when ISO 4217 does not know it.
    pub currency: Option<Currency>,
    /// DE4.
    pub merchant_amount: i64,
    /// The amount came from DE6.
    pub billed: bool,
    /// By what it is named.
    pub trace: Trace,
    /// The first of its chain.
    pub parent: Option<u64>,
    /// When it ends by itself.
    pub expires_at: i64,
    /// Where it stands.
    pub state: State,
    /// What its purses hold.
    pub holds: Vec<Hold>,
    /// What of the amount is cleared.
    pub cleared: i64,
    /// Partial approvals are taken.
    pub partial_ok: bool,
    /// Its increments and linked advices.
    pub children: Vec<u64>,
    /// The last advice.
    pub restated: Option<Restated>,
    /// Advices that set it: type, elements, DE38.
    pub aliases: Vec<(u16, Trace, u32)>,
    /// Why it was answered as it was; none while pending.
    pub reason: Option<&'static str>,
    /// Approved in part.
    pub partial: Option<i64>,
    /// The DE38 it was approved with; zero when there is none.
    pub approval: u32,
    /// Its repeats.
    pub key: Key,
}

impl Authorization {
    fn holds_money(&self) -> bool {
        matches!(self.kind, "purchase" | "cash" | "cash_back" | "preauthorization" | "incremental")
    }

    /// It may hold, or be decided.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Approved | State::PartiallyReversed)
            && !matches!(self.kind, "balance_inquiry" | "account_status")
    }

    fn named(&self) -> Vec<(u16, &Trace)> {
        let own = std::iter::once((self.mti, &self.trace));
        own.chain(self.aliases.iter().map(|(mti, trace, _)| (*mti, trace))).collect()
    }

    /// A 0200 or a 0220 cleared it.
    fn cleared_itself(&self) -> bool {
        self.named().iter().any(|(mti, _)| mti >> 8 == 2)
    }

    /// The amount that the first hold was for.
    fn whole(&self) -> Option<(i64, Currency)> {
        match self.restated {
            Some(restated) => Some((restated.amount, restated.currency)),
            None => self.currency.map(|currency| (self.amount, currency)),
        }
    }

    fn approved_amount(&self) -> i64 {
        match self.restated {
            Some(restated) => restated.amount,
            None => self.partial.unwrap_or(self.amount),
        }
    }
}

/// What makes a message the same again: type without repeat mark, card, DE7, DE11, DE32, DE33, DE63.
pub(crate) type Key = (u16, usize, u32, u32, Option<u32>, Option<u32>, Option<String>);

/// What must not differ: DE3, DE4, DE49.
pub(crate) type Content = (u32, i64, u16);

/// A remembered message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Repeat {
    no: u64,
    content: Content,
    pending: bool,
    reversed: bool,
    answered_late: bool,
    /// What it was answered with.
    answer: Option<Answer>,
}

/// A reversal that found nothing.
#[derive(Debug, Clone, PartialEq)]
struct Unmatched {
    until: i64,
    card: usize,
    original: Option<super::plan::De90>,
    trace: Option<(String, u16)>,
}

/// All that is durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    /// Events so far.
    pub seq: u64,
    /// The next number.
    pub next_no: u64,
    /// Starts so far.
    pub epoch: u32,
    last_at: i64,
    hold_us: i64,
    preauthorization_us: i64,
    dedup_window_us: i64,
    dedup_max: usize,
    fx_max: BTreeMap<Currency, i64>,
    default_timeout_us: i64,
    /// Links that were named; whether they are signed on.
    pub links: Vec<bool>,
    /// Partners by index.
    pub partners: Vec<Partner>,
    /// Users by index.
    pub users: Vec<User>,
    /// Accounts by index.
    pub accounts: Vec<Account>,
    /// Pools by index.
    pub pools: Vec<Pool>,
    /// Cards by index.
    pub cards: Vec<Card>,
    rates: BTreeMap<(Currency, Currency), Rate>,
    transfers: BTreeMap<u32, Transfer>,
    quotes: BTreeMap<u32, Quote>,
    /// What lies where; what is held is not among it.
    pub money: BTreeMap<(Place, Currency), i64>,
    /// By number.
    pub authorizations: BTreeMap<u64, Authorization>,
    closed: VecDeque<(i64, u64)>,
    repeats: BTreeMap<Key, Repeat>,
    requests: VecDeque<(i64, Key)>,
    advices: VecDeque<(i64, Key)>,
    unmatched: VecDeque<Unmatched>,
    calls: BTreeMap<u32, calls::Remembered>,
    /// How often a key was answered anew.
    given: BTreeMap<u32, u32>,
}

impl Model {
    /// A model of an engine that was never started.
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            hold_us: 168 * HOUR,
            preauthorization_us: 720 * HOUR,
            dedup_window_us: shape.dedup_window_us,
            dedup_max: shape.dedup_max,
            fx_max: shape.fx_max.map(|most| (super::words::EUR, most)).into_iter().collect(),
            default_timeout_us: 500_000,
            ..Self::default()
        }
    }

    /// One event was appended: what is over is forgotten, a little with each.
    fn event(&mut self, at: i64) {
        self.seq += 1;
        self.last_at = self.last_at.max(at);
        let now = self.last_at;
        for _ in 0..4 {
            if self.requests.front().is_some_and(|(until, _)| *until <= now)
                && let Some((_, key)) = self.requests.pop_front()
            {
                self.repeats.remove(&key);
            }
        }
        for _ in 0..4 {
            if self.advices.front().is_some_and(|(until, _)| *until <= now)
                && let Some((until, key)) = self.advices.pop_front()
            {
                let open = |no| self.authorizations.get(no).is_some_and(Authorization::is_open);
                if self.repeats.get(&key).is_some_and(|repeat| open(&repeat.no)) {
                    self.advices.push_back((until + 30 * DAY, key));
                } else {
                    self.repeats.remove(&key);
                }
            }
        }
        for _ in 0..4 {
            if self.unmatched.front().is_some_and(|one| one.until <= now) {
                self.unmatched.pop_front();
            }
        }
        for _ in 0..4 {
            if self.closed.front().is_some_and(|(at, _)| at + 30 * DAY <= now)
                && let Some((_, no)) = self.closed.pop_front()
            {
                self.authorizations.remove(&no);
            }
        }
    }

    /// A start: the new epoch.
    pub(crate) fn started(&mut self, at: i64) {
        self.epoch += 1;
        self.event(at);
    }

    /// A link gets its number.
    pub(crate) fn link_named(&mut self, at: i64) {
        self.links.push(false);
        self.event(at);
    }

    /// A clean end.
    pub(crate) fn stopped(&mut self, at: i64) {
        self.event(at);
    }

    /// A message that is written down and moves nothing.
    fn recorded(&mut self, at: i64) {
        self.event(at);
    }

    /// Authorizations that wait for a partner.
    pub(crate) fn pending(&self) -> Vec<u64> {
        self.authorizations.iter().filter(|(_, a)| a.state == State::Pending).map(|(no, _)| *no).collect()
    }

    /// What a purse holds: counted.
    pub(crate) fn held(&self, purse: Purse) -> i64 {
        let all = self.authorizations.values().flat_map(|a| &a.holds);
        all.filter(|hold| hold.purse == purse).map(|hold| hold.now).sum()
    }

    /// What lies at a place.
    pub(crate) fn at(&self, place: Place, currency: Currency) -> i64 {
        self.money.get(&(place, currency)).copied().unwrap_or(0)
    }

    /// What is available in a purse.
    pub(crate) fn available(&self, purse: Purse) -> i64 {
        self.currency_of(purse).map_or(0, |currency| self.at(Place::Available(purse), currency))
    }

    fn add(&mut self, place: Place, currency: Currency, amount: i64) {
        let balance = self.money.entry((place, currency)).or_insert(0);
        *balance += amount;
        if *balance == 0 {
            self.money.remove(&(place, currency));
        }
    }

    fn currency_of(&self, purse: Purse) -> Option<Currency> {
        match purse {
            Purse::Pool(pool) => self.pools.get(pool as usize).map(|p| p.currency),
            Purse::Account(account) => self.accounts.get(account as usize).map(|a| a.currency),
        }
    }

    fn partner_of(&self, purse: Purse) -> u32 {
        match purse {
            Purse::Pool(pool) => self.pools.get(pool as usize).map_or(0, |p| p.partner),
            Purse::Account(account) => {
                let user = self.accounts.get(account as usize).map_or(0, |a| a.user);
                self.users.get(user as usize).map_or(0, |u| u.partner)
            }
        }
    }

    /// Money that comes back to a purse: what its partner owes is paid first.
    fn give_back(&mut self, purse: Purse, currency: Currency, amount: i64) {
        let partner = self.partner_of(purse);
        let paid = self.at(Place::Owed(partner), currency).min(amount);
        self.add(Place::Owed(partner), currency, -paid);
        self.add(Place::Available(purse), currency, amount - paid);
    }

    /// Money that leaves a purse whether it is there or not: the partner owes the rest.
    fn take_by_force(&mut self, purse: Purse, currency: Currency, amount: i64) {
        let there = self.at(Place::Available(purse), currency).min(amount);
        self.add(Place::Available(purse), currency, -there);
        self.add(Place::Owed(self.partner_of(purse)), currency, amount - there);
    }

    /// `funded` of a purse has become `billed` owed to the network.
    fn owe_scheme(&mut self, funded: (i64, Currency), billed: (i64, Currency)) {
        self.add(Place::Scheme, billed.1, billed.0);
        if funded.1 != billed.1 {
            self.add(Place::Fx, funded.1, funded.0);
            self.add(Place::Fx, billed.1, -billed.0);
        }
    }

    /// Sets what a hold is now; what is over goes back.
    fn shrink(&mut self, no: u64, purse: Purse, to: i64) {
        let Some(hold) = self.hold_mut(no, purse) else { return };
        let (back, currency) = (hold.now - to, hold.currency);
        hold.now = to;
        self.give_back(purse, currency, back);
    }

    fn hold_mut(&mut self, no: u64, purse: Purse) -> Option<&mut Hold> {
        self.authorizations.get_mut(&no)?.holds.iter_mut().find(|hold| hold.purse == purse)
    }

    /// Everything that an authorization holds goes back.
    fn let_go(&mut self, no: u64) {
        let purses: Vec<Purse> =
            self.authorizations.get(&no).map(|a| a.holds.iter().map(|h| h.purse).collect()).unwrap_or_default();
        for purse in purses {
            self.shrink(no, purse, 0);
        }
    }

    /// An authorization goes to another state; one that closes is forgotten some day.
    fn goes_to(&mut self, no: u64, state: State, at: i64) {
        let Some(a) = self.authorizations.get_mut(&no) else { return };
        let was_open = a.is_open();
        a.state = state;
        if was_open && !a.is_open() {
            self.closed.push_back((at, no));
        }
    }

    fn add_authorization(&mut self, no: u64, authorization: Authorization, at: i64) {
        if let Some(parent) =
            authorization.parent.filter(|_| !matches!(authorization.state, State::Declined | State::Reversed))
            && let Some(parent) = self.authorizations.get_mut(&parent)
        {
            parent.children.push(no);
        }
        if !authorization.is_open() {
            self.closed.push_back((at, no));
        }
        self.authorizations.insert(no, authorization);
    }

    fn take_no(&mut self) -> u64 {
        self.next_no += 1;
        self.next_no - 1
    }

    /// An amount in another currency; `None` without a rate.
    fn convert(&self, amount: i64, from: Currency, to: Currency, hold: bool) -> Option<(i64, Option<Rate>)> {
        if from == to {
            return Some((amount, None));
        }
        let rate = *self.rates.get(&(from, to))?;
        Some((converted(rate, amount, from, to, hold), Some(rate)))
    }

    /// The FX position of a currency may change by so much.
    fn fx_allows(&self, currency: Currency, change: i64) -> bool {
        let Some(most) = self.fx_max.get(&currency) else { return true };
        let before = self.at(Place::Fx, currency);
        (before + change).abs() <= *most || (before + change).abs() <= before.abs()
    }
}

/// Holds round up with the markup added, credits down with it taken away.
fn converted(rate: Rate, amount: i64, from: Currency, to: Currency, hold: bool) -> i64 {
    let markup = i128::from(rate.markup_bps);
    let top = i128::from(amount)
        * i128::from(rate.mantissa)
        * (if hold { 10_000 + markup } else { 10_000 - markup })
        * 10i128.pow(to.decimals());
    let bottom = 10_000 * 10i128.pow(u32::from(rate.scale)) * 10i128.pow(from.decimals());
    let result = if hold { (top + bottom - 1) / bottom } else { top / bottom };
    i64::try_from(result).unwrap_or(i64::MAX)
}

/// The part of a whole, rounded up.
fn part_up(whole: i64, part: i64, of: i64) -> i64 {
    let top = i128::from(whole) * i128::from(part);
    i64::try_from((top + i128::from(of) - 1) / i128::from(of)).unwrap_or(i64::MAX)
}

/// The part of a whole, rounded down.
fn part_down(whole: i64, part: i64, of: i64) -> i64 {
    i64::try_from(i128::from(whole) * i128::from(part) / i128::from(of)).unwrap_or(i64::MAX)
}
