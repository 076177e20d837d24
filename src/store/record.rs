//! Attempts end, and what is no job is kept.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::Row;

use super::connect::Store;
use super::error::ledger_error;
use super::events::announce;
use crate::dispatch::ports::{LedgerError, Record, Refusal};
use crate::domain::decide::Next;
use crate::domain::job::WaitReason;

/// Where a decision leads, in columns: reason, due, on_room.
fn wait_columns(next: &Next) -> (Option<&'static str>, Option<DateTime<Utc>>, bool) {
    match next {
        Next::Accepted | Next::Failed | Next::InDoubt => (None, None, false),
        // What waits for its account comes back when the account has room, oldest first.
        Next::Wait { reason, due_at } => (Some(reason.as_str()), *due_at, *reason == WaitReason::AccountPaused),
        Next::Again { due_at } => (Some(WaitReason::Retry.as_str()), Some(*due_at), false),
    }
}

impl Store {
    /// Ends attempts. Guarded: an outcome lands while its attempt is the job's last one and the job
    /// is still being settled; an acceptance lands even where the job was already taken for lost
    /// (in doubt, or waiting to be resent, or come to its end instead of that), because it is known now; also where an operator knew it before,
    /// for its smsid. False where it did not land: a doubt does not land on a doubt, which was announced
    /// already.
    /// So does an answer that lets a job go on that waits for its number's limit: the attempt that it waits for,
    /// its own, may be the one that does not count after all.
    /// An attempt that was taken for unknown is corrected by its late outcome; but one that gives the
    /// attempt back only together with its job, so that `jobs.attempts` stays the count of them.
    pub(super) async fn record_rows(&self, rows: &[Record]) -> Result<Vec<bool>, LedgerError> {
        let waits: Vec<_> = rows.iter().map(|row| wait_columns(&row.decision.next)).collect();
        let found = sqlx::query(concat!(
            "with input as (
                 select * from unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                     $7::boolean[], $8::int[], $9::bigint[], $10::text[], $11::text[])
                 as t(id, request, outcome, state, wait_reason, due_at, on_room, refund, code, message, smsid)
             ), ended as (
                 update attempts a
                 set outcome = i.outcome, code = i.code, message = i.message, smsid = i.smsid, finished_at = now()
                 from input i
                 where a.job_id = i.id and a.attempt = i.request
                   and (a.outcome is null or a.outcome = 'unknown' and (i.refund = 0 or exists (
                       select from jobs j where j.id = i.id and j.requests = i.request and j.state = 'in_doubt')))
             ), landed as (
                 update jobs j
                 set state = i.state, wait_reason = i.wait_reason, due_at = i.due_at, on_room = i.on_room,
                     attempts = greatest(j.attempts - i.refund, 0), claimed_until = null,
                     -- What has not left has no answer: the last one still stands.
                     code = case when i.outcome = 'not_sent' then j.code else i.code end,
                     message = i.message, smsid = i.smsid, updated_at = now()
                 from input i
                 where j.id = i.id and j.requests = i.request
                   and (j.state = 'submitting' or j.state = 'in_doubt' and i.state <> 'in_doubt'
                       or i.state = 'accepted' and (j.state in ('waiting', 'queued', 'expired', 'cancelled', 'failed')
                           or j.state = 'accepted' and j.smsid is null)
                       or i.wait_reason = 'retry' and i.refund = 0
                           and j.state = 'waiting' and j.wait_reason = 'number_limit')
                 returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata
             ), told as (",
            announce!("landed"),
            ")
             select id from landed",
        ))
        .bind(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.request as i32).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.decision.outcome.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.decision.next.state().as_str()).collect::<Vec<_>>())
        .bind(waits.iter().map(|wait| wait.0).collect::<Vec<_>>())
        .bind(waits.iter().map(|wait| wait.1).collect::<Vec<_>>())
        .bind(waits.iter().map(|wait| wait.2).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| i32::from(!row.decision.spent)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.answer.as_ref().map(|answer| answer.code)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.message.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.answer.as_ref().and_then(|a| a.smsid.as_deref())).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let landed: HashSet<String> =
            found.iter().map(|row| row.try_get(0).map_err(ledger_error)).collect::<Result<_, _>>()?;
        Ok(rows.iter().map(|row| landed.contains(&row.id)).collect())
    }

    /// Keeps messages that are no jobs, whole.
    pub(super) async fn refuse_rows(&self, rows: &[Refusal]) -> Result<Vec<()>, LedgerError> {
        sqlx::query(
            "insert into rejections (reason, detail, body, properties)
             select reason, detail, body, properties::jsonb
             from unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) as t(reason, detail, body, properties)",
        )
        .bind(rows.iter().map(|row| row.rejection.reason.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.rejection.detail.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.body[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.properties.as_str()).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(vec![(); rows.len()])
    }
}
