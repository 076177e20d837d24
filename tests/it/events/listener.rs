//! A consumer of events, as an order system would have one.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use dispatcher::domain::event::{CONTENT_TYPE, JOB_DATA};
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};
use serde_json::Value;

use crate::support::eventually;
use crate::support::stage::Stage;

/// A queue of its own on the exchange of events.
pub struct Listener {
    channel: Channel,
    queue: String,
    heard: Mutex<Vec<Value>>,
}

impl Listener {
    /// Hears what `key` matches from now on. The daemon need not have run yet.
    pub async fn to(stage: &Stage, key: &str) -> Listener {
        Listener::with(stage, key, FieldTable::default()).await
    }

    /// With a queue that has these arguments.
    pub async fn with(stage: &Stage, key: &str, arguments: FieldTable) -> Listener {
        let channel = stage.broker.channel().await;
        let exchange = format!("{}.events", stage.broker.prefix);
        let durable = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default())
            .await
            .unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), exclusive, arguments).await.unwrap();
        let queue = queue.name().as_str().to_owned();
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(queue.as_str().into(), exchange.into(), key.into(), bind, FieldTable::default())
            .await
            .unwrap();
        Listener { channel, queue, heard: Mutex::default() }
    }

    /// Everything that has come so far, repeats included, oldest first.
    pub async fn all(&self) -> Vec<Value> {
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self.channel.basic_get(self.queue.as_str().into(), options).await.unwrap() {
            let delivery = message.delivery;
            let event: Value = serde_json::from_slice(&delivery.data).unwrap();
            assert_eq!(delivery.routing_key.as_str(), event["type"], "the routing key is the type");
            let properties = &delivery.properties;
            assert_eq!(properties.delivery_mode(), &Some(2));
            assert_eq!(properties.content_type().as_ref().map(|text| text.as_str()), Some(CONTENT_TYPE));
            assert_eq!(properties.message_id().as_ref().map(|id| id.as_str()), event["id"].as_str());
            self.heard.lock().unwrap().push(event);
        }
        self.heard.lock().unwrap().clone()
    }

    /// What has come, without repeats.
    pub async fn facts(&self) -> Vec<Value> {
        let mut known = BTreeSet::new();
        let fresh = |event: &Value| known.insert(event["id"].to_string());
        self.all().await.into_iter().filter(fresh).collect()
    }

    /// Waits until so many facts have come, and returns them.
    pub async fn hears(&self, count: usize) -> Vec<Value> {
        let facts = eventually("events", async || {
            let facts = self.facts().await;
            if facts.len() >= count { Ok(facts) } else { Err(facts) }
        })
        .await;
        assert_eq!(facts.len(), count, "{facts:?}");
        facts
    }
}

/// Type and job of each: `accepted order-1`.
pub fn words(facts: &[Value]) -> Vec<String> {
    let word = |event: &Value| {
        let kind = event["type"].as_str().unwrap().strip_prefix("job.").unwrap();
        format!("{kind} {}", event["data"]["id"].as_str().unwrap())
    };
    facts.iter().map(word).collect()
}

/// The envelope is a CloudEvent about a job of this prefix; its data.
pub fn data(stage: &Stage, event: &Value) -> Value {
    let members: BTreeSet<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"];
    assert_eq!(members, expected.into());
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], format!("/dispatcher/{}", stage.broker.prefix));
    assert_eq!(event["datacontenttype"], "application/json");
    let data = &event["data"];
    let members: BTreeSet<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, JOB_DATA.into());
    assert_eq!(event["subject"], data["id"]);
    assert_eq!(event["type"], format!("job.{}", data["state"].as_str().unwrap()));
    let time = |value: &Value| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(time(&event["time"]), time(&data["at"]));
    assert!((Utc::now() - time(&event["time"])).num_seconds().abs() < 60, "{event}");
    data.clone()
}
