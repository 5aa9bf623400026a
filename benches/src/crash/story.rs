//! One purchase and what becomes of it: the messages of a story, what was answered, and what the story holds and
//! has cleared when it is told to its end. This is the harness's own book, kept apart from the engine's on purpose:
//! it shares no code with it.

use super::world::{Card, Funding, World};
use crate::fault::Fault;
use crate::messages::{Messages, Original};
use bytes::Bytes;
use fastrand::Rng;

/// Smallest and largest purchase in cents.
const AMOUNTS: std::ops::RangeInclusive<i64> = 2..=5_000;

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// 0100 or 0200.
    Tap(i64),
    /// 0120 or 0220 without a tap.
    Advice(i64),
    /// 0120 about the story's approved tap: this much is held from now on.
    Restate(i64),
    /// A partial reversal: this much stays.
    Keep(i64),
    /// A full reversal.
    Undo,
}

/// One message of a story.
pub(super) struct Step {
    pub(super) role: Role,
    pub(super) request: Bytes,
    /// The first answer that came; `None`: not known whether the engine has the message.
    pub(super) reply: Option<Bytes>,
    /// DE39 of that answer.
    pub(super) code: Option<String>,
    /// The answer came before the engine was killed, not by asking again.
    pub(super) acknowledged: bool,
}

/// What is planned next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Tap,
    Advice,
    Restate,
    Keep,
    Undo,
}

/// A story on its way.
pub(super) struct Story {
    pub(super) card: usize,
    pub(super) funding: Funding,
    pub(super) mcc: &'static str,
    /// The reversal leaves before the tap's answer came.
    pub(super) overtaken: bool,
    pub(super) steps: Vec<Step>,
    financial: bool,
    amount: i64,
    original: Option<Original>,
    plan: Vec<Plan>,
}

/// What a story leaves behind on its source, in cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Still held.
    pub(super) held: i64,
    /// Paid out to the network.
    pub(super) cleared: i64,
}

impl Story {
    /// A story by chance.
    pub(super) fn begin(world: &World, rng: &mut Rng) -> Story {
        let at = rng.usize(..world.cards.len().max(1));
        let funding = world.cards.get(at).map_or(Funding::Account, |card| card.funding);
        let categories = funding.categories();
        let mcc = categories.get(rng.usize(..categories.len())).copied().unwrap_or(super::world::MCC_PLAIN);
        use Plan::{Advice, Keep, Restate, Tap, Undo};
        let (plan, overtaken): (&[Plan], bool) = match rng.u8(..20) {
            0..=5 => (&[Tap], false),
            6..=8 => (&[Tap, Undo], false),
            9..=10 => (&[Tap, Keep], false),
            11 => (&[Tap, Keep, Undo], false),
            12 => (&[Tap, Keep, Keep], false),
            // An advice books what happened whether there is money or not, so the tight account gets none.
            13..=16 if funding == Funding::Tight => (&[Tap, Undo], false),
            13 => (&[Advice], false),
            14 => (&[Advice, Undo], false),
            15 => (&[Tap, Restate], false),
            16 => (&[Tap, Restate, Undo], false),
            17 => (&[Undo, Tap], false),
            _ => (&[Tap, Undo], true),
        };
        let financial = rng.u8(..4) == 0 && !plan.contains(&Restate);
        // An advice is booked on the pool of a partner_choice card, whatever the merchant.
        let mcc = if plan.first() == Some(&Advice) { super::world::MCC_PLAIN } else { mcc };
        let plan = plan.iter().rev().copied().collect();
        let amount = rng.i64(AMOUNTS);
        Story { card: at, funding, mcc, overtaken, steps: Vec::new(), financial, amount, original: None, plan }
    }

    /// The index of the source that pays.
    pub(super) fn source(&self) -> usize {
        self.funding.pays(self.mcc)
    }

