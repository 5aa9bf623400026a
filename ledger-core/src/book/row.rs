//! The fixed row of an authorization: two cache lines that hold every field of an ordinary one.
//!
//! Must never lose anything: [`Row::of`] says when an authorization does not fit, and then the row is only what it is
//! found by, with the whole beside it.

use super::authorization::{Authorization, Held};
use super::paged::NONE;
use super::tap::approval_code;
use crate::event::tap::{Facts, Reply, Source, Trace};
use crate::event::words::{Class, Kind, Reason, State};
use crate::id::{Id, No};
use crate::money::Currency;
use crate::time::Timestamp;

const LIVE: u16 = 1;
const ODD: u16 = 1 << 1;
const HAS_CARD: u16 = 1 << 2;
const HAS_CURRENCY: u16 = 1 << 3;
const BILLED: u16 = 1 << 4;
const PARTIAL_SUPPORTED: u16 = 1 << 5;
const ANSWERED: u16 = 1 << 6;
/// The answer carries the DE38 that the number gives.
const HAS_CODE: u16 = 1 << 7;
const HOLDS: u16 = 1 << 8;
const ON_ACCOUNT: u16 = 1 << 9;
/// All of the amount is cleared; without it, nothing.
const CLEARED: u16 = 1 << 10;

/// An authorization as it lies in memory.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Row {
    amount: i64,
    held: i64,
    repeat: [u8; 16],
    card: u32,
    transmitted: u32,
    source: u32,
    /// From the first event to the last.
    events: u32,
    /// The neighbour that expires before.
    pub(super) earlier: u32,
    /// The neighbour that expires after; while the row is free, the next free one.
    pub(super) later: u32,
    currency: Currency,
    merchant_currency: u16,
    settlement: u16,
    flags: u16,
    no: [u8; 6],
    first_seq: [u8; 6],
    /// Microseconds from its arrival to its expiry.
    lifetime: [u8; 6],
    created_at: [u8; 7],
    epoch: [u8; 3],
    stan: [u8; 3],
    acquirer: [u8; 5],
    forwarder: [u8; 5],
    reference: [u8; 9],
    response_code: [u8; 2],
    class: Class,
    kind: Kind,
    state: State,
    reason: Reason,
}

const _: () = assert!(size_of::<Row>() == 128, "a row is two cache lines");

fn narrow<const N: usize>(value: u64) -> [u8; N] {
    let bytes = value.to_le_bytes();
    let mut out = [0; N];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    out
}

fn wide<const N: usize>(bytes: [u8; N]) -> u64 {
    let mut out = [0; 8];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    u64::from_le_bytes(out)
}

const fn fits(value: u64, bytes: u32) -> bool {
    value >> (8 * bytes) == 0
}

/// STANs have six digits; what is longer shares its place with others.
pub(super) fn short_stan(stan: u32) -> u32 {
    stan & 0xff_ffff
}

