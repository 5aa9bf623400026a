//! `auth-engine journal late-approvals`: approvals of partners that came after the decision, and what they put at risk:
//! the partner may have booked what the network was told is declined. It must never write.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::event::words::PartnerOutcome;
use ledger_core::journal::Record;
use ledger_core::time::Timestamp;
use serde::Serialize;

use super::config::ConfigArgs;
use super::stopped::{Directory, Range, Watch, whole};
use super::{Failure, Outcome};
use crate::view::docs::{LateApprovalDoc, MoneyDoc};
use crate::view::late::{Standing, late_approval};

/// Arguments of `auth-engine journal late-approvals`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal late-approvals --data ./data\n  auth-engine journal late-approvals --data ./data --from 100000 --json\n\nWhat a partner approved too late moved nothing here, and may have moved something there. at_risk is what it approved\nless what stood approved when its answer came. Totals by partner and currency. Needs no key; writes nothing."
)]
pub struct Args {
    #[command(flatten)]
    from: ConfigArgs,
    #[command(flatten)]
    range: Range,
    /// JSON for machines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Total {
    partner_id: Option<String>,
    currency: String,
    approvals: u64,
    at_risk: MoneyDoc,
}

struct Late {
    range: Range,
    found: Vec<LateApprovalDoc>,
    totals: BTreeMap<(Option<String>, &'static str), (u64, i64, ledger_core::money::Currency)>,
}

impl Watch for Late {
    fn after(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> Result<ControlFlow<()>, Failure> {
        if let Event::AnsweredTooLate(e) = event
            && e.said.outcome == PartnerOutcome::Approve
            && self.range.holds(record.seq)
            && let Some(standing) = book.authorization(e.no).and_then(|a| Standing::of_book(book, &a))
            && let Some(doc) = late_approval(&standing, record.seq, Timestamp(record.at), &e.said)
        {
            let key = (doc.partner_id.clone(), standing.amount.currency.code());
            let total = self.totals.entry(key).or_insert((0, 0, standing.amount.currency));
            let risk = standing.amount.currency.parse(&doc.at_risk.value).unwrap_or(0);
            *total = (total.0 + 1, total.1.saturating_add(risk), total.2);
            self.found.push(doc);
        }
        Ok(if record.seq >= self.range.to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let directory = Directory::open(&args.from)?;
    let mut late = Late { range: args.range, found: Vec::new(), totals: BTreeMap::new() };
    let (_, walked) = directory.fold(&mut late)?;
    whole(&walked)?;
    let totals: Vec<Total> = late
        .totals
        .into_iter()
        .map(|((partner_id, code), (approvals, minor, currency))| Total {
            partner_id,
            currency: code.to_owned(),
            approvals,
            at_risk: MoneyDoc::new(minor, currency),
        })
        .collect();
    let mut out = std::io::stdout().lock();
    // A reader that went away does not change anything.
    let _ = if args.json {
        writeln!(out, "{}", serde_json::json!({ "data": late.found, "totals": totals }))
    } else {
        writeln!(out, "{}", text(&late.found, &totals))
    };
    Ok(ExitCode::SUCCESS)
}

fn text(found: &[LateApprovalDoc], totals: &[Total]) -> String {
    if found.is_empty() {
        return "no partner approved anything too late".to_owned();
    }
    let preset = if std::io::stdout().is_terminal() {
        comfy_table::presets::UTF8_FULL_CONDENSED
    } else {
        comfy_table::presets::NOTHING
    };
    let mut table = comfy_table::Table::new();
    table.load_preset(preset);
    table.set_header(["event", "at", "authorization", "partner", "status", "approved", "at risk", "late by"]);
    for doc in found {
        table.add_row([
            doc.sequence.to_string(),
            doc.answered_at.clone(),
            doc.authorization_id.clone(),
            doc.partner_id.clone().unwrap_or_default(),
            doc.status.clone(),
            format!("{} {}", doc.approved.value, doc.approved.currency),
            format!("{} {}", doc.at_risk.value, doc.at_risk.currency),
            format!("{}.{:03} ms", doc.late_by_us / 1_000, doc.late_by_us % 1_000),
        ]);
    }
    let mut sums = comfy_table::Table::new();
    sums.load_preset(preset);
    sums.set_header(["partner", "late approvals", "at risk"]);
    for total in totals {
        sums.add_row([
            total.partner_id.clone().unwrap_or_default(),
            total.approvals.to_string(),
            format!("{} {}", total.at_risk.value, total.currency),
        ]);
    }
    format!("{table}\n\n{sums}")
}
