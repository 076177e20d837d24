//! What must hold, whatever happened: Postgres, the gateway's own log and the queues are laid side
//! by side once everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dispatcher::domain::event::Event;
use dispatcher::domain::job::{Job, OnUnknown, Outcome, Priority, State, Timestamp, WaitReason};
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::receipt::{Receipt, final_state};
use dispatcher::domain::verdict::Reply;

use crate::ihuyi::{Call, class};
use crate::jobs::Content;
use crate::post::Push;
use crate::postgres::{AttemptRow, EventRow, JobRow, ReceiptRow, ReplayRow, ReplayedRow, Tables, is_final, passes};
use crate::scenario::Story;
use crate::world::World;

/// Timers and deliveries are exact to about a millisecond.
const TOLERANCE: Duration = Duration::from_millis(3);

/// Nothing is left to do.
pub fn at_rest(world: &World, story: &Story) -> bool {
    let (ready, unacked, _) = world.broker.held();
    let tables = world.tables();
    let known = |job: &Job| tables.jobs.contains_key(&job.id);
    ready + unacked == 0
        && tables.events.is_empty()
        && world.post.is_idle()
        // Later looks, minutes away, are for doubts that are declared late: those are watched by the conformance tests.
        && tables.receipts.iter().all(|row| row.look_at.is_none() || row.looks >= 2)
        && tables.jobs.values().all(|row| rests(row, world.now()))
        && tables.replays.iter().all(|replay| replay_rests(replay, &tables))
        && story.letters.iter().filter_map(|letter| letter.job()).all(known)
}

/// The dispatcher has nothing to do for the job, today.
fn rests(row: &JobRow, now: Timestamp) -> bool {
    let tomorrow = row.due_at.is_some_and(|due| due > now + chrono::Duration::hours(4));
    row.state.is_settled()
        || row.state == State::InDoubt
        || row.wait_reason == Some(WaitReason::NumberLimit) && tomorrow
}

/// It has ended or is paused, or waits for a job that rests until tomorrow.
fn replay_rests(replay: &ReplayRow, tables: &Tables) -> bool {
    let settled = |job: &String| tables.jobs.get(job).is_none_or(|job| job.state != State::Waiting);
    let waits = |row: &ReplayedRow| row.result == "sent" && !settled(&row.job);
    let goes = |row: &ReplayedRow| row.result == "pending" || row.result == "sent" && settled(&row.job);
    replay.state != "running" || replay.jobs.iter().any(waits) && !replay.jobs[..replay.open()].iter().any(goes)
}

/// Everything that is known at the end.
struct Evidence<'a> {
    world: &'a World,
    story: &'a Story,
    tables: &'a Tables,
    calls: Vec<Call>,
    /// Processes that were ended while something may have been under way.
    ended: BTreeSet<u32>,
}

/// Checks every promise; what is broken becomes a violation of the world.
pub fn check(world: &World, story: &Story) {
    let tables = world.tables();
    let evidence = Evidence { world, story, tables: &tables, calls: world.ihuyi.calls(), ended: world.ended() };
    evidence.nothing_is_left();
    evidence.every_letter_is_accounted_for();
    for (id, row) in &tables.jobs {
        evidence.check_job(id, row);
    }
    evidence.answers_are_recorded();
    evidence.numbers_are_spared();
    evidence.facts_are_announced();
    evidence.pushes_are_kept();
    evidence.receipts_are_heeded();
    evidence.windows_hold();
    evidence.replays_keep_their_word();
    if story.mild {
        evidence.order_is_kept();
    }
}

