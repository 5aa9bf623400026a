//! What a message says in the words of the contract: bytes in, merchant, terminal and network out; and the whole way
//! from a sealed message in a journal's files to a list.

mod view_common;

use std::borrow::Cow;
use std::sync::Arc;

use auth_engine::view::docs::{MerchantDoc, NetworkDoc, PosDoc};
use auth_engine::view::feed::JournalSource;
use auth_engine::view::fold::SealedRequests;
use auth_engine::view::request::{describe_request, resolved};
use auth_engine::view::{AuthorizationFilter, PageRequest, View};
use bytes::BytesMut;
use iso_codec::{Builder, Draft, Mti, Spec, decode};
use ledger_core::event::tap::{Facts, Raw, RepeatKey, TapTaken, Trace};
use ledger_core::event::words::{Class, Kind, Reason};
use ledger_core::event::{Event, admin, field};
use ledger_core::journal::{Journal, KeySource, Options};
use ledger_core::keys::{MasterKey, Nonce};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;

/// 2026-01-01T00:00:10Z.
const NOW: Timestamp = Timestamp(1_767_225_610_000_000);
const PAN: &[u8] = b"4242424242424242";

fn request(entry_mode: &str, pos: Option<&[u8]>, pin: bool) -> BytesMut {
    let spec = Spec::embedded("mastercard").expect("compiled in");
    let mut out = BytesMut::new();
    let mut b = Builder::new(&spec, Mti(0x0100), &mut out);
    let mut text = |n: u8, value: &[u8]| b.text(n, value).expect("it fits");
    text(2, PAN);
    text(3, b"000000");
    text(4, b"000000001250");
    text(7, b"1231235959");
    text(11, b"000123");
    text(18, b"5411");
    text(22, entry_mode.as_bytes());
    text(32, b"012345");
    text(35, b"4242424242424242=29011010000000000000");
    text(37, b"REF000000123");
    text(41, b"TERM01  ");
    text(42, b"MERCHANT-7     ");
    text(43, b"Bakery at the corner   Berlin        DEU");
    let mut subs = b"R6105".to_vec();
    subs.extend_from_slice(b"10000");
    subs.extend_from_slice(b"6315MCC0000011231  ");
    text(48, &subs);
    text(49, b"978");
    if pin {
        b.raw(52, &[9; 8]).expect("it fits");
    }
    if let Some(pos) = pos {
        b.text(61, pos).expect("it fits");
    }
    b.text(63, b"MCC000002").expect("it fits");
    b.finish().expect("a message");
    out
}

