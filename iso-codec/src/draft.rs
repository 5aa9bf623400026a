//! A message as an owned set of elements, to be encoded at leisure: for the command line, the sandbox, simulators and
//! tests. Owns what is kept of a message that was read; composite values become bytes in `compose.rs`, and the path uses
//! [`Builder`] directly.

use crate::bitmap::Elements;
use crate::compose::{composite, from_hex, is_masked, latin1};
use crate::decode::{read_bitmaps, third_bit};
use crate::encode::{Builder, canonical_bitmaps};
use crate::error::EncodeError;
use crate::form::Encoding;
use crate::inside::odd_prefix;
use crate::message::Message;
use crate::mti::Mti;
use crate::spec::{FieldSpec, Kind, Spec};
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
    /// The length's bytes, when they are not what the content alone would give.
    pub length: Option<Vec<u8>>,
}

/// A message to be encoded: its type and its elements, set in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The message type.
    pub mti: Mti,
    elements: BTreeMap<u8, Content>,
    /// Length prefixes that are not what the content alone would give.
    lengths: BTreeMap<u8, Vec<u8>>,
    bitmaps: Option<Vec<u8>>,
}

impl Draft {
    /// An empty message of that type.
    pub fn new(mti: Mti) -> Draft {
        Draft { mti, elements: BTreeMap::new(), lengths: BTreeMap::new(), bitmaps: None }
    }

    /// All elements of a message, as on the wire.
    pub fn from_message(message: &Message) -> Draft {
        let mut draft = Draft::new(message.mti());
        for n in message.present() {
            let raw = message.raw(n).unwrap_or_default();
            draft.set_raw(n, raw);
            if let (Some((form, units)), Some(wire)) = (message.rare(n), message.wire(n)) {
                let prefix = wire.get(..wire.len().saturating_sub(raw.len())).unwrap_or_default();
                draft.keep_length(n, odd_prefix(form, prefix, raw, units, false));
            }
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
        self.lengths.remove(&n);
        self
    }

    /// Keeps an element's length prefix as it was on the wire, as long as it still says its length.
    pub(crate) fn keep_length(&mut self, n: u8, length: Option<Vec<u8>>) {
        if let Some(length) = length {
            self.lengths.insert(n, length);
        }
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
        let mut third = 0;
        for (n, content) in &self.elements {
            let field = spec.field(*n).ok_or(EncodeError::UnknownElement(*n))?;
            write_element(&mut builder, spec, field, content, self.lengths.get(n).map(Vec::as_slice))?;
            elements.insert(*n);
            third |= third_bit(*n);
        }
        match self.bitmaps.as_deref().filter(|kept| *kept != canonical_bitmaps(spec, elements, third)) {
            Some(kept) => match read_bitmaps(spec, kept) {
                Ok((promised, also, size))
                    if size == kept.len() && promised.elements() == elements && also == third =>
                {
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
    length: Option<&[u8]>,
) -> Result<(), EncodeError> {
    let n = field.number;
    let place = format!("DE{n}");
    match content {
        Content::Digits(value) => builder.digits(n, *value),
        Content::Raw(raw) => builder.raw_behind(n, length, raw),
        Content::Items(items) => {
            let (content, units) = composite(spec, &place, &field.layout, &field.wire, items)?;
            let mut usual = Vec::new();
            field.wire.write_prefix(units, content.len(), &mut usual);
            builder.raw_behind(n, length.or(Some(&usual)), &content)
        }
        Content::Text(text) => {
            if is_masked(field.secret, text) {
                return Err(EncodeError::Masked(place));
            }
            if field.kind == Kind::B && field.wire.encoding == Encoding::Binary {
                return builder.raw_behind(n, length, &from_hex(&place, text)?);
            }
            let text = latin1(&place, text)?;
            match length {
                // The text makes the content, and its prefix is not the usual one.
                Some(length) if spec.rare(n).is_some() => {
                    let mut content = Vec::new();
                    match field.wire.write(&text, &mut content) {
                        Ok(_) => builder.raw_behind(n, Some(length), &content),
                        Err(_) => builder.text(n, &text),
                    }
                }
                Some(_) | None => builder.text(n, &text),
            }
        }
    }
}
