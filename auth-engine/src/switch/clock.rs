//! When the kernel was last asked for ready sockets: the base of a frame's age.
//!
//! A frame that waited in the kernel while the shard's thread was in a sync is as old as that wait, and a
//! frame that woke an idle thread is new. Neither shows at the read. Tokio's hooks around parking tell when
//! the thread polled and whether that poll blocked. This file must never decide what is too old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A park shorter than this was a poll that found something at once.
const BLOCKED_AT_LEAST: Duration = Duration::from_micros(30);

/// After a long busy time (a stalled sync) a poll must block longer than this share of it to count as a wait:
/// a poll that only lost its core for a moment must not make what waited through the stall look new. The
/// error that remains is the busy time before a poll that was interrupted for a hundredth of it.
const BUSY_SHARE: u32 = 100;
const BLOCKED_SURELY: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Shared {
    base: Instant,
    /// Start of the park that is going on.
    parked: AtomicU64,
    /// End of the last poll.
    polled: AtomicU64,
    /// Frames of sockets that became ready in the last poll are no older than this.
    bound: AtomicU64,
}

/// The poll times of one current-thread runtime; cheap to clone. Written by that runtime's thread only: the
/// atomics are there because the hooks have to be `Sync`.
#[derive(Debug, Clone)]
pub struct PollClock {
    shared: Arc<Shared>,
}

impl PollClock {
    /// Hooks the clock into a runtime that is about to be built. Use a runtime of its own for each clock, and
    /// call [`PollClock::turn`] wherever the shard would yield.
    pub fn install(builder: &mut tokio::runtime::Builder) -> Self {
        let clock = Self::detached();
        let (at_park, at_unpark) = (clock.clone(), clock.clone());
        builder.on_thread_park(move || at_park.park(Instant::now()));
        builder.on_thread_unpark(move || at_unpark.unpark(Instant::now()));
        clock
    }

    /// A clock that no runtime drives: its bound stays at its creation. For tests of what sits above it.
    #[must_use]
    pub fn detached() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            shared: Arc::new(Shared {
                base: Instant::now(),
                parked: zero(),
                polled: zero(),
                bound: zero(),
            }),
        }
    }

    /// The earliest time at which bytes can have arrived on a socket that the last poll reported ready and
    /// the poll before it did not.
    #[must_use]
    pub fn bound(&self) -> Instant {
        self.shared.base + Duration::from_nanos(self.shared.bound.load(Relaxed))
    }

    /// Lets ready sockets join: yields once. Tokio polls the kernel on a yield without running the hooks, so
    /// that a shard which only ever yields has to come through here for frames not to look older than they are.
    pub async fn turn(&self) {
        self.turned(Instant::now());
        tokio::task::yield_now().await;
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.shared.base).as_nanos()).unwrap_or(u64::MAX)
    }

    fn park(&self, now: Instant) {
        self.shared.parked.store(self.nanos(now), Relaxed);
    }

    fn unpark(&self, now: Instant) {
        let shared = &*self.shared;
        let (now, parked, polled) = (
            self.nanos(now),
            shared.parked.load(Relaxed),
            shared.polled.load(Relaxed),
        );
        let busy = Duration::from_nanos(parked.saturating_sub(polled));
        let enough = (busy / BUSY_SHARE).clamp(BLOCKED_AT_LEAST, BLOCKED_SURELY);
        let blocked = Duration::from_nanos(now.saturating_sub(parked)) > enough;
        shared
            .bound
            .store(if blocked { now } else { polled }, Relaxed);
        shared.polled.store(now, Relaxed);
    }

    fn turned(&self, now: Instant) {
        // The poll of this yield starts now and does not block: what it reports arrived after the poll before.
        self.shared
            .bound
            .store(self.shared.polled.load(Relaxed), Relaxed);
        self.shared.polled.store(self.nanos(now), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock and a way to name moments in microseconds after its creation.
    fn clock() -> (PollClock, impl Fn(u64) -> Instant) {
        let clock = PollClock::detached();
        let base = clock.shared.base;
        (clock, move |micros| base + Duration::from_micros(micros))
    }

    #[test]
    fn a_frame_that_wakes_an_idle_thread_counts_from_the_wake_up() {
        let (clock, at) = clock();
        clock.park(at(100));
        clock.unpark(at(900_000));
        assert_eq!(clock.bound(), at(900_000));
    }

    #[test]
    fn a_frame_that_waited_through_a_sync_counts_from_the_poll_before_it() {
        let (clock, at) = clock();
        clock.park(at(100));
        clock.unpark(at(5_000));
        // A sync of five seconds, then a poll that finds the socket ready at once.
        clock.park(at(5_005_000));
        clock.unpark(at(5_005_010));
        assert_eq!(clock.bound(), at(5_000));
    }

    #[test]
    fn a_poll_that_lost_its_core_after_a_stall_does_not_make_frames_new() {
        let (clock, at) = clock();
        clock.park(at(100));
        clock.unpark(at(5_000));
        clock.park(at(5_005_000));
        clock.unpark(at(5_008_000));
        assert_eq!(clock.bound(), at(5_000));
        // Idle after that: the next wake-up is a wait again.
        clock.park(at(5_008_100));
        clock.unpark(at(6_000_000));
        assert_eq!(clock.bound(), at(6_000_000));
    }

    #[test]
    fn yields_move_the_bound_without_parks() {
        let (clock, at) = clock();
        clock.turned(at(1_000));
        clock.turned(at(2_000));
        assert_eq!(clock.bound(), at(1_000));
    }
}
