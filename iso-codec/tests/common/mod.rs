//! The fixture messages, read from `fixtures/messages`. A file's name starts with its spec's.

use bytes::Bytes;
use iso_codec::Spec;
use std::path::Path;
use std::sync::Arc;

/// One fixture.
#[allow(dead_code, reason = "not every test that shares this reads all of it")]
pub(crate) struct Fixture {
    /// File name without ending.
    pub(crate) name: String,
    /// The spec it is written in.
    pub(crate) spec: Arc<Spec>,
    /// The message.
    pub(crate) frame: Bytes,
}

/// All fixtures, by name.
#[allow(dead_code, reason = "not every test that shares this needs them")]
pub(crate) fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/messages");
    let mut all: Vec<Fixture> = std::fs::read_dir(folder)
        .expect("the fixtures are in the repository")
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let known = Spec::embedded_names().iter().filter(|spec| name.starts_with(**spec));
            let known = known.max_by_key(|spec| spec.len()).expect("a spec's name");
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let hex: String = text.lines().filter(|line| !line.starts_with('#')).collect();
            Fixture { name, spec: Spec::embedded(known).expect("it is embedded"), frame: unhex(&hex).into() }
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(all.len() > 10);
    all
}

/// Bytes of hexadecimal text.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|ch| ch.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// One fixture by name.
#[allow(dead_code)]
pub(crate) fn fixture(name: &str) -> Fixture {
    fixtures().into_iter().find(|fixture| fixture.name == name).expect(name)
}
