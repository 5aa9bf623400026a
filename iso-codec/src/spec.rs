//! A message spec, compiled: a flat table of small plans for the path, and beside it the descriptions for people.
//! Owns what an element is; never how a spec file writes it (that is `spec_file.rs`).

use crate::charset::{Charset, Tables};
use crate::error::SpecError;
use crate::form::{Count, Encoding, Form};
use crate::plan::FieldPlan;
use crate::prefix::Prefix;
use crate::spec_file;
use serde::Deserialize;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// How bitmaps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapForm {
    /// Eight bytes each.
    Binary,
    /// Sixteen hexadecimal characters each; [`Spec::bitmap_charset`] says in which character set.
    Hex,
}

/// How the four digits of the message type are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtiForm {
    /// Four characters of that set.
    Text(Charset),
    /// Two bytes, two digits each.
    Bcd,
}

/// The kind of an element's content, in the standard's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
        /// Digits of the prefix, 1 to 6: the dots of the spec file.
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// One sub-element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubSpec {
    /// What it is called.
    pub name: String,
    /// What it holds; decides whether it is shown as text.
    pub kind: Kind,
    /// Whether it is masked.
    pub secret: Option<Secret>,
    /// How it is written. The length is the rest where a tag's own length says it.
    pub form: Form,
    /// Whether a BER-TLV value is shown as text by its form, not as bytes.
    pub as_text: bool,
    /// What is inside.
    pub layout: Layout,
}

/// The class byte before sub-elements: a capital letter, when it is there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClassSpec {
    /// Its `id` in descriptions, such as `TCC`.
    pub id: String,
    /// What it is called.
    pub name: String,
}

/// How the tags of a tagged element are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagForm {
    /// Characters, digits or bytes of a tag.
    pub length: u8,
    /// How they are written.
    pub encoding: Encoding,
}

/// How the lengths behind tags are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagLength {
    /// Digits, or bytes of a binary one.
    pub digits: u8,
    /// How they are written.
    pub prefix: Prefix,
    /// What they count.
    pub count: Count,
    /// Whether they count themselves.
    pub inclusive: bool,
}

/// The layout of a tagged element such as DE48: optional class byte, then tag, length, data, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedLayout {
    /// The class byte that may come first; `None` when the element has none.
    pub class: Option<ClassSpec>,
    /// How tags are written.
    pub tag: TagForm,
    /// How lengths are written.
    pub length: TagLength,
    /// Whether others pass over tags that are not known; here they are kept in any case.
    pub skip_unknown: bool,
    /// Known tags, ascending. Others are kept as well.
    pub subs: Vec<(String, SubSpec)>,
    /// Whether tag and length are two digits each in the spec's character set: what the path reads.
    pub(crate) short: bool,
}

impl TaggedLayout {
    /// Whether tag and length are two digits each in the spec's character set, as in DE48 of the networks.
    pub fn has_short_tags(&self) -> bool {
        self.short
    }
}

/// The layout of a BER-TLV element such as DE55.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvLayout {
    /// The class byte that may come first; `None` when the element has none.
    pub class: Option<ClassSpec>,
    /// Known tags, ascending. Others are kept as well.
    pub subs: Vec<(u32, SubSpec)>,
}

/// One dataset of ISO 8583:2023: what stands behind its identifier and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetSpec {
    /// What it is called.
    pub name: String,
    /// BER-TLV, or a bitmap and elements.
    pub layout: Layout,
}

/// Sub-elements that a bitmap in front of them announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitmappedLayout {
    /// How the bitmap is written: binary, or hexadecimal.
    pub encoding: Encoding,
    /// How many bytes of eight bits it has.
    pub bytes: u8,
    /// The sub-elements by the number of their bit, ascending.
    pub fields: Vec<(u8, SubSpec)>,
}

