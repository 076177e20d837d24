//! What a former owner has parked, page by page: there may be millions of rows, and never more than a page of
//! them is in memory.

use sqlx::Row;
use sqlx::postgres::PgRow;
use tracing::error;

use super::connect::Store;
use super::error::ledger_error;
use super::release::waits_as;
use crate::dispatch::ports::{LedgerError, ParkedJobs};
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

/// Rows that one statement reads.
const PAGE: i64 = 20_000;

impl Store {
    pub(super) async fn parked_rows(&self, each: &mut (dyn FnMut(ParkedJobs) + Send)) -> Result<(), LedgerError> {
        self.parked_for_slots(each).await?;
        self.parked_for_room(each).await
    }

    /// Those that wait for their slot, or for a time of the day, in the order of the index `jobs_due`.
    async fn parked_for_slots(&self, each: &mut (dyn FnMut(ParkedJobs) + Send)) -> Result<(), LedgerError> {
        let mut after: (String, String, Option<Timestamp>, i64) = Default::default();
        loop {
            let rows = sqlx::query(concat!(
                "with page as materialized (
                     select id, account, mobile, priority, on_room, wait_reason, due_at, seq, published_at, requests, ",
                waits_as!(),
                " as waits_as
                     from jobs
                     where state = 'waiting' and not on_room
                         and (",
                waits_as!(),
                ", priority, due_at, seq) > ($1, $2, coalesce($3, '-infinity'), $4)
                     order by ",
                waits_as!(),
                ", priority, due_at, seq
                     limit $5
                 ), lines as (
                     select account, mobile, priority, on_room, wait_reason, max(due_at) as due_at, count(*) as jobs,
                         min(seq) as first_seq, max(seq) as last_seq, max(published_at) as published_at
                     from page p
                     where wait_reason in ('rate_limited', 'quiet_hours') or wait_reason = 'number_limit' and $6
                         -- Where the gateway has said that it waits, it says so to each job of the number by itself.
                         and not exists (
                             select from attempts a
                             where a.job_id = p.id and a.attempt = p.requests and a.outcome = 'tomorrow')
                     group by account, mobile, priority, on_room, wait_reason
                 ), ends as (
                     select waits_as as end_waits_as, priority as end_priority, due_at as end_due, seq as end_seq,
                         count(*) over () as read
                     from page order by waits_as desc, priority desc, due_at desc, seq desc limit 1
                 )
                 select * from ends left join lines on true",
            ))
            .bind(&after.0)
            .bind(&after.1)
            .bind(after.2)
            .bind(after.3)
            .bind(PAGE)
            .bind(!self.limits.is_empty())
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)?;
            let Some(first) = rows.first() else { return Ok(()) };
            after = (
                get(first, "end_waits_as")?,
                get(first, "end_priority")?,
                Some(get(first, "end_due")?),
                get(first, "end_seq")?,
            );
            let read: i64 = get(first, "read")?;
            for row in &rows {
                if get::<Option<&str>>(row, "account")?.is_some() {
                    tell(row, each);
                }
            }
            if read < PAGE {
                return Ok(());
            }
        }
    }

    /// Those that wait for room, in the order of their lines.
    async fn parked_for_room(&self, each: &mut (dyn FnMut(ParkedJobs) + Send)) -> Result<(), LedgerError> {
        let mut after = (String::new(), String::new(), i64::MIN);
        loop {
            let rows = sqlx::query(
                "with page as materialized (
                     select account, mobile, priority, on_room, wait_reason, due_at, seq, published_at
                     from jobs
                     where state = 'waiting' and on_room and (account, priority, seq) > ($1, $2, $3)
                     order by account, priority, seq
                     limit $4
                 ), ends as (
                     select account as end_account, priority as end_priority, seq as end_seq, count(*) over () as read
                     from page order by account desc, priority desc, seq desc limit 1
                 )
                 select ends.*, account, mobile, priority, on_room, wait_reason, max(due_at) as due_at,
                     count(*) as jobs, min(seq) as first_seq, max(seq) as last_seq, max(published_at) as published_at
                 from page cross join ends
                 group by end_account, end_priority, end_seq, read, account, mobile, priority, on_room, wait_reason",
            )
            .bind(&after.0)
            .bind(&after.1)
            .bind(after.2)
            .bind(PAGE)
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)?;
            let Some(first) = rows.first() else { return Ok(()) };
            after = (get(first, "end_account")?, get(first, "end_priority")?, get(first, "end_seq")?);
            let read: i64 = get(first, "read")?;
            rows.iter().for_each(|row| tell(row, each));
            if read < PAGE {
                return Ok(());
            }
        }
    }
}

fn get<'r, T>(row: &'r PgRow, name: &str) -> Result<T, LedgerError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(name).map_err(ledger_error)
}

/// A row that cannot be read, changed by hand or by a newer version, stands in the way of no other.
fn tell(row: &PgRow, each: &mut (dyn FnMut(ParkedJobs) + Send)) {
    match line(row) {
        Ok(line) => each(line),
        Err(error) => error!(%error, "a parked job cannot be read: mend its row, or delete it"),
    }
}

fn line(row: &PgRow) -> Result<ParkedJobs, LedgerError> {
    let unreadable = |what: &str| LedgerError::Refused(format!("its {what} is none"));
    Ok(ParkedJobs {
        account: get(row, "account")?,
        mobile: Mobile::parse_any(get(row, "mobile")?).map_err(|_| unreadable("mobile"))?,
        priority: Priority::parse(get(row, "priority")?).ok_or_else(|| unreadable("priority"))?,
        due_at: get(row, "due_at")?,
        on_room: get(row, "on_room")?,
        reason: WaitReason::parse(get(row, "wait_reason")?).ok_or_else(|| unreadable("wait_reason"))?,
        jobs: get::<i64>(row, "jobs")?.clamp(0, 1 << 30) as u32,
        first_seq: get(row, "first_seq")?,
        last_seq: get(row, "last_seq")?,
        published_at: get(row, "published_at")?,
    })
}
