//! What the sidecar asks for: people, money in and out, rates and quotes, and each answered once under its key.

use super::super::plan::{Call, Command, Wish};
use super::super::words::{Currency, EUR, JPY, Place, Purse, USD};
use super::people::{Account, Card, Funding, Partner, Pool, Quote, Transfer, User};
use super::{DAY, Model, Moment, Rate, converted};

const BALANCES: u8 = 0;
const PAY_IN: u8 = 1;
const PAYOUT: u8 = 2;
const CARDS: u8 = 3;
const OFF_RAMP: u8 = 4;
/// All services.
const ALL: u8 = 0b1_1111;
/// A quote may be executed for so long.
const QUOTE_US: i64 = 30_000_000;
/// So long after its end nobody used it, a quote may be forgotten.
const QUOTE_KEPT_US: i64 = 3_600_000_000;

/// A call that was answered under a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remembered {
    command: Command,
    until: i64,
}

/// What a call comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    /// Done or refused now, with so many events.
    Fresh(u64, Result<(), &'static str>),
    /// Answered before under this key.
    Stored,
    /// The key was used for something else.
    Mismatch,
}

fn account_currency(currency: Currency) -> bool {
    matches!(currency, EUR | USD | JPY)
}

fn vault(currency: Currency) -> Place {
    if currency.is_crypto() { Place::Chain } else { Place::Bank }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

type Done = Result<u64, &'static str>;

impl Model {
    /// A call of the sidecar.
    pub(crate) fn call(&mut self, call: &Call, now: Moment) -> Told {
        if let Some(known) = call.key.and_then(|key| self.calls.get(&key)).filter(|known| known.until > now.wall) {
            return if known.command == call.command { Told::Stored } else { Told::Mismatch };
        }
        let done = self.command(&call.command, now);
        let mut events = *done.as_ref().unwrap_or(&0);
        (0..events).for_each(|_| self.event(now.wall));
        if let Some(key) = call.key {
            *self.given.entry(key).or_insert(0) += 1;
            self.calls.insert(key, Remembered { command: call.command.clone(), until: now.wall + DAY });
            self.event(now.wall);
            events += 1;
        }
        Told::Fresh(events, done.map(|_| ()))
    }

    /// The number behind a transfer's or quote's label.
    pub(crate) fn number_of(&self, command: &Command) -> Option<u64> {
        match command {
            Command::EndTopUp { label, .. } | Command::EndPayout { label, .. } => {
                self.transfers.get(label).map(|transfer| transfer.no)
            }
            Command::Execute { label } => self.quotes.get(label).map(|quote| quote.no),
            _ => None,
        }
    }

    /// A quote that may be forgotten: both refusals are right then.
    pub(crate) fn may_have_forgotten(&self, command: &Command, now: Moment) -> bool {
        let Command::Execute { label } = command else { return false };
        self.quotes.get(label).is_some_and(|quote| !quote.used && quote.ends + QUOTE_KEPT_US <= now.wall)
    }

    fn command(&mut self, command: &Command, now: Moment) -> Done {
        match *command {
            Command::Partner { url, mode, timeout_ms, own_codes } => {
                self.take_no();
                self.partners.push(Partner {
                    active: true,
                    url,
                    mode,
                    timeout_us: timeout_ms.map(|ms| i64::from(ms) * 1_000),
                    services: ALL,
                    codes: own_codes.then_some(OWN_CODES),
                });
                Ok(1)
            }
            Command::PartnerStatus { partner, active } => {
                let terms = self.partners.get_mut(partner as usize).ok_or("not_found")?;
                Ok(u64::from(std::mem::replace(&mut terms.active, active) != active))
            }
            Command::PartnerMode { partner, mode } => {
                let terms = self.partners.get_mut(partner as usize).ok_or("not_found")?;
                Ok(u64::from(std::mem::replace(&mut terms.mode, mode) != mode))
            }
            Command::PartnerServices { partner, services } => {
                let terms = self.partners.get_mut(partner as usize).ok_or("not_found")?;
                Ok(u64::from(std::mem::replace(&mut terms.services, services) != services))
            }
            Command::RotateSecret { partner, .. } => {
                self.partners.get(partner as usize).ok_or("not_found")?;
                Ok(1)
            }
            Command::User { partner, name } => {
                self.partners.get(partner as usize).ok_or("not_found")?;
                if self.users.iter().any(|user| (user.partner, user.name) == (partner, name)) {
                    return Err("duplicate_external_id");
                }
                self.take_no();
                self.users.push(User { partner, name, active: true, kyc: "not_started" });
                Ok(1)
            }
            Command::UserStatus { user, active } => {
                let user = self.users.get_mut(user as usize).ok_or("not_found")?;
                Ok(u64::from(std::mem::replace(&mut user.active, active) != active))
            }
            Command::Kyc { user, to } => {
                let user = self.users.get_mut(user as usize).ok_or("not_found")?;
                let may = match user.kyc {
                    "submitted" => to == "in_review",
                    "in_review" => matches!(to, "approved" | "rejected"),
                    "approved" => matches!(to, "expired" | "revoked"),
                    _ => to == "submitted",
                };
                if !may {
                    return Err("invalid_state");
                }
                user.kyc = to;
                Ok(1)
            }
            Command::Account { user, currency } => {
                let partner = self.users.get(user as usize).ok_or("not_found")?.partner;
                self.serves(partner, BALANCES)?;
                Ok(u64::from(self.account_for(user, currency).1))
            }
            Command::Pool { partner, currency, minimum } => {
                self.partners.get(partner as usize).ok_or("not_found")?;
                self.take_no();
                self.pools.push(Pool { partner, currency, minimum, active: true });
                Ok(1)
            }
            Command::PoolChange { pool, active, minimum } => {
                let pool = self.pools.get_mut(pool as usize).ok_or("not_found")?;
                let before = (pool.active, pool.minimum);
                pool.active = active.unwrap_or(pool.active);
                pool.minimum = minimum.unwrap_or(pool.minimum);
                Ok(u64::from(before != (pool.active, pool.minimum)))
            }
            Command::Card { user, funding, number, expires } => self.new_card(user, funding, number, expires),
            Command::CardStatus { card, status } => {
                let card = self.cards.get_mut(card as usize).ok_or("not_found")?;
                match (card.status, status) {
                    (before, after) if before == after => Ok(0),
                    ("closed", _) => Err("invalid_state"),
                    _ => {
                        card.status = status;
                        Ok(1)
                    }
                }
            }
            Command::Rate { from, to, mantissa, scale, markup_bps } => {
                if from == to {
                    return Err("invalid");
                }
                self.rates.insert((from, to), Rate { mantissa, scale, markup_bps });
                Ok(1)
            }
            _ => self.money_command(command, now),
        }
    }

    fn money_command(&mut self, command: &Command, now: Moment) -> Done {
        match *command {
            Command::TopUp { label, pool, amount, currency } => {
                let own = self.pools.get(pool as usize).ok_or("not_found")?.currency;
                fits(amount, currency, own)?;
                self.new_transfer(label, true, pool, amount, currency);
                Ok(1)
            }
            Command::EndTopUp { label, settle } => {
                let transfer = self.end_transfer(label, true)?;
                if settle {
                    let pool = Purse::Pool(transfer.party);
                    self.add(vault(transfer.currency), transfer.currency, transfer.amount);
                    self.give_back(pool, transfer.currency, transfer.amount);
                }
                Ok(1)
            }
            Command::Withdraw { pool, amount, currency } => {
                let found = self.pools.get(pool as usize).ok_or("not_found")?.clone();
                fits(amount, currency, found.currency)?;
                self.active_partner(found.partner)?;
                let left = self.available(Purse::Pool(pool)) - amount;
                if left < 0 {
                    return Err("insufficient_funds");
                }
                if left < found.minimum {
                    return Err("below_minimum_balance");
                }
                self.add(Place::Available(Purse::Pool(pool)), currency, -amount);
                self.add(vault(currency), currency, -amount);
                self.take_no();
                Ok(1)
            }
            Command::PayIn { account, amount, currency } => {
                let found = self.accounts.get(account as usize).ok_or("not_found")?.clone();
                fits(amount, currency, found.currency)?;
                self.serves(self.partner_of(Purse::Account(account)), PAY_IN)?;
                self.add(Place::Bank, currency, amount);
                self.add(Place::Available(Purse::Account(account)), currency, amount);
                self.take_no();
                Ok(1)
            }
            Command::Payout { label, account, amount, currency } => {
                let found = self.accounts.get(account as usize).ok_or("not_found")?.clone();
                fits(amount, currency, found.currency)?;
                self.entitled(found.user, PAYOUT)?;
                if self.available(Purse::Account(account)) < amount {
                    return Err("insufficient_funds");
                }
                self.add(Place::Available(Purse::Account(account)), currency, -amount);
                self.add(Place::Transit, currency, amount);
                self.new_transfer(label, false, account, amount, currency);
                Ok(1)
            }
            Command::EndPayout { label, settle } => {
                let Transfer { party, amount, currency, .. } = self.end_transfer(label, false)?;
                self.add(Place::Transit, currency, -amount);
                if settle {
                    self.add(Place::Bank, currency, -amount);
                } else {
                    self.add(Place::Available(Purse::Account(party)), currency, amount);
                }
                Ok(1)
            }
            Command::Crypto { user, amount, currency } => {
                let partner = self.users.get(user as usize).ok_or("not_found")?.partner;
                if amount <= 0 {
                    return Err("invalid");
                }
                if !currency.is_crypto() {
                    return Err("currency_mismatch");
                }
                self.serves(partner, OFF_RAMP)?;
                self.add(Place::Chain, currency, amount);
                self.add(Place::Deposit(user), currency, amount);
                self.take_no();
                Ok(1)
            }
            Command::Quote { label, user, amount, from, to } => {
                self.users.get(user as usize).ok_or("not_found")?;
                if amount <= 0 || !(from.is_crypto() || account_currency(from)) || !account_currency(to) || from == to {
                    return Err("invalid");
                }
                self.entitled(user, OFF_RAMP)?;
                let rate = *self.rates.get(&(from, to)).ok_or("rate_missing")?;
                let credit = converted(rate, amount, from, to, false);
                if credit <= 0 {
                    return Err("invalid");
                }
                let no = self.take_no();
                let ends = now.wall + QUOTE_US;
                self.quotes
                    .insert(label, Quote { no, user, from: (amount, from), to: (credit, to), ends, used: false });
                Ok(1)
            }
            Command::Execute { label } => self.execute(label, now),
            _ => Err("invalid"),
        }
    }

    fn execute(&mut self, label: u32, now: Moment) -> Done {
        let quote = self.quotes.get(&label).cloned().ok_or("not_found")?;
        if quote.used {
            return Err("quote_used");
        }
        if now.wall >= quote.ends {
            return Err("quote_expired");
        }
        self.entitled(quote.user, OFF_RAMP)?;
        let ((amount, from), (credit, to)) = (quote.from, quote.to);
        let payer = if from.is_crypto() {
            Place::Deposit(quote.user)
        } else {
            let account = self.account_of(quote.user, from).ok_or("insufficient_funds")?;
            Place::Available(Purse::Account(account))
        };
        if self.at(payer, from) < amount {
            return Err("insufficient_funds");
        }
        if !self.fx_allows(from, amount) || !self.fx_allows(to, -credit) {
            return Err("fx_limit");
        }
        let (account, opened) = self.account_for(quote.user, to);
        self.add(payer, from, -amount);
        self.add(Place::Fx, from, amount);
        self.add(Place::Fx, to, -credit);
        self.add(Place::Available(Purse::Account(account)), to, credit);
        self.take_no();
        if let Some(quote) = self.quotes.get_mut(&label) {
            quote.used = true;
        }
        Ok(1 + u64::from(opened))
    }

    fn new_card(&mut self, user: u32, wish: Wish, number: usize, expires: u16) -> Done {
        let partner = self.users.get(user as usize).ok_or("not_found")?.partner;
        let own_pool = |pool: u32| {
            let found = self.pools.get(pool as usize).filter(|p| p.partner == partner);
            found.map(|p| p.currency).ok_or("not_found")
        };
        let currency = match wish {
            Wish::Pool { pool, account } => {
                let own = own_pool(pool)?;
                match (account_currency(own), account) {
                    (true, None) => own,
                    (true, Some(wanted)) if wanted == own => own,
                    (true, Some(_)) => return Err("currency_mismatch"),
                    (false, Some(wanted)) => wanted,
                    (false, None) => return Err("invalid"),
                }
            }
            Wish::Account { currency } => currency,
            Wish::Choice { pool, currency } => {
                own_pool(pool)?;
                currency
            }
        };
        if !account_currency(currency) {
            return Err("invalid");
        }
        self.entitled(user, CARDS)?;
        if self.card_of(number).is_some() {
            return Err("duplicate_pan");
        }
        let (account, opened) = self.account_for(user, currency);
        let funding = match wish {
            Wish::Pool { pool, .. } => Funding::Pool(pool),
            Wish::Account { .. } => Funding::Account(account),
            Wish::Choice { pool, .. } => Funding::Choice(pool, account),
        };
        self.take_no();
        self.cards.push(Card { number, user, funding, expires, status: "active" });
        Ok(1 + u64::from(opened))
    }

    fn account_of(&self, user: u32, currency: Currency) -> Option<u32> {
        self.accounts.iter().position(|a| (a.user, a.currency) == (user, currency)).map(index)
    }

    fn account_for(&mut self, user: u32, currency: Currency) -> (u32, bool) {
        if let Some(account) = self.account_of(user, currency) {
            return (account, false);
        }
        self.take_no();
        self.accounts.push(Account { user, currency });
        (index(self.accounts.len() - 1), true)
    }

    fn new_transfer(&mut self, label: u32, top_up: bool, party: u32, amount: i64, currency: Currency) {
        let no = self.take_no();
        self.transfers.insert(label, Transfer { no, top_up, party, amount, currency, open: true });
    }

    fn end_transfer(&mut self, label: u32, top_up: bool) -> Result<Transfer, &'static str> {
        let transfer = self.transfers.get_mut(&label).filter(|t| t.top_up == top_up).ok_or("not_found")?;
        if !transfer.open {
            return Err("invalid_state");
        }
        transfer.open = false;
        Ok(transfer.clone())
    }

    fn serves(&self, partner: u32, service: u8) -> Result<(), &'static str> {
        let terms = self.partners.get(partner as usize).ok_or("not_found")?;
        if terms.services & (1 << service) == 0 { Err("service_not_enabled") } else { Ok(()) }
    }

    fn active_partner(&self, partner: u32) -> Result<(), &'static str> {
        let terms = self.partners.get(partner as usize).ok_or("not_found")?;
        if terms.active { Ok(()) } else { Err("partner_suspended") }
    }

    fn entitled(&self, user: u32, service: u8) -> Result<(), &'static str> {
        let user = self.users.get(user as usize).ok_or("not_found")?;
        self.serves(user.partner, service)?;
        self.active_partner(user.partner)?;
        if !user.active {
            return Err("user_suspended");
        }
        if user.kyc != "approved" {
            return Err("kyc_not_approved");
        }
        Ok(())
    }
}

/// A partner's own DE39 for timeout, unreachable and bad response.
pub(crate) const OWN_CODES: [&str; 3] = ["05", "57", "05"];

fn fits(amount: i64, currency: Currency, own: Currency) -> Result<(), &'static str> {
    if amount <= 0 {
        return Err("invalid");
    }
    if currency != own {
        return Err("currency_mismatch");
    }
    Ok(())
}

impl Model {
    /// A key that was given out more than once: its first answer is forgotten by now.
    pub(crate) fn call_is_old(&self, key: u32) -> bool {
        self.given.get(&key).is_some_and(|times| *times > 1)
    }
}
