//! The values that stand in request bodies, checked while they are read: money, text, ids, words.
//!
//! A value that was read is valid by itself; whether it fits the book is the shard's to say.

use std::borrow::Cow;
use std::fmt;

use ledger_core::event::words::{CardStatus, DecisionMode, Kyc, Service, Status};
use ledger_core::id::{Id, Thing};
use ledger_core::limits::MAX_TEXT;
use ledger_core::money::{Currency, Money};
use ledger_core::time::YearMonth;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::body::at_member;
use crate::view::docs::MoneyDoc;

/// Text that says what it wants when it meets a number: money and rates are never floats.
struct DecimalText;

impl Visitor<'_> for DecimalText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("decimal text in quotes such as \"12.50\", never a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

pub(super) fn decimal_text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    d.deserialize_str(DecimalText)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMoney {
    #[serde(deserialize_with = "decimal_text")]
    value: String,
    currency: CurrencyCode,
}

fn read_money<'de, D: Deserializer<'de>>(d: D, least: i64, wanted: &str) -> Result<Money, D::Error> {
    let raw = RawMoney::deserialize(d)?;
    let currency = raw.currency.0;
    let Some(minor) = currency.parse(&raw.value) else {
        let what = format!(
            "{wanted} in decimal digits with at most {} decimals for {} is needed, without exponent, sign or blanks",
            currency.decimals(),
            currency.code()
        );
        return Err(de::Error::custom(at_member("value", &what)));
    };
    if minor < least {
        return Err(de::Error::custom(at_member("value", &format!("{wanted} is needed"))));
    }
    Ok(Money::new(minor, currency))
}

/// Money above zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount(pub(super) Money);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        read_money(d, 1, "an amount above zero").map(Self)
    }
}

/// Money of zero or more.
#[derive(Debug, Clone, Copy)]
pub(super) struct AmountOrZero(pub(super) Money);

impl<'de> Deserialize<'de> for AmountOrZero {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        read_money(d, 0, "an amount of zero or more").map(Self)
    }
}

macro_rules! money_schema {
    ($($name:ident)+) => { $(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                MoneyDoc::schema()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+ };
}

money_schema! { Amount AmountOrZero }

macro_rules! from_text {
    ($(#[$meta:meta])* $name:ident($inner:ty) $expected:literal, $parse:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Read;
                impl Visitor<'_> for Read {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let parse: fn(&str) -> Option<$inner> = $parse;
                        parse(text).map($name).ok_or_else(|| E::custom(concat!("expected ", $expected)))
                    }
                }
                d.deserialize_str(Read)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).description(Some($expected)).build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    };
}

from_text! {
    /// A currency.
    CurrencyCode(Currency) "a currency code such as EUR or USDC", Currency::from_code
}
from_text! {
    /// Free text of 1 to 256 bytes without control characters.
    Text(String) "text of 1 to 256 bytes without control characters", |text| {
        let good = !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        good.then(|| text.to_owned())
    }
}
from_text! {
    /// ISO 3166 alpha-2.
    Country(String) "an ISO 3166 country code of two capital letters", |text| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())).then(|| text.to_owned())
    }
}
from_text! {
    /// An IANA time zone.
    TimeZone(String) "an IANA time zone such as Europe/Berlin", |text| {
        let named = text.len() <= 64 && jiff::tz::TimeZone::get(text).is_ok();
        named.then(|| text.to_owned())
    }
}
from_text! {
    /// A card's expiry.
    Expiry(YearMonth) "an expiry such as 2029-01", YearMonth::parse
}
from_text! {
    /// A response code of two digits.
    ResponseCode([u8; 2]) "a response code of two digits", |text| {
        <[u8; 2]>::try_from(text.as_bytes()).ok().filter(|code| code.iter().all(u8::is_ascii_digit) && code != b"00")
    }
}
from_text! {
    /// An entry of the menu.
    ServiceWord(Service) "balances, pay_in, payout, cards or off_ramp", Service::parse
}
from_text! {
    /// Active or suspended.
    StatusWord(Status) "active or suspended", Status::parse
}
from_text! {
    /// A card's state.
    CardStatusWord(CardStatus) "active, frozen, inactive, lost, stolen or closed", CardStatus::parse
}
from_text! {
    /// A KYC state.
    KycWord(Kyc) "submitted, in_review, approved, rejected, expired or revoked", Kyc::parse
}
from_text! {
    /// How taps are decided.
    ModeWord(DecisionMode) "webhook, auto_approve or auto_decline", DecisionMode::parse
}
from_text! {
    /// A partner's id.
    PartnerRef(Id) "a partner's id, ptn_ and 16 characters", |text| Id::parse(text, Thing::Partner)
}
from_text! {
    /// A user's id.
    UserRef(Id) "a user's id, usr_ and 16 characters", |text| Id::parse(text, Thing::User)
}
from_text! {
    /// An account's id.
    AccountRef(Id) "an account's id, acc_ and 16 characters", |text| Id::parse(text, Thing::Account)
}
from_text! {
    /// A pool's id.
    PoolRef(Id) "a pool's id, pol_ and 16 characters", |text| Id::parse(text, Thing::Pool)
}
from_text! {
    /// A card's id.
    CardRef(Id) "a card's id, crd_ and 16 characters", |text| Id::parse(text, Thing::Card)
}
from_text! {
    /// A quote's id.
    QuoteRef(Id) "a quote's id, quo_ and 16 characters", |text| Id::parse(text, Thing::Quote)
}

/// A member of a PATCH that may be left out but not be `null`.
pub(super) fn unless_absent<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A member of a PATCH that may be left out, and removed by `null`.
pub(super) fn removable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}
