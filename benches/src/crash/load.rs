//! The load: connections that tell stories, and callers that move money by REST, until the engine is gone. It owns
//! what was sent and what was answered, byte for byte; it must never judge more than the answers it just got.

use super::story::{Role, Step, Story};
use super::world::{ACCOUNT, AUTO_POOL, CHOICE_POOL, TIGHT_ACCOUNT, WEBHOOK_POOL, World};
use crate::client::{Answer, Link, Rest};
use crate::fixture::{pay_in, transfer};
use crate::messages::Messages;
use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long an answer may take: more than the link's budget, so that only silence ends here.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// One repeated message in so many during the load.
const REPEAT_ONE_IN: u8 = 8;

/// What all threads of a round share.
pub(super) struct Stage<'a> {
    pub(super) world: &'a World,
    pub(super) messages: &'a Messages,
    /// Set just before the kill: from here on a broken connection is what is wanted.
    pub(super) dying: AtomicBool,
    pub(super) violations: Mutex<Vec<String>>,
    /// Repeats sent during the load, their answers compared.
    pub(super) repeats: AtomicU64,
}

/// A write of the sidecar.
pub(super) struct Write {
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) key: String,
    /// Index of the source it changes, and by how much when it is done.
    pub(super) effect: Option<(usize, i64)>,
    /// The first answer; `None`: not known whether it was done.
    pub(super) answer: Option<Answer>,
    pub(super) acknowledged: bool,
}

