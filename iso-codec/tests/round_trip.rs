//! What decodes is written back byte for byte, by every way there is to write; and what cannot be decoded never panics.

mod common;

use bytes::{Bytes, BytesMut};
use common::{fixture, fixtures};
use iso_codec::{
    Builder, Content, DecodeError, DescribeOptions, Draft, ElementAt, Elements, Got, Length, Message, Mti, Spec,
    decode, describe, from_json,
};
use proptest::prelude::*;
use std::sync::Arc;

/// Writes a message anew by every way and compares.
fn check_round_trip(message: &Message) {
    let frame = message.frame();
    assert_eq!(Draft::from_message(message).encode(message.spec()).expect("a draft encodes"), frame);

    let described = describe(message, &DescribeOptions { clear: true });
    let json = serde_json::to_string(&described).expect("it serializes");
    let (spec, draft) = from_json(&json, None).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(spec, message.spec().name());
    match draft.encode(message.spec()) {
        Ok(bytes) => assert_eq!(bytes, frame, "{json}"),
        Err(error) => panic!("{error}: {json}"),
    }

    let mut out = BytesMut::from(&b"before"[..]);
    let mut builder = Builder::new(message.spec(), message.mti(), &mut out);
    for n in message.present() {
        builder.copy(n, message).expect("a wire copy");
    }
    let len = builder.finish().expect("it finishes");
    assert_eq!(out.len(), 6 + len);
    if described.bitmap.is_none() {
        assert_eq!(&out[6..], &frame[..]);
    }
}

/// What every outcome of decoding must hold to; returns the message that could be read.
fn check_any(spec: &Arc<Spec>, frame: Bytes) {
    match decode(spec, frame.clone()) {
        Ok(message) => {
            check_round_trip(&message);
            poke(&message);
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n') && line.contains("at offset"), "{line}");
            assert!(error.offset <= frame.len(), "{line}");
            assert_eq!(error.faults.first().map(|f| f.element), Some(error.element));
            if let Some(partial) = &error.partial {
                poke(partial);
            }
        }
    }
}

/// Calls every reader; none may panic.
fn poke(message: &Message) {
    let mut buf = [0u8; 999];
    for n in 0..=255u8 {
        assert_eq!(message.has(n), message.raw(n).is_some());
        assert_eq!(message.has(n), message.wire(n).is_some());
        let _ = (message.digits(n), message.string(n), message.text(n, &mut buf));
        let _ = (message.subs(n).count(), message.tlvs(n).count());
        let _ = (message.sub_text(n, "63", &mut buf).map(<[u8]>::len), message.sub_wire(n, "42"));
        let _ = message.part(n, "status", &mut buf);
        let _ = message.part_of(n, usize::MAX, "amount", &mut buf);
    }
    let _ = (message.pan(), message.tcc(), message.track2_expiry());
    check_copies(message);
    let _ = describe(message, &DescribeOptions::default()).to_text();
}

/// What is copied at once is what is copied one by one, also where elements that are not good stand in between.
fn check_copies(message: &Message) {
    let numbers: Vec<u8> = (2..=128).collect();
    let every = |step: usize| Elements::of(&numbers.iter().copied().step_by(step).collect::<Vec<_>>());
    for set in
        [every(1), every(2), every(3), every(1).without(every(5)), every(7).below(60), Elements::of(&[2, 3, 4, 7])]
    {
        let (mut at_once, mut one_by_one) = (BytesMut::new(), BytesMut::new());
        let mut builder = Builder::new(message.spec(), message.mti(), &mut at_once);
        builder.copy_set(set, message).expect("a wire copy");
        builder.finish().expect("it finishes");
        let mut builder = Builder::new(message.spec(), message.mti(), &mut one_by_one);
        for n in set {
            builder.copy(n, message).expect("a wire copy");
        }
        builder.finish().expect("it finishes");
        assert_eq!(at_once, one_by_one, "{message:?}");
    }
    for n in [48, 63] {
        let together = message.sub_wires(n, [b"42", b"61", b"42"]);
        assert_eq!(together, ["42", "61", "42"].map(|tag| message.sub_wire(n, tag)));
    }
}

#[test]
fn every_fixture_decodes_and_round_trips() {
    for fixture in fixtures() {
        let message = decode(&fixture.spec, fixture.frame).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        check_round_trip(&message);
        poke(&message);
    }
}

#[test]
fn h02_every_fixture_cut_at_every_byte_is_an_error_with_what_came_before() {
    for fixture in fixtures() {
        let whole = decode(&fixture.spec, fixture.frame.clone()).expect("a fixture decodes");
        for cut in 0..fixture.frame.len() {
            let error = decode(&fixture.spec, fixture.frame.slice(..cut)).expect_err("a cut message is no message");
            let Some(partial) = error.partial else {
                assert!(cut < 4, "{} cut at {cut}", fixture.name);
                continue;
            };
            for n in partial.present() {
                assert!(ElementAt::De(n) != error.element);
                assert_eq!(partial.raw(n), whole.raw(n), "{} cut at {cut}, DE{n}", fixture.name);
            }
        }
    }
}

