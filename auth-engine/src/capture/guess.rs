//! Which framing and which spec are these bytes? Tries every framing with every spec on the first bytes of a link and
//! ranks them by how much of the bytes they explain. It must never hold a rule about messages: it asks `iso-codec`.

use std::sync::Arc;

use bytes::Bytes;
use iso_codec::{ElementAt, Framing, Spec, Width};
use serde::Serialize;

use super::{Place, Rest, cut, message};

/// Headers between length and message that are in use: none, a TPDU, and those of some networks.
const HEADERS: [usize; 8] = [0, 5, 2, 4, 12, 22, 26, 28];
/// Frames that are looked at; more say the same.
const FRAMES: usize = 200;

/// One framing with one spec, and how well they explain the bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Guess {
    /// `len2be`, …; none when the bytes are one message without a length.
    pub framing: Option<&'static str>,
    /// The length counts its own bytes.
    pub inclusive: bool,
    /// Bytes between length and message.
    pub header_bytes: usize,
    /// The header looks like a TPDU: `60`, two addresses.
    pub tpdu: bool,
    /// The spec.
    pub spec: String,
    /// Frames found.
    pub frames: usize,
    /// Frames that decode.
    pub decoded: usize,
    /// Share of the bytes that stand in frames that decode, or in the decoded part of others.
    pub explained: f64,
    /// What is wrong with the first that does not.
    pub first_error: Option<String>,
}

impl Guess {
    /// Every byte is explained; for a stream that was cut, all but the last frame's.
    pub fn is_whole(&self) -> bool {
        self.frames > 0 && self.decoded == self.frames
    }

    /// The flags that `decode` takes to read so.
    pub fn flags(&self) -> String {
        let mut flags = format!("--spec {}", self.spec);
        if let Some(framing) = self.framing {
            flags.push_str(&format!(" --framing {framing}"));
        }
        if self.inclusive {
            flags.push_str(" --inclusive");
        }
        if self.header_bytes > 0 {
            flags.push_str(&format!(" --header-bytes {}", self.header_bytes));
        }
        flags
    }

    /// The lines of a `[[link]]` that read so.
    pub fn link(&self) -> String {
        let mut lines = format!("spec = \"{}\"", self.spec);
        if let Some(framing) = self.framing {
            lines.push_str(&format!(", framing = \"{framing}\""));
        }
        if self.inclusive {
            lines.push_str(", inclusive = true");
        }
        if self.header_bytes > 0 {
            lines.push_str(&format!(", header_bytes = {}", self.header_bytes));
        }
        lines
    }
}

/// Ranks the ways to read these streams (each from its connection's first byte), best first; ways that explain nothing
/// are left out.
pub fn rank(streams: &[Bytes], specs: &[Arc<Spec>]) -> Vec<Guess> {
    let mut guesses = Vec::new();
    for spec in specs {
        guesses.extend(guess(streams, spec, None));
        for width in [Width::Len2Be, Width::Len2Le, Width::Len4Be, Width::Len4Ascii] {
            for inclusive in [false, true] {
                for header_bytes in HEADERS {
                    guesses.extend(guess(streams, spec, Some(Framing { width, inclusive, header_bytes })));
                }
            }
        }
    }
    // More explained first; of equals the plainer one.
    guesses.sort_by(|a, b| {
        let plain = |guess: &Guess| (guess.inclusive, guess.header_bytes);
        b.explained.total_cmp(&a.explained).then(b.decoded.cmp(&a.decoded)).then(plain(a).cmp(&plain(b)))
    });
    guesses
}

fn guess(streams: &[Bytes], spec: &Arc<Spec>, framing: Option<Framing>) -> Option<Guess> {
    let (mut frames, mut decoded, mut good, mut all) = (0, 0, 0.0, 0.0);
    let (mut tpdu, mut first_error) = (framing.is_some_and(|framing| framing.header_bytes == 5), None);
    for stream in streams {
        let (places, rest) = match framing {
            Some(framing) => cut(framing, stream),
            None => (vec![Place { frame: 0, start: 0, end: stream.len() }], Rest::Nothing),
        };
        let looked = places.len() > FRAMES;
        for place in places.into_iter().take(FRAMES) {
            frames += 1;
            let header = stream.get(place.frame..place.start).unwrap_or_default();
            tpdu &= header.iter().rev().nth(4) == Some(&0x60);
            let size = size(place.end - place.frame);
            all += size;
            match iso_codec::decode(spec, message(stream, place)) {
                Ok(_) => {
                    decoded += 1;
                    good += size;
                }
                Err(error) => {
                    // A type and bitmaps are found in much that is no message.
                    let read =
                        if matches!(error.element, ElementAt::Mti | ElementAt::Bitmap) { 0 } else { error.offset };
                    good += self::size(read.saturating_sub(20)) / 2.0;
                    first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
        match rest {
            Rest::Nothing => {}
            // The end of what was captured, or a length that is none: the next bytes would tell.
            Rest::Cut { at, .. } if at > 0 && !looked => {}
            Rest::Cut { at, .. } | Rest::Lost { at, .. } if !looked => all += size(stream.len() - at),
            Rest::Cut { .. } | Rest::Lost { .. } => {}
        }
    }
    if frames == 0 || good <= 0.0 {
        return None;
    }
    Some(Guess {
        framing: framing.map(|framing| framing.width.name()),
        inclusive: framing.is_some_and(|framing| framing.inclusive),
        header_bytes: framing.map_or(0, |framing| framing.header_bytes),
        tpdu,
        spec: spec.name().to_owned(),
        frames,
        decoded,
        explained: good / all,
        first_error,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share of a capture of at most 64 MiB")]
fn size(bytes: usize) -> f64 {
    bytes as f64
}
