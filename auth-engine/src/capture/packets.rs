//! A pcap or pcapng file as TCP segments, each with its place in the file. Owns what capture formats and link types
//! are read; it must never change a file.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use jiff::Timestamp;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};

/// The largest block of a capture that is read.
const LARGEST_BLOCK: usize = 1 << 20;

/// A TCP segment of a capture.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its packet's number in the file, from 1, as capture tools count.
    pub packet: usize,
    /// When it was captured.
    pub at: Option<Timestamp>,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// TCP sequence number of its first byte; of the SYN itself when `syn`.
    pub sequence: u32,
    /// It opens the connection.
    pub syn: bool,
    /// Where its payload stands in the file.
    pub payload: Range<usize>,
    /// Where its TCP header begins in the file.
    pub header: usize,
}

/// What a capture holds.
#[derive(Debug, Default)]
pub struct Packets {
    /// TCP segments, in the file's order.
    pub segments: Vec<Segment>,
    /// Packets of other protocols, or that do not read: place of all their bytes in the file.
    pub others: Vec<Range<usize>>,
    /// Packets in all.
    pub count: usize,
}

/// Why a file is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Neither format.
    #[error("it is neither pcap nor pcapng; give a capture as tcpdump -w or dumpcap write it")]
    Format,
    /// It stops making sense.
    #[error("the capture does not read at offset {0}; it may be cut")]
    Damaged(usize),
}

/// Whether a file begins as a capture does.
pub fn is_capture(file: &[u8]) -> bool {
    matches!(
        file.first_chunk::<4>(),
        Some(
            [0xD4, 0xC3, 0xB2, 0xA1]
                | [0xA1, 0xB2, 0xC3, 0xD4]
                | [0x4D, 0x3C, 0xB2, 0xA1]
                | [0xA1, 0xB2, 0x3C, 0x4D]
                | [0x0A, 0x0D, 0x0D, 0x0A]
        )
    )
}

/// Reads a capture file.
///
/// # Errors
/// [`CaptureError`] with the place.
pub fn read(file: &[u8]) -> Result<Packets, CaptureError> {
    if !is_capture(file) {
        return Err(CaptureError::Format);
    }
    let mut reader = create_reader(LARGEST_BLOCK, file).map_err(|_| CaptureError::Damaged(0))?;
    let mut packets = Packets::default();
    let mut format = Format::default();
    let mut offset = 0;
    loop {
        match reader.next() {
            Ok((size, block)) => {
                if let Some((from, data, link, at)) = format.packet(&block) {
                    packets.count += 1;
                    packets.take(offset + from, data, link, at);
                }
                offset += size;
                reader.consume(size);
            }
            Err(PcapError::Eof) => return Ok(packets),
            Err(PcapError::Incomplete(_)) => reader.refill().map_err(|_| CaptureError::Damaged(offset))?,
            // A capture that was stopped hard ends inside a packet: what stands before it is good.
            Err(PcapError::UnexpectedEof) => {
                packets.others.push(offset..file.len());
                return Ok(packets);
            }
            Err(_) => return Err(CaptureError::Damaged(offset)),
        }
    }
}

/// What headers of the file said about the packets that follow.
#[derive(Default)]
struct Format {
    link: Option<Linktype>,
    nanoseconds: bool,
    /// pcapng: link type, seconds to add and units in a second of each interface.
    interfaces: Vec<(Linktype, i64, u64)>,
}

/// Place in its block, bytes, link type and time of a packet.
type Packet<'a> = (usize, &'a [u8], Linktype, Option<Timestamp>);

impl Format {
    fn packet<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Option<Packet<'a>> {
        use pcap_parser::Block;
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.link = Some(header.network);
                self.nanoseconds = header.is_nanosecond_precision();
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let unit = if self.nanoseconds { 1 } else { 1_000 };
                let nanos = i32::try_from(i64::from(packet.ts_usec) * unit).unwrap_or(0);
                let at = Timestamp::new(i64::from(packet.ts_sec), nanos).ok();
                Some((16, packet.data, self.link?, at))
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let units = interface.ts_resolution().unwrap_or(1_000_000);
                self.interfaces.push((interface.linktype, interface.ts_offset(), units));
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let (link, offset, units) = *self.interfaces.get(usize::try_from(packet.if_id).ok()?)?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let part = u128::from(ticks % units.max(1)) * 1_000_000_000 / u128::from(units.max(1));
                let seconds = i64::try_from(ticks / units.max(1)).ok()?.checked_add(offset)?;
                let at = Timestamp::new(seconds, i32::try_from(part).unwrap_or(0)).ok();
                let len = usize::try_from(packet.caplen).ok()?.min(packet.data.len());
                Some((28, packet.data.get(..len)?, link, at))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let (link, ..) = *self.interfaces.first()?;
                let len = usize::try_from(packet.origlen).ok()?.min(packet.data.len());
                Some((12, packet.data.get(..len)?, link, None))
            }
            PcapBlockOwned::NG(_) => None,
        }
    }
}

/// The network packet in a captured one: its kind, and how many bytes stand before it.
fn network(link: Linktype, data: &[u8]) -> Option<(LaxSlicedPacket<'_>, usize)> {
    let typed = |kind: Range<usize>, skip: usize| {
        let kind = u16::from_be_bytes(<[u8; 2]>::try_from(data.get(kind)?).ok()?);
        Some((LaxSlicedPacket::from_ether_type(EtherType(kind), data.get(skip..)?), skip))
    };
    match link {
        Linktype::ETHERNET => Some((LaxSlicedPacket::from_ethernet(data).ok()?, 0)),
        // Linux cooked captures, as `tcpdump -i any` writes.
        Linktype::LINUX_SLL => typed(14..16, 16),
        Linktype(276) => typed(0..2, 20),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => {
            Some((LaxSlicedPacket::from_ip(data).ok()?, 0))
        }
        Linktype::NULL | Linktype(108) => Some((LaxSlicedPacket::from_ip(data.get(4..)?).ok()?, 4)),
        _ => None,
    }
}

/// Where one slice stands in another that holds it.
fn within(outer: &[u8], inner: &[u8]) -> Option<usize> {
    (inner.as_ptr() as usize).checked_sub(outer.as_ptr() as usize).filter(|at| at + inner.len() <= outer.len())
}

impl Packets {
    fn take(&mut self, offset: usize, data: &[u8], link: Linktype, at: Option<Timestamp>) {
        match segment(data, link) {
            Some((mut segment, payload, header)) => {
                segment.packet = self.count;
                segment.at = at;
                segment.payload = offset + payload.start..offset + payload.end;
                segment.header = offset + header;
                self.segments.push(segment);
            }
            None => self.others.push(offset..offset + data.len()),
        }
    }
}

fn segment(data: &[u8], link: Linktype) -> Option<(Segment, Range<usize>, usize)> {
    let (packet, _) = network(link, data)?;
    let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    let start = within(data, tcp.payload())?;
    let header = within(data, tcp.slice())?;
    let segment = Segment {
        packet: 0,
        at: None,
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        payload: 0..0,
        header: 0,
    };
    Some((segment, start..start + tcp.payload().len(), header))
}
