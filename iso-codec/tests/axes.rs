//! Every axis of a spec file on the wire: the bytes are written out by hand, decoded, described and written back.

use bytes::Bytes;
use iso_codec::{DescribeOptions, Draft, Message, Mti, Spec, decode, describe, from_json};
use std::sync::Arc;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|ch| !ch.is_whitespace()).map(|ch| ch.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn spec(head: &str, fields: &str) -> Arc<Spec> {
    let text = format!("name = \"axes\"\n{head}\n[fields]\n{fields}\n");
    Arc::new(Spec::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// Decodes and writes back by every way.
fn round_trip(spec: &Arc<Spec>, frame: &[u8]) -> Message {
    let message = decode(spec, Bytes::copy_from_slice(frame)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Draft::from_message(&message).encode(spec).expect("a draft encodes"), frame);
    let json = serde_json::to_string(&describe(&message, &DescribeOptions { clear: true })).expect("serializes");
    let (_, draft) = from_json(&json, None).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(draft.encode(spec).unwrap_or_else(|error| panic!("{error}: {json}")), frame, "{json}");
    let _ = describe(&message, &DescribeOptions::default()).to_text();
    for cut in 0..frame.len() {
        let _ = decode(spec, Bytes::copy_from_slice(&frame[..cut])).expect_err("a cut message is none");
    }
    for bit in 0..frame.len() * 8 {
        let mut bytes = frame.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(message) = decode(spec, Bytes::from(bytes.clone())) {
            assert_eq!(Draft::from_message(&message).encode(spec).expect("encodes"), bytes);
            let json = serde_json::to_string(&describe(&message, &DescribeOptions { clear: true })).expect("json");
            let (_, draft) = from_json(&json, None).unwrap_or_else(|error| panic!("{error}: {json}"));
            assert_eq!(draft.encode(spec).unwrap_or_else(|error| panic!("{error}: {json}")), bytes, "{json}");
        }
    }
    message
}

/// A message of one element in ASCII with a binary bitmap, from the element's bytes.
fn one(field: &str, wire: &str) -> (Arc<Spec>, Vec<u8>) {
    let spec = spec("charset = \"ascii\"\nbitmap = \"binary\"", &format!("3 = {{ name = \"x\", {field} }}"));
    let mut frame = b"0100".to_vec();
    frame.extend(unhex("2000000000000000"));
    frame.extend(unhex(wire));
    (spec, frame)
}

#[test]
fn each_encoding_prefix_and_count_is_read_and_written() {
    let table = [
        // kind and encoding, bytes, text
        ("kind='n', length=6, encoding='bcd'", "123456", "123456"),
        ("kind='n', length=5, encoding='bcd'", "012345", "12345"),
        ("kind='n', length=5, encoding='bcd', filler='F'", "F12345", "12345"),
        ("kind='n', length=5, encoding='bcd-left'", "123450", "12345"),
        ("kind='n', length=3, encoding='ebcdic-cp500'", "F9F7F8", "978"),
        ("kind='an', length=4, encoding='ebcdic-1047'", "C1C2F1F2", "AB12"),
        ("kind='ans', length=2, encoding='ebcdic-037'", "BABB", "[]"),
        ("kind='n', length=3, encoding='hex'", "333933373338", "978"),
        ("kind='n', length=2, encoding='hex-ebcdic'", "F3F1F3F2", "12"),
        ("kind='ans', length=3, encoding='binary'", "414243", "ABC"),
        ("kind='x+n', length=9, encoding='bcd'", "4300012345", "C00012345"),
        ("kind='x+n', length=4, encoding='bcd'", "440123", "D123"),
        ("kind='z', length='..37', encoding='bcd-left', prefix='bcd'", "17 12345678D29011235F", "12345678=29011235"),
        ("kind='b', length=4, encoding='hex'", "3046464130314142", "0FFA01AB"),
        // prefixes
        ("kind='ans', length='.9'", "33 414243", "ABC"),
        ("kind='ans', length='....2000'", "30303033 414243", "ABC"),
        ("kind='ans', length='.....60000'", "3030303033 414243", "ABC"),
        ("kind='ans', length='......60000'", "303030303033 414243", "ABC"),
        ("kind='ans', length='..99', prefix='ebcdic-cp500'", "F0F3 414243", "ABC"),
        ("kind='ans', length='..99', prefix='bcd'", "03 414243", "ABC"),
        ("kind='ans', length='...999', prefix='bcd'", "0003 414243", "ABC"),
        ("kind='ans', length='.255', prefix='binary'", "03 414243", "ABC"),
        ("kind='ans', length='..999', prefix='binary'", "0003 414243", "ABC"),
        ("kind='ans', length='.255', prefix='hex'", "3033 414243", "ABC"),
        ("kind='ans', length='..97', inclusive=true", "3035 414243", "ABC"),
        ("kind='ans', length='.99', prefix='binary', inclusive=true, count='nibbles'", "08 414243", "ABC"),
        // what is counted
        ("kind='n', length='..19', encoding='bcd', prefix='bcd'", "05 012345", "12345"),
        ("kind='n', length='..19', encoding='bcd', prefix='bcd', count='bytes'", "03 012345", "012345"),
        ("kind='n', length='..19', encoding='bcd-left', filler='F', prefix='bcd', count='bytes'", "03 12345F", "12345"),
        ("kind='n', length='.19', encoding='bcd', prefix='binary', count='nibbles'", "05 012345", "12345"),
        ("kind='ans', length='..20', count='nibbles'", "3036 414243", "ABC"),
        ("kind='b', length='..20', encoding='hex', count='bytes'", "3034 30314142", "01AB"),
        ("kind='b', length='..20', encoding='hex'", "3032 30314142", "01AB"),
    ];
    for (field, wire, text) in table {
        let (spec, frame) = one(&field.replace('\'', "\""), wire);
        let message = round_trip(&spec, &frame);
        assert_eq!(message.string(3).as_deref(), Some(text), "{field}");
        let mut buf = [0u8; 64];
        assert_eq!(message.text(3, &mut buf), Some(text.as_bytes()), "{field}");
        let mut draft = Draft::new(Mti(0x0100));
        draft.set_text(3, text);
        assert_eq!(draft.encode(&spec).unwrap_or_else(|error| panic!("{field}: {error}")), frame, "{field}");
        if text.bytes().all(|b| b.is_ascii_digit()) && text.len() < 19 {
            assert_eq!(message.digits(3), text.parse().ok(), "{field}");
        }
    }
}

#[test]
fn short_content_is_filled_up_as_the_spec_says() {
    let table = [
        ("kind='n', length=6", "42", "303030303432"),
        ("kind='n', length=5, encoding='bcd'", "42", "000042"),
        ("kind='ans', length=4", "A", "41202020"),
        ("kind='ans', length=4, pad='left:0'", "A", "30303041"),
        ("kind='ans', length=4, pad='right:*'", "A", "412A2A2A"),
        ("kind='n', length=4, encoding='bcd', pad='right:0'", "12", "1200"),
    ];
    for (field, text, wire) in table {
        let (spec, frame) = one(&field.replace('\'', "\""), wire);
        let mut draft = Draft::new(Mti(0x0100));
        draft.set_text(3, text);
        assert_eq!(draft.encode(&spec).unwrap_or_else(|error| panic!("{field}: {error}")), frame, "{field}");
    }
    let (spec, _) = one("kind=\"ans\", length=4, pad=\"none\"", "");
    let mut draft = Draft::new(Mti(0x0100));
    draft.set_text(3, "A");
    assert!(draft.encode(&spec).is_err());
}

#[test]
fn unusual_fillers_and_prefixes_survive() {
    // Filled with 9 although the spec says 0; a prefix whose unused half-byte is not zero; hexadecimal in lower case.
    for (field, wire) in [
        ("kind=\"n\", length=\"..19\", encoding=\"bcd\", prefix=\"bcd\"", "05 912345"),
        ("kind=\"n\", length=5, encoding=\"bcd\"", "912345"),
        ("kind=\"ans\", length=\".255\", prefix=\"hex\"", "3061 41424344454647484950"),
        ("kind=\"ans\", length=3, encoding=\"hex\"", "346134623463"),
        ("kind=\"ans\", length=\"..20\", count=\"nibbles\"", "3035 414243"),
    ] {
        let (spec, frame) = one(field, wire);
        round_trip(&spec, &frame);
    }
}

#[test]
fn message_types_and_bitmaps_in_every_form() {
    let fields = "7 = { name = \"x\", kind = \"n\", length = 10 }\n70 = { name = \"y\", kind = \"n\", length = 3 }";
    let body = unhex("30313331313230303030 323730");
    let bits = "8200000000000000 0400000000000000";
    let ascii: Vec<u8> = bits.replace(' ', "").into_bytes();
    let ebcdic: Vec<u8> = ascii.iter().map(|ch| ch - b'0' + 0xF0).collect();
    let types: [(&str, Vec<u8>); 4] = [
        ("text", b"0800".to_vec()),
        ("bcd", unhex("0800")),
        ("binary", unhex("0800")),
        ("ebcdic-cp500", unhex("F0F8F0F0")),
    ];
    for (mti, first) in &types {
        for (form, bitmap) in [
            ("binary", unhex(bits)),
            ("hex", ascii.clone()),
            ("hex-ascii", ascii.clone()),
            ("hex-ebcdic", ebcdic.clone()),
        ] {
            let spec = spec(&format!("charset = \"ascii\"\nmti = \"{mti}\"\nbitmap = \"{form}\""), fields);
            let frame = [first.clone(), bitmap, body.clone()].concat();
            let message = round_trip(&spec, &frame);
            assert_eq!((message.mti(), message.digits(70)), (Mti(0x0800), Some(270)), "{mti} {form}");
        }
    }
}

#[test]
fn a_third_bitmap_takes_elements_to_192() {
    let spec = spec(
        "charset = \"ascii\"\nbitmap = \"binary\"\nbitmaps = 3",
        "3 = { name = \"x\", kind = \"n\", length = 6 }\n66 = { name = \"s\", kind = \"n\", length = 1 }\n\
         129 = { name = \"y\", kind = \"ans\", length = \"..9\" }\n192 = { name = \"z\", kind = \"n\", length = 2 }",
    );
    let frame = [
        b"0100".to_vec(),
        unhex("A000000000000000 C000000000000000 8000000000000001"),
        b"000001".to_vec(),
        b"7".to_vec(),
        b"03ABC".to_vec(),
        b"42".to_vec(),
    ]
    .concat();
    let message = round_trip(&spec, &frame);
    assert_eq!(message.present().collect::<Vec<_>>(), [3, 66, 129, 192]);
    assert_eq!(message.string(129).as_deref(), Some("ABC"));
    assert_eq!(message.digits(192), Some(42));
    assert_eq!(message.wire(129), Some(&b"03ABC"[..]));
    assert!(message.has(192) && !message.has(130) && !message.has(65));
    let mut draft = Draft::new(Mti(0x0100));
    draft.set_text(192, "42").set_text(3, "000001").set_text(129, "ABC").set_text(66, "7");
    assert_eq!(draft.encode(&spec).expect("encodes"), frame);
    // Without any element from 66 to 128 the second bitmap still has to be there.
    let mut draft = Draft::new(Mti(0x0100));
    draft.set_text(192, "42");
    let frame = draft.encode(&spec).expect("encodes");
    assert_eq!(decode(&spec, frame).expect("decodes").digits(192), Some(42));
}

#[test]
fn composites_of_every_layout_nest() {
    let (spec, frame) = one(
        "kind=\"ans\", length=\"...999\", tagged={ class={id=\"TCC\",name=\"class\"}, tag={length=4}, length={digits=3}, \
         subs={ 0105={name=\"a\",kind=\"ans\"}, 0200={name=\"packed\",kind=\"n\",encoding=\"bcd\"}, \
         0300={name=\"bytes\",kind=\"b\",tlv={5A={name=\"pan\",secret=\"pan\"}}} } }",
        "303431 52 30313035303033414243 30323030303033 0123 30333030303036 5A0412345678 39393939303031 58",
    );
    let message = round_trip(&spec, &frame);
    let ids: Vec<String> = message.tagged(3).map(|sub| sub.expect("readable").id().to_owned()).collect();
    assert_eq!(ids, ["0105", "0200", "0300", "9999"]);
    assert_eq!(message.sub_raw(3, "0105"), Some(&b"ABC"[..]));
    let masked = describe(&message, &DescribeOptions::default()).to_text();
    assert!(!masked.contains("12345678"), "{masked}");

    // Binary tags and lengths, values in EBCDIC.
    let (spec, frame) = one(
        "kind=\"b\", length=\"...999\", tagged={ tag={length=2,encoding=\"binary\"}, length={digits=2,encoding=\"binary\",inclusive=true}, \
         subs={ DF01={name=\"a\",kind=\"an\",encoding=\"ebcdic-cp500\"} } }",
        "303132 DF01 0005 C1C2C3 DF02 0003 FF",
    );
    let message = round_trip(&spec, &frame);
    assert_eq!(message.tagged(3).count(), 2);
    let json = serde_json::to_value(describe(&message, &DescribeOptions::default())).expect("json");
    assert_eq!(json["fields"]["3"]["value"][0]["value"], "ABC");

    // A class byte before TLVs, a long length, a tag of three bytes.
    let (spec, frame) = one(
        "kind=\"b\", length=\"...255\", tlv={9F02={name=\"amount\",kind=\"n\",encoding=\"bcd\"}}, tlv_class={id=\"TCC\",name=\"class\"}",
        "303137 52 9F028106000000001250 DF811601AA 00",
    );
    let message = round_trip(&spec, &frame);
    assert_eq!(message.tlvs(3).map_while(Result::ok).map(|tlv| tlv.tag).collect::<Vec<_>>(), [0x9F02, 0xDF8116]);
    let json = serde_json::to_value(describe(&message, &DescribeOptions::default())).expect("json");
    assert_eq!(json["fields"]["3"]["value"][0]["value"], "R");
    assert_eq!(json["fields"]["3"]["value"][1]["value"], "000000001250");

    // Parts with lengths and forms of their own, and a tagged one within.
    let (spec, frame) = one(
        "kind=\"ans\", length=\"...99\", parts=[ {name=\"mode\",length=2}, {name=\"id\",kind=\"n\",length=\"..9\",encoding=\"bcd\",prefix=\"binary\"}, \
         {name=\"more\",length=\"rest\",tagged={ subs={ 01={name=\"one\"} } }} ]",
        "303133 3037 0003 0123 30313033414243",
    );
    let message = round_trip(&spec, &frame);
    let mut buf = [0u8; 9];
    assert_eq!(message.part(3, "id", &mut buf), Some(&b"123"[..]));
    assert_eq!(message.part(3, "mode", &mut buf), Some(&b"07"[..]));

    // Parts that are slices of packed digits.
    let (spec, frame) = one(
        "kind=\"n\", length=9, encoding=\"bcd\", parts=[ {name=\"a\",length=4}, {name=\"b\",length=5} ]",
        "0123456789",
    );
    let message = round_trip(&spec, &frame);
    assert_eq!(message.part(3, "a", &mut buf), Some(&b"1234"[..]));
    assert_eq!(message.part(3, "b", &mut buf), Some(&b"56789"[..]));

    // Datasets, and a bitmap in front of sub-elements.
    let (spec, frame) = one(
        "kind=\"b\", length=\"...999\", datasets={ 01={name=\"tlvs\",tlv={5A={name=\"pan\",secret=\"pan\"}}}, \
         71={name=\"elements\",fields={ 2={name=\"b\",kind=\"n\",length=2}, 16={name=\"p\",kind=\"ans\",length=\"..9\"} }} }",
        "303236 01 0006 5A0412345678 71 0008 4001 3432 3032 5859 80 0003 010203",
    );
    let message = round_trip(&spec, &frame);
    let json = serde_json::to_value(describe(&message, &DescribeOptions::default())).expect("json");
    assert_eq!(json["fields"]["3"]["value"][1]["value"][2]["value"], "XY");
    assert_eq!(json["fields"]["3"]["value"][0]["raw"], serde_json::Value::Null);

    let (spec, frame) = one(
        "kind=\"ans\", length=\"...99\", bitmapped={ bitmap=\"hex\", bytes=1, fields={ 1={name=\"a\",length=2}, 8={name=\"h\",length=\".9\"} } }",
        "303037 3831 4142 32 4344",
    );
    round_trip(&spec, &frame);
}

#[test]
fn contradictions_are_refused_with_line_and_reason() {
    let head = "name = \"own\"\ncharset = \"ascii\"\nbitmap = \"binary\"\n[fields]\n2 = { name = \"p\", kind = \"n\", length = 2 }\n";
    let table = [
        ("3 = { name='x', kind='ans', length=6, encoding='bcd' }", "line 6, fields.3.encoding: only digits"),
        ("3 = { name='x', kind='b', length=6, encoding='ascii' }", "line 6, fields.3.encoding: kind \"b\""),
        ("3 = { name='x', kind='n', length=6, filler='F' }", "line 6, fields.3.filler"),
        ("3 = { name='x', kind='n', length=6, encoding='bcd', filler='FF' }", "line 6, fields.3.filler"),
        ("3 = { name='x', kind='n', length=6, prefix='bcd' }", "line 6, fields.3.prefix"),
        ("3 = { name='x', kind='n', length=6, inclusive=true }", "line 6, fields.3.inclusive"),
        (
            "3 = { name='x', kind='ans', length='..99', inclusive=true }",
            "line 6, fields.3.length: the longest is counted",
        ),
        ("3 = { name='x', kind='ans', length='..99', count='nibbles' }", "line 6, fields.3.length"),
        ("3 = { name='x', kind='ans', length='.......99' }", "line 6, fields.3.length: write a number"),
        ("3 = { name='x', kind='ans', length='......99999' }", "line 6, fields.3.length: it is longer"),
        ("3 = { name='x', kind='ans', length='..9', pad='left:0' }", "line 6, fields.3.pad"),
        ("3 = { name='x', kind='ans', length=9, pad='middle' }", "line 6, fields.3.pad"),
        ("3 = { name='x', kind='ans', length=9, tlv_class={id='a',name='b'} }", "line 6, fields.3.tlv_class"),
        ("3 = { name='x', length=9 }", "line 6, fields.3: an element needs a `kind`"),
        ("3 = { name='x', kind='b', length=9, datasets={ 00={name='y',tlv={}} } }", "line 6, fields.3.datasets.00"),
        ("3 = { name='x', kind='b', length=9, datasets={ 71={name='y',tlv={}} } }", "line 6, fields.3.datasets.71"),
        (
            "3 = { name='x', kind='b', length=9, bitmapped={ bytes=1, fields={ 9={name='y',length=1} } } }",
            "line 6, fields.3.bitmapped",
        ),
        ("130 = { name='x', kind='n', length=1 }", "line 6, fields.130"),
        (
            "[fields.48]\nname='x'\nkind='ans'\nlength='...999'\n[fields.48.tagged]\ntag={length=3}\n[fields.48.tagged.subs]\n01={name='y'}",
            "line 13, fields.48.tagged.subs.01: a tag is 3",
        ),
        (
            "[fields.48]\nname='x'\nkind='ans'\nlength=9\nparts=[\n{name='a',length=4},\n{name='a',length=5},\n]",
            "line 12, fields.48.parts[1]",
        ),
    ];
    for (body, said) in table {
        let text = format!("{head}{}", body.replace('\'', "\""));
        let error = Spec::from_toml(&text).expect_err(body).to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{body}: {error}");
    }
    let third = "name = \"own\"\ncharset = \"ascii\"\nbitmap = \"binary\"\nbitmaps = 3\n[fields]\n65 = { name = \"p\", kind = \"n\", length = 2 }\n";
    assert!(Spec::from_toml(third).expect_err("65").to_string().starts_with("line 6, fields.65: bit 65"));
}
