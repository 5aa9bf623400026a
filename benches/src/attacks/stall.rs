//! Hostile 29: a disk that stalls for seconds. The engine's directory lies on a file system of its own that the kernel
//! freezes, so that the write under way waits as it would for a device that does not answer.

use super::ground::Ground;
use super::volume::{Stall, Volume};
use super::{Check, Outcome, Terms, honest};
use crate::fault::Fault;
use crate::result::RunResult;
use std::time::{Duration, Instant};

/// Honest taps a second: few enough that what waited through the stall is decided at once after it.
const RATE: f64 = 1_000.0;
/// Before the stall, and after it.
const AROUND: Duration = Duration::from_secs(3);
/// When the engine must be as it was.
const RECOVERED: Duration = Duration::from_secs(1);

pub(super) fn run(terms: Terms<'_>) -> Result<Outcome, Fault> {
    let volume = match Volume::make(terms.place, 600) {
        Ok(volume) => volume,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let ground = Ground::start(&terms, "", Some(&volume.path().join("data")))?;
    let length = Duration::from_secs(if terms.quick { 2 } else { 5 });
    let mut quiet = honest::plan("h29: honest taps alone", ground.honest, &ground.cards, RATE, terms.length())?;
    quiet.links = 1;
    let quiet = honest::once(&quiet, terms.numbers)?;

    let name = format!("h29: honest taps, the disk stalls for {} s", length.as_secs());
    let mut plan = honest::plan(&name, ground.honest, &ground.cards, RATE, AROUND + length + AROUND)?;
    plan.links = 1;
    plan.lenient = true;
    let began = Instant::now();
    let (mut loud, stall) = std::thread::scope(|scope| {
        let attack = scope.spawn(|| {
            std::thread::sleep(plan.warm_up + AROUND);
            volume.stall(length)
        });
        let result = honest::once(&plan, terms.numbers);
        let stall = attack.join().map_err(|_| Fault::Engine("the stall's thread panicked".to_owned()))?;
        Ok::<_, Fault>((result?, stall?))
    })?;
    // The volume is unmounted after the engine has let go of it.
    drop(ground);
    drop(volume);

    let checks = checks(&quiet, &loud, stall, began + plan.warm_up);
    loud.notes.push(format!(
        "frozen by the kernel (fsfreeze on a loop-mounted ext4) for {:.2} s from second {:.2} of the run on; what \
         waited through more than its budget gets no answer, which is what the contract asks for",
        (stall.to - stall.from).as_secs_f64(),
        (stall.from - began - plan.warm_up).as_secs_f64()
    ));
    Ok(Outcome::Ran { results: vec![quiet, loud], checks })
}

/// `start` is when the first measured message was due, but for the few milliseconds that connecting took.
fn checks(quiet: &RunResult, loud: &RunResult, stall: Stall, start: Instant) -> Vec<Check> {
    let count = |kind: &str| loud.counts.iter().find(|(k, _)| k == kind).map_or(0, |(_, count)| *count);
    let (late, lost) = (count("late"), count("lost"));
    let from = stall.from.saturating_duration_since(start).as_secs_f64();
    let to = stall.to.saturating_duration_since(start).as_secs_f64();
    // What came through the stall counts as old from its beginning on: nobody knows when the kernel took it in.
    let through = (to - from) * RATE;
    let slow = |p99: f64| p99 > quiet.w99_us.max(1_000.0) * 5.0;
    let windows = || loud.windows.iter().filter(|window| window.replies > 0);
    let last_slow = windows().filter(|window| window.at_s >= to && slow(window.p99_us)).map(|w| w.at_s + 0.1);
    let recovered = last_slow.fold(to, f64::max) - to;
    let stalled = windows().any(|window| window.at_s + 0.1 >= from && window.at_s <= to && slow(window.p99_us));
    vec![
        Check::new("the stall was felt", if stalled { "yes" } else { "no" }, stalled),
        Check::new("no answer later than its budget", format!("{late} late"), late == 0),
        Check::new(
            "only taps that came through the stall unanswered",
            format!("{lost} unanswered, {through:.0} came through the stall"),
            // Poisson arrivals, and the few that were on their way when it began.
            (lost as f64) <= through * 1.1 + RATE * 0.1,
        ),
        Check::new(
            "as before within a second after the stall",
            format!("{recovered:.1} s"),
            recovered <= RECOVERED.as_secs_f64(),
        ),
        Check::new(
            "nothing lost outside the stall",
            format!("{} unexpected, {} unmatched", count("unexpected"), count("unmatched")),
            count("unmatched") == 0 && count("unexpected") <= count("DE39 91"),
        ),
    ]
}
