//! A gateway that cannot be reached: nothing left, so nothing is spent and nothing is in doubt.

use dispatcher::simulator::{Options, Scripted, Simulator};

use crate::support::process::free_address;
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, eventually, job, number, proxy};

#[tokio::test]
async fn jobs_wait_unspent_and_go_when_it_is_back() {
    let mut stage = Stage::new().await;
    let listen = free_address();
    stage.set("gateway.submit_url", &format!("http://{listen}/webservice/sms.php?method=Submit"));
    stage.set("retry.initial", "200ms");
    stage.set("retry.max", "400ms");
    stage.start().await;
    let jobs: Vec<_> = (0..20).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    stage.metric("gateway_circuit_open", &[], 1.0).await;
    let tried = eventually("a job that was tried", async || {
        let sql = "select id from jobs where state = 'waiting' and wait_reason = 'retry' and attempts = 0 limit 1";
        let found: Option<String> = sqlx::query_scalar(sql).fetch_optional(&stage.db.pool).await.unwrap();
        found.ok_or(stage.db.states().await)
    })
    .await;
    let outcomes = stage.db.attempts(&tried).await;
    assert!(!outcomes.is_empty() && outcomes.iter().all(|row| *row == ("not_sent".to_owned(), None)), "{outcomes:?}");
    assert_eq!(stage.db.count("jobs where attempts > 1 or state in ('in_doubt', 'failed')").await, 0);

    let back = Simulator::start(Options { listen, ..lenient() }).await.unwrap();
    stage.states("accepted 20").await;
    assert_eq!(stage.db.count("jobs where attempts <> 1").await, 0, "only the attempt that left is spent");
    assert_eq!(back.submissions().len(), 20);
    stage.metric("gateway_circuit_open", &[], 0.0).await;
    stage.finish().await;
    back.stop().await;
}

#[tokio::test]
async fn what_was_answered_before_still_stands() {
    let mut stage = Stage::new().await;
    let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
    stage.set("gateway.submit_url", &url);
    stage.set("retry.initial", "300ms");
    stage.gateway.script(&number(1), vec![Scripted::Code(0, "busy".into())]);
    stage.start().await;
    stage.publish("normal", [&job("one", &number(1))]).await;
    stage.job("one", |row| row.wait_reason.as_deref() == Some("retry")).await;
    gateway.refuse();
    eventually("not sent", async || match stage.db.attempts("one").await {
        outcomes if outcomes.iter().any(|(outcome, _)| outcome == "not_sent") => Ok(()),
        outcomes => Err(outcomes),
    })
    .await;
    let row = stage.job("one", |row| row.wait_reason.as_deref() == Some("retry")).await;
    assert_eq!((row.attempts, row.code), (1, Some(0)));
    gateway.resume();
    stage.settled("one", "accepted").await;
    stage.finish().await;
}

/// RabbitMQ gives out as many messages as may be in memory. What stands behind them has its time, too.
#[tokio::test]
async fn jobs_expire_in_time_also_behind_a_full_memory() {
    let mut stage = Stage::new().await;
    stage.set("gateway.submit_url", &format!("http://{}/sms.php?method=Submit", free_address()));
    stage.set("rabbitmq.prefetch", "10");
    let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &url);
    stage.start().await;
    let expiring = |prefix: &str, seconds, range: std::ops::Range<usize>| {
        let at = (chrono::Utc::now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339();
        let mut jobs: Vec<_> = range.map(|n| job(&format!("{prefix}-{n}"), &number(n))).collect();
        jobs.iter_mut().for_each(|job| job["expires_at"] = at.as_str().into());
        jobs
    };
    // Those before the codes have more time.
    let jobs = [expiring("job", 25, 100..130), expiring("code", 8, 0..50)].concat();
    stage.publish("normal", &jobs).await;
    let expired = "jobs where state = 'expired' and attempts = 0 and id like";
    becomes("expired", 50, async || stage.db.count(&format!("{expired} 'code-%'")).await).await;
    assert_eq!(stage.db.count(&format!("{expired} 'job-%'")).await, 0);
    assert_eq!(stage.db.count("jobs where state in ('failed', 'in_doubt')").await, 0);
    // In the end nothing is left that could find out whether the gateway is back.
    stage.states("expired 80").await;
    stage.metric("gateway_circuit_open", &[], 1.0).await;
    rabbitmq.cut();
    stage.metric("gateway_circuit_open", &[], 0.0).await;
    stage.metric("rabbitmq_connected", &[], 1.0).await;
    stage.finish_with_backlog().await;
}
