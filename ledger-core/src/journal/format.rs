//! The journal's bytes: segment headers, blocks, records. `docs/journal-format.md` is the same in prose.
//!
//! Pure: bytes in, values out. Nothing here may panic on bytes, or do IO.

use super::file::PAGE;
use crate::keys::{MAX_DATA_KEYS, WRAPPED, WrappedDataKey, WrappedKeys};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u16 = 1;

pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"AUTHJRNL";
pub(super) const BLOCK_MAGIC: [u8; 8] = *b"AJBLOCK\x01";
/// Length of a block's header.
pub(super) const BLOCK_HEADER: usize = 96;
/// What fills a page after its last meaningful byte. Not zero, so that a zero sector means "never written".
pub(super) const PAD: u8 = 0xC3;
/// The unit in which a disk tears a write.
pub(super) const SECTOR: usize = 512;
/// A hash that stands before the first block of all.
pub(super) const NO_HASH: Hash = [0; 32];
/// Where the version, the engine id, the shard and the wrapped keys stand in a segment header.
pub(super) const AT_VERSION: u64 = 8;
pub(super) const AT_ENGINE: u64 = 16;
pub(super) const AT_SHARD: u64 = 32;
pub(super) const AT_KEYS: u64 = 96;

/// BLAKE3 of a block or a segment header.
pub(super) type Hash = [u8; 32];

/// A bounds-checked reader of little-endian fields.
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }
}

/// Rounds up to whole pages.
pub(super) fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * PAGE
}

/// Whether every byte is zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && tail.iter().all(|byte| *byte == 0)
}

/// Whether a sector was never written.
pub(super) fn has_zero_sector(bytes: &[u8]) -> bool {
    bytes.chunks(SECTOR).any(is_zero)
}

// ---------------------------------------------------------------------------------------------- segment header

/// What the first page of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) engine_id: [u8; 16],
    pub(super) shard: u8,
    pub(super) number: u32,
    pub(super) segment_bytes: u64,
    /// Bytes of the spares that are made while this segment is the newest.
    pub(super) spare_bytes: u64,
    pub(super) first_seq: u64,
    pub(super) previous: Hash,
    pub(super) keys: WrappedKeys,
}

/// A first page, read.
pub(super) enum HeaderPage {
    /// Never written: a spare.
    Zero,
    /// Whole.
    Good(Box<SegmentHeader>),
    /// Whole and of a format this program does not know.
    Newer(u16),
    /// Neither; `torn` tells that a sector of it was never written.
    Bad { torn: bool },
}

/// Fills `page` (one page) with the header.
pub(super) fn write_segment_header(header: &SegmentHeader, page: &mut [u8]) {
    let mut bytes = Vec::with_capacity(PAGE);
    bytes.extend_from_slice(&SEGMENT_MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 6]); // two reserved, four of CRC
    bytes.extend_from_slice(&header.engine_id);
    bytes.extend_from_slice(&[header.shard, 0, 0, 0]);
    bytes.extend_from_slice(&header.number.to_le_bytes());
    bytes.extend_from_slice(&header.segment_bytes.to_le_bytes());
    bytes.extend_from_slice(&header.spare_bytes.to_le_bytes());
    bytes.extend_from_slice(&header.first_seq.to_le_bytes());
    bytes.extend_from_slice(&header.previous);
    // 96 so far; the keys close the header.
    bytes.extend_from_slice(&header.keys.check);
    bytes.extend_from_slice(&header.keys.fingerprint);
    let count = header.keys.data.len().min(MAX_DATA_KEYS);
    bytes.push(header.keys.current);
    bytes.push(u8::try_from(count).unwrap_or(0));
    for key in header.keys.data.iter().take(count) {
        bytes.push(key.id);
        bytes.extend_from_slice(&key.bytes);
    }
    bytes.resize(PAGE, PAD);
    let crc = header_page_crc(&bytes);
    for (to, from) in bytes.iter_mut().skip(12).zip(crc.to_le_bytes()) {
        *to = from;
    }
    page.copy_from_slice(&bytes);
}

