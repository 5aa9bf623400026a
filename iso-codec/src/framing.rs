//! Where one message ends and the next begins on a link: the rules alone, over a buffer that the caller fills. Owns
//! the length prefix; never reads a socket, never buffers.

use serde::Deserialize;
use thiserror::Error;

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// Two bytes, big-endian: the usual one.
    Len2Be,
    /// Two bytes, little-endian.
    Len2Le,
    /// Four bytes, big-endian.
    Len4Be,
    /// Four ASCII digits.
    Len4Ascii,
}

impl Width {
    /// Bytes the length takes.
    pub fn bytes(self) -> usize {
        match self {
            Width::Len2Be | Width::Len2Le => 2,
            Width::Len4Be | Width::Len4Ascii => 4,
        }
    }

    /// The name that configuration and `--framing` use.
    pub fn name(self) -> &'static str {
        match self {
            Width::Len2Be => "len2be",
            Width::Len2Le => "len2le",
            Width::Len4Be => "len4be",
            Width::Len4Ascii => "len4ascii",
        }
    }

    /// The width of that name.
    pub fn parse(name: &str) -> Option<Width> {
        [Width::Len2Be, Width::Len2Le, Width::Len4Be, Width::Len4Ascii].into_iter().find(|width| width.name() == name)
    }
}

/// A link's framing: length, then `header_bytes` that are not part of the message (a TPDU), then the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Framing {
    /// How the length is written.
    pub width: Width,
    /// Whether the length counts its own bytes.
    pub inclusive: bool,
    /// Bytes between length and message; the length counts them.
    pub header_bytes: usize,
}

impl Default for Framing {
    fn default() -> Framing {
        Framing { width: Width::Len2Be, inclusive: false, header_bytes: 0 }
    }
}

/// What the buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not a whole frame yet: at least so many bytes more.
    Need(usize),
    /// A whole frame: the message stands in `start..end`, and `end` bytes are used up.
    Frame {
        /// First byte of the message.
        start: usize,
        /// One behind its last.
        end: usize,
    },
}

/// Framing is lost: nothing that follows on this connection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FramingError {
    /// The length is above the limit.
    #[error("a frame of {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The length leaves no message.
    #[error("a frame without a message")]
    ZeroLength,
    /// The length is not one: not digits, or less than what it must count.
    #[error("an unreadable frame length")]
    BadLength,
}

impl FramingError {
    /// A stable word for a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            FramingError::TooLong { .. } => "too_long",
            FramingError::ZeroLength => "zero_length",
            FramingError::BadLength => "bad_length",
        }
    }
}

