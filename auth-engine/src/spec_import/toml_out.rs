//! The neutral model as the text of one of our spec files (docs/spec-format.md). It must never leave out a key whose
//! default is another than what the model says.

use super::model::{Code, Count, Element, Kind, Layout, Length, Model, Pad, Prefix, Tagged, slug};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The text of a spec file. `origin` becomes its first comment.
pub fn spec_text(model: &Model, origin: &str) -> String {
    let mut text = format!("# {}\n", origin.replace(['\n', '\r'], " "));
    let mut head = vec![
        ("name", quoted(&model.name)),
        ("title", quoted(&model.title)),
        ("charset", quoted(model.charset.word())),
        ("bitmap", quoted(model.bitmap.word())),
    ];
    if model.mti != model.charset {
        head.push(("mti", quoted(model.mti.word())));
    }
    if model.bitmaps == 3 {
        head.push(("bitmaps", "3".to_owned()));
    }
    for (key, value) in head {
        let _ = writeln!(text, "{key} = {value}");
    }
    text.push_str("\n[fields]\n");
    for (number, element) in &model.elements {
        if matches!(element.layout, Layout::Plain) {
            let _ = writeln!(text, "{number} = {}", inline(&keys(element, model.charset, Place::Element)));
        }
    }
    for (number, element) in &model.elements {
        if !matches!(element.layout, Layout::Plain) {
            section(&mut text, &format!("fields.{number}"), element, model.charset);
        }
    }
    text
}

/// Where an element stands: it says which keys it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Element,
    Part,
    Sub,
}

fn section(text: &mut String, path: &str, element: &Element, charset: Code) {
    let _ = writeln!(text, "\n[{path}]");
    for (key, value) in keys_without_layout(element, charset, Place::Element) {
        let _ = writeln!(text, "{key} = {value}");
    }
    for (key, value) in layout_keys(element, charset) {
        let _ = writeln!(text, "{key} = {value}");
    }
    match &element.layout {
        Layout::Tagged(tagged) => {
            let _ = writeln!(text, "[{path}.tagged]");
            for (key, value) in tagged_keys(tagged, charset) {
                let _ = writeln!(text, "{key} = {value}");
            }
            let _ = writeln!(text, "[{path}.tagged.subs]");
            for (tag, sub) in &tagged.subs {
                let _ = writeln!(text, "{} = {}", quoted(tag), inline(&keys(sub, charset, Place::Sub)));
            }
        }
        Layout::Tlv { subs, .. } => {
            let _ = writeln!(text, "[{path}.tlv]");
            for (tag, sub) in subs {
                let _ = writeln!(text, "{} = {}", quoted(tag), inline(&keys(sub, charset, Place::Sub)));
            }
        }
        Layout::Bitmapped { bitmap, bytes, fields } => {
            let _ = writeln!(text, "[{path}.bitmapped]\nbitmap = {}\nbytes = {bytes}", quoted(bitmap.word()));
            let _ = writeln!(text, "[{path}.bitmapped.fields]");
            for (number, sub) in fields {
                let _ = writeln!(text, "{number} = {}", inline(&keys(sub, charset, Place::Element)));
            }
        }
        Layout::Plain | Layout::Parts(_) | Layout::Repeat(_) | Layout::Datasets => {}
    }
}

type Keys = Vec<(&'static str, String)>;

fn keys(element: &Element, charset: Code, place: Place) -> Keys {
    let mut keys = keys_without_layout(element, charset, place);
    keys.extend(layout_keys(element, charset));
    match &element.layout {
        Layout::Tagged(tagged) => {
            let mut inner = tagged_keys(tagged, charset);
            let subs: Vec<String> = tagged
                .subs
                .iter()
                .map(|(tag, sub)| format!("{} = {}", quoted(tag), inline(&self::keys(sub, charset, Place::Sub))))
                .collect();
            inner.push(("subs", format!("{{ {} }}", subs.join(", "))));
            keys.push(("tagged", inline(&inner)));
        }
        Layout::Tlv { subs, .. } => {
            let subs: Vec<String> = subs
                .iter()
                .map(|(tag, sub)| format!("{} = {}", quoted(tag), inline(&self::keys(sub, charset, Place::Sub))))
                .collect();
            keys.push(("tlv", format!("{{ {} }}", subs.join(", "))));
        }
        Layout::Bitmapped { bitmap, bytes, fields } => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(number, sub)| format!("{number} = {}", inline(&self::keys(sub, charset, Place::Element))))
                .collect();
            let inner = vec![
                ("bitmap", quoted(bitmap.word())),
                ("bytes", bytes.to_string()),
                ("fields", format!("{{ {} }}", fields.join(", "))),
            ];
            keys.push(("bitmapped", inline(&inner)));
        }
        Layout::Plain | Layout::Parts(_) | Layout::Repeat(_) | Layout::Datasets => {}
    }
    keys
}

