//! How much work stands in the queues, for `dispatcher top`.

use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use secrecy::SecretString;

use super::BrokerError;
use super::connect::connect;
use super::topology::Topology;
use crate::domain::job::Priority;

/// One queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The jobs of this priority; `None` for `<prefix>.dead`.
    pub priority: Option<Priority>,
    /// Messages that nobody holds.
    pub ready: u32,
}

/// A connection that asks again and again.
pub struct Depths {
    connection: Connection,
    topology: Topology,
}

impl Depths {
    /// Connects.
    ///
    /// # Errors
    /// When RabbitMQ cannot be reached or refuses.
    pub async fn connect(url: &SecretString, prefix: &str) -> Result<Depths, BrokerError> {
        Ok(Depths { connection: connect(url, "top").await?, topology: Topology::new(prefix) })
    }

    /// Asks for each queue, and creates none.
    ///
    /// # Errors
    /// When the connection is lost, or a queue is not there: no daemon has started yet.
    pub async fn read(&self) -> Result<Vec<Depth>, BrokerError> {
        // A queue that is not there closes the channel: a new one each time.
        let channel = self.connection.create_channel().await?;
        let mut depths = Vec::new();
        for priority in Priority::ALL.iter().copied().map(Some).chain([None]) {
            let name = priority.map_or_else(|| self.topology.dead(), |priority| self.topology.queue(priority));
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare(name.into(), passive, FieldTable::default()).await?;
            depths.push(Depth { priority, ready: queue.message_count() });
        }
        channel.close(200, "read".into()).await?;
        Ok(depths)
    }
}
