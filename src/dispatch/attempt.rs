//! Attempts, from the committed claim to the recorded outcome.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::{info, warn};

use super::batch::Refused;
use super::deliver::Parcel;
use super::desk::{Desk, Notice};
use super::ports::*;
use super::trace::{self, Known};
use crate::domain::codes::SUCCESS;
use crate::domain::decide::{Facts, Next, decide};
use crate::domain::job::{Outcome, State, WaitReason};
use crate::domain::pace::{News, Ticket};
use crate::domain::text::parts;
use crate::domain::verdict::{Answer, Reply, judge};

/// A claim older than this does not leave any more: it protects its attempt for so long only, and
/// the gateway's timeout has to fit in.
const FRESH: Duration = Duration::from_secs(15);

/// What a claim must outlast beyond the gateway's timeout: the wait until departure, and the commit
/// of the outcome.
pub const CLAIM_MARGIN: Duration = Duration::from_secs(30);

/// A committed attempt.
pub(super) struct Attempt<'a> {
    pub parcel: &'a Parcel,
    pub claim: Claim,
    pub claimed: Instant,
    /// Its place in the pacer; none for one that goes past the limiters.
    pub ticket: Option<Ticket>,
    pub resigned_before: bool,
}

impl Desk {
    /// Attempts until one needs no other at once: one, but for an expired dynamic password.
    pub(super) async fn attempts(&self, first: Attempt<'_>) -> Result<(), Refused> {
        let mut attempt = first;
        while self.attempt(&attempt).await? == Again::AtOnce {
            let claimed = Instant::now();
            let from = From::Again(attempt.claim.request);
            match self.readmit(attempt.parcel, from, Entry::Claim).await? {
                Readmitted::Claimed(claim) => {
                    attempt = Attempt { claim, claimed, ticket: None, resigned_before: true, ..attempt };
                }
                // It was cancelled, or the release duty was quicker.
                _ => break,
            }
        }
        Ok(())
    }

    /// One attempt: from its claim to its record.
    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Again, Refused> {
        let (reply, has_left) = match self.depart(attempt).await {
            Ok(permit) => (self.submit(attempt, permit).await, true),
            Err(reason) => (self.stay(attempt, reason), false),
        };
        let outcome = judge(&reply, &self.settings.codes);
        let decision = decide(self.facts(attempt), outcome, &reply, &self.settings.retry, self.now(), self.jitter());
        let again = if matches!(decision.next, Next::Again { .. }) { Again::AtOnce } else { Again::No };
        // What stays says nothing of its account, nor of the gateway.
        if has_left {
            self.heed(attempt, decision.outcome, &reply);
        }
        let state = decision.next.state();
        let outcome = decision.outcome;
        let (answer, message) = (answer_of(outcome, &reply), words_of(outcome, reply));
        let parks = matches!(decision.next, Next::Wait { reason: WaitReason::AccountPaused, .. });
        let code = answer.as_ref().map(|answer| answer.code);
        let id = attempt.parcel.job.id.clone();
        let record = Record { id, request: attempt.claim.request, decision, answer, message };
        let step = self.step(attempt.parcel);
        let recorded = self.records.commit(record).await;
        self.stepped(step, trace::RECORD, Known { code, outcome: Some(outcome), failed: recorded.is_err() });
        if !recorded? {
            warn!(job = attempt.parcel.job.id, %outcome, "an outcome came after the attempt was settled");
        }
        if parks {
            self.note_parked(attempt.parcel);
        }
        self.count(attempt, outcome, state, code);
        Ok(again)
    }

    /// Waits for a place on the wire and a token of the account. An error says why the request must
    /// not leave any more; no token is spent on it.
    async fn depart(&self, attempt: &Attempt<'_>) -> Result<SemaphorePermit<'_>, &'static str> {
        let account = attempt.parcel.account;
        // The semaphores are never closed.
        let permit = self.wires[account].acquire().await.map_err(|_| "the dispatcher has ended")?;
        let pace = &attempt.parcel.pace;
        if let Some(ticket) = attempt.ticket {
            pace.until(pace.act(|pacer, _| pacer.due(ticket))).await;
        }
        let _turn = self.departures[account].lock().await;
        loop {
            self.may_leave(attempt)?;
            let Err(at) = pace.act(|pacer, now| pacer.depart(account, attempt.ticket, now)) else { return Ok(permit) };
            // Who waits here holds up those behind, and the claim runs out meanwhile.
            if at > pace.tick_at(attempt.claimed) + FRESH {
                return Err("the account's next turn is too far away");
            }
            pace.until(at).await;
        }
    }

