//! Reading a spec file: TOML in, a compiled [`Spec`] out, or the place and the reason why not. Owns the file's shape
//! and every check that a spec does not contradict itself; nothing else in the crate may doubt a spec afterwards.

use crate::charset::Charset;
use crate::error::SpecError;
use crate::spec::{
    BitmapForm, Check, ClassSpec, FieldPlan, FieldSpec, Kind, Layout, Length, Pad, Part, PartLength, Secret, Spec,
    SubSpec, TaggedLayout,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFile {
    name: String,
    #[serde(default)]
    title: String,
    charset: Charset,
    bitmap: BitmapForm,
    #[serde(default)]
    binary: BinaryForm,
    fields: BTreeMap<String, FieldFile>,
}

/// How `b` elements are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BinaryForm {
    #[default]
    Raw,
    Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldFile {
    name: String,
    kind: Kind,
    length: LengthFile,
    secret: Option<Secret>,
    #[serde(default)]
    lenient: bool,
    tagged: Option<TaggedFile>,
    parts: Option<Vec<PartFile>>,
    repeat: Option<Vec<PartFile>>,
    tlv: Option<BTreeMap<String, SubFile>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LengthFile {
    Fixed(u16),
    Written(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaggedFile {
    class: Option<ClassSpec>,
    #[serde(default)]
    subs: BTreeMap<String, SubFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubFile {
    name: String,
    kind: Option<Kind>,
    secret: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFile {
    name: String,
    title: Option<String>,
    length: LengthFile,
}

/// Compiles the text of a spec file.
pub(crate) fn compile(text: &str) -> Result<Spec, SpecError> {
    let file: SpecFile = toml::from_str(text).map_err(|error| not_toml(text, &error))?;
    if file.name.is_empty() || !file.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(SpecError::new("name", "must be lower-case letters, digits and hyphens"));
    }
    let mut plans = [None; 129];
    let mut fields = Vec::with_capacity(file.fields.len());
    for (key, field) in file.fields {
        let place = format!("fields.{key}");
        let number = element_number(&place, &key)?;
        let length = field_length(&place, &field.length)?;
        let plan = plan(&place, &field, length, file.binary)?;
        let layout = layout(&place, &field, length, file.binary)?;
        let slot = plans
            .get_mut(usize::from(number))
            .ok_or_else(|| SpecError::new(&place, "element numbers go from 2 to 128"))?;
        if slot.replace(plan).is_some() {
            return Err(SpecError::new(&place, "the element stands in the file twice; keep one"));
        }
        fields.push(FieldSpec {
            number,
            name: field.name,
            kind: field.kind,
            length,
            secret: field.secret,
            lenient: field.lenient,
            layout,
        });
    }
    if fields.is_empty() {
        return Err(SpecError::new("fields", "a spec needs at least one element"));
    }
    fields.sort_by_key(|field| field.number);
    let mut places = [u8::MAX; 129];
    for (place, field) in (0..).zip(&fields) {
        if let Some(slot) = places.get_mut(usize::from(field.number)) {
            *slot = place;
        }
    }
    Ok(Spec {
        name: file.name,
        title: file.title,
        charset: file.charset,
        tables: file.charset.tables(),
        bitmap: file.bitmap,
        plans,
        fields,
        places,
    })
}

fn not_toml(text: &str, error: &toml::de::Error) -> SpecError {
    let place = match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("line {line}, column {column}")
        }
        None => "the file".to_owned(),
    };
    let reason: Vec<&str> = error.message().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    SpecError::new(place, reason.join("; "))
}

fn element_number(place: &str, key: &str) -> Result<u8, SpecError> {
    match key.parse::<u8>() {
        Ok(1) => Err(SpecError::new(place, "bit 1 marks the second bitmap and is no element; remove it")),
        Ok(n @ 2..=128) => Ok(n),
        Ok(_) | Err(_) => Err(SpecError::new(place, "element numbers go from 2 to 128")),
    }
}

fn field_length(place: &str, length: &LengthFile) -> Result<Length, SpecError> {
    let place = format!("{place}.length");
    let written = match length {
        LengthFile::Fixed(0) => return Err(SpecError::new(place, "a fixed element cannot be empty")),
        LengthFile::Fixed(n) if *n <= 999 => return Ok(Length::Fixed(*n)),
        LengthFile::Fixed(_) => return Err(SpecError::new(place, "a fixed length is at most 999")),
        LengthFile::Written(text) => text,
    };
    let max = written.trim_start_matches('.');
    let (digits, most) = match written.len() - max.len() {
        2 => (2, 99),
        3 => (3, 999),
        _ => {
            let reason = "write a number for a fixed length, \"..19\" or \"...999\" for a variable one";
            return Err(SpecError::new(place, reason));
        }
    };
    match max.parse::<u16>() {
        Ok(max) if max > 0 && max <= most => Ok(Length::Variable { digits, max }),
        Ok(_) | Err(_) => {
            Err(SpecError::new(place, format!("after {digits} dots the longest length is a number from 1 to {most}")))
        }
    }
}

fn plan(place: &str, field: &FieldFile, length: Length, binary: BinaryForm) -> Result<FieldPlan, SpecError> {
    let check = match field.kind {
        Kind::A => Check::Letters,
        Kind::N => Check::Digits,
        Kind::An => Check::LettersAndDigits,
        Kind::Ans => Check::Any,
        Kind::B if binary == BinaryForm::Hex => Check::Hex,
        Kind::B => Check::Any,
        Kind::Z => Check::Track,
        Kind::Xn => Check::SignAndDigits,
    };
    if field.lenient && check == Check::Any {
        let place = format!("{place}.lenient");
        return Err(SpecError::new(place, "this kind is not checked anyway; remove the line"));
    }
    let (chars, prefix) = match length {
        Length::Fixed(n) => (n, 0),
        Length::Variable { digits, max } => (max, digits),
    };
    if field.kind == Kind::Xn && chars < 2 {
        return Err(SpecError::new(format!("{place}.length"), "a sign and at least one digit take 2 characters"));
    }
    let size = if check == Check::Hex { chars * 2 } else { chars };
    if check == Check::Hex && prefix > 0 && size > if prefix == 2 { 99 } else { 999 } {
        let place = format!("{place}.length");
        return Err(SpecError::new(place, "written in hexadecimal it is twice as long, more than its prefix can say"));
    }
    let pad = match (length, field.kind) {
        (Length::Variable { .. }, _) | (_, Kind::B | Kind::Xn | Kind::Z) => Pad::None,
        (Length::Fixed(_), Kind::N) => Pad::ZerosLeft,
        (Length::Fixed(_), Kind::A | Kind::An | Kind::Ans) => Pad::BlanksRight,
    };
    Ok(FieldPlan { size, prefix, check: if field.lenient { Check::Any } else { check }, pad })
}

fn layout(place: &str, field: &FieldFile, length: Length, binary: BinaryForm) -> Result<Layout, SpecError> {
    let layouts = [field.tagged.is_some(), field.parts.is_some(), field.repeat.is_some(), field.tlv.is_some()];
    if layouts.iter().filter(|has| **has).count() > 1 {
        return Err(SpecError::new(place, "only one of `tagged`, `parts`, `repeat` and `tlv` can describe an element"));
    }
    if let Some(tagged) = &field.tagged {
        return tagged_layout(place, field.kind, tagged).map(Layout::Tagged);
    }
    if let Some(files) = &field.parts {
        let (parts, total) = parts(&format!("{place}.parts"), field.kind, files)?;
        let open = parts.last().is_some_and(|part| part.length == PartLength::Rest);
        match length {
            Length::Fixed(n) if !open && total != u32::from(n) => {
                let reason = format!("the parts add up to {total}, the element has {n}");
                return Err(SpecError::new(format!("{place}.parts"), reason));
            }
            Length::Fixed(max) | Length::Variable { max, .. } if total > u32::from(max) => {
                let reason = format!("the parts add up to {total}, the element has at most {max}");
                return Err(SpecError::new(format!("{place}.parts"), reason));
            }
            Length::Fixed(_) | Length::Variable { .. } => return Ok(Layout::Parts(parts)),
        }
    }
    if let Some(files) = &field.repeat {
        let place = format!("{place}.repeat");
        let (parts, total) = parts(&place, field.kind, files)?;
        let max = match length {
            Length::Fixed(max) | Length::Variable { max, .. } => u32::from(max),
        };
        if parts.last().is_some_and(|part| part.length == PartLength::Rest) {
            return Err(SpecError::new(place, "a part that takes the rest cannot be repeated; give it a length"));
        }
        if max % total != 0 {
            let reason = format!("the parts add up to {total}, of which the element's {max} is no multiple");
            return Err(SpecError::new(place, reason));
        }
        return Ok(Layout::Repeat(parts));
    }
    if let Some(tags) = &field.tlv {
        if field.kind != Kind::B || binary == BinaryForm::Hex {
            return Err(SpecError::new(format!("{place}.tlv"), "BER-TLV needs a raw binary element (kind \"b\")"));
        }
        let mut known = Vec::with_capacity(tags.len());
        for (key, sub) in tags {
            let tag = ber_tag(key).ok_or_else(|| {
                SpecError::new(format!("{place}.tlv.{key}"), "not a BER tag of one to three bytes in upper-case hex")
            })?;
            known.push((tag, sub_spec(sub, Kind::B)));
        }
        known.sort_by_key(|(tag, _)| *tag);
        return Ok(Layout::Tlv(known));
    }
    Ok(Layout::Plain)
}

fn tagged_layout(place: &str, kind: Kind, file: &TaggedFile) -> Result<TaggedLayout, SpecError> {
    if kind != Kind::Ans {
        return Err(SpecError::new(format!("{place}.tagged"), "only an element of kind \"ans\" can hold sub-elements"));
    }
    let mut subs = Vec::with_capacity(file.subs.len());
    for (key, sub) in &file.subs {
        match <[u8; 2]>::try_from(key.as_bytes()) {
            Ok(tag) if tag.iter().all(u8::is_ascii_digit) => subs.push((tag, sub_spec(sub, Kind::Ans))),
            Ok(_) | Err(_) => {
                return Err(SpecError::new(format!("{place}.tagged.subs.{key}"), "a tag is two digits"));
            }
        }
    }
    Ok(TaggedLayout { class: file.class.clone(), subs })
}

fn sub_spec(file: &SubFile, usual: Kind) -> SubSpec {
    SubSpec { name: file.name.clone(), kind: file.kind.unwrap_or(usual), secret: file.secret }
}

fn parts(place: &str, kind: Kind, files: &[PartFile]) -> Result<(Vec<Part>, u32), SpecError> {
    if kind == Kind::B {
        return Err(SpecError::new(place, "parts are text; a binary element has none"));
    }
    if files.is_empty() {
        return Err(SpecError::new(place, "at least one part is needed"));
    }
    let mut names = BTreeSet::new();
    let mut total = 0u32;
    let mut parts = Vec::with_capacity(files.len());
    for (at, file) in files.iter().enumerate() {
        let place = format!("{place}[{at}]");
        if !names.insert(file.name.as_str()) {
            return Err(SpecError::new(place, format!("a part named `{}` stands before it; names differ", file.name)));
        }
        let length = match &file.length {
            LengthFile::Fixed(n) if *n > 0 && *n <= 999 => {
                total += u32::from(*n);
                PartLength::Fixed(*n)
            }
            LengthFile::Written(text) if text == "rest" && at + 1 == files.len() => PartLength::Rest,
            LengthFile::Written(text) if text == "rest" => {
                return Err(SpecError::new(place, "only the last part can take the rest"));
            }
            LengthFile::Fixed(_) | LengthFile::Written(_) => {
                return Err(SpecError::new(
                    place,
                    "the length is a number from 1 to 999, or \"rest\" for the last part",
                ));
            }
        };
        let title = file.title.clone().unwrap_or_else(|| file.name.replace('_', " "));
        parts.push(Part { name: file.name.clone(), title, length });
    }
    Ok((parts, total))
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
