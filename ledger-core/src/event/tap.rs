//! Events of the switch: taps, partner answers, advices, reversals, expiries.

use std::borrow::Cow;

use minicbor::{Decode, Encode};
use smallvec::SmallVec;

use super::posting::{Ledger, Postings};
use super::words::{Class, Kind, PartnerOutcome, Reason, State};
use crate::id::No;
use crate::money::{Money, Rate};
use crate::time::Timestamp;

/// A pool or an account as the payer of a tap. The numbers are dense indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Source {
    /// A pool.
    #[n(0)]
    Pool(#[n(0)] u32),
    /// An account.
    #[n(1)]
    Account(#[n(0)] u32),
}

impl Source {
    /// Its available side.
    pub const fn available(self) -> Ledger {
        match self {
            Self::Pool(i) => Ledger::PoolAvailable(i),
            Self::Account(i) => Ledger::AccountAvailable(i),
        }
    }

    /// Its held side.
    pub const fn held(self) -> Ledger {
        match self {
            Self::Pool(i) => Ledger::PoolHeld(i),
            Self::Account(i) => Ledger::AccountHeld(i),
        }
    }

    /// `pool` or `account`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pool(_) => "pool",
            Self::Account(_) => "account",
        }
    }
}

/// What is reserved on one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Hold {
    /// Where.
    #[n(0)]
    pub source: Source,
    /// How much, in the source's currency.
    #[n(1)]
    pub amount: Money,
    /// Frozen, when the tap's currency is another one.
    #[n(2)]
    pub rate: Option<Rate>,
}

/// The elements by which the network names a message: what later messages refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
pub struct Trace {
    /// DE11.
    #[n(0)]
    pub stan: u32,
    /// DE7 as a number, MMDDhhmmss.
    #[n(1)]
    pub transmitted: u32,
    /// DE32 as a number; zero when absent.
    #[n(2)]
    pub acquirer: u64,
    /// DE33 as a number; zero when absent.
    #[n(3)]
    pub forwarder: u64,
    /// First nine characters of DE63 in ASCII, blank-filled; zeros when absent.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub reference: [u8; 9],
    /// DE15 as a number, MMDD; zero when absent.
    #[n(5)]
    pub settlement: u16,
}

/// How the engine knows a message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RepeatKey {
    /// Keyed 128-bit hash of the key elements (contracts 2.5).
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 16],
    /// Hash of the elements that must not differ (DE3, DE4, DE49).
    #[n(1)]
    pub content: u32,
}

impl RepeatKey {
    /// The hash of DE3, DE4 and DE49 as numbers. Nothing is secret in it and nobody gains by two that meet: a checksum
    /// does.
    pub fn content_of(numbers: [u64; 3]) -> u32 {
        crc32c::crc32c(numbers.map(u64::to_le_bytes).as_flattened())
    }
}

/// The raw message as it came, and whence.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Raw<'a> {
    /// Index of the link.
    #[n(0)]
    pub link: u8,
    /// The frame, sealed under this event's sequence and [`super::field::REQUEST`].
    #[cbor(b(1), with = "minicbor::bytes")]
    pub sealed: Cow<'a, [u8]>,
}

/// The variable parts of a reply: what rebuilds it byte for byte from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Reply {
    /// Why.
    #[n(0)]
    pub reason: Reason,
    /// DE39.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub response_code: [u8; 2],
    /// DE38 as a number; zero when there is none.
    #[n(2)]
    pub approval_code: u32,
    /// Approved in part: so much, in the currency of the amount.
    #[n(3)]
    pub partial: Option<i64>,
    /// DE54: what is available.
    #[n(4)]
    pub balance: Option<Money>,
}

