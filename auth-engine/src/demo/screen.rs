//! What the demo says: lines of at most 110 columns, coloured on a terminal, plain elsewhere.
//!
//! It must never be given a card number or a key: it prints what it gets.

use std::io::IsTerminal as _;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, TableComponent, presets};

use super::balances::{Row, euros, name};
use super::stages::Spent;
use super::theatre::Theatre;
use crate::cli::say;

/// Width of the widest line.
const WIDTH: usize = 110;

/// One step as it is told.
pub(super) struct Told {
    /// From 1.
    pub(super) number: usize,
    /// What it was.
    pub(super) case: &'static str,
    /// DE4 in cents; none for network management.
    pub(super) amount: Option<i64>,
    /// DE39.
    pub(super) code: String,
    /// Reason or status.
    pub(super) word: String,
    /// At the network side, microseconds.
    pub(super) total_us: Option<f64>,
    /// The engine's stages.
    pub(super) spent: Spent,
    /// Whether all was as expected.
    pub(super) good: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ink {
    Strong,
    Faint,
    Green,
    Red,
    Cyan,
}

/// Where the demo is told.
pub(super) struct Screen {
    colour: bool,
}

impl Screen {
    /// Standard output; colour when it is a terminal and nobody asked for none (`NO_COLOR`).
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !unwanted }
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Strong => 1,
            Ink::Faint => 2,
            Ink::Green => 32,
            Ink::Red => 31,
            Ink::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The first line, before anything is started.
    pub(super) fn opening(&self) {
        say(format_args!(
            "{}  a card network, an engine and a partner on this machine, over real sockets",
            self.ink(Ink::Strong, "auth-engine demo")
        ));
        say("");
    }

    /// What was started.
    pub(super) fn started(&self, theatre: &Theatre, took: Duration) {
        let place = |what: &str, at: String, note: &str| {
            say(format_args!("  {what:<9} {at:<22} {}", self.ink(Ink::Faint, note)));
        };
        place("engine", theatre.link().to_string(), "ISO 8583: Mastercard-style, EBCDIC, 2-byte length");
        place("REST", theatre.rest().to_string(), "JSON beside it, on threads of its own");
        place("partner", theatre.partner_at().to_string(), "answers the decision webhook, checks signatures");
        say(format_args!("  started in {} ms, with a journal on disk", took.as_millis()));
    }

    /// What was created.
    pub(super) fn created(&self, calls: usize, took: Duration) {
        say(format_args!(
            "  {calls} REST calls in {} ms: a partner, two prefunded pools, two users with KYC, six cards, a rate",
            took.as_millis()
        ));
        say("");
    }

    /// The columns, and what they measure.
    pub(super) fn heading(&self) {
        for line in [
            "Times are microseconds. total: request out to answer in, seen by the network side. Inside the engine, by",
            "GET /v1/authorizations/{id}/trace: decide (frame in to decision, less the ask), partner (the ask), journal",
            "(waiting for write and sync), reply (durable to handed to the kernel). A dash: not part of this message.",
            "reason: of the authorization, by REST; of a reversal: what it made of its original.",
        ] {
            say(self.ink(Ink::Faint, line));
        }
        say("");
        let heads = format!(
            "{:>2}  {:<33} {:>7} {:>4} {:<19} {:>7} {:>6} {:>7} {:>7} {:>6}",
            "#", "case", "EUR", "DE39", "reason", "total", "decide", "partner", "journal", "reply"
        );
        say(self.ink(Ink::Strong, &heads));
        say(self.ink(Ink::Faint, &"─".repeat(WIDTH)));
    }

    /// A heading inside the story.
    pub(super) fn chapter(&self, title: &str) {
        say(format_args!("    {}", self.ink(Ink::Cyan, title)));
    }

    /// Something done by REST.
    pub(super) fn act(&self, said: &str) {
        say(format_args!("    {}", self.ink(Ink::Faint, &format!("REST: {said}"))));
    }

