//! The rules of contracts 2.2 to 2.7 at the book, one example each, and the money table of design section 4 row by
//! row: what was available, what is held, what the network is owed, what the partner owes.

mod admin_common;
mod tap_common;

use admin_common::*;
use ledger_core::book::{Command, PartnerVerdict, ReversalRequest, TapRequest, TapType};
use ledger_core::event::posting::Ledger;
use ledger_core::event::tap::Trace;
use ledger_core::event::words::{CardStatus, Class, DecisionMode, Kyc, Reason, Service, State, Status};
use ledger_core::money::{Currency, Money};
use ledger_core::time::YearMonth;
use tap_common::*;

const HOUR: i64 = 3_600 * SECOND;

// Rules 5 to 14, in their order.

#[test]
fn rule_5_what_was_reversed_before_it_came_is_declined() {
    let mut town = Town::new();
    let (pool_card, account_card) = (town.pool_card.clone(), town.account_card.clone());
    let early = town.world.purchase(&pool_card, eur(100));
    let decision = town.world.reverse(&by_original(&early));
    assert!(decision.target.is_none() && decision.unmatched.is_some());
    assert_eq!(town.world.reason(&early), Reason::AlreadyReversed);
    // By DE38 alone nothing is remembered; by SE63 it is, on the same day.
    let other = town.world.purchase(&account_card, eur(100));
    assert_eq!(town.world.reverse(&by_code(&other, 77)).unmatched, None);
    town.world.reverse(&by_trace(&other));
    let next_day = TapRequest { trace: Trace { settlement: 102, ..other.trace }, ..other };
    assert_eq!(town.world.reason(&next_day), Reason::Approved);
    assert_eq!(town.world.reason(&other), Reason::AlreadyReversed);
}

#[test]
fn rule_5_remembers_for_seven_days_and_two_of_one_key_as_long_as_the_newer() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    town.world.reverse(&by_original(&tap));
    town.world.wait(6 * 24 * HOUR);
    town.world.reverse(&by_original(&tap));
    town.world.wait(2 * 24 * HOUR);
    town.world.run(&Command::ChangeCard { card: 0, status: CardStatus::Frozen }).expect("an event that purges");
    assert_eq!(town.world.reason(&tap), Reason::AlreadyReversed, "the newer one is two days old");
    town.world.wait(6 * 24 * HOUR);
    town.world.run(&Command::ChangeCard { card: 0, status: CardStatus::Active }).expect("an event that purges");
    assert_eq!(town.world.reason(&tap), Reason::Approved);
}

#[test]
fn rules_6_and_7_the_card_and_its_state() {
    let mut town = Town::new();
    let stranger = pan(77);
    let unknown = town.world.purchase(&stranger, eur(1));
    assert_eq!(town.world.reason(&unknown), Reason::UnknownCard);
    let states = [
        (CardStatus::Frozen, Reason::CardFrozen),
        (CardStatus::Inactive, Reason::CardInactive),
        (CardStatus::Lost, Reason::CardLost),
        (CardStatus::Stolen, Reason::CardStolen),
        (CardStatus::Closed, Reason::CardClosed),
    ];
    for (status, reason) in states {
        town.world.run(&Command::ChangeCard { card: 1, status }).expect("the card changes");
        let card = town.account_card.clone();
        let tap = town.world.purchase(&card, eur(1));
        assert_eq!(town.world.reason(&tap), reason);
    }
}

#[test]
fn rule_8_an_expiry_that_is_sent_must_be_the_cards_and_not_over() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let with = |town: &Town, expiry| TapRequest { expiry, ..town.world.purchase(&card, eur(1)) };
    let (wrong, right, none) =
        (with(&town, Some(YearMonth(2902))), with(&town, Some(YearMonth(2901))), with(&town, None));
    assert_eq!(town.world.reason(&wrong), Reason::ExpiredCard);
    assert_eq!(town.world.reason(&right), Reason::Approved);
    let last = ledger_core::time::Timestamp::parse_rfc3339("2029-01-31T23:59:59.999999Z").expect("a time");
    town.world.now = last;
    let on_the_last_day = with(&town, Some(YearMonth(2901)));
    assert_eq!(town.world.reason(&on_the_last_day), Reason::Approved);
    town.world.wait(1);
    let over = with(&town, Some(YearMonth(2901)));
    assert_eq!(town.world.reason(&over), Reason::ExpiredCard);
    assert_eq!(town.world.reason(&none), Reason::Approved, "without an expiry the rule is skipped");
}