impl Evidence<'_> {
    fn violation(&self, what: impl Into<String>) {
        self.world.violation(what.into());
    }

    fn calls_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(move |call| call.job == id)
    }

    fn attempts_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (u32, &'a AttemptRow)> {
        self.tables.attempts.iter().filter(move |((job, _), _)| job == id).map(|((_, request), row)| (*request, row))
    }

    fn nothing_is_left(&self) {
        let (ready, unacked, dead) = self.world.broker.held();
        if (ready, unacked, dead) != (0, 0, 0) {
            self.violation(format!("{ready} messages are ready, {unacked} not acknowledged, {dead} dead"));
        }
        for (id, row) in &self.tables.jobs {
            if !rests(row, self.world.now()) {
                self.violation(format!("{id} is left {} ({:?})", row.state, row.wait_reason));
            }
        }
    }

    fn every_letter_is_accounted_for(&self) {
        for letter in &self.story.letters {
            let body = letter.message().body;
            let rejected = self.tables.rejections.iter().find(|rejection| rejection.body == body);
            match (&letter.content, rejected) {
                (Content::Nonsense(_), Some(_)) => {}
                (Content::Nonsense(_), None) => self.violation("a message that is no job was lost"),
                (Content::Job(job), rejected) => match self.tables.jobs.get(&job.id) {
                    None => self.violation(format!("{} was lost", job.id)),
                    Some(row) if row.job.payload == job.payload => {}
                    Some(_) if rejected.is_some_and(|rejection| rejection.reason == "id_conflict") => {}
                    Some(_) => self.violation(format!("another text under the id {} was lost", job.id)),
                },
            }
        }
    }

    fn check_job(&self, id: &str, row: &JobRow) {
        let complain = |what: &str| self.violation(format!("{id} ({}): {what}: {}", row.state, self.history(id)));
        let taken: Vec<&Call> = self.calls_of(id).filter(|call| call.taken.is_some()).collect();
        let resend = row.job.on_unknown == OnUnknown::Resend;
        // Whoever names doubts takes the risk.
        if taken.len() > 1 + self.doubts_of(id) && !resend {
            complain("the gateway took it twice");
        }
        let resend = resend || self.doubts_of(id) > 0;
        if self.calls_of(id).any(|call| call.text != row.job.payload.content() || call.mobile != row.job.mobile) {
            complain("something else was sent under its id");
        }
        // A replay may have given it another expiry.
        let replayed = self.tables.replays_of(id).filter_map(|row| row.at).max();
        let since = |call: &&Call| replayed.is_none_or(|at| crate::world::epoch() + call.at >= at);
        if self.calls_of(id).filter(since).any(|call| row.job.is_expired(call.wall)) {
            complain("it was submitted after its expiry");
        }
        // Its turn may have come while the clock was put on, or before it was put back.
        let latest = |call: &Call| call.wall.max(crate::world::epoch() + call.at) + self.story.put_on();
        if self.calls_of(id).any(|call| row.job.not_before.is_some_and(|from| latest(call) < from)) {
            complain("it was submitted too early");
        }
        let quiet = |call: &Call| self.story.settings.quiet.ends(row.job.priority, call.wall).is_some();
        if self.calls_of(id).any(quiet) {
            complain("it was submitted in quiet hours");
        }
        self.check_suppressed(id, row, &complain);
        self.check_attempts(id, row, &complain);
        self.check_state(id, row, &taken, resend, &complain);
    }

    /// Whoever wants no bulk messages gets none from then on, and only these fail.
    fn check_suppressed(&self, id: &str, row: &JobRow, complain: &impl Fn(&str)) {
        let since = self.tables.suppressions.get(&row.job.mobile).filter(|_| row.job.priority == Priority::Bulk);
        if row.suppressed && (row.state != State::Failed || since.is_none_or(|since| row.updated_at < *since)) {
            complain("nobody opted out");
        }
        // A second signature goes in the place of the first.
        let first = |request| !self.attempts_of(id).any(|(n, row)| n + 1 == request && is_resign(row.outcome));
        let late = |(request, attempt): (u32, &AttemptRow)| {
            since.is_some_and(|since| attempt.started_at > *since) && first(request)
        };
        if self.attempts_of(id).any(late) {
            complain("its number wants no bulk messages");
        }
    }

    fn check_attempts(&self, id: &str, row: &JobRow, complain: &impl Fn(&str)) {
        let spends = |outcome: Option<Outcome>| !matches!(outcome, Some(Outcome::Account | Outcome::NotSent));
        let spent = self.attempts_of(id).filter(|(_, attempt)| spends(attempt.outcome)).count();
        let budgets = 1 + self.tables.replays_of(id).count();
        if spent > self.story.max_attempts as usize * budgets {
            complain("it has more attempts than it may");
        }
        if spent != row.attempts as usize {
            complain(&format!("`attempts` is {}, not {spent}", row.attempts));
        }
        if self.attempts_of(id).count() != row.requests as usize {
            complain("`requests` is not the number of its attempts");
        }
        if self.attempts_of(id).any(|(_, attempt)| attempt.outcome.is_none()) {
            complain("an attempt is open");
        }
        let answered = |request| self.calls_of(id).any(|call| call.request == request && call.heard_acceptance());
        for (request, attempt) in self.attempts_of(id) {
            if attempt.outcome == Some(Outcome::Accepted) && !answered(request) {
                complain("an attempt counts as accepted that the gateway did not accept");
            }
        }
    }

    fn check_state(&self, id: &str, row: &JobRow, taken: &[&Call], resend: bool, complain: &impl Fn(&str)) {
        let last = self.attempts_of(id).last().map(|(request, attempt)| (request, attempt.clone()));
        let last_outcome = last.as_ref().and_then(|(_, attempt)| attempt.outcome);
        match row.state {
            State::Accepted | State::Delivered | State::Undelivered => {
                let own: Vec<_> = taken.iter().filter(|call| call.taken == row.smsid).collect();
                let told = own.iter().any(|call| call.heard_acceptance());
                let by_receipt = self.receipts().any(|receipt| row.smsid.as_ref() == Some(&receipt.receipt.smsid));
                if row.smsid.is_none() || own.len() != 1 || !told && !by_receipt {
                    complain("the gateway did not accept it");
                }
                if row.state == State::Accepted && told && row.code != Some(2) {
                    complain("its code is another than it was told");
                }
            }
            State::InDoubt => {
                if row.job.on_unknown == OnUnknown::Resend {
                    complain("it was to be resent");
                }
                let doubtful = last.is_some_and(|(request, attempt)| self.is_unknown(id, request, &attempt));
                if last_outcome != Some(Outcome::Unknown) || !doubtful {
                    complain("there is nothing to doubt");
                }
            }
            State::Failed => {
                let used_up = (row.attempts - row.attempts_base) as u32 >= self.story.max_attempts;
                if last_outcome != Some(Outcome::Permanent) && !used_up && !row.suppressed {
                    complain("it has attempts left");
                }
                if !taken.is_empty() && !resend {
                    complain("the gateway took it");
                }
            }
            State::Expired => {
                if !taken.is_empty() && !resend {
                    complain("the gateway took it");
                }
                // The dispatchers' clock may have been put on.
                if row.job.expires_at.is_none_or(|at| at > row.updated_at + self.story.put_on()) {
                    complain("it had time left");
                }
            }
            State::Waiting if row.wait_reason == Some(WaitReason::NumberLimit) => {
                let had_all =
                    self.story.limits.daily.is_some_and(|most| self.sent_to(row.job.mobile).len() >= most as usize);
                if last_outcome != Some(Outcome::Tomorrow) && !had_all {
                    complain("its number has not had its messages of the day");
                }
                if !taken.is_empty() && !resend {
                    complain("the gateway took it");
                }
            }
            state => complain(&format!("nobody asked for {state}")),
        }
    }

    fn receipts(&self) -> impl Iterator<Item = &ReceiptRow> {
        self.tables.receipts.iter()
    }

    /// What ihuyi was told `success` for is there, and a wish is heeded from then on.
    fn pushes_are_kept(&self) {
        for (push, at) in self.world.post.answered() {
            let kept = match &push {
                Push::Receipt(fields) => {
                    let said = Receipt::read(fields).unwrap();
                    self.receipts().any(|row| *row.receipt == said)
                }
                Push::Reply(fields) => {
                    let mobile = Mobile::parse(fields.get("mobilephone").unwrap()).unwrap();
                    self.tables.suppressions.get(&mobile).is_some_and(|since| *since <= at)
                }
            };
            if !kept {
                self.violation(format!("{push:?} was answered and is not kept"));
            }
        }
    }

    /// A receipt belongs to the job whose message it is about, the first one is final, and a repeat is none.
    fn receipts_are_heeded(&self) {
        for row in self.receipts() {
            let smsid = &row.receipt.smsid;
            let call = self.calls.iter().find(|call| call.taken.as_ref() == Some(smsid));
            if row.job.is_some() && row.job.as_ref() != call.map(|call| &call.job) {
                self.violation(format!("the receipt of {smsid} belongs to {call:?} and was given to {:?}", row.job));
            }
            if self.receipts().filter(|other| other.receipt.digest == row.receipt.digest).count() > 1 {
                self.violation(format!("the receipt of {smsid} was kept twice"));
            }
        }
        for (id, row) in &self.tables.jobs {
            let of_job = |receipt: &&ReceiptRow| receipt.job.as_ref() == Some(id);
            let of_message = |receipt: &ReceiptRow| Some(&receipt.receipt.smsid) == row.smsid.as_ref();
            if row.state == State::Accepted && self.receipts().filter(of_job).any(of_message) {
                self.violation(format!("{id} has a receipt and is still accepted"));
            }
            let ends: Vec<State> = self.facts_of(id).map(|fact| fact.state).filter(|state| is_final(*state)).collect();
            let expected: Vec<State> = Some(row.state).filter(|state| is_final(*state)).into_iter().collect();
            if ends != expected {
                self.violation(format!("{id} is {} after {ends:?}: a final state stands", row.state));
            }
            let says = |receipt: &ReceiptRow| final_state(receipt.receipt.code) == row.state;
            if is_final(row.state) && !self.receipts().filter(of_job).any(says) {
                self.violation(format!("{id} is {} and no receipt of it says so", row.state));
            }
        }
    }

    fn facts_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a EventRow> {
        self.tables.facts.iter().filter(move |fact| fact.event.job_id.as_deref() == Some(id))
    }

    /// The attempt's owner could not know, or ended before it could say.
    fn is_unknown(&self, id: &str, request: u32, attempt: &AttemptRow) -> bool {
        let heard_nothing = self.calls_of(id).any(|call| call.request == request && call.heard_nothing());
        heard_nothing || self.ended.contains(&attempt.owner)
    }

    /// An answer to a process that lives on is in Postgres.
    fn answers_are_recorded(&self) {
        for call in self.calls.iter().filter(|call| !self.ended.contains(&call.process)) {
            let Some(Reply::Answer(answer)) = &call.heard else { continue };
            let attempt = self.tables.attempts.get(&(call.job.clone(), call.request));
            // Taken, but nothing to match a receipt with: not believed.
            let unknown = answer.code == 2 && answer.smsid.is_none();
            let (expected, code) =
                if unknown { (Outcome::Unknown, None) } else { (class(answer.code), Some(answer.code)) };
            let as_told = attempt.is_some_and(|attempt| {
                // A second expired password in a row is the account's matter.
                let turned = expected == Outcome::Resign && attempt.outcome == Some(Outcome::Account);
                attempt.code == code && (attempt.outcome == Some(expected) || turned)
            });
            if !as_told {
                self.violation(format!("an answer to {} was not recorded: {}", call.job, self.history(&call.job)));
            }
        }
    }

    /// Requests for one number keep their distance, of a period within one consuming session. Across
    /// sessions and processes: "in any second at most rate + burst".
    fn numbers_are_spared(&self) {
        let period = self.story.settings.mobile.period;
        let mut numbers: BTreeMap<u64, Vec<&Call>> = BTreeMap::new();
        // An expired password is signed again at once, past the number's limiter.
        for call in self.calls.iter().filter(|call| !self.is_second_signature(call)) {
            numbers.entry(call.mobile.as_u64()).or_default().push(call);
        }
        for calls in numbers.values() {
            for pair in calls.windows(2).filter(|pair| pair[0].era.is_some() && pair[0].era == pair[1].era) {
                self.check_distance(pair, period);
            }
            for three in calls.windows(3) {
                self.check_distance(three, period);
            }
        }
    }

    /// When attempts began that may have reached the number, in order.
    fn sent_to(&self, mobile: Mobile) -> Vec<Timestamp> {
        let reached =
            |attempt: &AttemptRow| matches!(attempt.outcome, None | Some(Outcome::Accepted | Outcome::Unknown));
        let to = |id: &str| self.tables.jobs.get(id).is_some_and(|row| row.job.mobile == mobile);
        let attempts = self.tables.attempts.iter().filter(|((id, _), attempt)| to(id) && reached(attempt));
        let mut sent: Vec<Timestamp> = attempts.map(|(_, attempt)| attempt.started_at).collect();
        sent.sort_unstable();
        sent
    }

    /// No number gets more than it may over a long window; a story is over within a day.
    fn windows_hold(&self) {
        let numbers: BTreeSet<Mobile> = self.tables.jobs.values().map(|row| row.job.mobile).collect();
        for mobile in numbers {
            let sent = self.sent_to(mobile);
            let limits = self.story.limits;
            let crowded = limits.sliding.is_some_and(|sliding| {
                let window = chrono::Duration::from_std(sliding.window).unwrap();
                sent.windows(sliding.most as usize + 1).any(|some| some[some.len() - 1] - some[0] < window)
            });
            if crowded || limits.daily.is_some_and(|most| sent.len() > most as usize) {
                self.violation(format!("{mobile} got more than it may: {sent:?} under {limits:?}"));
            }
        }
    }

    fn check_distance(&self, calls: &[&Call], period: Duration) {
        let apart = calls[calls.len() - 1].at - calls[0].at;
        if apart + TOLERANCE < period {
            let jobs: Vec<&str> = calls.iter().map(|call| call.job.as_str()).collect();
            self.violation(format!("{jobs:?} went to one number within {} ms", apart.as_millis()));
        }
    }

    fn is_second_signature(&self, call: &Call) -> bool {
        let before = |other: &Call| other.request + 1 == call.request && is_resigned(other);
        self.calls_of(&call.job).any(before)
    }

    /// One of their accounts was paused, and some went through another, their own or its fallback, which nobody uses
    /// otherwise: these do not wait for what is parked for it.
    fn is_parted_by_a_pause(&self, line: &[&Job]) -> bool {
        let paused = self.tables.attempts.values().any(|attempt| attempt.outcome == Some(Outcome::Account));
        let fell_back = |job: &Job| self.tables.jobs.get(&job.id).is_some_and(|row| row.account != job.account);
        line.iter().any(|job| fell_back(job) || paused && job.account != line[0].account)
    }

    /// Jobs for one number and priority go out in the order published, as long as none is retried.
    fn order_is_kept(&self) {
        let mut lines: BTreeMap<_, Vec<&Job>> = BTreeMap::new();
        for job in self.story.letters.iter().filter_map(|letter| letter.job()) {
            let line = lines.entry((job.mobile, job.priority)).or_default();
            if !line.iter().any(|other| other.id == job.id) {
                line.push(job);
            }
        }
        for line in lines.into_values() {
            let plain = |job: &&Job| self.tables.jobs.get(&job.id).is_some_and(|row| row.requests <= 1);
            let on_time = |job: &&&Job| job.not_before.is_none();
            // An account's backlog holds up no other's job, not even one for the same number.
            let by_a_backlog = self.story.has_a_slow_account() && line.iter().any(|job| job.account != line[0].account);
            if !line.iter().all(plain) || self.is_parted_by_a_pause(&line) || by_a_backlog {
                continue;
            }
            let sent: Vec<Duration> =
                line.iter().filter(on_time).filter_map(|job| Some(self.calls_of(&job.id).next()?.at)).collect();
            if !sent.is_sorted() {
                self.violation(format!("the order of {} was not kept", line[0].mobile));
            }
        }
    }

    /// What others care about is announced at least once, in order for each job, whatever was repeated.
    fn facts_are_announced(&self) {
        let mut seen = BTreeSet::new();
        let first = |event: &Event| seen.insert(event.number);
        let announced: Vec<Event> = self.world.broker.announced().into_iter().filter(first).collect();
        for (id, row) in &self.tables.jobs {
            let about = |event: &&Event| event.job_id.as_ref() == Some(id);
            let facts: Vec<&Event> = self.tables.facts.iter().map(|fact| &fact.event).filter(about).collect();
            let told: Vec<&Event> = announced.iter().filter(about).collect();
            if facts != told {
                self.violation(format!("of {id}, {told:?} was announced in place of {facts:?}"));
            }
            let last = self.tables.facts.iter().rev().find(|fact| about(&&fact.event)).map(|fact| fact.state);
            let ended = row.state.is_settled() || row.state == State::InDoubt;
            if ended && last != Some(row.state) {
                self.violation(format!("{id} is {}, and the last that was told of it is {last:?}", row.state));
            }
            let replayed = self.tables.replays_of(id).next().is_some();
            if !replayed && facts.windows(2).any(|pair| pair[0].kind == pair[1].kind) {
                self.violation(format!("of {id} the same was told twice: {facts:?}"));
            }
        }
    }

    /// How often an operator had it sent again although it may have been sent.
    fn doubts_of(&self, id: &str) -> usize {
        self.tables.replays_of(id).filter(|row| row.from == State::InDoubt).count()
    }

    /// Replays end, leave nothing behind, respect their canaries, and two of them send a job once.
    fn replays_keep_their_word(&self) {
        for (number, replay) in self.tables.replays.iter().enumerate() {
            let complain = |what: &str| self.violation(format!("replay {number}: {what}: {replay:?}"));
            if !replay_rests(replay, self.tables) {
                complain("it does not end");
            }
            if replay.state == "done" && replay.jobs.iter().any(|row| matches!(row.result, "pending" | "sent")) {
                complain("it has ended before its jobs");
            }
            let went: Vec<&ReplayedRow> = replay.jobs.iter().filter(|row| row.went()).collect();
            let (canary, others) = went.split_at(replay.canary.min(went.len()));
            let passed = canary.iter().all(|row| passes(row.result));
            if !passed && !replay.overruled && !others.is_empty() {
                complain("its canary has not passed, and others went");
            }
            replay.jobs.iter().for_each(|row| self.check_replayed(row, &complain));
        }
    }

    fn check_replayed(&self, row: &ReplayedRow, complain: &impl Fn(&str)) {
        let (Some(job), Some(at)) = (self.tables.jobs.get(&row.job), row.at) else { return };
        if row.result == "skipped" && job.updated_at == row.changed_at {
            complain(&format!("{} was still there, and is lost", row.job));
        }
        // A request after the one that it was chosen behind, before it went.
        let began = |(request, attempt): (u32, &AttemptRow)| request > row.requests && attempt.started_at < at;
        if row.went() && self.attempts_of(&row.job).any(began) {
            complain(&format!("{} had been sent again, and went once more", row.job));
        }
    }

    /// What happened to a job, for whoever looks into it.
    fn history(&self, id: &str) -> String {
        let calls: Vec<String> = self
            .calls_of(id)
            .map(|call| {
                let (at, taken) = (call.at.as_secs_f64(), call.taken.is_some());
                format!("#{} by {} at {at:.3} taken {taken} heard {:?}", call.request, call.process, call.heard)
            })
            .collect();
        let attempts: Vec<_> = self.attempts_of(id).map(|(request, row)| (request, row.outcome, row.owner)).collect();
        format!("calls {calls:?}, attempts {attempts:?}, ended {:?}", self.ended)
    }
}

fn is_resign(outcome: Option<Outcome>) -> bool {
    outcome == Some(Outcome::Resign)
}

fn is_resigned(call: &Call) -> bool {
    matches!(&call.heard, Some(Reply::Answer(answer)) if answer.code == 40501)
}
