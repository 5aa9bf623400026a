//! Currencies, minor units and conversion. Money is `i64` minor units; every sum is checked, every conversion goes
//! through `i128`. Never a float.

use iso_currency::Currency as Iso;
use minicbor::{Decode, Encode};
use rust_decimal::Decimal;

/// A currency: an ISO 4217 numeric code, or one of the crypto assets (1001–1004).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Currency(#[n(0)] u16);

const CRYPTO: [(u16, &str, u32); 4] = [(1001, "USDC", 6), (1002, "USDT", 6), (1003, "BTC", 8), (1004, "ETH", 9)];

impl Currency {
    /// Euro.
    pub const EUR: Self = Self(978);
    /// US dollar.
    pub const USD: Self = Self(840);
    /// Swiss franc.
    pub const CHF: Self = Self(756);
    /// Singapore dollar.
    pub const SGD: Self = Self(702);
    /// Hong Kong dollar.
    pub const HKD: Self = Self(344);
    /// Yen.
    pub const JPY: Self = Self(392);
    /// USD Coin, 6 decimals.
    pub const USDC: Self = Self(1001);
    /// Tether, 6 decimals.
    pub const USDT: Self = Self(1002);
    /// Bitcoin, 8 decimals.
    pub const BTC: Self = Self(1003);
    /// Ether, told in 9 decimals.
    pub const ETH: Self = Self(1004);
    /// What an account may hold.
    pub const ACCOUNTS: [Self; 6] = [Self::EUR, Self::USD, Self::CHF, Self::SGD, Self::HKD, Self::JPY];
    /// What a pool may hold.
    pub const POOLS: [Self; 7] = [Self::EUR, Self::USD, Self::CHF, Self::SGD, Self::HKD, Self::JPY, Self::USDC];

    /// From the number that the journal keeps: of ISO 4217, or a crypto asset's.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        let crypto = CRYPTO.iter().any(|(own, ..)| *own == number);
        if crypto { Some(Self(number)) } else { Self::from_numeric(number) }
    }

    /// From the three digits of DE49 or DE51; `None` when ISO 4217 does not know it.
    pub fn from_numeric(code: u16) -> Option<Self> {
        match code {
            978 | 840 | 756 | 702 | 344 | 392 => Some(Self(code)),
            _ => Iso::from_numeric(code).map(|_| Self(code)),
        }
    }

    /// From `EUR`, `USDC`, …; upper case only.
    pub fn from_code(code: &str) -> Option<Self> {
        if let Some((number, ..)) = CRYPTO.iter().find(|(_, c, _)| *c == code) {
            return Some(Self(*number));
        }
        Iso::from_code(code).map(|c| Self(c.numeric()))
    }

    /// The number told above; ISO's for fiat.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// True for USDC, USDT, BTC and ETH.
    pub const fn is_crypto(self) -> bool {
        self.0 > 1000
    }

    /// `EUR`, `USDC`, …
    pub fn code(self) -> &'static str {
        match CRYPTO.iter().find(|(n, ..)| *n == self.0) {
            Some((_, code, _)) => code,
            None => Iso::from_numeric(self.0).map_or("XXX", |c| c.code()),
        }
    }

    /// Decimals of the minor unit; ISO's for fiat (JPY 0), zero where ISO names none.
    pub fn decimals(self) -> u32 {
        match self.0 {
            978 | 840 | 756 | 702 | 344 => 2,
            392 => 0,
            _ => match CRYPTO.iter().find(|(n, ..)| *n == self.0) {
                Some((.., decimals)) => *decimals,
                None => Iso::from_numeric(self.0).and_then(|c| c.exponent()).map_or(0, u32::from),
            },
        }
    }

    /// Decimal text of an amount of minor units, with exactly the currency's decimals.
    pub fn format(self, minor: i64) -> String {
        Decimal::from_i128_with_scale(i128::from(minor), self.decimals()).to_string()
    }

    /// Minor units of decimal text: digits, at most one point, at most the currency's decimals, an optional `-`.
    /// Refuses exponents, signs other than `-`, blanks and whatever does not fit `i64`.
    pub fn parse(self, text: &str) -> Option<i64> {
        let plain = text.strip_prefix('-').unwrap_or(text);
        if plain.is_empty() || plain.len() > 24 || plain.starts_with('.') || plain.ends_with('.') {
            return None;
        }
        if !plain.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let decimals = plain.split_once('.').map_or(0, |(_, d)| d.len());
        if u32::try_from(decimals).ok()? > self.decimals() {
            return None;
        }
        let mut value: Decimal = text.parse().ok()?;
        value.rescale(self.decimals());
        if value.scale() != self.decimals() {
            return None;
        }
        i64::try_from(value.mantissa()).ok()
    }
}

