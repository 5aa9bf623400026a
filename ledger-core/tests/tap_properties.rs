//! Any order of taps, answers, reversals, advices, expiries and late replies over every funding: the fold never
//! breaks, the invariants hold after each step, nothing final opens again, a replay ends in the same state, and what
//! is reversed at the end leaves nothing behind with the network or the FX position.

mod admin_common;
mod tap_common;

use std::collections::BTreeMap;

use admin_common::*;
use ledger_core::book::snapshot::Entries;
use ledger_core::book::{Book, PartnerVerdict, ReversalRequest, TapRequest, TapType};
use ledger_core::event::posting::Ledger;
use ledger_core::event::tap::{OriginalData, Trace, TraceId};
use ledger_core::event::words::{Class, DecisionMode, Kind, State};
use ledger_core::id::No;
use ledger_core::money::{Currency, Money};
use proptest::prelude::*;
use tap_common::*;

/// The elements of a message, with so few values that messages meet.
#[derive(Debug, Clone)]
struct Shape {
    card: usize,
    financial: bool,
    kind: TapType,
    amount: i64,
    currency: Option<Currency>,
    billed: bool,
    merchant_amount: i64,
    stan: u32,
    reference: u32,
    settlement: u16,
    original: Option<(u32, u16)>,
    partial: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Tap(Shape),
    Answer { pick: usize, verdict: u8 },
    Reverse { pick: usize, by: u8, card: Option<usize>, keep: Option<i64>, billing: Option<i64> },
    ReverseUnseen { shape: Shape, by: u8 },
    Advise { shape: Shape, about: Option<(usize, u8)>, approved: bool },
    ReplyLate { pick: usize },
    Expire,
    TopUp { coins: bool, minor: i64 },
    PayIn { minor: i64 },
    Withdraw { minor: i64 },
    Payout { minor: i64 },
    Mode(DecisionMode),
    Rate { mantissa: u16, markup_bps: u16 },
    Wait { minutes: u16 },
}

fn minor() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 1i64..4_000, 4 => 4_000i64..120_000, 1 => 0i64..=1, 1 => Just(999_999_999_999)]
}

fn huge() -> impl Strategy<Value = i64> {
    prop_oneof![3 => minor(), 1 => (i64::MAX - 5_000)..=i64::MAX, 1 => (i64::MAX / 2 - 99)..i64::MAX / 2 + 99]
}

fn kind() -> impl Strategy<Value = TapType> {
    prop_oneof![
        12 => Just(TapType::Hold(Kind::Purchase)),
        3 => Just(TapType::Hold(Kind::Preauthorization)),
        1 => Just(TapType::Hold(Kind::Cash)),
        3 => Just(TapType::Refund),
        1 => Just(TapType::BalanceInquiry),
        1 => Just(TapType::AccountStatus),
        1 => Just(TapType::Unsupported),
    ]
}

fn shape(amount: impl Strategy<Value = i64>) -> impl Strategy<Value = Shape> {
    let currency = prop_oneof![14 => Just(Some(Currency::EUR)), 3 => Just(Some(Currency::USD)), 1 => Just(None)];
    let day = prop_oneof![2 => Just(0u16), 3 => Just(101u16), 1 => Just(102u16)];
    let original = proptest::option::weighted(0.3, (1u32..6, 0u16..1));
    let head = (0usize..5, any::<bool>(), kind(), amount, currency, any::<bool>());
    (head, 1i64..5_000, 0u32..8, 0u32..6, day, original, any::<bool>()).prop_map(
        |(
            (card, financial, kind, amount, currency, billed),
            merchant,
            stan,
            reference,
            settlement,
            original,
            partial,
        )| {
            let merchant_amount = if billed { merchant } else { amount };
            Shape {
                card,
                financial,
                kind,
                amount,
                currency,
                billed,
                merchant_amount,
                stan,
                reference,
                settlement,
                original,
                partial,
            }
        },
    )
}

