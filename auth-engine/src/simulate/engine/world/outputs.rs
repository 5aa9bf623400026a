//! What leaves the engine: replies, asks, refusals, answers of the sidecar; each held to what the model said. It must
//! never do what is not in the plan.

use bytes::Bytes;

use super::{Checkpoint, Expected, Violation, World};
use crate::engine::{Effect, Rebuilt};
use crate::shard::handle::WriteOutcome;
use crate::simulate::engine::model::{CallTold, Moment};
use crate::simulate::engine::plan::{FaultKind, Message};
use crate::simulate::engine::{frames, replies, rules};
use crate::switch::ConnId;

impl World {
    /// What waited for the disk leaves.
    pub(super) fn release(&mut self) -> Result<(), Violation> {
        let (now, moment) = self.tick(1);
        let before = self.engine()?.journal().next_seq();
        self.engine()?.release(now);
        let events = self.engine()?.journal().next_seq() - before;
        let from = self.model.seq;
        if !self.desk.parked.is_empty() {
            self.desk.durable(moment.mono);
        }
        for parked in std::mem::take(&mut self.desk.parked) {
            let mut sent = false;
            for recipient in &parked.recipients {
                self.desk.leaves(recipient.link);
                if recipient.deadline <= moment.mono {
                    self.coverage.hit("network", "reply too late");
                    continue;
                }
                sent = true;
                let (conn, answer) = (recipient.conn, parked.answer.clone());
                let key = parked.key.clone().map(|key| {
                    let generation = self.generations.get(&key).copied().unwrap_or(0);
                    (key, generation)
                });
                self.expected.push_back(Expected { conn, answer, offending: None, key, unfounded: false });
            }
            if let Some(no) = parked.tap.filter(|_| !sent)
                && self.model.comes_too_late(no, moment.wall)
            {
                self.coverage.hit("rule", "answered_late");
                self.checkpoints.push(Checkpoint { seq: self.model.seq, model: self.model.clone(), hash: None });
            }
        }
        let own = self.model.seq - from;
        if own != events {
            return Err(format!("the release made {events} events, the model {own}"));
        }
        self.carry_out()
    }

