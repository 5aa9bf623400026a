//! A message explained to people and machines: element, name, raw bytes, value. Owns masking: unless it is asked for
//! clear values, no card number, track, PIN or verification code leaves here, in whatever element it stands.

use crate::composite::{SubError, TlvIter};
use crate::draft::{PADDING, REST, ber_length, raw_binary};
use crate::encode::canonical_bitmaps;
use crate::message::Message;
use crate::pan::mask_digits;
use crate::spec::{FieldSpec, Kind, Layout, Part, PartLength, Secret, SubSpec};
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
    /// BER-TLV: the length's bytes in hexadecimal, when they are not the shortest form.
    pub length: Option<String>,
}

/// Explains a message, or what could be read of one.
pub fn describe(message: &Message, options: &DescribeOptions) -> Described {
    let viewer =
        Viewer { message, clear: options.clear, numbers: if options.clear { vec![] } else { numbers(message) } };
    let fields = message.present().filter_map(|n| Some((n, viewer.element(message.spec().field(n)?, message.raw(n)?))));
    let kept = message.bitmaps();
    Described {
        spec: message.spec().name().to_owned(),
        mti: message.mti().to_string(),
        bitmap: (kept != canonical_bitmaps(message.spec(), message.elements())).then(|| hex(kept)),
        fields: fields.collect(),
    }
}

