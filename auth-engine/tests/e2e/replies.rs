//! What a reply carries (contracts 2.2, 2.3): element by element, for every class of message.

use iso_codec::{Draft, Mti};

use super::support::engine::Process;
use super::support::iso::{framed, fresh, network, spec, text};
use super::support::{Engine, Setup, World, advice, code, de, exactly, message, purchase, reversal, until};

/// Everything that is returned unchanged, and everything that never is.
fn rich(draft: &mut Draft, pan: &str, expiry: &str) {
    draft
        .set_text(5, "000000001250")
        .set_text(6, "000000001250")
        .set_text(9, "61000000")
        .set_text(10, "61000000")
        .set_text(16, "1121")
        .set_text(20, "620")
        .set_text(23, "001")
        .set_text(26, "12")
        .set_text(28, "C00000100")
        .set_text(35, format!("{pan}={expiry}2010000"))
        .set_text(45, format!("B{pan}^DOE/JANE^{expiry}201"))
        .set_raw(52, [0xA5; 8])
        .set_text(53, "9701100001000000")
        .set_raw(55, [0x9F, 0x26, 0x02, 0x01, 0x02])
        .set_text(50, "978")
        .set_text(51, "978")
        .set_text(62, "BATCH 7");
}

const RICH_REPLY: [u8; 24] = [2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 20, 28, 32, 33, 37, 39, 41, 48, 49, 50, 51, 62, 63];

fn with(mut elements: Vec<u8>, more: &[u8]) -> Vec<u8> {
    elements.extend_from_slice(more);
    elements.sort_unstable();
    elements
}

#[test]
fn an_answered_request_returns_its_elements_and_nothing_secret() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for (mti, reply_mti) in [(0x0100, 0x0110), (0x0101, 0x0110), (0x0200, 0x0210), (0x0201, 0x0210)] {
        let mut tap = message(mti, &card, 1250);
        rich(&mut tap, &card.pan, &card.expiry);
        let reply = wire.ask(&tap);
        assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(reply_mti), "00"));
        exactly(&reply, &with(RICH_REPLY.to_vec(), &[38]));
        for element in RICH_REPLY.into_iter().filter(|n| ![39, 48].contains(n)) {
            assert_eq!(de(&reply, element), Some(text(&tap, element)), "DE{element}");
        }
        let approval = de(&reply, 38).expect("DE38");
        assert!(approval.len() == 6 && approval.bytes().all(|b| b.is_ascii_digit()) && approval != "000000");
    }
    // A decline: the same without DE38.
    let mut tap = purchase(&card, 999_999);
    rich(&mut tap, &card.pan, &card.expiry);
    tap.set_text(6, "000000999999");
    let reply = wire.ask(&tap);
    assert_eq!(code(&reply), "51");
    exactly(&reply, &RICH_REPLY);
}

#[test]
fn a_reply_has_only_what_the_request_had() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let mut tap = purchase(&card, 100);
    for element in [12, 13, 14, 15, 18, 22, 32, 33, 37, 41, 42, 43, 48, 61, 63] {
        tap.remove(element);
    }
    let reply = wire.ask(&tap);
    assert_eq!(code(&reply), "00", "nothing but the mandatory elements is asked for");
    exactly(&reply, &[2, 3, 4, 7, 11, 38, 39, 49]);
    // The card in track 2 alone: DE35 is not returned, and there is no DE2 to return.
    let mut tap = purchase(&card, 100);
    tap.remove(2);
    tap.remove(14);
    tap.set_text(35, format!("{}={}2010000", card.pan, card.expiry));
    let reply = wire.ask(&tap);
    assert_eq!(code(&reply), "00");
    exactly(&reply, &[3, 4, 7, 11, 15, 32, 33, 37, 38, 39, 41, 48, 49, 63]);
}

#[test]
fn additional_data_comes_back_as_class_and_three_sub_elements() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let trace = "MCC9999991122  ";
    type Subs = &'static [(&'static str, &'static str)];
    let cases: [(Subs, Option<&str>); 5] = [
        (
            &[
                ("TCC", "R"),
                ("63", "MCC9999991122  "),
                ("20", "S"),
                ("61", "10001"),
                ("43", "2"),
                ("42", "0103210"),
                ("92", "123"),
            ],
            Some("R420701032104301263"),
        ),
        (&[("42", "0103210"), ("61", "00000")], Some("42070103210")),
        (&[("TCC", "T")], Some("T")),
        (&[("TCC", "T"), ("92", "123"), ("99", "ODD")], Some("T")),
        (&[("61", "00000")], None),
    ];
    for (subs, expected) in cases {
        let mut tap = purchase(&card, 100);
        tap.set_subs(48, subs);
        let reply = wire.ask(&tap);
        assert_eq!(code(&reply), "00");
        let expected = expected.map(|text| match text.ends_with("63") {
            true => format!("{text}15{trace}"),
            false => text.to_owned(),
        });
        assert_eq!(de(&reply, 48), expected);
    }
}

