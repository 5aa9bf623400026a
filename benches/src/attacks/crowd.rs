//! A thousand connections on one link, a hundred of them malicious in four ways: slow ones, garbage, lengths that
//! announce more than is allowed, and peers that send and never read. It owns the malicious ones and what became of
//! them; it must never take the processors from what is measured, so its threads have the lowest priority.

use super::ground::Ground;
use super::{Check, Outcome, Terms, honest, slowloris};
use crate::fault::Fault;
use crate::messages::Messages;
use crate::processors;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Connections that behave.
const HONEST: usize = 900;
/// Connections of each of the four kinds that do not.
const OF_EACH: usize = 25;
/// Between two turns of a malicious thread over its connections.
const TURN: Duration = Duration::from_millis(20);

/// What malicious connections of a kind came to.
#[derive(Debug, Default)]
struct Told {
    opened: u64,
    ended: u64,
}

pub(super) fn run(mut terms: Terms<'_>) -> Result<Outcome, Fault> {
    let timeout = Duration::from_secs(if terms.quick { 1 } else { 3 });
    let ground = Ground::start(&terms, &format!("frame_timeout = \"{}s\"", timeout.as_secs()), None)?;
    let plan = |name: &str| {
        let mut plan = honest::plan(name, ground.attacked, &ground.cards, terms.rate, terms.length())?;
        (plan.links, plan.first, plan.watch.kept) = (HONEST, true, processors::of_shard());
        Ok::<_, Fault>(plan)
    };
    let quiet = plan("crowd: 900 honest connections alone")?;
    let loud = plan("crowd: 900 honest connections beside 100 malicious")?;
    let echo = Messages::new()?.echo()?;
    let rounds = terms.rounds;
    let mut numbers = terms.own_numbers();
    let mut notes = Vec::new();
    let (quiet, mut loud) = honest::in_turns(
        rounds,
        || honest::once(&quiet, terms.numbers),
        || {
            let stop = AtomicBool::new(false);
            let addr = ground.attacked;
            std::thread::scope(|scope| {
                let slow = scope.spawn(|| {
                    // On Linux this is the calling thread's own priority.
                    let _ = rustix::process::nice(19);
                    slowloris::attack(addr, OF_EACH, &stop)
                });
                let others =
                    [("garbage", garbage as fn(&[u8]) -> Vec<u8>), ("oversized", oversized), ("never reading", unread)]
                        .map(|(kind, bytes)| {
                            let (bytes, stop) = (bytes(&echo), &stop);
                            let thread = scope.spawn(move || {
                                let _ = rustix::process::nice(19);
                                attack(addr, &bytes, kind == "never reading", stop)
                            });
                            (kind, thread)
                        });
                let result = honest::once(&loud, &mut numbers);
                stop.store(true, Ordering::Relaxed);
                let panicked = |_| Fault::Engine("a thread of malicious connections panicked".to_owned());
                let cuts = slow.join().map_err(panicked)??;
                let mut told = vec![format!("slow: {} cut", cuts.after.len())];
                for (kind, thread) in others {
                    let Told { opened, ended } = thread.join().map_err(panicked)?;
                    told.push(format!("{kind}: {opened} opened, {ended} ended by the engine"));
                }
                notes = told;
                result
            })
        },
    )?;
    loud.told.notes.append(&mut notes);
    let ratio = loud.told.p99_us / quiet.told.p99_us;
    let p99 = format!("{:.0} µs over {:.0} µs, {ratio:.2} x", loud.told.p99_us, quiet.told.p99_us);
    let checks = vec![
        honest::served(&loud),
        honest::kept(&quiet, &loud),
        Check::new("honest p99 beside that without: at most 1.2 x", p99, ratio <= 1.2),
    ];
    Ok(Outcome::Ran { results: vec![quiet.told, loud.told], checks })
}

/// A frame's length, then bytes that are no message.
fn garbage(_: &[u8]) -> Vec<u8> {
    let mut bytes = 64_u16.to_be_bytes().to_vec();
    bytes.extend((0..64_u8).map(|at| at.wrapping_mul(37) ^ 0x5A));
    bytes
}

/// More than any `max_frame`.
fn oversized(_: &[u8]) -> Vec<u8> {
    vec![0xFF; 256]
}

/// Echoes that would all be answered.
fn unread(echo: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(echo.len()).unwrap_or(0).to_be_bytes().to_vec();
    frame.extend_from_slice(echo);
    frame.repeat(4)
}

/// Keeps [`OF_EACH`] connections open that send the bytes again and again; one that the engine ended is made anew.
fn attack(addr: SocketAddr, bytes: &[u8], unread: bool, stop: &AtomicBool) -> Told {
    let mut told = Told::default();
    let mut open: Vec<TcpStream> = Vec::with_capacity(OF_EACH);
    while !stop.load(Ordering::Relaxed) {
        while open.len() < OF_EACH {
            let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(5)) else { break };
            if stream.set_nonblocking(true).is_err() {
                break;
            }
            told.opened += 1;
            open.push(stream);
        }
        open.retain_mut(|stream| {
            let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            let written = stream.write(bytes);
            let alive = match written {
                Ok(_) => true,
                Err(error) => would_block(&error),
            };
            // Who never reads learns of its end by writing alone.
            let alive = alive
                && (unread
                    || match stream.read(&mut [0; 512]) {
                        Ok(read) => read > 0,
                        Err(error) => would_block(&error),
                    });
            told.ended += u64::from(!alive);
            alive
        });
        std::thread::sleep(TURN);
    }
    told
}
