//! The path of one job: turn → admit → depart → submit → judge → decide → record → settle.
//!
//! Each step is committed before the next one relies on it, so a crash between any two lines leaves
//! the job where another process can take it up:
//!
//! - before the claim: the message is not acknowledged and comes again;
//! - between claim and record: the row is `submitting`; its claim runs out and it becomes `in_doubt`
//!   (or is resent, if the job says so), because the request may have left;
//! - between record and acknowledgement: the message comes again and is recognised.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::batch::Refused;
use super::desk::{Desk, Notice};
use super::pacer::Pace;
use super::ports::*;
use super::trace::{self, Journey, Known};
use crate::domain::decide::{Facts, Next, decide};
use crate::domain::job::{Job, Outcome, State, Timestamp, WaitReason};
use crate::domain::message::{RejectReason, Rejection};
use crate::domain::pace::{News, Park, Ticket, Turn};
use crate::domain::text::parts;
use crate::domain::verdict::{Answer, Reply, judge};

/// A claim older than this does not leave any more: it protects its attempt for so long only, and
/// the gateway's timeout has to fit in.
const FRESH: Duration = Duration::from_secs(15);

/// What a claim must outlast beyond the gateway's timeout: the wait until departure, and the commit
/// of the outcome.
pub const CLAIM_MARGIN: Duration = Duration::from_secs(30);

/// A job on its way.
pub(super) struct Parcel {
    pub job: Arc<Job>,
    /// Names the job and its payload.
    pub key: [u8; 16],
    /// The account that sends it.
    pub account: usize,
    /// Its place in the order of arrival.
    pub seq: i64,
    /// Postgres has held it.
    pub released: bool,
    /// The broker has given its message out before.
    pub redelivered: bool,
    pub pace: Arc<Pace>,
    /// Its publisher's trace, where that is recorded.
    pub journey: Option<Journey>,
    /// The message as received, in case it is refused after all.
    pub body: Vec<u8>,
    pub delivery: Box<dyn Settle>,
}

/// How its way begins.
pub(super) enum Start {
    /// It waits for its turn at the limiters.
    Turn(Ticket, oneshot::Receiver<Turn>),
    /// It is stored without a turn.
    Known(Entry),
}

/// How its way ended.
#[derive(Debug)]
pub(super) enum Delivered {
    /// Its fate is committed: acknowledge.
    Settled,
    /// Postgres refuses it: give it back.
    Unsettled,
    /// The session or the process ends: leave it.
    Left,
}

/// A committed attempt.
struct Attempt<'a> {
    parcel: &'a Parcel,
    claim: Claim,
    claimed: Instant,
    /// Its place in the pacer; none for one that goes past the limiters.
    ticket: Option<Ticket>,
    resigned_before: bool,
}

/// What came of asking for a job's claim.
enum Asked {
    /// It may go.
    Claimed(Claim),
    /// It waits until then: its number has had all that it may get.
    Held(Timestamp),
    /// It waits, or has come to its end; nothing more is to be done for it here.
    Done,
    /// Nothing was stored: its message was a copy, or its id is another job's. `first_waits`: a copy of
    /// the same release was first, and waits again.
    NotStored { first_waits: bool },
}

impl Desk {
    /// The path of one job, traced where its publisher traces.
    pub(super) async fn deliver(&self, parcel: &Parcel, start: Start) -> Delivered {
        let delivered = self.carry(parcel, start).await;
        self.arrived(parcel, &delivered);
        delivered
    }

