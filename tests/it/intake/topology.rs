//! Queues and exchanges as the contract names them.

use dispatcher::broker::JobPublisher;
use dispatcher::dispatch::ports::{Publisher, Released};
use dispatcher::domain::job::{Job, Priority};
use futures_util::StreamExt;
use lapin::ExchangeKind;
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};

use crate::support::broker::{Message, TestBroker};
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

#[tokio::test]
async fn exchanges_and_queues_are_declared_at_the_start() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let prefix = &stage.broker.prefix;
    for queue in ["jobs.high.0", "jobs.normal.0", "jobs.bulk.0", "dead"] {
        assert_eq!(stage.broker.depth(&format!("{prefix}.{queue}")).await, 0);
    }
    for exchange in ["jobs", "events"] {
        let channel = stage.broker.channel().await;
        let durable = ExchangeDeclareOptions { durable: true, passive: true, ..Default::default() };
        let name = format!("{prefix}.{exchange}");
        let declared = channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, FieldTable::default()).await;
        assert!(declared.is_ok(), "{exchange}: {declared:?}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_message_that_nobody_keeps_ends_in_the_dead_letter_queue() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.stop().await;
    for priority in ["high", "normal", "bulk"] {
        stage.broker.publish(&[Message::raw(format!("{priority}.13800138000"), priority)]).await;
        let dead = dies(&stage.broker, priority).await;
        assert_eq!(dead.data, priority.as_bytes());
        // Only quorum queues have a delivery limit.
        let headers = dead.properties.headers().clone().unwrap_or_default();
        let reason = headers.inner().get("x-first-death-reason").and_then(|reason| reason.as_long_string());
        assert_eq!(reason.map(|reason| reason.as_bytes()), Some("delivery_limit".as_bytes()));
    }
    stage.finish().await;
}

/// In the daemon's place: a consumer that never gets to an acknowledgement. Returns what ends in `sms.dead`.
async fn dies(broker: &TestBroker, priority: &str) -> Delivery {
    let channel = broker.channel().await;
    let queue = broker.queue(priority);
    let mut consumer = channel
        .basic_consume(queue.into(), "poisoned".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let dead = format!("{}.dead", broker.prefix);
    let rejecting = async {
        while let Some(delivery) = consumer.next().await {
            delivery.unwrap().nack(BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
        }
    };
    let arriving = eventually("the message is dead", async || broker.get(&dead).await.ok_or("not there"));
    let found = tokio::select! {
        () = rejecting => panic!("the consumer was cancelled"),
        found = arriving => found,
    };
    channel.close(200, "bye".into()).await.unwrap();
    found
}

#[tokio::test]
async fn the_routing_key_names_the_priority_and_an_odd_one_is_taken_as_normal() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let keys = [
        ("high.13900000000", "high"),
        ("high", "high"),
        ("bulk.13900000002.more", "bulk"),
        ("bulk.not-a-number", "bulk"),
        ("normal.13900000004", "normal"),
        ("", "normal"),
        (".", "normal"),
        ("urgent.13900000007", "normal"),
        ("HIGH.13900000008", "normal"),
        ("13900000009", "normal"),
        ("高.13900000010", "normal"),
        ("highest.13900000011", "normal"),
    ];
    let messages: Vec<Message> = keys
        .iter()
        .enumerate()
        .map(|(n, (key, _))| Message::raw(*key, job(&format!("odd-{n}"), &number(n)).to_string()))
        .collect();
    stage.broker.publish(&messages).await;
    stage.states(&format!("accepted {}", keys.len())).await;
    for (n, (key, priority)) in keys.iter().enumerate() {
        assert_eq!(stage.db.job(&format!("odd-{n}")).await.unwrap().priority, *priority, "{key}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn a_queue_that_refuses_keeps_no_job_from_the_others() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.stop().await;
    let channel = stage.broker.channel().await;
    // Somebody's own, bound beside the daemon's, which takes one message.
    let (own, exchange) = (format!("{}.own", stage.broker.prefix), format!("{}.jobs", stage.broker.prefix));
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let fleeting = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(own.as_str().into(), fleeting, full).await.unwrap();
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(own.as_str().into(), exchange.as_str().into(), "bulk.#".into(), options, none).await.unwrap();

    let publisher = JobPublisher::connect(&stage.broker.url.clone().into(), &stage.broker.prefix).await.unwrap();
    let released = |n: i64| {
        let priority = if n == 1_500 { Priority::High } else { Priority::Bulk };
        Released { job: Job { priority, ..crate::suite::job(&format!("job-{n}")) }, seq: n, bound: false }
    };
    let told = publisher.release(&(0..=1_500).map(released).collect::<Vec<_>>()).await.unwrap_err();
    assert!(told.to_string().contains("of 1501 were refused"), "{told}");
    becomes("the last one is there", 1, async || stage.broker.depth(&stage.broker.queue("high")).await).await;
    channel.close(200, "bye".into()).await.unwrap();
    for priority in ["high", "bulk"] {
        stage.broker.purge(&stage.broker.queue(priority)).await;
    }
    publisher.close().await;
    stage.finish().await;
}
