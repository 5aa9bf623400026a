//! What can be wrong with a message, said without its bytes. Errors carry the element, the offset and the kind of what
//! was met; never content, so that they can be logged as they are.

use crate::message::Message;
use std::fmt;
use thiserror::Error;

/// Where in a message something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementAt {
    /// The message type.
    Mti,
    /// The bitmaps.
    Bitmap,
    /// A data element.
    De(u8),
    /// Behind the last element.
    Trailing,
}

impl ElementAt {
    /// The three digits with which DE44 names it: the element's number, `001` for what only the bitmap can be blamed
    /// for (itself, and bytes left over), `000` for the message type.
    pub fn de44(self) -> [u8; 3] {
        let n = match self {
            ElementAt::Mti => 0,
            ElementAt::Bitmap | ElementAt::Trailing => 1,
            ElementAt::De(n) => n,
        };
        [b'0' + n / 100, b'0' + n / 10 % 10, b'0' + n % 10]
    }
}

impl fmt::Display for ElementAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementAt::Mti => f.write_str("message type"),
            ElementAt::Bitmap => f.write_str("bitmap"),
            ElementAt::De(n) => write!(f, "DE{n}"),
            ElementAt::Trailing => f.write_str("end of message"),
        }
    }
}

/// What the spec wants at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Four digits of a message type.
    TypeDigits,
    /// So many more bytes.
    Bytes(usize),
    /// So many digits of a length.
    LengthDigits(u8),
    /// Digits only.
    Digits,
    /// Letters and blanks.
    Letters,
    /// Letters, digits and blanks.
    LettersAndDigits,
    /// C or D, then digits.
    SignAndDigits,
    /// The characters of a track 2.
    Track,
    /// Hexadecimal digits.
    HexDigits,
    /// At most so many bytes.
    AtMost(u16),
    /// At most so many digits.
    AtMostDigits(u16),
    /// A length that is no less than its own bytes, which it counts.
    AtLeast(usize),
    /// An element that the spec knows.
    KnownElement,
    /// No more bytes.
    End,
    /// A message of at most so many bytes.
    MessageAtMost(usize),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::TypeDigits => f.write_str("four digits"),
            Expected::Bytes(n) => write!(f, "{n} bytes"),
            Expected::LengthDigits(n) => write!(f, "{n} digits of its length"),
            Expected::Digits => f.write_str("digits"),
            Expected::Letters => f.write_str("letters or blanks"),
            Expected::LettersAndDigits => f.write_str("letters, digits or blanks"),
            Expected::SignAndDigits => f.write_str("C or D, then digits"),
            Expected::Track => f.write_str("track 2 characters"),
            Expected::HexDigits => f.write_str("hexadecimal digits"),
            Expected::AtMost(n) => write!(f, "at most {n} bytes"),
            Expected::AtMostDigits(n) => write!(f, "at most {n} digits"),
            Expected::AtLeast(n) => write!(f, "a length of at least {n}, its own"),
            Expected::KnownElement => f.write_str("an element that the spec has"),
            Expected::End => f.write_str("no more bytes"),
            Expected::MessageAtMost(n) => write!(f, "a message of at most {n} bytes"),
        }
    }
}

/// What was met instead: its kind, never its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Got {
    /// The message ended; so many bytes were left.
    Left(usize),
    /// A length or a count of bytes.
    Length(usize),
    /// A digit.
    Digit,
    /// A letter.
    Letter,
    /// A blank.
    Blank,
    /// A half-byte above 9 among packed digits.
    HalfByte,
    /// A printable character that is neither letter, digit nor blank.
    Special,
    /// A byte that is no printable character in the spec's character set.
    Unprintable,
    /// A digit of ASCII where the spec is EBCDIC.
    AsciiDigit,
    /// A digit of EBCDIC where the spec is ASCII.
    EbcdicDigit,
    /// Nothing that the spec knows.
    Unknown,
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Got::Left(n) => write!(f, "{n} left"),
            Got::Length(n) => write!(f, "{n}"),
            Got::Digit => f.write_str("a digit"),
            Got::Letter => f.write_str("a letter"),
            Got::Blank => f.write_str("a blank"),
            Got::HalfByte => f.write_str("a half-byte that is no digit"),
            Got::Special => f.write_str("a special character"),
            Got::Unprintable => f.write_str("an unprintable byte"),
            Got::AsciiDigit => f.write_str("an ASCII digit (is the spec the right one?)"),
            Got::EbcdicDigit => f.write_str("an EBCDIC digit (is the spec the right one?)"),
            Got::Unknown => f.write_str("one it does not have"),
        }
    }
}

