//! The shard's logic without its IO: frames, answers, requests and timers go in, effects come out. Time is an
//! argument. The order of calls: [`Engine::recover`] once; then any number of `handle_*`; then, when
//! [`Engine::needs_commit`], a commit of the journal; then [`Engine::release`]; then [`Engine::take_effects`].
//!
//! Nothing that an event stands behind leaves before [`Engine::release`] was called after the commit.

mod advices;
mod answers;
pub mod codes;
mod effect;
pub mod intake;
mod mux;
mod network;
mod originate;
mod queue;
mod record;
mod recovery;
pub mod rejudge;
mod repeats;
pub mod reply;
mod requests;
mod reversals;
mod taps;
mod timers;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iso_codec::{Message, Spec};
use ledger_core::book::{Ahead, Book, Broken, Policy};
use ledger_core::id::No;
use ledger_core::journal::Journal;
use ledger_core::keys::Keyring;
use ledger_core::time::Timestamp;

pub use answers::PartnerAnswer;
pub use effect::{Effect, Recipient, RepeatJob, Stamp};
pub use originate::LinkEvent;
pub use recovery::RecoveryError;
pub use repeats::{Rebuilt, rebuild};

use crate::partner::Circuit;
use crate::switch::ConnId;
use effect::Parked;
use queue::Queue;

/// The moment of an input: shard time for what is journaled, monotonic time for deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Shard time.
    pub wall: Timestamp,
    /// Microseconds on the shard's monotonic clock.
    pub mono_us: i64,
}

/// A frame from a link.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Index of the link in the configuration.
    pub link: usize,
    /// Where the reply goes.
    pub conn: ConnId,
    /// Bytes before the message that the reply echoes.
    pub header: Bytes,
    /// The message.
    pub frame: Bytes,
    /// Since when it can have been waiting, on the monotonic clock.
    pub since_us: i64,
}

/// A frame after decoding.
#[derive(Debug)]
pub struct Decoded {
    recipient: Recipient,
    message: Result<Message, iso_codec::DecodeError>,
    /// What all money classes share, of a message of one.
    common: Option<Result<intake::Common, intake::Missing>>,
}

/// A link as the engine needs it.
#[derive(Debug, Clone)]
pub struct LinkSetup {
    /// Its name.
    pub name: String,
    /// Name or path of its spec, as configured.
    pub spec_name: String,
    /// Its spec.
    pub spec: Arc<Spec>,
    /// From frame in to reply out.
    pub budget_us: i64,
    /// Rule 3.
    pub require_sign_on: bool,
    /// Requests that may wait for their reply at once.
    pub max_in_flight: usize,
    /// We sign on when a connection is open.
    pub sign_on: bool,
    /// More elements of what we ask of the peer, as [`Draft::set_text`](iso_codec::Draft::set_text) takes them. They
    /// fit the spec.
    pub network_elements: Vec<(u8, String)>,
    /// How long the peer has to answer what we ask of it.
    pub answer_within_us: i64,
}

/// What the engine needs to know besides the book's policy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The links, in the order of the configuration.
    pub links: Vec<LinkSetup>,
    /// For partners without a time limit of their own.
    pub decision_timeout_us: i64,
    /// How long repeats of requests are remembered.
    pub dedup_window_us: i64,
    /// Asks that may be open at once, over all partners.
    pub max_asks: usize,
}

/// What a link keeps while running.
struct Link {
    setup: LinkSetup,
    /// The number that events know it by.
    number: u8,
    in_flight: usize,
}

/// A tap whose partner is being asked.
struct Pending {
    no: No,
    message: Message,
    recipients: Vec<Recipient>,
    partner: u32,
    asked_us: i64,
    deadline_us: i64,
}

/// A partner that was asked and decided upon without it: its late answer is still recorded.
struct Overdue {
    deadline_us: i64,
    asked_us: i64,
}

