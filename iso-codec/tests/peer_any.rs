//! Ours beside `iso8583_rs`, whose elements may be text of either kind, packed digits or bytes: over generated messages
//! that it can carry, both read the same elements from the same bytes and write the same bytes from the same elements,
//! each reading what the other wrote.
//!
//! Not generated for it, since it cannot carry them:
//! - DE65: it takes bit 65 for a third bitmap; the third bitmap itself it can carry, and it is compared;
//! - hexadecimal bitmaps: it has binary ones only;
//! - an odd number of packed digits, or lengths that count digits: it packs pairs, counts bytes and fills nothing up;
//! - binary lengths of two bytes, and text lengths of more than three digits: it ends its process over them;
//! - packed message types: one process reads one spec file with one form of the type, and here that is four characters;
//! - EBCDIC other than letters, digits and the blank: its table is not the network's code page, and
//!   non-ASCII text ends its process;
//! - fixed elements that are too short, or too long: it writes them as they are given.
//!
//! It checks no content, so that refusals are not compared.

#[path = "common/generated.rs"]
mod generated;

use bytes::Bytes;
use generated::{Elements, draft, messages};
use iso_codec::{Encoding, FieldSpec, Kind, Length, Mti, Spec, decode};
use iso8583_rs::iso8583::iso_spec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::fmt::Write as _;
use std::sync::Arc;

/// What its EBCDIC has where code page 500 has it.
const ANS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ";

/// One layout, and the message types by which the peer tells it from the others.
struct Layout {
    name: &'static str,
    spec: Arc<Spec>,
    types: [u16; 2],
}

/// Binary bitmaps up to three, ASCII text.
const ASCII: &str = r#"
name = "ascii"
charset = "ascii"
bitmap = "binary"
bitmaps = 3
[fields]
2 = { name = "a", kind = "n", length = "..19" }
3 = { name = "b", kind = "n", length = 6 }
28 = { name = "c", kind = "x+n", length = 9 }
35 = { name = "d", kind = "z", length = "..37" }
41 = { name = "e", kind = "an", length = 8 }
44 = { name = "f", kind = "ans", length = ".9" }
48 = { name = "g", kind = "ans", length = "...999" }
52 = { name = "h", kind = "b", length = 8 }
64 = { name = "i", kind = "b", length = 8 }
66 = { name = "j", kind = "n", length = 1 }
102 = { name = "k", kind = "ans", length = "..28" }
128 = { name = "l", kind = "b", length = 8 }
129 = { name = "m", kind = "n", length = 4 }
160 = { name = "n", kind = "ans", length = "...120" }
192 = { name = "o", kind = "b", length = 8 }
"#;

/// Packed digits, packed and binary lengths.
const PACKED: &str = r#"
name = "packed"
charset = "ascii"
bitmap = "binary"
numeric = "bcd"
prefix = "bcd"
count = "bytes"
[fields]
2 = { name = "a", kind = "n", length = "..18" }
3 = { name = "b", kind = "n", length = 6 }
4 = { name = "c", kind = "n", length = 12 }
11 = { name = "d", kind = "n", length = 6 }
32 = { name = "e", kind = "n", length = ".10", prefix = "binary" }
41 = { name = "f", kind = "an", length = 8 }
44 = { name = "g", kind = "ans", length = "..25", prefix = "ascii" }
48 = { name = "h", kind = "ans", length = "....999" }
55 = { name = "i", kind = "b", length = ".255", prefix = "binary" }
63 = { name = "j", kind = "ans", length = ".99", prefix = "binary" }
64 = { name = "k", kind = "b", length = 8 }
70 = { name = "l", kind = "n", length = 4 }
90 = { name = "m", kind = "n", length = 42 }
"#;

fn layouts() -> [Layout; 3] {
    let own = |text| Arc::new(Spec::from_toml(text).expect("a spec that does not contradict itself"));
    let network = Spec::embedded("mastercard").expect("it is compiled in");
    [
        Layout { name: "network", spec: network, types: [0x0100, 0x0420] },
        Layout { name: "ascii", spec: own(ASCII), types: [0x0200, 0x0800] },
        Layout { name: "packed", spec: own(PACKED), types: [0x0400, 0x0810] },
    ]
}

fn carried(field: &FieldSpec) -> bool {
    field.number != 65
}

