//! The circuit of one partner: after five asks in a row that did not reach it, only one tap a second is
//! let through to find out whether it is back. It owns that count and that second, and must never read
//! a clock: time is an argument.

/// So many unreachable asks in a row open the circuit.
const OPENS_AFTER: u32 = 5;
/// An open circuit lets one tap through per this many microseconds.
const PROBE_EVERY_US: i64 = 1_000_000;

/// The circuit of one partner. Call [`admit`](Self::admit) before each ask, then exactly one of
/// [`unreachable`](Self::unreachable) and [`answered`](Self::answered) for what came of it; a timeout is
/// neither (the partner may have been reached), so nothing is called for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circuit {
    in_a_row: u32,
    next_probe_us: Option<i64>,
}

impl Circuit {
    /// A closed circuit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a tap at `now_us` (shard time, microseconds) may be asked about. On an open circuit a
    /// `true` uses up this second's probe.
    pub fn admit(&mut self, now_us: i64) -> bool {
        match self.next_probe_us {
            None => true,
            Some(at) if now_us >= at => {
                self.next_probe_us = Some(now_us.saturating_add(PROBE_EVERY_US));
                true
            }
            Some(_) => false,
        }
    }

    /// An ask at `now_us` (shard time, microseconds) could not be delivered or broke off.
    pub fn unreachable(&mut self, now_us: i64) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= OPENS_AFTER && self.next_probe_us.is_none() {
            self.next_probe_us = Some(now_us.saturating_add(PROBE_EVERY_US));
        }
    }

    /// The partner answered something, good or bad: closed again.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// Whether taps are being held back.
    pub fn is_open(&self) -> bool {
        self.next_probe_us.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_in_a_row_and_probes_once_a_second() {
        let mut circuit = Circuit::new();
        for at in 0..4 {
            assert!(circuit.admit(at));
            circuit.unreachable(at);
        }
        assert!(circuit.admit(4) && !circuit.is_open());
        circuit.unreachable(5);
        assert!(circuit.is_open());
        assert!(!circuit.admit(6));
        assert!(!circuit.admit(1_000_004));
        assert!(circuit.admit(1_000_005), "the first probe, a second after it opened");
        assert!(!circuit.admit(1_000_006), "one tap a second");
        circuit.unreachable(1_000_100);
        assert!(!circuit.admit(2_000_004));
        assert!(circuit.admit(2_000_005), "a failed probe does not move the next one");
    }

    #[test]
    fn an_answer_closes_it_and_starts_the_count_anew() {
        let mut circuit = Circuit::new();
        for at in 0..7 {
            circuit.unreachable(at);
        }
        assert!(circuit.is_open());
        circuit.answered();
        assert!(!circuit.is_open());
        for at in 0..4 {
            circuit.unreachable(at);
        }
        assert!(!circuit.is_open(), "the count starts anew");
        circuit.answered();
        for at in 0..4 {
            circuit.unreachable(at);
        }
        assert!(circuit.admit(10), "five in a row, not five in all");
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let mut circuit = Circuit::new();
        for _ in 0..10 {
            circuit.unreachable(i64::MAX);
        }
        assert!(circuit.admit(i64::MAX));
    }
}
