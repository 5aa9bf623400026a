//! The engine as a child process: a directory, a configuration without fixed ports, start, kill, and what
//! `journal verify` says of what it left behind. It must never reach into the engine's files otherwise.

use crate::client::Rest;
use crate::fault::Fault;
use crate::processors;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A configuration that changes nothing but the ports, which are free ones.
pub(crate) const DEFAULTS: &str =
    "sandbox = true\n\n[[link]]\nname = \"mastercard\"\nlisten = \"127.0.0.1:0\"\n\n[rest]\nlisten = \"127.0.0.1:0\"\n";
/// How long a start may take, recovery of millions of events included.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(600);
/// How long a drain may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Lines of the engine's log that are shown when it fails.
const LOG_LINES: usize = 12;

/// Where an engine lives: its binary, its directory, its configuration.
pub(crate) struct Site {
    binary: PathBuf,
    dir: PathBuf,
    data: PathBuf,
}

/// What differs between the harness's runs.
pub(crate) struct Setup<'a> {
    /// Size of a journal segment, as the configuration writes it.
    pub(crate) segment: &'a str,
    /// Budget of the link, as the configuration writes it.
    pub(crate) budget: &'a str,
}

/// A running engine. Dropping it kills it.
pub(crate) struct Engine {
    child: Child,
    /// The first link's address.
    pub(crate) link: SocketAddr,
    /// The addresses of all links, in the order of the configuration.
    pub(crate) links: Vec<SocketAddr>,
    /// The sidecar's address.
    pub(crate) rest: SocketAddr,
    /// From the start of the process to `ready`.
    pub(crate) started_in: Duration,
}

/// What `journal verify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The last sequence on the disk.
    pub(crate) last_sequence: u64,
    /// The hash of the state folded from it, hexadecimal.
    pub(crate) state_hash: String,
}

impl Site {
    /// A site under `dir`, with its configuration written.
    pub(crate) fn new(binary: Option<&Path>, dir: &Path, setup: &Setup<'_>) -> Result<Site, Fault> {
        let config = format!(
            "sandbox = true\ndrain_timeout = \"5s\"\n\n[[link]]\nname = \"mastercard\"\n\
             listen = \"127.0.0.1:0\"\nspec = \"mastercard\"\nframing = \"len2be\"\nbudget = \"{}\"\n\n\
             [rest]\nlisten = \"127.0.0.1:0\"\n\n[journal]\nsegment = \"{}\"\n",
            setup.budget, setup.segment
        );
        Site::configured(binary, dir, None, &config)
    }

    /// A site whose configuration and log lie under `dir`; the data directory is `data`, or under `dir` as well. The
    /// configuration is the whole one but for `data_dir`.
    pub(crate) fn configured(
        binary: Option<&Path>,
        dir: &Path,
        data: Option<&Path>,
        config: &str,
    ) -> Result<Site, Fault> {
        let binary = match binary {
            Some(path) => path.to_owned(),
            None => beside("auth-engine")?,
        };
        if !binary.is_file() {
            let text = "is not there; build it with `cargo build --release -p auth-engine` or name it with --engine";
            return Err(Fault::Engine(format!("{} {text}", binary.display())));
        }
        let whole = |path: &Path| path.canonicalize().map_err(Fault::io(format!("the directory {}", path.display())));
        let dir = whole(dir)?;
        let data = match data {
            Some(data) => whole(data)?,
            None => dir.join("data"),
        };
        let site = Site { binary, dir, data };
        let config = format!("data_dir = {}\n{config}", toml_text(&site.data.to_string_lossy()));
        fs::write(site.config(), config).map_err(Fault::io(format!("writing {}", site.config().display())))?;
        Ok(site)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    fn config(&self) -> PathBuf {
        self.dir.join("engine.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("engine.log")
    }

    fn spawn(&self) -> Result<Child, Fault> {
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.map_err(Fault::io(format!("opening {}", self.log().display())))?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--config"]).arg(self.config()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        if let Some(processor) = processors::of_shard() {
            command.env(processors::SETTING, processor.to_string());
        }
        spawn_bound(&mut command).map_err(Fault::io(format!("starting {}", self.binary.display())))
    }

    /// Starts the engine and waits until it says that it is ready.
    pub(crate) fn start(&self) -> Result<Engine, Fault> {
        let from = Instant::now();
        let mut child = self.spawn()?;
        let lines = lines_of(&mut child);
        let (mut links, mut rest) = (Vec::new(), None);
        loop {
            let line = match lines.recv_timeout(START_LIMIT.saturating_sub(from.elapsed())) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    end(&mut child);
                    return Err(self.failed("the engine was not ready in 600 s"));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = child.wait().map_err(Fault::io("waiting for the engine"))?;
                    return Err(self.failed(&format!("the engine ended before it was ready ({status})")));
                }
            };
            if line.starts_with("ready in") {
                break;
            }
            if let Some(addr) = listening(&line) {
                if line.starts_with("link") {
                    links.push(addr);
                } else {
                    rest = Some(addr);
                }
            }
        }
        match (links.first().copied(), rest) {
            (Some(link), Some(rest)) => Ok(Engine { child, link, links, rest, started_in: from.elapsed() }),
            _ => {
                end(&mut child);
                Err(Fault::Engine("the engine is ready but did not print its listeners' addresses".to_owned()))
            }
        }
    }

    /// Starts the engine and kills it after that time, ready or not.
    pub(crate) fn start_and_kill(&self, after: Duration) -> Result<(), Fault> {
        let mut child = self.spawn()?;
        std::thread::sleep(after);
        end(&mut child);
        Ok(())
    }

    /// The operator's key, as the first start wrote it.
    pub(crate) fn operator_key(&self) -> Result<String, Fault> {
        let path = self.data().join("operator.key");
        let text = fs::read_to_string(&path).map_err(Fault::io(format!("reading {}", path.display())))?;
        Ok(text.trim().to_owned())
    }

    /// A client of a running engine's sidecar.
    pub(crate) fn rest(&self, engine: &Engine) -> Result<Rest, Fault> {
        Ok(Rest::new(engine.rest, &self.operator_key()?))
    }

    /// Runs `journal verify` on the stopped directory. The inner error is the engine's answer "no".
    pub(crate) fn verify(&self) -> Result<Result<Verified, String>, Fault> {
        let mut command = Command::new(&self.binary);
        command.args(["journal", "verify", "--json", "--config"]).arg(self.config()).stdin(Stdio::null());
        let output = command.output().map_err(Fault::io("running journal verify"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().last().unwrap_or_default();
            return Ok(Err(format!("journal verify ended with {}: {said}", output.status)));
        }
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match (json["last_sequence"].as_u64(), json["state_hash"].as_str()) {
            (Some(last_sequence), Some(hash)) => Ok(Ok(Verified { last_sequence, state_hash: hash.to_owned() })),
            _ => Ok(Err("journal verify printed no last_sequence and state_hash".to_owned())),
        }
    }

    /// How often the engine's log says something, over all its starts here.
    pub(crate) fn said(&self, what: &str) -> usize {
        let file = File::open(self.log());
        file.map_or(0, |file| {
            BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.contains(what)).count()
        })
    }

    /// Waits until a snapshot is being made, or until that time is over: whether one is.
    pub(crate) fn wait_for_snapshot(&self, most: Duration) -> bool {
        let (from, unfinished) = (Instant::now(), self.data().join("journal").join("snapshot.tmp"));
        while from.elapsed() < most {
            if unfinished.exists() {
                return true;
            }
            // A small book's snapshot is there for milliseconds only.
            std::thread::sleep(Duration::from_micros(200));
        }
        false
    }

    /// Bytes of the journal and everything else in the data directory.
    pub(crate) fn bytes(&self) -> u64 {
        fn of(dir: &Path) -> u64 {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_dir() => of(&entry.path()),
                    Ok(meta) => meta.len(),
                    Err(_) => 0,
                })
                .sum()
        }
        of(&self.data())
    }

    fn failed(&self, what: &str) -> Fault {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        Fault::Engine(format!("{what}; the end of {}:\n  {}", self.log().display(), last.join("\n  ")))
    }
}

