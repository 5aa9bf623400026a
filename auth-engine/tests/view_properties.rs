//! Whatever happens, in whatever order: pages are the whole list, statements add up, balances are the book's, and a
//! view that stopped half way tells the same as one that did not.

mod view_common;

use std::collections::HashSet;

use auth_engine::view::docs::{AccountDoc, PoolDoc, StatementLine};
use auth_engine::view::fold::fold_authorization;
use auth_engine::view::{AuthorizationFilter, PageRequest, StatementOf, View};
use ledger_core::book::{Command, Done, PartnerVerdict, TapType};
use ledger_core::event::words::{Class, Kind};
use ledger_core::id::No;
use ledger_core::money::Currency;
use proptest::prelude::*;
use view_common::{Cast, Plain, World, all_pages, caught_up, eur};

#[derive(Debug, Clone)]
enum Step {
    Tap {
        card: u8,
        financial: bool,
        refund: bool,
        amount: i64,
    },
    Approve {
        which: usize,
        part: bool,
        account: bool,
    },
    Decline {
        which: usize,
    },
    Reverse {
        which: usize,
        keep: Option<i64>,
    },
    Expire {
        which: usize,
    },
    ReplyLate {
        which: usize,
    },
    PayIn {
        amount: i64,
    },
    Payout {
        amount: i64,
        fails: bool,
    },
    TopUp {
        amount: i64,
    },
    Withdraw {
        amount: i64,
    },
    /// The clock steps back, as clocks do.
    Back {
        seconds: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 1i64..60_000;
    prop_oneof![
        6 => (0u8..4, any::<bool>(), prop::bool::weighted(0.1), amount.clone())
            .prop_map(|(card, financial, refund, amount)| Step::Tap { card, financial, refund, amount }),
        5 => (any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, part, account)| Step::Approve { which, part, account }),
        1 => any::<usize>().prop_map(|which| Step::Decline { which }),
        2 => (any::<usize>(), prop::option::of(1i64..500)).prop_map(|(which, keep)| Step::Reverse { which, keep }),
        1 => any::<usize>().prop_map(|which| Step::Expire { which }),
        1 => any::<usize>().prop_map(|which| Step::ReplyLate { which }),
        1 => amount.clone().prop_map(|amount| Step::PayIn { amount }),
        1 => (amount.clone(), any::<bool>()).prop_map(|(amount, fails)| Step::Payout { amount, fails }),
        1 => amount.clone().prop_map(|amount| Step::TopUp { amount }),
        1 => amount.prop_map(|amount| Step::Withdraw { amount }),
        1 => (1i64..100).prop_map(|seconds| Step::Back { seconds }),
    ]
}

fn play(world: &mut World, cast: &Cast, taps: &mut Vec<No>, step: &Step) {
    let pick = |taps: &Vec<No>, which: usize| (!taps.is_empty()).then(|| taps[which % taps.len()]);
    match *step {
        Step::Tap { card, financial, refund, amount } => {
            let card = match card {
                0 => cast.pool_card,
                1 => cast.account_card,
                2 => cast.choice_card,
                _ => 9_999,
            };
            let class = if financial { Class::Financial } else { Class::Authorization };
            let kind = if refund { TapType::Refund } else { TapType::Hold(Kind::Purchase) };
            taps.push(world.tap_as(card, class, kind, amount));
        }
        Step::Approve { which, part, account } => {
            let Some(no) = pick(taps, which) else { return };
            let amount = part.then_some("0.01");
            let source = account.then_some("account");
            world.answer(no, PartnerVerdict::Approve { amount, source }, b"{}");
        }
        Step::Decline { which } => {
            let Some(no) = pick(taps, which) else { return };
            world.answer(no, PartnerVerdict::Decline, b"{}");
        }
        Step::Reverse { which, keep } => {
            let Some(no) = pick(taps, which) else { return };
            if world.book.authorization(no).is_some_and(|a| a.facts.card.is_some()) {
                world.reverse(no, keep);
            }
        }
        Step::Expire { which } => {
            let Some(no) = pick(taps, which) else { return };
            world.expire(no);
        }
        Step::ReplyLate { which } => {
            let Some(no) = pick(taps, which) else { return };
            world.reply_late(no);
        }
        Step::PayIn { amount } => {
            let (account, reference) = (cast.account, "in".to_owned());
            let _ = world.try_run(Command::PayIn { account, amount: eur(amount), reference });
        }
        Step::Payout { amount, fails } => {
            let (account, amount) = (cast.account, eur(amount));
            let (beneficiary, reference) = ("Bob".to_owned(), "out".to_owned());
            let made = world.try_run(Command::CreatePayout { account, amount, beneficiary, reference });
            if let Ok(Done::Transfer(payout)) = made {
                world.run(if fails { Command::FailPayout { payout } } else { Command::SettlePayout { payout } });
            }
        }
        Step::TopUp { amount } => {
            let (pool, reference) = (cast.pool, "up".to_owned());
            let made = world.try_run(Command::CreateTopUp { pool, amount: eur(amount), reference });
            if let Ok(Done::Transfer(top_up)) = made {
                world.run(Command::SettleTopUp { top_up });
            }
        }
        Step::Withdraw { amount } => {
            let (pool, reference) = (cast.pool, "down".to_owned());
            let _ = world.try_run(Command::Withdraw { pool, amount: eur(amount), reference });
        }
        Step::Back { seconds } => world.now = world.now.plus_us(-seconds * view_common::SECOND),
    }
}

