//! What a jPOS field class says: its name taken apart into axes by tables, and the other way round. This is the one place
//! that knows these names; it must never read XML.
//!
//! A name is `IF`, a family (`A`, `B`, `EPE` …), an underline, and a form: `T…` digits of a tag, `F` filled, `L…` digits
//! of the prefix, `H` a binary prefix, `E` EBCDIC text, and the content (`CHAR`, `NUM`, `BINARY` …).

use super::model::{Code, Count, Kind, Prefix};

/// What a class says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Kind of content.
    pub kind: Kind,
    /// How the content is written.
    pub code: Code,
    /// The half-byte that fills an odd count of digits, where it is not `0`.
    pub filler: Option<char>,
    /// The length prefix of a variable one.
    pub prefix: Option<Prefix>,
    /// The tag before the length.
    pub tag: Option<Tag>,
    /// Whether the `length` attribute counts hexadecimal digits instead of bytes.
    pub hex_digits: bool,
}

/// The tag of a tagged class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Characters; none when the `token` attribute says it.
    pub length: Option<u8>,
    /// How it is written.
    pub code: Code,
}

/// Why a class cannot be carried, and how its bytes can be taken all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is known of that name.
    Unknown,
    /// A bitmap: it belongs to element 1 or in front of sub-elements.
    Bitmap(Code),
    /// The length stands before the tag and counts it.
    LengthBeforeTag,
    /// A length in front of content that is always filled up to the longest.
    Filled(Facts),
}

/// What the letters between `IF` and the underline mean.
struct Family {
    letters: &'static str,
    /// How the length is written.
    length: Code,
    text: Code,
    digits: Code,
    /// Bytes in a class without a length prefix.
    fixed_bytes: Code,
    /// Bytes in a class with one.
    bytes: Code,
    tag: Tagging,
}

#[derive(Clone, Copy)]
enum Tagging {
    None,
    /// A decimal number as long as the length, in that character set.
    AsLong(Code),
    /// A decimal number: two digits of the first set before a two-digit length, four of the second before a longer one.
    TwoOrFour(Code, Code),
    /// The `token` attribute, in ASCII.
    Token,
    /// After the length.
    Behind,
}

const E: Code = Code::Ebcdic1047;

/// jPOS: org.jpos.iso and org.jpos.tlv.packager. `EbcdicInterpreter` is code page 1047.
const FAMILIES: [Family; 13] = [
    family("", Code::Ascii, Code::Ascii, Code::Ascii, Code::Binary, Tagging::None),
    family("A", Code::Ascii, Code::Ascii, Code::Ascii, Code::HexAscii, Tagging::None),
    family("B", Code::Bcd, Code::Ascii, Code::Bcd, Code::Binary, Tagging::None),
    family("E", E, E, E, Code::HexEbcdic, Tagging::None),
    family("AE", Code::Ascii, E, E, Code::Binary, Tagging::None),
    family("EA", E, Code::Ascii, Code::Ascii, Code::Binary, Tagging::None),
    family("EB", E, Code::Ascii, Code::BcdLeft, Code::Binary, Tagging::None),
    family("MC", Code::Ascii, Code::Ascii, Code::Ascii, Code::Binary, Tagging::AsLong(Code::Ascii)),
    family("EMC", E, E, E, Code::Binary, Tagging::TwoOrFour(Code::Ascii, E)),
    family("EPE", E, E, E, Code::Binary, Tagging::AsLong(E)),
    family("EP", Code::Ascii, Code::Ascii, Code::Ascii, Code::Binary, Tagging::Behind),
    family("TA", Code::Ascii, Code::Ascii, Code::Ascii, Code::HexAscii, Tagging::Token),
    family("TB", Code::Bcd, Code::Ascii, Code::Bcd, Code::Binary, Tagging::Token),
];

const fn family(
    letters: &'static str,
    length: Code,
    text: Code,
    digits: Code,
    fixed_bytes: Code,
    tag: Tagging,
) -> Family {
    Family { letters, length, text, digits, fixed_bytes, bytes: Code::Binary, tag }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Char,
    Num,
    Amount,
    Binary,
    /// Bytes as hexadecimal digits of the family's character set, with a prefix that counts bytes.
    HexBinary,
    /// Packed digits behind an ASCII length that counts half-bytes.
    PackedNum,
    Hex,
    Bitmap,
}

/// Longest first, so that none is taken for the end of another.
const WORDS: [(&str, Word); 10] = [
    ("NUMERIC", Word::Num),
    ("ABINARY", Word::HexBinary),
    ("BINARY", Word::Binary),
    ("AMOUNT", Word::Amount),
    ("BITMAP", Word::Bitmap),
    ("ECHAR", Word::Char),
    ("BNUM", Word::PackedNum),
    ("CHAR", Word::Char),
    ("NUM", Word::Num),
    ("HEX", Word::Hex),
];

