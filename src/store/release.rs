//! Waiting jobs go back to RabbitMQ. The commit comes before the publish, so that the message never
//! finds its job still waiting; a crash in between leaves `queued` rows without a message, which
//! [`Store::release_lost_rows`] finds.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tracing::error;

use super::connect::Store;
use super::error::ledger_error;
use super::rows::{JOB_COLUMNS, released};
use crate::dispatch::ports::{DuePlace, LedgerError, Released};
use crate::domain::job::{Priority, Timestamp};

/// Jobs parked for a number's limiter come back this much before their slot, in seconds: they wait
/// the rest in memory and go on time.
const AHEAD_SECONDS: f64 = 0.5;

/// Each priority by itself: the next ones of a lateral `$due`, which knows it as `p.priority`.
macro_rules! of_each_priority {
    ($due:expr) => {
        concat!(
            "select next.* from (values ('high'), ('normal'), ('bulk')) as p (priority) cross join lateral (",
            $due,
            ") as next"
        )
    };
}

/// The first column of the index `jobs_due`, to the letter; or that it is this word.
macro_rules! waits_as {
    () => {
        "case when wait_reason in ('quiet_hours', 'number_limit') then 'asleep' else 'awake' end"
    };
    ($word:literal) => {
        concat!($crate::store::release::waits_as!(), " = '", $word, "'")
    };
}

pub(super) use waits_as;

impl Store {
    pub(super) async fn release_due_rows(&self, now: Timestamp, limit: u32) -> Result<Vec<Released>, LedgerError> {
        let due = of_each_priority!(concat!(
            "select id, due_at from jobs
             where state = 'waiting' and not on_room and ",
            waits_as!("awake"),
            " and priority = p.priority
               and due_at <= $1 + make_interval(secs => $2) and (due_at <= $1 or wait_reason = 'rate_limited')
             order by due_at, seq
             limit $3
             for update skip locked"
        ));
        let sql = format!(
            "with due as ({due})
             update jobs j
             set state = 'queued', wait_reason = null, due_at = null, updated_at = now()
             from due where j.id = due.id
             returning {JOB_COLUMNS}, due.due_at as sort_at"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(now)
            .bind(AHEAD_SECONDS)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)?;
        in_order(&rows)
    }

