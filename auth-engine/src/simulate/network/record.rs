//! Captures as text: one message a line, `>` from the network, `<` from the engine, then its bytes in hexadecimal without
//! the frame's length. Written while a scenario is played, and read back as one. Holds card numbers in clear.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use iso_codec::{Message, decode};

use super::compare::same_exchange;
use super::scenario::{Act, Check, Expect, Fault, Link, Scenario, Step, Unreadable, bytes_of};

/// How long a reply of a replayed capture is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most lines of a capture that are read.
const MOST_LINES: usize = 1_000_000;

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the network to the engine.
    Out,
    /// From the engine to the network.
    In,
}

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

/// Reads a capture as a scenario over one link: what the network sent is sent again, and each reply must have the type
/// and the DE39 that it had.
///
/// # Errors
/// Line and reason.
pub fn replayed(text: &str, name: &str, link: Link) -> Result<Scenario, Unreadable> {
    let mut lines: Vec<(Direction, Vec<u8>, Option<Message>)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |reason: String| Unreadable { line: number, reason };
        let (direction, rest) = match (line.strip_prefix('>'), line.strip_prefix('<')) {
            (Some(rest), _) => (Direction::Out, rest),
            (_, Some(rest)) => (Direction::In, rest),
            _ => return Err(refuse("a line begins with `>` (network) or `<` (engine), then hexadecimal".to_owned())),
        };
        let hex = match rest.trim_start().strip_prefix('[') {
            Some(named) => named.split_once(']').map_or("", |(_, hex)| hex),
            None => rest,
        };
        let bytes = bytes_of(hex).map_err(refuse)?;
        if bytes.is_empty() || lines.len() == MOST_LINES {
            return Err(refuse(format!("a message of no bytes, or more than {MOST_LINES} messages")));
        }
        let message = decode(&link.spec, bytes.clone().into()).ok();
        lines.push((direction, bytes, message));
    }
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
                steps.push(step(format!("{} {what}", at + 1), Act::Message(bytes.clone()), expect));
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
