//! All that is known of one job: what its story is told from.

use serde::Serialize;
use sqlx::FromRow;

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::{AccountInfo, AttemptInfo, JobInfo, ReceiptInfo, ReplyInfo};
use crate::dispatch::ports::LedgerError;
use crate::domain::job::{Priority, Timestamp};
use crate::domain::privacy::{Veil, length, masked};

/// Nobody needs to know more exactly how long a line is, and a count takes time.
const MANY: i64 = 1_000_000;

/// A job and all that belongs to it. Numbers and texts are whole: mask them before they are shown.
#[derive(Clone, Debug)]
pub struct Dossier {
    /// The job.
    pub job: JobInfo,
    /// Every request that was made for it, in order.
    pub attempts: Vec<AttemptInfo>,
    /// Its receipts, in order.
    pub receipts: Vec<ReceiptInfo>,
    /// The replies to it, in order.
    pub replies: Vec<ReplyInfo>,
    /// The replays that chose it, in order.
    pub replays: Vec<JobReplay>,
    /// What operators did to it, in order.
    pub deeds: Vec<Deed>,
    /// Its account; `None` before a daemon has started with it.
    pub account: Option<AccountInfo>,
    /// Who goes first, while it waits in a line.
    pub ahead: Option<Ahead>,
}

impl Dossier {
    /// Replaces number and texts by what may be shown to anyone.
    pub fn mask(&mut self) {
        let veil = Veil::over(&self.job.mobile);
        self.attempts.iter_mut().for_each(|attempt| veil.words(&mut attempt.message));
        self.receipts.iter_mut().for_each(|receipt| veil.words(&mut receipt.message));
        self.replays.iter_mut().for_each(|replay| veil.words(&mut replay.reason));
        self.deeds.iter_mut().for_each(|deed| veil.words(&mut deed.reason));
        self.job.mask();
        self.receipts.iter_mut().for_each(ReceiptInfo::mask);
        for reply in &mut self.replies {
            reply.mobile = masked(&reply.mobile);
            reply.content = length(&reply.content);
        }
    }
}

/// An operator's act.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// cli, api or console.
    pub via: String,
    /// cancel, resolve, replay, …
    pub action: String,
    /// Of a doubt that was ended: whether it was sent.
    pub sent: Option<bool>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// A replay that chose the job.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct JobReplay {
    /// The replay's number.
    pub replay: i64,
    /// running, paused, done or cancelled: the replay, as of now.
    pub state: String,
    /// Who began it.
    pub actor: String,
    /// cli, api or console.
    pub via: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When it began, and chose the job.
    pub created_at: Timestamp,
    /// Where the job was then; or what its message had been refused for.
    pub from: String,
    /// pending, sent, skipped (gone elsewhere meanwhile), or the state that the job came to; of a message, taken or refused.
    pub result: String,
    /// When the job was sent again or skipped.
    pub at: Option<Timestamp>,
}

/// In what line a job waits, and how many go before it: counted up to a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// For room in its account: those of higher priority, and those that arrived before it.
    Account(i64),
    /// For its number: those with an earlier slot.
    Number(i64),
}

/// Where a waiting job stands.
#[derive(FromRow)]
struct Place {
    account: String,
    mobile: String,
    priority: String,
    seq: i64,
    due_at: Option<Timestamp>,
    on_room: bool,
    wait_reason: String,
}

impl Store {
    /// All about the job of that id.
    pub async fn dossier(&self, id: &str) -> Result<Option<Dossier>, LedgerError> {
        let Some(job) = self.find_job(id).await? else { return Ok(None) };
        let accounts = self.list_account_info().await?;
        Ok(Some(Dossier {
            attempts: self.list_attempts(id).await?,
            receipts: self.job_receipts(id).await?,
            replies: self.job_replies(id).await?,
            replays: self.job_replays(id).await?,
            deeds: self.deeds(&job).await?,
            account: accounts.into_iter().find(|account| account.name == job.account),
            ahead: self.ahead(id).await?,
            job,
        }))
    }

    /// Every replay that chose the job, in order.
    pub async fn job_replays(&self, job_id: &str) -> Result<Vec<JobReplay>, LedgerError> {
        sqlx::query_as(
            "select r.id as replay, r.state, r.actor, r.via, r.reason, r.created_at, q.from_state as \"from\", q.result,
                 q.at
             from replay_jobs q join replays r on r.id = q.replay_id
             -- Another message may have been refused for having this job's id.
             where q.job_id = $1 and (q.rejection_id is null or q.digest = (select digest from jobs where id = $1))
             order by r.id",
        )
        .bind(job_id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    /// What operators did to the job. They could not before it was there, so few rows are looked at.
    async fn deeds(&self, job: &JobInfo) -> Result<Vec<Deed>, LedgerError> {
        sqlx::query_as(
            "select at, actor, via, action, (target ->> 'sent')::boolean as sent, reason from operations
             where at >= $1 and target @> jsonb_build_object('jobs', jsonb_build_array($2::text))
             order by at, id",
        )
        .bind(job.created_at)
        .bind(&job.id)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    async fn ahead(&self, id: &str) -> Result<Option<Ahead>, LedgerError> {
        let place: Option<Place> = sqlx::query_as(
            "select account, mobile, priority, seq, due_at, on_room, wait_reason from jobs
             where id = $1 and state = 'waiting' and (on_room or wait_reason in ('rate_limited', 'number_limit'))",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .map_err(ledger_error)?;
        let Some(place) = place else { return Ok(None) };
        match place.on_room {
            true => self.ahead_in_account(&place).await.map(|jobs| Some(Ahead::Account(jobs))),
            false => self.ahead_in_number(&place).await.map(|jobs| Some(Ahead::Number(jobs))),
        }
    }

    async fn ahead_in_account(&self, place: &Place) -> Result<i64, LedgerError> {
        let own = Priority::parse(&place.priority);
        let higher: Vec<&str> =
            Priority::ALL.iter().filter(|other| Some(**other) < own).map(|other| other.as_str()).collect();
        sqlx::query_scalar(
            "select count(*) from (
                 select 1 from jobs
                 where state = 'waiting' and on_room and account = $1
                   and (priority = any($2) or (priority = $3 and seq < $4))
                 limit $5
             ) as ahead",
        )
        .bind(&place.account)
        .bind(higher)
        .bind(&place.priority)
        .bind(place.seq)
        .bind(MANY)
        .fetch_one(&self.pool)
        .await
        .map_err(ledger_error)
    }

    async fn ahead_in_number(&self, place: &Place) -> Result<i64, LedgerError> {
        sqlx::query_scalar(
            "select count(*) from (
                 select 1 from jobs
                 where mobile = $1 and state = 'waiting' and not on_room and wait_reason = $5
                   and (due_at, seq) < ($2, $3)
                 limit $4
             ) as ahead",
        )
        .bind(&place.mobile)
        .bind(place.due_at)
        .bind(place.seq)
        .bind(MANY)
        .bind(&place.wait_reason)
        .fetch_one(&self.pool)
        .await
        .map_err(ledger_error)
    }
}