    /// The path of one job.
    async fn carry(&self, parcel: &Parcel, start: Start) -> Delivered {
        let step = self.step(parcel);
        let Some((entry, ticket)) = self.turn(parcel, start).await else { return Delivered::Left };
        self.stepped(step, trace::WAIT, Known::default());
        let (begun, step) = (Instant::now(), self.step(parcel));
        let asked = self.admit(parcel, entry).await;
        self.stepped(step, trace::CLAIM, Known { failed: asked.is_err(), ..Known::default() });
        match ticket {
            Some(ticket) => self.tell_pacer(parcel, ticket, asked.as_ref().unwrap_or(&Asked::Done)),
            None => self.settle_park(parcel, entry, asked.as_ref().ok()),
        }
        let claim = match asked {
            Ok(Asked::Claimed(claim)) => claim,
            Ok(Asked::Held(_) | Asked::Done | Asked::NotStored { .. }) => return Delivered::Settled,
            Err(_) => return Delivered::Unsettled,
        };
        let first = Attempt { parcel, claim, claimed: begun, ticket, resigned_before: false };
        let ended = self.attempts(first).await;
        if let Some(ticket) = ticket {
            parcel.pace.act(|pacer, now| pacer.settled(ticket, parcel.job.mobile, now));
        }
        match ended {
            Ok(()) => Delivered::Settled,
            Err(_) => Delivered::Unsettled,
        }
    }

    /// A granted job is claimed, or gives its place back.
    fn tell_pacer(&self, parcel: &Parcel, ticket: Ticket, asked: &Asked) {
        match asked {
            Asked::Claimed(_) => parcel.pace.act(|pacer, now| pacer.claimed(ticket, now)),
            Asked::Held(until) => {
                self.hold(parcel, ticket, WaitReason::NumberLimit, *until);
                let (mobile, priority) = (parcel.job.mobile, parcel.job.priority);
                parcel.pace.act(|pacer, _| pacer.parked_for_good(mobile, priority, parcel.seq));
            }
            Asked::Done | Asked::NotStored { .. } => parcel.pace.act(|pacer, now| pacer.abandoned(ticket, now)),
        }
    }

    /// The pacer keeps a place for what it parked. Where Postgres has not parked it, others would wait for
    /// that place in vain, released and parked again and again. A second copy of a released job that waits
    /// again stands for its first.
    fn settle_park(&self, parcel: &Parcel, entry: Entry, asked: Option<&Asked>) {
        let Entry::Wait { reason, .. } = entry else { return };
        let has_place = !matches!(reason, WaitReason::AccountPaused | WaitReason::Scheduled);
        let stands = match asked {
            Some(Asked::Done) => true,
            Some(Asked::NotStored { first_waits }) => *first_waits,
            Some(Asked::Claimed(_) | Asked::Held(_)) | None => false,
        };
        if has_place {
            let (mobile, priority, seq) = (parcel.job.mobile, parcel.job.priority, parcel.seq);
            parcel.pace.act(|pacer, _| match stands {
                true => pacer.parked_for_good(mobile, priority, seq),
                false => pacer.not_parked(mobile, priority, seq),
            });
        }
    }

    /// A granted job gives its place back, and stands before the next of its number when it is due.
    fn hold(&self, parcel: &Parcel, ticket: Ticket, reason: WaitReason, until: Timestamp) {
        let due = parcel.pace.tick_of(until, self.now());
        parcel.pace.act(|pacer, now| pacer.held(ticket, Park { reason, due: Some(due), on_room: false }, now));
    }

    /// Waits for the job's turn. `None`: the session has ended.
    async fn turn(&self, parcel: &Parcel, start: Start) -> Option<(Entry, Option<Ticket>)> {
        let (ticket, turn) = match start {
            Start::Known(entry) => return Some((entry, None)),
            Start::Turn(ticket, turn) => (ticket, turn.await.ok()?),
        };
        match turn {
            Turn::Go(_) if self.is_draining() => {
                parcel.pace.act(|pacer, now| pacer.abandoned(ticket, now));
                None
            }
            Turn::Go(waited) => {
                let seconds = &self.metrics.limiter_wait;
                seconds.with_label_values(&["mobile"]).observe(waited.mobile.as_secs_f64());
                seconds.with_label_values(&["account"]).observe(waited.account.as_secs_f64());
                let Some(until) = self.quiet_until(parcel) else { return Some((Entry::Claim, Some(ticket))) };
                // It waited in memory into the quiet hours.
                self.hold(parcel, ticket, WaitReason::QuietHours, until);
                Some((Entry::Wait { reason: WaitReason::QuietHours, due_at: Some(until), on_room: false }, None))
            }
            Turn::Park(park) => {
                let now = self.now();
                let due_at = match park.reason {
                    // To the second, which a way over the monotonic clock is not.
                    WaitReason::QuietHours => self.quiet_until(parcel).or(Some(now)),
                    _ => park.due.map(|due| parcel.pace.wall(due, now)),
                };
                Some((Entry::Wait { reason: park.reason, due_at, on_room: park.on_room }, None))
            }
            Turn::Expired => Some((Entry::Expired, None)),
        }
    }

