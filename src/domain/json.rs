//! A JSON document as it was written: repeated keys and the digits of numbers are kept, so that a
//! caller can refuse, or store, what a map of doubles would silently lose. Strings borrow from the
//! text where nothing was escaped.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One value of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number within the range of a double. Its digits are in the text only.
    Number,
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Json<'a>>),
    /// An object: its members as they came.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Parses `text`. Nesting is limited to 127 levels (by serde_json), so that no document can
    /// exhaust the stack. The error says where and what, and never quotes the text.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    /// What it is, for a message: `a string`.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number => "a number",
            Json::Text(_) => "a string",
            Json::List(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// True when `test` holds for this value's text or for any string or key below it.
    pub fn any_text(&self, test: &impl Fn(&str) -> bool) -> bool {
        match self {
            Json::Text(text) => test(text),
            Json::List(items) => items.iter().any(|item| item.any_text(test)),
            Json::Object(members) => members.iter().any(|(key, value)| test(key) || value.any_text(test)),
            _ => false,
        }
    }

    /// True when a key stands twice in one object, at any depth.
    pub fn repeats_a_key(&self) -> bool {
        match self {
            Json::List(items) => items.iter().any(Json::repeats_a_key),
            Json::Object(members) => {
                let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
                keys.sort_unstable();
                keys.windows(2).any(|pair| pair[0] == pair[1]) || members.iter().any(|(_, value)| value.repeats_a_key())
            }
            _ => false,
        }
    }
}

/// The members of a JSON object, their values unparsed.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Parses the object in `text`. The error never quotes the text.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Err("it must be an object, in { }".into());
        }
        serde_json::from_str(text).map_err(|e| e.to_string())
    }
}

/// `text`, which must be valid JSON, without its white space. Strings and digits stay as they are;
/// only an exponent is written out, as Postgres does, so that what has been through `jsonb` does
/// not grow.
pub fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match first {
            ' ' | '\t' | '\n' | '\r' => {}
            '-' | '0'..='9' => push_number(token, &mut out),
            _ => out.push_str(token),
        }
    }
    out
}

/// The bytes of the string that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |at| at + 2)
}

fn push_number(token: &str, out: &mut String) {
    match token.parse::<f64>() {
        // Display never writes an exponent. Writing to a String cannot fail.
        Ok(value) if token.contains(['e', 'E']) => drop(write!(out, "{value}")),
        _ => out.push_str(token),
    }
}

/// Appends `text` as a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Json::Number)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value()?));
        }
        Ok(Json::Object(members))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawMembers)
    }
}

struct RawMembers;

impl<'de> Visitor<'de> for RawMembers {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(Members(members))
    }
}

/// A key that borrows where it can; `Cow`'s own `Deserialize` always copies.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Key(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Key(Cow::Owned(value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compact_form_says_the_same() {
        for (text, expect) in [
            (r#" { "a b" : [ 1 , -2 , 0.50 , true , null ] , "b" : { } } "#, r#"{"a b":[1,-2,0.50,true,null],"b":{}}"#),
            (r#""\u4e2d\/\"\\ é ""#, r#""\u4e2d\/\"\\ é ""#),
            ("[1e3, 1.5E+2, -25e-1]", "[1000,150,-2.5]"),
            ("1e-7", "0.0000001"),
            ("12345678901234567890123.45678901234567890", "12345678901234567890123.45678901234567890"),
        ] {
            assert_eq!(compact(text), expect);
            assert_eq!(compact(expect), expect, "stable");
        }
    }

    #[test]
    fn a_repeated_key_is_found_at_any_depth() {
        for text in [r#"{"a":1,"b":2,"a":1}"#, r#"[{"x":{"k":1,"\u006b":2}}]"#] {
            assert!(Json::parse(text).unwrap().repeats_a_key(), "{text}");
        }
        for text in ["{}", r#"[{"a":1},{"a":{"a":1}}]"#, "1e10"] {
            assert!(!Json::parse(text).unwrap().repeats_a_key(), "{text}");
        }
    }

    #[test]
    fn strings_are_escaped_as_serde_json_reads_them() {
        for text in ["", "plain 中文", "\"\\/", "\n\r\t\u{1}\u{7f}\u{2028}", "\\u0000"] {
            let mut out = String::new();
            write_string(text, &mut out);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn bad_documents_give_an_error_and_no_overflow() {
        let deep = "[".repeat(10_000);
        for text in ["", "{", "1e999", "[1,]", "{\"a\":1}x", "\"\\ud800\"", "nul", &deep] {
            assert!(Json::parse(text).is_err(), "{text}");
            assert!(Members::parse(text).is_err(), "{text}");
        }
    }
}
