//! A receipt ends its job, once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use dispatcher::simulator::{Latency, Options, Receipts};

use super::world::{World, receipt};
use crate::support::stage::lenient;
use crate::support::{becomes, job, number};

fn then() -> DateTime<Utc> {
    "2026-11-11T08:00:00Z".parse().unwrap()
}

/// An accepted job, and its smsid.
async fn accepted(world: &World, id: &str, mobile: &str) -> String {
    world.stage.publish("normal", [&job(id, mobile)]).await;
    world.stage.settled(id, "accepted").await.smsid.unwrap()
}

#[tokio::test]
async fn the_gateways_receipts_end_their_jobs() {
    let mut world = World::pushing(|receipts| receipts).await;
    world.stage.start().await;
    let jobs: Vec<_> = (0..20).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    world.stage.publish("high", &jobs).await;
    world.stage.states("delivered 20").await;
    world.events("job-3", &["job.accepted", "job.delivered"]).await;
    world.stage.metric("receipts_total", &[("code", "2")], 20.0).await;
    world.stage.metric("jobs_finished_total", &[("state", "delivered"), ("code", "2")], 20.0).await;
    assert_eq!(world.stage.db.count("receipts where job_id is null").await, 0);
    let sql = "receipts r join jobs j on j.id = r.job_id where r.smsid = j.smsid and r.mobile = j.mobile";
    assert_eq!(world.stage.db.count(sql).await, 20);
    let sql = "receipts where reported_at between now() - interval '1 min' and now() + interval '1 s'";
    assert_eq!(world.stage.db.count(sql).await, 20, "the time is Shanghai's, made UTC");
    world.stage.finish().await;
}

#[tokio::test]
async fn what_is_not_delivered_says_why() {
    let undelivered = |receipts| Receipts { undelivered: 1.0, undelivered_code: 7, ..receipts };
    let mut world = World::pushing(undelivered).await;
    world.stage.start().await;
    world.stage.publish("high", [&job("one", &number(1))]).await;
    let row = world.stage.settled("one", "undelivered").await;
    assert_eq!((row.code, row.message.as_deref()), (Some(7), Some("发送失败")));
    assert_eq!(world.stage.db.attempts("one").await, [("accepted".to_owned(), Some(2))]);
    let data: serde_json::Value = sqlx::query_scalar("select data from told where type = 'job.undelivered'")
        .fetch_one(&world.stage.db.pool)
        .await
        .unwrap();
    assert_eq!((&data["id"], &data["state"], &data["code"]), (&"one".into(), &"undelivered".into(), &7.into()));
    assert_eq!((&data["message"], &data["smsid"]), (&"发送失败".into(), &row.smsid.unwrap().into()));
    world.stage.finish().await;
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_the_first_final_state_stands() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let smsid = accepted(&world, "one", &number(1)).await;
    let delivered = receipt("2", &number(1), &smsid, then());
    for _ in 0..3 {
        world.push("receipt", delivered.clone()).await;
    }
    let before = world.stage.settled("one", "delivered").await;
    // The other part of a long message, and a contradiction: kept, and nothing more.
    world.push("receipt", receipt("2", &number(1), &smsid, then() + chrono::Duration::seconds(1))).await;
    world.push("receipt", receipt("9", &number(1), &smsid, then() + chrono::Duration::seconds(2))).await;
    assert_eq!(world.stage.db.count("receipts where job_id = 'one'").await, 3);
    let after = world.stage.db.job("one").await.unwrap();
    assert_eq!((after.state, after.code, after.message), (before.state, before.code, before.message));
    world.events("one", &["job.accepted", "job.delivered"]).await;
    world.stage.metric("receipts_total", &[], 3.0).await;
    let at: DateTime<Utc> = sqlx::query_scalar("select reported_at from receipts order by id limit 1")
        .fetch_one(&world.stage.db.pool)
        .await
        .unwrap();
    assert_eq!(at, then());
    world.stage.finish().await;
}

