//! A disk of its own that can be made to stall: a file system in a file, frozen by the kernel, so that every write to
//! it waits as it would for a device that does not answer. Needs root; it must never freeze anything but what it
//! mounted, nor leave it frozen.

use crate::fault::Fault;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A mounted file system in a file. Dropping it thaws and unmounts it.
pub(crate) struct Volume {
    point: PathBuf,
}

/// A stall that was made: when the kernel had frozen the file system, and when it let go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stall {
    /// No write came through from here on …
    pub(crate) from: Instant,
    /// … to here.
    pub(crate) to: Instant,
}

impl Volume {
    /// Makes a file system of that many MiB in `place` and mounts it there.
    ///
    /// # Errors
    /// Why this machine does not let this user mount, for a line that says what is skipped.
    pub(crate) fn make(place: &Path, mebibytes: u64) -> Result<Volume, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting and freezing a file system needs root".to_owned());
        }
        let (image, point) = (place.join("volume.ext4"), place.join("volume"));
        std::fs::create_dir_all(&point).map_err(|why| format!("creating {}: {why}", point.display()))?;
        let size = format!("{mebibytes}M");
        // The image's blocks are there before, so that the stall is the only thing that is slow.
        tool("fallocate", &["-l".as_ref(), size.as_ref(), image.as_os_str()])?;
        tool("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()])?;
        tool("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), point.as_os_str()])?;
        let volume = Volume { point };
        // Some kernels mount and do not freeze: that is known now or never.
        tool("fsfreeze", &["-f".as_ref(), volume.point.as_os_str()])?;
        tool("fsfreeze", &["-u".as_ref(), volume.point.as_os_str()])?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Stalls every write for that long.
    pub(crate) fn stall(&self, length: Duration) -> Result<Stall, Fault> {
        // If this program is killed in between, nobody else would ever thaw it.
        let mut watchdog = self.watchdog(length + Duration::from_secs(3)).map_err(Fault::io("starting sh"))?;
        let frozen = tool("fsfreeze", &["-f".as_ref(), self.point.as_os_str()]).map_err(Fault::Engine);
        let from = Instant::now();
        if frozen.is_ok() {
            std::thread::sleep(length);
        }
        let thawed = tool("fsfreeze", &["-u".as_ref(), self.point.as_os_str()]).map_err(Fault::Engine);
        let to = Instant::now();
        // It sleeps and thaws what is thawed; both ends are fine.
        let _ = watchdog.kill();
        let _ = watchdog.wait();
        frozen.and(thawed)?;
        Ok(Stall { from, to })
    }

    fn watchdog(&self, after: Duration) -> std::io::Result<Child> {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep \"$1\"; exec fsfreeze -u \"$2\"", "thaw", &after.as_secs().to_string()]);
        command.arg(&self.point).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Nothing is frozen unless a stall was interrupted; then it must not stay so.
        let _ = tool("fsfreeze", &["-u".as_ref(), self.point.as_os_str()]);
        // What was just killed may hold its files for a moment longer.
        for _ in 0..50 {
            if tool("umount", &[self.point.as_os_str()]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{} is still mounted; unmount it by hand", self.point.display());
    }
}

/// Runs a tool of the system; what it said when it failed.
fn tool(name: &str, args: &[&std::ffi::OsStr]) -> Result<(), String> {
    let output = Command::new(name).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("{name}: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} ended with {}: {}", output.status, said.lines().last().unwrap_or_default()))
}
