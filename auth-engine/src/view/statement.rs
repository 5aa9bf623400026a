//! Statements: lines of what an account or pool posted, with the balance after each. Owns the arithmetic of a page:
//! opening plus lines is closing. Must never take a line from anywhere but the journal's postings, memo lines apart.

use ledger_core::event::posting::{Ledger, Postings};
use ledger_core::event::tap::Source;
use ledger_core::id::{Id, Thing};
use ledger_core::money::Currency;
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::docs::{AccountDoc, BalanceDoc, MoneyDoc, PoolDoc, StatementDoc, StatementLine};
use super::lists::{Row, balance, owned};
use super::store::{self, Kind, Span, Step, key};
use super::{PageRequest, StatementOf, View, ViewError};

/// Bytes of a line's key behind its source: time, sequence, place.
const TAIL: usize = 18;

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LineRow {
    pub(super) seq: u64,
    pub(super) at: i64,
    pub(super) kind: String,
    pub(super) reference: Option<String>,
    /// Signed minor units.
    pub(super) amount: i64,
    /// Numeric; of a memo line the tap's source's.
    pub(super) currency: u16,
    /// Posted after it, minor units of the statement's currency.
    pub(super) after: i64,
    pub(super) memo: bool,
    pub(super) authorization: Option<String>,
}

impl LineRow {
    /// Posted before it.
    const fn before(&self) -> i64 {
        if self.memo { self.after } else { self.after.saturating_sub(self.amount) }
    }

    fn told(self, own: Currency) -> StatementLine {
        StatementLine {
            sequence: self.seq,
            at: Timestamp(self.at).rfc3339(),
            kind: self.kind,
            reference: self.reference,
            amount: currency(self.currency).map_or_else(
                || MoneyDoc::of_numeric(self.amount, self.currency),
                |currency| MoneyDoc::new(self.amount, currency),
            ),
            balance_after: MoneyDoc::new(self.after, own),
            memo: self.memo,
            authorization_id: self.authorization,
        }
    }
}

/// A currency from its number, crypto included.
pub(super) fn currency(number: u16) -> Option<Currency> {
    Currency::POOLS
        .into_iter()
        .chain([Currency::USDT, Currency::BTC, Currency::ETH])
        .find(|c| c.number() == number)
        .or_else(|| Currency::from_numeric(number))
}

/// What an event does to one source: what it adds to available, to held, and what only passes through (below zero
/// when it goes out before it comes in).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Movement {
    pub(super) source: Source,
    pub(super) available: i64,
    pub(super) held: i64,
    pub(super) through: i64,
}

/// The sources an event moves, each once, in the order of their first line.
pub(super) fn movements(postings: &Postings) -> Vec<Movement> {
    let mut found: Vec<Movement> = Vec::new();
    let mut gross: Vec<(i64, i64, bool)> = Vec::new();
    for line in postings.lines() {
        let (source, on_held) = match line.ledger {
            Ledger::PoolAvailable(i) => (Source::Pool(i), false),
            Ledger::PoolHeld(i) => (Source::Pool(i), true),
            Ledger::AccountAvailable(i) => (Source::Account(i), false),
            Ledger::AccountHeld(i) => (Source::Account(i), true),
            Ledger::Bank
            | Ledger::Chain
            | Ledger::Receivable(_)
            | Ledger::Scheme
            | Ledger::PayoutTransit
            | Ledger::CryptoDeposit(_)
            | Ledger::Fx
            | Ledger::Fees => continue,
        };
        let at = found.iter().position(|m| m.source == source).unwrap_or_else(|| {
            found.push(Movement { source, available: 0, held: 0, through: 0 });
            gross.push((0, 0, line.debit > 0));
            found.len() - 1
        });
        let (Some(movement), Some(gross)) = (found.get_mut(at), gross.get_mut(at)) else { continue };
        // Liabilities: a credit adds.
        let delta = line.debit.saturating_neg();
        if on_held {
            movement.held = movement.held.saturating_add(delta);
        } else {
            movement.available = movement.available.saturating_add(delta);
            if delta > 0 {
                gross.0 = gross.0.saturating_add(delta);
            } else {
                gross.1 = gross.1.saturating_sub(delta);
            }
        }
    }
    for (movement, (into, out, out_first)) in found.iter_mut().zip(gross) {
        let through = into.min(out);
        movement.through = if out_first { -through } else { through };
    }
    found
}

