//! Plays a scenario: sends, waits, compares. It owns the order of things and what became of each expectation; a failed
//! one never ends the scenario, a link that cannot be opened ends its step.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iso_codec::{Content, Draft, Item, Message, decode};
use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::compare::{compare, same_exchange};
use super::record::Recorder;
use super::scenario::{Act, Expect, Scenario, Step, Template, Value};
use super::wire::{Got, Wire};
use super::words::{Card, Kept, Moment, Words};
use crate::capture::lines::Direction;

/// The most failures of a step that are told one by one.
const TOLD: usize = 5;
/// The most messages that nobody waits for and are kept.
const MOST_UNCLAIMED: usize = 10_000;

/// What became of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct StepResult {
    /// Its name.
    pub step: String,
    /// Messages sent, whole or not.
    pub sent: u64,
    /// Messages that were waited for and came.
    pub received: u64,
    /// Expectations that were not met.
    pub failed: u64,
    /// The first of them, told.
    pub failures: Vec<String>,
    /// From its first byte out to its last reply in, milliseconds, think time aside.
    pub took_ms: u64,
}

impl StepResult {
    fn fail(&mut self, reason: impl Into<String>) {
        self.failed += 1;
        if self.failures.len() < TOLD {
            self.failures.push(reason.into());
        }
    }
}

/// A reply that is still to come.
struct Pending {
    step: usize,
    link: usize,
    request: Option<Message>,
    expect: Expect,
    keep: Option<String>,
    moment: Moment,
    /// The request's bytes: replies to duplicates of it are alike to the byte.
    twin_of: Option<Bytes>,
}

/// What is ready to be sent.
struct Ready {
    frame: Vec<u8>,
    bytes: Bytes,
    request: Option<Message>,
    moment: Moment,
}

/// A player of one scenario.
pub struct Player<'a> {
    scenario: &'a Scenario,
    wires: Vec<Wire>,
    words: Words,
    draws: ChaCha8Rng,
    pending: Vec<Pending>,
    unclaimed: Vec<(usize, Message)>,
    results: Vec<StepResult>,
    recorder: &'a mut Recorder,
}

impl<'a> Player<'a> {
    /// A player with its links, none of them connected, but all that listen listening.
    ///
    /// # Errors
    /// The link that cannot listen.
    pub fn new(
        scenario: &'a Scenario,
        cards: Vec<Card>,
        seed: u64,
        recorder: &'a mut Recorder,
    ) -> Result<Self, String> {
        let mut wires = Vec::with_capacity(scenario.links.len());
        for link in &scenario.links {
            wires.push(Wire::new(link).map_err(|error| format!("link {}: {error}", link.name))?);
        }
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        // Two runs against one engine must not look like repeats of each other, unless the seed is the same.
        let mut words = Words::starting(draws.next_u32() % 1_000_000);
        words.vars.clone_from(&scenario.vars);
        words.cards = cards;
        let results =
            scenario.steps.iter().map(|step| StepResult { step: step.name.clone(), ..StepResult::default() }).collect();
        Ok(Self { scenario, wires, words, draws, pending: Vec::new(), unclaimed: Vec::new(), results, recorder })
    }