impl Engine {
    /// Bytes of its memory that lie in RAM; none when the kernel does not tell.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and nothing else: no word before, no time to say goodbye.
    pub(crate) fn kill(mut self) {
        end(&mut self.child);
    }

    /// SIGTERM, and the exit status of the drained engine.
    pub(crate) fn stop(mut self) -> Result<ExitStatus, Fault> {
        terminate(&self.child);
        let from = Instant::now();
        // There is no event to wait for a child with a limit; a few looks a second cost nothing.
        while from.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait().map_err(Fault::io("waiting for the engine"))? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        end(&mut self.child);
        Err(Fault::Engine("the engine did not end within 60 s of SIGTERM".to_owned()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills a child and takes its status, so that nothing of it is left.
pub(crate) fn end(child: &mut Child) {
    // Either it is dead already or it dies now; both are what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // A child that is gone already is told by the wait that follows.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Starts a child that the kernel kills when the harness dies, however it dies.
pub(crate) fn spawn_bound(command: &mut Command) -> std::io::Result<Child> {
    let bind = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call (prctl) and touches no memory or lock.
    unsafe { command.pre_exec(bind) };
    command.spawn()
}

/// The lines that a child prints, read to their end so that it never waits for a reader.
pub(crate) fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // Nobody listens after `ready`; the pipe is emptied all the same.
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

/// The address at the end of `… listening on 127.0.0.1:1234` or `… listening on http://127.0.0.1:1234`.
pub(crate) fn listening(line: &str) -> Option<SocketAddr> {
    let (_, addr) = line.split_once("listening on ")?;
    let addr = addr.split_whitespace().next()?;
    addr.strip_prefix("http://").unwrap_or(addr).trim_end_matches('/').parse().ok()
}

/// A program in the directory of this one: both come out of one build.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Fault> {
    let own = std::env::current_exe().map_err(Fault::io("finding this program's own path"))?;
    Ok(own.with_file_name(name))
}

/// A fresh directory beside the build's output, so that engine and floor write to one and the same disk.
pub(crate) fn workplace(work: Option<&Path>) -> Result<tempfile::TempDir, Fault> {
    let parent = match work {
        Some(dir) => dir.to_owned(),
        None => beside("")?.parent().map_or_else(|| PathBuf::from("."), Path::to_owned),
    };
    fs::create_dir_all(&parent).map_err(Fault::io(format!("creating {}", parent.display())))?;
    let made = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent);
    made.map_err(Fault::io(format!("a temporary directory in {}", parent.display())))
}

/// A file of zeros that are on the disk.
pub(crate) fn zeroed(path: &Path, size: usize) -> Result<File, Fault> {
    let fault = |source| Fault::Io { what: format!("filling {} with zeros", path.display()), source };
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).read(true).open(path).map_err(fault)?;
    let zeros = vec![0u8; 1 << 20];
    for _ in 0..size.div_ceil(zeros.len()) {
        std::io::Write::write_all(&mut file, &zeros).map_err(fault)?;
    }
    file.sync_all().map_err(fault)?;
    Ok(file)
}

fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
