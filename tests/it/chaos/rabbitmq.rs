//! The network fails under a running daemon.

use std::time::Duration;

use dispatcher::simulator::{Latency, Options};
use serde_json::Value;

use crate::support::stage::{Stage, lenient};
use crate::support::{job, number, proxy};

const JOBS: usize = 300;

async fn cut(setting: &str) {
    let latency = Latency::Fixed(Duration::from_millis(20));
    let mut stage = Stage::with(Options { latency, ..lenient() }).await;
    stage.set("accounts.main.rate", "150/s");
    stage.set("accounts.main.burst", "1");
    let url = if setting == "rabbitmq.url" { &stage.broker.url } else { &stage.db.url };
    let (proxy, through) = proxy::before(url).await;
    stage.set(setting, &through);
    stage.start().await;
    let jobs: Vec<Value> = (0..JOBS).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    for cut in 1..=3 {
        stage.submissions(cut * 60).await;
        proxy.cut();
    }
    stage.states(&format!("accepted {JOBS}")).await;
    let mut sent: Vec<String> = stage.gateway.submissions().into_iter().map(|submit| submit.mobile).collect();
    sent.sort();
    assert_eq!(sent, (0..JOBS).map(number).collect::<Vec<_>>(), "each once");
    assert_eq!(stage.db.count("jobs where attempts <> 1").await, 0);
    // What is delivered again is no repeat of the publisher's.
    stage.flush("normal").await;
    stage.metric("duplicates_total", &[], 0.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_lost_broker_connection_loses_and_doubles_nothing() {
    cut("rabbitmq.url").await;
}
