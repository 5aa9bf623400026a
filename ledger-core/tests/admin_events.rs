//! Every kind of event through its bytes and back, whole and with nothing optional; bytes that are none; and that
//! the state hash sees each field of what the sidecar's events say.

mod admin_common;

use std::borrow::Cow;

use admin_common::*;
use ledger_core::event::admin::*;
use ledger_core::event::posting::{Ledger, Postings};
use ledger_core::event::tap::*;
use ledger_core::event::words::*;
use ledger_core::event::{Event, EventError, Stopped};
use ledger_core::money::{Currency, Money, Rate};
use ledger_core::time::{Timestamp, YearMonth};

const TEXT: &str = "Zürich & Söhne";

fn text(full: bool) -> Option<Cow<'static, str>> {
    full.then_some(Cow::Borrowed(TEXT))
}

fn rate() -> Rate {
    Rate { mantissa: 932_835, scale: 6, markup_bps: 50 }
}

/// Every account of the general ledger once.
fn lines(full: bool) -> Postings {
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

fn terms(full: bool) -> PartnerTerms<'static> {
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

fn transfer(full: bool) -> Transfer<'static> {
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

fn ended(full: bool) -> TransferEnded {
    TransferEnded { no: 9, postings: lines(full) }
}

fn facts(full: bool) -> Facts {
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

fn reply(full: bool) -> Reply {
    Reply {
        reason: Reason::Approved,
        response_code: *b"10",
        approval_code: 123_456,
        partial: full.then_some(500),
        balance: full.then_some(Money::new(-1, Currency::EUR)),
    }
}

fn hold(full: bool, source: Source) -> Option<Hold> {
    full.then_some(Hold { source, amount: Money::new(12, Currency::USDC), rate: Some(rate()) })
}

fn changes(full: bool) -> Changes {
    let change = |no, source| Change { no, source, held: 4, cleared: 8, state: State::PartiallyReversed };
    let several = [change(1, Some(Source::Pool(1))), change(2, Some(Source::Account(2))), change(3, None)];
    several.into_iter().filter(|_| full).collect()
}

fn raw() -> Raw<'static> {
    Raw { link: 255, sealed: Cow::Borrowed(&[0, 1, 2, 0xff]) }
}

fn said(full: bool) -> Said<'static> {
    Said {
        outcome: PartnerOutcome::BadResponse,
        reason: text(full),
        latency_us: u64::MAX,
        late_by_us: full.then_some(1),
        body: Cow::Borrowed(b"{}"),
        metadata_dropped: full,
    }
}

fn unmatched(full: bool) -> Unmatched {
    let original = OriginalData { financial: true, stan: 1, transmitted: 2, acquirer: 3, forwarder: 4 };
    Unmatched {
        fingerprint: [1; 16],
        by_original: full.then_some(original),
        by_trace: full.then_some(TraceId { reference: *b"MCC123456", settlement: 101 }),
    }
}

const REPEAT: RepeatKey = RepeatKey { key: [0xab; 16], content: u32::MAX };

/// One event of each kind, with everything optional there or gone.
fn one_of_each(full: bool) -> Vec<Event<'static>> {
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

fn bytes_of(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    bytes
}

#[test]
fn every_kind_comes_back_as_it_went() {
    for full in [false, true] {
        for event in one_of_each(full) {
            let bytes = bytes_of(&event);
            let version = if event.kind() == 60 { 2 } else { 1 };
            assert_eq!(bytes[..2], [event.kind(), version], "kind and version lead");
            let read = Event::decode(&bytes).unwrap_or_else(|e| panic!("{}: {e}", event.word()));
            assert_eq!(read, event);
            assert_eq!(bytes_of(&read), bytes, "{}: one way to write it", event.word());
        }
    }
}

#[test]
fn every_kind_there_is_has_its_sample() {
    let kinds: Vec<u8> = one_of_each(true).iter().map(Event::kind).collect();
    for kind in 0..=u8::MAX {
        // A known kind with an empty body is a body that does not decode; an unknown kind says so.
        match Event::decode(&[kind, 1]) {
            Err(EventError::UnknownKind(k)) => assert!(k == kind && !kinds.contains(&kind), "kind {kind}"),
            Err(EventError::Body { kind: k, .. }) => assert!(k == kind && kinds.contains(&kind), "kind {kind}"),
            other => panic!("kind {kind}: {other:?}"),
        }
    }
}

#[test]
fn bytes_that_are_no_event_are_refused() {
    for event in one_of_each(true) {
        let bytes = bytes_of(&event);
        // A tap ends with its sealed message, of whatever length: only its seal tells when that is cut.
        let sealed = if let Event::TapTaken(tap) = &event { tap.raw.sealed.len() } else { 0 };
        for cut in 0..bytes.len() - sealed {
            assert!(Event::decode(&bytes[..cut]).is_err(), "{} cut at {cut}", event.word());
        }
        if event.kind() != 60 {
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(matches!(Event::decode(&longer), Err(EventError::Trailing(_))), "{}", event.word());
        }
        let mut newer = bytes.clone();
        newer[1] += 1;
        assert!(matches!(Event::decode(&newer), Err(EventError::TooNew { .. })), "{}", event.word());
        // Any flipped bit is read as something or refused; it never panics.
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _ = Event::decode(&flipped);
            }
        }
    }
}

