//! The state hash: one BLAKE3 value over every part of the book that the fold makes, equal for equal states whatever
//! the order of hash maps in memory.
//!
//! Must never see what is derived from the rest or what a reader may drop (lookup tables, touched
//! balances): a live book and a replay of its journal agree on everything else. Structs are taken apart without `..`,
//! so that a new field does not compile until it is hashed.

use blake3::Hasher;
use minicbor::Encode;

use super::{
    Account, Alias, ApiKey, Authorization, Balance, Book, Card, Held, IdempotencyRecord, KycStep, Link, OffRamp,
    Partner, Pool, Quote, RateEntry, Restated, SealedSecret, TransferKind, TransferRecord, User,
};
use crate::event::admin::Funding;
use crate::event::posting::{Ledger, Posting, Postings};
use crate::event::tap::{Facts, Reply, Source, Trace};
use crate::event::words::{CardStatus, Class, DecisionMode, Kyc, Settlement, State, Status};
use crate::id::Id;
use crate::money::{Currency, Money, Rate};
use crate::time::{Timestamp, YearMonth};

/// Written in exactly one way: values of one type differ exactly when their bytes do.
trait Canonical {
    fn write(&self, out: &mut Vec<u8>);
}

impl Book {
    /// BLAKE3 of the whole state at [`Book::last_seq`]. Reads everything: for snapshots, verification and tests.
    pub fn state_hash(&self) -> [u8; 32] {
        let Book {
            epoch,
            last_seq,
            last_at,
            next_no,
            dedup_window_us,
            links,
            partners,
            users,
            accounts,
            pools,
            cards,
            keys,
            transfers,
            rates,
            quotes,
            quote_queue,
            off_ramps,
            general,
            authorizations,
            closed,
            repeats,
            unmatched,
            idempotency,
            idempotency_queue,
            identities: _,
            touched: _,
        } = self;
        let mut hasher = Hasher::new_derive_key("ledger-core state hash 2");
        let mut head = Vec::with_capacity(64);
        (*epoch, *last_seq).write(&mut head);
        (*last_at, *next_no).write(&mut head);
        dedup_window_us.write(&mut head);
        hasher.update(&head);
        in_order(&mut hasher, links.len(), links.iter());
        in_order(&mut hasher, partners.len(), partners.iter());
        in_order(&mut hasher, users.len(), users.iter());
        in_order(&mut hasher, accounts.len(), accounts.iter());
        in_order(&mut hasher, pools.len(), pools.iter());
        in_order(&mut hasher, cards.len(), cards.iter());
        in_order(&mut hasher, keys.len(), keys.iter());
        in_any_order(&mut hasher, transfers.len(), transfers.iter());
        in_order(&mut hasher, rates.len(), rates.iter());
        in_any_order(&mut hasher, quotes.len(), quotes.iter());
        in_order(&mut hasher, quote_queue.len(), quote_queue.iter());
        in_any_order(&mut hasher, off_ramps.len(), off_ramps.iter());
        in_order(&mut hasher, general.len(), general.iter());
        in_any_order(&mut hasher, authorizations.len(), authorizations.iter());
        in_order(&mut hasher, closed.len(), closed.iter());
        repeats.hash_into(&mut hasher);
        unmatched.hash_into(&mut hasher);
        in_any_order(&mut hasher, idempotency.len(), idempotency.iter());
        in_order(&mut hasher, idempotency_queue.len(), idempotency_queue.iter());
        *hasher.finalize().as_bytes()
    }
}

/// The count first, so that no two tables can be read as one another.
fn in_order<T: Canonical>(hasher: &mut Hasher, len: usize, entries: impl Iterator<Item = T>) {
    let mut bytes = Vec::with_capacity(256);
    len.write(&mut bytes);
    for entry in entries {
        entry.write(&mut bytes);
        hasher.update(&bytes);
        bytes.clear();
    }
    // Only an empty table has its count still to be told.
    hasher.update(&bytes);
}

/// A sum of one hash per entry does not depend on the order in which a hash map shows them.
fn in_any_order<T: Canonical>(hasher: &mut Hasher, len: usize, entries: impl Iterator<Item = T>) {
    let mut sum = [0u64; 2];
    let mut bytes = Vec::with_capacity(256);
    for entry in entries {
        bytes.clear();
        entry.write(&mut bytes);
        let mut one = Hasher::new();
        one.update(&bytes);
        add(&mut sum, &one);
    }
    hasher.update(&(len as u64).to_le_bytes());
    for word in sum {
        hasher.update(&word.to_le_bytes());
    }
}

