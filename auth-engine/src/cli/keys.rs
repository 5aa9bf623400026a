//! `auth-engine keys`: API keys of a stopped data directory. A running engine takes them by REST.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use ledger_core::book::{Book, Command as BookCommand, Done};
use ledger_core::event::Event;
use ledger_core::id::{Id, Thing};
use ledger_core::journal::{KeySource, verify_on};
use ledger_core::time::Timestamp;

use super::config::ConfigArgs;
use super::{Failure, Outcome};
use crate::config::Config;
use crate::rest::keys::{generate, hash};
use crate::shard::clock::mono_us;
use crate::shard::{boot, data};

/// Arguments of `auth-engine keys`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine keys list --data ./data\n\nThe engine must be stopped; while it runs, use POST /v1/partners/{id}/keys."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List keys: id, owner, name, state. Never the key itself
    #[command(after_help = "Example:\n  auth-engine keys list --data ./data --json")]
    List {
        #[command(flatten)]
        from: ConfigArgs,
        /// JSON for machines
        #[arg(long)]
        json: bool,
    },
    /// Make a key and print it once
    #[command(after_help = "Example:\n  auth-engine keys create --data ./data --name \"night shift\"")]
    Create {
        #[command(flatten)]
        from: ConfigArgs,
        /// The partner it belongs to (ptn_…); an operator key without
        #[arg(long, value_name = "ID")]
        partner: Option<String>,
        /// What to call it
        #[arg(long, default_value = "")]
        name: String,
        /// JSON for machines
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key for good
    #[command(after_help = "Example:\n  auth-engine keys revoke key_0000008000000001 --data ./data")]
    Revoke {
        #[command(flatten)]
        from: ConfigArgs,
        /// Which (key_…)
        id: String,
    },
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::List { from, json } => list(&from.load()?, json),
        Command::Create { from, partner, name, json } => create(&from.load()?, partner.as_deref(), name, json),
        Command::Revoke { from, id } => revoke(&from.load()?, &id),
    }
}

fn list(config: &Config, json: bool) -> Outcome {
    let mut book = Book::default();
    let disk = data::journal_options(config).disk;
    verify_on(&*disk, &data::journal_dir(&config.data_dir), KeySource::absent(), &mut |record| {
        let event = Event::decode(record.payload).map_err(|e| e.to_string())?;
        book.apply(record.seq, Timestamp(record.at), &event).map_err(|e| e.to_string())
    })
    .map_err(|e| Failure::data(e.to_string()))?;
    let rows: Vec<serde_json::Value> = book
        .keys()
        .map(|key| {
            let partner = key.partner.and_then(|p| book.partner(p)).map(|p| p.id.text(Thing::Partner));
            serde_json::json!({
                "id": key.id.text(Thing::ApiKey),
                "partner_id": partner,
                "name": key.name,
                "revoked": key.revoked,
                "created_at": key.created_at.rfc3339(),
            })
        })
        .collect();
    let mut out = std::io::stdout().lock();
    let printed =
        if json { writeln!(out, "{}", serde_json::json!({ "data": rows })) } else { writeln!(out, "{}", table(&rows)) };
    // A reader that went away does not change anything.
    drop(printed);
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[serde_json::Value]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    if std::io::stdout().is_terminal() {
        table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED);
    } else {
        table.load_preset(comfy_table::presets::NOTHING);
    }
    table.set_header(["id", "owner", "name", "state", "created"]);
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or("operator").to_owned();
        let state = if row["revoked"] == true { "revoked" } else { "active" };
        table.add_row([text("id"), text("partner_id"), text("name"), state.to_owned(), text("created_at")]);
    }
    table
}

fn create(config: &Config, partner: Option<&str>, name: String, json: bool) -> Outcome {
    let (mut engine, mut clock) = boot::open_stopped(config)?;
    let partner = match partner {
        None => None,
        Some(text) => {
            let index = Id::parse(text, Thing::Partner).and_then(|id| engine.book().partner_index(id));
            Some(index.ok_or_else(|| Failure::no(format!("no partner {text}; `GET /v1/partners` lists them")))?)
        }
    };
    let key = generate().map_err(|e| Failure::data(e.to_string()))?;
    let now = clock.now(mono_us(Instant::now()));
    let command = BookCommand::CreateKey { partner, name, hash: hash(&key) };
    let done = engine.command(&command, now).map_err(|why| Failure::no(why.to_string()))?;
    engine.stop(now);
    engine.journal().commit().map_err(|e| Failure::data(e.to_string()))?;
    let id = match done {
        Done::Key(no) => engine.book().key(no).map(|k| k.id.text(Thing::ApiKey)).unwrap_or_default(),
        other => return Err(Failure::data(format!("the book answered {other:?} to a new key"))),
    };
    let mut out = std::io::stdout().lock();
    let printed = if json {
        writeln!(out, "{}", serde_json::json!({ "id": id, "key": key.as_str() }))
    } else {
        writeln!(out, "{id}\n{}\nthis is the only time the key is shown", key.as_str())
    };
    printed.map_err(|e| Failure::no(format!("the key was made and could not be printed: {e}; revoke {id}")))?;
    Ok(ExitCode::SUCCESS)
}

fn revoke(config: &Config, text: &str) -> Outcome {
    let (mut engine, mut clock) = boot::open_stopped(config)?;
    let unknown = || Failure::no(format!("no key {text}; `auth-engine keys list` shows them"));
    let id = Id::parse(text, Thing::ApiKey).ok_or_else(unknown)?;
    engine.book().key(id.no).filter(|k| k.id == id).ok_or_else(unknown)?;
    let now = clock.now(mono_us(Instant::now()));
    engine.command(&BookCommand::RevokeKey { key: id.no }, now).map_err(|why| Failure::no(why.to_string()))?;
    engine.stop(now);
    engine.journal().commit().map_err(|e| Failure::data(e.to_string()))?;
    super::say(format_args!("{text} is revoked"));
    Ok(ExitCode::SUCCESS)
}
