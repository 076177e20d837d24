//! The way of a job as spans of its publisher's trace. A job without a sampled `traceparent` has none, and
//! nobody has where traces are off: then this costs a look at an `Option`.

use std::sync::{Arc, Mutex, PoisonError};

use super::deliver::{Delivered, Parcel};
use super::desk::Desk;
use crate::domain::job::{Job, Outcome, Timestamp};
use crate::domain::trace::TraceParent;

/// Where spans go. Must not wait, and may lose them.
pub trait Tracer: Send + Sync + 'static {
    /// The spans of one job's way, the last of them the one around the others.
    fn take(&self, way: Way);
}

/// All spans of one job's way.
#[derive(Debug)]
pub struct Way {
    /// The publisher's trace.
    pub trace: [u8; 16],
    /// The job's id.
    pub job: String,
    /// The account that sends it.
    pub account: String,
    /// Its parts, in the order in which they ended.
    pub spans: Vec<Span>,
}

/// A part of a job's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Unlike any other's of the trace.
    pub id: [u8; 8],
    /// The span around it: the publisher's for the first.
    pub parent: [u8; 8],
    /// What was done.
    pub name: &'static str,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Of a request: the gateway's answer.
    pub code: Option<i64>,
    /// Of a record: what it was judged to be.
    pub outcome: Option<Outcome>,
    /// It did not come to its end.
    pub failed: bool,
}

/// The span around the whole way.
pub const RECEIVE: &str = "receive";
/// The way through the limiters' line.
pub(super) const WAIT: &str = "wait for limiter";
/// The commit of the claim, or of what else becomes of the job.
pub(super) const CLAIM: &str = "claim";
/// The request to ihuyi.
pub const SUBMIT: &str = "submit";
/// The commit of the outcome.
pub(super) const RECORD: &str = "record";

/// A way that is being traced.
pub(super) struct Journey {
    tracer: Arc<dyn Tracer>,
    parent: TraceParent,
    root: [u8; 8],
    begun: Timestamp,
    spans: Mutex<Vec<Span>>,
}

/// A part that has begun.
pub(super) struct Step<'a>(&'a Journey, Timestamp);

/// What is known of a part at its end.
#[derive(Default)]
pub(super) struct Known {
    pub code: Option<i64>,
    pub outcome: Option<Outcome>,
    pub failed: bool,
}

impl Desk {
    /// The journey of a job whose publisher records its trace.
    pub(super) fn journey(&self, job: &Job) -> Option<Journey> {
        let tracer = self.ports.tracer.clone()?;
        let parent = TraceParent::parse(job.traceparent.as_deref()?).filter(|parent| parent.sampled)?;
        Some(Journey { tracer, parent, root: self.span_id(), begun: self.now(), spans: Mutex::default() })
    }

    fn span_id(&self) -> [u8; 8] {
        // Zero is no id.
        (self.ports.chance.number() as u64).max(1).to_be_bytes()
    }

    /// A part of the way begins.
    pub(super) fn step<'a>(&self, parcel: &'a Parcel) -> Option<Step<'a>> {
        parcel.journey.as_ref().map(|journey| Step(journey, self.now()))
    }

    /// It ends.
    pub(super) fn stepped(&self, step: Option<Step<'_>>, name: &'static str, known: Known) {
        let Some(Step(journey, begun)) = step else { return };
        let Known { code, outcome, failed } = known;
        let (id, parent, ended) = (self.span_id(), journey.root, self.now());
        journey.spans().push(Span { id, parent, name, begun, ended, code, outcome, failed });
    }

    /// The way ends.
    pub(super) fn arrived(&self, parcel: &Parcel, delivered: &Delivered) {
        let Some(journey) = &parcel.journey else { return };
        let mut spans = std::mem::take(&mut *journey.spans());
        let last = spans.iter().rev().find(|span| span.outcome.is_some());
        let (code, outcome) = last.map_or((None, None), |span| (span.code, span.outcome));
        spans.push(Span {
            id: journey.root,
            parent: journey.parent.span,
            name: RECEIVE,
            begun: journey.begun,
            ended: self.now(),
            code,
            outcome,
            failed: !matches!(delivered, Delivered::Settled),
        });
        let account = self.account_name(parcel.account).to_owned();
        journey.tracer.take(Way { trace: journey.parent.trace, job: parcel.job.id.clone(), account, spans });
    }
}

impl Journey {
    fn spans(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
