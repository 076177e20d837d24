//! Cancelling, resolving doubts, pausing accounts.

use dispatcher::simulator::Scripted;
use serde_json::json;

use super::client::{Client, with_tokens};
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

#[tokio::test]
async fn a_job_that_waits_is_withdrawn_and_one_that_was_sent_is_not() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    let mut later = job("later", &number(1));
    later["not_before"] = "2099-01-01T00:00:00Z".into();
    stage.publish("normal", [&later, &job("sent", &number(2))]).await;
    stage.states("accepted 1, waiting/scheduled 1").await;
    let why = json!({"reason": "客户退单"});
    let (status, job) = api.post("token-of-alice", "/jobs/later/cancel", &why).await;
    assert_eq!((status, &job["state"], &job["wait_reason"]), (200, &json!("cancelled"), &json!(null)));
    for (id, words) in [("later", "the job is cancelled"), ("sent", "the job is accepted")] {
        let (status, problem) = api.post("token-of-alice", &format!("/jobs/{id}/cancel"), &json!({})).await;
        assert_eq!(status, 409);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    assert_eq!(api.post("token-of-alice", "/jobs/nobody/cancel", &json!({})).await.0, 404);
    let noted = "operations where action = 'cancel' and actor = 'alice' and via = 'api' and count = 1 \
                 and reason = '客户退单' and target = '{\"jobs\": [\"later\"]}'";
    assert_eq!(stage.db.count(noted).await, 1);
    assert_eq!(stage.db.count("operations").await, 1, "what changed nothing is no operation");
    let cancelled = [("account", "main"), ("state", "cancelled"), ("code", "none")];
    stage.metric("jobs_finished_total", &cancelled, 1.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_doubt_is_ended_either_way() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    for n in 1..=3 {
        stage.gateway.script(&number(n), vec![Scripted::ResetAfterRead]);
    }
    let jobs: Vec<_> = (1..=3).map(|n| job(&format!("doubt-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    stage.states("in_doubt 3").await;
    let api = Client::of(&stage);
    let sent = json!({"sent": true, "smsid": "17000000000000001", "reason": "ihuyi's console has it"});
    let (status, one) = api.post("token-of-alice", "/jobs/doubt-1/resolve", &sent).await;
    assert_eq!((status, &one["state"], &one["smsid"]), (200, &json!("accepted"), &json!("17000000000000001")));
    let (status, problem) = api.post("token-of-alice", "/jobs/doubt-2/resolve", &sent).await;
    assert_eq!(status, 409, "one message of ihuyi's is one job's");
    assert!(problem["detail"].as_str().unwrap().contains("17000000000000001 is the smsid of job doubt-1"), "{problem}");
    let (status, two) = api.post("token-of-alice", "/jobs/doubt-2/resolve", &json!({"sent": true})).await;
    assert_eq!((status, &two["state"], &two["smsid"]), (200, &json!("accepted"), &json!(null)));
    assert_eq!(api.post("token-of-alice", "/jobs/doubt-3/resolve", &json!({"sent": false})).await.0, 200);
    let row = stage.settled("doubt-3", "accepted").await;
    assert_eq!(row.attempts, 2);
    assert_eq!(api.post("token-of-alice", "/jobs/doubt-1/resolve", &json!({"sent": false})).await.0, 409);
    assert_eq!(stage.db.count("operations where action = 'resolve' and actor = 'alice'").await, 3);
    // Two by hand, without a code; one by the answer to its second request.
    let accepted = |code| [("account", "main"), ("state", "accepted"), ("code", code)];
    stage.metric("jobs_finished_total", &accepted("none"), 2.0).await;
    stage.metric("jobs_finished_total", &accepted("2"), 1.0).await;
    let whole = api.get("token-of-bob", "/jobs/doubt-3").await.1;
    let outcomes: Vec<_> = whole["attempts"].as_array().unwrap().iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["unknown", "accepted"]);
    assert_eq!((&whole["receipts"], &whole["attempts_spent"]), (&json!([]), &json!(2)));
    stage.finish().await;
}

#[tokio::test]
async fn an_account_is_paused_and_resumed_by_hand() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    let pause = json!({"reason": "template under review"});
    let (status, answer) = api.post("token-of-alice", "/accounts/main/pause", &pause).await;
    assert_eq!((status, answer), (200, json!({"name": "main", "state": "paused", "changed": true})));
    assert_eq!(api.post("token-of-alice", "/accounts/main/pause", &pause).await.1["changed"], false);
    stage.metric("account_paused", &[("account", "main")], 1.0).await;
    let list = api.get("token-of-bob", "/accounts").await.1;
    assert_eq!(list["accounts"][0]["reason"], "template under review");
    stage.publish("normal", [&job("a", &number(1))]).await;
    stage.states("waiting/account_paused 1").await;
    assert_eq!(api.post("token-of-alice", "/accounts/main/resume", &json!({})).await.1["changed"], true);
    stage.states("accepted 1").await;
    assert_eq!(api.post("token-of-alice", "/accounts/nobody/pause", &json!({})).await.0, 404);
    becomes("operations", 2, async || stage.db.count("operations where actor = 'alice'").await).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_number_is_suppressed_and_let_go_again_on_record() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    let order = json!({"mobile": "+86 138-0013-8000", "reason": "电话要求"});
    let (status, done) = api.post("token-of-alice", "/suppressions", &order).await;
    assert_eq!((status, done), (200, json!({"mobile": "138****8000", "suppressed": true, "changed": true})));
    assert_eq!(api.post("token-of-alice", "/suppressions", &order).await.1["changed"], false);
    assert_eq!(api.post("token-of-bob", "/suppressions", &order).await.0, 403);
    let (status, list) = api.get("token-of-alice", "/suppressions").await;
    assert_eq!((status, &list["suppressions"][0]["mobile"]), (200, &json!("13800138000")));
    assert_eq!(api.get("token-of-bob", "/suppressions").await.0, 403, "who wants none is nobody's business");
    let mut bulk = job("spared", "13800138000");
    bulk["priority"] = "bulk".into();
    assert_eq!(api.post("token-of-alice", "/jobs", &bulk).await.0, 202);
    assert_eq!(stage.settled("spared", "failed").await.code, None);
    assert_eq!(api.post("token-of-alice", "/suppressions/remove", &order).await.1["changed"], true);
    assert_eq!(stage.db.count("suppressions").await, 0);
    assert_eq!(stage.db.count("operations where actor = 'alice' and via = 'api' and reason = '电话要求'").await, 3);
    stage.finish().await;
}

#[tokio::test]
async fn many_are_withdrawn_or_resolved_by_filter_looked_at_first_and_noted_once() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    stage
        .db
        .execute(
            "insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest,
                 claim_id)
             select 'job-' || n, n, 'main', '13800138001', 'high', 'x', case when n <= 700 then 'waiting' else 'in_doubt' end,
                 case when n <= 700 then 'scheduled' end, case when n <= 700 then now() + interval '1 h' end, 'hold',
                 '\\x00', n
             from generate_series(1, 1000) as n",
        )
        .await;
    let api = Client::of(&stage);
    let which = json!({"mobile": "138 0013 8001"});
    let seen = api.post("token-of-alice", "/jobs/cancel", &json!({"filter": which, "dry_run": true})).await;
    let counts = json!({"dry_run": true, "matched": 700, "by_state": {"waiting": 700}, "changed": 0, "left": 700});
    assert_eq!(seen, (200, counts));
    let searched = "operations where action = 'search' and via = 'api' and actor = 'alice' and count = 700
         and target = '{\"mobile\": \"138****8001\"}'";
    assert_eq!(stage.db.count(searched).await, 1, "a look by number is a search");
    let order = json!({"filter": {"id": ["job-1", "job-701", "nobody"]}});
    assert_eq!(api.post("token-of-alice", "/jobs/cancel", &order).await.1["changed"], 1);
    let done = api.post("token-of-alice", "/jobs/cancel", &json!({"filter": which, "reason": "模板有误"})).await.1;
    assert_eq!((&done["matched"], &done["changed"], &done["left"]), (&json!(699), &json!(699), &json!(0)));
    let noted = "operations where action = 'cancel' and via = 'api' and actor = 'alice' and count = 699
         and reason = '模板有误' and target ->> 'mobile' = '138****8001'";
    assert_eq!((stage.db.count(noted).await, stage.db.count("operations").await), (1, 3));
    for (path, wrong) in [
        ("/jobs/cancel", json!({"filter": {"state": ["in_doubt"]}})),
        ("/jobs/resolve", json!({"filter": {"state": ["waiting"]}, "sent": true})),
        ("/jobs/resolve", json!({"filter": which, "sent": true, "smsid": "1"})),
    ] {
        assert_eq!(api.post("token-of-alice", path, &wrong).await.0, 422, "{wrong}");
    }
    let sent = json!({"filter": {"state": "in_doubt", "id": ["job-998", "job-999"]}, "sent": true});
    assert_eq!(api.post("token-of-alice", "/jobs/resolve", &sent).await.1["changed"], 2);
    let done = api.post("token-of-alice", "/jobs/resolve", &json!({"filter": which, "sent": false})).await.1;
    assert_eq!((&done["by_state"], &done["changed"]), (&json!({"in_doubt": 298}), &json!(298)));
    let cancelled = [("account", "main"), ("state", "cancelled"), ("code", "none")];
    stage.metric("jobs_finished_total", &cancelled, 700.0).await;
    stage.states("accepted 300, cancelled 700").await;
    assert_eq!(stage.gateway.submissions().len(), 298);
    stage.finish().await;
}

#[tokio::test]
async fn a_job_may_have_the_name_of_an_act_for_its_id() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    stage.publish("normal", [&job("cancel", &number(1)), &job("resolve", &number(2))]).await;
    stage.states("accepted 2").await;
    let api = Client::of(&stage);
    for id in ["cancel", "resolve"] {
        assert_eq!(api.get("token-of-bob", &format!("/jobs/{id}")).await.1["id"], id);
    }
    assert_eq!(api.post("token-of-alice", "/jobs/cancel/cancel", &json!({})).await.0, 409);
    stage.finish().await;
}
