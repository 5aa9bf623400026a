//! Whether a message is what was expected. A reason names the element; it must never show what is masked.

use iso_codec::{Layout, Message};

use super::scenario::{Check, Expect};
use super::words::{Moment, Words};

/// Whether a reply belongs to a request: a response with the same DE11, and DE7 where both have one.
pub fn same_exchange(request: &Message, reply: &Message) -> bool {
    let (asked, answered) = (request.raw(7), reply.raw(7));
    reply.mti().is_response()
        && request.mti().class() == reply.mti().class()
        && request.raw(11) == reply.raw(11)
        && (asked.is_none() || answered.is_none() || asked == answered)
}

/// Everything that is not as expected.
pub fn compare(
    message: &Message,
    request: Option<&Message>,
    expect: &Expect,
    words: &Words,
    moment: &Moment,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let wanted = expect.mti.or_else(|| request.map(|request| request.mti().response()));
    if let Some(wanted) = wanted.filter(|wanted| *wanted != message.mti()) {
        reasons.push(format!("expected a {wanted}, got a {}", message.mti()));
    }
    for (number, check) in &expect.fields {
        let has = message.string(*number);
        let got = || has.as_deref().map_or("nothing".to_owned(), |value| shown(message, *number, value));
        match check {
            Check::Present if has.is_none() => reasons.push(format!("DE{number}: expected, not there")),
            Check::Absent if has.is_some() => reasons.push(format!("DE{number}: not expected, got {}", got())),
            Check::Present | Check::Absent => {}
            Check::Same => {
                let asked = request.and_then(|request| request.raw(*number));
                if asked != message.raw(*number) {
                    reasons.push(format!("DE{number}: expected as in the request, got {}", got()));
                }
            }
            Check::Pattern(pattern) => {
                if !has.as_deref().is_some_and(|value| pattern.is_match(value)) {
                    reasons.push(format!("DE{number}: expected to fit {pattern}, got {}", got()));
                }
            }
            Check::Equal(text) => match words.fill(text, moment) {
                Err(reason) => reasons.push(format!("DE{number}: {reason}")),
                Ok(wanted) if has.as_deref().is_some_and(|value| equal(value, &wanted)) => {}
                Ok(wanted) => {
                    let wanted = shown(message, *number, &wanted);
                    reasons.push(format!("DE{number}: expected {wanted}, got {}", got()));
                }
            },
        }
    }
    reasons
}

/// Blanks behind fill a fixed element; nobody writes them in an expectation.
fn equal(value: &str, wanted: &str) -> bool {
    value == wanted || value.trim_end_matches(' ') == wanted
}

/// A value, unless its element is masked or has parts that may be.
fn shown(message: &Message, number: u8, value: &str) -> String {
    let spec = message.spec();
    let plain = spec
        .fields()
        .find(|field| u16::from(field.number) == u16::from(number))
        .is_some_and(|field| field.secret.is_none() && matches!(field.layout, Layout::Plain));
    if plain { format!("{value:?}") } else { "a value that is masked".to_owned() }
}
