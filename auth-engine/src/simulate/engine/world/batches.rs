//! One turn of the shard: inputs in, early answers, timers, commit, release, and whether book and model agree. It
//! must never do what is not in the plan.

use std::collections::BTreeSet;

use super::{Checkpoint, Ended, Expected, Violation, World};
use crate::engine::{Effect, Now};
use crate::simulate::engine::model::Moment;
use crate::simulate::engine::plan::{Batch, Input};
use crate::simulate::engine::{compare, frames, rules};

impl World {
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<(), Violation> {
        if let Some(fault) = &batch.fault {
            self.disk.arm(fault.kind, fault.after, fault.crash.salt);
        }
        let links: BTreeSet<usize> = batch
            .inputs
            .iter()
            .filter_map(|input| match input {
                Input::Message(message) => Some(message.link),
                Input::Call(_) => None,
            })
            .collect();
        if links.len() > 1 {
            self.coverage.hit("network", "two links");
        }
        let fault = batch.fault;
        let ended = self.inputs(&batch.inputs, batch.sync_us, batch.waiting)?;
        self.after(ended, fault)
    }

    /// Whatever is due, and no input.
    pub(in crate::simulate::engine) fn quiet_batch(&mut self) -> Result<(), Violation> {
        let ended = self.inputs(&[], 200, false)?;
        self.after(ended, None)
    }

    /// Inputs in their order; a full block is made durable in between, as the loop of the shard does.
    pub(in crate::simulate::engine) fn inputs(
        &mut self,
        inputs: &[Input],
        sync_us: i64,
        waiting: bool,
    ) -> Result<Ended, Violation> {
        self.begin_batch();
        for input in inputs {
            match input {
                Input::Message(message) => self.message(message)?,
                Input::Call(call) => self.call(call)?,
            }
            let full = self.shape.max_batch_bytes;
            if self.engine()?.journal().open_bytes() >= full {
                self.take_early()?;
                if self.close_batch(sync_us, true)? == Ended::Died {
                    return Ok(Ended::Died);
                }
                self.begin_batch();
            }
        }
        self.partners_answer()?;
        self.take_early()?;
        self.close_batch(sync_us, waiting)
    }

    pub(super) fn begin_batch(&mut self) {
        let (wall, mono) = (self.mono + self.wall_ahead, self.mono);
        if self.clock.wants_look(mono) {
            self.clock.look(wall, mono);
        }
        while let Some((rebuilt, told, generation)) = self.rebuilt.pop_front() {
            let (now, moment) = self.tick(1);
            self.desk.leaves(told.recipient.link);
            let answered = rebuilt.reply.is_some();
            if answered && told.recipient.deadline > moment.mono {
                self.expected.push_back(Expected {
                    conn: told.recipient.conn,
                    answer: told.answer,
                    offending: None,
                    key: told.same.then_some((told.key, generation)),
                    unfounded: false,
                });
            }
            if let Some(engine) = &mut self.engine {
                engine.handle_rebuilt(rebuilt, now);
            }
        }
    }

    /// Events were made by one input: the model must be where the book is.
    pub(in crate::simulate::engine) fn progressed(&mut self, events: u64) -> Result<(), Violation> {
        if let Some(broken) = self.engine()?.broken() {
            return Err(format!("an invariant is broken: {broken}"));
        }
        if events == 0 {
            return Ok(());
        }
        let Some(engine) = &self.engine else { return Ok(()) };
        let book = engine.book();
        if (book.last_seq(), book.next_id().no) != (self.model.seq, self.model.next_no) {
            return compare::differs(book, &self.model).map_or(Ok(()), Err);
        }
        // Which digits a DE38 has is the engine's to choose.
        for (no, own) in self.model.authorizations.iter_mut().filter(|(_, own)| own.approval == 1) {
            let reply = book.authorization(*no).and_then(|a| a.reply);
            own.approval = reply.map_or(1, |reply| reply.approval_code);
        }
        self.checkpoints.push(Checkpoint { seq: self.model.seq, model: self.model.clone(), hash: None });
        Ok(())
    }

