//! The sidecar's calls by HTTP: what each resource does, what it refuses, and that it says so in one way.

mod rest_support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iso_codec::{Builder, Mti, Spec};
use rest_support::{Bench, Setup, link};
use serde_json::{Value, json};

const ANY: &str = "0000000000000000";

#[test]
fn the_whole_menu_by_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let op = bench.operator.clone();
    let (partner, key) = bench.partner("Acme");
    let made = bench.get(&format!("/v1/partners/{partner}"), &op).json();
    assert_eq!(made["services"].as_array().map(Vec::len), Some(5), "{made}");
    assert!(made.get("webhook_secret").is_none());
    let user = bench.user(&key, "alice");
    let kyc = bench.get(&format!("/v1/users/{user}/kyc"), &key).json();
    assert_eq!(kyc["status"], "approved");
    assert_eq!(kyc["history"].as_array().map(Vec::len), Some(3));
    let back = bench.post(&format!("/v1/users/{user}/kyc"), &op, json!({"status": "in_review"}));
    assert_eq!((back.status, back.code().as_str()), (409, "invalid_state"));

    // Pool, prefund, withdrawal.
    let pool = bench.post(
        "/v1/pools",
        &key,
        json!({"currency": "EUR", "minimum_balance": {"value": "100.00", "currency": "EUR"}}),
    );
    assert_eq!(pool.status, 201, "{pool:?}");
    let pool = pool.text("id");
    let top_up = bench.post(
        &format!("/v1/pools/{pool}/top-ups"),
        &key,
        json!({"amount": {"value": "500", "currency": "EUR"}, "reference": "wire 1"}),
    );
    assert_eq!((top_up.status, top_up.text("status").as_str()), (201, "pending"));
    let top_up = top_up.text("id");
    assert_eq!(bench.post(&format!("/v1/top-ups/{top_up}/settle"), &key, json!({})).code(), "forbidden");
    let settled = bench.call("POST", &format!("/v1/top-ups/{top_up}/settle"), Some(&op), &[], b"");
    assert_eq!((settled.status, settled.text("status").as_str()), (200, "settled"));
    assert_eq!(bench.post(&format!("/v1/top-ups/{top_up}/fail"), &op, json!({})).code(), "invalid_state");
    let shown = bench.get(&format!("/v1/pools/{pool}"), &key).json();
    assert_eq!(shown["available"], json!({"value": "500.00", "currency": "EUR"}));
    assert_eq!(shown["below_minimum"], false);
    let path = format!("/v1/pools/{pool}/withdrawals");
    let body = |value: &str| json!({"amount": {"value": value, "currency": "EUR"}, "reference": "back"});
    assert_eq!(bench.post(&path, &key, body("400.01")).code(), "below_minimum_balance");
    let withdrawn = bench.post(&path, &key, body("400"));
    assert_eq!(withdrawn.status, 201, "{withdrawn:?}");
    let read = bench.get(&format!("/v1/withdrawals/{}", withdrawn.text("id")), &key);
    assert_eq!(read.json(), withdrawn.json());
    let listed = bench.get(&path, &key).json();
    assert_eq!(listed["data"][0]["id"], withdrawn.json()["id"]);

    // Accounts, pay-in, payout.
    let opened = bench.post(&format!("/v1/users/{user}/accounts"), &key, json!({"currency": "EUR"}));
    assert_eq!(opened.status, 201);
    let again = bench.post(&format!("/v1/users/{user}/accounts"), &key, json!({"currency": "EUR"}));
    assert_eq!((again.status, again.text("id")), (200, opened.text("id")));
    let account = opened.text("id");
    let pay_in = json!({"account_id": account, "amount": {"value": "50.00", "currency": "EUR"}, "reference": "salary"});
    assert_eq!(bench.post("/v1/pay-ins", &op, pay_in).status, 201);
    let shown = bench.get(&format!("/v1/accounts/{account}"), &key).json();
    assert_eq!(shown["available"], json!({"value": "50.00", "currency": "EUR"}));
    let payout = |value: &str, currency: &str| {
        let amount = json!({"value": value, "currency": currency});
        json!({"account_id": account, "amount": amount, "beneficiary": "DE02 1203", "reference": "rent"})
    };
    assert_eq!(bench.post("/v1/payouts", &key, payout("50.01", "EUR")).code(), "insufficient_funds");
    assert_eq!(bench.post("/v1/payouts", &key, payout("1.00", "USD")).code(), "currency_mismatch");
    let sent = bench.post("/v1/payouts", &key, payout("20", "EUR"));
    assert_eq!(sent.status, 201, "{sent:?}");
    let back = bench.post(&format!("/v1/payouts/{}/fail", sent.text("id")), &op, json!({}));
    assert_eq!((back.status, back.text("status").as_str()), (200, "failed"));
    let shown = bench.get(&format!("/v1/accounts/{account}"), &key).json();
    assert_eq!(shown["posted"], json!({"value": "50.00", "currency": "EUR"}));
    let statement = bench.get(&format!("/v1/accounts/{account}/statement"), &key).json();
    assert_eq!(statement["closing"], json!({"value": "50.00", "currency": "EUR"}), "{statement}");

    // Crypto, quote, off-ramp.
    let deposit = json!({"user_id": user, "amount": {"value": "10.000000", "currency": "USDC"}, "reference": "0xabc"});
    assert_eq!(bench.post("/v1/crypto-deposits", &op, deposit).status, 201);
    let quote = json!({"user_id": user, "from": {"value": "10", "currency": "USDC"}, "to": "EUR"});
    assert_eq!(bench.post("/v1/quotes", &key, quote.clone()).code(), "rate_missing");
    let rate = bench.put("/v1/rates/USDC-EUR", &op, json!({"rate": "0.9", "markup_bps": 100}));
    assert_eq!((rate.status, rate.text("rate").as_str()), (200, "0.9"));
    assert_eq!(bench.get("/v1/rates", &op).json()["data"][0]["from"], "USDC");
    let quoted = bench.post("/v1/quotes", &key, quote);
    assert_eq!((quoted.status, &quoted.json()["to"]), (201, &json!({"value": "8.91", "currency": "EUR"})));
    let ramp = json!({"quote_id": quoted.text("id")});
    let done = bench.post("/v1/off-ramps", &key, ramp.clone());
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(bench.post("/v1/off-ramps", &key, ramp).code(), "quote_used");
    assert_eq!(bench.get(&format!("/v1/off-ramps/{}", done.text("id")), &key).json(), done.json());
    let shown = bench.get(&format!("/v1/accounts/{account}"), &key).json();
    assert_eq!(shown["available"]["value"], "58.91");

    // Cards.
    let card = bench.post("/v1/cards", &key, json!({"user_id": user, "funding": {"type": "pool", "pool_id": pool}}));
    assert_eq!((card.status, card.text("status").as_str()), (201, "active"));
    let pan = card.text("pan");
    assert!(pan.starts_with("53511012") && pan.len() == 16 && pan.ends_with(&card.text("last4")), "{pan}");
    let read = bench.get(&format!("/v1/cards/{}", card.text("id")), &key);
    assert!(read.json().get("pan").is_none() && !read.body.contains(&pan));
    let frozen = bench.patch(&format!("/v1/cards/{}", card.text("id")), &key, json!({"status": "frozen"}));
    assert_eq!(frozen.text("status"), "frozen");
    let twice = json!({"user_id": user, "funding": {"type": "account", "currency": "EUR"}, "pan": pan});
    assert_eq!(bench.post("/v1/cards", &key, twice).code(), "duplicate_pan");
    let dated = json!({"user_id": user, "funding": {"type": "account", "currency": "EUR"}, "expires": "2031-07"});
    assert_eq!(bench.post("/v1/cards", &key, dated).text("expires"), "2031-07");
    assert_eq!(bench.get("/v1/cards", &key).json()["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(bench.get("/v1/authorizations", &key).json(), json!({"data": [], "next_cursor": null}));
    assert_eq!(bench.get(&format!("/v1/authorizations/aut_{ANY}"), &key).code(), "not_found");
    bench.stop();
}

#[test]
fn a_patch_leaves_what_it_does_not_name_and_removes_by_null() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let op = bench.operator.clone();
    let body = json!({
        "name": "Acme", "decision_url": "http://127.0.0.1:1/decide", "decision_timeout_ms": 250, "services": ["cards"],
        "response_codes": {"partner_timeout": "05"},
    });
    let made = bench.post("/v1/partners", &op, body);
    assert_eq!(made.status, 201, "{made:?}");
    assert!(made.text("webhook_secret").starts_with("whsec_"));
    let path = format!("/v1/partners/{}", made.text("id"));
    let same = bench.patch(&path, &op, json!({"name": "Acme 2"})).json();
    assert_eq!((&same["name"], &same["decision_timeout_ms"]), (&json!("Acme 2"), &json!(250)));
    assert_eq!(same["response_codes"], json!({"partner_timeout": "05"}));
    let change =
        json!({"decision_url": null, "decision_timeout_ms": null, "response_codes": {"partner_timeout": null}});
    let gone = bench.patch(&path, &op, change).json();
    assert_eq!((&gone["decision_url"], &gone["decision_timeout_ms"]), (&Value::Null, &Value::Null));
    assert_eq!(gone["response_codes"], json!({}));
    assert_eq!(gone["services"], json!(["cards"]));
    let refused = bench.patch(&path, &op, json!({"name": null}));
    assert_eq!((refused.status, refused.pointers()), (400, vec!["/name".to_owned()]));
    let rotated = bench.post(&format!("{path}/webhook-secret/rotate"), &op, json!({}));
    assert_eq!(rotated.status, 200);
    assert_ne!(rotated.text("webhook_secret"), made.text("webhook_secret"));
    bench.stop();
}

