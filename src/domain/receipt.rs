//! Receipts: ihuyi's word on whether a message was delivered, and to which message it belongs.
//! Facts: the vendor's interface PDF v3.3 and newer pages; what they leave open is read leniently.

use std::time::Duration;

use chrono::{FixedOffset, NaiveDateTime, TimeZone, Utc};

use super::fields::{BadField, Fields, digest};
use super::job::{State, Timestamp};
use super::mobile::Mobile;

/// When a receipt without a job is looked at again, each time after the one before. It may have come
/// before the answer to its Submit was recorded (a second), or before a doubt was declared (the claim
/// of a process that died runs out within `gateway.timeout` + 60 s). Then no more, so that a flood of
/// unknown ids costs a bounded number of looks.
pub const LOOKS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// How far ihuyi's clock and ours may be apart: an smsid has whole seconds of its clock.
pub const DRIFT: Duration = Duration::from_secs(5);

/// The longest smsid taken, in bytes. ihuyi's have 8 to 20 digits; Postgres indexes it.
const SMSID_MAX: usize = 64;
/// Characters of a number that is kept as pushed.
const MOBILE_MAX: usize = 32;
/// The code of a message that was delivered.
const DELIVERED: i64 = 2;
/// `report_time` has no offset: Asia/Shanghai, UTC+8 without daylight saving since 1991.
const SHANGHAI: i32 = 8 * 3_600;

/// A receipt as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// ihuyi's id of the message.
    pub smsid: String,
    /// Eleven digits where it is a mainland number, else as pushed.
    pub mobile: Option<String>,
    /// 2: delivered. `None` where what was pushed is no number.
    pub code: Option<i64>,
    /// ihuyi's words.
    pub message: Option<String>,
    /// ihuyi's time of the report, if it can be read.
    pub reported_at: Option<Timestamp>,
    /// MD5 of all fields: a repeat is recognised by it.
    pub digest: [u8; 16],
}

impl Receipt {
    /// Reads a push: `code`, `msg`, `mobilephone`, `smsid`, `report_time`.
    ///
    /// # Errors
    /// Without an smsid: it could belong to nothing.
    pub fn read(fields: &Fields) -> Result<Self, BadField> {
        let smsid = fields.get("smsid").ok_or(BadField { name: "smsid", problem: "is missing" })?;
        if smsid.len() > SMSID_MAX {
            return Err(BadField { name: "smsid", problem: "is too long" });
        }
        Ok(Receipt {
            smsid: smsid.to_owned(),
            mobile: fields.get("mobilephone").map(mobile),
            code: fields.get("code").and_then(|code| code.parse().ok()),
            message: fields.get("msg").map(str::to_owned),
            reported_at: fields.get("report_time").and_then(shanghai),
            digest: digest(["code", "msg", "mobilephone", "smsid", "report_time"].map(|name| fields.get(name))),
        })
    }
}

/// What a receipt makes of an accepted job: only code 2 means delivered.
pub fn final_state(code: Option<i64>) -> State {
    if code == Some(DELIVERED) { State::Delivered } else { State::Undelivered }
}

/// The longest smsid, in characters; today's have 20.
pub const MAX_SMSID: usize = 64;

