//! The partner client against the sample partner, over real sockets: what a partner can do to a tap
//! (hostile 18 to 22) and what the connections must stand. It must never assert how long something takes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_engine::partner::{
    AddressPolicy, Answer, Ask, Bad, Endpoint, Outcome, PartnerClient, Resolver, Secret, Unreachable,
};
use auth_engine::simulate::partner::{SamplePartner, Setup};
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// A deadline nobody reaches unless something hangs.
const AMPLE: Duration = Duration::from_secs(30);
const SANDBOX: AddressPolicy = AddressPolicy { sandbox: true };
const OUTSIDE: AddressPolicy = AddressPolicy { sandbox: false };

/// Runs a test as the shard runs: one thread, one `LocalSet`.
fn on_shard(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

/// A client, and the answers it gave.
struct Shard {
    client: PartnerClient,
    answers: Rc<RefCell<Vec<Answer>>>,
    news: Rc<Notify>,
    next: Cell<u64>,
}

impl Shard {
    fn new() -> Self {
        Self::with(SANDBOX, None, None)
    }

    fn with(policy: AddressPolicy, tls: Option<Arc<rustls::ClientConfig>>, resolver: Option<Resolver>) -> Self {
        let answers: Rc<RefCell<Vec<Answer>>> = Rc::default();
        let news: Rc<Notify> = Rc::default();
        let (push, notify) = (answers.clone(), news.clone());
        let client = PartnerClient::with_resolver(policy, tls, resolver, move |answer| {
            push.borrow_mut().push(answer);
            notify.notify_one();
        });
        Self { client, answers, news, next: Cell::new(0) }
    }

    fn endpoint(&self, partner: u32, url: &str, secrets: &[Secret], max_connections: usize) {
        let endpoint = Endpoint { url: Some(url.to_owned()), secrets: secrets.to_vec(), max_connections };
        self.client.configure(partner, endpoint);
    }

    /// Sends an ask and returns its token.
    fn send(&self, partner: u32, timeout: Duration) -> u64 {
        let token = self.next.get() + 1;
        self.next.set(token);
        self.client.ask(Ask {
            token,
            partner,
            webhook_id: format!("aut_{partner:04}{token:012}"),
            body: body(timeout),
            deadline: Instant::now() + timeout,
        });
        token
    }

    /// Waits for one ask's answer.
    async fn answer(&self, token: u64) -> Answer {
        let found = async {
            loop {
                let at = self.answers.borrow().iter().position(|answer| answer.token == token);
                if let Some(at) = at {
                    break self.answers.borrow_mut().remove(at);
                }
                self.news.notified().await;
            }
        };
        tokio::time::timeout(AMPLE * 2, found).await.unwrap_or_else(|_| panic!("ask {token} was never answered"))
    }

    async fn outcome(&self, partner: u32) -> Outcome {
        let token = self.send(partner, AMPLE);
        self.answer(token).await.outcome
    }
}

fn body(timeout: Duration) -> bytes::Bytes {
    let body = serde_json::json!({
        "type": "authorization.request", "timeout_ms": timeout.as_millis() as u64,
        "data": {"kind": "purchase", "user_external_id": "alice", "card_last4": "4242",
            "amount": {"value": "12.50", "currency": "EUR"}, "merchant": {"mcc": "5411", "country": "USA"}},
    });
    bytes::Bytes::from(body.to_string())
}

fn secret(fill: u8) -> Secret {
    Secret::from_bytes(&[fill; 32]).expect("32 bytes")
}

fn sample(rules: &[&str]) -> SamplePartner {
    SamplePartner::start("127.0.0.1:0", rules, Vec::new()).expect("a free port")
}

fn is_approval(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Decision(decision) if decision.approve)
}

#[test]
fn signed_asks_are_answered_and_unsigned_ones_are_not_believed() {
    on_shard(async {
        let partner = SamplePartner::start("127.0.0.1:0", &["mcc=5411 decline not_permitted"], vec![secret(1)])
            .expect("a free port");
        let shard = Shard::new();
        shard.endpoint(7, &partner.url(), &[secret(1)], 8);
        let token = shard.send(7, AMPLE);
        assert_eq!(shard.client.open_asks(), 1);
        let answer = shard.answer(token).await;
        assert_eq!(answer.partner, 7);
        assert!(answer.answered_at >= answer.asked_at);
        let Outcome::Decision(decision) = answer.outcome else { panic!("no decision: {:?}", answer.outcome) };
        assert_eq!((decision.approve, decision.reason.as_deref()), (false, Some("not_permitted")));
        assert_eq!(shard.client.open_asks(), 0);

        shard.endpoint(7, &partner.url(), &[secret(2)], 8);
        assert_eq!(shard.outcome(7).await, Outcome::Bad(Bad::Status(401)));
        assert_eq!((partner.seen().asks, partner.seen().unsigned), (1, 1));
    });
}

