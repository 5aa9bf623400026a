//! Everything that moves no money: network management, administrative messages, format errors, unknown types.

use bytes::Bytes;
use iso_codec::{ElementAt, Message};
use ledger_core::event::Event;
use ledger_core::event::admin::LinkSigned;
use ledger_core::event::tap::Recorded;

use super::reply::Parts;
use super::{Engine, Now, Recipient};

impl Engine {
    pub(super) fn handle_other(&mut self, message: &Message, recipient: Recipient, now: Now) {
        let mti = message.mti();
        match mti.0 {
            0x0800 => self.handle_management(message, recipient, now),
            0x0820 | 0x0180 => {
                self.record_with_raw(now, recipient.link, message, |raw| Event::Recorded(Recorded { mti: mti.0, raw }));
            }
            0x0190 => self.handle_not_received(message, recipient, now),
            0x0620 | 0x0621 => {
                self.record_with_raw(now, recipient.link, message, |raw| Event::Recorded(Recorded { mti: mti.0, raw }));
                self.park_one(message, &Parts::code(*b"00"), recipient, None);
            }
            0x0302 => self.park_one(message, &Parts::code(*b"40"), recipient, None),
            _ if mti.is_request() => {
                if message.has(7) && message.has(11) {
                    self.park_one(message, &Parts::code(*b"12"), recipient, None);
                } else {
                    self.counters.dropped.push((recipient.link, "unanswerable"));
                }
            }
            _ if mti.is_response() => self.handle_response(message, &recipient),
            _ => self.counters.dropped.push((recipient.link, "unknown_mti")),
        }
    }

    /// 0800: sign-on, sign-off, echo.
    fn handle_management(&mut self, message: &Message, recipient: Recipient, now: Now) {
        if !message.has(7) || !message.has(11) {
            self.counters.dropped.push((recipient.link, "unanswerable"));
            return;
        }
        let Some(code) = message.digits(70) else {
            self.answer_format_error(message, ElementAt::De(70), recipient);
            return;
        };
        match code {
            1 | 61 => self.sign(recipient.link, true, now),
            2 | 62 => self.sign(recipient.link, false, now),
            270 | 60 | 63..=68 | 81 | 82 | 363 => {}
            _ => {
                self.answer_format_error(message, ElementAt::De(70), recipient);
                return;
            }
        }
        self.park_one(message, &Parts::code(*b"00"), recipient, None);
    }

    fn sign(&mut self, link: usize, on: bool, now: Now) {
        let Some(number) = self.links.get(link).map(|l| l.number) else { return };
        let before = self.book.links().get(usize::from(number)).is_some_and(|l| l.signed_on);
        if before != on {
            self.record(now, &Event::LinkSigned(LinkSigned { link: number, on }));
        }
    }

    /// 30 with DE44; what cannot be answered is counted.
    pub(super) fn answer_format_error(&mut self, message: &Message, element: ElementAt, recipient: Recipient) {
        if !message.has(7) || !message.has(11) {
            self.counters.dropped.push((recipient.link, "unanswerable"));
            return;
        }
        let mut parts = Parts::code(*b"30");
        parts.offending = Some(element.de44());
        self.counters.dropped.push((recipient.link, "format_error"));
        self.send_now(message, &parts, &recipient);
    }

    /// Answers at once: for refusals, behind which there is no event.
    pub(super) fn send_now(&mut self, message: &Message, parts: &Parts, recipient: &Recipient) {
        let mut out = bytes::BytesMut::with_capacity(512);
        match super::reply::write(message, parts, &mut out) {
            Ok(_) => self.effects.push(super::Effect::SendBytes {
                conn: recipient.conn,
                header: recipient.header.clone(),
                reply: Bytes::from(out),
            }),
            Err(error) => tracing::error!(%error, "a refusal cannot be encoded"),
        }
    }
}
