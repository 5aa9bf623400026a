//! From a stream of bytes to frames and back, by the pure rules of `iso-codec`.
//!
//! It must never decode a message: a frame is bytes here.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use iso_codec::{Framing, FramingError, Step};
use tokio_util::codec::Decoder;

/// Why bytes of a link were not handed on, or a connection was cut. The word is a label of
/// `auth_frames_rejected_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// A length that leaves no message. Without a header the place of the next frame is known and the
    /// connection stays (some networks keep a link alive this way); with one, framing is lost.
    ZeroLength,
    /// A length over `max_frame`: framing is lost, the connection is closed.
    TooLong,
    /// A length that is not a number, or less than what it has to count: framing is lost.
    BadLength,
    /// A frame was not finished within `frame_timeout`.
    FrameTimeout,
    /// The peer went away in the middle of a frame.
    CutFrame,
    /// The peer does not read its replies.
    SlowReader,
    /// The peer did not answer an echo, a sign-on or a sign-off in time: the connection is half open.
    EchoTimeout,
    /// The link has as many connections as it may have.
    TooManyConnections,
    /// The peer's handshake was refused, or ours by it, or it was not done within `frame_timeout`.
    TlsHandshake,
    /// What came on an open connection is not what TLS says, or the peer ended it with an alert.
    Tls,
}

impl Reject {
    /// The label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ZeroLength => "zero_length",
            Self::TooLong => "too_long",
            Self::BadLength => "bad_length",
            Self::FrameTimeout => "frame_timeout",
            Self::CutFrame => "cut_frame",
            Self::SlowReader => "slow_reader",
            Self::EchoTimeout => "echo_timeout",
            Self::TooManyConnections => "too_many_connections",
            Self::TlsHandshake => "tls_handshake",
            Self::Tls => "tls",
        }
    }
}

impl From<FramingError> for Reject {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::TooLong { .. } => Self::TooLong,
            FramingError::ZeroLength => Self::ZeroLength,
            FramingError::BadLength => Self::BadLength,
        }
    }
}

/// One whole frame: both parts share the read buffer, nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes between prefix and message, to be sent back with the reply.
    pub header: Bytes,
    /// The message; empty when the length left nothing.
    pub message: Bytes,
}

/// Framing was lost, or the stream failed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// No further frame can be found in this stream.
    #[error("framing is lost: {}", .0.word())]
    Lost(Reject),
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Cuts a stream into frames.
#[derive(Debug, Clone, Copy)]
pub struct FrameCodec {
    framing: Framing,
    max_frame: usize,
}

impl FrameCodec {
    /// A codec for one connection; `max_frame` counts header and message, not the prefix.
    #[must_use]
    pub fn new(framing: Framing, max_frame: usize) -> Self {
        Self { framing, max_frame }
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let width = self.framing.width.bytes();
        match self.framing.next(buf, self.max_frame) {
            Ok(Step::Need(_)) => Ok(None),
            Ok(Step::Frame { start, end }) => {
                buf.advance(width);
                // Most links have no header: what is empty shares nothing, and is no count to keep.
                let header = if start == width { Bytes::new() } else { buf.split_to(start - width).freeze() };
                Ok(Some(Frame { header, message: buf.split_to(end - start).freeze() }))
            }
            Err(FramingError::ZeroLength) if self.framing.header_bytes == 0 => {
                buf.advance(width);
                Ok(Some(Frame { header: Bytes::new(), message: Bytes::new() }))
            }
            Err(error) => Err(FrameError::Lost(error.into())),
        }
    }
}

/// Appends prefix, header and message to `out`. The header is cut or zero-filled to the link's width, so that
/// the length always tells the truth. False, with nothing appended, when the prefix cannot say the length.
#[must_use]
pub fn write_frame(framing: &Framing, header: &[u8], message: &[u8], out: &mut BytesMut) -> bool {
    out.reserve(8 + framing.header_bytes + message.len());
    let mut prefix = [0; 8];
    let Some(prefix) = framing.encode_prefix(message.len(), &mut prefix).ok().and_then(|size| prefix.get(..size))
    else {
        return false;
    };
    out.extend_from_slice(prefix);
    let head = header.get(..framing.header_bytes).unwrap_or(header);
    out.extend_from_slice(head);
    out.resize(out.len() + (framing.header_bytes - head.len()), 0);
    out.extend_from_slice(message);
    true
}