pub(super) fn header_page_crc(page: &[u8]) -> u32 {
    let (before, after) = (page.get(..12).unwrap_or_default(), page.get(16..).unwrap_or_default());
    crc32c::crc32c_append(crc32c::crc32c(before), after)
}

/// Reads a first page.
pub(super) fn read_segment_header(page: &[u8]) -> HeaderPage {
    if is_zero(page) {
        return HeaderPage::Zero;
    }
    let bad = HeaderPage::Bad { torn: has_zero_sector(page) };
    let mut fields = Fields { rest: page };
    let Some((magic, version, _reserved, crc)) =
        (|| Some((fields.bytes::<8>()?, fields.u16()?, fields.u16()?, fields.u32()?)))()
    else {
        return bad;
    };
    // Magic, version and CRC keep their places in every format, so a newer one is told from damage.
    if magic != SEGMENT_MAGIC || page.len() != PAGE || crc != header_page_crc(page) {
        return bad;
    }
    if version > FORMAT {
        return HeaderPage::Newer(version);
    }
    match read_header_fields(&mut fields) {
        Some(header) => HeaderPage::Good(Box::new(header)),
        None => bad,
    }
}

fn read_header_fields(fields: &mut Fields<'_>) -> Option<SegmentHeader> {
    let engine_id = fields.bytes()?;
    let [shard, ..] = fields.bytes::<4>()?;
    let number = fields.u32()?;
    let segment_bytes = fields.u64()?;
    let spare_bytes = fields.u64()?;
    let first_seq = fields.u64()?;
    let previous = fields.bytes()?;
    let check = fields.bytes()?;
    let fingerprint = fields.bytes::<WRAPPED>()?;
    let current = fields.u8()?;
    let count = usize::from(fields.u8()?);
    if count == 0 || count > MAX_DATA_KEYS {
        return None;
    }
    let mut data = Vec::with_capacity(count);
    for _ in 0..count {
        data.push(WrappedDataKey { id: fields.u8()?, bytes: fields.bytes()? });
    }
    let keys = WrappedKeys { current, data, fingerprint, check };
    Some(SegmentHeader { engine_id, shard, number, segment_bytes, spare_bytes, first_seq, previous, keys })
}

/// The hash that the first block of a segment carries: it binds the header into the chain.
pub(super) fn segment_header_hash(page: &[u8]) -> Hash {
    *blake3::hash(page).as_bytes()
}

// ------------------------------------------------------------------------------------------------------- block

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Carries events.
    Events,
    /// The last of its segment; names the next.
    Closing,
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) kind: Kind,
    /// 0, or the seed of the stream that whitens the payload.
    pub(super) mask: u8,
    pub(super) count: u32,
    pub(super) first_seq: u64,
    pub(super) payload_len: u32,
    pub(super) epoch: u32,
    pub(super) at: i64,
    pub(super) segment: u32,
    /// The first half of the engine id: no byte from outside can pass for a block of this engine.
    pub(super) tag: [u8; 8],
    pub(super) previous: Hash,
}

impl BlockHeader {
    /// Bytes of the block on disk.
    pub(super) fn padded_len(&self) -> usize {
        // On a 64-bit machine a u32 always fits; elsewhere the sum saturates and fails every bound after it.
        let payload = usize::try_from(self.payload_len).unwrap_or(usize::MAX / 2);
        pages(BLOCK_HEADER.saturating_add(payload))
    }

    /// The sequence of the block's last event; one before the first when it has none.
    pub(super) fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count)).saturating_sub(1)
    }
}

