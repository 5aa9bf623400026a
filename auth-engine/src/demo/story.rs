//! The story: what happens, in order, and what must come of it. Pure data; amounts are cents of EUR.

#![expect(clippy::inconsistent_digit_grouping, reason = "amounts are cents: the last two digits stand apart")]

/// Who pays for what, by the name the story uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Card {
    /// Alice's, funded by the partner's pool.
    Pool,
    /// Alice's, funded by a pool that holds little.
    SmallPool,
    /// Alice's, funded by her own account.
    Account,
    /// Alice's: the partner chooses between its pool and her account.
    Choice,
    /// Alice's, funded by the pool; frozen in the course of the story.
    Frozen,
    /// Bob's, funded by the pool; he loses his KYC in the course of the story.
    Bob,
    /// A number nobody issued.
    Unknown,
}

/// What holds money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purse {
    /// The partner's pool.
    Pool,
    /// Its other one, with little in it.
    SmallPool,
    /// Alice's account.
    Account,
}

/// What the sample partner does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partner {
    /// Decides by one rule.
    Rule(&'static str),
    /// Is not there.
    Dead,
}

/// What the network sends. `&'static str` is the key of the step whose message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// 0800 with this DE70.
    Management(u16),
    /// 0100, a purchase.
    Tap(Card),
    /// 0100, zero amount, DE61 position 7 = 8.
    AccountStatus(Card),
    /// 0120: the network decided already.
    Advice(Card),
    /// The same bytes again.
    Repeat(&'static str),
    /// 0400; what stays of the original, zero for a full reversal. The original may not have been sent yet.
    Reversal { of: &'static str, stays: i64 },
}

/// What must come of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// DE39.
    pub(super) code: &'static str,
    /// The authorization's `reason`; of a reversal its original's `status`; empty when there is nothing to look up.
    pub(super) word: &'static str,
    /// Who was to pay, and how much is newly held there.
    pub(super) held: Option<(Purse, i64)>,
    /// Where how much is given back.
    pub(super) released: Option<(Purse, i64)>,
}

/// One message and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// What other steps call it; empty when none does.
    pub(super) key: &'static str,
    /// What the line says.
    pub(super) case: &'static str,
    /// What is sent.
    pub(super) message: Message,
    /// DE4.
    pub(super) amount: i64,
    /// How the partner would decide.
    pub(super) partner: Partner,
    /// What must come of it.
    pub(super) expected: Expected,
}

/// What happens by REST between two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Crypto arrives for Alice, is quoted, and off-ramped into her account.
    OffRamp { usdc: &'static str },
    /// Her card is frozen.
    Freeze(Card),
    /// His KYC is revoked.
    RevokeKyc,
}

/// One line of the story.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line {
    /// A heading.
    Chapter(&'static str),
    /// Something by REST.
    Act(Act),
    /// A message.
    Step(Step),
}

/// DE70: sign-on. Journaled, as it outlives the connection.
const SIGN_ON: u16 = 61;
/// DE70: echo.
const ECHO: u16 = 270;
const YES: Partner = Partner::Rule("approve");

const fn step(case: &'static str, message: Message, amount: i64, code: &'static str, word: &'static str) -> Step {
    let expected = Expected { code, word, held: None, released: None };
    Step { key: "", case, message, amount, partner: YES, expected }
}

impl Step {
    const fn key(self, key: &'static str) -> Self {
        Self { key, ..self }
    }

    const fn partner(self, partner: Partner) -> Self {
        Self { partner, ..self }
    }

    const fn holds(self, purse: Purse) -> Self {
        let expected = Expected { held: Some((purse, self.amount)), ..self.expected };
        Self { expected, ..self }
    }

    const fn releases(self, purse: Purse, amount: i64) -> Self {
        let expected = Expected { released: Some((purse, amount)), ..self.expected };
        Self { expected, ..self }
    }

    const fn line(self) -> Line {
        Line::Step(self)
    }
}

use Message::{AccountStatus, Advice, Management, Repeat, Reversal, Tap};

/// What is played.
pub(super) const STORY: &[Line] = &[
    Line::Chapter("The link"),
    step("sign-on", Management(SIGN_ON), 0, "00", "").line(),
    step("echo", Management(ECHO), 0, "00", "").line(),
    Line::Chapter("The partner's pool pays, the partner decides"),
    step("coffee: the partner approves", Tap(Card::Pool), 4_80, "00", "approved")
        .key("coffee")
        .holds(Purse::Pool)
        .line(),
    step("hotel: the partner approves", Tap(Card::Pool), 120_00, "00", "approved")
        .key("hotel")
        .holds(Purse::Pool)
        .line(),
    step("casino: the partner declines", Tap(Card::Pool), 500_00, "61", "partner_declined")
        .partner(Partner::Rule("decline limit_exceeded"))
        .line(),
    step("the pool holds too little", Tap(Card::SmallPool), 25_00, "51", "pool_insufficient").line(),
    Line::Chapter("Crypto becomes money on an account, the account pays"),
    Line::Act(Act::OffRamp { usdc: "1000.000000" }),
    step("groceries: the account pays", Tap(Card::Account), 64_20, "00", "approved")
        .key("groceries")
        .holds(Purse::Account)
        .line(),
    step("the account holds too little", Tap(Card::Account), 5_000_00, "51", "insufficient_funds").line(),
    step("the partner chooses: the account", Tap(Card::Choice), 30_00, "00", "approved")
        .partner(Partner::Rule("approve source account"))
        .holds(Purse::Account)
        .line(),
    Line::Chapter("The partner fails"),
    step("the partner stays silent", Tap(Card::Pool), 9_90, "91", "partner_timeout")
        .partner(Partner::Rule("silent"))
        .line(),
    step("the partner is dead", Tap(Card::Pool), 9_90, "91", "partner_unreachable").partner(Partner::Dead).line(),
    Line::Chapter("Sent twice, taken back, decided elsewhere"),
    step("repeat: coffee, the same bytes", Repeat("coffee"), 4_80, "00", "approved").line(),
    step("full reversal: groceries", Reversal { of: "groceries", stays: 0 }, 64_20, "00", "reversed")
        .releases(Purse::Account, 64_20)
        .line(),
    step("partial reversal: 80.00 stay", Reversal { of: "hotel", stays: 80_00 }, 120_00, "00", "partially_reversed")
        .releases(Purse::Pool, 40_00)
        .line(),
    step("reversal before its original", Reversal { of: "late", stays: 0 }, 15_00, "00", "").line(),
    step("and the original, too late", Tap(Card::Pool), 15_00, "05", "already_reversed").key("late").line(),
    step("advice: approved in our place", Advice(Card::Pool), 18_00, "00", "approved").holds(Purse::Pool).line(),
    Line::Chapter("Cards and people"),
    step("account status inquiry", AccountStatus(Card::Pool), 0, "85", "approved").line(),
    step("unknown card", Tap(Card::Unknown), 5_00, "14", "unknown_card").line(),
    Line::Act(Act::Freeze(Card::Frozen)),
    step("frozen card", Tap(Card::Frozen), 5_00, "62", "card_frozen").line(),
    Line::Act(Act::RevokeKyc),
    step("KYC missing", Tap(Card::Bob), 5_00, "57", "kyc_not_approved").line(),
    step("echo", Management(ECHO), 0, "00", "").line(),
];
