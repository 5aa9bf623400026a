//! What comes after a tap (contracts 2.2, 2.5, 2.6): increments, advices, late replies, repeats and reversals, and
//! the hostile list's races, overflows and late answers at the book.

mod admin_common;
mod tap_common;

use admin_common::*;
use ledger_core::book::{
    Command, FundingWish, PartnerChange, PartnerVerdict, ReversalRequest, TapRequest, TapType, Violation,
};
use ledger_core::event::Event;
use ledger_core::event::admin::Transfer;
use ledger_core::event::posting::{Ledger, Postings};
use ledger_core::event::tap::{Change, Changes, ReplyLate, Source, Trace};
use ledger_core::event::words::{Class, Kind, Reason, State};
use ledger_core::money::Currency;
use tap_common::*;

const HOUR: i64 = 3_600 * SECOND;

#[test]
fn increments_hold_their_own_share_and_the_first_reverses_all() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let first = kinded(town.world.purchase(&card, eur(100)), TapType::Hold(Kind::Preauthorization));
    let first_no = town.world.approved(&first);
    let more = |town: &Town, of: &TapRequest| TapRequest {
        original: Some(trace_id(of)),
        ..town.world.purchase(&card, eur(30))
    };
    let second = more(&town, &first);
    let second_no = town.world.approved(&second);
    let third = more(&town, &second);
    let third_no = town.world.approved(&third);
    for no in [second_no, third_no] {
        let facts = town.world.authorization(no).facts;
        assert_eq!((facts.kind, facts.parent), (Kind::Incremental, Some(first_no)), "all belong to the first");
        assert_eq!(facts.expires_at, town.world.now.plus_us(720 * HOUR), "and live as long");
    }
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 160, 160), 0);
    town.world.reverse(&by_original(&second));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 130, 130), 0);
    town.world.reverse(&by_trace(&first));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    // What continues something that is over stands for itself.
    let late = more(&town, &first);
    let late_no = town.world.approved(&late);
    assert_eq!(town.world.authorization(late_no).facts.kind, Kind::Purchase);
}

#[test]
fn reversing_the_first_names_the_increments_that_were_still_asked_about() {
    let mut town = Town::new();
    let card = town.pool_card.clone();
    let first = town.world.purchase(&card, eur(100));
    town.world.approved(&first);
    let more = TapRequest { original: Some(trace_id(&first)), ..town.world.purchase(&card, eur(30)) };
    let pending = town.world.take(&more).no;
    let decision = town.world.reverse(&by_original(&first));
    assert_eq!((decision.was_pending, decision.pending_increments), (false, vec![pending]));
    assert_eq!(town.world.answer(pending, yes()), None, "the partner is late");
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn a_late_reply_to_the_first_leaves_the_increments_and_an_advice_stands_against_it() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let first = town.world.purchase(&card, eur(100));
    let first_no = town.world.approved(&first);
    let more = TapRequest { original: Some(trace_id(&first)), ..town.world.purchase(&card, eur(30)) };
    town.world.approved(&more);
    assert!(town.world.reply_late(first_no));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 30, 30), 0);
    let other = town.world.purchase(&card, eur(200));
    let other_no = town.world.approved(&other);
    town.world.advise(advice_of(other, 200), true);
    assert!(!town.world.reply_late(other_no), "the network stood in, and told so");
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 230, 230), 0);
}

