//! The sandbox tap: a card's tap as a network would send it, over the engine's own listener.
//!
//! Nothing is short-cut: the message travels a real socket and is decided like any other. The PAN is opened from the
//! journal for the one frame and leaves masked, in the fields and in the hexadecimal alike.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use iso_codec::{DescribeOptions, Described, Draft, Framing, Message, Mti, Step, decode, describe, mask_digits};
use ledger_core::book::Book;
use ledger_core::event::{Event, field};
use ledger_core::id::{Id, No, Thing};
use ledger_core::keys::Nonce;
use ledger_core::money::Money;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::call::{Call, json, mismatch};
use super::problem::{Code, Problem, respond};
use super::scope;
use super::values::{Amount, CardRef, Text};
use super::{LinkTarget, Sidecar};
use crate::shard::handle::{Rendered, WriteOutcome};

/// The largest reply that is taken; links are configured to less.
const MAX_REPLY: usize = 64 * 1024;
/// What the reply is waited for beyond the link's budget: the way there and back.
const GRACE: Duration = Duration::from_millis(500);
/// The largest amount twelve digits tell.
const MAX_AMOUNT: i64 = 999_999_999_999;
/// Authorizations looked at in one query while the tap's own is searched for.
const LOOKED_AT: u64 = 4096;
/// Queries for it: beyond, the tap is told without its id.
const LOOKS: u64 = 64;
/// Acquirer of sandbox taps.
const ACQUIRER: &str = "999001";

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new().routes(routes!(tap))
}

/// Where the tap takes place; what is left out is made up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Merchant {
    /// DE43, the first 22 characters.
    name: Option<Text>,
    /// DE43, the first 13 characters.
    city: Option<Text>,
    /// Three letters, ISO 3166 alpha-3.
    country: Option<Text>,
    /// DE18, four digits.
    mcc: Option<Text>,
    /// DE42, up to 15 characters.
    id: Option<Text>,
}

/// A tap.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTap {
    card_id: CardRef,
    /// DE4 and DE49: a fiat currency.
    amount: Amount,
    merchant: Option<Merchant>,
    /// Name of the link; the first one when left out.
    link: Option<Text>,
}

/// A message as it travelled, its card number masked.
#[derive(Serialize, ToSchema)]
struct TapMessage {
    /// Without the length prefix; masked digits are `*` in the link's character set.
    hex: String,
    /// As `auth-engine decode --json` writes them.
    #[schema(value_type = Object)]
    fields: serde_json::Value,
}

/// What became of a tap.
#[derive(Serialize, ToSchema)]
struct TapDoc {
    /// Null when the tap was refused before it was journaled.
    authorization_id: Option<String>,
    request: TapMessage,
    /// Null when none came within the link's budget.
    reply: Option<TapMessage>,
}

/// Idempotency-Keys whose tap is under way, and the counter of STANs.
#[derive(Default)]
pub(super) struct Taps {
    in_progress: Mutex<HashSet<[u8; 16]>>,
    stan: AtomicU32,
}

/// Holds a key until the tap is remembered, whatever happens in between.
struct InProgress {
    sidecar: Sidecar,
    key: [u8; 16],
}

