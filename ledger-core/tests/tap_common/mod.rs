//! A town with every kind of funding, and the messages of the switch as one call each: decided, folded by way of
//! their bytes, the whole book checked behind them.
#![allow(dead_code)] // each test file uses its part
#![allow(missing_docs, unreachable_pub)]

use std::borrow::Cow;

use ledger_core::book::{
    AdviceDecision, AdviceRequest, Authorization, Command, FundingWish, PartnerChange, PartnerVerdict,
    ReversalDecision, ReversalRequest, TapDecision, TapRequest, TapType, approval_code,
};
use ledger_core::event::Event;
use ledger_core::event::posting::Ledger;
use ledger_core::event::tap::{
    Advised, AnsweredTooLate, HoldExpired, OriginalData, Raw, RepeatKey, Reply, ReplyLate, Reversed, Said, Source,
    TapDecided, TapTaken, Trace, TraceId,
};
use ledger_core::event::words::{Class, DecisionMode, Kind, PartnerOutcome, Reason};
use ledger_core::id::No;
use ledger_core::money::{Currency, Money};

use crate::admin_common::*;

/// One partner, one user, one card of each funding.
pub struct Town {
    pub world: World,
    pub partner: u32,
    pub user: u32,
    /// EUR.
    pub pool: u32,
    /// USDC.
    pub coins: u32,
    /// EUR.
    pub account: u32,
    pub pool_card: Vec<u8>,
    pub account_card: Vec<u8>,
    pub choice_card: Vec<u8>,
    pub coin_card: Vec<u8>,
}

pub const POOL_MONEY: i64 = 100_000;
pub const COIN_MONEY: i64 = 2_000_000_000;
pub const ACCOUNT_MONEY: i64 = 50_000;

impl Town {
    pub fn new() -> Self {
        let mut world = World::new();
        let partner = world.partner();
        let user = world.known_user(partner, "alice");
        let pool = world.pool(partner, Currency::EUR, 0);
        let coins = world.pool(partner, Currency::USDC, 0);
        let account = world.account(user, Currency::EUR);
        let [pool_card, account_card, choice_card, coin_card] = [1, 2, 3, 4].map(pan);
        world.card(user, FundingWish::Pool { pool, account_currency: None }, &pool_card);
        world.card(user, FundingWish::Account { currency: Currency::EUR }, &account_card);
        world.card(user, FundingWish::PartnerChoice { pool, currency: Currency::EUR }, &choice_card);
        world.card(user, FundingWish::Pool { pool: coins, account_currency: Some(Currency::EUR) }, &coin_card);
        world.rate(Currency::EUR, Currency::USDC, "1.1", 100);
        world.fill(pool, POOL_MONEY);
        world.fill(coins, COIN_MONEY);
        world.run(&pay_in(account, eur(ACCOUNT_MONEY))).expect("money arrives");
        Self { world, partner, user, pool, coins, account, pool_card, account_card, choice_card, coin_card }
    }

    pub fn mode(&mut self, mode: DecisionMode) {
        let change = PartnerChange { decision_mode: Some(mode), ..PartnerChange::default() };
        self.world.run(&Command::ChangePartner { partner: self.partner, change }).expect("the mode changes");
    }

    /// Available and held of the EUR pool, the USDC pool and the account.
    pub fn balances(&self) -> [(i64, i64); 3] {
        [Source::Pool(self.pool), Source::Pool(self.coins), Source::Account(self.account)]
            .map(|s| self.world.book.source(s).map_or((0, 0), |(_, b)| (b.available, b.held)))
    }

    pub fn general(&self, ledger: Ledger, currency: Currency) -> i64 {
        self.world.book.ledger_balance(ledger, currency)
    }

    pub fn scheme(&self) -> i64 {
        self.general(Ledger::Scheme, Currency::EUR)
    }

    pub fn owed(&self, currency: Currency) -> i64 {
        self.general(Ledger::Receivable(self.partner), currency)
    }
}

/// What a tap became.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub no: No,
    /// None: the partner is asked.
    pub reason: Option<Reason>,
    pub decision: TapDecision,
}

impl World {
    /// A purchase with elements of its own.
    pub fn purchase(&self, pan: &[u8], amount: Money) -> TapRequest {
        let stan = u32::try_from(self.book.next_id().no % 1_000_000).unwrap_or(0);
        TapRequest {
            class: Class::Authorization,
            kind: TapType::Hold(Kind::Purchase),
            fingerprint: fingerprint(pan),
            expiry: None,
            amount: amount.minor,
            currency: Some(amount.currency),
            merchant_amount: amount.minor,
            merchant_currency: amount.currency.number(),
            billed: false,
            trace: Trace {
                stan,
                transmitted: 101_120_000,
                acquirer: 4_321,
                forwarder: 0,
                reference: reference(stan),
                settlement: 101,
            },
            original: None,
            partial_supported: false,
        }
    }

