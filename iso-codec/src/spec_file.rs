//! Reading a spec file: TOML in, a compiled [`Spec`] out, or line, place and reason why not. Owns the file's shape;
//! its words stand in `spec_words.rs`, the checks that a spec does not contradict itself in `spec_check.rs`.

use crate::charset::Charset;
use crate::error::SpecError;
use crate::spec::{ClassSpec, Kind, Secret, Spec};
use crate::spec_check;
use crate::spec_words::{BinaryFile, BitmapFile, CountFile, EncodingFile, MtiFile, PrefixFile};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// A message spec.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "ISO 8583 message spec", rename = "Spec"))]
pub(crate) struct SpecFile {
    /// The name by which links and commands ask for it: lower-case letters, digits and hyphens.
    pub(crate) name: String,
    /// One line that says what it is for.
    #[serde(default)]
    pub(crate) title: String,
    /// How text is written.
    pub(crate) charset: Charset,
    /// How the four digits of the message type are written.
    #[serde(default)]
    pub(crate) mti: MtiFile,
    /// How bitmaps are written.
    pub(crate) bitmap: BitmapFile,
    /// How many bitmaps there can be: 2 (elements to 128) or 3 (bit 65 announces the third, elements to 192).
    pub(crate) bitmaps: Option<u8>,
    /// How `b` elements are written.
    #[serde(default)]
    pub(crate) binary: BinaryFile,
    /// How `n` elements and the digits of `x+n` ones are written.
    pub(crate) numeric: Option<EncodingFile>,
    /// How `z` elements are written.
    pub(crate) track: Option<EncodingFile>,
    /// How length prefixes are written.
    pub(crate) prefix: Option<PrefixFile>,
    /// What length prefixes count.
    pub(crate) count: Option<CountFile>,
    /// The elements by number.
    pub(crate) fields: BTreeMap<String, NodeFile>,
}

/// An element, a part of one, or a sub-element.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Element"))]
pub(crate) struct NodeFile {
    /// What it is called; of a part, the short name by which it is asked for.
    pub(crate) name: String,
    /// What a part is called.
    pub(crate) title: Option<String>,
    /// What it holds. Elements need one; parts have that of the element around them.
    pub(crate) kind: Option<Kind>,
    /// A number for a fixed length; `"..19"` for a varying one, a dot for each digit of its prefix; `"rest"` for a
    /// last part.
    pub(crate) length: Option<LengthFile>,
    /// How it is masked.
    pub(crate) secret: Option<Secret>,
    /// Leave its characters unchecked.
    #[serde(default)]
    pub(crate) lenient: bool,
    /// How it is written.
    pub(crate) encoding: Option<EncodingFile>,
    /// The half-byte that fills an odd count of packed digits: `"0"` to `"F"`.
    pub(crate) filler: Option<String>,
    /// How its length is written.
    pub(crate) prefix: Option<PrefixFile>,
    /// What its length counts.
    pub(crate) count: Option<CountFile>,
    /// Whether its length counts its own bytes, too.
    pub(crate) inclusive: Option<bool>,
    /// How short content of a fixed length is filled: `"left:0"`, `"right: "`, `"none"`.
    pub(crate) pad: Option<String>,
    /// Parts one behind the other.
    pub(crate) parts: Option<Vec<NodeFile>>,
    /// The same parts again and again.
    pub(crate) repeat: Option<Vec<NodeFile>>,
    /// Sub-elements with tag and length.
    pub(crate) tagged: Option<TaggedFile>,
    /// BER-TLV: known tags in upper-case hexadecimal.
    pub(crate) tlv: Option<BTreeMap<String, NodeFile>>,
    /// A class byte that may stand before the first TLV.
    pub(crate) tlv_class: Option<ClassSpec>,
    /// Datasets of ISO 8583:2023 by their identifier in hexadecimal.
    pub(crate) datasets: Option<BTreeMap<String, DatasetFile>>,
    /// Sub-elements that a bitmap in front announces.
    pub(crate) bitmapped: Option<BitmappedFile>,
}