/// The engine of one shard.
pub struct Engine {
    book: Book,
    journal: Journal,
    keyring: Arc<Keyring>,
    policy: Policy,
    settings: Settings,
    links: Vec<Link>,
    pending: HashMap<No, Pending>,
    overdue: HashMap<No, Overdue>,
    overdue_order: VecDeque<No>,
    deadlines: BinaryHeap<Reverse<(i64, No)>>,
    circuits: HashMap<u32, Circuit>,
    draining: bool,
    /// Replies of the open batch, one after the other.
    replies: BytesMut,
    parked: Vec<Parked>,
    parked_effects: Vec<Effect>,
    repeat_jobs: Vec<RepeatJob>,
    effects: Vec<Effect>,
    sealed: Vec<u8>,
    broken: Option<Broken>,
    counters: Counters,
    queue: Queue,
    mux: mux::Mux,
    /// Where we are signed on: link and connection.
    signed_on: Vec<(usize, ConnId)>,
    progress: Progress,
}

/// What became of authorizations since the last look, for their traces: the engine itself knows no moments.
#[derive(Debug, Default)]
pub struct Progress {
    /// The one that the last message made.
    pub made: Option<No>,
    /// Those that waited for their partner and are decided now.
    pub concluded: Vec<No>,
}

/// What the thread around the engine reads for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Decisions since the last read: outcome, reason word, funding word.
    pub decisions: Vec<Decided>,
    /// Frames dropped since the last read: link, reason.
    pub dropped: Vec<(usize, &'static str)>,
    /// What became of our own requests since the last read: link, kind, result.
    pub originated: Vec<(usize, &'static str, &'static str)>,
    /// Refusals at the door since the last read.
    pub shed: Vec<&'static str>,
    /// Messages since the last read: link, MTI as BCD.
    pub requests: Vec<(usize, u16)>,
    /// Replies that came too late since the last read.
    pub late: u64,
    /// Partner outcomes since the last read: partner, outcome word, latency.
    pub partner: Vec<(u32, &'static str, i64)>,
}

/// One decision, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// `approved`, `partial`, `declined`, `none`.
    pub outcome: &'static str,
    /// Word of the reason.
    pub reason: &'static str,
    /// `pool`, `account`, `partner_choice`, `none`.
    pub funding: &'static str,
}

impl Decided {
    /// True when it is surely the same as another: the words are constants, and their places tell them apart. One
    /// word may have two places; then two that are the same are not found to be.
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |a: &'static str, b: &'static str| std::ptr::eq(a, b);
        same(self.outcome, other.outcome) && same(self.reason, other.reason) && same(self.funding, other.funding)
    }
}

impl Engine {
    /// The book, for reads.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The journal, for the thread that commits.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// True when events wait to be made durable.
    pub fn needs_commit(&self) -> bool {
        self.journal.open_events() > 0
    }

    /// True when nobody waits for the open batch but partners that are being asked.
    pub fn waits_for_partners_only(&self) -> bool {
        self.needs_commit()
            && !self.pending.is_empty()
            && self.parked.is_empty()
            && self.parked_effects.is_empty()
            && self.repeat_jobs.is_empty()
    }

    /// A broken invariant: the process must stop without acknowledging anything more.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Requests of a link that wait for their reply.
    pub fn in_flight(&self, link: usize) -> usize {
        self.links.get(link).map_or(0, |l| l.in_flight)
    }

    /// Asks whose answer the engine waits for.
    pub fn open_asks(&self) -> usize {
        self.pending.len()
    }

    /// From here on new taps get 91 `draining`.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What is counted since the last call is given to `read` and forgotten.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// What the last message made, and what was concluded since the caller cleared it.
    pub fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Pools and accounts whose balance changed since the last call.
    pub fn take_touched(&mut self, each: impl FnMut(&Book, ledger_core::event::tap::Source)) {
        self.book.take_touched(each);
    }

