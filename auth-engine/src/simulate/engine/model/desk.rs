//! What the engine has on its desk and loses when it ends: who waits for what, which partners are asked, how quick the
//! disk was of late.

use std::collections::{BTreeMap, BTreeSet};

use super::super::words::Currency;
use super::Key;

/// Who waits for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    /// Its connection.
    pub conn: u32,
    /// Its link.
    pub link: usize,
    /// After this a reply is not sent.
    pub deadline: i64,
}

/// What a reply must say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// DE39.
    pub code: String,
    /// A DE38 of our own; an advice's own DE38 with `Some(false)`.
    pub approval: u32,
    /// So much of so much.
    pub partial: Option<(i64, i64)>,
    /// DE54.
    pub balance: Option<(i64, Currency)>,
}

impl Answer {
    /// A code and nothing else.
    pub(crate) fn code(code: &str) -> Self {
        Self { code: code.to_owned(), approval: 0, partial: None, balance: None }
    }
}

/// A reply that waits for the disk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parked {
    /// For whom.
    pub recipients: Vec<Recipient>,
    /// What it says.
    pub answer: Answer,
    /// The tap that it decides.
    pub tap: Option<u64>,
    /// Under which its repeats get the same bytes; none for what is not remembered.
    pub key: Option<Key>,
}

/// A repeat whose answer is read from the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rebuild {
    /// For whom.
    pub recipient: Recipient,
    /// What it says.
    pub answer: Answer,
    /// Same bytes as the first one under this key; false when something has happened since.
    pub same: bool,
    /// The key.
    pub key: Key,
}

/// A tap whose partner is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// Who waits.
    pub recipients: Vec<Recipient>,
    /// Who is asked.
    pub partner: u32,
    /// Since when.
    pub since: i64,
    /// Until when.
    pub deadline: i64,
}

/// What becomes of a message at once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// Nothing is said now; perhaps later.
    Nothing,
    /// Refused before anything was written: DE39 and DE44.
    AtOnce(&'static str, Option<&'static str>),
}

/// What a handled input must have done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// Events.
    pub events: u64,
    /// What is said at once.
    pub said: Said,
    /// Which partner is asked, about which number.
    pub asks: Option<(u32, u64)>,
}

impl Told {
    pub(super) fn nothing() -> Self {
        Self { events: 0, said: Said::Nothing, asks: None }
    }

    pub(super) fn events(events: u64) -> Self {
        Self { events, ..Self::nothing() }
    }

    pub(super) fn at_once(code: &'static str, offending: Option<&'static str>) -> Self {
        Self { said: Said::AtOnce(code, offending), ..Self::nothing() }
    }
}

/// What a partner's answer comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Yes: to how much, from where.
    Approve(Option<String>, Option<String>),
    /// No, and why.
    Decline(Option<String>),
    /// No answer in time.
    Timeout,
    /// Nobody there.
    Unreachable,
    /// No answer at all.
    Bad,
}

/// The circuit of a partner.
#[derive(Debug, Clone, Default)]
struct Circuit {
    failures: u32,
    next_try: Option<i64>,
}

/// The desk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    /// Who waits, by link.
    pub in_flight: [usize; 3],
    /// Bounds of it.
    pub most_in_flight: [usize; 3],
    /// Taps whose partners are asked.
    pub pending: BTreeMap<u64, Asked>,
    /// Asks open at once.
    pub max_asks: usize,
    /// Decided without an answer that may still come.
    pub overdue: BTreeSet<u64>,
    circuits: BTreeMap<u32, Circuit>,
    /// What waits for the disk.
    pub parked: Vec<Parked>,
    /// What is read from the journal.
    pub rebuilds: Vec<Rebuild>,
    /// New taps are turned away.
    pub draining: bool,
    commits: [i64; 3],
    gathered: i64,
    standing: Option<(i64, u32)>,
}

impl Desk {
    /// An empty desk.
    pub(crate) fn new(most_in_flight: [usize; 3], max_asks: usize) -> Self {
        Self { most_in_flight, max_asks, ..Self::default() }
    }

    /// A partner may be asked; an open circuit lets one through a second.
    pub(super) fn admits(&mut self, partner: u32, now: i64) -> bool {
        let circuit = self.circuits.entry(partner).or_default();
        match circuit.next_try {
            None => true,
            Some(at) if at <= now => {
                circuit.next_try = Some(now + 1_000_000);
                true
            }
            Some(_) => false,
        }
    }

    pub(super) fn reached(&mut self, partner: u32) {
        self.circuits.insert(partner, Circuit::default());
    }

    pub(super) fn missed(&mut self, partner: u32, now: i64) {
        let circuit = self.circuits.entry(partner).or_default();
        circuit.failures += 1;
        if circuit.failures >= 5 && circuit.next_try.is_none() {
            circuit.next_try = Some(now + 1_000_000);
        }
    }

    /// Partners whose circuit is open.
    pub(crate) fn open_circuits(&self) -> usize {
        self.circuits.values().filter(|circuit| circuit.next_try.is_some()).count()
    }

    /// A batch is complete.
    pub(crate) fn gathered(&mut self, waiting: bool, now: i64) {
        self.gathered = now;
        self.standing = if waiting { self.standing.or(Some((now, 0))) } else { None };
    }

    /// It is durable; who waited for it is known by now.
    pub(crate) fn durable(&mut self, now: i64) {
        self.commits.rotate_right(1);
        self.commits[0] = now - self.gathered;
        if let Some((_, batches)) = &mut self.standing {
            *batches += 1;
        }
    }

    /// Too little time is left, or the queue stands.
    pub(super) fn refuses(&self, left: i64, budget: i64, now: i64) -> bool {
        let quickest = self.commits.iter().copied().min().unwrap_or(0);
        let needed = (50_000 + 2 * quickest).min(budget / 2).max(50_000);
        let stands = self.standing.is_some_and(|(since, batches)| batches >= 3 && now - since >= budget / 4);
        left < needed || (stands && budget - left >= budget / 4)
    }

    /// Somebody's reply left, or never will.
    pub(crate) fn leaves(&mut self, link: usize) {
        if let Some(count) = self.in_flight.get_mut(link) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn enters(&mut self, link: usize) {
        if let Some(count) = self.in_flight.get_mut(link) {
            *count += 1;
        }
    }

    pub(super) fn park(&mut self, recipient: Recipient, answer: Answer, tap: Option<u64>, key: Option<Key>) {
        self.enters(recipient.link);
        self.parked.push(Parked { recipients: vec![recipient], answer, tap, key });
    }
}
