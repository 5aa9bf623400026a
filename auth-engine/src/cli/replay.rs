//! `auth-engine journal replay`: the book folded to any sequence or time, with its hash and balances; or one
//! authorization decided again. It must never write, and never show a card number.

use std::io::{IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::event::posting::Ledger;
use ledger_core::id::{Id, Thing};
use ledger_core::journal::Record;
use ledger_core::time::Timestamp;
use serde_json::{Value, json};

use super::config::ConfigArgs;
use super::decisions;
use super::inspect::authorization_id;
use super::stopped::{Directory, Watch, hex, whole};
use super::story::{self, Step, Story};
use super::{EXIT_NO, Failure, Outcome};
use crate::view::docs::{AccountDoc, MoneyDoc, PoolDoc};

/// So many pools or accounts are shown when none are named.
const FEW: u32 = 20;

/// Arguments of `auth-engine journal replay`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal replay --data ./data                                    the book as it is at the end\n  auth-engine journal replay --data ./data --to 4711 --json                   at an event, for machines\n  auth-engine journal replay --data ./data --at 2026-01-31T12:00:00Z --pool pol_0000008000000007\n  auth-engine journal replay --data ./data --authorization aut_000000R000000019\n  auth-engine journal replay --data ./data --decisions                        every decision made again\n\nWith --authorization every event of it is decided again, on the book as it was just before, from the request as it\ncame and the partner's answer as it is journaled; it needs the master key. Exit 1 when an event or a reply does not\ncome out as it is journaled. The engine must be stopped, or the directory a copy. Nothing is written."
)]
pub struct Args {
    #[command(flatten)]
    from: ConfigArgs,
    /// Up to and with this sequence
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Up to and with this moment, RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "to", value_parser = moment)]
    at: Option<Timestamp>,
    /// An account whose balance is shown (acc_…); may be repeated
    #[arg(long, value_name = "ID")]
    account: Vec<String>,
    /// A pool whose balance is shown (pol_…); may be repeated
    #[arg(long, value_name = "ID")]
    pool: Vec<String>,
    /// One authorization (aut_…), decided again
    #[arg(long, value_name = "ID", conflicts_with_all = ["to", "at", "account", "pool"])]
    authorization: Option<String>,
    /// Every decision of the journal, made again in one pass
    #[arg(long, conflicts_with_all = ["to", "at", "account", "pool", "authorization"])]
    decisions: bool,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "a time such as 2026-01-31T12:00:00Z is needed".to_owned())
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    if let Some(text) = &args.authorization {
        return authorization(args, authorization_id(text)?);
    }
    if args.decisions {
        return all_decisions(args);
    }
    let named = |texts: &[String], thing: Thing| {
        let one = |text: &String| {
            Id::parse(text, thing)
                .ok_or_else(|| Failure::usage(format!("{text:?} is no id that begins with {}_", thing.prefix())))
        };
        texts.iter().map(one).collect::<Result<Vec<Id>, Failure>>()
    };
    let (pools, accounts) = (named(&args.pool, Thing::Pool)?, named(&args.account, Thing::Account)?);
    let directory = Directory::open(&args.from)?;
    let mut until = Until { to: args.to.unwrap_or(u64::MAX), at: args.at };
    let (book, walked) = directory.fold(&mut until)?;
    if !walked.stopped {
        whole(&walked)?;
    }
    if let Some(to) = args.to.filter(|to| *to > book.last_seq()) {
        return Err(Failure::no(format!(
            "{}: the journal ends at event {}, before {to}",
            directory.dir.display(),
            book.last_seq()
        )));
    }
    book.check().map_err(|violation| {
        Failure::no(format!("{}: an invariant is broken: {violation}", directory.dir.display()))
    })?;
    let told = state(&book, &pools, &accounts)?;
    let mut out = std::io::stdout().lock();
    // A reader that went away does not change anything.
    let _ = if args.json { writeln!(out, "{told}") } else { write!(out, "{}", state_text(&told)) };
    Ok(ExitCode::SUCCESS)
}

struct Until {
    to: u64,
    at: Option<Timestamp>,
}

