//! The published codecs beside ours, through the built program: where they can read what we write, their replies have
//! our bytes. Their own faults are told in the rows and are no failure here; a difference in bytes is one.

use std::process::Command;

#[test]
fn the_published_codecs_write_the_same_bytes_as_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_benches"))
        .args(["codec-peers", "--millis", "50", "--dir"])
        .arg(dir.path())
        .output()
        .expect("the built program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let rows: serde_json::Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("rows");
    let rows = rows.as_array().expect("a list");
    let notes = |name: &str| {
        let row = rows.iter().find(|row| row["name"].as_str().is_some_and(|known| known.contains(name)));
        let row = row.unwrap_or_else(|| panic!("no row about {name}"));
        assert!(row["void"].is_null(), "{row}");
        assert!(row["answered"].as_u64().is_some_and(|count| count > 0));
        row["notes"].to_string()
    };
    for peer in ["iso8583_rs 0.1", "iso_8583_rs 0.2"] {
        assert!(notes(peer).contains("the same bytes as iso-codec's"), "{peer}: {}", notes(peer));
    }
    for ours in ["iso-codec, EBCDIC", "iso-codec, ASCII"] {
        assert!(notes(ours).contains(" 0 allocations a message") || notes(ours).contains("\"0 allocations a message"));
    }
}
