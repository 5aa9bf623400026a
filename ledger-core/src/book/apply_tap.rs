//! Folding the switch's events: each checked against the book, then applied whole.

use smallvec::SmallVec;

use super::authorization::{Alias, Authorization, Held, Restated};
use super::repeats::{Lifetime, Repeat, RepeatFlags};
use super::tap::approval_code;
use super::{Book, Violation};
use crate::event::posting::{Ledger, Postings};
use crate::event::tap::{
    Advised, AnsweredTooLate, Change, Facts, Hold, HoldExpired, Reply, ReplyLate, Reversed, Source, TapDecided,
    TapTaken,
};
use crate::event::words::{Class, Reason, State};
use crate::id::{Id, No};
use crate::limits::{
    ADVICE_RETENTION_US, CLOSED_RETENTION_US, MAX_ALIASES, MAX_CHAIN, MAX_CLOSED_AUTHORIZATIONS, PURGE_PER_EVENT,
};
use crate::money::Money;
use crate::time::Timestamp;

impl Book {
    pub(super) fn apply_tap_taken(&mut self, seq: u64, at: Timestamp, e: &TapTaken<'_>) -> Result<(), Violation> {
        let state = match (&e.reply, e.cleared) {
            (None, _) => State::Pending,
            (Some(reply), _) if reply.reason != Reason::Approved => State::Declined,
            (Some(_), 0) => State::Approved,
            (Some(_), _) => State::Cleared,
        };
        let cleared = e.cleared > 0;
        let held =
            [e.first, e.second].map(|hold| hold.map(|h| self.held_from(&h, if cleared { 0 } else { h.amount.minor })));
        self.check_held(held.iter().flatten().map(|h| (h.source, h.now)), &e.postings)?;
        self.take_no(e.facts.no)?;
        // From here on this must succeed.
        self.post(&e.postings);
        let flags = RepeatFlags { pending: e.reply.is_none(), ..RepeatFlags::default() };
        let repeat = Repeat { no: e.facts.no, seq, content: e.repeat.content, flags };
        self.repeats.insert(&e.repeat, repeat, at.plus_us(self.dedup_window_us), Lifetime::Request);
        let partial_supported = e.partial_supported;
        self.insert_authorization(seq, at, &e.facts, state, e.reply, held, e.cleared, partial_supported, e.repeat.key);
        Ok(())
    }

    fn held_from(&self, hold: &Hold, now: i64) -> Held {
        Held { source: hold.source, currency: hold.amount.currency, initial: hold.amount.minor, now, rate: hold.rate }
    }

    #[allow(clippy::too_many_arguments)] // the parts of one record, named by the caller's event
    fn insert_authorization(
        &mut self,
        seq: u64,
        at: Timestamp,
        facts: &Facts,
        state: State,
        reply: Option<Reply>,
        held: [Option<Held>; 2],
        cleared: i64,
        partial_supported: bool,
        repeat: [u8; 16],
    ) {
        let no = facts.no;
        // What was declined never held anything that a reversal of the first could give back.
        let stands = !matches!(state, State::Declined | State::Reversed);
        if let Some(parent) = facts.parent.filter(|_| stands) {
            self.authorizations.update(parent, |parent| {
                if parent.children.len() < MAX_CHAIN {
                    parent.children.push(no);
                }
            });
        }
        let authorization = Authorization {
            id: Id { epoch: self.epoch, no },
            facts: *facts,
            state,
            reply,
            held,
            cleared,
            partial_supported,
            children: Vec::new(),
            restated: None,
            aliases: Vec::new(),
            repeat,
            first_seq: seq,
            last_seq: seq,
            created_at: at,
        };
        if !authorization.is_open() {
            self.closed.push((at, no));
        }
        self.authorizations.insert(authorization);
    }

