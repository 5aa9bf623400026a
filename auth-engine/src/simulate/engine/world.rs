//! One run: the engine on a simulated disk, clock, network and partner, and the model beside it. It drives the engine as
//! `shard/run.rs` does: inputs, asks and refusals out, timers, commit, release. After each batch it asks whether book
//! and model agree. Must never read a clock or draw a number that is not in the plan.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ledger_core::book::Policy;
use ledger_core::journal::archive::Shelves;
use ledger_core::journal::file::Disk;
use ledger_core::journal::{KeySource, Options, SpareMaking, SyncMode};
use ledger_core::keys::MasterKey;
use ledger_core::time::Timestamp;
use tokio::sync::oneshot;

use super::compare;
use super::coverage::Coverage;
use super::disk::SimulatedDisk;
use super::frames;
use super::model::{Answer, CallTold, Desk, Key, Model, Moment, Rebuild, Recipient, Said, State, Verdict};
use super::plan::{Batch, Call, Crash, Fault, FaultKind, Input, Message, Says, Shape, Step};
use super::requests;
use super::words::EUR;
use crate::engine::{Effect, Engine, Inbound, LinkSetup, Now, PartnerAnswer, Rebuilt, Settings};
use crate::partner::{Bad, Decision, Outcome, Unreachable};
use crate::shard::clock::ShardClock;
use crate::shard::handle::{Request, WriteOutcome};
use crate::switch::ConnId;

pub(super) const DIR: &str = "/journal";
pub(super) const ARCHIVE: &str = "/archive";
pub(super) const BUDGET_US: i64 = 2_000_000;
/// Timers that one wait may meet.
const MOST_TIMERS: usize = 400;

/// What went against a rule, in one sentence.
pub(crate) type Violation = String;

/// The book may stand here after a crash: at this event, in this state.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    pub(super) seq: u64,
    pub(super) model: Model,
    pub(super) hash: Option<[u8; 32]>,
}

/// Who is behind a connection.
#[derive(Debug, Clone)]
struct Behind {
    message: Message,
    answered: bool,
}

/// A reply that must leave now.
#[derive(Debug, Clone)]
struct Expected {
    conn: u32,
    answer: Answer,
    offending: Option<&'static str>,
    /// Repeats get the same bytes under this key.
    key: Option<(Key, u32)>,
    /// A refusal: nothing is behind it.
    unfounded: bool,
}

/// A partner that must be asked.
#[derive(Debug, Clone)]
struct ExpectedAsk {
    conn: u32,
    partner: u32,
    no: u64,
    amount: Option<String>,
    sources: Vec<&'static str>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Fine,
    /// The process is over: a fault of the disk, or the machine.
    Died,
}

pub(super) struct World {
    pub(super) shape: Shape,
    pub(super) seed: u64,
    pub(super) disk: SimulatedDisk,
    pub(super) engine: Option<Engine>,
    pub(super) clock: ShardClock,
    pub(super) mono: i64,
    pub(super) wall_ahead: i64,
    pub(super) model: Model,
    pub(super) desk: Desk,
    /// The first is acknowledged, the others are not yet.
    pub(super) checkpoints: Vec<Checkpoint>,
    next_conn: u32,
    behind: BTreeMap<u32, Behind>,
    /// What partners will say, and when.
    coming: BTreeMap<(i64, u64), (u32, u64, Says)>,
    comings: u64,
    expected: VecDeque<Expected>,
    asks: VecDeque<ExpectedAsk>,
    calls: VecDeque<(oneshot::Receiver<WriteOutcome>, Call, CallTold)>,
    rebuilt: VecDeque<(Rebuilt, Rebuild, u32)>,
    /// How often the elements of a message were decided anew, and at which of these a repeat was asked for.
    generations: BTreeMap<Key, u32>,
    asked_again: VecDeque<u32>,
    /// First replies, by what makes a repeat.
    first: BTreeMap<Key, Bytes>,
    /// First answers of the sidecar, by key.
    first_calls: BTreeMap<u32, Vec<u8>>,
    approvals: BTreeMap<u32, u32>,
    /// Bytes of the disk are known to be bad: an answer that is read may be missing.
    pub(super) rotten: bool,
    pub(super) coverage: Coverage,
    seen: BTreeSet<(u64, State)>,
    pub(super) trace: blake3::Hasher,
    effects: Vec<Effect>,
}