#[tokio::test]
async fn parts_that_come_at_once_end_a_job_once() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let smsid = accepted(&world, "one", &number(1)).await;
    let parts = (0..30).map(|n| {
        let code = if n % 2 == 0 { "2" } else { "5" };
        world.push("receipt", receipt(code, &number(1), &smsid, then() + chrono::Duration::seconds(n)))
    });
    futures_util::future::join_all(parts).await;
    let state = world.stage.job("one", |job| job.state != "accepted").await.state;
    world.events("one", &["job.accepted", &format!("job.{state}")]).await;
    assert_eq!(world.stage.db.count("receipts where job_id = 'one'").await, 30);
    world.stage.finish().await;
}

#[tokio::test]
async fn one_that_comes_before_the_answer_is_matched_when_the_smsid_arrives() {
    let slow = Options { latency: Latency::Fixed(Duration::from_secs(2)), ..lenient() };
    let mut world = World::with(slow, |url| Some(Receipts { delay: Latency::None, ..Receipts::to(url) })).await;
    world.stage.start().await;
    world.stage.publish("high", [&job("one", &number(1))]).await;
    becomes("an early receipt", 1, async || world.stage.db.count("receipts where job_id is null").await).await;
    assert_eq!(world.stage.db.job("one").await.unwrap().state, "submitting");
    world.stage.settled("one", "delivered").await;
    world.events("one", &["job.accepted", "job.delivered"]).await;
    assert_eq!(world.stage.db.count("receipts where job_id = 'one' and look_at is null").await, 1);
    world.stage.finish().await;
}

#[tokio::test]
async fn an_unknown_one_is_kept_and_looked_at_a_few_times_only() {
    let mut world = World::silent().await;
    world.stage.start().await;
    world.push("receipt", receipt("2", &number(1), "99999999", then())).await;
    for looks in 1..=4 {
        becomes("a look", 1, async || {
            world.stage.db.execute("update receipts set look_at = now() where look_at > now()").await;
            let sql = "receipts where job_id is null and looks >= ";
            world.stage.db.count(&format!("{sql}{looks}")).await
        })
        .await;
    }
    assert_eq!(world.stage.db.count("receipts where looks = 4 and look_at is null").await, 1);
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn the_id_of_an_earlier_attempt_finds_its_job_too() {
    let mut world = World::silent().await;
    world.stage.start().await;
    accepted(&world, "one", &number(1)).await;
    // As after a replay of a job whose first acceptance came late.
    world.stage.db.execute("update attempts set smsid = 'old-id'").await;
    world.push("receipt", receipt("2", &number(1), "old-id", then())).await;
    world.stage.settled("one", "delivered").await;
    world.stage.finish().await;
}

#[tokio::test]
async fn only_an_accepted_job_is_ended() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let smsid = accepted(&world, "one", &number(1)).await;
    world.stage.db.execute("update jobs set state = 'failed'").await;
    world.push("receipt", receipt("2", &number(1), &smsid, then())).await;
    assert_eq!(world.stage.db.count("receipts where job_id = 'one'").await, 1);
    assert_eq!(world.stage.db.job("one").await.unwrap().state, "failed");
    world.stage.finish().await;
}

#[tokio::test]
async fn receipts_and_replies_age_out() {
    let mut world = World::silent().await;
    world.stage.set("retention.jobs", "1d");
    world.stage.tempo.prune = Duration::from_millis(50);
    world.stage.start().await;
    world.push("receipt", receipt("2", &number(1), "1", then())).await;
    world.push("receipt", receipt("2", &number(1), "2", then())).await;
    world.push("reply", super::world::reply(&number(1), "好", then())).await;
    world.stage.db.execute("update receipts set received_at = now() - interval '25 h' where smsid = '1'").await;
    world.stage.db.execute("update replies set received_at = now() - interval '25 h'").await;
    becomes("receipts", 1, async || world.stage.db.count("receipts").await).await;
    becomes("replies", 0, async || world.stage.db.count("replies").await).await;
    world.stage.finish_with_backlog().await;
}
