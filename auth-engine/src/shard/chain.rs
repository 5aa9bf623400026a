//! One authorization's events, walked back through the journal from the last one the book names: what a read by id
//! shows without waiting for the read model. Reads the disk, so never on the shard's thread.

use ledger_core::event::Event;
use ledger_core::journal::{OwnedRecord, Reader};

/// Steps back before the chain must have ended; no network sends one purchase more messages than this.
const MAX_STEPS: usize = 10_000;

/// The events of an authorization from its first to `last_seq`; `None` when the chain does not lead to a first event
/// or a record is not readable.
pub fn read(reader: &Reader, last_seq: u64) -> Option<Vec<OwnedRecord>> {
    let mut records = Vec::new();
    let mut seq = last_seq;
    for _ in 0..MAX_STEPS {
        let record = reader.read(seq).ok()?;
        let previous = match Event::decode(&record.payload).ok()? {
            Event::TapTaken(_) => None,
            Event::TapDecided(e) => Some(e.previous),
            Event::AnsweredTooLate(e) => Some(e.previous),
            Event::Advised(e) => e.target.map(|_| e.previous),
            Event::Reversed(e) => Some(e.target.map(|_| e.previous)?),
            Event::HoldExpired(e) => Some(e.previous),
            Event::ReplyLate(e) => Some(e.previous),
            _ => return None,
        };
        records.push(record);
        match previous {
            Some(before) if before < seq => seq = before,
            Some(_) => return None,
            None => {
                records.reverse();
                return Some(records);
            }
        }
    }
    None
}
