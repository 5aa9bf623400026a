//! The sample partner's rule language: one rule a line, the first that fits and answers decides. It owns
//! the grammar and the choice; it must never do IO: what a choice looks like on the wire is
//! [`super::partner`]'s.

use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;

/// The grammar, for `--help` and the docs.
pub const GRAMMAR: &str = "\
A rule is any number of conditions and one action; the first rule that fits decides, `delay` only adds
time and goes on to the next rule; when none fits, the answer is approve.

conditions   mcc=7995  kind=cash  currency=EUR  country=USA  last4=4242  user=alice
             amount>100  amount>=100  amount<5  amount<=5  amount=12.50      (`!=` negates a `=`)
actions      approve [amount 5.00] [source pool|account] [metadata BYTES]
             decline [REASON]            insufficient_funds, limit_exceeded, not_permitted, …
             delay 50ms | delay 10ms..80ms
             late 200ms                  approves that long after the deadline
             silent                      never answers
             drip                        one byte a second
             reset                       breaks the connection in the middle of the answer
             close                       hangs up without an answer
             garbage | html | deep | misspelt | huge | status 500 | redirect [URL]";

/// What the rules look at in an ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `purchase`, `cash`, …
    pub kind: String,
    /// Billing amount.
    pub amount: Decimal,
    /// Billing currency.
    pub currency: String,
    /// Merchant category.
    pub mcc: String,
    /// Merchant country.
    pub country: String,
    /// The card's last four digits.
    pub last4: String,
    /// The partner's own id of the user.
    pub user: String,
}

/// One rule, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    conditions: Vec<Condition>,
    action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Text { field: Field, value: String, equal: bool },
    Amount { relation: Relation, value: Decimal },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Kind,
    Currency,
    Mcc,
    Country,
    Last4,
    User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Delay { least: Duration, most: Duration },
    Answer(Behaviour),
}

/// How the sample partner answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// A well-formed approval.
    Approve {
        /// Decimal text of a partial approval.
        amount: Option<String>,
        /// `pool` or `account`.
        source: Option<String>,
        /// Bytes of metadata to send along.
        metadata: Option<usize>,
    },
    /// A well-formed decline.
    Decline {
        /// The reason, when one is given.
        reason: Option<String>,
    },
    /// An approval so long after the ask's deadline.
    Late {
        /// Time past the deadline.
        by: Duration,
    },
    /// No answer, the connection stays open.
    Silent,
    /// A good answer, one byte a second.
    Drip,
    /// Half an answer, then a TCP reset.
    Reset,
    /// The connection closed without an answer.
    Close,
    /// A 200 whose body is no JSON.
    Garbage,
    /// A 200 with a web page.
    Html,
    /// A 200 with JSON nested 5,000 deep.
    Deep,
    /// A decision spelt wrong.
    Misspelt,
    /// A body of 100 MiB.
    Huge,
    /// Another status than 200.
    Status(u16),
    /// A 307 to this URL.
    Redirect(String),
}

impl Behaviour {
    /// One word for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Approve { amount: None, .. } => "approve",
            Self::Approve { amount: Some(_), .. } => "approve_partial",
            Self::Decline { .. } => "decline",
            Self::Late { .. } => "late",
            Self::Silent => "silent",
            Self::Drip => "drip",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Garbage => "garbage",
            Self::Html => "html",
            Self::Deep => "deep",
            Self::Misspelt => "misspelt",
            Self::Huge => "huge",
            Self::Status(_) => "status",
            Self::Redirect(_) => "redirect",
        }
    }
}

/// What the rules chose for one ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// How to answer.
    pub behaviour: Behaviour,
    /// How long to wait first.
    pub delay: Duration,
    /// The rule that decided, none when no rule fitted.
    pub rule: Option<String>,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule needs an action.
    #[error("rule `{rule}` has no action; end it with approve, decline, delay, silent, …")]
    NoAction {
        /// The rule as given.
        rule: String,
    },
    /// A word that is neither a condition nor an action.
    #[error("rule `{rule}`: `{word}` is neither a condition nor an action; see `simulate partner --help`")]
    Word {
        /// The rule as given.
        rule: String,
        /// The word.
        word: String,
    },
    /// A value that does not fit.
    #[error("rule `{rule}`: `{value}` is not {expected}")]
    Value {
        /// The rule as given.
        rule: String,
        /// The value.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// Something after the action is over.
    #[error("rule `{rule}`: `{word}` is one word too many")]
    TooMuch {
        /// The rule as given.
        rule: String,
        /// The first word too many.
        word: String,
    },
    /// Too many rules, or one too long.
    #[error("at most 256 rules of at most 512 bytes each")]
    TooLarge,
}

/// Reads a list of rules; none is an empty list, which approves everything.
pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Rule>, RuleError> {
    if texts.len() > 256 {
        return Err(RuleError::TooLarge);
    }
    texts.iter().map(|text| text.as_ref().parse()).collect()
}

