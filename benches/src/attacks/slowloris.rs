//! Connections that begin a frame and then send one byte a second. It owns those connections and when each was cut;
//! it must never finish a frame.

use crate::fault::Fault;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two bytes of a connection.
const BETWEEN: Duration = Duration::from_secs(1);
/// Between two looks whether a connection was cut: how exact the times are.
const LOOK: Duration = Duration::from_millis(50);
/// What each frame promises to be long: at one byte a second, far longer than any run.
const PROMISED: u16 = 200;

/// What became of the connections.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// From a connection's first byte to the moment it was seen to be cut.
    pub(crate) after: Vec<Duration>,
    /// The longest that a connection went on without being cut.
    pub(crate) oldest: Duration,
    /// Connections that were refused.
    pub(crate) refused: u64,
}

struct Slow {
    stream: TcpStream,
    began: Instant,
    next: Instant,
}

impl Slow {
    fn begin(addr: SocketAddr) -> io::Result<Slow> {
        let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.write_all(&PROMISED.to_be_bytes())?;
        stream.set_nonblocking(true)?;
        let began = Instant::now();
        Ok(Slow { stream, began, next: began + BETWEEN })
    }

    /// True when the other side ended it.
    fn ended(&mut self) -> bool {
        match self.stream.read(&mut [0; 64]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Keeps that many slow connections open until told to stop; one that was cut is made anew.
pub(crate) fn attack(addr: SocketAddr, connections: usize, stop: &AtomicBool) -> Result<Cuts, Fault> {
    let mut cuts = Cuts::default();
    let mut open = Vec::with_capacity(connections);
    while !stop.load(Ordering::Relaxed) {
        let mut failed = false;
        while open.len() < connections && !failed {
            match Slow::begin(addr) {
                Ok(slow) => open.push(slow),
                Err(_) => {
                    cuts.refused += 1;
                    failed = true;
                }
            }
        }
        let now = Instant::now();
        open.retain_mut(|slow: &mut Slow| {
            if slow.ended() {
                cuts.after.push(slow.began.elapsed());
                return false;
            }
            if slow.next <= now {
                slow.next += BETWEEN;
                // A connection that cannot take one byte is found to be cut at the next look.
                let _ = slow.stream.write(b"0");
            }
            true
        });
        std::thread::sleep(LOOK);
    }
    cuts.oldest = open.iter().map(|slow| slow.began.elapsed()).max().unwrap_or_default();
    Ok(cuts)
}