    pub(super) fn carry_out(&mut self) -> Result<(), Violation> {
        let mut effects = std::mem::take(&mut self.effects);
        self.engine()?.take_effects(&mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { conn, reply, .. } => {
                    let bytes = Bytes::copy_from_slice(self.engine()?.reply_bytes(&reply));
                    self.delivered(conn, &bytes)?;
                }
                Effect::SendBytes { conn, reply, .. } => self.delivered(conn, &reply)?,
                Effect::Answer(to, outcome) => {
                    // Whoever called may be gone; the outcome is looked at all the same.
                    let _ = to.send(outcome);
                    self.called()?;
                    if self.disk.is_off() {
                        return Ok(());
                    }
                }
                Effect::Rebuild(job) => {
                    if self.desk.rebuilds.is_empty() {
                        return Err(format!("an answer is read again at event {} that nobody asked for", job.seq));
                    }
                    let told = self.desk.rebuilds.remove(0);
                    let generation = self.asked_again.pop_front().unwrap_or(0);
                    let reader = self.engine()?.journal().reader();
                    let keyring = std::sync::Arc::clone(self.engine()?.keyring());
                    let specs: Vec<_> = self.engine()?.book().links().iter().map(|l| l.spec.clone()).collect();
                    let spec_of = |link: u8| specs.get(usize::from(link)).and_then(|n| iso_codec::Spec::embedded(n));
                    let reply = match crate::engine::rebuild(&job, &reader, &keyring, &spec_of) {
                        _ if self.disk.is_off() => return Ok(()),
                        Ok(reply) => Some(reply),
                        Err(_) if self.rotten || self.disk.fired() == Some(FaultKind::ReadError) => None,
                        Err(why) => return Err(format!("a repeat cannot be answered: {why}")),
                    };
                    self.rebuilt.push_back((Rebuilt { recipient: job.recipient, reply }, told, generation));
                }
                Effect::Configure(_) | Effect::Cut(_) => {}
                other => return Err(format!("{other:?} came out of a release")),
            }
        }
        self.effects = effects;
        self.engine()?.clear_replies();
        if let Some(expected) = self.expected.front() {
            return Err(format!("no {} left for connection {}", expected.answer.code, expected.conn));
        }
        if !self.desk.rebuilds.is_empty() || !self.calls.is_empty() {
            return Err("a repeat or a call was not answered".to_owned());
        }
        Ok(())
    }

    pub(super) fn conn_of(&self, conn: ConnId) -> Option<u32> {
        (0..self.next_conn).rev().find(|slot| ConnId::detached(*slot) == conn)
    }

    /// A reply leaves: it is the one that must, and what it rests on is safe.
    pub(super) fn delivered(&mut self, conn: ConnId, bytes: &Bytes) -> Result<(), Violation> {
        let Some(expected) = self.expected.pop_front() else {
            return Err(format!("a reply left for {conn:?} that nobody waits for"));
        };
        if ConnId::detached(expected.conn) != conn {
            return Err(format!("the reply for connection {} left for {conn:?}", expected.conn));
        }
        let Some(behind) = self.behind.get_mut(&expected.conn) else { return Err("nobody is behind it".to_owned()) };
        let message = behind.message.clone();
        if std::mem::replace(&mut behind.answered, true) {
            return Err(format!("m{} was answered twice on one connection", message.label));
        }
        if !expected.unfounded
            && let Some(file) = self.disk.unsafe_file(".segment")
        {
            return Err(format!(
                "the reply {} to m{} left, and {file} is not safe on the disk",
                expected.answer.code, message.label
            ));
        }
        self.trace.update(&expected.conn.to_le_bytes()).update(bytes);
        let reply = frames::read(message.link, bytes).map_err(|e| format!("the reply to m{}: {e}", message.label))?;
        replies::check(&message, &expected.answer, expected.offending, &reply)
            .map_err(|why| format!("the reply to m{}: {why}", message.label))?;
        if message.deaf {
            self.coverage.hit("network", "connection gone");
        } else if let Some(code) = reply.approval.filter(|_| message.mti & 0x00F0 == 0) {
            self.approvals.insert(message.label, code);
        }
        if let Some((key, generation)) = expected.key
            && self.generations.get(&key).copied().unwrap_or(0) == generation
        {
            let first = self.first.entry(key).or_insert_with(|| bytes.clone());
            if first != bytes {
                return Err(format!("m{} was repeated and got other bytes than the first time", message.label));
            }
        }
        Ok(())
    }

    /// A call of the sidecar is answered.
    pub(super) fn called(&mut self) -> Result<(), Violation> {
        let Some((mut outcome, call, told)) = self.calls.pop_front() else {
            return Err("a call was answered that nobody made".to_owned());
        };
        let outcome = outcome.try_recv().map_err(|_| format!("REST {:?} was not answered", call.command))?;
        if let Some(file) = self.disk.unsafe_file(".segment") {
            return Err(format!("REST {:?} was answered, and {file} is not safe on the disk", call.command));
        }
        let body = match (outcome, told) {
            (WriteOutcome::Fresh(rendered), CallTold::Fresh(_, result)) => {
                let said = String::from_utf8_lossy(&rendered.body).into_owned();
                let fits = match result {
                    Ok(()) => rendered.status == 200,
                    Err(why) => rendered.status == 409 && why.split(" or ").any(|why| why == said),
                };
                if !fits {
                    return Err(format!("REST {:?} was answered {said}, the model says {result:?}", call.command));
                }
                self.coverage.hit("sidecar", rules::call_word(&said, rendered.status));
                rendered.body
            }
            (WriteOutcome::Stored { seq }, CallTold::Stored) => {
                self.coverage.hit("sidecar", "same answer again");
                match self.stored(seq) {
                    Ok(body) => body,
                    Err(_) if self.disk.is_off() => return Ok(()),
                    Err(_) if self.rotten || self.disk.fired() == Some(FaultKind::ReadError) => return Ok(()),
                    Err(why) => return Err(format!("REST {:?}: {why}", call.command)),
                }
            }
            (WriteOutcome::Mismatch, CallTold::Mismatch) => {
                self.coverage.hit("sidecar", "key used for another body");
                return Ok(());
            }
            (outcome, told) => {
                return Err(format!("REST {:?} came to {outcome:?}, the model says {told:?}", call.command));
            }
        };
        self.trace.update(&body);
        let Some(key) = call.key else { return Ok(()) };
        // After a day the same key is a new call.
        let first = self.first_calls.insert(key, body.clone());
        match first {
            Some(first) if first != body && self.model.call_is_old(key) => Ok(()),
            Some(first) if first != body => {
                Err(format!("REST {:?} was called again and got another answer", call.command))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stored(&mut self, seq: u64) -> Result<Vec<u8>, String> {
        use ledger_core::event::{Event, field};
        let keyring = std::sync::Arc::clone(self.engine()?.keyring());
        let record = self.engine()?.journal().reader().read(seq).map_err(|e| e.to_string())?;
        match Event::decode(&record.payload).map_err(|e| e.to_string())? {
            Event::Idempotent(event) => {
                let nonce = ledger_core::keys::Nonce { epoch: record.epoch, seq, field: field::ANSWER };
                keyring.open(nonce, &event.answer).map_err(|e| e.to_string())
            }
            other => Err(format!("event {seq} is {}", other.word())),
        }
    }

    pub(super) fn count_refusal(&mut self, message: &Message, code: &str, _now: Moment) {
        let word = match code {
            "30" => "1 format_error",
            "94" => "2 changed repeat",
            "91" if self.desk.draining => "4 draining",
            "91" if message.link == 1 && self.model.links.get(1) == Some(&false) => "3 not_signed_on",
            _ => "4 overloaded",
        };
        self.coverage.hit("rule", word);
    }
}
