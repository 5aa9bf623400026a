//! Hostile 26: the sidecar flooded at its limit; taps keep their p99.

use super::ground::Ground;
use super::{Check, Outcome, Terms, flood, honest};
use crate::fault::Fault;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Connections of the flood: more than the 256 requests that the sidecar answers at once.
const CONNECTIONS: usize = 300;
/// How long the flood rises before the honest traffic is measured beside it.
const RISE: Duration = Duration::from_millis(500);

pub(super) fn run(mut terms: Terms<'_>) -> Result<Outcome, Fault> {
    let ground = Ground::start(&terms, "", None)?;
    let quiet = honest::accounts("h26: honest taps alone", &ground, &terms)?;
    let loud = honest::accounts("h26: honest taps beside a flood of REST calls", &ground, &terms)?;
    let mut numbers = terms.own_numbers();
    let mut all = flood::Statuses::new();
    let mut seconds = 0.0;
    let (quiet, mut loud) = honest::in_turns(
        terms.rounds,
        || honest::once(&quiet, terms.numbers),
        || {
            let stop = AtomicBool::new(false);
            let make = || ground.rest.apart();
            std::thread::scope(|scope| {
                let from = std::time::Instant::now();
                let attack = scope.spawn(|| flood::attack(make, CONNECTIONS, &ground.account, &ground.partner, &stop));
                std::thread::sleep(RISE);
                let result = honest::once(&loud, &mut numbers);
                stop.store(true, Ordering::Relaxed);
                let statuses = attack.join().map_err(|_| Fault::Engine("the flood's thread panicked".into()))?;
                seconds += from.elapsed().as_secs_f64();
                statuses.into_iter().for_each(|(status, count)| *all.entry(status).or_default() += count);
                result
            })
        },
    )?;
    let calls: u64 = all.values().sum();
    let said: Vec<String> = all
        .iter()
        .map(|(status, count)| if *status == 0 { format!("failed: {count}") } else { format!("{status}: {count}") })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
    let rate = calls as f64 / seconds;
    loud.told.notes.push(format!("{CONNECTIONS} connections, {rate:.0} calls/s, by status {}", said.join(", ")));
    let checks = vec![
        Check::new("the flood reached the sidecar", format!("{rate:.0} calls/s"), calls > 0),
        honest::served(&loud),
        honest::kept(&quiet, &loud),
    ];
    Ok(Outcome::Ran { results: vec![quiet.told, loud.told], checks })
}
