//! One connection: its reads, its limits, its output.
//!
//! Everything runs on the shard's thread. It must never decode a message, and never wait for a peer: what a
//! peer does not read stays in a bounded buffer.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::sync::Notify;
use tokio_util::codec::Decoder;

use super::frames::{FrameCodec, FrameError, Reject, write_frame};
use super::stream::Stream;
use super::{ConnId, Inbound, Shared};
use crate::config::LinkConfig;

/// Room made for one read.
const READ_CHUNK: usize = 16 * 1024;
/// Below this much room the buffer grows before the next read.
const READ_ROOM: usize = 2 * 1024;
/// Most bytes taken from one socket before the others have their turn.
const READ_CAP: usize = 64 * 1024;
/// Most bytes, and the longest time, that input is read on after framing was lost.
const DISCARD_CAP: usize = 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_millis(250);
/// An output buffer that grew past this is given back when it is empty.
const KEEP_OUT: usize = 64 * 1024;

/// What reader, writer and handle share of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) link: usize,
    stream: Stream,
    out: RefCell<BytesMut>,
    /// Listed for the next flush.
    listed: Cell<bool>,
    /// A writer task waits for room in the socket.
    writing: Cell<bool>,
    /// Nothing more goes in or out.
    cut: Cell<bool>,
    /// Frames handed on, less replies sent: what a half-closed peer may still wait for.
    owed: Cell<u64>,
    /// Somebody waits for the output to be empty; `written` tells it then.
    watched: Cell<bool>,
    written: Notify,
}

impl Connection {
    pub(super) fn new(id: ConnId, link: usize, stream: Stream) -> Self {
        Self {
            id,
            link,
            stream,
            out: RefCell::new(BytesMut::new()),
            listed: Cell::new(false),
            writing: Cell::new(false),
            cut: Cell::new(false),
            owed: Cell::new(0),
            watched: Cell::new(false),
            written: Notify::new(),
        }
    }

    /// Appends one frame to the output, without a system call. True: it has to be listed for the next flush.
    pub(super) fn queue(&self, link: &LinkConfig, header: &[u8], message: &[u8]) -> Result<bool, Refused> {
        if self.cut.get() {
            return Err(Refused::Gone);
        }
        let mut out = self.out.borrow_mut();
        if out.len() + message.len() > link.out_buffer {
            return Err(Refused::SlowReader);
        }
        let swapped = if link.tpdu { swapped(header) } else { None };
        let header = swapped.as_ref().map_or(header, <[u8; 5]>::as_slice);
        if !write_frame(&link.framing, header, message, &mut out) {
            return Err(Refused::TooLong);
        }
        self.owed.set(self.owed.get().saturating_sub(1));
        Ok(!self.listed.replace(true))
    }

    /// Writes what the socket takes at once; a writer task takes the rest.
    pub(super) fn flush(self: &Rc<Self>) {
        self.listed.set(false);
        if self.writing.get() || self.cut.get() {
            return;
        }
        if !self.write_some() {
            self.writing.set(true);
            tokio::task::spawn_local(Rc::clone(self).write_rest());
        }
    }

    /// Writes what the socket takes. True: nothing is left to do (all written, or the connection is gone).
    fn write_some(&self) -> bool {
        let mut out = self.out.borrow_mut();
        match self.stream.write(&mut out) {
            Ok(false) => false,
            Ok(true) => {
                if out.capacity() > KEEP_OUT {
                    *out = BytesMut::new();
                }
                if self.watched.get() {
                    self.written.notify_one();
                }
                true
            }
            Err(_) => {
                drop(out);
                self.cut();
                true
            }
        }
    }

    /// Nothing of ours waits for room in the socket.
    fn nothing_waits(&self) -> bool {
        self.out.borrow().is_empty() && !self.stream.wants_write()
    }

    async fn write_rest(self: Rc<Self>) {
        loop {
            if self.stream.socket().writable().await.is_err() {
                self.cut();
            }
            if self.cut.get() || self.write_some() {
                break;
            }
        }
        self.writing.set(false);
    }

