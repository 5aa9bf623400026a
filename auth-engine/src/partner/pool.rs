//! The connections to one partner, the asks on them and the asks that wait for one. It owns the cap, the
//! warmth and the one rule of resending: an ask goes to another connection only while no byte of it was
//! written. It must never keep an ask's deadline for the engine: past it, it only stops trying to send.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::address::Target;
use super::answer::{Answer, Decision, Outcome, Unreachable};
use super::client::{Ask, Endpoint};
use super::connect::{Connected, Dialer, Pending, Probe, Sender};
use super::exchange;
use super::sign::Secret;

/// So long after its deadline an ask's late answer is still waited for.
const LATE_WAIT: Duration = Duration::from_secs(30);
/// When asks wait and the cap is reached, an ask overdue by this gives its connection up.
const OVERDUE: Duration = Duration::from_secs(2);
/// Idle connections held ready at least, cap permitting.
const WARM: usize = 4;
/// Connections being opened at once.
const MAX_DIALING: usize = 16;
/// Asks waiting for a connection; one more is not sent.
const MAX_WAITING: usize = 4096;
/// Asks side by side on one HTTP/2 connection.
const H2_STREAMS: usize = 100;
/// Fresh connections an ask may lose before its first byte; then the partner counts as unreachable.
const MAX_TRIES: u32 = 8;
/// How long a connection may take to become reusable after its answer.
const SETTLE: Duration = Duration::from_secs(1);
/// The first pause after a failed dial; it doubles up to 512 times itself.
const BACKOFF: Duration = Duration::from_millis(50);

/// Stops a connection's driver when its last user lets go of it.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An HTTP/1.1 connection; whoever holds it is its only user.
struct H1 {
    id: u64,
    generation: u64,
    sender: http1::SendRequest<Full<Bytes>>,
    written: Rc<Cell<u64>>,
    probe: Probe,
    _driver: Driver,
}

/// An HTTP/2 connection, shared by its streams.
struct H2 {
    id: u64,
    sender: http2::SendRequest<Full<Bytes>>,
    in_flight: Cell<usize>,
    probe: Probe,
    _driver: Driver,
}

impl H2 {
    fn free_streams(&self) -> usize {
        if self.sender.is_closed() {
            return 0;
        }
        H2_STREAMS.saturating_sub(self.in_flight.get())
    }
}

/// One stream on a shared connection, counted while it lives.
struct Stream(Rc<H2>);

