//! Calls of the plan as the requests that the sidecar sends to the shard. Must never decide anything.

use ledger_core::book::{Command as LedgerCommand, Done, FundingWish, PartnerChange, Refusal};
use ledger_core::event::words::{CardStatus, DecisionMode, Kyc, Status};
use ledger_core::keys::Keyring;
use ledger_core::money::{Currency as LedgerCurrency, Money, Rate};
use ledger_core::time::YearMonth;
use zeroize::Zeroizing;

use super::plan::{Call, Command, Wish};
use super::words::{Currency, USDC, pan};
use crate::shard::handle::{IdempotencyKey, Rendered, Write};

/// A number that nothing has.
const NOBODY: u64 = (1 << 48) - 1;

fn currency(own: Currency) -> LedgerCurrency {
    if own == USDC { LedgerCurrency::USDC } else { LedgerCurrency::from_numeric(own.0).unwrap_or(LedgerCurrency::EUR) }
}

fn money(amount: i64, own: Currency) -> Money {
    Money::new(amount, currency(own))
}

fn status(active: bool) -> Status {
    if active { Status::Active } else { Status::Suspended }
}

fn code(text: &str) -> Option<[u8; 2]> {
    text.as_bytes().try_into().ok()
}

/// The word of a refusal, as the model has it.
pub(crate) fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound(_) => "not_found",
        Refusal::InvalidState(_) => "invalid_state",
        Refusal::InsufficientFunds => "insufficient_funds",
        Refusal::CurrencyMismatch => "currency_mismatch",
        Refusal::DuplicateExternalId => "duplicate_external_id",
        Refusal::DuplicatePan => "duplicate_pan",
        Refusal::QuoteExpired => "quote_expired",
        Refusal::QuoteUsed => "quote_used",
        Refusal::KycNotApproved => "kyc_not_approved",
        Refusal::UserSuspended => "user_suspended",
        Refusal::PartnerSuspended => "partner_suspended",
        Refusal::BelowMinimumBalance => "below_minimum_balance",
        Refusal::ServiceNotEnabled => "service_not_enabled",
        Refusal::RateMissing => "rate_missing",
        Refusal::FxLimit => "fx_limit",
        Refusal::Invalid(_) => "invalid",
        Refusal::Overflow => "overflow",
    }
}

/// A call as a write; `number` is what its label stands for.
pub(crate) fn write(call: &Call, number: Option<u64>, keyring: &Keyring) -> Write {
    let command = command(&call.command, number.unwrap_or(NOBODY), keyring);
    let idempotency = call.key.map(|key| {
        let body = format!("{:?}", call.command);
        IdempotencyKey { key: first_half(format!("call {key}").as_bytes()), body: first_half(body.as_bytes()) }
    });
    Write {
        idempotency,
        plan: Box::new(move |_, _| Ok(command)),
        render: Box::new(|book, _, done: Result<Done, Refusal>| match done {
            // As an answer of the sidecar: it shows what the book holds at this moment.
            Ok(done) => Rendered { status: 200, body: format!("{done:?} at {}", book.last_seq()).into_bytes() },
            Err(why) => Rendered { status: 409, body: refusal(why).as_bytes().to_vec() },
        }),
    }
}

fn first_half(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(blake3::hash(bytes).as_bytes()).for_each(|(to, from)| *to = *from);
    half
}