    pub(super) fn apply_tap_decided(&mut self, seq: u64, at: Timestamp, e: &TapDecided<'_>) -> Result<(), Violation> {
        let a = self.authorizations.get(e.no).ok_or(Violation::Missing("the decided tap is unknown"))?;
        if a.state != State::Pending {
            return Err(Violation::Missing("the decided tap is not pending"));
        }
        if a.last_seq != e.previous {
            return Err(Violation::Missing("the decided tap's chain is broken"));
        }
        let payer = e.changes.last().and_then(|c| c.source).filter(|_| e.reply.reason == Reason::Approved);
        let let_go = |source| e.changes.iter().any(|c| c.no == e.no && c.source == Some(source) && c.held == 0);
        if payer.is_some_and(|payer| a.held.iter().flatten().any(|h| h.source != payer && !let_go(h.source))) {
            return Err(Violation::Missing("a source that does not pay still holds"));
        }
        self.check_changes(&e.changes, &e.postings)?;
        // From here on this must succeed.
        self.post(&e.postings);
        let key = a_repeat(self, e.no);
        self.repeats.change(&key, |repeat| {
            repeat.seq = seq;
            repeat.flags.pending = false;
        });
        self.change_all(seq, at, &e.changes);
        self.authorizations.update(e.no, |a| {
            a.reply = Some(e.reply);
            a.last_seq = seq;
            // From here on only the source that pays counts.
            if let Some(payer) = payer {
                a.held = [a.held.iter().flatten().find(|h| h.source == payer).copied(), None];
            }
        });
        Ok(())
    }

    pub(super) fn apply_answered_too_late(&mut self, seq: u64, e: &AnsweredTooLate<'_>) -> Result<(), Violation> {
        let Some(a) = self.authorizations.get(e.no) else {
            return Ok(());
        };
        if a.last_seq != e.previous {
            return Err(Violation::Missing("the late answer's chain is broken"));
        }
        self.authorizations.update(e.no, |a| a.last_seq = seq);
        Ok(())
    }

    pub(super) fn apply_advised(&mut self, seq: u64, at: Timestamp, e: &Advised<'_>) -> Result<(), Violation> {
        self.check_advised(e)?;
        self.take_no(e.facts.no)?;
        // From here on this must succeed.
        self.post(&e.postings);
        let flags = RepeatFlags::default();
        let entry = Repeat { no: e.target.unwrap_or(e.facts.no), seq, content: e.repeat.content, flags };
        self.repeats.insert(&e.repeat, entry, at.plus_us(ADVICE_RETENTION_US), Lifetime::Advice);
        if let Some(target) = e.target {
            let key = a_repeat(self, target);
            self.repeats.change(&key, |repeat| {
                // A tap that was still being decided is decided by this event.
                if repeat.flags.pending {
                    repeat.seq = seq;
                    repeat.flags.pending = false;
                }
            });
            self.mark_reversed(&e.changes);
            self.change_all(seq, at, &e.changes);
            self.restate(seq, target, e);
        } else {
            let held =
                [e.hold.map(|h| self.held_from(&h, if e.state == State::Cleared { 0 } else { h.amount.minor })), None];
            self.insert_authorization(seq, at, &e.facts, e.state, Some(e.reply), held, e.cleared, false, e.repeat.key);
        }
        Ok(())
    }

    /// An advice has set an open authorization: from here on its hold stands for the advised amount, and the advice's
    /// own elements name it too.
    fn restate(&mut self, seq: u64, target: No, e: &Advised<'_>) {
        self.authorizations.update(target, |a| {
            a.last_seq = seq;
            if let Some(hold) = e.hold {
                let now = e.changes.iter().rev().find(|c| c.source == Some(hold.source)).map_or(0, |c| c.held);
                let (source, currency, initial) = (hold.source, hold.amount.currency, hold.amount.minor);
                a.held = [Some(Held { source, currency, initial, now, rate: hold.rate }), None];
                let (merchant_amount, billed) = (e.facts.merchant_amount, e.facts.billed);
                let amount = e.facts.currency.map(|currency| Money::new(e.facts.amount, currency));
                a.restated = amount.map(|amount| Restated { amount, merchant_amount, billed });
            }
            if a.reply.is_none() && e.reply.reason == Reason::Approved {
                // The tap was still being decided: the advice is its decision, under the tap's own DE38.
                let (response_code, approval_code) = (*b"00", approval_code(target));
                a.reply = Some(Reply { response_code, approval_code, ..e.reply });
            }
            if a.aliases.len() >= MAX_ALIASES {
                a.aliases.remove(0);
            }
            let approval_code = e.reply.approval_code;
            a.aliases.push(Alias { class: e.facts.class, trace: e.facts.trace, approval_code });
        });
    }