fn step(amount: fn() -> BoxedStrategy<i64>) -> impl Strategy<Value = Step> {
    let keep = || proptest::option::weighted(0.5, prop_oneof![1i64..5_000, amount()]);
    let mode = prop_oneof![
        4 => Just(DecisionMode::Webhook), 2 => Just(DecisionMode::AutoApprove), 1 => Just(DecisionMode::AutoDecline)
    ];
    prop_oneof![
        20 => shape(amount()).prop_map(Step::Tap),
        14 => (any::<usize>(), 0u8..12).prop_map(|(pick, verdict)| Step::Answer { pick, verdict }),
        12 => (any::<usize>(), 0u8..6, proptest::option::weighted(0.1, 0usize..5), keep(), keep())
            .prop_map(|(pick, by, card, keep, billing)| Step::Reverse { pick, by, card, keep, billing }),
        2 => (shape(amount()), 0u8..3).prop_map(|(shape, by)| Step::ReverseUnseen { shape, by }),
        8 => (shape(amount()), proptest::option::weighted(0.7, (any::<usize>(), 0u8..4)), proptest::bool::weighted(0.8))
            .prop_map(|(shape, about, approved)| Step::Advise { shape, about, approved }),
        3 => any::<usize>().prop_map(|pick| Step::ReplyLate { pick }),
        2 => Just(Step::Expire),
        2 => (any::<bool>(), amount()).prop_map(|(coins, minor)| Step::TopUp { coins, minor }),
        2 => amount().prop_map(|minor| Step::PayIn { minor }),
        1 => amount().prop_map(|minor| Step::Withdraw { minor }),
        1 => amount().prop_map(|minor| Step::Payout { minor }),
        1 => mode.prop_map(Step::Mode),
        1 => (1u16..30_000, 0u16..600).prop_map(|(mantissa, markup_bps)| Step::Rate { mantissa, markup_bps }),
        3 => (0u16..200).prop_map(|minutes| Step::Wait { minutes }),
    ]
}

struct Play {
    town: Town,
    pans: Vec<Vec<u8>>,
    taken: Vec<No>,
    finals: BTreeMap<No, State>,
}

impl Play {
    fn new() -> Self {
        let town = Town::new();
        let stranger = pan(99);
        let pans = vec![
            town.pool_card.clone(),
            town.account_card.clone(),
            town.choice_card.clone(),
            town.coin_card.clone(),
            stranger,
        ];
        Self { town, pans, taken: Vec::new(), finals: BTreeMap::new() }
    }

    fn request(&self, shape: &Shape, advice: bool) -> TapRequest {
        let class = match (shape.financial, advice) {
            (false, false) => Class::Authorization,
            (true, false) => Class::Financial,
            (false, true) => Class::AuthorizationAdvice,
            (true, true) => Class::FinancialAdvice,
        };
        TapRequest {
            class,
            kind: shape.kind,
            fingerprint: fingerprint(&self.pans[shape.card]),
            expiry: None,
            amount: shape.amount,
            currency: shape.currency,
            merchant_amount: shape.merchant_amount,
            merchant_currency: 978,
            billed: shape.billed,
            trace: Trace {
                stan: shape.stan,
                transmitted: 101_120_000,
                acquirer: 4_321,
                forwarder: 0,
                reference: if shape.reference == 0 { [0; 9] } else { reference(shape.reference) },
                settlement: shape.settlement,
            },
            original: shape.original.map(|(r, settlement)| TraceId { reference: reference(r), settlement }),
            partial_supported: shape.partial,
        }
    }

    fn pick(&self, pick: usize) -> Option<No> {
        self.taken.get(pick.checked_rem(self.taken.len())?).copied()
    }