fn command(command: &Command, number: u64, keyring: &Keyring) -> LedgerCommand {
    let text = |text: &str| text.to_owned();
    match *command {
        Command::Partner { url, mode, timeout_ms, own_codes } => {
            let own = |at: usize| Some(own_codes.then(|| code(super::model::OWN_CODES[at])).flatten());
            LedgerCommand::CreatePartner {
                terms: PartnerChange {
                    name: Some(text("partner")),
                    decision_url: Some(url.then(|| text("http://partner.example/decide"))),
                    decision_mode: DecisionMode::parse(mode),
                    decision_timeout_ms: Some(timeout_ms),
                    timeout_code: own(0),
                    unreachable_code: own(1),
                    bad_response_code: own(2),
                    ..PartnerChange::default()
                },
                secret: Zeroizing::new(vec![7; 32]),
            }
        }
        Command::PartnerStatus { partner, active } => LedgerCommand::ChangePartner {
            partner,
            change: PartnerChange { status: Some(status(active)), ..PartnerChange::default() },
        },
        Command::PartnerMode { partner, mode } => LedgerCommand::ChangePartner {
            partner,
            change: PartnerChange { decision_mode: DecisionMode::parse(mode), ..PartnerChange::default() },
        },
        Command::PartnerServices { partner, services } => LedgerCommand::ChangePartner {
            partner,
            change: PartnerChange { services: Some(services), ..PartnerChange::default() },
        },
        Command::RotateSecret { partner, salt } => {
            LedgerCommand::RotateSecret { partner, secret: Zeroizing::new(vec![salt; 32]) }
        }
        Command::User { partner, name } => LedgerCommand::CreateUser {
            partner,
            external_id: format!("user-{name}"),
            country: text("DE"),
            time_zone: None,
        },
        Command::UserStatus { user, active } => {
            LedgerCommand::ChangeUser { user, status: Some(status(active)), country: None, time_zone: None }
        }
        Command::Kyc { user, to } => LedgerCommand::MoveKyc {
            user,
            status: Kyc::parse(to).unwrap_or(Kyc::Submitted),
            level: None,
            provider: None,
            reference: None,
            reason: None,
        },
        Command::Account { user, currency: own } => LedgerCommand::OpenAccount { user, currency: currency(own) },
        Command::Pool { partner, currency: own, minimum } => {
            LedgerCommand::CreatePool { partner, currency: currency(own), minimum }
        }
        Command::PoolChange { pool, active, minimum } => {
            LedgerCommand::ChangePool { pool, status: active.map(status), minimum }
        }
        Command::TopUp { pool, amount, currency, .. } => {
            LedgerCommand::CreateTopUp { pool, amount: money(amount, currency), reference: text("prefund") }
        }
        Command::EndTopUp { settle: true, .. } => LedgerCommand::SettleTopUp { top_up: number },
        Command::EndTopUp { settle: false, .. } => LedgerCommand::FailTopUp { top_up: number },
        Command::Withdraw { pool, amount, currency } => {
            LedgerCommand::Withdraw { pool, amount: money(amount, currency), reference: text("out") }
        }
        Command::PayIn { account, amount, currency } => {
            LedgerCommand::PayIn { account, amount: money(amount, currency), reference: text("in") }
        }
        Command::Payout { account, amount, currency, .. } => LedgerCommand::CreatePayout {
            account,
            amount: money(amount, currency),
            beneficiary: text("somebody"),
            reference: text("out"),
        },
        Command::EndPayout { settle: true, .. } => LedgerCommand::SettlePayout { payout: number },
        Command::EndPayout { settle: false, .. } => LedgerCommand::FailPayout { payout: number },
        Command::Crypto { user, amount, currency } => {
            LedgerCommand::ReceiveCrypto { user, amount: money(amount, currency), reference: text("chain") }
        }
        Command::Rate { from, to, mantissa, scale, markup_bps } => LedgerCommand::SetRate {
            from: currency(from),
            to: currency(to),
            rate: Rate { mantissa, scale, markup_bps },
        },
        Command::Quote { user, amount, from, to, .. } => {
            LedgerCommand::MakeQuote { user, from: money(amount, from), to: currency(to) }
        }
        Command::Execute { .. } => LedgerCommand::ExecuteQuote { quote: number, reference: None },
        Command::Card { user, funding, number, expires } => {
            let pan = pan(number).into_bytes();
            let fingerprint = keyring.fingerprint(&pan);
            LedgerCommand::CreateCard {
                user,
                funding: match funding {
                    Wish::Pool { pool, account } => FundingWish::Pool { pool, account_currency: account.map(currency) },
                    Wish::Account { currency: own } => FundingWish::Account { currency: currency(own) },
                    Wish::Choice { pool, currency: own } => {
                        FundingWish::PartnerChoice { pool, currency: currency(own) }
                    }
                },
                pan: Zeroizing::new(pan),
                fingerprint,
                expires: YearMonth(expires),
            }
        }
        Command::CardStatus { card, status } => {
            LedgerCommand::ChangeCard { card, status: CardStatus::parse(status).unwrap_or(CardStatus::Active) }
        }
    }
}
