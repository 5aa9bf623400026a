//! The demo: an engine on a fresh directory, a sample partner and a small network side in one process, everything
//! else over real sockets. It plays the story and says what came of it.
//!
//! This module owns a stranger's first five seconds. It must never know a rule of the engine: what must happen
//! stands in the story as data, what did happen is read off the wire and REST.

pub(crate) mod api;
mod balances;
mod messages;
mod network;
mod player;
mod screen;
mod stages;
mod story;
mod theatre;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use crate::cli::{Failure, Outcome};
use player::Player;
use screen::Screen;
use theatre::Theatre;
use world::World;

/// Plays the demo: once, on free ports; or on the default ports where they are free, serving until Ctrl-C.
///
/// # Errors
/// Exit code 1 naming every expectation that was not met; whatever the engine says when it cannot start.
pub fn run(once: bool) -> Outcome {
    let screen = Screen::of_stdout();
    screen.opening();
    let begun = Instant::now();
    let mut theatre = Theatre::open(once)?;
    let outcome = play(&mut theatre, &screen, begun);
    let kept = outcome.as_ref().map_or(true, |missed| !missed.is_empty());
    if let Ok(missed) = &outcome
        && missed.is_empty()
        && !once
    {
        screen.invitation(&theatre);
        theatre.wait_for_the_end()?;
    }
    // The engine stops first: whoever looks at a kept directory finds it closed in order.
    let directory = theatre.close(kept)?;
    let missed = outcome.map_err(|failure| {
        Failure::new(failure.code, format!("{failure}; the directory is kept: {}", directory.display()))
    })?;
    if missed.is_empty() {
        if once {
            screen.farewell();
        }
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::no(format!(
        "not as expected: {}; the journal is kept in {}, see `auth-engine journal verify --help`",
        missed.join("; "),
        directory.display()
    )))
}

/// Plays the story and draws the sum under it. Returns what was not as expected.
fn play(theatre: &mut Theatre, screen: &Screen, begun: Instant) -> Result<Vec<String>, Failure> {
    screen.started(theatre, begun.elapsed());
    let created = Instant::now();
    let decision_url = theatre.partner_url();
    let (world, secret) = World::create(theatre.api()?, &decision_url)?;
    theatre.trust(secret)?;
    screen.created(world.calls(), created.elapsed());
    let mut player = Player::new(theatre, world)?;
    screen.heading();
    for line in story::STORY {
        player.play(line, screen)?;
    }
    let (rows, mut missed) = player.balances()?;
    screen.balances(&rows);
    let (checks, failed) = player.into_verdict();
    missed.splice(0..0, failed);
    screen.verdict(checks, rows.len(), &missed, begun.elapsed());
    Ok(missed)
}
