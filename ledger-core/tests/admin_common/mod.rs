//! A book driven as the shard drives it: commands become events, events go through their bytes, the book folds them.
//! Keeps the bytes, so that every test can be replayed.
#![allow(dead_code)] // each test file uses its part
#![allow(missing_docs, unreachable_pub)]

use std::borrow::Cow;

use ledger_core::book::{
    AdviceRequest, Book, Command, Done, FundingWish, Movement, PartnerChange, Policy, Refusal, Sealer, TapRequest,
    TapType,
};
use ledger_core::event::Event;
use ledger_core::event::admin::Started;
use ledger_core::event::tap::{Advised, HoldExpired, Raw, RepeatKey, Reply, TapTaken, Trace};
use ledger_core::event::words::{Class, Kind, Kyc, Reason, Status};
use ledger_core::id::No;
use ledger_core::money::{Currency, Money, Rate};
use ledger_core::time::{Timestamp, YearMonth};
use zeroize::Zeroizing;

/// 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp(1_767_225_600_000_000);
pub const SECOND: i64 = 1_000_000;

/// Shows in its output what it was asked with, and is no clear text.
pub struct Tagged;

impl Sealer for Tagged {
    fn seal(&self, seq: u64, field: u16, plain: &[u8]) -> Vec<u8> {
        let mut out = seq.to_be_bytes().to_vec();
        out.extend(field.to_be_bytes());
        out.extend(plain.iter().map(|b| b ^ 0xa5));
        out
    }
}

