//! Rules 5 to 14 of contracts 2.7 for 0100 and 0200, in their order, and what a partner's answer does.

use super::convert::Lines;
use super::{Authorization, Book, Policy};
use crate::event::admin::Funding;
use crate::event::posting::Postings;
use crate::event::tap::{Change, Changes, Facts, Hold, Source, Trace, TraceId};
use crate::event::words::{CardStatus, Class, DecisionMode, Kind, Kyc, PartnerOutcome, Reason, Service, State, Status};
use crate::id::No;
use crate::limits::MAX_CHAIN;
use crate::money::{Currency, Money, Round, share_up};
use crate::time::{Timestamp, YearMonth};

/// What the processing code and the point-of-service data ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapType {
    /// Money is held.
    Hold(Kind),
    /// Money comes back.
    Refund,
    /// How much is there.
    BalanceInquiry,
    /// Is the card good.
    AccountStatus,
    /// Nothing this engine does.
    Unsupported,
}

impl TapType {
    /// The kind as REST shows it.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Hold(kind) => kind,
            Self::Refund => Kind::Refund,
            Self::BalanceInquiry => Kind::BalanceInquiry,
            Self::AccountStatus => Kind::AccountStatus,
            Self::Unsupported => Kind::Unsupported,
        }
    }
}

/// A 0100 or 0200 in the ledger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapRequest {
    /// [`Class::Authorization`] or [`Class::Financial`].
    pub class: Class,
    /// What it asks for.
    pub kind: TapType,
    /// Keyed fingerprint of the PAN.
    pub fingerprint: [u8; 16],
    /// Expiry as sent, when sent.
    pub expiry: Option<YearMonth>,
    /// Minor units: cardholder billing when present, else the transaction amount.
    pub amount: i64,
    /// None when ISO 4217 does not know the code.
    pub currency: Option<Currency>,
    /// DE4.
    pub merchant_amount: i64,
    /// DE49 as it came.
    pub merchant_currency: u16,
    /// `amount` came from DE6.
    pub billed: bool,
    /// By what later messages name it.
    pub trace: Trace,
    /// The first of its chain, as SE63 tells it.
    pub original: Option<TraceId>,
    /// The terminal takes partial approvals.
    pub partial_supported: bool,
}

/// What the book decided about a tap. Nothing has changed yet.
#[derive(Debug, Clone, PartialEq)]
pub struct TapDecision {
    /// The facts of the authorization it becomes.
    pub facts: Facts,
    /// None: the partner is to be asked.
    pub reason: Option<Reason>,
    /// What is held.
    pub holds: [Option<Hold>; 2],
    /// What is cleared of the amount (0200).
    pub cleared: i64,
    /// The lines.
    pub postings: Postings,
    /// DE54, when the answer carries it.
    pub balance: Option<Money>,
    /// Index of the card's partner, when the card is known.
    pub partner: Option<u32>,
}

/// What became of an ask, in the ledger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartnerVerdict<'a> {
    /// Yes; perhaps to less, perhaps from one source.
    Approve {
        /// Decimal text in the currency of the amount.
        amount: Option<&'a str>,
        /// `pool` or `account`.
        source: Option<&'a str>,
    },
    /// No.
    Decline,
    /// No answer in time.
    Timeout,
    /// It could not be asked.
    Unreachable,
    /// An answer that is none.
    BadResponse,
    /// The engine stopped in between.
    Interrupted,
}

/// What an answer does to a pending tap.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerDecision {
    /// Why.
    pub reason: Reason,
    /// What is recorded of the ask: an approval that breaks a rule becomes a bad response.
    pub outcome: PartnerOutcome,
    /// Approved in part: so much.
    pub partial: Option<i64>,
    /// What the sources hold from here on.
    pub changes: Changes,
    /// The lines.
    pub postings: Postings,
    /// DE54, when the answer carries it.
    pub balance: Option<Money>,
}

