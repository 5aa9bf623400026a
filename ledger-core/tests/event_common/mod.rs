//! One event of each kind, whole and with nothing optional: what the codec's suites and the fixtures share.

// Each suite uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::borrow::Cow;

use ledger_core::event::admin::*;
use ledger_core::event::posting::{Ledger, Postings};
use ledger_core::event::tap::*;
use ledger_core::event::words::*;
use ledger_core::event::{Event, Stopped};
use ledger_core::money::{Currency, Money, Rate};
use ledger_core::time::{Timestamp, YearMonth};

const START: Timestamp = Timestamp(1_767_225_600_000_000);

pub const TEXT: &str = "Zürich & Söhne";

pub fn text(full: bool) -> Option<Cow<'static, str>> {
    full.then_some(Cow::Borrowed(TEXT))
}

pub fn rate() -> Rate {
    Rate { mantissa: 932_835, scale: 6, markup_bps: 50 }
}

/// Every account of the general ledger once.
pub fn lines(full: bool) -> Postings {
    let mut postings = Postings::none();
    if full {
        postings.transfer(Ledger::Bank, Ledger::PoolAvailable(u32::MAX), Currency::EUR, i64::MAX);
        postings.transfer(Ledger::Chain, Ledger::CryptoDeposit(3), Currency::BTC, 1);
        postings.transfer(Ledger::Receivable(0), Ledger::PoolHeld(1), Currency::JPY, 7);
        postings.transfer(Ledger::AccountAvailable(5), Ledger::AccountHeld(5), Currency::EUR, 9);
        postings.transfer(Ledger::Scheme, Ledger::PayoutTransit, Currency::USD, 11);
        postings.transfer(Ledger::Fx, Ledger::Fees, Currency::USDC, 13);
    }
    postings
}

pub fn terms(full: bool) -> PartnerTerms<'static> {
    PartnerTerms {
        name: Cow::Borrowed(TEXT),
        decision_url: text(full),
        decision_mode: DecisionMode::AutoDecline,
        decision_timeout_ms: full.then_some(u32::MAX),
        services: 0b1_0101,
        timeout_code: full.then_some(*b"05"),
        unreachable_code: full.then_some(*b"91"),
        bad_response_code: full.then_some(*b"96"),
        status: Status::Suspended,
    }
}

pub fn transfer(full: bool) -> Transfer<'static> {
    Transfer {
        no: 0xffff_ffff_ffff,
        party: 4,
        currency: Currency::ETH,
        amount: i64::MAX,
        reference: Cow::Borrowed(TEXT),
        beneficiary: text(full),
        postings: lines(full),
    }
}

pub fn ended(full: bool) -> TransferEnded {
    TransferEnded { no: 9, postings: lines(full) }
}

pub fn facts(full: bool) -> Facts {
    Facts {
        no: 77,
        class: Class::FinancialAdvice,
        kind: Kind::Incremental,
        card: full.then_some(2),
        amount: 999_999_999_999,
        currency: full.then_some(Currency::CHF),
        merchant_amount: 1,
        merchant_currency: 999,
        billed: full,
        trace: Trace {
            stan: 999_999,
            transmitted: 1_231_235_959,
            acquirer: 99_999_999_999,
            forwarder: 1,
            reference: *b"MCC123456",
            settlement: 1_231,
        },
        parent: full.then_some(5),
        expires_at: Timestamp(i64::MAX),
    }
}

pub fn reply(full: bool) -> Reply {
    Reply {
        reason: Reason::Approved,
        response_code: *b"10",
        approval_code: 123_456,
        partial: full.then_some(500),
        balance: full.then_some(Money::new(-1, Currency::EUR)),
    }
}

pub fn hold(full: bool, source: Source) -> Option<Hold> {
    full.then_some(Hold { source, amount: Money::new(12, Currency::USDC), rate: Some(rate()) })
}

pub fn changes(full: bool) -> Changes {
    let change = |no, source| Change { no, source, held: 4, cleared: 8, state: State::PartiallyReversed };
    let several = [change(1, Some(Source::Pool(1))), change(2, Some(Source::Account(2))), change(3, None)];
    several.into_iter().filter(|_| full).collect()
}

pub fn raw() -> Raw<'static> {
    Raw { link: 255, sealed: Cow::Borrowed(&[0, 1, 2, 0xff]) }
}

pub fn said(full: bool) -> Said<'static> {
    Said {
        outcome: PartnerOutcome::BadResponse,
        reason: text(full),
        latency_us: u64::MAX,
        late_by_us: full.then_some(1),
        body: Cow::Borrowed(b"{}"),
        metadata_dropped: full,
    }
}

pub fn unmatched(full: bool) -> Unmatched {
    let original = OriginalData { financial: true, stan: 1, transmitted: 2, acquirer: 3, forwarder: 4 };
    Unmatched {
        fingerprint: [1; 16],
        by_original: full.then_some(original),
        by_trace: full.then_some(TraceId { reference: *b"MCC123456", settlement: 101 }),
    }
}

pub const REPEAT: RepeatKey = RepeatKey { key: [0xab; 16], content: u32::MAX };

