//! What `src/store/receipts.rs` and `src/store/replies.rs` do, on the tables in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use dispatcher::dispatch::ports::*;
use dispatcher::domain::job::{Outcome, State, Timestamp};
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::receipt::{self, LOOKS, Receipt};
use dispatcher::domain::uplink::Uplink;

use super::tables::Tables;

/// A row of `receipts`.
#[derive(Clone, Debug)]
pub struct ReceiptRow {
    pub receipt: Arc<Receipt>,
    pub received_at: Timestamp,
    pub job: Option<String>,
    pub look_at: Option<Timestamp>,
    pub looks: usize,
}

/// A row of `replies`; the job that it belongs to is of no interest here.
#[derive(Clone, Debug)]
pub struct ReplyRow {
    pub reply: Arc<Uplink>,
    pub received_at: Timestamp,
}

/// By a receipt.
pub fn is_final(state: State) -> bool {
    matches!(state, State::Delivered | State::Undelivered)
}

/// When to look again after so many looks.
fn next_look(looks: usize, now: Timestamp) -> Option<Timestamp> {
    LOOKS.get(looks).map(|pause| now + *pause)
}

impl Tables {
    pub fn receive(&mut self, rows: &[Arc<Receipt>], now: Timestamp) -> Received {
        let before = self.receipts.len();
        let is_new: Vec<bool> = rows.iter().map(|row| !self.knows(row)).collect();
        for row in rows {
            if self.knows(row) {
                continue;
            }
            let job = self.job_of(&row.smsid);
            let ended = job.as_ref().and_then(|id| self.jobs.get(id)).is_some_and(|job| is_final(job.state));
            if ended {
                self.seen.insert("contradicted");
            }
            let look_at = if job.is_none() { next_look(0, now) } else { None };
            self.receipts.push(ReceiptRow { receipt: row.clone(), received_at: now, job, look_at, looks: 0 });
        }
        let matched = (before..self.receipts.len()).collect();
        Received { new: is_new, ended: self.end_jobs(matched, now) }
    }

    fn knows(&self, receipt: &Receipt) -> bool {
        self.receipts.iter().any(|row| row.receipt.digest == receipt.digest)
    }

    fn job_of(&self, smsid: &str) -> Option<String> {
        let having = self.jobs.values().filter(|job| job.smsid.as_deref() == Some(smsid));
        having.max_by_key(|job| job.updated_at).map(|job| job.job.id.clone())
    }

    /// The job of which an attempt has that smsid.
    fn tried_under(&self, receipt: &Receipt) -> Option<String> {
        let of_number =
            |id: &String| self.jobs.get(id).is_some_and(|job| Some(job.job.mobile.digits()) == receipt.mobile);
        let mut having = self.attempts.iter().filter(|(_, row)| row.smsid.as_ref() == Some(&receipt.smsid));
        having.find(|((id, _), _)| of_number(id)).map(|((id, _), _)| id.clone())
    }

