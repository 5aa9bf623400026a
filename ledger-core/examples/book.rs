//! What the book costs in memory and, roughly, in time: cards, then open holds of a pool decided and applied as an
//! approving partner's would be; with a window each is remembered for repeats, with a group what so many need is fetched
//! ahead. Small enough for callgrind. It must never be quoted as a tap: nothing is journaled.
//!
//! `cargo run --release -p ledger-core --example book -- CARDS HOLDS [WINDOW_SECONDS [GROUP]]`

use std::borrow::Cow;
use std::time::Instant;

use ledger_core::book::{Ahead, Book, Policy, TapRequest, TapType, approval_code};
use ledger_core::event::Event;
use ledger_core::event::admin::{
    AccountOpened, CardCreated, Funding, KycChanged, PartnerCreated, PartnerTerms, PoolCreated, Started, Transfer,
    TransferEnded, UserCreated,
};
use ledger_core::event::posting::{Ledger, Postings};
use ledger_core::event::tap::{Raw, RepeatKey, Reply, TapTaken, Trace};
use ledger_core::event::words::{Class, DecisionMode, Kind, Kyc, Reason, Status};
use ledger_core::money::Currency;
use ledger_core::time::{Timestamp, YearMonth};

const START: Timestamp = Timestamp(1_800_000_000_000_000);
const FUNDS: i64 = 1_000_000_000_000_000;

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

struct World {
    book: Book,
    policy: Policy,
    now: Timestamp,
}

