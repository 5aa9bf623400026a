//! Writing a message straight into an output buffer, elements in ascending order. Owns prefixes, padding and the
//! bitmaps; what it writes, `decode` reads back, because every content passes the same check.

use crate::bitmap::Elements;
use crate::decode::LONGEST;
use crate::error::EncodeError;
use crate::message::Message;
use crate::mti::Mti;
use crate::spec::{BitmapForm, Check, FieldPlan, Pad, Spec};
use bytes::BytesMut;

/// Writes one message at the end of a buffer. Elements are set in ascending order; dropped without
/// [`Builder::finish`], it takes back all it wrote.
pub struct Builder<'a> {
    spec: &'a Spec,
    out: &'a mut BytesMut,
    start: usize,
    /// Where the next byte goes. What `out` holds behind it is room, cut off in the end: writing into room that is
    /// there costs half of what appending piece by piece does.
    at: usize,
    elements: Elements,
    last: u8,
    second: bool,
    finished: bool,
}

impl<'a> Builder<'a> {
    /// Starts a message of that type behind what `out` already holds.
    pub fn new(spec: &'a Spec, mti: Mti, out: &'a mut BytesMut) -> Builder<'a> {
        let start = out.len();
        let mut builder = Builder {
            spec,
            out,
            start,
            at: start,
            elements: Elements::default(),
            last: 1,
            second: false,
            finished: false,
        };
        builder.put(&mti.digits().map(|digit| spec.tables.zero.wrapping_add(digit)));
        builder.put(blank_bitmap(spec));
        builder
    }

    /// Bytes of the message so far.
    pub fn written(&self) -> usize {
        self.at - self.start
    }

    /// Copies an element of a message as it is on the wire; one that is absent is skipped. When the message has
    /// another spec, its content is written anew by this one.
    pub fn copy(&mut self, n: u8, message: &Message) -> Result<(), EncodeError> {
        if std::ptr::eq(self.spec, &raw const **message.spec()) {
            let Some(wire) = message.wire(n) else { return Ok(()) };
            self.place(n)?;
            self.put(wire);
            return Ok(());
        }
        let Some(raw) = message.raw(n) else { return Ok(()) };
        let opaque = |spec: &Spec| {
            spec.plan(n).is_some_and(|p| p.check == Check::Any)
                && spec.field(n).is_some_and(|f| f.kind == crate::spec::Kind::B)
        };
        if opaque(self.spec) && opaque(message.spec()) {
            return self.raw(n, raw);
        }
        let mut buf = [0u8; 999];
        match message.text(n, &mut buf) {
            Some(text) => self.text(n, text),
            None => Err(EncodeError::Length { element: n, got: raw.len(), want: buf.len(), fixed: false }),
        }
    }

    /// Copies those elements of a message that are in the set, as [`Builder::copy`] does one by one. What stands side
    /// by side in the message is copied in one piece: most of a reply is.
    pub fn copy_set(&mut self, set: Elements, message: &Message) -> Result<(), EncodeError> {
        let set = set.and(message.elements());
        if !std::ptr::eq(self.spec, &raw const **message.spec()) {
            return set.into_iter().try_for_each(|n| self.copy(n, message));
        }
        let (Some(first), Some(last)) = (set.first(), set.last()) else { return Ok(()) };
        if first <= self.last {
            return Err(EncodeError::Misordered { element: first, after: self.last });
        }
        if last > 64 && !self.second {
            self.open_second();
        }
        self.last = last;
        self.elements = self.elements.or(set);
        let between = message.promised().without(set);
        let mut left = set;
        while let Some(first) = left.first() {
            let piece = between.above(first).first().map_or(left, |other| left.below(other));
            left = left.without(piece);
            let start = message.wire_place(first).map_or(0, |place| place.start);
            let end = piece.last().and_then(|last| message.wire_place(last)).map_or(start, |place| place.end);
            self.put(message.frame.get(start..end).unwrap_or_default());
        }
        Ok(())
    }

    /// Sets an element from Latin-1 text. A fixed element is filled up: numbers with zeros on the left, text with
    /// blanks on the right.
    pub fn text(&mut self, n: u8, text: &[u8]) -> Result<(), EncodeError> {
        let plan = self.place(n)?;
        let fill = self.prefix(n, plan, text.len())?;
        let tables = self.spec.tables;
        if plan.pad == Pad::ZerosLeft {
            self.fill(tables.zero, fill);
        }
        let spec = self.spec;
        let written = self.room(text.len());
        let good = if plan.check == Check::Digits {
            let mut over = 0;
            for (to, ch) in written.iter_mut().zip(text) {
                let digit = ch.wrapping_sub(b'0');
                over |= u8::from(digit > 9);
                *to = tables.zero.wrapping_add(digit);
            }
            over == 0
        } else {
            for (to, ch) in written.iter_mut().zip(text) {
                *to = tables.from_latin1[usize::from(*ch)];
            }
            plan.check.passes(tables, written)
        };
        if !good {
            return Err(bad_character(spec, n, plan, written));
        }
        if plan.pad == Pad::BlanksRight {
            self.fill(tables.from_latin1[usize::from(b' ')], fill);
        }
        Ok(())
    }

    /// Sets an element to a number: a fixed one is filled with zeros on the left, a variable one gets the digits that
    /// the number needs.
    pub fn digits(&mut self, n: u8, value: u64) -> Result<(), EncodeError> {
        let plan = self.place(n)?;
        let mut digits = [self.spec.tables.zero; 20];
        let mut rest = value;
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            // A remainder of ten fits a byte.
            *slot = self.spec.tables.zero.wrapping_add((rest % 10) as u8);
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        let fill = self.prefix(n, plan, used)?;
        if plan.pad == Pad::BlanksRight && fill > 0 {
            return Err(EncodeError::Length { element: n, got: used, want: usize::from(plan.size), fixed: true });
        }
        self.fill(self.spec.tables.zero, fill);
        let written = digits.get(digits.len() - used..).unwrap_or_default();
        if !plan.check.passes(self.spec.tables, written) {
            return Err(bad_character(self.spec, n, plan, written));
        }
        self.put(written);
        Ok(())
    }

    /// Sets an element from its content as on the wire; only the length prefix is added.
    pub fn raw(&mut self, n: u8, content: &[u8]) -> Result<(), EncodeError> {
        let plan = self.place(n)?;
        if plan.prefix == 0 && content.len() != usize::from(plan.size) {
            let want = usize::from(plan.size);
            return Err(EncodeError::Length { element: n, got: content.len(), want, fixed: true });
        }
        self.prefix(n, plan, content.len())?;
        if !plan.check.passes(self.spec.tables, content) {
            return Err(bad_character(self.spec, n, plan, content));
        }
        self.put(content);
        Ok(())
    }

    /// Writes the bitmaps and returns the message's length in bytes.
    pub fn finish(mut self) -> Result<usize, EncodeError> {
        let len = self.written();
        if len > LONGEST {
            return Err(EncodeError::TooLong(len));
        }
        let mut elements = self.elements;
        if self.second {
            elements.insert(1);
        }
        let (first, second) = elements.halves();
        let at = self.start + 4;
        let width = blank_bitmap(self.spec).len();
        write_bitmap(self.spec, self.out, at, first);
        if self.second {
            write_bitmap(self.spec, self.out, at + width, second);
        }
        self.finished = true;
        Ok(len)
    }

    /// Finishes with these bitmaps, which must promise the elements that were set: for messages whose bitmaps are not
    /// written the way [`Builder::finish`] does.
    pub(crate) fn finish_with_bitmaps(mut self, bitmaps: &[u8]) -> Result<usize, EncodeError> {
        if !self.second && bitmaps.len() > blank_bitmap(self.spec).len() {
            self.open_second();
        }
        let at = self.start + 4;
        let len = self.written();
        match self.out.get_mut(at..at + bitmaps.len()) {
            Some(slot) if len <= LONGEST => slot.copy_from_slice(bitmaps),
            Some(_) | None => return Err(EncodeError::TooLong(len)),
        }
        self.finished = true;
        Ok(len)
    }

    /// Takes the element into the bitmap and returns its plan.
    #[inline]
    fn place(&mut self, n: u8) -> Result<&'a FieldPlan, EncodeError> {
        let plan = self.spec.plan(n).ok_or(EncodeError::UnknownElement(n))?;
        if n <= self.last {
            return Err(EncodeError::Misordered { element: n, after: self.last });
        }
        if n > 64 && !self.second {
            self.open_second();
        }
        self.last = n;
        self.elements.insert(n);
        Ok(plan)
    }

    /// Inserts room for the second bitmap behind the first; elements already written move up.
    #[cold]
    fn open_second(&mut self) {
        let width = blank_bitmap(self.spec).len();
        let from = self.start + 4 + width;
        let end = self.at;
        let _ = self.room(width);
        self.out.copy_within(from..end, from + width);
        self.second = true;
    }

    /// Writes the length prefix for so many bytes; how many a fixed element still needs is returned.
    #[inline]
    fn prefix(&mut self, n: u8, plan: &FieldPlan, len: usize) -> Result<usize, EncodeError> {
        let size = usize::from(plan.size);
        let fixed = plan.prefix == 0;
        if len > size || (fixed && len < size && plan.pad == Pad::None) {
            return Err(EncodeError::Length { element: n, got: len, want: size, fixed });
        }
        if fixed {
            return Ok(size - len);
        }
        let zero = self.spec.tables.zero;
        // `len` is at most 999 here, so that each digit fits a byte.
        let digits = [zero + (len / 100 % 10) as u8, zero + (len / 10 % 10) as u8, zero + (len % 10) as u8];
        self.put(digits.get(3 - usize::from(plan.prefix)..).unwrap_or(&digits));
        Ok(0)
    }

    fn fill(&mut self, byte: u8, count: usize) {
        if count > 0 {
            self.room(count).fill(byte);
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// The next `len` bytes of the output, to be written.
    #[inline]
    fn room(&mut self, len: usize) -> &mut [u8] {
        let from = self.at;
        let to = from + len;
        if to > self.out.len() {
            self.grow(to);
        }
        self.at = to;
        self.out.get_mut(from..to).unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self, to: usize) {
        // What the buffer has anyway, else what most messages need.
        let spare = if self.out.capacity() > to { (self.out.capacity() - to).min(512) } else { 512 };
        self.out.resize(to + spare, 0);
    }
}

impl Drop for Builder<'_> {
    fn drop(&mut self) {
        self.out.truncate(if self.finished { self.at } else { self.start });
    }
}

