//! After the crash: every acknowledged answer again, byte for byte; every open question answered by asking again;
//! every balance to the cent. It must never forgive: what does not come out exactly is a violation.

use super::load::{PATIENCE, Stage, Write, masked};
use super::story::{Role, Step, Story};
use super::world::World;
use crate::client::{Link, Rest};
use crate::fault::Fault;
use crate::fixture::cents;
use bytes::Bytes;
use fastrand::Rng;
use std::net::SocketAddr;

/// What became of the messages and writes that nobody had answered when the engine was killed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Acknowledged answers that were asked for again.
    pub(super) compared: u64,
    /// Open messages.
    pub(super) open: u64,
    /// Of them: taps whose partner was being asked, declined at recovery.
    pub(super) interrupted: u64,
}

/// What a source holds by the harness's own book.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) posted: i64,
    pub(super) held: i64,
}

/// Asks again for everything that a thread's stories said.
pub(super) fn ask_again(
    stage: &Stage<'_>,
    addr: SocketAddr,
    stories: &mut [&mut Story],
    rng: &mut Rng,
) -> Result<Resolved, Fault> {
    let mut link = Link::connect(addr, PATIENCE).map_err(Fault::io("connecting after a restart"))?;
    let mut resolved = Resolved::default();
    for story in stories {
        for at in 0..story.steps.len() {
            again(stage, &mut link, story, at, rng, &mut resolved)?;
        }
        stage.judge(story, 0);
    }
    Ok(resolved)
}

fn again(
    stage: &Stage<'_>,
    link: &mut Link,
    story: &mut Story,
    at: usize,
    rng: &mut Rng,
    resolved: &mut Resolved,
) -> Result<(), Fault> {
    let Some(step) = story.steps.get(at) else { return Ok(()) };
    let got = send_again(stage, link, step, rng)?;
    if let Some(first) = &step.reply {
        resolved.compared += 1;
        if !allowed(stage, story, step, first)?.contains(&got) {
            let what = stage.messages.difference(first, &got);
            stage.object(format!("an acknowledged answer came back otherwise after the restart: {what}"));
        }
        return Ok(());
    }
    // Nobody knew; now the answer is given, and from here on it has to stay.
    resolved.open += 1;
    let code = stage.messages.code(&got);
    if matches!(step.role, Role::Tap(_)) && code.as_deref() == Some("91") {
        resolved.interrupted += 1;
    }
    let second = send_again(stage, link, step, rng)?;
    if second != got {
        let what = stage.messages.difference(&got, &second);
        stage.object(format!("an open message was answered in two ways after the restart: {what}"));
    }
    if let Some(step) = story.steps.get_mut(at) {
        step.reply = Some(got);
        step.code = code;
    }
    Ok(())
}

fn send_again(stage: &Stage<'_>, link: &mut Link, step: &Step, rng: &mut Rng) -> Result<Bytes, Fault> {
    let request = if rng.bool() { stage.messages.repeated(&step.request)? } else { step.request.clone() };
    let mut reply = Vec::new();
    link.exchange(&request, &mut reply).map_err(Fault::io("repeating a message after a restart"))?;
    Ok(Bytes::from(reply))
}

/// The answers that a repeat may get: the first one, or for a reversed approval the one that says so.
fn allowed(stage: &Stage<'_>, story: &Story, step: &Step, first: &Bytes) -> Result<Vec<Bytes>, Fault> {
    let approved_tap = matches!(step.role, Role::Tap(_)) && step.code.as_deref() == Some("00");
    if !approved_tap {
        return Ok(vec![first.clone()]);
    }
    let after = stage.messages.reversed_since(first)?;
    Ok(match story.reversed() {
        Some(false) => vec![first.clone()],
        Some(true) => vec![after],
        None => vec![first.clone(), after],
    })
}

/// Repeats every write under its key: answered ones have to be answered the same, open ones are settled.
pub(super) fn call_again(stage: &Stage<'_>, rest: &Rest, writes: &mut [Write]) -> Result<Resolved, Fault> {
    let mut resolved = Resolved::default();
    for write in writes {
        let got = rest.post(&write.path, &write.body, Some(&write.key))?;
        match &write.answer {
            Some(first) => {
                resolved.compared += 1;
                if *first != got {
                    let (path, was, is) = (masked(&write.path), first.status, got.status);
                    let what = if was == is { "another body".to_owned() } else { format!("{is} instead of {was}") };
                    stage.object(format!("POST {path} under its Idempotency-Key was answered with {what}"));
                }
            }
            None => {
                resolved.open += 1;
                if !(200..300).contains(&got.status) {
                    stage.object(format!("an open POST {} was refused with {}", masked(&write.path), got.status));
                }
                write.answer = Some(got);
            }
        }
    }
    Ok(resolved)
}

