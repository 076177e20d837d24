//! When to try again. What a reply *means* is apart from this (`codes`, `verdict`).

use std::time::Duration;

use chrono::{Days, FixedOffset, NaiveTime, TimeZone, Utc};

use super::job::Timestamp;

/// Exponential backoff with jitter. A policy that exists is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    initial: Duration,
    max: Duration,
}

impl RetryPolicy {
    /// `max_attempts` ≥ 1; `initial` ≤ `max`.
    pub fn new(max_attempts: u32, initial: Duration, max: Duration) -> Self {
        RetryPolicy { max_attempts: max_attempts.max(1), initial, max: max.max(initial) }
    }

    /// True when `attempts` of this budget are used up.
    pub fn is_exhausted(&self, attempts: u32) -> bool {
        attempts >= self.max_attempts
    }

    /// The wait after the `attempt`-th try (from 1): `initial · 2^(attempt-1)`, at most `max`, of
    /// which `jitter` (0.0 to 1.0) takes away up to a half, so that jobs that failed together do
    /// not come back together.
    pub fn backoff(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// ihuyi counts days in Asia/Shanghai: UTC+8, without daylight saving since 1991.
const SHANGHAI_SECONDS_EAST: i32 = 8 * 3_600;
/// Nobody publishes how exact ihuyi's midnight is: stay clear of it by this much.
const MIDNIGHT_MARGIN: Duration = Duration::from_secs(60);
/// What parked over midnight is spread over this long, so that it does not come all at once.
const MIDNIGHT_SPREAD: Duration = Duration::from_secs(600);

/// Just after the next midnight in Asia/Shanghai, spread by `jitter` (0.0 to 1.0) over ten minutes.
pub fn after_next_midnight(now: Timestamp, jitter: f64) -> Timestamp {
    let wait = MIDNIGHT_MARGIN + MIDNIGHT_SPREAD.mul_f64(jitter.clamp(0.0, 1.0));
    let midnight = FixedOffset::east_opt(SHANGHAI_SECONDS_EAST).and_then(|shanghai| {
        let tomorrow = now.with_timezone(&shanghai).date_naive().checked_add_days(Days::new(1))?;
        shanghai.from_local_datetime(&tomorrow.and_time(NaiveTime::MIN)).single()
    });
    // The calendar ends in the year 262142; until then `midnight` is always there.
    midnight.map_or(now + chrono::Duration::days(1), |at| at.with_timezone(&Utc)) + wait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_backoff_doubles_up_to_its_limit() {
        let policy = RetryPolicy::new(6, Duration::from_secs(2), Duration::from_secs(600));
        let waits: Vec<u64> = (1..=11).map(|n| policy.backoff(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(policy.backoff(3, 1.0), Duration::from_secs(4));
        assert_eq!(policy.backoff(u32::MAX, 0.0), Duration::from_secs(600));
        assert!(!policy.is_exhausted(5) && policy.is_exhausted(6));
    }

    #[test]
    fn midnight_is_shanghais() {
        assert_eq!(after_next_midnight(at("2026-11-23T15:59:59Z"), 0.0), at("2026-11-23T16:01:00Z"));
        assert_eq!(after_next_midnight(at("2026-11-23T16:00:00Z"), 0.0), at("2026-11-24T16:01:00Z"));
        assert_eq!(after_next_midnight(at("2026-12-31T03:00:00Z"), 1.0), at("2026-12-31T16:11:00Z"));
    }
}