    /// Builds the next message and writes it down; `false` at the story's end.
    pub(super) fn next(&mut self, cards: &[Card], messages: &Messages, rng: &mut Rng) -> Result<bool, Fault> {
        let (Some(plan), Some(card)) = (self.plan.pop(), cards.get(self.card)) else { return Ok(false) };
        let class = if self.financial { 0x0200 } else { 0x0100 };
        let reversal = if rng.bool() { 0x0400 } else { 0x0420 };
        let (role, request) = match plan {
            Plan::Tap => (Role::Tap(self.amount), self.tap(card, messages, class)?),
            Plan::Advice => {
                let (request, original) = messages.advice(class | 0x0020, &card.pan, self.amount, None)?;
                self.original = Some(original);
                (Role::Advice(self.amount), request)
            }
            Plan::Restate => {
                // About a tap that was not approved it would be a purchase of its own, which other stories tell.
                if self.code().is_none_or(|code| code != "00") {
                    return Ok(false);
                }
                let amount = rng.i64(AMOUNTS);
                let (request, _) = messages.advice(0x0120, &card.pan, amount, self.original.as_ref())?;
                (Role::Restate(amount), request)
            }
            Plan::Keep => {
                let keep = rng.i64(1..=self.amount);
                let Some(original) = &self.original else { return Ok(false) };
                (Role::Keep(keep), messages.reversal(reversal, &card.pan, original, Some(keep))?)
            }
            Plan::Undo => {
                if self.original.is_none() {
                    // The reversal comes first: its tap is built now and sent later.
                    let request = self.tap(card, messages, class)?;
                    self.plan.clear();
                    let undo = self.undo(card, messages, reversal)?;
                    self.push(Role::Undo, undo);
                    self.push(Role::Tap(self.amount), request);
                    return Ok(true);
                }
                (Role::Undo, self.undo(card, messages, reversal)?)
            }
        };
        self.push(role, request);
        Ok(true)
    }

    fn tap(&mut self, card: &Card, messages: &Messages, class: u16) -> Result<Bytes, Fault> {
        let (request, original) = messages.tap(class, &card.pan, self.amount, self.mcc)?;
        self.original = Some(original);
        Ok(request)
    }

    fn undo(&self, card: &Card, messages: &Messages, mti: u16) -> Result<Bytes, Fault> {
        let original = self.original.as_ref();
        let original = original.ok_or_else(|| Fault::Message("a reversal without an original".to_owned()))?;
        messages.reversal(mti, &card.pan, original, None)
    }

    fn push(&mut self, role: Role, request: Bytes) {
        self.steps.push(Step { role, request, reply: None, code: None, acknowledged: false });
    }

    /// DE39 of the tap's or advice's first answer.
    fn code(&self) -> Option<&str> {
        let first = self.steps.iter().find(|step| matches!(step.role, Role::Tap(_) | Role::Advice(_)))?;
        first.code.as_deref()
    }

    /// What the story holds and has cleared. `believe` says of a message without an answer whether it happened.
    pub(super) fn effect(&self, mut believe: impl FnMut(usize) -> bool) -> Effect {
        let mut amount = 0;
        let mut undone = false;
        for (at, step) in self.steps.iter().enumerate() {
            let happened = match &step.code {
                Some(code) => code == "00",
                None => believe(at),
            };
            if !happened {
                continue;
            }
            amount = match step.role {
                _ if undone => 0,
                Role::Tap(asked) | Role::Advice(asked) | Role::Restate(asked) => asked,
                // It restates what stays; more than there is moves nothing.
                Role::Keep(keep) => keep.min(amount),
                Role::Undo => {
                    undone = true;
                    0
                }
            };
        }
        if self.financial { Effect { held: 0, cleared: amount } } else { Effect { held: amount, cleared: 0 } }
    }

