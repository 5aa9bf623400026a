//! Elements as values: rates, original data, replacement amounts and the like, from text of any encoding. Owns what the
//! digits of these elements mean; never a clock or a calendar (the year of DE7 is its reader's matter), never a decision.

use crate::message::Message;
use crate::mti::Mti;

/// A conversion rate (DE9, DE10): `mantissa` with so many decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Seven digits.
    pub mantissa: u32,
    /// How many of them are decimals.
    pub decimals: u8,
}

/// DE7 as it stands: no year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmittedAt {
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31; 29 February is one of them.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

/// DE22 of the 1987 edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMode {
    /// How the card number was read: 5 chip, 7 contactless chip, 81 e-commerce and so on.
    pub pan: u8,
    /// PIN entry: 1 possible, 2 not.
    pub pin: u8,
}

/// One amount of DE54.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditionalAmount {
    /// Account type, two digits.
    pub account: u8,
    /// Amount type, two digits: 1 ledger, 2 available, 57 original.
    pub kind: u8,
    /// ISO 4217, numeric.
    pub currency: u16,
    /// Whether it is a debit (`D`).
    pub debit: bool,
    /// Minor units.
    pub amount: u64,
}

/// DE60: why an advice was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdviceReason {
    /// Three digits: 100 to 115 issuer, 190, 191 acquirer, 400 and above reversals.
    pub reason: u16,
    /// Four digits, where they are there.
    pub detail: Option<u16>,
}

/// DE90: which message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its type.
    pub mti: Mti,
    /// Its DE11.
    pub stan: u32,
    /// Its DE7, as a number of ten digits.
    pub transmitted: u64,
    /// Its DE32; zero for any.
    pub acquirer: u64,
    /// Its DE33; zero for any.
    pub forwarder: u64,
}

/// DE95: what is to stay. An amount of zero, or of blanks, is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// In DE49's currency.
    pub transaction: Option<u64>,
    /// In DE50's.
    pub settlement: Option<u64>,
    /// In DE51's.
    pub billing: Option<u64>,
}

/// DE4, DE5 or DE6 with the currency that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Minor units; how many of them make a major one is the currency's matter.
    pub minor: u64,
    /// ISO 4217, numeric; `None` when its element is absent or holds letters.
    pub currency: Option<u16>,
}

/// DE48 SE63: which message this one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLink {
    /// The first nine characters of its DE63.
    pub reference: [u8; 9],
    /// Its DE15, month and day as a number; zero when it is not told.
    pub settlement: u16,
}