/// Adds one entry's hash to an order-free sum.
fn add(sum: &mut [u64; 2], one: &Hasher) {
    let mut words = [0u8; 16];
    one.finalize_xof().fill(&mut words);
    let value = u128::from_le_bytes(words);
    let low = u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(value >> 64).unwrap_or(0);
    sum[0] = sum[0].wrapping_add(low);
    sum[1] = sum[1].wrapping_add(high);
}

macro_rules! numbers {
    ($($number:ty),+) => { $(impl Canonical for $number {
        fn write(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.to_le_bytes());
        }
    })+ };
}

numbers!(u8, u16, u32, u64, i64);

/// What the journal already writes in one way only.
macro_rules! journaled {
    ($($name:ty),+) => { $(impl Canonical for $name {
        fn write(&self, out: &mut Vec<u8>) {
            write_cbor(self, out);
        }
    })+ };
}

journaled!(
    CardStatus,
    Class,
    Currency,
    DecisionMode,
    Facts,
    Funding,
    Id,
    Kyc,
    Money,
    Postings,
    Rate,
    Reply,
    Settlement,
    Source,
    State,
    Status,
    Timestamp,
    Trace,
    YearMonth
);

fn write_cbor<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    let written = minicbor::encode(value, &mut *out);
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

/// Field by field, and every field.
macro_rules! structs {
    ($($name:ident { $($field:ident),+ $(,)? })+) => { $(impl Canonical for $name {
        fn write(&self, out: &mut Vec<u8>) {
            let $name { $($field),+ } = self;
            $($field.write(out);)+
        }
    })+ };
}

structs! {
    Balance { available, held }
    Link { name, spec, signed_on }
    SealedSecret { epoch, seq, sealed }
    Partner {
        id, name, decision_url, decision_mode, decision_timeout_ms, services, timeout_code, unreachable_code,
        bad_response_code, status, secret, previous_secret, created_at, updated_at,
    }
    ApiKey { id, partner, name, hash, revoked, created_at }
    KycStep { status, level, provider, reference, reason, at }
    User {
        id, partner, external_id, country, time_zone, status, kyc, kyc_steps, accounts, created_at, updated_at,
    }
    Account { id, user, currency, balance, created_at }
    Pool { id, partner, currency, minimum, status, balance, created_at, updated_at }
    Card {
        id, user, funding, fingerprint, last4, expires, expires_at, status, created_seq, created_at, updated_at,
    }
    TransferRecord {
        id, kind, party, currency, amount, reference, beneficiary, status, created_at, updated_at,
    }
    Quote { id, user, from, from_amount, to, to_amount, fee, rate, expires_at, used_by, created_at }
    OffRamp { id, quote, account, reference, created_at }
    RateEntry { rate, updated_at }
    IdempotencyRecord { body, seq, expires_at }
    Held { source, currency, initial, now, rate }
    Authorization {
        id, facts, state, reply, held, cleared, partial_supported, children, restated, aliases, repeat, first_seq,
        last_seq, created_at,
    }
    Restated { amount, merchant_amount, billed }
    Alias { class, trace, approval_code }
}

impl Canonical for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Canonical for usize {
    fn write(&self, out: &mut Vec<u8>) {
        (*self as u64).write(out);
    }
}

impl Canonical for TransferKind {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::TopUp => 0,
            Self::Withdrawal => 1,
            Self::PayIn => 2,
            Self::Payout => 3,
            Self::CryptoDeposit => 4,
        });
    }
}

/// As the journal would write a line of it.
impl Canonical for Ledger {
    fn write(&self, out: &mut Vec<u8>) {
        let mut line = Postings::none();
        line.0.push(Posting { ledger: *self, currency: Currency::EUR, debit: 0 });
        line.write(out);
    }
}

impl<A: Canonical, B: Canonical> Canonical for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
}

impl<T: Canonical> Canonical for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.write(out);
            }
        }
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        self.iter().for_each(|entry| entry.write(out));
    }
}

/// The length is the type's: no count.
impl<T: Canonical, const N: usize> Canonical for [T; N] {
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|entry| entry.write(out));
    }
}

impl Canonical for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Canonical for Box<[u8]> {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        out.extend_from_slice(self);
    }
}
