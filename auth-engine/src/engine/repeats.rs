//! Repeats: the first one's answer, rebuilt from the journal by another thread and sent by the shard.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iso_codec::Spec;
use ledger_core::event::tap::{Raw, Reply};
use ledger_core::event::words::Reason;
use ledger_core::event::{Event, field};
use ledger_core::journal::Reader;
use ledger_core::keys::{Keyring, Nonce};

use super::codes::{CodeContext, de39};
use super::reply::{self, Parts};
use super::{Effect, Engine, Now, Recipient, RepeatJob};

/// Steps back through an authorization's chain before its request must have been found.
const MAX_STEPS: usize = 10_000;

/// A rebuilt reply on its way back to the shard.
#[derive(Debug)]
pub struct Rebuilt {
    /// Who asked again.
    pub recipient: Recipient,
    /// The reply; none when it could not be rebuilt.
    pub reply: Option<Bytes>,
}

impl Engine {
    /// A repeat's answer came back: sent when still in budget.
    pub fn handle_rebuilt(&mut self, rebuilt: Rebuilt, now: Now) {
        self.leave(rebuilt.recipient.link);
        let Some(reply) = rebuilt.reply else { return };
        if rebuilt.recipient.deadline_us <= now.mono_us {
            self.counters.late += 1;
            return;
        }
        self.effects.push(Effect::SendBytes { conn: rebuilt.recipient.conn, header: rebuilt.recipient.header, reply });
    }

    /// A repeat that could not even be looked up: the queue to the reader is full.
    pub fn drop_rebuild(&mut self, job: &RepeatJob) {
        self.leave(job.recipient.link);
        self.counters.shed.push("repeat_queue_full");
    }
}

/// Reads the first answer out of the journal and makes the same bytes again. Blocks on the disk.
///
/// # Errors
/// A sentence for the log when the journal does not hold what the book says it does.
pub fn rebuild(
    job: &RepeatJob,
    reader: &Reader,
    keyring: &Keyring,
    spec_of: &dyn Fn(u8) -> Option<Arc<Spec>>,
) -> Result<Bytes, String> {
    let (mut reply, asked, request, link) = stored(job, reader, keyring)?;
    let changed = if job.flags.answered_late {
        Some(Reason::AnsweredLate)
    } else if job.flags.reversed {
        Some(Reason::AlreadyReversed)
    } else {
        None
    };
    if let Some(reason) = changed {
        reply = Reply {
            reason,
            response_code: de39(reason, CodeContext::default()),
            approval_code: 0,
            partial: None,
            balance: None,
        };
    }
    let spec = spec_of(link).ok_or_else(|| format!("link {link} has no spec any more"))?;
    let message = iso_codec::decode(&spec, Bytes::from(request)).map_err(|e| format!("event {}: {e}", job.seq))?;
    let mut out = BytesMut::with_capacity(512);
    reply::write(&message, &Parts::of(&reply, asked), &mut out).map_err(|e| format!("event {}: {e}", job.seq))?;
    Ok(out.freeze())
}

/// The reply, the amount asked, the request and its link: from the event, or from it and the first of its chain.
fn stored(job: &RepeatJob, reader: &Reader, keyring: &Keyring) -> Result<(Reply, i64, Vec<u8>, u8), String> {
    let mut seq = job.seq;
    let mut found: Option<Reply> = None;
    for _ in 0..MAX_STEPS {
        let record = reader.read(seq).map_err(|e| e.to_string())?;
        let event = Event::decode(&record.payload).map_err(|e| format!("event {seq}: {e}"))?;
        let open = |raw: &Raw<'_>| {
            let nonce = Nonce { epoch: record.epoch, seq, field: field::REQUEST };
            keyring.open(nonce, &raw.sealed).map(|bytes| (bytes, raw.link)).map_err(|e| format!("event {seq}: {e}"))
        };
        let unanswered = Reply {
            reason: Reason::Interrupted,
            response_code: *b"91",
            approval_code: 0,
            partial: None,
            balance: None,
        };
        match &event {
            Event::TapTaken(e) => {
                let (request, link) = open(&e.raw)?;
                let reply = found.or(e.reply).unwrap_or(unanswered);
                return Ok((reply, e.facts.amount, request, link));
            }
            Event::TapDecided(e) => {
                found.get_or_insert(e.reply);
                seq = e.previous;
            }
            Event::Advised(e) if e.repeat.key == job.key => {
                let (request, link) = open(&e.raw)?;
                // DE38 of the answer is the advice's own, copied from the request.
                return Ok((Reply { approval_code: 0, ..e.reply }, e.facts.amount, request, link));
            }
            // The tap was decided by the network's advice while the partner was asked.
            Event::Advised(e) => {
                let no = e.target.unwrap_or(e.facts.no);
                let code = ledger_core::book::approval_code(no);
                found.get_or_insert(Reply {
                    reason: Reason::Approved,
                    response_code: *b"00",
                    approval_code: code,
                    partial: None,
                    balance: None,
                });
                seq = e.previous;
            }
            Event::Reversed(e) => {
                let (request, link) = open(&e.raw)?;
                return Ok((e.reply, 0, request, link));
            }
            other => return Err(format!("event {seq} is {}, which answers nothing", other.word())),
        }
    }
    Err(format!("event {}: its request was not found", job.seq))
}
