//! What of a job anybody may see: numbers masked, of texts their length only.

use serde_json::value::RawValue;

use super::mobile::Mobile;

/// `138****8000`; what is no mainland number is hidden whole.
pub fn masked(mobile: &str) -> String {
    Mobile::parse_any(mobile).map_or_else(|_| "****".into(), |mobile| mobile.to_string())
}

/// A text by its length.
pub fn length(text: &str) -> String {
    format!("[{} characters]", text.chars().count())
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
    fn what_is_no_number_is_hidden_whole() {
        assert_eq!((masked(MOBILE), masked("door 7")), ("138****8000".into(), "****".into()));
        assert_eq!(length("您好"), "[2 characters]");
    }
}
