//! The tables of `migrations/`, as far as the dispatcher reads and writes them. Each method means
//! what one SQL statement of `src/store` means, at one instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::job::{Job, Outcome, Payload, State, Timestamp, WaitReason};

use super::feedback::{ReceiptRow, ReplyRow};

/// A row of `jobs`.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// As published; `account` here is the one it was published for.
    pub job: Arc<Job>,
    /// The account that sends it.
    pub account: String,
    pub seq: i64,
    pub state: State,
    pub wait_reason: Option<WaitReason>,
    pub due_at: Option<Timestamp>,
    pub on_room: bool,
    pub attempts: i32,
    pub requests: u32,
    pub code: Option<i64>,
    pub smsid: Option<String>,
    pub claim_id: i64,
    pub claimed_until: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// How often the row was written: not in the real table.
    pub revision: u64,
}

/// A row of `attempts`.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    pub outcome: Option<Outcome>,
    pub code: Option<i64>,
    pub smsid: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// The process that claimed it: not in the real table.
    pub owner: u32,
}

/// A row of `rejections`.
#[derive(Clone, Debug)]
pub struct RejectionRow {
    pub reason: &'static str,
    pub body: Vec<u8>,
}

/// All of it.
#[derive(Default)]
pub struct Tables {
    pub jobs: BTreeMap<String, JobRow>,
    pub attempts: BTreeMap<(String, u32), AttemptRow>,
    pub rejections: Vec<RejectionRow>,
    pub receipts: Vec<ReceiptRow>,
    pub replies: Vec<ReplyRow>,
    /// Paused accounts have a pause.
    pub accounts: BTreeMap<String, Option<Pause>>,
    /// How long a claim protects its attempt.
    pub lease: Duration,
    /// Which of two rows of one batch that want the same job wins: Postgres does not say.
    pub last_wins: bool,
}

/// An [`Entry`] in columns: reason, due, on_room.
fn entry_columns(entry: &Entry) -> (Option<WaitReason>, Option<Timestamp>, bool) {
    match entry {
        Entry::Wait { reason, due_at, on_room } => (Some(*reason), *due_at, *on_room),
        Entry::Claim | Entry::Expired => (None, None, false),
    }
}

fn next_columns(next: &Next) -> (Option<WaitReason>, Option<Timestamp>, bool) {
    match next {
        Next::Accepted | Next::Failed | Next::InDoubt => (None, None, false),
        Next::Wait { reason, due_at } => (Some(*reason), *due_at, *reason == WaitReason::AccountPaused),
        Next::Again { due_at } => (Some(WaitReason::Retry), Some(*due_at), false),
    }
}

fn entered(entry: &Entry, claim: Claim) -> Admitted {
    if *entry == Entry::Claim { Admitted::Claimed(claim) } else { Admitted::Stored }
}

fn moved(entry: &Entry, claim: Claim) -> Readmitted {
    if *entry == Entry::Claim { Readmitted::Claimed(claim) } else { Readmitted::Stored }
}

impl JobRow {
    /// What the row says of its last attempt.
    pub fn claim(&self) -> Claim {
        Claim { attempts: self.attempts.max(0) as u32, request: self.requests }
    }

    /// Goes to `state`. The callers set what else changes.
    pub fn go(&mut self, state: State, waits: (Option<WaitReason>, Option<Timestamp>, bool), now: Timestamp) {
        self.state = state;
        (self.wait_reason, self.due_at, self.on_room) = waits;
        self.claimed_until = None;
        self.updated_at = now;
        self.revision += 1;
    }
}

impl Tables {
    /// `insert_jobs`: the claim ids that were new. A row that cannot be stored refuses the batch.
    pub fn insert(&mut self, rows: &[Admission], owner: u32, now: Timestamp) -> Result<BTreeSet<i64>, LedgerError> {
        if rows.iter().any(|row| holds_nul(&row.job.payload)) {
            return Err(LedgerError::Refused("a NUL character (22021)".into()));
        }
        let mut inserted = BTreeSet::new();
        for row in in_turn(rows, self.last_wins) {
            if self.jobs.contains_key(&row.job.id) {
                continue;
            }
            inserted.insert(row.claim_id);
            let mut job = new_row(row, now);
            job.go(row.entry.state(), entry_columns(&row.entry), now);
            if row.entry == Entry::Claim {
                self.begin(&mut job, owner, now);
            }
            self.jobs.insert(row.job.id.clone(), job);
        }
        Ok(inserted)
    }

    /// The next attempt of a job.
    fn begin(&mut self, job: &mut JobRow, owner: u32, now: Timestamp) {
        job.attempts += 1;
        job.requests += 1;
        job.claimed_until = Some(now + self.lease);
        let attempt = AttemptRow { outcome: None, code: None, smsid: None, started_at: now, finished_at: None, owner };
        self.attempts.insert((job.job.id.clone(), job.requests), attempt);
    }

