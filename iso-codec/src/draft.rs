//! A message as an owned set of elements, to be encoded at leisure: for the command line, the sandbox, simulators and
//! tests. Owns how composite values become bytes again; the path uses [`Builder`] directly.

use crate::bitmap::Elements;
use crate::composite::read_ber_length;
use crate::decode::read_bitmaps;
use crate::encode::{Builder, canonical_bitmaps};
use crate::error::EncodeError;
use crate::message::Message;
use crate::mti::Mti;
use crate::spec::{FieldSpec, Kind, Layout, Part, PartLength, Secret, Spec, SubSpec, TaggedLayout};
use crate::spec_file::ber_tag;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::fmt;

/// What an element or a part of one holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Text, each character at most U+00FF; hexadecimal for an element that is raw binary.
    Text(String),
    /// A number.
    Digits(u64),
    /// Bytes as on the wire, without prefix.
    Raw(Vec<u8>),
    /// The parts of a composite, in wire order.
    Items(Vec<Item>),
}

impl fmt::Debug for Content {
    /// The shape alone: drafts hold card numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Text(text) => write!(f, "text({})", text.chars().count()),
            Content::Digits(_) => f.write_str("digits"),
            Content::Raw(raw) => write!(f, "raw({})", raw.len()),
            Content::Items(items) => f.debug_list().entries(items.iter().map(|item| &item.id)).finish(),
        }
    }
}

/// One part of a composite element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The tag, part name or number of the repetition; the spec's id for a class byte, `?` for bytes kept as they are.
    pub id: String,
    /// What it holds.
    pub content: Content,
    /// BER-TLV: the length's bytes, when they are not the shortest form.
    pub length: Option<Vec<u8>>,
}

/// A message to be encoded: its type and its elements, set in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The message type.
    pub mti: Mti,
    elements: BTreeMap<u8, Content>,
    bitmaps: Option<Vec<u8>>,
}

/// The id of bytes that could not be read as parts.
pub(crate) const REST: &str = "?";
/// The id of padding between BER-TLV objects.
pub(crate) const PADDING: &str = "00";

impl Draft {
    /// An empty message of that type.
    pub fn new(mti: Mti) -> Draft {
        Draft { mti, elements: BTreeMap::new(), bitmaps: None }
    }

    /// All elements of a message, as on the wire.
    pub fn from_message(message: &Message) -> Draft {
        let mut draft = Draft::new(message.mti());
        for n in message.present() {
            draft.set_raw(n, message.raw(n).unwrap_or_default());
        }
        draft.bitmaps = Some(message.bitmaps().to_vec());
        draft
    }

    /// Sets an element from text; shorter than fixed is filled up when it is encoded.
    pub fn set_text(&mut self, n: u8, text: impl Into<String>) -> &mut Draft {
        self.set(n, Content::Text(text.into()))
    }

    /// Sets an element from a number.
    pub fn set_digits(&mut self, n: u8, value: u64) -> &mut Draft {
        self.set(n, Content::Digits(value))
    }

    /// Sets an element from its bytes on the wire, without prefix.
    pub fn set_raw(&mut self, n: u8, raw: impl Into<Vec<u8>>) -> &mut Draft {
        self.set(n, Content::Raw(raw.into()))
    }

    /// Sets a composite element from sub-elements of text: `("42", "0103210")`; `("TCC", "R")` is DE48's class byte.
    pub fn set_subs(&mut self, n: u8, subs: &[(&str, &str)]) -> &mut Draft {
        let item = |(id, text): &(&str, &str)| Item {
            id: (*id).to_owned(),
            content: Content::Text((*text).to_owned()),
            length: None,
        };
        self.set(n, Content::Items(subs.iter().map(item).collect()))
    }

    /// Sets an element.
    pub fn set(&mut self, n: u8, content: Content) -> &mut Draft {
        self.elements.insert(n, content);
        self
    }

    /// Takes an element out; whether it was there.
    pub fn remove(&mut self, n: u8) -> bool {
        self.elements.remove(&n).is_some()
    }

    /// What an element holds.
    pub fn element(&self, n: u8) -> Option<&Content> {
        self.elements.get(&n)
    }

    /// Keeps the bitmaps as they were on the wire, as long as they still promise the same elements.
    pub(crate) fn keep_bitmaps(&mut self, bitmaps: Vec<u8>) {
        self.bitmaps = Some(bitmaps);
    }

