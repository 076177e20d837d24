//! The tables of `migrations/`, as far as the dispatcher reads and writes them. Each method means
//! what one SQL statement of `src/store` means, at one instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::event::Event;
use dispatcher::domain::job::{Job, Outcome, Payload, Priority, State, Timestamp, WaitReason};
use dispatcher::domain::limits::{NumberLimits, Sliding};
use dispatcher::domain::mobile::Mobile;

use super::feedback::{ReceiptRow, ReplyRow};
use super::replays::ReplayRow;

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
    /// `attempts` when the present budget began.
    pub attempts_base: i32,
    pub requests: u32,
    pub code: Option<i64>,
    /// It failed because its number wants no bulk messages: `message` of the real table.
    pub suppressed: bool,
    pub message: Option<String>,
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
    pub received_at: Timestamp,
}

/// A row of `events`, or one that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub event: Event,
    /// What it says, beside its type.
    pub state: State,
}

/// All of it.
#[derive(Default)]
pub struct Tables {
    /// The outbox, by number.
    pub events: BTreeMap<i64, EventRow>,
    /// All that ever was in it: not in the real tables.
    pub facts: Vec<EventRow>,
    pub jobs: BTreeMap<String, JobRow>,
    pub attempts: BTreeMap<(String, u32), AttemptRow>,
    pub rejections: Vec<RejectionRow>,
    pub receipts: Vec<ReceiptRow>,
    pub replies: Vec<ReplyRow>,
    pub replays: Vec<ReplayRow>,
    /// Paused accounts have a pause.
    pub accounts: BTreeMap<String, Option<Pause>>,
    /// Numbers that bulk jobs spare, and since when.
    pub suppressions: BTreeMap<Mobile, Timestamp>,
    /// What one number may get over long windows.
    pub limits: NumberLimits,
    /// How long a claim protects its attempt.
    pub lease: Duration,
    /// What came about that the end does not show: not in the real table.
    pub seen: BTreeSet<&'static str>,
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

fn entered(entry: &Entry, row: &JobRow) -> Admitted {
    match row.fate() {
        _ if *entry != Entry::Claim => Admitted::Stored,
        Fate::Claimed => Admitted::Claimed(row.claim()),
        Fate::Held(until) => Admitted::Held(until),
        Fate::Suppressed => Admitted::Suppressed,
        Fate::Gone(state) => Admitted::Repeat(state),
    }
}

fn moved(entry: &Entry, row: &JobRow) -> Readmitted {
    match row.fate() {
        _ if *entry != Entry::Claim => Readmitted::Stored,
        Fate::Claimed => Readmitted::Claimed(row.claim()),
        Fate::Held(until) => Readmitted::Held(until),
        Fate::Suppressed => Readmitted::Suppressed,
        Fate::Gone(state) => Readmitted::Elsewhere(state),
    }
}

/// Where a row went that was to be claimed: `Fate` of `src/store/admit.rs`.
enum Fate {
    Claimed,
    Held(Timestamp),
    Suppressed,
    Gone(State),
}

impl JobRow {
    /// What the row says of its last attempt.
    pub fn claim(&self) -> Claim {
        Claim { attempts: (self.attempts - self.attempts_base).max(0) as u32, request: self.requests }
    }