    /// Ends the connection at once. The reader wakes, finds it ended and tells the sink.
    pub(super) fn cut(&self) {
        if self.cut.replace(true) {
            return;
        }
        self.out.replace(BytesMut::new());
        let socket = SockRef::from(self.stream.socket());
        // Without a linger the kernel would keep the unread output of a peer that never reads.
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
        self.written.notify_one();
    }

    /// The peer sends no more, but may read what it asked for (`printf … | nc`): waits for that, not longer
    /// than a reply may take.
    async fn finish_output(&self, budget: Duration) {
        self.watched.set(true);
        let all_written = async {
            while !self.cut.get() && (self.owed.get() > 0 || !self.nothing_waits()) {
                self.written.notified().await;
            }
        };
        // Past the budget no reply comes any more.
        let _ = tokio::time::timeout(budget, all_written).await;
    }

    /// Waits until all output is written or the connection is cut.
    pub(super) async fn all_written(&self) {
        self.watched.set(true);
        while !self.cut.get() && !self.nothing_waits() {
            self.written.notified().await;
        }
        // Whoever else waits for the same.
        self.written.notify_one();
    }

    /// Says inside TLS that nothing more comes; nothing may be queued after it. Never waits.
    pub(super) fn say_goodbye(&self) {
        if !self.cut.get() {
            self.stream.say_goodbye();
        }
    }

    /// Says that nothing more comes, then reads on for a moment without looking: closing a socket with unread
    /// input resets it, and the peer could lose replies it has not read yet.
    async fn hang_up(&self) {
        self.say_goodbye();
        if self.cut.get() || SockRef::from(self.stream.socket()).shutdown(Shutdown::Write).is_err() {
            return;
        }
        let discard = async {
            let mut sink = [0; 4096];
            let mut left = DISCARD_CAP;
            while left > 0 && self.stream.socket().readable().await.is_ok() {
                match self.stream.socket().try_read(&mut sink) {
                    Ok(0) => break,
                    Ok(read) => left = left.saturating_sub(read),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        };
        let _ = tokio::time::timeout(DISCARD_FOR, discard).await;
    }
}

/// A TPDU on its way back: destination and origin change places behind its first byte.
fn swapped(tpdu: &[u8]) -> Option<[u8; 5]> {
    let [id, to_high, to_low, from_high, from_low] = *tpdu else { return None };
    Some([id, from_high, from_low, to_high, to_low])
}

/// The failure is one of TLS, not of the socket.
fn broke_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Why a reply was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The connection is gone.
    Gone,
    /// The peer does not read.
    SlowReader,
    /// The prefix of this link cannot say the length.
    TooLong,
}

/// How a connection ended.
enum End {
    /// The peer went away, or a limit that is no fault passed.
    Closed,
    /// The peer sends no more, or nothing more can be found in what it sends: what it asked for before is
    /// still answered.
    NoMore(Option<Reject>),
    /// A fault: the connection is cut at once.
    Rejected(Reject),
}

/// Reads one connection until it ends.
pub(super) struct Reader {
    conn: Rc<Connection>,
    shared: Rc<Shared>,
    codec: FrameCodec,
    buf: BytesMut,
    /// Bytes still to be read arrived after this moment: the socket was seen empty then.
    empty_at: Instant,
    /// Age of what is being read now.
    since: Instant,
    /// What was in the kernel when a turn ended before the socket was empty, and when that was.
    backlog: Option<(u64, Instant)>,
    /// First byte of the frame that is unfinished.
    unfinished_since: Option<Instant>,
    last_byte: Instant,
    /// The sink knows that nothing came within `echo_interval` after this byte.
    told_quiet: Option<Instant>,
}

/// What a turn of reads came to.
enum Turn {
    /// The socket is empty.
    Empty,
    /// More is there, but others wait.
    More,
    /// The peer sends no more.
    EndOfStream,
}

impl Reader {
    /// `waited_since`: from when `early` (what a handshake already took) and what the socket holds can have been
    /// waiting.
    pub(super) fn new(conn: Rc<Connection>, shared: Rc<Shared>, early: BytesMut, waited_since: Instant) -> Self {
        let link = shared.link(conn.link);
        let codec = FrameCodec::new(link.framing, link.max_frame);
        let now = Instant::now();
        // No poll has watched the socket yet: what it holds is older than any bound. Unknown: as if it held much.
        let held = rustix::io::ioctl_fionread(conn.stream.socket()).unwrap_or(u64::MAX);
        Self {
            conn,
            shared,
            codec,
            buf: early,
            empty_at: now,
            since: waited_since,
            backlog: (held > 0).then_some((held, now)),
            unfinished_since: None,
            last_byte: now,
            told_quiet: None,
        }
    }

