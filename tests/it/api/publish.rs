//! Jobs over HTTP.

use serde_json::{Value, json};

use super::client::{Client, with_tokens};
use crate::support::metrics::get;
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

#[tokio::test]
async fn a_job_and_an_array_are_sent_once() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    let mut one = job("one", &number(1));
    one["priority"] = "high".into();
    let (status, answer) = api.post("token-of-alice", "/jobs", &one).await;
    assert_eq!((status, answer), (202, json!({"published": 1, "ids": ["one"]})));
    let many: Vec<Value> = (0..1_000).map(|n| job(&format!("many-{n}"), &number(n))).collect();
    let (status, answer) = api.post("token-of-alice", "/jobs", &json!(many)).await;
    assert_eq!((status, &answer["published"]), (202, &json!(1_000)));
    assert_eq!(api.post("token-of-alice", "/jobs", &json!([many[7], many[7]])).await.0, 202);
    stage.states("accepted 1001").await;
    assert_eq!(stage.db.job("one").await.unwrap().priority, "high");
    stage.flush("normal").await;
    assert_eq!(stage.gateway.submissions().len(), 1_002);
    stage.finish().await;
}

#[tokio::test]
async fn an_array_with_one_bad_job_publishes_none() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    let good = job("good", &number(1));
    let with = |field: &str, value: Value| {
        let mut bad = job("bad", &number(2));
        bad[field] = value;
        bad
    };
    let many: Vec<Value> = (0..1_001).map(|n| job(&format!("many-{n}"), &number(n))).collect();
    for (body, index, words) in [
        (json!([good, with("mobile", json!("123"))]), 1, "`mobile`"),
        (json!([with("text", json!("x")), good]), 0, "is no known field"),
        (json!([with("account", json!("nobody"))]), 0, "is not configured"),
        (json!([with("priority", json!("urgent"))]), 0, "`priority`"),
        (json!([good, job("good", &number(3))]), 1, "earlier job in the array"),
    ] {
        let (status, problem) = api.post("token-of-alice", "/jobs", &body).await;
        assert_eq!((status, &problem["errors"][0]["index"]), (422, &json!(index)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        assert!(!problem.to_string().contains(&number(2)), "{problem}");
    }
    assert_eq!(api.post("token-of-alice", "/jobs", &json!(many)).await.0, 422);
    stage.flush("normal").await;
    stage.states("accepted 1").await;
    stage.finish().await;
}

#[tokio::test]
async fn without_rabbitmq_it_is_503_and_not_202() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.set("rabbitmq.url", "amqp://guest:guest@127.0.0.1:1/%2f");
    stage.migrate().await;
    let process = stage.process();
    becomes("the listener", true, async || get(process.admin, "/healthz").await.is_some()).await;
    let api = Client::of_process(&process);
    let (status, problem) = api.post("token-of-alice", "/jobs", &job("a", &number(1))).await;
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().unwrap().contains("under the same ids"), "{problem}");
    process.terminate().await;
    stage.finish_without_queues().await;
}
