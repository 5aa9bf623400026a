//! What comes to the engine: messages, calls of the sidecar, answers of partners, time; told to the model as well. It
//! must never do what is not in the plan.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{BUDGET_US, Behind, Expected, ExpectedAsk, MOST_TIMERS, Violation, World, said};
use crate::engine::{Inbound, PartnerAnswer};
use crate::shard::handle::Request;
use crate::simulate::engine::model::{Answer, CallTold, Recipient, Said, Verdict};
use crate::simulate::engine::plan::{Call, Message, Says};
use crate::simulate::engine::words::EUR;
use crate::simulate::engine::{coverage, frames, model, requests};
use crate::switch::ConnId;

impl World {
    pub(in crate::simulate::engine) fn message(&mut self, message: &Message) -> Result<(), Violation> {
        self.count_message(message);
        let (now, moment) = self.tick(2);
        let conn = self.next_conn;
        self.next_conn += 1;
        let since_us = self.mono - message.waited_us;
        let recipient = Recipient { conn, link: message.link, deadline: since_us + BUDGET_US };
        let approval = self.model.approval_of(message, |label| self.approvals.get(&label).copied());
        let frame = frames::bytes(message, approval);
        self.behind.insert(conn, Behind { message: message.clone(), answered: false });
        let inbound =
            Inbound { link: message.link, conn: ConnId::detached(conn), header: Bytes::new(), frame, since_us };
        let before = self.engine()?.journal().next_seq();
        self.engine()?.handle_frame(inbound, now);
        let events = self.engine()?.journal().next_seq() - before;
        let rebuilds = self.desk.rebuilds.len();
        let unmatched = self.model.unmatched_reversals();
        let waiting: usize = self.desk.pending.values().map(|asked| asked.recipients.len()).sum();
        let told = self.model.message(&mut self.desk, message, approval, recipient, moment);
        if told.events != events {
            return Err(format!("m{} made {events} events, the model {}", message.label, told.events));
        }
        if self.desk.rebuilds.len() > rebuilds {
            let generation = self.generations.get(&model::key_of(message)).copied().unwrap_or(0);
            self.asked_again.push_back(generation);
            self.coverage.hit("rule", "2 repeat answered again");
        } else if told.asks.is_none() && self.desk.pending.values().map(|a| a.recipients.len()).sum::<usize>() > waiting
        {
            self.coverage.hit("rule", "2 repeat waits for the first");
        }
        if let Said::AtOnce(code, offending) = told.said {
            self.count_refusal(message, code, moment);
            let answer = Answer::code(code);
            self.expected.push_back(Expected { conn, answer, offending, key: None, unfounded: true });
        }
        if let Some((partner, no)) = told.asks {
            let own = self.model.authorizations.get(&no);
            let amount = own.and_then(|own| Some(own.currency?.text(own.amount)));
            let sources = own.map(|own| own.holds.iter().map(|h| h.purse.word()).collect()).unwrap_or_default();
            self.asks.push_back(ExpectedAsk { conn, partner, no, amount, sources });
        }
        if told.events > 0 {
            // Decided anew: what the same elements were answered with before is forgotten by now.
            let key = model::key_of(message);
            self.first.remove(&key);
            *self.generations.entry(key).or_insert(0) += 1;
        }
        if self.model.unmatched_reversals() > unmatched {
            self.coverage.hit("network", "unmatched reversal");
        }
        self.progressed(events)
    }

    pub(super) fn call(&mut self, call: &Call) -> Result<(), Violation> {
        let (now, moment) = self.tick(2);
        let number = self.model.number_of(&call.command);
        let keyring = std::sync::Arc::clone(self.engine()?.keyring());
        let write = requests::write(call, number, &keyring);
        let (answer, outcome) = oneshot::channel();
        let before = self.engine()?.journal().next_seq();
        let forgotten = self.model.may_have_forgotten(&call.command, moment);
        self.engine()?.handle_request(Request::Write(write, answer), now);
        let events = self.engine()?.journal().next_seq() - before;
        let mut told = self.model.call(call, moment);
        if let CallTold::Fresh(own, result) = &mut told {
            if *own != events {
                return Err(format!("REST {:?} made {events} events, the model {own}", call.command));
            }
            if forgotten && result.is_err() {
                *result = Err("quote_expired or not_found");
            }
        } else if events != 0 {
            return Err(format!("REST {:?} made {events} events under a key that was used before", call.command));
        }
        self.calls.push_back((outcome, call.clone(), told));
        self.progressed(events)
    }

