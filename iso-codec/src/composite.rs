//! What is inside composite elements: tagged sub-elements and BER-TLV, read lazily and in order. A fault in here never
//! fails the message; it is told once and ends the reading. Unknown tags are kept.

use crate::charset::{Tables, class};
use std::fmt;
use thiserror::Error;

/// What is wrong inside a composite element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubFault {
    /// The tag is not digits, or not a whole BER tag of at most three bytes.
    Tag,
    /// The length is not digits, or not a definite BER length.
    Length,
    /// The data would go past the end.
    Overrun,
}

impl fmt::Display for SubFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubFault::Tag => "no readable tag",
            SubFault::Length => "no readable length",
            SubFault::Overrun => "the length goes past the end",
        })
    }
}

/// Where the inside of a composite element stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("{fault} at offset {offset} of the element")]
pub struct SubError {
    /// Offset of the sub-element that cannot be read, in the element's content.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: SubFault,
}

/// The sub-elements of a tagged element; see [`crate::Message::subs`].
#[derive(Clone)]
pub struct SubIter<'a> {
    tables: &'static Tables,
    raw: &'a [u8],
    at: usize,
    class: Option<u8>,
    ended: bool,
}

impl<'a> SubIter<'a> {
    pub(crate) fn new(tables: &'static Tables, has_class: bool, raw: &'a [u8]) -> SubIter<'a> {
        let class = match raw.first() {
            Some(byte) if has_class && tables.class_of(*byte) & class::CAPITAL != 0 => {
                Some(tables.to_latin1[usize::from(*byte)])
            }
            Some(_) | None => None,
        };
        SubIter { tables, raw, at: usize::from(class.is_some()), class, ended: false }
    }

    /// The class byte, as an ASCII capital.
    pub fn class(&self) -> Option<u8> {
        self.class
    }

    /// Offset of what is read next, in the element's content.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    fn read(&self) -> Result<([u8; 2], &'a [u8]), SubFault> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let Some((head, behind)) = rest.split_first_chunk::<4>() else {
            return Err(if rest.len() < 2 { SubFault::Tag } else { SubFault::Length });
        };
        let digits = head.map(|b| self.tables.digit(b));
        let [Some(high), Some(low), tens, ones] = digits else { return Err(SubFault::Tag) };
        let (Some(tens), Some(ones)) = (tens, ones) else { return Err(SubFault::Length) };
        let data = behind.get(..usize::from(tens * 10 + ones)).ok_or(SubFault::Overrun)?;
        Ok(([b'0' + high, b'0' + low], data))
    }
}

impl<'a> Iterator for SubIter<'a> {
    type Item = Result<([u8; 2], &'a [u8]), SubError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.at >= self.raw.len() {
            return None;
        }
        match self.read() {
            Ok((tag, data)) => {
                self.at += 4 + data.len();
                Some(Ok((tag, data)))
            }
            Err(fault) => {
                self.ended = true;
                Some(Err(SubError { offset: self.at, fault }))
            }
        }
    }
}

/// One BER-TLV object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The tag's one to three bytes as a number: 0x9F26, 0x5A, 0xDF8116.
    pub tag: u32,
    /// The value's bytes.
    pub value: &'a [u8],
    /// The length's bytes as on the wire; not always the shortest form.
    pub(crate) length: &'a [u8],
}

impl Tlv<'_> {
    /// Whether the value is itself made of TLVs.
    pub fn is_constructed(&self) -> bool {
        let first = self.tag.to_be_bytes().into_iter().find(|b| *b != 0).unwrap_or(0);
        first & 0x20 != 0
    }
}

impl fmt::Debug for Tlv<'_> {
    /// Tag and length alone: the value may be a card number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tlv({:X}, {} bytes)", self.tag, self.value.len())
    }
}

/// The objects of a BER-TLV element; see [`crate::Message::tlvs`]. Zero bytes between objects are padding and skipped.
#[derive(Clone)]
pub struct TlvIter<'a> {
    raw: &'a [u8],
    at: usize,
    ended: bool,
}

impl<'a> TlvIter<'a> {
    /// Reads the objects in `raw`; also for the value of a constructed one.
    pub fn new(raw: &'a [u8]) -> TlvIter<'a> {
        TlvIter { raw, at: 0, ended: false }
    }

    /// The same behind a class byte, a capital letter, where one may stand and does.
    pub(crate) fn behind_class(has_class: bool, tables: &Tables, raw: &'a [u8]) -> TlvIter<'a> {
        let class = has_class && raw.first().is_some_and(|byte| tables.class_of(*byte) & class::CAPITAL != 0);
        TlvIter { raw, at: usize::from(class), ended: false }
    }

    /// Where the next object begins.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Skips padding and says how many bytes of it there were.
    pub(crate) fn skip_padding(&mut self) -> usize {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let zeros = rest.iter().take_while(|b| **b == 0).count();
        self.at += zeros;
        zeros
    }

    fn read(&self) -> Result<(Tlv<'a>, usize), SubFault> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let (tag, behind) = read_tag(rest).ok_or(SubFault::Tag)?;
        let (len, behind, length) = read_ber_length(behind).ok_or(SubFault::Length)?;
        let value = behind.get(..len).ok_or(SubFault::Overrun)?;
        let size = rest.len() - behind.len() + len;
        Ok((Tlv { tag, value, length }, size))
    }
}

fn read_tag(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mut tag = u32::from(*first);
    if first & 0x1F == 0x1F {
        for place in 0.. {
            let (next, behind) = rest.split_first()?;
            tag = tag << 8 | u32::from(*next);
            rest = behind;
            if next & 0x80 == 0 {
                break;
            }
            if place == 1 {
                return None;
            }
        }
    }
    Some((tag, rest))
}

/// A definite length: its value, what stands behind it, and its own bytes.
pub(crate) fn read_ber_length(bytes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let more = match first {
        0..=0x7F => 0,
        0x81..=0x84 => usize::from(first & 0x7F),
        _ => return None,
    };
    let mut len = usize::from(if more == 0 { *first } else { 0 });
    for byte in rest.get(..more)? {
        len = len.checked_mul(256)?.checked_add(usize::from(*byte))?;
    }
    Some((len, rest.get(more..)?, bytes.get(..1 + more)?))
}

impl<'a> Iterator for TlvIter<'a> {
    type Item = Result<Tlv<'a>, SubError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.skip_padding();
        if self.at >= self.raw.len() {
            return None;
        }
        match self.read() {
            Ok((tlv, size)) => {
                self.at += size;
                Some(Ok(tlv))
            }
            Err(fault) => {
                self.ended = true;
                Some(Err(SubError { offset: self.at, fault }))
            }
        }
    }
}
