//! A jPOS GenericPackager file read into the neutral model: elements, composites by their packager, and what of them is
//! lost. Class names are taken apart in `jpos_classes`; this file must never look into one.

use super::jpos_classes::{self, Facts, Refusal, Tag};
use super::model::{
    Code, Count, Element, Kind, Layout, Length, Model, Pad, Prefix, Secret, Tagged, most_used_charset, spec_name,
};
use super::report::{Report, Unreadable};
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::BTreeMap;

/// Packagers by the last part of their class name.
enum Packager {
    /// Sub-elements by bitmap or one after the other, as `emitBitmap` says.
    Generic,
    /// A tag in front of each, mapped from the field number.
    Tagged,
    /// Two-digit tags; field 0 is a class byte in front.
    Euro,
    /// BER-TLV in bytes, or as hexadecimal digits.
    Ber(Code),
}

fn packager(class: &str) -> Option<Packager> {
    Some(match class.rsplit('.').next().unwrap_or_default() {
        "GenericPackager" | "GenericSubFieldPackager" | "GenericValidatingPackager" => Packager::Generic,
        "GenericTaggedFieldsPackager" | "TaggedSequencePackager" => Packager::Tagged,
        "MasterCardEBCDICSubFieldPackager" | "EuroSubFieldPackager" => Packager::Euro,
        "BERTLVBinaryPackager" | "DefaultICCBERTLVPackager" => Packager::Ber(Code::Binary),
        "BERTLVAsciiHexPackager" => Packager::Ber(Code::HexAscii),
        "BERTLVEbcdicHexPackager" => Packager::Ber(Code::HexEbcdic),
        _ => return None,
    })
}

/// Reads the text of a packager file.
///
/// # Errors
/// Where and why it cannot be read at all.
pub fn import(text: &str, name: Option<&str>, report: &mut Report) -> Result<Model, Unreadable> {
    // Packager files name jPOS's document type; it is never fetched.
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| Unreadable::new(error.pos().row as usize, format!("not XML: {error}")))?;
    let root = document.root_element();
    if root.tag_name().name() != "isopackager" {
        let reason = format!("the root is <{}>, a GenericPackager file has <isopackager>", root.tag_name().name());
        return Err(Unreadable::new(1, reason));
    }
    let mut reader = Reader { document: &document, report };
    let mut mti = Code::Ascii;
    let mut bitmap = Code::Binary;
    let mut elements = BTreeMap::new();
    if let Some(bytes) = root.attribute("headerLength").filter(|length| *length != "0") {
        let line = reader.line(root);
        reader.report.lose(line, "header", format!("headerLength={bytes}"), "nothing; set the link's `header`");
    }
    for node in root.children().filter(Node::is_element) {
        let number = reader.id(node)?;
        match number {
            0 => {
                let facts = reader.facts(node, "MTI");
                mti = facts.as_ref().map_or(Code::Ascii, |facts| match facts.code {
                    Code::BcdLeft => Code::Bcd,
                    code => code,
                });
            }
            1 if elements.is_empty() => {
                if let Err(Refusal::Bitmap(code)) = jpos_classes::facts(class(node), false) {
                    bitmap = code;
                } else {
                    let (line, said) = (reader.line(node), class(node).to_owned());
                    reader.report.lose(line, "bitmap", said, "a binary bitmap");
                }
            }
            65 | 129 if matches!(jpos_classes::facts(class(node), false), Err(Refusal::Bitmap(_))) => {}
            _ => {
                let mut element = reader.element(node, &format!("DE{number}"))?;
                element.secret = Secret::of_element(number);
                if matches!(number, 35 | 36) && element.kind == Kind::N {
                    element.kind = Kind::Z;
                }
                if elements.insert(number, element).is_some() {
                    return Err(Unreadable::new(reader.line(node), format!("field {number} stands twice; keep one")));
                }
            }
        }
    }
    if elements.is_empty() {
        return Err(Unreadable::new(1, "no <isofield> in it; a spec needs at least one element"));
    }
    let charset = most_used_charset(elements.values());
    let bitmaps = if elements.keys().any(|number| *number > 128) { 3 } else { 2 };
    Ok(Model {
        name: spec_name(name.unwrap_or("jpos")),
        title: "Imported from a jPOS packager".to_owned(),
        charset,
        mti,
        bitmap,
        bitmaps,
        elements,
    })
}

