//! 0120 and 0220: what somebody else decided is booked, whether the money is there or not.

use super::super::plan::{Approval, Message};
use super::super::words::Place;
use super::super::words::{Currency, Purse};
use super::desk::{Answer, Desk, Parked, Recipient, Told};
use super::people::Funding;
use super::taps::{amount_of, content_of, key_of, kind_of};
use super::{Authorization, DAY, Hold, Model, Moment, Repeat, Restated, State, converted};

/// What an advice does, before it is written down.
enum Does {
    /// Nothing but being recorded, for this reason.
    Declines(&'static str),
    /// The original was reversed before: what is open goes back, or a closed one is made.
    Undoes(Option<u64>),
    /// An open hold is set.
    Sets(u64, Hold),
    /// One of its own is made, that holds or credits this.
    Makes(Option<Hold>),
}

impl Model {
    pub(super) fn advice(
        &mut self,
        desk: &mut Desk,
        message: &Message,
        approval: Option<u32>,
        recipient: Recipient,
        now: Moment,
    ) -> Told {
        let recipient = match self.repeated(desk, message, recipient) {
            Ok(recipient) => recipient,
            Err(told) => return told,
        };
        if self.sheds_last(desk, &recipient) {
            return Told::at_once("96", None);
        }
        let card = self.card_of(message.card);
        let known = card.and_then(|card| self.concerned(card, message));
        let does = self.weigh_advice(message, card, known);
        let code = match &does {
            Does::Declines("declined_elsewhere") => "00",
            Does::Declines("unknown_card") => "14",
            Does::Declines(_) => "96",
            Does::Undoes(_) | Does::Sets(..) | Does::Makes(_) => "00",
        };
        let sent = approval.filter(|code| *code != 0).unwrap_or(0);
        let answer = Answer { approval: if code == "00" { sent } else { 0 }, ..Answer::code(code) };
        let no = self.take_no();
        let (entry, was_pending) = match does {
            Does::Declines(reason) => {
                self.make_advised(no, message, known, reason, State::Declined, None, sent, now);
                (no, false)
            }
            Does::Undoes(None) => {
                self.make_advised(no, message, known, "already_reversed", State::Reversed, None, sent, now);
                (no, false)
            }
            Does::Undoes(Some(target)) => {
                self.undo(target, now.wall);
                self.alias(target, message, sent);
                self.mark_reversed(target);
                (target, false)
            }
            Does::Sets(target, hold) => {
                let was_pending = self.authorizations.get(&target).is_some_and(|a| a.state == State::Pending);
                self.set_open(target, hold, message, sent, now);
                (target, was_pending)
            }
            Does::Makes(hold) => {
                let financial = message.mti == 0x0220;
                let clears = financial && hold.is_some();
                let state = if clears { State::Cleared } else { State::Approved };
                self.make_advised(no, message, known, "approved", state, hold, sent, now);
                (no, false)
            }
        };
        let repeat = Repeat {
            no: entry,
            content: content_of(message),
            pending: false,
            reversed: false,
            answered_late: false,
            answer: Some(answer.clone()),
        };
        self.remember(&key_of(message), repeat, now.wall + 30 * DAY, false);
        self.event(now.wall);
        desk.park(recipient, answer, None, Some(key_of(message)));
        if was_pending && let Some(asked) = desk.pending.remove(&entry) {
            desk.overdue.insert(entry);
            let answer = Answer { approval: 1, ..Answer::code("00") };
            self.settle_repeat(entry, &answer);
            let key = self.authorizations.get(&entry).map(|a| a.key.clone());
            desk.parked.push(Parked { recipients: asked.recipients, answer, tap: None, key });
        }
        Told::events(1)
    }

    pub(super) fn sheds_last(&self, desk: &Desk, recipient: &Recipient) -> bool {
        let link = recipient.link;
        desk.in_flight[link] >= 2 * desk.most_in_flight[link] || self.repeats.len() >= self.dedup_max
    }

    fn weigh_advice(&self, message: &Message, card: Option<u32>, known: Option<u64>) -> Does {
        let Some(card) = card.and_then(|at| self.cards.get(at as usize)) else { return Does::Declines("unknown_card") };
        if !matches!(message.response, Some("00" | "08" | "10" | "85")) {
            return Does::Declines("declined_elsewhere");
        }
        let kind = kind_of(message);
        let sets = !matches!(kind, "refund" | "balance_inquiry" | "account_status");
        let open =
            known.filter(|no| sets && self.authorizations.get(no).is_some_and(|a| a.is_open() && !a.holds.is_empty()));
        if self.was_reversed_before(message) {
            let settled = |no: &u64| self.authorizations.get(no).is_some_and(|a| a.state != State::Pending);
            return Does::Undoes(open.filter(settled));
        }
        let (amount, currency) = amount_of(message);
        let Some(currency) = currency else { return Does::Declines("unsupported_currency") };
        if let Some(open) = open {
            return self
                .new_hold(open, amount, currency)
                .map_or(Does::Declines("rate_missing"), |h| Does::Sets(open, h));
        }
        let purse = match (kind, card.funding) {
            ("refund", funding) => self.refund_goes_to(self.card_of(message.card), message.original.as_ref(), funding),
            (_, Funding::Account(account)) => Purse::Account(account),
            (_, Funding::Pool(pool) | Funding::Choice(pool, _)) => Purse::Pool(pool),
        };
        let moves = match kind {
            "refund" => message.mti == 0x0220,
            "balance_inquiry" | "account_status" => false,
            _ => true,
        };
        if !moves {
            return Does::Makes(None);
        }
        let Some(own) = self.currency_of(purse) else { return Does::Declines("rate_missing") };
        match self.convert(amount, currency, own, kind != "refund") {
            Some((first, rate)) => Does::Makes(Some(Hold { purse, currency: own, first, now: first, rate })),
            None => Does::Declines("rate_missing"),
        }
    }

