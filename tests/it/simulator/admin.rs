//! The simulator's own pages.

use dispatcher::simulator::{Options, Rules};
use serde_json::{Value, json};

use super::wire::{ACCOUNT, Client, MOBILE, Submit, TEXT, get, post, start};

#[tokio::test]
async fn the_log_is_json_lines_and_can_be_read_on() {
    let simulator = start(Options::default()).await;
    let mut client = Client::connect(&simulator).await;
    client.call(Submit::dynamic(MOBILE, TEXT).json().post()).await;
    client.call(Submit::dynamic("1", TEXT).with("templateid", "9").get()).await;
    let log = client.call(get("/_sim/log")).await;
    let lines: Vec<Value> = log.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["mobile"], MOBILE);
    assert_eq!(lines[0]["content"], TEXT);
    assert_eq!((&lines[0]["seq"], &lines[0]["code"], &lines[0]["connection"]), (&json!(1), &json!(2), &json!(1)));
    assert_eq!((&lines[0]["method"], &lines[0]["format"]), (&json!("POST"), &json!("json")));
    assert!(lines[0]["at"].as_f64().unwrap() > 1.7e9);
    assert_eq!(
        (&lines[1]["code"], &lines[1]["smsid"], &lines[1]["templateid"]),
        (&json!(406), &json!("0"), &json!("9"))
    );
    let rest = client.call(get("/_sim/log?since=1")).await;
    assert_eq!(rest.body.lines().collect::<Vec<_>>(), [log.body.lines().nth(1).unwrap()]);
}

#[tokio::test]
async fn stats_are_one_object() {
    let simulator = start(Options::default()).await;
    let mut client = Client::connect(&simulator).await;
    client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
    client.call(Submit::dynamic("1", TEXT).post()).await;
    let stats: Value = serde_json::from_str(&client.call(get("/_sim/stats")).await.body).unwrap();
    assert_eq!(stats["submissions"], 2);
    assert_eq!(stats["codes"], json!({"2": 1, "406": 1}));
    assert_eq!(stats["parts"], 1);
    assert_eq!(stats["connections"], 1);
}

#[tokio::test]
async fn an_account_changes_as_told() {
    let simulator = start(Options { rules: Rules { per_second: 0, ..Rules::default() }, ..Options::default() }).await;
    let mut client = Client::connect(&simulator).await;
    let path = format!("/_sim/account/{ACCOUNT}");
    for (change, expected) in [
        (r#"{"frozen": true}"#, 4050),
        (r#"{"frozen": false, "ip_denied": true}"#, 4052),
        (r#"{"ip_denied": false, "balance": 0}"#, 4051),
        (r#"{"balance": 1}"#, 2),
        (r#"{"signature_pending": true}"#, 4075),
        (r#"{"signature_pending": false, "key": "new"}"#, 40502),
    ] {
        let standing = client.call(post(&path, "application/json", change)).await;
        assert_eq!(standing.status, 200, "{standing:?}");
        assert!(!standing.body.contains("key"), "{standing:?}");
        assert_eq!(client.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), expected, "{change}");
    }
    assert_eq!(client.call(post(&path, "application/json", r#"{"balnce": 1}"#)).await.status, 400);
    assert_eq!(client.call(post("/_sim/account/nobody", "application/json", "{}")).await.status, 404);
}

#[tokio::test]
async fn a_blacklisting_is_lifted_and_a_reply_needs_its_url() {
    let rules = Rules { per_second: 0, abuse_after: 1, ..Rules::default() };
    let simulator = start(Options { rules, ..Options::default() }).await;
    let mut client = Client::connect(&simulator).await;
    for expected in [2, 408] {
        assert_eq!(client.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), expected);
    }
    assert_eq!(client.call(post(&format!("/_sim/lift/{MOBILE}"), "", "")).await.status, 200);
    assert_eq!(client.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), 2);
    let reply = post("/_sim/reply", "application/json", r#"{"mobile":"13800138000","content":"1"}"#);
    assert_eq!(client.call(reply).await.status, 400);
}