impl World {
    pub(super) fn new(seed: u64, shape: &Shape) -> Self {
        let model = Model::new(shape);
        Self {
            shape: shape.clone(),
            seed,
            disk: SimulatedDisk::new(shape.direct),
            engine: None,
            clock: ShardClock::start(Timestamp(0), 0, 0),
            mono: 1_000_000,
            wall_ahead: shape.begins_us,
            checkpoints: vec![Checkpoint { seq: 0, model: model.clone(), hash: None }],
            model,
            desk: Desk::default(),
            next_conn: 0,
            behind: BTreeMap::new(),
            coming: BTreeMap::new(),
            comings: 0,
            expected: VecDeque::new(),
            asks: VecDeque::new(),
            calls: VecDeque::new(),
            rebuilt: VecDeque::new(),
            generations: BTreeMap::new(),
            asked_again: VecDeque::new(),
            first: BTreeMap::new(),
            first_calls: BTreeMap::new(),
            approvals: BTreeMap::new(),
            rotten: false,
            coverage: Coverage::default(),
            seen: BTreeSet::new(),
            trace: blake3::Hasher::new(),
            effects: Vec::new(),
        }
    }

    pub(super) fn dir() -> &'static Path {
        Path::new(DIR)
    }

    pub(super) fn options(&self) -> Options {
        Options {
            segment_bytes: self.shape.segment_bytes,
            mode: SyncMode::Auto,
            max_batch_bytes: self.shape.max_batch_bytes,
            spares: SpareMaking::Inline,
            pace: std::time::Duration::ZERO,
            disk: self.journal_disk(),
            ..Options::new(PathBuf::from(DIR))
        }
    }

    /// The disk as the journal sees it: with its archive where there is one.
    pub(super) fn journal_disk(&self) -> std::sync::Arc<dyn Disk> {
        let disk = std::sync::Arc::new(self.disk.clone());
        if self.shape.archives { std::sync::Arc::new(Shelves::new(disk, DIR, ARCHIVE)) } else { disk }
    }

    pub(super) fn keys(&self) -> KeySource {
        let byte = self.seed.to_le_bytes()[0];
        KeySource::new(MasterKey::from_bytes([5; 32]), std::array::from_fn(|at| byte ^ at.to_le_bytes()[0]))
    }

    pub(super) fn policy(&self) -> Policy {
        let eur = ledger_core::money::Currency::EUR;
        Policy {
            dedup_max: self.shape.dedup_max,
            fx_max: self.shape.fx_max.map(|most| (eur, most)).into_iter().collect(),
            ..Policy::default()
        }
    }

    pub(super) fn most_in_flight(&self) -> [usize; 3] {
        [4_096, 4_096, self.shape.max_in_flight]
    }

    pub(super) fn settings(&self) -> Settings {
        let most = self.most_in_flight();
        let link = |at: usize| LinkSetup {
            name: format!("link{at}"),
            spec_name: frames::SPECS[at].to_owned(),
            spec: frames::spec(at),
            budget_us: BUDGET_US,
            require_sign_on: at == 1,
            max_in_flight: most[at],
            sign_on: false,
            network_elements: Vec::new(),
            answer_within_us: BUDGET_US,
        };
        Settings {
            links: (0..3).map(link).collect(),
            decision_timeout_us: 500_000,
            dedup_window_us: self.shape.dedup_window_us,
            max_asks: self.shape.max_asks,
        }
    }

    pub(super) fn engine(&mut self) -> Result<&mut Engine, Violation> {
        self.engine.as_mut().ok_or_else(|| "the engine does not run".to_owned())
    }

    pub(super) fn now(&mut self) -> (Now, Moment) {
        let now = self.clock.now(self.mono);
        (now, Moment { wall: now.wall.0, mono: self.mono })
    }

    fn tick(&mut self, us: i64) -> (Now, Moment) {
        self.mono += us;
        self.now()
    }

    /// One step of the plan.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Violation> {
        match step {
            Step::Batch(batch) => self.batch(batch)?,
            Step::Wait(us) => self.wait(*us)?,
            Step::ClockSteps(us) => {
                self.wall_ahead += us;
                self.coverage.hit("fault", "wall clock stepped");
                self.mono += 200_000;
                self.quiet_batch()?;
            }
            Step::Stop(inputs) => self.stop(inputs)?,
            Step::Crash(crash) => {
                let how = if crash.power { "power failed between batches" } else { "killed between batches" };
                self.coverage.hit("fault", how);
                self.die(*crash);
                self.start(None)?;
            }
            Step::Rot(rot) => self.rot(*rot, &[])?,
            Step::RotServing(rot, repeats) => self.rot(*rot, repeats)?,
            Step::Snapshot(fault) => self.snapshot(*fault)?,
        }
        self.trace.update(&self.disk.fold().to_le_bytes());
        Ok(())
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), Violation> {
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
    pub(super) fn quiet_batch(&mut self) -> Result<(), Violation> {
        let ended = self.inputs(&[], 200, false)?;
        self.after(ended, None)
    }

    pub(super) fn after(&mut self, ended: Ended, fault: Option<Fault>) -> Result<(), Violation> {
        match (ended, fault) {
            (Ended::Fine, _) => {
                self.disk.disarm().into_iter().for_each(|kind| self.count_fault(kind, None));
                Ok(())
            }
            (Ended::Died, Some(fault)) => {
                let fired = self.disk.disarm();
                fired.into_iter().for_each(|kind| self.count_fault(kind, Some(fault.crash)));
                self.die(fault.crash);
                self.start(fault.again.map(|after| (after, fault.crash)))
            }
            (Ended::Died, None) => Err("the engine stopped, and nothing was wrong with its disk".to_owned()),
        }
    }

    fn count_fault(&mut self, kind: FaultKind, crash: Option<Crash>) {
        let word = match kind {
            FaultKind::Crash if crash.is_some_and(|crash| crash.power) => "power failed within a commit",
            FaultKind::Crash => "killed within a commit",
            FaultKind::ReadError => "EIO on a read",
            FaultKind::WriteError => "EIO on a write",
            FaultKind::NoRoom => "ENOSPC",
            FaultKind::SyncFails => "failed sync",
        };
        self.coverage.hit("fault", word);
    }

    /// Inputs in their order; a full block is made durable in between, as the loop of the shard does.
    pub(super) fn inputs(&mut self, inputs: &[Input], sync_us: i64, waiting: bool) -> Result<Ended, Violation> {
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

    fn begin_batch(&mut self) {
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

    pub(super) fn message(&mut self, message: &Message) -> Result<(), Violation> {
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
            let generation = self.generations.get(&super::model::key_of(message)).copied().unwrap_or(0);
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
            let key = super::model::key_of(message);
            self.first.remove(&key);
            *self.generations.entry(key).or_insert(0) += 1;
        }
        if self.model.unmatched_reversals() > unmatched {
            self.coverage.hit("network", "unmatched reversal");
        }
        self.progressed(events)
    }

    /// Events were made by one input: the model must be where the book is.
    pub(super) fn progressed(&mut self, events: u64) -> Result<(), Violation> {
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

    fn call(&mut self, call: &Call) -> Result<(), Violation> {
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
    fn partners_answer(&mut self) -> Result<(), Violation> {
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

    /// Asks and refusals leave before the commit; nothing else may.
    fn take_early(&mut self) -> Result<(), Violation> {
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
    pub(super) fn close_batch(&mut self, sync_us: i64, waiting: bool) -> Result<Ended, Violation> {
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

    fn timers(&mut self, now: Now, moment: Moment) -> Result<(), Violation> {
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
    fn acknowledge(&mut self) {
        if let Some(last) = self.checkpoints.pop() {
            self.checkpoints.clear();
            self.checkpoints.push(last);
        }
    }

    /// Book and model, and the book with itself.
    pub(super) fn agree(&mut self) -> Result<(), Violation> {
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
                    self.coverage.hit("rule", super::rules::word(reason, a.partial.is_some()));
                }
            }
        }
        Ok(())
    }

    /// What waited for the disk leaves.
    fn release(&mut self) -> Result<(), Violation> {
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

    fn carry_out(&mut self) -> Result<(), Violation> {
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

    fn conn_of(&self, conn: ConnId) -> Option<u32> {
        (0..self.next_conn).rev().find(|slot| ConnId::detached(*slot) == conn)
    }

    /// A reply leaves: it is the one that must, and what it rests on is safe.
    fn delivered(&mut self, conn: ConnId, bytes: &Bytes) -> Result<(), Violation> {
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
        super::replies::check(&message, &expected.answer, expected.offending, &reply)
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
    fn called(&mut self) -> Result<(), Violation> {
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
                self.coverage.hit("sidecar", super::rules::call_word(&said, rendered.status));
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

    fn stored(&mut self, seq: u64) -> Result<Vec<u8>, String> {
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

    /// Time passes; what is due on the way is handled at its moment.
    fn wait(&mut self, us: i64) -> Result<(), Violation> {
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

    /// The process is over: what was on its desk is lost.
    pub(super) fn die(&mut self, crash: Crash) {
        self.engine = None;
        self.desk = Desk::default();
        self.coming.clear();
        self.expected.clear();
        self.asks.clear();
        self.calls.clear();
        self.rebuilt.clear();
        self.asked_again.clear();
        self.behind.clear();
        self.effects.clear();
        self.disk.crash(crash);
        self.mono += 50_000;
    }

    fn count_message(&mut self, message: &Message) {
        let mti = message.mti | u16::from(message.repeat);
        let word = super::coverage::MUST.iter().find(|(subject, _)| *subject == "message");
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

    fn count_refusal(&mut self, message: &Message, code: &str, _now: Moment) {
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

impl ExpectedAsk {
    /// What the partner reads is what the model knew.
    fn check(&self, body: &[u8]) -> Result<(), Violation> {
        let ask: serde_json::Value = serde_json::from_slice(body).map_err(|e| format!("the ask is no JSON: {e}"))?;
        let data = &ask["data"];
        let told: Vec<&str> = data["sources"].as_array().into_iter().flatten().filter_map(|s| s.as_str()).collect();
        let amount = &data["amount"]["value"];
        if amount.as_str() != self.amount.as_deref() || told != self.sources {
            return Err(format!("the ask about {} tells {amount} from {told:?}", self.no));
        }
        Ok(())
    }
}

/// What a partner says, as the client hands it over and as the model understands it.
fn said(says: &Says) -> (Outcome, Verdict) {
    match says {
        Says::Body(body) | Says::Misdirected(body) => match Decision::parse(Bytes::from(body.clone())) {
            Ok(decision) => {
                let verdict = if decision.approve {
                    Verdict::Approve(decision.amount.clone(), decision.source.clone())
                } else {
                    Verdict::Decline(decision.reason.clone())
                };
                (Outcome::Decision(decision), verdict)
            }
            Err(bad) => (Outcome::Bad(bad), Verdict::Bad),
        },
        Says::Status(status) => (Outcome::Bad(Bad::Status(*status)), Verdict::Bad),
        Says::Unreachable => (Outcome::Unreachable(Unreachable::Reset), Verdict::Unreachable),
        Says::NotSent => (Outcome::NotSent, Verdict::Timeout),
    }
}
