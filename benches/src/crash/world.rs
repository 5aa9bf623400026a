//! What the crash harness plays with: partners that decide in every way, money in accounts and pools, cards of
//! each funding. It owns which source pays for which tap; it must never compute a balance.

use crate::client::Rest;
use crate::fault::Fault;
use crate::fixture::Maker;
use auth_engine::simulate::partner::SamplePartner;
use serde_json::json;

/// What ample sources start with, in cents: more than any load can hold.
const AMPLE: i64 = 90_000_000_000;
/// What the tight account starts with: it runs out at once, so that taps fight for what pay-ins bring.
const TIGHT: i64 = 50_000;
/// Cards of each ample funding.
const CARDS: usize = 4;

/// Merchant category for which the partner declines.
pub(super) const MCC_DECLINED: &str = "7995";
/// Merchant category for which the partner approves after its deadline.
pub(super) const MCC_LATE: &str = "4829";
/// Merchant category for which the partner lets the account pay.
pub(super) const MCC_ACCOUNT: &str = "5411";
/// Any other purchase.
pub(super) const MCC_PLAIN: &str = "5812";

/// The sample partner's rules: a few milliseconds for each answer, so that a kill finds asks in flight.
const RULES: [&str; 5] = [
    "mcc=7995 decline not_permitted",
    "mcc=4829 late 20ms",
    "delay 1ms..6ms",
    "mcc=5411 approve source account",
    "approve",
];

/// How a card's taps are decided and paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Funding {
    /// By an account with enough.
    Account,
    /// By an account that is mostly empty.
    Tight,
    /// By a pool whose partner approves everything without being asked.
    AutoPool,
    /// By a pool whose partner is asked.
    WebhookPool,
    /// By what the partner chooses.
    Choice,
}

/// A card.
pub(super) struct Card {
    pub(super) pan: String,
    pub(super) funding: Funding,
}

/// Something with a balance.
pub(super) struct Source {
    /// How it is called in the report.
    pub(super) name: &'static str,
    /// Where it is read.
    pub(super) path: String,
    /// Its id.
    pub(super) id: String,
    /// What it started with, in cents.
    pub(super) opening: i64,
}

/// Indexes into [`World::sources`].
pub(super) const ACCOUNT: usize = 0;
pub(super) const TIGHT_ACCOUNT: usize = 1;
pub(super) const AUTO_POOL: usize = 2;
pub(super) const WEBHOOK_POOL: usize = 3;
pub(super) const CHOICE_POOL: usize = 4;
pub(super) const CHOICE_ACCOUNT: usize = 5;

/// The cast.
pub(super) struct World {
    pub(super) cards: Vec<Card>,
    pub(super) sources: Vec<Source>,
}

impl World {
    /// Makes everything by REST. The partner's secrets go to the sample partner, which verifies every ask.
    pub(super) fn make(rest: &Rest, sample: &SamplePartner) -> Result<World, Fault> {
        let maker = Maker(rest);
        let (auto, _) = maker.partner(&json!({ "name": "Auto", "decision_mode": "auto_approve" }))?;
        let asked = json!({ "name": "Asked", "decision_url": sample.url(), "decision_timeout_ms": 100 });
        let (asked, secret) = maker.partner(&asked)?;
        let secret = auth_engine::partner::Secret::parse(&secret)
            .map_err(|error| Fault::Engine(format!("the new partner's webhook secret: {error}")))?;
        sample.set_secrets(vec![secret]);
        sample.set_rules(&RULES).map_err(|error| Fault::Engine(format!("the sample partner's rules: {error}")))?;

        let (alice, bob) = (maker.user(&auto, "alice")?, maker.user(&auto, "bob")?);
        let carol = maker.user(&asked, "carol")?;
        let account = |user: &str, name, opening| {
            let id = maker.account(user, opening)?;
            Ok::<_, Fault>(Source { name, path: format!("/v1/accounts/{id}"), id, opening })
        };
        let pool = |partner: &str, name, opening| {
            let id = maker.pool(partner, opening)?;
            Ok::<_, Fault>(Source { name, path: format!("/v1/pools/{id}"), id, opening })
        };
        // In the order of the indexes above.
        let sources = vec![
            account(&alice, "account", AMPLE)?,
            account(&bob, "account, tight", TIGHT)?,
            pool(&auto, "pool, auto_approve", AMPLE)?,
            pool(&asked, "pool, webhook", AMPLE)?,
            pool(&asked, "pool, partner_choice", AMPLE)?,
            account(&carol, "account, partner_choice", AMPLE)?,
        ];
        let id = |index: usize| sources.get(index).map(|source| source.id.clone());
        let by_account = json!({ "type": "account", "currency": "EUR" });
        let by_pool = |index| json!({ "type": "pool", "pool_id": id(index) });
        let choice = json!({ "type": "partner_choice", "pool_id": id(CHOICE_POOL), "currency": "EUR" });
        let wanted = [
            (&alice, by_account.clone(), Funding::Account, CARDS),
            (&bob, by_account, Funding::Tight, 1),
            (&alice, by_pool(AUTO_POOL), Funding::AutoPool, CARDS),
            (&carol, by_pool(WEBHOOK_POOL), Funding::WebhookPool, CARDS),
            (&carol, choice, Funding::Choice, CARDS),
        ];
        let mut cards = Vec::new();
        for (user, wish, funding, count) in wanted {
            for _ in 0..count {
                cards.push(Card { pan: maker.card(user, &wish)?, funding });
            }
        }
        Ok(World { cards, sources })
    }
}

impl Funding {
    /// Which source holds an approved tap of that merchant category.
    pub(super) fn pays(self, mcc: &str) -> usize {
        match self {
            Funding::Account => ACCOUNT,
            Funding::Tight => TIGHT_ACCOUNT,
            Funding::AutoPool => AUTO_POOL,
            Funding::WebhookPool => WEBHOOK_POOL,
            Funding::Choice if mcc == MCC_ACCOUNT => CHOICE_ACCOUNT,
            Funding::Choice => CHOICE_POOL,
        }
    }

    /// Merchant categories that make sense for it, the likely ones more than once.
    pub(super) fn categories(self) -> &'static [&'static str] {
        match self {
            Funding::Account | Funding::Tight | Funding::AutoPool => &[MCC_PLAIN],
            // Few late answers: a connection that waits for one sends nothing that a kill could catch.
            Funding::WebhookPool => &[
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_PLAIN,
                MCC_DECLINED,
                MCC_DECLINED,
                MCC_LATE,
            ],
            Funding::Choice => &[MCC_PLAIN, MCC_PLAIN, MCC_ACCOUNT, MCC_ACCOUNT, MCC_DECLINED],
        }
    }

    /// Whether a tap may be answered so. 05 is the answer after a reversal, judged elsewhere.
    pub(super) fn may_answer(self, mcc: &str, code: &str) -> bool {
        match self {
            Funding::Account | Funding::AutoPool => code == "00",
            Funding::Tight => matches!(code, "00" | "51"),
            // 91: the partner was too slow, or the engine was killed while it asked.
            Funding::WebhookPool | Funding::Choice => match mcc {
                MCC_DECLINED => matches!(code, "57" | "91"),
                // 00 where the engine, or the partner's own clock, was held up past the 20 ms that it is late by: of
                // an answer and a deadline that are both there the answer goes first.
                MCC_LATE => matches!(code, "00" | "91"),
                _ => matches!(code, "00" | "91"),
            },
        }
    }
}
