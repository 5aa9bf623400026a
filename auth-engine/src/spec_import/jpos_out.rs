//! The neutral model as a jPOS GenericPackager file. Which class says what is `jpos_classes`' to know; this file must
//! never name one that is not in its list, but for bitmaps and packagers.

use super::jpos_classes::{self, Facts, Tag};
use super::model::{Code, Element, Kind, Layout, Length, Model, Pad, Prefix, Tagged};
use super::report::Report;
use super::{line, unexported};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const ISO: &str = "org.jpos.iso";
const TLV: &str = "org.jpos.tlv.packager";

/// The text of the packager file.
pub fn packager_text(model: &Model, lines: &BTreeMap<u16, usize>, report: &mut Report) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(text, "<!-- {} -->", escaped(&format!("{}: {}", model.name, model.title)).replace("--", "- -"));
    let most = if model.bitmaps == 3 { 192 } else { 128 };
    let _ = writeln!(text, "<isopackager maxValidField=\"{most}\">");
    let mti = match model.mti {
        Code::Bcd | Code::BcdLeft | Code::Binary => "IFB_NUMERIC",
        Code::Ascii => "IFA_NUMERIC",
        other => {
            other_page(other, 0, "MTI", report);
            "IFE_NUMERIC"
        }
    };
    let pad = if mti == "IFB_NUMERIC" { " pad=\"true\"" } else { "" };
    let _ = writeln!(text, "  <isofield id=\"0\" length=\"4\" name=\"Message type\" class=\"{ISO}.{mti}\"{pad}/>");
    let bytes = u32::from(model.bitmaps) * 8;
    let class = bitmap_class(model.bitmap);
    let _ = writeln!(text, "  <isofield id=\"1\" length=\"{bytes}\" name=\"Bitmap\" class=\"{ISO}.{class}\"/>");
    let mut writer = Writer { text, report };
    for (number, element) in &model.elements {
        let line = line(lines, *number);
        let place = format!("DE{number}");
        unexported(element, Some(*number), line, &place, writer.report);
        writer.element(1, &number.to_string(), element, None, line, &place);
    }
    writer.text.push_str("</isopackager>\n");
    writer.text
}

fn bitmap_class(code: Code) -> &'static str {
    match code {
        Code::HexAscii => "IFA_BITMAP",
        Code::HexEbcdic => "IFE_BITMAP",
        _ => "IFB_BITMAP",
    }
}

/// jPOS writes one EBCDIC.
fn other_page(code: Code, line: usize, place: &str, report: &mut Report) -> Code {
    if matches!(code, Code::Cp500 | Code::Ebcdic037) {
        report.lose(line, place, format!("encoding {:?}", code.word()), "jPOS's EBCDIC, code page 1047");
        return Code::Ebcdic1047;
    }
    code
}

struct Writer<'a> {
    text: String,
    report: &'a mut Report,
}

