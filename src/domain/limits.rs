//! Limits of one number over long windows, which Postgres counts: they hold across restarts and
//! replicas. Those over shorter ones are the pacer's, in memory.

use std::time::Duration;

use super::rate::Rate;

/// Windows of this length and more are counted by Postgres.
const LONG: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// What one number may get over long windows, whatever the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumberLimits {
    /// So many in any window of this length.
    pub sliding: Option<Sliding>,
    /// So many in a calendar day of Asia/Shanghai: 1 to 1,000,000.
    pub daily: Option<u32>,
}

/// A limit over a window that slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// So many: 1 to 1,000,000.
    pub most: u32,
    /// The window's length: an hour by configuration.
    pub window: Duration,
}

impl NumberLimits {
    /// True where nothing is to be counted.
    pub fn is_empty(&self) -> bool {
        self.sliding.is_none() && self.daily.is_none()
    }

    /// The longest window: what is sent must be remembered for so long.
    pub fn memory(&self) -> Duration {
        let sliding = self.sliding.map_or(Duration::ZERO, |sliding| sliding.window);
        if self.daily.is_some() { sliding.max(DAY) } else { sliding }
    }

    /// Parts `rates` into the strictest over less than an hour, which is the pacer's (with one burst
    /// for all, the longest period implies the others), and the strictest of each longer window.
    pub fn split(rates: &[Rate]) -> (Option<Rate>, NumberLimits) {
        let (long, short): (Vec<Rate>, Vec<Rate>) = rates.iter().partition(|rate| rate.window() >= LONG);
        let strictest =
            |day: bool| long.iter().filter(|rate| (rate.window() >= DAY) == day).map(|rate| rate.count()).min();
        let sliding = strictest(false).map(|most| Sliding { most, window: LONG });
        let limits = NumberLimits { sliding, daily: strictest(true) };
        (short.into_iter().max_by_key(|rate| rate.period()), limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rates: &[&str]) -> (Option<String>, Option<u32>, Option<u32>) {
        let rates: Vec<Rate> = rates.iter().map(|rate| Rate::parse(rate).unwrap()).collect();
        let (short, limits) = NumberLimits::split(&rates);
        (short.map(|rate| rate.to_string()), limits.sliding.map(|sliding| sliding.most), limits.daily)
    }

    #[test]
    fn the_strictest_of_each_kind_counts() {
        assert_eq!(split(&["1/s", "3/h", "10/d"]), (Some("1/s".into()), Some(3), Some(10)));
        assert_eq!(split(&["20/m", "1/s", "30/m"]), (Some("20/m".into()), None, None));
        assert_eq!(split(&["10/d", "5/d", "7/h", "4/h"]), (None, Some(4), Some(5)));
        assert_eq!(split(&[]), (None, None, None));
    }

    #[test]
    fn what_is_sent_must_be_remembered_for_the_longest_window() {
        let memory = |rate: &str| NumberLimits::split(&[Rate::parse(rate).unwrap()]).1.memory();
        assert_eq!([memory("5/s"), memory("5/h"), memory("5/d")], [Duration::ZERO, LONG, DAY]);
    }
}
