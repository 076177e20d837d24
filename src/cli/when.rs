//! Times as people write and read them.

use chrono::{DateTime, Local, NaiveDate, TimeZone, Utc};

use crate::domain::job::Timestamp;
use crate::domain::rate::parse_duration;

/// A flag's value: RFC 3339, a day in this machine's time zone, or how long ago.
///
/// # Errors
/// When it is none of them; the words are clap's to print.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.with_timezone(&Utc));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        let midnight = day.and_hms_opt(0, 0, 0).and_then(|midnight| Local.from_local_datetime(&midnight).earliest());
        return midnight.map(|time| time.with_timezone(&Utc)).ok_or_else(|| format!("{text} has no midnight here"));
    }
    let ago = parse_duration(text).ok().and_then(|ago| chrono::Duration::from_std(ago).ok());
    ago.and_then(|ago| Utc::now().checked_sub_signed(ago))
        .ok_or_else(|| "write 2026-11-11T09:30:00+08:00, a day like 2026-11-11, or how long ago: 30m, 2h, 7d".into())
}

/// In this machine's time zone, to the second.
pub(super) fn show(at: Timestamp) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// In this machine's time zone, to the millisecond.
pub(super) fn show_exactly(at: Timestamp) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The offset of this machine's time zone, such as `+08:00`, where times are shown without it.
pub(super) fn zone(at: Timestamp) -> String {
    at.with_timezone(&Local).format("%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_ways() {
        assert_eq!(parse("2026-11-11T09:30:00+08:00").unwrap().to_rfc3339(), "2026-11-11T01:30:00+00:00");
        assert_eq!(show(parse("2026-11-11").unwrap()), "2026-11-11 00:00:00");
        let hours = (Utc::now() - parse("2h").unwrap()).num_minutes();
        assert!((119..=121).contains(&hours), "{hours}");
        for bad in ["", "yesterday", "2026-11-31", "11:30", "2026-11-11T09:30:00", "-2h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