#[test]
fn everything_an_answer_can_carry_arrives() {
    on_shard(async {
        let partner = sample(&["approve amount 5.00 source account metadata 20"]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 8);
        let Outcome::Decision(decision) = shard.outcome(1).await else { panic!("no decision") };
        assert_eq!(decision.amount.as_deref(), Some("5.00"));
        assert_eq!(decision.source.as_deref(), Some("account"));
        assert_eq!(decision.metadata.as_deref(), Some(br#"{"note":"xxxxxxxxxxxxxxxxxxxx"}"#.as_slice()));
        partner.set_rules(&["approve metadata 2000"]).expect("a rule");
        let Outcome::Decision(decision) = shard.outcome(1).await else { panic!("no decision") };
        assert!(decision.metadata.is_none() && decision.metadata_dropped);
    });
}

#[test]
fn the_ask_is_on_the_wire_after_two_yields() {
    on_shard(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let shard = Shard::new();
        shard.endpoint(1, &url, &[], 1);
        let (mut peer, listener) = tokio::task::spawn_blocking(move || {
            let (peer, _) = listener.accept().expect("the connection opened ahead");
            (peer, listener)
        })
        .await
        .expect("the accepting thread");
        // The kernel accepts before the client's own connect is done with; let it settle.
        tokio::time::sleep(Duration::from_millis(50)).await;
        shard.send(1, AMPLE);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        // From here on the shard's thread is in this blocking read: only what is written can come.
        peer.set_read_timeout(Some(AMPLE)).expect("a timeout");
        let mut first = [0; 4];
        peer.read_exact(&mut first).expect("the ask");
        assert_eq!(&first, b"POST");
        drop(listener);
    });
}

#[test]
fn h18_no_url_and_connection_refused() {
    on_shard(async {
        let shard = Shard::new();
        assert_eq!(shard.outcome(9).await, Outcome::Unreachable(Unreachable::NoUrl));
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
        shard.endpoint(1, &format!("http://127.0.0.1:{port}/"), &[], 4);
        for _ in 0..3 {
            assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::Refused));
        }
        shard.endpoint(1, "not a url", &[], 4);
        assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::NoUrl));
    });
}

#[test]
fn h18_reset_mid_answer_and_hung_up() {
    on_shard(async {
        let partner = sample(&["reset"]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 4);
        assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::Reset));
        partner.set_rules(&["close"]).expect("a rule");
        assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::Reset));
        assert_eq!(partner.seen().repeated, 0, "an ask of which a byte was written is not sent again");
        partner.set_rules(&["approve"]).expect("a rule");
        assert!(is_approval(&shard.outcome(1).await), "and the next one is served");
    });
}

#[test]
fn h18_dns_failure() {
    on_shard(async {
        let shard = Shard::with(SANDBOX, None, Some(Arc::new(|_, _| Err(std::io::ErrorKind::NotFound.into()))));
        shard.endpoint(1, "http://decide.example.com/", &[], 4);
        assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::Dns));
        // The system's own resolver, with a name no resolver can look up.
        let shard = Shard::new();
        shard.endpoint(1, &format!("http://{}.example.com/", "a".repeat(80)), &[], 4);
        assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::Dns));
    });
}

