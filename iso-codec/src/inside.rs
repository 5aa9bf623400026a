//! The tree of what is inside an element, for descriptions and masks. Owns how each layout is taken apart, forgivingly:
//! what cannot be read is kept as it is, under the id `?`. Never on the path; that reads lazily (`composite.rs`).

use crate::compose::{BITMAP, PADDING, REST, ber_length};
use crate::composite::{SubError, SubFault, TlvIter};
use crate::form::{Count, Encoding, Form, Padding};
use crate::prefix::Prefix;
use crate::spec::{
    BitmappedLayout, ClassSpec, DatasetSpec, Kind, Layout, Part, PartLength, Secret, Spec, SubSpec, TaggedLayout,
};
use crate::tags::TaggedIter;

/// One element or part.
pub(crate) struct Node<'a> {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its bytes on the wire; empty where it has none of its own.
    pub(crate) raw: &'a [u8],
    /// Its text; `None` for bytes of which only the hexadecimal form is shown.
    pub(crate) text: Option<String>,
    /// Whether writing the text gives these bytes and no others.
    pub(crate) exact: bool,
    pub(crate) secret: Option<Secret>,
    /// What it is made of.
    pub(crate) items: Option<Vec<Node<'a>>>,
    /// Its length's bytes, when they are not what its content alone would give.
    pub(crate) length: Option<Vec<u8>>,
}

/// How deep TLVs are taken apart.
const DEEPEST: u8 = 5;

impl<'a> Node<'a> {
    fn bytes(id: &str, name: &str, raw: &'a [u8], secret: Option<Secret>) -> Node<'a> {
        let (id, name) = (id.to_owned(), name.to_owned());
        Node { id, name, raw, text: None, exact: true, secret, items: None, length: None }
    }

    /// A content written in a form, with what is inside.
    fn of(
        id: &str,
        name: &str,
        content: Content<'_, 'a>,
        secret: Option<Secret>,
        layout: &'a Layout,
        spec: &'a Spec,
    ) -> Node<'a> {
        let Content { form, raw, units } = content;
        let mut node = Node::bytes(id, name, raw, secret);
        let binary = form.kind == Kind::B && form.encoding == Encoding::Binary;
        if !binary {
            let text = form.string(raw, units);
            node.exact = rewrites(form, &text, raw, units);
            node.text = Some(text);
        }
        node.items = inside(spec, layout, form, raw, units, 0);
        node
    }
}

/// Bytes, the form they are in, and how many characters, digits or bytes they are.
#[derive(Clone, Copy)]
struct Content<'f, 'a> {
    form: &'f Form,
    raw: &'a [u8],
    units: usize,
}

fn rewrites(form: &Form, text: &str, raw: &[u8], units: usize) -> bool {
    let latin1: Vec<u8> = text.chars().map(|ch| u8::try_from(u32::from(ch)).unwrap_or(b'?')).collect();
    let mut out = Vec::new();
    // What is inside sub-elements is not checked when it is read, nor when it is written back.
    let form = Form { lenient: true, ..*form };
    form.write(&latin1, &mut out) == Ok(units) && out == raw
}

/// The bytes of a content's length when they are not what the content alone would give.
pub(crate) fn odd_prefix(form: &Form, prefix: &[u8], content: &[u8], units: usize, as_text: bool) -> Option<Vec<u8>> {
    let mut usual = Vec::new();
    let units = if as_text { units } else { form.units_of(content) };
    form.write_prefix(units, content.len(), &mut usual);
    (usual != prefix).then(|| prefix.to_vec())
}

/// An element of a message with all that is inside.
pub(crate) fn element<'a>(message: &'a crate::Message, n: u8) -> Option<Node<'a>> {
    let spec = message.spec();
    let field = spec.field(n)?;
    let raw = message.raw(n)?;
    let (form, units) = message.rare(n).unwrap_or((&field.wire, field.wire.units_of(raw)));
    let content = Content { form, raw, units };
    let mut node = Node::of("", &field.name, content, field.secret, &field.layout, spec);
    let wire = message.wire(n)?;
    let prefix = wire.get(..wire.len() - raw.len())?;
    let as_text = node.text.is_some() && node.exact;
    node.length = odd_prefix(form, prefix, raw, units, as_text);
    Some(node)
}

