//! A message explained to people and machines: element, name, raw bytes, value. Owns masking: unless it is asked for
//! clear values, no card number, track, PIN or verification code leaves here, in whatever element it stands.

use crate::compose::composite;
use crate::draft::{Content, Item};
use crate::encode::canonical_bitmaps;
use crate::inside::{Node, element};
use crate::message::Message;
use crate::pan::mask_digits;
use crate::spec::Secret;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use std::fmt::Write;

/// How a message is described. The default masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescribeOptions {
    /// Show card numbers, tracks, PINs and verification codes as they are.
    pub clear: bool,
}

/// A message explained. Serializes as `{"spec","mti","fields":{"2":{"name","raw","value"}}}`; `bitmap` comes in when
/// the wire's bitmaps are not what the elements alone would give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Name of the spec.
    pub spec: String,
    /// The message type, four digits.
    pub mti: String,
    /// The bitmaps in hexadecimal, when they could not be told from the elements.
    pub bitmap: Option<String>,
    /// The elements, ascending.
    pub fields: Vec<(u8, DescribedElement)>,
}

/// One element explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedElement {
    /// What it is called.
    pub name: String,
    /// Its content in hexadecimal, without the length prefix; `None` when masked.
    pub raw: Option<String>,
    /// What it says.
    pub value: DescribedValue,
    /// The length prefix in hexadecimal, when it is not what the content alone would give.
    pub length: Option<String>,
}

/// What an element says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescribedValue {
    /// Only its raw bytes (JSON null).
    Opaque,
    /// Text, one character a byte.
    Text(String),
    /// The parts of a composite, in wire order.
    Items(Vec<DescribedItem>),
}

/// One part of a composite explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedItem {
    /// Its tag, part name or number; `?` for what could not be read as parts.
    pub id: String,
    /// What it is called; for `?` also why.
    pub name: String,
    /// Its data in hexadecimal; `None` when masked.
    pub raw: Option<String>,
    /// What it says.
    pub value: DescribedValue,
    /// The length's bytes in hexadecimal, when they are not what the data alone would give.
    pub length: Option<String>,
}

/// Explains a message, or what could be read of one.
pub fn describe(message: &Message, options: &DescribeOptions) -> Described {
    let nodes: Vec<(u8, Node<'_>)> = message.present().filter_map(|n| Some((n, element(message, n)?))).collect();
    let mut numbers = Vec::new();
    if !options.clear {
        nodes.iter().for_each(|(_, node)| keep_numbers(node, &mut numbers));
        numbers.sort_unstable_by_key(|number: &String| std::cmp::Reverse(number.len()));
        numbers.dedup();
    }
    let viewer = Viewer { message, clear: options.clear, numbers };
    let fields = nodes.iter().map(|(n, node)| (*n, viewer.element(*n, node))).collect();
    let kept = message.bitmaps();
    let usual = canonical_bitmaps(message.spec(), message.elements(), message.third());
    Described {
        spec: message.spec().name().to_owned(),
        mti: message.mti().to_string(),
        bitmap: (kept != usual).then(|| hex(kept)),
        fields,
    }
}

/// Takes the card numbers that stand where the spec says so; they are masked wherever else they turn up.
fn keep_numbers(node: &Node<'_>, numbers: &mut Vec<String>) {
    if matches!(node.secret, Some(Secret::Pan | Secret::Track)) {
        let text = node.text.clone().unwrap_or_else(|| hex(node.raw));
        let digits = text.trim_end_matches(['F', ' ']);
        let digits = digits.split(['=', 'D']).next().unwrap_or_default();
        if (8..=19).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            numbers.push(digits.to_owned());
        }
    }
    node.items.iter().flatten().for_each(|item| keep_numbers(item, numbers));
}

/// One description in the making.
struct Viewer<'a> {
    message: &'a Message,
    clear: bool,
    numbers: Vec<String>,
}

/// A shown leaf: raw bytes, if they may be, and value.
type Shown = (Option<String>, DescribedValue);

