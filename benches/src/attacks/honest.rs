//! The honest traffic beside an attack, without it and with it in turns. It owns which round is told and what the
//! rounds have in common; it must never drop a round that went badly.

use super::ground::Ground;
use super::{Check, Terms};
use crate::fault::Fault;
use crate::load::cards::Cards;
use crate::load::mix::Mix;
use crate::load::numbers::Numbers;
use crate::load::schedule::Arrivals;
use crate::load::{self, Plan, Shape};
use crate::processors;
use crate::result::RunResult;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Rounds of one arm.
pub(super) struct Arm {
    /// The round with the median W99.
    pub(super) told: RunResult,
    /// Lost, late, unexpected replies of all rounds.
    pub(super) errors: u64,
}

/// Open-loop taps at that rate on the cards given, all of which must be approved.
pub(super) fn plan(
    name: &str,
    link: SocketAddr,
    cards: &Arc<Cards>,
    rate: f64,
    length: Duration,
) -> Result<Plan, Fault> {
    let shape = Shape::Open { rate, arrivals: Arrivals::Poisson };
    let mut plan = Plan::new(name, vec![link], shape, Mix::load("accounts")?, Arc::clone(cards));
    plan.group = "attacks".to_owned();
    plan.links = 2;
    plan.warm_up = Duration::from_millis(500);
    plan.length = length;
    Ok(plan)
}

/// The plan of the account-funded taps that every attack has beside it.
pub(super) fn accounts(name: &str, ground: &Ground, terms: &Terms<'_>) -> Result<Plan, Fault> {
    let mut plan = plan(name, ground.honest, &ground.cards, terms.rate, terms.length())?;
    // It is to measure the engine's trouble with the attack, not its own with its neighbours.
    (plan.first, plan.watch.kept) = (true, processors::of_shard());
    Ok(plan)
}

/// One run.
pub(super) fn once(plan: &Plan, numbers: &mut Numbers) -> Result<RunResult, Fault> {
    load::run(plan, numbers, None)
}

/// `rounds` times without, then with: what each arm came to.
pub(super) fn in_turns(
    rounds: u32,
    mut without: impl FnMut() -> Result<RunResult, Fault>,
    mut with: impl FnMut() -> Result<RunResult, Fault>,
) -> Result<(Arm, Arm), Fault> {
    let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        quiet.push(without()?);
        attacked.push(with()?);
    }
    Ok((arm(quiet)?, arm(attacked)?))
}

/// Puts the rounds of an arm together.
pub(super) fn arm(mut rounds: Vec<RunResult>) -> Result<Arm, Fault> {
    let errors = rounds.iter().map(|round| round.errors).sum();
    let w99_us: Vec<f64> = rounds.iter().map(|round| round.w99_us).collect();
    rounds.sort_by(|a, b| a.w99_us.total_cmp(&b.w99_us));
    let middle = rounds.len() / 2;
    if rounds.is_empty() {
        return Err(Fault::Engine("no round was run".to_owned()));
    }
    let mut told = rounds.swap_remove(middle);
    if w99_us.len() > 1 {
        let all: Vec<String> = w99_us.iter().map(|w99| format!("{w99:.0}")).collect();
        told.notes.push(format!("the round with the median W99 of {} in turns: {} µs", w99_us.len(), all.join(", ")));
    }
    Ok(Arm { told, errors })
}

/// Every honest message was answered as it must be, in time.
pub(super) fn served(arm: &Arm) -> Check {
    let void = arm.told.void.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
    Check::new(
        "honest taps all approved in budget",
        format!("{} lost, late or otherwise{void}", arm.errors),
        arm.errors == 0 && arm.told.sent > 0,
    )
}

/// Whether honest taps kept their W99 within a fifth.
pub(super) fn kept(quiet: &Arm, attacked: &Arm) -> Check {
    let ratio = attacked.told.w99_us / quiet.told.w99_us;
    Check::new("honest W99 at most 1.2 x that without", format!("{ratio:.2} x"), ratio <= 1.2)
}
