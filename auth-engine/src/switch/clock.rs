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

/// After a busy time as long as this (a stalled sync) the length of the poll is not enough: one that only lost
/// its core for a moment must not make what waited through the stall look new. The kernel is asked then
/// whether the thread went to sleep.
const LONG_BUSY: Duration = Duration::from_millis(5);
/// Where the kernel does not tell, a poll this long is taken for a wait.
const BLOCKED_SURELY: Duration = Duration::from_millis(20);
/// The thread's count of sleeps was not asked for, or is not known.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
struct Shared {
    base: Instant,
    /// Start of the park that is going on.
    parked: AtomicU64,
    /// How often the thread had gone to sleep by then; [`UNKNOWN`] unless it was busy for long.
    sleeps: AtomicU64,
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
        builder.on_thread_park(move || at_park.park(Instant::now(), sleeps_so_far));
        builder.on_thread_unpark(move || at_unpark.unpark(Instant::now(), sleeps_so_far));
        clock
    }

    /// A clock that no runtime drives: its bound stays at its creation. For tests of what sits above it.
    #[must_use]
    pub fn detached() -> Self {
        let zero = || AtomicU64::new(0);
        let shared = Shared {
            base: Instant::now(),
            parked: zero(),
            sleeps: AtomicU64::new(UNKNOWN),
            polled: zero(),
            bound: zero(),
        };
        Self { shared: Arc::new(shared) }
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

    fn park(&self, now: Instant, sleeps: impl FnOnce() -> Option<u64>) {
        let now = self.nanos(now);
        let busy = Duration::from_nanos(now.saturating_sub(self.shared.polled.load(Relaxed)));
        let sleeps = if busy >= LONG_BUSY { sleeps() } else { None };
        self.shared.sleeps.store(sleeps.unwrap_or(UNKNOWN), Relaxed);
        self.shared.parked.store(now, Relaxed);
    }

    fn unpark(&self, now: Instant, sleeps: impl FnOnce() -> Option<u64>) {
        let shared = &*self.shared;
        let (now, parked, polled) = (self.nanos(now), shared.parked.load(Relaxed), shared.polled.load(Relaxed));
        let took = Duration::from_nanos(now.saturating_sub(parked));
        let was_busy_long = Duration::from_nanos(parked.saturating_sub(polled)) >= LONG_BUSY;
        let blocked = took > BLOCKED_AT_LEAST
            && (!was_busy_long
                || match (shared.sleeps.load(Relaxed), sleeps()) {
                    (UNKNOWN, _) | (_, None) => took > BLOCKED_SURELY,
                    (before, Some(after)) => before != after,
                });
        shared.bound.store(if blocked { now } else { polled }, Relaxed);
        shared.polled.store(now, Relaxed);
    }

    fn turned(&self, now: Instant) {
        // The poll of this yield starts now and does not block: what it reports arrived after the poll before.
        self.shared.bound.store(self.shared.polled.load(Relaxed), Relaxed);
        self.shared.polled.store(self.nanos(now), Relaxed);
    }
}

/// Since when the connections that a listener hands out can have been waiting in it: one that waited through a
/// stall brings frames that are as old as the stall.
#[derive(Debug)]
pub(super) struct Backlog {
    /// The listener was seen empty then.
    empty_at: Instant,
    /// What it holds came after this; none while it is empty.
    since: Option<Instant>,
}

impl Backlog {
    /// A listener that was empty at this moment.
    pub(super) fn new(empty_at: Instant) -> Self {
        Self { empty_at, since: None }
    }

    /// The listener is ready, by a poll with this bound ([`PollClock::bound`]); from when on its next connection
    /// can have been waiting.
    pub(super) fn ready(&mut self, bound: Instant) -> Instant {
        *self.since.get_or_insert_with(|| self.empty_at.max(bound))
    }

    /// No connection is left in it.
    pub(super) fn empty(&mut self, now: Instant) {
        self.empty_at = now;
        self.since = None;
    }
}

/// How often this thread gave its core up by itself. Some tens of microseconds: for the rare case only.
fn sleeps_so_far() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
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

    /// A thread that slept `before` and `after` so often; asked only when it may matter.
    fn poll(clock: &PollClock, from: Instant, to: Instant, before: Option<u64>, after: Option<u64>) {
        clock.park(from, || before);
        clock.unpark(to, || after);
    }

    #[test]
    fn a_frame_that_wakes_an_idle_thread_counts_from_the_wake_up() {
        let (clock, at) = clock();
        poll(&clock, at(100), at(900_000), None, None);
        assert_eq!(clock.bound(), at(900_000));
    }

    #[test]
    fn a_frame_that_waited_through_a_sync_counts_from_the_poll_before_it() {
        let (clock, at) = clock();
        poll(&clock, at(100), at(5_000), None, None);
        // A sync of five seconds, then a poll that finds the socket ready at once.
        poll(&clock, at(5_005_000), at(5_005_010), Some(7), Some(7));
        assert_eq!(clock.bound(), at(5_000));
    }

    #[test]
    fn a_poll_that_lost_its_core_after_a_stall_does_not_make_frames_new() {
        let (clock, at) = clock();
        poll(&clock, at(100), at(5_000), None, None);
        poll(&clock, at(5_005_000), at(5_105_000), Some(7), Some(7));
        assert_eq!(clock.bound(), at(5_000));
    }

    #[test]
    fn a_poll_that_slept_after_a_stall_is_a_wake_up() {
        let (clock, at) = clock();
        poll(&clock, at(100), at(5_000), None, None);
        poll(&clock, at(5_005_000), at(5_005_100), Some(7), Some(8));
        assert_eq!(clock.bound(), at(5_005_100));
    }

    #[test]
    fn where_the_kernel_does_not_tell_only_a_long_poll_is_a_wait() {
        let (clock, at) = clock();
        poll(&clock, at(100), at(5_000), None, None);
        poll(&clock, at(5_005_000), at(5_010_000), None, None);
        assert_eq!(clock.bound(), at(5_000));
        poll(&clock, at(9_000_000), at(9_030_000), None, None);
        assert_eq!(clock.bound(), at(9_030_000));
    }

    #[test]
    fn a_connection_that_waited_through_a_stall_counts_from_the_poll_before_it() {
        let (clock, at) = clock();
        let mut backlog = Backlog::new(at(0));
        poll(&clock, at(100), at(5_000), None, None);
        // A sync of five seconds, then a poll that finds the listener ready at once.
        poll(&clock, at(5_005_000), at(5_005_010), Some(7), Some(7));
        assert_eq!(backlog.ready(clock.bound()), at(5_000));
        // The next one of the same backlog, after further polls: it waited as long.
        poll(&clock, at(5_006_000), at(5_016_000), None, None);
        assert_eq!(backlog.ready(clock.bound()), at(5_000));
        backlog.empty(at(5_016_100));
        poll(&clock, at(5_016_200), at(9_000_000), None, None);
        assert_eq!(backlog.ready(clock.bound()), at(9_000_000));
    }

    #[test]
    fn yields_move_the_bound_without_parks() {
        let (clock, at) = clock();
        clock.turned(at(1_000));
        clock.turned(at(2_000));
        assert_eq!(clock.bound(), at(1_000));
    }
}
