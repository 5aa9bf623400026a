//! The read model from outside: events in, lists, authorizations and statements out. What it shows of a thing is what
//! the book shows of it.

mod view_common;

use auth_engine::view::docs::{
    AccountDoc, CardDoc, KeyDoc, OffRampDoc, PartnerDoc, PoolDoc, QuoteDoc, RateDoc, TransferDoc, UserDoc,
};
use auth_engine::view::fold::fold_authorization;
use auth_engine::view::{AuthorizationFilter, Outcome, PageRequest, StatementOf, View, ViewError};
use ledger_core::book::{Command, Done, PartnerVerdict, TapType};
use ledger_core::event::words::{CardStatus, Class, Kind, Status};
use ledger_core::id::Id;
use ledger_core::money::{Currency, Money};
use ledger_core::time::Timestamp;
use serde_json::Value;
use view_common::{Plain, SECOND, START, World, all_pages, caught_up, eur, wait};

fn page() -> PageRequest {
    PageRequest::default()
}

fn json<T: serde::Serialize>(doc: &T) -> Value {
    serde_json::to_value(doc).expect("docs are JSON")
}

/// What the view tells of an authorization, after checking that the fold over its own events tells the same.
fn shown(world: &World, view: &View, no: u64) -> Value {
    let doc = view.authorization(None, world.id(no)).expect("it reads").expect("it is there");
    let records = world.records.lock().expect("unpoisoned").clone();
    let (folded, events) = fold_authorization(&world.book, &Plain, no, records).expect("it folds");
    assert_eq!(doc, folded);
    let mut listed =
        all_pages(2, |p| Ok(view.authorization_events(None, world.id(no), p)?.expect("its events are there")));
    listed.reverse();
    assert_eq!(listed, events);
    json(&doc)
}

#[test]
fn lists_show_what_the_book_shows() {
    let mut world = World::new();
    let cast = world.cast();
    world.run(Command::CreateKey { partner: Some(cast.partner), name: "ci".to_owned(), hash: [1; 32] });
    let operator = world.run(Command::CreateKey { partner: None, name: "ops".to_owned(), hash: [2; 32] });
    let Done::Key(operator) = operator else { panic!("{operator:?}") };
    world.run(Command::RevokeKey { key: operator });
    world.run(Command::ChangePool { pool: cast.pool, status: Some(Status::Suspended), minimum: Some(99_999_999) });
    world.run(Command::ChangeCard { card: cast.pool_card, status: CardStatus::Frozen });
    let time_zone = Some(Some("Europe/Berlin".to_owned()));
    world.run(Command::ChangeUser { user: cast.user, status: None, country: Some("AT".to_owned()), time_zone });
    let change = ledger_core::book::PartnerChange {
        timeout_code: Some(Some(*b"05")),
        services: Some(0b1_1101),
        ..Default::default()
    };
    world.run(Command::ChangePartner { partner: cast.partner, change });
    let amount = eur(1_200);
    let (beneficiary, reference) = ("Bob".to_owned(), "rent".to_owned());
    let payout = world.run(Command::CreatePayout { account: cast.account, amount, beneficiary, reference });
    let Done::Transfer(payout) = payout else { panic!("{payout:?}") };
    world.run(Command::FailPayout { payout });
    let deposit = Money::new(25_000_000, Currency::USDC);
    world.run(Command::ReceiveCrypto { user: cast.user, amount: deposit, reference: "chain".to_owned() });
    world.set_rate(Currency::USDC, Currency::EUR, "0.91");
    world.set_rate(Currency::USDC, Currency::EUR, "0.92");
    let quote = world.run(Command::MakeQuote { user: cast.user, from: deposit, to: Currency::EUR });
    let Done::Quote(quote) = quote else { panic!("{quote:?}") };
    let off_ramp = world.run(Command::ExecuteQuote { quote, reference: None });
    let Done::OffRamp(off_ramp) = off_ramp else { panic!("{off_ramp:?}") };

    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let book = &world.book;
    let newest_first = |n: u32| (0..n).rev();
    let some = |found: Vec<Option<Value>>| found.into_iter().map(|v| v.expect("in the book")).collect::<Vec<_>>();
    macro_rules! same {
        ($list:expr, $doc:ident, $count:expr) => {{
            let listed: Vec<Value> = $list.expect("a page").data.iter().map(json).collect();
            let count = u32::try_from($count).expect("few");
            let expected = some(newest_first(count).map(|i| $doc::from_book(book, i).map(|d| json(&d))).collect());
            assert_eq!(listed, expected);
        }};
    }
    same!(view.partners(&page()), PartnerDoc, book.partners().len());
    same!(view.users(None, &page()), UserDoc, book.users().len() as usize);
    same!(view.accounts(None, None, &page()), AccountDoc, book.accounts().len() as usize);
    same!(view.pools(None, &page()), PoolDoc, book.pools().len());
    same!(view.cards(None, None, &page()), CardDoc, book.cards().len() as usize);
    let keys: Vec<_> = book.keys().map(|k| KeyDoc::from_book(book, k.id.no).expect("there")).collect();
    assert_eq!(view.keys(None, &page()).expect("a page").data, keys.into_iter().rev().collect::<Vec<_>>());
    let payouts = view.payouts(None, None, &page()).expect("a page").data;
    assert_eq!(payouts, [TransferDoc::from_book(book, payout).expect("there")]);
    assert_eq!(payouts[0].status, "failed");
    let account = book.account(cast.account).expect("there").id;
    assert_eq!(view.payouts(None, Some(account), &page()).expect("a page").data.len(), 1);
    assert_eq!(view.quote(None, world.id(quote)), Ok(QuoteDoc::from_book(book, quote)));
    let off_ramps = view.off_ramps(None, None, &page()).expect("a page").data;
    assert_eq!(off_ramps, [OffRampDoc::from_book(book, off_ramp).expect("there")]);
    let rates = view.rates(&page()).expect("a page").data;
    assert_eq!(rates, [RateDoc::from_book(book, Currency::USDC, Currency::EUR).expect("there")]);
    assert!(view.pools(None, &page()).expect("a page").data[0].below_minimum);
}