    /// A reversal that names an authorization by one of its keys.
    fn naming(&self, no: No, by: u8) -> Option<ReversalRequest> {
        let a = self.town.world.book.authorization(no)?;
        let card = self.town.world.book.card(a.facts.card?)?;
        let Trace { stan, transmitted, acquirer, forwarder, reference, settlement } = a.facts.trace;
        let financial = matches!(a.facts.class, Class::Financial | Class::FinancialAdvice);
        let data = OriginalData { financial, stan, transmitted, acquirer, forwarder };
        let none = nameless(card.fingerprint);
        Some(match by {
            0 => ReversalRequest { original: Some(data), ..none },
            1 => ReversalRequest { original: Some(OriginalData { acquirer: 0, ..data }), ..none },
            2 => ReversalRequest { trace: Some(TraceId { reference, settlement }), ..none },
            3 => ReversalRequest { approval_code: a.reply.map(|r| r.approval_code).filter(|c| *c != 0), ..none },
            4 => ReversalRequest {
                original: Some(OriginalData { acquirer: 1, ..data }),
                trace: Some(TraceId { reference, settlement: 0 }),
                ..none
            },
            _ => none,
        })
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Tap(shape) => {
                let request = self.request(&shape, false);
                let taken = self.town.world.take(&request);
                self.taken.push(taken.no);
            }
            Step::Answer { pick, verdict } => {
                let Some(no) = self.pick(pick) else { return };
                let verdict = match verdict {
                    0..4 => yes(),
                    4 => yes_but(None, Some("account")),
                    5 => yes_but(None, Some("pool")),
                    6 => yes_but(Some("7.77"), None),
                    7 => yes_but(Some("1"), Some("account")),
                    8 => yes_but(Some("999999999"), None),
                    9 => PartnerVerdict::Decline,
                    10 => PartnerVerdict::Timeout,
                    _ => PartnerVerdict::Interrupted,
                };
                self.town.world.answer(no, verdict);
            }
            Step::Reverse { pick, by, card, keep, billing } => {
                let Some(mut request) = self.pick(pick).and_then(|no| self.naming(no, by)) else { return };
                if let Some(card) = card {
                    request.fingerprint = fingerprint(&self.pans[card]);
                }
                request.keep_transaction = keep.filter(|k| *k > 0);
                request.keep_billing = billing.filter(|k| *k > 0);
                self.town.world.reverse(&request);
            }
            Step::ReverseUnseen { shape, by } => {
                let tap = self.request(&shape, false);
                let request = if by == 0 { by_trace(&tap) } else { by_original(&tap) };
                self.town.world.reverse(&request);
            }
            Step::Advise { shape, about, approved } => {
                let mut tap = self.request(&shape, true);
                let known = about.and_then(|(pick, by)| Some((self.pick(pick)?, by)));
                if let Some((a, by)) = known.and_then(|(no, by)| Some((self.town.world.book.authorization(no)?, by))) {
                    if let Some(card) = a.facts.card.and_then(|c| self.town.world.book.card(c)) {
                        tap.fingerprint = card.fingerprint;
                    }
                    let trace = a.facts.trace;
                    match by {
                        0 => tap.trace = trace,
                        1 => tap.trace = Trace { stan: 900 + tap.trace.stan, ..trace },
                        2 => tap.trace = Trace { reference: [0; 9], ..trace },
                        _ => {
                            let (reference, settlement) = (trace.reference, trace.settlement);
                            tap.original = Some(TraceId { reference, settlement });
                        }
                    }
                }
                let decision = self.town.world.advise(tap, approved);
                if decision.makes_authorization() {
                    self.taken.push(decision.facts.no);
                }
            }
            Step::ReplyLate { pick } => {
                if let Some(no) = self.pick(pick) {
                    self.town.world.reply_late(no);
                }
            }
            Step::Expire => {
                self.town.world.expire_one();
            }
            Step::TopUp { coins, minor } => {
                let (pool, currency) =
                    if coins { (self.town.coins, Currency::USDC) } else { (self.town.pool, Currency::EUR) };
                let created = self.town.world.run(&top_up(pool, Money::new(minor, currency)));
                if let Ok(ledger_core::book::Done::Transfer(top_up)) = created {
                    // It may be refused for want of room.
                    let _ = self.town.world.run(&ledger_core::book::Command::SettleTopUp { top_up });
                }
            }
            Step::PayIn { minor } => drop(self.town.world.run(&pay_in(self.town.account, eur(minor)))),
            Step::Withdraw { minor } => drop(self.town.world.run(&withdraw(self.town.pool, eur(minor)))),
            Step::Payout { minor } => drop(self.town.world.run(&payout(self.town.account, eur(minor)))),
            Step::Mode(mode) => self.town.mode(mode),
            Step::Rate { mantissa, markup_bps } => {
                let rate = format!("{}.{:04}", mantissa / 10_000, mantissa % 10_000);
                for (from, to) in [(Currency::EUR, Currency::USDC), (Currency::USD, Currency::USDC)] {
                    self.town.world.rate(from, to, &rate, markup_bps);
                }
                self.town.world.rate(Currency::USD, Currency::EUR, &rate, markup_bps);
            }
            Step::Wait { minutes } => {
                self.town.world.wait(i64::from(minutes) * 60 * SECOND);
                self.town.world.expire_due();
            }
        }
    }

    /// Invariant 7, and what each authorization says of itself.
    fn check(&mut self) {
        let mut at_the_scheme: BTreeMap<Currency, i128> = BTreeMap::new();
        for a in self.town.world.book.authorizations() {
            if let Some(before) = self.finals.get(&a.id.no) {
                let may = a.state == *before || (a.state.is_final() && *before != State::Reversed);
                assert!(may, "{before:?} became {:?}", a.state);
            }
            if a.state.is_final() {
                self.finals.insert(a.id.no, a.state);
            }
            for held in a.held.iter().flatten() {
                assert!(held.now >= 0 && held.now <= held.initial, "more is held than ever was: {held:?}");
            }
            assert!(a.cleared >= 0 && a.cleared <= a.approved_amount().max(0), "more is cleared than approved");
            if let Some(whole) = a.whole() {
                let sign = if a.facts.kind == Kind::Refund { -1 } else { 1 };
                *at_the_scheme.entry(whole.currency).or_default() += sign * i128::from(a.cleared);
            }
        }
        for (currency, cleared) in at_the_scheme {
            let owed = i128::from(self.town.general(Ledger::Scheme, currency));
            assert_eq!(owed, cleared, "the network is owed what is cleared, in {}", currency.code());
        }
    }

    /// Reverses all that still stands.
    fn undo(&mut self) {
        for _ in 0..self.taken.len() {
            let standing = |a: &ledger_core::book::Authorization| a.stands() || a.state == State::Pending;
            let left: Vec<No> = self.town.world.book.authorizations().filter(standing).map(|a| a.id.no).collect();
            if left.is_empty() {
                break;
            }
            for no in left {
                let Some(request) = self.naming(no, 0) else { continue };
                self.town.world.reverse(&request);
                self.check();
            }
        }
        let left = self.town.world.book.authorizations().find(|a| a.stands() && a.facts.kind.holds());
        assert_eq!(left.map(|a| a.state), None, "all is reversed");
        for (ledger, currency, balance) in self.town.world.book.general_ledger() {
            if matches!(ledger, Ledger::Scheme | Ledger::Fx) {
                assert_eq!(balance, 0, "{ledger:?} {}", currency.code());
            }
        }
        for (_, held) in self.town.balances() {
            assert_eq!(held, 0);
        }
    }
}

