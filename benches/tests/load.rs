//! The generator against targets that refuse, close, answer garbage or do not answer, and against one that does: what
//! it says of each, by its binary and over real sockets. It must never assert a time.

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

const MEMBERS: [&str; 16] = [
    "name",
    "rate_per_s",
    "sent",
    "answered",
    "errors",
    "p50_us",
    "p90_us",
    "p99_us",
    "p999_us",
    "max_us",
    "w50_us",
    "w99_us",
    "floor_p50_us",
    "floor_p99_us",
    "ratio_p50",
    "ratio_p99",
];
const FIGURES: [&str; 7] = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us", "w50_us", "w99_us"];

/// A target that treats each connection so; it ends with the test.
fn target(treat: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || treat(stream));
        }
    });
    addr
}

/// Runs `latency` against a target with a list of two cards.
fn latency(target: SocketAddr, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cards = dir.path().join("cards.txt");
    std::fs::write(&cards, "# two\n5351101200000001\n5351101200000019\n").expect("it can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_benches"));
    command.args(["latency", "--json", "--floor-samples", "0", "--warm", "200ms"]);
    if !more.contains(&"--length") {
        command.args(["--length", "1s"]);
    }
    command.arg("--cards").arg(&cards).args(["--target", &target.to_string()]).args(more).arg("--work").arg(dir.path());
    command.output().expect("the harness runs")
}

/// The one result, and what was said on stderr.
fn result(output: &Output) -> (Value, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {said}"));
    for member in MEMBERS {
        assert!(!result[member].is_null(), "{member} is missing: {result}");
    }
    (result, said)
}

/// An open loop against a target that is none: void, told in one line with these words, exit 1, and no figure.
fn check_void(target: SocketAddr, words: &[&str]) {
    let output = latency(target, &["--rates", "500", "--budget", "300ms"]);
    let (result, said) = result(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("VOID") && words.iter().any(|words| said.contains(words)), "{said}");
    assert!(words.iter().any(|words| result["void"].as_str().is_some_and(|void| void.contains(words))), "{result}");
    for figure in FIGURES {
        assert_eq!(result[figure].as_f64(), Some(0.0), "{figure} of a void run: {result}");
    }
}

#[test]
fn a_target_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    drop(listener);
    check_void(addr, &["refused"]);
}

#[test]
fn a_target_that_closes_in_the_middle() {
    let addr = target(|mut stream| {
        let mut some = [0; 600];
        let _ = stream.read_exact(&mut some);
    });
    // With bytes still unread the kernel resets instead of closing.
    check_void(addr, &["closed link", "broke in the middle"]);
}

#[test]
fn a_target_that_speaks_another_protocol() {
    let addr = target(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    check_void(addr, &["garbage"]);
}

#[test]
fn a_target_whose_frames_are_no_replies() {
    let addr = target(|mut stream| {
        let mut some = [0; 600];
        // Well framed, and nothing inside.
        while stream.read(&mut some).is_ok_and(|count| count > 0) {
            if stream.write_all(b"\x00\x04\xF0\xF1\xF1\xF0").is_err() {
                return;
            }
        }
    });
    check_void(addr, &["garbage"]);
}

#[test]
fn a_target_that_never_answers() {
    let addr = target(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    check_void(addr, &["answered none"]);
}

/// The harness's own echo, killed when dropped.
struct Echo(Child, SocketAddr);

impl Echo {
    fn start(pause: &str) -> Echo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_benches"));
        command.args(["echo-server", "--pause", pause]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the harness runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("it says where it listens");
        let addr = line.trim().rsplit(' ').next().and_then(|addr| addr.parse().ok()).expect("an address");
        Echo(child, addr)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_target_that_is_too_slow_for_the_schedule() {
    // Each batch of replies waits longer than replies may take.
    let echo = Echo::start("400ms");
    let output = latency(echo.1, &["--rates", "500", "--budget", "300ms"]);
    let (result, said) = result(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("too slow for the schedule"), "{said}");
    assert!(result["errors"].as_u64() > Some(0), "{result}");
}

#[test]
fn every_kind_of_message_is_answered_by_one_that_is_good() {
    let echo = Echo::start("0s");
    // The echo approves what the mix wants declined: five of a hundred, which a lenient run only counts.
    let output = latency(echo.1, &["--in-flight", "16", "--budget", "60s", "--mix", "daily", "--lenient"]);
    let (result, said) = result(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(result["void"].is_null() && result["sent"].as_u64() > Some(100), "{result}");
    assert_eq!(result["sent"], result["answered"]);
    let counts = result["counts"].as_array().expect("counts");
    let unexpected = counts.iter().find(|count| count[0] == "unexpected").and_then(|count| count[1].as_u64());
    assert_eq!(unexpected, result["errors"].as_u64(), "nothing else went wrong: {result}");
    assert!(result["p50_us"].as_f64() > Some(0.0) && result["p50_us"].as_f64() <= result["max_us"].as_f64());
}

#[test]
fn what_cannot_be_run_is_refused_in_one_line() {
    let addr: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    for (flags, words) in [
        (&["--rates", "0"][..], "a rate of 0/s"),
        (&["--rates", "10", "--mix", "nosuch"], "embedded ones"),
        (&["--rates", "10", "--length", "1ms"], "at least 200 ms"),
        (&["--rates", "10", "--spec", "nosuch"], "no spec"),
    ] {
        let output = latency(addr, flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
}
