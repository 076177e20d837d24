//! What arrives at the gateway is what was published, in every way of writing it.

use std::collections::HashMap;

use dispatcher::simulator::{Account, Options, Rules, Scripted, Template};
use serde_json::json;

use crate::support::stage::{Stage, lenient};
use crate::support::{job, number};

/// Jobs for each way of writing.
const JOBS: usize = 250;

/// What breaks clients that encode, sign or join carelessly.
const NASTY: [&str; 24] = [
    "100% 折扣",
    "%41%42%E6%82%A8",
    "%",
    "%%",
    "a&b=c&content=x&mobile=13800138000",
    "1+1=2",
    "a b  c",
    " 前后有空格 ",
    "第一行\n第二行",
    "回车\r\n换行",
    "制表\t符",
    "引号\"单引号'反引号`",
    "反斜杠\\n\\u0041",
    "<b>&lt;尖括号&gt;</b>",
    "]]>",
    "#?/;:@,$!*'()[]{}~^",
    "|竖线|",
    "【签名】您好",
    "全角！＠＃％＆＋＝",
    "繁體字與日本語カナ한글",
    "𠮷𪚥生僻字",
    "é ü ß ñ",
    "零宽\u{200b}字符\u{feff}",
    "您的验证码是：2546。请不要把验证码泄露给其他人。",
];

fn content(n: usize) -> String {
    let nasty = NASTY[n % NASTY.len()];
    if n < NASTY.len() { nasty.to_owned() } else { format!("{nasty}{n}") }
}

async fn arrives(method: &'static str, format: &'static str, auth: &str) {
    let rules = Rules { per_second: 0, static_with_time: false, ..Rules::default() };
    let mut stage = Stage::with(Options { rules, ..lenient() }).await;
    stage.set("gateway.method", method);
    stage.set("gateway.format", format);
    stage.set("accounts.main.auth", auth);
    stage.start().await;
    let jobs: Vec<_> =
        (0..JOBS).map(|n| json!({"id": format!("job-{n}"), "mobile": number(n), "content": content(n)})).collect();
    stage.publish("normal", &jobs).await;
    stage.states(&format!("accepted {JOBS}")).await;
    let submissions = stage.gateway.submissions();
    assert_eq!(submissions.len(), JOBS);
    let sent: HashMap<_, _> = submissions.iter().map(|submit| (submit.mobile.clone(), submit)).collect();
    for n in 0..JOBS {
        let submit = sent[&number(n)];
        assert_eq!((submit.method, submit.format, submit.code), (method, format, Some(2)));
        assert_eq!(submit.content, content(n));
        assert_eq!((submit.templateid.as_str(), submit.time.is_empty()), ("", auth == "static"));
        let row = stage.db.job(&format!("job-{n}")).await.unwrap();
        assert_eq!((row.smsid.as_deref(), row.mobile), (Some(submit.smsid.as_str()), number(n)));
    }
    stage.finish().await;
}

#[tokio::test]
async fn post_json_dynamic() {
    arrives("POST", "json", "dynamic").await;
}

#[tokio::test]
async fn post_json_static() {
    arrives("POST", "json", "static").await;
}

#[tokio::test]
async fn post_xml_dynamic() {
    arrives("POST", "xml", "dynamic").await;
}

#[tokio::test]
async fn post_xml_static() {
    arrives("POST", "xml", "static").await;
}

#[tokio::test]
async fn get_json_dynamic() {
    arrives("GET", "json", "dynamic").await;
}

#[tokio::test]
async fn get_json_static() {
    arrives("GET", "json", "static").await;
}

#[tokio::test]
async fn get_xml_dynamic() {
    arrives("GET", "xml", "dynamic").await;
}

#[tokio::test]
async fn get_xml_static() {
    arrives("GET", "xml", "static").await;
}

