//! Starts, stops and rot: what the journal must give back, and what it must refuse. After each start the book is one
//! that the model had at some event from the last acknowledged one on. Must never start an engine on rotten bytes and
//! let it serve.

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::journal::archive::Shelves;
use ledger_core::journal::{JournalError, KeySource, Reader, Snapshot, list_snapshots, verify_on};
use ledger_core::snapshot;
use ledger_core::time::Timestamp;

use super::compare;
use super::model::Desk;
use super::plan::{Crash, Fault, FaultKind, Input, Message, Rot, RotKind};
use super::world::{ARCHIVE, Checkpoint, DIR, Ended, Violation, World};
use crate::engine::Engine;
use crate::shard::clock::ShardClock;

/// Starts that may fail one after the other.
const TRIES: usize = 6;

impl World {
    /// Starts the engine; `again` lets the machine fail once more, so many operations into the recovery.
    pub(super) fn start(&mut self, mut again: Option<(u32, Crash)>) -> Result<(), Violation> {
        for _ in 0..TRIES {
            let crash = again.take();
            if let Some((after, crash)) = crash {
                self.disk.arm(FaultKind::Crash, after, crash.salt.wrapping_add(1));
            }
            let started = self.try_start()?;
            let fired = self.disk.disarm();
            if started {
                return Ok(());
            }
            let Some((_, crash)) = crash.filter(|_| fired.is_some()) else {
                return Err("the start failed, and nothing was wrong with the disk".to_owned());
            };
            self.coverage.hit("fault", "two crashes in a row");
            self.coverage.hit("fault", "power failed within a recovery");
            self.die(Crash { power: true, salt: crash.salt.wrapping_add(2) });
        }
        Err("the engine does not start".to_owned())
    }

    /// One start. False when the machine went off meanwhile.
    fn try_start(&mut self) -> Result<bool, Violation> {
        let opened = Engine::open(self.options(), self.keys(), self.policy(), self.settings());
        let (mut engine, recovery) = match opened {
            Ok(opened) => opened,
            Err(_) if self.disk.is_off() => return Ok(false),
            Err(error) => return Err(format!("the start is refused: {error}")),
        };
        if self.disk.is_off() {
            return Ok(false);
        }
        if recovery.snapshot.is_some() {
            self.coverage.hit("fault", "started from a snapshot");
        }
        if recovery.cut.is_some() {
            self.coverage.hit("fault", "torn tail cut");
        }
        self.recovered(engine.book())?;
        let last_at = Timestamp(recovery.last_at.max(0));
        self.clock = ShardClock::start(last_at, self.mono + self.wall_ahead, self.mono);
        let (now, moment) = self.now();
        // What the start decides by itself, event by event: the machine may fail in between.
        let mut model = self.model.clone();
        let mut steps = Vec::new();
        model.started(moment.wall);
        steps.push(model.clone());
        while model.links.len() < self.settings().links.len() {
            model.link_named(moment.wall);
            steps.push(model.clone());
        }
        for no in model.pending() {
            model.interrupted(no, moment.wall);
            steps.push(model.clone());
        }
        let steps = steps.into_iter().map(|model| Checkpoint { seq: model.seq, model, hash: None });
        self.checkpoints.extend(steps);
        let done = engine.recover(now, "simulated");
        if self.disk.is_off() {
            return Ok(false);
        }
        let orphans = done.map_err(|error| format!("the recovery failed: {error}"))?;
        if orphans != self.model.pending().len() {
            return Err(format!("{orphans} orphans were decided, the model has {}", self.model.pending().len()));
        }
        if let Some(file) = self.disk.unsafe_file(".segment") {
            return Err(format!("the engine serves, and {file} is not safe on the disk"));
        }
        self.model = model;
        if let Some(last) = self.checkpoints.pop() {
            self.checkpoints = vec![last];
        }
        self.desk = Desk::new(self.most_in_flight(), self.shape.max_asks);
        self.engine = Some(engine);
        self.agree()?;
        Ok(true)
    }

    /// The recovered book must be one of those that may be.
    fn recovered(&mut self, book: &Book) -> Result<(), Violation> {
        let acknowledged = self.checkpoints.first().map_or(0, |first| first.seq);
        let found = self.checkpoints.iter().find(|checkpoint| checkpoint.seq == book.last_seq());
        let Some(found) = found.cloned() else {
            let seq = book.last_seq();
            return Err(if seq < acknowledged {
                format!("events up to {acknowledged} were acknowledged, and after the crash there are only {seq}")
            } else {
                format!("after the crash there are {seq} events: half of an input, or what never was")
            });
        };
        if found.hash.is_some_and(|hash| hash != book.state_hash()) {
            return Err(format!("the replay up to event {} has another state hash than the live book", found.seq));
        }
        book.check().map_err(|violation| format!("after the replay an invariant is broken: {violation}"))?;
        self.model = found.model.clone();
        if let Some(difference) = compare::differs(book, &self.model) {
            return Err(format!("after the replay {difference}"));
        }
        // From here on no less may ever be found again: it was written once more and synced.
        self.checkpoints = vec![found];
        Ok(())
    }