    pub fn repeat_of(&self, kind: u8) -> RepeatKey {
        let mut key = [kind; 16];
        key.iter_mut().zip(self.book.next_id().no.to_be_bytes()).for_each(|(k, n)| *k = n);
        RepeatKey { key, content: 7 }
    }

    pub fn take(&mut self, request: &TapRequest) -> Taken {
        let decision = self.book.decide_tap(request, &self.policy, self.now);
        let (no, reason) = (decision.facts.no, decision.reason);
        let reply = reason.map(|reason| Reply {
            reason,
            response_code: *b"00",
            approval_code: if reason == Reason::Approved { approval_code(no) } else { 0 },
            partial: None,
            balance: decision.balance,
        });
        self.apply(Event::TapTaken(TapTaken {
            facts: decision.facts,
            repeat: self.repeat_of(1),
            raw: raw(),
            reply,
            first: decision.holds[0],
            second: decision.holds[1],
            cleared: decision.cleared,
            postings: decision.postings.clone(),
            partial_supported: request.partial_supported,
        }));
        self.checked();
        Taken { no, reason, decision }
    }

    pub fn reason(&mut self, request: &TapRequest) -> Reason {
        self.take(request).reason.expect("decided without the partner")
    }

    /// What the partner's answer decides; none when it is late, which is recorded.
    pub fn answer(&mut self, no: No, verdict: PartnerVerdict<'_>) -> Option<Reason> {
        let said = |late| Said {
            outcome: PartnerOutcome::Approve,
            reason: None,
            latency_us: 1,
            late_by_us: late,
            body: Cow::Borrowed(b"{}"),
            metadata_dropped: false,
        };
        let previous = self.book.authorization(no)?.last_seq;
        let Some(decision) = self.book.decide_answer(no, verdict) else {
            let before = self.book.authorization(no).as_ref().map(frozen);
            self.apply(Event::AnsweredTooLate(AnsweredTooLate { no, previous, said: said(Some(5)) }));
            assert_eq!(self.book.authorization(no).as_ref().map(frozen), before, "a late answer moves nothing");
            return None;
        };
        let approved = decision.reason == Reason::Approved;
        let reply = Reply {
            reason: decision.reason,
            response_code: *b"00",
            approval_code: if approved { approval_code(no) } else { 0 },
            partial: decision.partial,
            balance: decision.balance,
        };
        let (changes, postings) = (decision.changes, decision.postings);
        self.apply(Event::TapDecided(TapDecided { no, previous, reply, said: Some(said(None)), changes, postings }));
        self.checked();
        Some(decision.reason)
    }

    pub fn approve(&mut self, no: No) {
        assert_eq!(self.answer(no, yes()), Some(Reason::Approved));
    }

    /// An approved tap, by the partner where it must be.
    pub fn approved(&mut self, request: &TapRequest) -> No {
        let taken = self.take(request);
        match taken.reason {
            None => self.approve(taken.no),
            Some(reason) => assert_eq!(reason, Reason::Approved),
        }
        taken.no
    }

    pub fn reverse(&mut self, request: &ReversalRequest) -> ReversalDecision {
        let decision = self.book.decide_reversal(request);
        let previous = decision.target.and_then(|t| self.book.authorization(t)).map_or(0, |a| a.last_seq);
        let code = *b"00";
        let reason = Reason::Approved;
        self.apply(Event::Reversed(Reversed {
            no: self.book.next_id().no,
            repeat: self.repeat_of(2),
            raw: raw(),
            reply: Reply { reason, response_code: code, approval_code: 0, partial: None, balance: None },
            target: decision.target,
            previous,
            changes: decision.movement.changes.clone(),
            postings: decision.movement.postings.clone(),
            unmatched: decision.unmatched,
        }));
        self.checked();
        decision
    }

    pub fn advise(&mut self, tap: TapRequest, approved: bool) -> AdviceDecision {
        let decision = self.book.decide_advice(&AdviceRequest { tap, approved }, &self.policy, self.now);
        let previous = decision.target.and_then(|t| self.book.authorization(t)).map_or(0, |a| a.last_seq);
        self.apply(Event::Advised(Advised {
            facts: decision.facts,
            repeat: self.repeat_of(3),
            raw: raw(),
            reply: Reply {
                reason: decision.reason,
                response_code: *b"00",
                approval_code: 654_321,
                partial: None,
                balance: None,
            },
            target: decision.target,
            previous,
            hold: decision.hold,
            state: decision.state,
            cleared: decision.cleared,
            changes: decision.changes.clone(),
            postings: decision.postings.clone(),
            advised_code: *b"00",
        }));
        self.checked();
        decision
    }

