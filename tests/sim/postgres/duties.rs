//! What `src/store/release.rs` and `src/store/upkeep.rs` do, on the tables in memory.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher::dispatch::ports::*;
use dispatcher::domain::job::{Job, OnUnknown, Outcome, Priority, State, Timestamp, WaitReason};
use dispatcher::domain::mobile::Mobile;

use super::tables::{JobRow, Tables};

/// `AHEAD_SECONDS` of `src/store/release.rs`.
const AHEAD: chrono::Duration = chrono::Duration::milliseconds(500);

const NO_WAIT: (Option<WaitReason>, Option<Timestamp>, bool) = (None, None, false);

/// What is parked for one number.
#[derive(Default)]
struct Line {
    due: Option<Timestamp>,
    jobs: u32,
    first_seq: i64,
    last_seq: i64,
    published: Option<Timestamp>,
}

fn released(row: &JobRow, bound: &BTreeSet<String>) -> Released {
    let job = Job { account: row.account.clone(), ..(*row.job).clone() };
    Released { bound: bound.contains(&job.id), job, seq: row.seq }
}

/// It waits for an hour of the day, or for its number's window.
fn sleeps(row: &JobRow) -> bool {
    matches!(row.wait_reason, Some(WaitReason::QuietHours | WaitReason::NumberLimit))
}

impl Tables {
    /// Jobs that their account may have taken already.
    fn bound(&self) -> BTreeSet<String> {
        let unknown = self.attempts.iter().filter(|(_, attempt)| attempt.outcome == Some(Outcome::Unknown));
        let resend = |id: &&String| self.jobs.get(*id).is_some_and(|row| row.job.on_unknown == OnUnknown::Resend);
        unknown.map(|((id, _), _)| id).filter(resend).cloned().collect()
    }

    /// The rows that match, oldest first by `order`.
    fn pick<K: Ord>(
        &mut self,
        limit: u32,
        matches: impl Fn(&JobRow) -> bool,
        order: impl Fn(&JobRow) -> K,
    ) -> Vec<&mut JobRow> {
        let mut rows: Vec<&mut JobRow> = self.jobs.values_mut().filter(|row| matches(row)).collect();
        rows.sort_by_key(|row| order(row));
        rows.truncate(limit as usize);
        rows
    }

    pub fn release_due(&mut self, at: Timestamp, limit: u32, now: Timestamp) -> Vec<Released> {
        let bound = self.bound();
        let is_due = |row: &JobRow| {
            let limited = row.wait_reason == Some(WaitReason::RateLimited);
            let due = row.due_at.is_some_and(|due| due <= at || limited && due <= at + AHEAD);
            row.state == State::Waiting && !row.on_room && due && !sleeps(row)
        };
        let mut all = Vec::new();
        for priority in Priority::ALL {
            let is_next = |row: &JobRow| row.job.priority == *priority && is_due(row);
            let mut due = self.pick(limit, is_next, |row| (row.due_at, row.seq));
            due.iter_mut().for_each(|row| row.go(State::Queued, NO_WAIT, now));
            all.extend(due.iter().map(|row| released(row, &bound)));
        }
        all
    }

