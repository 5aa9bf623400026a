//! 0100 and 0200: rules 1 to 14 of contracts 2.7 from the top, what a partner's answer does, and what becomes of a
//! hold by itself.

use super::super::plan::{Message, Trace};
use super::super::words::{Currency, Place, Purse};
use super::desk::{Answer, Asked, Desk, Recipient, Told, Verdict};
use super::people::Funding;
use super::{Authorization, Content, DAY, Hold, Key, Model, Moment, Repeat, State, part_up};

/// The network's share of a budget.
const NETWORK_US: i64 = 200_000;
/// With less than this left nothing is begun.
const LEAST_US: i64 = 50_000;
/// From frame in to reply out, on every link of the simulation.
pub(super) const BUDGET_US: i64 = 2_000_000;

/// Words of the reasons, in the order of contracts 2.7, to DE39.
fn code_of(reason: &str) -> &'static str {
    match reason {
        "already_reversed" => "05",
        "unknown_card" => "14",
        "card_frozen" | "card_closed" => "62",
        "card_inactive" => "78",
        "card_lost" => "41",
        "card_stolen" => "43",
        "expired_card" => "54",
        "partner_suspended" | "user_suspended" | "kyc_not_approved" | "service_not_enabled" => "57",
        "unsupported_type" => "12",
        "inquiry_not_permitted" | "unsupported_currency" => "57",
        "invalid_amount" => "13",
        "rate_missing" | "fx_limit" => "96",
        "insufficient_funds" | "pool_insufficient" | "pool_suspended" => "51",
        "interrupted" | "answered_late" | "partner_timeout" | "partner_unreachable" => "91",
        "partner_bad_response" => "96",
        "partner_declined" => "05",
        _ => "00",
    }
}

/// What a tap asks for.
pub(super) fn kind_of(message: &Message) -> &'static str {
    if message.status == '8' {
        return "account_status";
    }
    match message.code / 10_000 {
        0 if message.status == '4' => "preauthorization",
        0 => "purchase",
        1 | 17 => "cash",
        9 => "cash_back",
        20 => "refund",
        30 => "balance_inquiry",
        _ => "unsupported",
    }
}

/// What makes a message the same again.
pub(crate) fn key_of(message: &Message) -> Key {
    let t = &message.trace;
    (message.mti, message.card, t.at, t.stan, t.acquirer, t.forwarder, t.reference.clone())
}

pub(super) fn content_of(message: &Message) -> Content {
    (message.code, message.amount, message.currency.0)
}

/// The amount that counts and its currency; a billed one demands that DE49 be known as well.
pub(super) fn amount_of(message: &Message) -> (i64, Option<Currency>) {
    let known = |currency: Currency| currency.is_known().then_some(currency);
    match message.billing {
        Some((amount, currency)) => (amount, known(message.currency).and_then(|_| known(currency))),
        None => (message.amount, known(message.currency)),
    }
}

/// Two references name the same when their first nine characters do; a day counts when both have it.
pub(super) fn same_reference(named: &(String, u16), trace: &Trace) -> bool {
    let nine = |text: &str| format!("{text:<9}").chars().take(9).collect::<String>();
    let Some(reference) = &trace.reference else { return false };
    let day = trace.day.unwrap_or(0);
    nine(&named.0) == nine(reference) && (named.1 == 0 || day == 0 || named.1 == day)
}

impl Model {
    /// The card with that number.
    pub(super) fn card_of(&self, number: usize) -> Option<u32> {
        self.cards.iter().position(|card| card.number == number).and_then(|at| u32::try_from(at).ok())
    }

    /// Rule 2. The recipient comes back when the message is new.
    pub(super) fn repeated(
        &mut self,
        desk: &mut Desk,
        message: &Message,
        recipient: Recipient,
    ) -> Result<Recipient, Told> {
        let key = key_of(message);
        let Some(known) = self.repeats.get(&key) else { return Ok(recipient) };
        if known.content != content_of(message) {
            return Err(Told::at_once("94", None));
        }
        desk.enters(recipient.link);
        if known.pending
            && let Some(asked) = desk.pending.get_mut(&known.no)
        {
            asked.recipients.push(recipient);
            return Err(Told::nothing());
        }
        let (answer, same) = if known.answered_late {
            (Answer::code("91"), false)
        } else if known.reversed {
            (Answer::code("05"), false)
        } else {
            // What was still asked when the engine ended is decided before anybody can ask again.
            (known.answer.clone().unwrap_or_else(|| Answer::code("91")), true)
        };
        desk.rebuilds.push(super::Rebuild { recipient, answer, same, key });
        Err(Told::nothing())
    }