impl InProgress {
    fn enter(sidecar: &Sidecar, key: [u8; 16]) -> Option<Self> {
        let entered = sidecar.taps.in_progress.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        entered.then(|| Self { sidecar: sidecar.clone(), key })
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.sidecar.taps.in_progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Taps a card: builds the ISO 8583 message, sends it through the real listener, shows what came back.
#[utoipa::path(post, path = "/v1/sandbox/taps", tag = "sandbox", request_body = NewTap, responses((status = 200, body = TapDoc)))]
async fn tap(call: Call) -> Result<Response, Problem> {
    let sidecar = call.sidecar.clone();
    if !sidecar.app.settings.sandbox {
        return Err(Problem::not_found("the sandbox"));
    }
    let body: NewTap = call.body()?;
    let guard = match call.idempotency {
        None => None,
        Some(key) => {
            let in_progress = || Problem::new(Code::InProgress, "wait for the first request's answer");
            // Entered before it is looked up: the other way round, a tap could end in between and be done twice.
            let guard = InProgress::enter(&sidecar, key.key).ok_or_else(in_progress)?;
            match sidecar.app.shard.recall(key).await? {
                None => Some((key, guard)),
                Some(WriteOutcome::Stored { seq }) => return sidecar.stored(seq).await,
                Some(WriteOutcome::Mismatch) => return Err(mismatch()),
                Some(WriteOutcome::Fresh(answer)) => return Ok(respond(answer.status, answer.body)),
            }
        }
    };
    let caller = call.caller;
    // A task of its own: a caller that hangs up must not leave a tap that was made and not remembered.
    let task = tokio::spawn(async move {
        let doc = perform(&sidecar, caller, body).await?;
        if let Some((key, _guard)) = guard {
            let body = serde_json::to_vec(&doc).unwrap_or_default();
            sidecar.app.shard.remember(key, Rendered { status: StatusCode::OK.as_u16(), body }).await?;
        }
        Ok(json(StatusCode::OK, &doc))
    });
    task.await.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "the tap was not finished")))
}

/// What the book says of the card, and from which number on the tap's authorization may be.
struct Ready {
    card: u32,
    created_seq: u64,
    expiry: String,
    first_no: No,
}

async fn perform(sidecar: &Sidecar, caller: super::keys::Caller, body: NewTap) -> Result<TapDoc, Problem> {
    let settings = &sidecar.app.settings;
    let named = body.link.as_ref().map(|link| link.0.as_str());
    let link = settings.links.iter().find(|link| named.is_none_or(|name| name == link.name));
    let link = link.ok_or_else(|| {
        let what = match named {
            Some(_) => "no link of this name listens without TLS; name one that does, or leave it out",
            None => "the sandbox's taps come over a link that listens without TLS, and none is configured",
        };
        Problem::at(Code::InvalidValue, "/link", what)
    })?;
    let money = body.amount.0;
    if money.currency.is_crypto() || money.minor > MAX_AMOUNT {
        let what = "a fiat currency with an ISO 4217 number and at most 12 digits is needed";
        return Err(Problem::at(Code::InvalidValue, "/amount", what));
    }
    let card_id = body.card_id.0;
    let ready = sidecar.app.shard.query(move |book, _| {
        let index = scope::card(book, caller, card_id)?;
        let card = book.card(index).ok_or_else(|| Problem::not_found("the card"))?;
        let expiry = format!("{:04}", card.expires.0);
        Ok::<_, Problem>(Ready { card: index, created_seq: card.created_seq, expiry, first_no: book.next_id().no })
    });
    let ready = ready.await??;
    let pan = open_pan(sidecar, ready.created_seq).await?;
    let trace = Trace::new(&sidecar.taps);
    let frame = draft(&pan, &ready.expiry, money, body.merchant.as_ref(), &trace)?
        .encode(&link.spec)
        .map_err(|error| Problem::at(Code::InvalidValue, "/merchant", format!("this cannot be sent: {error}")))?;
    let unreadable = |_| Problem::new(Code::Internal, "the request could not be read back");
    let request = decode(&link.spec, frame.clone()).map_err(unreadable)?;
    let reply = exchange(link, &frame).await?;
    let reply = reply.and_then(|frame| decode(&link.spec, frame).ok());
    let authorization_id = find(sidecar, &ready, &trace).await?.map(|id| id.text(Thing::Authorization));
    Ok(TapDoc { authorization_id, request: shown(&request), reply: reply.as_ref().map(shown) })
}

async fn open_pan(sidecar: &Sidecar, seq: u64) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let lost = |error: &dyn std::fmt::Display| {
        tracing::error!(seq, "the card's event cannot be read: {error}");
        Problem::new(Code::Internal, "the card's number cannot be read from the journal")
    };
    let reader = sidecar.app.reader.clone();
    let read = tokio::task::spawn_blocking(move || reader.read(seq)).await.map_err(|error| lost(&error))?;
    let record = read.map_err(|error| lost(&error))?;
    match Event::decode(&record.payload) {
        Ok(Event::CardCreated(event)) => {
            let nonce = Nonce { epoch: record.epoch, seq, field: field::PAN };
            sidecar.app.keyring.open(nonce, &event.pan).map(Zeroizing::new).map_err(|error| lost(&error))
        }
        Ok(other) => Err(lost(&format_args!("the event is {}", other.word()))),
        Err(error) => Err(lost(&error)),
    }
}