    /// What may have changed since the claim.
    fn may_leave(&self, attempt: &Attempt<'_>) -> Result<(), &'static str> {
        // Another process may serve the shard by now. A session that drains ends first, too; what is claimed may go.
        if attempt.parcel.pace.has_ended() && !self.is_draining() {
            return Err("its session has ended");
        }
        if attempt.claimed.elapsed() > FRESH {
            return Err("the claim was committed too slowly");
        }
        if attempt.parcel.job.is_expired(self.now()) {
            return Err("the job expired");
        }
        if self.quiet_until(attempt.parcel).is_some() {
            return Err("the quiet hours began");
        }
        Ok(())
    }

    async fn submit(&self, attempt: &Attempt<'_>, permit: SemaphorePermit<'_>) -> Reply {
        let Parcel { job, account, pace, .. } = attempt.parcel;
        let (departed, step) = (pace.now(), self.step(attempt.parcel));
        let payload = self.settings.rules.templates.resolve(&job.payload);
        let Submitted { reply, left_at } = self.ports.gateway.submit(*account, job.mobile, &payload, self.now()).await;
        let code = if let Reply::Answer(answer) = &reply { Some(answer.code) } else { None };
        self.stepped(step, trace::SUBMIT, Known { code, outcome: None, failed: code.is_none() });
        // Connecting takes its time: the number's next request keeps its distance from when this one left.
        let departed = left_at.map_or(departed, |at| pace.tick_at(at));
        drop(permit);
        let took = pace.now().saturating_sub(departed);
        self.metrics.submit_seconds.with_label_values(&[self.account_name(*account)]).observe(took.as_secs_f64());
        let (was_open, is_open) = pace.act(|pacer, now| {
            let was_open = pacer.circuit.is_open();
            match &reply {
                Reply::NotSent(_) => drop(pacer.circuit.failed(now)),
                Reply::Answer(_) | Reply::Unknown(_) => pacer.circuit.reached(),
            }
            if let Some(ticket) = attempt.ticket {
                pacer.replied(ticket, departed, now);
            }
            (was_open, pacer.circuit.is_open())
        });
        // Of a session that is over it says nothing.
        if !pace.has_ended() {
            self.metrics.circuit_open.set(i64::from(is_open));
        }
        match (&reply, was_open, is_open) {
            (Reply::NotSent(reason), false, true) => {
                warn!(reason, "the gateway cannot be reached: holding jobs, probing with one");
            }
            (_, true, false) => info!("the gateway is reached again"),
            _ => {}
        }
        reply
    }

    /// The request does not leave: its places are given back.
    fn stay(&self, attempt: &Attempt<'_>, reason: &str) -> Reply {
        if let Some(ticket) = attempt.ticket {
            attempt.parcel.pace.act(|pacer, now| pacer.abandoned(ticket, now));
        }
        Reply::NotSent(reason.to_owned())
    }

    fn facts(&self, attempt: &Attempt<'_>) -> Facts {
        Facts {
            attempts: attempt.claim.attempts,
            requests: attempt.claim.request,
            resigned_before: attempt.resigned_before,
            on_unknown: attempt.parcel.job.on_unknown,
        }
    }

    /// Pauses an account that cannot send; resumes one whose probe was taken.
    fn heed(&self, attempt: &Attempt<'_>, outcome: Outcome, reply: &Reply) {
        let Parcel { account, job, pace, .. } = attempt.parcel;
        let account = *account;
        let news = pace.act(|pacer, now| {
            let news = pacer.heard(account, attempt.ticket, outcome, job.mobile, now);
            // Under the pacer's lock: whoever brings the pacer to what Postgres says must know of it.
            if news.is_some() {
                self.expect_notice(account);
            }
            news
        });
        match news {
            None => {}
            Some(News::Cured) => self.notify(Notice::Cured { account }),
            Some(News::Faulty) => {
                self.notify(Notice::Faulty { account, reason: code_of(reply), refusals: false });
            }
            Some(News::Refusing(run)) => {
                let reason = format!("{run} numbers in a row refused for good, the last with {}", code_of(reply));
                self.notify(Notice::Faulty { account, reason, refusals: true });
            }
        }
    }

    fn count(&self, attempt: &Attempt<'_>, outcome: Outcome, state: State, code: Option<i64>) {
        let Parcel { job, account, .. } = attempt.parcel;
        let name = self.account_name(*account);
        self.metrics.ended(name, outcome, state, code);
        if outcome == Outcome::Accepted {
            let text = self.settings.rules.templates.rendered(&job.payload);
            let parts = parts(&text, self.settings.accounts[*account].signature);
            self.parts[*account].fetch_add(parts, Ordering::Relaxed);
        }
        if let (State::Accepted, Some(published)) = (state, job.published_at) {
            let seconds = (self.now() - published).num_milliseconds().max(0) as f64 / 1_000.0;
            self.metrics.latency_seconds.with_label_values(&[job.priority.as_str()]).observe(seconds);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    AtOnce,
}

/// The code of an answer, and what it means.
fn code_of(reply: &Reply) -> String {
    let Reply::Answer(Answer { code, .. }) = reply else { return "no code".into() };
    let (_, meaning) = crate::domain::codes::meaning(*code).unwrap_or(("", "refused by the gateway"));
    format!("code {code}: {meaning}")
}

/// An answer that leaves the outcome unknown, code 2 without an smsid, counts as none: its code would
/// show the job as taken.
fn answer_of(outcome: Outcome, reply: &Reply) -> Option<Answer> {
    match reply {
        Reply::Answer(answer) => Some(answer.clone()).filter(|_| outcome != Outcome::Unknown),
        Reply::NotSent(_) | Reply::Unknown(_) => None,
    }
}

fn words_of(outcome: Outcome, reply: Reply) -> String {
    match reply {
        Reply::Answer(Answer { code: SUCCESS, .. }) if outcome == Outcome::Unknown => "code 2 without an smsid".into(),
        Reply::Answer(Answer { code, .. }) if outcome == Outcome::Unknown => {
            format!("code {code}, `unknown` by [codes]")
        }
        Reply::Answer(answer) => answer.message,
        Reply::NotSent(reason) | Reply::Unknown(reason) => reason,
    }
}
