//! Replays are carried out: chosen jobs go back to waiting, in order and at the replay's rate. Where it
//! stands is in its rows, so that it goes on after a crash where it was.

use sqlx::Row;

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

impl Store {
    /// Sends jobs of the replay that is due first, at most `limit`. False where none is due.
    ///
    /// A job goes only if nothing has happened to it since it was chosen, so that two replays over the same jobs send
    /// once, and none undoes what an operator did meanwhile. What was missed while nobody carried it out is not made up for, but for a second's worth.
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
            "select id, subject, state <> 'cancelled' as goes_on from replays
             where state in ('running', 'paused') or state = 'cancelled' and finished_at > now() - interval '1 d'",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        for row in &open {
            let id: i64 = row.try_get(0).map_err(ledger_error)?;
            match row.try_get("subject").map_err(ledger_error)? {
                "rejections" => self.note_retry_results(id).await?,
                _ => self.note_results(id).await?,
            }
            if row.try_get("goes_on").map_err(ledger_error)? {
                self.judge_canary(id).await?;
                self.end_replay(id).await?;
            }
        }
        Ok(())
    }

    /// A job that is gone was settled long ago.
    async fn note_results(&self, id: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "update replay_jobs q
             set result = ended.result
             from (
                 select r.position, coalesce(j.state, 'skipped') as result
                 from replay_jobs r left join jobs j on j.id = r.job_id
                 where r.replay_id = $1 and r.result = 'sent'
                   and (j.id is null or j.state in ('accepted', 'delivered', 'undelivered', 'failed', 'expired',
                       'cancelled', 'in_doubt'))
             ) as ended
             where q.replay_id = $1 and q.position = ended.position and q.result = 'sent'",
        )
        .bind(id)
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
