//! What becomes of a job after an attempt: one total function, with time and jitter as arguments.

use std::time::Duration;

use super::codes::SAME_SECOND;
use super::job::{OnUnknown, Outcome, State, Timestamp, WaitReason};
use super::retry::{RetryPolicy, after_next_midnight};
use super::verdict::{Answer, Reply};

/// What the decision needs to know of the job.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Attempts of this budget, the present one included.
    pub attempts: u32,
    /// Requests of all kinds, the present one included: paces those that spend no attempt.
    pub requests: u32,
    /// The attempt before this one was answered `resign` as well.
    pub resigned_before: bool,
    /// Hold or resend.
    pub on_unknown: OnUnknown,
}

/// What is to be recorded, and what to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// `attempts.outcome`.
    pub outcome: Outcome,
    /// What becomes of the job.
    pub next: Next,
    /// Whether the attempt counts; `account` and `not_sent` give it back.
    pub spent: bool,
}

/// Where the job goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// ihuyi took it.
    Accepted,
    /// It will not be sent.
    Failed,
    /// It cannot be known.
    InDoubt,
    /// Later.
    Wait {
        /// Why.
        reason: WaitReason,
        /// When; `None` while the account is paused.
        due_at: Option<Timestamp>,
    },
    /// Sign again with a fresh time and submit at once, past the mobile's bucket. Until that
    /// attempt is claimed the job waits, due at `due_at`, so that a crash in between loses nothing.
    Again {
        /// When the release duty may take it up, should this process die.
        due_at: Timestamp,
    },
}

impl Next {
    /// The state that the job is recorded in.
    pub fn state(&self) -> State {
        match self {
            Next::Accepted => State::Accepted,
            Next::Failed => State::Failed,
            Next::InDoubt => State::InDoubt,
            Next::Wait { .. } | Next::Again { .. } => State::Waiting,
        }
    }
}

/// A job that is to be resubmitted at once is due again after this long if its process dies.
const AGAIN_GRACE: chrono::Duration = chrono::Duration::seconds(5);

/// Decides on the answer to an attempt. `jitter` is 0.0 to 1.0.
pub fn decide(
    facts: Facts,
    outcome: Outcome,
    reply: &Reply,
    retry: &RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Decision {
    // A second expired password in a row is no matter of time any more: the clock or the key is wrong.
    let outcome = if outcome == Outcome::Resign && facts.resigned_before { Outcome::Account } else { outcome };
    let (next, spent) = match outcome {
        Outcome::Accepted => (Next::Accepted, true),
        Outcome::Permanent => (Next::Failed, true),
        Outcome::Retry => (retry_or_fail(facts, reply, retry, now, jitter), true),
        Outcome::Resign if retry.is_exhausted(facts.attempts) => (Next::Failed, true),
        Outcome::Resign => (Next::Again { due_at: now + AGAIN_GRACE }, true),
        Outcome::Tomorrow => {
            (Next::Wait { reason: WaitReason::NumberLimit, due_at: Some(after_next_midnight(now, jitter)) }, true)
        }
        Outcome::Account => (Next::Wait { reason: WaitReason::AccountPaused, due_at: None }, false),
        Outcome::NotSent => {
            let due_at = Some(now + retry.backoff(facts.requests.saturating_sub(facts.attempts) + 1, jitter));
            (Next::Wait { reason: WaitReason::Retry, due_at }, false)
        }
        Outcome::Unknown => match facts.on_unknown {
            OnUnknown::Hold => (Next::InDoubt, true),
            OnUnknown::Resend => (retry_or_fail(facts, reply, retry, now, jitter), true),
        },
    };
    Decision { outcome, next, spent }
}

fn retry_or_fail(facts: Facts, reply: &Reply, retry: &RetryPolicy, now: Timestamp, jitter: f64) -> Next {
    if retry.is_exhausted(facts.attempts) {
        return Next::Failed;
    }
    let mut wait = retry.backoff(facts.attempts, jitter);
    if matches!(reply, Reply::Answer(Answer { code: SAME_SECOND, .. })) {
        wait = wait.max(Duration::from_secs(1));
    }
    Next::Wait { reason: WaitReason::Retry, due_at: Some(now + wait) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Facts = Facts { attempts: 1, requests: 1, resigned_before: false, on_unknown: OnUnknown::Hold };

    fn now() -> Timestamp {
        "2026-11-23T08:00:00Z".parse().unwrap()
    }

    fn answer(code: i64) -> Reply {
        Reply::Answer(Answer { code, message: String::new(), smsid: None })
    }

    fn decided(facts: Facts, outcome: Outcome) -> Decision {
        let retry = RetryPolicy::new(3, Duration::from_millis(200), Duration::from_secs(10));
        let code = if outcome == Outcome::Retry { SAME_SECOND } else { 0 };
        decide(facts, outcome, &answer(code), &retry, now(), 0.0)
    }

    #[test]
    fn each_outcome_has_its_effect() {
        assert_eq!(decided(FIRST, Outcome::Accepted).next, Next::Accepted);
        assert_eq!(decided(FIRST, Outcome::Permanent).next, Next::Failed);
        assert_eq!(decided(FIRST, Outcome::Unknown).next, Next::InDoubt);
        let tomorrow = Some("2026-11-23T16:01:00Z".parse().unwrap());
        assert_eq!(
            decided(FIRST, Outcome::Tomorrow).next,
            Next::Wait { reason: WaitReason::NumberLimit, due_at: tomorrow }
        );
        let account = decided(FIRST, Outcome::Account);
        assert_eq!(account.next, Next::Wait { reason: WaitReason::AccountPaused, due_at: None });
        assert!(!account.spent && !decided(FIRST, Outcome::NotSent).spent && decided(FIRST, Outcome::Retry).spent);
    }

    #[test]
    fn the_same_second_waits_at_least_one() {
        let due_at = Some(now() + Duration::from_secs(1));
        assert_eq!(decided(FIRST, Outcome::Retry).next, Next::Wait { reason: WaitReason::Retry, due_at });
    }

    #[test]
    fn attempts_are_used_up() {
        for outcome in [Outcome::Retry, Outcome::Resign] {
            assert_eq!(decided(Facts { attempts: 3, ..FIRST }, outcome).next, Next::Failed);
            assert_ne!(decided(Facts { attempts: 2, ..FIRST }, outcome).next, Next::Failed);
        }
        let resend = Facts { on_unknown: OnUnknown::Resend, ..FIRST };
        assert_eq!(decided(resend, Outcome::Unknown).next.state(), State::Waiting);
        assert_eq!(decided(Facts { attempts: 3, ..resend }, Outcome::Unknown).next, Next::Failed);
        assert_eq!(decided(Facts { attempts: 3, ..FIRST }, Outcome::Unknown).next, Next::InDoubt);
    }

    #[test]
    fn a_second_resign_in_a_row_is_the_accounts() {
        let again = decided(FIRST, Outcome::Resign);
        assert!(matches!(again.next, Next::Again { .. }) && again.spent);
        let second = decided(Facts { attempts: 2, requests: 2, resigned_before: true, ..FIRST }, Outcome::Resign);
        assert_eq!((second.outcome, second.spent), (Outcome::Account, false));
    }

    #[test]
    fn what_did_not_leave_waits_longer_each_time_and_never_fails() {
        let waits: Vec<_> = (1..=8)
            .map(|requests| match decided(Facts { requests, ..FIRST }, Outcome::NotSent).next {
                Next::Wait { due_at: Some(at), .. } => (at - now()).num_milliseconds(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }
}
