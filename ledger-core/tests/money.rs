//! Money in, out and across currencies, by commands: each transfer's life, every refusal, arithmetic to the minor
//! unit, and what stands near the limit of the type.

mod admin_common;

use admin_common::*;
use ledger_core::book::{Book, Command, Done, FundingWish, Refusal};
use ledger_core::event::Event;
use ledger_core::event::posting::Ledger;
use ledger_core::event::words::{Kyc, Service, Settlement, Status};
use ledger_core::money::{Currency, Money, Rate};

const ALL_SERVICES: u8 = 0b1_1111;

fn without(service: Service) -> u8 {
    ALL_SERVICES & !(1 << service.number())
}

fn available(book: &Book, account: u32) -> i64 {
    book.account(account).expect("the account").balance.available
}

fn general(book: &Book, ledger: Ledger, currency: Currency) -> i64 {
    book.ledger_balance(ledger, currency)
}

/// A user whose KYC is approved, with a funded account in EUR.
fn client(world: &mut World, minor: i64) -> (u32, u32, u32) {
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    let account = world.account(user, Currency::EUR);
    if minor > 0 {
        world.transfer(&pay_in(account, eur(minor)));
    }
    (partner, user, account)
}

#[test]
fn a_pool_holds_seven_currencies_and_no_negative_minimum() {
    let mut world = World::new();
    let partner = world.partner();
    for currency in Currency::POOLS {
        let pool = world.pool(partner, currency, 5);
        let made = world.book.pool(pool).expect("the pool");
        assert_eq!((made.minimum, made.status, made.below_minimum()), (5, Status::Active, true));
    }
    let make = |partner, currency, minimum| Command::CreatePool { partner, currency, minimum };
    assert!(matches!(world.run(&make(partner, Currency::BTC, 0)), Err(Refusal::Invalid(_))));
    assert!(matches!(world.run(&make(partner, Currency::EUR, -1)), Err(Refusal::Invalid(_))));
    assert_eq!(world.run(&make(9, Currency::EUR, 0)), Err(Refusal::NotFound("partner")));
    let change = |pool, minimum| Command::ChangePool { pool, status: Some(Status::Suspended), minimum };
    assert_eq!(world.run(&change(0, Some(7))), Ok(Done::Pool(0)));
    assert_eq!(world.book.pool(0).map(|p| (p.minimum, p.status)), Some((7, Status::Suspended)));
    assert!(matches!(world.run(&change(0, Some(-1))), Err(Refusal::Invalid(_))));
    assert_eq!(world.run(&change(99, None)), Err(Refusal::NotFound("pool")));
}

#[test]
fn a_top_up_settles_or_fails_once() {
    let mut world = World::new();
    let partner = world.partner();
    let pool = world.pool(partner, Currency::EUR, 0);
    let first = world.transfer(&top_up(pool, eur(10_000)));
    assert_eq!(world.book.transfer(first).map(|t| t.status), Some(Settlement::Pending));
    assert_eq!(world.book.pool(pool).map(|p| p.balance.available), Some(0), "announced money is no money");
    world.run(&Command::SettleTopUp { top_up: first }).expect("it settles");
    assert_eq!(world.book.pool(pool).map(|p| p.balance.available), Some(10_000));
    assert_eq!(general(&world.book, Ledger::Bank, Currency::EUR), 10_000);

    let second = world.transfer(&top_up(pool, eur(1)));
    world.run(&Command::FailTopUp { top_up: second }).expect("it fails");
    assert_eq!(world.book.transfer(second).map(|t| t.status), Some(Settlement::Failed));
    for ended in [first, second] {
        for command in [Command::SettleTopUp { top_up: ended }, Command::FailTopUp { top_up: ended }] {
            assert!(matches!(world.run(&command), Err(Refusal::InvalidState(_))));
        }
    }
    assert_eq!(world.run(&Command::SettleTopUp { top_up: 999 }), Err(Refusal::NotFound("top-up")));
    assert_eq!(world.run(&top_up(9, eur(1))), Err(Refusal::NotFound("pool")));
    assert_eq!(world.run(&top_up(pool, Money::new(1, Currency::USD))), Err(Refusal::CurrencyMismatch));
    for minor in [0, -1, i64::MIN] {
        assert!(matches!(world.run(&top_up(pool, eur(minor))), Err(Refusal::Invalid(_))));
    }
    let long = Command::CreateTopUp { pool, amount: eur(1), reference: "x".repeat(257) };
    assert!(matches!(world.run(&long), Err(Refusal::Invalid(_))));
}

