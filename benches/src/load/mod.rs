//! The load generator: ISO 8583 over real sockets against any listener, in an open or a closed loop. This file owns
//! what a run is and the order of its parts; the parts have a file each. Nothing in here may know which server it
//! speaks to, except `target`, which can start ours.

pub(crate) mod cards;
mod drive;
pub(crate) mod echo;
mod links;
mod matching;
pub(crate) mod metrics;
pub(crate) mod mix;
pub(crate) mod numbers;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod partner;
mod progress;
mod record;
pub(crate) mod schedule;
pub(crate) mod target;
mod template;
pub(crate) mod watch;

use crate::fault::Fault;
use crate::floor::Floor;
use crate::measure::Series;
use crate::processors;
use crate::result::RunResult;
use cards::Cards;
use drive::{Drive, Gauge, Pace};
use iso_codec::Spec;
use links::Links;
use matching::Reader;
use mix::Mix;
use numbers::Numbers;
pub(crate) use record::Why;
use schedule::{Arrivals, Draw};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use template::Frames;
use watch::Watch;

/// Messages a second that a closed loop can send at most; room for them is laid out before the run.
const FASTEST: usize = 600_000;
/// How long replies are waited for beyond the budget, after the last message.
const GRACE: Duration = Duration::from_millis(500);

/// How messages follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// By the clock, whatever the target does; latency counts from the intended time.
    Open {
        /// Arrivals a second.
        rate: f64,
        /// How they are spaced.
        arrivals: Arrivals,
    },
    /// The next when one came back.
    Closed {
        /// Messages without a reply at a time.
        in_flight: usize,
    },
}

impl Shape {
    /// As results name it.
    fn word(self) -> &'static str {
        match self {
            Shape::Open { .. } => "open",
            Shape::Closed { .. } => "closed",
        }
    }
}

/// One run: to whom, how much, how long, of what.
#[derive(Clone)]
pub(crate) struct Plan {
    /// What its result is called.
    pub(crate) name: String,
    /// What it belongs to in the report.
    pub(crate) group: String,
    /// Listeners; links are spread over them in turn.
    pub(crate) targets: Vec<SocketAddr>,
    /// Connections.
    pub(crate) links: usize,
    /// The spec that the target speaks, an embedded one's name. The framing is `len2be`.
    pub(crate) spec: String,
    /// Open or closed.
    pub(crate) shape: Shape,
    /// Load before the measured part, which counts for nothing.
    pub(crate) warm_up: Duration,
    /// The measured part.
    pub(crate) length: Duration,
    /// Of the schedule.
    pub(crate) seed: u64,
    /// Kinds, amounts, what is expected.
    pub(crate) mix: Mix,
    /// The cards that are used.
    pub(crate) cards: Arc<Cards>,
    /// A reply that takes longer is late.
    pub(crate) budget: Duration,
    /// So long before a due time the loop no longer sleeps.
    pub(crate) spin: Duration,
    /// Due messages are gathered for so long before they are written; `None` chooses by the rate.
    pub(crate) coalesce: Option<Duration>,
    /// Late, lost and refused replies are what the run is about (an overload, an attack), and do not make it void.
    pub(crate) lenient: bool,
    /// The loop runs before all other threads, its own process's included.
    pub(crate) first: bool,
    /// What to look at besides.
    pub(crate) watch: Watch,
    /// Samples of the floor, half of them before and half after the load.
    pub(crate) floor_samples: usize,
}

impl Plan {
    /// A plan with the usual settings: four links, Poisson, 2 s of warm-up, 10 s, a budget of 2 s.
    pub(crate) fn new(name: &str, targets: Vec<SocketAddr>, shape: Shape, mix: Mix, cards: Arc<Cards>) -> Plan {
        Plan {
            name: name.to_owned(),
            group: mix.name.clone(),
            targets,
            links: 4,
            spec: "mastercard".to_owned(),
            shape,
            warm_up: Duration::from_secs(2),
            length: Duration::from_secs(10),
            seed: 1,
            mix,
            cards,
            budget: Duration::from_secs(2),
            spin: Duration::from_micros(50),
            coalesce: None,
            lenient: false,
            first: false,
            watch: Watch::default(),
            floor_samples: 400,
        }
    }

    fn check(&self) -> Result<(), Fault> {
        let fault = |text: &str| Err(Fault::Usage(text.to_owned()));
        match self.shape {
            _ if self.targets.is_empty() => fault("a run needs a target"),
            _ if self.links == 0 || self.links > 1024 => fault("a run needs 1 to 1024 links"),
            _ if self.length < Duration::from_millis(200) => fault("a run is at least 200 ms long: two windows"),
            _ if self.length + self.warm_up > Duration::from_secs(3600) => fault("a run is at most an hour long"),
            Shape::Closed { in_flight } if in_flight == 0 || in_flight > 100_000 => {
                fault("a closed loop has 1 to 100,000 messages in flight")
            }
            _ => Ok(()),
        }
    }