/// Applies the rules. `dice` in 0..=u32::MAX picks from a range of delays.
pub fn choose(rules: &[Rule], facts: &Facts, dice: u32) -> Choice {
    let mut delay = Duration::ZERO;
    for rule in rules.iter().filter(|rule| rule.conditions.iter().all(|condition| condition.fits(facts))) {
        match &rule.action {
            Action::Delay { least, most } => {
                let spread = most.saturating_sub(*least);
                delay += *least + spread.mul_f64(f64::from(dice) / f64::from(u32::MAX));
            }
            Action::Answer(behaviour) => {
                return Choice { behaviour: behaviour.clone(), delay, rule: Some(rule.text.clone()) };
            }
        }
    }
    let behaviour = Behaviour::Approve { amount: None, source: None, metadata: None };
    Choice { behaviour, delay, rule: None }
}

impl Condition {
    fn fits(&self, facts: &Facts) -> bool {
        match self {
            Self::Text { field, value, equal } => {
                let fact = match field {
                    Field::Kind => &facts.kind,
                    Field::Currency => &facts.currency,
                    Field::Mcc => &facts.mcc,
                    Field::Country => &facts.country,
                    Field::Last4 => &facts.last4,
                    Field::User => &facts.user,
                };
                (fact == value) == *equal
            }
            Self::Amount { relation, value } => match relation {
                Relation::Less => facts.amount < *value,
                Relation::LessOrEqual => facts.amount <= *value,
                Relation::Equal => facts.amount == *value,
                Relation::NotEqual => facts.amount != *value,
                Relation::GreaterOrEqual => facts.amount >= *value,
                Relation::Greater => facts.amount > *value,
            },
        }
    }
}

impl Rule {
    /// The rule as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > 512 {
            return Err(RuleError::TooLarge);
        }
        let text = text.trim();
        let mut words = Words { rule: text, words: text.split_whitespace().collect() };
        words.words.reverse();
        let mut conditions = Vec::new();
        let action = loop {
            let Some(word) = words.next() else {
                return Err(RuleError::NoAction { rule: text.to_owned() });
            };
            if word == "and" {
                continue;
            }
            match words.condition(word)? {
                Some(condition) => conditions.push(condition),
                None => break words.action(word)?,
            }
        };
        match words.next() {
            None => Ok(Self { text: text.to_owned(), conditions, action }),
            Some(word) => Err(RuleError::TooMuch { rule: text.to_owned(), word: word.to_owned() }),
        }
    }
}

