//! What ihuyi said of a job afterwards.

use serde::Serialize;
use sqlx::FromRow;

use super::super::connect::Store;
use super::super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;

/// A receipt. The number is whole: mask it before it is shown.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ReceiptInfo {
    /// ihuyi's id of the message.
    pub smsid: String,
    /// As pushed.
    pub mobile: Option<String>,
    /// 2: delivered.
    pub code: Option<i64>,
    /// Its words.
    pub message: Option<String>,
    /// ihuyi's time of the report.
    pub reported_at: Option<Timestamp>,
    /// When it came in.
    pub received_at: Timestamp,
}

/// A reply of a person. Number and text are whole: mask them before they are shown.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ReplyInfo {
    /// Who.
    pub mobile: String,
    /// What.
    pub content: String,
    /// ihuyi's id of the message, as pushed.
    pub smsid: Option<String>,
    /// When, as ihuyi says.
    pub replied_at: Option<Timestamp>,
    /// When it came in.
    pub received_at: Timestamp,
}

impl Store {
    /// The receipts that belong to a job, in the order in which they came.
    pub async fn job_receipts(&self, job_id: &str) -> Result<Vec<ReceiptInfo>, LedgerError> {
        sqlx::query_as(
            "select smsid, mobile, code, message, reported_at, received_at
             from receipts where job_id = $1 order by received_at, id",
        )
        .bind(job_id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    /// The replies that belong to a job, in the order in which they came.
    pub async fn job_replies(&self, job_id: &str) -> Result<Vec<ReplyInfo>, LedgerError> {
        sqlx::query_as(
            "select mobile, content, smsid, replied_at, received_at
             from replies where job_id = $1 order by received_at, id",
        )
        .bind(job_id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }
}
