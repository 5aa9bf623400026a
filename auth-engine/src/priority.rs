//! Who waits for whom when processors are short: taps come first. Each thread that is not the shard's calls it at its
//! start, the shard's with its load. It must never fail: where the system forbids it all threads are equal.

use thread_priority::unix::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Batches in a row after which the shard's thread changes its standing.
const STEADY: u32 = 8;

/// The standing of the shard's thread, which the thread itself changes with its load.
///
/// Under load it takes the lowest real-time priority, because it then runs as soon as it is woken: a kernel that
/// preempts lazily lets whoever else runs go on until its next tick, 4 ms later, even one that would only fill an idle
/// processor. With one tap at a time it is a thread like any other, because the kernel then wakes it beside the peer that
/// wrote to it; a real-time thread is woken where it slept, on a processor that sleeps too, which takes far longer than
/// the tap.
#[derive(Debug)]
pub(crate) struct Standing {
    allowed: bool,
    raised: bool,
    /// Batches in a row that speak for a change.
    against: u32,
}

impl Standing {
    /// The usual standing; `allowed` lets it rise.
    pub(crate) const fn new(allowed: bool) -> Self {
        Self { allowed, raised: false, against: 0 }
    }

    /// A batch had company, or was a lone message or none.
    pub(crate) fn batch(&mut self, company: bool) {
        if !self.allowed || company == self.raised {
            self.against = 0;
            return;
        }
        self.against += 1;
        if self.against >= STEADY {
            self.against = 0;
            self.raised = company;
            self.allowed = if company { raise() } else { usual() };
        }
    }
}

fn raise() -> bool {
    let round_robin = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let done = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, round_robin);
    if let Err(error) = &done {
        tracing::info!(?error, "the shard's thread gets no real-time priority: taps may wait for other work");
    }
    done.is_ok()
}

/// The standing of any thread; for the shard's when its load is over, and for threads that it starts meanwhile.
pub(crate) fn usual() -> bool {
    let other = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    // On the crate's scale from 0 to 99 this is a niceness of 0.
    let nice_0 = ThreadPriorityValue::try_from(49u8).map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
    let done = set_thread_priority_and_policy(thread_native_id(), nice_0, other);
    if let Err(error) = &done {
        tracing::debug!(?error, "this thread keeps its priority");
    }
    done.is_ok()
}

/// Memory in pages of the usual size, for the whole process. The kernel clears a large page in one piece, milliseconds
/// in which the processor does nothing else, whichever thread touched it.
pub(crate) fn small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "large pages stay");
    }
}

/// How much lower than the shard's the priority of threads is that people wait for.
const NICE: i32 = 10;

/// For threads that nobody waits for: they run where a processor would idle, and one that runs nothing else counts as
/// idle when the shard's thread wakes. With a low priority of the usual kind the shard would queue behind them.
pub(crate) fn idle() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::debug!(?error, "this thread keeps its priority");
    }
}

/// For threads that people wait for, as the sidecar's.
pub(crate) fn low() {
    // On Linux the priority is the thread's own, and "none" names the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "this thread keeps its priority");
    }
}