    pub(super) async fn run(mut self) {
        let (budget, end) = (self.shared.link(self.conn.link).budget, self.read_all().await);
        match end {
            End::Closed => {}
            End::NoMore(reason) => {
                if let Some(reason) = reason {
                    self.shared.reject(self.conn.link, reason);
                }
                self.conn.finish_output(budget).await;
                if reason.is_some() {
                    self.conn.hang_up().await;
                }
            }
            End::Rejected(reason) => {
                self.shared.reject(self.conn.link, reason);
                self.conn.cut();
            }
        }
        if self.conn.writing.get() {
            // Its writer waits for a peer that does not read; it must not keep the socket.
            self.conn.cut();
        }
        self.conn.say_goodbye();
        self.conn.cut.set(true);
        self.shared.forget(&self.conn);
    }

    async fn read_all(&mut self) -> End {
        let conn = Rc::clone(&self.conn);
        let limit = tokio::time::sleep_until(self.next_look().into());
        tokio::pin!(limit);
        if !self.buf.is_empty()
            && let Err(FrameError::Lost(reason)) = self.hand_on(Instant::now())
        {
            return End::NoMore(Some(reason));
        }
        loop {
            tokio::select! {
                // Reading first: after a stall what came in time must not be cut by a timer that is due too.
                biased;
                ready = conn.stream.socket().readable() => {
                    if ready.is_err() || conn.cut.get() {
                        return End::Closed;
                    }
                    if self.backlog.is_none() {
                        self.since = self.empty_at.max(self.shared.clock.bound());
                    }
                    match self.read_turn() {
                        Ok(Turn::Empty) => {}
                        Ok(Turn::More) => tokio::task::yield_now().await,
                        Ok(Turn::EndOfStream) => {
                            return End::NoMore((!self.buf.is_empty()).then_some(Reject::CutFrame));
                        }
                        Err(FrameError::Lost(reason)) => return End::NoMore(Some(reason)),
                        Err(FrameError::Io(error)) if broke_tls(&error) => {
                            let link = &self.shared.link(conn.link).name;
                            tracing::warn!(link = %link, "connection ended by TLS: {error}");
                            return End::Rejected(Reject::Tls);
                        }
                        // A reset in the middle of a frame is a cut frame like any other.
                        Err(FrameError::Io(_)) if !self.buf.is_empty() => return End::Rejected(Reject::CutFrame),
                        Err(FrameError::Io(_)) => return End::Closed,
                    }
                    // TLS may have to answer by itself.
                    if conn.stream.wants_write() {
                        conn.flush();
                    }
                    if conn.cut.get() {
                        return End::Closed;
                    }
                }
                () = &mut limit => {
                    if let Some(end) = self.limit_passed(Instant::now()) {
                        return end;
                    }
                    limit.as_mut().reset(self.next_look().into());
                }
            }
        }
    }

