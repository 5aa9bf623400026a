//! The JSON of a description read back: the inverse of `describe` with clear values, byte for byte. Owns the JSON's
//! shape; what it refuses it names by element, never by content.

use crate::compose::from_hex;
use crate::draft::{Content, Draft, Item};
use crate::error::EncodeError;
use crate::mti::Mti;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use std::fmt;
use thiserror::Error;

/// Why JSON is not a message.
#[derive(Debug, Error)]
pub enum JsonError {
    /// It is not JSON, or not of the shape that `decode --json` writes.
    #[error("not the JSON of a message: {0}")]
    Shape(String),
    /// A place in it is wrong.
    #[error("{place}: {reason}")]
    Place {
        /// The element and part.
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A value is masked.
    #[error("{0}: the value is masked; decode with --clear to get one that can be encoded")]
    Masked(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    spec: Option<String>,
    mti: String,
    bitmap: Option<String>,
    fields: Fields,
}

/// The elements in the order written; a map would swallow one that stands there twice.
struct Fields(Vec<(u8, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of elements by number")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields: Vec<(u8, Value)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let number = key.parse().ok().filter(|n: &u8| (2..=192).contains(n) && n.to_string() == key);
                    let Some(n) = number else {
                        return Err(de::Error::custom("an element's number goes from \"2\" to \"192\""));
                    };
                    if fields.iter().any(|(known, _)| *known == n) {
                        return Err(de::Error::custom(format!("DE{n} stands in `fields` twice")));
                    }
                    fields.push((n, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads the JSON of one message: the name of the spec to encode it by (`override_spec`, else the JSON's own, else
/// `mastercard`) and the message. A masked value is refused, naming its element.
pub fn from_json(text: &str, override_spec: Option<&str>) -> Result<(String, Draft), JsonError> {
    let input: Input = serde_json::from_str(text).map_err(|error| JsonError::Shape(error.to_string()))?;
    let mti = Mti::parse(&input.mti).ok_or_else(|| place("mti", "the message type is four digits"))?;
    let mut draft = Draft::new(mti);
    if let Some(bitmap) = &input.bitmap {
        draft.keep_bitmaps(unhex("bitmap", bitmap)?);
    }
    for (n, value) in &input.fields.0 {
        let at = format!("DE{n}");
        let item = part(&at, value, false, 0)?;
        draft.set(*n, item.content);
        draft.keep_length(*n, item.length);
    }
    let spec = override_spec.map(str::to_owned).or(input.spec).unwrap_or_else(|| "mastercard".to_owned());
    Ok((spec, draft))
}

/// Composites nest twice (DE54), TLV templates up to five times; deeper is not ours.
const DEEPEST: u8 = 8;

fn part(at: &str, value: &Value, has_id: bool, depth: u8) -> Result<Item, JsonError> {
    let Value::Object(members) = value else {
        return Err(place(at, "must be an object with `raw` and `value`"));
    };
    for key in members.keys() {
        let known = matches!(key.as_str(), "name" | "raw" | "value" | "length") || (has_id && key == "id");
        if !known {
            return Err(place(at, "has a member that is none of name, raw, value"));
        }
    }
    let id = match members.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(_) | None if has_id => return Err(place(at, "every part needs an `id` of text")),
        Some(_) | None => String::new(),
    };
    let at = if has_id { format!("{at} {}", shown_id(&id)) } else { at.to_owned() };
    let raw = match members.get("raw") {
        None => Raw::Absent,
        Some(Value::Null) => Raw::Hidden,
        Some(Value::String(text)) => Raw::Bytes(unhex(&at, text)?),
        Some(_) => return Err(place(&at, "`raw` must be hexadecimal text or null")),
    };
    let length = match members.get("length") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(unhex(&at, text)?),
        Some(_) => return Err(place(&at, "`length` must be hexadecimal text")),
    };
    let content = match (members.get("value").unwrap_or(&Value::Null), raw) {
        (Value::Null, Raw::Bytes(bytes)) => Content::Raw(bytes),
        (Value::Null, Raw::Hidden) => return Err(JsonError::Masked(at)),
        (Value::Null, Raw::Absent) => return Err(place(&at, "has neither `value` nor `raw`")),
        (Value::String(text), Raw::Hidden) if text.contains('*') => return Err(JsonError::Masked(at)),
        (Value::String(text), _) => Content::Text(text.clone()),
        (Value::Array(_), _) if depth >= DEEPEST => return Err(place(&at, "is nested too deep")),
        (Value::Array(values), _) => {
            let items: Result<Vec<Item>, JsonError> =
                values.iter().map(|value| part(&at, value, true, depth + 1)).collect();
            Content::Items(items?)
        }
        (Value::Number(_), _) => return Err(place(&at, "a number must be quoted: leading zeros count")),
        (Value::Bool(_) | Value::Object(_), _) => {
            return Err(place(&at, "`value` must be text, an array of parts, or null"));
        }
    };
    Ok(Item { id, content, length })
}

enum Raw {
    Absent,
    Hidden,
    Bytes(Vec<u8>),
}

/// An id in an error: cut, because it comes from outside.
fn shown_id(id: &str) -> String {
    id.chars().filter(|ch| ch.is_ascii_graphic()).take(20).collect()
}

fn place(place: &str, reason: &str) -> JsonError {
    JsonError::Place { place: place.to_owned(), reason: reason.to_owned() }
}

fn unhex(at: &str, text: &str) -> Result<Vec<u8>, JsonError> {
    from_hex(at, text).map_err(|error| match error {
        EncodeError::Part { place, reason } => JsonError::Place { place, reason },
        other => JsonError::Shape(other.to_string()),
    })
}
