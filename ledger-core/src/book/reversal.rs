//! Reversals (contracts 2.6), hold expiry and replies that came too late: everything that gives money back.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::convert::Lines;
use super::{Authorization, Book, FindBy};
use crate::event::posting::Postings;
use crate::event::tap::{Change, Changes, OriginalData, Source, Trace, TraceId, Unmatched};
use crate::event::words::{Class, Kind, State};
use crate::id::No;
use crate::limits::{MAX_UNMATCHED_REVERSALS, UNMATCHED_RETENTION_US};
use crate::money::{Money, share_down, share_up};
use crate::time::Timestamp;

/// A 0400 or 0420 in the ledger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReversalRequest {
    /// Keyed fingerprint of the PAN.
    pub fingerprint: [u8; 16],
    /// DE90, when it says something.
    pub original: Option<OriginalData>,
    /// DE48 SE63.
    pub trace: Option<TraceId>,
    /// DE38; never zero.
    pub approval_code: Option<u32>,
    /// DE95's transaction amount, above zero: a partial reversal.
    pub keep_transaction: Option<i64>,
    /// DE95's billing amount, above zero.
    pub keep_billing: Option<i64>,
}

/// Money that goes back, and what is held afterwards.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Movement {
    /// What the sources hold from here on; empty when nothing moves.
    pub changes: Changes,
    /// The lines.
    pub postings: Postings,
}

/// What a reversal does.
#[derive(Debug, Clone, PartialEq)]
pub struct ReversalDecision {
    /// The original it means.
    pub target: Option<No>,
    /// The original was still being decided: its tap gets 05 `already_reversed`.
    pub was_pending: bool,
    /// Increments of the original that were still being decided: their taps get 05 `already_reversed` as well.
    pub pending_increments: Vec<No>,
    /// What moves.
    pub movement: Movement,
    /// Nothing was found: remembered for an original that comes late.
    pub unmatched: Option<Unmatched>,
}

impl Book {
    /// Decides a reversal. It is always answered 00; this says what it means and moves.
    pub fn decide_reversal(&self, request: &ReversalRequest) -> ReversalDecision {
        let card = self.card_by_fingerprint(&request.fingerprint);
        let target = card.and_then(|card| self.find_original(card, request));
        let Some(original) = target.and_then(|no| self.authorization(no)) else {
            let named = request.original.is_some() || request.trace.is_some();
            let unmatched = named.then_some(Unmatched {
                fingerprint: request.fingerprint,
                by_original: request.original,
                by_trace: request.trace,
            });
            return ReversalDecision {
                target: None,
                was_pending: false,
                pending_increments: Vec::new(),
                movement: Movement::default(),
                unmatched,
            };
        };
        let was_pending = original.state == State::Pending;
        let movement = match request.keep_transaction {
            // A pending original has nothing to keep a part of yet.
            Some(keep) if !was_pending => self.reverse_part(&original, keep, request.keep_billing).unwrap_or_default(),
            // What the books have no room for moves nothing, and is recorded all the same.
            _ => self.reverse_all(&original).unwrap_or_default(),
        };
        let is_pending = |no: &No| self.authorization(*no).is_some_and(|a| a.state == State::Pending);
        let increments = movement.changes.iter().map(|c| c.no).filter(|no| Some(*no) != target);
        let mut pending_increments: Vec<No> = increments.filter(is_pending).collect();
        pending_increments.dedup();
        ReversalDecision { target, was_pending, pending_increments, movement, unmatched: None }
    }

    /// DE90, else SE63, else DE38; of several the newest open one, else the newest.
    fn find_original(&self, card: u32, request: &ReversalRequest) -> Option<No> {
        let by_original = request.original.and_then(|o| {
            let key = FindBy::Trace(card, o.stan, o.transmitted);
            self.pick(key, |a| a.facts.card == Some(card) && a.known_by().any(|(class, trace)| names(&o, class, trace)))
        });
        let by_trace = || request.trace.and_then(|t| self.find_by_trace_id(card, &t, |_| true));
        let by_code = || {
            let code = request.approval_code?;
            self.pick(FindBy::Approval(card, code), |a| a.facts.card == Some(card) && a.has_code(code))
        };
        by_original.or_else(by_trace).or_else(by_code)
    }

