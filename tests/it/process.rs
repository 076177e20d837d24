//! The process as its supervisor sees it: SIGTERM, exit codes, readiness.

use std::time::Duration;

use dispatcher::simulator::{Latency, Options, Scripted};
use serde_json::Value;

use crate::support::metrics::get;
use crate::support::process::free_address;
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, eventually, job, number};

#[tokio::test]
async fn on_sigterm_what_is_on_the_wire_finishes_and_the_rest_stays_queued() {
    let latency = Latency::Fixed(Duration::from_millis(700));
    let mut stage = Stage::with(Options { latency, ..lenient() }).await;
    stage.migrate().await;
    stage.set("accounts.main.max_in_flight", "10");
    let process = stage.process();
    process.ready().await;
    let jobs: Vec<Value> = (0..60).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    stage.submissions(10).await;
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("told to stop") && log.contains("goodbye"), "{log}");
    assert_eq!(stage.db.count("jobs where state = 'submitting'").await, 0);
    let sent = stage.gateway.submissions().len();
    assert_eq!(stage.db.count("jobs where state = 'accepted'").await as usize, sent);
    // Those that were claimed, and went nowhere or elsewhere, wait in Postgres.
    let stored = stage.db.count("jobs").await as u32;
    assert!((10..60).contains(&sent) && stored < 60, "{sent} sent, {stored} stored");
    becomes("the rest is queued", 60 - stored, async || stage.broker.backlog().await).await;

    stage.set("accounts.main.max_in_flight", "100");
    stage.start().await;
    stage.states("accepted 60").await;
    assert_eq!(stage.gateway.submissions().len(), 60, "each once");
    stage.finish().await;
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("drain_timeout", "500ms");
    stage.gateway.script(&number(1), vec![Scripted::Hang]);
    let process = stage.process();
    process.ready().await;
    stage.publish("high", [&job("hangs", &number(1))]).await;
    stage.submissions(1).await;
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(stage.db.states().await, "submitting 1");
    stage.db.execute("update jobs set claimed_until = now() - interval '1 s'").await;
    stage.start().await;
    stage.states("in_doubt 1").await;
    stage.finish().await;
}

#[tokio::test]
async fn while_it_drains_it_says_so_and_answers() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("drain_timeout", "20s");
    stage.gateway.script(&number(1), vec![Scripted::Delay(Duration::from_secs(3), Box::new(Scripted::Normal))]);
    let process = stage.process();
    process.ready().await;
    stage.publish("high", [&job("slow", &number(1))]).await;
    stage.submissions(1).await;
    process.tell_to_stop().await;
    eventually("unready, for it stops", async || match get(process.admin, "/readyz").await {
        Some((503, reasons)) if reasons.contains("stopping") => Ok(()),
        other => Err((other, process.log())),
    })
    .await;
    assert_eq!(get(process.admin, "/healthz").await, Some((200, "ok\n".to_owned())));
    assert_eq!(get(process.admin, "/metrics").await.map(|(status, _)| status), Some(200));
    assert_eq!(stage.db.states().await, "submitting 1", "it drains still");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(stage.db.states().await, "accepted 1");
    stage.finish().await;
}

#[tokio::test]
async fn without_its_tables_it_exits_1_and_says_what_to_do() {
    let stage = Stage::new().await;
    let (status, log) = stage.process().ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("dispatcher migrate"), "{log}");
    // No daemon has declared the queues that finish() looks at.
    stage.finish_without_tables();
}

#[tokio::test]
async fn with_its_services_out_of_reach_it_keeps_trying_and_says_so() {
    for (key, part) in [("postgres.url", "postgres"), ("rabbitmq.url", "rabbitmq")] {
        let mut stage = Stage::new().await;
        stage.migrate().await;
        let nowhere = free_address();
        let scheme = if part == "postgres" { "postgres" } else { "amqp" };
        stage.set(key, &format!("{scheme}://user:secret-password@{nowhere}/x"));
        let process = stage.process();
        eventually("unready, for that reason", async || match get(process.admin, "/readyz").await {
            Some((503, reasons)) if names(&reasons, part) => Ok(()),
            other => Err((other, process.log())),
        })
        .await;
        assert_eq!(get(process.admin, "/healthz").await.map(|(status, _)| status), Some(200));
        assert_eq!(get(process.admin, "/metrics").await.map(|(status, _)| status), Some(200));
        let (status, log) = process.terminate().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("secret-password"), "{log}");
        stage.finish_without_queues().await;
    }
}

/// Whether the reasons have more to say of `part` than that it is not there yet.
fn names(reasons: &str, part: &str) -> bool {
    let reason = reasons.lines().find_map(|line| line.strip_prefix(&format!("{part}: ")));
    reason.is_some_and(|reason| reason != "not connected yet")
}
