//! The switch: listeners, dialled links and connections of the card network links, on the shard's thread.
//!
//! It hands whole frames to a [`Sink`] and takes reply bytes back. It must never decode a message, decide
//! anything, or block: [`SwitchHandle::send`] only queues, [`SwitchHandle::flush`] writes what sockets take.
//!
//! Calling order: [`Switch::bind`] (fails when an address is taken), [`Bound::start`] inside a
//! `tokio::task::LocalSet`, then [`SwitchHandle::send`] and [`SwitchHandle::flush`] for each batch of replies.

mod clock;
mod connection;
mod dial;
mod frames;
mod stream;
mod tls;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use clock::PollClock;
pub use frames::{Frame, FrameCodec, FrameError, Reject, write_frame};
pub use tls::{Handshakes, TlsError};

use crate::config::{LinkConfig, Opening};
use crate::telemetry::names;
use clock::Backlog;
use connection::{Connection, Reader, Refused};
use stream::Stream;
use tls::{Certificates, Shake, Shaken};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long a link without free file descriptors waits for one of its connections to close before it tries again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// One connection, for as long as the process runs: a slot is used again, its number with another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// A connection that no socket stands behind: for whoever drives the engine without the switch.
    pub const fn detached(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }
}

/// One whole frame from a link.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Index into the links given to [`Switch::bind`].
    pub link: usize,
    /// Where the reply goes.
    pub conn: ConnId,
    /// The message, without prefix and header; never empty. It shares the read buffer: copy what has to
    /// outlive the reply.
    pub frame: Bytes,
    /// The `header_bytes` to be echoed with the reply.
    pub header: Bytes,
    /// The frame's age counts from here: the earliest moment it can have been in the kernel.
    pub since: Instant,
}

/// Who takes what the links bring. Called on the shard's thread, never while the switch holds a borrow: an
/// implementation may call [`SwitchHandle::send`] and [`SwitchHandle::flush`] from inside.
pub trait Sink {
    /// A whole frame.
    fn frame(&self, inbound: Inbound);
    /// A connection is open: accepted, or dialled by us.
    fn opened(&self, link: usize, conn: ConnId, peer: SocketAddr);
    /// A connection is gone; nothing sent to it arrives any more.
    fn closed(&self, conn: ConnId);
    /// Nothing came on a connection within its link's `echo_interval`. Told once until something comes.
    fn quiet(&self, _link: usize, _conn: ConnId) {}
    /// Bytes were refused or a connection cut. Already counted in `auth_frames_rejected_total`.
    fn rejected(&self, link: usize, reason: &'static str);
}

/// A link cannot begin as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address could not be listened on.
    #[error("link {link:?} cannot listen on {listen}: {source}; {hint}")]
    Listen {
        /// The link's name.
        link: String,
        /// The address.
        listen: SocketAddr,
        /// What to do.
        hint: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Its certificates cannot be used.
    #[error("link {link:?}: {source}")]
    Tls {
        /// The link's name.
        link: String,
        /// What is wrong with which file.
        source: TlsError,
    },
    /// The thread of the handshakes cannot start.
    #[error("no thread for TLS handshakes: {0}; raise the limit of threads")]
    Thread(io::Error),
}

impl From<BindError> for crate::cli::Failure {
    fn from(error: BindError) -> Self {
        Self::usage(error.to_string())
    }
}

/// The card network side of the engine.
#[derive(Debug, Clone, Copy)]
pub struct Switch;

/// Links that hold their addresses and do not accept yet.
#[derive(Debug)]
pub struct Bound {
    links: Vec<LinkConfig>,
    /// One for each link that listens, with the moment from which peers could wait in it.
    listeners: Vec<Option<(std::net::TcpListener, Instant)>>,
    /// When any link has TLS.
    handshakes: Option<Handshakes>,
}

impl Switch {
    /// Reads the certificates of a link with TLS, as [`Switch::bind`] does, and keeps nothing.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn check_certificates(link: &LinkConfig) -> Result<(), BindError> {
        certificates(link).map(drop)
    }

