//! Writing a message straight into an output buffer, elements in ascending order. Owns prefixes, padding and the
//! bitmaps; what it writes, `decode` reads back, because every content passes the same check.

use crate::bitmap::Elements;
use crate::decode::{LONGEST, third_bit};
use crate::error::EncodeError;
use crate::form::{Encoding, Form, Head, WriteFault};
use crate::message::Message;
use crate::mti::Mti;
use crate::plan::{Check, FieldPlan, Pad};
use crate::spec::{BitmapForm, Kind, MtiForm, PartLength, Spec};
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
    /// The third bitmap, once an element of it is set.
    third: u64,
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
            third: 0,
            finished: false,
        };
        match spec.mti {
            MtiForm::Text(set) => builder.put(&mti.digits().map(|digit| set.tables().zero.wrapping_add(digit))),
            MtiForm::Bcd => builder.put(&mti.0.to_be_bytes()),
        }
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
            self.take(n)?;
            self.put(wire);
            return Ok(());
        }
        let Some(raw) = message.raw(n) else { return Ok(()) };
        let opaque =
            |spec: &Spec| spec.field(n).is_some_and(|f| f.kind == Kind::B && f.wire.encoding == Encoding::Binary);
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
        let Some(plan) = self.place(n)? else { return self.rare_text(n, text) };
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
        let Some(plan) = self.place(n)? else { return self.rare_digits(n, value) };
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
        let Some(plan) = self.place(n)? else { return self.rare_raw(n, None, content) };
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
        if self.third != 0 {
            elements.insert(65);
        }
        let (first, second) = elements.halves();
        let at = self.start + self.spec.mti_size();
        let width = blank_bitmap(self.spec).len();
        write_bitmap(self.spec, self.out, at, first);
        if self.second {
            write_bitmap(self.spec, self.out, at + width, second);
        }
        if self.third != 0 {
            write_bitmap(self.spec, self.out, at + 2 * width, self.third);
        }
        self.finished = true;
        Ok(len)
    }

    /// Finishes with these bitmaps, which must promise the elements that were set: for messages whose bitmaps are not
    /// written the way [`Builder::finish`] does.
    pub(crate) fn finish_with_bitmaps(mut self, bitmaps: &[u8]) -> Result<usize, EncodeError> {
        let width = blank_bitmap(self.spec).len();
        if !self.second && bitmaps.len() > width {
            self.open_second();
        }
        if self.third == 0 && bitmaps.len() > 2 * width {
            self.open_bitmap(2 * width);
        }
        let at = self.start + self.spec.mti_size();
        let len = self.written();
        match self.out.get_mut(at..at + bitmaps.len()) {
            Some(slot) if len <= LONGEST => slot.copy_from_slice(bitmaps),
            Some(_) | None => return Err(EncodeError::TooLong(len)),
        }
        self.finished = true;
        Ok(len)
    }

    /// Takes the element into the bitmap and returns its plan; none for one that is not written the common way.
    #[inline]
    fn place(&mut self, n: u8) -> Result<Option<&'a FieldPlan>, EncodeError> {
        let plan = self.spec.plan(n);
        if plan.is_none() && self.spec.field(n).is_none() {
            return Err(EncodeError::UnknownElement(n));
        }
        self.take(n)?;
        Ok(plan)
    }

    /// Takes the element into the bitmap.
    #[inline]
    fn take(&mut self, n: u8) -> Result<(), EncodeError> {
        if n <= self.last {
            return Err(EncodeError::Misordered { element: n, after: self.last });
        }
        if n > 64 && !self.second {
            self.open_second();
        }
        if n > 128 {
            self.take_third(n);
        }
        self.last = n;
        self.elements.insert(n);
        Ok(())
    }

    #[cold]
    fn take_third(&mut self, n: u8) {
        if self.third == 0 {
            self.open_bitmap(2 * blank_bitmap(self.spec).len());
        }
        self.third |= third_bit(n);
    }

    /// Inserts room for the second bitmap behind the first; elements already written move up.
    #[cold]
    fn open_second(&mut self) {
        self.open_bitmap(blank_bitmap(self.spec).len());
        self.second = true;
    }

    /// Inserts room for a bitmap behind so many bytes of bitmaps.
    fn open_bitmap(&mut self, behind: usize) {
        let width = blank_bitmap(self.spec).len();
        let from = self.start + self.spec.mti_size() + behind;
        let end = self.at;
        let _ = self.room(width);
        self.out.copy_within(from..end, from + width);
    }

    #[cold]
    fn rare_text(&mut self, n: u8, text: &[u8]) -> Result<(), EncodeError> {
        let form = self.form(n)?;
        let mut content = Vec::with_capacity(text.len());
        let units = form.write(text, &mut content).map_err(|fault| refused(n, form, fault))?;
        let mut prefix = Vec::new();
        form.write_prefix(units, content.len(), &mut prefix);
        self.put(&prefix);
        self.put(&content);
        Ok(())
    }

    #[cold]
    fn rare_digits(&mut self, n: u8, value: u64) -> Result<(), EncodeError> {
        let form = self.form(n)?;
        let text = match form.length {
            PartLength::Fixed(len) => format!("{value:0len$}", len = usize::from(len)),
            PartLength::Variable { .. } | PartLength::Rest => value.to_string(),
        };
        self.rare_text(n, text.as_bytes())
    }

    /// Writes content as on the wire behind the prefix that it usually has, or this one if it says the same length.
    #[cold]
    fn rare_raw(&mut self, n: u8, kept: Option<&[u8]>, content: &[u8]) -> Result<(), EncodeError> {
        let form = self.form(n)?;
        let mut units = form.units_of(content);
        let mut prefix = Vec::new();
        match form.length {
            PartLength::Fixed(len) => {
                let want = form.size_of(usize::from(len));
                if content.len() != want {
                    return Err(EncodeError::Length { element: n, got: content.len(), want, fixed: true });
                }
                units = usize::from(len);
            }
            PartLength::Variable { .. } | PartLength::Rest => match kept.and_then(|kept| says(form, kept, content)) {
                Some(head) => {
                    units = head.units;
                    prefix.extend_from_slice(kept.unwrap_or_default());
                }
                None if units <= form.max() => form.write_prefix(units, content.len(), &mut prefix),
                None => {}
            },
        }
        if units > form.max() || content.len() > form.size_of(form.max()) {
            let want = form.size_of(form.max());
            return Err(EncodeError::Length { element: n, got: content.len(), want, fixed: false });
        }
        if let Some((at, expected, _)) = form.fault(content, units) {
            return Err(EncodeError::Character { element: n, at: at + 1, expected });
        }
        self.put(&prefix);
        self.put(content);
        Ok(())
    }

    /// Sets an element from its content with the length prefix that it had on the wire, where that says the same.
    pub(crate) fn raw_behind(&mut self, n: u8, prefix: Option<&[u8]>, content: &[u8]) -> Result<(), EncodeError> {
        match self.spec.rare(n) {
            Some(_) => {
                self.place(n)?;
                self.rare_raw(n, prefix, content)
            }
            None => self.raw(n, content),
        }
    }

    fn form(&self, n: u8) -> Result<&'a Form, EncodeError> {
        self.spec.field(n).map(|field| &field.wire).ok_or(EncodeError::UnknownElement(n))
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
        // A length is at most 65535, so that five digits say it and each fits a byte.
        if plan.prefix > 3 {
            self.long_prefix(plan.prefix, len);
            return Ok(0);
        }
        let digits = [zero + (len / 100 % 10) as u8, zero + (len / 10 % 10) as u8, zero + (len % 10) as u8];
        self.put(digits.get(3 - usize::from(plan.prefix)..).unwrap_or(&digits));
        Ok(0)
    }

    #[cold]
    fn long_prefix(&mut self, digits: u8, len: usize) {
        let mut prefix = Vec::with_capacity(6);
        crate::prefix::Prefix::Text(self.spec.charset).write(digits, len, &mut prefix);
        self.put(&prefix);
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
                *slot = spec.bitmap_charset.from_latin1(ch);
            }
        }
    }
}