    /// One step.
    pub(super) fn step(&self, told: &Told) {
        let time = |us: Option<f64>| us.map_or_else(|| "–".to_owned(), |us| format!("{us:.0}"));
        let amount = told.amount.map_or_else(|| "–".to_owned(), euros);
        let word = if told.word.is_empty() { "–" } else { told.word.as_str() };
        let code = format!("{:>4}", told.code);
        let code = match told.code.as_str() {
            "00" | "10" | "85" => self.ink(Ink::Green, &code),
            _ => self.ink(Ink::Strong, &code),
        };
        let mark = if told.good { self.ink(Ink::Green, "✓") } else { self.ink(Ink::Red, "✗") };
        say(format_args!(
            "{:>2}  {:<33} {amount:>7} {code} {word:<19} {:>7} {:>6} {:>7} {:>7} {:>6} {mark}",
            told.number,
            told.case,
            time(told.total_us),
            time(told.spent.decide),
            time(told.spent.partner),
            time(told.spent.journal),
            time(told.spent.reply),
        ));
    }

    /// Before and after.
    pub(super) fn balances(&self, rows: &[Row]) {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        // Lines above and below suffice for a few rows.
        for line in [
            TableComponent::HorizontalLines,
            TableComponent::MiddleIntersections,
            TableComponent::LeftBorderIntersections,
            TableComponent::RightBorderIntersections,
        ] {
            table.remove_style(line);
        }
        let heads = ["EUR", "opening", "credited", "taps", "released", "closing", "held", "posted", "adds up"];
        table.set_header(heads);
        for row in rows {
            let amounts = [
                row.opening.available,
                row.moved.credited,
                row.moved.taps,
                row.moved.released,
                row.closing.available,
                row.closing.held,
                row.closing.posted,
            ];
            let mark = if row.faults().is_empty() { "✓" } else { "✗" };
            let cells = amounts.iter().map(|amount| Cell::new(euros(*amount)));
            table.add_row(std::iter::once(Cell::new(name(row.purse))).chain(cells).chain([Cell::new(mark)]));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        say("");
        say(self.ink(Ink::Strong, "Balances before the first tap and after the last, by REST"));
        say(table);
        say(self.ink(
            Ink::Faint,
            "closing = opening + credited - taps + released; held = taps - released; posted = closing + held",
        ));
        say("");
    }

    /// How it went.
    pub(super) fn verdict(&self, steps: usize, balances: usize, missed: &[String], took: Duration) {
        let took = format!("in {:.1} s", took.as_secs_f64());
        if missed.is_empty() {
            let all = format!("✓ all {steps} messages answered as expected, all {balances} balances add up");
            say(format_args!("{}, {took}", self.ink(Ink::Green, &all)));
            return;
        }
        say(format_args!("{}, {took}", self.ink(Ink::Red, &format!("✗ {} not as expected", missed.len()))));
        for one in missed {
            say(format_args!("  {one}"));
        }
    }

    /// Where to go from here, when the engine goes on.
    pub(super) fn invitation(&self, theatre: &Theatre) {
        let (rest, key) = (theatre.rest(), theatre.key_file().display().to_string());
        say("");
        say(self.ink(Ink::Strong, "Everything keeps running. Try it:"));
        for (what, at) in [
            ("ISO 8583", theatre.link().to_string()),
            ("REST docs", format!("http://{rest}/docs")),
            ("metrics", format!("http://{rest}/metrics")),
            ("partner", format!("http://{}/rules   (GET, PUT)", theatre.partner_at())),
            ("key", format!("{key}   (an operator's)")),
        ] {
            say(format_args!("  {what:<9} {at}"));
        }
        say("");
        say(format_args!("  KEY=$(cat {key})"));
        say(format_args!("  curl -H \"Authorization: Bearer $KEY\" 'http://{rest}/v1/authorizations?limit=1'"));
        say(format_args!(
            "  curl -X PUT http://{}/rules -d '{{\"rules\":[\"decline suspected_fraud\"]}}'",
            theatre.partner_at()
        ));
        say("");
        say("Ctrl-C stops it and deletes its directory.");
    }

    /// Where to go from here, when it is over.
    pub(super) fn farewell(&self) {
        say(self.ink(
            Ink::Faint,
            "The engine has stopped and its directory is gone. `auth-engine demo` leaves all running.",
        ));
    }
}
