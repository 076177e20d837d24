//! Replays: what failed is sent again, once.

use std::collections::HashMap;
use std::time::Duration;

use dispatcher::dispatch::ports::{Old, Upkeep};
use dispatcher::simulator::Scripted;
use serde_json::{Value, json};

use super::client::{Client, with_tokens};
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

/// A daemon with `failing` jobs of a code that is permanent, and two that were accepted.
async fn with_failures(failing: usize) -> Stage {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    // As many refusals in a row would pause the account.
    stage.set("accounts.main.pause_after_refusals", "0");
    stage.start().await;
    for n in 0..failing {
        stage.gateway.script(&number(n), vec![Scripted::Code(4070, "签名格式不正确".into())]);
    }
    let jobs: Vec<Value> = (0..failing + 2).map(|n| job(&format!("job-{n:03}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    stage.states(&format!("accepted 2, failed {failing}")).await;
    stage
}

/// Waits until a replay is in this state, and returns it.
async fn replay(api: &Client, id: &Value, state: &str) -> Value {
    eventually("the replay", async || {
        let seen = api.get("token-of-bob", &format!("/replays/{id}")).await.1;
        if seen["state"] == state { Ok(seen) } else { Err(seen) }
    })
    .await
}

/// Nobody was sent to more often than that.
fn at_most(stage: &Stage, times: usize) {
    let mut sent: HashMap<String, usize> = HashMap::new();
    for submission in stage.gateway.submissions() {
        *sent.entry(submission.mobile).or_default() += 1;
    }
    let often = sent.iter().find(|(_, count)| **count > times);
    assert_eq!(often, None);
}

#[tokio::test]
async fn what_failed_is_sent_again_in_order_and_what_fails_later_does_not_join() {
    let stage = with_failures(10).await;
    let api = Client::of(&stage);
    let filter = json!({"code": 4070, "account": "main"});
    let (status, seen) = api.post("token-of-alice", "/replays", &json!({"filter": filter, "dry_run": true})).await;
    assert_eq!((status, &seen["id"], &seen["matched"], &seen["parts"]), (200, &json!(null), &json!(10), &json!(10)));
    assert_eq!((&seen["by_code"], &seen["by_account"]), (&json!({"4070": 10}), &json!({"main": 10})));
    assert_eq!(stage.db.count("replays").await + stage.db.count("operations").await, 0);
    assert_eq!(api.post("token-of-bob", "/replays", &json!({"filter": filter})).await.0, 403);

    // Slow enough that a job can fail meanwhile.
    let order = json!({"filter": filter, "rate": "20/s", "reason": "签名已报备"});
    let (status, begun) = api.post("token-of-alice", "/replays", &order).await;
    assert_eq!((status, &begun["matched"]), (201, &json!(10)));
    stage.gateway.script(&number(50), vec![Scripted::Code(4070, "x".into())]);
    stage.publish("normal", [&job("later", &number(50))]).await;
    let done = replay(&api, &begun["id"], "done").await;
    assert_eq!((&done["results"], &done["actor"]), (&json!({"accepted": 10}), &json!("alice")));
    stage.states("accepted 12, failed 1").await;
    let positions = "replay_jobs r join jobs j on j.id = r.job_id where r.job_id <> format('job-%s', \
                     lpad((r.position - 1)::text, 3, '0'))";
    assert_eq!(stage.db.count(positions).await, 0, "in order of arrival");
    assert_eq!(stage.db.count("jobs where attempts_base = 1 and attempts = 2").await, 10, "a fresh budget");
    let noted = "operations where action = 'replay' and actor = 'alice' and count = 10 and reason = '签名已报备'";
    assert_eq!(stage.db.count(noted).await, 1);
    let whole = api.get("token-of-bob", "/jobs/job-000").await.1;
    let replay = &whole["replays"][0];
    assert_eq!((&replay["replay"], &replay["actor"], &replay["via"]), (&begun["id"], &json!("alice"), &json!("api")));
    assert_eq!((&replay["reason"], &replay["from"]), (&json!("签名已报备"), &json!("failed")));
    assert_eq!((&replay["result"], &replay["state"]), (&json!("accepted"), &json!("done")));
    assert_eq!(api.get("token-of-bob", "/jobs/later").await.1["replays"], json!([]));
    let order = json!({"filter": {"id": ["job-000", "job-001"]}});
    let (status, begun) = api.post("token-of-alice", "/replays", &order).await;
    assert_eq!((status, &begun["id"], &begun["matched"]), (200, &json!(null), &json!(0)), "accepted is accepted");
    stage.finish().await;
}

#[tokio::test]
async fn a_canary_that_fails_holds_the_others_back() {
    let stage = with_failures(6).await;
    let api = Client::of(&stage);
    stage.gateway.script(&number(1), vec![Scripted::Code(4070, "x".into())]);
    let order = json!({"filter": {"state": ["failed"]}, "rate": "1000/s", "canary": 2});
    let begun = api.post("token-of-alice", "/replays", &order).await.1;
    let held = replay(&api, &begun["id"], "paused").await;
    assert_eq!((&held["canary_state"], &held["results"]["pending"]), (&json!("failed"), &json!(4)));
    assert!(held["note"].as_str().unwrap().contains("1 of 2 were not accepted"), "{held}");
    assert_eq!(stage.db.count("jobs where requests = 2").await, 2, "only the canary went");
    let path = format!("/replays/{}", begun["id"]);
    assert_eq!(api.post("token-of-alice", &format!("{path}/pause"), &json!({})).await.0, 409);
    assert_eq!(api.post("token-of-alice", &format!("{path}/resume"), &json!({})).await.0, 200);
    let done = replay(&api, &begun["id"], "done").await;
    assert_eq!(done["results"], json!({"accepted": 5, "failed": 1}));
    assert_eq!(done["note"], "its canary failed, and it was resumed all the same");
    // And one that passes lets them through by itself.
    let order = json!({"filter": {"state": "failed"}, "canary": 5});
    let begun = api.post("token-of-alice", "/replays", &order).await.1;
    assert_eq!(replay(&api, &begun["id"], "done").await["canary_state"], "passed");
    stage.states("accepted 8").await;
    stage.finish().await;
}

#[tokio::test]
async fn two_replays_over_the_same_jobs_send_once() {
    let stage = with_failures(8).await;
    let api = Client::of(&stage);
    let slow = json!({"filter": {"state": "failed"}, "rate": "1/h"});
    let slow = api.post("token-of-alice", "/replays", &slow).await.1;
    let fast = json!({"filter": {"code": 4070}, "rate": "1000/s"});
    let (status, fast) = api.post("token-of-alice", "/replays", &fast).await;
    if status == 201 {
        replay(&api, &fast["id"], "done").await;
    }
    stage.states("accepted 10").await;
    // The slow one comes to jobs that have gone elsewhere.
    stage.db.execute("update replays set rate = 1000, due_at = now() where state = 'running'").await;
    let done = replay(&api, &slow["id"], "done").await;
    assert_eq!(done["results"]["pending"], json!(null));
    at_most(&stage, 2);
    assert_eq!(stage.gateway.submissions().len(), 18);
    stage.finish().await;
}

#[tokio::test]
async fn pause_resume_and_cancel() {
    let stage = with_failures(5).await;
    let api = Client::of(&stage);
    let order = json!({"filter": {"state": "failed"}, "rate": "1/h"});
    let begun = api.post("token-of-alice", "/replays", &order).await.1;
    stage.states("accepted 3, failed 4").await;
    let path = format!("/replays/{}", begun["id"]);
    let paused = api.post("token-of-alice", &format!("{path}/pause"), &json!({"reason": "wait"})).await.1;
    assert_eq!((&paused["state"], &paused["note"]), (&json!("paused"), &json!("wait")));
    assert_eq!(api.post("token-of-alice", &format!("{path}/resume"), &json!({})).await.1["state"], "running");
    stage.states("accepted 4, failed 3").await;
    assert_eq!(api.post("token-of-alice", &format!("{path}/cancel"), &json!({})).await.1["state"], "cancelled");
    assert_eq!(api.post("token-of-alice", &format!("{path}/resume"), &json!({})).await.0, 409);
    assert_eq!(api.post("token-of-alice", "/replays/99/pause", &json!({})).await.0, 404);
    assert_eq!(stage.db.count("operations where target ->> 'replay' is not null").await, 4);
    stage.finish().await;
}

#[tokio::test]
async fn expired_jobs_need_a_new_expiry_and_doubts_must_be_named() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let mut old = job("old", &number(1));
    old["expires_at"] = "2001-01-01T00:00:00Z".into();
    stage.gateway.script(&number(2), vec![Scripted::ResetAfterRead]);
    stage.publish("normal", [&old, &job("doubt", &number(2))]).await;
    stage.states("expired 1, in_doubt 1").await;
    let api = Client::of(&stage);
    let all = json!({"since": "2001-01-01T00:00:00Z"});
    assert_eq!(api.post("token-of-alice", "/replays", &json!({"filter": all})).await.1["matched"], 0);
    let order = json!({"filter": {"state": ["expired"], "since": "2001-01-01T00:00:00Z"}});
    assert_eq!(api.post("token-of-alice", "/replays", &order).await.0, 422);
    let order = json!({"filter": {"state": ["expired", "in_doubt"]}, "expires_in": "1h"});
    assert_eq!(api.post("token-of-alice", "/replays", &order).await.0, 201);
    stage.states("accepted 2").await;
    assert_eq!(stage.db.count("jobs where expires_at > now() + interval '50 min'").await, 2);
    stage.finish().await;
}

#[tokio::test]
async fn it_goes_on_where_it_was_after_a_kill() {
    let mut stage = with_failures(30).await;
    stage.stop().await;
    let process = stage.process();
    process.ready().await;
    let api = Client::of_process(&process);
    // Slow: nobody is quick enough to kill it half-way else.
    let order = json!({"filter": {"state": "failed"}, "rate": "5/s"});
    assert_eq!(api.post("token-of-alice", "/replays", &order).await.0, 201);
    eventually("some are sent", async || match stage.db.count("jobs where requests = 2").await {
        0..=1 => Err(()),
        _ => Ok(()),
    })
    .await;
    process.kill().await;
    assert!(stage.db.count("replay_jobs where result = 'pending'").await > 0, "killed half-way");
    stage.db.execute("update replays set rate = 100").await;
    // A kill between the commit and the publish of a release leaves jobs that are found again later.
    stage.tempo.lost = Duration::from_secs(1);
    stage.start().await;
    becomes("all are sent", 0, async || stage.db.count("replay_jobs where result = 'pending'").await).await;
    let tried = async || (stage.db.count("jobs where requests = 2").await, stage.db.states().await);
    eventually("all were tried again", async || match tried().await {
        (30, _) => Ok(()),
        other => Err(other),
    })
    .await;
    at_most(&stage, 2);
    // What was on the wire at the kill is settled when its claim runs out, which takes its time.
    stage.db.execute("update jobs set claimed_until = now() where state = 'submitting'").await;
    becomes("none is left", 0, async || stage.db.count("jobs where state in ('submitting', 'waiting')").await).await;
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_job_whose_person_was_forgotten_is_left_out_and_holds_up_no_other() {
    let stage = with_failures(3).await;
    let api = Client::of(&stage);
    let order = json!({"filter": {"code": 4070}, "rate": "1/h"});
    let slow = api.post("token-of-alice", "/replays", &order).await.1;
    stage.states("accepted 3, failed 2").await;
    // Of the two that are left: one is forgotten after it was chosen.
    let forgotten = "update jobs set mobile = '', content = '' where id = 'job-001'";
    stage.db.execute(forgotten).await;
    let seen = api.post("token-of-alice", "/replays", &json!({"filter": {"code": 4070}, "dry_run": true})).await.1;
    assert_eq!(seen["matched"], 1);
    let begun = api.post("token-of-alice", "/replays", &json!({"filter": {"code": 4070}})).await.1;
    assert_eq!(begun["matched"], 1);
    assert_eq!(replay(&api, &begun["id"], "done").await["results"], json!({"accepted": 1}));
    stage.db.execute("update replays set rate = 1000, due_at = now() where state = 'running'").await;
    let done = replay(&api, &slow["id"], "done").await;
    assert_eq!(done["results"], json!({"accepted": 1, "skipped": 2}));
    stage.states("accepted 4, failed 1").await;
    stage.finish().await;
}

#[tokio::test]
async fn what_came_of_each_job_is_listed_page_by_page() {
    let stage = with_failures(5).await;
    let api = Client::of(&stage);
    stage.gateway.script(&number(2), vec![Scripted::Code(4070, "x".into())]);
    let begun = api.post("token-of-alice", "/replays", &json!({"filter": {"code": 4070}})).await.1;
    replay(&api, &begun["id"], "done").await;
    let path = format!("/replays/{}/jobs", begun["id"]);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = api.get("token-of-bob", &format!("{path}?limit=2{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["jobs"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let ids: Vec<_> = seen.iter().map(|row| row["job"].as_str().unwrap()).collect();
    assert_eq!(ids, ["job-000", "job-001", "job-002", "job-003", "job-004"]);
    assert_eq!(
        (&seen[2]["result"], &seen[2]["code"], &seen[2]["position"]),
        (&json!("failed"), &json!(4070), &json!(3))
    );
    assert_eq!(
        (&seen[0]["result"], &seen[0]["from"], &seen[0]["code"]),
        (&json!("accepted"), &json!("failed"), &json!(2))
    );
    let failed = api.get("token-of-bob", &format!("{path}?result=failed")).await.1;
    assert_eq!((failed["jobs"].as_array().unwrap().len(), &failed["next_cursor"]), (1, &json!(null)));
    for wrong in
        ["?result=sold", "?cursor=x", "?limit=0", "?state=failed", "?limit=1&limit=2", "?result=sent&result=failed"]
    {
        assert_eq!(api.get("token-of-bob", &format!("{path}{wrong}")).await.0, 400, "{wrong}");
    }
    assert_eq!(api.get("token-of-bob", "/replays/99/jobs").await.0, 404);
    stage.finish().await;
}

#[tokio::test]
async fn replays_are_listed_the_newest_first_page_by_page() {
    let stage = with_failures(3).await;
    let api = Client::of(&stage);
    for id in ["job-000", "job-001", "job-002"] {
        let order = json!({"filter": {"id": [id]}, "reason": id});
        assert_eq!(api.post("token-of-alice", "/replays", &order).await.0, 201);
    }
    for id in 1..=3 {
        replay(&api, &json!(id), "done").await;
    }
    let (status, page) = api.get("token-of-bob", "/replays?limit=2").await;
    let ids: Vec<_> = page["replays"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!((status, ids, &page["next_cursor"]), (200, vec![json!(3), json!(2)], &json!("2")));
    let last = &page["replays"][0];
    assert_eq!((&last["reason"], &last["results"]), (&json!("job-002"), &json!({"accepted": 1})));
    let page = api.get("token-of-bob", "/replays?limit=2&cursor=2").await.1;
    assert_eq!((&page["replays"][0]["id"], &page["next_cursor"]), (&json!(1), &json!(null)));
    for wrong in ["?limit=0", "?cursor=x", "?state=done", "?limit=1&limit=1"] {
        assert_eq!(api.get("token-of-bob", &format!("/replays{wrong}")).await.0, 400, "{wrong}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_filter_that_names_nothing_chooses_nothing() {
    let stage = with_failures(2).await;
    let api = Client::of(&stage);
    for filter in [json!({}), json!({"id": []}), json!({"state": []})] {
        assert_eq!(api.post("token-of-alice", "/replays", &json!({"filter": filter})).await.0, 422, "{filter}");
    }
    assert_eq!(stage.db.count("replays").await, 0);
    stage.finish().await;
}

#[tokio::test]
async fn what_was_over_long_ago_goes_in_parts() {
    let stage = with_failures(3).await;
    let api = Client::of(&stage);
    let begun = api.post("token-of-alice", "/replays", &json!({"filter": {"state": "failed"}})).await.1;
    replay(&api, &begun["id"], "done").await;
    let store = dispatcher::store::Store::new(&stage.db.url.clone().into(), 2, Duration::from_secs(1)).unwrap();
    let (past, future) = (chrono::Utc::now() - Duration::from_secs(60), chrono::Utc::now() + Duration::from_secs(60));
    let old = |before| Old { before, age: Duration::ZERO };
    assert_eq!(store.prune_records(old(past), 2).await.unwrap(), 0);
    // Two of its jobs and a note of the operation; then the last with the replay itself.
    assert_eq!(store.prune_records(old(future), 2).await.unwrap(), 3);
    assert_eq!(store.prune_records(old(future), 2).await.unwrap(), 2);
    assert_eq!(stage.db.count("replays").await + stage.db.count("replay_jobs").await, 0);
    store.close().await;
    stage.finish().await;
}

#[tokio::test]
async fn jobs_whose_window_is_closed_hold_up_no_backlog() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "5");
    stage.start().await;
    let in_an_hour = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    let scheduled = |n: usize| {
        let mut job = job(&format!("scheduled-{n:03}"), &number(n));
        job["not_before"] = in_an_hour.clone().into();
        job
    };
    let jobs: Vec<Value> = (0..300).map(scheduled).collect();
    stage.publish("normal", &jobs).await;
    stage.states("waiting/scheduled 300").await;
    stage.db.execute("update jobs set state = 'cancelled', wait_reason = null, due_at = null").await;
    // They will have expired when their time comes.
    let order = json!({"filter": {"state": "cancelled"}, "rate": "1000/s", "expires_in": "10m"});
    assert_eq!(Client::of(&stage).post("token-of-alice", "/replays", &order).await.0, 201);
    let backlog: Vec<Value> = (1_000..1_500).map(|n| job(&format!("backlog-{n}"), &number(n))).collect();
    stage.publish("normal", &backlog).await;
    stage.states("accepted 500, waiting/scheduled 300").await;
    let sent: Vec<f64> = stage.gateway.submissions().iter().map(|submission| submission.at).collect();
    let took = sent.iter().copied().fold(0.0, f64::max) - sent.iter().copied().fold(f64::MAX, f64::min);
    assert!(took < 15.0, "500 at 100 a second took {took} s");
    stage.db.execute("update jobs set expires_at = now() where state = 'waiting'").await;
    stage.states("accepted 500, expired 300").await;
    stage.finish().await;
}
