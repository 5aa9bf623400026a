//! `auth-engine spec dissector`: a Wireshark dissector in Lua, made from a spec. It must never show what `decode` masks.

use std::fmt::Write as _;

use iso_codec::{BitmapForm, FieldSpec, Framing, Kind, Layout, Length, PartLength, Secret, Spec, SubSpec, Width};

const TEMPLATE: &str = include_str!("dissector.lua");

/// The dissector's text.
pub(super) fn lua(spec: &Spec, framing: Framing, port: u16) -> String {
    let width = match framing.width {
        Width::Len2Be => 1,
        Width::Len2Le => 2,
        Width::Len4Be => 3,
        Width::Len4Ascii => 4,
    };
    let proto = format!("iso8583_{}", spec.name().replace('-', "_"));
    TEMPLATE
        .replace("@SPEC@", &table(spec))
        .replace("@NAME@", spec.name())
        .replace("@PROTO@", &proto)
        .replace("@PORT@", &port.to_string())
        .replace("@WIDTH@", &width.to_string())
        .replace("@INCLUSIVE@", if framing.inclusive { "true" } else { "false" })
        .replace("@HEADER@", &framing.header_bytes.to_string())
}

/// The spec as a Lua table.
fn table(spec: &Spec) -> String {
    let mut out = String::new();
    let latin1: Vec<String> = (0..=255).map(|byte| spec.charset().to_latin1(byte).to_string()).collect();
    let hex = spec.bitmap_form() == BitmapForm::Hex;
    // Writing into a string does not fail.
    let _ = writeln!(out, "{{ name = {}, hex_bitmap = {hex},", quoted(spec.name()));
    let _ = writeln!(out, "  latin1 = {{ {} }},", latin1.join(", "));
    let _ = writeln!(out, "  elements = {{");
    for field in spec.fields() {
        let _ = writeln!(out, "    [{}] = {{ {} }},", field.number, element(spec, field));
    }
    out.push_str("  },\n}");
    out
}

fn element(spec: &Spec, field: &FieldSpec) -> String {
    let len = spec.wire_size(field.number).unwrap_or_default();
    let (prefix, longest) = match field.length {
        Length::Fixed(longest) => (0, longest),
        Length::Variable { digits, max } => (digits, max),
    };
    let mut text = format!("name = {}, prefix = {prefix}, len = {len}", quoted(&field.name));
    // Binary elements that are written as hexadecimal characters are text on the wire.
    if field.kind == Kind::B && len == usize::from(longest) {
        text.push_str(", binary = true");
    }
    text.push_str(&secret(field.secret));
    match &field.layout {
        Layout::Plain | Layout::Repeat(_) | Layout::Datasets(_) | Layout::Bitmapped(_) => {}
        Layout::Tagged(layout) if !layout.has_short_tags() => {}
        Layout::Parts(parts) if parts.iter().any(|part| part.form.is_some()) => {}
        Layout::Tagged(layout) => {
            if let Some(class) = &layout.class {
                let _ = write!(text, ", class = {}", quoted(&class.id));
            }
            let subs = layout.subs.iter().map(|(tag, sub)| (tag.clone(), sub));
            let _ = write!(text, ", subs = {{ {} }}", named(subs));
        }
        Layout::Parts(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| {
                    let len = match part.length {
                        PartLength::Fixed(len) | PartLength::Variable { max: len, .. } => len,
                        PartLength::Rest => 0,
                    };
                    format!("{{ name = {}, len = {len} }}", quoted(&part.title))
                })
                .collect();
            let _ = write!(text, ", parts = {{ {} }}", parts.join(", "));
        }
        Layout::Tlv(layout) if layout.class.is_some() => {}
        Layout::Tlv(layout) => {
            let tags = layout.subs.iter().map(|(tag, sub)| (format!("{tag:02X}"), sub));
            let _ = write!(text, ", tlv = {{ {} }}", named(tags));
        }
    }
    text
}

fn named<'a>(subs: impl Iterator<Item = (String, &'a SubSpec)>) -> String {
    let mut text = String::new();
    for (tag, sub) in subs {
        let binary = if sub.kind == Kind::B { ", binary = true" } else { "" };
        let _ = write!(text, "[{}] = {{ name = {}{binary}{} }}, ", quoted(&tag), quoted(&sub.name), secret(sub.secret));
    }
    text
}

fn secret(secret: Option<Secret>) -> String {
    match secret {
        None => String::new(),
        Some(Secret::Pan) => ", secret = \"pan\"".to_owned(),
        Some(Secret::Track) => ", secret = \"track\"".to_owned(),
        Some(Secret::Pin | Secret::Cvc) => ", secret = \"hidden\"".to_owned(),
    }
}

/// A Lua string: a spec's names come from a file.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' | '\\' => {
                out.push('\\');
                out.push(ch);
            }
            ch if ch.is_control() => out.push(' '),
            ch => out.push(ch),
        }
    }
    out.push('"');
    out
}