/// Reads every source: posted, held and available, in cents.
pub(super) fn read(world: &World, rest: &Rest) -> Result<Vec<(Standing, i64)>, Fault> {
    let one = |path: &str| {
        let doc = rest.read(path)?;
        let of = |member: &str| {
            let text = || Fault::Engine(format!("GET {} gives no `{member}` in euro", masked(path)));
            cents(&doc[member]).ok_or_else(text)
        };
        Ok((Standing { posted: of("posted")?, held: of("held")? }, of("available")?))
    };
    world.sources.iter().map(|source| one(&source.path)).collect()
}

/// Adds what a round's stories and writes did for sure, or at least and at most, to the standing before it.
pub(super) fn stand(before: &[Standing], stories: &[Vec<Story>], writes: &[Vec<Write>]) -> [Vec<Standing>; 2] {
    let mut bounds = [before.to_vec(), before.to_vec()];
    let [least, most] = &mut bounds;
    for story in stories.iter().flatten() {
        let [low, high] = story.bounds();
        if let (Some(least), Some(most)) = (least.get_mut(story.source()), most.get_mut(story.source())) {
            least.held += low.held;
            most.held += high.held;
            // What is cleared is gone: the more of it, the less is posted.
            least.posted -= high.cleared;
            most.posted -= low.cleared;
        }
    }
    for write in writes.iter().flatten() {
        let Some((source, delta)) = write.effect else { continue };
        let known = write.answer.as_ref().map(|answer| (200..300).contains(&answer.status));
        if let (Some(least), Some(most)) = (least.get_mut(source), most.get_mut(source)) {
            match known {
                Some(true) => {
                    least.posted += delta;
                    most.posted += delta;
                }
                Some(false) => {}
                None => {
                    least.posted += delta.min(0);
                    most.posted += delta.max(0);
                }
            }
        }
    }
    bounds
}

/// Holds what the engine says against what it may say.
pub(super) fn balances(stage: &Stage<'_>, when: &str, read: &[(Standing, i64)], bounds: &[Vec<Standing>; 2]) {
    let [least, most] = bounds;
    let rows = stage.world.sources.iter().zip(read).zip(least.iter().zip(most));
    for ((source, (is, available)), (least, most)) in rows {
        let within = |is: i64, least: i64, most: i64, what: &str| {
            if is < least || is > most {
                let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
                stage.object(format!("{when}: {} has {what} {is} cents instead of {wanted}", source.name));
            }
        };
        within(is.posted, least.posted, most.posted, "posted");
        within(is.held, least.held, most.held, "held");
        if is.posted != is.held + available {
            stage.object(format!(
                "{when}: {}: posted {} is not held {} + available {available}",
                source.name, is.posted, is.held
            ));
        }
        if is.held < 0 || *available < 0 {
            stage.object(format!("{when}: {} is negative: held {}, available {available}", source.name, is.held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::Source;
    use super::*;
    use crate::messages::Messages;

    /// The violations that a pool gets which should stand at 1000 cents posted, 300 to 400 of them held.
    fn found(posted: i64, held: i64, available: i64) -> Vec<String> {
        let source = Source { name: "pool", path: String::new(), id: String::new(), opening: 1000 };
        let world = World { cards: Vec::new(), sources: vec![source] };
        let messages = Messages::new().expect("the spec is compiled in");
        let stage = Stage::new(&world, &messages);
        let bounds = [300, 400].map(|held| vec![Standing { posted: 1000, held }]);
        balances(&stage, "now", &[(Standing { posted, held }, available)], &bounds);
        stage.violations.into_inner().expect("nobody panicked")
    }

    #[test]
    fn a_cent_too_much_or_too_little_is_a_violation() {
        assert_eq!(found(1000, 300, 700), [""; 0]);
        assert_eq!(found(1000, 400, 600), [""; 0]);
        assert_eq!(found(1000, 299, 701), ["now: pool has held 299 cents instead of 300 to 400"]);
        assert_eq!(found(1000, 401, 599), ["now: pool has held 401 cents instead of 300 to 400"]);
        assert_eq!(found(1001, 300, 701), ["now: pool has posted 1001 cents instead of 1000"]);
        assert_eq!(found(1000, 300, 699), ["now: pool: posted 1000 is not held 300 + available 699"]);
    }
}