    /// The end of the quiet hours that it is now, if it is.
    fn quiet_until(&self, parcel: &Parcel) -> Option<Timestamp> {
        self.settings.quiet.ends(parcel.job.priority, self.now())
    }

    /// Commits the claim, or what else is to become of the job.
    async fn admit(&self, parcel: &Parcel, entry: Entry) -> Result<Asked, Refused> {
        if parcel.released {
            match self.readmit(parcel, From::Queued, entry).await? {
                Readmitted::Claimed(claim) => return Ok(Asked::Claimed(claim)),
                Readmitted::Held(until) => return Ok(Asked::Held(until)),
                Readmitted::Suppressed => self.note_suppressed(parcel),
                Readmitted::Stored => self.note_entry(parcel, entry),
                Readmitted::Elsewhere(state) => {
                    debug!(job = parcel.job.id, %state, "a second copy of a released job");
                    return Ok(Asked::NotStored { first_waits: state == State::Waiting });
                }
                // Postgres has lost the row, the broker not the message: it is a job all the same.
                Readmitted::Missing => return self.admit_fresh(parcel, entry).await,
            }
            return Ok(Asked::Done);
        }
        self.admit_fresh(parcel, entry).await
    }

    async fn admit_fresh(&self, parcel: &Parcel, entry: Entry) -> Result<Asked, Refused> {
        let row = Admission {
            job: parcel.job.clone(),
            account: self.account_name(parcel.account).to_owned(),
            seq: parcel.seq,
            claim_id: self.next_claim(),
            entry,
        };
        let admitted = self.admissions.commit(row).await?;
        if admitted != Admitted::Conflict {
            self.recent.insert(parcel.key);
        }
        match admitted {
            Admitted::Claimed(claim) => return Ok(Asked::Claimed(claim)),
            Admitted::Held(until) => return Ok(Asked::Held(until)),
            Admitted::Suppressed => self.note_suppressed(parcel),
            Admitted::Stored => self.note_entry(parcel, entry),
            // Of a session that has ended, the copy may have been quicker.
            Admitted::Repeat(_) => {
                self.note_repeat(parcel.redelivered || parcel.pace.has_ended());
                return Ok(Asked::NotStored { first_waits: false });
            }
            Admitted::Conflict => {
                self.refuse_conflict(parcel).await?;
                return Ok(Asked::NotStored { first_waits: false });
            }
        }
        Ok(Asked::Done)
    }

    async fn readmit(&self, parcel: &Parcel, from: From, entry: Entry) -> Result<Readmitted, Refused> {
        let account = Some(self.account_name(parcel.account).to_owned());
        // A second signature goes in the place of the first.
        let to = (from == From::Queued).then_some((parcel.job.mobile, parcel.job.priority));
        let row = Readmission { id: parcel.job.id.clone(), account, to, claim_id: self.next_claim(), from, entry };
        self.readmissions.commit(row).await
    }

    async fn refuse_conflict(&self, parcel: &Parcel) -> Result<(), Refused> {
        let detail = "`id` is known with another mobile, content, template, variables or account: \
                      use a new id for a new job";
        let refusal = Refusal {
            rejection: Rejection::new(RejectReason::IdConflict, detail),
            body: bytes::Bytes::copy_from_slice(&parcel.body),
            properties: parcel.delivery.describe(),
        };
        self.refuse_row(refusal).await
    }

    /// Keeps a message that is no job.
    pub(super) async fn refuse(&self, refusal: Refusal) -> Delivered {
        match self.refuse_row(refusal).await {
            Ok(()) => Delivered::Settled,
            Err(_) => Delivered::Unsettled,
        }
    }