/// A TLS partner whose certificate the returned client configuration trusts.
fn tls_pair(expired: bool) -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(if expired { 2021 } else { 2090 }, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate").der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.serialize_der().try_into().expect("PKCS 8"))
        .expect("a server configuration");
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn tls_sample(tls: Arc<rustls::ServerConfig>) -> SamplePartner {
    let setup = Setup { secrets: vec![secret(1)], tls: Some(tls), ..Setup::default() };
    SamplePartner::start_with("127.0.0.1:0", setup).expect("a free port")
}

#[test]
fn tls_partners_are_asked_over_http2_and_http1() {
    on_shard(async {
        let (server, client) = tls_pair(false);
        let mut old = (*server).clone();
        old.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (modern, plain) = (tls_sample(server), tls_sample(Arc::new(old)));
        let shard = Shard::with(SANDBOX, Some(client), None);
        shard.endpoint(2, &modern.url(), &[secret(1)], 20);
        shard.endpoint(1, &plain.url(), &[secret(1)], 20);
        let tokens: Vec<u64> = (0..200).map(|at| shard.send(1 + at % 2, AMPLE)).collect();
        for token in tokens {
            let answer = shard.answer(token).await;
            assert!(is_approval(&answer.outcome), "{answer:?}");
        }
        for partner in [&modern, &plain] {
            let seen = partner.seen();
            assert_eq!((seen.asks, seen.repeated, seen.unsigned), (100, 0, 0));
            assert!(seen.most_at_once <= 20 && seen.connections <= 20, "{seen:?}");
        }
        assert_eq!((modern.seen().http2, plain.seen().http2), (100, 0));
    });
}

#[test]
fn h18_tls_failure_and_expired_certificate() {
    on_shard(async {
        let (server, client) = tls_pair(true);
        let expired = tls_sample(server);
        let shard = Shard::with(SANDBOX, Some(client), None);
        shard.endpoint(1, &expired.url(), &[secret(1)], 4);
        assert_eq!(shard.outcome(1).await, Outcome::Unreachable(Unreachable::Tls));

        let (server, _) = tls_pair(false);
        let unknown = tls_sample(server);
        shard.endpoint(2, &unknown.url(), &[secret(1)], 4);
        assert_eq!(shard.outcome(2).await, Outcome::Unreachable(Unreachable::Tls), "signed by nobody we trust");

        let plain = sample(&[]);
        shard.endpoint(3, &format!("https://{}/", plain.addr()), &[], 4);
        assert_eq!(shard.outcome(3).await, Outcome::Unreachable(Unreachable::Tls), "no TLS spoken there");
        assert_eq!((expired.seen().asks, unknown.seen().asks, plain.seen().asks), (0, 0, 0));
    });
}

#[test]
fn h19_wrong_answers_are_told_apart() {
    on_shard(async {
        let partner = sample(&[]);
        let elsewhere = sample(&[]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 4);
        let redirect = format!("redirect {}", elsewhere.url());
        for (rule, bad) in [
            ("status 500", Bad::Status(500)),
            ("status 204", Bad::Status(204)),
            (redirect.as_str(), Bad::Redirect),
            ("huge", Bad::TooLarge),
            ("html", Bad::NotJson),
            ("garbage", Bad::NotJson),
            ("deep", Bad::NotJson),
            ("misspelt", Bad::UnknownDecision),
            ("approve amount lots", Bad::Amount),
            ("approve source bank", Bad::Source),
            ("approve metadata 20000", Bad::TooLarge),
        ] {
            partner.set_rules(&[rule]).expect("a rule");
            assert_eq!(shard.outcome(1).await, Outcome::Bad(bad), "{rule}");
            partner.set_rules(&["approve"]).expect("a rule");
            assert!(is_approval(&shard.outcome(1).await), "serving after {rule}");
        }
        assert_eq!(elsewhere.seen().connections, 0, "a redirect is not followed");
        assert_eq!(partner.seen().repeated, 0);
    });
}

#[test]
fn h19_what_is_no_http_is_a_bad_response() {
    on_shard(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                let Ok(mut peer) = peer else { break };
                std::thread::spawn(move || {
                    let mut read = [0; 4096];
                    if peer.read(&mut read).is_ok_and(|count| count > 0) {
                        let _ = peer.write_all(b"\x00\x12\xf0\xf1\xf1\xf0 this is a card network, not a web server");
                        let _ = peer.read(&mut read);
                    }
                });
            }
        });
        let shard = Shard::new();
        shard.endpoint(1, &url, &[], 2);
        assert_eq!(shard.outcome(1).await, Outcome::Bad(Bad::NotHttp));
    });
}

