//! Messages to the ledger's words: what a 01xx, 02xx, 04xx says, checked for what rule 1 demands.

use iso_codec::{Message, Mti, Original};
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
        reference: message.network_reference().unwrap_or_default(),
        settlement: number(message, 15).and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
    };
    let fingerprint = keyring.fingerprint(pan.as_digits());
    let repeat = repeat_key(message, keyring, &fingerprint, &trace);
    Ok(Common { fingerprint, trace, repeat, original: trace_id(message) })
}

fn number(message: &Message, element: u8) -> Option<u32> {
    message.digits(element).and_then(|n| u32::try_from(n).ok())
}

/// The key of contracts 2.5, in one keyed hash of one short text: numbers as numbers, so that links of different
/// encodings agree, and as a rule it fits the hash's single block. Absent elements are part of it: what is there is
/// preceded by its length plus one, what is not by zero.
fn repeat_key(message: &Message, keyring: &Keyring, fingerprint: &[u8; 16], trace: &Trace) -> RepeatKey {
    let mut text = KeyText::default();
    text.put(&message.mti().without_repeat().0.to_be_bytes());
    text.put(fingerprint);
    text.put(&trace.transmitted.to_le_bytes());
    text.put(&trace.stan.to_le_bytes());
    let mut buffer = [0u8; 64];
    for element in [32, 33] {
        match message.digits(element) {
            Some(number) => {
                // Without leading zeros, as in contracts 2.6: packing puts one before an odd number of digits.
                text.count(number.checked_ilog10().map_or(1, |ten| ten as usize + 1));
                text.put(&number.to_le_bytes());
            }
            None => text.text(message.text(element, &mut buffer)),
        }
    }
    match message.text(63, &mut buffer) {
        None if message.has(63) => text.put(&long_reference(message, keyring)),
        short => text.text(short),
    }
    let mut key = [0u8; 16];
    key.iter_mut().zip(keyring.keyed_hash(text.bytes())).for_each(|(to, from)| *to = from);
    let content = RepeatKey::content_of([3, 4, 49].map(|element| message.digits(element).unwrap_or(u64::MAX)));
    RepeatKey { key, content }
}

