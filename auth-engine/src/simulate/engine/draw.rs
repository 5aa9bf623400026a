//! A plan from a seed: what the network, the partners, the sidecar and the disk will do. Must never look at what the
//! engine does with it.

use super::dice::Dice;
use super::plan::{
    Approval, Batch, Call, Command, Crash, De90, Fault, FaultKind, Input, Message, Plan, Rot, RotKind, Says, Shape,
    Step, Trace, Wish,
};
use super::words::{Currency, EUR, GBP, JPY, NOBODYS, USD, USDC};

/// Cards that are made; the next number is nobody's.
const CARDS: usize = 10;
/// What is embossed on all of them.
const EXPIRES: u16 = 4_912;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The plan of a seed, with so many steps after its beginning.
pub fn draw(seed: u64, steps: usize) -> Plan {
    let mut dice = Dice::new(seed);
    let shape = shape(&mut dice);
    let mut hand = Hand {
        taste: Taste::new(&mut dice),
        dice,
        label: 0,
        key: 0,
        sent: Vec::new(),
        calls: Vec::new(),
        transfers: Vec::new(),
        quotes: Vec::new(),
        undo: Vec::new(),
    };
    let mut plan = Plan { seed, shape, steps: hand.beginning() };
    plan.steps.extend((0..steps).map(|_| hand.step()));
    plan
}

fn shape(dice: &mut Dice) -> Shape {
    Shape {
        segment_bytes: dice.one(&[16, 16, 32, 64]) * 1024,
        max_batch_bytes: dice.one(&[1024, 2048, 4096, 65_536]),
        direct: dice.percent(50),
        dedup_window_us: dice.one(&[600, 3_600]) * SECOND,
        dedup_max: if dice.percent(4) { 60 } else { 1_000_000 },
        fx_max: if dice.percent(40) { Some(dice.range(1_000, 40_000)) } else { None },
        max_in_flight: dice.one(&[1, 3, 50]),
        max_asks: dice.one(&[2, 60, 60]),
        archives: dice.percent(40),
        begins_us: 1_795_000_000 * SECOND,
    }
}

/// What a seed likes: how often, of a hundred.
struct Taste {
    faults: u64,
    crashes: u64,
    calls: u64,
    sequels: u64,
    long_waits: u64,
}

impl Taste {
    fn new(dice: &mut Dice) -> Self {
        Self {
            faults: dice.one(&[0, 4, 10, 25]),
            crashes: dice.one(&[0, 2, 6, 12]),
            calls: dice.one(&[8, 20, 45]),
            sequels: dice.one(&[25, 45, 60]),
            long_waits: dice.one(&[2, 10, 30]),
        }
    }
}

struct Hand {
    taste: Taste,
    dice: Dice,
    label: u32,
    key: u32,
    /// What was sent lately.
    sent: Vec<Message>,
    calls: Vec<Call>,
    transfers: Vec<(u32, bool)>,
    quotes: Vec<u32>,
    /// What is put right again before long.
    undo: Vec<Command>,
}

fn calm(inputs: Vec<Input>) -> Step {
    Step::Batch(Batch { inputs, fault: None, sync_us: 200, waiting: false })
}

