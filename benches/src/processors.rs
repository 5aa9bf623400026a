//! Who runs where: an engine that the harness starts keeps a processor for its shard's thread, as an operator who cares
//! for latency sets it up, and the generator's loop keeps off that one. It must never touch a stranger's process.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thread_priority::unix::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// The engine's setting, by which a run without a kept processor can be asked for: set it to nothing.
pub(crate) const SETTING: &str = "AUTH_ENGINE__SWITCH__PROCESSOR";

/// The processor that is kept for the shard's thread: what the environment says, else the last of several.
pub(crate) fn of_shard() -> Option<usize> {
    if let Ok(said) = std::env::var(SETTING) {
        return said.parse().ok();
    }
    let all = sched_getaffinity(None).ok()?;
    (0..CpuSet::MAX_CPU).rfind(|at| all.is_set(*at)).filter(|_| all.count() > 1)
}

/// Keeps the thread off a processor until it is dropped.
pub(crate) struct Aside(Option<CpuSet>);

/// Keeps the calling thread off that processor, where it may use others.
pub(crate) fn aside(processor: Option<usize>) -> Aside {
    let Some((processor, all)) = processor.zip(sched_getaffinity(None).ok()) else { return Aside(None) };
    let mut others = all;
    others.unset(processor);
    // Where the system does not allow it the run goes on: its send lag tells whether that hurt.
    let moved = others.count() > 0 && sched_setaffinity(None, &others).is_ok();
    Aside(moved.then_some(all))
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(all) = &self.0 {
            let _ = sched_setaffinity(None, all);
        }
    }
}

/// Lets the thread run first until it is dropped.
pub(crate) struct First(bool);

/// Lets the calling thread run before all others, where the system allows it: for a loop that sends honest traffic while
/// the same process attacks, and which would else measure its own wait for a processor. Never for one that spins all the
/// time.
pub(crate) fn first(wanted: bool) -> First {
    let round_robin = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    First(wanted && set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, round_robin).is_ok())
}

impl Drop for First {
    fn drop(&mut self) {
        if self.0 {
            let other = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
            // On the crate's scale from 0 to 99 this is a niceness of 0.
            let nice_0 = ThreadPriorityValue::try_from(49u8).map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
            let _ = set_thread_priority_and_policy(thread_native_id(), nice_0, other);
        }
    }
}
