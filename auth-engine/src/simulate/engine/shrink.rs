//! Making a plan that finds something shorter: steps, inputs and faults are taken out as long as it still finds it.
//! Must never call another violation the same one: what is found must begin with the same words.

use super::plan::{Plan, Step};
use super::{Outcome, run};

/// Runs at most; a story that is nearly short is good enough.
const MOST_RUNS: usize = 3_000;

/// The shortest plan found that goes wrong in the same way, and how it ends.
pub fn shrink(plan: &Plan, outcome: &Outcome) -> (Plan, Outcome) {
    let mut best = (plan.clone(), outcome.clone());
    let Some(violation) = &outcome.violation else { return best };
    let kind = kind_of(&violation.what);
    best.0.steps.truncate(violation.step + 1);
    let mut runs = 0;
    let mut tries = |candidate: &Plan| {
        runs += 1;
        if runs > MOST_RUNS {
            return None;
        }
        let outcome = run(candidate);
        outcome.violation.as_ref().is_some_and(|v| kind_of(&v.what) == kind).then_some(outcome)
    };
    loop {
        let before = (best.0.steps.len(), inputs(&best.0));
        drop_steps(&mut best, &mut tries);
        drop_inputs(&mut best, &mut tries);
        simplify(&mut best, &mut tries);
        if (best.0.steps.len(), inputs(&best.0)) == before {
            return best;
        }
    }
}

/// The words of a violation without its numbers.
fn kind_of(what: &str) -> String {
    let word = |word: &&str| !word.chars().any(|c| c.is_ascii_digit());
    what.split_whitespace().filter(word).take(6).collect::<Vec<_>>().join(" ")
}

fn inputs(plan: &Plan) -> usize {
    plan.steps
        .iter()
        .map(|step| match step {
            Step::Batch(batch) => batch.inputs.len() + usize::from(batch.fault.is_some()),
            Step::Stop(inputs) => inputs.len(),
            Step::RotServing(_, repeats) => repeats.len(),
            Step::Wait(_) | Step::ClockSteps(_) | Step::Crash(_) | Step::Rot(_) | Step::Snapshot(_) => 0,
        })
        .sum()
}

type Tries<'a> = dyn FnMut(&Plan) -> Option<Outcome> + 'a;

fn drop_steps(best: &mut (Plan, Outcome), tries: &mut Tries<'_>) {
    let mut size = best.0.steps.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < best.0.steps.len() {
            let mut candidate = best.0.clone();
            let to = (from + size).min(candidate.steps.len());
            candidate.steps.drain(from..to);
            match tries(&candidate) {
                Some(outcome) => *best = (candidate, outcome),
                None => from += size,
            }
        }
        if size == 1 {
            return;
        }
        size = size.div_ceil(2);
    }
}

fn drop_inputs(best: &mut (Plan, Outcome), tries: &mut Tries<'_>) {
    let mut at = 0;
    while at < best.0.steps.len() {
        let mut input = 0;
        loop {
            let mut candidate = best.0.clone();
            let dropped = match candidate.steps.get_mut(at) {
                Some(Step::Batch(batch)) if input < batch.inputs.len() => {
                    batch.inputs.remove(input);
                    true
                }
                Some(Step::Stop(inputs)) if input < inputs.len() => {
                    inputs.remove(input);
                    true
                }
                _ => false,
            };
            if !dropped {
                break;
            }
            match tries(&candidate) {
                Some(outcome) => *best = (candidate, outcome),
                None => input += 1,
            }
        }
        at += 1;
    }
}

/// Faults, waits and what partners say go where they are not needed.
fn simplify(best: &mut (Plan, Outcome), tries: &mut Tries<'_>) {
    for at in 0..best.0.steps.len() {
        for way in 0..5 {
            let mut candidate = best.0.clone();
            let Some(step) = candidate.steps.get_mut(at) else { continue };
            match (step, way) {
                (Step::Batch(batch), 0) if batch.fault.is_some() => batch.fault = None,
                (Step::Snapshot(fault), 0) if fault.is_some() => *fault = None,
                (Step::Batch(batch), 1) => match &mut batch.fault {
                    Some(fault) if fault.again.is_some() => fault.again = None,
                    _ => continue,
                },
                (Step::Batch(batch), 2) if batch.sync_us != 200 || batch.waiting => {
                    (batch.sync_us, batch.waiting) = (200, false);
                }
                (Step::Batch(batch), 3) => {
                    let before = batch.clone();
                    for input in &mut batch.inputs {
                        if let super::plan::Input::Message(message) = input {
                            message.says.truncate(1);
                            message.deaf = false;
                            message.waited_us = 0;
                        }
                    }
                    if *batch == before {
                        continue;
                    }
                }
                (Step::RotServing(rot, _), 4) => {
                    let rot = *rot;
                    if let Some(step) = candidate.steps.get_mut(at) {
                        *step = Step::Rot(rot);
                    }
                }
                _ => continue,
            }
            if let Some(outcome) = tries(&candidate) {
                *best = (candidate, outcome);
            }
        }
    }
}
