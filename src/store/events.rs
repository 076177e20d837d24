//! The outbox: what others are to be told of a change, written in the statement that makes it, read and
//! deleted by the relay.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::connect::Store;
use super::error::ledger_error;
use crate::dispatch::ports::{Boxed, LedgerError, Outbox};
use crate::domain::event::Event;

/// An `insert` into `events` for those rows of `$rows` that publishers care about: a CTE that returns
/// `id, mobile, account, state, code, message, smsid, metadata` of jobs as the change left them. A
/// process whose configuration switches events off says so in a setting of its sessions.
macro_rules! announce {
    ($rows:literal) => {
        concat!(
            "insert into events (job_id, type, data)
             select id, 'job.' || state, jsonb_build_object('id', id, 'mobile', mobile, 'account', account,
                 'state', state, 'code', code, 'message', message, 'smsid', smsid, 'metadata', metadata, 'at', now())
             from ",
            $rows,
            " where state in ('accepted', 'failed', 'expired', 'in_doubt', 'delivered', 'undelivered')
                 and current_setting('dispatcher.events', true) is distinct from 'off'"
        )
    };
}

pub(super) use announce;

impl Store {
    /// The rows that go are still in the snapshot of those that are read. `not in` a subquery is looked
    /// up in a hash, where `<> all` would compare each row with each number.
    async fn turn_rows(&self, done: &[i64], aside: &[i64], limit: u32) -> Result<Vec<Event>, LedgerError> {
        let rows = sqlx::query(
            "with gone as (delete from events where id = any($1))
             select id, type, job_id, at, data::text as data from events
             where id not in (select unnest($1::bigint[] || $2::bigint[]))
             order by id limit $3",
        )
        .bind(done)
        .bind(aside)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter().map(event).collect()
    }
}

fn event(row: &PgRow) -> Result<Event, LedgerError> {
    Ok(Event {
        number: row.try_get("id").map_err(ledger_error)?,
        kind: row.try_get("type").map_err(ledger_error)?,
        job_id: row.try_get("job_id").map_err(ledger_error)?,
        at: row.try_get("at").map_err(ledger_error)?,
        data: row.try_get("data").map_err(ledger_error)?,
    })
}

impl Outbox for Store {
    fn turn<'a>(&'a self, done: &'a [i64], aside: &'a [i64], limit: u32) -> Boxed<'a, Result<Vec<Event>, LedgerError>> {
        Box::pin(self.turn_rows(done, aside, limit))
    }
}
