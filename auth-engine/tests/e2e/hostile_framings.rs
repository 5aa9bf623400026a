//! `hostile.md` 1, 2, 3 and 10 on every framing: width, inclusive or not, with a header or a TPDU or without, two specs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use iso_codec::{Draft, Framing, Message, Mti, Spec, Width, decode};

use crate::support::iso::network;
use crate::support::{Engine, PATIENCE, Setup, code, de, until};

/// One link of the engine: how it frames, what it speaks.
struct Kind {
    lines: String,
    framing: Framing,
    tpdu: bool,
    spec: Arc<Spec>,
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for width in ["len2be", "len2le", "len4be", "len4ascii"] {
        for inclusive in [false, true] {
            for (header_bytes, tpdu) in [(0, false), (4, false), (5, true)] {
                let spec = if kinds.len() % 2 == 0 { "mastercard" } else { "iso1987-ascii" };
                kinds.push(Kind {
                    lines: format!(
                        "framing = \"{width}\"\ninclusive = {inclusive}\nheader_bytes = {header_bytes}\n\
                         tpdu = {tpdu}\nspec = \"{spec}\"\nframe_timeout = \"1h\"\n"
                    ),
                    framing: Framing { width: Width::parse(width).expect("known"), inclusive, header_bytes },
                    tpdu,
                    spec: Spec::embedded(spec).expect("it is compiled in"),
                });
            }
        }
    }
    kinds
}

impl Kind {
    fn header(&self) -> Vec<u8> {
        [0x60, 1, 2, 3, 4].into_iter().take(self.framing.header_bytes).collect()
    }

    fn frame(&self, message: &[u8]) -> Vec<u8> {
        let mut prefix = [0; 8];
        let size = self.framing.encode_prefix(message.len(), &mut prefix).expect("a length that fits");
        [&prefix[..size], &self.header(), message].concat()
    }

    fn message(&self, draft: &Draft) -> Vec<u8> {
        self.frame(&draft.encode(&self.spec).expect("a message"))
    }

    /// The next reply, with the header it must carry.
    fn reply(&self, stream: &mut TcpStream) -> Message {
        let mut head = vec![0; self.framing.width.bytes()];
        stream.read_exact(&mut head).expect("a reply");
        // An answer's length is found as the engine finds a request's.
        let mut buffer = head;
        loop {
            match self.framing.next(&buffer, 8192).expect("a length") {
                iso_codec::Step::Need(_) => {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("the rest of a reply");
                    buffer.push(byte[0]);
                }
                iso_codec::Step::Frame { start, end } => {
                    let header = &buffer[start - self.framing.header_bytes..start];
                    let wanted = if self.tpdu { vec![0x60, 3, 4, 1, 2] } else { self.header() };
                    assert_eq!(header, wanted, "{}", self.lines);
                    return decode(&self.spec, buffer[start..end].to_vec().into()).expect("a reply that reads");
                }
            }
        }
    }

    fn echoed(&self, stream: &mut TcpStream, echo: &Draft) {
        let reply = self.reply(stream);
        let same = de(&reply, 11) == Some(crate::support::iso::text(echo, 11));
        assert!(reply.mti() == Mti(0x0810) && same && code(&reply) == "00", "{}", self.lines);
    }

    fn serves(&self, stream: &mut TcpStream) {
        let echo = network(270);
        stream.write_all(&self.message(&echo)).expect("the link reads");
        self.echoed(stream, &echo);
    }
}

fn connect(engine: &Engine, at: usize) -> TcpStream {
    let stream = TcpStream::connect(engine.link(at)).expect("the link accepts");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

#[test]
fn h02_every_framing_takes_pieces_and_lumps_and_a_cut_at_every_byte() {
    let kinds = kinds();
    let engine = Engine::start(Setup { links: kinds.iter().map(|k| k.lines.clone()).collect(), ..Setup::default() });
    for (at, kind) in kinds.iter().enumerate() {
        let mut stream = connect(&engine, at);
        let echo = network(270);
        for byte in kind.message(&echo) {
            stream.write_all(&[byte]).expect("the link reads");
        }
        kind.echoed(&mut stream, &echo);
        let echoes: Vec<Draft> = (0..10).map(|_| network(270)).collect();
        let lump: Vec<u8> = echoes.iter().flat_map(|echo| kind.message(echo)).collect();
        stream.write_all(&lump).expect("the link reads");
        echoes.iter().for_each(|echo| kind.echoed(&mut stream, echo));
        let whole = kind.message(&network(270));
        for cut in 1..whole.len() {
            connect(&engine, at).write_all(&whole[..cut]).expect("the link reads");
        }
        kind.serves(&mut stream);
        let link = format!("link=\"net{at}\"");
        let labels = [link.as_str(), "reason=\"cut_frame\""];
        let wanted = whole.len() - 1;
        until("every cut counted", || {
            (engine.metric("auth_frames_rejected_total", &labels) as usize == wanted).then_some(())
        });
    }
}

#[test]
fn h01_h03_h10_every_framing_outlives_what_no_framing_allows_and_what_says_nothing() {
    let kinds = kinds();
    let engine = Engine::start(Setup { links: kinds.iter().map(|k| k.lines.clone()).collect(), ..Setup::default() });
    for (at, kind) in kinds.iter().enumerate() {
        let mut honest = connect(&engine, at);
        // A length over `max_frame`, or no number at all: framing is lost, the connection is closed.
        let mut garbage = connect(&engine, at);
        garbage.write_all(&[0x7f; 64]).expect("the link reads");
        let mut rest = Vec::new();
        assert_eq!(garbage.read_to_end(&mut rest).ok(), Some(0), "{}", kind.lines);
        // Whole frames that say nothing: dropped and counted, and the connection stays.
        let mut response = Draft::new(Mti(0x0810));
        for (n, text) in [(7, "1122120000"), (11, "000001"), (39, "00"), (70, "270")] {
            response.set_text(n, text);
        }
        honest.write_all(&kind.frame(b"not a message")).expect("the link reads");
        honest.write_all(&kind.message(&response)).expect("the link reads");
        // An unknown DE70 is answered 30.
        honest.write_all(&kind.message(&network(999))).expect("the link reads");
        let reply = kind.reply(&mut honest);
        assert_eq!((code(&reply), de(&reply, 44)), ("30".to_owned(), Some("070".to_owned())), "{}", kind.lines);
        kind.serves(&mut honest);
        let link = format!("link=\"net{at}\"");
        for reason in ["undecodable", "response_to_nobody", "format_error"] {
            until(reason, || (engine.metric("auth_frames_rejected_total", &[&link, reason]) == 1.0).then_some(()));
        }
    }
}