fn number(text: &[u8], from: usize, len: usize) -> Option<u64> {
    text.get(from..from + len)?.iter().try_fold(0u64, |value, ch| {
        let digit = ch.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn two(text: &[u8], from: usize) -> Option<u8> {
    number(text, from, 2).and_then(|value| u8::try_from(value).ok())
}

impl Message {
    /// DE4, DE5 or DE6 with the code of DE49, DE50 or DE51; `None` for other elements, and when it is absent.
    pub fn amount(&self, n: u8) -> Option<Amount> {
        let code = match n {
            4 => 49,
            5 => 50,
            6 => 51,
            _ => return None,
        };
        let currency = self.digits(code).and_then(|code| u16::try_from(code).ok());
        Some(Amount { minor: self.digits(n)?, currency })
    }

    /// DE9 or DE10: the first digit says how many of the other seven are decimals. `None` when it is zero or absent.
    pub fn rate(&self, n: u8) -> Option<Rate> {
        let digits = self.digits(n)?;
        let mantissa = u32::try_from(digits % 10_000_000).ok().filter(|mantissa| *mantissa > 0)?;
        Some(Rate { mantissa, decimals: u8::try_from(digits / 10_000_000).ok().filter(|decimals| *decimals < 10)? })
    }

    /// DE7: month, day and time in UTC; `None` when it is absent or no such moment can be.
    pub fn transmitted_at(&self) -> Option<TransmittedAt> {
        let mut buf = [0u8; 10];
        let text = self.text(7, &mut buf)?;
        let at = TransmittedAt {
            month: two(text, 0)?,
            day: two(text, 2)?,
            hour: two(text, 4)?,
            minute: two(text, 6)?,
            second: two(text, 8)?,
        };
        let days = match at.month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let good = (1..=days).contains(&at.day) && at.hour < 24 && at.minute < 60 && at.second < 60;
        good.then_some(at)
    }

    /// DE22 where it has three digits, as in the 1987 edition; later ones have positions with other meanings.
    pub fn entry_mode(&self) -> Option<EntryMode> {
        let mut buf = [0u8; 3];
        let text = self.text(22, &mut buf).filter(|text| text.len() == 3)?;
        Some(EntryMode { pan: two(text, 0)?, pin: u8::try_from(number(text, 2, 1)?).ok()? })
    }

    /// The amounts of DE54, in wire order, up to the first that is none: it has room for six.
    pub fn additional_amounts(&self) -> impl Iterator<Item = AdditionalAmount> + use<> {
        let mut buf = [0u8; 120];
        let len = self.text_start(54, &mut buf).map_or(0, <[u8]>::len);
        (0..len / 20).map_while(move |at| {
            let one = buf.get(at * 20..at * 20 + 20)?;
            Some(AdditionalAmount {
                account: two(one, 0)?,
                kind: two(one, 2)?,
                currency: u16::try_from(number(one, 4, 3)?).ok()?,
                debit: match one.get(7)? {
                    b'C' => false,
                    b'D' => true,
                    _ => return None,
                },
                amount: number(one, 8, 12)?,
            })
        })
    }

    /// DE60: reason and detail.
    pub fn advice_reason(&self) -> Option<AdviceReason> {
        let mut buf = [0u8; 7];
        let text = self.text_start(60, &mut buf)?;
        let reason = u16::try_from(number(text, 0, 3)?).ok()?;
        Some(AdviceReason { reason, detail: number(text, 3, 4).and_then(|detail| u16::try_from(detail).ok()) })
    }

    /// DE63's first nine characters, network code and reference, as Latin-1; filled up with blanks where it is shorter.
    pub fn network_reference(&self) -> Option<[u8; 9]> {
        let mut reference = [b' '; 9];
        self.text_start(63, &mut reference)?;
        Some(reference)
    }

    /// DE48 SE63 where it names a message: not when its reference is all blanks or zeros.
    pub fn trace_link(&self) -> Option<TraceLink> {
        let mut buf = [0u8; 128];
        let (reference, behind) = self.sub_text(48, "63", &mut buf)?.split_first_chunk::<9>()?;
        if reference.iter().all(|ch| matches!(ch, b' ' | b'0')) {
            return None;
        }
        let settlement = number(behind, 0, 4).and_then(|mmdd| u16::try_from(mmdd).ok()).unwrap_or(0);
        Some(TraceLink { reference: *reference, settlement })
    }

    /// Whether DE48 SE61 says that the terminal takes less than it asked for.
    pub fn takes_partial(&self) -> bool {
        let mut buf = [0u8; 128];
        self.sub_text(48, "61", &mut buf).and_then(|text| text.first().copied()) == Some(b'1')
    }

    /// The first character of a part of DE61, such as `status`: all parts but the last ones are one digit.
    pub fn pos_digit(&self, name: &str) -> Option<u8> {
        let mut buf = [0u8; 16];
        self.part(61, name, &mut buf)?.first().copied()
    }

    /// DE90 where it has the 42 digits of the 1987 edition.
    pub fn original(&self) -> Option<Original> {
        let mut buf = [0u8; 42];
        let text = self.text(90, &mut buf).filter(|text| text.len() == 42)?;
        Some(Original {
            mti: Mti::parse(std::str::from_utf8(text.get(..4)?).ok()?)?,
            stan: u32::try_from(number(text, 4, 6)?).ok()?,
            transmitted: number(text, 10, 10)?,
            acquirer: number(text, 20, 11)?,
            forwarder: number(text, 31, 11)?,
        })
    }

    /// DE95 where it has the 42 digits of the 1987 edition.
    pub fn replacement(&self) -> Option<Replacement> {
        let mut buf = [0u8; 42];
        let text = self.text(95, &mut buf).filter(|text| text.len() == 42)?;
        let amount = |from| number(text, from, 12).filter(|amount| *amount > 0);
        Some(Replacement { transaction: amount(0), settlement: amount(12), billing: amount(24) })
    }
}
