//! One journaled event told: as members for JSON lines, as one line for people. Owns the shape that `journal export`
//! documents (docs/journal-commands.md). It must never tell a card number, a secret, a hash of one, or what is sealed:
//! of sealed bytes it tells how many there are.

use std::fmt::Write as _;

use iso_codec::Pan;
use ledger_core::book::{Book, TransferKind};
use ledger_core::event::Event;
use ledger_core::event::admin::{PartnerTerms, Transfer, TransferEnded};
use ledger_core::event::posting::Postings;
use ledger_core::event::tap::{Change, Facts, Hold, Raw, Reply, Said, Source, Trace};
use ledger_core::event::words::Service;
use ledger_core::id::{Id, No, Thing};
use ledger_core::journal::Record;
use ledger_core::money::{Currency, Money};
use ledger_core::time::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::view::docs::{CardFundingDoc, MoneyDoc, PostingDoc};
use crate::view::fold::posting_docs;

/// Members in the order in which they are told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Members(pub(super) Vec<(&'static str, Value)>);

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// An event told.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Told {
    /// Its sequence.
    pub(super) sequence: u64,
    /// RFC 3339.
    pub(super) at: String,
    /// The start of the engine that wrote it.
    pub(super) epoch: u32,
    /// The word of its kind.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// What it says.
    pub(super) data: Members,
    /// Its lines.
    pub(super) postings: Vec<PostingDoc>,
}

impl Told {
    /// Tells an event; `book` has it folded in.
    pub(super) fn of(book: &Book, record: &Record<'_>, event: &Event<'_>) -> Self {
        let tell = Tell { book, epoch: record.epoch };
        Self {
            sequence: record.seq,
            at: Timestamp(record.at).rfc3339(),
            epoch: record.epoch,
            kind: event.word(),
            data: Members(tell.event(event)),
            postings: event.postings().map(|lines: &Postings| posting_docs(book, lines)).unwrap_or_default(),
        }
    }

    /// One line: sequence, time, kind, what it says, its lines.
    pub(super) fn line(&self) -> String {
        let mut out = format!("{:>8}  {}  {:<18}", self.sequence, self.at, self.kind);
        for (name, value) in &self.data.0 {
            if let Some(text) = brief(value) {
                // Writing to a string cannot fail.
                let _ = write!(out, " {name}={text}");
            }
        }
        if !self.postings.is_empty() {
            let _ = write!(out, "  [{}]", postings_text(&self.postings));
        }
        out
    }
}

