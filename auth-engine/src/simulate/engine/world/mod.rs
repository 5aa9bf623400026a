//! One run: the engine on a simulated disk, clock, network and partner, and the model beside it. It drives the engine as
//! `shard/run.rs` does: inputs, asks and refusals out, timers, commit, release. After each batch it asks whether book
//! and model agree. Must never read a clock or draw a number that is not in the plan.

mod batches;
mod inputs;
mod outputs;
mod setup;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::coverage::Coverage;
use super::disk::SimulatedDisk;
use super::model::{Answer, CallTold, Desk, Key, Model, Moment, Rebuild, State, Verdict};
use super::plan::{Call, Crash, Fault, FaultKind, Message, Says, Shape, Step};
use crate::engine::{Effect, Engine, Now, Rebuilt};
use crate::partner::{Bad, Decision, Outcome, Unreachable};
use crate::shard::clock::ShardClock;
use crate::shard::handle::WriteOutcome;

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
