//! One of our spec files read into the neutral model, with the line of each element, for exports. Whether a spec makes
//! sense is `iso-codec`'s to say; this file must never be stricter.

use super::model::{Code, Count, Element, Kind, Layout, Length, Model, Pad, Prefix, Secret, Tagged};
use super::report::Unreadable;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Deserialize)]
struct SpecFile {
    name: String,
    #[serde(default)]
    title: String,
    charset: String,
    #[serde(default)]
    bitmap: Option<String>,
    mti: Option<String>,
    bitmaps: Option<u8>,
    numeric: Option<String>,
    binary: Option<String>,
    track: Option<String>,
    prefix: Option<String>,
    count: Option<String>,
    fields: BTreeMap<Spanned<String>, FieldFile>,
}

#[derive(Deserialize)]
struct FieldFile {
    #[serde(default)]
    name: String,
    title: Option<String>,
    kind: Option<String>,
    length: Option<LengthFile>,
    encoding: Option<String>,
    filler: Option<String>,
    prefix: Option<String>,
    count: Option<String>,
    #[serde(default)]
    inclusive: bool,
    pad: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    lenient: bool,
    parts: Option<Vec<FieldFile>>,
    repeat: Option<Vec<FieldFile>>,
    tagged: Option<TaggedFile>,
    tlv: Option<BTreeMap<String, FieldFile>>,
    tlv_class: Option<ClassFile>,
    bitmapped: Option<BitmappedFile>,
    datasets: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LengthFile {
    Fixed(u32),
    Written(String),
}

#[derive(Deserialize)]
struct ClassFile {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct TaggedFile {
    class: Option<ClassFile>,
    tag: Option<TagFile>,
    length: Option<TagLengthFile>,
    #[serde(default)]
    skip_unknown: bool,
    #[serde(default)]
    subs: BTreeMap<String, FieldFile>,
}

#[derive(Deserialize)]
struct TagFile {
    length: Option<u8>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct TagLengthFile {
    digits: Option<u8>,
    encoding: Option<String>,
    count: Option<String>,
    #[serde(default)]
    inclusive: bool,
}

#[derive(Deserialize)]
struct BitmappedFile {
    bitmap: String,
    bytes: u32,
    fields: BTreeMap<String, FieldFile>,
}

/// What the file says for all elements.
struct Defaults {
    charset: Code,
    numeric: Code,
    binary: Code,
    /// `binary = "hex"` of today's specs: prefixes count the digits.
    hex_counts_digits: bool,
    track: Code,
    prefix: Code,
    count: Count,
}

/// The model, and the line on which each element begins.
///
/// # Errors
/// Where and why it is not one of our spec files.
pub fn read(text: &str) -> Result<(Model, BTreeMap<u16, usize>), Unreadable> {
    let line_of = |at: usize| text.get(..at).map_or(0, |before| before.matches('\n').count() + 1);
    let file: SpecFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| line_of(span.start));
        Unreadable::new(line, error.message().replace('\n', "; "))
    })?;
    let ascii = Code::Ascii;
    let charset = Code::of_word(&file.charset, ascii)
        .filter(|code| code.is_text())
        .ok_or_else(|| Unreadable::new(0, format!("charset {:?} is not known", file.charset)))?;
    let word = |word: &Option<String>, usual: Code| match word {
        None => Ok(usual),
        Some(word) => code(word, charset),
    };
    let defaults = Defaults {
        charset,
        numeric: word(&file.numeric, charset)?,
        binary: word(&file.binary, Code::Binary)?,
        hex_counts_digits: file.binary.as_deref().is_some_and(|word| word.starts_with("hex")),
        track: word(&file.track, charset)?,
        prefix: word(&file.prefix, charset)?,
        count: count(file.count.as_deref(), Count::Characters)?,
    };
    let mut lines = BTreeMap::new();
    let mut elements = BTreeMap::new();
    for (key, field) in &file.fields {
        let number: u16 = key.get_ref().parse().map_err(|_| {
            Unreadable::new(line_of(key.span().start), format!("fields.{}: not a number", key.get_ref()))
        })?;
        let line = line_of(key.span().start);
        let element = element(field, &defaults, UNSAID_KIND)
            .map_err(|error| Unreadable::new(line, format!("fields.{number}: {}", error.reason)))?;
        lines.insert(number, line);
        elements.insert(number, element);
    }
    let mti = match file.mti.as_deref() {
        Some("binary") => Code::Bcd,
        Some(word) => code(word, charset)?,
        None => charset,
    };
    let bitmap = word(&file.bitmap, Code::Binary)?;
    let bitmaps = file.bitmaps.unwrap_or(2);
    Ok((Model { name: file.name, title: file.title, charset, mti, bitmap, bitmaps, elements }, lines))
}

fn code(word: &str, charset: Code) -> Result<Code, Unreadable> {
    Code::of_word(word, charset).ok_or_else(|| Unreadable::new(0, format!("encoding {word:?} is not known")))
}

fn count(word: Option<&str>, usual: Count) -> Result<Count, Unreadable> {
    Ok(match word {
        None => usual,
        Some("characters") => Count::Characters,
        Some("bytes") => Count::Bytes,
        Some("nibbles") => Count::Nibbles,
        Some(other) => return Err(Unreadable::new(0, format!("count {other:?} is not known"))),
    })
}

/// What an element is that does not say its kind.
const UNSAID_KIND: Kind = Kind::Ans;

