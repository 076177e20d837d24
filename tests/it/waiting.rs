//! What waits in Postgres comes back: in time, in numbers, and after a loss.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use dispatcher::dispatch::settings::Tempo;
use dispatcher::simulator::{Options, Simulator};
use serde_json::Value;

use crate::support::process::free_address;
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, job, number};

fn due(id: &str, n: usize, at: DateTime<Utc>) -> Value {
    let mut body = job(id, &number(n));
    body["not_before"] = at.to_rfc3339().into();
    body
}

#[tokio::test]
async fn a_due_job_is_sent_within_a_second_and_not_before() {
    let mut stage = Stage::new().await;
    // As users have it.
    stage.tempo = Tempo::default();
    stage.start().await;
    let begun = Utc::now() + chrono::Duration::milliseconds(1_200);
    let at = |n: usize| begun + chrono::Duration::milliseconds(130 * n as i64);
    let jobs: Vec<Value> = (0..20).map(|n| due(&format!("job-{n}"), n, at(n))).collect();
    stage.publish("normal", &jobs).await;
    stage.states("accepted 20").await;
    for submit in stage.gateway.submissions() {
        let n: usize = submit.mobile[3..].parse().unwrap();
        let sent = UNIX_EPOCH + Duration::from_secs_f64(submit.at);
        let late = DateTime::<Utc>::from(sent) - at(n);
        assert!(late.num_milliseconds() >= -1, "{} ms too early", -late.num_milliseconds());
        assert!(late.num_milliseconds() < 1_000, "{} ms late", late.num_milliseconds());
    }
    stage.finish().await;
}

#[tokio::test]
async fn five_thousand_that_are_due_at_once_are_all_sent_once() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let at = Utc::now() + chrono::Duration::seconds(6);
    let jobs: Vec<Value> = (0..5_000).map(|n| due(&format!("job-{n}"), n, at)).collect();
    stage.publish("bulk", &jobs).await;
    stage.states("waiting/scheduled 5000").await;
    assert!(SystemTime::now() < SystemTime::from(at), "all were stored before they were due");
    stage.states("accepted 5000").await;
    let mut sent: Vec<String> = stage.gateway.submissions().into_iter().map(|submit| submit.mobile).collect();
    sent.sort();
    sent.dedup();
    assert_eq!((sent.len(), stage.gateway.submissions().len()), (5_000, 5_000));
    stage.finish().await;
}

#[tokio::test]
async fn a_released_message_that_got_lost_comes_back() {
    let mut stage = Stage::new().await;
    let listen = free_address();
    stage.set("gateway.submit_url", &format!("http://{listen}/webservice/sms.php?method=Submit"));
    stage.set("retry.initial", "10ms");
    stage.set("retry.max", "20ms");
    stage.start().await;
    // The gateway is away: its circuit opens, and what is released waits in memory, not acknowledged.
    let jobs: Vec<Value> = (0..10).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    becomes("released jobs", true, async || stage.db.count("jobs where state = 'queued'").await >= 5).await;
    stage.stop().await;
    becomes("messages", true, async || stage.broker.depth(&stage.broker.queue("normal")).await >= 5).await;
    stage.broker.purge(&stage.broker.queue("normal")).await;

    let gateway = Simulator::start(Options { listen, ..lenient() }).await.unwrap();
    stage.tempo.lost = Duration::from_secs(1);
    stage.start().await;
    let stored = stage.db.count("jobs").await;
    stage.states(&format!("accepted {stored}")).await;
    assert_eq!(gateway.submissions().len() as i64, stored, "each once");
    assert!(stored >= 5);
    stage.finish().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_job_that_cannot_be_read_any_more_holds_up_no_other() {
    let mut stage = Stage::new().await;
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "5");
    stage.start().await;
    let far = Utc::now() + chrono::Duration::hours(1);
    let jobs: Vec<Value> = (0..100).map(|n| due(&format!("spoilt-{n}"), n, far)).collect();
    stage.publish("normal", &jobs).await;
    stage.states("waiting/scheduled 100").await;
    // Somebody has mended too much.
    stage.db.execute("update jobs set content = '', due_at = now()").await;
    let backlog: Vec<Value> = (1_000..1_500).map(|n| job(&format!("backlog-{n}"), &number(n))).collect();
    stage.publish("normal", &backlog).await;
    stage.states("accepted 500, waiting/retry 100").await;
    let soon = "jobs where due_at < now() + interval '5 min' or due_at > now() + interval '15 min'";
    assert_eq!(stage.db.count(soon).await, 0, "it is looked at again, but not at once");
    stage.db.execute("update jobs set content = 'x', not_before = null, due_at = now() where state = 'waiting'").await;
    stage.states("accepted 600").await;
    stage.finish().await;
}
