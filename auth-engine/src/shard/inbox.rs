//! What came in on the shard's own thread and waits for the next batch: frames and partners' answers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;

use tokio::sync::Notify;

use crate::engine::LinkEvent;
use crate::partner::Answer;
use crate::switch::{ConnId, Inbound, Sink};

/// Frames and answers, in the order of their coming. Never shared with another thread.
#[derive(Default)]
pub(super) struct Inbox {
    frames: RefCell<VecDeque<Inbound>>,
    answers: RefCell<VecDeque<Answer>>,
    events: RefCell<VecDeque<LinkEvent>>,
    wake: Notify,
    asleep: Cell<bool>,
}

impl Inbox {
    pub(super) fn answer(&self, answer: Answer) {
        self.answers.borrow_mut().push_back(answer);
        self.rouse();
    }

    pub(super) fn next_frame(&self) -> Option<Inbound> {
        self.frames.borrow_mut().pop_front()
    }

    pub(super) fn next_answer(&self) -> Option<Answer> {
        self.answers.borrow_mut().pop_front()
    }

    pub(super) fn next_event(&self) -> Option<LinkEvent> {
        self.events.borrow_mut().pop_front()
    }

    fn event(&self, event: LinkEvent) {
        self.events.borrow_mut().push_back(event);
        self.rouse();
    }

    /// Frames that wait for a batch.
    pub(super) fn waiting(&self) -> usize {
        self.frames.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.borrow().is_empty() && self.answers.borrow().is_empty() && self.events.borrow().is_empty()
    }

    /// Resolves when something is there.
    pub(super) async fn filled(&self) {
        while self.is_empty() {
            self.asleep.set(true);
            self.wake.notified().await;
        }
        self.asleep.set(false);
    }

    fn rouse(&self) {
        if self.asleep.replace(false) {
            self.wake.notify_one();
        }
    }
}

impl Sink for Inbox {
    fn frame(&self, inbound: Inbound) {
        self.frames.borrow_mut().push_back(inbound);
        self.rouse();
    }

    fn opened(&self, link: usize, conn: ConnId, peer: SocketAddr) {
        tracing::debug!(link, %peer, "connection opened");
        self.event(LinkEvent::Opened { link, conn });
    }

    fn closed(&self, conn: ConnId) {
        self.event(LinkEvent::Closed { conn });
    }

    fn quiet(&self, link: usize, conn: ConnId) {
        self.event(LinkEvent::Quiet { link, conn });
    }

    fn rejected(&self, link: usize, reason: &'static str) {
        tracing::info!(link, reason, "bytes refused");
    }
}
