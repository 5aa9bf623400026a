//! `hostile.md` 1 to 10 on every framing: width, inclusive or not, with a header or a TPDU or without, two specs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use iso_codec::{Content, Draft, Framing, Message, Mti, Spec, Width, decode};

use crate::support::iso::network;
use crate::support::{Engine, PATIENCE, Setup, World, advice, code, de, purchase, reversal, until};

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
                         tpdu = {tpdu}\nspec = \"{spec}\"\n"
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
        let mut draft = draft.clone();
        // Sub-elements are the network's own; the other spec has plain text there.
        if self.spec.name() != "mastercard" && matches!(draft.element(48), Some(Content::Items(_))) {
            draft.set_text(48, "R");
        }
        self.frame(&draft.encode(&self.spec).expect("a message"))
    }

    /// The next reply, with the header it must carry.
    fn reply(&self, stream: &mut TcpStream) -> Message {
        decode(&self.spec, self.reply_bytes(stream).into()).expect("a reply that reads")
    }

    fn reply_bytes(&self, stream: &mut TcpStream) -> Vec<u8> {
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
                    return buffer[start..end].to_vec();
                }
            }
        }
    }

    fn ask(&self, stream: &mut TcpStream, draft: &Draft) -> Message {
        stream.write_all(&self.message(draft)).expect("the link reads");
        self.reply(stream)
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

/// An engine with a link of every kind, each with these lines too.
fn every_kind(more: &str, sections: &str) -> (Vec<Kind>, Arc<Engine>) {
    let kinds = kinds();
    let links = kinds.iter().map(|kind| format!("{}{more}", kind.lines)).collect();
    let engine = Engine::start(Setup { links, sections: sections.to_owned(), ..Setup::default() });
    (kinds, engine)
}

#[test]
fn h02_every_framing_takes_pieces_and_lumps_and_a_cut_at_every_byte() {
    let (kinds, engine) = every_kind("frame_timeout = \"1h\"\n", "");
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
    let (kinds, engine) = every_kind("frame_timeout = \"1h\"\n", "");
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

#[test]
fn h04_h08_h09_every_framing_decides_in_spite_of_odd_insides_and_disconnects_and_twins() {
    let (kinds, engine) = every_kind("", "");
    let world = World::on(&engine);
    let card = world.pool_card();
    for (at, kind) in kinds.iter().enumerate() {
        let mut stream = connect(&engine, at);
        for (element, raw) in
            [(48, vec![0xD9, 0xF4, 0xF2, 0xF9]), (55, vec![0xFF; 7]), (61, vec![0xF0]), (63, vec![0xE7])]
        {
            let mut tap = purchase(&card, 1);
            tap.set_raw(element, raw);
            assert_eq!(code(&kind.ask(&mut stream, &tap)), "00", "DE{element}: {}", kind.lines);
        }
    }
    // Cut in the middle of a tap, then after it and before its reply; the links all at once, since all wait.
    let taps: Vec<Draft> = kinds.iter().map(|_| purchase(&card, 1)).collect();
    let asks = || usize::try_from(world.sample.seen().asks).expect("few");
    let before = asks();
    world.rules(&["delay 500ms", "approve"]);
    for (at, (kind, tap)) in kinds.iter().zip(&taps).enumerate() {
        let whole = kind.message(tap);
        connect(&engine, at).write_all(&whole[..whole.len() / 2]).expect("the link reads");
        connect(&engine, at).write_all(&whole).expect("the link reads");
    }
    until("all asked", || (asks() == before + kinds.len()).then_some(()));
    // Twins of it, while it is being decided: the repeat on its own link, the tap itself on the next of the same spec.
    let mut twins: Vec<_> =
        (0..kinds.len()).map(|at| [connect(&engine, at), connect(&engine, (at + 2) % kinds.len())]).collect();
    for (at, (tap, [own, other])) in taps.iter().zip(&mut twins).enumerate() {
        let mut repeat = tap.clone();
        repeat.mti = Mti(0x0101);
        own.write_all(&kinds[at].message(&repeat)).expect("the link reads");
        other.write_all(&kinds[(at + 2) % kinds.len()].message(tap)).expect("the link reads");
    }
    for (at, [own, other]) in twins.iter_mut().enumerate() {
        let first = kinds[at].reply_bytes(own);
        let reply = decode(&kinds[at].spec, first.clone().into()).expect("a reply that reads");
        assert_eq!(code(&reply), "00", "{}", kinds[at].lines);
        assert_eq!(kinds[(at + 2) % kinds.len()].reply_bytes(other), first, "{}", kinds[at].lines);
    }
    assert_eq!(asks(), before + kinds.len(), "each was asked once");
    let held = kinds.len() * 5;
    assert_eq!(world.pool_balance(&world.pool).1, format!("{}.{:02}", held / 100, held % 100));
}

#[test]
fn h05_every_framing_cuts_what_is_never_finished() {
    let (kinds, engine) = every_kind("frame_timeout = \"500ms\"\n", "");
    let world = World::on(&engine);
    let (card, _) = world.account_card("100.00");
    let mut honest: Vec<_> = (0..kinds.len()).map(|at| connect(&engine, at)).collect();
    let mut slow = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let whole = kind.message(&network(270));
        // In the prefix, in the header, in the message.
        for cut in [1, kind.framing.width.bytes() + 1, whole.len() - 1] {
            let mut stream = connect(&engine, at);
            stream.write_all(&whole[..cut]).expect("the link reads");
            slow.push(stream);
        }
    }
    for (at, (kind, honest)) in kinds.iter().zip(&mut honest).enumerate() {
        assert_eq!(code(&kind.ask(honest, &purchase(&card, 1))), "00", "serving");
        let link = format!("link=\"net{at}\"");
        until("all three are cut", || {
            (engine.metric("auth_frames_rejected_total", &[&link, "reason=\"frame_timeout\""]) == 3.0).then_some(())
        });
        kind.serves(honest);
    }
    for mut stream in slow {
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)), "closed, without a word");
    }
}