/// Seals a block in place: `block` is header room, payload and pad room, whole pages. Returns its hash.
pub(super) fn seal_block(header: &mut BlockHeader, block: &mut [u8]) -> Option<Hash> {
    let payload_end = BLOCK_HEADER.checked_add(usize::try_from(header.payload_len).ok()?)?;
    block.get_mut(payload_end..)?.fill(PAD);
    write_block_header(header, block)?;
    if header.payload_len as usize >= SECTOR && has_sparse_sector(block) {
        // A sector of zeros inside an event would make damage look like a torn write, so such a payload is whitened.
        let mut seed = 0u8;
        loop {
            seed = seed.checked_add(1)?;
            let payload = block.get_mut(BLOCK_HEADER..payload_end)?;
            whiten(header.mask, payload);
            whiten(seed, payload);
            header.mask = seed;
            if !has_sparse_sector(block) {
                break;
            }
        }
        write_block_header(header, block)?;
    }
    let hash = block_hash(header, block)?;
    let (head, body) = block.split_at_checked(BLOCK_HEADER)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(head.get(..92)?), body);
    *block.get_mut(92..)?.first_chunk_mut::<4>()? = crc.to_le_bytes();
    Some(hash)
}

fn write_block_header(header: &BlockHeader, block: &mut [u8]) -> Option<()> {
    let mut bytes = [0u8; BLOCK_HEADER];
    let kind = match header.kind {
        Kind::Events => 1,
        Kind::Closing => 2,
    };
    let head_len = u16::try_from(BLOCK_HEADER).ok()?.to_le_bytes();
    let fields: [&[u8]; 12] = [
        &BLOCK_MAGIC,
        &head_len,
        &[kind],
        &[header.mask],
        &header.count.to_le_bytes(),
        &header.first_seq.to_le_bytes(),
        &header.payload_len.to_le_bytes(),
        &header.epoch.to_le_bytes(),
        &header.at.to_le_bytes(),
        &header.segment.to_le_bytes(),
        &header.tag,
        &header.previous,
    ];
    let mut rest = &mut bytes[..];
    for field in fields {
        let (to, after) = rest.split_at_mut_checked(field.len())?;
        to.copy_from_slice(field);
        rest = after;
    }
    // 88 bytes so far: the header's own CRC, so that the length it tells can be trusted when the rest is torn.
    let crc = crc32c::crc32c(bytes.get(..88)?);
    *bytes.get_mut(88..)?.first_chunk_mut::<4>()? = crc.to_le_bytes();
    block.get_mut(..BLOCK_HEADER)?.copy_from_slice(&bytes);
    Some(())
}

/// Reads a block's header, or says what is wrong with it.
pub(super) fn read_block_header(page: &[u8]) -> Result<BlockHeader, &'static str> {
    let head = page.get(..BLOCK_HEADER).ok_or("cut within a block header")?;
    let mut fields = Fields { rest: head };
    let short = "cut within a block header";
    if fields.bytes::<8>().ok_or(short)? != BLOCK_MAGIC {
        return Err("no block starts here");
    }
    let mut tail = Fields { rest: head.get(88..).ok_or(short)? };
    if tail.u32().ok_or(short)? != crc32c::crc32c(head.get(..88).ok_or(short)?) {
        return Err("the block header's CRC does not fit");
    }
    if usize::from(fields.u16().ok_or(short)?) != BLOCK_HEADER {
        return Err("the block header has another length than this format's");
    }
    let kind = match fields.u8().ok_or(short)? {
        1 => Kind::Events,
        2 => Kind::Closing,
        _ => return Err("a block of an unknown kind"),
    };
    Ok(BlockHeader {
        kind,
        mask: fields.u8().ok_or(short)?,
        count: fields.u32().ok_or(short)?,
        first_seq: fields.u64().ok_or(short)?,
        payload_len: fields.u32().ok_or(short)?,
        epoch: fields.u32().ok_or(short)?,
        at: i64::from_le_bytes(fields.bytes().ok_or(short)?),
        segment: fields.u32().ok_or(short)?,
        tag: fields.bytes().ok_or(short)?,
        previous: fields.bytes().ok_or(short)?,
    })
}

