//! A job's story for people: what it is, what happened in order, what comes next.

use crate::cli::table::clean;
use crate::cli::when;
use crate::domain::codes::meaning;
use crate::domain::job::{Outcome, State, Timestamp, WaitReason};
use crate::domain::receipt::final_state;
use crate::store::query::{AttemptInfo, JobInfo, ReceiptInfo, ReplyInfo};

/// What happened to a job, beside its own row; each list in order.
#[derive(Clone, Copy, Default)]
pub(super) struct Happened<'a> {
    pub attempts: &'a [AttemptInfo],
    pub receipts: &'a [ReceiptInfo],
    pub replies: &'a [ReplyInfo],
}

/// The story of `job`, whose budget is `max_attempts` submissions. Several lines.
pub(super) fn tell(job: &JobInfo, happened: &Happened, max_attempts: u32) -> String {
    let mut lines = vec![format!("{}: {}", job.id, state(job)), String::new()];
    lines.extend(facts(job).into_iter().map(|(name, value)| format!("{name:<9} {}", clean(&value))));
    lines.push(String::new());
    lines.extend(events(job, happened).into_iter().map(|(at, event)| format!("{}  {event}", when::show_exactly(at))));
    lines.push(String::new());
    lines.push(next(job, max_attempts));
    lines.join("\n")
}

fn state(job: &JobInfo) -> String {
    match &job.wait_reason {
        Some(reason) => format!("{} ({reason})", job.state),
        None => job.state.clone(),
    }
}

fn facts(job: &JobInfo) -> Vec<(&'static str, String)> {
    let mut facts = vec![("number", job.mobile.clone())];
    facts.extend(job.content.as_ref().map(|text| ("text", text.clone())));
    if let Some(id) = &job.template_id {
        facts.push(("template", format!("{id}: {}", job.variables.as_deref().unwrap_or_default().join("|"))));
    }
    facts.push(("account", job.account.clone()));
    facts.push(("priority", job.priority.clone()));
    facts.extend(job.not_before.map(|at| ("not before", when::show(at))));
    facts.extend(job.expires_at.map(|at| ("expires", when::show(at))));
    facts.extend(job.smsid.as_ref().map(|smsid| ("smsid", smsid.clone())));
    facts.extend(job.metadata.as_ref().map(|metadata| ("metadata", metadata.get().to_owned())));
    facts.push(("times", format!("UTC{}", when::zone(job.updated_at))));
    facts
}

/// What happened, in order. How long it waited in between is what lies between two times.
fn events(job: &JobInfo, happened: &Happened) -> Vec<(Timestamp, String)> {
    let mut events: Vec<_> = job.published_at.map(|at| (at, "published".to_owned())).into_iter().collect();
    events.push((job.created_at, "received".into()));
    events.extend(happened.attempts.iter().map(|attempt| (attempt.started_at, request(attempt))));
    events.extend(happened.receipts.iter().map(|row| (row.received_at, receipt(row))));
    events.extend(happened.replies.iter().map(|row| (row.received_at, format!("reply: “{}”", clean(&row.content)))));
    events.push((job.updated_at, state(job)));
    events.sort_by_key(|(at, _)| *at);
    events
}

fn request(attempt: &AttemptInfo) -> String {
    let sent = format!("request {} by account {}", attempt.attempt, attempt.account);
    let (Some(outcome), Some(finished)) = (&attempt.outcome, attempt.finished_at) else {
        return format!("{sent}: on the wire, no answer recorded");
    };
    let millis = (finished - attempt.started_at).num_milliseconds();
    let mut told = format!("{sent}: {outcome} after {millis} ms");
    if let Some(effect) = Outcome::parse(outcome).and_then(effect) {
        told += &format!(" ({effect})");
    }
    told + &answer(attempt.code, attempt.message.as_deref())
}

