//! Any order of commands, taps and time: the invariants hold after each, no money appears or disappears, a refusal
//! changes nothing, and a replay of the bytes arrives at the same state hash.

mod admin_common;

use admin_common::*;
use ledger_core::book::{Command, Done, FundingWish};
use ledger_core::event::words::{CardStatus, Kyc, Status};
use ledger_core::id::No;
use ledger_core::money::{Currency, Money, Rate};
use proptest::prelude::*;

/// A step with small numbers, so that steps meet each other.
#[derive(Debug, Clone)]
enum Step {
    User { partner: u32, name: u8 },
    Kyc { user: u32, to: Kyc },
    Suspend { user: u32, status: Status },
    SuspendPartner { partner: u32, status: Status },
    Services { partner: u32, bits: u8 },
    Account { user: u32, currency: Currency },
    Pool { partner: u32, currency: Currency, minimum: i64 },
    ChangePool { pool: u32, minimum: i64, status: Status },
    TopUp { pool: u32, amount: Money },
    EndTopUp { pick: usize, settle: bool },
    Withdraw { pool: u32, amount: Money },
    PayIn { account: u32, amount: Money },
    Payout { account: u32, amount: Money },
    EndPayout { pick: usize, settle: bool },
    Crypto { user: u32, amount: Money },
    Rate { from: Currency, to: Currency, mantissa: i64, scale: u8, markup_bps: u16 },
    Quote { user: u32, from: Money, to: Currency },
    Execute { pick: usize },
    Card { user: u32, wish: FundingWish, serial: u64 },
    CardStatus { card: u32, status: CardStatus },
    Hold { serial: u64, amount: Money },
    Force { serial: u64, amount: Money },
    Expire,
    Wait { us: i64 },
}

fn fiat() -> impl Strategy<Value = Currency> {
    prop_oneof![4 => Just(Currency::EUR), 2 => Just(Currency::JPY), 1 => Just(Currency::CHF)]
}

fn asset() -> impl Strategy<Value = Currency> {
    prop_oneof![3 => fiat(), 3 => Just(Currency::USDC), 1 => Just(Currency::BTC)]
}

fn minor() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => 1i64..100_000,
        2 => -2i64..=1,
        1 => (i64::MAX - 1_000)..=i64::MAX,
        1 => (i64::MAX / 2 - 1_000)..=(i64::MAX / 2 + 1_000),
        1 => Just(i64::MIN),
    ]
}

fn money(currency: impl Strategy<Value = Currency>) -> impl Strategy<Value = Money> {
    (minor(), currency).prop_map(|(minor, currency)| Money::new(minor, currency))
}

fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn wish() -> impl Strategy<Value = FundingWish> {
    prop_oneof![
        (0u32..4, proptest::option::of(fiat()))
            .prop_map(|(pool, account_currency)| FundingWish::Pool { pool, account_currency }),
        fiat().prop_map(|currency| FundingWish::Account { currency }),
        (0u32..4, fiat()).prop_map(|(pool, currency)| FundingWish::PartnerChoice { pool, currency }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let people = prop_oneof![
        (0u32..3, 0u8..4).prop_map(|(partner, name)| Step::User { partner, name }),
        (0u32..4, word(Kyc::ALL)).prop_map(|(user, to)| Step::Kyc { user, to }),
        (0u32..4, word(Status::ALL)).prop_map(|(user, status)| Step::Suspend { user, status }),
        (0u32..3, word(Status::ALL)).prop_map(|(partner, status)| Step::SuspendPartner { partner, status }),
        (0u32..3, 0u8..64).prop_map(|(partner, bits)| Step::Services { partner, bits }),
        (0u32..4, asset()).prop_map(|(user, currency)| Step::Account { user, currency }),
        (0u32..4, wish(), 0u64..4).prop_map(|(user, wish, serial)| Step::Card { user, wish, serial }),
        (0u32..4, word(CardStatus::ALL)).prop_map(|(card, status)| Step::CardStatus { card, status }),
        (0u32..3, asset(), -1i64..1_000).prop_map(|(partner, currency, minimum)| Step::Pool {
            partner,
            currency,
            minimum
        }),
        (0u32..4, -1i64..1_000, word(Status::ALL)).prop_map(|(pool, minimum, status)| Step::ChangePool {
            pool,
            minimum,
            status
        }),
    ];
    let funds = prop_oneof![
        (0u32..4, money(asset())).prop_map(|(pool, amount)| Step::TopUp { pool, amount }),
        (0usize..8, any::<bool>()).prop_map(|(pick, settle)| Step::EndTopUp { pick, settle }),
        (0u32..4, money(asset())).prop_map(|(pool, amount)| Step::Withdraw { pool, amount }),
        (0u32..6, money(fiat())).prop_map(|(account, amount)| Step::PayIn { account, amount }),
        (0u32..6, money(fiat())).prop_map(|(account, amount)| Step::Payout { account, amount }),
        (0usize..8, any::<bool>()).prop_map(|(pick, settle)| Step::EndPayout { pick, settle }),
        (0u32..4, money(asset())).prop_map(|(user, amount)| Step::Crypto { user, amount }),
    ];
    let exchange = prop_oneof![
        (asset(), asset(), -1i64..10_000_000, 0u8..14, 0u16..11_000)
            .prop_map(|(from, to, mantissa, scale, markup_bps)| Step::Rate { from, to, mantissa, scale, markup_bps }),
        (0u32..4, money(asset()), fiat()).prop_map(|(user, from, to)| Step::Quote { user, from, to }),
        (0usize..8).prop_map(|pick| Step::Execute { pick }),
        (0usize..8).prop_map(|pick| Step::Execute { pick }),
    ];
    let taps = prop_oneof![
        (0u64..4, money(fiat())).prop_map(|(serial, amount)| Step::Hold { serial, amount }),
        (0u64..4, (1i64..100_000, fiat()))
            .prop_map(|(serial, (minor, c))| Step::Force { serial, amount: Money::new(minor, c) }),
        Just(Step::Expire),
        (0i64..20_000_000).prop_map(|us| Step::Wait { us }),
    ];
    prop_oneof![3 => people, 4 => funds, 3 => exchange, 2 => taps]
}

/// A world in which things can happen: two partners, two known users, funded pool and account, some rates.
fn furnished() -> World {
    let mut world = World::new();
    let (one, _two) = (world.partner(), world.partner());
    let alice = world.known_user(one, "0");
    let _bob = world.known_user(one, "1");
    let account = world.account(alice, Currency::EUR);
    let pool = world.pool(one, Currency::EUR, 0);
    let coins = world.pool(one, Currency::USDC, 0);
    world.fill(pool, 50_000);
    world.fill(coins, 50_000_000);
    world.transfer(&pay_in(account, eur(50_000)));
    world.transfer(&crypto(alice, usdc(50_000_000)));
    world.rate(Currency::USDC, Currency::EUR, "0.92", 50);
    world.rate(Currency::EUR, Currency::USDC, "1.08", 50);
    world.card(alice, FundingWish::Pool { pool, account_currency: None }, &pan(0));
    world.card(alice, FundingWish::Account { currency: Currency::EUR }, &pan(1));
    world.policy.fx_max.insert(Currency::BTC, 50_000);
    world
}

#[derive(Default)]
struct Seen {
    top_ups: Vec<No>,
    payouts: Vec<No>,
    quotes: Vec<No>,
}

fn take(world: &mut World, seen: &mut Seen, step: Step) {
    let pick = |list: &[No], pick: usize| list.get(pick % list.len().max(1)).copied().unwrap_or(9_999);
    let command = match step {
        Step::User { partner, name } => create_user(partner, &name.to_string()),
        Step::Kyc { user, to } => kyc(user, to),
        Step::Suspend { user, status } => suspend_user(user, status),
        Step::SuspendPartner { partner, status } => suspend_partner(partner, status),
        Step::Services { partner, bits } => services(partner, bits),
        Step::Account { user, currency } => Command::OpenAccount { user, currency },
        Step::Pool { partner, currency, minimum } => Command::CreatePool { partner, currency, minimum },
        Step::ChangePool { pool, minimum, status } => {
            Command::ChangePool { pool, status: Some(status), minimum: Some(minimum) }
        }
        Step::TopUp { pool, amount } => top_up(pool, amount),
        Step::EndTopUp { pick: p, settle } => {
            let top_up = pick(&seen.top_ups, p);
            if settle { Command::SettleTopUp { top_up } } else { Command::FailTopUp { top_up } }
        }
        Step::Withdraw { pool, amount } => withdraw(pool, amount),
        Step::PayIn { account, amount } => pay_in(account, amount),
        Step::Payout { account, amount } => payout(account, amount),
        Step::EndPayout { pick: p, settle } => {
            let payout = pick(&seen.payouts, p);
            if settle { Command::SettlePayout { payout } } else { Command::FailPayout { payout } }
        }
        Step::Crypto { user, amount } => crypto(user, amount),
        Step::Rate { from, to, mantissa, scale, markup_bps } => {
            Command::SetRate { from, to, rate: Rate { mantissa, scale, markup_bps } }
        }
        Step::Quote { user, from, to } => Command::MakeQuote { user, from, to },
        Step::Execute { pick: p } => execute(pick(&seen.quotes, p)),
        Step::Card { user, wish, serial } => create_card(user, wish, &pan(serial)),
        Step::CardStatus { card, status } => Command::ChangeCard { card, status },
        Step::Hold { serial, amount } => {
            world.try_hold(&pan(serial), amount);
            return;
        }
        Step::Force { serial, amount } => {
            world.force(&pan(serial), amount);
            return;
        }
        Step::Expire => {
            world.expire_one();
            return;
        }
        Step::Wait { us } => {
            world.wait(us);
            return;
        }
    };
    // Panics when the book refuses its own events or an invariant breaks; a refusal is as good as a yes.
    match (world.run(&command), &command) {
        (Ok(Done::Transfer(no)), Command::CreateTopUp { .. }) => seen.top_ups.push(no),
        (Ok(Done::Transfer(no)), Command::CreatePayout { .. }) => seen.payouts.push(no),
        (Ok(Done::Quote(no)), _) => seen.quotes.push(no),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_commands_keeps_the_books(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = furnished();
        let mut seen = Seen::default();
        for step in steps {
            take(&mut world, &mut seen, step);
        }
        let replayed = world.replayed();
        replayed.check().expect("the replay holds the invariants");
        prop_assert_eq!(replayed.state_hash(), world.book.state_hash());
        prop_assert_eq!(replayed.last_seq(), world.book.last_seq());
    }

    #[test]
    fn any_amount_at_any_rate_is_quoted_down_or_refused(
        minor in 1i64..=i64::MAX, mantissa in 1i64..=i64::MAX, scale in 0u8..=12, markup_bps in 0u16..=10_000,
    ) {
        let mut world = furnished();
        let rate = Rate { mantissa, scale, markup_bps };
        if world.run(&Command::SetRate { from: Currency::USDC, to: Currency::JPY, rate }).is_err() {
            return Ok(());
        }
        let quoted = world.run(&Command::MakeQuote { user: 0, from: usdc(minor), to: Currency::JPY });
        if let Ok(Done::Quote(no)) = quoted {
            let quote = world.book.quote(no).expect("the quote");
            // to <= minor x mantissa x (10000 - markup) / (10^6 x 10^scale x 10^4), and one more would be too much.
            let top = i128::from(minor).checked_mul(i128::from(mantissa));
            let top = top.and_then(|t| t.checked_mul(10_000 - i128::from(markup_bps)));
            let bottom = 10i128.pow(10 + u32::from(scale));
            let to = i128::from(quote.to_amount + quote.fee);
            let top = top.expect("what was quoted was computed");
            prop_assert!(to <= top / bottom && to + 1 > top / bottom);
        }
    }
}
