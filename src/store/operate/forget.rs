//! A person is forgotten: number and texts go, in every table; states, codes and times stay.
//!
//! Each statement looks at what holds the number itself or belongs to a job that does. One transaction:
//! all of it or nothing, so that a person is never half forgotten.

use serde::Serialize;
use sqlx::postgres::PgQueryResult;
use sqlx::{FromRow, PgConnection, Postgres, Transaction};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::mobile::Mobile;

/// How many jobs that stand in the way are named.
const NAMED: i64 = 20;

/// Rejections and events have no index on numbers: they are read whole, which may take its time.
const PATIENT: &str = "set local statement_timeout = '15min'";

/// Rows that were changed, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Jobs without number, text, variables and metadata now.
    pub jobs: u64,
    /// Whose answers quoted the number.
    pub attempts: u64,
    /// Without their number.
    pub receipts: u64,
    /// Without number and text.
    pub replies: u64,
    /// Without body and properties.
    pub rejections: u64,
    /// Not yet published, without number and text.
    pub events: u64,
    /// Whose target or reason quoted the number.
    pub operations: u64,
}

impl Forgotten {
    /// In all tables.
    pub fn rows(&self) -> u64 {
        let Forgotten { jobs, attempts, receipts, replies, rejections, events, operations } = self;
        jobs + attempts + receipts + replies + rejections + events + operations
    }
}

/// A job that is not settled: it needs its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow)]
pub struct Unsettled {
    /// Which.
    pub id: String,
    /// Where it is.
    pub state: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// So many rows.
    Done(Forgotten),
    /// Nothing was changed: these jobs are in the way, 20 of them at most.
    Unsettled(Vec<Unsettled>),
}

impl Store {
    /// Erases a person from every table but `suppressions`: who wants no messages must still get none.
    /// With `rehearse` nothing stays changed, and the rows are only counted.
    pub async fn forget(&self, by: &Operator, mobile: Mobile, rehearse: bool) -> Result<Forgetting, LedgerError> {
        // Its waits have no end of their own; a person in front of a command has patience of theirs.
        let mut transaction = self.pool.current().begin().await.map_err(ledger_error)?;
        let unsettled = prepare(&mut transaction, mobile).await.map_err(ledger_error)?;
        if !unsettled.is_empty() {
            return Ok(Forgetting::Unsettled(unsettled));
        }
        let forgotten = erase(&mut transaction, mobile).await.map_err(ledger_error)?;
        if !rehearse {
            note(&mut transaction, by, mobile, &forgotten).await.map_err(ledger_error)?;
            transaction.commit().await.map_err(ledger_error)?;
        }
        Ok(Forgetting::Done(forgotten))
    }
}

/// Holds the person's jobs, so that none of them leaves its state meanwhile. Those that are not settled.
async fn prepare(transaction: &mut Transaction<'_, Postgres>, mobile: Mobile) -> sqlx::Result<Vec<Unsettled>> {
    let connection: &mut PgConnection = transaction;
    sqlx::query(PATIENT).execute(&mut *connection).await?;
    sqlx::query(
        "create temporary table forgotten on commit drop as
         select id from jobs where mobile = $1 order by id for update",
    )
    .bind(mobile.digits())
    .persistent(false)
    .execute(&mut *connection)
    .await?;
    sqlx::query_as(
        "select id, state from jobs where mobile = $1 and state in ('waiting', 'queued', 'submitting', 'in_doubt')
         order by id limit $2",
    )
    .bind(mobile.digits())
    .bind(NAMED)
    .fetch_all(connection)
    .await
}

async fn erase(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<Forgotten> {
    Ok(Forgotten {
        attempts: attempts(connection, mobile).await?,
        receipts: receipts(connection, mobile).await?,
        replies: replies(connection, mobile).await?,
        rejections: rejections(connection, mobile).await?,
        events: events(connection, mobile).await?,
        operations: operations(connection, mobile).await?,
        // The last: the others ask which jobs were the person's.
        jobs: jobs(connection, mobile).await?,
    })
}

/// Runs a statement on the number and its masked form.
async fn run(connection: &mut PgConnection, mobile: Mobile, sql: &'static str) -> sqlx::Result<u64> {
    let done: PgQueryResult = sqlx::query(sql)
        .bind(mobile.digits())
        .bind(mobile.to_string())
        // The table of the person's jobs is another one each time.
        .persistent(false)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// `updated_at` stays: it says when the job changed, and ages it out.
async fn jobs(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update jobs j
        set mobile = '', content = case when content is not null then '' end,
            variables = case when variables is not null then '[]'::jsonb end, metadata = null,
            traceparent = null, message = replace(message, $1, $2)
        from forgotten f where j.id = f.id";
    run(connection, mobile, sql).await
}

/// Where ihuyi's words quote the number.
async fn attempts(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update attempts a set message = replace(message, $1, $2)
        from forgotten f where a.job_id = f.id and a.message like '%' || $1 || '%'";
    run(connection, mobile, sql).await
}

/// Their digests stay: what is pushed again is still a repeat.
async fn receipts(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update receipts set mobile = null, message = replace(message, $1, $2)
        where mobile is not null and (mobile = $1 or job_id in (select id from forgotten))";
    run(connection, mobile, sql).await
}

async fn replies(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update replies set mobile = '', content = ''
        where mobile = $1 and $2::text is not null";
    run(connection, mobile, sql).await
}

/// Found by the number as publishers write it: with spaces, dashes or a country code in between.
async fn rejections(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update rejections
        set body = ''::bytea, properties = '{}'::jsonb, detail = replace(detail, $1, $2)
        where strpos(regexp_replace(encode(body, 'escape'), '[ -]', '', 'g'), $1) > 0
            or strpos(regexp_replace(properties::text, '[ -]', '', 'g'), $1) > 0 or strpos(detail, $1) > 0";
    run(connection, mobile, sql).await
}

/// They are still published: what happened stays true.
async fn events(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update events
        set data = jsonb_set(jsonb_set(data, '{mobile}', 'null'),
            case when data ? 'content' then '{content}' else '{metadata}' end::text[], 'null')
        where data ->> 'mobile' = $1 and $2::text is not null";
    run(connection, mobile, sql).await
}

/// Numbers are masked there; an operator's own words may hold one.
async fn operations(connection: &mut PgConnection, mobile: Mobile) -> sqlx::Result<u64> {
    let sql = "update operations
        set target = replace(target::text, $1, $2)::jsonb, reason = replace(reason, $1, $2)
        where strpos(target::text, $1) > 0 or strpos(reason, $1) > 0";
    let noted = run(connection, mobile, sql).await?;
    let sql = "update replays
        set filter = replace(filter::text, $1, $2)::jsonb, reason = replace(reason, $1, $2)
        where strpos(filter::text, $1) > 0 or strpos(reason, $1) > 0";
    Ok(noted + run(connection, mobile, sql).await?)
}

async fn note(connection: &mut PgConnection, by: &Operator, mobile: Mobile, rows: &Forgotten) -> sqlx::Result<()> {
    sqlx::query(
        "insert into operations (actor, via, action, target, count, reason)
         values ($1, $2, 'forget', jsonb_build_object('mobile', $3::text), $4, $5)",
    )
    .bind(&by.actor)
    .bind(by.via.as_str())
    .bind(mobile.to_string())
    .bind(i64::try_from(rows.rows()).unwrap_or(i64::MAX))
    .bind(by.reason.as_deref().map(|reason| reason.replace(&mobile.digits(), &mobile.to_string())))
    .execute(connection)
    .await
    .map(drop)
}