/// Lines as people read them: debits, then credits.
pub(super) fn postings_text(postings: &[PostingDoc]) -> String {
    let side = |line: &PostingDoc| line.debit.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let one = |line: &PostingDoc| {
        let (word, amount) = if side(line) { ("Dr", &line.debit) } else { ("Cr", &line.credit) };
        let owner = line.id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
        format!("{word} {}{owner} {amount} {}", line.account, line.currency)
    };
    postings.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A value in a few characters; nothing for null and empty ones.
fn brief(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if text.contains(|c: char| c.is_control() || [' ', '"', '='].contains(&c)) => {
            Some(format!("{text:?}"))
        }
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => Some(format!("[{}]", items.iter().filter_map(brief).collect::<Vec<_>>().join("; "))),
        Value::Object(members) => match (members.get("value"), members.get("currency"), members.get("sealed")) {
            (Some(Value::String(amount)), Some(Value::String(currency)), _) => Some(format!("{amount} {currency}")),
            (_, _, Some(length)) => Some(format!("<{length} sealed bytes>")),
            _ => {
                let parts = members.iter().filter_map(|(name, value)| Some(format!("{name}={}", brief(value)?)));
                let parts: Vec<String> = parts.collect();
                (!parts.is_empty()).then(|| format!("({})", parts.join(" ")))
            }
        },
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

/// What an event's numbers name, and the epoch under which it made new ones.
struct Tell<'a> {
    book: &'a Book,
    epoch: u32,
}

type List = Vec<(&'static str, Value)>;

impl Tell<'_> {
    fn made(&self, no: No, thing: Thing) -> Value {
        Id { epoch: self.epoch, no }.text(thing).into()
    }

    fn partner(&self, index: u32) -> Value {
        self.book.partner(index).map(|p| p.id.text(Thing::Partner)).into()
    }

    fn user(&self, index: u32) -> Value {
        self.book.user(index).map(|u| u.id.text(Thing::User)).into()
    }

    fn account(&self, index: u32) -> Value {
        self.book.account(index).map(|a| a.id.text(Thing::Account)).into()
    }

    fn pool(&self, index: u32) -> Value {
        self.book.pool(index).map(|p| p.id.text(Thing::Pool)).into()
    }

    fn card(&self, index: u32) -> Value {
        self.book.card(index).map(|c| c.id.text(Thing::Card)).into()
    }

    fn source(&self, source: Source) -> Value {
        match source {
            Source::Pool(i) => self.pool(i),
            Source::Account(i) => self.account(i),
        }
    }

    fn authorization(&self, no: No) -> Value {
        self.book.authorization(no).map(|a| a.id.text(Thing::Authorization)).into()
    }

    fn link(&self, number: u8) -> Value {
        self.book.links().get(usize::from(number)).map(|l| l.name.clone()).into()
    }

    fn request(&self, raw: &Raw<'_>) -> Value {
        json!({ "link": self.link(raw.link), "sealed": raw.sealed.len() })
    }

    fn event(&self, event: &Event<'_>) -> List {
        match event {
            Event::Started(e) => {
                vec![("version", json!(e.version)), ("dedup_window_us", json!(e.dedup_window_us))]
            }
            Event::Stopped(_) => Vec::new(),
            Event::LinkDefined(e) => vec![("link", json!(e.name)), ("spec", json!(e.spec))],
            Event::LinkSigned(e) => vec![("link", self.link(e.link)), ("signed_on", json!(e.on))],
            Event::PartnerCreated(e) => {
                let mut list = vec![("partner_id", self.made(e.no, Thing::Partner))];
                list.extend(terms(&e.terms));
                list.push(("secret", sealed(&e.secret)));
                list
            }
            Event::PartnerChanged(e) => {
                let mut list = vec![("partner_id", self.partner(e.partner))];
                list.extend(terms(&e.terms));
                list
            }
            Event::SecretRotated(e) => vec![
                ("partner_id", self.partner(e.partner)),
                ("secret", sealed(&e.secret)),
                ("previous_until", e.previous_until.rfc3339().into()),
            ],
            Event::KeyCreated(e) => vec![
                ("key_id", self.made(e.no, Thing::ApiKey)),
                ("partner_id", e.partner.map_or(Value::Null, |p| self.partner(p))),
                ("name", free(&e.name)),
            ],
            Event::KeyRevoked(e) => {
                vec![("key_id", self.book.key(e.no).map(|k| k.id.text(Thing::ApiKey)).into())]
            }
            Event::UserCreated(e) => vec![
                ("user_id", self.made(e.no, Thing::User)),
                ("partner_id", self.partner(e.partner)),
                ("external_id", free(&e.external_id)),
                ("country", json!(e.country)),
                ("time_zone", json!(e.time_zone)),
            ],
            Event::UserChanged(e) => vec![
                ("user_id", self.user(e.user)),
                ("status", e.status.word().into()),
                ("country", json!(e.country)),
                ("time_zone", json!(e.time_zone)),
            ],
            Event::KycChanged(e) => vec![
                ("user_id", self.user(e.user)),
                ("kyc_status", e.status.word().into()),
                ("level", optional(e.level.as_deref())),
                ("provider", optional(e.provider.as_deref())),
                ("reference", optional(e.reference.as_deref())),
                ("reason", optional(e.reason.as_deref())),
            ],
            Event::AccountOpened(e) => vec![
                ("account_id", self.made(e.no, Thing::Account)),
                ("user_id", self.user(e.user)),
                ("currency", e.currency.code().into()),
            ],
            Event::PoolCreated(e) => vec![
                ("pool_id", self.made(e.no, Thing::Pool)),
                ("partner_id", self.partner(e.partner)),
                ("minimum_balance", money(e.minimum, e.currency)),
            ],
            Event::PoolChanged(e) => vec![
                ("pool_id", self.pool(e.pool)),
                ("status", e.status.word().into()),
                ("minimum_balance", self.book.pool(e.pool).map_or(Value::Null, |p| money(e.minimum, p.currency))),
            ],
            Event::CardCreated(e) => {
                let funding = CardFundingDoc::of_book(self.book, e.funding);
                vec![
                    ("card_id", self.made(e.no, Thing::Card)),
                    ("user_id", self.user(e.user)),
                    ("funding", json!(funding)),
                    ("last4", format!("{:04}", e.last4).into()),
                    ("expires", e.expires.text().into()),
                    ("pan", sealed(&e.pan)),
                ]
            }
            Event::CardChanged(e) => {
                vec![("card_id", self.card(e.card)), ("status", e.status.word().into())]
            }
            Event::TopUpCreated(e) => self.transfer(e, "top_up_id", Thing::TopUp, "pool_id", self.pool(e.party)),
            Event::Withdrawn(e) => self.transfer(e, "withdrawal_id", Thing::Withdrawal, "pool_id", self.pool(e.party)),
            Event::PaidIn(e) => self.transfer(e, "pay_in_id", Thing::PayIn, "account_id", self.account(e.party)),
            Event::PayoutCreated(e) => {
                self.transfer(e, "payout_id", Thing::Payout, "account_id", self.account(e.party))
            }
            Event::CryptoArrived(e) => {
                self.transfer(e, "crypto_deposit_id", Thing::CryptoDeposit, "user_id", self.user(e.party))
            }
            Event::TopUpSettled(e) | Event::TopUpFailed(e) => self.ended(e, "top_up_id"),
            Event::PayoutSettled(e) | Event::PayoutFailed(e) => self.ended(e, "payout_id"),
            Event::RateSet(e) => vec![
                ("from", e.from.code().into()),
                ("to", e.to.code().into()),
                ("rate", e.rate.text().into()),
                ("markup_bps", e.rate.markup_bps.into()),
            ],
            Event::QuoteMade(e) => vec![
                ("quote_id", self.made(e.no, Thing::Quote)),
                ("user_id", self.user(e.user)),
                ("from", money(e.from_amount, e.from)),
                ("to", money(e.to_amount, e.to)),
                ("fee", money(e.fee, e.to)),
                ("rate", e.rate.text().into()),
                ("markup_bps", e.rate.markup_bps.into()),
                ("expires_at", e.expires_at.rfc3339().into()),
            ],
            Event::OffRampExecuted(e) => vec![
                ("off_ramp_id", self.made(e.no, Thing::OffRamp)),
                ("quote_id", self.book.quote(e.quote).map(|q| q.id.text(Thing::Quote)).into()),
                ("account_id", self.account(e.account)),
                ("reference", optional(e.reference.as_deref())),
            ],
            Event::Idempotent(e) => vec![("http_status", e.status.into()), ("answer", sealed(&e.answer))],
            _ => self.switch(event),
        }
    }

    /// Events of the switch.
    fn switch(&self, event: &Event<'_>) -> List {
        match event {
            Event::TapTaken(e) => {
                let mut list = vec![("authorization_id", self.made(e.facts.no, Thing::Authorization))];
                list.extend(self.facts(&e.facts));
                let holds: Vec<Value> = [e.first, e.second].iter().flatten().map(|hold| self.hold(hold)).collect();
                list.extend([
                    ("partial_approval_supported", json!(e.partial_supported)),
                    ("reply", e.reply.map_or(Value::Null, |r| reply(&r, e.facts.currency))),
                    ("holds", holds.into()),
                    ("cleared", e.facts.currency.map_or(Value::Null, |c| money(e.cleared, c))),
                    ("request", self.request(&e.raw)),
                ]);
                list
            }
            Event::TapDecided(e) => {
                let currency = self.book.authorization(e.no).and_then(|a| a.facts.currency);
                vec![
                    ("authorization_id", self.authorization(e.no)),
                    ("previous", e.previous.into()),
                    ("reply", reply(&e.reply, currency)),
                    ("partner", e.said.as_ref().map_or(Value::Null, said)),
                    ("changes", self.changes(&e.changes)),
                ]
            }
            Event::AnsweredTooLate(e) => vec![
                ("authorization_id", self.authorization(e.no)),
                ("previous", e.previous.into()),
                ("partner", said(&e.said)),
            ],
            Event::Advised(e) => {
                let own = if e.target.is_none() { self.made(e.facts.no, Thing::Authorization) } else { Value::Null };
                let mut list = vec![
                    ("authorization_id", own),
                    ("target_id", e.target.map_or(Value::Null, |no| self.authorization(no))),
                    ("previous", if e.target.is_some() { e.previous.into() } else { Value::Null }),
                    ("advised_code", String::from_utf8_lossy(&e.advised_code).into()),
                    ("status", e.state.word().into()),
                ];
                list.extend(self.facts(&e.facts));
                list.extend([
                    ("reply", reply(&e.reply, e.facts.currency)),
                    ("holds", e.hold.iter().map(|hold| self.hold(hold)).collect::<Vec<_>>().into()),
                    ("cleared", e.facts.currency.map_or(Value::Null, |c| money(e.cleared, c))),
                    ("changes", self.changes(&e.changes)),
                    ("request", self.request(&e.raw)),
                ]);
                list
            }
            Event::Reversed(e) => vec![
                ("target_id", e.target.map_or(Value::Null, |no| self.authorization(no))),
                ("previous", if e.target.is_some() { e.previous.into() } else { Value::Null }),
                ("remembered", e.unmatched.is_some().into()),
                ("reply", reply(&e.reply, None)),
                ("changes", self.changes(&e.changes)),
                ("request", self.request(&e.raw)),
            ],
            Event::HoldExpired(e) => vec![
                ("authorization_id", self.authorization(e.no)),
                ("previous", e.previous.into()),
                ("changes", self.changes(&e.changes)),
            ],
            Event::ReplyLate(e) => vec![
                ("authorization_id", self.authorization(e.no)),
                ("previous", e.previous.into()),
                ("changes", self.changes(&e.changes)),
                ("request", e.raw.as_ref().map_or(Value::Null, |raw| self.request(raw))),
            ],
            Event::Recorded(e) => {
                vec![("mti", format!("{:04x}", e.mti).into()), ("request", self.request(&e.raw))]
            }
            _ => Vec::new(),
        }
    }

    fn facts(&self, facts: &Facts) -> List {
        let user = facts.card.and_then(|c| self.book.card(c)).map(|c| c.user);
        let partner = user.and_then(|u| self.book.user(u)).map(|u| u.partner);
        vec![
            ("class", facts.class.word().into()),
            ("kind", facts.kind.word().into()),
            ("amount", amount(facts)),
            ("merchant_amount", json!(MoneyDoc::of_numeric(facts.merchant_amount, facts.merchant_currency))),
            ("card_id", facts.card.map_or(Value::Null, |c| self.card(c))),
            ("user_id", user.map_or(Value::Null, |u| self.user(u))),
            ("partner_id", partner.map_or(Value::Null, |p| self.partner(p))),
            ("parent_id", facts.parent.map_or(Value::Null, |no| self.authorization(no))),
            ("network", trace(&facts.trace)),
            ("expires_at", facts.expires_at.rfc3339().into()),
        ]
    }

    fn hold(&self, hold: &Hold) -> Value {
        json!({
            "type": hold.source.word(),
            "id": self.source(hold.source),
            "amount": MoneyDoc::from(hold.amount),
            "rate": hold.rate.map(|rate| rate.text()),
            "markup_bps": hold.rate.map(|rate| rate.markup_bps),
        })
    }

    fn changes(&self, changes: &[Change]) -> Value {
        let one = |change: &Change| {
            let held = change.source.and_then(|source| self.book.source(source));
            let currency = self.book.authorization(change.no).and_then(|a| a.facts.currency);
            json!({
                "authorization_id": self.authorization(change.no),
                "source_id": change.source.map(|source| self.source(source)),
                "held": held.map(|(currency, _)| MoneyDoc::new(change.held, currency)),
                "cleared": currency.map(|currency| MoneyDoc::new(change.cleared, currency)),
                "status": change.state.word(),
            })
        };
        changes.iter().map(one).collect::<Vec<_>>().into()
    }

    fn transfer(
        &self,
        e: &Transfer<'_>,
        name: &'static str,
        thing: Thing,
        party: &'static str,
        party_id: Value,
    ) -> List {
        vec![
            (name, self.made(e.no, thing)),
            (party, party_id),
            ("amount", money(e.amount, e.currency)),
            ("reference", free(e.reference.as_ref())),
            ("beneficiary", optional(e.beneficiary.as_deref())),
        ]
    }

    fn ended(&self, e: &TransferEnded, name: &'static str) -> List {
        let transfer = self.book.transfer(e.no);
        let thing = |kind| if kind == TransferKind::TopUp { Thing::TopUp } else { Thing::Payout };
        vec![
            (name, transfer.map(|t| t.id.text(thing(t.kind))).into()),
            ("amount", transfer.map_or(Value::Null, |t| money(t.amount, t.currency))),
        ]
    }
}

fn money(minor: i64, currency: Currency) -> Value {
    json!(MoneyDoc::new(minor, currency))
}

/// The amount as the authorization shows it.
pub(super) fn amount(facts: &Facts) -> Value {
    match facts.currency {
        Some(currency) => money(facts.amount, currency),
        None if facts.billed => json!({ "value": facts.amount.to_string(), "currency": "XXX" }),
        None => json!(MoneyDoc::of_numeric(facts.amount, facts.merchant_currency)),
    }
}

/// Text that somebody wrote. Card numbers do not belong there, and are masked where they stand all the same.
fn free(text: &str) -> Value {
    without_numbers(text).into()
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, free)
}