    /// Plays all steps, waits for what is still to come, and tells what became of each step.
    pub fn play(mut self) -> Vec<StepResult> {
        for (at, step) in self.scenario.steps.iter().enumerate() {
            let (from, to) = step.think;
            let spread = u64::try_from((to - from).as_micros()).unwrap_or(0);
            let extra = if spread == 0 { 0 } else { self.draws.next_u64() % (spread + 1) };
            std::thread::sleep(from + Duration::from_micros(extra));
            let begun = Instant::now();
            if let Err(reason) = self.step(at, step) {
                self.result(at).fail(reason);
            }
            self.result(at).took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
        self.collect();
        self.results
    }

    fn result(&mut self, at: usize) -> &mut StepResult {
        // There is one result a step from the beginning on.
        &mut self.results[at]
    }

    fn step(&mut self, at: usize, step: &Step) -> Result<(), String> {
        if step.collect {
            self.collect();
        }
        match &step.act {
            Act::Wait => Ok(()),
            Act::Receive(expect, answer) => (0..step.repeat).try_for_each(|_| self.receive(at, step, expect, answer)),
            Act::Bytes(bytes) => (0..step.repeat).try_for_each(|_| {
                let moment = self.words.moment(Timestamp::now(), self.draws.next_u64());
                self.write(at, step, bytes)?;
                self.after(at, step, None, moment)
            }),
            Act::Send(_) | Act::Again(_) | Act::Message(_) => self.messages(at, step),
        }
    }

    /// Sends the step's messages: one after the other, or all of them and then the waiting.
    fn messages(&mut self, at: usize, step: &Step) -> Result<(), String> {
        if !step.fault.coalesce && !step.fault.shuffle {
            for _ in 0..step.repeat {
                let ready = self.ready(step)?;
                self.send_one(at, step, ready)?;
            }
            return Ok(());
        }
        let mut all = (0..step.repeat).map(|_| self.ready(step)).collect::<Result<Vec<_>, _>>()?;
        if step.fault.shuffle {
            for place in (1..all.len()).rev() {
                let other = usize::try_from(self.draws.next_u64() % (place as u64 + 1)).unwrap_or(0);
                all.swap(place, other);
            }
        }
        let together: Vec<u8> = all.iter().flat_map(|ready| ready.frame.iter().copied()).collect();
        if step.fault.coalesce {
            self.write(at, step, &together)?;
            self.result(at).sent += u64::from(step.repeat) - 1;
        } else {
            for ready in &all {
                self.write(at, step, &ready.frame)?;
            }
        }
        let mark = self.pending.len();
        for ready in all {
            self.recorder.note(&self.link(step).name, Direction::Out, &ready.bytes);
            self.keep(step, ready.request.clone());
            self.expect(at, step, ready.request, ready.moment, None);
        }
        if step.awaited {
            self.settle_from(mark);
        }
        Ok(())
    }

    fn send_one(&mut self, at: usize, step: &Step, ready: Ready) -> Result<(), String> {
        let Ready { frame, bytes, request, moment } = ready;
        self.write(at, step, &frame)?;
        self.recorder.note(&self.link(step).name, Direction::Out, &bytes);
        self.keep(step, request.clone());
        if step.fault.duplicate == 0 {
            return self.after(at, step, request, moment);
        }
        let mark = self.pending.len();
        for _ in 0..step.fault.duplicate {
            self.write(at, step, &frame)?;
            let again = Moment { stan: moment.stan, now: moment.now, random: moment.random };
            self.expect(at, step, request.clone(), again, Some(bytes.clone()));
        }
        self.expect(at, step, request, moment, Some(bytes));
        if step.awaited {
            self.settle_from(mark);
        }
        Ok(())
    }

    /// Disconnects where the fault says so, and waits for the reply where the step does.
    fn after(&mut self, at: usize, step: &Step, request: Option<Message>, moment: Moment) -> Result<(), String> {
        if step.fault.disconnect {
            self.wires[step.link].hang_up();
        }
        let mark = self.pending.len();
        self.expect(at, step, request, moment, None);
        if step.awaited {
            self.settle_from(mark);
        }
        Ok(())
    }

    fn expect(&mut self, at: usize, step: &Step, request: Option<Message>, moment: Moment, twin: Option<Bytes>) {
        if let Some(expect) = step.expect.clone() {
            let (link, keep) = (step.link, step.keep.clone());
            self.pending.push(Pending { step: at, link, request, expect, keep, moment, twin_of: twin });
        }
    }

    fn keep(&mut self, step: &Step, request: Option<Message>) {
        if let Some(name) = &step.keep {
            self.words.kept.insert(name.clone(), Kept { request, reply: None });
        }
    }

    fn link(&self, step: &Step) -> &'a super::scenario::Link {
        &self.scenario.links[step.link]
    }

    fn write(&mut self, at: usize, step: &Step, bytes: &[u8]) -> Result<(), String> {
        let name = &self.link(step).name;
        self.result(at).sent += 1;
        let sent = self.wires[step.link].send(bytes, &step.fault);
        sent.map_err(|error| {
            self.wires[step.link].hang_up();
            format!("link {name}: {error}")
        })
    }

    fn ready(&mut self, step: &Step) -> Result<Ready, String> {
        let moment = self.words.moment(Timestamp::now(), self.draws.next_u64());
        let link = self.link(step);
        let bytes = match &step.act {
            Act::Send(template) => self.build(template, step.link, &moment)?,
            Act::Message(bytes) => Bytes::copy_from_slice(bytes),
            Act::Again(name) => {
                let kept = self.words.kept.get(name).and_then(|kept| kept.request.as_ref());
                kept.map(|message| message.frame().clone()).ok_or_else(|| format!("nothing was kept as {name:?}"))?
            }
            Act::Bytes(_) | Act::Receive(..) | Act::Wait => Bytes::new(),
        };
        let frame =
            self.wires[step.link].frame(&bytes, &step.fault).map_err(|error| format!("link {}: {error}", link.name))?;
        // What does not read was captured or drawn so; then nothing can be matched to it.
        let request = decode(&link.spec, bytes.clone()).ok();
        Ok(Ready { frame, bytes, request, moment })
    }

    fn build(&self, template: &Template, link: usize, moment: &Moment) -> Result<Bytes, String> {
        let mut draft = Draft::new(template.mti);
        for (number, value) in &template.fields {
            let fill =
                |text: &str| self.words.fill(text, moment).map_err(|reason| format!("element {number}: {reason}"));
            let content = match value {
                Value::Text(text) => Content::Text(fill(text)?),
                Value::Subs(subs) => {
                    let mut items = Vec::with_capacity(subs.len());
                    for (id, text) in subs {
                        items.push(Item { id: id.clone(), content: Content::Text(fill(text)?), length: None });
                    }
                    // A class byte stands in front of numbered sub-elements.
                    items.sort_by_key(|item| item.id.bytes().all(|b| b.is_ascii_digit()));
                    Content::Items(items)
                }
            };
            draft.set(*number, content);
        }
        draft.encode(&self.scenario.links[link].spec).map_err(|error| error.to_string())
    }

