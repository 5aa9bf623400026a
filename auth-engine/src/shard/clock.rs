//! Shard time: the wall clock at the start plus the monotonic clock, slewed, never stepped, never below the last
//! journaled time. And the monotonic clock's zero, which all of the process shares.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ledger_core::time::Timestamp;

use crate::engine::Now;

/// Between two looks at the wall clock.
const LOOK_EVERY_US: i64 = 100_000;
/// A change of the wall clock against the monotonic one that is a step, not drift.
const STEP_US: i64 = 500_000;
/// Slewing: at most 500 µs a second.
const SLEW_PPM: i64 = 500;

static ZERO: OnceLock<Instant> = OnceLock::new();

/// Microseconds of an instant on the process's monotonic clock.
pub fn mono_us(at: Instant) -> i64 {
    let zero = *ZERO.get_or_init(Instant::now);
    match at.checked_duration_since(zero) {
        Some(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        None => -i64::try_from(zero.duration_since(at).as_micros()).unwrap_or(i64::MAX),
    }
}

/// The instant of a moment on the process's monotonic clock.
pub fn instant_at(us: i64) -> Instant {
    let zero = *ZERO.get_or_init(Instant::now);
    match u64::try_from(us) {
        Ok(us) => zero + Duration::from_micros(us),
        Err(_) => zero.checked_sub(Duration::from_micros(us.unsigned_abs())).unwrap_or(zero),
    }
}

/// The wall clock in microseconds since 1970.
pub fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

/// A step of the wall clock that was not followed, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step(pub i64);

/// The shard's clock. Pure: both clocks are arguments.
#[derive(Debug, Clone)]
pub struct ShardClock {
    /// Shard time minus monotonic time.
    offset_us: i64,
    /// Wall time minus monotonic time as last seen, to tell a step from drift.
    seen_us: i64,
    /// Steps that were not followed, summed.
    ignored_us: i64,
    looked_us: i64,
    last: Timestamp,
}

impl ShardClock {
    /// Starts at the wall clock, or behind the last journaled time when the wall clock is earlier.
    pub fn start(last_journaled: Timestamp, wall_us: i64, mono_us: i64) -> Self {
        let begin = wall_us.max(last_journaled.0.saturating_add(1));
        Self {
            offset_us: begin - mono_us,
            seen_us: wall_us - mono_us,
            ignored_us: 0,
            looked_us: mono_us,
            last: Timestamp(begin),
        }
    }

    /// Shard time; never earlier than before.
    pub fn now(&mut self, mono_us: i64) -> Now {
        self.last = self.last.max(Timestamp(mono_us.saturating_add(self.offset_us)));
        Now { wall: self.last, mono_us }
    }

    /// True when the wall clock should be looked at again.
    pub fn wants_look(&self, mono_us: i64) -> bool {
        mono_us - self.looked_us >= LOOK_EVERY_US
    }

    /// Takes a look at the wall clock: drift is slewed away, a step is told and not followed.
    pub fn look(&mut self, wall_us: i64, mono_us: i64) -> Option<Step> {
        let elapsed = mono_us - self.looked_us;
        self.looked_us = mono_us;
        let seen = wall_us - mono_us;
        let change = seen - self.seen_us;
        self.seen_us = seen;
        let step = (change.abs() > STEP_US).then_some(Step(change));
        if step.is_some() {
            self.ignored_us += change;
        }
        let target = seen - self.ignored_us;
        let most = (elapsed.saturating_mul(SLEW_PPM) / 1_000_000).max(0);
        self.offset_us += (target - self.offset_us).clamp(-most, most);
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn h32_a_step_is_told_and_not_followed() {
        let mut clock = ShardClock::start(Timestamp(0), 1_000_000, 0);
        assert_eq!(clock.now(10).wall, Timestamp(1_000_010));
        assert_eq!(clock.look(1_000_000 + 200_000 - HOUR, 200_000), Some(Step(-HOUR)));
        assert_eq!(clock.now(200_000).wall, Timestamp(1_200_000));
        assert_eq!(clock.look(1_000_000 + 400_000 + 24 * HOUR, 400_000), Some(Step(25 * HOUR)));
        assert_eq!(clock.now(400_000).wall, Timestamp(1_400_000));
    }

    #[test]
    fn h32_drift_is_slewed_and_time_never_goes_back() {
        let mut clock = ShardClock::start(Timestamp(0), 0, 0);
        let mut before = clock.now(0).wall;
        for tick in 1..=1_000i64 {
            let mono = tick * 100_000;
            // The wall clock loses 100 µs each tenth of a second: more than may be followed.
            assert_eq!(clock.look(mono - tick * 100, mono), None);
            let now = clock.now(mono).wall;
            assert!(now > before, "time went back at tick {tick}");
            assert!((mono - now.0) <= tick * 50 + 1, "slewed faster than 500 ppm");
            before = now;
        }
    }

    #[test]
    fn h32_time_starts_behind_the_last_journaled_event() {
        let mut clock = ShardClock::start(Timestamp(5 * HOUR), HOUR, 0);
        assert_eq!(clock.now(0).wall, Timestamp(5 * HOUR + 1));
    }
}
