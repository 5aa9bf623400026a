//! Fills a new directory: commands and frames into the engine's logic, its journal committed in large batches. There
//! is no socket and no thread here; it must never fold or append past the engine.

use super::cards::{ListWriter, number};
use super::{Plan, Seeded};
use crate::fault::Fault;
use crate::messages::Messages;
use auth_engine::config::Config;
use auth_engine::engine::{Engine, Inbound};
use auth_engine::shard::clock::{ShardClock, mono_us};
use auth_engine::shard::{boot, data};
use auth_engine::switch::ConnId;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use ledger_core::book::{Command, Done, FundingWish, PartnerChange};
use ledger_core::event::words::{DecisionMode, Kyc};
use ledger_core::money::{Currency, Money};
use ledger_core::time::YearMonth;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;
use zeroize::Zeroizing;

/// Bytes of events that are written and synced at once.
const BATCH: usize = 2 << 20;
/// Holds that are written at once: fewer than may be in flight on a link.
const PARKED: usize = 2_048;
/// An account's money in cents: enough for 100,000 purchases of the harness.
const ACCOUNT_CENTS: i64 = 125_000_000;
/// The pool's money in cents: enough for any run.
const POOL_CENTS: i64 = 1_000_000_000_000_000;
/// What an open hold holds, in cents.
const HOLD_CENTS: i64 = 1_250;
/// How long a seeded card lives.
const LIFETIME_MONTHS: i32 = 36;

struct Filler {
    engine: Engine,
    clock: ShardClock,
    effects: Vec<auth_engine::engine::Effect>,
    bar: ProgressBar,
}

impl Filler {
    fn command(&mut self, command: &Command) -> Result<Done, Fault> {
        let now = self.clock.now(mono_us(Instant::now()));
        let done = self.engine.command(command, now);
        let done = done.map_err(|why| Fault::Engine(format!("the book refused {command:?} while seeding: {why}")))?;
        self.commit_when(BATCH)?;
        Ok(done)
    }

    fn frame(&mut self, frame: Bytes) -> Result<(), Fault> {
        let now = self.clock.now(mono_us(Instant::now()));
        // Nobody waits for the reply, so no stall of the disk may make it late: that would free the hold.
        let since_us = i64::MAX / 4;
        let inbound = Inbound { link: 0, conn: ConnId::detached(0), header: Bytes::new(), frame, since_us };
        self.engine.handle_frame(inbound, now);
        // The link refuses what is beyond its bound, and a parked reply counts until its commit.
        let parked = self.engine.in_flight(0) >= PARKED;
        self.commit_when(if parked { 1 } else { BATCH })
    }

    /// Writes and syncs when that many bytes wait; what the engine wants done outside has no outside here.
    fn commit_when(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.engine.journal().open_bytes() < bytes {
            return Ok(());
        }
        if let Some(broken) = self.engine.broken() {
            return Err(Fault::Engine(format!("seeding broke an invariant: {broken}; report this with the plan")));
        }
        let durable = self.engine.journal().commit().map_err(|e| Fault::Engine(e.to_string()))?;
        let now = self.clock.now(mono_us(Instant::now()));
        self.engine.release(now);
        self.engine.take_effects(&mut self.effects);
        self.effects.clear();
        self.engine.clear_replies();
        self.engine.take_touched(|_, _| {});
        *self.engine.counters() = Default::default();
        self.bar.set_position(durable);
        Ok(())
    }

    fn partner(&mut self, mode: DecisionMode) -> Result<u32, Fault> {
        let terms =
            PartnerChange { name: Some("Seeded".to_owned()), decision_mode: Some(mode), ..PartnerChange::default() };
        // A secret for a partner that verifies can be had by REST: rotate it.
        let secret = Zeroizing::new((0..32).map(|_| fastrand::u8(..)).collect());
        match self.command(&Command::CreatePartner { terms, secret })? {
            Done::Partner(partner) => Ok(partner),
            other => Err(unexpected("partner", other)),
        }
    }

    fn user(&mut self, partner: u32, n: u64) -> Result<u32, Fault> {
        let external_id = format!("user-{n}");
        let command = Command::CreateUser { partner, external_id, country: "DE".to_owned(), time_zone: None };
        let Done::User(user) = self.command(&command)? else { return Err(Fault::Engine("no user was made".into())) };
        for status in [Kyc::Submitted, Kyc::InReview, Kyc::Approved] {
            let (level, provider, reference, reason) = (None, None, None, None);
            self.command(&Command::MoveKyc { user, status, level, provider, reference, reason })?;
        }
        Ok(user)
    }

    fn account(&mut self, user: u32) -> Result<(), Fault> {
        let account = match self.command(&Command::OpenAccount { user, currency: Currency::EUR })? {
            Done::Account(account, _) => account,
            other => return Err(unexpected("account", other)),
        };
        let amount = Money::new(ACCOUNT_CENTS, Currency::EUR);
        self.command(&Command::PayIn { account, amount, reference: "seed".to_owned() })?;
        Ok(())
    }

    fn pool(&mut self, partner: u32) -> Result<u32, Fault> {
        let pool = match self.command(&Command::CreatePool { partner, currency: Currency::EUR, minimum: 0 })? {
            Done::Pool(pool) => pool,
            other => return Err(unexpected("pool", other)),
        };
        let amount = Money::new(POOL_CENTS, Currency::EUR);
        match self.command(&Command::CreateTopUp { pool, amount, reference: "seed".to_owned() })? {
            Done::Transfer(top_up) => self.command(&Command::SettleTopUp { top_up })?,
            other => return Err(unexpected("top-up", other)),
        };
        Ok(pool)
    }