#[test]
fn outside_the_sandbox_no_number_leaves_and_no_private_address_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start_with(dir.path(), Setup { sandbox: false, links: Vec::new() });
    let op = bench.operator.clone();
    for url in [
        "http://partner.example/decide",
        "https://127.0.0.1/decide",
        "https://[::1]/",
        "https://10.0.0.1/x",
        "ftp://a/b",
    ] {
        let refused = bench.post("/v1/partners", &op, json!({"name": "Acme", "decision_url": url}));
        assert_eq!((refused.status, refused.pointers()), (400, vec!["/decision_url".to_owned()]), "{url}");
    }
    let (_, key) = bench.partner("Acme");
    let user = bench.user(&key, "alice");
    let card =
        bench.post("/v1/cards", &key, json!({"user_id": user, "funding": {"type": "account", "currency": "EUR"}}));
    assert_eq!(card.status, 201, "{card:?}");
    assert!(card.json().get("pan").is_none());
    let tap = json!({"card_id": card.text("id"), "amount": {"value": "1.00", "currency": "EUR"}});
    assert_eq!(bench.post("/v1/sandbox/taps", &key, tap).code(), "not_found");
    assert_eq!(bench.call("GET", "/metrics", None, &[], b"").code(), "unauthorized");
    assert_eq!(bench.get("/metrics", &key).code(), "forbidden");
    assert_eq!(bench.get("/metrics", &op).status, 200);
    bench.stop();
}