    pub(super) fn find_by_trace_id(
        &self,
        card: u32,
        trace: &TraceId,
        fits: impl Fn(&Authorization) -> bool,
    ) -> Option<No> {
        self.pick(FindBy::Reference(card, trace.reference), |a| {
            a.facts.card == Some(card) && a.known_by().any(|(_, known)| is_of(trace, known)) && fits(a)
        })
    }

    pub(super) fn pick(&self, key: FindBy, fits: impl Fn(&Authorization) -> bool) -> Option<No> {
        let mut best = None;
        self.authorizations.find(key, |a| {
            if fits(&a) {
                best = best.max(Some((a.is_open() || (a.state == State::Cleared && a.cleared_itself()), a.id.no)));
            }
        });
        best.map(|(_, no)| no)
    }

    /// The tap that a 0190 means: class, card, DE7, DE11, DE32.
    pub fn find_tap(&self, class: Class, card: u32, trace: &Trace) -> Option<No> {
        self.pick(FindBy::Trace(card, trace.stan, trace.transmitted), |a| {
            a.facts.class == class
                && a.facts.trace.stan == trace.stan
                && a.facts.trace.transmitted == trace.transmitted
                && a.facts.trace.acquirer == trace.acquirer
        })
    }

    /// `None` when the books have no room for what would come back.
    fn reverse_all(&self, original: &Authorization) -> Option<Movement> {
        let mut lines = Lines::new(self);
        let mut changes = Changes::new();
        self.reverse_into(original, &mut lines, &mut changes);
        // The first of a chain: all that is left.
        for child in original.children.iter().filter_map(|no| self.authorization(*no)) {
            self.reverse_into(&child, &mut lines, &mut changes);
        }
        Some(Movement { changes, postings: lines.finish()? })
    }

    pub(super) fn reverse_into(&self, a: &Authorization, lines: &mut Lines<'_>, changes: &mut Changes) {
        match a.state {
            State::Pending | State::Approved | State::PartiallyReversed => {
                self.release_into(a, State::Reversed, lines, changes);
            }
            // Cleared by clearing is final; a 0200 or 0220 cleared by itself and comes back from the scheme.
            State::Cleared if a.cleared_itself() => {
                if let Some(change) = self.uncleared(a, 0, State::Reversed, lines) {
                    changes.push(change);
                }
            }
            // What clearing took is gone; what it left is held no longer.
            State::PartiallyCleared => self.release_into(a, State::Cleared, lines, changes),
            State::Cleared | State::Declined | State::Reversed | State::Expired => {}
        }
    }

    /// Brings what a 0200 cleared down to `stays`, in the currency of the amount.
    fn uncleared(&self, a: &Authorization, stays: i64, state: State, lines: &mut Lines<'_>) -> Option<Change> {
        let held = a.held.iter().flatten().next()?;
        let whole = a.whole()?;
        // The last part takes the rest: what is back is the difference of two roundings of the same whole. Of nothing,
        // every part is nothing.
        let part = |cleared| if whole.minor == 0 { Some(0) } else { share_up(held.initial, cleared, whole.minor) };
        let (before, after) = (part(a.cleared)?, part(stays)?);
        let funded = Money::new(before.checked_sub(after)?, held.currency);
        let billed = Money::new(a.cleared.checked_sub(stays)?, whole.currency);
        if a.facts.kind == Kind::Refund {
            lines.refund_back(a.facts.card, held.source, funded, billed);
        } else {
            lines.clear_back(a.facts.card, held.source, funded, billed);
        }
        Some(Change { no: a.id.no, source: Some(held.source), held: held.now, cleared: stays, state })
    }