impl Watch for Until {
    fn before(&mut self, _: &Book, record: &Record<'_>, _: &Event<'_>) -> ControlFlow<()> {
        let over = record.seq > self.to || self.at.is_some_and(|at| record.at > at.0);
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn after(&mut self, _: &Book, record: &Record<'_>, _: &Event<'_>) -> Result<ControlFlow<()>, Failure> {
        // Damage behind the event asked for is nobody's business here.
        Ok(if record.seq == self.to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn state(book: &Book, pools: &[Id], accounts: &[Id]) -> Result<Value, Failure> {
    let none_named = pools.is_empty() && accounts.is_empty();
    let unknown =
        |id: &Id, thing: Thing| Failure::no(format!("{} is not there at event {}", id.text(thing), book.last_seq()));
    let pool_count = u32::try_from(book.pools().len()).unwrap_or(u32::MAX);
    let account_count = book.accounts().len();
    let (mut shown_pools, mut shown_accounts) = (Vec::new(), Vec::new());
    for id in pools {
        let doc = book.pool_index(*id).and_then(|i| PoolDoc::from_book(book, i));
        shown_pools.push(doc.ok_or_else(|| unknown(id, Thing::Pool))?);
    }
    for id in accounts {
        let doc = book.account_index(*id).and_then(|i| AccountDoc::from_book(book, i));
        shown_accounts.push(doc.ok_or_else(|| unknown(id, Thing::Account))?);
    }
    if none_named && pool_count <= FEW {
        shown_pools = (0..pool_count).filter_map(|i| PoolDoc::from_book(book, i)).collect();
    }
    if none_named && account_count <= FEW {
        shown_accounts = (0..account_count).filter_map(|i| AccountDoc::from_book(book, i)).collect();
    }
    let general: Vec<Value> = book
        .general_ledger()
        .map(|(ledger, currency, balance)| {
            json!({ "account": ledger.word(), "id": owner(book, ledger), "balance": MoneyDoc::new(balance, currency) })
        })
        .collect();
    Ok(json!({
        "state_hash": hex(&book.state_hash()),
        "last_sequence": book.last_seq(),
        "last_event_at": (book.last_seq() > 0).then(|| book.last_at().rfc3339()),
        "epoch": book.epoch(),
        "pools": shown_pools,
        "pool_count": pool_count,
        "accounts": shown_accounts,
        "account_count": account_count,
        "general_ledger": general,
        "authorizations": book.authorization_count(),
        "open_holds": book.open_holds(),
    }))
}

fn owner(book: &Book, ledger: Ledger) -> Option<String> {
    match ledger {
        Ledger::Receivable(i) => book.partner(i).map(|p| p.id.text(Thing::Partner)),
        Ledger::CryptoDeposit(i) => book.user(i).map(|u| u.id.text(Thing::User)),
        _ => None,
    }
}

fn state_text(told: &Value) -> String {
    let word = |name: &str| match &told[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut out = String::new();
    for name in ["state_hash", "last_sequence", "last_event_at", "epoch", "authorizations", "open_holds"] {
        out += &format!("{name:<16}{}\n", word(name));
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(if std::io::stdout().is_terminal() {
        comfy_table::presets::UTF8_FULL_CONDENSED
    } else {
        comfy_table::presets::NOTHING
    });
    table.set_header(["", "currency", "available", "held", "posted"]);
    for list in ["pools", "accounts"] {
        for doc in told[list].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let amount = |name: &str| text(&doc[name]["value"]);
            table.add_row([
                text(&doc["id"]),
                text(&doc["currency"]),
                amount("available"),
                amount("held"),
                amount("posted"),
            ]);
        }
    }
    for line in told["general_ledger"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = [text(&line["account"]), text(&line["id"])].join(" ");
        let balance = &line["balance"];
        let name = name.trim().to_owned();
        table.add_row([name, text(&balance["currency"]), String::new(), String::new(), text(&balance["value"])]);
    }
    out += &format!("{table}\n");
    for (list, count, flag) in [("pools", "pool_count", "--pool"), ("accounts", "account_count", "--account")] {
        let shown = told[list].as_array().map_or(0, Vec::len);
        if told[count].as_u64() != u64::try_from(shown).ok() {
            out += &format!("{shown} of {} {list} shown; name others with {flag}\n", told[count]);
        }
    }
    out
}

fn authorization(args: &Args, id: Id) -> Outcome {
    let directory = Directory::open(&args.from)?;
    let story = story::read(&directory, id)?;
    let mut out = std::io::stdout().lock();
    let _ = if args.json {
        let text = serde_json::to_string(&story)
            .map_err(|e| Failure::no(format!("the authorization cannot be told as JSON ({e})")))?;
        writeln!(out, "{text}")
    } else {
        write!(out, "{}", story_text(&story))
    };
    Ok(ExitCode::from(if story.equal { 0 } else { EXIT_NO }))
}

fn all_decisions(args: &Args) -> Outcome {
    let directory = Directory::open(&args.from)?;
    let told = decisions::decide_all(&directory)?;
    let unequal = !told.unequal.is_empty();
    let mut out = std::io::stdout().lock();
    let _ = if args.json {
        writeln!(out, "{}", json!(told))
    } else {
        let mut text = told.unequal.iter().map(|line| format!("{line}\n")).collect::<String>();
        if told.unequal_events > told.unequal.len() as u64 {
            text += "…\n";
        }
        text += &format!(
            "{} events decided again, {} replies made again, {} came out otherwise\n",
            told.events, told.replies, told.unequal_events
        );
        write!(out, "{text}")
    };
    Ok(ExitCode::from(if unequal { EXIT_NO } else { 0 }))
}

fn story_text(story: &Story) -> String {
    let mut out = format!("{}, decided again\n", story.authorization.id);
    for step in &story.steps {
        out += "\n";
        out += &step_text(step);
    }
    let verdict = if story.equal {
        "equal: every event and every reply came out as it is journaled, to the byte"
    } else {
        "NOT EQUAL: see above what came out otherwise; report this with a copy of the journal"
    };
    out + "\n" + verdict + "\n"
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn step_text(step: &Step) -> String {
    let event = &step.event;
    let mut out = format!("event {}  {}  {}\n", event.sequence, event.at, event.kind);
    if let Some(request) = &step.request {
        out += &format!("  request, {} bytes, masked\n", request.bytes);
        out += &indented(&request.described.to_text());
    }
    out += "  known just before\n";
    out += &indented(&known_text(&step.known));
    if let Some(partner) = &step.partner {
        out += &format!("  partner: {}\n", partner_text(partner));
        if let Some(body) = &partner.body {
            out += &format!("    {} bytes: {body}\n", partner.body_bytes);
        }
    }
    match (step.reason, step.rule, step.rule_asks) {
        (Some(reason), Some(rule), Some(asks)) => out += &format!("  decided by rule {rule} ({asks}): {reason}\n"),
        (Some(reason), None, Some(asks)) => out += &format!("  decided: {reason} ({asks})\n"),
        _ => {}
    }
    if !event.postings.is_empty() {
        out += &format!("  postings: {}\n", super::events::postings_text(&event.postings));
    }
    out += &format!("  then: {}, held {} {}\n", step.status, step.held.value, step.held.currency);
    for reply in &step.replies {
        let bytes = reply.reply.as_ref().map_or(0, |reply| reply.bytes);
        let verdict = if reply.equal { "equal to the byte" } else { "NOT EQUAL" };
        out += &format!("  reply to {}, recomputed, {bytes} bytes, {verdict}\n", reply.to);
        for (what, shown) in [("", &reply.reply), ("journaled:\n", &reply.journaled)] {
            if let Some(shown) = shown {
                out += &indented(&format!("{what}{}", shown.described.to_text()));
            }
        }
    }
    if !step.taken.is_empty() {
        out += &format!("  taken from the journal: {}\n", step.taken.join("; "));
    }
    if let Some(why) = &step.trouble {
        out += &format!("  NOT DECIDED AGAIN: {why}\n");
    } else if !step.equal {
        out += &format!("  NOT EQUAL\n    journaled:  {}\n", event.line());
        if let Some(other) = &step.recomputed {
            out += &format!("    recomputed: {}\n", other.line());
        }
    }
    out
}

/// What a partner said and when, without its bytes.
pub(super) fn partner_text(answer: &story::Answer) -> String {
    let mut out = answer.outcome.to_owned();
    if let Some(reason) = &answer.reason {
        out += &format!(" ({reason})");
    }
    out += &format!(" after {} ms", millis(answer.latency_us));
    if let Some(late) = answer.late_by_us {
        out += &format!(", {} ms too late", millis(late));
    }
    if let Some(risk) = &answer.at_risk {
        out += &format!("; at risk: {} {}", risk.value, risk.currency);
    }
    out
}

fn millis(us: u64) -> String {
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// What was known, a line each.
pub(super) fn known_text(known: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let amount = |value: &Value| format!("{} {}", text(&value["value"]), text(&value["currency"]));
    if known["card"].is_null() {
        return "no card has this number\n".to_owned();
    }
    let card = &known["card"];
    let mut out = format!(
        "card     {} {} …{} expires {} funded by {}\n",
        text(&card["id"]),
        text(&card["status"]),
        text(&card["last4"]),
        text(&card["expires"]),
        text(&card["funding"]["type"])
    );
    let user = &known["user"];
    out += &format!("user     {} {} kyc {}\n", text(&user["id"]), text(&user["status"]), text(&user["kyc_status"]));
    let partner = &known["partner"];
    out += &format!(
        "partner  {} {} {} services {}\n",
        text(&partner["id"]),
        text(&partner["status"]),
        text(&partner["decision_mode"]),
        partner["services"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(",")
    );
    for source in ["pool", "account"] {
        let doc = &known[source];
        if doc.is_null() {
            continue;
        }
        let status = doc["status"].as_str().map(|status| format!(" {status}")).unwrap_or_default();
        out += &format!(
            "{source:<8} {}{status} available {} held {} posted {}\n",
            text(&doc["id"]),
            amount(&doc["available"]),
            text(&doc["held"]["value"]),
            text(&doc["posted"]["value"])
        );
    }
    if !known["receivable"].is_null() {
        out += &format!("owed     {} by the partner\n", amount(&known["receivable"]));
    }
    out
}
