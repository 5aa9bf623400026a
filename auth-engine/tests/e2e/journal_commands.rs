//! The operator's commands on a stopped directory, as a user meets them: a running engine makes the journal, a stop
//! leaves it, the binary tells, replays and cuts it. No output may show a card number; the suite looks at all of it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::support::engine::{Ended, Process};
use super::support::{Engine, Setup, World, advice, code, purchase, reversal, until};

fn cli(engine: &Engine, arguments: &[&str]) -> Ended {
    let config = engine.write_config(&engine.data());
    let config = config.to_str().expect("a plain path");
    let mut all = arguments.to_vec();
    all.extend(["--config", config]);
    Process::start(&all).end()
}

fn told(engine: &Engine, arguments: &[&str]) -> String {
    let ended = cli(engine, arguments);
    assert_eq!(ended.code(), Some(0), "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
    ended.stdout
}

fn json_of(engine: &Engine, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(engine, arguments)).expect("JSON")
}

/// The authorizations of a journal that has one of each kind.
struct Journal {
    engine: Arc<Engine>,
    world: World,
    ids: Vec<(&'static str, String)>,
    state: Value,
    /// Between the first tap and the second.
    between: String,
    balances: (Value, Value),
}

impl Journal {
    fn id(&self, name: &str) -> &str {
        &self.ids.iter().find(|(known, _)| *known == name).expect(name).1
    }
}

fn journal() -> Journal {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    let mut ids = Vec::new();
    let newest = |name: &'static str, card: &super::support::Card| {
        (name, world.newest(card)["id"].as_str().expect("an id").to_owned())
    };
    let first = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&first)), "00");
    ids.push(newest("approval", &card));
    let decided = world.newest(&card)["updated_at"].as_str().expect("a time").to_owned();
    world.rules(&["decline insufficient_funds"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 700))), "51");
    ids.push(newest("decline", &card));
    world.terms(json!({"decision_timeout_ms": 150}));
    world.rules(&["late 100ms"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 4200))), "91");
    ids.push(newest("late", &card));
    until("the late answer", || world.newest(&card)["partner_decision"]["late_by_us"].as_u64());
    world.rules(&["silent"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 300))), "91");
    ids.push(newest("timeout", &card));
    world.terms(json!({"decision_timeout_ms": 1500}));
    world.rules(&["approve amount 5.00 metadata 30"]);
    let mut partial = purchase(&card, 900);
    partial.set_subs(48, &[("TCC", "R"), ("61", "10000")]);
    assert_eq!(code(&wire.ask(&partial)), "10");
    ids.push(newest("partial", &card));
    world.rules(&["approve"]);
    assert_eq!(code(&wire.ask(&advice(0x0120, &card, 800, "00"))), "00");
    ids.push(newest("advice", &card));
    let (account_card, account) = world.account_card("20.00");
    let tap = purchase(&account_card, 600);
    assert_eq!(code(&wire.ask(&tap)), "00");
    ids.push(newest("reversed", &account_card));
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    assert_eq!(code(&wire.ask(&purchase(&account_card, 90_000))), "51");
    ids.push(newest("too little", &account_card));
    world.terms(json!({"decision_url": null}));
    let careless = json!({"account_id": account, "amount": {"value": "1.00", "currency": "EUR"}, "reference": "of 4111111111111111"});
    engine.post("/v1/pay-ins", &careless);
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "91");
    ids.push(newest("unreachable", &card));
    let balances = (
        engine.get(&format!("/v1/pools/{}/balance?at={decided}", world.pool)),
        engine.get(&format!("/v1/accounts/{account}/balance?at={decided}")),
    );
    let state = engine.get("/v1/system/state");
    assert_eq!(engine.stop().code(), Some(0));
    Journal { engine, world, ids, state, between: decided, balances }
}

