//! Postgres, for the periodic duties.

use std::time::Duration;

use super::{Boxed, Claim, Ended, LedgerError};
use crate::domain::job::{Job, OnUnknown, Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

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
    /// The last slot; `None` while their account is paused.
    pub due_at: Option<Timestamp>,
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
    /// Of these, the jobs of other accounts than those that were named.
    pub stranded: i64,
    /// In doubt.
    pub in_doubt: i64,
    /// Events that are not published yet.
    pub events: i64,
}

/// What is older than an age by both clocks, the daemon's and Postgres'. With one that is set months ahead alone
/// everything would go, and with it the memory of ids: what is published again would be sent again.
#[derive(Clone, Copy, Debug)]
pub struct Old {
    /// Before this, by the daemon's clock.
    pub before: Timestamp,
    /// Longer ago than this, by Postgres' clock.
    pub age: Duration,
}

/// Where a look at all that waits for a time goes on: behind this place, by priority, time and order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePlace {
    /// The priority.
    pub priority: Priority,
    /// The time.
    pub due_at: Timestamp,
    /// The place in the order of arrival.
    pub seq: i64,
}

/// What the periodic duties ask of Postgres. Each is one short statement that any replica may run
/// at the same time (`SKIP LOCKED`).
pub trait Upkeep: Send + Sync + 'static {
    /// Moves jobs that are due to `queued`, at most `limit` of each priority, the highest first and those of each in
    /// order; those parked for a number's limiter a little ahead of their slot. What [`Upkeep::wake`] wakes is none of
    /// them.
    fn release_due(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>>;
    /// Jobs whose quiet hours or whose number's window have ended, at most `limit` of each priority, now wait for room;
    /// the account and priority of each. So many may be due at once that they must go at its pace. `now` is for
    /// quiet hours; windows go by Postgres' clock.
    fn wake(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, Priority)>, LedgerError>>;
    /// Jobs that wait for quiet hours and are of a priority that is `awake`, and, where numbers are `free`, those that
    /// wait for a limit that ihuyi did not name, are due at `now`; at most `limit` of each priority; how many.
    fn lift<'a>(
        &'a self,
        _now: Timestamp,
        _awake: &'a [Priority],
        _free: bool,
        _limit: u32,
    ) -> Boxed<'a, Result<u64, LedgerError>> {
        // Where no rule ever changes, none ceases to hold.
        Box::pin(std::future::ready(Ok(0)))
    }
    /// The wall clock was put back by so much: what waits for a backoff or a limiter's slot is due as much
    /// earlier. Times of the calendar (scheduled, quiet hours, limits by day) stay. At most `limit` of those behind
    /// `after`, which are left behind by it; how many, and where to go on, `None` at the end.
    fn put_forward(
        &self,
        by: chrono::TimeDelta,
        after: Option<DuePlace>,
        limit: u32,
    ) -> Boxed<'_, Result<(u64, Option<DuePlace>), LedgerError>>;
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
    /// Deletes what was settled so long ago; how many.
    fn prune(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Deletes receipts and replies that came so long ago; how many.
    fn prune_feedback(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Looks once more for the jobs of receipts that had none, those that are due first, or will be `ahead`
    /// from now by Postgres' clock; the jobs that this has brought to their end.
    fn look_again(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<Ended>, LedgerError>>;
    /// Ends doubts by receipts that are due to be looked at (see [`Upkeep::look_again`]): where number and time of one can mean
    /// nothing but the last attempt of one job in doubt, that job is accepted under its smsid. The
    /// accounts of these jobs.
    fn end_doubts(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<String>, LedgerError>>;
    /// Deletes rejections, notes of operations and replays that ended so long ago, so many of each at most;
    /// how many rows.
    fn prune_records(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>>;
    /// Makes sure that a row exists for each account, and reads them all.
    fn accounts<'a>(&'a self, names: &'a [String]) -> Boxed<'a, Result<Vec<AccountRow>, LedgerError>>;
    /// Pauses an account on the gateway's word, unless it is paused. True if this paused it.
    fn pause<'a>(&'a self, account: &'a str, pause: &'a Pause) -> Boxed<'a, Result<bool, LedgerError>>;
    /// Ends a pause that the gateway's word began.
    fn resume<'a>(&'a self, account: &'a str) -> Boxed<'a, Result<bool, LedgerError>>;
    /// Hands the oldest jobs that wait for room of one account to another, which will release them
    /// when it has room; the priority of each.
    fn reroute<'a>(&'a self, from: &'a str, to: &'a str, limit: u32) -> Boxed<'a, Result<Vec<Priority>, LedgerError>>;
    /// Jobs that wait for room of an account say why: the account is paused, or has no room. When it pauses or
    /// resumes, others wait already, and say what was true when they were parked. Mends at most `limit` of those
    /// behind `after`; where to go on, `None` at the end.
    fn say_why<'a>(
        &'a self,
        account: &'a str,
        after: Option<RoomPlace>,
        limit: u32,
    ) -> Boxed<'a, Result<Option<RoomPlace>, LedgerError>>;
    /// Of the jobs that were cancelled within the last so long, the numbers and priorities, at most `limit` of them.
    fn cancelled(&self, _within: Duration, _limit: u32) -> Boxed<'_, Result<Vec<(Mobile, Priority)>, LedgerError>> {
        // Where nobody cancels.
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Of each of these numbers and priorities, the last slot that a job waits for at its number's limiter.
    fn last_slots<'a>(
        &'a self,
        lines: &'a [(Mobile, Priority)],
    ) -> Boxed<'a, Result<Vec<Option<Timestamp>>, LedgerError>>;
    /// Tells `each` what is parked for limiters and accounts, a line for each number and account: one after the
    /// other, as there may be millions.
    fn parked<'a>(&'a self, each: &'a mut (dyn FnMut(ParkedJobs) + Send)) -> Boxed<'a, Result<(), LedgerError>>;
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
    /// Counts for the gauges, where these accounts are configured.
    fn waiting<'a>(&'a self, accounts: &'a [String]) -> Boxed<'a, Result<Waiting, LedgerError>>;
}

/// A job's place among those that wait for room of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomPlace {
    /// Its priority.
    pub priority: Priority,
    /// Its place in the order of arrival.
    pub seq: i64,
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
    /// What came beside it: see [`Settle::describe`](super::Settle::describe).
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
