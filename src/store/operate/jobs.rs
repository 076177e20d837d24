//! Jobs are withdrawn, and doubts are ended, by hand.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::super::events::announce;
use super::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::State;

/// What became of one job that somebody acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted {
    /// As asked.
    Done,
    /// It was in this state, and stayed as it was.
    Not(State),
    /// There is no such job.
    Missing,
}

/// What an operator has found out about a job in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// ihuyi took it: `accepted`, with ihuyi's id where it is known.
    Sent(Option<String>),
    /// ihuyi did not: it is due now, with what is left of its attempts and at least one.
    NotSent,
}

impl Store {
    /// Withdraws jobs that wait or are due. What comes of each, in order.
    pub async fn cancel_jobs(&self, by: &Operator, ids: &[String]) -> Result<Vec<Acted>, LedgerError> {
        let rows = sqlx::query(
            "with target as (
                 select id, state from jobs where id = any($1) order by id for update
             ), changed as (
                 update jobs j
                 set state = 'cancelled', wait_reason = null, due_at = null, on_room = false, updated_at = now()
                 from target t where j.id = t.id and t.state in ('waiting', 'queued')
                 returning j.id
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, 'cancel', jsonb_build_object('jobs', jsonb_agg(id order by id)), count(*), $4
                 from changed having count(*) > 0
             )
             select t.id, t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        )
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        acted(ids, &rows)
    }

    /// Ends doubts. What comes of each job, in order.
    pub async fn resolve_jobs(
        &self,
        by: &Operator,
        ids: &[String],
        verdict: &Verdict,
    ) -> Result<Vec<Acted>, LedgerError> {
        match verdict {
            Verdict::Sent(smsid) => self.resolve_sent(by, ids, smsid.as_deref()).await,
            Verdict::NotSent => self.resolve_not_sent(by, ids).await,
        }
    }

    /// A receipt that came before its smsid was known is looked at again.
    async fn resolve_sent(
        &self,
        by: &Operator,
        ids: &[String],
        smsid: Option<&str>,
    ) -> Result<Vec<Acted>, LedgerError> {
        let rows = sqlx::query(concat!(
            "with target as (
                 select id, state from jobs where id = any($1) order by id for update
             ), changed as (
                 update jobs j
                 set state = 'accepted', smsid = coalesce($5, j.smsid), updated_at = now()
                 from target t where j.id = t.id and t.state = 'in_doubt'
                 returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata
             ), told as (",
            announce!("changed"),
            "), early as (
                 update receipts set look_at = now(), looks = 0
                 where smsid = $5 and job_id is null and exists (select from changed)
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, 'resolve',
                     jsonb_build_object('jobs', jsonb_agg(id order by id), 'sent', true, 'smsid', $5::text), count(*), $4
                 from changed having count(*) > 0
             )
             select t.id, t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        ))
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .bind(smsid)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        acted(ids, &rows)
    }

    async fn resolve_not_sent(&self, by: &Operator, ids: &[String]) -> Result<Vec<Acted>, LedgerError> {
        let rows = sqlx::query(
            "with target as (
                 select id, state from jobs where id = any($1) order by id for update
             ), changed as (
                 update jobs j
                 set state = 'waiting', wait_reason = 'retry', due_at = now(), on_room = false, updated_at = now()
                 from target t where j.id = t.id and t.state = 'in_doubt'
                 returning j.id
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, 'resolve', jsonb_build_object('jobs', jsonb_agg(id order by id), 'sent', false),
                     count(*), $4
                 from changed having count(*) > 0
             )
             select t.id, t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        )
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        acted(ids, &rows)
    }
}

/// A row for each job that there is: its id, its state before, and whether the act took place.
fn acted(ids: &[String], rows: &[PgRow]) -> Result<Vec<Acted>, LedgerError> {
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let state = State::parse(row.try_get("state").map_err(ledger_error)?)
            .ok_or_else(|| LedgerError::Refused("a job's state cannot be read".into()))?;
        let done: bool = row.try_get("done").map_err(ledger_error)?;
        let id: String = row.try_get("id").map_err(ledger_error)?;
        found.insert(id, if done { Acted::Done } else { Acted::Not(state) });
    }
    Ok(ids.iter().map(|id| found.get(id).copied().unwrap_or(Acted::Missing)).collect())
}
