//! `simulate network` against a real engine: the repo's scenarios, a recorded capture played again, what fails, what does
//! not read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use etherparse::PacketBuilder;

use super::support::engine::Process;
use super::support::{Engine, Setup};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/scenarios");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("scenarios").map(|entry| entry.expect("readable").path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    all.sort();
    all
}

/// Plays files against an engine: exit code, stdout, stderr.
fn play(engine: &Engine, files: &[&Path], more: &[&str]) -> (Option<i32>, String, String) {
    play_on(engine, engine.link(0), files, more)
}

/// The same on another address.
fn play_on(engine: &Engine, link: SocketAddr, files: &[&Path], more: &[&str]) -> (Option<i32>, String, String) {
    let (link, rest) = (link.to_string(), engine.rest().to_string());
    let key = engine.data().join("operator.key");
    let mut arguments = vec!["simulate", "network"];
    arguments.extend(files.iter().map(|file| file.to_str().expect("a plain path")));
    arguments.extend(["--connect", &link, "--rest", &rest, "--key-file", key.to_str().expect("a plain path")]);
    arguments.extend(more);
    let ended = Process::start(&arguments).end();
    (ended.code(), ended.stdout, ended.stderr)
}

#[test]
fn the_scenarios_of_the_repo_hold_and_can_be_played_again() {
    let engine = Engine::start(Setup::default());
    let files = scenarios();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert!(files.len() >= 2);
    let (code, stdout, stderr) = play(&engine, &files, &["--seed", "11", "--json"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let told: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((told["failed"].as_u64(), told["seed"].as_u64()), (Some(0), Some(11)), "{told}");
    let steps = told["scenarios"][1]["steps"].as_array().expect("steps");
    let twenty = steps.iter().find(|step| step["step"] == "twenty on the second card").expect("the step");
    assert_eq!((twenty["sent"].as_u64(), twenty["received"].as_u64()), (Some(20), Some(20)), "{twenty}");

    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("day.hex");
    let taps = files.iter().find(|file| file.ends_with("taps.toml")).expect("taps.toml");
    let record = ["--seed", "12", "--record", capture.to_str().expect("a plain path")];
    let (code, stdout, stderr) = play(&engine, &[taps], &record);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("1 scenario, all as expected (seed 12)"), "{stdout}");
    assert!(stderr.contains("card numbers in clear"), "{stderr}");
    // Sent once more, everything is a repeat: replies are what they were, but for the approval that is reversed by now.
    let (code, stdout, stderr) = play(&engine, &[&capture], &[]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let failures: Vec<&str> = stdout.lines().filter(|line| line.contains(": DE")).collect();
    assert_eq!(failures.len(), 2, "the tap and its repeat: {stdout}");
    assert!(failures.iter().all(|line| line.ends_with("DE39: expected \"00\", got \"05\"")), "{failures:?}");
}

#[test]
fn a_network_that_the_engine_connects_to_is_played_too() {
    let at = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let dialled = format!("connect = \"{at}\"\nsign_on = true\necho_interval = \"1s\"\n");
    let engine = Engine::start(Setup { links: vec![dialled], ..Setup::default() });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/scenarios/dialled/network.toml");
    let (code, stdout, stderr) = play_on(&engine, at, &[&file], &[]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    engine.kill();
}

#[test]
fn a_recording_is_made_shareable_and_still_reads() {
    let engine = Engine::start(Setup::default());
    let folder = tempfile::tempdir().expect("a folder");
    let (recorded, shared) = (folder.path().join("day.hex"), folder.path().join("shared.hex"));
    let plain = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let taps = scenarios().into_iter().find(|file| file.ends_with("taps.toml")).expect("taps.toml");
    let (code, stdout, stderr) = play(&engine, &[&taps], &["--record", &plain(&recorded)]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let ended = Process::start(&["redact", &plain(&recorded), "--output", &plain(&shared)]).end();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let text = |path: &Path| std::fs::read_to_string(path).expect("a capture");
    let lines = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split_once(' ').map(|(mark, hex)| (mark.to_owned(), hex.to_owned())).expect("a mark"))
            .collect::<Vec<_>>()
    };
    let (before, after) = (lines(&text(&recorded)), lines(&text(&shared)));
    assert_eq!(before.len(), after.len());
    // DE2 in EBCDIC: every card of this suite begins with this BIN.
    let bin: String = "53511012".bytes().map(|digit| format!("F{}", digit - b'0')).collect();
    let (mut cards, mut changed) = (0, 0);
    for ((mark, clear), (same_mark, shareable)) in before.iter().zip(&after) {
        assert_eq!((mark, clear.len()), (same_mark, shareable.len()));
        cards += usize::from(clear.contains(&bin));
        changed += usize::from(clear != shareable);
    }
    assert!(cards > 40 && changed >= cards, "{cards} with a card, {changed} changed");
    // Which way each went is still known: it can be played, and what it says reads.
    let ended = Process::start(&["decode", "--json", &plain(&shared)]).end();
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    let (_, stdout, stderr) = play(&engine, &[&shared], &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
    let steps = told["scenarios"][0]["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), before.iter().filter(|(mark, _)| mark.starts_with('>')).count());
    engine.stop();
}

/// A pcap file of frames between a network's port and 8583, none of the connections' beginnings in it.
fn pcap(frames: &[(Vec<u8>, bool)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (message, from_network) in frames {
        let mut payload = u16::try_from(message.len()).expect("short").to_be_bytes().to_vec();
        payload.extend_from_slice(message);
        let ((from, source), (to, destination)) = match from_network {
            true => (([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 8583)),
            false => (([10, 0, 0, 2], 8583), ([10, 0, 0, 1], 40_000)),
        };
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from, to, 64).tcp(source, destination, 7, 1024);
        let mut packet = Vec::new();
        builder.write(&mut packet, &payload).expect("a packet");
        let size = u32::try_from(packet.len()).expect("short");
        for word in [1_700_000_000, 0, size, size] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}

#[test]
fn a_capture_of_packets_is_played_again() {
    let engine = Engine::start(Setup::default());
    let folder = tempfile::tempdir().expect("a folder");
    let (echo, text, packets) =
        (folder.path().join("echo.toml"), folder.path().join("echo.hex"), folder.path().join("echo.pcap"));
    let scenario = r#"
name = "echo"
[[link]]
name = "network"
connect = "127.0.0.1:1"
[template.echo]
mti = "0800"
fields = { 7 = "{now}", 11 = "{stan}", 33 = "200000", 63 = "MCC{stan}", 70 = "270" }
[[step]]
send = "echo"
expect = { fields = { 39 = "00" } }
"#;
    std::fs::write(&echo, scenario).expect("written");
    let (code, stdout, stderr) = play(&engine, &[&echo], &["--record", text.to_str().expect("a plain path")]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let recorded = std::fs::read_to_string(&text).expect("a capture");
    let frames: Vec<(Vec<u8>, bool)> = recorded
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (_, hex) = line.split_once("] ").expect("a message");
            let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).expect("hex"));
            (bytes.collect(), line.starts_with('>'))
        })
        .collect();
    assert_eq!(frames.len(), 2, "{recorded}");
    std::fs::write(&packets, pcap(&frames)).expect("written");
    let (code, stdout, stderr) = play(&engine, &[&packets], &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, told["scenarios"][0]["steps"][0]["received"].as_u64()), (Some(0), Some(1)), "{told}{stderr}");
}

#[test]
fn an_expectation_that_fails_is_told_without_a_card_number() {
    let engine = Engine::start(Setup::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    let taps = scenarios().into_iter().find(|file| file.ends_with("taps.toml")).expect("taps.toml");
    let text = std::fs::read_to_string(taps).expect("a scenario");
    let wrong = text.replace("fields = { 39 = \"14\", 38", "fields = { 39 = \"00\", 2 = \"{pan}\", 38");
    assert_ne!(text, wrong);
    std::fs::write(&file, wrong).expect("written");
    let (code, stdout, _) = play(&engine, &[&file], &[]);
    assert_eq!(code, Some(1), "{stdout}");
    let line = "taps / a card of nobody: ";
    assert!(stdout.contains(&format!("{line}DE39: expected \"00\", got \"14\"")), "{stdout}");
    assert!(stdout.contains(&format!("{line}DE2: expected a value that is masked")), "{stdout}");
    assert!(stdout.contains("2 expectations not met"), "{stdout}");
}

#[test]
fn the_engine_can_be_listened_for() {
    // The engine's own calls are another test's; here one scenario plays both ends.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("both.toml");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port()
    };
    let text = format!(
        r#"
name = "both"
[[link]]
name = "caller"
connect = "127.0.0.1:{port}"
framing = "len4ascii"
header = "6000010002"
[[link]]
name = "called"
listen = "127.0.0.1:{port}"
framing = "len4ascii"
header = "6000010002"
[template.echo]
mti = "0800"
fields = {{ 7 = "{{now}}", 11 = "{{stan}}", 70 = "270" }}
[template.answer]
mti = "0810"
fields = {{ 7 = "{{received.7}}", 11 = "{{received.11}}", 39 = "00", 70 = "{{received.70}}" }}
[[step]]
send = "echo"
link = "caller"
await = false
expect = {{ fields = {{ 39 = "00", 70 = {{ same = true }} }} }}
[[step]]
link = "called"
receive = {{ mti = "0800", fields = {{ 70 = "270" }} }}
answer = "answer"
"#
    );
    std::fs::write(&file, text).expect("written");
    let ended = Process::start(&["simulate", "network", file.to_str().expect("a plain path")]).end();
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn what_does_not_read_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = "name = \"x\"\n[[link]]\nname = \"a\"\nconnect = \"127.0.0.1:1\"\n";
    for (name, content, expected) in [
        ("a.toml", format!("{link}[[step]]\nsend = \"tap\"\n"), "line 5: step 1: no [template.tap]"),
        ("b.toml", format!("{link}[[step]]\nsendd = \"tap\"\n"), "line 6: unknown field `sendd`"),
        ("c.toml", format!("{link}[[step]]\nlink = \"b\"\n"), "line 5: step 1: no link \"b\""),
        ("d.toml", format!("{link}[template.t]\nmti = \"01\"\n[[step]]\n"), "line 5: mti \"01\""),
        ("e.toml", format!("{link}[[step]]\nthink = \"soon\"\n"), "line 5: step 1: \"soon\""),
        ("f.toml", "name = \"x\"\n".to_owned(), "missing field `link`"),
        ("g.hex", "> F0F1\n? F0\n".to_owned(), "line 2: a line begins with"),
        ("h.hex", "> F0F\n".to_owned(), "line 1: an odd number"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, &content).expect("written");
        let ended = Process::start(&["simulate", "network", file.to_str().expect("a plain path")]).end();
        assert_eq!(ended.code(), Some(2), "{content}: {}", ended.stderr);
        let error = ended.error();
        assert!(error.contains(expected) && error.contains(name), "{content}: {error}");
    }
}
