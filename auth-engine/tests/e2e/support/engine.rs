//! `auth-engine serve` as a process: started on a directory of its own, stopped by signals, started again.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, Wire, audit};

/// What the engine is started with, beside a fresh directory and free ports.
#[derive(Clone)]
pub(crate) struct Setup {
    /// Whether private addresses and plain http are allowed.
    pub(crate) sandbox: bool,
    /// TOML lines of each link, beside its name and address.
    pub(crate) links: Vec<String>,
    /// More of the file's top level.
    pub(crate) top: String,
    /// More sections.
    pub(crate) sections: String,
    /// Variables of the process.
    pub(crate) environment: Vec<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sandbox: true,
            links: vec![String::new()],
            top: String::new(),
            sections: String::new(),
            environment: Vec::new(),
        }
    }
}

impl Setup {
    /// One link with these lines.
    pub(crate) fn link(lines: &str) -> Self {
        Self { links: vec![lines.to_owned()], ..Self::default() }
    }

    /// So many plain links.
    pub(crate) fn links(count: usize) -> Self {
        Self { links: vec![String::new(); count], ..Self::default() }
    }
}

/// What a process said so far.
#[derive(Default)]
struct Said {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

impl Said {
    fn listen(stream: impl Read + Send + 'static) -> (Arc<Said>, JoinHandle<()>) {
        let said = Arc::new(Said::default());
        let ours = Arc::clone(&said);
        let thread = std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let mut text = ours.text.lock().unwrap_or_else(PoisonError::into_inner);
                text.0.push_str(&String::from_utf8_lossy(&line));
                line.clear();
                ours.more.notify_all();
            }
            ours.text.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            ours.more.notify_all();
        });
        (said, thread)
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Waits for a word, or for the end of the stream: whether the word came.
    fn wait_for(&self, word: &str) -> bool {
        let begun = Instant::now();
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        while !text.0.contains(word) && !text.1 && begun.elapsed() < PATIENCE {
            text = self.more.wait_timeout(text, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
        text.0.contains(word)
    }
}

/// One run of the binary.
pub(crate) struct Process {
    child: Child,
    stdout: Arc<Said>,
    stderr: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
}

/// How a run ended and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit code; `None` after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The one line in which the command says why it ends.
    pub(crate) fn error(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "exactly one line says why, in:\n{}", self.stderr);
        lines[0].to_owned()
    }
}

impl Process {
    /// Starts the binary.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts the binary with these variables.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(String, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth-engine"));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("RUST_LOG");
        let mut child = command.spawn().expect("the binary starts");
        let (stdout, a) = Said::listen(child.stdout.take().expect("piped"));
        let (stderr, b) = Said::listen(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr, readers: vec![a, b] }
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = super::until("the process to end", || self.child.try_wait().expect("our child"));
        assert!(begun.elapsed() < PATIENCE);
        self.readers.drain(..).for_each(|reader| reader.join().expect("a reader"));
        let ended = Ended { status, stdout: self.stdout.so_far(), stderr: self.stderr.so_far() };
        audit("stdout", &ended.stdout);
        audit("stderr", &ended.stderr);
        ended
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // The process may have ended by itself, which the caller sees from its status.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended ones are gone already; a failing test must not leave an engine behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Running {
    process: Process,
    links: Vec<SocketAddr>,
    rest: SocketAddr,
}

/// An engine with its directory.
pub(crate) struct Engine {
    dir: tempfile::TempDir,
    setup: Mutex<Setup>,
    running: Mutex<Option<Running>>,
    key: Mutex<String>,
}

/// The engine that tests share which do it no harm. It lives as long as one of them.
pub(crate) fn shared() -> Arc<Engine> {
    static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let engine = Engine::start(Setup::links(2));
        *shared = Arc::downgrade(&engine);
        engine
    })
}

impl Engine {
    /// Starts an engine on a fresh directory.
    pub(crate) fn start(setup: Setup) -> Arc<Self> {
        let engine = Self::prepare(setup);
        engine.run();
        engine
    }

