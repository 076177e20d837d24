//! Messages that were no valid jobs.

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::FromRow;

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::{Cursor, Page, clamp, columns};
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;
use crate::domain::message::RejectReason;

/// Which rejections to list. What is `None` filters nothing.
#[derive(Clone, Debug, Default)]
pub struct RejectionFilter {
    /// For this reason.
    pub reason: Option<RejectReason>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Rows of a page: 1 to [`super::MAX_PAGE`].
    pub limit: u32,
    /// Where the page begins.
    pub cursor: Option<Cursor>,
}

/// A rejection in a list. Holds no text and no full number.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct RejectionSummary {
    /// Its number.
    pub id: i64,
    /// A word of [`RejectReason`].
    pub reason: String,
    /// The field, the problem and the cure.
    pub detail: String,
    /// The length of the message's body.
    pub bytes: i32,
    /// When.
    pub received_at: Timestamp,
    /// When somebody last published it again.
    pub retried_at: Option<Timestamp>,
}

/// A rejection, whole: body and properties may hold texts and numbers.
#[derive(Clone, Debug, FromRow)]
pub struct RejectionInfo {
    /// What a list shows.
    #[sqlx(flatten)]
    pub summary: RejectionSummary,
    /// As received.
    pub body: Vec<u8>,
    /// The AMQP properties and headers, a JSON object.
    #[sqlx(json)]
    pub properties: Box<RawValue>,
}

impl Store {
    /// One page of the rejections that `filter` lets through, newest first.
    pub async fn list_rejections(&self, filter: &RejectionFilter) -> Result<Page<RejectionSummary>, LedgerError> {
        let limit = clamp(filter.limit);
        let (at, id) = columns(&filter.cursor);
        // A cursor that was made of another list names no rejection: nothing is before it.
        let id = id.map(|id| id.parse::<i64>().unwrap_or(0));
        let rows = sqlx::query_as(
            "select id, reason, detail, length(body) as bytes, received_at, retried_at from rejections
             where ($1::text is null or reason = $1)
               and ($2::timestamptz is null or received_at >= $2)
               and ($3::timestamptz is null or received_at < $3)
               and ($4::timestamptz is null or (received_at, id) < ($4, $5))
             order by received_at desc, id desc
             limit $6",
        )
        .bind(filter.reason.map(RejectReason::as_str))
        .bind(filter.since)
        .bind(filter.until)
        .bind(at)
        .bind(id)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(Page::of(rows, limit, |row: &RejectionSummary| Cursor { at: row.received_at, id: row.id.to_string() }))
    }

    /// The rejection of that number.
    pub async fn find_rejection(&self, id: i64) -> Result<Option<RejectionInfo>, LedgerError> {
        sqlx::query_as(
            "select id, reason, detail, length(body) as bytes, received_at, retried_at, body, properties
             from rejections where id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .map_err(ledger_error)
    }
}