/// One thing wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Which element.
    pub element: ElementAt,
    /// Offset of the first offending byte, counted from the message type's first.
    pub offset: usize,
    /// What should stand there.
    pub expected: Expected,
    /// The kind of what does.
    pub got: Got,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: expected {}, got {}", self.element, self.offset, self.expected, self.got)
    }
}

/// Why a message does not decode. The first four fields are the lowest offending element's; what could be read
/// nevertheless is in `partial`, so that a format-error reply can be matched to its request.
#[derive(Debug, Error)]
#[error("{element} at offset {offset}: expected {expected}, got {got}{}", more(faults))]
pub struct DecodeError {
    /// The lowest offending element.
    pub element: ElementAt,
    /// Offset of its first offending byte.
    pub offset: usize,
    /// What should stand there.
    pub expected: Expected,
    /// The kind of what does.
    pub got: Got,
    /// All faults, lowest element first; the first one repeats the fields above.
    pub faults: Vec<Fault>,
    /// All elements that are good (`has` is false for the bad ones); `None` when not even the message type is.
    pub partial: Option<Box<Message>>,
}

fn more(faults: &[Fault]) -> String {
    match faults.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    }
}

/// Why a message cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The spec has no such element.
    #[error("DE{0}: the spec has no such element")]
    UnknownElement(u8),
    /// Elements must be set in ascending order, each once.
    #[error("DE{element}: set after DE{after}; set elements in ascending order, each once")]
    Misordered {
        /// The element that came too late.
        element: u8,
        /// The last one set before it.
        after: u8,
    },
    /// The content is too long, or not as long as a fixed element must be. Lengths are bytes on the wire.
    #[error("DE{element}: {got} bytes, the spec wants {}{want}", if *.fixed { "" } else { "at most " })]
    Length {
        /// The element.
        element: u8,
        /// Bytes given.
        got: usize,
        /// Bytes wanted, or allowed.
        want: usize,
        /// Whether the element's length is fixed.
        fixed: bool,
    },
    /// The content holds a character that its kind forbids.
    #[error("DE{element}: character {at} is wrong, expected {expected}")]
    Character {
        /// The element.
        element: u8,
        /// Its place in the content, from 1.
        at: usize,
        /// What is allowed.
        expected: Expected,
    },
    /// A masked value cannot be turned back into bytes.
    #[error("{0}: the value is masked; decode with --clear to get one that can be encoded")]
    Masked(String),
    /// A part of a composite element is wrong.
    #[error("{place}: {reason}")]
    Part {
        /// Element and part, such as `DE48 63`.
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The message is longer than any can be.
    #[error("the message would have {0} bytes, at most 65535 are possible")]
    TooLong(usize),
}

/// Why a spec is refused: the place in the file and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{place}: {reason}", shown_line(*line))]
pub struct SpecError {
    /// The line of the file, from 1, where it could be found.
    pub line: Option<usize>,
    /// The path of the culprit, such as `fields.43.parts[2]`, or line and column where the file is not TOML.
    pub place: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

fn shown_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!("line {line}, "))
}

impl SpecError {
    pub(crate) fn new(place: impl Into<String>, reason: impl Into<String>) -> SpecError {
        SpecError { line: None, place: place.into(), reason: reason.into() }
    }
}