impl<'a> Stage<'a> {
    /// A stage for one round.
    pub(super) fn new(world: &'a World, messages: &'a Messages) -> Stage<'a> {
        Stage {
            world,
            messages,
            dying: AtomicBool::new(false),
            violations: Mutex::default(),
            repeats: AtomicU64::new(0),
        }
    }

    /// Notes a broken promise.
    pub(super) fn object(&self, what: String) {
        self.violations.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
    }

    fn lost(&self, what: &str, error: &dyn std::fmt::Display) {
        if !self.dying.load(Ordering::SeqCst) {
            self.object(format!("{what} without a kill: {error}"));
        }
    }

    /// Tells stories over one connection until it breaks.
    pub(super) fn tell(&self, addr: SocketAddr, mut rng: Rng) -> Vec<Story> {
        let mut told = Vec::new();
        let mut link = match Link::connect(addr, PATIENCE) {
            Ok(link) => link,
            Err(error) => {
                self.lost("a connection was refused", &error);
                return told;
            }
        };
        loop {
            let mut story = Story::begin(self.world, &mut rng);
            let alive = self.tell_one(&mut link, &mut story, &mut rng);
            told.push(story);
            match alive {
                Ok(()) => {}
                Err(error) => {
                    self.lost("a connection broke", &error);
                    return told;
                }
            }
        }
    }

    fn tell_one(&self, link: &mut Link, story: &mut Story, rng: &mut Rng) -> std::io::Result<()> {
        let fault = |fault: crate::fault::Fault| std::io::Error::other(fault.to_string());
        loop {
            let from = story.steps.len();
            if !story.next(&self.world.cards, self.messages, rng).map_err(fault)? {
                return Ok(());
            }
            if story.overtaken {
                // The reversal leaves behind the tap, before the tap's answer can have come.
                story.next(&self.world.cards, self.messages, rng).map_err(fault)?;
                self.send_together(link, &mut story.steps)?;
                self.judge(story, from);
                continue;
            }
            for at in from..story.steps.len() {
                let Some(step) = story.steps.get_mut(at) else { break };
                let mut reply = Vec::new();
                link.exchange(&step.request, &mut reply)?;
                self.take(step, reply);
                self.judge(story, at);
                if rng.u8(..REPEAT_ONE_IN) == 0 {
                    self.repeat(link, story, at, rng).map_err(fault)??;
                }
            }
        }
    }

    fn send_together(&self, link: &mut Link, steps: &mut [Step]) -> std::io::Result<()> {
        for step in steps.iter() {
            link.send(&step.request)?;
        }
        for _ in 0..steps.len() {
            let mut reply = Vec::new();
            link.receive(&mut reply)?;
            let answered = self.messages.mti(&reply);
            let matching = steps.iter_mut().find(|step| {
                step.reply.is_none() && self.messages.mti(&step.request).map(|mti| mti.response()) == answered
            });
            match matching {
                Some(step) => self.take(step, reply),
                None => self.object("an answer came that belongs to no request".to_owned()),
            }
        }
        Ok(())
    }

    fn take(&self, step: &mut Step, reply: Vec<u8>) {
        step.code = self.messages.code(&reply);
        step.reply = Some(Bytes::from(reply));
        step.acknowledged = true;
        if step.code.is_none() {
            self.object("an answer cannot be read or has no DE39".to_owned());
        }
    }

    /// Whether the answers from that step on may be given at all.
    pub(super) fn judge(&self, story: &Story, from: usize) {
        for (at, step) in story.steps.iter().enumerate().skip(from) {
            let Some(code) = step.code.as_deref() else { continue };
            let reversal_first = story.steps.iter().take(at).any(|earlier| earlier.role == Role::Undo);
            let fine = match step.role {
                Role::Tap(_) if reversal_first => code == "05",
                // The reversal came while it was being decided, or after.
                Role::Tap(_) if story.steps.len() > 1 && code == "05" => story.reversed() != Some(false),
                Role::Tap(_) => story.funding.may_answer(story.mcc, code),
                Role::Advice(_) | Role::Restate(_) | Role::Keep(_) | Role::Undo => code == "00",
            };
            if !fine {
                let (role, funding) = (step.role, story.funding);
                self.object(format!("{role:?} on {funding:?}, merchant {}, was answered {code}", story.mcc));
            }
        }
    }

    /// A repeat during the load: the same bytes at once, whatever was decided.
    fn repeat(
        &self,
        link: &mut Link,
        story: &Story,
        at: usize,
        rng: &mut Rng,
    ) -> Result<std::io::Result<()>, crate::fault::Fault> {
        let Some(Step { request, reply: Some(wanted), .. }) = story.steps.get(at) else { return Ok(Ok(())) };
        let request = if rng.bool() { self.messages.repeated(request)? } else { request.clone() };
        let mut reply = Vec::new();
        if let Err(error) = link.exchange(&request, &mut reply) {
            return Ok(Err(error));
        }
        self.repeats.fetch_add(1, Ordering::Relaxed);
        if *wanted != reply {
            let difference = self.messages.difference(wanted, &Bytes::from(reply));
            self.object(format!("a repeat under load was answered otherwise: {difference}"));
        }
        Ok(Ok(()))
    }

    /// Moves money by REST until the engine is gone: top-ups from announcement to settlement, pay-ins, withdrawals.
    pub(super) fn move_money(&self, rest: &Rest, name: &str, mut rng: Rng) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut number = 0u64;
        loop {
            number += 1;
            let key = format!("{name}-{number}");
            let cents = rng.i64(1..=4_000);
            let pool = [AUTO_POOL, WEBHOOK_POOL, CHOICE_POOL][rng.usize(..3)];
            let id = |index: usize| self.world.sources.get(index).map_or("", |source| source.id.as_str());
            let alive = match rng.u8(..4) {
                0 | 1 => {
                    let path = format!("/v1/pools/{}/top-ups", id(pool));
                    self.write(rest, &mut writes, path, transfer(cents), key.clone(), None).and_then(|made| {
                        let top_up = made["id"].as_str().unwrap_or_default().to_owned();
                        let (end, effect) =
                            if rng.u8(..8) == 0 { ("fail", None) } else { ("settle", Some((pool, cents))) };
                        let path = format!("/v1/top-ups/{top_up}/{end}");
                        self.write(rest, &mut writes, path, Value::Null, format!("{key}-{end}"), effect)
                    })
                }
                2 => {
                    // The tight account gets little, so that its taps fight for it.
                    let (account, cents) = if rng.bool() { (ACCOUNT, cents) } else { (TIGHT_ACCOUNT, cents / 40 + 1) };
                    let body = pay_in(id(account), cents);
                    self.write(rest, &mut writes, "/v1/pay-ins".to_owned(), body, key, Some((account, cents)))
                }
                _ => {
                    let path = format!("/v1/pools/{}/withdrawals", id(AUTO_POOL));
                    self.write(rest, &mut writes, path, transfer(cents), key, Some((AUTO_POOL, -cents)))
                }
            };
            if alive.is_none() {
                return writes;
            }
        }
    }

    /// One write; its answer's JSON, or `None` when the engine is gone.
    fn write(
        &self,
        rest: &Rest,
        writes: &mut Vec<Write>,
        path: String,
        body: Value,
        key: String,
        effect: Option<(usize, i64)>,
    ) -> Option<Value> {
        let answer = rest.post(&path, &body, Some(&key));
        let mut write = Write { path, body, key, effect, answer: None, acknowledged: false };
        let json = match answer {
            Ok(answer) => {
                if !(200..300).contains(&answer.status) {
                    self.object(format!("POST {} was refused with {}", masked(&write.path), answer.status));
                }
                let json = answer.json();
                write.answer = Some(answer);
                write.acknowledged = true;
                Some(json)
            }
            Err(fault) => {
                self.lost("a call broke", &fault);
                None
            }
        };
        writes.push(write);
        json
    }
}

/// A path whose ids are left out, so that equal findings read equal.
pub(super) fn masked(path: &str) -> String {
    path.split('/').map(|part| if part.contains('_') { "…" } else { part }).collect::<Vec<_>>().join("/")
}
