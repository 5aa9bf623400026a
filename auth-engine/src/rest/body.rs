//! Request bodies: strict JSON in, a checked value out, or a problem with a JSON pointer.
//!
//! Unknown members, members that stand twice and numbers for money are refused. Depth is bounded by serde_json (128)
//! and size by [`LIMIT`]. It must never echo a value back: a body may hold a PAN.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::problem::{Code, Problem};

/// Most bytes of a request body.
pub(super) const LIMIT: usize = 64 * 1024;

/// Begins the message of an error inside a value that is one member for serde (an amount): the member's name, a
/// blank, then the message.
const MEMBER: &str = "\u{1}";

/// The message of an error at a member of the value being read.
pub(super) fn at_member(member: &str, what: &str) -> String {
    format!("{MEMBER}{member} {what}")
}

/// Reads a body; an empty one counts as `{}`, so that actions without members need none.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        explain(pointer, error.inner())
    })?;
    json.end().map_err(|error| explain(String::new(), &error))?;
    Ok(value)
}

fn explain(mut pointer: String, error: &serde_json::Error) -> Problem {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => {}
        Category::Io | Category::Syntax | Category::Eof => {
            let detail = format!("{error}; send one JSON object");
            return Problem::at(Code::MalformedJson, pointer, detail);
        }
    }
    let message = error.to_string();
    // serde_json ends its messages with the place in the text, which the pointer tells better.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    if let Some((member, what)) = message.strip_prefix(MEMBER).and_then(|rest| rest.split_once(' ')) {
        push(&mut pointer, member);
        return Problem::at(Code::InvalidValue, pointer, what);
    }
    if let Some(field) = quoted(message, "unknown field `") {
        let end = format!("/{}", escape(field));
        if !pointer.ends_with(&end) {
            push(&mut pointer, field);
        }
        let known = message.split_once("`, ").map_or("no members are known here", |(_, rest)| rest);
        return Problem::at(Code::UnknownField, pointer, format!("this member is not known; {known}"));
    }
    if let Some(field) = quoted(message, "duplicate field `") {
        push(&mut pointer, field);
        return Problem::at(Code::DuplicateField, pointer, "this member stands there twice");
    }
    if let Some(field) = quoted(message, "missing field `") {
        push(&mut pointer, field);
        return Problem::at(Code::MissingField, pointer, "this member must be there");
    }
    // `invalid type: string "…", expected …` shows the value; only what is expected may go out.
    let detail = match message.rsplit_once(", expected ") {
        Some((_, expected)) if message.starts_with("invalid ") => format!("expected {expected}"),
        _ => message.to_owned(),
    };
    Problem::at(Code::InvalidValue, pointer, detail)
}

fn quoted<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split_once('`').map(|(field, _)| field)
}

fn pointer(path: &Path) -> String {
    let mut out = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => push(&mut out, &index.to_string()),
            Segment::Map { key } => push(&mut out, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

fn push(pointer: &mut String, member: &str) {
    pointer.push('/');
    pointer.push_str(&escape(member));
}

fn escape(member: &str) -> String {
    // A member's name comes from outside: bounded, so that a problem is never larger than its cause.
    let short: String = member.chars().take(64).collect();
    short.replace('~', "~0").replace('/', "~1")
}
