//! How one content is written on the wire: encoding, length, prefix, padding. Owns every form but the common one, which
//! `decode.rs` and `encode.rs` have a shorter way for; whatever is rare is read and written here, without allocating
//! while it is read.

use crate::charset::{Charset, class};
use crate::decode::met;
use crate::error::{Expected, Got};
use crate::prefix::{Prefix, hex_digit, hex_value};
use crate::spec::{Kind, PartLength};

/// How characters, digits or bytes of a content are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One byte a character.
    Text(Charset),
    /// Two digits a byte.
    Bcd {
        /// Whether the first digit comes first and an odd count is filled at the end; else at the beginning.
        left: bool,
        /// The half-byte that fills an odd count.
        filler: u8,
    },
    /// Bytes as they are.
    Binary,
    /// Each byte as two hexadecimal characters of that set.
    Hex(Charset),
}

/// What a length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Characters, digits, or bytes of a binary content.
    Characters,
    /// Bytes on the wire.
    Bytes,
    /// Half-bytes on the wire.
    Nibbles,
}

/// How short content of a fixed length is filled up, with a Latin-1 character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Before it.
    Left(u8),
    /// Behind it.
    Right(u8),
    /// It is not.
    None,
}

/// How one content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What it may hold.
    pub kind: Kind,
    /// Whether its characters are left unchecked although its kind restricts them.
    pub lenient: bool,
    /// How it is written.
    pub encoding: Encoding,
    /// The spec's character set: of the sign before packed digits, and of bytes that are asked for as text.
    pub charset: Charset,
    /// How long it is.
    pub length: PartLength,
    /// How its length is written, when it varies.
    pub prefix: Prefix,
    /// What its length counts.
    pub count: Count,
    /// Whether its length counts the prefix as well.
    pub inclusive: bool,
    /// How it is filled up.
    pub pad: Padding,
}

/// Where a content stands: its first byte, its bytes, and how many characters, digits or binary bytes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) units: usize,
}

/// What is wrong at an offset.
pub(crate) type Trouble = (usize, Expected, Got);

impl Form {
    /// Whether characters stand in one byte each, so that a slice of characters is a slice of bytes.
    pub(crate) fn is_bytewise(&self) -> bool {
        matches!(self.encoding, Encoding::Text(_) | Encoding::Binary) || self.is_hex_of_bytes()
    }

    /// Whether it is binary and written as characters.
    pub(crate) fn is_hex_of_bytes(&self) -> bool {
        self.kind == Kind::B && matches!(self.encoding, Encoding::Hex(_))
    }

    fn is_signed(&self) -> bool {
        self.kind == Kind::Xn
    }

    /// The longest content, in characters, digits or bytes.
    pub(crate) fn max(&self) -> usize {
        match self.length {
            PartLength::Fixed(n) | PartLength::Variable { max: n, .. } => usize::from(n),
            PartLength::Rest => usize::from(u16::MAX),
        }
    }

    /// Bytes of the length prefix.
    pub(crate) fn prefix_size(&self) -> usize {
        match self.length {
            PartLength::Variable { digits, .. } => self.prefix.size(digits),
            PartLength::Fixed(_) | PartLength::Rest => 0,
        }
    }

    /// Bytes on the wire of so many characters, digits or bytes.
    pub(crate) fn size_of(&self, units: usize) -> usize {
        match self.encoding {
            Encoding::Text(_) | Encoding::Binary => units,
            Encoding::Hex(_) => units.saturating_mul(2),
            Encoding::Bcd { .. } if self.is_signed() && units > 0 => 1 + units / 2,
            Encoding::Bcd { .. } => units.div_ceil(2),
        }
    }

    /// How many characters, digits or bytes these bytes are when nothing else says it.
    pub(crate) fn units_of(&self, content: &[u8]) -> usize {
        let len = content.len();
        match self.encoding {
            Encoding::Text(_) | Encoding::Binary => len,
            Encoding::Hex(_) => len / 2,
            Encoding::Bcd { left, filler } => {
                let signs = usize::from(self.is_signed()).min(len);
                let units = signs + 2 * (len - signs);
                let at = if left { content.last().map(|b| b & 15) } else { content.get(signs).map(|b| b >> 4) };
                let filled = len > signs && filler > 9 && at == Some(filler);
                // A whole number of bytes holds one digit more than an odd longest content.
                if filled || units == self.max() + 1 { units - 1 } else { units }
            }
        }
    }

