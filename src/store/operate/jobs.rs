//! Jobs are withdrawn, and doubts are ended, by hand.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::super::events::announce;
use super::super::query::JobFilter;
use super::super::query::filter::push_ranges;
use super::Operator;
use super::replays::describe;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::State;

/// What became of one job that somebody acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// As asked.
    Done(Changed),
    /// It was in this state, and stayed as it was.
    Not(State),
    /// It stays in doubt: the smsid that was named is another job's.
    Taken {
        /// The smsid.
        smsid: String,
        /// The other job.
        by: String,
    },
    /// There is no such job.
    Missing,
}

/// A job that was acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The account that sends it.
    pub account: String,
    /// The gateway's last answer.
    pub code: Option<i64>,
}

impl Acted {
    /// The job, where it was done.
    pub fn done(&self) -> Option<&Changed> {
        match self {
            Acted::Done(job) => Some(job),
            Acted::Not(_) | Acted::Taken { .. } | Acted::Missing => None,
        }
    }
}

/// What an operator does to jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAct {
    /// Withdraws what waits or is due: `cancelled`.
    Cancel,
    /// Ends a doubt, ihuyi took it: `accepted`, with ihuyi's id where it is known.
    Sent(Option<String>),
    /// Ends a doubt, ihuyi did not: it is due now, with what is left of its attempts and at least one.
    NotSent,
}

/// Jobs that one row in `operations` names, at most.
const NAMED: usize = 100_000;

impl JobAct {
    /// The states that it ends; in others a job stays as it is.
    pub fn from(&self) -> &'static [State] {
        match self {
            JobAct::Cancel => &[State::Waiting, State::Queued],
            JobAct::Sent(_) | JobAct::NotSent => &[State::InDoubt],
        }
    }

    /// `filter.states`, where `named` were asked for.
    ///
    /// # Errors
    /// When it makes no sense for one of them; in words for a person.
    pub fn states(&self, named: &[State]) -> Result<Vec<State>, String> {
        if let Some(other) = named.iter().find(|state| !self.from().contains(state)) {
            let known: Vec<&str> = self.from().iter().map(|state| state.as_str()).collect();
            return Err(format!("{other}: use {}", known.join(" or ")));
        }
        Ok(if named.is_empty() { self.from().to_vec() } else { named.to_vec() })
    }

    /// The state that it ends a job in; `None` where the job goes on.
    pub fn end(&self) -> Option<State> {
        match self {
            JobAct::Cancel => Some(State::Cancelled),
            JobAct::Sent(_) => Some(State::Accepted),
            JobAct::NotSent => None,
        }
    }

    /// Of a doubt: whether it is said to be sent.
    fn sent(&self) -> Option<bool> {
        match self {
            JobAct::Cancel => None,
            JobAct::Sent(_) => Some(true),
            JobAct::NotSent => Some(false),
        }
    }

    /// `operations.action`.
    fn word(&self) -> &'static str {
        match self {
            JobAct::Cancel => "cancel",
            JobAct::Sent(_) | JobAct::NotSent => "resolve",
        }
    }
}

/// Jobs of one statement, at most.
const CHUNK: usize = 500;

/// An act on many jobs: its number in `operations`.
#[derive(Clone, Copy, Debug)]
pub struct Batch(i64);

/// The jobs `$1` that are in one of the states `$from` go where `$set` says; `$4` is why. Noted in the batch `$5`, whose
/// count grows, or by itself. A row for each job that there is.
macro_rules! act {
    (set $set:literal, from $from:literal, note $action:literal $target:literal $(, then $more:expr)?) => {
        concat!(
            "with target as (
                 select id, state from jobs where id = any($1) order by id for update
             ), changed as (
                 update jobs j
                 set ",
            $set,
            ", updated_at = now()
                 from target t where j.id = t.id and t.state in (",
            $from,
            ")
                 returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata
             ), ",
            $($more,)?
            "noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, '",
            $action,
            "', jsonb_build_object('jobs', jsonb_agg(id order by id)",
            $target,
            "), count(*), $4
                 from changed where $5::bigint is null having count(*) > 0
             ), counted as (
                 update operations set count = count + (select count(*) from changed) where id = $5::bigint
             )
             select t.id, t.state, c.id is not null as done, c.account, c.code from target t left join changed c on c.id = t.id"
        )
    };
}

