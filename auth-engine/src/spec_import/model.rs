//! The neutral model between spec files of others and ours: what is written where, and how, in absolute terms (every
//! character set named, nothing inherited). It must never know a foreign word and never read or write a file.

use std::collections::BTreeMap;

/// How something is written in bytes. A length prefix uses the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Characters of ASCII.
    Ascii,
    /// Characters of EBCDIC, code page 500.
    Cp500,
    /// Characters of EBCDIC, code page 1047.
    Ebcdic1047,
    /// Characters of EBCDIC, code page 037.
    Ebcdic037,
    /// Two digits a byte, an odd count filled in front.
    Bcd,
    /// Two digits a byte, an odd count filled behind.
    BcdLeft,
    /// Bytes as they are; as a prefix one big-endian byte per digit.
    Binary,
    /// Two hexadecimal digits of ASCII a byte.
    HexAscii,
    /// Two hexadecimal digits of EBCDIC a byte.
    HexEbcdic,
}

impl Code {
    /// Whether this is a character set.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Ascii | Self::Cp500 | Self::Ebcdic1047 | Self::Ebcdic037)
    }

    /// The word of our spec files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Cp500 => "ebcdic-cp500",
            Self::Ebcdic1047 => "ebcdic-1047",
            Self::Ebcdic037 => "ebcdic-037",
            Self::Bcd => "bcd",
            Self::BcdLeft => "bcd-left",
            Self::Binary => "binary",
            Self::HexAscii => "hex-ascii",
            Self::HexEbcdic => "hex-ebcdic",
        }
    }

    /// The code of a word of our spec files under the file's character set.
    pub fn of_word(word: &str, charset: Self) -> Option<Self> {
        Some(match word {
            "text" => charset,
            "ascii" => Self::Ascii,
            "ebcdic-cp500" => Self::Cp500,
            "ebcdic-1047" => Self::Ebcdic1047,
            "ebcdic-037" => Self::Ebcdic037,
            "bcd" => Self::Bcd,
            "bcd-left" => Self::BcdLeft,
            "binary" | "raw" => Self::Binary,
            "hex-ascii" => Self::HexAscii,
            "hex-ebcdic" => Self::HexEbcdic,
            "hex" if charset == Self::Ascii => Self::HexAscii,
            "hex" => Self::HexEbcdic,
            _ => return None,
        })
    }
}

/// The kind of content, in the standard's letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Letters.
    A,
    /// Digits.
    N,
    /// Letters and digits.
    An,
    /// Any text.
    Ans,
    /// Bytes.
    B,
    /// Track data.
    Z,
    /// A sign and digits.
    Xn,
}

impl Kind {
    /// The word of our spec files.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::N => "n",
            Self::An => "an",
            Self::Ans => "ans",
            Self::B => "b",
            Self::Z => "z",
            Self::Xn => "x+n",
        }
    }

    /// The kind of a word of our spec files.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::A, Self::N, Self::An, Self::Ans, Self::B, Self::Z, Self::Xn].into_iter().find(|kind| kind.word() == word)
    }
}

/// What a length prefix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Content: characters, digits, bytes of a binary element.
    Characters,
    /// Bytes on the wire.
    Bytes,
    /// Half-bytes on the wire.
    Nibbles,
}

/// A length prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Digits of it (bytes of a binary one).
    pub digits: u8,
    /// How it is written.
    pub code: Code,
    /// What it counts.
    pub count: Count,
    /// Whether it counts its own bytes too.
    pub inclusive: bool,
}

/// How long content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Always so many units.
    Fixed(u32),
    /// As its prefix says, at most so many.
    Variable {
        /// The longest.
        max: u32,
        /// What stands before it.
        prefix: Prefix,
    },
    /// What is left of the element that it is a part of.
    Rest,
    /// As the composite around it says.
    Open,
}

/// How short content of a fixed element is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pad {
    /// By the kind: digits by zeros in front, text by blanks behind, others not at all.
    Usual,
    /// Not at all.
    None,
    /// In front.
    Left(char),
    /// Behind.
    Right(char),
}

/// How content is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// A card number.
    Pan,
    /// Track data.
    Track,
    /// A PIN block.
    Pin,
    /// A card verification code.
    Cvc,
}

