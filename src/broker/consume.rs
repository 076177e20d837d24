//! One consuming session: a connection, a channel and a consumer for each priority. It ends as a
//! whole; the dispatcher then starts a new one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, Consumer};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::BrokerError;
use super::ack::{Fate, settle};
use super::connect::{close, connect};
use super::large::{Large, Room};
use super::properties::{BOUND, DELIVERY_COUNT, RELEASED, decoded, describe, integer};
use super::topology::Topology;
use crate::dispatch::ports::{Arrival, Boxed, Consuming, Intake, Settle, Source, SourceError};
use crate::domain::job::Priority;

/// Consumers on all queues.
struct Session {
    connection: Connection,
    receivers: JoinSet<String>,
    settlers: JoinSet<String>,
    large: Arc<Large>,
}

/// For everything until the first delivery: a queue without a leader keeps its declaration waiting.
const OPENING: Duration = Duration::from_secs(60);
/// How long acknowledgements that are on their way may take when a session closes.
const FLUSH: Duration = Duration::from_secs(1);

impl Session {
    /// Connects, declares the topology, and consumes each priority with `prefetch` of its own.
    async fn open(
        url: &SecretString,
        prefix: &str,
        prefetch: u16,
        intake: Arc<dyn Intake>,
    ) -> Result<Session, BrokerError> {
        let connection = connect(url, "consumer").await?;
        let topology = Topology::new(prefix);
        topology.declare(&connection.create_channel().await?).await?;
        let (mut receivers, mut settlers) = (JoinSet::new(), JoinSet::new());
        let large = Arc::new(Large::default());
        for priority in Priority::ALL.iter().copied() {
            let channel = connection.create_channel().await?;
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let consumer = channel
                .basic_consume(
                    topology.queue(priority).into(),
                    format!("dispatcher-{priority}").into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await?;
            let (fates, receiver) = mpsc::unbounded_channel();
            settlers.spawn(async move {
                settle(channel, receiver).await;
                format!("the {priority} channel closed")
            });
            let line = Line { priority, fates, large: large.clone() };
            receivers.spawn(receive(consumer, line, intake.clone()));
        }
        let tended = large.clone();
        receivers.spawn(async move {
            tended.tend().await;
            "large messages are not tended any more".into()
        });
        Ok(Session { connection, receivers, settlers, large })
    }

    /// Waits for the end of any of its parts, and says which and why.
    async fn first_end(&mut self) -> String {
        let ended = tokio::select! {
            Some(ended) = self.receivers.join_next() => ended,
            Some(ended) = self.settlers.join_next() => ended,
            else => return "it was closed".into(),
        };
        ended.unwrap_or_else(|error| format!("a consumer task failed: {error}"))
    }

    /// Ends it: acknowledgements that were given still go out; what was not acknowledged goes back
    /// to the queues.
    async fn shut(mut self) {
        self.receivers.shutdown().await;
        self.large.forget();
        let flushed = async { while self.settlers.join_next().await.is_some() {} };
        // They end when no delivery is held any more; a job that is still on the wire holds one.
        let _ = tokio::time::timeout(FLUSH, flushed).await;
        close(&self.connection).await;
    }
}

/// One priority's deliveries.
struct Line {
    priority: Priority,
    fates: mpsc::UnboundedSender<Fate>,
    large: Arc<Large>,
}

/// Hands over what arrives until the consumer ends; returns why it ended.
async fn receive(mut consumer: Consumer, line: Line, intake: Arc<dyn Intake>) -> String {
    let priority = line.priority;
    while let Some(next) = consumer.next().await {
        match next {
            Ok(delivery) => line.arrival(delivery).into_iter().for_each(|arrival| intake.arrive(arrival)),
            Err(error) => return format!("the {priority} consumer failed: {error}"),
        }
    }
    // The queue was deleted or moved, or the channel closed: either way, begin anew.
    format!("the {priority} consumer was cancelled by the broker")
}

impl Line {
    /// `None`: there is no room for its body, and it will come again.
    fn arrival(&self, mut delivery: Delivery) -> Option<Arrival> {
        let room = self.large.admit(delivery.data.len(), delivery.delivery_tag, &self.fates)?;
        Some(Arrival {
            body: std::mem::take(&mut delivery.data),
            properties: decoded(&delivery),
            released: integer(&delivery.properties, RELEASED),
            bound: integer(&delivery.properties, BOUND).is_some(),
            redelivered: delivery.redelivered,
            returns: integer(&delivery.properties, DELIVERY_COUNT).and_then(|n| n.try_into().ok()).unwrap_or(0),
            priority: self.priority,
            delivery: Box::new(Handle { delivery, fates: self.fates.clone(), _room: room }),
        })
    }
}

/// One delivery, its body taken, until it is settled.
struct Handle {
    delivery: Delivery,
    fates: mpsc::UnboundedSender<Fate>,
    _room: Room,
}

impl Settle for Handle {
    fn ack(&self) {
        // When the channel is gone the delivery comes again, and is recognised.
        let _ = self.fates.send(Fate::Ack(self.delivery.delivery_tag));
    }

    fn nack(&self) {
        let _ = self.fates.send(Fate::Nack(self.delivery.delivery_tag));
    }

    fn describe(&self) -> String {
        let Delivery { exchange, routing_key, redelivered, properties, .. } = &self.delivery;
        describe(exchange.as_str(), routing_key.as_str(), *redelivered, properties)
    }
}

/// Opens sessions.
pub struct JobSource {
    url: SecretString,
    prefix: String,
    prefetch: u16,
}

impl JobSource {
    /// Sessions with `prefetch` unacknowledged messages for each priority.
    pub fn new(url: &SecretString, prefix: &str, prefetch: u16) -> Self {
        JobSource { url: url.clone(), prefix: prefix.to_owned(), prefetch }
    }
}

impl Source for JobSource {
    fn open<'a>(&'a self, intake: Arc<dyn Intake>) -> Boxed<'a, Result<Box<dyn Consuming>, SourceError>> {
        Box::pin(async move {
            let opening = Session::open(&self.url, &self.prefix, self.prefetch, intake);
            let silent = || Err(BrokerError(format!("no session within {} s", OPENING.as_secs())));
            let session = tokio::time::timeout(OPENING, opening).await.unwrap_or_else(|_| silent());
            session.map(|session| Box::new(session) as Box<dyn Consuming>).map_err(|error| SourceError(error.0))
        })
    }
}

impl Consuming for Session {
    fn ended(&mut self) -> Boxed<'_, String> {
        Box::pin(self.first_end())
    }

    fn close(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(self.shut())
    }
}
