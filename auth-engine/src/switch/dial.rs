//! Links that we open: one connection each, opened again whenever it is lost.
//!
//! Everything waits on the shard's runtime and nothing blocks its thread: names are resolved on the runtime's
//! blocking threads, anew at each attempt. It must never give up, and never try without a pause.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::net::{TcpStream, lookup_host};

use super::Shared;
use crate::config::Target;
use crate::telemetry::names;

/// Pauses between attempts grow from the first to the second; jitter adds up to as much again, so that engines
/// that lost the same peer do not come back together.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// How long one attempt may take, the name's resolution and a TLS handshake included.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A connection that lived this long was a good one: the pauses begin anew.
const PROVEN: Duration = Duration::from_secs(30);

/// Keeps one link connected for as long as the task lives.
pub(super) async fn dial(shared: Rc<Shared>, link: usize, target: Target) {
    let name = shared.link(link).name.clone();
    let mut pauses = pauses();
    let mut told_failure = false;
    loop {
        let attempt = async { shared.admit_dialled(link, open(&target).await?).await };
        match tokio::time::timeout(ATTEMPT, attempt).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(reader) => {
                tracing::info!(link = %name, %target, "link connected");
                names::link_connect(&name, "connected");
                told_failure = false;
                let began = Instant::now();
                // It ends with the connection, whoever ended that.
                let _ = reader.await;
                tracing::warn!(link = %name, %target, "link lost; it is connected again");
                names::link_connect(&name, "lost");
                if began.elapsed() >= PROVEN {
                    pauses = self::pauses();
                }
            }
            Err(error) => {
                // One line for an outage, not one for each attempt of it.
                if !told_failure {
                    tracing::warn!(link = %name, %target, "link cannot connect: {error}; trying again");
                }
                told_failure = true;
                names::link_connect(&name, "failed");
            }
        }
        tokio::time::sleep(pauses.next().unwrap_or(PAUSE_MOST)).await;
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(PAUSE_FIRST)
        .with_max_delay(PAUSE_MOST)
        .without_max_times()
        .with_jitter()
        .build()
}

/// The first address that takes a connection.
async fn open(target: &Target) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s")
}
