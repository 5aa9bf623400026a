//! The simulator: the whole engine (codec bytes in, `engine/`, ledger, journal) on a simulated disk, clock, network and
//! partner, from a seed, bit for bit the same each time. ADR 0018 says what it holds the engine to.
//!
//! A seed becomes a [`plan::Plan`] (`draw.rs`); a plan is run (`world/`, `restart.rs`) beside a plain model
//! (`model/`); a plan that finds something is made shorter (`shrink.rs`) and told. Must never be needed to run the
//! engine, and never read a clock, a file or a random number of the machine while it runs a plan.

mod compare;
pub mod coverage;
mod dice;
mod disk;
mod draw;
mod frames;
mod model;
pub mod plan;
mod replies;
mod requests;
mod restart;
mod rules;
mod shrink;
pub mod words;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use coverage::Coverage;
use plan::Plan;
use world::World;

pub use draw::draw;
pub use shrink::shrink;

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Where and how the engine broke a rule.
    pub violation: Option<Violation>,
    /// A hash over everything that left the engine and every state it was in.
    pub trace: [u8; 32],
    /// What was reached.
    pub coverage: Coverage,
    /// Operations of the simulated disk.
    pub operations: u64,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// At which step of the plan, from 0; behind the last at the end.
    pub step: usize,
    /// Which rule, in one sentence.
    pub what: String,
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan.seed, &plan.shape);
    let mut at = 0;
    let ran = catch_unwind(AssertUnwindSafe(|| -> Result<(), world::Violation> {
        world.start(None)?;
        for step in &plan.steps {
            world.step(step)?;
            at += 1;
        }
        world.finish()
    }));
    let violation = match ran {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(Violation { step: at, what }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Some(Violation { step: at, what: format!("the engine panicked: {text}") })
        }
    };
    let trace = *world.trace.finalize().as_bytes();
    Outcome { violation, trace, coverage: world.coverage, operations: world.disk.operations() }
}

/// The story of a plan, line by line.
pub fn story(plan: &Plan, outcome: &Outcome) -> String {
    let mut lines = vec![format!("seed {}: {:?}", plan.seed, plan.shape)];
    for (at, step) in plan.steps.iter().enumerate() {
        let here = outcome.violation.as_ref().is_some_and(|violation| violation.step == at);
        lines.push(format!("{:>4}{} {step}", at + 1, if here { ">" } else { " " }));
        if here {
            break;
        }
    }
    if let Some(violation) = &outcome.violation {
        lines.push(format!("      {}", violation.what));
    }
    lines.join("\n")
}
