//! The one way in which each part of the book is written, for the state hash and for snapshots, and read again.
//!
//! Must never change for what is there: the state hash of a journal is the same for ever. A layout that changes needs
//! another [`super::snapshot::CONTENT`] and another name of the hash.

use minicbor::{Decode, Encode};

use super::{
    Account, Alias, ApiKey, Authorization, Balance, Card, Held, IdempotencyRecord, KycStep, Link, OffRamp, Partner,
    Pool, Quote, RateEntry, Restated, SealedSecret, TransferKind, TransferRecord, User,
};
use crate::event::admin::Funding;
use crate::event::posting::{Ledger, Posting, Postings};
use crate::event::tap::{Facts, Reply, Source, Trace, Unmatched};
use crate::event::words::{CardStatus, Class, DecisionMode, Kyc, Settlement, State, Status};
use crate::id::Id;
use crate::money::{Currency, Money, Rate};
use crate::time::{Timestamp, YearMonth};

/// Written in exactly one way: values of one type differ exactly when their bytes do.
pub(super) trait Canonical {
    fn write(&self, out: &mut Vec<u8>);
}

/// Read as it was written; none when the bytes are not a value's.
pub(super) trait Restored: Sized {
    fn read(from: &mut &[u8]) -> Option<Self>;
}

/// The first bytes of what is left.
pub(super) fn take<'a>(from: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(head)
}

macro_rules! numbers {
    ($($number:ty),+) => { $(impl Canonical for $number {
        fn write(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.to_le_bytes());
        }
    }

    impl Restored for $number {
        fn read(from: &mut &[u8]) -> Option<Self> {
            let (head, rest) = from.split_first_chunk()?;
            *from = rest;
            Some(Self::from_le_bytes(*head))
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
    }

    impl Restored for $name {
        fn read(from: &mut &[u8]) -> Option<Self> {
            read_cbor(from)
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
    Unmatched,
    YearMonth
);

fn read_cbor<'b, T: Decode<'b, ()>>(from: &mut &'b [u8]) -> Option<T> {
    let mut decoder = minicbor::Decoder::new(from);
    let value = decoder.decode().ok()?;
    *from = from.get(decoder.position()..)?;
    Some(value)
}

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
    }

    impl Restored for $name {
        fn read(from: &mut &[u8]) -> Option<Self> {
            $(let $field = Restored::read(from)?;)+
            Some(Self { $($field),+ })
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

impl Restored for bool {
    fn read(from: &mut &[u8]) -> Option<Self> {
        match u8::read(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Canonical for usize {
    fn write(&self, out: &mut Vec<u8>) {
        (*self as u64).write(out);
    }
}

impl Restored for usize {
    fn read(from: &mut &[u8]) -> Option<Self> {
        u64::read(from)?.try_into().ok()
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

impl Restored for TransferKind {
    fn read(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::read(from)? {
            0 => Self::TopUp,
            1 => Self::Withdrawal,
            2 => Self::PayIn,
            3 => Self::Payout,
            4 => Self::CryptoDeposit,
            _ => return None,
        })
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

impl Restored for Ledger {
    fn read(from: &mut &[u8]) -> Option<Self> {
        let lines = Postings::read(from)?;
        lines.0.first().filter(|_| lines.0.len() == 1).map(|line| line.ledger)
    }
}

impl<A: Canonical, B: Canonical> Canonical for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
}

impl<A: Restored, B: Restored> Restored for (A, B) {
    fn read(from: &mut &[u8]) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
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

impl<T: Restored> Restored for Option<T> {
    fn read(from: &mut &[u8]) -> Option<Self> {
        if bool::read(from)? { T::read(from).map(Some) } else { Some(None) }
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        self.iter().for_each(|entry| entry.write(out));
    }
}

impl<T: Restored> Restored for Vec<T> {
    fn read(from: &mut &[u8]) -> Option<Self> {
        let len = usize::read(from)?;
        // No entry is shorter than a byte: a length that lies asks for no more room than the bytes there are.
        let mut entries = Self::with_capacity(len.min(from.len()));
        for _ in 0..len {
            entries.push(T::read(from)?);
        }
        Some(entries)
    }
}

/// The length is the type's: no count.
impl<T: Canonical, const N: usize> Canonical for [T; N] {
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|entry| entry.write(out));
    }
}

impl<T: Restored + Default + Copy, const N: usize> Restored for [T; N] {
    fn read(from: &mut &[u8]) -> Option<Self> {
        let mut entries = [T::default(); N];
        for entry in &mut entries {
            *entry = T::read(from)?;
        }
        Some(entries)
    }
}

impl Canonical for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Restored for String {
    fn read(from: &mut &[u8]) -> Option<Self> {
        let len = usize::read(from)?;
        std::str::from_utf8(take(from, len)?).ok().map(str::to_owned)
    }
}

impl Canonical for Box<str> {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Restored for Box<str> {
    fn read(from: &mut &[u8]) -> Option<Self> {
        let len = usize::read(from)?;
        std::str::from_utf8(take(from, len)?).ok().map(Self::from)
    }
}

impl Canonical for Box<[u8]> {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        out.extend_from_slice(self);
    }
}

impl Restored for Box<[u8]> {
    fn read(from: &mut &[u8]) -> Option<Self> {
        let len = usize::read(from)?;
        take(from, len).map(Self::from)
    }
}