#[test]
fn a_partner_sees_its_own_alone() {
    let mut world = World::new();
    let ours = world.cast();
    let other = world.partner("Other");
    let stranger = world.user(other, "bob");
    world.pool(other, Currency::USD, 0);
    let no = world.tap(ours.account_card, 500);
    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let ids = |index: u32| world.book.partner(index).expect("there").id;
    let (us, them) = (Some(ids(ours.partner)), Some(ids(other)));
    assert_eq!(view.users(us, &page()).expect("a page").data[0].external_id, "alice");
    assert_eq!(view.users(them, &page()).expect("a page").data[0].external_id, "bob");
    assert_eq!(view.users(None, &page()).expect("a page").data.len(), 2);
    let alice = world.book.user(ours.user).expect("there").id;
    assert_eq!(view.cards(us, Some(alice), &page()).expect("a page").data.len(), 3);
    assert_eq!(view.cards(them, Some(alice), &page()).expect("a page").data.len(), 0);
    let bob = world.book.user(stranger).expect("there").id;
    assert_eq!(view.cards(us, Some(bob), &page()).expect("a page").data.len(), 0);
    // The number of another epoch is another id.
    let forged = Id { epoch: alice.epoch + 1, ..alice };
    assert_eq!(view.cards(None, Some(forged), &page()).expect("a page").data.len(), 0);
    assert_eq!(view.authorization(them, world.id(no)), Ok(None));
    assert!(view.authorization_events(them, world.id(no), &page()).expect("it reads").is_none());
    assert!(view.authorization(us, world.id(no)).expect("it reads").is_some());
    let account = StatementOf::Account(world.book.account(ours.account).expect("there").id);
    assert_eq!(view.statement(them, account, None, None, &page()), Ok(None));
    let filter =
        AuthorizationFilter { card: Some(world.book.card(ours.account_card).expect("there").id), ..Default::default() };
    assert_eq!(view.authorizations(them, &filter, &page()).expect("a page").data.len(), 0);
    assert_eq!(view.authorizations(us, &filter, &page()).expect("a page").data.len(), 1);
}

