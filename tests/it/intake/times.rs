//! Jobs that are not for now, or not for any more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

fn in_ms(ms: i64) -> DateTime<Utc> {
    Utc::now() + chrono::Duration::milliseconds(ms)
}

fn with(id: &str, n: usize, fields: &[(&str, DateTime<Utc>)]) -> Value {
    let mut body = job(id, &number(n));
    for (name, at) in fields {
        body[*name] = at.to_rfc3339().into();
    }
    body
}

#[tokio::test]
async fn a_job_waits_for_its_time() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let far = in_ms(3_600_000);
    stage
        .publish("high", [&with("far", 1, &[("not_before", far)]), &with("past", 2, &[("not_before", in_ms(-5_000))])])
        .await;
    stage.states("accepted 1, waiting/scheduled 1").await;
    let waits = stage.db.job("far").await.unwrap();
    let off = waits.due_at.unwrap() - far;
    assert!(off.num_milliseconds().abs() <= 1, "due at {:?}, wanted {far}", waits.due_at);
    assert_eq!((waits.attempts, waits.code), (0, None));
    stage.metric("jobs_waiting", &[("reason", "scheduled")], 1.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn an_expired_job_is_never_sent_wherever_it_waits() {
    let mut stage = Stage::new().await;
    stage.set("limits.mobile", "1/m");
    stage.start().await;
    let soon = in_ms(3_000);
    let mut jobs = vec![
        with("past", 1, &[("expires_at", in_ms(-1))]),
        with("long-past", 2, &[("expires_at", in_ms(-86_400_000 * 400))]),
        with("scheduled", 3, &[("not_before", in_ms(3_600_000)), ("expires_at", in_ms(3_600_001))]),
    ];
    // At the start every number counts as just used, so these wait for their number.
    jobs.extend((0..20).map(|n| with(&format!("limited-{n}"), 4, &[("expires_at", soon)])));
    stage.publish("normal", &jobs).await;
    stage.states("expired 2, waiting/rate_limited 20, waiting/scheduled 1").await;
    // As if its hour had come and gone.
    let passed = "update jobs set expires_at = now() - interval '1 s' where id = 'scheduled'";
    assert_eq!(stage.db.execute(passed).await, 1);
    stage.states("expired 23").await;
    let late = Utc::now() - soon;
    assert!(late < chrono::Duration::seconds(10), "expired {late} late");
    assert_eq!(stage.gateway.submissions(), []);
    assert_eq!(stage.db.count("attempts").await, 0);
    stage.metric("jobs_finished_total", &[("state", "expired")], 23.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_job_expires_in_memory_too() {
    let mut stage = Stage::new().await;
    // A number's first turn comes 1.8 s after the start: near enough to wait for it in memory.
    stage.set("limits.mobile", "1/s");
    stage.set("limits.mobile_burst", "1");
    stage.start().await;
    stage.publish("high", [&with("first", 1, &[]), &with("late", 1, &[("expires_at", in_ms(300))])]).await;
    stage.states("accepted 1, expired 1").await;
    let sent: Vec<String> = stage.gateway.submissions().into_iter().map(|submit| submit.content).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(stage.db.job("late").await.unwrap().attempts, 0);
    stage.finish().await;
}

#[tokio::test]
async fn a_retry_does_not_outlive_its_job() {
    let mut stage = Stage::new().await;
    stage.tempo.expire = Duration::from_secs(2);
    stage.set("retry.initial", "20s");
    stage.gateway.script(&number(1), vec![dispatcher::simulator::Scripted::Code(0, "提交失败".into())]);
    stage.start().await;
    stage.publish("high", [&with("retried", 1, &[("expires_at", in_ms(1_500))])]).await;
    let job = stage.settled("retried", "expired").await;
    assert_eq!((job.attempts, job.code), (1, Some(0)));
    assert_eq!(stage.gateway.submissions().len(), 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_job_says_what_to_do_in_doubt_and_the_configuration_for_those_that_do_not() {
    let mut stage = Stage::new().await;
    stage.set("in_doubt.on_unknown", "resend");
    stage.start().await;
    let mut held = job("held", &number(1));
    held["on_unknown"] = "hold".into();
    stage.publish("high", [&held, &job("default", &number(2))]).await;
    stage.states("accepted 2").await;
    let on_unknown = async |id: &str| stage.db.job(id).await.unwrap().on_unknown;
    assert_eq!((on_unknown("held").await.as_str(), on_unknown("default").await.as_str()), ("hold", "resend"));
    stage.stop().await;
    stage.set("in_doubt.on_unknown", "hold");
    stage.start().await;
    stage.publish("high", [&job("default-2", &number(3))]).await;
    becomes("on_unknown", Some("hold".to_owned()), async || stage.db.job("default-2").await.map(|row| row.on_unknown))
        .await;
    stage.settled("default-2", "accepted").await;
    stage.finish().await;
}
