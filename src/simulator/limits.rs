//! How often a number may be written to: per second, per day, in all.

use std::collections::HashMap;
use std::time::Duration;

use super::options::Rules;

/// Asia/Shanghai has been UTC+8 without daylight saving since 1991.
const SHANGHAI_OFFSET: u64 = 8 * 3600;

/// What was accepted for each number, as far as a limit still looks at it.
#[derive(Debug, Default)]
pub struct Limits {
    /// Accept times of the last second or two.
    recent: HashMap<u64, Vec<Duration>>,
    /// The second that `recent` was last pruned in.
    pruned: u64,
    /// Accepted today, all and verification codes.
    today: HashMap<u64, [u32; 2]>,
    /// The day that `today` counts.
    day: u64,
    /// Accepted in all.
    total: HashMap<u64, u32>,
}

impl Limits {
    /// The first limit that one more message to `mobile` would break, as its code. `now` is the time since
    /// the Unix epoch.
    pub fn check(&mut self, mobile: u64, verification: bool, rules: &Rules, now: Duration) -> Result<(), i64> {
        self.forget_the_past(now);
        let recent = self
            .recent
            .get(&mobile)
            .map_or(0, |times| times.iter().filter(|time| is_same_second(**time, now, rules.rolling_second)).count());
        let [messages, codes] = self.today.get(&mobile).copied().unwrap_or_default();
        let total = self.total.get(&mobile).copied().unwrap_or_default();
        if reached(recent as u32, rules.per_second) {
            Err(4080)
        } else if reached(messages, rules.per_day) {
            Err(4082)
        } else if verification && reached(codes, rules.codes_per_day) {
            Err(4085)
        } else if reached(total, rules.abuse_after) {
            Err(408)
        } else {
            Ok(())
        }
    }

    /// Counts an accepted message; limits that are off keep no memory.
    pub fn record(&mut self, mobile: u64, verification: bool, rules: &Rules, now: Duration) {
        if rules.per_second > 0 {
            self.recent.entry(mobile).or_default().push(now);
        }
        if rules.per_day > 0 || rules.codes_per_day > 0 {
            let [messages, codes] = self.today.entry(mobile).or_default();
            *messages += 1;
            *codes += u32::from(verification);
        }
        if rules.abuse_after > 0 {
            *self.total.entry(mobile).or_default() += 1;
        }
    }

    /// Lifts the blacklisting of 408, as the customer would in ihuyi's console.
    pub fn lift(&mut self, mobile: u64) {
        self.total.remove(&mobile);
    }

    fn forget_the_past(&mut self, now: Duration) {
        if now.as_secs() != self.pruned {
            self.pruned = now.as_secs();
            self.recent.retain(|_, times| {
                times.retain(|time| now.saturating_sub(*time) < Duration::from_secs(1));
                !times.is_empty()
            });
        }
        let day = (now.as_secs() + SHANGHAI_OFFSET) / 86_400;
        if day != self.day {
            self.day = day;
            self.today.clear();
        }
    }
}

fn reached(count: u32, limit: u32) -> bool {
    limit > 0 && count >= limit
}

fn is_same_second(then: Duration, now: Duration, rolling: bool) -> bool {
    if rolling { now.saturating_sub(then) < Duration::from_secs(1) } else { then.as_secs() == now.as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOBILE: u64 = 13_800_138_000;

    fn send(limits: &mut Limits, rules: &Rules, now: f64, verification: bool) -> Result<(), i64> {
        let now = Duration::from_secs_f64(now);
        limits.check(MOBILE, verification, rules, now)?;
        limits.record(MOBILE, verification, rules, now);
        Ok(())
    }

    #[test]
    fn a_second_is_one_of_the_clock_or_a_rolling_one() {
        let (mut limits, rules) = (Limits::default(), Rules::default());
        assert_eq!(send(&mut limits, &rules, 100.9, false), Ok(()));
        assert_eq!(send(&mut limits, &rules, 100.99, false), Err(4080));
        assert_eq!(send(&mut limits, &rules, 101.0, false), Ok(()));

        let (mut limits, rules) = (Limits::default(), Rules { rolling_second: true, ..Rules::default() });
        assert_eq!(send(&mut limits, &rules, 100.9, false), Ok(()));
        assert_eq!(send(&mut limits, &rules, 101.8, false), Err(4080));
        assert_eq!(send(&mut limits, &rules, 101.95, false), Ok(()));
    }

    #[test]
    fn a_day_ends_at_midnight_in_shanghai() {
        let rules = Rules { per_second: 0, per_day: 2, ..Rules::default() };
        let mut limits = Limits::default();
        // 2026-11-23 15:59:58 UTC is 23:59:58 in Shanghai.
        let before_midnight = 1_795_449_598.0;
        assert_eq!(send(&mut limits, &rules, before_midnight - 60_000.0, false), Ok(()));
        assert_eq!(send(&mut limits, &rules, before_midnight, false), Ok(()));
        assert_eq!(send(&mut limits, &rules, before_midnight + 1.0, false), Err(4082));
        assert_eq!(send(&mut limits, &rules, before_midnight + 2.0, false), Ok(()));
    }

    #[test]
    fn verification_codes_are_counted_apart_and_abuse_for_good() {
        let rules = Rules { per_second: 0, codes_per_day: 1, abuse_after: 3, ..Rules::default() };
        let mut limits = Limits::default();
        assert_eq!(send(&mut limits, &rules, 1.0, true), Ok(()));
        assert_eq!(send(&mut limits, &rules, 1.0, true), Err(4085));
        assert_eq!(send(&mut limits, &rules, 1.0, false), Ok(()));
        assert_eq!(send(&mut limits, &rules, 200_000.0, true), Ok(()));
        assert_eq!(send(&mut limits, &rules, 400_000.0, true), Err(408));
        limits.lift(MOBILE);
        assert_eq!(send(&mut limits, &rules, 400_000.0, true), Ok(()));
    }
}
