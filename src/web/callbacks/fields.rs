//! The fields of a push: from a form or a JSON object, in the body or in the query.

use url::form_urlencoded;

use crate::domain::fields::Fields;
use crate::domain::json::{Json, Members};

/// Reads a push. The media type is not looked at, for clients are careless with it: a body that is a
/// JSON object is read as one, every other as a form. What the body does not say, the query may. What
/// is no UTF-8 is replaced.
pub(super) fn read(query: Option<&str>, body: &[u8]) -> Fields {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let said = json(text).unwrap_or_else(|| form(text.as_bytes()));
    Fields::of(said.into_iter().chain(form(query.unwrap_or_default().as_bytes())))
}

fn form(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

/// The members of an object. A number keeps its digits: an smsid has more than a double can hold.
fn json(text: &str) -> Option<Vec<(String, String)>> {
    let members = Members::parse(text).ok()?.0.into_iter();
    let pairs = members.filter_map(|(name, raw)| match Json::parse(raw).ok()? {
        Json::Text(value) => Some((name.into_owned(), value.into_owned())),
        Json::Number => Some((name.into_owned(), raw.trim().to_owned())),
        _ => None,
    });
    Some(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(fields: &'a Fields, names: &[&str]) -> Vec<Option<&'a str>> {
        names.iter().map(|name| fields.get(name)).collect()
    }

    #[test]
    fn a_form_is_utf8() {
        let fields = read(None, "code=2&msg=%E5%8F%91%E9%80%81+%E6%88%90%E5%8A%9F&smsid=77\r\n".as_bytes());
        assert_eq!(get(&fields, &["code", "msg", "smsid"]), [Some("2"), Some("发送 成功"), Some("77")]);
        assert_eq!(read(None, b"msg=%C4%E3&smsid=7").get("smsid"), Some("7"), "also beside what is no UTF-8");
    }

    #[test]
    fn json_keeps_its_digits() {
        let body = r#" {"code": 2, "smsid": 17954495980000000001, "msg": "\u53d1", "extra": {"a": 1}, "none": null} "#;
        let fields = read(None, body.as_bytes());
        assert_eq!(
            get(&fields, &["code", "smsid", "msg", "extra", "none"]),
            [Some("2"), Some("17954495980000000001"), Some("发"), None, None]
        );
    }

    #[test]
    fn the_query_fills_what_the_body_leaves_open() {
        let fields = read(Some("smsid=1&code=0&msg=x"), b"smsid=2&code=");
        assert_eq!(get(&fields, &["smsid", "code", "msg"]), [Some("2"), Some("0"), Some("x")]);
        assert_eq!(read(Some("smsid=1"), b"").get("smsid"), Some("1"));
    }

    #[test]
    fn nonsense_has_no_fields() {
        for body in [&b""[..], b"{", b"[1]", b"\xff\xfe", b"{\"smsid\"}", b"null"] {
            assert_eq!(read(None, body).get("smsid"), None);
        }
    }
}