/// Facts of an authorization that never change after its first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Facts {
    /// Its number.
    #[n(0)]
    pub no: No,
    /// Message class.
    #[n(1)]
    pub class: Class,
    /// What it is for.
    #[n(2)]
    pub kind: Kind,
    /// Dense index; none when no card has that PAN.
    #[n(3)]
    pub card: Option<u32>,
    /// Cardholder billing when present, else the transaction amount. The currency is none when ISO 4217 does not
    /// know the code.
    #[n(4)]
    pub amount: i64,
    /// See `amount`.
    #[n(5)]
    pub currency: Option<crate::money::Currency>,
    /// DE4.
    #[n(6)]
    pub merchant_amount: i64,
    /// DE49 as it came.
    #[n(7)]
    pub merchant_currency: u16,
    /// True when `amount` came from DE6.
    #[n(8)]
    pub billed: bool,
    /// By what later messages name it.
    #[n(9)]
    pub trace: Trace,
    /// The first of its chain, when it is an increment or was linked by an advice.
    #[n(10)]
    pub parent: Option<No>,
    /// When what it holds is released by itself.
    #[n(11)]
    pub expires_at: Timestamp,
}

/// A 0100 or 0200: decided at once, or held and the partner asked.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct TapTaken<'a> {
    /// What it is.
    #[n(0)]
    pub facts: Facts,
    /// How to know it again.
    #[n(1)]
    pub repeat: RepeatKey,
    /// The message.
    #[b(2)]
    pub raw: Raw<'a>,
    /// The answer; none while the partner is asked.
    #[n(3)]
    pub reply: Option<Reply>,
    /// What is held from here on, on at most two sources.
    #[n(4)]
    pub first: Option<Hold>,
    /// See `first`.
    #[n(5)]
    pub second: Option<Hold>,
    /// 0200 approved: what was cleared of the amount.
    #[n(6)]
    pub cleared: i64,
    /// The lines.
    #[n(7)]
    pub postings: Postings,
    /// The terminal takes partial approvals.
    #[n(8)]
    pub partial_supported: bool,
}

/// What a source of an authorization holds from here on, and the authorization's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Change {
    /// Which authorization.
    #[n(0)]
    pub no: No,
    /// Which of its sources; none when it holds nothing anywhere.
    #[n(1)]
    pub source: Option<Source>,
    /// What that source holds from here on, in the source's currency.
    #[n(2)]
    pub held: i64,
    /// What is cleared from here on, in the currency of the amount.
    #[n(3)]
    pub cleared: i64,
    /// The state from here on.
    #[n(4)]
    pub state: State,
}

/// The changes of one event.
pub type Changes = SmallVec<[Change; 2]>;

/// What a partner said, and when.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Said<'a> {
    /// What became of the ask.
    #[n(0)]
    pub outcome: PartnerOutcome,
    /// The reason a decline gave, or the kind of fault.
    #[b(1)]
    pub reason: Option<Cow<'a, str>>,
    /// From the ask to the answer.
    #[n(2)]
    pub latency_us: u64,
    /// How long after its deadline it came; none when in time.
    #[n(3)]
    pub late_by_us: Option<u64>,
    /// The answer's bytes, bounded.
    #[cbor(b(4), with = "minicbor::bytes")]
    pub body: Cow<'a, [u8]>,
    /// `metadata` was over 1 KiB and dropped.
    #[n(5)]
    pub metadata_dropped: bool,
}

/// A pending tap was decided.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct TapDecided<'a> {
    /// Which authorization.
    #[n(0)]
    pub no: No,
    /// The sequence of its event before this one: a chain back to the first.
    #[n(1)]
    pub previous: u64,
    /// The answer.
    #[n(2)]
    pub reply: Reply,
    /// What the partner said.
    #[b(3)]
    pub said: Option<Said<'a>>,
    /// What its sources hold from here on.
    #[cbor(n(4), with = "super::changes")]
    pub changes: Changes,
    /// The lines.
    #[n(5)]
    pub postings: Postings,
}

/// A partner's answer that came after the decision: recorded, moves nothing.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct AnsweredTooLate<'a> {
    /// Which authorization.
    #[n(0)]
    pub no: No,
    /// See [`TapDecided::previous`].
    #[n(1)]
    pub previous: u64,
    /// What it said.
    #[b(2)]
    pub said: Said<'a>,
}

