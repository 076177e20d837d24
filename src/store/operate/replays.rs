//! Replays: chosen, looked at, paused and ended by an operator. The lease holder carries them out
//! (`replaying`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, QueryBuilder, Row};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::super::query::filter::push_ranges;
use super::super::query::{JobFilter, MAX_PAGE};
use super::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;
use crate::domain::price::Price;

/// What a replay is to do. Its filter names states that may be replayed.
#[derive(Clone, Debug)]
pub struct ReplayOrder {
    /// Which jobs.
    pub filter: JobFilter,
    /// Jobs a second.
    pub rate: f64,
    /// So many go first; the others only once all of those are accepted.
    pub canary: u32,
    /// The new expiry of each job: so long after it is sent again.
    pub expires_in: Option<Duration>,
}

/// What a filter finds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplayPreview {
    /// Jobs that would be sent again.
    pub matched: i64,
    /// Jobs that would not: their `expires_at` has passed, and no new one is given.
    pub past_expiry: i64,
    /// What they cost, in parts of an SMS, by the signatures and templates of today's configuration.
    pub parts: i64,
    /// The earliest last change of them.
    pub oldest: Option<Timestamp>,
    /// The latest.
    pub newest: Option<Timestamp>,
    /// How many with each last code; `none` without one.
    pub by_code: BTreeMap<String, i64>,
    /// How many of each account.
    pub by_account: BTreeMap<String, i64>,
}

/// A replay and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayInfo {
    /// Its number.
    pub id: i64,
    /// What is replayed: jobs or rejections.
    pub subject: String,
    /// running, paused, done or cancelled.
    pub state: String,
    /// Why it is paused, or that it went on past a canary that failed.
    pub note: Option<String>,
    /// none, going, passed or failed.
    pub canary_state: String,
    /// Who began it.
    pub actor: String,
    /// From where.
    pub via: String,
    /// Why.
    pub reason: Option<String>,
    /// What the jobs were chosen by.
    pub filter: Value,
    /// Jobs a second.
    pub rate: f64,
    /// So many go first.
    pub canary: i64,
    /// The jobs' new expiry, in seconds after they are sent again.
    pub expires_in_seconds: Option<f64>,
    /// How many jobs were chosen.
    pub matched: i64,
    /// How many of them are where: a word of [`RESULTS`](crate::domain::replay::RESULTS) each.
    pub results: BTreeMap<String, i64>,
    /// When it began.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// One job, or one refused message, of a replay.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ReplayedJob {
    /// 1 for the first that goes.
    pub position: i64,
    /// Its id; of a refused message the id that it has, once it was published again as a valid job.
    pub job: Option<String>,
    /// Of a refused message: its rejection.
    pub rejection: Option<i64>,
    /// Where it was when it was chosen, or what it was refused for.
    pub from: String,
    /// A word of [`RESULTS`](crate::domain::replay::RESULTS).
    pub result: String,
    /// The gateway's last answer, as of now.
    pub code: Option<i64>,
    /// When it was sent again, or was found to be elsewhere.
    pub at: Option<Timestamp>,
}

/// What an operator does with a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// No more of its jobs go for now.
    Pause,
    /// They go on; also past a canary that failed.
    Resume,
    /// No more of its jobs go, ever.
    Cancel,
}

/// What became of a [`Control`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controlled {
    /// As asked.
    Done,
    /// It was in this state, and stayed as it was.
    Not(String),
    /// There is no such replay.
    Missing,
}

/// Columns of a job that a choice needs.
const CHOICE: &str = "id, seq, state, requests, updated_at, expires_at, mobile";

/// Columns of a job that a look at a choice needs. `characters`: of its text, or of its variables as they are sent.
const LOOK: &str = "account, code, updated_at, expires_at, mobile, template_id, coalesce(length(content), \
     (select length(string_agg(v, '|')) from jsonb_array_elements_text(variables) as v), 0) as characters";

/// Replays `r` and how far they are.
const INFO: &str = "select r.id, subject, state, note, canary_state, actor, via, reason, filter, rate, canary, \
     extract(epoch from expires_in)::float8 as expires_in, matched, created_at, updated_at, finished_at, \
     (select jsonb_object_agg(result, jobs) from ( \
         select result, count(*) as jobs from replay_jobs where replay_id = r.id group by result) as counted) as results \
     from replays r";

impl Store {
    /// What `order` would find, changing nothing.
    pub async fn preview_replay(&self, order: &ReplayOrder, price: &Price) -> Result<ReplayPreview, LedgerError> {
        let ranges = self.ranges(&order.filter).await?;
        let mut preview = ReplayPreview::default();
        if ranges.is_empty() {
            return Ok(preview);
        }
        let mut sql = QueryBuilder::new("select account, code, late, template_id, characters, count(*) as jobs, ");
        sql.push("min(updated_at) as oldest, max(updated_at) as newest from (select *, ");
        // Sent again it would expire at once.
        sql.push_bind(order.expires_in.is_none()).push(" and coalesce(expires_at <= now(), false) as late from (");
        push_ranges(&mut sql, LOOK, &ranges, &order.filter, None);
        // A person who was forgotten has no number any more.
        sql.push(") as found where mobile <> '') as chosen group by account, code, late, template_id, characters");
        let rows = sql.build().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
        for row in &rows {
            preview.add(row, price).map_err(ledger_error)?;
        }
        Ok(preview)
    }

