//! The partner client as the shard sees it: asks in, answers out, on the shard's thread. It owns the way
//! an ask takes: plain http on this very thread, https on a thread of its own so that handshakes never
//! delay a tap. It must never block, and never call back from inside a call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::address::{AddressPolicy, Target};
use super::answer::{Answer, Outcome};
use super::connect::{Dialer, Resolver, system_roots};
use super::pool::{Pool, Report};
use super::sign::Secret;

/// Connections to one partner, when its endpoint does not say otherwise.
pub const DEFAULT_MAX_CONNECTIONS: usize = 64;
/// Asks on their way to the TLS thread; one more is not sent.
const LANE_QUEUE: usize = 16 * 1024;

/// One question to one partner.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The authorization's number, returned with the answer.
    pub token: u64,
    /// Whom to ask.
    pub partner: u32,
    /// `aut_…`, sent as `webhook-id`.
    pub webhook_id: String,
    /// The JSON body, signed as it is.
    pub body: Bytes,
    /// An ask still without a connection by then is not sent. An answer after it is reported all the same.
    pub deadline: Instant,
}

/// Where and how a partner is asked.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The `decision_url`; none makes every ask `Unreachable(NoUrl)`.
    pub url: Option<String>,
    /// The live secrets, one or (for 24 h after a rotation) two; each signs.
    pub secrets: Vec<Secret>,
    /// Bounds the connections, and the asks that are out at once.
    pub max_connections: usize,
}

/// What runs the pools of one thread.
struct Lane {
    dialer: Rc<Dialer>,
    report: Report,
    pools: RefCell<HashMap<u32, Rc<Pool>>>,
}

impl Lane {
    fn new(dialer: Dialer, report: Report) -> Self {
        Self { dialer: Rc::new(dialer), report, pools: RefCell::new(HashMap::new()) }
    }

    fn pool(&self, partner: u32) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        let new = || Pool::new(partner, self.dialer.clone(), self.report.clone());
        pools.entry(partner).or_insert_with(new).clone()
    }
}

enum Control {
    Configure(u32, Endpoint),
    Warm(u32),
}

/// The queues of the TLS thread. Dropping them ends it.
struct TlsLane {
    control: mpsc::UnboundedSender<Control>,
    asks: mpsc::Sender<Ask>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Here,
    TlsThread,
}

/// Asks partners. Not `Send`: it lives on the shard's thread and must be used inside a tokio `LocalSet`
/// whose runtime has IO and time enabled.
///
/// Every [`ask`](Self::ask) leads to exactly one [`Answer`], given to the `answers` callback on this
/// thread, never from inside a call into the client. The deadline decides nothing here: an answer after it
/// is delivered like any other, for up to 30 s, and then the ask ends as [`Outcome::Silent`].
pub struct PartnerClient {
    here: Lane,
    tls_lane: RefCell<Option<TlsLane>>,
    ways: RefCell<HashMap<u32, Way>>,
    policy: AddressPolicy,
    tls: Option<Arc<ClientConfig>>,
    resolver: Option<Resolver>,
    report: Report,
    open: Rc<Cell<usize>>,
}

impl PartnerClient {
    /// A client without partners. `tls` is how https partners are trusted, none for the system's root
    /// certificates; `answers` is called on this thread and must be cheap (push, notify).
    pub fn new(policy: AddressPolicy, tls: Option<Arc<ClientConfig>>, answers: impl Fn(Answer) + 'static) -> Self {
        Self::with_resolver(policy, tls, None, answers)
    }

    /// Like [`new`](Self::new), with another way to resolve host names than the system's.
    pub fn with_resolver(
        policy: AddressPolicy,
        tls: Option<Arc<ClientConfig>>,
        resolver: Option<Resolver>,
        answers: impl Fn(Answer) + 'static,
    ) -> Self {
        let open = Rc::new(Cell::new(0_usize));
        let counted = open.clone();
        let report: Report = Rc::new(move |answer| {
            counted.set(counted.get().saturating_sub(1));
            answers(answer);
        });
        let here = Lane::new(Dialer::new(policy, None, resolver.clone()), report.clone());
        Self {
            here,
            tls_lane: RefCell::new(None),
            ways: RefCell::new(HashMap::new()),
            policy,
            tls,
            resolver,
            report,
            open,
        }
    }

    /// Takes a created or changed endpoint and opens connections to it ahead of the first ask. With the
    /// URL unchanged nothing is dropped: secrets rotate and caps change under load.
    pub fn configure(&self, partner: u32, endpoint: Endpoint) {
        let https = endpoint.url.as_deref().and_then(|url| Target::parse(url).ok()).is_some_and(|url| url.https);
        let way = if https { Way::TlsThread } else { Way::Here };
        let before = self.ways.borrow_mut().insert(partner, way);
        if before.is_some_and(|before| before != way) {
            // The other thread's connections are let go; what is out on them is still answered.
            let nowhere = Endpoint { url: None, secrets: Vec::new(), max_connections: 1 };
            match way {
                Way::TlsThread => self.here.pool(partner).configure(nowhere),
                Way::Here => self.control(Control::Configure(partner, nowhere)),
            }
        }
        match way {
            Way::Here => self.here.pool(partner).configure(endpoint),
            Way::TlsThread => self.control(Control::Configure(partner, endpoint)),
        }
    }