    /// How long due messages wait for company: at high rates a write each would cost more than the server's work.
    fn gather(&self) -> Duration {
        match (self.coalesce, self.shape) {
            (Some(coalesce), _) => coalesce,
            (None, Shape::Open { rate, .. }) if rate >= 50_000.0 => Duration::from_micros(40),
            (None, _) => Duration::ZERO,
        }
    }
}

/// Runs a plan and tells what came of it; a run whose figures must not be used says so in `void`. With a floor, it is
/// sampled before the warm-up and after the last reply, while the target is idle.
pub(crate) fn run(plan: &Plan, numbers: &mut Numbers, floor: Option<&mut Floor>) -> Result<RunResult, Fault> {
    judged(plan, numbers, floor).map(|(result, _)| result)
}

/// The same, and of which kind the reason in `void` is.
pub(crate) fn judged(
    plan: &Plan,
    numbers: &mut Numbers,
    mut floor: Option<&mut Floor>,
) -> Result<(RunResult, Option<Why>), Fault> {
    plan.check()?;
    let spec = Spec::embedded(&plan.spec);
    let spec = spec.ok_or_else(|| {
        Fault::Usage(format!("no spec `{}`; there are {}", plan.spec, Spec::embedded_names().join(", ")))
    })?;
    let draw = Draw { mix: &plan.mix, cards: plan.cards.len(), seed: plan.seed };
    let whole = plan.warm_up + plan.length;
    let (mut slots, in_flight) = match plan.shape {
        Shape::Open { rate, arrivals } => (draw.open(arrivals, rate, whole)?, None),
        Shape::Closed { in_flight } => {
            let count = (whole.as_secs_f64() * FASTEST as f64) as usize;
            (draw.closed(in_flight, count)?, Some(in_flight))
        }
    };
    let frames = Frames::new(&spec, plan.cards.length())?;
    let reader = Reader::new(&spec);
    let range = numbers.take(slots.len());
    let mut of_floor = Series::default();
    sample(floor.as_deref_mut(), plan.floor_samples / 2, frames.sample(), &mut of_floor)?;

    let links = match Links::connect(&plan.targets, plan.links) {
        Ok(links) => links,
        // Nothing was run: there is a result that says why, and no figure.
        Err(fault) => {
            let (name, group, shape) = (plan.name.clone(), plan.group.clone(), plan.shape.word().to_owned());
            let result = RunResult { name, group, shape, void: Some(fault.to_string()), ..RunResult::default() };
            return Ok((result, Some(Why::Target)));
        }
    };
    let pace =
        Pace { spin: plan.spin, coalesce: plan.gather(), patience: plan.budget + GRACE, in_flight, length: whole };
    let gauge = Gauge::default();
    let drive = Drive::new(links, (&frames, &reader), (&plan.cards, &range), &mut slots, pace, &gauge);
    let (seen, watched) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch::watch(&plan.watch, &gauge, plan.warm_up, plan.length));
        scope.spawn(|| progress::show(plan, &gauge));
        let _aside = processors::aside(plan.watch.kept);
        let _first = processors::first(plan.first);
        let seen = drive.run();
        (seen, watcher.join().unwrap_or_default())
    });
    sample(floor, plan.floor_samples / 2, frames.sample(), &mut of_floor)?;

    let (mut result, why) = record::evaluate(plan, &slots, &seen);
    result.server_cpu_us = watched.cpu_us();
    result.view_lag_events = watched.view_lag;
    result.stages = watched.stages;
    if !of_floor.is_empty() && why != Some(Why::Target) {
        result.floor_curve = of_floor.curve();
        let floor = of_floor.summary("floor");
        result.floor_p50_us = floor.p50_us;
        result.floor_p99_us = floor.p99_us;
        result.ratio_p50 = result.w50_us / floor.p50_us;
        result.ratio_p99 = result.w99_us / floor.p99_us;
    }
    Ok((result, why))
}

/// The first samples after a pause are slower than the rest and are left out.
fn sample(floor: Option<&mut Floor>, count: usize, request: &[u8], series: &mut Series) -> Result<(), Fault> {
    let Some(floor) = floor else { return Ok(()) };
    for at in 0..count + count / 4 {
        let took = floor.sample(request)?;
        if at >= count / 4 {
            series.push(took);
        }
    }
    Ok(())
}