#[test]
fn an_authorization_tells_its_story() {
    let mut world = World::new();
    let cast = world.cast();
    let asked = world.tap(cast.pool_card, 2_500);
    let approved = world.tap(cast.pool_card, 1_000);
    let body = br#"{"decision":"approve","metadata":{"order":7}}"#;
    world.answer(approved, PartnerVerdict::Approve { amount: None, source: None }, body);
    let partial = world.tap(cast.pool_card, 1_000);
    world.answer(partial, PartnerVerdict::Approve { amount: Some("4.00"), source: None }, b"{}");
    let declined = world.tap(cast.pool_card, 1_000);
    world.answer(declined, PartnerVerdict::Decline, b"{}");
    let chosen = world.tap(cast.choice_card, 700);
    world.answer(chosen, PartnerVerdict::Approve { amount: None, source: Some("account") }, b"{}");
    let choosing = world.tap(cast.choice_card, 700);
    let financial = world.tap_as(cast.account_card, Class::Financial, TapType::Hold(Kind::Purchase), 300);
    let poor = world.tap(cast.account_card, 9_999_999);
    let unknown = world.tap(999, 100);
    let halved = world.tap(cast.account_card, 1_000);
    world.reverse(halved, Some(400));
    let reversed = world.tap(cast.account_card, 1_000);
    world.reverse(reversed, None);
    let early = world.tap(cast.pool_card, 1_000);
    world.reverse(early, None);
    let expired = world.tap(cast.account_card, 1_000);
    world.expire(expired);
    let late = world.tap(cast.account_card, 1_000);
    world.reply_late(late);

    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let check = |no: u64, expected: Value| {
        let found = shown(&world, &view, no);
        for (member, value) in expected.as_object().expect("an object") {
            assert_eq!(&found[member], value, "{member} of {found:#}");
        }
    };
    let money = |value: &str| serde_json::json!({"value": value, "currency": "EUR"});
    let pool = world.book.pool(cast.pool).expect("there").id.text(ledger_core::id::Thing::Pool);
    let account = world.book.account(cast.account).expect("there").id.text(ledger_core::id::Thing::Account);
    check(
        asked,
        serde_json::json!({
            "kind": "purchase", "status": "pending", "outcome": null, "reason": null, "response_code": null,
            "decided_at": null, "held": money("25.00"), "partner_decision": null, "funding": {"type": "pool", "id": pool},
        }),
    );
    check(
        approved,
        serde_json::json!({
            "status": "approved", "outcome": "approved", "reason": "approved", "response_code": "00",
            "approval_code": "123456", "amount": money("10.00"), "held": money("10.00"), "cleared": money("0.00"),
            "partner_decision":
                {"outcome": "approve", "reason": null, "latency_us": 1500, "late_by_us": null, "metadata": {"order": 7}},
        }),
    );
    assert_eq!(shown(&world, &view, approved)["merchant"]["name"], "Bakery");
    assert_eq!(shown(&world, &view, approved)["network"]["name"], "mastercard");
    check(partial, serde_json::json!({"outcome": "partial", "response_code": "10", "held": money("4.00")}));
    check(
        declined,
        serde_json::json!({
            "status": "declined", "outcome": "declined", "reason": "partner_declined", "held": money("0.00"),
        }),
    );
    check(chosen, serde_json::json!({"status": "approved", "funding": {"type": "account", "id": account}}));
    check(choosing, serde_json::json!({"status": "pending", "funding": {"type": "partner_choice", "id": null}}));
    check(financial, serde_json::json!({"status": "cleared", "cleared": money("3.00"), "held": money("0.00")}));
    check(
        poor,
        serde_json::json!({
            "status": "declined", "reason": "insufficient_funds", "expires_at": null, "held": money("0.00"),
        }),
    );
    check(
        unknown,
        serde_json::json!({
            "status": "declined", "reason": "unknown_card", "card_id": null, "user_id": null, "funding": null,
        }),
    );
    check(halved, serde_json::json!({"status": "partially_reversed", "held": money("4.00"), "outcome": "approved"}));
    check(reversed, serde_json::json!({"status": "reversed", "held": money("0.00"), "outcome": "approved"}));
    check(
        early,
        serde_json::json!({
            "status": "reversed", "outcome": "declined", "reason": "already_reversed", "response_code": "05",
        }),
    );
    check(expired, serde_json::json!({"status": "expired", "held": money("0.00")}));
    check(
        late,
        serde_json::json!({
            "status": "reversed", "outcome": null, "reason": "answered_late", "response_code": null, "held": money("0.00"),
        }),
    );
    let events = view.authorization_events(None, world.id(approved), &page()).expect("it reads").expect("there").data;
    let kinds: Vec<&str> = events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["tap_decided", "tap_taken"]);
    let taken = json(&events[1]);
    assert_eq!(taken["postings"][0]["account"], "pool.available");
    assert_eq!(taken["postings"][0]["debit"], "10.00");
    assert_eq!(taken["postings"][0]["id"], Value::String(pool));
    // Whatever the view tells, it never tells a card number.
    let whole =
        serde_json::to_string(&view.authorizations(None, &AuthorizationFilter::default(), &page()).expect("all"))
            .expect("JSON");
    assert!(!whole.contains("5351101200004240"));
}

