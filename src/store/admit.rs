//! Jobs enter Postgres, and begin attempts: the claim is committed before the request leaves.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;

use super::connect::Store;
use super::error::ledger_error;
use super::events::announce;
use super::policy::{SUPPRESSED, decided};
use super::rows::{EntryColumns, JobColumns, claim_of};
use crate::dispatch::ports::{Admission, Admitted, Claim, Entry, From, LedgerError, Readmission, Readmitted};
use crate::domain::job::{State, Timestamp, WaitReason};
use crate::domain::limits::NumberLimits;

/// A row that stands in the way of a batch.
struct Known {
    state: State,
    digest: Vec<u8>,
    claim_id: i64,
    claim: Claim,
    fate: Fate,
}

/// Where a row went that was to be claimed.
#[derive(Clone, Copy)]
enum Fate {
    Claimed,
    Held(Timestamp),
    /// Its account was paused by an operator a moment ago.
    Paused,
    Suppressed,
    /// It was held, and has moved on by now: woken, cancelled, expired.
    Gone(State),
}

impl Fate {
    /// From the columns `state`, `due_at`, `wait_reason`, `code` and `message` of a row as it is now. One
    /// that was held and is released by now is held until now: its own message is on its way.
    fn of(row: &PgRow) -> Result<Fate, LedgerError> {
        let text = |name| row.try_get::<Option<&str>, _>(name).map_err(ledger_error);
        let due: Option<Timestamp> = row.try_get("due_at").map_err(ledger_error)?;
        let waits_for = |reason: WaitReason| Ok(text("wait_reason")? == Some(reason.as_str()));
        let held = waits_for(WaitReason::NumberLimit)?;
        let code: Option<i64> = row.try_get("code").map_err(ledger_error)?;
        let state = text("state")?.and_then(State::parse);
        Ok(match state.ok_or_else(|| LedgerError::Refused("a job's state cannot be read".into()))? {
            State::Waiting if held => Fate::Held(due.unwrap_or_else(chrono::Utc::now)),
            State::Waiting if waits_for(WaitReason::AccountPaused)? => Fate::Paused,
            State::Queued => Fate::Held(chrono::Utc::now()),
            State::Failed if code.is_none() && text("message")? == Some(SUPPRESSED) => Fate::Suppressed,
            // In doubt because its claim has run out: its owner, who knows better, ends the doubt.
            State::Submitting | State::InDoubt => Fate::Claimed,
            elsewhere => Fate::Gone(elsewhere),
        })
    }
}

/// Binds a number's limits behind the other arguments, where the statement asks for them.
fn limited<'q>(
    query: Query<'q, sqlx::Postgres, PgArguments>,
    limits: &NumberLimits,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    if limits.is_empty() {
        return query;
    }
    let count = |most: u32| i32::try_from(most).unwrap_or(i32::MAX);
    query
        .bind(limits.sliding.map(|sliding| count(sliding.most)))
        .bind(limits.sliding.map(|sliding| sliding.window.as_secs_f64()))
        .bind(limits.daily.map(count))
}

/// Jobs and first attempts. `on conflict do nothing` also covers an id that stands twice in the batch;
/// the order keeps two batches at a time from waiting for each other.
macro_rules! insert_jobs {
    ($($policy:tt)+) => {
        concat!(
            "with input as (
                 select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::boolean[],
                     $13::timestamptz[], $14::timestamptz[], $15::text[], $16::text[], $17::text[],
                     $18::timestamptz[], $19::bytea[], $20::bigint[])
                 as t(id, seq, account, mobile, priority, content, template_id, variables, state, wait_reason,
                     due_at, on_room, not_before, expires_at, on_unknown, metadata, traceparent, published_at,
                     digest, claim_id)
             ), ",
            decided!($($policy)+),
            ", fresh as (
                 insert into jobs (id, seq, account, mobile, priority, content, template_id, variables, state,
                     wait_reason, due_at, on_room, not_before, expires_at, on_unknown, metadata, traceparent,
                     published_at, digest, claim_id, attempts, requests, claimed_until, message)
                 select id, seq, account, mobile, priority, content, template_id, variables::jsonb, goes,
                     why, until, for_room, not_before, expires_at, on_unknown, metadata::jsonb, traceparent,
                     published_at, digest, claim_id, (goes = 'submitting')::int, (goes = 'submitting')::int,
                     case when goes = 'submitting' then now() + make_interval(secs => $21) end, says
                 from decided
                 order by id
                 on conflict (id) do nothing
                 returning id, mobile, account, state, code, message, smsid, metadata, claim_id, due_at, wait_reason
             ), started as (
                 insert into attempts (job_id, attempt, account)
                 select id, 1, account from fresh where state = 'submitting'
             ), told as (",
            announce!("fresh"),
            ")
             select claim_id, state, due_at, wait_reason, code, message from fresh"
        )
    };
}