fn element(file: &FieldFile, defaults: &Defaults, usual: Kind) -> Result<Element, Unreadable> {
    let unknown = |what: &str, word: &str| Unreadable::new(0, format!("{what} {word:?} is not known"));
    let kind = match file.kind.as_deref() {
        None => usual,
        Some(word) => Kind::of_word(word).ok_or_else(|| unknown("kind", word))?,
    };
    let usual_code = match kind {
        Kind::N | Kind::Xn => defaults.numeric,
        Kind::B => defaults.binary,
        Kind::Z => defaults.track,
        Kind::A | Kind::An | Kind::Ans => defaults.charset,
    };
    let written = match file.encoding.as_deref() {
        None => usual_code,
        Some(word) => code(word, defaults.charset)?,
    };
    let by_default_hex = kind == Kind::B && file.encoding.is_none() && defaults.hex_counts_digits;
    let length = match &file.length {
        None => Length::Open,
        Some(LengthFile::Fixed(units)) => Length::Fixed(*units),
        Some(LengthFile::Written(text)) if text == "rest" => Length::Rest,
        Some(LengthFile::Written(text)) => {
            let max = text.trim_start_matches('.');
            let digits = u8::try_from(text.len() - max.len()).unwrap_or(u8::MAX);
            let max = max.parse().map_err(|_| unknown("length", text))?;
            let usual_count = if by_default_hex { Count::Bytes } else { defaults.count };
            let prefix = Prefix {
                digits,
                code: file.prefix.as_deref().map_or(Ok(defaults.prefix), |word| code(word, defaults.charset))?,
                count: count(file.count.as_deref(), usual_count)?,
                inclusive: file.inclusive,
            };
            Length::Variable { max, prefix }
        }
    };
    let pad = match file.pad.as_deref() {
        None => Pad::Usual,
        Some("none") => Pad::None,
        Some(text) => match text.split_once(':').map(|(side, c)| (side, c.chars().next())) {
            Some(("left", Some(c))) => Pad::Left(c),
            Some(("right", Some(c))) => Pad::Right(c),
            _ => return Err(unknown("pad", text)),
        },
    };
    let name = file.title.clone().unwrap_or_else(|| file.name.clone());
    let mut element = Element::new(name, kind, written, length);
    element.filler = file.filler.as_deref().and_then(|text| text.chars().next()).filter(|filler| *filler != '0');
    if element.filler.is_none() && file.filler.is_none() && kind == Kind::Z && written == Code::BcdLeft {
        element.filler = Some('F');
    }
    element.pad = pad;
    element.lenient = file.lenient;
    element.secret = match file.secret.as_deref() {
        None => None,
        Some(word) => Some(Secret::of_word(word).ok_or_else(|| unknown("secret", word))?),
    };
    element.layout = layout(file, defaults, kind)?;
    Ok(element)
}

fn layout(file: &FieldFile, defaults: &Defaults, kind: Kind) -> Result<Layout, Unreadable> {
    let list = |parts: &[FieldFile]| -> Result<Vec<Element>, Unreadable> {
        parts.iter().map(|part| element(part, defaults, kind)).collect()
    };
    let subs = |files: &BTreeMap<String, FieldFile>, usual| -> Result<BTreeMap<String, Element>, Unreadable> {
        files.iter().map(|(tag, sub)| Ok((tag.clone(), element(sub, defaults, usual)?))).collect()
    };
    if let Some(parts) = &file.parts {
        return list(parts).map(Layout::Parts);
    }
    if let Some(parts) = &file.repeat {
        return list(parts).map(Layout::Repeat);
    }
    if let Some(tags) = &file.tlv {
        let class = file.tlv_class.as_ref().map(|class| (class.id.clone(), class.name.clone()));
        // Values under BER tags are bytes whatever the file's default for binary elements is.
        let mut known = subs(tags, Kind::B)?;
        for (sub, said) in known.values_mut().zip(tags.values()) {
            if sub.kind == Kind::B && said.encoding.is_none() {
                sub.code = Code::Binary;
            }
        }
        return Ok(Layout::Tlv { class, subs: known });
    }
    if let Some(tagged) = &file.tagged {
        let tag = tagged.tag.as_ref();
        let length = tagged.length.as_ref();
        let word = |word: Option<&String>| word.map_or(Ok(defaults.charset), |word| code(word, defaults.charset));
        return Ok(Layout::Tagged(Tagged {
            class: tagged.class.as_ref().map(|class| (class.id.clone(), class.name.clone())),
            tag_length: tag.and_then(|tag| tag.length).unwrap_or(2),
            tag_code: word(tag.and_then(|tag| tag.encoding.as_ref()))?,
            length: Prefix {
                digits: length.and_then(|length| length.digits).unwrap_or(2),
                code: word(length.and_then(|length| length.encoding.as_ref()))?,
                count: count(length.and_then(|length| length.count.as_deref()), Count::Characters)?,
                inclusive: length.is_some_and(|length| length.inclusive),
            },
            skip_unknown: tagged.skip_unknown,
            subs: subs(&tagged.subs, Kind::Ans)?,
        }));
    }
    if let Some(bitmapped) = &file.bitmapped {
        let mut fields = BTreeMap::new();
        for (key, sub) in &bitmapped.fields {
            let number =
                key.parse().map_err(|_| Unreadable::new(0, format!("bitmapped.fields.{key}: not a number")))?;
            fields.insert(number, element(sub, defaults, Kind::Ans)?);
        }
        let bitmap = code(&bitmapped.bitmap, defaults.charset)?;
        return Ok(Layout::Bitmapped { bitmap, bytes: bitmapped.bytes, fields });
    }
    Ok(if file.datasets.is_some() { Layout::Datasets } else { Layout::Plain })
}
