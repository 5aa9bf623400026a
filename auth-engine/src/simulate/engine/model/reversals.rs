//! 0400, 0420 and 0190, and replies that came too late: what gives money back.

use super::super::plan::{De90, Message, Trace};
use super::super::words::Purse;
use super::desk::{Answer, Desk, Parked, Recipient, Told};
use super::taps::{content_of, key_of, same_reference};
use super::{Authorization, DAY, Model, Moment, Repeat, State, Unmatched, part_down, part_up};

/// DE90 names a message of this type and these elements; a zero acquirer or forwarder is anybody.
fn names(o: &De90, mti: u16, trace: &Trace) -> bool {
    let any = |said: u32, is: Option<u32>| said == 0 || said == is.unwrap_or(0);
    o.mti >> 8 == mti >> 8
        && (o.stan, o.at) == (trace.stan, trace.at)
        && any(o.acquirer, trace.acquirer)
        && any(o.forwarder, trace.forwarder)
}

impl Model {
    pub(super) fn reversal(
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
        let target = self.card_of(message.card).and_then(|card| self.original(card, message, approval));
        let no = self.take_no();
        let mut reversed = Vec::new();
        let mut was_pending = Vec::new();
        match target {
            Some(target) => {
                let pending = |no: &u64| self.authorizations.get(no).is_some_and(|a| a.state == State::Pending);
                let partial = message.de95.filter(|(transaction, _)| *transaction > 0 && !pending(&target));
                match partial {
                    Some((transaction, billing)) => self.reverse_part(target, transaction, billing, now.wall),
                    None => {
                        let children = self.authorizations.get(&target).map(|a| a.children.clone()).unwrap_or_default();
                        let chain: Vec<u64> = std::iter::once(target).chain(children).collect();
                        was_pending = chain.iter().copied().filter(pending).collect();
                        reversed = chain.into_iter().filter(|no| self.undo(*no, now.wall)).collect();
                    }
                }
            }
            None if message.de90.is_some() || message.original.is_some() => self.unmatched.push_back(Unmatched {
                until: now.wall + Self::UNMATCHED_US,
                card: message.card,
                original: message.de90,
                trace: message.original.clone(),
            }),
            None => {}
        }
        let answer = Answer::code("00");
        let repeat = Repeat {
            no: target.unwrap_or(no),
            content: content_of(message),
            pending: false,
            reversed: false,
            answered_late: false,
            answer: Some(answer.clone()),
        };
        self.remember(&key_of(message), repeat, now.wall + 30 * DAY, false);
        reversed.iter().for_each(|no| self.mark_reversed(*no));
        self.event(now.wall);
        desk.park(recipient, answer, None, Some(key_of(message)));
        for no in was_pending {
            let Some(asked) = desk.pending.remove(&no) else { continue };
            desk.overdue.insert(no);
            let key = self.authorizations.get(&no).map(|a| a.key.clone());
            desk.parked.push(Parked { recipients: asked.recipients, answer: Answer::code("05"), tap: None, key });
        }
        Told::events(1)
    }

    /// DE90, else SE63, else DE38.
    fn original(&self, card: u32, message: &Message, approval: Option<u32>) -> Option<u64> {
        let of_card = |a: &Authorization| a.card == Some(card);
        let by_90 = message
            .de90
            .and_then(|o| self.newest(|a| of_card(a) && a.named().iter().any(|(mti, trace)| names(&o, *mti, trace))));
        let by_63 = || self.by_reference(card, message.original.as_ref()?, |_| true);
        let by_38 = || {
            let code = approval.filter(|code| *code != 0)?;
            self.newest(|a| of_card(a) && (a.approval == code || a.aliases.iter().any(|(_, _, own)| *own == code)))
        };
        by_90.or_else(by_63).or_else(by_38)
    }

    /// Reversals that wait for their originals.
    pub(crate) fn unmatched_reversals(&self) -> usize {
        self.unmatched.len()
    }

    /// A reversal said so before this message came.
    pub(super) fn was_reversed_before(&self, message: &Message) -> bool {
        self.unmatched.iter().any(|one| {
            one.card == message.card
                && (one.original.is_some_and(|o| names(&o, message.mti, &message.trace))
                    || one.trace.as_ref().is_some_and(|named| same_reference(named, &message.trace)))
        })
    }

    /// Its repeats get 05 from here on.
    pub(super) fn mark_reversed(&mut self, no: u64) {
        let Some(a) = self.authorizations.get(&no) else { return };
        if a.state == State::Reversed
            && matches!(a.mti, 0x0100 | 0x0200)
            && let Some(repeat) = self.repeats.get_mut(&a.key)
        {
            repeat.reversed = true;
            repeat.pending = false;
        }
    }

