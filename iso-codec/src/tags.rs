//! Sub-elements with tags and lengths of any form, read in order. Owns what `composite.rs` has no short way for; a fault
//! in here never fails the message, it is told once and ends the reading.

use crate::charset::{Charset, class};
use crate::composite::{SubError, SubFault};
use crate::error::EncodeError;
use crate::form::{Count, Encoding, Form};
use crate::prefix::hex_digit;
use crate::spec::{SubSpec, TagForm, TagLength, TaggedLayout};
use std::fmt;

/// One sub-element of a tagged element.
#[derive(Clone, Copy)]
pub struct Tagged<'a> {
    id: [u8; 16],
    id_len: u8,
    /// The data as on the wire.
    pub data: &'a [u8],
    /// How many characters, digits or bytes the data is.
    pub(crate) units: usize,
    /// The length as on the wire.
    pub(crate) length: &'a [u8],
}

impl Tagged<'_> {
    /// The tag: its characters, or upper-case hexadecimal where it is binary.
    pub fn id(&self) -> &str {
        let id = self.id.get(..usize::from(self.id_len)).unwrap_or_default();
        // Only printable ASCII is ever put into it.
        std::str::from_utf8(id).unwrap_or_default()
    }
}

impl fmt::Debug for Tagged<'_> {
    /// Tag and length alone: the data may be a card number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tagged({}, {} bytes)", self.id(), self.data.len())
    }
}

/// The sub-elements of a tagged element; see [`crate::Message::tagged`].
#[derive(Clone)]
pub struct TaggedIter<'a> {
    layout: Option<&'a TaggedLayout>,
    raw: &'a [u8],
    at: usize,
    class: Option<u8>,
    ended: bool,
}

impl<'a> TaggedIter<'a> {
    pub(crate) fn new(layout: &'a TaggedLayout, charset: Charset, raw: &'a [u8]) -> TaggedIter<'a> {
        let charset = layout.class_charset(charset);
        let class = match raw.first() {
            Some(byte) if layout.class.is_some() && charset.tables().class_of(*byte) & class::CAPITAL != 0 => {
                Some(charset.to_latin1(*byte))
            }
            Some(_) | None => None,
        };
        TaggedIter { layout: Some(layout), raw, at: usize::from(class.is_some()), class, ended: false }
    }

    pub(crate) fn empty() -> TaggedIter<'a> {
        TaggedIter { layout: None, raw: &[], at: 0, class: None, ended: true }
    }

    /// The class byte, as an ASCII capital.
    pub fn class(&self) -> Option<u8> {
        self.class
    }

    fn read(&self, layout: &TaggedLayout) -> Result<(Tagged<'a>, usize), SubFault> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let (tag, behind) = rest.split_at_checked(layout.tag.size()).ok_or(SubFault::Tag)?;
        let mut id = [0u8; 16];
        let id_len = layout.tag.read(layout.short, tag, &mut id).ok_or(SubFault::Tag)?;
        let length = &layout.length;
        let (prefix, behind) = behind.split_at_checked(length.size()).ok_or(SubFault::Length)?;
        let value = length.prefix.read(prefix).map_err(|_| SubFault::Length)?;
        let value = value.checked_sub(length.own()).ok_or(SubFault::Length)?;
        let name = id.get(..usize::from(id_len)).unwrap_or_default();
        let known = layout.known(name);
        let form = known.map(|sub| &sub.form);
        let len = match length.count {
            Count::Bytes => value,
            Count::Nibbles => value.div_ceil(2),
            Count::Characters => form.map_or(value, |form| form.size_of(value)),
        };
        let data = behind.get(..len).ok_or(SubFault::Overrun)?;
        let units = match (length.count, form) {
            (Count::Characters, _) => value,
            (Count::Nibbles, Some(form)) if matches!(form.encoding, Encoding::Bcd { .. }) => value,
            (_, Some(form)) => form.units_of(data),
            (_, None) => len,
        };
        let size = tag.len() + prefix.len() + len;
        Ok((Tagged { id, id_len, data, units, length: prefix }, size))
    }
}

impl<'a> Iterator for TaggedIter<'a> {
    type Item = Result<Tagged<'a>, SubError>;

    fn next(&mut self) -> Option<Self::Item> {
        let layout = self.layout?;
        if self.ended || self.at >= self.raw.len() {
            return None;
        }
        match self.read(layout) {
            Ok((tagged, size)) => {
                self.at += size;
                Some(Ok(tagged))
            }
            Err(fault) => {
                self.ended = true;
                Some(Err(SubError { offset: self.at, fault }))
            }
        }
    }
}

impl TaggedLayout {
    /// The character set of the class byte: that of the tags behind it, the spec's where tags are no text.
    pub(crate) fn class_charset(&self, usual: Charset) -> Charset {
        match self.tag.encoding {
            Encoding::Text(set) => set,
            Encoding::Bcd { .. } | Encoding::Binary | Encoding::Hex(_) => usual,
        }
    }