impl Stream {
    fn open(on: Rc<H2>) -> Self {
        on.in_flight.set(on.in_flight.get().saturating_add(1));
        Self(on)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

/// The place of one ask on a connection.
enum Seat {
    H1(H1),
    H2(Stream),
}

/// An ask on a connection.
struct Busy {
    token: u64,
    deadline: Instant,
    asked_at: Instant,
    on_h1: bool,
    /// Its outcome is told; only the connection's settling is still under way.
    told: bool,
    task: AbortHandle,
}

/// An ask without a connection.
struct Waiting {
    ask: Ask,
    taken_at: Instant,
    tries: u32,
}

type Sent = Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>>>>;

struct State {
    url: Option<String>,
    target: Result<Rc<Target>, Unreachable>,
    secrets: Rc<[Secret]>,
    max: usize,
    /// Changes with the URL: connections of an older generation are not used again.
    generation: u64,
    next: u64,
    idle: Vec<H1>,
    shared: Vec<Rc<H2>>,
    busy: HashMap<u64, Busy>,
    dialing: usize,
    /// In the order of their deadlines.
    waiting: VecDeque<Waiting>,
    /// Failed dials and unused connections lost, since the last answer.
    failures: u32,
    /// The last dial came to nothing. An idle connection that the partner closed is no such thing: many
    /// servers do so after seconds, and a burst after a quiet time must not wait for it.
    last_dial_failed: bool,
    retry_at: Instant,
    retry_set: bool,
    expirer_runs: bool,
    /// The last checkout passed over connections that may be good after all.
    look_again: bool,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn on_h1(&self) -> usize {
        self.busy.values().filter(|busy| busy.on_h1).count()
    }

    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + BACKOFF * 2_u32.pow(self.failures.saturating_sub(1).min(9));
    }

    /// A connection that is alive as far as the kernel knows, most recently used first.
    fn checkout(&mut self) -> Option<Seat> {
        if self.busy.len() >= self.max {
            return None;
        }
        let encrypted = self.target.as_ref().is_ok_and(|target| target.https);
        let mut unread = Vec::new();
        let mut free = None;
        while let Some(connection) = self.idle.pop() {
            let pending = connection.probe.pending();
            if connection.sender.is_closed() || pending == Pending::End {
                continue;
            }
            if pending == Pending::Nothing {
                free = Some(connection);
                break;
            }
            if encrypted {
                unread.push(connection);
            }
        }
        // What TLS still has to read is known after the runtime's next look at the socket.
        self.look_again |= free.is_none() && !unread.is_empty();
        self.idle.append(&mut unread);
        if let Some(connection) = free {
            return Some(Seat::H1(connection));
        }
        self.shared.retain(|connection| !connection.sender.is_closed() && connection.probe.pending() != Pending::End);
        let roomiest = self.shared.iter().max_by_key(|connection| connection.free_streams())?;
        (roomiest.free_streams() > 0).then(|| Seat::H2(Stream::open(roomiest.clone())))
    }

    /// Takes out the asks whose deadline has come.
    fn expired(&mut self, now: Instant) -> Vec<Waiting> {
        let count = self.waiting.iter().take_while(|waiting| waiting.ask.deadline <= now).count();
        self.waiting.drain(..count).collect()
    }

    fn enqueue(&mut self, waiting: Waiting) {
        let deadline = waiting.ask.deadline;
        let at = self.waiting.partition_point(|other| other.ask.deadline <= deadline);
        self.waiting.insert(at, waiting);
    }
}

/// Reports one ask's outcome to the owner.
pub(super) type Report = Rc<dyn Fn(Answer)>;

/// The pool of one partner. Lives on one thread, inside a `LocalSet`.
pub(super) struct Pool {
    partner: u32,
    dialer: Rc<Dialer>,
    report: Report,
    state: RefCell<State>,
    front_changed: Notify,
}

impl Pool {
    pub(super) fn new(partner: u32, dialer: Rc<Dialer>, report: Report) -> Rc<Self> {
        let state = State {
            url: None,
            target: Err(Unreachable::NoUrl),
            secrets: Rc::from([]),
            max: 1,
            generation: 0,
            next: 0,
            idle: Vec::new(),
            shared: Vec::new(),
            busy: HashMap::new(),
            dialing: 0,
            waiting: VecDeque::new(),
            failures: 0,
            last_dial_failed: false,
            retry_at: Instant::now(),
            retry_set: false,
            expirer_runs: false,
            look_again: false,
        };
        Rc::new(Self { partner, dialer, report, state: RefCell::new(state), front_changed: Notify::new() })
    }

    /// Takes a created or changed endpoint. Only another URL touches connections, and even then asks that
    /// are out keep theirs until they are answered.
    pub(super) fn configure(self: &Rc<Self>, endpoint: Endpoint) {
        {
            let mut state = self.state.borrow_mut();
            state.secrets = Rc::from(endpoint.secrets);
            state.max = endpoint.max_connections.max(1);
            if state.url != endpoint.url || endpoint.url.is_none() {
                state.target = match endpoint.url.as_deref().map(Target::parse) {
                    Some(Ok(target)) if self.dialer.permits(&target) => Ok(Rc::new(target)),
                    Some(Ok(_)) => Err(Unreachable::AddressForbidden),
                    Some(Err(_)) | None => Err(Unreachable::NoUrl),
                };
                state.url = endpoint.url;
                state.generation = state.generation.wrapping_add(1);
                state.idle.clear();
                state.shared.clear();
                state.dialing = 0;
                state.failures = 0;
                state.last_dial_failed = false;
            }
        }
        self.pump();
    }

    /// Takes one ask; its outcome is reported later, never from inside this call.
    pub(super) fn ask(self: &Rc<Self>, ask: Ask) {
        let now = Instant::now();
        let waiting = Waiting { ask, taken_at: now, tries: 0 };
        let full = {
            let mut state = self.state.borrow_mut();
            if state.waiting.len() < MAX_WAITING {
                state.enqueue(waiting);
                None
            } else {
                Some(waiting)
            }
        };
        match full {
            Some(waiting) => self.tell_later(vec![waiting], Outcome::NotSent),
            None => self.pump(),
        }
    }

    /// Opens connections ahead of need, a quarter of the cap, whatever failed before.
    pub(super) fn warm(self: &Rc<Self>) {
        let dials = {
            let state = self.state.borrow();
            let have = state.idle.len() + state.shared.len() + state.on_h1() + state.dialing;
            let want = (state.max / 4).max(WARM).min(state.max);
            if state.target.is_ok() && state.shared.is_empty() { want.saturating_sub(have) } else { 0 }
        };
        for _ in 0..dials.min(MAX_DIALING) {
            self.dial();
        }
    }

