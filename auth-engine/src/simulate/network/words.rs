//! Placeholders: what `{stan}` and its like stand for in one message. It must never look at a clock or draw by itself:
//! both are handed in.

use std::collections::BTreeMap;

use iso_codec::Message;
use jiff::Timestamp;
use zeroize::Zeroizing;

/// A message that was kept under a name, with its reply.
#[derive(Default)]
pub struct Kept {
    /// What was sent.
    pub request: Option<Message>,
    /// What came back.
    pub reply: Option<Message>,
}

/// A card that setup made.
pub struct Card {
    /// DE2.
    pub pan: Zeroizing<String>,
    /// DE14, YYMM.
    pub expiry: String,
}

/// Everything a placeholder can stand for.
#[derive(Default)]
pub struct Words {
    /// The scenario's own.
    pub vars: BTreeMap<String, String>,
    /// By number, from 1.
    pub cards: Vec<Card>,
    /// By name.
    pub kept: BTreeMap<String, Kept>,
    /// What the engine sent last by itself.
    pub received: Option<Message>,
    next: u32,
}

/// What one message has of its own.
pub struct Moment {
    /// Its STAN.
    pub stan: u32,
    /// When it was made.
    pub now: Timestamp,
    /// Digits that the seed drew.
    pub random: u64,
}

impl Words {
    /// Starts counting STANs there.
    pub fn starting(first: u32) -> Self {
        Self { next: first % 1_000_000, ..Self::default() }
    }

    /// The next message's own words.
    pub fn moment(&mut self, now: Timestamp, random: u64) -> Moment {
        let stan = self.next;
        self.next = (stan + 1) % 1_000_000;
        Moment { stan, now, random }
    }

    /// The text with each placeholder replaced. A brace that is meant stands twice.
    ///
    /// # Errors
    /// The placeholder that nothing is known of.
    pub fn fill(&self, text: &str, moment: &Moment) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                out.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let inner = from.strip_prefix('{').ok_or_else(|| "a `}` without its `{`".to_owned())?;
            let (word, after) = inner.split_once('}').ok_or_else(|| "a `{` without its `}`".to_owned())?;
            out.push_str(&self.word(word, moment)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn word(&self, word: &str, moment: &Moment) -> Result<String, String> {
        let at = |form: &str| Ok(moment.now.strftime(form).to_string());
        match word {
            "stan" => return Ok(format!("{:06}", moment.stan)),
            "rrn" => return Ok(format!("{:012}", moment.stan)),
            "now" => return at("%m%d%H%M%S"),
            "date" => return at("%m%d"),
            "time" => return at("%H%M%S"),
            "year_month" => return at("%y%m"),
            _ => {}
        }
        if let Some(value) = self.vars.get(word) {
            return Ok(value.clone());
        }
        let (head, tail) = word.split_once('.').unwrap_or((word, ""));
        match head {
            "pan" | "expiry" => {
                let number: usize = if tail.is_empty() { Ok(1) } else { tail.parse() }.unwrap_or(0);
                let card = number.checked_sub(1).and_then(|at| self.cards.get(at));
                let card = card.ok_or_else(|| format!("{{{word}}}: no such card; `[setup]` makes cards"))?;
                Ok(if head == "pan" { card.pan.as_str().to_owned() } else { card.expiry.clone() })
            }
            "random" => {
                let digits = tail.parse().ok().filter(|digits| (1..=18).contains(digits));
                let digits: usize = digits.ok_or_else(|| format!("{{{word}}}: {{random.1}} to {{random.18}}"))?;
                let text = format!("{:018}", moment.random % 1_000_000_000_000_000_000);
                Ok(text.get(18 - digits..).unwrap_or_default().to_owned())
            }
            "received" => element(self.received.as_ref(), tail, word),
            name => {
                let kept = self.kept.get(name).ok_or_else(|| format!("{{{word}}}: nothing is known of that name"))?;
                match tail.strip_prefix("reply.") {
                    Some(number) => element(kept.reply.as_ref(), number, word),
                    None => element(kept.request.as_ref(), tail, word),
                }
            }
        }
    }
}

/// An element of a message, `mti`, or nothing of what is not there.
fn element(message: Option<&Message>, which: &str, word: &str) -> Result<String, String> {
    let message = message.ok_or_else(|| format!("{{{word}}}: there is no such message yet"))?;
    if which == "mti" {
        return Ok(message.mti().to_string());
    }
    // `{name.32>11}`: filled with zeros from the left, as DE90 wants it.
    let (number, width) = which.split_once('>').unwrap_or((which, "0"));
    let unknown = || format!("{{{word}}}: an element's number, `mti`, or `reply.` and a number");
    let number: u8 = number.parse().map_err(|_| unknown())?;
    let width: usize = width.parse().ok().filter(|width| *width <= 999).ok_or_else(unknown)?;
    Ok(format!("{:0>width$}", message.string(number).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_or_named() {
        let mut words = Words::starting(999_999);
        words.vars.insert("acquirer".to_owned(), "009999".to_owned());
        let now: Timestamp = "2026-02-28T13:14:15Z".parse().expect("a time");
        let moment = words.moment(now, 1234);
        let filled = words.fill("{stan}|{rrn}|{now}|{date}|{acquirer}|{random.4}|{{x}}", &moment);
        assert_eq!(filled.as_deref(), Ok("999999|000000999999|0228131415|0228|009999|1234|{x}"));
        assert_eq!(words.moment(now, 0).stan, 0);
        assert!(words.fill("{pan}", &moment).is_err_and(|reason| reason.contains("[setup]")));
        assert!(words.fill("{nobody.11}", &moment).is_err_and(|reason| reason.contains("nobody.11")));
        assert!(words.fill("{stan", &moment).is_err());
    }
}
