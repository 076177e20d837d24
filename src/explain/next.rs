//! What becomes of a job next, and what somebody can do about it.

use serde::Serialize;

use super::event::lasting;
use super::{Cure, Manner, code_in_words, cure};
use crate::domain::job::{Outcome, State, Timestamp, WaitReason};
use crate::domain::privacy::ERASED;
use crate::store::query::{AccountInfo, Ahead, Dossier, JobInfo, JobReplay};

/// What comes next.
#[derive(Clone, Debug, Serialize)]
pub struct Next {
    /// In words: what it waits for and why.
    pub text: String,
    /// When it goes on by itself, where that is known.
    pub until: Option<Timestamp>,
    /// How many jobs go before it, counted up to a million; `None` where it stands in no line.
    pub ahead: Option<i64>,
    /// What to do about the cause.
    pub cure: Option<Cure>,
    /// What an operator can type.
    pub commands: Vec<String>,
}

impl Next {
    fn of(text: impl Into<String>) -> Next {
        Next { text: text.into(), until: None, ahead: None, cure: None, commands: Vec::new() }
    }

    fn command(mut self, command: String) -> Next {
        self.commands.push(command);
        self
    }
}

pub(super) fn next(dossier: &Dossier, manner: &Manner) -> Next {
    let job = &dossier.job;
    let id = argument(&job.id);
    let Some(state) = State::parse(&job.state) else { return Next::of("this version does not know the state") };
    if let Some(open) = open_replay(dossier, state) {
        return replayed(job, open);
    }
    match state {
        State::Waiting => waiting(dossier, manner).command(format!("dispatcher jobs cancel {id}")),
        State::Queued => queued(dossier).command(format!("dispatcher jobs cancel {id}")),
        State::Submitting => submitting(job, manner),
        State::InDoubt => in_doubt(dossier, manner, &id),
        State::Accepted if job.smsid.is_none() => {
            Next::of("nothing: it was resolved as sent without ihuyi's smsid, so no receipt finds it")
        }
        State::Accepted => Next::of("a receipt of ihuyi, where receipts are set up, makes it delivered or undelivered"),
        State::Delivered => Next::of("nothing: it was delivered"),
        State::Undelivered => {
            Next::of("nothing: ihuyi says that it did not arrive; a new job, with a new id, tries again")
        }
        State::Failed | State::Expired | State::Cancelled if is_forgotten(job) => {
            Next::of("nothing: its person was forgotten, so it cannot be sent again")
        }
        State::Failed => failed(dossier),
        State::Expired => Next::of("nothing: its time ran out before it could be sent")
            .command(format!("dispatcher replay --state expired {} --expires-in 1h", option(&job.id))),
        State::Cancelled => Next::of("nothing: it was withdrawn before it was sent")
            .command(format!("dispatcher replay --state cancelled {}", option(&job.id))),
    }
}

/// The replay that is to send the job again, as long as it is where that one chose it.
fn open_replay(dossier: &Dossier, state: State) -> Option<&JobReplay> {
    let open = |replay: &&JobReplay| matches!(replay.state.as_str(), "running" | "paused");
    let chosen = |replay: &&JobReplay| replay.result == "pending" && replay.from == state.as_str();
    dossier.replays.iter().filter(open).find(chosen)
}

fn replayed(job: &JobInfo, JobReplay { replay, state, .. }: &JobReplay) -> Next {
    let (text, steer) = match state.as_str() {
        "paused" => {
            (format!("replay {replay} chose it and is paused: it is sent again once that is resumed"), "resume")
        }
        _ => (format!("replay {replay} chose it and sends it again in its turn"), "pause"),
    };
    Next { cure: cure(job.code, &job.account), ..Next::of(text) }
        .command(format!("dispatcher replay show {replay}"))
        .command(format!("dispatcher replay {steer} {replay}"))
}

fn waiting(dossier: &Dossier, manner: &Manner) -> Next {
    let job = &dossier.job;
    let reason = job.wait_reason.as_deref().and_then(WaitReason::parse);
    // What was to go soon when its account was paused waits for that, too.
    let goes_soon = matches!(reason, Some(WaitReason::RateLimited | WaitReason::Retry | WaitReason::Replay));
    let is_held = goes_soon && dossier.account.as_ref().is_some_and(|account| account.state == "paused");
    let next = match reason {
        _ if manner.rate.is_none() => stranded(&job.account),
        _ if is_held => paused(dossier, manner),
        Some(WaitReason::AccountPaused) => paused(dossier, manner),
        Some(WaitReason::RateLimited) => limited(dossier, manner),
        Some(WaitReason::NumberLimit) => number_limited(dossier, manner),
        reason => Next::of(due(job, reason, manner)),
    };
    let text = match job.expires_at {
        Some(expires) if manner.rate.is_none() => format!("{}; it expires at {}", next.text, (manner.show)(expires)),
        Some(expires) if job.due_at.is_some_and(|due| due > expires) => {
            format!("{}, but it expires before that, at {}", next.text, (manner.show)(expires))
        }
        Some(expires) => format!("{}, unless it expires at {}", next.text, (manner.show)(expires)),
        None => next.text,
    };
    let until = job.due_at.filter(|_| !is_held && manner.rate.is_some());
    Next { text, until, cure: next.cure.or_else(|| cure(job.code, &job.account)), ..next }
}

