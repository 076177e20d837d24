//! Jobs as columns and back.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::error::ledger_error;
use crate::dispatch::ports::{Admission, Claim, Entry, LedgerError, Released};
use crate::domain::job::{Job, OnUnknown, Payload, Priority};
use crate::domain::mobile::Mobile;

/// The columns of [`released`], in the words of a `returning` or `select` list.
pub(super) const JOB_COLUMNS: &str = "j.id, j.seq, j.account, j.mobile, j.priority, j.content, j.template_id, \
     j.variables::text as variables, j.not_before, j.expires_at, j.on_unknown, j.metadata::text as metadata, \
     j.traceparent, j.published_at, (j.on_unknown = 'resend' and exists (select 1 from attempts a \
     where a.job_id = j.id and a.outcome = 'unknown')) as bound";

/// A row with [`JOB_COLUMNS`].
pub(super) fn released(row: &PgRow) -> Result<Released, LedgerError> {
    let broken = |what: &str| LedgerError::Refused(format!("a job's {what} cannot be read"));
    let column = |error: sqlx::Error| ledger_error(error);
    let payload = match row.try_get::<Option<String>, _>("content").map_err(column)? {
        Some(text) => Payload::Text(text),
        None => Payload::Template {
            id: row.try_get("template_id").map_err(column)?,
            variables: serde_json::from_str(
                &row.try_get::<Option<String>, _>("variables").map_err(column)?.unwrap_or_default(),
            )
            .map_err(|_| broken("variables"))?,
        },
    };
    let job = Job {
        id: row.try_get("id").map_err(column)?,
        mobile: Mobile::parse_any(row.try_get("mobile").map_err(column)?).map_err(|_| broken("mobile"))?,
        payload,
        account: row.try_get("account").map_err(column)?,
        priority: Priority::parse(row.try_get("priority").map_err(column)?).ok_or_else(|| broken("priority"))?,
        not_before: row.try_get("not_before").map_err(column)?,
        expires_at: row.try_get("expires_at").map_err(column)?,
        on_unknown: OnUnknown::parse(row.try_get("on_unknown").map_err(column)?).ok_or_else(|| broken("on_unknown"))?,
        metadata: row.try_get("metadata").map_err(column)?,
        published_at: row.try_get("published_at").map_err(column)?,
        traceparent: row.try_get("traceparent").map_err(column)?,
    };
    Ok(Released { job, seq: row.try_get("seq").map_err(column)?, bound: row.try_get("bound").map_err(column)? })
}

/// The attempt in a row with `attempts`, those of the present budget, and `requests`.
pub(super) fn claim_of(row: &PgRow) -> Result<Claim, LedgerError> {
    Ok(Claim {
        attempts: row.try_get::<i32, _>("attempts").map_err(ledger_error)?.max(0) as u32,
        request: row.try_get::<i32, _>("requests").map_err(ledger_error)?.max(0) as u32,
    })
}

/// How an [`Entry`] looks in a row, a column each.
#[derive(Default)]
pub(super) struct EntryColumns {
    pub states: Vec<&'static str>,
    pub reasons: Vec<Option<&'static str>>,
    pub dues: Vec<Option<DateTime<Utc>>>,
    pub on_rooms: Vec<bool>,
}

impl EntryColumns {
    pub fn push(&mut self, entry: &Entry) {
        let (reason, due, on_room) = match entry {
            Entry::Wait { reason, due_at, on_room } => (Some(reason.as_str()), *due_at, *on_room),
            Entry::Claim | Entry::Expired => (None, None, false),
        };
        self.states.push(entry.state().as_str());
        self.reasons.push(reason);
        self.dues.push(due);
        self.on_rooms.push(on_room);
    }
}

/// Admissions, a column each: what `unnest` takes.
#[derive(Default)]
pub(super) struct JobColumns<'a> {
    pub ids: Vec<&'a str>,
    pub seqs: Vec<i64>,
    pub accounts: Vec<&'a str>,
    pub mobiles: Vec<String>,
    pub priorities: Vec<&'static str>,
    pub contents: Vec<Option<&'a str>>,
    pub template_ids: Vec<Option<&'a str>>,
    pub variables: Vec<Option<String>>,
    pub entries: EntryColumns,
    pub not_befores: Vec<Option<DateTime<Utc>>>,
    pub expires: Vec<Option<DateTime<Utc>>>,
    pub on_unknowns: Vec<&'static str>,
    pub metadata: Vec<Option<&'a str>>,
    pub traceparents: Vec<Option<&'a str>>,
    pub published: Vec<Option<DateTime<Utc>>>,
    pub digests: Vec<Vec<u8>>,
    pub claim_ids: Vec<i64>,
}

impl<'a> JobColumns<'a> {
    pub fn of(rows: &'a [Admission]) -> Self {
        let mut columns = JobColumns::default();
        for row in rows {
            let job = &row.job;
            columns.ids.push(&job.id);
            columns.seqs.push(row.seq);
            columns.accounts.push(&row.account);
            columns.mobiles.push(job.mobile.digits());
            columns.priorities.push(job.priority.as_str());
            let (content, template, variables) = match &job.payload {
                Payload::Text(text) => (Some(text.as_str()), None, None),
                // A list of strings always serialises.
                Payload::Template { id, variables } => (None, Some(id.as_str()), serde_json::to_string(variables).ok()),
            };
            columns.contents.push(content);
            columns.template_ids.push(template);
            columns.variables.push(variables);
            columns.entries.push(&row.entry);
            columns.not_befores.push(job.not_before);
            columns.expires.push(job.expires_at);
            columns.on_unknowns.push(job.on_unknown.as_str());
            columns.metadata.push(job.metadata.as_deref());
            columns.traceparents.push(job.traceparent.as_deref());
            columns.published.push(job.published_at);
            columns.digests.push(job.digest().to_vec());
            columns.claim_ids.push(row.claim_id);
        }
        columns
    }
}