fn blank_bitmap(spec: &Spec) -> &'static [u8] {
    match spec.bitmap {
        BitmapForm::Binary => &[0; 8],
        BitmapForm::Hex => &[0; 16],
    }
}

fn write_bitmap(spec: &Spec, out: &mut [u8], at: usize, bits: u64) {
    match spec.bitmap {
        BitmapForm::Binary => {
            if let Some(slot) = out.get_mut(at..at + 8) {
                slot.copy_from_slice(&bits.to_be_bytes());
            }
        }
        BitmapForm::Hex => {
            for (place, slot) in out.iter_mut().skip(at).take(16).enumerate() {
                let nibble = usize::try_from(bits >> (60 - 4 * place) & 15).unwrap_or(0);
                let ch = b"0123456789ABCDEF".get(nibble).copied().unwrap_or(b'0');
                *slot = spec.tables.from_latin1[usize::from(ch)];
            }
        }
    }
}

/// The bitmaps of these elements as [`Builder::finish`] writes them.
pub(crate) fn canonical_bitmaps(spec: &Spec, elements: Elements) -> Vec<u8> {
    let mut marked = elements;
    let width = blank_bitmap(spec).len();
    let mut out = vec![0; width];
    if elements.needs_second() {
        marked.insert(1);
        out.resize(2 * width, 0);
    }
    let (first, second) = marked.halves();
    write_bitmap(spec, &mut out, 0, first);
    if elements.needs_second() {
        write_bitmap(spec, &mut out, width, second);
    }
    out
}

#[cold]
fn bad_character(spec: &Spec, element: u8, plan: &FieldPlan, content: &[u8]) -> EncodeError {
    let at = plan.check.first_bad(spec.tables, content) + 1;
    EncodeError::Character { element, at, expected: plan.check.expected() }
}
