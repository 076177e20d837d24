//! RabbitMQ: what arrives, and what is published.

use std::sync::Arc;

use super::{Boxed, Released, Retry};
use crate::domain::job::Priority;
use crate::domain::message::Properties;

/// Publishes to RabbitMQ.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes released jobs in order; returns once the broker has confirmed all of them.
    fn release<'a>(&'a self, jobs: &'a [Released]) -> Boxed<'a, Result<(), PublishError>>;
    /// Publishes refused messages again as they came, each marked with its rejection; returns which of them the broker
    /// has. With none of them it only says whether the broker is there. After an error any of them may have arrived.
    /// May be cancelled: then the same holds.
    fn again<'a>(&'a self, messages: &'a [Retry]) -> Boxed<'a, Result<Vec<bool>, PublishError>>;
    /// What [`Settle::describe`] wrote, as far as the decoder needs it.
    fn described(&self, properties: &str) -> Properties;
    /// Asks the broker whether it takes messages, for [`Publisher::trouble`] to know. May be cancelled.
    fn look(&self) -> Boxed<'_, Result<(), PublishError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Why the broker takes no messages at present, although it is connected.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A message could not be handed to RabbitMQ.
#[derive(Debug, thiserror::Error)]
#[error("RabbitMQ did not take the message: {0}")]
pub struct PublishError(pub String);

/// Acknowledges one delivery. Dropped without a call, the delivery stays with the broker, which
/// gives it out again when its channel closes.
pub trait Settle: Send + Sync + 'static {
    /// Its fate is committed: the broker may forget it.
    fn ack(&self);
    /// Postgres refuses it: back to the queue, whose delivery limit sends it to `sms.dead`.
    fn nack(&self);
    /// The AMQP properties and headers as a JSON object, for `rejections`.
    fn describe(&self) -> String;
}

/// A message as it arrives.
pub struct Arrival {
    /// The body, as received.
    pub body: Vec<u8>,
    /// What the decoder needs of the properties and headers.
    pub properties: Properties,
    /// Set on the messages of jobs that this program has released: their place in the order of arrival.
    pub released: Option<i64>,
    /// Set on the messages of those that no fallback may send: see [`Released::bound`].
    pub bound: bool,
    /// The broker has given it out before.
    pub redelivered: bool,
    /// How often, as the broker counts towards its delivery limit; 0 where it does not say.
    pub returns: u32,
    /// Its queue's priority.
    pub priority: Priority,
    /// How it is acknowledged.
    pub delivery: Box<dyn Settle>,
}

/// Takes what arrives. Must not block: the number of messages is bounded by the prefetch.
pub trait Intake: Send + Sync + 'static {
    /// A message has arrived, in the order of its queue.
    fn arrive(&self, arrival: Arrival);
}

/// RabbitMQ, for what arrives.
pub trait Source: Send + Sync + 'static {
    /// Connects and begins to consume every queue of the shard.
    fn open<'a>(&'a self, intake: Arc<dyn Intake>) -> Boxed<'a, Result<Box<dyn Consuming>, SourceError>>;
}

/// A consuming session.
pub trait Consuming: Send + 'static {
    /// Waits for its end, and says why it ended. May be cancelled.
    fn ended(&mut self) -> Boxed<'_, String>;
    /// Ends it; what is not acknowledged goes back to the queues.
    fn close(self: Box<Self>) -> Boxed<'static, ()>;
}

/// RabbitMQ cannot be consumed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
