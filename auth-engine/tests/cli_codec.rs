//! `decode`, `encode` and `spec` as a user meets them: the real binary, files and pipes.

mod cli_support;

use std::path::{Path, PathBuf};
use std::process::Output;

use cli_support::{run, text};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/messages");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("readable").path()).collect();
    all.sort();
    all
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/messages").join(name);
    std::fs::read_to_string(path).expect(name)
}

/// The message in a fixture, hexadecimal in one line.
fn message(fixture: &str) -> &str {
    fixture.lines().find(|line| !line.starts_with('#')).expect("a message")
}

fn out(output: &Output) -> String {
    text(&output.stdout)
}

/// The one line on stderr of a command that failed with `code`.
fn refusal(args: &[&str], input: &[u8], code: i32) -> String {
    let output = run(args, input);
    let line = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {line}");
    assert_eq!(line.trim_end().lines().count(), 1, "{args:?}: {line}");
    line
}

#[test]
fn decode_then_encode_gives_every_fixture_back() {
    for path in fixtures() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let specs = ["mastercard-ipm", "mastercard", "iso1987-ascii", "iso1987-binary", "iso1993-ascii"];
        let spec = specs.into_iter().find(|spec| name.starts_with(spec)).expect("a file is named after its spec");
        let file = path.to_str().expect("a plain path");
        let decoded = run(&["decode", "--clear", "--json", "--spec", spec, file], b"");
        assert_eq!(decoded.status.code(), Some(0), "{name}");
        assert!(String::from_utf8_lossy(&decoded.stderr).contains("warning"), "{name}");
        let encoded = run(&["encode"], &decoded.stdout);
        assert_eq!(out(&encoded).trim_end(), message(&fixture(&name)), "{name}");
        let raw = run(&["encode", "--format", "raw", "--framing", "len2be"], &decoded.stdout);
        let again = run(
            &["decode", "--clear", "--json", "--spec", spec, "--format", "raw", "--framing", "len2be"],
            &raw.stdout,
        );
        assert_eq!(out(&again), out(&decoded), "{name}");
    }
}

#[test]
fn decode_masks_unless_told_otherwise() {
    let hex = fixture("mastercard-0100-contactless.hex");
    let text = out(&run(&["decode", "-"], hex.as_bytes()));
    assert!(text.contains("53511012****4242") && text.contains("Primary account number"), "{text}");
    assert!(text.contains("9F26") && text.contains("TCC") && text.contains("A1B2C3D4E5F60718"), "{text}");
    assert!(!text.contains("5351101200004242") && !text.contains("F5F3F5F1F1F0F1F2F0F0"), "{text}");
    let json = out(&run(&["decode", "--json"], hex.as_bytes()));
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["spec"], "mastercard");
    assert_eq!(value["mti"], "0100");
    assert_eq!(value["fields"]["2"]["value"], "53511012****4242");
    assert_eq!(value["fields"]["2"]["raw"], serde_json::Value::Null);
    let line = refusal(&["encode"], json.as_bytes(), 1);
    assert!(line.contains("DE2") && line.contains("masked"), "{line}");
    assert!(out(&run(&["decode", "--clear"], hex.as_bytes())).contains("5351101200004242"));
}

#[test]
fn several_messages_and_broken_lines_are_told_apart() {
    let first = fixture("mastercard-0810-echo.hex");
    let second = fixture("mastercard-0800-sign-on.hex");
    let both = format!("{first}\n{second}");
    let json = out(&run(&["decode", "--json"], both.as_bytes()));
    let types: Vec<String> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["mti"].to_string())
        .collect();
    assert_eq!(types, ["\"0810\"", "\"0800\""]);
    let broken: String =
        message(&first).as_bytes().chunks(20).map(|chunk| format!("{} \n", String::from_utf8_lossy(chunk))).collect();
    let whole = run(&["decode"], broken.as_bytes());
    assert_eq!(whole.status.code(), Some(0));
    assert!(out(&whole).starts_with("mastercard 0810"));
}