    /// Puts waiting asks on free connections, then sees to it that there will be more of these.
    fn pump(self: &Rc<Self>) {
        loop {
            let now = Instant::now();
            let (expired, unreachable, next) = {
                let mut state = self.state.borrow_mut();
                let expired = state.expired(now);
                match state.target.clone() {
                    Err(kind) => {
                        let all: Vec<Waiting> = state.waiting.drain(..).collect();
                        (expired, Some((all, kind)), None)
                    }
                    Ok(_) if state.waiting.is_empty() => (expired, None, None),
                    Ok(target) => {
                        let next = state.checkout().and_then(|seat| Some((seat, state.waiting.pop_front()?, target)));
                        (expired, None, next)
                    }
                }
            };
            self.tell_later(expired, Outcome::NotSent);
            if let Some((all, kind)) = unreachable {
                self.tell_later(all, Outcome::Unreachable(kind));
                return;
            }
            match next {
                Some((seat, waiting, target)) => self.send(seat, waiting, &target),
                None => break,
            }
        }
        self.evict();
        self.grow();
        self.watch_deadlines();
        if std::mem::take(&mut self.state.borrow_mut().look_again) {
            let pool = Rc::downgrade(self);
            spawn_local(async move {
                tokio::task::yield_now().await;
                if let Some(pool) = pool.upgrade() {
                    pool.pump();
                }
            });
        }
    }

    /// Hands the request to the connection, now: the bytes are written when its driver runs next.
    fn send(self: &Rc<Self>, mut seat: Seat, waiting: Waiting, target: &Target) {
        let secrets = self.state.borrow().secrets.clone();
        let on_h1 = matches!(seat, Seat::H1(_));
        let Some(request) = exchange::request(&waiting.ask, target, &secrets, !on_h1) else {
            tracing::error!(partner = self.partner, "an ask's id cannot stand in a header; it was not sent");
            return self.tell_later(vec![waiting], Outcome::NotSent);
        };
        let (sent, before): (Sent, u64) = match &mut seat {
            Seat::H1(connection) => (Box::pin(connection.sender.try_send_request(request)), connection.written.get()),
            Seat::H2(stream) => (Box::pin(stream.0.sender.clone().try_send_request(request)), 0),
        };
        let asked_at = Instant::now();
        let (token, deadline) = (waiting.ask.token, waiting.ask.deadline);
        let mut state = self.state.borrow_mut();
        let number = state.number();
        let pool = self.clone();
        let task = spawn_local(pool.exchange(number, seat, waiting, sent, before, asked_at)).abort_handle();
        state.busy.insert(number, Busy { token, deadline, asked_at, on_h1, told: false, task });
    }

    async fn exchange(
        self: Rc<Self>,
        number: u64,
        seat: Seat,
        waiting: Waiting,
        sent: Sent,
        before: u64,
        asked_at: Instant,
    ) {
        let token = waiting.ask.token;
        let patience = tokio::time::Instant::from_std(waiting.ask.deadline + LATE_WAIT);
        let response = match timeout_at(patience, sent).await {
            Err(_) => return self.lost(number, seat, token, asked_at, Outcome::Silent),
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let unsent = match &seat {
                    Seat::H1(connection) => connection.written.get() == before,
                    Seat::H2(_) => error.message().is_some(),
                };
                if !unsent {
                    return self.lost(number, seat, token, asked_at, exchange::broken(error.error()));
                }
                return self.resend(number, seat, waiting);
            }
        };
        self.state.borrow_mut().failures = 0;
        if let Some(bad) = exchange::refused_status(response.status()) {
            self.told(number, token, asked_at, Outcome::Bad(bad));
            // A small body is read off so that the connection can serve again; the outcome is told already.
            let clean = matches!(timeout(SETTLE, exchange::body(response)).await, Ok(Ok(_)));
            return self.settle(number, seat, clean).await;
        }
        let outcome = match timeout_at(patience, exchange::body(response)).await {
            Err(_) => return self.lost(number, seat, token, asked_at, Outcome::Silent),
            Ok(Err(outcome)) => return self.lost(number, seat, token, asked_at, outcome),
            Ok(Ok(body)) => match Decision::parse(body) {
                Ok(decision) => Outcome::Decision(decision),
                Err(bad) => Outcome::Bad(bad),
            },
        };
        self.told(number, token, asked_at, outcome);
        self.settle(number, seat, true).await;
    }

    /// The outcome is known and the connection is spent.
    fn lost(self: &Rc<Self>, number: u64, seat: Seat, token: u64, asked_at: Instant, outcome: Outcome) {
        drop(seat);
        self.state.borrow_mut().busy.remove(&number);
        self.tell(token, asked_at, outcome);
        self.pump();
    }

