//! What a message says about merchant, terminal and network, in the words of the contract. Pure: independent of the
//! store, and used by the partner ask as well. Must never let a PAN, a track or a PIN into what it returns.

use iso_codec::{Message, TransmittedAt};
use ledger_core::time::Timestamp;

use super::docs::{MerchantDoc, NetworkDoc, PosDoc};

/// Longest text part that is told, in bytes; no element told here is longer.
const LONGEST: usize = 64;

/// Merchant, terminal and network of a request. `now` is when it came: it resolves the year that DE7 lacks.
pub fn describe_request(msg: &Message, now: Timestamp) -> (MerchantDoc, PosDoc, NetworkDoc) {
    (merchant(msg), pos(msg), network(msg, now))
}

fn merchant(msg: &Message) -> MerchantDoc {
    let (name, city, country) = location(msg);
    MerchantDoc {
        id: told(msg.string(42)),
        name,
        city,
        country,
        mcc: told(msg.string(18)),
        terminal_id: told(msg.string(41)),
        acquirer_id: told(msg.string(32)),
    }
}

/// DE43 by the parts of the spec; by the standard's own positions (23, 13, 2, 2) where the spec names none.
fn location(msg: &Message) -> (Option<String>, Option<String>, Option<String>) {
    if let Some(name) = part(msg, 43, "name") {
        return (told(Some(name)), told(part(msg, 43, "city")), told(part(msg, 43, "country")));
    }
    let Some(text) = msg.string(43) else { return (None, None, None) };
    let cut = |from: usize, len: usize| told(Some(text.chars().skip(from).take(len).collect()));
    (cut(0, 23), cut(23, 13), cut(38, 2))
}

fn pos(msg: &Message) -> PosDoc {
    let mode = msg.has(22).then(|| msg.entry_mode().map_or("unknown", |mode| entry_mode(mode.pan)));
    let remote = matches!(mode, Some("ecommerce" | "credential_on_file" | "manual" | "unknown") | None);
    // DE61: 0 says present; anything else a way of being absent.
    let present = |name| msg.pos_digit(name).map(|digit| digit == b'0');
    PosDoc {
        entry_mode: mode.map(str::to_owned),
        // The third digit of DE22 tells what the terminal could do; that a PIN came tells what it did.
        pin_entered: msg.has(52),
        card_present: present("card_presence").unwrap_or(!remote),
        cardholder_present: present("cardholder_presence").unwrap_or(!remote),
        partial_approval_supported: msg.takes_partial(),
    }
}

/// The word for the first two digits of DE22.
fn entry_mode(pan: u8) -> &'static str {
    match pan {
        1 => "manual",
        2 | 90 => "magnetic_stripe",
        5 => "chip",
        7 => "contactless_chip",
        91 => "contactless_stripe",
        10 => "credential_on_file",
        81 => "ecommerce",
        79 | 80 => "fallback",
        _ => "unknown",
    }
}

fn network(msg: &Message, now: Timestamp) -> NetworkDoc {
    let mut buf = [0u8; LONGEST];
    let trace = msg.sub_text(48, "63", &mut buf).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    NetworkDoc {
        name: msg.spec().name().to_owned(),
        stan: told(msg.string(11)),
        retrieval_reference: told(msg.string(37)),
        reference: told(msg.string(63)),
        trace_id: told(trace),
        transmitted_at: msg.transmitted_at().and_then(|at| resolved(at, now)).map(Timestamp::rfc3339),
    }
}

/// DE7 as a moment: of the years around `now`, the one that brings it nearest. 29 February is looked for as far as a
/// leap year can be, eight years around a century that has none.
pub fn resolved(at: TransmittedAt, now: Timestamp) -> Option<Timestamp> {
    let small = |value: u8| i8::try_from(value).ok();
    let (month, day) = (small(at.month)?, small(at.day)?);
    let (hour, minute, second) = (small(at.hour)?, small(at.minute)?, small(at.second)?);
    let year = jiff::Timestamp::from_microsecond(now.0).ok()?.to_zoned(jiff::tz::TimeZone::UTC).year();
    let reach = if (month, day) == (2, 29) { 8 } else { 1 };
    (-reach..=reach)
        .filter_map(|shift| {
            let civil =
                jiff::civil::DateTime::new(year.checked_add(shift)?, month, day, hour, minute, second, 0).ok()?;
            let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Timestamp(zoned.timestamp().as_microsecond()))
        })
        .min_by_key(|at| at.since(now).unsigned_abs())
}

fn part(msg: &Message, n: u8, name: &str) -> Option<String> {
    let mut buf = [0u8; LONGEST];
    msg.part(n, name, &mut buf).map(|bytes| bytes.iter().map(|b| char::from(*b)).collect())
}

/// Text without its padding; nothing when nothing is left. Control characters cannot break a line of a log or a page.
fn told(text: Option<String>) -> Option<String> {
    let text: String = text?.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
