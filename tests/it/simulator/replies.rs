//! Requests in every form the gateway takes, and its replies byte for byte.

use dispatcher::simulator::{Options, Rules, Scripted, Simulator, Wire};

use super::wire::{ACCOUNT, Client, KEY, MOBILE, Submit, TEXT, get, header, hex_md5, post, start, unix_now};

const FORM: &str = "application/x-www-form-urlencoded";
const SUBMIT: &str = "/webservice/sms.php?method=Submit";
const GET_NUM: &str = "/webservice/sms.php?method=GetNum";

/// A simulator without limits, so that one number will do.
async fn unlimited() -> Simulator {
    start(Options { rules: Rules { per_second: 0, ..Rules::default() }, ..Options::default() }).await
}

#[tokio::test]
async fn xml_is_the_default_to_the_byte() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let answer = client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
    let smsid = simulator.submissions()[0].smsid.clone();
    let expected = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<SubmitResult xmlns=\"http://106.ihuyi.com/\">\n<code>2</code>\n\
         <msg>提交成功</msg>\n<smsid>{smsid}</smsid>\n</SubmitResult>\n"
    );
    assert_eq!(answer.body, expected);
    let refused = client.call(get(SUBMIT)).await;
    let expected = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<SubmitResult xmlns=\"http://106.ihuyi.com/\">\n\
                    <code>401</code>\n<msg>帐号不能为空</msg>\n<smsid>0</smsid>\n</SubmitResult>\n";
    assert_eq!((refused.status, refused.body.as_str()), (200, expected));
}

#[tokio::test]
async fn json_is_flat_with_an_integer_code_and_a_string_smsid() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let refused = client.call(Submit::dynamic("1380013800", TEXT).json().post()).await;
    assert_eq!(refused.body, r#"{"code":406,"msg":"手机格式不正确，格式为11位的数字.","smsid":"0"}"#);
    let taken = client.call(Submit::dynamic(MOBILE, TEXT).json().post()).await;
    let smsid = &simulator.submissions()[1].smsid;
    assert_eq!(taken.body, format!(r#"{{"code":2,"msg":"提交成功","smsid":"{smsid}"}}"#));
    assert_eq!(header(&taken.head, "content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test]
async fn a_smsid_is_20_digits_with_the_time_first_and_never_repeated() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let before = unix_now();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let answer = client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
        let smsid = answer.smsid().to_owned();
        assert_eq!(smsid.len(), 20);
        assert!(smsid.parse::<i64>().is_err(), "past i64: {smsid}");
        let seconds: u64 = smsid[..10].parse().unwrap();
        assert!((before..=unix_now()).contains(&seconds));
        assert!(seen.insert(smsid));
    }
}

#[tokio::test]
async fn the_namespace_follows_the_host_called() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    for (host, namespace) in [
        ("106.ihuyi.cn", "http://106.ihuyi.cn/"),
        ("106.ihuyi.CN:80", "http://106.ihuyi.cn/"),
        ("106.ihuyi.com", "http://106.ihuyi.com/"),
    ] {
        let request = get(SUBMIT).replace("Host: 127.0.0.1", &format!("Host: {host}"));
        let answer = client.call(request).await;
        assert!(answer.body.contains(&format!("<SubmitResult xmlns=\"{namespace}\">")), "{answer:?}");
    }
    let wire = Wire { no_namespace: true, ..Wire::default() };
    let simulator = start(Options { wire, ..Options::default() }).await;
    let answer = Client::connect(&simulator).await.call(get(SUBMIT)).await;
    assert!(answer.body.contains("\n<SubmitResult>\n"), "{answer:?}");
}

#[tokio::test]
async fn parameters_may_be_in_the_query_the_body_or_both() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let submit = Submit::dynamic(MOBILE, TEXT).with("extno", "an unknown parameter");
    assert_eq!(client.call(submit.get()).await.code(), 2);
    assert_eq!(client.call(submit.post()).await.code(), 2);
    let query = submit.clone().without("content").encoded();
    let body = Submit::of(&[("content", TEXT)]).json().encoded();
    let mixed = client.call(post(&format!("{SUBMIT}&{query}"), FORM, &body)).await;
    assert_eq!(mixed.code(), 2);
    assert!(mixed.body.starts_with('{'), "format in the body counts too");
    let body_wins = post(&format!("{SUBMIT}&mobile=1&format=xml"), FORM, &submit.json().encoded());
    assert!(client.call(body_wins).await.body.starts_with("{\"code\":2,"));
    let methods: Vec<_> = simulator.submissions().iter().map(|entry| entry.method).collect();
    assert_eq!(methods, ["GET", "POST", "POST", "POST"]);
}

#[tokio::test]
async fn the_method_sits_in_the_query_only() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let body = Submit::dynamic(MOBILE, TEXT).with("method", "Submit").encoded();
    assert_eq!(client.call(post("/webservice/sms.php", FORM, &body)).await.status, 404);
    assert!(simulator.submissions().is_empty());
}