#[test]
fn rule_10_partner_user_kyc_and_service() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let (partner, user) = (town.partner, town.user);
    let mut expect = |command: Command, reason| {
        town.world.run(&command).expect("it changes");
        let tap = town.world.purchase(&card, eur(1));
        assert_eq!(town.world.reason(&tap), reason);
    };
    expect(suspend_partner(partner, Status::Suspended), Reason::PartnerSuspended);
    expect(suspend_partner(partner, Status::Active), Reason::Approved);
    expect(suspend_user(user, Status::Suspended), Reason::UserSuspended);
    expect(suspend_user(user, Status::Active), Reason::Approved);
    expect(services(partner, 0b11111 & !(1 << Service::Cards.number())), Reason::ServiceNotEnabled);
    expect(services(partner, 0b11111), Reason::Approved);
    expect(kyc(user, Kyc::Revoked), Reason::KycNotApproved);
}

#[test]
fn rule_11_type_amount_and_currency() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = |town: &Town| town.world.purchase(&card, eur(5));
    let cases = [
        (kinded(tap(&town), TapType::Unsupported), Reason::UnsupportedType),
        (TapRequest { amount: 0, ..tap(&town) }, Reason::InvalidAmount),
        (kinded(TapRequest { amount: 0, ..tap(&town) }, TapType::Refund), Reason::InvalidAmount),
        (kinded(tap(&town), TapType::AccountStatus), Reason::InvalidAmount),
        (TapRequest { currency: None, ..tap(&town) }, Reason::UnsupportedCurrency),
        (TapRequest { currency: Some(Currency::JPY), ..tap(&town) }, Reason::RateMissing),
        (TapRequest { amount: 999_999_999_999, ..tap(&town) }, Reason::InsufficientFunds),
    ];
    for (request, reason) in cases {
        assert_eq!(town.world.reason(&request), reason);
    }
    for pool_funded in [town.pool_card.clone(), town.choice_card.clone()] {
        let inquiry = kinded(town.world.purchase(&pool_funded, eur(0)), TapType::BalanceInquiry);
        assert_eq!(town.world.reason(&inquiry), Reason::InquiryNotPermitted);
    }
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn rule_11_the_fx_limit_stops_what_leads_away_and_lets_back_what_leads_home() {
    let mut town = Town::new();
    town.world.policy.fx_max.insert(Currency::EUR, 1_000);
    let card = town.coin_card.clone();
    let over = town.world.purchase(&card, eur(1_001));
    assert_eq!(town.world.reason(&over), Reason::FxLimit);
    let within = financial(town.world.purchase(&card, eur(1_000)));
    town.world.approved(&within);
    assert_eq!(town.general(Ledger::Fx, Currency::EUR), -1_000);
    // The limit shrinks under the position: a refund brings it nearer and is welcome, another purchase is not.
    town.world.policy.fx_max.insert(Currency::EUR, 10);
    let back = financial(kinded(town.world.purchase(&card, eur(300)), TapType::Refund));
    assert_eq!(town.world.reason(&back), Reason::Approved);
    let again = town.world.purchase(&card, eur(1));
    assert_eq!(town.world.reason(&again), Reason::FxLimit);
}

#[test]
fn rule_13_funds() {
    let mut town = Town::new();
    let (pool_card, account_card, choice_card) =
        (town.pool_card.clone(), town.account_card.clone(), town.choice_card.clone());
    let all = town.world.purchase(&account_card, eur(ACCOUNT_MONEY + 1));
    let taken = town.world.take(&all);
    assert_eq!(taken.reason, Some(Reason::InsufficientFunds));
    assert_eq!(taken.decision.balance, Some(eur(ACCOUNT_MONEY)), "DE54 tells what there is");
    let all = town.world.purchase(&pool_card, eur(POOL_MONEY + 1));
    let taken = town.world.take(&all);
    assert_eq!((taken.reason, taken.decision.balance), (Some(Reason::PoolInsufficient), None), "never a pool's");
    let all = town.world.purchase(&choice_card, eur(POOL_MONEY + 1));
    assert_eq!(town.world.reason(&all), Reason::InsufficientFunds);
    let pool = town.pool;
    let suspend = Command::ChangePool { pool, status: Some(Status::Suspended), minimum: None };
    town.world.run(&suspend).expect("the pool is suspended");
    let tap = town.world.purchase(&pool_card, eur(1));
    assert_eq!(town.world.reason(&tap), Reason::PoolSuspended);
    // The choice is left with the account.
    let tap = town.world.purchase(&choice_card, eur(1));
    let taken = town.world.take(&tap);
    assert_eq!(taken.decision.holds[0].map(|h| h.source.word()), Some("account"));
    assert_eq!(taken.decision.holds[1], None);
}