#[test]
fn what_does_not_decode_is_shown_as_far_as_it_goes() {
    let hex = fixture("mastercard-0100-contactless.hex");
    let cut = &message(&hex)[..200];
    let output = run(&["decode", "--json"], cut.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(value["fields"]["11"]["value"], "000123");
    assert!(value["error"].as_str().is_some_and(|error| error.contains("at offset")));
    let line = refusal(&["decode"], cut.as_bytes(), 1);
    assert!(line.contains("DE") && line.contains("offset") && !line.contains("5351"), "{line}");
    assert!(refusal(&["decode"], b"0x!!", 1).contains("line 1, column 2"));
    assert!(refusal(&["decode"], b"F0F", 1).contains("odd"));
    assert!(refusal(&["decode"], b"", 1).contains("no message"));
    assert!(refusal(&["decode", "--framing", "len2be"], b"FFFF00", 1).contains("lacks"));
}

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    assert!(refusal(&["decode", "--spec", "nothing"], b"00", 2).contains("mastercard, iso1987-ascii"));
    assert!(refusal(&["decode", "no-such-file.hex"], b"", 2).contains("no-such-file.hex"));
    refusal(&["decode", "--format", "morse"], b"", 2);
    refusal(&["decode", "--framing", "len3"], b"", 2);
    refusal(&["decode", "--inclusive"], b"", 2);
}

#[test]
fn encode_names_what_is_wrong() {
    let encode = |json: &str| refusal(&["encode"], json.as_bytes(), 1);
    assert!(encode("not json").contains("not JSON"));
    assert!(encode("").contains("no JSON"));
    assert!(encode(r#"{"mti":"0100","fields":{"4":{"value":"x"}}}"#).contains("DE4"));
    assert!(encode(r#"{"spec":"/etc/passwd","mti":"0100","fields":{}}"#).contains("--spec"));
    let padded = out(&run(&["encode"], br#"{"mti":"0800","fields":{"11":{"value":"7"},"70":{"value":"270"}}}"#));
    assert_eq!(padded, "F0F8F0F080200000000000000400000000000000F0F0F0F0F0F7F2F7F0\n");
}

#[test]
fn specs_are_listed_shown_and_checked() {
    let list = out(&run(&["spec", "list"], b""));
    assert!(list.contains("mastercard") && list.contains("iso1987-ascii"), "{list}");
    let show = out(&run(&["spec", "show", "mastercard"], b""));
    assert!(show.contains("n..19") && show.contains("ans...999") && show.contains("Trace identifier"), "{show}");
    let json: serde_json::Value =
        serde_json::from_str(&out(&run(&["spec", "show", "iso1987-ascii", "--json"], b""))).expect("JSON");
    assert_eq!(json["fields"][0]["form"], "n..19");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    let name = file.to_str().expect("a plain path");
    let own =
        out(&run(&["spec", "show", "mastercard", "--toml"], b"")).replace("name = \"mastercard\"", "name = \"own\"");
    std::fs::write(&file, own.replace("ebcdic-cp500", "ascii")).expect("written");
    assert!(out(&run(&["spec", "check", name], b"")).starts_with("ok: spec own, 127 elements"));
    let text = r#"{"mti":"0800","fields":{"11":{"value":"7"},"70":{"value":"270"}}}"#;
    let hex = out(&run(&["encode", "--spec", name], text.as_bytes()));
    assert_eq!(hex, "3038303080200000000000000400000000000000303030303037323730\n");
    assert!(out(&run(&["decode", "--spec", name], hex.as_bytes())).starts_with("own 0800"));

    std::fs::write(&file, own.replace("length = 40", "length = 41")).expect("written");
    let line = refusal(&["spec", "check", name], b"", 1);
    assert!(line.contains("fields.43.parts") && line.contains("add up to 40"), "{line}");
    refusal(&["spec", "check", "no-such-file.toml"], b"", 2);
}