/// What a kept prefix says, if it is the length of this content.
pub(crate) fn says(form: &Form, prefix: &[u8], content: &[u8]) -> Option<Head> {
    if prefix.len() != form.prefix_size() {
        return None;
    }
    let bytes = [prefix, content].concat();
    form.head(&bytes, 0).ok().filter(|head| head.start + head.len == bytes.len())
}

#[cold]
fn refused(element: u8, form: &Form, fault: WriteFault) -> EncodeError {
    match fault {
        WriteFault::Character(at) => EncodeError::Character { element, at: at + 1, expected: form.expected() },
        WriteFault::Length { got, want, fixed } => EncodeError::Length { element, got, want, fixed },
    }
}

/// The bitmaps of these elements as [`Builder::finish`] writes them.
pub(crate) fn canonical_bitmaps(spec: &Spec, elements: Elements, third: u64) -> Vec<u8> {
    let mut marked = elements;
    let width = blank_bitmap(spec).len();
    let second = elements.needs_second() || third != 0;
    if second {
        marked.insert(1);
    }
    if third != 0 {
        marked.insert(65);
    }
    let mut out = vec![0; width * (1 + usize::from(second) + usize::from(third != 0))];
    let halves = marked.halves();
    write_bitmap(spec, &mut out, 0, halves.0);
    if second {
        write_bitmap(spec, &mut out, width, halves.1);
    }
    if third != 0 {
        write_bitmap(spec, &mut out, 2 * width, third);
    }
    out
}

#[cold]
fn bad_character(spec: &Spec, element: u8, plan: &FieldPlan, content: &[u8]) -> EncodeError {
    let at = plan.check.first_bad(spec.tables, content) + 1;
    EncodeError::Character { element, at, expected: plan.check.expected() }
}