fn play(steps: Vec<Step>) -> Play {
    let mut play = Play::new();
    for step in steps {
        play.step(step);
        play.check();
    }
    play
}

/// Entries in memory, as a file would give them back.
struct Pieces(BTreeMap<u8, Vec<u8>>);

impl Entries for Pieces {
    fn bytes(&self, part: u8) -> u64 {
        self.0.get(&part).map_or(0, |bytes| bytes.len() as u64)
    }

    fn first(&self, part: u8, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        self.read(part, &mut |piece| {
            each(piece);
            true
        })
    }

    fn read(&self, part: u8, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
        let taken = self.0.get(&part).is_none_or(|bytes| each(bytes));
        if taken { Ok(()) } else { Err(format!("part {part} does not read")) }
    }
}

fn pieces(book: &Book) -> Pieces {
    let mut pieces = BTreeMap::<u8, Vec<u8>>::new();
    let written: Result<(), ()> = book.write_snapshot(&mut |part, bytes| {
        pieces.entry(part).or_default().extend_from_slice(bytes);
        Ok(())
    });
    written.expect("nothing refuses an entry");
    Pieces(pieces)
}

proptest! {
    #[test]
    fn a_book_from_a_snapshot_goes_on_as_the_one_it_was_made_of(
        steps in proptest::collection::vec((step(|| minor().boxed()), proptest::bool::weighted(0.3)), 1..60)
    ) {
        let mut play = Play::new();
        for (step, restart) in steps {
            play.step(step);
            if restart {
                let book = &mut play.town.world.book;
                let again = Book::read_snapshot(&pieces(book)).expect("it was just written");
                prop_assert_eq!(again.state_hash(), book.state_hash());
                prop_assert_eq!(again.check(), Ok(()));
                *book = again;
            }
            play.check();
        }
        play.undo();
        prop_assert_eq!(play.town.world.replayed().state_hash(), play.town.world.book.state_hash());
    }

    #[test]
    fn any_order_of_messages_keeps_the_books(
        steps in proptest::collection::vec(step(|| minor().boxed()), 1..60)
    ) {
        let mut play = play(steps);
        prop_assert_eq!(play.town.world.replayed().state_hash(), play.town.world.book.state_hash());
        play.undo();
        prop_assert_eq!(play.town.world.replayed().state_hash(), play.town.world.book.state_hash());
    }

    #[test]
    fn h17_no_amount_breaks_the_fold(steps in proptest::collection::vec(step(|| huge().boxed()), 1..60)) {
        let play = play(steps);
        prop_assert_eq!(play.town.world.replayed().state_hash(), play.town.world.book.state_hash());
    }
}
