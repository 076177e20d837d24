//! Refused messages are published again by the daemon: a replay whose subjects are rejections.

use std::collections::BTreeMap;
use std::time::Duration;

use dispatcher::dispatch::ports::{Retried, Upkeep};
use dispatcher::simulator::Scripted;
use dispatcher::store::Store;
use dispatcher::store::operate::{Control, Operator, RetryChoice, RetryOrder, Via};
use serde_json::{Value, json};

use super::client::{Client, with_tokens};
use crate::support::broker::Message;
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

/// `late-000` and so on, to numbers of their own, refused because their account was missing; by now it is there.
async fn refused(messages: usize) -> Stage {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let late = |n: usize| {
        let mut job = job(&format!("late-{n:03}"), &number(n));
        job["account"] = "second".into();
        job
    };
    let jobs: Vec<Value> = (0..messages).map(late).collect();
    stage.publish("normal", &jobs).await;
    becomes("the rejections", messages as i64, async || stage.db.count("rejections").await).await;
    stage.stop().await;
    stage.set("accounts.second.api_id", "C00000001");
    let key = stage.environment().into_iter().find(|(name, _)| name.ends_with("MAIN__API_KEY")).unwrap().1;
    stage.set("accounts.second.api_key", &key);
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

/// How often each number was sent to, at most.
fn most(stage: &Stage) -> usize {
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    stage.gateway.submissions().into_iter().for_each(|one| *sent.entry(one.mobile).or_default() += 1);
    sent.into_values().max().unwrap_or_default()
}

#[tokio::test]
async fn refused_messages_are_listed_and_published_again_once() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    let api = Client::of(&stage);
    let refused: Vec<Value> = (0..3).map(|n| json!({"id": format!("r-{n}"), "mobile": "12", "content": "x"})).collect();
    stage.publish("normal", &refused).await;
    becomes("the rejections", 3, async || stage.db.count("rejections").await).await;
    let page = api.get("token-of-bob", "/rejections?limit=2").await.1;
    assert_eq!((page["rejections"].as_array().unwrap().len(), &page["rejections"][0]["id"]), (2, &json!(3)));
    let next = format!("/rejections?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(api.get("token-of-bob", &next).await.1["rejections"][0]["id"], 1);
    let order = json!({"filter": {"id": [1, 2]}, "dry_run": true});
    let seen = api.post("token-of-alice", "/rejections/retry", &order).await.1;
    assert_eq!((&seen["matched"], &seen["published"], &seen["left"]), (&json!(2), &json!(0), &json!(2)));
    let order = json!({"filter": {"id": [1, 2]}, "reason": "mended"});
    let (status, done) = api.post("token-of-alice", "/rejections/retry", &order).await;
    assert_eq!((status, &done["published"], &done["left"]), (200, &json!(2), &json!(0)));
    // They are judged anew, and are no better.
    becomes("the rejections", 5, async || stage.db.count("rejections").await).await;
    let again = api.post("token-of-alice", "/rejections/retry", &order).await.1;
    assert_eq!((&again["published"], &again["already"]), (&json!(0), &json!(2)), "once");
    let noted = "operations where action = 'retry' and actor = 'alice' and count = 2 and reason = 'mended'";
    assert_eq!(stage.db.count(noted).await, 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_replay_of_rejections_is_frozen_paced_and_steered() {
    let mut stage = refused(6).await;
    stage.start().await;
    let api = Client::of(&stage);
    let which = json!({"reason": "unknown_account"});
    let order = json!({"rejections": which, "dry_run": true});
    let (status, seen) = api.post("token-of-alice", "/replays", &order).await;
    assert_eq!((status, &seen["id"], &seen["matched"]), (200, &json!(null), &json!(6)));
    assert_eq!((&seen["by_reason"], stage.db.count("replays").await), (&json!({"unknown_account": 6}), 0));
    for wrong in [
        json!({"rejections": {}}),
        json!({"rejections": which, "filter": {"code": 1}}),
        json!({"rejections": which, "expires_in": "1h"}),
        json!({"rejections": {"state": ["failed"]}}),
    ] {
        assert_eq!(api.post("token-of-alice", "/replays", &wrong).await.0, 422, "{wrong}");
    }
    assert_eq!(api.post("token-of-bob", "/replays", &json!({"rejections": which})).await.0, 403);

    let order = json!({"rejections": which, "rate": "1/h", "reason": "账号已开通"});
    let (status, begun) = api.post("token-of-alice", "/replays", &order).await;
    assert_eq!((status, &begun["matched"]), (201, &json!(6)));
    // The first goes at once; what is refused later does not join.
    stage.states("accepted 1").await;
    stage.publish("normal", [&json!({"id": "later", "mobile": "12", "content": "x"})]).await;
    becomes("the rejections", 7, async || stage.db.count("rejections").await).await;
    let path = format!("/replays/{}", begun["id"]);
    assert_eq!(api.post("token-of-alice", &format!("{path}/pause"), &json!({})).await.1["state"], "paused");
    stage.db.execute("update replays set rate = 1000, due_at = now()").await;
    assert_eq!(api.post("token-of-alice", &format!("{path}/resume"), &json!({})).await.1["state"], "running");
    let done = replay(&api, &begun["id"], "done").await;
    assert_eq!((&done["subject"], &done["results"]), (&json!("rejections"), &json!({"taken": 6})));
    stage.states("accepted 6").await;
    let first = &api.get("token-of-bob", &format!("{path}/jobs")).await.1["jobs"][0];
    assert!(first["job"].as_str().unwrap().starts_with("late-00"), "{first}");
    assert_eq!(
        (&first["rejection"], &first["from"], &first["result"], &first["code"]),
        (&json!(1), &json!("unknown_account"), &json!("taken"), &json!(2))
    );
    let noted = "operations where action = 'retry' and actor = 'alice' and count = 6 and reason = '账号已开通'";
    assert_eq!(stage.db.count(noted).await, 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_canary_that_is_refused_again_holds_the_others_back() {
    let mut stage = refused(3).await;
    stage.db.execute("update rejections set body = 'no json' where id = 1").await;
    stage.start().await;
    let api = Client::of(&stage);
    let order = json!({"rejections": {"since": "2001-01-01T00:00:00Z"}, "rate": "1000/s", "canary": 1});
    let begun = api.post("token-of-alice", "/replays", &order).await.1;
    let held = replay(&api, &begun["id"], "paused").await;
    assert!(held["note"].as_str().unwrap().contains("1 of 1 were refused again"), "{held}");
    assert_eq!(held["results"], json!({"refused": 1, "pending": 2}));
    let path = format!("/replays/{}", begun["id"]);
    assert_eq!(api.post("token-of-alice", &format!("{path}/cancel"), &json!({})).await.1["state"], "cancelled");
    assert_eq!(stage.db.count("jobs").await, 0);
    stage.finish().await;
}

#[tokio::test]
async fn a_canary_of_messages_is_of_those_that_it_published() {
    let mut stage = refused(4).await;
    stage.db.execute("update rejections set body = 'no json' where id = 3").await;
    let store = Store::new(&stage.db.url.clone().into(), 1, Duration::from_secs(1)).unwrap();
    let by = Operator { actor: "test".into(), via: Via::Cli, reason: None };
    let order = |ids: &[i64], canary| {
        let choice = RetryChoice { ids: ids.into(), ..RetryChoice::default() };
        RetryOrder { choice, rate: 1_000.0, canary }
    };
    let (first, _) = store.begin_retry(&by, &order(&[1, 2], 0)).await.unwrap().unwrap();
    let (second, _) = store.begin_retry(&by, &order(&[1, 2, 3, 4], 1)).await.unwrap().unwrap();
    store.control_replay(&by, second, Control::Pause).await.unwrap();
    stage.start().await;
    let api = Client::of(&stage);
    replay(&api, &first.into(), "done").await;
    store.control_replay(&by, second, Control::Resume).await.unwrap();
    // The first two say nothing of the others; the third is refused again.
    let held = eventually("the canary", async || {
        let seen = api.get("token-of-bob", &format!("/replays/{second}")).await.1;
        if seen["canary_state"] == "going" { Err(seen) } else { Ok(seen) }
    })
    .await;
    assert_eq!((&held["state"], &held["canary_state"]), (&json!("paused"), &json!("failed")));
    assert_eq!(held["results"], json!({"skipped": 2, "refused": 1, "pending": 1}));
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn two_retries_over_the_same_messages_publish_once() {
    let mut stage = refused(5).await;
    stage.start().await;
    let api = Client::of(&stage);
    let slow = json!({"rejections": {"reason": "unknown_account"}, "rate": "1/h"});
    let slow = api.post("token-of-alice", "/replays", &slow).await.1;
    stage.states("accepted 1").await;
    let fast = json!({"filter": {"id": [1, 2, 3, 4]}, "again": true});
    let fast = api.post("token-of-alice", "/rejections/retry", &fast).await.1;
    // The first one was published by the slow replay, and is asked for again on purpose.
    assert_eq!((&fast["matched"], &fast["published"], &fast["left"]), (&json!(4), &json!(4), &json!(0)));
    // One is pruned meanwhile.
    assert_eq!(stage.db.execute("delete from rejections where id = 5").await, 1);
    stage.db.execute("update replays set rate = 1000, due_at = now() where state = 'running'").await;
    let done = replay(&api, &slow["id"], "done").await;
    assert_eq!(done["results"], json!({"taken": 1, "skipped": 3, "gone": 1}));
    assert_eq!(replay(&api, &fast["replay"], "done").await["results"], json!({"taken": 4}));
    stage.states("accepted 4").await;
    assert_eq!((most(&stage), stage.gateway.submissions().len()), (1, 4));
    stage.metric("duplicates_total", &[], 1.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_conflict_and_a_repeat_are_told_apart() {
    let mut stage = refused(2).await;
    stage.start().await;
    let mut other = job("late-000", &number(7));
    other["account"] = "second".into();
    let mut same = job("late-001", &number(1));
    same["account"] = "second".into();
    stage.publish("normal", [&other, &same]).await;
    stage.states("accepted 2").await;
    let api = Client::of(&stage);
    let begun = api.post("token-of-alice", "/replays", &json!({"rejections": {"id": [1, 2]}})).await.1;
    let done = replay(&api, &begun["id"], "done").await;
    assert_eq!(done["results"], json!({"refused": 1, "taken": 1}));
    assert_eq!(stage.db.count("rejections where reason = 'id_conflict'").await, 1);
    assert_eq!(stage.gateway.submissions().len(), 2);
    stage.finish().await;
}

#[tokio::test]
async fn it_goes_on_where_it_was_after_a_kill() {
    let mut stage = refused(30).await;
    let process = stage.process();
    process.ready().await;
    let api = Client::of_process(&process);
    // Slow: nobody is quick enough to kill it half-way else.
    let order = json!({"rejections": {"reason": "unknown_account"}, "rate": "10/s"});
    assert_eq!(api.post("token-of-alice", "/replays", &order).await.0, 201);
    eventually("some are taken", async || match stage.db.count("jobs").await {
        0..=1 => Err(()),
        _ => Ok(()),
    })
    .await;
    process.kill().await;
    assert!(stage.db.count("replay_jobs where result = 'pending'").await > 0, "killed half-way");
    stage.db.execute("update replays set rate = 100").await;
    // What was handed out and perhaps published need not be waited for here.
    stage.db.execute("update replay_jobs set at = at - interval '1 min' where result = 'sending'").await;
    stage.start().await;
    let api = Client::of(&stage);
    assert_eq!(replay(&api, &json!(1), "done").await["results"], json!({"taken": 30}));
    // What was on the wire at the kill is settled when its claim runs out, which takes its time.
    becomes("nothing waits", 0, async || {
        stage.db.execute("update jobs set claimed_until = now() where state = 'submitting' and updated_at < now() - interval '1 s'").await;
        stage.db.count("jobs where state not in ('accepted', 'in_doubt')").await
    })
    .await;
    assert_eq!((stage.db.count("jobs").await, most(&stage)), (30, 1));
    assert_eq!(stage.db.count("rejections").await, 30);
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn what_was_published_before_a_crash_and_not_marked_goes_again_and_harms_nothing() {
    let mut stage = refused(1).await;
    // No job, and nothing that a second copy would be known by.
    let nameless = json!({"mobile": "12", "content": "x"});
    stage.start().await;
    stage.publish("normal", [&nameless]).await;
    becomes("the rejections", 2, async || stage.db.count("rejections").await).await;
    let api = Client::of(&stage);
    let begun = api.post("token-of-alice", "/replays", &json!({"rejections": {"id": [1, 2]}})).await.1;
    assert_eq!(replay(&api, &begun["id"], "done").await["results"], json!({"taken": 1, "refused": 1}));
    stage.states("accepted 1").await;
    // As a kill between the broker's confirm and the mark leaves it.
    stage.db.execute("update replays set state = 'running', finished_at = null").await;
    stage
        .db
        .execute(
            "update replay_jobs set result = 'sending', at = now() - interval '1 min', job_id = null, digest = null",
        )
        .await;
    assert_eq!(replay(&api, &begun["id"], "done").await["results"], json!({"taken": 1, "refused": 1}));
    assert_eq!((stage.gateway.submissions().len(), stage.db.count("jobs").await), (1, 1));
    assert_eq!(stage.db.count("rejections where reason = 'bad_field'").await, 3, "refused once for each copy");
    stage.finish().await;
}

#[tokio::test]
async fn a_retry_that_is_chosen_while_nobody_runs_is_carried_out_by_the_next() {
    let mut stage = refused(2).await;
    stage.gateway.script(&number(1), vec![Scripted::Code(4070, "x".into())]);
    // Chosen while no daemon runs.
    let mut run = crate::support::dispatcher(&["rejections", "retry", "1", "2", "--rate", "1/h", "--json"]);
    for (name, value) in stage.environment() {
        run = run.env(&name, &value);
    }
    let told = tokio::task::spawn_blocking(|| run.json()).await.unwrap();
    assert_eq!((&told["replay"], &told["published"], &told["left"]), (&json!(1), &json!(0), &json!(2)));
    stage.db.execute("update replays set rate = 100").await;
    stage.start().await;
    stage.states("accepted 1, failed 1").await;
    let api = Client::of(&stage);
    assert_eq!(replay(&api, &json!(1), "done").await["results"], json!({"taken": 2}));
    stage.finish().await;
}

#[tokio::test]
async fn what_the_broker_had_and_does_not_take_back_holds_up_no_other() {
    let mut stage = refused(2).await;
    stage.start().await;
    // Postgres has no NUL in text, and what stands for it there is longer.
    let nul = "\0".repeat(248);
    stage.broker.publish(&[Message::raw(format!("normal.{nul}"), "no json").with_message_id(&nul)]).await;
    becomes("the rejections", 3, async || stage.db.count("rejections").await).await;
    let api = Client::of(&stage);
    let begun = api.post("token-of-alice", "/replays", &json!({"rejections": {"id": [1, 2, 3]}})).await.1;
    assert_eq!(replay(&api, &begun["id"], "done").await["results"], json!({"taken": 2, "refused": 1}));
    stage.finish().await;
}

/// As a kill between the mark and the broker's confirm leaves the only message of replay 1. Takes a second.
async fn hand_out(stage: &Stage) {
    let marked = "with held as materialized (select id from replays where id = 1 for update),
        slept as materialized (select id from held where pg_sleep(1) is not null),
        taken as (update rejections x set retried_at = now() from slept where x.id = 1)
        update replay_jobs set result = 'sending', at = now(), retried_at = now() from slept where replay_id = slept.id";
    assert_eq!(stage.db.execute(marked).await, 1);
}

#[tokio::test]
async fn what_a_cancelled_retry_did_not_publish_can_be_chosen_again() {
    let mut stage = refused(1).await;
    let store = Store::new(&stage.db.url.clone().into(), 1, Duration::from_secs(1)).unwrap();
    let by = Operator { actor: "test".into(), via: Via::Cli, reason: None };
    let choice = RetryChoice { ids: vec![1], ..RetryChoice::default() };
    let order = RetryOrder { choice: choice.clone(), rate: 1.0, canary: 0 };
    let (id, _) = store.begin_retry(&by, &order).await.unwrap().unwrap();
    // Just when it is being handed out.
    let cancel = async {
        let asleep = "pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
        becomes("the hand-out", 1, async || stage.db.count(asleep).await).await;
        store.control_replay(&by, id, Control::Cancel).await.unwrap();
    };
    tokio::join!(hand_out(&stage), cancel);
    assert_eq!(store.preview_retry(&choice).await.unwrap().matched, 1, "nobody has published it");
    // It was on its way after all.
    store.retried(&[Retried { replay: id, position: 1, taken: true, job: None }]).await.unwrap();
    assert_eq!(store.preview_retry(&choice).await.unwrap().already, 1);
    stage.db.execute("update rejections set retried_at = null").await;

    stage.start().await;
    let api = Client::of(&stage);
    let begun = api.post("token-of-alice", "/replays", &json!({"rejections": {"id": [1]}})).await.1;
    assert_eq!(replay(&api, &begun["id"], "done").await["results"], json!({"taken": 1}));
    stage.finish().await;
}
