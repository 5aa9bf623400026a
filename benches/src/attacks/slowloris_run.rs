//! Hostile 5: slow connections beside honest traffic.

use super::ground::Ground;
use super::{Check, Outcome, Terms, honest, slowloris};
use crate::fault::Fault;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Slow connections at a time.
const CONNECTIONS: usize = 500;
/// How far from `frame_timeout` a cut may be seen: the look every 50 ms, and a busy machine.
const SLACK: Duration = Duration::from_millis(500);

pub(super) fn run(mut terms: Terms<'_>) -> Result<Outcome, Fault> {
    let timeout = Duration::from_secs(if terms.quick { 1 } else { 3 });
    let ground = Ground::start(&terms, &format!("frame_timeout = \"{}s\"", timeout.as_secs()), None)?;
    let quiet = honest::accounts("h05: honest taps alone", &ground, &terms)?;
    let loud = honest::accounts("h05: honest taps beside 500 slow connections", &ground, &terms)?;
    let (rounds, mut cuts) = (terms.rounds, Vec::new());
    let mut numbers = terms.own_numbers();
    let (quiet, mut loud) = honest::in_turns(
        rounds,
        || honest::once(&quiet, terms.numbers),
        || {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let attack = scope.spawn(|| slowloris::attack(ground.attacked, CONNECTIONS, &stop));
                let result = honest::once(&loud, &mut numbers);
                stop.store(true, Ordering::Relaxed);
                let cut = attack.join().map_err(|_| Fault::Engine("the slow connections' thread panicked".into()))?;
                cuts.push(cut?);
                result
            })
        },
    )?;
    let after: Vec<Duration> = cuts.iter().flat_map(|cuts| cuts.after.iter().copied()).collect();
    let (first, last) =
        (after.iter().min().copied().unwrap_or_default(), after.iter().max().copied().unwrap_or_default());
    let oldest = cuts.iter().map(|cuts| cuts.oldest).max().unwrap_or_default();
    let refused: u64 = cuts.iter().map(|cuts| cuts.refused).sum();
    loud.told.notes.push(format!(
        "{} slow connections were cut, {:.2} to {:.2} s after their first byte; {refused} were refused",
        after.len(),
        first.as_secs_f64(),
        last.as_secs_f64()
    ));
    let cut = first + SLACK >= timeout && last.max(oldest) <= timeout + SLACK && after.len() >= CONNECTIONS;
    let checks = vec![
        Check::new(
            format!("slow connections cut {} s after their first byte", timeout.as_secs()),
            format!("{} cut, {:.2} to {:.2} s after it", after.len(), first.as_secs_f64(), last.as_secs_f64()),
            cut,
        ),
        honest::served(&loud),
        honest::kept(&quiet, &loud),
    ];
    Ok(Outcome::Ran { results: vec![quiet.told, loud.told], checks })
}
