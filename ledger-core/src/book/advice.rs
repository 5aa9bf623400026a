//! Advices: somebody decided already. What they say happened is booked without asking card state, KYC, funds or
//! partner; what they say was declined is recorded (contracts 2.2).

use super::convert::Lines;
use super::reversal::is_financial;
use super::{Authorization, Book, FindBy, Policy};
use crate::event::admin::Funding;
use crate::event::posting::Postings;
use crate::event::tap::{Change, Changes, Facts, Hold, Source};
use crate::event::words::{Kind, Reason, State};
use crate::id::No;
use crate::money::{Money, Round};
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
    /// What a new authorization holds.
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
            parent: known.map(|a| a.id.no),
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
        } else if let Err(reason) = self.book_advice(tap, known, &mut decision) {
            decision.reason = reason;
            decision.target = None;
            decision.hold = None;
            decision.changes.clear();
            decision.postings = Postings::none();
            decision.cleared = 0;
            decision.state = State::Declined;
        }
        decision
    }

    /// The authorization an advice concerns: card + DE63, or card + DE7 + DE11 + DE32, or SE63.
    fn concerned(&self, card: u32, tap: &TapRequest) -> Option<No> {
        let trace = &tap.trace;
        let by_reference = || {
            if trace.reference == [0; 9] {
                return None;
            }
            self.pick(FindBy::Reference(card, trace.reference), |a| {
                let days = (trace.settlement, a.facts.trace.settlement);
                a.facts.card == Some(card)
                    && a.facts.trace.reference == trace.reference
                    && (days.0 == 0 || days.1 == 0 || days.0 == days.1)
            })
        };
        let by_trace = || {
            self.pick(FindBy::Trace(card, trace.stan, trace.transmitted), |a| {
                a.facts.card == Some(card)
                    && a.facts.trace.stan == trace.stan
                    && a.facts.trace.transmitted == trace.transmitted
                    && a.facts.trace.acquirer == trace.acquirer
            })
        };
        let by_original = || self.find_by_trace_id(card, &tap.original?, |_| true);
        by_reference().or_else(by_trace).or_else(by_original)
    }

    fn book_advice(
        &self,
        tap: &TapRequest,
        known: Option<&Authorization>,
        decision: &mut AdviceDecision,
    ) -> Result<(), Reason> {
        let currency = tap.currency.ok_or(Reason::UnsupportedCurrency)?;
        let financial = is_financial(tap.class);
        let billed = Money::new(tap.amount, currency);
        let card = decision.facts.card;
        // Reversed before it came: booked and reversed at once, so that nothing stays.
        if self.unmatched.matches(&tap.fingerprint, tap.class, &tap.trace) {
            decision.reason = Reason::AlreadyReversed;
            decision.state = State::Reversed;
            return Ok(());
        }
        let mut lines = Lines::new(self);
        match known.filter(|a| a.is_open()) {
            Some(open) => {
                let held = open.held.iter().flatten().next();
                let Some(held) = held else {
                    decision.target = Some(open.id.no);
                    return Ok(());
                };
                let target = match held.rate {
                    _ if held.currency == currency => tap.amount,
                    Some(rate) => {
                        rate.convert(tap.amount, currency, held.currency, Round::HoldUp).ok_or(Reason::RateMissing)?
                    }
                    None => self.convert_for(held.source, tap, Round::HoldUp)?.amount.minor,
                };
                decision.target = Some(open.id.no);
                decision.was_pending = open.state == State::Pending;
                let more = target.checked_sub(held.now).ok_or(Reason::InvalidAmount)?;
                if more > 0 {
                    lines.force_hold(held.source, Money::new(more, held.currency));
                } else {
                    lines.release(held.source, Money::new(-more, held.currency));
                }
                let (now, cleared, state) = if financial {
                    lines.clear(card, held.source, Money::new(target, held.currency), billed);
                    (0, tap.amount, State::Cleared)
                } else {
                    (target, open.cleared, State::Approved)
                };
                let mut change = |source, held| {
                    decision.changes.push(Change { no: open.id.no, source: Some(source), held, cleared, state })
                };
                change(held.source, now);
                // A pending choice is settled on its first source by the advice.
                for other in open.held.iter().flatten().filter(|h| h.source != held.source) {
                    lines.release(other.source, Money::new(other.now, other.currency));
                    change(other.source, 0);
                }
                decision.cleared = cleared;
                decision.state = state;
            }
            None => {
                let source = self.paying(card)?;
                decision.state = if financial { State::Cleared } else { State::Approved };
                match tap.kind {
                    TapType::Refund if financial => {
                        let credit = self.convert_for(source, tap, Round::CreditDown)?;
                        lines.clear_back(card, source, credit.amount, billed);
                        decision.hold = Some(credit);
                        decision.cleared = tap.amount;
                    }
                    TapType::Refund | TapType::BalanceInquiry | TapType::AccountStatus => {}
                    TapType::Hold(_) | TapType::Unsupported => {
                        let hold = self.convert_for(source, tap, Round::HoldUp)?;
                        lines.force_hold(source, hold.amount);
                        if financial {
                            lines.clear(card, source, hold.amount, billed);
                            decision.cleared = tap.amount;
                        }
                        decision.hold = Some(hold);
                    }
                }
            }
        }
        decision.postings = lines.postings;
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

    /// Where an advice without an open authorization is booked: the pool of a pool or partner_choice card.
    fn paying(&self, card: Option<u32>) -> Result<Source, Reason> {
        let card = card.and_then(|c| self.card(c)).ok_or(Reason::UnknownCard)?;
        Ok(match card.funding {
            Funding::Account { account } => Source::Account(account),
            Funding::Pool { pool, .. } | Funding::PartnerChoice { pool, .. } => Source::Pool(pool),
        })
    }
}

impl AdviceDecision {
    /// True when the advice makes an authorization of its own (also a declined one).
    pub const fn makes_authorization(&self) -> bool {
        self.target.is_none()
    }
}
