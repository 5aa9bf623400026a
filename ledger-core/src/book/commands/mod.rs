//! Decides on the sidecar's writes: reads the book, answers with events or a refusal, changes nothing.
//!
//! Must never apply what it decides: the shard makes the events durable and folds them in. Every command is decided
//! whole, so several events of one command are appended together or not at all.

mod cards;
mod exchange;
mod funds;
mod people;

pub(super) use people::kyc_may_move;

use super::{Book, Command, Done, Policy, Refusal};
use crate::event::Event;
use crate::event::admin::AccountOpened;
use crate::event::posting::{Ledger, Posting, Postings};
use crate::event::tap::Source;
use crate::event::words::{Kyc, Service, Status};
use crate::id::No;
use crate::limits::MAX_TEXT;
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// Seals a secret under the sequence its event will have.
pub trait Sealer {
    /// The sealed bytes of `plain`; `field` is one of [`crate::event::field`].
    fn seal(&self, seq: u64, field: u16, plain: &[u8]) -> Vec<u8>;
}

impl Book {
    /// Decides on a command: the events in the order in which they must be applied, numbered and sealed for the
    /// sequences `last_seq() + 1` onwards, and what the answer is about. No events when there is nothing to change.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing has changed then.
    pub fn decide_command(
        &self,
        command: &Command,
        policy: &Policy,
        now: Timestamp,
        sealer: &dyn Sealer,
    ) -> Result<(Vec<Event<'static>>, Done), Refusal> {
        let mut draft = Draft { book: self, events: Vec::new(), next_no: self.next_no };
        let done = match command {
            Command::CreatePartner { terms, secret } => draft.create_partner(terms, secret, sealer),
            Command::ChangePartner { partner, change } => draft.change_partner(*partner, change),
            Command::RotateSecret { partner, secret } => draft.rotate_secret(*partner, secret, now, sealer),
            Command::CreateKey { partner, name, hash } => draft.create_key(*partner, name, hash),
            Command::RevokeKey { key } => draft.revoke_key(*key),
            Command::CreateUser { partner, external_id, country, time_zone } => {
                draft.create_user(*partner, external_id, country, time_zone.as_deref())
            }
            Command::ChangeUser { user, status, country, time_zone } => {
                draft.change_user(*user, *status, country.as_deref(), time_zone.as_ref())
            }
            Command::MoveKyc { user, status, level, provider, reference, reason } => {
                draft.move_kyc(*user, *status, &people::KycTexts { level, provider, reference, reason })
            }
            Command::OpenAccount { user, currency } => draft.open_account(*user, *currency),
            Command::CreatePool { partner, currency, minimum } => draft.create_pool(*partner, *currency, *minimum),
            Command::ChangePool { pool, status, minimum } => draft.change_pool(*pool, *status, *minimum),
            Command::CreateTopUp { pool, amount, reference } => draft.create_top_up(*pool, *amount, reference),
            Command::SettleTopUp { top_up } => draft.settle_top_up(*top_up),
            Command::FailTopUp { top_up } => draft.fail_top_up(*top_up),
            Command::Withdraw { pool, amount, reference } => draft.withdraw(*pool, *amount, reference),
            Command::PayIn { account, amount, reference } => draft.pay_in(*account, *amount, reference),
            Command::CreatePayout { account, amount, beneficiary, reference } => {
                draft.create_payout(*account, *amount, beneficiary, reference)
            }
            Command::SettlePayout { payout } => draft.settle_payout(*payout),
            Command::FailPayout { payout } => draft.fail_payout(*payout),
            Command::ReceiveCrypto { user, amount, reference } => draft.receive_crypto(*user, *amount, reference),
            Command::SetRate { from, to, rate } => draft.set_rate(*from, *to, *rate),
            Command::MakeQuote { user, from, to } => draft.make_quote(*user, *from, *to, now),
            Command::ExecuteQuote { quote, reference } => {
                draft.execute_quote(*quote, reference.as_deref(), policy, now)
            }
            Command::CreateCard { user, funding, pan, fingerprint, expires } => {
                draft.create_card(*user, *funding, pan, fingerprint, *expires, sealer)
            }
            Command::ChangeCard { card, status } => draft.change_card(*card, *status),
        }?;
        Ok((draft.events, done))
    }
}

/// The events of one command while it is decided: gives out sequences and numbers in the order apply demands.
struct Draft<'b> {
    book: &'b Book,
    events: Vec<Event<'static>>,
    next_no: No,
}

impl Draft<'_> {
    /// The sequence that the next event of this draft will have.
    fn next_seq(&self) -> u64 {
        self.book.last_seq + 1 + self.events.len() as u64
    }

    fn take_no(&mut self) -> No {
        let no = self.next_no;
        self.next_no += 1;
        no
    }

    /// The user's account in a currency; opened by this draft when missing. At most once a command: the index of a
    /// new account is the next of the table.
    fn account_for(&mut self, user: u32, currency: Currency) -> (u32, bool) {
        if let Some(account) = self.book.account_of(user, currency) {
            return (account, false);
        }
        let no = self.take_no();
        self.events.push(Event::AccountOpened(AccountOpened { no, user, currency }));
        (self.book.accounts.len(), true)
    }

    /// Refuses when the partner's menu has no such service.
    fn require_service(&self, partner: u32, service: Service) -> Result<(), Refusal> {
        let partner = self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?;
        if partner.services & (1 << service.number()) == 0 {
            return Err(Refusal::ServiceNotEnabled);
        }
        Ok(())
    }

    fn require_active_partner(&self, partner: u32) -> Result<(), Refusal> {
        let partner = self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?;
        match partner.status {
            Status::Active => Ok(()),
            Status::Suspended => Err(Refusal::PartnerSuspended),
        }
    }

    /// What cards, quotes, off-ramps and payouts demand of a user: service on, partner and user active, KYC approved.
    fn require_entitled(&self, user: u32, service: Service) -> Result<(), Refusal> {
        let user = self.book.user(user).ok_or(Refusal::NotFound("user"))?;
        self.require_service(user.partner, service)?;
        self.require_active_partner(user.partner)?;
        match user.status {
            Status::Active => {}
            Status::Suspended => return Err(Refusal::UserSuspended),
        }
        match user.kyc {
            Kyc::Approved => Ok(()),
            Kyc::NotStarted | Kyc::Submitted | Kyc::InReview | Kyc::Rejected | Kyc::Expired | Kyc::Revoked => {
                Err(Refusal::KycNotApproved)
            }
        }
    }
}