#[test]
fn advices_return_their_own_approval_code() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for (mti, reply_mti) in [(0x0120, 0x0130), (0x0121, 0x0130), (0x0220, 0x0230), (0x0221, 0x0230)] {
        let mut told = advice(mti, &card, 100, "00");
        rich(&mut told, &card.pan, &card.expiry);
        let reply = wire.ask(&told);
        assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(reply_mti), "00"));
        exactly(&reply, &with(RICH_REPLY.to_vec(), &[38]));
        assert_eq!(de(&reply, 38).as_deref(), Some("654321"));
        told = advice(mti, &card, 100, "00");
        told.remove(38);
        assert_eq!(de(&wire.ask(&told), 38), None, "nothing is made up for an advice");
    }
}

#[test]
fn reversals_return_which_original_they_meant() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for (mti, reply_mti) in [(0x0400, 0x0410), (0x0401, 0x0410), (0x0420, 0x0430), (0x0421, 0x0430)] {
        let mut tap = purchase(&card, 1250);
        rich(&mut tap, &card.pan, &card.expiry);
        let approval = de(&wire.ask(&tap), 38).expect("approved");
        let mut back = reversal(mti, &tap);
        let all = super::support::iso::replacement(1250, 1250);
        back.set_text(95, all.as_str()).set_text(38, approval);
        let reply = wire.ask(&back);
        assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(reply_mti), "00"));
        exactly(&reply, &with(RICH_REPLY.to_vec(), &[90, 95]));
        assert_eq!(de(&reply, 90), Some(text(&back, 90)));
        assert_eq!(de(&reply, 95), Some(all));
    }
}

#[test]
fn network_messages_are_answered_by_their_function() {
    let world = World::shared();
    let mut wire = world.wire();
    for function in [1, 2, 61, 62, 270, 60, 63, 64, 65, 66, 67, 68, 81, 82, 363] {
        let reply = wire.ask(&network(function));
        assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(0x0810), "00"), "DE70 {function}");
        exactly(&reply, &[7, 11, 33, 39, 63, 70]);
    }
    let mut full = network(270);
    full.set_text(15, "1122")
        .set_text(37, "000000000042")
        .set_text(48, "T")
        .set_text(94, "M000042")
        .set_raw(96, [7u8; 8]);
    exactly(&wire.ask(&full), &[7, 11, 33, 39, 63, 70, 94, 96]);
    for function in [161, 162, 0, 999, 301] {
        let reply = wire.ask(&network(function));
        assert_eq!((code(&reply).as_str(), de(&reply, 44).as_deref()), ("30", Some("070")), "DE70 {function}");
    }
    let mut without = network(1);
    without.remove(70);
    let reply = wire.ask(&without);
    assert_eq!((code(&reply).as_str(), de(&reply, 44).as_deref()), ("30", Some("070")));
    exactly(&reply, &[7, 11, 33, 39, 44, 63]);
}

/// A message of any type with what every class may carry.
fn plain(mti: u16) -> Draft {
    let mut draft = network(270);
    draft.mti = Mti(mti);
    draft.remove(70);
    draft
}

#[test]
fn other_classes_have_their_answers_or_none() {
    let world = World::shared();
    let mut wire = world.wire();
    let mut told = plain(0x0620);
    told.set_text(60, "4090000REPLY 42 WAS ODD");
    let reply = wire.ask(&told);
    assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(0x0630), "00"));
    exactly(&reply, &[7, 11, 33, 39, 60, 63]);
    assert_eq!(de(&reply, 60), Some(text(&told, 60)));
    let reply = wire.ask(&plain(0x0302));
    assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(0x0312), "40"));
    for (mti, answer) in [(0x0300, 0x0310), (0x0500, 0x0510), (0x0520, 0x0530), (0x0600, 0x0610), (0x0700, 0x0710)] {
        let reply = wire.ask(&plain(mti));
        assert_eq!((reply.mti(), code(&reply).as_str()), (Mti(answer), "12"), "{mti:04X}");
    }
    // Told, not asked: no answer. A response to nobody: counted, no answer.
    for mti in [0x0820, 0x0180, 0x0190, 0x0110, 0x0210, 0x0130, 0x0410, 0x0430, 0x0810] {
        wire.send(&plain(mti));
    }
    wire.nothing_but_an_echo();
}

#[test]
fn what_is_told_and_not_asked_is_recorded_and_outlives_a_kill() {
    let engine = Engine::start(Setup::default());
    let mut wire = engine.wire();
    // A 0190 of no tap is told like the others.
    let told = [0x0620, 0x0621, 0x0820, 0x0180, 0x0190];
    for mti in told {
        wire.send(&plain(mti));
        if matches!(mti, 0x0620 | 0x0621) {
            assert_eq!(wire.reply().mti(), Mti(0x0630));
        }
    }
    wire.nothing_but_an_echo();
    engine.kill();
    let data = engine.data();
    let ended = Process::start(&["journal", "export", "--data", data.to_str().expect("a plain path")]).end();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let events: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let recorded: Vec<&str> =
        events.iter().filter(|e| e["type"] == "recorded").filter_map(|e| e["data"]["mti"].as_str()).collect();
    assert_eq!(recorded, ["0620", "0621", "0820", "0180", "0190"]);
}