fn inside<'a>(
    spec: &'a Spec,
    layout: &'a Layout,
    form: &Form,
    raw: &'a [u8],
    units: usize,
    depth: u8,
) -> Option<Vec<Node<'a>>> {
    match layout {
        Layout::Plain => None,
        Layout::Tagged(layout) => Some(tagged(spec, layout, raw)),
        Layout::Parts(parts) => {
            let mut items = Vec::new();
            let end = if parts.iter().any(|part| part.form.is_some()) { raw.len() } else { units };
            whole(spec, parts, Content { form, raw, units }, 0, end, &mut items);
            Some(items)
        }
        Layout::Repeat(parts) => Some(repeats(spec, parts, Content { form, raw, units })),
        Layout::Tlv(layout) => Some(tlvs(spec, layout.class.as_ref(), &layout.subs, raw, depth)),
        Layout::Datasets(known) => Some(datasets(spec, known, raw)),
        Layout::Bitmapped(layout) => Some(bitmapped(spec, layout, raw)),
    }
}

/// What is left where the inside of a composite stops making sense. When something in there may be secret, what cannot
/// be read may be it.
fn unread<'a>(raw: &'a [u8], error: SubError, secrets: bool) -> Node<'a> {
    let rest = raw.get(error.offset..).unwrap_or_default();
    Node::bytes(REST, &format!("Unreadable: {error}"), rest, secrets.then_some(Secret::Pin))
}

fn tagged<'a>(spec: &'a Spec, layout: &'a TaggedLayout, raw: &'a [u8]) -> Vec<Node<'a>> {
    let mut items = Vec::new();
    let subs = TaggedIter::new(layout, spec.charset, raw);
    if let (Some(class), Some(letter)) = (&layout.class, subs.class()) {
        let mut node = Node::bytes(&class.id, &class.name, raw.get(..1).unwrap_or_default(), None);
        node.text = Some(char::from(letter).to_string());
        items.push(node);
    }
    for sub in subs {
        match sub {
            Ok(sub) => {
                let mut node = match layout.known(sub.id().as_bytes()) {
                    Some(known) => {
                        let content = Content { form: &known.form, raw: sub.data, units: sub.units };
                        Node::of(sub.id(), &known.name, content, known.secret, &known.layout, spec)
                    }
                    None => unknown(spec, sub.id(), sub.data),
                };
                let form = layout.known(sub.id().as_bytes()).map(|known| &known.form);
                let units = match form {
                    Some(form) if !node.exact || node.text.is_none() => form.units_of(sub.data),
                    Some(_) | None => sub.units,
                };
                let mut usual = Vec::new();
                let fits = layout.length.write(form, units, sub.data.len(), &mut usual).is_ok();
                node.length = (!fits || usual != sub.length).then(|| sub.length.to_vec());
                items.push(node);
            }
            Err(error) => items.push(unread(raw, error, layout.subs.iter().any(|(_, sub)| has_secrets(sub)))),
        }
    }
    items
}

/// A sub-element of which nothing is known: shown as text of the spec.
fn unknown<'a>(spec: &Spec, id: &str, data: &'a [u8]) -> Node<'a> {
    let mut node = Node::bytes(id, "Sub-element", data, None);
    node.text = Some(spec.charset.string(data));
    node
}

fn has_secrets(sub: &SubSpec) -> bool {
    sub.secret.is_some()
        || match &sub.layout {
            Layout::Plain => false,
            Layout::Tagged(layout) => layout.subs.iter().any(|(_, sub)| has_secrets(sub)),
            Layout::Parts(parts) | Layout::Repeat(parts) => parts.iter().any(|part| part.secret.is_some()),
            Layout::Tlv(_) | Layout::Datasets(_) => true,
            Layout::Bitmapped(layout) => layout.fields.iter().any(|(_, sub)| has_secrets(sub)),
        }
}

/// Parts from the character or byte `from` on, not beyond `to`, and where they end.
fn positional<'a>(
    spec: &'a Spec,
    parts: &'a [Part],
    around: Content<'_, 'a>,
    from: usize,
    to: usize,
) -> (Vec<Node<'a>>, usize) {
    let Content { form: outer, raw, units } = around;
    let secrets = parts.iter().any(|part| part.secret.is_some());
    let mut items = Vec::with_capacity(parts.len());
    let mut at = from;
    for part in parts {
        if at >= to {
            break;
        }
        let Some(form) = &part.form else {
            let len = match part.length {
                PartLength::Fixed(len) | PartLength::Variable { max: len, .. } => usize::from(len).min(to - at),
                PartLength::Rest => to - at,
            };
            items.push(slice(&part.name, &part.title, outer, (raw, units), (at, len), part.secret));
            at += len;
            continue;
        };
        let bytes = raw.get(..to).unwrap_or(raw);
        match form.head(bytes, at) {
            Ok(head) => {
                let data = bytes.get(head.start..head.start + head.len).unwrap_or_default();
                let content = Content { form, raw: data, units: head.units };
                let mut node = Node::of(&part.name, &part.title, content, part.secret, &part.layout, spec);
                let prefix = bytes.get(at..head.start).unwrap_or_default();
                let as_text = node.text.is_some() && node.exact;
                node.length = odd_prefix(form, prefix, data, head.units, as_text);
                items.push(node);
                at = head.start + head.len;
            }
            Err(_) => {
                items.push(unread(raw, SubError { offset: at, fault: SubFault::Overrun }, secrets));
                return (items, raw.len());
            }
        }
    }
    (items, at)
}

