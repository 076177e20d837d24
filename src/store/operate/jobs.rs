//! Jobs are withdrawn, and doubts are ended, by hand.

use std::collections::HashMap;

use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::super::events::announce;
use super::super::query::JobFilter;
use super::super::query::filter::push_ranges;
use super::Operator;
use super::replays::describe;
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

/// An act on many jobs: its number in `operations`.
#[derive(Clone, Copy, Debug)]
pub struct Batch(i64);

/// Adds what `changed` holds to the batch of that number, if there is one.
macro_rules! counted {
    ($batch:literal) => {
        concat!(
            "counted as (
                 update operations set count = count + (select count(*) from changed) where id = ",
            $batch,
            "::bigint
             ) "
        )
    };
}

impl Store {
    /// The jobs that `filter` lets through, each with its state: the choice of an act on many.
    pub async fn choose_jobs(&self, filter: &JobFilter) -> Result<Vec<(String, State)>, LedgerError> {
        let ranges = self.ranges(filter).await?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = QueryBuilder::new("select id, state from (");
        push_ranges(&mut sql, "id, seq, state", &ranges, filter, None);
        sql.push(") as found order by seq, id");
        let rows = sql.build().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
        rows.iter().map(|row| Ok((row.try_get("id").map_err(ledger_error)?, state_in(row)?))).collect()
    }

    /// Begins an act on many jobs: one row in `operations`, whose count grows with what is done.
    pub async fn begin_batch(&self, by: &Operator, action: &str, filter: &JobFilter) -> Result<Batch, LedgerError> {
        let row = sqlx::query(
            "insert into operations (actor, via, action, target, reason) values ($1, $2, $3, $4::jsonb, $5) returning id",
        )
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(action)
        .bind(describe(filter).to_string())
        .bind(&by.reason)
        .fetch_one(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(Batch(row.try_get(0).map_err(ledger_error)?))
    }

    /// Withdraws jobs that wait or are due. What comes of each, in order. Noted in `batch`, or by itself.
    pub async fn cancel_jobs(
        &self,
        by: &Operator,
        ids: &[String],
        batch: Option<Batch>,
    ) -> Result<Vec<Acted>, LedgerError> {
        let rows = sqlx::query(concat!(
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
                 from changed where $5::bigint is null having count(*) > 0
             ), ",
            counted!("$5"),
            "select t.id, t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        ))
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .bind(batch.map(|batch| batch.0))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        acted(ids, &rows)
    }

    /// Ends doubts. What comes of each job, in order. Noted in `batch`, or by itself.
    pub async fn resolve_jobs(
        &self,
        by: &Operator,
        ids: &[String],
        verdict: &Verdict,
        batch: Option<Batch>,
    ) -> Result<Vec<Acted>, LedgerError> {
        match verdict {
            Verdict::Sent(smsid) => self.resolve_sent(by, ids, smsid.as_deref(), batch).await,
            Verdict::NotSent => self.resolve_not_sent(by, ids, batch).await,
        }
    }

    /// A receipt that came before its smsid was known is looked at again.
    async fn resolve_sent(
        &self,
        by: &Operator,
        ids: &[String],
        smsid: Option<&str>,
        batch: Option<Batch>,
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
                 from changed where $6::bigint is null having count(*) > 0
             ), ",
            counted!("$6"),
            "select t.id, t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        ))
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .bind(smsid)
        .bind(batch.map(|batch| batch.0))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        acted(ids, &rows)
    }

    async fn resolve_not_sent(
        &self,
        by: &Operator,
        ids: &[String],
        batch: Option<Batch>,
    ) -> Result<Vec<Acted>, LedgerError> {
        let rows = sqlx::query(concat!(
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
                 from changed where $5::bigint is null having count(*) > 0
             ), ",
            counted!("$5"),
            "select t.id, t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        ))
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .bind(batch.map(|batch| batch.0))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        acted(ids, &rows)
    }
}

fn state_in(row: &PgRow) -> Result<State, LedgerError> {
    let word = row.try_get("state").map_err(ledger_error)?;
    State::parse(word).ok_or_else(|| LedgerError::Refused("a job's state cannot be read".into()))
}

/// A row for each job that there is: its id, its state before, and whether the act took place.
fn acted(ids: &[String], rows: &[PgRow]) -> Result<Vec<Acted>, LedgerError> {
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let state = state_in(row)?;
        let done: bool = row.try_get("done").map_err(ledger_error)?;
        let id: String = row.try_get("id").map_err(ledger_error)?;
        found.insert(id, if done { Acted::Done } else { Acted::Not(state) });
    }
    Ok(ids.iter().map(|id| found.get(id).copied().unwrap_or(Acted::Missing)).collect())
}