    /// True when the reply's lateness freed something.
    pub fn reply_late(&mut self, no: No) -> bool {
        let Some(movement) = self.book.decide_reply_late(no) else { return false };
        let Some((previous, repeat)) = self.book.authorization(no).map(|a| (a.last_seq, a.repeat)) else {
            return false;
        };
        let (changes, postings) = (movement.changes, movement.postings);
        self.apply(Event::ReplyLate(ReplyLate { no, previous, changes, postings, raw: None, repeat }));
        self.checked();
        true
    }

    /// Releases every hold whose time is over.
    pub fn expire_due(&mut self) -> usize {
        let mut expired = 0;
        while let Some(no) = self.book.next_expired(self.now) {
            let movement = self.book.decide_expiry(no).expect("what is due is open");
            let previous = self.book.authorization(no).map_or(0, |a| a.last_seq);
            let (changes, postings) = (movement.changes, movement.postings);
            self.apply(Event::HoldExpired(HoldExpired { no, previous, changes, postings }));
            self.checked();
            expired += 1;
        }
        expired
    }

    pub fn authorization(&self, no: No) -> Authorization {
        self.book.authorization(no).expect("the book still has it")
    }

    /// What an authorization holds, over its sources.
    pub fn held(&self, no: No) -> i64 {
        self.authorization(no).held.iter().flatten().map(|h| h.now).sum()
    }

    pub fn checked(&self) {
        if !self.unrecorded {
            self.book.check().expect("the invariants hold");
        }
    }
}

/// State, what is held and what is cleared.
fn frozen(a: &Authorization) -> (ledger_core::event::words::State, Vec<i64>, i64) {
    (a.state, a.held.iter().flatten().map(|h| h.now).collect(), a.cleared)
}

pub const fn yes() -> PartnerVerdict<'static> {
    PartnerVerdict::Approve { amount: None, source: None }
}

pub const fn yes_but(amount: Option<&'static str>, source: Option<&'static str>) -> PartnerVerdict<'static> {
    PartnerVerdict::Approve { amount, source }
}

pub fn raw() -> Raw<'static> {
    Raw { link: 0, sealed: Cow::Borrowed(b"raw") }
}

/// First nine characters of a DE63.
pub fn reference(n: u32) -> [u8; 9] {
    let mut out = *b"MCC000000";
    let digits = format!("{:06}", n % 1_000_000);
    out.iter_mut().skip(3).zip(digits.bytes()).for_each(|(o, d)| *o = d);
    out
}

/// DE90 of a tap.
pub fn by_original(tap: &TapRequest) -> ReversalRequest {
    let financial = matches!(tap.class, Class::Financial | Class::FinancialAdvice);
    let Trace { stan, transmitted, acquirer, forwarder, .. } = tap.trace;
    let original = Some(OriginalData { financial, stan, transmitted, acquirer, forwarder });
    ReversalRequest { original, ..nameless(tap.fingerprint) }
}

/// SE63 of a tap.
pub fn by_trace(tap: &TapRequest) -> ReversalRequest {
    ReversalRequest { trace: Some(trace_id(tap)), ..nameless(tap.fingerprint) }
}

/// DE38 of an approval.
pub fn by_code(tap: &TapRequest, no: No) -> ReversalRequest {
    ReversalRequest { approval_code: Some(approval_code(no)), ..nameless(tap.fingerprint) }
}

pub fn keeping(request: ReversalRequest, transaction: i64) -> ReversalRequest {
    ReversalRequest { keep_transaction: Some(transaction), ..request }
}

pub fn trace_id(tap: &TapRequest) -> TraceId {
    TraceId { reference: tap.trace.reference, settlement: tap.trace.settlement }
}

pub const fn nameless(fingerprint: [u8; 16]) -> ReversalRequest {
    ReversalRequest {
        fingerprint,
        original: None,
        trace: None,
        approval_code: None,
        keep_transaction: None,
        keep_billing: None,
    }
}

pub fn financial(tap: TapRequest) -> TapRequest {
    TapRequest { class: Class::Financial, ..tap }
}

/// The same purchase told by the network: 0120, or 0220 for a 0200.
pub fn advice_of(tap: TapRequest, amount: i64) -> TapRequest {
    let class = match tap.class {
        Class::Authorization | Class::AuthorizationAdvice => Class::AuthorizationAdvice,
        Class::Financial | Class::FinancialAdvice => Class::FinancialAdvice,
    };
    TapRequest { class, amount, merchant_amount: amount, ..tap }
}

pub fn kinded(tap: TapRequest, kind: TapType) -> TapRequest {
    TapRequest { kind, ..tap }
}

/// What is available in the EUR pool and the account, what they hold, and what the network is owed.
#[track_caller]
pub fn check(town: &Town, pool: (i64, i64), account: (i64, i64), scheme: i64) {
    let [p, _, a] = town.balances();
    assert_eq!((p, a, town.scheme()), (pool, account, scheme));
}