fn minor(text: &str) -> i64 {
    Currency::EUR.parse(text).expect("money")
}

/// Every page adds up, and each begins with what the one before ended with.
fn check_statement(view: &View, of: StatementOf, limit: u64, posted: i64) -> Vec<StatementLine> {
    let mut lines = Vec::new();
    let mut balance = 0;
    let mut cursor = None;
    loop {
        let request = PageRequest::new(Some(limit), cursor).expect("a limit");
        let page = view.statement(None, of, None, None, &request).expect("it reads").expect("it is there");
        assert_eq!(minor(&page.opening.value), balance, "the opening is the closing before");
        for line in &page.lines {
            if !line.memo {
                balance += minor(&line.amount.value);
            }
            assert_eq!(minor(&line.balance_after.value), balance, "{line:?}");
        }
        assert_eq!(minor(&page.closing.value), balance);
        lines.extend(page.lines);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(balance, posted, "the last closing is what is posted");
    let memos: i64 = lines.iter().filter(|l| l.memo).map(|l| minor(&l.amount.value)).sum();
    assert_eq!(memos, 0, "what passes through goes out again");
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_view_tells_what_the_book_knows(
        steps in prop::collection::vec(step(), 1..60),
        limit in 1u64..7,
        stop_after in 0usize..60,
    ) {
        let mut world = World::new();
        let cast = world.cast();
        let mut taps = Vec::new();
        let dir = tempfile::tempdir().expect("a directory");
        for (at, step) in steps.iter().enumerate() {
            if at == stop_after {
                let (_, feeder, _) = caught_up(dir.path(), &world);
                feeder.stop();
            }
            play(&mut world, &cast, &mut taps, step);
        }
        let (view, _feeder, report) = caught_up(dir.path(), &world);
        prop_assert_eq!(report.wiped, None);
        let book = &world.book;

        let accounts = all_pages(limit, |p| view.accounts(None, None, p));
        let expected: Vec<_> =
            (0..book.accounts().len()).rev().filter_map(|i| AccountDoc::from_book(book, i)).collect();
        prop_assert_eq!(accounts, expected);
        let pools = all_pages(limit, |p| view.pools(None, p));
        prop_assert_eq!(pools, vec![PoolDoc::from_book(book, cast.pool).expect("there")]);

        let (account, pool) = (book.account(cast.account).expect("there"), book.pool(cast.pool).expect("there"));
        check_statement(&view, StatementOf::Account(account.id), limit, account.balance.posted());
        let lines = check_statement(&view, StatementOf::Pool(pool.id), limit, pool.balance.posted());
        prop_assert!(lines.iter().all(|line| !line.memo));

        let filter = AuthorizationFilter::default();
        let whole = view.authorizations(None, &filter, &PageRequest::new(Some(200), None).expect("a limit")).expect("all");
        prop_assert_eq!(whole.next_cursor, None);
        let paged = all_pages(limit, |p| view.authorizations(None, &filter, p));
        prop_assert_eq!(&paged, &whole.data);
        let ids: HashSet<&str> = paged.iter().map(|doc| doc.id.as_str()).collect();
        prop_assert_eq!((ids.len(), paged.len()), (taps.len(), taps.len()));

        let records = world.records.lock().expect("unpoisoned").clone();
        for no in taps {
            let doc = view.authorization(None, world.id(no)).expect("it reads").expect("it is there");
            let (folded, _) = fold_authorization(book, &Plain, no, records.iter().cloned()).expect("it folds");
            prop_assert_eq!(&doc, &folded);
            let known = book.authorization(no).expect("still in the book");
            prop_assert_eq!(&doc.status, known.state.word());
            prop_assert_eq!(minor(&doc.cleared.value), known.cleared);
            // Of two sources that hold while the partner chooses, one is told.
            let shares: Vec<i64> = known.held.iter().flatten().map(|h| h.now).filter(|now| *now != 0).collect();
            prop_assert_eq!(minor(&doc.held.value), shares.first().copied().unwrap_or(0));
        }
    }
}
