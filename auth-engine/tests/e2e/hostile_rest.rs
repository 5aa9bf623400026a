//! `hostile.md`, REST: keys, bodies, repeats. Whatever is refused is a problem document and changes nothing.

use std::thread;

use serde_json::{Value, json};

use super::support::rest::Call;
use super::support::world::word;
use super::support::{Engine, Setup, World, money};

#[test]
fn h23_no_key_a_wrong_one_and_somebody_elses() {
    let (ours, theirs) = (World::shared(), World::shared());
    let engine = &ours.engine;
    let card = theirs.pool_card();
    let (_, account) = theirs.account_card("1.00");
    let foreign = [
        format!("/v1/users/{}", theirs.user),
        format!("/v1/users/{}/kyc", theirs.user),
        format!("/v1/users/{}/accounts", theirs.user),
        format!("/v1/pools/{}", theirs.pool),
        format!("/v1/pools/{}/statement", theirs.pool),
        format!("/v1/accounts/{account}"),
        format!("/v1/accounts/{account}/statement"),
        format!("/v1/cards/{}", card.id),
    ];
    for path in &foreign {
        assert_eq!(engine.call("GET", path, Some(&theirs.key), None).status, 200, "{path}");
        let other = engine.call("GET", path, Some(&ours.key), None);
        assert_eq!(other.status, 404, "{path}");
        // Nothing tells it from what was never there.
        let (head, _) = path.split_at(8);
        assert!(!other.text.contains(&theirs.partner) && other.body["code"].is_string(), "{head}");
        for key in [None, Some(""), Some("wrong"), Some(theirs.secret.as_str())] {
            let answer = engine.call("GET", path, key, None);
            assert_eq!(answer.status, 401, "{path}");
            answer.problem();
        }
        assert_eq!(engine.call("GET", &path.replace('_', "_0"), None, None).status, 401, "first the key");
    }
    let own = engine.call("GET", "/v1/pools", Some(&ours.key), None);
    assert!(own.text.contains(&ours.pool) && !own.text.contains(&theirs.pool));
    let body = json!({"user_id": theirs.user, "funding": {"type": "pool", "pool_id": ours.pool}});
    assert_eq!(ours.as_partner("/v1/cards", &body).status, 404);
    let body = json!({"user_id": ours.user, "funding": {"type": "pool", "pool_id": theirs.pool}});
    assert_eq!(ours.as_partner("/v1/cards", &body).status, 404);
    // Calls of operators.
    for (method, path) in [
        ("GET", "/v1/partners".to_owned()),
        ("GET", format!("/v1/partners/{}", ours.partner)),
        ("POST", "/v1/partners".to_owned()),
        ("POST", "/v1/pay-ins".to_owned()),
        ("PUT", "/v1/rates/USD-EUR".to_owned()),
        ("GET", "/v1/system/state".to_owned()),
    ] {
        let body = (method != "GET").then(|| json!({}));
        let answer = engine.call(method, &path, Some(&ours.key), body.as_ref());
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
        answer.problem();
    }
    // A key that was revoked a moment ago.
    let made = engine.post(&format!("/v1/partners/{}/keys", ours.partner), &json!({"name": "second"}));
    let (id, key) = (word(&made, "id"), word(&made, "key"));
    assert_eq!(engine.call("GET", "/v1/pools", Some(&key), None).status, 200);
    let path = format!("/v1/partners/{}/keys/{id}", ours.partner);
    assert_eq!(engine.call("DELETE", &path, Some(&engine.operator()), None).status, 204);
    assert_eq!(engine.call("GET", "/v1/pools", Some(&key), None).status, 401);
}

