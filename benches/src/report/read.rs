//! Files of results into documents. It owns what counts as a result file; it must never pass on a document that it
//! could only half read.

use crate::fault::Fault;
use crate::result::Results;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// More than hours of runs leave behind; a larger file is something else.
const LARGEST: u64 = 256 << 20;

/// All documents of all files, in order.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<Results>, Fault> {
    let documents = paths.iter().map(|path| file(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.into_iter().flatten().collect())
}

fn file(path: &Path) -> Result<Vec<Results>, Fault> {
    let reading = || format!("reading {}", path.display());
    let length = fs::metadata(path).map_err(Fault::io(reading()))?.len();
    if length > LARGEST {
        return Err(not_results(path, &format!("{length} bytes are more than any run writes")));
    }
    let bytes = fs::read(path).map_err(Fault::io(reading()))?;
    documents(&bytes).map_err(|why| not_results(path, &why))
}

/// The documents of one file, one after the other, as runs that append leave them.
pub(super) fn documents(bytes: &[u8]) -> Result<Vec<Results>, String> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let mut value = value.map_err(|error| format!("not JSON: {error}"))?;
        if !value["results"].is_array() {
            return Err("a document without `results`".to_owned());
        }
        without_nulls(&mut value);
        let document =
            serde_json::from_value(value).map_err(|error| format!("a document of another shape: {error}"))?;
        found.push(document);
    }
    if found.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(found)
}

/// JSON writes a figure that is not a number as null, where a member that is left out means the same: none.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(elements) => {
            // A point of a curve without one of its coordinates is no point.
            elements.retain(|element| !element.as_array().is_some_and(|point| point.iter().any(Value::is_null)));
            elements.iter_mut().for_each(without_nulls);
        }
        _ => {}
    }
}

fn not_results(path: &Path, why: &str) -> Fault {
    // One line, whatever a file name or a parser says.
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    Fault::Results(format!("{} is not a result file: {why}; give files that a run wrote with --out", path.display()))
}
