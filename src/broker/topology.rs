//! The exchanges and queues, all durable. Declaring what exists as it is changes nothing.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::BrokerError;
use crate::domain::job::Priority;

/// Deliveries that come back this often go to the dead-letter queue: far more than a bad night of
/// restarts, for a message is only counted while a daemon holds it.
const DELIVERY_LIMIT: i64 = 20;

/// The names, by prefix.
#[derive(Clone, Debug)]
pub struct Topology {
    prefix: String,
}

impl Topology {
    pub fn new(prefix: &str) -> Self {
        Topology { prefix: prefix.to_owned() }
    }

    /// Publishers publish here, routing key `<priority>.<mobile>`.
    pub fn jobs(&self) -> String {
        format!("{}.jobs", self.prefix)
    }

    /// Takes what matches no priority, into the normal queue.
    fn unrouted(&self) -> String {
        format!("{}.jobs.unrouted", self.prefix)
    }

    /// One quorum queue a priority; one shard for now.
    pub fn queue(&self, priority: Priority) -> String {
        format!("{}.jobs.{priority}.0", self.prefix)
    }

    /// Messages that took the process down again and again.
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// Events are published here, routing key = type.
    pub fn events(&self) -> String {
        format!("{}.events", self.prefix)
    }

    /// A routing key of the default exchange: no queue is called so.
    pub fn nowhere(&self) -> String {
        format!("{}.nowhere", self.prefix)
    }

    /// Declares everything.
    pub async fn declare(&self, channel: &Channel) -> Result<(), BrokerError> {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default;
        channel.exchange_declare(self.unrouted().into(), ExchangeKind::Fanout, durable, none()).await?;
        let mut alternate = none();
        alternate.insert("alternate-exchange".into(), text(&self.unrouted()));
        channel.exchange_declare(self.jobs().into(), ExchangeKind::Topic, durable, alternate).await?;
        channel.exchange_declare(self.events().into(), ExchangeKind::Topic, durable, none()).await?;
        let mut quorum = none();
        quorum.insert("x-queue-type".into(), text("quorum"));
        channel.queue_declare(self.dead().into(), QueueDeclareOptions::durable(), quorum).await?;
        for priority in Priority::ALL.iter().copied() {
            let queue = self.queue(priority);
            channel.queue_declare(queue.clone().into(), QueueDeclareOptions::durable(), self.job_queue()).await?;
            let key = format!("{priority}.#");
            let bound = QueueBindOptions::default();
            channel.queue_bind(queue.clone().into(), self.jobs().into(), key.into(), bound, none()).await?;
            if priority == Priority::Normal {
                channel.queue_bind(queue.into(), self.unrouted().into(), "".into(), bound, none()).await?;
            }
        }
        Ok(())
    }

    fn job_queue(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(&self.dead()));
        // Nothing is lost on the way to the dead-letter queue either; this asks for the overflow rule.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        arguments
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