/// So many characters of a text.
fn slice<'a>(
    id: &str,
    name: &str,
    form: &Form,
    (raw, units): (&'a [u8], usize),
    (at, len): (usize, usize),
    secret: Option<Secret>,
) -> Node<'a> {
    let own = if form.is_bytewise() { raw.get(at..at + len).unwrap_or_default() } else { &[] };
    let mut node = Node::bytes(id, name, own, secret);
    if form.kind != Kind::B {
        let text = (at..at + len).map(|at| char::from(form.char_at(raw, units, at).unwrap_or(b'?')));
        node.text = Some(text.collect());
    }
    node
}

/// Parts that take the whole content, and what is left of it behind them.
fn whole<'a>(
    spec: &'a Spec,
    parts: &'a [Part],
    around: Content<'_, 'a>,
    from: usize,
    to: usize,
    items: &mut Vec<Node<'a>>,
) {
    let (inner, end) = positional(spec, parts, around, from, to);
    items.extend(inner);
    if end < to {
        let mut rest = slice(
            REST,
            "Unreadable: longer than its parts",
            around.form,
            (around.raw, around.units),
            (end, to - end),
            None,
        );
        if around.form.is_bytewise() {
            rest.text = None;
        }
        items.push(rest);
    }
}

fn repeats<'a>(spec: &'a Spec, parts: &'a [Part], around: Content<'_, 'a>) -> Vec<Node<'a>> {
    let mut items = Vec::new();
    let own = parts.iter().any(|part| part.form.is_some());
    let end = if own { around.raw.len() } else { around.units };
    let mut at = 0usize;
    while at < end {
        let (inner, next) = positional(spec, parts, around, at, end);
        let raw = if around.form.is_bytewise() { around.raw.get(at..next).unwrap_or_default() } else { &[] };
        let mut node = Node::bytes(&(items.len() + 1).to_string(), "Repetition", raw, None);
        node.items = Some(inner);
        items.push(node);
        if next <= at {
            break;
        }
        at = next;
    }
    items
}

fn tlvs<'a>(
    spec: &'a Spec,
    class: Option<&ClassSpec>,
    subs: &'a [(u32, SubSpec)],
    raw: &'a [u8],
    depth: u8,
) -> Vec<Node<'a>> {
    let mut items = Vec::new();
    let mut tlvs = TlvIter::behind_class(class.is_some(), spec.tables, raw);
    if let (Some(class), Some(letter)) = (class, raw.first().filter(|_| tlvs.offset() == 1)) {
        let mut node = Node::bytes(&class.id, &class.name, raw.get(..1).unwrap_or_default(), None);
        node.text = Some(char::from(spec.charset.to_latin1(*letter)).to_string());
        items.push(node);
    }
    loop {
        for _ in 0..tlvs.skip_padding() {
            items.push(Node::bytes(PADDING, "Padding", &[0], None));
        }
        let tlv = match tlvs.next() {
            Some(Ok(tlv)) => tlv,
            Some(Err(error)) => {
                items.push(unread(raw, error, true));
                break;
            }
            None => break,
        };
        let sub = subs.iter().find(|(tag, _)| *tag == tlv.tag).map(|(_, sub)| sub);
        let secret = sub.and_then(|sub| sub.secret);
        let (id, name) = (format!("{:02X}", tlv.tag), sub.map_or("EMV data object", |sub| &sub.name));
        let mut node = Node::bytes(&id, name, tlv.value, secret);
        match sub {
            Some(sub) if sub.as_text || sub.layout != Layout::Plain => {
                let units = sub.form.units_of(tlv.value);
                let content = Content { form: &sub.form, raw: tlv.value, units };
                node = Node::of(&id, name, content, secret, &sub.layout, spec);
                node.exact &= sub.as_text;
            }
            _ if tlv.is_constructed() && !tlv.value.is_empty() => {
                if depth + 1 < DEEPEST {
                    node.items = Some(self::tlvs(spec, None, subs, tlv.value, depth + 1));
                } else {
                    node.secret = Some(Secret::Pin);
                }
            }
            _ => {}
        }
        node.length = (tlv.length != ber_length(tlv.value.len())).then(|| tlv.length.to_vec());
        items.push(node);
    }
    items
}