    /// Takes every link's address and reads every certificate, so that what is taken or damaged is known before
    /// anything else starts. Peers that connect before [`Bound::start`] wait in the kernel.
    ///
    /// # Errors
    /// An address is in use, not of this machine, or not allowed; a certificate cannot be used; exit code 2.
    pub async fn bind(links: &[LinkConfig]) -> Result<Bound, BindError> {
        let certificates: Vec<_> = links.iter().map(certificates).collect::<Result<_, _>>()?;
        let handshakes = certificates.iter().any(Option::is_some).then(|| Handshakes::start(certificates));
        let mut listeners = Vec::with_capacity(links.len());
        for link in links {
            let Opening::Listen(address) = link.opening else {
                listeners.push(None);
                continue;
            };
            let since = Instant::now();
            let listener = listen(address).map_err(|source| BindError::Listen {
                link: link.name.clone(),
                listen: address,
                hint: match source.kind() {
                    io::ErrorKind::AddrInUse => "stop what uses it or set another `listen`",
                    io::ErrorKind::AddrNotAvailable => "set a `listen` address of this machine",
                    io::ErrorKind::PermissionDenied => "set a port from 1024 up or allow this one",
                    _ => "set another `listen`",
                },
                source,
            })?;
            listeners.push(Some((listener, since)));
        }
        let handshakes = handshakes.transpose().map_err(BindError::Thread)?;
        Ok(Bound { links: links.to_vec(), listeners, handshakes })
    }
}

fn certificates(link: &LinkConfig) -> Result<Option<Certificates>, BindError> {
    let read = link.tls.as_ref().map(|tls| Certificates::read(&link.name, tls)).transpose();
    read.map_err(|source| BindError::Tls { link: link.name.clone(), source })
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Bound {
    /// Name and address of every link that listens, in order; with port 0 the port that was taken.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.links
            .iter()
            .zip(&self.listeners)
            .filter_map(|(link, listener)| {
                let (listener, _) = listener.as_ref()?;
                Some((link.name.clone(), listener.local_addr().ok()?))
            })
            .collect()
    }

    /// The TLS handshakes, when any link has TLS: to have certificates read again at once.
    #[must_use]
    pub fn handshakes(&self) -> Option<Handshakes> {
        self.handshakes.clone()
    }

    /// Starts to accept and to connect. Must be called inside a `LocalSet` on the thread that owns the sink.
    ///
    /// # Errors
    /// The runtime cannot watch a listener.
    pub fn start(self, sink: Rc<dyn Sink>, clock: PollClock) -> io::Result<SwitchHandle> {
        let none = || self.links.iter().map(|_| Cell::new(0)).collect();
        let (open, shaking) = (none(), none());
        let gauges: Vec<_> = self.links.iter().map(|link| names::link_connections(&link.name)).collect();
        gauges.iter().for_each(|gauge| gauge.set(0.0));
        let shared = Rc::new(Shared {
            links: self.links,
            sink,
            clock,
            table: RefCell::new(Table::default()),
            listed: RefCell::new(Vec::new()),
            open,
            shaking,
            handshakes: self.handshakes,
            stopping: Cell::new(false),
            told_handshake: Cell::new(None),
            gauges,
            freed: Notify::new(),
        });
        let mut acceptors = Vec::with_capacity(self.listeners.len());
        for (link, listener) in self.listeners.into_iter().enumerate() {
            let shared = Rc::clone(&shared);
            acceptors.push(match (listener, shared.link(link).opening.clone()) {
                (Some((listener, since)), _) => {
                    shared.admit_waiting(link, &listener, since);
                    let backlog = Backlog::new(Instant::now());
                    let listener = TcpListener::from_std(listener)?;
                    tokio::task::spawn_local(accept(shared, link, listener, backlog))
                }
                (None, Opening::Connect(target)) => tokio::task::spawn_local(dial::dial(shared, link, target)),
                // Unreachable: `bind` took an address for each link that listens.
                (None, Opening::Listen(_)) => continue,
            });
        }
        Ok(SwitchHandle { shared, acceptors: Rc::new(RefCell::new(acceptors)) })
    }
}

