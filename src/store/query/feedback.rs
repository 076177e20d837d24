//! What ihuyi said afterwards, and whom bulk jobs spare.

use serde::Serialize;
use sqlx::{FromRow, QueryBuilder};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::{Cursor, Page, clamp, push_page};
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;
use crate::domain::privacy::{Veil, masked, without_numbers};

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

impl ReceiptInfo {
    /// Hides the number, and every number that ihuyi's words quote.
    pub fn mask(&mut self) {
        Veil::over(self.mobile.as_deref().unwrap_or_default()).words(&mut self.message);
        self.message = self.message.as_deref().map(without_numbers);
        self.mobile = self.mobile.as_deref().map(masked);
    }
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
        let mut sql = QueryBuilder::new(
            "select id, smsid, mobile, code, message, reported_at, received_at, job_id from receipts where true",
        );
        if filter.unmatched {
            sql.push(" and job_id is null");
        }
        if let Some(smsid) = &filter.smsid {
            sql.push(" and smsid = ").push_bind(smsid.clone());
        }
        push_page(&mut sql, "received_at", (filter.since, filter.until), filter.cursor.as_ref(), limit);
        let rows = sql.build_query_as().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
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
        let mut sql = QueryBuilder::new("select mobile, reason, added_by, added_at from suppressions");
        if let Some(cursor) = cursor {
            sql.push(" where (added_at, mobile) < (").push_bind(cursor.at).push(", ");
            sql.push_bind(cursor.id.clone()).push(")");
        }
        sql.push(format!(" order by added_at desc, mobile desc limit {}", limit + 1));
        let rows = sql.build_query_as().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
        Ok(Page::of(rows, limit, |row: &SuppressionInfo| Cursor { at: row.added_at, id: row.mobile.clone() }))
    }
}
