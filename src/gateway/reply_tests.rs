use proptest::prelude::*;

use super::*;

const SMSID: &str = "14515449415123456789";
const CAPTURED: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<SubmitResult xmlns=\"http://106.ihuyi.com/\">\n\
    <code>2</code>\n<msg>提交成功</msg>\n<smsid>14515449415123456789</smsid>\n</SubmitResult>\n";

fn answer(code: i64, message: &str, smsid: Option<&str>) -> Result<Answer, &'static str> {
    Ok(Answer { code, message: message.into(), smsid: smsid.map(str::to_owned) })
}

fn result(fields: &str) -> String {
    format!("<SubmitResult>{fields}</SubmitResult>")
}

#[test]
fn captured_replies() {
    let taken = answer(2, "提交成功", Some(SMSID));
    assert_eq!(submit(CAPTURED.as_bytes()), taken);
    assert_eq!(submit(CAPTURED.replace(".com/", ".cn/").as_bytes()), taken);
    assert_eq!(submit(CAPTURED.replace(" xmlns=\"http://106.ihuyi.com/\"", "").as_bytes()), taken);
    let refused = "{\"code\":406,\"msg\":\"手机格式不正确，格式为11位的数字.\",\"smsid\":\"0\"}";
    assert_eq!(submit(refused.as_bytes()), answer(406, "手机格式不正确，格式为11位的数字.", None));
}

#[test]
fn every_spelling_of_success() {
    for body in [
        r#"{"code":2,"msg":"ok","smsid":"14515449415123456789"}"#,
        r#"{"code":"2","msg":"ok","smsid":14515449415123456789}"#,
        r#"{"smsid":"14515449415123456789","msg":"\u006fk","code":2,"more":{"code":0},"and":[1]}"#,
        " \r\n{ \"code\" : 2 , \"msg\" : \" ok \" , \"smsid\" : \" 14515449415123456789\" }\n\n",
        "\u{feff}{\"code\":2,\"msg\":\"ok\",\"smsid\":\"14515449415123456789\"}",
        "\u{feff}<SubmitResult><code> 2\n</code><msg>ok</msg><smsid>14515449415123456789</smsid></SubmitResult>",
        "\n<s:SubmitResult xmlns:s='x'><s:code a=\"1\">2</s:code><s:msg>ok</s:msg><s:smsid>14515449415123456789</s:smsid></s:SubmitResult>",
        "<SubmitResult><!-- 0 --><code><![CDATA[2]]></code><msg>&#111;k</msg><smsid>14515449415123456789</smsid></SubmitResult>",
        "<SubmitResult><more><code>0</code></more><code>2</code><msg>ok</msg><smsid>14515449415123456789</smsid></SubmitResult>",
    ] {
        assert_eq!(submit(body.as_bytes()), answer(2, "ok", Some(SMSID)), "{body}");
    }
}

