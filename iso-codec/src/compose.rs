//! From the parts of a composite element to its bytes again: tags, lengths, positions, BER-TLV, datasets and bitmaps of
//! their own. Owns what `inside.rs` takes apart, the other way round; never on the path.

use crate::charset::Charset;
use crate::composite::read_ber_length;
use crate::draft::{Content, Item};
use crate::encode::says;
use crate::error::EncodeError;
use crate::form::{Encoding, Form, WriteFault};
use crate::inside::raw_form;
use crate::spec::{
    BitmappedLayout, DatasetSpec, Kind, Layout, Part, PartLength, Secret, Spec, TaggedLayout, TlvLayout,
};
use crate::spec_file::ber_tag;

/// The id of bytes that could not be read as parts.
pub(crate) const REST: &str = "?";
/// The id of padding between BER-TLV objects.
pub(crate) const PADDING: &str = "00";
/// The id of the bitmap in front of sub-elements.
pub(crate) const BITMAP: &str = "bitmap";

/// Whether the text of a secret is a mask of it.
pub(crate) fn is_masked(secret: Option<Secret>, text: &str) -> bool {
    secret.is_some() && text.contains('*')
}

/// The content of a composite, and how many characters, digits or bytes it is.
pub(crate) fn composite(
    spec: &Spec,
    place: &str,
    layout: &Layout,
    form: &Form,
    items: &[Item],
) -> Result<(Vec<u8>, usize), EncodeError> {
    let mut out = Vec::new();
    match layout {
        Layout::Tagged(layout) => {
            for (at, item) in items.iter().enumerate() {
                tagged_item(spec, place, layout, at == 0, item, &mut out)?;
            }
        }
        Layout::Tlv(layout) => tlv_items(spec, place, layout, true, items, &mut out)?,
        Layout::Parts(parts) => positional(spec, place, form, parts, items, &mut out)?,
        Layout::Repeat(parts) => {
            for item in items {
                let place = format!("{place} {}", item.id);
                match &item.content {
                    Content::Items(items) => positional(spec, &place, form, parts, items, &mut out)?,
                    Content::Text(_) | Content::Digits(_) | Content::Raw(_) => {
                        out.extend(slice(&place, form, None, &item.content)?);
                    }
                }
            }
        }
        Layout::Datasets(known) => datasets(spec, place, known, items, &mut out)?,
        Layout::Bitmapped(layout) => announced(spec, place, layout, items, &mut out)?,
        Layout::Plain => return Err(wrong(place, "the spec knows no parts of this element; give its value as text")),
    }
    if matches!(layout, Layout::Parts(_) | Layout::Repeat(_)) && !form.is_bytewise() {
        // So far it is the text; what is packed is packed as a whole.
        let text = std::mem::take(&mut out);
        let open = Form { length: open_length(form.length), ..*form };
        let units = open.write(&text, &mut out).map_err(|fault| refused(place, &open, fault))?;
        return Ok((out, units));
    }
    let units = form.units_of(&out);
    Ok((out, units))
}

/// A fixed length stays, so that what is short is filled up; others are checked with their prefix.
fn open_length(length: PartLength) -> PartLength {
    match length {
        PartLength::Fixed(_) => length,
        PartLength::Variable { .. } | PartLength::Rest => PartLength::Rest,
    }
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
        out.extend(bytes(&place, &item.content)?);
        return Ok(());
    }
    if layout.class.as_ref().is_some_and(|class| class.id == item.id) {
        out.push(class_byte(layout.class_charset(spec.charset), &place, first, &item.content)?);
        return Ok(());
    }
    let known = layout.known(item.id.as_bytes());
    let (data, units) = match known {
        Some(sub) => leaf(spec, &place, &sub.form, &sub.layout, sub.secret, &item.content)?,
        None => {
            let data = text_of(spec, &place, &item.content)?;
            let len = data.len();
            (data, len)
        }
    };
    layout.tag.write(layout.short, &item.id, out).map_err(|reason| wrong(&place, reason))?;
    let from = out.len();
    let form = known.map(|sub| &sub.form);
    layout.length.write(form, units, data.len(), out).map_err(|reason| wrong(&place, reason))?;
    if let Some(length) = item.length.as_ref().filter(|length| length.len() == out.len() - from) {
        out.truncate(from);
        out.extend_from_slice(length);
    }
    out.extend(data);
    Ok(())
}

fn class_byte(charset: Charset, place: &str, first: bool, content: &Content) -> Result<u8, EncodeError> {
    match text_in(charset, place, content)?.as_slice() {
        [class] if first => Ok(*class),
        _ => Err(wrong(place, "it is one character and stands first")),
    }
}

