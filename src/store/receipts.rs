//! Receipts come in, find their jobs, and end them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::connect::Store;
use super::error::ledger_error;
use super::events::announce;
use super::upkeep::long_ago;
use crate::dispatch::ports::{Ended, LedgerError, Old, Received};
use crate::domain::job::State;
use crate::domain::receipt::{DRIFT, LOOKS, Receipt};

/// An `update` of `jobs` by the rows of the CTE `first`: `job_id, code, message` of the receipt that
/// decides, one for each job. Only an accepted job has something left to learn. `first` is sorted, so
/// that two statements at a time never wait for each other.
macro_rules! end_jobs {
    () => {
        "update jobs j
         set state = case when f.code = 2 then 'delivered' else 'undelivered' end, code = f.code,
             message = f.message, updated_at = now()
         from first f
         where j.id = f.job_id and j.state = 'accepted'
         returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata"
    };
}

impl Store {
    /// Keeps receipts. A repeat is known by its digest and changes nothing. Of several for one job in a
    /// batch the one that was reported first decides. An smsid has one job; were there two, an order
    /// among them would tempt the planner to search all jobs in that order.
    pub(super) async fn receive_rows(&self, rows: &[Arc<Receipt>]) -> Result<Received, LedgerError> {
        let found = sqlx::query(concat!(
            "with input as (
                 select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::bytea[])
                 as t(smsid, mobile, code, message, reported_at, digest)
             ), kept as (
                 insert into receipts (smsid, mobile, code, message, reported_at, digest, job_id, look_at)
                 select i.smsid, i.mobile, i.code, i.message, i.reported_at, i.digest, j.id,
                     case when j.id is null then now() + make_interval(secs => $7) end
                 from input i
                 left join lateral (select id from jobs where smsid = i.smsid limit 1) j on true
                 order by i.digest
                 on conflict (digest) do nothing
                 returning id, digest, job_id, code, message, reported_at
             ), first as (
                 select distinct on (job_id) job_id, code, message from kept
                 where job_id is not null
                 order by job_id, reported_at, id
             ), ended as (",
            end_jobs!(),
            "), told as (",
            announce!("ended"),
            ")
             select digest, null as account, null as state, null::bigint as code from kept
             union all select null, account, state, code from ended",
        ))
        .bind(rows.iter().map(|row| row.smsid.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.mobile.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.code).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.message.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.reported_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.digest[..]).collect::<Vec<_>>())
        .bind(LOOKS[0].as_secs_f64())
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let mut kept = HashSet::new();
        let mut ended = Vec::new();
        for row in &found {
            match row.try_get::<Option<Vec<u8>>, _>("digest").map_err(ledger_error)? {
                Some(digest) => drop(kept.insert(digest)),
                None => ended.push(ended_job(row)?),
            }
        }
        Ok(Received { new: rows.iter().map(|row| kept.contains(&row.digest[..])).collect(), ended })
    }

    /// Looks once more for the jobs of receipts that are due: by the job's smsid, else by that of an
    /// earlier attempt among the last jobs of the number, for a job that was sent again has two.
    pub(super) async fn look_again_rows(&self, ahead: Duration, limit: u32) -> Result<Vec<Ended>, LedgerError> {
        let rows = sqlx::query(concat!(
            "with due as (
                 select id, smsid, mobile, code, message, reported_at, looks from receipts
                 where look_at <= now() + make_interval(secs => $1)
                 order by look_at
                 limit $2
                 for update skip locked
             ), seen as (
                 select d.id, d.code, d.message, d.reported_at, d.looks, coalesce(
                     (select id from jobs where smsid = d.smsid limit 1),
                     (select a.job_id
                      from (select id from jobs where mobile = d.mobile order by updated_at desc limit 100) j
                      join attempts a on a.job_id = j.id
                      where a.smsid = d.smsid
                      limit 1)) as job_id
                 from due d
             ), noted as (
                 update receipts r
                 set job_id = s.job_id, looks = s.looks + 1, look_at =
                     case when s.job_id is null then now() + make_interval(secs => ($3::float8[])[s.looks + 2]) end
                 from seen s where r.id = s.id
             ), first as (
                 select distinct on (job_id) job_id, code, message from seen
                 where job_id is not null
                 order by job_id, reported_at, id
             ), ended as (",
            end_jobs!(),
            "), told as (",
            announce!("ended"),
            ")
             select account, state, code from ended",
        ))
        .bind(ahead.as_secs_f64())
        .bind(i64::from(limit))
        // Beyond the last one there is none: `make_interval` of null, and so `look_at`, is null.
        .bind(LOOKS.map(|pause| pause.as_secs_f64()).to_vec())
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter().map(ended_job).collect()
    }

    /// Ends doubts. A receipt that belongs to no job may be the one of an attempt whose answer was
    /// lost. It is, where its number and the time in its smsid fit the last attempt of a job in doubt
    /// and no other attempt that could have been it: one still on the wire, or one whose job was sent
    /// again. Where two receipts fit one attempt, neither is believed.
    ///
    /// An attempt was on the wire until its end, but not longer than its claim held: that of a dead
    /// process may have been ended much later.
    pub(super) async fn end_doubt_rows(&self, ahead: Duration, limit: u32) -> Result<Vec<String>, LedgerError> {
        let rows = sqlx::query(concat!(
            "with due as (
                 select distinct r.smsid, r.mobile, to_timestamp(left(r.smsid, 10)::bigint) as taken_at
                 from (
                     select smsid, mobile from receipts r
                     where look_at <= now() + make_interval(secs => $1) and smsid ~ '^[0-9]{20}$'
                       and exists (select from jobs j where j.mobile = r.mobile and j.state = 'in_doubt')
                       and not exists (select from jobs j where j.smsid = r.smsid)
                     order by look_at
                     limit $2) r
             ), fits as (
                 select d.smsid, a.job_id, a.attempt,
                     j.state = 'in_doubt' and j.requests = a.attempt and a.outcome = 'unknown' as in_doubt
                 from due d
                 join jobs j on j.mobile = d.mobile and j.updated_at > d.taken_at - make_interval(secs => $3 + $4)
                 join attempts a on a.job_id = j.id
                 where (a.outcome is null or a.outcome = 'unknown') and a.smsid is null
                   and d.taken_at >= a.started_at - make_interval(secs => $3)
                   and d.taken_at <= least(a.finished_at, a.started_at + make_interval(secs => $4))
                       + make_interval(secs => $3)
             ), only_fit as (
                 select smsid, min(job_id) as job_id, min(attempt) as attempt from fits
                 group by smsid
                 having count(*) = 1 and bool_and(in_doubt)
             ), certain as (
                 select job_id, min(attempt) as attempt, min(smsid) as smsid from only_fit
                 group by job_id
                 having count(*) = 1
             ), traced as (
                 update attempts a set smsid = c.smsid, message = concat_ws('; ', nullif(a.message, ''), $5)
                 from certain c
                 where a.job_id = c.job_id and a.attempt = c.attempt and a.outcome = 'unknown'
             ), accepted as (
                 update jobs j set state = 'accepted', smsid = c.smsid, message = $5, updated_at = now()
                 from certain c
                 where j.id = c.job_id and j.state = 'in_doubt'
                 returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata
             ), told as (",
            announce!("accepted"),
            ")
             select account from accepted",
        ))
        .bind(ahead.as_secs_f64())
        .bind(i64::from(limit))
        .bind(DRIFT.as_secs_f64())
        .bind(self.lease_seconds)
        .bind("a receipt shows that ihuyi took it")
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter().map(|row| row.try_get(0).map_err(ledger_error)).collect()
    }

    /// Receipts and replies age out with the jobs.
    pub(super) async fn prune_feedback_rows(&self, old: Old, limit: u32) -> Result<u64, LedgerError> {
        let mut pruned = 0;
        for statement in [
            concat!(
                "delete from receipts where id in (
                 select id from receipts where received_at < ",
                long_ago!(),
                " order by received_at limit $2 for update skip locked)"
            ),
            concat!(
                "delete from replies where id in (
                 select id from replies where received_at < ",
                long_ago!(),
                " order by received_at limit $2 for update skip locked)"
            ),
        ] {
            let query = sqlx::query(statement).bind(old.before).bind(i64::from(limit)).bind(old.age.as_secs_f64());
            let done = query.execute(&self.pool).await;
            pruned += done.map_err(ledger_error)?.rows_affected();
        }
        Ok(pruned)
    }
}

fn ended_job(row: &PgRow) -> Result<Ended, LedgerError> {
    let state = State::parse(row.try_get("state").map_err(ledger_error)?);
    Ok(Ended {
        account: row.try_get("account").map_err(ledger_error)?,
        state: state.ok_or_else(|| LedgerError::Refused("a job's state cannot be read".into()))?,
        code: row.try_get("code").map_err(ledger_error)?,
    })
}
