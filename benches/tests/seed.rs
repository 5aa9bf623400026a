//! A seeded directory is one that the engine itself would have left: it verifies, serves, and its cards and holds are
//! there. By the commands alone, on the real binaries.

mod common;

use common::{Serving, benches, engine};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn seed(dir: &Path, more: &[&str]) -> Value {
    let data = dir.join("data");
    let mut command = Command::new(benches());
    command.args(["seed", "--json", "--cards", "2000", "--holds", "200", "--data"]).arg(&data).args(more);
    let output = command.output().expect("seed runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("seed prints JSON")
}

/// Verifies, serves, taps a seeded card by REST, and verifies again.
fn check(more: &[&str], funding: &str) {
    let Some(engine) = engine() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let seeded = seed(dir.path(), more);
    assert_eq!((seeded["cards"].as_u64(), seeded["holds"].as_u64()), (Some(2000), Some(200)), "{seeded}");

    let data = dir.path().join("data");
    let verify = || {
        let output = Command::new(&engine).args(["journal", "verify", "--json", "--data"]).arg(&data).output();
        let output = output.expect("journal verify runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("it prints JSON")
    };
    assert_eq!(verify()["last_sequence"], seeded["events"]);

    let list = std::fs::read_to_string(dir.path().join("data.cards")).expect("the list is beside the directory");
    let last = list.lines().last().expect("the list has lines");
    assert_eq!(list.lines().count(), 2000);

    let serving = Serving::start(&engine, dir.path(), &data);
    let cards = serving.get("/v1/cards?limit=1");
    let card = &cards["data"][0];
    assert_eq!(card["last4"].as_str(), last.get(12..), "the newest card is the last of the list");
    assert_eq!(card["funding"]["type"], funding);
    let tap = json!({ "card_id": card["id"], "amount": { "value": "12.50", "currency": "EUR" } });
    let tapped = serving.post("/v1/sandbox/taps", &tap);
    assert_eq!(tapped["reply"]["fields"]["39"]["value"], "00", "{tapped}");
    let metrics = serving.text("/metrics");
    let open = metrics.lines().find_map(|line| line.strip_prefix("book_open_holds "));
    assert!(open.is_some_and(|open| open.starts_with("20")), "{open:?}");
    drop(serving);
    verify();
}

#[test]
fn accounts_pay() {
    check(&["--accounts"], "account");
}

#[test]
fn one_pool_pays_and_users_have_many_cards() {
    check(&["--pool", "--cards-per-user", "7"], "pool");
}

#[test]
fn a_directory_that_has_a_journal_is_refused() {
    if engine().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    seed(dir.path(), &[]);
    let mut command = Command::new(benches());
    let output = command.args(["seed", "--cards", "1", "--holds", "0", "--data"]).arg(dir.path().join("data")).output();
    let output = output.expect("seed runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("holds a journal already"), "{said}");
}

#[test]
fn starts_are_timed_from_the_process_to_ready() {
    let Some(engine) = engine() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    seed(dir.path(), &[]);
    let out = dir.path().join("recover.json");
    let mut command = Command::new(benches());
    command.args(["recover", "--rounds", "1", "--engine"]).arg(&engine).arg("--data").arg(dir.path().join("data"));
    let output = command.arg("--out").arg(&out).arg("--work").arg(dir.path()).output().expect("recover runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&out).expect("the results are there");
    let results: Value = serde_json::from_str(&text).expect("the results are JSON");
    let results = results["results"].as_array().expect("a list of results");
    assert_eq!(results.len(), 3);
    for result in results {
        let (took, events) = (result["p50_us"].as_f64(), result["sent"].as_f64());
        let (took, events) = (took.expect("a time"), events.expect("a count"));
        // Not a figure: no process starts in a tenth of a millisecond, so the clock was not read.
        assert!(took > 100.0 && events > 2_000.0, "{result}");
        // Decimal text may differ from the value in its last digit.
        let rate = result["rate_per_s"].as_f64().expect("a rate");
        assert!((rate * took / 1e6 / events - 1.0).abs() < 1e-9, "{result}");
    }
}
