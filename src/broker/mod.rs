//! RabbitMQ: the only place that names lapin.
//!
//! Consuming and publishing use connections of their own: while the broker blocks publishers, a
//! blocked connection would carry no acknowledgements either. Events have a third, so that a backlog of
//! them, or a queue that refuses them, never stands in the way of jobs. lapin's own recovery is not used: it
//! resumes without a word, and the dispatcher must know when deliveries belong to the past.

mod ack;
mod announce;
mod connect;
mod consume;
mod depths;
mod large;
mod outlet;
pub mod probe;
mod properties;
mod publish;
mod topology;

pub use announce::EventPublisher;
pub use consume::JobSource;
pub use depths::{DEAD, QueueWatch};
pub use publish::{JobPublisher, Message};

/// RabbitMQ cannot be reached, or refuses what is asked.
#[derive(Debug, thiserror::Error)]
#[error("RabbitMQ: {0}")]
pub struct BrokerError(pub String);

impl From<lapin::Error> for BrokerError {
    fn from(error: lapin::Error) -> Self {
        BrokerError(error.to_string())
    }
}
