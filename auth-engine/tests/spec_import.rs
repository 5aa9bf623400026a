//! `spec import` and `spec export` as a user meets them: the fixtures in `fixtures/specs/foreign` use every axis of each
//! form, go in, come out, and go in again.

mod cli_support;

use std::path::{Path, PathBuf};

use cli_support::{run, text};

fn foreign(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/specs/foreign").join(name)
}

/// The imported spec's text and its report, line by line.
fn import(file: &Path) -> (String, Vec<String>) {
    let output = run(&["spec", "import", file.to_str().expect("a plain path"), "--name", "foreign"], b"");
    let report: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
    let expected = if report.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{report:?}");
    (text(&output.stdout), report)
}

/// Imports, exports, imports again: both imports say the same about every element.
fn there_and_back(name: &str, form: &str, extension: &str) -> (Vec<String>, Vec<String>) {
    let (first, lost_in) = import(&foreign(name));
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("own.toml");
    let back = folder.path().join(format!("back.{extension}"));
    let report = folder.path().join("lost.txt");
    std::fs::write(&own, &first).expect("written");
    let path = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
    let output = run(
        &["spec", "export", &path(&own), "--to", form, "-o", &path(&back), "--report", &path(&report), "--allow-loss"],
        b"",
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lost_out = std::fs::read_to_string(&report).expect("a report").lines().map(str::to_owned).collect();
    let (second, _) = import(&back);
    let elements = |text: &str| text.split_once("[fields]").expect("fields").1.to_owned();
    for (before, after) in elements(&first).lines().zip(elements(&second).lines()) {
        assert_eq!(before, after, "{name} there and back; {lost_out:?}");
    }
    assert_eq!(elements(&first), elements(&second));
    (lost_in, lost_out)
}

fn the_line<'a>(report: &'a [String], element: &str) -> &'a str {
    let place = format!(": {element}: ");
    report.iter().find(|line| line.contains(&place)).unwrap_or_else(|| panic!("nothing on {element}: {report:#?}"))
}

fn line_of(name: &str, needle: &str) -> usize {
    let text = std::fs::read_to_string(foreign(name)).expect(name);
    text.lines().position(|line| line.contains(needle)).expect(needle) + 1
}

#[test]
fn a_jpos_packager_with_every_axis_comes_in() {
    let (toml, report) = import(&foreign("jpos-axes.xml"));
    for line in [
        "mti = \"bcd\"",
        "bitmap = \"binary\"",
        "4 = { name = \"Amount\", kind = \"n\", length = 12, encoding = \"bcd\" }",
        "6 = { name = \"Odd digits filled by F\", kind = \"n\", length = 3, encoding = \"bcd-left\", filler = \"F\" }",
        "40 = { name = \"Binary LLH, EBCDIC\", kind = \"ans\", length = \".40\", prefix = \"binary\", encoding = \"ebcdic-1047\" }",
        "42 = { name = \"Half-bytes counted\", kind = \"b\", length = \"..20\", prefix = \"bcd\", count = \"nibbles\" }",
        "43 = { name = \"ASCII length, EBCDIC text\", kind = \"ans\", length = \"..40\", encoding = \"ebcdic-1047\" }",
        "44 = { name = \"EBCDIC length, ASCII text\", kind = \"ans\", length = \"..40\", prefix = \"ebcdic-1047\" }",
        "tag = { length = 2, encoding = \"ebcdic-1047\" }",
        "\"43\" = { name = \"Bytes under an EBCDIC tag\", kind = \"b\" }",
        "class = { id = \"TCC\", name = \"Transaction category code\" }",
        "52 = { name = \"PIN block\", kind = \"b\", length = 8, secret = \"pin\" }",
    ] {
        assert!(toml.lines().any(|found| found == line), "{line}\n{toml}");
    }
    for (element, needle, words) in [
        ("DE46", "id=\"46\"", "IFA_FLLCHAR"),
        ("DE47", "id=\"47\"", "IFB_LLHFBINARY"),
        ("DE49.2", "Length, then tag", "IFEP_LLCHAR"),
        ("DE62", "id=\"62\"", "com.example.iso.OwnField"),
    ] {
        let line = the_line(&report, element);
        let number = line_of("jpos-axes.xml", needle);
        assert!(line.starts_with(&format!("line {number}: ")) && line.contains(words), "{line}");
    }
    assert_eq!(report.len(), 4, "{report:#?}");
}