#[test]
fn an_smsid_may_be_missing() {
    for body in [
        r#"{"code":2,"msg":"ok"}"#.to_owned(),
        r#"{"code":2,"msg":"ok","smsid":null}"#.into(),
        r#"{"code":2,"msg":"ok","smsid":""}"#.into(),
        r#"{"code":2,"msg":"ok","smsid":"0"}"#.into(),
        r#"{"code":2,"msg":"ok","smsid":0}"#.into(),
        r#"{"code":2,"msg":"ok","smsid":1.4515449415123457e+19}"#.into(),
        r#"{"code":2,"msg":"ok","smsid":"\u0000"}"#.into(),
        result("<code>2</code><msg>ok</msg>"),
        result("<code>2</code><msg>ok</msg><smsid/>"),
        result("<code>2</code><msg>ok</msg><smsid> 0 </smsid>"),
        format!(r#"{{"code":2,"msg":"ok","smsid":"{}"}}"#, "1".repeat(65)),
    ] {
        assert_eq!(submit(body.as_bytes()), answer(2, "ok", None), "{body}");
    }
}

#[test]
fn a_code_is_not_its_prefix() {
    for (text, code) in [("201", 201), ("20", 20), ("40722", 40722), ("0", 0), ("-1", -1)] {
        assert_eq!(submit(result(&format!("<code>{text}</code>")).as_bytes()), answer(code, "", None));
        assert_eq!(submit(format!("{{\"code\":{text}}}").as_bytes()), answer(code, "", None));
        assert_eq!(submit(format!("{{\"code\":\"{text}\"}}").as_bytes()), answer(code, "", None));
    }
}

#[test]
fn what_is_no_code_is_unreadable() {
    for code in ["2.0", "2 x", "+2", "02", "0x2", "２", "", " ", "two", "2e0", "99999999999999999999"] {
        assert!(submit(result(&format!("<code>{code}</code>")).as_bytes()).is_err(), "{code}");
        assert!(submit(format!("{{\"code\":\"{code}\"}}").as_bytes()).is_err(), "{code}");
    }
    for code in ["2.0", "2e0", "true", "null", "[2]", "{\"code\":2}", "99999999999999999999", "\"\\ud800\""] {
        assert!(submit(format!("{{\"code\":{code},\"smsid\":\"7\"}}").as_bytes()).is_err(), "{code}");
    }
}

#[test]
fn odd_documents_are_unreadable() {
    for body in [
        "",
        " \n",
        "2",
        "success",
        "\"2\"",
        "[{\"code\":2}]",
        "{\"msg\":\"ok\",\"smsid\":\"7\"}",
        "{\"code\":2,\"code\":0}",
        "{\"code\":2,\"smsid\":\"7\",\"smsid\":\"8\"}",
        "{\"code\":2,\"smsid\":[\"7\"]}",
        "{\"code\":2,\"smsid\":\"7\"",
        "{\"code\":2}{\"code\":0}",
        "{\"SubmitResult\":{\"code\":2,\"smsid\":\"7\"}}",
        "<SubmitResult><code>2</code><smsid>7</smsid>",
        "<SubmitResult><code>2</code><smsid>7</smsid></Submit",
        "<SubmitResult><code>2</code><code>0</code></SubmitResult>",
        "<SubmitResult><code>2<b/></code></SubmitResult>",
        "<SubmitResult><code><b>2</b></code></SubmitResult>",
        "<SubmitResult><result><code>2</code></result></SubmitResult>",
        "<SubmitResult><code>2</msg></SubmitResult>",
        "<SubmitResult><code>2</code></SubmitResult><SubmitResult><code>0</code></SubmitResult>",
        "<SubmitResult><code>2</code></SubmitResult> and more",
        "<SubmitResult/>",
        "<code>2</code>",
        "<GetNumResult><code>2</code><num>5</num></GetNumResult>",
        "<!DOCTYPE html><html><body><code>2</code></body></html>",
        "<!DOCTYPE x [<!ENTITY a \"2\">]><SubmitResult><code>&a;</code></SubmitResult>",
        "<html><code>2</code><smsid>7</smsid></html>",
        "<br />\n<b>Warning</b>: something in sms.php {\"code\":2}",
    ] {
        assert!(submit(body.as_bytes()).is_err(), "{body}");
    }
    assert!(submit(&CAPTURED.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()).is_err());
}

#[test]
fn words_may_be_anything() {
    let message = |body: String| submit(body.as_bytes()).unwrap().message;
    assert_eq!(message(result("<code>0</code><msg>a &amp; b &lt;c&gt; & d &what;</msg>")), "a & b <c> & d \u{fffd}");
    assert_eq!(message(r#"{"code":0,"msg":"\u63d0\u4ea4 \"x\" \u0000"}"#.into()), "提交 \"x\" ");
    assert_eq!(message(r#"{"code":0,"msg":"\ud83d"}"#.into()), r#""\ud83d""#);
    assert_eq!(message(r#"{"code":0,"msg":7}"#.into()), "7");
    assert_eq!(message(r#"{"code":0,"msg":null}"#.into()), "");
    assert_eq!(message(r#"{"code":0,"msg":{"a":[1]}}"#.into()), r#"{"a":[1]}"#);
    assert_eq!(message(r#"{"code":0,"msg":true}"#.into()), "true");
    assert_eq!(message(r#"{"code":0}"#.into()), "");
    assert_eq!(message(result("<code>0</code><msg><b>bold</b></msg>")), "");
    assert_eq!(message(format!("{{\"code\":0,\"msg\":\"{}\"}}", "字".repeat(900))).chars().count(), 500);
}

#[test]
fn odd_fields_beside_a_code_do_not_change_it() {
    let read = |body: &str| submit(body.as_bytes());
    assert_eq!(read(r#"{"code":2,"msg":["ok"],"smsid":123}"#), answer(2, r#"["ok"]"#, Some("123")));
    assert_eq!(read(r#"{"code":2,"msg":7,"smsid":null}"#), answer(2, "7", None));
    assert_eq!(read(r#"{"code":2,"smsid":false}"#), answer(2, "", None));
    assert_eq!(read(r#"{"code":406,"msg":false,"smsid":false}"#), answer(406, "", None));
    assert_eq!(read(r#"{"code":406,"msg":{},"smsid":null}"#), answer(406, "{}", None));
    assert!(read(r#"{"code":2,"smsid":true}"#).is_err() && read(r#"{"code":false,"smsid":"7"}"#).is_err());
}

#[test]
fn gbk_spoils_the_words_only() {
    // 提交成功, then 誠 (0xd55c): its second byte is a backslash, before a quote.
    let words = b"\xcc\xe1\xbd\xbb\xb3\xc9\xb9\xa6\xd5\x5c";
    let json = [&b"{\"code\":2,\"msg\":\""[..], words, b"\",\"smsid\":\"7\"}"].concat();
    let xml = [&b"<SubmitResult><code>2</code><msg>"[..], words, b"</msg><smsid>7</smsid></SubmitResult>"].concat();
    for body in [json, xml] {
        assert_eq!(submit(&body), answer(2, &"\u{fffd}".repeat(5), Some("7")));
    }
}

#[test]
fn a_balance_is_a_number_or_a_string() {
    let xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<GetNumResult xmlns=\"http://106.ihuyi.com/\">\n<code>2</code>\n\
        <msg>查询成功</msg>\n<num>1000</num>\n</GetNumResult>\n";
    let left = |body: &str| match balance(body.as_bytes()) {
        Ok(Balance::Answer { code: 2, left, .. }) => left,
        other => panic!("{other:?}"),
    };
    assert_eq!(left(xml), Some(1000));
    assert_eq!(left(r#"{"code":2,"msg":"查询成功","num":1000}"#), Some(1000));
    assert_eq!(left(r#"{"code":"2","msg":"查询成功","num":"1000.5"}"#), Some(1000));
    assert_eq!(left(r#"{"code":2,"msg":"查询成功","num":0}"#), Some(0));
    assert_eq!(left(r#"{"code":2,"msg":"查询成功","num":-3}"#), Some(-3));
    for body in [r#"{"code":2}"#, r#"{"code":2,"num":"many"}"#, r#"{"code":2,"num":"NaN"}"#] {
        assert_eq!(left(body), None, "{body}");
    }
    assert!(balance(CAPTURED.as_bytes()).is_err());
    let refused = balance(r#"{"code":405,"msg":"用户名或密码不正确","num":0}"#.as_bytes()).unwrap();
    assert!(matches!(refused, Balance::Answer { code: 405, .. }));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = submit(&body);
    }

    #[test]
    fn a_reply_that_is_cut_is_never_read(end in 0..CAPTURED.len() - 1) {
        prop_assert!(submit(&CAPTURED.as_bytes()[..end]).is_err());
    }

    #[test]
    fn a_reply_with_bytes_changed_is_never_a_wrong_success(
        at in 0..CAPTURED.len(), with in any::<u8>(), code in "0|1|3|20|40[0-9]{1,3}",
    ) {
        let mut body = CAPTURED.replace("<code>2<", &format!("<code>{code}<")).into_bytes();
        let at = at.min(body.len() - 1);
        // Not the code's own digits.
        let digits = CAPTURED.find("<code>").unwrap() + 6;
        if !(digits..digits + code.len()).contains(&at) {
            body[at] = with;
            if let Ok(answer) = submit(&body) {
                prop_assert_ne!(answer.code, 2);
            }
        }
    }
}