/// Masks every run of digits that has the length and the check digit of a card number.
pub(super) fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        out.push_str(before);
        match Pan::from_ascii(run.as_bytes()).filter(|pan| run.len() >= 13 && pan.luhn_valid()) {
            Some(pan) => out.push_str(&pan.to_string()),
            None => out.push_str(run),
        }
        rest = after;
    }
    out + rest
}

fn sealed(bytes: &[u8]) -> Value {
    json!({ "sealed": bytes.len() })
}

fn terms(terms: &PartnerTerms<'_>) -> List {
    let services = Service::ALL.iter().filter(|s| terms.services & (1 << s.number()) != 0).map(|s| s.word());
    let code = |code: Option<[u8; 2]>| code.map(|code| String::from_utf8_lossy(&code).into_owned());
    vec![
        ("name", free(&terms.name)),
        ("status", terms.status.word().into()),
        ("decision_mode", terms.decision_mode.word().into()),
        ("decision_url", json!(terms.decision_url)),
        ("decision_timeout_ms", json!(terms.decision_timeout_ms)),
        ("services", services.collect::<Vec<_>>().into()),
        (
            "response_codes",
            json!({
                "partner_timeout": code(terms.timeout_code),
                "partner_unreachable": code(terms.unreachable_code),
                "partner_bad_response": code(terms.bad_response_code),
            }),
        ),
    ]
}

