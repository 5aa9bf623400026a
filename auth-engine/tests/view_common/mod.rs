//! A book driven as the shard drives it, its events kept as the journal would give them back, and a view over them.
#![allow(dead_code)] // each test file uses its part
#![allow(missing_docs, unreachable_pub)]

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth_engine::view::docs::{MerchantDoc, NetworkDoc, PosDoc};
use auth_engine::view::feed::{FeederHandle, Source};
use auth_engine::view::fold::{Described, Requests};
use auth_engine::view::{OpenReport, PageRequest, View, ViewError};
use ledger_core::book::{
    Book, Command, Done, FundingWish, PartnerChange, PartnerVerdict, Policy, Refusal, ReversalRequest, Sealer,
    TapRequest, TapType,
};
use ledger_core::event::Event;
use ledger_core::event::admin::{LinkDefined, Started};
use ledger_core::event::tap::{
    HoldExpired, OriginalData, Raw, RepeatKey, Reply, ReplyLate, Reversed, Said, TapDecided, TapTaken, Trace,
};
use ledger_core::event::words::{Class, Kind, Kyc, Reason};
use ledger_core::id::{Id, No};
use ledger_core::journal::OwnedRecord;
use ledger_core::money::{Currency, Money, Rate};
use ledger_core::time::{Timestamp, YearMonth};
use zeroize::Zeroizing;

/// 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp(1_767_225_600_000_000);
pub const SECOND: i64 = 1_000_000;
pub const PAN: &[u8] = b"5351101200004240";
const FINGERPRINT: u8 = 7;

struct NoSeal;

impl Sealer for NoSeal {
    fn seal(&self, _: u64, _: u16, plain: &[u8]) -> Vec<u8> {
        plain.iter().map(|b| b ^ 0xa5).collect()
    }
}

/// Tells what was sealed as the merchant's name.
pub struct Plain;

impl Requests for Plain {
    fn describe(&self, spec: &str, _: u32, _: u64, _: Timestamp, sealed: &[u8]) -> Option<Described> {
        let name = String::from_utf8(sealed.to_vec()).ok()?;
        let merchant = MerchantDoc { name: Some(name), ..MerchantDoc::default() };
        Some((merchant, PosDoc::default(), NetworkDoc { name: spec.to_owned(), ..NetworkDoc::default() }))
    }
}

pub type Records = Arc<Mutex<Vec<OwnedRecord>>>;

pub struct World {
    pub book: Book,
    pub now: Timestamp,
    pub policy: Policy,
    pub records: Records,
    pub epoch: u32,
    taps: u32,
}

/// What most tests begin with.
pub struct Cast {
    pub partner: u32,
    pub user: u32,
    pub pool: u32,
    pub account: u32,
    pub pool_card: u32,
    pub account_card: u32,
    pub choice_card: u32,
}

