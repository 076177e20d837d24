//! What the dispatcher asks of the outside: small traits, so that its code runs unchanged on real
//! services and on in-memory ones.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::domain::decide::Decision;
use crate::domain::event::Event;
use crate::domain::job::{Job, OnUnknown, Payload, Priority, State, Timestamp, WaitReason};
use crate::domain::message::{Properties, Rejection};
use crate::domain::mobile::Mobile;
use crate::domain::receipt::Receipt;
use crate::domain::review::Review;
use crate::domain::uplink::Uplink;
use crate::domain::verdict::{Answer, Reply};

/// A future as a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a job enters Postgres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry {
    /// An attempt begins: `submitting`.
    Claim,
    /// It waits.
    Wait {
        /// Why.
        reason: WaitReason,
        /// Until when; `None` while the account is paused.
        due_at: Option<Timestamp>,
        /// Released when its account has room, not at `due_at`.
        on_room: bool,
    },
    /// Its `expires_at` has come.
    Expired,
}

impl Entry {
    /// The state that the row gets.
    pub fn state(&self) -> State {
        match self {
            Entry::Claim => State::Submitting,
            Entry::Wait { .. } => State::Waiting,
            Entry::Expired => State::Expired,
        }
    }
}

/// A job from a message of a publisher.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The job.
    pub job: Arc<Job>,
    /// The account that sends it.
    pub account: String,
    /// Its place in the order of arrival.
    pub seq: i64,
    /// Unique to this admission: tells our own commit, whose answer was lost, from another's.
    pub claim_id: i64,
    /// What is asked.
    pub entry: Entry,
}

/// What became of an [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The first attempt is committed.
    Claimed(Claim),
    /// It waits, or has expired, as asked.
    Stored,
    /// No attempt: its number has had all that it may get over a long window, which has room then. It
    /// waits (`number_limit`).
    Held(Timestamp),
    /// No attempt: its number wants no bulk messages. It has failed (`suppressed`).
    Suppressed,
    /// The id is known with the same payload.
    Repeat(State),
    /// The id is known with another payload.
    Conflict,
}

/// An attempt that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Attempts of the present budget, this one included.
    pub attempts: u32,
    /// `attempts.attempt`: requests in all, this one included.
    pub request: u32,
}

/// Where a job that Postgres knows is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It was released, and its message has come.
    Queued,
    /// It waits for its next attempt at once, after this many requests.
    Again(u32),
}

/// A job that Postgres has held.
#[derive(Clone, Debug)]
pub struct Readmission {
    /// Its id.
    pub id: String,
    /// The account that sends it, where that may have changed.
    pub account: Option<String>,
    /// Whom an attempt would reach, where the limits and wishes of its number are to be asked.
    pub to: Option<(Mobile, Priority)>,
    /// See [`Admission::claim_id`].
    pub claim_id: i64,
    /// Nothing happens unless it is there.
    pub from: From,
    /// What is asked.
    pub entry: Entry,
}

/// What became of a [`Readmission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readmitted {
    /// An attempt is committed.
    Claimed(Claim),
    /// It waits, or has expired, as asked.
    Stored,
    /// See [`Admitted::Held`].
    Held(Timestamp),
    /// See [`Admitted::Suppressed`].
    Suppressed,
    /// It is elsewhere: another copy of its message was first, or it was cancelled.
    Elsewhere(State),
    /// Postgres does not know it.
    Missing,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Record {
    /// The job.
    pub id: String,
    /// `attempts.attempt`.
    pub request: u32,
    /// What was decided.
    pub decision: Decision,
    /// The gateway's answer, where there was one.
    pub answer: Option<Answer>,
    /// Why there was none; or the answer's own words.
    pub message: String,
}

/// A message that is no valid job.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub rejection: Rejection,
    /// As received.
    pub body: Bytes,
    /// The AMQP properties and headers, a JSON object.
    pub properties: String,
}

/// Why the ledger could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached or cannot write now: try again.
    #[error("Postgres is unavailable: {0}")]
    Unavailable(String),
    /// It refuses these rows: trying again does not help.
    #[error("Postgres refuses the row: {0}")]
    Refused(String),
}

/// Postgres, in batches: one call is one commit. Each method answers for each row in order, and may
/// be called again with the same rows after [`LedgerError::Unavailable`].
pub trait Ledger: Send + Sync + 'static {
    /// Enters jobs from publishers' messages.
    fn admit<'a>(&'a self, rows: &'a [Admission]) -> Boxed<'a, Result<Vec<Admitted>, LedgerError>>;
    /// Moves jobs that Postgres has held.
    fn readmit<'a>(&'a self, rows: &'a [Readmission]) -> Boxed<'a, Result<Vec<Readmitted>, LedgerError>>;
    /// Ends attempts. False where the job had gone elsewhere meanwhile and was left there.
    fn record<'a>(&'a self, rows: &'a [Record]) -> Boxed<'a, Result<Vec<bool>, LedgerError>>;
    /// Keeps messages that are no jobs.
    fn refuse<'a>(&'a self, rows: &'a [Refusal]) -> Boxed<'a, Result<Vec<()>, LedgerError>>;
}

