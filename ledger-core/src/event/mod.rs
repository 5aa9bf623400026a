//! What happened, as the journal keeps it. State is a fold over these, never over commands, so that old journals
//! replay on new code. A kind's number is never given again; fields are only added, as options at the end; a change
//! of meaning is a new version.

pub mod admin;
mod flat;
pub mod posting;
pub mod tap;
pub mod words;

use minicbor::{Decode, Decoder, Encode, Encoder};
use smallvec::SmallVec;

use admin::{
    AccountOpened, CardChanged, CardCreated, Idempotent, KeyCreated, KeyRevoked, KycChanged, LinkDefined, LinkSigned,
    OffRampExecuted, PartnerChanged, PartnerCreated, PoolChanged, PoolCreated, QuoteMade, RateSet, SecretRotated,
    Started, Transfer, TransferEnded, UserChanged, UserCreated,
};
use posting::Postings;
use tap::{Advised, AnsweredTooLate, Changes, HoldExpired, Recorded, ReplyLate, Reversed, TapDecided, TapTaken};

/// The `field` part of a seal's nonce, so that two sealed values of one event never share a nonce.
pub mod field {
    /// A raw request.
    pub const REQUEST: u16 = 1;
    /// A PAN.
    pub const PAN: u16 = 2;
    /// A webhook secret.
    pub const WEBHOOK_SECRET: u16 = 3;
    /// A stored REST answer.
    pub const ANSWER: u16 = 4;
}

/// Why bytes are not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Fewer than two bytes.
    #[error("an event needs a kind and a version, {0} bytes found")]
    Short(usize),
    /// A kind this engine does not know.
    #[error("event kind {0} is unknown: written by a newer engine")]
    UnknownKind(u8),
    /// A version this engine does not know.
    #[error("event kind {kind} has version {version}, this engine reads up to {known}")]
    TooNew {
        /// The kind.
        kind: u8,
        /// Its version.
        version: u8,
        /// The newest known.
        known: u8,
    },
    /// The body does not decode.
    #[error("event kind {kind}: {source}")]
    Body {
        /// The kind.
        kind: u8,
        /// Why.
        source: minicbor::decode::Error,
    },
    /// The body of a fixed layout does not decode.
    #[error("event kind {kind}: {what}")]
    Flat {
        /// The kind.
        kind: u8,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Bytes behind the body.
    #[error("event kind {0} has bytes left over")]
    Trailing(u8),
}

macro_rules! events {
    ($($(#[$meta:meta])* $variant:ident($body:ty) = $kind:literal $word:literal,)+) => {
        /// One thing that happened.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant)] // built on the stack of the tap's path, never stored
        pub enum Event<'a> { $($(#[$meta])* $variant($body),)+ }

        impl<'a> Event<'a> {
            /// Every kind: its number, the version that is written of it, its name.
            pub const KINDS: &'static [(u8, u8, &'static str)] = &[$(($kind, newest($kind), $word),)+];

            /// The name of the kind.
            pub const fn word(&self) -> &'static str {
                match self { $(Self::$variant(_) => $word,)+ }
            }

            /// The number of the kind.
            pub const fn kind(&self) -> u8 {
                match self { $(Self::$variant(_) => $kind,)+ }
            }

            /// Appends kind, version and body.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.kind());
                out.push(newest(self.kind()));
                if let Self::TapTaken(body) = self {
                    return flat::encode(body, out);
                }
                let mut encoder = Encoder::new(out);
                let done = match self { $(Self::$variant(body) => body.encode(&mut encoder, &mut ()),)+ };
                debug_assert!(done.is_ok(), "writing to a vector cannot fail");
            }

            /// Reads what [`Event::encode`] wrote; borrows from `bytes`.
            pub fn decode(bytes: &'a [u8]) -> Result<Self, EventError> {
                let (kind, version, body) = match bytes {
                    [kind, version, body @ ..] => (*kind, *version, body),
                    _ => return Err(EventError::Short(bytes.len())),
                };
                let known = newest(kind);
                if version > known {
                    return Err(EventError::TooNew { kind, version, known });
                }
                if (kind, version) == (TAP_TAKEN, 2) {
                    return flat::decode(body).map(Self::TapTaken).map_err(|what| EventError::Flat { kind, what });
                }
                let mut decoder = Decoder::new(body);
                let event = match kind {
                    $($kind => Self::$variant(<$body>::decode(&mut decoder, &mut ()).map_err(|source| EventError::Body { kind, source })?),)+
                    _ => return Err(EventError::UnknownKind(kind)),
                };
                if decoder.position() != body.len() {
                    return Err(EventError::Trailing(kind));
                }
                Ok(event)
            }
        }
    };
}

