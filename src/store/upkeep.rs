//! The periodic duties' statements, and the traits that the dispatcher sees.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;

use super::connect::Store;
use super::error::ledger_error;
use super::events::announce;
use super::rows::claim_of;
use crate::dispatch::ports::*;
use crate::domain::job::{OnUnknown, Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;
use crate::domain::receipt::Receipt;
use crate::domain::review::Review;
use crate::domain::uplink::Uplink;

/// Before `$1`, and longer ago than `$3` seconds by Postgres' clock: see [`Old`].
macro_rules! long_ago {
    () => {
        "least($1, now() - make_interval(secs => $3))"
    };
}

pub(super) use long_ago;

impl Store {
    async fn expire_rows(&self, now: Timestamp, limit: u32) -> Result<Vec<(String, u64)>, LedgerError> {
        let rows = sqlx::query(concat!(
            "with late as (
                 select id from jobs
                 where state in ('waiting', 'queued') and expires_at <= $1
                 limit $2
                 for update skip locked
             ), expired as (
                 update jobs j
                 set state = 'expired', wait_reason = null, due_at = null, on_room = false, updated_at = now()
                 from late where j.id = late.id
                 returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata
             ), told as (",
            announce!("expired"),
            ")
             select account, count(*) from expired group by account",
        ))
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter()
            .map(|row| {
                let jobs: i64 = row.try_get(1).map_err(ledger_error)?;
                Ok((row.try_get(0).map_err(ledger_error)?, jobs.max(0) as u64))
            })
            .collect()
    }

    async fn stale_claim_rows(&self, limit: u32) -> Result<Vec<StaleClaim>, LedgerError> {
        let rows = sqlx::query(
            "select id, account, requests, attempts - attempts_base as attempts, on_unknown
             from jobs where state = 'submitting' and claimed_until < now()
             order by claimed_until limit $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter()
            .map(|row| {
                let on_unknown: &str = row.try_get("on_unknown").map_err(ledger_error)?;
                Ok(StaleClaim {
                    id: row.try_get("id").map_err(ledger_error)?,
                    account: row.try_get("account").map_err(ledger_error)?,
                    claim: claim_of(row)?,
                    on_unknown: OnUnknown::parse(on_unknown).unwrap_or(OnUnknown::Hold),
                })
            })
            .collect()
    }

    async fn prune_rows(&self, old: Old, limit: u32) -> Result<u64, LedgerError> {
        let pruned = sqlx::query(concat!(
            "with old as (
                 select id from jobs
                 where updated_at < ",
            long_ago!(),
            "
                   and state in ('accepted', 'delivered', 'undelivered', 'failed', 'expired', 'cancelled')
                 order by updated_at
                 limit $2
                 for update skip locked
             ), tried as (
                 delete from attempts a using old where a.job_id = old.id
             )
             delete from jobs j using old where j.id = old.id",
        ))
        .bind(old.before)
        .bind(i64::from(limit))
        .bind(old.age.as_secs_f64())
        .execute(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(pruned.rows_affected())
    }

    async fn prune_record_rows(&self, old: Old, limit: u32) -> Result<u64, LedgerError> {
        let pruned: i64 = sqlx::query_scalar(concat!(
            "with old_rejections as (
                 select id from rejections where received_at < ",
            long_ago!(),
            " and id > 0 order by received_at limit $2
                 for update skip locked
             ), refused as (
                 delete from rejections r using old_rejections old where r.id = old.id returning r.id
             ), old_operations as (
                 select id from operations where at < ",
            long_ago!(),
            " order by at limit $2 for update skip locked
             ), done as (
                 delete from operations o using old_operations old where o.id = old.id returning o.id
             ), old_replay as (
                 select id from replays where finished_at < ",
            long_ago!(),
            " order by id limit 1 for update skip locked
             ), old_jobs as (
                 select replay_id, position from replay_jobs
                 where replay_id = (select id from old_replay)
                 order by position limit $2
             ), replayed as (
                 delete from replay_jobs r using old_jobs old
                 where r.replay_id = old.replay_id and r.position = old.position returning r.position
             ), ended as (
                 -- With the last of its jobs.
                 delete from replays r using old_replay old
                 where r.id = old.id and (select count(*) from old_jobs) < $2 returning r.id
             )
             select (select count(*) from refused) + (select count(*) from done) + (select count(*) from replayed)
                 + (select count(*) from ended)"
        ))
        .bind(old.before)
        .bind(i64::from(limit))
        .bind(old.age.as_secs_f64())
        .fetch_one(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(pruned.max(0) as u64)
    }

    async fn account_rows(&self, names: &[String]) -> Result<Vec<AccountRow>, LedgerError> {
        sqlx::query("insert into accounts (name) select unnest($1::text[]) on conflict (name) do nothing")
            .bind(names)
            .execute(&self.pool)
            .await
            .map_err(ledger_error)?;
        self.list_accounts().await
    }

    /// Every account that Postgres knows.
    pub async fn list_accounts(&self) -> Result<Vec<AccountRow>, LedgerError> {
        let rows = sqlx::query("select name, state, reason, paused_by, refusals from accounts order by name")
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)?;
        rows.iter()
            .map(|row| {
                let paused = row.try_get::<&str, _>("state").map_err(ledger_error)? == "paused";
                let reason: Option<String> = row.try_get("reason").map_err(ledger_error)?;
                let by: Option<&str> = row.try_get("paused_by").map_err(ledger_error)?;
                let pause = Pause {
                    by_operator: by == Some("operator"),
                    reason: reason.unwrap_or_default(),
                    refusals: row.try_get("refusals").map_err(ledger_error)?,
                };
                Ok(AccountRow { name: row.try_get("name").map_err(ledger_error)?, paused: paused.then_some(pause) })
            })
            .collect()
    }

    /// The gateway's word pauses an account, unless it is paused. False if nothing changed.
    async fn pause_account(&self, name: &str, pause: &Pause) -> Result<bool, LedgerError> {
        let done = sqlx::query(
            "update accounts
             set state = 'paused', reason = $2, paused_at = now(), updated_at = now(), paused_by = 'gateway',
                 refusals = $3
             where name = $1 and state = 'active'",
        )
        .bind(name)
        .bind(&pause.reason)
        .bind(pause.refusals)
        .execute(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends a pause that the gateway's word began. False if nothing changed.
    async fn resume_account(&self, name: &str) -> Result<bool, LedgerError> {
        let done = sqlx::query(
            "update accounts
             set state = 'active', reason = null, paused_at = null, paused_by = null, refusals = false,
                 updated_at = now()
             where name = $1 and state = 'paused' and paused_by = 'gateway'",
        )
        .bind(name)
        .execute(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(done.rows_affected() > 0)
    }

    /// What waits is certainly not with the gateway, so another account may send it. The highest priority
    /// goes first, by an index each.
    async fn reroute_rows(&self, from: &str, to: &str, limit: u32) -> Result<Vec<Priority>, LedgerError> {
        let mut moved = Vec::new();
        for priority in Priority::ALL.iter().copied() {
            let left = limit.saturating_sub(moved.len() as u32);
            let rows = if left == 0 { 0 } else { self.reroute_priority(from, to, priority, left).await? };
            moved.extend(std::iter::repeat_n(priority, rows as usize));
        }
        Ok(moved)
    }

    async fn reroute_priority(&self, from: &str, to: &str, priority: Priority, limit: u32) -> Result<u64, LedgerError> {
        let moved = sqlx::query(
            "with stranded as (
                 select id from jobs
                 where state = 'waiting' and on_room and account = $1 and priority = $4
                   -- The first account may have taken it.
                   and not (on_unknown = 'resend' and exists (
                       select 1 from attempts a where a.job_id = jobs.id and a.outcome = 'unknown'))
                 order by seq
                 limit $3
                 for update skip locked
             )
             update jobs j
             set account = $2, wait_reason = 'rate_limited', due_at = now(), updated_at = now()
             from stranded where j.id = stranded.id",
        )
        .bind(from)
        .bind(to)
        .bind(i64::from(limit))
        .bind(priority.as_str())
        .execute(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(moved.rows_affected())
    }

    /// In the order of `jobs_on_room`. Only what says the wrong thing is locked and written.
    async fn say_why_rows(
        &self,
        account: &str,
        after: Option<RoomPlace>,
        limit: u32,
    ) -> Result<Option<RoomPlace>, LedgerError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "with page as (
                 select id, priority, seq, wait_reason,
                     case when (select state from accounts where name = $1) = 'paused'
                         then 'account_paused' else 'rate_limited' end as reason
                 from jobs
                 where state = 'waiting' and on_room and account = $1 and (priority, seq) > ($2, $3)
                 order by priority, seq
                 limit $4
             ), wrong as materialized (
                 -- One by one by their ids: Postgres would rather read all that waits for the account.
                 select page.id, page.reason, row.stands
                 from page cross join lateral (
                     select j.state = 'waiting' and j.on_room and j.account = $1 as stands
                     from jobs j where j.id = page.id
                     for update skip locked) row
                 where page.wait_reason <> page.reason
             ), mended as (
                 update jobs j
                 set wait_reason = wrong.reason, due_at = case wrong.reason when 'account_paused' then null else now() end
                 from wrong where j.id = wrong.id and wrong.stands
             )
             select priority, seq from page order by priority, seq",
        )
        .bind(account)
        .bind(after.map_or("", |place| place.priority.as_str()))
        .bind(after.map_or(i64::MIN, |place| place.seq))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let Some((priority, seq)) = rows.last().filter(|_| rows.len() >= limit as usize) else { return Ok(None) };
        let priority =
            Priority::parse(priority).ok_or_else(|| LedgerError::Refused("a job's priority cannot be read".into()))?;
        Ok(Some(RoomPlace { priority, seq: *seq }))
    }

    async fn waiting_counts(&self, accounts: &[String]) -> Result<Waiting, LedgerError> {
        let rows = sqlx::query(
            // Each half has an index of its own; together they have none.
            "select wait_reason, count(*), count(*) filter (where account <> all($1))
             from (
                 select wait_reason, account from jobs where state = 'waiting' and not on_room
                 union all select wait_reason, account from jobs where state = 'waiting' and on_room) waiting
             group by wait_reason
             union all select 'in_doubt', count(*), 0 from jobs where state = 'in_doubt'
             union all select 'events', count(*), 0 from events",
        )
        .bind(accounts)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let mut waiting = Waiting::default();
        for row in &rows {
            let (word, jobs): (&str, i64) =
                (row.try_get(0).map_err(ledger_error)?, row.try_get(1).map_err(ledger_error)?);
            waiting.stranded += row.try_get::<i64, _>(2).map_err(ledger_error)?;
            match (WaitReason::parse(word), word) {
                (Some(reason), _) => waiting.by_reason.push((reason, jobs)),
                (None, "events") => waiting.events = jobs,
                (None, _) => waiting.in_doubt = jobs,
            }
        }
        Ok(waiting)
    }
}

impl Ledger for Store {
    fn admit<'a>(&'a self, rows: &'a [Admission]) -> Boxed<'a, Result<Vec<Admitted>, LedgerError>> {
        Box::pin(self.admit_rows(rows))
    }

    fn readmit<'a>(&'a self, rows: &'a [Readmission]) -> Boxed<'a, Result<Vec<Readmitted>, LedgerError>> {
        Box::pin(self.readmit_rows(rows))
    }

    fn record<'a>(&'a self, rows: &'a [Record]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        Box::pin(self.record_rows(rows))
    }

    fn refuse<'a>(&'a self, rows: &'a [Refusal]) -> Boxed<'a, Result<Vec<()>, LedgerError>> {
        Box::pin(self.refuse_rows(rows))
    }
}