/// How long a part is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartLength {
    /// So many.
    Fixed(u16),
    /// A length of its own, then at most `max`.
    Variable {
        /// Digits of the length, 1 to 6.
        digits: u8,
        /// The longest content.
        max: u16,
    },
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
    /// Whether it is masked.
    pub secret: Option<Secret>,
    /// How it is written; `None` when it is so many characters of the text around it.
    pub form: Option<Form>,
    /// What is inside.
    pub layout: Layout,
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
    /// BER-TLV.
    Tlv(TlvLayout),
    /// Datasets of ISO 8583:2023: identifier, two bytes of length, content.
    Datasets(Vec<(u8, DatasetSpec)>),
    /// A bitmap and what it announces.
    Bitmapped(BitmappedLayout),
}

/// One element of a spec, for people and for whatever is not on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its number, 2 to 128, or to 192 where the spec has a third bitmap.
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
    /// How it is written.
    pub wire: Form,
    /// What is inside.
    pub layout: Layout,
}

impl FieldSpec {
    /// Kind and length as the standard writes them: `n6`, `n..19`, `ans...999`.
    pub fn form(&self) -> String {
        format!("{}{}", self.kind.letters(), self.length)
    }
}

/// A message spec, compiled. Share it as `Arc<Spec>`.
pub struct Spec {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) charset: Charset,
    pub(crate) tables: &'static Tables,
    pub(crate) bitmap: BitmapForm,
    pub(crate) bitmap_charset: Charset,
    pub(crate) mti: MtiForm,
    /// Whether bit 65 announces a third bitmap.
    pub(crate) third: bool,
    /// Whether all elements are written the common way.
    pub(crate) common: bool,
    /// The elements that are written the common way; the others are read by their [`Form`].
    pub(crate) plans: [Option<FieldPlan>; 129],
    pub(crate) fields: Vec<FieldSpec>,
    /// The place in `fields` by number; one past all of them when there is none.
    pub(crate) places: [u8; 193],
}

/// Names and texts of the specs that are compiled in.
macro_rules! embedded {
    ($($name:literal),+) => {
        const EMBEDDED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../fixtures/specs/", $name, ".toml")))),+];
        const EMBEDDED_NAMES: &[&str] = &[$($name),+];
    };
}

embedded!("mastercard", "iso1987-ascii", "iso1987-binary", "iso1993-ascii", "mastercard-ipm");

impl Spec {
    /// The spec of that name that is compiled in; the same one each time.
    pub fn embedded(name: &str) -> Option<Arc<Spec>> {
        static COMPILED: [OnceLock<Option<Arc<Spec>>>; EMBEDDED.len()] = [const { OnceLock::new() }; EMBEDDED.len()];
        let at = EMBEDDED_NAMES.iter().position(|known| *known == name)?;
        let (_, text) = EMBEDDED.get(at)?;
        // A test compiles all, so that `None` here is never met in a released binary.
        COMPILED.get(at)?.get_or_init(|| Spec::from_toml(text).ok().map(Arc::new)).clone()
    }

    /// The names of the specs that are compiled in.
    pub fn embedded_names() -> &'static [&'static str] {
        EMBEDDED_NAMES
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

    /// In which character set hexadecimal bitmaps are written.
    pub fn bitmap_charset(&self) -> Charset {
        self.bitmap_charset
    }

    /// How its message types are written.
    pub fn mti_form(&self) -> MtiForm {
        self.mti
    }

    /// Whether bit 65 announces a third bitmap, for elements to 192.
    pub fn has_third_bitmap(&self) -> bool {
        self.third
    }

    /// Bytes of a message type.
    #[inline]
    pub(crate) fn mti_size(&self) -> usize {
        match self.mti {
            MtiForm::Text(_) => 4,
            MtiForm::Bcd => 2,
        }
    }

    /// The form of an element that is not written the common way.
    #[inline]
    pub(crate) fn rare(&self, n: u8) -> Option<&Form> {
        if self.common || self.plan(n).is_some() {
            return None;
        }
        self.field(n).map(|field| &field.wire)
    }

    /// The element of that number, if the spec has one.
    pub fn field(&self, n: u8) -> Option<&FieldSpec> {
        self.fields.get(usize::from(*self.places.get(usize::from(n))?))
    }

    /// All elements, ascending.
    pub fn fields(&self) -> impl Iterator<Item = &FieldSpec> {
        self.fields.iter()
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
