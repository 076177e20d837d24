//! What of a job anybody may see: numbers masked, of texts their length only.

use std::net::Ipv4Addr;

use serde_json::value::RawValue;

use super::mobile::Mobile;

/// Instead of a number or a text of a person who was forgotten.
pub const ERASED: &str = "[erased]";

/// `138****8000`; what is no mainland number is hidden whole.
pub fn masked(mobile: &str) -> String {
    if mobile.is_empty() {
        return ERASED.into();
    }
    Mobile::parse_any(mobile).map_or_else(|_| "****".into(), |mobile| mobile.to_string())
}

/// Words that people wrote, with every number in them masked, also where it stands in groups (`138 0013 8000`,
/// `138（0013）8000`) or in full width. Longer runs of digits are no numbers: smsids, tickets.
pub fn without_numbers(words: &str) -> String {
    // Numbers in their own groups first: a date before one could take its first digits away.
    hidden(&hidden(words, grouped), begun)
}

/// What tells the number that some digits are: by those, how many stand before each gap, and how it is written.
type Reading = fn(&str, &[usize], &str) -> Option<Mobile>;

/// `words` with every number masked that `read` tells.
fn hidden(words: &str, read: Reading) -> String {
    let mut shown = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find(is_digit) {
        let (before, from) = rest.split_at(start);
        shown.push_str(before);
        let (hidden, taken) = number_at(from, read).unwrap_or_else(|| {
            let digits = &from[..digits(from)];
            (digits.to_owned(), digits.len())
        });
        shown.push_str(&hidden);
        rest = &from[taken..];
    }
    shown + rest
}

/// Groups of digits that a number is written in, at most.
const GROUPS: usize = 4;

/// The number, masked, that `words` begins with, and how long it is there.
fn number_at(words: &str, read: Reading) -> Option<(String, usize)> {
    let (mut joined, mut end, mut gaps) = (String::new(), 0, Vec::new());
    for _ in 0..GROUPS {
        let group = &words[end..end + digits(&words[end..])];
        joined.extend(group.chars().filter_map(value).filter_map(|value| char::from_digit(value, 10)));
        end += group.len();
        if let Some(mobile) = read(&joined, &gaps, &words[..end]) {
            return Some((mobile.to_string(), end));
        }
        let between = &words[end..end + words[end..].find(is_digit)?];
        if !is_gap(between) && between.contains(|c: char| !matches!(c, ' ' | '-')) {
            return None;
        }
        end += between.len();
        gaps.push(joined.len());
    }
    None
}

/// One in a piece, or in the groups of a number, however it begins (`128 0013 8000`).
fn grouped(joined: &str, gaps: &[usize], _: &str) -> Option<Mobile> {
    let grouped = gaps.iter().all(|gap| matches!(joined.len().saturating_sub(*gap), 4 | 8 | 11));
    Mobile::parse_any(joined).ok().filter(|_| grouped)
}

/// One that begins as numbers do, in whatever groups: another may be a date and something else. An address
/// (`192.168.100.12`) is none.
fn begun(joined: &str, _: &[usize], written: &str) -> Option<Mobile> {
    Mobile::parse(joined).ok().filter(|_| written.parse::<Ipv4Addr>().is_err())
}

/// How many bytes of digits `words` begins with.
fn digits(words: &str) -> usize {
    words.find(|c: char| !is_digit(c)).unwrap_or(words.len())
}

fn is_digit(c: char) -> bool {
    value(c).is_some()
}

/// A text by its length.
pub fn length(text: &str) -> String {
    if text.is_empty() { ERASED.into() } else { format!("[{} characters]", text.chars().count()) }
}

/// Hides one person's number wherever somebody quotes it, in whatever groups: in ihuyi's words, or in a publisher's own
/// data.
pub struct Veil {
    /// None where a job is forgotten.
    digits: Vec<u32>,
    masked: String,
}

impl Veil {
    /// For the number of a job, as it is stored.
    pub fn over(mobile: &str) -> Self {
        Veil { digits: mobile.chars().filter_map(value).collect(), masked: masked(mobile) }
    }

    /// Hides it in words.
    pub fn words(&self, words: &mut Option<String>) {
        if let Some(hidden) = words.as_deref().and_then(|words| self.hidden(words)) {
            *words = Some(hidden);
        }
    }

    /// Hides it in JSON. What would be no JSON then, because the number stands there without quotes, is left
    /// out whole.
    pub fn json(&self, json: &mut Option<Box<RawValue>>) {
        if let Some(hidden) = json.as_deref().and_then(|json| self.hidden(json.get())) {
            *json = RawValue::from_string(hidden).ok();
        }
    }

    /// `text` without the number; `None` where it is not in there.
    fn hidden(&self, text: &str) -> Option<String> {
        let digits: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| value(*c).is_some()).collect();
        let (mut shown, mut end, mut next) = (String::new(), 0, 0);
        while let Some(run) = digits.get(next..next + self.digits.len()).filter(|_| !self.digits.is_empty()) {
            if !self.is_at(text, run) {
                next += 1;
                continue;
            }
            shown.push_str(&text[end..run[0].0]);
            shown.push_str(&self.masked);
            let (last, digit) = run[run.len() - 1];
            end = last + digit.len_utf8();
            next += run.len();
        }
        (end > 0).then(|| shown + &text[end..])
    }

    /// Are these digits the number, with little enough between them?
    fn is_at(&self, text: &str, run: &[(usize, char)]) -> bool {
        let same = run.iter().zip(&self.digits).all(|((_, digit), wanted)| value(*digit) == Some(*wanted));
        same && run.windows(2).all(|pair| is_gap(&text[pair[0].0 + pair[0].1.len_utf8()..pair[1].0]))
    }
}

