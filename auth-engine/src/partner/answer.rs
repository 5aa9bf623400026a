//! What came back from a partner, and what is wrong with it. This file owns the reading of the answer's
//! body; it must never judge an amount or a source against the tap: the engine knows the tap.

use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An answer's body may have so many bytes; reading stops there.
pub const BODY_LIMIT: usize = 16 * 1024;
/// Metadata over so many bytes is dropped and flagged.
pub const METADATA_LIMIT: usize = 1024;
/// A reason is cut to so many characters.
pub const REASON_LIMIT: usize = 64;

/// What one ask came to. Every ask gets exactly one, also when it is late.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The ask's authorization number.
    pub token: u64,
    /// The partner asked.
    pub partner: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// When the ask was given to a connection; when it was taken, if it never was.
    pub asked_at: Instant,
    /// When the outcome was known.
    pub answered_at: Instant,
}

/// What came of an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A well-formed decision.
    Decision(Decision),
    /// `partner_unreachable`.
    Unreachable(Unreachable),
    /// `partner_bad_response`.
    Bad(Bad),
    /// No connection came free before the deadline; nothing was written.
    NotSent,
    /// The ask was sent, its deadline is long past, and the wait for a late answer was given up.
    Silent,
}

/// Why a partner could not be reached. Each is `partner_unreachable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreachable {
    /// It has no `decision_url`, or one that is no http(s) URL.
    #[error("the partner has no usable decision_url")]
    NoUrl,
    /// Nobody listens there, or the way there is barred.
    #[error("the connection was refused")]
    Refused,
    /// No connection within the connect timeout.
    #[error("no connection came about in time")]
    ConnectTimeout,
    /// The connection broke after the ask was on it.
    #[error("the connection broke off before the answer was whole")]
    Reset,
    /// The TLS handshake failed: certificate unknown, expired, for another name, or no TLS at all.
    #[error("the TLS handshake failed")]
    Tls,
    /// The host name has no address.
    #[error("the host name does not resolve")]
    Dns,
    /// Outside the sandbox: not https, or an address that is not public.
    #[error("the address is not allowed outside the sandbox: use https and a public address")]
    AddressForbidden,
    /// The circuit is open; nobody was asked.
    #[error("the circuit is open")]
    CircuitOpen,
}

/// What is wrong with an answer. Each is `partner_bad_response`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Bad {
    /// Another status than 200.
    #[error("status {0} instead of 200")]
    Status(u16),
    /// A redirect; it is not followed.
    #[error("a redirect, which is not followed")]
    Redirect,
    /// What came is no HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The body exceeds [`BODY_LIMIT`].
    #[error("the body is over 16 KiB")]
    TooLarge,
    /// The body is no JSON object, or nests too deep.
    #[error("the body is not a JSON object")]
    NotJson,
    /// `decision` is absent, or neither `approve` nor `decline`.
    #[error("decision is neither approve nor decline")]
    UnknownDecision,
    /// `amount` is not decimal text.
    #[error("amount is not decimal text")]
    Amount,
    /// `amount` is larger than what was asked for. Found by the engine.
    #[error("amount is larger than asked")]
    AmountTooLarge,
    /// `amount` is zero. Found by the engine.
    #[error("amount is zero")]
    AmountZero,
    /// `amount` is partial, the terminal does not take that. Found by the engine.
    #[error("a partial amount, which the terminal does not support")]
    PartialUnsupported,
    /// `source` is neither `pool` nor `account`, or (found by the engine) not one that was listed.
    #[error("source is not one that was listed")]
    Source,
}

/// A well-formed decision; amount and source still have to be held against the tap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// `approve` or `decline`.
    pub approve: bool,
    /// As sent, without control characters, at most [`REASON_LIMIT`] characters.
    pub reason: Option<String>,
    /// Decimal text as sent (`5.00`), in the ask's `data.amount.currency`; never signed or in exponents.
    pub amount: Option<String>,
    /// `pool` or `account`.
    pub source: Option<String>,
    /// The JSON object's own bytes, at most [`METADATA_LIMIT`].
    pub metadata: Option<Vec<u8>>,
    /// There was metadata, and it was too large or no object.
    pub metadata_dropped: bool,
    /// The whole body as it came, at most [`BODY_LIMIT`].
    pub raw: Bytes,
}

