//! Plays one line of the story after another and compares what came with what was expected.

use std::collections::BTreeMap;

use bytes::Bytes;
use iso_codec::Spec;
use serde_json::Value;

use super::balances::{Balance, Moved, Row, rows};
use super::messages::{Identity, Messages};
use super::network::{Answer, NetworkSide};
use super::screen::{Screen, Told};
use super::stages::{self, Spent};
use super::story::{Line, Message, Partner, Purse, Step};
use super::theatre::Theatre;
use super::world::World;
use crate::cli::Failure;

const PURSES: [Purse; 3] = [Purse::Pool, Purse::SmallPool, Purse::Account];
/// Authorizations looked through for the one just decided; the list is newest first.
const NEWEST: usize = 50;

/// The player: what it plays on, and what it has seen.
pub(super) struct Player<'a> {
    theatre: &'a mut Theatre,
    world: World,
    network: NetworkSide,
    messages: Messages,
    replies: BTreeMap<&'static str, Bytes>,
    opening: BTreeMap<Purse, Balance>,
    moved: BTreeMap<Purse, Moved>,
    /// Steps played.
    played: usize,
    missed: Vec<String>,
}

impl<'a> Player<'a> {
    /// Connects the network side and takes the opening balances.
    pub(super) fn new(theatre: &'a mut Theatre, world: World) -> Result<Self, Failure> {
        let spec =
            Spec::embedded("mastercard").ok_or_else(|| Failure::no("the mastercard spec is not in this build"))?;
        let network = NetworkSide::connect(theatre.link(), spec.clone())?;
        let messages = Messages::new(spec);
        let mut opening = BTreeMap::new();
        for purse in PURSES {
            opening.insert(purse, world.balance(theatre.api()?, purse)?);
        }
        Ok(Self {
            theatre,
            world,
            network,
            messages,
            replies: BTreeMap::new(),
            opening,
            moved: BTreeMap::new(),
            played: 0,
            missed: Vec::new(),
        })
    }

    /// Plays one line and tells it.
    pub(super) fn play(&mut self, line: &Line, screen: &Screen) -> Result<(), Failure> {
        match line {
            Line::Chapter(title) => screen.chapter(title),
            Line::Act(act) => {
                let (said, credited) = self.world.act(self.theatre.api()?, *act)?;
                if let Some((purse, amount)) = credited {
                    self.moved.entry(purse).or_default().credited += amount;
                }
                screen.act(&said);
            }
            Line::Step(step) => {
                let told = self.step(step)?;
                screen.step(&told);
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<Told, Failure> {
        self.played += 1;
        self.theatre.direct(step.partner)?;
        let card = match step.message {
            Message::Tap(card) | Message::AccountStatus(card) | Message::Advice(card) => Some(card),
            // All reversals of the story take back what cards of these fundings spent.
            Message::Reversal { .. } => {
                step.expected.released.map(|(purse, _)| card_of(purse)).or(Some(card_of(Purse::Pool)))
            }
            Message::Repeat(_) | Message::Management(_) => None,
        };
        let plastic = card.and_then(|card| self.world.plastic(card)).cloned();
        let (request, identity) = self.messages.build(step, plastic.as_ref())?;
        let answer = self.network.exchange(&request)?;
        if step.partner == Partner::Dead {
            self.theatre.direct(Partner::Rule("approve"))?;
        }
        let found = self.look_up(step, &identity)?;
        let spent = match (step.message, found["id"].as_str()) {
            (Message::Tap(_) | Message::AccountStatus(_) | Message::Advice(_), Some(id)) => {
                stages::of(self.theatre.api()?, id)?
            }
            // The others make no authorization: the trace of the one they concern is its tap's.
            _ => Spent::default(),
        };
        let told = self.judge(step, answer.as_ref(), &found, spent);
        if let Some(Answer { message, .. }) = answer {
            self.replies.entry(step.key).or_insert_with(|| message.frame().clone());
        }
        Ok(told)
    }

    /// The authorization this message made or changed, as REST shows it; null when there is none to look for.
    fn look_up(&mut self, step: &Step, identity: &Identity) -> Result<Value, Failure> {
        if step.expected.word.is_empty() {
            return Ok(Value::Null);
        }
        let stan = match step.message {
            Message::Reversal { of, .. } => self.messages.identity(of).stan,
            Message::Management(_)
            | Message::Tap(_)
            | Message::AccountStatus(_)
            | Message::Advice(_)
            | Message::Repeat(_) => identity.stan,
        };
        let list = self.theatre.api()?.get(&format!("/v1/authorizations?limit={NEWEST}"))?;
        let wanted = format!("{stan:06}");
        let all = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(all.iter().find(|one| one["network"]["stan"] == wanted.as_str()).cloned().unwrap_or_default())
    }

    fn judge(&mut self, step: &Step, answer: Option<&Answer>, found: &Value, spent: Spent) -> Told {
        let expected = &step.expected;
        let code = answer.and_then(|answer| answer.message.string(39));
        let member = if matches!(step.message, Message::Reversal { .. }) { "status" } else { "reason" };
        let word = found[member].as_str().unwrap_or_default().to_owned();
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: String| {
            if !good {
                faults.push(format!("{}: {fault}", step.case));
            }
        };
        check(
            code.as_deref() == Some(expected.code),
            format!("DE39 {} instead of {}", code.as_deref().unwrap_or("none"), expected.code),
        );
        check(word == expected.word, format!("{member} {word:?} instead of {:?}", expected.word));
        if let Message::Repeat(of) = step.message {
            let same = answer.map(|answer| answer.message.frame()) == self.replies.get(of);
            check(same, "the reply is not the same bytes".to_owned());
        }
        let good = faults.is_empty();
        self.missed.extend(faults);
        // What the network was answered is what must have moved: a wrong answer shows up in the balances too.
        if good {
            for (slot, amount) in [(0, expected.held), (1, expected.released)] {
                let Some((purse, amount)) = amount else { continue };
                let moved = self.moved.entry(purse).or_default();
                *(if slot == 0 { &mut moved.taps } else { &mut moved.released }) += amount;
            }
        }
        Told {
            number: self.played,
            case: step.case,
            amount: (!matches!(step.message, Message::Management(_))).then_some(step.amount),
            code: code.unwrap_or_else(|| "none".to_owned()),
            word,
            total_us: answer.map(|answer| answer.took.as_secs_f64() * 1e6),
            spent,
            good,
        }
    }

    /// The closing balances beside the opening ones, and what does not add up.
    pub(super) fn balances(&mut self) -> Result<(Vec<Row>, Vec<String>), Failure> {
        let mut closing = BTreeMap::new();
        for purse in PURSES {
            closing.insert(purse, self.world.balance(self.theatre.api()?, purse)?);
        }
        let rows = rows(&self.opening, &self.moved, &closing);
        let faults = rows.iter().flat_map(Row::faults).collect();
        Ok((rows, faults))
    }

    /// How many steps were played, and what was not as expected.
    pub(super) fn into_verdict(self) -> (usize, Vec<String>) {
        (self.played, self.missed)
    }
}

fn card_of(purse: Purse) -> super::story::Card {
    match purse {
        Purse::Pool => super::story::Card::Pool,
        Purse::SmallPool => super::story::Card::SmallPool,
        Purse::Account => super::story::Card::Account,
    }
}