impl Hand {
    /// People, pools, cards and money: one batch each for a few of them.
    fn beginning(&mut self) -> Vec<Step> {
        let mut commands = Vec::new();
        let partner = |url, mode, timeout_ms, own_codes| Command::Partner { url, mode, timeout_ms, own_codes };
        commands.push(partner(true, "webhook", None, false));
        commands.push(partner(true, "webhook", Some(300), true));
        commands.push(partner(false, "webhook", None, false));
        commands.push(partner(true, "auto_approve", None, false));
        commands.push(partner(true, "auto_decline", None, false));
        for (name, partner) in (0..).zip([0, 0, 1, 2, 3, 4]) {
            commands.push(Command::User { partner, name });
        }
        for user in 0..6 {
            for to in ["submitted", "in_review", "approved"] {
                commands.push(Command::Kyc { user, to });
            }
        }
        let pools = [(0, EUR), (0, USDC), (1, EUR), (2, EUR), (3, EUR), (4, EUR)];
        commands.extend(pools.map(|(partner, currency)| Command::Pool {
            partner,
            currency,
            minimum: if currency == EUR { 500 } else { 0 },
        }));
        let rate = |from, to, mantissa, scale, markup_bps| Command::Rate { from, to, mantissa, scale, markup_bps };
        commands.push(rate(EUR, USDC, 1_083_7, 4, 50));
        commands.push(rate(USD, EUR, 92_31, 4, 100));
        commands.push(rate(JPY, EUR, 61, 4, 0));
        commands.push(rate(USDC, EUR, 9_177, 4, 25));
        commands.push(rate(EUR, USD, 108, 2, 30));
        for (pool, (_, currency)) in (0..).zip(pools) {
            let label = self.next_label();
            let amount = self.dice.range(5_000, 60_000) * if currency == USDC { 10_000 } else { 1 };
            commands.push(Command::TopUp { label, pool, amount, currency });
            commands.push(Command::EndTopUp { label, settle: true });
        }
        let pool = |pool, account| Wish::Pool { pool, account };
        let wishes = [
            (0, pool(0, None)),
            (0, Wish::Account { currency: EUR }),
            (1, Wish::Choice { pool: 0, currency: EUR }),
            (2, pool(2, None)),
            (3, pool(3, None)),
            (4, pool(4, None)),
            (5, pool(5, None)),
            (1, pool(1, Some(EUR))),
            (1, Wish::Account { currency: USD }),
            (0, pool(0, None)),
        ];
        for (number, (user, funding)) in (0..).zip(wishes) {
            commands.push(Command::Card { user, funding, number, expires: EXPIRES });
        }
        for (account, currency) in [(0, EUR), (1, EUR), (6, USD)] {
            let amount = self.dice.range(3_000, 40_000);
            commands.push(Command::PayIn { account, amount, currency });
        }
        let calls = commands.into_iter().map(|command| Input::Call(Call { key: None, command })).collect::<Vec<_>>();
        let mut steps: Vec<Step> = calls.chunks(12).map(|some| calm(some.to_vec())).collect();
        if self.dice.percent(80) {
            let mut sign_on = self.plain(0x0800);
            (sign_on.link, sign_on.de70) = (1, Some(1));
            steps.push(calm(vec![Input::Message(sign_on)]));
        }
        steps
    }

    fn next_label(&mut self) -> u32 {
        self.label += 1;
        self.label
    }

    fn step(&mut self) -> Step {
        if !self.undo.is_empty() && self.dice.percent(30) {
            let at = self.dice.index(self.undo.len());
            let command = self.undo.swap_remove(at);
            return calm(vec![Input::Call(Call { key: None, command })]);
        }
        let throw = self.dice.below(100);
        let crashes = self.taste.crashes;
        match throw {
            0..=29 => Step::Wait(self.pause()),
            30 | 31 => Step::ClockSteps(self.dice.one(&[-3_600, -7, 2, 86_400]) * SECOND),
            32 => {
                let inputs = if self.dice.percent(60) { vec![self.message()] } else { Vec::new() };
                Step::Stop(inputs)
            }
            33 => Step::Rot(self.rot()),
            34 => {
                let count = 1 + self.dice.index(3);
                let repeats = (0..count).filter_map(|_| self.repeat()).collect();
                Step::RotServing(self.rot(), repeats)
            }
            35..=37 => Step::Snapshot(self.dice.percent(25).then(|| self.fault())),
            _ if throw < 38 + crashes => Step::Crash(self.crash()),
            _ => self.batch(),
        }
    }

    /// A partner that is gone: enough taps in a row that nobody answers, and more.
    fn outage(&mut self) -> Step {
        let count = 6 + self.dice.index(5);
        let inputs = (0..count).map(|_| {
            let mut m = self.plain(0x0100);
            (m.card, m.amount) = (self.dice.one(&[0, 9]), self.dice.range(1, 50));
            m.says = vec![(self.dice.range(100, 400), Says::Unreachable)];
            Input::Message(m)
        });
        calm(inputs.collect())
    }