    fn card(&mut self, user: u32, funding: FundingWish, expires: YearMonth, digits: Vec<u8>) -> Result<(), Fault> {
        let pan = Zeroizing::new(digits);
        let fingerprint = self.engine.keyring().fingerprint(&pan);
        self.command(&Command::CreateCard { user, funding, pan, fingerprint, expires })?;
        Ok(())
    }
}

fn unexpected(what: &str, done: Done) -> Fault {
    Fault::Engine(format!("the book answered {done:?} to a new {what}"))
}

/// What a plan's `--partner` says.
fn terms(words: &[String]) -> Result<(DecisionMode, Option<String>), Fault> {
    let usage = |what: &str| Err(Fault::Engine(format!("--partner {}: {what}", words.join(" "))));
    match words {
        [mode] if mode == "auto_approve" => Ok((DecisionMode::AutoApprove, None)),
        [mode] if mode == "auto_decline" => Ok((DecisionMode::AutoDecline, None)),
        [mode, url] if mode == "webhook" => Ok((DecisionMode::Webhook, Some(url.clone()))),
        [mode] if mode == "webhook" => {
            usage("name the URL that decides, as in `--partner webhook http://127.0.0.1:9000/`")
        }
        _ => usage("name one of auto_approve, auto_decline, webhook URL"),
    }
}

/// Makes and fills the directory; leaves it as a clean stop would.
pub(super) fn fill(dir: &Path, list: &Path, plan: &Plan) -> Result<Seeded, Fault> {
    let (mode, url) = terms(&plan.partner)?;
    let failed = |error: auth_engine::cli::Failure| Fault::Engine(error.to_string());
    let config = Config::from_parts(None, &[], Some(dir)).map_err(|e| Fault::Engine(e.to_string()))?;
    if data::has_journal(dir).map_err(failed)? {
        let text = "holds a journal already; name a new directory with --data, or remove this one";
        return Err(Fault::Engine(format!("{} {text}", dir.display())));
    }
    let began = Instant::now();
    let (engine, clock) = boot::open_bulk(&config).map_err(failed)?;
    let mut filler = Filler { engine, clock, effects: Vec::new(), bar: bar(plan) };
    let mut out = ListWriter::create(list)?;

    // Taps are approved without asking while there is nobody to ask; the partner's real terms come last.
    let partner = filler.partner(DecisionMode::AutoApprove)?;
    let pool = if plan.pool { Some(filler.pool(partner)?) } else { None };
    let now = filler.clock.now(mono_us(Instant::now())).wall;
    let expires = YearMonth::after(now, LIFETIME_MONTHS);
    let expires = expires.ok_or_else(|| Fault::Engine("the clock says no date a card can expire at".to_owned()))?;
    let mut users = 0;
    let mut user = 0;
    for index in 0..plan.cards {
        if index % plan.cards_per_user == 0 {
            user = filler.user(partner, users)?;
            users += 1;
            if pool.is_none() {
                filler.account(user)?;
            }
        }
        let funding = match pool {
            Some(pool) => FundingWish::Pool { pool, account_currency: None },
            None => FundingWish::Account { currency: Currency::EUR },
        };
        let digits = number(index);
        out.add(&digits)?;
        filler.card(user, funding, expires, digits)?;
    }
    out.finish()?;
    let messages = Messages::new()?;
    for hold in 0..plan.holds {
        // Spread over all cards, and more than one on each when there are more holds than cards.
        let index = u64::try_from(u128::from(hold) * u128::from(plan.cards) / u128::from(plan.holds)).unwrap_or(0);
        let digits = number(index);
        let pan = std::str::from_utf8(&digits).map_err(|e| Fault::Message(e.to_string()))?;
        filler.frame(messages.tap(0x0100, pan, HOLD_CENTS, "5812")?.0)?;
    }
    if mode != DecisionMode::AutoApprove || url.is_some() {
        let change =
            PartnerChange { decision_mode: Some(mode), decision_url: url.map(Some), ..PartnerChange::default() };
        filler.command(&Command::ChangePartner { partner, change })?;
    }
    let now = filler.clock.now(mono_us(Instant::now()));
    filler.engine.stop(now);
    filler.commit_when(1)?;
    filler.bar.finish_and_clear();

    let open = u64::try_from(filler.engine.book().open_holds()).unwrap_or(u64::MAX);
    if open != plan.holds {
        return Err(Fault::Engine(format!("{open} holds are open and {} were asked for", plan.holds)));
    }
    let seconds = began.elapsed().as_secs_f64();
    let events = filler.engine.book().last_seq();
    let bytes = filler.engine.journal().stats().bytes.load(Ordering::Relaxed);
    Ok(Seeded {
        data: dir.to_owned(),
        list: list.to_owned(),
        cards: plan.cards,
        holds: open,
        users,
        events,
        journal_bytes: bytes,
        seconds,
        #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
        events_per_s: events as f64 / seconds,
    })
}

/// The bar counts durable events: what is made of each user and card is known before.
fn bar(plan: &Plan) -> ProgressBar {
    let users = plan.cards.div_ceil(plan.cards_per_user);
    let bar = ProgressBar::new(users * if plan.pool { 4 } else { 6 } + plan.cards + plan.holds + 8);
    let style = "{bar:40} {human_pos} of {human_len} events, {per_sec}, {eta} left";
    // A template that does not parse costs the look of the bar, nothing else.
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
