//! The same authorization in a database: one pool row that every tap moves, a table of authorizations, a unique key
//! that knows repeats, all in one prepared call. It owns schema and clients; it must never count what was not
//! answered.
//!
//! The row's lock is held from its update to the end of the commit's sync, so taps on one pool go one sync at a time,
//! whatever the number of clients. What [`SCHEMA`] does to shorten that stands there.

use super::cluster::{Cluster, fault};
use super::slice::Slice;
use super::tap;
use crate::fault::Fault;
use postgres::{Client, Statement};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In the database's favour:
///
/// - the pool row is updated last, so that its lock covers little but the commit;
/// - room in the row's page for heap-only updates (`fillfactor`), no index on what changes;
/// - no foreign keys: each would lock the pool's or card's row once more;
/// - the repeat's key is found by the unique index that the insert needs anyway, as 16 bytes;
/// - one index besides, on the id; the time is taken once per transaction.
const SCHEMA: &str = "
CREATE TABLE pools (
  id int PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0), held bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE cards (pan bigint PRIMARY KEY, pool int NOT NULL, active boolean NOT NULL);
CREATE TABLE authorizations (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, repeat_key bytea NOT NULL UNIQUE, content bigint NOT NULL,
  pan bigint NOT NULL, pool int NOT NULL, amount bigint NOT NULL, state text NOT NULL, code text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), request bytea NOT NULL
);
CREATE FUNCTION tap(key bytea, said bigint, number bigint, cents bigint, raw bytea, OUT code text, OUT approval bigint)
LANGUAGE plpgsql AS $$
DECLARE known record; card record;
BEGIN
  SELECT a.id, a.content, a.code INTO known FROM authorizations a WHERE a.repeat_key = key;
  IF FOUND THEN
    IF known.content <> said THEN code := '94'; RETURN; END IF;
    code := known.code; approval := CASE code WHEN '00' THEN known.id % 999999 + 1 END; RETURN;
  END IF;
  SELECT c.pool, c.active INTO card FROM cards c WHERE c.pan = number;
  IF NOT FOUND THEN code := '14'; RETURN; END IF;
  IF NOT card.active THEN code := '62'; RETURN; END IF;
  INSERT INTO authorizations AS a (repeat_key, content, pan, pool, amount, state, code, request)
    VALUES (key, said, number, card.pool, cents, 'approved', '00', raw) RETURNING a.id INTO approval;
  UPDATE pools p SET available = p.available - cents, held = p.held + cents
    WHERE p.id = card.pool AND p.available >= cents;
  IF FOUND THEN
    code := '00'; approval := approval % 999999 + 1;
  ELSE
    UPDATE authorizations a SET state = 'declined', code = '51' WHERE a.id = approval;
    code := '51'; approval := NULL;
  END IF;
END $$;
";
/// One tap.
const CALL: &str = "SELECT code, approval FROM tap($1, $2, $3, $4, $5)";
/// What every tap asks for, in cents.
const CENTS: i64 = 1250;

/// A cluster with the schema and prepared clients.
pub(super) struct HotRow {
    clients: Vec<(Client, Statement)>,
    pans: Vec<i64>,
    request: Vec<u8>,
    next: AtomicU64,
    // Stopped after the clients are gone.
    cluster: Cluster,
}

impl HotRow {
    /// Makes the schema, the pool and the cards, and connects so many clients.
    pub(super) fn make(
        cluster: Cluster,
        cards: u32,
        cents: i64,
        clients: usize,
        request: &[u8],
    ) -> Result<HotRow, Fault> {
        let mut admin = cluster.connect().map_err(|error| fault(&error))?;
        admin.batch_execute(SCHEMA).map_err(|error| fault(&error))?;
        let pools = admin.execute("INSERT INTO pools VALUES (1, $1, 0)", &[&cents]);
        pools.map_err(|error| fault(&error))?;
        let pans: Vec<i64> = (0..cards).filter_map(|n| i64::try_from(tap::pan(n)).ok()).collect();
        let made = admin.execute("INSERT INTO cards SELECT pan, 1, true FROM unnest($1::bigint[]) AS pan", &[&pans]);
        made.map_err(|error| fault(&error))?;
        // Each by itself: together they would be one transaction, in which neither may run.
        for upkeep in ["VACUUM ANALYZE", "CHECKPOINT"] {
            admin.batch_execute(upkeep).map_err(|error| fault(&error))?;
        }
        let clients = (0..clients).map(|_| -> Result<(Client, Statement), postgres::Error> {
            let mut client = cluster.connect()?;
            let statement = client.prepare(CALL)?;
            Ok((client, statement))
        });
        let clients = clients.collect::<Result<Vec<_>, _>>().map_err(|error| fault(&error))?;
        Ok(HotRow { clients, pans, request: request.to_vec(), next: AtomicU64::new(1), cluster })
    }

    /// The server's version, and where its data lies when that is not where the others' is.
    pub(super) fn told(&self) -> String {
        match &self.cluster.elsewhere {
            None => format!("PostgreSQL {}", self.cluster.version),
            Some(place) => format!("PostgreSQL {}; its data lies in {place}", self.cluster.version),
        }
    }

    /// So many clients, each with one tap in flight, for that long.
    pub(super) fn run(&mut self, clients: usize, length: Duration) -> Result<Slice, Fault> {
        let HotRow { clients: all, pans, request, next, .. } = self;
        let clients = clients.min(all.len());
        let (barrier, pans, request, next) = (Barrier::new(clients), &*pans, &*request, &*next);
        let parts = std::thread::scope(|scope| {
            let threads: Vec<_> = all
                .iter_mut()
                .take(clients)
                .map(|(client, statement)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        taps(client, statement, request, next, pans, length)
                    })
                })
                .collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut all = Slice::default();
        for part in parts {
            let part = part.map_err(|_| Fault::Engine("a client of PostgreSQL panicked".to_owned()))?;
            all.join(part.map_err(|error| fault(&error))?);
        }
        Ok(all)
    }
}

/// One client's taps.
fn taps(
    client: &mut Client,
    statement: &Statement,
    request: &[u8],
    next: &AtomicU64,
    pans: &[i64],
    length: Duration,
) -> Result<Slice, postgres::Error> {
    let mut slice = Slice::begin();
    let from = Instant::now();
    while from.elapsed() < length {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let key = scattered(number);
        let at = usize::try_from(number).unwrap_or(0) % pans.len().max(1);
        let pan = pans.get(at).copied().unwrap_or(0);
        let sent = Instant::now();
        let row = client.query_one(statement, &[&key.as_slice(), &1i64, &pan, &CENTS, &request])?;
        let took = sent.elapsed();
        slice.push(took, row.get::<_, &str>(0) == "00");
    }
    Ok(slice)
}

/// A key of 16 bytes as a hash of the repeat's elements would be: no two neighbours are alike, no two the same.
fn scattered(number: u64) -> [u8; 16] {
    // An odd factor permutes the numbers.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(spread) << 64) | u128::from(number)).to_be_bytes()
}