/// A job on its way from Postgres to RabbitMQ.
#[derive(Clone, Debug)]
pub struct Released {
    /// The job.
    pub job: Job,
    /// Its place in the order of arrival.
    pub seq: i64,
    /// Its account may have taken it already: no other may send it.
    pub bound: bool,
}

/// An attempt whose owner has not settled it in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleClaim {
    /// The job.
    pub id: String,
    /// Its account.
    pub account: String,
    /// The attempt.
    pub claim: Claim,
    /// Hold or resend.
    pub on_unknown: OnUnknown,
}

/// An account as Postgres has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Its name.
    pub name: String,
    /// Paused, by whom and why; `None` while active.
    pub paused: Option<Pause>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// By an operator: ends only by an operator.
    pub by_operator: bool,
    /// Why.
    pub reason: String,
    /// For a run of permanent refusals: its probe is only cured by an acceptance.
    pub refusals: bool,
}

/// Jobs that are parked for one account, number and reason when a replica takes over.
#[derive(Clone, Debug)]
pub struct ParkedJobs {
    /// The account.
    pub account: String,
    /// The number.
    pub mobile: Mobile,
    /// The priority.
    pub priority: Priority,
    /// The last slot.
    pub due_at: Timestamp,
    /// They wait for room.
    pub on_room: bool,
    /// What they wait for.
    pub reason: WaitReason,
    /// How many.
    pub jobs: u32,
    /// The place of the first in the order of arrival.
    pub first_seq: i64,
    /// The place of the last.
    pub last_seq: i64,
    /// When the last one was published, where the publishers say so.
    pub published_at: Option<Timestamp>,
}

/// How many jobs wait, for the gauges.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// By reason.
    pub by_reason: Vec<(WaitReason, i64)>,
    /// In doubt.
    pub in_doubt: i64,
    /// Events that are not published yet.
    pub events: i64,
}

/// A job that a receipt has brought to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its account.
    pub account: String,
    /// Delivered or undelivered.
    pub state: State,
    /// The receipt's code.
    pub code: Option<i64>,
}

/// What became of a batch of receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// For each receipt in order: it was new. Of two alike in one batch both may be.
    pub new: Vec<bool>,
    /// The jobs that they have brought to their end.
    pub ended: Vec<Ended>,
}

/// Postgres, for what ihuyi says afterwards, in batches like those of [`Ledger`].
pub trait Feedback: Send + Sync + 'static {
    /// Keeps receipts, and with each the job that has its smsid. The first receipt of an accepted job
    /// is final; later ones are kept and change nothing.
    fn receive<'a>(&'a self, rows: &'a [Arc<Receipt>]) -> Boxed<'a, Result<Received, LedgerError>>;
    /// Keeps replies, and with each the last job that went to its number; a number whose person wants
    /// no more is suppressed. False where it was known.
    fn hear<'a>(&'a self, rows: &'a [Arc<Uplink>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>>;
    /// Keeps reviews of templates, of several of one template the last. False where nothing changed by it.
    fn review<'a>(&'a self, rows: &'a [Arc<Review>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>>;
}