    /// The effects that may happen now; the vector is handed back empty by the next call.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
    }

    /// The bytes of a reply effect.
    pub fn reply_bytes(&self, at: &std::ops::Range<usize>) -> &[u8] {
        self.replies.get(at.clone()).unwrap_or_default()
    }

    /// After the effects of a release were carried out: the replies' bytes may be forgotten.
    pub fn clear_replies(&mut self) {
        if self.parked.is_empty() && self.effects.is_empty() {
            self.replies.clear();
        }
    }

    // PATH 2: decode the frame by its link's spec; what does not decode is answered 30 or dropped.
    /// Decodes a frame; `None` when its link does not exist. Apart from [`Engine::handle`] so that both can be timed.
    pub fn decode(&self, inbound: Inbound) -> Option<Decoded> {
        let link = &self.links.get(inbound.link)?.setup;
        let recipient = Recipient {
            link: inbound.link,
            conn: inbound.conn,
            header: inbound.header,
            deadline_us: inbound.since_us.saturating_add(link.budget_us),
        };
        let message = iso_codec::decode(&link.spec, inbound.frame);
        let of_money = message.as_ref().ok().filter(|message| intake::money_class(message.mti()).is_some());
        let common = of_money.map(|message| intake::common(message, &self.keyring));
        Some(Decoded { recipient, message, common })
    }

    /// Fetches from memory what these will need, all at once; see [`Book::warm`].
    pub fn warm<'a>(&self, group: impl Iterator<Item = &'a Decoded> + Clone) {
        let commons = group.filter_map(|decoded| decoded.common.as_ref()?.as_ref().ok());
        self.book.warm(commons.map(|common| Ahead {
            fingerprint: &common.fingerprint,
            repeat: &common.repeat.key,
            trace: &common.trace,
        }));
    }

    /// All that joins the batch is handled, and its commit comes next; `waiting` says whether frames are left for the
    /// batch after it.
    pub fn gathered(&mut self, waiting: bool, now: Now) {
        self.queue.gathered(waiting, now.mono_us);
    }

    /// A frame came.
    pub fn handle_frame(&mut self, inbound: Inbound, now: Now) {
        if let Some(mut decoded) = self.decode(inbound) {
            self.handle(&mut decoded, now);
        }
    }

    /// A decoded frame; the header that its reply echoes is taken out of it.
    pub fn handle(&mut self, decoded: &mut Decoded, now: Now) {
        self.progress.made = None;
        let recipient = decoded.recipient.take();
        match &decoded.message {
            Ok(message) => self.handle_message(message, decoded.common.as_ref(), recipient, now),
            Err(error) => self.handle_undecodable(error, recipient),
        }
    }

    // PATH 3: the message becomes a command of the ledger, by its class.
    fn handle_message(
        &mut self,
        message: &Message,
        common: Option<&Result<intake::Common, intake::Missing>>,
        recipient: Recipient,
        now: Now,
    ) {
        self.counters.requests.push((recipient.link, message.mti().0));
        if recipient.deadline_us <= now.mono_us && message.mti().is_request() {
            // It waited longer than its answer may take: whatever was said now would be late, and the network
            // sends it again or reverses it.
            self.counters.shed.push("too_old");
            self.counters.late += 1;
            return;
        }
        match intake::money_class(message.mti()).zip(common) {
            Some((class, common)) => match common {
                Ok(common) => match class {
                    intake::Money::Tap(class) => self.handle_tap(message, class, common, recipient, now),
                    intake::Money::Advice(class) => self.handle_advice(message, class, common, recipient, now),
                    intake::Money::Reversal => self.handle_reversal(message, common, recipient, now),
                },
                Err(missing) => self.answer_format_error(message, iso_codec::ElementAt::De(missing.0), recipient),
            },
            None => self.handle_other(message, recipient, now),
        }
    }

    fn handle_undecodable(&mut self, error: &iso_codec::DecodeError, recipient: Recipient) {
        tracing::info!(link = recipient.link, "{error}");
        let readable = error.partial.as_deref().filter(|m| m.has(7) && m.has(11) && m.mti().is_request());
        match readable {
            Some(message) => {
                self.counters.requests.push((recipient.link, message.mti().0));
                self.answer_format_error(message, error.element, recipient);
            }
            None => self.counters.dropped.push((recipient.link, "undecodable")),
        }
    }
}