    /// No byte was written: another connection may carry it, while there is time.
    fn resend(self: &Rc<Self>, number: u64, seat: Seat, mut waiting: Waiting) {
        drop(seat);
        waiting.tries = waiting.tries.saturating_add(1);
        let spent = {
            let mut state = self.state.borrow_mut();
            state.busy.remove(&number);
            if waiting.tries < MAX_TRIES {
                state.enqueue(waiting);
                None
            } else {
                Some(waiting)
            }
        };
        if let Some(waiting) = spent {
            self.tell(waiting.ask.token, waiting.taken_at, Outcome::Unreachable(Unreachable::Reset));
        }
        self.pump();
    }

    fn told(&self, number: u64, token: u64, asked_at: Instant, outcome: Outcome) {
        if let Some(busy) = self.state.borrow_mut().busy.get_mut(&number) {
            busy.told = true;
        }
        self.tell(token, asked_at, outcome);
    }

    /// Takes the connection back into the pool once it is ready for the next ask.
    async fn settle(self: Rc<Self>, number: u64, seat: Seat, clean: bool) {
        let back = match seat {
            Seat::H1(mut connection) if clean => {
                let ready = matches!(timeout(SETTLE, connection.sender.ready()).await, Ok(Ok(())));
                ready.then_some(connection)
            }
            Seat::H1(_) | Seat::H2(_) => None,
        };
        {
            let mut state = self.state.borrow_mut();
            state.busy.remove(&number);
            if let Some(connection) = back
                && connection.generation == state.generation
                && state.idle.len() + state.on_h1() < state.max
            {
                state.idle.push(connection);
            }
        }
        self.pump();
    }

