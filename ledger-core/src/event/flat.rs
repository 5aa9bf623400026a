//! Version 2 of `tap_taken`, the event that every tap writes and every replay reads most: fields in a fixed order,
//! little-endian, what is absent left out and told by a bit. Version 1 was CBOR, and is still read: at five times the
//! instructions.
//!
//! It owns the layout and must never check what the values mean: that is the book's.

use std::borrow::Cow;

use super::posting::{Ledger, Posting, Postings};
use super::tap::{Facts, Hold, Raw, RepeatKey, Reply, Source, TapTaken, Trace};
use super::words::{Class, Kind, Reason};
use crate::money::{Currency, Money, Rate};
use crate::time::Timestamp;

/// What is there, one bit each.
mod there {
    pub(super) const CARD: u16 = 1;
    pub(super) const CURRENCY: u16 = 1 << 1;
    pub(super) const BILLED: u16 = 1 << 2;
    pub(super) const PARENT: u16 = 1 << 3;
    pub(super) const REPLY: u16 = 1 << 4;
    pub(super) const PARTIAL: u16 = 1 << 5;
    pub(super) const BALANCE: u16 = 1 << 6;
    pub(super) const FIRST: u16 = 1 << 7;
    pub(super) const FIRST_RATE: u16 = 1 << 8;
    pub(super) const SECOND: u16 = 1 << 9;
    pub(super) const SECOND_RATE: u16 = 1 << 10;
    pub(super) const CLEARED: u16 = 1 << 11;
    pub(super) const PARTIAL_SUPPORTED: u16 = 1 << 12;
    pub(super) const FORWARDER: u16 = 1 << 13;
    pub(super) const REFERENCE: u16 = 1 << 14;
    pub(super) const MERCHANT_AMOUNT: u16 = 1 << 15;
}

/// Room for everything but the message.
const MOST: usize = 512;

/// Appends the body.
pub(super) fn encode(e: &TapTaken<'_>, out: &mut Vec<u8>) {
    out.reserve(MOST + e.raw.sealed.len());
    let (facts, reply) = (&e.facts, e.reply.as_ref());
    let mut flags = 0;
    let mut flag = |bit, there: bool| flags |= if there { bit } else { 0 };
    flag(there::CARD, facts.card.is_some());
    flag(there::CURRENCY, facts.currency.is_some());
    flag(there::BILLED, facts.billed);
    flag(there::PARENT, facts.parent.is_some());
    flag(there::REPLY, reply.is_some());
    flag(there::PARTIAL, reply.is_some_and(|r| r.partial.is_some()));
    flag(there::BALANCE, reply.is_some_and(|r| r.balance.is_some()));
    flag(there::FIRST, e.first.is_some());
    flag(there::FIRST_RATE, e.first.is_some_and(|h| h.rate.is_some()));
    flag(there::SECOND, e.second.is_some());
    flag(there::SECOND_RATE, e.second.is_some_and(|h| h.rate.is_some()));
    flag(there::CLEARED, e.cleared != 0);
    flag(there::PARTIAL_SUPPORTED, e.partial_supported);
    flag(there::FORWARDER, facts.trace.forwarder != 0);
    flag(there::REFERENCE, facts.trace.reference != [0; 9]);
    flag(there::MERCHANT_AMOUNT, facts.merchant_amount != facts.amount);
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&[facts.class.number(), facts.kind.number(), e.raw.link]);
    out.extend_from_slice(&facts.no.to_le_bytes());
    if let Some(card) = facts.card {
        out.extend_from_slice(&card.to_le_bytes());
    }
    out.extend_from_slice(&facts.amount.to_le_bytes());
    if let Some(currency) = facts.currency {
        out.extend_from_slice(&currency.number().to_le_bytes());
    }
    if facts.merchant_amount != facts.amount {
        out.extend_from_slice(&facts.merchant_amount.to_le_bytes());
    }
    out.extend_from_slice(&facts.merchant_currency.to_le_bytes());
    let trace = &facts.trace;
    out.extend_from_slice(&trace.stan.to_le_bytes());
    out.extend_from_slice(&trace.transmitted.to_le_bytes());
    out.extend_from_slice(&trace.acquirer.to_le_bytes());
    if trace.forwarder != 0 {
        out.extend_from_slice(&trace.forwarder.to_le_bytes());
    }
    if trace.reference != [0; 9] {
        out.extend_from_slice(&trace.reference);
    }
    out.extend_from_slice(&trace.settlement.to_le_bytes());
    if let Some(parent) = facts.parent {
        out.extend_from_slice(&parent.to_le_bytes());
    }
    out.extend_from_slice(&facts.expires_at.0.to_le_bytes());
    out.extend_from_slice(&e.repeat.key);
    out.extend_from_slice(&e.repeat.content.to_le_bytes());
    if let Some(reply) = reply {
        out.push(reply.reason.number());
        out.extend_from_slice(&reply.response_code);
        out.extend_from_slice(&reply.approval_code.to_le_bytes());
        if let Some(partial) = reply.partial {
            out.extend_from_slice(&partial.to_le_bytes());
        }
        if let Some(balance) = reply.balance {
            put_money(balance, out);
        }
    }
    for hold in e.first.iter().chain(&e.second) {
        let (tag, index) = match hold.source {
            Source::Pool(index) => (0, index),
            Source::Account(index) => (1, index),
        };
        out.push(tag);
        out.extend_from_slice(&index.to_le_bytes());
        put_money(hold.amount, out);
        if let Some(rate) = hold.rate {
            out.extend_from_slice(&rate.mantissa.to_le_bytes());
            out.push(rate.scale);
            out.extend_from_slice(&rate.markup_bps.to_le_bytes());
        }
    }
    if e.cleared != 0 {
        out.extend_from_slice(&e.cleared.to_le_bytes());
    }
    let lines = e.postings.lines();
    // A tap has a dozen lines at most: two sources, each through an account and the FX position.
    out.push(u8::try_from(lines.len()).unwrap_or(u8::MAX));
    for line in lines {
        out.extend_from_slice(&line.ledger.code().to_le_bytes());
        out.extend_from_slice(&line.currency.number().to_le_bytes());
        out.extend_from_slice(&line.debit.to_le_bytes());
    }
    out.extend_from_slice(&e.raw.sealed);
}

