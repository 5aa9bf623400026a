//! Ids resolved against the book within what the caller may see. What is another partner's is told apart from what
//! does not exist by nothing.

use ledger_core::book::{Authorization, Book, TransferKind};
use ledger_core::event::tap::Source;
use ledger_core::id::{Id, No};

use super::keys::Caller;
use super::problem::{Code, Problem};

pub(super) fn partner(book: &Book, caller: Caller, id: Id) -> Result<u32, Problem> {
    let found = book.partner_index(id).filter(|index| caller.sees(*index));
    found.ok_or_else(|| Problem::not_found("the partner"))
}

/// The partner that a new user or pool belongs to: the caller's own, or the one an operator names.
pub(super) fn owner(book: &Book, caller: Caller, named: Option<Id>) -> Result<u32, Problem> {
    match (caller.partner, named) {
        (_, Some(id)) => partner(book, caller, id),
        (Some(own), None) => Ok(own),
        (None, None) => Err(Problem::at(
            Code::MissingField,
            "/partner_id",
            "an operator says for which partner; this member must be there",
        )),
    }
}

pub(super) fn user(book: &Book, caller: Caller, id: Id) -> Result<u32, Problem> {
    let found = book.user_index(id).filter(|index| user_seen(book, caller, *index));
    found.ok_or_else(|| Problem::not_found("the user"))
}

fn user_seen(book: &Book, caller: Caller, index: u32) -> bool {
    book.user(index).is_some_and(|user| caller.sees(user.partner))
}

fn source_seen(book: &Book, caller: Caller, source: Source) -> bool {
    book.partner_of(source).is_some_and(|partner| caller.sees(partner))
}

pub(super) fn account(book: &Book, caller: Caller, id: Id) -> Result<u32, Problem> {
    let found = book.account_index(id).filter(|index| source_seen(book, caller, Source::Account(*index)));
    found.ok_or_else(|| Problem::not_found("the account"))
}

pub(super) fn pool(book: &Book, caller: Caller, id: Id) -> Result<u32, Problem> {
    let found = book.pool_index(id).filter(|index| source_seen(book, caller, Source::Pool(*index)));
    found.ok_or_else(|| Problem::not_found("the pool"))
}

pub(super) fn card(book: &Book, caller: Caller, id: Id) -> Result<u32, Problem> {
    let found = book.card_index(id);
    let seen = found.filter(|index| book.card(*index).is_some_and(|card| user_seen(book, caller, card.user)));
    seen.ok_or_else(|| Problem::not_found("the card"))
}

pub(super) fn transfer(book: &Book, caller: Caller, kind: TransferKind, id: Id) -> Result<No, Problem> {
    let found = book.transfer(id.no).filter(|transfer| transfer.id == id && transfer.kind == kind);
    let seen = found.filter(|transfer| match kind {
        TransferKind::TopUp | TransferKind::Withdrawal => source_seen(book, caller, Source::Pool(transfer.party)),
        TransferKind::PayIn | TransferKind::Payout => source_seen(book, caller, Source::Account(transfer.party)),
        TransferKind::CryptoDeposit => user_seen(book, caller, transfer.party),
    });
    let what = match kind {
        TransferKind::TopUp => "the top-up",
        TransferKind::Withdrawal => "the withdrawal",
        TransferKind::PayIn => "the pay-in",
        TransferKind::Payout => "the payout",
        TransferKind::CryptoDeposit => "the crypto deposit",
    };
    seen.map(|_| id.no).ok_or_else(|| Problem::not_found(what))
}

/// An authorization that the book still holds; without a card it is nobody's, and operators see it.
pub(super) fn authorization(book: &Book, caller: Caller, id: Id) -> Option<Authorization> {
    let held = book.authorization(id.no).filter(|held| held.id == id)?;
    let user = held.facts.card.and_then(|card| book.card(card)).and_then(|card| book.user(card.user));
    user.map_or(caller.partner.is_none(), |user| caller.sees(user.partner)).then_some(held)
}

pub(super) fn quote(book: &Book, caller: Caller, id: Id) -> Result<No, Problem> {
    let found = book.quote(id.no).filter(|quote| quote.id == id && user_seen(book, caller, quote.user));
    found.map(|_| id.no).ok_or_else(|| Problem::not_found("the quote"))
}

pub(super) fn off_ramp(book: &Book, caller: Caller, id: Id) -> Result<No, Problem> {
    let found = book.off_ramp(id.no).filter(|done| done.id == id);
    let seen = found.filter(|done| source_seen(book, caller, Source::Account(done.account)));
    seen.map(|_| id.no).ok_or_else(|| Problem::not_found("the off-ramp"))
}
