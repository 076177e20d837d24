//! A mainland-China mobile number, normalised once at the edge and masked wherever it is shown.

use std::fmt;

/// An 11-digit mainland number: `1`, then `3`–`9`, then nine digits (the first two may be others where
/// the configuration leaves that to ihuyi). Kept as an integer, so that ten million tracked numbers stay
/// small.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mobile(u64);

impl Mobile {
    /// Parses what publishers write: spaces and dashes anywhere, and a `+86`, `0086` or `86` in
    /// front, are normalised away. The problem is returned in words, without the number.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mobile = Mobile::parse_any(text)?;
        // 13 followed by nine digits, up to 19.
        if mobile.0 < 13_000_000_000 || mobile.0 >= 20_000_000_000 {
            return Err("must begin with 13 to 19");
        }
        Ok(mobile)
    }

    /// Like [`Mobile::parse`], whatever the first two digits are, the first of them no 0: ihuyi knows
    /// which numbers there are.
    pub fn parse_any(text: &str) -> Result<Self, &'static str> {
        let mut digits = String::with_capacity(text.len().min(32));
        for (i, c) in text.trim_matches(' ').chars().enumerate() {
            match c {
                ' ' | '-' => {}
                '+' if i == 0 => digits.push('+'),
                c if c.is_ascii_digit() => digits.push(c),
                _ => return Err("holds a character other than digits, spaces, dashes and a leading +"),
            }
        }
        let national = if let Some(rest) = digits.strip_prefix('+') {
            rest.strip_prefix("86").ok_or("is not a +86 number")?
        } else if digits.len() == 15 {
            digits.strip_prefix("0086").unwrap_or(&digits)
        } else if digits.len() == 13 {
            digits.strip_prefix("86").unwrap_or(&digits)
        } else {
            &digits
        };
        if national.len() != 11 {
            return Err("must have 11 digits after the country code");
        }
        if national.starts_with('0') {
            return Err("must not begin with 0");
        }
        national.parse().map(Mobile).map_err(|_| "must have 11 digits")
    }

    /// The number as an integer: the key of the limiter.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// All eleven digits: for the gateway and Postgres only, never for a log.
    pub fn digits(self) -> String {
        self.0.to_string()
    }
}

/// Masked, `138****8000`: the only form that a log, an error or a list for viewers may show.
impl fmt::Display for Mobile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}****{:04}", self.0 / 100_000_000, self.0 % 10_000)
    }
}

impl fmt::Debug for Mobile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_number_is_the_same_number() {
        for text in [
            "13800138000",
            "+8613800138000",
            "008613800138000",
            "8613800138000",
            "138 0013 8000",
            "138-0013-8000",
            "+86 138-0013-8000",
            " 13800138000 ",
            "0086 13800138000",
        ] {
            assert_eq!(Mobile::parse(text).map(Mobile::as_u64), Ok(13_800_138_000), "{text}");
        }
    }

    #[test]
    fn what_is_no_mainland_number_is_refused() {
        for text in [
            "",
            "1380013800",
            "138001380001",
            "12800138000",
            "23800138000",
            "+85212345678",
            "1380013800a",
            "１３８００１３８０００",
            "138+00138000",
            "13800138000\n",
            "\t13800138000",
            "+13800138000",
            "00138001380",
            "86138001380",
        ] {
            assert!(Mobile::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_shown_masked() {
        let mobile = Mobile::parse("13800138000").unwrap();
        assert_eq!(mobile.to_string(), "138****8000");
        assert_eq!(format!("{mobile:?}"), "138****8000");
        assert_eq!(Mobile::parse("19900000007").unwrap().to_string(), "199****0007");
    }

    #[test]
    fn any_prefix_is_ihuyis_to_judge_but_not_any_length() {
        for text in ["10012345678", "+86 128-0013-8000", "99999999999"] {
            assert!(Mobile::parse(text).is_err() && Mobile::parse_any(text).is_ok(), "{text}");
        }
        for text in ["01380013800", "1380013800", "138001380000", "", "1380013800x"] {
            assert!(Mobile::parse_any(text).is_err(), "{text}");
        }
    }
}
