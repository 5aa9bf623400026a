//! What must hold for any input, as functions of bytes: fuzz targets and plain tests call them. Each panics when
//! something does not hold; none may panic otherwise, or allocate without bound.

use bytes::Bytes;
use iso_codec::{DescribeOptions, Draft, Message, Spec, TlvIter, decode as decode_message, describe, from_json};
use std::sync::{Arc, OnceLock};

/// The specs that are compiled in.
fn embedded() -> &'static [Arc<Spec>] {
    static SPECS: OnceLock<Vec<Arc<Spec>>> = OnceLock::new();
    SPECS.get_or_init(|| Spec::embedded_names().iter().filter_map(|name| Spec::embedded(name)).collect())
}

/// A spec with every kind of composite in DE2 to DE8, each up to 999 bytes behind three digits.
const COMPOSITES: &str = r#"
name = "composites"
charset = "ascii"
bitmap = "binary"
[fields]
2 = { name = "tagged", kind = "ans", length = "...999", tagged = { class = { id = "C", name = "c" }, tag = { length = 3, encoding = "bcd" }, length = { digits = 2, encoding = "binary", inclusive = true }, subs = { 123 = { name = "n", kind = "n", encoding = "bcd" } } } }
3 = { name = "tlv", kind = "b", length = "...999", tlv_class = { id = "C", name = "c" }, tlv = { 5A = { name = "pan", secret = "pan" }, 9F02 = { name = "n", kind = "n", encoding = "bcd" } } }
4 = { name = "datasets", kind = "b", length = "...999", datasets = { 01 = { name = "t", tlv = { 5A = { name = "pan", secret = "pan" } } }, 71 = { name = "e", fields = { 2 = { name = "x", kind = "n", length = ".9", prefix = "bcd", encoding = "bcd-left", filler = "F", count = "bytes" } } } } }
5 = { name = "bitmapped", kind = "ans", length = "...999", bitmapped = { bitmap = "hex", bytes = 1, fields = { 1 = { name = "a", kind = "z", length = "..37", encoding = "bcd-left" }, 2 = { name = "b", kind = "ans", length = ".9", encoding = "hex", prefix = "hex", inclusive = true } } } }
6 = { name = "parts", kind = "b", length = "...999", parts = [{ name = "a", kind = "x+n", length = 5, encoding = "bcd" }, { name = "b", kind = "ans", length = "..99", count = "nibbles", prefix = "binary", tagged = { subs = { 01 = { name = "one", secret = "cvc" } } } }, { name = "c", length = "rest", tlv = {} }] }
7 = { name = "repeat", kind = "ans", length = "...999", repeat = [{ name = "a", kind = "ans", length = ".9" }, { name = "b", kind = "n", length = 3, encoding = "bcd" }] }
8 = { name = "packed parts", kind = "n", length = "...999", encoding = "bcd", parts = [{ name = "a", length = 3 }, { name = "b", length = "rest" }] }
"#;

fn composites() -> &'static Arc<Spec> {
    static SPEC: OnceLock<Arc<Spec>> = OnceLock::new();
    SPEC.get_or_init(|| Arc::new(Spec::from_toml(COMPOSITES).expect("a spec that does not contradict itself")))
}

/// A message is written back byte for byte by every way, and every reader takes it.
fn check_message(message: &Message) {
    let frame = message.frame();
    let spec = message.spec();
    assert_eq!(Draft::from_message(message).encode(spec).expect("a draft of a message encodes"), frame);
    let clear = describe(message, &DescribeOptions { clear: true });
    let json = serde_json::to_string(&clear).expect("a description is JSON");
    let (_, draft) = from_json(&json, None).expect("it is read back");
    assert_eq!(draft.encode(spec).expect("it is written back"), frame);
    check_readers(message);
}

