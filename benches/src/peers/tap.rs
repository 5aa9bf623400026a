//! What both servers do for a tap besides money: read the message, know it again, encode the reply, write the record.
//! It is one code so that the two differ in nothing but their locks and their syncs. It must never decide.

use crate::fault::Fault;
use auth_engine::engine::reply::{self, Parts};
use bytes::{Bytes, BytesMut};
use iso_codec::{EncodeError, Message, Pan, Spec, decode};
use std::sync::Arc;

/// Largest message that is taken, in bytes, as by the engine's `max_frame`.
pub(super) const LARGEST: usize = 8192;
/// The only currency of the peers' pool.
const EURO: u64 = 978;
/// What DE63 has at most, by the spec.
const REFERENCE: usize = 50;
/// Cards are numbered from this one on; a check digit follows.
const FIRST_CARD: u64 = 535_110_120_000_000;
/// Decision and length before the request in a record.
pub(super) const RECORD_HEADER: usize = 10;

/// What makes a message the same one again: exactly the elements of the engine's key, compared as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    class: u16,
    pan: u64,
    transmitted: u64,
    stan: u64,
    /// `u64::MAX` when it is absent; so is the forwarder.
    acquirer: u64,
    forwarder: u64,
    reference: [u8; REFERENCE],
    reference_length: u8,
}

/// What must not have changed when it comes again: DE3, DE4, DE49.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content(u64, u64, u64);

/// A request in the words of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    pub(super) key: Key,
    pub(super) content: Content,
    pub(super) pan: u64,
    /// Euro cents.
    pub(super) amount: i64,
}

/// What a message turned out to be.
pub(super) enum Read {
    /// A tap to be decided.
    Tap(Message, Tap),
    /// Answered with this code, without money or journal.
    Refused(Message, [u8; 2]),
    /// Not readable: dropped.
    Nothing,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// 00 with this approval code.
    Approved(u32),
    /// DE39.
    Declined([u8; 2]),
}

/// What is kept of a decided tap for its repeats.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) content: Content,
    /// The reply with its length prefix.
    pub(super) reply: Box<[u8]>,
}

/// The spec that all peers speak.
pub(super) fn spec() -> Result<Arc<Spec>, Fault> {
    Spec::embedded("mastercard").ok_or_else(|| Fault::Message("the spec `mastercard` is not compiled in".to_owned()))
}

/// The number of the card `n`: the same in every peer and in the engine.
pub(crate) fn pan(n: u32) -> u64 {
    let body = (FIRST_CARD + u64::from(n)) * 10;
    let valid = |pan: &u64| Pan::from_ascii(pan.to_string().as_bytes()).is_some_and(|pan| pan.luhn_valid());
    (body..body + 10).find(valid).unwrap_or(body)
}

/// Decodes a frame and reads what a decision needs.
pub(super) fn read(spec: &Arc<Spec>, frame: Bytes) -> Read {
    let Ok(message) = decode(spec, frame) else { return Read::Nothing };
    let class = message.mti().without_repeat().0;
    if class != 0x0100 {
        return if message.mti().is_request() { Read::Refused(message, *b"12") } else { Read::Nothing };
    }
    let Some(tap) = tap(&message, class) else { return Read::Refused(message, *b"30") };
    if message.digits(49) != Some(EURO) {
        return Read::Refused(message, *b"57");
    }
    if tap.amount <= 0 {
        return Read::Refused(message, *b"13");
    }
    Read::Tap(message, tap)
}

/// `None` when a mandatory element is missing.
fn tap(message: &Message, class: u16) -> Option<Tap> {
    let pan = message.pan()?;
    // A number with a leading zero is none of ours; as a number it could be taken for one.
    let pan = match pan.as_digits().first() {
        Some(b'0') | None => 0,
        Some(_) => pan.as_digits().iter().fold(0u64, |n, digit| n.wrapping_mul(10) + u64::from(digit - b'0')),
    };
    let amount = message.digits(4)?;
    let mut reference = [0u8; REFERENCE];
    let raw = message.raw(63).unwrap_or_default();
    reference.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
    let key = Key {
        class,
        pan,
        transmitted: message.digits(7)?,
        stan: message.digits(11)?,
        acquirer: message.digits(32).unwrap_or(u64::MAX),
        forwarder: message.digits(33).unwrap_or(u64::MAX),
        reference,
        reference_length: u8::try_from(raw.len()).unwrap_or(u8::MAX),
    };
    let content = Content(message.digits(3)?, amount, message.digits(49)?);
    Some(Tap { key, content, pan, amount: i64::try_from(amount).ok()? })
}

/// Appends the reply with its 2-byte length: the elements that the engine returns, by the engine's own rule.
pub(super) fn reply(message: &Message, answer: Answer, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut parts = Parts::code(*b"00");
    match answer {
        Answer::Approved(code) => parts.approval_code = code,
        Answer::Declined(code) => parts.response_code = code,
    }
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    let length = reply::write(message, &parts, out)?;
    // A request of at most `LARGEST` bytes has no longer reply than fits.
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(prefix) = out.get_mut(start..start + 2) {
        prefix.copy_from_slice(&length);
    }
    Ok(())
}

/// The approval code of the decision with that number: six digits, never all zero.
pub(super) fn approval_code(number: u64) -> u32 {
    u32::try_from(number % 999_999).unwrap_or(0) + 1
}

/// Appends a record: length of what follows, DE39, approval code, the request as it came.
pub(super) fn record(request: &[u8], answer: Answer, out: &mut Vec<u8>) {
    let (code, approval) = match answer {
        Answer::Approved(approval) => (*b"00", approval),
        Answer::Declined(code) => (code, 0),
    };
    let length = u32::try_from(request.len() + RECORD_HEADER - 4).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&code);
    out.extend_from_slice(&approval.to_be_bytes());
    out.extend_from_slice(request);
}
