//! The neutral model as a moov JSON spec. It must never write a word that moov's builder does not know.

use super::model::{Code, Count, Element, Kind, Layout, Length, Model, Pad, Prefix, Secret};
use super::moov::{ENCODINGS, PREFIXES};
use super::report::Report;
use super::{line, unexported};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct SpecOut {
    name: String,
    fields: Ordered,
}

/// Fields in the order of their numbers, which a map sorted by text would not keep.
struct Ordered(Vec<(String, FieldOut)>);

impl Ordered {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, field)| (key, field)))
    }
}

#[derive(Serialize)]
struct FieldOut {
    #[serde(rename = "type")]
    kind: &'static str,
    length: u32,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    enc: Option<&'static str>,
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<PaddingOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<TagOut>,
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    subfields: Ordered,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitmap: Option<Box<FieldOut>>,
}

impl FieldOut {
    fn new(kind: &'static str, length: u32, description: &str, enc: Option<&'static str>, prefix: String) -> Self {
        Self {
            kind,
            length,
            description: description.to_owned(),
            enc,
            prefix,
            padding: None,
            tag: None,
            subfields: Ordered(Vec::new()),
            bitmap: None,
        }
    }
}

#[derive(Serialize)]
struct PaddingOut {
    #[serde(rename = "type")]
    side: &'static str,
    pad: String,
}

#[derive(Serialize)]
struct TagOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u8>,
    #[serde(skip_serializing_if = "str::is_empty")]
    enc: &'static str,
    sort: &'static str,
    #[serde(rename = "skipUnknownTLVTags", skip_serializing_if = "std::ops::Not::not")]
    skip_unknown: bool,
}

/// The text of the spec.
pub fn spec_text(model: &Model, lines: &BTreeMap<u16, usize>, report: &mut Report) -> String {
    let mut writer = Writer { report };
    let mti = writer.encoding(model.mti, 0, "MTI");
    let bitmap = writer.encoding(model.bitmap, 0, "bitmap");
    let fixed = if mti == "BCD" { "BCD.Fixed" } else { "ASCII.Fixed" };
    let mut fields = vec![
        ("0".to_owned(), FieldOut::new("String", 4, "Message type", Some(mti), fixed.to_owned())),
        ("1".to_owned(), FieldOut::new("Bitmap", 8, "Bitmap", Some(bitmap), fixed_prefix(model.bitmap))),
    ];
    for (number, element) in &model.elements {
        let line = line(lines, *number);
        let place = format!("DE{number}");
        unexported(element, Some(*number), line, &place, writer.report);
        fields.push((number.to_string(), writer.field(element, line, &place, Secret::of_element(*number))));
    }
    let name = if model.title.is_empty() { model.name.clone() } else { model.title.clone() };
    let spec = SpecOut { name, fields: Ordered(fields) };
    // Strings, numbers and lists of them: nothing that JSON could refuse.
    let mut text = serde_json::to_string_pretty(&spec).unwrap_or_default();
    text.push('\n');
    text
}

/// moov names no character set for a fixed length; by convention it repeats the encoding's.
fn fixed_prefix(code: Code) -> String {
    match code {
        Code::Ascii => "ASCII.Fixed",
        Code::Cp500 | Code::Ebcdic1047 | Code::Ebcdic037 => "EBCDIC.Fixed",
        Code::Bcd | Code::BcdLeft => "BCD.Fixed",
        Code::Binary => "Binary.Fixed",
        Code::HexAscii | Code::HexEbcdic => "Hex.Fixed",
    }
    .to_owned()
}

struct Writer<'a> {
    report: &'a mut Report,
}

