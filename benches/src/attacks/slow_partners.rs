//! Hostile 20: every partner but one silent at once; taps that need no partner, and those of the other partner, go on.

use super::ground::Ground;
use super::honest::Arm;
use super::{Check, Outcome, Terms, honest};
use crate::fault::Fault;
use crate::load::cards::Cards;
use auth_engine::simulate::partner::SamplePartner;
use std::sync::Arc;

/// Silent partners.
const SILENT: usize = 8;
/// Taps a second on cards of silent partners: at one second each they fill the connections of all of them.
const ATTACK: f64 = 1_000.0;
/// Taps a second on cards of the partner that answers.
const OTHERS: f64 = 500.0;

pub(super) fn run(mut terms: Terms<'_>) -> Result<Outcome, Fault> {
    let ground = Ground::start(&terms, "", None)?;
    let io = || Fault::io("a sample partner");
    let silent = SamplePartner::start("127.0.0.1:0", &["silent"], Vec::new()).map_err(io())?;
    let good = SamplePartner::start("127.0.0.1:0", &["approve"], Vec::new()).map_err(io())?;
    let mut attacked = Vec::new();
    for at in 0..SILENT {
        attacked.extend(ground.webhook_cards(&format!("Silent {at}"), &silent.url(), 5)?);
    }
    let of = |pans: &[String]| Ok::<_, Fault>(Arc::new(Cards::new(pans.iter().map(String::as_str))?));
    let (attacked, asked) = (of(&attacked)?, of(&ground.webhook_cards("Answering", &good.url(), 20)?)?);

    let length = terms.length();
    let alone = honest::accounts("h20: taps without a partner, alone", &ground, &terms)?;
    let beside = honest::accounts("h20: taps without a partner, beside silent partners", &ground, &terms)?;
    let asked_alone =
        honest::plan("h20: taps of a partner that answers, alone", ground.honest, &asked, OTHERS, length)?;
    let name = "h20: taps of a partner that answers, beside silent partners";
    let asked_beside = honest::plan(name, ground.honest, &asked, OTHERS, length)?;
    let mut attack = honest::plan("h20: taps of silent partners", ground.attacked, &attacked, ATTACK, length)?;
    attack.lenient = true;

    let (mut quiet, mut loud, mut quiet_asked, mut loud_asked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut silenced = None;
    for _ in 0..terms.rounds {
        let mut numbers: Vec<_> = (0..3).map(|_| terms.own_numbers()).collect();
        let [first, second, third] = &mut numbers[..] else { continue };
        let panicked = |_| Fault::Engine("a thread of the load panicked".to_owned());
        std::thread::scope(|scope| {
            let others = scope.spawn(|| honest::once(&asked_alone, second));
            quiet.push(honest::once(&alone, first)?);
            quiet_asked.push(others.join().map_err(panicked)??);
            Ok::<(), Fault>(())
        })?;
        std::thread::scope(|scope| {
            let others = scope.spawn(|| honest::once(&asked_beside, second));
            let attack = scope.spawn(|| honest::once(&attack, third));
            loud.push(honest::once(&beside, first)?);
            loud_asked.push(others.join().map_err(panicked)??);
            silenced = Some(attack.join().map_err(panicked)??);
            Ok::<(), Fault>(())
        })?;
    }
    let (quiet, mut loud) = (honest::arm(quiet)?, honest::arm(loud)?);
    let (quiet_asked, loud_asked) = (honest::arm(quiet_asked)?, honest::arm(loud_asked)?);
    let mut checks = vec![honest::served(&loud), of_the_other(&loud_asked), honest::kept(&quiet, &loud)];
    if let Some(silenced) = silenced {
        let count = |kind: &str| silenced.counts.iter().find(|(k, _)| k == kind).map_or(0, |(_, count)| *count);
        let (lost, late) = (count("lost"), count("late"));
        checks.push(Check::new(
            "taps of silent partners declined in budget",
            format!("{} of {} answered 91, {lost} lost, {late} late", count("DE39 91"), silenced.sent),
            lost == 0 && late == 0 && count("DE39 91") == silenced.sent,
        ));
        loud.told.notes.push(format!("{} taps on {SILENT} silent partners beside it", silenced.sent));
    }
    Ok(Outcome::Ran { results: vec![quiet_asked.told, loud_asked.told, quiet.told, loud.told], checks })
}

fn of_the_other(arm: &Arm) -> Check {
    let got = format!("{} lost, late or otherwise", arm.errors);
    Check::new("taps of the partner that answers all approved in budget", got, arm.errors == 0)
}
