//! A link's connection on the network's side: frames out with their faults, frames in. It must never look into a message.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use iso_codec::{Framing, FramingError, Step};

use super::scenario::{Fault, Link, Opening};

/// Longest frame taken.
const MAX_FRAME: usize = 64 * 1024;
/// How long a connection may take to come about, and a write to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a listener looks for the engine.
const LOOK: Duration = Duration::from_millis(5);

/// What was waited for.
pub enum Got {
    /// A frame's message.
    Frame(Bytes),
    /// Nothing in time.
    Nothing,
    /// The other side closed.
    Closed,
}

/// One link.
pub struct Wire {
    opening: Opening,
    framing: Framing,
    header: Vec<u8>,
    listener: Option<TcpListener>,
    stream: Option<TcpStream>,
    unread: Vec<u8>,
}

impl Wire {
    /// Not connected yet; a listening one listens from here on.
    pub fn new(link: &Link) -> io::Result<Self> {
        let listener = match &link.opening {
            Opening::Connect(_) => None,
            Opening::Listen(at) => {
                let listener = TcpListener::bind(at.as_str())?;
                listener.set_nonblocking(true)?;
                Some(listener)
            }
        };
        Ok(Self {
            opening: link.opening.clone(),
            framing: link.framing,
            header: link.header.clone(),
            listener,
            stream: None,
            unread: Vec::new(),
        })
    }

    /// The connection, opened when there is none.
    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = match (&self.opening, &self.listener) {
                (Opening::Connect(at), _) => connect(at)?,
                (Opening::Listen(_), None) => return Err(ErrorKind::NotConnected.into()),
                (Opening::Listen(at), Some(listener)) => accept(listener, at)?,
            };
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            self.unread.clear();
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// A message in its frame, with a wrong length where the fault says so.
    pub fn frame(&self, message: &[u8], fault: &Fault) -> io::Result<Vec<u8>> {
        let long = i64::try_from(message.len()).unwrap_or(i64::MAX).saturating_add(fault.length).max(0);
        let announced = usize::try_from(long).unwrap_or(usize::MAX);
        let mut prefix = [0u8; 8];
        let size = self
            .framing
            .encode_prefix(announced, &mut prefix)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let mut frame = prefix.get(..size).unwrap_or_default().to_vec();
        frame.extend_from_slice(&self.header);
        frame.extend_from_slice(message);
        if let Some(half) = fault.half {
            frame.truncate(half);
        }
        Ok(frame)
    }

    /// Writes bytes, in pieces where the fault says so.
    pub fn send(&mut self, bytes: &[u8], fault: &Fault) -> io::Result<()> {
        let stream = self.stream()?;
        let mut cuts: Vec<usize> = if fault.split_every {
            (1..bytes.len()).collect()
        } else {
            fault.split.iter().copied().filter(|at| *at > 0 && *at < bytes.len()).collect()
        };
        cuts.sort_unstable();
        cuts.dedup();
        let mut from = 0;
        for to in cuts {
            stream.write_all(bytes.get(from..to).unwrap_or_default())?;
            from = to;
            std::thread::sleep(fault.pause);
        }
        stream.write_all(bytes.get(from..).unwrap_or_default())
    }

    /// Closes the connection; the next message opens another.
    pub fn hang_up(&mut self) {
        if let Some(stream) = self.stream.take() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.unread.clear();
    }

    /// The next frame until then.
    pub fn next(&mut self, until: Instant) -> io::Result<Got> {
        let mut chunk = [0u8; 4096];
        loop {
            match self.framing.next(&self.unread, MAX_FRAME) {
                Ok(Step::Frame { start, end }) => {
                    let bytes = Bytes::copy_from_slice(self.unread.get(start..end).unwrap_or_default());
                    self.unread.drain(..end);
                    return Ok(Got::Frame(bytes));
                }
                // A keep-alive.
                Err(FramingError::ZeroLength) if self.framing.header_bytes == 0 => {
                    let width = self.framing.width.bytes().min(self.unread.len());
                    self.unread.drain(..width);
                    continue;
                }
                Err(error) => {
                    self.hang_up();
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
                Ok(Step::Need(_)) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Got::Nothing);
            }
            let stream = self.stream()?;
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match stream.read(&mut chunk) {
                Ok(0) => {
                    self.hang_up();
                    return Ok(Got::Closed);
                }
                Ok(n) => self.unread.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Got::Nothing);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    self.hang_up();
                    return Ok(Got::Closed);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn connect(at: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{at} has no address"));
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn accept(listener: &TcpListener, at: &str) -> io::Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {
                std::thread::sleep(LOOK);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let reason = format!("nobody connected to {at} within {} s", PATIENCE.as_secs());
                return Err(io::Error::new(ErrorKind::TimedOut, reason));
            }
            Err(error) => return Err(error),
        }
    }
}