/// Its account was removed, or has another name now. Whenever it would be due, it could only wait on.
fn stranded(account: &str) -> Next {
    Next::of(format!("account {account} is not in this configuration: put it back and reload, or cancel the job"))
}

/// Waits that end at a known time, with nobody before it.
fn due(job: &JobInfo, reason: Option<WaitReason>, manner: &Manner) -> String {
    let at = at(job, manner);
    let spent = job.attempts - job.attempts_base;
    match reason {
        Some(WaitReason::Scheduled) => format!("it is submitted {at}, its not_before"),
        Some(WaitReason::Retry) => {
            format!("it is submitted again {at}; {spent} of {} attempts are spent", manner.max_attempts)
        }
        Some(WaitReason::QuietHours) => format!("quiet hours; it is submitted {at}"),
        Some(WaitReason::Replay) => format!("an operator replays it; it is submitted {at}"),
        Some(WaitReason::RateLimited | WaitReason::AccountPaused | WaitReason::NumberLimit) | None => {
            format!("it is submitted {at}")
        }
    }
}

fn at(job: &JobInfo, manner: &Manner) -> String {
    job.due_at.map_or_else(|| "in due course".into(), |at| format!("at {}", (manner.show)(at)))
}

fn limited(dossier: &Dossier, manner: &Manner) -> Next {
    let job = &dossier.job;
    match dossier.ahead {
        Some(Ahead::Account(jobs)) => {
            let text = format!("{}; its turn comes about {}", line(job, jobs, manner), at(job, manner));
            Next { ahead: Some(jobs), ..Next::of(text) }.command("dispatcher top".into())
        }
        Some(Ahead::Number(jobs)) => {
            let text = format!("it waits for its number, behind {}; it is submitted {}", count(jobs), at(job, manner));
            Next { ahead: Some(jobs), ..Next::of(text) }
        }
        None => Next::of(format!("its turn at the limiters comes {}", at(job, manner))),
    }
}

/// When its window opens there may be room for some of those that wait for it only.
fn number_limited(dossier: &Dossier, manner: &Manner) -> Next {
    let at = at(&dossier.job, manner);
    match dossier.ahead {
        Some(Ahead::Number(jobs)) if jobs > 0 => {
            let behind = count(jobs);
            let text =
                format!("the number's limit is used up; it is looked at again {at}, behind {behind} that wait for it");
            Next { ahead: Some(jobs), ..Next::of(text) }
        }
        _ => Next { ahead: Some(0), ..Next::of(format!("the number's limit is used up; it is submitted {at}")) },
    }
}

/// The line at its account, and how long that takes.
fn line(job: &JobInfo, jobs: i64, manner: &Manner) -> String {
    let behind = format!("it waits for room in account {}, behind {}", job.account, count(jobs));
    match manner.rate {
        Some(rate) if rate > 0.0 && jobs > 0 => {
            format!("{behind}: about {} at {rate}/s", lasting((jobs as f64 / rate).ceil() as i64))
        }
        _ => behind,
    }
}

fn count(jobs: i64) -> String {
    match jobs {
        0 => "nobody".into(),
        1 => "1 job".into(),
        1_000_000.. => "1000000 jobs or more".into(),
        _ => format!("{jobs} jobs"),
    }
}

fn paused(dossier: &Dossier, manner: &Manner) -> Next {
    let job = &dossier.job;
    let jobs = match dossier.ahead {
        Some(Ahead::Account(jobs)) => Some(jobs),
        _ => None,
    };
    let behind = jobs.map(|jobs| format!("; {}", line(job, jobs, manner))).unwrap_or_default();
    let next = match dossier.account.as_ref().filter(|account| account.state == "paused") {
        Some(account) => paused_account(account, manner),
        None => Next::of(format!("account {} is active again: it is released in its turn", job.account)),
    };
    Next { text: next.text + &behind, ahead: jobs, ..next }
}