struct Reader<'a, 'b> {
    document: &'a Document<'a>,
    report: &'b mut Report,
}

fn class<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("class").unwrap_or_default()
}

impl Reader<'_, '_> {
    fn line(&self, node: Node<'_, '_>) -> usize {
        self.document.text_pos_at(node.range().start).row as usize
    }

    fn id(&self, node: Node<'_, '_>) -> Result<u16, Unreadable> {
        let line = self.line(node);
        let text = node.attribute("id").ok_or_else(|| Unreadable::new(line, "a field without `id`; give it one"))?;
        text.trim().parse().map_err(|_| Unreadable::new(line, format!("id `{text}` is not a field number")))
    }

    fn attribute_length(&self, node: Node<'_, '_>) -> Result<u32, Unreadable> {
        let text = node.attribute("length").unwrap_or_default();
        text.trim().parse().map_err(|_| Unreadable::new(self.line(node), format!("length `{text}` is not a number")))
    }

    /// What the class of a field says; a class that says nothing usable is reported and stands for text.
    fn facts(&mut self, node: Node<'_, '_>, place: &str) -> Option<Facts> {
        let left = node.attribute("pad").is_some_and(|pad| pad.eq_ignore_ascii_case("true"));
        match jpos_classes::facts(class(node), left) {
            Ok(facts) => Some(facts),
            Err(refusal) => {
                let (line, class) = (self.line(node), class(node).to_owned());
                let (why, instead) = match refusal {
                    Refusal::Unknown => ("a class that jPOS's naming does not explain", "fixed text of its length"),
                    Refusal::Bitmap(_) => ("a bitmap in this place", "fixed bytes of its length"),
                    Refusal::LengthBeforeTag => ("its length stands before the tag", "it is left out"),
                    Refusal::Filled(_) => return None,
                };
                self.report.lose(line, place, format!("{class} ({why})"), instead);
                None
            }
        }
    }

    fn element(&mut self, node: Node<'_, '_>, place: &str) -> Result<Element, Unreadable> {
        if super::too_deep(place) {
            return Err(Unreadable::new(self.line(node), format!("{place} stands too deep; no spec needs that")));
        }
        let max = self.attribute_length(node)?;
        let name = node.attribute("name").unwrap_or_default().trim();
        let name = if name.is_empty() { place } else { name };
        let mut element = match self.facts(node, place) {
            Some(facts) => self.plain(node, place, name, max, &facts),
            None => self.stand_in(node, place, name, max),
        };
        if let Some(class) = node.attribute("packager") {
            self.inside(node, class, place, &mut element)?;
        } else if node.tag_name().name() == "isofieldpackager" {
            self.report.lose(self.line(node), place, "isofieldpackager without `packager`", "nothing inside");
        }
        Ok(element)
    }

    fn plain(&mut self, node: Node<'_, '_>, place: &str, name: &str, max: u32, facts: &Facts) -> Element {
        let units = if facts.hex_digits { max.div_ceil(2) } else { max };
        if facts.hex_digits && max % 2 == 1 {
            let line = self.line(node);
            self.report.lose(line, place, format!("{} with an odd length", class(node)), "whole bytes with the filler");
        }
        let length = match facts.prefix {
            None => Length::Fixed(units),
            Some(prefix) => {
                let most = longest(prefix);
                if units > most {
                    let said = format!("{} with length {units}", class(node));
                    self.report.lose(self.line(node), place, said, format!("at most {most}, what its prefix can say"));
                }
                Length::Variable { max: units.min(most), prefix }
            }
        };
        let mut element = Element::new(name, facts.kind, facts.code, length);
        element.filler = facts.filler;
        element
    }

