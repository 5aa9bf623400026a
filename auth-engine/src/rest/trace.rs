//! Where an authorization's time went: one call, answered from the shard's memory. It must never wait for the view
//! while the book still holds the authorization.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ledger_core::id::{Id, Thing};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Sidecar;
use super::call::{Segment, json};
use super::keys::Caller;
use super::problem::{Code, Problem};
use super::scope;
use crate::shard::traces::{Interval, Part, Trace};

pub(super) fn routes() -> OpenApiRouter<Sidecar> {
    OpenApiRouter::new().routes(routes!(trace))
}

/// A part of an authorization's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TraceStage {
    /// From the earliest moment the frame can have been waiting to its decoding.
    Queue,
    /// Decoding.
    Decode,
    /// Message to command, decision, event, encoded reply; a tap that asked its partner has two.
    Decide,
    /// Other work came first: between a decision and the ask, or between the answer and its decision.
    Wait,
    /// From the ask handed to the client to the answer, or to its deadline.
    Partner,
    /// Waiting for the rest of the batch, its write and its sync.
    Journal,
    /// From durable to the reply handed to the kernel.
    Reply,
}

/// One stage of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct TraceStageDoc {
    /// Which.
    stage: TraceStage,
    /// Nanoseconds from the beginning; each stage begins where the one before ended.
    #[schema(example = 4_320)]
    start_ns: u64,
    /// How long it took, nanoseconds.
    #[schema(example = 1_536)]
    ns: u64,
}

/// Where an authorization's time went, measured by the engine with steps of 16 ns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct TraceDoc {
    /// `aut_…`.
    authorization_id: String,
    /// Its reply was handed to the kernel. False while it is under way, and for ever when no reply could leave.
    complete: bool,
    /// All stages together: from the earliest moment the frame can have been waiting to the reply handed to the kernel;
    /// null while not complete.
    #[schema(example = 231_440)]
    total_ns: Option<u64>,
    /// The partner's share of it; 0 when nobody was asked, null while somebody is.
    #[schema(example = 0)]
    partner_ns: Option<u64>,
    /// The rest: the engine's share; null while not complete.
    #[schema(example = 231_440)]
    engine_ns: Option<u64>,
    /// The stages that are over, in the order of time.
    stages: Vec<TraceStageDoc>,
}

impl TraceDoc {
    fn of(id: Id, trace: &Trace) -> Self {
        let total_ns = trace.total_ns();
        let partner_ns = if trace.asked() { trace.partner_ns() } else { Some(0) };
        Self {
            authorization_id: id.text(Thing::Authorization),
            complete: total_ns.is_some(),
            total_ns,
            partner_ns,
            engine_ns: total_ns.zip(partner_ns).map(|(total, partner)| total.saturating_sub(partner)),
            stages: trace.intervals().iter().map(TraceStageDoc::from).collect(),
        }
    }
}

impl From<&Interval> for TraceStageDoc {
    fn from(interval: &Interval) -> Self {
        let stage = match interval.part {
            Part::Queue => TraceStage::Queue,
            Part::Decode => TraceStage::Decode,
            Part::Decide => TraceStage::Decide,
            Part::Wait => TraceStage::Wait,
            Part::Partner => TraceStage::Partner,
            Part::Journal => TraceStage::Journal,
            Part::Reply => TraceStage::Reply,
        };
        Self { stage, start_ns: interval.start_ns, ns: interval.ns }
    }
}

/// Where an authorization's time went; 404 `trace_gone` when the engine has not kept it.
#[utoipa::path(get, path = "/v1/authorizations/{id}/trace", tag = "authorizations", params(("id" = String, Path)), responses((status = 200, body = TraceDoc)))]
async fn trace(caller: Caller, State(sidecar): State<Sidecar>, of: Segment) -> Result<Response, Problem> {
    let of = of.id(Thing::Authorization, "the authorization")?;
    let read = sidecar.app.shard.trace(move |book, traces| {
        (scope::authorization(book, caller, of).is_some(), traces.read(of.no), traces.room())
    });
    let (seen, trace, room) = read.await?;
    if !seen {
        // The book holds it no more, it is another partner's, or there is none.
        let known = sidecar.viewed(caller, move |view, scope| view.authorization(scope, of)).await?;
        known.ok_or_else(|| Problem::not_found("the authorization"))?;
    }
    match trace {
        Some(trace) => Ok(json(StatusCode::OK, &TraceDoc::of(of, &trace))),
        None if room == 0 => Err(Problem::new(Code::TraceGone, "no traces are kept: telemetry.traces is 0")),
        None => {
            let kept = format!("kept are those of about the last {room} authorizations since the engine's start");
            Err(Problem::new(Code::TraceGone, kept))
        }
    }
}