    fn batch(&mut self) -> Step {
        if self.dice.percent(2) {
            return self.outage();
        }
        let count = match self.dice.below(10) {
            0..=4 => 1,
            5..=7 => 2 + self.dice.index(2),
            8 => 4 + self.dice.index(5),
            _ => 8 + self.dice.index(14),
        };
        let mut inputs: Vec<Input> = (0..count).map(|_| self.input()).collect();
        // The same on two links at once.
        if self.dice.percent(6)
            && let Some(Input::Message(message)) = inputs.last()
            && message.link == 0
        {
            let twin = Message { link: 1, ..message.clone() };
            inputs.push(Input::Message(twin));
        }
        let fault = self.dice.percent(self.taste.faults).then(|| self.fault());
        let sync_us = match self.dice.below(100) {
            0..=89 => self.dice.range(100, 900),
            90..=96 => self.dice.range(20_000, 400_000),
            _ => self.dice.range(1_500_000, 5_000_000),
        };
        Step::Batch(Batch { inputs, fault, sync_us, waiting: self.dice.percent(8) })
    }

    fn input(&mut self) -> Input {
        if self.dice.percent(self.taste.calls) { Input::Call(self.call()) } else { self.message() }
    }

    fn fault(&mut self) -> Fault {
        let kind = match self.dice.below(10) {
            0..=4 => FaultKind::Crash,
            5 => FaultKind::ReadError,
            6 => FaultKind::WriteError,
            7 => FaultKind::NoRoom,
            _ => FaultKind::SyncFails,
        };
        let most = self.dice.one(&[2, 4, 16]);
        let after = u32::try_from(self.dice.below(most)).unwrap_or(0);
        let again = self.dice.percent(30).then(|| u32::try_from(self.dice.below(30)).unwrap_or(0));
        Fault { after, kind, again, crash: self.crash() }
    }

    fn crash(&mut self) -> Crash {
        Crash { power: self.dice.percent(65), salt: self.dice.any() }
    }

    fn rot(&mut self) -> Rot {
        let kind = self.dice.one(&[RotKind::Flip, RotKind::Flip, RotKind::Misdirected, RotKind::StaleSector]);
        Rot { kind, salt: self.dice.any() }
    }

    fn pause(&mut self) -> i64 {
        if self.dice.percent(self.taste.long_waits) {
            return match self.dice.below(10) {
                0..=3 => self.dice.range(30, 1_800) * SECOND,
                4 | 5 => self.dice.range(3_000, 8_000) * SECOND,
                6 => DAY + SECOND,
                7 | 8 => 7 * DAY + self.dice.range(0, 3_600) * SECOND,
                _ => 31 * DAY,
            };
        }
        match self.dice.below(10) {
            0..=5 => self.dice.range(500, 60_000),
            6..=8 => self.dice.range(100_000, 700_000),
            _ => self.dice.range(1, 3) * SECOND,
        }
    }

    /// A message with nothing but its own elements.
    fn plain(&mut self, mti: u16) -> Message {
        let label = self.next_label();
        let reference = self.dice.percent(90).then(|| format!("MCC{label:06}"));
        Message {
            label,
            link: 0,
            mti,
            repeat: false,
            card: 0,
            code: 0,
            amount: 0,
            currency: EUR,
            billing: None,
            trace: Trace {
                stan: label,
                at: 1_123_000_000 + label,
                acquirer: self.dice.percent(80).then_some(10_320),
                forwarder: self.dice.percent(50).then_some(7_700),
                reference,
                day: self.dice.percent(70).then_some(1_123),
            },
            expiry: None,
            status: '0',
            partial_ok: false,
            original: None,
            response: None,
            approval: None,
            de90: None,
            de95: None,
            de70: None,
            missing: None,
            waited_us: 0,
            deaf: false,
            says: Vec::new(),
        }
    }