#[test]
fn an_advice_sets_an_open_hold_and_never_makes_a_second() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    let no = town.world.approved(&tap);
    // By DE63, by DE7 + DE11 + DE32, by SE63.
    let own = |town: &Town| town.world.purchase(&card, eur(1)).trace;
    let by_reference = Trace { reference: tap.trace.reference, ..own(&town) };
    let by_stan = Trace { reference: [0; 9], ..tap.trace };
    for (amount, trace, original) in
        [(150, by_reference, None), (40, by_stan, None), (70, own(&town), Some(trace_id(&tap)))]
    {
        let advice = TapRequest { trace, original, ..advice_of(tap, amount) };
        let decision = town.world.advise(advice, true);
        assert_eq!((decision.target, decision.makes_authorization()), (Some(no), false));
        check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - amount, amount), 0);
        // Later messages may mean it by the advice's own elements, and count from the advised amount.
        if amount == 70 {
            town.world.reverse(&keeping(by_original(&advice), 35));
            check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 35, 35), 0);
        }
    }
    town.world.advise(TapRequest { class: Class::FinancialAdvice, ..advice_of(tap, 90) }, true);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 90, 0), 90);
    assert_eq!(town.world.authorization(no).state, State::Cleared);
    town.world.reverse(&by_code(&tap, no));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn an_advice_about_what_is_closed_is_linked_and_the_next_sets_that_one() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    let no = town.world.approved(&tap);
    town.world.reply_late(no);
    let first = town.world.advise(advice_of(tap, 100), true);
    assert_eq!((first.target, first.facts.parent), (None, Some(no)));
    let again = TapRequest { original: Some(trace_id(&tap)), ..town.world.purchase(&card, eur(60)) };
    let second = town.world.advise(advice_of(again, 60), true);
    assert_eq!(second.target, Some(first.facts.no));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 60, 60), 0);
    assert_eq!(town.world.authorization(no).state, State::Reversed, "the closed one stays closed");
}

#[test]
fn an_advice_decides_a_tap_that_the_partner_is_asked_about() {
    let mut town = Town::new();
    let card = town.choice_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    let no = town.world.take(&tap).no;
    let decision = town.world.advise(advice_of(tap, 100), true);
    assert!(decision.was_pending);
    assert_eq!(town.world.answer(no, yes()), None);
    check(&town, (POOL_MONEY - 100, 100), (ACCOUNT_MONEY, 0), 0);
    town.world.reverse(&by_code(&tap, no));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn an_advice_is_recorded_when_it_books_nothing() {
    let mut town = Town::new();
    let (card, stranger) = (town.account_card.clone(), pan(88));
    let unknown = town.world.purchase(&stranger, eur(5));
    assert_eq!(town.world.advise(advice_of(unknown, 5), true).reason, Reason::UnknownCard);
    let tap = town.world.purchase(&card, eur(5));
    let no = town.world.approved(&tap);
    let declined = town.world.advise(advice_of(tap, 5), false);
    assert_eq!((declined.reason, declined.state), (Reason::DeclinedElsewhere, State::Declined));
    assert_eq!(town.world.held(no), 5);
    let absurd = town.world.purchase(&card, eur(i64::MAX));
    let refused = town.world.advise(advice_of(absurd, i64::MAX), true);
    assert_eq!((refused.reason, refused.state), (Reason::InvalidAmount, State::Declined));
    let overtaken = advice_of(town.world.purchase(&card, eur(9)), 9);
    town.world.reverse(&by_original(&overtaken));
    let at_once = town.world.advise(overtaken, true);
    assert_eq!((at_once.reason, at_once.state), (Reason::AlreadyReversed, State::Reversed));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 5, 5), 0);
}

#[test]
fn an_advised_refund_credits_and_leaves_the_purchase_alone() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    town.world.approved(&tap);
    let refund = TapRequest { class: Class::FinancialAdvice, ..kinded(advice_of(tap, 40), TapType::Refund) };
    assert_eq!(town.world.advise(refund, true).target, None);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 60, 100), -40);
}

// Found by the properties.