/// Checks the CRC over the whole padded block and gives its hash.
pub(super) fn check_block(header: &BlockHeader, block: &[u8]) -> Result<Hash, &'static str> {
    let short = "a block runs past the end of its segment";
    let (head, body) = block.split_at_checked(BLOCK_HEADER).ok_or(short)?;
    let mut tail = Fields { rest: head.get(92..).ok_or(short)? };
    let crc = crc32c::crc32c_append(crc32c::crc32c(head.get(..92).ok_or(short)?), body);
    if tail.u32().ok_or(short)? != crc {
        return Err("the block's CRC does not fit");
    }
    block_hash(header, block).ok_or(short)
}

/// BLAKE3 over the header (without the block CRC) and the payload.
fn block_hash(header: &BlockHeader, block: &[u8]) -> Option<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(block.get(..92)?);
    hasher.update(payload(header, block)?);
    Some(*hasher.finalize().as_bytes())
}

/// The payload of a block as it stands on disk.
pub(super) fn payload<'a>(header: &BlockHeader, block: &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(header.payload_len).ok()?;
    block.get(BLOCK_HEADER..BLOCK_HEADER.checked_add(len)?)
}

/// Takes the whitening off a checked block's payload, in place, and gives the payload.
pub(super) fn open_payload<'a>(header: &BlockHeader, block: &'a mut [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(header.payload_len).ok()?;
    let payload = block.get_mut(BLOCK_HEADER..BLOCK_HEADER.checked_add(len)?)?;
    whiten(header.mask, payload);
    Some(payload)
}

/// Whether a sector has fewer than four words that are not zero, and so stands one bad word from "never written".
fn has_sparse_sector(block: &[u8]) -> bool {
    block.as_chunks::<SECTOR>().0.iter().any(|sector| {
        let words = sector.as_chunks::<8>().0.iter();
        words.filter(|word| u64::from_ne_bytes(**word) != 0).take(4).count() < 4
    })
}

/// XORs the stream of `seed` onto the payload; twice is nothing, seed 0 is nothing.
fn whiten(seed: u8, payload: &mut [u8]) {
    if seed == 0 {
        return;
    }
    let mut state = u64::from(seed).wrapping_mul(0xA076_1D64_78BD_642F);
    for chunk in payload.chunks_mut(8) {
        // splitmix64: fixed for ever, since it is part of the format.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        for (byte, mask) in chunk.iter_mut().zip(word.to_le_bytes()) {
            *byte ^= mask;
        }
    }
}

// ----------------------------------------------------------------------------------------------------- records

/// One event as the journal gives it back. The payload is opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its sequence; the first of a journal is 1.
    pub seq: u64,
    /// When it was appended, microseconds since 1970 UTC.
    pub at: i64,
    /// The epoch of the start that appended it.
    pub epoch: u32,
    /// The event codec's bytes.
    pub payload: &'a [u8],
}

/// Appends the start of a record: length (filled in by [`end_record`]) and time. Returns where it began.
pub(super) fn begin_record(buf: &mut Vec<u8>, delta: i64) -> usize {
    let start = buf.len();
    buf.extend_from_slice(&[0; 4]);
    // Zigzag, then seven bits a byte: a delta within a batch is one or two bytes.
    let mut word = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
    while word >= 0x80 {
        buf.push((word & 0x7f) as u8 | 0x80);
        word >>= 7;
    }
    buf.push(word as u8);
    start
}

/// Fills in the length of the record that began at `start`.
pub(super) fn end_record(buf: &mut [u8], start: usize) {
    let len = u32::try_from(buf.len().saturating_sub(start + 4)).unwrap_or(u32::MAX);
    if let Some(to) = buf.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *to = len.to_le_bytes();
    }
}