/// The running switch, cheap to clone. Dropping it changes nothing; connections end with their `LocalSet`.
#[derive(Clone)]
pub struct SwitchHandle {
    shared: Rc<Shared>,
    acceptors: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl std::fmt::Debug for SwitchHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SwitchHandle").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

impl SwitchHandle {
    /// Queues prefix, header and frame for a connection; no system call. False, and counted, when the
    /// connection is gone, does not read (it is cut then), or its prefix cannot say the length.
    pub fn send(&self, conn: ConnId, header: &[u8], frame: &[u8]) -> bool {
        let Some(connection) = self.shared.table.borrow().find(conn) else {
            names::reply_undelivered("connection_gone");
            return false;
        };
        match connection.queue(self.shared.link(connection.link), header, frame) {
            Ok(list) => {
                if list {
                    self.shared.listed.borrow_mut().push(connection);
                }
                true
            }
            Err(Refused::Gone) => {
                names::reply_undelivered("connection_gone");
                false
            }
            Err(Refused::SlowReader) => {
                names::reply_undelivered("slow_reader");
                connection.cut();
                self.shared.reject(connection.link, Reject::SlowReader);
                false
            }
            Err(Refused::TooLong) => {
                names::reply_undelivered("too_long");
                false
            }
        }
    }

    /// One write for each connection that has output; what a socket does not take now goes when it can.
    pub fn flush(&self) {
        // Taken out first: a write that fails may end a connection and call the sink.
        let mut listed = self.shared.listed.take();
        for connection in listed.drain(..) {
            connection.flush();
        }
        let mut place = self.shared.listed.borrow_mut();
        if place.is_empty() {
            *place = listed;
        }
    }

    /// Gives the addresses back, accepts and dials no more; open connections go on.
    pub fn stop_accepting(&self) {
        self.shared.stopping.set(true);
        for acceptor in self.acceptors.borrow_mut().drain(..) {
            acceptor.abort();
        }
    }

    /// Flushes, then waits until every peer took its replies, at most this long: the last step of a drain.
    pub async fn settle(&self, at_most: Duration) {
        self.flush();
        let open: Vec<_> = self.shared.table.borrow().all().collect();
        let all = async {
            for connection in open {
                connection.all_written().await;
                connection.say_goodbye();
            }
        };
        // A peer that does not read is not waited for any longer.
        let _ = tokio::time::timeout(at_most, all).await;
    }

    /// Ends one connection at once; the sink hears `closed`.
    pub fn close(&self, conn: ConnId) {
        if let Some(connection) = self.shared.table.borrow().find(conn) {
            connection.cut();
        }
    }

    /// Cuts a connection for a reason that is counted as a refusal; the sink hears `rejected` and `closed`.
    pub fn cut(&self, conn: ConnId, reason: Reject) {
        let found = self.shared.table.borrow().find(conn);
        if let Some(connection) = found {
            connection.cut();
            self.shared.reject(connection.link, reason);
        }
    }

    /// Open connections of all links.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.iter().map(Cell::get).sum()
    }
}

/// What acceptors, readers and the handle share.
struct Shared {
    links: Vec<LinkConfig>,
    sink: Rc<dyn Sink>,
    clock: PollClock,
    table: RefCell<Table>,
    /// Connections with output for the next flush.
    listed: RefCell<Vec<Rc<Connection>>>,
    /// Open connections by link.
    open: Vec<Cell<usize>>,
    /// Connections in a TLS handshake by link: they count to the link's bound too.
    shaking: Vec<Cell<usize>>,
    handshakes: Option<Handshakes>,
    /// Nothing is accepted any more.
    stopping: Cell<bool>,
    /// When a failed handshake was last told in the log.
    told_handshake: Cell<Option<Instant>>,
    gauges: Vec<metrics::Gauge>,
    /// A connection closed: its file descriptor can be used by an acceptor that found none.
    freed: Notify,
}

