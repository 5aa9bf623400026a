//! The block that is open for events: encoded once, in memory that a write past the page cache takes as it is.
//!
//! It must not allocate in steady state, and knows nothing of files.

use super::file::PAGE;
use super::format::{self, BLOCK_HEADER, BlockHeader, Hash, begin_record, end_record, pages};

/// Events on their way into one block.
#[derive(Default)]
pub(super) struct OpenBlock {
    // `lead` bytes that only bring what follows to a page boundary, then header room, then the records.
    buf: Vec<u8>,
    lead: usize,
    pub(super) count: u32,
    pub(super) first_seq: u64,
    pub(super) at: i64,
    /// Events that must be in the block of the one before them, in the order of their sequences.
    pub(super) joined: Vec<u64>,
}

impl OpenBlock {
    /// A block with room for `payload` bytes of records. The room costs no memory before it is touched.
    pub(super) fn with_room(payload: usize) -> Self {
        let mut block = Self { buf: Vec::with_capacity(pages(BLOCK_HEADER + payload) + 2 * PAGE), ..Self::default() };
        block.clear();
        block
    }

    /// Empties the block and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.buf.clear();
        self.lead = self.buf.as_ptr().align_offset(PAGE);
        self.buf.resize(self.lead + BLOCK_HEADER, 0);
        self.count = 0;
        self.joined.clear();
    }

    /// Bytes of records so far.
    pub(super) fn payload_len(&self) -> usize {
        self.buf.len().saturating_sub(self.lead + BLOCK_HEADER)
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.buf.get(self.lead + BLOCK_HEADER..).unwrap_or_default()
    }

    /// Adds an event; `write` appends its payload.
    pub(super) fn push(&mut self, seq: u64, at: i64, write: impl FnOnce(&mut Vec<u8>)) {
        if self.count == 0 {
            self.first_seq = seq;
            self.at = at;
        }
        let start = begin_record(&mut self.buf, at.wrapping_sub(self.at));
        let payload = self.buf.len();
        write(&mut self.buf);
        debug_assert!(self.buf.len() >= payload, "an event codec only appends");
        end_record(&mut self.buf, start);
        self.count += 1;
    }

    /// Takes over records that are encoded already, for a batch that has to be split.
    pub(super) fn push_encoded(&mut self, first_seq: u64, at: i64, count: u32, records: &[u8]) {
        self.first_seq = first_seq;
        self.at = at;
        self.count = count;
        self.buf.extend_from_slice(records);
    }

    /// Pads and seals the block, and gives its bytes: whole pages, starting on a page boundary of memory.
    pub(super) fn seal(&mut self, header: &mut BlockHeader) -> Option<(&[u8], Hash)> {
        let total = pages(BLOCK_HEADER + self.payload_len());
        self.buf.resize(self.lead + total, format::PAD);
        if self.buf.get(self.lead..)?.as_ptr().align_offset(PAGE) != 0 {
            // A batch beyond the room made the memory move: once, since the new room is kept.
            let mut moved: Vec<u8> = Vec::with_capacity(self.buf.capacity() + PAGE);
            let lead = moved.as_ptr().align_offset(PAGE);
            moved.resize(lead, 0);
            moved.extend_from_slice(self.buf.get(self.lead..)?);
            self.buf = moved;
            self.lead = lead;
        }
        let bytes = self.buf.get_mut(self.lead..)?;
        let hash = format::seal_block(header, bytes)?;
        Some((bytes, hash))
    }
}
