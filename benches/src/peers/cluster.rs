//! A private PostgreSQL: found, made, started, stopped. It owns the cluster's settings; it must never touch a cluster
//! that is there already, or leave one behind.

use crate::engine::{end, spawn_bound};
use crate::fault::Fault;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where Debian puts the servers, one directory a version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Where a directory can be had that every account may enter, on a disk rather than in memory.
const OPEN_TO_ALL: &str = "/var/tmp";
/// Accounts that may run it when we are root, which it refuses: the package's own first.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// Longest path of a directory for a socket: the kernel takes 107 bytes, `/.s.PGSQL.5432` is 14 of them.
const SOCKET_DIR: usize = 90;

/// What differs from the defaults, each for speed and none at the cost of durability: `fsync`, `synchronous_commit`
/// and `full_page_writes` are on.
const SETTINGS: &str = "
listen_addresses = ''
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 512MB
wal_buffers = 16MB
min_wal_size = 2GB
max_wal_size = 8GB
checkpoint_timeout = 30min
max_connections = 200
jit = off
track_activities = off
huge_pages = try
log_min_messages = error
";

/// A running cluster. Dropping it stops it.
pub(super) struct Cluster {
    server: Child,
    sockets: PathBuf,
    /// Its version, as it tells it.
    pub(super) version: String,
    /// Where its data lies when the harness's directory is closed to the account that it runs as.
    pub(super) elsewhere: Option<String>,
    // Deleted when it has ended.
    _own: Vec<tempfile::TempDir>,
}

/// A started cluster, or why there is none to compare with.
pub(super) enum Start {
    /// Ready for connections.
    Running(Cluster),
    /// Not installed, or not to be run here.
    Skipped(String),
}

