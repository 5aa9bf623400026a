//! The design alternative: no lock around the money. Cards and repeats are in sharded maps, a pool's balance moves by
//! compare-and-swap, and each worker has its connections, its journal file and its syncs to itself. It must do the
//! same work for a tap as the engine does, but for sealing, and answer nothing that is not durable.
//!
//! What the shape costs beyond speed: the files have no common order, so that what depends on order (which of two taps
//! got the last money, a reversal and its original) could only be recovered with stamps drawn from one counter.

use super::appender::Appender;
use super::naive::REMEMBERED;
use super::tap::{self, Answer, LARGEST, Read, Remembered, Tap};
use crate::fault::Fault;
use bytes::{Buf as _, Bytes, BytesMut};
use dashmap::{DashMap, Entry};
use iso_codec::{EncodeError, Message, Spec};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Bytes that are read from a connection in one turn.
const TURN: usize = 64 << 10;
/// Unsent replies of a connection before it is cut off.
const OUT_LIMIT: usize = 8 << 20;
/// What wakes a worker for a new connection instead of a message.
const WAKE: u64 = u64::MAX;

/// Arguments of `cas-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory of the journal files, one for each worker
    #[arg(long)]
    dir: PathBuf,
    /// Threads, each with its own connections and its own file
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// Cards that exist
    #[arg(long, default_value_t = 1000)]
    cards: u32,
    /// Euro cents in the one pool that pays for all of them
    #[arg(long)]
    pool: i64,
}

/// Where a decision lies: it may be told once that worker's batch is durable.
#[derive(Debug, Clone, Copy)]
struct Place {
    worker: usize,
    batch: u64,
}

/// What the workers share, none of it behind one lock.
struct Book {
    cards: DashMap<u64, bool, hashbrown::DefaultHashBuilder>,
    available: AtomicI64,
    held: AtomicI64,
    repeats: DashMap<tap::Key, (Remembered, Place), hashbrown::DefaultHashBuilder>,
    remembered: AtomicUsize,
    decided: AtomicU64,
    /// The last durable batch of each worker.
    durable: Vec<AtomicU64>,
}