    /// What an open authorization holds once it is set to an amount: at its own rate, as long as that is for the
    /// currency advised.
    fn new_hold(&self, no: u64, amount: i64, currency: Currency) -> Option<Hold> {
        let a = self.authorizations.get(&no)?;
        let hold = *a.holds.first()?;
        let same = a.whole().is_some_and(|(_, own)| own == currency);
        let (first, rate) = match hold.rate {
            Some(rate) if same => (converted(rate, amount, currency, hold.currency, true), Some(rate)),
            _ => self.convert(amount, currency, hold.currency, true)?,
        };
        Some(Hold { first, now: first, rate, ..hold })
    }

    fn set_open(&mut self, no: u64, hold: Hold, message: &Message, sent: u32, now: Moment) {
        let Some(before) = self.authorizations.get(&no).cloned() else { return };
        let (amount, currency) = amount_of(message);
        let Some(currency) = currency else { return };
        for other in before.holds.iter().filter(|other| other.purse != hold.purse) {
            self.shrink(no, other.purse, 0);
        }
        let held = before.holds.first().map_or(0, |first| first.now);
        if hold.first > held {
            self.take_by_force(hold.purse, hold.currency, hold.first - held);
        } else {
            self.give_back(hold.purse, hold.currency, held - hold.first);
        }
        let financial = message.mti == 0x0220;
        if financial {
            self.owe_scheme((hold.first, hold.currency), (amount, currency));
        }
        if let Some(a) = self.authorizations.get_mut(&no) {
            a.holds = vec![Hold { now: if financial { 0 } else { hold.first }, ..hold }];
            a.restated =
                Some(Restated { amount, currency, merchant_amount: message.amount, billed: message.billing.is_some() });
            if financial {
                a.cleared = amount;
            }
            if a.reason.is_none() {
                a.reason = Some("approved");
                a.approval = 1;
            }
        }
        self.alias(no, message, sent);
        self.goes_to(no, if financial { State::Cleared } else { State::Approved }, now.wall);
    }

    fn alias(&mut self, no: u64, message: &Message, sent: u32) {
        if let Some(a) = self.authorizations.get_mut(&no) {
            a.aliases.push((message.mti, message.trace.clone(), sent));
        }
    }

    #[allow(clippy::too_many_arguments)] // what one authorization is made of
    fn make_advised(
        &mut self,
        no: u64,
        message: &Message,
        parent: Option<u64>,
        reason: &'static str,
        state: State,
        hold: Option<Hold>,
        sent: u32,
        now: Moment,
    ) {
        let (amount, currency) = amount_of(message);
        let kind = kind_of(message);
        let clears = state == State::Cleared;
        if let (Some(hold), Some(currency)) = (hold, currency) {
            if kind == "refund" {
                self.add(Place::Available(hold.purse), hold.currency, hold.first);
                self.owe_scheme((-hold.first, hold.currency), (-amount, currency));
            } else {
                self.take_by_force(hold.purse, hold.currency, hold.first);
                if clears {
                    self.owe_scheme((hold.first, hold.currency), (amount, currency));
                }
            }
        }
        let long = kind == "preauthorization";
        let authorization = Authorization {
            mti: message.mti,
            kind,
            card: self.card_of(message.card),
            amount,
            currency,
            merchant_amount: message.amount,
            billed: message.billing.is_some(),
            trace: message.trace.clone(),
            parent,
            expires_at: now.wall + if long { self.preauthorization_us } else { self.hold_us },
            state,
            holds: hold.map(|hold| Hold { now: if clears { 0 } else { hold.first }, ..hold }).into_iter().collect(),
            cleared: if clears { amount } else { 0 },
            partial_ok: false,
            children: Vec::new(),
            restated: None,
            aliases: Vec::new(),
            reason: Some(reason),
            partial: None,
            approval: sent,
            key: key_of(message),
        };
        self.add_authorization(no, authorization, now.wall);
    }

    /// Which authorization an advice is about: by DE63, by its own elements, by SE63. When that one is closed and an
    /// advice made an open one in its stead, that.
    fn concerned(&self, card: u32, message: &Message) -> Option<u64> {
        let trace = &message.trace;
        let own = trace.reference.as_ref().map(|reference| (reference.clone(), trace.day.unwrap_or(0)));
        let by_reference = own.and_then(|own| self.by_reference(card, &own, |_| true));
        let by_elements = || {
            self.newest(|a| {
                a.card == Some(card)
                    && a.named().iter().any(|(_, known)| {
                        (known.stan, known.at) == (trace.stan, trace.at)
                            && known.acquirer.unwrap_or(0) == trace.acquirer.unwrap_or(0)
                    })
            })
        };
        let by_original = || self.by_reference(card, message.original.as_ref()?, |_| true);
        let found = by_reference.or_else(by_elements).or_else(by_original)?;
        let closed = self.authorizations.get(&found).filter(|a| !a.is_open());
        let instead = closed.and_then(|a| {
            a.children.iter().rev().copied().find(|child| {
                self.authorizations
                    .get(child)
                    .is_some_and(|c| c.is_open() && matches!(c.mti, 0x0120 | 0x0220) && c.holds_money())
            })
        });
        Some(instead.unwrap_or(found))
    }

    /// The DE38 of a message, resolved.
    pub(crate) fn approval_of(&self, message: &Message, seen: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        match message.approval? {
            Approval::Own(code) => Some(code),
            Approval::Of(label) => seen(label),
        }
    }
}