    pub(super) fn remember(&mut self, key: &Key, repeat: Repeat, until: i64, request: bool) {
        self.repeats.insert(key.clone(), repeat);
        if request { &mut self.requests } else { &mut self.advices }.push_back((until, key.clone()));
    }

    /// Rules 2 to 14.
    pub(super) fn tap(&mut self, desk: &mut Desk, message: &Message, recipient: Recipient, now: Moment) -> Told {
        let recipient = match self.repeated(desk, message, recipient) {
            Ok(recipient) => recipient,
            Err(told) => return told,
        };
        // 3 and 4. The second link demands a sign-on.
        if recipient.link == 1 && !self.links.get(1).copied().unwrap_or(false) {
            return Told::at_once("91", None);
        }
        let left = recipient.deadline - now.mono;
        let full = desk.in_flight[recipient.link] >= desk.most_in_flight[recipient.link]
            || self.repeats.len() >= self.dedup_max;
        if desk.draining || full || desk.refuses(left, BUDGET_US, now.mono) {
            return Told::at_once("91", None);
        }
        let mut tap = self.new_tap(message, now.wall);
        match self.ladder(message, &mut tap) {
            Ok(Some(balance)) => self.decided(desk, message, tap, "approved", balance, recipient, now),
            Ok(None) => self.ask(desk, message, tap, recipient, now),
            Err((reason, balance)) => {
                tap.holds.clear();
                tap.cleared = 0;
                self.decided(desk, message, tap, reason, balance, recipient, now)
            }
        }
    }

    fn new_tap(&self, message: &Message, wall: i64) -> Authorization {
        let card = self.card_of(message.card);
        let parent = self.first_of_chain(card, message);
        let kind = match kind_of(message) {
            "purchase" | "preauthorization" if parent.is_some() => "incremental",
            kind => kind,
        };
        let first = parent.and_then(|no| self.authorizations.get(&no));
        let long = kind == "preauthorization"
            || (kind == "incremental" && first.is_some_and(|first| first.kind == "preauthorization"));
        let (amount, currency) = amount_of(message);
        Authorization {
            mti: message.mti,
            kind,
            card,
            amount,
            currency,
            merchant_amount: message.amount,
            billed: message.billing.is_some(),
            trace: message.trace.clone(),
            parent: parent.filter(|_| kind == "incremental"),
            expires_at: wall + if long { self.preauthorization_us } else { self.hold_us },
            state: State::Pending,
            holds: Vec::new(),
            cleared: 0,
            partial_ok: message.partial_ok,
            children: Vec::new(),
            restated: None,
            aliases: Vec::new(),
            reason: None,
            partial: None,
            approval: 0,
            key: key_of(message),
        }
    }

    /// The open authorization that SE63 names, or the first of the chain that it belongs to.
    fn first_of_chain(&self, card: Option<u32>, message: &Message) -> Option<u64> {
        let goes_on = |a: &Authorization| a.is_open() && a.state != State::Pending && a.holds_money();
        let named = self.by_reference(card?, message.original.as_ref()?, goes_on)?;
        let first = self.authorizations.get(&named).filter(|a| a.kind == "incremental").and_then(|a| a.parent);
        Some(first.filter(|no| self.authorizations.get(no).is_some_and(goes_on)).unwrap_or(named))
    }

    /// Of those that fit the newest open one, else the newest.
    pub(super) fn newest(&self, fits: impl Fn(&Authorization) -> bool) -> Option<u64> {
        let reachable = |a: &Authorization| a.is_open() || (a.state == State::Cleared && a.cleared_itself());
        let found = self.authorizations.iter().filter(|(_, a)| fits(a));
        found.max_by_key(|(no, a)| (reachable(a), **no)).map(|(no, _)| *no)
    }

    pub(super) fn by_reference(
        &self,
        card: u32,
        named: &(String, u16),
        fits: impl Fn(&Authorization) -> bool,
    ) -> Option<u64> {
        self.newest(|a| {
            a.card == Some(card) && a.named().iter().any(|(_, trace)| same_reference(named, trace)) && fits(a)
        })
    }