/// What the periodic duties ask of Postgres. Each is one short statement that any replica may run
/// at the same time (`SKIP LOCKED`).
pub trait Upkeep: Send + Sync + 'static {
    /// Moves jobs that are due to `queued`, at most `limit`, in order; those parked for a number's limiter
    /// a little ahead of their slot. What [`Upkeep::wake`] wakes is none of them.
    fn release_due(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>>;
    /// Jobs whose quiet hours or whose number's window have ended, at most `limit`, now wait for room; the
    /// account and priority of each. So many may be due at once that they must go at its pace. `now` is for
    /// quiet hours; windows go by Postgres' clock.
    fn wake(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, Priority)>, LedgerError>>;
    /// The wall clock was put back by so much: what waits for a backoff or a limiter's slot is due as much
    /// earlier. Times of the calendar (scheduled, quiet hours, limits by day) stay. How many.
    fn put_forward(&self, by: chrono::TimeDelta) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Moves the oldest parked jobs of an account and priority to `queued`.
    fn release_room<'a>(
        &'a self,
        account: &'a str,
        priority: Priority,
        limit: u32,
    ) -> Boxed<'a, Result<Vec<Released>, LedgerError>>;
    /// Jobs that were released `age_seconds` ago and have not come back, marked as released now.
    fn release_lost(&self, age_seconds: u32, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>>;
    /// Expires what waits beyond its `expires_at`; how many of each account.
    fn expire(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, u64)>, LedgerError>>;
    /// Attempts whose claims have run out: their owner is gone.
    fn stale_claims(&self, limit: u32) -> Boxed<'_, Result<Vec<StaleClaim>, LedgerError>>;
    /// Deletes what was settled before `before`; how many.
    fn prune(&self, before: Timestamp, limit: u32) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Deletes receipts and replies that came before `before`; how many.
    fn prune_feedback(&self, before: Timestamp, limit: u32) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Looks once more for the jobs of receipts that had none, those that are due first, or will be `ahead`
    /// from now by Postgres' clock; the jobs that this has brought to their end.
    fn look_again(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<Ended>, LedgerError>>;
    /// Ends doubts by receipts that are due to be looked at (see [`Upkeep::look_again`]): where number and time of one can mean
    /// nothing but the last attempt of one job in doubt, that job is accepted under its smsid. The
    /// accounts of these jobs.
    fn end_doubts(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<String>, LedgerError>>;
    /// Deletes rejections, notes of operations and replays that ended before `before`, so many of each at most;
    /// how many rows.
    fn prune_records(&self, before: Timestamp, limit: u32) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Makes sure that a row exists for each account, and reads them all.
    fn accounts<'a>(&'a self, names: &'a [String]) -> Boxed<'a, Result<Vec<AccountRow>, LedgerError>>;
    /// Pauses an account on the gateway's word, unless it is paused. True if this paused it.
    fn pause<'a>(&'a self, account: &'a str, pause: &'a Pause) -> Boxed<'a, Result<bool, LedgerError>>;
    /// Ends a pause that the gateway's word began.
    fn resume<'a>(&'a self, account: &'a str) -> Boxed<'a, Result<bool, LedgerError>>;
    /// Hands the oldest jobs that wait for room of one account to another, which will release them
    /// when it has room; the priority of each.
    fn reroute<'a>(&'a self, from: &'a str, to: &'a str, limit: u32) -> Boxed<'a, Result<Vec<Priority>, LedgerError>>;
    /// What is parked for limiters and accounts, a row for each number and account.
    fn parked(&self) -> Boxed<'_, Result<Vec<ParkedJobs>, LedgerError>>;
    /// Sends jobs of the replay that is due first again, at most `limit`. False where none is due. They are due at
    /// `now`, and a new expiry counts from then: what reads both is the daemon's clock, and not Postgres'.
    fn replay(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<bool, LedgerError>>;
    /// The next refused messages of the replay that is due first, at most `limit`; `None` where none is due. What was
    /// handed out and not confirmed for `patience` is handed out again.
    fn retries(&self, patience: Duration, limit: u32) -> Boxed<'_, Result<Option<Vec<Retry>>, LedgerError>>;
    /// They were published and confirmed, or never will be.
    fn retried<'a>(&'a self, rows: &'a [Retried]) -> Boxed<'a, Result<(), LedgerError>>;
    /// Notes what became of jobs that were sent again and of messages that were published again, and ends replays
    /// that are through.
    fn replay_results(&self) -> Boxed<'_, Result<(), LedgerError>>;
    /// Counts for the gauges.
    fn waiting(&self) -> Boxed<'_, Result<Waiting, LedgerError>>;
}

/// A message that was refused and is to be published again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The replay that asks for it.
    pub replay: i64,
    /// Its place there.
    pub position: i64,
    /// The rejection's number.
    pub rejection: i64,
    /// As received.
    pub body: Vec<u8>,
    /// What came beside it: see [`Settle::describe`].
    pub properties: String,
}

/// A [`Retry`] that the broker has, or will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// The replay.
    pub replay: i64,
    /// Its place there.
    pub position: i64,
    /// The broker has it. Else it is put back among those that nobody has published again.
    pub taken: bool,
    /// The job that it will be, by id and digest; `None` where it is still no valid job.
    pub job: Option<(String, [u8; 16])>,
}

/// What is committed and not yet published to the exchange of events.
pub trait Outbox: Send + Sync + 'static {
    /// Deletes the rows `done`, and reads the oldest of the others but `aside`, at most `limit`, in order:
    /// one statement. A row that a transaction under way will commit may come later than younger ones;
    /// one job's never do.
    fn turn<'a>(&'a self, done: &'a [i64], aside: &'a [i64], limit: u32) -> Boxed<'a, Result<Vec<Event>, LedgerError>>;
}