#[test]
fn an_advice_in_another_currency_is_told_at_its_own_rate() {
    let mut town = Town::new();
    town.world.rate(Currency::USD, Currency::EUR, "0.5", 0);
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    let no = town.world.approved(&tap);
    town.world.advise(TapRequest { currency: Some(Currency::USD), ..advice_of(tap, 100) }, true);
    assert_eq!(town.world.held(no), 50);
    // Back in euros: the rate that the dollars were held at says nothing about them.
    town.world.advise(TapRequest { class: Class::FinancialAdvice, ..advice_of(tap, 80) }, true);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY - 80, 0), 80);
    town.world.reverse(&by_original(&tap));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn an_advice_near_the_types_limit_fits_by_its_end_not_by_its_steps() {
    let mut town = Town::new();
    let card = town.pool_card.clone();
    let held = town.world.purchase(&card, eur(10));
    town.world.approved(&held);
    let most = i64::MAX - 10;
    let advice = TapRequest { class: Class::FinancialAdvice, ..town.world.purchase(&card, eur(most)) };
    assert_eq!(town.world.advise(advice, true).reason, Reason::Approved);
    check(&town, (0, 10), (ACCOUNT_MONEY, 0), most);
    town.world.reverse(&by_original(&advice));
    check(&town, (POOL_MONEY - 10, 10), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn what_was_cleared_for_nothing_stands_in_no_ones_way() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = financial(town.world.purchase(&card, eur(100)));
    town.world.approved(&tap);
    town.world.advise(TapRequest { amount: 0, ..advice_of(tap, 0) }, true);
    town.world.reverse(&by_original(&tap));
    town.world.reverse(&by_original(&tap));
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn repeats_say_what_happened_since() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(10));
    let key = town.world.repeat_of(1).key;
    town.world.approved(&tap);
    assert_eq!(town.world.book.repeat(&key).map(|r| r.flags.reversed), Some(false));
    town.world.reverse(&keeping(by_original(&tap), 5));
    assert_eq!(town.world.book.repeat(&key).map(|r| r.flags.reversed), Some(false));
    town.world.reverse(&by_original(&tap));
    assert_eq!(town.world.book.repeat(&key).map(|r| r.flags.reversed), Some(true));
    // An advice's repeat gets its own answer for ever: 0130 knows no 05.
    let advice = advice_of(town.world.purchase(&card, eur(10)), 10);
    let key = town.world.repeat_of(3).key;
    town.world.advise(advice, true);
    town.world.reverse(&by_original(&advice));
    assert_eq!(town.world.book.repeat(&key).map(|r| r.flags.reversed), Some(false));
}

#[test]
fn a_reversal_means_the_newest_open_one_and_the_day_that_both_have() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(10));
    let older = town.world.approved(&tap);
    let newer = town.world.approved(&tap);
    assert_eq!(town.world.reverse(&by_original(&tap)).target, Some(newer));
    assert_eq!(town.world.reverse(&by_original(&tap)).target, Some(older));
    let next_day = TapRequest { trace: Trace { settlement: 102, stan: 7, ..tap.trace }, ..tap };
    let third = town.world.approved(&next_day);
    assert_eq!(
        town.world.reverse(&by_trace(&tap)).target,
        Some(newer),
        "another day's is not meant, and moves nothing"
    );
    assert_eq!(town.world.held(third), 10);
    assert_eq!(town.world.reverse(&by_trace(&next_day)).target, Some(third));
}

// The hostile list.

#[test]
fn h12_of_two_taps_for_the_last_money_exactly_one_wins_each_time() {
    let mut town = Town::new();
    let (pool_card, account_card) = (town.pool_card.clone(), town.account_card.clone());
    town.world.unrecorded = true;
    for round in 0..1_000_000u32 {
        let (card, all) = if round % 2 == 0 { (&pool_card, POOL_MONEY) } else { (&account_card, ACCOUNT_MONEY) };
        let first = town.world.purchase(card, eur(all));
        let winner = town.world.take(&first);
        let second = town.world.purchase(card, eur(1 + i64::from(round) % all));
        let loser = town.world.take(&second);
        let lost = [Some(Reason::InsufficientFunds), Some(Reason::PoolInsufficient)];
        assert!(matches!(winner.reason, None | Some(Reason::Approved)) && lost.contains(&loser.reason));
        if winner.reason.is_none() && round % 4 == 0 {
            town.world.approve(winner.no);
        }
        town.world.reverse(&by_original(&first));
        town.world.wait(60 * SECOND);
    }
    town.world.book.check().expect("the invariants hold");
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
}

