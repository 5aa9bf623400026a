//! The loop of a run, on one thread: it sends what is due, reads what came, and puts both into the slots. It owns the
//! clock of the run and its own cost; it must never allocate while traffic flows, compute a figure, or print.

use super::cards::Cards;
use super::links::{Broken, Links};
use super::matching::Reader;
use super::mix::Kind;
use super::numbers::Range;
use super::schedule::Slot;
use super::template::Frames;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Neighbours in the schedule that share a link, and so a write when they are due together.
const STRIDE: usize = 16;
/// The longest wait of an idle loop, so that what is blocked is tried again.
const NAP: Duration = Duration::from_millis(1);

/// What the loop is doing, for whoever watches it from another thread.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Messages handed over so far.
    pub(crate) sent: AtomicU64,
    /// Replies so far.
    pub(crate) answered: AtomicU64,
    /// Set when the loop is over.
    pub(crate) over: AtomicBool,
}

/// How the loop paces itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// So long before a due time it no longer sleeps but looks again and again.
    pub(crate) spin: Duration,
    /// After a write the next is not before this, so that due messages share it.
    pub(crate) coalesce: Duration,
    /// How long after the last due time replies are waited for.
    pub(crate) patience: Duration,
    /// Messages without a reply at a time, of a closed loop.
    pub(crate) in_flight: Option<usize>,
    /// When a closed loop stops sending.
    pub(crate) length: Duration,
}

/// What the loop saw besides the slots.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Messages that were handed to the kernel or wait for it: the first so many slots.
    pub(crate) sent: usize,
    /// Replies that could be read and answer nothing that is open.
    pub(crate) unmatched: u64,
    /// Frames that could not be read as replies.
    pub(crate) unreadable: u64,
    /// Time that the loop worked, spinning and sleeping left out.
    pub(crate) worked: Duration,
    /// CPU time of the thread, spinning included.
    pub(crate) cpu: Duration,
    /// When the loop ended, nanoseconds since its start.
    pub(crate) ended: u64,
    /// Why it ended early.
    pub(crate) broken: Option<Broken>,
}

/// Everything the loop works with.
pub(crate) struct Drive<'a> {
    pub(crate) links: Links,
    pub(crate) frames: &'a Frames,
    pub(crate) reader: &'a Reader,
    pub(crate) cards: &'a Cards,
    pub(crate) range: &'a Range,
    pub(crate) slots: &'a mut [Slot],
    pub(crate) pace: Pace,
    pub(crate) gauge: &'a Gauge,
    pub(crate) start: Instant,
    /// By original, its repeat; empty when the mix has none.
    repeats: Vec<u32>,
    answered: usize,
    seen: Seen,
}