    /// Reads until the socket is empty or the turn is over, and hands every whole frame on.
    fn read_turn(&mut self) -> Result<Turn, FrameError> {
        let mut taken = 0;
        loop {
            if self.buf.capacity() - self.buf.len() < READ_ROOM {
                self.buf.reserve(READ_CHUNK);
            }
            match self.conn.stream.read(&mut self.buf) {
                Ok(0) => return Ok(Turn::EndOfStream),
                Ok(read) => {
                    taken += read;
                    let now = Instant::now();
                    self.last_byte = now;
                    self.hand_on(now)?;
                    if self.conn.cut.get() {
                        return Ok(Turn::Empty);
                    }
                    self.consume_backlog(read);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.empty_at = Instant::now();
                    self.backlog = None;
                    return Ok(Turn::Empty);
                }
                Err(error) => return Err(error.into()),
            }
            if taken >= READ_CAP {
                self.note_backlog();
                return Ok(Turn::More);
            }
        }
    }

    /// The socket was not empty when the turn ended. What is in the kernel now keeps its age; what comes
    /// behind it is younger than this moment.
    fn note_backlog(&mut self) {
        if self.backlog.is_none() {
            // Unknown: as if nothing ever came behind it, which only makes frames look older.
            let waiting = rustix::io::ioctl_fionread(self.conn.stream.socket()).unwrap_or(u64::MAX);
            self.backlog = Some((waiting, Instant::now()));
        }
    }

    fn consume_backlog(&mut self, read: usize) {
        if let Some((waiting, seen)) = self.backlog {
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            self.backlog = match waiting.checked_sub(read) {
                Some(left) if left > 0 => Some((left, seen)),
                _ => {
                    self.since = self.since.max(seen);
                    None
                }
            };
        }
    }

    fn hand_on(&mut self, now: Instant) -> Result<(), FrameError> {
        let mut whole = 0_u64;
        // PATH 1: frame in
        while let Some(frame) = self.codec.decode(&mut self.buf)? {
            whole += 1;
            if frame.message.is_empty() {
                self.shared.reject(self.conn.link, Reject::ZeroLength);
                continue;
            }
            self.conn.owed.set(self.conn.owed.get() + 1);
            self.shared.sink.frame(Inbound {
                link: self.conn.link,
                conn: self.conn.id,
                frame: frame.message,
                header: frame.header,
                since: self.since,
            });
            if self.conn.cut.get() {
                return Ok(());
            }
        }
        if self.buf.is_empty() && !self.conn.stream.inside_record() {
            self.unfinished_since = None;
        } else if whole > 0 || self.unfinished_since.is_none() {
            self.unfinished_since = Some(now);
        }
        Ok(())
    }

    /// When the limits have to be looked at next. A frame that begins meanwhile cannot pass its limit before
    /// this, so that reads never touch a timer.
    fn next_look(&self) -> Instant {
        let link = self.shared.link(self.conn.link);
        let idle = self.last_byte + link.idle_timeout;
        let unfinished = self.unfinished_since.unwrap_or_else(Instant::now) + link.frame_timeout;
        // Once told, what came meanwhile is only seen at a look.
        let from = if self.told_quiet == Some(self.last_byte) { Instant::now() } else { self.last_byte };
        let quiet = link.echo_interval.map(|after| from + after);
        quiet.map_or(idle, |quiet| quiet.min(idle)).min(unfinished)
    }

    fn limit_passed(&mut self, now: Instant) -> Option<End> {
        let shared = Rc::clone(&self.shared);
        let link = shared.link(self.conn.link);
        if self.unfinished_since.is_some_and(|since| now.saturating_duration_since(since) >= link.frame_timeout) {
            return Some(End::Rejected(Reject::FrameTimeout));
        }
        if now.saturating_duration_since(self.last_byte) >= link.idle_timeout {
            tracing::info!(link = %link.name, "connection closed: no bytes within idle_timeout");
            return Some(End::Closed);
        }
        if let Some(after) = link.echo_interval {
            let quiet = now.saturating_duration_since(self.last_byte) >= after;
            if quiet && self.told_quiet != Some(self.last_byte) {
                self.told_quiet = Some(self.last_byte);
                self.shared.sink.quiet(self.conn.link, self.conn.id);
            }
        }
        None
    }
}
