//! A connection for publishing with confirms: the broker has a message, or we know that we do not know.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionStatus};
use secrecy::SecretString;
use tokio::sync::{Mutex, MutexGuard};

use super::BrokerError;
use super::connect::{close, connect};
use super::topology::Topology;

/// AMQP's `persistent`.
pub(super) const PERSISTENT: u8 = 2;
/// Publishes under way at a time: bounds memory, and the time until an error shows.
pub(super) const WINDOW: usize = 500;

/// For RabbitMQ to confirm a message that no queue takes, or to say that it blocks us.
const LOOK: Duration = Duration::from_secs(5);

/// A message on its way out.
pub(super) struct Outgoing<'a> {
    pub exchange: &'a str,
    /// At most 255 bytes.
    pub routing_key: &'a str,
    /// It is an error that no queue takes it.
    pub mandatory: bool,
    pub body: &'a [u8],
    pub properties: BasicProperties,
}

/// What the broker says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has it, in every queue that it belongs to.
    Taken,
    /// It was mandatory, and no queue takes it.
    Unroutable,
    /// A queue is full, or has no leader.
    Refused,
}

/// Connects when it is first used, and anew when the connection broke.
pub(super) struct Outlet {
    url: SecretString,
    purpose: &'static str,
    topology: Topology,
    open: Mutex<Option<Open>>,
    /// Of the last connection; known also while somebody has the turn.
    status: std::sync::Mutex<Option<ConnectionStatus>>,
}

struct Open {
    connection: Connection,
    channel: Channel,
}

/// The right to publish: batches do not mix, so order is kept. Dropped before [`Turn::end`], it closes
/// the connection: nobody knows what is on its way. But one that the broker blocks cannot be closed, and
/// would linger beside its successor for as long as the alarm lasts: it is kept.
pub(super) struct Turn<'a> {
    guard: MutexGuard<'a, Option<Open>>,
    open: Option<Open>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take().filter(|open| is_blocked(open.connection.status())) {
            *self.guard = Some(open);
        }
    }
}

fn is_blocked(status: &ConnectionStatus) -> bool {
    status.connected() && status.blocked()
}

impl Outlet {
    /// `purpose` is shown in RabbitMQ's list of connections.
    pub fn new(url: &SecretString, prefix: &str, purpose: &'static str) -> Self {
        Outlet {
            url: url.clone(),
            purpose,
            topology: Topology::new(prefix),
            open: Mutex::new(None),
            status: std::sync::Mutex::new(None),
        }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    async fn open(&self) -> Result<Open, BrokerError> {
        let connection = connect(&self.url, self.purpose).await?;
        *self.status() = Some(connection.status().clone());
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        self.topology.declare(&channel).await?;
        Ok(Open { connection, channel })
    }

    /// Waits for its turn, and connects if need be.
    pub async fn turn(&self) -> Result<Turn<'_>, BrokerError> {
        self.turn_with(self.open.lock().await).await
    }

    async fn turn_with<'a>(&'a self, mut guard: MutexGuard<'a, Option<Open>>) -> Result<Turn<'a>, BrokerError> {
        let open = match guard.take() {
            Some(open) if open.channel.status().connected() => open,
            _ => self.open().await?,
        };
        Ok(Turn { guard, open: Some(open) })
    }

    /// Publishes a message that no queue takes: RabbitMQ says that it blocks publishers to those alone that publish.
    /// Whoever has the turn learns of it by itself. May be cancelled.
    pub async fn look(&self) -> Result<(), BrokerError> {
        if self.blocked().is_some() {
            return Ok(());
        }
        let Ok(guard) = self.open.try_lock() else { return Ok(()) };
        let mut turn = self.turn_with(guard).await?;
        let (exchange, routing_key) = ("", &*self.topology.nowhere());
        let properties = BasicProperties::default();
        let message = Outgoing { exchange, routing_key, mandatory: false, body: &[], properties };
        match tokio::time::timeout(LOOK, turn.window(std::iter::once(message))).await {
            Ok(Ok(_)) => turn.end(),
            Ok(Err(error)) => {
                turn.abandon().await;
                return Err(error);
            }
            // Blocked, and then it keeps the connection; else that is no good.
            Err(_) => drop(turn),
        }
        Ok(())
    }

    /// Set while RabbitMQ takes nothing from publishers: one of its alarms is on. What is published all the
    /// same waits in memory.
    pub fn blocked(&self) -> Option<String> {
        let blocked = self.status().as_ref().is_some_and(is_blocked);
        blocked.then(|| "publishers are blocked by an alarm: see to memory and disk of the broker".to_owned())
    }

    fn status(&self) -> std::sync::MutexGuard<'_, Option<ConnectionStatus>> {
        self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Closes the connection.
    pub async fn close(&self) {
        if let Some(open) = self.open.lock().await.take() {
            close(&open.connection).await;
        }
    }
}

impl Turn<'_> {
    /// Publishes at most [`WINDOW`] messages, in order; returns what the broker says of each. After an
    /// error any of them may have arrived.
    ///
    /// All are sent before the first confirm is awaited; every confirm is awaited, even after an error,
    /// because lapin keeps the ones that nobody awaits.
    pub async fn window<'m>(
        &mut self,
        messages: impl Iterator<Item = Outgoing<'m>>,
    ) -> Result<Vec<Verdict>, BrokerError> {
        let Some(open) = &self.open else { return Err(BrokerError("the turn has ended".into())) };
        let mut confirms = Vec::with_capacity(WINDOW);
        let mut failure = None;
        for message in messages {
            match publish(&open.channel, message).await {
                Ok(confirm) => confirms.push(confirm),
                Err(error) => {
                    failure = Some(error.into());
                    break;
                }
            }
        }
        let mut verdicts = Vec::with_capacity(confirms.len());
        for confirm in confirms {
            match confirm.await {
                Ok(Confirmation::Ack(None)) => verdicts.push(Verdict::Taken),
                Ok(Confirmation::Ack(Some(_))) => verdicts.push(Verdict::Unroutable),
                Ok(Confirmation::Nack(_)) => verdicts.push(Verdict::Refused),
                Ok(Confirmation::NotRequested) => {
                    failure.get_or_insert(BrokerError("the channel gives no confirms".into()));
                }
                Err(error) => {
                    failure.get_or_insert(error.into());
                }
            }
        }
        failure.map_or(Ok(verdicts), Err)
    }

    /// All was well: the connection is kept.
    pub fn end(mut self) {
        *self.guard = self.open.take();
    }

    /// Something is wrong: the connection is closed, and the next turn makes a new one.
    pub async fn abandon(mut self) {
        if let Some(open) = self.open.take() {
            close(&open.connection).await;
        }
    }
}

async fn publish(channel: &Channel, message: Outgoing<'_>) -> Result<lapin::PublisherConfirm, lapin::Error> {
    let Outgoing { exchange, routing_key, mandatory, body, properties } = message;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await
}
