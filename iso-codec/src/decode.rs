//! Bytes in, a fully validated message out. Owns the walk over the elements; allocates nothing while the message is
//! good, and never panics.
//!
//! A fault in the content of an element whose length is clear does not end the walk: later elements are still read,
//! so that a format-error reply can be matched by DE7 and DE11. Only what loses the position ends it.

use crate::bitmap::Elements;
use crate::charset::{Charset, Tables, class};
use crate::error::{DecodeError, ElementAt, Expected, Fault, Got};
use crate::message::{Message, Span};
use crate::mti::Mti;
use crate::plan::{Check, FieldPlan};
use crate::spec::{BitmapForm, MtiForm, Spec};
use bytes::Bytes;
use std::sync::Arc;

/// The longest message: offsets are 16 bits wide. Far above every `max_frame`.
pub(crate) const LONGEST: usize = 65_535;

/// What the walk found.
#[derive(Clone)]
pub(crate) struct Walk {
    pub(crate) mti: Mti,
    pub(crate) present: Elements,
    /// What the bitmaps say: what is on the wire between two elements, be it good or not.
    pub(crate) promised: Elements,
    /// Where the bitmaps end and DE2 or a later element begins.
    pub(crate) body: u16,
    pub(crate) spans: [Span; 129],
    /// The third bitmap's elements, DE129 on top, where the spec has one. Where each stands is found when it is asked
    /// for, so that messages without them pay nothing.
    pub(crate) third: u64,
    /// What the third bitmap says.
    pub(crate) third_promised: u64,
    /// Where the third bitmap's elements begin.
    pub(crate) third_at: u16,
}

/// Decodes one message. `frame` starts with the message type; the framing's length and header are already cut off.
///
/// Every element's content is checked against its kind, and bytes left over are an error. The message keeps `frame`
/// and borrows nothing.
pub fn decode(spec: &Arc<Spec>, frame: Bytes) -> Result<Message, DecodeError> {
    // Built where it is returned from: the table of offsets is half a kilobyte that need not move.
    let mut outcome = Ok(Message {
        spec: Arc::clone(spec),
        frame,
        walk: Walk {
            mti: Mti(0),
            present: Elements::default(),
            promised: Elements::default(),
            body: 0,
            spans: [Span { start: 0, len: 0 }; 129],
            third: 0,
            third_promised: 0,
            third_at: 0,
        },
    });
    let mut faults = Vec::new();
    if let Ok(Message { walk, frame, .. }) = &mut outcome {
        walk.read(spec, frame, &mut faults);
    }
    if !faults.is_empty() {
        fail(&mut outcome, faults);
    }
    outcome
}

/// Puts the faults in place of the message, which becomes their partial one.
#[cold]
fn fail(outcome: &mut Result<Message, DecodeError>, faults: Vec<Fault>) {
    // The walk ascends, so the first fault is the lowest element's.
    let first = faults.first().copied().unwrap_or(Fault {
        element: ElementAt::Mti,
        offset: 0,
        expected: Expected::TypeDigits,
        got: Got::Unknown,
    });
    let Fault { element, offset, expected, got } = first;
    let error = DecodeError { element, offset, expected, got, faults, partial: None };
    let read = std::mem::replace(outcome, Err(error));
    // Without a message type there is no telling what the rest would be.
    if let (Err(error), Ok(message)) = (outcome, read)
        && element != ElementAt::Mti
    {
        error.partial = Some(Box::new(message));
    }
}

impl Walk {
    /// Reads as far as it can.
    #[inline(always)]
    fn read(&mut self, spec: &Spec, frame: &[u8], faults: &mut Vec<Fault>) {
        let tables = spec.tables;
        if frame.len() > LONGEST {
            faults.push(Fault {
                element: ElementAt::Mti,
                offset: 0,
                expected: Expected::MessageAtMost(LONGEST),
                got: Got::Length(frame.len()),
            });
            return;
        }
        let rest = match read_mti(spec, frame) {
            Ok((mti, rest)) => {
                self.mti = mti;
                rest
            }
            Err(fault) => {
                faults.push(fault);
                return;
            }
        };
        let (promised, third) = match read_bitmaps(spec, rest) {
            Ok((bitmaps, third, size)) => {
                self.body = u16::try_from(spec.mti_size() + size).unwrap_or(u16::MAX);
                (bitmaps.elements(), third)
            }
            Err(fault) => {
                faults.push(fault);
                return;
            }
        };
        let mut at = usize::from(self.body);
        // All are taken for good; a fault takes its element out again.
        (self.present, self.promised) = (promised, promised);
        for n in promised {
            if let Some(span) = good(spec, tables, frame, n, at)
                && let Some(slot) = self.spans.get_mut(usize::from(n))
            {
                *slot = span;
                at = usize::from(span.start) + usize::from(span.len);
                continue;
            }
            match self.read_element(spec, tables, frame, n, at, faults) {
                Some(end) => at = end,
                None => {
                    self.present = self.present.below(n);
                    return;
                }
            }
        }
        if third != 0 {
            match self.read_third(spec, frame, third, at, faults) {
                Some(end) => at = end,
                None => return,
            }
        }
        if at < frame.len() {
            let got = Got::Left(frame.len() - at);
            faults.push(Fault { element: ElementAt::Trailing, offset: at, expected: Expected::End, got });
        }
    }

