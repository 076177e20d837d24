//! Slots that nobody will use: those of jobs that were cancelled.

use std::time::Duration;

use super::connect::Store;
use super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::{Priority, Timestamp};
use crate::domain::mobile::Mobile;

impl Store {
    pub(super) async fn cancelled_lines(
        &self,
        within: Duration,
        limit: u32,
    ) -> Result<Vec<(Mobile, Priority)>, LedgerError> {
        // Account by account, in the order of the index `jobs_listed`.
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select distinct gone.mobile, gone.priority
             from accounts a cross join lateral (
                 select mobile, priority from jobs
                 where account = a.name and state = 'cancelled' and updated_at > now() - make_interval(secs => $1)
                 order by updated_at desc, id desc
                 limit $2) gone
             limit $2",
        )
        .bind(within.as_secs_f64())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        // One that cannot be read, changed by hand, has no line.
        let line =
            |(mobile, priority): &(String, String)| Some((Mobile::parse_any(mobile).ok()?, Priority::parse(priority)?));
        Ok(rows.iter().filter_map(line).collect())
    }

    pub(super) async fn last_slots_of(
        &self,
        lines: &[(Mobile, Priority)],
    ) -> Result<Vec<Option<Timestamp>>, LedgerError> {
        let rows: Vec<(Option<Timestamp>,)> = sqlx::query_as(
            "select (
                 select max(due_at) from jobs j
                 where j.mobile = line.mobile and j.priority = line.priority
                   and state = 'waiting' and not on_room and wait_reason = 'rate_limited')
             from unnest($1::text[], $2::text[]) with ordinality as line(mobile, priority, number)
             order by line.number",
        )
        .bind(lines.iter().map(|(mobile, _)| mobile.digits()).collect::<Vec<_>>())
        .bind(lines.iter().map(|(_, priority)| priority.as_str()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(rows.into_iter().map(|(due,)| due).collect())
    }
}