    /// A request's repeats get 05 once all of it was given back; an advice's repeats get its own answer for ever.
    fn mark_reversed(&mut self, changes: &[Change]) {
        for change in changes.iter().filter(|c| c.state == State::Reversed) {
            let Some(a) = self.authorizations.get(change.no) else { continue };
            if matches!(a.facts.class, Class::Authorization | Class::Financial) {
                self.repeats.change(&a.repeat, |repeat| {
                    repeat.flags.reversed = true;
                    repeat.flags.pending = false;
                });
            }
        }
    }

    fn check_advised(&self, e: &Advised<'_>) -> Result<(), Violation> {
        match e.target {
            Some(target) => {
                let a = self.authorizations.get(target).ok_or(Violation::Missing("the advised tap is unknown"))?;
                if a.last_seq != e.previous {
                    return Err(Violation::Missing("the advised tap's chain is broken"));
                }
                self.check_changes(&e.changes, &e.postings)
            }
            None => {
                let cleared = e.state == State::Cleared;
                let holds = e.hold.iter().map(|h| (h.source, if cleared { 0 } else { h.amount.minor }));
                self.check_held(holds, &e.postings)
            }
        }
    }

    pub(super) fn apply_reversed(&mut self, seq: u64, at: Timestamp, e: &Reversed<'_>) -> Result<(), Violation> {
        if let Some(target) = e.target {
            let a = self.authorizations.get(target).ok_or(Violation::Missing("the reversed tap is unknown"))?;
            if a.last_seq != e.previous {
                return Err(Violation::Missing("the reversed tap's chain is broken"));
            }
        }
        self.check_changes(&e.changes, &e.postings)?;
        self.take_no(e.no)?;
        // From here on this must succeed.
        self.post(&e.postings);
        let flags = RepeatFlags::default();
        let entry = Repeat { no: e.target.unwrap_or(e.no), seq, content: e.repeat.content, flags };
        self.repeats.insert(&e.repeat, entry, at.plus_us(ADVICE_RETENTION_US), Lifetime::Advice);
        self.mark_reversed(&e.changes);
        self.change_all(seq, at, &e.changes);
        if let Some(target) = e.target {
            self.authorizations.update(target, |a| a.last_seq = seq);
        }
        if let Some(unmatched) = e.unmatched {
            self.unmatched.insert(unmatched, at);
        }
        Ok(())
    }

    pub(super) fn apply_hold_expired(&mut self, seq: u64, at: Timestamp, e: &HoldExpired) -> Result<(), Violation> {
        let a = self.authorizations.get(e.no).ok_or(Violation::Missing("the expired hold is unknown"))?;
        if a.last_seq != e.previous || !a.is_open() {
            return Err(Violation::Missing("the expired hold is not open"));
        }
        self.check_changes(&e.changes, &e.postings)?;
        // From here on this must succeed.
        self.post(&e.postings);
        self.change_all(seq, at, &e.changes);
        self.authorizations.update(e.no, |a| a.last_seq = seq);
        Ok(())
    }

    pub(super) fn apply_reply_late(&mut self, seq: u64, at: Timestamp, e: &ReplyLate<'_>) -> Result<(), Violation> {
        let a = self.authorizations.get(e.no).ok_or(Violation::Missing("the late reply's tap is unknown"))?;
        if a.last_seq != e.previous {
            return Err(Violation::Missing("the late reply's chain is broken"));
        }
        self.check_changes(&e.changes, &e.postings)?;
        // From here on this must succeed.
        self.post(&e.postings);
        self.repeats.change(&e.repeat, |repeat| {
            repeat.flags.answered_late = true;
            repeat.flags.pending = false;
        });
        self.change_all(seq, at, &e.changes);
        self.authorizations.update(e.no, |a| a.last_seq = seq);
        Ok(())
    }