    /// The sub-element with that tag.
    pub(crate) fn known(&self, id: &[u8]) -> Option<&SubSpec> {
        let at = self.subs.binary_search_by(|(known, _)| known.as_bytes().cmp(id)).ok()?;
        self.subs.get(at).map(|(_, sub)| sub)
    }
}

impl TagForm {
    /// Bytes of a tag.
    fn size(&self) -> usize {
        let length = usize::from(self.length);
        match self.encoding {
            Encoding::Text(_) | Encoding::Binary => length,
            Encoding::Bcd { .. } => length.div_ceil(2),
            Encoding::Hex(_) => 2 * length,
        }
    }

    /// The tag's characters into `id`, and how many they are.
    fn read(&self, digits_only: bool, bytes: &[u8], id: &mut [u8; 16]) -> Option<u8> {
        let mut used = 0usize;
        let mut put = |ch: u8| {
            if let Some(slot) = id.get_mut(used) {
                *slot = ch;
                used += 1;
            }
        };
        match self.encoding {
            Encoding::Text(set) => {
                for byte in bytes {
                    let ch = set.to_latin1(*byte);
                    let good = if digits_only { ch.is_ascii_digit() } else { ch.is_ascii_graphic() };
                    good.then(|| put(ch))?;
                }
            }
            Encoding::Binary => {
                for byte in bytes {
                    put(hex_digit(Charset::Ascii, byte >> 4));
                    put(hex_digit(Charset::Ascii, *byte));
                }
            }
            Encoding::Hex(set) => {
                for byte in bytes {
                    let ch = set.to_latin1(*byte);
                    (ch.is_ascii_digit() || matches!(ch, b'A'..=b'F')).then(|| put(ch))?;
                }
            }
            Encoding::Bcd { left, .. } => {
                let odd = self.length % 2 == 1;
                let skipped = if !odd {
                    usize::MAX
                } else if left {
                    usize::from(self.length)
                } else {
                    0
                };
                let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).enumerate();
                for (at, nibble) in nibbles {
                    if at == skipped {
                        // What fills a tag must be zero, or it would not be written back.
                        (nibble == 0).then_some(())?;
                        continue;
                    }
                    (nibble < 10).then(|| put(b'0' + nibble))?;
                }
            }
        }
        u8::try_from(used).ok()
    }

    /// Writes a tag.
    pub(crate) fn write(&self, digits_only: bool, id: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let length = usize::from(self.length);
        let from = out.len();
        let plain = id.is_ascii() && id.len() == length;
        match self.encoding {
            Encoding::Text(set) if plain => out.extend(id.bytes().map(|ch| set.from_latin1(ch))),
            Encoding::Bcd { left, .. } if plain => {
                let mut nibbles: Vec<u8> = id.bytes().map(|ch| ch.wrapping_sub(b'0')).collect();
                if length % 2 == 1 {
                    nibbles.insert(if left { length } else { 0 }, 0);
                }
                out.extend(nibbles.chunks(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | (nibble & 15))));
            }
            Encoding::Binary => {
                out.extend(crate::compose::from_hex("tag", id).map_err(|error: EncodeError| error.to_string())?)
            }
            Encoding::Hex(set) if id.is_ascii() => out.extend(id.bytes().map(|ch| set.from_latin1(ch))),
            _ => {}
        }
        let mut read = [0u8; 16];
        let written = out.get(from..).unwrap_or_default();
        let used = if written.len() == self.size() { self.read(digits_only, written, &mut read) } else { None };
        match used.and_then(|used| read.get(..usize::from(used))) {
            Some(read) if read == id.as_bytes() => Ok(()),
            Some(_) | None if digits_only => Err("a sub-element's id is two digits".to_owned()),
            Some(_) | None => {
                Err(format!("a sub-element's id is a tag of length {length}, in upper-case hex if binary"))
            }
        }
    }
}

impl TagLength {
    /// Bytes of a length.
    fn size(&self) -> usize {
        self.prefix.size(self.digits)
    }

    /// What a length counts of itself.
    fn own(&self) -> usize {
        match (self.inclusive, self.count) {
            (false, _) => 0,
            (true, Count::Nibbles) => 2 * self.size(),
            (true, Count::Characters | Count::Bytes) => self.size(),
        }
    }

    /// Writes the length of so many characters in so many bytes; told when it does not fit.
    pub(crate) fn write(&self, form: Option<&Form>, units: usize, len: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let value = match (self.count, form) {
            (Count::Bytes, _) | (Count::Characters, None) => len,
            (Count::Characters, Some(_)) => units,
            (Count::Nibbles, Some(form)) if matches!(form.encoding, Encoding::Bcd { .. }) => units,
            (Count::Nibbles, _) => 2 * len,
        } + self.own();
        let most = self.prefix.most(self.digits);
        if value > most {
            return Err(format!("a sub-element has at most {most} bytes"));
        }
        self.prefix.write(self.digits, value, out);
        Ok(())
    }
}
