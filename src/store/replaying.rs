//! Replays are carried out: chosen jobs go back to waiting, in order and at the replay's rate. Where it
//! stands is in its rows, so that it goes on after a crash where it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::connect::Store;
use super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;

/// Of a replay `r` whose canary is going: how many more may go; null where that is no matter. What was skipped or gone
/// says nothing of the others, so it is none of the canary: another one goes in its place.
macro_rules! canary_room {
    () => {
        "case when r.canary_state = 'going' then greatest(0, r.canary - (
             select count(*) from replay_jobs g
             where g.replay_id = r.id and g.result in ('sent', 'accepted', 'delivered', 'undelivered', 'failed', 'expired',
                 'cancelled', 'in_doubt', 'taken', 'refused'))) end"
    };
}

pub(super) use canary_room;

/// Rows of a replay that one statement looks at for what became of them.
const LOOK: i64 = 1_000;
/// Such statements in a pass.
const LOOKS: u32 = 20;

/// How far each replay was looked through: a pass goes on where the one before it ended, so that many rows cost no
/// more than few, only later.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked(Arc<Mutex<HashMap<i64, i64>>>);

impl Looked {
    fn at(&self, replay: i64) -> i64 {
        self.all().get(&replay).copied().unwrap_or(0)
    }

    /// `None`: from the start.
    fn go_on_after(&self, replay: i64, position: Option<i64>) {
        match position {
            Some(position) => _ = self.all().insert(replay, position),
            None => _ = self.all().remove(&replay),
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<i64, i64>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Rows of a replay behind one position, up to another.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub replay: i64,
    pub after: i64,
    pub to: i64,
}

impl Store {
    /// Sends jobs of the replay that is due first, at most `limit`. False where none is due.
    ///
    /// A job goes only if nothing has happened to it since it was chosen, so that two replays over the same jobs send
    /// once, and none undoes what an operator did meanwhile. What was missed while nobody carried it out is not made
    /// up for, but for a second's worth.
    pub(super) async fn replay_step(&self, now: Timestamp, limit: u32) -> Result<bool, LedgerError> {
        let due = sqlx::query(concat!(
            "with replay as (
                 select r.id, r.rate, r.expires_in,
                     least($1::float8, 1 + floor(least(extract(epoch from now() - r.due_at), 1) * r.rate))::bigint as quota,
                     ",
            canary_room!(),
            " as room
                 from replays r where r.state = 'running' and r.subject = 'jobs' and r.due_at <= now()
                 order by r.due_at limit 1
                 for update skip locked
             ), picked as (
                 select r.id as replay_id, p.position, p.job_id, p.from_state, p.requests, p.changed_at, r.expires_in
                 from replay r cross join lateral (
                     select position, job_id, from_state, requests, changed_at from replay_jobs
                     where replay_id = r.id and result = 'pending'
                     order by position limit least(r.quota, r.room)
                 ) as p
             ), moved as (
                 update jobs j
                 set state = 'waiting', wait_reason = 'replay', due_at = $2, on_room = false,
                     attempts_base = j.attempts, updated_at = now(),
                     expires_at = case when p.expires_in is null then j.expires_at else $2 + p.expires_in end
                 from picked p
                 where j.id = p.job_id and j.state = p.from_state and j.requests = p.requests and j.mobile <> ''
                   and j.updated_at = coalesce(p.changed_at, j.updated_at)
                 returning j.id
             ), noted as (
                 update replay_jobs q
                 set result = case when m.id is null then 'skipped' else 'sent' end, at = now()
                 from picked p left join moved m on m.id = p.job_id
                 where q.replay_id = p.replay_id and q.position = p.position and q.result = 'pending'
             ), paced as (
                 update replays q
                 set due_at = case when exists (select from picked)
                         then greatest(q.due_at, now() - interval '1 s')
                             + make_interval(secs => (select count(*) from moved) / q.rate)
                         else now() + interval '200 ms' end
                 from replay r where q.id = r.id
             )
             select id from replay",
        ))
        .bind(f64::from(limit))
        .bind(now)
        .fetch_optional(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(due.is_some())
    }

    /// Notes what became of jobs that were sent again, judges canaries, and ends replays that are through.
    pub(super) async fn note_replay_results(&self) -> Result<(), LedgerError> {
        // What a replay had sent before it was cancelled still ends, and is still looked for.
        let open = sqlx::query(
            "select id, subject, state <> 'cancelled' as goes_on, canary_state = 'going' as has_canary from replays
             where state in ('running', 'paused') or state = 'cancelled' and finished_at > now() - interval '1 d'",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let mut failure = None;
        for row in &open {
            // One that fails does not keep the others from their results.
            if let Err(error) = self.look_after_replay(row).await {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn look_after_replay(&self, row: &PgRow) -> Result<(), LedgerError> {
        let id: i64 = row.try_get("id").map_err(ledger_error)?;
        let subject: &str = row.try_get("subject").map_err(ledger_error)?;
        for _ in 0..LOOKS {
            let Some(look) = self.next_look(id).await? else { break };
            match subject {
                "rejections" => self.note_retry_results(look).await?,
                _ => self.note_results(look).await?,
            }
        }
        if row.try_get("goes_on").map_err(ledger_error)? {
            if row.try_get::<Option<bool>, _>("has_canary").map_err(ledger_error)?.unwrap_or(false) {
                self.judge_canary(id).await?;
            }
            self.end_replay(id).await?;
        }
        Ok(())
    }

    /// The next rows to look at; `None` once all were looked at.
    async fn next_look(&self, replay: i64) -> Result<Option<Look>, LedgerError> {
        let after = self.looked.at(replay);
        let to: Option<i64> = sqlx::query_scalar(
            "select max(position) from (
                 select position from replay_jobs
                 where replay_id = $1 and result = 'sent' and position > $2
                 order by position limit $3) as next",
        )
        .bind(replay)
        .bind(after)
        .bind(LOOK)
        .fetch_one(&self.pool)
        .await
        .map_err(ledger_error)?;
        self.looked.go_on_after(replay, to);
        Ok(to.map(|to| Look { replay, after, to }))
    }

    /// A job that is gone was settled long ago. Subqueries instead of a join: plans are made without a look at the
    /// tables, and a join of what looks like one row would look at each for each.
    async fn note_results(&self, look: Look) -> Result<(), LedgerError> {
        sqlx::query(
            "update replay_jobs q
             set result = coalesce((select j.state from jobs j where j.id = q.job_id), 'skipped')
             where q.replay_id = $1 and q.result = 'sent' and q.position > $2 and q.position <= $3
               and coalesce((
                   select j.state in ('accepted', 'delivered', 'undelivered', 'failed', 'expired', 'cancelled', 'in_doubt')
                   from jobs j where j.id = q.job_id), true)",
        )
        .bind(look.replay)
        .bind(look.after)
        .bind(look.to)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }

    /// As long as it is going, nothing but the canary has gone. It passes when it is whole, or no more is left to join it.
    async fn judge_canary(&self, id: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "update replays r
             set canary_state = case when c.bad > 0 then 'failed' else 'passed' end,
                 state = case when c.bad > 0 then 'paused' else r.state end,
                 note = case when c.bad > 0 then format('the canary failed: %s of %s were %s; look at them, then resume or '
                     'cancel', c.bad, least(r.canary, r.matched),
                     case r.subject when 'jobs' then 'not accepted' else 'refused again' end)
                     else r.note end,
                 updated_at = now()
             from (
                 select count(*) filter (where q.result in ('sending', 'sent')) as open,
                     count(*) filter (where q.result in ('accepted', 'delivered', 'taken')) as good,
                     count(*) filter (where q.result in ('undelivered', 'failed', 'expired', 'cancelled', 'in_doubt',
                         'refused')) as bad
                 from replay_jobs q
                 where q.replay_id = $1 and q.result in ('sending', 'sent', 'accepted', 'delivered', 'taken', 'undelivered',
                     'failed', 'expired', 'cancelled', 'in_doubt', 'refused')
             ) as c
             where r.id = $1 and r.canary_state = 'going'
               and (c.bad > 0 or c.open = 0 and (c.good >= r.canary or not exists (
                   select from replay_jobs p where p.replay_id = $1 and p.result = 'pending')))",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }

    /// A message that was published an hour ago and is neither a job nor refused is none of our business any more: it
    /// stands in a queue, or in `sms.dead`.
    async fn end_replay(&self, id: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "update replays r
             set state = 'done', finished_at = now(), updated_at = now()
             where r.id = $1 and r.state = 'running'
               and not exists (select from replay_jobs q where q.replay_id = $1 and q.result = 'pending')
               and not exists (select from replay_jobs q where q.replay_id = $1 and q.result = 'sending')
               and not exists (
                   select from replay_jobs q
                   where q.replay_id = $1 and q.result = 'sent'
                     and (r.subject = 'jobs' or q.at > now() - interval '1 h'))",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }
}