    async fn refuse_row(&self, refusal: Refusal) -> Result<(), Refused> {
        let reason = refusal.rejection.reason;
        self.refusals.commit(refusal).await?;
        self.metrics.rejected.with_label_values(&[reason.as_str()]).inc();
        Ok(())
    }

    /// Attempts until one needs no other at once: one, but for an expired dynamic password.
    async fn attempts(&self, first: Attempt<'_>) -> Result<(), Refused> {
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
        let reply = match self.depart(attempt).await {
            Ok(permit) => self.submit(attempt, permit).await,
            Err(reason) => self.stay(attempt, reason),
        };
        let outcome = judge(&reply, &self.settings.codes);
        let decision = decide(self.facts(attempt), outcome, &reply, &self.settings.retry, self.now(), self.jitter());
        let again = if matches!(decision.next, Next::Again { .. }) { Again::AtOnce } else { Again::No };
        self.heed(attempt.parcel, decision.outcome, &reply);
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
    /// not leave any more.
    async fn depart(&self, attempt: &Attempt<'_>) -> Result<SemaphorePermit<'_>, &'static str> {
        let account = attempt.parcel.account;
        // The semaphores are never closed.
        let permit = self.wires[account].acquire().await.map_err(|_| "the dispatcher has ended")?;
        let pace = &attempt.parcel.pace;
        if let Some(ticket) = attempt.ticket {
            pace.until(pace.act(|pacer, _| pacer.due(ticket))).await;
        }
        let turn = self.departures[account].lock().await;
        while let Err(at) = pace.act(|pacer, now| pacer.depart(account, attempt.ticket, now)) {
            pace.until(at).await;
        }
        drop(turn);
        if attempt.claimed.elapsed() > FRESH {
            return Err("the claim was committed too slowly");
        }
        if attempt.parcel.job.is_expired(self.now()) {
            return Err("the job expired");
        }
        if self.quiet_until(attempt.parcel).is_some() {
            return Err("the quiet hours began");
        }
        Ok(permit)
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
        let opened = pace.act(|pacer, now| {
            let opened = match &reply {
                Reply::NotSent(_) => pacer.circuit.failed(now),
                Reply::Answer(_) | Reply::Unknown(_) => {
                    pacer.circuit.reached();
                    false
                }
            };
            if let Some(ticket) = attempt.ticket {
                pacer.replied(ticket, departed, now);
            }
            self.metrics.circuit_open.set(i64::from(pacer.circuit.is_open()));
            opened
        });
        if let (true, Reply::NotSent(reason)) = (opened, &reply) {
            warn!(reason, "the gateway cannot be reached: holding jobs, probing with one");
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
    fn heed(&self, parcel: &Parcel, outcome: Outcome, reply: &Reply) {
        let Parcel { account, job, pace, .. } = parcel;
        let account = *account;
        let news = pace.act(|pacer, now| {
            let news = pacer.heard(account, outcome, job.mobile, now);
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

    fn note_entry(&self, parcel: &Parcel, entry: Entry) {
        match entry {
            Entry::Expired => {
                self.metrics.finished(self.account_name(parcel.account), State::Expired, None, 1);
                self.announced.notify_one();
            }
            Entry::Wait { on_room: true, .. } => self.note_parked(parcel),
            Entry::Wait { .. } | Entry::Claim => {}
        }
    }

    fn note_suppressed(&self, parcel: &Parcel) {
        self.metrics.finished(self.account_name(parcel.account), State::Failed, None, 1);
    }

    /// Postgres has a job that waits for its account.
    fn note_parked(&self, parcel: &Parcel) {
        parcel.pace.act(|pacer, _| pacer.stored(parcel.account, parcel.job.priority));
    }

    /// A message that was given out before is no repeat of its publisher's.
    pub(super) fn note_repeat(&self, redelivered: bool) {
        if !redelivered {
            self.metrics.duplicates.inc();
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
        Reply::Answer(Answer { code, .. }) if outcome == Outcome::Unknown => format!("code {code} without an smsid"),
        Reply::Answer(answer) => answer.message,
        Reply::NotSent(reason) | Reply::Unknown(reason) => reason,
    }
}
