//! Where a decision URL points, and whether the engine may go there. It owns the classes of addresses and
//! the reading of the URL; it must never resolve or dial: it judges what the dialler found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

/// Which addresses may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPolicy {
    /// In the sandbox everything is allowed; outside it only https to public addresses.
    pub sandbox: bool,
}

impl AddressPolicy {
    /// Whether a URL of this target may be used at all.
    pub fn permits_target(self, target: &Target) -> bool {
        self.sandbox || (target.https && target.literal().is_none_or(|ip| classify(ip) == AddressClass::Public))
    }

    /// Whether this resolved address may be dialled.
    pub fn permits(self, ip: IpAddr) -> bool {
        self.sandbox || classify(ip) == AddressClass::Public
    }
}

/// What kind of address an IP is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Reachable over the public internet.
    Public,
    /// 127/8, ::1.
    Loopback,
    /// 10/8, 172.16/12, 192.168/16.
    Private,
    /// 169.254/16 (cloud metadata lives there), fe80::/10.
    LinkLocal,
    /// fc00::/7 and the old site-local fec0::/10.
    UniqueLocal,
    /// 100.64/10.
    CarrierNat,
    /// 224/4, ff00::/8.
    Multicast,
    /// 0/8, ::.
    Unspecified,
    /// Documentation, benchmarking, protocol assignments, 240/4, broadcast, translation prefixes.
    Reserved,
}

/// The class of an address. IPv4 inside IPv6 (mapped, compatible, NAT64, 6to4) is judged by the IPv4 it
/// carries, since that is where the packet may end up.
pub fn classify(ip: IpAddr) -> AddressClass {
    match ip {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(ip: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = ip.octets();
    if a == 0 {
        AddressClass::Unspecified
    } else if ip.is_loopback() {
        AddressClass::Loopback
    } else if ip.is_private() {
        AddressClass::Private
    } else if ip.is_link_local() {
        AddressClass::LinkLocal
    } else if a == 100 && (b & 0xc0) == 64 {
        AddressClass::CarrierNat
    } else if ip.is_multicast() {
        AddressClass::Multicast
    } else if a >= 240
        || ip.is_documentation()
        || (a == 198 && (b & 0xfe) == 18)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
    {
        AddressClass::Reserved
    } else {
        AddressClass::Public
    }
}

fn classify_v6(ip: Ipv6Addr) -> AddressClass {
    if ip.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if ip.is_loopback() {
        return AddressClass::Loopback;
    }
    if let Some(v4) = carried_v4(ip) {
        return classify_v4(v4);
    }
    let [first, second, ..] = ip.segments();
    if ip.is_multicast() {
        AddressClass::Multicast
    } else if (first & 0xffc0) == 0xfe80 {
        AddressClass::LinkLocal
    } else if (first & 0xfe00) == 0xfc00 || (first & 0xffc0) == 0xfec0 {
        AddressClass::UniqueLocal
    } else if (first & 0xe000) != 0x2000
        || (first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        || (first & 0xfff0) == 0x3ff0
    {
        // Only 2000::/3 is global unicast; inside it Teredo and kin, and the two documentation prefixes.
        AddressClass::Reserved
    } else {
        AddressClass::Public
    }
}

fn carried_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = ip.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match (s0, s1, s2, s3, s4, s5) {
        (0, 0, 0, 0, 0, 0xffff | 0) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(v4(s6, s7)),
        (0x2002, ..) => Some(v4(s1, s2)),
        _ => None,
    }
}

/// A decision URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// TLS or not.
    pub https: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// The port, 80 or 443 when the URL names none.
    pub port: u16,
    /// Value of the `host` header.
    pub authority: String,
    /// Path and query.
    pub path: PathAndQuery,
}

/// Why a text is no decision URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL, or longer than 2,048 bytes.
    #[error("decision_url is not a URL; write it as https://host/path")]
    NotUrl,
    /// Neither http nor https.
    #[error("decision_url is neither http nor https")]
    Scheme,
    /// It names no host, or port 0.
    #[error("decision_url names no host or port to connect to")]
    Host,
    /// It carries a user name or password; the engine signs its asks instead.
    #[error("decision_url carries a user name or password; asks are signed instead")]
    Credentials,
}