#[tokio::test]
async fn the_documented_get_with_raw_utf8_works() {
    let simulator = unlimited().await;
    let target = format!("{SUBMIT}&account={ACCOUNT}&password={KEY}&mobile={MOBILE}&content={TEXT}");
    let answer = Client::connect(&simulator).await.call(get(&target)).await;
    assert_eq!(answer.code(), 2, "{answer:?}");
    assert_eq!(simulator.submissions()[0].content, TEXT);
}

#[tokio::test]
async fn a_wrong_media_type_makes_the_body_invisible() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let body = Submit::dynamic(MOBILE, TEXT).json().encoded();
    for media_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        let answer = client.call(post(SUBMIT, media_type, &body)).await;
        assert!(answer.body.contains("<code>401</code>"), "{media_type}: {answer:?}");
    }
    for media_type in ["application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-URLEncoded"] {
        let answer = client.call(post(SUBMIT, media_type, &body)).await;
        assert!(answer.body.starts_with("{\"code\":2,"), "{media_type}: {answer:?}");
    }
}

#[tokio::test]
async fn the_newer_addresses_speak_json_only() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let submit = Submit::dynamic(MOBILE, TEXT);
    let posted = client.call(post("/sms/Submit.json", FORM, &submit.encoded())).await;
    assert!(posted.body.starts_with("{\"code\":2,"), "{posted:?}");
    let got = client.call(get(&format!("/sms/Submit.json?{}&format=xml", submit.encoded()))).await;
    assert!(got.body.starts_with("{\"code\":2,"), "{got:?}");
    let balance = client.call(get(&format!("/sms/GetNum.json?account={ACCOUNT}&password={KEY}"))).await;
    assert_eq!(balance.body, r#"{"code":2,"msg":"查询成功","num":999999998}"#);
    let invisible = client.call(post("/sms/Submit.json", "application/json", "{}")).await;
    assert_eq!(invisible.code(), 401);
}

#[tokio::test]
async fn a_balance_query_answers_to_the_byte() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    simulator.set_account(ACCOUNT, |account| account.balance = 42);
    let time = unix_now();
    let password = hex_md5(&format!("{ACCOUNT}{KEY}{time}"));
    let query = format!("{GET_NUM}&account={ACCOUNT}&password={password}&time={time}");
    let xml = client.call(get(&query)).await;
    let expected = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<GetNumResult xmlns=\"http://106.ihuyi.com/\">\n\
                    <code>2</code>\n<msg>查询成功</msg>\n<num>42</num>\n</GetNumResult>\n";
    assert_eq!(xml.body, expected);
    let json = client.call(get(&format!("{query}&format=json"))).await;
    assert_eq!(json.body, r#"{"code":2,"msg":"查询成功","num":42}"#);
    let posted = client.call(post(GET_NUM, FORM, &format!("account={ACCOUNT}&password=wrong&format=json"))).await;
    assert_eq!(posted.body, r#"{"code":405,"msg":"API ID 或 API KEY 不正确","num":0}"#);
    assert_eq!(simulator.stats().balance_queries, 3);
    assert!(simulator.submissions().is_empty(), "a balance query is no submission");
}

#[tokio::test]
async fn a_balance_query_has_few_codes() {
    let simulator = unlimited().await;
    let mut client = Client::connect(&simulator).await;
    let mut code = async |fields: &str| client.call(get(&format!("{GET_NUM}&format=json{fields}"))).await.code();
    let right = format!("&account={ACCOUNT}&password={KEY}");
    assert_eq!(code("").await, 401);
    assert_eq!(code(&format!("&account={ACCOUNT}")).await, 402);
    assert_eq!(code("&account=nobody&password=x").await, 405);
    let stale = hex_md5(&format!("{ACCOUNT}{KEY}1451544941"));
    assert_eq!(code(&format!("&account={ACCOUNT}&password={stale}&time=1451544941")).await, 405);
    simulator.set_account(ACCOUNT, |account| account.ip_denied = true);
    assert_eq!(code(&right).await, 400);
    simulator.set_account(ACCOUNT, |account| account.frozen = true);
    assert_eq!(code(&right).await, 4050);
}

#[tokio::test]
async fn special_characters_of_a_scripted_text_stay_well_formed() {
    let simulator = unlimited().await;
    simulator.script(MOBILE, vec![Scripted::Code(7, "a<b>&\"c\\\n".into()); 2]);
    let mut client = Client::connect(&simulator).await;
    let json = client.call(Submit::dynamic(MOBILE, TEXT).json().post()).await;
    assert_eq!(json.body, r#"{"code":7,"msg":"a<b>&\"c\\\u000a","smsid":"0"}"#);
    let xml = client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
    assert!(xml.body.contains("<msg>a&lt;b&gt;&amp;\"c\\\n</msg>"), "{xml:?}");
}