fn datasets<'a>(spec: &'a Spec, known: &'a [(u8, DatasetSpec)], raw: &'a [u8]) -> Vec<Node<'a>> {
    let mut items = Vec::new();
    let mut rest = raw;
    while let Some((id, behind)) = rest.split_first() {
        let offset = raw.len() - rest.len();
        let Some((length, behind)) = behind.split_first_chunk::<2>() else {
            items.push(unread(raw, SubError { offset, fault: SubFault::Length }, true));
            break;
        };
        let Some((data, behind)) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
            items.push(unread(raw, SubError { offset, fault: SubFault::Overrun }, true));
            break;
        };
        let set = known.iter().find(|(known, _)| known == id).map(|(_, set)| set);
        let name = set.map_or("Dataset", |set| &set.name);
        // What stands in a dataset that nobody described may be a card number in any writing.
        let secret = if set.is_none() { Some(Secret::Pin) } else { None };
        let mut node = Node::bytes(&format!("{id:02X}"), name, data, secret);
        node.items = set.and_then(|set| inside(spec, &set.layout, &raw_form(spec), data, data.len(), 0));
        items.push(node);
        rest = behind;
    }
    items
}

/// The form of bytes as they are.
pub(crate) fn raw_form(spec: &Spec) -> Form {
    Form {
        kind: Kind::B,
        lenient: false,
        encoding: Encoding::Binary,
        charset: spec.charset,
        length: PartLength::Rest,
        prefix: Prefix::Binary,
        count: Count::Bytes,
        inclusive: false,
        pad: Padding::None,
    }
}

fn bitmapped<'a>(spec: &'a Spec, layout: &'a BitmappedLayout, raw: &'a [u8]) -> Vec<Node<'a>> {
    let mut items = Vec::new();
    let secrets = layout.fields.iter().any(|(_, sub)| has_secrets(sub));
    let Some((bits, size)) = layout.read(raw) else {
        items.push(unread(raw, SubError { offset: 0, fault: SubFault::Tag }, secrets));
        return items;
    };
    items.push(Node::bytes(BITMAP, "Bitmap", raw.get(..size).unwrap_or_default(), None));
    let mut at = size;
    for bit in bits {
        let Some((_, sub)) = layout.fields.iter().find(|(number, _)| *number == bit) else {
            items.push(unread(raw, SubError { offset: at, fault: SubFault::Tag }, secrets));
            return items;
        };
        let Ok(head) = sub.form.head(raw, at) else {
            items.push(unread(raw, SubError { offset: at, fault: SubFault::Overrun }, secrets));
            return items;
        };
        let data = raw.get(head.start..head.start + head.len).unwrap_or_default();
        let content = Content { form: &sub.form, raw: data, units: head.units };
        let mut node = Node::of(&bit.to_string(), &sub.name, content, sub.secret, &sub.layout, spec);
        let as_text = node.text.is_some() && node.exact;
        node.length = odd_prefix(&sub.form, raw.get(at..head.start).unwrap_or_default(), data, head.units, as_text);
        items.push(node);
        at = head.start + head.len;
    }
    if at < raw.len() {
        let rest = raw.get(at..).unwrap_or_default();
        let secret = secrets.then_some(Secret::Pin);
        items.push(Node::bytes(REST, "Unreadable: more than its bitmap says", rest, secret));
    }
    items
}

impl BitmappedLayout {
    /// The bits that are set, from 1, and the bytes of the bitmap.
    fn read(&self, raw: &[u8]) -> Option<(Vec<u8>, usize)> {
        let bytes: Vec<u8> = match self.encoding {
            Encoding::Hex(set) => {
                let text = raw.get(..2 * usize::from(self.bytes))?;
                let digit = |b: u8| char::from(set.to_latin1(b)).to_digit(16).and_then(|d| u8::try_from(d).ok());
                let pairs = text.as_chunks::<2>().0.iter();
                pairs.map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>()?
            }
            _ => raw.get(..usize::from(self.bytes))?.to_vec(),
        };
        let size = if matches!(self.encoding, Encoding::Hex(_)) { 2 * bytes.len() } else { bytes.len() };
        let bits = (1..=self.bytes.saturating_mul(8)).filter(|n| {
            let at = usize::from(n - 1);
            bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
        });
        Some((bits.collect(), size))
    }

    /// The bitmap of these bits as it is usually written.
    pub(crate) fn write(&self, bits: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; usize::from(self.bytes)];
        for bit in bits {
            let at = usize::from(bit.saturating_sub(1));
            if let Some(byte) = bytes.get_mut(at / 8) {
                *byte |= 1 << (7 - at % 8);
            }
        }
        match self.encoding {
            Encoding::Hex(set) => bytes
                .iter()
                .flat_map(|byte| [crate::prefix::hex_digit(set, byte >> 4), crate::prefix::hex_digit(set, *byte)])
                .collect(),
            _ => bytes,
        }
    }
}
