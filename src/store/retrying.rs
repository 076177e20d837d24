//! Refused messages are published again: what their replays hand to whoever publishes, and what became of it.
//!
//! A message is marked (`sending`) in the statement that hands it out, and marked again (`sent`) once the
//! broker has confirmed it. What a crash leaves in between is handed out again: it may have been published, but
//! a second copy is recognised by its job's id, and one without an id is no job and only refused twice. What the
//! broker does not take (`failed`) is as if nobody had chosen it.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::connect::Store;
use super::error::ledger_error;
use super::replaying::Look;
use super::replaying::canary_room;
use crate::dispatch::ports::{LedgerError, Retried, Retry};

/// Bodies that are handed out together, in bytes. One that is longer goes alone.
const BYTES: i64 = 8 * 1024 * 1024;

impl Store {
    /// The next messages of the replay that is due first, at most `limit`; `None` where none is due. What was
    /// handed out and not confirmed for `patience` is handed out again, and nothing else of its replay before.
    ///
    /// A message goes only if nobody else has published it since it was chosen, so that two replays over the
    /// same messages publish once. Pacing is that of jobs (`replay_step`).
    pub(super) async fn take_retries(&self, patience: Duration, limit: u32) -> Result<Option<Vec<Retry>>, LedgerError> {
        let rows = sqlx::query(concat!(
            "with replay as (
                 select r.id, r.rate,
                     least($1::float8, 1 + floor(least(extract(epoch from now() - r.due_at), 1) * r.rate))::bigint as quota,
                     ",
            canary_room!(),
            " as room
                 from replays r
                 where r.state = 'running' and r.subject = 'rejections' and r.due_at <= now()
                   and not exists (
                       select from replay_jobs q
                       where q.replay_id = r.id and q.result = 'sending' and q.at > now() - make_interval(secs => $2))
                 order by r.due_at limit 1
                 for update skip locked
             ), next as (
                 select r.id as replay_id, q.position, q.rejection_id, q.retried_at
                 from replay r cross join lateral (
                     select position, rejection_id, retried_at from replay_jobs
                     where replay_id = r.id and result in ('pending', 'sending')
                     order by position limit least(r.quota, r.room)
                 ) as q
             ), weighed as (
                 select n.*, x.id is not null and x.body <> '' as is_there,
                     coalesce(sum(octet_length(x.body)) over (
                         order by n.position rows between unbounded preceding and 1 preceding), 0) as before
                 from next n left join rejections x on x.id = n.rejection_id
             ), picked as (
                 select * from weighed where before < $3
             ), taken as (
                 update rejections x
                 set retried_at = now()
                 from picked p
                 where p.is_there and x.id = p.rejection_id and x.retried_at is not distinct from p.retried_at
                   and x.body <> ''
                 returning x.id, x.body, x.properties::text as properties
             ), noted as (
                 update replay_jobs q
                 set result = case when t.id is not null then 'sending' when p.is_there then 'skipped' else 'gone' end,
                     at = now(), retried_at = case when t.id is not null then now() else q.retried_at end
                 from picked p left join taken t on t.id = p.rejection_id
                 where q.replay_id = p.replay_id and q.position = p.position and q.result in ('pending', 'sending')
                   and q.retried_at is not distinct from p.retried_at
             ), paced as (
                 update replays q
                 set due_at = case when exists (select from picked)
                         then greatest(q.due_at, now() - interval '1 s')
                             + make_interval(secs => (select count(*) from taken) / q.rate)
                         else now() + interval '200 ms' end
                 from replay r where q.id = r.id
             )
             select r.id as replay, p.position, t.id as rejection, t.body, t.properties
             from replay r left join (picked p join taken t on t.id = p.rejection_id) on true
             order by p.position",
        ))
        .bind(f64::from(limit))
        .bind(patience.as_secs_f64())
        .bind(BYTES)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        if rows.is_empty() {
            return Ok(None);
        }
        rows.iter()
            .filter_map(|row| retry(row).transpose())
            .collect::<sqlx::Result<_>>()
            .map(Some)
            .map_err(ledger_error)
    }

    /// The broker has them; what it does not take is as if nobody had published it.
    pub(super) async fn note_retried(&self, rows: &[Retried]) -> Result<(), LedgerError> {
        sqlx::query(
            "with told as (
                 update replay_jobs q
                 set result = case when s.taken then 'sent' else 'failed' end, job_id = s.job_id, digest = s.digest
                 from unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::text[], $5::bytea[])
                     as s (replay_id, position, taken, job_id, digest)
                 where q.replay_id = s.replay_id and q.position = s.position and q.result = 'sending'
                 returning q.rejection_id, q.retried_at, s.taken
             )
             update rejections x
             set retried_at = case when t.taken then t.retried_at end
             from told t
             where x.id = t.rejection_id
               -- A replay that was cancelled meanwhile has given it back.
               and case when t.taken then x.retried_at is null else x.retried_at = t.retried_at end",
        )
        .bind(rows.iter().map(|row| row.replay).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.taken).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.job.as_ref().map(|(id, _)| id.as_str())).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.job.as_ref().map(|(_, digest)| &digest[..])).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }

    /// Of the messages that were published again: those that were refused again, and those whose job is there. On
    /// subqueries see `note_results`.
    pub(super) async fn note_retry_results(&self, look: Look) -> Result<(), LedgerError> {
        sqlx::query(
            "update replay_jobs q
             set result = case when (
                     select true from rejections x
                     where left(x.properties -> 'headers' ->> 'x-dispatcher-rejection', 20) = q.rejection_id::text
                       and x.properties -> 'headers' ->> 'x-dispatcher-rejection' is not null
                       and x.received_at >= q.at limit 1) then 'refused' else 'taken' end
             where q.replay_id = $1 and q.result = 'sent' and q.position > $2 and q.position <= $3
               and q.rejection_id is not null
               and ((select true from rejections x
                     where left(x.properties -> 'headers' ->> 'x-dispatcher-rejection', 20) = q.rejection_id::text
                       and x.properties -> 'headers' ->> 'x-dispatcher-rejection' is not null
                       and x.received_at >= q.at limit 1)
                   or (select true from jobs j where j.id = q.job_id and j.digest = q.digest))",
        )
        .bind(look.replay)
        .bind(look.after)
        .bind(look.to)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }
}

/// A message to publish; `None` where a replay was due and had none.
fn retry(row: &PgRow) -> sqlx::Result<Option<Retry>> {
    let Some(rejection) = row.try_get("rejection")? else { return Ok(None) };
    Ok(Some(Retry {
        replay: row.try_get("replay")?,
        position: row.try_get("position")?,
        rejection,
        body: row.try_get("body")?,
        properties: row.try_get("properties")?,
    }))
}
