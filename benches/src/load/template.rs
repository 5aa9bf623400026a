//! Frames made once by the codec and then patched in place: card, amount, DE7, DE11, DE37, DE63, and DE90 of a
//! reversal. It owns where those stand; it must never decide what goes into them.

use super::cards::Cards;
use super::mix::Kind;
use super::numbers::Range;
use super::schedule::Slot;
use crate::fault::Fault;
use bytes::Bytes;
use iso_codec::{Draft, Layout, Mti, Spec, decode};
use std::sync::Arc;

/// DE32 of every message.
pub(crate) const ACQUIRER: &str = "123456";
/// DE33 of every message.
pub(crate) const FORWARDER: &str = "200200";
const EURO: u64 = 978;
/// DE4 of a tap that must be declined: 9,999,999,999.99, more than any source of a run has.
const TOO_MUCH: u64 = 999_999_999_999;
/// Digits and capitals of the network reference, in the order of their value.
const LETTERS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Network code of the generator's references, so that none is another part of this program's.
const NETWORK: &str = "MLD";

/// One kind's frame, length prefix included, and where its parts stand in it.
struct Template {
    frame: Vec<u8>,
    pan: usize,
    amount: usize,
    transmitted: usize,
    stan: usize,
    retrieval: usize,
    /// Behind the network code of DE63.
    reference: usize,
    /// DE90, of a reversal.
    original: Option<usize>,
}

/// The frames of a run.
pub(crate) struct Frames {
    kinds: [Template; 5],
    /// What a digit 0 is on the wire.
    zero: u8,
    pairs: [[u8; 2]; 100],
    letters: [u8; 36],
    pan: usize,
}

impl Frames {
    /// In that spec, for card numbers of that length.
    pub(crate) fn new(spec: &Arc<Spec>, pan: usize) -> Result<Frames, Fault> {
        let charset = spec.charset();
        let zero = charset.from_latin1(b'0');
        let digit = |value: usize| zero + u8::try_from(value % 10).unwrap_or(0);
        let template = |kind| template(spec, kind, pan);
        Ok(Frames {
            kinds: [
                template(Kind::Approve)?,
                template(Kind::Decline)?,
                template(Kind::Reversal)?,
                template(Kind::Repeat)?,
                template(Kind::Advice)?,
            ],
            zero,
            pairs: std::array::from_fn(|value| [digit(value / 10), digit(value)]),
            letters: LETTERS.map(|letter| charset.from_latin1(letter)),
            pan,
        })
    }

    /// A purchase without its length prefix: bytes for the floor.
    pub(crate) fn sample(&self) -> &[u8] {
        let [approve, ..] = &self.kinds;
        approve.frame.get(2..).unwrap_or_default()
    }

    /// Appends the frame of a slot. `number` is its own; `about` is the original's slot and number, of a repeat or a
    /// reversal.
    #[inline]
    pub(crate) fn write(
        &self,
        slot: &Slot,
        number: u64,
        about: Option<(&Slot, u64)>,
        cards: &Cards,
        range: &Range,
        out: &mut Vec<u8>,
    ) {
        let [approve, decline, reversal, repeat, advice] = &self.kinds;
        let template = match slot.kind {
            Kind::Approve => approve,
            Kind::Decline => decline,
            Kind::Reversal => reversal,
            Kind::Repeat => repeat,
            Kind::Advice => advice,
        };
        let at = out.len();
        out.extend_from_slice(&template.frame);
        let Some(frame) = out.get_mut(at..) else { return };

        // A repeat is its original in every element; a reversal has its own DE7, DE11 and DE63.
        let (amount, own) = match (slot.kind, about) {
            (Kind::Repeat, Some((original, of))) => (original.detail, of),
            (_, Some((original, _))) => (original.detail, number),
            (_, None) => (slot.detail, number),
        };
        let (transmitted, stan) = range.of(own);
        let digits = cards.digits(slot.card);
        for (to, digit) in part(frame, template.pan, self.pan).iter_mut().zip(digits) {
            *to = self.zero + digit;
        }
        if slot.kind != Kind::Decline {
            self.number(part(frame, template.amount, 12), u64::from(amount));
        }
        self.text(part(frame, template.transmitted, 10), transmitted);
        self.number(part(frame, template.stan, 6), u64::from(stan));
        self.number(part(frame, template.retrieval + 6, 6), u64::from(stan));
        let mut rest = own;
        for to in part(frame, template.reference, 6).iter_mut().rev() {
            *to = self.letters.get((rest % 36) as usize).copied().unwrap_or(self.zero);
            rest /= 36;
        }
        if let (Some(place), Some((_, of))) = (template.original, about) {
            let (transmitted, stan) = range.of(of);
            self.number(part(frame, place + 4, 6), u64::from(stan));
            self.text(part(frame, place + 10, 10), transmitted);
        }
    }

    /// Right-aligned digits with zeros in front.
    #[inline]
    fn number(&self, to: &mut [u8], mut value: u64) {
        for pair in to.rchunks_exact_mut(2) {
            pair.copy_from_slice(self.pairs.get((value % 100) as usize).unwrap_or(&[0; 2]));
            value /= 100;
        }
    }

    #[inline]
    fn text(&self, to: &mut [u8], digits: &[u8]) {
        for (to, digit) in to.iter_mut().zip(digits) {
            *to = self.zero + (digit & 0x0F);
        }
    }
}

