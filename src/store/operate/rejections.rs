//! Refused messages are published again by hand.
//!
//! A batch of them is held by a transaction while it is published, so that two who do so at a time do not
//! publish the same; and it is marked with the note of who did. A crash between the broker's confirm and the
//! mark leaves messages that are published once more: their jobs are recognised by their ids.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{Postgres, Row, Transaction};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::super::query::RejectionInfo;
use super::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;
use crate::domain::message::RejectReason;

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
    /// The last of them: what is refused from now on does not join.
    #[serde(skip)]
    pub last: i64,
}

/// Messages that nobody else publishes meanwhile.
pub struct RetryBatch {
    transaction: Transaction<'static, Postgres>,
    /// What to publish, the oldest first.
    pub rejections: Vec<RejectionInfo>,
}

/// What a choice lets through. Of a person who was forgotten the message is gone.
macro_rules! chosen {
    () => {
        "(cardinality($1::bigint[]) = 0 or id = any($1)) and ($2::text is null or reason = $2)
         and ($3::timestamptz is null or received_at >= $3) and ($4::timestamptz is null or received_at < $4)
         and body <> ''"
    };
}

impl Store {
    /// What `choice` would find, changing nothing.
    pub async fn preview_retry(&self, choice: &RetryChoice) -> Result<RetryPreview, LedgerError> {
        let rows = sqlx::query(concat!(
            "select reason, retried_at is not null and not $5 as already, count(*) as messages, max(id) as last,
                 min(received_at) as oldest, max(received_at) as newest
             from rejections where ",
            chosen!(),
            " group by 1, 2"
        ))
        .bind(&choice.ids)
        .bind(choice.reason.map(RejectReason::as_str))
        .bind(choice.since)
        .bind(choice.until)
        .bind(choice.again)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let mut preview = RetryPreview::default();
        for row in &rows {
            preview.add(row).map_err(ledger_error)?;
        }
        Ok(preview)
    }

    /// The next messages of `choice` behind `after`, up to `last`, at most `limit`; those that somebody else holds are
    /// left to them. They are held until the batch is marked or dropped.
    pub async fn hold_rejections(
        &self,
        choice: &RetryChoice,
        after: i64,
        last: i64,
        limit: u32,
    ) -> Result<RetryBatch, LedgerError> {
        let mut transaction = self.pool.current().begin().await.map_err(ledger_error)?;
        let rejections = sqlx::query_as(concat!(
            "select id, reason, detail, length(body) as bytes, received_at, retried_at, body, properties
             from rejections where ",
            chosen!(),
            " and ($5 or retried_at is null) and id > $6 and id <= $7
             order by id limit $8 for update skip locked"
        ))
        .bind(&choice.ids)
        .bind(choice.reason.map(RejectReason::as_str))
        .bind(choice.since)
        .bind(choice.until)
        .bind(choice.again)
        .bind(after)
        .bind(last)
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(ledger_error)?;
        Ok(RetryBatch { transaction, rejections })
    }
}

impl RetryBatch {
    /// Notes that its messages were published again, and by whom.
    pub async fn mark(mut self, by: &Operator) -> Result<(), LedgerError> {
        let ids: Vec<i64> = self.rejections.iter().map(|rejection| rejection.summary.id).collect();
        sqlx::query(
            "with marked as (
                 update rejections set retried_at = now() where id = any($1) returning id
             )
             insert into operations (actor, via, action, target, count, reason)
             select $2, $3, 'retry', jsonb_build_object('rejections', jsonb_agg(id order by id)), count(*), $4
             from marked having count(*) > 0",
        )
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .execute(&mut *self.transaction)
        .await
        .map_err(ledger_error)?;
        self.transaction.commit().await.map_err(ledger_error)
    }
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
        self.last = self.last.max(row.try_get("last")?);
        *self.by_reason.entry(row.try_get("reason")?).or_default() += messages;
        self.oldest = Some(self.oldest.map_or(oldest, |known| known.min(oldest)));
        self.newest = Some(self.newest.map_or(newest, |known| known.max(newest)));
        Ok(())
    }
}