impl Book {
    /// Refuses lines that would leave a balance out of its range. A pool's or account's two sides must fit together
    /// as well, so that giving a hold back can never overflow.
    pub(super) fn require_room(&self, postings: &Postings) -> Result<(), Refusal> {
        if let Some((source, moved)) = postings.pair().and_then(hold_of) {
            let (_, balance) = self.source(source).ok_or(Refusal::InsufficientFunds)?;
            let (available, held) = (balance.available.checked_sub(moved), balance.held.checked_add(moved));
            let (Some(available), Some(held)) = (available, held) else { return Err(Refusal::Overflow) };
            if available < 0 || held < 0 {
                return Err(Refusal::InsufficientFunds);
            }
            return available.checked_add(held).map(|_| ()).ok_or(Refusal::Overflow);
        }
        for line in postings.lines() {
            let after = |ledger| self.balance_after(postings, ledger, line.currency);
            let (signed, beside) = match line.ledger {
                Ledger::Bank | Ledger::Chain | Ledger::Scheme | Ledger::Fx | Ledger::Fees => (true, 0),
                Ledger::Receivable(_) | Ledger::PayoutTransit | Ledger::CryptoDeposit(_) => (false, 0),
                Ledger::PoolAvailable(i) => (false, after(Ledger::PoolHeld(i))),
                Ledger::PoolHeld(i) => (false, after(Ledger::PoolAvailable(i))),
                Ledger::AccountAvailable(i) => (false, after(Ledger::AccountHeld(i))),
                Ledger::AccountHeld(i) => (false, after(Ledger::AccountAvailable(i))),
            };
            let balance = after(line.ledger);
            if balance < 0 && !signed {
                return Err(Refusal::InsufficientFunds);
            }
            if i64::try_from(balance).is_err() || i64::try_from(balance + beside).is_err() {
                return Err(Refusal::Overflow);
            }
        }
        Ok(())
    }

    /// An account's balance in its own sign once the lines are posted; wider than any balance may be.
    fn balance_after(&self, postings: &Postings, ledger: Ledger, currency: Currency) -> i128 {
        let lines = postings.lines().iter().filter(|l| l.ledger == ledger && l.currency == currency);
        let debits: i128 = lines.map(|l| i128::from(l.debit)).sum();
        let before = i128::from(self.ledger_balance(ledger, currency));
        if ledger.is_asset() { before + debits } else { before - debits }
    }
}

/// The source of a pair that only holds or gives back, and what it moves from available to held.
fn hold_of(pair: [&Posting; 2]) -> Option<(Source, i64)> {
    let [one, other] = pair;
    let (source, held) = match (one.ledger, other.ledger) {
        (Ledger::PoolAvailable(i), Ledger::PoolHeld(j)) if i == j => (Source::Pool(i), other),
        (Ledger::PoolHeld(i), Ledger::PoolAvailable(j)) if i == j => (Source::Pool(i), one),
        (Ledger::AccountAvailable(i), Ledger::AccountHeld(j)) if i == j => (Source::Account(i), other),
        (Ledger::AccountHeld(i), Ledger::AccountAvailable(j)) if i == j => (Source::Account(i), one),
        _ => return None,
    };
    // Credits add to what is held.
    Some((source, -held.debit))
}

/// Where real money of this currency lies.
fn vault(currency: Currency) -> Ledger {
    if currency.is_crypto() { Ledger::Chain } else { Ledger::Bank }
}

/// Refuses an amount that is not above zero.
fn require_positive(amount: Money) -> Result<(), Refusal> {
    if amount.minor > 0 { Ok(()) } else { Err(Refusal::Invalid("amount must be above zero")) }
}

/// Refuses an amount in another currency than `own`.
fn require_currency(amount: Money, own: Currency) -> Result<(), Refusal> {
    if amount.currency == own { Ok(()) } else { Err(Refusal::CurrencyMismatch) }
}

/// Refuses text that is longer than [`MAX_TEXT`] bytes with the message given.
fn bounded<'t>(text: &'t str, why: &'static str) -> Result<&'t str, Refusal> {
    if text.len() <= MAX_TEXT { Ok(text) } else { Err(Refusal::Invalid(why)) }
}

/// Refuses text that is empty or longer than [`MAX_TEXT`] bytes with the message given.
fn filled<'t>(text: &'t str, why: &'static str) -> Result<&'t str, Refusal> {
    if text.is_empty() { Err(Refusal::Invalid(why)) } else { bounded(text, why) }
}