/// Spreads a number over sixteen bytes, as a keyed hash does.
fn spread(n: u64) -> [u8; 16] {
    let wide = u128::from(n ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
    (wide ^ (wide >> 61)).wrapping_mul(0xda94_2042_e4dd_58b5_d1b5_4a32_d192_ed03).to_le_bytes()
}

/// The elements by which the tap of this number is known.
fn trace_of(n: u64) -> Trace {
    let [a, b, c, d, e, f, g, h, ..] = spread(n);
    Trace {
        stan: u32::try_from(n % 1_000_000).unwrap_or(0),
        transmitted: 1_122_101_530,
        acquirer: 4_321,
        forwarder: 0,
        reference: [a, b, c, d, e, f, g, h, 1],
        settlement: 1_122,
    }
}

fn repeat_of(n: u64) -> [u8; 16] {
    spread(n + (1 << 40))
}

impl World {
    fn apply(&mut self, event: &Event<'_>) {
        let seq = self.book.last_seq() + 1;
        self.book.apply(seq, self.now, event).expect("the event fits the book");
    }

    fn no(&self) -> u64 {
        self.book.next_id().no
    }

    /// A partner with a filled pool.
    fn new(dedup_window_us: i64) -> Self {
        let mut world = Self { book: Book::default(), policy: Policy::default(), now: START };
        world.apply(&Event::Started(Started { epoch: 1, version: "book".into(), dedup_window_us }));
        let terms = PartnerTerms {
            name: "Neo".into(),
            decision_url: None,
            decision_mode: DecisionMode::AutoApprove,
            decision_timeout_ms: None,
            services: 0xff,
            timeout_code: None,
            unreachable_code: None,
            bad_response_code: None,
            status: Status::Active,
        };
        let no = world.no();
        world.apply(&Event::PartnerCreated(PartnerCreated { no, terms, secret: Cow::Borrowed(&[1; 32]) }));
        let no = world.no();
        world.apply(&Event::PoolCreated(PoolCreated { no, partner: 0, currency: Currency::EUR, minimum: 0 }));
        let top_up = world.no();
        world.apply(&Event::TopUpCreated(Transfer {
            no: top_up,
            party: 0,
            currency: Currency::EUR,
            amount: FUNDS,
            reference: "funds".into(),
            beneficiary: None,
            postings: Postings::none(),
        }));
        let mut postings = Postings::none();
        postings.transfer(Ledger::Bank, Ledger::PoolAvailable(0), Currency::EUR, FUNDS);
        world.apply(&Event::TopUpSettled(TransferEnded { no: top_up, postings }));
        world
    }

    /// An approved user with an account.
    fn user(&mut self, user: u32) {
        let (no, external) = (self.no(), format!("user-{user:08}"));
        let country = "DE".into();
        self.apply(&Event::UserCreated(UserCreated {
            no,
            partner: 0,
            external_id: external.into(),
            country,
            time_zone: None,
        }));
        for status in [Kyc::Submitted, Kyc::InReview, Kyc::Approved] {
            let (level, provider, reference, reason) = (None, None, None, None);
            self.apply(&Event::KycChanged(KycChanged { user, status, level, provider, reference, reason }));
        }
        let no = self.no();
        self.apply(&Event::AccountOpened(AccountOpened { no, user, currency: Currency::EUR }));
    }

    /// A user's card on the pool.
    fn card(&mut self, card: u32) {
        let no = self.no();
        self.apply(&Event::CardCreated(CardCreated {
            no,
            user: card,
            funding: Funding::Pool { pool: 0, linked: card },
            fingerprint: spread(card.into()),
            last4: 4242,
            expires: YearMonth(3012),
            pan: Cow::Borrowed(&[2; 40]),
        }));
    }

    /// Fetches what these taps and their cards will need.
    fn warm(&self, taps: impl Iterator<Item = (u64, u32)>) {
        let keys: Vec<_> = taps.map(|(n, card)| (spread(card.into()), repeat_of(n), trace_of(n))).collect();
        self.book.warm(keys.iter().map(|(fingerprint, repeat, trace)| Ahead { fingerprint, repeat, trace }));
    }

    /// Decides and applies a purchase, approved.
    fn tap(&mut self, n: u64, card: u32) {
        let request = TapRequest {
            class: Class::Authorization,
            kind: TapType::Hold(Kind::Purchase),
            fingerprint: spread(card.into()),
            expiry: None,
            amount: 1_250,
            currency: Some(Currency::EUR),
            merchant_amount: 1_250,
            merchant_currency: 978,
            billed: false,
            trace: trace_of(n),
            original: None,
            partial_supported: false,
        };
        let decision = self.book.decide_tap(&request, &self.policy, self.now);
        assert_eq!(decision.reason, Some(Reason::Approved), "the pool pays");
        let reply = Reply {
            reason: Reason::Approved,
            response_code: *b"00",
            approval_code: approval_code(decision.facts.no),
            partial: None,
            balance: None,
        };
        self.apply(&Event::TapTaken(TapTaken {
            facts: decision.facts,
            repeat: RepeatKey { key: repeat_of(n), content: 7 },
            raw: Raw { link: 0, sealed: Cow::Borrowed(&[]) },
            reply: Some(reply),
            first: decision.holds[0],
            second: decision.holds[1],
            cleared: decision.cleared,
            postings: decision.postings,
            partial_supported: false,
        }));
        self.book.take_touched(|_, _| {});
        self.now = self.now.plus_us(10);
    }
}

fn main() {
    let counts: Result<Vec<u32>, _> = std::env::args().skip(1).map(|word| word.parse()).collect();
    let (cards, holds, window, group) = match counts.as_deref() {
        Ok([]) => (10_000, 100_000, 0, 1),
        Ok([cards, holds]) if *cards > 0 => (*cards, *holds, 0, 1),
        Ok([cards, holds, window]) if *cards > 0 => (*cards, *holds, *window, 1),
        Ok([cards, holds, window, group]) if *cards > 0 && *group > 0 => (*cards, *holds, *window, *group),
        _ => {
            eprintln!(
                "two numbers are needed: how many cards (at least one), and how many open holds; a third is the \
                 window for repeats in seconds, a fourth how many taps fetch ahead together (at least one)"
            );
            std::process::exit(2);
        }
    };
    let mut world = World::new(i64::from(window) * 1_000_000);
    let per = |from: u64, count: u32| (resident() - from) / u64::from(count.max(1));
    let before = resident();
    (0..cards).for_each(|user| world.user(user));
    println!("{} bytes per user with an account ({cards})", per(before, cards));
    let before = resident();
    (0..cards).for_each(|card| world.card(card));
    println!("{} bytes per idle card ({cards})", per(before, cards));
    let (before, from) = (resident(), Instant::now());
    let card_of = |n: u64| u32::try_from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).unwrap_or(0) % cards;
    for n in 0..u64::from(holds) {
        // A lone tap fetches nothing ahead, as in the engine.
        if group > 1 && n % u64::from(group) == 0 {
            world.warm((n..n + u64::from(group)).map(|n| (n, card_of(n))));
        }
        world.tap(n, card_of(n));
    }
    let took = from.elapsed().as_nanos() / u128::from(holds.max(1));
    let remembered = if window == 0 { "" } else { " with what its repeats are known by" };
    println!("{} bytes per open hold{remembered} ({holds}), {took} ns each to decide and apply", per(before, holds));
    assert_eq!(world.book.open_holds(), holds as usize, "every hold is open");
}
