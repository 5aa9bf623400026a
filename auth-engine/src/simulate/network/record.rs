//! Captures as text: one message a line, `>` from the network, `<` from the engine, then its bytes in hexadecimal without
//! the frame's length. Written while a scenario is played, and read back as one, as captures of packets are. Holds card
//! numbers in clear.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use iso_codec::{Message, decode};

use super::compare::same_exchange;
use super::scenario::{Act, Check, Expect, Fault, Link, Scenario, Step, Unreadable};
use crate::capture::lines::{self, Direction, NotLines};
use crate::capture::{self, packets, streams};

/// How long a reply of a replayed capture is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a capture looks like.
const FORM: &str = "a line begins with `>` (network) or `<` (engine), then hexadecimal";
/// The most lines of a capture that are read.
const MOST_LINES: usize = 1_000_000;

/// Writes a capture, or nothing.
#[derive(Default)]
pub struct Recorder {
    file: Option<File>,
    broken: Option<io::Error>,
}

impl Recorder {
    /// Into a new file that only its owner may read.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn into_file(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        writeln!(file, "# Card numbers in clear. > from the network, < from the engine; frames without their length.")?;
        Ok(Self { file: Some(file), broken: None })
    }

    /// Notes a message.
    pub fn note(&mut self, link: &str, direction: Direction, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let mark = if direction == Direction::Out { '>' } else { '<' };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        if let Err(error) = writeln!(file, "{mark}[{link}] {hex}") {
            self.broken.get_or_insert(error);
        }
    }

    /// Why the capture is not whole, if it is not.
    pub fn broken(self) -> Option<io::Error> {
        self.broken
    }
}

/// A message of a capture: which way it went, its bytes, and what they say if they read.
type Line = (Direction, Bytes, Option<Message>);

/// Reads a capture, of packets or of text, as a scenario over one link: what the network sent is sent again, and each
/// reply must have the type and the DE39 that it had.
///
/// # Errors
/// Line, where there is one, and reason.
pub fn replayed(file: &[u8], name: &str, link: Link) -> Result<Scenario, Unreadable> {
    let lines = if packets::is_capture(file) { of_packets(file, &link)? } else { of_text(file, &link)? };
    let mut claimed = vec![false; lines.len()];
    let mut steps = Vec::new();
    for (at, (direction, bytes, message)) in lines.iter().enumerate() {
        match direction {
            Direction::Out => {
                let reply = message.as_ref().and_then(|request| {
                    lines.iter().enumerate().skip(at + 1).find_map(|(place, (direction, _, reply))| {
                        let reply = reply.as_ref().filter(|_| *direction == Direction::In && !claimed[place])?;
                        same_exchange(request, reply).then_some((place, reply))
                    })
                });
                if let Some((place, _)) = reply {
                    claimed[place] = true;
                }
                let what = message.as_ref().map_or("bytes".to_owned(), |message| message.mti().to_string());
                let expect = reply.map(|(_, reply)| as_then(reply));
                steps.push(step(format!("{} {what}", at + 1), Act::Message(bytes.to_vec()), expect));
            }
            Direction::In => {
                if let Some(message) = message.as_ref().filter(|message| !message.mti().is_response()) {
                    let expect = Expect { fields: BTreeMap::new(), ..as_then(message) };
                    steps.push(step(format!("{} {}", at + 1, message.mti()), Act::Receive(expect, None), None));
                }
            }
        }
    }
    if steps.is_empty() {
        return Err(Unreadable { line: 1, reason: "no message in it".to_owned() });
    }
    let title = "a capture, played again".to_owned();
    Ok(Scenario { name: name.to_owned(), title, links: vec![link], setup: None, vars: BTreeMap::new(), steps })
}

fn unreadable(error: NotLines) -> Unreadable {
    match error {
        NotLines::Digit { line, column } => Unreadable { line, reason: format!("{FORM}; column {column} is not") },
        NotLines::Odd { line } => {
            Unreadable { line, reason: "an odd number of hexadecimal digits; two make a byte".to_owned() }
        }
    }
}

fn of_text(file: &[u8], link: &Link) -> Result<Vec<Line>, Unreadable> {
    let mut read: Vec<Line> = Vec::new();
    for line in lines::read(file).map_err(unreadable)? {
        if line.bytes.is_empty() && line.mark.is_empty() {
            continue;
        }
        let refuse = |reason: String| Unreadable { line: line.number, reason };
        let direction = line
            .direction
            .ok_or_else(|| refuse("a line begins with `>` (network) or `<` (engine), then hexadecimal".to_owned()))?;
        if line.bytes.is_empty() || read.len() == MOST_LINES {
            return Err(refuse(format!("a message of no bytes, or more than {MOST_LINES} messages")));
        }
        let bytes = Bytes::from(line.bytes);
        let message = decode(&link.spec, bytes.clone()).ok();
        read.push((direction, bytes, message));
    }
    Ok(read)
}

/// Messages of a packet capture in the order of their packets. The engine is whom the first connection was opened to or,
/// when the capture began later, who was sent the first request.
fn of_packets(file: &[u8], link: &Link) -> Result<Vec<Line>, Unreadable> {
    let refuse = |reason: String| Unreadable { line: 0, reason };
    let found = packets::read(file).map_err(|error| refuse(error.to_string()))?;
    let opened = found.segments.iter().find(|segment| segment.syn).map(|segment| segment.to);
    let mut messages = Vec::new();
    for run in streams::runs(&found, file) {
        for place in capture::cut(link.framing, &run.bytes).0 {
            let bytes = capture::message(&run.bytes, place);
            let message = decode(&link.spec, bytes.clone()).ok();
            let packet = run.mark(place.frame).map_or(0, |mark| mark.packet);
            messages.push((packet, run.from, run.to, bytes, message));
        }
    }
    messages.sort_by_key(|(packet, ..)| *packet);
    if messages.len() > MOST_LINES {
        return Err(refuse(format!("more than {MOST_LINES} messages")));
    }
    let asked = || {
        let is_request = |message: &Message| !message.mti().is_response();
        messages.iter().find(|(.., message)| message.as_ref().is_some_and(is_request)).map(|(_, _, to, ..)| *to)
    };
    let engine = opened.or_else(asked).ok_or_else(|| refuse("no request of the link's spec in it".to_owned()))?;
    // Other hosts' traffic in the same file is none of this link's.
    let on_link = messages.into_iter().filter_map(|(_, from, to, bytes, message)| match (from, to) {
        (_, to) if to == engine => Some((Direction::Out, bytes, message)),
        (from, _) if from == engine => Some((Direction::In, bytes, message)),
        _ => None,
    });
    Ok(on_link.collect())
}

fn as_then(reply: &Message) -> Expect {
    let code = reply.string(39).map(|code| (39, Check::Equal(code.replace('{', "{{").replace('}', "}}"))));
    Expect { mti: Some(reply.mti()), within: PATIENCE, none: false, closed: false, fields: code.into_iter().collect() }
}

fn step(name: String, act: Act, expect: Option<Expect>) -> Step {
    Step {
        name,
        link: 0,
        act,
        repeat: 1,
        think: (Duration::ZERO, Duration::ZERO),
        keep: None,
        awaited: true,
        collect: false,
        fault: Fault::default(),
        expect,
    }
}
