//! Messages of the plan as bytes, and replies read back. Uses the codec and nothing else of the engine. Must never
//! decide what a reply should be.

use std::sync::Arc;

use bytes::Bytes;
use iso_codec::{Draft, Mti, Spec};

use super::plan::Message;
use super::words::pan;

/// The specs of the links, in their order.
pub(crate) const SPECS: [&str; 3] = ["mastercard", "mastercard", "iso1987-ascii"];

/// The spec of a link.
pub(crate) fn spec(link: usize) -> Arc<Spec> {
    let name = SPECS.get(link).copied().unwrap_or("mastercard");
    Spec::embedded(name).expect("both specs are compiled in, a test of the codec compiles them")
}

/// The bytes of a message; `approval` is the DE38 that it carries, resolved.
pub(crate) fn bytes(message: &Message, approval: Option<u32>) -> Bytes {
    let mti = Mti(message.mti | u16::from(message.repeat));
    let mut draft = Draft::new(mti);
    let whole = message.link != 2;
    let trace = &message.trace;
    draft.set_text(7, format!("{:010}", trace.at)).set_text(11, format!("{:06}", trace.stan));
    if let Some(code) = message.de70 {
        draft.set_text(70, format!("{code:03}"));
    } else if message.mti != 0x0302 && mti.class() != 6 && message.mti != 0x0820 {
        money(message, approval, whole, &mut draft);
    }
    if mti.class() == 6 {
        draft.set_text(60, "1900040");
    }
    if let Some(missing) = message.missing {
        draft.remove(missing);
    }
    let spec = spec(message.link);
    draft.encode(&spec).expect("what a plan holds fits its elements")
}

fn money(message: &Message, approval: Option<u32>, whole: bool, draft: &mut Draft) {
    let trace = &message.trace;
    draft.set_text(2, pan(message.card));
    draft.set_text(3, format!("{:06}", message.code)).set_text(4, format!("{:012}", message.amount));
    draft.set_text(49, format!("{:03}", message.currency.0));
    if let Some((amount, currency)) = message.billing {
        draft.set_text(6, format!("{amount:012}")).set_text(51, format!("{:03}", currency.0));
    }
    if let Some(expiry) = message.expiry {
        draft.set_text(14, format!("{expiry:04}"));
    }
    if let Some(day) = trace.day {
        draft.set_text(15, format!("{day:04}"));
    }
    if let Some(acquirer) = trace.acquirer {
        draft.set_text(32, format!("{acquirer:06}"));
    }
    if let Some(forwarder) = trace.forwarder {
        draft.set_text(33, format!("{forwarder:06}"));
    }
    draft.set_text(37, format!("{:012}", message.label)).set_text(41, "TERM0001");
    if let Some(response) = message.response {
        draft.set_text(39, response);
    }
    if let Some(approval) = approval {
        draft.set_text(38, format!("{approval:06}"));
    }
    if !whole {
        return;
    }
    let mut subs: Vec<(&str, String)> = vec![("TCC", "R".to_owned()), ("42", "0103210".to_owned())];
    if message.partial_ok {
        subs.push(("61", "10000".to_owned()));
    }
    if let Some((reference, day)) = &message.original {
        subs.push(("63", format!("{reference:<9}{day:04}  ")));
    }
    let subs: Vec<(&str, &str)> = subs.iter().map(|(id, text)| (*id, text.as_str())).collect();
    draft.set_subs(48, &subs);
    draft.set_text(61, format!("000000{}000000840", message.status));
    if let Some(reference) = &trace.reference {
        draft.set_text(63, reference.clone());
    }
    if let Some(o) = &message.de90 {
        draft.set_text(90, format!("{:04X}{:06}{:010}{:011}{:011}", o.mti, o.stan, o.at, o.acquirer, o.forwarder));
    }
    if let Some((transaction, billing)) = message.de95 {
        draft.set_text(95, format!("{transaction:012}{:012}{billing:012}000000", 0));
    }
}

/// A reply as the network reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its type.
    pub mti: u16,
    /// DE39.
    pub code: String,
    /// DE38.
    pub approval: Option<u32>,
    /// DE44.
    pub offending: Option<String>,
    /// DE4.
    pub amount: Option<i64>,
    /// DE6.
    pub billed: Option<i64>,
    /// DE54.
    pub amounts: Option<String>,
    /// DE11 and DE7, which every reply returns.
    pub stan: Option<u64>,
    /// See `stan`.
    pub at: Option<u64>,
}

/// Reads a reply that came by a link.
pub(crate) fn read(link: usize, bytes: &[u8]) -> Result<Reply, String> {
    let message = iso_codec::decode(&spec(link), Bytes::copy_from_slice(bytes)).map_err(|e| e.to_string())?;
    let number = |n: u8| message.digits(n).and_then(|value| i64::try_from(value).ok());
    Ok(Reply {
        mti: message.mti().0,
        code: message.string(39).unwrap_or_default(),
        approval: message.string(38).and_then(|text| text.parse().ok()),
        offending: message.string(44),
        amount: number(4),
        billed: number(6),
        amounts: message.string(54),
        stan: message.digits(11),
        at: message.digits(7),
    })
}
