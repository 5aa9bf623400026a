//! A decoded message: the frame it came in, and where each element stands in it. Owns reading; nothing here changes a
//! byte, copies content unasked, or prints a value.

use crate::bitmap::Elements;
use crate::composite::{SubIter, TlvIter};
use crate::decode::{Walk, third_bit, third_numbers};
use crate::form::Form;
use crate::mti::Mti;
use crate::pan::Pan;
use crate::spec::{Layout, Part, PartLength, Spec};
use crate::tags::TaggedIter;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Where an element's content stands in the frame.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: u16,
    pub(crate) len: u16,
}

/// A decoded message. It keeps the frame and a table of offsets; reading an element is a slice of the frame. A clone
/// shares the frame and copies the table.
#[derive(Clone)]
pub struct Message {
    pub(crate) spec: Arc<Spec>,
    pub(crate) frame: Bytes,
    pub(crate) walk: Walk,
}

impl Message {
    /// The spec it was decoded with.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The message type.
    #[inline]
    pub fn mti(&self) -> Mti {
        self.walk.mti
    }

    /// Whether the element is there (and, in a partial message, good).
    #[inline]
    pub fn has(&self, n: u8) -> bool {
        self.walk.present.has(n) || self.walk.third & third_bit(n) != 0
    }

    /// The numbers of the elements that are there, ascending.
    pub fn present(&self) -> impl Iterator<Item = u8> + use<> {
        self.walk.present.into_iter().chain(third_numbers(self.walk.third))
    }

    /// The bytes it was decoded from, message type to last element.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The element's content as on the wire, without its length prefix.
    #[inline]
    pub fn raw(&self, n: u8) -> Option<&[u8]> {
        let (start, end) = self.place(n)?;
        self.frame.get(start..end)
    }

    /// The element as on the wire with its length prefix: what is copied into a reply.
    #[inline]
    pub fn wire(&self, n: u8) -> Option<&[u8]> {
        self.frame.get(self.wire_place(n)?)
    }

    /// Where [`Message::wire`] stands in the frame.
    #[inline]
    pub(crate) fn wire_place(&self, n: u8) -> Option<std::ops::Range<usize>> {
        let (start, end) = self.place(n)?;
        let prefix = match self.spec.plan(n) {
            Some(plan) => usize::from(plan.prefix),
            None => self.spec.field(n)?.wire.prefix_size(),
        };
        Some(start.checked_sub(prefix)?..end)
    }

    /// The number that an element of up to 19 digits writes; `None` when it is absent, empty or not all digits.
    #[inline]
    pub fn digits(&self, n: u8) -> Option<u64> {
        let raw = self.raw(n)?;
        match self.rare(n) {
            None => self.spec.tables.number(raw),
            Some((form, units)) => form.number(raw, units),
        }
    }

    /// The form of an element that is not written the common way, and how many characters, digits or bytes it has.
    #[inline]
    pub(crate) fn rare(&self, n: u8) -> Option<(&Form, usize)> {
        let form = self.spec.rare(n)?;
        let (start, end) = self.place(n)?;
        Some((form, form.units_at(&self.frame, start, end - start)))
    }

