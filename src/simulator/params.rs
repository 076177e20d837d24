//! Request parameters: query and form body decoded to bytes and merged, as PHP does it.

use std::borrow::Cow;

/// A value as decoded. Bytes, because a client may send what is no UTF-8, and a signature covers
/// exactly what was sent.
pub type Value<'a> = Cow<'a, [u8]>;

/// The parameters the gateway knows; it ignores all others. A missing one is empty, which the gateway
/// does not tell apart.
#[derive(Debug, Default)]
pub struct Params<'a> {
    /// `Submit` or `GetNum`; only the query can name it.
    pub method: Value<'a>,
    /// The APIID.
    pub account: Value<'a>,
    /// The static or the dynamic password.
    pub password: Value<'a>,
    /// The number.
    pub mobile: Value<'a>,
    /// The text, or `v1|v2` in template mode.
    pub content: Value<'a>,
    /// Unix seconds.
    pub time: Value<'a>,
    /// `xml` or `json`.
    pub format: Value<'a>,
    /// Chosen template; empty outside template mode.
    pub templateid: Value<'a>,
}

impl<'a> Params<'a> {
    /// Merges a query string and a form body; the body wins where both name a parameter.
    pub fn merge(query: &'a [u8], body: &'a [u8]) -> Self {
        let mut params = Self::default();
        for (name, value) in pairs(query) {
            if &*name == b"method" {
                params.method = value;
            } else {
                params.set(&name, value);
            }
        }
        for (name, value) in pairs(body) {
            params.set(&name, value);
        }
        params
    }

    fn set(&mut self, name: &[u8], value: Value<'a>) {
        match name {
            b"account" => self.account = value,
            b"password" => self.password = value,
            b"mobile" => self.mobile = value,
            b"content" => self.content = value,
            b"time" => self.time = value,
            b"format" => self.format = value,
            b"templateid" => self.templateid = value,
            _ => {}
        }
    }
}

/// The pairs of an `application/x-www-form-urlencoded` string.
fn pairs(encoded: &[u8]) -> impl Iterator<Item = (Value<'_>, Value<'_>)> {
    encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        (decode(name), decode(value))
    })
}

/// Decodes `%XX` and `+`; a `%` without two hex digits stands for itself, as in PHP.
fn decode(encoded: &[u8]) -> Value<'_> {
    if !encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(encoded);
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while at < encoded.len() {
        match (encoded[at], hex_pair(&encoded[at + 1..])) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    Cow::Owned(decoded)
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let high = hex_digit(*bytes.first()?)?;
    let low = hex_digit(*bytes.get(1)?)?;
    Some(high << 4 | low)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_and_body_are_merged_and_the_body_wins() {
        let params = Params::merge(
            b"method=Submit&account=a&mobile=1&&x",
            b"method=GetNum&mobile=2&content=%e4%bd%a0+%2B%25%zz%",
        );
        assert_eq!(&*params.method, b"Submit");
        assert_eq!(&*params.account, b"a");
        assert_eq!(&*params.mobile, b"2");
        assert_eq!(&*params.content, "你 +%%zz%".as_bytes());
        assert_eq!(&*params.time, b"");
    }

    #[test]
    fn an_unencoded_body_corrupts_the_content() {
        let params = Params::merge(b"", b"content=50%25 & 1+1=2&time=1");
        assert_eq!(&*params.content, b"50% ");
    }
}
