//! What may be replayed: sent again by an operator, with a fresh budget of attempts.

use std::time::Duration;

use super::job::State;
use super::rate::parse_duration;

/// Jobs a second, where nobody says otherwise. The limits of numbers and accounts hold besides.
pub const RATE: u32 = 100;

/// The most jobs of a canary.
pub const MAX_CANARY: u32 = 100_000;

/// The shortest new expiry.
const MIN_EXPIRY: Duration = Duration::from_secs(1);

/// States whose jobs may be sent again. Those after the first are taken only where they are named:
/// a job in doubt may have been sent, and the others were not wanted any more.
pub const REPLAYABLE: [State; 4] = [State::Failed, State::InDoubt, State::Expired, State::Cancelled];

/// What becomes of each job of a replay, as in `replay_jobs.result`: it has not gone, it has, it had gone elsewhere;
/// then the state that it came to. A refused message, besides, is `sending` while it is published, or `gone` where
/// it was pruned or erased; it comes to be `taken`, as a job that is new or was there already, or `refused` again.
pub const RESULTS: [&str; 14] = [
    "pending",
    "sent",
    "skipped",
    "accepted",
    "delivered",
    "undelivered",
    "failed",
    "expired",
    "cancelled",
    "in_doubt",
    "sending",
    "taken",
    "refused",
    "gone",
];

/// The states to choose from, where `named` were asked for.
///
/// # Errors
/// When one of them can never be replayed, or needs a new expiry (`has_expiry`); in words for a person.
pub fn states(named: &[State], has_expiry: bool) -> Result<Vec<State>, String> {
    if let Some(other) = named.iter().find(|state| !REPLAYABLE.contains(state)) {
        let known: Vec<&str> = REPLAYABLE.iter().map(|state| state.as_str()).collect();
        return Err(format!("jobs that are {other} are never replayed: name {}", known.join(", ")));
    }
    if named.contains(&State::Expired) && !has_expiry {
        return Err("expired jobs need a new expiry: say with `expires_in` how long they are still wanted".into());
    }
    Ok(if named.is_empty() { vec![State::Failed] } else { named.to_vec() })
}

/// A new expiry: so long after a job is sent again.
///
/// # Errors
/// When it is no duration, or none that a job could be sent in; in words for a person.
pub fn expires_in(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        length if length < MIN_EXPIRY => Err(format!("`{text}` leaves no time to send: write 1s or more, such as 2h")),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_expiry_leaves_time_to_send() {
        assert_eq!(expires_in("1s"), Ok(Duration::from_secs(1)));
        assert!(expires_in("0s").is_err() && expires_in("999ms").is_err() && expires_in("soon").is_err());
    }

    #[test]
    fn only_failed_jobs_unless_others_are_named() {
        assert_eq!(states(&[], false), Ok(vec![State::Failed]));
        assert_eq!(states(&[State::InDoubt], false), Ok(vec![State::InDoubt]));
        assert!(states(&[State::Expired], false).is_err() && states(&[State::Expired], true).is_ok());
    }

    #[test]
    fn what_may_have_arrived_or_is_under_way_never() {
        for state in State::ALL.iter().filter(|state| !REPLAYABLE.contains(state)) {
            assert!(states(&[State::Failed, *state], true).is_err(), "{state}");
        }
    }
}
