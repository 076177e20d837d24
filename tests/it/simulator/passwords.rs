//! Static and dynamic passwords, the window, and the mistakes real clients make with them.

use std::time::Duration;

use dispatcher::simulator::{Account, Options, Rules, Simulator};
use md5::{Digest, Md5};

use super::wire::{ACCOUNT, Client, KEY, MOBILE, Submit, TEXT, get, post, start, unix_now};

const VECTOR_TIME: u64 = 1_451_544_941;

async fn with_rules(rules: Rules) -> Simulator {
    start(Options { rules: Rules { per_second: 0, ..rules }, ..Options::default() }).await
}

async fn code(simulator: &Simulator, submit: Submit) -> i64 {
    Client::connect(simulator).await.call(submit.post()).await.code()
}

/// The vendor's account, in a window that reaches back to its example.
async fn vendor_example() -> Simulator {
    start(Options {
        accounts: vec![Account::new("test", "1q784322ba1d9bb88d50cf5cdfd89k7d")],
        window: Duration::from_secs(100 * 365 * 86_400),
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn the_documented_vectors_are_right() {
    let simulator = vendor_example().await;
    let submit = Submit::of(&[
        ("account", "test"),
        ("password", "34fbd71aa722b22200eb984adfe01fba"),
        ("mobile", "13800138000"),
        ("content", "您的验证码是：2546。请不要把验证码泄露给其他人。"),
        ("time", "1451544941"),
    ]);
    assert_eq!(code(&simulator, submit.clone()).await, 2);
    let upper = submit.with("password", "34FBD71AA722B22200EB984ADFE01FBA");
    assert_eq!(code(&simulator, upper).await, 40502, "lower-case hex only");
    let query = "account=test&password=73f6e7a36e0fd30ad7eea940ca1896b2&time=1451544941";
    let mut client = Client::connect(&simulator).await;
    assert_eq!(client.call(get(&format!("/webservice/sms.php?method=GetNum&{query}"))).await.code(), 2);
}

#[tokio::test]
async fn a_dynamic_password_holds_inside_the_window_only() {
    let rules = Rules { per_second: 0, ..Rules::default() };
    let simulator = start(Options { window: Duration::from_secs(60), rules, ..Options::default() }).await;
    let signed = |time| Submit::signed(ACCOUNT, KEY, MOBILE, TEXT, time);
    for (offset, expected) in [(0, 2), (-50, 2), (50, 2), (-80, 40501), (80, 40501)] {
        let time = unix_now().checked_add_signed(offset).unwrap();
        assert_eq!(code(&simulator, signed(time)).await, expected, "{offset} s");
    }
    for time in ["123", "17954495980", "yesterday..", "-795449598"] {
        assert_eq!(code(&simulator, signed(0).with("time", time)).await, 40501, "{time}");
    }
}

#[tokio::test]
async fn one_timestamp_for_a_whole_batch_runs_out() {
    let simulator = with_rules(Rules::default()).await;
    assert_eq!(code(&simulator, Submit::signed(ACCOUNT, KEY, MOBILE, TEXT, unix_now())).await, 2);
    assert_eq!(code(&simulator, Submit::signed(ACCOUNT, KEY, MOBILE, TEXT, VECTOR_TIME)).await, 40501);
}

#[tokio::test]
async fn each_signed_value_matters() {
    let simulator = with_rules(Rules::default()).await;
    let time = unix_now();
    let right = Submit::signed(ACCOUNT, KEY, MOBILE, TEXT, time);
    assert_eq!(code(&simulator, right.clone()).await, 2);
    assert_eq!(code(&simulator, right.clone().with("mobile", "13800138001")).await, 40502);
    assert_eq!(code(&simulator, right.clone().with("content", "别的")).await, 40502);
    assert_eq!(code(&simulator, right.clone().with("time", &(time + 1).to_string())).await, 40502);
    assert_eq!(code(&simulator, right.without("time")).await, 405, "a digest alone is a wrong key");
    let wrong_key = Submit::signed(ACCOUNT, "another", MOBILE, TEXT, time);
    assert_eq!(code(&simulator, wrong_key).await, 40502);
}

#[tokio::test]
async fn the_static_password_is_the_key_with_or_without_a_time() {
    let submit = Submit::of(&[("account", ACCOUNT), ("password", KEY), ("mobile", MOBILE), ("content", TEXT)]);
    let simulator = with_rules(Rules::default()).await;
    assert_eq!(code(&simulator, submit.clone()).await, 2);
    assert_eq!(code(&simulator, submit.clone().with("password", "wrong")).await, 405);
    assert_eq!(code(&simulator, submit.clone().with("account", "C99999999")).await, 405);
    let timed = submit.clone().with("time", &unix_now().to_string());
    assert_eq!(code(&simulator, timed.clone()).await, 2);
    let strict = with_rules(Rules { static_with_time: false, unknown_is_4053: true, ..Rules::default() }).await;
    assert_eq!(code(&strict, timed).await, 40502);
    assert_eq!(code(&strict, submit.with("account", "C99999999")).await, 4053);
}

#[tokio::test]
async fn the_content_is_signed_exactly_as_decoded() {
    let simulator = with_rules(Rules::default()).await;
    let mut client = Client::connect(&simulator).await;
    for content in ["满100%减20%25", "a&b=c", "1+1=2 ？", "%E4%BD%A0", "A|顺丰|", " 两头 空格 ", "𠮷\r\n\t;#?/\\\"'"]
    {
        let submit = Submit::dynamic(MOBILE, content);
        assert_eq!(client.call(submit.post()).await.code(), 2, "POST {content:?}");
        assert_eq!(client.call(submit.get()).await.code(), 2, "GET {content:?}");
        let last = simulator.submissions().pop().unwrap();
        assert_eq!(last.content, content);
    }
}

#[tokio::test]
async fn an_unencoded_body_is_corrupted_and_so_wrongly_signed() {
    let simulator = with_rules(Rules::default()).await;
    let mut client = Client::connect(&simulator).await;
    for content in ["买一送一 & 包邮", "1+1=2", "降价%20以上"] {
        let fields = Submit::dynamic(MOBILE, content).fields;
        let raw: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = post("/webservice/sms.php?method=Submit", "application/x-www-form-urlencoded", &raw.join("&"));
        assert_eq!(client.call(request).await.code(), 40502, "{content}");
    }
}

#[tokio::test]
async fn a_gbk_body_is_never_taken() {
    let simulator = with_rules(Rules::default()).await;
    // 您好 in GBK, percent-encoded, and signed over the very same bytes.
    let (bytes, encoded, time) = (b"\xc4\xfa\xba\xc3", "%C4%FA%BA%C3", unix_now());
    let mut digest = Md5::new();
    digest.update(format!("{ACCOUNT}{KEY}{MOBILE}"));
    digest.update(bytes);
    digest.update(time.to_string());
    let password: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!("account={ACCOUNT}&password={password}&mobile={MOBILE}&content={encoded}&time={time}");
    let request = post("/webservice/sms.php?method=Submit", "application/x-www-form-urlencoded", &body);
    assert_eq!(Client::connect(&simulator).await.call(request).await.code(), 4072);
}
