//! Character sets of text elements: byte to Latin-1 and back, and what class of character a byte is. Owns the
//! compiled tables; never allocates and never fails, because every set is a bijection of the 256 bytes.

use crate::charset_tables::{CP037, CP500, CP1047};
use serde::Deserialize;

/// How text, digits and length prefixes of a spec are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charset {
    /// ASCII; bytes from 0x80 up are taken as Latin-1, so that nothing is lost.
    Ascii,
    /// EBCDIC, IBM code page 500 (international): the card networks' usual one.
    EbcdicCp500,
    /// EBCDIC, IBM code page 1047 (open systems).
    #[serde(rename = "ebcdic-1047")]
    Ebcdic1047,
    /// EBCDIC, IBM code page 37 (United States).
    #[serde(rename = "ebcdic-037")]
    Ebcdic037,
}

/// The class bits of one byte.
pub(crate) mod class {
    /// 0–9.
    pub(crate) const DIGIT: u8 = 1;
    /// A–Z and a–z.
    pub(crate) const LETTER: u8 = 2;
    /// The blank.
    pub(crate) const SPACE: u8 = 4;
    /// Printable, and neither of the above.
    pub(crate) const SPECIAL: u8 = 8;
    /// A–F, a–f and digits.
    pub(crate) const HEX: u8 = 16;
    /// What a track 2 may hold: digits, the separators `=` and `D`, the pad `F`, and 3A–3F of the code table.
    pub(crate) const TRACK: u8 = 32;
    /// A–Z.
    pub(crate) const CAPITAL: u8 = 64;
}

/// One character set, compiled.
pub(crate) struct Tables {
    /// Byte on the wire to Latin-1.
    pub(crate) to_latin1: [u8; 256],
    /// Latin-1 to byte on the wire.
    pub(crate) from_latin1: [u8; 256],
    /// Class bits (see [`class`]) by byte on the wire.
    pub(crate) class: [u8; 256],
    /// The byte of `0`; the digits follow it without a gap in every set.
    pub(crate) zero: u8,
}

const fn compile(to_latin1: [u8; 256]) -> Tables {
    let mut from_latin1 = [0u8; 256];
    let mut classes = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        let ch = to_latin1[byte];
        from_latin1[ch as usize] = byte as u8;
        let mut bits = 0;
        if ch.is_ascii_digit() {
            bits |= class::DIGIT;
        }
        if ch.is_ascii_alphabetic() {
            bits |= class::LETTER;
        }
        if ch == b' ' {
            bits |= class::SPACE;
        }
        if ch.is_ascii_punctuation() || ch > 0xA0 {
            bits |= class::SPECIAL;
        }
        if ch.is_ascii_hexdigit() {
            bits |= class::HEX;
        }
        if (ch >= 0x30 && ch <= 0x3F) || ch == b'D' || ch == b'F' {
            bits |= class::TRACK;
        }
        if ch.is_ascii_uppercase() {
            bits |= class::CAPITAL;
        }
        classes[byte] = bits;
        byte += 1;
    }
    let zero = from_latin1[b'0' as usize];
    Tables { to_latin1, from_latin1, class: classes, zero }
}

const fn identity() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte as u8;
        byte += 1;
    }
    table
}

static ASCII: Tables = compile(identity());
static EBCDIC_500: Tables = compile(CP500);
static EBCDIC_1047: Tables = compile(CP1047);
static EBCDIC_037: Tables = compile(CP037);

impl Charset {
    /// All of them, for listings and tests.
    pub const ALL: [Charset; 4] = [Charset::Ascii, Charset::EbcdicCp500, Charset::Ebcdic1047, Charset::Ebcdic037];

    /// The name spec files use.
    pub fn name(self) -> &'static str {
        match self {
            Charset::Ascii => "ascii",
            Charset::EbcdicCp500 => "ebcdic-cp500",
            Charset::Ebcdic1047 => "ebcdic-1047",
            Charset::Ebcdic037 => "ebcdic-037",
        }
    }

    /// Latin-1 code point of a byte on the wire.
    pub fn to_latin1(self, byte: u8) -> u8 {
        self.tables().to_latin1[usize::from(byte)]
    }

    /// Byte on the wire of a Latin-1 code point.
    pub fn from_latin1(self, ch: u8) -> u8 {
        self.tables().from_latin1[usize::from(ch)]
    }

    /// The bytes as text, one Latin-1 character each.
    pub fn string(self, bytes: &[u8]) -> String {
        bytes.iter().map(|b| char::from(self.to_latin1(*b))).collect()
    }

    pub(crate) fn tables(self) -> &'static Tables {
        match self {
            Charset::Ascii => &ASCII,
            Charset::EbcdicCp500 => &EBCDIC_500,
            Charset::Ebcdic1047 => &EBCDIC_1047,
            Charset::Ebcdic037 => &EBCDIC_037,
        }
    }
}

impl Tables {
    pub(crate) fn class_of(&self, byte: u8) -> u8 {
        self.class[usize::from(byte)]
    }

    /// The value of a digit byte.
    #[inline]
    pub(crate) fn digit(&self, byte: u8) -> Option<u8> {
        let value = byte.wrapping_sub(self.zero);
        (value < 10).then_some(value)
    }

    /// Whether all bytes are digits; written without an early exit so that it vectorizes.
    #[inline]
    pub(crate) fn all_digits(&self, bytes: &[u8]) -> bool {
        bytes.iter().fold(0u8, |bad, b| bad | u8::from(b.wrapping_sub(self.zero) > 9)) == 0
    }

    /// The number that the digit bytes write, up to 19 of them; `None` for anything else.
    #[inline]
    pub(crate) fn number(&self, bytes: &[u8]) -> Option<u64> {
        if bytes.is_empty() || bytes.len() > 19 {
            return None;
        }
        let mut value = 0u64;
        for b in bytes {
            value = value * 10 + u64::from(self.digit(*b)?);
        }
        Some(value)
    }

    /// Translates into `out`, as many bytes as the shorter of the two has.
    #[inline]
    pub(crate) fn read_into(&self, bytes: &[u8], out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = self.to_latin1[usize::from(*from)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_a_bijection_that_round_trips_all_bytes() {
        for set in Charset::ALL {
            let mut seen = [false; 256];
            for byte in 0..=255u8 {
                let ch = set.to_latin1(byte);
                assert_eq!(set.from_latin1(ch), byte, "{set:?} {byte:02X}");
                assert!(!std::mem::replace(&mut seen[usize::from(ch)], true), "{set:?} {byte:02X}");
            }
        }
    }

    #[test]
    fn the_code_pages_differ_where_they_are_known_to() {
        let known = [
            (Charset::EbcdicCp500, [0x4A, 0x5A, 0x4F, 0x5F, 0xBB]),
            (Charset::Ebcdic1047, [0xAD, 0xBD, 0x5A, 0x5F, 0x4F]),
            (Charset::Ebcdic037, [0xBA, 0xBB, 0x5A, 0xB0, 0x4F]),
        ];
        for (set, bytes) in known {
            assert_eq!(set.string(&bytes), "[]!^|", "{set:?}");
            assert_eq!(set.string(&[0xF0, 0xF9, 0xC1, 0xE9, 0x81, 0xA9, 0x40]), "09AZaz ", "{set:?}");
        }
    }
}