#[test]
fn commands_tell_what_a_stopped_engine_did() {
    let journal = journal();
    let engine = &journal.engine;
    replays(&journal);
    explains(&journal);
    exports(&journal);
    balances(&journal);
    late_approvals(&journal);
    inspects(&journal);
    let refused = cli(engine, &["journal", "replay", "--authorization", "aut_000000R0000ZZZZZ"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.error().contains("no authorization"), "{}", refused.stderr);
    assert_eq!(cli(engine, &["explain", "crd_000000R000000019"]).code(), Some(2));
    // Nothing of it changed anything, and the engine starts again.
    engine.run();
    let again = engine.get("/v1/late-approvals")["data"].as_array().map(Vec::len);
    assert_eq!(again, Some(1));
    assert_eq!(cli(engine, &["journal", "inspect"]).code(), Some(3), "in use");
}

fn replays(journal: &Journal) {
    for (name, id) in &journal.ids {
        let story = json_of(&journal.engine, &["journal", "replay", "--authorization", id, "--json"]);
        assert_eq!(story["equal"], true, "{name}: {story:#}");
        let steps = story["steps"].as_array().expect("steps");
        assert!(steps.iter().all(|step| step["trouble"].is_null()), "{name}: {story:#}");
        let replies: Vec<&Value> = steps.iter().flat_map(|s| s["replies"].as_array().expect("replies")).collect();
        assert!(!replies.is_empty() && replies.iter().all(|reply| reply["equal"] == true), "{name}: {replies:?}");
        let decisive = steps.iter().rev().find(|step| !step["reason"].is_null()).expect("a decision");
        let expected = match *name {
            "approval" | "partial" => ("approved", Value::Null, 2),
            "decline" => ("partner_declined", json!(14), 2),
            "late" => ("partner_timeout", json!(14), 3),
            "timeout" => ("partner_timeout", json!(14), 2),
            "advice" => ("approved", Value::Null, 1),
            "reversed" => ("approved", Value::Null, 2),
            "too little" => ("insufficient_funds", json!(13), 1),
            "unreachable" => ("partner_unreachable", json!(14), 1),
            other => panic!("{other}"),
        };
        let found = (decisive["reason"].as_str().expect("a word"), decisive["rule"].clone(), steps.len());
        assert_eq!(found, expected, "{name}: {story:#}");
        let text = told(&journal.engine, &["journal", "replay", "--authorization", id]);
        assert!(text.contains("equal to the byte") && text.contains("known just before"), "{text}");
    }
    let story = json_of(&journal.engine, &["journal", "replay", "--authorization", journal.id("decline"), "--json"]);
    let decided = &story["steps"][1];
    assert!(decided["partner"]["body"].as_str().expect("bytes").contains("insufficient_funds"));
    // The pool had its hold from the first step: 1000.00 less the approval's 12.50 and its own 7.00.
    assert_eq!(decided["known"]["pool"]["available"]["value"], "980.50");
    assert_eq!(decided["known"]["pool"]["held"]["value"], "19.50");
    assert_eq!(story["steps"][0]["known"]["pool"]["available"]["value"], "987.50");
    assert_eq!(story["steps"][0]["request"]["fields"]["2"]["raw"], Value::Null, "masked");
}

fn explains(journal: &Journal) {
    for (name, id) in &journal.ids {
        let page = told(&journal.engine, &["explain", id]);
        assert!(page.starts_with(id.as_str()) && page.contains("What happened"), "{page}");
        let expected: &[&str] = match *name {
            "approval" => &["a purchase of 12.50 EUR, approved", "CORNER STORE 42", "held now    12.50 EUR"],
            "decline" => &["declined (partner_declined)", "14: the partner's answer", "insufficient_funds"],
            "late" => &["partner_timeout", "ms too late", "at risk: 42.00 EUR", "it moves nothing"],
            "timeout" => &["partner_timeout", "timeout after"],
            "reversed" => &["reversed", "a reversal", "held now    0.00 EUR"],
            _ => &["comes out the same, to the byte"],
        };
        for words in expected {
            assert!(page.contains(words), "{name}: {words:?} in\n{page}");
        }
        let story = json_of(&journal.engine, &["explain", id, "--json"]);
        assert_eq!(story["authorization"]["id"], id.as_str());
    }
}

fn exports(journal: &Journal) {
    let all = told(&journal.engine, &["journal", "export"]);
    let events: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = journal.state["last_sequence"].as_u64().expect("a number") + 1;
    assert_eq!(events.len() as u64, last, "every event up to the stop");
    for (event, sequence) in events.iter().zip(1u64..) {
        assert_eq!(event["sequence"], sequence);
        let sums = event["postings"].as_array().expect("lines");
        let sum = |side: &str| -> f64 {
            sums.iter().map(|line| line[side].as_str().expect("text").parse::<f64>().expect("a number")).sum()
        };
        assert!((sum("debit") - sum("credit")).abs() < 1e-6, "{event}");
    }
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).expect(kind);
    assert!(of("card_created")["data"]["pan"]["sealed"].as_u64().is_some_and(|bytes| bytes > 16));
    assert!(of("tap_taken")["data"]["request"]["sealed"].as_u64().is_some_and(|bytes| bytes > 100));
    assert!(of("partner_created")["data"]["secret"]["sealed"].is_u64());
    assert_eq!(of("answered_too_late")["data"]["authorization_id"], journal.id("late"));
    assert!(!all.contains(&journal.world.secret) && !all.contains("whsec_"), "no secret");
    assert!(!all.contains(&journal.world.key) && !all.contains(&journal.engine.operator()), "no key");
    assert!(!all.contains("4111111111111111") && all.contains("41111111****1111"), "a number in a reference");
    let some = told(&journal.engine, &["journal", "export", "--from", "5", "--to", "7"]);
    assert_eq!(some.lines().collect::<Vec<_>>(), all.lines().skip(4).take(3).collect::<Vec<_>>());
}

