//! The peers' servers through the built program: they answer taps as the engine does, and what they acknowledged is in
//! their files after `kill -9`. A peer that loses answers would be fast and worth nothing as a peer.

use bytes::Bytes;
use iso_codec::{Draft, Message, Mti, Spec, decode};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Card 0 of every peer: see `peers::tap::pan`.
const BODY: &str = "535110120000000";
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    child: Child,
    link: TcpStream,
    spec: Arc<Spec>,
}

impl Server {
    fn start(args: &[&str], dir: &Path, pool: i64) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_benches"));
        command.args(args).arg(dir).args(["--cards", "10", "--pool", &pool.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the built program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
        let addr = line.trim().split("listening on ").nth(1).expect("an address");
        let link = TcpStream::connect(addr).expect("it listens");
        link.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Server { child, link, spec: Spec::embedded("mastercard").expect("it is compiled in") }
    }

    fn naive(dir: &Path, pool: i64) -> Server {
        Server::start(&["naive-server", "--file"], &dir.join("naive"), pool)
    }

    fn cas(dir: &Path, pool: i64) -> Server {
        Server::start(&["cas-server", "--workers", "2", "--dir"], dir, pool)
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let length = u16::try_from(request.len()).expect("a short message").to_be_bytes();
        self.link.write_all(&[&length, request].concat()).expect("it is sent");
        let mut length = [0u8; 2];
        self.link.read_exact(&mut length).expect("a reply");
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        self.link.read_exact(&mut reply).expect("the whole reply");
        reply
    }

    fn ask(&mut self, request: &Bytes) -> Message {
        let reply = self.exchange(request);
        decode(&self.spec, Bytes::from(reply)).expect("a reply that can be read")
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed by the test already, or now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number with its check digit.
fn card(body: &str) -> String {
    let doubled = |at: usize, digit: u32| if at.is_multiple_of(2) { digit * 2 / 10 + digit * 2 % 10 } else { digit };
    let sum: u32 = body.bytes().rev().enumerate().map(|(at, byte)| doubled(at, u32::from(byte - b'0'))).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn tap(spec: &Spec, mti: u16, stan: u64, pan: &str, cents: u64) -> Bytes {
    let mut draft = Draft::new(Mti(mti));
    draft
        .set_text(2, pan)
        .set_digits(3, 0)
        .set_digits(4, cents)
        .set_text(7, "1122190000")
        .set_digits(11, stan)
        .set_text(32, "123456")
        .set_text(37, format!("{stan:012}"))
        .set_text(41, "TERM0001")
        .set_digits(49, 978)
        .set_text(63, "MBK000001");
    draft.encode(spec).expect("a good message")
}

/// A tap, a repeat, a changed repeat, declines: DE39 of each, and equal bytes where they must be.
fn check(server: &mut Server) {
    let spec = Arc::clone(&server.spec);
    let pan = card(BODY);
    let first = tap(&spec, 0x0100, 1, &pan, 600);
    let reply = server.ask(&first);
    assert_eq!(reply.mti().to_string(), "0110");
    assert_eq!(reply.string(39).as_deref(), Some("00"));
    assert!(reply.string(38).is_some_and(|code| code.len() == 6 && code != "000000"));
    for element in [2, 3, 4, 7, 11, 32, 37, 41, 49, 63] {
        assert!(reply.has(element), "DE{element} comes back");
    }
    let repeat = tap(&spec, 0x0101, 1, &pan, 600);
    assert_eq!(server.exchange(&repeat), reply.frame().as_ref(), "the repeat has the first one's bytes");
    let changed = server.ask(&tap(&spec, 0x0101, 1, &pan, 601));
    assert_eq!(changed.string(39).as_deref(), Some("94"));
    let too_much = tap(&spec, 0x0100, 2, &pan, 401);
    let declined = server.ask(&too_much);
    assert_eq!((declined.string(39).as_deref(), declined.has(38)), (Some("51"), false));
    assert_eq!(server.exchange(&too_much), declined.frame().as_ref(), "a decline is remembered too");
    let rest = server.ask(&tap(&spec, 0x0100, 3, &pan, 400));
    assert_eq!(rest.string(39).as_deref(), Some("00"), "the repeats moved nothing");
    let unknown = server.ask(&tap(&spec, 0x0100, 4, &card("535110129999999"), 1));
    assert_eq!(unknown.string(39).as_deref(), Some("14"));
}

/// STANs of the approved records of a journal file.
fn approved(spec: &Arc<Spec>, file: &Path) -> Vec<u64> {
    let bytes = std::fs::read(file).expect("the file is there");
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 {
            break;
        }
        let (record, behind) = behind.split_at(length);
        rest = behind;
        let message = decode(spec, Bytes::copy_from_slice(&record[6..])).expect("the request as it came");
        if &record[..2] == b"00" {
            found.push(message.digits(11).expect("a STAN"));
        }
    }
    found
}

/// Taps on several connections until the kill; each acknowledged one must be in the files.
fn survives(server: &mut Server, files: &[&Path]) {
    let spec = Arc::clone(&server.spec);
    let addr = server.link.peer_addr().expect("it is connected");
    let mut acknowledged = Vec::new();
    let threads: Vec<_> = (0..4u64)
        .map(|number| {
            let spec = Arc::clone(&spec);
            std::thread::spawn(move || {
                let mut link = TcpStream::connect(addr).expect("it listens");
                link.set_read_timeout(Some(PATIENCE)).expect("a time limit");
                let pan = card(BODY);
                let mut done = Vec::new();
                for at in 0..200_000u64 {
                    let stan = number * 200_000 + at;
                    let request = tap(&spec, 0x0100, stan, &pan, 1);
                    let length = u16::try_from(request.len()).expect("a short message").to_be_bytes();
                    let mut reply = [0u8; 512];
                    let mut exchange = || {
                        link.write_all(&[&length, request.as_ref()].concat())?;
                        link.read_exact(&mut reply[..2])?;
                        let length = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
                        link.read_exact(&mut reply[..length])
                    };
                    if exchange().is_err() {
                        break;
                    }
                    done.push(stan);
                }
                done
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    server.kill();
    for thread in threads {
        acknowledged.extend(thread.join().expect("a client"));
    }
    assert!(!acknowledged.is_empty());
    let mut found: Vec<u64> = files.iter().flat_map(|file| approved(&spec, file)).collect();
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count, "no tap is written twice");
    let lost: Vec<_> = acknowledged.iter().filter(|stan| found.binary_search(stan).is_err()).collect();
    assert!(lost.is_empty(), "acknowledged and not in the file: {lost:?}");
}

#[test]
fn the_naive_server_answers_as_the_engine_does() {
    let dir = tempfile::tempdir().expect("a directory");
    check(&mut Server::naive(dir.path(), 1000));
}

#[test]
fn the_compare_and_swap_server_answers_as_the_engine_does() {
    let dir = tempfile::tempdir().expect("a directory");
    check(&mut Server::cas(dir.path(), 1000));
}

#[test]
fn a_repeat_on_another_workers_connection_gets_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::cas(dir.path(), 1000);
    let request = tap(&server.spec, 0x0100, 7, &card(BODY), 600);
    let first = server.exchange(&request);
    // Connections are dealt in turn, so the next one is another worker's.
    server.link = TcpStream::connect(server.link.peer_addr().expect("it is connected")).expect("it listens");
    server.link.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    assert_eq!(server.exchange(&request), first);
}

#[test]
fn what_the_naive_server_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::naive(dir.path(), 1_000_000);
    survives(&mut server, &[&dir.path().join("naive")]);
}

#[test]
fn what_the_compare_and_swap_server_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::cas(dir.path(), 1_000_000);
    survives(&mut server, &[&dir.path().join("cas-0"), &dir.path().join("cas-1")]);
}
