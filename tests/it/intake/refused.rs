//! What is no valid job: kept whole, named, acknowledged, and never sent.

use std::iter::repeat_with;

use serde_json::{Value, json};

use crate::support::broker::Message;
use crate::support::stage::Stage;
use crate::support::{becomes, job};

/// A text and a number that no detail may quote.
const TEXT: &str = "秘密的订单";
const MOBILE: &str = "13812345678";

/// A bad message: the reason, a word that the detail must hold, and the body.
struct Bad(&'static str, &'static str, Vec<u8>);

fn minimal() -> Value {
    json!({ "id": "bad", "mobile": MOBILE, "content": TEXT })
}

fn changed(changes: Value) -> Vec<u8> {
    let mut body = minimal();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn field(name: &'static str, values: Vec<Value>) -> impl Iterator<Item = Bad> {
    let quoted: &'static str = format!("`{name}").leak();
    values.into_iter().map(move |value| Bad("bad_field", quoted, changed(json!({ name: value }))))
}

fn bad_fields() -> Vec<Bad> {
    let long = |n: usize| Value::from("字".repeat(n));
    let mut all = Vec::new();
    all.extend(field(
        "id",
        vec![
            json!(null),
            json!(""),
            json!(7),
            json!(true),
            json!([]),
            json!({}),
            json!("订单-1"),
            json!("a\tb"),
            json!("a\nb"),
            json!("é"),
            json!("\u{7f}"),
            json!("x".repeat(129)),
            json!("x".repeat(5_000)),
        ],
    ));
    all.extend(field(
        "mobile",
        vec![
            json!(null),
            json!(""),
            json!(" "),
            json!(13_812_345_678_u64),
            json!(1.5),
            json!(false),
            json!([MOBILE]),
            json!({"number": MOBILE}),
            json!("1381234567"),
            json!("138123456789"),
            json!("12812345678"),
            json!("10812345678"),
            json!("23812345678"),
            json!("03812345678"),
            json!("+85291234567"),
            json!("+13812345678"),
            json!("008513812345678"),
            json!("8613812345"),
            json!("++8613812345678"),
            json!("1381234567a"),
            json!("138.1234.5678"),
            json!("138+12345678"),
            json!("１３８１２３４５６７８"),
            json!("13812345678,13912345678"),
            json!("13812345678;"),
            json!("tel:13812345678"),
            json!("(138)12345678"),
            json!("138_1234_5678"),
        ],
    ));
    all.extend(field(
        "content",
        vec![
            json!(null),
            json!(""),
            json!(7),
            json!(true),
            json!([TEXT]),
            json!({"text": TEXT}),
            long(301),
            long(3_000),
        ],
    ));
    all.extend(field("account", vec![json!(7), json!(true), json!(["main"]), json!({})]));
    for name in ["not_before", "expires_at"] {
        all.extend(field(
            name,
            vec![
                json!(""),
                json!("soon"),
                json!("2026-11-11"),
                json!("2026-11-11T09:30:00"),
                json!("09:30:00+08:00"),
                json!("2026-13-01T00:00:00Z"),
                json!("2026-02-30T00:00:00Z"),
                json!("2026-11-11T25:00:00Z"),
                json!("2026-11-11T09:30:00+8"),
                json!("2026-11-11T09:30:00 Asia/Shanghai"),
                json!("11.11.2026 09:30"),
                json!(1_794_000_000),
                json!(1_794_000_000.5),
                json!(true),
                json!([]),
                json!({}),
            ],
        ));
    }
    all.extend(field(
        "on_unknown",
        vec![json!(""), json!("HOLD"), json!("retry"), json!("hold "), json!(0), json!(true), json!([]), json!({})],
    ));
    all.extend(field(
        "metadata",
        vec![
            json!([]),
            json!("x"),
            json!(7),
            json!(true),
            json!([{}]),
            json!({"k": "v".repeat(4_096)}),
            json!({"k": vec![0; 3_000]}),
        ],
    ));
    all
}

fn bad_templates() -> Vec<Bad> {
    let template = |id: Value, variables: Value| json!({ "content": null, "template_id": id, "variables": variables });
    let bad = |word, changes| Bad("bad_field", word, changed(changes));
    vec![
        bad("`content`", json!({ "template_id": "1" })),
        bad("`content`", json!({ "variables": ["a"] })),
        bad("`content`", json!({ "template_id": "1", "variables": ["a"] })),
        bad("`variables`", template(json!("1"), json!(null))),
        bad("`template_id`", template(json!(null), json!(["a"]))),
        bad("`template_id`", template(json!(""), json!(["a"]))),
        bad("`template_id`", template(json!(1), json!(["a"]))),
        bad("`template_id`", template(json!("模板"), json!(["a"]))),
        bad("`template_id`", template(json!("1".repeat(65)), json!(["a"]))),
        bad("`variables`", template(json!("1"), json!([]))),
        bad("`variables`", template(json!("1"), json!([""]))),
        bad("`variables`", template(json!("1"), json!("a"))),
        bad("`variables`", template(json!("1"), json!({"0": "a"}))),
        bad("`variables`", template(json!("1"), json!(7))),
        bad("`variables[0]`", template(json!("1"), json!([7]))),
        bad("`variables[1]`", template(json!("1"), json!(["a", null]))),
        bad("`variables[2]`", template(json!("1"), json!(["a", "b", ["c"]]))),
        bad("`variables[0]`", template(json!("1"), json!(["a|b"]))),
        bad("`variables[1]`", template(json!("1"), json!(["a", "|"]))),
        bad("`variables`", template(json!("1"), json!(["字".repeat(301)]))),
        bad("`variables`", template(json!("1"), json!(["字".repeat(150), "字".repeat(150)]))),
    ]
}

fn bad_names_and_windows() -> Vec<Bad> {
    let raw = |reason, word, body: &str| Bad(reason, word, body.replace("MOBILE", MOBILE).into_bytes());
    let window = |from: &str, to: &str| changed(json!({ "not_before": from, "expires_at": to }));
    vec![
        Bad("bad_field", "`prio`", changed(json!({ "prio": "high" }))),
        Bad("bad_field", "`Mobile`", changed(json!({ "Mobile": MOBILE }))),
        Bad("bad_field", "`expire_at`", changed(json!({ "expire_at": null }))),
        Bad("bad_field", "no known field", changed(json!({ "": 1 }))),
        Bad("bad_field", "no known field", changed(json!({ MOBILE: 1 }))),
        Bad("bad_field", "no known field", changed(json!({ TEXT: 1 }))),
        raw("bad_field", "`id`", r#"{"id":"a","mobile":"MOBILE","content":"x","id":"b"}"#),
        raw("bad_field", "`content`", r#"{"id":"a","mobile":"MOBILE","content":"x","content":"x"}"#),
        raw("bad_field", "`mobile`", r#"{"id":"a","mobile":"MOBILE","content":"x","mobile":null}"#),
        raw("bad_field", "`metadata`", r#"{"id":"a","mobile":"MOBILE","content":"x","metadata":{"k":1,"k":2}}"#),
        raw("bad_field", "`id`", "{}"),
        Bad("bad_window", "`not_before`", window("2030-01-01T00:00:01Z", "2030-01-01T00:00:00Z")),
        Bad("bad_window", "`expires_at`", window("2030-01-01T08:00:00+08:00", "2029-12-31T23:59:59.999Z")),
        Bad("unknown_account", "`account`", changed(json!({ "account": "" }))),
        Bad("unknown_account", "`account`", changed(json!({ "account": "Main" }))),
        Bad("unknown_account", "`account`", changed(json!({ "account": "marketing" }))),
        Bad("unknown_account", "`account`", changed(json!({ "account": MOBILE }))),
        Bad("nul", "`id`", changed(json!({ "id": "a\0" }))),
        Bad("nul", "`mobile`", changed(json!({ "mobile": "138\u{0}12345678" }))),
        Bad("nul", "`content`", changed(json!({ "content": "\0" }))),
        Bad("nul", "`account`", changed(json!({ "account": "main\0" }))),
        Bad("nul", "`metadata`", changed(json!({ "metadata": { "k": ["\0"] } }))),
        Bad("nul", "`metadata`", changed(json!({ "metadata": { "\0": 1 } }))),
        Bad("nul", "`variables`", changed(json!({ "content": null, "template_id": "1", "variables": ["\0"] }))),
    ]
}

fn no_json() -> Vec<Bad> {
    let utf16: Vec<u8> =
        String::from_utf8(changed(json!({}))).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut gbk = b"{\"id\":\"g\",\"mobile\":\"13812345678\",\"content\":\"".to_vec();
    gbk.extend_from_slice(&[0xc4, 0xfa, 0xb5, 0xc4]);
    gbk.extend_from_slice(b"\"}");
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("bad_json", b"".to_vec()),
        ("bad_json", b" \r\n".to_vec()),
        ("bad_json", b"{".to_vec()),
        ("bad_json", b"[]".to_vec()),
        ("bad_json", b"null".to_vec()),
        ("bad_json", b"\"text\"".to_vec()),
        ("bad_json", b"42".to_vec()),
        ("bad_json", b"id=1&mobile=13812345678".to_vec()),
        ("bad_json", b"<job/>".to_vec()),
        ("bad_json", b"{'id':'1'}".to_vec()),
        ("bad_json", b"{\"id\":\"1\",}".to_vec()),
        ("bad_json", b"{\"id\":\"1\"} {}".to_vec()),
        ("bad_json", b"{\"id\":NaN}".to_vec()),
        ("bad_json", b"{\"metadata\":{\"k\":1e999}}".to_vec()),
        ("bad_json", b"{\"id\":\"\\ud800\"}".to_vec()),
        ("bad_json", b"\xef\xbb\xbf{}".to_vec()),
        ("bad_json", vec![0xff, 0xfe, 0x7b]),
        ("bad_json", gbk),
        ("bad_json", "[".repeat(100_000).into_bytes()),
        ("bad_json", "{\"metadata\":".repeat(50_000).into_bytes()),
        ("bad_json", format!("{{\"id\":\"{}\"}}", "x".repeat(300_000)).into_bytes()),
        ("nul", b"{\"id\":\"a\0\"}".to_vec()),
        ("nul", vec![0]),
        ("nul", utf16),
    ];
    // Nothing is a field there; what is wrong is said all the same.
    bodies.into_iter().map(|(reason, body)| Bad(reason, "", body)).collect()
}

#[tokio::test]
async fn every_bad_message_is_kept_whole_with_its_reason() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let bad: Vec<Bad> =
        [bad_fields(), bad_templates(), bad_names_and_windows(), no_json()].into_iter().flatten().collect();
    assert!(bad.len() >= 150, "{}", bad.len());
    let messages: Vec<Message> = (bad.iter().enumerate())
        .map(|(n, Bad(.., body))| Message::raw("high.x", body.clone()).with_header("case", &n.to_string()))
        .collect();
    stage.broker.publish(&messages).await;
    stage.publish("high", [&job("good", "13900000000")]).await;
    stage.settled("good", "accepted").await;
    becomes("all are kept", bad.len() as i64, async || stage.db.count("rejections").await).await;

    for kept in stage.db.rejections().await {
        let case: usize = kept.properties["headers"]["case"].as_str().unwrap().parse().unwrap();
        let Bad(reason, word, body) = &bad[case];
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        assert_eq!((kept.reason.as_str(), &kept.body), (*reason, body), "{shown}: {}", kept.detail);
        assert!(!kept.detail.is_empty() && kept.detail.contains(word), "{shown}: {}", kept.detail);
        assert!(!kept.detail.contains(MOBILE) && !kept.detail.contains(TEXT), "{}", kept.detail);
        assert_eq!(kept.properties["routing_key"], "high.x");
    }
    assert_eq!(stage.db.count("jobs").await, 1, "none became a job");
    assert_eq!(stage.gateway.submissions().len(), 1, "none was sent");
    stage.metric("jobs_rejected_total", &[], bad.len() as f64).await;
    stage.metric("jobs_received_total", &[("priority", "high")], bad.len() as f64 + 1.0).await;
    stage.finish().await;
}

/// Nothing that could be compressed.
fn noise(characters: usize) -> String {
    repeat_with(fastrand::alphanumeric).take(characters).collect()
}

/// No valid job, with a header of our own name that is longer than an entry of an index may be.
fn with_a_long_header(n: usize) -> Message {
    Message::raw("normal.x", format!("{n}")).with_header("x-dispatcher-rejection", &noise(6_400))
}

#[tokio::test]
async fn a_long_header_is_kept_and_holds_up_no_other_message() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.broker.publish(&[with_a_long_header(0), with_a_long_header(1)]).await;
    stage.broker.publish(&[Message::raw("normal.x", "{}")]).await;
    becomes("all are kept", 3, async || stage.db.count("rejections").await).await;
    let kept = stage.db.rejections().await;
    let lengths =
        kept.iter().filter_map(|row| Some(row.properties["headers"]["x-dispatcher-rejection"].as_str()?.len()));
    assert_eq!(lengths.collect::<Vec<_>>(), [6_400, 6_400]);
    stage.finish().await;
}

#[tokio::test]
async fn what_is_beyond_a_limit_of_postgres_is_given_back_and_the_others_are_kept() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    // As an index of somebody's own would refuse it.
    stage.db.execute("create index on rejections (encode(body, 'escape'))").await;
    stage.start().await;
    stage.broker.publish(&[Message::raw("normal.x", noise(6_400)), Message::raw("normal.x", noise(6_400))]).await;
    stage.broker.publish(&[Message::raw("normal.x", "{}")]).await;
    becomes("the other one is kept", 1, async || stage.db.count("rejections").await).await;
    let dead = format!("{}.dead", stage.broker.prefix);
    becomes("they end where nothing is lost", 2, async || stage.broker.depth(&dead).await).await;
    stage.broker.purge(&dead).await;
    stage.finish().await;
}