    /// What the length in front says for so many characters in so many bytes.
    fn counted(&self, units: usize, len: usize) -> usize {
        let own = if self.inclusive { self.prefix_size() } else { 0 };
        match self.count {
            Count::Characters => units + own,
            Count::Bytes => len + own,
            Count::Nibbles if matches!(self.encoding, Encoding::Bcd { .. }) => {
                units + usize::from(self.is_signed() && units > 0) + 2 * own
            }
            Count::Nibbles => 2 * (len + own),
        }
    }

    /// The largest value of the length that the longest content has.
    pub(crate) fn counted_max(&self) -> usize {
        self.counted(self.max(), self.size_of(self.max()))
    }

    /// Finds the content that begins at `at` with its prefix.
    pub(crate) fn head(&self, bytes: &[u8], at: usize) -> Result<Head, Trouble> {
        let left = bytes.len().saturating_sub(at);
        let digits = match self.length {
            PartLength::Fixed(n) => {
                let units = usize::from(n);
                let len = self.size_of(units);
                if len > left {
                    return Err((at, Expected::Bytes(len), Got::Left(left)));
                }
                return Ok(Head { start: at, len, units });
            }
            PartLength::Rest => {
                let content = bytes.get(at..).unwrap_or_default();
                return Ok(Head { start: at, len: left, units: self.units_of(content) });
            }
            PartLength::Variable { digits, .. } => digits,
        };
        let size = self.prefix_size();
        let expected = Expected::LengthDigits(digits);
        let prefix = bytes.get(at..at + size).ok_or((at, expected, Got::Left(left)))?;
        let said = self.prefix.read(prefix).map_err(|place| {
            let got = match (self.prefix, bytes.get(at + place)) {
                (Prefix::Text(set) | Prefix::Hex(set), Some(byte)) => met(set, *byte),
                (Prefix::Bcd, Some(_)) => Got::HalfByte,
                (Prefix::Binary, Some(_)) | (_, None) => Got::Unknown,
            };
            (at + place, expected, got)
        })?;
        let own = match (self.inclusive, self.count) {
            (false, _) => 0,
            (true, Count::Nibbles) => 2 * size,
            (true, Count::Characters | Count::Bytes) => size,
        };
        let value = said.checked_sub(own).ok_or((at, Expected::AtLeast(own), Got::Length(said)))?;
        let (len, units) = match self.count {
            Count::Characters => (self.size_of(value), Some(value)),
            Count::Bytes => (value, None),
            Count::Nibbles => {
                let digits = value.saturating_sub(usize::from(self.is_signed() && value > 0));
                (value.div_ceil(2), matches!(self.encoding, Encoding::Bcd { .. }).then_some(digits))
            }
        };
        let start = at + size;
        let content = start.checked_add(len).and_then(|end| bytes.get(start..end));
        let content = content.ok_or((start, Expected::Bytes(len), Got::Left(left - size)))?;
        Ok(Head { start, len, units: units.unwrap_or_else(|| self.units_of(content)) })
    }

    /// Finds the content again whose prefix ends where `start` is, as [`Form::head`] found it.
    pub(crate) fn units_at(&self, bytes: &[u8], start: usize, len: usize) -> usize {
        let at = start.saturating_sub(self.prefix_size());
        let up_to = bytes.get(..start + len).unwrap_or(bytes);
        self.head(up_to, at).map_or(0, |head| head.units)
    }

    /// How many characters the content is as text.
    pub(crate) fn text_len(&self, content: &[u8], units: usize) -> usize {
        if self.is_hex_of_bytes() { content.len() } else { units }
    }

    /// One character of the content, Latin-1; hexadecimal digits of a binary one that is written so.
    #[inline]
    pub(crate) fn char_at(&self, content: &[u8], units: usize, at: usize) -> Option<u8> {
        match self.encoding {
            Encoding::Text(set) => content.get(at).map(|b| set.to_latin1(*b)),
            Encoding::Binary => content.get(at).map(|b| self.charset.to_latin1(*b)),
            Encoding::Hex(set) if self.kind == Kind::B => content.get(at).map(|b| set.to_latin1(*b)),
            Encoding::Hex(set) => {
                let high = hex_value(set, *content.get(2 * at)?)?;
                Some(high << 4 | hex_value(set, *content.get(2 * at + 1)?)?)
            }
            Encoding::Bcd { .. } if self.is_signed() && at == 0 => content.first().map(|b| self.charset.to_latin1(*b)),
            Encoding::Bcd { .. } => {
                let byte = content.get(self.byte_of(units, at))?;
                let nibble = if self.nibble_of(units, at).is_multiple_of(2) { byte >> 4 } else { byte & 15 };
                // 0x3A to 0x3F are the track characters of these half-bytes, the separator `=` among them.
                Some(0x30 + nibble)
            }
        }
    }