    /// A clean stop.
    pub(super) fn stop(&mut self, inputs: &[Input]) -> Result<(), Violation> {
        self.coverage.hit("fault", "clean stop");
        self.engine()?.drain();
        self.desk.draining = true;
        if self.inputs(inputs, 200, false)? == Ended::Died {
            return Err("the engine stopped, and nothing was wrong with its disk".to_owned());
        }
        let (now, moment) = self.now();
        self.engine()?.stop(now);
        self.model.stopped(moment.wall);
        self.progressed(1)?;
        if self.close_batch(200, false)? == Ended::Died {
            return Err("the engine stopped, and nothing was wrong with its disk".to_owned());
        }
        self.die(Crash { power: false, salt: 0 });
        self.start(None)
    }

    /// Synced bytes change. While the engine runs it may serve repeats of what is whole, and nothing else of what it
    /// reads; the next start must refuse, with the place.
    pub(super) fn rot(&mut self, rot: Rot, repeats: &[Message]) -> Result<(), Violation> {
        if repeats.is_empty() {
            // Everything that is there is synced after a start.
            self.die(Crash { power: true, salt: rot.salt });
            self.start(None)?;
        }
        let Some(rotten) = self.disk.rot(rot) else { return Ok(()) };
        let of_snapshot = rotten.place.contains(".snapshot");
        if !repeats.is_empty() {
            self.rotten = true;
            self.coverage.hit("fault", "rot while running");
            let inputs: Vec<Input> = repeats.iter().cloned().map(Input::Message).collect();
            let ended = self.inputs(&inputs, 200, false)?;
            if ended == Ended::Fine {
                self.inputs(&[], 200, false)?;
            }
            self.rotten = false;
        }
        self.coverage.hit(
            "fault",
            match rot.kind {
                RotKind::Flip => "rot: bit flipped",
                RotKind::Misdirected => "rot: misdirected write",
                RotKind::StaleSector => "rot: stale sector",
            },
        );
        self.die(Crash { power: false, salt: rot.salt });
        let place = rotten.place.clone();
        match verify_on(&*self.journal_disk(), Self::dir(), KeySource::absent(), &mut |_| Ok(())) {
            Ok(_) if !of_snapshot => return Err(format!("rot in {place} is not found by a verification")),
            Err(error) if !error.to_string().contains("0000") => {
                return Err(format!("rot in {place} is refused without its place: {error}"));
            }
            Ok(_) | Err(_) => {}
        }
        // A start reads no segment that its snapshot covers, and passes over a snapshot that is not whole. Should it
        // start, then with nothing missing.
        match Engine::open(self.options(), self.keys(), self.policy(), self.settings()) {
            Ok((_, recovery)) if recovery.snapshot.is_none() && !of_snapshot => {
                return Err(format!("rot in {place} is not found by a start"));
            }
            Ok((engine, _)) => {
                self.coverage.hit("fault", "rot behind a snapshot");
                self.recovered(engine.book())
                    .map_err(|what| format!("with rot in {place} a start is served: {what}"))?;
            }
            Err(_) => {}
        }
        self.die(Crash { power: false, salt: rot.salt });
        self.disk.heal(&rotten);
        self.start(None)
    }

    /// A snapshot of the closed segments, and the archive of what even the one before it covers. A failure of the disk
    /// is no harm: there is no snapshot then.
    pub(super) fn snapshot(&mut self, fault: Option<Fault>) -> Result<(), Violation> {
        if let Some(fault) = fault {
            self.disk.arm(fault.kind, fault.after, fault.crash.salt);
        }
        let direct = self.shape.direct;
        let reader = self.engine()?.journal().reader();
        let done = snapshot::make(&reader, direct, &mut |_| true).and_then(|made| {
            self.coverage.add("fault", "snapshot made", u64::from(made.is_some()));
            self.archive(&reader)
        });
        if self.disk.is_off() {
            return self.after(Ended::Died, fault);
        }
        match done {
            Ok(()) => {}
            Err(_) if self.disk.fired().is_some() => self.coverage.hit("fault", "snapshot failed"),
            Err(error) => return Err(format!("no snapshot can be made: {error}")),
        }
        self.after(Ended::Fine, fault)
    }

    fn archive(&mut self, reader: &Reader) -> Result<(), JournalError> {
        if !self.shape.archives {
            return Ok(());
        }
        let shelves = Shelves::new(std::sync::Arc::new(self.disk.clone()), DIR, ARCHIVE);
        let kept = list_snapshots(reader.disk(), reader.dir())?;
        let Some((_, oldest)) = kept.get(1) else { return Ok(()) };
        let last = Snapshot::open(reader.disk(), oldest)?.head().segment;
        for segment in 1..=last {
            let archived = shelves.archive(segment, &mut |_| true)?;
            self.coverage.add("fault", "segment archived", u64::from(archived));
        }
        Ok(())
    }

    /// The end of a run: everything is read once more by somebody who only reads, and is what the live book was.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        self.quiet_batch()?;
        let hash = self.engine()?.book().state_hash();
        self.die(Crash { power: true, salt: self.seed });
        let mut book = Book::default();
        let mut words: Vec<&'static str> = Vec::new();
        let mut fold = |record: ledger_core::journal::Record<'_>| {
            let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
            words.push(event.word());
            book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())
        };
        verify_on(&*self.journal_disk(), Self::dir(), self.keys(), &mut fold)
            .map_err(|e| format!("at the end: {e}"))?;
        words.into_iter().for_each(|word| self.coverage.hit("event", word));
        if book.state_hash() != hash {
            return Err("at the end a replay has another state hash than the live book".to_owned());
        }
        self.trace.update(&hash);
        Ok(())
    }
}