/// Classes of jPOS that an export may name. Not every name that can be taken apart is a class that exists.
pub const CLASSES: [&str; 74] = [
    "IF_CHAR",
    "IFA_NUMERIC",
    "IFA_AMOUNT",
    "IFA_BINARY",
    "IFA_LCHAR",
    "IFA_LLCHAR",
    "IFA_LLLCHAR",
    "IFA_LLLLCHAR",
    "IFA_LLLLLCHAR",
    "IFA_LLLLLLCHAR",
    "IFA_LLNUM",
    "IFA_LLLNUM",
    "IFA_LBINARY",
    "IFA_LLBINARY",
    "IFA_LLLBINARY",
    "IFA_LLLLBINARY",
    "IFA_LLLLLBINARY",
    "IFA_LLLLLLBINARY",
    "IFA_LLABINARY",
    "IFA_LLLABINARY",
    "IFA_LLBNUM",
    "IFB_NUMERIC",
    "IFB_FNUMERIC",
    "IFB_AMOUNT",
    "IFB_BINARY",
    "IFB_LLNUM",
    "IFB_LLLNUM",
    "IFB_FLLNUM",
    "IFB_FLLLNUM",
    "IFB_LLCHAR",
    "IFB_LLLCHAR",
    "IFB_LLLLCHAR",
    "IFB_LLLLLLCHAR",
    "IFB_LLBINARY",
    "IFB_LLLBINARY",
    "IFB_LLLLBINARY",
    "IFB_LLHNUM",
    "IFB_LLLHNUM",
    "IFB_LLHCHAR",
    "IFB_LLLHCHAR",
    "IFB_LLHECHAR",
    "IFB_LLLHECHAR",
    "IFB_LLHBINARY",
    "IFB_LLLHBINARY",
    "IFB_LLHEX",
    "IFB_LLLHEX",
    "IFE_CHAR",
    "IFE_NUMERIC",
    "IFE_AMOUNT",
    "IFE_BINARY",
    "IFE_LLCHAR",
    "IFE_LLLCHAR",
    "IFE_LLNUM",
    "IFE_LLBINARY",
    "IFE_LLLBINARY",
    "IFAE_LLCHAR",
    "IFEA_LLCHAR",
    "IFEB_LLNUM",
    "IFEB_LLLNUM",
    "IFMC_LLCHAR",
    "IFEMC_LLCHAR",
    "IFEPE_LLCHAR",
    "IFEPE_LLLCHAR",
    "IFEPE_LLBINARY",
    "IFTA_LLCHAR",
    "IFTA_LLLCHAR",
    "IFTA_LLNUM",
    "IFTA_LLLNUM",
    "IFTA_LLBINARY",
    "IFTA_LLLBINARY",
    "IFTB_LLBINARY",
    "IFA_TTLLCHAR",
    "IFA_TTLLLCHAR",
    "IFA_TTLLBINARY",
];

/// Takes a class name apart. `left` is the `pad` attribute: digits of a `B` family are filled in front.
///
/// # Errors
/// Why the class cannot be carried.
pub fn facts(class: &str, left: bool) -> Result<Facts, Refusal> {
    let name = class.rsplit('.').next().unwrap_or_default();
    let (letters, form) = name.strip_prefix("IF").and_then(|name| name.split_once('_')).ok_or(Refusal::Unknown)?;
    let family = FAMILIES.iter().find(|family| family.letters == letters).ok_or(Refusal::Unknown)?;
    let (form, word) = WORDS
        .iter()
        .find_map(|(text, word)| form.strip_suffix(text).map(|form| (form, (*text, *word))))
        .ok_or(Refusal::Unknown)?;
    let (tag_digits, form) = run(form, 'T');
    let (filled, form) = flag(form, 'F');
    let (digits, form) = run(form, 'L');
    let (binary_prefix, form) = flag(form, 'H');
    let (filled_behind, form) = flag(form, 'F');
    if !form.is_empty() || digits > 6 || binary_prefix && digits < 2 {
        return Err(Refusal::Unknown);
    }
    if word.1 == Word::Bitmap {
        return Err(Refusal::Bitmap(family.fixed_bytes));
    }
    if matches!(family.tag, Tagging::Behind) {
        return Err(Refusal::LengthBeforeTag);
    }
    let (kind, code, filler, count) = content(family, word, (filled, left), digits)?;
    let prefix = (digits > 0).then_some(if binary_prefix {
        Prefix { digits: digits - 1, code: Code::Binary, count, inclusive: false }
    } else {
        Prefix { digits, code: family.length, count, inclusive: false }
    });
    let tag = match family.tag {
        Tagging::None if tag_digits > 0 => Some(Tag { length: Some(tag_digits), code: family.length }),
        Tagging::None | Tagging::Behind => None,
        Tagging::AsLong(code) => Some(Tag { length: Some(digits), code }),
        Tagging::TwoOrFour(code, _) if digits == 2 => Some(Tag { length: Some(2), code }),
        Tagging::TwoOrFour(_, code) => Some(Tag { length: Some(4), code }),
        Tagging::Token => Some(Tag { length: None, code: Code::Ascii }),
    };
    let facts = Facts { kind, code, filler, prefix, tag, hex_digits: word.1 == Word::Hex && digits == 0 };
    // The `F` of packed digits is what fills an odd one; before other content it fills the whole element.
    let whole = filled && !matches!(facts.code, Code::Bcd | Code::BcdLeft);
    if (whole && digits > 0) || filled_behind { Err(Refusal::Filled(facts)) } else { Ok(facts) }
}