    fn message(&mut self) -> Input {
        let throw = self.dice.below(100);
        let sequels = self.taste.sequels;
        let message = if throw < sequels && !self.sent.is_empty() {
            match self.dice.below(100) {
                0..=29 => self.repeat(),
                30..=59 => Some(self.reversal()),
                60..=76 => Some(self.advice()),
                77..=84 => Some(self.not_received()),
                _ => Some(self.increment()),
            }
        } else {
            None
        };
        let mut message = match message {
            Some(message) => message,
            None if throw >= 96 => self.other(),
            None => self.tap(),
        };
        if self.dice.percent(5) {
            message.waited_us = self.dice.range(10_000, 1_980_000);
        } else if self.dice.percent(1) {
            message.waited_us = self.dice.range(2_000_000, 2_500_000);
        }
        message.deaf = self.dice.percent(6);
        if message.link == 0 && self.dice.percent(12) {
            message.link = 1;
        }
        if matches!(message.mti, 0x0100 | 0x0200 | 0x0120 | 0x0220 | 0x0400 | 0x0420) {
            self.sent.push(message.clone());
            // Those long gone are named now and then, those of late most of the time.
            if self.sent.len() > 60 {
                self.sent.remove(0);
            }
        }
        Input::Message(message)
    }

    fn recent(&mut self, fits: impl Fn(&Message) -> bool) -> Option<Message> {
        let all: Vec<&Message> = self.sent.iter().filter(|message| fits(message)).collect();
        if all.is_empty() {
            return None;
        }
        let last = if self.dice.percent(70) { all.len().min(6) } else { all.len() };
        let at = all.len() - 1 - self.dice.index(last);
        all.get(at).map(|message| (*message).clone())
    }

    fn repeat(&mut self) -> Option<Message> {
        let mut message = self.recent(|_| true)?;
        message.repeat = self.dice.percent(80);
        message.waited_us = 0;
        message.deaf = false;
        if message.missing.is_none() && self.dice.percent(6) {
            message.amount ^= 1;
        }
        Some(message)
    }

    fn amount(&mut self) -> i64 {
        match self.dice.below(100) {
            0..=59 => self.dice.range(1, 3_000),
            60..=91 => self.dice.range(3_000, 30_000),
            92..=95 => self.dice.range(30_000, 300_000),
            96 | 97 => 0,
            _ => 999_999_999_999,
        }
    }

    fn tap(&mut self) -> Message {
        let mti = if self.dice.percent(80) { 0x0100 } else { 0x0200 };
        let mut m = self.plain(mti);
        m.card = if self.dice.percent(3) { CARDS } else { self.dice.index(CARDS) };
        m.code = match self.dice.below(100) {
            0..=79 => 0,
            80..=83 => 10_000,
            84 | 85 => 90_000,
            86 => 170_000,
            87..=92 => 200_000,
            93..=96 => 300_000,
            _ => 280_000,
        };
        m.amount = self.amount();
        m.currency = match self.dice.below(100) {
            0..=71 => EUR,
            72..=85 => USD,
            86..=92 => JPY,
            93..=96 => GBP,
            _ => NOBODYS,
        };
        if self.dice.percent(15) {
            m.billing = Some((self.amount(), self.dice.one(&[EUR, EUR, USD])));
        }
        if self.dice.percent(15) {
            m.expiry = Some(if self.dice.percent(75) { EXPIRES } else { 2_701 });
        }
        m.status = match self.dice.below(100) {
            0..=84 => '0',
            85..=93 => '4',
            _ => '8',
        };
        if m.status == '8' && self.dice.percent(85) {
            (m.amount, m.billing) = (0, None);
        }
        m.partial_ok = self.dice.percent(35);
        if self.dice.percent(3) {
            m.missing = Some(self.dice.one(&[2, 3, 4, 7, 11, 49, 51]));
        }
        if m.missing == Some(51) && m.billing.is_none() {
            m.billing = Some((5, EUR));
        }
        if self.dice.percent(8) && m.missing.is_none() {
            // The third link speaks another spec: the elements of a plain tap only.
            m.link = 2;
            (m.status, m.partial_ok) = ('0', false);
            m.trace.reference = None;
        }
        m.says = self.says(&m);
        m
    }

