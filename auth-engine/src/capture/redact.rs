//! Messages made shareable: every card number replaced by another, tracks, PINs and codes blanked, everything else and
//! every length as it was, so that the result still decodes.
//!
//! What is secret is what `describe` masks: this file has no list of its own. Equal card numbers become equal ones;
//! the key by which they are made is drawn for each run and never leaves it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use etherparse::TcpSlice;
use iso_codec::{
    DescribeOptions, DescribedItem, DescribedValue, Framing, Message, Pan, Spec, describe, from_json, mask_digits,
};

use super::packets::{Packets, Segment};
use super::{Rest, cut, streams};

/// Replaces what is secret; one for a whole run.
pub struct Redactor {
    key: [u8; 32],
}

/// Why a message cannot be made shareable by its elements.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unredactable(String);

/// What was done with a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Told {
    /// Messages that are as before but for their secrets.
    pub messages: usize,
    /// Bytes that were blanked because no message could be read in them.
    pub blanked: usize,
    /// Why the first message that was blanked was.
    pub why: Option<String>,
}

impl Redactor {
    /// A redactor with a key of its own.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key })
    }

    /// The message with its secrets replaced, as long as before.
    ///
    /// # Errors
    /// The message does not decode, or what was replaced does not encode. The caller must not show its bytes then.
    pub fn message(&self, spec: &Arc<Spec>, frame: &Bytes) -> Result<Vec<u8>, Unredactable> {
        let wrong = |what: &dyn std::fmt::Display| Unredactable(what.to_string());
        let message = iso_codec::decode(spec, frame.clone()).map_err(|error| wrong(&error))?;
        let masked = describe(&message, &DescribeOptions { clear: false });
        let mut clear = describe(&message, &DescribeOptions { clear: true });
        let numbers = numbers_of(&message);
        let mut changed = false;
        for ((_, clear), (_, masked)) in clear.fields.iter_mut().zip(&masked.fields) {
            changed |= self.part(&numbers, &mut clear.raw, &mut clear.value, masked.raw.as_ref(), &masked.value);
        }
        if !changed {
            return Ok(frame.to_vec());
        }
        let json = serde_json::to_string(&clear).map_err(|error| wrong(&error))?;
        let (_, draft) = from_json(&json, Some(spec.name())).map_err(|error| wrong(&error))?;
        let bytes = draft.encode(spec).map_err(|error| wrong(&error))?;
        if bytes.len() != frame.len() {
            return Err(Unredactable("its length would change".to_owned()));
        }
        Ok(bytes.to_vec())
    }

    /// One element or part, beside what `describe` shows of it. Whether something was replaced.
    fn part(
        &self,
        numbers: &BTreeSet<String>,
        raw: &mut Option<String>,
        value: &mut DescribedValue,
        shown: Option<&String>,
        masked: &DescribedValue,
    ) -> bool {
        if shown.is_some() {
            return false;
        }
        match (value, masked) {
            (DescribedValue::Items(items), DescribedValue::Items(masked)) if items.len() == masked.len() => {
                for (DescribedItem { raw, value, .. }, masked) in items.iter_mut().zip(masked) {
                    self.part(numbers, raw, value, masked.raw.as_ref(), &masked.value);
                }
                // The parts say it all.
                *raw = None;
            }
            (DescribedValue::Text(text), _) => {
                *text = self.text(numbers, text);
                *raw = None;
            }
            // Bytes, or a composite of which nothing is shown.
            (value, _) => {
                *raw = raw.as_ref().map(|hex| self.hex(numbers, hex));
                *value = DescribedValue::Opaque;
            }
        }
        true
    }

    /// Text with each card number replaced; of the rest, digits become 0 and letters X.
    fn text(&self, numbers: &BTreeSet<String>, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        // Bytes that are written as hexadecimal characters stay such.
        let bytes = text.bytes().all(|ch| ch.is_ascii_hexdigit());
        while let Some(first) = rest.chars().next() {
            match number_at(numbers, rest) {
                Some(number) => {
                    out.push_str(&self.pseudonym(number));
                    rest = rest.get(number.len()..).unwrap_or_default();
                    // A track's separator is a letter in some writings.
                    if let Some(behind) = rest.strip_prefix('D') {
                        out.push('D');
                        rest = behind;
                    }
                }
                None => {
                    out.push(match first {
                        '0'..='9' => '0',
                        _ if bytes => '0',
                        letter if letter.is_alphabetic() => 'X',
                        other => other,
                    });
                    rest = rest.get(first.len_utf8()..).unwrap_or_default();
                }
            }
        }
        out
    }

    /// Bytes in hexadecimal with each packed card number replaced, all else zeros; a track's D and F stay.
    fn hex(&self, numbers: &BTreeSet<String>, hex: &str) -> String {
        let known = numbers.iter().any(|number| hex.contains(number.as_str()));
        let mut out = String::with_capacity(hex.len());
        let mut rest = hex;
        while let Some(first) = rest.chars().next() {
            if let Some(number) = number_at(numbers, rest) {
                out.push_str(&self.pseudonym(number));
                rest = rest.get(number.len()..).unwrap_or_default();
                continue;
            }
            out.push(if known && matches!(first, 'D' | 'F') { first } else { '0' });
            rest = rest.get(1..).unwrap_or_default();
        }
        out
    }

    /// Another card number with the digits that a masked one shows, valid by its check digit where the first is.
    fn pseudonym(&self, number: &str) -> String {
        // Drawn again should it be the number itself.
        (0u8..=u8::MAX).map(|turn| self.drawn(number, turn)).find(|drawn| drawn != number).unwrap_or_else(|| {
            // Nothing of it is hidden: too short to be a card number, so that nothing of it is kept.
            "0".repeat(number.len())
        })
    }

    fn drawn(&self, number: &str, turn: u8) -> String {
        let shown = mask_digits(number.as_bytes());
        let hash = blake3::Hasher::new_keyed(&self.key).update(&[turn]).update(number.as_bytes()).finalize();
        let mut digits: Vec<u8> = number.bytes().collect();
        let hidden: Vec<usize> = shown.bytes().enumerate().filter(|(_, ch)| *ch == b'*').map(|(at, _)| at).collect();
        for (at, byte) in hidden.iter().zip(hash.as_bytes()) {
            if let Some(digit) = digits.get_mut(*at) {
                *digit = b'0' + byte % 10;
            }
        }
        let valid = |digits: &[u8]| Pan::from_ascii(digits).is_some_and(|pan| pan.luhn_valid());
        let wanted = valid(number.as_bytes());
        if let Some(last) = hidden.last().copied() {
            for _ in 0..10 {
                if valid(&digits) == wanted {
                    break;
                }
                if let Some(digit) = digits.get_mut(last) {
                    *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
                }
            }
        }
        digits.into_iter().map(char::from).collect()
    }

    /// A capture file with the secrets of every message replaced, in the same packets. What no message can be read
    /// in is blanked.
    pub fn capture(&self, spec: &Arc<Spec>, framing: Framing, file: &mut [u8], packets: &Packets) -> Told {
        let mut told = Told::default();
        let runs = streams::runs(packets, file);
        for run in &runs {
            let bytes = self.stream(spec, framing, &run.bytes, &mut told);
            for (at, place) in &run.copies {
                let new = bytes.get(*at..(at + place.len()).min(bytes.len())).unwrap_or_default();
                if let Some(old) = file.get_mut(place.start..place.start + new.len()) {
                    old.copy_from_slice(new);
                }
            }
        }
        for place in &packets.others {
            told.blanked += blank(file, place.clone());
        }
        for segment in &packets.segments {
            // A capture that began in mid-connection may hold what belongs to no run.
            if !runs.iter().any(|run| run.copies.iter().any(|(_, place)| *place == segment.payload)) {
                told.blanked += blank(file, segment.payload.clone());
            }
            checksum(file, segment);
        }
        told
    }

    /// A stream of frames with the secrets of every message replaced; what does not decode is blanked.
    pub fn stream(&self, spec: &Arc<Spec>, framing: Framing, stream: &Bytes, told: &mut Told) -> Vec<u8> {
        let mut bytes = stream.to_vec();
        let (places, rest) = cut(framing, stream);
        for place in places {
            match self.message(spec, &super::message(stream, place)) {
                Ok(new) => {
                    told.messages += 1;
                    bytes.splice(place.start..place.end, new);
                }
                Err(why) => {
                    told.why.get_or_insert_with(|| why.to_string());
                    told.blanked += blank(&mut bytes, place.start..place.end);
                }
            }
        }
        let end = bytes.len();
        match rest {
            Rest::Nothing => {}
            Rest::Cut { at, .. } | Rest::Lost { at, .. } => told.blanked += blank(&mut bytes, at..end),
        }
        bytes
    }
}