impl Book {
    /// Decides a tap. Rules 1 to 4 are the caller's: they need the message, the link and the clock.
    pub fn decide_tap(&self, tap: &TapRequest, policy: &Policy, now: Timestamp) -> TapDecision {
        let card = self.card_by_fingerprint(&tap.fingerprint);
        let parent = self.chain_parent(card, tap);
        let kind = match (tap.kind, parent) {
            (TapType::Hold(Kind::Purchase | Kind::Preauthorization), Some(_)) => Kind::Incremental,
            (other, _) => other.kind(),
        };
        let lifetime = match kind {
            Kind::Preauthorization => policy.preauthorization_lifetime_us,
            Kind::Incremental
                if parent
                    .and_then(|p| self.authorization(p))
                    .is_some_and(|p| p.facts.kind == Kind::Preauthorization) =>
            {
                policy.preauthorization_lifetime_us
            }
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
            parent: if kind == Kind::Incremental { parent } else { None },
            expires_at: now.plus_us(lifetime),
        };
        let mut decision = TapDecision {
            facts,
            reason: None,
            holds: [None, None],
            cleared: 0,
            postings: Postings::none(),
            balance: None,
            partner: None,
        };
        match self.ladder(tap, policy, now, &mut decision) {
            Ok(()) => {}
            Err(reason) => {
                decision.reason = Some(reason);
                decision.holds = [None, None];
                decision.postings = Postings::none();
                decision.cleared = 0;
            }
        }
        decision
    }

    /// The first rule that objects decides.
    fn ladder(
        &self,
        tap: &TapRequest,
        policy: &Policy,
        now: Timestamp,
        decision: &mut TapDecision,
    ) -> Result<(), Reason> {
        // 5: reversed before it came.
        if self.unmatched.matches(&tap.fingerprint, tap.class, &tap.trace) {
            return Err(Reason::AlreadyReversed);
        }
        // 6: card known.
        let card = decision.facts.card.and_then(|c| self.card(c)).ok_or(Reason::UnknownCard)?;
        let user = self.user(card.user).ok_or(Reason::UnknownCard)?;
        let partner = self.partner(user.partner).ok_or(Reason::UnknownCard)?;
        decision.partner = Some(user.partner);
        // 7: card state.
        match card.status {
            CardStatus::Active => {}
            CardStatus::Frozen => return Err(Reason::CardFrozen),
            CardStatus::Inactive => return Err(Reason::CardInactive),
            CardStatus::Lost => return Err(Reason::CardLost),
            CardStatus::Stolen => return Err(Reason::CardStolen),
            CardStatus::Closed => return Err(Reason::CardClosed),
        }
        // 8: expiry.
        if tap.expiry.is_some_and(|sent| sent != card.expires || now >= card.expires_at) {
            return Err(Reason::ExpiredCard);
        }
        // 9: security: PIN, CVC, cryptogram come with a later issue.
        // 10: partner, user, KYC, service.
        if partner.status != Status::Active {
            return Err(Reason::PartnerSuspended);
        }
        if user.status != Status::Active {
            return Err(Reason::UserSuspended);
        }
        if user.kyc != Kyc::Approved {
            return Err(Reason::KycNotApproved);
        }
        if partner.services & (1 << Service::Cards.number()) == 0 {
            return Err(Reason::ServiceNotEnabled);
        }
        // 11: type, amount, currency.
        let currency = self.check_type(tap, card.funding)?;
        // 12: spend controls and limits come with a later issue.
        // 13: funds.
        match tap.kind {
            TapType::AccountStatus => decision.reason = Some(Reason::Approved),
            TapType::BalanceInquiry => {
                decision.balance = self.shown_balance(card.funding);
                decision.reason = Some(Reason::Approved);
            }
            TapType::Refund => self.refund(tap, policy, card.funding, currency, decision)?,
            TapType::Hold(_) => {
                self.fund(tap, policy, card.funding, currency, partner.decision_mode, decision)?;
            }
            TapType::Unsupported => return Err(Reason::UnsupportedType),
        }
        Ok(())
    }

    fn check_type(&self, tap: &TapRequest, funding: Funding) -> Result<Currency, Reason> {
        match tap.kind {
            TapType::Unsupported => return Err(Reason::UnsupportedType),
            TapType::BalanceInquiry if !matches!(funding, Funding::Account { .. }) => {
                return Err(Reason::InquiryNotPermitted);
            }
            TapType::BalanceInquiry | TapType::AccountStatus | TapType::Hold(_) | TapType::Refund => {}
        }
        let zero_is_fine = matches!(tap.kind, TapType::BalanceInquiry | TapType::AccountStatus);
        if tap.amount < 0 || (tap.amount == 0 && !zero_is_fine) {
            return Err(Reason::InvalidAmount);
        }
        if tap.kind == TapType::AccountStatus && tap.amount != 0 {
            return Err(Reason::InvalidAmount);
        }
        tap.currency.ok_or(Reason::UnsupportedCurrency)
    }

