//! A plan: everything that will happen in one run, written down before it begins, so that steps can be taken out of
//! it and the rest still means the same. Every step stands for itself: what refers to another message carries a copy
//! of that one's elements. Must never depend on what the engine does.

use std::fmt;

use super::words::{Currency, card_number};

/// What a run is begun with.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of a block.
    pub max_batch_bytes: usize,
    /// The disk takes writes past its cache.
    pub direct: bool,
    /// How long requests are remembered.
    pub dedup_window_us: i64,
    /// How many repeats are remembered.
    pub dedup_max: usize,
    /// Bound of the FX position in EUR minor units.
    pub fx_max: Option<i64>,
    /// Requests in flight on the third link.
    pub max_in_flight: usize,
    /// Asks open at once.
    pub max_asks: usize,
    /// Closed segments are archived.
    pub archives: bool,
    /// The wall clock at the beginning.
    pub begins_us: i64,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// What it begins with.
    pub shape: Shape,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Inputs come and are made durable together.
    Batch(Batch),
    /// Nothing comes for so long; timers and answers that are due are handled at their moments.
    Wait(i64),
    /// The wall clock steps by so much; the monotonic one does not.
    ClockSteps(i64),
    /// A clean stop and a start; these come while the engine drains.
    Stop(Vec<Input>),
    /// The process or the machine ends between two batches, and starts again.
    Crash(Crash),
    /// Synced bytes change on the disk of a stopped engine; the next start must refuse, and the bytes are put back.
    Rot(Rot),
    /// Synced bytes change while the engine runs and answers repeats; then as with [`Step::Rot`].
    RotServing(Rot, Vec<Message>),
    /// A snapshot of the closed segments is made now, and what no start needs any more is archived.
    Snapshot(Option<Fault>),
}

/// Inputs of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// In their order.
    pub inputs: Vec<Input>,
    /// What goes wrong with the disk meanwhile.
    pub fault: Option<Fault>,
    /// How long the commit takes.
    pub sync_us: i64,
    /// Frames are left waiting for the next batch.
    pub waiting: bool,
}

/// How an engine ends unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// The machine loses power: what was not synced is old or new, sector by sector. Else the process alone dies, and
    /// the page cache stays.
    pub power: bool,
    /// Decides which sectors and names are new.
    pub salt: u64,
}

/// What goes wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// At which operation, counted from the beginning of the step.
    pub after: u32,
    /// What.
    pub kind: FaultKind,
    /// A second crash, so many operations into the recovery from the first.
    pub again: Option<u32>,
    /// How the process ends: see [`Crash`].
    pub crash: Crash,
}

/// The kinds of faults of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The machine (or the process) ends at that operation.
    Crash,
    /// Reading fails.
    ReadError,
    /// Writing fails.
    WriteError,
    /// No room is left.
    NoRoom,
    /// A sync fails: what it was to make durable is lost, and the cache says otherwise.
    SyncFails,
}

/// How synced bytes change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rot {
    /// How.
    pub kind: RotKind,
    /// Decides where.
    pub salt: u64,
}

/// The kinds of rot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RotKind {
    /// A bit flips.
    Flip,
    /// A page's write went over another one.
    Misdirected,
    /// A sector reads as it was before.
    StaleSector,
}

/// One input of a batch.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // nearly all of them are messages
pub enum Input {
    /// A message of the network.
    Message(Message),
    /// A call of the sidecar.
    Call(Call),
}

/// A message of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Names it in the story, and its repeats.
    pub label: u32,
    /// Which link it comes by.
    pub link: usize,
    /// Type without the repeat mark.
    pub mti: u16,
    /// Sent again.
    pub repeat: bool,
    /// Which card.
    pub card: usize,
    /// DE3.
    pub code: u32,
    /// DE4.
    pub amount: i64,
    /// DE49.
    pub currency: Currency,
    /// DE6 and DE51.
    pub billing: Option<(i64, Currency)>,
    /// The elements by which it is named.
    pub trace: Trace,
    /// DE14.
    pub expiry: Option<u16>,
    /// DE61 position 7.
    pub status: char,
    /// DE48 SE61: partial approvals are taken.
    pub partial_ok: bool,
    /// DE48 SE63: reference and day of the first of a chain.
    pub original: Option<(String, u16)>,
    /// DE39 of advices and reversals.
    pub response: Option<&'static str>,
    /// DE38.
    pub approval: Option<Approval>,
    /// DE90.
    pub de90: Option<De90>,
    /// DE95: transaction and billing.
    pub de95: Option<(i64, i64)>,
    /// DE70.
    pub de70: Option<u16>,
    /// An element that is left out.
    pub missing: Option<u8>,
    /// How long it waited in the kernel.
    pub waited_us: i64,
    /// The connection is gone before a reply could be read.
    pub deaf: bool,
    /// What its partner answers, should it be asked, and how long after.
    pub says: Vec<(i64, Says)>,
}