/// The words of one rule, the next one last.
struct Words<'a> {
    rule: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.words.pop()
    }

    fn value(&self, value: &str, expected: &'static str) -> RuleError {
        RuleError::Value { rule: self.rule.to_owned(), value: value.to_owned(), expected }
    }

    fn condition(&self, word: &str) -> Result<Option<Condition>, RuleError> {
        // Longest operators first, so that `>=` is not read as `>`.
        let operators = [
            ("!=", Relation::NotEqual),
            (">=", Relation::GreaterOrEqual),
            ("<=", Relation::LessOrEqual),
            (">", Relation::Greater),
            ("<", Relation::Less),
            ("=", Relation::Equal),
        ];
        let Some((name, relation, value)) = operators
            .iter()
            .find_map(|(sign, relation)| word.split_once(sign).map(|(name, value)| (name, *relation, value)))
        else {
            return Ok(None);
        };
        let field = match name {
            "amount" => {
                let value = value.parse().map_err(|_| self.value(value, "an amount such as 12.50"))?;
                return Ok(Some(Condition::Amount { relation, value }));
            }
            "kind" => Field::Kind,
            "currency" => Field::Currency,
            "mcc" => Field::Mcc,
            "country" => Field::Country,
            "last4" | "card_last4" => Field::Last4,
            "user" | "user_external_id" => Field::User,
            _ => return Err(RuleError::Word { rule: self.rule.to_owned(), word: word.to_owned() }),
        };
        let equal = match relation {
            Relation::Equal => true,
            Relation::NotEqual => false,
            Relation::Less | Relation::LessOrEqual | Relation::GreaterOrEqual | Relation::Greater => {
                return Err(self.value(word, "a comparison for text: only = and != are"));
            }
        };
        Ok(Some(Condition::Text { field, value: value.to_owned(), equal }))
    }

    fn action(&mut self, word: &str) -> Result<Action, RuleError> {
        let behaviour = match word {
            "delay" => {
                let text = self.next().unwrap_or_default();
                let (least, most) = text.split_once("..").unwrap_or((text, text));
                let (least, most) = (self.duration(least)?, self.duration(most)?);
                return Ok(Action::Delay { least: least.min(most), most: most.max(least) });
            }
            "approve" => self.approve()?,
            "decline" => Behaviour::Decline { reason: self.next().map(str::to_owned) },
            "late" | "approve-late" => {
                let text = self.next().unwrap_or_default();
                Behaviour::Late { by: self.duration(text)? }
            }
            "silent" | "silence" => Behaviour::Silent,
            "drip" => Behaviour::Drip,
            "reset" => Behaviour::Reset,
            "close" => Behaviour::Close,
            "garbage" => Behaviour::Garbage,
            "html" => Behaviour::Html,
            "deep" => Behaviour::Deep,
            "misspelt" => Behaviour::Misspelt,
            "huge" => Behaviour::Huge,
            "status" => {
                let text = self.next().unwrap_or_default();
                let status = text.parse().ok().filter(|status| (200..=599).contains(status));
                Behaviour::Status(status.ok_or_else(|| self.value(text, "a status from 200 to 599"))?)
            }
            "redirect" => Behaviour::Redirect(self.next().unwrap_or("http://127.0.0.1:1/elsewhere").to_owned()),
            _ => return Err(RuleError::Word { rule: self.rule.to_owned(), word: word.to_owned() }),
        };
        Ok(Action::Answer(behaviour))
    }

    fn approve(&mut self) -> Result<Behaviour, RuleError> {
        let (mut amount, mut source, mut metadata) = (None, None, None);
        while let Some(word) = self.next() {
            let value = self.next().unwrap_or_default();
            match word {
                // Taken as written: a wrong amount on purpose is what this is for.
                "amount" => amount = Some(value.to_owned()),
                "source" => source = Some(value.to_owned()),
                "metadata" => {
                    let bytes = value.parse().ok().filter(|bytes| *bytes <= 1024 * 1024);
                    metadata = Some(bytes.ok_or_else(|| self.value(value, "a number of bytes up to 1048576"))?);
                }
                _ => return Err(RuleError::Word { rule: self.rule.to_owned(), word: word.to_owned() }),
            }
        }
        Ok(Behaviour::Approve { amount, source, metadata })
    }

    fn duration(&self, text: &str) -> Result<Duration, RuleError> {
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| *duration <= Duration::from_secs(3600))
            .ok_or_else(|| self.value(text, "a time such as 50ms, at most 1h"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            kind: "purchase".to_owned(),
            amount: Decimal::new(1250, 2),
            currency: "EUR".to_owned(),
            mcc: "5411".to_owned(),
            country: "USA".to_owned(),
            last4: "4242".to_owned(),
            user: "alice".to_owned(),
        }
    }

    fn chosen(texts: &[&str]) -> Choice {
        choose(&parse_all(texts).expect("good rules"), &facts(), 0)
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_delays_add_up() {
        let choice =
            chosen(&["mcc=7995 decline not_permitted", "delay 50ms", "user=alice delay 10ms", "amount>10 decline"]);
        assert_eq!(choice.behaviour, Behaviour::Decline { reason: None });
        assert_eq!(choice.delay, Duration::from_millis(60));
        assert_eq!(choice.rule.as_deref(), Some("amount>10 decline"));
        assert_eq!(chosen(&[]).behaviour.name(), "approve");
    }

    #[test]
    fn conditions_join_and_negate() {
        assert_eq!(chosen(&["mcc=5411 and amount<=12.50 and country!=CHE silent"]).behaviour, Behaviour::Silent);
        assert_eq!(chosen(&["mcc=5411 amount<12.50 silent"]).behaviour.name(), "approve");
        assert_eq!(chosen(&["last4!=4242 silent"]).behaviour.name(), "approve");
    }

    #[test]
    fn a_range_of_delays_is_spread_by_the_dice() {
        let rules = parse_all(&["delay 10ms..30ms"]).expect("a rule");
        assert_eq!(choose(&rules, &facts(), 0).delay, Duration::from_millis(10));
        assert_eq!(choose(&rules, &facts(), u32::MAX).delay, Duration::from_millis(30));
    }

    #[test]
    fn every_action_of_the_help_is_read() {
        for text in [
            "approve amount 5.00 source account metadata 2000",
            "decline insufficient_funds",
            "late 200ms",
            "silent",
            "drip",
            "reset",
            "close",
            "garbage",
            "html",
            "deep",
            "misspelt",
            "huge",
            "status 500",
            "redirect http://127.0.0.1/x",
        ] {
            let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rule.text(), text);
        }
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for text in [
            "",
            "mcc=1",
            "jump",
            "mcc>5 approve",
            "colour=red approve",
            "amount>x approve",
            "delay",
            "delay 2h",
            "status 99",
            "silent now",
            "approve size 5",
        ] {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert!(error.starts_with("rule `"), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}", value in "[a-z]{1,8}(=|>|<|!=)[0-9a-z.]{0,8} [a-z]{1,8} .{0,20}") {
            let _ = text.parse::<Rule>();
            let _ = value.parse::<Rule>();
        }
    }
}