    /// A partial reversal restates what stays; it does not add. `None` when it moves nothing.
    fn reverse_part(&self, a: &Authorization, keep: i64, keep_billing: Option<i64>) -> Option<Movement> {
        let (merchant_amount, billed) = match a.restated {
            Some(restated) => (restated.merchant_amount, restated.billed),
            None => (a.facts.merchant_amount, a.facts.billed),
        };
        let whole = a.whole()?.minor;
        let approved = a.approved_amount();
        // After a partial approval the transaction at the terminal is the approved part.
        let transaction = share_down(merchant_amount, approved, whole)?;
        let keep_billing = keep_billing.filter(|_| billed);
        let mut lines = Lines::new(self);
        let mut changes = Changes::new();
        match a.state {
            State::Approved | State::PartiallyReversed => {
                let held = a.held.iter().flatten().find(|h| h.now > 0)?;
                let funded = match keep_billing {
                    Some(billing) => share_up(held.initial, billing, whole)?,
                    None => share_up(share_up(held.initial, approved, whole)?, keep, transaction)?,
                };
                let back = held.now.checked_sub(funded).filter(|back| *back > 0)?;
                lines.release(held.source, Money::new(back, held.currency));
                let state = State::PartiallyReversed;
                changes.push(Change {
                    no: a.id.no,
                    source: Some(held.source),
                    held: funded,
                    cleared: a.cleared,
                    state,
                });
            }
            State::Cleared if a.cleared_itself() => {
                let stays = match keep_billing {
                    Some(billing) => billing,
                    None => share_up(approved, keep, transaction)?,
                };
                if stays >= a.cleared {
                    return None;
                }
                changes.push(self.uncleared(a, stays, State::Cleared, &mut lines)?);
            }
            State::Pending
            | State::Cleared
            | State::PartiallyCleared
            | State::Declined
            | State::Reversed
            | State::Expired => return None,
        }
        Some(Movement { changes, postings: lines.finish()? })
    }

    /// A hold reached its lifetime. `None` when the authorization is not open.
    pub fn decide_expiry(&self, no: No) -> Option<Movement> {
        let a = self.authorization(no).filter(|a| a.is_open())?;
        let (changes, postings) = self.release_all(&a, State::Expired);
        Some(Movement { changes, postings })
    }

    /// The reply cannot reach the network any more: what the tap holds or cleared is freed. `None` when the book no
    /// longer has it, something undid it before, or an advice has told since what the network did instead: that stands.
    pub fn decide_reply_late(&self, no: No) -> Option<Movement> {
        let a = self.authorization(no).filter(|a| a.restated.is_none())?;
        match a.state {
            State::Pending | State::Approved | State::PartiallyReversed | State::Cleared => {}
            State::Declined => {
                let change = Change { no, source: None, held: 0, cleared: 0, state: State::Reversed };
                return Some(Movement { changes: Changes::from_iter([change]), postings: Postings::none() });
            }
            State::PartiallyCleared | State::Reversed | State::Expired => return None,
        }
        // Its own share alone: increments were answered by themselves, and the network knows of those answers.
        let mut lines = Lines::new(self);
        let mut changes = Changes::new();
        self.reverse_into(&a, &mut lines, &mut changes);
        if changes.is_empty() {
            return None;
        }
        Some(Movement { changes, postings: lines.finish()? })
    }

    /// The source that an authorization's money comes from, once there is only one.
    pub fn settled_source(&self, a: &Authorization) -> Option<Source> {
        match a.held {
            [Some(one), None] => Some(one.source),
            [Some(first), Some(second)] if first.now > 0 && second.now == 0 => Some(first.source),
            [Some(first), Some(second)] if second.now > 0 && first.now == 0 => Some(second.source),
            _ => None,
        }
    }
}

pub(super) fn is_financial(class: Class) -> bool {
    matches!(class, Class::Financial | Class::FinancialAdvice)
}

/// SE63 names a message with these elements; the day counts when both have it.
pub(super) fn is_of(named: &TraceId, known: &Trace) -> bool {
    let (left, right) = (named.settlement, known.settlement);
    named.reference == known.reference && (left == 0 || right == 0 || left == right)
}

