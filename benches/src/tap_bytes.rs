//! What a tap costs in bytes: its events beside the raw request that they carry, and what the disk takes, padding
//! included, with one tap in flight and with a hundred. It must never count a tap that was not approved.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::event::Event;
use ledger_core::journal::file::RealDisk;
use ledger_core::journal::{JournalError, KeySource, Reader, Stopped};

use crate::client::Link;
use crate::engine::{DEFAULTS, Site, workplace};
use crate::fault::Fault;
use crate::measure::table;
use crate::messages::Messages;
use crate::seed::{self, CardList, Plan};

const PATIENCE: Duration = Duration::from_secs(10);
/// Cards of the directory: one pool pays for all of them, its partner approves.
const CARDS: u64 = 1_000;

/// Arguments of `tap-bytes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches tap-bytes --taps 20000 --json")]
pub(crate) struct Args {
    /// Taps of each kind of load
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..))]
    taps: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, serde::Serialize)]
struct Bytes {
    in_flight: usize,
    taps: u64,
    /// Mean bytes of a tap's events, without the sealed request.
    event_bytes: f64,
    /// Mean bytes of the sealed request.
    request_bytes: f64,
    /// Mean bytes of the journal's blocks, padding included.
    disk_bytes: f64,
}

/// Runs `tap-bytes`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(None)?;
    let found = [1, 100].map(|in_flight| measure(place.path(), in_flight, args.taps));
    let [one, many] = found;
    let found = [one?, many?];
    if args.json {
        println!("{}", serde_json::json!(found));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows =
        table(&["in flight", "taps", "event bytes beyond the request", "sealed request", "disk bytes a tap"]);
    for bytes in &found {
        rows.add_row([
            bytes.in_flight.to_string(),
            bytes.taps.to_string(),
            format!("{:.1}", bytes.event_bytes),
            format!("{:.1}", bytes.request_bytes),
            format!("{:.0}", bytes.disk_bytes),
        ]);
    }
    println!("{rows}");
    println!("asked: at most 250 event bytes an authorization beyond the raw request");
    Ok(ExitCode::SUCCESS)
}

fn measure(place: &std::path::Path, in_flight: usize, taps: u32) -> Result<Bytes, Fault> {
    let data = place.join(format!("of-{in_flight}"));
    let plan = Plan { accounts: false, pool: true, ..Plan::accounts(CARDS, 0) };
    seed::seed(&data, &seed::list_of(&data), &plan)?;
    let cards = CardList::read(&seed::list_of(&data))?;
    let dir = place.join(format!("site-{in_flight}"));
    std::fs::create_dir_all(&dir).map_err(Fault::io(format!("making {}", dir.display())))?;
    let site = Site::configured(None, &dir, Some(&data), DEFAULTS)?;
    let engine = site.start()?;
    let rest = site.rest(&engine)?;
    let before = last_sequence(&rest)?;
    let messages = Messages::new()?;
    let mut links = Vec::new();
    for _ in 0..in_flight {
        links.push(Link::connect(engine.link, PATIENCE).map_err(Fault::io("connecting to the link"))?);
    }
    let mut reply = Vec::new();
    let mut approved = 0;
    let numbers = cards.numbers();
    let turns = taps as usize / in_flight;
    for turn in 0..turns {
        for (at, link) in links.iter_mut().enumerate() {
            let pan = numbers.get((turn * in_flight + at) % numbers.len()).map(String::as_str).unwrap_or_default();
            let (request, _) = messages.tap(0x0100, pan, 1250, "5812")?;
            link.send(&request).map_err(Fault::io("sending a tap"))?;
        }
        for link in &mut links {
            link.receive(&mut reply).map_err(Fault::io("receiving a reply"))?;
            if messages.code(&reply).as_deref() != Some("00") {
                return Err(Fault::Engine("a tap was not approved".to_owned()));
            }
            approved += 1;
        }
    }
    let after = last_sequence(&rest)?;
    engine.stop()?;
    let journal = |error: JournalError| Fault::Engine(error.to_string());
    let stopped = Stopped::open(Arc::new(RealDisk), &data.join("journal"), &KeySource::absent()).map_err(journal)?;
    count(&stopped.reader(), before, after, in_flight, approved).map_err(journal)
}

fn last_sequence(rest: &crate::client::Rest) -> Result<u64, Fault> {
    let state = rest.read("/v1/system/state")?;
    state["last_sequence"].as_u64().ok_or_else(|| Fault::Engine("the engine tells no last_sequence".to_owned()))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a run are far below 2^52")]
fn count(reader: &Reader, before: u64, after: u64, in_flight: usize, taps: u64) -> Result<Bytes, JournalError> {
    let (mut events, mut requests, mut disk) = (0u64, 0u64, 0u64);
    let mut follower = reader.follow(before + 1);
    while let Some(block) = follower.next_block()? {
        if block.first_seq() > after {
            break;
        }
        disk += block.disk_bytes();
        for record in block.iter() {
            let request = match Event::decode(record.payload) {
                Ok(Event::TapTaken(taken)) => taken.raw.sealed.len() as u64,
                _ => 0,
            };
            requests += request;
            events += record.payload.len() as u64 - request;
        }
    }
    let each = |bytes: u64| bytes as f64 / taps.max(1) as f64;
    let (event_bytes, request_bytes, disk_bytes) = (each(events), each(requests), each(disk));
    Ok(Bytes { in_flight, taps, event_bytes, request_bytes, disk_bytes })
}