/// The members that are read; all others are ignored. A member given twice is no JSON to rely on.
#[derive(Deserialize)]
struct Body<'a> {
    decision: Option<Value>,
    reason: Option<Value>,
    amount: Option<Value>,
    source: Option<Value>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Decision {
    /// Reads the body of a `200`.
    pub fn parse(raw: Bytes) -> Result<Self, Bad> {
        // A JSON array would pass for a struct with serde, so the object is asked for first.
        if raw.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Bad::NotJson);
        }
        let body: Body<'_> = serde_json::from_slice(&raw).map_err(|_| Bad::NotJson)?;
        let approve = match body.decision.as_ref().and_then(Value::as_str) {
            Some("approve") => true,
            Some("decline") => false,
            Some(_) | None => return Err(Bad::UnknownDecision),
        };
        let reason = match body.reason {
            Some(Value::String(text)) => {
                Some(text.chars().filter(|c| !c.is_control()).take(REASON_LIMIT).collect::<String>())
            }
            // A reason only picks the code of a decline; one that is no text is as good as none.
            Some(_) | None => None,
        };
        let amount = match body.amount {
            Some(Value::String(text)) if is_decimal(&text) => Some(text),
            Some(Value::Null) | None => None,
            Some(_) => return Err(Bad::Amount),
        };
        let source = match body.source {
            Some(Value::String(text)) if text == "pool" || text == "account" => Some(text),
            Some(Value::Null) | None => None,
            Some(_) => return Err(Bad::Source),
        };
        let sent = body.metadata.map(RawValue::get).filter(|text| *text != "null");
        let metadata = sent
            .filter(|text| text.len() <= METADATA_LIMIT && text.starts_with('{'))
            .map(|text| text.as_bytes().to_vec());
        let metadata_dropped = sent.is_some() && metadata.is_none();
        Ok(Self { approve, reason, amount, source, metadata, metadata_dropped, raw })
    }
}

/// `12`, `12.5`, `0.000001`: digits, then perhaps a point and digits; nothing else, and not too many.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 18 && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Decision, Bad> {
        Decision::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn the_contracts_answers() {
        let approve = parse(r#"{"decision":"approve"}"#).expect("an approval");
        assert!(approve.approve && approve.amount.is_none() && !approve.metadata_dropped);
        let decline = parse(r#" {"decision":"decline","reason":"insufficient_funds","x":[1]}"#).expect("a decline");
        assert_eq!((decline.approve, decline.reason.as_deref()), (false, Some("insufficient_funds")));
        let all = parse(r#"{"decision":"approve","amount":"5.00","source":"account","metadata":{"a": 1.0}}"#)
            .expect("with everything");
        assert_eq!(all.amount.as_deref(), Some("5.00"));
        assert_eq!(all.source.as_deref(), Some("account"));
        assert_eq!(all.metadata.as_deref(), Some(br#"{"a": 1.0}"#.as_slice()), "metadata to the byte");
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        for (text, bad) in [
            ("", Bad::NotJson),
            ("<html>", Bad::NotJson),
            ("[\"approve\"]", Bad::NotJson),
            ("\"approve\"", Bad::NotJson),
            (r#"{"decision":"approve"} trailing"#, Bad::NotJson),
            (r#"{"decision":"approve","decision":"decline"}"#, Bad::NotJson),
            ("{}", Bad::UnknownDecision),
            (r#"{"decision":"aprove"}"#, Bad::UnknownDecision),
            (r#"{"decision":"Approve"}"#, Bad::UnknownDecision),
            (r#"{"decision":true}"#, Bad::UnknownDecision),
            (r#"{"decision":"approve","amount":5}"#, Bad::Amount),
            (r#"{"decision":"approve","amount":"-5"}"#, Bad::Amount),
            (r#"{"decision":"approve","amount":"1e2"}"#, Bad::Amount),
            (r#"{"decision":"approve","amount":"5."}"#, Bad::Amount),
            (r#"{"decision":"approve","amount":""}"#, Bad::Amount),
            (r#"{"decision":"approve","source":"bank"}"#, Bad::Source),
        ] {
            assert_eq!(parse(text), Err(bad), "{text}");
        }
    }

    #[test]
    fn metadata_too_large_is_dropped_and_flagged() {
        let large = format!(r#"{{"decision":"approve","metadata":{{"a":"{}"}}}}"#, "x".repeat(METADATA_LIMIT));
        let decision = parse(&large).expect("still a decision");
        assert!(decision.metadata.is_none() && decision.metadata_dropped);
        let decision = parse(r#"{"decision":"approve","metadata":null,"amount":null,"source":null}"#).expect("nulls");
        assert!(decision.metadata.is_none() && !decision.metadata_dropped);
    }

    #[test]
    fn a_reason_is_bounded_and_printable() {
        let text = format!(r#"{{"decision":"decline","reason":"\u0007{}"}}"#, "é".repeat(200));
        let reason = parse(&text).expect("a decline").reason.expect("a reason");
        assert_eq!(reason.chars().count(), REASON_LIMIT);
        assert!(!reason.contains('\u{7}'));
    }

    #[test]
    fn deep_json_is_refused_without_recursion() {
        let deep = format!(r#"{{"decision":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(parse(&deep), Err(Bad::NotJson));
        let ignored = format!(r#"{{"x":{}1{},"decision":"approve"}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(parse(&ignored).is_ok_and(|decision| decision.approve) || parse(&ignored) == Err(Bad::NotJson));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Decision::parse(Bytes::from(bytes));
        }

        #[test]
        fn any_member_values_are_read_without_a_panic(
            decision in ".{0,12}", amount in ".{0,24}", source in ".{0,8}", reason in ".{0,100}",
        ) {
            let text = serde_json::json!({"decision": decision, "amount": amount, "source": source, "reason": reason});
            let _ = parse(&text.to_string());
        }
    }
}