fn described(frame: BytesMut) -> (MerchantDoc, PosDoc, NetworkDoc) {
    let spec = Spec::embedded("mastercard").expect("compiled in");
    describe_request(&decode(&spec, frame.freeze()).expect("it decodes"), NOW)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_message_is_told_in_words() {
    let (merchant, pos, network) = described(request("071", Some(b"00000000000"), true));
    let expected = MerchantDoc {
        id: some("MERCHANT-7"),
        name: some("Bakery at the corner"),
        city: some("Berlin"),
        country: some("DEU"),
        mcc: some("5411"),
        terminal_id: some("TERM01"),
        acquirer_id: some("012345"),
    };
    assert_eq!(merchant, expected);
    let expected = PosDoc {
        entry_mode: some("contactless_chip"),
        pin_entered: true,
        card_present: true,
        cardholder_present: true,
        partial_approval_supported: true,
    };
    assert_eq!(pos, expected);
    let expected = NetworkDoc {
        name: "mastercard".to_owned(),
        stan: some("000123"),
        retrieval_reference: some("REF000000123"),
        reference: some("MCC000002"),
        trace_id: some("MCC0000011231"),
        transmitted_at: some("2025-12-31T23:59:59.000000Z"),
    };
    assert_eq!(network, expected);
}

#[test]
fn entry_modes_have_their_words() {
    for (digits, word) in [
        ("011", "manual"),
        ("021", "magnetic_stripe"),
        ("901", "magnetic_stripe"),
        ("051", "chip"),
        ("071", "contactless_chip"),
        ("911", "contactless_stripe"),
        ("100", "credential_on_file"),
        ("810", "ecommerce"),
        ("790", "fallback"),
        ("801", "fallback"),
        ("000", "unknown"),
    ] {
        assert_eq!(described(request(digits, None, false)).1.entry_mode.as_deref(), Some(word));
    }
    let (_, pos, _) = described(request("810", Some(b"10015100000"), false));
    assert!(!pos.card_present && !pos.cardholder_present && !pos.pin_entered);
    let (_, pos, _) = described(request("051", None, false));
    assert!(pos.card_present && pos.cardholder_present);
}

#[test]
fn the_year_of_a_message_is_the_nearest() {
    let at = |text: &str| Timestamp::parse_rfc3339(text).expect("a time");
    let spec = Spec::embedded("mastercard").expect("it is compiled in");
    let cases = [
        ("1231235959", "2026-01-01T00:00:10Z", Some("2025-12-31T23:59:59Z")),
        ("0101000000", "2025-12-31T23:59:59Z", Some("2026-01-01T00:00:00Z")),
        ("0615120000", "2026-06-15T12:00:01Z", Some("2026-06-15T12:00:00Z")),
        ("0228235959", "2028-03-01T00:00:00Z", Some("2028-02-28T23:59:59Z")),
        ("0229000000", "2027-12-31T00:00:00Z", Some("2028-02-29T00:00:00Z")),
        ("0229235959", "2028-03-01T00:00:00Z", Some("2028-02-29T23:59:59Z")),
        // No such day in these years: the nearest that has one, and 2100 has none.
        ("0229120000", "2025-06-01T00:00:00Z", Some("2024-02-29T12:00:00Z")),
        ("0229120000", "2026-06-01T00:00:00Z", Some("2028-02-29T12:00:00Z")),
        ("0229120000", "2099-02-28T00:00:00Z", Some("2096-02-29T12:00:00Z")),
        ("0229120000", "2101-02-28T00:00:00Z", Some("2104-02-29T12:00:00Z")),
        ("1332000000", "2026-01-01T00:00:00Z", None),
        ("0230000000", "2028-01-01T00:00:00Z", None),
        ("0131240000", "2026-01-01T00:00:00Z", None),
        ("0000000000", "2026-01-01T00:00:00Z", None),
    ];
    for (de7, now, expected) in cases {
        let mut draft = Draft::new(Mti(0x0800));
        draft.set_text(7, de7);
        let message = decode(&spec, draft.encode(&spec).expect("it fits")).expect("it decodes");
        let found = message.transmitted_at().and_then(|moment| resolved(moment, at(now)));
        assert_eq!(found, expected.map(at), "{de7} at {now}");
    }
}

#[test]
fn a_sealed_message_in_the_journal_reaches_the_list_without_its_secrets() {
    let dir = tempfile::tempdir().expect("a directory");
    let master = MasterKey::from_bytes([3; 32]);
    let keys = KeySource::new(master, [5; 80]);
    let mut options = Options::new(dir.path().join("journal"));
    options.segment_bytes = 1 << 20;
    let (mut journal, _) = Journal::open(options, keys, &mut |_| Ok(())).expect("a journal");
    journal.start_epoch(1);
    let keyring = Arc::clone(journal.keyring());
    let started = admin::Started { epoch: 1, version: Cow::Borrowed("test"), dedup_window_us: 1 };
    journal.append(NOW.0, |out| Event::Started(started).encode(out));
    let (name, spec) = (Cow::Borrowed("acquirer"), Cow::Borrowed("mastercard"));
    journal.append(NOW.0, |out| Event::LinkDefined(admin::LinkDefined { link: 0, name, spec }).encode(out));
    let seq = journal.next_seq();
    let frame = request("051", None, false);
    let mut sealed = Vec::new();
    keyring.seal(Nonce { epoch: 1, seq, field: field::REQUEST }, &frame, &mut sealed);
    let facts = Facts {
        no: 0,
        class: Class::Authorization,
        kind: Kind::Purchase,
        card: None,
        amount: 1_250,
        currency: Some(Currency::EUR),
        merchant_amount: 1_250,
        merchant_currency: 978,
        billed: false,
        trace: Trace::default(),
        parent: None,
        expires_at: NOW,
    };
    let tap = TapTaken {
        facts,
        repeat: RepeatKey { key: [0; 16], content: 0 },
        raw: Raw { link: 0, sealed: Cow::Owned(sealed) },
        reply: Some(view_common::reply(Reason::UnknownCard, None)),
        first: None,
        second: None,
        cleared: 0,
        postings: Default::default(),
        partial_supported: false,
    };
    journal.append(NOW.0, |out| Event::TapTaken(tap).encode(out));
    journal.commit().expect("durable");

    let (view, _) = View::open(&dir.path().join("view"), journal.durable_seq()).expect("a view");
    let requests = SealedRequests::new(keyring, Box::new(Spec::embedded));
    let source = JournalSource::new(journal.reader());
    let _feeder = view.start(Box::new(source), Arc::new(requests));
    view_common::wait(&view, journal.durable_seq());
    let listed = view.authorizations(None, &AuthorizationFilter::default(), &PageRequest::default()).expect("a page");
    let doc = listed.data.first().expect("one");
    assert_eq!(doc.merchant.name.as_deref(), Some("Bakery at the corner"));
    assert_eq!(doc.network.stan.as_deref(), Some("000123"));
    let json = serde_json::to_string(doc).expect("JSON");
    assert!(!json.contains("4242424242424242") && !json.contains("29011010"));
}
