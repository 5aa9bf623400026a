//! Partners, keys, users, KYC, accounts and cards, by commands: each one's life and every refusal.

mod admin_common;

use std::borrow::Cow;

use admin_common::*;
use ledger_core::book::{Command, Done, FundingWish, PartnerChange, Refusal};
use ledger_core::event::admin::{Funding, Idempotent, LinkDefined, LinkSigned, Started};
use ledger_core::event::words::{CardStatus, DecisionMode, Kyc, Service, Status};
use ledger_core::event::{Event, field};
use ledger_core::money::Currency;
use ledger_core::time::YearMonth;
use zeroize::Zeroizing;

const ALL_SERVICES: u8 = 0b1_1111;

fn without(service: Service) -> u8 {
    ALL_SERVICES & !(1 << service.number())
}

fn long() -> String {
    "x".repeat(257)
}

#[test]
fn a_partner_is_born_with_the_defaults_and_changes_only_what_is_asked() {
    let mut world = World::new();
    let partner = world.partner();
    let born = world.book.partner(partner).expect("it is there").clone();
    assert_eq!((born.name.as_str(), born.status), ("Neo", Status::Active));
    assert_eq!((born.decision_mode, born.services), (DecisionMode::Webhook, ALL_SERVICES));
    assert_eq!((born.decision_url.as_deref(), born.decision_timeout_ms), (None, None));
    assert_eq!(world.book.partner_index(born.id), Some(partner));

    world.wait(SECOND);
    let change = PartnerChange {
        decision_url: Some(Some("https://bank.example/decide".to_owned())),
        decision_timeout_ms: Some(Some(250)),
        timeout_code: Some(Some(*b"05")),
        ..PartnerChange::default()
    };
    world.run(&Command::ChangePartner { partner, change }).expect("it changes");
    let changed = world.book.partner(partner).expect("it is there").clone();
    assert_eq!(changed.decision_url.as_deref(), Some("https://bank.example/decide"));
    assert_eq!((changed.decision_timeout_ms, changed.timeout_code), (Some(250), Some(*b"05")));
    assert_eq!((changed.name.as_str(), changed.created_at), ("Neo", born.created_at));
    assert!(changed.updated_at > born.updated_at);

    let back = PartnerChange {
        decision_url: Some(None),
        decision_timeout_ms: Some(None),
        timeout_code: Some(None),
        ..PartnerChange::default()
    };
    world.run(&Command::ChangePartner { partner, change: back.clone() }).expect("it changes back");
    let events = world.events();
    world.run(&Command::ChangePartner { partner, change: back }).expect("nothing to do is fine");
    assert_eq!(world.events(), events, "what changes nothing writes nothing");
}

#[test]
fn a_partners_terms_out_of_their_range_are_refused() {
    let mut world = World::new();
    let partner = world.partner();
    let base = PartnerChange::default;
    let wrong = [
        PartnerChange { name: Some(String::new()), ..base() },
        PartnerChange { name: Some(long()), ..base() },
        PartnerChange { decision_url: Some(Some(long())), ..base() },
        PartnerChange { decision_url: Some(Some(String::new())), ..base() },
        PartnerChange { decision_timeout_ms: Some(Some(0)), ..base() },
        PartnerChange { decision_timeout_ms: Some(Some(60_001)), ..base() },
        PartnerChange { services: Some(0b10_0000), ..base() },
        PartnerChange { timeout_code: Some(Some(*b"00")), ..base() },
        PartnerChange { unreachable_code: Some(Some(*b"10")), ..base() },
        PartnerChange { bad_response_code: Some(Some(*b"\0\x01")), ..base() },
    ];
    for change in wrong {
        let shown = format!("{change:?}");
        let refused = world.run(&Command::ChangePartner { partner, change });
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{shown}: {refused:?}");
    }
    let unnamed = Command::CreatePartner { terms: base(), secret: secret(1) };
    assert!(matches!(world.run(&unnamed), Err(Refusal::Invalid(_))));
    let short = Command::CreatePartner { terms: named("A"), secret: Zeroizing::new(vec![1; 23]) };
    assert!(matches!(world.run(&short), Err(Refusal::Invalid(_))));
    let nobody = Command::ChangePartner { partner: 9, change: base() };
    assert_eq!(world.run(&nobody), Err(Refusal::NotFound("partner")));
}