    /// Rules 5 to 14: approved with what DE54 shows, or the partner is to be asked, or why not.
    #[allow(clippy::type_complexity)] // three ends of one ladder
    fn ladder(
        &self,
        message: &Message,
        tap: &mut Authorization,
    ) -> Result<Option<Option<(i64, Currency)>>, (&'static str, Option<(i64, Currency)>)> {
        let no = |reason| Err((reason, None));
        if self.was_reversed_before(message) {
            return no("already_reversed");
        }
        let Some(card) = tap.card.and_then(|at| self.cards.get(at as usize)) else { return no("unknown_card") };
        let Some(user) = self.users.get(card.user as usize) else { return no("unknown_card") };
        let Some(partner) = self.partners.get(user.partner as usize) else { return no("unknown_card") };
        match card.status {
            "frozen" => return no("card_frozen"),
            "inactive" => return no("card_inactive"),
            "lost" => return no("card_lost"),
            "stolen" => return no("card_stolen"),
            "closed" => return no("card_closed"),
            _ => {}
        }
        // The cards of the simulation are good for longer than it runs.
        if message.expiry.is_some_and(|expiry| expiry != card.expires) {
            return no("expired_card");
        }
        if !partner.active {
            return no("partner_suspended");
        }
        if !user.active {
            return no("user_suspended");
        }
        if user.kyc != "approved" {
            return no("kyc_not_approved");
        }
        if partner.services & (1 << 3) == 0 {
            return no("service_not_enabled");
        }
        let asked = kind_of(message);
        let inquiry = matches!(asked, "balance_inquiry" | "account_status");
        if asked == "unsupported" {
            return no("unsupported_type");
        }
        if asked == "balance_inquiry" && !matches!(card.funding, Funding::Account(_)) {
            return no("inquiry_not_permitted");
        }
        if (tap.amount == 0 && !inquiry) || (tap.amount != 0 && asked == "account_status") {
            return no("invalid_amount");
        }
        let Some(currency) = tap.currency else { return no("unsupported_currency") };
        let shown = |purse| Some((self.available(purse), self.currency_of(purse)?));
        match (asked, card.funding) {
            ("account_status", _) => return Ok(Some(None)),
            ("balance_inquiry", Funding::Account(account)) => return Ok(Some(shown(Purse::Account(account)))),
            ("refund", funding) => {
                if tap.mti == 0x0100 {
                    return Ok(Some(None));
                }
                let purse = self.refund_goes_to(tap.card, message.original.as_ref(), funding);
                let Some(own) = self.currency_of(purse) else { return no("rate_missing") };
                let Some((credit, rate)) = self.convert(tap.amount, currency, own, false) else {
                    return no("rate_missing");
                };
                if own != currency && !(self.fx_allows(own, -credit) && self.fx_allows(currency, tap.amount)) {
                    return no("fx_limit");
                }
                tap.holds.push(Hold { purse, currency: own, first: credit, now: 0, rate });
                tap.cleared = tap.amount;
                return Ok(Some(None));
            }
            _ => {}
        }
        let candidate = |purse| self.could_hold(purse, tap.amount, currency);
        let enough = |hold: &Hold| self.available(hold.purse) >= hold.first;
        let pool_active = |pool: u32| self.pools.get(pool as usize).is_some_and(|p| p.active);
        match card.funding {
            Funding::Account(account) => {
                let hold = candidate(Purse::Account(account)).map_err(|reason| (reason, None))?;
                if !enough(&hold) {
                    return Err(("insufficient_funds", shown(Purse::Account(account))));
                }
                tap.holds.push(hold);
                self.clear_at_once(tap);
                return Ok(Some(None));
            }
            Funding::Pool(pool) => {
                let hold = candidate(Purse::Pool(pool)).map_err(|reason| (reason, None))?;
                if !pool_active(pool) {
                    return no("pool_suspended");
                }
                if !enough(&hold) {
                    return no("pool_insufficient");
                }
                tap.holds.push(hold);
            }
            Funding::Choice(pool, account) => {
                let from_pool = candidate(Purse::Pool(pool));
                let from_account = candidate(Purse::Account(account));
                if let (Err(reason), Err(_)) = (&from_pool, &from_account) {
                    return no(reason);
                }
                tap.holds.extend(from_pool.ok().filter(|hold| enough(hold) && pool_active(pool)));
                tap.holds.extend(from_account.ok().filter(enough));
                if tap.holds.is_empty() {
                    return no("insufficient_funds");
                }
            }
        }
        match partner.mode {
            "auto_decline" => no("partner_declined"),
            "auto_approve" => {
                tap.holds.truncate(1);
                self.clear_at_once(tap);
                Ok(Some(None))
            }
            _ => Ok(None),
        }
    }