fn tlv_items(
    spec: &Spec,
    place: &str,
    layout: &TlvLayout,
    outermost: bool,
    items: &[Item],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for (at, item) in items.iter().enumerate() {
        let place = format!("{place} {}", item.id);
        if outermost && layout.class.as_ref().is_some_and(|class| class.id == item.id) {
            out.push(class_byte(spec.charset, &place, at == 0, &item.content)?);
            continue;
        }
        let sub = layout.subs.iter().find(|(tag, _)| ber_tag(&item.id) == Some(*tag)).map(|(_, sub)| sub);
        let secret = sub.and_then(|sub| sub.secret);
        let value = match (&item.content, sub) {
            (content, Some(sub)) if sub.as_text || sub.layout != Layout::Plain => {
                leaf(spec, &place, &sub.form, &sub.layout, secret, content)?.0
            }
            (Content::Items(inner), _) => {
                let mut value = Vec::new();
                tlv_items(spec, &place, layout, false, inner, &mut value)?;
                value
            }
            (Content::Raw(raw), _) => raw.clone(),
            (Content::Text(text), _) if is_masked(secret, text) => return Err(EncodeError::Masked(place)),
            (Content::Text(text), _) => from_hex(&place, text)?,
            (Content::Digits(_), _) => return Err(wrong(&place, "a TLV value is hexadecimal text")),
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

fn datasets(
    spec: &Spec,
    place: &str,
    known: &[(u8, DatasetSpec)],
    items: &[Item],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for item in items {
        let place = format!("{place} {}", item.id);
        if item.id == REST {
            out.extend(bytes(&place, &item.content)?);
            continue;
        }
        let id = from_hex(&place, &item.id)?;
        let [id] = *id.as_slice() else {
            return Err(wrong(&place, "a dataset's id is one byte in hexadecimal"));
        };
        let data = match (&item.content, known.iter().find(|(known, _)| *known == id)) {
            (Content::Items(items), Some((_, set))) => composite(spec, &place, &set.layout, &raw_form(spec), items)?.0,
            (content, _) => bytes(&place, content)?,
        };
        let len = u16::try_from(data.len()).map_err(|_| wrong(&place, "a dataset has at most 65535 bytes"))?;
        out.push(id);
        out.extend(len.to_be_bytes());
        out.extend(data);
    }
    Ok(())
}

fn announced(
    spec: &Spec,
    place: &str,
    layout: &BitmappedLayout,
    items: &[Item],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut bits: Vec<u8> = Vec::new();
    let mut bitmap = None;
    let mut behind = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let place = format!("{place} {}", item.id);
        if item.id == REST {
            behind.extend(bytes(&place, &item.content)?);
            continue;
        }
        if item.id == BITMAP && at == 0 {
            bitmap = Some(bytes(&place, &item.content)?);
            continue;
        }
        let number = item.id.parse::<u8>().ok();
        let sub = layout.fields.iter().find(|(known, _)| number == Some(*known));
        let Some((bit, sub)) = sub.filter(|(bit, _)| bits.last().is_none_or(|last| last < bit)) else {
            return Err(wrong(&place, "its id is the number of a bit that the spec knows; they ascend"));
        };
        bits.push(*bit);
        let (data, units) = leaf(spec, &place, &sub.form, &sub.layout, sub.secret, &item.content)?;
        prefixed(&place, &sub.form, units, &data, item.length.as_deref(), &mut behind)?;
    }
    out.extend(bitmap.unwrap_or_else(|| layout.write(&bits)));
    out.extend(behind);
    Ok(())
}

/// A part's data behind its own length, as it was where that still says the same.
fn prefixed(
    place: &str,
    form: &Form,
    units: usize,
    data: &[u8],
    kept: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match kept.filter(|kept| says(form, kept, data).is_some()) {
        Some(kept) => out.extend_from_slice(kept),
        None if units > form.max() && matches!(form.length, PartLength::Variable { .. }) => {
            return Err(wrong(place, format!("{units} characters, at most {} are possible", form.max())));
        }
        None => form.write_prefix(units, data.len(), out),
    }
    out.extend_from_slice(data);
    Ok(())
}

/// The bytes of a part that has a form of its own, and how many characters, digits or bytes they are.
fn leaf(
    spec: &Spec,
    place: &str,
    form: &Form,
    layout: &Layout,
    secret: Option<Secret>,
    content: &Content,
) -> Result<(Vec<u8>, usize), EncodeError> {
    let text = match content {
        Content::Raw(raw) => return Ok((raw.clone(), form.units_of(raw))),
        Content::Items(items) => return composite(spec, place, layout, form, items),
        Content::Text(text) if is_masked(secret, text) => return Err(EncodeError::Masked(place.to_owned())),
        Content::Text(text) if form.kind == Kind::B && form.encoding == Encoding::Binary => {
            let data = from_hex(place, text)?;
            let len = data.len();
            return Ok((data, len));
        }
        Content::Text(text) => latin1(place, text)?,
        Content::Digits(value) => value.to_string().into_bytes(),
    };
    // What is inside is not checked when it is read, so that nothing keeps a message from being written back.
    let form = Form { lenient: true, ..*form };
    let mut out = Vec::new();
    let units = form.write(&text, &mut out).map_err(|fault| refused(place, &form, fault))?;
    Ok((out, units))
}

fn refused(place: &str, form: &Form, fault: WriteFault) -> EncodeError {
    match fault {
        WriteFault::Character(at) => {
            wrong(place, format!("character {} is wrong, expected {}", at + 1, form.expected()))
        }
        WriteFault::Length { got, want, fixed } => {
            wrong(place, format!("{got} characters, the spec wants {}{want}", if fixed { "" } else { "at most " }))
        }
    }
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

/// Parts one behind the other: bytes, or text where they are slices of something packed.
fn positional(
    spec: &Spec,
    place: &str,
    around: &Form,
    parts: &[Part],
    items: &[Item],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut expected = parts.iter();
    for (at, item) in items.iter().enumerate() {
        let place = format!("{place} {}", item.id);
        if item.id == REST {
            match &item.content {
                content if around.is_bytewise() => out.extend(bytes(&place, content)?),
                content => out.extend(slice(&place, around, None, content)?),
            }
            continue;
        }
        let Some(part) = expected.next().filter(|part| part.name == item.id) else {
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            return Err(wrong(&place, format!("parts stand in this order, none left out: {}", names.join(", "))));
        };
        if let Some(form) = &part.form {
            let (data, units) = leaf(spec, &place, form, &part.layout, part.secret, &item.content)?;
            prefixed(&place, form, units, &data, item.length.as_deref(), out)?;
            continue;
        }
        let data = slice(&place, around, part.secret, &item.content)?;
        let last = at + 1 == items.len();
        match part.length {
            PartLength::Fixed(len) if data.len() > usize::from(len) || (data.len() < usize::from(len) && !last) => {
                return Err(wrong(&place, format!("{} characters, the part has {len}", data.len())));
            }
            PartLength::Fixed(_) | PartLength::Variable { .. } | PartLength::Rest => out.extend(data),
        }
    }
    Ok(())
}

/// So many characters of the text around them: on the wire where one is a byte, else as text.
fn slice(place: &str, around: &Form, secret: Option<Secret>, content: &Content) -> Result<Vec<u8>, EncodeError> {
    let text = match content {
        Content::Raw(raw) => return Ok(raw.clone()),
        Content::Text(text) if is_masked(secret, text) => return Err(EncodeError::Masked(place.to_owned())),
        Content::Text(text) => latin1(place, text)?,
        Content::Digits(value) => value.to_string().into_bytes(),
        Content::Items(_) => {
            return Err(wrong(place, "this part has no parts of its own; give its value as text"));
        }
    };
    Ok(match around.encoding {
        Encoding::Text(set) => text.into_iter().map(|ch| set.from_latin1(ch)).collect(),
        Encoding::Hex(set) if around.kind == Kind::B => text.into_iter().map(|ch| set.from_latin1(ch)).collect(),
        Encoding::Binary | Encoding::Hex(_) | Encoding::Bcd { .. } => text,
    })
}

/// The bytes of a part of which nothing else is known.
fn bytes(place: &str, content: &Content) -> Result<Vec<u8>, EncodeError> {
    match content {
        Content::Raw(raw) => Ok(raw.clone()),
        Content::Text(text) => from_hex(place, text),
        Content::Digits(_) | Content::Items(_) => {
            Err(wrong(place, "this part has no parts of its own; give its value as text"))
        }
    }
}

/// Text in the spec's character set.
fn text_of(spec: &Spec, place: &str, content: &Content) -> Result<Vec<u8>, EncodeError> {
    text_in(spec.charset, place, content)
}

fn text_in(charset: Charset, place: &str, content: &Content) -> Result<Vec<u8>, EncodeError> {
    match content {
        Content::Raw(raw) => Ok(raw.clone()),
        Content::Text(text) => Ok(latin1(place, text)?.into_iter().map(|ch| charset.from_latin1(ch)).collect()),
        Content::Digits(value) => {
            Ok(value.to_string().into_bytes().into_iter().map(|ch| charset.from_latin1(ch)).collect())
        }
        Content::Items(_) => Err(wrong(place, "this part has no parts of its own; give its value as text")),
    }
}

/// Text as the Latin-1 bytes of its characters.
pub(crate) fn latin1(place: &str, text: &str) -> Result<Vec<u8>, EncodeError> {
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