/// The bytes of the first record of a payload, its own length included.
pub(super) fn record_len(payload: &[u8]) -> Option<usize> {
    let len = usize::try_from(Fields { rest: payload }.u32()?).ok()?;
    let whole = len.checked_add(4)?;
    (whole <= payload.len()).then_some(whole)
}

/// Walks the records of a block.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    fields: &'a [u8],
    at: i64,
    epoch: u32,
    seq: u64,
    left: u32,
}

impl<'a> Records<'a> {
    pub(super) fn new(header: &BlockHeader, payload: &'a [u8]) -> Self {
        Self { fields: payload, at: header.at, epoch: header.epoch, seq: header.first_seq, left: header.count }
    }

    fn read(&mut self) -> Option<Record<'a>> {
        let mut outer = Fields { rest: self.fields };
        let len = usize::try_from(outer.u32()?).ok()?;
        let mut inner = Fields { rest: outer.take(len)? };
        let mut word = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = inner.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            word |= bits << shift;
            if byte & 0x80 == 0 {
                let delta = (word >> 1).cast_signed() ^ -((word & 1).cast_signed());
                let at = self.at.wrapping_add(delta);
                let record = Record { seq: self.seq, at, epoch: self.epoch, payload: inner.rest };
                self.fields = outer.rest;
                self.seq = self.seq.checked_add(1)?;
                return Some(record);
            }
        }
        None
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // All events are out: bytes left over are as wrong as bytes missing.
            let over = !std::mem::take(&mut self.fields).is_empty();
            return over.then_some(Err("a block carries more than its events"));
        }
        self.left -= 1;
        match self.read() {
            Some(record) => Some(Ok(record)),
            None => {
                self.left = 0;
                self.fields = &[];
                Some(Err("an event of a block cannot be read"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(payload: &[u8]) -> BlockHeader {
        BlockHeader {
            kind: Kind::Events,
            mask: 0,
            count: 1,
            first_seq: 7,
            payload_len: payload.len() as u32,
            epoch: 2,
            at: -5,
            segment: 3,
            tag: *b"engineid",
            previous: [9; 32],
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), count in any::<u32>()) {
            let _ = read_block_header(&bytes);
            let _ = read_segment_header(&bytes);
            let header = BlockHeader { count, first_seq: u64::MAX - 1, at: i64::MIN, ..header(&bytes) };
            let _ = header.last_seq();
            for record in Records::new(&header, &bytes).take(400) {
                let _ = record;
            }
        }

        #[test]
        fn what_is_sealed_is_read_and_no_sector_of_it_is_zero(
            fill in any::<u8>(), len in 0usize..9000, speck in any::<usize>(), byte in any::<u8>(),
        ) {
            let mut payload = vec![fill; len];
            if let Some(at) = speck.checked_rem(len) {
                payload[at] = byte;
            }
            let mut header = header(&payload);
            let mut block = vec![0; header.padded_len()];
            block[BLOCK_HEADER..BLOCK_HEADER + len].copy_from_slice(&payload);
            let hash = seal_block(&mut header, &mut block).unwrap();
            prop_assert!(!has_sparse_sector(&block));
            let read = read_block_header(&block).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(check_block(&read, &block), Ok(hash));
            prop_assert_eq!(open_payload(&read, &mut block).unwrap(), &payload[..]);
        }

        #[test]
        fn any_time_goes_both_ways(base in any::<i64>(), at in any::<i64>()) {
            let mut payload = Vec::new();
            let start = begin_record(&mut payload, at.wrapping_sub(base));
            payload.push(42);
            end_record(&mut payload, start);
            prop_assert_eq!(record_len(&payload), Some(payload.len()));
            let header = BlockHeader { at: base, ..header(&payload) };
            let read: Vec<_> = Records::new(&header, &payload).collect();
            prop_assert_eq!(read, [Ok(Record { seq: 7, at, epoch: 2, payload: &[42] })]);
        }
    }
}
