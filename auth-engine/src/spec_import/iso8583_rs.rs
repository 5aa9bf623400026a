//! A YAML spec of the crate iso8583_rs read into the neutral model. It must never change what its lengths count: bytes on
//! the wire, whatever the encoding.

use super::jpos::longest;
use super::model::{Code, Count, Element, Kind, Length, Model, Prefix, Secret, most_used_charset, spec_name};
use super::report::{Report, Unreadable};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct SpecFile {
    #[serde(default)]
    name: String,
    #[serde(default)]
    header_fields: Vec<Spanned<FieldFile>>,
    messages: Vec<MessageFile>,
}

#[derive(Deserialize)]
struct MessageFile {
    name: String,
    fields: Vec<Spanned<FieldFile>>,
}

#[derive(Deserialize)]
struct FieldFile {
    name: String,
    #[serde(rename = "type", alias = "field_type")]
    form: String,
    #[serde(default)]
    len: u32,
    len_encoding: Option<String>,
    data_encoding: String,
    position: Option<u16>,
    #[serde(default)]
    children: Vec<Spanned<FieldFile>>,
}

/// The crate's `encoding8` translates EBCDIC as code page 1047 does.
fn code(word: &str) -> Option<Code> {
    Some(match word {
        "ASCII" => Code::Ascii,
        "EBCDIC" => Code::Ebcdic1047,
        "BCD" => Code::Bcd,
        "BINARY" => Code::Binary,
        _ => return None,
    })
}

/// Reads the text of a spec. All its messages become one spec, since ours says what an element is, not when it stands.
///
/// # Errors
/// Where and why it cannot be read at all.
pub fn import(text: &str, name: Option<&str>, report: &mut Report) -> Result<Model, Unreadable> {
    let file: SpecFile = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(0));
        let said = error.to_string();
        Unreadable::new(line, format!("not an iso8583_rs spec: {}", said.lines().next().unwrap_or_default()))
    })?;
    let (mut mti, mut bitmap) = (Code::Ascii, Code::Binary);
    let mut elements: BTreeMap<u16, Element> = BTreeMap::new();
    for header in file.header_fields.iter().skip(1) {
        let place = format!("header {}", header.value.name);
        report.lose(line(header), &place, "a second header field", "left out: the message type selects");
    }
    for message in &file.messages {
        let mut after_bitmap = false;
        for (at, field) in message.fields.iter().enumerate() {
            let place = format!("{}/{}", message.name, field.value.name);
            let said = known(field, report, &place);
            match field.value.form.as_str() {
                "Bitmapped" => {
                    after_bitmap = true;
                    bitmap = match said {
                        Code::Ascii => Code::HexAscii,
                        Code::Ebcdic1047 => Code::HexEbcdic,
                        _ => Code::Binary,
                    };
                    for child in &field.value.children {
                        child_element(child, &message.name, &mut elements, report)?;
                    }
                }
                "Fixed" if at == 0 && !after_bitmap => mti = said,
                other => report.lose(line(field), &place, format!("{other} outside the bitmap"), "left out"),
            }
        }
    }
    if elements.is_empty() {
        return Err(Unreadable::new(1, "no bitmapped field with children in it; a spec needs at least one element"));
    }
    let charset = most_used_charset(elements.values());
    let bitmaps = if elements.keys().any(|number| *number > 128) { 3 } else { 2 };
    let title = if file.name.is_empty() { "Imported from iso8583_rs".to_owned() } else { file.name.clone() };
    let name = spec_name(name.unwrap_or(if file.name.is_empty() { "iso8583-rs" } else { &file.name }));
    Ok(Model { name, title, charset, mti, bitmap, bitmaps, elements })
}

fn line(field: &Spanned<FieldFile>) -> usize {
    usize::try_from(field.referenced.line()).unwrap_or(0)
}

fn known(field: &Spanned<FieldFile>, report: &mut Report, place: &str) -> Code {
    let word = field.value.data_encoding.as_str();
    code(word).unwrap_or_else(|| {
        report.lose(line(field), place, format!("data_encoding {word:?}"), "ASCII");
        Code::Ascii
    })
}

fn child_element(
    child: &Spanned<FieldFile>,
    message: &str,
    elements: &mut BTreeMap<u16, Element>,
    report: &mut Report,
) -> Result<(), Unreadable> {
    let field = &child.value;
    let number = field
        .position
        .filter(|number| *number > 1)
        .ok_or_else(|| Unreadable::new(line(child), format!("{message}/{}: no position in the bitmap", field.name)))?;
    let place = format!("DE{number}");
    let data = known(child, report, &place);
    let kind = match data {
        Code::Bcd => Kind::N,
        Code::Binary => Kind::B,
        _ => Kind::Ans,
    };
    let digits_a_byte = if data == Code::Bcd { 2 } else { 1 };
    let length = match field.form.as_str() {
        "Fixed" => Length::Fixed(field.len * digits_a_byte),
        "Variable" => {
            let word = field.len_encoding.as_deref().unwrap_or("ASCII");
            let written = code(word).unwrap_or_else(|| {
                report.lose(line(child), &place, format!("len_encoding {word:?}"), "ASCII");
                Code::Ascii
            });
            // `len` is bytes of the length; a packed byte has two digits.
            let digits = if written == Code::Bcd { field.len * 2 } else { field.len };
            let digits = u8::try_from(digits).ok().filter(|digits| (1..=6).contains(digits)).ok_or_else(|| {
                Unreadable::new(line(child), format!("{place}: a length of {} bytes; 1 to 6 can be read", field.len))
            })?;
            let count = if data == Code::Bcd { Count::Bytes } else { Count::Characters };
            let prefix = Prefix { digits, code: written, count, inclusive: false };
            Length::Variable { max: longest(prefix).min(9999).saturating_mul(digits_a_byte).min(9999), prefix }
        }
        other => {
            report.lose(line(child), &place, format!("type {other:?} inside the bitmap"), "left out");
            return Ok(());
        }
    };
    let mut element = Element::new(field.name.clone(), kind, data, length);
    element.secret = Secret::of_element(number);
    match elements.get(&number) {
        Some(first) if *first != element => {
            let said = format!("{} of message {message:?}, which differs from an earlier message's", field.name);
            report.lose(line(child), &place, said, format!("the earlier one, {}", first.name));
        }
        Some(_) => {}
        None => {
            elements.insert(number, element);
        }
    }
    Ok(())
}
