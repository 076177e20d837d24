//! A queue prefix for each test, and a publisher that sends anything: tests are the publishers of the
//! contract, not users of the daemon's own code.

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;

use super::{at_the_end, service, unique_name};

/// Topology of a prefix of its own, deleted in the end.
pub struct TestBroker {
    /// For the daemon.
    pub url: String,
    pub prefix: String,
    connection: Connection,
    channel: Channel,
}

/// A message to publish: persistent JSON, as the contract asks of publishers.
#[derive(Clone, Debug)]
pub struct Message {
    key: String,
    body: Vec<u8>,
    properties: BasicProperties,
    headers: FieldTable,
}

impl Message {
    /// Any bytes under any key.
    pub fn raw(key: impl Into<String>, body: impl Into<Vec<u8>>) -> Message {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        Message { key: key.into(), body: body.into(), properties, headers: FieldTable::default() }
    }

    /// A job under the key that the contract gives it.
    pub fn job(priority: &str, job: &Value) -> Message {
        let mobile = job["mobile"].as_str().unwrap_or_default();
        Message::raw(format!("{priority}.{mobile}"), job.to_string())
    }

    pub fn with_message_id(mut self, id: &str) -> Message {
        self.properties = self.properties.with_message_id(id.into());
        self
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Message {
        self.headers.insert(name.into(), AMQPValue::LongString(value.into()));
        self
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl TestBroker {
    /// Connects to the broker of `AMQP_URL`; the daemon declares the topology.
    pub async fn connect() -> TestBroker {
        TestBroker::at(&service("AMQP_URL")).await
    }

    /// Connects to this broker.
    pub async fn at(url: &str) -> TestBroker {
        let (connection, channel) = publisher(url).await;
        TestBroker { url: url.to_owned(), prefix: unique_name(), connection, channel }
    }

    /// Connects anew, to a broker that was restarted.
    pub async fn reconnect(&mut self) {
        (self.connection, self.channel) = publisher(&self.url).await;
    }

    /// The queue of a priority.
    pub fn queue(&self, priority: &str) -> String {
        format!("{}.jobs.{priority}.0", self.prefix)
    }

    /// Another channel: a question that the broker refuses closes it.
    pub async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    /// Publishes, and returns when the broker has it all.
    pub async fn publish(&self, messages: &[Message]) {
        let exchange = format!("{}.jobs", self.prefix);
        for window in messages.chunks(500) {
            let mut confirms = Vec::with_capacity(window.len());
            for message in window {
                let properties = message.properties.clone().with_headers(message.headers.clone());
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let (exchange, key) = (exchange.as_str().into(), message.key.as_str().into());
                let sent = self.channel.basic_publish(exchange, key, options, &message.body, properties).await;
                confirms.push(sent.unwrap());
            }
            for confirm in confirms {
                assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None), "every message has a queue");
            }
        }
    }

    /// Puts a message where the broker puts what was delivered too often.
    pub async fn publish_to_dead(&self, body: &[u8]) {
        let (queue, options) = (format!("{}.dead", self.prefix), BasicPublishOptions::default());
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent = self.channel.basic_publish("".into(), queue.as_str().into(), options, body, properties).await;
        assert_eq!(sent.unwrap().await.unwrap(), Confirmation::Ack(None));
    }

    /// Messages that are ready in a queue. What a consumer holds is not counted.
    pub async fn depth(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        declared.unwrap().message_count()
    }

    /// Messages that are ready in all of the daemon's queues, `sms.dead` included.
    pub async fn backlog(&self) -> u32 {
        let mut messages = self.depth(&format!("{}.dead", self.prefix)).await;
        for priority in ["high", "normal", "bulk"] {
            messages += self.depth(&self.queue(priority)).await;
        }
        messages
    }

    /// Throws away all that is ready in a queue.
    pub async fn purge(&self, queue: &str) -> u32 {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap()
    }

    /// Takes the only message of a queue, and gives it back, so many times.
    pub async fn give_back(&self, queue: &str, times: usize) {
        let channel = self.channel().await;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default);
        let mut consumer = channel.basic_consume(queue.into(), "undecided".into(), options, none()).await.unwrap();
        for _ in 0..times {
            let delivery = consumer.next().await.expect("the queue stands").unwrap();
            delivery.nack(BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
        }
        channel.close(200, "bye".into()).await.unwrap();
    }

    /// One message of a queue without a consumer of its own.
    pub async fn get(&self, queue: &str) -> Option<Delivery> {
        let options = BasicGetOptions { no_ack: true };
        self.channel.basic_get(queue.into(), options).await.unwrap().map(|message| message.delivery)
    }
}

async fn publisher(url: &str) -> (Connection, Channel) {
    dispatcher::tls::install();
    let connected = Connection::connect(url, ConnectionProperties::default()).await;
    let connection = connected.expect("RabbitMQ of AMQP_URL is reached");
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let (url, prefix) = (self.url.clone(), self.prefix.clone());
        at_the_end(&format!("topology {prefix}"), async move {
            remove(&url, &prefix).await.map_err(|error| error.to_string())
        });
    }
}

/// Deleting what is not there is no error.
async fn remove(url: &str, prefix: &str) -> Result<(), lapin::Error> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in ["jobs.high.0", "jobs.normal.0", "jobs.bulk.0", "dead"] {
        channel.queue_delete(format!("{prefix}.{queue}").into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in ["jobs", "jobs.unrouted", "events"] {
        channel.exchange_delete(format!("{prefix}.{exchange}").into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "bye".into()).await
}
