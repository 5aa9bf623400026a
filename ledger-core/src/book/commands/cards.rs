//! Cards: birth and state. The PAN passes through here once, sealed on its way into the event; it is never kept,
//! compared or shown in clear.

use std::borrow::Cow;

use super::super::{Done, FundingWish, Refusal, Sealer};
use super::Draft;
use crate::event::admin::{CardChanged, CardCreated, Funding};
use crate::event::words::{CardStatus, Service};
use crate::event::{Event, field};
use crate::money::Currency;
use crate::time::YearMonth;

impl Draft<'_> {
    pub(super) fn create_card(
        &mut self,
        user: u32,
        wish: FundingWish,
        pan: &[u8],
        fingerprint: &[u8; 16],
        expires: YearMonth,
        sealer: &dyn Sealer,
    ) -> Result<Done, Refusal> {
        let partner = self.book.user(user).ok_or(Refusal::NotFound("user"))?.partner;
        let last4 = check_pan(pan)?;
        if !(1..=12).contains(&(expires.0 % 100)) || expires.0 >= 10_000 {
            return Err(Refusal::Invalid("expires must be a year from 2000 to 2099 and a month, like 2029-01"));
        }
        let currency = self.account_currency(partner, wish)?;
        self.require_entitled(user, Service::Cards)?;
        if self.book.card_by_fingerprint(fingerprint).is_some() {
            return Err(Refusal::DuplicatePan);
        }
        let (account, _) = self.account_for(user, currency);
        let funding = match wish {
            FundingWish::Pool { pool, .. } => Funding::Pool { pool, linked: account },
            FundingWish::Account { .. } => Funding::Account { account },
            FundingWish::PartnerChoice { pool, .. } => Funding::PartnerChoice { pool, account },
        };
        let sealed = sealer.seal(self.next_seq(), field::PAN, pan);
        let no = self.take_no();
        self.events.push(Event::CardCreated(CardCreated {
            no,
            user,
            funding,
            fingerprint: *fingerprint,
            last4,
            expires,
            pan: Cow::Owned(sealed),
        }));
        Ok(Done::Card(self.book.cards.len()))
    }

    pub(super) fn change_card(&mut self, card: u32, status: CardStatus) -> Result<Done, Refusal> {
        let before = self.book.card(card).ok_or(Refusal::NotFound("card"))?.status;
        if before == status {
            return Ok(Done::Card(card));
        }
        if before == CardStatus::Closed {
            return Err(Refusal::InvalidState("the card is closed for good"));
        }
        self.events.push(Event::CardChanged(CardChanged { card, status }));
        Ok(Done::Card(card))
    }

    /// The currency of the user's account that pays, or that stands beside the pool that pays.
    fn account_currency(&self, partner: u32, wish: FundingWish) -> Result<Currency, Refusal> {
        let currency = match wish {
            FundingWish::Pool { pool, account_currency } => {
                let own = self.pool_currency(partner, pool)?;
                match (Currency::ACCOUNTS.contains(&own), account_currency) {
                    (true, None) => own,
                    (true, Some(wanted)) if wanted == own => own,
                    (true, Some(_)) => return Err(Refusal::CurrencyMismatch),
                    (false, Some(wanted)) => wanted,
                    (false, None) => return Err(Refusal::Invalid("a card on a USDC pool needs account_currency")),
                }
            }
            FundingWish::Account { currency } => currency,
            FundingWish::PartnerChoice { pool, currency } => {
                self.pool_currency(partner, pool)?;
                currency
            }
        };
        if Currency::ACCOUNTS.contains(&currency) {
            Ok(currency)
        } else {
            Err(Refusal::Invalid("an account's currency is one of EUR USD CHF SGD HKD JPY"))
        }
    }

    /// Another partner's pool does not exist for this one.
    fn pool_currency(&self, partner: u32, pool: u32) -> Result<Currency, Refusal> {
        let pool = self.book.pool(pool).filter(|p| p.partner == partner).ok_or(Refusal::NotFound("pool"))?;
        Ok(pool.currency)
    }
}

/// The last four digits of a PAN of 12 to 19 ASCII digits whose check digit is right: taps with a wrong one are
/// declined before any card is looked up, so such a card could never be used.
fn check_pan(pan: &[u8]) -> Result<u16, Refusal> {
    const WRONG: Refusal = Refusal::Invalid("pan must be 12 to 19 digits with a valid check digit");
    if !(12..=19).contains(&pan.len()) || !pan.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    let luhn: u32 = pan
        .iter()
        .rev()
        .enumerate()
        .map(|(i, c)| match (i % 2, u32::from(c - b'0')) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    if !luhn.is_multiple_of(10) {
        return Err(WRONG);
    }
    Ok(pan.iter().rev().take(4).rev().fold(0u16, |sum, c| sum * 10 + u16::from(c - b'0')))
}
