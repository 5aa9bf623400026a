//! On what a run was taken: processor, memory, kernel, disk, build, commit, command line, time. It owns the names of
//! these facts; it must never guess one, what cannot be read is left out or called unknown.

use crate::engine::beside;
use crate::result::Results;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The block that an `O_DIRECT` write is tried with: large enough for every disk's sector.
#[repr(C, align(4096))]
struct Block([u8; 4096]);

/// An empty document about this machine, this build and this command line; the disk is the one beside the program,
/// where the runs lay their directories unless told otherwise.
pub(crate) fn results(flags: impl Into<String>) -> Results {
    let work = beside("").ok().and_then(|program| program.parent().map(Path::to_owned));
    results_at(flags, &work.unwrap_or_else(|| PathBuf::from(".")))
}

/// The same for a run that works in another directory.
pub(crate) fn results_at(flags: impl Into<String>, work: &Path) -> Results {
    Results {
        machine: machine(work),
        flags: flags.into(),
        commit: commit(),
        at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        results: Vec::new(),
    }
}

/// The command line without the path of the program, for the flags of a document.
pub(crate) fn command_line() -> String {
    std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Name and value of each fact about the machine and the build.
fn machine(work: &Path) -> Vec<(String, String)> {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let uname = rustix::system::uname();
    let kernel = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    let facts = [
        ("processor", cpu_member(&cpuinfo, "model name").or_else(|| Some(uname.machine().to_string_lossy().into()))),
        ("processors", std::thread::available_parallelism().ok().map(|count| count.to_string())),
        ("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        ("memory", read("/proc/meminfo").as_deref().and_then(memory)),
        ("virtual machine", Some(virtual_machine(&cpuinfo))),
        ("kernel", Some(kernel)),
        ("clock source", read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("disk", disk(work)),
        ("O_DIRECT", Some(direct(work))),
        ("build", Some(if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned())),
        ("compiler", present(env!("BENCHES_RUSTC"))),
        ("compiler flags", present(env!("BENCHES_RUSTFLAGS"))),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The text of a small file of the kernel, trimmed; none when it is not there or empty.
fn read(path: impl AsRef<Path>) -> Option<String> {
    present(&fs::read_to_string(path).ok()?)
}

fn present(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The value of the first line `name : value`.
fn cpu_member(cpuinfo: &str, name: &str) -> Option<String> {
    let mut members = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    present(members.find(|(key, _)| key.trim() == name)?.1)
}

/// `MemTotal:  16384000 kB` as GiB.
fn memory(meminfo: &str) -> Option<String> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(format!("{:.1} GiB", kib / f64::from(1 << 20)))
}

/// Whether the processor says that a hypervisor runs it, and what the firmware calls the machine.
fn virtual_machine(cpuinfo: &str) -> String {
    let hypervisor =
        cpu_member(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let names = ["sys_vendor", "product_name"].map(|name| read(Path::new("/sys/class/dmi/id").join(name)));
    let names = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    match (hypervisor, names.is_empty()) {
        (true, true) => "yes".to_owned(),
        (true, false) => format!("yes, {names}"),
        (false, true) => "not that the processor says so".to_owned(),
        (false, false) => format!("not that the processor says so; {names}"),
    }
}

/// One line of `/proc/self/mountinfo`, as far as it is used.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    point: PathBuf,
    kind: String,
    source: String,
    options: String,
}

/// `27 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw,discard`; the optional members end at the dash.
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    Some(Mount {
        device: (*left.get(2)?).to_owned(),
        point: PathBuf::from(unescape(left.get(4)?)),
        kind: right.next()?.to_owned(),
        source: unescape(right.next()?),
        options: (*left.get(5)?).to_owned(),
    })
}

/// The kernel writes a blank in a path as `\040`, and likewise a tab, a line feed and a backslash.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The mount that a path lies in: the longest mount point above it, the last one of equals because it covers the
/// others.
fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(mount).filter(|mount| path.starts_with(&mount.point));
    mounts.max_by_key(|mount| mount.point.components().count())
}

/// The nearest directory that exists, so that the facts can be had before a run creates its own.
fn existing(work: &Path) -> PathBuf {
    let absolute = std::path::absolute(work).unwrap_or_else(|_| work.to_owned());
    absolute.ancestors().find_map(|dir| dir.canonicalize().ok()).unwrap_or_else(|| PathBuf::from("/"))
}

/// File system, device and the queue's settings under a directory.
fn disk(work: &Path) -> Option<String> {
    let work = existing(work);
    let mount = mount_of(&read("/proc/self/mountinfo")?, &work)?;
    let mut said = vec![format!("{} on {} ({})", mount.kind, mount.source, mount.options)];
    let number = fs::metadata(&work).map_or_else(
        |_| mount.device.clone(),
        |meta| format!("{}:{}", rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev())),
    );
    if let Some(queue) = queue(&number).or_else(|| queue(&mount.device)) {
        let setting = |name: &str| read(queue.join(name));
        match setting("rotational").as_deref() {
            Some("1") => said.push("says it rotates".to_owned()),
            Some("0") => said.push("does not rotate".to_owned()),
            _ => {}
        }
        said.extend(setting("scheduler").map(|all| format!("scheduler {}", chosen(&all))));
        said.extend(setting("write_cache").map(|mode| format!("cache {mode}")));
    }
    Some(said.join(", "))
}

/// The queue of a block device by its number; that of the whole disk when the number is a partition's.
fn queue(number: &str) -> Option<PathBuf> {
    let device = Path::new("/sys/dev/block").join(number).canonicalize().ok()?;
    [device.join("queue"), device.parent()?.join("queue")].into_iter().find(|queue| queue.is_dir())
}

/// `none [mq-deadline] kyber`: the one in brackets.
fn chosen(schedulers: &str) -> &str {
    schedulers.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(schedulers, |(chosen, _)| chosen)
}

/// Whether a block can be written past the page cache there, tried on a file that is removed again.
fn direct(work: &Path) -> String {
    let tried = tempfile::tempdir_in(existing(work)).and_then(|dir| {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC | OFlags::CLOEXEC;
        let file = rustix::fs::open(dir.path().join("direct"), flags, Mode::RUSR | Mode::WUSR)?;
        let block = Box::new(Block([0; 4096]));
        Ok(rustix::io::write(&file, &block.0)? == block.0.len())
    });
    match tried {
        Ok(true) => "works".to_owned(),
        Ok(false) => "writes less than a block".to_owned(),
        Err(error) => format!("does not work: {error}"),
    }
}

/// The commit of the checkout that this program was built in, `-dirty` when tracked files differ from it. Asked at
/// run time: whoever changes the tree between build and run is told so by `-dirty` or by another commit.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        // Looking must not take the index lock from someone who works there.
        git.env("GIT_OPTIONAL_LOCKS", "0").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
        git.output().ok().filter(|out| out.status.success())
    };
    let text = |out: std::process::Output| String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let Some(head) = git(&["rev-parse", "--short", "HEAD"]).map(text).filter(|head| !head.is_empty()) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]).map(text) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head}-dirty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_names_what_it_was_taken_on() {
        let document = results("latency --samples 100");
        let names: Vec<&str> = document.machine.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["processor", "processors", "memory", "kernel", "disk", "O_DIRECT", "build"] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
        assert_eq!(document.flags, "latency --samples 100");
        assert!(!document.commit.is_empty());
        document.at.parse::<jiff::Timestamp>().expect("RFC 3339");
        assert!(document.at.ends_with('Z'));
    }

    #[test]
    fn the_deepest_and_last_mount_is_the_one_of_a_path() {
        let table = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                     30 27 0:25 / /mnt/a\\040b rw shared:7 master:2 - tmpfs tmpfs rw\n\
                     31 27 8:17 / /mnt/a\\040b rw,noatime - xfs /dev/sdb1 rw\n\
                     nonsense";
        let found = |path: &str| mount_of(table, Path::new(path)).map(|mount| (mount.kind, mount.source, mount.device));
        let owned = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(found("/mnt/a b/target"), owned("xfs", "/dev/sdb1", "8:17"));
        assert_eq!(found("/mnt/ab"), owned("ext4", "/dev/vda", "254:0"));
    }

    #[test]
    fn small_files_of_the_kernel_are_read_as_they_are_written() {
        assert_eq!(memory("MemTotal:       16777216 kB\nMemFree: 1 kB").as_deref(), Some("16.0 GiB"));
        assert_eq!(memory("MemFree: 1 kB"), None);
        assert_eq!(chosen("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(chosen("none"), "none");
        let cpuinfo = "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu hypervisor sse\n";
        assert_eq!(cpu_member(cpuinfo, "model name").as_deref(), Some("A Processor"));
        assert!(virtual_machine(cpuinfo).starts_with("yes"));
        assert!(!virtual_machine("flags\t: fpu hypervisors").starts_with("yes"));
    }

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_disk_of_the_nearest_one_above() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(disk(&dir.path().join("not/yet")), disk(dir.path()));
    }
}