#[test]
fn h23_keys_and_what_they_see() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let op = bench.operator.clone();
    let (one, key) = bench.partner("One");
    let (_, other) = bench.partner("Other");
    let user = bench.user(&key, "alice");
    let pool = bench.post("/v1/pools", &key, json!({"currency": "EUR"})).text("id");
    let account = bench.post(&format!("/v1/users/{user}/accounts"), &key, json!({"currency": "EUR"})).text("id");

    // No key, a wrong one, another scheme, two of them: the same 401, whether the path exists or not.
    let refused = bench.call("GET", &format!("/v1/users/{user}"), None, &[], b"");
    assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"));
    assert!(refused.head.contains("www-authenticate: bearer"));
    for wrong in ["ak_wrong", "", "ak_operator ", &op.to_uppercase(), &format!("{op}x")] {
        if wrong.trim() == op {
            continue;
        }
        let again = bench.get(&format!("/v1/users/{user}"), wrong);
        assert_eq!((again.status, &again.body), (401, &refused.body), "{wrong}");
        assert_eq!(bench.get(&format!("/v1/users/usr_{ANY}"), wrong).body, refused.body);
    }
    let basic = [("authorization", "Basic YTpi")];
    assert_eq!(bench.call("GET", "/v1/users", None, &basic, b"").status, 401);
    let twice = [("authorization", format!("Bearer {op}")), ("authorization", format!("Bearer {op}"))];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(bench.call("GET", "/v1/users", None, &twice, b"").status, 401);
    assert_eq!(bench.call("POST", "/v1/partners", None, &[], b"{not json").status, 401);

    // Another partner's things are 404, told apart from what does not exist by nothing.
    let pairs = [
        (format!("/v1/users/{user}"), format!("/v1/users/usr_{ANY}")),
        (format!("/v1/pools/{pool}"), format!("/v1/pools/pol_{ANY}")),
        (format!("/v1/accounts/{account}"), format!("/v1/accounts/acc_{ANY}")),
        (format!("/v1/accounts/{account}/statement"), format!("/v1/accounts/acc_{ANY}/statement")),
        (format!("/v1/pools/{pool}/statement"), format!("/v1/pools/pol_{ANY}/statement")),
        (format!("/v1/pools/{pool}/top-ups"), format!("/v1/pools/pol_{ANY}/top-ups")),
        (format!("/v1/users/{user}/kyc"), format!("/v1/users/usr_{ANY}/kyc")),
        (format!("/v1/users/{user}/accounts"), "/v1/users/not-an-id/accounts".to_owned()),
    ];
    // Read once by its owner, so that whatever the sidecar keeps is kept.
    assert_eq!(bench.get(&format!("/v1/accounts/{account}"), &key).status, 200);
    for (theirs, nothing) in &pairs {
        let (theirs, nothing) = (bench.get(theirs, &other), bench.get(nothing, &other));
        assert_eq!((theirs.status, &theirs.body), (404, &nothing.body));
    }
    let foreign = json!({"user_id": user, "funding": {"type": "account", "currency": "EUR"}});
    assert_eq!(bench.post("/v1/cards", &other, foreign).code(), "not_found");
    assert_eq!(bench.patch(&format!("/v1/users/{user}"), &other, json!({"status": "suspended"})).code(), "not_found");
    let named = json!({"external_id": "x", "country": "DE", "partner_id": one});
    assert_eq!(bench.post("/v1/users", &other, named).code(), "not_found");
    assert_eq!(bench.get("/v1/users", &other).json()["data"], json!([]));
    assert_eq!(bench.get("/v1/users", &op).json()["data"].as_array().map(Vec::len), Some(1));

    // Operators' calls.
    for (method, path) in [
        ("GET", "/v1/partners".to_owned()),
        ("GET", format!("/v1/partners/{one}")),
        ("GET", "/v1/rates".to_owned()),
        ("GET", "/v1/system/state".to_owned()),
    ] {
        assert_eq!(bench.call(method, &path, Some(&key), &[], b"").code(), "forbidden", "{path}");
    }
    for status in ["approved", "rejected", "in_review"] {
        let moved = bench.post(&format!("/v1/users/{user}/kyc"), &key, json!({"status": status}));
        assert_eq!(moved.code(), "forbidden");
    }
    let nobody = bench.post("/v1/users", &op, json!({"external_id": "bob", "country": "DE"}));
    assert_eq!((nobody.code().as_str(), nobody.pointers()), ("missing_field", vec!["/partner_id".to_owned()]));

    // A revoked key is refused from then on.
    let keys = bench.get(&format!("/v1/partners/{one}/keys"), &op).json();
    let id = keys["data"][0]["id"].as_str().expect("a key").to_owned();
    let path = format!("/v1/partners/{one}/keys/{id}");
    let gone = bench.call("DELETE", &path, Some(&op), &[], b"");
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    assert_eq!(bench.get("/v1/users", &key).code(), "unauthorized");
    bench.stop();

    let bench = Bench::start(dir.path());
    assert_eq!(bench.get("/v1/users", &key).code(), "unauthorized");
    assert_eq!(bench.get("/v1/users", &other).status, 200);
    bench.stop();
}

