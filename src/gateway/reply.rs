//! Reading what the gateway answered.
//!
//! The format is told by the body's first character, never by the Content-Type, which ihuyi gets
//! wrong. What decides (`code`, `smsid`) is read strictly and the rest leniently: a reply that could
//! be taken for another than it is counts as unreadable, and then nobody knows whether the SMS was
//! taken; but a garbled `msg` harms nothing.

use std::borrow::Cow;

use super::xml;
use crate::domain::json::Members;
use crate::domain::verdict::Answer;

/// Longer bodies are not read, in bytes; a reply has some hundred.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// The most that is kept of the gateway's words, in characters.
const MAX_MESSAGE: usize = 500;
/// The longest smsid that is believed; ihuyi's have 8 to 20 digits.
const MAX_SMSID: usize = 64;

/// The account's balance, as the gateway client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The gateway answered.
    Answer {
        /// 2: the query succeeded; otherwise what is wrong with the account.
        code: i64,
        /// The gateway's words, at most 500 characters.
        message: String,
        /// Messages left; `None` where the reply does not say.
        left: Option<i64>,
    },
    /// No readable answer. The reason holds no URL and no key.
    Unavailable(String),
}

/// What became of a template, as the gateway client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// The gateway answered.
    Answer {
        /// 2: it is registered and waits for its review.
        code: i64,
        /// The gateway's words, at most 500 characters.
        message: String,
        /// Its number; `None` where the reply does not say.
        id: Option<String>,
    },
    /// No readable answer. The reason holds no URL and no key.
    Unavailable(String),
}

/// Reads a reply to Submit; the error says in words why it is none.
pub(super) fn submit(body: &[u8]) -> Result<Answer, &'static str> {
    let text = text(body);
    let fields = Fields::read(&text, "SubmitResult")?;
    Ok(Answer { code: fields.code()?, message: fields.message(), smsid: fields.smsid() })
}

/// Reads a reply to GetNum.
pub(super) fn balance(body: &[u8]) -> Result<Balance, &'static str> {
    let text = text(body);
    let fields = Fields::read(&text, "GetNumResult")?;
    Ok(Balance::Answer { code: fields.code()?, message: fields.message(), left: fields.left() })
}

/// Reads a reply to AddTemplate.
pub(super) fn added(body: &[u8]) -> Result<Added, &'static str> {
    let text = text(body);
    let fields = Fields::read(&text, "AddTemplateResult")?;
    Ok(Added::Answer { code: fields.code()?, message: fields.message(), id: fields.template_id() })
}

/// The fields of a reply as plain text. A number has the digits that were sent: an smsid of 20
/// digits fits no integer.
#[derive(Default)]
struct Fields<'a> {
    code: Option<Cow<'a, str>>,
    msg: Option<Cow<'a, str>>,
    smsid: Option<Cow<'a, str>>,
    num: Option<Cow<'a, str>>,
    templateid: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str, root: &str) -> Result<Self, &'static str> {
        let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        match text.as_bytes().first() {
            Some(b'{') => Fields::read_json(text),
            Some(b'<') => Fields::read_xml(text, root),
            Some(_) => Err("the reply is neither XML nor JSON"),
            None => Err("the reply is empty"),
        }
    }

    fn read_json(text: &'a str) -> Result<Self, &'static str> {
        let Members(members) = Members::parse(text).map_err(|_| "the reply is no valid JSON")?;
        let mut fields = Fields::default();
        for (name, raw) in members {
            if let Some(slot) = fields.slot(&name) {
                let value = scalar(raw);
                // Words decide nothing: whatever they are, the code stands.
                set(slot, if name == "msg" { value.unwrap_or(Some(Cow::Borrowed(raw))) } else { value? })?;
            }
        }
        Ok(fields)
    }

    fn read_xml(text: &str, root: &str) -> Result<Self, &'static str> {
        let mut fields = Fields::default();
        for (name, text) in xml::children(text, root)? {
            if let Some(slot) = fields.slot(&name) {
                let text = if name == "msg" { text.unwrap_or_default() } else { text.ok_or(NESTED)? };
                set(slot, Some(Cow::Owned(text)))?;
            }
        }
        Ok(fields)
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        match name {
            "code" => Some(&mut self.code),
            "msg" => Some(&mut self.msg),
            "smsid" => Some(&mut self.smsid),
            "num" => Some(&mut self.num),
            "templateid" => Some(&mut self.templateid),
            _ => None,
        }
    }

    /// `2` is 2, with white space around it or none; `2.0`, `+2`, `02` and `2 x` are no code.
    fn code(&self) -> Result<i64, &'static str> {
        let text = self.code.as_deref().ok_or("the reply has no code")?.trim();
        let code = text.parse::<i64>().ok().filter(|code| code.to_string() == text);
        code.ok_or("the reply's code is no whole number")
    }

    fn message(&self) -> String {
        let text = self.msg.as_deref().unwrap_or_default().trim();
        text.chars().filter(|c| *c != '\0').take(MAX_MESSAGE).collect()
    }

    /// What a receipt will name; `0` is what ihuyi sends when there is none.
    fn smsid(&self) -> Option<String> {
        let text = self.smsid.as_deref()?.trim();
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (plain && (1..=MAX_SMSID).contains(&text.len()) && text != "0").then(|| text.to_owned())
    }

    /// What jobs will name; `0` stands for none.
    fn template_id(&self) -> Option<String> {
        let text = self.templateid.as_deref()?.trim();
        (text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !matches!(text, "" | "0")).then(|| text.to_owned())
    }

    fn left(&self) -> Option<i64> {
        let number: f64 = self.num.as_deref()?.trim().parse().ok()?;
        // A conversion from float saturates.
        number.is_finite().then_some(number.floor() as i64)
    }
}

const NESTED: &str = "a field of the reply holds other fields";

/// Fills a field that has not been there yet; `null` fills nothing.
fn set<'a>(slot: &mut Option<Cow<'a, str>>, value: Option<Cow<'a, str>>) -> Result<(), &'static str> {
    match (slot.is_some(), value) {
        (true, Some(_)) => Err("the reply holds the same field twice"),
        (_, None) => Ok(()),
        (false, value) => {
            *slot = value;
            Ok(())
        }
    }
}

/// A JSON string or number as text; `null` counts as absent, and so does PHP's `false` for nothing.
fn scalar(raw: &str) -> Result<Option<Cow<'_, str>>, &'static str> {
    match raw.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<String>(raw) {
            Ok(text) => Ok(Some(Cow::Owned(text))),
            // Half a surrogate pair: fit to be shown, and no code.
            Err(_) => Ok(Some(Cow::Borrowed(raw))),
        },
        Some(b'-' | b'0'..=b'9') => Ok(Some(Cow::Borrowed(raw))),
        Some(b'n' | b'f') => Ok(None),
        _ => Err(NESTED),
    }
}

/// The body as text. What is no UTF-8 is taken for GBK, as older servers send it: its two-byte
/// characters become U+FFFD, second byte included, which may look like a backslash. So the words
/// are lost, but not the code and the smsid.
fn text(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(body.len());
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            bytes.next_if(|second| *second >= 0x40 && *second != 0x7f);
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
