//! How far the engine's read model is behind its journal, from the engine's own metrics. It must never ask for a list,
//! which would hurry the read model.

use crate::client::Rest;
use crate::fault::Fault;
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Events that the read model has not folded; none while the engine does not tell.
pub(crate) fn read(rest: &Rest) -> Result<Option<u64>, Fault> {
    let answer = rest.get("/metrics")?;
    let text = String::from_utf8_lossy(&answer.body);
    let value = text.lines().find_map(|line| line.strip_prefix("view_lag_events "));
    Ok(value.and_then(|value| value.trim().parse::<f64>().ok()).map(|lag| lag as u64))
}

/// Waits until the read model has caught up, so that it does not share the processors with what is measured.
pub(crate) fn wait(rest: &Rest, patience: Duration) -> Result<(), Fault> {
    let from = Instant::now();
    let bar = ProgressBar::new_spinner();
    loop {
        match read(rest)? {
            Some(0) => {
                bar.finish_and_clear();
                return Ok(());
            }
            Some(lag) => bar.set_message(format!("the read model is {lag} events behind")),
            None => bar.set_message("the read model does not tell yet how far it is"),
        }
        bar.tick();
        if from.elapsed() >= patience {
            let text = format!("the read model did not catch up within {} s; wait for longer", patience.as_secs());
            return Err(Fault::Engine(text));
        }
        std::thread::sleep(LOOK);
    }
}