#[test]
fn h24_bad_bodies_are_problems_with_a_pointer_and_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let op = bench.operator.clone();
    let (_, key) = bench.partner("Acme");
    let pool = bench.post("/v1/pools", &key, json!({"currency": "EUR"})).text("id");
    let path = format!("/v1/pools/{pool}/top-ups");
    let before = bench.state();
    let check = |method: &str, path: &str, body: &str, status: u16, code: &str, pointer: Option<&str>| {
        let refused = bench.call(method, path, Some(&op), &[], body.as_bytes());
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{body} gave {refused:?}");
        if let Some(pointer) = pointer {
            assert_eq!(refused.pointers(), vec![pointer.to_owned()], "{body} gave {refused:?}");
        }
    };
    let amount = |value: &str| format!(r#"{{"amount":{{"value":{value},"currency":"EUR"}},"reference":"x"}}"#);
    for value in [
        r#""-1""#,
        r#""12.345""#,
        r#""0""#,
        r#""0.00""#,
        r#""1e3""#,
        r#"" 1""#,
        r#""""#,
        r#""NaN""#,
        r#""+1""#,
        r#""1,5""#,
        r#""99999999999999999999""#,
        "12.34",
        "1",
        "-1",
        "null",
        "true",
        r#"["1"]"#,
        "{}",
    ] {
        check("POST", &path, &amount(value), 400, "invalid_value", Some("/amount/value"));
    }
    for value in ["NaN", "Infinity", "1e400", "01"] {
        let refused = bench.call("POST", &path, Some(&op), &[], amount(value).as_bytes());
        assert_eq!(refused.status, 400, "{value}");
        assert_eq!(refused.pointers(), vec!["/amount/value".to_owned()], "{value} gave {refused:?}");
    }
    let good = r#"{"amount":{"value":"1","currency":"EUR"},"reference":"x""#;
    check("POST", &path, &format!("{good},\"extra\":1}}"), 400, "unknown_field", Some("/extra"));
    check("POST", &path, &format!("{good},\"a/b~c\":1}}"), 400, "unknown_field", Some("/a~1b~0c"));
    check("POST", &path, &format!("{good},\"reference\":\"y\"}}"), 400, "duplicate_field", Some("/reference"));
    check(
        "POST",
        &path,
        r#"{"amount":{"value":"1","currency":"EUR","x":1},"reference":"x"}"#,
        400,
        "unknown_field",
        Some("/amount/x"),
    );
    check(
        "POST",
        &path,
        r#"{"amount":{"value":"1","value":"2","currency":"EUR"},"reference":"x"}"#,
        400,
        "duplicate_field",
        Some("/amount/value"),
    );
    check("POST", &path, r#"{"amount":{"value":"1"},"reference":"x"}"#, 400, "missing_field", Some("/amount/currency"));
    check(
        "POST",
        &path,
        r#"{"amount":{"value":"1","currency":"eur"},"reference":"x"}"#,
        400,
        "invalid_value",
        Some("/amount/currency"),
    );
    check("POST", &path, r#"{"amount":"1 EUR","reference":"x"}"#, 400, "invalid_value", Some("/amount"));
    check("POST", &path, r#"{"amount":{"value":"1","currency":"EUR"}}"#, 400, "missing_field", Some("/reference"));
    check(
        "POST",
        &path,
        r#"{"amount":{"value":"1","currency":"EUR"},"reference":"a\u0000b"}"#,
        400,
        "invalid_value",
        Some("/reference"),
    );
    check(
        "POST",
        &path,
        &format!(r#"{{"amount":{{"value":"1","currency":"EUR"}},"reference":"{}"}}"#, "x".repeat(257)),
        400,
        "invalid_value",
        Some("/reference"),
    );
    check("POST", &path, &format!("{good}}} {{}}"), 400, "malformed_json", Some(""));
    for bad in ["", "[]", "null", "1", "\"x\""] {
        let refused = bench.call("POST", &path, Some(&op), &[], bad.as_bytes());
        assert_eq!(refused.status, 400, "{bad}: {refused:?}");
    }
    for bad in ["{", "{]", "{\"amount\":", "\u{feff}{}", "{'a':1}"] {
        check("POST", &path, bad, 400, "malformed_json", None);
    }
    check("POST", &path, &"[".repeat(60_000), 400, "invalid_value", None);
    check("POST", &path, &format!(r#"{{"amount":{}"#, "{\"value\":".repeat(6_000)), 400, "invalid_value", None);
    let not_utf8 = bench.call("POST", &path, Some(&op), &[], b"{\"reference\":\"\xff\xfe\"}");
    assert_eq!(not_utf8.status, 400);
    check(
        "POST",
        "/v1/quotes",
        r#"{"user_id":7,"from":{"value":"1","currency":"USDC"},"to":"EUR"}"#,
        400,
        "invalid_value",
        Some("/user_id"),
    );
    check("PUT", "/v1/rates/EUR-USD", r#"{"rate":1.1}"#, 400, "invalid_value", Some("/rate"));
    check("PUT", "/v1/rates/EUR-USD", r#"{"rate":"0"}"#, 400, "invalid_value", Some("/rate"));
    check(
        "PUT",
        "/v1/rates/EUR-USD",
        r#"{"rate":"1.1","markup_bps":10001}"#,
        400,
        "invalid_value",
        Some("/markup_bps"),
    );
    check("PUT", "/v1/rates/EUR-XXX1", r#"{"rate":"1.1"}"#, 404, "not_found", None);
    check(
        "POST",
        "/v1/partners",
        r#"{"name":"A","services":["cards","tea"]}"#,
        400,
        "invalid_value",
        Some("/services/1"),
    );
    check(
        "POST",
        "/v1/partners",
        r#"{"name":"A","response_codes":{"partner_timeout":"5"}}"#,
        400,
        "invalid_value",
        Some("/response_codes/partner_timeout"),
    );
    check(
        "POST",
        "/v1/cards",
        &format!(r#"{{"user_id":"usr_{ANY}","funding":{{"type":"pool"}}}}"#),
        400,
        "missing_field",
        Some("/funding/pool_id"),
    );
    check(
        "POST",
        "/v1/cards",
        &format!(
            r#"{{"user_id":"usr_{ANY}","funding":{{"type":"account","currency":"EUR"}},"pan":"4111111111111112"}}"#
        ),
        400,
        "invalid_value",
        Some("/pan"),
    );
    // What was sent is not sent back: it may be a card number in the wrong place.
    let echo = bench.post("/v1/users", &key, json!({"external_id": 4_111_111_111_111_111u64, "country": "DE"}));
    assert!(!echo.body.contains("4111111111111111"), "{echo:?}");

    // Ten megabytes, with and without saying so first.
    let huge = vec![b' '; 10 << 20];
    let refused = bench.call("POST", &path, Some(&op), &[], &huge);
    assert!(refused.status == 413 || refused.status == 0, "{}", refused.status);
    let told = format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\nauthorization: Bearer {op}\r\ncontent-type: application/json\r\ncontent-length: 10485760\r\n\r\n"
    );
    let refused = bench.raw(told.as_bytes());
    assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"));
    let chunks = format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\nauthorization: Bearer {op}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n11000\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x11000)
    );
    let refused = bench.raw(chunks.as_bytes());
    assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"));

    let form = bench.call("POST", &path, Some(&op), &[("content-type", "text/plain")], b"{}");
    assert_eq!(form.code(), "unsupported_media_type");
    assert_eq!(bench.call("DELETE", &path, Some(&op), &[], b"").code(), "method_not_allowed");
    assert_eq!(bench.get("/v1/nothing", &op).code(), "not_found");
    for query in ["?limit=0", "?limit=201", "?limit=x", "?cursor=%ff", "?nope=1", "?limit=1&limit=2", "?cursor=zzz"] {
        let refused = bench.get(&format!("/v1/users{query}"), &key);
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_parameter"), "{query}");
    }
    for query in ["?outcome=maybe", "?card_id=7", "?updated_since=yesterday"] {
        assert_eq!(bench.get(&format!("/v1/authorizations{query}"), &key).code(), "invalid_parameter", "{query}");
    }
    assert_eq!(bench.state(), before, "nothing has changed");
    bench.stop();
}

#[test]
fn h25_the_same_idempotency_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let op = bench.operator.clone();
    let (_, key) = bench.partner("Acme");
    let (_, other) = bench.partner("Other");
    let body = json!({"external_id": "alice", "country": "DE"});
    let first = bench.keyed("/v1/users", &key, "k1", body.clone());
    assert_eq!(first.status, 201, "{first:?}");
    let again = bench.keyed("/v1/users", &key, "k1", body.clone());
    assert_eq!((again.status, &again.body), (201, &first.body));
    let mismatch = bench.keyed("/v1/users", &key, "k1", json!({"external_id": "bob", "country": "DE"}));
    assert_eq!((mismatch.status, mismatch.code().as_str()), (422, "idempotency_mismatch"));
    // Another caller's key of the same name is another key; another path too.
    assert_eq!(bench.keyed("/v1/users", &other, "k1", body.clone()).status, 201);
    assert_eq!(bench.keyed("/v1/pools", &key, "k1", json!({"currency": "EUR"})).status, 201);
    for bad in ["", &"x".repeat(256)] {
        let refused = bench.keyed("/v1/users", &key, bad, body.clone());
        assert_eq!(refused.code(), "invalid_idempotency_key");
    }

    // At once: one user, the same answer for all.
    let body = json!({"external_id": "carol", "country": "DE"});
    let answers = bench.at_once(16, |_| bench.keyed("/v1/users", &key, "k2", body.clone()));
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (201, &answers[0].body));
    }

    // Secrets come back to who has the key, and are sealed in between.
    let made = bench.keyed("/v1/partners", &op, "k3", json!({"name": "Third"}));
    let same = bench.keyed("/v1/partners", &op, "k3", json!({"name": "Third"}));
    assert_eq!((same.status, &same.body), (201, &made.body));
    let secret = made.text("webhook_secret");
    let mut files = vec![dir.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).expect("readable").map(|entry| entry.expect("readable").path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", path.display());
    }

    // A crash between write and answer.
    bench.mute.store(true, Ordering::SeqCst);
    let body = json!({"external_id": "dave", "country": "DE"});
    let request = format!(
        "POST /v1/users HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\nidempotency-key: k4\r\ncontent-length: {}\r\n\r\n{body}",
        body.to_string().len()
    );
    let mut stream = std::net::TcpStream::connect(bench.addr).expect("connects");
    stream.write_all(request.as_bytes()).expect("written");
    let found = |bench: &Bench| {
        let list = bench.get("/v1/users", &key).json();
        list["data"].as_array().is_some_and(|users| users.iter().any(|user| user["external_id"] == "dave"))
    };
    while !found(&bench) {
        std::thread::yield_now();
    }
    drop(stream);
    bench.stop();
    let bench = Bench::start(dir.path());
    let answer = bench.keyed("/v1/users", &key, "k4", body.clone());
    assert_eq!((answer.status, answer.text("external_id").as_str()), (201, "dave"));
    assert_eq!(bench.keyed("/v1/users", &key, "k1", json!({"external_id": "alice", "country": "DE"})).body, first.body);
    assert_eq!(bench.post("/v1/users", &key, body).code(), "duplicate_external_id");
    bench.stop();
}

/// A network side that answers what `reply` makes of each frame.
fn listener(reply: impl Fn(Bytes) -> Option<Vec<u8>> + Send + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut prefix = [0u8; 2];
            if stream.read_exact(&mut prefix).is_err() {
                continue;
            }
            let mut frame = vec![0u8; usize::from(u16::from_be_bytes(prefix))];
            if stream.read_exact(&mut frame).is_err() {
                continue;
            }
            if let Some(reply) = reply(frame.into()) {
                let prefix = u16::try_from(reply.len()).expect("short").to_be_bytes();
                let _ = stream.write_all(&prefix).and_then(|()| stream.write_all(&reply));
            }
        }
    });
    addr
}

#[test]
fn a_sandbox_tap_travels_the_wire_and_shows_no_number() {
    let spec = Spec::embedded("mastercard").expect("compiled in");
    let (seen, frames) = std::sync::mpsc::channel();
    let addr = listener(move |frame| {
        let message = iso_codec::decode(&spec, frame.clone()).expect("a good message");
        seen.send(frame).expect("the test waits");
        let mut out = BytesMut::new();
        let mut reply = Builder::new(&spec, Mti(0x0110), &mut out);
        for n in [2, 3, 4, 7, 11] {
            reply.copy(n, &message).expect("returned");
        }
        reply.text(39, b"00").expect("set");
        reply.copy(49, &message).expect("returned");
        reply.finish().expect("whole");
        Some(out.to_vec())
    });
    let dir = tempfile::tempdir().expect("a directory");
    let links = vec![link(addr, Duration::from_secs(2))];
    let bench = Bench::start_with(dir.path(), Setup { sandbox: true, links });
    let (_, key) = bench.partner("Acme");
    let (_, other) = bench.partner("Other");
    let user = bench.user(&key, "alice");
    let card =
        bench.post("/v1/cards", &key, json!({"user_id": user, "funding": {"type": "account", "currency": "EUR"}}));
    let (id, pan) = (card.text("id"), card.text("pan"));
    let body = json!({"card_id": id, "amount": {"value": "12.50", "currency": "EUR"}, "merchant": {"name": "Kiosk", "mcc": "5994"}});
    let tap = bench.keyed("/v1/sandbox/taps", &key, "t1", body.clone());
    assert_eq!(tap.status, 200, "{tap:?}");
    let doc = tap.json();
    let masked = format!("{}****{}", &pan[..8], &pan[12..]);
    assert_eq!(doc["request"]["fields"]["2"]["value"], masked);
    assert_eq!(doc["request"]["fields"]["4"]["value"], "000000001250");
    assert_eq!(doc["request"]["fields"]["49"]["value"], "978");
    assert_eq!(doc["reply"]["fields"]["39"]["value"], "00");
    assert!(!tap.body.contains(&pan));
    let ebcdic: String = pan.bytes().map(|digit| format!("F{}", digit - b'0')).collect();
    assert!(!tap.body.to_uppercase().contains(&ebcdic));
    // The frame itself had the number, and else differs from the shown one in nothing but the stars.
    let frame = frames.recv().expect("one frame");
    let hex: String = frame.iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(hex.contains(&ebcdic));
    assert_eq!(hex.replace(&ebcdic[16..24], "5C5C5C5C"), doc["request"]["hex"].as_str().expect("hex"));

    // The same key: the same answer, and nothing travels twice.
    assert_eq!(bench.keyed("/v1/sandbox/taps", &key, "t1", body.clone()).body, tap.body);
    assert!(frames.try_recv().is_err());
    assert_eq!(
        bench
            .keyed("/v1/sandbox/taps", &key, "t1", json!({"card_id": id, "amount": {"value": "1", "currency": "EUR"}}))
            .status,
        422
    );
    assert_eq!(bench.post("/v1/sandbox/taps", &other, body.clone()).code(), "not_found");
    let elsewhere = json!({"card_id": id, "amount": {"value": "1", "currency": "EUR"}, "link": "visa"});
    assert_eq!(bench.post("/v1/sandbox/taps", &key, elsewhere).pointers(), vec!["/link".to_owned()]);
    let crypto = json!({"card_id": id, "amount": {"value": "1", "currency": "BTC"}});
    assert_eq!(bench.post("/v1/sandbox/taps", &key, crypto).pointers(), vec!["/amount".to_owned()]);
    let answers = bench.at_once(6, |_| bench.keyed("/v1/sandbox/taps", &key, "t2", body.clone()));
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(!done.is_empty() && done.iter().all(|answer| answer.body == done[0].body));
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code() == "in_progress"));
    assert_eq!(frames.try_iter().count(), 1, "six requests, one tap");
    bench.stop();
}