/// The kind that has a layout of its own.
const TAP_TAKEN: u8 = 60;

/// The version that is written of a kind, and the newest that is read.
const fn newest(kind: u8) -> u8 {
    if kind == TAP_TAKEN { 2 } else { 1 }
}

events! {
    /// The engine started.
    Started(Started<'a>) = 1 "started",
    /// The engine stopped cleanly.
    Stopped(Stopped) = 2 "stopped",
    /// A link got its number.
    LinkDefined(LinkDefined<'a>) = 3 "link_defined",
    /// A link signed on or off.
    LinkSigned(LinkSigned) = 4 "link_signed",
    /// A partner was created.
    PartnerCreated(PartnerCreated<'a>) = 10 "partner_created",
    /// A partner's terms changed.
    PartnerChanged(PartnerChanged<'a>) = 11 "partner_changed",
    /// A webhook secret was rotated.
    SecretRotated(SecretRotated<'a>) = 12 "secret_rotated",
    /// An API key was created.
    KeyCreated(KeyCreated<'a>) = 13 "key_created",
    /// An API key was revoked.
    KeyRevoked(KeyRevoked) = 14 "key_revoked",
    /// A user was created.
    UserCreated(UserCreated<'a>) = 15 "user_created",
    /// A user changed.
    UserChanged(UserChanged<'a>) = 16 "user_changed",
    /// A user's KYC moved.
    KycChanged(KycChanged<'a>) = 17 "kyc_changed",
    /// An account was opened.
    AccountOpened(AccountOpened) = 18 "account_opened",
    /// A pool was created.
    PoolCreated(PoolCreated) = 19 "pool_created",
    /// A pool changed.
    PoolChanged(PoolChanged) = 20 "pool_changed",
    /// A card was created.
    CardCreated(CardCreated<'a>) = 21 "card_created",
    /// A card changed.
    CardChanged(CardChanged) = 22 "card_changed",
    /// A top-up was announced.
    TopUpCreated(Transfer<'a>) = 30 "top_up_created",
    /// A top-up arrived.
    TopUpSettled(TransferEnded) = 31 "top_up_settled",
    /// A top-up failed.
    TopUpFailed(TransferEnded) = 32 "top_up_failed",
    /// A partner took money out of a pool.
    Withdrawn(Transfer<'a>) = 33 "withdrawn",
    /// Money arrived for an account.
    PaidIn(Transfer<'a>) = 34 "paid_in",
    /// A payout left an account.
    PayoutCreated(Transfer<'a>) = 35 "payout_created",
    /// A payout arrived.
    PayoutSettled(TransferEnded) = 36 "payout_settled",
    /// A payout failed and came back.
    PayoutFailed(TransferEnded) = 37 "payout_failed",
    /// Crypto arrived for a user.
    CryptoArrived(Transfer<'a>) = 38 "crypto_arrived",
    /// A rate was set.
    RateSet(RateSet) = 39 "rate_set",
    /// A quote was made.
    QuoteMade(QuoteMade) = 40 "quote_made",
    /// A quote was executed.
    OffRampExecuted(OffRampExecuted<'a>) = 41 "off_ramp_executed",
    /// A REST answer was remembered.
    Idempotent(Idempotent<'a>) = 42 "idempotent",
    /// A tap was decided at once or held.
    TapTaken(TapTaken<'a>) = 60 "tap_taken",
    /// A pending tap was decided.
    TapDecided(TapDecided<'a>) = 61 "tap_decided",
    /// A partner's answer came too late.
    AnsweredTooLate(AnsweredTooLate<'a>) = 62 "answered_too_late",
    /// An advice.
    Advised(Advised<'a>) = 63 "advised",
    /// A reversal.
    Reversed(Reversed<'a>) = 64 "reversed",
    /// A hold expired.
    HoldExpired(HoldExpired) = 65 "hold_expired",
    /// A reply did not reach the network in time.
    ReplyLate(ReplyLate<'a>) = 66 "reply_late",
    /// A message that moves nothing.
    Recorded(Recorded<'a>) = 67 "recorded",
}

/// The engine stopped cleanly.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(array)]
pub struct Stopped {}

impl Event<'_> {
    /// The lines of this event; none for events that move no money.
    pub fn postings(&self) -> Option<&Postings> {
        match self {
            Self::TopUpCreated(e)
            | Self::Withdrawn(e)
            | Self::PaidIn(e)
            | Self::PayoutCreated(e)
            | Self::CryptoArrived(e) => Some(&e.postings),
            Self::TopUpSettled(e) | Self::TopUpFailed(e) | Self::PayoutSettled(e) | Self::PayoutFailed(e) => {
                Some(&e.postings)
            }
            Self::OffRampExecuted(e) => Some(&e.postings),
            Self::TapTaken(e) => Some(&e.postings),
            Self::TapDecided(e) => Some(&e.postings),
            Self::Advised(e) => Some(&e.postings),
            Self::Reversed(e) => Some(&e.postings),
            Self::HoldExpired(e) => Some(&e.postings),
            Self::ReplyLate(e) => Some(&e.postings),
            Self::Started(_)
            | Self::Stopped(_)
            | Self::LinkDefined(_)
            | Self::LinkSigned(_)
            | Self::PartnerCreated(_)
            | Self::PartnerChanged(_)
            | Self::SecretRotated(_)
            | Self::KeyCreated(_)
            | Self::KeyRevoked(_)
            | Self::UserCreated(_)
            | Self::UserChanged(_)
            | Self::KycChanged(_)
            | Self::AccountOpened(_)
            | Self::PoolCreated(_)
            | Self::PoolChanged(_)
            | Self::CardCreated(_)
            | Self::CardChanged(_)
            | Self::RateSet(_)
            | Self::QuoteMade(_)
            | Self::Idempotent(_)
            | Self::AnsweredTooLate(_)
            | Self::Recorded(_) => None,
        }
    }

    /// What the event says that authorizations hold from here on.
    pub fn changes(&self) -> &[tap::Change] {
        match self {
            Self::TapDecided(e) => &e.changes,
            Self::Advised(e) => &e.changes,
            Self::Reversed(e) => &e.changes,
            Self::HoldExpired(e) => &e.changes,
            Self::ReplyLate(e) => &e.changes,
            _ => &[],
        }
    }
}

/// CBOR of a small vector of changes: an array.
pub(crate) mod changes {
    use super::{Changes, SmallVec, tap::Change};
    use minicbor::{Decode, Decoder, Encode, Encoder};

    pub(crate) fn encode<C, W: minicbor::encode::Write>(
        v: &Changes,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(v.len() as u64)?;
        v.iter().try_for_each(|c| c.encode(e, ctx))
    }

    pub(crate) fn decode<'b, C>(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Changes, minicbor::decode::Error> {
        let items = d.array()?.ok_or_else(|| minicbor::decode::Error::message("changes of unknown length"))?;
        let mut out = SmallVec::new();
        for _ in 0..items {
            out.push(Change::decode(d, ctx)?);
        }
        Ok(out)
    }
}