#[test]
fn h03_every_single_bit_flip_is_a_message_or_an_error() {
    for fixture in fixtures() {
        for bit in 0..fixture.frame.len() * 8 {
            let mut bytes = fixture.frame.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check_any(&fixture.spec, bytes.into());
        }
    }
}

#[test]
fn bitmaps_that_are_not_written_our_way_survive() {
    // An empty second bitmap.
    let spec = Spec::embedded("mastercard").expect("embedded");
    let mut frame = common::unhex("F0F8F0F082200000000000000000000000000000");
    frame.extend([0xF0; 16]);
    let message = decode(&spec, frame.into()).expect("DE7 and DE11 behind two bitmaps");
    assert!(message.has(7) && message.has(11) && !message.has(1));
    check_round_trip(&message);
    // Hexadecimal in lower case.
    let spec = Spec::embedded("iso1987-ascii").expect("embedded");
    let frame = Bytes::from_static(b"0800822a000000000000040000000000000001311200000000010131013 1270");
    assert_eq!(decode(&spec, frame).expect_err("a blank in DE15").element, ElementAt::De(15));
    let frame = Bytes::from_static(b"0800822a0000000000000400000000000000013112000000000101310131270");
    let message = decode(&spec, frame);
    let message = message.expect("lower case is hexadecimal too");
    assert_eq!((message.digits(11), message.digits(70)), (Some(1), Some(270)));
    check_round_trip(&message);
}

fn fault(spec: &Arc<Spec>, frame: impl Into<Bytes>) -> DecodeError {
    decode(spec, frame.into()).expect_err("a fault")
}

#[test]
fn h03_a_bad_digit_does_not_hide_the_elements_behind_it() {
    let Fixture { spec, frame, .. } = fixture("mastercard-0100-contactless");
    let whole = decode(&spec, frame.clone()).expect("decodes");
    let at = whole.raw(4).expect("DE4").as_ptr() as usize - frame.as_ptr() as usize;
    let mut bytes = frame.to_vec();
    bytes[at + 3] = 0xC1;
    let error = fault(&spec, bytes);
    assert_eq!(error.to_string(), format!("DE4 at offset {}: expected digits, got a letter", at + 3));
    assert_eq!(error.element.de44(), *b"004");
    let partial = error.partial.expect("the rest is readable");
    assert_eq!((partial.mti(), partial.digits(7), partial.digits(11)), (Mti(0x0100), Some(131_120_000), Some(123)));
    assert!(partial.has(2) && !partial.has(4) && partial.has(63));
}

use common::Fixture;

#[test]
fn h03_faults_name_element_offset_and_kind() {
    let Fixture { spec, frame, .. } = fixture("mastercard-0810-echo");
    let mut longer = frame.to_vec();
    longer.push(0xF0);
    let error = fault(&spec, longer);
    assert_eq!((error.element, error.got), (ElementAt::Trailing, Got::Left(1)));
    assert!(error.partial.is_some_and(|partial| partial.has(70)));

    let error = fault(&spec, Bytes::from_static(b"0800000000000000"));
    assert_eq!((error.element, error.got), (ElementAt::Mti, Got::AsciiDigit));
    assert!(error.to_string().contains("ASCII"));
    assert!(error.partial.is_none());

    let Fixture { spec, frame, .. } = fixture("mastercard-0100-contactless");
    let mut bytes = frame.to_vec();
    // The card number's length, which stands first behind the bitmap.
    bytes[12] = 0xC1;
    let error = fault(&spec, bytes.clone());
    assert_eq!((error.element, error.offset, error.got), (ElementAt::De(2), 12, Got::Letter));
    (bytes[12], bytes[13]) = (0xF9, 0xF9);
    assert_eq!(fault(&spec, bytes).element, ElementAt::De(2));
    assert_eq!(fault(&spec, vec![0xF0; 70_000]).got, Got::Length(70_000));
    assert_eq!(fault(&spec, Bytes::new()).got, Got::Left(0));
}

