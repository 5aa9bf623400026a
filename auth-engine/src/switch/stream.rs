//! One connection's bytes, plain or inside TLS: the connection above reads and writes the same way.
//!
//! It must never wait and never keep plaintext of its own on the way out: what the socket does not take stays
//! where it is counted.

use std::cell::RefCell;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;

use super::tls::{Session, Taken};

/// A connected socket, with its TLS session where the link has TLS.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    session: Option<RefCell<Session>>,
}

impl Stream {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket, session: None }
    }

    pub(super) fn secured(socket: TcpStream, session: Session) -> Self {
        Self { socket, session: Some(RefCell::new(session)) }
    }

    /// To wait for it, or to set its options. Only [`Stream::read`] and [`Stream::write`] know what its bytes mean.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Takes once from the socket and appends what it says. How many bytes came over the wire; 0: the peer sends
    /// no more. Inside TLS bytes may come that say nothing yet.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. A [`rustls::Error`] inside: TLS was broken, or ended by an alert.
    pub(super) fn read(&self, into: &mut BytesMut) -> io::Result<usize> {
        match &self.session {
            None => self.socket.try_read_buf(into),
            Some(session) => match session.borrow_mut().read(&self.socket, into)? {
                Taken::Some(bytes) => Ok(bytes),
                Taken::EndOfStream => Ok(0),
            },
        }
    }

    /// Sends from the front of `out` and takes off what was sent. True: everything is in the socket.
    pub(super) fn write(&self, out: &mut BytesMut) -> io::Result<bool> {
        let written = match &self.session {
            None if out.is_empty() => return Ok(true),
            None => self.socket.try_write(out).map(|written| {
                out.advance(written);
                out.is_empty()
            }),
            Some(session) => session.borrow_mut().write(&self.socket, out),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            other => other,
        }
    }

    /// Encrypted bytes wait for room in the socket: a reply, or what TLS itself has to say.
    pub(super) fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.borrow().wants_write())
    }

    /// A TLS record has begun and is not whole.
    pub(super) fn inside_record(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.borrow().inside_record())
    }

    /// Inside TLS the end is said; a peer could not tell it from a cut cable otherwise. Never waits.
    pub(super) fn say_goodbye(&self) {
        if let Some(session) = &self.session {
            session.borrow_mut().say_goodbye(&self.socket);
        }
    }
}