    /// The message's bytes.
    pub fn encode(&self, spec: &Spec) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        let mut builder = Builder::new(spec, self.mti, &mut out);
        let mut elements = Elements::default();
        for (n, content) in &self.elements {
            let field = spec.field(*n).ok_or(EncodeError::UnknownElement(*n))?;
            write_element(&mut builder, spec, field, content)?;
            elements.insert(*n);
        }
        match self.bitmaps.as_deref().filter(|kept| *kept != canonical_bitmaps(spec, elements)) {
            Some(kept) => match read_bitmaps(spec, kept) {
                Ok((promised, size)) if size == kept.len() && promised.elements() == elements => {
                    builder.finish_with_bitmaps(kept)?
                }
                Ok(_) | Err(_) => builder.finish()?,
            },
            None => builder.finish()?,
        };
        Ok(out.freeze())
    }
}

fn write_element(
    builder: &mut Builder<'_>,
    spec: &Spec,
    field: &FieldSpec,
    content: &Content,
) -> Result<(), EncodeError> {
    let n = field.number;
    let place = format!("DE{n}");
    match content {
        Content::Digits(value) => builder.digits(n, *value),
        Content::Raw(raw) => builder.raw(n, raw),
        Content::Items(items) => builder.raw(n, &composite(spec, &place, field, items)?),
        Content::Text(text) => {
            if is_masked(field.secret, text) {
                return Err(EncodeError::Masked(place));
            }
            if raw_binary(spec, field) {
                return builder.raw(n, &from_hex(&place, text)?);
            }
            builder.text(n, &latin1(&place, text)?)
        }
    }
}

/// Whether an element's bytes are shown and written in hexadecimal because they are no text.
pub(crate) fn raw_binary(spec: &Spec, field: &FieldSpec) -> bool {
    field.kind == Kind::B && spec.plan(field.number).is_some_and(|plan| plan.check != crate::spec::Check::Hex)
}

fn is_masked(secret: Option<Secret>, text: &str) -> bool {
    secret.is_some() && text.contains('*')
}

fn composite(spec: &Spec, place: &str, field: &FieldSpec, items: &[Item]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    match &field.layout {
        Layout::Tagged(layout) => {
            for (at, item) in items.iter().enumerate() {
                tagged_item(spec, place, layout, at == 0, item, &mut out)?;
            }
        }
        Layout::Tlv(known) => tlv_items(place, known, items, &mut out)?,
        Layout::Parts(parts) => positional(spec, place, field.kind, parts, items, &mut out)?,
        Layout::Repeat(parts) => {
            for item in items {
                let place = format!("{place} {}", item.id);
                match &item.content {
                    Content::Items(items) => positional(spec, &place, field.kind, parts, items, &mut out)?,
                    Content::Text(_) | Content::Digits(_) | Content::Raw(_) => {
                        out.extend(wire_text(spec, &place, field.kind, None, &item.content)?);
                    }
                }
            }
        }
        Layout::Plain => return Err(wrong(place, "the spec knows no parts of this element; give its value as text")),
    }
    Ok(out)
}

fn tagged_item(
    spec: &Spec,
    place: &str,
    layout: &TaggedLayout,
    first: bool,
    item: &Item,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let place = format!("{place} {}", item.id);
    if item.id == REST {
        out.extend(wire_text(spec, &place, Kind::B, None, &item.content)?);
        return Ok(());
    }
    if layout.class.as_ref().is_some_and(|class| class.id == item.id) {
        let class = wire_text(spec, &place, Kind::Ans, None, &item.content)?;
        if !first || class.len() != 1 {
            return Err(wrong(&place, "it is one character and stands first"));
        }
        out.extend(class);
        return Ok(());
    }
    let tag: [u8; 2] = item.id.as_bytes().try_into().map_err(|_| wrong(&place, "a sub-element's id is two digits"))?;
    if !tag.iter().all(u8::is_ascii_digit) {
        return Err(wrong(&place, "a sub-element's id is two digits"));
    }
    let known = layout.subs.iter().find(|(known, _)| *known == tag).map(|(_, sub)| sub);
    let kind = known.map_or(Kind::Ans, |sub| sub.kind);
    let data = wire_text(spec, &place, kind, known.and_then(|sub| sub.secret), &item.content)?;
    let length = format!("{:02}", data.len());
    if length.len() > 2 {
        return Err(wrong(&place, "a sub-element has at most 99 bytes"));
    }
    out.extend(tag.iter().chain(length.as_bytes()).map(|ch| spec.charset.from_latin1(*ch)));
    out.extend(data);
    Ok(())
}