#[test]
fn rule_14_what_becomes_of_an_ask() {
    let cases = [
        (yes(), Reason::Approved),
        (PartnerVerdict::Decline, Reason::PartnerDeclined),
        (PartnerVerdict::Timeout, Reason::PartnerTimeout),
        (PartnerVerdict::Unreachable, Reason::PartnerUnreachable),
        (PartnerVerdict::BadResponse, Reason::PartnerBadResponse),
        (PartnerVerdict::Interrupted, Reason::Interrupted),
        (yes_but(Some("12.51"), None), Reason::PartnerBadResponse),
        (yes_but(Some("0"), None), Reason::PartnerBadResponse),
        (yes_but(Some("-1.00"), None), Reason::PartnerBadResponse),
        (yes_but(Some("1.001"), None), Reason::PartnerBadResponse),
        (yes_but(Some("5.00"), None), Reason::PartnerBadResponse),
        (yes_but(None, Some("account")), Reason::PartnerBadResponse),
        (yes_but(None, Some("purse")), Reason::PartnerBadResponse),
        (yes_but(Some("12.50"), Some("pool")), Reason::Approved),
    ];
    for (verdict, reason) in cases {
        let mut town = Town::new();
        let card = town.pool_card.clone();
        let tap = town.world.purchase(&card, eur(1_250));
        let taken = town.world.take(&tap);
        assert_eq!(taken.reason, None);
        check(&town, (POOL_MONEY - 1_250, 1_250), (ACCOUNT_MONEY, 0), 0);
        assert_eq!(town.world.answer(taken.no, verdict), Some(reason), "{verdict:?}");
        let held = if reason == Reason::Approved { 1_250 } else { 0 };
        check(&town, (POOL_MONEY - held, held), (ACCOUNT_MONEY, 0), 0);
        assert_eq!(town.world.answer(taken.no, yes()), None, "a second answer is late");
    }
}

#[test]
fn rule_14_a_partner_may_decide_without_being_asked() {
    let mut town = Town::new();
    let (pool_card, choice_card) = (town.pool_card.clone(), town.choice_card.clone());
    town.mode(DecisionMode::AutoDecline);
    let tap = town.world.purchase(&pool_card, eur(10));
    assert_eq!(town.world.reason(&tap), Reason::PartnerDeclined);
    let too_much = town.world.purchase(&pool_card, eur(POOL_MONEY + 1));
    assert_eq!(town.world.reason(&too_much), Reason::PoolInsufficient, "rule 13 stands before rule 14");
    town.mode(DecisionMode::AutoApprove);
    let tap = town.world.purchase(&choice_card, eur(10));
    assert_eq!(town.world.reason(&tap), Reason::Approved);
    check(&town, (POOL_MONEY - 10, 10), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn inquiries_move_nothing_and_never_expire() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let inquiry = kinded(town.world.purchase(&card, eur(0)), TapType::BalanceInquiry);
    let taken = town.world.take(&inquiry);
    assert_eq!((taken.reason, taken.decision.balance), (Some(Reason::Approved), Some(eur(ACCOUNT_MONEY))));
    let status = kinded(town.world.purchase(&card, eur(0)), TapType::AccountStatus);
    let no = town.world.take(&status).no;
    town.world.wait(800 * HOUR);
    assert_eq!(town.world.expire_due(), 0);
    assert_eq!(town.world.authorization(no).state, State::Approved);
    assert_eq!(town.world.book.open_holds(), 0);
}

// The money table.

#[test]
fn money_a_hold_and_every_way_it_comes_back() {
    type Undo = fn(&mut Town, &TapRequest, u64);
    let ways: [(State, Undo); 4] = [
        (State::Reversed, |town, tap, _| drop(town.world.reverse(&by_original(tap)))),
        (State::Reversed, |town, tap, no| drop(town.world.reverse(&by_code(tap, no)))),
        (State::Reversed, |town, _, no| assert!(town.world.reply_late(no))),
        (State::Expired, |town, _, _| {
            town.world.wait(168 * HOUR);
            assert_eq!(town.world.expire_due(), 1);
        }),
    ];
    for (state, undo) in ways {
        let mut town = Town::new();
        let card = town.pool_card.clone();
        let tap = town.world.purchase(&card, eur(700));
        let no = town.world.approved(&tap);
        check(&town, (POOL_MONEY - 700, 700), (ACCOUNT_MONEY, 0), 0);
        undo(&mut town, &tap, no);
        check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
        assert_eq!(town.world.authorization(no).state, state);
        // Undone is undone, whatever comes then.
        town.world.reverse(&by_trace(&tap));
        assert!(!town.world.reply_late(no) && town.world.book.decide_expiry(no).is_none());
        check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
        assert_eq!(town.world.authorization(no).state, state);
    }
}

#[test]
fn money_partner_choice_settles_one_source_and_lets_the_other_go() {
    for (source, pool, account) in [(None, 300, 0), (Some("pool"), 300, 0), (Some("account"), 0, 300)] {
        for class in [Class::Authorization, Class::Financial] {
            let mut town = Town::new();
            let card = town.choice_card.clone();
            let tap = TapRequest { class, ..town.world.purchase(&card, eur(300)) };
            let no = town.world.take(&tap).no;
            check(&town, (POOL_MONEY - 300, 300), (ACCOUNT_MONEY - 300, 300), 0);
            assert_eq!(town.world.answer(no, yes_but(None, source)), Some(Reason::Approved));
            let financial = class == Class::Financial;
            let held = |minor| if financial { 0 } else { minor };
            let scheme = if financial { 300 } else { 0 };
            check(&town, (POOL_MONEY - pool, held(pool)), (ACCOUNT_MONEY - account, held(account)), scheme);
            // What comes back comes back to where it was taken.
            town.world.reverse(&by_original(&tap));
            check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
        }
    }
}

#[test]
fn money_a_0200_is_held_and_cleared_in_one_event_and_reversed_from_the_network() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = financial(town.world.purchase(&card, eur(900)));
    let no = town.world.approved(&tap);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 900, 0), 900);
    assert_eq!(town.world.authorization(no).state, State::Cleared);
    town.world.reverse(&keeping(by_original(&tap), 600));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 600, 0), 600);
    town.world.reverse(&keeping(by_original(&tap), 700));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 600, 0), 600);
    town.world.reverse(&by_original(&tap));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    assert_eq!(town.world.authorization(no).state, State::Reversed);
}