pub struct World {
    pub book: Book,
    pub now: Timestamp,
    pub policy: Policy,
    journal: Vec<(Timestamp, Vec<u8>)>,
    taps: u32,
    /// Nothing goes by way of bytes or is kept for a replay, and the whole book is not checked behind each message.
    pub unrecorded: bool,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            book: Book::default(),
            now: START,
            policy: Policy::default(),
            journal: vec![],
            taps: 0,
            unrecorded: false,
        };
        let version = Cow::Borrowed("test");
        world.apply(Event::Started(Started { epoch: 1, version, dedup_window_us: 3_600 * SECOND }));
        world
    }

    /// Folds one event in, by way of its bytes.
    pub fn apply(&mut self, event: Event<'_>) {
        if self.unrecorded {
            self.book.apply(self.book.last_seq() + 1, self.now, &event).expect("the book takes its own event");
            return;
        }
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        let read = Event::decode(&bytes).expect("what was written can be read");
        assert_eq!(read, event, "the bytes say what the event said");
        self.book.apply(self.book.last_seq() + 1, self.now, &read).expect("the book takes its own event");
        self.journal.push((self.now, bytes));
    }

    /// Decides and folds; the whole book is checked after each command.
    pub fn run(&mut self, command: &Command) -> Result<Done, Refusal> {
        let before = self.book.state_hash();
        let decided = self.book.decide_command(command, &self.policy, self.now, &Tagged);
        assert_eq!(self.book.state_hash(), before, "deciding changes nothing");
        let (events, done) = decided?;
        for event in events {
            self.apply(event);
        }
        self.book.check().expect("the invariants hold");
        Ok(done)
    }

    /// Another book from the same bytes.
    pub fn replayed(&self) -> Book {
        let mut book = Book::default();
        for (at, bytes) in &self.journal {
            let event = Event::decode(bytes).expect("what was written can be read");
            book.apply(book.last_seq() + 1, *at, &event).expect("a replay takes what the book took");
        }
        book
    }

    /// What was applied, as a journal has it.
    pub fn applied(&self) -> &[(Timestamp, Vec<u8>)] {
        &self.journal
    }

    pub fn wait(&mut self, us: i64) {
        self.now = self.now.plus_us(us);
    }

    pub fn events(&self) -> usize {
        self.journal.len()
    }

    pub fn partner(&mut self) -> u32 {
        let done = self.run(&Command::CreatePartner { terms: named("Neo"), secret: secret(1) });
        match done.expect("a partner") {
            Done::Partner(index) => index,
            other => panic!("{other:?} is no partner"),
        }
    }

    pub fn user(&mut self, partner: u32, external_id: &str) -> u32 {
        match self.run(&create_user(partner, external_id)).expect("a user") {
            Done::User(index) => index,
            other => panic!("{other:?} is no user"),
        }
    }

    pub fn kyc(&mut self, user: u32, steps: &[Kyc]) {
        for step in steps {
            self.run(&kyc(user, *step)).expect("a step of KYC");
        }
    }

    /// A user whose KYC is approved.
    pub fn known_user(&mut self, partner: u32, external_id: &str) -> u32 {
        let user = self.user(partner, external_id);
        self.kyc(user, &[Kyc::Submitted, Kyc::InReview, Kyc::Approved]);
        user
    }

    pub fn account(&mut self, user: u32, currency: Currency) -> u32 {
        match self.run(&Command::OpenAccount { user, currency }).expect("an account") {
            Done::Account(index, _) => index,
            other => panic!("{other:?} is no account"),
        }
    }

    pub fn pool(&mut self, partner: u32, currency: Currency, minimum: i64) -> u32 {
        match self.run(&Command::CreatePool { partner, currency, minimum }).expect("a pool") {
            Done::Pool(index) => index,
            other => panic!("{other:?} is no pool"),
        }
    }

    pub fn card(&mut self, user: u32, funding: FundingWish, pan: &[u8]) -> u32 {
        match self.run(&create_card(user, funding, pan)).expect("a card") {
            Done::Card(index) => index,
            other => panic!("{other:?} is no card"),
        }
    }

    /// Prefunds a pool.
    pub fn fill(&mut self, pool: u32, minor: i64) {
        let currency = self.book.pool(pool).expect("the pool").currency;
        let top_up = self.transfer(&top_up(pool, Money::new(minor, currency)));
        self.run(&Command::SettleTopUp { top_up }).expect("it settles");
    }

    pub fn transfer(&mut self, command: &Command) -> No {
        match self.run(command).expect("a transfer") {
            Done::Transfer(no) => no,
            other => panic!("{other:?} is no transfer"),
        }
    }

    pub fn quote(&mut self, user: u32, from: Money, to: Currency) -> No {
        match self.run(&Command::MakeQuote { user, from, to }).expect("a quote") {
            Done::Quote(no) => no,
            other => panic!("{other:?} is no quote"),
        }
    }

    pub fn rate(&mut self, from: Currency, to: Currency, text: &str, markup_bps: u16) {
        let rate = Rate::parse(text, markup_bps).expect("a rate");
        self.run(&Command::SetRate { from, to, rate }).expect("the rate is set");
    }

    fn tap(&mut self, pan: &[u8], amount: Money, class: Class) -> TapRequest {
        self.taps += 1;
        TapRequest {
            class,
            kind: TapType::Hold(Kind::Purchase),
            fingerprint: fingerprint(pan),
            expiry: None,
            amount: amount.minor,
            currency: Some(amount.currency),
            merchant_amount: amount.minor,
            merchant_currency: amount.currency.number(),
            billed: false,
            trace: Trace { stan: self.taps, transmitted: 101_000_000, ..Trace::default() },
            original: None,
            partial_supported: false,
        }
    }

    fn repeat(&self) -> RepeatKey {
        let mut key = [0; 16];
        key.iter_mut().zip(self.taps.to_be_bytes()).for_each(|(k, t)| *k = t);
        RepeatKey { key, content: 0 }
    }

    fn approval(&self) -> Reply {
        let (reason, response_code) = (Reason::Approved, *b"00");
        Reply { reason, response_code, approval_code: self.taps, partial: None, balance: None }
    }

    /// Holds money by an approved tap; false when the book has a reason against it.
    pub fn try_hold(&mut self, pan: &[u8], amount: Money) -> bool {
        let request = self.tap(pan, amount, Class::Authorization);
        let decision = self.book.decide_tap(&request, &self.policy, self.now);
        let [first, second] = decision.holds;
        if first.is_none() && second.is_none() {
            return false;
        }
        self.apply(Event::TapTaken(TapTaken {
            facts: decision.facts,
            repeat: self.repeat(),
            raw: Raw { link: 0, sealed: Cow::Borrowed(b"raw") },
            reply: Some(self.approval()),
            first,
            second,
            cleared: 0,
            postings: decision.postings,
            partial_supported: false,
        }));
        self.book.check().expect("the invariants hold");
        true
    }

    /// Holds money by an approved tap.
    pub fn hold(&mut self, pan: &[u8], amount: Money) {
        assert!(self.try_hold(pan, amount), "the tap holds");
    }

    /// Holds money by an advice, whether it is there or not.
    pub fn force(&mut self, pan: &[u8], amount: Money) {
        let tap = self.tap(pan, amount, Class::AuthorizationAdvice);
        let request = AdviceRequest { tap, approved: true };
        let decision = self.book.decide_advice(&request, &self.policy, self.now);
        self.apply(Event::Advised(Advised {
            facts: decision.facts,
            repeat: self.repeat(),
            raw: Raw { link: 0, sealed: Cow::Borrowed(b"raw") },
            reply: self.approval(),
            target: decision.target,
            previous: 0,
            hold: decision.hold,
            state: decision.state,
            cleared: decision.cleared,
            changes: decision.changes,
            postings: decision.postings,
            advised_code: *b"00",
        }));
        self.book.check().expect("the invariants hold");
    }

    /// Ends the hold of the oldest open authorization, if there is one.
    pub fn expire_one(&mut self) -> bool {
        let oldest = self.book.authorizations().filter(|a| a.is_open()).map(|a| a.id.no).min();
        let Some(no) = oldest else { return false };
        let previous = self.book.authorization(no).map_or(0, |a| a.last_seq);
        let Some(Movement { changes, postings }) = self.book.decide_expiry(no) else { return false };
        self.apply(Event::HoldExpired(HoldExpired { no, previous, changes, postings }));
        self.book.check().expect("the invariants hold");
        true
    }
}

