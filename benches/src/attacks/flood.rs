//! A flood of calls to the sidecar: many connections, each with the next call as soon as the last was answered. It
//! owns the calls and counts what came back; it must never take the processors from what is measured, so its threads
//! have the lowest priority.

use crate::client::Rest;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Stack of one flooding thread: it holds a small request and a small answer.
const STACK: usize = 256 << 10;
/// Of so many calls one is a write.
const WRITES: u64 = 4;

/// Answers by status; 0 stands for a call that failed on its way.
pub(crate) type Statuses = BTreeMap<u16, u64>;

/// Calls on that many connections until told to stop. `make` gives each connection a client of its own; `account` is
/// read and `partner` gets users.
pub(crate) fn attack(
    make: impl Fn() -> Rest + Sync,
    connections: usize,
    account: &str,
    partner: &str,
    stop: &AtomicBool,
) -> Statuses {
    let statuses = Mutex::new(Statuses::new());
    let next = AtomicU64::new(0);
    let run = u64::from(std::process::id());
    std::thread::scope(|scope| {
        for _ in 0..connections {
            let one = || {
                // On Linux this is the calling thread's own priority.
                let _ = rustix::process::nice(19);
                let rest = make();
                let mut own = Statuses::new();
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let answer = match n % WRITES {
                        0 => {
                            let name = format!("flood-{run}-{n}");
                            let user = json!({ "partner_id": partner, "external_id": name, "country": "DE" });
                            rest.post("/v1/users", &user, None)
                        }
                        1 => rest.get("/v1/authorizations?limit=50"),
                        _ => rest.get(&format!("/v1/accounts/{account}")),
                    };
                    *own.entry(answer.map_or(0, |answer| answer.status)).or_default() += 1;
                }
                let mut all = statuses.lock().unwrap_or_else(PoisonError::into_inner);
                own.into_iter().for_each(|(status, count)| *all.entry(status).or_default() += count);
            };
            // A machine without room for another thread floods with fewer.
            let started = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, one);
            if started.is_err() {
                break;
            }
        }
    });
    statuses.into_inner().unwrap_or_else(PoisonError::into_inner)
}
