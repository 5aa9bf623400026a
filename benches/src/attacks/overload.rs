//! Three times what the engine can do. Its capacity is lowered, by a slowed journal or by a CPU quota, so that the
//! generator on the same processors can offer three times as much; it is measured first, in a closed loop, under the
//! same bound.

use super::ground::Ground;
use super::quota::Quota;
use super::{Check, Outcome, Terms, honest};
use crate::fault::Fault;
use crate::load::Shape;
use crate::result::RunResult;
use std::time::{Duration, Instant};

/// Percent of one processor that the engine has, all its threads together.
const PERCENT: u64 = 10;
/// Bytes a second that the shard's thread may write.
const BYTES_PER_S: u64 = 4 << 20;
/// Messages without a reply at a time while the capacity is measured.
const IN_FLIGHT: usize = 512;
/// Taps a second of the probe that runs before, through and after the overload, on the other link.
const PROBE: f64 = 200.0;
/// The probe's time before the overload, and after.
const AROUND: Duration = Duration::from_secs(3);
/// How much is offered, in capacities.
const TIMES: f64 = 3.0;
/// When the engine must be as it was.
const RECOVERED: f64 = 1.0;

/// How the capacity is lowered.
#[derive(Debug, Clone, Copy)]
enum By {
    Journal,
    Processor,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::Journal => "slowed journal",
            By::Processor => "CPU quota",
        }
    }

    fn bound(self, ground: &Ground) -> Result<Quota, String> {
        let pid = ground.engine.pid();
        match self {
            By::Journal => Quota::disk(pid, "shard", &ground.data, BYTES_PER_S),
            By::Processor => Quota::processor(pid, PERCENT),
        }
    }

    fn note(self) -> String {
        match self {
            By::Journal => format!("the shard's thread could write {} MiB a second", BYTES_PER_S >> 20),
            By::Processor => format!("the engine had {PERCENT} % of one processor, all its threads together"),
        }
    }
}

/// Runs it by a slowed journal.
pub(super) fn journal(terms: Terms<'_>) -> Result<Outcome, Fault> {
    run(terms, By::Journal)
}

/// Runs it by a CPU quota.
pub(super) fn processor(terms: Terms<'_>) -> Result<Outcome, Fault> {
    run(terms, By::Processor)
}

fn run(mut terms: Terms<'_>, by: By) -> Result<Outcome, Fault> {
    let ground = Ground::start(&terms, "", None)?;
    let quota = match by.bound(&ground) {
        Ok(quota) => quota,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let length = Duration::from_secs(if terms.quick { 3 } else { 8 });
    let mut closed =
        honest::plan(&format!("overload, {}: capacity", by.word()), ground.attacked, &ground.cards, 1.0, length)?;
    closed.shape = Shape::Closed { in_flight: IN_FLIGHT };
    closed.links = 4;
    let capacity = honest::once(&closed, terms.numbers)?;
    if let Some(void) = &capacity.void {
        return Err(Fault::Engine(format!("the capacity could not be measured: {void}")));
    }
    let offered = capacity.answered_per_s * TIMES;

    let name = format!("overload, {}: a probe before, through and after it", by.word());
    let probe = {
        let mut plan = honest::plan(&name, ground.honest, &ground.cards, PROBE, AROUND + length + AROUND)?;
        (plan.links, plan.lenient) = (1, true);
        plan
    };
    let name = format!("overload, {}: {TIMES} x capacity", by.word());
    let mut flood = honest::plan(&name, ground.attacked, &ground.cards, offered, length)?;
    (flood.links, flood.lenient, flood.warm_up) = (4, true, Duration::ZERO);
    let (mut of_probe, mut of_flood) = (terms.own_numbers(), terms.own_numbers());
    let start = Instant::now() + probe.warm_up;
    let (probe, flood, ended) = std::thread::scope(|scope| {
        let attack = scope.spawn(|| {
            std::thread::sleep(probe.warm_up + AROUND);
            let began = Instant::now();
            (honest::once(&flood, &mut of_flood), began)
        });
        let probed = honest::once(&probe, &mut of_probe);
        let (flooded, began) = attack.join().map_err(|_| Fault::Engine("the overload's thread panicked".into()))?;
        Ok::<_, Fault>((probed?, flooded?, began + length))
    })?;
    drop(ground);
    drop(quota);

    let end = ended.saturating_duration_since(start).as_secs_f64();
    let checks = checks(&capacity, &probe, &flood, end, length);
    let mut results = vec![capacity, probe, flood];
    if let Some(last) = results.last_mut() {
        last.notes.push(by.note());
    }
    Ok(Outcome::Ran { results, checks })
}

fn count(result: &RunResult, kind: &str) -> u64 {
    result.counts.iter().find(|(k, _)| k == kind).map_or(0, |(_, count)| *count)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn checks(capacity: &RunResult, probe: &RunResult, flood: &RunResult, end: f64, length: Duration) -> Vec<Check> {
    let lost = count(flood, "lost") + count(probe, "lost");
    let late = count(flood, "late") + count(probe, "late");
    let approved = count(flood, "DE39 00").saturating_sub(count(flood, "late"));
    let goodput = approved as f64 / length.as_secs_f64();
    let share = goodput / capacity.answered_per_s;
    let shed = count(flood, "DE39 91");
    // What a probe's window took before the overload began, and the last one after it that took much longer.
    let before = probe.windows.iter().filter(|w| w.at_s < AROUND.as_secs_f64() - 0.2 && w.replies > 0);
    let usual = before.map(|window| window.p99_us).fold(0.0, f64::max);
    let slow = probe.windows.iter().filter(|w| w.at_s >= end && w.replies > 0 && w.p99_us > usual * 2.0);
    let recovered = slow.map(|window| window.at_s + 0.1 - end).fold(0.0, f64::max);
    let void = flood.void.as_deref().or(probe.void.as_deref());
    vec![
        Check::new(
            "every message answered in budget",
            format!("{} sent, {lost} lost, {late} late", flood.sent + probe.sent),
            lost == 0 && late == 0,
        ),
        Check::new(
            "goodput at least 80 % of capacity",
            format!("{goodput:.0} of {:.0} a second, {:.0} %; {shed} shed", capacity.answered_per_s, share * 100.0),
            share >= 0.8,
        ),
        Check::new("recovery within a second", format!("{recovered:.1} s"), recovered <= RECOVERED),
        Check::new("the run counts", void.unwrap_or("yes"), void.is_none()),
    ]
}
