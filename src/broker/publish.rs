//! Publishing with confirms: the broker has it, or we know that we do not know.

use std::borrow::Borrow;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use secrecy::SecretString;
use tokio::sync::Mutex;

use super::BrokerError;
use super::connect::connect;
use super::properties::{self, PUBLISHED_MS, RELEASED, TRACEPARENT};
use super::topology::Topology;
use crate::dispatch::ports::{Boxed, PublishError, Publisher, Released};
use crate::domain::job::Job;
use crate::domain::message::{self, Properties};

/// AMQP's `persistent`.
const PERSISTENT: u8 = 2;
/// Publishes under way at a time: bounds memory, and the time until an error shows.
const WINDOW: usize = 500;

/// A job message, ready to be published.
#[derive(Clone, Debug)]
pub struct Message {
    body: Vec<u8>,
    properties: Properties,
    /// The place in the order of arrival of a job that is released.
    seq: Option<i64>,
}

impl Message {
    /// The message of a valid job.
    pub fn of(job: &Job) -> Self {
        // The id stands beside the body too, for whoever looks at the queue.
        let properties = Properties { message_id: Some(job.id.clone()), ..message::properties(job) };
        Message { body: message::encode(job), properties, seq: None }
    }

    /// Anything, as it is: the daemon will judge it. `routing_key` has at most 255 bytes.
    pub fn unchecked(body: Vec<u8>, routing_key: &str, published_ms: i64) -> Self {
        let properties = Properties {
            routing_key: routing_key.to_owned(),
            timestamp_ms: Some(published_ms),
            ..Properties::default()
        };
        Message { body, properties, seq: None }
    }

    /// What was refused, as it came; `properties` is the JSON that was kept with it.
    pub fn again(body: Vec<u8>, properties: &str) -> Self {
        Message { body, properties: properties::of_description(properties), seq: None }
    }
}

/// A publisher of jobs, with a connection of its own that is made anew when it breaks.
pub struct JobPublisher {
    url: SecretString,
    topology: Topology,
    open: Mutex<Option<Open>>,
}

struct Open {
    connection: Connection,
    channel: Channel,
}

impl JobPublisher {
    /// A publisher that connects when it is first used.
    pub fn new(url: &SecretString, prefix: &str) -> Self {
        JobPublisher { url: url.clone(), topology: Topology::new(prefix), open: Mutex::new(None) }
    }

    /// A publisher that is connected.
    pub async fn connect(url: &SecretString, prefix: &str) -> Result<Self, PublishError> {
        let publisher = Self::new(url, prefix);
        let open = publisher.open().await.map_err(publish_error)?;
        *publisher.open.lock().await = Some(open);
        Ok(publisher)
    }

    async fn open(&self) -> Result<Open, BrokerError> {
        let connection = connect(&self.url, "publisher").await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        self.topology.declare(&channel).await?;
        Ok(Open { connection, channel })
    }

    /// Publishes messages in order; returns when the broker has confirmed all. After an error any of
    /// them may or may not have arrived: publishing them again is safe, as their ids make them
    /// repeats.
    pub async fn publish(&self, messages: &[Message]) -> Result<(), PublishError> {
        self.publish_all(messages.iter()).await
    }

    /// Closes the connection.
    pub async fn close(&self) {
        if let Some(open) = self.open.lock().await.take() {
            let _ = open.connection.close(200, "bye".into()).await;
        }
    }

    /// The lock is held for the whole batch: batches do not mix, so order is kept.
    async fn publish_all<M: Borrow<Message>>(&self, messages: impl Iterator<Item = M>) -> Result<(), PublishError> {
        let mut guard = self.open.lock().await;
        let open = match guard.take() {
            Some(open) if open.channel.status().connected() => open,
            _ => self.open().await.map_err(publish_error)?,
        };
        let mut messages = messages.peekable();
        while messages.peek().is_some() {
            if let Err(error) = publish_window(&open.channel, &self.topology, messages.by_ref().take(WINDOW)).await {
                let _ = open.connection.close(200, "bye".into()).await;
                return Err(error);
            }
        }
        *guard = Some(open);
        Ok(())
    }
}

/// All are sent before the first confirm is awaited; every confirm is awaited, even after an error,
/// because lapin keeps the ones that nobody awaits.
async fn publish_window<M: Borrow<Message>>(
    channel: &Channel,
    topology: &Topology,
    messages: impl Iterator<Item = M>,
) -> Result<(), PublishError> {
    let mut confirms = Vec::with_capacity(WINDOW);
    let mut failure = None;
    for message in messages {
        match publish_one(channel, topology, message.borrow()).await {
            Ok(confirm) => confirms.push(confirm),
            Err(error) => {
                failure = Some(publish_error(error.into()));
                break;
            }
        }
    }
    for confirm in confirms {
        let problem = match confirm.await {
            Ok(Confirmation::Ack(None)) => continue,
            // Mandatory and returned: no queue took it.
            Ok(Confirmation::Ack(Some(_))) => PublishError("no queue takes it".into()),
            Ok(Confirmation::Nack(_)) => PublishError("the broker refused it: a queue is full or has no leader".into()),
            Ok(Confirmation::NotRequested) => PublishError("the channel gives no confirms".into()),
            Err(error) => publish_error(error.into()),
        };
        failure.get_or_insert(problem);
    }
    failure.map_or(Ok(()), Err)
}

async fn publish_one(
    channel: &Channel,
    topology: &Topology,
    message: &Message,
) -> Result<lapin::PublisherConfirm, lapin::Error> {
    let Properties { message_id, routing_key, timestamp_ms, traceparent } = &message.properties;
    let mut headers = FieldTable::default();
    if let Some(ms) = timestamp_ms {
        headers.insert(PUBLISHED_MS.into(), AMQPValue::LongLongInt(*ms));
    }
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT.into(), AMQPValue::LongString(traceparent.as_str().into()));
    }
    if let Some(seq) = message.seq {
        headers.insert(RELEASED.into(), AMQPValue::LongLongInt(seq));
    }
    let mut properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    if let Some(id) = message_id {
        properties = properties.with_message_id(id.as_str().into());
    }
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let exchange = topology.jobs().into();
    channel.basic_publish(exchange, routing_key.as_str().into(), options, &message.body, properties).await
}

impl Publisher for JobPublisher {
    fn release<'a>(&'a self, jobs: &'a [Released]) -> Boxed<'a, Result<(), PublishError>> {
        let messages = jobs.iter().map(|released| Message { seq: Some(released.seq), ..Message::of(&released.job) });
        Box::pin(self.publish_all(messages))
    }
}

fn publish_error(error: BrokerError) -> PublishError {
    PublishError(error.0)
}
