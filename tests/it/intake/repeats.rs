//! One id is sent once.

use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::broker::Message;
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

fn spelt(changes: Value) -> Value {
    let mut body = job("order-1", "13900000001");
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn a_repeat_is_counted_and_not_sent_whatever_its_spelling() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.publish("normal", [&spelt(json!({}))]).await;
    stage.settled("order-1", "accepted").await;
    let same = [
        spelt(json!({})),
        spelt(json!({"mobile": "+86 139-0000-0001"})),
        spelt(json!({"mobile": "008613900000001"})),
        spelt(json!({"mobile": "86 139 0000 0001"})),
        spelt(json!({"account": "main"})),
        spelt(json!({"account": null, "template_id": null, "variables": null})),
        spelt(json!({"metadata": {"other": true}})),
        spelt(json!({"on_unknown": "resend"})),
        spelt(json!({"not_before": "2099-01-01T00:00:00Z"})),
        spelt(json!({"expires_at": "2000-01-01T00:00:00Z"})),
    ];
    for priority in ["high", "normal", "bulk"] {
        stage.publish(priority, &same).await;
    }
    let reordered = r#"{ "content" : "您的订单 order-1 已发货。", "mobile" : "13900000001", "id" : "order-1" }"#;
    stage.broker.publish(&[Message::raw("odd", reordered)]).await;
    stage.metric("duplicates_total", &[], same.len() as f64 * 3.0 + 1.0).await;
    assert_eq!(stage.gateway.submissions().len(), 1);
    assert_eq!(stage.db.states().await, "accepted 1");
    assert_eq!(stage.db.count("rejections").await, 0);
    stage.finish().await;
}

#[tokio::test]
async fn repeats_in_one_burst_are_sent_once_each() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let jobs: Vec<Value> = (0..500).map(|n| job(&format!("burst-{}", n % 50), &number(n % 50))).collect();
    stage.publish("bulk", &jobs).await;
    stage.states("accepted 50").await;
    stage.metric("duplicates_total", &[], 450.0).await;
    assert_eq!(stage.gateway.submissions().len(), 50);
    stage.finish().await;
}

#[tokio::test]
async fn a_repeat_after_a_restart_is_known_from_postgres() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let later = (Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    stage
        .publish(
            "normal",
            [&job("sent", &number(1)), &{
                let mut waits = job("waits", &number(2));
                waits["not_before"] = later.into();
                waits
            }],
        )
        .await;
    stage.states("accepted 1, waiting/scheduled 1").await;
    stage.stop().await;
    stage.start().await;
    stage.publish("high", [&job("sent", &number(1)), &job("waits", &number(2))]).await;
    stage.metric("duplicates_total", &[], 2.0).await;
    assert_eq!(stage.gateway.submissions().len(), 1);
    stage.finish().await;
}

#[tokio::test]
async fn another_payload_under_a_known_id_is_a_conflict_and_kept_as_received() {
    let mut stage = Stage::with(dispatcher::simulator::Options {
        accounts: vec![Default::default(), dispatcher::simulator::Account::new("C2", "another-key")],
        ..crate::support::stage::lenient()
    })
    .await;
    stage.start().await;
    let template = json!({"id": "t-1", "mobile": number(2), "template_id": "1", "variables": ["12", "3"]});
    stage.publish("normal", [&spelt(json!({})), &template]).await;
    stage.states("accepted 2").await;
    let mut others = vec![
        spelt(json!({"mobile": "13900000002"})),
        spelt(json!({"content": "您的订单 order-1 已发货"})),
        spelt(json!({"content": " 您的订单 order-1 已发货。"})),
        spelt(json!({"content": null, "template_id": "1", "variables": ["您的订单 order-1 已发货。"]})),
        spelt(json!({"account": "a1"})),
    ];
    for (name, value) in [("variables", json!(["1", "23"])), ("template_id", json!("2")), ("variables", json!(["12"]))]
    {
        let mut other = template.clone();
        other[name] = value;
        others.push(other);
    }
    let spaced: Vec<Message> = others.iter().map(|body| Message::raw("high.x", format!("  {body:#}\n"))).collect();
    stage.broker.publish(&spaced).await;
    becomes("conflicts", others.len() as i64, async || stage.db.count("rejections where reason = 'id_conflict'").await)
        .await;
    let mut kept: Vec<Vec<u8>> = stage.db.rejections().await.into_iter().map(|row| row.body).collect();
    let mut sent: Vec<Vec<u8>> = spaced.iter().map(|message| message.body().to_vec()).collect();
    kept.sort();
    sent.sort();
    assert_eq!(kept, sent);
    assert!(stage.db.rejections().await.iter().all(|row| row.detail.contains("`id`")));
    assert_eq!(stage.gateway.submissions().len(), 2);
    stage.metric("jobs_rejected_total", &[("reason", "id_conflict")], others.len() as f64).await;
    stage.metric("duplicates_total", &[], 0.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn the_message_id_serves_where_the_body_has_no_id() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let mut nameless = job("unused", &number(1));
    nameless.as_object_mut().unwrap().remove("id");
    let mut null = nameless.clone();
    null["id"] = Value::Null;
    stage
        .broker
        .publish(&[
            Message::job("normal", &nameless).with_message_id("from-properties"),
            Message::job("high", &null).with_message_id("from-properties"),
            Message::job("normal", &job("from-body", &number(2))).with_message_id("ignored"),
        ])
        .await;
    stage.states("accepted 2").await;
    stage.metric("duplicates_total", &[], 1.0).await;
    assert!(stage.db.job("from-properties").await.is_some() && stage.db.job("from-body").await.is_some());
    stage.finish().await;
}

#[tokio::test]
async fn an_id_is_forgotten_with_its_job() {
    let mut stage = Stage::new().await;
    stage.set("retention.jobs", "1s");
    stage.tempo.prune = Duration::from_millis(50);
    stage.start().await;
    stage.publish("normal", [&job("again", &number(1))]).await;
    stage.submissions(1).await;
    becomes("its row is gone", 0, async || stage.db.count("jobs").await).await;
    stage.publish("normal", [&job("again", &number(1))]).await;
    stage.submissions(2).await;
    stage.finish().await;
}