fn balances(journal: &Journal) {
    let engine = &journal.engine;
    let live = journal.state["last_sequence"].to_string();
    let then = json_of(engine, &["journal", "replay", "--to", &live, "--json"]);
    assert_eq!(then["state_hash"], journal.state["state_hash"], "the hash of the live book");
    let pool = |state: &Value| {
        let pools = state["pools"].as_array().expect("pools");
        pools.iter().find(|pool| pool["id"] == journal.world.pool.as_str()).expect("the pool").clone()
    };
    let past = json_of(engine, &["journal", "replay", "--at", &journal.between, "--json"]);
    assert_eq!(pool(&past)["available"]["value"], "987.50");
    assert_eq!(pool(&past)["held"]["value"], "12.50");
    let (by_rest, account) = &journal.balances;
    assert_eq!(by_rest["available"], pool(&past)["available"], "REST and CLI agree: {by_rest}");
    assert_eq!((&by_rest["held"], &by_rest["posted"]), (&pool(&past)["held"], &pool(&past)["posted"]));
    assert_eq!((account["posted"]["value"].as_str(), &account["sequence"]), (Some("0.00"), &Value::Null));
    let text = told(engine, &["journal", "replay", "--pool", &journal.world.pool]);
    assert!(text.contains("state_hash") && text.contains(&journal.world.pool) && text.contains("bank"), "{text}");
    assert_eq!(cli(engine, &["journal", "replay", "--to", "99999"]).code(), Some(1));
    assert_eq!(cli(engine, &["journal", "replay", "--at", "yesterday"]).code(), Some(2));
    let verified = json_of(engine, &["journal", "verify", "--json"]);
    let end = json_of(engine, &["journal", "replay", "--json"]);
    assert_eq!(verified["state_hash"], end["state_hash"]);
}

