//! Messages to the ledger's words: what a 01xx, 02xx, 04xx says, checked for what rule 1 demands.

use iso_codec::{Message, Mti};
use ledger_core::book::{AdviceRequest, ReversalRequest, TapRequest, TapType};
use ledger_core::event::tap::{OriginalData, RepeatKey, Trace, TraceId};
use ledger_core::event::words::{Class, Kind};
use ledger_core::keys::Keyring;
use ledger_core::money::Currency;
use ledger_core::time::YearMonth;
use zeroize::Zeroizing;

/// What a message of the money classes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    /// 0100, 0200.
    Tap(Class),
    /// 0120, 0220.
    Advice(Class),
    /// 0400, 0420.
    Reversal,
}

/// The class of an MTI, repeats included.
pub fn money_class(mti: Mti) -> Option<Money> {
    match mti.0 {
        0x0100 | 0x0101 => Some(Money::Tap(Class::Authorization)),
        0x0200 | 0x0201 => Some(Money::Tap(Class::Financial)),
        0x0120 | 0x0121 => Some(Money::Advice(Class::AuthorizationAdvice)),
        0x0220 | 0x0221 => Some(Money::Advice(Class::FinancialAdvice)),
        0x0400 | 0x0401 | 0x0420 | 0x0421 => Some(Money::Reversal),
        _ => None,
    }
}

/// The lowest element that rule 1 misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing(pub u8);

/// What every message of the money classes has.
#[derive(Debug)]
pub struct Common {
    /// Keyed fingerprint of the PAN.
    pub fingerprint: [u8; 16],
    /// By what later messages name it.
    pub trace: Trace,
    /// How it is known again.
    pub repeat: RepeatKey,
    /// DE48 SE63.
    pub original: Option<TraceId>,
}

/// Reads what all money classes share; names the lowest element that is missing.
pub fn common(message: &Message, keyring: &Keyring) -> Result<Common, Missing> {
    let pan = message.pan().ok_or(Missing(2))?;
    for element in [3, 4] {
        if !message.has(element) {
            return Err(Missing(element));
        }
    }
    let transmitted = number(message, 7).ok_or(Missing(7))?;
    let stan = number(message, 11).ok_or(Missing(11))?;
    if !message.has(49) {
        return Err(Missing(49));
    }
    if message.has(6) && !message.has(51) {
        return Err(Missing(51));
    }
    let trace = Trace {
        stan,
        transmitted,
        acquirer: message.digits(32).unwrap_or(0),
        forwarder: message.digits(33).unwrap_or(0),
        reference: reference(message),
        settlement: number(message, 15).and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
    };
    let fingerprint = keyring.fingerprint(pan.as_digits());
    let repeat = repeat_key(message, keyring, &fingerprint, &trace);
    Ok(Common { fingerprint, trace, repeat, original: trace_id(message) })
}

fn number(message: &Message, element: u8) -> Option<u32> {
    message.digits(element).and_then(|n| u32::try_from(n).ok())
}

/// First nine characters of DE63, blank-filled.
fn reference(message: &Message) -> [u8; 9] {
    let mut buffer = [0u8; 64];
    let mut out = [0u8; 9];
    if let Some(text) = message.text(63, &mut buffer) {
        out = [b' '; 9];
        out.iter_mut().zip(text).for_each(|(o, t)| *o = *t);
    }
    out
}

/// The key of contracts 2.5, in one keyed hash of one short text: numbers as numbers with their count of digits, so
/// that links of different encodings agree, and as a rule it fits the hash's single block. Absent elements are part
/// of it: what is there is preceded by its length plus one, what is not by zero.
fn repeat_key(message: &Message, keyring: &Keyring, fingerprint: &[u8; 16], trace: &Trace) -> RepeatKey {
    let mut text = KeyText::default();
    text.put(&message.mti().without_repeat().0.to_be_bytes());
    text.put(fingerprint);
    text.put(&trace.transmitted.to_le_bytes());
    text.put(&trace.stan.to_le_bytes());
    let mut buffer = [0u8; 64];
    for element in [32, 33] {
        match (message.raw(element).map(<[u8]>::len), message.digits(element)) {
            (Some(count), Some(number)) => {
                text.count(count);
                text.put(&number.to_le_bytes());
            }
            (Some(_), None) => text.text(message.text(element, &mut buffer)),
            (None, _) => text.text(None),
        }
    }
    text.text(message.text(63, &mut buffer));
    let mut key = [0u8; 16];
    key.iter_mut().zip(keyring.keyed_hash(text.bytes())).for_each(|(to, from)| *to = from);
    let content = RepeatKey::content_of([3, 4, 49].map(|element| message.digits(element).unwrap_or(u64::MAX)));
    RepeatKey { key, content }
}

/// What a repeat is known by, before it is hashed. Two numbers of 7, three lengths, and DE63 of at most 50.
struct KeyText {
    bytes: [u8; 192],
    len: usize,
}

impl Default for KeyText {
    fn default() -> Self {
        Self { bytes: [0; 192], len: 0 }
    }
}

