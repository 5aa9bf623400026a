//! The messages that the harness sends, built by the codec from the network's spec. It owns what makes each of them
//! unique; it must never decide what an answer should be.

use crate::fault::Fault;
use bytes::Bytes;
use iso_codec::{Draft, Message, Mti, Spec, decode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ACQUIRER: &str = "123456";
const FORWARDER: &str = "200200";
const EURO: u64 = 978;

/// Builds messages; no two are the same transaction.
pub(crate) struct Messages {
    spec: Arc<Spec>,
    next: AtomicU64,
    from: jiff::Timestamp,
}

/// What a later message says to mean an earlier one.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    mti: Mti,
    stan: u64,
    transmitted: String,
    reference: String,
    /// DE4 in minor units.
    pub(crate) amount: i64,
}

impl Messages {
    /// Of the embedded spec `mastercard`.
    pub(crate) fn new() -> Result<Messages, Fault> {
        let spec = Spec::embedded("mastercard");
        let spec = spec.ok_or_else(|| Fault::Message("the spec `mastercard` is not compiled in".to_owned()))?;
        Ok(Messages { spec, next: AtomicU64::new(1), from: jiff::Timestamp::now() })
    }

    /// DE7, DE11 and DE63 of the next transaction. A STAN comes again after a million messages, a second later.
    fn fresh(&self, mti: u16, amount: i64) -> Original {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let seconds = i64::try_from(n / 1_000_000).unwrap_or(0);
        let at = self.from.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(self.from);
        Original {
            mti: Mti(mti),
            stan: n % 1_000_000,
            transmitted: at.strftime("%m%d%H%M%S").to_string(),
            reference: format!("MBK{}", base36(n)),
            amount,
        }
    }

    fn draft(&self, about: &Original, pan: &str, amount: i64) -> Draft {
        let mut draft = Draft::new(about.mti);
        draft
            .set_text(2, pan)
            .set_digits(3, 0)
            .set_digits(4, u64::try_from(amount).unwrap_or(0))
            .set_text(7, about.transmitted.as_str())
            .set_digits(11, about.stan)
            .set_text(32, ACQUIRER)
            .set_text(33, FORWARDER)
            .set_text(37, format!("{:012}", about.stan))
            .set_text(41, "TERM0001")
            .set_digits(49, EURO)
            .set_text(63, about.reference.as_str());
        draft
    }

    fn encode(&self, draft: &Draft) -> Result<Bytes, Fault> {
        draft.encode(&self.spec).map_err(|error| Fault::Message(error.to_string()))
    }

    /// A purchase: 0100 or 0200, by contactless chip, in euro cents.
    pub(crate) fn tap(&self, mti: u16, pan: &str, amount: i64, mcc: &str) -> Result<(Bytes, Original), Fault> {
        let own = self.fresh(mti, amount);
        let mut draft = self.draft(&own, pan, amount);
        draft
            .set_text(18, mcc)
            .set_text(22, "071")
            .set_text(42, "MERCHANT0000001")
            .set_text(43, format!("{:<22} {:<13} {:<3}", "CORNER SHOP", "BERLIN", "DEU"))
            .set_subs(48, &[("TCC", "R")])
            .set_text(61, "000000000000027610115");
        Ok((self.encode(&draft)?, own))
    }

    /// An echo test: 0800 with DE70 270.
    pub(crate) fn echo(&self) -> Result<Bytes, Fault> {
        let own = self.fresh(0x0800, 0);
        let mut draft = Draft::new(own.mti);
        draft
            .set_text(7, own.transmitted.as_str())
            .set_digits(11, own.stan)
            .set_text(33, FORWARDER)
            .set_digits(70, 270);
        self.encode(&draft)
    }

    /// An advice of an approved purchase: 0120 or 0220, of its own or about a known tap.
    pub(crate) fn advice(
        &self,
        mti: u16,
        pan: &str,
        amount: i64,
        known: Option<&Original>,
    ) -> Result<(Bytes, Original), Fault> {
        let own = self.fresh(mti, amount);
        let mut draft = self.draft(&own, pan, amount);
        if let Some(known) = known {
            draft.set_text(63, known.reference.as_str());
        }
        draft
            .set_text(18, "5812")
            .set_text(22, "071")
            .set_text(38, "123456")
            .set_text(39, "00")
            .set_text(60, "1020000");
        Ok((self.encode(&draft)?, own))
    }

