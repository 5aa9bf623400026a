//! Which message a reply answers: a walk over the reply up to DE39, and the key of a network's front end (MTI class,
//! DE7, DE11, DE32, and DE33 where the reply has it). It owns that key; it must never match on a terminal or a STAN
//! alone, and it must never panic on what a stranger sent.

use super::numbers::Range;
use super::template::{ACQUIRER, FORWARDER};
use iso_codec::{BitmapForm, Length, Spec};

/// What a reply says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Which message it answers, when DE7, DE11, DE32 and DE33 are of this run.
    pub(crate) number: Option<u64>,
    /// The message type, `0x0110`.
    pub(crate) mti: u16,
    /// DE39 as Latin-1.
    pub(crate) code: [u8; 2],
}

/// Reads replies in one spec.
pub(crate) struct Reader {
    /// By element up to 39: digits of the length prefix and, without one, the length.
    forms: [(u8, u16); 40],
    hex: bool,
    /// What a digit 0 is on the wire.
    zero: u8,
    latin1: [u8; 256],
    acquirer: Vec<u8>,
    forwarder: Vec<u8>,
}

/// The elements of the key and the answer.
const TRANSMITTED: usize = 7;
const STAN: usize = 11;
const OF_ACQUIRER: usize = 32;
const OF_FORWARDER: usize = 33;
const CODE: usize = 39;

impl Reader {
    /// For that spec.
    pub(crate) fn new(spec: &Spec) -> Reader {
        let charset = spec.charset();
        let wire = |text: &str| text.bytes().map(|byte| charset.from_latin1(byte)).collect();
        let form = |n: usize| {
            let field = u8::try_from(n).ok().filter(|n| *n >= 2).and_then(|n| spec.field(n));
            match field.map(|field| field.length) {
                Some(Length::Fixed(size)) => (0, size),
                Some(Length::Variable { digits, .. }) => (digits, 0),
                // No frame is so long: an element that the spec does not know makes the reply unreadable.
                None => (0, u16::MAX),
            }
        };
        Reader {
            forms: std::array::from_fn(form),
            hex: spec.bitmap_form() == BitmapForm::Hex,
            zero: charset.from_latin1(b'0'),
            latin1: std::array::from_fn(|byte| charset.to_latin1(u8::try_from(byte).unwrap_or(0))),
            acquirer: wire(ACQUIRER),
            forwarder: wire(FORWARDER),
        }
    }

    /// Reads a frame without its length prefix; `None` when it cannot be read up to DE39 or has none.
    #[inline]
    pub(crate) fn read(&self, frame: &[u8], range: &Range) -> Option<Reply> {
        let (mti, rest) = frame.split_first_chunk::<4>()?;
        let mut kind = 0u16;
        for byte in mti {
            kind = kind << 4 | u16::from(self.digit(*byte)?);
        }
        let (bits, mut rest) = self.bitmaps(rest)?;
        let mut found: [&[u8]; 40] = [&[]; 40];
        // Bit 64 - n is element n; elements above 39 need not be looked at.
        let mut left = bits & (u64::MAX << (64 - CODE)) & !(1 << 63);
        while left != 0 {
            let n = left.leading_zeros() as usize + 1;
            left &= !(1 << (64 - n));
            let (digits, size) = *self.forms.get(n)?;
            let (prefix, behind) = rest.split_at_checked(usize::from(digits))?;
            let mut length = usize::from(size);
            for byte in prefix {
                length = length * 10 + usize::from(self.digit(*byte)?);
            }
            let (content, behind) = behind.split_at_checked(length)?;
            *found.get_mut(n)? = content;
            rest = behind;
        }
        let [high, low] = *found[CODE] else { return None };
        let code = [high, low].map(|byte| self.latin1[usize::from(byte)]);
        Some(Reply { number: self.number(&found, range), mti: kind, code })
    }

    fn number(&self, found: &[&[u8]; 40], range: &Range) -> Option<u64> {
        if found[OF_ACQUIRER] != self.acquirer {
            return None;
        }
        if !found[OF_FORWARDER].is_empty() && found[OF_FORWARDER] != self.forwarder {
            return None;
        }
        let transmitted: [u8; 10] = found[TRANSMITTED].try_into().ok()?;
        let mut stan = 0;
        for byte in found[STAN] {
            stan = stan * 10 + u32::from(self.digit(*byte)?);
        }
        range.number(transmitted.map(|byte| byte.wrapping_sub(self.zero).wrapping_add(b'0')), stan)
    }