/// Every combination of method, format and password: a balance is asked, a job is sent.
async fn every_combination(path: Option<&str>) {
    let rules = Rules { per_second: 0, static_with_time: false, ..Rules::default() };
    let mut stage = Stage::with(Options { rules, ..lenient() }).await;
    if let Some(path) = path {
        let older = stage.gateway.submit_url();
        stage.set("gateway.submit_url", &format!("{}{path}", older.split("/webservice").next().unwrap()));
    }
    for n in 0..8 {
        let method = ["POST", "GET"][n / 4];
        let format = ["json", "xml"][n / 2 % 2];
        let auth = ["dynamic", "static"][n % 2];
        let case = format!("{path:?} {method} {format} {auth}");
        stage.set("gateway.method", method);
        stage.set("gateway.format", format);
        stage.set("accounts.main.auth", auth);
        stage.start().await;
        // The job is refused for the account's balance; the probe asks for it, and finds some.
        stage.gateway.script(&number(n), vec![Scripted::Code(4051, "余额不足".into())]);
        let asked = stage.gateway.stats().balance_queries;
        stage.publish("high", [&job(&format!("job-{n}"), &number(n))]).await;
        let row = stage.settled(&format!("job-{n}"), "accepted").await;
        assert!(stage.gateway.stats().balance_queries > asked, "{case}");
        let submit = stage.gateway.submissions().pop().unwrap();
        // The newer generation speaks JSON alone.
        let spoken = if path.is_some() { "json" } else { format };
        assert_eq!((submit.method, submit.format, submit.code), (method, spoken, Some(2)), "{case}");
        assert_eq!((submit.mobile, Some(submit.smsid)), (number(n), row.smsid), "{case}");
        assert_eq!(submit.time.is_empty(), auth == "static", "{case}");
        stage.stop().await;
    }
    stage.finish().await;
}

#[tokio::test]
async fn the_older_endpoint_takes_every_combination() {
    every_combination(None).await;
}

#[tokio::test]
async fn the_newer_endpoint_takes_every_combination() {
    every_combination(Some("/sms/Submit.json")).await;
}

#[tokio::test]
async fn templates_and_accounts_arrive_as_published() {
    let mut second = Account::new("C00000002", "another-key");
    second.templates.push(Template::new("277", "您的订单【变量】已由【变量】签收。"));
    let rules = Rules { per_second: 0, strict_templates: true, ..Rules::default() };
    let mut stage = Stage::with(Options { accounts: vec![Account::default(), second], rules, ..lenient() }).await;
    stage.start().await;
    let test = json!({"id": "t-1", "mobile": number(1), "template_id": "1", "variables": ["2546"]});
    let two = json!({
        "id": "t-2", "mobile": number(2), "account": "a1", "template_id": "277", "variables": ["A&1%+", "张 三"],
    });
    let text = json!({"id": "t-3", "mobile": number(3), "account": "a1", "content": "您的订单 1 已由门卫签收。"});
    let unknown = json!({"id": "t-4", "mobile": number(4), "template_id": "277", "variables": ["1", "2"]});
    stage.publish("high", [&test, &two, &text, &unknown]).await;
    stage.states("accepted 3, failed 1").await;
    let submissions = stage.gateway.submissions();
    let sent = |n: usize| {
        let submit = submissions.iter().find(|submit| submit.mobile == number(n)).unwrap();
        (submit.account.as_str(), submit.templateid.as_str(), submit.content.as_str())
    };
    assert_eq!(sent(1), ("C00000001", "1", "2546"));
    assert_eq!(sent(2), ("C00000002", "277", "A&1%+|张 三"));
    assert_eq!(sent(3), ("C00000002", "", "您的订单 1 已由门卫签收。"));
    assert_eq!(sent(4), ("C00000001", "277", "1|2"));
    stage.finish().await;
}

#[tokio::test]
async fn every_attempt_has_a_fresh_time_and_connections_are_kept() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "1100ms");
    stage.set("retry.max", "1100ms");
    stage.set("accounts.main.max_in_flight", "3");
    let again = dispatcher::simulator::Scripted::Code(0, "提交失败".into());
    stage.gateway.script(&number(0), vec![again.clone(), again]);
    stage.start().await;
    let jobs: Vec<_> = (0..100).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    stage.states("accepted 100").await;
    let submissions = stage.gateway.submissions();
    let times: Vec<&str> =
        submissions.iter().filter(|submit| submit.mobile == number(0)).map(|submit| submit.time.as_str()).collect();
    assert!(times.len() == 3 && times[0] < times[2], "{times:?}");
    for submit in &submissions {
        let time: f64 = submit.time.parse().unwrap();
        assert!((submit.at - time).abs() < 5.0, "{time} at {}", submit.at);
    }
    let connections = stage.gateway.stats().connections;
    // A connection that is being made when another becomes free is kept too.
    assert!(connections <= 6, "{connections} connections for 3 at a time");
    stage.finish().await;
}