/// What an event claims and the book cannot have produced is refused: here nothing it names exists.
#[test]
fn an_empty_book_takes_no_event_about_what_is_not_there() {
    for event in one_of_each(true) {
        let mut world = World::new();
        let taken = world.book.apply(2, world.now, &event).is_ok();
        let needs_nothing = matches!(
            event,
            Event::Started(_)
                | Event::Stopped(_)
                | Event::RateSet(_)
                | Event::Idempotent(_)
                | Event::Recorded(_)
                // A late answer for a tap that left memory is kept in the journal alone.
                | Event::AnsweredTooLate(_)
        );
        assert_eq!(taken, needs_nothing, "{}", event.word());
    }
}

/// Each pair differs in one field of one event; the hash must tell them apart.
#[test]
fn the_state_hash_sees_every_field() {
    let base = || {
        let mut world = World::new();
        let partner = world.partner();
        let user = world.known_user(partner, "alice");
        world.account(user, Currency::EUR);
        world.pool(partner, Currency::EUR, 1);
        world
    };
    let next = base().book.next_id().no;
    let after = |event: Event<'_>| {
        let mut world = base();
        world.apply(event);
        world.book.state_hash()
    };
    let plain = PartnerTerms { services: 1, ..terms(false) };
    let changed = |terms: PartnerTerms<'static>| Event::PartnerChanged(PartnerChanged { partner: 0, terms });
    let terms_of_each = [
        plain.clone(),
        PartnerTerms { name: Cow::Borrowed("B"), ..plain.clone() },
        PartnerTerms { decision_url: Some(Cow::Borrowed("u")), ..plain.clone() },
        PartnerTerms { decision_mode: DecisionMode::Webhook, ..plain.clone() },
        PartnerTerms { decision_timeout_ms: Some(1), ..plain.clone() },
        PartnerTerms { services: 2, ..plain.clone() },
        PartnerTerms { timeout_code: Some(*b"05"), ..plain.clone() },
        PartnerTerms { unreachable_code: Some(*b"05"), ..plain.clone() },
        PartnerTerms { bad_response_code: Some(*b"05"), ..plain.clone() },
        PartnerTerms { status: Status::Active, ..plain },
    ];
    let mut events: Vec<Event<'_>> = terms_of_each.into_iter().map(changed).collect();
    let user = |status, country, time_zone| {
        Event::UserChanged(UserChanged { user: 0, status, country: Cow::Borrowed(country), time_zone })
    };
    events.push(user(Status::Active, "CH", None));
    events.push(user(Status::Suspended, "CH", None));
    events.push(user(Status::Active, "FR", None));
    events.push(user(Status::Active, "CH", text(true)));
    let kyc = |level, provider, reference, reason| {
        Event::KycChanged(KycChanged { user: 0, status: Kyc::Expired, level, provider, reference, reason })
    };
    events.push(kyc(None, None, None, None));
    events.push(kyc(text(true), None, None, None));
    events.push(kyc(None, text(true), None, None));
    events.push(kyc(None, None, text(true), None));
    events.push(kyc(None, None, None, text(true)));
    let pool = |status, minimum| Event::PoolChanged(PoolChanged { pool: 0, status, minimum });
    events.push(pool(Status::Active, 2));
    events.push(pool(Status::Suspended, 2));
    events.push(pool(Status::Active, 3));
    let top_up = |amount, reference| {
        let (currency, reference, beneficiary) = (Currency::EUR, Cow::Borrowed(reference), None);
        let postings = Postings::none();
        Event::TopUpCreated(Transfer { no: next, party: 0, currency, amount, reference, beneficiary, postings })
    };
    events.push(top_up(1, "a"));
    events.push(top_up(2, "a"));
    events.push(top_up(1, "b"));
    let quote = |from_amount, to_amount, fee, expires_at| {
        let (from, to, rate) = (Currency::USDC, Currency::EUR, rate());
        let quote = QuoteMade { no: next, user: 0, from, from_amount, to, to_amount, fee, rate, expires_at };
        Event::QuoteMade(quote)
    };
    events.push(quote(1, 1, 0, START));
    events.push(quote(2, 1, 0, START));
    events.push(quote(1, 2, 0, START));
    events.push(quote(1, 1, 1, START));
    events.push(quote(1, 1, 0, START.plus_us(1)));
    let hashes: Vec<[u8; 32]> = events.iter().cloned().map(after).collect();
    for (i, one) in hashes.iter().enumerate() {
        for (j, two) in hashes.iter().enumerate().skip(i + 1) {
            assert_ne!(one, two, "{:?} and {:?}", events[i], events[j]);
        }
    }
    assert_eq!(after(events[0].clone()), hashes[0], "and the same twice is the same");
}
