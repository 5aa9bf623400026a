//! Advices: somebody decided already. What they say happened is booked without asking card state, KYC, funds or
//! partner; what they say was declined is recorded (contracts 2.2).

use super::convert::Lines;
use super::reversal::is_financial;
use super::{Authorization, Book, FindBy, Policy};
use crate::event::admin::Funding;
use crate::event::posting::Postings;
use crate::event::tap::{Change, Changes, Facts, Hold, Source, TraceId};
use crate::event::words::{Class, Kind, Reason, State};
use crate::id::No;
use crate::money::{Currency, Money, Round};
use crate::time::Timestamp;

use super::tap::{TapRequest, TapType};

/// A 0120 or 0220 in the ledger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdviceRequest {
    /// The elements an advice shares with a tap; the class is one of the two advices.
    pub tap: TapRequest,
    /// Its DE39 is one of 00, 08, 10, 85.
    pub approved: bool,
}

/// What an advice does.
#[derive(Debug, Clone, PartialEq)]
pub struct AdviceDecision {
    /// The advice as an authorization of its own.
    pub facts: Facts,
    /// Why.
    pub reason: Reason,
    /// The open authorization it sets.
    pub target: Option<No>,
    /// The target was still being decided: its tap is approved by this.
    pub was_pending: bool,
    /// What a new authorization holds, or what the open one is set to; a 0220 has cleared it.
    pub hold: Option<Hold>,
    /// State of the new authorization.
    pub state: State,
    /// What is cleared.
    pub cleared: i64,
    /// What the target holds from here on.
    pub changes: Changes,
    /// The lines.
    pub postings: Postings,
}

impl Book {
    /// Decides an advice.
    pub fn decide_advice(&self, advice: &AdviceRequest, policy: &Policy, now: Timestamp) -> AdviceDecision {
        let tap = &advice.tap;
        let card = self.card_by_fingerprint(&tap.fingerprint);
        let known = card.and_then(|card| self.concerned(card, tap)).and_then(|no| self.authorization(no));
        let kind = tap.kind.kind();
        let lifetime = match kind {
            Kind::Preauthorization => policy.preauthorization_lifetime_us,
            _ => policy.hold_lifetime_us,
        };
        let facts = Facts {
            no: self.next_no,
            class: tap.class,
            kind,
            card,
            amount: tap.amount,
            currency: tap.currency,
            merchant_amount: tap.merchant_amount,
            merchant_currency: tap.merchant_currency,
            billed: tap.billed,
            trace: tap.trace,
            parent: known.as_ref().map(|a| a.id.no),
            expires_at: now.plus_us(lifetime),
        };
        let mut decision = AdviceDecision {
            facts,
            reason: Reason::Approved,
            target: None,
            was_pending: false,
            hold: None,
            state: State::Declined,
            cleared: 0,
            changes: Changes::new(),
            postings: Postings::none(),
        };
        if card.is_none() {
            decision.reason = Reason::UnknownCard;
        } else if !advice.approved {
            decision.reason = Reason::DeclinedElsewhere;
        } else if let Err(reason) = self.book_advice(tap, known.as_ref(), &mut decision) {
            decision.reason = reason;
            decision.target = None;
            decision.was_pending = false;
            decision.hold = None;
            decision.changes.clear();
            decision.postings = Postings::none();
            decision.cleared = 0;
            decision.state = State::Declined;
        }
        decision
    }

    /// The authorization an advice concerns: card + DE63, or card + DE7 + DE11 + DE32, or SE63. When that one is
    /// closed and an earlier advice made an open one in its stead, that: never two holds for one purchase.
    fn concerned(&self, card: u32, tap: &TapRequest) -> Option<No> {
        let trace = &tap.trace;
        let by_reference = || {
            let reference = TraceId { reference: trace.reference, settlement: trace.settlement };
            if trace.reference == [0; 9] { None } else { self.find_by_trace_id(card, &reference, |_| true) }
        };
        let by_trace = || {
            self.pick(FindBy::Trace(card, trace.stan, trace.transmitted), |a| {
                a.facts.card == Some(card)
                    && a.known_by().any(|(_, known)| {
                        known.stan == trace.stan
                            && known.transmitted == trace.transmitted
                            && known.acquirer == trace.acquirer
                    })
            })
        };
        let by_original = || self.find_by_trace_id(card, &tap.original?, |_| true);
        let found = by_reference().or_else(by_trace).or_else(by_original)?;
        let a = self.authorization(found).filter(|a| !a.is_open());
        let instead = a.into_iter().flat_map(|a| a.children.into_iter().rev()).find(|child| {
            self.authorization(*child).is_some_and(|c| {
                c.is_open()
                    && matches!(c.facts.class, Class::AuthorizationAdvice | Class::FinancialAdvice)
                    && c.facts.kind.holds()
            })
        });
        Some(instead.unwrap_or(found))
    }