impl Shared {
    /// The configuration of a link this switch itself numbered.
    fn link(&self, link: usize) -> &LinkConfig {
        &self.links[link]
    }

    fn reject(&self, link: usize, reason: Reject) {
        names::frame_rejected(&self.link(link).name, reason.word());
        tracing::debug!(link = %self.link(link).name, reason = reason.word(), "frame refused");
        self.sink.rejected(link, reason.word());
    }

    /// False, and counted: the link has as many connections as it may have.
    fn has_room(&self, link: usize) -> bool {
        let room = self.open[link].get() + self.shaking[link].get() < self.link(link).max_connections;
        if !room {
            self.reject(link, Reject::TooManyConnections);
        }
        room
    }

    /// A connection that the network opened; `since`: from when what the socket holds already can have been
    /// waiting.
    fn welcome(self: &Rc<Self>, link: usize, socket: TcpStream, peer: SocketAddr, since: Instant) {
        if !self.has_room(link) {
            return;
        }
        if self.link(link).tls.is_none() {
            self.admit(link, Stream::plain(socket), peer, BytesMut::new(), since);
            return;
        }
        let shared = Rc::clone(self);
        tokio::task::spawn_local(async move {
            match shared.shake(link, socket, since).await {
                // At a drain nobody new comes in.
                Ok(_) if shared.stopping.get() => {}
                Ok(Shaken { socket, session, since, early }) => {
                    shared.admit(link, Stream::secured(socket, session), peer, early, since);
                }
                Err(error) => {
                    shared.reject(link, Reject::TlsHandshake);
                    shared.tell_handshake(link, peer, &error);
                }
            }
        });
    }

    /// A connection that we opened just now; the task that reads it.
    async fn admit_dialled(self: &Rc<Self>, link: usize, socket: TcpStream) -> io::Result<JoinHandle<()>> {
        let peer = socket.peer_addr()?;
        let (stream, early, since) = if self.link(link).tls.is_none() {
            (Stream::plain(socket), BytesMut::new(), Instant::now())
        } else {
            let shaken = self.shake(link, socket, Instant::now()).await;
            let Shaken { socket, session, since, early } = shaken
                .inspect_err(|_| self.reject(link, Reject::TlsHandshake))
                .map_err(|error| io::Error::new(error.kind(), format!("TLS handshake: {error}")))?;
            (Stream::secured(socket, session), early, since)
        };
        Ok(self.admit(link, stream, peer, early, since))
    }

    /// The handshake of a new connection, counted while it lasts.
    async fn shake(&self, link: usize, socket: TcpStream, since: Instant) -> io::Result<Shaken> {
        let handshakes = self.handshakes.as_ref().ok_or_else(|| io::Error::other("no handshakes run"))?;
        let shaking = &self.shaking[link];
        shaking.set(shaking.get() + 1);
        let _counted = Counted(shaking);
        let shaken = handshakes.shake(Shake { link, socket, since, at_most: self.link(link).frame_timeout }).await?;
        let (version, suite) = shaken.session.terms();
        tracing::debug!(link = %self.link(link).name, ?version, ?suite, "TLS session open");
        Ok(shaken)
    }

    /// One line a second at most: whoever can connect could fill the log otherwise.
    fn tell_handshake(&self, link: usize, peer: SocketAddr, error: &io::Error) {
        let now = Instant::now();
        if self.told_handshake.get().is_some_and(|told| now.duration_since(told) < Duration::from_secs(1)) {
            return;
        }
        self.told_handshake.set(Some(now));
        tracing::warn!(link = %self.link(link).name, %peer, "TLS handshake failed: {error}");
    }

