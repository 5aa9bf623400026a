//! A bound on what one process or thread may use, by a control group of its own: a share of a processor, or bytes a
//! second written to a disk. It must never touch another group than the one it made, nor leave it behind.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The quota's period: short, so that a throttled engine stutters for milliseconds and not for a tenth of a second.
const PERIOD_US: u64 = 10_000;

/// A bound that holds until it is dropped; the process should have ended by then, and is set free if it has not.
pub(crate) struct Quota {
    group: PathBuf,
    parent: PathBuf,
    /// The file that takes and lists what is in a group.
    members: &'static str,
}

/// How a hierarchy of control groups is told what a quota is.
enum Version {
    One,
    Two,
}

impl Quota {
    /// Lets the process have `percent` of one processor.
    ///
    /// # Errors
    /// Why this machine does not let this user set quotas, for a line that says what is skipped.
    pub(crate) fn processor(pid: u32, percent: u64) -> Result<Quota, String> {
        let found = hierarchy("cpu");
        let (parent, version) = found.ok_or("no hierarchy of control groups with the cpu controller is mounted")?;
        let quota = Quota::make(parent, pid, "cgroup.procs")?;
        let share_us = PERIOD_US * percent / 100;
        match version {
            Version::One => {
                quota.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                quota.set("cpu.cfs_quota_us", &share_us.to_string())?;
            }
            Version::Two => quota.set("cpu.max", &format!("{share_us} {PERIOD_US}"))?,
        }
        quota.set("cgroup.procs", &pid.to_string())?;
        Ok(quota)
    }

    /// Lets the process's thread of that name write so many bytes a second to the disk that `on` lies on. Its other
    /// threads are left alone, so that only the journal's blocks are slowed and not the making of segments.
    ///
    /// # Errors
    /// Why this machine does not let this user, for a line that says what is skipped.
    pub(crate) fn disk(pid: u32, thread: &str, on: &Path, bytes_per_s: u64) -> Result<Quota, String> {
        let Some((parent, Version::One)) = hierarchy("blkio") else {
            return Err("no hierarchy of control groups with the blkio controller of version 1 is mounted".to_owned());
        };
        let device = fs::metadata(on).map_err(|why| format!("{}: {why}", on.display()))?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let tid = thread_of(pid, thread).ok_or_else(|| format!("process {pid} has no thread {thread}"))?;
        let quota = Quota::make(parent, pid, "tasks")?;
        quota.set("blkio.throttle.write_bps_device", &format!("{major}:{minor} {bytes_per_s}"))?;
        quota.set("tasks", &tid)?;
        Ok(quota)
    }

    fn make(parent: PathBuf, pid: u32, members: &'static str) -> Result<Quota, String> {
        let group = parent.join(format!("auth-engine-bench-{pid}"));
        fs::create_dir(&group).map_err(|why| format!("creating {}: {why}", group.display()))?;
        Ok(Quota { group, parent, members })
    }

    fn set(&self, file: &str, value: &str) -> Result<(), String> {
        let file = self.group.join(file);
        fs::write(&file, value).map_err(|why| format!("writing {value} to {}: {why}", file.display()))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A group with a process in it cannot be removed.
        for member in fs::read_to_string(self.group.join(self.members)).unwrap_or_default().lines() {
            let _ = fs::write(self.parent.join(self.members), member);
        }
        if let Err(why) = fs::remove_dir(&self.group) {
            eprintln!("the control group {} is left behind: {why}", self.group.display());
        }
    }
}

/// The number of a process's thread of that name.
fn thread_of(pid: u32, name: &str) -> Option<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|thread| {
        let called = fs::read_to_string(thread.path().join("comm")).ok()?;
        (called.trim() == name).then(|| thread.file_name().to_string_lossy().into_owned())
    })
}

/// This process's own group in the hierarchy that has the controller.
fn hierarchy(controller: &str) -> Option<(PathBuf, Version)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let path_of = |wanted: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mount_of = |wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let parts: Vec<&str> = line.split(' ').collect();
            let [_, point, kind, options, ..] = parts[..] else { return None };
            wanted(kind, options).then(|| PathBuf::from(point))
        })
    };
    let has = |list: &str| list.split([',', ' ', '\n']).any(|word| word == controller);
    if let (Some(path), Some(point)) = (path_of(&|list| list.is_empty()), mount_of(&|kind, _| kind == "cgroup2")) {
        let group: &Path = &point.join(path);
        if has(&fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default()) {
            return Some((group.to_owned(), Version::Two));
        }
    }
    let point = mount_of(&|kind, options| kind == "cgroup" && has(options))?;
    Some((point.join(path_of(&has)?), Version::One))
}