    fn book_advice(
        &self,
        tap: &TapRequest,
        known: Option<&Authorization>,
        decision: &mut AdviceDecision,
    ) -> Result<(), Reason> {
        // What reserves money sets the open hold it concerns; a refund or an inquiry stands for itself.
        let sets = matches!(tap.kind, TapType::Hold(_) | TapType::Unsupported);
        let open = known.filter(|a| sets && a.is_open() && a.held.iter().flatten().next().is_some());
        // Reversed before it came: booked and reversed at once, so that nothing stays.
        if self.unmatched.matches(&tap.fingerprint, tap.class, &tap.trace) {
            decision.reason = Reason::AlreadyReversed;
            decision.state = State::Reversed;
            if let Some(open) = open.filter(|a| a.state != State::Pending) {
                let mut lines = Lines::new(self);
                self.reverse_into(open, &mut lines, &mut decision.changes);
                decision.postings = lines.finish().ok_or(Reason::InvalidAmount)?;
                decision.target = Some(open.id.no);
            }
            return Ok(());
        }
        let currency = tap.currency.ok_or(Reason::UnsupportedCurrency)?;
        if tap.amount < 0 {
            return Err(Reason::InvalidAmount);
        }
        match open {
            Some(open) => self.set_open(tap, currency, open, decision),
            None => self.book_new(tap, currency, decision),
        }
    }

    /// An open hold is set to the advised amount; a 0220 clears it as well.
    fn set_open(
        &self,
        tap: &TapRequest,
        currency: Currency,
        open: &Authorization,
        decision: &mut AdviceDecision,
    ) -> Result<(), Reason> {
        // A pending choice is settled on its first source by the advice.
        let held = *open.held.iter().flatten().next().ok_or(Reason::InvalidAmount)?;
        let set = match held.rate {
            // The rate frozen in the hold, as long as the advice speaks of the currency that it was frozen for.
            Some(rate) if open.whole().is_some_and(|whole| whole.currency == currency) => {
                let minor = rate.convert(tap.amount, currency, held.currency, Round::HoldUp);
                let amount = Money::new(minor.ok_or(Reason::InvalidAmount)?, held.currency);
                Hold { source: held.source, amount, rate: Some(rate) }
            }
            _ => self.convert_for(held.source, tap, Round::HoldUp)?,
        };
        let mut lines = Lines::new(self);
        // What the other sources hold goes back first: it may be what the first one needs.
        let (cleared, state) =
            if is_financial(tap.class) { (tap.amount, State::Cleared) } else { (open.cleared, State::Approved) };
        let mut change =
            |source, held| decision.changes.push(Change { no: open.id.no, source: Some(source), held, cleared, state });
        for other in open.held.iter().flatten().filter(|h| h.source != held.source) {
            lines.release(other.source, Money::new(other.now, other.currency));
            change(other.source, 0);
        }
        let more = set.amount.minor.checked_sub(held.now).ok_or(Reason::InvalidAmount)?;
        if more > 0 {
            lines.force_hold(held.source, Money::new(more, held.currency));
        } else {
            lines.release(held.source, Money::new(-more, held.currency));
        }
        if is_financial(tap.class) {
            lines.clear(decision.facts.card, held.source, set.amount, Money::new(tap.amount, currency));
            change(held.source, 0);
        } else {
            change(held.source, set.amount.minor);
        }
        decision.target = Some(open.id.no);
        decision.was_pending = open.state == State::Pending;
        decision.hold = Some(set);
        decision.cleared = cleared;
        decision.state = state;
        decision.postings = lines.finish().ok_or(Reason::InvalidAmount)?;
        Ok(())
    }

    /// An authorization of its own, with the money taken whether it is there or not.
    fn book_new(&self, tap: &TapRequest, currency: Currency, decision: &mut AdviceDecision) -> Result<(), Reason> {
        let number = decision.facts.card;
        let card = number.and_then(|c| self.card(c)).ok_or(Reason::UnknownCard)?;
        let billed = Money::new(tap.amount, currency);
        let financial = is_financial(tap.class);
        let mut lines = Lines::new(self);
        decision.state = State::Approved;
        match tap.kind {
            TapType::Refund if financial => {
                let source = self.refund_source(number, tap.original, card.funding);
                let credit = self.convert_for(source, tap, Round::CreditDown)?;
                lines.refund(number, source, credit.amount, billed);
                decision.hold = Some(credit);
                decision.cleared = tap.amount;
                decision.state = State::Cleared;
            }
            TapType::Refund | TapType::BalanceInquiry | TapType::AccountStatus => {}
            TapType::Hold(_) | TapType::Unsupported => {
                // The pool of a pool or partner_choice card.
                let source = match card.funding {
                    Funding::Account { account } => Source::Account(account),
                    Funding::Pool { pool, .. } | Funding::PartnerChoice { pool, .. } => Source::Pool(pool),
                };
                let hold = self.convert_for(source, tap, Round::HoldUp)?;
                lines.force_hold(source, hold.amount);
                if financial {
                    lines.clear(number, source, hold.amount, billed);
                    decision.cleared = tap.amount;
                    decision.state = State::Cleared;
                }
                decision.hold = Some(hold);
            }
        }
        decision.postings = lines.finish().ok_or(Reason::InvalidAmount)?;
        Ok(())
    }

    fn convert_for(&self, source: Source, tap: &TapRequest, round: Round) -> Result<Hold, Reason> {
        let currency = tap.currency.ok_or(Reason::UnsupportedCurrency)?;
        let (own, _) = self.source(source).ok_or(Reason::RateMissing)?;
        if own == currency {
            return Ok(Hold { source, amount: Money::new(tap.amount, own), rate: None });
        }
        let rate = self.rates.get(&(currency, own)).ok_or(Reason::RateMissing)?.rate;
        let amount = rate.convert(tap.amount, currency, own, round).ok_or(Reason::InvalidAmount)?;
        Ok(Hold { source, amount: Money::new(amount, own), rate: Some(rate) })
    }
}

impl AdviceDecision {
    /// True when the advice makes an authorization of its own (also a declined one).
    pub const fn makes_authorization(&self) -> bool {
        self.target.is_none()
    }
}
