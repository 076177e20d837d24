//! The relay among failures: nothing is lost, repeats keep their id, and sending does not notice.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use super::listener::{Listener, words};
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number, proxy};

fn jobs(count: usize) -> Vec<Value> {
    (0..count).map(|n| job(&format!("job-{n}"), &number(n))).collect()
}

/// Each fact once, whatever was repeated, and each repeat is equal to its first.
fn check(all: &[Value], count: usize) {
    let mut facts: BTreeMap<String, &Value> = BTreeMap::new();
    for event in all {
        let known = facts.entry(event["id"].to_string()).or_insert(event);
        assert_eq!(*known, event, "a repeat is the same to the letter");
    }
    let jobs: BTreeMap<String, &Value> = facts.values().map(|event| (event["subject"].to_string(), *event)).collect();
    assert_eq!((facts.len(), jobs.len()), (count, count));
}

#[tokio::test]
async fn a_crash_between_commit_and_publish_is_made_good() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    let listener = Listener::to(&stage, "#").await;
    let (proxy, through) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &through);
    let process = stage.process();
    process.ready().await;
    stage.publish("high", [&job("first", &number(1_000))]).await;
    listener.hears(1).await;
    // What the daemon says is not passed on from now on; what the broker says is.
    proxy.mute();
    stage.publish("normal", &jobs(20)).await;
    stage.states("accepted 21").await;
    becomes("committed and not told", 20, async || stage.db.count("events").await).await;
    process.kill().await;
    proxy.cut();
    assert_eq!(listener.facts().await.len(), 1);
    stage.set("rabbitmq.url", &stage.broker.url.clone());
    stage.start().await;
    listener.hears(21).await;
    check(&listener.all().await, 21);
    stage.flush("normal").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_crash_between_publish_and_delete_repeats_under_the_same_ids() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    let listener = Listener::to(&stage, "#").await;
    // The relay cannot delete.
    stage.db.execute("create function keep() returns trigger language plpgsql as $$ begin raise 'kept'; end $$").await;
    stage.db.execute("create trigger keep before delete on events for each row execute function keep()").await;
    let process = stage.process();
    process.ready().await;
    stage.publish("normal", &jobs(20)).await;
    stage.states("accepted 20").await;
    // Those of its first round; it goes on only when they are deleted.
    let told = eventually("some are told", async || match listener.facts().await.len() {
        0 => Err(()),
        told => Ok(told),
    })
    .await;
    process.kill().await;
    assert_eq!(stage.db.count("events").await, 20);
    stage.db.execute("drop trigger keep on events").await;
    stage.start().await;
    becomes("the outbox is empty", 0, async || stage.db.count("events").await).await;
    let all = listener.all().await;
    assert!(all.len() >= 20 + told, "{} of which {told} came before", all.len());
    check(&all, 20);
    stage.flush("normal").await;
    stage.finish().await;
}

#[tokio::test]
async fn lost_connections_lose_no_event() {
    for setting in ["rabbitmq.url", "postgres.url"] {
        let mut stage = Stage::new().await;
        stage.set("accounts.main.rate", "150/s");
        stage.set("accounts.main.burst", "1");
        let listener = Listener::to(&stage, "#").await;
        let url = if setting == "rabbitmq.url" { &stage.broker.url } else { &stage.db.url };
        let (proxy, through) = proxy::before(url).await;
        stage.set(setting, &through);
        stage.start().await;
        stage.publish("normal", &jobs(200)).await;
        for cut in 1..=3 {
            stage.submissions(cut * 40).await;
            proxy.cut();
        }
        stage.states("accepted 200").await;
        listener.hears(200).await;
        check(&listener.all().await, 200);
        stage.finish().await;
    }
}

#[tokio::test]
async fn a_relay_that_gets_no_answer_holds_up_nothing() {
    let mut stage = Stage::new().await;
    let listener = Listener::to(&stage, "#").await;
    let (proxy, through) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &through);
    stage.start().await;
    stage.publish("high", [&job("first", &number(1_000))]).await;
    listener.hears(1).await;
    // Of three connections, the youngest is the relay's.
    proxy.mute_last();
    stage.publish("normal", &jobs(50)).await;
    stage.states("accepted 51").await;
    becomes("the queues are empty", 0, async || stage.broker.backlog().await).await;
    assert_eq!(listener.facts().await.len(), 1);
    stage.metric("events_pending", &[], 50.0).await;
    proxy.cut();
    listener.hears(51).await;
    check(&listener.all().await, 51);
    stage.finish().await;
}

#[tokio::test]
async fn a_queue_that_refuses_holds_up_only_its_own() {
    let mut stage = Stage::new().await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let accepted = Listener::with(&stage, "job.accepted", full).await;
    let failed = Listener::to(&stage, "job.failed").await;
    stage.start().await;
    stage.publish("high", &jobs(5)).await;
    stage.states("accepted 5").await;
    // One or two have room; those behind a refused one go on, but for the same job.
    becomes("some are refused", true, async || (1..=4).contains(&stage.db.count("events").await)).await;
    let refused = "select job_id from events order by id desc limit 1";
    let refused: String = sqlx::query_scalar(refused).fetch_one(&stage.db.pool).await.unwrap();
    stage.db.announce_bare(&refused, "failed").await;
    stage.db.announce_bare("another", "failed").await;
    assert_eq!(failed.hears(1).await[0]["subject"], "another");
    // Room is made, one by one, and all come, the refused one's next event after it.
    eventually("all come", async || match accepted.facts().await.len() {
        5 => Ok(()),
        less => Err(less),
    })
    .await;
    let facts = failed.hears(2).await;
    assert_eq!(facts[1]["subject"], refused);
    assert_eq!(words(&accepted.facts().await).len(), 5);
    becomes("the outbox is empty", 0, async || stage.db.count("events").await).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_row_that_nobody_could_write_blocks_none() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    let listener = Listener::to(&stage, "#").await;
    stage.db.execute("insert into events (type, data) values (repeat('x', 300), '{}'), ('', '{}')").await;
    stage.db.announce_bare("behind", "accepted").await;
    stage.start().await;
    assert_eq!(listener.hears(1).await[0]["subject"], "behind");
    becomes("it stays for who looks", 2, async || stage.db.count("events").await).await;
    stage.finish().await;
}