pub fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            book: Book::default(),
            now: START,
            policy: Policy::default(),
            records: Records::default(),
            epoch: 1,
            taps: 0,
        };
        world.apply(Event::Started(Started {
            epoch: 1,
            version: Cow::Borrowed("test"),
            dedup_window_us: 3_600 * SECOND,
        }));
        world.apply(Event::LinkDefined(LinkDefined {
            link: 0,
            name: Cow::Borrowed("mastercard"),
            spec: Cow::Borrowed("mastercard"),
        }));
        world
    }

    pub fn apply(&mut self, event: Event<'_>) {
        let mut payload = Vec::new();
        event.encode(&mut payload);
        let seq = self.book.last_seq() + 1;
        self.book.apply(seq, self.now, &event).expect("the book takes its own event");
        self.records.lock().expect("unpoisoned").push(OwnedRecord { seq, at: self.now.0, epoch: self.epoch, payload });
        self.now = self.now.plus_us(SECOND);
    }

    pub fn try_run(&mut self, command: Command) -> Result<Done, Refusal> {
        let (events, done) = self.book.decide_command(&command, &self.policy, self.now, &NoSeal)?;
        for event in events {
            self.apply(event);
        }
        Ok(done)
    }

    pub fn run(&mut self, command: Command) -> Done {
        self.try_run(command).expect("the book takes the command")
    }

    pub fn partner(&mut self, name: &str) -> u32 {
        let terms = PartnerChange { name: Some(name.to_owned()), ..PartnerChange::default() };
        match self.run(Command::CreatePartner { terms, secret: Zeroizing::new(vec![1; 24]) }) {
            Done::Partner(index) => index,
            other => panic!("{other:?}"),
        }
    }

    pub fn user(&mut self, partner: u32, name: &str) -> u32 {
        let made = self.run(Command::CreateUser {
            partner,
            external_id: name.to_owned(),
            country: "DE".to_owned(),
            time_zone: None,
        });
        let Done::User(user) = made else { panic!("{made:?}") };
        for status in [Kyc::Submitted, Kyc::InReview, Kyc::Approved] {
            self.run(Command::MoveKyc { user, status, level: None, provider: None, reference: None, reason: None });
        }
        user
    }

    pub fn pool(&mut self, partner: u32, currency: Currency, funds: i64) -> u32 {
        let made = self.run(Command::CreatePool { partner, currency, minimum: 0 });
        let Done::Pool(pool) = made else { panic!("{made:?}") };
        if funds > 0 {
            let amount = Money::new(funds, currency);
            let made = self.run(Command::CreateTopUp { pool, amount, reference: "prefund".to_owned() });
            let Done::Transfer(top_up) = made else { panic!("{made:?}") };
            self.run(Command::SettleTopUp { top_up });
        }
        pool
    }

    pub fn card(&mut self, user: u32, funding: FundingWish, fingerprint: u8) -> u32 {
        let made = self.run(Command::CreateCard {
            user,
            funding,
            pan: Zeroizing::new(PAN.to_vec()),
            fingerprint: [fingerprint; 16],
            expires: YearMonth(2901),
        });
        let Done::Card(card) = made else { panic!("{made:?}") };
        card
    }

    /// A partner with a user, a pool of 1,000.00 and an account of 500.00, and a card of each funding.
    pub fn cast(&mut self) -> Cast {
        let partner = self.partner("Nubank");
        let user = self.user(partner, "alice");
        let pool = self.pool(partner, Currency::EUR, 100_000);
        let account = match self.run(Command::OpenAccount { user, currency: Currency::EUR }) {
            Done::Account(account, _) => account,
            other => panic!("{other:?}"),
        };
        self.run(Command::PayIn { account, amount: eur(50_000), reference: "salary".to_owned() });
        let pool_card = self.card(user, FundingWish::Pool { pool, account_currency: None }, FINGERPRINT);
        let account_card = self.card(user, FundingWish::Account { currency: Currency::EUR }, FINGERPRINT + 1);
        let choice = FundingWish::PartnerChoice { pool, currency: Currency::EUR };
        let choice_card = self.card(user, choice, FINGERPRINT + 2);
        Cast { partner, user, pool, account, pool_card, account_card, choice_card }
    }

    /// A tap on a card as the switch would make it; pending when its partner is to be asked.
    pub fn tap_as(&mut self, card: u32, class: Class, kind: TapType, amount: i64) -> No {
        self.taps += 1;
        let fingerprint = self.book.card(card).map_or([0xee; 16], |c| c.fingerprint);
        let mut reference = [b' '; 9];
        reference.copy_from_slice(format!("MCC{:06}", self.taps).as_bytes());
        let request = TapRequest {
            class,
            kind,
            fingerprint,
            expiry: None,
            amount,
            currency: Some(Currency::EUR),
            merchant_amount: amount,
            merchant_currency: 978,
            billed: false,
            trace: Trace { stan: self.taps, transmitted: 101_000_000 + self.taps, reference, ..Trace::default() },
            original: None,
            partial_supported: true,
        };
        let decision = self.book.decide_tap(&request, &self.policy, self.now);
        let no = decision.facts.no;
        let reply = decision.reason.map(|reason| reply(reason, None));
        let repeat = self.repeat();
        self.apply(Event::TapTaken(TapTaken {
            facts: decision.facts,
            repeat,
            raw: Raw { link: 0, sealed: Cow::Borrowed(b"Bakery") },
            reply,
            first: decision.holds[0],
            second: decision.holds[1],
            cleared: decision.cleared,
            postings: decision.postings,
            partial_supported: true,
        }));
        no
    }

    pub fn tap(&mut self, card: u32, amount: i64) -> No {
        self.tap_as(card, Class::Authorization, TapType::Hold(Kind::Purchase), amount)
    }

    fn repeat(&self) -> RepeatKey {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.book.last_seq().to_be_bytes());
        RepeatKey { key, content: 0 }
    }

    pub fn last_of(&self, no: No) -> u64 {
        self.book.authorization(no).expect("known").last_seq
    }

    pub fn answer(&mut self, no: No, verdict: PartnerVerdict<'_>, body: &'static [u8]) {
        let Some(decision) = self.book.decide_answer(no, verdict) else { return };
        let said = Said {
            outcome: decision.outcome,
            reason: None,
            latency_us: 1_500,
            late_by_us: None,
            body: Cow::Borrowed(body),
            metadata_dropped: false,
        };
        self.apply(Event::TapDecided(TapDecided {
            no,
            previous: self.last_of(no),
            reply: reply(decision.reason, decision.partial),
            said: Some(said),
            changes: decision.changes,
            postings: decision.postings,
        }));
    }

    pub fn approve(&mut self, no: No) {
        self.answer(no, PartnerVerdict::Approve { amount: None, source: None }, br#"{"decision":"approve"}"#);
    }

    /// Reverses a tap, wholly or down to what it keeps.
    pub fn reverse(&mut self, no: No, keep: Option<i64>) {
        let original = self.book.authorization(no).expect("known").clone();
        let card = original.facts.card.and_then(|c| self.book.card(c)).expect("a card");
        let request = ReversalRequest {
            fingerprint: card.fingerprint,
            original: Some(OriginalData {
                financial: matches!(original.facts.class, Class::Financial),
                stan: original.facts.trace.stan,
                transmitted: original.facts.trace.transmitted,
                acquirer: 0,
                forwarder: 0,
            }),
            trace: None,
            approval_code: None,
            keep_transaction: keep,
            keep_billing: None,
        };
        let decision = self.book.decide_reversal(&request);
        let (no, previous) = (self.book.next_id().no, decision.target.map_or(0, |no| self.last_of(no)));
        let repeat = self.repeat();
        self.apply(Event::Reversed(Reversed {
            no,
            repeat,
            raw: Raw { link: 0, sealed: Cow::Borrowed(b"Reversal") },
            reply: reply(Reason::Approved, None),
            target: decision.target,
            previous,
            changes: decision.movement.changes,
            postings: decision.movement.postings,
            unmatched: decision.unmatched,
        }));
    }

    pub fn expire(&mut self, no: No) {
        let Some(movement) = self.book.decide_expiry(no) else { return };
        let (previous, postings) = (self.last_of(no), movement.postings);
        self.apply(Event::HoldExpired(HoldExpired { no, previous, changes: movement.changes, postings }));
    }

    pub fn reply_late(&mut self, no: No) {
        let Some(movement) = self.book.decide_reply_late(no) else { return };
        let repeat = self.book.authorization(no).expect("known").repeat;
        let (previous, postings) = (self.last_of(no), movement.postings);
        self.apply(Event::ReplyLate(ReplyLate {
            no,
            previous,
            changes: movement.changes,
            postings,
            raw: None,
            repeat,
        }));
    }

    pub fn set_rate(&mut self, from: Currency, to: Currency, rate: &str) {
        let rate = Rate::parse(rate, 0).expect("a rate");
        self.run(Command::SetRate { from, to, rate });
    }

    pub fn id(&self, no: No) -> Id {
        Id { epoch: self.epoch, no }
    }

    pub fn last_seq(&self) -> u64 {
        self.book.last_seq()
    }

    /// The events so far, of which more may come.
    pub fn source(&self) -> Box<dyn Source> {
        Box::new(Kept(Arc::clone(&self.records)))
    }
}