    /// What would be held on one source; `rate_missing` when no rate leads there.
    fn hold_on(&self, source: Source, amount: i64, currency: Currency, round: Round) -> Result<Hold, Reason> {
        let (own, _) = self.source(source).ok_or(Reason::RateMissing)?;
        if own == currency {
            return Ok(Hold { source, amount: Money::new(amount, own), rate: None });
        }
        let rate = self.rates.get(&(currency, own)).ok_or(Reason::RateMissing)?.rate;
        // A result that does not fit is an amount that nobody has.
        let held = rate.convert(amount, currency, own, round).ok_or(Reason::InvalidAmount)?;
        Ok(Hold { source, amount: Money::new(held, own), rate: Some(rate) })
    }

    /// The FX positions after `funded` came in and `billed` went out stay within the limits.
    fn fx_within(&self, policy: &Policy, funded: Money, billed: Money) -> bool {
        funded.currency == billed.currency
            || (self.fx_allows(policy, funded.currency, funded.minor)
                && self.fx_allows(policy, billed.currency, billed.minor.saturating_neg()))
    }

    fn fund(
        &self,
        tap: &TapRequest,
        policy: &Policy,
        funding: Funding,
        currency: Currency,
        mode: DecisionMode,
        decision: &mut TapDecision,
    ) -> Result<(), Reason> {
        let billed = Money::new(tap.amount, currency);
        let candidate = |source| {
            let hold = self.hold_on(source, tap.amount, currency, Round::HoldUp)?;
            if self.fx_within(policy, hold.amount, billed) { Ok(hold) } else { Err(Reason::FxLimit) }
        };
        let enough =
            |hold: &Hold| self.source(hold.source).is_some_and(|(_, balance)| balance.available >= hold.amount.minor);
        let pool_active = |pool| self.pool(pool).is_some_and(|p| p.status == Status::Active);
        let asks = match funding {
            Funding::Account { account } => {
                let hold = candidate(Source::Account(account))?;
                if !enough(&hold) {
                    decision.balance = self.shown_balance(funding);
                    return Err(Reason::InsufficientFunds);
                }
                decision.holds[0] = Some(hold);
                false
            }
            Funding::Pool { pool, .. } => {
                let hold = candidate(Source::Pool(pool))?;
                if !pool_active(pool) {
                    return Err(Reason::PoolSuspended);
                }
                if !enough(&hold) {
                    return Err(Reason::PoolInsufficient);
                }
                decision.holds[0] = Some(hold);
                true
            }
            Funding::PartnerChoice { pool, account } => {
                let pool_hold = candidate(Source::Pool(pool));
                let account_hold = candidate(Source::Account(account));
                if let (Err(reason), Err(_)) = (&pool_hold, &account_hold) {
                    return Err(*reason);
                }
                let pool_hold = pool_hold.ok().filter(|h| enough(h) && pool_active(pool));
                let account_hold = account_hold.ok().filter(enough);
                decision.holds = if pool_hold.is_some() { [pool_hold, account_hold] } else { [account_hold, None] };
                if decision.holds[0].is_none() {
                    return Err(Reason::InsufficientFunds);
                }
                true
            }
        };
        match (asks, mode) {
            (true, DecisionMode::Webhook) => {}
            (true, DecisionMode::AutoDecline) => return Err(Reason::PartnerDeclined),
            (true, DecisionMode::AutoApprove) => {
                // As when a partner's answer names no source: the first one listed.
                decision.holds[1] = None;
                decision.reason = Some(Reason::Approved);
            }
            (false, _) => decision.reason = Some(Reason::Approved),
        }
        let mut lines = Lines::new(self);
        for hold in decision.holds.iter().flatten() {
            lines.hold(hold.source, hold.amount);
        }
        if decision.reason.is_some()
            && tap.class == Class::Financial
            && let Some(hold) = decision.holds[0]
        {
            lines.clear(decision.facts.card, hold.source, hold.amount, billed);
            decision.cleared = tap.amount;
        }
        decision.postings = lines.finish().ok_or(Reason::InvalidAmount)?;
        Ok(())
    }

