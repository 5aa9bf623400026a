//! What a run sends: shares of message kinds, which cards, which amounts, who pays, what must be answered. It owns
//! the mix file; it must never draw anything itself (that is `schedule`).

use crate::fault::Fault;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Mixes that are compiled in, by the name that `--mix` takes.
const EMBEDDED: [(&str, &str); 3] = [
    ("hot-pool", include_str!("../../mixes/hot-pool.toml")),
    ("accounts", include_str!("../../mixes/accounts.toml")),
    ("daily", include_str!("../../mixes/daily.toml")),
];

/// The kinds of message that a run sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A purchase with money enough.
    Approve = 0,
    /// A purchase of 9,999,999,999.99, which nobody can pay.
    Decline = 1,
    /// The reversal of an approved purchase that was sent a while ago.
    Reversal = 2,
    /// A purchase that was just sent, once more, with the repeat digit.
    Repeat = 3,
    /// An advice of a purchase that somebody else approved.
    Advice = 4,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub(crate) const ALL: [Kind; 5] = [Kind::Approve, Kind::Decline, Kind::Reversal, Kind::Repeat, Kind::Advice];
}

/// A mix, as its file says it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mix {
    /// What results call it.
    pub(crate) name: String,
    /// How much of each kind.
    pub(crate) shares: Shares,
    /// Which cards.
    #[serde(default)]
    pub(crate) cards: Pick,
    /// Who pays, where the generator makes the cards itself.
    #[serde(default)]
    pub(crate) funding: Funding,
    /// Amounts in minor units.
    #[serde(default)]
    pub(crate) amounts: Amounts,
    /// What must be answered.
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// Shares of the kinds, relative to their sum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shares {
    /// See [`Kind::Approve`].
    pub(crate) approve: f64,
    /// See [`Kind::Decline`].
    pub(crate) decline: f64,
    /// See [`Kind::Reversal`].
    pub(crate) reversal: f64,
    /// See [`Kind::Repeat`].
    pub(crate) repeat: f64,
    /// See [`Kind::Advice`].
    pub(crate) advice: f64,
}

/// How cards are picked.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pick {
    /// Cards to make, where the generator makes them.
    pub(crate) count: u32,
    /// Each alike, or few much more often than the rest.
    pub(crate) pick: Spread,
    /// Zipf's exponent.
    pub(crate) exponent: f64,
}

/// How often one card is picked compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Spread {
    /// Each alike.
    Uniform,
    /// The n-th in proportion to 1/n^exponent.
    Zipf,
}

/// Who pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Funding {
    /// Pools of a partner, or accounts of users.
    #[serde(rename = "type")]
    pub(crate) kind: Payer,
    /// How many pools or accounts; cards are spread over them in turn.
    pub(crate) sources: u32,
}

/// What a card is funded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payer {
    /// A pool.
    Pool,
    /// An account.
    Account,
}

/// Amounts, each alike, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Amounts {
    /// The smallest.
    pub(crate) from: u32,
    /// The largest.
    pub(crate) to: u32,
}

/// DE39 that each kind must be answered; a repeat is answered as its original.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expect {
    /// Of a purchase.
    pub(crate) approve: String,
    /// Of a purchase that is too large.
    pub(crate) decline: String,
    /// Of a reversal.
    pub(crate) reversal: String,
    /// Of an advice.
    pub(crate) advice: String,
}

impl Default for Pick {
    fn default() -> Pick {
        Pick { count: 1000, pick: Spread::Uniform, exponent: 1.0 }
    }
}

impl Default for Funding {
    fn default() -> Funding {
        Funding { kind: Payer::Pool, sources: 1 }
    }
}

impl Default for Amounts {
    fn default() -> Amounts {
        Amounts { from: 100, to: 5000 }
    }
}

impl Default for Expect {
    fn default() -> Expect {
        let [approve, decline, reversal, advice] = ["00", "51", "00", "00"].map(str::to_owned);
        Expect { approve, decline, reversal, advice }
    }
}

impl Shares {
    /// By kind, in the order of [`Kind::ALL`].
    pub(crate) fn weights(&self) -> [f64; 5] {
        [self.approve, self.decline, self.reversal, self.repeat, self.advice]
    }
}

impl Mix {
    /// One that is compiled in, by its name, else a file.
    pub(crate) fn load(name: &str) -> Result<Mix, Fault> {
        if let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
            return Mix::parse(text, name);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
            let text = format!("the mix {name}: no such file, and none of the embedded ones: {}", known.join(", "));
            return Err(Fault::Usage(text));
        }
        let text = fs::read_to_string(path).map_err(Fault::io(format!("reading the mix {name}")))?;
        Mix::parse(&text, name)
    }

    /// Reads a mix's text and checks it.
    pub(crate) fn parse(text: &str, place: &str) -> Result<Mix, Fault> {
        let fault = |what: String| Fault::Usage(format!("the mix {place}: {what}"));
        let mix: Mix = toml::from_str(text).map_err(|error| fault(error.to_string().trim_end().to_owned()))?;
        let weights = mix.shares.weights();
        if weights.iter().any(|share| !share.is_finite() || *share < 0.0) || mix.shares.approve <= 0.0 {
            return Err(fault("shares are numbers from 0 up, and `approve` is above 0".to_owned()));
        }
        if mix.cards.count == 0 || mix.funding.sources == 0 {
            return Err(fault("`cards.count` and `funding.sources` are at least 1".to_owned()));
        }
        if mix.amounts.from == 0 || mix.amounts.from > mix.amounts.to {
            return Err(fault("`amounts.from` is at least 1 and at most `amounts.to`".to_owned()));
        }
        if !(mix.cards.exponent.is_finite() && mix.cards.exponent > 0.0) {
            return Err(fault("`cards.exponent` is above 0".to_owned()));
        }
        let codes = Kind::ALL.map(|kind| mix.code(kind).len());
        if codes.iter().any(|length| *length != 2) {
            return Err(fault("each of `expect` is a DE39 of two characters".to_owned()));
        }
        Ok(mix)
    }

    /// The DE39 that a kind must be answered.
    pub(crate) fn code(&self, kind: Kind) -> &str {
        match kind {
            Kind::Approve | Kind::Repeat => &self.expect.approve,
            Kind::Decline => &self.expect.decline,
            Kind::Reversal => &self.expect.reversal,
            Kind::Advice => &self.expect.advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_mixes_are_good() {
        for (name, _) in EMBEDDED {
            assert!(Mix::load(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_a_mix_may_not_say() {
        for (text, told) in [
            ("name = 'a'\n[shares]\ndecline = 1.0", "`approve` is above 0"),
            ("name = 'a'\n[shares]\napprove = 1.0\nrefund = 1.0", "unknown field `refund`"),
            ("name = 'a'\n[shares]\napprove = 1.0\n[amounts]\nfrom = 2\nto = 1", "at most `amounts.to`"),
            ("name = 'a'\n[shares]\napprove = 1.0\n[expect]\napprove = '000'", "two characters"),
        ] {
            let said = Mix::parse(text, "test").map(|_| ()).map_err(|fault| fault.to_string());
            assert!(said.as_ref().is_err_and(|said| said.contains(told)), "{text}: {said:?}");
        }
    }
}