    fn fate(&self) -> Fate {
        match self.state {
            State::Waiting if self.wait_reason == Some(WaitReason::NumberLimit) => {
                Fate::Held(self.due_at.unwrap_or(self.updated_at))
            }
            State::Queued => Fate::Held(self.updated_at),
            State::Failed if self.suppressed => Fate::Suppressed,
            State::Submitting | State::InDoubt => Fate::Claimed,
            state => Fate::Gone(state),
        }
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
    /// `insert_jobs`: the rows that were new, by claim id. One that cannot be stored refuses the batch.
    pub fn insert(
        &mut self,
        rows: &[Admission],
        owner: u32,
        now: Timestamp,
    ) -> Result<BTreeMap<i64, JobRow>, LedgerError> {
        if rows.iter().any(|row| holds_nul(&row.job.payload)) {
            return Err(LedgerError::Refused("a NUL character (22021)".into()));
        }
        let mut inserted = BTreeMap::new();
        for row in in_turn(rows, self.last_wins) {
            if self.jobs.contains_key(&row.job.id) {
                continue;
            }
            let mut job = new_row(row, now);
            let to = (row.job.mobile, row.job.priority);
            self.enter(&mut job, &row.entry, Some(to), owner, now);
            self.announce(&job, now);
            inserted.insert(row.claim_id, job.clone());
            self.jobs.insert(row.job.id.clone(), job);
        }
        Ok(inserted)
    }

    /// `decided` of `src/store/policy.rs`, and what follows from it.
    fn enter(&mut self, job: &mut JobRow, entry: &Entry, to: Option<(Mobile, Priority)>, owner: u32, now: Timestamp) {
        let to = to.filter(|_| *entry == Entry::Claim);
        let spared = |(mobile, priority)| priority == Priority::Bulk && self.suppressions.contains_key(&mobile);
        if to.is_some_and(spared) {
            job.go(State::Failed, entry_columns(entry), now);
            (job.suppressed, job.code, job.smsid) = (true, None, None);
            self.seen.insert("suppressed");
            return;
        }
        if let Some(until) = to.and_then(|(mobile, _)| self.held_until(mobile, now)) {
            self.seen.insert("held");
            return job.go(State::Waiting, (Some(WaitReason::NumberLimit), Some(until), false), now);
        }
        job.go(entry.state(), entry_columns(entry), now);
        self.seen.extend(job.wait_reason.map(WaitReason::as_str));
        if *entry == Entry::Claim {
            self.begin(job, owner, now);
        }
    }

    /// `number_held_until` of `migrations/`.
    fn held_until(&self, mobile: Mobile, now: Timestamp) -> Option<Timestamp> {
        let of_number = |((id, request), attempt): (&(String, u32), &AttemptRow)| {
            let job = self.jobs.get(id).filter(|job| job.job.mobile == mobile)?;
            let open = match attempt.outcome {
                None => true,
                Some(Outcome::Resign) if *request == job.requests && job.state == State::Waiting => true,
                Some(Outcome::Accepted | Outcome::Unknown) => false,
                Some(_) => return None,
            };
            Some((open, attempt.started_at))
        };
        let counted: Vec<(bool, Timestamp)> = self.attempts.iter().filter_map(of_number).collect();
        let open = counted.iter().filter(|(open, _)| *open).count();
        let mut sent: Vec<Timestamp> = counted.iter().filter(|(open, _)| !open).map(|(_, at)| *at).collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let window = |sliding: Sliding| chrono::Duration::from_std(sliding.window).unwrap();
        let (tomorrow, today) = (midnight_before(now) + chrono::Duration::days(1), midnight_before(now));
        let leaves = |sliding: Sliding| Some(*sent.get(sliding.most as usize - 1)? + window(sliding));
        let had_today = sent.iter().filter(|at| **at >= today).count();
        let sliding = self.limits.sliding.and_then(leaves).filter(|until| *until > now);
        let daily = self.limits.daily.filter(|most| had_today >= *most as usize).map(|_| tomorrow);
        sliding.max(daily).or_else(|| {
            let had = |sliding: Sliding| sent.iter().filter(|at| **at > now - window(sliding)).count();
            let full = self.limits.sliding.is_some_and(|sliding| had(sliding) + open >= sliding.most as usize)
                || self.limits.daily.is_some_and(|most| had_today + open >= most as usize);
            full.then(|| now + chrono::Duration::seconds(5))
        })
    }

    /// `announce!`: what others are to be told of a change.
    pub fn announce(&mut self, job: &JobRow, now: Timestamp) {
        if !(job.state.is_settled() || job.state == State::InDoubt) {
            return;
        }
        let event = Event {
            number: self.facts.len() as i64 + 1,
            kind: format!("job.{}", job.state),
            job_id: Some(job.job.id.clone()),
            at: now,
            data: data(job, now),
        };
        let row = EventRow { event, state: job.state };
        self.events.insert(row.event.number, row.clone());
        self.facts.push(row);
    }

    /// `turn_rows`.
    pub fn turn(&mut self, done: &[i64], aside: &[i64], limit: u32) -> Vec<Event> {
        done.iter().for_each(|number| drop(self.events.remove(number)));
        let others = self.events.values().filter(|row| !aside.contains(&row.event.number));
        others.take(limit as usize).map(|row| row.event.clone()).collect()
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
    pub fn admitted(&self, rows: &[Admission], inserted: &BTreeMap<i64, JobRow>) -> Result<Vec<Admitted>, LedgerError> {
        rows.iter()
            .map(|row| {
                if let Some(inserted) = inserted.get(&row.claim_id) {
                    return Ok(entered(&row.entry, inserted));
                }
                let known = self.jobs.get(&row.job.id);
                let known = known.ok_or_else(|| LedgerError::Unavailable("a job was pruned just now".into()))?;
                if known.claim_id == row.claim_id {
                    return Ok(entered(&row.entry, known));
                }
                let same = known.job.digest() == row.job.digest();
                Ok(if same { Admitted::Repeat(known.state) } else { Admitted::Conflict })
            })
            .collect()
    }

    /// `move_jobs`: the rows that were moved, by claim id.
    pub fn move_jobs(&mut self, rows: &[Readmission], owner: u32, now: Timestamp) -> BTreeMap<i64, JobRow> {
        let mut moved = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for row in in_turn(rows, self.last_wins) {
            let Some(mut job) = self.jobs.get(&row.id).cloned() else { continue };
            let there = match row.from {
                From::Queued => job.state == State::Queued,
                From::Again(requests) => job.state == State::Waiting && job.requests == requests,
            };
            let expires = matches!(row.entry, Entry::Expired);
            let has_time = expires && job.job.expires_at.is_some_and(|at| at > now);
            if !there || has_time || !ids.insert(row.id.clone()) {
                continue;
            }
            job.account = row.account.clone().unwrap_or(job.account);
            job.claim_id = row.claim_id;
            self.enter(&mut job, &row.entry, row.to, owner, now);
            self.announce(&job, now);
            moved.insert(row.claim_id, job.clone());
            self.jobs.insert(row.id.clone(), job);
        }
        moved
    }

    /// What `readmit_rows` says of each row, after [`Tables::move_jobs`].
    pub fn readmitted(&self, rows: &[Readmission], done: &BTreeMap<i64, JobRow>) -> Vec<Readmitted> {
        rows.iter()
            .map(|row| match (done.get(&row.claim_id), self.jobs.get(&row.id)) {
                (Some(done), _) => moved(&row.entry, done),
                (None, Some(known)) if known.claim_id == row.claim_id => moved(&row.entry, known),
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
                State::Submitting => true,
                State::InDoubt => row.decision.next != Next::InDoubt,
                State::Waiting if job.wait_reason == Some(WaitReason::NumberLimit) => {
                    accepted || row.decision.spent && next_columns(&row.decision.next).0 == Some(WaitReason::Retry)
                }
                State::Waiting | State::Queued | State::Expired | State::Cancelled | State::Failed => accepted,
                _ => false,
            };
            if !lands || !landed.insert(row.id.clone()) {
                continue;
            }
            job.go(row.decision.next.state(), next_columns(&row.decision.next), now);
            job.attempts = (job.attempts - i32::from(!row.decision.spent)).max(0);
            if row.decision.outcome != Outcome::NotSent {
                job.code = row.answer.as_ref().map(|answer| answer.code);
            }
            job.smsid = row.answer.as_ref().and_then(|answer| answer.smsid.clone());
            job.message = Some(row.message.clone());
            let job = job.clone();
            self.announce(&job, now);
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
    pub fn refuse(&mut self, rows: &[Refusal], now: Timestamp) -> Vec<()> {
        rows.iter()
            .map(|row| {
                let rejection =
                    RejectionRow { reason: row.rejection.reason.as_str(), body: row.body.to_vec(), received_at: now };
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
        attempts_base: 0,
        requests: 0,
        code: None,
        suppressed: false,
        message: None,
        smsid: None,
        claim_id: row.claim_id,
        claimed_until: None,
        updated_at: now,
        revision: 0,
    }
}

/// The midnight in Asia/Shanghai before `at`.
fn midnight_before(at: Timestamp) -> Timestamp {
    let (east, day) = (8 * 3_600, 86_400);
    let local = at.timestamp() + east;
    Timestamp::from_timestamp(local - local.rem_euclid(day) - east, 0).unwrap()
}

fn data(row: &JobRow, now: Timestamp) -> String {
    let metadata = row.job.metadata.as_deref().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    serde_json::json!({
        "id": row.job.id, "mobile": row.job.mobile.digits(), "account": row.account, "state": row.state.as_str(),
        "code": row.code, "message": row.message, "smsid": row.smsid, "metadata": metadata, "at": now,
    })
    .to_string()
}

/// `text` of Postgres cannot hold it.
fn holds_nul(payload: &Payload) -> bool {
    payload.content().contains('\0')
}