#[test]
fn a_usdc_prefund_lies_on_chain() {
    let mut world = World::new();
    let partner = world.partner();
    let pool = world.pool(partner, Currency::USDC, 0);
    world.fill(pool, 5_000_000);
    assert_eq!(general(&world.book, Ledger::Chain, Currency::USDC), 5_000_000);
    world.run(&withdraw(pool, usdc(2_000_000))).expect("it leaves");
    assert_eq!(general(&world.book, Ledger::Chain, Currency::USDC), 3_000_000);
    assert_eq!(general(&world.book, Ledger::Bank, Currency::USDC), 0);
}

/// An advice forces more than the pool has: the partner owes it, and the next prefund pays it first.
#[test]
fn a_top_up_pays_what_the_partner_owes_first() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    let pool = world.pool(partner, Currency::EUR, 0);
    world.card(user, FundingWish::Pool { pool, account_currency: None }, &pan(1));
    world.fill(pool, 300);
    world.force(&pan(1), eur(1_000));
    let owed = |world: &World| general(&world.book, Ledger::Receivable(partner), Currency::EUR);
    let pool_has = |world: &World| world.book.pool(pool).map(|p| (p.balance.available, p.balance.held));
    assert_eq!((owed(&world), pool_has(&world)), (700, Some((0, 1_000))));
    world.fill(pool, 200);
    assert_eq!((owed(&world), pool_has(&world)), (500, Some((0, 1_000))));
    world.fill(pool, 600);
    assert_eq!((owed(&world), pool_has(&world)), (0, Some((100, 1_000))));
    world.fill(pool, 50);
    assert_eq!((owed(&world), pool_has(&world)), (0, Some((150, 1_000))));
    assert_eq!(general(&world.book, Ledger::Bank, Currency::EUR), 1_150);
}

#[test]
fn h16_a_withdrawal_never_goes_below_held_plus_minimum() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    let pool = world.pool(partner, Currency::EUR, 1_000);
    world.card(user, FundingWish::Pool { pool, account_currency: None }, &pan(1));
    world.fill(pool, 10_000);
    world.hold(&pan(1), eur(4_000));
    assert_eq!(world.run(&withdraw(pool, eur(6_001))), Err(Refusal::InsufficientFunds));
    assert_eq!(world.run(&withdraw(pool, eur(5_001))), Err(Refusal::BelowMinimumBalance));
    let done = world.transfer(&withdraw(pool, eur(5_000)));
    assert_eq!(world.book.transfer(done).map(|t| t.status), Some(Settlement::Settled));
    let balance = world.book.pool(pool).expect("the pool").balance;
    assert_eq!((balance.available, balance.held, balance.posted()), (1_000, 4_000, 5_000));
    assert_eq!(world.run(&withdraw(pool, eur(1))), Err(Refusal::BelowMinimumBalance));
    assert_eq!(world.run(&withdraw(pool, usdc(1))), Err(Refusal::CurrencyMismatch));
    assert_eq!(world.run(&withdraw(9, eur(1))), Err(Refusal::NotFound("pool")));
    assert!(matches!(world.run(&withdraw(pool, eur(0))), Err(Refusal::Invalid(_))));
    world.run(&Command::ChangePool { pool, status: Some(Status::Suspended), minimum: Some(0) }).expect("it changes");
    world.run(&suspend_partner(partner, Status::Suspended)).expect("suspended");
    assert_eq!(world.run(&withdraw(pool, eur(1))), Err(Refusal::PartnerSuspended));
    world.run(&suspend_partner(partner, Status::Active)).expect("active");
    world.run(&withdraw(pool, eur(1_000))).expect("a suspended pool can be emptied");
}