    /// `end_jobs!`: by these receipts, of several for one job by the one that was reported first.
    fn end_jobs(&mut self, mut receipts: Vec<usize>, now: Timestamp) -> Vec<Ended> {
        // Nulls come last, as in SQL.
        receipts.sort_by_key(|index| {
            let at = self.receipts[*index].receipt.reported_at;
            (at.is_none(), at, *index)
        });
        let mut first = BTreeMap::new();
        for index in receipts {
            let row = &self.receipts[index];
            if let Some(job) = &row.job {
                first.entry(job.clone()).or_insert_with(|| row.receipt.clone());
            }
        }
        let mut ended = Vec::new();
        for (id, receipt) in first {
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.state == State::Accepted) else { continue };
            job.go(receipt::final_state(receipt.code), (None, None, false), now);
            job.code = receipt.code;
            ended.push(Ended { account: job.account.clone(), state: job.state, code: job.code });
            let job = job.clone();
            self.announce(&job, now);
        }
        ended
    }

    /// The receipts that are due to be looked at, in order.
    fn due_looks(&self, at: Timestamp, limit: u32) -> Vec<usize> {
        let due = |index: &usize| self.receipts[*index].look_at.is_some_and(|look_at| look_at <= at);
        let mut due: Vec<usize> = (0..self.receipts.len()).filter(due).collect();
        due.sort_by_key(|index| self.receipts[*index].look_at);
        due.truncate(limit as usize);
        due
    }

    pub fn look_again(&mut self, at: Timestamp, limit: u32, now: Timestamp) -> Vec<Ended> {
        let due = self.due_looks(at, limit);
        for index in &due {
            let receipt = self.receipts[*index].receipt.clone();
            let job = self.job_of(&receipt.smsid).or_else(|| self.tried_under(&receipt));
            let row = &mut self.receipts[*index];
            row.looks += 1;
            row.look_at = if job.is_none() { next_look(row.looks, now) } else { None };
            row.job = job;
            if row.job.is_some() {
                self.seen.insert("matched later");
            }
        }
        self.end_jobs(due, now)
    }

    pub fn end_doubts(&mut self, at: Timestamp, limit: u32, now: Timestamp) -> Vec<String> {
        let mut only_fits: BTreeMap<(String, u32), Vec<String>> = BTreeMap::new();
        for index in self.due_looks(at, limit) {
            let receipt = self.receipts[index].receipt.clone();
            if self.job_of(&receipt.smsid).is_some() {
                continue;
            }
            let fits = self.fits(&receipt);
            if let [(key, true)] = &fits[..] {
                let smsids = only_fits.entry(key.clone()).or_default();
                if !smsids.contains(&receipt.smsid) {
                    smsids.push(receipt.smsid.clone());
                }
            }
        }
        let mut accounts = Vec::new();
        for (key, smsids) in only_fits {
            let ([smsid], Some(job)) = (&smsids[..], self.jobs.get_mut(&key.0)) else { continue };
            job.go(State::Accepted, (None, None, false), now);
            job.smsid = Some(smsid.clone());
            accounts.push(job.account.clone());
            let job = job.clone();
            self.announce(&job, now);
            self.seen.insert("doubt ended");
            if let Some(attempt) = self.attempts.get_mut(&key) {
                attempt.smsid = Some(smsid.clone());
            }
        }
        accounts
    }

    /// The attempts that may have been the message of `receipt`, and whether its job is in doubt about it.
    fn fits(&self, receipt: &Receipt) -> Vec<((String, u32), bool)> {
        let Some(taken) = receipt::submitted_at(&receipt.smsid) else { return Vec::new() };
        let mut fits = Vec::new();
        for (key, attempt) in &self.attempts {
            let Some(job) = self.jobs.get(&key.0).filter(|job| Some(job.job.mobile.digits()) == receipt.mobile) else {
                continue;
            };
            let latest = attempt.started_at + self.lease;
            let until = attempt.finished_at.map_or(latest, |at| at.min(latest));
            let open = matches!(attempt.outcome, None | Some(Outcome::Unknown)) && attempt.smsid.is_none();
            if open && receipt::fits(taken, attempt.started_at, until) {
                let doubted = job.state == State::InDoubt && job.requests == key.1 && attempt.outcome.is_some();
                fits.push((key.clone(), doubted));
            }
        }
        fits
    }

    pub fn hear(&mut self, rows: &[Arc<Uplink>], now: Timestamp) -> Vec<bool> {
        let mut new = Vec::new();
        for row in rows {
            let known = self.replies.iter().any(|known| known.reply.digest == row.digest);
            new.push(!known);
            if known {
                continue;
            }
            self.replies.push(ReplyRow { reply: row.clone(), received_at: now });
            if let (true, Ok(mobile)) = (row.opt_out.is_some(), Mobile::parse(&row.mobile)) {
                self.suppressions.entry(mobile).or_insert(now);
                self.seen.insert("opted out");
            }
        }
        new
    }

    pub fn prune_feedback(&mut self, before: Timestamp, limit: u32) -> u64 {
        let (receipts, replies) = (self.receipts.len(), self.replies.len());
        let mut left = limit;
        let mut keep = |at: Timestamp| {
            let goes = at < before && left > 0;
            left -= u32::from(goes);
            !goes
        };
        self.receipts.retain(|row| keep(row.received_at));
        self.replies.retain(|row| keep(row.received_at));
        (receipts - self.receipts.len() + replies - self.replies.len()) as u64
    }
}