/// An amount of minor units with its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Money {
    /// Minor units.
    #[n(0)]
    pub minor: i64,
    /// What they are units of.
    #[n(1)]
    pub currency: Currency,
}

impl Money {
    /// `minor` units of `currency`.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }
}

/// A rate with its markup, as the rate book holds it and as a hold freezes it: `mantissa / 10^scale` units of `to`
/// for one unit of `from`, times `1 ± markup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Rate {
    /// Digits of the rate without its point; above zero.
    #[n(0)]
    pub mantissa: i64,
    /// Digits behind the point; at most 18.
    #[n(1)]
    pub scale: u8,
    /// Markup in hundredths of a percent; at most 10,000.
    #[n(2)]
    pub markup_bps: u16,
}

/// Which way a conversion rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Holds: never less than what is owed; the markup adds.
    HoldUp,
    /// Credits: never more than what is owed; the markup takes away.
    CreditDown,
}

impl Rate {
    /// Digits behind the point that a rate may have.
    pub const MAX_SCALE: u8 = 12;

    /// From decimal text: above zero, at most 10^12, at most 12 decimals. `None` otherwise.
    pub fn parse(text: &str, markup_bps: u16) -> Option<Self> {
        if text.is_empty() || text.len() > 28 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        if text.starts_with('.') || text.ends_with('.') || markup_bps > 10_000 {
            return None;
        }
        let value: Decimal = text.parse().ok()?;
        let value = value.normalize();
        if value <= Decimal::ZERO
            || value > Decimal::from(1_000_000_000_000u64)
            || value.scale() > u32::from(Self::MAX_SCALE)
        {
            return None;
        }
        Some(Self {
            mantissa: i64::try_from(value.mantissa()).ok()?,
            scale: u8::try_from(value.scale()).ok()?,
            markup_bps,
        })
    }

    /// The rate without its markup, as decimal text.
    pub fn text(self) -> String {
        Decimal::from_i128_with_scale(i128::from(self.mantissa), u32::from(self.scale)).normalize().to_string()
    }

    /// Converts minor units of `from` into minor units of `to`. `None` when the result does not fit or the
    /// arithmetic would overflow.
    pub fn convert(self, minor: i64, from: Currency, to: Currency, round: Round) -> Option<i64> {
        let bps = i128::from(self.markup_bps);
        let factor = match round {
            Round::HoldUp => 10_000 + bps,
            Round::CreditDown => 10_000 - bps,
        };
        let mut top = i128::from(minor).checked_mul(i128::from(self.mantissa))?.checked_mul(factor)?;
        let mut bottom = 10_000i128.checked_mul(10i128.checked_pow(u32::from(self.scale))?)?;
        let (from_decimals, to_decimals) = (from.decimals(), to.decimals());
        if to_decimals >= from_decimals {
            top = top.checked_mul(10i128.checked_pow(to_decimals - from_decimals)?)?;
        } else {
            bottom = bottom.checked_mul(10i128.checked_pow(from_decimals - to_decimals)?)?;
        }
        let result = match round {
            Round::HoldUp => div_ceil(top, bottom)?,
            Round::CreditDown => top.checked_div_euclid(bottom)?,
        };
        i64::try_from(result).ok()
    }
}

fn div_ceil(top: i128, bottom: i128) -> Option<i128> {
    let quotient = top.checked_div_euclid(bottom)?;
    if top.checked_rem_euclid(bottom)? == 0 { Some(quotient) } else { quotient.checked_add(1) }
}

/// `ceil(whole × part / of)`; `None` on overflow or when `of` is zero.
pub fn share_up(whole: i64, part: i64, of: i64) -> Option<i64> {
    i64::try_from(div_ceil(i128::from(whole).checked_mul(i128::from(part))?, i128::from(of))?).ok()
}

/// `floor(whole × part / of)`; `None` on overflow or when `of` is zero.
pub fn share_down(whole: i64, part: i64, of: i64) -> Option<i64> {
    i64::try_from(i128::from(whole).checked_mul(i128::from(part))?.checked_div_euclid(i128::from(of))?).ok()
}