    /// The first bitmap's elements, and what is behind all bitmaps.
    #[inline]
    fn bitmaps<'f>(&self, rest: &'f [u8]) -> Option<(u64, &'f [u8])> {
        if !self.hex {
            let (first, rest) = rest.split_first_chunk::<8>()?;
            let first = u64::from_be_bytes(*first);
            return Some((first, if first >> 63 == 1 { rest.get(8..)? } else { rest }));
        }
        let (digits, rest) = rest.split_first_chunk::<16>()?;
        let mut first = 0u64;
        for byte in digits {
            first = first << 4 | u64::from(char::from(self.latin1[usize::from(*byte)]).to_digit(16)?);
        }
        Some((first, if first >> 63 == 1 { rest.get(16..)? } else { rest }))
    }

    #[inline]
    fn digit(&self, byte: u8) -> Option<u8> {
        let value = byte.wrapping_sub(self.zero);
        (value < 10).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::Numbers;
    use super::*;
    use iso_codec::{Draft, Mti};
    use std::sync::Arc;

    fn reply(spec: &Arc<Spec>, change: impl FnOnce(&mut Draft)) -> Vec<u8> {
        let mut draft = Draft::new(Mti(0x0110));
        draft
            .set_text(2, "5351101200000001")
            .set_digits(3, 0)
            .set_digits(4, 1250)
            .set_text(7, "0131120000")
            .set_digits(11, 42)
            .set_text(32, ACQUIRER)
            .set_text(33, FORWARDER)
            .set_text(38, "123456")
            .set_text(39, "00")
            .set_digits(49, 978)
            .set_text(63, "MLD000016");
        change(&mut draft);
        draft.encode(spec).expect("a good reply").to_vec()
    }

    #[test]
    fn a_reply_is_matched_by_the_whole_key() {
        for name in ["mastercard", "iso1987-ascii"] {
            let spec = Spec::embedded(name).expect("it is compiled in");
            let reader = Reader::new(&spec);
            let mut numbers = Numbers::new("2026-01-31T12:00:00Z".parse().expect("a time"));
            let range = numbers.take(100);
            let read = |change: fn(&mut Draft)| reader.read(&reply(&spec, change), &range);
            let good = Reply { number: Some(42), mti: 0x0110, code: *b"00" };
            assert_eq!(read(|_| ()), Some(good));
            let refused = |draft: &mut Draft| {
                draft.set_text(39, "51").remove(38);
            };
            assert_eq!(read(refused), Some(Reply { code: *b"51", ..good }));
            assert_eq!(
                read(|draft| {
                    draft.remove(33);
                }),
                Some(good),
                "DE33 need not come back"
            );
            let other = Some(Reply { number: None, ..good });
            assert_eq!(
                read(|draft| {
                    draft.set_text(32, "654321");
                }),
                other
            );
            assert_eq!(
                read(|draft| {
                    draft.set_text(33, "654321");
                }),
                other
            );
            assert_eq!(
                read(|draft| {
                    draft.set_text(7, "0131120001");
                }),
                other
            );
            assert_eq!(
                read(|draft| {
                    draft.remove(32);
                }),
                other
            );
            assert_eq!(
                read(|draft| {
                    draft.remove(39);
                }),
                None,
                "an answer without DE39 is none"
            );
            // With a second bitmap, too.
            assert_eq!(
                read(|draft| {
                    draft.set_text(105, "001");
                }),
                Some(good)
            );
        }
    }

    #[test]
    fn nothing_makes_it_panic() {
        let spec = Spec::embedded("mastercard").expect("it is compiled in");
        let reader = Reader::new(&spec);
        let range = Numbers::new(jiff::Timestamp::UNIX_EPOCH).take(100);
        let good = reply(&spec, |_| ());
        for end in 0..good.len() {
            reader.read(&good[..end], &range);
        }
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..100_000 {
            let mut bad = good.clone();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..bad.len());
                bad[at] = rng.u8(..);
            }
            reader.read(&bad, &range);
        }
    }
}