#[test]
fn h13_money_comes_back_once_and_to_its_own_card() {
    let mut town = Town::new();
    let (mine, other) = (town.account_card.clone(), town.pool_card.clone());
    let tap = town.world.purchase(&mine, eur(500));
    // Before.
    town.world.reverse(&by_original(&tap));
    assert_eq!(town.world.reason(&tap), Reason::AlreadyReversed);
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    // Another card's.
    let tap = town.world.purchase(&mine, eur(500));
    let no = town.world.approved(&tap);
    let foreign = ReversalRequest { fingerprint: fingerprint(&other), ..by_original(&tap) };
    assert_eq!(town.world.reverse(&foreign).target, None);
    assert_eq!(town.world.held(no), 500);
    // For more than the original; then after; then twice.
    town.world.reverse(&keeping(by_original(&tap), 501));
    assert_eq!(town.world.held(no), 500);
    for _ in 0..3 {
        town.world.reverse(&by_original(&tap));
        check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    }
    // During.
    let asked = town.world.purchase(&other, eur(500));
    let no = town.world.take(&asked).no;
    let decision = town.world.reverse(&keeping(by_original(&asked), 100));
    assert!(decision.was_pending, "a part of what is not approved yet is all of it");
    check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    assert_eq!(town.world.answer(no, yes()), None);
    assert_eq!(town.world.authorization(no).state, State::Reversed);
}

#[test]
fn h14_answers_that_come_late_twice_or_for_too_much_move_nothing() {
    let mut town = Town::new();
    let card = town.pool_card.clone();
    for first in [PartnerVerdict::Timeout, PartnerVerdict::Decline, yes_but(Some("999999.00"), None)] {
        let tap = town.world.purchase(&card, eur(500));
        let no = town.world.take(&tap).no;
        town.world.answer(no, first);
        assert_eq!(town.world.answer(no, yes()), None);
        check(&town, (POOL_MONEY, 0), (ACCOUNT_MONEY, 0), 0);
    }
    assert!(town.world.book.decide_answer(u64::MAX, yes()).is_none(), "for no authorization there is");
}

#[test]
fn h17_what_does_not_fit_is_refused_and_recorded() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let account = town.account;
    let room = i64::MAX - ACCOUNT_MONEY;
    let refund = financial(kinded(town.world.purchase(&card, eur(room + 1)), TapType::Refund));
    assert_eq!(town.world.reason(&refund), Reason::InvalidAmount);
    // A 0200, then the account fills up to its end: what would come back has no place any more.
    let tap = financial(town.world.purchase(&card, eur(1_000)));
    let no = town.world.approved(&tap);
    town.world.run(&pay_in(account, eur(i64::MAX - ACCOUNT_MONEY - POOL_MONEY))).expect("the bank takes as much");
    town.world.run(&pay_in(account, eur(1))).expect_err("the bank is full");
    let last = financial(kinded(town.world.purchase(&card, eur(POOL_MONEY + 1_000)), TapType::Refund));
    assert_eq!(town.world.reason(&last), Reason::Approved);
    check(&town, (POOL_MONEY, 0), (i64::MAX, 0), -POOL_MONEY);
    assert_eq!(town.world.reverse(&by_original(&tap)).target, Some(no), "recorded");
    assert!(!town.world.reply_late(no));
    check(&town, (POOL_MONEY, 0), (i64::MAX, 0), -POOL_MONEY);
    assert_eq!(town.world.authorization(no).state, State::Cleared, "and whole, should there be room again");
    town.world.run(&payout(account, eur(1_000))).expect("there is");
    town.world.reverse(&by_original(&tap));
    check(&town, (POOL_MONEY, 0), (i64::MAX, 0), -POOL_MONEY - 1_000);
}