/// An advice: booked without asking, or recorded as declined.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Advised<'a> {
    /// The advice as an authorization of its own; when `target` is set its number names the record only.
    #[n(0)]
    pub facts: Facts,
    /// How to know it again.
    #[n(1)]
    pub repeat: RepeatKey,
    /// The message.
    #[b(2)]
    pub raw: Raw<'a>,
    /// The answer to the advice itself.
    #[n(3)]
    pub reply: Reply,
    /// The open authorization it sets; none when it makes one.
    #[n(4)]
    pub target: Option<No>,
    /// The sequence of the target's event before this one.
    #[n(5)]
    pub previous: u64,
    /// What the new authorization holds.
    #[n(6)]
    pub hold: Option<Hold>,
    /// State of the new authorization.
    #[n(7)]
    pub state: State,
    /// What is cleared, in the currency of the amount.
    #[n(8)]
    pub cleared: i64,
    /// What the target holds from here on.
    #[cbor(n(9), with = "super::changes")]
    pub changes: Changes,
    /// The lines.
    #[n(10)]
    pub postings: Postings,
    /// The DE39 the advice itself carried.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub advised_code: [u8; 2],
}

/// A reversal.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Reversed<'a> {
    /// A number of its own.
    #[n(0)]
    pub no: No,
    /// How to know it again.
    #[n(1)]
    pub repeat: RepeatKey,
    /// The message.
    #[b(2)]
    pub raw: Raw<'a>,
    /// The answer.
    #[n(3)]
    pub reply: Reply,
    /// What it reversed; none when nothing was found.
    #[n(4)]
    pub target: Option<No>,
    /// The sequence of the target's event before this one.
    #[n(5)]
    pub previous: u64,
    /// What the sources hold from here on; empty when it moves nothing.
    #[cbor(n(6), with = "super::changes")]
    pub changes: Changes,
    /// The lines.
    #[n(7)]
    pub postings: Postings,
    /// Nothing was found: remember it under the original's keys.
    #[n(8)]
    pub unmatched: Option<Unmatched>,
}

/// A reversal without an original: what the original will be known by when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Unmatched {
    /// Keyed fingerprint of the PAN.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub fingerprint: [u8; 16],
    /// From DE90: class (0100/0120 or 0200/0220), STAN, DE7, acquirer, forwarder.
    #[n(1)]
    pub by_original: Option<OriginalData>,
    /// From SE63.
    #[n(2)]
    pub by_trace: Option<TraceId>,
}

/// DE90 taken apart. Numbers; zero acquirer or forwarder means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OriginalData {
    /// True for 02xx, false for 01xx.
    #[n(0)]
    pub financial: bool,
    /// DE11 of the original.
    #[n(1)]
    pub stan: u32,
    /// DE7 of the original.
    #[n(2)]
    pub transmitted: u32,
    /// DE32 of the original.
    #[n(3)]
    pub acquirer: u64,
    /// DE33 of the original.
    #[n(4)]
    pub forwarder: u64,
}

/// DE48 SE63 taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TraceId {
    /// First nine characters of the original's DE63.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub reference: [u8; 9],
    /// The original's DE15, MMDD; zero when not told.
    #[n(1)]
    pub settlement: u16,
}

/// A hold reached its lifetime.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct HoldExpired {
    /// Which authorization.
    #[n(0)]
    pub no: No,
    /// See [`TapDecided::previous`].
    #[n(1)]
    pub previous: u64,
    /// What its sources hold from here on.
    #[cbor(n(2), with = "super::changes")]
    pub changes: Changes,
    /// The lines.
    #[n(3)]
    pub postings: Postings,
}

/// The reply did not reach the network in time: what the tap holds is freed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct ReplyLate<'a> {
    /// Which authorization.
    #[n(0)]
    pub no: No,
    /// See [`TapDecided::previous`].
    #[n(1)]
    pub previous: u64,
    /// What its sources hold from here on.
    #[cbor(n(2), with = "super::changes")]
    pub changes: Changes,
    /// The lines.
    #[n(3)]
    pub postings: Postings,
    /// The 0190 that said so; none when the engine saw it by itself.
    #[b(4)]
    pub raw: Option<Raw<'a>>,
    /// Key of the tap, whose repeats get 91 from here on.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub repeat: [u8; 16],
}

/// A message that is recorded and moves nothing: 0620, 0820, 0180, a 0190 for no tap.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Recorded<'a> {
    /// MTI as a number.
    #[n(0)]
    pub mti: u16,
    /// The message.
    #[b(1)]
    pub raw: Raw<'a>,
}
