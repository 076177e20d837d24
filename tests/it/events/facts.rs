//! What is told of each job, and in which words.

use std::time::{Duration, Instant};

use dispatcher::simulator::Scripted;
use serde_json::{Value, json};

use super::listener::{Listener, data, words};
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

#[tokio::test]
async fn every_end_of_a_job_is_told() {
    let mut stage = Stage::new().await;
    let listener = Listener::to(&stage, "job.#").await;
    stage.set("gateway.timeout", "500ms");
    stage.gateway.script(&number(2), vec![Scripted::Code(407, "敏感词".into())]);
    stage.gateway.script(&number(4), vec![Scripted::Hang]);
    stage.start().await;
    let mut jobs = [1, 2, 3, 4].map(|n| job(&format!("job-{n}"), &number(n)));
    jobs[0]["metadata"] = json!({ "order": [1, { "二": null }], "precise": 0.1 });
    jobs[2]["expires_at"] = "2020-01-01T00:00:00Z".into();
    stage.publish("high", &jobs).await;
    let mut facts = listener.hears(4).await;
    facts.sort_by_key(|event| event["subject"].to_string());
    let told: Vec<Value> = facts.iter().map(|event| data(&stage, event)).collect();
    assert_eq!(words(&facts), ["accepted job-1", "failed job-2", "expired job-3", "in_doubt job-4"]);
    let accepted = stage.db.job("job-1").await.unwrap();
    assert_eq!(told[0]["smsid"], accepted.smsid.unwrap());
    assert_eq!(
        (&told[0]["code"], &told[0]["mobile"], &told[0]["account"]),
        (&json!(2), &json!(number(1)), &json!("main"))
    );
    assert_eq!(told[0]["metadata"], jobs[0]["metadata"]);
    assert_eq!((&told[1]["code"], &told[1]["message"]), (&json!(407), &json!("敏感词")));
    assert_eq!((&told[2]["code"], &told[2]["smsid"]), (&Value::Null, &Value::Null));
    assert_eq!((&told[3]["code"], &told[3]["metadata"]), (&Value::Null, &Value::Null));
    // A receipt ends the doubt; whoever writes that, announces it.
    stage.db.announce("job-4", "accepted").await;
    stage.db.announce("job-4", "delivered").await;
    let facts = listener.hears(6).await;
    assert_eq!(words(&facts[4..]), ["accepted job-4", "delivered job-4"]);
    stage.metric("events_pending", &[], 0.0).await;
    stage.metric("events_published_total", &[("type", "job.accepted")], 2.0).await;
    stage.metric("events_published_total", &[], 6.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn what_expires_while_it_waits_is_told() {
    let mut stage = Stage::new().await;
    let listener = Listener::to(&stage, "job.expired").await;
    stage.start().await;
    let mut waits = job("waits", &number(1));
    waits["not_before"] = "2100-01-01T00:00:00Z".into();
    waits["expires_at"] = "2100-01-01T00:00:01Z".into();
    stage.publish("bulk", [&waits]).await;
    stage.settled("waits", "waiting").await;
    stage.db.execute("update jobs set expires_at = now()").await;
    assert_eq!(words(&listener.hears(1).await), ["expired waits"]);
    stage.finish().await;
}

#[tokio::test]
async fn an_idle_system_tells_at_once() {
    let mut stage = Stage::new().await;
    // Polling would be seen.
    stage.tempo.events = Duration::from_secs(60);
    let listener = Listener::to(&stage, "job.accepted").await;
    stage.start().await;
    let mut delays = Vec::new();
    for n in 0..5 {
        let begun = Instant::now();
        stage.publish("high", [&job(&format!("job-{n}"), &number(n))]).await;
        listener.hears(n + 1).await;
        delays.push(begun.elapsed());
        becomes("the outbox is empty", 0, async || stage.db.count("events").await).await;
    }
    delays.sort_unstable();
    assert!(delays[2] < Duration::from_secs(1), "from published to told: {delays:?}");
    stage.finish().await;
}

#[tokio::test]
async fn a_jobs_events_come_in_order_also_within_a_batch() {
    let mut stage = Stage::new().await;
    let listener = Listener::to(&stage, "#").await;
    stage.migrate().await;
    for n in 0..300 {
        let (job, kind) = (format!("job-{}", n % 50), ["in_doubt", "accepted", "delivered"][n / 50 % 3]);
        stage.db.announce_bare(&job, kind).await;
    }
    stage.start().await;
    let facts = listener.hears(300).await;
    for n in 0..50 {
        let id = format!("job-{n}");
        let kinds: Vec<&str> =
            facts.iter().filter(|event| event["subject"] == id).map(|event| event["type"].as_str().unwrap()).collect();
        let thrice = ["job.in_doubt", "job.accepted", "job.delivered"];
        assert_eq!(kinds, [thrice, thrice].concat(), "{id}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn switched_off_nothing_is_told_and_what_waited_stays() {
    let mut stage = Stage::new().await;
    let listener = Listener::to(&stage, "#").await;
    stage.migrate().await;
    stage.db.announce_bare("before", "accepted").await;
    stage.set("events.enabled", "false");
    stage.start().await;
    stage.publish("high", [&job("silent", &number(1))]).await;
    stage.settled("silent", "accepted").await;
    stage.metric("events_pending", &[], 1.0).await;
    stage.stop().await;
    assert_eq!(stage.db.count("events").await, 1, "nothing was written");
    assert_eq!(listener.all().await, Vec::<Value>::new());
    stage.set("events.enabled", "true");
    stage.start().await;
    assert_eq!(listener.hears(1).await[0]["subject"], "before");
    stage.finish().await;
}