/// A length: a number, or dots and the longest.
#[derive(Deserialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Length"))]
pub(crate) enum LengthFile {
    /// Always so long.
    Fixed(u16),
    /// `"..19"`, `"rest"`.
    Written(#[cfg_attr(test, schemars(regex(pattern = r"^(\.{1,6}[1-9][0-9]*|rest)$")))] String),
}

/// Sub-elements with tag and length.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Tagged"))]
pub(crate) struct TaggedFile {
    /// A class byte that may stand before the first.
    pub(crate) class: Option<ClassSpec>,
    /// How tags are written; two characters when absent.
    pub(crate) tag: Option<TagFile>,
    /// How lengths are written; two digits when absent.
    pub(crate) length: Option<TagLengthFile>,
    /// Known tags.
    #[serde(default)]
    pub(crate) subs: BTreeMap<String, NodeFile>,
    /// Kept for other systems; here unknown tags are kept in any case.
    #[serde(default)]
    pub(crate) skip_unknown: bool,
}

/// How tags are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Tag"))]
pub(crate) struct TagFile {
    /// Characters, digits, or bytes of a binary one.
    pub(crate) length: u8,
    /// How they are written.
    pub(crate) encoding: Option<EncodingFile>,
}

/// How the lengths behind tags are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "TagLength"))]
pub(crate) struct TagLengthFile {
    /// Digits, or bytes of a binary one.
    pub(crate) digits: u8,
    /// How they are written.
    pub(crate) encoding: Option<PrefixFile>,
    /// What they count.
    pub(crate) count: Option<CountFile>,
    /// Whether they count their own bytes, too.
    #[serde(default)]
    pub(crate) inclusive: bool,
}

/// One dataset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Dataset"))]
pub(crate) struct DatasetFile {
    /// What it is called.
    pub(crate) name: String,
    /// Identifiers 01 to 70: BER-TLV.
    pub(crate) tlv: Option<BTreeMap<String, NodeFile>>,
    /// Identifiers 71 to FE: elements behind a bitmap.
    pub(crate) fields: Option<BTreeMap<String, NodeFile>>,
    /// Bytes of that bitmap; 2 when absent.
    pub(crate) bytes: Option<u8>,
}

/// Sub-elements behind a bitmap.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Bitmapped"))]
pub(crate) struct BitmappedFile {
    /// How the bitmap is written.
    pub(crate) bitmap: Option<BitmapFile>,
    /// Its bytes; 8 when absent.
    pub(crate) bytes: Option<u8>,
    /// The sub-elements by the number of their bit, from 1.
    pub(crate) fields: BTreeMap<String, NodeFile>,
}

/// Compiles the text of a spec file.
pub(crate) fn compile(text: &str) -> Result<Spec, SpecError> {
    let file: SpecFile = toml::from_str(text).map_err(|error| not_toml(text, &error))?;
    spec_check::check(file).map_err(|mut error| {
        error.line = line_of(text, &error.place);
        error
    })
}

fn not_toml(text: &str, error: &toml::de::Error) -> SpecError {
    let place = match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("line {}, column {column}", line_at(text, span.start))
        }
        None => "the file".to_owned(),
    };
    let reason: Vec<&str> = error.message().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    SpecError::new(place, reason.join("; "))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

/// The line on which the deepest known step of a path such as `fields.43.parts[2].length` stands.
fn line_of(text: &str, place: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut table: Option<&DeTable<'_>> = Some(root.get_ref());
    let mut found = None;
    for step in place.split('.') {
        let (name, index) = match step.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some((key, value)) = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name)) else {
            break;
        };
        found = Some(key.span().start);
        let mut value = value;
        if let (Some(index), DeValue::Array(items)) = (index, value.get_ref()) {
            let Some(item) = items.get(index) else { break };
            found = Some(item.span().start);
            value = item;
        }
        table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    found.map(|offset| line_at(text, offset))
}

/// A BER tag of one to three bytes, written in hexadecimal, as a number; `None` when the bytes are not one whole tag.
pub(crate) fn ber_tag(text: &str) -> Option<u32> {
    if !matches!(text.len(), 2 | 4 | 6) || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')) {
        return None;
    }
    let value = u32::from_str_radix(text, 16).ok()?;
    let bytes = value.to_be_bytes();
    let bytes = bytes.get(4 - text.len() / 2..)?;
    let (first, more) = bytes.split_first()?;
    let whole = match more {
        [] => first & 0x1F != 0x1F && *first != 0,
        [last] => first & 0x1F == 0x1F && last & 0x80 == 0,
        [middle, last] => first & 0x1F == 0x1F && middle & 0x80 != 0 && last & 0x80 == 0,
        _ => false,
    };
    whole.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Write the file anew with `UPDATE_SCHEMA=1 cargo test -p iso-codec --lib schema`.
    #[test]
    fn the_published_schema_is_of_this_file_s_shape() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec.schema.json");
        let schema = schemars::schema_for!(SpecFile);
        let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        text.push('\n');
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &text).expect("the docs can be written");
        }
        let published = std::fs::read_to_string(&path).expect("docs/spec.schema.json");
        assert_eq!(published, text, "docs/spec.schema.json is not of this shape; UPDATE_SCHEMA=1 writes it anew");
    }

    #[test]
    fn the_line_of_a_path_is_that_of_its_deepest_known_step() {
        let text = "name = \"a\"\n[fields]\n3 = { name = \"x\",\n  length = 2 }\n[fields.48]\nparts = [\n  { name = \"a\" },\n  { name = \"b\" },\n]\n";
        let table = [
            ("name", Some(1)),
            ("fields.3.length", Some(4)),
            ("fields.3.pad", Some(3)),
            ("fields.48.parts[1]", Some(8)),
            ("fields.48.parts[9]", Some(6)),
            ("nothing", None),
        ];
        for (place, line) in table {
            assert_eq!(line_of(text, place), line, "{place}");
        }
    }
}
