//! Specs of others: jPOS packagers, moov JSON and iso8583_rs YAML into our form, and ours back into the first two.
//! Everything goes through one neutral model (`model`); what cannot be carried is reported line by line (`report`). It
//! must never decide what a spec means to the codec: what comes out is the text of a file.

pub mod iso8583_rs;
pub mod jpos;
pub mod jpos_classes;
pub mod jpos_out;
pub mod model;
pub mod moov;
pub mod moov_out;
pub mod report;
pub mod toml_in;
pub mod toml_out;

use model::{Code, Element, Kind, Layout, Length, Model};
use report::{Loss, Report, Unreadable};
use std::collections::BTreeMap;

/// How deep composites stand in composites at most: twice what any spec has, and no stack's end.
const DEEPEST: usize = 8;

/// Whether a place such as `DE48.1.2` stands deeper than any spec needs.
fn too_deep(place: &str) -> bool {
    place.matches('.').count() > DEEPEST
}

/// A form that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// A jPOS GenericPackager file (XML).
    Jpos,
    /// A moov-io/iso8583 spec (JSON).
    Moov,
    /// A spec of the crate iso8583_rs (YAML).
    #[value(name = "iso8583-rs")]
    Iso8583Rs,
}

/// A form that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// A jPOS GenericPackager file (XML).
    Jpos,
    /// A moov-io/iso8583 spec (JSON).
    Moov,
}

/// What came of a conversion: the text, and what it lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The file in the other form.
    pub text: String,
    /// What it does not carry.
    pub losses: Vec<Loss>,
}

/// The form that a text seems to be in, by its first character that is not blank.
pub fn guess(text: &str) -> Source {
    match text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).chars().next() {
        Some('<') => Source::Jpos,
        Some('{') => Source::Moov,
        _ => Source::Iso8583Rs,
    }
}

/// A foreign spec as the text of one of our spec files.
///
/// # Errors
/// Where and why it cannot be read.
pub fn import(text: &str, source: Source, name: Option<&str>) -> Result<Converted, Unreadable> {
    let mut report = Report::default();
    let (model, origin) = match source {
        Source::Jpos => (jpos::import(text, name, &mut report)?, "Imported from a jPOS packager."),
        Source::Moov => (moov::import(text, name, &mut report)?, "Imported from a moov spec."),
        Source::Iso8583Rs => (iso8583_rs::import(text, name, &mut report)?, "Imported from an iso8583_rs spec."),
    };
    for (number, element) in &model.elements {
        foreign_hex(&model, element, &format!("DE{number}"), &mut report);
    }
    Ok(Converted { text: toml_out::spec_text(&model, origin), losses: report.into_losses() })
}

/// Our form has one word for a hexadecimal length, in the file's character set.
fn foreign_hex(model: &Model, element: &Element, place: &str, report: &mut Report) {
    if let Length::Variable { prefix, .. } = element.length
        && prefix.code == Code::HexAscii
        && model.charset != Code::Ascii
    {
        report.lose(0, place, "a length in ASCII hexadecimal in an EBCDIC spec", "a length in EBCDIC hexadecimal");
    }
}

/// One of our spec files in a foreign form.
///
/// # Errors
/// Where and why it cannot be read.
pub fn export(text: &str, target: Target) -> Result<Converted, Unreadable> {
    let (mut model, lines) = toml_in::read(text)?;
    let mut report = Report::default();
    for (number, element) in &mut model.elements {
        parts_of_their_own(element, line(&lines, *number), &format!("DE{number}"), &mut report);
    }
    let text = match target {
        Target::Jpos => jpos_out::packager_text(&model, &lines, &mut report),
        Target::Moov => moov_out::spec_text(&model, &lines, &mut report),
    };
    Ok(Converted { text, losses: report.into_losses() })
}

/// The others write each part by itself: packed digits become bytes around packed parts, and a part that takes the rest
/// as much as is left for it at most.
fn parts_of_their_own(element: &mut Element, line: usize, place: &str, report: &mut Report) {
    let Layout::Parts(parts) = &mut element.layout else { return };
    let units = |part: &Element| if let Length::Fixed(units) = part.length { units } else { 0 };
    let sum: u32 = parts.iter().map(units).sum();
    let most = match element.length {
        Length::Fixed(most) | Length::Variable { max: most, .. } => most,
        Length::Rest | Length::Open => return,
    };
    if let Some(last) = parts.last_mut().filter(|part| part.length == Length::Rest) {
        report.lose(line, place, "a part that takes the rest", format!("a fixed one of {}", most.saturating_sub(sum)));
        last.length = Length::Fixed(most.saturating_sub(sum).max(1));
    }
    if !matches!(element.code, Code::Bcd | Code::BcdLeft) {
        return;
    }
    let even = matches!(element.length, Length::Fixed(_)) && most.is_multiple_of(2);
    if even && parts.iter().all(|part| units(part).is_multiple_of(2)) {
        element.kind = Kind::B;
        element.code = Code::Binary;
        element.length = Length::Fixed(most / 2);
    } else {
        report.lose(line, place, "parts that begin in the middle of a byte", "plain digits");
        element.layout = Layout::Plain;
    }
}

/// What every export leaves out: masks that the standard does not imply, checks that are switched off, datasets, a class
/// byte in front of TLVs.
fn unexported(element: &Element, number: Option<u16>, line: usize, place: &str, report: &mut Report) {
    let implied = number.and_then(model::Secret::of_element);
    if element.secret.is_some() && element.secret != implied {
        let word = element.secret.map_or("", model::Secret::word);
        report.lose(line, place, format!("secret = {word:?}"), "nothing; the other side masks by itself or not at all");
    }
    if element.lenient {
        report.lose(line, place, "lenient = true", "nothing; the other side checks as it does");
    }
    match &element.layout {
        Layout::Datasets => report.lose(line, place, "datasets (ISO 8583:2023)", "plain bytes"),
        Layout::Repeat(_) => report.lose(line, place, "repeat", "plain content"),
        Layout::Tlv { class: Some(_), .. } => report.lose(line, place, "tlv_class", "plain bytes"),
        Layout::Plain | Layout::Parts(_) | Layout::Tagged(_) | Layout::Tlv { .. } | Layout::Bitmapped { .. } => {}
    }
}

/// The line of an element, that of its section.
fn line(lines: &BTreeMap<u16, usize>, number: u16) -> usize {
    lines.get(&number).copied().unwrap_or(0)
}
