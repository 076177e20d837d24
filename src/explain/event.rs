//! What happened to a job, in order.

use chrono::Duration;
use serde::Serialize;

use super::{Cure, code_in_words, cure};
use crate::domain::codes::{self, Words};
use crate::domain::job::{Outcome, State, Timestamp};
use crate::store::query::{AttemptInfo, Deed, Dossier, JobInfo, JobReplay, ReceiptInfo, ReplyInfo};

/// A pause that is shorter needs no explanation: it is the time that things take.
const NOTABLE: Duration = Duration::seconds(1);

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When; of a wait, when it began.
    pub at: Timestamp,
    /// Of what kind.
    pub event: What,
    /// In words.
    pub text: String,
    /// The gateway's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// What the code says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Words>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<Cure>,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// By its publisher, who says so.
    Published,
    /// By the dispatcher.
    Received,
    /// It waited until its next request.
    Waited,
    /// A request for it began.
    Request,
    /// ihuyi reported what became of the message.
    Receipt,
    /// The person answered.
    Reply,
    /// A replay sent it again, was about to, or found it elsewhere.
    Replay,
    /// An operator did something to it.
    Operation,
    /// It came to the state in which it is.
    State,
}

impl What {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Published => "published",
            What::Received => "received",
            What::Waited => "waited",
            What::Request => "request",
            What::Receipt => "receipt",
            What::Reply => "reply",
            What::Replay => "replay",
            What::Operation => "operation",
            What::State => "state",
        }
    }
}

impl Event {
    fn new(at: Timestamp, event: What, text: impl Into<String>) -> Event {
        Event { at, event, text: text.into(), code: None, meaning: None, cure: None }
    }

    fn coded(self, code: Option<i64>, account: &str) -> Event {
        let meaning = code.and_then(codes::meaning).map(|(zh, en)| Words { zh, en });
        Event { code, meaning, cure: cure(code, account), ..self }
    }
}

pub(super) fn events(dossier: &Dossier) -> Vec<Event> {
    let Dossier { job, attempts, receipts, replies, replays, deeds, .. } = dossier;
    let mut events: Vec<Event> =
        job.published_at.map(|at| Event::new(at, What::Published, "published")).into_iter().collect();
    events.push(Event::new(job.created_at, What::Received, "received"));
    events.extend(waits(job, attempts, replays));
    events.extend(attempts.iter().map(request));
    events.extend(receipts.iter().map(receipt));
    events.extend(replies.iter().map(reply));
    events.extend(replays.iter().map(replay));
    events.extend(deeds.iter().map(deed));
    events.push(Event::new(job.updated_at, What::State, state(job)));
    // A stable sort: what happened at one moment stays in this order.
    events.sort_by_key(|event| event.at);
    events
}

/// The state with its reason.
pub(super) fn state(job: &JobInfo) -> String {
    match &job.wait_reason {
        Some(reason) => format!("{} ({reason})", job.state),
        None => job.state.clone(),
    }
}

/// The waits that are over: before the first request, and between two. Rows keep no reason for them; what came before
/// says how they began, and nothing says what else came in between.
fn waits(job: &JobInfo, attempts: &[AttemptInfo], replays: &[JobReplay]) -> Vec<Event> {
    let mut waits = Vec::new();
    let first = attempts.first().map(|attempt| attempt.started_at);
    let mut since = Some((job.created_at, before_first(job, first.is_some_and(|at| was_replayed(job, replays, at)))));
    for attempt in attempts {
        if let Some((began, why)) = since
            && attempt.started_at - began >= NOTABLE
        {
            let seconds = (attempt.started_at - began).num_seconds();
            waits.push(Event::new(began, What::Waited, format!("waited {}: {why}", lasting(seconds))));
        }
        let outcome = attempt.outcome.as_deref().and_then(Outcome::parse);
        since = attempt.finished_at.zip(outcome).map(|(at, outcome)| (at, after(outcome, attempt.message.as_deref())));
    }
    waits
}

/// Somebody had it sent again before its first request: it had expired, or was withdrawn. What was refused and published
/// again became a job only then, or was a repeat of one.
fn was_replayed(job: &JobInfo, replays: &[JobReplay], first: Timestamp) -> bool {
    let between = |at| job.created_at < at && at <= first;
    let sent_again = |replay: &&JobReplay| replay.result != "skipped" && !is_retry(replay);
    replays.iter().filter(sent_again).any(|replay| replay.at.is_some_and(between))
}

/// Of a message that was refused: it was no job, so it was chosen for a reason and not in a state.
fn is_retry(replay: &JobReplay) -> bool {
    State::parse(&replay.from).is_none()
}

fn before_first(job: &JobInfo, was_replayed: bool) -> String {
    if was_replayed {
        return "it was not sent, until somebody had it sent again".into();
    }
    let scheduled = if job.not_before.is_some_and(|at| at > job.created_at) { "its not_before, then " } else { "" };
    format!(
        "for {scheduled}its turn: the limiters, a limit of its number, quiet hours, or its account while that was paused"
    )
}

/// What a job waits for after a request that ended so, with these words.
fn after(outcome: Outcome, words: Option<&str>) -> String {
    let wait = match outcome {
        Outcome::Retry => "the backoff before the next try, and its turn",
        Outcome::Resign => "to be signed again",
        Outcome::Tomorrow => "for the next day, because of the number's limit",
        Outcome::Account => "for its account, which was paused",
        Outcome::NotSent => return unsent(words),
        Outcome::Unknown => "until it was to be sent again, although it may have been taken",
        Outcome::Accepted | Outcome::Permanent => "until somebody had it sent again",
    };
    wait.into()
}