    /// The new holds are exactly what the lines put on the held side.
    fn check_held(&self, holds: impl Iterator<Item = (Source, i64)>, postings: &Postings) -> Result<(), Violation> {
        let holds: SmallVec<[(Source, i64); 2]> = holds.collect();
        for (source, now) in &holds {
            let own = self.source(*source).is_some();
            if !own || *now < 0 || held_delta(postings, source.held()) != i128::from(*now) {
                return Err(Violation::Held(source.held()));
            }
        }
        check_named(postings, |ledger| holds.iter().any(|(source, _)| source.held() == ledger))
    }

    /// Every change names a source that its authorization has, and together they are what the lines move.
    fn check_changes(&self, changes: &[Change], postings: &Postings) -> Result<(), Violation> {
        for change in changes {
            let a = self.authorizations.get(change.no).ok_or(Violation::Missing("a changed tap is unknown"))?;
            if a.state.is_final() && (!change.state.is_final() || change.held != 0) {
                return Err(Violation::Missing("a final authorization never opens again"));
            }
            let Some(source) = change.source else { continue };
            if change.held < 0 || !a.held.iter().flatten().any(|h| h.source == source) {
                return Err(Violation::Held(source.held()));
            }
        }
        // Once for each source: a chain may change many authorizations on the same one.
        for (i, source) in changes.iter().enumerate().filter_map(|(i, c)| Some((i, c.source?))) {
            if changes.iter().position(|c| c.source == Some(source)) != Some(i) {
                continue;
            }
            let of_it = changes.iter().filter(|c| c.source == Some(source));
            let moved: i128 = of_it.map(|c| i128::from(c.held) - i128::from(self.held_on(c.no, source))).sum();
            if held_delta(postings, source.held()) != moved {
                return Err(Violation::Held(source.held()));
            }
        }
        check_named(postings, |ledger| changes.iter().any(|c| c.source.map(Source::held) == Some(ledger)))
    }

    fn held_on(&self, no: No, source: Source) -> i64 {
        let held = self.authorizations.get(no).map(|a| a.held);
        held.iter().flatten().flatten().find(|h| h.source == source).map_or(0, |h| h.now)
    }

    fn change_all(&mut self, seq: u64, at: Timestamp, changes: &[Change]) {
        for change in changes {
            let closes = self.authorizations.update(change.no, |a| {
                if let Some(held) = a.held.iter_mut().flatten().find(|h| Some(h.source) == change.source) {
                    held.now = change.held;
                }
                let was_open = a.is_open();
                a.state = change.state;
                a.cleared = change.cleared;
                a.last_seq = seq;
                was_open && !a.is_open()
            });
            if closes == Some(true) {
                self.closed.push((at, change.no));
            }
        }
    }

    /// Forgets final authorizations that are old or too many.
    pub(super) fn purge_closed(&mut self, now: Timestamp) {
        for _ in 0..PURGE_PER_EVENT {
            let Some((_, (at, no))) = self.closed.front() else { return };
            if at.plus_us(CLOSED_RETENTION_US) > now && self.closed.len() <= MAX_CLOSED_AUTHORIZATIONS {
                return;
            }
            self.closed.pop();
            self.authorizations.remove(no);
        }
    }
}

fn a_repeat(book: &Book, no: No) -> [u8; 16] {
    book.authorizations.get(no).map_or([0; 16], |a| a.repeat)
}

/// What the lines add to a held account, in its own sign.
fn held_delta(postings: &Postings, ledger: Ledger) -> i128 {
    postings.lines().iter().filter(|l| l.ledger == ledger).map(|l| -i128::from(l.debit)).sum()
}

/// No line touches what is held but for an authorization that the event names.
fn check_named(postings: &Postings, named: impl Fn(Ledger) -> bool) -> Result<(), Violation> {
    let held = |ledger: &Ledger| matches!(ledger, Ledger::PoolHeld(_) | Ledger::AccountHeld(_));
    match postings.lines().iter().map(|l| l.ledger).filter(held).find(|ledger| !named(*ledger)) {
        Some(ledger) => Err(Violation::Held(ledger)),
        None => Ok(()),
    }
}