impl Framing {
    /// Looks at the start of `buf`. `max_frame` limits the header and message, not the length's own bytes.
    pub fn next(&self, buf: &[u8], max_frame: usize) -> Result<Step, FramingError> {
        let width = self.width.bytes();
        let Some(prefix) = buf.get(..width) else {
            return Ok(Step::Need(width - buf.len()));
        };
        let announced = match (self.width, prefix) {
            (Width::Len2Be, [a, b]) => usize::from(u16::from_be_bytes([*a, *b])),
            (Width::Len2Le, [a, b]) => usize::from(u16::from_le_bytes([*a, *b])),
            (Width::Len4Be, [a, b, c, d]) => {
                usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).map_err(|_| FramingError::BadLength)?
            }
            (Width::Len4Ascii, digits) => {
                if !digits.iter().all(u8::is_ascii_digit) {
                    return Err(FramingError::BadLength);
                }
                digits.iter().fold(0, |len, digit| len * 10 + usize::from(digit - b'0'))
            }
            (Width::Len2Be | Width::Len2Le | Width::Len4Be, _) => return Err(FramingError::BadLength),
        };
        if announced == 0 {
            return Err(FramingError::ZeroLength);
        }
        let own = if self.inclusive { width } else { 0 };
        let len = announced.checked_sub(own).ok_or(FramingError::BadLength)?;
        if len > max_frame {
            return Err(FramingError::TooLong { len, max: max_frame });
        }
        if len < self.header_bytes {
            return Err(FramingError::BadLength);
        }
        if len == self.header_bytes {
            return Err(FramingError::ZeroLength);
        }
        let end = width + len;
        if buf.len() < end {
            return Ok(Step::Need(end - buf.len()));
        }
        Ok(Step::Frame { start: width + self.header_bytes, end })
    }

    /// Writes the length for a message of `len` bytes into the front of `out` and returns how many bytes it took. The
    /// header's bytes, if any, go between it and the message and are the caller's. `TooLong` when the width cannot
    /// say it.
    pub fn encode_prefix(&self, len: usize, out: &mut [u8; 8]) -> Result<usize, FramingError> {
        let width = self.width.bytes();
        let counted = len.saturating_add(self.header_bytes).saturating_add(if self.inclusive { width } else { 0 });
        let most = match self.width {
            Width::Len2Be | Width::Len2Le => usize::from(u16::MAX),
            Width::Len4Be => u32::MAX as usize,
            Width::Len4Ascii => 9999,
        };
        if counted > most {
            return Err(FramingError::TooLong { len, max: most });
        }
        let [.., c, d, e, f] = counted.to_be_bytes();
        let digit = |unit: usize| b'0' + u8::try_from(counted / unit % 10).unwrap_or(0);
        let prefix = match self.width {
            Width::Len2Be => [e, f, 0, 0],
            Width::Len2Le => [f, e, 0, 0],
            Width::Len4Be => [c, d, e, f],
            Width::Len4Ascii => [digit(1000), digit(100), digit(10), digit(1)],
        };
        let [o0, o1, o2, o3, ..] = out;
        [*o0, *o1, *o2, *o3] = prefix;
        Ok(width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_framing_reads_what_it_wrote_whatever_the_cut() {
        for width in [Width::Len2Be, Width::Len2Le, Width::Len4Be, Width::Len4Ascii] {
            for inclusive in [false, true] {
                for header_bytes in [0, 5] {
                    let framing = Framing { width, inclusive, header_bytes };
                    let mut prefix = [0u8; 8];
                    let size = framing.encode_prefix(300, &mut prefix).expect("300 bytes fit");
                    let mut buf = prefix[..size].to_vec();
                    buf.extend(std::iter::repeat_n(7u8, header_bytes + 300));
                    let whole = Step::Frame { start: size + header_bytes, end: buf.len() };
                    assert_eq!(framing.next(&buf, 8192), Ok(whole), "{framing:?}");
                    for cut in 0..buf.len() {
                        match framing.next(&buf[..cut], 8192) {
                            Ok(Step::Need(n)) => assert!(n > 0 && cut + n <= buf.len(), "{framing:?} {cut}"),
                            other => panic!("{framing:?} cut at {cut}: {other:?}"),
                        }
                    }
                    buf.extend_from_slice(b"next");
                    assert_eq!(framing.next(&buf, 8192), Ok(whole));
                }
            }
        }
    }

    #[test]
    fn lost_framing_is_told_by_reason() {
        let plain = Framing::default();
        assert_eq!(plain.next(&[0, 0], 8192).map_err(FramingError::reason), Err("zero_length"));
        assert_eq!(plain.next(&[0xFF, 0xFF], 8192).map_err(FramingError::reason), Err("too_long"));
        let inclusive = Framing { inclusive: true, ..plain };
        assert_eq!(inclusive.next(&[0, 1], 8192).map_err(FramingError::reason), Err("bad_length"));
        assert_eq!(inclusive.next(&[0, 2], 8192).map_err(FramingError::reason), Err("zero_length"));
        let ascii = Framing { width: Width::Len4Ascii, ..plain };
        assert_eq!(ascii.next(b"-003abc", 8192).map_err(FramingError::reason), Err("bad_length"));
        assert!(ascii.encode_prefix(10_000, &mut [0; 8]).is_err());
        assert!(plain.encode_prefix(65_536, &mut [0; 8]).is_err());
        let huge = Framing { width: Width::Len4Be, ..plain };
        assert_eq!(huge.next(&[0xFF; 4], 8192).map_err(FramingError::reason), Err("too_long"));
    }
}