/// Publishes events to RabbitMQ.
pub trait Announcer: Send + Sync + 'static {
    /// Publishes in order; for each, whether the broker has it for everybody who listens. After an error
    /// any of them may have arrived. May be cancelled: then the same holds.
    fn announce<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<Vec<bool>, PublishError>>;
    /// Why the broker takes no messages at present, although it is connected.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Publishes to RabbitMQ.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes released jobs in order; returns once the broker has confirmed all of them.
    fn release<'a>(&'a self, jobs: &'a [Released]) -> Boxed<'a, Result<(), PublishError>>;
    /// Publishes refused messages again as they came, each marked with its rejection; returns which of them the broker
    /// has. With none of them it only says whether the broker is there. After an error any of them may have arrived.
    /// May be cancelled: then the same holds.
    fn again<'a>(&'a self, messages: &'a [Retry]) -> Boxed<'a, Result<Vec<bool>, PublishError>>;
    /// What [`Settle::describe`] wrote, as far as the decoder needs it.
    fn described(&self, properties: &str) -> Properties;
    /// Why the broker takes no messages at present, although it is connected.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A message could not be handed to RabbitMQ.
#[derive(Debug, thiserror::Error)]
#[error("RabbitMQ did not take the message: {0}")]
pub struct PublishError(pub String);

/// The gateway.
pub trait Gateway: Send + Sync + 'static {
    /// Submits one message of an account (by its index), signed for `now`.
    fn submit<'a>(
        &'a self,
        account: usize,
        mobile: Mobile,
        payload: &'a Payload,
        now: Timestamp,
    ) -> Boxed<'a, Submitted>;
    /// Asks for the account's balance.
    fn balance(&self, account: usize, now: Timestamp) -> Boxed<'_, Balance>;
}

/// A request, and what came back.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// What came back.
    pub reply: Reply,
    /// When the request's first byte was on its way, where that is known: connecting comes before.
    pub left_at: Option<Instant>,
}

/// The answer to a balance query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Messages left.
    Left(i64),
    /// The gateway refuses, with this code.
    Refused(i64),
    /// No answer that can be read.
    Unreachable(String),
}

/// What a simulation must be able to repeat: the wall clock, and chance. Waiting goes by tokio's
/// clock, which a simulation can pause.
pub trait Chance: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// A random number.
    fn number(&self) -> i64;
}

/// The real ones.
pub struct System;

impl Chance for System {
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }

    fn number(&self) -> i64 {
        fastrand::i64(..)
    }
}

/// Acknowledges one delivery. Dropped without a call, the delivery stays with the broker, which
/// gives it out again when its channel closes.
pub trait Settle: Send + Sync + 'static {
    /// Its fate is committed: the broker may forget it.
    fn ack(&self);
    /// Postgres refuses it: back to the queue, whose delivery limit sends it to `sms.dead`.
    fn nack(&self);
    /// The AMQP properties and headers as a JSON object, for `rejections`.
    fn describe(&self) -> String;
}

/// A message as it arrives.
pub struct Arrival {
    /// The body, as received.
    pub body: Vec<u8>,
    /// What the decoder needs of the properties and headers.
    pub properties: Properties,
    /// Set on the messages of jobs that this program has released: their place in the order of arrival.
    pub released: Option<i64>,
    /// Set on the messages of those that no fallback may send: see [`Released::bound`].
    pub bound: bool,
    /// The broker has given it out before.
    pub redelivered: bool,
    /// How often, as the broker counts towards its delivery limit; 0 where it does not say.
    pub returns: u32,
    /// Its queue's priority.
    pub priority: Priority,
    /// How it is acknowledged.
    pub delivery: Box<dyn Settle>,
}

/// Takes what arrives. Must not block: the number of messages is bounded by the prefetch.
pub trait Intake: Send + Sync + 'static {
    /// A message has arrived, in the order of its queue.
    fn arrive(&self, arrival: Arrival);
}

/// RabbitMQ, for what arrives.
pub trait Source: Send + Sync + 'static {
    /// Connects and begins to consume every queue of the shard.
    fn open<'a>(&'a self, intake: Arc<dyn Intake>) -> Boxed<'a, Result<Box<dyn Consuming>, SourceError>>;
}

/// A consuming session.
pub trait Consuming: Send + 'static {
    /// Waits for its end, and says why it ended. May be cancelled.
    fn ended(&mut self) -> Boxed<'_, String>;
    /// Ends it; what is not acknowledged goes back to the queues.
    fn close(self: Box<Self>) -> Boxed<'static, ()>;
}

/// RabbitMQ cannot be consumed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// The right to serve a shard: one process at a time has it.
pub trait Lease: Send + Sync + 'static {
    /// Tries once. `None`: another process serves the shard.
    fn acquire(&self) -> Boxed<'_, Result<Option<Box<dyn Held>>, LedgerError>>;
}

/// The right, as long as this lives.
pub trait Held: Send + 'static {
    /// Waits until it is lost, and says why. May be cancelled.
    fn lost(&mut self) -> Boxed<'_, String>;
    /// Gives it back.
    fn release(self: Box<Self>) -> Boxed<'static, ()>;
}