    /// The element's text as Latin-1 bytes (ASCII for all that is ASCII), written into `buf`. `None` when it is absent
    /// or `buf` is too small; never allocates.
    pub fn text<'b>(&self, n: u8, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let raw = self.raw(n)?;
        match self.rare(n) {
            None => self.translate(raw, buf),
            Some((form, units)) => form.text_into(raw, units, buf),
        }
    }

    /// The first characters of the element's text, as many as `buf` has room for.
    pub fn text_start<'b>(&self, n: u8, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let raw = self.raw(n)?;
        match self.rare(n) {
            None => {
                let len = raw.len().min(buf.len());
                self.translate(raw.get(..len)?, buf)
            }
            Some((form, units)) => {
                let len = form.text_len(raw, units).min(buf.len());
                let start = buf.get_mut(..len)?;
                for (at, slot) in start.iter_mut().enumerate() {
                    *slot = form.char_at(raw, units, at)?;
                }
                Some(start)
            }
        }
    }

    /// The element's text, one character each.
    pub fn string(&self, n: u8) -> Option<String> {
        let raw = self.raw(n)?;
        Some(match self.rare(n) {
            None => self.spec.charset.string(raw),
            Some((form, units)) => form.string(raw, units),
        })
    }

    /// The sub-elements of a tagged element such as DE48, in wire order, class byte skipped: tag as ASCII digits and
    /// data as on the wire. What cannot be read is told once, as the last item. Empty for other elements, also for
    /// those whose tags and lengths are not two digits each: [`Message::tagged`] reads all.
    pub fn subs(&self, n: u8) -> SubIter<'_> {
        match (self.spec.field(n).map(|f| &f.layout), self.raw(n)) {
            (Some(Layout::Tagged(layout)), Some(raw)) if layout.short => {
                SubIter::new(self.spec.tables, layout.class.is_some(), raw)
            }
            _ => SubIter::new(self.spec.tables, false, &[]),
        }
    }

    /// The sub-elements of a tagged element with tags and lengths of any form, in wire order; what cannot be read is
    /// told once, as the last item. Empty for other elements.
    pub fn tagged(&self, n: u8) -> TaggedIter<'_> {
        match (self.spec.field(n).map(|f| &f.layout), self.raw(n)) {
            (Some(Layout::Tagged(layout)), Some(raw)) => TaggedIter::new(layout, self.spec.charset, raw),
            _ => TaggedIter::empty(),
        }
    }

    /// The class byte of DE48 (transaction category code) as an ASCII capital, when there is one.
    pub fn tcc(&self) -> Option<u8> {
        self.subs(48).class()
    }

    /// The data of the first sub-element with that tag, as on the wire.
    pub fn sub_raw(&self, n: u8, tag: &str) -> Option<&[u8]> {
        if let Ok(wanted) = <[u8; 2]>::try_from(tag.as_bytes())
            && let Some((_, data)) = self.subs(n).map_while(Result::ok).find(|(tag, _)| *tag == wanted)
        {
            return Some(data);
        }
        self.tagged(n).map_while(Result::ok).find(|sub| sub.id() == tag).map(|sub| sub.data)
    }

    /// The text of the first sub-element with that tag, as Latin-1 in `buf`. `None` when it is absent or `buf` is too
    /// small.
    pub fn sub_text<'b>(&self, n: u8, tag: &str, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        self.translate(self.sub_raw(n, tag)?, buf)
    }

    /// The first sub-element with that tag as on the wire: tag, length and data.
    pub fn sub_wire(&self, n: u8, tag: &str) -> Option<&[u8]> {
        let wanted: [u8; 2] = tag.as_bytes().try_into().ok()?;
        let raw = self.raw(n)?;
        let mut subs = self.subs(n);
        loop {
            let start = subs.offset();
            let (tag, _) = subs.next()?.ok()?;
            if tag == wanted {
                return raw.get(start..subs.offset());
            }
        }
    }

    /// The first sub-element of each of these tags as on the wire, as [`Message::sub_wire`] gives them, in one walk.
    pub fn sub_wires<const N: usize>(&self, n: u8, tags: [&[u8; 2]; N]) -> [Option<&[u8]>; N] {
        let mut found = [None; N];
        let Some(raw) = self.raw(n) else { return found };
        let mut subs = self.subs(n);
        loop {
            let start = subs.offset();
            let Some(Ok((tag, _))) = subs.next() else { return found };
            for (wanted, found) in tags.iter().zip(&mut found) {
                if **wanted == tag && found.is_none() {
                    *found = raw.get(start..subs.offset());
                }
            }
        }
    }

    /// The BER-TLV objects of an element such as DE55, in wire order; what cannot be read is told once, as the last
    /// item. Empty for elements that are not BER-TLV.
    pub fn tlvs(&self, n: u8) -> TlvIter<'_> {
        match (self.spec.field(n).map(|f| &f.layout), self.raw(n)) {
            (Some(Layout::Tlv(layout)), Some(raw)) => {
                TlvIter::behind_class(layout.class.is_some(), self.spec.tables, raw)
            }
            _ => TlvIter::new(&[]),
        }
    }

    /// A positional part by its name in the spec (the first repetition's, where they repeat), as Latin-1 in `buf`.
    /// `None` when the element or the part is absent, cut short, or `buf` is too small.
    pub fn part<'b>(&self, n: u8, name: &str, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        self.part_of(n, 0, name, buf)
    }

    /// The same for the repetition `at`, from 0.
    pub fn part_of<'b>(&self, n: u8, at: usize, name: &str, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let field = self.spec.field(n)?;
        let (parts, repeats) = match &field.layout {
            Layout::Parts(parts) => (parts, false),
            Layout::Repeat(parts) => (parts, true),
            _ => return None,
        };
        if self.spec.rare(n).is_some() || parts.iter().any(|part| part.form.is_some()) {
            return self.part_rare(n, &field.wire, parts, repeats, at, name, buf);
        }
        let raw = self.raw(n)?;
        let mut start = 0usize;
        let mut found = None;
        for part in parts {
            let end = match part.length {
                PartLength::Fixed(len) | PartLength::Variable { max: len, .. } => start + usize::from(len),
                PartLength::Rest => raw.len().max(start),
            };
            if part.name == name {
                found = Some((start, end));
                if at == 0 {
                    break;
                }
            }
            start = end;
        }
        let shift = match (repeats, at) {
            (_, 0) => 0,
            (true, at) => start.checked_mul(at)?,
            (false, _) => return None,
        };
        let (from, to) = found?;
        self.translate(raw.get(from.checked_add(shift)?..to.checked_add(shift)?)?, buf)
    }

    /// A part of an element, or itself, that is not written the common way.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn part_rare<'b>(
        &self,
        n: u8,
        around: &Form,
        parts: &[Part],
        repeats: bool,
        at: usize,
        name: &str,
        buf: &'b mut [u8],
    ) -> Option<&'b [u8]> {
        let raw = self.raw(n)?;
        let (start, end) = self.place(n)?;
        let units = around.units_at(&self.frame, start, end - start);
        let mut place = 0usize;
        for turn in 0..=at {
            if turn > 0 && (!repeats || place >= raw.len().max(units)) {
                return None;
            }
            for part in parts {
                let wanted = turn == at && part.name == name;
                let Some(form) = &part.form else {
                    let len = match part.length {
                        PartLength::Fixed(len) | PartLength::Variable { max: len, .. } => usize::from(len),
                        PartLength::Rest => units.saturating_sub(place),
                    };
                    if place + len > units {
                        return None;
                    }
                    if wanted {
                        let out = buf.get_mut(..len)?;
                        for (shift, slot) in out.iter_mut().enumerate() {
                            *slot = around.char_at(raw, units, place + shift)?;
                        }
                        return Some(out);
                    }
                    place += len;
                    continue;
                };
                let head = form.head(raw, place).ok()?;
                if wanted {
                    return form.text_into(raw.get(head.start..head.start + head.len)?, head.units, buf);
                }
                place = head.start + head.len;
            }
        }
        None
    }

    /// The card number: DE2, else the one in DE35 before its separator (`=` or `D`).
    pub fn pan(&self) -> Option<Pan> {
        let mut buf = [0u8; 37];
        if let Some(pan) = self.text(2, &mut buf).and_then(Pan::from_ascii) {
            return Some(pan);
        }
        Pan::from_ascii(self.track2(&mut buf)?.0)
    }

    /// The expiry (YYMM, ASCII) that track 2 carries behind its separator.
    pub fn track2_expiry(&self) -> Option<[u8; 4]> {
        let mut buf = [0u8; 37];
        let (_, behind) = self.track2(&mut buf)?;
        behind.first_chunk().filter(|yymm| yymm.iter().all(u8::is_ascii_digit)).copied()
    }

    fn track2<'b>(&self, buf: &'b mut [u8; 37]) -> Option<(&'b [u8], &'b [u8])> {
        let track = self.text(35, buf)?;
        let at = track.iter().position(|b| matches!(b, b'=' | b'D'))?;
        Some((track.get(..at)?, track.get(at + 1..)?))
    }

    fn translate<'b>(&self, raw: &[u8], buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let out = buf.get_mut(..raw.len())?;
        self.spec.tables.read_into(raw, out);
        Some(out)
    }

    #[inline]
    fn place(&self, n: u8) -> Option<(usize, usize)> {
        if !self.has(n) {
            return None;
        }
        if n > 128 {
            let span = self.walk.third_span(&self.spec, &self.frame, n)?;
            return Some((usize::from(span.start), usize::from(span.start) + usize::from(span.len)));
        }
        let span = self.walk.spans.get(usize::from(n))?;
        let start = usize::from(span.start);
        Some((start, start + usize::from(span.len)))
    }

    /// The bitmaps as on the wire.
    pub(crate) fn bitmaps(&self) -> &[u8] {
        self.frame.get(self.spec.mti_size()..usize::from(self.walk.body)).unwrap_or_default()
    }

    pub(crate) fn elements(&self) -> Elements {
        self.walk.present
    }

    /// The elements of the third bitmap.
    pub(crate) fn third(&self) -> u64 {
        self.walk.third
    }

    /// The elements that the bitmaps promise, good or not.
    pub(crate) fn promised(&self) -> Elements {
        self.walk.promised
    }
}

impl fmt::Debug for Message {
    /// Type and element numbers, no content: a message may be logged by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} {} [", self.spec.name, self.mti())?;
        for (at, n) in self.present().enumerate() {
            write!(f, "{}{n}", if at == 0 { "" } else { " " })?;
        }
        f.write_str("])")
    }
}