pub fn reply(reason: Reason, partial: Option<i64>) -> Reply {
    let (response_code, approval_code) = match (reason, partial) {
        (Reason::Approved, None) => (*b"00", 123_456),
        (Reason::Approved, Some(_)) => (*b"10", 123_456),
        _ => (*b"05", 0),
    };
    Reply { reason, response_code, approval_code, partial, balance: None }
}

struct Kept(Records);

impl Source for Kept {
    fn read_from(&mut self, from: u64, most: usize) -> Result<Vec<OwnedRecord>, String> {
        let records = self.0.lock().map_err(|e| e.to_string())?;
        let first = usize::try_from(from.saturating_sub(1)).map_err(|e| e.to_string())?;
        Ok(records.iter().skip(first).take(most).cloned().collect())
    }
}

/// A view that has folded in all there is.
pub fn caught_up(dir: &Path, world: &World) -> (View, FeederHandle, OpenReport) {
    let (view, report) = View::open(dir, world.last_seq()).expect("the view opens");
    let feeder = view.start(world.source(), Arc::new(Plain));
    wait(&view, world.last_seq());
    (view, feeder, report)
}

pub fn wait(view: &View, seq: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(view.wait_for(seq, Duration::from_secs(60))).expect("the view comes this far");
}

/// Every page of a list, one after the other.
pub fn all_pages<T>(
    limit: u64,
    mut list: impl FnMut(&PageRequest) -> Result<auth_engine::view::docs::Page<T>, ViewError>,
) -> Vec<T> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let page = list(&PageRequest::new(Some(limit), cursor).expect("a limit")).expect("a page");
        assert!(page.data.len() <= usize::try_from(limit).expect("small"));
        all.extend(page.data);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}