fn check_readers(message: &Message) {
    let mut buf = [0u8; 999];
    for n in 0..=255u8 {
        assert_eq!(message.has(n), message.raw(n).is_some());
        let _ = (message.digits(n), message.text(n, &mut buf), message.wire(n), message.string(n));
        let _ = (message.subs(n).count(), message.tagged(n).count(), message.tlvs(n).count());
        let _ = message.part(n, "a", &mut buf);
        let _ = message.part_of(n, 3, "b", &mut buf);
    }
    let _ = (message.pan(), message.tcc(), message.track2_expiry());
    check_values(message);
    let _ = describe(message, &DescribeOptions::default()).to_text();
}

/// Elements as values: none is outside of what its type says, and the start of a text is where it starts.
fn check_values(message: &Message) {
    let (mut whole, mut start) = ([0u8; 999], [0u8; 9]);
    for n in 0..=255u8 {
        if let (Some(whole), Some(start)) = (message.text(n, &mut whole), message.text_start(n, &mut start)) {
            assert_eq!(whole.get(..start.len()), Some(start));
        }
        assert!(message.amount(n).is_none() || matches!(n, 4..=6));
    }
    assert!(message.rate(9).into_iter().chain(message.rate(10)).all(|rate| rate.mantissa > 0 && rate.decimals < 10));
    if let Some(at) = message.transmitted_at() {
        assert!((1..=12).contains(&at.month) && (1..=31).contains(&at.day));
        assert!(at.hour < 24 && at.minute < 60 && at.second < 60);
    }
    assert!(message.additional_amounts().all(|amount| amount.currency < 1000 && amount.amount < 1_000_000_000_000));
    assert_eq!(message.network_reference().is_some(), message.has(63) && message.text_start(63, &mut start).is_some());
    let _ = (message.entry_mode(), message.advice_reason(), message.original(), message.replacement());
    let _ = (message.trace_link(), message.takes_partial(), message.pos_digit("status"));
}

fn check_decode(spec: &Arc<Spec>, frame: Bytes) {
    match decode_message(spec, frame.clone()) {
        Ok(message) => check_message(&message),
        Err(error) => {
            assert!(error.offset <= frame.len());
            assert!(error.to_string().contains("at offset"));
            if let Some(partial) = &error.partial {
                check_readers(partial);
            }
        }
    }
}

/// Bytes as a message: the first byte chooses the spec.
pub fn decode(data: &[u8]) {
    let Some((choice, frame)) = data.split_first() else { return };
    let specs = embedded();
    if let Some(spec) = specs.get(usize::from(*choice) % specs.len()) {
        check_decode(spec, Bytes::copy_from_slice(frame));
    }
}

/// Text as a spec file up to the first zero byte; what follows as a message of it.
pub fn spec(data: &[u8]) {
    let at = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    let (text, frame) = data.split_at(at);
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Spec::from_toml(text) {
        Ok(spec) => check_decode(&Arc::new(spec), Bytes::copy_from_slice(frame.get(1..).unwrap_or_default())),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// Text as the JSON of a message.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok((name, draft)) = from_json(text, None)
        && let Some(spec) = Spec::embedded(&name)
        && let Ok(frame) = draft.encode(&spec)
    {
        check_message(&decode_message(&spec, frame).expect("what is encoded decodes"));
    }
}

/// Bytes as the content of every kind of composite.
pub fn inside(data: &[u8]) {
    let content = data.get(..data.len().min(900)).unwrap_or_default();
    let _ = TlvIter::new(content).count();
    for n in 2..=8u8 {
        let mut frame = b"0100".to_vec();
        frame.extend((1u64 << (64 - n)).to_be_bytes());
        // DE8 counts digits, two a byte.
        let len = if n == 8 { content.len().min(499) * 2 } else { content.len() };
        frame.extend(format!("{len:03}").bytes());
        frame.extend(content.get(..if n == 8 { len / 2 } else { len }).unwrap_or_default());
        check_decode(composites(), frame.into());
    }
}