/// A reply's variable parts.
pub(super) fn reply(reply: &Reply, currency: Option<Currency>) -> Value {
    json!({
        "reason": reply.reason.public_word(),
        "response_code": String::from_utf8_lossy(&reply.response_code),
        "approval_code": (reply.approval_code != 0).then(|| format!("{:06}", reply.approval_code)),
        "approved": reply.partial.zip(currency).map(|(minor, currency)| MoneyDoc::new(minor, currency)),
        "balance": reply.balance.map(|money: Money| MoneyDoc::from(money)),
    })
}

/// What a partner said, without the answer's own bytes.
pub(super) fn said(said: &Said<'_>) -> Value {
    json!({
        "outcome": said.outcome.word(),
        "reason": optional(said.reason.as_deref()),
        "latency_us": said.latency_us,
        "late_by_us": said.late_by_us,
        "answer_bytes": said.body.len(),
        "metadata_dropped": said.metadata_dropped,
    })
}

fn trace(trace: &Trace) -> Value {
    let reference = if trace.reference == [0; 9] {
        None
    } else {
        Some(String::from_utf8_lossy(&trace.reference).trim().to_owned())
    };
    json!({
        "stan": format!("{:06}", trace.stan),
        "transmitted": format!("{:010}", trace.transmitted),
        "acquirer": (trace.acquirer != 0).then(|| trace.acquirer.to_string()),
        "forwarder": (trace.forwarder != 0).then(|| trace.forwarder.to_string()),
        "reference": reference,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_that_somebody_wrote_are_masked() {
        for (text, told) in [
            ("card 5555555555554444, thanks", "card 55555555****4444, thanks"),
            ("4111111111111111", "41111111****1111"),
            ("4111111111111112", "4111111111111112"),
            ("invoice 2026-0012345 of LT12 1000 0111 0100 1000", "invoice 2026-0012345 of LT12 1000 0111 0100 1000"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(text), told);
        }
    }
}