/// Jobs that Postgres has held: to their next attempt, back to waiting, or to their end.
macro_rules! move_jobs {
    ($($policy:tt)+) => {
        concat!(
            "with input as (
                 select * from unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::text[],
                     $7::timestamptz[], $8::boolean[], $10::text[], $11::text[])
                 as t(id, account, claim_id, after, state, wait_reason, due_at, on_room, mobile, priority)
             ), ",
            decided!($($policy)+),
            ", moved as (
                 update jobs j
                 set state = i.goes, wait_reason = i.why, due_at = i.until, on_room = i.for_room,
                     account = coalesce(i.account, j.account), claim_id = i.claim_id,
                     attempts = j.attempts + (i.goes = 'submitting')::int,
                     requests = j.requests + (i.goes = 'submitting')::int,
                     claimed_until = case when i.goes = 'submitting' then now() + make_interval(secs => $9) end,
                     code = case when i.says is null then j.code end,
                     smsid = case when i.says is null then j.smsid end,
                     message = coalesce(i.says, j.message), updated_at = now()
                 from decided i
                 where j.id = i.id
                   and case when i.after is null then j.state = 'queued'
                       else j.state = 'waiting' and j.requests = i.after end
                   -- A copy from before a replay has the expiry of that time.
                   and (i.goes <> 'expired' or coalesce(j.expires_at, now()) <= now())
                 returning j.id, j.mobile, j.account, j.state, j.code, j.message, j.smsid, j.metadata, j.claim_id,
                     j.due_at, j.wait_reason, j.attempts - j.attempts_base as attempts, j.requests
             ), started as (
                 insert into attempts (job_id, attempt, account)
                 select id, requests, account from moved where state = 'submitting'
             ), told as (",
            announce!("moved"),
            ")
             select claim_id, attempts, requests, state, due_at, wait_reason, code, message from moved"
        )
    };
}

impl Store {
    /// Inserts jobs, and with those that are claimed their first attempt. An id that is known is
    /// left alone, and looked up afterwards.
    pub(super) async fn admit_rows(&self, rows: &[Admission]) -> Result<Vec<Admitted>, LedgerError> {
        let inserted = self.insert_jobs(rows).await?;
        let in_the_way: Vec<&str> =
            rows.iter().filter(|row| !inserted.contains_key(&row.claim_id)).map(|row| row.job.id.as_str()).collect();
        let known = if in_the_way.is_empty() { HashMap::new() } else { self.known(&in_the_way).await? };
        rows.iter()
            .map(|row| {
                if let Some(fate) = inserted.get(&row.claim_id) {
                    return Ok(entered(&row.entry, *fate, Claim { attempts: 1, request: 1 }));
                }
                let Some(known) = known.get(row.job.id.as_str()) else {
                    // It was deleted between the two statements.
                    return Err(LedgerError::Unavailable("a job was pruned just now".into()));
                };
                // Our own commit, whose answer was lost.
                if known.claim_id == row.claim_id {
                    return Ok(entered(&row.entry, known.fate, known.claim));
                }
                let same = known.digest == row.job.digest();
                Ok(if same { Admitted::Repeat(known.state) } else { Admitted::Conflict })
            })
            .collect()
    }

    /// One statement. Returns the claim ids that were new.
    async fn insert_jobs(&self, rows: &[Admission]) -> Result<HashMap<i64, Fate>, LedgerError> {
        let columns = JobColumns::of(rows);
        let sql = match self.limits.is_empty() {
            true => insert_jobs!(no_limits),
            false => insert_jobs!(number_limits("$22", "$23", "$24")),
        };
        let query = sqlx::query(sql)
            .bind(columns.ids)
            .bind(columns.seqs)
            .bind(columns.accounts)
            .bind(columns.mobiles)
            .bind(columns.priorities)
            .bind(columns.contents)
            .bind(columns.template_ids)
            .bind(columns.variables)
            .bind(columns.entries.states)
            .bind(columns.entries.reasons)
            .bind(columns.entries.dues)
            .bind(columns.entries.on_rooms)
            .bind(columns.not_befores)
            .bind(columns.expires)
            .bind(columns.on_unknowns)
            .bind(columns.metadata)
            .bind(columns.traceparents)
            .bind(columns.published)
            .bind(columns.digests)
            .bind(columns.claim_ids)
            .bind(self.lease_seconds);
        let found = limited(query, &self.limits).fetch_all(&self.pool).await.map_err(ledger_error)?;
        found.iter().map(|row| Ok((row.try_get("claim_id").map_err(ledger_error)?, Fate::of(row)?))).collect()
    }

