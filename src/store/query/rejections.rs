//! Messages that were no valid jobs.

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{FromRow, QueryBuilder};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::{Cursor, Page, clamp, push_page};
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
        let mut sql = QueryBuilder::new(
            "select id, reason, detail, length(body) as bytes, received_at, retried_at from rejections where true",
        );
        match filter.reason {
            Some(reason) => sql.push(" and reason = ").push_bind(reason.as_str()),
            // What `rejections_received` asks for.
            None => sql.push(" and id > 0"),
        };
        push_page(&mut sql, "received_at", (filter.since, filter.until), filter.cursor.as_ref(), limit);
        let rows = sql.build_query_as().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
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