impl Secret {
    /// The word of our spec files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pan => "pan",
            Self::Track => "track",
            Self::Pin => "pin",
            Self::Cvc => "cvc",
        }
    }

    /// The secret of a word of our spec files.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Pan, Self::Track, Self::Pin, Self::Cvc].into_iter().find(|secret| secret.word() == word)
    }

    /// What the standard puts into that element of a message. Foreign specs do not say what must be masked, so an
    /// imported one masks by number.
    pub fn of_element(number: u16) -> Option<Self> {
        match number {
            2 | 34 => Some(Self::Pan),
            35 | 36 | 45 => Some(Self::Track),
            52 => Some(Self::Pin),
            _ => None,
        }
    }

    /// What EMV puts under that tag.
    pub fn of_tag(tag: &str) -> Option<Self> {
        match tag {
            "5A" => Some(Self::Pan),
            "56" | "57" | "5F20" | "9F1F" | "9F20" | "9F6B" => Some(Self::Track),
            "99" => Some(Self::Pin),
            _ => None,
        }
    }
}

/// An element, a part of one, or what stands under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// For people.
    pub name: String,
    /// Kind of content.
    pub kind: Kind,
    /// How it is written.
    pub code: Code,
    /// The half-byte that fills an odd count of digits, where it is not `0`.
    pub filler: Option<char>,
    /// How long it is.
    pub length: Length,
    /// How short content is filled.
    pub pad: Pad,
    /// Whether its characters are left unchecked.
    pub lenient: bool,
    /// How it is masked.
    pub secret: Option<Secret>,
    /// What is inside.
    pub layout: Layout,
}

impl Element {
    /// An element without anything inside, filled as its kind is.
    pub fn new(name: impl Into<String>, kind: Kind, code: Code, length: Length) -> Self {
        Self {
            name: name.into(),
            kind,
            code,
            filler: None,
            length,
            pad: Pad::Usual,
            lenient: false,
            secret: None,
            layout: Layout::Plain,
        }
    }
}

/// What is inside an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Nothing that is described.
    Plain,
    /// Parts, one after the other.
    Parts(Vec<Element>),
    /// The same parts again and again.
    Repeat(Vec<Element>),
    /// Sub-elements, each with a tag and a length.
    Tagged(Tagged),
    /// BER-TLV by tag in upper-case hexadecimal; a class byte may stand first.
    Tlv {
        /// The class byte: id and name.
        class: Option<(String, String)>,
        /// What is known by tag.
        subs: BTreeMap<String, Element>,
    },
    /// Sub-elements that a bitmap in front announces.
    Bitmapped {
        /// How the bitmap is written.
        bitmap: Code,
        /// Bytes of the bitmap.
        bytes: u32,
        /// By number.
        fields: BTreeMap<u16, Element>,
    },
    /// Datasets of ISO 8583:2023, which no foreign form here has.
    Datasets,
}

/// Sub-elements with tags and lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The class byte before the first: id and name.
    pub class: Option<(String, String)>,
    /// Characters of a tag.
    pub tag_length: u8,
    /// How a tag is written.
    pub tag_code: Code,
    /// The length after each tag.
    pub length: Prefix,
    /// Whether tags that are not listed are passed over.
    pub skip_unknown: bool,
    /// By tag.
    pub subs: BTreeMap<String, Element>,
}

/// A whole spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// For people.
    pub title: String,
    /// The character set of what does not name one.
    pub charset: Code,
    /// How the message type is written.
    pub mti: Code,
    /// How bitmaps are written.
    pub bitmap: Code,
    /// How many bitmaps there can be.
    pub bitmaps: u8,
    /// By number.
    pub elements: BTreeMap<u16, Element>,
}

/// A name as spec files want it, of whatever stands in a foreign one.
pub fn spec_name(text: &str) -> String {
    let name = slug(text).replace('_', "-");
    if name.is_empty() { "imported".to_owned() } else { name }
}

/// Lower-case letters and digits with underlines between: the name of a part.
pub fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    name.trim_end_matches('_').to_owned()
}

/// The character set in which most text of these elements is written; ASCII when none has any.
pub fn most_used_charset<'a>(elements: impl Iterator<Item = &'a Element>) -> Code {
    let mut votes: BTreeMap<Code, usize> = BTreeMap::new();
    for element in elements.filter(|element| element.code.is_text()) {
        *votes.entry(element.code).or_default() += 1;
    }
    // The first of those with equal votes is ASCII, by the order of the codes.
    votes.iter().rev().max_by_key(|(_, votes)| **votes).map_or(Code::Ascii, |(code, _)| *code)
}
