//! The gateway is down, slow, resets, or answers nonsense.

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicNackOptions};
use lapin::types::FieldTable;
use serde_json::Value;

use crate::support::broker::TestBroker;
use crate::support::process::free_address;
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, job, number};

fn jobs(from: usize, count: usize) -> Vec<Value> {
    (from..from + count).map(|n| job(&format!("job-{n}"), &number(n))).collect()
}

/// Gives every message of a queue back until each has been given out `times`.
async fn give_back(broker: &TestBroker, priority: &str, messages: usize, times: usize) {
    let channel = broker.channel().await;
    let options = BasicConsumeOptions::default();
    let queue = broker.queue(priority);
    let mut consumer =
        channel.basic_consume(queue.as_str().into(), "returns".into(), options, FieldTable::default()).await.unwrap();
    for _ in 0..messages * times {
        let delivery = consumer.next().await.unwrap().unwrap();
        channel.basic_nack(delivery.delivery_tag, BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
    }
    channel.close(200, "done".into()).await.unwrap();
}

/// A queue counts how often a message comes back, and gives up on it. That is for messages that take
/// the process down, not for jobs that only happen to wait in memory at each of many restarts.
#[tokio::test]
async fn jobs_outlive_any_number_of_restarts_while_the_gateway_is_down() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.stop().await;
    stage.publish("normal", &jobs(0, 30)).await;
    give_back(&stage.broker, "normal", 30, 18).await;
    let listen = free_address();
    stage.set("gateway.submit_url", &format!("http://{listen}/webservice/sms.php?method=Submit"));
    for _ in 0..3 {
        stage.start().await;
        becomes("all are given out", 0, async || stage.broker.depth(&stage.broker.queue("normal")).await).await;
        stage.stop().await;
    }
    assert_eq!(stage.broker.depth(&format!("{}.dead", stage.broker.prefix)).await, 0, "none is given up");
    let back = dispatcher::simulator::Simulator::start(dispatcher::simulator::Options { listen, ..lenient() }).await;
    stage.start().await;
    stage.states("accepted 30").await;
    stage.finish().await;
    back.unwrap().stop().await;
}

#[tokio::test]
async fn a_backlog_stays_in_the_broker_while_one_job_at_a_time_probes() {
    let mut stage = Stage::new().await;
    let listen = free_address();
    stage.set("gateway.submit_url", &format!("http://{listen}/webservice/sms.php?method=Submit"));
    stage.set("rabbitmq.prefetch", "100");
    stage.set("retry.initial", "60s");
    stage.set("retry.max", "60s");
    stage.start().await;
    stage.publish("normal", &jobs(0, 1_500)).await;
    stage.metric("gateway_circuit_open", &[], 1.0).await;
    let ended = "attempts where outcome = 'not_sent'";
    // What was under way when it opened has failed; from then on one goes after the other.
    becomes("none is on the wire", 0, async || stage.db.count("attempts where outcome is null").await).await;
    let before = stage.db.count(ended).await;
    becomes("two probes", true, async || stage.db.count(ended).await >= before + 2).await;
    assert!(stage.db.count(ended).await <= before + 3, "one probe at a time");
    let (ready, stored) = (stage.broker.depth(&stage.broker.queue("normal")).await, stage.db.count("jobs").await);
    assert!(i64::from(ready) + stored >= 1_400, "{ready} ready and {stored} stored: at most 100 are in memory");
    assert_eq!(stage.db.count("jobs where attempts > 0 or state <> 'waiting'").await, 0, "nothing is spent");
    let back = dispatcher::simulator::Simulator::start(dispatcher::simulator::Options { listen, ..lenient() }).await;
    stage.metric("gateway_circuit_open", &[], 0.0).await;
    stage.db.execute("update jobs set due_at = now() where state = 'waiting'").await;
    stage.states("accepted 1500").await;
    stage.finish().await;
    back.unwrap().stop().await;
}