/// The gateway could not be reached, or it was too late to send: the attempt says which.
fn unsent(words: Option<&str>) -> String {
    let why = words.filter(|words| !words.is_empty()).map(|words| format!(": {words}")).unwrap_or_default();
    format!("until it could be sent, as the request before had not left{why}")
}

/// `1 h 5 min`: the two largest parts.
pub(super) fn lasting(seconds: i64) -> String {
    let parts = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds.max(0);
    let mut told: Vec<String> = Vec::new();
    for (size, unit) in parts {
        if left >= size && told.len() < 2 {
            told.push(format!("{} {unit}", left / size));
            left %= size;
        }
    }
    if told.is_empty() { "no time".into() } else { told.join(" ") }
}

fn request(attempt: &AttemptInfo) -> Event {
    let sent = format!("request {} by account {}", attempt.attempt, attempt.account);
    let (Some(outcome), Some(finished)) = (&attempt.outcome, attempt.finished_at) else {
        return Event::new(attempt.started_at, What::Request, format!("{sent}: on the wire, no answer recorded"));
    };
    let millis = (finished - attempt.started_at).num_milliseconds();
    let mut told = format!("{sent}: {outcome} after {millis} ms");
    if let Some(effect) = Outcome::parse(outcome).and_then(effect) {
        told += &format!(" ({effect})");
    }
    told += &answer(attempt.code, attempt.message.as_deref());
    Event::new(attempt.started_at, What::Request, told).coded(attempt.code, &attempt.account)
}

/// What an outcome's word does not say by itself.
fn effect(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Accepted | Outcome::Permanent | Outcome::Retry => None,
        Outcome::Resign => Some("signed again with a fresh time"),
        Outcome::Tomorrow => Some("the number's limit for the day"),
        Outcome::Account => Some("the account cannot send; no attempt spent"),
        Outcome::NotSent => Some("it did not leave; no attempt spent"),
        Outcome::Unknown => Some("it may or may not have been taken"),
    }
}

/// The code with its meaning, and the gateway's words where they say something else.
fn answer(code: Option<i64>, message: Option<&str>) -> String {
    let known = code.and_then(codes::meaning);
    let told = code.map(|code| format!("; {}", code_in_words(code))).unwrap_or_default();
    match message {
        Some(words) if !words.is_empty() && known.is_none_or(|(chinese, _)| chinese != words) => {
            told + &format!("; “{words}”")
        }
        _ => told,
    }
}

fn receipt(receipt: &ReceiptInfo) -> Event {
    let said = match receipt.code {
        Some(2) => "delivered, code 2".to_owned(),
        Some(code) => format!("not delivered, code {code}"),
        None => "not delivered, no code".to_owned(),
    };
    let words = receipt.message.as_deref().filter(|words| !words.is_empty());
    let words = words.map(|words| format!("; “{words}”")).unwrap_or_default();
    // Receipts have codes of their own: 2 alone is published, so there is neither meaning nor cure.
    let event = Event::new(receipt.received_at, What::Receipt, format!("receipt of ihuyi: {said}{words}"));
    Event { code: receipt.code, ..event }
}

fn reply(reply: &ReplyInfo) -> Event {
    Event::new(reply.received_at, What::Reply, format!("the person answered: “{}”", reply.content))
}

/// One that has not come to the job yet stands where it began.
fn replay(replay: &JobReplay) -> Event {
    let JobReplay { replay: number, state, actor, via, reason, created_at, from, result, at } = replay;
    let so_far = match (result.as_str(), state.as_str()) {
        _ if is_retry(replay) => format!("its message, refused before as {from}, was published again: {result}"),
        ("pending", "running") => format!("chosen while {from}, its turn has not come"),
        ("pending", "cancelled") => format!("chosen while {from}, not sent again: the replay was cancelled"),
        ("pending", _) => format!("chosen while {from}, not sent again yet: the replay is {state}"),
        ("sent", "cancelled") => "sent again, before the replay was cancelled".into(),
        ("sent", _) => "sent again, no outcome yet".into(),
        ("skipped", _) => format!("not sent again: it was no longer {from} as when it was chosen"),
        (ended, _) => format!("sent again: {ended}"),
    };
    let told = format!("replay {number} by {actor} ({via}){}; {so_far}", quoted(reason.as_deref()));
    Event::new(at.unwrap_or(*created_at), What::Replay, told)
}

fn deed(deed: &Deed) -> Event {
    let Deed { at, actor, via, action, sent, reason } = deed;
    let what = match sent {
        Some(true) => " as sent",
        Some(false) => " as not sent",
        None => "",
    };
    let told = format!("{action}{what} by {actor} ({via}){}", quoted(reason.as_deref()));
    Event::new(*at, What::Operation, told)
}

/// An operator's reason, to stand behind who did it.
fn quoted(reason: Option<&str>) -> String {
    reason.filter(|reason| !reason.is_empty()).map(|reason| format!(": “{reason}”")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_two_largest_parts() {
        for (seconds, told) in [(0, "no time"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h"), (93_784, "1 d 2 h")] {
            assert_eq!(lasting(seconds), told);
        }
    }
}
