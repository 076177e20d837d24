//! Rates (`100/s`) and durations (`10s`) as they are written in the configuration.

use std::fmt;
use std::time::Duration;

/// So many a second, minute, hour or day: 1 to 1,000,000 for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
        })
    }
}

impl Rate {
    /// Parses `N/s`, `N/m`, `N/h` or `N/d`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no rate: write a whole number and a unit, such as 100/s, 30/m, 20/h or 5/d");
        let (count, unit) = text.trim().split_once('/').ok_or_else(bad)?;
        let count: u32 = count.trim().parse().map_err(|_| bad())?;
        let unit = match unit.trim() {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            _ => return Err(bad()),
        };
        if !(1..=1_000_000).contains(&count) {
            return Err(format!("`{text}` is out of range: a rate is 1 to 1000000 for a unit"));
        }
        Ok(Rate { count, unit })
    }

    /// `count` a second.
    pub fn per_second(count: u32) -> Self {
        Rate { count: count.clamp(1, 1_000_000), unit: Unit::Second }
    }

    /// So many a unit.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The unit's length: a second, a minute, an hour or a day.
    pub fn window(self) -> Duration {
        self.unit.length()
    }

    /// The time between two tokens.
    pub fn period(self) -> Duration {
        self.unit.length() / self.count
    }

    /// Tokens a second.
    pub fn each_second(self) -> f64 {
        f64::from(self.count) / self.unit.length().as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => "s",
            Unit::Minute => "m",
            Unit::Hour => "h",
            Unit::Day => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// Parses `500ms`, `10s`, `2m`, `1h` or `90d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration: write a whole number and a unit, such as 500ms, 10s, 2m, 1h or 90d");
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number
        .checked_mul(millis)
        .filter(|ms| *ms <= 100 * 365 * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is out of range: at most 100 years"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_period() {
        assert_eq!(Rate::parse("100/s").unwrap().period(), Duration::from_millis(10));
        assert_eq!(Rate::parse("30/m").unwrap().period(), Duration::from_secs(2));
        assert_eq!(Rate::parse("1/h").unwrap().period(), Duration::from_secs(3_600));
        assert_eq!(Rate::parse(" 5 / d ").unwrap().to_string(), "5/d");
        for bad in ["", "100", "/s", "0/s", "1.5/s", "-1/s", "1/w", "1000001/s", "1/S"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s ", "1w", "99999999999999999d", "40000d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
