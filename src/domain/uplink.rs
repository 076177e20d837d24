//! What people answer to a message; ihuyi calls it an uplink. And the words by which they say that
//! they want no more.

use super::fields::{BadField, Fields, digest};
use super::job::Timestamp;
use super::receipt::{mobile, shanghai};

/// The longest smsid kept, in characters.
const SMSID_MAX: usize = 64;
/// Without a time of its own a reply is told from its repeats by when it came: ihuyi pushes again
/// within minutes.
const SAME: i64 = 3_600;

/// A person's reply as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Eleven digits where it is a mainland number, else as pushed.
    pub mobile: String,
    /// The text; empty where the person wrote nothing.
    pub content: String,
    /// As pushed: it may be wrong or missing.
    pub smsid: Option<String>,
    /// When it was written, if that can be read.
    pub replied_at: Option<Timestamp>,
    /// MD5 of all fields: a repeat is recognised by it.
    pub digest: [u8; 16],
    /// The word by which the person wants no more `bulk` messages.
    pub opt_out: Option<String>,
}

impl Uplink {
    /// Reads a push that came at `now`: `mobilephone`, `content`, `smsid`, `reply_time`.
    ///
    /// # Errors
    /// Without a number: nobody could tell who said it.
    pub fn read(fields: &Fields, opt_out: &OptOut, now: Timestamp) -> Result<Self, BadField> {
        let number = fields.get("mobilephone").ok_or(BadField { name: "mobilephone", problem: "is missing" })?;
        let content = fields.get("content").unwrap_or_default();
        let came = (now.timestamp() / SAME).to_string();
        let time = fields.get("reply_time").unwrap_or(&came);
        Ok(Uplink {
            mobile: mobile(number),
            content: content.to_owned(),
            smsid: fields.get("smsid").map(|smsid| smsid.chars().take(SMSID_MAX).collect()),
            replied_at: fields.get("reply_time").and_then(shanghai),
            digest: digest([Some(number), Some(content), fields.get("smsid"), Some(time)]),
            opt_out: opt_out.word(content).map(str::to_owned),
        })
    }
}

/// The words by which people want no more, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptOut(Vec<String>);

impl OptOut {
    /// Of these words; without any, nobody can.
    pub fn new(words: Vec<String>) -> Self {
        OptOut(words)
    }

    /// The word that `content` is, and nothing else: in any case of letters, also full-width ones,
    /// whatever white space is around it.
    pub fn word(&self, content: &str) -> Option<&str> {
        let said = folded(content);
        self.0.iter().map(String::as_str).find(|word| folded(word) == said)
    }
}

/// Without white space around it, in ASCII where it was full-width, in small letters.
fn folded(text: &str) -> String {
    let narrow = text.chars().map(|c| match c {
        // U+FF01 to U+FF5E are `!` to `~` in the width of a Chinese character.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        other => other,
    });
    narrow.collect::<String>().trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> OptOut {
        OptOut::new(vec!["TD".into(), "T".into(), "退订".into()])
    }

    fn reply(pairs: &[(&str, &str)], now: i64) -> Result<Uplink, BadField> {
        let fields = Fields::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        Uplink::read(&fields, &words(), Timestamp::from_timestamp(now, 0).unwrap())
    }

    #[test]
    fn a_reply_is_read() {
        let whole = [
            ("mobilephone", "8613800138000"),
            ("content", " td "),
            ("smsid", "77"),
            ("reply_time", "2026-11-24 00:00:05"),
        ];
        let read = reply(&whole, 0).unwrap();
        assert_eq!((read.mobile.as_str(), read.content.as_str()), ("13800138000", "td"));
        assert_eq!((read.smsid.as_deref(), read.opt_out.as_deref()), (Some("77"), Some("TD")));
        assert_eq!(read.replied_at.unwrap().to_rfc3339(), "2026-11-23T16:00:05+00:00");
        assert_eq!(reply(&whole, 9_999_999).unwrap().digest, read.digest);
    }

    #[test]
    fn only_the_number_is_needed() {
        let least = reply(&[("mobilephone", "10086")], 0).unwrap();
        assert_eq!((least.mobile.as_str(), least.content.as_str(), least.opt_out), ("10086", "", None));
        assert_eq!(reply(&[("content", "hello")], 0).unwrap_err().name, "mobilephone");
    }

    #[test]
    fn without_a_time_the_same_words_later_are_another_reply() {
        let at = |now| reply(&[("mobilephone", "13800138000"), ("content", "好")], now).unwrap().digest;
        assert_eq!(at(10), at(190));
        assert_ne!(at(10), at(86_410));
    }

    #[test]
    fn opt_out_words_are_whole_and_in_any_spelling() {
        for said in ["TD", "td", " Td\n", "ＴＤ", "ｔ", "\u{3000}T\u{3000}", "退订", "退订 "] {
            assert!(words().word(said).is_some(), "{said}");
        }
        for said in ["", " ", "TDD", "T D", "不退订", "退 订", "Thanks"] {
            assert_eq!(words().word(said), None, "{said}");
        }
        assert_eq!(OptOut::default().word("TD"), None);
    }
}