#[test]
fn money_a_pools_clearing_passes_through_the_linked_account() {
    let mut town = Town::new();
    let card = town.pool_card.clone();
    let tap = financial(town.world.purchase(&card, eur(250)));
    let no = town.world.take(&tap).no;
    let decision = town.world.book.decide_answer(no, yes()).expect("it is pending");
    let linked = Ledger::AccountAvailable(town.account);
    let through: Vec<i64> = decision.postings.lines().iter().filter(|l| l.ledger == linked).map(|l| l.debit).collect();
    assert_eq!(through, [-250, 250], "in, then out");
    town.world.approve(no);
    check(&town, (POOL_MONEY - 250, 0), (ACCOUNT_MONEY, 0), 250);
}

#[test]
fn money_a_refund_moves_nothing_by_0100_and_credits_by_0200() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let later = kinded(town.world.purchase(&card, eur(80)), TapType::Refund);
    assert_eq!(town.world.reason(&later), Reason::Approved);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    let now = financial(kinded(town.world.purchase(&card, eur(80)), TapType::Refund));
    assert_eq!(town.world.reason(&now), Reason::Approved);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY + 80, 0), -80);
    // Spent meanwhile: the partner owes what a reversal of the refund cannot find.
    let account = town.account;
    town.world.run(&payout(account, eur(ACCOUNT_MONEY + 50))).expect("it leaves");
    town.world.reverse(&by_original(&now));
    check(&town, (POOL_MONEY, 0), (0, 0), 0);
    assert_eq!(town.owed(Currency::EUR), 50);
}