fn blank(bytes: &mut [u8], place: Range<usize>) -> usize {
    match bytes.get_mut(place) {
        Some(piece) => {
            piece.fill(0);
            piece.len()
        }
        None => 0,
    }
}

/// The TCP checksum of a changed packet, so that tools that check it are content. A packet that was captured in part
/// keeps the one it had.
fn checksum(file: &mut [u8], segment: &Segment) {
    let sum = (|| {
        let tcp = TcpSlice::from_slice(file.get(segment.header..segment.payload.end)?).ok()?;
        match (segment.from.ip(), segment.to.ip()) {
            (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
                tcp.calc_checksum_ipv4(from.octets(), to.octets()).ok()
            }
            (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
                tcp.calc_checksum_ipv6(from.octets(), to.octets()).ok()
            }
            _ => None,
        }
    })();
    if let (Some(sum), Some(slot)) = (sum, file.get_mut(segment.header + 16..segment.header + 18)) {
        slot.copy_from_slice(&sum.to_be_bytes());
    }
}

/// The card number with which a text begins.
fn number_at<'a>(numbers: &'a BTreeSet<String>, text: &str) -> Option<&'a String> {
    // Longer ones first: a number may begin with a shorter one.
    numbers.iter().filter(|number| text.starts_with(number.as_str())).max_by_key(|number| number.len())
}

/// The card numbers in what a message's description masks.
fn numbers_of(message: &Message) -> BTreeSet<String> {
    let masked = describe(message, &DescribeOptions { clear: false });
    let clear = describe(message, &DescribeOptions { clear: true });
    let mut numbers = BTreeSet::new();
    for ((_, clear), (_, masked)) in clear.fields.iter().zip(&masked.fields) {
        collect(clear.raw.as_deref(), &clear.value, masked.raw.is_none(), &masked.value, &mut numbers);
    }
    numbers
}

fn collect(
    raw: Option<&str>,
    clear: &DescribedValue,
    hidden: bool,
    masked: &DescribedValue,
    numbers: &mut BTreeSet<String>,
) {
    if !hidden {
        return;
    }
    let text = match (clear, masked) {
        (DescribedValue::Items(items), DescribedValue::Items(masked)) => {
            for (item, masked) in items.iter().zip(masked) {
                collect(item.raw.as_deref(), &item.value, masked.raw.is_none(), &masked.value, numbers);
            }
            return;
        }
        (DescribedValue::Text(text), _) => text,
        _ => raw.unwrap_or_default(),
    };
    for piece in text.split(|ch: char| !ch.is_ascii_digit()) {
        if (12..=19).contains(&piece.len()) {
            numbers.insert(piece.to_owned());
        }
    }
}