    /// Reads one element at `at` and returns where the next begins; `None` when that is no longer known. It is for what
    /// [`good`] does not let through: it tells what is wrong, or reads what is not written the common way.
    #[cold]
    fn read_element(
        &mut self,
        spec: &Spec,
        tables: &Tables,
        frame: &[u8],
        n: u8,
        at: usize,
        faults: &mut Vec<Fault>,
    ) -> Option<usize> {
        let Some(plan) = spec.plan(n) else {
            let (span, end, good) = read_rare(spec, frame, n, at, faults)?;
            if !good {
                self.present.remove(n);
            }
            if let Some(slot) = self.spans.get_mut(usize::from(n)) {
                *slot = span;
            }
            return Some(end);
        };
        let (start, len) = match length(tables, frame, plan, at) {
            Ok(place) => place,
            Err((offset, expected, got)) => {
                let got = got.unwrap_or_else(|| frame.get(offset).map_or(Got::Unknown, |b| met(spec.charset, *b)));
                faults.push(Fault { element: ElementAt::De(n), offset, expected, got });
                return None;
            }
        };
        let Some(content) = frame.get(start..start + len) else {
            faults.push(short(ElementAt::De(n), start, len, frame.len().saturating_sub(start)));
            return None;
        };
        if len > usize::from(plan.size) {
            self.present.remove(n);
            let expected = Expected::AtMost(plan.size);
            faults.push(Fault { element: ElementAt::De(n), offset: at, expected, got: Got::Length(len) });
        } else {
            self.present.remove(n);
            faults.push(bad_content(spec, plan, n, start, content));
        }
        Some(start + len)
    }

    /// Reads the elements of the third bitmap from `at` on; `None` when the position is lost.
    #[cold]
    fn read_third(
        &mut self,
        spec: &Spec,
        frame: &[u8],
        promised: u64,
        at: usize,
        faults: &mut Vec<Fault>,
    ) -> Option<usize> {
        (self.third, self.third_promised) = (promised, promised);
        self.third_at = u16::try_from(at).unwrap_or(u16::MAX);
        let mut at = at;
        for n in third_numbers(promised) {
            match read_rare(spec, frame, n, at, faults) {
                Some((_, end, good)) => {
                    if !good {
                        self.third &= !third_bit(n);
                    }
                    at = end;
                }
                None => {
                    self.third &= !(u64::MAX >> (n - 129));
                    return None;
                }
            }
        }
        Some(at)
    }

    /// Where an element of the third bitmap stands.
    #[cold]
    pub(crate) fn third_span(&self, spec: &Spec, frame: &[u8], n: u8) -> Option<Span> {
        if self.third & third_bit(n) == 0 {
            return None;
        }
        let mut at = usize::from(self.third_at);
        for other in third_numbers(self.third_promised) {
            let head = spec.field(other)?.wire.head(frame, at).ok()?;
            if other == n {
                return Some(Span { start: head.start as u16, len: head.len as u16 });
            }
            at = head.start + head.len;
        }
        None
    }
}

/// Where an element stands that is written the common way and has nothing wrong with it: nearly every one, so that this
/// asks no more than that.
#[inline(always)]
fn good(spec: &Spec, tables: &Tables, frame: &[u8], n: u8, at: usize) -> Option<Span> {
    let plan = spec.plan(n)?;
    let (mut start, mut len) = (at, usize::from(plan.size));
    if plan.prefix != 0 {
        start += usize::from(plan.prefix);
        len = 0;
        for byte in frame.get(at..start)? {
            len = len * 10 + usize::from(tables.digit(*byte)?);
        }
        if len > usize::from(plan.size) {
            return None;
        }
    }
    let content = frame.get(start..start + len)?;
    let passes = match plan.check {
        Check::Any => true,
        Check::Digits => tables.all_digits(content),
        rarer => rarer.passes(tables, content),
    };
    // Both fit: the frame is at most LONGEST bytes long.
    passes.then_some(Span { start: start as u16, len: len as u16 })
}

