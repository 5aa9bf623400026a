//! Elements as values, at the edges of what they may hold, in text and in packed digits.

use iso_codec::{Draft, EntryMode, Message, Mti, Rate, Spec, decode};

/// The message of those elements, in a spec that is compiled in.
fn message(spec: &str, elements: &[(u8, &str)]) -> Message {
    let spec = Spec::embedded(spec).expect("it is compiled in");
    let mut draft = Draft::new(Mti(0x0420));
    for (n, text) in elements {
        draft.set_text(*n, *text);
    }
    decode(&spec, draft.encode(&spec).expect("it fits the spec")).expect("what is encoded decodes")
}

/// Text in EBCDIC and ASCII, and packed digits.
const SPECS: [&str; 3] = ["mastercard", "iso1987-ascii", "iso1987-binary"];

#[test]
fn amounts_come_with_the_currency_of_their_own_element() {
    for spec in SPECS {
        let elements = [(4, "999999999999"), (6, "000000000000"), (49, "978"), (51, "008")];
        let read = message(spec, &elements);
        let amount = |n| read.amount(n).map(|amount| (amount.minor, amount.currency));
        assert_eq!(amount(4), Some((999_999_999_999, Some(978))), "{spec}");
        assert_eq!(amount(6), Some((0, Some(8))), "{spec}");
        assert_eq!((amount(5), amount(49)), (None, None), "{spec}");
        let alone = message(spec, &[(4, "1")]);
        assert_eq!(alone.amount(4).map(|amount| (amount.minor, amount.currency)), Some((1, None)), "{spec}");
    }
    let letters = message("iso1987-ascii", &[(4, "1"), (49, "EUR")]);
    assert_eq!(letters.amount(4).map(|amount| amount.currency), Some(None));
}

#[test]
fn a_rate_has_as_many_decimals_as_its_first_digit_says() {
    let cases = [
        ("70932835", Some(Rate { mantissa: 932_835, decimals: 7 })),
        ("00000001", Some(Rate { mantissa: 1, decimals: 0 })),
        ("99999999", Some(Rate { mantissa: 9_999_999, decimals: 9 })),
        ("90000000", None),
        ("00000000", None),
    ];
    for spec in SPECS {
        for (text, rate) in cases {
            let read = message(spec, &[(9, text), (10, text)]);
            assert_eq!((read.rate(9), read.rate(10)), (rate, rate), "{spec} {text}");
        }
        assert_eq!(message(spec, &[(3, "0")]).rate(10), None, "{spec}");
    }
}

#[test]
fn a_moment_is_one_that_a_calendar_can_have() {
    let cases = [
        ("0101000000", true),
        ("1231235959", true),
        ("0229120000", true),
        ("0230120000", false),
        ("0430120000", true),
        ("0431120000", false),
        ("0931120000", false),
        ("0001120000", false),
        ("1301120000", false),
        ("0100120000", false),
        ("0132120000", false),
        ("0101240000", false),
        ("0101126000", false),
        ("0101120060", false),
    ];
    for spec in SPECS {
        for (text, good) in cases {
            assert_eq!(message(spec, &[(7, text)]).transmitted_at().is_some(), good, "{spec} {text}");
        }
        let at = message(spec, &[(7, "1231235958")]).transmitted_at().expect("a moment");
        assert_eq!((at.month, at.day, at.hour, at.minute, at.second), (12, 31, 23, 59, 58), "{spec}");
    }
}

#[test]
fn an_entry_mode_is_read_in_the_edition_that_has_three_digits() {
    for spec in SPECS {
        assert_eq!(message(spec, &[(22, "812")]).entry_mode(), Some(EntryMode { pan: 81, pin: 2 }), "{spec}");
        assert_eq!(message(spec, &[(22, "7")]).entry_mode(), Some(EntryMode { pan: 0, pin: 7 }), "{spec}");
    }
    assert_eq!(message("iso1993-ascii", &[(22, "210101213141")]).entry_mode(), None);
}

#[test]
fn additional_amounts_end_at_the_first_that_is_none() {
    let one = "1002978C000000000500";
    let debit = "0057840D000000001234";
    for spec in SPECS {
        let read = |text: &str| message(spec, &[(54, text)]).additional_amounts().collect::<Vec<_>>();
        let two = read(&format!("{one}{debit}"));
        assert_eq!(two.len(), 2, "{spec}");
        assert_eq!(
            (two[0].account, two[0].kind, two[0].currency, two[0].debit, two[0].amount),
            (10, 2, 978, false, 500)
        );
        assert_eq!(
            (two[1].account, two[1].kind, two[1].currency, two[1].debit, two[1].amount),
            (0, 57, 840, true, 1234)
        );
        assert_eq!(read(&one.repeat(6)).len(), 6, "{spec}");
        assert_eq!(read(&format!("{one}{}", &debit[..19])).len(), 1, "{spec}: one cut short");
        assert_eq!(read(&format!("{}{one}", one.replace('C', "X"))).len(), 0, "{spec}: neither credit nor debit");
        assert_eq!(read("").len(), 0, "{spec}");
    }
}