    /// An 0100 refund moves nothing before clearing; an 0200 credits at once.
    fn refund(
        &self,
        tap: &TapRequest,
        policy: &Policy,
        funding: Funding,
        currency: Currency,
        decision: &mut TapDecision,
    ) -> Result<(), Reason> {
        decision.reason = Some(Reason::Approved);
        if tap.class == Class::Authorization {
            return Ok(());
        }
        let source = self.refund_source(decision.facts.card, tap.original, funding);
        let credit = self.hold_on(source, tap.amount, currency, Round::CreditDown)?;
        let billed = Money::new(tap.amount, currency);
        let out = Money::new(-credit.amount.minor, credit.amount.currency);
        if !self.fx_within(policy, out, Money::new(-tap.amount, currency)) {
            return Err(Reason::FxLimit);
        }
        let mut lines = Lines::new(self);
        lines.refund(decision.facts.card, source, credit.amount, billed);
        decision.postings = lines.finish().ok_or(Reason::InvalidAmount)?;
        decision.cleared = tap.amount;
        decision.holds[0] = Some(credit);
        Ok(())
    }

    /// Where a refund goes: back to where the purchase was paid from when SE63 names it, else where the card's
    /// money comes from first.
    pub(super) fn refund_source(&self, card: Option<u32>, original: Option<TraceId>, funding: Funding) -> Source {
        let named = card.zip(original).and_then(|(card, trace)| {
            let paid = self.find_by_trace_id(card, &trace, |a| a.facts.kind.holds() && a.stands())?;
            self.authorization(paid).and_then(|a| self.settled_source(&a))
        });
        named.unwrap_or(match funding {
            Funding::Account { account } => Source::Account(account),
            Funding::Pool { pool, .. } | Funding::PartnerChoice { pool, .. } => Source::Pool(pool),
        })
    }

    /// The balance that DE54 may show: an account's, never a pool's.
    fn shown_balance(&self, funding: Funding) -> Option<Money> {
        match funding {
            Funding::Account { account } => self.account(account).map(|a| Money::new(a.balance.available, a.currency)),
            Funding::Pool { .. } | Funding::PartnerChoice { .. } => None,
        }
    }

    /// The open authorization that SE63 names as the first of the chain.
    fn chain_parent(&self, card: Option<u32>, tap: &TapRequest) -> Option<No> {
        let continues = |a: &Authorization| a.is_open() && a.state != State::Pending && a.facts.kind.holds();
        let named = self.find_by_trace_id(card?, &tap.original?, continues)?;
        // An increment of an increment belongs to the first, as long as that is open.
        let first = self
            .authorization(named)
            .filter(|a| a.facts.kind == Kind::Incremental)
            .and_then(|a| a.facts.parent)
            .filter(|first| self.authorization(*first).is_some_and(|a| continues(&a)))
            .unwrap_or(named);
        // One event reverses a whole chain, so a chain has an end: what comes behind it stands for itself.
        self.authorization(first).filter(|a| a.children.len() < MAX_CHAIN).map(|a| a.id.no)
    }

    /// Decides a pending tap by what its partner said. `None` when it is not pending any more: the answer is late.
    pub fn decide_answer(&self, no: No, verdict: PartnerVerdict<'_>) -> Option<AnswerDecision> {
        let authorization = self.authorization(no).filter(|a| a.state == State::Pending)?;
        let refuse = |reason, outcome| Some(self.refuse(&authorization, reason, outcome));
        match verdict {
            PartnerVerdict::Approve { amount, source } => match self.approve(&authorization, amount, source) {
                Ok(decision) => Some(decision),
                // The partner said yes and the books cannot take it: its answer was a good one all the same.
                Err(reason @ Reason::InvalidAmount) => refuse(reason, PartnerOutcome::Approve),
                Err(reason) => refuse(reason, PartnerOutcome::BadResponse),
            },
            PartnerVerdict::Decline => refuse(Reason::PartnerDeclined, PartnerOutcome::Decline),
            PartnerVerdict::Timeout => refuse(Reason::PartnerTimeout, PartnerOutcome::Timeout),
            PartnerVerdict::Unreachable => refuse(Reason::PartnerUnreachable, PartnerOutcome::Unreachable),
            PartnerVerdict::BadResponse => refuse(Reason::PartnerBadResponse, PartnerOutcome::BadResponse),
            PartnerVerdict::Interrupted => refuse(Reason::Interrupted, PartnerOutcome::Interrupted),
        }
    }

    fn refuse(&self, authorization: &Authorization, reason: Reason, outcome: PartnerOutcome) -> AnswerDecision {
        let (changes, postings) = self.release_all(authorization, State::Declined);
        AnswerDecision { reason, outcome, partial: None, changes, postings, balance: None }
    }

