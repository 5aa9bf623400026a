//! Character sets of text elements: byte to Latin-1 and back, and what class of character a byte is. Owns the
//! compiled tables; never allocates and never fails, because every set is a bijection of the 256 bytes.

use crate::charset_tables::{CP037, CP500, CP1047};
use serde::Deserialize;

/// How text, digits and length prefixes of a spec are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Letters, digits and the blank: what `an` elements may hold.
    pub(crate) const WORD: u8 = 128;
}

/// One character set, compiled.
pub(crate) struct Tables {
    /// Byte on the wire to Latin-1.
    pub(crate) to_latin1: [u8; 256],
    /// Latin-1 to byte on the wire.
    pub(crate) from_latin1: [u8; 256],
    /// Class bits (see [`class`]) by byte on the wire.
    pub(crate) class: [u8; 256],
    /// The value of a hexadecimal digit by byte on the wire; above 15 for all else.
    pub(crate) nibble: [u8; 256],
    /// The byte of `0`; the digits follow it without a gap in every set.
    pub(crate) zero: u8,
}

const fn compile(to_latin1: [u8; 256]) -> Tables {
    let mut from_latin1 = [0u8; 256];
    let mut classes = [0u8; 256];
    let mut nibble = [u8::MAX; 256];
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
        if let Some(digit) = (ch as char).to_digit(16) {
            bits |= class::HEX;
            nibble[byte] = digit as u8;
        }
        if (ch >= 0x30 && ch <= 0x3F) || ch == b'D' || ch == b'F' {
            bits |= class::TRACK;
        }
        if ch.is_ascii_uppercase() {
            bits |= class::CAPITAL;
        }
        if ch.is_ascii_alphanumeric() || ch == b' ' {
            bits |= class::WORD;
        }
        classes[byte] = bits;
        byte += 1;
    }
    let zero = from_latin1[b'0' as usize];
    Tables { to_latin1, from_latin1, class: classes, nibble, zero }
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

    /// Whether all bytes are digits: eight at a time, since most elements are too short for vectors to pay.
    #[inline]
    pub(crate) fn all_digits(&self, bytes: &[u8]) -> bool {
        // The last eight (or four), some of them for the second time, cost less than what is left one by one.
        if let Some(last) = bytes.last_chunk::<8>() {
            let last = self.values(u64::from_le_bytes(*last)).is_some();
            let words = bytes.as_chunks::<8>().0.iter();
            return words.fold(last, |good, word| good & self.values(u64::from_le_bytes(*word)).is_some());
        }
        match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                let word = u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
                self.values(word).is_some()
            }
            _ => bytes.iter().all(|b| self.digit(*b).is_some()),
        }
    }

    /// The values of eight digit bytes, each in its byte; `None` when one is no digit.
    #[inline]
    fn values(&self, word: u64) -> Option<u64> {
        // Every set's `0` ends in a zero nibble, so that this leaves 0 to 9 of a digit and more of all else.
        let values = word ^ u64::from_ne_bytes([self.zero; 8]);
        let over = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
        (over == 0).then_some(values)
    }

    /// Four digit bytes, each a nibble, the first on top; `None` when one is no digit.
    #[inline]
    pub(crate) fn four_digits(&self, bytes: [u8; 4]) -> Option<u16> {
        let ones = self.values(u64::from(u32::from_be_bytes(bytes)) | u64::from_ne_bytes([self.zero; 8]) << 32)?;
        let pairs = (ones | ones >> 4) & 0x00FF_00FF;
        // Four nibbles are left.
        Some((pairs | pairs >> 8) as u16)
    }

    /// The number that up to sixteen hexadecimal digit bytes write; `None` when one is none.
    #[inline]
    pub(crate) fn hex_number(&self, bytes: &[u8]) -> Option<u64> {
        let (mut value, mut seen) = (0u64, 0u8);
        for byte in bytes {
            let nibble = self.nibble[usize::from(*byte)];
            seen |= nibble;
            value = value << 4 | u64::from(nibble & 15);
        }
        (seen < 16).then_some(value)
    }

    /// The number that the digit bytes write, up to 19 of them; `None` for anything else.
    #[inline]
    pub(crate) fn number(&self, bytes: &[u8]) -> Option<u64> {
        if bytes.is_empty() || bytes.len() > 19 {
            return None;
        }
        let (head, words) = bytes.as_rchunks::<8>();
        words.iter().try_fold(self.short_number(head)?, |value, word| {
            Some(value * 100_000_000 + self.eight_digits(u64::from_le_bytes(*word))?)
        })
    }

    /// The number of fewer than eight digits; none of them write zero.
    #[inline]
    fn short_number(&self, bytes: &[u8]) -> Option<u64> {
        match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                // Both fours make one word, what they share written twice, with zeros where the front digits miss.
                let places = 8 * (bytes.len() - 4);
                let digits = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << places;
                let zeros = u64::from_ne_bytes([self.zero; 8]) & (u64::MAX >> (32 + places));
                self.eight_digits(digits << (32 - places) | zeros)
            }
            _ => bytes.iter().try_fold(0, |value, b| Some(value * 10 + u64::from(self.digit(*b)?))),
        }
    }

    /// The number of eight digits, the first in the lowest byte.
    #[inline]
    fn eight_digits(&self, word: u64) -> Option<u64> {
        // Neighbours make pairs, pairs make fours, fours make the number: each in one multiplication.
        let ones = self.values(word)?;
        let pairs = ones * 10 + (ones >> 8);
        let (even, odd) = (pairs & 0x0000_00FF_0000_00FF, (pairs >> 16) & 0x0000_00FF_0000_00FF);
        let eight = even.wrapping_mul(100 + (1_000_000 << 32)).wrapping_add(odd.wrapping_mul(1 + (10_000 << 32)));
        Some(eight >> 32)
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
    fn numbers_are_read_and_what_is_no_digit_is_seen_at_every_place_of_every_length() {
        for set in Charset::ALL {
            let tables = set.tables();
            assert_eq!(tables.zero & 15, 0, "{set:?}");
            for len in 0..=21usize {
                let text: Vec<u8> = (0..len).map(|at| b'0' + ((at * 7 + 9) % 10) as u8).collect();
                let mut wire: Vec<u8> = text.iter().map(|ch| set.from_latin1(*ch)).collect();
                let number = std::str::from_utf8(&text).expect("digits").parse().ok().filter(|_| len <= 19);
                assert_eq!(tables.number(&wire), number, "{set:?} {len}");
                assert!(tables.all_digits(&wire), "{set:?} {len}");
                for at in 0..len {
                    let good = wire[at];
                    for byte in (0..=255u8).filter(|byte| tables.digit(*byte).is_none()) {
                        wire[at] = byte;
                        assert_eq!(tables.number(&wire), None, "{set:?} {len} {at} {byte:02X}");
                        assert!(!tables.all_digits(&wire), "{set:?} {len} {at} {byte:02X}");
                    }
                    wire[at] = good;
                }
            }
        }
    }

    #[test]
    fn message_types_and_bitmaps_are_read_and_what_is_no_digit_of_them_is_seen() {
        for set in Charset::ALL {
            let tables = set.tables();
            let write = |text: &str| -> Vec<u8> { text.bytes().map(|ch| set.from_latin1(ch)).collect() };
            let four = |bytes: &[u8]| tables.four_digits(bytes.try_into().expect("four"));
            assert_eq!(four(&write("0123")), Some(0x0123), "{set:?}");
            assert_eq!(four(&write("9876")), Some(0x9876), "{set:?}");
            assert_eq!(tables.hex_number(&write("0123456789abCDEF")), Some(0x0123_4567_89AB_CDEF), "{set:?}");
            for byte in 0..=255u8 {
                let ch = char::from(set.to_latin1(byte));
                for at in 0..4 {
                    let mut bytes = write("0123");
                    bytes[at] = byte;
                    assert_eq!(four(&bytes).is_some(), ch.is_ascii_digit(), "{set:?} {at} {byte:02X}");
                    assert_eq!(tables.hex_number(&bytes).is_some(), ch.is_ascii_hexdigit(), "{set:?} {at} {byte:02X}");
                }
                let word = tables.class_of(byte) & class::WORD != 0;
                assert_eq!(word, ch.is_ascii_alphanumeric() || ch == ' ', "{set:?} {byte:02X}");
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