    /// Freezes the choice and begins. The replay's number and how many jobs it has; `None` where there is none.
    pub async fn begin_replay(&self, by: &Operator, order: &ReplayOrder) -> Result<Option<(i64, i64)>, LedgerError> {
        let ranges = self.ranges(&order.filter).await?;
        if ranges.is_empty() {
            return Ok(None);
        }
        let expires_in = order.expires_in.map(|length| length.as_secs_f64());
        let mut sql = QueryBuilder::new("with chosen as materialized (select * from (");
        push_ranges(&mut sql, CHOICE, &ranges, &order.filter, None);
        sql.push(") as found where mobile <> '' and (").push_bind(expires_in.is_some());
        sql.push(" or expires_at is null or expires_at > now())), begun as (insert into replays (actor, via, reason, ");
        sql.push("filter, rate, canary, canary_state, expires_in, matched) select ");
        sql.push_bind(by.actor.clone()).push(", ").push_bind(by.via.as_str()).push(", ");
        sql.push_bind(by.reason.clone()).push(", ").push_bind(describe(&order.filter).to_string()).push("::jsonb, ");
        sql.push_bind(order.rate).push(", ").push_bind(i64::from(order.canary)).push(", ");
        sql.push_bind(if order.canary > 0 { "going" } else { "none" }).push(", make_interval(secs => ");
        sql.push_bind(expires_in).push("), count(*) from chosen having count(*) > 0 ");
        sql.push("returning id, matched, actor, via, filter, reason), listed as (");
        sql.push("insert into replay_jobs (replay_id, position, job_id, from_state, requests, changed_at) ");
        sql.push("select begun.id, row_number() over (order by c.seq, c.id), c.id, c.state, c.requests, c.updated_at ");
        sql.push("from chosen c cross join begun), noted as (");
        sql.push("insert into operations (actor, via, action, target, count, reason) ");
        sql.push(
            "select actor, via, 'replay', filter || jsonb_build_object('replay', id), matched, reason from begun) ",
        );
        sql.push("select id, matched from begun");
        let row = sql.build().persistent(false).fetch_optional(&self.pool).await.map_err(ledger_error)?;
        row.map(|row| Ok((row.try_get(0).map_err(ledger_error)?, row.try_get(1).map_err(ledger_error)?))).transpose()
    }

    /// The replay of that number.
    pub async fn find_replay(&self, id: i64) -> Result<Option<ReplayInfo>, LedgerError> {
        let mut sql = QueryBuilder::new(INFO);
        sql.push(" where r.id = ").push_bind(id);
        let found = sql.build().persistent(false).fetch_optional(&self.pool).await.map_err(ledger_error)?;
        found.as_ref().map(replay_info).transpose().map_err(ledger_error)
    }

    /// Is there a replay of that number? Unlike [`Self::find_replay`] it counts nothing.
    pub async fn has_replay(&self, id: i64) -> Result<bool, LedgerError> {
        sqlx::query_scalar("select exists (select from replays where id = $1)")
            .bind(id)
            .fetch_one(&self.pool)
            .await
            .map_err(ledger_error)
    }