impl Cluster {
    /// Makes a cluster under `work` and starts it. `more` are further lines of its configuration.
    pub(super) fn start(work: &Path, more: &str) -> Result<Start, Fault> {
        let Some(programs) = programs() else {
            return Ok(Start::Skipped("PostgreSQL is not installed: apt-get install postgresql".to_owned()));
        };
        let account = if rustix::process::geteuid().is_root() {
            let Some(account) = ACCOUNTS.iter().find_map(|name| Account::find(name)) else {
                return Ok(Start::Skipped("PostgreSQL does not run as root and there is no other account".to_owned()));
            };
            Some(account)
        } else {
            None
        };
        let (mut home, mut own, mut elsewhere) = (work.join("postgres"), Vec::new(), None);
        if account.is_some() && closed_above(&home) {
            let place = tempfile::Builder::new().prefix("bench-postgres-").tempdir_in(OPEN_TO_ALL);
            let place = place.map_err(Fault::io(format!("a temporary directory in {OPEN_TO_ALL}")))?;
            opened(place.path())?;
            home = place.path().join("postgres");
            elsewhere = Some(format!("{OPEN_TO_ALL}, since {} may not be entered by others", work.display()));
            own.push(place);
        }
        fs::create_dir(&home).map_err(Fault::io(format!("creating {}", home.display())))?;
        if let Some(account) = &account {
            account.give(&home)?;
        }
        let mut sockets = home.clone();
        if home.as_os_str().len() > SOCKET_DIR {
            let dir = tempfile::tempdir().map_err(Fault::io("a temporary directory for a socket"))?;
            if let Some(account) = &account {
                account.give(dir.path())?;
            }
            dir.path().clone_into(&mut sockets);
            own.push(dir);
        }
        let data = home.join("data");
        let mut init = Command::new(programs.join("initdb"));
        init.args(["--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        init.arg(&data).current_dir(&home).stdin(Stdio::null());
        let made = as_account(&mut init, account.as_ref()).output().map_err(Fault::io("running initdb"))?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(Fault::Engine(format!("initdb ended with {}: {}", made.status, said.trim())));
        }
        let settings = format!("{SETTINGS}unix_socket_directories = '{}'\n{more}\n", sockets.display());
        let file = data.join("conf.d.bench");
        fs::write(&file, settings).map_err(Fault::io(format!("writing {}", file.display())))?;
        let config = data.join("postgresql.conf");
        let text = fs::read_to_string(&config).map_err(Fault::io(format!("reading {}", config.display())))?;
        let text = format!("{text}\ninclude 'conf.d.bench'\n");
        fs::write(&config, text).map_err(Fault::io(format!("writing {}", config.display())))?;
        if let Some(account) = &account {
            account.give(&file)?;
        }
        let log = home.join("log");
        let out = File::create(&log).map_err(Fault::io(format!("creating {}", log.display())))?;
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).current_dir(&home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
        let server = spawn_bound(as_account(&mut server, account.as_ref())).map_err(Fault::io("starting postgres"))?;
        let mut cluster = Cluster { server, sockets, version: String::new(), elsewhere, _own: own };
        let from = Instant::now();
        loop {
            if let Ok(mut client) = cluster.connect() {
                let row = client.query_one("SHOW server_version", &[]).map_err(|error| fault(&error))?;
                cluster.version = row.get::<_, String>(0);
                return Ok(Start::Running(cluster));
            }
            let ended = cluster.server.try_wait().map_err(Fault::io("waiting for postgres"))?;
            if ended.is_some() || from.elapsed() > PATIENCE {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(Fault::Engine(format!("postgres did not start: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection of its own.
    pub(super) fn connect(&self) -> Result<postgres::Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host_path(&self.sockets).user("bench").dbname("postgres").connect_timeout(PATIENCE);
        config.connect(postgres::NoTls)
    }
}

impl Drop for Cluster {
    /// A fast shutdown, which ends its children too; what does not end is killed.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw) {
            // One that is gone already is told by the wait.
            let _ = kill_process(pid, Signal::INT);
        }
        let from = Instant::now();
        while from.elapsed() < PATIENCE {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        end(&mut self.server);
    }
}

/// An error of the database as one of the harness.
pub(super) fn fault(error: &postgres::Error) -> Fault {
    let mut text = error.to_string();
    if let Some(db) = error.as_db_error() {
        text = format!("{text}: {}", db.message());
    }
    Fault::Engine(format!("PostgreSQL: {text}"))
}

/// The directory of the newest installed server's programs.
fn programs() -> Option<PathBuf> {
    let complete = |dir: &PathBuf| dir.join("postgres").is_file() && dir.join("initdb").is_file();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().parse().unwrap_or(0), entry.path().join("bin")))
        .filter(|(_, dir)| complete(dir))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    versions.pop().map(|(_, dir)| dir).or_else(|| std::env::split_paths(&path).find(complete))
}

/// Whom a program runs as.
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    fn find(name: &str) -> Option<Account> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut parts = line.split(':').skip(2);
        Some(Account { user: parts.next()?.parse().ok()?, group: parts.next()?.parse().ok()? })
    }

    fn give(&self, path: &Path) -> Result<(), Fault> {
        let given = chown(path, Some(self.user), Some(self.group));
        given.map_err(Fault::io(format!("giving {} to another account", path.display())))
    }
}

fn as_account<'a>(command: &'a mut Command, account: Option<&Account>) -> &'a mut Command {
    match account {
        Some(account) => command.uid(account.user).gid(account.group),
        None => command,
    }
}

/// Whether a directory above `path` may not be entered by others; the harness's own is opened for them.
fn closed_above(path: &Path) -> bool {
    let mut above = path.ancestors().skip(1);
    let open = |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    above.next().is_some_and(|own| opened(own).is_err() && !open(own)) || !above.all(open)
}

/// Lets others pass through a directory of the harness, without reading it.
fn opened(dir: &Path) -> Result<(), Fault> {
    let set = fs::set_permissions(dir, Permissions::from_mode(0o711));
    set.map_err(Fault::io(format!("opening {} for another account", dir.display())))
}