#[test]
fn originals_and_replacements_are_read_at_their_full_length_alone() {
    let original = format!("0100{:06}{}{:011}{:011}", 999_999, "0229235959", 99_999_999_999u64, 0);
    for spec in SPECS {
        let read = message(spec, &[(90, &original)]).original().expect("DE90");
        assert_eq!((read.mti, read.stan, read.transmitted), (Mti(0x0100), 999_999, 229_235_959), "{spec}");
        assert_eq!((read.acquirer, read.forwarder), (99_999_999_999, 0), "{spec}");
        let stays = format!("{:012}{:012}{:012}000000", 999_999_999_999u64, 0, 1);
        let read = message(spec, &[(95, &stays)]).replacement().expect("DE95");
        assert_eq!((read.transaction, read.settlement, read.billing), (Some(999_999_999_999), None, Some(1)), "{spec}");
        assert_eq!(message(spec, &[(3, "0")]).replacement(), None, "{spec}");
    }
    // These numbers mean other things in the edition of 1993.
    let other = message("iso1993-ascii", &[(90, "1"), (95, "12345")]);
    assert_eq!((other.original(), other.replacement()), (None, None));
}

#[test]
fn network_data_are_read_from_their_start_however_long_they_are() {
    for spec in SPECS {
        let read = |text: &str| message(spec, &[(63, text)]).network_reference();
        assert_eq!(read("MCC123456"), Some(*b"MCC123456"), "{spec}");
        assert_eq!(read("MC"), Some(*b"MC       "), "{spec}");
        assert_eq!(read("MCC123456 and more"), Some(*b"MCC123456"), "{spec}");
        assert_eq!(message(spec, &[(3, "0")]).network_reference(), None, "{spec}");
        let reason = |text: &str| message(spec, &[(60, text)]).advice_reason().map(|r| (r.reason, r.detail));
        assert_eq!(reason("1030000"), Some((103, Some(0))), "{spec}");
        assert_eq!(reason("190"), Some((190, None)), "{spec}");
        assert_eq!(reason(&format!("4000012{}", "x".repeat(50))), Some((400, Some(12))), "{spec}");
        assert_eq!(reason("19"), None, "{spec}");
        assert_eq!(reason("ABC0000"), None, "{spec}");
    }
    let long = "R".repeat(999);
    assert_eq!(message("iso1987-ascii", &[(63, &long)]).network_reference(), Some(*b"RRRRRRRRR"));
}

#[test]
fn a_link_to_another_message_is_one_that_names_it() {
    let spec = Spec::embedded("mastercard").expect("it is compiled in");
    let linked = |text: &str| {
        let mut draft = Draft::new(Mti(0x0100));
        draft.set_subs(48, &[("TCC", "R"), ("61", "10001"), ("63", text)]);
        let read = decode(&spec, draft.encode(&spec).expect("it fits the spec")).expect("it decodes");
        assert!(read.takes_partial());
        read.trace_link().map(|link| (link.reference, link.settlement))
    };
    assert_eq!(linked("MCC1234560229  "), Some((*b"MCC123456", 229)));
    assert_eq!(linked("MCC123456      "), Some((*b"MCC123456", 0)));
    assert_eq!(linked("MCC123456"), Some((*b"MCC123456", 0)));
    assert_eq!(linked("         0131  "), None);
    assert_eq!(linked("0000000000131  "), None);
    assert_eq!(linked("MCC1234"), None);
    assert!(!message("mastercard", &[(3, "0")]).takes_partial());
    let pos = message("mastercard", &[(61, "0000000080300840")]);
    assert_eq!((pos.pos_digit("status"), pos.pos_digit("nothing")), (Some(b'0'), None));
    assert_eq!(pos.pos_digit("reserved_9"), Some(b'8'));
}

#[test]
fn the_start_of_a_text_is_as_long_as_there_is_room() {
    for spec in SPECS {
        let read = message(spec, &[(2, "5351101200004242"), (37, "603112000123"), (32, "12345")]);
        let mut buf = [0u8; 4];
        assert_eq!(read.text_start(2, &mut buf), Some(&b"5351"[..]), "{spec}");
        assert_eq!(read.text_start(37, &mut buf), Some(&b"6031"[..]), "{spec}");
        let mut buf = [0u8; 99];
        assert_eq!(read.text_start(32, &mut buf), Some(&b"12345"[..]), "{spec}");
        assert_eq!(read.text_start(4, &mut buf), None, "{spec}");
        assert_eq!(read.text_start(2, &mut []), Some(&b""[..]), "{spec}");
    }
}