#[test]
fn a_pay_in_is_booked_whatever_the_clients_state() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.user(partner, "alice");
    let account = world.account(user, Currency::EUR);
    world.run(&suspend_user(user, Status::Suspended)).expect("suspended");
    world.run(&suspend_partner(partner, Status::Suspended)).expect("suspended");
    world.transfer(&pay_in(account, eur(500)));
    assert_eq!(available(&world.book, account), 500);
    assert_eq!(general(&world.book, Ledger::Bank, Currency::EUR), 500);
    assert_eq!(world.run(&pay_in(account, usdc(1))), Err(Refusal::CurrencyMismatch));
    assert_eq!(world.run(&pay_in(9, eur(1))), Err(Refusal::NotFound("account")));
    assert!(matches!(world.run(&pay_in(account, eur(-5))), Err(Refusal::Invalid(_))));
    world.run(&services(partner, without(Service::PayIn))).expect("the menu shrinks");
    assert_eq!(world.run(&pay_in(account, eur(1))), Err(Refusal::ServiceNotEnabled));
}

#[test]
fn a_payout_is_in_transit_until_it_settles_or_comes_back() {
    let mut world = World::new();
    let (_, _, account) = client(&mut world, 1_000);
    let first = world.transfer(&payout(account, eur(400)));
    let second = world.transfer(&payout(account, eur(600)));
    assert_eq!(available(&world.book, account), 0);
    assert_eq!(general(&world.book, Ledger::PayoutTransit, Currency::EUR), 1_000);
    assert_eq!(world.run(&payout(account, eur(1))), Err(Refusal::InsufficientFunds));
    world.run(&Command::SettlePayout { payout: first }).expect("it arrives");
    world.run(&Command::FailPayout { payout: second }).expect("it comes back");
    assert_eq!(available(&world.book, account), 600);
    assert_eq!(general(&world.book, Ledger::PayoutTransit, Currency::EUR), 0);
    assert_eq!(general(&world.book, Ledger::Bank, Currency::EUR), 600);
    for payout in [first, second] {
        for command in [Command::SettlePayout { payout }, Command::FailPayout { payout }] {
            assert!(matches!(world.run(&command), Err(Refusal::InvalidState(_))));
        }
    }
    assert_eq!(world.run(&Command::FailPayout { payout: 999 }), Err(Refusal::NotFound("payout")));
    assert_eq!(world.run(&Command::SettleTopUp { top_up: first }), Err(Refusal::NotFound("top-up")));
}

