//! A reply held against what the model says it must tell (contracts 2.3). Must never look at the book.

use super::frames::Reply;
use super::model::Answer;
use super::plan::Message;
use super::words::Currency;

/// What is wrong with a reply.
pub(super) fn check(
    message: &Message,
    answer: &Answer,
    offending: Option<&'static str>,
    reply: &Reply,
) -> Result<(), String> {
    let mti = message.mti | 0x0010;
    if reply.mti != mti {
        return Err(format!("is a {:04X}, not a {mti:04X}", reply.mti));
    }
    if reply.code != answer.code {
        return Err(format!("says {}, the model says {}", reply.code, answer.code));
    }
    if reply.offending.as_deref() != offending {
        return Err(format!("has DE44 {:?}, not {offending:?}", reply.offending));
    }
    let trace = &message.trace;
    if (reply.stan, reply.at) != (Some(u64::from(trace.stan)), Some(u64::from(trace.at))) {
        return Err(format!("names {:?} at {:?}", reply.stan, reply.at));
    }
    let advice = matches!(message.mti, 0x0120 | 0x0220);
    let approval = match (answer.approval, reply.approval) {
        (0, None) => true,
        (0, Some(_)) => false,
        (own, Some(code)) if advice => own == code,
        (_, Some(code)) => code != 0,
        (_, None) => false,
    };
    if !approval {
        return Err(format!("has DE38 {:?} with {}", reply.approval, answer.code));
    }
    if !matches!(message.mti, 0x0100 | 0x0200) {
        return Ok(());
    }
    check_amounts(message, answer, reply)
}

fn check_amounts(message: &Message, answer: &Answer, reply: &Reply) -> Result<(), String> {
    let (amount, billed) = match answer.partial {
        None => (message.amount, message.billing.map(|(amount, _)| amount)),
        Some((part, _)) if message.billing.is_none() => (part, None),
        Some((part, of)) => {
            let share = i128::from(message.amount) * i128::from(part) / i128::from(of);
            (i64::try_from(share).unwrap_or(0), Some(part))
        }
    };
    let has = |n: u8| message.missing != Some(n);
    let told = (reply.amount, reply.billed);
    if has(4) && told != (Some(amount), billed) {
        return Err(format!("carries amounts {told:?}, not {amount} and {billed:?}"));
    }
    let mut expected = String::new();
    if answer.partial.is_some() {
        expected.push_str(&additional("57", message.currency, message.amount));
    }
    if let Some((balance, currency)) = answer.balance.filter(|(_, currency)| !currency.is_crypto()) {
        expected.push_str(&additional("02", currency, balance));
    }
    let told = reply.amounts.clone().unwrap_or_default();
    if told != expected { Err(format!("has DE54 {told:?}, not {expected:?}")) } else { Ok(()) }
}

fn additional(kind: &str, currency: Currency, amount: i64) -> String {
    // The place has twelve digits: what is more is told as the most they can say.
    format!("00{kind}{:03}C{:012}", currency.0, amount.min(999_999_999_999))
}
