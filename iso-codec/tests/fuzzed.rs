//! The bodies of the fuzz targets, for a bounded number of generated inputs: garbage, and fixtures that were damaged.

mod common;
#[allow(unreachable_pub, reason = "the fuzz targets, of another workspace, call them")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use iso_codec::{DescribeOptions, Spec, decode, describe};
use proptest::prelude::*;

/// Changes to a text or a message: at which byte, to what.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
}

fn damaged(bytes: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, byte) in changes.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_as_a_message(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        targets::decode(&bytes);
    }

    #[test]
    fn any_bytes_inside_composites(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        targets::inside(&bytes);
    }

    #[test]
    fn bytes_that_look_like_tags_inside_composites(
        bytes in prop::collection::vec(prop::sample::select(&b"\x01\x71\x00\x02\x05\x12\x30\x31\x32\x43\x44\x5A\x9F\x81R\x40\x80"[..]), 0..60)
    ) {
        targets::inside(&bytes);
    }

    #[test]
    fn damaged_spec_files(at in any::<prop::sample::Index>(), changes in changes()) {
        let names = Spec::embedded_names();
        let text = Spec::embedded_text(names[at.index(names.len())]).expect("a text");
        targets::spec(&damaged(text.as_bytes(), &changes));
    }

    #[test]
    fn damaged_json(at in any::<prop::sample::Index>(), changes in changes()) {
        let all = common::fixtures();
        let fixture = at.get(&all);
        let message = decode(&fixture.spec, fixture.frame.clone()).expect("a fixture decodes");
        let json = serde_json::to_string(&describe(&message, &DescribeOptions { clear: true })).expect("JSON");
        targets::json(&damaged(json.as_bytes(), &changes));
    }
}
