//! Approvals of partners that came after the decision, and what they put at risk. Owns that arithmetic, for the read
//! model and the command line alike. It must never judge: what was decided stands.

use ledger_core::book::{Authorization, Book};
use ledger_core::event::tap::Said;
use ledger_core::id::{Id, Thing};
use ledger_core::money::Money;
use ledger_core::time::Timestamp;

use super::docs::{LateApprovalDoc, MoneyDoc, Page};
use super::fold::AuthorizationFold;
use super::lists::timed_span;
use super::statement;
use super::store::{self, By, Kind, Step};
use super::{PageRequest, View, ViewError};
use crate::engine::rejudge::approved_by;

/// An authorization as it stood when its partner's answer came too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `aut_…`
    pub id: String,
    /// `ptn_…`
    pub partner_id: Option<String>,
    /// `usr_…`
    pub user_id: Option<String>,
    /// `crd_…`
    pub card_id: Option<String>,
    /// What was asked.
    pub amount: Money,
    /// What of it stood approved: held or cleared.
    pub stands: i64,
    /// Its status.
    pub status: String,
    /// Its reason.
    pub reason: Option<String>,
    /// Its DE39.
    pub response_code: Option<String>,
}

impl Standing {
    /// As the book has it; none when nothing knows the currency of the amount.
    pub fn of_book(book: &Book, a: &Authorization) -> Option<Self> {
        let amount = Money::new(a.facts.amount, a.facts.currency?);
        let card = a.facts.card.and_then(|c| book.card(c));
        let user = card.and_then(|card| book.user(card.user));
        let held: Option<i64> = a
            .held
            .iter()
            .flatten()
            .map(|held| if held.now == 0 || held.currency == amount.currency { Some(held.now) } else { None })
            .sum();
        let stands = if a.stands() { held.map_or(amount.minor, |held| held.saturating_add(a.cleared)) } else { 0 };
        Some(Self {
            id: a.id.text(Thing::Authorization),
            partner_id: user.and_then(|user| book.partner(user.partner)).map(|p| p.id.text(Thing::Partner)),
            user_id: user.map(|user| user.id.text(Thing::User)),
            card_id: card.map(|card| card.id.text(Thing::Card)),
            amount,
            stands,
            status: a.state.word().to_owned(),
            reason: a.reply.map(|reply| reply.reason.public_word().to_owned()),
            response_code: a.reply.map(|reply| String::from_utf8_lossy(&reply.response_code).into_owned()),
        })
    }

    /// As the read model has it.
    pub(super) fn of_fold(partner: Option<Id>, fold: &AuthorizationFold) -> Option<Self> {
        let doc = &fold.doc;
        let currency = statement::currency(fold.currency_number())?;
        let amount = Money::new(currency.parse(&doc.amount.value)?, currency);
        let standing =
            matches!(doc.status.as_str(), "approved" | "partially_reversed" | "partially_cleared" | "cleared");
        let cleared = currency.parse(&doc.cleared.value).unwrap_or(0);
        let stands = match (standing, fold.held_in(currency)) {
            (false, _) => 0,
            (true, Some(held)) => held.saturating_add(cleared),
            (true, None) => amount.minor,
        };
        Some(Self {
            id: doc.id.clone(),
            partner_id: partner.map(|id| id.text(Thing::Partner)),
            user_id: doc.user_id.clone(),
            card_id: doc.card_id.clone(),
            amount,
            stands,
            status: doc.status.clone(),
            reason: doc.reason.clone(),
            response_code: doc.response_code.clone(),
        })
    }

    /// What a late approval puts at risk: what the partner approved, and may have booked, less what stands here. None
    /// when it approved nothing.
    pub fn at_risk(&self, said: &Said<'_>) -> Option<(Money, Money)> {
        let approved = approved_by(said, self.amount)?;
        let risk = approved.saturating_sub(self.stands).max(0);
        let currency = self.amount.currency;
        Some((Money::new(approved, currency), Money::new(risk, currency)))
    }
}

/// A late answer, when it was an approval.
pub fn late_approval(standing: &Standing, seq: u64, at: Timestamp, said: &Said<'_>) -> Option<LateApprovalDoc> {
    let (approved, at_risk) = standing.at_risk(said)?;
    Some(LateApprovalDoc {
        authorization_id: standing.id.clone(),
        partner_id: standing.partner_id.clone(),
        user_id: standing.user_id.clone(),
        card_id: standing.card_id.clone(),
        status: standing.status.clone(),
        reason: standing.reason.clone(),
        response_code: standing.response_code.clone(),
        amount: MoneyDoc::from(standing.amount),
        approved: MoneyDoc::from(approved),
        at_risk: MoneyDoc::from(at_risk),
        latency_us: said.latency_us,
        late_by_us: said.late_by_us.unwrap_or(0),
        answered_at: at.rfc3339(),
        sequence: seq,
    })
}

impl View {
    /// Late approvals that came from `from` on and before `to`, newest first.
    pub fn late_approvals(
        &self,
        scope: Option<Id>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        request: &PageRequest,
    ) -> Result<Page<LateApprovalDoc>, ViewError> {
        let (by, owner) = scope.map_or((By::Late, 0), |partner| (By::PartnerLate, partner.no));
        let span = timed_span(store::key::list(Kind::Authorization, by, owner), from, to);
        self.read(|tree| store::page(tree, span, request, |_, bytes| Ok(Step::Take(store::parse(bytes)?))))
    }
}
