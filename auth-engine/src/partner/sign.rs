//! Standard Webhooks signatures: `webhook-signature: v1,<base64 HMAC-SHA256 of "{id}.{timestamp}.{body}">`,
//! one per live secret. This file owns the secret's bytes; it must never print them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Header that carries the authorization's id.
pub const HEADER_ID: &str = "webhook-id";
/// Header that carries the Unix second of signing.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Header that carries one `v1,<base64>` per live secret, space separated.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// A webhook secret: 24 to 64 bytes, shown to the partner once as `whsec_<base64>`. Masked in `Debug`,
/// wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the raw bytes of a secret (24 to 64 of them).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(Zeroizing::new(bytes.to_vec())))
        } else {
            Err(SecretError::Length { bytes: bytes.len() })
        }
    }

    /// Reads `whsec_<base64>`; padding is optional.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = STANDARD_NO_PAD
            .decode(encoded.trim_end_matches('='))
            .map(Zeroizing::new)
            .map_err(|_| SecretError::Encoding)?;
        Self::from_bytes(&bytes)
    }

    /// The `whsec_…` text, for the one answer that shows it.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(self.0.as_slice())))
    }

    /// The raw bytes, for sealing.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(whsec_****)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

/// Why a text is no webhook secret. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It does not begin with `whsec_`.
    #[error("a webhook secret begins with whsec_")]
    Prefix,
    /// What follows is no base64.
    #[error("what follows whsec_ is not base64")]
    Encoding,
    /// Too short or too long.
    #[error("a webhook secret has 24 to 64 bytes, this one has {bytes}")]
    Length {
        /// Bytes after decoding.
        bytes: usize,
    },
}

/// The value of `webhook-signature` for one message: a `v1,…` for each secret, in order.
/// `timestamp` is the Unix second exactly as sent in `webhook-timestamp`.
pub fn signature_header(secrets: &[Secret], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut header = String::with_capacity(secrets.len() * 48);
    for secret in secrets {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str(VERSION);
        STANDARD.encode_string(secret.mac(id, timestamp, body), &mut header);
    }
    header
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is no integer.
    #[error("webhook-timestamp is not a Unix second")]
    Timestamp,
    /// Signed too long ago or too far in the future: replayed, or a clock is wrong.
    #[error("webhook-timestamp is too far from this clock")]
    Stale,
    /// No signature fits any of the secrets.
    #[error("no signature fits")]
    Signature,
}

/// Verifies a signed message as a partner does: any of the `v1` signatures under any of the secrets, no
/// further than `tolerance_s` seconds from `now_s` (Unix seconds). Comparison takes constant time.
pub fn verify(
    secrets: &[Secret],
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now_s: i64,
    tolerance_s: i64,
) -> Result<(), VerifyError> {
    let signed_s: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    if now_s.abs_diff(signed_s) > tolerance_s.unsigned_abs() {
        return Err(VerifyError::Stale);
    }
    let mut fits = subtle::Choice::from(0);
    for secret in secrets {
        let expected = secret.mac(id, timestamp, body);
        for given in signatures.split(' ').filter_map(|part| part.strip_prefix(VERSION)).take(8) {
            if let Ok(given) = STANDARD.decode(given) {
                fits |= expected.ct_eq(given.as_slice());
            }
        }
    }
    if fits.into() { Ok(()) } else { Err(VerifyError::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> Secret {
        Secret::parse(text).expect("a good secret")
    }

    #[test]
    fn the_published_vector() {
        let secret = secret(SECRET);
        assert_eq!(signature_header(std::slice::from_ref(&secret), ID, AT, BODY), SIGNATURE);
        assert_eq!(verify(&[secret], ID, AT, SIGNATURE, BODY, 1_614_265_330, 300), Ok(()));
    }

    #[test]
    fn two_live_secrets_sign_side_by_side_and_either_verifies() {
        let old = secret(SECRET);
        let new = Secret::from_bytes(&[7; 32]).expect("32 bytes");
        let header = signature_header(&[new.clone(), old.clone()], ID, AT, BODY);
        assert_eq!(header.split(' ').count(), 2);
        for secret in [old, new] {
            assert_eq!(verify(&[secret], ID, AT, &header, BODY, 1_614_265_331, 300), Ok(()));
        }
    }

    #[test]
    fn a_changed_id_time_body_or_secret_is_refused() {
        let good = secret(SECRET);
        let other = Secret::from_bytes(&[1; 24]).expect("24 bytes");
        let now = 1_614_265_330;
        let check = |secret: &Secret, id: &str, at: &str, signature: &str, body: &[u8], now| {
            verify(std::slice::from_ref(secret), id, at, signature, body, now, 300)
        };
        assert_eq!(check(&good, "msg_x", AT, SIGNATURE, BODY, now), Err(VerifyError::Signature));
        assert_eq!(check(&good, ID, "1614265331", SIGNATURE, BODY, now), Err(VerifyError::Signature));
        assert_eq!(check(&good, ID, AT, SIGNATURE, b"{}", now), Err(VerifyError::Signature));
        assert_eq!(check(&other, ID, AT, SIGNATURE, BODY, now), Err(VerifyError::Signature));
        assert_eq!(check(&good, ID, AT, "v1,", BODY, now), Err(VerifyError::Signature));
        assert_eq!(check(&good, ID, AT, SIGNATURE, BODY, now + 301), Err(VerifyError::Stale));
        assert_eq!(check(&good, ID, "soon", SIGNATURE, BODY, now), Err(VerifyError::Timestamp));
    }

    #[test]
    fn secrets_are_masked_and_read_back() {
        let secret = secret(SECRET);
        assert_eq!(format!("{secret:?}"), "Secret(whsec_****)");
        assert_eq!(secret.reveal().as_str(), SECRET);
        assert_eq!(Secret::parse("MfKQ9r8G"), Err(SecretError::Prefix));
        assert_eq!(Secret::parse("whsec_%%%"), Err(SecretError::Encoding));
        assert_eq!(Secret::parse("whsec_AAAA"), Err(SecretError::Length { bytes: 3 }));
    }
}
