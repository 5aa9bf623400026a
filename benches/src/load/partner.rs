//! A partner that approves everything after a delay drawn from a given distribution: HTTP/1.1 with kept-alive
//! connections, one thread, as lean as a partner can be. It owns those delays; it checks nothing, because what it is
//! asked is not what is measured here.

use crate::fault::Fault;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What it answers.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 22\r\n\r\n{\"decision\":\"approve\"}";
/// Longest request.
const ROOM: usize = 32 << 10;
/// Connections it keeps.
const CONNECTIONS: usize = 1024;
/// What stands for the listener among the connections.
const LISTENER: u64 = u64::MAX;

/// How long an answer takes.
#[derive(Debug, Clone)]
pub(crate) enum Delay {
    /// Always so long.
    Constant(Duration),
    /// Exponential with that mean.
    Exponential(Duration),
    /// Each alike, from the first to the second.
    Uniform(Duration, Duration),
    /// One of these, each alike.
    Listed(Arc<[Duration]>),
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Delay, String> {
        let time = |text: &str| match text {
            "0" => Ok(Duration::ZERO),
            text => humantime::parse_duration(text).map_err(|error| format!("{text}: {error}")),
        };
        match text.split_once(':') {
            Some(("constant", value)) => Ok(Delay::Constant(time(value)?)),
            Some(("exp", mean)) => Ok(Delay::Exponential(time(mean)?)),
            Some(("uniform", span)) => {
                let (from, to) = span.split_once("..").ok_or("uniform:FROM..TO, such as uniform:1ms..5ms")?;
                let (from, to) = (time(from)?, time(to)?);
                if from > to {
                    Err("uniform: the first is longer than the second".to_owned())
                } else {
                    Ok(Delay::Uniform(from, to))
                }
            }
            Some(("file", path)) => {
                let lines = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                let listed = lines.split_whitespace().map(time).collect::<Result<Arc<[Duration]>, _>>()?;
                if listed.is_empty() { Err(format!("{path} lists no times")) } else { Ok(Delay::Listed(listed)) }
            }
            _ => Err("constant:TIME, exp:MEAN, uniform:FROM..TO or file:PATH".to_owned()),
        }
    }
}

impl Delay {
    fn draw(&self, rng: &mut ChaCha12Rng) -> Duration {
        let unit = |rng: &mut ChaCha12Rng| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        match self {
            Delay::Constant(time) => *time,
            Delay::Exponential(mean) => {
                let of_mean: f64 = Exp1.sample(rng);
                mean.mul_f64(of_mean)
            }
            Delay::Uniform(from, to) => *from + (*to - *from).mul_f64(unit(rng)),
            Delay::Listed(times) => {
                let at = (unit(rng) * times.len() as f64) as usize;
                times.get(at).copied().unwrap_or_default()
            }
        }
    }
}

/// Starts a partner on a thread of its own; it ends with the program. Where it listens.
pub(crate) fn start(delay: Delay, seed: u64) -> Result<SocketAddr, Fault> {
    let fault = || Fault::io("the partner on 127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(fault())?;
    listener.set_nonblocking(true).map_err(fault())?;
    let addr = listener.local_addr().map_err(fault())?;
    let thread = std::thread::Builder::new().name("partner".to_owned()).spawn(move || {
        if let Err(error) = serve(&listener, &delay, seed) {
            eprintln!("error: the partner ended: {error}");
        }
    });
    thread.map_err(fault())?;
    Ok(addr)
}

/// One kept-alive connection.
struct Asker {
    stream: TcpStream,
    inbox: Box<[u8]>,
    held: usize,
}

fn serve(listener: &TcpListener, delay: &Delay, seed: u64) -> io::Result<()> {
    // The kernel may otherwise answer 50 µs later than drawn.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut askers: Vec<Option<Asker>> = Vec::new();
    let mut due: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut events: Vec<Event> = Vec::with_capacity(64);
    loop {
        let now = Instant::now();
        while due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, at))) = due.pop() {
                answer(&mut askers, at);
            }
        }
        let limit = due.peek().map(|Reverse((at, _))| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(1), tv_nsec: left.subsec_nanos().into() }
        });
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                accept(listener, &epoll, &mut askers)?;
                continue;
            }
            let Some((at, place)) = usize::try_from(id).ok().and_then(|at| Some((at, askers.get_mut(at)?))) else {
                continue;
            };
            let asks = match place.as_mut().map(Asker::read) {
                Some(Ok(asks)) => asks,
                // Gone: closing the socket takes it out of the epoll as well.
                Some(Err(_)) | None => {
                    *place = None;
                    continue;
                }
            };
            for _ in 0..asks {
                let time = delay.draw(&mut rng);
                if time.is_zero() { answer(&mut askers, at) } else { due.push(Reverse((Instant::now() + time, at))) }
            }
        }
    }
}