    /// At the cap, with asks waiting, gives up those that are long overdue: a tap that can still be
    /// decided is worth more than the record of a late answer.
    fn evict(self: &Rc<Self>) {
        let now = Instant::now();
        let mut evicted = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            if state.waiting.is_empty() {
                return;
            }
            let live = state.idle.len() + state.shared.len() + state.on_h1();
            if live < state.max && state.busy.len() < state.max {
                return;
            }
            let wanted = state.waiting.len();
            let mut overdue: Vec<(Instant, u64)> = state
                .busy
                .iter()
                .filter(|(_, busy)| !busy.told && busy.deadline + OVERDUE <= now)
                .map(|(number, busy)| (busy.deadline, *number))
                .collect();
            overdue.sort_unstable();
            for (_, number) in overdue.into_iter().take(wanted) {
                if let Some(busy) = state.busy.remove(&number) {
                    busy.task.abort();
                    evicted.push(busy);
                }
            }
        }
        for busy in evicted {
            let answer = self.answer(busy.token, busy.asked_at, Outcome::Silent);
            let report = self.report.clone();
            spawn_local(async move { report(answer) });
        }
    }

    /// Opens what is needed now, and a few ahead.
    fn grow(self: &Rc<Self>) {
        let now = Instant::now();
        let (dials, retry) = {
            let mut state = self.state.borrow_mut();
            if state.target.is_err() {
                return;
            }
            let on_h1 = state.on_h1();
            let live = state.idle.len() + state.shared.len() + on_h1;
            let need = if state.waiting.is_empty() {
                let streams: usize = state.shared.iter().map(|connection| connection.free_streams()).sum();
                let ahead = (state.busy.len() / 4).max(WARM);
                ahead.saturating_sub(state.idle.len() + state.dialing + streams)
            } else {
                state.waiting.len().saturating_sub(state.dialing)
            };
            let dials = need
                .min(state.max.saturating_sub(live + state.dialing))
                .min(state.max.saturating_sub(state.busy.len()))
                .min(MAX_DIALING.saturating_sub(state.dialing));
            // After failures there is a pause, except for asks whose only hope is a new connection.
            let urgent = !state.waiting.is_empty() && (live == 0 || !state.last_dial_failed);
            if dials == 0 || state.failures == 0 || now >= state.retry_at || urgent {
                (dials, None)
            } else if state.retry_set {
                (0, None)
            } else {
                state.retry_set = true;
                (0, Some(state.retry_at))
            }
        };
        for _ in 0..dials {
            self.dial();
        }
        if let Some(at) = retry {
            let pool = Rc::downgrade(self);
            spawn_local(async move {
                sleep_until(tokio::time::Instant::from_std(at)).await;
                if let Some(pool) = pool.upgrade() {
                    pool.state.borrow_mut().retry_set = false;
                    pool.pump();
                }
            });
        }
    }

    fn dial(self: &Rc<Self>) {
        let (target, generation) = {
            let mut state = self.state.borrow_mut();
            let Ok(target) = state.target.clone() else {
                return;
            };
            state.dialing += 1;
            (target, state.generation)
        };
        let pool = Rc::downgrade(self);
        let dialer = self.dialer.clone();
        spawn_local(async move {
            let begun_at = Instant::now();
            let dialled = dialer.dial(&target).await;
            if let Some(pool) = pool.upgrade() {
                pool.dialled(generation, begun_at, dialled);
            }
        });
    }

    fn dialled(self: &Rc<Self>, generation: u64, begun_at: Instant, dialled: Result<Connected, Unreachable>) {
        let mut failed = Vec::new();
        let mut kind = Unreachable::Refused;
        {
            let mut state = self.state.borrow_mut();
            if state.generation != generation {
                return;
            }
            state.dialing = state.dialing.saturating_sub(1);
            state.last_dial_failed = dialled.is_err();
            match dialled {
                Ok(connected) => self.admit(&mut state, connected),
                Err(error) => {
                    kind = error;
                    state.failed(Instant::now());
                    // With other connections alive the waiting asks may still get one of those.
                    if state.idle.is_empty() && state.shared.is_empty() && state.on_h1() == 0 {
                        let (hopeless, later): (Vec<_>, Vec<_>) =
                            state.waiting.drain(..).partition(|waiting| waiting.taken_at <= begun_at);
                        failed = hopeless;
                        state.waiting = later.into();
                    }
                }
            }
        }
        self.tell_later(failed, Outcome::Unreachable(kind));
        self.pump();
    }

    fn admit(self: &Rc<Self>, state: &mut State, connected: Connected) {
        let id = state.number();
        let Connected { sender, driver, written, probe } = connected;
        let pool = Rc::downgrade(self);
        let task = spawn_local(async move {
            driver.await;
            if let Some(pool) = pool.upgrade() {
                pool.ended(id);
            }
        });
        let driver = Driver(task.abort_handle());
        let generation = state.generation;
        match sender {
            Sender::H1(sender) => state.idle.push(H1 { id, generation, sender, written, probe, _driver: driver }),
            Sender::H2(sender) => {
                state.shared.push(Rc::new(H2 { id, sender, in_flight: Cell::new(0), probe, _driver: driver }));
            }
        }
    }

    /// A connection is over. One that was out with an ask is noticed there.
    fn ended(self: &Rc<Self>, id: u64) {
        {
            let mut state = self.state.borrow_mut();
            let before = state.idle.len() + state.shared.len();
            state.idle.retain(|connection| connection.id != id);
            state.shared.retain(|connection| connection.id != id);
            if state.idle.len() + state.shared.len() < before {
                // Counted until the next answer, so that a partner that hangs up at once is not hammered.
                state.failed(Instant::now());
            }
        }
        self.pump();
    }

    /// Runs while asks wait: at each deadline those due are reported unsent.
    fn watch_deadlines(self: &Rc<Self>) {
        {
            let mut state = self.state.borrow_mut();
            if state.waiting.is_empty() {
                return;
            }
            if state.expirer_runs {
                self.front_changed.notify_one();
                return;
            }
            state.expirer_runs = true;
        }
        let pool = self.clone();
        spawn_local(async move {
            loop {
                let front = pool.state.borrow().waiting.front().map(|waiting| waiting.ask.deadline);
                let Some(deadline) = front else { break };
                tokio::select! {
                    () = sleep_until(tokio::time::Instant::from_std(deadline)) => {}
                    () = pool.front_changed.notified() => {}
                }
                let expired = pool.state.borrow_mut().expired(Instant::now());
                pool.tell_later(expired, Outcome::NotSent);
            }
            pool.state.borrow_mut().expirer_runs = false;
        });
    }

    fn answer(&self, token: u64, asked_at: Instant, outcome: Outcome) -> Answer {
        Answer { token, partner: self.partner, outcome, asked_at, answered_at: Instant::now() }
    }

    fn tell(&self, token: u64, asked_at: Instant, outcome: Outcome) {
        (self.report)(self.answer(token, asked_at, outcome));
    }

    /// Reports from a task of its own: the owner may be in the middle of calling us.
    fn tell_later(&self, asks: Vec<Waiting>, outcome: Outcome) {
        if asks.is_empty() {
            return;
        }
        let report = self.report.clone();
        let answers: Vec<Answer> =
            asks.iter().map(|waiting| self.answer(waiting.ask.token, waiting.taken_at, outcome.clone())).collect();
        spawn_local(async move { answers.into_iter().for_each(|answer| report(answer)) });
    }
}
