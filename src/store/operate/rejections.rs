//! Refused messages are chosen to be published again. The choice is a replay, which the lease holder carries
//! out (`retrying`).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Postgres, QueryBuilder, Row};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;
use crate::domain::message::RejectReason;

/// Numbers that a note of an operation holds, at most.
const NAMED: usize = 20;

/// Which rejections to publish again. What is `None` or empty filters nothing.
#[derive(Clone, Debug, Default)]
pub struct RetryChoice {
    /// Of these numbers.
    pub ids: Vec<i64>,
    /// Refused for this reason.
    pub reason: Option<RejectReason>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Also those that were published again before.
    pub again: bool,
}

impl RetryChoice {
    /// It would choose all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.reason.is_none() && self.since.is_none() && self.until.is_none()
    }
}

/// What a choice finds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RetryPreview {
    /// Messages that would be published again.
    pub matched: i64,
    /// Messages that would not: they were published again before.
    pub already: i64,
    /// The earliest of them.
    pub oldest: Option<Timestamp>,
    /// The latest.
    pub newest: Option<Timestamp>,
    /// How many with each reason.
    pub by_reason: BTreeMap<String, i64>,
}

/// How messages are to be published again.
#[derive(Clone, Debug)]
pub struct RetryOrder {
    /// Which.
    pub choice: RetryChoice,
    /// Messages a second.
    pub rate: f64,
    /// So many go first; the others only once none of those was refused again.
    pub canary: u32,
}

impl Store {
    /// What `choice` would find, changing nothing.
    pub async fn preview_retry(&self, choice: &RetryChoice) -> Result<RetryPreview, LedgerError> {
        let mut sql = QueryBuilder::new("select reason, retried_at is not null and not ");
        sql.push_bind(choice.again).push(" as already, count(*) as messages, ");
        sql.push("min(received_at) as oldest, max(received_at) as newest from rejections where ");
        push_chosen(&mut sql, choice);
        sql.push(" group by 1, 2");
        let rows = sql.build().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
        let mut preview = RetryPreview::default();
        for row in &rows {
            preview.add(row).map_err(ledger_error)?;
        }
        Ok(preview)
    }

    /// Freezes the choice and begins: what is refused from now on does not join. The replay's number and how many messages
    /// it has; `None` where there is none.
    pub async fn begin_retry(&self, by: &Operator, order: &RetryOrder) -> Result<Option<(i64, i64)>, LedgerError> {
        let mut sql = QueryBuilder::new("with chosen as materialized (");
        sql.push("select id, reason, retried_at from rejections where ");
        push_chosen(&mut sql, &order.choice);
        if !order.choice.again {
            sql.push(" and retried_at is null");
        }
        sql.push("), begun as (insert into replays ");
        sql.push("(subject, actor, via, reason, filter, rate, canary, canary_state, matched) select 'rejections', ");
        sql.push_bind(by.actor.clone()).push(", ").push_bind(by.via.as_str()).push(", ");
        sql.push_bind(by.reason.clone()).push(", ");
        sql.push_bind(describe(&order.choice).to_string()).push("::jsonb, ").push_bind(order.rate).push(", ");
        sql.push_bind(i64::from(order.canary)).push(", ");
        sql.push_bind(if order.canary > 0 { "going" } else { "none" });
        sql.push(", count(*) from chosen having count(*) > 0 returning id, matched, actor, via, filter, reason), ");
        sql.push("listed as (insert into replay_jobs ");
        sql.push("(replay_id, position, rejection_id, from_state, requests, retried_at) ");
        sql.push("select begun.id, row_number() over (order by c.id), c.id, c.reason, 0, c.retried_at ");
        sql.push("from chosen c cross join begun), ");
        sql.push("noted as (insert into operations (actor, via, action, target, count, reason) ");
        sql.push(
            "select actor, via, 'retry', filter || jsonb_build_object('replay', id), matched, reason from begun) ",
        );
        sql.push("select id, matched from begun");
        let row = sql.build().persistent(false).fetch_optional(&self.pool).await.map_err(ledger_error)?;
        row.map(|row| Ok((row.try_get(0).map_err(ledger_error)?, row.try_get(1).map_err(ledger_error)?))).transpose()
    }
}

/// What a choice lets through. Of a person who was forgotten the message is gone. Only what is asked for stands in
/// the text: plans are made without looking at values.
fn push_chosen(sql: &mut QueryBuilder<Postgres>, choice: &RetryChoice) {
    sql.push("body <> '' and id > 0");
    if !choice.ids.is_empty() {
        sql.push(" and id = any(").push_bind(choice.ids.clone()).push(")");
    }
    if let Some(reason) = choice.reason {
        sql.push(" and reason = ").push_bind(reason.as_str());
    }
    if let Some(since) = choice.since {
        sql.push(" and received_at >= ").push_bind(since);
    }
    if let Some(until) = choice.until {
        sql.push(" and received_at < ").push_bind(until);
    }
}

/// The choice for whoever reads it later. Few numbers are named, many counted.
fn describe(choice: &RetryChoice) -> Value {
    let named = (1..=NAMED).contains(&choice.ids.len()).then_some(&choice.ids);
    json!({
        "rejections": named,
        "ids": choice.ids.len(),
        "refused_for": choice.reason.map(RejectReason::as_str),
        "since": choice.since,
        "until": choice.until,
        "again": choice.again,
    })
}

impl RetryPreview {
    fn add(&mut self, row: &sqlx::postgres::PgRow) -> sqlx::Result<()> {
        let messages: i64 = row.try_get("messages")?;
        if row.try_get("already")? {
            self.already += messages;
            return Ok(());
        }
        let (oldest, newest): (Timestamp, Timestamp) = (row.try_get("oldest")?, row.try_get("newest")?);
        self.matched += messages;
        *self.by_reason.entry(row.try_get("reason")?).or_default() += messages;
        self.oldest = Some(self.oldest.map_or(oldest, |known| known.min(oldest)));
        self.newest = Some(self.newest.map_or(newest, |known| known.max(newest)));
        Ok(())
    }
}
