//! Replies come in, and who wants no more is suppressed.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::Row;

use super::connect::Store;
use super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::uplink::Uplink;

impl Store {
    /// Keeps replies, each with the job that went to its number last: the start of its last attempt
    /// counts, for a job also changes when its receipt comes. Tells others of it in the same statement.
    pub(super) async fn hear_rows(&self, rows: &[Arc<Uplink>]) -> Result<Vec<bool>, LedgerError> {
        let found = sqlx::query(
            "with input as (
                 select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[], $6::text[])
                 as t(mobile, content, smsid, replied_at, digest, opt_out)
             ), kept as (
                 insert into replies (mobile, content, smsid, replied_at, digest, job_id)
                 select mobile, content, smsid, replied_at, digest, (
                     select j.id
                     from (
                         select id, updated_at from jobs
                         where mobile = i.mobile
                           and state in ('submitting', 'in_doubt', 'accepted', 'delivered', 'undelivered')
                         order by updated_at desc
                         limit 20) j
                     order by (select max(started_at) from attempts where job_id = j.id) desc nulls last,
                         j.updated_at desc
                     limit 1)
                 from input i
                 order by digest
                 on conflict (digest) do nothing
                 returning mobile, content, replied_at, received_at, job_id, digest
             ), suppressed as (
                 insert into suppressions (mobile, reason, added_by)
                 select distinct on (mobile) mobile, opt_out, 'reply' from input i
                 where opt_out is not null and exists (select from kept k where k.digest = i.digest)
                 order by mobile
                 on conflict (mobile) do nothing
             ), told as (
                 insert into events (job_id, type, data)
                 select job_id, 'reply.received', jsonb_build_object('mobile', mobile, 'content', content,
                     'at', coalesce(replied_at, received_at), 'id', job_id)
                 from kept
                 where current_setting('dispatcher.events', true) is distinct from 'off'
             )
             select digest from kept",
        )
        .bind(rows.iter().map(|row| row.mobile.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.content.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.smsid.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.replied_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.digest[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.opt_out.as_deref()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let kept: HashSet<Vec<u8>> =
            found.iter().map(|row| row.try_get(0).map_err(ledger_error)).collect::<Result<_, _>>()?;
        Ok(rows.iter().map(|row| kept.contains(&row.digest[..])).collect())
    }
}
