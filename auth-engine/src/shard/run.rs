//! The loop: take all that is ready, decide and apply each, let ready sockets join, make the block durable once,
//! release. One thread; whatever may block but the sync itself happens elsewhere.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger_core::book::Book;
use ledger_core::event::field;
use ledger_core::journal::JournalError;
use ledger_core::keys::Nonce;
use ledger_core::time::Timestamp;
use tokio::sync::mpsc;

use super::clock::{ShardClock, instant_at, mono_us, wall_us};
use super::handle::Request;
use super::haste::Haste;
use super::inbox::Inbox;
use super::meter::Meter;
use super::publish::Publisher;
use super::rebuilds::Rebuilds;
use super::traces::Steps;
use crate::engine::{Decoded, Effect, Engine, Inbound, PartnerAnswer};
use crate::partner::{AddressPolicy, Endpoint, PartnerClient, Secret};
use crate::priority::Standing;
use crate::rest::Calls;
use crate::switch::PollClock;
use crate::switch::{Bound, Reject, SwitchHandle};

/// Events of one batch at most; the rest waits for the next, so that a flood cannot delay the sync for ever.
const FRAMES_PER_BATCH: usize = 4_096;
/// Frames of one batch when most of them are refused, which costs the journal nothing: a queue that is being shed
/// must be shed faster than it grows.
const REFUSED_PER_BATCH: usize = 32_768;
/// Frames decoded before the first of them is decided: enough for their waits for memory to overlap.
const GROUP: usize = 16;
/// Requests of the sidecar in one batch at most: REST must not take a tap's time.
const REQUESTS_PER_BATCH: usize = 16;
/// Frames that wait for their turn at most before sockets are left alone: more stay with their senders.
const WAITING: usize = 65_536;
/// Calls of the sidecar at work, above which the thread must expect to wait for a processor.
const CALLS_QUIET: usize = 4;
/// Turns of the runtime in which sockets are read on behind a full batch.
const TURNS_FULL: usize = 256;
/// Turns of the runtime in a batch that more than one frame joined.
const TURNS_BUSY: usize = 6;

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The journal cannot be written any more: nothing may be acknowledged.
    #[error("{0}; nothing is acknowledged any more, the engine ends")]
    Journal(#[from] JournalError),
    /// An invariant is broken.
    #[error("{0}; nothing is acknowledged any more, the engine ends: run `auth-engine journal verify`")]
    Broken(String),
    /// The runtime or the sockets could not be set up.
    #[error("the shard's thread cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// What the loop needs besides the engine and its sockets.
pub struct Surroundings {
    /// Ages of frames.
    pub poll_clock: PollClock,
    /// How much the sidecar works.
    pub calls: Arc<Calls>,
    /// The sidecar's requests.
    pub requests: mpsc::Receiver<Request>,
    /// Balances and the read model.
    pub publisher: Publisher,
    /// Metrics.
    pub meter: Meter,
    /// The thread that reads old answers.
    pub rebuilds: Rebuilds,
    /// Resolves when the process is asked to stop.
    pub stop: tokio::sync::watch::Receiver<bool>,
    /// How long a stop waits for open asks.
    pub drain_timeout: Duration,
    /// Where partners may be.
    pub address_policy: AddressPolicy,
    /// Connections to one partner.
    pub max_connections: usize,
    /// The thread may take a real-time priority while it is busy.
    pub realtime: bool,
    /// Bytes of a batch, after which it is made durable.
    pub max_batch_bytes: usize,
}

struct Shard {
    engine: Engine,
    clock: ShardClock,
    inbox: Rc<Inbox>,
    switch: SwitchHandle,
    client: PartnerClient,
    around: Surroundings,
    effects: Vec<Effect>,
    /// Frames that were decoded and are decided next.
    group: Vec<(Decoded, Steps)>,
    standing: Standing,
    haste: Haste,
    /// When the next old webhook secret ends and its partner must be told anew how to sign.
    secret_ends: Option<Timestamp>,
}

/// Runs the shard until it is asked to stop. Must be called inside a `LocalSet` on a current-thread runtime.
///
/// # Errors
/// See [`Stopped`].
pub async fn run(engine: Engine, clock: ShardClock, bound: Bound, around: Surroundings) -> Result<(), Stopped> {
    let inbox = Rc::new(Inbox::default());
    let sink: Rc<dyn crate::switch::Sink> = inbox.clone();
    let switch = bound.start(sink, around.poll_clock.clone())?;
    let answers = inbox.clone();
    let client = PartnerClient::new(around.address_policy, None, move |answer| answers.answer(answer));
    let standing = Standing::new(around.realtime);
    let mut shard = Shard {
        engine,
        clock,
        inbox,
        switch,
        client,
        around,
        effects: Vec::new(),
        group: Vec::new(),
        standing,
        haste: Haste::default(),
        secret_ends: None,
    };
    for partner in 0..u32::try_from(shard.engine.book().partners().len()).unwrap_or(u32::MAX) {
        shard.configure(partner);
    }
    shard.publish();
    shard.serve().await
}

impl Shard {
    async fn serve(&mut self) -> Result<(), Stopped> {
        let mut draining: Option<Instant> = None;
        loop {
            let woken = self.wait(draining).await;
            if matches!(woken, Woken::Stop) && draining.is_none() {
                tracing::info!("stopping: no new connections, new taps are declined");
                self.engine.drain();
                let now = self.clock.now(mono_us(Instant::now()));
                self.engine.sign_off(now);
                self.switch.stop_accepting();
                draining = Some(Instant::now() + self.around.drain_timeout);
            }
            self.batch(woken).await?;
            if let Some(until) = draining
                && (self.is_idle() || Instant::now() >= until)
            {
                return self.finish(until).await;
            }
        }
    }

    /// Nobody is waited for any more, neither partners nor answers to our own requests.
    fn is_idle(&self) -> bool {
        self.engine.open_asks() == 0 && self.engine.open_requests() == 0 && self.inbox.is_empty()
    }

    /// Waits until something is ready or due.
    async fn wait(&mut self, draining: Option<Instant>) -> Woken {
        if !self.inbox.is_empty() || self.engine.needs_commit() {
            // Batches that follow each other without a pause must not starve sockets, partners and the stop signal.
            self.around.poll_clock.turn().await;
            let stop = draining.is_none() && *self.around.stop.borrow();
            return if stop { Woken::Stop } else { Woken::Inbox };
        }
        let now = self.clock.now(mono_us(Instant::now()));
        self.around.meter.flush(Instant::now());
        let timer = self.engine.next_timer(now).map(instant_at);
        let due = [timer, draining, self.around.meter.next_flush(), self.around.publisher.next_due()]
            .into_iter()
            .flatten()
            .min();
        let sleep = async {
            match due {
                Some(when) => tokio::time::sleep_until(when.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.inbox.filled() => Woken::Inbox,
            request = self.around.requests.recv() => request.map_or(Woken::Stop, Woken::Request),
            Some(rebuilt) = self.around.rebuilds.done.recv() => Woken::Rebuilt(rebuilt),
            () = stopped(&mut self.around.stop), if draining.is_none() => Woken::Stop,
            () = sleep => Woken::Timer,
        }
    }

    /// One batch: everything that is ready, one sync, everything it releases.
    async fn batch(&mut self, woken: Woken) -> Result<(), Stopped> {
        let began = Instant::now();
        if self.clock.wants_look(mono_us(began))
            && let Some(step) = self.clock.look(wall_us(), mono_us(began))
        {
            tracing::warn!(step_us = step.0, "the wall clock stepped; shard time does not follow");
            self.around.meter.clock_step();
        }
        match woken {
            Woken::Request(request) => {
                let now = self.clock.now(mono_us(began));
                self.engine.handle_request(request, now);
            }
            Woken::Rebuilt(rebuilt) => {
                let now = self.clock.now(mono_us(began));
                self.engine.handle_rebuilt(rebuilt, now);
            }
            Woken::Inbox | Woken::Timer | Woken::Stop => {}
        }
        self.end_old_secrets();
        let frames = self.gather().await;
        self.standing.batch(frames > 1 || self.around.calls.at_work() > CALLS_QUIET);
        if frames <= 1 {
            self.join_answer().await;
        }
        let due = Instant::now();
        let now = self.clock.now(mono_us(due));
        self.engine.gathered(!self.inbox.is_empty(), now);
        self.engine.handle_timers(now);
        if !self.engine.progress().concluded.is_empty() {
            self.around.meter.concluded(&mut self.engine, due, due, Instant::now());
        }
        self.commit()?;
        // Everything applied is durable now. Balances first: who reads one after a reply must see what it did.
        self.publish();
        let now = self.clock.now(mono_us(Instant::now()));
        self.engine.release(now);
        self.carry_out();
        self.switch.flush();
        self.around.meter.written();
        self.engine.clear_replies();
        self.around.meter.read(&mut self.engine);
        Ok(())
    }

    /// Decides what is ready. Between rounds the runtime turns, so that asks get on the wire before the sync and
    /// sockets that became ready join the batch.
    async fn gather(&mut self) -> usize {
        let mut frames = 0;
        let mut requests = 0;
        let mut turns = 0;
        loop {
            let mut took = 0;
            let mut last = Instant::now();
            let before = self.engine.journal().open_events();
            while self.decode_group(&mut last) {
                took += self.decide_group(&mut last);
                if self.engine.journal().open_events() >= FRAMES_PER_BATCH
                    || frames + took >= REFUSED_PER_BATCH
                    || self.engine.journal().open_bytes() >= self.around.max_batch_bytes
                {
                    break;
                }
            }
            while let Some(event) = self.inbox.next_event() {
                let now = self.clock.now(mono_us(Instant::now()));
                self.engine.handle_link(event, now);
            }
            while let Some(answer) = self.inbox.next_answer() {
                let resumed = Instant::now();
                let now = self.clock.now(mono_us(resumed));
                let answered = answer.answered_at;
                self.haste.answered(answered.saturating_duration_since(answer.asked_at));
                let answered_us = mono_us(answered);
                let answer =
                    PartnerAnswer { no: answer.token, partner: answer.partner, outcome: answer.outcome, answered_us };
                self.engine.handle_answer(answer, now);
                self.around.meter.concluded(&mut self.engine, answered, resumed, Instant::now());
                took += 1;
            }
            while requests < REQUESTS_PER_BATCH
                && let Ok(request) = self.around.requests.try_recv()
            {
                let now = self.clock.now(mono_us(Instant::now()));
                self.engine.handle_request(request, now);
                requests += 1;
            }
            while let Ok(rebuilt) = self.around.rebuilds.done.try_recv() {
                let now = self.clock.now(mono_us(Instant::now()));
                self.engine.handle_rebuilt(rebuilt, now);
            }
            frames += took;
            let asked = self.send_asks();
            let full = self.engine.journal().open_events() >= FRAMES_PER_BATCH
                || frames >= REFUSED_PER_BATCH
                || self.engine.journal().open_bytes() >= self.around.max_batch_bytes;
            // A lone tap does not wait for company; a busy batch does, a few turns, while company comes.
            let company = frames > 1 && took > 0 && turns < TURNS_BUSY;
            if full {
                self.read_on().await;
                return frames;
            }
            if !(asked || company) {
                return frames;
            }
            // What is only refused waits for no disk, and delays none.
            turns += usize::from(self.engine.journal().open_events() > before);
            self.around.poll_clock.turn().await;
        }
    }

    /// While nobody waits for the batch but partners that were asked, and these usually answer sooner than a sync takes,
    /// their answers join it: one sync then makes hold and decision durable. Only for a lone tap: with company around,
    /// the next batch's answers share its sync anyway, and looking again and again takes time from them.
    async fn join_answer(&mut self) {
        let Some(patience) = self.haste.patience() else { return };
        let until = Instant::now() + patience;
        while self.engine.waits_for_partners_only() && Instant::now() < until {
            self.around.poll_clock.turn().await;
            if !self.inbox.is_empty() {
                self.gather().await;
            }
        }
    }

    /// Takes in what waits in the sockets behind a full batch: in the kernel a queue grows unseen, here it is known how
    /// old it is, and what grows too old is refused.
    async fn read_on(&mut self) {
        for _ in 0..TURNS_FULL {
            let before = self.inbox.waiting();
            if before >= WAITING {
                return;
            }
            self.around.poll_clock.turn().await;
            if self.inbox.waiting() == before {
                return;
            }
        }
    }

    /// Decodes a few of the frames that are ready, so that what they need of the book is fetched together. False when
    /// there is none.
    fn decode_group(&mut self, last: &mut Instant) -> bool {
        self.group.clear();
        while self.group.len() < GROUP
            && let Some(frame) = self.inbox.next_frame()
        {
            let (since, begun) = (frame.since, *last);
            let inbound = Inbound {
                link: frame.link,
                conn: frame.conn,
                header: frame.header,
                frame: frame.frame,
                since_us: mono_us(since),
            };
            let Some(message) = self.engine.decode(inbound) else { continue };
            *last = Instant::now();
            self.group.push((message, Steps { since, begun, decoded: *last, decided: *last }));
        }
        !self.group.is_empty()
    }

    /// Decides what [`Shard::decode_group`] took, in its order; how many.
    fn decide_group(&mut self, last: &mut Instant) -> usize {
        let mut group = std::mem::take(&mut self.group);
        if group.len() > 1 {
            self.engine.warm(group.iter().map(|(message, _)| message));
        }
        for (message, steps) in &mut group {
            let now = self.clock.now(mono_us(*last));
            self.engine.handle(message, now);
            *last = Instant::now();
            steps.decided = *last;
            self.around.meter.decided(&mut self.engine, steps);
        }
        self.group = group;
        self.group.len()
    }

    /// Puts asks and refusals on the wire; they wait for no disk. True when a partner was asked.
    fn send_asks(&mut self) -> bool {
        let mut asked = None;
        self.engine.take_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Ask(ask) => {
                    let at = *asked.get_or_insert_with(Instant::now);
                    self.around.meter.asked(ask.token, at);
                    self.client.ask(ask);
                }
                Effect::SendBytes { conn, header, reply } => {
                    self.switch.send(conn, &header, &reply);
                }
                Effect::Cut(conn) => self.switch.cut(conn, Reject::EchoTimeout),
                // Everything else is parked until a release, so none of it comes here.
                other => tracing::error!(?other, "an effect left before its release"),
            }
        }
        self.switch.flush();
        asked.is_some()
    }

    fn commit(&mut self) -> Result<(), Stopped> {
        if let Some(broken) = self.engine.broken() {
            return Err(Stopped::Broken(broken.to_string()));
        }
        if !self.engine.needs_commit() {
            return Ok(());
        }
        let journal = self.engine.journal();
        let (events, before) =
            (journal.open_events(), journal.stats().bytes.load(std::sync::atomic::Ordering::Relaxed));
        let began = Instant::now();
        let durable = journal.commit()?;
        let bytes = journal.stats().bytes.load(std::sync::atomic::Ordering::Relaxed).saturating_sub(before);
        self.haste.synced(began.elapsed());
        self.around.meter.synced(began, events, bytes);
        self.around.publisher.durable(durable);
        Ok(())
    }

    /// Does what the release allowed.
    fn carry_out(&mut self) {
        self.engine.take_effects(&mut self.effects);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { conn, header, reply, stamp } => {
                    let sent = self.switch.send(conn, &header, self.engine.reply_bytes(&reply));
                    if let Some(stamp) = stamp.filter(|_| sent) {
                        self.around.meter.leaves(stamp);
                    }
                }
                Effect::SendBytes { conn, header, reply } => {
                    self.switch.send(conn, &header, &reply);
                }
                Effect::Cut(conn) => self.switch.cut(conn, Reject::EchoTimeout),
                Effect::Ask(ask) => {
                    self.around.meter.asked(ask.token, Instant::now());
                    self.client.ask(ask);
                }
                Effect::Rebuild(job) => {
                    if let Err(job) = self.around.rebuilds.submit(job) {
                        self.engine.drop_rebuild(&job);
                    }
                }
                // A caller that has gone away does not need its answer.
                Effect::Answer(to, outcome) => drop(to.send(outcome)),
                Effect::Remembered(to) => drop(to.send(())),
                Effect::Recalled(to, outcome) => drop(to.send(outcome)),
                Effect::Query(query) => {
                    let now = self.clock.now(mono_us(Instant::now())).wall;
                    query(self.engine.book(), now);
                }
                Effect::Trace(query) => query(self.engine.book(), self.around.meter.traces()),
                Effect::Configure(partner) => self.configure(partner),
            }
        }
        self.effects = effects;
    }

    /// Tells the client where a partner is asked and with which secrets it signs.
    fn configure(&mut self, partner: u32) {
        let book = self.engine.book();
        let Some(terms) = book.partner(partner) else { return };
        let now = self.clock.now(mono_us(Instant::now())).wall;
        let previous = terms.previous_secret.as_ref().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
        let secrets = [Some(&terms.secret), previous]
            .into_iter()
            .flatten()
            .filter_map(|secret| {
                let nonce = Nonce { epoch: secret.epoch, seq: secret.seq, field: field::WEBHOOK_SECRET };
                let bytes = self.engine.keyring().open(nonce, &secret.sealed).ok()?;
                Secret::from_bytes(&bytes).ok()
            })
            .collect();
        let endpoint =
            Endpoint { url: terms.decision_url.clone(), secrets, max_connections: self.around.max_connections };
        self.client.configure(partner, endpoint);
    }

    /// Old webhook secrets whose overlap is over stop signing.
    fn end_old_secrets(&mut self) {
        let now = self.clock.now(mono_us(Instant::now())).wall;
        if self.secret_ends.is_some_and(|ends| ends <= now) {
            self.secret_ends = None;
            for partner in 0..u32::try_from(self.engine.book().partners().len()).unwrap_or(u32::MAX) {
                self.configure(partner);
            }
        }
    }

    fn publish(&mut self) {
        let publisher = &mut self.around.publisher;
        publisher.grow(self.engine.book());
        self.engine.take_touched(|book: &Book, source| publisher.publish(book, source));
    }

    /// The last words of a clean stop.
    async fn finish(&mut self, until: Instant) -> Result<(), Stopped> {
        let now = self.clock.now(mono_us(Instant::now()));
        self.engine.stop(now);
        self.commit()?;
        self.publish();
        self.engine.release(now);
        self.carry_out();
        let left = until.saturating_duration_since(Instant::now());
        self.switch.settle(left.min(Duration::from_secs(1))).await;
        self.around.meter.written();
        self.around.meter.read(&mut self.engine);
        Ok(())
    }
}

enum Woken {
    Inbox,
    Request(Request),
    Rebuilt(crate::engine::Rebuilt),
    Timer,
    Stop,
}

async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    // A sender that is gone means that nobody will ask: wait for ever, the sidecar's queue ends the loop then.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