/// By what the network side knows its tap.
struct Trace {
    stan: u32,
    /// MMDDhhmmss.
    transmitted: u32,
    local: String,
    date: String,
}

impl Trace {
    fn new(taps: &Taps) -> Self {
        let count = taps.stan.fetch_add(1, Ordering::Relaxed);
        let utc = jiff::Timestamp::now();
        // The seconds are in the start so that a restart within one second of the last tap does not repeat its STAN.
        let stan = u32::try_from((utc.as_second() + i64::from(count)).rem_euclid(999_999)).unwrap_or(0) + 1;
        let text = |format: &str| utc.strftime(format).to_string();
        let transmitted = text("%m%d%H%M%S").parse().unwrap_or(0);
        Self { stan, transmitted, local: text("%H%M%S"), date: text("%m%d") }
    }
}

fn cut(text: Option<&Text>, default: &str, length: usize) -> String {
    text.map_or(default, |text| text.0.as_str()).chars().take(length).collect()
}

fn draft(pan: &[u8], expiry: &str, money: Money, merchant: Option<&Merchant>, trace: &Trace) -> Result<Draft, Problem> {
    let refuse = |member: &str, what: &str| Problem::at(Code::InvalidValue, format!("/merchant/{member}"), what);
    let name = cut(merchant.and_then(|m| m.name.as_ref()), "SANDBOX SHOP", 22);
    let city = cut(merchant.and_then(|m| m.city.as_ref()), "ZURICH", 13);
    let country = cut(merchant.and_then(|m| m.country.as_ref()), "CHE", 4);
    let mcc = cut(merchant.and_then(|m| m.mcc.as_ref()), "5411", 5);
    let id = cut(merchant.and_then(|m| m.id.as_ref()), "SANDBOX00000001", 16);
    if mcc.len() != 4 || !mcc.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refuse("mcc", "four digits are needed"));
    }
    if country.len() != 3 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(refuse("country", "three capital letters are needed"));
    }
    if id.chars().count() > 15 {
        return Err(refuse("id", "at most 15 characters are allowed"));
    }
    for (member, text) in [("name", &name), ("city", &city), ("id", &id)] {
        if !text.chars().all(|ch| ch.is_ascii_graphic() || ch == ' ') {
            return Err(refuse(member, "printable ASCII is needed"));
        }
    }
    let digits = String::from_utf8_lossy(pan);
    let mut draft = Draft::new(Mti(0x0100));
    draft
        .set_text(2, digits)
        .set_text(3, "000000")
        .set_digits(4, u64::try_from(money.minor).unwrap_or(0))
        .set_text(7, format!("{:010}", trace.transmitted))
        .set_text(11, format!("{:06}", trace.stan))
        .set_text(12, trace.local.clone())
        .set_text(13, trace.date.clone())
        .set_text(14, expiry)
        .set_text(18, mcc)
        // 07: contactless chip; 1: the terminal could take a PIN.
        .set_text(22, "071")
        .set_text(32, ACQUIRER)
        .set_text(37, format!("{:04}{:08}", trace.date, trace.stan))
        .set_text(41, "SANDBOX1")
        .set_text(42, id)
        .set_text(43, format!("{name:<22} {city:<13} {country}"))
        .set_text(49, format!("{:03}", money.currency.number()))
        // Attended, on the merchant's premises, cardholder and card present, a normal request.
        .set_text(61, "0000000000300756")
        .set_text(63, format!("SBX{:06}", trace.stan));
    Ok(draft)
}

