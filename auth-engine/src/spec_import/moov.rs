//! A moov JSON spec read into the neutral model, and the words both ways. It must never guess at a word it does not know.

use super::jpos::longest;
use super::model::{
    Code, Count, Element, Kind, Layout, Length, Model, Pad, Prefix, Secret, Tagged, most_used_charset, spec_name,
};
use super::report::{Report, Unreadable};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// `enc`, and how it is written. moov's EBCDIC is code page 500 but for the vertical bar.
pub const ENCODINGS: [(&str, Code); 9] = [
    ("ASCII", Code::Ascii),
    ("BCD", Code::Bcd),
    ("LBCD", Code::BcdLeft),
    ("EBCDIC", Code::Cp500),
    ("EBCDIC1047", Code::Ebcdic1047),
    ("Binary", Code::Binary),
    ("HexToASCII", Code::HexAscii),
    // Written as bytes, shown as digits.
    ("ASCIIToHex", Code::Binary),
    ("BerTLVTag", Code::Binary),
];

/// The first word of `prefix`.
pub const PREFIXES: [(&str, Code); 6] = [
    ("ASCII", Code::Ascii),
    ("BCD", Code::Bcd),
    ("Hex", Code::HexAscii),
    ("EBCDIC", Code::Cp500),
    ("EBCDIC1047", Code::Ebcdic1047),
    ("Binary", Code::Binary),
];

#[derive(Deserialize)]
struct SpecFile<'a> {
    #[serde(default)]
    name: String,
    #[serde(borrow)]
    fields: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldFile<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    length: u32,
    #[serde(default)]
    description: String,
    #[serde(default)]
    enc: String,
    #[serde(default)]
    prefix: String,
    padding: Option<PaddingFile>,
    tag: Option<TagFile>,
    #[serde(default, borrow)]
    subfields: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    bitmap: Option<&'a RawValue>,
    #[serde(default, alias = "disableautoexpand")]
    disable_auto_expand: bool,
}