    /// The least and the most that the story can have left behind, whatever became of unanswered messages.
    pub(super) fn bounds(&self) -> [Effect; 2] {
        let unknown: Vec<usize> = (0..self.steps.len()).filter(|at| self.steps[*at].code.is_none()).collect();
        let mut bounds: Option<[Effect; 2]> = None;
        // At most two messages of a story are ever open at once, so this is four cases.
        for case in 0..1u32 << unknown.len().min(8) {
            let effect = self.effect(|at| {
                let bit = unknown.iter().position(|unknown| *unknown == at).unwrap_or(31);
                case >> bit & 1 == 1
            });
            let [least, most] = bounds.get_or_insert([effect; 2]);
            *least = Effect { held: least.held.min(effect.held), cleared: least.cleared.min(effect.cleared) };
            *most = Effect { held: most.held.max(effect.held), cleared: most.cleared.max(effect.cleared) };
        }
        bounds.unwrap_or_default()
    }

    /// Whether a full reversal of it was answered (`Some(true)`), was never sent (`Some(false)`), or nobody knows.
    pub(super) fn reversed(&self) -> Option<bool> {
        match self.steps.iter().find(|step| step.role == Role::Undo) {
            None => Some(false),
            Some(step) if step.code.is_some() => Some(true),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A story of these messages with these answers; `None` is an answer that never came.
    fn story(financial: bool, told: &[(Role, Option<&str>)]) -> Story {
        let step = |(role, code): &(Role, Option<&str>)| Step {
            role: *role,
            request: Bytes::new(),
            reply: code.map(|_| Bytes::new()),
            code: code.map(str::to_owned),
            acknowledged: code.is_some(),
        };
        Story {
            card: 0,
            funding: Funding::Account,
            mcc: super::super::world::MCC_PLAIN,
            overtaken: false,
            steps: told.iter().map(step).collect(),
            financial,
            amount: 0,
            original: None,
            plan: Vec::new(),
        }
    }

    fn bounds(financial: bool, told: &[(Role, Option<&str>)]) -> [(i64, i64); 2] {
        story(financial, told).bounds().map(|effect| (effect.held, effect.cleared))
    }

    #[test]
    fn what_was_answered_is_exact() {
        let yes = Some("00");
        assert_eq!(bounds(false, &[(Role::Tap(500), yes)]), [(500, 0); 2]);
        assert_eq!(bounds(true, &[(Role::Tap(500), yes)]), [(0, 500); 2]);
        assert_eq!(bounds(false, &[(Role::Tap(500), Some("51"))]), [(0, 0); 2]);
        assert_eq!(bounds(false, &[(Role::Tap(500), yes), (Role::Keep(200), yes)]), [(200, 0); 2]);
        let restated = [(Role::Tap(500), yes), (Role::Keep(200), yes), (Role::Keep(300), yes)];
        assert_eq!(bounds(false, &restated), [(200, 0); 2], "a partial reversal never gives back what is gone");
        assert_eq!(bounds(false, &[(Role::Tap(500), yes), (Role::Undo, yes)]), [(0, 0); 2]);
        assert_eq!(bounds(false, &[(Role::Undo, yes), (Role::Tap(500), Some("05"))]), [(0, 0); 2]);
        assert_eq!(bounds(false, &[(Role::Undo, yes), (Role::Advice(500), yes)]), [(0, 0); 2], "booked and reversed");
    }

    #[test]
    fn what_nobody_answered_is_within_its_cases() {
        let yes = Some("00");
        assert_eq!(bounds(false, &[(Role::Tap(500), None)]), [(0, 0), (500, 0)]);
        assert_eq!(bounds(true, &[(Role::Tap(500), yes), (Role::Keep(200), None)]), [(0, 200), (0, 500)]);
        assert_eq!(bounds(false, &[(Role::Tap(500), yes), (Role::Undo, None)]), [(0, 0), (500, 0)]);
        assert_eq!(bounds(false, &[(Role::Tap(500), None), (Role::Undo, None)]), [(0, 0), (500, 0)]);
    }
}