impl Target {
    /// Reads a decision URL.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if url.len() > 2048 {
            return Err(TargetError::NotUrl);
        }
        let uri: Uri = url.parse().map_err(|_| TargetError::NotUrl)?;
        let scheme = uri.scheme().ok_or(TargetError::NotUrl)?;
        let https = if *scheme == Scheme::HTTPS {
            true
        } else if *scheme == Scheme::HTTP {
            false
        } else {
            return Err(TargetError::Scheme);
        };
        let authority = uri.authority().ok_or(TargetError::Host)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if https => 443,
            None => 80,
        };
        if host.is_empty() || port == 0 {
            return Err(TargetError::Host);
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { https, host: host.to_owned(), port, authority: authority.as_str().to_owned(), path })
    }

    /// The address, when the host is one and needs no resolving.
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h22_every_class_of_address_is_known() {
        for (text, class) in [
            ("8.8.8.8", AddressClass::Public),
            ("2606:4700:4700::1111", AddressClass::Public),
            ("127.0.0.1", AddressClass::Loopback),
            ("127.255.0.3", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("10.1.2.3", AddressClass::Private),
            ("172.16.0.1", AddressClass::Private),
            ("172.32.0.1", AddressClass::Public),
            ("192.168.1.1", AddressClass::Private),
            ("169.254.169.254", AddressClass::LinkLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("fd00::1", AddressClass::UniqueLocal),
            ("fec0::1", AddressClass::UniqueLocal),
            ("100.64.0.1", AddressClass::CarrierNat),
            ("100.128.0.1", AddressClass::Public),
            ("224.0.0.1", AddressClass::Multicast),
            ("ff02::1", AddressClass::Multicast),
            ("0.0.0.0", AddressClass::Unspecified),
            ("0.1.2.3", AddressClass::Unspecified),
            ("::", AddressClass::Unspecified),
            ("255.255.255.255", AddressClass::Reserved),
            ("240.0.0.1", AddressClass::Reserved),
            ("198.18.0.1", AddressClass::Reserved),
            ("192.0.0.8", AddressClass::Reserved),
            ("192.0.2.1", AddressClass::Reserved),
            ("2001:db8::1", AddressClass::Reserved),
            ("2001::1", AddressClass::Reserved),
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("::ffff:10.0.0.1", AddressClass::Private),
            ("::ffff:8.8.8.8", AddressClass::Public),
            ("::127.0.0.1", AddressClass::Loopback),
            ("64:ff9b::a9fe:a9fe", AddressClass::LinkLocal),
            ("2002:7f00:1::", AddressClass::Loopback),
            ("4000::1", AddressClass::Reserved),
        ] {
            assert_eq!(classify(text.parse().expect("an address")), class, "{text}");
        }
    }

    #[test]
    fn decision_urls_are_taken_apart() {
        let target = Target::parse("https://decide.example.com/v1/ask?x=1").expect("a URL");
        assert_eq!((target.https, target.port, target.path.as_str()), (true, 443, "/v1/ask?x=1"));
        let target = Target::parse("http://[::1]:9090").expect("a URL");
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("::1", 9090, "/"));
        assert!(target.literal().is_some());
        for (text, error) in [
            ("decide.example.com/x", TargetError::NotUrl),
            ("ftp://a/", TargetError::Scheme),
            ("https://user:pw@a/", TargetError::Credentials),
            ("http://a:0/", TargetError::Host),
            ("", TargetError::NotUrl),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn h22_outside_the_sandbox_only_https_to_public_addresses() {
        let outside = AddressPolicy { sandbox: false };
        let permits = |url: &str| outside.permits_target(&Target::parse(url).expect("a URL"));
        assert!(permits("https://decide.example.com/"));
        assert!(permits("https://8.8.8.8/"));
        assert!(!permits("http://decide.example.com/"));
        assert!(!permits("https://127.0.0.1/"));
        assert!(!permits("https://[::ffff:192.168.0.1]/"));
        assert!(AddressPolicy { sandbox: true }.permits_target(&Target::parse("http://127.0.0.1/").expect("a URL")));
    }
}