fn content(
    family: &Family,
    (text, word): (&str, Word),
    (filled, left): (bool, bool),
    digits: u8,
) -> Result<(Kind, Code, Option<char>, Count), Refusal> {
    let packed = |code| match code {
        Code::Bcd if left => (Code::Bcd, None),
        Code::Bcd if filled => (Code::BcdLeft, Some('F')),
        Code::Bcd => (Code::BcdLeft, None),
        Code::BcdLeft => (Code::BcdLeft, Some('F')),
        other => (other, None),
    };
    Ok(match word {
        Word::Char if text == "ECHAR" => (Kind::Ans, E, None, Count::Characters),
        Word::Char => (Kind::Ans, family.text, None, Count::Characters),
        Word::Num => {
            let (code, filler) = packed(family.digits);
            let count = if family.letters == "EB" { Count::Bytes } else { Count::Characters };
            (Kind::N, code, filler, count)
        }
        Word::PackedNum => {
            let (code, filler) = packed(Code::Bcd);
            (Kind::N, code, filler, Count::Nibbles)
        }
        Word::Amount => (Kind::Xn, family.digits, None, Count::Characters),
        Word::Binary if digits == 0 => (Kind::B, family.fixed_bytes, None, Count::Characters),
        Word::Binary => (Kind::B, family.bytes, None, Count::Characters),
        Word::HexBinary => (Kind::B, Code::HexAscii, None, Count::Characters),
        Word::Hex if digits == 0 => (Kind::B, Code::Binary, None, Count::Characters),
        Word::Hex => (Kind::B, Code::Binary, None, Count::Nibbles),
        Word::Bitmap => return Err(Refusal::Unknown),
    })
}

/// How often `c` stands in front, and what follows.
fn run(text: &str, c: char) -> (u8, &str) {
    let rest = text.trim_start_matches(c);
    (u8::try_from(text.len() - rest.len()).unwrap_or(u8::MAX), rest)
}

fn flag(text: &str, c: char) -> (bool, &str) {
    text.strip_prefix(c).map_or((false, text), |rest| (true, rest))
}

/// The class that says exactly this, with its `pad` attribute where that matters.
pub fn class_of(wanted: &Facts) -> Option<(&'static str, Option<bool>)> {
    for class in CLASSES {
        for left in [true, false] {
            if facts(class, left).as_ref() == Ok(wanted) {
                let matters = facts(class, !left).as_ref() != Ok(wanted);
                return Some((class, matters.then_some(left)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_the_list_can_be_taken_apart() {
        for class in CLASSES {
            assert!(facts(class, true).is_ok(), "{class}");
        }
    }

    #[test]
    fn an_export_finds_the_class_that_an_import_read() {
        for class in CLASSES {
            for left in [true, false] {
                let read = facts(class, left).expect("a class of the list");
                let (found, pad) = class_of(&read).expect("itself");
                assert_eq!(facts(found, pad.unwrap_or(left)).expect("a class"), read, "{class} became {found}");
            }
        }
    }

    #[test]
    fn axes_are_told_apart() {
        let llh = facts("org.jpos.iso.IFB_LLHECHAR", false).expect("a class");
        assert_eq!(llh.code, Code::Ebcdic1047);
        assert_eq!(llh.prefix.map(|prefix| (prefix.digits, prefix.code)), Some((1, Code::Binary)));
        let packed = facts("IFB_FLLNUM", false).expect("a class");
        assert_eq!((packed.code, packed.filler), (Code::BcdLeft, Some('F')));
        assert!(matches!(facts("IFA_FLLCHAR", false), Err(Refusal::Filled(_))));
        assert!(matches!(facts("IFB_LLHFBINARY", false), Err(Refusal::Filled(_))));
        assert_eq!(facts("IFEP_LLCHAR", false), Err(Refusal::LengthBeforeTag));
        assert_eq!(facts("IFE_BITMAP", false), Err(Refusal::Bitmap(Code::HexEbcdic)));
        assert_eq!(facts("com.example.MyField", false), Err(Refusal::Unknown));
        let nibbles = facts("IFB_LLHEX", false).expect("a class");
        assert_eq!(nibbles.prefix.map(|prefix| prefix.count), Some(Count::Nibbles));
    }
}