impl Writer<'_> {
    fn encoding(&mut self, code: Code, line: usize, place: &str) -> &'static str {
        let other = match code {
            Code::Ebcdic037 => Some((Code::Cp500, "EBCDIC")),
            Code::HexEbcdic => Some((Code::HexAscii, "HexToASCII")),
            _ => None,
        };
        if let Some((_, instead)) = other {
            self.report.lose(line, place, format!("encoding {:?}", code.word()), format!("enc {instead}"));
        }
        let code = other.map_or(code, |(code, _)| code);
        ENCODINGS.iter().find(|(_, known)| *known == code).map_or("ASCII", |(word, _)| word)
    }

    fn prefix(&mut self, prefix: Prefix, line: usize, place: &str) -> String {
        if prefix.inclusive {
            self.report.lose(line, place, "inclusive = true", "a length of the content alone");
        }
        if prefix.count == Count::Nibbles {
            self.report.lose(line, place, "count = \"nibbles\"", "a length in units of content");
        }
        let code = match prefix.code {
            Code::Ebcdic037 => Code::Cp500,
            Code::HexEbcdic => Code::HexAscii,
            Code::BcdLeft => Code::Bcd,
            code => code,
        };
        if code != prefix.code {
            self.report.lose(line, place, format!("prefix {:?}", prefix.code.word()), code.word());
        }
        if prefix.digits > 4 {
            self.report.lose(line, place, format!("{} digits of length", prefix.digits), "LLLL");
        }
        let word = PREFIXES.iter().find(|(_, known)| *known == code).map_or("ASCII", |(word, _)| word);
        format!("{word}.{}", "L".repeat(usize::from(prefix.digits.clamp(1, 4))))
    }

    fn field(&mut self, element: &Element, line: usize, place: &str, implied: Option<Secret>) -> FieldOut {
        let (length, prefix) = match element.length {
            Length::Fixed(units) => (units, fixed_prefix(element.code)),
            Length::Variable { max, prefix } => {
                let packed = matches!(element.code, Code::Bcd | Code::BcdLeft);
                if prefix.count == Count::Bytes && (packed || element.code == Code::HexAscii) {
                    self.report.lose(line, place, "count = \"bytes\"", "a length in units of content");
                }
                (max, self.prefix(prefix, line, place))
            }
            Length::Rest => {
                self.report.lose(line, place, "a part that takes the rest", "ASCII.LLL, which has a length in front");
                (999, "ASCII.LLL".to_owned())
            }
            Length::Open => (0, "BerTLV".to_owned()),
        };
        let described = !matches!(
            element.layout,
            Layout::Plain | Layout::Repeat(_) | Layout::Datasets | Layout::Tlv { class: Some(_), .. }
        );
        if described {
            let mut field = FieldOut::new("Composite", length, &element.name, None, prefix);
            self.inside(element, line, place, &mut field);
            return field;
        }
        if element.filler.is_some() {
            self.report.lose(line, place, "filler = \"F\"", "LBCD, which fills with 0");
        }
        let secret = element.secret.or(implied);
        let kind = match element.kind {
            Kind::N if element.code.is_text() || element.code == Code::Bcd => "Numeric",
            Kind::Ans if secret == Some(Secret::Track) => "Track1",
            Kind::Z => "Track2",
            Kind::B => "Binary",
            Kind::A | Kind::An | Kind::Xn => {
                let said = format!("kind {:?} (its check of characters)", element.kind.word());
                self.report.lose(line, place, said, "type String");
                "String"
            }
            Kind::N | Kind::Ans => "String",
        };
        let enc = self.encoding(element.code, line, place);
        let mut field = FieldOut::new(kind, length, &element.name, Some(enc), prefix);
        if matches!(element.length, Length::Fixed(_)) {
            field.padding = padding(element);
        }
        field
    }

    fn inside(&mut self, element: &Element, line: usize, place: &str, field: &mut FieldOut) {
        match &element.layout {
            Layout::Parts(parts) => {
                field.tag = Some(TagOut { length: None, enc: "", sort: "StringsByInt", skip_unknown: false });
                for (at, part) in (1..).zip(parts) {
                    let place = format!("{place}.{at}");
                    unexported(part, None, line, &place, self.report);
                    field.subfields.0.push((at.to_string(), self.field(part, line, &place, None)));
                }
            }
            Layout::Bitmapped { bitmap, bytes, fields } => {
                let enc = self.encoding(*bitmap, line, place);
                let prefix = fixed_prefix(*bitmap);
                field.bitmap = Some(Box::new(FieldOut::new("Bitmap", *bytes, "Bitmap", Some(enc), prefix)));
                for (number, sub) in fields {
                    let place = format!("{place}.{number}");
                    unexported(sub, None, line, &place, self.report);
                    field.subfields.0.push((number.to_string(), self.field(sub, line, &place, None)));
                }
            }
            Layout::Tlv { subs, .. } => {
                field.tag = Some(TagOut { length: None, enc: "BerTLVTag", sort: "StringsByHex", skip_unknown: true });
                for (tag, sub) in subs {
                    let place = format!("{place}.{tag}");
                    if sub.secret != Secret::of_tag(tag) {
                        unexported(sub, None, line, &place, self.report);
                    }
                    let enc = self.encoding(sub.code, line, &place);
                    let kind = if sub.kind == Kind::B { "Binary" } else { "String" };
                    let known = FieldOut::new(kind, 999, &sub.name, Some(enc), "BerTLV".to_owned());
                    field.subfields.0.push((tag.clone(), known));
                }
            }
            Layout::Tagged(tagged) => {
                if tagged.class.is_some() {
                    self.report.lose(line, place, "a class byte before the first tag", "tags from the first byte on");
                }
                // A tag in bytes is named in hexadecimal digits.
                let enc = match self.encoding(tagged.tag_code, line, place) {
                    "Binary" => "ASCIIToHex",
                    enc => enc,
                };
                let length = Some(tagged.tag_length);
                let sort = if enc == "ASCIIToHex" { "StringsByHex" } else { "StringsByInt" };
                field.tag = Some(TagOut { length, enc, sort, skip_unknown: tagged.skip_unknown });
                let max = super::jpos::longest(tagged.length);
                for (tag, sub) in &tagged.subs {
                    let place = format!("{place}.{tag}");
                    unexported(sub, None, line, &place, self.report);
                    let mut sub = sub.clone();
                    sub.length = Length::Variable { max, prefix: tagged.length };
                    field.subfields.0.push((tag.clone(), self.field(&sub, line, &place, None)));
                }
            }
            Layout::Plain | Layout::Repeat(_) | Layout::Datasets => {}
        }
    }
}

fn padding(element: &Element) -> Option<PaddingOut> {
    let (side, pad) = match (element.pad, element.kind) {
        (Pad::Left(c), _) => ("Left", c),
        (Pad::Right(c), _) => ("Right", c),
        (Pad::Usual, Kind::N) => ("Left", '0'),
        (Pad::Usual, Kind::A | Kind::An | Kind::Ans) => ("Right", ' '),
        (Pad::Usual, Kind::B | Kind::Z | Kind::Xn) | (Pad::None, _) => return None,
    };
    Some(PaddingOut { side, pad: pad.to_string() })
}