/// The bit of DE129 to DE192 in the third bitmap.
pub(crate) fn third_bit(n: u8) -> u64 {
    match n {
        129..=192 => 1 << 63 >> (n - 129),
        _ => 0,
    }
}

/// The elements that a third bitmap promises, ascending.
pub(crate) fn third_numbers(bits: u64) -> impl Iterator<Item = u8> {
    (129..=192).filter(move |n| bits & third_bit(*n) != 0)
}

/// Reads an element that is not written the common way: where it stands, where the next begins, and whether it is
/// good. `None` when the position is lost.
#[cold]
fn read_rare(spec: &Spec, frame: &[u8], n: u8, at: usize, faults: &mut Vec<Fault>) -> Option<(Span, usize, bool)> {
    let element = ElementAt::De(n);
    let Some(field) = spec.field(n) else {
        faults.push(Fault { element, offset: at, expected: Expected::KnownElement, got: Got::Unknown });
        return None;
    };
    let form = &field.wire;
    let head = match form.head(frame, at) {
        Ok(head) => head,
        Err((offset, expected, got)) => {
            faults.push(Fault { element, offset, expected, got });
            return None;
        }
    };
    let end = head.start + head.len;
    let content = frame.get(head.start..end).unwrap_or_default();
    // Both fit: the frame is at most LONGEST bytes long.
    let span = Span { start: head.start as u16, len: head.len as u16 };
    let mut good = true;
    if head.units > form.max() || head.len > form.size_of(form.max()) {
        let most = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let (expected, got) = if form.is_bytewise() {
            (Expected::AtMost(most(form.size_of(form.max()))), head.len)
        } else {
            (Expected::AtMostDigits(most(form.max())), head.units)
        };
        faults.push(Fault { element, offset: at, expected, got: Got::Length(got) });
        good = false;
    } else if let Some((offset, expected, got)) = form.fault(content, head.units) {
        faults.push(Fault { element, offset: head.start + offset, expected, got });
        good = false;
    }
    Some((span, end, good))
}

/// The message type and what is behind it.
#[inline]
fn read_mti<'f>(spec: &Spec, frame: &'f [u8]) -> Result<(Mti, &'f [u8]), Fault> {
    let MtiForm::Text(set) = spec.mti else { return read_packed_mti(spec, frame) };
    let tables = set.tables();
    let Some((kind, rest)) = frame.split_first_chunk::<4>() else {
        return Err(short(ElementAt::Mti, 0, 4, frame.len()));
    };
    match tables.four_digits(*kind) {
        Some(digits) => Ok((Mti(digits), rest)),
        None => Err(bad_mti(set, kind)),
    }
}

#[cold]
fn bad_mti(set: Charset, kind: &[u8]) -> Fault {
    let at = kind.iter().position(|b| set.tables().digit(*b).is_none()).unwrap_or(0);
    let got = kind.get(at).map_or(Got::Unknown, |b| met(set, *b));
    Fault { element: ElementAt::Mti, offset: at, expected: Expected::TypeDigits, got }
}

#[cold]
fn read_packed_mti<'f>(spec: &Spec, frame: &'f [u8]) -> Result<(Mti, &'f [u8]), Fault> {
    let Some((kind, rest)) = frame.split_first_chunk::<2>() else {
        return Err(short(ElementAt::Mti, 0, 2, frame.len()));
    };
    let [high, low] = *kind;
    let digits = [high >> 4, high & 15, low >> 4, low & 15];
    let mti = Mti::from_digits(digits).ok_or_else(|| {
        let at = digits.iter().position(|digit| *digit > 9).unwrap_or(0) / 2;
        let got = kind.get(at).map_or(Got::HalfByte, |b| match met(spec.charset, *b) {
            wrong @ (Got::AsciiDigit | Got::EbcdicDigit) => wrong,
            _ => Got::HalfByte,
        });
        Fault { element: ElementAt::Mti, offset: at, expected: Expected::TypeDigits, got }
    })?;
    Ok((mti, rest))
}