/// One event of each kind, with everything optional there or gone.
pub fn one_of_each(full: bool) -> Vec<Event<'static>> {
    let bytes = Cow::Borrowed(&[9u8, 8, 7][..]);
    let previous = 41;
    vec![
        Event::Started(Started { epoch: 0xff_ffff, version: Cow::Borrowed("1.2.3"), dedup_window_us: i64::MAX }),
        Event::Stopped(Stopped {}),
        Event::LinkDefined(LinkDefined { link: 1, name: Cow::Borrowed(TEXT), spec: Cow::Borrowed("mastercard") }),
        Event::LinkSigned(LinkSigned { link: 1, on: full }),
        Event::PartnerCreated(PartnerCreated { no: 1, terms: terms(full), secret: bytes.clone() }),
        Event::PartnerChanged(PartnerChanged { partner: 1, terms: terms(full) }),
        Event::SecretRotated(SecretRotated { partner: 1, secret: bytes.clone(), previous_until: START }),
        Event::KeyCreated(KeyCreated { no: 2, partner: full.then_some(1), name: Cow::Borrowed(TEXT), hash: [3; 32] }),
        Event::KeyRevoked(KeyRevoked { no: 2 }),
        Event::UserCreated(UserCreated {
            no: 3,
            partner: 1,
            external_id: Cow::Borrowed(TEXT),
            country: Cow::Borrowed("CH"),
            time_zone: text(full),
        }),
        Event::UserChanged(UserChanged {
            user: 0,
            status: Status::Active,
            country: Cow::Borrowed("CH"),
            time_zone: text(full),
        }),
        Event::KycChanged(KycChanged {
            user: 0,
            status: Kyc::Revoked,
            level: text(full),
            provider: text(full),
            reference: text(full),
            reason: text(full),
        }),
        Event::AccountOpened(AccountOpened { no: 4, user: 0, currency: Currency::HKD }),
        Event::PoolCreated(PoolCreated { no: 5, partner: 1, currency: Currency::SGD, minimum: 6 }),
        Event::PoolChanged(PoolChanged { pool: 0, status: Status::Suspended, minimum: 7 }),
        Event::CardCreated(CardCreated {
            no: 6,
            user: 0,
            funding: if full {
                Funding::PartnerChoice { pool: 1, account: 2 }
            } else {
                Funding::Account { account: 2 }
            },
            fingerprint: [4; 16],
            last4: 42,
            expires: YearMonth(2901),
            pan: bytes.clone(),
        }),
        Event::CardChanged(CardChanged { card: 0, status: CardStatus::Stolen }),
        Event::TopUpCreated(transfer(full)),
        Event::TopUpSettled(ended(full)),
        Event::TopUpFailed(ended(full)),
        Event::Withdrawn(transfer(full)),
        Event::PaidIn(transfer(full)),
        Event::PayoutCreated(transfer(full)),
        Event::PayoutSettled(ended(full)),
        Event::PayoutFailed(ended(full)),
        Event::CryptoArrived(transfer(full)),
        Event::RateSet(RateSet { from: Currency::USDC, to: Currency::EUR, rate: rate() }),
        Event::QuoteMade(QuoteMade {
            no: 7,
            user: 0,
            from: Currency::USDT,
            from_amount: 1,
            to: Currency::JPY,
            to_amount: 2,
            fee: 3,
            rate: rate(),
            expires_at: START,
        }),
        Event::OffRampExecuted(OffRampExecuted {
            no: 8,
            quote: 7,
            account: 0,
            reference: text(full),
            postings: lines(full),
        }),
        Event::Idempotent(Idempotent { key: [5; 16], body: [6; 16], status: 201, answer: bytes }),
        Event::TapTaken(TapTaken {
            facts: facts(full),
            repeat: REPEAT,
            raw: raw(),
            reply: full.then(|| reply(full)),
            first: hold(full, Source::Pool(1)),
            second: hold(full, Source::Account(2)),
            cleared: 1,
            postings: lines(full),
            partial_supported: full,
        }),
        Event::TapDecided(TapDecided {
            no: 9,
            previous,
            reply: reply(full),
            said: full.then(|| said(full)),
            changes: changes(full),
            postings: lines(full),
        }),
        Event::AnsweredTooLate(AnsweredTooLate { no: 9, previous, said: said(full) }),
        Event::Advised(Advised {
            facts: facts(full),
            repeat: REPEAT,
            raw: raw(),
            reply: reply(full),
            target: full.then_some(9),
            previous,
            hold: hold(full, Source::Account(1)),
            state: State::PartiallyCleared,
            cleared: 4,
            changes: changes(full),
            postings: lines(full),
            advised_code: *b"08",
        }),
        Event::Reversed(Reversed {
            no: 10,
            repeat: REPEAT,
            raw: raw(),
            reply: reply(full),
            target: full.then_some(9),
            previous,
            changes: changes(full),
            postings: lines(full),
            unmatched: full.then(|| unmatched(full)),
        }),
        Event::HoldExpired(HoldExpired { no: 9, previous, changes: changes(full), postings: lines(full) }),
        Event::ReplyLate(ReplyLate {
            no: 9,
            previous,
            changes: changes(full),
            postings: lines(full),
            raw: full.then(raw),
            repeat: [7; 16],
        }),
        Event::Recorded(Recorded { mti: 620, raw: raw() }),
    ]
}

pub fn bytes_of(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    bytes
}
