//! Requests that we sent and whose answers are still to come.
//!
//! An answer is matched by its connection, its class, DE7 and DE11, never by DE11 alone: two requests that are open
//! on one link at the same time never share a DE11 either. Time is an argument. It must never send anything.

use std::collections::{HashMap, VecDeque};

use crate::switch::ConnId;

/// Requests that may be open at once, over all links.
const MOST_OPEN: usize = 4_096;
/// Requests given up whose late answers are still recognized.
const MOST_GIVEN_UP: usize = 256;
/// DE11 has six digits; 000000 is left out, which some networks take for "none".
const LAST_STAN: u32 = 999_999;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// DE70 001.
    SignOn,
    /// DE70 002.
    SignOff,
    /// DE70 270.
    Echo,
}

impl Kind {
    /// The label of a metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::SignOn => "sign_on",
            Self::SignOff => "sign_off",
            Self::Echo => "echo",
        }
    }

    /// DE70.
    pub(super) fn code(self) -> u64 {
        match self {
            Self::SignOn => 1,
            Self::SignOff => 2,
            Self::Echo => 270,
        }
    }
}

/// What an answer must carry to be the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) conn: ConnId,
    /// MTI of the answer.
    pub(super) answer: u16,
    /// DE7.
    pub(super) transmitted: u64,
    /// DE11.
    pub(super) stan: u32,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    link: usize,
    kind: Kind,
    deadline_us: i64,
}

/// What an answer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// The answer to an open request, which is closed now.
    Answer(Kind),
    /// The answer to a request that was given up.
    Late,
    /// Nobody asked for it.
    Nobody,
}

/// The open requests of all links.
#[derive(Debug, Default)]
pub(super) struct Mux {
    open: HashMap<Key, Open>,
    given_up: VecDeque<Key>,
    last_stan: u32,
}

impl Mux {
    /// A DE11 that no open request of this link carries; `None` when too many requests are open.
    pub(super) fn stan(&mut self, link: usize) -> Option<u32> {
        if self.open.len() >= MOST_OPEN {
            return None;
        }
        // More numbers than requests can be open, so one of these is free.
        for _ in 0..=MOST_OPEN {
            self.last_stan = if self.last_stan >= LAST_STAN { 1 } else { self.last_stan + 1 };
            let stan = self.last_stan;
            if !self.open.iter().any(|(key, open)| open.link == link && key.stan == stan) {
                return Some(stan);
            }
        }
        None
    }

    /// A request leaves.
    pub(super) fn opened(&mut self, key: Key, link: usize, kind: Kind, deadline_us: i64) {
        self.open.insert(key, Open { link, kind, deadline_us });
    }

    /// An answer came.
    pub(super) fn answered(&mut self, key: &Key) -> Match {
        match self.open.remove(key) {
            Some(open) => Match::Answer(open.kind),
            None if self.given_up.contains(key) => Match::Late,
            None => Match::Nobody,
        }
    }

    /// True when a connection has such a request open.
    pub(super) fn asks(&self, conn: ConnId, kind: Kind) -> bool {
        self.open.iter().any(|(key, open)| key.conn == conn && open.kind == kind)
    }

    /// Gives one request up whose time is over: its link, connection and kind.
    pub(super) fn expired(&mut self, now_us: i64) -> Option<(usize, ConnId, Kind)> {
        let (key, open) = self.open.iter().find(|(_, open)| open.deadline_us <= now_us).map(|(k, o)| (*k, *o))?;
        self.open.remove(&key);
        if self.given_up.len() >= MOST_GIVEN_UP {
            self.given_up.pop_front();
        }
        self.given_up.push_back(key);
        Some((open.link, key.conn, open.kind))
    }

    /// A connection is gone: nothing more comes from it.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.open.retain(|key, _| key.conn != conn);
        self.given_up.retain(|key| key.conn != conn);
    }

    /// When the next request is given up.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.open.values().map(|open| open.deadline_us).min()
    }

    /// Open requests.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32, stan: u32) -> Key {
        Key { conn: ConnId::detached(slot), answer: 0x0810, transmitted: 1_231_235_959, stan }
    }

    #[test]
    fn answers_are_matched_out_of_order_and_once() {
        let mut mux = Mux::default();
        let (first, second) = (mux.stan(0).expect("free"), 2);
        mux.opened(key(1, first), 0, Kind::SignOn, 10);
        assert_eq!(mux.stan(0), Some(second));
        mux.opened(key(1, second), 0, Kind::Echo, 20);
        assert_eq!(mux.answered(&key(1, second)), Match::Answer(Kind::Echo));
        assert_eq!(mux.answered(&key(1, second)), Match::Nobody);
        assert_eq!(mux.answered(&key(1, first)), Match::Answer(Kind::SignOn));
        assert_eq!(mux.len(), 0);
    }

    #[test]
    fn the_number_alone_is_no_match() {
        let mut mux = Mux::default();
        mux.opened(key(1, 7), 0, Kind::Echo, 10);
        assert_eq!(mux.answered(&key(2, 7)), Match::Nobody);
        assert_eq!(mux.answered(&Key { transmitted: 101_000_000, ..key(1, 7) }), Match::Nobody);
        assert_eq!(mux.answered(&Key { answer: 0x0830, ..key(1, 7) }), Match::Nobody);
        assert_eq!(mux.answered(&key(1, 7)), Match::Answer(Kind::Echo));
    }

    #[test]
    fn numbers_wrap_past_those_that_are_open() {
        let mut mux = Mux { last_stan: LAST_STAN - 1, ..Mux::default() };
        mux.opened(key(1, LAST_STAN), 0, Kind::Echo, 10);
        mux.opened(key(1, 1), 0, Kind::Echo, 10);
        assert_eq!(mux.stan(0), Some(2));
        assert_eq!(Mux { last_stan: LAST_STAN, ..Mux::default() }.stan(0), Some(1));
    }

    #[test]
    fn what_is_given_up_is_late_and_not_nobodys() {
        let mut mux = Mux::default();
        mux.opened(key(1, 7), 3, Kind::SignOff, 10);
        assert_eq!(mux.next_deadline(), Some(10));
        assert_eq!(mux.expired(9), None);
        assert_eq!(mux.expired(10), Some((3, ConnId::detached(1), Kind::SignOff)));
        assert_eq!(mux.answered(&key(1, 7)), Match::Late);
        mux.forget(ConnId::detached(1));
        assert_eq!(mux.answered(&key(1, 7)), Match::Nobody);
    }

    #[test]
    fn what_is_open_is_bounded() {
        let mut mux = Mux::default();
        let most = u32::try_from(MOST_OPEN).expect("small");
        for slot in 0..most {
            let stan = mux.stan(0).expect("free");
            mux.opened(key(slot, stan), 0, Kind::Echo, 10);
        }
        assert_eq!(mux.stan(0), None);
    }
}
