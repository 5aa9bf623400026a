//! Deadlines of asks and lifetimes of holds, and the release of what became durable.

use std::cmp::Reverse;

use ledger_core::event::Event;
use ledger_core::event::tap::{HoldExpired, ReplyLate};
use ledger_core::id::No;

use super::effect::Effect;
use super::{Decided, Engine, Now};

/// Deadlines handled in one batch.
const DEADLINES_PER_BATCH: usize = 4_096;
/// Holds that expire in one batch.
const EXPIRIES_PER_BATCH: usize = 256;

impl Engine {
    /// The next moment at which [`Engine::handle_timers`] has something to do, monotonic.
    pub fn next_timer(&self, now: Now) -> Option<i64> {
        let deadline = self.deadlines.peek().map(|Reverse((when, _))| *when);
        let expiry = self.book.next_expiry().map(|when| now.mono_us.saturating_add(when.since(now.wall)));
        [deadline, expiry, self.mux.next_deadline()].into_iter().flatten().min()
    }

    /// Handles what is due. Called after everything that was ready to be read, so that an answer that lay there
    /// before its deadline was looked at wins.
    pub fn handle_timers(&mut self, now: Now) {
        for _ in 0..DEADLINES_PER_BATCH {
            match self.deadlines.peek() {
                Some(Reverse((when, _))) if *when <= now.mono_us => {}
                _ => break,
            }
            if let Some(Reverse((_, no))) = self.deadlines.pop() {
                self.handle_deadline(no, now);
            }
        }
        self.give_up_requests(now);
        for _ in 0..EXPIRIES_PER_BATCH {
            let Some(no) = self.book.next_expired(now.wall) else { break };
            self.expire(no, now);
        }
    }

    fn expire(&mut self, no: No, now: Now) {
        let Some(movement) = self.book.decide_expiry(no) else { return };
        let previous = self.book.authorization(no).map_or(0, |a| a.last_seq);
        self.record(
            now,
            &Event::HoldExpired(HoldExpired { no, previous, changes: movement.changes, postings: movement.postings }),
        );
    }

    // PATH 6: what was parked behind the block leaves, now that the block is durable.
    /// The journal is durable up to its last event: what waited for it may leave. Replies that would be late do not;
    /// the events that free their holds open the next batch.
    pub fn release(&mut self, now: Now) {
        let mut parked = std::mem::take(&mut self.parked);
        if !parked.is_empty() {
            self.queue.released(now.mono_us);
        }
        for mut reply in parked.drain(..) {
            let mut sent = false;
            let mut stamp = reply.stamp;
            for recipient in &mut reply.recipients {
                self.leave(recipient.link);
                if recipient.deadline_us <= now.mono_us {
                    self.counters.late += 1;
                    continue;
                }
                sent = true;
                self.effects.push(Effect::Send {
                    conn: recipient.conn,
                    header: std::mem::take(&mut recipient.header),
                    reply: reply.reply.clone(),
                    stamp: stamp.take(),
                });
            }
            if let Some(no) = reply.tap
                && !sent
            {
                self.free_unanswered(no, now);
            }
        }
        if self.parked.is_empty() {
            self.parked = parked;
        }
        self.effects.append(&mut self.parked_effects);
        self.effects.extend(self.repeat_jobs.drain(..).map(Effect::Rebuild));
    }

    /// Nobody could be answered in time.
    fn free_unanswered(&mut self, no: No, now: Now) {
        let Some(movement) = self.book.decide_reply_late(no) else { return };
        let Some((previous, repeat, funding)) = self.book.authorization(no).map(|a| {
            let funding = a.facts.card.and_then(|c| self.book.card(c)).map_or("none", |c| c.funding.word());
            (a.last_seq, a.repeat, funding)
        }) else {
            return;
        };
        self.counters.decisions.push(Decided { outcome: "none", reason: "answered_late", funding });
        self.record(
            now,
            &Event::ReplyLate(ReplyLate {
                no,
                previous,
                changes: movement.changes,
                postings: movement.postings,
                raw: None,
                repeat,
            }),
        );
    }
}