fn keys_without_layout(element: &Element, charset: Code, place: Place) -> Keys {
    let mut keys = match place {
        Place::Element | Place::Sub => vec![("name", quoted(&element.name))],
        Place::Part => vec![("title", quoted(&element.name))],
    };
    let code = match element.kind {
        Kind::B => Code::Binary,
        Kind::A | Kind::N | Kind::An | Kind::Ans | Kind::Z | Kind::Xn => charset,
    };
    keys.push(("kind", quoted(element.kind.word())));
    match element.length {
        Length::Fixed(units) => keys.push(("length", units.to_string())),
        Length::Rest => keys.push(("length", quoted("rest"))),
        Length::Open => {}
        Length::Variable { max, prefix } => {
            keys.push(("length", quoted(&format!("{}{max}", ".".repeat(usize::from(prefix.digits))))));
            if prefix.code != charset {
                // A hexadecimal prefix has one word: it is written in the file's character set.
                let word = if prefix.code == Code::HexAscii { "hex" } else { prefix.code.word() };
                keys.push(("prefix", quoted(word)));
            }
            keys.extend(count_keys(prefix));
        }
    }
    if element.code != code {
        keys.push(("encoding", quoted(element.code.word())));
    }
    if let Some(filler) = element.filler {
        keys.push(("filler", quoted(&filler.to_string())));
    }
    match element.pad {
        Pad::Usual => {}
        Pad::None => keys.push(("pad", quoted("none"))),
        Pad::Left(c) => keys.push(("pad", quoted(&format!("left:{c}")))),
        Pad::Right(c) => keys.push(("pad", quoted(&format!("right:{c}")))),
    }
    if element.lenient {
        keys.push(("lenient", "true".to_owned()));
    }
    if let Some(secret) = element.secret {
        keys.push(("secret", quoted(secret.word())));
    }
    keys
}

/// Layouts that are a value of one key, in an inline table and in a section alike.
fn layout_keys(element: &Element, charset: Code) -> Keys {
    match &element.layout {
        Layout::Parts(parts) => vec![("parts", list(parts, charset))],
        Layout::Repeat(parts) => vec![("repeat", list(parts, charset))],
        Layout::Tlv { class: Some(class), .. } => vec![("tlv_class", class_table(class))],
        Layout::Plain | Layout::Tagged(_) | Layout::Tlv { .. } | Layout::Bitmapped { .. } | Layout::Datasets => {
            Vec::new()
        }
    }
}

/// Parts have names of their own, made of their titles and told apart by a number where two are alike.
fn list(parts: &[Element], charset: Code) -> String {
    let mut taken = BTreeSet::new();
    let lines: Vec<String> = parts
        .iter()
        .map(|part| {
            let base = match slug(&part.name) {
                empty if empty.is_empty() => "part".to_owned(),
                name => name,
            };
            let mut name = base.clone();
            let mut next = 2;
            while !taken.insert(name.clone()) {
                name = format!("{base}_{next}");
                next += 1;
            }
            let mut all = vec![("name", quoted(&name))];
            all.extend(keys(part, charset, Place::Part));
            format!("    {},\n", inline(&all))
        })
        .collect();
    format!("[\n{}]", lines.concat())
}

fn tagged_keys(tagged: &Tagged, charset: Code) -> Keys {
    let mut keys = Vec::new();
    if let Some(class) = &tagged.class {
        keys.push(("class", class_table(class)));
    }
    let tag = vec![("length", tagged.tag_length.to_string()), ("encoding", quoted(tagged.tag_code.word()))];
    keys.push(("tag", inline(&tag)));
    let mut length = vec![("digits", tagged.length.digits.to_string())];
    let word =
        if tagged.length.code == Code::HexAscii && charset == Code::Ascii { "hex" } else { tagged.length.code.word() };
    length.push(("encoding", quoted(word)));
    length.extend(count_keys(tagged.length));
    keys.push(("length", inline(&length)));
    if tagged.skip_unknown {
        keys.push(("skip_unknown", "true".to_owned()));
    }
    keys
}

fn count_keys(prefix: Prefix) -> Keys {
    let mut keys = Vec::new();
    match prefix.count {
        Count::Characters => {}
        Count::Bytes => keys.push(("count", quoted("bytes"))),
        Count::Nibbles => keys.push(("count", quoted("nibbles"))),
    }
    if prefix.inclusive {
        keys.push(("inclusive", "true".to_owned()));
    }
    keys
}

fn class_table((id, name): &(String, String)) -> String {
    inline(&vec![("id", quoted(id)), ("name", quoted(name))])
}

fn inline(keys: &Keys) -> String {
    let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
