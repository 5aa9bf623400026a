//! Network management that we begin: sign-on, echo and sign-off, and what becomes of their answers.
//!
//! No event stands behind any of it: it moves no money, and whether a peer answers is no part of the book. What a
//! peer signs toward us is elsewhere (`network.rs`).

use bytes::Bytes;
use iso_codec::{Draft, Message, Mti};
use ledger_core::time::Timestamp;

use super::mux::{Key, Kind, Match};
use super::{Effect, Engine, Now, Recipient};
use crate::switch::ConnId;

/// What happened to a connection besides frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is open.
    Opened {
        /// Index of the link.
        link: usize,
        /// The connection.
        conn: ConnId,
    },
    /// Nothing came on it for the link's `echo_interval`.
    Quiet {
        /// Index of the link.
        link: usize,
        /// The connection.
        conn: ConnId,
    },
    /// It is gone.
    Closed {
        /// The connection.
        conn: ConnId,
    },
}

impl Engine {
    /// Something happened to a connection.
    pub fn handle_link(&mut self, event: LinkEvent, now: Now) {
        match event {
            LinkEvent::Opened { link, conn } => {
                if !self.draining && self.links.get(link).is_some_and(|l| l.setup.sign_on) {
                    self.originate(link, conn, Kind::SignOn, now);
                }
            }
            LinkEvent::Quiet { link, conn } => {
                if !self.mux.asks(conn, Kind::Echo) {
                    self.originate(link, conn, Kind::Echo, now);
                }
            }
            LinkEvent::Closed { conn } => {
                self.mux.forget(conn);
                self.signed_on.retain(|(_, known)| *known != conn);
            }
        }
    }

    /// Signs off wherever we signed on: the peer need not find out by itself that we end.
    pub fn sign_off(&mut self, now: Now) {
        for (link, conn) in std::mem::take(&mut self.signed_on) {
            self.originate(link, conn, Kind::SignOff, now);
        }
    }

    /// Requests of ours that wait for their answer.
    pub fn open_requests(&self) -> usize {
        self.mux.len()
    }

    fn originate(&mut self, link: usize, conn: ConnId, kind: Kind, now: Now) {
        let Some(setup) = self.links.get(link).map(|l| &l.setup) else { return };
        let Some((transmitted, stan)) = transmission_time(now.wall).zip(self.mux.stan(link)) else {
            self.counters.originated.push((link, kind.word(), "not_sent"));
            return;
        };
        let mut draft = Draft::new(Mti(0x0800));
        for (n, text) in &setup.network_elements {
            draft.set_text(*n, text);
        }
        draft.set_digits(7, transmitted).set_digits(11, u64::from(stan)).set_digits(70, kind.code());
        match draft.encode(&setup.spec) {
            Ok(request) => {
                let key = Key { conn, answer: 0x0810, transmitted, stan };
                self.mux.opened(key, link, kind, now.mono_us.saturating_add(setup.answer_within_us));
                self.effects.push(Effect::SendBytes { conn, header: Bytes::new(), reply: request });
                self.counters.originated.push((link, kind.word(), "sent"));
            }
            Err(error) => {
                tracing::error!(link = %setup.name, kind = kind.word(), "cannot be sent: {error}");
                self.counters.originated.push((link, kind.word(), "not_sent"));
            }
        }
    }

    /// A response: to one of our requests, or to nobody.
    pub(super) fn handle_response(&mut self, message: &Message, recipient: &Recipient) {
        let link = recipient.link;
        let stan = message.digits(11).and_then(|stan| u32::try_from(stan).ok());
        let matched = message.digits(7).zip(stan).map_or(Match::Nobody, |(transmitted, stan)| {
            let key = Key { conn: recipient.conn, answer: message.mti().0, transmitted, stan };
            self.mux.answered(&key)
        });
        match matched {
            Match::Answer(kind) => {
                let code = message.string(39).unwrap_or_default();
                let accepted = code == "00";
                let result = if accepted { "accepted" } else { "declined" };
                self.counters.originated.push((link, kind.word(), result));
                let name = self.links.get(link).map_or("", |l| l.setup.name.as_str());
                match (kind, accepted) {
                    (Kind::SignOn, true) => {
                        tracing::info!(link = name, "signed on");
                        self.signed_on.push((link, recipient.conn));
                    }
                    (Kind::SignOff, true) => tracing::info!(link = name, "signed off"),
                    // Whatever it says, the peer lives.
                    (Kind::Echo, _) => {}
                    (Kind::SignOn | Kind::SignOff, false) => {
                        tracing::warn!(link = name, kind = kind.word(), %code, "the network declined");
                    }
                }
            }
            Match::Late => self.counters.dropped.push((link, "late_response")),
            Match::Nobody => self.counters.dropped.push((link, "response_to_nobody")),
        }
    }

    /// Requests whose time is over: the peer is half open, its connection is cut.
    pub(super) fn give_up_requests(&mut self, now: Now) {
        while let Some((link, conn, kind)) = self.mux.expired(now.mono_us) {
            let name = self.links.get(link).map_or("", |l| l.setup.name.as_str());
            tracing::warn!(link = name, kind = kind.word(), "no answer within echo_timeout: the connection is cut");
            self.counters.originated.push((link, kind.word(), "unanswered"));
            self.effects.push(Effect::Cut(conn));
        }
    }
}

/// DE7 of a moment: month, day and time of day, UTC, as a number.
fn transmission_time(wall: Timestamp) -> Option<u64> {
    let at = jiff::Timestamp::from_microsecond(wall.0).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    at.strftime("%m%d%H%M%S").to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn de7_is_month_day_and_time() {
        let at = Timestamp::parse_rfc3339("2028-02-29T23:59:58.999999Z").expect("a time");
        assert_eq!(transmission_time(at), Some(229_235_958));
    }
}