impl Writer<'_> {
    fn element(
        &mut self,
        depth: usize,
        id: &str,
        element: &Element,
        tagged: Option<(&Tagged, &str)>,
        line: usize,
        place: &str,
    ) {
        let (class, pad, length) = self.class(element, tagged.map(|(tagged, _)| tagged), line, place);
        let indent = "  ".repeat(depth);
        let mut head = format!("id=\"{id}\" length=\"{length}\" name=\"{}\" class=\"{class}\"", escaped(&element.name));
        if let Some(left) = pad {
            let _ = write!(head, " pad=\"{left}\"");
        }
        if let Some((_, tag)) = tagged.filter(|_| class.contains(".IFT")) {
            let _ = write!(head, " token=\"{}\"", escaped(tag));
        }
        let inner: Option<(String, String)> = self.inside(depth + 1, element, line, place);
        let _ = match inner {
            None => writeln!(self.text, "{indent}<isofield {head}/>"),
            Some((attributes, inner)) => {
                writeln!(
                    self.text,
                    "{indent}<isofieldpackager {head} {attributes}>\n{inner}{indent}</isofieldpackager>"
                )
            }
        };
    }

    /// The class, its `pad` and its `length`.
    fn class(
        &mut self,
        element: &Element,
        tagged: Option<&Tagged>,
        line: usize,
        place: &str,
    ) -> (String, Option<bool>, u32) {
        let code = other_page(element.code, line, place, self.report);
        let (mut prefix, max) = match (element.length, tagged) {
            (_, Some(tagged)) => (Some(tagged.length), super::jpos::longest(tagged.length)),
            (Length::Fixed(units), None) => (None, units),
            (Length::Variable { max, prefix }, None) => (Some(prefix), max),
            (Length::Rest | Length::Open, None) => {
                self.report.lose(line, place, "a part that takes the rest", "a fixed length of 999");
                (None, 999)
            }
        };
        if let Some(prefix) = &mut prefix {
            prefix.code = other_page(prefix.code, line, place, self.report);
        }
        let tag = tagged.map(|tagged| Tag {
            // What is no decimal number cannot be a field's; the `token` attribute says it.
            length: tagged.subs.keys().all(|tag| tag.parse::<u16>().is_ok()).then_some(tagged.tag_length),
            code: other_page(tagged.tag_code, line, place, self.report),
        });
        if tagged.is_none() && !matches!(element.pad, Pad::Usual) && prefix.is_none() && !plainly(element) {
            self.report.lose(line, place, format!("pad {:?}", element.pad), "the class's own filling");
        }
        let mut wanted = Facts { kind: element.kind, code, filler: element.filler, prefix, tag, hex_digits: false };
        let mut said = None;
        // jPOS has text, digits, signed digits and bytes.
        wanted.kind = match element.kind {
            Kind::A | Kind::An => {
                said = Some(format!("kind {:?} (its check of characters)", element.kind.word()));
                Kind::Ans
            }
            Kind::Z if !matches!(place, "DE35" | "DE36") => {
                said = Some("kind \"z\" (its check of characters)".to_owned());
                Kind::N
            }
            Kind::Z => Kind::N,
            kind => kind,
        };
        if let Some(said) = said {
            let instead = if wanted.kind == Kind::N { "a numeric class" } else { "a CHAR class" };
            self.report.lose(line, place, said, instead);
        }
        if let Some((class, pad)) = self.search(&wanted) {
            return (class, pad, max);
        }
        self.nearest(element, wanted, max, line, place)
    }

    fn search(&self, wanted: &Facts) -> Option<(String, Option<bool>)> {
        let mut candidates = vec![wanted.clone()];
        if wanted.tag.is_some() {
            candidates.push(Facts { tag: wanted.tag.map(|tag| Tag { length: None, ..tag }), ..wanted.clone() });
        }
        // Packed digits filled in front or behind are alike as long as their count is even; what is wanted stays first.
        let found = candidates.iter().find_map(jpos_classes::class_of);
        found.map(|(class, pad)| {
            let package = if class.starts_with("IFT") { TLV } else { ISO };
            (format!("{package}.{class}"), pad)
        })
    }

    /// No class says it: text for digits, then a prefix of the content's own family, then fixed bytes.
    fn nearest(
        &mut self,
        element: &Element,
        wanted: Facts,
        max: u32,
        line: usize,
        place: &str,
    ) -> (String, Option<bool>, u32) {
        let said = format!("{} {}{}", element.kind.word(), wanted.code.word(), behind(wanted.prefix));
        let text = Facts { kind: Kind::Ans, ..wanted.clone() };
        if wanted.code.is_text()
            && wanted.kind == Kind::N
            && let Some((class, pad)) = self.search(&text)
        {
            self.report.lose(line, place, format!("{said} (no such class)"), format!("text, {class}"));
            return (class, pad, max);
        }
        let class = match (wanted.code, wanted.prefix) {
            (Code::Ebcdic1047 | Code::Cp500 | Code::Ebcdic037, None) => "IFE_CHAR",
            (Code::Ebcdic1047 | Code::Cp500 | Code::Ebcdic037, Some(_)) => "IFE_LLLCHAR",
            (Code::Ascii, None) => "IF_CHAR",
            (Code::Ascii, Some(_)) => "IFA_LLLCHAR",
            (Code::Bcd | Code::BcdLeft, None) => "IFB_NUMERIC",
            (Code::Bcd | Code::BcdLeft, Some(_)) => "IFB_LLNUM",
            (_, None) => "IFB_BINARY",
            (_, Some(_)) => "IFB_LLBINARY",
        };
        self.report.lose(line, place, format!("{said} (no such class)"), class);
        (format!("{ISO}.{class}"), None, max)
    }

    /// The attributes and the children of what is inside.
    fn inside(&mut self, depth: usize, element: &Element, line: usize, place: &str) -> Option<(String, String)> {
        let outer = std::mem::take(&mut self.text);
        let attributes = match &element.layout {
            Layout::Plain | Layout::Repeat(_) | Layout::Datasets => None,
            Layout::Parts(parts) => {
                for (at, part) in (1..).zip(parts) {
                    let place = format!("{place}.{at}");
                    unexported(part, None, line, &place, self.report);
                    self.element(depth, &at.to_string(), part, None, line, &place);
                }
                Some(format!(
                    "packager=\"{ISO}.packager.GenericSubFieldPackager\" emitBitmap=\"false\" firstField=\"1\""
                ))
            }
            Layout::Bitmapped { bitmap, bytes, fields } => {
                let indent = "  ".repeat(depth);
                let class = bitmap_class(*bitmap);
                let _ = writeln!(
                    self.text,
                    "{indent}<isofield id=\"0\" length=\"{bytes}\" name=\"Bitmap\" class=\"{ISO}.{class}\"/>"
                );
                for (number, field) in fields {
                    let place = format!("{place}.{number}");
                    unexported(field, None, line, &place, self.report);
                    self.element(depth, &number.to_string(), field, None, line, &place);
                }
                Some(format!(
                    "packager=\"{ISO}.packager.GenericSubFieldPackager\" emitBitmap=\"true\" bitmapField=\"0\" firstField=\"1\""
                ))
            }
            Layout::Tlv { class: Some(_), .. } => None,
            Layout::Tlv { class: None, subs } => {
                let packager = match element.code {
                    Code::HexAscii => "BERTLVAsciiHexPackager",
                    Code::HexEbcdic => "BERTLVEbcdicHexPackager",
                    _ => "BERTLVBinaryPackager",
                };
                if !subs.is_empty() {
                    let said = format!("names of {} tags", subs.len());
                    self.report.lose(line, place, said, format!("{packager}, which takes every tag unnamed"));
                }
                Some(format!("packager=\"{TLV}.bertlv.{packager}\" emitBitmap=\"false\""))
            }
            Layout::Tagged(tagged) => {
                if tagged.skip_unknown {
                    self.report.lose(line, place, "skip_unknown = true", "unknown tags end the reading");
                }
                if let Some((_, name)) = &tagged.class {
                    let indent = "  ".repeat(depth);
                    let family = if tagged.tag_code == Code::Ascii { "IF_CHAR" } else { "IFE_CHAR" };
                    let name = escaped(name);
                    let _ = writeln!(
                        self.text,
                        "{indent}<isofield id=\"0\" length=\"1\" name=\"{name}\" class=\"{ISO}.{family}\"/>"
                    );
                }
                for (at, (tag, sub)) in (1u16..).zip(&tagged.subs) {
                    let place = format!("{place}.{tag}");
                    unexported(sub, None, line, &place, self.report);
                    let id = tag.parse::<u16>().map_or_else(|_| at.to_string(), |number| number.to_string());
                    self.element(depth, &id, sub, Some((tagged, tag)), line, &place);
                }
                Some(if self.text.contains(".IFT") {
                    format!("packager=\"{TLV}.TaggedSequencePackager\" emitBitmap=\"false\"")
                } else if tagged.tag_code == Code::Ascii {
                    format!("packager=\"{ISO}.packager.EuroSubFieldPackager\"")
                } else {
                    format!("packager=\"{ISO}.packager.MasterCardEBCDICSubFieldPackager\"")
                })
            }
        };
        let inner = std::mem::replace(&mut self.text, outer);
        attributes.map(|attributes| (attributes, inner))
    }
}

/// Whether the class fills an element as its pad says.
fn plainly(element: &Element) -> bool {
    element.pad == Pad::None && !matches!(element.kind, Kind::N | Kind::A | Kind::An | Kind::Ans)
}

fn behind(prefix: Option<Prefix>) -> String {
    prefix.map_or(String::new(), |prefix| {
        let inclusive = if prefix.inclusive { ", inclusive" } else { "" };
        format!(" behind {} digits of {}{inclusive}", prefix.digits, prefix.code.word())
    })
}

/// Text as an XML attribute holds it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
