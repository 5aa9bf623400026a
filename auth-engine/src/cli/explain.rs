//! `auth-engine explain`: one authorization told on a page, for people: the message in words, the money, the rule that
//! decided, what the partner said and when, each state change, what is held now. It must never show a card number.

use std::io::Write;
use std::process::ExitCode;

use super::config::ConfigArgs;
use super::events::postings_text;
use super::inspect::authorization_id;
use super::replay::partner_text;
use super::stopped::Directory;
use super::story::{self, Step, Story};
use super::{Failure, Outcome};
use crate::view::docs::{AuthorizationDoc, MoneyDoc};

/// Arguments of `auth-engine explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine explain aut_000000R000000019 --data ./data\n\nThe engine must be stopped, or the directory a copy; needs the master key. Nothing is written. For the proof that\neach decision and each reply comes out again: auth-engine journal replay --authorization ID."
)]
pub struct Args {
    /// Which authorization (aut_…)
    id: String,
    #[command(flatten)]
    from: ConfigArgs,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let id = authorization_id(&args.id)?;
    let directory = Directory::open(&args.from)?;
    let story = story::read(&directory, id)?;
    let mut out = std::io::stdout().lock();
    // A reader that went away does not change anything.
    let _ = if args.json {
        let text = serde_json::to_string(&story)
            .map_err(|e| Failure::no(format!("the authorization cannot be told as JSON ({e})")))?;
        writeln!(out, "{text}")
    } else {
        write!(out, "{}", page(&story))
    };
    Ok(ExitCode::SUCCESS)
}

fn money(money: &MoneyDoc) -> String {
    format!("{} {}", money.value, money.currency)
}

fn page(story: &Story) -> String {
    let a = &story.authorization;
    let mut out = format!("{}: {}\n\n", a.id, sentence(a));
    let mut row = |name: &str, text: String| {
        if !text.is_empty() {
            out += &format!("  {name:<12}{text}\n");
        }
    };
    row("asked", asked(a));
    row("where", place(a));
    row("how", how(a));
    row("network", network(a));
    row("card", words(&[a.card_id.as_deref(), a.user_id.as_deref(), story.partner_id.as_deref()]));
    let funding = a.funding.as_ref();
    row("paid by", funding.map_or(String::new(), |f| words(&[Some(f.kind.as_str()), f.id.as_deref()])));
    row("answer", verdict(a));
    row("rule", decisive(story).map(rule_text).unwrap_or_default());
    for answer in story.steps.iter().filter_map(|step| step.partner.as_ref()) {
        row("partner", partner_text(answer));
    }
    row("held now", money(&a.held));
    row("cleared", money(&a.cleared));
    if let Some(expires) = a.expires_at.as_ref().filter(|_| held(&a.held)) {
        row("held until", expires.clone());
    }
    out += "\nWhat happened\n";
    for step in &story.steps {
        out += &change(step);
    }
    let again = if story.equal {
        "Decided again from the journal, every event and every reply comes out the same, to the byte."
    } else {
        "Decided again from the journal, something comes out otherwise: see `journal replay --authorization`."
    };
    out + "\n" + again + "\n"
}

fn held(money: &MoneyDoc) -> bool {
    money.value.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

fn words(parts: &[Option<&str>]) -> String {
    parts.iter().flatten().copied().collect::<Vec<_>>().join("  ")
}

fn sentence(a: &AuthorizationDoc) -> String {
    let what = a.kind.replace('_', " ");
    let why = a.reason.as_deref().filter(|reason| *reason != "approved");
    let why = why.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("a {what} of {}, {}{why}", money(&a.amount), a.status.replace('_', " "))
}

fn asked(a: &AuthorizationDoc) -> String {
    if a.amount == a.merchant_amount {
        return money(&a.amount);
    }
    format!("{}, at the merchant's {}", money(&a.amount), money(&a.merchant_amount))
}

fn place(a: &AuthorizationDoc) -> String {
    let m = &a.merchant;
    let category = m.mcc.as_ref().map(|mcc| format!("category {mcc}"));
    let terminal = m.terminal_id.as_ref().map(|id| format!("terminal {id}"));
    let parts = [m.name.clone(), m.city.clone(), m.country.clone(), category, terminal];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn how(a: &AuthorizationDoc) -> String {
    let pos = &a.pos;
    let mode = pos.entry_mode.as_deref().unwrap_or("entry mode not told").replace('_', " ");
    let pin = if pos.pin_entered { "with a PIN" } else { "without a PIN" };
    let card = if pos.card_present { "card present" } else { "card not present" };
    let partial = if pos.partial_approval_supported { ", takes partial approvals" } else { "" };
    format!("{mode}, {pin}, {card}{partial}")
}

fn network(a: &AuthorizationDoc) -> String {
    let n = &a.network;
    let named = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let parts = [
        (!n.name.is_empty()).then(|| n.name.clone()),
        named("STAN", &n.stan),
        named("reference", &n.reference),
        named("trace", &n.trace_id),
        named("sent", &n.transmitted_at),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn verdict(a: &AuthorizationDoc) -> String {
    let Some(code) = &a.response_code else { return "none that counted".to_owned() };
    let approval = a.approval_code.as_ref().map(|code| format!(", approval code {code}")).unwrap_or_default();
    let reason = a.reason.as_deref().unwrap_or("no reason");
    let decided = a.decided_at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
    format!("{code} {reason}{approval}{decided}")
}

/// The step that decided the authorization's answer.
fn decisive(story: &Story) -> Option<&Step> {
    let reason = story.authorization.reason.as_deref();
    story.steps.iter().rev().find(|step| step.reason.is_some() && step.reason == reason)
}

fn rule_text(step: &Step) -> String {
    match (step.rule, step.rule_asks) {
        (Some(rule), Some(asks)) => format!("{rule}: {asks}"),
        (None, Some(asks)) => asks.to_owned(),
        _ => String::new(),
    }
}

/// One state change: when, what, the lines, how it stands.
fn change(step: &Step) -> String {
    let event = &step.event;
    let what = match event.kind {
        "tap_taken" if step.status == "pending" => "the money is held, the partner is asked",
        "tap_taken" => "decided at once",
        "tap_decided" if step.reason == Some("interrupted") => "declined at recovery: the engine had stopped",
        "tap_decided" => "decided by what the partner said, or did not say",
        "answered_too_late" => "the partner's answer came too late: recorded, it moves nothing",
        "advised" => "the network told what it had decided",
        "reversed" => "a reversal",
        "hold_expired" => "the hold reached its lifetime",
        "reply_late" => "the reply did not reach the network in time: what it held is freed",
        other => other,
    };
    let mut out = format!("  {:>6}  {}  {what}\n", event.sequence, event.at);
    let partner = step.partner.as_ref().map(partner_text);
    if let Some(partner) = partner {
        out += &format!("          partner: {partner}\n");
    }
    if !event.postings.is_empty() {
        out += &format!("          {}\n", postings_text(&event.postings));
    }
    let reason = step.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
    out + &format!("          then {}{reason}; held {}\n", step.status.replace('_', " "), money(&step.held))
}