    /// A page, in the order of the index `jobs_due`: all at once would hold millions of rows for minutes. What is moved
    /// is then behind the place where the next page begins, so that no row is moved twice.
    pub(super) async fn put_forward_rows(
        &self,
        by: chrono::TimeDelta,
        after: Option<DuePlace>,
        limit: u32,
    ) -> Result<(u64, Option<DuePlace>), LedgerError> {
        let end: Option<(i64, i64, String, Timestamp, i64)> = sqlx::query_as(concat!(
            "with page as materialized (
                 select id, priority, due_at, seq, wait_reason from jobs
                 where state = 'waiting' and not on_room and ",
            waits_as!("awake"),
            " and (priority, due_at, seq) > ($2, coalesce($3, '-infinity'), $4)
                 order by priority, due_at, seq
                 limit $5
                 for update skip locked
             ), moved as (
                 update jobs j set due_at = j.due_at - make_interval(secs => $1)
                 from page where j.id = page.id and page.wait_reason in ('retry', 'rate_limited')
                 returning j.id
             )
             select (select count(*) from moved), count(*) over (), priority, due_at, seq
             from page order by page.priority desc, page.due_at desc, page.seq desc limit 1",
        ))
        .bind(by.num_milliseconds() as f64 / 1_000.0)
        .bind(after.as_ref().map_or("", |after| after.priority.as_str()))
        .bind(after.as_ref().map(|after| after.due_at))
        .bind(after.as_ref().map_or(i64::MIN, |after| after.seq))
        .bind(i64::from(limit))
        .fetch_optional(&self.pool)
        .await
        .map_err(ledger_error)?;
        let Some((moved, read, priority, due_at, seq)) = end else { return Ok((0, None)) };
        let priority =
            Priority::parse(&priority).ok_or_else(|| LedgerError::Refused("a job's priority cannot be read".into()))?;
        let next = (read >= i64::from(limit)).then_some(DuePlace { priority, due_at, seq });
        Ok((moved.max(0) as u64, next))
    }

    pub(super) async fn lift_rows(
        &self,
        now: Timestamp,
        awake: &[Priority],
        free: bool,
        limit: u32,
    ) -> Result<u64, LedgerError> {
        if awake.is_empty() && !free {
            return Ok(0);
        }
        let awake: Vec<&str> = awake.iter().map(|priority| priority.as_str()).collect();
        let lifted = sqlx::query(concat!(
            "with held as (",
            of_each_priority!(concat!(
                "select id from jobs j
                 where state = 'waiting' and not on_room and ",
                waits_as!("asleep"),
                " and priority = p.priority and due_at > greatest($1, now())
                   and (wait_reason = 'quiet_hours' and p.priority = any($2)
                       or wait_reason = 'number_limit' and $3 and not exists (
                           select from attempts a
                           where a.job_id = j.id and a.attempt = j.requests and a.outcome = 'tomorrow'))
                   and ($3 or p.priority = any($2))
                 order by due_at, seq
                 limit $4
                 for update skip locked"
            )),
            ")
             update jobs j set due_at = least($1, now()) from held where j.id = held.id",
        ))
        .bind(now)
        .bind(awake)
        .bind(free)
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(lifted.rows_affected())
    }

    /// A morning's or a midnight's jobs go to the line of their account instead: RabbitMQ and the pacer
    /// would only hand back what is more than seconds' worth. Windows go by the clock that counts them,
    /// Postgres' own; quiet hours by `now`, as they do on arrival.
    pub(super) async fn wake_rows(&self, now: Timestamp, limit: u32) -> Result<Vec<(String, Priority)>, LedgerError> {
        let rows = sqlx::query(concat!(
            "with due as (",
            of_each_priority!(concat!(
                "select id, account from jobs
                 where state = 'waiting' and not on_room and ",
                waits_as!("asleep"),
                " and priority = p.priority
                   and due_at <= greatest($1, now())
                   and (wait_reason = 'quiet_hours' and due_at <= $1
                       or wait_reason = 'number_limit' and due_at <= now())
                 order by due_at, seq
                 limit $2
                 for update skip locked"
            )),
            ")
             update jobs j
             set wait_reason = case when paused then 'account_paused' else 'rate_limited' end,
                 due_at = case when paused then null else now() end, on_room = true, updated_at = now()
             from due cross join lateral (
                 select exists (select from accounts a where a.name = due.account and a.state = 'paused') as paused) a
             where j.id = due.id
             returning j.account, j.priority",
        ))
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter()
            .map(|row| {
                let priority = Priority::parse(row.try_get("priority").map_err(ledger_error)?)
                    .ok_or_else(|| LedgerError::Refused("a job's priority cannot be read".into()))?;
                Ok((row.try_get("account").map_err(ledger_error)?, priority))
            })
            .collect()
    }

    pub(super) async fn release_room_rows(
        &self,
        account: &str,
        priority: Priority,
        limit: u32,
    ) -> Result<Vec<Released>, LedgerError> {
        let sql = format!(
            "with next as (
                 select id from jobs
                 where state = 'waiting' and on_room and account = $1 and priority = $2
                 order by seq
                 limit $3
                 for update skip locked
             )
             update jobs j
             set state = 'queued', wait_reason = null, due_at = null, on_room = false, updated_at = now()
             from next where j.id = next.id
             returning {JOB_COLUMNS}, null::timestamptz as sort_at"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(account)
            .bind(priority.as_str())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)?;
        in_order(&rows)
    }

    pub(super) async fn release_lost_rows(&self, age_seconds: u32, limit: u32) -> Result<Vec<Released>, LedgerError> {
        let sql = format!(
            "with lost as (
                 select id from jobs
                 where state = 'queued' and updated_at < now() - make_interval(secs => $1)
                 order by updated_at
                 limit $2
                 for update skip locked
             )
             update jobs j set updated_at = now()
             from lost where j.id = lost.id
             returning {JOB_COLUMNS}, null::timestamptz as sort_at"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(f64::from(age_seconds))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)?;
        in_order(&rows)
    }
}

/// `returning` keeps no order: by priority, slot and arrival. A row that cannot be read, changed by hand or by a
/// newer version, holds up no other.
fn in_order(rows: &[PgRow]) -> Result<Vec<Released>, LedgerError> {
    let mut jobs: Vec<(Option<DateTime<Utc>>, Released)> = Vec::with_capacity(rows.len());
    for row in rows {
        let id: &str = row.try_get("id").map_err(ledger_error)?;
        match released(row) {
            Ok(job) => jobs.push((row.try_get("sort_at").map_err(ledger_error)?, job)),
            Err(error) => error!(job = id, %error, "a job is not released: mend its row, or delete it"),
        }
    }
    jobs.sort_by_key(|(at, released)| (released.job.priority, *at, released.seq));
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}