/// What may stand between two digits of one number: signs and blanks, three at most. A string of JSON ends with a quote.
fn is_gap(between: &str) -> bool {
    between.chars().count() <= 3 && !between.contains(|c: char| c.is_alphanumeric() || matches!(c, '"' | ',' | '\\'))
}

/// Of a digit, in either width.
fn value(digit: char) -> Option<u32> {
    let wide = (digit as u32).checked_sub('０' as u32).filter(|value| *value < 10);
    wide.or_else(|| digit.to_digit(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOBILE: &str = "13800138000";

    fn words(text: &str, mobile: &str) -> String {
        let mut words = Some(text.to_owned());
        Veil::over(mobile).words(&mut words);
        words.unwrap()
    }

    fn json(text: &str) -> Option<String> {
        let mut json = RawValue::from_string(text.to_owned()).ok();
        Veil::over(MOBILE).json(&mut json);
        json.map(|json| json.get().to_owned())
    }

    #[test]
    fn a_number_is_hidden_wherever_it_is_quoted() {
        assert_eq!(words("号码13800138000在黑名单", MOBILE), "号码138****8000在黑名单");
        assert_eq!(words("13900139000", MOBILE), "13900139000", "another's");
        assert_eq!(words("nothing", ""), "nothing", "a forgotten job");
        assert_eq!(json(r#"{"to":"+8613800138000"}"#).unwrap(), r#"{"to":"+86138****8000"}"#);
        assert_eq!(json(r#"{"to":13800138000}"#), None);
        assert_eq!(json(r#"{"order":7}"#).unwrap(), r#"{"order":7}"#);
    }

    #[test]
    fn so_is_one_that_is_quoted_in_groups() {
        for quoted in [
            "138 0013 8000",
            "138-0013-8000",
            "138) 0013-8000",
            "138.0013.8000",
            "１３８００１３８０００",
            "138（0013）8000",
        ] {
            assert_eq!(words(&format!("号码{quoted}在黑名单"), MOBILE), "号码138****8000在黑名单");
            assert_eq!(json(&format!(r#"{{"to":"{quoted}","n":1}}"#)).unwrap(), r#"{"to":"138****8000","n":1}"#);
        }
        assert_eq!(words("+86 138 0013 8000, 13800138000", MOBILE), "+86 138****8000, 138****8000");
        for other in ["138 0013 800", "138 or 00138000", "138    00138000", "1380013 9000"] {
            assert_eq!(words(other, MOBILE), other);
        }
    }

    #[test]
    fn words_lose_their_numbers() {
        let words = "13800138000 called, +8613900139000 too; ticket 4711, smsid 17954928099424322343，14位";
        let shown = "138****8000 called, +139****9000 too; ticket 4711, smsid 17954928099424322343，14位";
        assert_eq!(without_numbers(words), shown);
        assert_eq!(without_numbers("退订"), "退订");
        for words in ["138 0013 8000", "138-0013-8000", "86 138 0013 8000", "0086-13800138000", "at 10: 138  00138000"]
        {
            let shown = without_numbers(words);
            assert!(shown.ends_with("138****8000") && !shown.contains("0013"), "{words}: {shown}");
        }
        for (words, shown) in
            [("by 12800138000", "by 128****8000"), ("+86 128-0013-8000 called", "+128****8000 called")]
        {
            assert_eq!(without_numbers(words), shown, "checks.mobile may be off");
        }
        for words in [
            "moved to 192.168.100.12",
            "2026.11.24 05:10:13.250",
            "2026-11-24 05:10",
            "2026-11-24 120 jobs",
            "4 of 13 jobs",
            "13 800 138",
            "smsid 17953991890000000000",
            "7 - ",
            "1-1-1-1-1-1",
        ] {
            assert_eq!(without_numbers(words), words);
        }
    }

    #[test]
    fn words_lose_numbers_in_other_gaps_and_in_full_width_too() {
        for number in [
            "１３８００１３８０００",
            "１３８－００１３－８０００",
            "138.0013.8000",
            "138（0013）8000",
            "138) 0013-8000",
            "138·0013·8000",
            "1380013.8000",
            "138    0013    8000",
        ] {
            assert_eq!(without_numbers(&format!("号码{number}投诉")), "号码138****8000投诉", "{number}");
        }
        for (words, shown) in [
            ("(138)0013-8000 called", "(138****8000 called"),
            ("（＋８６）１３８ ００１３ ８０００", "（＋138****8000"),
            ("on 2026-11-24: 138.0013.8000", "on 2026-11-24: 138****8000"),
            ("4711，13800138000", "4711，138****8000"),
        ] {
            assert_eq!(without_numbers(words), shown);
        }
        let shown = without_numbers("on 14.05.2026 138 0013 8000 called");
        assert!(shown.ends_with("138****8000 called"), "a date takes no digits of a number away: {shown}");
    }

    #[test]
    fn what_is_no_number_is_hidden_whole() {
        assert_eq!((masked(MOBILE), masked("door 7")), ("138****8000".into(), "****".into()));
        assert_eq!(length("您好"), "[2 characters]");
        assert_eq!((masked(""), length("")), ("[erased]".into(), "[erased]".into()));
    }
}