#[test]
fn commands_tell_their_name_and_nothing_else() {
    let command = create_card(0, FundingWish::Account { currency: Currency::EUR }, &pan(1));
    assert_eq!(format!("{command:?}"), "CreateCard { .. }");
    let command = Command::CreatePartner { terms: PartnerChange::default(), secret: secret(0x5a) };
    assert_eq!(format!("{command:?}"), "CreatePartner { .. }");
    assert_eq!(format!("{:?}", Command::RotateSecret { partner: 0, secret: secret(0x5a) }), "RotateSecret { .. }");
}

#[test]
fn a_quote_nobody_used_is_forgotten_an_hour_after_its_end() {
    let mut town = Town::new();
    town.world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    let user = town.user;
    town.world.run(&crypto(user, usdc(50_000_000))).expect("crypto arrives");
    let unused: Vec<_> = (0..9).map(|_| town.world.quote(user, usdc(1_000_000), Currency::EUR)).collect();
    let used = town.world.quote(user, usdc(1_000_000), Currency::EUR);
    town.world.run(&execute(used)).expect("it executes");
    town.world.wait(30 * SECOND + HOUR - 1);
    town.world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
    assert!(unused.iter().all(|no| town.world.book.quote(*no).is_some()));
    town.world.wait(1);
    for left in [5, 1, 0] {
        town.world.rate(Currency::USDC, Currency::EUR, "0.9", 0);
        assert_eq!(unused.iter().filter(|no| town.world.book.quote(**no).is_some()).count(), left);
    }
    assert!(town.world.book.quote(used).is_some());
    assert_eq!(town.world.replayed().state_hash(), town.world.book.state_hash());
}

// What only a bug or a damaged journal could say.

#[test]
fn lines_on_accounts_that_do_not_exist_or_in_another_currency_are_refused() {
    let strange = [
        (Ledger::PoolAvailable(99), Currency::EUR),
        (Ledger::AccountHeld(99), Currency::EUR),
        (Ledger::PoolHeld(0), Currency::USD),
        (Ledger::AccountAvailable(0), Currency::JPY),
        (Ledger::Receivable(99), Currency::EUR),
        (Ledger::CryptoDeposit(0), Currency::EUR),
    ];
    for (ledger, currency) in strange {
        let mut town = Town::new();
        let mut postings = Postings::none();
        postings.transfer(Ledger::Bank, Ledger::AccountAvailable(town.account), Currency::EUR, 5);
        postings.transfer(Ledger::Bank, ledger, currency, 7);
        let event = Event::PaidIn(Transfer {
            no: town.world.book.next_id().no,
            party: town.account,
            currency: Currency::EUR,
            amount: 5,
            reference: "I-1".into(),
            beneficiary: None,
            postings,
        });
        let book = &mut town.world.book;
        let broken = book.apply(book.last_seq() + 1, START, &event).expect_err("no such account");
        assert_eq!(broken.violation, Violation::Balance { ledger, currency });
    }
}

#[test]
fn a_final_authorization_never_opens_again() {
    let mut town = Town::new();
    let card = town.account_card.clone();
    let tap = town.world.purchase(&card, eur(100));
    let no = town.world.approved(&tap);
    town.world.reverse(&by_original(&tap));
    let (previous, repeat) = (town.world.authorization(no).last_seq, [0; 16]);
    for (held, state) in [(0, State::Approved), (0, State::PartiallyReversed), (100, State::Expired)] {
        let source = Some(Source::Account(town.account));
        let changes = Changes::from_iter([Change { no, source, held, cleared: 0, state }]);
        let mut postings = Postings::none();
        let account = Source::Account(town.account);
        postings.transfer(account.available(), account.held(), Currency::EUR, held);
        let event = Event::ReplyLate(ReplyLate { no, previous, changes, postings, raw: None, repeat });
        let book = &mut town.world.book;
        let broken = book.apply(book.last_seq() + 1, START, &event).expect_err("it is final");
        assert_eq!(broken.violation, Violation::Missing("a final authorization never opens again"));
    }
}