    pub fn put_forward(
        &mut self,
        by: chrono::TimeDelta,
        after: Option<DuePlace>,
        limit: u32,
    ) -> (u64, Option<DuePlace>) {
        type Place = (&'static str, Timestamp, i64);
        let place = |row: &JobRow| Some((row.job.priority.as_str(), row.due_at?, row.seq));
        let after: Option<Place> = after.map(|place| (place.priority.as_str(), place.due_at, place.seq));
        let behind = |row: &JobRow| row.state == State::Waiting && !row.on_room && !sleeps(row) && place(row) > after;
        let page = self.pick(limit, behind, place);
        let last = page.last().filter(|_| page.len() >= limit as usize);
        let next =
            last.and_then(|row| Some(DuePlace { priority: row.job.priority, due_at: row.due_at?, seq: row.seq }));
        let mut moved = 0;
        for row in page {
            if matches!(row.wait_reason, Some(WaitReason::Retry | WaitReason::RateLimited)) {
                row.due_at = row.due_at.map(|due| due - by);
                moved += 1;
            }
        }
        (moved, next)
    }

    pub fn wake(&mut self, at: Timestamp, limit: u32, now: Timestamp) -> Vec<(String, Priority)> {
        let clock = |row: &JobRow| if row.wait_reason == Some(WaitReason::QuietHours) { at } else { now };
        let due = |row: &JobRow| !row.on_room && row.due_at.is_some_and(|due| due <= clock(row)) && sleeps(row);
        let mut lines = Vec::new();
        for priority in Priority::ALL {
            let is_next = |row: &JobRow| row.job.priority == *priority && due(row);
            let accounts = std::mem::take(&mut self.accounts);
            for row in self.pick(limit, is_next, |row| (row.due_at, row.seq)) {
                let paused = accounts.get(&row.account).is_some_and(Option::is_some);
                let why = if paused { WaitReason::AccountPaused } else { WaitReason::RateLimited };
                row.go(State::Waiting, (Some(why), (!paused).then_some(now), true), now);
                lines.push((row.account.clone(), *priority));
            }
            self.accounts = accounts;
        }
        self.seen.extend((!lines.is_empty()).then_some("woken"));
        lines
    }

    pub fn release_room(&mut self, account: &str, priority: Priority, limit: u32, now: Timestamp) -> Vec<Released> {
        let bound = self.bound();
        let waits = |row: &JobRow| {
            row.state == State::Waiting && row.on_room && row.account == account && row.job.priority == priority
        };
        let mut next = self.pick(limit, waits, |row| row.seq);
        next.iter_mut().for_each(|row| row.go(State::Queued, NO_WAIT, now));
        next.iter().map(|row| released(row, &bound)).collect()
    }

    pub fn release_lost(&mut self, age: u32, limit: u32, now: Timestamp) -> Vec<Released> {
        let bound = self.bound();
        let before = now - chrono::Duration::seconds(i64::from(age));
        let lost = |row: &JobRow| row.state == State::Queued && row.updated_at < before;
        let mut rows = self.pick(limit, lost, |row| row.updated_at);
        rows.iter_mut().for_each(|row| row.updated_at = now);
        rows.sort_by_key(|row| (row.job.priority, row.seq));
        rows.iter().map(|row| released(row, &bound)).collect()
    }

    pub fn expire(&mut self, at: Timestamp, limit: u32, now: Timestamp) -> Vec<(String, u64)> {
        let late = |row: &JobRow| matches!(row.state, State::Waiting | State::Queued) && row.job.is_expired(at);
        let mut counts = BTreeMap::new();
        let mut expired = Vec::new();
        for row in self.pick(limit, late, |row| row.seq) {
            row.go(State::Expired, NO_WAIT, now);
            *counts.entry(row.account.clone()).or_default() += 1;
            expired.push(row.clone());
        }
        expired.iter().for_each(|row| self.announce(row, now));
        counts.into_iter().collect()
    }

    pub fn stale_claims(&mut self, limit: u32, now: Timestamp) -> Vec<StaleClaim> {
        let stale = |row: &JobRow| row.claimed_until.is_some_and(|until| until < now);
        let rows = self.pick(limit, stale, |row| row.claimed_until);
        rows.into_iter()
            .map(|row| StaleClaim {
                id: row.job.id.clone(),
                account: row.account.clone(),
                claim: row.claim(),
                on_unknown: row.job.on_unknown,
            })
            .collect()
    }

    pub fn prune(&mut self, before: Timestamp, limit: u32) -> u64 {
        let old = |row: &JobRow| row.state.is_settled() && row.updated_at < before;
        let ids: Vec<String> =
            self.pick(limit, old, |row| row.updated_at).into_iter().map(|row| row.job.id.clone()).collect();
        ids.iter().for_each(|id| drop(self.jobs.remove(id)));
        self.attempts.retain(|(id, _), _| !ids.contains(id));
        ids.len() as u64
    }

    pub fn prune_records(&mut self, before: Timestamp, limit: u32) -> u64 {
        let mut pruned = 0;
        self.rejections.retain(|row| {
            let goes = row.received_at < before && pruned < u64::from(limit);
            pruned += u64::from(goes);
            !goes
        });
        pruned
    }

    pub fn accounts(&mut self, names: &[String]) -> Vec<AccountRow> {
        for name in names {
            self.accounts.entry(name.clone()).or_default();
        }
        let row = |(name, paused): (&String, &Option<Pause>)| AccountRow { name: name.clone(), paused: paused.clone() };
        self.accounts.iter().map(row).collect()
    }

    pub fn pause(&mut self, account: &str, pause: &Pause) -> bool {
        match self.accounts.get_mut(account) {
            Some(paused @ None) => {
                *paused = Some(pause.clone());
                true
            }
            _ => false,
        }
    }

    pub fn resume(&mut self, account: &str) -> bool {
        match self.accounts.get_mut(account) {
            Some(paused) if paused.as_ref().is_some_and(|pause| !pause.by_operator) => {
                *paused = None;
                true
            }
            _ => false,
        }
    }

    pub fn reroute(&mut self, from: &str, to: &str, limit: u32, now: Timestamp) -> Vec<Priority> {
        let bound = self.bound();
        let stranded = |row: &JobRow| {
            row.state == State::Waiting && row.on_room && row.account == from && !bound.contains(&row.job.id)
        };
        let rows = self.pick(limit, stranded, |row| (row.job.priority, row.seq));
        rows.into_iter()
            .map(|row| {
                row.account = to.to_owned();
                row.go(State::Waiting, (Some(WaitReason::RateLimited), Some(now), true), now);
                row.job.priority
            })
            .collect()
    }

    /// What jobs that wait for room of an account have to say.
    pub fn why(&self, account: &str) -> WaitReason {
        match self.accounts.get(account) {
            Some(Some(_)) => WaitReason::AccountPaused,
            _ => WaitReason::RateLimited,
        }
    }

    pub fn say_why(
        &mut self,
        account: &str,
        after: Option<RoomPlace>,
        limit: u32,
        now: Timestamp,
    ) -> Option<RoomPlace> {
        let (why, after) = (self.why(account), after.map(|place| (place.priority.as_str(), place.seq)));
        let place = |row: &JobRow| (row.job.priority.as_str(), row.seq);
        let behind = |row: &JobRow| {
            row.state == State::Waiting && row.on_room && row.account == account && Some(place(row)) > after
        };
        let rows = self.pick(limit, behind, place);
        let last = rows.get(limit as usize - 1).map(|row| RoomPlace { priority: row.job.priority, seq: row.seq });
        for row in rows.into_iter().filter(|row| row.wait_reason != Some(why)) {
            row.wait_reason = Some(why);
            row.due_at = if why == WaitReason::AccountPaused { None } else { Some(now) };
        }
        last
    }

    pub fn last_slot(&self, mobile: Mobile, priority: Priority) -> Option<Timestamp> {
        let slot = |row: &&JobRow| {
            (row.job.mobile, row.job.priority) == (mobile, priority)
                && !row.on_room
                && row.wait_reason == Some(WaitReason::RateLimited)
        };
        self.jobs.values().filter(slot).filter_map(|row| row.due_at).max()
    }

    pub fn parked(&self) -> Vec<ParkedJobs> {
        let mut lines = BTreeMap::new();
        let parked = |row: &&JobRow| match row.wait_reason {
            Some(WaitReason::RateLimited | WaitReason::QuietHours) => true,
            Some(WaitReason::NumberLimit) => row.on_room || !self.limits.is_empty() && !self.is_told(row),
            _ => row.on_room,
        };
        for row in self.jobs.values().filter(parked) {
            let key = (row.account.clone(), row.job.mobile, row.job.priority, row.on_room, row.wait_reason);
            let line = lines.entry(key).or_insert(Line { first_seq: row.seq, ..Line::default() });
            line.due = row.due_at.max(line.due);
            line.jobs += 1;
            line.first_seq = row.seq.min(line.first_seq);
            line.last_seq = row.seq.max(line.last_seq);
            line.published = row.job.published_at.max(line.published);
        }
        lines
            .into_iter()
            .map(|((account, mobile, priority, on_room, reason), line)| ParkedJobs {
                account,
                mobile,
                priority,
                due_at: line.due,
                on_room,
                reason: reason.unwrap_or(WaitReason::RateLimited),
                jobs: line.jobs,
                first_seq: line.first_seq,
                last_seq: line.last_seq,
                published_at: line.published,
            })
            .collect()
    }

    /// The gateway has said that the job waits.
    fn is_told(&self, row: &JobRow) -> bool {
        let last = self.attempts.get(&(row.job.id.clone(), row.requests));
        last.is_some_and(|attempt| attempt.outcome == Some(Outcome::Tomorrow))
    }

    pub fn waiting(&self, accounts: &[String]) -> Waiting {
        let mut counts: BTreeMap<WaitReason, i64> = BTreeMap::new();
        let mut stranded = 0;
        for row in self.jobs.values() {
            if let Some(reason) = row.wait_reason {
                *counts.entry(reason).or_default() += 1;
                stranded += i64::from(!accounts.contains(&row.account));
            }
        }
        let in_doubt = self.jobs.values().filter(|row| row.state == State::InDoubt).count() as i64;
        Waiting { by_reason: counts.into_iter().collect(), stranded, in_doubt, events: self.events.len() as i64 }
    }
}