fn tlv_items(place: &str, known: &[(u32, SubSpec)], items: &[Item], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    for item in items {
        let place = format!("{place} {}", item.id);
        let secret = known.iter().find(|(tag, _)| ber_tag(&item.id) == Some(*tag)).and_then(|(_, sub)| sub.secret);
        let value = match &item.content {
            Content::Items(inner) => {
                let mut value = Vec::new();
                tlv_items(&place, known, inner, &mut value)?;
                value
            }
            Content::Raw(raw) => raw.clone(),
            Content::Text(text) if is_masked(secret, text) => return Err(EncodeError::Masked(place)),
            Content::Text(text) => from_hex(&place, text)?,
            Content::Digits(_) => return Err(wrong(&place, "a TLV value is hexadecimal text")),
        };
        if item.id == REST || item.id == PADDING {
            out.extend(value);
            continue;
        }
        if ber_tag(&item.id).is_none() {
            return Err(wrong(&place, "a TLV's id is a BER tag of one to three bytes in upper-case hexadecimal"));
        }
        out.extend(from_hex(&place, &item.id)?);
        match &item.length {
            Some(length) => match read_ber_length(length) {
                Some((len, [], _)) if len == value.len() => out.extend(length),
                Some(_) | None => out.extend(ber_length(value.len())),
            },
            None => out.extend(ber_length(value.len())),
        }
        out.extend(value);
    }
    Ok(())
}

/// The shortest BER form of a length.
pub(crate) fn ber_length(len: usize) -> Vec<u8> {
    let bytes = len.to_be_bytes();
    let used: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    match used.as_slice() {
        [] => vec![0],
        [short] if *short < 0x80 => vec![*short],
        long => {
            // A usize has at most eight bytes.
            let mut out = vec![0x80 | long.len() as u8];
            out.extend_from_slice(long);
            out
        }
    }
}

fn positional(
    spec: &Spec,
    place: &str,
    kind: Kind,
    parts: &[Part],
    items: &[Item],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut expected = parts.iter();
    for (at, item) in items.iter().enumerate() {
        let place = format!("{place} {}", item.id);
        if item.id == REST {
            out.extend(wire_text(spec, &place, Kind::B, None, &item.content)?);
            continue;
        }
        let Some(part) = expected.next().filter(|part| part.name == item.id) else {
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            return Err(wrong(&place, format!("parts stand in this order, none left out: {}", names.join(", "))));
        };
        let data = wire_text(spec, &place, kind, None, &item.content)?;
        let last = at + 1 == items.len();
        match part.length {
            PartLength::Fixed(len) if data.len() > usize::from(len) || (data.len() < usize::from(len) && !last) => {
                return Err(wrong(&place, format!("{} characters, the part has {len}", data.len())));
            }
            PartLength::Fixed(_) | PartLength::Rest => out.extend(data),
        }
    }
    Ok(())
}

/// The wire bytes of a leaf: text by the character set, hexadecimal where the kind is binary.
fn wire_text(
    spec: &Spec,
    place: &str,
    kind: Kind,
    secret: Option<Secret>,
    content: &Content,
) -> Result<Vec<u8>, EncodeError> {
    match content {
        Content::Raw(raw) => Ok(raw.clone()),
        Content::Text(text) if is_masked(secret, text) => Err(EncodeError::Masked(place.to_owned())),
        Content::Text(text) if kind == Kind::B => from_hex(place, text),
        Content::Text(text) => Ok(latin1(place, text)?.into_iter().map(|ch| spec.charset.from_latin1(ch)).collect()),
        Content::Digits(value) => {
            Ok(value.to_string().into_bytes().into_iter().map(|ch| spec.charset.from_latin1(ch)).collect())
        }
        Content::Items(_) => Err(wrong(place, "this part has no parts of its own; give its value as text")),
    }
}

fn latin1(place: &str, text: &str) -> Result<Vec<u8>, EncodeError> {
    text.chars()
        .enumerate()
        .map(|(at, ch)| {
            u8::try_from(u32::from(ch)).map_err(|_| {
                wrong(place, format!("character {} is not in Latin-1, so no message can carry it", at + 1))
            })
        })
        .collect()
}

/// Bytes from hexadecimal text, in either case.
pub(crate) fn from_hex(place: &str, text: &str) -> Result<Vec<u8>, EncodeError> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|ch| ch.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.ok_or_else(|| wrong(place, "not hexadecimal"))?;
    if digits.len() % 2 == 1 {
        return Err(wrong(place, "an odd number of hexadecimal digits; two make a byte"));
    }
    Ok(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

fn wrong(place: &str, reason: impl Into<String>) -> EncodeError {
    EncodeError::Part { place: place.to_owned(), reason: reason.into() }
}
