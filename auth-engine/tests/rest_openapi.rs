//! The checked-in description of the API is the one that the routes give. `UPDATE_OPENAPI=1` rewrites it.

use std::path::Path;

#[test]
fn docs_openapi_json_is_what_the_engine_serves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let api = auth_engine::rest::describe();
    let mut text = api.to_pretty_json().expect("the description is JSON");
    text.push('\n');
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).expect("docs/openapi.json is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "docs/openapi.json is not what the routes say: run this test with UPDATE_OPENAPI=1");
}

#[test]
fn every_call_of_the_contract_is_described() {
    let api = serde_json::to_value(auth_engine::rest::describe()).expect("JSON");
    let calls = "
        post /v1/partners, get /v1/partners, get /v1/partners/{id}, patch /v1/partners/{id}, post /v1/partners/{id}/keys,
        delete /v1/partners/{id}/keys/{key_id}, post /v1/partners/{id}/webhook-secret/rotate, post /v1/users,
        get /v1/users, get /v1/users/{id}, patch /v1/users/{id}, post /v1/users/{id}/kyc, get /v1/users/{id}/kyc,
        get /v1/users/{id}/accounts, post /v1/users/{id}/accounts, get /v1/accounts/{id},
        get /v1/accounts/{id}/statement, post /v1/pay-ins, post /v1/payouts, post /v1/payouts/{id}/settle,
        post /v1/payouts/{id}/fail, post /v1/pools, get /v1/pools, get /v1/pools/{id}, patch /v1/pools/{id},
        get /v1/pools/{id}/statement, post /v1/pools/{id}/top-ups, post /v1/top-ups/{id}/settle,
        post /v1/top-ups/{id}/fail, post /v1/pools/{id}/withdrawals, put /v1/rates/{pair}, get /v1/rates,
        post /v1/crypto-deposits, post /v1/quotes, post /v1/off-ramps, post /v1/cards, get /v1/cards,
        get /v1/cards/{id}, patch /v1/cards/{id}, get /v1/authorizations, get /v1/authorizations/{id},
        get /v1/authorizations/{id}/events, get /v1/authorizations/{id}/trace, post /v1/sandbox/taps,
        get /healthz, get /readyz, get /metrics,
        get /v1/system/state, get /v1/system/checkpoint";
    for call in calls.split(',') {
        let (method, path) = call.trim().split_once(' ').expect("method and path");
        let operation = &api["paths"][path][method];
        assert!(operation.is_object(), "{method} {path} is not described");
        assert!(operation["summary"].is_string(), "{method} {path} has no words");
        assert!(operation["responses"]["default"].is_object(), "{method} {path} knows no problem");
    }
    // Every reference leads somewhere.
    let text = api.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        assert!(api["components"]["schemas"][name].is_object(), "{name} is referred to and not there");
    }
}