    /// A directory with a configuration, nothing started.
    pub(crate) fn prepare(setup: Setup) -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        Arc::new(Self { dir, setup: Mutex::new(setup), running: Mutex::new(None), key: Mutex::new(String::new()) })
    }

    /// Where the engine keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Changes what the next start is configured with.
    pub(crate) fn configure(&self, setup: Setup) {
        *self.setup.lock().expect("whole") = setup;
    }

    /// Writes the configuration and returns its path.
    pub(crate) fn write_config(&self, data: &Path) -> PathBuf {
        let setup = self.setup.lock().expect("whole").clone();
        let mut text = format!("data_dir = {data:?}\nsandbox = {}\n{}\n", setup.sandbox, setup.top);
        for (at, lines) in setup.links.iter().enumerate() {
            let listen = if lines.contains("connect =") { "" } else { "listen = \"127.0.0.1:0\"\n" };
            text += &format!("[[link]]\nname = \"net{at}\"\n{listen}{lines}\n");
        }
        text += "[rest]\nlisten = \"127.0.0.1:0\"\n";
        if !setup.sections.contains("[journal]") {
            text += "[journal]\nsegment = \"4MiB\"\n";
        }
        text += &setup.sections;
        let path = self.dir.path().join("engine.toml");
        std::fs::write(&path, text).expect("the configuration can be written");
        path
    }

    /// Starts the process and waits until it is ready.
    pub(crate) fn run(&self) {
        let running = self.try_run().unwrap_or_else(|ended| {
            panic!("the engine did not start: {:?}\n{}\n{}", ended.status, ended.stdout, ended.stderr)
        });
        *self.running.lock().expect("whole") = Some(running);
        let key = std::fs::read_to_string(self.data().join("operator.key")).expect("the operator's key");
        *self.key.lock().expect("whole") = key.trim().to_owned();
    }

    /// Whatever a test did: every decision that it left in the journal comes out the same again, to the byte.
    fn decides_again(&self) {
        let config = self.dir.path().join("engine.toml");
        let config = config.to_str().expect("a plain path");
        let data = self.data();
        let data = data.to_str().expect("a plain path");
        let ended = Process::start(&["journal", "replay", "--decisions", "--config", config, "--data", data]).end();
        assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    }

    /// Starts the process when it is expected to be refused.
    pub(crate) fn refused(&self) -> Ended {
        match self.try_run() {
            Ok(running) => panic!("the engine started and said:\n{}", running.process.stderr.so_far()),
            Err(ended) => ended,
        }
    }

    fn try_run(&self) -> Result<Running, Ended> {
        let config = self.write_config(&self.data());
        let environment = self.setup.lock().expect("whole").environment.clone();
        let serve = ["serve", "--config", config.to_str().expect("a plain path")];
        let process = Process::start_with(&serve, &environment);
        if !process.stdout.wait_for("ready in ") {
            return Err(process.end());
        }
        let said = process.stdout.so_far();
        let (mut links, mut rest) = (Vec::new(), None);
        for line in said.lines().filter(|line| !line.starts_with("ready in ")) {
            let Some(addr) = address_in(line) else { continue };
            match line.to_ascii_lowercase().contains("rest") {
                true => rest = Some(addr),
                false => links.push(addr),
            }
        }
        let rest = rest.unwrap_or_else(|| panic!("a line that tells the REST address, in:\n{said}"));
        Ok(Running { process, links, rest })
    }

    /// The running process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.running.lock().expect("whole").as_ref().expect("it runs").process.child.id()
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&self) -> Ended {
        self.end(Signal::TERM)
    }

    /// SIGKILL: what a power cut does to the process.
    pub(crate) fn kill(&self) -> Ended {
        self.end(Signal::KILL)
    }

    /// Sends SIGKILL and does not wait.
    pub(crate) fn kill_only(&self) {
        self.with(|running| running.process.signal(Signal::KILL));
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        self.with(|running| running.process.signal(Signal::TERM));
    }

    /// Waits for the end of a process that was asked to stop, or ends by itself.
    pub(crate) fn ended(&self) -> Ended {
        let running = self.running.lock().expect("whole").take().expect("a running engine");
        running.process.end()
    }

    fn end(&self, signal: Signal) -> Ended {
        let running = self.running.lock().expect("whole").take().expect("a running engine");
        running.process.signal(signal);
        running.process.end()
    }

    fn with<T>(&self, read: impl FnOnce(&Running) -> T) -> T {
        read(self.running.lock().expect("whole").as_ref().expect("a running engine"))
    }

    /// The sidecar's address.
    pub(crate) fn rest(&self) -> SocketAddr {
        self.with(|running| running.rest)
    }

    /// The address of a link.
    pub(crate) fn link(&self, at: usize) -> SocketAddr {
        self.with(|running| running.links[at])
    }

    /// What the running process wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.with(|running| running.process.stderr.so_far())
    }

    /// What the running process wrote to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.with(|running| running.process.stdout.so_far())
    }

    /// The operator's key of the first start.
    pub(crate) fn operator(&self) -> String {
        self.key.lock().expect("whole").clone()
    }

    /// A connection of a card network to the first link.
    pub(crate) fn wire(&self) -> Wire {
        Wire::connect(self.link(0))
    }

    /// One value of `/metrics`: the sum of all samples whose line begins with `name` and holds all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        let mut sum = 0.0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let own = series.split('{').next() == Some(name);
            if own && labels.iter().all(|label| series.contains(label)) {
                sum += value.parse::<f64>().expect("a number");
            }
        }
        sum
    }

    /// `/metrics` as text.
    pub(crate) fn metrics(&self) -> String {
        self.call("GET", "/metrics", None, None).text
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running
            && !std::thread::panicking()
        {
            running.process.signal(Signal::TERM);
            assert_eq!(running.process.end().code(), Some(0), "a stop by SIGTERM ends with 0");
            self.decides_again();
        } else {
            // A failing test: the process is killed by its own drop.
        }
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let at = line.find("127.0.0.1:")?;
    let end = line[at..].find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).map_or(line.len(), |n| at + n);
    line[at..end].trim_end_matches([':', '.']).parse().ok()
}