fn put_money(money: Money, out: &mut Vec<u8>) {
    out.extend_from_slice(&money.minor.to_le_bytes());
    out.extend_from_slice(&money.currency.number().to_le_bytes());
}

/// Reads what [`encode`] wrote. The error names what is wrong.
pub(super) fn decode(body: &[u8]) -> Result<TapTaken<'_>, &'static str> {
    let mut from = Reader(body);
    let flags = from.u16()?;
    let has = |bit| flags & bit != 0;
    let [class, kind, link] = from.take()?;
    let class = word(Class::ALL, Class::number, class).ok_or("an unknown message class")?;
    let kind = word(Kind::ALL, Kind::number, kind).ok_or("an unknown kind of tap")?;
    let no = from.u64()?;
    let card = from.when(has(there::CARD), Reader::u32)?;
    let amount = from.i64()?;
    let currency = from.when(has(there::CURRENCY), Reader::currency)?;
    let merchant_amount = from.when(has(there::MERCHANT_AMOUNT), Reader::i64)?.unwrap_or(amount);
    let merchant_currency = from.u16()?;
    let (stan, transmitted, acquirer) = (from.u32()?, from.u32()?, from.u64()?);
    let forwarder = from.when(has(there::FORWARDER), Reader::u64)?.unwrap_or(0);
    let reference = from.when(has(there::REFERENCE), Reader::take)?.unwrap_or([0; 9]);
    let settlement = from.u16()?;
    let parent = from.when(has(there::PARENT), Reader::u64)?;
    let expires_at = Timestamp(from.i64()?);
    let repeat = RepeatKey { key: from.take()?, content: from.u32()? };
    let reply = from.when(has(there::REPLY), |from| {
        let [reason] = from.take()?;
        Ok(Reply {
            reason: word(Reason::ALL, Reason::number, reason).ok_or("an unknown reason")?,
            response_code: from.take()?,
            approval_code: from.u32()?,
            partial: from.when(has(there::PARTIAL), Reader::i64)?,
            balance: from.when(has(there::BALANCE), Reader::money)?,
        })
    })?;
    let first = from.when(has(there::FIRST), |from| from.hold(has(there::FIRST_RATE)))?;
    let second = from.when(has(there::SECOND), |from| from.hold(has(there::SECOND_RATE)))?;
    let cleared = from.when(has(there::CLEARED), Reader::i64)?.unwrap_or(0);
    let [lines] = from.take()?;
    let mut postings = Postings::none();
    for _ in 0..lines {
        let ledger = Ledger::from_code(from.u64()?).ok_or("an unknown ledger account")?;
        postings.0.push(Posting { ledger, currency: from.currency()?, debit: from.i64()? });
    }
    let trace = Trace { stan, transmitted, acquirer, forwarder, reference, settlement };
    let billed = has(there::BILLED);
    Ok(TapTaken {
        facts: Facts {
            no,
            class,
            kind,
            card,
            amount,
            currency,
            merchant_amount,
            merchant_currency,
            billed,
            trace,
            parent,
            expires_at,
        },
        repeat,
        raw: Raw { link, sealed: Cow::Borrowed(from.0) },
        reply,
        first,
        second,
        cleared,
        postings,
        partial_supported: has(there::PARTIAL_SUPPORTED),
    })
}