impl<'a> Drive<'a> {
    /// Ready to run; nothing is sent yet.
    pub(crate) fn new(
        links: Links,
        (frames, reader): (&'a Frames, &'a Reader),
        (cards, range): (&'a Cards, &'a Range),
        slots: &'a mut [Slot],
        pace: Pace,
        gauge: &'a Gauge,
    ) -> Drive<'a> {
        let mut repeats = Vec::new();
        for (at, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.kind == Kind::Repeat) {
            repeats.resize(slots.len(), u32::MAX);
            if let (Some(place), Ok(at)) = (repeats.get_mut(slot.detail as usize), u32::try_from(at)) {
                *place = at;
            }
        }
        let (start, seen) = (Instant::now(), Seen::default());
        Drive { links, frames, reader, cards, range, slots, pace, gauge, start, repeats, answered: 0, seen }
    }

    /// Runs to the end of the schedule and of the wait for replies.
    pub(crate) fn run(mut self) -> Seen {
        let cpu = thread_cpu();
        let slack = rustix::thread::current_timer_slack().ok();
        // The kernel may otherwise wake the loop 50 µs late. It is put back for whoever runs on this thread next.
        let fine = std::num::NonZeroU64::new(1);
        let _ = rustix::thread::set_current_timer_slack(fine);
        self.start = Instant::now();
        let ended = match self.pace.in_flight {
            None => self.open(),
            Some(in_flight) => self.closed(in_flight),
        };
        self.seen.broken = ended.err();
        self.seen.ended = self.now();
        let _ = rustix::thread::set_current_timer_slack(slack.and_then(std::num::NonZeroU64::new));
        self.seen.cpu = thread_cpu().saturating_sub(cpu);
        self.publish();
        self.gauge.over.store(true, Ordering::Relaxed);
        self.seen
    }

    #[inline]
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn publish(&self) {
        self.gauge.sent.store(self.seen.sent as u64, Ordering::Relaxed);
        self.gauge.answered.store(self.answered as u64, Ordering::Relaxed);
    }

    /// Arrivals by the schedule, whatever the target does.
    fn open(&mut self) -> Result<(), Broken> {
        let (spin, coalesce) = (self.pace.spin.as_nanos() as u64, self.pace.coalesce.as_nanos() as u64);
        let last = self.slots.last().map_or(0, |slot| slot.due);
        let deadline = last.saturating_add(self.pace.patience.as_nanos() as u64);
        let mut gate = 0;
        loop {
            let mut now = self.now();
            let due = self.slots.get(self.seen.sent).map(|slot| slot.due.max(gate));
            if due.is_some_and(|due| due <= now) {
                gate = now + coalesce;
                self.send_due(now)?;
                let after = self.now();
                self.seen.worked += Duration::from_nanos(after - now);
                now = after;
            }
            let next = self.slots.get(self.seen.sent).map(|slot| slot.due.max(gate));
            let wake = match next {
                Some(next) => next.saturating_sub(spin),
                None if self.answered == self.seen.sent || now >= deadline => return Ok(()),
                None => deadline,
            };
            let blocked = self.links.flush_blocked()?;
            let mut limit = Duration::from_nanos(wake.saturating_sub(now));
            if blocked {
                limit = limit.min(NAP);
            }
            let ready = self.links.wait(limit)?;
            self.receive(ready)?;
        }
    }

    /// So many without a reply at a time: the next goes out when one came back.
    fn closed(&mut self, in_flight: usize) -> Result<(), Broken> {
        let length = self.pace.length.as_nanos() as u64;
        let deadline = length + self.pace.patience.as_nanos() as u64;
        loop {
            let now = self.now();
            let open = now < length && self.seen.sent < self.slots.len();
            let room = in_flight.saturating_sub(self.seen.sent - self.answered);
            if open && room > 0 {
                let end = (self.seen.sent + room).min(self.slots.len());
                for slot in self.slots.get_mut(self.seen.sent..end).unwrap_or_default() {
                    slot.due = now;
                }
                self.send(end)?;
                self.seen.worked += Duration::from_nanos(self.now() - now);
            }
            if !open && (self.answered == self.seen.sent || now >= deadline) {
                return Ok(());
            }
            let blocked = self.links.flush_blocked()?;
            let until = if open { length } else { deadline };
            let limit = Duration::from_nanos(until.saturating_sub(now));
            let ready = self.links.wait(if blocked { limit.min(NAP) } else { limit })?;
            self.receive(ready)?;
        }
    }

    /// Sends all that is due.
    fn send_due(&mut self, now: u64) -> Result<(), Broken> {
        let rest = self.slots.get(self.seen.sent..).unwrap_or_default();
        let due = rest.iter().take_while(|slot| slot.due <= now).count();
        self.send(self.seen.sent + due)
    }

    /// Sends up to, not including, slot `end`: one write for each run of neighbours on a link.
    fn send(&mut self, end: usize) -> Result<(), Broken> {
        while self.seen.sent < end {
            let from = self.seen.sent;
            let upto = end.min((from / STRIDE + 1) * STRIDE);
            let link = from / STRIDE % self.links.len();
            for at in from..upto {
                let Some(slot) = self.slots.get(at) else { break };
                let about = match slot.kind {
                    Kind::Repeat | Kind::Reversal => self
                        .slots
                        .get(slot.detail as usize)
                        .map(|original| (original, self.range.first + u64::from(slot.detail))),
                    Kind::Approve | Kind::Decline | Kind::Advice => None,
                };
                if let Some(out) = self.links.out(link) {
                    self.frames.write(slot, self.range.first + at as u64, about, self.cards, self.range, out);
                }
            }
            let now = self.now();
            for slot in self.slots.get_mut(from..upto).unwrap_or_default() {
                slot.lag = u32::try_from(now - slot.due).unwrap_or(u32::MAX);
            }
            self.seen.sent = upto;
            self.links.flush(link)?;
        }
        self.publish();
        Ok(())
    }

    /// Takes in what the ready links brought.
    fn receive(&mut self, ready: usize) -> Result<(), Broken> {
        if ready == 0 {
            return Ok(());
        }
        let from = self.now();
        for at in 0..ready {
            let Some(link) = self.links.ready(at) else { continue };
            // Once: what did not fit is found at the next look, when the other links had their turn.
            self.links.read(link)?;
            let now = self.now();
            while let Some(frame) = self.links.frame(link)? {
                match self.reader.read(frame, self.range) {
                    Some(reply) => {
                        let slot = reply.number.and_then(|number| {
                            open_slot(self.slots, &self.repeats, self.range.first, self.seen.sent, number)
                        });
                        match slot.filter(|slot| answers(slot.kind, reply.mti)) {
                            Some(slot) => {
                                slot.took = now.saturating_sub(slot.due).max(1);
                                slot.code = reply.code;
                                self.answered += 1;
                            }
                            None => self.seen.unmatched += 1,
                        }
                    }
                    None => self.seen.unreadable += 1,
                }
            }
        }
        self.publish();
        self.seen.worked += Duration::from_nanos(self.now() - from);
        Ok(())
    }
}

/// The slot that waits for that number's reply: the message itself, else its repeat, which has the same key.
#[inline]
fn open_slot<'s>(slots: &'s mut [Slot], repeats: &[u32], first: u64, sent: usize, number: u64) -> Option<&'s mut Slot> {
    let mut at = usize::try_from(number.checked_sub(first)?).ok()?;
    let slot = slots.get(at)?;
    if slot.kind == Kind::Repeat {
        // A repeat has the key of its original; nobody was sent this one.
        return None;
    }
    if slot.took != 0 {
        at = *repeats.get(at)? as usize;
    }
    slots.get_mut(at).filter(|slot| at < sent && slot.took == 0)
}

/// Whether a response of that type belongs to that kind of request.
#[inline]
fn answers(kind: Kind, mti: u16) -> bool {
    mti == match kind {
        Kind::Approve | Kind::Decline | Kind::Repeat => 0x0110,
        Kind::Reversal => 0x0410,
        Kind::Advice => 0x0130,
    }
}

/// CPU time of this thread by the scheduler's own clock; zero when it cannot be read.
fn thread_cpu() -> Duration {
    let tid = rustix::thread::gettid().as_raw_nonzero().get();
    let task = procfs::process::Process::myself().and_then(|own| own.task_from_tid(tid));
    task.and_then(|task| task.schedstat()).map_or(Duration::ZERO, |used| Duration::from_nanos(used.sum_exec_runtime))
}
