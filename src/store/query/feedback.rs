//! What ihuyi said afterwards, and whom bulk jobs spare.

use serde::Serialize;
use sqlx::FromRow;

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::{Cursor, Page, clamp, columns};
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;

/// Which receipts to list. What is `None` or false filters nothing.
#[derive(Clone, Debug, Default)]
pub struct ReceiptFilter {
    /// Only those that belong to no job.
    pub unmatched: bool,
    /// Only those of this message.
    pub smsid: Option<String>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Rows of a page: 1 to [`super::MAX_PAGE`].
    pub limit: u32,
    /// Where the page begins.
    pub cursor: Option<Cursor>,
}

/// A receipt as Postgres has it. The number is whole: mask it before it is shown.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ReceiptInfo {
    /// Its number.
    pub id: i64,
    /// ihuyi's id of the message.
    pub smsid: String,
    /// To whom; eleven digits, or as pushed.
    pub mobile: Option<String>,
    /// 2: delivered. `None` where what was pushed is no number.
    pub code: Option<i64>,
    /// ihuyi's words.
    pub message: Option<String>,
    /// ihuyi's time of the report.
    pub reported_at: Option<Timestamp>,
    /// When it came in.
    pub received_at: Timestamp,
    /// The job that it belongs to.
    pub job_id: Option<String>,
}

/// A reply as Postgres has it. Number and text are whole: mask them before they are shown.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ReplyInfo {
    /// Its number.
    pub id: i64,
    /// Who wrote it; eleven digits, or as pushed.
    pub mobile: String,
    /// The text.
    pub content: String,
    /// As pushed: it may be wrong or missing.
    pub smsid: Option<String>,
    /// When it was written.
    pub replied_at: Option<Timestamp>,
    /// When it came in.
    pub received_at: Timestamp,
    /// The last job that went to the number.
    pub job_id: Option<String>,
}

/// A number that bulk jobs spare. It is whole: mask it before it is shown.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct SuppressionInfo {
    /// Eleven digits.
    pub mobile: String,
    /// The word that the person sent, or what an operator wrote.
    pub reason: String,
    /// `reply`, or the operator.
    pub added_by: String,
    /// Since when.
    pub added_at: Timestamp,
}

impl Store {
    /// One page of the receipts that `filter` lets through, newest first.
    pub async fn list_receipts(&self, filter: &ReceiptFilter) -> Result<Page<ReceiptInfo>, LedgerError> {
        let limit = clamp(filter.limit);
        let (at, id) = columns(&filter.cursor);
        // A cursor that was made of another list names no receipt: nothing is before it.
        let id = id.map(|id| id.parse::<i64>().unwrap_or(0));
        let rows = sqlx::query_as(
            "select id, smsid, mobile, code, message, reported_at, received_at, job_id from receipts
             where (not $1 or job_id is null)
               and ($2::text is null or smsid = $2)
               and ($3::timestamptz is null or received_at >= $3)
               and ($4::timestamptz is null or received_at < $4)
               and ($5::timestamptz is null or (received_at, id) < ($5, $6))
             order by received_at desc, id desc
             limit $7",
        )
        .bind(filter.unmatched)
        .bind(filter.smsid.as_deref())
        .bind(filter.since)
        .bind(filter.until)
        .bind(at)
        .bind(id)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(Page::of(rows, limit, |row: &ReceiptInfo| Cursor { at: row.received_at, id: row.id.to_string() }))
    }

    /// Every receipt of a job, in order.
    pub async fn job_receipts(&self, job_id: &str) -> Result<Vec<ReceiptInfo>, LedgerError> {
        sqlx::query_as(
            "select id, smsid, mobile, code, message, reported_at, received_at, job_id from receipts
             where job_id = $1 order by received_at, id",
        )
        .bind(job_id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    /// Every reply to a job, in order.
    pub async fn job_replies(&self, job_id: &str) -> Result<Vec<ReplyInfo>, LedgerError> {
        sqlx::query_as(
            "select id, mobile, content, smsid, replied_at, received_at, job_id from replies
             where job_id = $1 order by received_at, id",
        )
        .bind(job_id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    /// One page of the suppressed numbers, the one added last first.
    pub async fn list_suppressions(
        &self,
        limit: u32,
        cursor: Option<&Cursor>,
    ) -> Result<Page<SuppressionInfo>, LedgerError> {
        let limit = clamp(limit);
        let (at, mobile) = columns(cursor);
        let rows = sqlx::query_as(
            "select mobile, reason, added_by, added_at from suppressions
             where $1::timestamptz is null or (added_at, mobile) < ($1, $2)
             order by added_at desc, mobile desc
             limit $3",
        )
        .bind(at)
        .bind(mobile)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(Page::of(rows, limit, |row: &SuppressionInfo| Cursor { at: row.added_at, id: row.mobile.clone() }))
    }
}