#[test]
fn h06_every_framing_cuts_off_who_never_reads() {
    let (kinds, engine) = every_kind("", "[switch]\nout_buffer = \"64KiB\"\n");
    for (at, kind) in kinds.iter().enumerate() {
        let (mut deaf, mut honest) = (connect(&engine, at), connect(&engine, at));
        socket2::SockRef::from(&deaf).set_recv_buffer_size(4096).expect("a socket");
        let many: Vec<u8> = (0..500).flat_map(|_| kind.message(&network(270))).collect();
        let cut = (0..2000).any(|_| deaf.write_all(&many).is_err());
        assert!(cut, "a million echoes were taken from a peer that reads nothing: {}", kind.lines);
        kind.serves(&mut honest);
    }
}

#[test]
fn h07_every_framing_answers_each_past_its_limit() {
    const SENT: usize = 40;
    let (kinds, engine) = every_kind("max_in_flight = 8\n", "");
    let world = World::on(&engine);
    let card = world.pool_card();
    // Eight of each link wait for a partner with 64 connections: three rounds, well before its deadline.
    world.rules(&["delay 100ms", "approve"]);
    let mut streams: Vec<_> = (0..kinds.len()).map(|at| connect(&engine, at)).collect();
    for (kind, stream) in kinds.iter().zip(&mut streams) {
        let taps: Vec<u8> = (0..SENT).flat_map(|_| kind.message(&purchase(&card, 1))).collect();
        stream.write_all(&taps).expect("the link reads");
    }
    // Advices and reversals are taken meanwhile.
    for (at, kind) in kinds.iter().enumerate() {
        let mut stream = connect(&engine, at);
        assert_eq!(code(&kind.ask(&mut stream, &advice(0x0120, &card, 1, "05"))), "00", "{}", kind.lines);
        assert_eq!(code(&kind.ask(&mut stream, &reversal(0x0400, &purchase(&card, 1)))), "00", "{}", kind.lines);
    }
    let mut held = 0;
    for (kind, stream) in kinds.iter().zip(&mut streams) {
        let codes: Vec<String> = (0..SENT).map(|_| code(&kind.reply(stream))).collect();
        let approved = codes.iter().filter(|code| *code == "00").count();
        assert!(codes.iter().all(|code| code == "00" || code == "91"), "{codes:?}: {}", kind.lines);
        assert!((8..SENT).contains(&approved), "{approved} of {SENT}: {}", kind.lines);
        held += approved;
        kind.serves(stream);
    }
    assert_eq!(world.pool_balance(&world.pool).1, format!("{}.{:02}", held / 100, held % 100));
}
