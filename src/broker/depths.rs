//! How many messages stand in the queues. A connection of its own: a look must neither wait behind a
//! release nor hold one up.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use secrecy::SecretString;
use tokio::sync::Mutex;

use super::BrokerError;
use super::connect::connect;
use super::topology::Topology;
use crate::domain::job::Priority;

/// What [`QueueWatch::depths`] calls the dead-letter queue; the others go by their priority.
pub const DEAD: &str = "dead";

/// Looks at the queues; connects when it is first asked, and again after a failure.
pub struct QueueWatch {
    url: SecretString,
    topology: Topology,
    open: Mutex<Option<Connection>>,
}

impl QueueWatch {
    /// Nothing is connected yet.
    pub fn new(url: &SecretString, prefix: &str) -> Self {
        QueueWatch { url: url.clone(), topology: Topology::new(prefix), open: Mutex::new(None) }
    }

    /// Messages that are ready, by priority and for [`DEAD`]. What a consumer holds is not counted. The
    /// caller limits the time.
    ///
    /// # Errors
    /// When RabbitMQ cannot be reached, or a queue is not there (yet).
    pub async fn depths(&self) -> Result<Vec<(&'static str, u32)>, BrokerError> {
        let mut open = self.open.lock().await;
        if !open.as_ref().is_some_and(|connection| connection.status().connected()) {
            *open = Some(connect(&self.url, "queue watch").await?);
        }
        let Some(connection) = open.as_ref() else { return Ok(Vec::new()) };
        // A question that the broker refuses closes its channel.
        let channel = connection.create_channel().await?;
        let depths = self.ask(&channel).await;
        if channel.status().connected() {
            channel.close(200, "looked".into()).await?;
        }
        depths
    }

    async fn ask(&self, channel: &Channel) -> Result<Vec<(&'static str, u32)>, BrokerError> {
        let mut depths = vec![(DEAD, depth(channel, self.topology.dead()).await?)];
        for priority in Priority::ALL.iter().copied() {
            depths.push((priority.as_str(), depth(channel, self.topology.queue(priority)).await?));
        }
        Ok(depths)
    }

    /// Closes the connection.
    pub async fn close(&self) {
        if let Some(connection) = self.open.lock().await.take() {
            let _ = connection.close(200, "bye".into()).await;
        }
    }
}

async fn depth(channel: &Channel, queue: String) -> Result<u32, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count())
}