impl View {
    /// A page of a statement, oldest line first, of the lines from `from` on and before `to`. `None`: no such thing,
    /// or another partner's.
    pub fn statement(
        &self,
        scope: Option<Id>,
        of: StatementOf,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        request: &PageRequest,
    ) -> Result<Option<StatementDoc>, ViewError> {
        self.read(|tree| {
            let Some((source, own, account_id, pool_id)) = whose(tree, scope, of)? else { return Ok(None) };
            let mut span = Span::all(key::lines(source), TAIL);
            if let Some(from) = from {
                span = span.starting(&key::sortable(from));
            }
            if let Some(to) = to {
                span = span.ending(&key::sortable(to));
            }
            let before = span.first_after(request)?;
            let page = store::page(tree, span, request, |_, bytes| Ok(Step::Take(store::parse::<LineRow>(bytes)?)))?;
            let opening = match page.data.first() {
                Some(first) => first.before(),
                // Nothing here: what the last line before it left.
                None => match tree.range(key::lines(source)..before).next_back() {
                    Some(row) => store::parse::<LineRow>(&row?.1)?.after,
                    None => 0,
                },
            };
            let closing = page.data.last().map_or(opening, |last| last.after);
            Ok(Some(StatementDoc {
                account_id,
                pool_id,
                currency: own.code().to_owned(),
                opening: MoneyDoc::new(opening, own),
                lines: page.data.into_iter().map(|line| line.told(own)).collect(),
                closing: MoneyDoc::new(closing, own),
                next_cursor: page.next_cursor,
            }))
        })
    }
}

impl View {
    /// What an account or pool had at the end of a moment. `None`: no such thing, or another partner's.
    pub fn balance_at(
        &self,
        scope: Option<Id>,
        of: StatementOf,
        at: Timestamp,
    ) -> Result<Option<BalanceDoc>, ViewError> {
        self.read(|tree| {
            let Some((source, own, account_id, pool_id)) = whose(tree, scope, of)? else { return Ok(None) };
            let end = key::balance_after(source, at, u64::MAX);
            let last = tree.range(key::history(source)..=end).next_back().transpose()?;
            let sequence = last.as_ref().and_then(|(key, _)| key.last_chunk::<8>()).map(|seq| u64::from_be_bytes(*seq));
            let balance = balance(last.as_ref().map(|(_, bytes)| bytes.as_ref()));
            Ok(Some(BalanceDoc {
                account_id,
                pool_id,
                at: at.rfc3339(),
                posted: MoneyDoc::new(balance.posted(), own),
                held: MoneyDoc::new(balance.held, own),
                available: MoneyDoc::new(balance.available, own),
                sequence,
            }))
        })
    }
}

type Whose = (Source, Currency, Option<String>, Option<String>);

/// The source that a statement or balance is of, its currency, and its id as an account or as a pool.
fn whose(tree: &sled::Tree, scope: Option<Id>, of: StatementOf) -> Result<Option<Whose>, ViewError> {
    Ok(match of {
        StatementOf::Account(id) => {
            let row: Option<Row<AccountDoc>> = owned(tree, scope, Kind::Account, id)?;
            match row.filter(|row| row.doc.id == id.text(Thing::Account)) {
                Some(row) => Some((Source::Account(row.index), code(&row.doc.currency)?, Some(row.doc.id), None)),
                None => None,
            }
        }
        StatementOf::Pool(id) => {
            let row: Option<Row<PoolDoc>> = owned(tree, scope, Kind::Pool, id)?;
            match row.filter(|row| row.doc.id == id.text(Thing::Pool)) {
                Some(row) => Some((Source::Pool(row.index), code(&row.doc.currency)?, None, Some(row.doc.id))),
                None => None,
            }
        }
    })
}

fn code(text: &str) -> Result<Currency, ViewError> {
    Currency::from_code(text).ok_or_else(|| ViewError::Damaged("a currency does not read".to_owned()))
}