    /// Bytes for a class that cannot be carried, so that what follows still stands where it stood.
    fn stand_in(&mut self, node: Node<'_, '_>, place: &str, name: &str, max: u32) -> Element {
        let left = node.attribute("pad").is_some_and(|pad| pad.eq_ignore_ascii_case("true"));
        let Err(Refusal::Filled(facts)) = jpos_classes::facts(class(node), left) else {
            return match jpos_classes::facts(class(node), left) {
                Err(Refusal::Bitmap(code)) => Element::new(name, Kind::B, code, Length::Fixed(max)),
                _ => Element::new(name, Kind::Ans, Code::Ascii, Length::Fixed(max)),
            };
        };
        let prefix = facts.prefix.unwrap_or(Prefix {
            digits: 1,
            code: Code::Binary,
            count: Count::Characters,
            inclusive: false,
        });
        let said = format!("{} (a length before content that is always filled up)", class(node));
        let line = self.line(node);
        if prefix.code.is_text() && facts.code.is_text() {
            self.report.lose(line, place, said, "two fixed parts, the length and the filled content");
            let digits = u32::from(prefix.digits);
            let mut element = Element::new(name, Kind::Ans, facts.code, Length::Fixed(digits + max));
            element.layout = Layout::Parts(vec![
                Element::new("Length", Kind::N, prefix.code, Length::Fixed(digits)),
                Element::new("Content", facts.kind, facts.code, Length::Fixed(max)),
            ]);
            element
        } else {
            self.report.lose(line, place, said, "fixed bytes, the length among them");
            Element::new(name, Kind::B, Code::Binary, Length::Fixed(prefix_bytes(prefix) + max))
        }
    }

    fn inside(
        &mut self,
        node: Node<'_, '_>,
        class: &str,
        place: &str,
        element: &mut Element,
    ) -> Result<(), Unreadable> {
        let line = self.line(node);
        match packager(class) {
            None => self.report.lose(line, place, class, "nothing inside is described"),
            Some(Packager::Generic) => self.generic(node, place, element)?,
            Some(Packager::Ber(code)) => {
                if code != Code::Binary {
                    if let Length::Variable { max, prefix } = &mut element.length {
                        *max /= 2;
                        prefix.count = Count::Bytes;
                    } else if let Length::Fixed(units) = &mut element.length {
                        *units /= 2;
                    }
                } else if element.kind != Kind::B {
                    self.report.lose(line, place, format!("{class} in a text class"), "bytes");
                }
                element.kind = Kind::B;
                element.code = code;
                let mut subs = BTreeMap::new();
                for child in node.children().filter(Node::is_element) {
                    let Some(tag) = child.attribute("token") else {
                        let place = format!("{place}.{}", child.attribute("id").unwrap_or("?"));
                        self.report.lose(self.line(child), &place, "a field before or after the TLVs", "left out");
                        continue;
                    };
                    let tag = tag.to_ascii_uppercase();
                    let name = child.attribute("name").unwrap_or(&tag).to_owned();
                    let mut sub = Element::new(name, Kind::B, Code::Binary, Length::Open);
                    sub.secret = Secret::of_tag(&tag);
                    subs.insert(tag, sub);
                }
                element.layout = Layout::Tlv { class: None, subs };
            }
            Some(Packager::Tagged) => {
                let mapper = node.attribute("tagMapper").map(|class| class.rsplit('.').next().unwrap_or_default());
                if let Some(mapper) = mapper.filter(|mapper| !mapper.ends_with("DecimalTagMapper")) {
                    self.report.lose(line, place, format!("tagMapper {mapper}"), "decimal tags of the field numbers");
                }
                self.tagged(node, place, element)?;
            }
            Some(Packager::Euro) => self.tagged(node, place, element)?,
        }
        Ok(())
    }

