//! The messages the network side sends, by the public facts of a Mastercard-style link. It owns what is sent under
//! which key, so that repeats and reversals find their originals; it must never send anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use iso_codec::{Draft, Mti, Spec};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::story::{Message, Step};
use crate::cli::Failure;

const ACQUIRER: &str = "009999";
const FORWARDER: &str = "200000";
const EUR: &str = "978";
/// Attended terminal, cardholder and card present, normal request; account status has 8 in position 7.
const POINT_OF_SERVICE: &str = "00000000003002760000";
const STATUS_INQUIRY: &str = "00000080003002760000";

/// What identifies a message and finds it again.
#[derive(Clone)]
pub(super) struct Identity {
    /// DE11.
    pub(super) stan: u64,
    /// DE7, MMDDhhmmss UTC.
    transmitted: String,
    /// DE63: network code and reference.
    reference: String,
}

/// A card as the network sees it.
#[derive(Clone)]
pub(super) struct Plastic {
    /// DE2.
    pub(super) number: Zeroizing<String>,
    /// DE14, YYMM.
    pub(super) expiry: String,
}

/// The messages of one network side.
pub(super) struct Messages {
    spec: Arc<Spec>,
    next_stan: u64,
    identities: BTreeMap<&'static str, Identity>,
    sent: BTreeMap<&'static str, Bytes>,
}

impl Messages {
    /// None sent yet.
    pub(super) fn new(spec: Arc<Spec>) -> Self {
        Self { spec, next_stan: 1, identities: BTreeMap::new(), sent: BTreeMap::new() }
    }

    /// The identity of the step with that key, made when it has none yet: a reversal may come before its original.
    pub(super) fn identity(&mut self, key: &'static str) -> Identity {
        if let Some(known) = self.identities.get(key) {
            return known.clone();
        }
        let stan = self.next_stan;
        self.next_stan += 1;
        let transmitted = Timestamp::now().strftime("%m%d%H%M%S").to_string();
        let identity = Identity { stan, transmitted, reference: format!("MCC{stan:06}") };
        if !key.is_empty() {
            self.identities.insert(key, identity.clone());
        }
        identity
    }

    /// The step's message, ready to be framed, and who it is. `card` is needed by all but network management.
    pub(super) fn build(&mut self, step: &Step, card: Option<&Plastic>) -> Result<(Bytes, Identity), Failure> {
        if let Message::Repeat(key) = step.message {
            let again = self.sent.get(key).cloned();
            let identity = self.identity(key);
            return again
                .map(|bytes| (bytes, identity))
                .ok_or_else(|| Failure::no(format!("the story repeats {key:?} before it was sent; please report it")));
        }
        let identity = self.identity(step.key);
        let mut draft = Draft::new(mti(step.message));
        draft.set_text(7, identity.transmitted.as_str()).set_digits(11, identity.stan);
        draft.set_text(33, FORWARDER).set_text(63, identity.reference.as_str());
        if let Message::Management(code) = step.message {
            draft.set_digits(70, u64::from(code));
        } else {
            let card = card.ok_or_else(|| Failure::no("the story names no card; please report it"))?;
            self.describe_tap(&mut draft, step, card, &identity);
        }
        let bytes = draft
            .encode(&self.spec)
            .map_err(|error| Failure::no(format!("the demo's own message is wrong: {error}; please report it")))?;
        if !step.key.is_empty() {
            self.sent.insert(step.key, bytes.clone());
        }
        Ok((bytes, identity))
    }

    fn describe_tap(&mut self, draft: &mut Draft, step: &Step, card: &Plastic, identity: &Identity) {
        let clock = identity.transmitted.get(4..).unwrap_or_default().to_owned();
        let date = identity.transmitted.get(..4).unwrap_or_default().to_owned();
        draft.set_text(2, card.number.as_str()).set_text(3, "000000");
        draft.set_digits(4, u64::try_from(step.amount).unwrap_or(0));
        draft.set_text(12, clock).set_text(13, date.as_str()).set_text(15, date).set_text(14, card.expiry.as_str());
        draft.set_text(18, "5411").set_text(22, "071").set_text(32, ACQUIRER);
        draft.set_text(37, format!("{:012}", identity.stan)).set_text(41, "TERM0001").set_text(42, "MERCHANT0000001");
        draft.set_text(43, format!("{:<22} {:<13} {:<3}", "AURORA CAFE", "BERLIN", "DEU"));
        draft.set_subs(48, &[("TCC", "R")]).set_text(49, EUR);
        match step.message {
            Message::AccountStatus(_) => {
                draft.set_text(61, STATUS_INQUIRY);
            }
            Message::Advice(_) => {
                // Stand-in: the network approved while it could not reach us (reason 103, unavailable).
                draft.set_text(38, "481516").set_text(39, "00").set_text(60, "1030000").set_text(61, POINT_OF_SERVICE);
            }
            Message::Reversal { of, stays } => {
                let original = self.identity(of);
                let Identity { stan, transmitted, .. } = &original;
                draft.set_text(39, if stays == 0 { "17" } else { "32" });
                draft.set_text(90, format!("0100{stan:06}{transmitted}{ACQUIRER:0>11}{FORWARDER:0>11}"));
                if stays > 0 {
                    draft.set_text(95, format!("{stays:012}{:030}", 0));
                }
            }
            Message::Tap(_) | Message::Repeat(_) | Message::Management(_) => {
                draft.set_text(61, POINT_OF_SERVICE);
            }
        }
    }
}

fn mti(message: Message) -> Mti {
    match message {
        Message::Management(_) => Mti(0x0800),
        Message::Tap(_) | Message::AccountStatus(_) | Message::Repeat(_) => Mti(0x0100),
        Message::Advice(_) => Mti(0x0120),
        Message::Reversal { .. } => Mti(0x0400),
    }
}