#[test]
fn a_rotated_secret_leaves_the_one_before_for_a_day() {
    let mut world = World::new();
    let partner = world.partner();
    let first = world.book.partner(partner).expect("it is there").secret.clone();
    assert_eq!(first.seq, 2, "sealed under the sequence of its own event");
    assert_eq!(first.sealed[..10], [0, 0, 0, 0, 0, 0, 0, 2, 0, 3]);
    assert_eq!(first.sealed[9], u8::try_from(field::WEBHOOK_SECRET).expect("small"));
    world.wait(SECOND);
    world.run(&Command::RotateSecret { partner, secret: secret(2) }).expect("it rotates");
    let rotated = world.book.partner(partner).expect("it is there").clone();
    let (previous, until) = rotated.previous_secret.expect("the one before lives on");
    assert_eq!(previous, first);
    assert_eq!(until, world.now.plus_us(24 * 3_600 * SECOND));
    assert_eq!((rotated.secret.seq, rotated.secret.epoch), (3, 1));
    world.run(&Command::RotateSecret { partner, secret: secret(3) }).expect("again");
    let again = world.book.partner(partner).expect("it is there").clone();
    assert_eq!(again.previous_secret.expect("one before").0, rotated.secret, "never more than two");
    let nobody = Command::RotateSecret { partner: 7, secret: secret(2) };
    assert_eq!(world.run(&nobody), Err(Refusal::NotFound("partner")));
}

#[test]
fn keys_are_made_and_revoked_once() {
    let mut world = World::new();
    let partner = world.partner();
    let make = |partner| Command::CreateKey { partner, name: "ci".to_owned(), hash: [7; 32] };
    let Ok(Done::Key(key)) = world.run(&make(Some(partner))) else { panic!("a key") };
    assert!(matches!(world.run(&make(None)), Ok(Done::Key(_))));
    assert_eq!(world.run(&make(Some(9))), Err(Refusal::NotFound("partner")));
    world.run(&Command::RevokeKey { key }).expect("it is revoked");
    assert!(world.book.key(key).expect("it is kept").revoked);
    let events = world.events();
    world.run(&Command::RevokeKey { key }).expect("twice is fine");
    assert_eq!(world.events(), events);
    assert_eq!(world.run(&Command::RevokeKey { key: 999 }), Err(Refusal::NotFound("key")));
}

#[test]
fn users_are_unique_within_their_partner() {
    let mut world = World::new();
    let (one, two) = (world.partner(), world.partner());
    let alice = world.user(one, "alice");
    assert_eq!(world.run(&create_user(one, "alice")), Err(Refusal::DuplicateExternalId));
    let other = world.user(two, "alice");
    assert_ne!(alice, other);
    assert_eq!(world.run(&create_user(9, "bob")), Err(Refusal::NotFound("partner")));
    for (external_id, country, zone) in [
        ("", "DE", None),
        (long().as_str(), "DE", None),
        ("b", "de", None),
        ("b", "DEU", None),
        ("b", "DE", Some("a b")),
    ] {
        let command = Command::CreateUser {
            partner: one,
            external_id: external_id.to_owned(),
            country: country.to_owned(),
            time_zone: zone.map(str::to_owned),
        };
        assert!(matches!(world.run(&command), Err(Refusal::Invalid(_))), "{command:?}");
    }
    let change = Command::ChangeUser {
        user: alice,
        status: Some(Status::Suspended),
        country: Some("FR".to_owned()),
        time_zone: Some(None),
    };
    world.run(&change).expect("she changes");
    let user = world.book.user(alice).expect("she is there");
    assert_eq!((user.status, &*user.country, &user.time_zone), (Status::Suspended, "FR", &None));
    assert_eq!(world.run(&suspend_user(99, Status::Active)), Err(Refusal::NotFound("user")));
}

