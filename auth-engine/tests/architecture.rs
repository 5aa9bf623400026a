//! House rules as tests: the direction between crates, and the marked way a message takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["iso-codec", "ledger-core", "auth-engine", "benches"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every `.rs` file below a directory, with its text.
fn sources(below: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_engine_sees_the_two_leaves_and_nothing_points_back() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata");
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        let inside = package.dependencies.iter().map(|dependency| dependency.name.as_str());
        edges.insert(package.name.as_str(), inside.filter(|name| CRATES.contains(name)).collect());
    }
    assert_eq!(edges.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from(CRATES), "a crate came or went");
    // Dependencies of tests count too: a leaf whose tests need the engine cannot be taken out and used alone.
    assert_eq!(edges["iso-codec"], BTreeSet::new());
    assert_eq!(edges["ledger-core"], BTreeSet::new());
    assert_eq!(edges["auth-engine"], BTreeSet::from(["iso-codec", "ledger-core"]));
    assert!(edges["benches"].is_subset(&BTreeSet::from(["iso-codec", "ledger-core", "auth-engine"])));
}

#[test]
fn the_way_a_message_takes_is_marked_once_at_each_step() {
    let mut steps: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    for name in ["auth-engine", "ledger-core", "iso-codec"] {
        for (path, text) in sources(&root().join(name).join("src")) {
            for line in text.lines() {
                let Some((number, _)) =
                    line.trim_start().strip_prefix("// PATH ").and_then(|rest| rest.split_once(':'))
                else {
                    continue;
                };
                let number = number.parse().unwrap_or_else(|_| panic!("{}: {line}", path.display()));
                steps.entry(number).or_default().push(path.clone());
            }
        }
    }
    for step in 1..=8 {
        let places = steps.remove(&step).unwrap_or_default();
        assert_eq!(places.len(), 1, "`// PATH {step}:` stands in {places:?}");
    }
    assert!(steps.is_empty(), "there are eight steps, not {steps:?}");
}

#[test]
fn no_test_is_ignored() {
    // Written in two parts, so that this file does not find itself.
    let mark = concat!("#[", "ignore");
    for name in CRATES {
        for part in ["src", "tests", "benches", "examples"] {
            for (path, text) in sources(&root().join(name).join(part)) {
                assert!(!text.contains(mark), "{}", path.display());
            }
        }
    }
}
