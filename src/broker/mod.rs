//! RabbitMQ: the only place that names lapin.
//!
//! Consuming and publishing use connections of their own: while the broker blocks publishers, a
//! blocked connection would carry no acknowledgements either. lapin's own recovery is not used: it
//! resumes without a word, and the dispatcher must know when deliveries belong to the past.

mod ack;
mod connect;
mod consume;
mod depths;
pub mod probe;
mod properties;
mod publish;
mod topology;

pub use consume::JobSource;
pub use depths::{Depth, Depths};
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