    /// Asks; never blocks. The request is with its connection when this returns, if one was free: after
    /// the next yield of the thread its bytes are written.
    pub fn ask(&self, ask: Ask) {
        self.open.set(self.open.get().saturating_add(1));
        match self.ways.borrow().get(&ask.partner) {
            Some(Way::TlsThread) => {
                let refused = match self.tls_lane.borrow().as_ref() {
                    Some(lane) => lane.asks.try_send(ask).err().map(|error| match error {
                        mpsc::error::TrySendError::Full(ask) | mpsc::error::TrySendError::Closed(ask) => ask,
                    }),
                    None => Some(ask),
                };
                if let Some(ask) = refused {
                    self.not_sent(&ask);
                }
            }
            Some(Way::Here) | None => self.here.pool(ask.partner).ask(ask),
        }
    }

    /// Asks taken whose outcome was not yet reported, late ones included.
    pub fn open_asks(&self) -> usize {
        self.open.get()
    }

    /// Opens connections to the partner ahead of a burst: a quarter of its cap.
    pub fn warm(&self, partner: u32) {
        match self.ways.borrow().get(&partner) {
            Some(Way::Here) => self.here.pool(partner).warm(),
            Some(Way::TlsThread) => self.control(Control::Warm(partner)),
            None => {}
        }
    }

    fn not_sent(&self, ask: &Ask) {
        let now = Instant::now();
        let answer = Answer {
            token: ask.token,
            partner: ask.partner,
            outcome: Outcome::NotSent,
            asked_at: now,
            answered_at: now,
        };
        let report = self.report.clone();
        spawn_local(async move { report(answer) });
    }

    fn control(&self, control: Control) {
        let mut lane = self.tls_lane.borrow_mut();
        if lane.is_none() {
            *lane = self.start_tls_lane();
        }
        if let Some(lane) = lane.as_ref()
            && lane.control.send(control).is_err()
        {
            tracing::error!("the https partners' thread has ended: their asks cannot be sent; restart the engine");
        }
    }

    fn start_tls_lane(&self) -> Option<TlsLane> {
        let (control, control_in) = mpsc::unbounded_channel();
        let (asks, asks_in) = mpsc::channel(LANE_QUEUE);
        // Unbounded by type, bounded in fact: one answer for each ask taken.
        let (answer, mut answers) = mpsc::unbounded_channel::<Answer>();
        let (policy, tls, resolver) = (self.policy, self.tls.clone(), self.resolver.clone());
        let started = std::thread::Builder::new()
            .name("partner-tls".to_owned())
            .spawn(move || run_tls_lane(policy, tls, resolver, control_in, asks_in, answer));
        if let Err(error) = started {
            tracing::error!(%error, "the https partners' thread did not start: their asks cannot be sent");
            return None;
        }
        let report = self.report.clone();
        spawn_local(async move {
            while let Some(answer) = answers.recv().await {
                report(answer);
            }
        });
        Some(TlsLane { control, asks })
    }
}

fn run_tls_lane(
    policy: AddressPolicy,
    tls: Option<Arc<ClientConfig>>,
    resolver: Option<Resolver>,
    mut control: mpsc::UnboundedReceiver<Control>,
    mut asks: mpsc::Receiver<Ask>,
    answers: mpsc::UnboundedSender<Answer>,
) {
    // The shard's thread starts this one, and may have a standing of its own then.
    crate::priority::usual();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the https partners' runtime did not start: their asks cannot be sent");
            return;
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        // Reading the system's certificates takes tens of milliseconds, hence here and not on the shard.
        let tls = tls.unwrap_or_else(|| Arc::new(system_roots()));
        let report: Report = Rc::new(move |answer| {
            // The shard is gone when this fails, and with it whoever wanted to know.
            let _ = answers.send(answer);
        });
        let lane = Lane::new(Dialer::new(policy, Some(tls), resolver), report);
        loop {
            tokio::select! {
                // What was configured before an ask is in force for it.
                biased;
                next = control.recv() => match next {
                    Some(Control::Configure(partner, endpoint)) => lane.pool(partner).configure(endpoint),
                    Some(Control::Warm(partner)) => lane.pool(partner).warm(),
                    None => break,
                },
                Some(ask) = asks.recv() => lane.pool(ask.partner).ask(ask),
            }
        }
    });
}
