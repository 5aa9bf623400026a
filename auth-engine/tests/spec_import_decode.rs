//! Messages made by hand in the layouts of the foreign specs, decoded by what an import made of those, and encoded again.

mod cli_support;

use std::path::{Path, PathBuf};

use cli_support::{run, text};

fn foreign(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/specs/foreign").join(name)
}

/// Imports a spec, decodes the message that was made by hand in its layout, and encodes it again: what was decoded.
fn by_hand(spec: &str, message: &str) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, decoded) = (folder.path().join("own.toml"), folder.path().join("decoded.json"));
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let imported = run(&["spec", "import", &path(&foreign(spec)), "-o", &path(&own), "--allow-loss"], b"");
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    let hex = foreign(message);
    let output = run(&["decode", "--clear", "--json", "--spec", &path(&own), &path(&hex)], b"");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    std::fs::write(&decoded, &output.stdout).expect("written");
    let again = run(&["encode", "--spec", &path(&own), &path(&decoded)], b"");
    let before = std::fs::read_to_string(&hex).expect("a message");
    assert_eq!(Some(text(&again.stdout).trim_end()), before.lines().last(), "{}", text(&again.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn says(decoded: &serde_json::Value, element: &str, expected: &str) {
    assert_eq!(decoded["fields"][element]["value"], expected, "DE{element} in {}", decoded["fields"][element]);
}

/// The item of that id in a composite.
fn item<'a>(decoded: &'a serde_json::Value, element: &str, id: &str) -> &'a serde_json::Value {
    let items = decoded["fields"][element]["value"].as_array().unwrap_or_else(|| panic!("DE{element}: {decoded}"));
    items.iter().find(|item| item["id"] == id).unwrap_or_else(|| panic!("DE{element}.{id}: {items:?}"))
}

#[test]
fn a_message_by_hand_decodes_by_an_imported_jpos_packager() {
    let decoded = by_hand("jpos-axes.xml", "jpos-axes.hex");
    assert_eq!(decoded["mti"], "0100");
    for (element, value) in [
        ("2", "5351101200004242"),
        ("4", "000000001250"),
        ("5", "123"),
        ("6", "456"),
        ("7", "0227131415"),
        ("9", "C00000100"),
        ("10", "C00000200"),
        ("15", "A1B2C3D4"),
        ("21", "WXYZ"),
        ("23", "OK"),
        ("26", "01FE"),
        ("28", "XYZ"),
        ("32", "HELLO"),
        ("34", "12345"),
        ("35", "5351101200004242=2712"),
        ("40", "GHI"),
        ("43", "JKL"),
        ("44", "MNO"),
        ("45", "12345"),
    ] {
        says(&decoded, element, value);
    }
    assert_eq!(decoded["fields"]["42"]["raw"], "01FE");
    assert_eq!(item(&decoded, "48", "TCC")["value"], "R");
    assert_eq!(item(&decoded, "48", "01")["value"], "ABC");
    assert_eq!(item(&decoded, "48", "43")["raw"], "FE01");
    assert_eq!(item(&decoded, "50", "03")["value"], "HI");
    assert_eq!(item(&decoded, "51", "ABC")["value"], "hi");
    assert_eq!(item(&decoded, "53", "XYZ")["raw"], "01FE");
    assert_eq!(item(&decoded, "55", "9A")["raw"], "260227");
    assert_eq!(item(&decoded, "56", "AB")["value"], "ok");
    assert_eq!(item(&decoded, "60", "reason_code")["value"], "123");
    assert_eq!(item(&decoded, "61", "3")["value"], "ok");
}

#[test]
fn a_message_by_hand_decodes_by_an_imported_moov_spec() {
    let decoded = by_hand("moov-axes.json", "moov-axes.hex");
    for (element, value) in [
        ("2", "5351101200004242"),
        ("4", "000000001250"),
        ("5", "123"),
        ("7", "KIOSK 0007"),
        ("14", "A1B2C3D4"),
        ("21", "12345"),
        ("26", "bcd"),
        ("30", "NOP"),
        ("34", "hij"),
        ("35", "5351101200004242=2712"),
        ("128", "1122334455667788"),
    ] {
        says(&decoded, element, value);
    }
    assert_eq!(item(&decoded, "48", "22")["value"], "000123");
    assert_eq!(item(&decoded, "55", "9A")["raw"], "260227");
    assert_eq!(item(&decoded, "61", "2")["value"], "cd");
}

#[test]
fn a_message_by_hand_decodes_by_an_imported_iso8583_rs_spec() {
    let decoded = by_hand("iso8583-rs.yaml", "iso8583-rs.hex");
    for (element, value) in [("4", "000000001250"), ("19", "276"), ("61", "HELLO"), ("62", "XYZ"), ("160", "LAST")] {
        says(&decoded, element, value);
    }
}