#[test]
fn h19_silence_and_single_bytes_cost_one_connection_each_until_they_are_given_up() {
    on_shard(async {
        let partner = sample(&["silent"]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 2);
        // The timeouts leave a busy machine room to connect; what is told does not depend on them.
        let silent = shard.send(1, Duration::from_millis(500));
        while !partner.seen().answers.contains_key("silent") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        partner.set_rules(&["drip"]).expect("a rule");
        shard.send(1, Duration::from_millis(500));
        while !partner.seen().answers.contains_key("drip") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        partner.set_rules(&["approve"]).expect("a rule");
        // Both connections are taken; once the two are long overdue, waiting asks are worth more.
        let mut outcomes = Vec::new();
        for _ in 0..200 {
            let token = shard.send(1, Duration::from_millis(100));
            outcomes.push(shard.answer(token).await.outcome);
            if outcomes.last().is_some_and(is_approval) {
                break;
            }
        }
        assert_eq!(outcomes.first(), Some(&Outcome::NotSent));
        assert!(outcomes.last().is_some_and(is_approval), "{outcomes:?}");
        assert_eq!(shard.answer(silent).await.outcome, Outcome::Silent);
    });
}

#[test]
fn h20_a_partner_that_hangs_costs_the_others_nothing() {
    on_shard(async {
        let (slow, quick) = (sample(&["silent"]), sample(&[]));
        let shard = Shard::new();
        shard.endpoint(1, &slow.url(), &[], 4);
        shard.endpoint(2, &quick.url(), &[], 4);
        for _ in 0..50 {
            shard.send(1, AMPLE);
        }
        for _ in 0..50 {
            assert!(is_approval(&shard.outcome(2).await));
        }
        assert_eq!(shard.client.open_asks(), 50);
        assert!(slow.seen().connections <= 4);
    });
}

#[test]
fn h21_a_secret_rotated_under_load_declines_nothing() {
    on_shard(async {
        let (old, new) = (secret(1), secret(2));
        let partner = SamplePartner::start("127.0.0.1:0", &["delay 1ms..3ms"], vec![old.clone()]).expect("a free port");
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), std::slice::from_ref(&old), 8);
        let mut tokens = Vec::new();
        for round in 0..400 {
            match round {
                100 => shard.endpoint(1, &partner.url(), &[new.clone(), old.clone()], 8),
                200 => {
                    // The partner changes over while both are live; the asks signed with one are in by then.
                    for token in tokens.drain(..) {
                        assert!(is_approval(&shard.answer(token).await.outcome));
                    }
                    partner.set_secrets(vec![new.clone()]);
                }
                300 => shard.endpoint(1, &partner.url(), std::slice::from_ref(&new), 8),
                _ => {}
            }
            tokens.push(shard.send(1, AMPLE));
            tokio::task::yield_now().await;
        }
        for token in tokens {
            assert!(is_approval(&shard.answer(token).await.outcome));
        }
        let seen = partner.seen();
        assert_eq!((seen.asks, seen.unsigned, seen.repeated), (400, 0, 0));
        assert!(seen.connections <= 8, "rotation drops no connection: {seen:?}");
    });
}

#[test]
fn h22_private_addresses_are_refused_outside_the_sandbox() {
    on_shard(async {
        let partner = sample(&[]);
        let port = partner.addr().port();
        let forbidden = Outcome::Unreachable(Unreachable::AddressForbidden);
        let shard = Shard::with(OUTSIDE, None, None);
        for url in [
            partner.url(),
            format!("https://127.0.0.1:{port}/"),
            format!("https://[::ffff:127.0.0.1]:{port}/"),
            "https://169.254.169.254/latest/meta-data".to_owned(),
            format!("https://localhost:{port}/"),
        ] {
            shard.endpoint(1, &url, &[], 4);
            assert_eq!(shard.outcome(1).await, forbidden, "{url}");
        }
        // A public name that resolves to private addresses later: the address dialled is what is checked.
        let resolver: Resolver =
            Arc::new(move |_, port| Ok(vec![([127, 0, 0, 1], port).into(), ([10, 0, 0, 1], port).into()]));
        let shard = Shard::with(OUTSIDE, None, Some(resolver));
        shard.endpoint(1, &format!("https://decide.example.com:{port}/"), &[], 4);
        assert_eq!(shard.outcome(1).await, forbidden);
        assert_eq!(partner.seen().connections, 0, "nothing was dialled");
    });
}

#[test]
fn the_cap_on_connections_and_asks_holds() {
    on_shard(async {
        let partner = sample(&["delay 2ms"]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 3);
        shard.client.warm(1);
        let tokens: Vec<u64> = (0..100).map(|_| shard.send(1, AMPLE)).collect();
        for token in tokens {
            assert!(is_approval(&shard.answer(token).await.outcome));
        }
        let seen = partner.seen();
        assert!(seen.most_at_once <= 3 && seen.connections <= 3, "{seen:?}");
        assert_eq!((seen.asks, seen.repeated), (100, 0));
    });
}