impl Viewer<'_> {
    fn element(&self, n: u8, node: &Node<'_>) -> DescribedElement {
        let (mut raw, mut value) = self.shown(node);
        let mut length = node.length.as_deref().map(hex);
        if let (true, DescribedValue::Items(items)) = (self.clear, &value) {
            // What is shown as parts must be writable as parts, byte for byte; else the bytes stand for themselves.
            let items: Vec<Item> = items.iter().map(written).collect();
            let spec = self.message.spec();
            let built = spec.field(n).and_then(|field| composite(spec, "", &field.layout, &field.wire, &items).ok());
            if built.is_none_or(|(bytes, _)| bytes != node.raw) {
                (raw, value) = (Some(hex(node.raw)), DescribedValue::Opaque);
            }
            let usual = spec.field(n).map(|field| {
                let wire = self.message.wire(n).unwrap_or_default();
                let prefix = wire.get(..wire.len().saturating_sub(node.raw.len())).unwrap_or_default();
                crate::inside::odd_prefix(&field.wire, prefix, node.raw, 0, false)
            });
            length = usual.flatten().as_deref().map(hex);
        } else if !self.clear {
            length = None;
        }
        DescribedElement { name: node.name.clone(), raw, value, length }
    }

    fn shown(&self, node: &Node<'_>) -> Shown {
        match &node.items {
            // A secret composite is shown by its own mask alone.
            Some(nodes) if self.clear || node.secret.is_none() => {
                let items: Vec<DescribedItem> = nodes.iter().map(|node| self.item(node)).collect();
                let hidden = items.iter().any(|item| item.raw.is_none());
                ((!hidden).then(|| hex(node.raw)), DescribedValue::Items(items))
            }
            Some(_) | None => self.leaf(node),
        }
    }

    fn item(&self, node: &Node<'_>) -> DescribedItem {
        let (raw, value) = self.shown(node);
        let length = node.length.as_deref().map(hex);
        DescribedItem { id: node.id.clone(), name: node.name.clone(), raw, value, length }
    }

    /// One leaf: text, or bytes of which only the hexadecimal form is shown.
    fn leaf(&self, node: &Node<'_>) -> Shown {
        let data = node.raw;
        let binary = node.text.is_none();
        let text = node.text.clone().unwrap_or_else(|| hex(data));
        if self.clear {
            // A star of its own in a secret text would be taken for a mask when it is read back; its bytes are not.
            let starred = node.secret.is_some() && text.contains('*') && !data.is_empty();
            let opaque = binary || starred || !node.exact;
            let value = if opaque { DescribedValue::Opaque } else { DescribedValue::Text(text) };
            return (Some(hex(data)), value);
        }
        if let Some(secret) = node.secret {
            return (None, DescribedValue::Text(mask(secret, &text)));
        }
        if self.leaks(data, &text) {
            let masked = if binary { "****".to_owned() } else { self.without_numbers(text) };
            return (None, DescribedValue::Text(masked));
        }
        (Some(hex(data)), if binary { DescribedValue::Opaque } else { DescribedValue::Text(text) })
    }

    /// Whether one of the message's card numbers stands in the data: as text of the spec, of ASCII, or packed.
    fn leaks(&self, data: &[u8], text: &str) -> bool {
        if self.numbers.is_empty() {
            return false;
        }
        let packed = hex(data);
        let spelt = self.message.spec().charset().string(data);
        self.numbers.iter().any(|number| {
            text.contains(number.as_str())
                || spelt.contains(number.as_str())
                || packed.contains(number.as_str())
                || data.windows(number.len()).any(|window| window == number.as_bytes())
        })
    }

    fn without_numbers(&self, text: String) -> String {
        let masked = self
            .numbers
            .iter()
            .fold(text.clone(), |text, number| text.replace(number, &mask_digits(number.as_bytes())));
        // Found in another writing than the shown one: then nothing of it is shown.
        if masked == text { "****".to_owned() } else { masked }
    }
}

/// A described part as one to be written.
fn written(item: &DescribedItem) -> Item {
    let bytes = |text: &Option<String>| unhex(text.as_deref().unwrap_or_default());
    let content = match &item.value {
        DescribedValue::Opaque => Content::Raw(bytes(&item.raw)),
        DescribedValue::Text(text) => Content::Text(text.clone()),
        DescribedValue::Items(items) => Content::Items(items.iter().map(written).collect()),
    };
    Item { id: item.id.clone(), content, length: item.length.as_ref().map(|text| unhex(text)) }
}

fn unhex(text: &str) -> Vec<u8> {
    // Written by `hex` a moment ago.
    crate::compose::from_hex("", text).unwrap_or_default()
}

