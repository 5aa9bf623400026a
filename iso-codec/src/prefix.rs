//! How a length is written in front of a content: the bytes of each form, and the number that they say. Owns no meaning
//! of that number, which counts whatever its [`crate::Form`] says.

use crate::charset::Charset;

/// How a length in front of a content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// One character a digit.
    Text(Charset),
    /// Two digits a byte.
    Bcd,
    /// One byte for each dot of the spec file, the highest first.
    Binary,
    /// Two hexadecimal characters for each dot of the spec file.
    Hex(Charset),
}

impl Prefix {
    /// Bytes of a prefix with so many dots.
    pub(crate) fn size(self, dots: u8) -> usize {
        let dots = usize::from(dots);
        match self {
            Prefix::Text(_) | Prefix::Binary => dots,
            Prefix::Bcd => dots.div_ceil(2),
            Prefix::Hex(_) => 2 * dots,
        }
    }

    /// The largest length that so many dots can say.
    pub(crate) fn most(self, dots: u8) -> usize {
        let base: usize = match self {
            Prefix::Text(_) | Prefix::Bcd => 10,
            Prefix::Binary | Prefix::Hex(_) => 256,
        };
        base.saturating_pow(u32::from(dots)) - 1
    }

    /// The length that these bytes say; else the place of the byte that is no part of one.
    pub(crate) fn read(self, bytes: &[u8]) -> Result<usize, usize> {
        let mut value = 0usize;
        for (at, byte) in bytes.iter().enumerate() {
            let (base, digit) = match self {
                Prefix::Text(set) => (10, set.tables().digit(*byte).ok_or(at)?),
                Prefix::Binary => (256, *byte),
                Prefix::Bcd if byte >> 4 > 9 || byte & 15 > 9 => return Err(at),
                Prefix::Bcd => (100, (byte >> 4) * 10 + (byte & 15)),
                Prefix::Hex(set) => (16, hex_value(set, *byte).ok_or(at)?),
            };
            value = value.saturating_mul(base).saturating_add(usize::from(digit));
        }
        Ok(value)
    }

    /// Writes a length, which must be one that so many dots can say.
    pub(crate) fn write(self, dots: u8, value: usize, out: &mut Vec<u8>) {
        let size = self.size(dots);
        let from = out.len();
        let mut rest = value;
        for _ in 0..size {
            // Each is below its base, which fits a byte.
            let byte = match self {
                Prefix::Text(set) => {
                    let digit = (rest % 10) as u8;
                    rest /= 10;
                    set.tables().zero.wrapping_add(digit)
                }
                Prefix::Binary => {
                    let byte = (rest % 256) as u8;
                    rest /= 256;
                    byte
                }
                Prefix::Bcd => {
                    let pair = (rest % 100) as u8;
                    rest /= 100;
                    ((pair / 10) << 4) | (pair % 10)
                }
                Prefix::Hex(set) => {
                    let digit = (rest % 16) as u8;
                    rest /= 16;
                    hex_digit(set, digit)
                }
            };
            out.push(byte);
        }
        if let Some(written) = out.get_mut(from..) {
            written.reverse();
        }
    }
}

/// The value of a hexadecimal digit of that set.
pub(crate) fn hex_value(set: Charset, byte: u8) -> Option<u8> {
    Some(set.tables().nibble[usize::from(byte)]).filter(|nibble| *nibble < 16)
}

/// The hexadecimal digit of a half-byte in that set.
pub(crate) fn hex_digit(set: Charset, value: u8) -> u8 {
    set.from_latin1(b"0123456789ABCDEF".get(usize::from(value & 15)).copied().unwrap_or(b'0'))
}
