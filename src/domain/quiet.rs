//! Quiet hours: times of the day, in Asia/Shanghai, at which nothing of a priority is submitted.

use std::fmt;

use super::job::{Priority, Timestamp};

/// Asia/Shanghai is UTC+8, without daylight saving since 1991.
const EAST: i64 = 8 * 3_600;
const DAY: i64 = 86_400;

/// From one time of the day until another, perhaps over midnight. One that exists is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Minutes after midnight, 0 to 1439: the first quiet one.
    from: u16,
    /// Minutes after midnight, 1 to 1440: the first that is not quiet any more.
    to: u16,
}

impl Quiet {
    /// Parses `21:00-08:00`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no time of the day: write two with a dash between them, such as 21:00-08:00");
        let (from, to) = text.split_once('-').ok_or_else(bad)?;
        let (from, to) = (minutes(from.trim()).ok_or_else(bad)?, minutes(to.trim()).ok_or_else(bad)?);
        let quiet = Quiet { from: from % 1_440, to: if to == 0 { 1_440 } else { to } };
        if quiet.from == quiet.to || (quiet.from == 0 && quiet.to == 1_440) {
            return Err(format!("`{text}` leaves no time or takes all of it: let it begin and end at different times"));
        }
        Ok(quiet)
    }

    /// When the quiet time ends that `now` is in, if it is in one.
    pub fn ends(self, now: Timestamp) -> Option<Timestamp> {
        let local = now.timestamp() + EAST;
        let (midnight, second) = (local - local.rem_euclid(DAY), local.rem_euclid(DAY));
        let (from, to) = (i64::from(self.from) * 60, i64::from(self.to) * 60);
        let ends = match (from < to, second >= from, second < to) {
            (true, true, true) | (false, false, true) => midnight + to,
            (false, true, _) => midnight + DAY + to,
            _ => return None,
        };
        Timestamp::from_timestamp(ends - EAST, 0)
    }
}

/// `21:00`, up to `24:00`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?;
    let (hours, minutes): (u16, u16) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60 || hours == 24 && minutes == 0).then_some(hours * 60 + minutes)
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, "{}-{}", clock(self.from), clock(self.to))
    }
}

/// The quiet hours of each priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuietHours([Option<Quiet>; 3]);

impl QuietHours {
    /// In the order of [`Priority::ALL`].
    pub fn new(high: Option<Quiet>, normal: Option<Quiet>, bulk: Option<Quiet>) -> Self {
        QuietHours([high, normal, bulk])
    }

    /// Those of `priority`, where it has any.
    pub fn of(&self, priority: Priority) -> Option<Quiet> {
        self.0[priority.index()]
    }

    /// Until when nothing of `priority` is submitted; `None` where it may be, now.
    pub fn ends(&self, priority: Priority, now: Timestamp) -> Option<Timestamp> {
        self.of(priority)?.ends(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ends(quiet: &str, now: &str) -> Option<Timestamp> {
        Quiet::parse(quiet).unwrap().ends(at(now))
    }

    #[test]
    fn a_night_ends_in_the_morning() {
        let morning = Some(at("2026-11-24T08:00:00+08:00"));
        for quiet in ["2026-11-23T21:00:00+08:00", "2026-11-23T23:59:59.999+08:00", "2026-11-24T00:00:00+08:00"] {
            assert_eq!(ends("21:00-08:00", quiet), morning, "{quiet}");
        }
        assert_eq!(ends("21:00-08:00", "2026-11-24T07:59:59.999+08:00"), morning);
        for loud in ["2026-11-24T08:00:00+08:00", "2026-11-24T20:59:59.999+08:00", "2026-11-24T12:00:00+08:00"] {
            assert_eq!(ends("21:00-08:00", loud), None, "{loud}");
        }
    }

    #[test]
    fn a_noon_stays_within_its_day() {
        let end = Some(at("2026-12-31T14:30:00+08:00"));
        assert_eq!(ends("12:00-14:30", "2026-12-31T12:00:00+08:00"), end);
        assert_eq!(ends("12:00-14:30", "2026-12-31T14:29:59+08:00"), end);
        assert_eq!(ends("12:00-14:30", "2026-12-31T14:30:00+08:00"), None);
        assert_eq!(ends("12:00-14:30", "2026-12-31T11:59:59+08:00"), None);
    }

    #[test]
    fn it_may_end_or_begin_at_midnight() {
        let midnight = Some(at("2027-01-01T00:00:00+08:00"));
        for quiet in ["21:00-24:00", "21:00-00:00"] {
            assert_eq!(ends(quiet, "2026-12-31T23:30:00+08:00"), midnight, "{quiet}");
            assert_eq!(ends(quiet, "2027-01-01T00:00:00+08:00"), None, "{quiet}");
        }
        assert_eq!(ends("24:00-06:00", "2027-01-01T00:00:00+08:00"), Some(at("2027-01-01T06:00:00+08:00")));
        assert_eq!(ends("00:00-06:00", "2026-12-31T23:59:59+08:00"), None);
    }

    #[test]
    fn only_times_of_the_day_are_taken() {
        for bad in [
            "",
            "21:00",
            "21-08",
            "9:00-10:00",
            "21:00-24:01",
            "25:00-08:00",
            "21:60-08:00",
            "08:00-08:00",
            "00:00-24:00",
            "00:00-00:00",
            "21:00 to 08:00",
            "+1:00-08:00",
        ] {
            assert!(Quiet::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Quiet::parse(" 21:00 - 08:00 ").unwrap().to_string(), "21:00-08:00");
    }

    #[test]
    fn each_priority_has_its_own() {
        let hours = QuietHours::new(None, None, Some(Quiet::parse("21:00-08:00").unwrap()));
        let night = at("2026-11-23T22:00:00+08:00");
        assert!(hours.ends(Priority::Bulk, night).is_some() && hours.ends(Priority::High, night).is_none());
    }
}