    /// `PartnerBadResponse` when the approval breaks a rule of contracts 3, `InvalidAmount` when a balance has no
    /// room for what it clears.
    fn approve(&self, a: &Authorization, amount: Option<&str>, source: Option<&str>) -> Result<AnswerDecision, Reason> {
        const BAD: Reason = Reason::PartnerBadResponse;
        let currency = a.facts.currency.ok_or(BAD)?;
        let approved = match amount {
            None => a.facts.amount,
            Some(text) => currency.parse(text).ok_or(BAD)?,
        };
        if approved <= 0 || approved > a.facts.amount || (approved < a.facts.amount && !a.partial_supported) {
            return Err(BAD);
        }
        let mut listed = a.held.iter().flatten();
        let chosen = match source {
            None => listed.next(),
            Some(word) => listed.find(|h| h.source.word() == word),
        };
        let chosen = *chosen.ok_or(BAD)?;
        let funded = share_up(chosen.initial, approved, a.facts.amount).ok_or(BAD)?;
        let financial = a.facts.class == Class::Financial;
        let state = if financial { State::Cleared } else { State::Approved };
        let cleared = if financial { approved } else { 0 };
        let mut lines = Lines::new(self);
        let mut changes = Changes::new();
        let mut change =
            |source, held| changes.push(Change { no: a.id.no, source: Some(source), held, cleared, state });
        for other in a.held.iter().flatten().filter(|h| h.source != chosen.source) {
            lines.release(other.source, Money::new(other.now, other.currency));
            change(other.source, 0);
        }
        // The source that pays comes last: the fold keeps that one.
        let rest = chosen.now.checked_sub(funded).filter(|rest| *rest >= 0).ok_or(BAD)?;
        lines.release(chosen.source, Money::new(rest, chosen.currency));
        if financial {
            let billed = Money::new(approved, currency);
            lines.clear(a.facts.card, chosen.source, Money::new(funded, chosen.currency), billed);
        }
        change(chosen.source, if financial { 0 } else { funded });
        let partial = (approved < a.facts.amount).then_some(approved);
        let balance = match (partial, chosen.source) {
            // As it is once the part that was not approved is back.
            (Some(_), Source::Account(_)) => {
                Some(Money::new(lines.balance(chosen.source.available(), chosen.currency), chosen.currency))
            }
            _ => None,
        };
        let postings = lines.finish().ok_or(Reason::InvalidAmount)?;
        let (reason, outcome) = (Reason::Approved, PartnerOutcome::Approve);
        Ok(AnswerDecision { reason, outcome, partial, changes, postings, balance })
    }

    /// Everything an authorization still holds goes back.
    pub(super) fn release_all(&self, a: &Authorization, state: State) -> (Changes, Postings) {
        let mut lines = Lines::new(self);
        let mut changes = Changes::new();
        self.release_into(a, state, &mut lines, &mut changes);
        (changes, lines.postings)
    }

    pub(super) fn release_into(&self, a: &Authorization, state: State, lines: &mut Lines<'_>, changes: &mut Changes) {
        for held in a.held.iter().flatten() {
            lines.release(held.source, Money::new(held.now, held.currency));
            changes.push(Change { no: a.id.no, source: Some(held.source), held: 0, cleared: a.cleared, state });
        }
        if a.held.iter().flatten().next().is_none() {
            changes.push(Change { no: a.id.no, source: None, held: 0, cleared: a.cleared, state });
        }
    }
}

/// How many codes there are.
const CODES: u64 = 999_999;
/// Spreads neighbours over the codes; prime to their number, so that a code repeats only after all others.
const CODE_STEP: u64 = 386_117;
/// Undoes [`CODE_STEP`]: their product leaves 1.
const CODE_STEP_BACK: u64 = 878_264;
const _: () = assert!(CODE_STEP * CODE_STEP_BACK % CODES == 1, "a code leads back to its numbers");

/// The six digits of DE38 for an authorization: never `000000`.
pub fn approval_code(no: No) -> u32 {
    u32::try_from(no % CODES * CODE_STEP % CODES).unwrap_or(0) + 1
}

/// The numbers that give a DE38: so much and every further step. `None` for what is no code.
pub(super) fn numbers_of_code(code: u32) -> Option<(No, No)> {
    let rest = u64::from(code).checked_sub(1).filter(|rest| *rest < CODES)?;
    Some((rest * CODE_STEP_BACK % CODES, CODES))
}
