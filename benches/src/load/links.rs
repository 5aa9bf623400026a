//! The sockets of a run: all non-blocking, all owned by the one thread of the loop. They batch what is written, read
//! whatever is there, and cut it into frames. They must never block, wait, or know what a frame says.

use crate::fault::Fault;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Room for what was read and not yet cut into frames.
const INBOX: usize = 256 << 10;
/// Longest reply: a longer one is garbage.
const LONGEST: usize = 16 << 10;
/// What may wait for a target that does not read, per link. Beyond it the run is over.
const BACKLOG: usize = 8 << 20;
/// Sockets that one look brings at most; the next look brings the others.
const LOOK: usize = 64;

/// Why a link is of no use any more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The target closed it, or the kernel did.
    Closed {
        /// Which.
        link: usize,
        /// What the kernel said; none at an orderly end.
        why: Option<io::Error>,
    },
    /// What came is no frame: the length of the next one cannot be.
    Garbage {
        /// Which.
        link: usize,
        /// The length that was read.
        length: usize,
    },
    /// The target does not read what it is sent.
    Stuck {
        /// Which.
        link: usize,
    },
    /// The kernel refused to wait.
    Wait(io::Error),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Closed { link, why: None } => write!(f, "the target closed link {link} in the middle of the run"),
            Broken::Closed { link, why: Some(why) } => write!(f, "link {link} broke in the middle of the run: {why}"),
            Broken::Garbage { link, length } => {
                write!(f, "the target answers garbage: link {link} announced a frame of {length} bytes")
            }
            Broken::Stuck { link } => {
                write!(
                    f,
                    "the target is too slow for the schedule: it left {} MiB of link {link} unread",
                    BACKLOG >> 20
                )
            }
            Broken::Wait(why) => write!(f, "waiting for the sockets: {why}"),
        }
    }
}

/// One connection.
struct Link {
    stream: TcpStream,
    out: Vec<u8>,
    /// Bytes of `out` that the kernel has.
    written: usize,
    inbox: Box<[u8]>,
    from: usize,
    to: usize,
    /// Whether the kernel had no room at the last write.
    blocked: bool,
}

/// All connections of a run.
pub(crate) struct Links {
    epoll: OwnedFd,
    links: Vec<Link>,
    events: Vec<Event>,
}

impl Links {
    /// Opens that many, spread over the addresses in turn.
    pub(crate) fn connect(targets: &[SocketAddr], count: usize) -> Result<Links, Fault> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|e| Fault::io("an epoll instance")(e.into()))?;
        let mut links = Vec::with_capacity(count);
        for (at, target) in targets.iter().cycle().take(count).enumerate() {
            let fault = || Fault::io(format!("connecting link {at} to the target {target}"));
            let stream = TcpStream::connect_timeout(target, CONNECT_LIMIT).map_err(fault())?;
            stream.set_nodelay(true).map_err(fault())?;
            stream.set_nonblocking(true).map_err(fault())?;
            let data = EventData::new_u64(u64::try_from(at).unwrap_or(u64::MAX));
            epoll::add(&epoll, &stream, data, EventFlags::IN).map_err(|e| fault()(e.into()))?;
            let inbox = vec![0; INBOX].into_boxed_slice();
            links.push(Link {
                stream,
                out: Vec::with_capacity(1 << 20),
                written: 0,
                inbox,
                from: 0,
                to: 0,
                blocked: false,
            });
        }
        Ok(Links { epoll, links, events: Vec::with_capacity(LOOK) })
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Where the next frames of a link go.
    pub(crate) fn out(&mut self, link: usize) -> Option<&mut Vec<u8>> {
        self.links.get_mut(link).map(|link| &mut link.out)
    }

    /// Hands a link's frames to the kernel in one write, as far as it takes them.
    pub(crate) fn flush(&mut self, at: usize) -> Result<(), Broken> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        link.blocked = link.flush().map_err(|why| Broken::Closed { link: at, why: Some(why) })?;
        if link.out.len() - link.written > BACKLOG { Err(Broken::Stuck { link: at }) } else { Ok(()) }
    }

    /// Tries again what the kernel had no room for; whether some of it is left.
    pub(crate) fn flush_blocked(&mut self) -> Result<bool, Broken> {
        let mut left = false;
        for (at, link) in self.links.iter_mut().enumerate().filter(|(_, link)| link.blocked) {
            link.blocked = link.flush().map_err(|why| Broken::Closed { link: at, why: Some(why) })?;
            left |= link.blocked;
        }
        Ok(left)
    }

    /// Waits at most that long until something can be read; how many links have something.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<usize, Broken> {
        let limit =
            Timespec { tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: limit.subsec_nanos().into() };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&limit)) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(Broken::Wait(error.into())),
        }
    }

    /// The link of the `at`-th of what the last wait found.
    pub(crate) fn ready(&self, at: usize) -> Option<usize> {
        usize::try_from(self.events.get(at)?.data.u64()).ok()
    }

    /// Reads once; whether the inbox was filled, so that more may be there.
    pub(crate) fn read(&mut self, at: usize) -> Result<bool, Broken> {
        let Some(link) = self.links.get_mut(at) else { return Ok(false) };
        link.read().map_err(|why| Broken::Closed { link: at, why })
    }

    /// The next whole frame that was read from a link, without its length prefix.
    pub(crate) fn frame(&mut self, at: usize) -> Result<Option<&[u8]>, Broken> {
        let Some(link) = self.links.get_mut(at) else { return Ok(None) };
        let Some((prefix, rest)) = link.inbox.get(link.from..link.to).and_then(|bytes| bytes.split_first_chunk::<2>())
        else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length == 0 || length > LONGEST {
            return Err(Broken::Garbage { link: at, length });
        }
        let frame = rest.get(..length);
        if frame.is_some() {
            link.from += 2 + length;
        }
        Ok(frame)
    }
}

impl Link {
    /// Writes what is there; whether the kernel left some.
    fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(false)
    }

    fn read(&mut self) -> Result<bool, Option<io::Error>> {
        // What is left of an unfinished frame goes to the front: at most one frame's bytes.
        self.inbox.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let Some(room) = self.inbox.get_mut(self.to..) else { return Ok(false) };
        loop {
            return match self.stream.read(room) {
                Ok(0) => Err(None),
                Ok(count) => {
                    let full = count == room.len();
                    self.to += count;
                    Ok(full)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(Some(error)),
            };
        }
    }
}