#[test]
fn filters_choose() {
    let mut world = World::new();
    let cast = world.cast();
    let mut by_time = Vec::new();
    for amount in 1..=6 {
        by_time.push((world.now, world.tap(cast.account_card, amount * 100)));
        let asked = world.tap(cast.pool_card, amount * 100);
        world.answer(asked, PartnerVerdict::Decline, b"{}");
    }
    let changed_at = world.now;
    world.reverse(by_time[0].1, None);
    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let partner = Some(world.book.partner(cast.partner).expect("there").id);
    let count = |filter: AuthorizationFilter| {
        [None, partner].map(|scope| all_pages(2, |p| view.authorizations(scope, &filter, p)).len())
    };
    let card = Some(world.book.card(cast.account_card).expect("there").id);
    let pool = Some(world.book.pool(cast.pool).expect("there").id);
    let user = Some(world.book.user(cast.user).expect("there").id);
    assert_eq!(count(AuthorizationFilter::default()), [12, 12]);
    assert_eq!(count(AuthorizationFilter { card, ..Default::default() }), [6, 6]);
    assert_eq!(count(AuthorizationFilter { pool, ..Default::default() }), [6, 6]);
    assert_eq!(count(AuthorizationFilter { user, ..Default::default() }), [12, 12]);
    assert_eq!(count(AuthorizationFilter { card, pool, ..Default::default() }), [0, 0]);
    let outcome = Some(Outcome::Declined);
    assert_eq!(count(AuthorizationFilter { outcome, ..Default::default() }), [6, 6]);
    let (from, to) = (Some(by_time[2].0), Some(by_time[4].0));
    assert_eq!(count(AuthorizationFilter { card, from, to, ..Default::default() }), [2, 2]);
    let updated_since = Some(changed_at);
    assert_eq!(count(AuthorizationFilter { updated_since, ..Default::default() }), [1, 1]);
    let updated_since = Some(changed_at.plus_us(SECOND));
    assert_eq!(count(AuthorizationFilter { updated_since, ..Default::default() }), [0, 0]);
    let listed = view.authorizations(None, &AuthorizationFilter { card, ..Default::default() }, &page());
    let ids: Vec<String> = listed.expect("a page").data.into_iter().map(|d| d.id).collect();
    let newest: Vec<String> =
        by_time.iter().rev().map(|(_, no)| world.id(*no).text(ledger_core::id::Thing::Authorization)).collect();
    assert_eq!(ids, newest);
}