impl Row {
    /// The row of an authorization, and whether all of it fits.
    pub(super) fn of(a: &Authorization) -> (Self, bool) {
        // Taken apart, so that a new field does not compile until it has its place here.
        let Authorization {
            id: Id { epoch, no },
            facts,
            state,
            reply,
            held,
            cleared,
            partial_supported,
            children,
            restated,
            aliases,
            repeat,
            first_seq,
            last_seq,
            created_at,
        } = a;
        let Facts {
            no: named,
            class,
            kind,
            card,
            amount,
            currency,
            merchant_amount,
            merchant_currency,
            billed,
            trace,
            parent,
            expires_at,
        } = facts;
        let Trace { stan, transmitted, acquirer, forwarder, reference, settlement } = trace;
        let lifetime = u64::try_from(expires_at.0.saturating_sub(created_at.0)).unwrap_or(u64::MAX);
        let created = u64::try_from(created_at.0).unwrap_or(u64::MAX);
        let events = last_seq.checked_sub(*first_seq).and_then(|n| u32::try_from(n).ok());
        let hold = held[0];
        let mut plain = named == no
            && fits(*no, 6)
            && fits(*first_seq, 6)
            && fits(u64::from(*epoch), 3)
            && fits(created, 7)
            && fits(lifetime, 6)
            && fits(u64::from(*stan), 3)
            && fits(*acquirer, 5)
            && fits(*forwarder, 5)
            && events.is_some()
            && merchant_amount == amount
            && parent.is_none()
            && (*cleared == 0 || cleared == amount)
            && held[1].is_none()
            && children.is_empty()
            && restated.is_none()
            && aliases.is_empty();
        let mut flags = LIVE;
        let mut set = |flag, on: bool| flags |= if on { flag } else { 0 };
        set(HAS_CARD, card.is_some());
        set(HAS_CURRENCY, currency.is_some());
        set(BILLED, *billed);
        set(PARTIAL_SUPPORTED, *partial_supported);
        set(CLEARED, *cleared != 0);
        let (mut response_code, mut reason) = ([0; 2], Reason::Approved);
        if let Some(reply) = reply {
            let Reply { reason: why, response_code: code, approval_code: given, partial, balance } = reply;
            (response_code, reason) = (*code, *why);
            set(ANSWERED, true);
            set(HAS_CODE, *given != 0);
            plain &= partial.is_none() && balance.is_none() && (*given == 0 || *given == approval_code(*no));
        }
        let (mut source, mut now) = (0, 0);
        if let Some(Held { source: of, currency: own, initial, now: left, rate }) = &hold {
            let account;
            (source, account) = match of {
                Source::Pool(i) => (*i, false),
                Source::Account(i) => (*i, true),
            };
            now = *left;
            set(HOLDS, true);
            set(ON_ACCOUNT, account);
            plain &= rate.is_none() && initial == amount && Some(*own) == *currency;
        }
        set(ODD, !plain);
        let row = Self {
            amount: *amount,
            held: now,
            repeat: *repeat,
            card: card.unwrap_or(0),
            transmitted: *transmitted,
            source,
            events: events.unwrap_or(0),
            earlier: NONE,
            later: NONE,
            currency: currency.unwrap_or(Currency::EUR),
            merchant_currency: *merchant_currency,
            settlement: *settlement,
            flags,
            no: narrow(*no),
            first_seq: narrow(*first_seq),
            lifetime: narrow(lifetime),
            created_at: narrow(created),
            epoch: narrow(u64::from(*epoch)),
            stan: narrow(u64::from(*stan)),
            acquirer: narrow(*acquirer),
            forwarder: narrow(*forwarder),
            reference: *reference,
            response_code,
            class: *class,
            kind: *kind,
            state: *state,
            reason,
        };
        (row, plain)
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// True while the row is an authorization's.
    pub(super) const fn is_live(&self) -> bool {
        self.has(LIVE)
    }

    /// True when the whole lies beside it.
    pub(super) const fn is_odd(&self) -> bool {
        self.has(ODD)
    }

    /// The row is nobody's from here on.
    pub(super) fn free(&mut self, next: u32) {
        self.flags = 0;
        self.later = next;
    }

    /// Its number; good for every row.
    pub(super) fn no(&self) -> No {
        wide(self.no)
    }

    /// As [`Authorization::is_open`]; good for every row.
    pub(super) const fn is_open(&self) -> bool {
        Authorization::open_in(self.state, self.kind)
    }

    /// Its state; good for every row.
    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Card, STAN (short) and DE7; none without a card. Good for every row.
    pub(super) fn trace_key(&self) -> Option<(u32, u32, u32)> {
        let stan = u32::try_from(wide(self.stan)).unwrap_or(0);
        self.has(HAS_CARD).then_some((self.card, stan, self.transmitted))
    }

    /// Card and DE63; none without one of them. Good for every row.
    pub(super) fn reference_key(&self) -> Option<(u32, [u8; 9])> {
        (self.has(HAS_CARD) && self.reference != [0; 9]).then_some((self.card, self.reference))
    }

    /// When it expires; for rows that are not odd, and for those whose times fit.
    pub(super) fn expires_at(&self) -> Timestamp {
        let lifetime = i64::try_from(wide(self.lifetime)).unwrap_or(0);
        self.created_at().plus_us(lifetime)
    }

    fn created_at(&self) -> Timestamp {
        Timestamp(i64::try_from(wide(self.created_at)).unwrap_or(0))
    }

    /// The authorization, when the row is not odd.
    pub(super) fn read(&self) -> Authorization {
        let no = self.no();
        let currency = self.has(HAS_CURRENCY).then_some(self.currency);
        let first_seq = wide(self.first_seq);
        let source = if self.has(ON_ACCOUNT) { Source::Account(self.source) } else { Source::Pool(self.source) };
        let held = self.has(HOLDS).then_some(Held {
            source,
            currency: self.currency,
            initial: self.amount,
            now: self.held,
            rate: None,
        });
        let reply = self.has(ANSWERED).then(|| Reply {
            reason: self.reason,
            response_code: self.response_code,
            approval_code: if self.has(HAS_CODE) { approval_code(no) } else { 0 },
            partial: None,
            balance: None,
        });
        Authorization {
            id: Id { epoch: u32::try_from(wide(self.epoch)).unwrap_or(0), no },
            facts: Facts {
                no,
                class: self.class,
                kind: self.kind,
                card: self.has(HAS_CARD).then_some(self.card),
                amount: self.amount,
                currency,
                merchant_amount: self.amount,
                merchant_currency: self.merchant_currency,
                billed: self.has(BILLED),
                trace: Trace {
                    stan: u32::try_from(wide(self.stan)).unwrap_or(0),
                    transmitted: self.transmitted,
                    acquirer: wide(self.acquirer),
                    forwarder: wide(self.forwarder),
                    reference: self.reference,
                    settlement: self.settlement,
                },
                parent: None,
                expires_at: self.expires_at(),
            },
            state: self.state,
            reply,
            held: [held, None],
            cleared: if self.has(CLEARED) { self.amount } else { 0 },
            partial_supported: self.has(PARTIAL_SUPPORTED),
            children: Vec::new(),
            restated: None,
            aliases: Vec::new(),
            repeat: self.repeat,
            first_seq,
            last_seq: first_seq + u64::from(self.events),
            created_at: self.created_at(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::book::authorization::{Alias, Restated};
    use crate::money::{Money, Rate};

    fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
        proptest::sample::select(all)
    }

    /// Usually within the row, sometimes not.
    fn narrow_or_not(bits: u32) -> impl Strategy<Value = u64> {
        prop_oneof![9 => 0..1u64 << bits, 1 => any::<u64>()]
    }

    fn currency() -> impl Strategy<Value = Currency> {
        word(&[Currency::EUR, Currency::USD, Currency::USDC])
    }

    prop_compose! {
        fn trace()(
            stan in prop_oneof![9 => 0..1_000_000u32, 1 => any::<u32>()], transmitted in any::<u32>(),
            acquirer in narrow_or_not(40), forwarder in narrow_or_not(40), reference in any::<[u8; 9]>(),
            settlement in any::<u16>(),
        ) -> Trace {
            Trace { stan, transmitted, acquirer, forwarder, reference, settlement }
        }
    }

    prop_compose! {
        fn facts()(
            (no, amount, merchant) in (narrow_or_not(48), any::<i64>(), proptest::option::weighted(0.1, any::<i64>())),
            (class, kind) in (word(Class::ALL), word(Kind::ALL)), card in any::<Option<u32>>(),
            currency in proptest::option::weighted(0.9, currency()), merchant_currency in any::<u16>(),
            billed in any::<bool>(), trace in trace(), parent in proptest::option::weighted(0.1, any::<u64>()),
        ) -> Facts {
            Facts {
                no, class, kind, card, amount, currency, merchant_amount: merchant.unwrap_or(amount), merchant_currency,
                billed, trace, parent, expires_at: Timestamp(0),
            }
        }
    }

    fn odd<T: std::fmt::Debug + Clone + 'static>(
        rare: impl Strategy<Value = T> + 'static,
    ) -> impl Strategy<Value = Option<T>> {
        proptest::option::weighted(0.1, rare)
    }

    prop_compose! {
        fn held(amount: i64, own: Option<Currency>)(
            account in any::<bool>(), index in any::<u32>(), now in any::<i64>(), initial in odd(any::<i64>()),
            other in odd(currency()), rate in odd((any::<i64>(), any::<u8>(), any::<u16>())),
        ) -> Held {
            Held {
                source: if account { Source::Account(index) } else { Source::Pool(index) },
                currency: other.or(own).unwrap_or(Currency::EUR), initial: initial.unwrap_or(amount), now,
                rate: rate.map(|(mantissa, scale, markup_bps)| Rate { mantissa, scale, markup_bps }),
            }
        }
    }

    prop_compose! {
        fn authorization()(facts in facts())(
            (epoch, state) in (narrow_or_not(24), word(State::ALL)),
            reply in proptest::option::of((
                word(Reason::ALL), any::<[u8; 2]>(), any::<bool>(), odd(any::<u32>()), odd(any::<i64>()), odd(any::<i64>()),
            )),
            first in proptest::option::of(held(facts.amount, facts.currency)),
            second in odd(held(facts.amount, facts.currency)),
            (all, part) in (any::<bool>(), odd(any::<i64>())), partial_supported in any::<bool>(),
            children in odd(proptest::collection::vec(any::<u64>(), 1..4)),
            restated in odd((any::<i64>(), currency())),
            alias in odd(trace()), repeat in any::<[u8; 16]>(),
            (first_seq, events) in (narrow_or_not(48), narrow_or_not(32)),
            (created_at, lifetime) in (narrow_or_not(55), narrow_or_not(48)),
            facts in Just(facts),
        ) -> Authorization {
            let (no, created_at) = (facts.no, Timestamp(created_at.cast_signed()));
            let (amount, billed) = (facts.amount, facts.billed);
            Authorization {
                id: Id { epoch: u32::try_from(epoch).unwrap_or(u32::MAX), no },
                facts: Facts { expires_at: created_at.plus_us(lifetime.cast_signed()), ..facts },
                state,
                reply: reply.map(|(reason, response_code, has_code, code, partial, balance)| Reply {
                    reason, response_code, approval_code: code.unwrap_or(if has_code { approval_code(no) } else { 0 }),
                    partial, balance: balance.map(|minor| Money::new(minor, Currency::EUR)),
                }),
                held: [first, second],
                cleared: part.unwrap_or(if all { amount } else { 0 }),
                partial_supported,
                children: children.unwrap_or_default(),
                restated: restated.map(|(minor, currency)| Restated {
                    amount: Money::new(minor, currency), merchant_amount: minor, billed,
                }),
                aliases: alias.into_iter().map(|trace| Alias { class: Class::Financial, trace, approval_code: 7 }).collect(),
                repeat,
                first_seq,
                last_seq: first_seq.saturating_add(events),
                created_at,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_row_that_fits_reads_back_as_it_was(a in authorization()) {
            let (row, plain) = Row::of(&a);
            prop_assert_eq!(row.is_odd(), !plain);
            prop_assert_eq!((row.is_live(), row.is_open(), row.state()), (true, a.is_open(), a.state));
            let key = a.facts.card.map(|card| (card, short_stan(a.facts.trace.stan), a.facts.trace.transmitted));
            prop_assert_eq!(row.trace_key(), key);
            if plain {
                prop_assert_eq!((row.no(), row.expires_at()), (a.id.no, a.facts.expires_at));
                prop_assert_eq!(row.read(), a);
            }
        }
    }
}
