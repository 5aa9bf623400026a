//! The network's side of a link: one connection, one message at a time, its answer and how long that took.
//!
//! It must never look into a message further than to know which answer belongs to which request.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iso_codec::{Framing, Message, Spec, Step, decode};

use crate::cli::Failure;

/// Longest frame accepted, bytes.
const MAX_FRAME: usize = 8 * 1024;
/// Longer than any link's budget by default: what has not come by then never comes.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection to the engine's link.
pub(super) struct NetworkSide {
    stream: TcpStream,
    spec: Arc<Spec>,
    framing: Framing,
    unread: Vec<u8>,
}

/// What came back.
pub(super) struct Answer {
    /// Decoded.
    pub(super) message: Message,
    /// From the request's first byte out to the answer's last byte in.
    pub(super) took: Duration,
}

impl NetworkSide {
    /// Connects.
    pub(super) fn connect(at: SocketAddr, spec: Arc<Spec>) -> Result<Self, Failure> {
        let opened = TcpStream::connect(at).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let stream = opened.map_err(|error| {
            Failure::no(format!("the network side cannot reach the link on {at}: {error}; try again"))
        })?;
        Ok(Self { stream, spec, framing: Framing::default(), unread: Vec::new() })
    }

    /// Sends a message and waits for its answer: the one with the same DE7 and DE11. None when none comes in time.
    pub(super) fn exchange(&mut self, request: &Bytes) -> Result<Option<Answer>, Failure> {
        let asked = decode(&self.spec, request.clone())
            .map_err(|error| Failure::no(format!("the demo's own message is wrong: {error}; please report it")))?;
        let mut prefix = [0u8; 8];
        let size = self
            .framing
            .encode_prefix(request.len(), &mut prefix)
            .map_err(|error| Failure::no(format!("the demo's own message is wrong: {error}; please report it")))?;
        // One write, as a switch would: length and message in one packet.
        let mut frame = prefix.get(..size).unwrap_or_default().to_vec();
        frame.extend_from_slice(request);
        let broken =
            |error: io::Error| Failure::no(format!("the link broke: {error}; see the engine's log with --log debug"));
        let begun = Instant::now();
        self.stream.write_all(&frame).map_err(broken)?;
        loop {
            let Some(bytes) = self.frame(begun).map_err(broken)? else { return Ok(None) };
            let took = begun.elapsed();
            let message = decode(&self.spec, bytes).map_err(|error| {
                Failure::no(format!("an answer cannot be read: {error}; see `auth-engine decode --help`"))
            })?;
            if message.raw(7) == asked.raw(7) && message.raw(11) == asked.raw(11) {
                return Ok(Some(Answer { message, took }));
            }
        }
    }

    fn frame(&mut self, begun: Instant) -> io::Result<Option<Bytes>> {
        let mut chunk = [0u8; 4096];
        loop {
            let step = self.framing.next(&self.unread, MAX_FRAME);
            if let Step::Frame { start, end } =
                step.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                let bytes = Bytes::copy_from_slice(self.unread.get(start..end).unwrap_or_default());
                self.unread.drain(..end);
                return Ok(Some(bytes));
            }
            if begun.elapsed() > PATIENCE {
                return Ok(None);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.unread.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