fn late_approvals(journal: &Journal) {
    let listed = json_of(&journal.engine, &["journal", "late-approvals", "--json"]);
    let data = listed["data"].as_array().expect("a list");
    assert_eq!(data.len(), 1, "{listed:#}");
    assert_eq!(data[0]["authorization_id"], journal.id("late"));
    assert_eq!((&data[0]["at_risk"]["value"], &data[0]["approved"]["value"]), (&json!("42.00"), &json!("42.00")));
    assert_eq!(listed["totals"][0]["partner_id"], journal.world.partner.as_str());
    assert_eq!(listed["totals"][0]["at_risk"]["value"], "42.00");
    let text = told(&journal.engine, &["journal", "late-approvals"]);
    assert!(text.contains(journal.id("late")) && text.contains("42.00 EUR"), "{text}");
}

fn inspects(journal: &Journal) {
    let engine = &journal.engine;
    let text = told(engine, &["journal", "inspect"]);
    assert!(text.contains("1 segment, ") && text.contains("open"), "{text}");
    assert!(told(engine, &["journal", "inspect", "--segment", "1"]).lines().count() > 10);
    assert_eq!(cli(engine, &["journal", "inspect", "--segment", "9"]).code(), Some(1));
    let lines = told(engine, &["journal", "inspect", "--from", "3", "--to", "9"]);
    assert_eq!(lines.lines().count(), 7, "{lines}");
    let of = told(engine, &["journal", "inspect", "--authorization", journal.id("late")]);
    let kinds: Vec<&str> = of.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(kinds, ["tap_taken", "tap_decided", "answered_too_late"], "{of}");
    assert!(of.contains("Dr pool.available") && of.contains("Cr pool.held"), "{of}");
}

#[test]
fn historical_balances_and_late_approvals_are_the_partners_own() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let other = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    world.terms(json!({"decision_timeout_ms": 150}));
    world.rules(&["late 50ms"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 1250))), "91");
    let late = until("the late approval", || engine.list("/v1/late-approvals").into_iter().next());
    assert_eq!(late["partner_id"], world.partner.as_str());
    assert!(late["late_by_us"].as_u64().is_some_and(|us| us > 0), "{late}");
    let get = |path: &str, key: &str| engine.call("GET", path, Some(key), None);
    assert_eq!(get("/v1/late-approvals", &world.key).body["data"][0], late);
    assert_eq!(get("/v1/late-approvals", &other.key).body["data"], json!([]));
    let after = late["answered_at"].as_str().expect("a time");
    assert_eq!(get(&format!("/v1/late-approvals?to={after}"), &world.key).body["data"], json!([]));
    assert_eq!(get(&format!("/v1/late-approvals?from={after}"), &world.key).body["data"][0], late);
    let path = format!("/v1/pools/{}/balance", world.pool);
    let now = get(&format!("{path}?at={after}"), &world.key).ok("a balance");
    assert_eq!((&now["available"]["value"], &now["held"]["value"]), (&json!("1000.00"), &json!("0.00")), "{now}");
    let before = get(&format!("{path}?at=2020-01-01T00:00:00Z"), &world.key).ok("a balance");
    assert_eq!((&before["posted"]["value"], &before["sequence"]), (&json!("0.00"), &Value::Null));
    get(&format!("{path}?at={after}"), &other.key).refused(404, "not_found");
    get(&format!("{path}?at=2999-01-01T00:00:00Z"), &world.key).refused(400, "invalid_parameter");
    get(&path, &world.key).refused(400, "invalid_parameter");
    get(&format!("{path}?at=noon"), &world.key).refused(400, "invalid_parameter");
}

/// Flips a byte in the file at an offset.
fn bend(file: &Path, offset: u64) {
    let mut bytes = std::fs::read(file).expect("a segment");
    bytes[usize::try_from(offset).expect("small")] ^= 0x40;
    std::fs::write(file, bytes).expect("a segment");
}