/// The steps of contracts 4.1, written out once more.
const STEPS: [(Kyc, Kyc); 9] = [
    (Kyc::NotStarted, Kyc::Submitted),
    (Kyc::Submitted, Kyc::InReview),
    (Kyc::InReview, Kyc::Approved),
    (Kyc::InReview, Kyc::Rejected),
    (Kyc::Approved, Kyc::Expired),
    (Kyc::Approved, Kyc::Revoked),
    (Kyc::Rejected, Kyc::Submitted),
    (Kyc::Expired, Kyc::Submitted),
    (Kyc::Revoked, Kyc::Submitted),
];

fn way_to(state: Kyc) -> Vec<Kyc> {
    let mut way = match state {
        Kyc::NotStarted => return vec![],
        Kyc::Submitted => vec![],
        Kyc::InReview => vec![Kyc::Submitted],
        Kyc::Approved | Kyc::Rejected => vec![Kyc::Submitted, Kyc::InReview],
        Kyc::Expired | Kyc::Revoked => vec![Kyc::Submitted, Kyc::InReview, Kyc::Approved],
    };
    way.push(state);
    way
}

#[test]
fn kyc_takes_the_contracts_steps_and_no_others() {
    for from in Kyc::ALL.iter().copied() {
        for to in Kyc::ALL.iter().copied() {
            let mut world = World::new();
            let partner = world.partner();
            let user = world.user(partner, "alice");
            world.kyc(user, &way_to(from));
            let went = world.run(&kyc(user, to));
            if STEPS.contains(&(from, to)) {
                assert_eq!(went, Ok(Done::User(user)), "{from:?} to {to:?}");
                assert_eq!(world.book.user(user).map(|u| u.kyc), Some(to));
                assert_eq!(world.book.user(user).map(|u| u.kyc_steps.len()), Some(way_to(from).len() + 1));
            } else {
                assert!(matches!(went, Err(Refusal::InvalidState(_))), "{from:?} to {to:?}: {went:?}");
            }
        }
    }
}

#[test]
fn kyc_keeps_what_was_said_and_refuses_too_much_of_it() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.user(partner, "alice");
    let step = |level: &str| Command::MoveKyc {
        user,
        status: Kyc::Submitted,
        level: Some(level.to_owned()),
        provider: Some("acme".to_owned()),
        reference: Some("r-1".to_owned()),
        reason: None,
    };
    assert!(matches!(world.run(&step(&long())), Err(Refusal::Invalid(_))));
    world.run(&suspend_user(user, Status::Suspended)).expect("suspended");
    world.run(&suspend_partner(partner, Status::Suspended)).expect("suspended");
    world.run(&step("full")).expect("suspension does not stop KYC");
    let steps = &world.book.user(user).expect("she is there").kyc_steps;
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].level.as_deref(), steps[0].provider.as_deref()), (Some("full"), Some("acme")));
    assert_eq!(world.run(&kyc(99, Kyc::Submitted)), Err(Refusal::NotFound("user")));
}

#[test]
fn an_account_opens_once_per_currency() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.user(partner, "alice");
    let open = |currency| Command::OpenAccount { user, currency };
    for (index, currency) in (0u32..).zip(Currency::ACCOUNTS) {
        assert_eq!(world.run(&open(currency)), Ok(Done::Account(index, true)));
        assert_eq!(world.run(&open(currency)), Ok(Done::Account(index, false)));
        assert_eq!(world.book.account_of(user, currency), Some(index));
    }
    for currency in [Currency::USDC, Currency::BTC, Currency::from_code("GBP").expect("a currency")] {
        assert!(matches!(world.run(&open(currency)), Err(Refusal::Invalid(_))));
    }
    world.run(&services(partner, without(Service::Balances))).expect("the menu shrinks");
    assert_eq!(world.run(&open(Currency::EUR)), Err(Refusal::ServiceNotEnabled));
    let nobody = Command::OpenAccount { user: 9, currency: Currency::EUR };
    assert_eq!(world.run(&nobody), Err(Refusal::NotFound("user")));
}

