//! The parameters of a request and its signature (ihuyi's interface document v3.3).

use std::borrow::Cow;

use md5::{Digest, Md5};
use secrecy::ExposeSecret;
use url::form_urlencoded::byte_serialize;

use super::options::{Auth, Credentials, Format};
use crate::domain::job::Payload;
use crate::domain::mobile::Mobile;

/// Submit's parameters, form-encoded: what goes into a POST body or behind the query of a GET.
/// `unix_seconds` is the `time` of the dynamic password: fresh for every attempt, because ihuyi
/// refuses an old one (40501).
pub(super) fn submit(
    credentials: &Credentials,
    mobile: Mobile,
    payload: &Payload,
    unix_seconds: i64,
    format: Format,
) -> String {
    let mobile = mobile.digits();
    let content = content(payload);
    let mut form = Form::new(content.len() * 3 + 200);
    form.sign(credentials, &[&mobile, &content], unix_seconds);
    form.push("mobile", &mobile);
    form.push("content", &content);
    if let Some(id) = payload.template_id() {
        form.push("templateid", id);
    }
    form.finish(format)
}

/// GetNum's parameters.
pub(super) fn balance(credentials: &Credentials, unix_seconds: i64, format: Format) -> String {
    let mut form = Form::new(200);
    form.sign(credentials, &[], unix_seconds);
    form.finish(format)
}

/// AddTemplate's parameters. How it is signed is not published: like GetNum here, whose digest covers none
/// of its parameters either.
pub(super) fn template(credentials: &Credentials, text: &str, unix_seconds: i64, format: Format) -> String {
    let mut form = Form::new(text.len() * 3 + 200);
    form.sign(credentials, &[], unix_seconds);
    form.push("content", text);
    form.finish(format)
}

fn content(payload: &Payload) -> Cow<'_, str> {
    match payload {
        Payload::Text(text) => Cow::Borrowed(text),
        template => Cow::Owned(template.content()),
    }
}

struct Form(String);

impl Form {
    fn new(capacity: usize) -> Self {
        Form(String::with_capacity(capacity))
    }

    /// `account`, `password` and, with a dynamic password, its `time`. `signed` is what the digest
    /// covers between the key and the time: plain values, before any encoding.
    fn sign(&mut self, credentials: &Credentials, signed: &[&str], unix_seconds: i64) {
        self.push("account", &credentials.api_id);
        let key = credentials.api_key.expose_secret();
        match credentials.auth {
            Auth::Static => self.push("password", key),
            Auth::Dynamic => {
                let time = unix_seconds.to_string();
                let password = password(&credentials.api_id, key, signed, &time);
                self.push("password", &password);
                self.push("time", &time);
            }
        }
    }

    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(byte_serialize(value.as_bytes()));
    }

    fn finish(mut self, format: Format) -> String {
        self.push(
            "format",
            match format {
                Format::Xml => "xml",
                Format::Json => "json",
            },
        );
        self.0
    }
}

/// The MD5 of an APIKEY.
pub(super) fn hashed(key: &str) -> String {
    password("", key, &[], "")
}

/// The dynamic password: lower-case hex of MD5 over account, key, the `signed` values and the time,
/// joined by nothing.
fn password(account: &str, key: &str, signed: &[&str], time: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Md5::new();
    hash.update(account);
    hash.update(key);
    signed.iter().for_each(|value| hash.update(value));
    hash.update(time);
    let nibbles = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(HEX[usize::from(nibble)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1q784322ba1d9bb88d50cf5cdfd89k7d";
    const TEXT: &str = "您的验证码是：2546。请不要把验证码泄露给其他人。";
    const TIME: i64 = 1_451_544_941;

    fn credentials(auth: Auth) -> Credentials {
        Credentials { api_id: "test".into(), api_key: KEY.into(), auth }
    }

    fn parameters(form: &str) -> Vec<(String, String)> {
        url::form_urlencoded::parse(form.as_bytes()).into_owned().collect()
    }

    fn submitted(auth: Auth, payload: &Payload) -> Vec<(String, String)> {
        let mobile = Mobile::parse("13800138000").unwrap();
        parameters(&submit(&credentials(auth), mobile, payload, TIME, Format::Json))
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_vendors_vectors() {
        let submit = [
            ("account", "test"),
            ("password", "34fbd71aa722b22200eb984adfe01fba"),
            ("time", "1451544941"),
            ("mobile", "13800138000"),
            ("content", TEXT),
            ("format", "json"),
        ];
        assert_eq!(submitted(Auth::Dynamic, &Payload::Text(TEXT.into())), pairs(&submit));
        let balance = balance(&credentials(Auth::Dynamic), TIME, Format::Xml);
        let expect = "account=test&password=73f6e7a36e0fd30ad7eea940ca1896b2&time=1451544941&format=xml";
        assert_eq!(balance, expect);
    }

    #[test]
    fn a_static_password_is_the_key_and_needs_no_time() {
        let expect =
            [("account", "test"), ("password", KEY), ("mobile", "13800138000"), ("content", TEXT), ("format", "json")];
        assert_eq!(submitted(Auth::Static, &Payload::Text(TEXT.into())), pairs(&expect));
    }

    #[test]
    fn a_template_signs_its_joined_variables() {
        let payload = Payload::Template { id: "1".into(), variables: vec!["张三".into(), "8888".into()] };
        let sent = submitted(Auth::Dynamic, &payload);
        let value = |name: &str| sent.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!((value("content").as_str(), value("templateid").as_str()), ("张三|8888", "1"));
        let expect = password("test", KEY, &["13800138000", "张三|8888"], "1451544941");
        assert_eq!(value("password"), expect);
    }

    #[test]
    fn signs_that_mean_something_in_a_form_arrive_unharmed() {
        for text in ["100% & more = +1 ?#", "a%26b", "行一\n行二\r\n", "~!@#$^*()_-[]{}|\\;:'\",.<>/`", " 前后 "]
        {
            let sent = submitted(Auth::Dynamic, &Payload::Text(text.into()));
            assert!(sent.contains(&("content".into(), text.into())), "{text}");
            let expect = password("test", KEY, &["13800138000", text], "1451544941");
            assert!(sent.contains(&("password".into(), expect)), "signed before it is encoded: {text}");
        }
    }
}
