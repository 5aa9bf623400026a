//! Shard time as data: microseconds since the Unix epoch, UTC. Never reads a clock.

use minicbor::{Decode, Encode};

/// A moment in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub i64);

impl Timestamp {
    /// The moment `us` microseconds later; saturates at the ends of the range.
    pub const fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Microseconds from `earlier` to `self`; negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with exactly six decimals, as REST and the webhook show time.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            Err(_) => "9999-12-31T23:59:59.999999Z".to_owned(),
        }
    }

    /// Parses RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }
}

/// A card's expiry as year and month in two digits each, `yymm` (2901 = January 2029).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct YearMonth(#[n(0)] pub u16);

impl YearMonth {
    /// From a four-digit year (2000–2099) and a month (1–12).
    pub fn new(year: i16, month: i8) -> Option<Self> {
        let year = u16::try_from(year).ok()?.checked_sub(2000).filter(|y| *y < 100)?;
        let month = u16::try_from(month).ok().filter(|m| (1..=12).contains(m))?;
        Some(Self(year * 100 + month))
    }

    /// From `"2029-01"`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        if year.len() != 4 || month.len() != 2 {
            return None;
        }
        Self::new(year.parse().ok()?, month.parse().ok()?)
    }

    /// `"2029-01"`.
    pub fn text(self) -> String {
        format!("20{:02}-{:02}", self.0 / 100, self.0 % 100)
    }

    /// The first moment at which a card of this expiry is no longer valid: midnight UTC after the month's last day.
    pub fn ends(self) -> Timestamp {
        let year = 2000 + i16::try_from(self.0 / 100).unwrap_or(99);
        let month = i8::try_from(self.0 % 100).unwrap_or(12).clamp(1, 12);
        jiff::civil::Date::new(year, month, 1)
            .and_then(|d| d.checked_add(jiff::Span::new().months(1)))
            .and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC))
            .map_or(Timestamp(i64::MAX), |z| Timestamp(z.timestamp().as_microsecond()))
    }

    /// This month plus `months`, as seen from `now`.
    pub fn after(now: Timestamp, months: i32) -> Option<Self> {
        let date = jiff::Timestamp::from_microsecond(now.0).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date();
        let later = date.checked_add(jiff::Span::new().months(months)).ok()?;
        Self::new(later.year(), later.month())
    }
}
