//! What the path needs to know of an element that is written the common way: a size, a prefix, and which bytes pass.
//! Owns what is common; everything else is read by its [`Form`].

use crate::charset::{Charset, Tables, class};
use crate::error::Expected;
use crate::form::{Count, Encoding, Form, Padding};
use crate::prefix::Prefix;
use crate::spec::{Kind, PartLength};

/// Which bytes a plan lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Any,
    Digits,
    Letters,
    LettersAndDigits,
    Track,
    SignAndDigits,
    Hex,
}

impl Check {
    /// Whether all bytes pass.
    #[inline]
    pub(crate) fn passes(self, tables: &Tables, bytes: &[u8]) -> bool {
        match self {
            Check::Any => true,
            Check::Digits => tables.all_digits(bytes),
            Check::Letters => all_of(tables, bytes, class::LETTER | class::SPACE),
            Check::LettersAndDigits => bytes.iter().fold(class::WORD, |all, b| all & tables.class_of(*b)) != 0,
            Check::Track => all_of(tables, bytes, class::TRACK),
            Check::Hex => all_of(tables, bytes, class::HEX),
            Check::SignAndDigits => {
                bytes.split_first().is_some_and(|(sign, digits)| is_sign(tables, *sign) && tables.all_digits(digits))
            }
        }
    }

    /// Place of the first byte that does not pass; for the error, after `passes` said no.
    pub(crate) fn first_bad(self, tables: &Tables, bytes: &[u8]) -> usize {
        bytes
            .iter()
            .enumerate()
            .position(|(at, b)| match self {
                Check::SignAndDigits if at == 0 => !is_sign(tables, *b),
                Check::SignAndDigits => tables.digit(*b).is_none(),
                Check::Any | Check::Digits | Check::Letters | Check::LettersAndDigits | Check::Track | Check::Hex => {
                    !self.passes(tables, std::slice::from_ref(b))
                }
            })
            .unwrap_or(0)
    }

    pub(crate) fn expected(self) -> Expected {
        match self {
            Check::Any => Expected::Bytes(0),
            Check::Digits => Expected::Digits,
            Check::Letters => Expected::Letters,
            Check::LettersAndDigits => Expected::LettersAndDigits,
            Check::Track => Expected::Track,
            Check::SignAndDigits => Expected::SignAndDigits,
            Check::Hex => Expected::HexDigits,
        }
    }
}

#[inline]
fn all_of(tables: &Tables, bytes: &[u8], mask: u8) -> bool {
    bytes.iter().all(|b| tables.class_of(*b) & mask != 0)
}

fn is_sign(tables: &Tables, byte: u8) -> bool {
    byte == tables.from_latin1[usize::from(b'C')] || byte == tables.from_latin1[usize::from(b'D')]
}

/// How short content of a fixed element is filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pad {
    /// Zeros before it.
    ZerosLeft,
    /// Blanks behind it.
    BlanksRight,
    /// It is not.
    None,
}

/// What the path needs to know of one element; small and `Copy`. Sizes are bytes on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldPlan {
    /// The fixed size, or the largest.
    pub(crate) size: u16,
    /// Digits of the length prefix; 0 for a fixed element.
    pub(crate) prefix: u8,
    pub(crate) check: Check,
    pub(crate) pad: Pad,
}

impl FieldPlan {
    /// The plan of an element that is written the common way: text, digits and lengths in the spec's own character set.
    pub(crate) fn of(form: &Form, charset: Charset) -> Option<FieldPlan> {
        let check = match (form.kind, form.encoding) {
            (Kind::B, Encoding::Binary) => Check::Any,
            (Kind::B, Encoding::Hex(set)) if set == charset => Check::Hex,
            (Kind::B, _) => return None,
            (kind, Encoding::Text(set)) if set == charset => match kind {
                Kind::A => Check::Letters,
                Kind::N => Check::Digits,
                Kind::An => Check::LettersAndDigits,
                Kind::Ans | Kind::B => Check::Any,
                Kind::Z => Check::Track,
                Kind::Xn => Check::SignAndDigits,
            },
            _ => return None,
        };
        let size = u16::try_from(form.size_of(form.max())).ok()?;
        let (prefix, pad) = match form.length {
            PartLength::Rest => return None,
            PartLength::Fixed(_) => {
                let pad = match form.pad {
                    Padding::Left(b'0') => Pad::ZerosLeft,
                    Padding::Right(b' ') => Pad::BlanksRight,
                    Padding::None => Pad::None,
                    Padding::Left(_) | Padding::Right(_) => return None,
                };
                (0, pad)
            }
            PartLength::Variable { digits, .. } => {
                let bytes = form.count == Count::Bytes || (form.count == Count::Characters && check != Check::Hex);
                if form.prefix != Prefix::Text(charset) || form.inclusive || !bytes {
                    return None;
                }
                (digits, Pad::None)
            }
        };
        Some(FieldPlan { size, prefix, check: if form.lenient { Check::Any } else { check }, pad })
    }
}