    /// What `admit_rows` says of each row, after [`Tables::insert`].
    pub fn admitted(&self, rows: &[Admission], inserted: &BTreeSet<i64>) -> Result<Vec<Admitted>, LedgerError> {
        rows.iter()
            .map(|row| {
                if inserted.contains(&row.claim_id) {
                    return Ok(entered(&row.entry, Claim { attempts: 1, request: 1 }));
                }
                let known = self.jobs.get(&row.job.id);
                let known = known.ok_or_else(|| LedgerError::Unavailable("a job was pruned just now".into()))?;
                if known.claim_id == row.claim_id {
                    return Ok(entered(&row.entry, known.claim()));
                }
                let same = known.job.digest() == row.job.digest();
                Ok(if same { Admitted::Repeat(known.state) } else { Admitted::Conflict })
            })
            .collect()
    }

    /// `move_jobs`: the rows that were moved, by claim id.
    pub fn move_jobs(&mut self, rows: &[Readmission], owner: u32, now: Timestamp) -> BTreeMap<i64, Claim> {
        let mut moved = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for row in in_turn(rows, self.last_wins) {
            let Some(mut job) = self.jobs.get(&row.id).cloned() else { continue };
            let there = match row.from {
                From::Queued => job.state == State::Queued,
                From::Again(requests) => job.state == State::Waiting && job.requests == requests,
            };
            if !there || !ids.insert(row.id.clone()) {
                continue;
            }
            job.go(row.entry.state(), entry_columns(&row.entry), now);
            job.account = row.account.clone().unwrap_or(job.account);
            job.claim_id = row.claim_id;
            if row.entry == Entry::Claim {
                self.begin(&mut job, owner, now);
            }
            moved.insert(row.claim_id, job.claim());
            self.jobs.insert(row.id.clone(), job);
        }
        moved
    }

    /// What `readmit_rows` says of each row, after [`Tables::move_jobs`].
    pub fn readmitted(&self, rows: &[Readmission], done: &BTreeMap<i64, Claim>) -> Vec<Readmitted> {
        rows.iter()
            .map(|row| match (done.get(&row.claim_id), self.jobs.get(&row.id)) {
                (Some(claim), _) => moved(&row.entry, *claim),
                (None, Some(known)) if known.claim_id == row.claim_id => moved(&row.entry, known.claim()),
                (None, Some(known)) => Readmitted::Elsewhere(known.state),
                (None, None) => Readmitted::Missing,
            })
            .collect()
    }

    /// `record_rows`.
    pub fn record(&mut self, rows: &[Record], now: Timestamp) -> Vec<bool> {
        let mut landed = BTreeSet::new();
        let mut ended = BTreeSet::new();
        for row in in_turn(rows, self.last_wins) {
            self.end_attempt(row, &mut ended, now);
            let Some(job) = self.jobs.get_mut(&row.id).filter(|job| job.requests == row.request) else { continue };
            let accepted = row.decision.next == Next::Accepted;
            // All rows of a statement see the table as it was before.
            let lands = match job.state {
                State::Submitting | State::InDoubt => true,
                State::Waiting | State::Queued => accepted,
                _ => false,
            };
            if !lands || !landed.insert(row.id.clone()) {
                continue;
            }
            job.go(row.decision.next.state(), next_columns(&row.decision.next), now);
            job.attempts = (job.attempts - i32::from(!row.decision.spent)).max(0);
            job.code = row.answer.as_ref().map(|answer| answer.code);
            job.smsid = row.answer.as_ref().and_then(|answer| answer.smsid.clone());
        }
        rows.iter().map(|row| landed.contains(&row.id)).collect()
    }

    fn end_attempt(&mut self, row: &Record, ended: &mut BTreeSet<(String, u32)>, now: Timestamp) {
        let key = (row.id.clone(), row.request);
        let doubted = |job: &JobRow| job.requests == row.request && job.state == State::InDoubt;
        let corrects = row.decision.spent || self.jobs.get(&row.id).is_some_and(doubted);
        let open =
            |attempt: &AttemptRow| attempt.outcome.is_none() || attempt.outcome == Some(Outcome::Unknown) && corrects;
        let Some(attempt) = self.attempts.get_mut(&key).filter(|attempt| open(attempt)) else { return };
        if ended.insert(key) {
            attempt.outcome = Some(row.decision.outcome);
            attempt.finished_at = Some(now);
            attempt.code = row.answer.as_ref().map(|answer| answer.code);
            attempt.smsid = row.answer.as_ref().and_then(|answer| answer.smsid.clone());
        }
    }

    /// `refuse_rows`.
    pub fn refuse(&mut self, rows: &[Refusal]) -> Vec<()> {
        rows.iter()
            .map(|row| {
                let rejection = RejectionRow { reason: row.rejection.reason.as_str(), body: row.body.to_vec() };
                self.rejections.push(rejection);
            })
            .collect()
    }
}

/// A batch in the order in which Postgres happens to look at it.
fn in_turn<T>(rows: &[T], last_first: bool) -> Vec<&T> {
    if last_first { rows.iter().rev().collect() } else { rows.iter().collect() }
}

fn new_row(row: &Admission, now: Timestamp) -> JobRow {
    JobRow {
        job: row.job.clone(),
        account: row.account.clone(),
        seq: row.seq,
        state: row.entry.state(),
        wait_reason: None,
        due_at: None,
        on_room: false,
        attempts: 0,
        requests: 0,
        code: None,
        smsid: None,
        claim_id: row.claim_id,
        claimed_until: None,
        updated_at: now,
        revision: 0,
    }
}

/// `text` of Postgres cannot hold it.
fn holds_nul(payload: &Payload) -> bool {
    payload.content().contains('\0')
}