#[test]
fn a_network_that_does_not_answer_leaves_the_reply_null() {
    let addr = listener(|_| None);
    let dir = tempfile::tempdir().expect("a directory");
    let links = vec![link(addr, Duration::from_millis(300))];
    let bench = Bench::start_with(dir.path(), Setup { sandbox: true, links });
    let (_, key) = bench.partner("Acme");
    let user = bench.user(&key, "alice");
    let card =
        bench.post("/v1/cards", &key, json!({"user_id": user, "funding": {"type": "account", "currency": "EUR"}}));
    let tap = bench.post(
        "/v1/sandbox/taps",
        &key,
        json!({"card_id": card.text("id"), "amount": {"value": "1", "currency": "EUR"}}),
    );
    assert_eq!((tap.status, &tap.json()["reply"]), (200, &Value::Null));
    bench.stop();
}

#[test]
fn the_engine_tells_of_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let open = |path: &str| bench.call("GET", path, None, &[], b"");
    assert_eq!(open("/healthz").json(), json!({"status": "ok"}));
    let ready = open("/readyz");
    assert_eq!((ready.status, &ready.json()["parts"]["shard"]["ready"]), (200, &json!(true)), "{ready:?}");
    bench.health.not_ready("links", "mastercard is not bound");
    let not = open("/readyz");
    assert_eq!(not.status, 503);
    assert_eq!(not.json()["parts"]["links"], json!({"ready": false, "detail": "mastercard is not bound"}));
    assert_eq!(open("/openapi.json").json()["info"]["title"], "Card authorization engine");
    assert_eq!(open("/docs/").status, 200);
    assert!(open("/docs/swagger-ui-bundle.js").body.len() > 100_000, "the page needs no internet");
    assert_eq!(open("/metrics").status, 200);
    assert!(open("/healthz").head.contains("cache-control: no-store"));
    let state = bench.get("/v1/system/state", &bench.operator).json();
    assert_eq!(state["state_hash"].as_str().map(str::len), Some(64));
    bench.stop();
}

#[test]
fn lists_are_newest_first_and_page_by_cursor() {
    let dir = tempfile::tempdir().expect("a directory");
    let bench = Bench::start(dir.path());
    let (_, key) = bench.partner("Acme");
    for i in 0..7 {
        let made = bench.post("/v1/users", &key, json!({"external_id": format!("u{i}"), "country": "DE"}));
        assert_eq!(made.status, 201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/users?limit=3".to_owned();
    loop {
        let page = bench.get(&path, &key).json();
        let users = page["data"].as_array().expect("a list").clone();
        seen.extend(users.iter().map(|user| user["external_id"].as_str().expect("text").to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/users?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["u6", "u5", "u4", "u3", "u2", "u1", "u0"]);
    bench.stop();
}