#[test]
fn a_cut_lets_a_damaged_journal_open_again() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), engine.wire());
    let tap = purchase(&card, 1250);
    assert_eq!(code(&wire.ask(&tap)), "00");
    let kept = engine.get("/v1/system/state");
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    assert_eq!(code(&wire.ask(&purchase(&card, 200))), "00");
    assert_eq!(engine.stop().code(), Some(0));
    let at = kept["last_sequence"].to_string();

    // Damage right behind the event that is to stay.
    let segment = engine.data().join("journal/0000000001.segment");
    let blocks = told(&engine, &["journal", "inspect", "--segment", "1"]);
    let begins = |line: &&str| {
        line.split_whitespace().nth(2) == Some(&(kept["last_sequence"].as_u64().unwrap_or(0) + 1).to_string())
    };
    let line = blocks.lines().find(begins).unwrap_or_else(|| panic!("the block behind {at} in\n{blocks}"));
    let offset: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("an offset");
    bend(&segment, offset + 100);
    assert_eq!(engine.refused().code(), Some(3));
    let damaged = cli(&engine, &["journal", "inspect"]);
    assert_eq!(damaged.code(), Some(1));
    assert!(damaged.stdout.contains(&format!("last event {at}")), "{}", damaged.stdout);

    let told_first = cli(&engine, &["journal", "cut", "--at", &at]);
    assert_eq!(told_first.code(), Some(2));
    assert!(told_first.stdout.contains("lost:") && told_first.error().contains("--yes"), "{}", told_first.stdout);
    assert_eq!(engine.refused().code(), Some(3), "nothing was changed");
    let beyond = (kept["last_sequence"].as_u64().expect("a number") + 1).to_string();
    assert_eq!(cli(&engine, &["journal", "cut", "--at", &beyond, "--yes"]).code(), Some(1));

    let done = told(&engine, &["journal", "cut", "--at", &at, "--yes"]);
    assert!(done.contains("the journal holds"), "{done}");
    let backups: Vec<_> = std::fs::read_dir(engine.data())
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "bak"))
        .collect();
    assert_eq!(backups.len(), 1);
    assert!(backups[0].join("0000000001.segment").exists());
    let verified = json_of(&engine, &["journal", "verify", "--json"]);
    assert_eq!(verified["last_sequence"].as_u64(), kept["last_sequence"].as_u64().map(|seq| seq + 1));

    engine.run();
    world.pool_has("987.50", "12.50");
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&tap)), "00", "a repeat is known");
    world.pool_has("987.50", "12.50");
    assert_eq!(code(&wire.ask(&purchase(&card, 300))), "00");
    world.pool_has("984.50", "15.50");
    let newest = world.newest(&card)["id"].as_str().expect("an id").to_owned();
    assert_eq!(engine.stop().code(), Some(0));

    // Again, within the block this time if it has more than one event, and without damage.
    let twice = told(&engine, &["journal", "cut", "--at", "9", "--yes", "--backup", "twice.bak"]);
    assert!(twice.contains("the journal holds"), "{twice}");
    std::fs::remove_dir_all("twice.bak").expect("the copy");
    assert_eq!(cli(&engine, &["explain", &newest]).code(), Some(1), "cut with the rest");
    let epochs = json_of(&engine, &["journal", "replay", "--json"]);
    assert!(epochs["epoch"].as_u64() > verified["epoch"].as_u64(), "{epochs}");
    engine.run();
    assert!(engine.call("GET", "/healthz", None, None).status == 200);
}

