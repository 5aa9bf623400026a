//! The model held against the book: every balance, every authorization, every row of people. Must never change either.

use ledger_core::book::Book;
use ledger_core::event::posting::Ledger;
use ledger_core::event::tap::Source;

use super::model::Model;
use super::words::{Currency, Place, Purse};

fn purse(source: Source) -> Purse {
    match source {
        Source::Pool(pool) => Purse::Pool(pool),
        Source::Account(account) => Purse::Account(account),
    }
}

fn place(ledger: Ledger) -> Option<Place> {
    Some(match ledger {
        Ledger::PoolAvailable(i) => Place::Available(Purse::Pool(i)),
        Ledger::AccountAvailable(i) => Place::Available(Purse::Account(i)),
        Ledger::Receivable(i) => Place::Owed(i),
        Ledger::Bank => Place::Bank,
        Ledger::Chain => Place::Chain,
        Ledger::Scheme => Place::Scheme,
        Ledger::PayoutTransit => Place::Transit,
        Ledger::CryptoDeposit(i) => Place::Deposit(i),
        Ledger::Fx => Place::Fx,
        // The fee of a quote is zero; what is held is counted.
        Ledger::Fees | Ledger::PoolHeld(_) | Ledger::AccountHeld(_) => return None,
    })
}

/// What the book and the model do not agree on, in one sentence.
pub(crate) fn differs(book: &Book, model: &Model) -> Option<String> {
    if (book.last_seq(), book.next_id().no) != (model.seq, model.next_no) {
        return Some(format!(
            "the book is at event {} and number {}, the model at {} and {}",
            book.last_seq(),
            book.next_id().no,
            model.seq,
            model.next_no
        ));
    }
    let rows = [
        ("partners", book.partners().len(), model.partners.len()),
        ("users", book.users().iter().count(), model.users.len()),
        ("accounts", book.accounts().iter().count(), model.accounts.len()),
        ("pools", book.pools().len(), model.pools.len()),
        ("cards", book.cards().iter().count(), model.cards.len()),
        ("authorizations", book.authorization_count(), model.authorizations.len()),
    ];
    if let Some((what, book, model)) = rows.into_iter().find(|(_, book, model)| book != model) {
        return Some(format!("the book has {book} {what}, the model {model}"));
    }
    purses(book, model).or_else(|| general(book, model)).or_else(|| authorizations(book, model))
}

fn purses(book: &Book, model: &Model) -> Option<String> {
    let pools = (0u32..).zip(book.pools().iter()).map(|(i, p)| (Purse::Pool(i), p.balance));
    let accounts = (0u32..).zip(book.accounts().iter()).map(|(i, a)| (Purse::Account(i), a.balance));
    for (purse, balance) in pools.chain(accounts) {
        let (available, held) = (model.available(purse), model.held(purse));
        if (balance.available, balance.held) != (available, held) {
            return Some(format!(
                "{purse:?} has {} available and {} held in the book, {available} and {held} in the model",
                balance.available, balance.held
            ));
        }
    }
    None
}

fn general(book: &Book, model: &Model) -> Option<String> {
    for (ledger, currency, balance) in book.general_ledger() {
        let Some(place) = place(ledger) else { continue };
        let own = model.at(place, Currency(currency.number()));
        if own != balance {
            return Some(format!("{ledger:?} in {} is {balance} in the book, {own} in the model", currency.code()));
        }
    }
    let known = |place: &Place, currency: &Currency| {
        book.general_ledger().any(|(l, c, _)| self::place(l) == Some(*place) && c.number() == currency.0)
    };
    let own = model.money.iter().filter(|((place, _), _)| !matches!(place, Place::Available(_)));
    own.into_iter()
        .find(|((place, currency), _)| !known(place, currency))
        .map(|((place, currency), amount)| format!("{place:?} in {currency} is 0 in the book, {amount} in the model"))
}

fn authorizations(book: &Book, model: &Model) -> Option<String> {
    for (no, own) in &model.authorizations {
        let Some(a) = book.authorization(*no) else {
            return Some(format!("authorization {no} ({}) is not in the book", own.state.word()));
        };
        if (a.state.word(), a.cleared) != (own.state.word(), own.cleared) {
            return Some(format!(
                "authorization {no} is {} with {} cleared in the book, {} with {} in the model",
                a.state.word(),
                a.cleared,
                own.state.word(),
                own.cleared
            ));
        }
        if a.facts.kind.word() != own.kind || a.facts.parent != own.parent || a.facts.expires_at.0 != own.expires_at {
            return Some(format!(
                "authorization {no} is a {} of {:?} until {} in the book, a {} of {:?} until {} in the model",
                a.facts.kind.word(),
                a.facts.parent,
                a.facts.expires_at.0,
                own.kind,
                own.parent,
                own.expires_at
            ));
        }
        let mut held: Vec<(Purse, i64)> = a.held.iter().flatten().map(|h| (purse(h.source), h.now)).collect();
        let mut counted: Vec<(Purse, i64)> = own.holds.iter().map(|h| (h.purse, h.now)).collect();
        held.retain(|(_, now)| *now != 0);
        counted.retain(|(_, now)| *now != 0);
        held.sort_unstable();
        counted.sort_unstable();
        if held != counted {
            return Some(format!("authorization {no} holds {held:?} in the book, {counted:?} in the model"));
        }
        let reason = a.reply.map(|reply| reply.reason.word());
        if reason != own.reason {
            return Some(format!("authorization {no} was answered {reason:?}, the model says {:?}", own.reason));
        }
    }
    None
}