#[test]
fn h24_bodies_that_are_no_bodies() {
    let world = World::shared();
    let engine = &world.engine;
    let path = format!("/v1/pools/{}/withdrawals", world.pool);
    let send = |body: Vec<u8>| {
        engine.send(Call { method: "POST", path: &path, key: Some(&world.key), idempotency: None, body: Some(body) })
    };
    let amount = |value: &str| format!("{{\"amount\":{{\"value\":{value},\"currency\":\"EUR\"}},\"reference\":\"r\"}}");
    let deep = "[".repeat(50_000);
    let bad: Vec<Vec<u8>> = [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        deep,
        format!("{{\"amount\":{}1{}}}", "[".repeat(2000), "]".repeat(2000)),
        amount("12.34"),
        amount("NaN"),
        amount("1e400"),
        amount("\"1e2\""),
        amount("\"12.345\""),
        amount("\"-1.00\""),
        amount("\"+1.00\""),
        amount("\" 1.00\""),
        amount("\"0.00\""),
        amount("\"\""),
        amount("\".5\""),
        amount("\"1,00\""),
        amount("\"١.00\""),
        amount("null"),
        amount("[\"1.00\"]"),
        amount("\"1.00\"").replace("EUR", "eur"),
        amount("\"1.00\"").replace("EUR", "EURO"),
        amount("\"1.00\"").replace("\"reference\":\"r\"", "\"reference\":7"),
        amount("\"1.00\"").replace("\"reference\":\"r\"", "\"reference\":\"r\",\"reference\":\"s\""),
        amount("\"1.00\"").replace("\"value\"", "\"value\":\"2.00\",\"value\""),
        "{\"amount\":{\"value\":\"1.00\",\"currency\":\"EUR\"}}".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([vec![0xFF, 0xFE, b'{', b'}']])
    .collect();
    for body in bad {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let answer = send(body);
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text);
        answer.problem();
    }
    let pointed = send(amount("\"12.345\"").into_bytes());
    assert_eq!(
        pointed.body["errors"][0]["pointer"].as_str().map(|p| p.starts_with("/amount")),
        Some(true),
        "{}",
        pointed.text
    );
    let unknown = send(amount("\"1.00\"").replace("\"reference\"", "\"refrence\":\"x\",\"reference\"").into_bytes());
    unknown.refused(400, "unknown_field");
    let other = send(amount("\"1.00\"").replace("EUR", "USD").into_bytes());
    other.refused(409, "currency_mismatch");
    let call = Call {
        method: "POST",
        path: &path,
        key: Some(&world.key),
        idempotency: None,
        body: Some(vec![b' '; 10 << 20]),
    };
    // The engine may close on a body it will not read; either way nothing happened.
    if let Ok(answer) = engine.try_send(&call) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    world.pool_has("1000.00", "0.00");
    assert_eq!(send(amount("\"1.00\"").into_bytes()).status, 201);
    world.pool_has("999.00", "0.00");
    for (method, path, status) in
        [("GET", "/v1/nothing", 404), ("DELETE", "/v1/pools", 405), ("GET", "/v1/pools/pol_x", 404)]
    {
        let answer = engine.call(method, path, Some(&world.key), None);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        answer.problem();
    }
    for query in ["limit=0", "limit=201", "limit=x", "cursor=???"] {
        assert_eq!(engine.call("GET", &format!("/v1/pools?{query}"), Some(&world.key), None).status, 400, "{query}");
    }
}