#[test]
fn what_comes_out_otherwise_is_told_and_ends_with_1() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    engine.put("/v1/rates/EUR-USDC", &json!({"rate": "1.1", "markup_bps": 100}));
    let coins = world.new_pool("USDC", "100.000000");
    let funding = json!({"type": "pool", "pool_id": coins, "account_currency": "EUR"});
    let (card, mut wire) = (world.card(funding), engine.wire());
    assert_eq!(code(&wire.ask(&purchase(&card, 1000))), "00");
    let id = world.newest(&card)["id"].as_str().expect("an id").to_owned();
    assert_eq!(engine.stop().code(), Some(0));
    told(&engine, &["journal", "replay", "--authorization", &id]);
    // Limits of positions are the configuration's: under others the tap would have been declined.
    engine.configure(Setup { sections: "[fx]\nmax_position = { USDC = \"1\" }\n".to_owned(), ..Setup::default() });
    let other = cli(&engine, &["journal", "replay", "--authorization", &id]);
    assert_eq!(other.code(), Some(1), "{}", other.stdout);
    assert!(other.stdout.contains("NOT EQUAL") && other.stdout.contains("rule 11"), "{}", other.stdout);
    let all = cli(&engine, &["journal", "replay", "--decisions"]);
    assert_eq!(all.code(), Some(1));
    assert!(all.stdout.contains("1 came out otherwise") && all.stdout.contains("fx_limit"), "{}", all.stdout);
    assert!(told(&engine, &["explain", &id]).contains("something comes out otherwise"));
    // Without its master key nothing sealed opens; what is not sealed is still told.
    let key = engine.data().join("master.key");
    std::fs::rename(&key, key.with_extension("away")).expect("renamed");
    assert_eq!(cli(&engine, &["explain", &id]).code(), Some(3));
    assert!(told(&engine, &["journal", "inspect", "--authorization", &id]).contains("tap_taken"));
    assert!(told(&engine, &["journal", "export"]).contains(&id));
    std::fs::rename(key.with_extension("away"), &key).expect("renamed");
    engine.configure(Setup::default());
    engine.write_config(&engine.data());
}

#[test]
fn a_cut_minds_the_archive_and_the_snapshots() {
    let engine = Engine::prepare(Setup::default());
    let archive = engine.data().with_file_name("archive");
    let journal = format!(
        "[journal]\nsegment = \"1MiB\"\nmax_batch = \"256KiB\"\nrecovery_time = \"0s\"\narchive_dir = {archive:?}\n"
    );
    engine.configure(Setup { sections: journal, ..Setup::default() });
    engine.run();
    let world = World::on(&engine);
    let (card, account) = world.account_card("900000.00");
    let mut wire = engine.wire();
    let files = |kind: &str, dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.filter_map(|name| name.into_string().ok()).collect();
        names.retain(|name| name.ends_with(kind));
        names.sort();
        names
    };
    let dir = engine.data().join("journal");
    until("two snapshots and an archived segment", || {
        for _ in 0..50 {
            wire.ask_bytes(&purchase(&card, 10));
        }
        (files(".snapshot", &dir).len() == 2 && !files(".zst", &archive).is_empty()).then_some(())
    });
    assert_eq!(engine.stop().code(), Some(0));
    let refused = cli(&engine, &["journal", "cut", "--at", "5", "--yes"]);
    assert_eq!(refused.code(), Some(3));
    assert!(refused.error().contains("archive"), "{}", refused.stderr);
    assert!(
        told(&engine, &["journal", "inspect", "--from", "1", "--to", "1"]).contains("started"),
        "out of the archive"
    );
    // Within the newest segment of which there is a snapshot.
    let newest = files(".snapshot", &dir).pop().expect("a snapshot");
    let number: u64 = newest.trim_end_matches(".snapshot").parse().expect("a number");
    let table = told(&engine, &["journal", "inspect"]);
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = words.iter().find(|row| row.first() == Some(&number.to_string().as_str())).expect("its row");
    let at = row[1].parse::<u64>().expect("its first event") + 10;
    let then = json_of(&engine, &["journal", "replay", "--to", &at.to_string(), "--json"]);
    let done = told(&engine, &["journal", "cut", "--at", &at.to_string(), "--yes"]);
    assert!(done.contains("the journal holds"), "{done}");
    assert!(!dir.join(&newest).exists(), "it knew more than the journal");
    engine.run();
    assert!(engine.stderr().contains("begins with a snapshot"), "{}", engine.stderr());
    let balance = then["accounts"].as_array().expect("accounts").iter().find(|a| a["id"] == account.as_str());
    assert_eq!(engine.get(&format!("/v1/accounts/{account}"))["available"], balance.expect("the account")["available"]);
    let mut wire = engine.wire();
    assert_eq!(code(&wire.ask(&purchase(&card, 10))), "00");
}