    /// Waits for a message that the engine begins.
    fn receive(&mut self, at: usize, step: &Step, expect: &Expect, answer: &Option<Template>) -> Result<(), String> {
        let until = Instant::now() + expect.within;
        let begun_by_engine = |message: &Message| !message.mti().is_response();
        let found = loop {
            let waiting =
                self.unclaimed.iter().position(|(link, message)| *link == step.link && begun_by_engine(message));
            if let Some(place) = waiting {
                break Some(self.unclaimed.remove(place).1);
            }
            match self.take(step.link, until)? {
                Taken::Message(message) => self.claim(step.link, *message),
                Taken::Nothing => break None,
                Taken::Closed => return Err("the engine closed the connection".to_owned()),
            }
        };
        let moment = self.words.moment(Timestamp::now(), self.draws.next_u64());
        match (found, expect.none) {
            (None, true) => Ok(()),
            (Some(_), true) => Err("a message that must not come".to_owned()),
            (None, false) => Err(format!("no message within {:?}", expect.within)),
            (Some(message), false) => {
                self.result(at).received += 1;
                for reason in compare(&message, None, expect, &self.words, &moment) {
                    self.result(at).fail(reason);
                }
                self.words.received = Some(message.clone());
                if let Some(name) = &step.keep {
                    self.words.kept.insert(name.clone(), Kept { request: Some(message), reply: None });
                }
                let Some(template) = answer else { return Ok(()) };
                let bytes = self.build(template, step.link, &moment)?;
                let framed = self.wires[step.link].frame(&bytes, &step.fault);
                let frame = framed.map_err(|error| error.to_string())?;
                self.recorder.note(&self.link(step).name, Direction::Out, &bytes);
                self.write(at, step, &frame)
            }
        }
    }

    /// Waits for everything that is still to come.
    fn collect(&mut self) {
        self.settle_from(0);
    }

    /// Settles pending replies from that place on, the oldest first.
    fn settle_from(&mut self, mark: usize) {
        let mut twins = BTreeMap::new();
        for pending in self.pending.split_off(mark) {
            let at = pending.step;
            if let Err(reason) = self.settle(pending, &mut twins) {
                self.result(at).fail(reason);
            }
        }
    }

    fn settle(&mut self, pending: Pending, twins: &mut BTreeMap<Bytes, Bytes>) -> Result<(), String> {
        let until = Instant::now() + pending.expect.within;
        let reply = loop {
            let waiting = self.unclaimed.iter().position(|(link, message)| {
                *link == pending.link && pending.request.as_ref().is_some_and(|request| same_exchange(request, message))
            });
            if let Some(place) = waiting {
                break Some(self.unclaimed.remove(place).1);
            }
            match self.take(pending.link, until)? {
                Taken::Message(message) => self.claim(pending.link, *message),
                Taken::Nothing => break None,
                Taken::Closed if pending.expect.closed => return Ok(()),
                Taken::Closed if pending.expect.none => break None,
                Taken::Closed => return Err("the engine closed the connection".to_owned()),
            }
        };
        let Some(reply) = reply else {
            return match (pending.expect.none, pending.expect.closed) {
                (true, _) => Ok(()),
                (_, true) => Err(format!("the connection is still open after {:?}", pending.expect.within)),
                _ => Err(format!("no reply within {:?}", pending.expect.within)),
            };
        };
        let at = pending.step;
        self.result(at).received += 1;
        if pending.expect.none || pending.expect.closed {
            return Err(format!("a {} that must not come", reply.mti()));
        }
        for reason in compare(&reply, pending.request.as_ref(), &pending.expect, &self.words, &pending.moment) {
            self.result(at).fail(reason);
        }
        if let Some(request) = pending.twin_of {
            let first = twins.entry(request).or_insert_with(|| reply.frame().clone());
            if first != reply.frame() {
                self.result(at).fail("the reply to a duplicate differs from the first");
            }
        }
        if let Some(kept) = pending.keep.and_then(|name| self.words.kept.get_mut(&name)) {
            kept.reply = Some(reply);
        }
        Ok(())
    }

    fn claim(&mut self, link: usize, message: Message) {
        if self.unclaimed.len() < MOST_UNCLAIMED {
            self.unclaimed.push((link, message));
        }
    }

    fn take(&mut self, link: usize, until: Instant) -> Result<Taken, String> {
        let of = &self.scenario.links[link];
        let broken = |error: io::Error| format!("link {}: {error}", of.name);
        match self.wires[link].next(until).map_err(broken)? {
            Got::Nothing => Ok(Taken::Nothing),
            Got::Closed => Ok(Taken::Closed),
            Got::Frame(bytes) => {
                self.recorder.note(&of.name, Direction::In, &bytes);
                let read = decode(&of.spec, bytes);
                read.map(|message| Taken::Message(Box::new(message)))
                    .map_err(|error| format!("a message that does not read: {error}"))
            }
        }
    }
}

enum Taken {
    Message(Box<Message>),
    Nothing,
    Closed,
}
