//! Captures of links: packets of a pcap file put together to byte streams, messages found in them, and what is done
//! with messages outside a running engine: told apart, compared, made shareable.
//!
//! It must never open a socket, and never hold a rule about messages: `iso-codec` has them.

pub mod compare;
pub mod dump;
pub mod guess;
pub mod lines;
pub mod packets;
pub mod redact;
pub mod streams;

use bytes::Bytes;
use iso_codec::{Framing, FramingError, Step};

/// One frame of a stream: where its message stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte of the length prefix.
    pub frame: usize,
    /// First byte of the message.
    pub start: usize,
    /// One behind its last.
    pub end: usize,
}

/// Why a stream could not be cut to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is left over.
    Nothing,
    /// The stream ends inside a frame that begins here and lacks so many bytes.
    Cut {
        /// Where that frame begins.
        at: usize,
        /// Bytes it lacks.
        lacks: usize,
    },
    /// No frame begins here.
    Lost {
        /// Where framing was lost.
        at: usize,
        /// Why.
        why: FramingError,
    },
}

/// Cuts a stream into frames. Lengths of zero, with which some networks keep a link alive, are skipped.
pub fn cut(framing: Framing, stream: &[u8]) -> (Vec<Place>, Rest) {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(rest) = stream.get(at..).filter(|rest| !rest.is_empty()) {
        match framing.next(rest, usize::from(u16::MAX)) {
            Ok(Step::Frame { start, end }) => {
                places.push(Place { frame: at, start: at + start, end: at + end });
                at += end;
            }
            Ok(Step::Need(lacks)) => return (places, Rest::Cut { at, lacks }),
            Err(FramingError::ZeroLength) if framing.header_bytes == 0 => at += framing.width.bytes(),
            Err(why) => return (places, Rest::Lost { at, why }),
        }
    }
    (places, Rest::Nothing)
}

/// The message of a place, sharing the stream's bytes.
pub fn message(stream: &Bytes, place: Place) -> Bytes {
    stream.slice(place.start..place.end)
}