    fn generic(&mut self, node: Node<'_, '_>, place: &str, element: &mut Element) -> Result<(), Unreadable> {
        let children: Vec<Node<'_, '_>> = node.children().filter(Node::is_element).collect();
        let emits = node.attribute("emitBitmap").is_none_or(|emit| emit.eq_ignore_ascii_case("true"));
        let at: u16 = node.attribute("bitmapField").and_then(|text| text.trim().parse().ok()).unwrap_or(1);
        let mut bitmap = None;
        let mut fields = BTreeMap::new();
        for child in children {
            let number = self.id(child)?;
            let place = format!("{place}.{number}");
            if emits
                && number == at
                && let Err(Refusal::Bitmap(code)) = jpos_classes::facts(class(child), false)
            {
                bitmap = Some((code, self.attribute_length(child)?));
                continue;
            }
            let sub = self.element(child, &place)?;
            fields.insert(number, sub);
        }
        element.layout = match (emits, bitmap) {
            (true, Some((bitmap, bytes))) => Layout::Bitmapped { bitmap, bytes, fields },
            (true, None) => {
                self.report.lose(self.line(node), place, "emitBitmap without a bitmap field", "nothing inside");
                Layout::Plain
            }
            (false, _) if fields.is_empty() => Layout::Plain,
            (false, _) => Layout::Parts(fields.into_values().collect()),
        };
        Ok(())
    }

    fn tagged(&mut self, node: Node<'_, '_>, place: &str, element: &mut Element) -> Result<(), Unreadable> {
        let mut class_byte = None;
        let mut shape: Option<(u8, Code, Prefix)> = None;
        let mut subs = BTreeMap::new();
        for child in node.children().filter(Node::is_element) {
            let number = self.id(child)?;
            let place = format!("{place}.{number}");
            let line = self.line(child);
            let name = child.attribute("name").unwrap_or(&place).trim().to_owned();
            if super::too_deep(&place) {
                return Err(Unreadable::new(line, format!("{place} stands too deep; no spec needs that")));
            }
            let Some(facts) = self.facts(child, &place) else { continue };
            let (Some(prefix), Some(Tag { length, code })) = (facts.prefix, facts.tag) else {
                if number == 0 && facts.prefix.is_none() && self.attribute_length(child)? == 1 {
                    class_byte = Some(("TCC".to_owned(), name));
                } else {
                    self.report.lose(line, &place, format!("{} (no tag in front)", class(child)), "left out");
                }
                continue;
            };
            let token = child.attribute("token").unwrap_or_default();
            let tag_length = length.unwrap_or(u8::try_from(token.len()).unwrap_or(u8::MAX));
            let tag = match length {
                Some(length) => format!("{number:0width$}", width = usize::from(length)),
                None => token.to_owned(),
            };
            let expected = *shape.get_or_insert((tag_length, code, prefix));
            if expected != (tag_length, code, prefix) || tag.is_empty() {
                let said = format!("{} (another tag or length than the first)", class(child));
                self.report.lose(line, &place, said, "left out");
                continue;
            }
            let mut sub = Element::new(name, facts.kind, facts.code, Length::Open);
            sub.filler = facts.filler;
            if let Some(packager) = child.attribute("packager") {
                self.inside(child, packager, &place, &mut sub)?;
            }
            subs.insert(tag, sub);
        }
        match shape {
            Some((tag_length, tag_code, length)) => {
                element.layout = Layout::Tagged(Tagged {
                    class: class_byte,
                    tag_length,
                    tag_code,
                    length,
                    skip_unknown: false,
                    subs,
                });
                if element.kind != Kind::Ans {
                    element.kind = Kind::Ans;
                    element.code = tag_code;
                    element.pad = Pad::Usual;
                }
            }
            None => {
                let said = node.attribute("packager").unwrap_or_default().to_owned();
                self.report.lose(self.line(node), place, format!("{said} without one tagged field"), "nothing inside");
            }
        }
        Ok(())
    }
}

/// The largest length that a prefix can say.
pub fn longest(prefix: Prefix) -> u32 {
    match prefix.code {
        Code::Binary | Code::HexAscii | Code::HexEbcdic => {
            256u32.checked_pow(u32::from(prefix.digits)).map_or(u32::MAX, |most| most - 1)
        }
        _ => 10u32.checked_pow(u32::from(prefix.digits)).map_or(u32::MAX, |most| most - 1),
    }
}

fn prefix_bytes(prefix: Prefix) -> u32 {
    match prefix.code {
        Code::Bcd | Code::BcdLeft => u32::from(prefix.digits).div_ceil(2),
        _ => u32::from(prefix.digits),
    }
}