#[test]
fn h25_the_same_idempotency_key() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let path = format!("/v1/pools/{}/withdrawals", world.pool);
    let body = |value: &str| json!({"amount": money(value, "EUR"), "reference": "r"});
    let once = |key: &str, body: &Value| engine.call_once(&path, &world.key, key, body);
    let first = once("k1", &body("10.00"));
    assert_eq!(first.status, 201, "{}", first.text);
    let again = once("k1", &body("10.00"));
    assert_eq!((again.status, &again.text), (201, &first.text));
    once("k1", &body("11.00")).refused(422, "idempotency_mismatch");
    world.pool_has("990.00", "0.00");
    // A refusal is an answer too.
    let refused = once("k2", &body("5000.00"));
    refused.refused(409, "insufficient_funds");
    world.top_up(&world.pool, "9000.00", "EUR");
    assert_eq!(once("k2", &body("5000.00")).text, refused.text);
    world.pool_has("9990.00", "0.00");
    // At once: one does it, the others wait for its answer or are told to.
    let answers: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| once("k3", &body("90.00")))).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!done.is_empty() && done.iter().all(|answer| answer.text == done[0].text));
    answers.iter().filter(|answer| answer.status != 201).for_each(|answer| answer.refused(409, "in_progress"));
    world.pool_has("9900.00", "0.00");
    // After a crash, secrets included.
    let keys = format!("/v1/partners/{}/keys", world.partner);
    let key = engine.call_once(&keys, &engine.operator(), "k4", &json!({"name": "x"}));
    assert_eq!(key.status, 201);
    let journal = journal_bytes(&engine);
    let shown = word(&key.body, "key");
    assert!(!contains(&journal, shown.as_bytes()), "a stored answer with a secret is sealed");
    assert!(!contains(&journal, world.secret.as_bytes()));
    engine.kill();
    engine.run();
    assert_eq!(engine.call_once(&path, &world.key, "k1", &body("10.00")).text, first.text);
    assert_eq!(engine.call_once(&path, &world.key, "k2", &body("5000.00")).text, refused.text);
    assert_eq!(engine.call_once(&keys, &engine.operator(), "k4", &json!({"name": "x"})).text, key.text);
    world.pool_has("9900.00", "0.00");
    // The key is the caller's own.
    let other = World::on(&engine);
    let path = format!("/v1/pools/{}/withdrawals", other.pool);
    assert_eq!(engine.call_once(&path, &other.key, "k1", &body("10.00")).status, 201);
}

#[test]
fn h25_a_crash_between_write_and_answer() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let path = format!("/v1/pools/{}/withdrawals", world.pool);
    let body = json!({"amount": money("1.00", "EUR"), "reference": "r"}).to_string().into_bytes();
    let attempt = |number: usize| {
        let key = format!("crash-{number}");
        let call = Call {
            method: "POST",
            path: &path,
            key: Some(&world.key),
            idempotency: Some(&key),
            body: Some(body.clone()),
        };
        engine.try_send(&call)
    };
    // Somewhere in this row the process dies; what was not answered is sent again with its key.
    let answered = thread::scope(|scope| {
        let calls =
            scope.spawn(|| (0..500).take_while(|number| attempt(*number).is_ok_and(|a| a.status == 201)).count());
        super::support::until("some withdrawals", || {
            let available = world.engine.call("GET", &format!("/v1/pools/{}", world.pool), Some(&world.key), None);
            let available = available.body["available"]["value"].as_str().and_then(|value| value.parse::<f64>().ok());
            available.is_some_and(|available| available < 970.0).then_some(())
        });
        engine.kill_only();
        calls.join().expect("counted")
    });
    engine.ended();
    engine.run();
    for number in 0..=answered {
        assert_eq!(attempt(number).expect("an answer").status, 201);
    }
    world.pool_has(&format!("{}.00", 1000 - answered - 1), "0.00");
}

fn journal_bytes(engine: &Engine) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(engine.data().join("journal")).expect("the journal's directory") {
        all.extend(std::fs::read(entry.expect("an entry").path()).expect("a segment"));
    }
    all
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn no_card_number_stands_in_clear_in_the_data_directory() {
    let engine = Engine::start(Setup::default());
    let world = World::on(&engine);
    let (card, mut wire) = (world.pool_card(), world.wire());
    let mut tap = super::support::purchase(&card, 1250);
    tap.set_text(35, format!("{}={}2010000", card.pan, card.expiry));
    assert_eq!(super::support::code(&wire.ask(&tap)), "00");
    let answer = world.as_partner("/v1/sandbox/taps", &json!({"card_id": card.id, "amount": money("1.00", "EUR")}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let ebcdic: Vec<u8> = card.pan.bytes().map(|digit| digit - b'0' + 0xF0).collect();
    let hex: String = ebcdic.iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(!answer.text.to_uppercase().contains(&hex), "the sandbox shows it masked");
    // The view is read after a stop, when all of it is on disk.
    engine.list(&format!("/v1/authorizations?card_id={}", card.id));
    engine.stop();
    let mut folders = vec![engine.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            assert!(!contains(&bytes, card.pan.as_bytes()) && !contains(&bytes, &ebcdic), "{}", path.display());
        }
    }
}
