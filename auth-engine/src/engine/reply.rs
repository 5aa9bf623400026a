//! Replies: what contracts 2.3 returns from the request, and what we set. The same request and parts give the same
//! bytes, so that a repeat can be answered from the journal.

use bytes::BytesMut;
use iso_codec::{Builder, Elements, EncodeError, Message};
use ledger_core::event::tap::Reply;
use ledger_core::money::{Currency, Money, share_down};

/// Returned unchanged when present in the request.
const RETURNED: Elements =
    Elements::of(&[2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 20, 28, 32, 33, 37, 41, 49, 50, 51, 62, 63]);
/// Returned in 0410 and 0430 besides.
const RETURNED_REVERSAL: Elements = Elements::of(&[90, 95]);
/// All that an 0810 returns.
const RETURNED_NETWORK: Elements = Elements::of(&[7, 11, 33, 63, 70, 94, 96]);
/// DE48 sub-elements returned, in this order.
const RETURNED_SUBS: [&[u8; 2]; 3] = [b"42", b"43", b"63"];

/// The parts of a reply that are not in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// DE39.
    pub response_code: [u8; 2],
    /// DE38; zero for none.
    pub approval_code: u32,
    /// Approved in part: so much of so much, in the currency of the amount.
    pub partial: Option<(i64, i64)>,
    /// DE54, the available balance.
    pub balance: Option<Money>,
    /// DE44, with 30: the offending element in three digits.
    pub offending: Option<[u8; 3]>,
}

impl Parts {
    /// DE39 alone.
    pub const fn code(response_code: [u8; 2]) -> Self {
        Self { response_code, approval_code: 0, partial: None, balance: None, offending: None }
    }

    /// What the journal keeps of a reply. `asked` is the amount of the tap.
    pub fn of(reply: &Reply, asked: i64) -> Self {
        Self {
            response_code: reply.response_code,
            approval_code: reply.approval_code,
            partial: reply.partial.map(|approved| (approved, asked)),
            balance: reply.balance,
            offending: None,
        }
    }
}

/// Appends the reply to `request` and returns its length.
///
/// # Errors
/// Only when a spec cannot carry what this engine sets; the request itself was decoded by the same spec.
pub fn write(request: &Message, parts: &Parts, out: &mut BytesMut) -> Result<usize, EncodeError> {
    let mti = request.mti().response();
    let network = mti.class() == 8;
    let reversal = mti.class() == 4;
    let advice = matches!(request.mti().without_repeat().0, 0x0120 | 0x0220);
    let administrative = mti.class() == 6;
    let mut returned = match (network, reversal) {
        (true, _) => RETURNED_NETWORK,
        (false, true) => RETURNED.or(RETURNED_REVERSAL),
        (false, false) => RETURNED,
    };
    if parts.partial.is_some() {
        returned = returned.without(Elements::of(&[4, 6]));
    }
    let mut answer = Answer { builder: Builder::new(request.spec(), mti, out), request, returned };
    if let Some((approved, asked)) = parts.partial {
        for element in [4, 6] {
            if request.has(element) {
                answer.up_to(element)?.digits(element, partial_amount(request, element, approved, asked))?;
            }
        }
    }
    if advice && parts.response_code == *b"00" && request.has(38) {
        answer.up_to(38)?.copy(38, request)?;
    } else if parts.approval_code != 0 {
        answer.up_to(38)?.text(38, &six(parts.approval_code))?;
    }
    answer.up_to(39)?.text(39, &parts.response_code)?;
    if let Some(element) = parts.offending {
        answer.up_to(44)?.text(44, &element)?;
    }
    let mut buffer = [0u8; 384];
    if !network && let Some(length) = additional_data(request, &mut buffer) {
        answer.up_to(48)?.raw(48, buffer.get(..length).unwrap_or_default())?;
    }
    let length = additional_amounts(request, parts, &mut buffer);
    if length > 0 {
        answer.up_to(54)?.text(54, buffer.get(..length).unwrap_or_default())?;
    }
    if administrative && request.has(60) {
        answer.up_to(60)?.copy(60, request)?;
    }
    let Answer { mut builder, returned, .. } = answer;
    builder.copy_set(returned, request)?;
    builder.finish()
}

/// A reply being written, lowest element first.
struct Answer<'a> {
    builder: Builder<'a>,
    request: &'a Message,
    /// What of the request is still to be returned.
    returned: Elements,
}

impl<'a> Answer<'a> {
    /// Returns what stands before the element that is set next.
    fn up_to(&mut self, element: u8) -> Result<&mut Builder<'a>, EncodeError> {
        let here = self.returned.below(element);
        self.returned = self.returned.without(here);
        self.builder.copy_set(here, self.request)?;
        Ok(&mut self.builder)
    }
}

/// DE6 is what was approved; DE4 goes in proportion, rounded down. Without DE6 the approved amount is DE4's.
fn partial_amount(request: &Message, element: u8, approved: i64, asked: i64) -> u64 {
    let value = if element == 6 || !request.has(6) {
        Some(approved)
    } else {
        request.digits(4).and_then(|n| i64::try_from(n).ok()).and_then(|whole| share_down(whole, approved, asked))
    };
    value.and_then(|v| u64::try_from(v).ok()).unwrap_or(0)
}

/// The request's class byte, then its sub-elements 42, 43 and 63. `None` when there is nothing to return.
fn additional_data(request: &Message, buffer: &mut [u8; 384]) -> Option<usize> {
    let raw = request.raw(48)?;
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        if let Some(place) = buffer.get_mut(length..length + bytes.len()) {
            place.copy_from_slice(bytes);
            length += bytes.len();
        }
    };
    if request.tcc().is_some() {
        put(raw.get(..1)?);
    }
    request.sub_wires(48, RETURNED_SUBS).into_iter().flatten().for_each(put);
    (length > 0).then_some(length)
}

/// DE54: repeats of 20 characters.
fn additional_amounts(request: &Message, parts: &Parts, buffer: &mut [u8; 384]) -> usize {
    let mut length = 0;
    let mut put = |amount_type: &[u8; 2], currency: u64, amount: u64| {
        let mut one = *b"00xx999C999999999999";
        one[2..4].copy_from_slice(amount_type);
        digits(&mut one[4..7], currency);
        digits(&mut one[8..20], amount);
        if let Some(place) = buffer.get_mut(length..length + 20) {
            place.copy_from_slice(&one);
            length += 20;
        }
    };
    if parts.partial.is_some() {
        put(b"57", request.digits(49).unwrap_or(0), request.digits(4).unwrap_or(0));
    }
    if let Some(balance) = parts.balance
        && !balance.currency.is_crypto()
    {
        put(
            b"02",
            u64::from(Currency::number(balance.currency)),
            u64::try_from(balance.minor).unwrap_or(0).min(999_999_999_999),
        );
    }
    length
}

fn six(code: u32) -> [u8; 6] {
    let mut out = [b'0'; 6];
    digits(&mut out, u64::from(code));
    out
}

fn digits(place: &mut [u8], mut value: u64) {
    for slot in place.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}