fn accept(listener: &TcpListener, epoll: &impl std::os::fd::AsFd, askers: &mut Vec<Option<Asker>>) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let at = askers.iter().position(Option::is_none).unwrap_or(askers.len());
        if at >= CONNECTIONS {
            continue;
        }
        epoll::add(epoll, &stream, EventData::new_u64(at as u64), EventFlags::IN)?;
        let asker = Some(Asker { stream, inbox: vec![0; ROOM].into_boxed_slice(), held: 0 });
        match askers.get_mut(at) {
            Some(place) => *place = asker,
            None => askers.push(asker),
        }
    }
}

/// Answers one ask; an asker that is gone or does not read needs no answer.
fn answer(askers: &mut [Option<Asker>], at: usize) {
    let Some(place) = askers.get_mut(at) else { return };
    if place.as_mut().is_some_and(|asker| asker.stream.write_all(ANSWER).is_err()) {
        *place = None;
    }
}

impl Asker {
    /// Reads what is there: how many whole requests it completes.
    fn read(&mut self) -> io::Result<usize> {
        let room = self.inbox.get_mut(self.held..).unwrap_or_default();
        if room.is_empty() {
            return Err(io::Error::other("a request over 32 KiB"));
        }
        match self.stream.read(room) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.held += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        }
        let (mut at, mut asks) = (0, 0);
        while let Some(length) = self.inbox.get(at..self.held).and_then(|bytes| request(bytes).transpose()) {
            at += length?;
            asks += 1;
        }
        self.inbox.copy_within(at..self.held, 0);
        self.held -= at;
        Ok(asks)
    }
}

/// Length of the first whole request of these bytes; `None` while it is not whole.
fn request(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok()).unwrap_or(0);
    let whole = head.saturating_add(length);
    Ok((bytes.len() >= whole).then_some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_read_as_written() {
        for text in ["constant:0", "constant:2ms", "exp:2ms", "uniform:1ms..5ms"] {
            assert!(text.parse::<Delay>().is_ok(), "{text}");
        }
        for text in ["", "2ms", "uniform:5ms..1ms", "exp:fast", "file:/nowhere"] {
            assert!(text.parse::<Delay>().is_err(), "{text}");
        }
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let delay = Delay::Exponential(Duration::from_millis(2));
        let mean = (0..10_000).map(|_| delay.draw(&mut rng)).sum::<Duration>() / 10_000;
        assert!((1900..2100).contains(&mean.as_micros()), "{mean:?}");
    }

    #[test]
    fn it_answers_each_request_of_a_kept_alive_connection() {
        let addr = start(Delay::Constant(Duration::ZERO), 1).expect("a partner");
        let mut stream = TcpStream::connect(addr).expect("it listens");
        let mut got = vec![0; ANSWER.len()];
        for _ in 0..3 {
            // In two writes, so that it has to wait for the body.
            stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n12").expect("it reads");
            stream.write_all(b"34").expect("it reads");
            stream.read_exact(&mut got).expect("it answers");
            assert_eq!(got, ANSWER);
        }
    }
}