    /// Moves jobs that Postgres has held: to their next attempt, back to waiting, or to their end.
    pub(super) async fn readmit_rows(&self, rows: &[Readmission]) -> Result<Vec<Readmitted>, LedgerError> {
        let moved = self.move_jobs(rows).await?;
        let elsewhere: Vec<&str> =
            rows.iter().filter(|row| !moved.contains_key(&row.claim_id)).map(|row| row.id.as_str()).collect();
        let known = if elsewhere.is_empty() { HashMap::new() } else { self.known(&elsewhere).await? };
        Ok(rows
            .iter()
            .map(|row| match (moved.get(&row.claim_id), known.get(row.id.as_str())) {
                (Some((fate, claim)), _) => moved_to(&row.entry, *fate, *claim),
                (None, Some(known)) if known.claim_id == row.claim_id => moved_to(&row.entry, known.fate, known.claim),
                (None, Some(known)) => Readmitted::Elsewhere(known.state),
                (None, None) => Readmitted::Missing,
            })
            .collect())
    }

    async fn move_jobs(&self, rows: &[Readmission]) -> Result<HashMap<i64, (Fate, Claim)>, LedgerError> {
        let mut entries = EntryColumns::default();
        rows.iter().for_each(|row| entries.push(&row.entry));
        let after: Vec<Option<i32>> = (rows.iter())
            .map(|row| match row.from {
                From::Queued => None,
                From::Again(requests) => Some(requests as i32),
            })
            .collect();
        let sql = match self.limits.is_empty() {
            true => move_jobs!(no_limits),
            false => move_jobs!(number_limits("$12", "$13", "$14")),
        };
        let query = sqlx::query(sql)
            .bind(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.account.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.claim_id).collect::<Vec<_>>())
            .bind(after)
            .bind(entries.states)
            .bind(entries.reasons)
            .bind(entries.dues)
            .bind(entries.on_rooms)
            .bind(self.lease_seconds)
            .bind(rows.iter().map(|row| row.to.map(|(mobile, _)| mobile.digits())).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.to.map(|(_, priority)| priority.as_str())).collect::<Vec<_>>());
        let found = limited(query, &self.limits).fetch_all(&self.pool).await.map_err(ledger_error)?;
        found
            .iter()
            .map(|row| Ok((row.try_get("claim_id").map_err(ledger_error)?, (Fate::of(row)?, claim_of(row)?))))
            .collect()
    }

    /// What is known of these ids.
    async fn known(&self, ids: &[&str]) -> Result<HashMap<String, Known>, LedgerError> {
        let found = sqlx::query(
            "select id, state, digest, claim_id, attempts - attempts_base as attempts, requests, due_at, wait_reason,
                 code, message
             from jobs where id = any($1)",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        found
            .iter()
            .map(|row| {
                let known = Known {
                    state: State::parse(row.try_get("state").map_err(ledger_error)?)
                        .ok_or_else(|| LedgerError::Refused("a job's state cannot be read".into()))?,
                    digest: row.try_get("digest").map_err(ledger_error)?,
                    claim_id: row.try_get("claim_id").map_err(ledger_error)?,
                    claim: claim_of(row)?,
                    fate: Fate::of(row)?,
                };
                Ok((row.try_get("id").map_err(ledger_error)?, known))
            })
            .collect()
    }
}

fn entered(entry: &Entry, fate: Fate, claim: Claim) -> Admitted {
    match (entry, fate) {
        (Entry::Claim, Fate::Claimed) => Admitted::Claimed(claim),
        (Entry::Claim, Fate::Held(until)) => Admitted::Held(until),
        (Entry::Claim, Fate::Paused) => Admitted::Paused,
        (Entry::Claim, Fate::Suppressed) => Admitted::Suppressed,
        (Entry::Claim, Fate::Gone(state)) => Admitted::Repeat(state),
        (Entry::Wait { .. } | Entry::Expired, _) => Admitted::Stored,
    }
}

fn moved_to(entry: &Entry, fate: Fate, claim: Claim) -> Readmitted {
    match (entry, fate) {
        (Entry::Claim, Fate::Claimed) => Readmitted::Claimed(claim),
        (Entry::Claim, Fate::Held(until)) => Readmitted::Held(until),
        (Entry::Claim, Fate::Paused) => Readmitted::Paused,
        (Entry::Claim, Fate::Suppressed) => Readmitted::Suppressed,
        (Entry::Claim, Fate::Gone(state)) => Readmitted::Elsewhere(state),
        (Entry::Wait { .. } | Entry::Expired, _) => Readmitted::Stored,
    }
}
