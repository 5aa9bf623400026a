//! The configuration as a user meets it: files, variables, flags and the `config` command of the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use auth_engine::config::{Config, LinkConfig, Opening, Origin};

/// A directory with one configuration file in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("engine.toml"), text).expect("written");
        Self { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("engine.toml")
    }
}

fn run(args: &[&str], env: &[(&str, &str)], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth-engine"));
    command.args(args).current_dir(dir).env_remove("RUST_LOG").envs(env.iter().copied());
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A file that is refused: exit 2, nothing on stdout, and a line that says all of `words`.
fn check(file: &str, words: &[&str]) {
    check_env(file, &[], words);
}

fn check_env(file: &str, env: &[(&str, &str)], words: &[&str]) {
    let place = Place::with(file);
    let output = run(&["config", "check", "--config", "engine.toml"], env, place.dir.path());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{file}\n{stderr}");
    assert!(output.stdout.is_empty());
    assert!(
        stderr.lines().any(|line| line.starts_with("error: ") && words.iter().all(|word| line.contains(word))),
        "no line says {words:?}:\n{stderr}"
    );
}

fn listening(link: &LinkConfig) -> std::net::SocketAddr {
    match link.opening {
        Opening::Listen(address) => address,
        Opening::Connect(_) => panic!("{} connects", link.name),
    }
}

fn link(more: &str) -> String {
    format!("[[link]]\nname = \"mastercard\"\nlisten = \"127.0.0.1:8583\"\n{more}\n")
}

#[test]
fn without_a_file_the_built_in_defaults_hold() {
    let config = Config::from_parts(None, &[], None).expect("valid");
    assert_eq!(config.links.len(), 1);
    assert_eq!(listening(&config.links[0]).to_string(), "127.0.0.1:8583");
    assert_eq!(config.links[0].budget, Duration::from_secs(2));
    assert_eq!(config.links[0].max_frame, 8192);
    assert_eq!(config.rest.listen.to_string(), "127.0.0.1:8080");
    assert!(config.sandbox);
    assert_eq!(config.data_dir, Path::new("data"));
    assert_eq!(config.keys.master_file, Path::new("data/master.key"));
    assert_eq!(config.journal.segment, 64 << 20);
    assert_eq!(config.journal.archive_dir, None);
    assert_eq!(config.journal.dedup_max, 50_000_000);
    assert_eq!(config.authorization.preauthorization_lifetime, Duration::from_secs(720 * 3600));
    assert_eq!(config.partner.decision_timeout, Duration::from_millis(500));
    assert_eq!(config.issuing.bin, "53511012");
    assert!(config.switch.realtime);
    assert_eq!(config.switch.processor, None);
    assert_eq!(config.telemetry.traces, 1_000_000);
}

/// The example of the contracts, word for word.
#[test]
fn the_documented_example_is_the_default() {
    let place = Place::with(
        r#"
data_dir = "data"
sandbox = true
drain_timeout = "5s"

[[link]]
name = "mastercard"
listen = "127.0.0.1:8583"
spec = "mastercard"
framing = "len2be"
inclusive = false
header_bytes = 0
budget = "2s"
require_sign_on = false
max_frame = "8KiB"
max_in_flight = 4096
frame_timeout = "10s"
idle_timeout = "15m"

[rest]
listen = "127.0.0.1:8080"

[keys]
master_file = "master.key"

[journal]
segment = "64MiB"
archive_dir = ""
dedup_window = "1h"
dedup_max = 50000000

[authorization]
hold_lifetime = "168h"
preauthorization_lifetime = "720h"

[partner]
decision_timeout = "500ms"
max_connections = 64

[fx]
max_position = {}

[issuing]
bin = "53511012"
"#,
    );
    let example = Config::from_parts(Some(&place.file()), &[], None).expect("valid");
    let default = Config::from_parts(None, &[], None).expect("valid");
    let values = |config: &Config| -> Vec<(String, String)> {
        config.settings().iter().map(|s| (s.key.clone(), s.value.clone())).collect()
    };
    assert_eq!(values(&example), values(&default));
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let place = Place::with(&format!("data_dir = \"a\"\n[rest]\nlisten = \"127.0.0.1:1\"\n{}", link("")));
    let env = [
        ("AUTH_ENGINE__DATA_DIR".to_owned(), "b".to_owned()),
        ("AUTH_ENGINE__REST__LISTEN".to_owned(), "127.0.0.1:2".to_owned()),
        ("AUTH_ENGINE__LINK__0__LISTEN".to_owned(), "127.0.0.1:3".to_owned()),
        ("AUTH_ENGINE__LINK__1__NAME".to_owned(), "second".to_owned()),
        ("AUTH_ENGINE__LINK__1__LISTEN".to_owned(), "127.0.0.1:4".to_owned()),
        ("AUTH_ENGINE__FX__MAX_POSITION__EUR".to_owned(), "1000.50".to_owned()),
        ("AUTH_ENGINE__ISSUING__BIN".to_owned(), "012345".to_owned()),
    ];
    let config = Config::from_parts(Some(&place.file()), &env, Some(Path::new("c"))).expect("valid");
    assert_eq!(config.data_dir, Path::new("c"));
    assert_eq!(config.rest.listen.port(), 2);
    assert_eq!(config.links.iter().map(|link| listening(link).port()).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(config.links[0].name, "mastercard", "what no variable names stays as the file says");
    assert_eq!(config.links[1].name, "second");
    assert_eq!(config.fx.max_position["EUR"].to_string(), "1000.50");
    assert_eq!(config.issuing.bin, "012345", "a leading zero is not lost");

    let origin = |key: &str| config.settings().iter().find(|s| s.key == key).map(|s| s.origin.clone());
    assert_eq!(origin("data_dir"), Some(Origin::Flag { flag: "--data".to_owned() }));
    assert_eq!(origin("rest.listen"), Some(Origin::Env { variable: "AUTH_ENGINE__REST__LISTEN".to_owned() }));
    assert_eq!(origin("link.0.name"), Some(Origin::File { path: place.file() }));
    assert_eq!(origin("link.0.budget"), Some(Origin::Default));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one_and_where_they_stand() {
    check("sandbx = true", &["engine.toml: sandbx", "`sandbox`"]);
    check(&link("budgett = \"2s\""), &["engine.toml: link.0.budgett", "`link.0.budget`"]);
    check("[jurnal]\nsegment = \"64MiB\"", &["jurnal.segment", "`journal.segment`"]);
    check("segment = \"64MiB\"", &["engine.toml: segment", "`journal.segment`"]);
    check("[zzz]\nqqqqqqq = 1", &["zzz.qqqqqqq", "unknown key", "config show"]);
    check_env("", &[("AUTH_ENGINE__REST__LISTENN", "x")], &["AUTH_ENGINE__REST__LISTENN", "`rest.listen`"]);
    check_env("", &[("AUTH_ENGINE__LINK__00__LISTEN", "x")], &["AUTH_ENGINE__LINK__00__LISTEN", "unknown key"]);
    check_env("", &[("AUTH_ENGINE__REST", "x")], &["AUTH_ENGINE__REST", "section"]);
    check_env("", &[("AUTH_ENGINE____LISTEN", "x")], &["AUTH_ENGINE____LISTEN", "SECTION__KEY"]);
}

#[test]
fn wrong_values_are_named_with_an_example() {
    check(&link("budget = 2"), &["link.0.budget", "\"2s\""]);
    check(&link("budget = \"250ms\""), &["link.0.budget", "251ms"]);
    check(&link("max_frame = \"8 kilo\""), &["link.0.max_frame", "\"64MiB\""]);
    check(&link("framing = \"len2\""), &["link.0.framing", "len2be"]);
    check(&link("spec = \"mastercrd\""), &["link.0.spec", "`mastercard`", "path"]);
    check(&link("header_bytes = 32\nmax_frame = 32"), &["link.0.header_bytes", "max_frame"]);
    check(&link("require_sign_on = \"yes\""), &["link.0.require_sign_on", "true"]);
    check(&link("max_in_flight = 0"), &["link.0.max_in_flight", "outside"]);
    check(&link("max_in_flight = -1"), &["link.0.max_in_flight", "whole number"]);
    check("[rest]\nlisten = \"localhost\"", &["rest.listen", "127.0.0.1"]);
    check("[issuing]\nbin = \"12345x\"", &["issuing.bin", "6 to 11 digits"]);
    check("[telemetry]\ntraces = \"many\"", &["telemetry.traces", "whole number"]);
    check("[telemetry]\ntraces = 16000001", &["telemetry.traces", "outside"]);
    check("[fx]\nmax_position = { EUR = \"-1\" }", &["fx.max_position.EUR", "amount"]);
    check("[fx]\nmax_position = { EUR = \"nan\" }", &["fx.max_position.EUR", "amount"]);
    check("[fx]\nmax_position = 5", &["fx.max_position", "table"]);
    check("data_dir = [\"a\"]", &["engine.toml: data_dir", "list"]);
    check("[journal]\nsegment = \"1048577B\"", &["journal.segment", "4KiB"]);
    check("[journal]\nsegment = \"1MiB\"\nmax_batch = \"1MiB\"", &["journal.max_batch", "quarter"]);
    check_env("", &[("AUTH_ENGINE__LINK__0__BUDGET", "soon")], &["AUTH_ENGINE__LINK__0__BUDGET", "soon", "\"2s\""]);
}

#[test]
fn tls_of_a_link_must_be_whole() {
    let listens = |keys: &str| link(&format!("[link.tls]\n{keys}"));
    let connects = |keys: &str| format!("[[link]]\nname = \"a\"\nconnect = \"gateway.example:1\"\n[link.tls]\n{keys}");
    check(&link("tls = true"), &["engine.toml: link.0.tls", "section"]);
    check(&listens("certificate = \"a.pem\""), &["link.0.tls.key", "missing"]);
    check(&listens("key = \"a.key\""), &["link.0.tls.certificate", "missing"]);
    check(&listens("peer_ca = \"ca.pem\""), &["link.0.tls.certificate", "missing"]);
    let own = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    check(&listens(&format!("{own}peer_ca = \"system\"")), &["link.0.tls.peer_ca", "signs your clients"]);
    check(&listens(&format!("{own}peer_name = \"x\"")), &["link.0.tls.peer_name", "links that connect"]);
    check(&listens(own), &["mastercard", "a.pem", "No such file"]);
    check(&listens("cert = \"a.pem\""), &["link.0.tls.cert", "unknown key"]);
    check(&connects(own), &["link.0.tls.peer_ca", "missing", "system"]);
    check(&connects("peer_ca = \"system\"\npeer_name = \"a b\""), &["link.0.tls.peer_name", "a b"]);
    check_env(&link(""), &[("AUTH_ENGINE__LINK__0__TLS__KEY", "a.key")], &["link.0.tls.certificate", "missing"]);
}

#[test]
fn links_must_be_whole_unique_and_listening() {
    check("[[link]]\nname = \"a\"", &["link.0.listen", "missing"]);
    check("[[link]]\nlisten = \"127.0.0.1:1\"", &["link.0.name", "missing"]);
    check(
        "[[link]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nconnect = \"host:1\"",
        &["engine.toml: link.0.connect", "beside `listen`", "keep one"],
    );
    check("[[link]]\nname = \"a\"\nconnect = \"host\"", &["engine.toml: link.0.connect", "host and port"]);
    check(&link("tpdu = true\n"), &["engine.toml: link.0.tpdu", "header_bytes = 5"]);
    check(&link("echo_intervall = \"1s\"\n"), &["echo_intervall", "did you mean `link.0.echo_interval`"]);
    check(&link("network_elements = 5"), &["link.0.network_elements", "table", "33"]);
    check(&link("network_elements = { 70 = \"001\" }"), &["link.0.network_elements.70", "the engine's to set"]);
    check(&link("network_elements = { DE33 = \"1\" }"), &["link.0.network_elements.DE33", "2 to 128"]);
    check(&link("network_elements = { 33 = \"abc\" }"), &["mastercard", "network_elements.33", "DE33"]);
    check("link = []", &["link", "[[link]]"]);
    check(&link("spec = \"./none.toml\""), &["./none.toml", "No such file"]);
    check("[link]\nname = \"a\"", &["link", "[[link]]"]);
    check(&link("").repeat(2), &["link.1.name", "mastercard", "taken"]);
    check(
        &(link("") + "[[link]]\nname = \"b\"\nlisten = \"127.0.0.1:8583\""),
        &["link.1.listen", "taken", "mastercard"],
    );
    check("[[link]]\nname = \"a b\"\nlisten = \"127.0.0.1:1\"", &["link.0.name", "a b"]);
    check_env("", &[("AUTH_ENGINE__LINK__7__NAME", "x")], &["link.7", "without gaps"]);
}

#[test]
fn outside_the_sandbox_the_master_key_lies_outside_the_data_directory() {
    check("sandbox = false\n[keys]\nmaster_file = \"data/../data/master.key\"", &["keys.master_file", "data_dir"]);
    let place = Place::with("sandbox = false\n[keys]\nmaster_file = \"/etc/keys/master.key\"");
    let config = Config::from_parts(Some(&place.file()), &[], None).expect("valid");
    assert_eq!(config.keys.master_file, Path::new("/etc/keys/master.key"));
}

#[test]
fn every_problem_is_a_line_of_check_and_serve_names_the_first() {
    let place = Place::with("sandbx = true\n[rest]\nlisten = \"x\"\n[issuing]\nbin = \"1\"");
    let output = run(&["config", "check", "--config", "engine.toml"], &[], place.dir.path());
    assert_eq!(text(&output.stderr).lines().count(), 3);
    let output = run(&["config", "show", "--config", "engine.toml"], &[], place.dir.path());
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("sandbx") && stderr.contains("2 more"), "{stderr}");
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_one_line_with_the_place() {
    check("data_dir = \"a\"\n[rest\n", &["engine.toml:2", "TOML"]);
    let place = Place::with("");
    let output = run(&["config", "check", "--config", "absent.toml"], &[], place.dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("absent.toml"));
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn no_file_is_read_unless_it_is_named() {
    let place = Place::with("sandbx = true");
    assert_eq!(run(&["config", "check"], &[], place.dir.path()).status.code(), Some(0));
}

#[test]
fn show_tells_the_origin_of_each_value() {
    let place = Place::with(&link("budget = \"3s\""));
    let env = [("AUTH_ENGINE__REST__LISTEN", "127.0.0.1:9090")];
    let output = run(&["config", "show", "--config", "engine.toml", "--data", "there"], &env, place.dir.path());
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    let line = |key: &str| stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("link.0.budget").contains("3s") && line("link.0.budget").contains("engine.toml"));
    assert!(line("rest.listen").contains("9090") && line("rest.listen").contains("AUTH_ENGINE__REST__LISTEN"));
    assert!(line("data_dir").contains("there") && line("data_dir").contains("--data"));
    assert!(line("sandbox").contains("default"));

    let output = run(&["config", "show", "--json", "--config", "engine.toml"], &env, place.dir.path());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let settings = json.as_array().expect("an array");
    let budget = settings.iter().find(|s| s["key"] == "link.0.budget").expect("listed");
    assert_eq!(budget["value"], "3s");
    assert_eq!(budget["origin"]["from"], "file");
    assert_eq!(budget["origin"]["path"], "engine.toml");
}

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    let place = Place::with("");
    for args in [&["--no-such-flag"][..], &["nonsense"], &["config", "check", "--config"], &["config", "show", "more"]]
    {
        let output = run(args, &[], place.dir.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    let output = run(&["--log", "=,=", "config", "check"], &[], place.dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--log"));
}

#[test]
fn help_and_version_go_to_stdout_with_exit_0() {
    let place = Place::with("");
    for args in [&["--help"][..], &["--version"], &["config", "--help"], &["config", "check", "--help"]] {
        let output = run(args, &[], place.dir.path());
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_closed_pipe_on_stdout_is_no_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth-engine"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // The reader is gone before the first line is written.
    drop(reader);
    let output = command.args(["config", "show"]).stdout(writer).output().expect("the binary runs");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}