impl KeyText {
    fn put(&mut self, more: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + more.len()) {
            place.copy_from_slice(more);
            self.len += more.len();
        }
    }

    fn count(&mut self, count: usize) {
        self.put(&[u8::try_from(count + 1).unwrap_or(u8::MAX)]);
    }

    fn text(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => {
                self.count(text.len());
                self.put(text);
            }
            None => self.put(&[0]),
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// DE48 SE63: nine characters of the original's DE63, then its DE15.
fn trace_id(message: &Message) -> Option<TraceId> {
    let mut buffer = [0u8; 128];
    let text = message.sub_text(48, "63", &mut buffer)?;
    let reference: [u8; 9] = text.get(..9)?.try_into().ok()?;
    if reference.iter().all(|b| *b == b' ' || *b == b'0') {
        return None;
    }
    let settlement = text.get(9..13).and_then(ascii_number).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    Some(TraceId { reference, settlement })
}

fn ascii_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// One digit of DE61 by the name of its position.
fn pos_digit(message: &Message, name: &str) -> Option<u8> {
    let mut buffer = [0u8; 8];
    message.part(61, name, &mut buffer).and_then(|t| t.first().copied())
}

/// True when DE48 SE61 says that the terminal takes partial approvals.
pub fn partial_supported(message: &Message) -> bool {
    let mut buffer = [0u8; 128];
    message.sub_text(48, "61", &mut buffer).and_then(|t| t.first().copied()) == Some(b'1')
}

fn tap_type(message: &Message) -> TapType {
    let status = pos_digit(message, "status");
    if status == Some(b'8') {
        return TapType::AccountStatus;
    }
    match message.digits(3).map(|code| code / 10_000) {
        Some(0) if status == Some(b'4') => TapType::Hold(Kind::Preauthorization),
        Some(0) => TapType::Hold(Kind::Purchase),
        Some(1 | 17) => TapType::Hold(Kind::Cash),
        Some(9) => TapType::Hold(Kind::CashBack),
        Some(20) => TapType::Refund,
        Some(30) => TapType::BalanceInquiry,
        _ => TapType::Unsupported,
    }
}

/// A tap or an advice in the ledger's words.
pub fn tap(message: &Message, class: Class, common: &Common) -> TapRequest {
    let merchant_amount = amount(message, 4);
    let merchant_currency = message.digits(49).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    let billed = message.has(6);
    let (amount, code) = if billed {
        (amount(message, 6), message.digits(51).and_then(|n| u16::try_from(n).ok()).unwrap_or(0))
    } else {
        (merchant_amount, merchant_currency)
    };
    let known = Currency::from_numeric(code);
    // With DE6 the funding is decided in DE51; DE49 may then be any code of ISO 4217.
    let currency = if billed && Currency::from_numeric(merchant_currency).is_none() { None } else { known };
    TapRequest {
        class,
        kind: tap_type(message),
        fingerprint: common.fingerprint,
        expiry: expiry(message),
        amount,
        currency,
        merchant_amount,
        merchant_currency,
        billed,
        trace: common.trace,
        original: common.original,
        partial_supported: partial_supported(message),
    }
}

fn amount(message: &Message, element: u8) -> i64 {
    message.digits(element).and_then(|n| i64::try_from(n).ok()).unwrap_or(0)
}

/// DE14, else track 2's expiry.
fn expiry(message: &Message) -> Option<YearMonth> {
    if let Some(digits) = message.digits(14) {
        return u16::try_from(digits).ok().map(YearMonth);
    }
    let digits = Zeroizing::new(message.track2_expiry()?);
    ascii_number(digits.as_slice()).and_then(|n| u16::try_from(n).ok()).map(YearMonth)
}

/// An advice in the ledger's words, with the DE39 it carries.
pub fn advice(message: &Message, class: Class, common: &Common) -> (AdviceRequest, [u8; 2]) {
    let mut buffer = [0u8; 8];
    let code: [u8; 2] = message.text(39, &mut buffer).and_then(|t| t.try_into().ok()).unwrap_or(*b"  ");
    let approved = matches!(&code, b"00" | b"08" | b"10" | b"85");
    (AdviceRequest { tap: tap(message, class, common), approved }, code)
}

/// A reversal in the ledger's words.
pub fn reversal(message: &Message, common: &Common) -> ReversalRequest {
    let (keep_transaction, keep_billing) = replacement(message);
    ReversalRequest {
        fingerprint: common.fingerprint,
        original: original_data(message),
        trace: common.original,
        approval_code: approval_code(message),
        keep_transaction,
        keep_billing,
    }
}

/// DE38 as a number; `000000` and blank are none.
fn approval_code(message: &Message) -> Option<u32> {
    let mut buffer = [0u8; 8];
    let text = message.text(38, &mut buffer)?;
    ascii_number(text).and_then(|n| u32::try_from(n).ok()).filter(|n| *n != 0)
}

/// DE90: MTI 4, DE11 6, DE7 10, DE32 11, DE33 11. Of the MTI only 01 or 02 counts.
fn original_data(message: &Message) -> Option<OriginalData> {
    let mut buffer = [0u8; 64];
    let text = message.text(90, &mut buffer)?;
    let part = |from: usize, len: usize| text.get(from..from + len).and_then(ascii_number);
    let financial = match text.get(..2)? {
        b"01" => false,
        b"02" => true,
        _ => return None,
    };
    let stan = u32::try_from(part(4, 6)?).ok()?;
    let transmitted = u32::try_from(part(10, 10)?).ok()?;
    if stan == 0 && transmitted == 0 {
        return None;
    }
    Some(OriginalData { financial, stan, transmitted, acquirer: part(20, 11)?, forwarder: part(31, 11)? })
}

/// DE95's transaction and billing amounts; absent or zero is none.
fn replacement(message: &Message) -> (Option<i64>, Option<i64>) {
    let mut buffer = [0u8; 64];
    let Some(text) = message.text(95, &mut buffer) else { return (None, None) };
    let part = |from: usize| {
        let number = text.get(from..from + 12).and_then(ascii_number)?;
        i64::try_from(number).ok().filter(|n| *n > 0)
    };
    (part(0), part(24))
}

/// DE38 as it came, zero when there is none: an advice's own.
pub fn sent_approval_code(message: &Message) -> u32 {
    approval_code(message).unwrap_or(0)
}
