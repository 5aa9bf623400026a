//! The named defects of `fixtures/malformed`: each is refused with the error that stands beside it, and no error tells
//! what the bytes are.

mod common;

use common::unhex;
use iso_codec::{Spec, decode};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defect {
    spec: String,
    hex: String,
    error: String,
}

#[test]
fn every_named_defect_is_refused_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/malformed");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the fixtures are in the repository") {
        let path = entry.expect("a readable folder").path();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let defect: Defect = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let spec = Spec::embedded(&defect.spec).expect("a spec that is compiled in");
        let error = match decode(&spec, unhex(&defect.hex).into()) {
            Ok(_) => "it decodes".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains("5351101200004242"), "{error}");
        if error != defect.error {
            wrong.push(format!("{}: {error}", path.file_name().unwrap_or_default().display()));
        }
        seen += 1;
    }
    assert!(seen >= 25, "{seen} defects");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