impl Upkeep for Store {
    fn release_due(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>> {
        Box::pin(self.release_due_rows(now, limit))
    }

    fn wake(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, Priority)>, LedgerError>> {
        Box::pin(self.wake_rows(now, limit))
    }

    fn lift<'a>(
        &'a self,
        now: Timestamp,
        awake: &'a [Priority],
        free: bool,
        limit: u32,
    ) -> Boxed<'a, Result<u64, LedgerError>> {
        Box::pin(self.lift_rows(now, awake, free, limit))
    }

    fn put_forward(
        &self,
        by: chrono::TimeDelta,
        after: Option<DuePlace>,
        limit: u32,
    ) -> Boxed<'_, Result<(u64, Option<DuePlace>), LedgerError>> {
        Box::pin(self.put_forward_rows(by, after, limit))
    }

    fn release_room<'a>(
        &'a self,
        account: &'a str,
        priority: Priority,
        limit: u32,
    ) -> Boxed<'a, Result<Vec<Released>, LedgerError>> {
        Box::pin(self.release_room_rows(account, priority, limit))
    }

    fn release_lost(&self, age_seconds: u32, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>> {
        Box::pin(self.release_lost_rows(age_seconds, limit))
    }

    fn expire(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, u64)>, LedgerError>> {
        Box::pin(self.expire_rows(now, limit))
    }

    fn stale_claims(&self, limit: u32) -> Boxed<'_, Result<Vec<StaleClaim>, LedgerError>> {
        Box::pin(self.stale_claim_rows(limit))
    }

    fn prune(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        Box::pin(self.prune_rows(old, limit))
    }

    fn prune_feedback(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        Box::pin(self.prune_feedback_rows(old, limit))
    }

    fn look_again(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<Ended>, LedgerError>> {
        Box::pin(self.look_again_rows(ahead, limit))
    }

    fn end_doubts(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<String>, LedgerError>> {
        Box::pin(self.end_doubt_rows(ahead, limit))
    }

    fn prune_records(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        Box::pin(self.prune_record_rows(old, limit))
    }

    fn accounts<'a>(&'a self, names: &'a [String]) -> Boxed<'a, Result<Vec<AccountRow>, LedgerError>> {
        Box::pin(self.account_rows(names))
    }

    fn pause<'a>(&'a self, account: &'a str, pause: &'a Pause) -> Boxed<'a, Result<bool, LedgerError>> {
        Box::pin(self.pause_account(account, pause))
    }

    fn resume<'a>(&'a self, account: &'a str) -> Boxed<'a, Result<bool, LedgerError>> {
        Box::pin(self.resume_account(account))
    }

    fn reroute<'a>(&'a self, from: &'a str, to: &'a str, limit: u32) -> Boxed<'a, Result<Vec<Priority>, LedgerError>> {
        Box::pin(self.reroute_rows(from, to, limit))
    }

    fn say_why<'a>(
        &'a self,
        account: &'a str,
        after: Option<RoomPlace>,
        limit: u32,
    ) -> Boxed<'a, Result<Option<RoomPlace>, LedgerError>> {
        Box::pin(self.say_why_rows(account, after, limit))
    }

    fn cancelled(&self, within: Duration, limit: u32) -> Boxed<'_, Result<Vec<(Mobile, Priority)>, LedgerError>> {
        Box::pin(self.cancelled_lines(within, limit))
    }

    fn last_slots<'a>(
        &'a self,
        lines: &'a [(Mobile, Priority)],
    ) -> Boxed<'a, Result<Vec<Option<Timestamp>>, LedgerError>> {
        Box::pin(self.last_slots_of(lines))
    }

    fn parked<'a>(&'a self, each: &'a mut (dyn FnMut(ParkedJobs) + Send)) -> Boxed<'a, Result<(), LedgerError>> {
        Box::pin(self.parked_rows(each))
    }

    fn replay(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<bool, LedgerError>> {
        Box::pin(self.replay_step(now, limit))
    }

    fn retries(&self, patience: Duration, limit: u32) -> Boxed<'_, Result<Option<Vec<Retry>>, LedgerError>> {
        Box::pin(self.take_retries(patience, limit))
    }

    fn retried<'a>(&'a self, rows: &'a [Retried]) -> Boxed<'a, Result<(), LedgerError>> {
        Box::pin(self.note_retried(rows))
    }

    fn replay_results(&self) -> Boxed<'_, Result<(), LedgerError>> {
        Box::pin(self.note_replay_results())
    }

    fn waiting<'a>(&'a self, accounts: &'a [String]) -> Boxed<'a, Result<Waiting, LedgerError>> {
        Box::pin(self.waiting_counts(accounts))
    }
}

impl Feedback for Store {
    fn receive<'a>(&'a self, rows: &'a [Arc<Receipt>]) -> Boxed<'a, Result<Received, LedgerError>> {
        Box::pin(self.receive_rows(rows))
    }

    fn hear<'a>(&'a self, rows: &'a [Arc<Uplink>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        Box::pin(self.hear_rows(rows))
    }

    fn review<'a>(&'a self, rows: &'a [Arc<Review>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        Box::pin(self.review_rows(rows))
    }
}
