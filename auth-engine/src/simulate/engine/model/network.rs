//! A message of the network to its rule: by its type, and what keeps it from being one.

use super::super::plan::Message;
use super::desk::{Answer, Desk, Recipient, Told};
use super::{Model, Moment};

impl Model {
    /// A message came. `approval` is the DE38 that it carries.
    pub(crate) fn message(
        &mut self,
        desk: &mut Desk,
        message: &Message,
        approval: Option<u32>,
        recipient: Recipient,
        now: Moment,
    ) -> Told {
        // Requests and advices that can only be answered late are left alone.
        let wants_answer = matches!(message.mti & 0x00F0, 0x00 | 0x20);
        if wants_answer && recipient.deadline <= now.mono {
            return Told::nothing();
        }
        match message.mti {
            0x0100 | 0x0200 | 0x0120 | 0x0220 | 0x0400 | 0x0420 => {
                if let Some(told) = incomplete(message) {
                    return told;
                }
                match message.mti {
                    0x0100 | 0x0200 => self.tap(desk, message, recipient, now),
                    0x0120 | 0x0220 => self.advice(desk, message, approval, recipient, now),
                    _ => self.reversal(desk, message, approval, recipient, now),
                }
            }
            0x0190 => self.not_received(desk, message, now),
            0x0620 => {
                self.recorded(now.wall);
                desk.park(recipient, Answer::code("00"), None, None);
                Told::events(1)
            }
            0x0820 | 0x0180 => {
                self.recorded(now.wall);
                Told::events(1)
            }
            0x0302 => {
                desk.park(recipient, Answer::code("40"), None, None);
                Told::nothing()
            }
            0x0800 => self.managed(desk, message, recipient, now),
            // What nobody asked for.
            0x0110 => Told::nothing(),
            _ => {
                desk.park(recipient, Answer::code("12"), None, None);
                Told::nothing()
            }
        }
    }

    /// Sign-on, sign-off, echo.
    fn managed(&mut self, desk: &mut Desk, message: &Message, recipient: Recipient, now: Moment) -> Told {
        let on = match message.de70 {
            Some(1 | 61) => Some(true),
            Some(2 | 62) => Some(false),
            Some(270 | 60 | 63..=68 | 81 | 82 | 363) => None,
            _ => return Told::at_once("30", Some("070")),
        };
        let link = recipient.link;
        desk.park(recipient, Answer::code("00"), None, None);
        match on {
            Some(on) if self.links.get(link) != Some(&on) => {
                if let Some(signed) = self.links.get_mut(link) {
                    *signed = on;
                }
                self.event(now.wall);
                Told::events(1)
            }
            _ => Told::nothing(),
        }
    }
}

/// Rule 1.
fn incomplete(message: &Message) -> Option<Told> {
    match message.missing? {
        7 | 11 => Some(Told::nothing()),
        2 => Some(Told::at_once("30", Some("002"))),
        3 => Some(Told::at_once("30", Some("003"))),
        4 => Some(Told::at_once("30", Some("004"))),
        49 => Some(Told::at_once("30", Some("049"))),
        51 if message.billing.is_some() => Some(Told::at_once("30", Some("051"))),
        _ => None,
    }
}
