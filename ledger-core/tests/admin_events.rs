//! Every kind of event through its bytes and back, whole and with nothing optional; bytes that are none; and that
//! the state hash sees each field of what the sidecar's events say.

mod admin_common;
mod event_common;

use std::borrow::Cow;

use admin_common::*;
use event_common::*;
use ledger_core::event::admin::*;
use ledger_core::event::posting::Postings;
use ledger_core::event::words::*;
use ledger_core::event::{Event, EventError};
use ledger_core::money::Currency;

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
