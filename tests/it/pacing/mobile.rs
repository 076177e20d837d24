//! The limit and the order of one number.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::{closest, contents, times};
use crate::support::lateness::Lateness;
use crate::support::stage::Stage;
use crate::support::{becomes, dispatcher, eventually, number};

/// No two were nearer than `period` seconds, but for a twentieth and for what the machine was late.
fn are_apart(times: &[f64], period: f64, late: &Lateness) {
    let closest = closest(times);
    assert!(closest >= period * 0.95 - late.worst(), "{closest} s apart, late by {} s", late.worst());
}

/// `count` jobs for one number, numbered on from `from`.
fn jobs(n: usize, from: usize, count: usize) -> Vec<Value> {
    let one = |i: usize| serde_json::json!({"id": format!("{n}-{i}"), "mobile": number(n), "content": text(i)});
    (from..from + count).map(one).collect()
}

fn text(i: usize) -> String {
    format!("第{i:04}条")
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(text).collect()
}

async fn limited(rate: &str) -> Stage {
    let mut stage = Stage::new().await;
    stage.set("limits.mobile", rate);
    stage.set("limits.mobile_burst", "1");
    stage
}

#[tokio::test]
async fn one_a_second_goes_to_a_number_in_order() {
    let mut stage = limited("1/s").await;
    let late = Lateness::watch();
    stage.start().await;
    let interleaved: Vec<Value> = (0..6).flat_map(|i| (0..5).flat_map(move |n| jobs(n, i, 1))).collect();
    stage.publish("normal", &interleaved).await;
    stage.states("accepted 30").await;
    let submissions = stage.gateway.submissions();
    for n in 0..5 {
        assert_eq!(contents(&submissions, &number(n)), texts(6));
        are_apart(&times(&submissions, &number(n)), 1.0, &late);
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_hot_number_goes_in_order_and_holds_nobody_up() {
    let mut stage = limited("5/s").await;
    let late = Lateness::watch();
    stage.start().await;
    stage.publish("normal", &jobs(0, 0, 30)).await;
    let others: Vec<Value> = (1..=100).flat_map(|n| jobs(n, 0, 1)).collect();
    stage.publish("normal", &others).await;
    becomes("the others", 100, async || stage.db.count("jobs where state = 'accepted' and id not like '0-%'").await)
        .await;
    stage.states("accepted 130").await;
    let parked = stage.scrape().await.sum("postgres_batch_rows_sum", &[("statement", "readmit")]);
    assert!(parked >= 5.0, "the hot number's jobs waited in Postgres: {parked}");
    let submissions = stage.gateway.submissions();
    assert_eq!(contents(&submissions, &number(0)), texts(30));
    let times = times(&submissions, &number(0));
    are_apart(&times, 0.2, &late);
    let took = times[29] - times[0];
    assert!(took < 29.0 * 0.2 * 1.5 + 2.0, "{took} s for 30 at 5 a second: slots are lost");
    stage.finish().await;
}

#[tokio::test]
async fn a_parked_job_is_parked_once() {
    let mut stage = limited("10/s").await;
    stage.start().await;
    stage.publish("normal", &jobs(0, 0, 100)).await;
    stage.states("accepted 100").await;
    assert_eq!(contents(&stage.gateway.submissions(), &number(0)), texts(100));
    // A parked job comes in, is readmitted once, and is recorded.
    let scrape = stage.scrape().await;
    let rows = |statement| scrape.sum("postgres_batch_rows_sum", &[("statement", statement)]);
    assert_eq!((rows("admit"), rows("record")), (100.0, 100.0));
    assert!(rows("readmit") <= 130.0, "{} rows readmitted for 100 jobs", rows("readmit"));
    stage.finish().await;
}

#[tokio::test]
async fn a_higher_priority_overtakes_at_a_number_too() {
    let mut stage = limited("5/s").await;
    stage.start().await;
    stage.publish("bulk", &jobs(0, 0, 20)).await;
    stage.submissions(1).await;
    let mut urgent = jobs(0, 100, 1);
    urgent[0]["content"] = "urgent".into();
    stage.publish("high", &urgent).await;
    stage.states("accepted 21").await;
    let order = contents(&stage.gateway.submissions(), &number(0));
    let place = order.iter().position(|content| content == "urgent").unwrap();
    assert!(place <= 8, "the high job was the {place}th of 20");
    let bulk: Vec<String> = order.into_iter().filter(|content| content != "urgent").collect();
    assert_eq!(bulk, texts(20));
    stage.finish().await;
}

#[tokio::test]
async fn a_restart_does_not_break_a_numbers_limit() {
    let mut stage = limited("30/m").await;
    let late = Lateness::watch();
    stage.start().await;
    for restart in 0..3 {
        stage.publish("high", &jobs(1, restart, 1)).await;
        stage.submissions(restart + 1).await;
        stage.stop().await;
        stage.start().await;
    }
    stage.states("accepted 3").await;
    are_apart(&times(&stage.gateway.submissions(), &number(1)), 2.0, &late);
    stage.finish().await;
}

#[tokio::test]
async fn the_order_of_a_number_survives_restarts() {
    let mut stage = limited("4/s").await;
    stage.start().await;
    stage.publish("normal", &jobs(0, 0, 24)).await;
    stage.submissions(3).await;
    // Some wait in memory, some are parked.
    becomes("parked jobs", true, async || stage.db.count("jobs where wait_reason = 'rate_limited'").await >= 10).await;
    stage.stop().await;
    stage.publish("normal", &jobs(0, 24, 4)).await;
    stage.start().await;
    stage.submissions(8).await;
    stage.publish("normal", &jobs(0, 28, 4)).await;
    stage.states("accepted 32").await;
    assert_eq!(contents(&stage.gateway.submissions(), &number(0)), texts(32));
    stage.finish().await;
}

#[tokio::test]
async fn a_pause_keeps_the_order_of_a_number() {
    let mut stage = limited("20/s").await;
    stage.start().await;
    stage.publish("normal", &jobs(0, 0, 120)).await;
    for sent in [20, 60] {
        stage.submissions(sent).await;
        // Some wait in memory, others for a slot that comes while the account is paused or soon afterwards.
        pause(&stage, "pause");
        becomes("on the wire", 0, async || stage.db.count("jobs where state = 'submitting'").await).await;
        stage.metric("jobs_in_flight", &[], 0.0).await;
        pause(&stage, "resume");
    }
    stage.states("accepted 120").await;
    assert_eq!(contents(&stage.gateway.submissions(), &number(0)), texts(120));
    stage.finish().await;
}

fn pause(stage: &Stage, act: &str) {
    dispatcher(&["accounts", act, "main"]).postgres(&stage.db.url).ok();
}

/// A campaign to one number was a mistake and is withdrawn; what comes after it does not wait for its slots.
#[tokio::test]
async fn nobody_waits_behind_slots_of_cancelled_jobs() {
    let mut stage = limited("1/m").await;
    stage.start().await;
    stage.publish("normal", &jobs(1, 0, 30)).await;
    // After the start a number counts as just used, for a minute.
    becomes("all are parked", 30, async || stage.db.count("jobs where wait_reason = 'rate_limited'").await).await;
    let slot = async |id: String| {
        let sql = "select extract(epoch from due_at - now())::float8 from jobs where id = $1 and state = 'waiting'";
        sqlx::query_scalar::<_, f64>(sql).bind(id).fetch_optional(&stage.db.pool).await.unwrap()
    };
    let last = slot("1-29".into()).await;
    assert!(last.is_some_and(|seconds| seconds > 20.0 * 60.0), "{last:?}");
    let withdraw = || dispatcher(&["jobs", "cancel", "--mobile", &number(1), "--yes"]).postgres(&stage.db.url).ok();
    withdraw();
    let next = AtomicUsize::new(100);
    eventually("a newcomer has the next slot", async || {
        let n = next.fetch_add(1, Ordering::Relaxed);
        stage.publish("normal", &jobs(1, n, 1)).await;
        let parked = async || slot(format!("1-{n}")).await.ok_or("not parked");
        let seconds = eventually("it is parked", parked).await;
        if seconds < 3.0 * 60.0 {
            return Ok(());
        }
        withdraw();
        Err(seconds)
    })
    .await;
    stage.finish_with_backlog().await;
}
