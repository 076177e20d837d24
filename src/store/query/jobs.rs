//! Jobs and their attempts.

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, FromRow, Postgres, QueryBuilder};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::filter::{Ranges, push_ranges};
use super::{Cursor, Page, clamp};
use crate::dispatch::ports::LedgerError;
use crate::domain::job::{State, Timestamp};
use crate::domain::mobile::Mobile;
use crate::domain::privacy::{Veil, length, masked};

/// Which jobs to list. What is `None` or empty filters nothing.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of these ids.
    pub ids: Vec<String>,
    /// In any of these states.
    pub states: Vec<State>,
    /// The gateway's last answer.
    pub code: Option<i64>,
    /// The account that sends it.
    pub account: Option<String>,
    /// To whom.
    pub mobile: Option<Mobile>,
    /// Last changed then or later.
    pub since: Option<Timestamp>,
    /// Last changed before.
    pub until: Option<Timestamp>,
    /// Rows of a page: 1 to [`super::MAX_PAGE`].
    pub limit: u32,
    /// Where the page begins.
    pub cursor: Option<Cursor>,
}

/// A job as Postgres has it. Mobile and text are whole: mask them before they are shown.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct JobInfo {
    /// The publisher's idempotency key.
    pub id: String,
    /// The account that sends it.
    pub account: String,
    /// Eleven digits.
    pub mobile: String,
    /// high, normal or bulk.
    pub priority: String,
    /// The text; `None` in template mode.
    pub content: Option<String>,
    /// ihuyi's template id.
    pub template_id: Option<String>,
    /// The template's values.
    #[sqlx(json(nullable))]
    pub variables: Option<Vec<String>>,
    /// A word of [`State`].
    pub state: String,
    /// A word of [`crate::domain::job::WaitReason`], while waiting.
    pub wait_reason: Option<String>,
    /// While waiting: until when; `None` where it waits for its account.
    pub due_at: Option<Timestamp>,
    /// Not submitted earlier.
    pub not_before: Option<Timestamp>,
    /// Not submitted later.
    pub expires_at: Option<Timestamp>,
    /// hold or resend.
    pub on_unknown: String,
    /// Submissions that count.
    pub attempts: i32,
    /// Those of them that the present budget began after: 0 without a replay.
    #[serde(skip)]
    pub attempts_base: i32,
    /// The gateway's last answer.
    pub code: Option<i64>,
    /// Its words, or why there was no answer.
    pub message: Option<String>,
    /// The gateway's id of the message.
    pub smsid: Option<String>,
    /// The publisher's own data.
    #[sqlx(json(nullable))]
    pub metadata: Option<Box<RawValue>>,
    /// While submitting: nobody else settles the attempt before.
    #[serde(skip)]
    pub claimed_until: Option<Timestamp>,
    /// When it was published, where the publisher said so.
    pub published_at: Option<Timestamp>,
    /// When it came in.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

impl JobInfo {
    /// Replaces number and text by what may be shown to anyone.
    pub fn mask(&mut self) {
        let veil = Veil::over(&self.mobile);
        veil.words(&mut self.message);
        veil.json(&mut self.metadata);
        self.mobile = masked(&self.mobile);
        self.content = self.content.as_deref().map(length);
        self.variables = self.variables.as_ref().map(|values| values.iter().map(|value| length(value)).collect());
    }
}

/// One request to the gateway.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct AttemptInfo {
    /// Counts from 1, those that were not spent included.
    pub attempt: i32,
    /// The account that sent it.
    pub account: String,
    /// A word of [`crate::domain::job::Outcome`]; `None` while on the wire.
    pub outcome: Option<String>,
    /// The gateway's answer.
    pub code: Option<i64>,
    /// Its words, or why there was no answer.
    pub message: Option<String>,
    /// The gateway's id of the message.
    pub smsid: Option<String>,
    /// When it was committed, just before it left.
    pub started_at: Timestamp,
    /// When its outcome was committed.
    pub finished_at: Option<Timestamp>,
}

/// The columns of [`JobInfo`].
const COLUMNS: &str = "id, account, mobile, priority, content, template_id, variables, state, wait_reason, due_at, \
     not_before, expires_at, on_unknown, attempts, attempts_base, code, message, smsid, metadata, claimed_until, \
     published_at, created_at, updated_at";

/// Looks the rows up by their ids, which are found first: indexes hold all that is asked for, so that the jobs of a
/// number that do not pass are never read; and several ranges are planned in half the time.
fn push_keys_first(sql: &mut QueryBuilder<Postgres>, ranges: &Ranges, filter: &JobFilter, newest: u32) {
    sql.push("with found as materialized (select * from (");
    push_ranges(sql, "updated_at as at, id", ranges, filter, Some(newest));
    sql.push(format!(") as listed order by at desc, id desc limit {newest}) select {COLUMNS} "));
    sql.push("from found join jobs using (id) order by found.at desc, id desc");
}

impl Store {
    /// One page of the jobs that `filter` lets through, last changed first.
    pub async fn list_jobs(&self, filter: &JobFilter) -> Result<Page<JobInfo>, LedgerError> {
        let limit = clamp(filter.limit);
        let ranges = self.ranges(filter).await?;
        if ranges.is_empty() {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        let mut sql = QueryBuilder::new("");
        match ranges.is_plain(filter) {
            true => push_ranges(&mut sql, COLUMNS, &ranges, filter, Some(limit + 1)),
            false => push_keys_first(&mut sql, &ranges, filter, limit + 1),
        }
        // Each filter has a text of its own: kept, they would push out the statements of the daemon.
        let rows = sql.build_query_as().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
        Ok(Page::of(rows, limit, |job: &JobInfo| Cursor { at: job.updated_at, id: job.id.clone() }))
    }

    /// The job of that id.
    pub async fn find_job(&self, id: &str) -> Result<Option<JobInfo>, LedgerError> {
        let sql = AssertSqlSafe(format!("select {COLUMNS} from jobs where id = $1"));
        sqlx::query_as(sql).bind(id).fetch_optional(&self.pool).await.map_err(ledger_error)
    }

    /// Every request that was made for the job, in order.
    pub async fn list_attempts(&self, job_id: &str) -> Result<Vec<AttemptInfo>, LedgerError> {
        sqlx::query_as(
            "select attempt, account, outcome, code, message, smsid, started_at, finished_at
             from attempts where job_id = $1 order by attempt",
        )
        .bind(job_id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }
}
