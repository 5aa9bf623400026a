//! A processor that is kept for the shard's thread: who may run on it, and what is said when there is none of that number.

use std::collections::BTreeMap;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity};

use super::support::{Engine, Setup, World, code, purchase};

fn setup(processor: usize) -> Setup {
    Setup { sections: format!("[switch]\nprocessor = \"{processor}\"\n"), ..Setup::default() }
}

/// The processors of each thread of a process, by the threads' names.
fn threads(pid: u32) -> BTreeMap<String, CpuSet> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    tasks
        .flatten()
        .filter_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let tid = task.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw)?;
            Some((name.trim().to_owned(), sched_getaffinity(Some(tid)).ok()?))
        })
        .collect()
}

#[test]
fn other_threads_keep_off_the_processor_of_the_shards() {
    let all = sched_getaffinity(None).expect("our processors");
    let kept = (0..CpuSet::MAX_CPU).rfind(|at| all.is_set(*at)).expect("we run on one");
    if all.count() < 2 {
        // Nothing can be kept where there is one; the start must go well all the same.
        Engine::start(setup(kept));
        return;
    }
    let engine = Engine::start(setup(kept));
    let world = World::on(&engine);
    assert_eq!(code(&world.wire().ask(&purchase(&world.pool_card(), 100))), "00");
    let threads = threads(engine.pid());
    for others in ["rest", "rest-main", "journal-spares", "repeats", "view"] {
        assert!(threads.get(others).is_some_and(|on| !on.is_set(kept) && on.count() + 1 == all.count()), "{others}");
    }
    for anywhere in ["shard", "telemetry"] {
        assert_eq!(threads.get(anywhere).map(CpuSet::count), Some(all.count()), "{anywhere}");
    }
}

#[test]
fn a_processor_that_is_not_there_is_refused() {
    let ended = Engine::prepare(setup(4_000)).refused();
    assert_eq!(ended.code(), Some(2));
    let why = ended.error();
    assert!(why.contains("switch.processor = 4000") && why.contains("name one of them"), "{why}");
    let ended = Engine::prepare(Setup { sections: "[switch]\nprocessor = \"first\"\n".into(), ..setup(0) }).refused();
    assert!(ended.code() == Some(2) && ended.error().contains("switch.processor"), "{}", ended.error());
}