/// The elements by which later messages name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trace {
    /// DE11.
    pub stan: u32,
    /// DE7.
    pub at: u32,
    /// DE32.
    pub acquirer: Option<u32>,
    /// DE33.
    pub forwarder: Option<u32>,
    /// DE63.
    pub reference: Option<String>,
    /// DE15.
    pub day: Option<u16>,
}

/// Where a DE38 comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Its own.
    Own(u32),
    /// What the message of this label was answered with; absent when it was not.
    Of(u32),
}

/// DE90.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct De90 {
    /// First digits of the original's type.
    pub mti: u16,
    /// Its DE11.
    pub stan: u32,
    /// Its DE7.
    pub at: u32,
    /// Its DE32, or zero.
    pub acquirer: u32,
    /// Its DE33, or zero.
    pub forwarder: u32,
}

/// What a partner says.
#[derive(Debug, Clone, PartialEq)]
pub enum Says {
    /// A body of a 200.
    Body(String),
    /// Another status.
    Status(u16),
    /// The connection failed.
    Unreachable,
    /// No connection came free.
    NotSent,
    /// A body of a 200, told for an authorization that was never asked about.
    Misdirected(String),
}

/// A call of the sidecar.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its Idempotency-Key.
    pub key: Option<u32>,
    /// What it asks for.
    pub command: Command,
}