/// Runs `cas-server`, until it is killed.
pub(crate) fn serve(args: &Args) -> Result<ExitCode, Fault> {
    let spec = tap::spec()?;
    let workers = usize::from(args.workers);
    let book = Arc::new(Book {
        cards: (0..args.cards).map(|n| (tap::pan(n), true)).collect(),
        available: AtomicI64::new(args.pool),
        held: AtomicI64::new(0),
        repeats: DashMap::default(),
        remembered: AtomicUsize::new(0),
        decided: AtomicU64::new(0),
        durable: (0..workers).map(|_| AtomicU64::new(0)).collect(),
    });
    let mut doors = Vec::new();
    for number in 0..workers {
        let journal = Appender::create(&args.dir.join(format!("cas-{number}")))?;
        let (worker, door) = Worker::new(number, Arc::clone(&book), Arc::clone(&spec), journal)
            .map_err(Fault::io("a worker's epoll and eventfd"))?;
        doors.push(door);
        std::thread::spawn(move || {
            let error = worker.run();
            eprintln!("error: worker {number} of the compare-and-swap server: {error}");
            std::process::exit(3);
        });
    }
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Fault::io("listening on 127.0.0.1"))?;
    let addr = listener.local_addr().map_err(Fault::io("the compare-and-swap server's own address"))?;
    println!("cas listening on {addr}");
    for door in doors.iter().cycle() {
        let (stream, _) = listener.accept().map_err(Fault::io("accepting a connection"))?;
        door.pass(stream).map_err(Fault::io("handing a connection to a worker"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where new connections of a worker go in.
struct Door {
    sender: mpsc::Sender<TcpStream>,
    wake: Arc<OwnedFd>,
}

impl Door {
    fn pass(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.sender.send(stream).map_err(io::Error::other)?;
        rustix::io::write(&self.wake, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

/// A connection of a worker.
struct Connection {
    stream: TcpStream,
    input: BytesMut,
    out: BytesMut,
    /// It waits until the peer takes more.
    blocked: bool,
    closed: bool,
}

/// One thread: its connections, its file, its batch.
struct Worker {
    number: usize,
    book: Arc<Book>,
    spec: Arc<Spec>,
    journal: Appender,
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    inbox: mpsc::Receiver<TcpStream>,
    connections: HashMap<u64, Connection>,
    next: u64,
    batch: u64,
    records: Vec<u8>,
    /// Batches of others whose decisions are repeated in this one.
    awaited: Vec<Place>,
}

impl Worker {
    fn new(number: usize, book: Arc<Book>, spec: Arc<Spec>, journal: Appender) -> io::Result<(Worker, Door)> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &*wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let (sender, inbox) = mpsc::channel();
        let door = Door { sender, wake: Arc::clone(&wake) };
        let worker = Worker {
            number,
            book,
            spec,
            journal,
            epoll,
            wake,
            inbox,
            connections: HashMap::new(),
            next: 0,
            batch: 1,
            records: Vec::with_capacity(1 << 20),
            awaited: Vec::new(),
        };
        Ok((worker, door))
    }

    /// Turns until something fails that must not.
    fn run(mut self) -> io::Error {
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let mut touched = Vec::new();
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return error.into(),
            }
            touched.clear();
            for event in &events {
                let id = event.data.u64();
                if id == WAKE {
                    if let Err(error) = self.admit() {
                        return error;
                    }
                } else {
                    self.take(id);
                    touched.push(id);
                }
            }
            if let Err(error) = self.commit() {
                return error;
            }
            for id in &touched {
                self.send(*id);
            }
        }
    }

    fn admit(&mut self) -> io::Result<()> {
        let mut count = [0u8; 8];
        // Nothing to read means that an earlier turn took the connection already.
        let _ = rustix::io::read(&self.wake, &mut count);
        while let Ok(stream) = self.inbox.try_recv() {
            epoll::add(&self.epoll, &stream, EventData::new_u64(self.next), EventFlags::IN)?;
            let (input, out) = (BytesMut::with_capacity(2 * TURN), BytesMut::with_capacity(TURN));
            self.connections.insert(self.next, Connection { stream, input, out, blocked: false, closed: false });
            self.next += 1;
        }
        Ok(())
    }

    /// Reads what is there and decides each whole message.
    fn take(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        let mut buffer = [0u8; TURN];
        match connection.stream.read(&mut buffer) {
            Ok(0) => connection.closed = true,
            Ok(count) => connection.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => connection.closed = true,
        }
        while !connection.closed {
            let Some(&[high, low]) = connection.input.first_chunk::<2>() else { break };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > LARGEST || connection.out.len() > OUT_LIMIT {
                connection.closed = true;
                break;
            }
            if connection.input.len() < 2 + length {
                break;
            }
            connection.input.advance(2);
            let frame = connection.input.split_to(length).freeze();
            if self.answer(frame, &mut connection.out).is_err() {
                connection.closed = true;
            }
        }
        self.connections.insert(id, connection);
    }

    fn answer(&mut self, frame: Bytes, out: &mut BytesMut) -> Result<(), EncodeError> {
        match tap::read(&self.spec, frame) {
            Read::Nothing => Ok(()),
            Read::Refused(message, code) => tap::reply(&message, Answer::Declined(code), out),
            Read::Tap(message, tap) => self.decide(&message, &tap, out),
        }
    }

    /// Decides, puts the record into the batch and the reply behind it.
    fn decide(&mut self, message: &Message, tap: &Tap, out: &mut BytesMut) -> Result<(), EncodeError> {
        let book = &*self.book;
        // The entry's shard stays locked until the decision stands in it: two equal taps get one decision.
        let vacant = match book.repeats.entry(tap.key) {
            Entry::Occupied(entry) => {
                let (known, place) = entry.get();
                if known.content != tap.content {
                    return tap::reply(message, Answer::Declined(*b"94"), out);
                }
                out.extend_from_slice(&known.reply);
                if place.worker != self.number {
                    self.awaited.push(*place);
                }
                return Ok(());
            }
            Entry::Vacant(vacant) => vacant,
        };
        if book.remembered.load(Ordering::Relaxed) >= REMEMBERED {
            return tap::reply(message, Answer::Declined(*b"91"), out);
        }
        let answer = match book.cards.get(&tap.pan).map(|card| *card) {
            None => Answer::Declined(*b"14"),
            Some(false) => Answer::Declined(*b"62"),
            Some(true) if book.hold(tap.amount) => {
                Answer::Approved(tap::approval_code(book.decided.fetch_add(1, Ordering::Relaxed)))
            }
            Some(true) => Answer::Declined(*b"51"),
        };
        let start = out.len();
        tap::reply(message, answer, out)?;
        tap::record(message.frame(), answer, &mut self.records);
        let reply = out.get(start..).unwrap_or_default().into();
        let place = Place { worker: self.number, batch: self.batch };
        vacant.insert((Remembered { content: tap.content, reply }, place));
        book.remembered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// One write and one sync for all that was decided in this turn; then others' batches that are repeated in it.
    fn commit(&mut self) -> io::Result<()> {
        if !self.records.is_empty() {
            self.journal.append(&self.records)?;
            self.records.clear();
            if let Some(durable) = self.book.durable.get(self.number) {
                durable.store(self.batch, Ordering::Release);
            }
            self.batch += 1;
        }
        // Own work is durable before this waits, so that two workers that wait for each other both go on.
        for place in self.awaited.drain(..) {
            let Some(durable) = self.book.durable.get(place.worker) else { continue };
            while durable.load(Ordering::Acquire) < place.batch {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Writes a connection's replies; what it does not take waits until it does.
    fn send(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        while !connection.out.is_empty() && !connection.closed {
            match connection.stream.write(&connection.out) {
                Ok(0) => connection.closed = true,
                Ok(count) => connection.out.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => connection.closed = true,
            }
        }
        let blocked = !connection.out.is_empty();
        if blocked != connection.blocked && !connection.closed {
            connection.blocked = blocked;
            let interest = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let changed = epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(id), interest);
            connection.closed = changed.is_err();
        }
        if connection.closed {
            // Closing the socket takes it out of the epoll.
            self.connections.remove(&id);
        }
    }
}

impl Book {
    /// Moves money from available to held by compare-and-swap; false when there is not enough.
    fn hold(&self, amount: i64) -> bool {
        let enough = |available: i64| (available >= amount).then(|| available - amount);
        let moved = self.available.fetch_update(Ordering::AcqRel, Ordering::Relaxed, enough).is_ok();
        if moved {
            self.held.fetch_add(amount, Ordering::Relaxed);
        }
        moved
    }
}
