//! What `src/store/replaying.rs` and `src/store/operate/replays.rs` do, on the tables in memory.

use std::collections::BTreeMap;

use dispatcher::domain::job::{State, Timestamp, WaitReason};
use dispatcher::store::operate::{Control, ReplayOrder};

use super::tables::Tables;

/// A row of `replays`, and its rows of `replay_jobs`.
#[derive(Clone, Debug)]
pub struct ReplayRow {
    pub state: &'static str,
    pub rate: f64,
    pub canary: usize,
    pub canary_state: &'static str,
    pub expires_in: Option<chrono::Duration>,
    pub due_at: Timestamp,
    pub jobs: Vec<ReplayedRow>,
    /// Somebody let it go on past a canary: not in the real table.
    pub overruled: bool,
}

/// A row of `replay_jobs`.
#[derive(Clone, Debug)]
pub struct ReplayedRow {
    pub job: String,
    pub from: State,
    pub requests: u32,
    pub changed_at: Timestamp,
    pub result: &'static str,
    pub at: Option<Timestamp>,
}

impl ReplayedRow {
    /// The replay has moved it.
    pub fn went(&self) -> bool {
        !matches!(self.result, "pending" | "skipped")
    }
}

impl ReplayRow {
    /// How many of its jobs have come to each result.
    pub fn results(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        self.jobs.iter().for_each(|row| *counts.entry(row.result.to_owned()).or_default() += 1);
        counts
    }

    /// How far it may go: as long as its canary is going, so far that as many go as belong to it.
    pub fn open(&self) -> usize {
        let skipped = self.jobs.iter().filter(|row| row.result == "skipped").count();
        if self.canary_state == "going" { (self.canary + skipped).min(self.jobs.len()) } else { self.jobs.len() }
    }
}

/// Results that a canary may have.
pub fn passes(result: &str) -> bool {
    matches!(result, "accepted" | "delivered")
}

impl Tables {
    /// The replays that belong to a job and have moved it, as a row of each.
    pub fn replays_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a ReplayedRow> {
        self.replays.iter().flat_map(|replay| &replay.jobs).filter(move |row| row.job == id && row.went())
    }

    /// `begin_replay`; its number is its place, from 0.
    pub fn begin_replay(&mut self, order: &ReplayOrder, now: Timestamp) -> Option<usize> {
        let chosen = |row: &&super::JobRow| {
            let in_time = order.expires_in.is_some() || row.job.expires_at.is_none_or(|at| at > now);
            order.filter.states.contains(&row.state) && in_time
        };
        let mut rows: Vec<_> = self.jobs.values().filter(chosen).collect();
        rows.sort_by_key(|row| (row.seq, row.job.id.clone()));
        let jobs: Vec<ReplayedRow> = rows
            .into_iter()
            .map(|row| {
                let (job, from, requests) = (row.job.id.clone(), row.state, row.requests);
                ReplayedRow { job, from, requests, changed_at: row.updated_at, result: "pending", at: None }
            })
            .collect();
        if jobs.is_empty() {
            return None;
        }
        self.replays.push(ReplayRow {
            state: "running",
            rate: order.rate,
            canary: order.canary as usize,
            canary_state: if order.canary > 0 { "going" } else { "none" },
            expires_in: order.expires_in.map(|length| chrono::Duration::from_std(length).unwrap()),
            due_at: now,
            jobs,
            overruled: false,
        });
        Some(self.replays.len() - 1)
    }

    /// `control_replay`.
    pub fn control_replay(&mut self, id: usize, control: Control, now: Timestamp) {
        let replay = &mut self.replays[id];
        let state = match (control, replay.state) {
            (Control::Pause, "running") => "paused",
            (Control::Resume, "paused") => "running",
            (Control::Cancel, "running" | "paused") => "cancelled",
            _ => return,
        };
        if state == "running" && replay.canary_state == "failed" {
            (replay.canary_state, replay.overruled) = ("passed", true);
        }
        (replay.state, replay.due_at) = (state, now);
    }

    /// `replay_step`, for a process whose clock says `clock`.
    pub fn replay_step(&mut self, limit: u32, clock: Timestamp, now: Timestamp) -> bool {
        let due = |replay: &&mut ReplayRow| replay.state == "running" && replay.due_at <= now;
        let Some(replay) = self.replays.iter_mut().filter(due).min_by_key(|replay| replay.due_at) else { return false };
        let late = ((now - replay.due_at).num_milliseconds() as f64 / 1_000.0).min(1.0);
        let quota = (1 + (late * replay.rate) as usize).min(limit as usize);
        let open = replay.open();
        let (mut picked, mut moved) = (false, 0);
        for row in replay.jobs[..open].iter_mut().filter(|row| row.result == "pending").take(quota) {
            picked = true;
            let there = |job: &&mut super::JobRow| {
                job.state == row.from && job.requests == row.requests && job.updated_at == row.changed_at
            };
            let found = self.jobs.get_mut(&row.job).filter(there);
            (row.result, row.at) = (if found.is_some() { "sent" } else { "skipped" }, Some(now));
            let Some(job) = found else { continue };
            job.go(State::Waiting, (Some(WaitReason::Replay), Some(clock), false), now);
            (job.attempts_base, job.suppressed) = (job.attempts, false);
            if let Some(expires_in) = replay.expires_in {
                std::sync::Arc::make_mut(&mut job.job).expires_at = Some(clock + expires_in);
            }
            moved += 1;
            self.seen.insert("replayed");
        }
        replay.due_at = match picked {
            true => {
                let from = replay.due_at.max(now - chrono::Duration::seconds(1));
                from + chrono::Duration::microseconds((f64::from(moved) / replay.rate * 1e6) as i64)
            }
            false => now + chrono::Duration::milliseconds(200),
        };
        true
    }

    /// `note_results`; how many.
    pub fn note_replay_results(&mut self, id: usize) -> u64 {
        let mut noted = 0;
        for row in self.replays[id].jobs.iter_mut().filter(|row| row.result == "sent") {
            let state = self.jobs.get(&row.job).map(|job| job.state);
            let ended = state.is_none_or(|state| state.is_settled() || state == State::InDoubt);
            if ended {
                row.result = state.map_or("skipped", State::as_str);
                noted += 1;
            }
        }
        noted
    }

    /// `judge_canary`; true where there was a verdict.
    pub fn judge_canary(&mut self, id: usize) -> bool {
        let replay = &mut self.replays[id];
        if replay.canary_state != "going" {
            return false;
        }
        let canary = &replay.jobs[..replay.open()];
        let open = canary.iter().any(|row| matches!(row.result, "pending" | "sent"));
        let bad = canary.iter().any(|row| row.went() && row.result != "sent" && !passes(row.result));
        if bad {
            (replay.canary_state, replay.state) = ("failed", "paused");
            self.seen.insert("canary failed");
        } else if !open {
            replay.canary_state = "passed";
            self.seen.insert("canary passed");
        }
        bad || !open
    }

    /// `end_replay`; true where it ended.
    pub fn end_replay(&mut self, id: usize) -> bool {
        let replay = &mut self.replays[id];
        let through = !replay.jobs.iter().any(|row| matches!(row.result, "pending" | "sent"));
        let ends = replay.state == "running" && through;
        if ends {
            replay.state = "done";
            self.seen.insert("replay done");
        }
        ends
    }
}
