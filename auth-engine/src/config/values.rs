//! From text to values: durations, sizes, addresses, words. Each error says what is expected, with an example.
//!
//! It must never know where a text came from.

use std::net::SocketAddr;
use std::time::Duration;

use super::Target;

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither `true` nor `false`")),
    }
}

/// A whole number within limits.
pub(super) fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number: u64 = text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("{number} is outside {least} to {most}")) }
}

/// A duration such as `2s`, `500ms` or `1h 30m`, within limits in milliseconds.
pub(super) fn span(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    let span = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a duration ({error}); write it like \"2s\" or \"500ms\""))?;
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    if (least..=most).contains(&span) {
        Ok(span)
    } else {
        let show = humantime::format_duration;
        Err(format!("{} is outside {} to {}", show(span), show(least), show(most)))
    }
}

/// A size in bytes such as `64MiB`, `8KiB` or `4096`, within limits.
pub(super) fn size(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write it like \"64MiB\" or \"8KiB\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)?;
    if (least..=most).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{text} is outside {} to {}", show_size(least), show_size(most)))
    }
}

/// An IP address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address and port; write it like \"127.0.0.1:8583\""))
}

/// A host (name or address) and a port, to connect to. An IPv6 address stands in brackets.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let wrong = || format!("{text:?} is not a host and port; write it like \"gateway.example:8583\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = |host: &str| {
        !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match bare {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(Target::new(address, port)),
        None if named(host) => Ok(Target::new(host, port)),
        Some(_) | None => Err(wrong()),
    }
}

/// One of the words; the nearest is suggested.
pub(super) fn word<'a>(text: &str, words: &[&'a str]) -> Result<&'a str, String> {
    words.iter().find(|word| **word == text).copied().ok_or_else(|| {
        let nearest =
            words.iter().max_by(|a, b| strsim::jaro_winkler(text, a).total_cmp(&strsim::jaro_winkler(text, b)));
        let hint = nearest.map(|word| format!("; the nearest is `{word}`")).unwrap_or_default();
        format!("{text:?} is none of {}{hint}", words.join(", "))
    })
}

/// A number of bytes in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .iter()
        .find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| format!("{bytes}B"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_are_shown() {
        for bytes in [0, 1, 1023, 1024, 8 << 10, 64 << 20, 3 << 30, 1_000_000] {
            assert_eq!(size(&show_size(bytes), 0, u64::MAX), Ok(bytes));
        }
        assert!(size("99999999999GiB", 0, u64::MAX).is_err());
        assert!(size("64 MiB", 0, u64::MAX).is_ok());
        assert!(size("MiB", 0, u64::MAX).is_err());
        assert!(size("-1", 0, u64::MAX).is_err());
        assert!(size("8KiB", 0, 100).is_err());
    }

    #[test]
    fn a_target_is_a_host_and_a_port() {
        for good in ["127.0.0.1:8583", "gateway.example:1", "[::1]:65535"] {
            assert_eq!(target(good).map(|target| target.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "host", "host:", ":1", "host:0", "host:65536", "::1:5", "[::1:5", "a b:1", "http://a:1"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_needs_a_unit() {
        assert!(span("2", 0, 10_000).is_err_and(|text| text.contains("\"2s\"")));
        assert_eq!(span("2s", 0, 10_000), Ok(Duration::from_secs(2)));
        assert!(span("11s", 0, 10_000).is_err());
    }
}