    /// The half-byte in which a packed digit stands, behind the sign.
    fn nibble_of(&self, units: usize, at: usize) -> usize {
        let signs = usize::from(self.is_signed());
        let digits = units.saturating_sub(signs);
        let left = matches!(self.encoding, Encoding::Bcd { left: true, .. });
        at.saturating_sub(signs) + if left { 0 } else { digits % 2 }
    }

    /// The byte in which a character begins.
    pub(crate) fn byte_of(&self, units: usize, at: usize) -> usize {
        match self.encoding {
            Encoding::Text(_) | Encoding::Binary => at,
            Encoding::Hex(_) if self.kind == Kind::B => at,
            Encoding::Hex(_) => 2 * at,
            Encoding::Bcd { .. } if self.is_signed() && at == 0 => 0,
            Encoding::Bcd { .. } => usize::from(self.is_signed()) + self.nibble_of(units, at) / 2,
        }
    }

    /// Writes the content's text into `buf`, as Latin-1; `None` when it does not fit.
    pub(crate) fn text_into<'b>(&self, content: &[u8], units: usize, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let out = buf.get_mut(..self.text_len(content, units))?;
        for (at, slot) in out.iter_mut().enumerate() {
            *slot = self.char_at(content, units, at).unwrap_or(b'?');
        }
        Some(out)
    }

    /// The content as text, one character each.
    pub(crate) fn string(&self, content: &[u8], units: usize) -> String {
        let len = self.text_len(content, units);
        (0..len).map(|at| char::from(self.char_at(content, units, at).unwrap_or(b'?'))).collect()
    }

    /// The number that the content writes, of up to 19 digits.
    pub(crate) fn number(&self, content: &[u8], units: usize) -> Option<u64> {
        if units == 0 || units > 19 {
            return None;
        }
        (0..units).try_fold(0u64, |value, at| {
            let digit = self.char_at(content, units, at)?.checked_sub(b'0').filter(|digit| *digit < 10)?;
            value.checked_mul(10)?.checked_add(u64::from(digit))
        })
    }

    /// What is wrong with the content, and the byte where.
    pub(crate) fn fault(&self, content: &[u8], units: usize) -> Option<Trouble> {
        if content.is_empty() && self.kind == Kind::Xn && !self.lenient {
            return Some((0, Expected::Bytes(1), Got::Left(0)));
        }
        if let Encoding::Hex(set) = self.encoding
            && let Some(at) = content.iter().position(|b| hex_value(set, *b).is_none())
        {
            return Some((at, Expected::HexDigits, content.get(at).map_or(Got::Unknown, |b| met(set, *b))));
        }
        let expected = match self.kind {
            _ if self.lenient => return None,
            Kind::B | Kind::Ans => return None,
            Kind::N => Expected::Digits,
            Kind::A => Expected::Letters,
            Kind::An => Expected::LettersAndDigits,
            Kind::Z => Expected::Track,
            Kind::Xn => Expected::SignAndDigits,
        };
        let bad = (0..units).find(|at| !self.char_at(content, units, *at).is_some_and(|ch| self.allows(*at, ch)))?;
        let at = self.byte_of(units, bad);
        let got = match self.encoding {
            Encoding::Text(set) => content.get(at).map_or(Got::Unknown, |b| met(set, *b)),
            Encoding::Binary | Encoding::Hex(_) => {
                self.char_at(content, units, bad).map_or(Got::Unknown, |ch| met(Charset::Ascii, ch))
            }
            Encoding::Bcd { .. } if self.is_signed() && bad == 0 => {
                content.first().map_or(Got::Unknown, |b| met(self.charset, *b))
            }
            Encoding::Bcd { .. } => Got::HalfByte,
        };
        Some((at, expected, got))
    }

    fn allows(&self, at: usize, ch: u8) -> bool {
        let has = |mask: u8| Charset::Ascii.tables().class_of(ch) & mask != 0;
        match self.kind {
            Kind::N => has(class::DIGIT),
            Kind::A => has(class::LETTER | class::SPACE),
            Kind::An => has(class::LETTER | class::SPACE | class::DIGIT),
            Kind::Z => has(class::TRACK),
            Kind::Xn if at == 0 => matches!(ch, b'C' | b'D'),
            Kind::Xn => has(class::DIGIT),
            Kind::B | Kind::Ans => true,
        }
    }

    /// Writes Latin-1 text as content, filled up when the length is fixed, and returns how many characters, digits or
    /// bytes it is. What cannot be written is told by its place in the text.
    pub(crate) fn write(&self, text: &[u8], out: &mut Vec<u8>) -> Result<usize, WriteFault> {
        let hex_of_bytes = self.is_hex_of_bytes();
        let given = if hex_of_bytes { text.len().div_ceil(2) } else { text.len() };
        let fixed = matches!(self.length, PartLength::Fixed(_));
        let fill = if fixed { self.max().saturating_sub(given) } else { 0 };
        if given > self.max() || (fill > 0 && self.pad == Padding::None) || (hex_of_bytes && text.len() % 2 == 1) {
            return Err(WriteFault::Length { got: given, want: self.max(), fixed });
        }
        let mut padded = Vec::with_capacity(text.len() + fill);
        let filled = if hex_of_bytes { 2 * fill } else { fill };
        if let Padding::Left(ch) = self.pad {
            padded.resize(filled, ch);
        }
        padded.extend_from_slice(text);
        if let Padding::Right(ch) = self.pad {
            padded.resize(text.len() + filled, ch);
        }
        let units = given + fill;
        let from = out.len();
        match self.encoding {
            Encoding::Text(set) => out.extend(padded.iter().map(|ch| set.from_latin1(*ch))),
            Encoding::Binary => out.extend(padded.iter().map(|ch| self.charset.from_latin1(*ch))),
            Encoding::Hex(set) if hex_of_bytes => out.extend(padded.iter().map(|ch| set.from_latin1(*ch))),
            Encoding::Hex(set) => {
                out.extend(padded.iter().flat_map(|ch| [hex_digit(set, ch >> 4), hex_digit(set, *ch)]));
            }
            Encoding::Bcd { left, filler } => {
                let signs = usize::from(self.is_signed()).min(padded.len());
                let (sign, digits) = padded.split_at_checked(signs).unwrap_or_default();
                out.extend(sign.iter().map(|ch| self.charset.from_latin1(*ch)));
                let mut nibbles = Vec::with_capacity(digits.len() + 1);
                for (at, ch) in digits.iter().enumerate() {
                    nibbles.push(self.nibble(*ch).ok_or(WriteFault::Character(signs + at))?);
                }
                if nibbles.len() % 2 == 1 {
                    nibbles.insert(if left { nibbles.len() } else { 0 }, filler);
                }
                out.extend(nibbles.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble)));
            }
        }
        match self.fault(out.get(from..).unwrap_or_default(), units) {
            Some((0, Expected::Bytes(_), _)) => Err(WriteFault::Length { got: 0, want: self.max(), fixed }),
            Some((at, _, _)) => {
                let place = (0..units).find(|unit| self.byte_of(units, *unit) >= at).unwrap_or(0);
                Err(WriteFault::Character(place))
            }
            None => Ok(units),
        }
    }

    fn nibble(&self, ch: u8) -> Option<u8> {
        match ch {
            b'0'..=b'9' => Some(ch - b'0'),
            b'D' | b'F' if self.kind == Kind::Z => Some(ch - b'A' + 10),
            0x3A..=0x3F if self.kind == Kind::Z || self.lenient => Some(ch - 0x30),
            _ => None,
        }
    }

    /// Writes the length prefix of so many characters in so many bytes.
    pub(crate) fn write_prefix(&self, units: usize, len: usize, out: &mut Vec<u8>) {
        if let PartLength::Variable { digits, .. } = self.length {
            self.prefix.write(digits, self.counted(units, len), out);
        }
    }

    /// What the kind expects of characters.
    pub(crate) fn expected(&self) -> Expected {
        match self.kind {
            _ if self.is_hex_of_bytes() => Expected::HexDigits,
            Kind::A => Expected::Letters,
            Kind::N => Expected::Digits,
            Kind::An => Expected::LettersAndDigits,
            Kind::Z => Expected::Track,
            Kind::Xn => Expected::SignAndDigits,
            Kind::B | Kind::Ans => Expected::Digits,
        }
    }
}

/// Why text cannot be written in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFault {
    /// The character at that place.
    Character(usize),
    /// It is too long, or not as long as it must be.
    Length { got: usize, want: usize, fixed: bool },
}