#[test]
fn a_reply_is_built_in_place_and_refuses_disorder() {
    let Fixture { spec, frame, .. } = fixture("mastercard-0400-reversal");
    let request = decode(&spec, frame).expect("decodes");
    let mut out = BytesMut::new();
    let mut reply = Builder::new(&spec, request.mti().response(), &mut out);
    for n in [2, 3, 4, 6, 7, 10, 11, 32, 33, 37] {
        reply.copy(n, &request).expect("a copy");
    }
    reply.text(39, b"00").expect("DE39");
    assert!(reply.text(38, b"123456").is_err());
    for n in [41, 49, 51, 63, 90] {
        reply.copy(n, &request).expect("a copy");
    }
    reply.finish().expect("finishes");
    let reply = decode(&spec, out.freeze()).expect("what is built decodes");
    assert_eq!(reply.mti(), Mti(0x0410));
    assert_eq!(reply.raw(90), request.raw(90));
    assert_eq!(reply.string(39).as_deref(), Some("00"));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_trace() {
    let spec = Spec::embedded("mastercard").expect("embedded");
    let mut out = BytesMut::from(&b"kept"[..]);
    for (n, text) in [(4, "1234567890123"), (4, "12a"), (28, "X00000100"), (39, "é"), (1, ""), (0, ""), (200, "")] {
        let mut builder = Builder::new(&spec, Mti(0x0100), &mut out);
        assert!(builder.text(n, text.as_bytes()).is_err(), "DE{n} {text}");
    }
    let mut builder = Builder::new(&spec, Mti(0x0100), &mut out);
    assert!(builder.digits(11, 1_000_000).is_err());
    drop(builder);
    assert_eq!(&out[..], b"kept");
    let mut builder = Builder::new(&spec, Mti(0x0100), &mut out);
    builder.digits(4, 1250).expect("fits");
    builder.text(41, b"T1").expect("fits");
    builder.finish().expect("finishes");
    let message = decode(&spec, out.split_off(4).freeze()).expect("decodes");
    assert_eq!(message.string(4).as_deref(), Some("000000001250"));
    assert_eq!(message.string(41).as_deref(), Some("T1      "));
}

#[test]
fn another_spec_gets_the_same_message_in_its_own_writing() {
    let Fixture { spec, frame, .. } = fixture("mastercard-0120-advice");
    let ebcdic = decode(&spec, frame).expect("decodes");
    let ascii = Spec::embedded("iso1987-ascii").expect("embedded");
    let mut out = BytesMut::new();
    let mut builder = Builder::new(&ascii, ebcdic.mti(), &mut out);
    for n in ebcdic.present() {
        builder.copy(n, &ebcdic).expect("text is text");
    }
    builder.finish().expect("finishes");
    let copy = decode(&ascii, out.freeze()).expect("decodes");
    for n in ebcdic.present() {
        assert_eq!(copy.string(n), ebcdic.string(n), "DE{n}");
    }
}

/// Any content that a spec's element may hold.
fn content(spec: &Spec, n: u8) -> BoxedStrategy<String> {
    let field = spec.field(n).expect("an element of the spec");
    let (least, most) = match field.length {
        Length::Fixed(len) => (len, len),
        Length::Variable { max, .. } => (0, max.min(60)),
    };
    let unit = if field.kind.letters() == "b" { "[0-9A-F]{2}" } else { "" };
    let pattern = match field.kind.letters() {
        "n" => format!("[0-9]{{{least},{most}}}"),
        "a" => format!("[A-Za-z ]{{{least},{most}}}"),
        "an" => format!("[A-Za-z0-9 ]{{{least},{most}}}"),
        "z" => format!("[0-9=D]{{{least},{most}}}"),
        "x+n" => format!("[CD][0-9]{{{}}}", most - 1),
        "b" => format!("({unit}){{{least},{most}}}"),
        _ => format!("[\\u{{0}}-\\u{{ff}}]{{{least},{most}}}"),
    };
    proptest::string::string_regex(&pattern).expect("a pattern").boxed()
}

fn any_draft(spec: Arc<Spec>) -> impl Strategy<Value = Draft> {
    let numbers: Vec<u8> = spec.fields().map(|field| field.number).collect();
    (0u16..=9999, proptest::sample::subsequence(numbers, 0..40)).prop_flat_map(move |(mti, numbers)| {
        let spec = Arc::clone(&spec);
        let contents: Vec<BoxedStrategy<String>> = numbers.iter().map(|n| content(&spec, *n)).collect();
        contents.prop_map(move |contents| {
            let mut draft = Draft::new(Mti::parse(&format!("{mti:04}")).expect("four digits"));
            for (n, text) in numbers.iter().zip(contents) {
                // A star in a secret element would be taken for a mask.
                draft.set(*n, Content::Text(text.replace('*', "x")));
            }
            draft
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_message_of_a_spec_round_trips(
        (spec, draft) in proptest::sample::select(Spec::embedded_names()).prop_flat_map(|name| {
            let spec = Spec::embedded(name).expect("embedded");
            (Just(Arc::clone(&spec)), any_draft(spec))
        })
    ) {
        let frame = draft.encode(&spec).expect("made to fit");
        let message = decode(&spec, frame).expect("what is encoded decodes");
        check_round_trip(&message);
        poke(&message);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600), name in proptest::sample::select(Spec::embedded_names())) {
        check_any(&Spec::embedded(name).expect("embedded"), bytes.into());
    }

    #[test]
    fn fixtures_with_many_bytes_changed_are_messages_or_errors(
        at in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let all = fixtures();
        let fixture = at.get(&all);
        let mut bytes = fixture.frame.to_vec();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        check_any(&fixture.spec, bytes.into());
    }
}
