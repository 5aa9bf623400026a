//! What every test stands on: an engine as a process, the sidecar's client, a card network's end of a link, and a
//! world of partner, user, pool and cards. It must never decide whether the engine is right; that is the tests'.

pub(crate) mod engine;
pub(crate) mod iso;
pub(crate) mod rest;
pub(crate) mod tls;
pub(crate) mod world;

pub(crate) use engine::{Engine, Setup, shared};
pub(crate) use iso::{Wire, advice, code, de, exactly, message, purchase, reversal};
pub(crate) use rest::{Answer, money};
pub(crate) use world::{Card, World};

use std::time::{Duration, Instant};

/// How long anything is waited for before a test fails: far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until there is an answer, for states that announce themselves by no event.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails when a card number stands in what the engine let out. Every card of this suite begins with this BIN; a
/// masked number goes on with asterisks.
pub(crate) fn audit(place: &str, text: &str) {
    for (at, _) in text.match_indices("53511012") {
        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        assert!(digits < 16, "{place} shows a card number at byte {at} of {}", text.len());
    }
}