/// What blocks payouts, quotes and off-ramps, each alone.
#[test]
fn money_out_needs_kyc_activity_and_the_service() {
    let mut world = World::new();
    let (partner, user, account) = client(&mut world, 1_000);
    world.transfer(&crypto(user, usdc(9_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let quote = world.quote(user, usdc(1_000_000), Currency::EUR);
    let make_quote = Command::MakeQuote { user, from: usdc(1_000_000), to: Currency::EUR };
    let check = |world: &mut World, off: &[Command], refusal: Refusal, on: &[Command], only: Option<Service>| {
        off.iter().for_each(|c| assert!(world.run(c).is_ok()));
        if only != Some(Service::OffRamp) {
            assert_eq!(world.run(&payout(account, eur(1))), Err(refusal));
        }
        if only != Some(Service::Payout) {
            assert_eq!(world.run(&make_quote), Err(refusal));
            assert_eq!(world.run(&execute(quote)), Err(refusal));
        }
        on.iter().for_each(|c| assert!(world.run(c).is_ok()));
    };
    let all = services(partner, ALL_SERVICES);
    for service in [Service::Payout, Service::OffRamp] {
        let off = services(partner, without(service));
        check(&mut world, &[off], Refusal::ServiceNotEnabled, std::slice::from_ref(&all), Some(service));
    }
    let off = suspend_partner(partner, Status::Suspended);
    check(&mut world, &[off], Refusal::PartnerSuspended, &[suspend_partner(partner, Status::Active)], None);
    let off = suspend_user(user, Status::Suspended);
    check(&mut world, &[off], Refusal::UserSuspended, &[suspend_user(user, Status::Active)], None);
    check(&mut world, &[kyc(user, Kyc::Revoked)], Refusal::KycNotApproved, &[], None);
    world.kyc(user, &[Kyc::Submitted, Kyc::InReview, Kyc::Approved]);
    assert!(world.run(&payout(account, eur(1))).is_ok());
    assert!(world.run(&make_quote).is_ok());
    assert!(world.run(&execute(quote)).is_ok());
}

#[test]
fn a_payouts_texts_and_amounts_are_bounded() {
    let mut world = World::new();
    let (_, _, account) = client(&mut world, 1_000);
    let with = |beneficiary: String, reference: String| Command::CreatePayout {
        account,
        amount: eur(1),
        beneficiary,
        reference,
    };
    assert!(matches!(world.run(&with(String::new(), "r".to_owned())), Err(Refusal::Invalid(_))));
    assert!(matches!(world.run(&with("b".repeat(257), "r".to_owned())), Err(Refusal::Invalid(_))));
    assert!(matches!(world.run(&with("b".to_owned(), "r".repeat(257))), Err(Refusal::Invalid(_))));
    assert!(matches!(world.run(&payout(account, eur(0))), Err(Refusal::Invalid(_))));
    assert_eq!(world.run(&payout(account, usdc(1))), Err(Refusal::CurrencyMismatch));
    assert_eq!(world.run(&payout(9, eur(1))), Err(Refusal::NotFound("account")));
    assert!(world.run(&with("b".repeat(256), "r".repeat(256))).is_ok());
}

#[test]
fn crypto_arrives_on_chain_for_its_user() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.user(partner, "alice");
    for currency in [Currency::USDC, Currency::USDT, Currency::BTC, Currency::ETH] {
        world.transfer(&crypto(user, Money::new(7, currency)));
        assert_eq!(general(&world.book, Ledger::CryptoDeposit(user), currency), 7);
        assert_eq!(general(&world.book, Ledger::Chain, currency), 7);
    }
    assert_eq!(world.run(&crypto(user, eur(1))), Err(Refusal::CurrencyMismatch));
    assert_eq!(world.run(&crypto(9, usdc(1))), Err(Refusal::NotFound("user")));
    assert!(matches!(world.run(&crypto(user, usdc(0))), Err(Refusal::Invalid(_))));
    world.run(&services(partner, without(Service::OffRamp))).expect("the menu shrinks");
    assert_eq!(world.run(&crypto(user, usdc(1))), Err(Refusal::ServiceNotEnabled));
}

/// `to` = floor(from × rate × (1 − markup)) in the target's own decimals.
#[test]
fn a_quote_credits_down_to_the_minor_unit() {
    let mut world = World::new();
    let (_, user, _) = client(&mut world, 0);
    let cases: [(&str, &str, &str, u16, &str, &str); 8] = [
        ("USDC", "100.000000", "0.92", 0, "EUR", "92.00"),
        ("USDC", "100.000000", "0.92", 50, "EUR", "91.54"),
        ("USDC", "0.123456", "0.92", 0, "EUR", "0.11"),
        ("USDC", "1.999999", "151.2345", 0, "JPY", "302"),
        ("USDT", "10.000000", "0.333333333333", 0, "USD", "3.33"),
        ("BTC", "0.00000001", "65000000", 0, "USD", "0.65"),
        ("ETH", "1.000000001", "2345.67", 100, "CHF", "2322.21"),
        ("JPY", "1000", "0.0061", 0, "EUR", "6.10"),
    ];
    for (from, amount, rate, markup, to, credited) in cases {
        let from = Currency::from_code(from).expect("a currency");
        let to = Currency::from_code(to).expect("a currency");
        world.rate(from, to, rate, markup);
        let sold = Money::new(from.parse(amount).expect("an amount"), from);
        let quote = world.quote(user, sold, to);
        let quote = world.book.quote(quote).expect("the quote");
        assert_eq!(to.format(quote.to_amount), credited, "{amount} {} at {rate}", from.code());
        assert_eq!((quote.fee, quote.expires_at), (0, world.now.plus_us(30 * SECOND)));
    }
}

#[test]
fn a_quote_is_refused_with_its_reason() {
    let mut world = World::new();
    let (_, user, _) = client(&mut world, 0);
    let quote = |from, to| Command::MakeQuote { user, from, to };
    assert_eq!(world.run(&quote(usdc(1_000_000), Currency::EUR)), Err(Refusal::RateMissing));
    world.rate(Currency::EUR, Currency::USDC, "1.1", 0);
    assert_eq!(world.run(&quote(usdc(1_000_000), Currency::EUR)), Err(Refusal::RateMissing), "never the inverse");
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let pound = Currency::from_code("GBP").expect("a currency");
    for (from, to) in [
        (usdc(0), Currency::EUR),
        (usdc(-1), Currency::EUR),
        (eur(100), Currency::EUR),
        (usdc(1), Currency::USDT),
        (Money::new(100, pound), Currency::EUR),
        (usdc(1_000_000), pound),
    ] {
        let refused = world.run(&quote(from, to));
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{from:?} {to:?}: {refused:?}");
    }
    assert!(matches!(world.run(&quote(usdc(11_111), Currency::EUR)), Err(Refusal::Invalid(_))), "nothing to credit");
    assert!(world.run(&quote(usdc(11_112), Currency::EUR)).is_ok(), "one cent");
    world.rate(Currency::USDC, Currency::EUR, "0.9", 10_000);
    assert!(matches!(world.run(&quote(usdc(1_000_000), Currency::EUR)), Err(Refusal::Invalid(_))), "all markup");
    let nobody = Command::MakeQuote { user: 9, from: usdc(1), to: Currency::EUR };
    assert_eq!(world.run(&nobody), Err(Refusal::NotFound("user")));
}

#[test]
fn an_off_ramp_opens_the_account_and_moves_what_was_quoted() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    world.transfer(&crypto(user, usdc(150_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.92", 50);
    let quote = world.quote(user, usdc(100_000_000), Currency::EUR);
    // A later rate does not touch it.
    world.rate(Currency::USDC, Currency::EUR, "0.5", 0);
    let Ok(Done::OffRamp(no)) = world.run(&execute(quote)) else { panic!("an off-ramp") };
    let account = world.book.account_of(user, Currency::EUR).expect("opened by the credit");
    assert_eq!(world.book.off_ramp(no).map(|o| (o.quote, o.account)), Some((quote, account)));
    assert_eq!(world.book.quote(quote).and_then(|q| q.used_by), Some(no));
    assert_eq!(available(&world.book, account), 9_154);
    assert_eq!(general(&world.book, Ledger::CryptoDeposit(user), Currency::USDC), 50_000_000);
    assert_eq!(general(&world.book, Ledger::Fx, Currency::USDC), 100_000_000);
    assert_eq!(general(&world.book, Ledger::Fx, Currency::EUR), -9_154);
    assert_eq!(general(&world.book, Ledger::Chain, Currency::USDC), 150_000_000, "the coins stay where they are");

    world.rate(Currency::USDC, Currency::JPY, "151.2345", 0);
    let quote = world.quote(user, usdc(50_000_000), Currency::JPY);
    world.run(&execute(quote)).expect("the rest");
    let yen = world.book.account_of(user, Currency::JPY).expect("opened by the credit");
    assert_eq!(available(&world.book, yen), 7_561);
    assert_eq!(general(&world.book, Ledger::CryptoDeposit(user), Currency::USDC), 0);
}

#[test]
fn a_fiat_off_ramp_takes_from_the_users_own_account() {
    let mut world = World::new();
    let (_, user, account) = client(&mut world, 10_000);
    world.rate(Currency::EUR, Currency::CHF, "0.95", 0);
    world.rate(Currency::USD, Currency::CHF, "0.9", 0);
    let quote = world.quote(user, eur(10_000), Currency::CHF);
    world.transfer(&payout(account, eur(1)));
    assert_eq!(world.run(&execute(quote)), Err(Refusal::InsufficientFunds), "a quote reserves nothing");
    let quote = world.quote(user, eur(9_999), Currency::CHF);
    world.run(&execute(quote)).expect("it executes");
    let francs = world.book.account_of(user, Currency::CHF).expect("opened by the credit");
    assert_eq!((available(&world.book, account), available(&world.book, francs)), (0, 9_499));
    let quote = world.quote(user, Money::new(1_000, Currency::USD), Currency::CHF);
    assert_eq!(world.run(&execute(quote)), Err(Refusal::InsufficientFunds), "no account in USD");
}

#[test]
fn an_off_ramp_never_takes_another_users_deposit() {
    let mut world = World::new();
    let partner = world.partner();
    let (rich, poor) = (world.known_user(partner, "rich"), world.known_user(partner, "poor"));
    world.transfer(&crypto(rich, usdc(1_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let quote = world.quote(poor, usdc(1_000_000), Currency::EUR);
    assert_eq!(world.run(&execute(quote)), Err(Refusal::InsufficientFunds));
    assert_eq!(world.run(&execute(999)), Err(Refusal::NotFound("quote")));
    let long = Command::ExecuteQuote { quote, reference: Some("x".repeat(257)) };
    assert!(matches!(world.run(&long), Err(Refusal::Invalid(_))));
}

#[test]
fn h15_a_quote_executes_once_and_not_from_its_last_microsecond_on() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    world.transfer(&crypto(user, usdc(100_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let in_time = world.quote(user, usdc(1_000_000), Currency::EUR);
    let late = world.quote(user, usdc(1_000_000), Currency::EUR);
    world.wait(30 * SECOND - 1);
    assert!(world.run(&execute(in_time)).is_ok(), "one microsecond before the end");
    assert_eq!(world.run(&execute(in_time)), Err(Refusal::QuoteUsed), "at the same instant");
    world.wait(1);
    assert_eq!(world.run(&execute(late)), Err(Refusal::QuoteExpired), "to the microsecond");
    assert_eq!(world.run(&execute(in_time)), Err(Refusal::QuoteUsed), "used stays used");
    let account = world.book.account_of(user, Currency::EUR).expect("credited once");
    assert_eq!(available(&world.book, account), 90);
}

/// Two executions decided on the same state: the book takes the first and calls the second broken.
#[test]
fn h15_the_fold_takes_one_of_two_executions_decided_at_once() {
    let mut world = World::new();
    let (_, user, _) = client(&mut world, 1);
    world.transfer(&crypto(user, usdc(100_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let quote = world.quote(user, usdc(1_000_000), Currency::EUR);
    let decide = || world.book.decide_command(&execute(quote), &world.policy, world.now, &Tagged).expect("it may").0;
    let (one, two) = (decide(), decide());
    let mut book = world.replayed();
    for event in &one {
        book.apply(book.last_seq() + 1, world.now, event).expect("the first");
    }
    assert!(book.apply(book.last_seq() + 1, world.now, &two[0]).is_err(), "the second");
}

/// The credit of an off-ramp is the quote's, or the event is corrupt.
#[test]
fn h15_the_fold_refuses_a_credit_that_was_not_quoted() {
    let mut world = World::new();
    let (_, user, account) = client(&mut world, 1);
    world.transfer(&crypto(user, usdc(100_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let quote = world.quote(user, usdc(1_000_000), Currency::EUR);
    let (events, _) =
        world.book.decide_command(&execute(quote), &world.policy, world.now, &Tagged).expect("an off-ramp");
    let [Event::OffRampExecuted(honest)] = &events[..] else { panic!("{events:?}") };
    let mut forged = honest.clone();
    forged.postings.transfer(Ledger::Fx, Ledger::AccountAvailable(account), Currency::EUR, 1);
    let mut book = world.replayed();
    assert!(book.apply(book.last_seq() + 1, world.now, &Event::OffRampExecuted(forged)).is_err());
    let mut unbalanced = honest.clone();
    unbalanced.postings.credit(Ledger::AccountAvailable(account), Currency::EUR, 1);
    let mut book = world.replayed();
    assert!(book.apply(book.last_seq() + 1, world.now, &Event::OffRampExecuted(unbalanced)).is_err());
}

#[test]
fn h15_an_absurd_rate_is_no_rate() {
    let absurd = ["0", "-1", "0.0", "+1", "1e3", "NaN", "", ".", "1.", ".5", " 1", "1,5", "0x1", "1000000000001"];
    for text in absurd.into_iter().chain(["0.0000000000001", "99999999999999999999999999999"]) {
        assert_eq!(Rate::parse(text, 0), None, "{text:?}");
    }
    assert_eq!(Rate::parse("1", 10_001), None);
    assert!(Rate::parse("1000000000000", 0).is_some());
    assert!(Rate::parse("0.000000000001", 0).is_some());

    let mut world = World::new();
    let set = |mantissa, scale, markup_bps, to| Command::SetRate {
        from: Currency::EUR,
        to,
        rate: Rate { mantissa, scale, markup_bps },
    };
    for (mantissa, scale, markup) in
        [(0, 0, 0), (-1, 0, 0), (i64::MIN, 12, 0), (1, 13, 0), (1, 255, 0), (1_000_000_000_001, 0, 0), (1, 0, 10_001)]
    {
        let refused = world.run(&set(mantissa, scale, markup, Currency::USD));
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{mantissa} {scale} {markup}: {refused:?}");
    }
    assert!(matches!(world.run(&set(1, 0, 0, Currency::EUR)), Err(Refusal::Invalid(_))), "to itself");
    let done = world.run(&set(i64::MAX, 12, 10_000, Currency::USD));
    assert_eq!(done, Ok(Done::Rate(Currency::EUR, Currency::USD)));
}

#[test]
fn the_fx_position_stays_within_its_limit_on_both_legs() {
    let mut world = World::new();
    let partner = world.partner();
    let user = world.known_user(partner, "alice");
    let euros = world.account(user, Currency::EUR);
    world.transfer(&crypto(user, usdc(100_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    world.rate(Currency::EUR, Currency::USD, "1", 0);
    let sell = |world: &mut World, minor| {
        let quote = world.quote(user, usdc(minor), Currency::EUR);
        world.run(&execute(quote))
    };
    world.policy.fx_max.insert(Currency::USDC, 10_000_000);
    assert_eq!(sell(&mut world, 10_000_001), Err(Refusal::FxLimit), "what comes in");
    assert!(sell(&mut world, 10_000_000).is_ok());
    assert_eq!(sell(&mut world, 20_000), Err(Refusal::FxLimit), "the sum counts");
    world.policy.fx_max.clear();
    world.policy.fx_max.insert(Currency::EUR, 900);
    assert_eq!(sell(&mut world, 20_000), Err(Refusal::FxLimit), "what goes out");
    // The limit is lowered below the position: what brings it back is welcome.
    world.policy.fx_max.insert(Currency::EUR, 100);
    let quote = world.quote(user, eur(500), Currency::USD);
    assert!(world.run(&execute(quote)).is_ok());
    assert_eq!(general(&world.book, Ledger::Fx, Currency::EUR), -400);
    assert_eq!(available(&world.book, euros), 400);
}

#[test]
fn h17_balances_near_the_limit_refuse_and_never_wrap() {
    const MAX: i64 = i64::MAX;
    let mut world = World::new();
    let (partner, user, account) = client(&mut world, 0);
    world.transfer(&pay_in(account, eur(MAX - 10)));
    assert_eq!(world.run(&pay_in(account, eur(11))), Err(Refusal::Overflow), "the account");
    let second = world.known_user(partner, "bob");
    let other = world.account(second, Currency::EUR);
    assert_eq!(world.run(&pay_in(other, eur(11))), Err(Refusal::Overflow), "the bank");
    world.transfer(&pay_in(other, eur(10)));

    let pool = world.pool(partner, Currency::EUR, 0);
    let top_up = world.transfer(&top_up(pool, eur(MAX)));
    assert_eq!(world.run(&Command::SettleTopUp { top_up }), Err(Refusal::Overflow));
    assert_eq!(world.book.transfer(top_up).map(|t| t.status), Some(Settlement::Pending), "it can still fail");
    world.run(&Command::FailTopUp { top_up }).expect("it fails");

    // Out of the bank and in again: the sums go to the very end and no further.
    let out = world.transfer(&payout(account, eur(MAX - 10)));
    world.run(&Command::SettlePayout { payout: out }).expect("it leaves");
    assert_eq!(available(&world.book, account), 0);
    let back = world.transfer(&payout(other, eur(10)));
    world.transfer(&pay_in(other, eur(MAX - 10)));
    assert_eq!(world.run(&payout(account, eur(1))), Err(Refusal::InsufficientFunds));
    world.run(&Command::FailPayout { payout: back }).expect("exactly the limit");
    assert_eq!(available(&world.book, other), MAX);
    assert_eq!(world.run(&pay_in(other, eur(1))), Err(Refusal::Overflow));

    world.transfer(&crypto(user, usdc(MAX)));
    assert_eq!(world.run(&crypto(user, usdc(1))), Err(Refusal::Overflow));
    world.rate(Currency::USDC, Currency::EUR, "1000000000000", 0);
    let absurd = Command::MakeQuote { user, from: usdc(MAX), to: Currency::EUR };
    assert_eq!(world.run(&absurd), Err(Refusal::Overflow));
    world.rate(Currency::USDC, Currency::EUR, "1", 0);
    let quote = world.quote(second, usdc(MAX), Currency::EUR);
    assert_eq!(world.run(&execute(quote)), Err(Refusal::InsufficientFunds));
    world.rate(Currency::USDC, Currency::JPY, "1", 0);
    let first = world.quote(user, usdc(MAX - 5_000_000), Currency::JPY);
    world.run(&execute(first)).expect("a very large one");
}

/// What is held has to fit beside what is available, or giving it back would overflow.
#[test]
fn h17_a_hold_can_always_be_given_back() {
    const MAX: i64 = i64::MAX;
    let mut world = World::new();
    let (partner, user, account) = client(&mut world, 1_000);
    world.card(user, FundingWish::Account { currency: Currency::EUR }, &pan(1));
    world.hold(&pan(1), eur(1_000));
    let bank = world.known_user(partner, "bank");
    let relief = world.account(bank, Currency::EUR);
    // Keeps the bank's own balance out of the way.
    world.transfer(&pay_in(relief, eur(5_000)));
    let out = world.transfer(&payout(relief, eur(5_000)));
    world.run(&Command::SettlePayout { payout: out }).expect("it leaves");
    world.rate(Currency::USDC, Currency::EUR, "1", 0);
    world.transfer(&crypto(user, usdc(MAX)));
    assert_eq!(world.run(&pay_in(account, eur(MAX - 999))), Err(Refusal::Overflow));
    assert_eq!(world.run(&pay_in(account, eur(MAX))), Err(Refusal::Overflow));
    world.transfer(&pay_in(account, eur(MAX - 1_000)));
    let balance = world.book.account(account).expect("the account").balance;
    assert_eq!((balance.available, balance.held, balance.posted()), (MAX - 1_000, 1_000, MAX));
}