    /// A reversal: 0400 or 0420; what is kept of the original, or nothing.
    pub(crate) fn reversal(&self, mti: u16, pan: &str, of: &Original, keep: Option<i64>) -> Result<Bytes, Fault> {
        let own = self.fresh(mti, of.amount);
        let mut draft = self.draft(&own, pan, of.amount);
        draft.set_text(39, if keep.is_some() { "32" } else { "17" });
        let named = format!("{}{:06}{}{ACQUIRER:0>11}{FORWARDER:0>11}", of.mti, of.stan, of.transmitted);
        draft.set_text(90, named);
        if let Some(keep) = keep {
            draft.set_text(95, format!("{keep:012}{:012}{:012}000000", 0, 0));
        }
        self.encode(&draft)
    }

    /// The same message as its sender repeats it: with the repeat digit (0100 becomes 0101).
    pub(crate) fn repeated(&self, request: &Bytes) -> Result<Bytes, Fault> {
        let mut draft = Draft::from_message(&self.read(request)?);
        draft.mti = Mti(draft.mti.0 | 1);
        self.encode(&draft)
    }

    /// What an approval becomes when its tap is repeated after its reversal: 05, without an approval code.
    pub(crate) fn reversed_since(&self, reply: &Bytes) -> Result<Bytes, Fault> {
        let mut draft = Draft::from_message(&self.read(reply)?);
        draft.set_text(39, "05");
        draft.remove(38);
        self.encode(&draft)
    }

    /// DE39 of an answer; `None` when it cannot be read.
    pub(crate) fn code(&self, reply: &[u8]) -> Option<String> {
        self.read(&Bytes::copy_from_slice(reply)).ok()?.string(39)
    }

    /// What a message and its reply have in common (class, DE7, DE11), and the message type.
    pub(crate) fn key(&self, message: &[u8]) -> Option<((u16, String, u64), Mti)> {
        let read = self.read(&Bytes::copy_from_slice(message)).ok()?;
        let mti = read.mti();
        // 0100 and 0110 differ in the last but one digit, which tells a request from its response.
        Some(((mti.0 & 0xFF00 | mti.0 & 0x20, read.string(7)?, read.digits(11)?), mti))
    }

    /// The message type, as in `0110`.
    pub(crate) fn mti(&self, message: &[u8]) -> Option<Mti> {
        self.read(&Bytes::copy_from_slice(message)).ok().map(|message| message.mti())
    }

    /// How two messages differ, without a card number: `0110: DE39 00 became 91, DE38 is gone`.
    pub(crate) fn difference(&self, wanted: &Bytes, got: &Bytes) -> String {
        let (Ok(wanted), Ok(got)) = (self.read(wanted), self.read(got)) else {
            return format!("{} bytes became {}, unreadable", wanted.len(), got.len());
        };
        let mut said = Vec::new();
        if wanted.mti() != got.mti() {
            said.push(format!("MTI {} became {}", wanted.mti(), got.mti()));
        }
        for n in (3..=128u8).filter(|n| wanted.raw(*n) != got.raw(*n)) {
            said.push(match (wanted.string(n), got.string(n)) {
                (Some(a), Some(b)) => format!("DE{n} {a} became {b}"),
                (Some(a), None) => format!("DE{n} {a} is gone"),
                (None, _) => format!("DE{n} is new"),
            });
        }
        if wanted.raw(2) != got.raw(2) {
            said.push("DE2 differs".to_owned());
        }
        let stan = wanted.string(11).unwrap_or_default();
        format!(
            "{} with STAN {stan}: {}",
            wanted.mti(),
            if said.is_empty() { "bitmaps differ".to_owned() } else { said.join(", ") }
        )
    }

    fn read(&self, message: &Bytes) -> Result<Message, Fault> {
        decode(&self.spec, message.clone()).map_err(|error| Fault::Message(error.to_string()))
    }
}

/// Six characters of the network reference number.
fn base36(mut n: u64) -> String {
    let mut digits = [b'0'; 6];
    for place in digits.iter_mut().rev() {
        let digit = u8::try_from(n % 36).unwrap_or(0);
        *place = if digit < 10 { b'0' + digit } else { b'A' + digit - 10 };
        n /= 36;
    }
    digits.iter().copied().map(char::from).collect()
}