/// Its code says only whether it is 2, so it has no meaning of the gateway's table.
fn receipt(row: &ReceiptInfo) -> String {
    let code = row.code.map_or_else(|| "no code".into(), |code| format!("code {code}"));
    let mut told = format!("receipt: {}; {code}", final_state(row.code));
    if let Some(words) = row.message.as_deref().filter(|words| !words.is_empty()) {
        told += &format!("; “{}”", clean(words));
    }
    match row.reported_at {
        Some(at) => format!("{told}; reported at {}", when::show(at)),
        None => told,
    }
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
    let known = code.and_then(meaning);
    let mut told = String::new();
    if let Some(code) = code {
        told += &match known {
            Some((chinese, english)) => format!("; code {code} {chinese} ({english})"),
            None => format!("; code {code}"),
        };
    }
    match message.map(clean) {
        Some(words) if !words.is_empty() && known.is_none_or(|(chinese, _)| chinese != words) => {
            told + &format!("; “{words}”")
        }
        _ => told,
    }
}

/// What comes next, by itself or by somebody's hand.
fn next(job: &JobInfo, max_attempts: u32) -> String {
    let Some(state) = State::parse(&job.state) else { return "Next: this version does not know the state.".into() };
    let next = match state {
        State::Waiting => waiting(job, max_attempts),
        State::Queued => "it is with RabbitMQ and is submitted when its turn comes".into(),
        State::Submitting => submitting(job),
        State::InDoubt => "held: whether ihuyi took it must be found out, in ihuyi's console or by a receipt; \
             it is not sent again by itself"
            .into(),
        State::Accepted => "a receipt of ihuyi, where receipts are set up, makes it delivered or undelivered".into(),
        State::Delivered | State::Undelivered => "nothing: the receipt is in".into(),
        State::Failed => format!("nothing: it is not sent again{}", answer(job.code, None)),
        State::Expired => "nothing: its time ran out before it could be sent".into(),
        State::Cancelled => "nothing: it was withdrawn before it was sent".into(),
    };
    format!("Next: {next}.")
}

fn waiting(job: &JobInfo, max_attempts: u32) -> String {
    let at = job.due_at.map_or_else(|| "in due course".into(), |at| format!("at {}", when::show(at)));
    let spent = job.attempts - job.attempts_base;
    let told = match job.wait_reason.as_deref().and_then(WaitReason::parse) {
        Some(WaitReason::Scheduled) => format!("it is submitted {at}, its not_before"),
        Some(WaitReason::Retry) => {
            format!("it is submitted again {at}; {spent} of {max_attempts} attempts are spent")
        }
        Some(WaitReason::RateLimited) => format!("its turn at the limiters comes {at}"),
        Some(WaitReason::AccountPaused) => {
            "it waits for its account, whose pause `dispatcher accounts list` explains".into()
        }
        Some(WaitReason::NumberLimit) => format!("the number's daily limit is used up; it is submitted {at}"),
        Some(WaitReason::QuietHours) => format!("quiet hours; it is submitted {at}"),
        Some(WaitReason::Replay) => format!("an operator replays it; it is submitted {at}"),
        None => format!("it is submitted {at}"),
    };
    match job.expires_at {
        Some(expires) => format!("{told}, unless it expires at {}", when::show(expires)),
        None => told,
    }
}

