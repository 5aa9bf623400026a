//! TCP segments put in order: what one side of a connection sent, as its peer read it. Retransmissions are dropped, a
//! gap in the capture begins a new run, because framing is not known behind it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use jiff::Timestamp;

use super::packets::{Packets, Segment};

/// Bytes that one side sent, without a gap.
#[derive(Debug, Clone)]
pub struct Run {
    /// Who sent them.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The bytes.
    pub bytes: Bytes,
    /// Bytes that the capture lost before these.
    pub lost: u64,
    /// Every copy of these bytes in the file, retransmissions too: place in the run, place in the file.
    pub copies: Vec<(usize, Range<usize>)>,
    /// Where a packet's new bytes begin in the run: its number and time.
    pub marks: Vec<Mark>,
}

/// Where a packet's bytes begin in a run.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Place in the run.
    pub at: usize,
    /// The packet's number in the file.
    pub packet: usize,
    /// When it was captured.
    pub time: Option<Timestamp>,
}

impl Run {
    /// The packet that brought the byte at this place.
    pub fn mark(&self, at: usize) -> Option<Mark> {
        let behind = self.marks.partition_point(|mark| mark.at <= at);
        self.marks.get(behind.checked_sub(1)?).copied()
    }
}

/// One direction of one connection in the making.
struct Flow {
    from: SocketAddr,
    to: SocketAddr,
    /// Sequence number from which positions count, and the last one seen.
    base: u32,
    seen: u64,
    /// Position, place in the file, packet, time.
    pieces: Vec<(u64, Range<usize>, usize, Option<Timestamp>)>,
}

impl Flow {
    fn new(segment: &Segment) -> Self {
        let base = if segment.syn { segment.sequence.wrapping_add(1) } else { segment.sequence };
        Self { from: segment.from, to: segment.to, base, seen: 0, pieces: Vec::new() }
    }

    /// The segment's position; `None` for what lies before the first byte of a capture that began in mid-connection.
    fn position(&self, segment: &Segment) -> Option<u64> {
        let sequence = if segment.syn { segment.sequence.wrapping_add(1) } else { segment.sequence };
        // Sequence numbers wrap: the distance to the last position is what counts. Its low 32 bits are all there is.
        let last = self.base.wrapping_add(u32::try_from(self.seen & u64::from(u32::MAX)).unwrap_or(0));
        let distance = i64::from(sequence.wrapping_sub(last).cast_signed());
        self.seen.checked_add_signed(distance)
    }

    fn add(&mut self, segment: &Segment) {
        let Some(position) = self.position(segment) else { return };
        if segment.payload.is_empty() {
            return;
        }
        self.seen = self.seen.max(position + segment.payload.len() as u64);
        self.pieces.push((position, segment.payload.clone(), segment.packet, segment.at));
    }

    fn runs(mut self, file: &[u8], out: &mut Vec<Run>) {
        self.pieces.sort_by_key(|(position, _, packet, _)| (*position, *packet));
        let mut next = 0;
        let mut begin = 0;
        let mut lost = 0;
        let mut bytes = Vec::new();
        let (mut copies, mut marks) = (Vec::new(), Vec::new());
        let mut close = |bytes: &mut Vec<u8>, copies: &mut Vec<_>, marks: &mut Vec<_>, lost| {
            if !bytes.is_empty() {
                out.push(Run {
                    from: self.from,
                    to: self.to,
                    bytes: std::mem::take(bytes).into(),
                    lost,
                    copies: std::mem::take(copies),
                    marks: std::mem::take(marks),
                });
            }
        };
        for (position, place, packet, time) in &self.pieces {
            if *position > next {
                close(&mut bytes, &mut copies, &mut marks, lost);
                lost = *position - next;
                (begin, next) = (*position, *position);
            }
            let at = usize::try_from(position - begin).unwrap_or(usize::MAX);
            copies.push((at, place.clone()));
            let known = usize::try_from(next - position).unwrap_or(usize::MAX);
            if let Some(new) = file.get(place.clone()).and_then(|data| data.get(known..)).filter(|new| !new.is_empty())
            {
                marks.push(Mark { at: at + known, packet: *packet, time: *time });
                bytes.extend_from_slice(new);
                next += new.len() as u64;
            }
        }
        close(&mut bytes, &mut copies, &mut marks, lost);
    }
}

/// Puts the segments of a capture together, connections in the order of their first packets.
pub fn runs(packets: &Packets, file: &[u8]) -> Vec<Run> {
    let mut open: HashMap<(SocketAddr, SocketAddr), usize> = HashMap::new();
    let mut flows: Vec<Flow> = Vec::new();
    for segment in &packets.segments {
        let ends = (segment.from, segment.to);
        let at = match open.get(&ends).copied() {
            // The same ports again: another connection, unless the SYN was only sent twice.
            Some(at) if segment.syn && flows.get(at).is_some_and(|flow| flow.position(segment) != Some(0)) => None,
            known => known,
        };
        let at = at.unwrap_or_else(|| {
            flows.push(Flow::new(segment));
            open.insert(ends, flows.len() - 1);
            flows.len() - 1
        });
        if let Some(flow) = flows.get_mut(at) {
            flow.add(segment);
        }
    }
    let mut out = Vec::new();
    flows.into_iter().for_each(|flow| flow.runs(file, &mut out));
    out
}