    /// An approved 0200 holds nothing any more.
    fn clear_at_once(&self, tap: &mut Authorization) {
        if tap.mti == 0x0200 {
            tap.holds.iter_mut().for_each(|hold| hold.now = 0);
            tap.cleared = tap.amount;
        }
    }

    fn could_hold(&self, purse: Purse, amount: i64, currency: Currency) -> Result<Hold, &'static str> {
        let own = self.currency_of(purse).ok_or("rate_missing")?;
        let (first, rate) = self.convert(amount, currency, own, true).ok_or("rate_missing")?;
        if own != currency && !(self.fx_allows(own, first) && self.fx_allows(currency, -amount)) {
            return Err("fx_limit");
        }
        Ok(Hold { purse, currency: own, first, now: first, rate })
    }

    /// Back to where the purchase that SE63 names was paid from, else to where the card's money comes from first.
    pub(super) fn refund_goes_to(&self, card: Option<u32>, named: Option<&(String, u16)>, funding: Funding) -> Purse {
        let stands = |a: &Authorization| {
            a.holds_money() && matches!(a.state, State::Approved | State::PartiallyReversed | State::Cleared)
        };
        let paid = card.zip(named).and_then(|(card, named)| self.by_reference(card, named, stands));
        let from = paid.and_then(|no| self.authorizations.get(&no)).and_then(|a| match a.holds.as_slice() {
            [one] => Some(one.purse),
            [first, second] if first.now > 0 && second.now == 0 => Some(first.purse),
            [first, second] if second.now > 0 && first.now == 0 => Some(second.purse),
            _ => None,
        });
        from.unwrap_or(match funding {
            Funding::Account(account) => Purse::Account(account),
            Funding::Pool(pool) | Funding::Choice(pool, _) => Purse::Pool(pool),
        })
    }

    #[allow(clippy::too_many_arguments)] // what one tap is made of
    fn decided(
        &mut self,
        desk: &mut Desk,
        message: &Message,
        mut tap: Authorization,
        reason: &'static str,
        balance: Option<(i64, Currency)>,
        recipient: Recipient,
        now: Moment,
    ) -> Told {
        let approved = reason == "approved";
        let own = tap.card.and_then(|card| self.own_code(card, reason));
        let code = match own {
            Some(code) => code,
            None if approved && tap.kind == "account_status" => "85",
            None => code_of(reason),
        };
        tap.reason = Some(reason);
        tap.state = match (approved, tap.cleared > 0) {
            (false, _) => State::Declined,
            (true, true) => State::Cleared,
            (true, false) => State::Approved,
        };
        let no = self.next_no;
        tap.approval = if approved { 1 } else { 0 };
        let answer = Answer { approval: tap.approval, balance, ..Answer::code(code) };
        self.take_tap(message, tap, Some(answer.clone()), now);
        desk.park(recipient, answer, Some(no), Some(key_of(message)));
        Told::events(1)
    }

    /// Writes a tap down: what it holds leaves what is available, what it clears is owed to the network.
    fn take_tap(&mut self, message: &Message, tap: Authorization, answer: Option<Answer>, now: Moment) -> u64 {
        let no = self.take_no();
        for hold in &tap.holds {
            match (tap.kind, tap.cleared > 0) {
                ("refund", _) => {
                    self.add(Place::Available(hold.purse), hold.currency, hold.first);
                    let billed = (-tap.amount, tap.currency.unwrap_or(hold.currency));
                    self.owe_scheme((-hold.first, hold.currency), billed);
                }
                (_, cleared) => {
                    self.add(Place::Available(hold.purse), hold.currency, -hold.first);
                    if cleared {
                        let billed = (tap.amount, tap.currency.unwrap_or(hold.currency));
                        self.owe_scheme((hold.first, hold.currency), billed);
                    }
                }
            }
        }
        let repeat = Repeat {
            no,
            content: content_of(message),
            pending: answer.is_none(),
            reversed: false,
            answered_late: false,
            answer,
        };
        self.remember(&key_of(message), repeat, now.wall + self.dedup_window_us, true);
        self.add_authorization(no, tap, now.wall);
        self.event(now.wall);
        no
    }

    /// A partner's own DE39 for what kept it from deciding.
    fn own_code(&self, card: u32, reason: &str) -> Option<&'static str> {
        let user = self.users.get(self.cards.get(card as usize)?.user as usize)?;
        let codes = self.partners.get(user.partner as usize)?.codes?;
        match reason {
            "partner_timeout" => Some(codes[0]),
            "partner_unreachable" => Some(codes[1]),
            "partner_bad_response" => Some(codes[2]),
            _ => None,
        }
    }

    fn ask(
        &mut self,
        desk: &mut Desk,
        message: &Message,
        tap: Authorization,
        recipient: Recipient,
        now: Moment,
    ) -> Told {
        let user = tap.card.and_then(|card| self.cards.get(card as usize)).map_or(0, |card| card.user);
        let partner = self.users.get(user as usize).map_or(0, |user| user.partner);
        let terms = self.partners.get(partner as usize).cloned();
        let timeout = terms.as_ref().and_then(|p| p.timeout_us).unwrap_or(self.default_timeout_us);
        let left = recipient.deadline - NETWORK_US - now.mono;
        if left < LEAST_US || desk.pending.len() >= desk.max_asks {
            return Told::at_once("91", None);
        }
        if !(terms.is_some_and(|p| p.url) && desk.admits(partner, now.mono)) {
            let tap = Authorization { holds: Vec::new(), ..tap };
            return self.decided(desk, message, tap, "partner_unreachable", None, recipient, now);
        }
        let no = self.take_tap(message, tap, None, now);
        desk.enters(recipient.link);
        let deadline = now.mono + timeout.min(left);
        desk.pending.insert(no, Asked { recipients: vec![recipient], partner, since: now.mono, deadline });
        Told { asks: Some((partner, no)), ..Told::events(1) }
    }

    /// An answer came, to whom it may concern. How many events.
    pub(crate) fn answered(&mut self, desk: &mut Desk, partner: u32, no: u64, verdict: &Verdict, now: Moment) -> u64 {
        match verdict {
            Verdict::Approve(..) | Verdict::Decline(_) | Verdict::Bad => desk.reached(partner),
            Verdict::Unreachable => desk.missed(partner, now.mono),
            Verdict::Timeout => {}
        }
        if desk.pending.contains_key(&no) {
            self.conclude(desk, no, verdict, now);
            return 1;
        }
        let late = desk.overdue.remove(&no) && *verdict != Verdict::Timeout && self.authorizations.contains_key(&no);
        if late {
            self.event(now.wall);
        }
        u64::from(late)
    }

    /// Asks whose time is over: each is one event.
    pub(crate) fn next_deadline(&self, desk: &Desk, now: Moment) -> Option<u64> {
        let due = desk.pending.iter().filter(|(_, asked)| asked.deadline <= now.mono);
        due.min_by_key(|(no, asked)| (asked.deadline, **no)).map(|(no, _)| *no)
    }

    /// Its partner did not answer in time.
    pub(crate) fn timed_out(&mut self, desk: &mut Desk, no: u64, now: Moment) {
        desk.overdue.insert(no);
        self.conclude(desk, no, &Verdict::Timeout, now);
    }

    fn conclude(&mut self, desk: &mut Desk, no: u64, verdict: &Verdict, now: Moment) {
        let Some(asked) = desk.pending.remove(&no) else { return };
        let answer = self.decide_pending(no, verdict, now);
        let key = self.authorizations.get(&no).map(|a| a.key.clone());
        desk.parked.push(super::Parked { recipients: asked.recipients, answer, tap: Some(no), key });
    }

    /// Decides a pending tap and writes it down.
    fn decide_pending(&mut self, no: u64, verdict: &Verdict, now: Moment) -> Answer {
        let said = match verdict {
            Verdict::Approve(amount, source) => self.approve(no, amount.as_deref(), source.as_deref()),
            Verdict::Decline(_) => Err("partner_declined"),
            Verdict::Timeout => Err("partner_timeout"),
            Verdict::Unreachable => Err("partner_unreachable"),
            Verdict::Bad => Err("partner_bad_response"),
        };
        let answer = match said {
            Ok((purse, approved)) => self.pay(no, purse, approved, now),
            Err(reason) => {
                self.let_go(no);
                let card = self.authorizations.get(&no).and_then(|a| a.card);
                let own = card.and_then(|card| self.own_code(card, reason));
                let code = match verdict {
                    Verdict::Decline(why) => match why.as_deref() {
                        Some("insufficient_funds") => "51",
                        Some("card_restricted") => "62",
                        Some("limit_exceeded") => "61",
                        Some("not_permitted") => "57",
                        _ => "05",
                    },
                    _ => own.unwrap_or_else(|| code_of(reason)),
                };
                self.goes_to(no, State::Declined, now.wall);
                if let Some(a) = self.authorizations.get_mut(&no) {
                    a.reason = Some(reason);
                }
                Answer::code(code)
            }
        };
        self.settle_repeat(no, &answer);
        self.event(now.wall);
        answer
    }

    /// The repeats of a tap get this from here on.
    pub(super) fn settle_repeat(&mut self, no: u64, answer: &Answer) {
        let key = self.authorizations.get(&no).map(|a| a.key.clone());
        if let Some(repeat) = key.and_then(|key| self.repeats.get_mut(&key)) {
            repeat.pending = false;
            repeat.answer = Some(answer.clone());
        }
    }

    /// Which purse pays how much, or why the answer is none.
    fn approve(&self, no: u64, amount: Option<&str>, source: Option<&str>) -> Result<(Purse, i64), &'static str> {
        const BAD: &str = "partner_bad_response";
        let a = self.authorizations.get(&no).ok_or(BAD)?;
        let currency = a.currency.ok_or(BAD)?;
        let approved = match amount {
            Some(text) => currency.minor(text).ok_or(BAD)?,
            None => a.amount,
        };
        if approved <= 0 || approved > a.amount || (approved < a.amount && !a.partial_ok) {
            return Err(BAD);
        }
        let paying = match source {
            Some(word) => a.holds.iter().find(|hold| hold.purse.word() == word),
            None => a.holds.first(),
        };
        Ok((paying.ok_or(BAD)?.purse, approved))
    }

    fn pay(&mut self, no: u64, purse: Purse, approved: i64, now: Moment) -> Answer {
        let Some(a) = self.authorizations.get(&no).cloned() else { return Answer::code("00") };
        for hold in a.holds.iter().filter(|hold| hold.purse != purse) {
            self.shrink(no, hold.purse, 0);
        }
        let Some(hold) = a.holds.iter().find(|hold| hold.purse == purse) else { return Answer::code("00") };
        let funded = part_up(hold.first, approved, a.amount);
        self.shrink(no, purse, funded);
        let financial = a.mti == 0x0200;
        if financial {
            self.owe_scheme((funded, hold.currency), (approved, a.currency.unwrap_or(hold.currency)));
        }
        let partial = (approved < a.amount).then_some(approved);
        if let Some(a) = self.authorizations.get_mut(&no) {
            a.holds.retain(|hold| hold.purse == purse);
            if financial {
                a.holds.iter_mut().for_each(|hold| hold.now = 0);
                a.cleared = approved;
            }
            a.reason = Some("approved");
            a.partial = partial;
            a.approval = 1;
        }
        self.goes_to(no, if financial { State::Cleared } else { State::Approved }, now.wall);
        let balance = match (partial, purse) {
            (Some(_), Purse::Account(_)) => Some((self.available(purse), hold.currency)),
            _ => None,
        };
        let code = if partial.is_some() { "10" } else { "00" };
        Answer { approval: 1, partial: partial.map(|part| (part, a.amount)), balance, ..Answer::code(code) }
    }

    /// What was asked about when the engine ended.
    pub(crate) fn interrupted(&mut self, no: u64, at: i64) {
        self.let_go(no);
        self.goes_to(no, State::Declined, at);
        if let Some(a) = self.authorizations.get_mut(&no) {
            a.reason = Some("interrupted");
        }
        self.settle_repeat(no, &Answer::code("91"));
        self.event(at);
    }

    /// The next hold whose time is over.
    pub(crate) fn next_expired(&self, now: Moment) -> Option<u64> {
        let over = self.authorizations.iter().filter(|(_, a)| a.is_open() && a.expires_at <= now.wall);
        over.min_by_key(|(no, a)| (a.expires_at, **no)).map(|(no, _)| *no)
    }

    /// It goes back by itself.
    pub(crate) fn expired(&mut self, no: u64, at: i64) {
        self.let_go(no);
        self.goes_to(no, State::Expired, at);
        self.event(at);
    }

    /// How long unmatched reversals are remembered.
    pub(super) const UNMATCHED_US: i64 = 7 * DAY;
}
