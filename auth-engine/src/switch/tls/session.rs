//! The bytes of one TLS session over a socket that never blocks.
//!
//! It must never wait: what the socket does not take or give now is told as such.

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf, BytesMut};
use rustls::Connection;
use tokio::net::TcpStream;

/// One session and what is known of the records under way in it.
#[derive(Debug)]
pub(in crate::switch) struct Session {
    connection: Box<Connection>,
    records: Records,
    /// The peer said, inside TLS, that nothing more comes.
    peer_done: bool,
}

/// What one look at the socket brought.
pub(in crate::switch) enum Taken {
    /// So many bytes, at least one; with or without plaintext.
    Some(usize),
    /// The peer sends no more.
    EndOfStream,
}

impl Session {
    pub(in crate::switch) fn new(connection: Connection) -> Self {
        Self { connection: Box::new(connection), records: Records::default(), peer_done: false }
    }

    pub(in crate::switch) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Encrypted bytes wait for room in the socket.
    pub(in crate::switch) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// A record has begun and is not whole: the peer owes the rest of it.
    pub(in crate::switch) fn inside_record(&self) -> bool {
        self.records.inside()
    }

    /// Protocol version and cipher suite, for people.
    pub(in crate::switch) fn terms(&self) -> (Option<rustls::ProtocolVersion>, Option<rustls::CipherSuite>) {
        (self.connection.protocol_version(), self.connection.negotiated_cipher_suite().map(|suite| suite.suite()))
    }

    /// Takes once from the socket and appends what it says to `plain`.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. A [`rustls::Error`] inside: what came is not what TLS says, or the peer
    /// ended it with an alert; ours is on its way to it as far as the socket takes it.
    pub(in crate::switch) fn read(&mut self, socket: &TcpStream, plain: &mut BytesMut) -> io::Result<Taken> {
        if self.peer_done {
            return Ok(Taken::EndOfStream);
        }
        let mut tap = Tap { socket, records: &mut self.records };
        let taken = self.connection.read_tls(&mut tap)?;
        if taken == 0 {
            // Without a close_notify: a frame that was cut by it is found out by its length.
            self.peer_done = true;
            return Ok(Taken::EndOfStream);
        }
        match self.connection.process_new_packets() {
            Ok(state) => self.peer_done = state.peer_has_closed(),
            Err(error) => {
                let _ = self.send(socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        self.drain(plain)?;
        Ok(Taken::Some(taken))
    }

    fn drain(&mut self, plain: &mut BytesMut) -> io::Result<()> {
        let mut reader = self.connection.reader();
        loop {
            let read = match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(bytes) => {
                    plain.extend_from_slice(bytes);
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            reader.consume(read);
        }
    }

    /// Encrypts and sends from the front of `plain`. True: all of it and all that waited is in the socket.
    /// Nothing is encrypted ahead of the socket, so that what waits is counted where it always is.
    pub(in crate::switch) fn write(&mut self, socket: &TcpStream, plain: &mut BytesMut) -> io::Result<bool> {
        loop {
            if !self.send(socket)? {
                return Ok(false);
            }
            if plain.is_empty() {
                return Ok(true);
            }
            let taken = self.connection.writer().write(plain)?;
            plain.advance(taken);
        }
    }

    /// Sends what is encrypted. True: nothing is left.
    pub(in crate::switch) fn send(&mut self, socket: &TcpStream) -> io::Result<bool> {
        let mut tap = Tap { socket, records: &mut self.records };
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut tap) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says inside TLS that we send no more, as far as the socket takes it; never waits for the peer to say so too.
    pub(in crate::switch) fn say_goodbye(&mut self, socket: &TcpStream) {
        self.connection.send_close_notify();
        let _ = self.send(socket);
    }
}

/// The socket as rustls wants it, seen by the record count on the way in.
struct Tap<'a> {
    socket: &'a TcpStream,
    records: &'a mut Records,
}

impl Read for Tap<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.try_read(buf)?;
        self.records.see(buf.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl Write for Tap<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where records begin and end in the stream (RFC 8446 5.1: one byte of type, two of version, two of length).
/// rustls does not tell whether it waits for the rest of one, and a peer that never sends it must be found.
#[derive(Debug, Default)]
struct Records {
    /// Bytes of the header seen.
    head: usize,
    /// The two bytes of the length as far as they came; then what is left of the record.
    left: usize,
}

/// Bytes of a record's header.
const HEAD: usize = 5;

impl Records {
    fn see(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.head < HEAD {
                self.head += 1;
                if self.head > HEAD - 2 {
                    self.left = self.left << 8 | usize::from(first);
                }
                bytes = rest;
            } else {
                let skip = self.left.min(bytes.len());
                self.left -= skip;
                bytes = bytes.get(skip..).unwrap_or_default();
            }
            if self.head == HEAD && self.left == 0 {
                *self = Self::default();
            }
        }
    }

    fn inside(&self) -> bool {
        self.head > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_however_they_are_cut() {
        let record = |length: u16| {
            let mut bytes = vec![23, 3, 3];
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.resize(HEAD + usize::from(length), 0xFF);
            bytes
        };
        let stream = [record(3), record(0), record(300), record(1)].concat();
        let ends = [8, 13, 318, 324];
        assert_eq!(stream.len(), 324);
        for step in [1, 2, 3, 7, 100, 324] {
            let mut records = Records::default();
            let mut at = 0;
            for part in stream.chunks(step) {
                records.see(part);
                at += part.len();
                assert_eq!(records.inside(), !ends.contains(&at), "after {at} bytes, {step} at a time");
            }
        }
    }
}