/// The card numbers that a message carries where the spec says so; they are masked wherever else they turn up.
fn numbers(message: &Message) -> Vec<String> {
    let mut numbers = Vec::new();
    let mut keep = |digits: &str| {
        let digits = digits.trim_end_matches('F');
        let digits = digits.split(['=', 'D']).next().unwrap_or_default();
        if (8..=19).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            numbers.push(digits.to_owned());
        }
    };
    for n in message.present() {
        let Some(field) = message.spec().field(n) else { continue };
        if matches!(field.secret, Some(Secret::Pan | Secret::Track)) {
            keep(&message.string(n).unwrap_or_default());
        }
        if let Layout::Tlv(known) = &field.layout {
            for tlv in message.tlvs(n).map_while(Result::ok) {
                let secret = known.iter().find(|(tag, _)| *tag == tlv.tag).and_then(|(_, sub)| sub.secret);
                if matches!(secret, Some(Secret::Pan | Secret::Track)) {
                    keep(&hex(tlv.value));
                }
            }
        }
    }
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(number.len()));
    numbers.dedup();
    numbers
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
    fn element(&self, field: &FieldSpec, raw: &[u8]) -> DescribedElement {
        let items = match &field.layout {
            Layout::Plain => None,
            // A secret composite is shown by its own mask alone.
            Layout::Tagged(_) | Layout::Parts(_) | Layout::Repeat(_) | Layout::Tlv(_)
                if field.secret.is_some() && !self.clear =>
            {
                None
            }
            Layout::Tagged(layout) => {
                let mut items = Vec::new();
                let subs = self.message.subs(field.number);
                if let (Some(class), Some(letter)) = (&layout.class, subs.class()) {
                    let value = DescribedValue::Text(char::from(letter).to_string());
                    items.push(item(&class.id, &class.name, (raw.first().map(|b| hex(&[*b])), value)));
                }
                for sub in subs {
                    match sub {
                        Ok((tag, data)) => items.push(self.sub(&tag, &layout.subs, data)),
                        Err(error) => items.push(self.unread(raw, error, subs_secret(&layout.subs))),
                    }
                }
                Some(items)
            }
            Layout::Parts(parts) => Some(self.parts(field.kind, parts, raw)),
            Layout::Repeat(parts) => Some(self.repeats(field.kind, parts, raw)),
            Layout::Tlv(known) => Some(self.tlvs(known, raw, 0)),
        };
        let (shown, value) = match items {
            Some(items) => {
                let hidden = items.iter().any(|item| item.raw.is_none());
                ((!hidden).then(|| hex(raw)), DescribedValue::Items(items))
            }
            None => self.leaf(raw_binary(self.message.spec(), field), field.secret, raw),
        };
        DescribedElement { name: field.name.clone(), raw: shown, value }
    }

    fn sub(&self, tag: &[u8; 2], known: &[([u8; 2], SubSpec)], data: &[u8]) -> DescribedItem {
        let id = String::from_utf8_lossy(tag);
        match known.iter().find(|(known, _)| known == tag) {
            Some((_, sub)) => item(&id, &sub.name, self.leaf(sub.kind == Kind::B, sub.secret, data)),
            None => item(&id, "Sub-element", self.leaf(false, None, data)),
        }
    }

    /// What is left where the inside of a composite stops making sense. When something in there may be secret, what
    /// cannot be read may be it.
    fn unread(&self, raw: &[u8], error: SubError, secrets: bool) -> DescribedItem {
        let rest = raw.get(error.offset..).unwrap_or_default();
        let shown = self.leaf(true, secrets.then_some(Secret::Pin), rest);
        item(REST, &format!("Unreadable: {error}"), shown)
    }

    fn parts(&self, kind: Kind, parts: &[Part], raw: &[u8]) -> Vec<DescribedItem> {
        let mut items = Vec::with_capacity(parts.len());
        let mut rest = raw;
        for part in parts {
            if rest.is_empty() {
                break;
            }
            let len = match part.length {
                PartLength::Fixed(len) => usize::from(len).min(rest.len()),
                PartLength::Rest => rest.len(),
            };
            let (data, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            items.push(item(&part.name, &part.title, self.leaf(kind == Kind::B, None, data)));
            rest = behind;
        }
        if !rest.is_empty() {
            items.push(item(REST, "Unreadable: longer than its parts", self.leaf(true, None, rest)));
        }
        items
    }

    fn repeats(&self, kind: Kind, parts: &[Part], raw: &[u8]) -> Vec<DescribedItem> {
        let size: usize = parts
            .iter()
            .map(|part| match part.length {
                PartLength::Fixed(len) => usize::from(len),
                PartLength::Rest => 0,
            })
            .sum();
        raw.chunks(size.max(1))
            .enumerate()
            .map(|(at, chunk)| {
                let inner = self.parts(kind, parts, chunk);
                let hidden = inner.iter().any(|item| item.raw.is_none());
                let raw = (!hidden).then(|| hex(chunk));
                item(&(at + 1).to_string(), "Repetition", (raw, DescribedValue::Items(inner)))
            })
            .collect()
    }

    fn tlvs(&self, known: &[(u32, SubSpec)], raw: &[u8], depth: u8) -> Vec<DescribedItem> {
        let mut items = Vec::new();
        let mut tlvs = TlvIter::new(raw);
        loop {
            for _ in 0..tlvs.skip_padding() {
                items.push(item(PADDING, "Padding", (Some(PADDING.to_owned()), DescribedValue::Opaque)));
            }
            let tlv = match tlvs.next() {
                Some(Ok(tlv)) => tlv,
                Some(Err(error)) => {
                    items.push(self.unread(raw, error, true));
                    break;
                }
                None => break,
            };
            let sub = known.iter().find(|(tag, _)| *tag == tlv.tag).map(|(_, sub)| sub);
            let secret = sub.and_then(|sub| sub.secret);
            let shown = if tlv.is_constructed() && !tlv.value.is_empty() && depth < 4 && secret.is_none() {
                let inner = self.tlvs(known, tlv.value, depth + 1);
                let hidden = inner.iter().any(|item| item.raw.is_none());
                ((!hidden).then(|| hex(tlv.value)), DescribedValue::Items(inner))
            } else if tlv.is_constructed() && depth >= 4 {
                self.leaf(true, Some(Secret::Pin), tlv.value)
            } else {
                self.leaf(true, secret, tlv.value)
            };
            let name = sub.map_or("EMV data object", |sub| &sub.name);
            let mut item = item(&format!("{:02X}", tlv.tag), name, shown);
            item.length = (tlv.length != ber_length(tlv.value.len())).then(|| hex(tlv.length));
            items.push(item);
        }
        items
    }

    /// One leaf: text, or bytes of which only the hexadecimal form is shown.
    fn leaf(&self, binary: bool, secret: Option<Secret>, data: &[u8]) -> Shown {
        let text = if binary { hex(data) } else { self.message.spec().charset().string(data) };
        if self.clear {
            // A star of its own in a secret text would be taken for a mask when it is read back; its bytes are not.
            let opaque = binary || (secret.is_some() && text.contains('*'));
            let value = if opaque { DescribedValue::Opaque } else { DescribedValue::Text(text) };
            return (Some(hex(data)), value);
        }
        if let Some(secret) = secret {
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

fn subs_secret(known: &[([u8; 2], SubSpec)]) -> bool {
    known.iter().any(|(_, sub)| sub.secret.is_some())
}

fn item(id: &str, name: &str, (raw, value): Shown) -> DescribedItem {
    DescribedItem { id: id.to_owned(), name: name.to_owned(), raw, value, length: None }
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
        let mut out = serializer.serialize_struct("DescribedElement", 3)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("raw", &self.raw)?;
        out.serialize_field("value", &self.value)?;
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
