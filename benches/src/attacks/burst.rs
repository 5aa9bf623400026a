//! Thousands of messages on one connection without a pause, and what became of each. It owns the connection and the
//! matching of replies; it must never wait for a reply before the next message.

use crate::client::Link;
use crate::fault::Fault;
use crate::messages::{Messages, Original};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What the messages are, in this order; a share of ten.
const TAPS_OF_TEN: u64 = 8;

/// What became of a burst.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    /// Messages that were sent.
    pub(crate) sent: u64,
    /// Replies by MTI and DE39.
    pub(crate) answers: BTreeMap<(String, String), u64>,
    /// The slowest reply, from its message's send.
    pub(crate) slowest: Duration,
    /// Replies that took longer than the budget.
    pub(crate) late: u64,
    /// Messages without a reply.
    pub(crate) lost: u64,
    /// Replies to nothing that was sent.
    pub(crate) unmatched: u64,
}

impl Fates {
    /// Replies with that DE39, of that MTI.
    pub(crate) fn count(&self, mti: &str, code: &str) -> u64 {
        self.answers.get(&(mti.to_owned(), code.to_owned())).copied().unwrap_or(0)
    }
}

/// Eight of ten messages are taps, one is an advice, one the reversal of an earlier tap of the burst.
pub(crate) fn prepare(messages: &Messages, cards: &[String], count: u64) -> Result<Vec<Bytes>, Fault> {
    let mut out = Vec::new();
    let mut originals: Vec<(Original, usize)> = Vec::new();
    for n in 0..count {
        let at = usize::try_from(n).unwrap_or(0) % cards.len().max(1);
        let card = cards.get(at).map(String::as_str).unwrap_or_default();
        let reversed = if n % 10 > TAPS_OF_TEN { originals.pop() } else { None };
        out.push(match reversed {
            Some((original, of)) => {
                let card = cards.get(of).map(String::as_str).unwrap_or_default();
                messages.reversal(0x0400, card, &original, None)?
            }
            None if n % 10 == TAPS_OF_TEN => messages.advice(0x0120, card, 1250, None)?.0,
            None => {
                let (tap, original) = messages.tap(0x0100, card, 1250, "5812")?;
                originals.push((original, at));
                tap
            }
        });
    }
    Ok(out)
}

/// Sends them all at once and waits for the replies as long as `patience`.
pub(crate) fn send(
    addr: SocketAddr,
    messages: &Messages,
    burst: &[Bytes],
    budget: Duration,
    patience: Duration,
) -> Result<Fates, Fault> {
    let mut writer = Link::connect(addr, patience).map_err(Fault::io("connecting to the attacked link"))?;
    let mut reader = writer.again().map_err(Fault::io("a second handle of the attacked link"))?;
    let keys = burst.iter().map(|message| messages.key(message).map(|(key, _)| key)).collect::<Vec<_>>();
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> std::io::Result<Vec<Instant>> {
            burst.iter().map(|message| writer.send(message).map(|()| Instant::now())).collect()
        });
        let mut came = Vec::with_capacity(burst.len());
        let mut reply = Vec::new();
        // A read that waited for `patience` in vain ends it: what has not come by then is lost.
        while came.len() < burst.len() && reader.receive(&mut reply).is_ok() {
            came.push((Instant::now(), Bytes::copy_from_slice(&reply)));
        }
        (sender.join(), came)
    });
    let (Ok(sent), came) = sent else { return Err(Fault::Engine("the burst's sender panicked".to_owned())) };
    let sent = sent.map_err(Fault::io("sending the burst"))?;

    let mut fates = Fates { sent: u64::try_from(sent.len()).unwrap_or(u64::MAX), ..Fates::default() };
    let mut open: HashMap<_, Instant> =
        keys.into_iter().zip(sent).filter_map(|(key, at)| key.map(|key| (key, at))).collect();
    for (at, reply) in came {
        let found = messages.key(&reply).and_then(|(key, mti)| Some((open.remove(&key)?, mti)));
        let Some((from, mti)) = found else {
            fates.unmatched += 1;
            continue;
        };
        let took = at.saturating_duration_since(from);
        fates.slowest = fates.slowest.max(took);
        fates.late += u64::from(took > budget);
        let code = messages.code(&reply).unwrap_or_default();
        *fates.answers.entry((mti.to_string(), code)).or_default() += 1;
    }
    fates.lost = u64::try_from(open.len()).unwrap_or(u64::MAX);
    Ok(fates)
}