#[test]
fn a_missing_element_is_named() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    for mti in [0x0100, 0x0120, 0x0200, 0x0220, 0x0400, 0x0420] {
        for (missing, named) in [(2, "002"), (3, "003"), (4, "004"), (49, "049")] {
            let mut draft = message(mti, &card, 1250);
            draft.remove(missing);
            let reply = wire.ask(&draft);
            assert_eq!((code(&reply).as_str(), de(&reply, 44).as_deref()), ("30", Some(named)), "{mti:04X}");
            let all = [2, 3, 4, 7, 11, 15, 32, 33, 37, 39, 41, 44, 48, 49, 63];
            let left: Vec<u8> = all.into_iter().filter(|n| *n != missing).collect();
            exactly(&reply, &left);
        }
        let mut draft = message(mti, &card, 1250);
        draft.set_text(6, "000000001250");
        let reply = wire.ask(&draft);
        assert_eq!((code(&reply).as_str(), de(&reply, 44).as_deref()), ("30", Some("051")), "{mti:04X}");
        let mut draft = message(mti, &card, 1250);
        draft.remove(49);
        draft.remove(3);
        assert_eq!(de(&wire.ask(&draft), 44).as_deref(), Some("003"), "the lowest is named");
    }
    world.pool_has("1000.00", "0.00");
    assert_eq!(world.sample.seen().asks, 0);
}

#[test]
fn what_cannot_be_answered_is_dropped_and_counted() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let before = world.engine.metric("auth_frames_rejected_total", &[]);
    for missing in [7, 11] {
        let mut draft = purchase(&card, 100);
        draft.remove(missing);
        wire.send(&draft);
        let mut draft = network(270);
        draft.remove(missing);
        wire.send(&draft);
    }
    wire.send_frame(b"neither EBCDIC nor a message");
    wire.nothing_but_an_echo();
    until("five frames to be counted", || {
        (world.engine.metric("auth_frames_rejected_total", &[]) >= before + 5.0).then_some(())
    });
}

#[test]
fn an_element_that_cannot_be_read_is_named() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    // A letter in DE4: its last digit, the byte before DE7's first.
    let frame = tap.encode(&spec()).expect("encodes");
    let seven: Vec<u8> = text(&tap, 7).bytes().map(|digit| digit - b'0' + 0xF0).collect();
    let at = frame.windows(10).position(|window| window == seven).expect("DE7");
    let mut odd = frame.to_vec();
    odd[at - 1] = 0xC1;
    wire.send_bytes(&framed(&odd));
    let reply = wire.reply();
    assert_eq!((code(&reply).as_str(), de(&reply, 44).as_deref()), ("30", Some("004")));
    assert!(!reply.has(4) && reply.has(7) && reply.has(11) && reply.has(2) && reply.has(3), "what was read comes back");
    // Nothing but the STAN's repetition tells it apart from the good one, which is no repeat: nothing was remembered.
    assert_eq!(code(&wire.ask(&tap)), "00");
    let mut long = purchase(&card, fresh().into());
    long.set_text(3, "0X0000");
    if let Ok(frame) = long.encode(&spec()) {
        wire.send_frame(&frame);
        assert_eq!(de(&wire.reply(), 44).as_deref(), Some("003"));
    }
    assert!(world.engine.stderr().contains("DE4"), "a diagnosis names the element");
}

#[test]
fn the_available_balance_is_told_for_accounts_alone() {
    let world = World::shared();
    let mut wire = world.wire();
    let (card, account) = world.account_card("5.00");
    let reply = wire.ask(&purchase(&card, 501));
    assert_eq!((code(&reply).as_str(), de(&reply, 54).as_deref()), ("51", Some("0002978C000000000500")));
    let mut inquiry = purchase(&card, 0);
    inquiry.set_text(3, "300000");
    let reply = wire.ask(&inquiry);
    assert_eq!((code(&reply).as_str(), de(&reply, 54).as_deref()), ("00", Some("0002978C000000000500")));
    let reply = wire.ask(&purchase(&card, 500));
    assert_eq!((code(&reply).as_str(), de(&reply, 54)), ("00", None), "an approval tells no balance");
    world.account_has(&account, "0.00", "5.00");
    let pool_card = world.pool_card();
    let reply = wire.ask(&purchase(&pool_card, 100_001));
    assert_eq!((code(&reply).as_str(), de(&reply, 54)), ("51", None), "a pool's balance is nobody's business");
    for funding in [&pool_card, &world.choice_card("1.00").0] {
        let mut inquiry = purchase(funding, 0);
        inquiry.set_text(3, "300000");
        let reply = wire.ask(&inquiry);
        assert_eq!((code(&reply).as_str(), de(&reply, 54)), ("57", None));
    }
}