/// Sends a frame on a connection of its own and takes the first frame that comes back; none when none comes in time.
async fn exchange(link: &LinkTarget, frame: &[u8]) -> Result<Option<Bytes>, Problem> {
    let broken = |what: &str| Problem::new(Code::NotReady, format!("link {}: {what}", link.name));
    let deadline = Instant::now() + link.budget + GRACE;
    let connecting = timeout_at(deadline, TcpStream::connect(link.addr)).await;
    let Ok(Ok(mut stream)) = connecting else {
        return Err(broken("its listener did not take a connection"));
    };
    // Without it the frame could wait for the acknowledgement of nothing.
    let _ = stream.set_nodelay(true);
    let mut prefix = [0u8; 8];
    let size = link.framing.encode_prefix(frame.len(), &mut prefix);
    let size = size.map_err(|error| broken(&format!("the message does not fit its framing: {error}")))?;
    let mut out = BytesMut::with_capacity(size + link.framing.header_bytes + frame.len());
    out.extend_from_slice(prefix.get(..size).unwrap_or_default());
    // The header's content is the network's; zeros are as good as any.
    out.resize(size + link.framing.header_bytes, 0);
    out.extend_from_slice(frame);
    if !matches!(timeout_at(deadline, stream.write_all(&out)).await, Ok(Ok(()))) {
        return Ok(None);
    }
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if let Some(reply) = whole(&link.framing, &mut buffer) {
            return Ok(Some(reply));
        }
        match timeout_at(deadline, stream.read_buf(&mut buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return Ok(None),
        }
        if buffer.len() > MAX_REPLY {
            return Ok(None);
        }
    }
}

fn whole(framing: &Framing, buffer: &mut BytesMut) -> Option<Bytes> {
    match framing.next(buffer, MAX_REPLY) {
        Ok(Step::Frame { start, end }) => buffer.get(start..end).map(Bytes::copy_from_slice),
        Ok(_) | Err(_) => None,
    }
}

/// The authorization that the tap made: numbers ascend, so it is among those given out since.
async fn find(sidecar: &Sidecar, ready: &Ready, trace: &Trace) -> Result<Option<Id>, Problem> {
    let (card, stan, transmitted) = (ready.card, trace.stan, trace.transmitted);
    let is_it = move |book: &Book, no: No| {
        let found = book.authorization(no)?;
        let same = found.facts.card == Some(card)
            && found.facts.trace.stan == stan
            && found.facts.trace.transmitted == transmitted;
        same.then_some(found.id)
    };
    let mut from = ready.first_no;
    for _ in 0..LOOKS {
        let query = sidecar.app.shard.query(move |book, _| {
            let end = book.next_id().no;
            let to = end.min(from.saturating_add(LOOKED_AT));
            ((from..to).find_map(|no| is_it(book, no)), to, end)
        });
        match query.await? {
            (Some(id), ..) => return Ok(Some(id)),
            (None, to, end) if to < end => from = to,
            (None, ..) => return Ok(None),
        }
    }
    Ok(None)
}

fn shown(message: &Message) -> TapMessage {
    let described: Described = describe(message, &DescribeOptions::default());
    let fields = serde_json::to_value(&described)
        .ok()
        .and_then(|mut whole| whole.get_mut("fields").map(serde_json::Value::take));
    TapMessage { hex: masked_hex(message), fields: fields.unwrap_or_default() }
}

/// The frame in hexadecimal with the middle of the card number starred.
fn masked_hex(message: &Message) -> String {
    let mut frame = message.frame().to_vec();
    let mut clear = [0u8; 19];
    // What cannot be masked is not shown at all.
    for secret in [34u8, 35, 36, 45, 52, 55] {
        if message.has(secret) {
            return String::new();
        }
    }
    if let (Some(number), Some(raw)) = (message.text(2, &mut clear), message.raw(2)) {
        let masked = mask_digits(number);
        let start = (raw.as_ptr() as usize).saturating_sub(message.frame().as_ptr() as usize);
        let star = message.spec().charset().from_latin1(b'*');
        for (at, ch) in masked.chars().enumerate() {
            if ch == '*'
                && let Some(byte) = frame.get_mut(start + at)
            {
                *byte = star;
            }
        }
    }
    frame.iter().fold(String::with_capacity(frame.len() * 2), |mut out, byte| {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02X}");
        out
    })
}
