//! How frames are delimited on a link. Pure rules; it must never do IO.

use std::ops::Range;

/// How the length prefix is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Two bytes, big-endian.
    Len2Be,
    /// Two bytes, little-endian.
    Len2Le,
    /// Four bytes, big-endian.
    Len4Be,
    /// Four ASCII digits.
    Len4Ascii,
}

/// Framing of one link: prefix, whether it counts itself, and a fixed header behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The prefix.
    pub width: Width,
    /// Whether the length counts the prefix itself.
    pub inclusive: bool,
    /// Bytes between prefix and message; the length counts them.
    pub header_bytes: usize,
}

/// What the bytes at hand hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Not a whole frame yet.
    Need,
    /// A whole frame; ranges into the buffer.
    Frame {
        /// The header behind the prefix.
        header: Range<usize>,
        /// The message; may be empty.
        message: Range<usize>,
    },
}

/// Why framing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// The length is more than allowed.
    TooLong,
    /// The length is less than what it has to count.
    TooShort,
    /// The length is not made of digits.
    NotDigits,
}

impl Framing {
    fn prefix_bytes(&self) -> usize {
        match self.width {
            Width::Len2Be | Width::Len2Le => 2,
            Width::Len4Be | Width::Len4Ascii => 4,
        }
    }

    /// Looks at the start of `buf`.
    ///
    /// # Errors
    /// Framing is lost.
    pub fn next(&self, buf: &[u8], max: usize) -> Result<Step, FramingError> {
        let length = match (self.width, buf) {
            (Width::Len2Be, [a, b, ..]) => u32::from(u16::from_be_bytes([*a, *b])),
            (Width::Len2Le, [a, b, ..]) => u32::from(u16::from_le_bytes([*a, *b])),
            (Width::Len4Be, [a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
            (Width::Len4Ascii, [a, b, c, d, ..]) => {
                let mut length = 0;
                for digit in [a, b, c, d] {
                    if !digit.is_ascii_digit() {
                        return Err(FramingError::NotDigits);
                    }
                    length = length * 10 + u32::from(digit - b'0');
                }
                length
            }
            _ => return Ok(Step::Need),
        };
        let prefix = self.prefix_bytes();
        let counted = if self.inclusive { prefix } else { 0 } + self.header_bytes;
        let length = usize::try_from(length).map_err(|_| FramingError::TooLong)?;
        let message = length.checked_sub(counted).ok_or(FramingError::TooShort)?;
        if message > max {
            return Err(FramingError::TooLong);
        }
        let start = prefix + self.header_bytes;
        if buf.len() < start + message {
            return Ok(Step::Need);
        }
        Ok(Step::Frame {
            header: prefix..start,
            message: start..start + message,
        })
    }

    /// Appends the prefix for a message of `message` bytes; false when the length does not fit.
    pub fn write_prefix(&self, message: usize, out: &mut impl bytes::BufMut) -> bool {
        let counted = if self.inclusive {
            self.prefix_bytes()
        } else {
            0
        } + self.header_bytes;
        let length = message + counted;
        match self.width {
            Width::Len2Be | Width::Len2Le => {
                let Ok(length) = u16::try_from(length) else {
                    return false;
                };
                if self.width == Width::Len2Be {
                    out.put_u16(length)
                } else {
                    out.put_u16_le(length)
                }
            }
            Width::Len4Be => {
                let Ok(length) = u32::try_from(length) else {
                    return false;
                };
                out.put_u32(length);
            }
            Width::Len4Ascii => {
                if length > 9999 {
                    return false;
                }
                out.put_slice(format!("{length:04}").as_bytes());
            }
        }
        true
    }
}
