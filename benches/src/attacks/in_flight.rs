//! Hostile 7: ten thousand messages in flight on one link, held there by a partner that never answers.

use super::ground::Ground;
use super::{Check, Outcome, Terms, burst, honest};
use crate::fault::Fault;
use crate::messages::Messages;
use auth_engine::simulate::partner::SamplePartner;
use std::time::Duration;

/// Messages of the burst.
const BURST: u64 = 10_000;
/// The link's bound; a thousand is far below the burst.
const MOST: usize = 1_024;
/// From frame in to reply out.
const BUDGET: Duration = Duration::from_secs(2);
/// How long a reply is waited for: beyond the budget none may come.
const PATIENCE: Duration = Duration::from_secs(3);
/// When the burst comes, after the honest traffic began.
const BEFORE: Duration = Duration::from_millis(800);

pub(super) fn run(mut terms: Terms<'_>) -> Result<Outcome, Fault> {
    let ground = Ground::start(&terms, &format!("max_in_flight = {MOST}"), None)?;
    let silent = SamplePartner::start("127.0.0.1:0", &["silent"], Vec::new()).map_err(Fault::io("a silent partner"))?;
    let cards = ground.webhook_cards("Silent", &silent.url(), 20)?;
    let messages = Messages::new()?;
    let quiet = honest::accounts("h07: honest taps alone", &ground, &terms)?;
    let loud = honest::accounts("h07: honest taps beside 10,000 in flight on another link", &ground, &terms)?;
    let mut numbers = terms.own_numbers();
    let mut all = Vec::new();
    let (quiet, mut loud) = honest::in_turns(
        terms.rounds,
        || honest::once(&quiet, terms.numbers),
        || {
            let frames = burst::prepare(&messages, &cards, BURST)?;
            std::thread::scope(|scope| {
                let attack = scope.spawn(|| {
                    std::thread::sleep(BEFORE);
                    burst::send(ground.attacked, &messages, &frames, BUDGET, PATIENCE)
                });
                let result = honest::once(&loud, &mut numbers);
                let fates = attack.join().map_err(|_| Fault::Engine("the burst's thread panicked".into()))?;
                all.push(fates?);
                result
            })
        },
    )?;
    let sum = |of: fn(&burst::Fates) -> u64| all.iter().map(of).sum::<u64>();
    let (sent, lost, late) = (sum(|f| f.sent), sum(|f| f.lost), sum(|f| f.late));
    let refused = sum(|f| f.count("0110", "91"));
    let last = sum(|f| f.count("0130", "00") + f.count("0410", "00"));
    let shed = sum(|f| f.count("0130", "96") + f.count("0410", "96"));
    let slowest = all.iter().map(|f| f.slowest).max().unwrap_or_default();
    for fates in &all {
        let said: Vec<String> =
            fates.answers.iter().map(|((mti, code), count)| format!("{mti} {code}: {count}")).collect();
        loud.told.notes.push(format!("the burst of {}: {}", fates.sent, said.join(", ")));
    }
    let checks = vec![
        Check::new(
            "each of 10,000 answered in 2 s",
            format!("{sent} sent, {lost} lost, {late} late, {} unmatched", sum(|f| f.unmatched)),
            lost == 0 && late == 0 && sum(|f| f.unmatched) == 0,
        ),
        Check::new("slowest answer under 2 s", format!("{:.2} s", slowest.as_secs_f64()), slowest <= BUDGET),
        Check::new(
            "taps past the bound answered 91, advices and reversals shed last (96)",
            format!("{refused} taps 91; {last} advices and reversals 00, {shed} 96"),
            refused > 0 && last > 0,
        ),
        honest::served(&loud),
    ];
    Ok(Outcome::Ran { results: vec![quiet.told, loud.told], checks })
}