    /// Asks and refusals leave before the commit; nothing else may.
    pub(super) fn take_early(&mut self) -> Result<(), Violation> {
        let mut effects = std::mem::take(&mut self.effects);
        self.engine()?.take_effects(&mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Ask(ask) => {
                    let Some(expected) = self.asks.pop_front() else {
                        return Err(format!("a partner was asked about {} unasked", ask.token));
                    };
                    let (partner, no) = (expected.partner, expected.no);
                    if (ask.partner, ask.token) != (partner, no) {
                        return Err(format!(
                            "partner {} was asked about {}, not {partner} about {no}",
                            ask.partner, ask.token
                        ));
                    }
                    expected.check(&ask.body)?;
                    let says = self.behind.get(&expected.conn).map(|b| b.message.says.clone()).unwrap_or_default();
                    if says.is_empty() {
                        self.coverage.hit("partner", "is silent");
                    }
                    for (after, says) in says {
                        self.comings += 1;
                        self.coming.insert((self.mono + after, self.comings), (partner, no, says));
                    }
                }
                Effect::SendBytes { conn, reply, .. } => self.delivered(conn, &reply)?,
                Effect::Send { conn, reply, .. } => {
                    let bytes = self.engine()?.reply_bytes(&reply).to_vec();
                    let at = self.conn_of(conn);
                    let label = at.and_then(|at| self.behind.get(&at)).map_or(0, |b| b.message.label);
                    let code = frames::read(0, &bytes).map(|reply| reply.code).unwrap_or_default();
                    return Err(format!(
                        "the reply {code} to m{label} left before its events were written to the disk"
                    ));
                }
                other => return Err(format!("{other:?} left before the commit")),
            }
        }
        self.effects = effects;
        match (self.asks.front(), self.expected.front()) {
            (Some(ask), _) => Err(format!("no partner was asked about authorization {}", ask.no)),
            (None, Some(expected)) => Err(format!("no {} was said at once", expected.answer.code)),
            (None, None) => Ok(()),
        }
    }

    /// Timers, commit, release, and what it lets out. A reply that comes too late opens another batch.
    pub(in crate::simulate::engine) fn close_batch(&mut self, sync_us: i64, waiting: bool) -> Result<Ended, Violation> {
        let mut sync_us = sync_us;
        for _ in 0..8 {
            let (now, moment) = self.tick(1);
            self.engine()?.gathered(waiting, now);
            self.desk.gathered(waiting, moment.mono);
            self.timers(now, moment)?;
            if let Some(broken) = self.engine()?.broken() {
                return Err(format!("an invariant is broken: {broken}"));
            }
            let needed = self.engine()?.needs_commit();
            if needed {
                let done = self.engine()?.journal().commit();
                if self.disk.is_off() {
                    return Ok(Ended::Died);
                }
                if let Err(error) = done {
                    return match self.disk.fired() {
                        Some(_) => Ok(Ended::Died),
                        None => Err(format!("the commit failed: {error}")),
                    };
                }
                self.mono += sync_us;
                if sync_us > 500_000 {
                    self.coverage.hit("fault", "stalled disk");
                }
            }
            self.engine()?.take_touched(|_, _| {});
            self.acknowledge();
            self.release()?;
            if self.disk.is_off() {
                return Ok(Ended::Died);
            }
            if !self.engine()?.needs_commit() {
                self.agree()?;
                return Ok(Ended::Fine);
            }
            sync_us = 200;
        }
        Err("replies come too late again and again".to_owned())
    }

    pub(super) fn timers(&mut self, now: Now, moment: Moment) -> Result<(), Violation> {
        let before = self.engine()?.journal().next_seq();
        self.engine()?.handle_timers(now);
        let events = self.engine()?.journal().next_seq() - before;
        let from = self.model.seq;
        while let Some(no) = self.model.next_deadline(&self.desk, moment) {
            self.model.timed_out(&mut self.desk, no, moment);
            self.checkpoints.push(Checkpoint { seq: self.model.seq, model: self.model.clone(), hash: None });
        }
        while let Some(no) = self.model.next_expired(moment) {
            self.model.expired(no, moment.wall);
            self.checkpoints.push(Checkpoint { seq: self.model.seq, model: self.model.clone(), hash: None });
        }
        let own = self.model.seq - from;
        if own != events { Err(format!("timers made {events} events, the model {own}")) } else { Ok(()) }
    }

    /// All so far is durable.
    pub(super) fn acknowledge(&mut self) {
        if let Some(last) = self.checkpoints.pop() {
            self.checkpoints.clear();
            self.checkpoints.push(last);
        }
    }

    /// Book and model, and the book with itself.
    pub(in crate::simulate::engine) fn agree(&mut self) -> Result<(), Violation> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let book = engine.book();
        book.check().map_err(|violation| format!("an invariant is broken: {violation}"))?;
        if let Some(difference) = compare::differs(book, &self.model) {
            return Err(difference);
        }
        let hash = book.state_hash();
        self.trace.update(&hash);
        if let Some(last) = self.checkpoints.last_mut() {
            last.hash = Some(hash);
        }
        for (no, a) in &self.model.authorizations {
            if self.seen.insert((*no, a.state)) {
                self.coverage.hit("state", a.state.word());
                self.coverage.hit("kind", a.kind);
                if let Some(reason) = a.reason {
                    self.coverage.hit("rule", rules::word(reason, a.partial.is_some()));
                }
            }
        }
        Ok(())
    }
}
