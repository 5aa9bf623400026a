//! What the tests of the harness share: the two binaries, and an engine that serves. It must never measure anything.

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The harness.
pub(crate) fn benches() -> PathBuf {
    env!("CARGO_BIN_EXE_benches").into()
}

/// The engine beside it; a build of this package alone does not make it, and then the test is skipped aloud.
pub(crate) fn engine() -> Option<PathBuf> {
    let path = benches().with_file_name("auth-engine");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: {} is not built; build the workspace", path.display());
    None
}

/// An engine on free ports; dropping it stops it.
pub(crate) struct Serving {
    child: Child,
    rest: String,
    key: String,
}

impl Serving {
    /// Starts on that directory and waits until it is ready.
    pub(crate) fn start(engine: &Path, place: &Path, data: &Path) -> Serving {
        let config = place.join("engine.toml");
        let text = "[[link]]\nname = \"mastercard\"\nlisten = \"127.0.0.1:0\"\n[rest]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&config, text).expect("the configuration is written");
        let mut command = Command::new(engine);
        command.arg("serve").arg("--config").arg(config).arg("--data").arg(data).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("the engine starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
        let mut rest = None;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(addr) = line.strip_prefix("rest listening on ") {
                rest = Some(addr.trim_end_matches('/').to_owned());
            }
            if line.starts_with("ready in") {
                break;
            }
        }
        let key = std::fs::read_to_string(data.join("operator.key")).expect("the operator's key is there");
        Serving { child, rest: rest.expect("the engine says where its sidecar is"), key: key.trim().to_owned() }
    }

    /// The text of a GET; asked again while the read model is behind, as the answer says to do.
    pub(crate) fn text(&self, path: &str) -> String {
        for _ in 0..60 {
            let call = ureq::get(format!("{}{path}", self.rest));
            let call = call.header("authorization", format!("Bearer {}", self.key));
            match call.call() {
                Ok(mut answer) => return answer.body_mut().read_to_string().expect("it has a body"),
                Err(ureq::Error::StatusCode(503)) => std::thread::sleep(std::time::Duration::from_secs(1)),
                Err(error) => panic!("GET {path}: {error}"),
            }
        }
        panic!("GET {path}: the read model did not catch up in a minute")
    }

    /// The JSON of a GET.
    pub(crate) fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).expect("it answers JSON")
    }

    /// The JSON of a POST.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let call = ureq::post(format!("{}{path}", self.rest)).header("authorization", format!("Bearer {}", self.key));
        let sent = call.header("content-type", "application/json").send(body.to_string());
        let text = sent.expect("POST succeeds").body_mut().read_to_string().expect("it has a body");
        serde_json::from_str(&text).expect("it answers JSON")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