    /// The jobs of a replay behind position `after`, in order, at most `limit` (1 to 1,000); with `result` those alone
    /// that came to it. And the position to go on behind, where there are more.
    pub async fn replay_jobs(
        &self,
        id: i64,
        result: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<ReplayedJob>, Option<i64>), LedgerError> {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let mut sql = QueryBuilder::new(
            "select r.position, r.job_id as job, r.rejection_id as rejection, r.from_state as \"from\", r.result, j.code, r.at
             from replay_jobs r left join jobs j on j.id = r.job_id where r.replay_id = ",
        );
        sql.push_bind(id).push(" and r.position > ").push_bind(after);
        if let Some(result) = result {
            sql.push(" and r.result = ").push_bind(result.to_owned());
        }
        sql.push(format!(" order by r.position limit {}", limit + 1));
        let rows = sql.build_query_as().persistent(false).fetch_all(&self.pool).await;
        let mut rows: Vec<ReplayedJob> = rows.map_err(ledger_error)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.position);
        Ok((rows, next))
    }

    /// The latest replays, or those before number `before`: the newest first, at most `limit` (1 to 1,000). And the number
    /// to go on behind, where there are more.
    pub async fn list_replays(
        &self,
        limit: u32,
        before: Option<i64>,
    ) -> Result<(Vec<ReplayInfo>, Option<i64>), LedgerError> {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let mut sql = QueryBuilder::new(INFO);
        if let Some(before) = before {
            sql.push(" where r.id < ").push_bind(before);
        }
        sql.push(format!(" order by r.id desc limit {}", limit + 1));
        let rows = sql.build().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)?;
        let more = rows.len() > limit;
        let found: sqlx::Result<Vec<_>> = rows.iter().take(limit).map(replay_info).collect();
        let found = found.map_err(ledger_error)?;
        let next = found.last().filter(|_| more).map(|info| info.id);
        Ok((found, next))
    }

    /// Pauses a replay, lets it go on, or ends it.
    pub async fn control_replay(&self, by: &Operator, id: i64, control: Control) -> Result<Controlled, LedgerError> {
        let (action, from, to) = match control {
            Control::Pause => ("replay_pause", &["running"][..], "paused"),
            Control::Resume => ("replay_resume", &["paused"][..], "running"),
            Control::Cancel => ("replay_cancel", &["running", "paused"][..], "cancelled"),
        };
        let row = sqlx::query(
            "with target as (
                 select id, state from replays where id = $1 for update
             ), changed as (
                 update replays r
                 set state = $6, updated_at = now(), due_at = now(),
                     finished_at = case when $6 = 'cancelled' then now() end,
                     note = case when $6 = 'paused' then coalesce($4, 'paused by hand')
                         when r.canary_state = 'failed' then 'its canary failed, and it was resumed all the same' end,
                     canary_state = case when $6 = 'running' and r.canary_state = 'failed' then 'passed'
                         else r.canary_state end
                 from target t where r.id = t.id and t.state = any($5)
                 returning r.id
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, $7, jsonb_build_object('replay', id), 1, $4 from changed
             )
             select t.state, c.id is not null as done from target t left join changed c on c.id = t.id",
        )
        .bind(id)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .bind(from)
        .bind(to)
        .bind(action)
        .fetch_optional(&self.pool)
        .await
        .map_err(ledger_error)?;
        let Some(row) = row else { return Ok(Controlled::Missing) };
        if control == Control::Cancel {
            self.give_back(id).await?;
        }
        match row.try_get("done").map_err(ledger_error)? {
            true => Ok(Controlled::Done),
            false => Ok(Controlled::Not(row.try_get("state").map_err(ledger_error)?)),
        }
    }
}

impl Store {
    /// What a cancelled replay handed out is perhaps never published: nobody would choose it again, and nobody would
    /// know. If it was, the mark comes back with the broker's confirm. A statement of its own: the one that cancels may
    /// have waited for the one that hands out, and does not see what that did.
    async fn give_back(&self, id: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "update rejections x
             set retried_at = null
             from replays r join replay_jobs q on q.replay_id = r.id
             where r.id = $1 and r.state = 'cancelled' and q.result = 'sending' and x.id = q.rejection_id
               and x.retried_at = q.retried_at",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }
}

impl ReplayPreview {
    /// Some jobs of one account, code, template and length.
    fn add(&mut self, row: &PgRow, price: &Price) -> sqlx::Result<()> {
        let jobs: i64 = row.try_get("jobs")?;
        if row.try_get("late")? {
            self.past_expiry += jobs;
            return Ok(());
        }
        let code: Option<i64> = row.try_get("code")?;
        let (oldest, newest): (Timestamp, Timestamp) = (row.try_get("oldest")?, row.try_get("newest")?);
        self.matched += jobs;
        self.parts += jobs * parts(row, price)?;
        *self.by_code.entry(code.map_or_else(|| "none".into(), |code| code.to_string())).or_default() += jobs;
        *self.by_account.entry(row.try_get("account")?).or_default() += jobs;
        self.oldest = Some(self.oldest.map_or(oldest, |known| known.min(oldest)));
        self.newest = Some(self.newest.map_or(newest, |known| known.max(newest)));
        Ok(())
    }
}

/// What each of the jobs in a row costs.
fn parts(row: &PgRow, price: &Price) -> sqlx::Result<i64> {
    let template: Option<&str> = row.try_get("template_id")?;
    let characters: i32 = row.try_get("characters")?;
    Ok(price.parts(row.try_get("account")?, template, characters.unsigned_abs() as usize) as i64)
}

/// The filter for whoever reads it later: without a full number.
pub(super) fn describe(filter: &JobFilter) -> Value {
    let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let ids = (!filter.ids.is_empty()).then_some(filter.ids.len());
    json!({
        "state": states,
        "code": filter.code,
        "account": filter.account,
        "mobile": filter.mobile.map(|mobile| mobile.to_string()),
        "since": filter.since,
        "until": filter.until,
        "ids": ids,
    })
}

fn replay_info(row: &PgRow) -> sqlx::Result<ReplayInfo> {
    let results: Option<Value> = row.try_get("results")?;
    Ok(ReplayInfo {
        id: row.try_get("id")?,
        subject: row.try_get("subject")?,
        state: row.try_get("state")?,
        note: row.try_get("note")?,
        canary_state: row.try_get("canary_state")?,
        actor: row.try_get("actor")?,
        via: row.try_get("via")?,
        reason: row.try_get("reason")?,
        filter: row.try_get("filter")?,
        rate: row.try_get("rate")?,
        canary: row.try_get("canary")?,
        expires_in_seconds: row.try_get("expires_in")?,
        matched: row.try_get("matched")?,
        results: results.and_then(|counts| serde_json::from_value(counts).ok()).unwrap_or_default(),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}
