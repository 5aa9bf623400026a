//! Ours beside `iso_8583_rs`: over generated messages that it can carry, both read the same elements from the same
//! bytes and write the same bytes from the same elements, each reading what the other wrote.
//!
//! Not generated for it, since it cannot carry them:
//! - DE65: it takes bit 65 for a third bitmap, and refuses it;
//! - elements above 128, packed digits, EBCDIC, binary bitmaps and binary elements as bytes: it has none of them;
//! - characters that are not printable ASCII: it refuses them in `ans`, which we let pass, because networks put binary
//!   sub-elements there;
//! - fixed elements that are too short: filling them up is its caller's matter, ours is done by the spec.
//!
//! What stands in x+n, z and b elements it leaves unchecked, so that refusals are not compared.

#[path = "common/generated.rs"]
mod generated;

use bytes::Bytes;
use generated::{draft, messages};
use iso_8583_rs::CompiledSpec;
use iso_8583_rs::specfile::{FieldDescription, Spec as SpecFile};
use iso_codec::{Kind, Length, Mti, Spec, decode};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Printable ASCII.
const ANS: &[u8] = b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

fn ours() -> Arc<Spec> {
    Spec::embedded("iso1987-ascii").expect("it is compiled in")
}

/// Our spec in its terms. It counts characters on the wire, so that bytes in hexadecimal are twice as long.
fn peer() -> &'static CompiledSpec {
    static SPEC: OnceLock<CompiledSpec> = OnceLock::new();
    SPEC.get_or_init(|| {
        let fields: HashMap<i64, FieldDescription> = ours()
            .fields()
            .map(|field| {
                let (len_type, max) = match field.length {
                    Length::Fixed(len) => ("fixed", len),
                    Length::Variable { digits: 2, max } => ("llvar", max),
                    Length::Variable { digits: 3, max } => ("lllvar", max),
                    Length::Variable { digits, .. } => panic!("DE{} has {digits} digits of length", field.number),
                };
                let max_len = usize::from(max) * if field.kind == Kind::B { 2 } else { 1 };
                let (content_type, label) = (field.kind.letters().to_owned(), field.name.clone());
                let described =
                    FieldDescription { content_type, label, max_len, min_len: 0, len_type: len_type.into() };
                (i64::from(field.number), described)
            })
            .collect();
        CompiledSpec::compile(&SpecFile { fields: fields.into_iter().collect() }).expect("its own form")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn iso_8583_rs_and_we_read_and_write_the_same(
        mti in prop::sample::select(&[0x0100u16, 0x0110, 0x0200, 0x0420, 0x0800, 0x9999][..]),
        elements in messages(&ours(), ANS, |field| field.number != 65),
    ) {
        let (spec, kind) = (ours(), Mti(mti).to_string());
        let written = draft(Mti(mti), &elements).encode(&spec).expect("it fits the spec");

        let mut builder = iso_8583_rs::Builder::new(peer(), kind.as_bytes()).expect("a type");
        for (n, text) in &elements {
            builder.set(usize::from(*n), text.as_bytes()).expect("it fits the spec");
        }
        let mut packed = Vec::new();
        builder.pack_into(&mut packed);
        prop_assert_eq!(&written[..], &packed[..], "the same bytes are written");

        let theirs = iso_8583_rs::Message::parse(peer(), &written).expect("it reads what we wrote");
        prop_assert_eq!(&theirs.mti[..], kind.as_bytes());
        let read: Vec<(usize, &[u8])> = theirs.fields().collect();
        let meant: Vec<(usize, &[u8])> = elements.iter().map(|(n, text)| (usize::from(*n), text.as_bytes())).collect();
        prop_assert_eq!(read, meant);

        let message = decode(&spec, Bytes::from(packed)).expect("we read what it wrote");
        prop_assert_eq!(message.mti(), Mti(mti));
        prop_assert!(message.present().eq(elements.iter().map(|(n, _)| *n)));
        for (n, text) in &elements {
            let string = message.string(*n);
            prop_assert_eq!(string.as_deref(), Some(text.as_str()), "DE{}", n);
            let peers = theirs.get(usize::from(*n));
            prop_assert_eq!(message.raw(*n), peers, "DE{}", n);
            // It reads no number of more than 19 digits either.
            let numeric = spec.field(*n).is_some_and(|field| field.kind == Kind::N);
            if numeric {
                prop_assert_eq!(message.digits(*n), theirs.get_u64(usize::from(*n)), "DE{}", n);
            }
        }
    }
}