fn paused_account(account: &AccountInfo, manner: &Manner) -> Next {
    let AccountInfo { name, reason, paused_at, paused_by, .. } = account;
    let since = paused_at.map(|at| format!(" since {}", (manner.show)(at))).unwrap_or_default();
    let reason = reason.as_deref().unwrap_or("no reason is recorded");
    let resume = format!("dispatcher accounts resume {name}");
    if paused_by.as_deref() == Some("operator") {
        let text = format!("account {name} is paused by an operator{since} (“{reason}”), until an operator resumes it");
        return Next::of(text).command(resume);
    }
    let text = format!("account {name} is paused{since} ({reason}); it resumes by itself once the cause is gone");
    Next { cure: cure(code_in(reason), name), ..Next::of(text) }.command("dispatcher check".into()).command(resume)
}

/// The code that a pause by the gateway names: its reason says `code 4051: …`.
fn code_in(reason: &str) -> Option<i64> {
    let (_, rest) = reason.rsplit_once("code ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `forget` leaves no number.
fn is_forgotten(job: &JobInfo) -> bool {
    job.mobile.is_empty() || job.mobile == ERASED
}

fn queued(dossier: &Dossier) -> Next {
    let last = dossier.attempts.last().filter(|last| last.outcome.as_deref() == Some(Outcome::NotSent.as_str()));
    match last.and_then(|last| last.message.as_deref()) {
        Some(why) => Next::of(format!(
            "its last request did not leave ({why}): it goes again in its turn, which waits while the gateway cannot \
             be reached"
        ))
        .command("dispatcher check".into())
        .command("dispatcher top".into()),
        None => Next::of("it is with RabbitMQ and is submitted when its turn comes").command("dispatcher top".into()),
    }
}

fn submitting(job: &JobInfo, manner: &Manner) -> Next {
    let until = job.claimed_until.map_or_else(|| "its claim runs out".into(), manner.show);
    let otherwise = if job.on_unknown == "resend" { "it is sent again" } else { "it is held as in_doubt" };
    let text = format!("ihuyi's answer decides; if the daemon died meanwhile, {otherwise} after {until}");
    Next { until: job.claimed_until, ..Next::of(text) }
}

fn in_doubt(dossier: &Dossier, manner: &Manner, id: &str) -> Next {
    let request = dossier.attempts.last().map(|last| format!(" of {}", (manner.show)(last.started_at)));
    Next::of(format!(
        "it is held: whether ihuyi took the request{} must be found out, in ihuyi's console or by a receipt; it is \
         not sent again by itself",
        request.unwrap_or_default()
    ))
    .command(format!("dispatcher jobs show --full {id}"))
    .command(format!("dispatcher jobs resolve --sent {id}"))
    .command(format!("dispatcher jobs resolve --not-sent {id}"))
}

fn failed(dossier: &Dossier) -> Next {
    let job = &dossier.job;
    if job.code.is_none() && job.message.as_deref() == Some("suppressed") {
        return Next::of("nothing: its number wants no bulk messages, and no request was made");
    }
    let why = job.code.map(|code| format!("; {}", code_in_words(code))).unwrap_or_default();
    let next = Next { cure: cure(job.code, &job.account), ..Next::of(format!("nothing: it is not sent again{why}")) };
    let replay = format!("dispatcher replay {}", option(&job.id));
    next.command(format!("{replay} --dry-run")).command(replay)
}

/// An id as the last argument of a command.
fn argument(id: &str) -> String {
    if id.starts_with('-') { format!("-- {}", word(id)) } else { word(id) }
}

/// An id as the value of `--id`.
fn option(id: &str) -> String {
    if id.starts_with('-') { format!("--id={}", word(id)) } else { format!("--id {}", word(id)) }
}

/// `text` as one word of a shell.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@%+=,".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_word_of_a_shell() {
        assert_eq!(argument("order-2026/1"), "order-2026/1");
        assert_eq!(argument("a b"), "'a b'");
        assert_eq!(argument("it's; rm -rf ~"), r"'it'\''s; rm -rf ~'");
        assert_eq!(argument("$(id)"), "'$(id)'");
        assert_eq!((argument("-x"), option("-x")), ("-- -x".into(), "--id=-x".into()));
    }

    #[test]
    fn the_code_of_a_pause_is_found_in_its_reason() {
        assert_eq!(code_in("code 4051: no balance left"), Some(4051));
        assert_eq!(code_in("20 numbers in a row refused for good, the last with code 4072: x"), Some(4072));
        assert_eq!(code_in("no code"), None);
        assert_eq!(code_in("by hand"), None);
    }
}