/// A DE63 longer than any network's, in place of its characters: some specs give it room for 999.
#[cold]
fn long_reference(message: &Message, keyring: &Keyring) -> [u8; 32] {
    let mut buffer = [0u8; 1000];
    keyring.keyed_hash(message.text_start(63, &mut buffer).unwrap_or_default())
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

/// DE48 SE63, in the ledger's words.
fn trace_id(message: &Message) -> Option<TraceId> {
    message.trace_link().map(|link| TraceId { reference: link.reference, settlement: link.settlement })
}

fn ascii_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

fn tap_type(message: &Message) -> TapType {
    let status = message.pos_digit("status");
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
        partial_supported: message.takes_partial(),
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

/// DE90 in the ledger's words. Of the MTI only 01 or 02 counts.
fn original_data(message: &Message) -> Option<OriginalData> {
    let original = message.original()?;
    let financial = match original.mti.0 >> 8 {
        0x01 => false,
        0x02 => true,
        _ => return None,
    };
    let transmitted = u32::try_from(original.transmitted).ok()?;
    if original.stan == 0 && transmitted == 0 {
        return None;
    }
    let Original { stan, acquirer, forwarder, .. } = original;
    Some(OriginalData { financial, stan, transmitted, acquirer, forwarder })
}

/// DE95's transaction and billing amounts; absent or zero is none.
fn replacement(message: &Message) -> (Option<i64>, Option<i64>) {
    let signed = |amount: Option<u64>| amount.and_then(|amount| i64::try_from(amount).ok());
    message.replacement().map_or((None, None), |stays| (signed(stays.transaction), signed(stays.billing)))
}

/// DE38 as it came, zero when there is none: an advice's own.
pub fn sent_approval_code(message: &Message) -> u32 {
    approval_code(message).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso_codec::{Draft, Spec, decode};
    use ledger_core::keys::MasterKey;
    use std::sync::Arc;

    /// Packed digits whose length counts bytes: how many of them there were is not told.
    const PACKED: &str = r#"
        name = "packed-by-bytes"
        charset = "ascii"
        bitmap = "binary"
        numeric = "bcd"
        prefix = "bcd"
        count = "bytes"
        [fields]
        2 = { name = "PAN", kind = "n", length = "..18" }
        3 = { name = "code", kind = "n", length = 6 }
        4 = { name = "amount", kind = "n", length = 12 }
        7 = { name = "transmitted", kind = "n", length = 10 }
        11 = { name = "STAN", kind = "n", length = 6 }
        32 = { name = "acquirer", kind = "n", length = "..12" }
        33 = { name = "forwarder", kind = "n", length = "..12" }
        49 = { name = "currency", kind = "n", length = 3 }
        63 = { name = "network", kind = "ans", length = "....999" }
    "#;

    fn specs() -> Vec<Arc<Spec>> {
        let known = ["mastercard", "iso1987-ascii", "iso1987-binary"].map(|name| Spec::embedded(name).expect(name));
        let packed = Arc::new(Spec::from_toml(PACKED).expect("a spec that does not contradict itself"));
        known.into_iter().chain([packed]).collect()
    }

    fn repeat(spec: &Arc<Spec>, changes: &[(u8, Option<&str>)]) -> RepeatKey {
        let mut draft = Draft::new(Mti(0x0100));
        let usual = [(2, "5351101200004242"), (3, "0"), (4, "600"), (7, "0131120000"), (11, "42"), (49, "978")];
        for (n, text) in usual.into_iter().chain([(32, "12345"), (33, "200200"), (63, "MCC123456")]) {
            draft.set_text(n, text);
        }
        for (n, text) in changes {
            match text {
                Some(text) => draft.set_text(*n, *text),
                None => {
                    draft.remove(*n);
                    &mut draft
                }
            };
        }
        let message = decode(spec, draft.encode(spec).expect("it fits the spec")).expect("it decodes");
        let keyring = Keyring::create(&MasterKey::from_bytes([1; 32]), &[7; 64]);
        common(&message, &keyring).expect("all that rule 1 wants").repeat
    }

    #[test]
    fn a_repeat_is_the_same_on_links_of_every_encoding() {
        let specs = specs();
        let first = repeat(&specs[0], &[]);
        for spec in &specs {
            // An odd number of digits, packed with a zero before them; and zeros that somebody put there himself.
            for acquirer in ["12345", "012345", "00000012345"] {
                assert_eq!(repeat(spec, &[(32, Some(acquirer))]), first, "{} {acquirer}", spec.name());
            }
            assert_eq!(repeat(spec, &[(33, Some("0200200"))]), first, "{}", spec.name());
        }
    }

    #[test]
    fn every_element_of_the_key_tells_messages_apart_and_so_does_its_absence() {
        for spec in specs() {
            let mut seen = vec![repeat(&spec, &[]).key];
            let others: [(u8, Option<&str>); 9] = [
                (7, Some("0131120001")),
                (11, Some("43")),
                (32, None),
                (32, Some("0")),
                (32, Some("123450")),
                (33, None),
                (33, Some("12345")),
                (63, None),
                (63, Some("MCC123457")),
            ];
            for change in others {
                let key = repeat(&spec, &[change]).key;
                assert!(!seen.contains(&key), "{} {change:?}", spec.name());
                seen.push(key);
            }
            assert_eq!(repeat(&spec, &[(4, Some("601"))]).key, seen[0], "{}: the amount is content", spec.name());
            assert_ne!(repeat(&spec, &[(4, Some("601"))]), repeat(&spec, &[]), "{}", spec.name());
        }
    }

    #[test]
    fn a_long_de63_is_part_of_the_key_too() {
        for spec in specs().into_iter().filter(|spec| spec.name() != "mastercard") {
            let (one, other) = ("A".repeat(999), format!("{}B", "A".repeat(998)));
            let keys = [None, Some(one.as_str()), Some(other.as_str())].map(|text| repeat(&spec, &[(63, text)]).key);
            assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "{}", spec.name());
        }
    }
}