#[test]
fn cards_need_kyc_activity_the_service_and_a_fresh_pan() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.user(partner, "alice");
    let wish = FundingWish::Account { currency: Currency::EUR };
    let make = |serial| create_card(user, wish, &pan(serial));
    for next in [Kyc::Submitted, Kyc::InReview, Kyc::Approved] {
        assert_eq!(world.run(&make(1)), Err(Refusal::KycNotApproved), "before {next:?}");
        world.kyc(user, &[next]);
    }
    assert_eq!(world.run(&make(100)), Ok(Done::Card(0)));
    for next in [Kyc::Revoked, Kyc::Submitted, Kyc::InReview, Kyc::Rejected] {
        world.kyc(user, &[next]);
        assert_eq!(world.run(&make(1)), Err(Refusal::KycNotApproved), "after {next:?}");
    }
    world.kyc(user, &[Kyc::Submitted, Kyc::InReview, Kyc::Approved]);
    assert_eq!(world.run(&make(100)), Err(Refusal::DuplicatePan));

    let changes = [
        (services(partner, without(Service::Cards)), services(partner, ALL_SERVICES), Refusal::ServiceNotEnabled),
        (
            suspend_partner(partner, Status::Suspended),
            suspend_partner(partner, Status::Active),
            Refusal::PartnerSuspended,
        ),
        (suspend_user(user, Status::Suspended), suspend_user(user, Status::Active), Refusal::UserSuspended),
    ];
    for (off, on, refusal) in changes {
        world.run(&off).expect("off");
        assert_eq!(world.run(&make(2)), Err(refusal));
        world.run(&on).expect("on");
    }
    assert!(world.run(&make(2)).is_ok());
    assert_eq!(world.run(&create_card(9, wish, &pan(3))), Err(Refusal::NotFound("user")));
    for wrong in [&b"5351101200000001"[..], b"53511012", b"535110120000000a", b"53511012000000000005"] {
        assert!(matches!(world.run(&create_card(user, wish, wrong)), Err(Refusal::Invalid(_))));
    }
    for expires in [YearMonth(0), YearMonth(2900), YearMonth(2913), YearMonth(10_001)] {
        let Command::CreateCard { user, funding, pan, fingerprint, .. } = make(4) else { panic!("a card") };
        let command = Command::CreateCard { user, funding, pan, fingerprint, expires };
        assert!(matches!(world.run(&command), Err(Refusal::Invalid(_))), "{expires:?}");
    }
}

