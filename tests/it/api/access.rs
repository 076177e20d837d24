//! Who may do what.

use serde_json::json;

use super::client::{Client, with_tokens};
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

#[tokio::test]
async fn tokens_decide_who_looks_and_who_acts() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    assert_eq!(api.get("wrong", "/jobs").await.0, 401);
    assert_eq!(api.get("token-of-bob", "/jobs").await.0, 200);
    assert_eq!(api.post("token-of-bob", "/jobs", &job("a", &number(1))).await.0, 403);
    assert_eq!(api.post("token-of-bob", "/accounts/main/pause", &json!({})).await.0, 403);
    let (status, described) = api.get("token-of-bob", "/openapi.json").await;
    assert_eq!((status, described["openapi"].as_str()), (200, Some("3.1.0")));
    stage.finish().await;
}

#[tokio::test]
async fn without_a_configured_token_nobody_gets_in() {
    let mut stage = Stage::new().await;
    stage.start().await;
    assert_eq!(Client::of(&stage).get("", "/jobs").await.0, 401);
    stage.finish().await;
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first-token\n").unwrap();
    let mut stage = Stage::new().await;
    stage.set("admin.tokens.carol.role", "viewer");
    stage.set("admin.tokens.carol.token_file", &file.path().display().to_string());
    stage.start().await;
    let api = Client::of(&stage);
    assert_eq!(api.get("first-token", "/jobs").await.0, 200);
    std::fs::write(file.path(), "second-token\n").unwrap();
    becomes("the new token", 200, async || api.get("second-token", "/jobs").await.0).await;
    assert_eq!(api.get("first-token", "/jobs").await.0, 401);
    stage.finish().await;
}

#[tokio::test]
async fn viewers_see_masked_numbers_and_no_texts() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    stage.publish("high", [&json!({"id": "a", "mobile": number(7), "content": "秘密一"})]).await;
    stage.settled("a", "accepted").await;
    let api = Client::of(&stage);
    for path in ["/jobs", "/jobs/a"] {
        let seen = api.get("token-of-bob", path).await.1.to_string();
        assert!(seen.contains("139****0007") && !seen.contains(&number(7)) && !seen.contains("秘密"), "{seen}");
        let seen = api.get("token-of-alice", path).await.1.to_string();
        assert!(seen.contains(&number(7)) && seen.contains("秘密一"), "{seen}");
    }
    let story = api.get("token-of-bob", "/jobs/a").await.1;
    let kinds: Vec<_> = story["story"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    assert_eq!(kinds, ["received", "request", "state"]);
    assert_eq!(story["story"][1]["meaning"]["zh"], "提交成功");
    assert!(story["next"]["text"].as_str().unwrap().starts_with("a receipt of ihuyi"), "{story}");
    let search = format!("/jobs?mobile={}", number(7));
    assert_eq!(api.get("token-of-bob", &search).await.0, 403);
    assert_eq!(api.get("token-of-alice", &search).await.1["jobs"][0]["id"], "a");
    let noted = "operations where action = 'search' and actor = 'alice' and via = 'api' and count = 1 \
                 and target = '{\"mobile\": \"139****0007\"}'";
    assert_eq!(stage.db.count(noted).await, 1);
    assert_eq!(stage.db.count("operations").await, 1);
    stage.finish().await;
}
