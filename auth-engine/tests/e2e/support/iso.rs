//! The card network's end of a link: messages as drafts, frames with two bytes of length, replies as messages.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use iso_codec::{Content, Draft, Message, Mti, Spec, decode};

use super::{Card, PATIENCE};

/// The spec of all links here.
pub(crate) fn spec() -> Arc<Spec> {
    Spec::embedded("mastercard").expect("it is compiled in")
}

/// A number that no other message of this run has, six digits.
pub(crate) fn fresh() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A connection to a link.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).expect("the link accepts"))
    }

    /// The same over a connection that is open.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream }
    }

    /// A second handle on the same connection.
    pub(crate) fn twin(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a socket") }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, draft: &Draft) {
        self.send_frame(&draft.encode(&spec()).expect("a message"));
    }

    /// Sends a frame's content.
    pub(crate) fn send_frame(&mut self, message: &[u8]) {
        self.send_bytes(&framed(message));
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the link reads");
    }

    /// The next frame's content; `None` when the engine closed the connection.
    pub(crate) fn next_frame(&mut self) -> Option<Bytes> {
        let mut length = [0u8; 2];
        self.fill(&mut length)?;
        let mut content = vec![0u8; usize::from(u16::from_be_bytes(length))];
        self.fill(&mut content)?;
        Some(content.into())
    }

    fn fill(&mut self, room: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(room) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no reply came")
            }
            Err(_) => None,
        }
    }

    /// The next reply's bytes.
    pub(crate) fn reply_bytes(&mut self) -> Bytes {
        self.next_frame().expect("a reply, not the end of the connection")
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Message {
        read(self.reply_bytes())
    }

    /// Sends and takes the next reply.
    pub(crate) fn ask(&mut self, draft: &Draft) -> Message {
        self.send(draft);
        self.reply()
    }

    /// Sends, takes the next reply's bytes.
    pub(crate) fn ask_bytes(&mut self, draft: &Draft) -> Bytes {
        self.send(draft);
        self.reply_bytes()
    }

    /// Proves that nothing was answered to what was sent before: an echo's answer is the next thing that comes.
    pub(crate) fn nothing_but_an_echo(&mut self) {
        let echo = network(270);
        let reply = self.ask(&echo);
        assert_eq!((reply.mti(), de(&reply, 11)), (Mti(0x0810), Some(text(&echo, 11))), "an answer nobody expects");
    }

    /// Whether the engine closes the connection, after whatever it still says.
    pub(crate) fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Closes without waiting for anything.
    pub(crate) fn hang_up(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A frame with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a message of this size");
    [&length.to_be_bytes()[..], message].concat()
}

/// A reply's elements.
pub(crate) fn read(frame: Bytes) -> Message {
    decode(&spec(), frame).expect("a reply that its spec can read")
}

/// An element's text.
pub(crate) fn de(message: &Message, n: u8) -> Option<String> {
    message.string(n)
}

/// DE39.
pub(crate) fn code(message: &Message) -> String {
    de(message, 39).expect("every reply has DE39")
}

/// Checks that a reply has these elements and no others.
pub(crate) fn exactly(message: &Message, elements: &[u8]) {
    let present: Vec<u8> = message.present().filter(|n| *n != 1).collect();
    assert_eq!(present, elements, "elements of a {}", message.mti());
}

/// What a draft holds as text.
pub(crate) fn text(draft: &Draft, n: u8) -> String {
    match draft.element(n) {
        Some(Content::Text(text)) => text.clone(),
        other => panic!("DE{n} is {other:?}"),
    }
}

/// A money message with everything that public traffic has, in EUR, with its own STAN, DE7 and DE63.
pub(crate) fn message(mti: u16, card: &Card, minor: u64) -> Draft {
    let number = fresh();
    let mut draft = Draft::new(Mti(mti));
    draft
        .set_text(2, card.pan.as_str())
        .set_text(3, "000000")
        .set_text(4, format!("{minor:012}"))
        .set_text(7, format!("1122{:06}", 100_000 + number / 1_000_000))
        .set_text(11, format!("{:06}", number % 1_000_000))
        .set_text(12, "120000")
        .set_text(13, "1122")
        .set_text(14, card.expiry.as_str())
        .set_text(15, "1122")
        .set_text(18, "5411")
        .set_text(22, "071")
        .set_text(32, "012345")
        .set_text(33, "200042")
        .set_text(37, format!("{number:012}"))
        .set_text(41, "TERM0001")
        .set_text(42, "MERCHANT0000042")
        .set_text(43, format!("{:<22} {:<13} {:<3}", "CORNER STORE 42", "LISBOA", "PRT"))
        .set_subs(48, &[("TCC", "R"), ("42", "0103210"), ("43", "2"), ("61", "00000")])
        .set_text(49, "978")
        .set_text(61, "00000000000000620")
        .set_text(63, format!("MCC{number:06}"));
    draft
}

/// An 0100 purchase.
pub(crate) fn purchase(card: &Card, minor: u64) -> Draft {
    message(0x0100, card, minor)
}

/// An advice that says `code`.
pub(crate) fn advice(mti: u16, card: &Card, minor: u64, code: &str) -> Draft {
    let mut draft = message(mti, card, minor);
    draft.set_text(39, code).set_text(60, "1910000").set_text(38, "654321");
    draft
}

/// DE90 for a draft.
pub(crate) fn original_data(of: &Draft) -> String {
    format!("{}{}{}{:0>11}{:0>11}", of.mti, text(of, 11), text(of, 7), text(of, 32), text(of, 33))
}

/// A full reversal of a draft by DE90.
pub(crate) fn reversal(mti: u16, of: &Draft) -> Draft {
    let mut draft = of.clone();
    let number = fresh();
    draft.mti = Mti(mti);
    draft
        .set_text(7, format!("1122{:06}", 110_000 + number / 1_000_000))
        .set_text(11, format!("{:06}", number % 1_000_000))
        .set_text(39, "17")
        .set_text(63, format!("MCC{number:06}"))
        .set_text(90, original_data(of));
    draft.remove(61);
    draft.remove(38);
    draft
}

/// DE95: transaction and billing amounts.
pub(crate) fn replacement(transaction: u64, billing: u64) -> String {
    format!("{transaction:012}{:012}{billing:012}000000", 0)
}

/// An 0800 with that DE70.
pub(crate) fn network(function: u16) -> Draft {
    let number = fresh();
    let mut draft = Draft::new(Mti(0x0800));
    draft
        .set_text(7, format!("1122{:06}", 120_000 + number / 1_000_000))
        .set_text(11, format!("{:06}", number % 1_000_000))
        .set_text(33, "200042")
        .set_text(63, format!("MCC{number:06}"))
        .set_text(70, format!("{function:03}"));
    draft
}
