//! Who waits for whom when processors are short: taps come first. Each thread that is not the shard's calls it at its
//! start, the shard's with its load. But for a processor that is not there it must never fail: where the system forbids
//! it all threads are equal.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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
///
/// Where a processor is kept for it ([`keep`]), it stays there while it is raised, and nowhere in particular otherwise.
#[derive(Debug)]
pub(crate) struct Standing {
    realtime: bool,
    raised: bool,
    /// Batches in a row that speak for a change.
    against: u32,
}

impl Standing {
    /// The usual standing of the calling thread, which is the shard's; `realtime` lets it rise.
    pub(crate) fn new(realtime: bool) -> Self {
        if let Some(kept) = KEPT.get() {
            settle(&kept.all);
        }
        Self { realtime, raised: false, against: 0 }
    }

    /// A batch had company (or the sidecar much to do), or was a lone message or none.
    pub(crate) fn batch(&mut self, company: bool) {
        if company == self.raised {
            self.against = 0;
            return;
        }
        self.against += 1;
        if self.against < STEADY {
            return;
        }
        self.against = 0;
        self.raised = company;
        if let Some(kept) = KEPT.get() {
            settle(if company { &kept.own } else { &kept.all });
        }
        if self.realtime {
            self.realtime = if company { raise() } else { ordinary() };
        }
    }
}

/// A processor that is kept for the shard's thread.
struct Kept {
    /// What the process may use.
    all: CpuSet,
    own: CpuSet,
    others: CpuSet,
}

/// Of the process, because a thread inherits it from whichever thread starts it.
static KEPT: OnceLock<Kept> = OnceLock::new();

/// Keeps a processor for the shard's thread: the calling thread and all that it starts from now on stay off it. Where
/// the process has only that one, there is nothing to keep.
///
/// # Errors
/// The processors that the process may use, when this is none of them.
pub(crate) fn keep(processor: usize) -> Result<(), String> {
    let all = match sched_getaffinity(None) {
        Ok(all) => all,
        Err(error) => {
            tracing::info!(%error, "no processor can be kept for the shard's thread");
            return Ok(());
        }
    };
    if processor >= CpuSet::MAX_CPU || !all.is_set(processor) {
        let may: Vec<String> = (0..CpuSet::MAX_CPU).filter(|at| all.is_set(*at)).map(|at| at.to_string()).collect();
        return Err(may.join(", "));
    }
    if all.count() > 1 {
        let (mut own, mut others) = (CpuSet::new(), all);
        own.set(processor);
        others.unset(processor);
        settle(&KEPT.get_or_init(|| Kept { all, own, others }).others);
    }
    Ok(())
}

/// The calling thread runs on these processors.
fn settle(processors: &CpuSet) {
    if let Err(error) = sched_setaffinity(None, processors) {
        tracing::info!(%error, "this thread runs on any processor");
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

/// The standing of any thread, for those that the shard's starts: they inherit its own.
pub(crate) fn usual() {
    if let Some(kept) = KEPT.get() {
        settle(&kept.others);
    }
    ordinary();
}

fn ordinary() -> bool {
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

/// The same, and on the kept processor too while it idles: for threads that run for a moment, and whose metrics would
/// stand still where all others are busy.
pub(crate) fn idle_anywhere() {
    idle();
    if let Some(kept) = KEPT.get() {
        settle(&kept.all);
    }
}

/// For threads that people wait for, as the sidecar's.
pub(crate) fn low() {
    // On Linux the priority is the thread's own, and "none" names the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "this thread keeps its priority");
    }
}
