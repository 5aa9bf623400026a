//! Balances before and after, and whether they add up: cents in, sentences out.

use std::collections::BTreeMap;

use super::story::Purse;

/// What a pool or account holds, in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Balance {
    /// All of it.
    pub(super) posted: i64,
    /// Set aside for approved taps.
    pub(super) held: i64,
    /// What a tap can have.
    pub(super) available: i64,
}

/// What the story moved, by the answers the network got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moved {
    /// Put there by REST.
    pub(super) credited: i64,
    /// Held by approved taps.
    pub(super) taps: i64,
    /// Given back by reversals.
    pub(super) released: i64,
}

/// One pool or account over the whole story.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Whose.
    pub(super) purse: Purse,
    /// Before the first tap.
    pub(super) opening: Balance,
    /// In between.
    pub(super) moved: Moved,
    /// After the last.
    pub(super) closing: Balance,
}

impl Row {
    /// What does not add up; nothing when all does.
    pub(super) fn faults(&self) -> Vec<String> {
        let Self { opening, moved, closing, .. } = self;
        let sums = [
            (
                "available is not opening + credited - taps + released",
                closing.available,
                opening.available + moved.credited - moved.taps + moved.released,
            ),
            ("held is not opening + taps - released", closing.held, opening.held + moved.taps - moved.released),
            ("posted is not held + available", closing.posted, closing.held + closing.available),
        ];
        let wrong = sums.into_iter().filter(|(_, is, should)| is != should);
        wrong
            .map(|(what, is, should)| {
                format!("{}: {what} ({} instead of {})", name(self.purse), euros(is), euros(should))
            })
            .collect()
    }
}

/// Rows from what was, what moved and what is.
pub(super) fn rows(
    opening: &BTreeMap<Purse, Balance>,
    moved: &BTreeMap<Purse, Moved>,
    closing: &BTreeMap<Purse, Balance>,
) -> Vec<Row> {
    let at = |purse: &Purse| Row {
        purse: *purse,
        opening: opening.get(purse).copied().unwrap_or_default(),
        moved: moved.get(purse).copied().unwrap_or_default(),
        closing: closing.get(purse).copied().unwrap_or_default(),
    };
    closing.keys().map(at).collect()
}

/// How the story calls it.
pub(super) fn name(purse: Purse) -> &'static str {
    match purse {
        Purse::Pool => "Aurora's pool",
        Purse::SmallPool => "Aurora's small pool",
        Purse::Account => "Alice's account",
    }
}

/// `12.34` to 1234; only with exactly two decimals.
pub(super) fn cents(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || part.len() != 2 || !digits(part) {
        return None;
    }
    format!("{whole}{part}").parse().ok()
}

/// 1234 to `12.34`.
pub(super) fn euros(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let size = cents.unsigned_abs();
    format!("{sign}{}.{:02}", size / 100, size % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_and_euros_are_each_others_way_back() {
        for amount in [0, 1, 99, 100, 4_80, 932_83, -1, -12_34] {
            assert_eq!(cents(&euros(amount)), Some(amount));
        }
        for text in ["", "1", "1.", "1.2", "1.234", ".50", "1e2.00", "+1.00", "-.10", "1.-1"] {
            assert_eq!(cents(text), None, "{text}");
        }
    }

    #[test]
    fn a_row_tells_each_sum_that_is_off() {
        let balance = |posted, held, available| Balance { posted, held, available };
        let opening = balance(1000, 0, 1000);
        let moved = Moved { credited: 0, taps: 300, released: 100 };
        let row = |closing| Row { purse: Purse::Pool, opening, moved, closing };
        assert_eq!(row(balance(1000, 200, 800)).faults(), Vec::<String>::new());
        assert_eq!(row(balance(1000, 300, 700)).faults().len(), 2);
        assert_eq!(row(balance(999, 200, 800)).faults().len(), 1);
    }
}