/// Is it an id that ihuyi could have given? It answers `0` where there is none.
pub fn is_smsid(text: &str) -> bool {
    (1..=MAX_SMSID).contains(&text.len()) && text != "0" && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// When ihuyi took the message, if its id tells: 20 digits, of which the first ten are Unix seconds.
pub fn submitted_at(smsid: &str) -> Option<Timestamp> {
    let is_new = smsid.len() == 20 && smsid.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = smsid.get(..10).filter(|_| is_new)?;
    Timestamp::from_timestamp(seconds.parse().ok()?, 0)
}

/// Whether a message that ihuyi took at `submitted` can be the one of an attempt that was on the wire
/// from `from` to `until`.
pub fn fits(submitted: Timestamp, from: Timestamp, until: Timestamp) -> bool {
    (from - DRIFT..=until + DRIFT).contains(&submitted)
}

/// Eleven digits where it is a mainland number, else as pushed, cut to what can be indexed.
pub(super) fn mobile(text: &str) -> String {
    Mobile::parse_any(text).map_or_else(|_| text.chars().take(MOBILE_MAX).collect(), Mobile::digits)
}

/// `YYYY-MM-DD HH:MM:SS` in Asia/Shanghai.
pub(super) fn shanghai(text: &str) -> Option<Timestamp> {
    // Four digits of the year: chrono would take more, and Postgres not.
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok().filter(|_| text.len() == 19)?;
    let there = FixedOffset::east_opt(SHANGHAI)?.from_local_datetime(&time).single()?;
    Some(there.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(pairs: &[(&str, &str)]) -> Result<Receipt, BadField> {
        Receipt::read(&Fields::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()))))
    }

    const WHOLE: [(&str, &str); 5] = [
        ("code", "2"),
        ("msg", "发送成功"),
        ("mobilephone", "+86 138-0013-8000"),
        ("smsid", "17954495980000000001"),
        ("report_time", "2026-11-24 00:00:05"),
    ];

    #[test]
    fn a_receipt_is_read_with_shanghai_time() {
        let read = receipt(&WHOLE).unwrap();
        assert_eq!((read.smsid.as_str(), read.code), ("17954495980000000001", Some(2)));
        assert_eq!((read.mobile.as_deref(), read.message.as_deref()), (Some("13800138000"), Some("发送成功")));
        assert_eq!(read.reported_at.unwrap().to_rfc3339(), "2026-11-23T16:00:05+00:00");
    }

    #[test]
    fn an_smsid_is_what_ihuyi_could_have_given() {
        assert!(is_smsid("17000000000000001234") && is_smsid("16973901"));
        assert!(!is_smsid("") && !is_smsid("0") && !is_smsid("a b") && !is_smsid(&"1".repeat(65)));
    }

    #[test]
    fn only_the_smsid_is_needed() {
        let least = receipt(&[("smsid", " 77 "), ("code", "DELIVRD"), ("report_time", "yesterday")]).unwrap();
        assert_eq!((least.smsid.as_str(), least.code, least.reported_at), ("77", None, None));
        for bad in [&[("code", "2")][..], &[("smsid", "")], &[("smsid", "  ")], &[("smsid", &"7".repeat(65))]] {
            assert_eq!(receipt(bad).unwrap_err().name, "smsid", "{bad:?}");
        }
    }

    #[test]
    fn a_repeat_has_the_same_digest_and_nothing_else_has() {
        let first = receipt(&WHOLE).unwrap();
        assert_eq!(receipt(&WHOLE).unwrap().digest, first.digest);
        for changed in 0..WHOLE.len() {
            let mut other = WHOLE;
            other[changed].1 = "1";
            assert_ne!(receipt(&other).unwrap().digest, first.digest, "{}", WHOLE[changed].0);
        }
        let split = |code, msg| receipt(&[("smsid", "7"), ("code", code), ("msg", msg)]).unwrap().digest;
        assert_ne!(split("12", "3"), split("1", "23"), "where a field ends counts");
    }

    #[test]
    fn only_code_2_is_delivered() {
        assert_eq!(final_state(Some(2)), State::Delivered);
        for code in [Some(0), Some(20), Some(-2), None] {
            assert_eq!(final_state(code), State::Undelivered);
        }
    }

    #[test]
    fn times_that_cannot_be_read_are_none() {
        for bad in
            ["", "2026-11-24", "2026-11-24T00:00:05", "2026-02-30 00:00:00", "+12026-11-24 00:00:05", "1-1-1 1:1:1"]
        {
            assert_eq!(shanghai(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_new_id_tells_when_it_was_taken() {
        assert_eq!(submitted_at("17954495980000000001").unwrap().timestamp(), 1_795_449_598);
        for old in ["", "12345678", "1795449598000000000", "179544959800000000011", "1795449598000000000x"] {
            assert_eq!(submitted_at(old), None, "{old}");
        }
    }

    #[test]
    fn clocks_may_differ_a_little() {
        let at = |second: i64| Timestamp::from_timestamp(1_795_449_500 + second, 0).unwrap();
        for (taken, expected) in [(-6, false), (-5, true), (0, true), (10, true), (15, true), (16, false)] {
            assert_eq!(fits(at(taken), at(0), at(10)), expected, "{taken}");
        }
    }
}
