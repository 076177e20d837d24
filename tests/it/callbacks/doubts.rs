//! A receipt may end a doubt, where it can mean nothing else.

use std::time::Duration;

use chrono::Utc;
use dispatcher::simulator::{Receipts, Scripted};

use super::world::{World, receipt, smsid_of};
use crate::support::{becomes, job, number};

/// Lets time pass for receipts: those that wait are due now. Waits until each has been looked at anew.
async fn looked_at(world: &World) {
    world.stage.db.execute("update receipts set look_at = now(), looks = 0 where job_id is null").await;
    becomes("a look at each", 0, async || {
        world.stage.db.count("receipts where job_id is null and look_at <= now()").await
    })
    .await;
}

/// A job in doubt: the gateway took it, and nobody heard.
async fn doubted(world: &World, id: &str, mobile: &str) {
    world.stage.gateway.script(mobile, vec![Scripted::CloseBeforeReply]);
    world.stage.publish("high", [&job(id, mobile)]).await;
    world.stage.settled(id, "in_doubt").await;
}

#[tokio::test]
async fn a_doubt_ends_with_the_gateways_receipt() {
    let delayed = |receipts| Receipts { undelivered: 0.0, ..receipts };
    let mut world = World::pushing(delayed).await;
    world.stage.gateway.script(&number(1), vec![Scripted::Judged(Box::new(Scripted::CloseBeforeReply))]);
    world.stage.start().await;
    world.stage.publish("high", [&job("one", &number(1))]).await;
    let row = world.stage.settled("one", "delivered").await;
    assert_eq!((row.code, row.smsid.clone()), (Some(2), Some(world.stage.gateway.submissions()[0].smsid.clone())));
    world.events("one", &["job.in_doubt", "job.accepted", "job.delivered"]).await;
    let sql = "attempts where outcome = 'unknown' and smsid is not null and message like '%a receipt shows%'";
    assert_eq!(world.stage.db.count(sql).await, 1, "the attempt keeps a trace");
    world.stage.metric("jobs_in_doubt", &[], 0.0).await;
    world.stage.metric("jobs_finished_total", &[("state", "accepted")], 1.0).await;
    world.stage.metric("jobs_finished_total", &[("state", "delivered")], 1.0).await;
    world.stage.finish().await;
}

#[tokio::test]
async fn also_with_bad_news() {
    let mut world = World::silent().await;
    world.stage.start().await;
    doubted(&world, "one", &number(1)).await;
    world.push("receipt", receipt("4", &number(1), &smsid_of(Utc::now(), 1), Utc::now())).await;
    looked_at(&world).await;
    world.stage.settled("one", "undelivered").await;
    world.events("one", &["job.in_doubt", "job.accepted", "job.undelivered"]).await;
    world.stage.finish().await;
}

#[tokio::test]
async fn where_two_attempts_fit_nobody_knows() {
    let mut world = World::silent().await;
    world.stage.start().await;
    doubted(&world, "one", &number(1)).await;
    doubted(&world, "two", &number(1)).await;
    world.push("receipt", receipt("2", &number(1), &smsid_of(Utc::now(), 1), Utc::now())).await;
    looked_at(&world).await;
    world.stage.states("in_doubt 2").await;
    // One that was sent again counts too: it may have been the first request that was taken.
    doubted(&world, "three", &number(3)).await;
    doubted(&world, "again", &number(3)).await;
    world.stage.db.execute("update jobs set state = 'failed' where id = 'again'").await;
    world.push("receipt", receipt("2", &number(3), &smsid_of(Utc::now(), 2), Utc::now())).await;
    looked_at(&world).await;
    world.stage.states("failed 1, in_doubt 3").await;
    world.stage.finish().await;
}

#[tokio::test]
async fn where_two_receipts_fit_nobody_knows() {
    let mut world = World::silent().await;
    world.stage.start().await;
    doubted(&world, "one", &number(1)).await;
    let at = Utc::now();
    // Together, as ihuyi pushes them when it was kept waiting.
    let (first, second) = (smsid_of(at, 1), smsid_of(at, 2));
    world.stage.tempo.receipts = Duration::from_millis(50);
    tokio::join!(
        world.push("receipt", receipt("2", &number(1), &first, at)),
        world.push("receipt", receipt("2", &number(1), &second, at)),
    );
    looked_at(&world).await;
    world.stage.states("in_doubt 1").await;
    world.stage.finish().await;
}

#[tokio::test]
async fn another_number_time_or_kind_of_id_ends_nothing() {
    let mut world = World::silent().await;
    world.stage.start().await;
    doubted(&world, "one", &number(1)).await;
    let now = Utc::now();
    let off = |seconds| smsid_of(now + chrono::Duration::seconds(seconds), 1);
    for (mobile, smsid) in
        [(number(2), off(0)), (number(1), off(-60)), (number(1), off(60)), (number(1), "12345678".into())]
    {
        world.push("receipt", receipt("2", &mobile, &smsid, now)).await;
    }
    looked_at(&world).await;
    world.stage.states("in_doubt 1").await;
    assert_eq!(world.stage.db.count("receipts where job_id is null").await, 4);
    world.stage.finish().await;
}

#[tokio::test]
async fn an_attempt_on_the_wire_may_be_meant_too() {
    let mut world = World::silent().await;
    world.stage.start().await;
    doubted(&world, "one", &number(1)).await;
    let taken = Scripted::Code(2, "提交成功".into());
    world.stage.gateway.script(&number(1), vec![Scripted::Delay(Duration::from_secs(3), Box::new(taken))]);
    world.stage.publish("high", [&job("two", &number(1))]).await;
    world.stage.settled("two", "submitting").await;
    world.push("receipt", receipt("2", &number(1), &smsid_of(Utc::now(), 1), Utc::now())).await;
    looked_at(&world).await;
    assert_eq!(world.stage.db.job("one").await.unwrap().state, "in_doubt");
    // Once it is known that the second had another id, the receipt can only mean the first.
    world.stage.settled("two", "accepted").await;
    looked_at(&world).await;
    world.stage.settled("one", "delivered").await;
    world.stage.finish().await;
}