    /// All of it comes back. False when nothing changes.
    pub(super) fn undo(&mut self, no: u64, at: i64) -> bool {
        let Some(a) = self.authorizations.get(&no) else { return false };
        match a.state {
            State::Pending | State::Approved | State::PartiallyReversed => {
                self.let_go(no);
                self.goes_to(no, State::Reversed, at);
                true
            }
            State::Cleared if a.cleared_itself() && !a.holds.is_empty() => {
                self.unclear(no, 0);
                self.goes_to(no, State::Reversed, at);
                true
            }
            State::Cleared | State::Declined | State::Reversed | State::Expired => false,
        }
    }

    /// What was cleared shrinks to `stays`.
    fn unclear(&mut self, no: u64, stays: i64) {
        let Some(a) = self.authorizations.get(&no).cloned() else { return };
        let (Some(hold), Some((whole, currency))) = (a.holds.first().copied(), a.whole()) else { return };
        let part = |cleared| if whole == 0 { 0 } else { part_up(hold.first, cleared, whole) };
        let (funded, billed) = (part(a.cleared) - part(stays), a.cleared - stays);
        if a.kind == "refund" {
            self.take_by_force(hold.purse, hold.currency, funded);
            self.owe_scheme((funded, hold.currency), (billed, currency));
        } else {
            self.owe_scheme((-funded, hold.currency), (-billed, currency));
            self.give_back(hold.purse, hold.currency, funded);
        }
        if let Some(a) = self.authorizations.get_mut(&no) {
            a.cleared = stays;
        }
    }

    /// What stays is told anew, not what goes; more than there is moves nothing.
    fn reverse_part(&mut self, no: u64, keep: i64, keep_billing: i64, at: i64) {
        let Some(a) = self.authorizations.get(&no).cloned() else { return };
        let (merchant, billed) = match a.restated {
            Some(restated) => (restated.merchant_amount, restated.billed),
            None => (a.merchant_amount, a.billed),
        };
        let Some((whole, _)) = a.whole().filter(|(whole, _)| *whole != 0) else { return };
        let approved = a.approved_amount();
        let transaction = part_down(merchant, approved, whole);
        let billing = (keep_billing > 0 && billed).then_some(keep_billing);
        if billing.is_none() && transaction == 0 {
            return;
        }
        match a.state {
            State::Approved | State::PartiallyReversed => {
                let Some(hold) = a.holds.iter().find(|hold| hold.now > 0) else { return };
                let stays = match billing {
                    Some(billing) => part_up(hold.first, billing, whole),
                    None => part_up(part_up(hold.first, approved, whole), keep, transaction),
                };
                if stays < hold.now {
                    let purse: Purse = hold.purse;
                    self.shrink(no, purse, stays);
                    self.goes_to(no, State::PartiallyReversed, at);
                }
            }
            State::Cleared if a.cleared_itself() => {
                let stays = billing.unwrap_or_else(|| part_up(approved, keep, transaction));
                if stays < a.cleared && !a.holds.is_empty() {
                    self.unclear(no, stays);
                }
            }
            State::Cleared | State::Pending | State::Declined | State::Reversed | State::Expired => {}
        }
    }

    /// 0190: our answer came too late for the network.
    pub(super) fn not_received(&mut self, desk: &mut Desk, message: &Message, now: Moment) -> Told {
        let trace = &message.trace;
        let card = if message.missing.is_some() { None } else { self.card_of(message.card) };
        let tap = card.and_then(|card| {
            self.newest(|a| {
                a.card == Some(card)
                    && a.mti == 0x0100
                    && (a.trace.stan, a.trace.at) == (trace.stan, trace.at)
                    && a.trace.acquirer.unwrap_or(0) == trace.acquirer.unwrap_or(0)
            })
        });
        let Some(no) = tap.filter(|no| self.comes_too_late(*no, now.wall)) else {
            self.recorded(now.wall);
            return Told::events(1);
        };
        if let Some(asked) = desk.pending.remove(&no) {
            desk.overdue.insert(no);
            let key = self.authorizations.get(&no).map(|a| a.key.clone());
            desk.parked.push(Parked { recipients: asked.recipients, answer: Answer::code("91"), tap: None, key });
        }
        Told::events(1)
    }

    /// The reply to a tap cannot reach anybody: what it holds is freed, its own share alone. False when there is
    /// nothing to free.
    pub(crate) fn comes_too_late(&mut self, no: u64, at: i64) -> bool {
        let Some(a) = self.authorizations.get(&no).filter(|a| a.restated.is_none()) else { return false };
        let key = a.key.clone();
        let freed = match a.state {
            State::Declined => {
                self.goes_to(no, State::Reversed, at);
                true
            }
            _ => self.undo(no, at),
        };
        if freed {
            if let Some(repeat) = self.repeats.get_mut(&key) {
                repeat.answered_late = true;
                repeat.pending = false;
            }
            self.event(at);
        }
        freed
    }
}