#[derive(Deserialize)]
struct PaddingFile {
    #[serde(rename = "type")]
    side: String,
    #[serde(default)]
    pad: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagFile {
    #[serde(default)]
    length: u8,
    #[serde(default)]
    enc: String,
    #[serde(default, rename = "skipUnknownTLVTags", alias = "skipUnknownTlvTags")]
    skip_unknown: bool,
}

/// Reads the text of a spec.
///
/// # Errors
/// Where and why it cannot be read at all.
pub fn import(text: &str, name: Option<&str>, report: &mut Report) -> Result<Model, Unreadable> {
    let file: SpecFile<'_> = serde_json::from_str(text)
        .map_err(|error| Unreadable::new(error.line(), format!("not a moov spec: {error}")))?;
    let mut reader = Reader { text, report };
    let (mut mti, mut bitmap) = (Code::Ascii, Code::Binary);
    let mut elements = BTreeMap::new();
    for (key, raw) in &file.fields {
        let line = reader.line(raw);
        let number: u16 =
            key.parse().map_err(|_| Unreadable::new(line, format!("field `{key}`: keys of fields are numbers")))?;
        let field = reader.field(raw)?;
        match number {
            0 => mti = reader.code(raw, &field.enc, "MTI"),
            1 => {
                bitmap = reader.code(raw, &field.enc, "bitmap");
                if field.disable_auto_expand {
                    reader.report.lose(line, "bitmap", "disableAutoExpand", "bitmaps as the bits in front announce");
                }
            }
            _ => {
                let mut element = reader.element(raw, &format!("DE{number}"))?;
                element.secret = element.secret.or(Secret::of_element(number));
                elements.insert(number, element);
            }
        }
    }
    if elements.is_empty() {
        return Err(Unreadable::new(1, "no field above 1 in it; a spec needs at least one element"));
    }
    let charset = most_used_charset(elements.values());
    let bitmaps = if elements.keys().any(|number| *number > 128) { 3 } else { 2 };
    let title = if file.name.is_empty() { "Imported from a moov spec".to_owned() } else { file.name.clone() };
    let name = spec_name(name.unwrap_or(if file.name.is_empty() { "moov" } else { &file.name }));
    Ok(Model { name, title, charset, mti, bitmap, bitmaps, elements })
}

struct Reader<'a, 'b> {
    text: &'a str,
    report: &'b mut Report,
}

impl<'a> Reader<'a, '_> {
    /// The line on which a value begins: raw values are slices of the text.
    fn line(&self, raw: &RawValue) -> usize {
        let at = (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.text.get(..at).map_or(0, |before| before.matches('\n').count() + 1)
    }

    fn field(&self, raw: &'a RawValue) -> Result<FieldFile<'a>, Unreadable> {
        serde_json::from_str(raw.get()).map_err(|error| {
            Unreadable::new(self.line(raw) + error.line().saturating_sub(1), format!("not a moov field: {error}"))
        })
    }

    fn code(&mut self, raw: &RawValue, enc: &str, place: &str) -> Code {
        ENCODINGS.iter().find(|(word, _)| *word == enc).map(|(_, code)| *code).unwrap_or_else(|| {
            self.report.lose(self.line(raw), place, format!("enc {enc:?}"), "ASCII");
            Code::Ascii
        })
    }

    fn element(&mut self, raw: &'a RawValue, place: &str) -> Result<Element, Unreadable> {
        if super::too_deep(place) {
            return Err(Unreadable::new(self.line(raw), format!("{place} stands too deep; no spec needs that")));
        }
        let field = self.field(raw)?;
        let line = self.line(raw);
        let name = if field.description.is_empty() { place.to_owned() } else { field.description.clone() };
        let length = self.length(line, &field, place);
        let composite = !field.subfields.is_empty();
        let enc = if composite { Code::Ascii } else { self.code(raw, &field.enc, place) };
        let (kind, secret) = match &*field.kind {
            _ if composite => (Kind::Ans, None),
            "Numeric" => (Kind::N, None),
            "Binary" | "Hex" | "Bitmap" => (Kind::B, None),
            "Track1" => (Kind::Ans, Some(Secret::Track)),
            "Track2" | "Track3" => (Kind::Z, Some(Secret::Track)),
            "String" => (string_kind(enc), None),
            other => {
                self.report.lose(line, place, format!("type {other:?}"), "text");
                (string_kind(enc), None)
            }
        };
        let mut element = Element::new(name, kind, enc, length);
        element.secret = secret;
        if kind == Kind::B && (enc.is_text() || matches!(enc, Code::Bcd | Code::BcdLeft)) {
            // Bytes that a text encoding translates: what they stand for is text.
            element.kind = if enc.is_text() { Kind::Ans } else { Kind::N };
        }
        element.pad = self.pad(line, &field, place, &element);
        if composite {
            self.inside(raw, &field, place, &mut element)?;
        }
        Ok(element)
    }

    fn length(&mut self, line: usize, field: &FieldFile<'_>, place: &str) -> Length {
        if field.prefix == "BerTLV" {
            return Length::Open;
        }
        let (word, digits) = field.prefix.split_once('.').unwrap_or((&field.prefix, ""));
        if digits == "Fixed" {
            return Length::Fixed(field.length);
        }
        let code = PREFIXES.iter().find(|(known, _)| *known == word).map(|(_, code)| *code);
        match (code, digits) {
            (Some(code), "L" | "LL" | "LLL" | "LLLL") => {
                let digits = u8::try_from(digits.len()).unwrap_or(u8::MAX);
                let prefix = Prefix { digits, code, count: Count::Characters, inclusive: false };
                let most = longest(prefix);
                if field.length > most {
                    let said = format!("{} with length {}", field.prefix, field.length);
                    self.report.lose(line, place, said, format!("at most {most}, what its prefix can say"));
                }
                Length::Variable { max: field.length.min(most), prefix }
            }
            _ => {
                self.report.lose(line, place, format!("prefix {:?}", field.prefix), "a fixed length");
                Length::Fixed(field.length)
            }
        }
    }

    fn pad(&mut self, line: usize, field: &FieldFile<'_>, place: &str, element: &Element) -> Pad {
        let usual = match element.kind {
            Kind::N => Pad::Left('0'),
            Kind::A | Kind::An | Kind::Ans => Pad::Right(' '),
            Kind::B | Kind::Z | Kind::Xn => Pad::None,
        };
        let said = match &field.padding {
            None => Pad::None,
            Some(padding) => match (padding.side.as_str(), padding.pad.chars().next()) {
                ("Left", Some(c)) => Pad::Left(c),
                ("Right", Some(c)) => Pad::Right(c),
                ("None", _) => Pad::None,
                (side, _) => {
                    self.report.lose(line, place, format!("padding {side:?}"), "none");
                    Pad::None
                }
            },
        };
        if !matches!(element.length, Length::Fixed(_)) {
            if said != Pad::None {
                self.report.lose(line, place, "padding of a variable length", "content as long as it is");
            }
            return Pad::Usual;
        }
        if said == usual { Pad::Usual } else { said }
    }

    fn inside(
        &mut self,
        raw: &'a RawValue,
        field: &FieldFile<'a>,
        place: &str,
        element: &mut Element,
    ) -> Result<(), Unreadable> {
        let line = self.line(raw);
        let mut subs: BTreeMap<String, Element> = BTreeMap::new();
        for (key, sub) in &field.subfields {
            subs.insert(key.clone(), self.element(sub, &format!("{place}.{key}"))?);
        }
        if element.pad == Pad::None {
            element.pad = Pad::Usual;
        }
        let numbered = |subs: BTreeMap<String, Element>| -> Result<BTreeMap<u16, Element>, Unreadable> {
            subs.into_iter()
                .map(|(key, sub)| {
                    let number = key.parse().map_err(|_| {
                        Unreadable::new(line, format!("{place}: subfield `{key}` has no number and no tag"))
                    })?;
                    Ok((number, sub))
                })
                .collect()
        };
        if let Some(bitmap) = field.bitmap {
            let file = self.field(bitmap)?;
            let code = self.code(bitmap, &file.enc, place);
            let fields = numbered(subs)?;
            element.code = most_used_charset(fields.values());
            element.layout = Layout::Bitmapped { bitmap: code, bytes: file.length, fields };
            return Ok(());
        }
        let tag = field.tag.as_ref().filter(|tag| !tag.enc.is_empty());
        match tag {
            None => {
                let parts: Vec<Element> = numbered(subs)?.into_values().collect();
                if parts.iter().all(|part| part.kind == Kind::B) {
                    element.kind = Kind::B;
                    element.code = Code::Binary;
                } else {
                    element.code = most_used_charset(parts.iter());
                }
                element.layout = Layout::Parts(parts);
            }
            Some(tag) if tag.enc == "BerTLVTag" => {
                if !tag.skip_unknown {
                    let instead = "unknown tags are kept in their order";
                    self.report.lose(
                        line,
                        place,
                        "BerTLVTag without skipUnknownTLVTags (unknown tags refused)",
                        instead,
                    );
                }
                element.kind = Kind::B;
                element.code = Code::Binary;
                let subs = subs
                    .into_iter()
                    .map(|(key, sub)| {
                        let tag = key.to_ascii_uppercase();
                        // Digits are written as bytes under a BER tag; text stays text.
                        let kind = if sub.kind == Kind::Ans && sub.code.is_text() { Kind::Ans } else { Kind::B };
                        let mut known = Element::new(sub.name, kind, Code::Binary, Length::Open);
                        if kind == Kind::Ans {
                            known.code = sub.code;
                        }
                        known.secret = Secret::of_tag(&tag);
                        (tag, known)
                    })
                    .collect();
                element.layout = Layout::Tlv { class: None, subs };
            }
            Some(tag) => {
                let tag_code = self.code(raw, &tag.enc, place);
                self.tagged(line, tag, tag_code, place, subs, element);
            }
        }
        Ok(())
    }

    fn tagged(
        &mut self,
        line: usize,
        tag: &TagFile,
        tag_code: Code,
        place: &str,
        subs: BTreeMap<String, Element>,
        element: &mut Element,
    ) {
        let mut shape = None;
        let mut kept = BTreeMap::new();
        for (key, mut sub) in subs {
            let place = format!("{place}.{key}");
            let Length::Variable { prefix, .. } = sub.length else {
                self.report.lose(line, &place, "a tagged subfield without a length", "left out");
                continue;
            };
            if *shape.get_or_insert(prefix) != prefix {
                self.report.lose(line, &place, "another prefix than the first subfield's", "left out");
                continue;
            }
            let width = if tag_code == Code::Binary { usize::from(tag.length) * 2 } else { usize::from(tag.length) };
            sub.length = Length::Open;
            kept.insert(format!("{key:0>width$}"), sub);
        }
        let Some(length) = shape else {
            self.report.lose(line, place, "a tagged composite without one length", "nothing inside");
            return;
        };
        element.code = if tag_code.is_text() { tag_code } else { most_used_charset(kept.values()) };
        if !tag_code.is_text() && length.code == Code::Binary {
            element.kind = Kind::B;
            element.code = Code::Binary;
        }
        element.layout = Layout::Tagged(Tagged {
            class: None,
            tag_length: tag.length,
            tag_code,
            length,
            skip_unknown: tag.skip_unknown,
            subs: kept,
        });
    }
}

/// The kind of a `String`: digits when they are packed, bytes when they are bytes.
fn string_kind(code: Code) -> Kind {
    match code {
        Code::Bcd | Code::BcdLeft => Kind::N,
        Code::Binary | Code::HexAscii | Code::HexEbcdic => Kind::B,
        Code::Ascii | Code::Cp500 | Code::Ebcdic1047 | Code::Ebcdic037 => Kind::Ans,
    }
}