    /// `early` came before the connection was admitted, in its handshake.
    fn admit(
        self: &Rc<Self>,
        link: usize,
        stream: Stream,
        peer: SocketAddr,
        early: BytesMut,
        since: Instant,
    ) -> JoinHandle<()> {
        // Both only make it slower or later to notice a dead peer when they fail.
        let _ = stream.socket().set_nodelay(true);
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3);
        let _ = SockRef::from(stream.socket()).set_tcp_keepalive(&keepalive);
        let connection = self.table.borrow_mut().insert(|id| Rc::new(Connection::new(id, link, stream)));
        self.open[link].set(self.open[link].get() + 1);
        self.gauges[link].increment(1.0);
        self.sink.opened(link, connection.id, peer);
        tokio::task::spawn_local(Reader::new(connection, Rc::clone(self), early, since).run())
    }

    /// Takes what waited in a listener before the runtime watches it: from then on its age is known better.
    fn admit_waiting(self: &Rc<Self>, link: usize, listener: &std::net::TcpListener, since: Instant) {
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = listener.accept() else { return };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.welcome(link, stream, peer, since);
            }
        }
    }

    fn forget(&self, connection: &Rc<Connection>) {
        if !self.table.borrow_mut().remove(connection.id) {
            return;
        }
        let open = &self.open[connection.link];
        open.set(open.get().saturating_sub(1));
        self.gauges[connection.link].decrement(1.0);
        self.freed.notify_waiters();
        self.sink.closed(connection.id);
    }
}

/// One of a link's handshakes, for as long as it lasts.
struct Counted<'a>(&'a Cell<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Connections by slot.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Rc<Connection>>,
}

impl Table {
    fn insert(&mut self, make: impl FnOnce(ConnId) -> Rc<Connection>) -> Rc<Connection> {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("connections are bounded far below 2^32")
        });
        let slot = &mut self.slots[number as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let connection = make(ConnId { slot: number, generation: slot.generation });
        slot.connection = Some(Rc::clone(&connection));
        connection
    }

    fn find(&self, id: ConnId) -> Option<Rc<Connection>> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.connection.clone()
    }

    fn all(&self) -> impl Iterator<Item = Rc<Connection>> {
        self.slots.iter().filter_map(|slot| slot.connection.clone())
    }

    fn remove(&mut self, id: ConnId) -> bool {
        match self.slots.get_mut(id.slot as usize) {
            Some(slot) if slot.generation == id.generation && slot.connection.is_some() => {
                slot.connection = None;
                self.free.push(id.slot);
                true
            }
            Some(_) | None => false,
        }
    }
}

async fn accept(shared: Rc<Shared>, link: usize, listener: TcpListener, mut backlog: Backlog) {
    let mut starved = false;
    loop {
        let next = std::future::poll_fn(|context| {
            let next = listener.poll_accept(context);
            // Without budget the runtime says "not yet" of a listener that may hold more.
            if next.is_pending() && tokio::task::coop::has_budget_remaining() {
                backlog.empty(Instant::now());
            }
            next
        });
        let next = next.await;
        let since = backlog.ready(shared.clock.bound());
        match next {
            Ok((stream, peer)) => {
                starved = false;
                shared.welcome(link, stream, peer, since);
            }
            Err(error) if out_of_descriptors(&error) => {
                if !starved {
                    let name = &shared.link(link).name;
                    tracing::warn!(link = %name, "no connection accepted: {error}; raise the open files limit");
                }
                starved = true;
                // The peer stays in the backlog and the listener stays ready: without a wait this would spin.
                let _ = tokio::time::timeout(ACCEPT_PAUSE, shared.freed.notified()).await;
            }
            // The peer gave up before it was accepted, or the network did: the next one is not concerned.
            Err(error) => tracing::debug!(link = %shared.link(link).name, "accept: {error}"),
        }
    }
}

fn out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