    fn says(&mut self, m: &Message) -> Vec<(i64, Says)> {
        let (amount, currency) = m.billing.unwrap_or((m.amount, m.currency));
        let body = |text: &str| Says::Body(text.to_owned());
        let approve = || body(r#"{"decision":"approve"}"#);
        let with_amount =
            |amount: i64| Says::Body(format!(r#"{{"decision":"approve","amount":"{}"}}"#, currency.text(amount)));
        let soon = self.dice.range(500, 280_000);
        let says = match self.dice.below(100) {
            0..=39 => approve(),
            40..=52 => {
                let reasons = [
                    "insufficient_funds",
                    "suspected_fraud",
                    "card_restricted",
                    "limit_exceeded",
                    "not_permitted",
                    "x",
                ];
                let reason = self.dice.one(&reasons);
                Says::Body(format!(r#"{{"decision":"decline","reason":"{reason}"}}"#))
            }
            53..=62 => with_amount(self.dice.range(0, amount.max(1))),
            63 | 64 => with_amount(amount),
            65 | 66 => with_amount(amount.saturating_add(self.dice.range(1, 500))),
            67..=71 => {
                let source = self.dice.one(&["pool", "account"]);
                Says::Body(format!(r#"{{"decision":"approve","source":"{source}"}}"#))
            }
            72 => body(r#"{"decision":"approve","amount":"0.001"}"#),
            73 | 74 => body(self.dice.one(&[
                "<html>",
                "{}",
                r#"{"decision":"aprove"}"#,
                r#"{"decision":"approve","amount":"x"}"#,
            ])),
            75 | 76 => Says::Status(self.dice.one(&[302, 404, 500, 503])),
            77..=80 => Says::Unreachable,
            81 | 82 => Says::NotSent,
            83 | 84 => Says::Misdirected(r#"{"decision":"approve"}"#.to_owned()),
            // Late, or far too late.
            85..=90 => return vec![(self.dice.range(300_000, 1_500_000), approve())],
            91..=94 => return vec![(soon, approve()), (soon + self.dice.range(0, 400_000), approve())],
            _ => return Vec::new(),
        };
        vec![(soon, says)]
    }

    fn increment(&mut self) -> Message {
        let first = self.recent(|m| matches!(m.mti, 0x0100 | 0x0200) && m.link != 2 && m.missing.is_none());
        let mut m = self.tap();
        if let Some(first) = first
            && m.link != 2
        {
            m.card = first.card;
            (m.code, m.currency) = (0, first.currency);
            if self.dice.percent(20) {
                m.code = 200_000;
            }
            m.original = named(&first);
        }
        m
    }

    fn advice(&mut self) -> Message {
        let first = self.recent(|m| m.mti < 0x0300 && m.link != 2 && m.missing.is_none());
        let mut m = self.tap();
        m.link = 0;
        m.says = Vec::new();
        m.mti = if self.dice.percent(60) { 0x0120 } else { 0x0220 };
        m.response = Some(self.dice.one(&["00", "00", "00", "08", "10", "85", "05", "51"]));
        m.approval = self.dice.percent(50).then_some(Approval::Own(self.label + 500_000));
        if let Some(first) = first {
            m.card = first.card;
            if self.dice.percent(85) {
                (m.currency, m.billing) = (first.currency, first.billing);
            }
            if self.dice.percent(70) {
                (m.code, m.status) = (first.code, first.status);
            }
            match self.dice.below(10) {
                0..=3 => m.trace.reference = first.trace.reference.clone(),
                4..=6 => m.trace = Trace { reference: m.trace.reference.clone(), ..first.trace.clone() },
                7 | 8 => m.original = named(&first),
                _ => {}
            }
        }
        m
    }

    fn reversal(&mut self) -> Message {
        let first = self.recent(|m| m.mti < 0x0300 && m.link != 2);
        let mti = if self.dice.percent(70) { 0x0400 } else { 0x0420 };
        let mut m = self.plain(mti);
        m.response = Some(self.dice.one(&["00", "17", "68"]));
        let Some(first) = first else {
            m.card = self.dice.index(CARDS);
            return m;
        };
        (m.card, m.code, m.amount, m.currency) = (first.card, first.code, first.amount, first.currency);
        m.billing = first.billing;
        // Some come before their originals.
        let ahead = self.dice.percent(12);
        let trace = if ahead { self.ahead(&first) } else { first.trace.clone() };
        let mti = if self.dice.percent(90) { first.mti } else { first.mti ^ 0x0300 };
        let de90 = De90 {
            mti,
            stan: trace.stan,
            at: trace.at,
            acquirer: if self.dice.percent(50) { trace.acquirer.unwrap_or(0) } else { 0 },
            forwarder: if self.dice.percent(50) { trace.forwarder.unwrap_or(0) } else { 0 },
        };
        match self.dice.below(10) {
            0..=6 => m.de90 = Some(de90),
            7 | 8 => m.original = trace.reference.map(|reference| (reference, trace.day.unwrap_or(0))),
            _ => m.approval = Some(Approval::Of(first.label)),
        }
        if self.dice.percent(40) {
            let keep = self.dice.range(0, first.amount.clamp(1, 1_000_000) + 5);
            let billing = first.billing.map_or(0, |(billed, _)| self.dice.range(0, billed.clamp(1, 1_000_000)));
            m.de95 = Some((keep, if self.dice.percent(60) { billing } else { 0 }));
        }
        m
    }

    /// The elements of a tap that comes only after its reversal; it is sent like any other, later.
    fn ahead(&mut self, like: &Message) -> Trace {
        let mut tap = Message { label: self.next_label(), ..like.clone() };
        tap.trace = Trace {
            stan: tap.label,
            at: 1_123_000_000 + tap.label,
            reference: Some(format!("MCC{:06}", tap.label)),
            ..like.trace.clone()
        };
        tap.missing = None;
        let trace = tap.trace.clone();
        self.sent.push(tap);
        trace
    }

    fn not_received(&mut self) -> Message {
        let first = self.recent(|m| m.mti == 0x0100 && m.link != 2 && m.missing.is_none());
        let mut m = self.plain(0x0190);
        if let Some(first) = first {
            (m.card, m.code, m.amount, m.currency) = (first.card, first.code, first.amount, first.currency);
            m.trace = first.trace;
        }
        m
    }

    fn other(&mut self) -> Message {
        let mti = self.dice.one(&[0x0800, 0x0800, 0x0800, 0x0820, 0x0620, 0x0302, 0x0110]);
        let mut m = self.plain(mti);
        if mti == 0x0800 {
            m.de70 = Some(self.dice.one(&[1, 61, 1, 2, 270, 270, 363, 161, 999]));
            m.link = self.dice.one(&[0, 1, 1]);
        }
        m
    }

    fn call(&mut self) -> Call {
        if !self.calls.is_empty() && self.dice.percent(22) {
            let at = self.dice.index(self.calls.len());
            let mut call =
                self.calls.get(at).cloned().unwrap_or(Call { key: None, command: Command::Execute { label: 0 } });
            if self.dice.percent(12) {
                call.command = Command::RotateSecret { partner: 0, salt: 9 };
            }
            return call;
        }
        let command = self.command();
        let key = self.dice.percent(70).then(|| {
            self.key += 1;
            self.key
        });
        let call = Call { key, command };
        if key.is_some() {
            self.calls.push(call.clone());
            if self.calls.len() > 12 {
                self.calls.remove(0);
            }
        }
        call
    }

    fn command(&mut self) -> Command {
        const POOLS: [Currency; 6] = [EUR, USDC, EUR, EUR, EUR, EUR];
        const ACCOUNTS: [Currency; 7] = [EUR, EUR, EUR, EUR, EUR, EUR, USD];
        let pool = self.dice.index(POOLS.len());
        let account = self.dice.index(ACCOUNTS.len());
        let (in_pool, in_account) = (POOLS[pool], ACCOUNTS[account]);
        let (pool, account) = (u32::try_from(pool).unwrap_or(0), u32::try_from(account).unwrap_or(0));
        let amount = self.dice.range(1, 8_000);
        let pool_amount = amount * if in_pool == USDC { 10_000 } else { 1 };
        let user = u32::try_from(self.dice.below(6)).unwrap_or(0);
        let partner = u32::try_from(self.dice.below(5)).unwrap_or(0);
        let card = u32::try_from(self.dice.below(10)).unwrap_or(0);
        match self.dice.below(100) {
            0..=11 => {
                let label = self.next_label();
                self.transfers.push((label, true));
                Command::TopUp { label, pool, amount: pool_amount, currency: in_pool }
            }
            12..=27 => {
                let settle = self.dice.percent(80);
                match self.dice.index(self.transfers.len() + 1) {
                    at if at < self.transfers.len() => match self.transfers[at] {
                        (label, true) => Command::EndTopUp { label, settle },
                        (label, false) => Command::EndPayout { label, settle },
                    },
                    _ => Command::EndTopUp { label: 0, settle },
                }
            }
            28..=33 => Command::Withdraw { pool, amount: pool_amount, currency: in_pool },
            34..=41 => Command::PayIn { account, amount, currency: in_account },
            42..=49 => {
                let label = self.next_label();
                self.transfers.push((label, false));
                Command::Payout { label, account, amount, currency: in_account }
            }
            50..=54 => Command::Crypto { user, amount: amount * 10_000, currency: USDC },
            55..=59 => {
                let label = self.next_label();
                self.quotes.push(label);
                let (from, to) = self.dice.one(&[(USDC, EUR), (USDC, EUR), (EUR, USD), (USD, EUR), (EUR, JPY)]);
                let amount = amount * if from == USDC { 5_000 } else { 1 };
                Command::Quote { label, user, amount, from, to }
            }
            60..=67 => match self.dice.index(self.quotes.len() + 1) {
                at if at < self.quotes.len() => Command::Execute { label: self.quotes[at] },
                _ => Command::Execute { label: 0 },
            },
            68..=71 => {
                let (from, to, mantissa) = self.dice.one(&[(EUR, USDC, 10_837), (USD, EUR, 9_231), (USDC, EUR, 9_177)]);
                let mantissa = mantissa + self.dice.range(-300, 300);
                Command::Rate { from, to, mantissa, scale: 4, markup_bps: 50 }
            }
            72..=78 => {
                let status = self.dice.one(&["frozen", "inactive", "lost", "stolen", "frozen", "closed"]);
                self.undo.push(Command::CardStatus { card, status: "active" });
                Command::CardStatus { card, status }
            }
            79..=81 => {
                self.undo.push(Command::UserStatus { user, active: true });
                Command::UserStatus { user, active: false }
            }
            82..=84 => {
                self.undo.push(Command::PartnerStatus { partner, active: true });
                Command::PartnerStatus { partner, active: false }
            }
            85..=87 => {
                self.undo.extend(["approved", "in_review", "submitted"].map(|to| Command::Kyc { user, to }));
                Command::Kyc { user, to: self.dice.one(&["revoked", "expired"]) }
            }
            88..=90 => {
                self.undo.push(Command::PartnerServices { partner, services: 0b1_1111 });
                Command::PartnerServices { partner, services: self.dice.one(&[0b1_0111, 0b0_1000, 0]) }
            }
            91..=94 => {
                self.undo.push(Command::PoolChange { pool, active: Some(true), minimum: None });
                let minimum = self.dice.percent(50).then(|| self.dice.range(0, 20_000));
                Command::PoolChange { pool, active: Some(false), minimum }
            }
            95 => Command::PartnerMode { partner: 0, mode: self.dice.one(&["auto_approve", "webhook", "webhook"]) },
            96 => Command::Account { user, currency: self.dice.one(&[EUR, USD, JPY]) },
            97 => Command::User { partner, name: self.dice.one(&[0, 1, 50, 51]) },
            98 => Command::RotateSecret { partner, salt: 8 },
            _ => Command::Card { user, funding: Wish::Account { currency: EUR }, number: 3, expires: EXPIRES },
        }
    }
}

/// SE63 of a message.
fn named(message: &Message) -> Option<(String, u16)> {
    Some((message.trace.reference.clone()?, message.trace.day.unwrap_or(0)))
}