/// A part of a frame that the template was found to have.
#[inline]
fn part(frame: &mut [u8], at: usize, length: usize) -> &mut [u8] {
    frame.get_mut(at..at + length).unwrap_or_default()
}

fn template(spec: &Arc<Spec>, kind: Kind, pan: usize) -> Result<Template, Fault> {
    let mti = match kind {
        Kind::Approve | Kind::Decline => 0x0100,
        Kind::Repeat => 0x0101,
        Kind::Reversal => 0x0400,
        Kind::Advice => 0x0120,
    };
    let mut draft = Draft::new(Mti(mti));
    draft
        .set_text(2, "9".repeat(pan))
        .set_digits(3, 0)
        .set_digits(4, if kind == Kind::Decline { TOO_MUCH } else { 0 })
        .set_text(7, "0101000000")
        .set_digits(11, 0)
        .set_text(32, ACQUIRER)
        .set_text(33, FORWARDER)
        .set_text(37, "000000000000")
        .set_text(41, "TERM0001")
        .set_digits(49, EURO)
        .set_text(63, format!("{NETWORK}000000"));
    match kind {
        Kind::Approve | Kind::Decline | Kind::Repeat => {
            draft
                .set_text(18, "5812")
                .set_text(22, "071")
                .set_text(42, "MERCHANT0000001")
                .set_text(43, format!("{:<22} {:<13} {:<3}", "CORNER SHOP", "BERLIN", "DEU"))
                .set_text(61, "000000000000027610115");
            // The category code, where the spec knows the inside of the element.
            if spec.field(48).is_some_and(|field| matches!(field.layout, Layout::Tagged(_))) {
                draft.set_subs(48, &[("TCC", "R")]);
            }
        }
        Kind::Advice => {
            draft.set_text(18, "5812").set_text(22, "071").set_text(38, "123456").set_text(39, "00");
            draft.set_text(60, "1020000");
        }
        Kind::Reversal => {
            draft.set_text(39, "17");
            draft.set_text(90, format!("0100{:016}{ACQUIRER:0>11}{FORWARDER:0>11}", 0));
        }
    }
    let message = draft.encode(spec).map_err(|error| Fault::Message(error.to_string()))?;
    let place = |n| place(spec, &message, n);
    let original = if kind == Kind::Reversal { Some(place(90)?) } else { None };
    let length = u16::try_from(message.len()).map_err(|_| Fault::Message("a frame over 65,535 bytes".to_owned()))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&message);
    Ok(Template {
        pan: place(2)?,
        amount: place(4)?,
        transmitted: place(7)?,
        stan: place(11)?,
        retrieval: place(37)?,
        reference: place(63)? + NETWORK.len(),
        original,
        frame,
    })
}

/// Where an element's content stands in a frame with its length prefix.
fn place(spec: &Arc<Spec>, message: &Bytes, n: u8) -> Result<usize, Fault> {
    let read = decode(spec, message.clone()).map_err(|error| Fault::Message(error.to_string()))?;
    let raw = read.raw(n).ok_or_else(|| Fault::Message(format!("DE{n} is missing in a template")))?;
    // The element is a slice of the frame that was decoded, so the difference of the addresses is its offset.
    Ok(raw.as_ptr() as usize - read.frame().as_ptr() as usize + 2)
}

#[cfg(test)]
mod tests {
    use super::super::numbers::Numbers;
    use super::*;

    fn slot(kind: Kind, card: u32, detail: u32) -> Slot {
        Slot { due: 0, took: 0, lag: 0, card, detail, kind, code: [0; 2] }
    }

    #[test]
    fn a_patched_frame_reads_as_what_was_put_in() {
        for name in ["mastercard", "iso1987-ascii"] {
            let spec = Spec::embedded(name).expect("it is compiled in");
            let frames = Frames::new(&spec, 16).expect("templates");
            let cards = Cards::new(["5351101200000001", "5351101200000019"]).expect("cards");
            let mut numbers = Numbers::new("2026-01-31T12:00:00Z".parse().expect("a time"));
            let range = numbers.take(1_500_000);
            let original = slot(Kind::Approve, 1, 1250);
            for (kind, mti, about) in [
                (Kind::Approve, "0100", None),
                (Kind::Decline, "0100", None),
                (Kind::Advice, "0120", None),
                (Kind::Repeat, "0101", Some((&original, 12))),
                (Kind::Reversal, "0400", Some((&original, 12))),
            ] {
                let mut out = Vec::new();
                frames.write(&slot(kind, 1, 1250), 1_234_567, about, &cards, &range, &mut out);
                let message = decode(&spec, Bytes::copy_from_slice(&out[2..])).expect("a good message");
                assert_eq!(usize::from(u16::from_be_bytes([out[0], out[1]])), out.len() - 2);
                let text = |n| message.string(n).unwrap_or_default();
                assert_eq!(message.mti().to_string(), mti);
                assert_eq!(text(2), "5351101200000019");
                assert_eq!(message.digits(4), Some(if kind == Kind::Decline { TOO_MUCH } else { 1250 }));
                let (stan, transmitted, reference) = match kind {
                    Kind::Repeat => (12, "0131120000", "MLD00000C"),
                    _ => (234_567, "0131120001", "MLD00QGLJ"),
                };
                assert_eq!((message.digits(11), text(7).as_str()), (Some(stan), transmitted));
                assert_eq!((message.digits(37), text(63).as_str()), (Some(stan), reference));
                if kind == Kind::Reversal {
                    assert_eq!(text(90), "010000001201311200000000012345600000200200");
                }
            }
        }
    }
}