const CANCEL: &str = act!(set "state = 'cancelled', wait_reason = null, due_at = null, on_room = false",
    from "'waiting', 'queued'", note "cancel" "");

const NOT_SENT: &str = act!(set "state = 'waiting', wait_reason = 'retry', due_at = now(), on_room = false",
    from "'in_doubt'", note "resolve" ", 'sent', false");

/// A receipt that came before its smsid was known is looked at again.
const SENT: &str = act!(set "state = 'accepted', smsid = coalesce($6, j.smsid)",
    from "'in_doubt'", note "resolve" ", 'sent', true, 'smsid', $6::text",
    then concat!("told as (", announce!("changed"), "), early as (
        update receipts set look_at = now(), looks = 0
        where smsid = $6 and job_id is null and exists (select from changed)
    ), "));

impl Store {
    /// How many jobs in each state `filter` lets through.
    pub async fn count_jobs(&self, filter: &JobFilter) -> Result<BTreeMap<String, i64>, LedgerError> {
        let ranges = self.ranges(filter).await?;
        if ranges.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut sql = QueryBuilder::new("select state, count(*) from (");
        push_ranges(&mut sql, "state", &ranges, filter, None);
        sql.push(") as found group by state");
        let rows = sql.build_query_as::<(String, i64)>().persistent(false).fetch_all(&self.pool).await;
        Ok(rows.map_err(ledger_error)?.into_iter().collect())
    }

    /// The jobs that `filter` lets through, the first that came first, at most `limit`: the choice of an act on many.
    pub async fn choose_jobs(&self, filter: &JobFilter, limit: Option<u32>) -> Result<Vec<String>, LedgerError> {
        let ranges = self.ranges(filter).await?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = QueryBuilder::new("select id from (");
        push_ranges(&mut sql, "id, seq", &ranges, filter, None);
        sql.push(") as found order by seq, id limit ").push_bind(limit.map(i64::from));
        sql.build_query_scalar().persistent(false).fetch_all(&self.pool).await.map_err(ledger_error)
    }

    /// Does it to all of `ids`, some at a time. What comes of each, in order. Each step is noted in `batch`, or by itself.
    pub async fn act_on_jobs(
        &self,
        by: &Operator,
        act: &JobAct,
        ids: &[String],
        batch: Option<Batch>,
    ) -> Result<Vec<Acted>, LedgerError> {
        let mut acted = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            acted.extend(self.act_on_some(by, act, chunk, batch).await?);
        }
        Ok(acted)
    }

    async fn act_on_some(
        &self,
        by: &Operator,
        act: &JobAct,
        ids: &[String],
        batch: Option<Batch>,
    ) -> Result<Vec<Acted>, LedgerError> {
        if let JobAct::Sent(Some(smsid)) = act {
            return self.resolve_as(by, act, smsid, ids, batch).await;
        }
        let rows = statement(by, act, ids, batch).fetch_all(&self.pool).await;
        acted(ids, &rows.map_err(ledger_error)?)
    }

    /// Ends a doubt by ihuyi's id of the message, which is one job's alone.
    async fn resolve_as(
        &self,
        by: &Operator,
        act: &JobAct,
        smsid: &str,
        ids: &[String],
        batch: Option<Batch>,
    ) -> Result<Vec<Acted>, LedgerError> {
        let mut transaction = self.pool.current().begin().await.map_err(ledger_error)?;
        if let Some(by) = holder(&mut transaction, smsid, ids).await.map_err(ledger_error)? {
            return Ok(vec![Acted::Taken { smsid: smsid.to_owned(), by }; ids.len()]);
        }
        let rows = statement(by, act, ids, batch).fetch_all(&mut *transaction).await.map_err(ledger_error)?;
        transaction.commit().await.map_err(ledger_error)?;
        acted(ids, &rows)
    }

    /// Does it to the jobs that `filter` chooses now, the first that came first, at most `limit`; one row in `operations`
    /// for each 100,000, which names them at the end. Those that were changed are in `changed`, also where Postgres fails
    /// after some.
    pub async fn act_on_many(
        &self,
        by: &Operator,
        act: &JobAct,
        filter: &JobFilter,
        limit: Option<u32>,
        changed: &mut Vec<Changed>,
    ) -> Result<(), LedgerError> {
        for ids in self.choose_jobs(filter, limit).await?.chunks(NAMED) {
            let batch = self.begin_batch(by, act, filter).await?;
            let mut named = Vec::new();
            let through = self.act_in_batch(by, act, ids, batch, &mut named, changed).await;
            let noted = self.end_batch(batch, &named).await;
            through.and(noted)?;
        }
        Ok(())
    }

    /// As far as Postgres goes along: the ids of those that were changed, and what they are.
    async fn act_in_batch<'a>(
        &self,
        by: &Operator,
        act: &JobAct,
        ids: &'a [String],
        batch: Batch,
        named: &mut Vec<&'a str>,
        changed: &mut Vec<Changed>,
    ) -> Result<(), LedgerError> {
        for ids in ids.chunks(CHUNK) {
            for (id, acted) in ids.iter().zip(self.act_on_some(by, act, ids, Some(batch)).await?) {
                if let Acted::Done(job) = acted {
                    named.push(id);
                    changed.push(job);
                }
            }
        }
        Ok(())
    }

    /// Begins an act on many jobs: one row in `operations`, whose count grows with what is done.
    async fn begin_batch(&self, by: &Operator, act: &JobAct, filter: &JobFilter) -> Result<Batch, LedgerError> {
        let mut target = describe(filter);
        if let Some(sent) = act.sent() {
            target["sent"] = sent.into();
        }
        let row = sqlx::query(
            "insert into operations (actor, via, action, target, reason) values ($1, $2, $3, $4::jsonb, $5) returning id",
        )
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(act.word())
        .bind(target.to_string())
        .bind(&by.reason)
        .fetch_one(&self.pool)
        .await
        .map_err(ledger_error)?;
        Ok(Batch(row.try_get(0).map_err(ledger_error)?))
    }

    /// Names the jobs that were changed: by them the story of a job finds who did it, and why. Once, and not with each
    /// step: the row is written anew each time.
    async fn end_batch(&self, batch: Batch, done: &[&str]) -> Result<(), LedgerError> {
        sqlx::query("update operations set target = target || jsonb_build_object('jobs', $2::text[]) where id = $1")
            .bind(batch.0)
            .bind(done)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(ledger_error)
    }
}

