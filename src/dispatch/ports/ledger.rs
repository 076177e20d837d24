//! Postgres, for the path of a job: what it is asked to store, and what it answers.

use std::sync::Arc;

use bytes::Bytes;

use super::{Boxed, LedgerError};
use crate::domain::decide::Decision;
use crate::domain::job::{Job, Priority, State, Timestamp, WaitReason};
use crate::domain::message::Rejection;
use crate::domain::mobile::Mobile;
use crate::domain::verdict::Answer;

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
    /// No attempt: an operator has paused its account. It waits (`account_paused`) for room.
    Paused,
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
    /// See [`Admitted::Paused`].
    Paused,
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