pub fn named(name: &str) -> PartnerChange {
    PartnerChange { name: Some(name.to_owned()), ..PartnerChange::default() }
}

pub fn secret(fill: u8) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![fill; 32])
}

pub fn create_user(partner: u32, external_id: &str) -> Command {
    Command::CreateUser {
        partner,
        external_id: external_id.to_owned(),
        country: "DE".to_owned(),
        time_zone: Some("Europe/Berlin".to_owned()),
    }
}

pub fn kyc(user: u32, status: Kyc) -> Command {
    Command::MoveKyc { user, status, level: None, provider: None, reference: None, reason: None }
}

pub fn create_card(user: u32, funding: FundingWish, pan: &[u8]) -> Command {
    Command::CreateCard {
        user,
        funding,
        pan: Zeroizing::new(pan.to_vec()),
        fingerprint: fingerprint(pan),
        expires: YearMonth(2901),
    }
}

pub fn fingerprint(pan: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(pan).for_each(|(o, p)| *o = p ^ 0x5a);
    out
}

/// A PAN of the sandbox's BIN with a right check digit.
pub fn pan(serial: u64) -> Vec<u8> {
    let body = format!("53511012{serial:07}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, c)| {
            let digit = u32::from(c - b'0');
            if i % 2 == 1 {
                digit
            } else if digit > 4 {
                digit * 2 - 9
            } else {
                digit * 2
            }
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10).into_bytes()
}

pub fn top_up(pool: u32, amount: Money) -> Command {
    Command::CreateTopUp { pool, amount, reference: "T-1".to_owned() }
}

pub fn withdraw(pool: u32, amount: Money) -> Command {
    Command::Withdraw { pool, amount, reference: "W-1".to_owned() }
}

pub fn pay_in(account: u32, amount: Money) -> Command {
    Command::PayIn { account, amount, reference: "I-1".to_owned() }
}

pub fn payout(account: u32, amount: Money) -> Command {
    Command::CreatePayout { account, amount, beneficiary: "Alice".to_owned(), reference: "P-1".to_owned() }
}

pub fn crypto(user: u32, amount: Money) -> Command {
    Command::ReceiveCrypto { user, amount, reference: "C-1".to_owned() }
}

pub fn execute(quote: No) -> Command {
    Command::ExecuteQuote { quote, reference: None }
}

pub fn suspend_partner(partner: u32, status: Status) -> Command {
    let change = PartnerChange { status: Some(status), ..PartnerChange::default() };
    Command::ChangePartner { partner, change }
}

pub fn suspend_user(user: u32, status: Status) -> Command {
    Command::ChangeUser { user, status: Some(status), country: None, time_zone: None }
}

pub fn services(partner: u32, bits: u8) -> Command {
    let change = PartnerChange { services: Some(bits), ..PartnerChange::default() };
    Command::ChangePartner { partner, change }
}

pub const fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

pub const fn usdc(minor: i64) -> Money {
    Money::new(minor, Currency::USDC)
}