/// An act on some jobs.
fn statement<'a>(
    by: &'a Operator,
    act: &'a JobAct,
    ids: &'a [String],
    batch: Option<Batch>,
) -> Query<'a, Postgres, PgArguments> {
    let sql = match act {
        JobAct::Cancel => CANCEL,
        JobAct::NotSent => NOT_SENT,
        JobAct::Sent(_) => SENT,
    };
    let query = sqlx::query(sql).bind(ids).bind(&by.actor).bind(by.via.as_str()).bind(&by.reason);
    let query = query.bind(batch.map(|batch| batch.0));
    if let JobAct::Sent(smsid) = act { query.bind(smsid.as_deref()) } else { query }
}

/// The other job that has this smsid, where one of `ids` is in doubt and would get it. Whoever resolves by the same one
/// waits until this is over.
async fn holder(connection: &mut PgConnection, smsid: &str, ids: &[String]) -> sqlx::Result<Option<String>> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('smsid ' || $1, 0))")
        .bind(smsid)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar(
        "select other.id from jobs other
         where other.smsid = $1 and other.id <> all($2)
           and exists (select from jobs j where j.id = any($2) and j.state = 'in_doubt')
         limit 1",
    )
    .bind(smsid)
    .bind(ids)
    .fetch_optional(&mut *connection)
    .await
}

fn state_in(row: &PgRow) -> Result<State, LedgerError> {
    let word = row.try_get("state").map_err(ledger_error)?;
    State::parse(word).ok_or_else(|| LedgerError::Refused("a job's state cannot be read".into()))
}

/// A row for each job that there is: its id, its state before, and whether the act took place.
fn acted(ids: &[String], rows: &[PgRow]) -> Result<Vec<Acted>, LedgerError> {
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let id: String = row.try_get("id").map_err(ledger_error)?;
        let acted = match row.try_get("done").map_err(ledger_error)? {
            true => Acted::Done(changed(row).map_err(ledger_error)?),
            false => Acted::Not(state_in(row)?),
        };
        found.insert(id, acted);
    }
    Ok(ids.iter().map(|id| found.get(id).cloned().unwrap_or(Acted::Missing)).collect())
}

fn changed(row: &PgRow) -> sqlx::Result<Changed> {
    Ok(Changed { account: row.try_get("account")?, code: row.try_get("code")? })
}