fn word<T: Copy>(all: &[T], number: impl Fn(T) -> u8, wanted: u8) -> Option<T> {
    // Numbers are given in order, so the place is nearly always the number.
    let near = all.get(usize::from(wanted)).copied().filter(|word| number(*word) == wanted);
    near.or_else(|| all.iter().copied().find(|word| number(*word) == wanted))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too soon")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn when<T>(
        &mut self,
        there: bool,
        read: impl FnOnce(&mut Self) -> Result<T, &'static str>,
    ) -> Result<Option<T>, &'static str> {
        if there { read(self).map(Some) } else { Ok(None) }
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, &'static str> {
        self.take().map(i64::from_le_bytes)
    }

    fn currency(&mut self) -> Result<Currency, &'static str> {
        Currency::from_number(self.u16()?).ok_or("an unknown currency")
    }

    fn money(&mut self) -> Result<Money, &'static str> {
        Ok(Money::new(self.i64()?, self.currency()?))
    }

    fn hold(&mut self, rated: bool) -> Result<Hold, &'static str> {
        let [tag] = self.take()?;
        let index = self.u32()?;
        let source = match tag {
            0 => Source::Pool(index),
            1 => Source::Account(index),
            _ => return Err("an unknown source of money"),
        };
        let amount = self.money()?;
        let rate = self.when(rated, |from| {
            let mantissa = from.i64()?;
            let [scale] = from.take()?;
            Ok(Rate { mantissa, scale, markup_bps: from.u16()? })
        })?;
        Ok(Hold { source, amount, rate })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;
    use minicbor::Encode as _;

    fn tap(flags: u16) -> TapTaken<'static> {
        let has = |bit| flags & bit != 0;
        let mut postings = Postings::none();
        postings.transfer(Ledger::PoolAvailable(7), Ledger::PoolHeld(u32::MAX), Currency::EUR, 1250);
        let hold = |source, rated: bool| Hold {
            source,
            amount: Money::new(i64::MAX, if rated { Currency::USDC } else { Currency::USD }),
            rate: rated.then_some(Rate { mantissa: 932_835, scale: 6, markup_bps: 150 }),
        };
        TapTaken {
            facts: Facts {
                no: (1 << 48) - 1,
                class: Class::Financial,
                kind: Kind::Preauthorization,
                card: has(there::CARD).then_some(u32::MAX - 1),
                amount: 1250,
                currency: has(there::CURRENCY).then_some(Currency::EUR),
                merchant_amount: if has(there::MERCHANT_AMOUNT) { 999_999_999_999 } else { 1250 },
                merchant_currency: 840,
                billed: has(there::BILLED),
                trace: Trace {
                    stan: 999_999,
                    transmitted: 1_231_235_959,
                    acquirer: 99_999_999_999,
                    forwarder: u64::from(has(there::FORWARDER)) * 7,
                    reference: if has(there::REFERENCE) { *b"MBK000001" } else { [0; 9] },
                    settlement: 1231,
                },
                parent: has(there::PARENT).then_some(12),
                expires_at: Timestamp(-1),
            },
            repeat: RepeatKey { key: [9; 16], content: u32::MAX },
            raw: Raw { link: 3, sealed: Cow::Borrowed(&[1, 2, 3]) },
            reply: has(there::REPLY).then_some(Reply {
                reason: Reason::Approved,
                response_code: *b"00",
                approval_code: 999_999,
                partial: has(there::PARTIAL).then_some(5),
                balance: has(there::BALANCE).then_some(Money::new(-5, Currency::EUR)),
            }),
            first: has(there::FIRST).then(|| hold(Source::Pool(1), has(there::FIRST_RATE))),
            second: has(there::SECOND).then(|| hold(Source::Account(2), has(there::SECOND_RATE))),
            cleared: i64::from(has(there::CLEARED)) * 3,
            postings,
            partial_supported: has(there::PARTIAL_SUPPORTED),
        }
    }

    #[test]
    fn every_combination_of_what_is_there_comes_back_and_no_prefix_of_it_does() {
        for flags in 0..=u16::MAX {
            let event = Event::TapTaken(tap(flags));
            let mut bytes = Vec::new();
            event.encode(&mut bytes);
            assert_eq!(bytes[..2], [60, 2]);
            assert_eq!(Event::decode(&bytes).expect("what was written reads"), event, "{flags:#06x}");
            if flags % 251 == 0 {
                // The message is all that is left, so that cutting into it only shortens it.
                for end in 2..bytes.len() - 3 {
                    assert!(Event::decode(&bytes[..end]).is_err(), "{flags:#06x} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn version_1_is_still_read() {
        for flags in [0, u16::MAX, 0x1091] {
            let event = tap(flags);
            let mut bytes = vec![60, 1];
            let mut encoder = minicbor::Encoder::new(&mut bytes);
            event.encode(&mut encoder, &mut ()).expect("a vector takes all");
            assert_eq!(Event::decode(&bytes).expect("version 1 reads"), Event::TapTaken(event));
        }
    }

    #[test]
    fn unknown_words_are_refused() {
        let mut bytes = Vec::new();
        Event::TapTaken(tap(0)).encode(&mut bytes);
        for (at, what) in [(4, "class"), (5, "kind")] {
            let mut bent = bytes.clone();
            bent[at] = 0xEE;
            let error = Event::decode(&bent).expect_err("an unknown word").to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