/// Start and length of an element's content; or offset and expectation of what is wrong with its prefix.
fn length(
    tables: &Tables,
    frame: &[u8],
    plan: &FieldPlan,
    at: usize,
) -> Result<(usize, usize), (usize, Expected, Option<Got>)> {
    if plan.prefix == 0 {
        return Ok((at, usize::from(plan.size)));
    }
    let digits = usize::from(plan.prefix);
    let expected = Expected::LengthDigits(plan.prefix);
    let Some(prefix) = frame.get(at..at + digits) else {
        return Err((at, expected, Some(Got::Left(frame.len().saturating_sub(at)))));
    };
    let mut len = 0usize;
    for (place, byte) in prefix.iter().enumerate() {
        match tables.digit(*byte) {
            Some(digit) => len = len * 10 + usize::from(digit),
            None => return Err((at + place, expected, None)),
        }
    }
    Ok((at + digits, len))
}

/// Reads one, two or three bitmaps behind the message type: the elements to 128, the third bitmap, and how many bytes
/// they took.
#[inline(always)]
pub(crate) fn read_bitmaps(spec: &Spec, rest: &[u8]) -> Result<(Elements, u64, usize), Fault> {
    let width = match spec.bitmap {
        BitmapForm::Binary => 8,
        BitmapForm::Hex => 16,
    };
    let first = read_bitmap(spec, rest, 0, width)?;
    if first >> 63 == 0 {
        return Ok((Elements::from_halves(first, 0), 0, width));
    }
    let second = read_bitmap(spec, rest, width, width)?;
    if !spec.third || second >> 63 == 0 {
        return Ok((Elements::from_halves(first, second), 0, 2 * width));
    }
    let third = read_bitmap(spec, rest, 2 * width, width)?;
    Ok((Elements::from_halves(first, second & (u64::MAX >> 1)), third, 3 * width))
}

#[inline(always)]
fn read_bitmap(spec: &Spec, rest: &[u8], at: usize, width: usize) -> Result<u64, Fault> {
    let before = spec.mti_size();
    let Some(bytes) = rest.get(at..at + width) else {
        return Err(short(ElementAt::Bitmap, before + at, width, rest.len().saturating_sub(at)));
    };
    if let Ok(raw) = <[u8; 8]>::try_from(bytes) {
        return Ok(u64::from_be_bytes(raw));
    }
    match spec.bitmap_charset.tables().hex_number(bytes) {
        Some(value) => Ok(value),
        None => Err(bad_bitmap(spec.bitmap_charset, before + at, bytes)),
    }
}

#[cold]
fn bad_bitmap(set: Charset, from: usize, bytes: &[u8]) -> Fault {
    let place = bytes.iter().position(|b| set.tables().class_of(*b) & class::HEX == 0).unwrap_or(0);
    let got = bytes.get(place).map_or(Got::Unknown, |b| met(set, *b));
    Fault { element: ElementAt::Bitmap, offset: from + place, expected: Expected::HexDigits, got }
}

#[cold]
fn short(element: ElementAt, offset: usize, want: usize, left: usize) -> Fault {
    Fault { element, offset, expected: Expected::Bytes(want), got: Got::Left(left) }
}

#[cold]
fn bad_content(spec: &Spec, plan: &FieldPlan, n: u8, start: usize, content: &[u8]) -> Fault {
    if content.is_empty() {
        // A sign is missing; every other kind of content may be empty.
        return short(ElementAt::De(n), start, 1, 0);
    }
    let at = plan.check.first_bad(spec.tables, content);
    let got = content.get(at).map_or(Got::Unknown, |b| met(spec.charset, *b));
    Fault { element: ElementAt::De(n), offset: start + at, expected: plan.check.expected(), got }
}

/// The kind of a byte, for an error that must not tell the byte.
#[cold]
pub(crate) fn met(charset: Charset, byte: u8) -> Got {
    let ebcdic = charset != Charset::Ascii;
    let bits = charset.tables().class_of(byte);
    match byte {
        0x30..=0x39 if ebcdic => Got::AsciiDigit,
        0xF0..=0xF9 if !ebcdic => Got::EbcdicDigit,
        _ if bits & class::DIGIT != 0 => Got::Digit,
        _ if bits & class::LETTER != 0 => Got::Letter,
        _ if bits & class::SPACE != 0 => Got::Blank,
        _ if bits & class::SPECIAL != 0 => Got::Special,
        _ => Got::Unprintable,
    }
}