/// The masked form of a secret's text.
fn mask(secret: Secret, text: &str) -> String {
    match secret {
        Secret::Pan => {
            let digits = text.trim_end_matches(['F', ' ']);
            let number = (8..=19).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if number { mask_digits(digits.as_bytes()) } else { "****".to_owned() }
        }
        Secret::Track => match text.split_once(['=', 'D']) {
            Some((digits, _)) if (8..=19).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
                format!("{}=****", mask_digits(digits.as_bytes()))
            }
            Some(_) | None => "****".to_owned(),
        },
        Secret::Pin | Secret::Cvc => "****".to_owned(),
    }
}

/// Upper-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02X}");
    }
    out
}

impl Described {
    /// Aligned text: one line an element or part, with number, name, value and raw bytes; no line break at the end.
    pub fn to_text(&self) -> String {
        let mut rows = Vec::new();
        for (n, element) in &self.fields {
            rows.push(Row::new(0, &format!("DE{n}"), &element.name, element.raw.as_deref(), &element.value));
            rows_of(1, &element.value, &mut rows);
        }
        let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let (heads, names) = (width(|row| row.head.chars().count()), width(|row| row.name.chars().count()));
        let values = width(|row| row.value.chars().count()).min(42);
        let mut text = format!("{} {}, {} elements", self.spec, self.mti, self.fields.len());
        for Row { head, name, value, raw } in &rows {
            let line = format!("\n{head:heads$}  {name:names$}  {value:values$}  {raw}");
            text.push_str(line.trim_end());
        }
        text
    }
}

struct Row {
    head: String,
    name: String,
    value: String,
    raw: String,
}

impl Row {
    fn new(depth: usize, id: &str, name: &str, raw: Option<&str>, value: &DescribedValue) -> Row {
        let (value, raw) = match value {
            DescribedValue::Text(text) => (shown_text(text), raw.unwrap_or("masked")),
            DescribedValue::Opaque => ("-".to_owned(), raw.unwrap_or("masked")),
            // The parts below show the bytes.
            DescribedValue::Items(_) => (String::new(), ""),
        };
        Row {
            head: format!("{:indent$}{id}", "", indent = depth * 2),
            name: name.to_owned(),
            value,
            raw: raw.to_owned(),
        }
    }
}

fn rows_of(depth: usize, value: &DescribedValue, rows: &mut Vec<Row>) {
    if let DescribedValue::Items(items) = value {
        for item in items {
            rows.push(Row::new(depth, &item.id, &item.name, item.raw.as_deref(), &item.value));
            rows_of(depth + 1, &item.value, rows);
        }
    }
}

/// Text on a terminal: quoted when blanks at its ends would not be seen, control characters never sent.
fn shown_text(text: &str) -> String {
    let shown: String = text.chars().map(|ch| if ch.is_control() { '·' } else { ch }).collect();
    if shown.starts_with(' ') || shown.ends_with(' ') || shown.is_empty() { format!("\"{shown}\"") } else { shown }
}

impl Serialize for Described {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Described", 4)?;
        out.serialize_field("spec", &self.spec)?;
        out.serialize_field("mti", &self.mti)?;
        if let Some(bitmap) = &self.bitmap {
            out.serialize_field("bitmap", bitmap)?;
        }
        out.serialize_field("fields", &Fields(&self.fields))?;
        out.end()
    }
}

struct Fields<'a>(&'a [(u8, DescribedElement)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.0.len()))?;
        for (n, element) in self.0 {
            out.serialize_entry(&n.to_string(), element)?;
        }
        out.end()
    }
}

impl Serialize for DescribedElement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("DescribedElement", 4)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("raw", &self.raw)?;
        out.serialize_field("value", &self.value)?;
        if let Some(length) = &self.length {
            out.serialize_field("length", length)?;
        }
        out.end()
    }
}

impl Serialize for DescribedItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("DescribedItem", 5)?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("raw", &self.raw)?;
        out.serialize_field("value", &self.value)?;
        if let Some(length) = &self.length {
            out.serialize_field("length", length)?;
        }
        out.end()
    }
}

impl Serialize for DescribedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            DescribedValue::Opaque => serializer.serialize_none(),
            DescribedValue::Text(text) => serializer.serialize_str(text),
            DescribedValue::Items(items) => serializer.collect_seq(items),
        }
    }
}
