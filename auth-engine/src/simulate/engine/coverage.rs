//! What runs have reached, counted by subject. A subject's words are known beforehand, so that what was never reached
//! shows as zero. Must never count what a plan wanted: only what happened.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};

/// Counts by subject and word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<(&'static str, &'static str), u64>);

/// The subjects, and the words that a long run must reach in each.
pub const MUST: [(&str, &[&str]); 9] = [
    (
        "fault",
        &[
            "power failed within a commit",
            "power failed within a recovery",
            "power failed between batches",
            "killed within a commit",
            "killed between batches",
            "EIO on a read",
            "EIO on a write",
            "ENOSPC",
            "failed sync",
            "torn tail cut",
            "stalled disk",
            "wall clock stepped",
            "rot: bit flipped",
            "rot: misdirected write",
            "rot: stale sector",
            "rot while running",
            "two crashes in a row",
            "clean stop",
            "snapshot made",
            "snapshot failed",
            "started from a snapshot",
            "segment archived",
            "rot behind a snapshot",
        ],
    ),
    (
        "rule",
        &[
            "1 format_error",
            "2 repeat answered again",
            "2 repeat waits for the first",
            "2 changed repeat",
            "3 not_signed_on",
            "4 overloaded",
            "4 draining",
            "4 too old to answer",
            "5 already_reversed",
            "6 unknown_card",
            "7 card_frozen",
            "7 card_inactive",
            "7 card_lost",
            "7 card_stolen",
            "7 card_closed",
            "8 expired_card",
            "10 partner_suspended",
            "10 user_suspended",
            "10 kyc_not_approved",
            "10 service_not_enabled",
            "11 unsupported_type",
            "11 inquiry_not_permitted",
            "11 invalid_amount",
            "11 unsupported_currency",
            "11 rate_missing",
            "11 fx_limit",
            "13 insufficient_funds",
            "13 pool_insufficient",
            "13 pool_suspended",
            "14 partner_declined",
            "14 partner_timeout",
            "14 partner_unreachable",
            "14 partner_bad_response",
            "approved",
            "approved in part",
            "interrupted",
            "answered_late",
            "declined_elsewhere",
        ],
    ),
    ("state", &["pending", "approved", "declined", "reversed", "partially_reversed", "expired", "cleared"]),
    (
        "kind",
        &[
            "purchase",
            "cash",
            "cash_back",
            "preauthorization",
            "incremental",
            "refund",
            "balance_inquiry",
            "account_status",
            "unsupported",
        ],
    ),
    (
        "message",
        &[
            "0100", "0101", "0120", "0121", "0200", "0201", "0220", "0221", "0400", "0401", "0420", "0421", "0190",
            "0620", "0820", "0800", "0302", "0110",
        ],
    ),
    (
        "event",
        &[
            "tap_taken",
            "tap_decided",
            "answered_too_late",
            "advised",
            "reversed",
            "hold_expired",
            "reply_late",
            "recorded",
            "started",
            "link_signed",
            "idempotent",
        ],
    ),
    (
        "partner",
        &[
            "approves",
            "approves in part",
            "approves more than asked",
            "approves a source",
            "declines",
            "answers late",
            "answers twice",
            "answers for nobody",
            "answers nonsense",
            "answers another status",
            "is unreachable",
            "has no free connection",
            "is silent",
            "circuit open",
        ],
    ),
    ("network", &["connection gone", "waited in the kernel", "two links", "reply too late", "unmatched reversal"]),
    (
        "sidecar",
        &[
            "done",
            "not_found",
            "invalid_state",
            "insufficient_funds",
            "below_minimum_balance",
            "quote_used",
            "quote_expired",
            "kyc_not_approved",
            "service_not_enabled",
            "same answer again",
            "key used for another body",
        ],
    ),
];

/// Where a crash can fall, by the operation that it hit.
impl Coverage {
    /// It happened.
    pub fn hit(&mut self, subject: &'static str, word: &'static str) {
        self.add(subject, word, 1);
    }

    /// It happened so many times.
    pub fn add(&mut self, subject: &'static str, word: &'static str, times: u64) {
        *self.0.entry((subject, word)).or_insert(0) += times;
    }

    /// What another run reached.
    pub fn merge(&mut self, other: &Self) {
        for ((subject, word), count) in &other.0 {
            self.add(subject, word, *count);
        }
    }

    /// What a long run must have reached and did not.
    pub fn missing(&self) -> Vec<String> {
        let all = MUST.iter().flat_map(|(subject, words)| words.iter().map(|word| (*subject, *word)));
        all.filter(|known| !self.0.contains_key(known)).map(|(subject, word)| format!("{subject}: {word}")).collect()
    }

    /// All counts, those never reached with zero.
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let all = MUST.iter().flat_map(|(subject, words)| words.iter().map(|word| ((*subject, *word), 0)));
        let mut counts: BTreeMap<_, _> = all.collect();
        counts.extend(self.0.iter().map(|(known, count)| (*known, *count)));
        counts
    }

    /// As a table.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(["subject", "what", "times"]);
        let mut last = "";
        for ((subject, word), count) in self.counts() {
            let shown = if subject == last { "" } else { subject };
            last = subject;
            table.add_row([shown.to_owned(), word.to_owned(), count.to_string()]);
        }
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        table
    }
}