fn submitting(job: &JobInfo) -> String {
    let until = job.claimed_until.map_or_else(|| "its claim runs out".into(), when::show);
    let otherwise = if job.on_unknown == "resend" { "it is sent again" } else { "it is held as in_doubt" };
    format!("ihuyi's answer decides; if the daemon died meanwhile, {otherwise} after {until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        "2026-11-23T08:00:00Z".parse::<Timestamp>().unwrap() + chrono::Duration::milliseconds(millis)
    }

    fn job(state: &str) -> JobInfo {
        JobInfo {
            id: "order-1".into(),
            account: "main".into(),
            mobile: "138****8000".into(),
            priority: "high".into(),
            content: Some("[9 characters]".into()),
            template_id: None,
            variables: None,
            state: state.into(),
            wait_reason: None,
            due_at: None,
            not_before: None,
            expires_at: None,
            on_unknown: "hold".into(),
            attempts: 1,
            attempts_base: 0,
            code: None,
            message: None,
            smsid: None,
            metadata: None,
            claimed_until: None,
            published_at: Some(at(0)),
            created_at: at(4),
            updated_at: at(130),
        }
    }

    fn attempt(outcome: Option<&str>, code: Option<i64>, message: &str) -> AttemptInfo {
        AttemptInfo {
            attempt: 1,
            account: "main".into(),
            outcome: outcome.map(str::to_owned),
            code,
            message: Some(message.into()),
            smsid: None,
            started_at: at(10),
            finished_at: outcome.map(|_| at(130)),
        }
    }

    #[test]
    fn a_retry_is_told_in_order_with_the_codes_meaning() {
        let waiting = JobInfo { wait_reason: Some("retry".into()), due_at: Some(at(2_000)), ..job("waiting") };
        let attempts = [attempt(Some("retry"), Some(4080), "太快")];
        let told = tell(&waiting, &Happened { attempts: &attempts, ..Happened::default() }, 6);
        let positions: Vec<_> = [
            "order-1: waiting (retry)",
            "138****8000",
            "published",
            "received",
            "request 1 by account main: retry after 120 ms; code 4080 同一手机号码",
            "(the same number more than once in the same second); “太快”",
            "Next: it is submitted again at ",
            "1 of 6 attempts are spent.",
        ]
        .iter()
        .map(|part| told.find(part).unwrap_or_else(|| panic!("no `{part}` in\n{told}")))
        .collect();
        assert!(positions.is_sorted(), "{told}");
    }

    #[test]
    fn the_gateways_words_are_not_repeated() {
        let told = request(&attempt(Some("accepted"), Some(2), "提交成功"));
        assert_eq!(told, "request 1 by account main: accepted after 120 ms; code 2 提交成功 (accepted)");
        let unknown = request(&attempt(Some("unknown"), None, "timed out\x1b[2J"));
        assert!(unknown.ends_with("(it may or may not have been taken); “timed out\u{fffd}[2J”"), "{unknown}");
    }

    #[test]
    fn every_state_and_reason_has_a_next_step() {
        for state in State::ALL {
            let told = next(&job(state.as_str()), 6);
            assert!(told.starts_with("Next: ") && told.ends_with('.'), "{told}");
        }
        for reason in WaitReason::ALL {
            let job = JobInfo { wait_reason: Some(reason.as_str().into()), due_at: Some(at(0)), ..job("waiting") };
            assert!(!next(&job, 6).contains("in due course"), "{reason}");
        }
        assert!(request(&attempt(None, None, "")).contains("on the wire"));
    }

    #[test]
    fn receipts_and_replies_are_told() {
        let receipts = [ReceiptInfo {
            id: 1,
            smsid: "77".into(),
            mobile: None,
            code: Some(405),
            message: Some("空号".into()),
            reported_at: Some(at(200)),
            received_at: at(300),
            job_id: Some("order-1".into()),
        }];
        let replies = [ReplyInfo {
            id: 1,
            mobile: "138****8000".into(),
            content: "[2 characters]".into(),
            smsid: None,
            replied_at: None,
            received_at: at(400),
            job_id: Some("order-1".into()),
        }];
        let told = tell(&job("undelivered"), &Happened { receipts: &receipts, replies: &replies, attempts: &[] }, 6);
        assert!(told.contains("receipt: undelivered; code 405; “空号”; reported at "), "{told}");
        assert!(told.find("reply: “[2 characters]”") > told.find("receipt: "), "{told}");
    }

    #[test]
    fn a_failure_says_why() {
        let failed = JobInfo { code: Some(4030), ..job("failed") };
        assert!(next(&failed, 6).contains("4030 手机号码已被列入黑名单 (the number is on the blacklist)"));
    }
}
