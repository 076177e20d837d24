//! What of a job anybody may see: numbers masked, of texts their length only.

use serde_json::value::RawValue;

use super::mobile::Mobile;

/// Instead of a number or a text of a person who was forgotten.
const ERASED: &str = "[erased]";

/// `138****8000`; what is no mainland number is hidden whole.
pub fn masked(mobile: &str) -> String {
    if mobile.is_empty() {
        return ERASED.into();
    }
    Mobile::parse_any(mobile).map_or_else(|_| "****".into(), |mobile| mobile.to_string())
}

/// Words that people wrote, with every number in them masked, also where it stands in groups (`138 0013 8000`). Longer
/// runs of digits are no numbers: smsids, tickets.
pub fn without_numbers(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        shown.push_str(before);
        let (hidden, taken) = number_at(from).unwrap_or_else(|| {
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
fn number_at(words: &str) -> Option<(String, usize)> {
    let (mut joined, mut end) = (String::new(), 0);
    for _ in 0..GROUPS {
        let length = digits(&words[end..]);
        joined.push_str(&words[end..end + length]);
        end += length;
        if let Ok(mobile) = Mobile::parse(&joined) {
            return Some((mobile.to_string(), end));
        }
        let between = words[end..].find(|c: char| c != ' ' && c != '-')?;
        if between == 0 || !words[end + between..].starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        end += between;
    }
    None
}

/// How many digits `words` begins with.
fn digits(words: &str) -> usize {
    words.find(|c: char| !c.is_ascii_digit()).unwrap_or(words.len())
}

/// A text by its length.
pub fn length(text: &str) -> String {
    if text.is_empty() { ERASED.into() } else { format!("[{} characters]", text.chars().count()) }
}

/// Hides one person's number wherever somebody quotes it: in ihuyi's words, or in a publisher's own data.
pub struct Veil<'a> {
    mobile: &'a str,
    masked: String,
}

impl<'a> Veil<'a> {
    /// For the number of a job, as it is stored.
    pub fn over(mobile: &'a str) -> Self {
        Veil { mobile, masked: masked(mobile) }
    }

    /// Hides it in words.
    pub fn words(&self, words: &mut Option<String>) {
        if let Some(found) = words.as_mut().filter(|words| self.quoted_in(words)) {
            *found = found.replace(self.mobile, &self.masked);
        }
    }

    /// Hides it in JSON. What would be no JSON then, because the number stands there without quotes, is left
    /// out whole.
    pub fn json(&self, json: &mut Option<Box<RawValue>>) {
        if json.as_ref().is_some_and(|json| self.quoted_in(json.get())) {
            *json =
                json.take().and_then(|json| RawValue::from_string(json.get().replace(self.mobile, &self.masked)).ok());
        }
    }

    fn quoted_in(&self, text: &str) -> bool {
        // A forgotten job has no number.
        !self.mobile.is_empty() && text.contains(self.mobile)
    }
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
        for words in
            ["2026-11-24 05:10", "4 of 13 jobs", "13 800 138", "smsid 17953991890000000000", "7 - ", "1-1-1-1-1-1"]
        {
            assert_eq!(without_numbers(words), words);
        }
    }

    #[test]
    fn what_is_no_number_is_hidden_whole() {
        assert_eq!((masked(MOBILE), masked("door 7")), ("138****8000".into(), "****".into()));
        assert_eq!(length("您好"), "[2 characters]");
        assert_eq!((masked(""), length("")), ("[erased]".into(), "[erased]".into()));
    }
}