/// What the sidecar asks for. Things are named by their place in the order of their making; transfers and quotes by
/// the label they are made under.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names are those of the ledger's commands
pub enum Command {
    Partner { url: bool, mode: &'static str, timeout_ms: Option<u32>, own_codes: bool },
    PartnerStatus { partner: u32, active: bool },
    PartnerMode { partner: u32, mode: &'static str },
    PartnerServices { partner: u32, services: u8 },
    RotateSecret { partner: u32, salt: u8 },
    User { partner: u32, name: u32 },
    UserStatus { user: u32, active: bool },
    Kyc { user: u32, to: &'static str },
    Account { user: u32, currency: Currency },
    Pool { partner: u32, currency: Currency, minimum: i64 },
    PoolChange { pool: u32, active: Option<bool>, minimum: Option<i64> },
    TopUp { label: u32, pool: u32, amount: i64, currency: Currency },
    EndTopUp { label: u32, settle: bool },
    Withdraw { pool: u32, amount: i64, currency: Currency },
    PayIn { account: u32, amount: i64, currency: Currency },
    Payout { label: u32, account: u32, amount: i64, currency: Currency },
    EndPayout { label: u32, settle: bool },
    Crypto { user: u32, amount: i64, currency: Currency },
    Rate { from: Currency, to: Currency, mantissa: i64, scale: u8, markup_bps: u16 },
    Quote { label: u32, user: u32, amount: i64, from: Currency, to: Currency },
    Execute { label: u32 },
    Card { user: u32, funding: Wish, number: usize, expires: u16 },
    CardStatus { card: u32, status: &'static str },
}

/// Where a new card's money comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as the ledger's `FundingWish`
pub enum Wish {
    Pool { pool: u32, account: Option<Currency> },
    Account { currency: Currency },
    Choice { pool: u32, currency: Currency },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(batch) => batch.fmt(f),
            Self::Wait(us) => write!(f, "{} pass", duration(*us)),
            Self::ClockSteps(us) if *us < 0 => write!(f, "the wall clock steps back by {}", duration(-us)),
            Self::ClockSteps(us) => write!(f, "the wall clock steps ahead by {}", duration(*us)),
            Self::Stop(inputs) if inputs.is_empty() => f.write_str("clean stop, start"),
            Self::Stop(inputs) => {
                f.write_str("drains; ")?;
                tell_inputs(inputs, f)?;
                f.write_str("; clean stop, start")
            }
            Self::Crash(crash) => write!(f, "{crash}, start"),
            Self::Rot(rot) => write!(f, "stopped; {rot}; the start must refuse; put back, start"),
            Self::RotServing(rot, repeats) => {
                write!(f, "while running {rot}; {} repeats are asked for; then as when stopped", repeats.len())
            }
            Self::Snapshot(None) => f.write_str("a snapshot is made"),
            Self::Snapshot(Some(fault)) => write!(f, "a snapshot is made; {fault}"),
        }
    }
}

fn tell_inputs(inputs: &[Input], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, input) in inputs.iter().enumerate() {
        let comma = if at > 0 { "; " } else { "" };
        match input {
            Input::Message(message) => write!(f, "{comma}{message}")?,
            Input::Call(Call { key, command }) => {
                let key = key.map(|key| format!(" (Idempotency-Key k{key})")).unwrap_or_default();
                write!(f, "{comma}REST {command:?}{key}")?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tell_inputs(&self.inputs, f)?;
        if self.sync_us > 100_000 {
            write!(f, "; the disk stalls for {}", duration(self.sync_us))?;
        }
        if self.waiting {
            f.write_str("; more frames wait")?;
        }
        match &self.fault {
            Some(fault) => write!(f, "; {fault}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.power { "power fails" } else { "the process is killed" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Crash => self.crash.to_string(),
            FaultKind::ReadError => "EIO on a read".to_owned(),
            FaultKind::WriteError => "EIO on a write".to_owned(),
            FaultKind::NoRoom => "ENOSPC on a write".to_owned(),
            FaultKind::SyncFails => "a sync fails".to_owned(),
        };
        write!(f, "{what} at IO {} or later", self.after)?;
        match self.again {
            Some(again) => write!(f, ", and again at IO {again} of the recovery"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RotKind::Flip => "a synced bit flips",
            RotKind::Misdirected => "a synced page is overwritten by another one's write",
            RotKind::StaleSector => "a synced sector reads as it was before",
        })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mti = self.mti | u16::from(self.repeat);
        let again = if self.repeat { " again" } else { "" };
        write!(f, "m{}{again} {mti:04X} link {}", self.label, self.link)?;
        if let Some(code) = self.de70 {
            return write!(f, " DE70 {code:03}");
        }
        write!(f, " card {} ({}) DE3 {:06}", self.card, card_number(self.card), self.code)?;
        write!(f, " {} of {}", self.amount, self.currency)?;
        if let Some((amount, currency)) = self.billing {
            write!(f, ", billed {amount} of {currency}")?;
        }
        if self.status != '0' {
            write!(f, ", DE61 status {}", self.status)?;
        }
        if let Some((reference, _)) = &self.original {
            write!(f, ", SE63 {reference}")?;
        }
        if let Some(response) = self.response {
            write!(f, ", DE39 {response}")?;
        }
        match self.approval {
            Some(Approval::Own(code)) => write!(f, ", DE38 {code:06}")?,
            Some(Approval::Of(label)) => write!(f, ", DE38 of m{label}")?,
            None => {}
        }
        if let Some(de90) = &self.de90 {
            write!(f, ", DE90 {:04X} stan {} at {:010}", de90.mti, de90.stan, de90.at)?;
        }
        if let Some((transaction, billing)) = self.de95 {
            write!(f, ", DE95 keeps {transaction} (billing {billing})")?;
        }
        write!(f, ", stan {} at {:010}", self.trace.stan, self.trace.at)?;
        if let Some(reference) = &self.trace.reference {
            write!(f, " DE63 {reference}")?;
        }
        if let Some(missing) = self.missing {
            write!(f, ", without DE{missing}")?;
        }
        if self.waited_us > 0 {
            write!(f, ", waited {}", duration(self.waited_us))?;
        }
        if self.deaf {
            f.write_str(", connection gone")?;
        }
        for (after, says) in &self.says {
            write!(f, ", after {} the partner says {says:?}", duration(*after))?;
        }
        Ok(())
    }
}

/// Time for people.
fn duration(us: i64) -> String {
    let whole = std::time::Duration::from_micros(us.unsigned_abs());
    humantime::format_duration(whole).to_string()
}