    /// What partners say by now.
    pub(super) fn partners_answer(&mut self) -> Result<(), Violation> {
        while let Some(((at, _), _)) = self.coming.first_key_value()
            && *at <= self.mono
        {
            let Some(((at, _), (partner, no, says))) = self.coming.pop_first() else { break };
            let (now, moment) = self.tick(1);
            let token = if matches!(says, Says::Misdirected(_)) { no + 1_000_000 } else { no };
            let (outcome, verdict) = said(&says);
            let open = self.desk.pending.contains_key(&token);
            let word = match (&says, open) {
                (Says::Misdirected(_), _) => "answers for nobody",
                (_, false) if self.desk.overdue.contains(&token) => "answers late",
                (_, false) => "answers twice",
                (Says::Unreachable, true) => "is unreachable",
                (Says::NotSent, true) => "has no free connection",
                (Says::Status(_), true) => "answers another status",
                (Says::Body(_), true) => match &verdict {
                    Verdict::Bad => "answers nonsense",
                    Verdict::Decline(_) => "declines",
                    Verdict::Approve(Some(_), _) => "approves in part",
                    Verdict::Approve(None, Some(_)) => "approves a source",
                    _ => "approves",
                },
            };
            self.coverage.hit("partner", word);
            let asked = self.model.authorizations.get(&token).and_then(|a| Some((a.amount, a.currency?)));
            if let (Verdict::Approve(Some(text), _), Some((amount, currency))) = (&verdict, asked)
                && currency.minor(text).is_some_and(|minor| minor > amount)
            {
                self.coverage.hit("partner", "approves more than asked");
            }
            let before = self.engine()?.journal().next_seq();
            self.engine()?.handle_answer(PartnerAnswer { no: token, partner, outcome, answered_us: at }, now);
            let events = self.engine()?.journal().next_seq() - before;
            let own = self.model.answered(&mut self.desk, partner, token, &verdict, moment);
            if own != events {
                return Err(format!("{says:?} about authorization {token} made {events} events, the model {own}"));
            }
            self.progressed(events)?;
        }
        if self.desk.open_circuits() > 0 {
            self.coverage.hit("partner", "circuit open");
        }
        Ok(())
    }

    /// Time passes; what is due on the way is handled at its moment.
    pub(super) fn wait(&mut self, us: i64) -> Result<(), Violation> {
        let until = self.mono + us;
        for _ in 0..MOST_TIMERS {
            let (now, _) = self.now();
            let timer = self.engine()?.next_timer(now).map(|at| at.max(self.mono + 1));
            let coming = self.coming.first_key_value().map(|((at, _), _)| (*at).max(self.mono + 1));
            let rebuilt = (!self.rebuilt.is_empty()).then_some(self.mono + 50);
            let next = [timer, coming, rebuilt].into_iter().flatten().min();
            match next.filter(|at| *at < until) {
                Some(at) => self.mono = at,
                None => break,
            }
            self.quiet_batch()?;
        }
        self.mono = self.mono.max(until);
        self.quiet_batch()
    }

    pub(super) fn count_message(&mut self, message: &Message) {
        let mti = message.mti | u16::from(message.repeat);
        let word = coverage::MUST.iter().find(|(subject, _)| *subject == "message");
        let word = word.and_then(|(_, words)| words.iter().find(|word| u16::from_str_radix(word, 16) == Ok(mti)));
        self.coverage.hit("message", word.copied().unwrap_or("others"));
        if message.waited_us > 0 {
            self.coverage.hit("network", "waited in the kernel");
        }
        if message.waited_us >= BUDGET_US {
            self.coverage.hit("rule", "4 too old to answer");
        }
        if message.billing.is_some_and(|(_, currency)| currency != EUR) {
            self.coverage.hit("network", "billed in another currency");
        }
    }
}