/// DE90's data name a message of this class and trace; zero acquirer or forwarder means any.
fn names(original: &OriginalData, class: Class, trace: &Trace) -> bool {
    let any = |said: u64, is: u64| said == 0 || said == is;
    original.financial == is_financial(class)
        && original.stan == trace.stan
        && original.transmitted == trace.transmitted
        && any(original.acquirer, trace.acquirer)
        && any(original.forwarder, trace.forwarder)
}

/// Reversals whose original has not come, by what the original will be known by.
#[derive(Debug, Default)]
pub(super) struct UnmatchedTable {
    by_original: HashMap<([u8; 16], u32, u32), Named<OriginalData>>,
    by_trace: HashMap<([u8; 16], [u8; 9]), Named<u16>>,
    queue: VecDeque<(Timestamp, Unmatched)>,
    dropped: u64,
}

/// What several reversals say under one key, each with the place in the queue of the newest that says it: dropping
/// an older reversal forgets nothing that a newer one says as well.
type Named<T> = SmallVec<[(u64, T); 1]>;

fn name<K: Eq + Hash, T: PartialEq>(table: &mut HashMap<K, Named<T>>, key: K, place: u64, said: T) {
    let known = table.entry(key).or_default();
    match known.iter_mut().find(|(_, other)| *other == said) {
        Some(entry) => entry.0 = place,
        None => known.push((place, said)),
    }
}

fn forget<K: Eq + Hash, T>(table: &mut HashMap<K, Named<T>>, key: &K, place: u64) {
    if let Some(known) = table.get_mut(key) {
        known.retain(|entry| entry.0 != place);
        if known.is_empty() {
            table.remove(key);
        }
    }
}

impl UnmatchedTable {
    pub(super) fn insert(&mut self, unmatched: Unmatched, now: Timestamp) {
        if self.queue.len() >= MAX_UNMATCHED_REVERSALS {
            self.drop_oldest();
        }
        self.put(unmatched, now.plus_us(UNMATCHED_RETENTION_US));
    }

    /// Adds one behind the others.
    pub(super) fn put(&mut self, unmatched: Unmatched, until: Timestamp) {
        let place = self.dropped + self.queue.len() as u64;
        if let Some(o) = unmatched.by_original {
            name(&mut self.by_original, (unmatched.fingerprint, o.stan, o.transmitted), place, o);
        }
        if let Some(t) = unmatched.by_trace {
            name(&mut self.by_trace, (unmatched.fingerprint, t.reference), place, t.settlement);
        }
        self.queue.push_back((until, unmatched));
    }

    pub(super) fn matches(&self, fingerprint: &[u8; 16], class: Class, trace: &Trace) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let by_original = self.by_original.get(&(*fingerprint, trace.stan, trace.transmitted));
        let by_trace = self.by_trace.get(&(*fingerprint, trace.reference)).filter(|_| trace.reference != [0; 9]);
        let same_day = |day: u16| day == 0 || trace.settlement == 0 || day == trace.settlement;
        by_original.is_some_and(|known| known.iter().any(|(_, o)| names(o, class, trace)))
            || by_trace.is_some_and(|known| known.iter().any(|(_, day)| same_day(*day)))
    }

    pub(super) fn purge(&mut self, now: Timestamp) {
        for _ in 0..crate::limits::PURGE_PER_EVENT {
            match self.queue.front() {
                Some((until, _)) if *until <= now => self.drop_oldest(),
                _ => break,
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, gone)) = self.queue.pop_front() {
            let place = self.dropped;
            self.dropped += 1;
            if let Some(o) = gone.by_original {
                forget(&mut self.by_original, &(gone.fingerprint, o.stan, o.transmitted), place);
            }
            if let Some(t) = gone.by_trace {
                forget(&mut self.by_trace, &(gone.fingerprint, t.reference), place);
            }
        }
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Timestamp, Unmatched)> {
        self.queue.iter()
    }

    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.queue.len() as u64).to_le_bytes());
        for (until, unmatched) in &self.queue {
            let mut bytes = Vec::with_capacity(80);
            let encoded = minicbor::encode(unmatched, &mut bytes);
            debug_assert!(encoded.is_ok(), "writing to a vector cannot fail");
            hasher.update(&until.0.to_le_bytes()).update(&bytes);
        }
    }
}