#[test]
fn a_jpos_packager_goes_there_and_back() {
    let (_, lost) = there_and_back("jpos-axes.xml", "jpos", "xml");
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn a_moov_spec_with_every_axis_comes_in_and_goes_back() {
    let (toml, report) = import(&foreign("moov-axes.json"));
    for line in [
        "bitmap = \"hex-ascii\"",
        "5 = { name = \"Digits filled behind\", kind = \"n\", length = 3, encoding = \"bcd-left\", pad = \"none\" }",
        "23 = { name = \"Hex L\", kind = \"ans\", length = \".40\", prefix = \"hex\" }",
        "32 = { name = \"Binary LL\", kind = \"b\", length = \"..400\", prefix = \"binary\" }",
        "35 = { name = \"Track 2\", kind = \"z\", length = \"..37\", secret = \"track\" }",
        "skip_unknown = true",
        "\"01\" = { name = \"Text\", kind = \"ans\" }",
        "\"9F02\" = { name = \"Amount\", kind = \"b\" }",
    ] {
        assert!(toml.lines().any(|found| found == line), "{line}\n{toml}");
    }
    let strict = the_line(&report, "DE56");
    assert!(strict.starts_with(&format!("line {}: ", line_of("moov-axes.json", "\"56\""))), "{strict}");
    assert!(the_line(&report, "DE62").contains("padding of a variable length"));
    let (_, lost) = there_and_back("moov-axes.json", "moov", "json");
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn an_iso8583_rs_spec_comes_in() {
    let (toml, report) = import(&foreign("iso8583-rs.yaml"));
    for line in [
        "bitmaps = 3",
        "4 = { name = \"amount\", kind = \"n\", length = 12, encoding = \"bcd\" }",
        "19 = { name = \"country_code\", kind = \"ans\", length = 3, encoding = \"ebcdic-1047\" }",
        "61 = { name = \"private_1\", kind = \"ans\", length = \"....9999\", prefix = \"bcd\" }",
        "62 = { name = \"private_2\", kind = \"ans\", length = \".255\", prefix = \"binary\", encoding = \"ebcdic-1047\" }",
    ] {
        assert!(toml.lines().any(|found| found == line), "{line}\n{toml}");
    }
    assert_eq!(report.len(), 1, "{report:#?}");
    let number = line_of("iso8583-rs.yaml", "len: 8, data_encoding: ASCII, position: 96");
    let start = format!("line {number}: DE96: key_data of message \"0400 - Reversal\"");
    assert!(report[0].starts_with(&start), "{report:#?}");
}

#[test]
fn what_our_specs_say_and_others_cannot_is_reported() {
    let output = run(&["spec", "export", "mastercard", "--to", "jpos"], b"");
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stderr);
    assert!(report.contains(": DE2: encoding \"ebcdic-cp500\" cannot be carried"), "{report}");
    assert!(text(&output.stdout).contains("<isofield id=\"4\" length=\"12\""));
    let allowed = run(&["spec", "export", "iso1987-ascii", "--to", "moov", "--allow-loss"], b"");
    assert_eq!(allowed.status.code(), Some(0), "{}", text(&allowed.stderr));
    serde_json::from_slice::<serde_json::Value>(&allowed.stdout).expect("JSON");
}

#[test]
fn what_does_not_read_is_one_line_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad");
    let name = file.to_str().expect("a plain path");
    for (content, expected) in [
        ("<isopackager>\n  <isofield id=\"x\" length=\"1\" class=\"IF_CHAR\"/>\n</isopackager>", "line 2: id `x`"),
        ("<isopackager>\n  <isofield id=>", "line 2: not XML"),
        ("{ \"fields\": {\n \"a\": {} } }", "line 2: field `a`"),
        ("{ \"fields\": ", "not a moov spec"),
        ("messages:\n  - name: [", "not an iso8583_rs spec"),
        ("", "not an iso8583_rs spec"),
    ] {
        std::fs::write(&file, content).expect("written");
        let output = run(&["spec", "import", name], b"");
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{content}: {line}");
        assert!(line.contains(expected) && line.trim_end().lines().count() == 1, "{content}: {line}");
    }
}

#[test]
fn depth_has_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = |depth: usize| {
        let open = r#"{"type":"Composite","prefix":"ASCII.LL","length":9,"subfields":{"1":"#;
        let leaf = r#"{"type":"String","prefix":"ASCII.LL","length":9,"enc":"ASCII"}"#;
        format!("{{\"fields\":{{\"2\":{}{leaf}{}}}}}", open.repeat(depth), "}}".repeat(depth))
    };
    let xml = |depth: usize| {
        let open =
            r#"<isofieldpackager id="2" length="9" class="IFA_LLCHAR" packager="GenericPackager" emitBitmap="false">"#;
        format!("<isopackager>{}{}</isopackager>", open.repeat(depth), "</isofieldpackager>".repeat(depth))
    };
    let yaml = |depth: usize| format!("messages: {}{}", "[".repeat(depth), "]".repeat(depth));
    for (name, content) in [("a.json", json(20_000)), ("a.xml", xml(20_000)), ("a.yaml", yaml(20_000))] {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("written");
        let output = run(&["spec", "import", file.to_str().expect("a plain path")], b"");
        assert_eq!(output.status.code(), Some(2), "{name}: {:.300}", text(&output.stderr));
    }
}