/// The layouts in its own language: one message for each, chosen by the four bytes of the type.
fn peer_spec(layouts: &[Layout]) -> String {
    let mut text = "name: Peer\nid: 1\nheader_fields:\n  - name: header\n    id: 1\n    type: Fixed\n    len: 4\n    \
                    data_encoding: BINARY\n    children: []\nmessages:\n"
        .to_owned();
    for Layout { name, spec, types } in layouts {
        let types = types.map(|mti| header(spec, Mti(mti)));
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "  - name: {name}\n    id: 1\n    selector: {types:?}\n    fields:\n      - name: message_type\n        \
             id: 1\n        type: Fixed\n        len: 4\n        data_encoding: BINARY\n      - name: bitmap\n        \
             id: 2\n        type: Bitmapped\n        len: 0\n        data_encoding: BINARY\n        children:\n"
        );
        for field in spec.fields().filter(|field| carried(field)) {
            let n = field.number;
            let content = match field.wire.encoding {
                Encoding::Text(set) => in_its_terms(set),
                Encoding::Bcd { .. } => "BCD",
                Encoding::Binary => "BINARY",
                Encoding::Hex(_) => panic!("DE{n} is hexadecimal"),
            };
            let _ = match field.length {
                Length::Fixed(len) => {
                    let len = if content == "BCD" { len / 2 } else { len };
                    writeln!(
                        text,
                        "          - {{name: de{n}, id: 1, type: Fixed, len: {len}, data_encoding: {content}, \
                         position: {n}}}"
                    )
                }
                Length::Variable { digits, .. } => {
                    let (len, prefix) = match field.wire.prefix {
                        iso_codec::Prefix::Text(set) => (digits, in_its_terms(set)),
                        iso_codec::Prefix::Bcd => (digits.div_ceil(2), "BCD"),
                        iso_codec::Prefix::Binary => (digits, "BINARY"),
                        iso_codec::Prefix::Hex(_) => panic!("DE{n} has a hexadecimal length"),
                    };
                    writeln!(
                        text,
                        "          - {{name: de{n}, id: 1, type: Variable, len: {len}, len_encoding: {prefix}, \
                         data_encoding: {content}, position: {n}}}"
                    )
                }
            };
        }
    }
    text
}

fn in_its_terms(set: iso_codec::Charset) -> &'static str {
    if set == iso_codec::Charset::Ascii { "ASCII" } else { "EBCDIC" }
}

/// The message type as on the wire, in hexadecimal.
fn header(spec: &Spec, mti: Mti) -> String {
    mti.to_string().bytes().map(|digit| format!("{:02x}", spec.charset().from_latin1(digit))).collect()
}

/// The text as the peer shows it: bytes in small letters.
fn shown(field: &FieldSpec, text: &str) -> String {
    if field.kind == Kind::B { text.to_lowercase() } else { text.to_owned() }
}

fn check(layout: &Layout, mti: Mti, elements: &Elements) -> Result<(), TestCaseError> {
    let Layout { name, spec, .. } = layout;
    let written = draft(mti, elements).encode(spec).expect("it fits the spec");

    let peer = iso_spec::spec("");
    let segment = peer.get_message(name).unwrap_or_else(|error| panic!("{}", error.msg));
    let mut theirs = iso_spec::new_msg(peer, segment);
    let set = theirs.set("message_type", &header(spec, mti));
    prop_assert!(set.is_ok());
    for (n, text) in elements {
        prop_assert!(theirs.set_on(u32::from(*n), text).is_ok(), "DE{}", n);
    }
    let packed = theirs.assemble().unwrap_or_else(|error| panic!("{}", error.msg));
    prop_assert_eq!(&written[..], &packed[..], "{}: the same bytes are written", name);

    let theirs = peer.parse(&mut written.to_vec()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let message = decode(spec, Bytes::from(packed)).expect("we read what it wrote");
    prop_assert_eq!(message.mti(), mti);
    prop_assert!(message.present().eq(elements.iter().map(|(n, _)| *n)));
    for n in 2..=192u8 {
        let meant = elements.iter().find(|(known, _)| *known == n).map(|(_, text)| text.as_str());
        let known = theirs.fd_map.get(&format!("de{n}")).map(Vec::as_slice);
        prop_assert_eq!(message.raw(n), known, "{}: DE{}", name, n);
        let Some(field) = spec.field(n).filter(|_| meant.is_some()) else { continue };
        prop_assert_eq!(
            theirs.bmp_child_value(u32::from(n)).ok(),
            meant.map(|text| shown(field, text)),
            "{}: DE{}",
            name,
            n
        );
        if field.kind != Kind::B {
            let text = message.string(n);
            prop_assert_eq!(text.as_deref(), meant, "{}: DE{}", name, n);
        }
    }
    Ok(())
}

/// Packed digits in pairs.
fn in_pairs(spec: &Spec, elements: Elements) -> Elements {
    let packed = |n| spec.field(n).is_some_and(|field| matches!(field.wire.encoding, Encoding::Bcd { .. }));
    let pairs = |(n, mut text): (u8, String)| {
        if packed(n) && text.len() % 2 == 1 {
            text.pop();
        }
        (n, text)
    };
    elements.into_iter().map(pairs).collect()
}

/// The only test of this binary: the peer reads its spec once for the process, from the file that the environment names.
#[test]
fn iso8583_rs_and_we_read_and_write_the_same() {
    let layouts = layouts();
    let file = std::env::temp_dir().join(format!("iso8583-rs-peer-{}.yaml", std::process::id()));
    std::fs::write(&file, peer_spec(&layouts)).expect("the temporary directory takes a file");
    // SAFETY: the harness's own thread waits for this one, so that nobody reads the environment now.
    unsafe { std::env::set_var("SPEC_FILE", &file) };
    // It is read here, and not needed afterwards; one that stays behind is some kilobytes in the temporary directory.
    let _ = iso_spec::spec("");
    let _ = std::fs::remove_file(&file);
    for layout in &layouts {
        let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
        let spec = &layout.spec;
        let made = (prop::sample::select(layout.types.to_vec()), messages(spec, ANS, carried));
        TestRunner::new(config)
            .run(&made, |(mti, elements)| check(layout, Mti(mti), &in_pairs(spec, elements)))
            .unwrap_or_else(|error| panic!("{}: {error}", layout.name));
    }
}
