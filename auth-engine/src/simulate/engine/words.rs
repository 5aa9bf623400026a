//! The model's own words: currencies, purses, states, card numbers. Nothing here comes from the ledger.

use std::fmt;

/// A currency by its number: ISO 4217's, or one of the crypto assets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency(pub u16);

/// Euro.
pub const EUR: Currency = Currency(978);
/// US dollar.
pub const USD: Currency = Currency(840);
/// Yen, without decimals.
pub const JPY: Currency = Currency(392);
/// Sterling: known, and no rate leads there.
pub const GBP: Currency = Currency(826);
/// USD Coin.
pub const USDC: Currency = Currency(1001);
/// A code that ISO 4217 does not know.
pub const NOBODYS: Currency = Currency(5);

impl Currency {
    /// Decimals of the minor unit.
    pub fn decimals(self) -> u32 {
        match self {
            JPY => 0,
            USDC => 6,
            _ => 2,
        }
    }

    /// ISO 4217 knows the code, or it is an asset of this engine.
    pub fn is_known(self) -> bool {
        self != NOBODYS
    }

    /// True for what lies on a chain.
    pub fn is_crypto(self) -> bool {
        self.0 > 1000
    }

    /// Decimal text of minor units, as a partner would write it.
    pub fn text(self, minor: i64) -> String {
        let decimals = self.decimals();
        let unit = 10i64.pow(decimals);
        match decimals {
            0 => minor.to_string(),
            _ => format!("{}.{:0width$}", minor / unit, minor % unit, width = decimals as usize),
        }
    }

    /// Minor units of decimal text; `None` when it has more decimals than the currency.
    pub fn minor(self, text: &str) -> Option<i64> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let decimals = self.decimals() as usize;
        if part.len() > decimals {
            return None;
        }
        let padded = format!("{whole}{part:0<decimals$}");
        padded.parse().ok()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EUR => f.write_str("EUR"),
            USD => f.write_str("USD"),
            JPY => f.write_str("JPY"),
            GBP => f.write_str("GBP"),
            USDC => f.write_str("USDC"),
            Self(number) => write!(f, "{number:03}"),
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What pays for a tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purse {
    /// A pool.
    Pool(u32),
    /// An account.
    Account(u32),
}

impl Purse {
    /// `pool` or `account`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pool(_) => "pool",
            Self::Account(_) => "account",
        }
    }
}

/// An account of the general ledger that the model keeps; what is held is counted, never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Place {
    Available(Purse),
    Owed(u32),
    Bank,
    Chain,
    Scheme,
    Transit,
    Deposit(u32),
    Fx,
}

/// A PAN of this simulation: 16 digits with a right check digit. No card has the last of them.
pub fn pan(card: usize) -> String {
    let head = format!("53511012{:07}", 1_000_003 + card * 7_919);
    let sum: u32 = head
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            if at % 2 == 1 {
                digit
            } else if digit > 4 {
                digit * 2 - 9
            } else {
                digit * 2
            }
        })
        .sum();
    format!("{head}{}", (10 - sum % 10) % 10)
}

/// The masked number of a card, for stories.
pub fn card_number(card: usize) -> String {
    let pan = pan(card);
    format!("{}****{}", pan.get(..8).unwrap_or_default(), pan.get(12..).unwrap_or_default())
}