#[test]
fn a_statement_adds_up_and_tells_pool_taps_as_memos() {
    let mut world = World::new();
    let cast = world.cast();
    let cleared = world.tap_as(cast.pool_card, Class::Financial, TapType::Hold(Kind::Purchase), 700);
    world.approve(cleared);
    let held = world.tap(cast.pool_card, 1_100);
    world.approve(held);
    let own = world.tap_as(cast.account_card, Class::Financial, TapType::Hold(Kind::Purchase), 250);
    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let account = StatementOf::Account(world.book.account(cast.account).expect("there").id);
    let told = view.statement(None, account, None, None, &page()).expect("it reads").expect("there");
    let lines: Vec<(&str, &str, bool)> =
        told.lines.iter().map(|l| (l.kind.as_str(), l.amount.value.as_str(), l.memo)).collect();
    assert_eq!(
        lines,
        [
            ("paid_in", "500.00", false),
            ("tap_decided", "7.00", true),
            ("tap_decided", "-7.00", true),
            ("tap_decided", "11.00", true),
            ("tap_decided", "-11.00", true),
            ("tap_taken", "-2.50", false),
        ]
    );
    assert_eq!((told.opening.value.as_str(), told.closing.value.as_str()), ("0.00", "497.50"));
    assert_eq!(told.lines[5].authorization_id, Some(world.id(own).text(ledger_core::id::Thing::Authorization)));
    assert_eq!(told.lines[0].reference.as_deref(), Some("salary"));
    let after =
        view.statement(None, account, Some(Timestamp(i64::MAX - 1)), None, &page()).expect("it reads").expect("there");
    assert_eq!((after.opening.value.as_str(), after.closing.value.as_str()), ("497.50", "497.50"));
    let before = view.statement(None, account, None, Some(START), &page()).expect("it reads").expect("there");
    assert_eq!((before.opening.value.as_str(), before.closing.value.as_str()), ("0.00", "0.00"));
    let pool = StatementOf::Pool(world.book.pool(cast.pool).expect("there").id);
    let told = view.statement(None, pool, None, None, &page()).expect("it reads").expect("there");
    assert_eq!(told.closing.value, "993.00");
}

#[test]
fn pages_refuse_what_they_did_not_give() {
    assert_eq!(PageRequest::new(Some(0), None), Err(ViewError::BadLimit(0)));
    assert_eq!(PageRequest::new(Some(201), None), Err(ViewError::BadLimit(201)));
    assert_eq!(PageRequest::new(None, None).map(|p| p.limit()), Ok(50));
    let mut world = World::new();
    world.cast();
    world.partner("Another");
    let dir = tempfile::tempdir().expect("a directory");
    let (view, _feeder, _) = caught_up(dir.path(), &world);
    let first = view.partners(&PageRequest::new(Some(1), None).expect("a limit")).expect("a page");
    let cursor = first.next_cursor.expect("there is more");
    for bad in ["", "?", "AAAA", &cursor[1..], &format!("{cursor}AA")] {
        let request = PageRequest::new(Some(1), Some(bad.to_owned())).expect("a limit");
        assert_eq!(view.partners(&request), Err(ViewError::BadCursor), "{bad}");
    }
    // A cursor of one list is none of another.
    let request = PageRequest::new(Some(1), Some(cursor)).expect("a limit");
    assert_eq!(view.users(None, &request), Err(ViewError::BadCursor));
}

#[test]
fn it_goes_on_where_it_stopped_and_sees_what_comes() {
    let mut world = World::new();
    let cast = world.cast();
    let dir = tempfile::tempdir().expect("a directory");
    let (view, feeder, report) = caught_up(dir.path(), &world);
    assert_eq!((report.position, report.wiped), (0, None));
    let stopped_at = view.position();
    feeder.stop();
    drop(view);
    let no = world.tap(cast.account_card, 100);
    let (view, feeder, report) = caught_up(dir.path(), &world);
    assert_eq!((report.position, report.wiped), (stopped_at, None));
    assert!(view.authorization(None, world.id(no)).expect("it reads").is_some());
    let later = world.tap(cast.account_card, 100);
    assert_eq!(view.lag(world.last_seq()), 1);
    feeder.notify(world.last_seq());
    wait(&view, world.last_seq());
    assert!(view.authorization(None, world.id(later)).expect("it reads").is_some());
}
