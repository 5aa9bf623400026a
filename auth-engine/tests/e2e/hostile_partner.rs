//! `hostile.md`, partners: dead, slow, wrong, redirecting; and that their neighbours do not notice.

use auth_engine::partner::Secret;
use serde_json::json;

use super::support::world::word;
use super::support::{Engine, Setup, World, code, purchase, until};

#[test]
fn h18_a_partner_that_cannot_be_reached() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let good = world.sample.url();
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}/decide", listener.local_addr().expect("bound"))
    };
    let tls = good.replace("http://", "https://");
    let cases = [
        (dead.as_str(), "approve"),
        ("http://nowhere.invalid/decide", "approve"),
        (tls.as_str(), "approve"),
        (good.as_str(), "reset"),
        (good.as_str(), "close"),
    ];
    for (url, rule) in cases {
        world.terms(json!({"decision_url": url}));
        world.rules(&[rule]);
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "91", "{url} {rule}");
        world.newest_is(&card, "declined", "partner_unreachable");
        // An answer between keeps the circuit closed.
        world.terms(json!({"decision_url": good}));
        world.rules(&["decline"]);
        until("an answer", || (code(&wire.ask(&purchase(&card, 100))) == "05").then_some(()));
    }
    world.terms(json!({"decision_url": null}));
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "91");
    world.newest_is(&card, "declined", "partner_unreachable");
    world.pool_has("1000.00", "0.00");
}

#[test]
fn h18_a_circuit_opens_after_five_and_closes_at_the_first_answer() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.rules(&["close"]);
    for _ in 0..5 {
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "91");
    }
    let asked = world.sample.seen().asks;
    for _ in 0..20 {
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "91");
    }
    let probes = world.sample.seen().asks - asked;
    assert!(probes < 20, "an open circuit spares the partner: {probes} of 20 asked");
    world.rules(&["approve"]);
    until("a probe", || (code(&wire.ask(&purchase(&card, 100))) == "00").then_some(()));
    for _ in 0..3 {
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00", "closed again");
    }
}

#[test]
fn h19_a_partner_that_answers_nonsense() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    world.terms(json!({"decision_timeout_ms": 250}));
    let silent = [("silent", "91", "partner_timeout"), ("drip", "91", "partner_timeout")];
    let wrong =
        ["huge", "redirect", "redirect http://127.0.0.1:1/", "html", "misspelt", "deep", "garbage", "status 500"];
    let wrong = wrong.map(|rule| (rule, "96", "partner_bad_response"));
    for (rule, expected, reason) in silent.into_iter().chain(wrong) {
        world.rules(&[rule]);
        assert_eq!(code(&wire.ask(&purchase(&card, 100))), expected, "{rule}");
        world.newest_is(&card, "declined", reason);
    }
    world.rules(&["approve"]);
    assert_eq!(code(&wire.ask(&purchase(&card, 100))), "00");
    world.pool_has("999.00", "1.00");
}

#[test]
fn h20_slow_partners_delay_nobody_else() {
    let engine = Engine::start(Setup::default());
    let (slow, quick) = (World::on(&engine), World::on(&engine));
    slow.rules(&["silent"]);
    let (slow_card, quick_card) = (slow.pool_card(), quick.pool_card());
    let (account_card, _) = quick.account_card("100.00");
    let (mut crowd, mut honest) = (engine.wire(), engine.wire());
    for _ in 0..200 {
        crowd.send(&purchase(&slow_card, 1));
    }
    until("the partner's room to be taken", || (slow.sample.seen().most_at_once >= 32).then_some(()));
    for _ in 0..20 {
        assert_eq!(code(&honest.ask(&purchase(&account_card, 1))), "00");
        assert_eq!(code(&honest.ask(&purchase(&quick_card, 1))), "00");
    }
    assert_eq!(slow.pool_balance(&slow.pool).1, "2.00", "all of the crowd still waits");
    for _ in 0..200 {
        assert_eq!(code(&crowd.reply()), "91");
    }
    slow.pool_has("1000.00", "0.00");
}

#[test]
fn h21_a_secret_is_rotated_under_load() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let parse = |text: &str| Secret::parse(text).expect("a secret");
    world.sample.set_secrets(vec![parse(&world.secret)]);
    let mut taps = |count: usize| {
        for _ in 0..count {
            wire.send(&purchase(&card, 1));
        }
        for _ in 0..count {
            assert_eq!(code(&wire.reply()), "00");
        }
    };
    taps(30);
    let answer = world.engine.act(&format!("/v1/partners/{}/webhook-secret/rotate", world.partner));
    let new = word(&answer, "webhook_secret");
    assert_ne!(new, world.secret);
    taps(30);
    world.sample.set_secrets(vec![parse(&new)]);
    taps(30);
    assert_eq!(world.sample.seen().unsigned, 0);
}

#[test]
fn h22_private_addresses_are_refused_outside_the_sandbox() {
    let engine = Engine::start(Setup::default());
    engine.stop();
    let outside = engine.data().parent().expect("a directory").join("outside.key");
    std::fs::rename(engine.data().join("master.key"), &outside).expect("the key moves");
    engine.configure(Setup {
        sandbox: false,
        sections: format!("[keys]\nmaster_file = {outside:?}\n"),
        ..Setup::default()
    });
    engine.run();
    let urls = [
        "http://example.com/decide",
        "https://127.0.0.1/decide",
        "https://10.0.0.1/decide",
        "https://192.168.1.1/x",
        "https://169.254.169.254/latest",
        "https://[::1]/x",
        "https://[fe80::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://0.0.0.0/x",
        "https://100.64.0.1/x",
    ];
    for url in urls {
        let body = json!({"name": "P", "decision_url": url});
        let answer = engine.call("POST", "/v1/partners", Some(&engine.operator()), Some(&body));
        assert_eq!(answer.status, 400, "{url}: {}", answer.text);
        answer.problem();
    }
    engine.post("/v1/partners", &json!({"name": "P", "decision_url": "https://example.com/decide"}));
    let answer = engine.call("POST", "/v1/sandbox/taps", Some(&engine.operator()), Some(&json!({})));
    assert_eq!(answer.status, 404, "{}", answer.text);
    assert_eq!(engine.call("GET", "/metrics", None, None).status, 401);
    assert_eq!(engine.call("GET", "/metrics", Some(&engine.operator()), None).status, 200);
}