#[test]
fn an_ask_without_a_free_connection_by_its_deadline_is_not_sent() {
    on_shard(async {
        let partner = sample(&["silent"]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 1);
        shard.send(1, AMPLE);
        while partner.seen().asks == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The later ask has the earlier deadline: each ends at its own.
        let (long, short) = (shard.send(1, Duration::from_millis(120)), shard.send(1, Duration::from_millis(20)));
        assert_eq!(shard.answer(short).await.outcome, Outcome::NotSent);
        assert_eq!(shard.answer(long).await.outcome, Outcome::NotSent);
        assert_eq!(partner.seen().asks, 1);
    });
}

#[test]
fn connections_closed_while_idle_fail_no_ask() {
    on_shard(async {
        let mut partner = sample(&[]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 8);
        for round in 0..10 {
            assert!(is_approval(&shard.outcome(1).await), "before restart {round}");
            // Restarted on the same port without the shard's thread ever running in between: its pool is
            // full of connections that only the kernel knows to be dead.
            let addr = partner.addr();
            partner.stop();
            partner = SamplePartner::start(addr, &["approve"], Vec::new()).expect("the same port");
            assert!(is_approval(&shard.outcome(1).await), "after restart {round}");
        }
    });
}

#[test]
fn h14_a_late_answer_is_reported_with_what_it_said() {
    on_shard(async {
        let partner = sample(&["late 100ms"]);
        let shard = Shard::new();
        shard.endpoint(1, &partner.url(), &[], 4);
        // The timeout leaves a busy machine room to connect; the answer comes 100 ms after it in any case.
        let timeout = Duration::from_secs(1);
        let deadline = Instant::now() + timeout;
        let token = shard.send(1, timeout);
        let answer = shard.answer(token).await;
        assert!(is_approval(&answer.outcome));
        assert!(answer.answered_at > deadline);
    });
}

#[test]
fn another_url_takes_effect_at_once_and_what_is_out_is_still_answered() {
    on_shard(async {
        let (first, second) = (sample(&["delay 50ms"]), sample(&["decline"]));
        let shard = Shard::new();
        shard.endpoint(1, &first.url(), &[], 4);
        let out = shard.send(1, AMPLE);
        while first.seen().asks == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        shard.endpoint(1, &second.url(), &[], 4);
        assert!(!is_approval(&shard.outcome(1).await));
        assert!(is_approval(&shard.answer(out).await.outcome));
        assert_eq!((first.seen().asks, second.seen().asks), (1, 1));
    });
}

/// One HTTP/1.1 exchange, by hand: status and body.
fn exchange(addr: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).expect("the sample partner");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a response");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, text.split_once("\r\n\r\n").expect("a head").1.to_owned())
}

#[test]
fn the_command_plays_a_partner_and_changes_its_rules_at_run_time() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_auth-engine"))
        .args(["simulate", "partner", "--listen", "127.0.0.1:0", "--no-verify"])
        .args(["--rule", "amount>10 decline limit_exceeded"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let line = lines.next().expect("a line").expect("text");
    let addr = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("a URL").to_owned();
    let ask = String::from_utf8(body(AMPLE).to_vec()).expect("text");
    let (status, answer) = exchange(&addr, "POST", "/decide", &ask);
    assert_eq!((status, answer.as_str()), (200, r#"{"decision":"decline","reason":"limit_exceeded"}"#));
    assert!(lines.next().expect("a line").expect("text").contains("decline"));
    assert_eq!(exchange(&addr, "PUT", "/rules", r#"{"rules":["jump"]}"#).0, 400);
    assert_eq!(exchange(&addr, "PUT", "/rules", r#"{"rules":["approve"]}"#).0, 200);
    assert_eq!(exchange(&addr, "POST", "/decide", &ask).1, r#"{"decision":"approve"}"#);
    assert!(exchange(&addr, "GET", "/seen", "").1.contains(r#""asks":2"#));
    child.kill().expect("still running");
    child.wait().expect("ended");

    let failed = Command::new(env!("CARGO_BIN_EXE_auth-engine"))
        .args(["simulate", "partner", "--rule", "jump"])
        .output()
        .expect("the binary");
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&failed.stderr).lines().count(), 1, "one line");
}