#[test]
fn money_a_refund_goes_back_to_where_the_purchase_was_paid_from() {
    let mut town = Town::new();
    let card = town.choice_card.clone();
    let tap = financial(town.world.purchase(&card, eur(400)));
    let no = town.world.take(&tap).no;
    town.world.answer(no, yes_but(None, Some("account")));
    let refund = financial(kinded(town.world.purchase(&card, eur(400)), TapType::Refund));
    let refund = TapRequest { original: Some(trace_id(&tap)), ..refund };
    assert_eq!(town.world.reason(&refund), Reason::Approved);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn money_usdc_pays_euros_rounded_up_and_the_rate_is_frozen() {
    let mut town = Town::new();
    let card = town.coin_card.clone();
    // 12.51 EUR x 1.1 x 1.01 = 13.898610 USDC, exactly; one cent more needs the ceiling of 13.909720.
    let tap = financial(town.world.purchase(&card, eur(1_251)));
    let no = town.world.take(&tap).no;
    assert_eq!(town.balances()[1], (COIN_MONEY - 13_898_610, 13_898_610));
    town.world.rate(Currency::EUR, Currency::USDC, "3", 0);
    town.world.approve(no);
    assert_eq!(town.balances()[1], (COIN_MONEY - 13_898_610, 0));
    assert_eq!(town.scheme(), 1_251);
    assert_eq!(town.general(Ledger::Fx, Currency::USDC), 13_898_610);
    assert_eq!(town.general(Ledger::Fx, Currency::EUR), -1_251);
    // In proportion, and the last part takes the rest.
    town.world.reverse(&keeping(by_original(&tap), 1_000));
    assert_eq!(town.balances()[1], (COIN_MONEY - 11_110_000, 0));
    town.world.reverse(&by_original(&tap));
    assert_eq!(town.balances()[1], (COIN_MONEY, 0));
    assert_eq!((town.general(Ledger::Fx, Currency::USDC), town.general(Ledger::Fx, Currency::EUR)), (0, 0));
}

#[test]
fn money_holds_round_up_and_refunds_down() {
    let mut town = Town::new();
    town.world.rate(Currency::USD, Currency::EUR, "0.9999", 0);
    let card = town.account_card.clone();
    let usd = Money::new(3, Currency::USD);
    let tap = town.world.purchase(&card, usd);
    town.world.approved(&tap);
    assert_eq!(town.balances()[2], (ACCOUNT_MONEY - 3, 3));
    let refund = financial(kinded(town.world.purchase(&card, usd), TapType::Refund));
    assert_eq!(town.world.reason(&refund), Reason::Approved);
    assert_eq!(town.balances()[2], (ACCOUNT_MONEY - 3 + 2, 3));
    // Not even a cent's worth: nothing is credited, and reversing it leaves nothing behind.
    let tiny = financial(kinded(town.world.purchase(&card, Money::new(1, Currency::USD)), TapType::Refund));
    assert_eq!(town.world.reason(&tiny), Reason::Approved);
    town.world.reverse(&by_original(&tiny));
    town.world.reverse(&by_original(&refund));
    assert_eq!(town.general(Ledger::Fx, Currency::USD), 0);
    assert_eq!(town.general(Ledger::Scheme, Currency::USD), 0);
}

#[test]
fn money_a_partial_approval_holds_its_part_and_is_reversed_by_it() {
    let mut town = Town::new();
    let card = town.choice_card.clone();
    let tap = TapRequest { partial_supported: true, ..town.world.purchase(&card, eur(1_000)) };
    // 20.00 at the terminal for 10.00 billed.
    let tap = TapRequest { billed: true, merchant_amount: 2_000, ..tap };
    let no = town.world.take(&tap).no;
    let decision = town.world.book.decide_answer(no, yes_but(Some("4.00"), Some("account"))).expect("pending");
    assert_eq!(decision.partial, Some(400));
    assert_eq!(decision.balance, Some(eur(ACCOUNT_MONEY - 400)), "as it is once the rest is back");
    town.world.answer(no, yes_but(Some("4.00"), Some("account")));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 400, 400), 0);
    // 8.00 stood at the terminal: keeping 6.00 of them keeps 3.00.
    town.world.reverse(&keeping(by_original(&tap), 600));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 300, 300), 0);
    let billing = ReversalRequest { keep_billing: Some(100), ..keeping(by_original(&tap), 600) };
    town.world.reverse(&billing);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 100, 100), 0);
    town.world.reverse(&by_original(&tap));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn money_an_advice_beyond_the_funds_makes_the_partner_owe_and_is_paid_back_first() {
    let mut town = Town::new();
    let card = town.pool_card.clone();
    let tap = town.world.purchase(&card, eur(POOL_MONEY + 500));
    let advised = town.world.advise(advice_of(tap, POOL_MONEY + 500), true);
    assert_eq!((advised.reason, advised.state), (Reason::Approved, State::Approved));
    check(&town, (0, POOL_MONEY + 500), (ACCOUNT_MONEY, 0), 0);
    assert_eq!(town.owed(Currency::EUR), 500);
    town.world.reverse(&keeping(by_original(&advice_of(tap, POOL_MONEY + 500)), POOL_MONEY + 300));
    assert_eq!(town.owed(Currency::EUR), 300);
    let pool = town.pool;
    town.world.fill(pool, 100);
    assert_eq!(town.owed(Currency::EUR), 200, "a top-up pays it first");
    town.world.reverse(&by_original(&advice_of(tap, 1)));
    assert_eq!(town.owed(Currency::EUR), 0);
    check(&town, (POOL_MONEY + 100, 0), (ACCOUNT_MONEY, 0), 0);
}