#[test]
fn a_cards_funding_links_the_users_own_account() {
    let mut world = World::new();
    let (partner, other) = (world.partner(), world.partner());
    let user = world.known_user(partner, "alice");
    let euro = world.pool(partner, Currency::EUR, 0);
    let dollar = world.pool(partner, Currency::USDC, 0);
    let foreign = world.pool(other, Currency::EUR, 0);
    let pool = |pool, account_currency| FundingWish::Pool { pool, account_currency };

    let card = world.card(user, pool(euro, None), &pan(1));
    let linked = world.book.account_of(user, Currency::EUR).expect("opened by the card");
    assert_eq!(world.book.card(card).map(|c| c.funding), Some(Funding::Pool { pool: euro, linked }));
    let card = world.card(user, pool(euro, Some(Currency::EUR)), &pan(2));
    assert_eq!(world.book.card(card).map(|c| c.funding), Some(Funding::Pool { pool: euro, linked }));

    let card = world.card(user, pool(dollar, Some(Currency::JPY)), &pan(3));
    let yen = world.book.account_of(user, Currency::JPY).expect("opened by the card");
    assert_eq!(world.book.card(card).map(|c| c.funding), Some(Funding::Pool { pool: dollar, linked: yen }));

    let card = world.card(user, FundingWish::Account { currency: Currency::CHF }, &pan(4));
    let francs = world.book.account_of(user, Currency::CHF).expect("opened by the card");
    assert_eq!(world.book.card(card).map(|c| c.funding), Some(Funding::Account { account: francs }));

    let card = world.card(user, FundingWish::PartnerChoice { pool: euro, currency: Currency::EUR }, &pan(5));
    let funding = Funding::PartnerChoice { pool: euro, account: linked };
    assert_eq!(world.book.card(card).map(|c| c.funding), Some(funding));

    let refused = [
        (pool(foreign, None), Refusal::NotFound("pool")),
        (pool(99, None), Refusal::NotFound("pool")),
        (FundingWish::PartnerChoice { pool: foreign, currency: Currency::EUR }, Refusal::NotFound("pool")),
        (pool(euro, Some(Currency::USD)), Refusal::CurrencyMismatch),
    ];
    for (wish, refusal) in refused {
        assert_eq!(world.run(&create_card(user, wish, &pan(6))), Err(refusal), "{wish:?}");
    }
    let invalid = [
        pool(dollar, None),
        pool(dollar, Some(Currency::USDC)),
        FundingWish::Account { currency: Currency::BTC },
        FundingWish::PartnerChoice { pool: euro, currency: Currency::USDT },
    ];
    for wish in invalid {
        assert!(matches!(world.run(&create_card(user, wish, &pan(6))), Err(Refusal::Invalid(_))), "{wish:?}");
    }
}

#[test]
fn a_pan_is_sealed_under_the_cards_own_event() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    let command = create_card(user, FundingWish::Account { currency: Currency::EUR }, &pan(42));
    let (events, _) =
        world.book.decide_command(&command, &world.policy, world.now, &Tagged).expect("a card and its account");
    let next = world.book.last_seq() + 1;
    let [Event::AccountOpened(_), Event::CardCreated(card)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(card.pan[..8], (next + 1).to_be_bytes(), "the second event's sequence");
    assert_eq!(card.pan[8..10], field::PAN.to_be_bytes());
    let digits = pan(42);
    assert_eq!(card.last4, String::from_utf8_lossy(&digits[12..]).parse::<u16>().expect("digits"));
    let mut bytes = Vec::new();
    events.iter().for_each(|e| e.encode(&mut bytes));
    assert!(!bytes.windows(digits.len()).any(|w| w == digits), "never in clear");
}

#[test]
fn a_closed_card_stays_closed() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    let card = world.card(user, FundingWish::Account { currency: Currency::EUR }, &pan(1));
    let change = |status| Command::ChangeCard { card, status };
    world.run(&suspend_partner(partner, Status::Suspended)).expect("freezing must still work then");
    for status in CardStatus::ALL.iter().copied().chain([CardStatus::Active, CardStatus::Lost, CardStatus::Closed]) {
        if world.book.card(card).map(|c| c.status) == Some(CardStatus::Closed) && status != CardStatus::Closed {
            assert!(matches!(world.run(&change(status)), Err(Refusal::InvalidState(_))));
        } else {
            assert_eq!(world.run(&change(status)), Ok(Done::Card(card)));
            assert_eq!(world.book.card(card).map(|c| c.status), Some(status));
        }
    }
    let nobody = Command::ChangeCard { card: 9, status: CardStatus::Frozen };
    assert_eq!(world.run(&nobody), Err(Refusal::NotFound("card")));
}

