//! A message spec, compiled: a flat table of small plans for the path, and beside it the descriptions for people.
//! Owns what an element is; never how a spec file writes it (that is `spec_file.rs`).

use crate::charset::{Charset, Tables, class};
use crate::error::{Expected, SpecError};
use crate::spec_file;
use serde::Deserialize;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// How bitmaps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BitmapForm {
    /// Eight bytes each.
    Binary,
    /// Sixteen hexadecimal characters each, in the spec's character set.
    Hex,
}

/// The kind of an element's content, in the standard's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Kind {
    /// Letters and blanks.
    #[serde(rename = "a")]
    A,
    /// Digits.
    #[serde(rename = "n")]
    N,
    /// Letters, digits and blanks.
    #[serde(rename = "an")]
    An,
    /// Any character; no byte is refused, because networks put binary sub-elements into such elements.
    #[serde(rename = "ans")]
    Ans,
    /// Binary.
    #[serde(rename = "b")]
    B,
    /// Track 2 characters.
    #[serde(rename = "z")]
    Z,
    /// C or D, then digits.
    #[serde(rename = "x+n")]
    Xn,
}

impl Kind {
    /// The standard's letters.
    pub fn letters(self) -> &'static str {
        match self {
            Kind::A => "a",
            Kind::N => "n",
            Kind::An => "an",
            Kind::Ans => "ans",
            Kind::B => "b",
            Kind::Z => "z",
            Kind::Xn => "x+n",
        }
    }
}

/// How long an element is, in characters (bytes for binary ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Always so long.
    Fixed(u16),
    /// A prefix of `digits` digits, then at most `max`.
    Variable {
        /// Digits of the prefix: 2 or 3.
        digits: u8,
        /// The longest content.
        max: u16,
    },
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Fixed(n) => write!(f, "{n}"),
            Length::Variable { digits, max } => write!(f, "{:.<width$}{max}", "", width = usize::from(*digits)),
        }
    }
}

/// Why an element is not shown, and so how much of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Secret {
    /// A card number: first and last digits are shown.
    Pan,
    /// A track, or what holds a card number among other things: a leading card number is shown masked, nothing else.
    Track,
    /// A PIN or PIN block: nothing is shown.
    Pin,
    /// A card verification code: nothing is shown.
    Cvc,
}

/// One sub-element of a tagged or TLV element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubSpec {
    /// What it is called.
    pub name: String,
    /// What it holds; decides whether it is shown as text.
    pub kind: Kind,
    /// Whether it is masked.
    pub secret: Option<Secret>,
}

/// The class byte before tagged sub-elements: a capital letter, when it is there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSpec {
    /// Its `id` in descriptions, such as `TCC`.
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// The layout of a tagged element such as DE48: optional class byte, then tag 2, length 2, data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedLayout {
    /// The class byte that may come first; `None` when the element has none.
    pub class: Option<ClassSpec>,
    /// Known tags, ascending. Others are kept as well.
    pub subs: Vec<([u8; 2], SubSpec)>,
}

/// How long a part is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartLength {
    /// So many.
    Fixed(u16),
    /// All that is left; only the last part can be so.
    Rest,
}

/// One part of a positional element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Short name, used by [`crate::Message::part`] and as `id` in descriptions.
    pub name: String,
    /// What it is called.
    pub title: String,
    /// How long it is.
    pub length: PartLength,
}

/// What is inside an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Nothing that the spec tells apart.
    Plain,
    /// Sub-elements with tags.
    Tagged(TaggedLayout),
    /// Parts one behind the other.
    Parts(Vec<Part>),
    /// The same parts again and again.
    Repeat(Vec<Part>),
    /// BER-TLV; the known tags, ascending. Others are kept as well.
    Tlv(Vec<(u32, SubSpec)>),
}

/// One element of a spec, for people and for whatever is not on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its number, 2 to 128.
    pub number: u8,
    /// What it is called.
    pub name: String,
    /// What it may hold.
    pub kind: Kind,
    /// How long it is.
    pub length: Length,
    /// Whether it is masked.
    pub secret: Option<Secret>,
    /// Whether its characters are left unchecked although its kind restricts them.
    pub lenient: bool,
    /// What is inside.
    pub layout: Layout,
}

impl FieldSpec {
    /// Kind and length as the standard writes them: `n6`, `n..19`, `ans...999`.
    pub fn form(&self) -> String {
        format!("{}{}", self.kind.letters(), self.length)
    }
}

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
            Check::LettersAndDigits => all_of(tables, bytes, class::LETTER | class::SPACE | class::DIGIT),
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

/// A message spec, compiled. Share it as `Arc<Spec>`.
pub struct Spec {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) charset: Charset,
    pub(crate) tables: &'static Tables,
    pub(crate) bitmap: BitmapForm,
    pub(crate) plans: [Option<FieldPlan>; 129],
    pub(crate) fields: Vec<FieldSpec>,
    /// The place in `fields` by number; one past all of them when there is none.
    pub(crate) places: [u8; 129],
}

const EMBEDDED: [(&str, &str); 2] = [
    ("mastercard", include_str!("../../fixtures/specs/mastercard.toml")),
    ("iso1987-ascii", include_str!("../../fixtures/specs/iso1987-ascii.toml")),
];
const EMBEDDED_NAMES: [&str; 2] = [EMBEDDED[0].0, EMBEDDED[1].0];

impl Spec {
    /// The spec of that name that is compiled in; the same one each time.
    pub fn embedded(name: &str) -> Option<Arc<Spec>> {
        static COMPILED: [OnceLock<Option<Arc<Spec>>>; 2] = [OnceLock::new(), OnceLock::new()];
        let at = EMBEDDED_NAMES.iter().position(|known| *known == name)?;
        let (_, text) = EMBEDDED.get(at)?;
        // A test compiles both, so that `None` here is never met in a released binary.
        COMPILED.get(at)?.get_or_init(|| Spec::from_toml(text).ok().map(Arc::new)).clone()
    }

    /// The names of the specs that are compiled in.
    pub fn embedded_names() -> &'static [&'static str] {
        &EMBEDDED_NAMES
    }

    /// The file text of an embedded spec, as a start for one's own.
    pub fn embedded_text(name: &str) -> Option<&'static str> {
        EMBEDDED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// Compiles a spec file. A spec that contradicts itself is refused with the place and the reason.
    pub fn from_toml(text: &str) -> Result<Spec, SpecError> {
        spec_file::compile(text)
    }

    /// The name by which links and commands ask for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line that says what it is for.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// How its text is written.
    pub fn charset(&self) -> Charset {
        self.charset
    }

    /// How its bitmaps are written.
    pub fn bitmap_form(&self) -> BitmapForm {
        self.bitmap
    }

    /// The element of that number, if the spec has one.
    pub fn field(&self, n: u8) -> Option<&FieldSpec> {
        self.fields.get(usize::from(*self.places.get(usize::from(n))?))
    }

    /// All elements, ascending.
    pub fn fields(&self) -> impl Iterator<Item = &FieldSpec> {
        self.fields.iter()
    }

    /// Bytes on the wire of a fixed element's content, or the most of a variable one's; the prefix not counted.
    pub fn wire_size(&self, n: u8) -> Option<usize> {
        self.plan(n).map(|plan| usize::from(plan.size))
    }

    #[inline]
    pub(crate) fn plan(&self, n: u8) -> Option<&FieldPlan> {
        self.plans.get(usize::from(n))?.as_ref()
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({})", self.name)
    }
}
