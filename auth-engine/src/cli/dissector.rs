//! `auth-engine spec dissector`: a Wireshark dissector in Lua, made from a spec. It must never show what `decode` masks.

use std::fmt::Write as _;

use iso_codec::{
    BitmapForm, Charset, Count, Encoding, FieldSpec, Form, Framing, Kind, Layout, Length, MtiForm, PartLength, Prefix,
    Secret, Spec, SubSpec, Width,
};

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
    let hex = spec.bitmap_form() == BitmapForm::Hex;
    let mti = match spec.mti_form() {
        MtiForm::Text(set) => set.name(),
        MtiForm::Bcd => "bcd",
    };
    // Writing into a string does not fail.
    let _ = writeln!(out, "{{ name = {}, set = {},", quoted(spec.name()), quoted(spec.charset().name()));
    let _ = writeln!(out, "  mti = {}, hex_bitmap = {hex},", quoted(mti));
    let _ =
        writeln!(out, "  bitmap_set = {}, third = {},", quoted(spec.bitmap_charset().name()), spec.has_third_bitmap());
    let _ = writeln!(out, "  sets = {{");
    for set in sets(spec) {
        let latin1: Vec<String> = (0..=255).map(|byte| set.to_latin1(byte).to_string()).collect();
        let _ = writeln!(out, "    [{}] = {{ {} }},", quoted(set.name()), latin1.join(", "));
    }
    let _ = writeln!(out, "  }},\n  elements = {{");
    for field in spec.fields() {
        let _ = writeln!(out, "    [{}] = {{ {} }},", field.number, element(field));
    }
    out.push_str("  },\n}");
    out
}

/// The character sets that the spec uses.
fn sets(spec: &Spec) -> Vec<Charset> {
    let mut sets = vec![spec.charset(), spec.bitmap_charset()];
    if let MtiForm::Text(set) = spec.mti_form() {
        sets.push(set);
    }
    for field in spec.fields() {
        if let Encoding::Text(set) | Encoding::Hex(set) = field.wire.encoding {
            sets.push(set);
        }
        if let Prefix::Text(set) | Prefix::Hex(set) = field.wire.prefix {
            sets.push(set);
        }
    }
    let mut found: Vec<Charset> = Vec::new();
    for set in sets {
        if !found.contains(&set) {
            found.push(set);
        }
    }
    found
}

fn element(field: &FieldSpec) -> String {
    let Form { encoding, prefix, count, inclusive, .. } = field.wire;
    let mut text = format!("name = {}", quoted(&field.name));
    match field.length {
        Length::Fixed(units) => {
            let _ = write!(text, ", prefix = 0, units = {units}");
        }
        Length::Variable { digits, .. } => {
            let digits = usize::from(digits);
            let (form, size, set) = match prefix {
                Prefix::Text(set) => ("text", digits, Some(set)),
                Prefix::Bcd => ("bcd", digits.div_ceil(2), None),
                Prefix::Binary => ("binary", digits, None),
                Prefix::Hex(set) => ("hex", 2 * digits, Some(set)),
            };
            let _ = write!(text, ", prefix = {size}, pform = {}", quoted(form));
            if let Some(set) = set {
                let _ = write!(text, ", pset = {}", quoted(set.name()));
            }
            let counted = match count {
                Count::Characters => "characters",
                Count::Bytes => "bytes",
                Count::Nibbles => "nibbles",
            };
            let _ = write!(text, ", count = {}, inclusive = {inclusive}", quoted(counted));
        }
    }
    let (form, set) = match encoding {
        Encoding::Text(set) => ("text", Some(set)),
        Encoding::Bcd { left: true, .. } => ("bcd-left", None),
        Encoding::Bcd { left: false, .. } => ("bcd", None),
        Encoding::Binary => ("binary", None),
        Encoding::Hex(set) => ("hex", Some(set)),
    };
    let _ = write!(text, ", enc = {}", quoted(form));
    if let Some(set) = set {
        let _ = write!(text, ", set = {}", quoted(set.name()));
    }
    if field.kind == Kind::Xn {
        text.push_str(", signed = true");
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