#[test]
fn links_keep_their_number_and_their_sign_on() {
    let mut world = World::new();
    let defined = |link, name, spec| {
        Event::LinkDefined(LinkDefined { link, name: Cow::Borrowed(name), spec: Cow::Borrowed(spec) })
    };
    world.apply(defined(0, "mastercard", "mastercard"));
    world.apply(defined(1, "test", "iso1987-ascii"));
    world.apply(Event::LinkSigned(LinkSigned { link: 0, on: true }));
    world.apply(defined(0, "mastercard", "specs/own.toml"));
    let link = &world.book.links()[0];
    assert_eq!((link.spec.as_str(), link.signed_on), ("specs/own.toml", true));
    for wrong in [
        defined(0, "other", "mastercard"),
        defined(3, "third", "mastercard"),
        defined(2, "test", "mastercard"),
        Event::LinkSigned(LinkSigned { link: 2, on: true }),
    ] {
        let mut book = world.replayed();
        assert!(book.apply(book.last_seq() + 1, world.now, &wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn ids_carry_the_epoch_they_were_given_in() {
    let mut world = World::new();
    let before = world.partner();
    world.apply(Event::Started(Started { epoch: 2, version: Cow::Borrowed("test"), dedup_window_us: 1 }));
    let after = world.partner();
    let (before, after) = (world.book.partners()[before as usize].id, world.book.partners()[after as usize].id);
    assert_eq!((before.epoch, after.epoch), (1, 2));
    assert_eq!(after.no, before.no + 1, "numbers go on over all starts");
    for epoch in [2, 1, 0, 0x100_0000] {
        let mut book = world.replayed();
        let again = Event::Started(Started { epoch, version: Cow::Borrowed("test"), dedup_window_us: 1 });
        assert!(book.apply(book.last_seq() + 1, world.now, &again).is_err(), "epoch {epoch}");
    }
}

#[test]
fn rest_answers_are_remembered_for_a_day() {
    let mut world = World::new();
    let day = 24 * 3_600 * SECOND;
    let answer = |n: u8| {
        Event::Idempotent(Idempotent { key: [n; 16], body: [1; 16], status: 201, answer: Cow::Borrowed(b"sealed") })
    };
    (1..=20).for_each(|n| world.apply(answer(n)));
    assert!(world.book.idempotency(&[1; 16], world.now).is_some());
    let mut book = world.replayed();
    assert!(book.apply(book.last_seq() + 1, world.now, &answer(1)).is_err(), "still remembered");

    world.wait(day - 1);
    assert!(world.book.idempotency(&[20; 16], world.now).is_some());
    world.wait(1);
    assert!(world.book.idempotency(&[20; 16], world.now).is_none(), "over to the microsecond");
    // The table is purged a few at a time, so this key may still lie in it: it must be free all the same.
    world.apply(answer(20));
    assert!(world.book.idempotency(&[20; 16], world.now).is_some());
    (100..110).for_each(|n| world.apply(answer(n)));
    assert!(world.book.idempotency(&[20; 16], world.now).is_some(), "the purge drops what is over and nothing else");
    assert_eq!(world.replayed().state_hash(), world.book.state_hash());
}

#[test]
fn numbers_and_sequences_without_gaps_are_demanded() {
    let mut world = World::new();
    let command = Command::CreatePartner { terms: named("Neo"), secret: secret(1) };
    let (events, _) = world.book.decide_command(&command, &world.policy, world.now, &Tagged).expect("a partner");
    let Some(Event::PartnerCreated(event)) = events.into_iter().next() else { panic!("a partner") };
    let mut book = world.replayed();
    assert!(book.apply(book.last_seq() + 2, world.now, &Event::PartnerCreated(event.clone())).is_err());
    let mut skipped = event;
    skipped.no += 1;
    let mut book = world.replayed();
    assert!(book.apply(book.last_seq() + 1, world.now, &Event::PartnerCreated(skipped)).is_err());
    world.partner();
    assert_eq!(world.book.next_id().no, 1);
}
